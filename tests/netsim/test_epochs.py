"""PROTOCOL 13: members come and go, votes change hands, and bets go on."""

import pytest

from consensus.effects import EpochKeysErased, EpochKeysLogged
from netsim.fabric import Links
from netsim.playing import PlayingTable
from node.game.params import GameParams, JoinRule
from node.game.receipts import DONE, Code
from node.membership import EPOCH_MS_MIN, Retire, SetVote


def epochs(table: PlayingTable) -> list[int]:
    return [replica.final.membership.epoch for replica in table.replicas]


def voters(table: PlayingTable) -> list[int]:
    return sorted(table.replicas[0].final.membership.voters)


def set_vote(table: PlayingTable, index: int, vote: int) -> None:
    """Let a member change its mind, and the voters change in their time."""
    assert table.ask(index, SetVote(vote)) == DONE
    table.network.run(table.network.now_ms + EPOCH_MS_MIN + 5_000)
    assert (index in voters(table)) == bool(vote)


def chips_add_up(table: PlayingTable) -> None:
    for replica in table.replicas:
        game = replica.final.game
        layout = sum(session.layout for session in game.sessions if session is not None)
        assert sum(account.chips for account in game.accounts) + layout + game.bank == game.minted
    assert len({replica.final.root for replica in table.replicas}) == 1


def test_a_member_that_gives_up_its_vote_follows_plays_on_and_may_vote_again() -> None:
    table = PlayingTable(5, seed=1)
    table.play(2, limit_ms=300_000)
    set_vote(table, 2, 0)
    assert not table.replicas[2].votes
    table.play(5, limit_ms=300_000)
    set_vote(table, 2, 1)
    assert table.replicas[2].votes
    table.play(8, limit_ms=300_000)
    table.settle()
    chips_add_up(table)
    assert epochs(table) == [2] * 5


def test_a_newcomer_starts_from_nothing_follows_bets_and_votes() -> None:
    table = PlayingTable(4, seed=2, newcomers=1)
    table.play(3, limit_ms=300_000)
    table.join(4)
    table.network.run(table.network.now_ms + 5_000)
    assert table.replicas[4].final.height >= table.replicas[0].final.height - 2
    assert not table.replicas[4].votes
    minted = table.replicas[0].final.game.minted
    assert minted == GameParams().bank + 5 * GameParams().buy_in
    table.play(6, limit_ms=300_000)
    assert table.ask(4, SetVote(1)) == DONE
    table.play(9, limit_ms=300_000)
    table.settle()
    assert voters(table) == [0, 1, 2, 3, 4]
    assert table.replicas[4].votes
    chips_add_up(table)


def test_no_betting_closes_while_voters_change_and_no_epoch_is_sealed_under_a_roll() -> None:
    table = PlayingTable(4, seed=4)
    table.play(1, limit_ms=300_000)
    for rolls in range(2, 8):
        index = 1 + rolls % 3
        vote = int(index not in voters(table))
        set_vote(table, index, vote)
        table.play(rolls, limit_ms=300_000)
    table.settle()
    chips_add_up(table)
    assert epochs(table) == [6] * 4
    for before, result in zip(table.results, table.results[1:], strict=False):
        assert result.height == before.height + 1


@pytest.mark.parametrize("seed", range(4))
def test_epochs_change_under_loss_and_crashes_between_effects(seed: int) -> None:
    table = PlayingTable(5, seed, links=Links(loss=50, duplication=30))
    network, rng = table.network, table.network.rng

    def crash() -> None:
        index = rng.randrange(5)
        host = network.hosts[index]
        if host.node is None:
            return
        host.crash_after = rng.randrange(6)

        def back() -> None:
            host.crash_after = None
            if host.node is None:
                network.boot(index)

        network.at(network.now_ms + rng.randrange(200, 3_000), back)

    for i in range(14):
        network.at(1_000 + i * 2_500 + rng.randrange(2_000), crash)
    for rolls in range(1, 7):
        index = rng.randrange(5)
        table.submit(index, SetVote(rng.randrange(2)))
        table.play(rolls, limit_ms=900_000)
    table.settle()
    chips_add_up(table)
    assert len(set(epochs(table))) == 1


def test_a_node_that_slept_through_several_epochs_is_led_through_them() -> None:
    table = PlayingTable(5, seed=6)
    table.play(1, limit_ms=300_000)
    table.network.crash(4)
    for rolls, (index, vote) in enumerate([(3, 0), (3, 1), (2, 0), (2, 1)], 2):
        set_vote(table, index, vote)
        table.play(rolls, limit_ms=900_000)
    assert table.replicas[0].final.membership.epoch >= 4
    table.network.boot(4)
    table.network.run(table.network.now_ms + 20_000)
    table.settle()
    chips_add_up(table)
    assert len(set(epochs(table))) == 1


def test_keys_change_with_the_epoch_and_the_old_ones_are_erased_after_its_first_block() -> None:
    table = PlayingTable(4, seed=7)
    table.play(1, limit_ms=300_000)
    first = table.replicas[0].validators.keys
    table.ask(3, SetVote(0))
    table.play(2, limit_ms=300_000)
    table.settle()
    assert not set(first) & set(table.replicas[0].validators.keys)
    for host in table.network.hosts[:3]:
        records = host.disk.records
        assert any(isinstance(record, EpochKeysLogged) for record in records)
        [erased] = [record for record in records if isinstance(record, EpochKeysErased)]
        assert erased.epoch == 1


def test_a_voter_that_vanished_is_evicted_when_the_rest_stands_more_absences_then() -> None:
    table = PlayingTable(5, seed=8)
    table.play(1, limit_ms=300_000)
    table.network.crash(4)
    table.play(14, limit_ms=3_000_000)
    assert voters(table) == [0, 1, 2, 3]
    table.network.boot(4)
    table.network.run(table.network.now_ms + 20_000)
    assert not table.replicas[4].votes
    table.settle()
    chips_add_up(table)


def test_who_retires_has_to_leave_its_games_first_and_then_acts_no_more() -> None:
    table = PlayingTable(4, seed=9, params=GameParams(join_rule=JoinRule.CLOSED))
    table.play(1, limit_ms=300_000)
    assert table.ask(3, Retire()).code == Code.STILL_SEATED
    other = PlayingTable(4, seed=10)
    assert other.ask(3, Retire()) == DONE
    other.network.run(other.network.now_ms + 5_000)
    assert voters(other) == [0, 1, 2]
    assert other.ask(3, SetVote(1)).code == Code.HAS_LEFT
