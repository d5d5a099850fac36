"""Two dice from a seed, every pair exactly as likely as it should be.

Outcomes are the 21 unordered pairs: what pays never asks which die was which.
"""

from collections.abc import Iterator
from itertools import count

from consensus.encoding import digest

SIDES = 6
_ACCEPTED = 252
"""Bytes below this, the greatest multiple of 6 in a byte, give every side 42 times."""

PAIRS: tuple[tuple[int, int], ...] = tuple(
    (low, high) for low in range(1, SIDES + 1) for high in range(low, SIDES + 1)
)
"""The outcomes by index, lower die first."""
WEIGHTS: tuple[int, ...] = tuple(1 if low == high else 2 for low, high in PAIRS)
"""In how many of the 36 throws each outcome falls."""
SUMS: tuple[int, ...] = tuple(low + high for low, high in PAIRS)
NAMES: tuple[str, ...] = tuple(f"{low}-{high}" for low, high in PAIRS)
_INDEX = {pair: index for index, pair in enumerate(PAIRS)}


def outcome_of(first: int, second: int) -> int:
    """Return the outcome index of two dice, in either order."""
    return _INDEX[(first, second) if first <= second else (second, first)]


def die(byte: int) -> int | None:
    """Return the side that a byte shows, or None when it must be drawn again."""
    return byte % SIDES + 1 if byte < _ACCEPTED else None


def throw(seed: bytes) -> tuple[int, int]:
    """Return the two dice of a seed of 32 uniform bytes.

    Bytes that would favour a side are passed over; when none is left, the seed is expanded by
    hashing it with a counter, so there are always two dice.
    """
    sides = (side for byte in _stream(seed) if (side := die(byte)) is not None)
    return next(sides), next(sides)


def _stream(seed: bytes) -> Iterator[int]:
    yield from seed
    for block in count(1):
        yield from digest("craps/dice", seed + block.to_bytes(4, "big"))
