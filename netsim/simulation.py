"""One run: a scenario and a seed in, a verdict out. The same in every process on every machine.

Whatever could bring something from outside into a run (clocks, the system's randomness, threads)
raises while one is under way.
"""

import platform
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import assert_never

import netsim
from netsim.outcome import Ended, Found, Outcome, Run, Violation
from netsim.scenario import Scenario, format_scenario
from netsim.shares import Order, Shares, run_here, splits
from netsim.takings import Sums, combined
from netsim.tokens import describe_scenario
from netsim.weather import resolve


def simulate(
    scenario: Scenario,
    seed: int,
    *,
    keep: int = 0,
    kept_table: int | None = None,
    until_ms: int | None = None,
    progress: Callable[[int], None] = lambda _ms: None,
    folder: Path | None = None,
    jobs: int = 1,
) -> tuple[Outcome, Run]:
    """Run a scenario to its end, or up to `until_ms`, in up to `jobs` processes if it splits.

    Of each table, or of `kept_table` alone, the last `keep` happenings are kept. `progress` takes
    the virtual milliseconds that a table has behind it, in the mean of all tables.

    Real nodes keep their data in `folder`, as `nodes`; without one it is gone in the end.
    """
    started = time.perf_counter()
    resolved = resolve(scenario, seed)
    run = Run(scenario, resolved, seed, folder)
    match scenario.tier:
        case "core":
            order = Order(format_scenario(scenario), seed, keep, kept_table, until_ms)
            found = _simulate_cores(run, order, jobs, progress)
        case "node":
            from netsim.whole import run_whole

            found = run_whole(run, keep=keep, until_ms=until_ms, progress=progress)
        case "real":
            from netsim.real import run_real

            found = run_real(run, keep=keep, until_ms=until_ms, progress=progress)
        case _:
            assert_never(scenario.tier)
    return _judge(run, found, time.perf_counter() - started), run


def _simulate_cores(run: Run, order: Order, jobs: int, progress: Callable[[int], None]) -> Found:
    """Run all tables, here or in other processes."""
    scenario = run.resolved
    behind_ms = [0] * scenario.tables
    sum_ms = 0
    # Of many tables one that takes long to come to rest is no further than the others.
    most_ms = scenario.duration.ms if scenario.tables > 1 else None

    def tell(table: int, now_ms: int) -> None:
        nonlocal sum_ms
        if most_ms is not None:
            now_ms = min(now_ms, most_ms)
        sum_ms += now_ms - behind_ms[table]
        behind_ms[table] = now_ms
        progress(sum_ms // len(behind_ms))

    if jobs > 1 and splits(scenario):
        shares = Shares(scenario.tables, order, jobs)
        return merged(run, shares.run(tell), shares.lost)
    return merged(run, run_here(scenario, order, tell))


def merged(run: Run, tables: Iterable[Ended], lost: Sequence[str] = ()) -> Found:
    """Return what tables, in order, came to together; what each kept goes to the run."""
    whole = blake2b(digest_size=16)
    marks: dict[str, int] = {}
    violations: list[Violation] = []
    dice: list[Sums] = []
    events = last_ms = 0
    done = True
    for one in tables:
        whole.update(bytes.fromhex(one.digest))
        for name, count in one.marks.items():
            marks[name] = marks.get(name, 0) + count
        if one.violation is not None:
            violations.append(one.violation)
        dice.append(one.dice)
        events += one.events
        last_ms = max(last_ms, one.now_ms)
        done = done and one.done
        run.happenings[one.table] = one.happenings
    return Found(
        violations=tuple(sorted(violations, key=lambda one: (one.at_ms, one.table))),
        digest=whole.hexdigest(),
        events=events,
        sim_seconds=last_ms / 1000,
        marks=marks,
        missing=tuple(lost),
        done=done,
        dice=combined(dice),
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
        dice=found.dice,
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
