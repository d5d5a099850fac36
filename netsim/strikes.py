"""What a scenario's faults do to the fabric beneath streams, in trio's time, which may be virtual."""

import random
from collections.abc import Callable, Sequence

import trio

from netsim import scenario as s
from netsim.chance import US_PER_S
from netsim.fabric import Fabric, Links, Mesh, Rates, pairs_between, pairs_of
from netsim.topology import Cities

Mend = Callable[[Sequence[tuple[int, int]]], None]


def fabric_of_streams(scenario: s.Scenario, rng: random.Random) -> Fabric:
    """Return the network of a table whose links are TCP: what is lost comes late, in order."""
    link, n = scenario.link, scenario.table
    links = Links(
        latency=link.latency, loss=link.loss * 1000, corruption=link.corruption * 1000, stream=True
    )
    topology = scenario.topology
    cities = Cities(n, topology.cities) if topology.kind == "cities" else Mesh()
    return Fabric(n, rng, links=links, topology=cities, rates=Rates(link.up, link.down, link.queue))


def swallowing(fault: s.BlackHole, among: int) -> list[tuple[int, int]]:
    """Return the links of `among` nodes on which a black hole is."""
    nodes, out, into = s.nodes_named(fault), fault.direction != "in", fault.direction != "out"
    pairs = pairs_of(nodes, among, out=out, into=into)
    return [
        (a, b)
        for a, b in pairs
        if not fault.peers or (a in nodes and b in fault.peers) or (b in nodes and a in fault.peers)
    ]


async def strike_network(
    fabric: Fabric, fault: s.AnyFault, link: s.LinkPart, now_us: int, mend: Mend
) -> None:
    """Begin a fault of the network and, where it ends by being undone, wait and undo it.

    `mend` undoes one cut of each link and lets go what waits for it.
    """
    nodes = s.nodes_named(fault)
    seconds = fault.duration.mean_us / US_PER_S
    end_us = now_us + fault.duration.mean_us
    match fault:
        case s.Partition():
            pairs = pairs_between(fault.groups, one_way=fault.oneway)
            fabric.block(pairs)
            await trio.sleep(seconds)
            mend(pairs)
        case s.Clog():
            out, into = fault.direction != "in", fault.direction != "out"
            fabric.clog(pairs_of(nodes, fabric.nodes, out=out, into=into), end_us)
        case s.BlackHole():
            fabric.swallow(swallowing(fault, fabric.nodes), fault.mtu, end_us)
        case s.Spike():
            fabric.spike(pairs_of(nodes, fabric.nodes), fault.delay.us, end_us)
        case s.Squeeze():
            fabric.set_rates(nodes, Rates(fault.up, fault.down))
            await trio.sleep(seconds)
            fabric.set_rates(nodes, None)
        case s.Weather():
            fabric.set_links(
                Links(
                    latency=fault.latency or link.latency,
                    loss=fault.loss * 1000,
                    corruption=fault.corruption * 1000,
                    stream=True,
                )
            )
            await trio.sleep(seconds)
            fabric.set_links(None)
        case _:
            raise AssertionError(f"{fault} is none of the network")
