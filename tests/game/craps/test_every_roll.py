"""Every throw of 36, at every place of the puck, on every bet, called or not, against casinos."""

import pytest

from node.game.craps.params import CrapsParams
from node.game.craps.rules import CrapsRules
from node.game.rules import BetKey, Board
from tests.game.craps import casino
from tests.game.craps.casino import PUCKS, THROWS, by_total
from tests.game.craps.table import KEYS, RULES, board_at, fate

CALLS = (0, 1, 2)


def fates(rules: CrapsRules, board: Board, key: BetKey, called: int) -> dict[tuple[int, int], str]:
    return {throw: fate(rules, board, key, called, *throw) for throw in THROWS}


@pytest.mark.parametrize("name", ["pass", "dont"])
@pytest.mark.parametrize("puck", PUCKS)
def test_line_bet_follows_the_puck(name: str, puck: int) -> None:
    expected = {t: by_total(casino.LINE[name][puck], sum(t)) for t in THROWS}
    assert fates(RULES, board_at(puck), KEYS[name], 0) == expected


@pytest.mark.parametrize("name", ["come", "dontcome"])
@pytest.mark.parametrize("number", PUCKS)
@pytest.mark.parametrize("puck", PUCKS)
def test_come_bet_follows_its_own_number(name: str, number: int, puck: int) -> None:
    key = KEYS[f"{name} {number}"] if number else KEYS[name]
    expected = {t: by_total(casino.LINE[name][number], sum(t)) for t in THROWS}
    assert fates(RULES, board_at(puck), key, 0) == expected


@pytest.mark.parametrize("number", [5, 6, 8, 9])
@pytest.mark.parametrize("puck", PUCKS)
def test_put_bet_is_a_pass_bet_with_a_number(number: int, puck: int) -> None:
    expected = {t: by_total(casino.LINE["put"][number], sum(t)) for t in THROWS}
    assert fates(RULES, board_at(puck), KEYS[f"put {number}"], 0) == expected


@pytest.mark.parametrize("called", CALLS)
@pytest.mark.parametrize(("name", "like"), [("odds", "odds"), ("lay", "lay")])
@pytest.mark.parametrize("puck", PUCKS[1:])
def test_line_odds_follow_the_puck(name: str, like: str, puck: int, called: int) -> None:
    expected = {t: casino.fate_of_odds(like, puck, called == 2, sum(t)) for t in THROWS}
    assert fates(RULES, board_at(puck), KEYS[name], called) == expected


@pytest.mark.parametrize("called", CALLS)
@pytest.mark.parametrize(
    ("name", "like", "off_on_come_out"),
    [("odds", "odds", True), ("putodds", "odds", True), ("layodds", "lay", False)],
)
@pytest.mark.parametrize("puck", PUCKS)
def test_come_odds_follow_their_number_and_rest_on_the_come_out(
    name: str, like: str, off_on_come_out: bool, puck: int, called: int
) -> None:
    off = called == 2 or (called == 0 and puck == 0 and off_on_come_out)
    for number in (5, 6, 8, 9) if name == "putodds" else PUCKS[1:]:
        expected = {t: casino.fate_of_odds(like, number, off, sum(t)) for t in THROWS}
        assert fates(RULES, board_at(puck), KEYS[f"{name} {number}"], called) == expected


@pytest.mark.parametrize("called", CALLS)
@pytest.mark.parametrize("puck", PUCKS)
@pytest.mark.parametrize("name", list(casino.NUMBER))
def test_number_bet_against_seven(name: str, puck: int, called: int) -> None:
    if called and not casino.NUMBER[name][2]:
        called = 0  # cannot be called, which `test_checks` holds
    for number in casino.NUMBER[name][1]:
        expected = {
            t: casino.fate_of_number_bet(name, number, puck, called, sum(t)) for t in THROWS
        }
        assert fates(RULES, board_at(puck), KEYS[f"{name} {number}"], called) == expected


@pytest.mark.parametrize("called", CALLS)
@pytest.mark.parametrize("puck", PUCKS)
@pytest.mark.parametrize("number", list(casino.HARD))
def test_hardway_loses_to_the_easy_way_and_to_any_seven(
    number: int, puck: int, called: int
) -> None:
    expected = {t: casino.fate_of_hardway(number, called, *t) for t in THROWS}
    assert fates(RULES, board_at(puck), KEYS[f"hard {number}"], called) == expected


