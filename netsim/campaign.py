"""Sweeps: many seeds of one scenario on all cores, and what came of each.

Workers are processes that take one seed at a time, so a worker that dies or hangs names its seed.
Each has another PYTHONHASHSEED, and one seed in twenty is run again by another worker: two digests
that differ are a finding like a broken rule.
"""

import json
import selectors
import sqlite3
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from netsim.scenario import Scenario, format_scenario, parse_scenario
from netsim.simulation import simulate
from netsim.takings import BETS, EVERYBODY, Sums, alarm_of, combined, judge
from netsim.throws import alarm, chi_square
from netsim.workers import Worker

AGAIN_EVERY = 20
"""One seed in so many is run by two processes."""
SEED_SECONDS_MAX = 300
"""A seed that takes longer has hung, which is a finding."""
_WORKER = "from netsim.campaign import work; work()"
_SCHEMA = (
    "CREATE TABLE seed (seed INTEGER PRIMARY KEY, verdict TEXT, rule TEXT, text TEXT, digest TEXT,"
    " token TEXT, events INTEGER, sim_seconds REAL, wall_seconds REAL, again TEXT)",
    "CREATE TABLE mark (name TEXT PRIMARY KEY, count INTEGER)",
)


def run_seed(text: str, seed: int) -> dict[str, Any]:
    """Run one seed of a scenario given as TOML; what any engine calls in any process."""
    outcome, _ = simulate(parse_scenario(text), seed)
    return outcome.plain()


def work() -> None:
    """Be a worker: a scenario on the first line of standard input, then one seed on each."""
    text = json.loads(sys.stdin.readline())
    for line in sys.stdin:
        print(json.dumps(run_seed(text, int(line))), flush=True)  # noqa: T201  (the answer)


@dataclass(slots=True)
class Sweep:
    """What has come of a sweep so far."""

    scenario: Scenario
    planned: int
    started: float = field(default_factory=time.perf_counter)
    results: dict[int, dict[str, Any]] = field(default_factory=dict)
    again: dict[int, str] = field(default_factory=dict)
    """Digest of the second run, by seed."""

    def take(self, seed: int, result: dict[str, Any], *, again: bool) -> None:
        """Note a result."""
        if again:
            self.again[seed] = result["digest"]
        else:
            self.results[seed] = result

    @property
    def mismatches(self) -> list[int]:
        """The seeds whose two runs differ."""
        return [s for s, digest in self.again.items() if self.results[s]["digest"] != digest]

    def of_verdict(self, verdict: str) -> list[dict[str, Any]]:
        """Return the results with a verdict, fastest to fail first."""
        found = [one for one in self.results.values() if one["verdict"] == verdict]
        return sorted(found, key=lambda one: (one["sim_seconds"], one["seed"]))

    @property
    def marks(self) -> dict[str, int]:
        """What all runs together went through."""
        marks: dict[str, int] = {}
        for one in self.results.values():
            for name, count in one["marks"].items():
                marks[name] = marks.get(name, 0) + count
        return dict(sorted(marks.items()))

    @property
    def dice(self) -> Sums:
        """What fell in all runs together, and what it made of bets, by strategy."""
        return combined(one.get("dice", {}) for one in self.results.values())

    @property
    def dice_alarm(self) -> str:
        """Return what is wrong with the dice, or with what they made of bets; empty if nothing."""
        dice = self.dice
        for strategy, counts in dice.items():
            if text := alarm(counts["throws"]):
                return text if strategy == EVERYBODY else f"{text}, at tables with {strategy}"
        return alarm_of(dice)

    @property
    def verdict(self) -> str:
        """Violated by any seed, by two runs that differ, or by the dice of all seeds together.

        Unknown if the whole proves nothing.
        """
        if self.of_verdict("violated") or self.mismatches or self.dice_alarm:
            return "violated"
        marks = self.marks
        missing = [name for name in self.scenario.expect.marks if not marks.get(name)]
        plays = self.scenario.workload.kind == "play" and not marks.get("bets_settled")
        complete = len(self.results) == self.planned
        return "unknown" if missing or plays or not complete else "ok"

    def plain(self) -> dict[str, Any]:
        """Return it as plain values."""
        seconds = time.perf_counter() - self.started
        simulated = sum(one["sim_seconds"] for one in self.results.values())
        failures = [
            {
                "seed": one["seed"],
                "token": one["token"],
                "rule": one["violations"][0]["rule"],
                "text": one["violations"][0]["text"],
                "at_ms": one["violations"][0]["at_ms"],
            }
            for one in self.of_verdict("violated")
        ]
        return {
            "name": self.scenario.name,
            "verdict": self.verdict,
            "seeds": len(self.results),
            "ok": len(self.of_verdict("ok")),
            "violated": len(failures),
            "unknown": len(self.of_verdict("unknown")),
            "run_twice": len(self.again),
            "mismatches": self.mismatches,
            "failures": failures,
            "events": sum(one["events"] for one in self.results.values()),
            "sim_seconds": round(simulated, 1),
            "wall_seconds": round(seconds, 1),
            "seeds_per_s": round(len(self.results) / max(seconds, 1e-6), 2),
            "sim_seconds_per_s": round(simulated / max(seconds, 1e-6), 1),
            "marks": self.marks,
            "dice": {name: _plain_dice(counts) for name, counts in sorted(self.dice.items())},
            "dice_alarm": self.dice_alarm,
        }


