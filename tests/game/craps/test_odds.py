"""The exact analyser against figures that others have published, and against brute force."""

from collections.abc import Sequence
from fractions import Fraction
from functools import cache

import pytest

from consensus.encoding import encode
from node.game.craps.bets import KIND_NAMES, Kind
from node.game.craps.board import SIZE, seen_through, sight
from node.game.craps.params import CrapsParams
from node.game.craps.rules import CrapsRules, load_rules
from node.game.odds import EDGE_MAX, Row, analyse, analyse_wagers, parse_wagers, problem
from node.game.rules import BetKey, Board


@cache
def rows(params: CrapsParams) -> dict[str, Row]:
    return {row.bet: row for row in analyse(CrapsRules(params))}


def problem_of(params: CrapsParams) -> str | None:
    rules = load_rules(encode(params))
    return rules if isinstance(rules, str) else problem(rules)


USUAL = CrapsParams()

# House edges as printed in the tables of the Wizard of Odds ("Craps: the house edge for all major
# bets" and the pages of the side bets), whose figures count ties as the end of a bet.
PUBLISHED = {
    "pass": "7/495", "come": "7/495", "dont": "3/220", "dontcome": "3/220",
    "odds 4": "0", "odds 5": "0", "odds 6": "0", "layodds 4": "0", "layodds 9": "0",
    "place 6": "1/66", "place 8": "1/66", "place 5": "1/25", "place 9": "1/25",
    "place 4": "1/15", "place 10": "1/15",
    "lose 6": "1/55", "lose 5": "1/40", "lose 4": "1/33",
    "buy 4": "1/21", "buy 5": "1/21", "buy 6": "1/21",
    "lay 4": "1/41", "lay 5": "1/31", "lay 6": "1/25",
    "put 5": "1/5", "put 6": "1/11", "big 6": "1/11", "big 8": "1/11",
    "field": "1/18",
    "hard 4": "1/9", "hard 10": "1/9", "hard 6": "1/11", "hard 8": "1/11",
    "any7": "1/6", "anycraps": "1/9", "yo": "1/9", "acedeuce": "1/9",
    "aces": "5/36", "boxcars": "5/36", "hop 2 3": "1/9", "hop 3 3": "5/36",
    "horn": "1/8", "world": "2/15", "ce": "1/9",
    "muggsy": "1/18",
}  # fmt: skip

# Printed with two decimals of a percent.
PUBLISHED_PERCENT = {"fire": "20.76", "small": "7.76", "tall": "7.76", "all": "7.46"}

# The bets that BitCraps names, with the edges that its pay tables mean: q is the chance to win.
NAMED = {
    "next 2": Fraction(343, 10) * Fraction(1, 36) - Fraction(35, 36),
    "next 7": Fraction(49, 10) * Fraction(1, 6) - Fraction(5, 6),
    "yes 2": Fraction(588, 100) * Fraction(1, 7) - Fraction(6, 7),
    "yes 6": Fraction(118, 100) * Fraction(5, 11) - Fraction(6, 11),
    "no 2": Fraction(16, 100) * Fraction(6, 7) - Fraction(1, 7),
    "no 9": Fraction(65, 100) * Fraction(6, 10) - Fraction(4, 10),
    "repeat 2": 40 * Fraction(1, 7) ** 2 - (1 - Fraction(1, 7) ** 2),
    "repeat 3": 50 * Fraction(2, 8) ** 3 - (1 - Fraction(2, 8) ** 3),
    "repeat 4": 65 * Fraction(3, 9) ** 4 - (1 - Fraction(3, 9) ** 4),
    "repeat 9": 80 * Fraction(4, 10) ** 5 - (1 - Fraction(4, 10) ** 5),
    "repeat 8": 90 * Fraction(5, 11) ** 6 - (1 - Fraction(5, 11) ** 6),
}


@pytest.mark.parametrize(("bet", "edge"), PUBLISHED.items())
def test_house_edge_is_the_published_one(bet: str, edge: str) -> None:
    assert rows(USUAL)[bet].house_edge == edge


