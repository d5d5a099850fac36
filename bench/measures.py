"""What every benchmark reports in the same way: quantiles, medians of runs, and two probes.

The probes say how fast the machine's disk and its signature library were in the same run; durable
figures mean little without the first, signed ones without the second.
"""

import os
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from consensus.encoding import digest
from consensus.signing import SigningKey, verify

FSYNC_PROBES = 200
FSYNC_BYTES = 4096
"""One page is what a small commit writes at least."""
VERIFY_SECONDS = 0.2
VERIFY_MESSAGE = bytes(150)
"""About what a vote signs."""


def quantile(ascending: Sequence[float], per_mille: int) -> float:
    """Return the least value that `per_mille` of the values do not exceed; 0 of none."""
    if not ascending:
        return 0.0
    return ascending[max(0, -(-len(ascending) * per_mille // 1000) - 1)]


def probe_fsync_ms(folder: Path, times: int = FSYNC_PROBES) -> float:
    """Return the median time of writing a page behind a file's end and syncing it."""
    path = folder / "fsync-probe"
    page = os.urandom(FSYNC_BYTES)
    taken = []
    file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        for _ in range(times):
            os.write(file, page)
            start = time.perf_counter()
            os.fdatasync(file)
            taken.append((time.perf_counter() - start) * 1000)
    finally:
        os.close(file)
        path.unlink()
    return statistics.median(taken)


def probe_verify_per_s(seconds: float = VERIFY_SECONDS) -> float:
    """Return how many signatures one core verifies a second."""
    key = SigningKey(digest("bench", b"verify"))
    signature = key.sign(VERIFY_MESSAGE)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        for _ in range(100):
            verify(key.public_key, VERIFY_MESSAGE, signature)
        count += 100
    return count / (time.perf_counter() - start)


def medians(runs: Sequence[Mapping[str, object]]) -> dict[str, object]:
    """Return the median of each number over all runs; other values must be equal in all."""
    result: dict[str, object] = {}
    for name, first in runs[0].items():
        values = [run[name] for run in runs]
        if isinstance(first, int | float) and not isinstance(first, bool):
            result[name] = statistics.median(values)  # type: ignore[type-var]
        else:
            assert all(value == first for value in values), f"{name} differs between runs: {values}"
            result[name] = first
    return result


def rounded(figures: Mapping[str, object], digits: int = 4) -> dict[str, object]:
    """Return the figures with as many digits as mean something."""
    return {
        name: float(f"{value:.{digits}g}") if isinstance(value, float) else value
        for name, value in figures.items()
    }
