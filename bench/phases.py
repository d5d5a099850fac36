"""A node of a benchmark as a process: a runtime that is led through phases (`bench.processes`)."""

from contextlib import closing
from typing import Any, Protocol

import trio

from bench.processes import answer, read_line
from node.runtime import ProtocolRuntime
from node.store import Journal
from transport.base import Address


class Led(Protocol):
    """What is led."""

    runtime: ProtocolRuntime
    journal: Journal
    listen: Address

    async def perform(self, phase: dict[str, Any]) -> object:
        """Carry out one phase and return what it came to; what it does not know is done."""
        ...


def run_led(node: Led) -> None:
    """Run a node and its phases until the input ends."""
    with closing(node.journal):
        trio.run(_serve, node)


async def _serve(node: Led) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(node.runtime.run, node.listen)
        while (phase := await trio.to_thread.run_sync(read_line)) is not None:
            answer(await node.perform(phase))
        nursery.cancel_scope.cancel()
