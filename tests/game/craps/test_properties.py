"""What holds for any layout, any hand and any table: chips, exposure, sight."""

from itertools import pairwise

from hypothesis import given, settings, strategies as st

from consensus.encoding import decode_as, encode
from node.game.craps.bets import ALL_KEYS, Kind, bet_key
from node.game.craps.board import OPENING, ROLLS, SEEN, seen_through, sight
from node.game.craps.decide import prizes
from node.game.craps.dice import PAIRS, SUMS
from node.game.craps.params import CrapsParams
from node.game.craps.rules import CrapsRules
from node.game.rules import Bet, BetKey, Board, Settlement
from tests.game.craps.table import conserved

TABLES = tuple(
    CrapsRules(params)
    for params in (
        CrapsParams(),
        CrapsParams(vig_on_win=1, vig_rounding=3, bar=2, field_12=3, put_numbers=(4, 5, 6, 8, 9, 10)),
        CrapsParams(crapless=1, odds_round_up=1, buy_numbers=(2, 3, 4, 10, 11, 12), lay_numbers=(2,)),
        CrapsParams(hard_off_come_out=1, lay_off_come_out=1, big_as_place=1, vig_rounding=2),
    )
)  # fmt: skip
KEYS = list(ALL_KEYS)
OUTCOMES = range(len(PAIRS))
outcomes = st.sampled_from(OUTCOMES)
# Puck, old hand, line wins, points made, rolls, doubles, numbers seen: nothing counts further.
MOST = (12, 1, 10, *[3] * 6, 30, 63, 2, 3, 4, 5, 6, 6, 5, 4, 3, 2)


@st.composite
def hands(draw: st.DrawFn) -> tuple[CrapsRules, Board, dict[BetKey, Bet]]:
    """A table, a board that play has reached, and bets that the rules took on the way there."""
    rules = draw(st.sampled_from(TABLES))
    board, bets = rules.opening_board(), dict[BetKey, Bet]()
    for _ in range(draw(st.integers(0, 12))):
        bets = draw(after_bets(rules, board, bets))
        outcome = draw(outcomes)
        for row in rules.settle(board, bets, outcome):
            apply(bets, row)
        board, _ = rules.advance(board, outcome)
    return rules, board, draw(after_bets(rules, board, bets))


@st.composite
def after_bets(
    draw: st.DrawFn, rules: CrapsRules, board: Board, bets: dict[BetKey, Bet]
) -> dict[BetKey, Bet]:
    """The bets after some more were made and some called on or off."""
    bets = dict(bets)
    for key in draw(st.lists(st.sampled_from(KEYS), max_size=8)):
        amount = draw(st.sampled_from((1, 2, 5, 6, 10, 12, 20, 22, 30, 40, 60, 100)))
        if rules.check_bet(board, bets, key, amount) is None:
            bet = bets.get(key, Bet(0, 1))
            stake = bet.stake + amount
            bets[key] = Bet(stake, 1, bet.working, rules.vig(key, stake))
    for key in list(bets):
        working = draw(st.sampled_from((0, 0, 1, 2)))
        if rules.check_working(board, bets, key, working) is None:
            bet = bets[key]
            bets[key] = Bet(bet.stake, bet.id, working, bet.vig)
    return bets


def apply(bets: dict[BetKey, Bet], row: Settlement) -> None:
    bet = bets.pop(row.before)
    if row.left:
        assert row.key not in bets
        bets[row.key] = Bet(row.left, bet.id, bet.working, row.left_vig)


def full_prize(rules: CrapsRules, board: Board, key: BetKey, stake: int) -> int:
    """Return the most that a bet can still win, from the list of its prizes."""
    return max(odds.profit(stake) for _, odds in prizes(rules.params, key, board[0]))


def cost(rules: CrapsRules, board: Board, bets: dict[BetKey, Bet], outcome: int) -> int:
    """Return what an outcome asks of the bank, bet by bet: paid, less won, plus prizes to come."""
    total, after = 0, rules.advance(board, outcome)[0]
    rest = dict(bets)
    for row in rules.settle(board, bets, outcome):
        total += row.profit - row.lost
        del rest[row.before]
        if row.left and not row.profit:
            total += full_prize(rules, after, row.key, row.left)
    return total + sum(full_prize(rules, after, key, bet.stake) for key, bet in rest.items())