def _plain_dice(counts: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    bets = {name: judge(name, counts[name]) for name in BETS if name in counts}
    return {
        "throws": sum(counts["throws"]),
        "chi_square": round(chi_square(counts["throws"]), 1),
        "bets": {
            name: {
                "throws": one.throws,
                "chips": one.chips,
                "odds": round(one.odds, 6),
                "found": round(one.found, 6),
                "sigmas": round(one.sigmas, 2),
            }
            for name, one in bets.items()
        },
    }


def is_run_again(seed: int) -> bool:
    """Say whether a seed is among those that two processes run."""
    return seed % AGAIN_EVERY == 0


def broken_result(seed: int, rule: str, text: str, seconds: float = 0) -> dict[str, Any]:
    """Return the result of a seed that took its process with it."""
    return {
        "seed": seed, "verdict": "violated", "digest": "", "token": "", "events": 0,
        "violations": [{"rule": rule, "text": text, "table": 0, "at_ms": 0}],
        "sim_seconds": 0.0, "wall_seconds": seconds, "marks": {}, "missing": [],
    }  # fmt: skip


class _Worker(Worker):
    """A process and the seed that it has."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(_WORKER, number, json.dumps(text).encode())
        self.seed: int | None = None
        self.again = False
        self.since = 0.0

    def give(self, seed: int, *, again: bool) -> None:
        """Hand over a seed."""
        self.seed, self.again, self.since = seed, again, time.perf_counter()
        self.say(b"%d" % seed)


class LocalEngine:
    """Runs seeds in processes on this machine; see the module's text."""

    def __init__(self, scenario: Scenario, jobs: int) -> None:
        """Use so many processes at a time."""
        self._text = format_scenario(scenario)
        self._jobs = jobs
        self._made = 0
        self._workers: list[_Worker] = []
        self._selector = selectors.DefaultSelector()
        self._again: deque[tuple[int, int]] = deque()  # seed, who ran it first

    def run(
        self,
        seeds: Iterable[int],
        take: Callable[[int, dict[str, Any], bool], None],
        until: float | None = None,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        """Run all seeds, or as many as begin before `until` on the performance counter.

        `beat` is called every second or more often.
        """
        waiting = deque(seeds)
        try:
            # With one job a second process stands by, for what is to be run by another one.
            for _ in range(max(self._jobs, 2)):
                self._hire()
            while True:
                if until is not None and time.perf_counter() > until:
                    waiting.clear()
                self._hand_out(waiting)
                if not any(worker.seed is not None for worker in self._workers):
                    return
                self._collect(take)
                beat()
        finally:
            for worker in self._workers:
                worker.end()
            self._selector.close()

    def _hire(self) -> None:
        worker = _Worker(self._made, self._text)
        self._made += 1
        self._workers.append(worker)
        self._selector.register(worker, selectors.EVENT_READ, worker)

    def _hand_out(self, waiting: deque[int]) -> None:
        for worker in self._workers:
            busy = sum(one.seed is not None for one in self._workers)
            if worker.seed is not None or busy >= self._jobs:
                continue
            again = next((one for one in self._again if one[1] != worker.number), None)
            if again is not None:
                self._again.remove(again)
                worker.give(again[0], again=True)
            elif waiting:
                worker.give(waiting.popleft(), again=False)

    def _collect(self, take: Callable[[int, dict[str, Any], bool], None]) -> None:
        for key, _ in self._selector.select(timeout=1.0):
            worker: _Worker = key.data
            lines = worker.read()
            seed = worker.seed
            if lines is None:
                self._bury(worker, "a worker process died", take)
            elif lines and seed is not None:
                worker.seed = None
                take(seed, json.loads(lines[0]), worker.again)
                if not worker.again and is_run_again(seed):
                    self._again.append((seed, worker.number))
        now = time.perf_counter()
        for worker in list(self._workers):
            if worker.seed is not None and now - worker.since > SEED_SECONDS_MAX:
                self._bury(worker, f"no end within {SEED_SECONDS_MAX} s", take)

    def _bury(
        self, worker: _Worker, why: str, take: Callable[[int, dict[str, Any], bool], None]
    ) -> None:
        self._selector.unregister(worker)
        self._workers.remove(worker)
        code = worker.end()
        if worker.seed is not None:
            rule = "died" if "died" in why else "hung"
            text = f"{why} (exit {code})"
            take(worker.seed, broken_result(worker.seed, rule, text), worker.again)
        self._hire()


def parse_seeds(text: str) -> range:
    """Return the seeds of `0..9999`, `7` or `100`; raises `ValueError`."""
    first, dots, last = text.partition("..")
    if not first.isdecimal() or (dots and not last.isdecimal()):
        raise ValueError(f"{text!r} is not a seed, nor a range such as 0..9999")
    begin, end = int(first), int(last) if dots else int(first)
    if end < begin:
        raise ValueError(f"{text!r} ends before it begins")
    return range(begin, end + 1)


def save_sweep(root: Path, sweep: Sweep, seeds: Sequence[int]) -> Path:
    """Write a sweep's folder below `root` and return it."""
    folder = root / f"sweep-{sweep.scenario.name}-{seeds[0]}-{seeds[-1]}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scenario.toml").write_text(format_scenario(sweep.scenario), encoding="utf-8")
    (folder / "result.json").write_text(json.dumps(sweep.plain(), indent=1), encoding="utf-8")
    (folder / "results.sqlite").unlink(missing_ok=True)
    with closing(sqlite3.connect(folder / "results.sqlite")) as db, db:
        for statement in _SCHEMA:
            db.execute(statement)
        for seed, one in sorted(sweep.results.items()):
            first = one["violations"][0] if one["violations"] else {"rule": "", "text": ""}
            db.execute(
                "INSERT INTO seed VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    seed, one["verdict"], first["rule"], first["text"], one["digest"],
                    one["token"], one["events"], one["sim_seconds"], one["wall_seconds"],
                    sweep.again.get(seed, ""),
                ),
            )  # fmt: skip
        db.executemany("INSERT INTO mark VALUES (?, ?)", sweep.marks.items())
    return folder
