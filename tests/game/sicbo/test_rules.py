"""Sic bo against every throw of three dice, published edges, and people's words."""

from collections import Counter
from fractions import Fraction
from itertools import product

import pytest

from consensus.encoding import decode_as, encode
from node.game.craps.params import CrapsParams
from node.game.games import (
    CRAPS,
    SICBO,
    Choice,
    encode_choice,
    load_games,
    named_options,
    rules_of_table,
)
from node.game.odds import analyse, analyse_wagers, problem
from node.game.one_roll import Code
from node.game.options import Limits
from node.game.rules import Bet, BetKey, GameRules
from node.game.sicbo.params import SicboParams
from node.game.sicbo.rules import GAME_NAME, THROWS, Kind, load_rules, make_rules

RULES = make_rules(SicboParams())
KEYS = {RULES.bet_name(key): key for offer in RULES.offers() for key, _ in offer.bets}
STAKE = 10


def edges(params: SicboParams) -> dict[str, Fraction]:
    return {row.bet: Fraction(row.house_edge) for row in analyse(make_rules(params))}


def expected(name: str, a: int, b: int, c: int) -> int | None:
    """What a bet should win to 1, written without looking at the rules' own tables."""
    word, *numbers = name.split()
    n = [int(number) for number in numbers]
    same = a == b == c
    hits = [a, b, c].count(n[0]) if n else 0
    match word:
        case "small":
            return 1 if 4 <= a + b + c <= 10 and not same else None
        case "big":
            return 1 if 11 <= a + b + c <= 17 and not same else None
        case "odd":
            return 1 if (a + b + c) % 2 and not same else None
        case "even":
            return None if (a + b + c) % 2 or same else 1
        case "single":
            return hits or None
        case "double":
            return 10 if hits in {2, 3} else None
        case "triple":
            return 180 if hits == 3 else None
        case "any":
            return 30 if same else None
        case "pair":
            return 5 if {n[0], n[1]} <= {a, b, c} else None
        case _:
            pays = {4: 60, 5: 30, 6: 18, 7: 12, 8: 8, 9: 7, 10: 6, 11: 6, 12: 7, 13: 8, 14: 12}
            pays |= {15: 18, 16: 30, 17: 60}
            return pays[n[0]] if a + b + c == n[0] else None


def test_outcomes_are_the_56_throws_with_the_weights_of_216() -> None:
    counted = Counter("-".join(map(str, sorted(dice))) for dice in product(range(1, 7), repeat=3))
    assert len(RULES.outcome_names) == 56
    assert dict(zip(RULES.outcome_names, RULES.outcome_weights, strict=True)) == counted


def test_dice_fall_in_any_order_and_bytes_that_favour_a_side_are_passed_over() -> None:
    outcome, dice = RULES.outcome(bytes([255, 5, 0, 254, 2]) + bytes(27))
    assert dice == (6, 1, 3)
    assert RULES.outcome_names[outcome] == "1-3-6"


def test_seed_without_usable_bytes_still_has_three_dice() -> None:
    outcome, dice = RULES.outcome(bytes([252]) * 32)
    assert RULES.outcome_names[outcome] == "-".join(map(str, sorted(dice)))


