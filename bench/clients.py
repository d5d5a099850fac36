"""Closed-loop clients: each has one operation outstanding and sends the next when it is answered."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from bench.measures import quantile

Operation = TypeVar("Operation")
Done = Callable[[bool], None]
"""Called with whether the operation was accepted and is final."""


class Clients(Generic[Operation]):
    """Some clients of one node. They count only what was answered inside the window."""

    def __init__(
        self, submit: Callable[[Operation, Done], None], sources: Sequence[Iterator[Operation]]
    ) -> None:
        """Make one client of each source of operations; none starts yet."""
        self._submit = submit
        self._sources = sources
        self._window_ns = (0, 0)
        self._running = False
        self.latencies_us: list[float] = []
        self.refused = 0

    def start(self, window_ns: tuple[int, int]) -> None:
        """Start all; count what is answered between two readings of `time.perf_counter_ns`."""
        self._window_ns = window_ns
        self._running = True
        for source in self._sources:
            self._next(source)

    def stop(self) -> None:
        """Let no client send another operation."""
        self._running = False

    def _next(self, source: Iterator[Operation]) -> None:
        sent_ns = time.perf_counter_ns()

        def done(accepted: bool) -> None:
            now_ns = time.perf_counter_ns()
            begin_ns, end_ns = self._window_ns
            if begin_ns <= now_ns < end_ns:
                if accepted:
                    self.latencies_us.append((now_ns - sent_ns) / 1000)
                else:
                    self.refused += 1
            if self._running:
                self._next(source)

        self._submit(next(source), done)

    def figures(self) -> dict[str, object]:
        """Return what this node's clients saw, to be joined with the others'."""
        return {"latencies_us": self.latencies_us, "refused": self.refused}


def joined(figures: Sequence[Mapping[str, Any]], seconds: float) -> dict[str, float]:
    """Return the rate and latencies of all nodes' clients together."""
    latencies: list[float] = []
    refused = 0
    for node in figures:
        latencies += node["latencies_us"]
        refused += node["refused"]
    latencies.sort()
    return {
        "operations": len(latencies),
        "ops_per_s": len(latencies) / seconds,
        "p50_ms": quantile(latencies, 500) / 1000,
        "p99_ms": quantile(latencies, 990) / 1000,
        "refused": refused,
    }
