"""The games that a table can play, by the number that an operation names."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from consensus.encoding import encode
from node.game.craps.params import CrapsParams
from node.game.craps.rules import load_rules
from node.game.rules import GameRules

GameFactory: TypeAlias = Callable[[bytes], GameRules | str]
"""Makes rules from their encoded parameters (empty: the usual ones), or says what is wrong."""

CRAPS = 1


def _craps(params: bytes) -> GameRules | str:
    return load_rules(params or encode(CrapsParams()))


GAMES: Mapping[int, GameFactory] = {CRAPS: _craps}


def load_games(
    params: bytes, games: Mapping[int, GameFactory] = GAMES
) -> Mapping[int, GameRules] | str:
    """Return the rules of every game by its number, or why these parameters make none."""
    loaded = {}
    for number, factory in games.items():
        rules = factory(params)
        if isinstance(rules, str):
            return rules
        loaded[number] = rules
    return loaded
