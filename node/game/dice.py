"""Dice from a seed, every side exactly as likely as it should be (PROTOCOL 11.6)."""

from consensus.encoding import digest

SIDES = 6
_ACCEPTED = 252
"""Bytes below this, the greatest multiple of 6 in a byte, give every side 42 times."""


def throw(seed: bytes, dice: int, tag: str) -> tuple[int, ...]:
    """Return so many dice of a seed of 32 uniform bytes.

    Bytes that would favour a side are passed over; when none is left, the seed is expanded by
    hashing it with a counter under the game's tag, so there are always enough dice.
    """
    thrown: list[int] = []
    stream, block = seed, 0
    while True:
        for byte in stream:
            if byte < _ACCEPTED:
                thrown.append(byte % SIDES + 1)
                if len(thrown) == dice:
                    return tuple(thrown)
        block += 1
        stream = digest(tag, seed + block.to_bytes(4, "big"))
