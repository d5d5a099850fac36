"""What typed words mean, and what bets are called."""

from collections.abc import Sequence

import pytest

from node.game.craps.bets import ALL_KEYS, Kind, bet_key
from node.game.craps.decide import Effect, Throw, decide, prizes
from node.game.craps.dice import PAIRS
from node.game.craps.params import CrapsParams
from node.game.craps.rules import CrapsRules
from node.game.rules import Bet, BetKey
from tests.game.craps.table import RULES, board_at

BOARD = board_at(6)


def parse(line: str, *up: BetKey) -> Sequence[tuple[BetKey, int]] | str:
    return RULES.parse_bet(line.split(), BOARD, {key: Bet(10, 1) for key in up})


@pytest.mark.parametrize(
    ("line", "kind", "number", "chips"),
    [
        ("pass 10", Kind.PASS, 0, 10),
        ("dont 10", Kind.DONT_PASS, 0, 10),
        ("don't 10", Kind.DONT_PASS, 0, 10),
        ("come 10", Kind.COME, 0, 10),
        ("dontcome 10", Kind.DONT_COME, 0, 10),
        ("odds 20", Kind.PASS_ODDS, 0, 20),
        ("odds 6 20", Kind.COME_ODDS, 6, 20),
        ("lay 20", Kind.DONT_PASS_ODDS, 0, 20),
        ("lay 4 40", Kind.LAY, 4, 40),
        ("layodds 9 30", Kind.DONT_COME_ODDS, 9, 30),
        ("place 6 12", Kind.PLACE, 6, 12),
        ("lose 4 11", Kind.PLACE_LOSE, 4, 11),
        ("buy 10 20", Kind.BUY, 10, 20),
        ("put 8 10", Kind.PUT, 8, 10),
        ("putodds 8 10", Kind.PUT_ODDS, 8, 10),
        ("big 8 10", Kind.BIG, 8, 10),
        ("field 5", Kind.FIELD, 0, 5),
        ("hard 6 5", Kind.HARD, 6, 5),
        ("any7 1", Kind.ANY_SEVEN, 0, 1),
        ("seven 1", Kind.ANY_SEVEN, 0, 1),
        ("anycraps 1", Kind.ANY_CRAPS, 0, 1),
        ("aces 1", Kind.HORN, 2, 1),
        ("acedeuce 1", Kind.HORN, 3, 1),
        ("yo 1", Kind.HORN, 11, 1),
        ("boxcars 1", Kind.HORN, 12, 1),
        ("midnight 1", Kind.HORN, 12, 1),
        ("hop 3 2 5", Kind.HOP, 23, 5),
        ("hop 2 2 5", Kind.HOP, 22, 5),
        ("next 7 10", Kind.NEXT, 7, 10),
        ("yes 12 25", Kind.YES, 12, 25),
        ("no 2 25", Kind.NO, 2, 25),
        ("repeat 9 1", Kind.REPEAT, 9, 1),
        ("fire 1", Kind.FIRE, 0, 1),
        ("small 1", Kind.SMALL, 0, 1),
        ("tall 1", Kind.TALL, 0, 1),
        ("all 1", Kind.ALL, 0, 1),
        ("muggsy 1", Kind.MUGGSY, 0, 1),
        ("hot 1", Kind.HOT_ROLLER, 0, 1),
        ("twice 1", Kind.TWICE_HARD, 0, 1),
        ("ride 1", Kind.RIDE_LINE, 0, 1),
        ("replay 1", Kind.REPLAY, 0, 1),
        ("doubles 1", Kind.DOUBLES, 0, 1),
    ],
)
def test_words_of_one_bet(line: str, kind: Kind, number: int, chips: int) -> None:
    assert parse(line) == [((kind.value, number), chips)]


