"""What bets take in over a whole sweep, held against the exact odds: nobody's cheating may pay.

A bet that rides from throw to throw is decided late or not at all before a run ends, and lost ones
are not those that take longest. So what is counted is not how bets ended but, throw by throw, by how
much a bet was worth more or less than before it: with fair dice that is nothing in the mean, whoever
stops whenever. What it was worth is the exact analyser's (`node.game.odds`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import sqrt

from netsim.rulebook import FIELD, PASS, fate, next_point
from netsim.throws import OUTCOMES, THROWS_MIN
from node.game.craps.board import POINT
from node.game.craps.rules import CrapsRules, load_rules
from node.game.odds import figures_of
from node.game.rules import Bet, BetKey, Offer

UNIT = 990
"""Parts of a chip in which the worth of these bets is a whole number: 495 x 2."""
SIGMAS_MAX = 5
"""Of so many sums with fair dice, one in two million gets there."""
BETS = {"pass line": PASS, "field": FIELD}
"""The bets that are followed: one that rides, and one that is over with the next throw."""
EVERYBODY, HONEST = "all", "honest"
"""The sums of all tables, and of those at which nobody cheats."""
_DICE = tuple((first, second) for first in range(1, 7) for second in range(1, 7))
_STAKE = 10

Sums = dict[str, dict[str, list[int]]]
"""By strategy and then by bet: throws with chips on it, chips put on, gain in parts of a chip, and
36 times its variance; beside the bets `throws`, how often each outcome fell."""


@cache
def _worth(kind: int) -> Mapping[int, int]:
    """Return what a chip on a bet is worth by the point, 0 for none, in parts of a chip."""
    rules = load_rules(b"")
    assert isinstance(rules, CrapsRules), "the usual table"
    boards = {0: rules.opening_board()}
    for outcome in range(len(rules.outcome_weights)):
        board, _ = rules.advance(rules.opening_board(), outcome)
        boards.setdefault(board[POINT], board)
    worth = {}
    for point, board in boards.items():
        offer = Offer("", "", "", board, ((BetKey(kind, 0), Bet(_STAKE, 0)),))
        parts = -figures_of(rules, offer).edge * UNIT
        assert parts.denominator == 1, f"{parts} is no whole number of parts"
        worth[point] = parts.numerator
    return worth


@cache
def gains(kind: int, point: int) -> Sequence[int]:
    """Return by how much each outcome makes a chip on a bet worth more, in parts of a chip."""
    worth = _worth(kind)
    gained = []
    for dice in _DICE:
        end = fate(kind, 0, 0, point, dice)
        after = {"wins": UNIT * end.win // end.per, "loses": -UNIT}.get(end.what)
        if after is None:
            after = worth[next_point(point, sum(dice))[0]]
        gained.append(after - worth[point])
    return tuple(gained)


@cache
def _variance(kind: int, point: int) -> int:
    return sum(gain * gain for gain in gains(kind, point))


def taking(name: str, point: int, dice: tuple[int, int], chips: int) -> list[int]:
    """Return what one throw adds to the sums of a bet on which so many chips lie."""
    kind, outcome = BETS[name], 6 * dice[0] + dice[1] - 7
    fresh = kind == FIELD or not point
    gained = chips * gains(kind, point)[outcome]
    return [1, chips if fresh else 0, gained, chips * chips * _variance(kind, point)]


def combined(parts: Iterable[Mapping[str, Mapping[str, Sequence[int]]]]) -> Sums:
    """Return the sums of all parts together."""
    sums: Sums = {}
    for part in parts:
        for strategy, counts in part.items():
            known = sums.setdefault(strategy, {})
            for name, more in counts.items():
                before = known.get(name, [0] * len(more))
                known[name] = [a + b for a, b in zip(before, more, strict=True)]
    return sums


@dataclass(frozen=True, slots=True)
class Taking:
    """What a bet came to: the edge by the odds and as found, per chip, and how far these differ."""

    throws: int
    chips: int
    odds: float
    found: float
    sigmas: float

    @property
    def is_off(self) -> bool:
        """Whether fair dice do not do this; few throws prove nothing."""
        return self.throws >= THROWS_MIN and abs(self.sigmas) > SIGMAS_MAX


def judge(name: str, sums: Sequence[int]) -> Taking:
    """Return what the sums of a bet say."""
    throws, chips, gain, variance = sums
    odds = _worth(BETS[name])[0] / UNIT
    found = odds + gain / UNIT / chips if chips else odds
    deviation = sqrt(variance / OUTCOMES)
    return Taking(throws, chips, odds, found, gain / deviation if deviation else 0.0)


def alarm_of(sums: Mapping[str, Mapping[str, Sequence[int]]]) -> str:
    """Return which bet takes in what it should not, empty while none is known to."""
    for strategy, counts in sums.items():
        for name in BETS:
            if name in counts and (one := judge(name, counts[name])).is_off:
                return (
                    f"unfair: {name} of {strategy}: {one.chips:,} chips came to {one.found:+.2%} a chip "
                    f"in {one.throws:,} throws, {one.sigmas:+.1f} sigma from the {one.odds:+.2%} "
                    f"of the odds"
                )
    return ""


def table_sums(
    against: Sequence[str], throws: Sequence[int], bets: Mapping[str, Sequence[int]]
) -> Sums:
    """Return what one table adds: to the sums of all, and of each strategy that it was against."""
    counts = {"throws": list(throws), **{name: list(one) for name, one in bets.items()}}
    return combined({name: counts} for name in (EVERYBODY, *(against or (HONEST,))))
