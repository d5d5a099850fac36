"""What is final and who votes, from bytes alone: the light client (PROTOCOL 9, 13).

Whoever knows the chain id knows the voters of epoch 0. From there each epoch is proven by the one
before: its seal is final by a quorum, and the state under the seal names the next voters. Nothing
here trusts a clock, a majority of who answers, or a third of some older set; a header is final if a
quorum of its own epoch finalized it, or a descendant of it that the headers between lead to.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec

from consensus.chain import genesis
from consensus.encoding import DecodeError, Digest, Record, decode_as
from consensus.messages import (
    NO_DIGEST,
    BlockHash,
    Body,
    Certificate,
    CertificateBytes,
    Flag,
    Header,
    VoteKind,
    block_hash,
)
from consensus.signing import PublicKey, Verify, is_acceptable_key, key_id
from consensus.validators import VALIDATORS_MAX, Validators
from consensus.votes import Electorate, Tally

HEADER_BYTES_MAX = 1024
PATH_MAX = 4_096
"""Headers from a block to the one that a certificate names; a busy table has one or none."""

HeaderBytes = Annotated[bytes, msgspec.Meta(max_length=HEADER_BYTES_MAX)]


class FinalHeader(Record, frozen=True):
    """A header with what proves it final.

    `path` are the headers of its descendants in order, the last of them certified; empty when the
    certificate names the header itself.
    """

    header: HeaderBytes
    path: Annotated[tuple[HeaderBytes, ...], msgspec.Meta(max_length=PATH_MAX)]
    certificate: CertificateBytes


@dataclass(frozen=True, slots=True)
class Trusted:
    """An epoch whose voters are proven, and the final block that it begins on."""

    chain_id: bytes
    epoch: int
    validators: Validators
    height: int
    hash: BlockHash

    def electorate(self, verify: Verify) -> Electorate:
        """Return the voters as those who count votes want them."""
        return Electorate(self.validators, self.chain_id, self.epoch, verify)


def validators_of(keys: Sequence[bytes], leader_seed: bytes) -> Validators | str:
    """Return the voters with these keys, or why they cannot be any."""
    if not 1 <= len(keys) <= VALIDATORS_MAX:
        return f"{len(keys)} voters; an epoch has 1 to {VALIDATORS_MAX}"
    if list(keys) != sorted(keys) or len({key_id(key) for key in keys}) != len(keys):
        return "the voters are not in order of their keys, or two share a key id"
    if not all(map(is_acceptable_key, keys)):
        return "a voter's key is not an acceptable Ed25519 key"
    return Validators(tuple(map(PublicKey, keys)), Digest(leader_seed))


def trust_genesis(chain_id: bytes, keys: Sequence[bytes]) -> Trusted | str:
    """Return epoch 0 of a chain; the caller has the keys from what the chain id is the hash of."""
    validators = validators_of(keys, chain_id)
    if isinstance(validators, str):
        return validators
    base = genesis(chain_id)
    return Trusted(chain_id, 0, validators, base.height, base.hash)


def trust_next(trusted: Trusted, seal: bytes, keys: Sequence[bytes]) -> Trusted | str:
    """Return the epoch behind a seal that was proven final, or why these voters cannot follow.

    The caller has the keys from the state that the seal's header commits to.
    """
    header = decode_as(seal, Header)
    if header.flags != Flag.SEAL:
        return f"block {header.height} does not seal its epoch"
    named = block_hash(seal)
    validators = validators_of(keys, named)
    if isinstance(validators, str):
        return validators
    return Trusted(trusted.chain_id, trusted.epoch + 1, validators, header.height, named)


def check_final(trusted: Trusted, proof: FinalHeader, verify: Verify) -> Header | str:
    """Return the header if the voters of its epoch made it final, else what is wrong."""
    wanted: Header | None = None
    last: Header | None = None
    named = trusted.hash
    for data in (proof.header, *proof.path):
        try:
            header = decode_as(data, Header)
        except DecodeError as error:
            return f"a header does not parse: {error}"
        if why := _misplaced(trusted, header):
            return why
        if last is not None and (why := _unlinked(last, named, header)):
            return why
        wanted, last, named = wanted or header, header, block_hash(data)
    assert wanted is not None, "a proof has a header"
    assert last is not None, "a proof has a header"
    if wanted.flags == Flag.TAIL:
        return f"block {wanted.height} is a tail: no block of the chain"
    electorate = trusted.electorate(verify)
    if why := check_certificate(
        electorate, proof.certificate, (VoteKind.FINALIZE,), last.view, named
    ):
        return f"block {wanted.height} is not final: {why}"
    return wanted


def _misplaced(trusted: Trusted, header: Header) -> str:
    """Say why a header cannot be of this epoch, or nothing."""
    if header.chain_id != trusted.chain_id:
        return f"block {header.height} is of another table"
    if header.epoch != trusted.epoch:
        return f"block {header.height} is of epoch {header.epoch}, not {trusted.epoch}"
    if header.height <= trusted.height:
        return f"block {header.height} is not above the seal at {trusted.height}"
    if header.height == trusted.height + 1 and header.parent_hash != trusted.hash:
        return f"block {header.height} does not build on the block that its epoch begins on"
    return ""


def _unlinked(parent: Header, named: bytes, header: Header) -> str:
    """Say why a header is not that of a child of `parent`, or nothing."""
    if header.parent_hash != named:
        return f"block {header.height} names another parent"
    if header.height != parent.height + 1 or header.view <= parent.view:
        return f"block {header.height} in view {header.view} follows {parent.height}"
    if parent.flags != Flag.PLAIN and header.flags != Flag.TAIL:
        return f"block {header.height} follows the seal of its epoch"
    return ""


def check_certificate(
    electorate: Electorate, data: bytes, kinds: Sequence[VoteKind], view: int, about: bytes
) -> str:
    """Say why the bytes are no certificate of one of these statements, or nothing.

    Every signature is checked, also those beyond a quorum.
    """
    try:
        certificate = decode_as(data, Certificate)
    except DecodeError as error:
        return f"its certificate does not parse: {error}"
    kind = VoteKind(certificate.kind)
    if kind not in kinds:
        return f"its certificate is of {kind.name} votes"
    if (certificate.epoch, certificate.view) != (electorate.epoch, view):
        return (
            f"its certificate is of epoch {certificate.epoch} and view {certificate.view}, "
            f"not of {electorate.epoch} and {view}"
        )
    if certificate.digest != about:
        return "its certificate names another block"
    payload = electorate.payload(kind, view, about)
    if Tally(electorate, view).accept(certificate, payload) is None:
        q, n = electorate.validators.q, electorate.validators.n
        return (
            f"its certificate, with {len(certificate.signatures)} signatures, is not signed by "
            f"{q} of the {n} voters"
        )
    return ""


def check_ancestry(
    trusted: Trusted, parent: tuple[BlockHash, Header | None], header: Header, body: Body,
    verify: Verify,
) -> str:  # fmt: skip
    """Say why a block does not justify where it stands, or nothing (PROTOCOL 7, R2).

    `parent` is the hash of the block below and its header, None for the one the epoch begins on.
    """
    named, before = parent
    if why := _misplaced(trusted, header):
        return why
    if header.parent_hash != named:
        return f"block {header.height} names another parent"
    view = 0 if before is None else before.view
    if header.parent_view != view or header.view <= view:
        return f"block {header.height} of view {header.view} on parent view {header.parent_view}"
    if header.proposer != trusted.validators.leader(header.view):
        return f"block {header.height} is not by the leader of view {header.view}"
    if len(body.skips) != header.view - view - 1:
        return f"block {header.height} has {len(body.skips)} nullifications for its skipped views"
    electorate = trusted.electorate(verify)
    if before is None:
        if body.parent_cert:
            return f"block {header.height}, the first of its epoch, certifies its parent"
    elif why := check_certificate(
        electorate, body.parent_cert, (VoteKind.NOTARIZE, VoteKind.FINALIZE), view, named
    ):
        return f"the parent of block {header.height}: {why}"
    for skipped, skip in enumerate(body.skips, view + 1):
        if why := check_certificate(electorate, skip, (VoteKind.NULLIFY,), skipped, NO_DIGEST):
            return f"the skipped view {skipped} below block {header.height}: {why}"
    return ""
