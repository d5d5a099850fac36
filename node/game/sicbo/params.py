"""The house options of a sic bo table: what casinos pay differently, and limits.

Field order is the wire order. Pays are to 1, money is in chips; a flag is 0 or 1.
"""

from consensus.encoding import Record
from node.game.options import Flag, Limits, Pay


class SicboParams(Record, frozen=True):
    """The rules a table plays by where the house may choose.

    Totals pay 60 30 18 12 8 6 6 or 62 31 18 12 8 7 6 elsewhere, a double 8 to 11, a pair of numbers
    5 or 6, a triple 150 to 180, any triple 24 to 31, a number on all three dice 3 or 12.
    """

    totals: tuple[Pay, Pay, Pay, Pay, Pay, Pay, Pay] = (60, 30, 18, 12, 8, 7, 6)
    """What a total pays: 4|17, 5|16, 6|15, 7|14, 8|13, 9|12, 10|11."""
    number_pays: tuple[Pay, Pay, Pay] = (1, 2, 3)
    """What a single number pays on one, two and three dice."""
    double_pay: Pay = 10
    pair_pay: Pay = 5
    triple_pay: Pay = 180
    any_triple_pay: Pay = 30
    odd_even: Flag = 1
    """1: odd and even are taken; some layouts do not have them."""
    even_money: Limits = Limits(1, 10_000)
    """Of small, big, odd and even."""
    number: Limits = Limits(1, 2_000)
    """Of totals, single numbers, pairs and doubles."""
    triple: Limits = Limits(1, 200)
    allow_unsound: Flag = 0
    """1: bets that pay the player, or cost more than 25 %, are taken all the same."""

    def problem(self) -> str | None:
        """Say what is wrong with these options by themselves, or None."""
        for name in ("even_money", "number", "triple"):
            limits: Limits = getattr(self, name)
            if wrong := limits.problem(name):
                return wrong
        return None
