"""The terms of a new table as words of `bitcraps host`: game, chips, limits, timers, house rules.

The records of the games say which terms there are; every field of them that makes sense before the
players are known can be set by its name.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from consensus.encoding import DecodeError, Record, convert_as
from node.config import Folder
from node.errors import OperatorError
from node.game import odds
from node.game.games import NUMBERS, OPTIONS, encode_choice, named_options, rules_of_table
from node.game.options import Limits, field_problem
from node.game.params import GameParams, decode_params, encode_params, problem_of_params
from node.game.rules import GameRules

R = TypeVar("R")
C = TypeVar("C", bound=Callable[..., Any])

VALUE_CHARS_MAX = 100
# Set by options of their own, or not to be known before the seats are taken.
_APART = ("version", "buy_in", "bank", "bank_mode", "banker", "rules")
_TABLE_RULES = {
    name: value
    for name, value in msgspec.structs.asdict(GameParams()).items()
    if name not in _APART
}
_GAMES = tuple(NUMBERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the host was told, not yet checked. `house` are the `--rule NAME=VALUE` texts."""

    game: str
    buy_in: int
    bank: int
    house: tuple[str, ...]

    def encoded(self, players: int) -> bytes:
        """Return the encoded `GameParams`; raises `OperatorError` naming the term that is wrong."""
        if self.buy_in < 1:
            raise OperatorError(f"--buy-in {self.buy_in}: 1 at least, or nobody could ever bet")
        named = _named(self.game, self.house)
        table = {name: value for name, value in named.items() if name in _TABLE_RULES}
        rules = house_rules(self.game, self.house)
        choice = encode_choice(NUMBERS[self.game], rules.options)
        params = _game_params(self.buy_in, self.bank, table, choice)
        if problem := problem_of_params(params, players):
            raise OperatorError(problem)
        return encode_params(params)

    def check_sound(self) -> None:
        """Check that no bet pays the player or costs too much; raises `OperatorError`.

        It takes about a second, for every bet's edge is worked out; the usual rules need no check.
        """
        rules = house_rules(self.game, self.house)
        if not is_usual(rules) and (wrong := odds.problem(rules)):
            raise OperatorError(f"house rules: {wrong}")


def problem_of_terms(data: bytes) -> str | None:
    """Say why nobody should sign these encoded `GameParams`, or None; a joiner asks."""
    try:
        rules = rules_of_table(decode_params(data).rules)
    except DecodeError as error:
        return f"they cannot be read: {error}"
    if isinstance(rules, str):
        return rules
    return None if is_usual(rules) else odds.problem(rules)


def is_usual(rules: GameRules) -> bool:
    """Say whether these are a game's usual rules, which the tests hold to be sound."""
    return rules.options == type(rules.options)()


def game_option(command: C) -> C:
    """Add `--game`, the name of a game."""
    return click.option(
        "--game", type=click.Choice(_GAMES), default=_GAMES[0], show_default=True,
        help="The game that the table plays.",
    )(command)  # fmt: skip


def terms_options(command: Callable[..., R]) -> Callable[..., R]:
    """Add the options of a table's terms, which become the parameter `terms`."""

    @wraps(command)
    def with_terms(
        *args: object, game: str, buy_in: int, bank: int, rule: tuple[str, ...], **rest: object
    ) -> R:
        terms = Terms(game=game, buy_in=buy_in, bank=bank, house=rule)
        return command(*args, terms=terms, **rest)

    usual = GameParams()
    listed = "; of ".join(
        (_listed(_TABLE_RULES), *(f"{game}: {_listed(_usual_options(game))}" for game in _GAMES))
    )
    for option in (
        click.option(
            "--rule", multiple=True, metavar="NAME=VALUE",
            help=f"A term of the table or house rule, instead of the usual one: {listed}.",
        ),
        click.option(
            "--bank", type=int, default=usual.bank, show_default=True, metavar="CHIPS",
            help="Chips of the table's bank.",
        ),
        click.option(
            "--buy-in", type=int, default=usual.buy_in, show_default=True, metavar="CHIPS",
            help="Chips that every player starts with.",
        ),
        game_option,
    ):  # fmt: skip
        with_terms = option(with_terms)
    return with_terms


