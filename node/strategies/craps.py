"""Ways to bet at craps. Every stake pays exactly, and odds keep within 3-4-5 times the flat bet."""

from node.game.craps.board import POINT
from node.strategies.moves import Doubler, Move, is_up, unless_up
from node.view import TableView

FLAT = 10
ODDS = 20
TO_THROW = "pass 10"
DOUBLED_MOST = 320
"""Six losses running end a martingale."""
_LAID = {4: 20, 10: 20, 5: 30, 9: 30, 6: 24, 8: 24}
"""What a don't bettor lays: their points pay 1:2, 2:3 and 5:6 of it exactly (R18)."""


def _point(view: TableView) -> int:
    return view.board[POINT] if view.board else 0


def bet_pass(view: TableView) -> tuple[Move, ...]:
    """Pass line on the come-out, then odds."""
    if not _point(view):
        return unless_up(view, f"pass {FLAT}")
    return unless_up(view, f"odds {ODDS}") if is_up(view, "pass") else ()


def bet_place(view: TableView) -> tuple[Move, ...]:
    """Six and eight once a point is on."""
    return unless_up(view, "place 6 12", "place 8 12") if _point(view) else ()


def bet_dont(view: TableView) -> tuple[Move, ...]:
    """Don't pass, then a lay against its point."""
    point = _point(view)
    if not point:
        return unless_up(view, f"dont {FLAT}")
    return unless_up(view, f"lay {_LAID[point]}") if is_up(view, "dont") else ()


def bet_field(view: TableView) -> tuple[Move, ...]:
    """Field on every roll, and the hard six and eight for as long as they stand."""
    return unless_up(view, "field 5", "hard 6 5", "hard 8 5")


def bet_come(view: TableView) -> tuple[Move, ...]:
    """Pass, then a come bet on every roll while a point is on, with odds behind what has moved."""
    if not _point(view):
        return unless_up(view, f"pass {FLAT}")
    moved = [bet.name.split()[1] for bet in view.own.bets if bet.name.startswith("come ")]
    behind = unless_up(view, *(f"odds {number} {ODDS}" for number in moved))
    return (*bet_pass(view), *unless_up(view, f"come {FLAT}"), *behind)


def bet_cross(view: TableView) -> tuple[Move, ...]:
    """Iron cross: with a point on, every total but seven wins something."""
    if not _point(view):
        return ()
    return unless_up(view, "field 10", "place 5 10", "place 6 12", "place 8 12")


def bet_hedge(view: TableView) -> tuple[Move, ...]:
    """Pass line, and any craps on the come-out against the craps that it would lose to."""
    if _point(view):
        return ()
    return unless_up(view, f"pass {FLAT}", "anycraps 2")


class Martingale:
    """Pass line, doubled after each loss."""

    def __init__(self) -> None:
        """Begin anew."""
        self._doubler = Doubler("pass", FLAT, DOUBLED_MOST)

    def __call__(self, view: TableView) -> tuple[Move, ...]:
        """Return the next pass bet on a come-out."""
        lines = self._doubler(view)
        return () if _point(view) else lines
