"""The public board of craps: the puck, and what has happened that a bet may still ask for.

The board counts; no bet remembers anything. Each bet that looks at a count can be made only while
that count is zero (a new hand, or the roll after a seven), so the board's count is the bet's. All
counts stop where the last bet stops looking, so that there are finitely many boards.
"""

from node.game.craps.bets import CRAPLESS_POINTS, POINTS, SMALL_NUMBERS, TALL_NUMBERS, Kind
from node.game.craps.dice import PAIRS, SUMS
from node.game.craps.pays import HOT_ROLLER, REPEAT_TIMES, REPLAY_TIMES, RIDE_LINE
from node.game.dice import SIDES
from node.game.rules import BetKey, Board

POINT = 0
"""The number under the puck; 0: the puck is off (R1)."""
OLD = 1
"""1 once the hand has rolled: a new shooter's first come-out is over (R28)."""
WINS = 2
"""Pass line wins in the hand."""
MADE = slice(3, 9)
"""How often 4, 5, 6, 8, 9 and 10 were made as points in the hand."""
ROLLS = 9
"""Rolls since the last seven."""
DOUBLES = 10
"""Doubles since the last seven: bit n-1 stands for n-n."""
SEEN = slice(11, 21)
"""How often each number but seven fell since the last seven."""
SIZE = 21

OPENING: Board = (0,) * SIZE
_WINS_MAX = max(RIDE_LINE)
_ROLLS_MAX = max(HOT_ROLLER)
_MOST = (
    *(0, 0, _WINS_MAX),
    *[REPLAY_TIMES] * len(POINTS),
    *(_ROLLS_MAX, 0),
    *(REPEAT_TIMES[number] for number in CRAPLESS_POINTS),
)
"""Where each count of the board stops; 0 for what is no count."""
_DOUBLE = tuple(1 << low - 1 if low == high else 0 for low, high in PAIRS)
"""The bit of each outcome in `DOUBLES`."""
_AFTER_SEVEN = (0,) * (SIZE - ROLLS)
_MADE_AT = {number: index for index, number in enumerate(POINTS)}
_SEEN_AT = {number: index for index, number in enumerate(CRAPLESS_POINTS)}


def advance(board: Board, outcome: int, points: tuple[int, ...]) -> tuple[Board, bool]:
    """Return the board after an outcome, and whether it was a seven-out (R3, R4).

    `points` are the numbers that a come-out roll can make the point.
    """
    point, total = board[POINT], SUMS[outcome]
    if total == 7:
        if point:
            return OPENING, True
        return (0, 1, min(board[WINS] + 1, _WINS_MAX), *board[MADE], *_AFTER_SEVEN), False
    after = list(board)
    after[OLD] = 1
    if point == total:
        after[POINT] = 0
        _count(after, WINS)
        if total in _MADE_AT:
            _count(after, MADE.start + _MADE_AT[total])
    elif not point:
        if total in points:
            after[POINT] = total
        elif total == 11:
            _count(after, WINS)
    _count(after, ROLLS)
    _count(after, SEEN.start + _SEEN_AT[total])
    after[DOUBLES] |= _DOUBLE[outcome]
    return tuple(after), False


def _count(board: list[int], place: int) -> None:
    if board[place] < _MOST[place]:
        board[place] += 1


def times_made(board: Board, number: int) -> int:
    """Return how often a number was made as the point in this hand."""
    return board[MADE][_MADE_AT[number]] if number in _MADE_AT else 0


def different_points(board: Board) -> int:
    """Return how many different points were made in this hand."""
    return sum(map(bool, board[MADE]))


def times_seen(board: Board, number: int) -> int:
    """Return how often a number fell since the last seven."""
    return board[SEEN][_SEEN_AT[number]]


def all_seen(board: Board, numbers: tuple[int, ...]) -> bool:
    """Say whether every one of the numbers fell since the last seven."""
    return all(times_seen(board, number) for number in numbers)


def different_doubles(board: Board) -> int:
    """Return how many different doubles fell since the last seven."""
    return board[DOUBLES].bit_count()


def sight(key: BetKey) -> Board:
    """Return how far a bet sees each count of the board (0: not at all).

    Two boards that look the same to a bet treat it the same, now and after any roll.
    """
    caps = [0] * SIZE
    caps[POINT] = max(CRAPLESS_POINTS)
    match key.kind:
        case Kind.FIRE:
            caps[MADE] = [1] * len(POINTS)
        case Kind.REPLAY:
            caps[MADE] = [REPLAY_TIMES] * len(POINTS)
        case Kind.RIDE_LINE:
            caps[WINS] = _WINS_MAX
        case Kind.HOT_ROLLER:
            caps[POINT] = 0
            caps[ROLLS] = _ROLLS_MAX
        case Kind.DOUBLES:
            caps[POINT] = 0
            caps[DOUBLES] = 2**SIDES - 1
        case Kind.REPEAT:
            caps[POINT] = 0
            caps[SEEN.start + _SEEN_AT[key.number]] = REPEAT_TIMES[key.number]
        case Kind.SMALL | Kind.TALL | Kind.ALL:
            caps[POINT] = 0
            for number in (*SMALL_NUMBERS, *TALL_NUMBERS):
                if key.kind == Kind.ALL or (number < 7) == (key.kind == Kind.SMALL):
                    caps[SEEN.start + _SEEN_AT[number]] = 1
        case _:
            pass
    return tuple(caps)


def seen_through(board: Board, caps: Board) -> Board:
    """Return the board as a bet with this sight sees it: one board for all that look the same."""
    return tuple(map(min, board, caps))
