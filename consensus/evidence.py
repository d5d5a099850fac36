"""Proofs that a validator signed what no honest one signs (PROTOCOL 9.3).

A proof is either two signed statements of one validator that exclude each other (votes about one
view, headers of one batch), or a signed reveal with a share that is not the one dealt. It is
self-contained: who has the chain id and the epoch's keys can check it, whoever hands it over.

What is compared is what was signed. A second valid signature under the same statement proves
nothing, for a signer can make many.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, TypeAlias

import msgspec

from consensus.beacon_rolls import PATH_DIGESTS_MAX, RevealPayload, SecretName, name_secrets
from consensus.dealing import DealHeader, LeafScheme, is_dealt
from consensus.encoding import Bytes32, DecodeError, Digest, Record, decode_as, encode
from consensus.messages import NO_DIGEST, REVEAL_BYTES_MAX, VoteKind, VotePayload
from consensus.signing import Domain, Envelope, Verify, parse_envelope, verify_envelope
from consensus.validators import VALIDATORS_MAX, ValidatorIndex, Validators

ITEM_EVIDENCE = 3
"""The first field that tells evidence from other system items of a block."""
STATEMENT_BYTES_MAX = 256
"""One of two signed statements; the longest, a deal header, has some 170 bytes."""

Said: TypeAlias = VotePayload | DealHeader
_STATEMENTS: dict[int, type[Said]] = {
    Domain.VOTE: VotePayload,
    Domain.DEAL: DealHeader,
}


class OffenceKind(enum.IntEnum):
    """What was done. A vote against a certificate is a pair of votes too.

    The last has no proof of its own: the settle of a roll that used the dealing is one.
    """

    TWO_NOTARIZE = 1
    NULLIFY_AND_FINALIZE = 2
    TWO_FINALIZE = 3
    TWO_DEALINGS = 4
    FALSE_SHARE = 6
    FALSE_DEALING = 7


_Half = Annotated[bytes, msgspec.Meta(max_length=STATEMENT_BYTES_MAX)]


class Evidence(Record, frozen=True):
    """Two signed statements, the one with the lesser payload first, so a pair has one encoding.

    `about` is the domain that both are signed for.
    """

    item: int
    about: int
    first: _Half
    second: _Half


class FalseShare(Record, frozen=True):
    """A signed reveal, what its shares are said to be of, and at `at` the leaf that was dealt.

    `path` leads from the leaf to the root of its secret, which is its first element, and from there
    to the root of the dealing.
    """

    item: int
    about: int
    reveal: Annotated[bytes, msgspec.Meta(max_length=REVEAL_BYTES_MAX)]
    secrets: Annotated[
        tuple[SecretName, ...], msgspec.Meta(min_length=1, max_length=VALIDATORS_MAX)
    ]
    at: Annotated[int, msgspec.Meta(ge=0, lt=VALIDATORS_MAX)]
    leaf: Bytes32
    path: Annotated[tuple[Bytes32, ...], msgspec.Meta(max_length=PATH_DIGESTS_MAX)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Offence:
    """What a proof proves. `at` is the view of the votes, the batch, or the roll."""

    offender: ValidatorIndex
    kind: OffenceKind
    epoch: int
    at: int


def offence_of(one: Said, other: Said) -> OffenceKind | None:
    """Return which offence two statements of one signer are, None if honest ones make both."""
    match one, other:
        case VotePayload(), VotePayload() if (one.epoch, one.view) == (other.epoch, other.view):
            if one.kind != other.kind:
                both = VoteKind.NOTARIZE not in {one.kind, other.kind}
                return OffenceKind.NULLIFY_AND_FINALIZE if both else None
            if one.digest == other.digest:
                return None
            is_first = one.kind == VoteKind.NOTARIZE
            return OffenceKind.TWO_NOTARIZE if is_first else OffenceKind.TWO_FINALIZE
        case DealHeader(), DealHeader() if _batch(one) == _batch(other) and one != other:
            return OffenceKind.TWO_DEALINGS
        case _:
            return None


def _batch(said: DealHeader) -> tuple[int, int, int]:
    return said.epoch, said.dealer, said.batch


def build_evidence(about: Domain, one: bytes, other: bytes) -> bytes:
    """Return the proof made of two envelopes of one signer that exclude each other."""
    first, second = sorted((one, other), key=lambda half: parse_envelope(half).payload)
    parsed = (parse_envelope(first), parse_envelope(second))
    assert parsed[0].kid == parsed[1].kid, "statements of two signers are no offence"
    said = [_read(about, half) for half in parsed]
    assert offence_of(*said) is not None, "an honest validator may sign both"
    return encode(Evidence(ITEM_EVIDENCE, about, first, second))


def build_false_share(
    reveal: bytes, secrets: Sequence[SecretName], at: int, leaf: Digest, path: Sequence[bytes]
) -> bytes:
    """Return the proof that share `at` of a signed reveal is not the one of the dealt `leaf`."""
    return encode(
        FalseShare(ITEM_EVIDENCE, Domain.REVEAL, reveal, tuple(secrets), at, leaf, tuple(path))
    )


def is_evidence(item: bytes) -> bool:
    """Say whether a system item says that it is evidence."""
    return item[1:2] == bytes((ITEM_EVIDENCE,))


def epoch_of(proof: bytes) -> int | str:
    """Return the epoch that a proof says it is of, or why it is no proof."""
    try:
        if _is_about_share(proof):
            envelope = parse_envelope(decode_as(proof, FalseShare).reveal)
            return decode_as(envelope.payload, RevealPayload).epoch
        record = decode_as(proof, Evidence)
        if record.about not in _STATEMENTS:
            return f"evidence about statements of domain {record.about}"
        return _read(record.about, parse_envelope(record.first)).epoch
    except DecodeError as error:
        return f"evidence that does not parse: {error}"


def _is_about_share(proof: bytes) -> bool:
    # The second field, which tells the two forms apart, is a small number.
    return proof[2:3] == bytes((Domain.REVEAL,))


def verify_evidence(
    proof: bytes, validators: Validators, chain_id: bytes, epoch: int, verify: Verify
) -> Offence | str:
    """Return the offence that `proof` proves against a validator of `epoch`, or what is wrong."""
    try:
        if _is_about_share(proof):
            return _verify_share(proof, validators, chain_id, epoch, verify)
        return _verify_pair(proof, validators, chain_id, epoch, verify)
    except DecodeError as error:
        return f"evidence that does not parse: {error}"


def _verify_pair(
    proof: bytes, validators: Validators, chain_id: bytes, epoch: int, verify: Verify
) -> Offence | str:
    record = decode_as(proof, Evidence)
    if record.item != ITEM_EVIDENCE:
        return f"item {record.item} is not evidence"
    if record.about not in _STATEMENTS:
        return f"evidence about statements of domain {record.about}"
    first, second = parse_envelope(record.first), parse_envelope(record.second)
    said = (_read(record.about, first), _read(record.about, second))
    offender = validators.index_of_kid.get(first.kid)
    if offender is None:
        return "evidence that names no validator"
    if first.payload >= second.payload:
        return "evidence whose statements are not in order"
    kind = offence_of(*said)
    if kind is None or said[0].epoch != epoch:
        return "evidence whose statements do not exclude each other in this epoch"
    if isinstance(said[0], DealHeader) and said[0].dealer != offender:
        return f"evidence of a dealing of {said[0].dealer} against {offender}"
    key = validators.keys[offender]
    if not all(
        verify_envelope(verify, key, Domain(record.about), chain_id, half)
        for half in (first, second)
    ):
        return "evidence with a statement that its signer did not sign"
    at = said[0].view if isinstance(said[0], VotePayload) else said[0].batch
    return Offence(offender=offender, kind=kind, epoch=epoch, at=at)


def _read(about: int, envelope: Envelope) -> Said:
    said = decode_as(envelope.payload, _STATEMENTS[about])
    if isinstance(said, VotePayload) and (said.kind == VoteKind.NULLIFY) != (
        said.digest == NO_DIGEST
    ):
        raise DecodeError("a nullify vote names no block, every other vote one")
    return said


def _verify_share(
    proof: bytes, validators: Validators, chain_id: bytes, epoch: int, verify: Verify
) -> Offence | str:
    record = decode_as(proof, FalseShare)
    if record.item != ITEM_EVIDENCE:
        return f"item {record.item} is not evidence"
    envelope = parse_envelope(record.reveal)
    reveal = decode_as(envelope.payload, RevealPayload)
    offender = validators.index_of_kid.get(envelope.kid)
    if offender is None:
        return "evidence that names no validator"
    if reveal.epoch != epoch:
        return f"evidence of a reveal of epoch {reveal.epoch} in epoch {epoch}"
    if name_secrets(record.secrets) != reveal.secrets:
        return "evidence about other secrets than the reveal's"
    if len(reveal.shares) != len(record.secrets) or record.at >= len(reveal.shares):
        return f"evidence about share {record.at} of {len(reveal.shares)}"
    of, share = record.secrets[record.at], reveal.shares[record.at]
    if not is_dealt(of.root, validators.n, of.index, offender, record.leaf, record.path):
        return "evidence with a leaf that is not in the dealing"
    scheme = LeafScheme.of(chain_id, epoch, of.dealer, of.batch)
    # Who was dealt nothing says nothing, which is no lie.
    if not share or scheme.leaf(of.index, offender, share) == record.leaf:
        return "evidence against a share that is not false"
    key = validators.keys[offender]
    if not verify_envelope(verify, key, Domain.REVEAL, chain_id, envelope):
        return "evidence with a reveal that its signer did not sign"
    return Offence(offender=offender, kind=OffenceKind.FALSE_SHARE, epoch=epoch, at=reveal.roll)
