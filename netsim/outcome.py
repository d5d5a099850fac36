"""What a run is while it is under way, and what it came to, whatever tier ran it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from netsim.scenario import Scenario
from netsim.takings import EVERYBODY, Sums
from netsim.trace import Happening


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that did not hold. `rule` names it, so that a smaller run can be told to be the same."""

    rule: str
    text: str
    table: int
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What one table of tier `core` came to. `done` says whether it was not cut short."""

    table: int
    digest: str
    events: int
    now_ms: int
    marks: dict[str, int]
    violation: Violation | None
    done: bool
    dice: Sums
    happenings: list[Happening]


@dataclass(slots=True)
class Run:
    """A run under way: its resolved scenario, and what is kept of each table, by when it began.

    `folder` is the run's own, for tiers that write into it meanwhile.
    """

    scenario: Scenario
    resolved: Scenario
    seed: int
    folder: Path | None = None
    happenings: dict[int, list[Happening]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a run of any tier came to. `done` says whether it was not cut short.

    `missing` is what could not be told, beside what the scenario expects.
    """

    violations: tuple[Violation, ...]
    digest: str
    events: int
    sim_seconds: float
    marks: Mapping[str, int]
    missing: tuple[str, ...] = ()
    done: bool = True
    note: str = ""
    dice: Sums = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run came to. `token` replays it."""

    name: str
    seed: int
    verdict: str
    digest: str
    token: str
    violations: tuple[Violation, ...]
    events: int
    sim_seconds: float
    wall_seconds: float
    marks: Mapping[str, int]
    missing: tuple[str, ...]
    """What the run should have gone through and did not: then it proves nothing."""
    note: str = ""
    """What the digest does not promise, in words; empty where the whole run comes again."""
    dice: Sums = field(default_factory=dict)
    """What fell, and what it made of bets, by strategy (`netsim.throws`, `netsim.takings`)."""

    @property
    def throws(self) -> Sequence[int]:
        """How often each outcome of the two dice fell, at all tables together."""
        return self.dice.get(EVERYBODY, {}).get("throws", ())

    def plain(self) -> dict[str, Any]:
        """Return it as plain values, as scripts read them."""
        return {
            "name": self.name,
            "seed": self.seed,
            "verdict": self.verdict,
            "digest": self.digest,
            "token": self.token,
            "violations": [
                {"rule": v.rule, "text": v.text, "table": v.table, "at_ms": v.at_ms}
                for v in self.violations
            ],
            "events": self.events,
            "sim_seconds": self.sim_seconds,
            "wall_seconds": round(self.wall_seconds, 3),
            "events_per_s": round(self.events / max(self.wall_seconds, 1e-6)),
            "marks": dict(sorted(self.marks.items())),
            "missing": list(self.missing),
            "note": self.note,
            "dice": self.dice,
        }