@pytest.mark.parametrize("name", list(KEYS))
def test_every_throw_pays_every_bet_as_it_should(name: str) -> None:
    key = KEYS[name]
    exposure = RULES.exposure((), key, 0)
    unit, per_unit = exposure.unit, exposure.per_unit
    for dice in product(range(1, 7), repeat=3):
        outcome = THROWS.index(tuple(sorted(dice)))
        (row,) = RULES.settle((), {key: Bet(STAKE, 1)}, outcome)
        win = expected(name, *dice)
        if win is None:
            assert (row.lost, row.returned, row.profit) == (STAKE, 0, 0)
        else:
            assert (row.lost, row.returned, row.profit) == (0, STAKE * (win + 1), STAKE * win)
        assert row.left == 0
        assert STAKE // unit * per_unit[outcome] == row.profit - row.lost
    assert RULES.prize(key, STAKE) == max(STAKE // unit * more for more in per_unit)


# "Sic Bo" of tokyo3.org, with the pays of an Australian casino, printed in whole percents; and of
# high-rollercasinos.com and cassaon-casino.com, with the pays of British and American ones.
AUSTRALIAN = SicboParams(
    totals=(62, 31, 18, 12, 8, 7, 6), pair_pay=6, any_triple_pay=31, double_pay=11
)
PUBLISHED = [
    (AUSTRALIAN, "small", "2.8"), (AUSTRALIAN, "big", "2.8"),
    (AUSTRALIAN, "odd", "2.8"), (AUSTRALIAN, "even", "2.8"),
    (AUSTRALIAN, "pair 2 5", "2.8"), (AUSTRALIAN, "triple 4", "16"), (AUSTRALIAN, "any", "11"),
    (AUSTRALIAN, "total 4", "12"), (AUSTRALIAN, "total 17", "12"), (AUSTRALIAN, "total 5", "11"),
    (AUSTRALIAN, "total 6", "12"), (AUSTRALIAN, "total 7", "10"), (AUSTRALIAN, "total 8", "12"),
    (AUSTRALIAN, "total 9", "7"), (AUSTRALIAN, "total 12", "7"), (AUSTRALIAN, "total 10", "12"),
    (SicboParams(), "single 3", "7.87"), (SicboParams(), "pair 1 6", "16.67"),
    (SicboParams(), "double 2", "18.5"), (SicboParams(double_pay=8), "double 2", "33.33"),
]  # fmt: skip


@pytest.mark.parametrize(("params", "bet", "percent"), PUBLISHED)
def test_house_edge_is_the_published_one(params: SicboParams, bet: str, percent: str) -> None:
    unit = Fraction(1, 10 ** len(percent.partition(".")[2]))
    exact = edges(params)[bet] * 100
    # Some of the printed figures are cut off, others rounded.
    assert exact - unit < Fraction(percent) <= exact + unit / 2


def test_edges_are_exact_fractions_over_the_216_throws() -> None:
    found = edges(SicboParams())
    assert found["small"] == Fraction(6, 216)
    assert found["single 1"] == Fraction(17, 216)
    assert found["total 4"] == Fraction(33, 216)
    assert found["total 9"] == found["total 12"] == Fraction(16, 216)
    assert found["triple 6"] == Fraction(35, 216)
    assert all(Fraction(row.expected_rolls) == 1 for row in analyse(RULES))


def test_usual_table_is_sound_and_others_are_refused_by_their_worst_bet() -> None:
    assert problem(RULES) is None
    assert problem(make_rules(SicboParams(triple_pay=150))) == (
        "triple 1 at 150:1 has a house edge of 30.09 %, outside 0 to 25 %; "
        "allow_unsound = 1 takes it all the same"
    )
    assert problem(make_rules(SicboParams(pair_pay=7))) == (
        "pair 1 2 at 7:1 has a house edge of -11.11 %, outside 0 to 25 %; "
        "allow_unsound = 1 takes it all the same"
    )
    assert problem(make_rules(SicboParams(triple_pay=150, allow_unsound=1))) is None


def test_bets_together_are_worth_their_weighted_mean() -> None:
    found = analyse_wagers(RULES, ["small:10", "any:1"])
    assert not isinstance(found, str)
    both = (10 * Fraction(6, 216) + Fraction(30, 216)) / 11
    assert Fraction(found[0].house_edge) == both


@pytest.mark.parametrize(
    ("line", "key", "chips"),
    [
        ("small 10", (Kind.SMALL, 0), 10), ("big 1", (Kind.BIG, 0), 1),
        ("odd 5", (Kind.ODD, 0), 5), ("even 5", (Kind.EVEN, 0), 5),
        ("total 17 2", (Kind.TOTAL, 17), 2), ("single 6 3", (Kind.NUMBER, 6), 3),
        ("double 1 2", (Kind.DOUBLE, 1), 2), ("pair 2 5 4", (Kind.PAIR, 25), 4),
        ("pair 5 2 4", (Kind.PAIR, 25), 4), ("triple 3 1", (Kind.TRIPLE, 3), 1),
        ("any 1", (Kind.ANY_TRIPLE, 0), 1),
    ],
)  # fmt: skip
def test_words_of_a_bet(line: str, key: tuple[int, int], chips: int) -> None:
    assert RULES.parse_bet(line.split(), (), {}) == [(key, chips)]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("", "'' is no bet; `help` lists them"),
        ("pass 10", "'pass' is no bet; `help` lists them"),
        ("small", "'small' needs chips: type `small CHIPS`"),
        ("small ten", "'ten' is no number of chips (digits alone, 1 or more): type `small CHIPS`"),
        ("small 3 10", "'small 3 10' is no bet: type `small CHIPS`"),
        ("total 3 10", "'total 3 10' is no bet: type `total NUMBER CHIPS`"),
        ("pair 2 2 10", "'pair 2 2 10' is no bet: type `pair NUMBER NUMBER CHIPS`"),
    ],
)
def test_words_that_mean_no_bet_are_explained(line: str, sentence: str) -> None:
    assert RULES.parse_bet(line.split(), (), {}) == sentence


