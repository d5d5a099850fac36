"""Real nodes: processes that players' own command starts, with proxies for a network.

Faults are what an operating system and a network do to processes: signals, a folder that is gone,
connections that are slow, cut, reset or flip a bit. The verdict comes from outside
(`netsim/outside.py`). The faults are those of the seed, at its times; what processes make of them
differs from run to run. Whatever happens to this process, no node outlives it.
"""

import random
import signal
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio

from netsim import scenario as s
from netsim.chance import US_PER_S
from netsim.invariants import ViolatedError
from netsim.outcome import Found, Run, Violation
from netsim.outside import Witness, read_end, verify_folder
from netsim.proxies import LOOPBACK, Proxies
from netsim.scenario import scenario_hash
from netsim.strikes import fabric_of_streams, strike_network
from netsim.trace import Trace
from netsim.world import describe
from node.config import Folder, held_port, write_config
from node.control import open_control
from node.demo import NodeProcess
from node.descriptor import Table, build_descriptor, member_of, sign_accept
from node.errors import OperatorError
from node.game.games import NUMBERS
from node.game.params import GameParams, encode_params
from node.identity import create_keys
from node.serving import begin_table
from node.state_sync import BEHIND_BLOCKS
from node.strategies import STRATEGIES
from transport.base import Address

SEATED_SECONDS = 60
"""For sixteen interpreters to start on a small machine."""
LOOK_SECONDS = 0.5
LAG_MAX = 10
"""Blocks: a node that is no further behind follows the others. One that still fetches blocks may be
stopped between a block and the certificate of a later one that makes it final."""
WORDS_CHARS_MAX = 300
VERIFIED_AT_ONCE = 2
CANNOT_TELL = 2
"""What `bitcraps verify` ends with when something is missing."""
TERMS = GameParams(
    buy_in=1_000_000,
    bank=1_000_000_000,
    betting_min_ms=500,
    betting_max_ms=10_000,
    thrower_ms=2_000,
)
"""Nobody is ruined in any run, or the table would rest for want of chips; who is away holds up the
dice for a second or two, not for half a minute."""
NODES_FOLDER = "nodes"
KEPT_BY_WIPE = ("identity.key", "bitcraps.toml", "table.bin", "node.log")
STYLES = tuple(STRATEGIES[next(iter(NUMBERS.values()))])
NOTE = (
    "real processes: a seed gives the same faults at the same times, and not the same run; "
    "the digest is of the faults"
)


@dataclass(slots=True)
class _Node:
    index: int
    process: NodeProcess
    seated: bool = False
    """Its process is to be there."""
    stopped: int = 0
    """How many pauses hold it."""
    holds: int = 0
    """How many faults keep it down."""
    wiped: bool = False
    trouble: trio.Lock = field(default_factory=trio.Lock)
    """Held while its process or its folder changes."""

    @property
    def name(self) -> str:
        """As the report calls it."""
        return f"node {self.index}"

    def signal(self, number: signal.Signals) -> None:
        """Send a signal if there is a process."""
        process = self.process.process
        if process is not None and process.poll() is None:
            process.send_signal(number)


