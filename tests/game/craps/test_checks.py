"""What may be bet, reduced, called and thrown: limits, windows, contracts."""

import pytest

from node.game.craps.bets import ALL_KEYS, KIND_NAMES, Kind, LimitClass
from node.game.craps.board import OPENING
from node.game.craps.params import VIG_EXACT, VIG_NEAREST, VIG_UP, CrapsParams
from node.game.craps.refusals import Code
from node.game.craps.rules import CrapsRules
from node.game.options import Limits
from node.game.rules import Bet, BetKey, Bets
from tests.game.craps.table import KEYS, RULES, board_at

LAY_ODDS = KEYS["lay"]


def most_odds(rules: CrapsRules, key: BetKey, flat: BetKey, puck: int, stake: int) -> int:
    """Return the greatest stake of odds that the rules take behind a flat bet."""
    bets = {flat: Bet(stake, 1)}
    return max(
        chips
        for chips in range(1_000)
        if chips == 0 or rules.check_bet(board_at(puck), bets, key, chips) is None
    )


@pytest.mark.parametrize(
    ("puck", "taken", "laid"),
    [(4, 30, 60), (5, 40, 60), (6, 50, 60), (8, 50, 60), (9, 40, 60), (10, 30, 60)],
)
def test_three_four_five_times_odds_and_six_times_laid(puck: int, taken: int, laid: int) -> None:
    assert most_odds(RULES, KEYS["odds"], KEYS["pass"], puck, 10) == taken
    assert most_odds(RULES, LAY_ODDS, KEYS["dont"], puck, 10) == laid
    come, dont = f"come {puck}", f"dontcome {puck}"
    assert most_odds(RULES, KEYS[f"odds {puck}"], KEYS[come], 4, 10) == taken
    assert most_odds(RULES, KEYS[f"layodds {puck}"], KEYS[dont], 4, 10) == laid


@pytest.mark.parametrize(
    ("multiple", "on_four", "laid_on_four"), [(1, 10, 20), (2, 20, 40), (100, 999, 998)]
)
def test_flat_multiples_bound_odds_and_what_laid_odds_win(
    multiple: int, on_four: int, laid_on_four: int
) -> None:
    rules = CrapsRules(CrapsParams(odds=(multiple,) * 5))
    assert most_odds(rules, KEYS["odds"], KEYS["pass"], 4, 10) == on_four
    assert most_odds(rules, LAY_ODDS, KEYS["dont"], 4, 10) == laid_on_four


def test_no_odds_at_a_table_without_them() -> None:
    rules = CrapsRules(CrapsParams(odds=(0,) * 5))
    assert most_odds(rules, KEYS["odds"], KEYS["pass"], 4, 10) == 0


def test_odds_may_round_up_to_the_next_payable_stake_by_option() -> None:
    single = CrapsParams(odds=(1, 1, 1, 1, 1))
    up = CrapsParams(odds=(1, 1, 1, 1, 1), odds_round_up=1)
    assert most_odds(CrapsRules(single), KEYS["odds"], KEYS["pass"], 6, 7) == 5
    assert most_odds(CrapsRules(up), KEYS["odds"], KEYS["pass"], 6, 7) == 10
    assert most_odds(CrapsRules(single), KEYS["odds"], KEYS["pass"], 5, 7) == 6
    assert most_odds(CrapsRules(up), KEYS["odds"], KEYS["pass"], 5, 7) == 8


