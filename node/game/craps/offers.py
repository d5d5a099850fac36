"""The bets of a table as the analyser takes them up: where each begins, and what it can see."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Protocol

from node.game.craps import words
from node.game.craps.bets import ALL_KEYS, Kind, bet_key
from node.game.craps.board import MADE, OPENING, POINT, SEEN, SIZE, seen_through, sight
from node.game.craps.params import CrapsParams
from node.game.craps.vig import VIG_KINDS, exact_vig_unit
from node.game.rules import Bet, BetKey, Bets, Board, Exposure, Offer, Refusal

_BOXED = (Kind.COME, Kind.DONT_COME, Kind.TWICE_HARD)
"""Kinds whose bets are made without a number and move to one."""
_SAME_ODDS = (Kind.COME_ODDS, Kind.DONT_COME_ODDS, Kind.PUT_ODDS)
"""Odds that have their row as the odds on the puck, which pay the same."""
_TWINS = {Kind.PASS_ODDS: Kind.COME_ODDS, Kind.DONT_PASS_ODDS: Kind.DONT_COME_ODDS}
_FOLDED = (Kind.FIRE, Kind.REPLAY, Kind.ALL)
"""Kinds to which 4 and 10 are as good as 10 and 4, and so on: they only count different ones."""


class _Rules(Protocol):
    """What is asked of the rules here."""

    @property
    def params(self) -> CrapsParams: ...

    def vig(self, key: BetKey, stake: int) -> int: ...

    def exposure(self, board: Board, key: BetKey, working: int) -> Exposure: ...

    def check_working(
        self, board: Board, bets: Bets, key: BetKey, working: int
    ) -> Refusal | None: ...


def offers(rules: _Rules) -> Iterator[Offer]:
    """Yield every bet that a table takes, called on where it may be, and words for several."""
    params = rules.params
    for key, kind in ALL_KEYS.items():
        if not params.takes(key) or (key.number and kind in _BOXED) or kind in _SAME_ODDS:
            continue
        for board, name in _starts(params, key):
            bet = _least_bet(rules, board, key)
            pays = words.pays_text(params, key, board[POINT])
            yield Offer(name, pays, words.rule_text(key), board, ((key, bet),))
    for name, parts in words.SPLITS.items():
        if name != "hornhigh" and all(params.takes(key) for key in parts):
            bets = tuple((key, Bet(1, 0)) for key in parts)
            yield Offer(name, "as its parts", words.split_text(parts), OPENING, bets)


def _least_bet(rules: _Rules, board: Board, key: BetKey) -> Bet:
    stake = rules.exposure(board, key, 0).unit
    if key.kind in VIG_KINDS:
        stake = exact_vig_unit(key, stake)
    called = 1 if rules.check_working(board, {key: Bet(stake, 0)}, key, 1) is None else 0
    return Bet(stake, 0, called, rules.vig(key, stake))


def _starts(params: CrapsParams, key: BetKey) -> Iterator[tuple[Board, str]]:
    """Yield each board that a bet's row starts on, with the row's name.

    Odds behind a line bet are on the puck, so they have a row for each point, named as the odds on
    a come bet.
    """
    twin = _TWINS.get(ALL_KEYS[key])
    if twin is None:
        yield OPENING, words.bet_name(key)
    else:
        for point in params.points:
            yield (point, 1, *OPENING[2:]), words.bet_name(bet_key(twin, point))


def seen(board: Board, keys: Sequence[BetKey]) -> Board:
    """Return one board for all that look the same to these bets."""
    board = seen_through(board, _sight_of(tuple(keys)))
    kind = keys[0].kind if keys else 0
    if kind in _FOLDED and all(key.kind == kind for key in keys):
        return _folded(board)
    return board


@lru_cache(maxsize=1_024)
def _sight_of(keys: tuple[BetKey, ...]) -> Board:
    return tuple(map(max, *((0,) * SIZE, (0,) * SIZE), *map(sight, keys)))


def _folded(board: Board) -> Board:
    """Return the board with the greater count of each pair of mirrored numbers first.

    A number and its mirror image around 7 are equally likely, so this is the same board to a bet
    that does not ask which is which.
    """
    point, made, marks = board[POINT], list(board[MADE]), list(board[SEEN])
    for low in range(len(made) // 2):
        high, number = len(made) - 1 - low, low + 4
        if made[low] < made[high]:
            made[low], made[high] = made[high], made[low]
            point = 14 - point if point in {number, 14 - number} else point
        elif made[low] == made[high] and point == 14 - number:
            point = number
    for low in range(len(marks) // 2):
        high = len(marks) - 1 - low
        if marks[low] < marks[high]:
            marks[low], marks[high] = marks[high], marks[low]
    return (point, *board[1 : MADE.start], *made, *board[MADE.stop : SEEN.start], *marks)
