"""Every bet of the table: its number on the wire, the class of its limits, what belongs to what.

A bet is a `BetKey(kind, number)`. The number is the one that the bet is about; 0 where there is
none. A come or don't come bet lies under number 0 in its box and under its number once it moved; a
hop is about a pair and has the lower die in the tens.
"""

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType

from node.game.craps.dice import PAIRS
from node.game.rules import BetKey


class Kind(IntEnum):
    """The kinds of bets, as they stand on the wire."""

    PASS = 1
    DONT_PASS = 2
    COME = 3
    DONT_COME = 4
    PASS_ODDS = 5
    DONT_PASS_ODDS = 6
    COME_ODDS = 7
    DONT_COME_ODDS = 8
    PLACE = 9
    PLACE_LOSE = 10
    BUY = 11
    LAY = 12
    PUT = 13
    PUT_ODDS = 14
    BIG = 15
    FIELD = 16
    HARD = 17
    ANY_SEVEN = 18
    ANY_CRAPS = 19
    HORN = 20
    """One number of the horn: aces 2, ace-deuce 3, yo 11, boxcars 12."""
    HOP = 21
    NEXT = 22
    YES = 23
    NO = 24
    REPEAT = 25
    FIRE = 26
    SMALL = 27
    TALL = 28
    ALL = 29
    MUGGSY = 30
    HOT_ROLLER = 31
    TWICE_HARD = 32
    RIDE_LINE = 33
    REPLAY = 34
    DOUBLES = 35


class LimitClass(IntEnum):
    """Bets with limits in common (R10); odds are limited by their flat bet instead."""

    LINE = 0
    NUMBER = 1
    FIELD = 2
    CENTRE = 3
    FEATURE = 4


POINTS = (4, 5, 6, 8, 9, 10)
CRAPLESS_POINTS = (2, 3, 4, 5, 6, 8, 9, 10, 11, 12)
TOTALS = (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)
HARD_NUMBERS = (4, 6, 8, 10)
HORN_NUMBERS = (2, 3, 11, 12)
CRAPS_NUMBERS = (2, 3, 12)
SMALL_NUMBERS = (2, 3, 4, 5, 6)
TALL_NUMBERS = (8, 9, 10, 11, 12)

FLAT_OF: Mapping[Kind, Kind] = MappingProxyType(
    {
        Kind.PASS_ODDS: Kind.PASS,
        Kind.DONT_PASS_ODDS: Kind.DONT_PASS,
        Kind.COME_ODDS: Kind.COME,
        Kind.DONT_COME_ODDS: Kind.DONT_COME,
        Kind.PUT_ODDS: Kind.PUT,
    }
)
"""Which flat bet, on the same number, each kind of odds stands behind (R17)."""
ODDS_OF: Mapping[int, Kind] = MappingProxyType({flat: odds for odds, flat in FLAT_OF.items()})
LAID_ODDS = (Kind.DONT_PASS_ODDS, Kind.DONT_COME_ODDS)
"""Odds against the number: the limit is on what they win (R18)."""

LIMIT_CLASSES: Mapping[Kind, LimitClass] = MappingProxyType(
    {
        **dict.fromkeys((Kind.PASS, Kind.DONT_PASS, Kind.COME, Kind.DONT_COME), LimitClass.LINE),
        Kind.PUT: LimitClass.LINE,
        **dict.fromkeys(
            (Kind.PLACE, Kind.PLACE_LOSE, Kind.BUY, Kind.LAY, Kind.BIG, Kind.YES, Kind.NO),
            LimitClass.NUMBER,
        ),
        Kind.FIELD: LimitClass.FIELD,
        **dict.fromkeys(
            (Kind.HARD, Kind.ANY_SEVEN, Kind.ANY_CRAPS, Kind.HORN, Kind.HOP, Kind.NEXT),
            LimitClass.CENTRE,
        ),
        **dict.fromkeys(
            (
                Kind.REPEAT, Kind.FIRE, Kind.SMALL, Kind.TALL, Kind.ALL, Kind.MUGGSY,
                Kind.HOT_ROLLER, Kind.TWICE_HARD, Kind.RIDE_LINE, Kind.REPLAY, Kind.DOUBLES,
            ),
            LimitClass.FEATURE,
        ),
    }
)  # fmt: skip

KIND_NAMES: Mapping[int, str] = MappingProxyType(
    {
        Kind.PASS: "pass line",
        Kind.DONT_PASS: "don't pass",
        Kind.COME: "come",
        Kind.DONT_COME: "don't come",
        Kind.PASS_ODDS: "pass odds",
        Kind.DONT_PASS_ODDS: "don't pass odds",
        Kind.COME_ODDS: "come odds",
        Kind.DONT_COME_ODDS: "don't come odds",
        Kind.PLACE: "place",
        Kind.PLACE_LOSE: "place to lose",
        Kind.BUY: "buy",
        Kind.LAY: "lay",
        Kind.PUT: "put",
        Kind.PUT_ODDS: "put odds",
        Kind.BIG: "big 6 or 8",
        Kind.FIELD: "field",
        Kind.HARD: "hardway",
        Kind.ANY_SEVEN: "any seven",
        Kind.ANY_CRAPS: "any craps",
        Kind.HORN: "horn number",
        Kind.HOP: "hop",
        Kind.NEXT: "next",
        Kind.YES: "yes",
        Kind.NO: "no",
        Kind.REPEAT: "repeater",
        Kind.FIRE: "fire",
        Kind.SMALL: "small",
        Kind.TALL: "tall",
        Kind.ALL: "all",
        Kind.MUGGSY: "Muggsy's corner",
        Kind.HOT_ROLLER: "hot roller",
        Kind.TWICE_HARD: "twice hard",
        Kind.RIDE_LINE: "ride the line",
        Kind.REPLAY: "replay",
        Kind.DOUBLES: "different doubles",
    }
)

_NUMBERS: Mapping[Kind, tuple[int, ...]] = MappingProxyType(
    {
        Kind.COME: (0, *CRAPLESS_POINTS),
        Kind.DONT_COME: (0, *POINTS),
        Kind.COME_ODDS: CRAPLESS_POINTS,
        Kind.DONT_COME_ODDS: POINTS,
        Kind.PLACE: CRAPLESS_POINTS,
        Kind.PLACE_LOSE: POINTS,
        Kind.BUY: CRAPLESS_POINTS,
        Kind.LAY: CRAPLESS_POINTS,
        Kind.PUT: CRAPLESS_POINTS,
        Kind.PUT_ODDS: CRAPLESS_POINTS,
        Kind.BIG: (6, 8),
        Kind.HARD: HARD_NUMBERS,
        Kind.HORN: HORN_NUMBERS,
        Kind.HOP: tuple(low * 10 + high for low, high in PAIRS),
        Kind.NEXT: TOTALS,
        Kind.YES: CRAPLESS_POINTS,
        Kind.NO: CRAPLESS_POINTS,
        Kind.REPEAT: CRAPLESS_POINTS,
        Kind.TWICE_HARD: (0, *HARD_NUMBERS),
    }
)


def bet_key(kind: Kind, number: int = 0) -> BetKey:
    """Return the key of a bet, in plain integers as everywhere outside of this game."""
    return BetKey(kind.value, number)


ALL_KEYS: Mapping[BetKey, Kind] = MappingProxyType(
    {bet_key(kind, number): kind for kind in Kind for number in _NUMBERS.get(kind, (0,))}
)
"""Every bet that any table knows, in key order."""