def test_help_lists_every_word_with_its_pays() -> None:
    rows = dict(RULES.bet_words)
    assert rows["total NUMBER CHIPS"].startswith("60:1 on 4 17, 30:1 on 5 16, 18:1 on 6 15")
    assert rows["single NUMBER CHIPS"].startswith("1:1, 2:1, 3:1; ")
    assert len(rows) == len(Kind)


BOARD = RULES.opening_board()


def sentence(key: BetKey, amount: int, *, rules: GameRules = RULES, up: int = 0) -> str | None:
    bets = {key: Bet(up, 1)} if up else {}
    refusal = rules.check_bet(BOARD, bets, key, amount)
    return None if refusal is None else rules.describe(refusal)


def test_limits_are_of_the_total_stake_of_a_bet() -> None:
    rules = make_rules(SicboParams(even_money=Limits(5, 50)))
    small = KEYS["small"]
    assert sentence(small, 5, rules=rules) is None
    assert sentence(small, 4, rules=rules) == "4 chips on small: the least is 5"
    assert sentence(small, 51, rules=rules) == "51 chips on small: the most is 50"
    assert sentence(small, 1, rules=rules, up=50) == "51 chips on small: the most is 50"
    assert sentence(small, 0) == "0 chips on small: the least is 1"
    assert sentence(BetKey(11, 0), 5) == "sicbo has no bet 11/0"
    assert sentence(BetKey(Kind.TOTAL, 3), 5) == "sicbo has no bet 5/3"


def test_bets_come_down_whole_or_in_part_within_the_limits() -> None:
    rules = make_rules(SicboParams(even_money=Limits(5, 50)))
    small, bets = KEYS["small"], {KEYS["small"]: Bet(10, 1)}
    assert rules.check_reduce(BOARD, bets, small, 10) is None
    assert rules.check_reduce(BOARD, bets, small, 5) is None
    for amount, code in ((6, Code.UNDER_LIMIT), (11, Code.MORE_THAN_UP), (0, Code.NOT_POSITIVE)):
        refusal = rules.check_reduce(BOARD, bets, small, amount)
        assert refusal is not None
        assert refusal.code == code
    for key, code in ((KEYS["big"], Code.NO_BET), (BetKey(99, 0), Code.NO_SUCH_BET)):
        refusal = rules.check_reduce(BOARD, bets, key, 1)
        assert refusal is not None
        assert refusal.code == code
        assert rules.describe(refusal)


def test_no_bet_is_called_off_and_none_has_a_vig_or_hangs_on_another() -> None:
    bets = {KEYS["small"]: Bet(10, 1)}
    refusal = RULES.check_working(BOARD, bets, KEYS["small"], 2)
    assert refusal is not None
    assert "the next roll decides it" in RULES.describe(refusal)
    assert RULES.check_working(BOARD, {}, KEYS["small"], 2) is not None
    assert RULES.vig(KEYS["small"], 10) == 0
    assert RULES.dependents(bets, KEYS["small"]) == ()
    assert not RULES.is_contract(BOARD, KEYS["small"])


def test_options_travel_by_name_and_in_the_terms_of_a_table() -> None:
    options = named_options(SICBO, {"pair_pay": 6, "triple": [1, 50]})
    assert options == SicboParams(pair_pay=6, triple=Limits(1, 50))
    rules = rules_of_table(encode_choice(SICBO, options))
    assert not isinstance(rules, str)
    assert (rules.name, rules.options) == (GAME_NAME, options)
    assert decode_as(encode(options), SicboParams) == options
    usual = rules_of_table(encode_choice(SICBO))
    assert not isinstance(usual, str)
    assert usual.options == SicboParams()


def test_options_that_make_no_game_are_named() -> None:
    assert load_rules(b"\x00") == "options of sicbo: Expected `array`, got `int`"
    assert (
        load_rules(encode(SicboParams(number=Limits(5, 4))))
        == "the limits of number are 5 to 4 chips"
    )


def test_layout_without_odd_and_even_takes_neither() -> None:
    rules = make_rules(SicboParams(odd_even=0))
    assert sentence(KEYS["odd"], 5, rules=rules) == "sicbo has no bet 3/0"
    assert rules.parse_bet(["even", "5"], BOARD, {}) == "'even' is no bet; `help` lists them"
    assert sentence(KEYS["big"], 5, rules=rules) is None


def test_a_table_has_one_text_for_its_game_and_options() -> None:
    twice = "so that two texts would mean one table"
    named = load_games(encode(Choice(CRAPS)))
    assert isinstance(named, str)
    assert named.endswith(twice)
    given = load_games(encode(Choice(SICBO, encode(SicboParams()))))
    assert isinstance(given, str)
    assert given.endswith(twice)
    assert encode_choice(SICBO, SicboParams()) == encode_choice(SICBO)
    assert encode_choice(CRAPS, CrapsParams()) == b""
