"""Real craps in a session: whole hands, every bet, a bank that is nearly too small."""

import msgspec
from hypothesis import given, settings, strategies as st

from consensus.encoding import encode
from node.game.craps.bets import ALL_KEYS, Kind
from node.game.craps.params import CrapsParams
from node.game.games import CRAPS, GAMES, Choice, encode_choice, load_games
from node.game.operations import Leave, PassDice, PlaceBet, Ready, Roll, Sit, Tick
from node.game.options import Limits
from node.game.receipts import Code, describe
from node.game.rules import BetKey
from node.game.session import Phase
from tests.game.tables import FAST, Game, chips_in_sight


def craps_game(players: int = 3, **changes: object) -> Game:
    params = msgspec.structs.replace(FAST, **changes)
    return Game(players=players, params=params, games=GAMES)


def outcome_of(game: Game, low: int, high: int) -> int:
    """Return the index of a pair of dice."""
    return list(game.session().rules.outcome_names).index(f"{low}-{high}")


def test_usual_parameters_are_those_of_no_bytes() -> None:
    rules = load_games(b"")
    assert not isinstance(rules, str)
    assert rules[CRAPS].name == "craps"
    other = load_games(encode_choice(CRAPS, CrapsParams(bar=2)))
    assert not isinstance(other, str)
    assert other[CRAPS] is not rules[CRAPS]


def test_parameters_that_make_no_game_are_named() -> None:
    assert load_games(b"\x00") == "the table's game: Expected `array`, got `int`"
    assert load_games(encode(Choice(99))) == "this version knows no game number 99"
    assert load_games(encode(Choice(CRAPS, b"\x00"))) == (
        "options of craps: Expected `array`, got `int`"
    )
    assert (
        load_games(encode_choice(CRAPS, CrapsParams(bar=3)))
        == "bar is 3; don't pass can bar 2 or 12"
    )


def test_a_hand_of_craps_from_come_out_to_seven_out() -> None:
    game = craps_game().seated(0, 1, game=CRAPS)
    refusal = game.refusal(0, Roll(0))
    assert describe(refusal, game.state.rules_of(0)).startswith("no bet lies on the layout")
    game.bet(0, Kind.PASS, 10)
    game.bet(1, Kind.DONT_PASS, 10)
    result = game.throw(outcome_of(game, 2, 4))
    assert (sum(result.dice), result.hand_ended, result.bets) == (6, 0, ())
    refusal = game.refusal(0, PlaceBet(0, Kind.DONT_PASS, 0, 10))
    assert refusal.code >= 100
    assert describe(refusal, game.state.rules_of(0)) != describe(refusal)
    game.bet(0, Kind.PASS_ODDS, 50)
    game.bet(1, Kind.PLACE, 18, 8)
    game.throw(outcome_of(game, 3, 5))
    assert game.racks[:2] == [10_000 - 60, 10_000 - 28 + 21]
    result = game.throw(outcome_of(game, 3, 4))
    assert (result.hand_ended, result.next_thrower) == (1, (1,))
    assert game.racks[:2] == [10_000 - 60, 10_000 + 21 - 18 + 10]
    assert game.session().phase == Phase.OPEN


def test_dice_are_passed_on_a_come_out_and_a_point_is_inherited() -> None:
    game = craps_game().seated(0, 1, 2, game=CRAPS)
    game.done((0, PassDice(0)))
    game.bet(1, Kind.PASS, 10)
    game.bet(2, Kind.FIELD, 5)
    game.throw(outcome_of(game, 2, 2))
    assert game.refusal(1, PassDice(0)).code == Code.HAND_GOES_ON
    game.done((1, Leave(0)))
    assert game.bets(1) == {(Kind.PASS, 0): 10}
    assert game.state.thrower(0) == 2
    game.bet(2, Kind.FIELD, 5)
    game.throw(outcome_of(game, 1, 3))
    assert game.racks[1] == 10_010


