"""Processes of a benchmark: started together, led from phase to phase, ended together.

A process reads its configuration and then one phase a line from its input, and answers each with
one line; all lines are JSON. It ends when its input does.
"""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


class Processes:
    """The nodes of one system under test."""

    def __init__(self, children: Sequence["subprocess.Popen[str]"]) -> None:
        """Lead these."""
        self._children = children

    def phase(self, name: str, **values: object) -> list[Any]:
        """Send a phase to all at once and return their answers, in order."""
        line = json.dumps({"phase": name, **values})
        for child in self._children:
            assert child.stdin is not None
            child.stdin.write(f"{line}\n")
            child.stdin.flush()
        return [self._answer(child) for child in self._children]

    def _answer(self, child: "subprocess.Popen[str]") -> Any:
        assert child.stdout is not None
        line = child.stdout.readline()
        if not line:
            raise SystemExit(f"process {child.pid} ended with code {child.wait()}")
        return json.loads(line)


@contextmanager
def running(module: str, configurations: Sequence[dict[str, object]]) -> Iterator[Processes]:
    """Run one process of a module for each configuration; all have answered once when it begins."""
    children = [
        subprocess.Popen(
            [sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in configurations
    ]
    try:
        for child, configuration in zip(children, configurations, strict=True):
            assert child.stdin is not None
            child.stdin.write(f"{json.dumps(configuration)}\n")
            child.stdin.flush()
        processes = Processes(children)
        processes.phase("ready")
        yield processes
    finally:
        for child in children:
            assert child.stdin is not None
            child.stdin.close()
        for child in children:
            try:
                child.wait(timeout=10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            assert child.stdout is not None
            child.stdout.close()


def free_ports(count: int) -> list[int]:
    """Return loopback ports that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(listening.getsockname()[1]) for listening in sockets]
    for listening in sockets:
        listening.close()
    return ports


def read_line() -> Any:
    """Return the next line that the leader sent, or None when there is no other."""
    line = sys.stdin.readline()
    return json.loads(line) if line else None


def answer(value: object) -> None:
    """Answer the phase to the leader."""
    print(json.dumps(value), flush=True)
