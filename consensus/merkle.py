"""Merkle trees over slots: one root, short proofs, dirty leaves only (PROTOCOL 4).

The shape is that of RFC 9162 section 2.1 (left subtree = the largest power of two), with this
project's hash: leaf and node digests have tags of their own, and the root binds the leaf count.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256

from consensus.encoding import Digest, digest, domain

_LEAF, _NODE, _ROOT = domain("merkle/leaf"), domain("merkle/node"), domain("merkle/root")
EMPTY_ROOT = digest("merkle/root", bytes(8))
"""The root of no leaves."""


def leaf_digest(data: bytes) -> Digest:
    """Return the digest of one leaf's content."""
    return Digest(sha256(_LEAF + data).digest())


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(_NODE + left + right).digest()


def _seal(count: int, top: bytes) -> Digest:
    return Digest(sha256(_ROOT + count.to_bytes(8, "big") + top).digest())


class MerkleTree:
    """Layers of digests, bottom first. Cheap to copy, updated leaf by leaf, re-hashed on demand."""

    __slots__ = ("_dirty", "_layers")

    def __init__(self, leaves: Iterable[bytes] = ()) -> None:
        """Build the tree over leaf contents, in order."""
        self._layers: list[list[bytes]] = [[leaf_digest(leaf) for leaf in leaves]]
        self._dirty: dict[int, None] = dict.fromkeys(range(len(self._layers[0])))

    def __len__(self) -> int:
        return len(self._layers[0])

    def copy(self) -> "MerkleTree":
        """Return an independent tree with the same leaves."""
        twin: MerkleTree = MerkleTree.__new__(MerkleTree)
        twin._layers = [list(layer) for layer in self._layers]
        twin._dirty = dict(self._dirty)
        return twin

    def set(self, index: int, leaf: bytes) -> None:
        """Replace leaf `index`, or append it when `index == len(self)`."""
        bottom = self._layers[0]
        assert 0 <= index <= len(bottom), f"leaf {index} of {len(bottom)}"
        if index == len(bottom):
            bottom.append(b"")
        bottom[index] = leaf_digest(leaf)
        self._dirty[index] = None

    def root(self) -> Digest:
        """Return the root; hashes only the paths of leaves set since the last call."""
        if not self._layers[0]:
            return EMPTY_ROOT
        self._rehash()
        return _seal(len(self), self._layers[-1][0])

    def proof(self, index: int) -> tuple[Digest, ...]:
        """Return the siblings of leaf `index`, bottom first, for `verify_proof`."""
        assert 0 <= index < len(self), f"leaf {index} of {len(self)}"
        self._rehash()
        path: list[Digest] = []
        for layer in self._layers[:-1]:
            sibling = index ^ 1
            if sibling < len(layer):
                path.append(Digest(layer[sibling]))
            index >>= 1
        return tuple(path)

    def _rehash(self) -> None:
        dirty = self._dirty
        level = 0
        while len(self._layers[level]) > 1:
            below = self._layers[level]
            if level + 1 == len(self._layers):
                self._layers.append([])
            above = self._layers[level + 1]
            parents = {index >> 1: None for index in dirty}
            count = len(below)
            if 2 * len(above) < count:
                above.extend([b""] * ((count + 1) // 2 - len(above)))
            for parent in parents:
                left = below[2 * parent]
                right = 2 * parent + 1
                # A lone last node moves up unchanged, as in RFC 9162.
                above[parent] = _node(left, below[right]) if right < count else left
            dirty = parents
            level += 1
        self._dirty = {}


def merkle_root(leaves: Sequence[bytes]) -> Digest:
    """Return the root over leaf contents."""
    if not leaves:
        return EMPTY_ROOT
    layer: list[bytes] = [leaf_digest(leaf) for leaf in leaves]
    while len(layer) > 1:
        above: list[bytes] = [_node(*layer[at : at + 2]) for at in range(0, len(layer) - 1, 2)]
        if len(layer) & 1:
            above.append(layer[-1])
        layer = above
    return _seal(len(leaves), layer[0])


def verify_proof(root: bytes, count: int, index: int, leaf: bytes, path: Sequence[bytes]) -> bool:
    """Say whether `leaf` stands at `index` of the `count` leaves under `root`."""
    return root_above(count, index, leaf, path) == root


def root_above(count: int, index: int, leaf: bytes, path: Sequence[bytes]) -> Digest | None:
    """Return the root to which a path leads from `leaf` at `index` of `count`, None if to none."""
    if not 0 <= index < count:
        return None
    node: bytes = leaf_digest(leaf)
    siblings = iter(path)
    width = count
    while width > 1:
        if index ^ 1 < width:
            sibling = next(siblings, None)
            if sibling is None:
                return None
            node = _node(sibling, node) if index & 1 else _node(node, sibling)
        index >>= 1
        width = (width + 1) // 2
    return _seal(count, node) if next(siblings, None) is None else None