@pytest.mark.parametrize("puck", PUCKS)
@pytest.mark.parametrize("name", list(casino.ONE_ROLL))
def test_one_roll_bet_is_decided_by_every_roll(name: str, puck: int) -> None:
    expected = {t: by_total(casino.ONE_ROLL[name], sum(t)) for t in THROWS}
    assert fates(RULES, board_at(puck), KEYS[name], 0) == expected


@pytest.mark.parametrize("puck", PUCKS)
def test_hop_wins_on_its_pair_alone(puck: int) -> None:
    for low, high in THROWS:
        if low > high:
            continue
        win = "30:1" if low == high else "15:1"
        expected = {t: win if sorted(t) == [low, high] else "L" for t in THROWS}
        assert fates(RULES, board_at(puck), KEYS[f"hop {low} {high}"], 0) == expected


@pytest.mark.parametrize("puck", PUCKS)
def test_muggsy_wants_seven_now_or_right_after_the_point(puck: int) -> None:
    expected = {t: by_total(casino.MUGGSY[4 if puck else 0], sum(t)) for t in THROWS}
    assert fates(RULES, board_at(puck), KEYS["muggsy"], 0) == expected


OPTIONS = CrapsRules(
    CrapsParams(
        bar=2, field_2=3, field_12=2, hard_off_come_out=1, lay_off_come_out=1, big_as_place=1
    )
)


def test_bar_two_pushes_on_aces_and_wins_on_boxcars() -> None:
    for name in ("dont", "dontcome"):
        assert fate(OPTIONS, board_at(0), KEYS[name], 0, 1, 1) == "R"
        assert fate(OPTIONS, board_at(0), KEYS[name], 0, 6, 6) == "1:1"


def test_field_pays_what_the_options_say() -> None:
    assert fate(OPTIONS, board_at(0), KEYS["field"], 0, 1, 1) == "3:1"
    assert fate(OPTIONS, board_at(0), KEYS["field"], 0, 6, 6) == "2:1"


@pytest.mark.parametrize("name", ["hard 6", "lay 6", "lose 6", "big 6"])
def test_option_turns_bets_off_on_the_come_out_unless_called(name: str) -> None:
    for throw in THROWS:
        assert fate(OPTIONS, board_at(0), KEYS[name], 0, *throw) == "."
        on = fate(OPTIONS, board_at(6), KEYS[name], 0, *throw)
        assert fate(OPTIONS, board_at(0), KEYS[name], 1, *throw) == on
    assert "L" in fates(OPTIONS, board_at(6), KEYS[name], 0).values()


def test_big_six_as_place_stays_up() -> None:
    assert fate(OPTIONS, board_at(5), KEYS["big 6"], 0, 4, 2) == "1:1+"


CRAPLESS = CrapsRules(CrapsParams(crapless=1))
CRAPLESS_LINE = {
    0: ". . . . . 1:1 . . . . .",
    2: "1:1 . . . . L . . . . .",
    3: ". 1:1 . . . L . . . . .",
    6: ". . . . 1:1 L . . . . .",
    11: ". . . . . L . . . 1:1 .",
    12: ". . . . . L . . . . 1:1",
}


@pytest.mark.parametrize("puck", list(CRAPLESS_LINE))
def test_crapless_pass_wins_on_seven_only_and_every_other_number_is_a_point(puck: int) -> None:
    expected = {t: by_total(CRAPLESS_LINE[puck], sum(t)) for t in THROWS}
    assert fates(CRAPLESS, board_at(puck), KEYS["pass"], 0) == expected
    for low, high in THROWS:
        after, _ = CRAPLESS.advance(
            board_at(0), RULES.outcome_names.index(f"{min(low, high)}-{max(low, high)}")
        )
        assert after[0] == (0 if low + high == 7 else low + high)


def test_crapless_pays_odds_place_and_buy_on_the_outer_numbers() -> None:
    for (low, high), odds, place in (
        ((1, 1), "6:1", "11:2"), ((1, 2), "3:1", "11:4"),
        ((5, 6), "3:1", "11:4"), ((6, 6), "6:1", "11:2"),
    ):  # fmt: skip
        number = low + high
        board = board_at(number)
        assert fate(CRAPLESS, board, KEYS["odds"], 0, low, high) == odds
        assert fate(CRAPLESS, board, KEYS[f"odds {number}"], 0, low, high) == odds
        assert fate(CRAPLESS, board, KEYS[f"place {number}"], 0, low, high) == place + "+"
        assert fate(CRAPLESS, board, KEYS["come"], 0, low, high) == ">"