def test_several_numbers_are_several_bets() -> None:
    assert parse("place 6 8 12") == [((9, 6), 12), ((9, 8), 12)]
    assert parse("hard 4 6 8 10 1") == [((17, n), 1) for n in (4, 6, 8, 10)]


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("horn 4", {2: 1, 3: 1, 11: 1, 12: 1}),
        ("hornhigh 12 5", {2: 1, 3: 1, 11: 1, 12: 2}),
        ("hornhigh 3 10", {2: 2, 3: 4, 11: 2, 12: 2}),
    ],
)
def test_horn_is_split_at_entry(line: str, parts: dict[int, int]) -> None:
    assert parse(line) == [((20, number), chips) for number, chips in parts.items()]


def test_world_and_ce_are_split_at_entry() -> None:
    assert parse("world 10") == [*(((20, n), 2) for n in (2, 3, 11, 12)), ((18, 0), 2)]
    assert parse("ce 2") == [((19, 0), 1), ((20, 11), 1)]
    assert parse("c&e 2") == parse("ce 2")


def test_odds_go_behind_the_flat_bet_that_is_there() -> None:
    dont, dont_come = bet_key(Kind.DONT_PASS), bet_key(Kind.DONT_COME, 6)
    assert parse("odds 12", dont) == [((6, 0), 12)]
    assert parse("odds 12", dont, bet_key(Kind.PASS)) == [((5, 0), 12)]
    assert parse("odds 6 12", dont_come) == [((8, 6), 12)]
    assert parse("odds 6 12", dont_come, bet_key(Kind.PUT, 6)) == [((14, 6), 12)]
    assert parse("odds 6 12", dont_come, bet_key(Kind.COME, 6)) == [((7, 6), 12)]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("", "'' is no bet; `help` lists them"),
        ("passs 10", "'passs' is no bet; `help` lists them"),
        ("pass", "'pass' needs chips: type `pass CHIPS`"),
        ("pass -5", "'-5' is no number of chips (digits alone, 1 or more): type `pass CHIPS`"),
        ("pass 1.5", "'1.5' is no number of chips (digits alone, 1 or more): type `pass CHIPS`"),
        ("pass ten", "'ten' is no number of chips (digits alone, 1 or more): type `pass CHIPS`"),
        ("pass ٣", "'٣' is no number of chips (digits alone, 1 or more): type `pass CHIPS`"),
        (
            "pass 12345678901234567",
            "'12345678901234567' is no number of chips (digits alone, 1 or more): type `pass CHIPS`",
        ),
        ("pass 6 10", "'pass 6 10' is no bet: type `pass CHIPS`"),
        ("place 6", "'place 6' is no bet: type `place NUMBER CHIPS`"),
        ("place 7 12", "'place 7 12' is no bet: type `place NUMBER CHIPS`"),
        ("place 6 7 12", "'place 6 7 12' is no bet: type `place NUMBER CHIPS`"),
        ("place 2 12", "place 2 is not taken at this table"),
        ("come 6 10", "'come 6 10' is no bet: type `come CHIPS`"),
        ("twice 4 1", "'twice 4 1' is no bet: type `twice CHIPS`"),
        ("hard 0 5", "'hard 0 5' is no bet: type `hard NUMBER CHIPS`"),
        ("hop 2 5", "'hop 2 5' is no bet: type `hop DIE DIE CHIPS`"),
        ("hop 0 7 5", "'hop 0 7 5' is no bet: type `hop DIE DIE CHIPS`"),
        ("hop 1 13 5", "'hop 1 13 5' is no bet: type `hop DIE DIE CHIPS`"),
        ("odds 7 5", "'odds 7 5' is no bet: type `odds [NUMBER] CHIPS`"),
        ("horn 5", "5 chips do not split into 4 parts; try 4 or 8"),
        ("horn 3", "3 chips do not split into 4 parts; try 4"),
        ("horn 0", "0 chips do not split into 4 parts; try 4"),
        ("world 4", "4 chips do not split into 5 parts; try 5"),
        ("horn 6 4", "'horn' has no number: type `horn CHIPS`"),
        ("hornhigh 5", "`hornhigh NUMBER CHIPS` doubles one of 2, 3, 11, 12"),
        ("hornhigh 4 5", "`hornhigh NUMBER CHIPS` doubles one of 2, 3, 11, 12"),
    ],
)
def test_words_that_mean_no_bet_are_explained(line: str, sentence: str) -> None:
    assert parse(line) == sentence


