"""Directed runs: the table gets out of every corner that somebody's table got stuck in."""

import pytest

from consensus.effects import CertificateLogged
from consensus.messages import Number, VoteKind
from netsim.chance import Spread
from netsim.fabric import Links
from netsim.tables import CounterTable
from tests.netsim import scenarios
from tests.netsim.scenarios import feed


@pytest.mark.parametrize("n", [4, 7])
@pytest.mark.parametrize("seed", range(4))
def test_a_node_that_lost_the_last_finalization_learns_it_from_sleepers(n: int, seed: int) -> None:
    scenarios.lost_finalization(n, seed)


@pytest.mark.parametrize("seed", range(4))
def test_a_block_that_two_finalized_and_two_gave_up_needs_one_empty_block(seed: int) -> None:
    scenarios.split_finalization(4, seed)


@pytest.mark.parametrize("seed", range(4))
def test_who_never_hears_of_any_work_gives_a_silent_leader_up_with_the_others(seed: int) -> None:
    scenarios.unheard_work(4, seed)


@pytest.mark.parametrize("seed", range(4))
def test_nodes_that_completed_a_view_by_different_certificates_agree_in_the_next(seed: int) -> None:
    scenarios.split_certificates(4, seed)


def test_a_day_without_work_has_no_vote_and_no_block() -> None:
    table = CounterTable(4, seed=1)
    table.network.run(24 * 3_600_000)
    counts = table.network.counts
    assert (counts.votes, counts.certificates, counts.blocks) == (0, 0, 0)
    assert counts.frames <= 4 * 24 * 60 * 2 + 100


@pytest.mark.parametrize("n", [4, 7])
def test_at_low_load_a_block_is_an_action(n: int) -> None:
    table = CounterTable(n, seed=2, links=Links(latency=Spread("uniform(1ms,60ms)")))
    feed(table, 100, every_ms=500)
    table.network.run(60_000)
    assert table.totals() == [100] * n
    assert 100 <= table.network.counts.blocks <= 130


@pytest.mark.parametrize("crashed", range(4))
def test_power_may_fail_between_any_two_effects(crashed: int) -> None:
    for effects in range(0, 60, 2):
        table = CounterTable(4, seed=effects)
        table.network.run(150)
        table.crash_soon(crashed, effects, down_ms=300)
        feed(table, 6, every_ms=60)
        table.network.run(2_000)
        table.settle()


@pytest.mark.parametrize("n", [1, 2, 4])
def test_all_may_lose_power_at_once_at_any_time(n: int) -> None:
    for at_ms in range(100, 400, 10):
        table = CounterTable(n, seed=at_ms)
        feed(table, 4, every_ms=60)
        table.network.run(at_ms)
        for index in range(n):
            table.network.crash(index)
        for index in range(n):
            table.network.boot(index)
        feed(table, 6, every_ms=60, start_ms=at_ms)
        table.settle()


@pytest.mark.parametrize("hears", [True, False])
def test_a_node_whose_link_works_one_way_costs_nobody_else_anything(hears: bool) -> None:
    table = CounterTable(4, seed=3)
    table.network.partition(*(((3,), (0, 1, 2)) if hears else ((0, 1, 2), (3,))), one_way=True)
    for i in range(20):
        table.network.at(100 + 300 * i, lambda i=i: table.increment(bytes((i,)), at=i % 3))  # type: ignore[misc]
    table.network.run(15_000)
    assert table.totals()[:3] == [20] * 3
    table.settle()
    assert table.totals() == [20] * 4


@pytest.mark.slow
def test_five_hundred_views_without_a_block_are_left_behind_by_one() -> None:
    slow = Links(latency=Spread("uniform(700ms,900ms)"))  # so that repetitions are few
    table = CounterTable(4, seed=4, links=slow)
    table.network.drops = lambda _from, _to, data: data[0] == Number.PROPOSAL
    table.increment(b"x", at=0)
    while min(node.engine.view for node in table.nodes) < 500:
        table.network.run(table.network.now_ms + 60_000)
    table.network.drops = None
    table.settle()
    assert table.totals() == [1] * 4
    assert table.network.counts.blocks == 1


def test_the_back_off_ends_with_the_first_final_block() -> None:
    table = CounterTable(4, seed=4)
    table.network.drops = lambda _from, _to, data: data[0] == Number.PROPOSAL
    table.increment(b"x", at=0)
    table.network.run(30_000)
    table.network.drops = None
    table.settle()
    table.network.crash(table.validators.leader(table.nodes[0].engine.view))
    start_ms = table.network.now_ms
    table.increment(b"y")
    while min(table.totals()) < 2:
        table.network.run(table.network.now_ms + 10)
    assert table.network.now_ms - start_ms < 500


def test_a_leader_that_is_down_costs_a_timer_once_and_then_nothing() -> None:
    table = CounterTable(4, seed=6)
    table.network.crash(3)
    durations = []
    for i in range(12):
        start_ms = table.network.now_ms
        table.increment(bytes((i,)))
        while min(table.totals()) < i + 1:
            table.network.run(table.network.now_ms + 1)
        durations.append(table.network.now_ms - start_ms)
        table.network.run(table.network.now_ms + 1_000)
    assert max(durations[4:]) < 3 * 20 + 100


def test_a_node_far_behind_is_fed_by_one_honest_peer_among_liars() -> None:
    from netsim.adversaries import Liar

    table = CounterTable(7, seed=7, adversaries=scenarios.bad({5: Liar, 6: Liar}))
    table.network.crash(0)
    feed(table, 150, every_ms=40)
    table.network.run(20_000)
    assert set(table.totals()) == {150}
    # Only one honest peer can be heard by the node that comes back.
    table.network.fabric.block((i, 0) for i in (1, 2, 3))
    table.network.boot(0)
    table.network.run(table.network.now_ms + 60_000)
    assert table.nodes[0].app.total == 150


def test_restarts_resume_at_the_view_and_sign_nothing_again() -> None:
    table = CounterTable(4, seed=8)
    table.network.drops = lambda _from, _to, data: data[0] == Number.PROPOSAL
    table.increment(b"x", at=0)
    table.network.run(5_000)
    view = table.nodes[1].engine.view
    assert view > 2
    table.network.crash(1)
    table.network.boot(1)
    assert table.nodes[1].engine.view >= view - 1
    records = table.network.hosts[1].disk.records
    assert any(isinstance(r, CertificateLogged) and r.kind == VoteKind.NULLIFY for r in records)
    table.network.drops = None
    table.settle()
