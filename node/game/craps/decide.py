"""What a roll does to a bet: the one place that decides, for settlement, exposure and analysis.

Every bet is judged against the puck as it stood before the roll (R8).
"""

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple

from node.game.craps import pays
from node.game.craps.bets import (
    CRAPS_NUMBERS,
    FLAT_OF,
    HARD_NUMBERS,
    SMALL_NUMBERS,
    TALL_NUMBERS,
    Kind,
)
from node.game.craps.board import (
    POINT,
    ROLLS,
    WINS,
    all_seen,
    different_doubles,
    different_points,
    times_made,
    times_seen,
)
from node.game.craps.params import CrapsParams
from node.game.rules import BetKey, Board, Odds

_ALL_NUMBERS = (*SMALL_NUMBERS, *TALL_NUMBERS)


class Effect(Enum):
    """What can happen to a bet."""

    NOTHING = "nothing"
    LOSE = "lose"
    WIN = "win"
    """Paid, and the stake comes back."""
    WIN_AND_STAY = "win and stay"
    """Paid, and the stake stays up (R21, R25)."""
    RETURN = "return"
    """A push, or odds whose flat bet was decided while they were off."""
    MOVE = "move"
    """To another number, undecided."""


class Verdict(NamedTuple):
    """An effect, with what a win pays, and where a bet moves to."""

    effect: Effect
    odds: Odds = Odds(0, 1)
    number: int = 0


class Throw(NamedTuple):
    """One roll as a bet sees it: the boards around it, the dice, lower one first."""

    before: Board
    after: Board
    low: int
    high: int

    @property
    def total(self) -> int:
        """The sum of the dice."""
        return self.low + self.high

    @property
    def point(self) -> int:
        """The puck before the roll."""
        return self.before[POINT]

    @property
    def is_hard(self) -> bool:
        """Whether a hardway fell."""
        return self.low == self.high and self.total in HARD_NUMBERS

    @property
    def is_seven_out(self) -> bool:
        """Whether the roll ends the hand (R4)."""
        return self.total == 7 and self.point != 0


NOTHING = Verdict(Effect.NOTHING)
LOSE = Verdict(Effect.LOSE)
RETURN = Verdict(Effect.RETURN)


def _win(odds: Odds) -> Verdict:
    return Verdict(Effect.WIN, odds)


def is_callable(params: CrapsParams, kind: int) -> bool:
    """Say whether a player may call the bet on or off (R17, R19, R21, R22, R25)."""
    if kind == Kind.BIG:
        return bool(params.big_as_place)
    return kind in FLAT_OF or kind in _NUMBER_KINDS


_NUMBER_KINDS = (Kind.PLACE, Kind.PLACE_LOSE, Kind.BUY, Kind.LAY, Kind.HARD)


def is_working(params: CrapsParams, board: Board, kind: int, called: int) -> bool:
    """Say whether a bet is on for the next roll; `called` is 0 as the rules say, 1 on, 2 off."""
    if called:
        return called == 1
    if board[POINT]:
        return True
    match kind:
        case Kind.PLACE | Kind.BUY | Kind.COME_ODDS | Kind.PUT_ODDS:
            return False
        case Kind.PLACE_LOSE | Kind.LAY:
            return not params.lay_off_come_out
        case Kind.HARD:
            return not params.hard_off_come_out
        case Kind.BIG:
            return not params.big_as_place
        case _:
            return True


