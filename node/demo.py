"""A table of real node processes on this machine, through the real lobby, on a leash.

Every node is its own process with its own folder, started by the same commands that people type. The
leash is their standard input: it ends with the process that holds it, however that one ends.
"""

import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio

from node.bots import STYLES
from node.config import Folder, write_config
from node.errors import OperatorError
from node.identity import create_keys

NAMES = (
    "anna", "ben", "carla", "dmitri", "elena", "farid", "greta", "hugo",
    "ines", "jonas", "kira", "luis", "mina", "noor", "olga", "pablo",
)  # fmt: skip
LISTEN = "127.0.0.1:0"
START_SECONDS = 60
"""For sixteen interpreters to start on a small machine, and their lobby to end."""
STOP_SECONDS = 10
LOG_TAIL_BYTES = 2048


@dataclass(slots=True)
class NodeProcess:
    """One node: the command that starts it, and comes back with it after any end."""

    name: str
    folder: Folder
    arguments: tuple[str, ...]
    process: trio.Process | None = field(default=None, init=False)

    @property
    def words(self) -> str:
        """What a person would type to start this node."""
        return " ".join(("bitcraps", *self.arguments))

    @property
    def log(self) -> Path:
        """Where its standard error goes."""
        return self.folder.root / "node.log"

    async def start(self) -> None:
        """Start the process, or start it again."""
        with self.log.open("ab") as log:
            self.process = await trio.lowlevel.open_process(
                [sys.executable, "-m", "node", *self.arguments, "--leash"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for whoever started it, which then ends it
            )

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

    Member i of `names` has the folder `root/NAME`; the first one is the host.
    """

    root: Path
    names: tuple[str, ...]
    you: str | None
    rolls: int | None
    table: str = "demo"


def prepare(plan: Plan) -> list[NodeProcess]:
    """Make a folder for each node; raises `OperatorError` if one is in use."""
    nodes = []
    for index, name in enumerate(plan.names):
        folder = Folder(plan.root / name)
        write_config(folder, name, LISTEN)
        create_keys(folder.identity)
        nodes.append(NodeProcess(name, folder, _seat_arguments(plan, index)))
    return nodes


def _seat_arguments(plan: Plan, index: int) -> tuple[str, ...]:
    data = ("--data", str(plan.root / plan.names[index]))
    if plan.names[index] == plan.you:
        return data
    styles = tuple(STYLES)
    limit = () if plan.rolls is None else ("--rolls", str(plan.rolls))
    return (*data, "--bot", styles[index % len(styles)], *limit)


@asynccontextmanager
async def open_table(plan: Plan, nodes: Sequence[NodeProcess]) -> AsyncIterator[None]:
    """Start all nodes and seat them through a lobby; end every one of them at the end.

    Raises:
        OperatorError: A node ended or was not at the table in time, with its last words.
    """
    try:
        await _start(nodes, plan.table)
        yield
    finally:
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                for node in nodes:
                    nursery.start_soon(node.stop)


async def _start(nodes: Sequence[NodeProcess], table: str) -> None:
    host, *guests = nodes
    host.arguments = ("host", "--name", table, "--seats", str(len(nodes)), *host.arguments)
    with trio.move_on_after(START_SECONDS):
        await host.start()
        invite = await _read_invite(host)
        for guest in guests:
            guest.arguments = ("join", invite, *guest.arguments)
            await guest.start()
        await _all_seated(nodes)
        return
    late = next(node for node in nodes if not node.folder.table.exists())
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
    while not all(node.folder.table.exists() for node in nodes):
        for node in nodes:
            assert node.process is not None, "every node was started"
            if node.process.poll() is not None:
                raise OperatorError(f"{node.name} ended: {node.last_words()}")
        await trio.sleep(0.05)
