"""Vectors of integers, each packed into one: to add two is one addition.

A session adds a vector for each bet that comes or goes, one entry for each outcome of its game, so
this is the hottest arithmetic of a table. A packed vector is the sum of its entries, each shifted by
its lane; entries may be negative, for addition carries and borrows across lanes and comes out right.
"""

import struct
from collections.abc import Iterable
from functools import lru_cache

LANE_BYTES = 16
"""A lane holds -2^127 to 2^127 - 1: all chips of a table at any odds stay far inside."""
_LANE_BITS = 8 * LANE_BYTES
_HALF = 1 << (_LANE_BITS - 1)


@lru_cache
def _form(lanes: int) -> tuple[struct.Struct, int]:
    """Return what cuts so many lanes apart, and what added makes every lane positive."""
    return struct.Struct(f"{LANE_BYTES}s" * lanes), pack([_HALF] * lanes)


def pack(values: Iterable[int]) -> int:
    """Return the vector of these entries, the first in the highest lane."""
    packed = 0
    for value in values:
        packed = (packed << _LANE_BITS) + value
    return packed


def unpack(packed: int, lanes: int) -> list[int]:
    """Return the entries of a vector of so many."""
    return [int.from_bytes(lane, "big") - _HALF for lane in _cut(packed, lanes)]


def greatest(packed: int, lanes: int) -> int:
    """Return the greatest entry of a vector of so many."""
    return int.from_bytes(max(_cut(packed, lanes)), "big") - _HALF


def _cut(packed: int, lanes: int) -> tuple[bytes, ...]:
    form, bias = _form(lanes)
    return form.unpack((packed + bias).to_bytes(form.size, "big"))
