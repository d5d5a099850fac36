"""Votes of one view, counted per statement, verified late and once (PROTOCOL 7 R0)."""

from collections.abc import Iterator
from dataclasses import dataclass

from consensus.encoding import Digest, encode
from consensus.messages import Certificate, VoteKind, vote_payload
from consensus.signing import Domain, Verify, build_envelope, signed_bytes
from consensus.validators import ValidatorIndex, Validators, bitmap, members_of

DIGESTS_PER_SIGNER_MAX = 2
"""Different statements kept of one signer, kind and view: the second one proves equivocation."""


@dataclass(frozen=True, slots=True)
class Held:
    """A certificate that was built or verified here, with the bytes that go out and are stored."""

    kind: VoteKind
    view: int
    digest: Digest
    data: bytes


@dataclass(slots=True)
class _Vote:
    signature: bytes
    verified: bool


class Tally:
    """The votes of one (epoch, view). A liar's vote is dropped when it is verified."""

    def __init__(
        self, validators: Validators, chain_id: bytes, epoch: int, view: int, verify: Verify
    ) -> None:
        """Start empty."""
        self._validators = validators
        self._chain_id = chain_id
        self._epoch = epoch
        self._view = view
        self._verify = verify
        self._votes: dict[tuple[VoteKind, bytes], dict[ValidatorIndex, _Vote]] = {}

    def add(
        self,
        kind: VoteKind,
        about: bytes,
        signer: ValidatorIndex,
        signature: bytes,
        *,
        verified: bool = False,
    ) -> bool:
        """Count a vote; False when it adds nothing (known, or a third statement of its signer)."""
        votes = self._votes.get((kind, about))
        if votes is not None and signer in votes:
            return False
        if sum(1 for _ in self.statements(kind, signer)) >= DIGESTS_PER_SIGNER_MAX:
            return False
        self._votes.setdefault((kind, about), {})[signer] = _Vote(signature, verified)
        return True

    def statements(self, kind: VoteKind, signer: ValidatorIndex) -> Iterator[bytes]:
        """Yield what the signer said with this kind of vote: more than one is equivocation."""
        for (other, about), votes in self._votes.items():
            if other is kind and signer in votes:
                yield about

    def envelope(self, kind: VoteKind, about: bytes, signer: ValidatorIndex) -> bytes:
        """Return a counted vote as its envelope."""
        vote = self._votes[kind, about][signer]
        payload = vote_payload(kind, self._epoch, self._view, about)
        return build_envelope(self._validators.kids[signer], payload, vote.signature)

    def signers(self, kind: VoteKind, about: bytes) -> tuple[ValidatorIndex, ...]:
        """Return who is counted for a statement, verified or not, in order."""
        return tuple(sorted(self._votes.get((kind, about), {})))

    def confirmed(
        self, kind: VoteKind, about: bytes, least: int
    ) -> tuple[tuple[ValidatorIndex, ...], tuple[ValidatorIndex, ...]]:
        """Return (signers verified, liars dropped) once `least` votes may be there, else nobody.

        Verification happens here, for all votes of the statement at once, and is remembered.
        """
        votes = self._votes.get((kind, about), {})
        if len(votes) < least:
            return (), ()
        liars = tuple(
            signer
            for signer, vote in sorted(votes.items())
            if not vote.verified and not self._check(kind, about, signer, vote)
        )
        for liar in liars:
            del votes[liar]
        return (tuple(sorted(votes)) if len(votes) >= least else ()), liars

    def certify(self, kind: VoteKind, about: bytes) -> tuple[Held | None, tuple[int, ...]]:
        """Return (the certificate if a quorum of valid votes is there, liars dropped)."""
        signers, liars = self.confirmed(kind, about, self._validators.q)
        if not signers:
            return None, liars
        votes = self._votes[kind, about]
        record = Certificate(
            kind,
            self._epoch,
            self._view,
            about,
            bitmap(signers, self._validators.n),
            tuple(votes[signer].signature for signer in signers),
        )
        return Held(kind, self._view, Digest(about), encode(record)), liars

    def accept(self, certificate: Certificate) -> bool:
        """Say whether a certificate of this view is valid; verify only signatures not yet seen."""
        kind, about = VoteKind(certificate.kind), certificate.digest
        signers = members_of(certificate.signers, self._validators.n)
        if (
            signers is None
            or len(signers) < self._validators.q
            or len(signers) != len(certificate.signatures)
            or (kind is VoteKind.NULLIFY) != (not any(about))
        ):
            return False
        votes = self._votes.get((kind, about), {})
        for signer, signature in zip(signers, certificate.signatures, strict=True):
            known = votes.get(signer)
            if known is not None and known.verified and known.signature == signature:
                continue
            if not self._check(kind, about, signer, _Vote(signature, verified=False)):
                return False
        return True

    def _check(self, kind: VoteKind, about: bytes, signer: ValidatorIndex, vote: _Vote) -> bool:
        payload = vote_payload(kind, self._epoch, self._view, about)
        message = signed_bytes(self._validators.kids[signer], Domain.VOTE, self._chain_id, payload)
        vote.verified = self._verify(self._validators.keys[signer], message, vote.signature)
        return vote.verified