def test_name_of_a_bet_is_what_makes_it() -> None:
    boxed = (Kind.COME, Kind.DONT_COME, Kind.TWICE_HARD)
    rules = CrapsRules(CrapsParams(put_numbers=(4, 5, 6, 8, 9, 10)))
    for key, kind in ALL_KEYS.items():
        if not rules.params.takes(key) or (key.number and kind in boxed):
            continue
        words = [*rules.bet_name(key).split(), "60"]
        if kind == Kind.PUT_ODDS:
            behind = {bet_key(Kind.PUT, key.number): Bet(10, 1)}
            assert rules.parse_bet(["odds", str(key.number), "60"], BOARD, behind) == [(key, 60)]
        assert rules.parse_bet(words, BOARD, {}) == [(key, 60)]


def test_names_are_unique_but_for_the_two_meanings_of_numbers() -> None:
    names = [RULES.bet_name(key) for key in ALL_KEYS]
    assert len(set(names)) == len(names)


def test_help_names_every_bet_that_the_table_takes_and_no_other() -> None:
    words = {row[0].split()[0] for row in RULES.bet_words}
    for key in ALL_KEYS:
        name = RULES.bet_name(key).split()[0]
        assert name in words
    closed = CrapsRules(CrapsParams(closed=(Kind.ANY_CRAPS, Kind.FIRE)))
    left = {row[0].split()[0] for row in closed.bet_words}
    assert words - left == {"fire", "anycraps", "ce"}
    assert closed.parse_bet(["ce", "2"], BOARD, {}) == "anycraps is not taken at this table"


def test_help_says_what_bets_pay() -> None:
    rows = dict(RULES.bet_words)
    assert rows["place NUMBER CHIPS"].startswith("9:5 on 4 10, 7:5 on 5 9, 7:6 on 6 8;")
    assert rows["odds CHIPS"].startswith("2:1 on 4 10, 3:2 on 5 9, 6:5 on 6 8;")
    assert rows["odds NUMBER CHIPS"].startswith("2:1 on 4 10, 3:2 on 5 9, 6:5 on 6 8;")
    assert rows["fire CHIPS"].startswith("24:1 for 4, 249:1 for 5, 999:1 for 6;")
    assert rows["yo CHIPS"].startswith("15:1; 11,")
    triple = CrapsRules(CrapsParams(field_12=3))
    assert "3:1 on 12" in dict(triple.bet_words)["field CHIPS"]


@pytest.mark.parametrize("crapless", [0, 1])
def test_listed_prizes_are_those_that_rolls_pay(crapless: int) -> None:
    params = CrapsParams(crapless=crapless)
    rules = CrapsRules(params)
    for key in ALL_KEYS:
        if not params.takes(key) or (key.kind in {5, 6}):
            continue
        listed = {odds for _, odds in prizes(params, key, 0)}
        paid = set()
        boards = [rules.opening_board()]
        if key.kind >= Kind.REPEAT:
            continue  # on their way to a prize: see the tests of features
        boards += [board_at(point) for point in params.points]
        for board in boards:
            for outcome, (low, high) in enumerate(PAIRS):
                throw = Throw(board, rules.advance(board, outcome)[0], low, high)
                verdict = decide(params, key, 1 if key.kind in {9, 11} else 0, throw)
                if verdict.effect in {Effect.WIN, Effect.WIN_AND_STAY}:
                    paid.add(verdict.odds)
        assert paid == listed
