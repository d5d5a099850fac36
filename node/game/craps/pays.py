"""Every pay table of the game, each number once; settlement, help and analysis read these.

All pays are "to 1": the profit beside the stake. A table of feature pays says at the name of each
row what has to happen.
"""

from collections.abc import Mapping
from types import MappingProxyType

from node.game.rules import Odds


def _by_number(*rows: tuple[tuple[int, ...], int, int]) -> Mapping[int, Odds]:
    table = {number: Odds(win, per) for numbers, win, per in rows for number in numbers}
    return MappingProxyType(dict(sorted(table.items())))


EVEN = Odds(1, 1)
"""Pass, don't pass, come, don't come, put, big 6 and 8."""

TRUE_ODDS = _by_number(
    ((2, 12), 6, 1), ((3, 11), 3, 1), ((4, 10), 2, 1), ((5, 9), 3, 2), ((6, 8), 6, 5)
)
"""Odds on pass, come and put, and buy bets: number before seven (2, 3, 11, 12 when crapless)."""
LAY_ODDS = MappingProxyType({n: Odds(odds.per, odds.win) for n, odds in TRUE_ODDS.items()})
"""Odds on don't pass and don't come, and lay bets: seven before the number."""
PLACE = _by_number(
    ((2, 12), 11, 2), ((3, 11), 11, 4), ((4, 10), 9, 5), ((5, 9), 7, 5), ((6, 8), 7, 6)
)
PLACE_LOSE = _by_number(((4, 10), 5, 11), ((5, 9), 5, 8), ((6, 8), 4, 5))

FIELD_EVEN = (3, 4, 9, 10, 11)
"""The field numbers that pay 1:1; what 2 and 12 pay is a parameter."""
HARD = _by_number(((4, 10), 7, 1), ((6, 8), 9, 1))
ANY_SEVEN = Odds(4, 1)
ANY_CRAPS = Odds(7, 1)
HORN = _by_number(((2, 12), 30, 1), ((3, 11), 15, 1))
HOP_EASY = Odds(15, 1)
HOP_HARD = Odds(30, 1)

NEXT = _by_number(
    ((2, 12), 343, 10), ((3, 11), 833, 50), ((4, 10), 539, 50), ((5, 9), 196, 25),
    ((6, 8), 152, 25), ((7,), 49, 10),
)  # fmt: skip
YES = _by_number(
    ((2, 12), 147, 25), ((3, 11), 147, 50), ((4, 10), 49, 25), ((5, 9), 147, 100),
    ((6, 8), 59, 50),
)  # fmt: skip
NO = _by_number(
    ((2, 12), 4, 25), ((3, 11), 33, 100), ((4, 10), 49, 100), ((5, 9), 13, 20), ((6, 8), 41, 50)
)

REPEAT_TIMES: Mapping[int, int] = MappingProxyType(
    {2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 8: 6, 9: 5, 10: 4, 11: 3, 12: 2}
)
"""How often the number must fall before any seven."""
REPEAT = _by_number(
    ((2, 12), 40, 1), ((3, 11), 50, 1), ((4, 10), 65, 1), ((5, 9), 80, 1), ((6, 8), 90, 1)
)

FIRE: Mapping[int, Odds] = MappingProxyType({4: Odds(24, 1), 5: Odds(249, 1), 6: Odds(999, 1)})
"""By different points made in the hand, paid at the seven-out."""
MUGGSY_COME_OUT = Odds(2, 1)
"""Seven on the come-out roll."""
MUGGSY_POINT = Odds(3, 1)
"""A point, then seven at once."""

# The five side bets below are ours: their rules are stated here and the exact analyser of this
# project holds the edge of each table between 1 and 15 %.

HOT_ROLLER: Mapping[int, Odds] = MappingProxyType(
    {10: Odds(2, 1), 15: Odds(4, 1), 20: Odds(10, 1), 30: Odds(50, 1)}
)
"""By rolls without a seven, at least so many; paid when the seven comes."""
TWICE_HARD_SAME = Odds(180, 1)
"""The next two rolls are the same hardway."""
TWICE_HARD_OTHER = Odds(40, 1)
"""The next two rolls are two different hardways."""
RIDE_LINE: Mapping[int, Odds] = MappingProxyType(
    {
        3: Odds(1, 1),
        4: Odds(3, 1),
        5: Odds(5, 1),
        6: Odds(10, 1),
        8: Odds(20, 1),
        10: Odds(50, 1),
    }
)
"""By pass line wins in the hand, at least so many; paid at the seven-out."""
REPLAY_TIMES = 3
REPLAY = Odds(120, 1)
"""The same point made three times in one hand."""
DOUBLES: Mapping[int, Odds] = MappingProxyType(
    {3: Odds(5, 1), 4: Odds(10, 1), 5: Odds(25, 1), 6: Odds(150, 1)}
)
"""By different doubles without a seven; paid when the seven comes."""


def reached(table: Mapping[int, Odds], count: int) -> Odds | None:
    """Return the pay of the highest row that `count` reaches, or None below the first."""
    rows = [odds for least, odds in table.items() if least <= count]
    return rows[-1] if rows else None