def test_limits_are_of_the_total_and_of_each_class() -> None:
    rules = CrapsRules(
        CrapsParams(
            line=Limits(5, 100),
            number=Limits(10, 60),
            field=Limits(2, 20),
            centre=Limits(1, 9),
            feature=Limits(3, 4),
        )
    )
    board = OPENING
    for name, least, most in (
        ("pass", 5, 100), ("place 4", 10, 60), ("field", 2, 20), ("yo", 1, 9), ("hot", 3, 4),
    ):  # fmt: skip
        key = KEYS[name]
        for total, code in (
            (least - 1, Code.UNDER_LIMIT), (least, None), (most, None), (most + 5, Code.OVER_LIMIT),
        ):  # fmt: skip
            if total > 0:
                refusal = rules.check_bet(board, {}, key, total)
                assert (refusal and refusal.code) == code
        over = rules.check_bet(board, {key: Bet(most, 1)}, key, 5)
        assert over is not None
        assert over.code == Code.OVER_LIMIT


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("pass", 1), ("place 4", 5), ("place 5", 5), ("place 6", 6), ("lose 4", 11), ("lose 5", 8),
        ("lose 6", 5), ("buy 4", 1), ("buy 5", 2), ("buy 6", 5), ("lay 4", 2), ("lay 5", 3),
        ("lay 6", 6), ("next 2", 10), ("next 3", 50), ("yes 5", 100), ("no 3", 100), ("big 6", 1),
    ],
)  # fmt: skip
def test_stake_that_would_not_pay_exactly_is_refused(name: str, unit: int) -> None:
    for chips in range(max(unit, 20), 220):
        refusal = RULES.check_bet(
            OPENING if name != "put 6" else board_at(6), {}, KEYS[name], chips
        )
        assert (refusal is None) == (chips % unit == 0)
        if refusal:
            below = chips - chips % unit
            assert refusal.values[2:] == (chips, below, below + unit)
            assert RULES.describe(refusal) == (
                f"{chips} chips on {name} will not pay in whole chips; try {below} or {below + unit}"
            )


def test_odds_that_would_not_pay_exactly_are_refused() -> None:
    bets = {KEYS["pass"]: Bet(10, 1), KEYS["dont"]: Bet(10, 1)}
    for puck, taken, laid in ((4, 1, 2), (5, 2, 3), (6, 5, 6), (8, 5, 6), (9, 2, 3), (10, 1, 2)):
        for chips in range(1, 31):
            for key, unit in ((KEYS["odds"], taken), (LAY_ODDS, laid)):
                refusal = RULES.check_bet(board_at(puck), bets, key, chips)
                assert (refusal is None) == (chips % unit == 0)


def test_putting_more_on_a_bet_counts_what_is_up_already() -> None:
    bets = {KEYS["place 6"]: Bet(12, 1)}
    assert RULES.check_bet(OPENING, bets, KEYS["place 6"], 6) is None
    refusal = RULES.check_bet(OPENING, bets, KEYS["place 6"], 5)
    assert refusal is not None
    assert refusal.values == (Kind.PLACE, 6, 17, 12, 18)


@pytest.mark.parametrize(
    ("rounding", "vigs"),
    [(1, (1, 1, 1, 1, 2)), (VIG_NEAREST, (1, 1, 1, 2, 2)), (VIG_UP, (1, 1, 2, 2, 2))],
)
def test_vig_is_five_percent_rounded_as_the_table_says(
    rounding: int, vigs: tuple[int, ...]
) -> None:
    rules = CrapsRules(CrapsParams(vig_rounding=rounding))
    assert tuple(rules.vig(KEYS["buy 4"], chips) for chips in (10, 20, 28, 30, 40)) == vigs
    # A lay pays for its win: twice the stake on 4.
    assert tuple(rules.vig(KEYS["lay 4"], 2 * win) for win in (10, 20, 28, 30, 40)) == vigs
    assert rules.vig(KEYS["place 4"], 100) == 0


def test_vig_that_is_no_whole_chip_is_refused_under_the_exact_rule() -> None:
    rules = CrapsRules(CrapsParams(vig_rounding=VIG_EXACT))
    for name, unit in (("buy 4", 20), ("buy 6", 20), ("lay 4", 40), ("lay 5", 30), ("lay 6", 24)):
        taken = [n for n in range(1, 130) if rules.check_bet(OPENING, {}, KEYS[name], n) is None]
        assert taken == list(range(unit, 130, unit))


