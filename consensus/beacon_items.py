"""What the beacon puts into blocks, and what makes it valid (PROTOCOL 11.3, 11.6).

A deal certificate says that a dealing can be relied on; a settle opens one roll. Each proves itself:
whoever has the chain and the item needs no message that was lost. Verdicts depend on the item, the
validators and the dealings on the chain, never on what a node happened to receive; so they are kept,
and a proposer, its voters and a replay pay once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, TypeVar

import msgspec

from consensus.dealing import (
    BATCH,
    OUTER_PATH,
    DealHeader,
    Holder,
    LeafScheme,
    ack_payload,
    is_element,
    read_grid,
    split,
)
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
from consensus.merkle import verify_proof
from consensus.messages import Bitmap, Signature
from consensus.shamir import ELEMENT_BYTES, recover
from consensus.signing import (
    Domain,
    Verify,
    parse_envelope,
    signed_bytes,
    verify_envelope,
)
from consensus.validators import VALIDATORS_MAX, Validators, members_of

K = TypeVar("K")
V = TypeVar("V")

DEAL_BYTES_MAX = 256
"""A signed deal header."""
GRID_BYTES_MAX = VALIDATORS_MAX * BATCH * DIGEST_BYTES
VERDICTS_MAX = 512
"""Verdicts kept of each sort: certificates of two batches of every dealer, the secrets of the rolls
that are open in the blocks of a view or two."""
CERTIFICATE_KIND, SETTLE_KIND = 1, 2


class DealCertificate(Record, frozen=True):
    """A dealing with the acks of at least q holders and the shares of some that did not ack."""

    kind: Annotated[int, msgspec.Meta(ge=CERTIFICATE_KIND, le=CERTIFICATE_KIND)]
    deal: Annotated[bytes, msgspec.Meta(max_length=DEAL_BYTES_MAX)]
    ackers: Bitmap
    signatures: Annotated[tuple[Signature, ...], msgspec.Meta(max_length=VALIDATORS_MAX)]
    published: Bitmap
    grid: Annotated[bytes, msgspec.Meta(max_length=GRID_BYTES_MAX)]


class Opening(Record, frozen=True):
    """What proves one secret: t shares, and the path of its root in the dealing.

    `fault` is empty for a good secret. Else the shares are on no polynomial of degree t - 1, and it
    holds the committed root, then each share's path, empty for a share that the chain published.
    """

    holders: Bitmap
    shares: Annotated[bytes, msgspec.Meta(max_length=VALIDATORS_MAX * ELEMENT_BYTES)]
    path: Annotated[
        bytes,
        msgspec.Meta(min_length=OUTER_PATH * DIGEST_BYTES, max_length=OUTER_PATH * DIGEST_BYTES),
    ]
    fault: Annotated[
        tuple[Annotated[bytes, msgspec.Meta(max_length=7 * DIGEST_BYTES)], ...],
        msgspec.Meta(max_length=VALIDATORS_MAX + 1),
    ] = ()


class Settle(Record, frozen=True):
    """The openings of all secrets of one roll, in the order that its close fixed."""

    kind: Annotated[int, msgspec.Meta(ge=SETTLE_KIND, le=SETTLE_KIND)]
    roll: Uint
    openings: Annotated[tuple[Opening, ...], msgspec.Meta(min_length=1, max_length=VALIDATORS_MAX)]


class OpenedSecret(Record, frozen=True):
    """One secret of a roll: of which dealer, batch and index; empty if the dealing was no sharing."""

    dealer: Holder
    batch: Uint
    index: Annotated[int, msgspec.Meta(ge=0, lt=BATCH)]
    secret: Annotated[bytes, msgspec.Meta(max_length=ELEMENT_BYTES)]


class RollProof(Record, frozen=True):
    """What a roll's seed is the hash of."""

    chain_id: Bytes32
    epoch: Uint
    roll: Uint
    close_hash: Bytes32
    secrets: Annotated[
        tuple[OpenedSecret, ...], msgspec.Meta(min_length=1, max_length=VALIDATORS_MAX)
    ]


def recompute_seed(proof: bytes) -> bytes:
    """Return the seed that an encoded `RollProof` gives; raises `DecodeError` if it is none.

    In one line, for who does not trust this program: SHA-256 of the byte 4, "roll" and the proof.
    """
    decode_as(proof, RollProof)
    return digest("roll", proof)


