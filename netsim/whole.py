"""Whole nodes in virtual time: runtime, mesh, handshake, framing and store, from one seed.

Everything that runs in a node process runs here but the process: trio schedules in one order, its
clock jumps, the sockets are virtual, and what a node asks the system for at random comes from the
seed. Two runs of one seed are the same to the last byte on every wire.
"""

import logging
import math
import os
import random
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import trio
import trio.testing

from consensus.effects import FinalLogged, LogRecord, Persist, SealLogged
from consensus.signing import key_id
from netsim import scenario as s
from netsim.chance import US_PER_MS
from netsim.dialects import Dialect
from netsim.fabric import pairs_of
from netsim.host import WALL_MS_START
from netsim.invariants import Invariants, ViolatedError
from netsim.outcome import Found, Run, Violation
from netsim.players import Player
from netsim.sealing import EVERYWHERE, sealed
from netsim.sockets import HOST, PORT, Wires, address_of
from netsim.strikes import fabric_of_streams, strike_network
from netsim.trace import Trace
from netsim.wiretap import TappedReplica, Wiretap
from netsim.world import RESTART_MS, describe
from node.descriptor import Table, build_descriptor, member_of, sign_accept
from node.errors import OperatorError
from node.game.params import GameParams, encode_params
from node.identity import Keys, credentials_of
from node.replica import Replica
from node.runtime import ProtocolRuntime
from node.serving import setup_of
from node.store import Journal
from transport.base import Address

LOOK_SECONDS = 0.5


@contextmanager
def virtual(seed: int) -> Iterator[None]:
    """Let trio schedule in one order, and chance and clocks come from the seed and virtual time."""
    import trio._core._run as run  # the only way: trio's own tests of its order do the same

    rng = random.Random(f"system {seed}")

    def now_ns() -> int:
        return round(trio.current_time() * 1_000_000_000)

    thread = threading.get_ident()

    def here(ours: Callable[..., Any], original: Callable[..., Any]) -> Callable[..., Any]:
        """Replace something for this thread only; the rest of the process is no part of the run."""

        def called(*args: object) -> object:
            return (ours if threading.get_ident() == thread else original)(*args)

        return called

    def wall_ns() -> int:
        return now_ns() + WALL_MS_START * 1_000_000

    replaced: list[tuple[Any, str, Any]] = [
        (run, "_ALLOW_DETERMINISTIC_SCHEDULING", True),
        (os, "urandom", here(rng.randbytes, os.urandom)),
        (secrets, "randbelow", here(rng.randrange, secrets.randbelow)),
        (time, "perf_counter_ns", here(now_ns, time.perf_counter_ns)),
        (time, "time_ns", here(wall_ns, time.time_ns)),
    ]
    held = [(owner, name, getattr(owner, name)) for owner, name, _ in replaced]
    order = run._r.getstate()  # noqa: SLF001  (the same)
    run._r.seed(seed)  # noqa: SLF001  (the same)
    logging.disable(logging.CRITICAL)  # a log line carries the time of the day
    try:
        for owner, name, value in replaced:
            setattr(owner, name, value)
        with sealed(EVERYWHERE):
            yield
    finally:
        for owner, name, value in held:
            setattr(owner, name, value)
        run._r.setstate(order)  # noqa: SLF001  (the same)
        logging.disable(logging.NOTSET)


class _WatchedJournal:
    """A node's real journal with the invariants looking at what becomes durable."""

    def __init__(self, journal: Journal, watch: Callable[[Sequence[LogRecord]], None]) -> None:
        self._journal = journal
        self._watch = watch

    def append(self, records: Sequence[LogRecord]) -> None:
        self._journal.append(records)
        self._watch(records)


@dataclass(slots=True)
class _Node:
    index: int
    folder: Path
    scope: trio.CancelScope | None = None
    replica: TappedReplica | None = None
    dialect: Dialect | None = None
    runtime: ProtocolRuntime | None = None
    boots: int = 0
    down: trio.Event = field(default_factory=trio.Event)


