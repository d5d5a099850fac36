"""Chance taken out of a scenario: which faults a seed brings, when, and whom they meet.

Every table and every fault has a stream of its own, so that leaving one out changes no other.
"""

import random
from collections.abc import Iterator, Sequence
from itertools import pairwise

import msgspec
from msgspec.structs import replace

from netsim.chance import Length, Spread, Window
from netsim.scenario import (
    FAULTS_MAX,
    AnyFault,
    Byzantine,
    Clog,
    Crash,
    LinkPart,
    Nodes,
    Partition,
    Scenario,
    SwarmPart,
)

EFFECTS_TO_CRASH = 8
"""A crash at a random place falls within so many effects from now."""

_DRAWN_ALONE = ("BlackHole", "Misdirected", "Version")
"""Sorts of faults that a swarm drops by a stream of their own: they came later, and what a seed
makes of all others is what it was."""


def resolve(scenario: Scenario, seed: int) -> Scenario:
    """Return what this seed makes of a scenario: every fault once, with its time and nodes."""
    scenario = _swarmed(scenario, seed)
    faults: list[AnyFault] = []
    byzantine: list[Byzantine] = []
    for table in range(scenario.tables):
        rng = random.Random(f"damage {seed} {table}")
        bad = _choose_byzantine(scenario, table, rng)
        byzantine += bad
        pool = _damage_pool(scenario, [one.nodes[0] for one in bad], rng)
        for index, fault in enumerate(scenario.fault):
            if fault.tables and table not in fault.tables:
                continue
            stream = random.Random(f"fault {seed} {table} {index}")
            faults += _occurrences(scenario, replace(fault, tables=(table,)), stream, pool)
    # What shifts or swizzles may come to begin when all is over.
    faults = [fault for fault in faults if fault.at.first_us <= scenario.duration.us]
    faults.sort(key=lambda fault: (fault.at.first_us, fault.tables))
    return replace(
        scenario, fault=tuple(faults[:FAULTS_MAX]), byzantine=tuple(byzantine), swarm=SwarmPart()
    )


def _swarmed(scenario: Scenario, seed: int) -> Scenario:
    swarm, rng = scenario.swarm, random.Random(f"swarm {seed}")
    if swarm == SwarmPart():
        return scenario
    if swarm.tables:
        table = rng.choice(swarm.tables)
        nodes = replace(scenario.nodes, count=scenario.tables * table, table=table)
        scenario = replace(scenario, nodes=nodes)
    kinds = sorted({type(fault).__name__ for fault in scenario.fault})
    streams = {kind: random.Random(f"swarm {seed} {kind}") for kind in _DRAWN_ALONE}
    dropped = {kind for kind in kinds if streams.get(kind, rng).random() < swarm.drop}
    faults = tuple(one for one in scenario.fault if type(one).__name__ not in dropped)
    return replace(scenario, fault=faults, link=_swarmed_link(scenario.link, swarm, rng))


def _swarmed_link(link: LinkPart, swarm: SwarmPart, rng: random.Random) -> LinkPart:
    drawn: dict[str, object] = {}
    for name in ("loss", "duplication", "replay", "reorder", "corruption"):
        low, high = getattr(swarm, name)
        if high:
            drawn[name] = round(low + (high - low) * rng.random(), 4)
    if swarm.latency:
        drawn["latency"] = rng.choice(swarm.latency)
    return replace(link, **drawn)


def _choose_byzantine(scenario: Scenario, table: int, rng: random.Random) -> list[Byzantine]:
    """Return one entry for each Byzantine host of a table."""
    n = scenario.table
    taken: dict[int, None] = {}
    chosen: list[Byzantine] = []
    for entry in scenario.byzantine:
        if entry.tables and table not in entry.tables:
            continue
        free = [node for node in range(n) if node not in taken]
        nodes: Sequence[int] = entry.nodes or sorted(
            rng.sample(free, min(scenario.number(entry.count), len(free)))
        )
        taken.update(dict.fromkeys(nodes))
        strategies = entry.strategy if isinstance(entry.strategy, tuple) else (entry.strategy,)
        chosen += [
            Byzantine(strategy=rng.choice(strategies), nodes=(node,), tables=(table,))
            for node in nodes
        ]
    return chosen