def test_vig_over_the_win_is_refused() -> None:
    rules = CrapsRules(CrapsParams(vig_minimum=3))
    refusal = rules.check_bet(OPENING, {}, KEYS["lay 4"], 4)
    assert refusal is not None
    assert rules.describe(refusal) == "4 chips on lay 4 win 2, which is less than the vig of 3"
    assert rules.check_bet(OPENING, {}, KEYS["lay 4"], 6) is None


CONTRACTS = {
    # name: (while it can still be made or has no number, once it has begun)
    "pass": (board_at(0), board_at(6)),
    "muggsy": (board_at(0), board_at(6)),
    "fire": (OPENING, board_at(0)),
    "ride": (OPENING, board_at(6)),
    "replay": (OPENING, board_at(6)),
}
AFTER_ONE_ROLL = RULES.advance(OPENING, 0)[0]


@pytest.mark.parametrize("name", list(CONTRACTS))
def test_contract_bet_rides_once_it_has_begun(name: str) -> None:
    before, after = CONTRACTS[name]
    bets = {KEYS[name]: Bet(10, 1)}
    assert RULES.check_reduce(before, bets, KEYS[name], 10) is None
    refusal = RULES.check_reduce(after, bets, KEYS[name], 1)
    assert refusal is not None
    assert RULES.describe(refusal) == f"{name} stays up until it is decided"
    assert not RULES.is_contract(before, KEYS[name])


@pytest.mark.parametrize("name", ["small", "tall", "all", "hot", "doubles", "repeat 4"])
def test_bets_until_a_seven_are_contracts_from_the_first_roll_on(name: str) -> None:
    assert not RULES.is_contract(OPENING, KEYS[name])
    assert RULES.is_contract(AFTER_ONE_ROLL, KEYS[name])
    refusal = RULES.check_bet(AFTER_ONE_ROLL, {}, KEYS[name], 1)
    assert refusal is not None
    assert refusal.code == Code.NEEDS_SEVEN


def test_come_and_put_are_contracts_on_their_numbers_and_dont_bets_never() -> None:
    for name in ("come 6", "put 6", "twice 4"):
        assert RULES.is_contract(board_at(0), KEYS[name])
    for key, kind in ALL_KEYS.items():
        if kind in {Kind.DONT_PASS, Kind.DONT_COME, Kind.PLACE, Kind.LAY, Kind.HARD, Kind.FIELD}:
            assert not RULES.is_contract(board_at(6), key)
    assert not RULES.is_contract(board_at(6), KEYS["come"])
    assert not RULES.is_contract(board_at(6), KEYS["odds"])


def test_reduced_bet_keeps_to_unit_limit_and_odds() -> None:
    rules = CrapsRules(CrapsParams(number=Limits(12, 600), line=Limits(5, 100)))
    bets: Bets = {
        KEYS["place 6"]: Bet(30, 1), KEYS["dont"]: Bet(10, 1), LAY_ODDS: Bet(60, 1)
    }  # fmt: skip
    board = board_at(4)

    def code(key: BetKey, amount: int) -> int | None:
        refusal = rules.check_reduce(board, bets, key, amount)
        return None if refusal is None else refusal.code

    assert code(KEYS["place 6"], 6) is None
    assert code(KEYS["place 6"], 30) is None
    assert code(KEYS["place 6"], 5) == Code.NOT_EXACT
    assert code(KEYS["place 6"], 24) == Code.UNDER_LIMIT
    assert code(KEYS["place 6"], 31) == Code.MORE_THAN_UP
    assert code(KEYS["place 8"], 1) == Code.NO_BET
    assert code(KEYS["dont"], 5) == Code.ODDS_TOO_MUCH
    assert code(KEYS["dont"], 10) is None  # its odds come down with it
    assert code(LAY_ODDS, 1) == Code.NOT_EXACT
    assert code(LAY_ODDS, 30) is None
    assert rules.dependents(bets, KEYS["dont"]) == (LAY_ODDS,)
    assert rules.dependents(bets, KEYS["place 6"]) == ()
    assert rules.dependents({KEYS["dont"]: Bet(1, 1)}, KEYS["dont"]) == ()


