"""The tables of one run: one after the other, or shared out over processes.

Tables of one scenario never meet: each has its own heap, its own network and streams of chance that
are named by the seed and its number. So each runs from its first boot to its end before the next
one begins, and what is left of it is what it came to: memory does not grow with their number, and
what a run comes to does not depend on who ran which table.
"""

import gc
import os
import selectors
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from netsim.outcome import Ended
from netsim.scenario import Scenario, parse_scenario
from netsim.sealing import sealed
from netsim.weather import resolve
from netsim.workers import Worker
from netsim.world import TableRun

WINDOW_MS = 1_000
"""A table tells how far it is after so much virtual time."""
YOUNG_MAX = 50_000
"""Objects, some MB of them, after which Python looks for rings among the new ones; 700 is its own
choice. A table makes few rings and is one itself, which is found as a whole once it is over."""
_WORKER = "from netsim.shares import work; work()"

Tell = Callable[[int, int], None]
"""Takes a table and the virtual milliseconds that it has behind it."""


class Order(msgspec.Struct, frozen=True):
    """What is asked of whoever runs tables: `keep` happenings of each, or only of `kept_table`."""

    scenario: str
    seed: int
    keep: int
    kept_table: int | None
    until_ms: int | None


class Answer(msgspec.Struct, frozen=True):
    """What a worker says of its table: how far it is, or what it came to."""

    now_ms: int
    ended: Ended | None = None


def splits(scenario: Scenario) -> bool:
    """Say whether the tables of a scenario may be run by several processes.

    Those of tier `core` may. Whole nodes hold the clocks and doors of their process, and real ones
    sit at one table.
    """
    return scenario.tier == "core" and scenario.tables > 1


def run_table(resolved: Scenario, table: int, order: Order, tell: Tell) -> Ended:
    """Run one table to its end, or up to the time that is asked for."""
    keep = order.keep if order.kept_table in {None, table} else 0
    until_ms = order.until_ms
    with sealed(), _rarely_collected():
        one = TableRun(resolved, order.seed, table, keep=keep)
        now_ms = 0
        while not one.is_done and now_ms != until_ms:
            now_ms += WINDOW_MS
            if until_ms is not None:
                now_ms = min(now_ms, until_ms)
            one.advance(now_ms)
            tell(table, now_ms)
        return one.ended()


@contextmanager
def _rarely_collected() -> Iterator[None]:
    young, *older = gc.get_threshold()
    gc.set_threshold(YOUNG_MAX, *older)
    try:
        yield
    finally:
        gc.set_threshold(young, *older)


def run_here(resolved: Scenario, order: Order, tell: Tell) -> Iterator[Ended]:
    """Run all tables in this process, in order."""
    for table in range(resolved.tables):
        yield run_table(resolved, table, order, tell)


def work() -> None:
    """Be a worker: an order on the first line of standard input, then one table on each."""
    order = msgspec.json.decode(sys.stdin.readline(), type=Order)
    resolved = resolve(parse_scenario(order.scenario), order.seed)

    def answer(now_ms: int, ended: Ended | None = None) -> None:
        sys.stdout.buffer.write(msgspec.json.encode(Answer(now_ms, ended)) + b"\n")
        sys.stdout.buffer.flush()

    try:
        for line in sys.stdin:
            ended = run_table(resolved, int(line), order, lambda _table, now_ms: answer(now_ms))
            answer(ended.now_ms, ended)
    except BrokenPipeError:  # nobody is there any more, nor for what is still in the buffer
        os._exit(1)


class _Sharer(Worker):
    """A process and the table that it has."""

    table = -1


class Shares:
    """Runs the tables of a scenario in `jobs` processes of this machine; see the module's text."""

    def __init__(self, tables: int, order: Order, jobs: int) -> None:
        """Be ready to run so many tables."""
        self.lost: list[str] = []
        """What is missing because of processes that died, as the run's outcome says it."""
        self._order = msgspec.json.encode(order)
        self._waiting = deque(range(tables))
        self._jobs = min(jobs, tables)

    def run(self, tell: Tell) -> list[Ended]:
        """Run all tables and return what they came to, in order, without those of `lost`.

        A process that dies takes its table with it; the others run the rest.
        """
        ended: dict[int, Ended] = {}
        sharers: list[_Sharer] = []
        with selectors.DefaultSelector() as selector:
            try:
                for number in range(self._jobs):
                    sharers.append(_Sharer(_WORKER, number, self._order))
                    selector.register(sharers[-1], selectors.EVENT_READ)
                    self._give(sharers[-1])
                while selector.get_map():
                    for key, _ in selector.select():
                        sharer = key.fileobj
                        assert isinstance(sharer, _Sharer), "nothing else is registered"
                        if not self._collect(sharer, ended, tell):
                            selector.unregister(sharer)
            finally:
                for sharer in sharers:
                    sharer.end()
        if self._waiting:
            first, last = self._waiting[0], self._waiting[-1]
            self.lost.append(f"run of tables {first} to {last}: no process was left for them")
        return [one for _, one in sorted(ended.items())]

    def _give(self, sharer: _Sharer) -> bool:
        """Hand over the next table, and say whether there was one."""
        if not self._waiting:
            return False
        sharer.table = self._waiting.popleft()
        sharer.say(b"%d" % sharer.table)
        return True

    def _collect(self, sharer: _Sharer, ended: dict[int, Ended], tell: Tell) -> bool:
        """Take what a process has to say, and say whether more will come."""
        lines = sharer.read()
        if lines is None:
            code = sharer.end()
            self.lost.append(f"end of table {sharer.table}: its process died (exit {code})")
            return False
        for line in lines:
            answer = msgspec.json.decode(line, type=Answer)
            tell(sharer.table, answer.now_ms)
            if answer.ended is not None:
                ended[sharer.table] = answer.ended
                return self._give(sharer)
        return True
