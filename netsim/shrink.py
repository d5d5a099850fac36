"""A failing run made small: fewer faults, fewer nodes, less time, and still the same rule broken.

The faults of a resolved scenario are a list, so leaving some out is a new scenario; a fault that is
left out changes the times of everything behind it, so each candidate is tried with a few seeds.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from netsim.chance import Length, Spread
from netsim.outcome import Outcome
from netsim.scenario import (
    LinkPart,
    Scenario,
    ScenarioError,
    format_scenario,
    parse_scenario,
    plain,
)
from netsim.simulation import simulate
from netsim.weather import resolve

RESEEDS = 5
RUNS_MAX = 400
"""A shrinking that has not ended by then shows what it has."""


@dataclass(frozen=True, slots=True)
class Shrunk:
    """The smallest failing run that was found."""

    scenario: Scenario
    seed: int
    outcome: Outcome
    runs: int


class _Shrinker:
    def __init__(self, rule: str, runs_max: int, say: Callable[[str], None]) -> None:
        self.rule = rule
        self.left = runs_max
        self.say = say
        self.best: tuple[Scenario, int, Outcome] | None = None

    def fails(self, scenario: Scenario, seed: int) -> bool:
        """Say whether the scenario breaks the same rule with one of a few seeds; keep it if so."""
        try:
            parse_scenario(format_scenario(scenario))
        except ScenarioError:
            return False
        for attempt in range(RESEEDS):
            if self.left <= 0:
                return False
            self.left -= 1
            outcome, _ = simulate(scenario, seed + attempt)
            if any(one.rule == self.rule for one in outcome.violations):
                self.best = (scenario, seed + attempt, outcome)
                self.say(
                    f"{len(scenario.fault)} faults, {len(scenario.byzantine)} traitors, "
                    f"{scenario.nodes.count} nodes, {scenario.duration}"
                )
                return True
        return False


def shrink(
    scenario: Scenario,
    seed: int,
    *,
    runs_max: int = RUNS_MAX,
    say: Callable[[str], None] = lambda _text: None,
) -> Shrunk | None:
    """Return a smaller run that breaks the same rule, or None if this one breaks none."""
    resolved = resolve(scenario, seed)
    outcome, _ = simulate(resolved, seed)
    if not outcome.violations:
        return None
    search = _Shrinker(outcome.violations[0].rule, runs_max, say)
    search.best = (resolved, seed, outcome)
    # From the end on, nothing is needed any more.
    end_ms = outcome.violations[0].at_ms
    search.fails(_cut(resolved, end_ms), seed)
    _reduce(search, "fault")
    _reduce(search, "act")
    for candidate in _simpler:
        before = -1
        while search.left > 0 and search.left != before:
            before = search.left
            scenario, seed, _ = search.best
            if not any(search.fails(smaller, seed) for smaller in candidate(scenario)):
                break
    _reduce(search, "fault")
    _reduce(search, "act")
    scenario, seed, outcome = search.best
    return Shrunk(replace(scenario, seed=seed), seed, outcome, runs_max - search.left)


def _reduce(search: _Shrinker, section: str) -> None:
    """Leave out as many faults or acts as can be: halves, then ever smaller parts (ddmin)."""
    assert search.best is not None, "something failed"
    parts = 2
    while search.left > 0:
        scenario, seed, _ = search.best
        entries = getattr(scenario, section)
        if not entries:
            return
        size = max(len(entries) // parts, 1)
        for start in range(0, len(entries), size):
            fewer = (*entries[:start], *entries[start + size :])
            if search.fails(replace(scenario, **{section: fewer}), seed):
                parts = max(parts - 1, 2)
                break
        else:
            if size == 1:
                return
            parts = min(parts * 2, len(entries))


def _with(scenario: Scenario, faults: Sequence[object]) -> Scenario:
    return replace(scenario, fault=tuple(faults))


def _cut(scenario: Scenario, end_ms: int) -> Scenario:
    faults = tuple(fault for fault in scenario.fault if fault.at.first_us <= end_ms * 1_000)
    acts = tuple(act for act in scenario.act if act.at.ms <= end_ms)
    scenario = replace(scenario, act=acts)
    if end_ms >= scenario.heals_at.ms:
        return _with(scenario, faults)
    end = Length(end_ms * 1_000)
    return replace(
        scenario, fault=faults, duration=end, liveness=replace(scenario.liveness, at=None)
    )


def _fewer_traitors(scenario: Scenario) -> Iterator[Scenario]:
    for index in range(len(scenario.byzantine)):
        rest = (*scenario.byzantine[:index], *scenario.byzantine[index + 1 :])
        yield replace(scenario, byzantine=rest)


def _fewer_tables(scenario: Scenario) -> Iterator[Scenario]:
    if scenario.tables > 1:
        nodes = replace(scenario.nodes, count=scenario.table, table=scenario.table)
        for table in range(scenario.tables):
            yield replace(
                scenario,
                nodes=nodes,
                fault=tuple(
                    replace(one, tables=()) for one in scenario.fault if table in one.tables
                ),
                byzantine=tuple(
                    replace(one, tables=()) for one in scenario.byzantine if table in one.tables
                ),
            )


def _fewer_nodes(scenario: Scenario) -> Iterator[Scenario]:
    if scenario.tables == 1 and scenario.table > 1:
        count = scenario.table - 1
        yield replace(scenario, nodes=replace(scenario.nodes, count=count, table=count))


def _calmer(scenario: Scenario) -> Iterator[Scenario]:
    link = scenario.link
    for name, value in plain(link).items():
        usual = getattr(LinkPart(), name)
        if name != "latency" and getattr(link, name) != usual:
            del value
            yield replace(scenario, link=replace(link, **{name: usual}))
    if link.latency != Spread("10ms"):
        yield replace(scenario, link=replace(link, latency=Spread("10ms")))
    clocks = scenario.clocks
    if clocks.offset != Spread("0s") or clocks.drift_ppm:
        yield replace(scenario, clocks=replace(clocks, offset=Spread("0s"), drift_ppm=0))


def _shorter(scenario: Scenario) -> Iterator[Scenario]:
    for index, fault in enumerate(scenario.fault):
        half_us = fault.duration.mean_us // 2 // 1_000 * 1_000
        if half_us >= 20_000:
            shorter = replace(fault, duration=Spread(str(Length(half_us))))
            yield _with(scenario, (*scenario.fault[:index], shorter, *scenario.fault[index + 1 :]))
    half = Length(scenario.duration.us // 2 // 1_000 * 1_000)
    if half.ms >= 1_000 and scenario.liveness.at is None:
        kept = tuple(fault for fault in scenario.fault if fault.at.first_us <= half.us)
        acts = tuple(act for act in scenario.act if act.at.us <= half.us)
        yield replace(scenario, duration=half, fault=kept, act=acts)


_simpler = (_fewer_tables, _fewer_traitors, _fewer_nodes, _calmer, _shorter)