@pytest.mark.parametrize(("bet", "percent"), PUBLISHED_PERCENT.items())
def test_house_edge_of_a_feature_is_the_published_one(bet: str, percent: str) -> None:
    edge = Fraction(rows(USUAL)[bet].house_edge)
    assert round(edge * 10_000) == int(percent.replace(".", ""))


@pytest.mark.parametrize(("bet", "value"), NAMED.items())
def test_house_edge_follows_from_the_chance_to_win(bet: str, value: Fraction) -> None:
    assert Fraction(rows(USUAL)[bet].house_edge) == -value


def test_chances_and_rolls_of_the_line_bets_are_the_published_ones() -> None:
    line = rows(USUAL)["pass"]
    assert (line.win, line.lose, line.push) == ("244/495", "251/495", "0")
    assert line.expected_rolls == "557/165"
    dont = rows(USUAL)["dont"]
    assert (dont.win, dont.lose, dont.push) == ("949/1980", "244/495", "1/36")
    assert line.standard_deviation == "0.999900"
    assert dont.standard_deviation == "0.985918"


def test_a_hand_lasts_as_long_as_it_should() -> None:
    # 1671/196 rolls, by Ethier and Hoppe (2010), "A world record in Atlantic City".
    assert rows(USUAL)["ride"].expected_rolls == "1671/196"
    assert rows(USUAL)["fire"].expected_rolls == "1671/196"


@pytest.mark.parametrize("bet", ["place 6", "hard 8", "yes 6", "odds 6"])
def test_bets_between_six_and_seven_take_36_elevenths_of_a_roll(bet: str) -> None:
    assert rows(USUAL)[bet].expected_rolls == "36/11"


@pytest.mark.parametrize("bet", ["hot", "twice", "ride", "replay", "doubles", "muggsy"])
def test_side_bets_of_our_own_cost_between_1_and_15_percent(bet: str) -> None:
    assert Fraction(1, 100) <= Fraction(rows(USUAL)[bet].house_edge) <= Fraction(15, 100)


def test_every_bet_of_the_usual_table_is_sound() -> None:
    edges = {bet: Fraction(row.house_edge) for bet, row in rows(USUAL).items()}
    assert {bet: edge for bet, edge in edges.items() if not 0 <= edge <= EDGE_MAX} == {}
    assert problem_of(USUAL) is None


def test_every_chance_adds_up_to_one() -> None:
    for row in rows(USUAL).values():
        assert Fraction(row.win) + Fraction(row.lose) + Fraction(row.push) == 1


def test_options_have_their_published_edges() -> None:
    other = rows(CrapsParams(field_12=3, bar=2, vig_on_win=1, small_tall_pay=30, all_pay=150))
    assert other["field"].house_edge == "1/36"
    assert other["dont"].house_edge == "3/220"
    assert other["buy 4"].house_edge == "1/60"
    assert other["lay 4"].house_edge == "1/60"
    assert round(Fraction(other["small"].house_edge) * 10_000) == 1_830
    assert round(Fraction(other["all"].house_edge) * 10_000) == 2_061


def test_crapless_pass_costs_more_and_its_odds_nothing() -> None:
    crapless = rows(CrapsParams(crapless=1))
    assert crapless["pass"].house_edge == "373/6930"  # 5.38 %
    assert crapless["odds 2"].house_edge == "0"
    assert crapless["odds 11"].house_edge == "0"
    assert crapless["place 2"].house_edge == "1/14"
    assert crapless["place 3"].house_edge == "1/16"
    assert "dont" not in crapless
    assert problem_of(CrapsParams(crapless=1)) is None


@pytest.mark.parametrize(
    ("texts", "percent"), [(["pass:10", "odds:10"], 848), (["pass:10", "odds:20"], 606)]
)
def test_odds_dilute_the_line_as_published(texts: list[str], percent: int) -> None:
    found = analyse_wagers(CrapsRules(USUAL), texts)
    assert not isinstance(found, str)
    assert round(Fraction(found[0].house_edge) * 100_000) == percent


