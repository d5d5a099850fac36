"""The games that a table can play, by the number that an operation names.

A table plays one game, in as many sessions as its terms allow. Which one, and under which options,
stands in `GameParams.rules`: nothing for the usual table of the first game, else number and options.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, TypeAlias

import msgspec

from consensus.encoding import DecodeError, Record, decode_as, encode
from node.game.craps.params import CrapsParams
from node.game.craps.rules import GAME_NAME as CRAPS_NAME, load_rules as load_craps
from node.game.options import parse_options
from node.game.rules import GameRules
from node.game.sicbo.params import SicboParams
from node.game.sicbo.rules import GAME_NAME as SICBO_NAME, load_rules as load_sicbo

GameFactory: TypeAlias = Callable[[bytes], GameRules | str]
"""Makes rules from their encoded options (empty: the usual ones), or says what is wrong."""

CRAPS = 1
SICBO = 2

GAMES: Mapping[int, GameFactory] = {CRAPS: load_craps, SICBO: load_sicbo}
OPTIONS: Mapping[int, type[Record]] = {CRAPS: CrapsParams, SICBO: SicboParams}
NUMBERS: Mapping[str, int] = {CRAPS_NAME: CRAPS, SICBO_NAME: SICBO}
"""The number of each game by its name."""


class Choice(Record, frozen=True):
    """A table's game, and its encoded options (empty: the usual ones)."""

    game: Annotated[int, msgspec.Meta(ge=1, le=255)]
    options: bytes = b""


def encode_choice(game: int, options: Record | None = None) -> bytes:
    """Return `GameParams.rules` of a table that plays this game, under options or the usual ones."""
    usual = options is None or options == type(options)()
    choice = Choice(game, b"" if usual else encode(options))
    return b"" if choice == Choice(CRAPS) else encode(choice)


def choice_of(rules: bytes, games: Mapping[int, GameFactory] = GAMES) -> Choice | str:
    """Return the game that `GameParams.rules` name, or what is wrong with them."""
    first = next(iter(games))
    if not rules:
        return Choice(first)
    try:
        choice = decode_as(rules, Choice)
    except DecodeError as error:
        return f"the table's game: {error}"
    if choice.game not in games:
        return f"this version knows no game number {choice.game}"
    if choice == Choice(first):
        return "the table's game: the usual one is named, so that two texts would mean one table"
    return choice


def load_games(
    rules: bytes, games: Mapping[int, GameFactory] = GAMES
) -> Mapping[int, GameRules] | str:
    """Return the rules of the table's game under its number, or why these bytes make none."""
    choice = choice_of(rules, games)
    if isinstance(choice, str):
        return choice
    found = games[choice.game](choice.options)
    if isinstance(found, str):
        return found
    if choice.options and found.options == type(found.options)():
        return "the table's game: usual options are given, so that two texts would mean one table"
    return {choice.game: found}


def rules_of_table(rules: bytes) -> GameRules | str:
    """Return the rules of the table's one game, or why these bytes make none."""
    loaded = load_games(rules)
    return loaded if isinstance(loaded, str) else next(iter(loaded.values()))


def named_options(game: int, named: Mapping[str, object]) -> Record | str:
    """Return a game's options of these names (the rest as usual), or what is wrong with one."""
    name = next(name for name, number in NUMBERS.items() if number == game)
    return parse_options(OPTIONS[game], name, named)
