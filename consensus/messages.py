"""Every message between peers and every object that is hashed or signed (PROTOCOL 6).

A frame on a link is one byte, the message number, then its body: an envelope for the signed kinds
(numbers below 16, equal to their `Domain`), a `Record` for those that the link authenticates.
"""

import enum
import functools
from collections.abc import Sequence
from typing import Annotated, NewType, TypeAlias

import msgspec

from consensus.encoding import (
    Bytes32,
    DecodeError,
    Digest,
    Record,
    Uint,
    decode_as,
    digest,
    encode,
    encode_array,
    encode_uint,
)
from consensus.merkle import merkle_root
from consensus.signing import SIGNATURE_BYTES, Envelope, bstr_head, parse_envelope

BlockHash = NewType("BlockHash", Digest)

MESSAGE_BYTES_MAX = 1 << 20
"""One message on IP, whatever its kind."""
BODY_BYTES_MAX = 512 << 10
"""The items of one block on IP. Its justification comes on top: one certificate a skipped view, which
may not be capped with the items, or a busy table could never leave a long outage behind."""
ACTION_BYTES_MAX = 64 << 10
"""One signed action with all its operations."""
HEADERS_PER_REQUEST_MAX = 128
TREES_MAX = 5 + 1_024
"""Trees of a state: five, and the seats of each session slot."""
LEAVES_PER_CHUNK_MAX = 1_024
STEPS_PER_ANCHOR_MAX = 16
CERTIFICATE_BYTES_MAX = 64 * 128 + 256
VOTES_REMEMBERED = 1_024
"""What votes say, of 60 bytes at most, that this process decodes once: 250 views of four voters."""

Signature = Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]
Bitmap = Annotated[bytes, msgspec.Meta(min_length=1, max_length=16)]
ActionBytes = Annotated[bytes, msgspec.Meta(max_length=ACTION_BYTES_MAX)]
BodyBytes = Annotated[bytes, msgspec.Meta(max_length=MESSAGE_BYTES_MAX - (8 << 10))]
CertificateBytes = Annotated[bytes, msgspec.Meta(max_length=CERTIFICATE_BYTES_MAX)]


class VoteKind(enum.IntEnum):
    """The three statements of a validator about a view (PROTOCOL 7)."""

    NOTARIZE = 1
    NULLIFY = 2
    FINALIZE = 3


NO_DIGEST = Digest(bytes(32))
"""What a nullify vote is about: no block."""


class Flag(enum.IntEnum):
    """What a header says of its place in the epoch (PROTOCOL 13)."""

    PLAIN = 0
    SEAL = 1
    """The last block of its epoch: its state has the next voters."""
    TAIL = 2
    """An empty block behind the seal, there only to get the seal finalized."""


class VotePayload(Record, frozen=True):
    """What a vote signs; the signer is the envelope's kid."""

    kind: Annotated[int, msgspec.Meta(ge=1, le=3)]
    epoch: Uint
    view: Uint
    digest: Bytes32


class Certificate(Record, frozen=True):
    """A quorum's votes for one statement; signatures in index order of the bitmap."""

    kind: Annotated[int, msgspec.Meta(ge=1, le=3)]
    epoch: Uint
    view: Uint
    digest: Bytes32
    signers: Bitmap
    signatures: Annotated[tuple[Signature, ...], msgspec.Meta(min_length=1, max_length=128)]


class Header(Record, frozen=True):
    """A block's header. State and receipts roots are those after this block: no proof block."""

    version: Annotated[int, msgspec.Meta(ge=1, le=1)]
    chain_id: Bytes32
    epoch: Uint
    view: Uint
    height: Uint
    time_ms: Uint
    parent_view: Uint
    parent_hash: Bytes32
    proposer: Annotated[int, msgspec.Meta(ge=0, le=127)]
    flags: Annotated[int, msgspec.Meta(ge=0, le=2)]
    body_hash: Bytes32
    state_root: Bytes32
    receipts_root: Bytes32


class Body(Record, frozen=True):
    """A block's body: its justification (PROTOCOL 7 R1), system items, signed actions in order.

    `parent_cert` is empty when the parent is genesis. `skips` holds one nullification for each view
    between the parent's and the block's, lowest first. Items are encoded records, kept as received.
    """

    parent_cert: CertificateBytes
    skips: tuple[CertificateBytes, ...]
    system: tuple[bytes, ...]
    actions: tuple[ActionBytes, ...]


class Proposal(Record, frozen=True):
    """A leader's block with its notarize vote, which is the signature of the proposal."""

    header: Annotated[bytes, msgspec.Meta(max_length=1024)]
    body: BodyBytes
    vote: Annotated[bytes, msgspec.Meta(max_length=256)]