@pytest.mark.parametrize(
    ("texts", "edge", "rolls"),
    [
        (["come:10"], "7/495", "557/165"),
        (["pass:10", "come:10"], "7/495", None),
        # Made only when the come bet moves to 6: a flat 10 and, in 5 of 36, 20 that cost nothing.
        (["come:10", "odds 6:20"], str(Fraction(7, 495) * 10 / (10 + 20 * Fraction(5, 36))), None),
    ],
)
def test_bets_that_wait_for_a_point_are_made_when_it_comes(
    texts: list[str], edge: str, rolls: str | None
) -> None:
    found = analyse_wagers(CrapsRules(USUAL), texts)
    assert not isinstance(found, str)
    assert found[0].house_edge == edge
    assert rolls is None or found[0].expected_rolls == rolls


def test_bets_together_are_followed_until_the_last_is_decided() -> None:
    found = analyse_wagers(CrapsRules(USUAL), ["place 6:6", "hard 6:1"])
    assert not isinstance(found, str)
    (both,) = found
    # On the come-out place bets rest, so the edge per chip is what counts: 6/66 + 1/11 of 7 chips.
    assert Fraction(both.house_edge) == (6 * Fraction(1, 66) + Fraction(1, 11)) / 7


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["pass"], "'pass' is not BET:CHIPS"),
        (["place 5:12"], "12 chips on place 5 will not pay in whole chips; try 10 or 15"),
        (["pass:10", "odds:60"], "60 chips on odds: behind this flat bet the most is 30"),
        (["chips:1"], "'chips' is no bet; `help` lists them"),
        (["come:70000"], "70000 chips on come: the most is 10000"),
        (["pass:10", "odds 6:10"], "odds 6 needs its flat bet, with a number"),
    ],
)
def test_wagers_that_cannot_be_played_are_explained(texts: list[str], message: str) -> None:
    assert analyse_wagers(CrapsRules(USUAL), texts) == message


def test_wagers_of_a_word_for_several_bets_are_its_parts() -> None:
    wagers = parse_wagers(CrapsRules(USUAL), ["horn:4", "yo:3"])
    assert not isinstance(wagers, str)
    assert [chips for _, chips in wagers] == [1, 1, 4, 1]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            CrapsParams(put_numbers=(4,)),
            "put 4 at 1:1 has a house edge of 33.33 %, outside 0 to 25 %; "
            "allow_unsound = 1 takes it all the same",
        ),
        (
            CrapsParams(small_tall_pay=40),
            "small at 40:1 has a house edge of -8.05 %, outside 0 to 25 %; "
            "allow_unsound = 1 takes it all the same",
        ),
        (CrapsParams(bar=3), "bar is 3; don't pass can bar 2 or 12"),
    ],
)
def test_unsound_parameters_are_refused_with_the_bet_and_its_edge(
    params: CrapsParams, message: str
) -> None:
    assert problem_of(params) == message


def test_unsound_pays_are_taken_when_the_table_says_so() -> None:
    assert problem_of(CrapsParams(put_numbers=(4,), allow_unsound=1)) is None


def test_closed_bets_have_no_row_and_cannot_be_unsound() -> None:
    others = (26, 29, *range(31, 36))  # the slow ones
    params = CrapsParams(small_tall_pay=40, closed=tuple(sorted((*others, 27, 28))))
    assert problem_of(params) is None
    assert "small" not in rows(params)
    assert "muggsy" in rows(params)


class Unfolded(CrapsRules):
    """The same rules, without the short cut that 4 and 10 are alike to some bets."""

    def seen(  # type: ignore[explicit-override]  # typing.override is 3.12
        self, board: Board, keys: Sequence[BetKey]
    ) -> Board:
        return seen_through(board, tuple(map(max, (0,) * SIZE, (0,) * SIZE, *map(sight, keys))))


@pytest.mark.slow
def test_folding_mirrored_numbers_together_changes_no_figure() -> None:
    others = tuple(k for k in KIND_NAMES if k not in {Kind.FIRE, Kind.ALL, Kind.REPLAY})
    params = CrapsParams(closed=others)
    folded = analyse(CrapsRules(params))
    assert [row.bet for row in folded] == ["fire", "all", "replay"]
    assert analyse(Unfolded(params)) == folded
