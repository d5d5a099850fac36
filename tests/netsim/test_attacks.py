"""PROTOCOL 7: up to f validators break every rule that their keys let them break."""

import os
import random
from collections.abc import Callable

import pytest

from consensus.effects import CertificateLogged
from consensus.encoding import decode_as
from consensus.evidence import verify_evidence
from consensus.messages import Certificate, Number
from consensus.validators import ValidatorIndex
from netsim.adversaries import (
    Adversary,
    Babbler,
    Equivocator,
    Forger,
    Late,
    Liar,
    Schismatic,
    Selective,
    Silent,
    Strategy,
    Withholder,
)
from netsim.faults import storm
from netsim.tables import CHAIN_ID, CounterTable, Seat

SEEDS = int(os.environ.get("NETSIM_SEEDS", "2"))
"""Seeds for each of the random runs; a sweep sets more."""

STRATEGIES: dict[Callable[[], Strategy], str] = {
    Silent: "",
    Equivocator: "TWO_NOTARIZE",
    Schismatic: "invalid proposal: ",
    Selective: "",
    Withholder: "",
    Late: "",
    Forger: "invalid proposal: ",
    Babbler: "vote that does not verify",
    Liar: "certificate that does not verify",
}
"""Every adversary, and what the others notice, so that no attack is one on paper only."""


def seat_of(strategy: Callable[[], Strategy]) -> Callable[[Seat], Adversary]:
    return lambda seat: Adversary(seat, strategy())


def feed(table: CounterTable, count: int, every_ms: int) -> None:
    for i in range(count):
        name = i.to_bytes(2, "big")
        table.network.at(100 + every_ms * i, lambda name=name: table.increment(name))  # type: ignore[misc]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("n", [4, 7])
@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_full_table_of_f_adversaries_neither_forks_nor_stops_the_others(
    strategy: Callable[[], Strategy], n: int, seed: int
) -> None:
    rng = random.Random(f"{strategy.__name__} {n} {seed}")
    bad = rng.sample(range(n), (n - 1) // 3)
    table = CounterTable(n, seed, adversaries={i: seat_of(strategy) for i in bad})
    feed(table, 20, every_ms=rng.choice((20, 100, 400)))
    table.network.run(10_000)
    table.settle()
    assert set(table.totals()) == {20}
    noticed = STRATEGIES[strategy]
    assert not noticed or any(noticed in fault for fault in table.network.counts.faults)


@pytest.mark.parametrize("n", [4, 5, 6, 7])
@pytest.mark.parametrize("seed", range(3 * SEEDS))
def test_adversaries_and_weather_together_change_nothing(n: int, seed: int) -> None:
    rng = random.Random(f"{n} {seed}")
    bad = rng.sample(range(n), (n - 1) // 3)
    adversaries = {i: seat_of(rng.choice(list(STRATEGIES))) for i in bad}
    table = CounterTable(n, seed, adversaries=adversaries)
    storm(table, rng, 15_000)
    feed(table, 30, every_ms=rng.choice((50, 400)))
    table.network.run(20_000)
    table.settle()


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize("seed", range(2 * SEEDS))
def test_weather_alone_changes_nothing(n: int, seed: int) -> None:
    rng = random.Random(f"{n} {seed}")
    table = CounterTable(n, seed)
    storm(table, rng, 15_000)
    feed(table, 30, every_ms=rng.choice((50, 400)))
    table.network.run(20_000)
    table.settle()


@pytest.mark.parametrize("n", [4, 5, 7])
@pytest.mark.parametrize("seed", range(2 * SEEDS))
def test_after_the_weather_a_quorum_goes_on_without_those_that_stay_down(n: int, seed: int) -> None:
    rng = random.Random(f"core {n} {seed}")
    table = CounterTable(n, seed)
    storm(table, rng, 15_000)
    feed(table, 30, every_ms=rng.choice((50, 400)))
    table.network.run(20_000)
    broken = rng.sample(range(n), (n - 1) // 3)
    table.settle(broken)
    for index in broken:
        table.network.boot(index)
    table.settle()


@pytest.mark.parametrize("n", [4, 7])
def test_more_than_f_traitors_may_fork_the_table_but_are_named_and_nobody_else(n: int) -> None:
    traitors = range((n - 1) // 3 + 1)
    table = CounterTable(n, seed=1, adversaries={i: seat_of(Equivocator) for i in traitors})
    feed(table, 20, every_ms=60)
    with pytest.raises(AssertionError, match=r"G1|G4|halted"):
        table.network.run(10_000)
    # The two sides of the fork meet and show each other what they hold.
    certificates = [
        decode_as(record.certificate, Certificate)
        for index in table.honest
        for record in table.network.hosts[index].disk.records
        if isinstance(record, CertificateLogged)
    ]
    named: dict[int, None] = {}
    for index in table.honest:
        for one in certificates:
            table.nodes[index].engine.receive(
                ValidatorIndex(index), Number.CERTIFICATE, one, table.network.clock(index)
            )
        proofs = table.nodes[index].engine.evidence
        table.invariants.accused(index, proofs)
        for proof in proofs:
            offence = verify_evidence(proof, table.validators, CHAIN_ID, 0, table.verify)
            assert not isinstance(offence, str)
            named[offence.offender] = None
    assert sorted(named) == list(traitors)
