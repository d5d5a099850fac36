"""Stand-ins for the replica: small machines with its inputs and effects, for tests of its driver."""

from collections import deque
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, TypeAlias

from consensus.effects import ActionLogged, LogRecord, Now, Persist, Send
from consensus.encoding import encode
from consensus.validators import ValidatorIndex
from node.effects import Answer, ReplicaEffect, Submission
from node.game.operations import Ready
from node.game.params import GameParams
from node.game.receipts import Receipt
from node.pipeline import MessageProcessor
from node.replica import Replica
from node.serving import setup_of
from tests.node.tables import Seating, make_table

Effects: TypeAlias = list[ReplicaEffect]
Outcome: TypeAlias = Sequence[ReplicaEffect] | BaseException

NO_GAMES = SimpleNamespace(
    height=0,
    time_ms=0,
    root=b"",
    game=SimpleNamespace(sessions=()),
    membership=SimpleNamespace(members=(), voters=(), newcomers=()),
)


class ListJournal:
    """A journal in memory: one entry for each commit."""

    def __init__(self) -> None:
        self.commits: list[tuple[LogRecord, ...]] = []

    @property
    def records(self) -> list[LogRecord]:
        return [record for commit in self.commits for record in commit]

    def append(self, records: Sequence[LogRecord]) -> None:
        self.commits.append(tuple(records))


class FullDisk(ListJournal):
    """A journal on a disk that refuses."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def append(self, records: Sequence[LogRecord]) -> None:  # type: ignore[explicit-override]  # typing.override is 3.12
        raise self.error


class Scripted:
    """Notes every input, and answers it with the effects that the test has put in `outputs`.

    `outputs` maps the name of an input to the effects of its next calls, one list for each.
    """

    final = NO_GAMES
    engine = SimpleNamespace(view=1, muted="", floor=0)
    validators = SimpleNamespace(q=0, n=1)
    player = None
    is_done = False

    def __init__(self, **outputs: Sequence[Outcome]) -> None:
        self.pipeline = MessageProcessor()
        self.deadline_ms: int | None = None
        self.inputs: list[tuple[Any, ...]] = []
        self.outputs = {name: deque(lists) for name, lists in outputs.items()}

    def _note(self, name: str, *values: object) -> Effects:
        self.inputs.append((name, *values))
        waiting = self.outputs.get(name)
        effects = waiting.popleft() if waiting else []
        if isinstance(effects, BaseException):
            raise effects
        return list(effects)

    def of(self, name: str) -> list[list[Any]]:
        """Return the values of each call of one input."""
        return [values for called, *values in self.inputs if called == name]

    def start(self, now: Now) -> Effects:
        return self._note("start", now)

    def peer_up(self, peer: ValidatorIndex, now: Now) -> Effects:
        return self._note("peer_up", peer)

    def receive(self, batch: Sequence[tuple[ValidatorIndex, bytes]], now: Now) -> Effects:
        return self._note("receive", list(batch))

    def submit(self, batch: Sequence[Submission], now: Now) -> Effects:
        return self._note("submit", list(batch))

    def entropy(self, data: bytes, now: Now) -> Effects:
        return self._note("entropy", data)

    def handle_deadline(self, now: Now) -> Effects:
        self.deadline_ms = None
        return self._note("handle_deadline", now)


class Sequencer:
    """A counter that member 0 keeps for all: it numbers whatever is submitted, wherever that is.

    The least that speaks the whole interface and agrees while nobody fails: an operation goes to
    member 0, which logs it, numbers it and tells all; the submitter is answered with its number.
    """

    deadline_ms: int | None = None
    is_done = False

    def __init__(self, me: int) -> None:
        self.me = me
        self.order: list[tuple[int, int, int]] = []  # (member, ticket, operation) as agreed
        self.up: set[int] = set()

    def start(self, now: Now) -> Effects:
        return []

    def peer_up(self, peer: ValidatorIndex, now: Now) -> Effects:
        self.up.add(peer)
        return []

    def handle_deadline(self, now: Now) -> Effects:
        return []

    def submit(self, batch: Sequence[Submission], now: Now) -> Effects:
        effects: Effects = []
        for submission in batch:
            assert isinstance(submission.operation, Ready)
            line = b"%d %d %d" % (self.me, submission.ticket, submission.operation.session)
            effects += (
                self._number(line) if self.me == 0 else [Send(ValidatorIndex(0), b"?" + line)]
            )
        return effects

    def receive(self, batch: Sequence[tuple[ValidatorIndex, bytes]], now: Now) -> Effects:
        effects: Effects = []
        for _sender, frame in batch:
            effects += self._number(frame[1:]) if frame[:1] == b"?" else self._take(frame[1:])
        return effects

    def _number(self, line: bytes) -> Effects:
        record = ActionLogged(seq=len(self.order) + 1, envelope=line)
        return [Persist((record,)), Send(None, b"!" + line), *self._take(line)]

    def _take(self, line: bytes) -> Effects:
        member, ticket, operation = map(int, line.split())
        self.order.append((member, ticket, operation))
        if member != self.me:
            return []
        return [Answer(ticket, len(self.order), Receipt(0, (operation,)))]


Machine: TypeAlias = Scripted | Sequencer | Replica
"""What a runtime drives: the real thing or one that stands in for it."""


def lone_replica() -> tuple[Replica, ListJournal, Seating]:
    """Return a real replica of a table for one, its journal, and (table, keys, ports)."""
    table, keys, ports = make_table(1, params=encode(GameParams()))
    return Replica(setup_of(table, keys[0])), ListJournal(), (table, keys, ports)
