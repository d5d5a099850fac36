"""A batch of secrets, shared so that only t holders together know one (PROTOCOL 11.1, 11.2).

A dealing is made from 32 bytes of entropy, and these from the dealer's own secret of the epoch, so
whoever has the key deals the same again, whatever else it has lost. Its header commits to every share
of every holder by one root: a tree over the secrets of trees over the holders. Each holder gets its
own shares, with their paths, in a box of its own.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from consensus.encoding import (
    DIGEST_BYTES,
    Bytes32,
    DecodeError,
    Digest,
    Record,
    Uint,
    decode_as,
    digest,
    encode,
)
from consensus.merkle import MerkleTree, merkle_root, verify_proof
from consensus.messages import DealMessage
from consensus.shamir import ELEMENT_BYTES, PRIME, evaluate
from consensus.signing import PROTOCOL_NAME
from consensus.validators import VALIDATORS_MAX

BATCH = 64
"""Secrets in one dealing: few, so that a stolen key opens few (dealings die young); enough that the
signatures of a dealing are nothing per roll."""
ENTROPY_BYTES = 32
OUTER_PATH = BATCH.bit_length() - 1
"""Siblings between one secret's root and the root of the dealing."""
_COEFFICIENT_BYTES = 64
"""Twice a field element, so that the reduction favours none by more than 2**-256."""
_BOX_NONCE = bytes(12)
"""Every box has a key of its own, which seals one text for ever."""

Holder = Annotated[int, msgspec.Meta(ge=0, lt=VALIDATORS_MAX)]


class DealHeader(Record, frozen=True):
    """What a dealer signs: one for each (epoch, dealer, batch)."""

    epoch: Uint
    dealer: Holder
    batch: Uint
    size: Annotated[int, msgspec.Meta(ge=BATCH, le=BATCH)]
    root: Bytes32


class AckPayload(Record, frozen=True):
    """What a holder signs once its shares of a dealing are durable."""

    epoch: Uint
    dealer: Holder
    batch: Uint
    header: Bytes32


class _BoxText(Record, frozen=True):
    """What a box holds: the roots of the secrets, the holder's shares, their paths, end to end."""

    roots: Annotated[bytes, msgspec.Meta(min_length=2048, max_length=2048)]
    shares: Annotated[bytes, msgspec.Meta(min_length=2048, max_length=2048)]
    paths: Annotated[bytes, msgspec.Meta(max_length=BATCH * 7 * DIGEST_BYTES)]


def header_hash(header: bytes) -> Digest:
    """Return what names a dealing: over its encoded header."""
    return digest("deal", header)


def ack_payload(header: DealHeader) -> bytes:
    """Return the bytes that every ack of this dealing signs."""
    return encode(
        AckPayload(header.epoch, header.dealer, header.batch, header_hash(encode(header)))
    )


def is_element(share: bytes) -> bool:
    """Say whether `share` is the one encoding of a field element."""
    return len(share) == ELEMENT_BYTES and int.from_bytes(share, "big") < PRIME


@dataclass(frozen=True, slots=True)
class LeafScheme:
    """How shares of one dealing become leaves: bound to chain, epoch, dealer, batch and place.

    Nobody can pass off another's commitment as an own one, nor one place as another.
    """

    prefix: bytes

    @classmethod
    def of(cls, chain_id: bytes, epoch: int, dealer: int, batch: int) -> "LeafScheme":
        """Return the scheme of one dealing."""
        numbers = epoch.to_bytes(8, "big") + bytes((dealer,)) + batch.to_bytes(8, "big")
        return cls(chain_id + numbers)

    def leaf(self, index: int, holder: int, share: bytes) -> Digest:
        """Return the leaf of one share."""
        return digest("deal/leaf", self.prefix + bytes((index, holder)) + share)

    def root(self, index: int, shares: Sequence[bytes]) -> Digest:
        """Return the root over all holders' shares of one secret."""
        return merkle_root([self.leaf(index, j, share) for j, share in enumerate(shares)])


@dataclass(frozen=True)
class HeldShares:
    """One holder's part of a dealing, checked: for each secret its root, share and paths."""

    header: DealHeader
    holder: int
    roots: tuple[bytes, ...]
    shares: tuple[bytes, ...]
    inner_paths: tuple[tuple[Digest, ...], ...]

    @cached_property
    def _tree(self) -> MerkleTree:
        return MerkleTree(self.roots)

    def outer_path(self, index: int) -> tuple[Digest, ...]:
        """Return the siblings from secret `index`'s root to the root of the dealing."""
        return self._tree.proof(index)

    def path(self, index: int) -> tuple[bytes, ...]:
        """Return what proves share `index`: its secret's root, the path to it, the path from it."""
        return (self.roots[index], *self.inner_paths[index], *self.outer_path(index))


