"""What makes proofs finds the right parts: others of their kind stand beside them in a block."""

import pytest

from consensus.encoding import decode_as
from consensus.signing import verify
from netsim.playing import PlayingTable
from node.descriptor import Table
from node.errors import OperatorError
from node.game.craps.bets import Kind
from node.game.games import CRAPS
from node.game.operations import CreateSession, PlaceBet, Ready, Roll, Sit
from node.game.params import GameParams, JoinRule
from node.game.receipts import Code
from node.proof import MAGIC, Bundle, check_bundle
from node.prover import list_bets, prove_bet, prove_roll
from node.replay import StoredChain, chain_of_records
from tests.node.shown import FIELD, but, hold_reveals, refuted, release


def shown(played: PlayingTable) -> tuple[Table, StoredChain]:
    assert played.table is not None
    return played.table, chain_of_records(played.network.hosts[0].disk.records)


def test_of_two_rolls_that_one_block_settles_each_is_proved_by_its_own_secrets() -> None:
    played = PlayingTable(4, seed=5, signatures="memo", described=True)
    played.play(1, limit_ms=300_000)
    reveals = hold_reveals(played)
    bet = PlaceBet(1, Kind.PASS, 0, 10)
    for operation in (CreateSession(CRAPS), Sit(1), bet, Ready(1), Roll(1)):
        assert played.ask(0, operation).code == Code.DONE
    while len(played.replicas[0].final.closed) < 2:
        for player in range(4):
            played.submit(player, *played._wishes(player))
        played.network.run(played.network.now_ms + 400)
    played.network.run(played.network.now_ms + 100)
    release(played, reveals)
    [both] = [result for result in played.results if len(result.rolls) == 2]
    table, chain = shown(played)
    for roll in both.rolls:
        data = prove_roll(table, played.terms, chain, roll.number, roll.serial)
        assert check_bundle(data, verify).rolls[0].result == roll


def test_who_came_later_is_named_by_its_leaf_and_a_founder_by_the_terms() -> None:
    params = GameParams(join_rule=JoinRule.ANY_VOTER)
    played = PlayingTable(1, seed=1, signatures="memo", described=True, newcomers=1, params=params)
    played.join(1)
    played.play(4, limit_ms=300_000)  # the first bets on the field are decided by then
    played.settle()
    table, chain = shown(played)
    bundles = list[Bundle]()
    for player in range(2):
        placed = next(
            one
            for one in list_bets(table, played.terms, chain)
            if (one.player, one.key) == (f"player {player}", FIELD)
        )
        data = prove_bet(table, played.terms, chain, placed.height, placed.index)
        proved = check_bundle(data, verify)
        assert proved.bet is not None
        assert proved.bet.name == placed.player
        bundles.append(decode_as(data[len(MAGIC) :], Bundle))
    founders, later = bundles
    assert founders.bet[0].identity == ()
    nobody = but(later, bet=(but(later.bet[0], identity=()),))
    refuted(nobody, "nothing proves who player 1 is")


def test_what_is_no_bet_is_not_proved_as_one() -> None:
    played = PlayingTable(1, seed=1, signatures="memo", described=True)
    played.play(1, limit_ms=300_000)
    played.settle()
    table, chain = shown(played)
    for height, index, match in (
        (1, 0, "operation 0 of block 1 is CreateSession, not a bet"),
        (1, 9, "block 1 has no operation 9"),
        (999, 0, "there is no block 999; the newest is"),
    ):
        with pytest.raises(OperatorError, match=match):
            prove_bet(table, played.terms, chain, height, index)