def _damage_pool(scenario: Scenario, bad: Sequence[int], rng: random.Random) -> Sequence[int]:
    """Return the hosts of a table that faults may damage, so that no more are than allowed."""
    room = scenario.damage_max - len(bad)
    named = [
        node
        for fault in scenario.fault
        if fault.damages and isinstance(nodes := getattr(fault, "nodes", ()), tuple)
        for node in nodes
    ]
    pool = [node for node in dict.fromkeys(named) if node not in bad][:room]
    free = [node for node in range(scenario.table) if node not in bad and node not in pool]
    rng.shuffle(free)
    return (*pool, *free[: max(room - len(pool), 0)])


def _occurrences(
    scenario: Scenario, fault: AnyFault, rng: random.Random, pool: Sequence[int]
) -> Iterator[AnyFault]:
    """Yield each time that a fault comes, chance taken out."""
    end_us = scenario.heals_at.us
    until_us = min(fault.until.us if fault.until is not None else end_us, end_us)
    at_us = fault.at.draw(rng)
    while at_us <= until_us:
        yield from _occurrence(scenario, fault, at_us, rng, pool)
        if fault.every is None:
            return
        at_us += max(fault.every.draw(rng), 1_000)


def _occurrence(
    scenario: Scenario, fault: AnyFault, at_us: int, rng: random.Random, pool: Sequence[int]
) -> Iterator[AnyFault]:
    at_us -= at_us % 1_000
    length_us = max(fault.duration.draw(rng), 0)
    length_us -= length_us % 1_000
    once = replace(
        fault,
        at=Window(at_us, at_us),
        duration=Spread(str(Length(length_us))),
        every=None,
        until=None,
    )
    n = scenario.table
    if isinstance(once, Partition):
        yield from _partitions(once, n, at_us, length_us, rng)
        return
    nodes: Nodes | None = getattr(once, "nodes", None)
    if nodes == "all":
        once = msgspec.structs.replace(once, nodes=tuple(range(n)))
    elif nodes == "random":
        candidates = pool if once.damages else range(n)
        if not candidates:
            return
        once = msgspec.structs.replace(once, nodes=(rng.choice(candidates),))
    if isinstance(once, Crash) and once.effects < 0:
        once = replace(once, effects=rng.randrange(EFFECTS_TO_CRASH))
    if isinstance(once, Clog) and once.swizzle:
        yield from _swizzled(once, n, at_us, length_us, rng)
        return
    yield once


def _partitions(
    fault: Partition, n: int, at_us: int, length_us: int, rng: random.Random
) -> Iterator[AnyFault]:
    """Yield a partition, or one after the other while it shifts."""
    parts = fault.shifts + 1
    for part in range(parts):
        groups = fault.groups
        if not groups or part:
            groups = _split(fault.split, n, rng)
        begin_us = at_us + length_us * part // parts
        begin_us -= begin_us % 1_000
        yield replace(
            fault,
            at=Window(begin_us, begin_us),
            duration=Spread(str(Length(length_us // parts - length_us // parts % 1_000))),
            groups=groups,
            split="random",
            shifts=0,
        )


def _split(how: str, n: int, rng: random.Random) -> tuple[tuple[int, ...], ...]:
    hosts = list(range(n))
    rng.shuffle(hosts)
    match how:
        case "half":
            cuts = [n // 2]
        case "one":
            cuts = [1]
        case "three":
            cuts = [n // 3, 2 * n // 3]
        case _:
            cuts = [rng.randrange(1, n)] if n > 1 else []
    ends = [0, *cuts, n]
    groups = (tuple(sorted(hosts[a:b])) for a, b in pairwise(ends))
    return tuple(group for group in groups if group)


def _swizzled(
    fault: Clog, n: int, at_us: int, length_us: int, rng: random.Random
) -> Iterator[AnyFault]:
    """Clog a random few one after the other, and free them in another order."""
    some = rng.sample(range(n), rng.randrange(1, n + 1))
    begins = sorted(rng.randrange(length_us // 2 + 1) for _ in some)
    for node, begin_us in zip(some, begins, strict=True):
        end_us = length_us // 2 + rng.randrange(length_us // 2 + 1)
        start_us = at_us + begin_us - begin_us % 1_000
        lasting_us = max(end_us - begin_us, 1_000)
        yield replace(
            fault,
            at=Window(start_us, start_us),
            duration=Spread(str(Length(lasting_us - lasting_us % 1_000))),
            nodes=(node,),
            swizzle=False,
        )