class Dealt(Record, frozen=True):
    """A certified dealing as the chain keeps it: one batch of one dealer.

    `roots` (of all secrets, end to end) are there if `published` is not empty: holder, its shares.
    """

    batch: Uint
    root: Bytes32
    roots: bytes
    published: tuple[tuple[int, bytes], ...]

    def published_share(self, holder: int, index: int) -> bytes | None:
        """Return the share that the chain itself holds for `holder`, if it does."""
        for j, shares in self.published:
            if j == holder:
                return shares[index * ELEMENT_BYTES : (index + 1) * ELEMENT_BYTES]
        return None


@dataclass(frozen=True, slots=True)
class Certified:
    """A valid certificate, read."""

    dealer: int
    dealt: Dealt


@dataclass(frozen=True, slots=True)
class KnownSecret:
    """A secret that was recovered and checked here: the one polynomial under its root."""

    secret: bytes
    shares: tuple[bytes, ...]
    path: bytes


@dataclass(frozen=True, slots=True)
class BeaconContext:
    """One epoch of one chain, and the verdicts reached in it."""

    chain_id: bytes
    epoch: int
    validators: Validators
    verify: Verify
    t: int = field(init=False)
    """Holders whose shares open a secret. As many as make a certificate, so that as many as can
    forge agreement are needed to know a roll early: 3 of 4, 11 of 16."""
    published_max: int = field(init=False)
    """Holders whose shares may be published: with f traitors they still lack one share."""
    _certificates: dict[Digest, Certified | str] = field(init=False, repr=False)
    _secrets: dict[tuple[bytes, int], KnownSecret] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Derive the thresholds."""
        object.__setattr__(self, "t", self.validators.q)
        object.__setattr__(self, "published_max", self.validators.q - self.validators.f - 1)
        object.__setattr__(self, "_certificates", {})
        object.__setattr__(self, "_secrets", {})

    def leaf_scheme(self, dealer: int, batch: int) -> LeafScheme:
        """Return how shares of one dealing of this epoch become leaves."""
        return LeafScheme.of(self.chain_id, self.epoch, dealer, batch)

    def check_deal(self, deal: bytes) -> DealHeader | str:
        """Read a signed deal header and verify it, or say what is wrong."""
        header = read_deal(deal)
        if isinstance(header, str):
            return header
        if header.epoch != self.epoch:
            return f"a dealing of epoch {header.epoch} in epoch {self.epoch}"
        if header.dealer >= self.validators.n:
            return f"a dealing of dealer {header.dealer} of {self.validators.n}"
        key = self.validators.keys[header.dealer]
        if not verify_envelope(self.verify, key, Domain.DEAL, self.chain_id, parse_envelope(deal)):
            return "the dealer's signature is invalid"
        return header

    def check_ack(self, header: DealHeader, holder: int, signature: bytes) -> bool:
        """Say whether `holder` signed that it keeps its shares of this dealing."""
        kid, key = self.validators.kids[holder], self.validators.keys[holder]
        message = signed_bytes(kid, Domain.ACK, self.chain_id, ack_payload(header))
        return self.verify(key, message, signature)

    def check_certificate(self, item: bytes) -> Certified | str:
        """Read a deal certificate and verify it, or say what is wrong."""
        name = digest("item", item)
        verdict = self._certificates.get(name)
        if verdict is None:
            verdict = _check_certificate(self, item)
            _remember(self._certificates, name, verdict)
        return verdict

    def known_secret(self, root: bytes, index: int) -> KnownSecret | None:
        """Return secret `index` of the dealing with this root, if it was recovered here."""
        return self._secrets.get((root, index))

    def learn_secret(self, root: bytes, index: int, known: KnownSecret) -> None:
        """Keep a recovered and checked secret."""
        _remember(self._secrets, (root, index), known)


def read_deal(deal: bytes) -> DealHeader | str:
    """Read a signed deal header without verifying it, or say what is wrong."""
    try:
        return decode_as(parse_envelope(deal).payload, DealHeader)
    except DecodeError as error:
        return f"a deal header is malformed: {error}"


def _remember(verdicts: dict[K, V], key: K, verdict: V) -> None:
    verdicts[key] = verdict
    if len(verdicts) > VERDICTS_MAX:
        del verdicts[next(iter(verdicts))]


def _check_certificate(context: BeaconContext, item: bytes) -> Certified | str:
    try:
        certificate = decode_as(item, DealCertificate)
    except DecodeError as error:
        return f"a deal certificate is malformed: {error}"
    validators = context.validators
    header = context.check_deal(certificate.deal)
    if isinstance(header, str):
        return header
    ackers = members_of(certificate.ackers, validators.n)
    published = members_of(certificate.published, validators.n)
    if ackers is None or published is None:
        return "a deal certificate's bitmaps are not over the validators"
    if why := check_counts(context, ackers, published):
        return why
    if len(certificate.signatures) != len(ackers):
        return f"{len(certificate.signatures)} signatures of {len(ackers)} ackers"
    for holder, signature in zip(ackers, certificate.signatures, strict=True):
        if not context.check_ack(header, holder, signature):
            return f"the ack of holder {holder} is invalid"
    if not published:
        if certificate.grid:
            return "published shares of nobody"
        return Certified(header.dealer, Dealt(header.batch, header.root, b"", ()))
    grid = read_grid(context.chain_id, header, validators.n, published, certificate.grid)
    if isinstance(grid, str):
        return grid
    roots, shares = grid
    dealt = Dealt(header.batch, header.root, roots, tuple(zip(published, shares, strict=True)))
    return Certified(header.dealer, dealt)


def check_counts(
    context: BeaconContext, ackers: Sequence[int], published: Sequence[int]
) -> str | None:
    """Say what keeps these ackers and published holders from making a certificate.

    Of the ackers f may have lied; the others and the published must reach t, so that the roll opens
    whatever those f do. The published and f traitors must stay under t, so that it opens no sooner.
    """
    f, q = context.validators.f, context.validators.q
    if len(ackers) < q:
        return f"{len(ackers)} acks; {q} are needed"
    if not set(ackers).isdisjoint(published):
        return "a share is published of a holder that acked"
    if len(published) > context.published_max:
        return f"shares of {len(published)} holders are published; at most {context.published_max}"
    if len(ackers) - f + len(published) < context.t:
        return (
            f"{len(ackers)} acks and {len(published)} published; "
            f"{context.t + f} together are needed"
        )
    return None


def check_opening(
    context: BeaconContext, dealer: int, dealt: Dealt, index: int, opening: Opening
) -> tuple[bytes, None] | tuple[None, str]:
    """Return (secret, None) that an opening proves, b"" for no sharing, or (None, why not)."""
    holders = members_of(opening.holders, context.validators.n)
    if holders is None or len(holders) != context.t:
        return None, f"an opening of other than {context.t} holders"
    shares = split(opening.shares)
    if len(opening.shares) != len(holders) * ELEMENT_BYTES:
        return None, f"{len(opening.shares)} bytes of shares of {len(holders)} holders"
    if not all(map(is_element, shares)):
        return None, "a share that is no field element"
    known = context.known_secret(dealt.root, index)
    if (
        known is not None
        and known.path == opening.path
        and not opening.fault
        and all(known.shares[j] == share for j, share in zip(holders, shares, strict=True))
    ):
        return known.secret, None
    n = context.validators.n
    scheme = context.leaf_scheme(dealer, dealt.batch)
    secret, complete, root = recover_root(scheme, index, n, holders, shares)
    path = split(opening.path)
    if not opening.fault:
        if not verify_proof(dealt.root, BATCH, index, root, path):
            return None, f"the shares of dealer {dealer} do not open its dealing"
        context.learn_secret(dealt.root, index, KnownSecret(secret, complete, opening.path))
        return secret, None
    committed, *paths = opening.fault
    if len(paths) != len(holders):
        return None, f"{len(paths)} paths for {len(holders)} shares"
    if not verify_proof(dealt.root, BATCH, index, committed, path):
        return None, f"a root that dealer {dealer} did not commit to"
    if committed == root:
        return None, f"the dealing of dealer {dealer} is called faulty and is not"
    for j, share, inner in zip(holders, shares, paths, strict=True):
        if dealt.published_share(j, index) == share:
            continue
        if len(inner) % DIGEST_BYTES or not verify_proof(
            committed, n, j, scheme.leaf(index, j, share), split(inner)
        ):
            return None, f"a share of holder {j} is not in the dealing of dealer {dealer}"
    return b"", None


def recover_root(
    scheme: LeafScheme, index: int, n: int, holders: tuple[int, ...], shares: Sequence[bytes]
) -> tuple[bytes, tuple[bytes, ...], Digest]:
    """Return what t shares of secret `index` imply: the secret, all shares, the root over them."""
    secret, values = recover(holders, [int.from_bytes(share, "big") for share in shares], n)
    complete = tuple([value.to_bytes(ELEMENT_BYTES, "big") for value in values])
    return secret.to_bytes(ELEMENT_BYTES, "big"), complete, scheme.root(index, complete)


def encode_settle(roll: int, openings: Sequence[Opening]) -> bytes:
    """Return the system item that settles `roll`."""
    return encode(Settle(SETTLE_KIND, roll, tuple(openings)))