def test_a_buy_bet_that_stays_up_pays_its_next_vig_out_of_the_win() -> None:
    game = craps_game(buy_in=53).seated(0, game=CRAPS)
    game.bet(0, Kind.PASS, 10)
    game.throw(outcome_of(game, 2, 4))
    game.bet(0, Kind.BUY, 40, 4)
    assert game.racks[0] == 1
    result = game.throw(outcome_of(game, 1, 3))
    (row,) = result.bets
    assert (row.profit, row.vig, row.left, row.left_vig) == (80, 2, 40, 2)
    assert game.racks[0] == 1 + 80 - 2
    assert game.state.treasury.vig == 2


def test_rake_never_takes_more_than_the_win_brings() -> None:
    options = CrapsParams(vig_minimum=20, vig_on_win=1)
    game = craps_game(buy_in=31, rake_bp=1_000, rules=encode_choice(CRAPS, options)).seated(
        0, game=CRAPS
    )
    game.bet(0, Kind.PASS, 10)
    game.throw(outcome_of(game, 2, 4))
    game.bet(0, Kind.BUY, 20, 5)
    result = game.throw(outcome_of(game, 1, 4))
    (row,) = result.bets
    # 30 won, 20 of vig: the rake is a tenth of the 10 that are left.
    assert (row.profit, row.vig, row.rake, row.returned) == (30, 20, 1, 9)
    assert game.racks[0] == 1 + 9


KEYS = st.sampled_from(sorted(ALL_KEYS))
UNITS = st.sampled_from([1, 2, 5, 6, 10, 12, 20, 30, 60])
OPTIONS = CrapsParams(feature=Limits(1, 20), line=Limits(1, 60), number=Limits(1, 60))


@settings(max_examples=25, deadline=None)
@given(
    bank=st.integers(50, 3_000),
    reserve_bp=st.sampled_from([10_000, 10_000, 12_345]),
    rounds=st.lists(
        st.tuples(
            st.lists(st.tuples(st.integers(0, 2), KEYS, UNITS), max_size=14),
            st.integers(0, 20),
            st.booleans(),
        ),
        min_size=2,
        max_size=8,
    ),
)
def test_every_bet_of_craps_is_paid_by_a_bank_that_is_nearly_too_small(
    bank: int,
    reserve_bp: int,
    rounds: list[tuple[list[tuple[int, BetKey, int]], int, bool]],
) -> None:
    game = craps_game(
        bank=bank,
        buy_in=400,
        reserve_bp=reserve_bp,
        rake_bp=50,
        rules=encode_choice(CRAPS, OPTIONS),
    ).seated(0, 1, 2, game=CRAPS)
    for bets, outcome, leaves in rounds:
        line = Kind.DONT_PASS if leaves else Kind.PASS
        game.block(*((player, PlaceBet(0, line, 0, 2)) for player in range(3)))
        game.block(*((player, PlaceBet(0, *key, amount)) for player, key, amount in bets))
        if leaves:
            game.block((0, Leave(0)), (0, Sit(0)))
        if game.session().layout == 0:
            continue
        game.block(*((player, Ready(0)) for player in range(3)), (1, Tick(0)), ms=30_000)
        assert game.closed == (0,)
        before = [game.state.bank, *game.racks]
        game.block(faces=[(0, outcome)])
        result = game.results[-1]
        # The books of the result are the whole difference that the roll made.
        moved = [0] * (len(before) + 1)
        for posting in result.postings:
            moved[posting.debit] -= posting.amount
            moved[posting.credit] += posting.amount
        assert [b + m for b, m in zip(before, moved[:1] + moved[2:], strict=True)] == [
            game.state.bank,
            *game.racks,
        ]
        assert chips_in_sight(game.state) == game.state.minted
        assert [account.open_bets for account in game.state.accounts] == [
            len(game.bets(player)) for player in range(3)
        ]
