"""PROTOCOL 13.2: whose node may end when its member has left, and whose goes on following."""

import pytest

from netsim.fabric import Links
from netsim.playing import PlayingTable
from node.game.receipts import DONE
from node.membership import Retire, SetVote


@pytest.mark.parametrize("seed", range(4))
def test_a_node_whose_member_left_is_done_only_when_the_others_go_on_without_it(seed: int) -> None:
    table = PlayingTable(4, seed, links=Links(loss=300))
    table.submit(3, Retire())
    leaver, others = table.replicas[3], table.replicas[:3]
    while not leaver.is_done:
        assert table.network.now_ms < 300_000
        table.network.run(table.network.now_ms + 5)
    assert [replica.final.membership.epoch for replica in others] == [1] * 3
    table.network.crash(3)
    table.play(3, limit_ms=900_000)


def test_a_node_that_alone_knows_of_the_seal_is_not_done() -> None:
    table = PlayingTable(4, seed=2)
    network, leaver = table.network, table.replicas[3]
    table.submit(3, Retire())
    while leaver.final.membership.epoch == 0:
        network.run(network.now_ms + 1)
    assert [replica.final.membership.epoch for replica in table.replicas] == [0, 0, 0, 1]
    network.partition([3], [0, 1, 2])
    network.run(network.now_ms + 5_000)
    assert not leaver.is_done
    network.heal()
    network.run(network.now_ms + 70_000)
    assert leaver.is_done


def test_who_gave_its_vote_up_or_was_convicted_follows_on() -> None:
    table = PlayingTable(5, seed=1)
    assert table.ask(4, SetVote(0)) == DONE
    table.play(2, limit_ms=300_000)
    assert not table.replicas[4].votes
    assert not any(replica.is_done for replica in table.replicas)
    table.settle()


def test_who_only_played_is_done_as_soon_as_it_has_left() -> None:
    table = PlayingTable(4, seed=1, newcomers=1)
    table.join(4)
    assert not table.replicas[4].is_done
    assert table.ask(4, Retire()) == DONE
    table.network.run(table.network.now_ms + 2_000)
    assert table.replicas[4].is_done
    table.network.crash(4)
    table.play(1, limit_ms=300_000)