def decide(params: CrapsParams, key: BetKey, called: int, throw: Throw) -> Verdict:
    """Return what a throw does to a bet."""
    kind, total = Kind(key.kind), throw.total
    on_the_puck = kind in {Kind.PASS, Kind.DONT_PASS, Kind.PASS_ODDS, Kind.DONT_PASS_ODDS}
    number = throw.point if on_the_puck else key.number
    on = is_working(params, throw.before, kind, called)
    match kind:
        case Kind.PASS | Kind.COME if number == 0:
            return _come(params, kind, total)
        case Kind.DONT_PASS | Kind.DONT_COME if number == 0:
            return _dont_come(params, kind, total)
        case Kind.PASS | Kind.COME | Kind.PUT:
            return _number_first(number, total, pays.EVEN)
        case Kind.DONT_PASS | Kind.DONT_COME:
            return _seven_first(number, total, pays.EVEN)
        case Kind.PASS_ODDS | Kind.COME_ODDS | Kind.PUT_ODDS:
            verdict = _number_first(number, total, pays.TRUE_ODDS[number])
            return verdict if on or verdict is NOTHING else RETURN
        case Kind.DONT_PASS_ODDS | Kind.DONT_COME_ODDS:
            verdict = _seven_first(number, total, pays.LAY_ODDS[number])
            return verdict if on or verdict is NOTHING else RETURN
        case Kind.PLACE | Kind.PLACE_LOSE | Kind.BUY | Kind.LAY | Kind.BIG | Kind.HARD if not on:
            return NOTHING
        case Kind.PLACE:
            return _staying(_number_first(number, total, pays.PLACE[number]))
        case Kind.BUY:
            return _staying(_number_first(number, total, pays.TRUE_ODDS[number]))
        case Kind.PLACE_LOSE:
            return _seven_first(number, total, pays.PLACE_LOSE[number])
        case Kind.LAY:
            return _seven_first(number, total, pays.LAY_ODDS[number])
        case Kind.BIG:
            verdict = _number_first(number, total, pays.EVEN)
            return _staying(verdict) if params.big_as_place else verdict
        case Kind.YES:
            return _number_first(number, total, pays.YES[number])
        case Kind.NO:
            return _seven_first(number, total, pays.NO[number])
        case Kind.HARD:
            if total == number and not throw.is_hard:
                return LOSE
            return _staying(_number_first(number, total, pays.HARD[number]))
        case Kind.FIELD | Kind.ANY_SEVEN | Kind.ANY_CRAPS | Kind.HORN | Kind.HOP | Kind.NEXT:
            odds = _one_roll(params, kind, number, throw)
            return LOSE if odds is None else _win(odds)
        case Kind.SMALL | Kind.TALL | Kind.ALL | Kind.REPEAT | Kind.HOT_ROLLER | Kind.DOUBLES:
            return _until_seven(params, kind, number, throw)
        case Kind.FIRE | Kind.RIDE_LINE | Kind.REPLAY:
            return _until_seven_out(kind, throw)
        case Kind.MUGGSY:
            return _muggsy(throw)
        case Kind.TWICE_HARD:
            return _twice_hard(number, throw)


def _number_first(number: int, total: int, odds: Odds) -> Verdict:
    if total == number:
        return _win(odds)
    return LOSE if total == 7 else NOTHING


def _seven_first(number: int, total: int, odds: Odds) -> Verdict:
    if total == 7:
        return _win(odds)
    return LOSE if total == number else NOTHING


def _staying(verdict: Verdict) -> Verdict:
    return verdict._replace(effect=Effect.WIN_AND_STAY) if verdict.effect is Effect.WIN else verdict


def _moved(kind: Kind, total: int) -> Verdict:
    """Return what a number does to a line bet without one: the puck or the chips mark it."""
    # Pass and don't pass stay where they are, for the puck has their number.
    return NOTHING if kind in {Kind.PASS, Kind.DONT_PASS} else Verdict(Effect.MOVE, number=total)


def _come(params: CrapsParams, kind: Kind, total: int) -> Verdict:
    """Pass on a come-out, come in its box (R3, R13); crapless has neither 11 nor craps."""
    if total in params.points:
        return _moved(kind, total)
    return LOSE if total in CRAPS_NUMBERS else _win(pays.EVEN)


def _dont_come(params: CrapsParams, kind: Kind, total: int) -> Verdict:
    """Don't pass on a come-out, don't come in its box (R12, R15)."""
    if total in params.points:
        return _moved(kind, total)
    if total == params.bar:
        return RETURN
    return _win(pays.EVEN) if total in CRAPS_NUMBERS else LOSE


def _one_roll(params: CrapsParams, kind: Kind, number: int, throw: Throw) -> Odds | None:
    """Return what a one-roll bet wins, or None (R9, R26)."""
    total = throw.total
    wins, odds = False, pays.EVEN
    match kind:
        case Kind.FIELD:
            if total in pays.FIELD_EVEN:
                return pays.EVEN
            return {2: Odds(params.field_2, 1), 12: Odds(params.field_12, 1)}.get(total)
        case Kind.ANY_SEVEN:
            wins, odds = total == 7, pays.ANY_SEVEN
        case Kind.ANY_CRAPS:
            wins, odds = total in CRAPS_NUMBERS, pays.ANY_CRAPS
        case Kind.HORN:
            wins, odds = total == number, pays.HORN[number]
        case Kind.HOP:
            hard = throw.low == throw.high
            wins = number == throw.low * 10 + throw.high
            odds = pays.HOP_HARD if hard else pays.HOP_EASY
        case _:
            wins, odds = total == number, pays.NEXT[number]
    return odds if wins else None


def _until_seven(params: CrapsParams, kind: Kind, number: int, throw: Throw) -> Verdict:
    """Bets on what falls before any seven, come-out or not (R28)."""
    if throw.total == 7:
        odds = None
        if kind == Kind.HOT_ROLLER:
            odds = pays.reached(pays.HOT_ROLLER, throw.before[ROLLS])
        elif kind == Kind.DOUBLES:
            odds = pays.reached(pays.DOUBLES, different_doubles(throw.before))
        return LOSE if odds is None else _win(odds)
    done, odds = False, Odds(params.small_tall_pay, 1)
    match kind:
        case Kind.SMALL:
            done = all_seen(throw.after, SMALL_NUMBERS)
        case Kind.TALL:
            done = all_seen(throw.after, TALL_NUMBERS)
        case Kind.ALL:
            done, odds = all_seen(throw.after, _ALL_NUMBERS), Odds(params.all_pay, 1)
        case Kind.REPEAT:
            done = times_seen(throw.after, number) == pays.REPEAT_TIMES[number]
            odds = pays.REPEAT[number]
        case _:
            pass
    return _win(odds) if done else NOTHING


