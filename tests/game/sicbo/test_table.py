"""Sic bo in real sessions: who closes the betting, a bank that is nearly too small."""

import msgspec
from hypothesis import given, settings, strategies as st

from node.game.games import CRAPS, GAMES, SICBO, encode_choice
from node.game.operations import CreateSession, PassDice, PlaceBet, Ready, Roll
from node.game.receipts import Code, describe
from node.game.sicbo.params import SicboParams
from node.game.sicbo.rules import THROWS, Kind, make_rules
from tests.game.tables import FAST, Game, chips_in_sight

KEYS = [key for offer in make_rules(SicboParams()).offers() for key, _ in offer.bets]


def sicbo_game(players: int = 3, **changes: object) -> Game:
    params = msgspec.structs.replace(FAST, rules=encode_choice(SICBO), **changes)
    return Game(players=players, params=params, games=GAMES).seated(*range(players), game=SICBO)


def test_a_table_plays_its_own_game_and_no_other() -> None:
    params = msgspec.structs.replace(FAST, rules=encode_choice(SICBO))
    game = Game(players=1, params=params, games=GAMES)
    assert game.refusal(0, CreateSession(CRAPS)).code == Code.NO_GAME
    game.done((0, CreateSession(SICBO)))


def test_whoever_has_a_bet_may_throw_and_the_dice_go_round() -> None:
    game = sicbo_game()
    game.bet(1, Kind.BIG, 10)
    game.bet(2, Kind.SMALL, 10)
    assert game.state.thrower(0) == 1
    assert game.refusal(0, Roll(0)).code == Code.NOT_THROWER
    result = game.throw(THROWS.index((4, 4, 5)))
    assert (result.hand_ended, result.next_thrower) == (1, (2,))
    assert sorted(result.dice) == [4, 4, 5]
    assert game.racks == [10_000, 10_010, 9_990]
    game.bet(0, Kind.ODD, 10)
    game.bet(2, Kind.ODD, 10)
    assert game.state.thrower(0) == 2
    game.throw(THROWS.index((1, 1, 1)))
    assert game.racks == [9_990, 10_010, 9_980]
    assert game.state.thrower(0) == 0


def test_dice_may_be_passed_at_any_time() -> None:
    game = sicbo_game()
    game.bet(0, Kind.BIG, 10)
    game.bet(1, Kind.BIG, 10)
    game.done((0, PassDice(0)))
    assert game.state.thrower(0) == 1


def test_refusals_of_the_game_have_their_sentences() -> None:
    game = sicbo_game()
    refusal = game.refusal(0, PlaceBet(0, Kind.TOTAL, 3, 10))
    assert describe(refusal, game.state.rules_of(0)) == "sicbo has no bet 5/3"


@settings(max_examples=40, deadline=None)
@given(
    bank=st.integers(20, 2_000),
    rounds=st.lists(
        st.tuples(
            st.lists(
                st.tuples(st.integers(0, 2), st.sampled_from(KEYS), st.integers(1, 30)), max_size=12
            ),
            st.integers(0, len(THROWS) - 1),
        ),
        min_size=1,
        max_size=5,
    ),
)
def test_a_bank_that_is_nearly_too_small_pays_every_bet_that_it_took(
    bank: int, rounds: list[tuple[list[tuple[int, tuple[int, int], int]], int]]
) -> None:
    game = sicbo_game(bank=bank, buy_in=300)
    for bets, outcome in rounds:
        game.block(*((player, PlaceBet(0, *key, amount)) for player, key, amount in bets))
        if game.session().layout == 0:
            continue
        thrower = game.state.thrower(0)
        assert thrower is not None
        game.done(*((player, Ready(0)) for player in range(3)), (thrower, Roll(0)))
        game.block(faces=[(0, outcome)])
        assert game.results[-1].returned == ()
        assert game.session().layout == 0
        assert chips_in_sight(game.state) == game.state.minted