def open_text(
    chain_id: bytes, header: DealHeader, holder: int, n: int, text: bytes
) -> HeldShares | str:
    """Check a holder's part against the dealing's root, or say what is wrong with it."""
    try:
        box = decode_as(text, _BoxText)
    except DecodeError as error:
        return f"dealt shares are malformed: {error}"
    depth = path_length(n, holder)
    if len(box.paths) != BATCH * depth * DIGEST_BYTES:
        return f"{len(box.paths)} bytes of paths for {BATCH} shares of depth {depth}"
    roots = split(box.roots)
    if merkle_root(roots) != header.root:
        return "dealt roots are not those of the header"
    shares, digests = split(box.shares), split(box.paths)
    scheme = LeafScheme.of(chain_id, header.epoch, header.dealer, header.batch)
    paths = tuple(tuple(digests[k * depth : (k + 1) * depth]) for k in range(BATCH))
    for k in range(BATCH):
        if not is_element(shares[k]):
            return f"dealt share {k} is no field element"
        if not verify_proof(roots[k], n, holder, scheme.leaf(k, holder, shares[k]), paths[k]):
            return f"dealt share {k} is not in the dealing"
    return HeldShares(header, holder, roots, shares, paths)


def split(data: bytes) -> tuple[Digest, ...]:
    """Return 32-byte pieces."""
    return tuple(Digest(data[i : i + DIGEST_BYTES]) for i in range(0, len(data), DIGEST_BYTES))


def path_length(n: int, index: int) -> int:
    """Return how many siblings the path of leaf `index` of `n` has."""
    length = 0
    while n > 1:
        length += index ^ 1 < n
        index >>= 1
        n = (n + 1) // 2
    return length


def is_dealt(  # noqa: PLR0917  (a place in a dealing and what is said of it)
    deal_root: bytes, n: int, index: int, holder: int, leaf: bytes, path: Sequence[bytes]
) -> bool:
    """Say whether `leaf` is holder's of secret `index`, by a path as `HeldShares.path` gives it."""
    inner = path_length(n, holder)
    if len(path) != 1 + inner + OUTER_PATH:
        return False
    root, outer = path[0], path[1 + inner :]
    return verify_proof(root, n, holder, leaf, path[1 : 1 + inner]) and verify_proof(
        deal_root, BATCH, index, root, outer
    )


def derive_entropy(  # noqa: PLR0917  (the place of a dealing, then who holds it)
    secret: bytes,
    chain_id: bytes,
    epoch: int,
    dealer: int,
    batch: int,
    t: int,
    box_keys: Sequence[bytes],
) -> bytes:
    """Return the one entropy of a batch (RFC 5869): nobody without the secret can tell it from chance.

    Whatever shapes the dealing is in it, so two that differ in anything have no polynomial in common.

    Args:
        secret: The dealer's X25519 secret of the epoch.
        chain_id: The table.
        epoch: Its epoch.
        dealer: The dealer's index.
        batch: Which of its batches.
        t: Shares that open a secret.
        box_keys: The holders' X25519 keys, by index.
    """
    place = LeafScheme.of(chain_id, epoch, dealer, batch).prefix
    info = PROTOCOL_NAME + b"/deal/entropy\0" + place + bytes((t,)) + b"".join(box_keys)
    return HKDF(SHA256(), ENTROPY_BYTES, None, info).derive(secret)