class WholeTable:
    """One table of whole nodes."""

    def __init__(
        self, scenario: s.Scenario, seed: int, table: int, root: Path, keep: int = 0
    ) -> None:
        """Make keys, consents and folders; `run` does the rest."""
        self.scenario = scenario
        self.violation: Violation | None = None
        self.done = False
        """Whether the run came to its end."""
        self.trace = Trace(keep)
        self._number = table
        self._name = f"{seed} {table}"
        n = scenario.table
        self._keys = sorted(
            (
                Keys(blake2b(f"{self._name} {i}".encode(), digest_size=32).digest())
                for i in range(n)
            ),
            key=lambda keys: keys.consensus.public_key,
        )
        members = [member_of(keys, f"player {i}") for i, keys in enumerate(self._keys)]
        descriptor = build_descriptor("simulated", bytes(16), members, encode_params(GameParams()))
        accepts = tuple(sign_accept(keys, descriptor) for keys in self._keys)
        addresses = tuple((f"{address_of(i)}:{PORT}",) for i in range(n))
        self.table = Table(descriptor, accepts, addresses)
        self._fabric = fabric_of_streams(scenario, random.Random(f"wires {self._name}"))
        self.wires = Wires(self._fabric)
        self._nodes = [_Node(i, root / f"{table}-{i}") for i in range(n)]
        self.invariants = Invariants(
            self.table.validators(), self.table.chain_id, setup_of(self.table, self._keys[0]).verify
        )
        self._playing = True
        self._tap = Wiretap(self.trace, n, self._now_ms) if keep else None
        self._height = 0
        self._dialects: list[Dialect] = []

    def _now_ms(self) -> int:
        return self.wires.now_us // US_PER_MS

    async def run(self, until_ms: int | None, progress: Callable[[int], None]) -> None:
        """Run the table to its rest, or up to `until_ms`."""
        trio.socket.set_custom_socket_factory(self.wires)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.wires.run)
                nursery.start_soon(self._tell, progress)
                for node in self._nodes:
                    nursery.start_soon(self._live, node)
                    nursery.start_soon(self._play, node.index)
                for fault in self.scenario.fault:
                    if not fault.tables or self._number in fault.tables:
                        nursery.start_soon(self._strike, fault)
                with trio.move_on_after(math.inf if until_ms is None else until_ms / 1_000):
                    await self._see_it_end()
                    self.done = True
                nursery.cancel_scope.cancel()
        except* ViolatedError as group:
            error: BaseException = group
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            self._broken(str(error).split(maxsplit=1)[0].rstrip(":"), str(error))
        except* Exception as group:  # noqa: BLE001  (a node that raises is a finding)
            self._broken("raised", f"raised {group.exceptions!r}"[:500])
        if self._tap is not None:
            self._tap.end()

    async def _tell(self, progress: Callable[[int], None]) -> None:
        while True:
            await trio.sleep(1)
            progress(self._now_ms())

    def _broken(self, rule: str, text: str) -> None:
        if self.violation is None:
            self.violation = Violation(rule, text, self._number, self._now_ms())
            self.trace.note(self._now_ms(), -1, "violation", text)

    # A node.

    async def _live(self, node: _Node) -> None:
        """Run a node, and again after every crash."""
        HOST.set(node.index)
        while True:
            self.wires.dead.pop(node.index, None)
            with trio.CancelScope() as node.scope:
                await self._run_node(node)
            self.wires.kill(node.index)
            node.replica = node.runtime = None
            node.down = trio.Event()
            await node.down.wait()

    async def _run_node(self, node: _Node) -> None:
        keys = self._keys[node.index]
        node.boots += 1
        self.trace.note(self._now_ms(), node.index, "boot")
        journal = Journal(node.folder, self.table.chain_id, key_id(keys.identity.public_key))
        try:
            setup = setup_of(self.table, keys)
            replica = node.replica = TappedReplica(setup, journal.load(), journal.block)
            replica.tap, replica.host, replica.dialect = self._tap, node.index, node.dialect
            final = replica.final
            self._note_epoch(replica)
            self.invariants.restarted(node.index, replica.engine.final.height, final.root)
            self.invariants.shows(node.index, final.height)

            def watch(records: Sequence[LogRecord]) -> None:
                if any(isinstance(one, SealLogged) for one in records):
                    self._note_epoch(replica)
                self.invariants.observe(node.index, Persist(tuple(records)))
                for one in records:
                    if isinstance(one, FinalLogged) and one.height > self._height:
                        self._height = one.height
                        text = f"{one.height} view {one.view} by node {node.index}"
                        self.trace.note(self._now_ms(), -1, "final", text)

            runtime = node.runtime = ProtocolRuntime(
                replica, _WatchedJournal(journal, watch), self.table, credentials_of(keys)
            )
            await runtime.run(Address(address_of(node.index), PORT))
        finally:
            journal.close()

    def _note_epoch(self, replica: Replica) -> None:
        membership = replica.final.membership
        self.invariants.begins(membership.epoch, replica.validators, membership.voters)

    async def _play(self, index: int) -> None:
        rng = random.Random(f"player {self._name} {index}")
        player = Player(index, rng, self.scenario.workload)
        think = self.scenario.workload.think.us / 1_000_000
        while self.scenario.workload.kind != "idle":
            await trio.sleep(think * (0.5 + rng.random()))
            node = self._nodes[index]
            if self._playing and node.replica is not None and node.runtime is not None:
                for operation in player.wishes(node.replica):
                    with suppress(OperatorError):
                        node.runtime.submit_nowait(operation, lambda _answer: None)

    # Faults.

    async def _strike(self, fault: s.AnyFault) -> None:
        await trio.sleep(fault.at.first_us / 1_000_000)
        nodes = s.nodes_named(fault)
        seconds = fault.duration.mean_us / 1_000_000
        host = nodes[0] if len(nodes) == 1 else -1
        self.trace.note(self._now_ms(), host, "fault", describe(fault))
        match fault:
            case s.Pause():
                # A stopped process: its links stand and nothing passes.
                end_us = self.wires.now_us + fault.duration.mean_us
                self._fabric.clog(pairs_of(nodes, self._fabric.nodes), end_us)
                self.trace.mark("pauses")
            case s.Crash():
                for index in nodes:
                    self._crash(self._nodes[index])
                await trio.sleep(seconds)
                for index in nodes:
                    self._nodes[index].down.set()
            case s.Version():
                dialects = [self._make_dialect(index, fault) for index in nodes]
                await self._restart_as(nodes, dialects)
                await trio.sleep(seconds)
                if all(self._nodes[i].dialect is d for i, d in zip(nodes, dialects, strict=True)):
                    await self._restart_as(nodes, [None] * len(nodes))
            case s.Reset():
                self.trace.mark("resets", self.wires.break_off(nodes))
            case _:
                if isinstance(fault, s.Partition):
                    self.trace.mark("partitions")
                await strike_network(
                    self._fabric, fault, self.scenario.link, self.wires.now_us,
                    self.wires.mended,
                )  # fmt: skip

    def _make_dialect(self, index: int, fault: s.Version) -> Dialect:
        dialect = Dialect(random.Random(f"dialect {self._name} {index} {self._now_ms()}"), fault)
        self._dialects.append(dialect)
        return dialect

    async def _restart_as(self, nodes: Sequence[int], dialects: Sequence[Dialect | None]) -> None:
        """Stop nodes, and start them again as another version, or as this one."""
        for index, dialect in zip(nodes, dialects, strict=True):
            self._crash(self._nodes[index])
            self._nodes[index].dialect = dialect
        await trio.sleep(RESTART_MS / 1_000)
        for index in nodes:
            self._nodes[index].down.set()

    def _crash(self, node: _Node) -> None:
        self.trace.mark("crashes")
        self.trace.note(self._now_ms(), node.index, "crash", "power")
        self.wires.kill(node.index)
        if node.scope is not None:
            node.scope.cancel()

    # The end.

    async def _see_it_end(self) -> None:
        scenario = self.scenario
        await trio.sleep(scenario.heals_at.us / 1_000_000)
        held = self._fabric.hindrances(self.wires.now_us)
        hindered = f"; healed at {self._now_ms()} ms: {held}" if held else ""
        self.wires.mended(
            [pair for pair, cuts in self._fabric.blocked.items() for _ in range(cuts)]
        )
        self._fabric.heal()
        self.trace.note(self._now_ms(), -1, "heal")
        for node in self._nodes:
            node.down.set()
            node.dialect = None
            if node.replica is not None:
                node.replica.dialect = None
        limit = trio.current_time() + scenario.liveness.within.us / 1_000_000
        first = self._rolls()
        while self._playing or not self._at_rest():
            await trio.sleep(LOOK_SECONDS)
            if self._rolls() - first >= scenario.liveness.rolls:
                self._playing = False
            if trio.current_time() > limit:
                raise ViolatedError(f"L not at rest: {self._stand()}{hindered}")
        marks = self.trace.marks
        marks["rolls"] = self._rolls()
        marks["foreign"] = sum(dialect.foreign for dialect in self._dialects)
        marks["swallowed"] = self._fabric.tolls.swallowed
        marks["restarts"] = sum(node.boots - 1 for node in self._nodes)
        replicas = [node.replica for node in self._nodes if node.replica is not None]
        marks["bets_settled"] = sum(one.rolls for one in replicas[0].final.game.accounts)

    def _rolls(self) -> int:
        return max(
            (
                sum(one.rolls for one in node.replica.final.game.sessions if one is not None)
                for node in self._nodes
                if node.replica is not None
            ),
            default=0,
        )

    def _at_rest(self) -> bool:
        replicas = [node.replica for node in self._nodes if node.replica is not None]
        states = [one.final for one in replicas]
        busy = any(one.engine.awake or one.pending or one.final.closed for one in replicas)
        equal = all(state.root == states[0].root for state in states)
        return len(replicas) == len(self._nodes) and equal and not busy

    def _stand(self) -> str:
        return "; ".join(
            f"{node.index}: down"
            if node.replica is None
            else f"{node.index}: height {node.replica.final.height} view {node.replica.engine.view}"
            for node in self._nodes
        )


