"""PROTOCOL 7 to 10: engines over a counter agree under loss, crashes and partitions."""

import pytest

from netsim.tables import CounterTable


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7])
def test_every_increment_becomes_final_in_one_block_and_then_the_table_sleeps(n: int) -> None:
    table = CounterTable(n, seed=1)
    for i in range(10):
        table.network.at(100 + 100 * i, lambda i=i: table.increment(bytes((i,))))  # type: ignore[misc]
    table.network.run(5_000)
    assert table.totals() == [10] * n
    assert [tip.height for tip in table.finals()] == [10] * n
    votes = table.network.counts.votes
    table.network.run(3_600_000)
    assert table.quiet()
    assert table.network.counts.votes == votes
    assert table.network.counts.blocks == 10


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
    for i in range(60):
        table.network.at(100 * i, lambda i=i: table.increment(bytes((i,))))  # type: ignore[misc]
    table.network.run(60_000)
    table.network.boot(3)
    table.network.run(70_000)
    assert table.totals() == [60] * 4
    assert len({tip.hash for tip in table.finals()}) == 1