def table_to_read(context: click.Context, folder: Folder, table: Path | None) -> Path | None:
    """Return the table that names game and house rules of a command, None if its options do.

    `table` is what `--table` gave. Where nothing is named, it is the folder's table, if it has one.

    Raises:
        OperatorError: Both a table and a game or rules are named.
    """
    given = click.core.ParameterSource.COMMANDLINE
    named = [name for name in ("game", "rules") if context.get_parameter_source(name) is given]
    if table is not None:
        if named:
            raise OperatorError("--table names game and rules: leave out --game and --rule")
        return table
    return folder.table if not named and folder.table.exists() else None


def describe_terms(params: GameParams, rules: GameRules) -> str:
    """Return the terms as one line: game, chips, and every rule that is not the usual one."""
    unusual = [
        f"{name}={_shown(value)}"
        for usual, record in (
            (_TABLE_RULES, params),
            (msgspec.structs.asdict(type(rules.options)()), rules.options),
        )
        for name, value in msgspec.structs.asdict(record).items()
        if name in usual and value != usual[name]
    ]
    chips = (f"bank {params.bank:,}", f"buy-in {params.buy_in:,}")
    return ", ".join((rules.name, *chips, *unusual))


def _usual_options(game: str) -> dict[str, Any]:
    kind: type[Record] = OPTIONS[NUMBERS[game]]
    return msgspec.structs.asdict(kind())


def _listed(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={_shown(value)}" for name, value in values.items())


def _named(game: str, texts: Sequence[str]) -> dict[str, object]:
    """Return the values of `NAME=VALUE` texts by their names; raises `OperatorError`."""
    usual = _TABLE_RULES | _usual_options(game)
    named: dict[str, object] = {}
    for text in texts:
        name, value = _split_rule(text, usual)
        if name in named:
            raise OperatorError(f"rule {name} is given twice")
        named[name] = value
    return named


def _split_rule(text: str, usual: Mapping[str, object]) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if name not in usual:
        near = difflib.get_close_matches(name, usual, 1)
        hint = f"did you mean {near[0]!r}?" if near else "`bitcraps host --help` lists them"
        raise OperatorError(f"{name[:VALUE_CHARS_MAX]!r} is no rule; {hint}")
    if not equals or len(value) > VALUE_CHARS_MAX:
        raise OperatorError(f"rule {text[:VALUE_CHARS_MAX]!r} is not NAME=VALUE")
    if isinstance(usual[name], Limits):
        least, dash, most = value.partition("-")
        if not (least and dash and most):
            raise OperatorError(f"rule {name}: {value!r} is not LEAST-MOST, such as {name}=1-500")
        return name, [_number(name, least), _number(name, most)]
    if isinstance(usual[name], tuple):
        return name, [_number(name, part) for part in value.split(",") if part]
    return name, _number(name, value)


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 16):
        raise OperatorError(f"rule {name}: {text!r} is not a whole number")
    return int(text)


def house_rules(game: str, texts: Sequence[str]) -> GameRules:
    """Return the rules of a game that `NAME=VALUE` texts ask for; raises `OperatorError`.

    Terms of the table may be among the texts.
    """
    named = _named(game, texts)
    number, own = NUMBERS[game], _usual_options(game)
    options = named_options(number, {name: v for name, v in named.items() if name in own})
    if isinstance(options, str):
        raise OperatorError(options)
    rules = rules_of_table(encode_choice(number, options))
    if isinstance(rules, str):
        raise OperatorError(f"house rules: {rules}")
    return rules


def _game_params(buy_in: int, bank: int, table: Mapping[str, object], rules: bytes) -> GameParams:
    named = {**table, "buy_in": buy_in, "bank": bank, "rules": rules}
    usual = msgspec.structs.asdict(GameParams())
    values = [named.get(name, usual[name]) for name in GameParams.__struct_fields__]
    try:
        return convert_as(values, GameParams)
    except DecodeError as error:
        names = GameParams.__struct_fields__
        raise OperatorError(field_problem(str(error), names, values)) from None


def _shown(value: object) -> str:
    if isinstance(value, Limits):
        return f"{value.least}-{value.most}"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value)