class RealTable:
    """One table of real nodes in the folders of `root`."""

    def __init__(self, scenario: s.Scenario, seed: int, root: Path, keep: int) -> None:
        """Make nothing yet; `run` does all of it."""
        self.scenario = scenario
        self.trace = Trace(keep)
        self.violation: Violation | None = None
        self.missing: list[str] = []
        """What could not be told in the end."""
        self._seed = seed
        self._root = root
        self._witness = Witness(scenario.table)
        self._nodes: list[_Node] = []
        self._down: tuple[int, ...] = ()
        self._looked = trio.Event()
        self._proxies: Proxies

    # Making a table.

    def _found(self, ports: Sequence[int]) -> None:
        """Make folders, keys and everybody's consent: what a lobby leaves behind."""
        fresh = []
        for number in range(self.scenario.table):
            folder = Folder(self._root / f"new-{number}")
            write_config(folder, f"player {number}", f"{LOOPBACK}:0")
            fresh.append((create_keys(folder.identity), folder))
        fresh.sort(key=lambda pair: pair[0].consensus.public_key)
        members = [member_of(keys, f"player {at}") for at, (keys, _) in enumerate(fresh)]
        nonce, params = random.Random(f"nonce {self._seed}").randbytes(16), encode_params(TERMS)
        descriptor = build_descriptor("real", nonce, members, params)
        accepts = tuple(sign_accept(keys, descriptor) for keys, _ in fresh)
        everybody = range(len(ports))
        for at, (_, made) in enumerate(fresh):
            folder = Folder(made.root.rename(self._root / f"node-{at}"))
            addresses = tuple((self._proxies.address(at, other),) for other in everybody)
            self._table = Table(descriptor, accepts, addresses)
            begin_table(folder, self._table)
            self._nodes.append(_Node(at, NodeProcess(f"node-{at}", folder, self._words(at))))

    def _words(self, at: int) -> tuple[str, ...]:
        words = ("run", "--data", str(self._root / f"node-{at}"))
        pace = str(self.scenario.workload.think.us / US_PER_S)
        return (*words, "--bot", STYLES[at % len(STYLES)], "--pace", pace)

    # Running it.

    async def run(self, until_ms: int | None, progress: Callable[[int], None]) -> None:
        """Run the table to its verdict; a check that fails is its violation."""
        try:
            with ExitStack() as held:
                listen = Address(LOOPBACK, 0)
                ports = [
                    held.enter_context(held_port(listen)).port for _ in range(self.scenario.table)
                ]
            fabric = fabric_of_streams(self.scenario, random.Random(f"wires {self._seed}"))
            self._proxies = Proxies(fabric, self.trace, ports)
            self._proxies.deceived = self._deceived
            await self._proxies.listen()
            self._found(ports)
            async with self._ended():
                await self._play(until_ms, progress)
            if until_ms is None:
                await self._judge()
        except* ViolatedError as group:
            error: BaseException = group
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            rule = str(error).split(maxsplit=1)[0].rstrip(":")
            self.violation = Violation(rule, str(error), 0, self._proxies.now_ms)
            self.trace.note(self._proxies.now_ms, -1, "violation", str(error))
        marks, tolls = self.trace.marks, self._proxies.fabric.tolls
        marks["rolls"] = len(self._witness.rolls)
        marks["resets"], marks["corruptions"] = self._proxies.resets, tolls.corrupted
        marks["swallowed"] = tolls.swallowed

    def _deceived(self, a: int, b: int) -> None:
        raise ViolatedError(
            f"corruption: node {b} reads on behind a bit flipped on its link to {a}"
        )

    @asynccontextmanager
    async def _ended(self) -> AsyncIterator[None]:
        """End every process, in good order if all is well and else by force."""
        gracefully = False
        try:
            yield
            gracefully = True
        finally:
            with trio.CancelScope(shield=True):
                async with trio.open_nursery() as nursery:
                    for node in self._nodes:
                        node.signal(signal.SIGCONT)
                        if not gracefully:
                            node.signal(signal.SIGKILL)
                        nursery.start_soon(node.process.stop)

    async def _play(self, until_ms: int | None, progress: Callable[[int], None]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._proxies.run)
            for node in self._nodes:
                await self._boot(node)
            with trio.move_on_after(SEATED_SECONDS) as patience:
                for node in self._nodes:
                    await self._seated(node)
            if patience.cancelled_caught:
                raise ViolatedError(f"start: not all nodes answer within {SEATED_SECONDS} s")
            self._proxies.begin()
            nursery.start_soon(self._watch, progress)
            for fault in self.scenario.fault:
                nursery.start_soon(self._strike, fault)
            with trio.move_on_after(float("inf") if until_ms is None else until_ms / 1000):
                await self._see_it_end()
            nursery.cancel_scope.cancel()

    async def _seated(self, node: _Node) -> None:
        while True:
            self._look_alive(node)
            try:
                async with await open_control(node.process.folder.root) as client:
                    await client.status()
                    return
            except OperatorError:
                await trio.sleep(0.1)

    def _look_alive(self, node: _Node) -> None:
        """Raise `ViolatedError` if a process ended that nobody has ended."""
        process = node.process.process
        if node.seated and process is not None and process.poll() is not None:
            words = node.process.last_words().rpartition("bitcraps: ")[2][-WORDS_CHARS_MAX:]
            raise ViolatedError(
                f"ended: {node.name} ended by itself, exit {process.returncode}: {words}"
            )

    async def _boot(self, node: _Node) -> None:
        self.trace.note(self._proxies.now_ms, node.index, "boot")
        await node.process.start()
        node.seated = True

    # Faults.

    async def _strike(self, fault: s.AnyFault) -> None:
        await trio.sleep(fault.at.first_us / US_PER_S)
        nodes = s.nodes_named(fault)
        seconds = fault.duration.mean_us / US_PER_S
        host = nodes[0] if len(nodes) == 1 else -1
        self.trace.note(self._proxies.now_ms, host, "fault", describe(fault))
        match fault:
            case s.Crash() | s.Wipe() | s.Pause():
                async with trio.open_nursery() as nursery:
                    for index in nodes:
                        nursery.start_soon(self._hit, self._nodes[index], fault, seconds)
            case s.Reset():
                self._proxies.break_off(nodes)
            case _:
                if isinstance(fault, s.Partition):
                    self.trace.mark("partitions")
                await strike_network(
                    self._proxies.fabric, fault, self.scenario.link, self._proxies.now_us,
                    self._proxies.mend,
                )  # fmt: skip

    async def _hit(self, node: _Node, fault: s.AnyFault, seconds: float) -> None:
        if isinstance(fault, s.Pause):
            self.trace.mark("pauses")
            node.stopped += 1
            node.signal(signal.SIGSTOP)
            await trio.sleep(seconds)
            node.stopped -= 1
            if not node.stopped:
                node.signal(signal.SIGCONT)
            return
        await self._kill(node)
        if isinstance(fault, s.Wipe):
            async with node.trouble:
                self._wipe(node)
        await trio.sleep(seconds)
        await self._back(node)

    async def _kill(self, node: _Node) -> None:
        """End a process as a power cut would, as far as a process can tell."""
        node.holds += 1
        async with node.trouble:
            if node.seated:
                self.trace.mark("crashes")
                self.trace.note(self._proxies.now_ms, node.index, "crash", "SIGKILL")
                node.seated = False
                assert node.process.process is not None, "it was seated"
                node.signal(signal.SIGKILL)
                await node.process.process.wait()

    async def _back(self, node: _Node) -> None:
        node.holds -= 1
        async with node.trouble:
            if not (node.holds or node.seated or node.index in self._down):
                self.trace.mark("restarts")
                await self._boot(node)
                if node.stopped:
                    node.signal(signal.SIGSTOP)

    def _wipe(self, node: _Node) -> None:
        for entry in node.process.folder.root.iterdir():
            if entry.name not in KEPT_BY_WIPE:
                entry.unlink()
        node.wiped = True
        self._witness.forget(node.index)
        self.trace.mark("wipes")
        self.trace.note(self._proxies.now_ms, node.index, "crash", "the folder is wiped")

    # Watching.

    async def _watch(self, progress: Callable[[int], None]) -> None:
        """Look at every process and store again and again."""
        while True:
            for node in self._nodes:
                async with node.trouble:
                    if not node.stopped:  # it may hold its file alone
                        await self._look(node)
            looked, self._looked = self._looked, trio.Event()
            looked.set()
            progress(self._proxies.now_ms)
            await trio.sleep(LOOK_SECONDS)

    async def _look(self, node: _Node) -> None:
        self._look_alive(node)
        root = node.process.folder.root
        found = await trio.to_thread.run_sync(self._witness.look, node.index, root)
        for height in found:
            self.trace.note(self._proxies.now_ms, -1, "final", f"{height} by node {node.index}")

    async def _see_it_end(self) -> None:
        """Heal everything when it is time, and wait until the table has shown that it lives."""
        scenario, witness = self.scenario, self._witness
        await trio.sleep(scenario.heals_at.us / US_PER_S)
        await self._heal()
        rolls, height = len(witness.rolls), max(witness.newest)
        with trio.move_on_after(scenario.liveness.within.us / US_PER_S):
            while not self._is_done(rolls, height):
                await self._looked.wait()
            return
        raise ViolatedError(
            f"liveness: within {scenario.liveness.within} of the end of all faults "
            f"{len(witness.rolls) - rolls} rolls of {scenario.liveness.rolls}, {self._stand()}"
        )

    def _is_done(self, rolls: int, height: int) -> bool:
        newest = self._witness.newest
        follows = max(height, max(newest) - LAG_MAX)
        return len(self._witness.rolls) - rolls >= self.scenario.liveness.rolls and all(
            newest[node.index] > follows for node in self._nodes if node.index not in self._down
        )

    async def _heal(self) -> None:
        scenario = self.scenario
        damaged = {
            node for fault in scenario.fault if fault.damages for node in s.nodes_named(fault)
        }
        healthy = [at for at in range(scenario.table) if at not in damaged]
        down = min(scenario.number(scenario.liveness.down), len(healthy))
        self._down = tuple(random.Random(f"down {self._seed}").sample(healthy, down))
        text = f"down {self._down}" if self._down else ""
        self.trace.note(self._proxies.now_ms, -1, "heal", text)
        self._proxies.heal()
        for index in self._down:
            await self._kill(self._nodes[index])

    def _stand(self) -> str:
        return "; ".join(
            f"{node.name} at block {self._witness.newest[node.index]}"
            + ("" if node.seated else ", down")
            for node in self._nodes
        )

    # The verdict.

    async def _judge(self) -> None:
        """Look at the folders that the processes left, every block of them."""
        for node in self._nodes:
            root = node.process.folder.root
            while self._witness.look(node.index, root) or self._is_behind(node):
                continue
            read_end(node.index, root)
        limit = trio.CapacityLimiter(VERIFIED_AT_ONCE)
        bets = dict.fromkeys(range(len(self._nodes)), 0)

        async def check(node: _Node) -> None:
            async with limit:
                code, told = await verify_folder(node.process.folder.root, self._table.chain_id)
            is_far = node.wiped and self._witness.newest[node.index] > BEHIND_BLOCKS
            if code == CANNOT_TELL:
                if not is_far:  # else it has fetched the state as a whole
                    self.missing.append(f"proof of {node.name}: {told.get('why', '')}")
            elif code:
                raise ViolatedError(f"verify: {node.name}: exit {code}: {told.get('why', '')}")
            bets[node.index] = int(told.get("payouts", 0))

        async with trio.open_nursery() as nursery:
            for node in self._nodes:
                nursery.start_soon(check, node)
        self.trace.marks["bets_settled"] = max(bets.values())

    def _is_behind(self, node: _Node) -> bool:
        return self._witness.heights[node.index] < self._witness.newest[node.index]


