"""Whether the dice of a whole sweep are fair: no single run throws often enough to tell."""

from collections.abc import Iterable, Sequence

OUTCOMES = 36
"""Of two dice that can be told apart, 1-1 first, 6-6 last: 35 degrees of freedom."""
THROWS_MIN = 5 * OUTCOMES
"""Five of each are expected: with fewer the statistic does not follow its distribution yet."""
CHI_SQUARE_MAX = 95.0
"""Five sigma: of so many sweeps with fair dice, one in three million gets there."""


def added(parts: Iterable[Sequence[int]]) -> list[int]:
    """Return how often each outcome fell in all parts together."""
    sums = [0] * OUTCOMES
    for part in parts:
        for outcome, count in enumerate(part):
            sums[outcome] += count
    return sums


def chi_square(counts: Sequence[int]) -> float:
    """Return Pearson's statistic of the counts against 36 equal chances, 0 of no throws."""
    throws = sum(counts)
    expected = throws / OUTCOMES
    return sum((count - expected) ** 2 for count in counts) / expected if throws else 0.0


def alarm(counts: Sequence[int]) -> str:
    """Return what is wrong with the dice, empty while nothing is known to be."""
    found = chi_square(counts)
    if sum(counts) < THROWS_MIN or found <= CHI_SQUARE_MAX:
        return ""
    return (
        f"unfair: {sum(counts):,} throws have a chi-square of {found:.0f} over {OUTCOMES} outcomes; "
        f"fair dice stay below {CHI_SQUARE_MAX:.0f}"
    )
