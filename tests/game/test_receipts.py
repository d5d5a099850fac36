"""What players read: every refusal says what, why and what to do; results survive their encoding."""

import pytest

from consensus.encoding import decode_as, encode
from node.game.operations import Leave, PlaceBet, Ready, Roll, TakeDown
from node.game.receipts import (
    GAME_CODES,
    BlockResult,
    Code,
    Receipt,
    ReturnedBet,
    RollResult,
    describe,
)
from tests.game.tables import Game
from tests.game.test_treasury import with_bank
from tests.game.tiny import ACE, FIELD, RIDE, STAY, UNIT

VALUES: dict[Code, tuple[int, ...]] = {
    Code.OWN_LOSS: (500, 401, 100, 77),
    Code.OWN_TIME: (60, 90),
    Code.OTHER_DEVICE: (17,),
    Code.STRANGER: (9,),
    Code.OPERATIONS: (4_096,),
    Code.NO_GAME: (2,),
    Code.SESSIONS: (100,),
    Code.SESSIONS_OF_PLAYER: (32,),
    Code.NO_SESSION: (7,),
    Code.AMOUNT: (0, 2**53 - 1),
    Code.RACK: (40, 25),
    Code.BANK: (300, 120),
    Code.BETS: (64,),
    Code.STAKE: (30, 20),
    Code.WORKING: (3,),
    Code.NOT_THROWER: (2,),
    Code.TOO_EARLY: (1_200,),
    Code.NOT_DUE: (700,),
    Code.NOT_EMPTY: (2, 50),
    Code.NOT_IDLE: (9_000,),
    Code.POOL_PART: (30, 20),
    Code.POOL_PROMISED: (70,),
}


@pytest.mark.parametrize("code", Code)
def test_every_code_has_a_sentence_that_uses_its_values(code: Code) -> None:
    values = VALUES.get(code, ())
    sentence = describe(Receipt(code, values or (91, 92)))
    assert all(str(value) in sentence for value in values)
    assert "{" not in sentence
    assert sentence[0].islower() or sentence[0].isdigit()
    # A refusal names a reason and a way on; done is done.
    assert code == Code.DONE or ": " in sentence or ", " in sentence or "; " in sentence


def test_codes_of_the_table_stay_below_those_of_the_games() -> None:
    assert max(Code) < GAME_CODES


def test_refusals_of_the_game_are_described_by_its_rules() -> None:
    game = Game().seated(0)
    receipt = game.refusal(0, PlaceBet(0, STAY, 3, 5))
    assert (receipt.code, receipt.values) == (UNIT, (5, 6))
    assert describe(receipt, game.state.rules_of(0)) == f"tiny refusal {UNIT}"
    assert describe(receipt) == f"the rules of the game refuse this (code {UNIT})"


def test_there_are_no_rules_of_a_session_that_is_not_there() -> None:
    assert Game().state.rules_of(0) is None
    assert Game().state.rules_of(-1) is None


def test_a_block_result_tells_everything_and_survives_its_encoding() -> None:
    game = Game(params=with_bank(12)).seated(0, 1)
    game.bet(0, STAY, 6, 4)
    game.bet(0, RIDE, 1)
    game.done((1, Ready(0)), (0, Roll(0)))
    (receipt,) = game.block((1, PlaceBet(0, FIELD, 0, 1)), faces=[(0, 3)])
    result = BlockResult(
        game.state.height,
        game.state.time_ms,
        ((1, 1, (receipt,)),),
        tuple(game.results),
        game.closed,
        tuple(game.state.returned),
    )
    roll = result.rolls[0]
    assert (roll.dice, roll.board_before, roll.board) == ((4,), (0, 0), (1, 4))
    assert (roll.session, roll.serial, roll.number) == (0, game.session().serial, 1)
    assert [(bet.kind, bet.profit, bet.returned, bet.left) for bet in roll.bets] == [
        (STAY, 7, 7, 6)
    ]
    assert roll.returned == (ReturnedBet(0, 0, STAY, 4, 6),)
    assert decode_as(encode(result), BlockResult) == result
    assert decode_as(encode(roll), RollResult) == roll


def test_who_loses_a_bet_to_the_act_of_another_finds_it_in_the_result() -> None:
    game = Game(params=with_bank(8)).seated(0, 1)
    game.bet(1, ACE, 2)
    game.bet(0, RIDE, 10)
    game.done((1, Leave(0)))
    assert game.state.returned == [ReturnedBet(0, 0, RIDE, 0, 10)]


def test_taking_down_says_how_many_chips_came_back() -> None:
    game = Game().seated(0)
    game.bet(0, FIELD, 25)
    assert game.done((0, TakeDown(0, FIELD, 0))) == [(25,)]