class Dealing:
    """The dealer's side: every share of every holder, made from entropy."""

    def __init__(self, chain_id: bytes, epoch: int, dealer: int, batch: int, *, t: int, n: int,
                 entropy: bytes) -> None:  # fmt: skip
        """Make the dealing of these 32 bytes; the same bytes make the same dealing."""
        assert len(entropy) == ENTROPY_BYTES, f"{len(entropy)} bytes of entropy"
        self._n = n
        self.batch = batch
        scheme = LeafScheme.of(chain_id, epoch, dealer, batch)
        self._seed = entropy + scheme.prefix
        stream = _expand(b"coefficients", self._seed, BATCH * t * _COEFFICIENT_BYTES)
        coefficients = [
            int.from_bytes(stream[i : i + _COEFFICIENT_BYTES], "big") % PRIME
            for i in range(0, len(stream), _COEFFICIENT_BYTES)
        ]
        self.shares = tuple(
            tuple(
                evaluate(coefficients[k * t : (k + 1) * t], j + 1).to_bytes(ELEMENT_BYTES, "big")
                for j in range(n)
            )
            for k in range(BATCH)
        )
        self.leaves = tuple(
            tuple(scheme.leaf(k, j, share) for j, share in enumerate(row))
            for k, row in enumerate(self.shares)
        )
        self._trees = [MerkleTree(row) for row in self.leaves]
        self._roots = [tree.root() for tree in self._trees]
        self.header = DealHeader(epoch, dealer, batch, BATCH, merkle_root(self._roots))

    def text(self, holder: int) -> bytes:
        """Return what the box of `holder` holds."""
        return encode(
            _BoxText(
                b"".join(self._roots),
                b"".join(row[holder] for row in self.shares),
                b"".join(b"".join(tree.proof(holder)) for tree in self._trees),
            )
        )

    def seal(self, holder: int, box_key: bytes, envelope: bytes) -> DealMessage | None:
        """Return the message for `holder`, or None when its key agrees on nothing.

        Args:
            holder: Whose shares.
            box_key: Its X25519 public key of this epoch.
            envelope: The signed header.
        """
        secret = X25519PrivateKey.from_private_bytes(_expand(b"ephemeral", self._seed, 32))
        ephemeral = secret.public_key().public_bytes_raw()
        key = _box_key(secret, box_key, ephemeral, box_key)
        if key is None:
            return None
        name = header_hash(encode(self.header))
        box = ChaCha20Poly1305(key).encrypt(_BOX_NONCE, self.text(holder), name)
        return DealMessage(envelope, ephemeral, box)

    def grid(self, published: Sequence[int]) -> bytes:
        """Return what proves the shares of the holders `published`: see `read_grid`."""
        return b"".join(
            cell
            for j in range(self._n)
            for cell in (row[j] for row in (self.shares if j in published else self.leaves))
        )


def open_box(message: DealMessage, name: Digest, secret: bytes) -> bytes | None:
    """Return the text of a box sealed for the X25519 `secret`, or None when it does not open."""
    private = X25519PrivateKey.from_private_bytes(secret)
    key = _box_key(
        private, message.ephemeral, message.ephemeral, private.public_key().public_bytes_raw()
    )
    if key is None:
        return None
    try:
        return ChaCha20Poly1305(key).decrypt(_BOX_NONCE, message.box, name)
    except InvalidTag:
        return None


def read_grid(
    chain_id: bytes, header: DealHeader, n: int, published: Sequence[int], grid: bytes
) -> tuple[bytes, tuple[bytes, ...]] | str:
    """Check published shares: return the secrets' roots and each holder's shares, end to end.

    A grid has 64 cells of 32 bytes for each holder in order: the share itself of a holder that is
    published, else its leaf. All trees are rebuilt from it, which takes fewer bytes than paths.
    """
    if len(grid) != n * BATCH * DIGEST_BYTES:
        return f"{len(grid)} bytes of published shares for {n} holders"
    columns = [split(column) for column in _columns(grid, n)]
    scheme = LeafScheme.of(chain_id, header.epoch, header.dealer, header.batch)
    for j in published:
        if not all(is_element(share) for share in columns[j]):
            return f"a published share of holder {j} is no field element"
    shares = tuple(b"".join(columns[j]) for j in published)
    for j in published:
        columns[j] = tuple(scheme.leaf(k, j, share) for k, share in enumerate(columns[j]))
    roots = [merkle_root([column[k] for column in columns]) for k in range(BATCH)]
    if merkle_root(roots) != header.root:
        return "published shares are not those of the dealing"
    return b"".join(roots), shares


def _columns(grid: bytes, n: int) -> list[bytes]:
    size = BATCH * DIGEST_BYTES
    return [grid[j * size : (j + 1) * size] for j in range(n)]


def _expand(purpose: bytes, seed: bytes, size: int) -> bytes:
    """Return `size` bytes that only who knows the entropy can tell from chance (FIPS 202)."""
    return hashlib.shake_256(PROTOCOL_NAME + b"/deal/" + purpose + b"\0" + seed).digest(size)


def _box_key(
    secret: X25519PrivateKey, peer: bytes, ephemeral: bytes, recipient: bytes
) -> bytes | None:
    try:
        agreed = secret.exchange(X25519PublicKey.from_public_bytes(peer))
    except ValueError:
        return None  # a point of small order
    info = PROTOCOL_NAME + b"/deal/box\0" + ephemeral + recipient
    return HKDF(SHA256(), 32, None, info).derive(agreed)
