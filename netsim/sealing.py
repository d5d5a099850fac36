"""Nothing from outside enters a run: what would tell two runs of one seed apart raises instead.

Clocks, the system's randomness, the process's shared generator, threads, processes, the environment,
files and their order, sockets, and where objects lie in memory. What cannot raise is the order of a
set: the tidy test finds that in the source, and every sweep by running seeds in two processes whose
hashes differ. Only the thread of the run is held to it; whatever else the process does is no part
of a run.
"""

import builtins
import datetime as dt
import io
import os
import random
import secrets
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

OURS = ("consensus", "node", "netsim", "transport")
_SHARED = tuple(
    name
    for name in dir(random)
    if getattr(getattr(random, name), "__self__", None) is getattr(random, "_inst")  # noqa: B009
)
"""The functions of the generator that the whole process shares."""
_ENVIRONMENT = ("__getitem__", "__iter__", "__contains__")

Leaks = Mapping[Any, Sequence[str]]

EVERYWHERE: Leaks = {
    time: ("time", "monotonic", "monotonic_ns", "process_time", "process_time_ns", "sleep"),
    random: _SHARED,
    random.SystemRandom: ("random", "getrandbits", "randbytes"),
    uuid: ("uuid1", "uuid4"),
    threading.Thread: ("start",),
    subprocess.Popen: ("__init__",),
    os: ("fork", "system", "getrandom"),
    type(os.environ): _ENVIRONMENT,
}
"""What neither a replica nor a whole node has a use for."""

OF_REPLICAS: Leaks = {
    **EVERYWHERE,
    time: (*EVERYWHERE[time], "time_ns", "perf_counter", "perf_counter_ns"),
    secrets: ("token_bytes", "token_hex", "token_urlsafe", "randbelow", "randbits", "choice"),
    os: (*EVERYWHERE[os], "urandom", "listdir", "scandir"),
    io: ("open",),
    builtins: ("open",),
    socket.socket: ("__init__",),
}
"""And what a whole node asks for through doors that `netsim.whole` holds."""


class LeakError(BaseException):
    """Something from outside was about to enter a run, which then could not be repeated."""


@contextmanager
def sealed(leaks: Leaks = OF_REPLICAS) -> Iterator[None]:
    """Let everything that differs from run to run raise `LeakError`."""
    thread = threading.get_ident()
    held: list[tuple[Any, str, Any]] = []

    def replace(owner: Any, name: str, value: Any) -> None:  # noqa: ANN401  (anything has parts)
        held.append((owner, name, vars(owner)[name]))
        setattr(owner, name, value)

    for owner, names in leaks.items():
        for name in names:
            if name in vars(owner):
                full_name = f"{getattr(owner, '__name__', owner)}.{name}"
                replace(owner, name, _forbidden(full_name, getattr(owner, name), thread))
    replace(dt, "datetime", _timeless(thread))
    replace(random.Random, "seed", _seeded(thread))
    for name in ("id", "hash"):
        replace(builtins, name, _elsewhere(name, thread))
    try:
        yield
    finally:
        for owner, name, value in reversed(held):
            setattr(owner, name, value)


def _leak(name: str) -> LeakError:
    return LeakError(f"{name} inside a run: it differs from run to run")


def _forbidden(name: str, original: Callable[..., Any], thread: int) -> Callable[..., Any]:
    def refuse(*args: object, **kwargs: object) -> object:
        if threading.get_ident() == thread:
            raise _leak(name)
        return original(*args, **kwargs)

    return refuse


def _timeless(thread: int) -> type[dt.datetime]:
    """Return a datetime that does not know what time it is."""
    original = dt.datetime

    class Timeless(original):  # type: ignore[misc, valid-type]
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:
            if threading.get_ident() == thread:
                raise _leak("datetime.now")
            return original.now(tz)

        utcnow = today = now

    return Timeless


def _seeded(thread: int) -> Callable[..., None]:
    """Return a way to seed generators that wants a seed."""
    original = random.Random.seed

    def seed(self: random.Random, a: Any = None, version: int = 2) -> None:  # noqa: ANN401
        if a is None and threading.get_ident() == thread:
            raise _leak("random.Random without a seed")
        original(self, a, version)

    return seed


def _elsewhere(name: str, thread: int) -> Callable[[object], int]:
    """Return a builtin that our own code may not call, but to say how a value of its own hashes."""
    original: Callable[[object], int] = getattr(builtins, name)

    def refuse(value: object) -> int:
        caller = sys._getframe(1)  # noqa: SLF001  (there is no other way to know who asks)
        if (
            caller.f_code.co_name != "__hash__"
            and caller.f_globals.get("__name__", "").partition(".")[0] in OURS
            and threading.get_ident() == thread
        ):
            raise _leak(f"{name}()")
        return original(value)

    return refuse
