"""Weather for a simulated table: what networks, power and clocks do without ill will."""

import random

from netsim.chance import Spread
from netsim.fabric import Links
from netsim.tables import CounterTable


def storm(table: CounterTable, rng: random.Random, until_ms: int) -> None:
    """Schedule random faults over the hosts of a table up to a virtual time; the run goes on."""
    network = table.network
    n = table.validators.n
    network.links = Links(
        latency=Spread(f"uniform({rng.choice((1, 5, 40))}ms,{rng.choice((40, 60, 200))}ms)"),
        loss=rng.choice((0, 50, 150, 300)),
        duplication=rng.choice((0, 50, 200)),
    )
    for host in network.hosts:
        host.clock.offset_ms = rng.randrange(-2_000, 2_000)
    for _ in range(rng.randrange(3 * n)):
        _crash(table, rng, until_ms)
    for _ in range(rng.randrange(6)):
        _partition(table, rng, until_ms)


def _crash(table: CounterTable, rng: random.Random, until_ms: int) -> None:
    index, effects = rng.randrange(table.validators.n), rng.randrange(8)
    down_ms = rng.choice((20, 200, 1_000, 5_000))
    table.network.at(rng.randrange(until_ms), lambda: table.crash_soon(index, effects, down_ms))


def _partition(table: CounterTable, rng: random.Random, until_ms: int) -> None:
    network = table.network
    hosts = list(range(table.validators.n))
    rng.shuffle(hosts)
    cut = rng.choice((1, len(hosts) // 2))
    one_way = rng.random() < 0.5
    start_ms, length_ms = rng.randrange(until_ms), rng.choice((100, 1_000, 4_000))
    network.at(start_ms, lambda: network.partition(hosts[:cut], hosts[cut:], one_way=one_way))
    network.at(start_ms + length_ms, network.heal)
