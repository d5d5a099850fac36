"""What a throw does to a bet and what that pays, stated again from the rules of craps alone.

Nothing here is the game's own code: whoever changes a pay there has to convince this page too. The
bets are those that simulated players make; kinds are the numbers on the wire.
"""

from typing import NamedTuple

PASS, DONT_PASS, COME, DONT_COME = 1, 2, 3, 4
PASS_ODDS, DONT_PASS_ODDS, COME_ODDS, DONT_COME_ODDS = 5, 6, 7, 8
PLACE, PLACE_LOSE, BUY, LAY, PUT, PUT_ODDS, BIG = 9, 10, 11, 12, 13, 14, 15
FIELD, HARD, ANY_SEVEN, ANY_CRAPS, HORN, HOP = 16, 17, 18, 19, 20, 21

_TRUE = {4: (2, 1), 5: (3, 2), 6: (6, 5), 8: (6, 5), 9: (3, 2), 10: (2, 1)}
_PLACE = {4: (9, 5), 5: (7, 5), 6: (7, 6), 8: (7, 6), 9: (7, 5), 10: (9, 5)}
_PLACE_LOSE = {4: (5, 11), 5: (5, 8), 6: (4, 5), 8: (4, 5), 9: (5, 8), 10: (5, 11)}
_HARD = {4: (7, 1), 6: (9, 1), 8: (9, 1), 10: (7, 1)}
_OFF_ON_COME_OUT = (PLACE, BUY, COME_ODDS, PUT_ODDS)
_CALLABLE = (PASS_ODDS, DONT_PASS_ODDS, COME_ODDS, DONT_COME_ODDS, PUT_ODDS, PLACE, PLACE_LOSE,
             BUY, LAY, HARD)  # fmt: skip
_ODDS_OF = {PASS_ODDS: PASS, DONT_PASS_ODDS: DONT_PASS, COME_ODDS: COME, DONT_COME_ODDS: DONT_COME,
            PUT_ODDS: PUT}  # fmt: skip


class Fate(NamedTuple):
    """What becomes of a bet: `win` : `per` is what it pays to 1; `to` is where it moves."""

    what: str
    win: int = 0
    per: int = 1
    stays: bool = False
    to: int = 0


STAYS, LOSES, PUSHES = Fate("stays"), Fate("loses"), Fate("pushes")


def fate(kind: int, number: int, called: int, point: int, dice: tuple[int, int]) -> Fate:
    """Return what a throw does to a bet. `point` is the one before the throw, 0 on a come-out.

    `called` is 1 for a bet called on, 2 for off, 0 as the rules say.
    """
    total, hard = sum(dice), dice[0] == dice[1]
    on = called == 1 or (not called and (bool(point) or kind not in _OFF_ON_COME_OUT))
    target = point if kind in {PASS, DONT_PASS, PASS_ODDS, DONT_PASS_ODDS} else number
    won = total == target
    if kind in {PASS, COME, DONT_PASS, DONT_COME} and not target:
        return _fresh(kind, total)
    if kind in {FIELD, ANY_SEVEN, ANY_CRAPS, HORN, HOP}:
        return _one_throw(kind, number, total, dice)
    if kind in _CALLABLE and kind not in _ODDS_OF and not on:
        return STAYS
    match kind:
        case k if k in {PASS, COME, PUT, BIG}:
            return _first(won, total == 7, (1, 1))
        case k if k in {DONT_PASS, DONT_COME}:
            return _first(total == 7, won, (1, 1))
        case k if k in {PASS_ODDS, COME_ODDS, PUT_ODDS}:
            decided = _first(won, total == 7, _TRUE[target])
            return decided if on or decided is STAYS else PUSHES
        case k if k in {DONT_PASS_ODDS, DONT_COME_ODDS}:
            win, per = _TRUE[target]
            decided = _first(total == 7, won, (per, win))
            return decided if on or decided is STAYS else PUSHES
        case k if k == PLACE:
            return _first(won, total == 7, _PLACE[number], stays=True)
        case k if k == BUY:
            return _first(won, total == 7, _TRUE[number], stays=True)
        case k if k == HARD:
            return _first(won and hard, total == 7 or won, _HARD[number], stays=True)
        case k if k == PLACE_LOSE:
            return _first(total == 7, won, _PLACE_LOSE[number])
        case k if k == LAY:
            win, per = _TRUE[number]
            return _first(total == 7, won, (per, win))
        case _:
            raise AssertionError(f"no simulated player makes bets of kind {kind}")


