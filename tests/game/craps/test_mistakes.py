"""Mistakes that others shipped, each impossible here by name."""

import pytest

from node.game.craps.bets import ALL_KEYS
from node.game.craps.refusals import Code
from node.game.rules import Bet, BetKey, Bets
from tests.game.craps.casino import THROWS
from tests.game.craps.table import KEYS, RULES, board_at, conserved, roll


def layout(*names: str) -> dict[BetKey, Bet]:
    """Return ten chips on each of these bets."""
    return {KEYS[name]: Bet(10, 1) for name in names}


def refused(board_puck: int, bets: Bets, key: BetKey, amount: int) -> int | None:
    refusal = RULES.check_bet(board_at(board_puck), bets, key, amount)
    return None if refusal is None else refusal.code


def test_t1_come_bet_travels_and_pays_nothing_on_that_roll() -> None:
    board, bets, rows, _ = roll(RULES, board_at(4), layout("come"), 5, 4)
    assert [(row.profit, row.returned, row.lost) for row in rows] == [(0, 0, 0)]
    assert bets == layout("come 9")
    _, bets, rows, _ = roll(RULES, board, bets, 6, 3)
    assert [(row.profit, row.returned) for row in rows] == [(10, 20)]
    assert bets == {}


def test_t2_field_is_paid_once_on_a_come_out() -> None:
    board, bets, rows, _ = roll(RULES, board_at(0), layout("field", "pass"), 2, 2)
    assert [(row.before, row.profit) for row in rows] == [(KEYS["field"], 10)]
    assert KEYS["field"] not in bets
    _, _, rows, _ = roll(RULES, board, bets, 2, 2)
    assert [row.before for row in rows] == [KEYS["pass"]]


def test_t3_seven_out_passes_the_dice_and_a_come_out_seven_does_not() -> None:
    for low, high in THROWS:
        for puck in (0, 4, 5, 6, 8, 9, 10):
            ended = roll(RULES, board_at(puck), {}, low, high)[3]
            assert ended == (puck != 0 and low + high == 7)


@pytest.mark.parametrize("puck", [0, 6])
def test_t4_every_resolved_bet_leaves_the_layout_or_is_marked_to_stay(puck: int) -> None:
    bets = {key: Bet(6600, 1, 0, RULES.vig(key, 6600)) for key in ALL_KEYS}
    if puck == 0:
        del bets[KEYS["odds"]], bets[KEYS["lay"]]
    for low, high in THROWS:
        board = board_at(puck)
        _, after, rows, _ = roll(RULES, board, bets, low, high)
        for row in rows:
            decided = row.lost or row.profit or row.returned
            stays = row.left > 0
            assert bool(decided) or row.key != row.before
            assert (row.key in after) == stays or row.key == row.before
        untouched = bets.keys() - {row.before for row in rows}
        assert after.keys() == untouched | {row.key for row in rows if row.left}


def test_t12_odds_without_their_flat_bet_are_refused() -> None:
    for odds, flat in (
        ("odds", "pass"), ("odds 6", "come 6"), ("putodds 6", "put 6"), ("layodds 6", "dontcome 6"),
    ):  # fmt: skip
        amount = 30
        assert refused(6, {}, KEYS[odds], amount) == Code.NO_FLAT_BET
        assert refused(6, layout(flat), KEYS[odds], amount) is None
    lay = KEYS["lay"]
    assert refused(6, {}, lay, 30) == Code.NO_FLAT_BET
    assert refused(6, layout("dont"), lay, 30) is None
    # The flat bet is there, but has no number yet.
    assert refused(0, layout("pass"), KEYS["odds"], 10) == Code.NO_FLAT_BET
    assert refused(6, layout("come"), KEYS["odds 6"], 10) == Code.NO_FLAT_BET


@pytest.mark.parametrize("amount", [0, -1, -10])
def test_t12_zero_and_negative_amounts_are_refused(amount: int) -> None:
    bets = layout("pass", "dont", "come 6", "dontcome 6", "put 6")
    for key in ALL_KEYS:
        assert refused(6, bets, key, amount) in {Code.NOT_POSITIVE, Code.NOT_TAKEN}
        if key in bets:
            refusal = RULES.check_reduce(board_at(6), bets, key, amount)
            assert refusal is not None
            assert refusal.code == Code.NOT_POSITIVE


@pytest.mark.parametrize(
    ("name", "puck", "code"),
    [
        ("pass", 4, Code.NEEDS_PUCK_OFF),
        ("pass", 6, Code.NEEDS_PUCK_OFF),
        ("dont", 6, Code.NEEDS_PUCK_OFF),
        ("come", 0, Code.NEEDS_PUCK_ON),
        ("dontcome", 0, Code.NEEDS_PUCK_ON),
        ("come 6", 6, Code.MOVES_BY_ITSELF),
        ("dontcome 6", 6, Code.MOVES_BY_ITSELF),
        ("twice 4", 6, Code.MOVES_BY_ITSELF),
        ("put 6", 0, Code.NEEDS_PUCK_ON),
        ("put 4", 6, Code.NOT_TAKEN),
        ("muggsy", 6, Code.NEEDS_PUCK_OFF),
        ("fire", 0, Code.NEEDS_NEW_HAND),
        ("ride", 0, Code.NEEDS_NEW_HAND),
        ("replay", 0, Code.NEEDS_NEW_HAND),
        ("place 2", 6, Code.NOT_TAKEN),
    ],
)
def test_t12_wrong_phase_is_refused(name: str, puck: int, code: Code | None) -> None:
    assert refused(puck, {}, KEYS[name], 30) == code


@pytest.mark.parametrize(
    "key", [BetKey(0, 0), BetKey(36, 0), BetKey(255, 255), BetKey(9, 7), BetKey(1, 6)]
)
def test_t12_bets_that_do_not_exist_are_refused(key: BetKey) -> None:
    board = board_at(6)
    for refusal in (
        RULES.check_bet(board, {}, key, 10),
        RULES.check_reduce(board, {}, key, 10),
        RULES.check_working(board, {}, key, 1),
    ):
        assert refusal is not None
        assert refusal.code == Code.NO_SUCH_BET
        assert RULES.describe(refusal) == f"craps has no bet {key.kind}/{key.number}"


def test_settlement_rows_do_not_depend_on_the_order_of_the_bets() -> None:
    names = ("field", "come", "hard 6", "pass", "come 6", "any7", "place 10")
    bets = layout(*names)
    other = dict(reversed(bets.items()))
    assert list(bets) != list(other)
    for outcome in range(21):
        rows = RULES.settle(board_at(6), bets, outcome)
        assert rows == RULES.settle(board_at(6), other, outcome)
        for row in rows:
            assert bets[row.before].stake + row.profit == conserved(row)
