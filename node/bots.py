"""Bots with a betting style each, written on what any client has: a view in, typed lines out.

A style says what it would bet now; `next_lines` adds the manners that keep a table moving: sit
down, bet once for each roll, say so, and throw when it is one's turn.
"""

from collections.abc import Callable, Mapping

from node.view import TableView

Style = Callable[[TableView], tuple[str, ...]]


def bet_pass(view: TableView) -> tuple[str, ...]:
    """Pass line on the come-out, then 20 odds: exact on every point within 3-4-5 times 10."""
    if not view.point:
        return _unless_up(view, "pass 10")
    return _unless_up(view, "odds 20") if _is_up(view, "pass") else ()


def bet_place(view: TableView) -> tuple[str, ...]:
    """Six and eight once a point is on; a pass bet only to throw when the dice come round (R2)."""
    if not view.point:
        return _to_shoot(view)
    return tuple(line for n in (6, 8) for line in _unless_up(view, f"place {n} 12"))


def bet_dont(view: TableView) -> tuple[str, ...]:
    """Don't pass, then a lay that its point pays exactly: 1:2, 2:3 or 5:6 (R18)."""
    if not view.point:
        return _unless_up(view, "dont 10")
    lay = {4: 20, 10: 20, 5: 30, 9: 30, 6: 24, 8: 24}[view.point]
    return _unless_up(view, f"lay {lay}") if _is_up(view, "dont") else ()


def bet_field(view: TableView) -> tuple[str, ...]:
    """Field on every roll, and the hard six and eight for as long as they stand."""
    hard = (line for n in (6, 8) for line in _unless_up(view, f"hard {n} 5"))
    return (*_to_shoot(view), *_unless_up(view, "field 5"), *hard)


STYLES: Mapping[str, Style] = {
    "pass": bet_pass,
    "place": bet_place,
    "dont": bet_dont,
    "field": bet_field,
}


def next_lines(
    style: str, view: TableView, bet_for: int, *, patient: bool = True
) -> tuple[str, ...]:
    """Return what a bot of this style types now; nothing while it has to wait.

    `bet_for` is the number of settled rolls when the bot last bet: it bets once between two rolls,
    whatever became of those bets, so a refused bet is never asked for again and again. A `patient`
    shooter throws when all are ready, one that is not tries to throw anyway.
    """
    if view.session < 0 or not view.own.seated:
        return ("sit",)
    if not view.betting:
        return ()
    if bet_for < view.rolls:
        return (*STYLES[style](view), "ready")
    if view.shooter != view.me:
        return ()
    all_ready = all(player.ready for player in view.players if player.seated)
    return ("roll",) if all_ready or not patient else ()


def _is_up(view: TableView, name: str) -> bool:
    return any(bet.name == name for bet in view.own.bets)


def _unless_up(view: TableView, line: str) -> tuple[str, ...]:
    return () if _is_up(view, line.rpartition(" ")[0]) else (line,)


def _to_shoot(view: TableView) -> tuple[str, ...]:
    return _unless_up(view, "pass 10") if view.shooter == view.me and not view.point else ()
