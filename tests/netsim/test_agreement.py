"""PROTOCOL 7 to 10: engines over a counter agree under loss, crashes and partitions."""

import hashlib
import os
import random
import subprocess
import sys

import pytest

from netsim.fabric import Links
from netsim.faults import storm
from netsim.tables import CounterTable

SEEDS = int(os.environ.get("NETSIM_SEEDS", "6"))
"""Seeds for each of the random runs; a sweep sets more."""


def feed(table: CounterTable, count: int, every_ms: int, start_ms: int = 100) -> None:
    """Give increments to hosts over time."""
    for i in range(count):
        name = i.to_bytes(2, "big")
        table.network.at(start_ms + every_ms * i, lambda name=name: table.increment(name))  # type: ignore[misc]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7])
def test_every_increment_becomes_final_in_one_block_and_then_the_table_sleeps(n: int) -> None:
    table = CounterTable(n, seed=1)
    feed(table, 10, every_ms=200)
    table.network.run(5_000)
    assert table.totals() == [10] * n
    assert [tip.height for tip in table.finals()] == [10] * n
    votes = table.network.counts.votes
    table.network.run(3_600_000)
    assert table.quiet()
    assert table.network.counts.votes == votes
    assert table.network.counts.blocks == 10


@pytest.mark.parametrize("n", [10, 31, 100])
def test_a_large_table_agrees_and_sleeps_as_well(n: int) -> None:
    table = CounterTable(n, seed=1)
    feed(table, 3, every_ms=300)
    table.network.run(3_000)
    assert table.totals() == [3] * n
    assert table.quiet()
    assert table.network.counts.blocks == 3


def test_real_signatures_agree_like_stand_ins() -> None:
    table = CounterTable(4, seed=1, ed25519=True)
    feed(table, 5, every_ms=50)
    table.network.run(2_000)
    assert table.totals() == [5] * 4


def trace(seed: int) -> str:
    """Run through a storm and return a hash of every frame on every link."""
    heard = hashlib.sha256()
    table = CounterTable(4, seed)
    storm(table, random.Random(seed), 5_000)
    feed(table, 10, every_ms=200)

    def hear(sender: int, receiver: int, data: bytes) -> bool:
        heard.update(bytes((sender, receiver)) + data)
        return False

    table.network.drops = hear
    table.network.run(8_000)
    return heard.hexdigest()


def test_one_seed_is_one_run_whatever_the_hash_seed() -> None:
    first = trace(5)
    assert trace(5) == first
    assert trace(6) != first
    for hash_seed in ("1", "2"):
        found = subprocess.run(
            [
                sys.executable,
                "-c",
                "from tests.netsim.test_agreement import trace; print(trace(5))",
            ],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            text=True,
        )
        assert found.stdout.strip() == first


def test_a_table_without_quorum_stands_still_and_goes_on_when_healed() -> None:
    table = CounterTable(4, seed=3)
    table.network.partition((0, 1), (2, 3))
    table.increment(b"x")
    table.network.run(20_000)
    assert table.totals() == [0] * 4
    table.network.heal()
    table.network.run(60_000)
    assert table.totals() == [1] * 4


def test_a_node_that_was_away_fetches_what_it_missed() -> None:
    table = CounterTable(4, seed=5)
    table.network.crash(3)
    feed(table, 60, every_ms=100)
    table.network.run(60_000)
    table.network.boot(3)
    table.network.run(70_000)
    assert table.totals() == [60] * 4
    assert len({tip.hash for tip in table.finals()}) == 1


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize("seed", range(SEEDS))
def test_loss_duplication_and_power_cuts_between_effects_lose_nothing(n: int, seed: int) -> None:
    rng = random.Random(f"{n} {seed}")
    table = CounterTable(n, seed, links=Links(loss=rng.choice((0, 50, 150, 250)), duplication=50))
    feed(table, 12, every_ms=400)
    for _ in range(10):
        index, effects, down_ms = rng.randrange(n), rng.randrange(6), rng.randrange(50, 2_000)
        table.network.at(
            rng.randrange(6_000),
            lambda index=index, effects=effects, down_ms=down_ms: table.crash_soon(  # type: ignore[misc]
                index, effects, down_ms
            ),
        )
    table.network.run(8_000)
    table.settle()