def _until_seven_out(kind: Kind, throw: Throw) -> Verdict:
    """Bets on what a shooter's hand brings (R28)."""
    if throw.is_seven_out:
        odds = None
        if kind == Kind.FIRE:
            odds = pays.reached(pays.FIRE, different_points(throw.before))
        elif kind == Kind.RIDE_LINE:
            odds = pays.reached(pays.RIDE_LINE, throw.before[WINS])
        return LOSE if odds is None else _win(odds)
    # Only the roll that makes the point for the last time finds the bet still up.
    made = times_made(throw.after, throw.point)
    return _win(pays.REPLAY) if kind == Kind.REPLAY and made == pays.REPLAY_TIMES else NOTHING


def _muggsy(throw: Throw) -> Verdict:
    """Seven on the come-out, or a point and then seven at once."""
    if throw.point:
        return _win(pays.MUGGSY_POINT) if throw.total == 7 else LOSE
    if throw.total == 7:
        return _win(pays.MUGGSY_COME_OUT)
    return NOTHING if throw.after[POINT] else LOSE


def _twice_hard(number: int, throw: Throw) -> Verdict:
    """Two hardways running; `number` is the first one, 0 before it."""
    if not throw.is_hard:
        return LOSE
    if not number:
        return Verdict(Effect.MOVE, number=throw.total)
    return _win(pays.TWICE_HARD_SAME if throw.total == number else pays.TWICE_HARD_OTHER)


def prizes(params: CrapsParams, key: BetKey, point: int) -> tuple[tuple[str, Odds], ...]:
    """Return all that a bet can win from now on, each with what has to happen (may be empty text).

    Odds behind a line bet are on the point, which their key does not name.
    """
    kind, number = Kind(key.kind), key.number or point
    match kind:
        case Kind.PASS | Kind.COME | Kind.PUT | Kind.DONT_PASS | Kind.DONT_COME | Kind.BIG:
            return (("", pays.EVEN),)
        case Kind.PASS_ODDS | Kind.COME_ODDS | Kind.PUT_ODDS | Kind.BUY:
            return (("", pays.TRUE_ODDS[number]),)
        case Kind.DONT_PASS_ODDS | Kind.DONT_COME_ODDS | Kind.LAY:
            return (("", pays.LAY_ODDS[number]),)
        case Kind.FIELD:
            even = ",".join(map(str, pays.FIELD_EVEN))
            two, twelve = Odds(params.field_2, 1), Odds(params.field_12, 1)
            return ((f"on {even}", pays.EVEN), ("on 2", two), ("on 12", twelve))
        case Kind.ANY_SEVEN:
            return (("", pays.ANY_SEVEN),)
        case Kind.ANY_CRAPS:
            return (("", pays.ANY_CRAPS),)
        case Kind.HOP:
            return (("", pays.HOP_HARD if number % 11 == 0 else pays.HOP_EASY),)
        case Kind.SMALL | Kind.TALL:
            return (("", Odds(params.small_tall_pay, 1)),)
        case Kind.ALL:
            return (("", Odds(params.all_pay, 1)),)
        case Kind.FIRE | Kind.HOT_ROLLER | Kind.RIDE_LINE | Kind.DOUBLES:
            table = _TABLES[kind]
            return tuple((f"for {least}", odds) for least, odds in table.items())
        case Kind.MUGGSY:
            later = ("on point-seven", pays.MUGGSY_POINT)
            return (later,) if point else (("on seven", pays.MUGGSY_COME_OUT), later)
        case Kind.TWICE_HARD:
            return (("the same", pays.TWICE_HARD_SAME), ("different", pays.TWICE_HARD_OTHER))
        case Kind.REPLAY:
            return (("", pays.REPLAY),)
        case _:
            return (("", _BY_NUMBER[kind][number]),)


_BY_NUMBER: Mapping[int, Mapping[int, Odds]] = MappingProxyType(
    {
        Kind.PLACE: pays.PLACE,
        Kind.PLACE_LOSE: pays.PLACE_LOSE,
        Kind.HARD: pays.HARD,
        Kind.HORN: pays.HORN,
        Kind.NEXT: pays.NEXT,
        Kind.YES: pays.YES,
        Kind.NO: pays.NO,
        Kind.REPEAT: pays.REPEAT,
    }
)
_TABLES: Mapping[int, Mapping[int, Odds]] = MappingProxyType(
    {
        Kind.FIRE: pays.FIRE,
        Kind.HOT_ROLLER: pays.HOT_ROLLER,
        Kind.RIDE_LINE: pays.RIDE_LINE,
        Kind.DOUBLES: pays.DOUBLES,
    }
)