def _first(won: bool, lost: bool, odds: tuple[int, int], *, stays: bool = False) -> Fate:
    if won:
        return Fate("wins", *odds, stays=stays)
    return LOSES if lost else STAYS


def _fresh(kind: int, total: int) -> Fate:
    """A line bet, or a come bet in its box: natural, craps, or a number to go for."""
    right = kind in {PASS, COME}
    if total in {7, 11}:
        return Fate("wins", 1, 1) if right else LOSES
    if total in {2, 3, 12}:
        if right:
            return LOSES
        return PUSHES if total == 12 else Fate("wins", 1, 1)
    return Fate("moves", to=total) if kind in {COME, DONT_COME} else STAYS


def _one_throw(kind: int, number: int, total: int, dice: tuple[int, int]) -> Fate:
    pays = 0
    match kind:
        case k if k == FIELD:
            pays = {2: 2, 12: 2, 3: 1, 4: 1, 9: 1, 10: 1, 11: 1}.get(total, 0)
        case k if k == ANY_SEVEN:
            pays = 4 if total == 7 else 0
        case k if k == ANY_CRAPS:
            pays = 7 if total in {2, 3, 12} else 0
        case k if k == HORN and total == number:
            pays = 30 if total in {2, 12} else 15
        case k if k == HOP and (min(dice), max(dice)) == divmod(number, 10):
            pays = 30 if dice[0] == dice[1] else 15
        case _:
            pass
    return Fate("wins", pays, 1) if pays else LOSES


def commission(kind: int, number: int, stake: int) -> int:
    """Return the vig that lies beside a bet: 5 % of a buy's stake or a lay's win, at least 1."""
    if kind not in {BUY, LAY}:
        return 0
    win, per = _TRUE.get(number, (1, 1))
    base = stake if kind == BUY else stake * per // win
    return max(base * 5 // 100, 1)


def next_point(point: int, total: int) -> tuple[int, bool]:
    """Return the point behind a throw, and whether it was a seven-out."""
    if point:
        return (0, total == 7) if total in {point, 7} else (point, False)
    return (total if total in _TRUE else 0), False


def is_legal(kind: int, number: int, stake: int, point: int, flat: int) -> bool:
    """Say whether a bet of `stake` in all may stand; `flat` is what its flat bet holds."""
    match kind:
        case k if k in _ODDS_OF:
            target = number or point
            if not flat or target not in _TRUE:
                return False
            win, per = _TRUE[target]
            laid = k in {DONT_PASS_ODDS, DONT_COME_ODDS}
            most = flat * {4: 3, 10: 3, 5: 4, 9: 4, 6: 5, 8: 5}[target]
            if laid:
                return stake % win == 0 and stake * per // win <= most
            return stake % per == 0 and stake <= most
        case k if k in {PASS, DONT_PASS}:
            return not point or k == PASS  # more on a pass line with its point is refused below
        case k if k in {COME, DONT_COME}:
            return bool(point) and not number
        case k if k == PLACE:
            return stake % _PLACE[number][1] == 0
        case k if k == BUY:
            return stake % _TRUE[number][1] == 0
        case k if k == LAY:
            return stake % _TRUE[number][0] == 0
        case _:
            return True


def is_contract(kind: int, number: int, point: int) -> bool:
    """Say whether a bet has to stay to its decision when its player leaves."""
    return kind == PUT or (kind == PASS and bool(point)) or (kind == COME and bool(number))


def odds_behind(kind: int) -> int | None:
    """Return the kind of odds that stand behind a flat bet."""
    return next((odds for odds, flat in _ODDS_OF.items() if flat == kind), None)


def flat_of(kind: int) -> int | None:
    """Return the kind of flat bet that odds stand behind."""
    return _ODDS_OF.get(kind)
