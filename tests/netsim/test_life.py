"""PROTOCOL 13: the whole life of a table, from its founder alone to sixteen voters and back to four."""

import os
import random

import pytest

from netsim.playing import PlayingTable
from node.game.params import GameParams, JoinRule
from node.game.receipts import DONE
from node.membership import EPOCH_MS_MIN, MISSED_TURNS_MAX, SetVote

ROLL_MS = 30_000
"""What a roll may take here, an epoch's end and a restart included."""


class Life:
    """A table, and what happens at it one after the other."""

    def __init__(self, seed: int) -> None:
        self.table = PlayingTable(
            1, seed, newcomers=15, params=GameParams(join_rule=JoinRule.MAJORITY)
        )
        self.rng = random.Random(seed)
        self.rolls = 0
        self.crashes = 0

    @property
    def voters(self) -> list[int]:
        return sorted(self.table.replicas[0].final.membership.voters)

    def wish(self, index: int, vote: int) -> None:
        """Let a member change its mind and its power fail within its next effects; it comes back."""
        self.table.submit(index, SetVote(vote))
        network = self.table.network
        host = network.hosts[index]
        host.crash_after = self.rng.randrange(12)

        def back() -> None:
            host.crash_after = None
            if host.node is None:
                self.crashes += 1
                network.boot(index)

        network.at(network.now_ms + self.rng.randrange(300, 2_000), back)
        network.run(network.now_ms + 2_000)
        while self.table.replicas[index].final.membership.members[index].wants != vote:
            self.table.ask(index, SetVote(vote))  # the power failed before the wish was durable

    def roll(self, count: int = 1) -> None:
        self.rolls = max(self.rolls, len(self.table.rolls)) + count
        self.table.play(self.rolls, limit_ms=count * ROLL_MS)

    def until(self, voters: int) -> None:
        """Play on until so many vote."""
        for _ in range(10):
            if len(self.voters) == voters:
                return
            self.table.network.run(self.table.network.now_ms + EPOCH_MS_MIN // 2)
            self.roll()
        raise AssertionError(f"{self.voters} vote, not {voters}")

    def judge(self) -> None:
        """All nodes hold the same, and every chip that a player ever bet is accounted for."""
        self.table.settle()
        finals = [replica.final for replica in self.table.replicas]
        assert len({state.root for state in finals}) == 1
        game = finals[0].game
        layout = sum(session.layout for session in game.sessions if session is not None)
        assert sum(account.chips for account in game.accounts) + layout + game.bank == game.minted
        for player, account in enumerate(game.accounts):
            won = sum(
                bet.profit - bet.lost - bet.vig - bet.rake
                for roll in self.table.rolls
                for bet in roll.bets
                if bet.player == player
            )
            riding = sum(
                bet.stake + bet.vig
                for session in game.sessions
                if session is not None
                for seat in session.seats
                if seat is not None and seat.player == player
                for bet in seat.bets.values()
            )
            assert account.chips + riding == GameParams().buy_in + won, f"player {player}"


@pytest.mark.parametrize("seed", range(3, 3 + int(os.environ.get("NETSIM_SEEDS", "1"))))
def test_a_table_grows_from_one_voter_to_sixteen_and_shrinks_to_four_while_bets_go_on(
    seed: int,
) -> None:
    life = Life(seed)
    table = life.table
    for index in range(1, 16):
        table.join(index)
        life.wish(index, 1)
        if index % 5 == 0:
            life.roll()
    life.until(16)
    life.judge()
    assert table.network.now_ms < 400_000
    for index in range(15, 6, -1):
        life.wish(index, 0)
        if index % 3 == 0:
            life.roll()
    life.until(7)
    life.judge()
    assert life.crashes > 10
    table.network.crash(6)
    life.roll(8)
    assert table.replicas[0].final.membership.members[6].missed >= MISSED_TURNS_MAX
    assert 6 in life.voters, "six would stand no more absences than seven without one"
    assert table.ask(5, SetVote(0)) == DONE
    life.until(5)
    assert life.voters == [0, 1, 2, 3, 4], "five stand one absence, six without one none"
    table.network.boot(6)
    assert table.ask(4, SetVote(0)) == DONE
    life.until(4)
    life.judge()
    assert life.voters == [0, 1, 2, 3]
    assert table.network.now_ms < 900_000
