"""Two dice, and the 21 unordered pairs that are the outcomes: no pay asks which die was which."""

from node.game import dice
from node.game.dice import SIDES

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


def throw(seed: bytes) -> tuple[int, int]:
    """Return the two dice of a seed of 32 uniform bytes, in the order they fell."""
    first, second = dice.throw(seed, 2, "craps/dice")
    return first, second
