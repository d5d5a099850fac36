"""One run: a scenario and a seed in, a verdict out. The same in every process on every machine.

Whatever could bring something from outside into a run (clocks, the system's randomness, threads)
raises while one is under way.
"""

import platform
import subprocess
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import assert_never

import netsim
from netsim.outcome import Found, Outcome, Run
from netsim.scenario import Scenario
from netsim.sealing import sealed
from netsim.throws import added
from netsim.tokens import describe_scenario
from netsim.weather import resolve
from netsim.world import TableRun

WINDOW_MS = 1_000
"""Tables of one run take turns of so much virtual time: they are all there at the same time."""
VIOLATIONS_MAX = 20
"""A run ends with so many broken tables: more tell nothing new."""


def simulate(
    scenario: Scenario,
    seed: int,
    *,
    keep: int = 0,
    until_ms: int | None = None,
    progress: Callable[[int], None] = lambda _ms: None,
    folder: Path | None = None,
) -> tuple[Outcome, Run]:
    """Run a scenario to its end, or up to `until_ms`; `keep` happenings of each table are kept.

    Real nodes keep their data in `folder`, as `nodes`; without one it is gone in the end.
    """
    started = time.perf_counter()
    resolved = resolve(scenario, seed)
    run = Run(scenario, resolved, seed, folder)
    match scenario.tier:
        case "core":
            found = _simulate_cores(run, keep, until_ms, progress)
        case "node":
            from netsim.whole import run_whole

            found = run_whole(run, keep=keep, until_ms=until_ms, progress=progress)
        case "real":
            from netsim.real import run_real

            found = run_real(run, keep=keep, until_ms=until_ms, progress=progress)
        case _:
            assert_never(scenario.tier)
    return _judge(run, found, time.perf_counter() - started), run


def _simulate_cores(
    run: Run, keep: int, until_ms: int | None, progress: Callable[[int], None]
) -> Found:
    """Run all tables, in windows of virtual time."""
    with sealed():
        tables = [
            TableRun(run.resolved, run.seed, number, keep=keep)
            for number in range(run.resolved.tables)
        ]
        run.traces.update((one.table, one.trace) for one in tables)
        now_ms = 0
        while any(not one.is_done for one in tables):
            now_ms += WINDOW_MS
            if until_ms is not None:
                now_ms = min(now_ms, until_ms)
            for one in tables:
                one.advance(now_ms)
            progress(now_ms)
            broken = sum(one.violation is not None for one in tables)
            if now_ms == until_ms or broken >= VIOLATIONS_MAX:
                break
    whole = blake2b(digest_size=16)
    marks: dict[str, int] = {}
    for one in tables:
        whole.update(bytes.fromhex(one.trace.digest))
        for name, count in one.trace.marks.items():
            marks[name] = marks.get(name, 0) + count
    return Found(
        violations=tuple(one.violation for one in tables if one.violation is not None),
        digest=whole.hexdigest(),
        events=sum(one.trace.events for one in tables),
        sim_seconds=max((one.network.now_ms for one in tables), default=0) / 1000,
        marks=marks,
        done=all(one.is_done for one in tables),
        throws=tuple(added(one.ledger.tally.throws for one in tables)),
    )


def _missing(scenario: Scenario, marks: Mapping[str, int]) -> list[str]:
    """Return what a run should have gone through and did not."""
    missing = [f"mark {name}" for name in scenario.expect.marks if not marks.get(name)]
    if scenario.workload.kind == "play":
        for name, least in (
            ("bets_settled", scenario.expect.bets),
            ("rolls", scenario.expect.rolls),
        ):
            if marks.get(name, 0) < least:
                missing.append(f"{marks.get(name, 0)} {name} of {least}")
    return missing


def _judge(run: Run, found: Found, wall_seconds: float) -> Outcome:
    missing = [*_missing(run.resolved, found.marks), *found.missing]
    if not found.done:
        missing.append("the end")
    return Outcome(
        name=run.resolved.name,
        seed=run.seed,
        verdict="violated" if found.violations else "unknown" if missing else "ok",
        digest=found.digest,
        token=make_token(run.scenario, run.seed, found.digest),
        violations=found.violations,
        events=found.events,
        sim_seconds=found.sim_seconds,
        wall_seconds=wall_seconds,
        marks=found.marks,
        missing=tuple(missing),
        note=found.note,
        throws=found.throws,
    )


# Tokens.


@lru_cache(maxsize=1)
def commit() -> str:
    """Return the commit of the code that runs, `-` outside of a checkout."""
    root = Path(netsim.__file__).parent.parent
    try:
        found = subprocess.run(  # noqa: S603  (our own words)
            ["git", "-C", str(root), "rev-parse", "--short=10", "HEAD"],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "-"
    return found.stdout.strip()


def make_token(scenario: Scenario, seed: int, digest: str) -> str:
    """Return the text that repeats a run: scenario, seed, and under what it was made."""
    python = ".".join(platform.python_version_tuple()[:2])
    return f"netsim1:{describe_scenario(scenario)}:{seed}:{commit()}:{python}:{digest}"


__all__ = ["Outcome", "Run", "commit", "simulate"]
