"""What a strategy answers with, and what it looks for in a view."""

from collections.abc import Callable
from typing import TypeAlias

from node.game.operations import Operation
from node.view import TableView

Move: TypeAlias = str | Operation
"""A line as a player types it, or the operation itself."""
Strategy: TypeAlias = Callable[[TableView], tuple[Move, ...]]


def is_up(view: TableView, name: str) -> bool:
    """Say whether the own bet of this name lies on the layout."""
    return any(bet.name == name for bet in view.own.bets)


def unless_up(view: TableView, *lines: str) -> tuple[str, ...]:
    """Return the lines, each `BET CHIPS`, whose bets do not lie there already."""
    return tuple(line for line in lines if not is_up(view, line.rpartition(" ")[0]))


class Doubler:
    """Follows one bet: what to stake on it after so many losses running."""

    def __init__(self, bet: str, stake: int, most: int) -> None:
        """Begin with `stake` and double it up to `most`, then begin anew."""
        self._bet = bet
        self._first = stake
        self._most = most
        self._stake = stake
        self._seen = 0

    def __call__(self, view: TableView) -> tuple[Move, ...]:
        """Return the line that bets the next stake, nothing while the bet is up."""
        for roll in view.last:
            if roll.number > self._seen:
                for paid in roll.paid:
                    if paid.player == view.me and paid.name == self._bet:
                        self._count(paid.chips)
        self._seen = max(self._seen, view.rolls)
        return unless_up(view, f"{self._bet} {self._stake}")

    def _count(self, chips: int) -> None:
        if chips > 0:
            self._stake = self._first
        elif chips < 0:
            doubled = 2 * self._stake
            self._stake = doubled if doubled <= self._most else self._first
