"""The one owner of the replica: inputs in batches, effects in order, on trio (PROTOCOL 9).

Nothing else touches the replica. Frames and link changes are pulled from the mesh, operations from
whoever submits; each turn of the loop takes what has gathered, hands it over, makes everything that
is to be durable durable in one commit, and only then sends. The loop waits for nobody but the disk.
"""

import logging
import operator
import os
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Protocol, assert_never

import trio

from consensus.effects import (
    Committed,
    Halt,
    LogRecord,
    Now,
    Persist,
    Report,
    RequestEntropy,
    Send,
)
from consensus.messages import Number
from consensus.validators import ValidatorIndex
from node.addresses import AddressBook, founders_of
from node.descriptor import Table
from node.effects import Answer, Played, Rebased, ReplicaEffect, Submission
from node.errors import NODE_ENDED, LeftTableError, OperatorError
from node.events import EventDispatcher, Final, Halted, LinkChanged, PeerHeldOff
from node.fairness import Fairness, fairness_facts
from node.game.operations import PlaceBet
from node.game.receipts import RollResult
from node.limits import PersonalLimits, Standing, TokenBucket
from node.membership import member_facts
from node.mempool import AnyOperation
from node.mesh import Contact, Mesh
from node.players import LocalHalf, PlayerSession, agreed_half, staked
from node.reception import Reception
from node.replica import Replica
from node.statistics import Memory, RuntimeStatistics, Tally
from node.view import TableView, build_view, games_of
from node.waiting import explain, facts_of, vote_text
from transport.base import Address
from transport.link import Credentials

log = logging.getLogger(__name__)

BATCH_FRAMES_MAX = 100
"""Frames handed to the replica at once: enough to share a commit, little enough to stay prompt."""
SUBMITTED_MAX = 65_536
"""Operations without an answer yet; more than any table settles in the time that a person waits."""
ENTROPY_BYTES_MAX = 1024
FAULTS_PER_MINUTE_MAX = 100
"""Faults of one peer in a minute after which its link is closed for a while."""
GOSSIP_PER_SECOND = 1_000
"""Signed actions of one peer: an honest one has a single own action under way between two blocks."""
GOSSIP_BURST = 4_000
"""What a peer whose link came up may push at once, of everybody's."""
ROLLS_KEPT = 256
"""Settled rolls of all games that a view may show; a hundred games show their last ones."""
FAREWELL_SECONDS = 1
"""Between the end of a node whose member has left and its links: for answers on their way."""
_MINUTE_MS = 60_000
UNKNOWN_END = "this node was far behind and has fetched the table as it stands: look there for what became of it"

Callback = Callable[[Answer | None], None]
"""Takes the answer to one operation, or None when the node ended before there was one."""


class Journal(Protocol):
    """Where records become durable."""

    def append(self, records: Sequence[LogRecord]) -> None:
        """Make all durable, or none, before returning."""
        ...


def wall_clock_ms() -> int:
    """Return the time of the day: the only place where it enters the node."""
    return time.time_ns() // 1_000_000


