"""PROTOCOL 12: rules of the table that few games reach, each by itself."""

from consensus.encoding import encode
from node.game.craps.bets import Kind
from node.game.craps.params import CrapsParams
from node.game.games import CRAPS, SICBO, Choice, choice_of, load_games
from node.game.operations import Leave, Reduce, TakeDown, Working
from node.game.receipts import GAME_CODES
from tests.game.test_craps_table import craps_game, outcome_of


def test_a_contract_bet_is_neither_taken_down_nor_made_smaller_nor_called_off() -> None:
    game = craps_game().seated(0, game=CRAPS)
    game.bet(0, Kind.PASS, 10)
    game.throw(outcome_of(game, 2, 4))
    for operation in (
        TakeDown(0, Kind.PASS, 0),
        Reduce(0, Kind.PASS, 0, 5),
        Working(0, Kind.PASS, 0, 2),
    ):
        assert game.refusal(0, operation).code >= GAME_CODES
    assert game.bets(0) == {(Kind.PASS, 0): 10}


def test_the_lowest_game_with_a_seat_of_a_player_is_found_past_free_slots_and_riding_bets() -> None:
    game = craps_game().seated(0, game=CRAPS)
    game.bet(0, Kind.PASS, 10)
    game.throw(outcome_of(game, 2, 4))
    game.seated(0, game=CRAPS)
    assert (game.state.seated_in(0), game.state.seated_in(1)) == (0, None)
    game.done((0, Leave(0)))
    assert game.bets(0) == {(Kind.PASS, 0): 10}
    assert game.state.seated_in(0) == 1


def test_a_table_has_one_text_for_its_game() -> None:
    assert "two texts would mean one table" in str(choice_of(encode(Choice(CRAPS))))
    usual = encode(CrapsParams())
    assert "two texts would mean one table" in str(load_games(encode(Choice(CRAPS, usual))))
    assert choice_of(encode(Choice(SICBO))) == Choice(SICBO)
    assert choice_of(b"") == Choice(CRAPS)
