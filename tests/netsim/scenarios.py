"""Runs that single tests and mutations of the rules share. Each raises when the table is wrong."""

import random
from collections.abc import Callable, Mapping

from consensus.encoding import decode_as
from consensus.messages import Certificate, Number, VoteKind, VotePayload
from consensus.timing import DELTA_MS_MIN
from netsim.adversaries import Adversary, Equivocator, Schismatic, Strategy, read_vote
from netsim.fabric import Links
from netsim.faults import storm
from netsim.host import Simulated
from netsim.invariants import ViolatedError
from netsim.tables import CounterTable, Seat


def feed(table: CounterTable, count: int, every_ms: int, start_ms: int = 100) -> None:
    """Give increments to hosts over time."""
    for i in range(count):
        name = i.to_bytes(2, "big")
        table.network.at(start_ms + every_ms * i, lambda name=name: table.increment(name))  # type: ignore[misc]


def bad(
    hosts: Mapping[int, Callable[[], Strategy]],
) -> dict[int, Callable[[Seat], Simulated]]:
    """Return adversaries for a table: one strategy of its own for each host."""

    def seat(strategy: Callable[[], Strategy]) -> Callable[[Seat], Simulated]:
        return lambda seat: Adversary(seat, strategy())

    return {index: seat(strategy) for index, strategy in hosts.items()}


def stormy(n: int, seed: int) -> None:
    """Loss, duplication, partitions and power cuts, then peace."""
    rng = random.Random(f"{n} {seed}")
    table = CounterTable(n, seed)
    storm(table, rng, 15_000)
    feed(table, 30, every_ms=rng.choice((50, 400)))
    table.network.run(20_000)
    table.settle()


def lossy(n: int, seed: int) -> None:
    """A third of all frames is lost, for ever; what was accepted has to become final."""
    table = CounterTable(n, seed, links=Links(loss=330))
    feed(table, 12, every_ms=200)
    table.network.run(120_000)
    if not table.quiet() or set(table.totals()) != {12}:
        raise ViolatedError(f"L {table.totals()} of 12 final after two minutes of loss")


def equivocated(n: int, seed: int) -> None:
    """One leader gives each half of the table another block, and votes for both."""
    table = CounterTable(n, seed, adversaries=bad({seed % n: Equivocator}))
    feed(table, 20, every_ms=60)
    table.network.run(5_000)
    table.settle()


def schismatic(n: int, seed: int) -> None:
    """Leaders build on old parents while the table is busy."""
    f = (n - 1) // 3
    hosts = random.Random(seed).sample(range(n), f)
    table = CounterTable(n, seed, adversaries=bad(dict.fromkeys(hosts, Schismatic)))
    feed(table, 60, every_ms=15)
    table.network.run(5_000)
    table.settle()


def is_about(data: bytes, kind: VoteKind, view: int | None = None) -> bool:
    """Say whether a frame is a vote or a certificate of this kind, and of this view."""
    said: Certificate | VotePayload | None = read_vote(data)
    if data[0] == Number.CERTIFICATE:
        said = decode_as(data[1:], Certificate)
    return said is not None and said.kind == kind and view in (None, said.view)


def lost_finalization(n: int, seed: int) -> None:
    """One node misses every finalize vote and certificate of the last block; all others sleep."""
    table = CounterTable(n, seed)
    network = table.network
    network.run(1_000)
    last = max(table.honest, key=lambda i: table.validators.leader(2) != i)
    network.drops = lambda _, to, data: to == last and is_about(data, VoteKind.FINALIZE)
    table.increment(b"x", at=(last + 1) % n)
    network.run(1_070)
    finals = [node.engine.final.height for node in table.nodes]
    assert finals[last] == 0, "the scenario needs a node behind"
    assert sum(finals) == n - 1, "and all others asleep"
    network.drops = None
    network.run(6_000)
    if table.totals() != [1] * n or not table.quiet():
        raise ViolatedError(f"L {table.totals()} after the last finalization was lost")
    if network.counts.blocks != 1:
        raise ViolatedError(f"L {network.counts.blocks} blocks for one increment")


def split_finalization(n: int, seed: int) -> None:
    """Two nodes finalize a view and two nullify it: neither certificate can ever exist."""
    assert n == 4
    table = CounterTable(n, seed)
    network = table.network
    network.run(1_000)
    late = (2, 3)
    network.drops = lambda _, to, data: (
        to in late and (is_about(data, VoteKind.NOTARIZE) or is_about(data, VoteKind.FINALIZE))
    )
    leader = table.validators.leader(1)
    table.increment(b"x", at=leader)
    while not all(_has_nullified(table, i) for i in late):
        network.run(network.now_ms + 1)
        assert network.now_ms < 5_000, "the scenario needs two that give up"
    network.drops = None
    network.run(20_000)
    if table.totals() != [1] * n or not table.quiet():
        raise ViolatedError(f"L {table.totals()} after a split finalization")
    if network.counts.blocks > 2:
        raise ViolatedError(f"L {network.counts.blocks} blocks, one empty one is enough")


def unheard_work(n: int, seed: int) -> None:
    """A leader is down, and one of those that have to give it up never hears that there is work."""
    table = CounterTable(n, seed)
    network = table.network
    network.run(1_000)
    leader = table.validators.leader(1)
    network.crash(leader)
    deaf = (leader + 1) % n
    network.drops = lambda _, to, data: to == deaf and data[0] == Number.ACTION
    start_ms = network.now_ms
    table.increment(b"x", at=(leader + 2) % n)
    while min(table.totals()) < 1:
        network.run(network.now_ms + 1)
        # Three Δ̂ of at most 20 ms until the others give the leader up, five delays behind that.
        if network.now_ms > start_ms + 3 * DELTA_MS_MIN + 5 * 20:
            raise ViolatedError(f"L {network.now_ms - start_ms} ms until the deaf one went along")


def split_certificates(n: int, seed: int) -> None:
    """Two nodes complete a view by its notarization, two by its nullification."""
    assert n == 4
    table = CounterTable(n, seed)
    network = table.network
    network.run(1_000)
    leader = table.validators.leader(1)
    notarizers = [i for i in range(n) if i != leader][:2]
    network.drops = lambda _, to, data: (
        is_about(data, VoteKind.NOTARIZE) or (to in notarizers and is_about(data, VoteKind.NULLIFY))
    )
    table.increment(b"x", at=leader)
    while not all(_has_nullified(table, i) for i in range(n)):
        network.run(network.now_ms + 1)
        assert network.now_ms < 5_000, "the scenario needs all to give up"
    # Until nobody has a reason to tell anybody about the first view any more.
    network.drops = lambda _, to, data: (
        data[0] == Number.PROPOSAL
        or is_about(data, VoteKind.NULLIFY if to in notarizers else VoteKind.NOTARIZE, view=1)
    )
    while min(node.engine.view for node in table.nodes) < 3:
        network.run(network.now_ms + 1)
        assert network.now_ms < 10_000, "the scenario needs both certificates"
    network.run(network.now_ms + 100)
    network.drops = None
    table.settle()
    assert table.totals() == [1] * n


def _has_nullified(table: CounterTable, index: int) -> bool:
    return any(
        getattr(record, "kind", None) == VoteKind.NULLIFY
        for record in table.network.hosts[index].disk.records
    )


def hunt(scenario: Callable[[int, int], None], n: int, seeds: int) -> str:
    """Return what the first failing seed reports, or nothing when all pass."""
    for seed in range(seeds):
        try:
            scenario(n, seed)
        except AssertionError as error:
            return f"seed {seed}: {error}"
    return ""