class Status(Record, frozen=True):
    """Where a peer stands (PROTOCOL 8), and its clock for the table clock.

    `ask` = 1 wants a Status back. `echo_ms` returns the asker's `wall_ms`, 0 in an unasked Status.
    """

    ask: Annotated[int, msgspec.Meta(ge=0, le=1)]
    epoch: Uint
    view: Uint
    final_height: Uint
    final_view: Uint
    final_hash: Bytes32
    wall_ms: Uint
    echo_ms: Uint


class GetCert(Record, frozen=True):
    """Ask for what settles a view: a finalization at or above it, or its own certificates."""

    epoch: Uint
    view: Uint


class GetBlocks(Record, frozen=True):
    """Ask for up to `count` blocks ending at `hash`, newest first; headers only when asked so."""

    hash: Bytes32
    count: Annotated[int, msgspec.Meta(ge=1, le=HEADERS_PER_REQUEST_MAX)]
    headers_only: Annotated[int, msgspec.Meta(ge=0, le=1)]


class Blocks(Record, frozen=True):
    """The answer to `GetBlocks`: (header, body) newest first; bodies empty in headers only."""

    hash: Bytes32
    blocks: Annotated[
        tuple[tuple[bytes, bytes], ...], msgspec.Meta(max_length=HEADERS_PER_REQUEST_MAX)
    ]


class GetReveal(Record, frozen=True):
    """Ask a holder for its shares of a roll; `paths` = 1 wants Merkle paths with them."""

    epoch: Uint
    roll: Uint
    paths: Annotated[int, msgspec.Meta(ge=0, le=1)]


class GetState(Record, frozen=True):
    """Ask for leaves of the state behind the block `hash`, from leaf `first` of one tree on.

    Trees: 0 chain, 1 members, 2 accounts, 3 sessions, 4 beacon, 5 + s the seats of session slot s.
    """

    hash: Bytes32
    tree: Annotated[int, msgspec.Meta(ge=0, lt=TREES_MAX)]
    first: Uint


class StateChunk(Record, frozen=True):
    """The answer: `count` leaves are in the tree, these ones begin at `first`, each with its path.

    `roots` are what the state root is the hash of: the digest of the chain leaf, then the roots of
    members, accounts, sessions and beacon. So a chunk is checked with a header and nothing else;
    the root of seats stands in the leaf of their session.
    """

    hash: Bytes32
    roots: tuple[Bytes32, Bytes32, Bytes32, Bytes32, Bytes32]
    tree: Annotated[int, msgspec.Meta(ge=0, lt=TREES_MAX)]
    count: Uint
    first: Uint
    leaves: Annotated[tuple[bytes, ...], msgspec.Meta(max_length=LEAVES_PER_CHUNK_MAX)]
    paths: Annotated[
        tuple[Annotated[tuple[Bytes32, ...], msgspec.Meta(max_length=64)], ...],
        msgspec.Meta(max_length=LEAVES_PER_CHUNK_MAX),
    ]


class GetAnchor(Record, frozen=True):
    """Ask to be led on from an epoch whose voters are known, and to a state to fetch."""

    epoch: Uint


class Anchor(Record, frozen=True):
    """The answer: how epochs from `epoch` on ended, and a final block whose state is served.

    `hash` names that block; zeros when there are more steps to ask for, or no state. `final` proves
    it, empty when it is the seal of the last step.
    """

    epoch: Uint
    steps: Annotated[tuple[bytes, ...], msgspec.Meta(max_length=STEPS_PER_ANCHOR_MAX)]
    hash: Bytes32
    final: bytes


class SystemItems(Record, frozen=True):
    """System items that wait for a block (deal certificates, evidence): each proves itself."""

    items: Annotated[tuple[bytes, ...], msgspec.Meta(max_length=16)]


class Have(Record, frozen=True):
    """Ids of pending actions that the sender holds."""

    actions: Annotated[tuple[Bytes32, ...], msgspec.Meta(max_length=256)]


class DealMessage(Record, frozen=True):
    """A dealing for one holder: the dealer's signed header and a sealed box of its shares.

    The box is opened with the header's hash as associated data, so it needs no other signature.
    """

    deal: Annotated[bytes, msgspec.Meta(max_length=256)]
    ephemeral: Bytes32
    box: Annotated[bytes, msgspec.Meta(max_length=256 << 10)]


REVEAL_BYTES_MAX = 16 << 10
"""A signed reveal; of 128 shares it has some 4.5 KiB."""


class RevealPaths(Record, frozen=True):
    """A signed reveal with the Merkle path of each share, lowest S_r entry first."""

    reveal: Annotated[bytes, msgspec.Meta(max_length=REVEAL_BYTES_MAX)]
    paths: Annotated[tuple[tuple[Bytes32, ...], ...], msgspec.Meta(max_length=128)]