def run_real(
    run: Run, *, keep: int, until_ms: int | None, progress: Callable[[int], None]
) -> Found:
    """Run a resolved scenario of tier `real`.

    Raises:
        SystemExit: On SIGTERM or Ctrl-C, with 128 and the number of the signal, when all processes
            have ended.
    """
    with ExitStack() as held:
        if run.folder is None:
            root = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="netsim-")))
        else:
            root = run.folder / NODES_FOLDER
            root.mkdir(parents=True)
        table = RealTable(run.resolved, run.seed, root, keep)
        seconds = trio.run(_until_signalled, table, until_ms, progress)
        run.happenings[0] = table.trace.happenings()
    return Found(
        violations=() if table.violation is None else (table.violation,),
        digest=scenario_hash(run.resolved),
        events=table.trace.events,
        sim_seconds=round(seconds, 3),
        marks=table.trace.marks,
        missing=tuple(table.missing),
        done=until_ms is None,
        note=NOTE,
    )


async def _until_signalled(
    table: RealTable, until_ms: int | None, progress: Callable[[int], None]
) -> float:
    interrupted = 0
    started = trio.current_time()

    async def watch_signals(task_status: "trio.TaskStatus[None]") -> None:
        nonlocal interrupted
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            task_status.started()
            async for number in signals:
                interrupted = number
                nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        if threading.current_thread() is threading.main_thread():
            await nursery.start(watch_signals)
        await table.run(until_ms, progress)
        nursery.cancel_scope.cancel()
    if interrupted:
        raise SystemExit(128 + interrupted)
    return trio.current_time() - started