def exposed(rules: CrapsRules, board: Board, bets: dict[BetKey, Bet]) -> list[int]:
    """Return the exposure of a layout as a session adds it up."""
    total = [0] * len(OUTCOMES)
    for key, bet in bets.items():
        exposure = rules.exposure(board, key, bet.working)
        unit, per_unit = exposure.unit, exposure.per_unit
        assert bet.stake % unit == 0
        total = [
            have + bet.stake // unit * more for have, more in zip(total, per_unit, strict=True)
        ]
    return total


@given(hands())
def test_exposure_is_exactly_what_each_outcome_asks_of_the_bank(
    hand: tuple[CrapsRules, Board, dict[BetKey, Bet]],
) -> None:
    rules, board, bets = hand
    assert exposed(rules, board, bets) == [cost(rules, board, bets, o) for o in OUTCOMES]


@given(hands())
def test_no_outcome_asks_more_for_a_bet_than_its_prize(
    hand: tuple[CrapsRules, Board, dict[BetKey, Bet]],
) -> None:
    rules, board, bets = hand
    for key, bet in bets.items():
        exposure = rules.exposure(board, key, bet.working)
        units = bet.stake // exposure.unit
        assert max(exposure.per_unit) * units <= rules.prize(key, bet.stake)


def test_the_prize_of_a_bet_is_what_its_best_pay_brings() -> None:
    rules = CrapsRules(CrapsParams())
    assert rules.prize(bet_key(Kind.PASS), 10) == 10
    assert rules.prize(bet_key(Kind.PASS_ODDS), 10) == 20  # with the puck on 4 or 10
    assert rules.prize(bet_key(Kind.PLACE, 6), 12) == 14
    assert rules.prize(bet_key(Kind.DONT_PASS_ODDS), 10) == 9  # 5:6, never less than it may win
    assert rules.prize(bet_key(Kind.FIELD), 5) == 10
    assert rules.prize(bet_key(Kind.FIRE), 1) == 999


@given(hands(), outcomes)
def test_every_settlement_conserves_chips(
    hand: tuple[CrapsRules, Board, dict[BetKey, Bet]], outcome: int
) -> None:
    rules, board, bets = hand
    rows = rules.settle(board, bets, outcome)
    assert len({row.before for row in rows}) == len(rows)
    for row in rows:
        bet = bets[row.before]
        assert bet.stake + bet.vig + row.profit == conserved(row)
        assert min(row.lost, row.profit, row.vig, row.returned, row.left, row.left_vig) >= 0
        assert row.left in {0, bet.stake}


@given(hands(), outcomes)
def test_bank_that_covered_the_worst_case_covers_it_again_without_the_bets_that_won_and_stay(
    hand: tuple[CrapsRules, Board, dict[BetKey, Bet]], outcome: int
) -> None:
    rules, board, bets = hand
    bank = max(0, *exposed(rules, board, bets))
    for row in rules.settle(board, bets, outcome):
        bank += row.lost + row.vig - row.profit
        apply(bets, row)
        if row.left and row.profit:
            del bets[row.key]
    assert bank >= 0
    board, _ = rules.advance(board, outcome)
    assert bank >= max(0, *exposed(rules, board, bets))


@given(hands(), st.sampled_from(KEYS), st.integers(1, 200))
def test_bet_that_is_taken_can_be_taken_down_before_the_roll_unless_it_was_up_as_a_contract(
    hand: tuple[CrapsRules, Board, dict[BetKey, Bet]], key: BetKey, amount: int
) -> None:
    rules, board, bets = hand
    if rules.check_bet(board, bets, key, amount) is not None:
        return
    stake = bets[key].stake + amount if key in bets else amount
    more = {**bets, key: Bet(stake, 1, 0, rules.vig(key, stake))}
    refusal = rules.check_reduce(board, more, key, stake)
    assert (refusal is None) == (not rules.is_contract(board, key))


