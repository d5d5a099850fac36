"""Lengths of time and distributions of them, as scenarios write them: `20ms`, `exp(8s)`.

Everything is whole microseconds; a generator is always an argument.
"""

# mypy: disable-error-code="explicit-override"
# The decorator is of Python 3.12.

import random
import re
from collections.abc import Callable

US_PER_MS = 1_000
US_PER_S = 1_000_000
_UNITS = {"us": 1, "ms": US_PER_MS, "s": US_PER_S, "m": 60 * US_PER_S, "h": 3_600 * US_PER_S}
_LENGTH = re.compile(r"([+-]?\d+(?:\.\d+)?)(us|ms|s|m|h)")
_CALL = re.compile(r"(uniform|normal|lognormal|exp)\((.*)\)")
LENGTH_US_MAX = 400 * 24 * 3_600 * US_PER_S
"""A year and a bit; a longer time in a scenario is a slip of the pen."""


def parse_length(text: str) -> int:
    """Return the microseconds of `1.5s`, `-200ms`, ...; raises `ValueError` that shows the form."""
    found = _LENGTH.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not a length of time: write 250us, 20ms, 1.5s, 2m or 1h")
    length_us = round(float(found[1]) * _UNITS[found[2]])
    if abs(length_us) > LENGTH_US_MAX:
        raise ValueError(f"{text!r} is longer than a scenario may be")
    return length_us


def format_length(length_us: int) -> str:
    """Return the shortest text that `parse_length` reads as this length."""
    for unit in ("h", "m", "s", "ms"):
        if length_us and length_us % _UNITS[unit] == 0:
            return f"{length_us // _UNITS[unit]}{unit}"
    return f"{length_us}us" if length_us else "0s"


class Length:
    """A length of time in microseconds, never below zero unless `signed`."""

    __slots__ = ("us",)

    def __init__(self, us: int) -> None:
        """Hold so many microseconds."""
        self.us = us

    @property
    def ms(self) -> int:
        """Whole milliseconds."""
        return self.us // US_PER_MS

    def __str__(self) -> str:
        return format_length(self.us)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Length) and other.us == self.us

    def __hash__(self) -> int:
        return hash(self.us)


class Spread:
    """A length of time that is drawn anew each time: `draw(rng)` gives microseconds."""

    __slots__ = ("draw", "mean_us", "text")

    def __init__(self, text: str) -> None:
        """Read `20ms`, `uniform(5ms,20ms)`, `normal(0s,200ms)`, `lognormal(20ms,0.5)`, `exp(8s)`.

        The first argument of a lognormal is its median, the second the sigma of its logarithm.

        Raises:
            ValueError: The text is none of these.
        """
        self.text = text.strip()
        self.draw: Callable[[random.Random], int]
        call = _CALL.fullmatch(self.text)
        if call is None:
            length_us = self.mean_us = parse_length(self.text)
            self.draw = lambda _rng: length_us
            return
        name, arguments = call[1], [part.strip() for part in call[2].split(",")]
        wanted = 1 if name == "exp" else 2
        if len(arguments) != wanted:
            raise ValueError(f"{text!r}: {name} takes {wanted} arguments")
        first = parse_length(arguments[0])
        match name:
            case "exp":
                self.mean_us = first
                self.draw = lambda rng: int(rng.expovariate(1 / first)) if first else 0
            case "uniform":
                span = parse_length(arguments[1]) - first
                if span < 0:
                    raise ValueError(f"{text!r}: the second end lies before the first")
                self.mean_us = first + span // 2
                self.draw = lambda rng: first + int(rng.random() * (span + 1))
            case "normal":
                sigma_us = parse_length(arguments[1])
                self.mean_us = first
                self.draw = lambda rng: int(rng.gauss(first, sigma_us))
            case _:
                self._lognormal(first, arguments[1])

    def _lognormal(self, median_us: int, text: str) -> None:
        try:
            sigma = float(text)
        except ValueError:
            raise ValueError(f"{self.text!r}: sigma {text!r} is not a number") from None
        if not 0 <= sigma <= 3:
            raise ValueError(f"{self.text!r}: sigma {sigma} is not between 0 and 3")
        self.mean_us = median_us
        self.draw = lambda rng: int(median_us * rng.lognormvariate(0, sigma))

    def __str__(self) -> str:
        return self.text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Spread) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)


class Window:
    """When something begins: `10s`, or `5s..20s` for a moment drawn between the two."""

    __slots__ = ("first_us", "last_us")

    def __init__(self, first_us: int, last_us: int) -> None:
        """Begin and end in microseconds, both included."""
        self.first_us, self.last_us = first_us, last_us

    @classmethod
    def parse(cls, text: str) -> "Window":
        """Read either form; raises `ValueError`."""
        first, dots, last = text.partition("..")
        first_us = parse_length(first)
        last_us = parse_length(last) if dots else first_us
        if not 0 <= first_us <= last_us:
            raise ValueError(f"{text!r} is not a moment or a range from an earlier to a later one")
        return cls(first_us, last_us)

    def draw(self, rng: random.Random) -> int:
        """Return a moment in microseconds."""
        return self.first_us + int(rng.random() * (self.last_us - self.first_us + 1))

    def __str__(self) -> str:
        first = format_length(self.first_us)
        return first if self.first_us == self.last_us else f"{first}..{format_length(self.last_us)}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Window) and str(other) == str(self)

    def __hash__(self) -> int:
        return hash(str(self))