def run_whole(
    run: Run, *, keep: int, until_ms: int | None, progress: Callable[[int], None]
) -> Found:
    """Run a resolved scenario of tier `node`: one table after the other, each in its own time."""
    scenario, seed = run.resolved, run.seed
    tables: list[WholeTable] = []
    digest = blake2b(digest_size=16)
    seconds = 0.0
    marks: dict[str, int] = {}
    for number in range(scenario.tables):
        with tempfile.TemporaryDirectory(prefix="netsim-") as root, virtual(seed):
            table = WholeTable(scenario, seed, number, Path(root), keep)
            clock = trio.testing.MockClock(rate=0, autojump_threshold=0)

            async def live(table: WholeTable = table) -> float:
                started = trio.current_time()
                await table.run(until_ms, progress)
                return trio.current_time() - started

            seconds = max(seconds, trio.run(live, clock=clock))
        digest.update(table.wires.digest.digest())
        tables.append(table)
        run.happenings[number] = table.trace.happenings()
        for name, count in table.trace.marks.items():
            marks[name] = marks.get(name, 0) + count
    return Found(
        violations=tuple(one.violation for one in tables if one.violation is not None),
        digest=digest.hexdigest(),
        events=sum(one.wires.segments for one in tables),
        sim_seconds=round(seconds, 3),
        marks=marks,
        done=all(one.done or one.violation is not None for one in tables),
    )