@given(hands(), st.sampled_from(KEYS), st.lists(outcomes, min_size=1, max_size=20))
def test_what_a_bet_does_not_see_of_the_board_never_matters_to_it(
    hand: tuple[CrapsRules, Board, dict[BetKey, Bet]], key: BetKey, rolls: list[int]
) -> None:
    rules, board, _ = hand
    if not rules.params.takes(key) or (key.number == 0 and key.kind in {5, 6} and not board[0]):
        return
    caps = sight(key)
    seen = seen_through(board, caps)
    bets, twin = {key: Bet(6600, 1)}, {key: Bet(6600, 1)}
    fresh = CrapsRules(rules.params)  # has worked out no row on the other board
    for outcome in rolls:
        rows = rules.settle(board, bets, outcome)
        assert rows == fresh.settle(seen, twin, outcome)
        for row in rows:
            apply(bets, row)
            apply(twin, row)
        board = rules.advance(board, outcome)[0]
        seen = seen_through(rules.advance(seen, outcome)[0], caps)
        assert seen == seen_through(board, caps)


def test_board_stops_counting_where_the_last_bet_stops_looking() -> None:
    for rules in TABLES:
        board = rules.opening_board()
        for outcome in [o for o in OUTCOMES if SUMS[o] != 7] * 10:
            board, _ = rules.advance(board, outcome)
            assert all(0 <= value <= most for value, most in zip(board, MOST, strict=True))


@given(st.sampled_from(TABLES), st.lists(outcomes, max_size=60))
def test_board_is_small_integers_that_encode_and_only_count_up_in_a_hand(
    rules: CrapsRules, rolls: list[int]
) -> None:
    boards = [rules.opening_board()]
    for outcome in rolls:
        board, ended = rules.advance(boards[-1], outcome)
        assert decode_as(encode(board), tuple[int, ...]) == board
        assert ended == (board == OPENING)
        boards.append(board)
    for before, after in pairwise(boards):
        if after != OPENING:
            assert all(a <= b for a, b in zip(before[2:9], after[2:9], strict=True))


@given(st.binary(min_size=32, max_size=32))
@settings(max_examples=200)
def test_any_seed_gives_an_outcome_and_the_dice_that_make_it(seed: bytes) -> None:
    rules = TABLES[0]
    outcome, (first, second) = rules.outcome(seed)
    assert PAIRS[outcome] == tuple(sorted((first, second)))
    assert rules.outcome(seed) == (outcome, (first, second))


@settings(max_examples=60)
@given(hands(), outcomes)
def test_what_rules_remember_of_earlier_rolls_changes_no_settlement(
    hand: tuple[CrapsRules, Board, dict[BetKey, Bet]], outcome: int
) -> None:
    rules, board, bets = hand
    called = [
        {key: Bet(bet.stake, bet.id, working, bet.vig) for key, bet in bets.items()}
        for working in range(3)
    ]
    fresh = [CrapsRules(rules.params).settle(board, each, outcome) for each in called]
    for working in (0, 1, 2, 1, 0):
        assert rules.settle(board, called[working], outcome) == fresh[working]


def test_bets_that_look_further_than_at_the_puck_are_settled_by_what_they_see() -> None:
    rules = CrapsRules(CrapsParams())
    long_hand = list(OPENING)
    long_hand[ROLLS], long_hand[SEEN.start : SEEN.start + 4] = 30, (1, 1, 1, 1)  # 2 3 4 5 fell
    small, hot = bet_key(Kind.SMALL), bet_key(Kind.HOT_ROLLER)
    assert rules.settle(OPENING, {small: Bet(10, 1)}, SUMS.index(6)) == ()
    assert rules.settle(tuple(long_hand), {small: Bet(10, 1)}, SUMS.index(6))[0].profit > 0
    assert rules.settle(OPENING, {hot: Bet(10, 1)}, SUMS.index(7))[0].lost == 10
    assert rules.settle(tuple(long_hand), {hot: Bet(10, 1)}, SUMS.index(7))[0].profit > 0