class Number(enum.IntEnum):
    """The first byte of every frame. Numbers below 16 carry envelopes of the equal `Domain`."""

    VOTE = 1
    ACTION = 2
    DEAL = 3
    ACK = 4
    REVEAL = 5
    JOIN = 6
    ACCEPT = 7
    PEER_ADDRS = 8
    PROPOSAL = 16
    CERTIFICATE = 17
    STATUS = 18
    GET_CERT = 19
    GET_BLOCKS = 20
    BLOCKS = 21
    GET_REVEAL = 22
    DESCRIPTOR = 23
    HAVE = 24
    SYSTEM_ITEMS = 25
    REVEAL_PATHS = 26
    GET_STATE = 27
    STATE_CHUNK = 28
    GET_ANCHOR = 29
    ANCHOR = 30


Message: TypeAlias = (
    Envelope
    | DealMessage
    | Proposal
    | Certificate
    | Status
    | GetCert
    | GetBlocks
    | Blocks
    | GetReveal
    | SystemItems
    | Have
    | RevealPaths
    | GetState
    | StateChunk
    | GetAnchor
    | Anchor
)
"""What stands behind a number, decoded but not verified. Envelopes: VOTE, ACTION, ACK, REVEAL."""

RECORDS: dict[Number, type[Record]] = {
    Number.DEAL: DealMessage,
    Number.PROPOSAL: Proposal,
    Number.CERTIFICATE: Certificate,
    Number.STATUS: Status,
    Number.GET_CERT: GetCert,
    Number.GET_BLOCKS: GetBlocks,
    Number.BLOCKS: Blocks,
    Number.GET_REVEAL: GetReveal,
    Number.SYSTEM_ITEMS: SystemItems,
    Number.HAVE: Have,
    Number.REVEAL_PATHS: RevealPaths,
    Number.GET_STATE: GetState,
    Number.STATE_CHUNK: StateChunk,
    Number.GET_ANCHOR: GetAnchor,
    Number.ANCHOR: Anchor,
}
_NUMBERS = {int(number): number for number in Number}
ENVELOPES = frozenset({Number.VOTE, Number.ACTION, Number.ACK, Number.REVEAL})


def parse_frame(frame: bytes) -> tuple[Number, Message]:
    """Decode one table message; raises `DecodeError` for anything but its one encoding."""
    if not 1 < len(frame) <= MESSAGE_BYTES_MAX:
        raise DecodeError(f"a message of {len(frame)} bytes; the limit is {MESSAGE_BYTES_MAX}")
    number = _NUMBERS.get(frame[0])
    if number is None:
        raise DecodeError(f"message number {frame[0]} is not known")
    if number in ENVELOPES:
        return number, parse_envelope(frame[1:])
    record = RECORDS.get(number)
    if record is None:
        raise DecodeError(f"message {number.name} does not belong on a table link")
    return number, decode_as(frame[1:], record)  # type: ignore[return-value]


def frame(number: Number, body: "Record | bytes") -> bytes:
    """Return the bytes that go on a link; an envelope or a record already encoded passes as is."""
    return bytes((number,)) + (body if isinstance(body, bytes) else encode(body))


def block_hash(header: bytes) -> BlockHash:
    """Return the hash that names a block: over its header's bytes as received."""
    return BlockHash(digest("block", header))


def body_hash(body: Body) -> Digest:
    """Return the Merkle root over `body_leaves`."""
    return merkle_root(body_leaves(body))


def body_leaves(body: Body) -> list[bytes]:
    """Return the justification, each system item and each action, tagged."""
    return [
        b"j" + encode((body.parent_cert, body.skips)),
        *(b"s" + item for item in body.system),
        *(b"a" + action for action in body.actions),
    ]


KINDS = {int(kind): kind for kind in VoteKind}
"""The kinds of votes by their number: a dictionary finds a member faster than an Enum does."""
_VOTE_HEAD = b"\x84"
"""An array of four."""
_CERTIFICATE_HEAD = b"\x86"
"""An array of six."""
_DIGEST_HEAD, _SIGNATURE_HEAD = bstr_head(32), bstr_head(SIGNATURE_BYTES)


def vote_payload(kind: VoteKind, epoch: int, view: int, about: bytes) -> bytes:
    """Return the bytes that a vote signs, a `VotePayload`; certificates rebuild them."""
    kind_epoch_view = encode_uint(kind) + encode_uint(epoch) + encode_uint(view)
    return _VOTE_HEAD + kind_epoch_view + _DIGEST_HEAD + about


@functools.lru_cache(VOTES_REMEMBERED)
def parse_vote(payload: bytes) -> VotePayload:
    """Return what a vote says; raises `DecodeError`. All who hear of it have the same bytes."""
    return decode_as(payload, VotePayload)


def certificate_bytes(payload: bytes, signers: bytes, signatures: Sequence[bytes]) -> bytes:
    """Return the encoding of a `Certificate` of what a vote says: the same fields, then by whom."""
    statement = payload[len(_VOTE_HEAD) :]
    signed = encode_array([_SIGNATURE_HEAD + signature for signature in signatures])
    return b"".join((_CERTIFICATE_HEAD, statement, bstr_head(len(signers)), signers, signed))
