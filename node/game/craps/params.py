"""The house options of a craps table: one record in the table's descriptor, agreed by all.

Field order is the wire order. Money is in chips; a flag is 0 or 1.
"""

from typing import Annotated

import msgspec

from consensus.encoding import Record
from node.game.craps.bets import CRAPLESS_POINTS, FLAT_OF, KIND_NAMES, POINTS, Kind, LimitClass
from node.game.options import Chips, Flag, Limits, Pay
from node.game.rules import BetKey

Multiple = Annotated[int, msgspec.Meta(ge=0, le=100)]
Number = Annotated[int, msgspec.Meta(ge=2, le=12)]

VIG_PERCENT = 5
VIG_EXACT, VIG_DOWN, VIG_NEAREST, VIG_UP = range(4)
"""What becomes of a vig that is no whole number of chips; exact: such a stake is refused."""
VIG_MINIMUM_MAX = 100
_ODDS_ROW = {3: 0, 2: 1, 1: 2, 4: 3, 5: 4}
"""Place in `CrapsParams.odds` by distance from 7."""


class CrapsParams(Record, frozen=True):
    """The rules a table plays by where the house may choose."""

    crapless: Flag = 0
    """1: pass wins on 7 only, and 2, 3, 11 and 12 are points."""
    bar: Number = 12
    """The come-out craps on which don't pass and don't come push: 2 or 12."""
    field_2: Pay = 2
    field_12: Pay = 2
    """What the field pays on 2 and on 12, to 1."""
    odds: tuple[Multiple, Multiple, Multiple, Multiple, Multiple] = (3, 4, 5, 2, 1)
    """Most odds as a multiple of the flat bet on 4|10, 5|9, 6|8, 3|11, 2|12 (R18)."""
    odds_round_up: Flag = 0
    """1: odds may pass the limit up to the next stake that pays exactly (R10)."""
    vig_on_win: Flag = 0
    """1: buy and lay pay their vig when they win, not up front."""
    vig_rounding: Annotated[int, msgspec.Meta(ge=VIG_EXACT, le=VIG_UP)] = VIG_DOWN
    """A vig of part of a chip: 0 the stake is refused, 1 down, 2 to the nearest, 3 up (R22)."""
    vig_minimum: Annotated[int, msgspec.Meta(ge=0, le=VIG_MINIMUM_MAX)] = 1
    """Least vig of a bet, in chips."""
    buy_numbers: tuple[Number, ...] = POINTS
    lay_numbers: tuple[Number, ...] = POINTS
    """Where a buy or lay bet may be made."""
    put_numbers: tuple[Number, ...] = (5, 6, 8, 9)
    """Where a put bet may be made, which is also how a pass bet is raised once it has its point
    (R11, R24); on 4 and 10 it would cost a third of the stake."""
    place_lose: Flag = 1
    """1: place to lose is taken (R24)."""
    hard_off_come_out: Flag = 0
    """1: hardways are off on the come-out unless called on (R25)."""
    lay_off_come_out: Flag = 0
    """1: lay and place to lose are off on the come-out unless called on (R22)."""
    big_as_place: Flag = 0
    """1: big 6 and 8 are off on the come-out, may be called, and stay up when they win."""
    small_tall_pay: Pay = 34
    """What small and tall pay to 1."""
    all_pay: Pay = 175
    """What all pays to 1."""
    new_shooter_only: Flag = 0
    """1: bets on what falls before a seven are made before a new shooter's first roll only."""
    closed: tuple[Annotated[int, msgspec.Meta(ge=0, le=255)], ...] = ()
    """Kinds of bets that this table does not take."""
    line: Limits = Limits(1, 10_000)
    """Least and greatest stake of pass, don't pass, come, don't come and put (R10)."""
    number: Limits = Limits(1, 10_000)
    """Of place, place to lose, buy, lay, big, yes and no."""
    field: Limits = Limits(1, 10_000)
    """Of the field."""
    centre: Limits = Limits(1, 1_000)
    """Of hardways, any seven, any craps, horn numbers, hops and next."""
    feature: Limits = Limits(1, 100)
    """Of all bets on more than one number or hand (R28)."""
    prize_most: Chips = 100_000
    """Most that one feature bet may win."""
    allow_unsound: Flag = 0
    """1: bets that pay the player, or cost more than 25 %, are taken all the same."""

    @property
    def points(self) -> tuple[int, ...]:
        """The numbers that a come-out roll can make the point."""
        return CRAPLESS_POINTS if self.crapless else POINTS

    def limits(self, limit_class: LimitClass) -> Limits:
        """Return the limits of a class of bets."""
        return (self.line, self.number, self.field, self.centre, self.feature)[limit_class]

    def odds_multiple(self, number: int) -> int:
        """Return how many times the flat bet the odds on a number may be."""
        return self.odds[_ODDS_ROW[abs(7 - number)]]

    def takes(self, key: BetKey) -> bool:
        """Say whether a bet can stand on this table at all, ever."""
        kind, number = Kind(key.kind), key.number
        if kind in self.closed or FLAT_OF.get(kind) in self.closed:
            return False
        match kind:
            case Kind.DONT_PASS | Kind.DONT_PASS_ODDS | Kind.DONT_COME | Kind.DONT_COME_ODDS:
                return not self.crapless
            case Kind.FIRE | Kind.RIDE_LINE | Kind.REPLAY | Kind.MUGGSY:
                # Their pays are for six points and for 11 and craps on the come-out.
                return not self.crapless
            case Kind.COME | Kind.COME_ODDS:
                return number == 0 or number in self.points
            case Kind.PLACE:
                return number in self.points
            case Kind.PLACE_LOSE:
                return bool(self.place_lose)
            case Kind.BUY:
                return number in self.buy_numbers
            case Kind.LAY:
                return number in self.lay_numbers
            case Kind.PUT | Kind.PUT_ODDS:
                return number in self.put_numbers
            case _:
                return True

    def problem(self) -> str | None:
        """Say what is wrong with these options by themselves, or None.

        Whether the pays are sound is for `node.game.odds.problem`, which has to compute it.
        """
        if self.bar not in {2, 12}:
            return f"bar is {self.bar}; don't pass can bar 2 or 12"
        for name, numbers in (
            ("buy_numbers", self.buy_numbers),
            ("lay_numbers", self.lay_numbers),
            ("put_numbers", self.put_numbers),
        ):
            if list(numbers) != sorted(dict.fromkeys(numbers)):
                return f"{name} is {list(numbers)}; numbers ascend and stand once"
            if strange := [n for n in numbers if n not in self.points]:
                return f"{name} has {strange[0]}, which is no point of this game"
        if list(self.closed) != sorted(dict.fromkeys(self.closed)):
            return f"closed is {list(self.closed)}; kinds ascend and stand once"
        if unknown := [kind for kind in self.closed if kind not in KIND_NAMES]:
            return f"closed has {unknown[0]}, which is no kind of bet"
        for limit_class in LimitClass:
            if wrong := self.limits(limit_class).problem(limit_class.name.lower()):
                return wrong
        return None
