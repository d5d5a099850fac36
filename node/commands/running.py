"""How a command runs until something ends it: its own end, a signal, or the end of its starter."""

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from node.errors import NodeEndedError, OperatorError

T = TypeVar("T")

_READ_BYTES = 4096
INTERRUPTED = 130
"""What shells report for a program that Ctrl-C ended: 128 and the number of SIGINT."""


def run_until_ended(main: Callable[[], Awaitable[T]], *, leash: bool = False) -> T | None:
    """Run `main` in trio and return its result, or None if SIGTERM or the leash ended it.

    `leash` ends it when standard input ends: whoever starts nodes holds the other end, so that they
    end with it even if it is killed.

    Raises:
        OperatorError: As `main` raises it, alone, whatever nursery it came out of.
        KeyboardInterrupt: On Ctrl-C, after `main` has cleaned up.
    """
    return trio.run(_run, main, leash)


async def _run(main: Callable[[], Awaitable[T]], leash: bool) -> T | None:
    interrupted = False
    result: T | None = None

    async def watch_signals(task_status: trio.TaskStatus[None]) -> None:
        nonlocal interrupted
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            task_status.started()
            async for number in signals:
                interrupted = number == signal.SIGINT
                nursery.cancel_scope.cancel()

    async def watch_leash() -> None:
        while await trio.to_thread.run_sync(_read_some, abandon_on_cancel=True):
            pass
        nursery.cancel_scope.cancel()

    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(watch_signals)
            if leash:
                nursery.start_soon(watch_leash)
            result = await main()
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise _operator_error(group) from None
    if interrupted:
        raise KeyboardInterrupt
    return result


def _read_some() -> bytes:
    return os.read(sys.stdin.fileno(), _READ_BYTES)


def _operator_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the operator's error in a group that holds nothing worse, else the group itself."""
    ours, others = group.split(OperatorError)
    if others is not None or ours is None:
        return group
    # Whoever sits at the node sees it end; what ended it is the better answer.
    error: BaseException = ours.split(NodeEndedError)[1] or ours
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
