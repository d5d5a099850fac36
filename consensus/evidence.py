"""Proofs that a validator signed what no honest one signs (PROTOCOL 9.3).

A proof is two signed votes of one validator about one view that exclude each other: two notarize or
two finalize votes for different blocks, or a nullify and a finalize vote. It is self-contained:
anybody who has the chain id and the epoch's keys can check it, whoever hands it over.

What is compared is what was signed. A second valid signature under the same statement proves
nothing.
"""

import enum
from dataclasses import dataclass

from consensus.encoding import DecodeError, Record, decode_as, encode
from consensus.messages import NO_DIGEST, VoteKind, VotePayload
from consensus.signing import Domain, Envelope, Verify, parse_envelope, verify_envelope
from consensus.validators import ValidatorIndex, Validators

ITEM_EVIDENCE = 3
"""The first field that tells evidence from other system items of a block."""


class OffenceKind(enum.IntEnum):
    """Which pair of votes exclude each other. A vote against a certificate is one of these too."""

    TWO_NOTARIZE = 1
    NULLIFY_AND_FINALIZE = 2
    TWO_FINALIZE = 3


class Evidence(Record, frozen=True):
    """Two signed votes, the one with the lesser payload first, so a pair has one encoding."""

    item: int
    first: bytes
    second: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Offence:
    """What a proof proves."""

    offender: ValidatorIndex
    kind: OffenceKind
    epoch: int
    view: int


def offence_kind(one: int, other: int) -> OffenceKind:
    """Return the offence of two kinds of vote that exclude each other."""
    if one != other:
        return OffenceKind.NULLIFY_AND_FINALIZE
    return OffenceKind.TWO_NOTARIZE if one == VoteKind.NOTARIZE else OffenceKind.TWO_FINALIZE


def exclude(one: VotePayload, other: VotePayload) -> bool:
    """Say whether no honest validator signs both votes."""
    if (one.epoch, one.view) != (other.epoch, other.view):
        return False
    if one.kind == other.kind:
        return one.digest != other.digest
    return VoteKind.NOTARIZE not in (one.kind, other.kind)


def build_evidence(one: bytes, other: bytes) -> bytes:
    """Return the proof made of two vote envelopes of one signer that exclude each other."""
    first, second = sorted((one, other), key=lambda vote: parse_envelope(vote).payload)
    parsed = (parse_envelope(first), parse_envelope(second))
    assert parsed[0].kid == parsed[1].kid, "votes of two signers are no offence"
    assert exclude(_vote(parsed[0]), _vote(parsed[1])), "an honest validator may sign both votes"
    return encode(Evidence(ITEM_EVIDENCE, first, second))


def verify_evidence(
    proof: bytes, validators: Validators, chain_id: bytes, epoch: int, verify: Verify
) -> Offence | str:
    """Return the offence that `proof` proves against a validator of `epoch`, or what is wrong."""
    try:
        record = decode_as(proof, Evidence)
        first, second = parse_envelope(record.first), parse_envelope(record.second)
        votes = (_vote(first), _vote(second))
    except DecodeError as error:
        return f"evidence that does not parse: {error}"
    if record.item != ITEM_EVIDENCE:
        return f"item {record.item} is not evidence"
    offender = validators.index_of_kid.get(first.kid)
    if offender is None:
        return "evidence that names no validator"
    if first.payload >= second.payload:
        return "evidence whose votes are not in order"
    kind = offence_kind(votes[0].kind, votes[1].kind)
    if not exclude(*votes) or votes[0].epoch != epoch:
        return "evidence whose votes do not exclude each other in this epoch"
    key = validators.keys[offender]
    if not all(
        verify_envelope(verify, key, Domain.VOTE, chain_id, half) for half in (first, second)
    ):
        return "evidence with a vote that its signer did not sign"
    return Offence(offender=offender, kind=kind, epoch=epoch, view=votes[0].view)


def _vote(envelope: Envelope) -> VotePayload:
    vote = decode_as(envelope.payload, VotePayload)
    if (vote.kind == VoteKind.NULLIFY) != (vote.digest == NO_DIGEST):
        raise DecodeError("a nullify vote names no block, every other vote one")
    return vote
