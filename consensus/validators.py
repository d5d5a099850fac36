"""Who votes, how many are enough, and who leads a view (PROTOCOL 5)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NewType

from consensus.encoding import Digest, digest
from consensus.signing import KeyId, PublicKey, key_id

ValidatorIndex = NewType("ValidatorIndex", int)

VALIDATORS_MAX = 128


def faults_tolerated(n: int) -> int:
    """Return f, the Byzantine validators that `n` stand: floor((n - 1) / 3)."""
    return (n - 1) // 3


def quorum(n: int) -> int:
    """Return q = n - f, never 2f + 1: two quorums share an honest validator for every n."""
    return n - faults_tolerated(n)


@dataclass(frozen=True, slots=True)
class Validators:
    """The voters of one epoch, ordered by consensus key."""

    keys: tuple[PublicKey, ...]
    leader_seed: Digest
    kids: tuple[KeyId, ...] = field(init=False)
    index_of_kid: dict[KeyId, ValidatorIndex] = field(init=False)
    n: int = field(init=False)
    """The number of validators."""
    f: int = field(init=False)
    """The Byzantine validators they stand."""
    q: int = field(init=False)
    """The votes that make a certificate."""
    _order: tuple[ValidatorIndex, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Derive key ids and the leader permutation; the keys are already admitted."""
        assert 1 <= len(self.keys) <= VALIDATORS_MAX, f"{len(self.keys)} validators"
        assert list(self.keys) == sorted(self.keys), "validators are ordered by key"
        kids = tuple(key_id(key) for key in self.keys)
        index = {kid: ValidatorIndex(i) for i, kid in enumerate(kids)}
        assert len(index) == len(kids), "two validators share a key id"
        order = sorted(index.values(), key=lambda i: digest("leader", self.leader_seed + kids[i]))
        object.__setattr__(self, "n", len(kids))
        object.__setattr__(self, "f", faults_tolerated(len(kids)))
        object.__setattr__(self, "q", quorum(len(kids)))
        object.__setattr__(self, "kids", kids)
        object.__setattr__(self, "index_of_kid", index)
        object.__setattr__(self, "_order", tuple(order))

    def leader(self, view: int) -> ValidatorIndex:
        """Return the leader of `view`: known to all without clock or history."""
        return self._order[view % self.n]


def bitmap(members: Sequence[int], n: int) -> bytes:
    """Return the set of indices as ceil(n/8) bytes, index 0 in the lowest bit of the first."""
    bits = 0
    for member in members:
        bits |= 1 << member
    return bits.to_bytes((n + 7) // 8, "little")


def members_of(bits: bytes, n: int) -> tuple[ValidatorIndex, ...] | None:
    """Return the indices of a bitmap in order, or None when it is not one over `n`."""
    number = int.from_bytes(bits, "little")
    if len(bits) != (n + 7) // 8 or number >> n:
        return None
    return tuple(ValidatorIndex(i) for i in range(n) if number >> i & 1)
