"""Ways to bet, for bots, simulations and testers, written on what any client has.

A strategy is made once for a sitting and then looks at a view before each roll: it returns what it
would do now, as lines that a player could type or as operations. It is asked once for every roll,
or again for the same one if what it wanted came to nothing, so it must not count how often.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from node.game.games import CRAPS, SICBO
from node.game.rules import GameRules
from node.strategies import chance, craps, sicbo
from node.strategies.moves import Strategy

Maker = Callable[[GameRules, int], Strategy]
"""Makes a strategy for a sitting under these rules; the seed is for those that guess."""


@dataclass(frozen=True, slots=True)
class Style:
    """A strategy with what to expect of it, in a few words."""

    about: str
    make: Maker


def _always(strategy: Strategy) -> Maker:
    return lambda _rules, _seed: strategy


_ANY_GAME: Mapping[str, Style] = {
    "random": Style("bets, takes down and calls whatever the rules allow", chance.Legal),
    "illegal": Style("asks for what must be refused; a tester", chance.Illegal),
}
STRATEGIES: Mapping[int, Mapping[str, Style]] = {
    CRAPS: {
        "pass": Style("pass line with double odds", _always(craps.bet_pass)),
        "place": Style("place 6 and 8 while a point is on", _always(craps.bet_place)),
        "dont": Style("don't pass with laid odds", _always(craps.bet_dont)),
        "field": Style("field on every roll, and hard 6 and 8", _always(craps.bet_field)),
        "come": Style("pass, then come on every roll, odds behind all", _always(craps.bet_come)),
        "cross": Style("iron cross: field and place 5, 6, 8", _always(craps.bet_cross)),
        "hedge": Style("pass line, with any craps against its craps", _always(craps.bet_hedge)),
        "martingale": Style(
            "pass line, doubled after each loss", lambda _rules, _seed: craps.Martingale()
        ),
        **_ANY_GAME,
    },
    SICBO: {
        "small": Style("small on every roll", _always(sicbo.bet_small)),
        "numbers": Style("three single numbers and a pair of them", _always(sicbo.bet_numbers)),
        "totals": Style("the totals in the middle", _always(sicbo.bet_totals)),
        "triples": Style("big, with any triple against it", _always(sicbo.bet_triples)),
        "martingale": Style(
            "big, doubled after each loss", lambda _rules, _seed: sicbo.double_big()
        ),
        **_ANY_GAME,
    },
}
"""By the game's number and the name of the strategy; the first four are the demo's."""

LINES_TO_THROW: Mapping[int, str] = {CRAPS: craps.TO_THROW, SICBO: sicbo.TO_THROW}
"""What somebody bets in each game who only wants to throw the dice."""
