"""A table of real node processes on this machine, through the real lobby, on a leash.

Every node is its own process with its own folder, started by the same commands that people type. The
leash is their standard input: it ends with the process that holds it, however that one ends.
"""

import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import trio

from node.agreement import Standing, disagreement
from node.config import Folder, write_config
from node.control import ControlClient, open_control
from node.errors import OperatorError
from node.game.games import NUMBERS
from node.identity import create_keys
from node.inspection import read_standing
from node.membership import SetVote
from node.strategies import STRATEGIES
from node.terminal import render_roll
from node.view import TableView

NAMES = (
    "anna", "ben", "carla", "dmitri", "elena", "farid", "greta", "hugo",
    "ines", "jonas", "kira", "luis", "mina", "noor", "olga", "pablo",
)  # fmt: skip
LISTEN = "127.0.0.1:0"
GAME = next(iter(NUMBERS))
STYLES = 4
"""Of the strategies of a game, the first ones, which the bots play in turn."""
START_SECONDS = 60
"""For sixteen interpreters to start on a small machine, and their lobby to end."""
STOP_SECONDS = 10
STALL_SECONDS = 120
REST_SECONDS = 10
LOOK_SECONDS = 0.1
LOG_TAIL_BYTES = 2048


@dataclass(slots=True)
class NodeProcess:
    """One node: the command that starts it, and comes back with it after any end."""

    name: str
    folder: Folder
    arguments: tuple[str, ...]
    process: trio.Process | None = field(default=None, init=False)

    @property
    def log(self) -> Path:
        """Where its standard error goes."""
        return self.folder.root / "node.log"

    async def start(self, typed: str = "") -> None:
        """Start the process, or start it again; `typed` goes to its standard input."""
        with self.log.open("ab") as log:
            self.process = await trio.lowlevel.open_process(
                [sys.executable, "-m", "node", *self.arguments, "--leash"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                # Ctrl-C is for whoever started it, which then ends it. A group of its own, not a
                # session: whoever it is that dies, the system wakes what that one had stopped.
                process_group=0,
            )
        if typed:
            assert self.process.stdin is not None, "its input is a pipe"
            # Whoever waits for the node finds out that it has ended, and why.
            with suppress(trio.BrokenResourceError):
                await self.process.stdin.send_all(typed.encode())

    async def stop(self) -> None:
        """End the process in good order, within 10 s, else by force."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        with trio.move_on_after(STOP_SECONDS):
            await self.process.wait()
            return
        self.process.kill()
        await self.process.wait()

    def last_words(self) -> str:
        """Return the end of its log, as one line."""
        text = self.log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")
        return " ".join(text.split()) or "it said nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What table to make: bots play `rolls` rolls each of their style, `you` has no bot.

    Member i of `names` has the folder `root/NAME`; the first one is the host. Those of `joining`
    come to the running table after its first roll, one after the other, and ask for a vote.
    """

    root: Path
    names: tuple[str, ...]
    you: str | None
    rolls: int | None
    rules: tuple[str, ...] = ()
    game: str = GAME
    pace_seconds: float = 0
    table: str = "demo"
    joining: tuple[str, ...] = ()


def prepare(plan: Plan) -> list[NodeProcess]:
    """Make a folder for each node; raises `OperatorError` if one is in use."""
    nodes = []
    for index, name in enumerate((*plan.names, *plan.joining)):
        folder = Folder(plan.root / name)
        write_config(folder, name, LISTEN)
        create_keys(folder.identity)
        nodes.append(NodeProcess(name, folder, _seat_arguments(plan, index)))
    return nodes


def _seat_arguments(plan: Plan, index: int) -> tuple[str, ...]:
    name = (*plan.names, *plan.joining)[index]
    data = ("--data", str(plan.root / name))
    if name == plan.you:
        return data
    styles = tuple(STRATEGIES[NUMBERS[plan.game]])[:STYLES]
    limit = () if plan.rolls is None else ("--rolls", str(plan.rolls))
    pace = ("--pace", str(plan.pace_seconds)) if plan.pace_seconds else ()
    return (*data, "--bot", styles[index % len(styles)], *limit, *pace)


@asynccontextmanager
async def open_table(plan: Plan, nodes: Sequence[NodeProcess]) -> AsyncIterator[None]:
    """Start the nodes of the founders and seat them through a lobby; end all nodes at the end.

    Raises:
        OperatorError: A node ended or was not at the table in time, with its last words.
    """
    try:
        await _start(plan, nodes[: len(plan.names)])
        yield
    finally:
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                for node in nodes:
                    nursery.start_soon(node.stop)


async def _start(plan: Plan, nodes: Sequence[NodeProcess]) -> None:
    host, *guests = nodes
    rules = [word for rule in plan.rules for word in ("--rule", rule)]
    seats = str(len(nodes))
    table = ("--name", plan.table, "--seats", seats, "--game", plan.game)
    host.arguments = ("host", *table, *rules, *host.arguments)
    with trio.move_on_after(START_SECONDS):
        await host.start()
        invite = await _read_invite(host)
        for guest in guests:
            guest.arguments = ("join", "-", *guest.arguments)
            await guest.start(f"{invite}\n")
        await _all_seated(nodes)
        return
    late = next((node for node in nodes if not node.folder.table.exists()), host)
    words = late.last_words() if late.process else "not started"
    raise OperatorError(f"no table of {len(nodes)} in {START_SECONDS} s; {late.name}: {words}")


async def _read_invite(host: NodeProcess) -> str:
    """Return the one line that a host writes to its standard output."""
    assert host.process is not None, "the host was started"
    assert host.process.stdout is not None, "its output is a pipe"
    received = b""
    while b"\n" not in received:
        piece = await host.process.stdout.receive_some(4096)
        if not piece:
            await host.process.wait()
            raise OperatorError(f"the host ended: {host.last_words()}")
        received += piece
    return received.split(b"\n")[0].decode()


async def _all_seated(nodes: Sequence[NodeProcess]) -> None:
    """Wait until every node is at the table and answers."""
    for node in nodes:
        while await _status(node) is None:
            for each in nodes:
                assert each.process is not None, "every node was started"
                if each.process.poll() is not None:
                    raise OperatorError(f"{each.name} ended: {each.last_words()}")
            await trio.sleep(LOOK_SECONDS)


async def _grow(nodes: Sequence[NodeProcess], newcomers: Sequence[NodeProcess]) -> None:
    """Let newcomers join the running table after its first roll and become voters, one by one.

    Raises:
        OperatorError: One of them was refused, or did not get so far in time.
    """
    view = await _view_of_any(nodes)
    while view.rolls < 1:
        await trio.sleep(LOOK_SECONDS)
        view = await _view_of_any(nodes)
    for newcomer in newcomers:
        with trio.move_on_after(START_SECONDS):
            async with await open_control(nodes[0].folder.root) as client:
                invite = await client.invite()
            newcomer.arguments = ("join", "-", *newcomer.arguments)
            await newcomer.start(f"{invite}\n")
            await _all_seated([newcomer])
            async with await open_control(newcomer.folder.root) as client:
                await _see(client, lambda view: view.me >= 0)
                await client.submit((SetVote(1),))
                await _see(client, lambda view: view.own.votes)
            continue
        raise OperatorError(f"{newcomer.name} does not vote after {START_SECONDS} s")


async def _see(client: ControlClient, condition: Callable[[TableView], bool]) -> None:
    view = await client.view()
    while not condition(view):
        await client.wait_newer(view.height)
        view = await client.view()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a table of bots came to. `difference` says where its nodes differ; None: nowhere.

    The latencies are from a submitted operation to its final block: the middle of the nodes'
    medians, the worst of their 99th percentiles. `standings` are of the nodes whose store was read.
    """

    difference: str | None
    standings: Mapping[str, Standing]
    seconds: float
    p50_ms: float
    p99_ms: float


async def play_rolls(
    plan: Plan, nodes: Sequence[NodeProcess], show: Callable[[str], None]
) -> Report:
    """Let bots play the plan's rolls, show each, end the nodes, and compare their stores.

    Raises:
        OperatorError: No roll was settled for two minutes; the text says who stands where.
    """
    assert plan.rolls is not None, "a plan of bots has a number of rolls"
    started = trio.current_time()
    async with open_table(plan, nodes):
        founders, newcomers = nodes[: len(plan.names)], nodes[len(plan.names) :]
        async with trio.open_nursery() as nursery:
            if newcomers:
                nursery.start_soon(_grow, founders, newcomers)
            await _watch(founders, plan.rolls, show)
        seconds = trio.current_time() - started
        latencies = await _come_to_rest(nodes)
    standings: dict[str, Standing] = {}
    difference = None
    for node in nodes:
        try:
            standings[node.name] = read_standing(node.folder)
        except OperatorError as error:
            difference = difference or f"{node.name}: {error}"
    return Report(
        difference=difference or disagreement(standings, plan.rolls),
        standings=standings,
        seconds=seconds,
        p50_ms=median(p50 for p50, _ in latencies),
        p99_ms=max(p99 for _, p99 in latencies),
    )


async def _watch(nodes: Sequence[NodeProcess], rolls: int, show: Callable[[str], None]) -> None:
    """Show every roll as some node sees it, until `rolls` are settled."""
    shown = 0
    while shown < rolls:
        seen = shown
        with trio.move_on_after(STALL_SECONDS):
            view = await _view_of_any(nodes)
            while view.rolls <= shown:
                await trio.sleep(LOOK_SECONDS)
                view = await _view_of_any(nodes)
            for roll in view.last:
                if shown < roll.number <= rolls:
                    show("\n".join(render_roll(roll, [p.name for p in view.players])))
            shown = view.rolls
        if shown == seen:
            raise OperatorError(f"no roll in {STALL_SECONDS} s: {'; '.join(await _places(nodes))}")


async def _view_of_any(nodes: Sequence[NodeProcess]) -> TableView:
    """Return the view of the first node that answers."""
    while True:
        for node in nodes:
            try:
                async with await open_control(node.folder.root) as client:
                    return await client.view()
            except OperatorError:
                continue
        await trio.sleep(LOOK_SECONDS)


async def _come_to_rest(nodes: Sequence[NodeProcess]) -> list[tuple[float, float]]:
    """Wait until all nodes stand at one height, at most 10 s; return each one's latencies in ms."""
    statuses: list[Mapping[str, Any]] = []
    with trio.move_on_after(REST_SECONDS):
        heights: set[int] = set()
        while len(heights) != 1 or len(statuses) < len(nodes):
            await trio.sleep(LOOK_SECONDS)
            statuses = [status for node in nodes if (status := await _status(node))]
            heights = {status["height"] for status in statuses}
    return [
        (status["latency_p50_us"] / 1000, status["latency_p99_us"] / 1000) for status in statuses
    ] or [(0.0, 0.0)]


async def _places(nodes: Sequence[NodeProcess]) -> list[str]:
    """Say of each node where it stands, or how it ended."""
    places = []
    for node in nodes:
        status = await _status(node)
        if status is None:
            places.append(f"{node.name} does not run ({node.last_words()})")
        else:
            places.append(f"{node.name} at block {status['height']}")
    return places


async def _status(node: NodeProcess) -> Mapping[str, Any] | None:
    """Return what the node says of itself, None if it does not run."""
    try:
        async with await open_control(node.folder.root) as client:
            return await client.status()
    except OperatorError:
        return None
