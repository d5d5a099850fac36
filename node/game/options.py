"""House options: what a table may choose about its game, one record a game, agreed by all.

The defaults of a record are the usual table. A descriptor names the game and carries the options as
they are encoded; the usual ones are no bytes, so that one table has one text.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, TypeVar

import msgspec

from consensus.encoding import DecodeError, Record, convert_as, decode_as

Flag = Annotated[int, msgspec.Meta(ge=0, le=1)]
Pay = Annotated[int, msgspec.Meta(ge=0, le=1_000)]
"""Profit to 1 of stake."""
Chips = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]

P = TypeVar("P", bound=Record)


class NoOptions(Record, frozen=True):
    """The options of a game where the house chooses nothing."""


class Limits(Record, frozen=True):
    """Least and greatest total stake of one bet, in chips."""

    least: Chips
    most: Chips

    def problem(self, name: str) -> str | None:
        """Say what is wrong with these limits, or None."""
        if 1 <= self.least <= self.most:
            return None
        return f"the limits of {name} are {self.least} to {self.most} chips"


_FIELD = re.compile(r"(.*) - at `\$\[(\d+)\](?:\[\d+\])?`")
_PLAIN = (
    (re.compile(r"Expected `int` >= (-?\d+)"), r"the least is \1"),
    (re.compile(r"Expected `int` <= (-?\d+)"), r"the most is \1"),
    (re.compile(r"Expected `array` of length (\d+), got (\d+)"), r"it takes \1 numbers, not \2"),
)
"""What a schema says of a number, and how a person would."""


def field_problem(fault: str, names: Sequence[str], values: Sequence[object]) -> str:
    """Return a schema's complaint about field `$[i]` in plain words, with its name and value."""
    found = _FIELD.fullmatch(fault)
    if found is None:
        return fault
    what, index = found[1], int(found[2])
    for complaint, plain in _PLAIN:
        what = complaint.sub(plain, what)
    value = values[index]
    shown = ",".join(map(str, value)) if isinstance(value, Sequence) else value
    return f"{names[index]} = {shown}: {what}"


def parse_options(kind: type[P], game: str, named: Mapping[str, object]) -> P | str:
    """Return the options of these names (the rest as usual), or what is wrong with one."""
    names = kind.__struct_fields__
    if unknown := [name for name in named if name not in names]:
        return f"{unknown[0]!r} is no option of {game}; the options are {', '.join(names)}"
    usual: dict[str, object] = msgspec.structs.asdict(kind())
    values = [named.get(name, usual[name]) for name in names]
    try:
        return convert_as(values, kind)
    except DecodeError as error:
        return f"options of {game}: {field_problem(str(error), names, values)}"


def load_options(kind: type[P], game: str, data: bytes) -> P | str:
    """Return encoded options, the usual ones of no bytes, or what is wrong with them."""
    if not data:
        return kind()
    try:
        return decode_as(data, kind)
    except DecodeError as error:
        return f"options of {game}: {error}"