class ProtocolRuntime:
    """A running peer. Every method but `run` and `submit` returns at once."""

    def __init__(
        self,
        replica: Replica,
        journal: Journal,
        table: Table,
        credentials: Credentials,
        *,
        book: AddressBook | None = None,
        wall_ms: Callable[[], int] = wall_clock_ms,
        limits: PersonalLimits | None = None,
        resume: Callable[[], Replica] | None = None,
        tally: Tally | None = None,
        rolls: Iterable[RollResult] = (),
    ) -> None:
        """Take over the replica: from now on only the runtime calls it.

        Without a `book` the addresses are those of the table file. `limits` are those of the player
        here; `tally` and `rolls` are what was counted and settled before this start.
        """
        self.table = table
        self.book = book or AddressBook(table.chain_id, founders_of(table))
        contacts = [
            Contact(slot, identity, nickname)
            for slot, (identity, nickname) in enumerate(self.book.members)
        ]
        self.mesh = Mesh(table.chain_id, contacts, self.book, credentials, self._wake)
        self.reception = Reception(table, credentials.identity, self.book)
        self.mesh.gate = self.reception
        self.events = EventDispatcher()
        self.halted: str | None = None
        """Why this node stopped voting, if it did."""
        self.bound: tuple[Address, ...] = ()
        """Where it listens, once it does."""
        self.ended = trio.Event()
        """Set when the node has stopped."""
        self._replica = replica
        self._resume = resume
        self._journal = journal
        self._wall_ms = wall_ms
        self._limits = limits
        self._gossip: dict[ValidatorIndex, TokenBucket] = {}
        self._tally = tally or Tally()
        self._awaited = trio.Event()
        self._submitted: deque[Submission] = deque()
        self._callbacks: dict[int, tuple[Callback, int]] = {}
        self._last_ticket = 0
        self._rolls: deque[RollResult] = deque(rolls, maxlen=ROLLS_KEPT)
        self._newer = trio.Event()
        self._scope = trio.CancelScope()
        self._ended = ""
        self._faults: defaultdict[int, _FaultMeter] = defaultdict(_FaultMeter)
        self._followed: tuple[object, ...] = (None, None, None)

    async def run(
        self,
        listen: Address,
        task_status: "trio.TaskStatus[list[Address]]" = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Run until stopped or cancelled; reports the bound addresses when peers can connect.

        Raises:
            OperatorError: The address cannot be listened on, or the disk refuses; in a group.
            LeftTableError: The member here has left, and nobody needs this node any more.
        """
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    bound = await nursery.start(self.mesh.run, listen)
                    self.bound = tuple(bound)
                    task_status.started(bound)
                    await self._own()
                    nursery.cancel_scope.cancel()  # a halted node keeps no links
                if self.halted is None:
                    raise LeftTableError(self.table.descriptor.name)
                await trio.sleep_forever()
        finally:
            self._end(NODE_ENDED)
            self._newer.set()
            self.ended.set()

    def stop(self) -> None:
        """End `run` soon, in good order."""
        self._scope.cancel()

    # What players and pages call.

    async def submit(self, operations: Sequence[AnyOperation]) -> list[Answer]:
        """Submit operations and wait until each is refused here or final; answers in order.

        Cancelled or refused halfway, what was submitted stands; only the answers are lost.

        Raises:
            OperatorError: Too many are waiting, or the node ended before there was an answer.
        """
        tickets: list[int] = []
        answers: dict[int, Answer] = {}
        done = trio.Event()

        def take(answer: Answer | None) -> None:
            if answer is not None:
                answers[answer.ticket] = answer
            if answer is None or len(answers) == len(operations):
                done.set()

        try:
            tickets.extend(self.submit_nowait(operation, take) for operation in operations)
            if tickets:
                await done.wait()
        finally:
            for ticket in tickets:
                self._callbacks.pop(ticket, None)
        if len(answers) < len(tickets):
            raise OperatorError(self._ended or UNKNOWN_END)
        return [answers[ticket] for ticket in tickets]

    def submit_nowait(self, operation: AnyOperation, callback: Callback) -> int:
        """Submit an operation; `callback` is called by the owner, must not block, and may submit.

        Returns the ticket. Operations submitted before the owner's next turn share one action.

        Raises:
            OperatorError: 65,536 operations have no answer yet, or the node has ended.
        """
        if self._ended:
            raise OperatorError(self._ended)
        if len(self._callbacks) >= SUBMITTED_MAX:
            raise OperatorError(
                f"{len(self._callbacks)} operations have no answer yet; the limit is {SUBMITTED_MAX}"
            )
        self._last_ticket += 1
        ticket = self._last_ticket
        self._callbacks[ticket] = (callback, time.perf_counter_ns())
        self._submitted.append(Submission(ticket, operation))
        self._awaited.set()
        return ticket

    def view(self, shown: int | None = None) -> TableView:
        """Return the table after the last final block, as the player here sees it.

        `shown` is the session to look at, if it is open.
        """
        final, me = self._replica.final, self._replica.player
        waits_for, away = self.absence()
        engine = self._replica.engine
        return build_view(
            final.game,
            self._rolls,
            table=self.table.descriptor.name,
            names=[member.nickname for member in final.membership.members],
            me=-1 if me is None else me,
            state_root=final.root,
            membership=final.membership,
            asking=self.reception.asking(me),
            shown=shown,
            waits_for=waits_for,
            away=away,
            no_vote_text=vote_text(engine.muted, engine.floor, self._replica.validators.n),
        )

    def invite(self) -> str:
        """Return an invite to this table for one person; raises `OperatorError`."""
        return self.reception.invite(
            self._replica.final.membership, self._replica.player, self._wall_ms()
        )

    def follow_members(self) -> None:
        """Link to whom the final state names as members, and to no others."""
        membership = self._replica.final.membership
        news = membership.members, membership.newcomers, membership.voters
        if all(map(operator.is_, news, self._followed)):
            return
        self._followed = news
        self.book.enrol([(one.identity, one.nickname) for one in membership.members])
        contacts = [
            Contact(
                slot,
                member.identity,
                member.nickname,
                bool(member.left) and slot not in membership.voters,
            )
            for slot, member in enumerate(membership.members)
        ]
        further = self.book.members[len(contacts) :]
        contacts += [
            Contact(slot, identity, nickname)
            for slot, (identity, nickname) in enumerate(further, len(contacts))
        ]
        self.reception.follow(membership)
        self.mesh.update(contacts)

    def absence(self) -> tuple[int, tuple[str, ...]]:
        """Return how many voters are missing for a quorum, and the voters without a link here."""
        members = self.mesh.statistics()
        voters = [members[slot] for slot in self._replica.final.membership.voters]
        away = tuple(sorted(voter.name for voter in voters if not voter.up))
        missing = self._replica.validators.q - (len(voters) - len(away))
        return max(0, missing), away

    async def wait_newer(self, height: int) -> int:
        """Wait until a block above `height` is final; return the final height then.

        Raises:
            OperatorError: The node has stopped.
        """
        while (final := self._replica.final.height) <= height:
            if self.ended.is_set():
                raise OperatorError(self._ended)
            await self._newer.wait()
        return final

    def status(self) -> dict[str, object]:
        """Return everything about the node that a person may want to see, as plain values."""
        facts: dict[str, object] = asdict(self.statistics())
        facts["state_root"] = self._replica.final.root.hex()
        facts["view"] = self._replica.engine.view
        facts["waits_for"], facts["away"] = self.absence()
        facts["games"] = [asdict(game) for game in games_of(self._replica.final.game)]
        facts["players"] = [asdict(player) for player in self.players()]
        facts["halted"] = self.halted or ""
        facts["listening"] = [str(address) for address in self.bound]
        if (fairness := self.fairness()) is not None:
            facts["fairness"] = fairness_facts(fairness)
        facts["members"] = self._member_facts()
        facts["peers"] = [asdict(peer) for peer in self.mesh.statistics()]
        return facts

    def _member_facts(self) -> list[dict[str, object]]:
        membership = self._replica.final.membership
        return [member_facts(membership, slot) for slot in range(len(membership.members))]

    def why(self) -> dict[str, object]:
        """Return why nothing moves, as plain values."""
        up = [peer.up for peer in self.mesh.statistics()]
        why = explain(self._replica.situation(lambda slot: slot < len(up) and up[slot]))
        return facts_of(why)

    def statistics(self) -> RuntimeStatistics:
        """Return what this node did since it started."""
        tally, door, links = self._tally, self._replica.pipeline, self.mesh.counters
        final, counts, before = self._replica.final, self._tally.counts, self._tally.before
        tally.look_at_games(final.game.sessions, final.time_ms)
        peers = [peer.counters for peer in self.mesh.statistics()]
        uptime_ms = max(1, self._now().mono_ms - tally.started_ms)

        def per_s(count: int) -> float:
            return round(count * 1000 / uptime_ms, 3)

        return RuntimeStatistics(
            uptime_ms=uptime_ms,
            ran_ms=before.ran_ms + uptime_ms,
            height=final.height,
            blocks=counts.blocks,
            blocks_per_s=per_s(counts.blocks - before.blocks),
            actions=counts.actions,
            operations=counts.operations,
            operations_per_s=per_s(counts.operations - before.operations),
            games_total=counts.games_total,
            games_active=counts.games_total - counts.games_ended,
            games_ended_per_s=per_s(counts.games_ended - before.games_ended),
            game_mean_ms=counts.games_ended_ms // max(1, counts.games_ended),
            rolls=counts.rolls,
            rolls_per_s=per_s(counts.rolls - before.rolls),
            outcomes=dict(sorted(counts.outcomes.items())),
            volume=counts.volume,
            house_profit=counts.house_profit,
            submitted=counts.submitted,
            waiting=len(self._callbacks),
            refused_here=counts.refused_here,
            latency_p50_us=tally.latencies.quantile_us(500),
            latency_p90_us=tally.latencies.quantile_us(900),
            latency_p99_us=tally.latencies.quantile_us(990),
            latency_p999_us=tally.latencies.quantile_us(999),
            steps=tally.steps,
            commits=tally.commits,
            records=tally.records,
            frames_received=links.frames_received,
            frames_received_per_s=per_s(links.frames_received),
            frames_sent=links.frames_sent,
            frames_sent_per_s=per_s(links.frames_sent),
            bytes_received=links.bytes_received,
            bytes_sent=links.bytes_sent,
            writes=links.writes,
            frames_dropped=sum(peer.dropped for peer in peers),
            frames_absent=sum(peer.absent for peer in peers),
            stages={
                **{number.name: count for number, count in door.received.items() if count},
                "malformed": door.malformed,
            },
            link_faults={fault.name: count for fault, count in links.faults.items()},
            peer_faults=dict(counts.faults),
            subscribers=len(self.events),
            events_lost=self.events.lost,
        )

    def players(self) -> tuple[PlayerSession, ...]:
        """Return every player as people want to see them: what is agreed, and what is known here."""
        final, links = self._replica.final, self.mesh.statistics()
        own = self._replica.player
        return tuple(
            PlayerSession(
                agreed=agreed_half(final.game, final.membership, slot),
                local=LocalHalf(
                    is_here=slot == own,
                    connected=links[slot].up,
                    remote=links[slot].remote,
                    frames_received=links[slot].counters.frames_received,
                    frames_sent=links[slot].counters.frames_sent,
                    hold_offs=links[slot].counters.hold_offs,
                    actions_per_second_max=GOSSIP_PER_SECOND,
                    actions_left=self._gossip_left(ValidatorIndex(slot)),
                ),
            )
            for slot in range(min(len(final.membership.members), len(links)))
        )

    def _gossip_left(self, peer: ValidatorIndex) -> int:
        rate = self._gossip.get(peer)
        return GOSSIP_BURST if rate is None else rate.level()

    def fairness(self) -> Fairness | None:
        """Return what the table's rolls say of its dice, None where nobody measures."""
        meter = self._tally.fairness
        return None if meter is None else meter.report()

    def memory(self) -> Memory:
        """Return what the next run of this node should know."""
        tally, counts = self._tally, self._tally.counts
        counts.ran_ms = tally.before.ran_ms + self._now().mono_ms - tally.started_ms
        return Memory(
            chain_id=self.table.chain_id.hex(),
            height=self._replica.final.height,
            counts=counts,
            latencies=tally.latencies.kept(),
            fairness=None if tally.fairness is None else tally.fairness.state(),
            rolls=list(self._rolls),
        )

    # The owner.

    def _wake(self) -> None:
        self._awaited.set()

    def _now(self) -> Now:
        return Now(round(trio.current_time() * 1000), self._wall_ms())

    async def _own(self) -> None:
        """Drive the replica until it halts or is done; an exception of its ends the node."""
        try:
            now = self._now()
            self._tally.started_ms = now.mono_ms
            self._perform(self._replica.start(now), now)
            while self.halted is None and not self._replica.is_done:
                await self._wait()
                self._step()
            if self.halted is None:
                log.info("done: the member here has left")
                await trio.sleep(FAREWELL_SECONDS)
        except Exception:
            log.critical("the node ends: its replica, disk or driver failed", exc_info=True)
            raise

    async def _wait(self) -> None:
        """Wait for an input or the replica's deadline; let the other tasks run in any case."""
        if self._submitted or self.mesh.has_input:
            await trio.lowlevel.checkpoint()
            return
        self._awaited = trio.Event()
        deadline_ms = self._replica.deadline_ms
        if deadline_ms is None:
            await self._awaited.wait()
        else:
            with trio.move_on_at(deadline_ms / 1000):
                await self._awaited.wait()

    def _step(self) -> None:
        """Hand over what has gathered, then perform everything that comes out of it."""
        replica = self._replica
        now = self._now()
        effects: list[ReplicaEffect] = []
        for peer, up in self.mesh.take_changes():
            self.events.publish(LinkChanged(peer, up))
            if up:
                effects += replica.peer_up(peer, now)
        frames = self._within_rates(self.mesh.take(BATCH_FRAMES_MAX), now)
        if log.isEnabledFor(logging.DEBUG):
            _trace(frames, self._submitted)
        if frames:
            effects += replica.receive(frames, now)
        if self._submitted:
            batch = list(self._submitted)
            self._submitted.clear()
            self._tally.counts.submitted += len(batch)
            if self._limits is not None:
                batch = self._within_limits(batch, self._limits, now)
            effects += replica.submit(batch, now)
        deadline_ms = replica.deadline_ms
        if deadline_ms is not None and deadline_ms <= now.mono_ms:
            effects += replica.handle_deadline(now)
        self._tally.steps += 1
        self._perform(effects, now)

    def _within_rates(
        self, frames: list[tuple[ValidatorIndex, bytes]], now: Now
    ) -> list[tuple[ValidatorIndex, bytes]]:
        """Drop gossip that exceeds a peer's rate, and count it against the peer."""
        kept = []
        for peer, frame in frames:
            if frame[0] == Number.ACTION:
                rate = self._gossip.get(peer)
                if rate is None:
                    rate = self._gossip[peer] = TokenBucket(GOSSIP_PER_SECOND, GOSSIP_BURST)
                if rate.take(1, now.mono_ms):
                    self._report(peer, f"more than {GOSSIP_PER_SECOND} actions in a second", now)
                    continue
            kept.append((peer, frame))
        return kept

    def _within_limits(
        self, batch: list[Submission], limits: PersonalLimits, now: Now
    ) -> list[Submission]:
        """Answer what goes beyond the player's own limits; return the rest."""
        try:
            limits.refresh()
        except OperatorError as error:
            log.warning("own limits stay as they were reason=%s", error)
        player = self._replica.player
        if player is None or not limits.are_set(now.wall_ms):
            return batch
        game, pending = self._replica.final.game, self._replica.pending
        at_stake = staked(game, player) + sum(
            waiting.amount for waiting in pending if isinstance(waiting, PlaceBet)
        )
        account, kept = game.accounts[player], []
        for submission in batch:
            operation = submission.operation
            standing = Standing(account.won, account.lost, at_stake)
            refusal = limits.refuse(operation, standing, now.wall_ms)
            if refusal is not None:
                self._answer(Answer(submission.ticket, 0, refusal), 0)
                continue
            if isinstance(operation, PlaceBet):
                at_stake += operation.amount
            kept.append(submission)
        return kept

    def _perform(self, effects: Sequence[ReplicaEffect], now: Now) -> None:
        """Perform effects in order, except that all of a turn's records share the first commit.

        A record may be durable earlier than its place says, never later, so nothing is sent that
        could be forgotten. The commit runs here, not in a thread: a hop to one adds half of the
        commit's own CPU time (0.1 to 0.2 ms), what arrives meanwhile waits in the sockets and
        shares the next commit, and a view can never show what is not durable yet.
        """
        while effects:
            records = [
                r for effect in effects if isinstance(effect, Persist) for r in effect.records
            ]
            if records:
                self._journal.append(records)
                self._tally.commits += 1
                self._tally.records += len(records)
            if log.isEnabledFor(logging.DEBUG):
                for effect in effects:
                    log.debug("effect %s", _describe(effect))
            answered_ns = time.perf_counter_ns()
            further: list[ReplicaEffect] = []
            for effect in effects:
                match effect:
                    case Send(to, frame):
                        self.mesh.send(to, frame)
                    case Answer():
                        self._answer(effect, answered_ns)
                    case Persist():
                        pass
                    case Committed():
                        self._tally.count_block(effect)
                        self.events.publish(
                            Final(
                                effect.height,
                                effect.hash,
                                effect.header.time_ms,
                                len(effect.body.actions),
                            )
                        )
                    case Played():
                        self._played(effect)
                    case RequestEntropy(size):
                        assert 0 < size <= ENTROPY_BYTES_MAX, f"{size} bytes of entropy"
                        further += self._replica.entropy(os.urandom(size), now)
                    case Report(peer, fault):
                        self._report(peer, fault, now)
                    case Halt(reason):
                        self._halt(reason)
                    case Rebased(height):
                        further += self._begin_anew(height, now)
                    case _:
                        assert_never(effect)
            self.mesh.flush()
            effects = further

    def _begin_anew(self, height: int, now: Now) -> list[ReplicaEffect]:
        """Go on from a state that was fetched, as after a restart: the journal has it by now."""
        log.info("state fetched height=%d", height)
        assert self._resume is not None, "a node with a journal to read can fetch a state"
        self._replica = self._resume()
        self._drop_callbacks()
        self.follow_members()
        effects = self._replica.start(now)
        for slot, peer in enumerate(self.mesh.statistics()):
            if peer.up and slot != self._replica.player:
                effects += self._replica.peer_up(ValidatorIndex(slot), now)
        self._newer.set()
        self._newer = trio.Event()
        return effects

    def _played(self, played: Played) -> None:
        was_alarmed = self._is_alarmed
        self._tally.count_result(played.result)
        if self._is_alarmed and not was_alarmed:
            log.warning("dice alarm height=%d", played.height)
        self._tally.look_at_games(self._replica.final.game.sessions, played.result.time_ms)
        self._rolls.extend(played.result.rolls)
        self.follow_members()
        self.events.publish(played)
        self._newer.set()
        self._newer = trio.Event()

    @property
    def _is_alarmed(self) -> bool:
        meter = self._tally.fairness
        return meter is not None and meter.is_alarmed

    def _answer(self, answer: Answer, now_ns: int) -> None:
        callback, submitted_ns = self._callbacks.pop(answer.ticket, (None, 0))
        if callback is None:
            return  # who asked no longer waits
        if answer.height:
            self._tally.latencies.add((now_ns - submitted_ns) // 1000)
        else:
            self._tally.counts.refused_here += 1
        callback(answer)

    def _report(self, peer: ValidatorIndex, fault: str, now: Now) -> None:
        self._tally.count_fault(fault)
        log.warning("fault peer=%d reason=%s", peer, fault)
        if self._faults[peer].exceeds(now.mono_ms):
            self.mesh.hold_off(peer, f"{FAULTS_PER_MINUTE_MAX} faults in a minute, last: {fault}")
            self.events.publish(PeerHeldOff(peer, fault))

    def _halt(self, reason: str) -> None:
        log.critical("halted reason=%s", reason)
        self.halted = reason
        self.events.publish(Halted(reason))
        self._end(f"the node has halted: {reason}")

    def _end(self, why: str) -> None:
        """Let nobody wait for an answer that cannot come."""
        self._ended = self._ended or why
        self._drop_callbacks()

    def _drop_callbacks(self) -> None:
        callbacks, self._callbacks = self._callbacks, {}
        self._submitted.clear()
        for callback, _ in callbacks.values():
            callback(None)


class _FaultMeter:
    """Counts the faults of one peer in the current minute."""

    __slots__ = ("_count", "_since_ms")

    def __init__(self) -> None:
        self._count = 0
        self._since_ms = 0

    def exceeds(self, now_ms: int) -> bool:
        """Count one; say whether it is the last that is put up with."""
        if now_ms - self._since_ms >= _MINUTE_MS:
            self._since_ms, self._count = now_ms, 0
        self._count += 1
        if self._count < FAULTS_PER_MINUTE_MAX:
            return False
        self._count = 0
        return True


def _trace(frames: Sequence[tuple[ValidatorIndex, bytes]], submitted: Sequence[Submission]) -> None:
    """Log the inputs of a turn; with the effects it is a complete trace."""
    for peer, frame in frames:
        log.debug("receive peer=%d number=%d bytes=%d", peer, frame[0], len(frame))
    for submission in submitted:
        log.debug("submit ticket=%d operation=%s", submission.ticket, submission.operation)


def _describe(effect: ReplicaEffect) -> str:
    """Return one line about an effect: all of it that a reader of the log can use."""
    match effect:
        case Persist(records):
            return "persist " + ",".join(type(record).__name__ for record in records)
        case Send(to, frame):
            return f"send to={'all' if to is None else to} number={frame[0]} bytes={len(frame)}"
        case RequestEntropy(size):
            return f"entropy size={size}"
        case Committed():
            return f"committed height={effect.height} hash={effect.hash.hex()[:16]}"
        case Played(height, _):
            return f"played height={height}"
        case Report(peer, fault):
            return f"report peer={peer} fault={fault}"
        case Answer(ticket, height, _):
            return f"answer ticket={ticket} height={height}"
        case Halt(reason):
            return f"halt reason={reason}"
        case Rebased(height):
            return f"rebased height={height}"
        case _:
            assert_never(effect)
