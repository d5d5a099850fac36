"""The terms of a new table as words of `bitcraps host`: chips, limits, timers, house rules.

The records of the game say which terms there are; every field of them that makes sense before the
players are known can be set by its name.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import TypeVar

import click
import msgspec

from consensus.encoding import DecodeError, convert_as, encode
from node.errors import OperatorError
from node.game import odds
from node.game.craps.params import CrapsParams, Limits, parse_options
from node.game.params import GameParams, encode_params, problem_of_params

R = TypeVar("R")

VALUE_CHARS_MAX = 100
# Set by options of their own, or not to be known before the seats are taken.
_APART = ("version", "buy_in", "bank", "bank_mode", "banker", "rules")
_TABLE_RULES = {
    name: value
    for name, value in msgspec.structs.asdict(GameParams()).items()
    if name not in _APART
}
_CRAPS_RULES = msgspec.structs.asdict(CrapsParams())


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the host was told, not yet checked. `house` are the `--rule NAME=VALUE` texts."""

    buy_in: int
    bank: int
    house: tuple[str, ...]

    def encoded(self, players: int) -> bytes:
        """Return the encoded `GameParams`; raises `OperatorError` naming the term that is wrong."""
        named = dict(_split_rule(text) for text in self.house)
        table = {name: value for name, value in named.items() if name in _TABLE_RULES}
        craps = house_rules(self.house)
        rules = b"" if craps == CrapsParams() else encode(craps)
        params = _game_params(self.buy_in, self.bank, table, rules)
        if problem := problem_of_params(params, players):
            raise OperatorError(problem)
        return encode_params(params)

    def check_sound(self) -> None:
        """Check that no bet pays the player or costs too much; raises `OperatorError`.

        It takes some seconds, for every bet's edge is worked out; the usual rules need no check.
        """
        craps = house_rules(self.house)
        if craps != CrapsParams() and (wrong := odds.problem(craps)):
            raise OperatorError(f"house rules: {wrong}")


def terms_options(command: Callable[..., R]) -> Callable[..., R]:
    """Add the options of a table's terms, which become the parameter `terms`."""

    @wraps(command)
    def with_terms(
        *args: object, buy_in: int, bank: int, rule: tuple[str, ...], **rest: object
    ) -> R:
        return command(*args, terms=Terms(buy_in=buy_in, bank=bank, house=rule), **rest)

    usual = GameParams()
    names = ", ".join(
        f"{name}={_shown(value)}" for name, value in (_TABLE_RULES | _CRAPS_RULES).items()
    )
    for option in (
        click.option(
            "--rule", multiple=True, metavar="NAME=VALUE",
            help=f"A term of the table or house rule of craps, instead of the usual one: {names}.",
        ),
        click.option(
            "--bank", type=int, default=usual.bank, show_default=True, metavar="CHIPS",
            help="Chips of the table's bank.",
        ),
        click.option(
            "--buy-in", type=int, default=usual.buy_in, show_default=True, metavar="CHIPS",
            help="Chips that every player starts with.",
        ),
    ):  # fmt: skip
        with_terms = option(with_terms)
    return with_terms


def describe_terms(params: GameParams, craps: CrapsParams) -> str:
    """Return the terms as one line: chips, and every rule that is not the usual one."""
    unusual = [
        f"{name}={_shown(value)}"
        for usual, record in ((_TABLE_RULES, params), (_CRAPS_RULES, craps))
        for name, value in msgspec.structs.asdict(record).items()
        if name in usual and value != usual[name]
    ]
    return ", ".join((f"bank {params.bank:,}", f"buy-in {params.buy_in:,}", *unusual))


def _split_rule(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    known = (*_TABLE_RULES, *_CRAPS_RULES)
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]!r}?" if near else "`bitcraps host --help` lists them"
        raise OperatorError(f"{name[:VALUE_CHARS_MAX]!r} is no rule; {hint}")
    if not equals or len(value) > VALUE_CHARS_MAX:
        raise OperatorError(f"rule {text[:VALUE_CHARS_MAX]!r} is not NAME=VALUE")
    usual = (_TABLE_RULES | _CRAPS_RULES)[name]
    if isinstance(usual, Limits):
        return name, [_number(name, part) for part in value.split("-", 1)]
    if isinstance(usual, tuple):
        return name, [_number(name, part) for part in value.split(",") if value]
    return name, _number(name, value)


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 16):
        raise OperatorError(f"rule {name}: {text!r} is not a whole number")
    return int(text)


def house_rules(texts: Sequence[str]) -> CrapsParams:
    """Return the craps rules that `NAME=VALUE` texts ask for; raises `OperatorError`."""
    named = dict(_split_rule(text) for text in texts)
    params = parse_options({name: value for name, value in named.items() if name in _CRAPS_RULES})
    if isinstance(params, str):
        raise OperatorError(params)
    if wrong := params.problem():
        raise OperatorError(f"house rules: {wrong}")
    return params


def _game_params(buy_in: int, bank: int, table: Mapping[str, object], rules: bytes) -> GameParams:
    named = {**table, "buy_in": buy_in, "bank": bank, "rules": rules}
    usual = msgspec.structs.asdict(GameParams())
    values = [named.get(name, usual[name]) for name in GameParams.__struct_fields__]
    try:
        return convert_as(values, GameParams)
    except DecodeError as error:
        raise OperatorError(_with_name(str(error), values)) from None


def _with_name(fault: str, values: Sequence[object]) -> str:
    """Return a schema's complaint about field `$[i]` with the field's name and value."""
    for index, (name, value) in enumerate(zip(GameParams.__struct_fields__, values, strict=True)):
        if fault.endswith(f"`$[{index}]`"):
            return f"{name} = {value}: {fault.removesuffix(f' - at `$[{index}]`')}"
    return fault


def _shown(value: object) -> str:
    if isinstance(value, Limits):
        return f"{value.least}-{value.most}"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value)