def test_bets_that_can_be_called_are_those_of_the_rules() -> None:
    callable_kinds = {
        Kind.PASS_ODDS, Kind.DONT_PASS_ODDS, Kind.COME_ODDS, Kind.DONT_COME_ODDS, Kind.PUT_ODDS,
        Kind.PLACE, Kind.PLACE_LOSE, Kind.BUY, Kind.LAY, Kind.HARD,
    }  # fmt: skip
    as_place = CrapsRules(CrapsParams(big_as_place=1))
    for key, kind in ALL_KEYS.items():
        bets = {key: Bet(30, 1)}
        for working in (0, 1, 2):
            refusal = RULES.check_working(board_at(6), bets, key, working)
            assert (refusal is None) == (kind in callable_kinds)
            refusal = as_place.check_working(board_at(6), bets, key, working)
            assert (refusal is None) == (kind in callable_kinds | {Kind.BIG})
    bad = RULES.check_working(board_at(6), {KEYS["place 6"]: Bet(6, 1)}, KEYS["place 6"], 3)
    assert bad is not None
    assert bad.code == Code.NO_SUCH_CALL
    missing = RULES.check_working(board_at(6), {}, KEYS["place 6"], 1)
    assert missing is not None
    assert missing.code == Code.NO_BET


def test_thrower_needs_a_line_bet_of_the_minimum_on_the_come_out_only() -> None:
    rules = CrapsRules(CrapsParams(line=Limits(5, 100)))
    for name in ("pass", "dont"):
        assert rules.may_throw(board_at(0), {KEYS[name]: Bet(5, 1)})
        assert not rules.may_throw(board_at(0), {KEYS[name]: Bet(4, 1)})
    assert not rules.may_throw(board_at(0), {KEYS["field"]: Bet(50, 1)})
    assert not rules.may_throw(board_at(0), {})
    assert rules.may_throw(board_at(6), {})


def test_dice_are_passed_before_a_come_out_only() -> None:
    assert RULES.may_pass_dice(board_at(0))
    assert not RULES.may_pass_dice(board_at(6))


def test_new_shooter_option_closes_bets_until_a_seven_between_points() -> None:
    rules = CrapsRules(CrapsParams(new_shooter_only=1))
    come_out_seven = RULES.advance(OPENING, RULES.outcome_names.index("3-4"))[0]
    assert RULES.check_bet(come_out_seven, {}, KEYS["small"], 1) is None
    refusal = rules.check_bet(come_out_seven, {}, KEYS["small"], 1)
    assert refusal is not None
    assert refusal.code == Code.NEEDS_NEW_HAND
    assert rules.check_bet(OPENING, {}, KEYS["small"], 1) is None


def test_closed_kinds_are_not_taken_nor_their_odds() -> None:
    rules = CrapsRules(CrapsParams(closed=(Kind.COME, Kind.FIRE)))
    for name in ("come", "odds 6", "fire"):
        refusal = rules.check_bet(board_at(6), {KEYS["come 6"]: Bet(10, 1)}, KEYS[name], 10)
        assert refusal is not None
        assert refusal.code == Code.NOT_TAKEN
    assert rules.check_bet(board_at(6), {}, KEYS["dontcome"], 10) is None


def test_every_kind_has_a_name_a_class_of_limits_and_a_sentence_for_each_refusal() -> None:
    assert KIND_NAMES.keys() == {kind.value for kind in Kind}
    assert len(set(KIND_NAMES.values())) == len(KIND_NAMES)
    params = CrapsParams()
    assert all(isinstance(params.limits(each), Limits) for each in LimitClass)
    assert all(100 <= code < 200 for code in Code)
