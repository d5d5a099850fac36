"""Shamir's secret sharing over GF(2**255 - 19) (PROTOCOL 11; A. Shamir, CACM 22(11), 1979).

A secret is the value at 0 of a polynomial of degree t - 1; holder `j` has the value at `j + 1`. Any t
values determine all others, fewer say nothing about the secret. Field elements are Python integers
here and 32 big-endian bytes outside.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from operator import mul

PRIME = 2**255 - 19
ELEMENT_BYTES = 32
_MATRICES_MAX = 32
"""Sets of holders whose interpolation is kept; one takes up to 0.5 MiB at 128 holders."""


def evaluate(coefficients: Sequence[int], x: int) -> int:
    """Return the polynomial's value at `x`, lowest coefficient first.

    For small `x` (a holder's) it reduces once, at the end: the sum grows by few bits a step.
    """
    value = 0
    for coefficient in reversed(coefficients):
        value = value * x + coefficient
    return value % PRIME


def recover(holders: tuple[int, ...], values: Sequence[int], n: int) -> tuple[int, list[int]]:
    """Return the secret and all `n` holders' values from those of exactly t distinct `holders`.

    With more than t holders of one polynomial the result is the same; t is the caller's to know.
    """
    secret_row, rows = _matrix(holders, n)
    complete = [0] * n
    for holder, value in zip(holders, values, strict=True):
        complete[holder] = value
    for holder, row in rows:
        complete[holder] = sum(map(mul, row, values)) % PRIME
    return sum(map(mul, secret_row, values)) % PRIME, complete


_Row = tuple[int, ...]


@lru_cache(maxsize=_MATRICES_MAX)
def _matrix(holders: tuple[int, ...], n: int) -> tuple[_Row, tuple[tuple[int, _Row], ...]]:
    """Return the Lagrange coefficients at 0 and at every holder that is not in `holders`."""
    assert len(set(holders)) == len(holders), f"holders {holders} repeat"
    points = [holder + 1 for holder in holders]
    weights = [
        pow(math.prod(point - other for other in points if other != point), -1, PRIME)
        for point in points
    ]
    inverses = {d: pow(d, -1, PRIME) for d in range(-n, n + 1) if d}

    def row(x: int) -> _Row:
        product = math.prod(x - point for point in points)
        return tuple(
            product * weight * inverses[x - point] % PRIME
            for weight, point in zip(weights, points, strict=True)
        )

    present = frozenset(holders)
    return row(0), tuple((j, row(j + 1)) for j in range(n) if j not in present)
