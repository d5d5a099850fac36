"""Ways to bet at sic bo."""

from node.strategies.moves import Doubler, Move, Strategy, unless_up
from node.view import TableView

TO_THROW = "small 10"
DOUBLED_MOST = 320
"""Six losses running end a martingale."""


def bet_small(view: TableView) -> tuple[Move, ...]:
    """Small on every roll."""
    return unless_up(view, "small 10")


def bet_numbers(view: TableView) -> tuple[Move, ...]:
    """Three single numbers, and a pair of them."""
    return unless_up(view, "single 2 5", "single 4 5", "single 6 5", "pair 2 4 2")


def bet_totals(view: TableView) -> tuple[Move, ...]:
    """The totals in the middle."""
    return unless_up(view, "total 9 5", "total 10 5", "total 11 5", "total 12 5")


def bet_triples(view: TableView) -> tuple[Move, ...]:
    """Big, with any triple against it."""
    return unless_up(view, "big 30", "any 1")


def double_big() -> Strategy:
    """Return the strategy of big, doubled after each loss."""
    return Doubler("big", 10, DOUBLED_MOST)
