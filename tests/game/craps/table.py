"""Tools of the craps tests: bets by their names, boards by their puck, one seat's layout."""

from fractions import Fraction

from node.game.craps.bets import ALL_KEYS
from node.game.craps.board import OPENING
from node.game.craps.dice import outcome_of
from node.game.craps.params import CrapsParams
from node.game.craps.rules import CrapsRules
from node.game.craps.words import bet_name
from node.game.rules import Bet, BetKey, Bets, Board, Settlement

RULES = CrapsRules(CrapsParams())
KEYS = {bet_name(key): key for key in ALL_KEYS}


def board_at(puck: int) -> Board:
    """Return a board of an old hand with the puck there and no progress."""
    return (puck, 1, *OPENING[2:])


def fate(rules: CrapsRules, board: Board, key: BetKey, called: int, low: int, high: int) -> str:
    """Return what a throw does to a lone bet, in the words of `casino`."""
    stake = 6600  # exact for every pay
    bet = Bet(stake, 1, called, rules.vig(key, stake))
    rows = rules.settle(board, {key: bet}, outcome_of(low, high))
    if not rows:
        return "."
    (row,) = rows
    assert row.before == key
    assert bet.stake + bet.vig + row.profit == conserved(row)
    if row.lost:
        assert row.lost == stake
        return "L"
    if row.profit:
        odds = Fraction(row.profit, stake)
        assert row.returned == stake + bet.vig + row.profit - row.vig - row.left - row.left_vig
        return f"{odds.numerator}:{odds.denominator}" + ("+" if row.left else "")
    if row.left:
        assert row.left == stake
        assert row.key == BetKey(key.kind, low + high)
        return ">"
    assert row.returned == stake + bet.vig
    return "R"


def conserved(row: Settlement) -> int:
    """Return the right side of the conservation of chips."""
    return row.returned + row.lost + row.vig + row.left + row.left_vig


def roll(
    rules: CrapsRules, board: Board, bets: Bets, low: int, high: int
) -> tuple[Board, dict[BetKey, Bet], tuple[Settlement, ...], bool]:
    """Settle one roll for one seat: the board and bets after it, what happened, hand ended."""
    outcome = outcome_of(low, high)
    rows = rules.settle(board, bets, outcome)
    after = dict(bets)
    for row in rows:
        bet = after.pop(row.before)
        assert bet.stake + bet.vig + row.profit == conserved(row)
        if row.left:
            assert row.key not in after
            after[row.key] = Bet(row.left, bet.id, bet.working, row.left_vig)
    board, ended = rules.advance(board, outcome)
    return board, after, rows, ended
