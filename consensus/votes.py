"""Votes of one view, counted per statement, verified late and once (PROTOCOL 7 R0).

Sets of validators are bit masks: index i is bit 1 << i. A vote that came over its signer's own link
may wait unverified until a quorum needs it; any other is verified before it is counted, so nobody
can fill an honest signer's place with a bad signature.
"""

from consensus.encoding import Digest
from consensus.messages import KINDS, Certificate, VoteKind, certificate_bytes, vote_payload
from consensus.signing import Domain, Verify, signed_bytes
from consensus.validators import ValidatorIndex, Validators

NOTARIZE, NULLIFY, FINALIZE = VoteKind.NOTARIZE, VoteKind.NULLIFY, VoteKind.FINALIZE
VOTE = Domain.VOTE


class Electorate:
    """What every vote of one epoch has in common: who signs, on which chain, checked how."""

    __slots__ = ("_verify", "chain_id", "epoch", "validators")

    def __init__(self, validators: Validators, chain_id: bytes, epoch: int, verify: Verify) -> None:
        """Know the voters of one epoch."""
        self.validators = validators
        self.chain_id = chain_id
        self.epoch = epoch
        self._verify = verify

    def payload(self, kind: VoteKind, view: int, about: bytes) -> bytes:
        """Return what a vote of this epoch signs."""
        return vote_payload(kind, self.epoch, view, about)

    def check(self, signer: int, payload: bytes, signature: bytes) -> bool:
        """Say whether a validator signed a vote."""
        validators = self.validators
        message = signed_bytes(validators.kids[signer], VOTE, self.chain_id, payload)
        return self._verify(validators.keys[signer], message, signature)


class Held:
    """A certificate that was built or verified here, with the bytes that go out and are stored."""

    __slots__ = ("data", "digest", "kind", "view")

    def __init__(self, kind: VoteKind, view: int, about: Digest, data: bytes) -> None:
        """Keep the statement and its proof."""
        self.kind = kind
        self.view = view
        self.digest = about
        self.data = data


class Statement:
    """One thing that validators may say about a view, and who said it."""

    __slots__ = ("digest", "kind", "payload", "signatures", "verified", "view", "voters")

    def __init__(self, kind: VoteKind, view: int, about: bytes, payload: bytes) -> None:
        """Begin with nobody."""
        self.kind = kind
        self.view = view
        self.digest = Digest(about)
        self.payload = payload
        self.voters = 0
        self.verified = 0
        self.signatures: dict[int, bytes] = {}

    @property
    def count(self) -> int:
        """How many said it, verified or not."""
        return self.voters.bit_count()


class Tally:
    """The statements of one view; a signer has at most two of a kind, the second proves a fault."""

    __slots__ = ("_electorate", "_once", "_twice", "nullify", "statements", "view")

    def __init__(self, electorate: Electorate, view: int) -> None:
        """Start empty."""
        self._electorate = electorate
        self.view = view
        self.statements: dict[bytes, Statement] = {}  # by payload
        self.nullify: Statement | None = None  # the one of these that names no block
        self._once = [0, 0, 0, 0]  # by kind: who said something
        self._twice = [0, 0, 0, 0]

    def add(
        self,
        kind: VoteKind,
        about: bytes,
        payload: bytes,
        signer: int,
        signature: bytes,
        *,
        verified: bool,
    ) -> Statement | None:
        """Count a vote; None when it adds nothing: known, or a third statement of its signer."""
        bit = 1 << signer
        statement = self.statements.get(payload)
        if statement is not None and statement.voters & bit:
            return None
        if self._once[kind] & bit:
            if self._twice[kind] & bit:
                return None
            self._twice[kind] |= bit
        self._once[kind] |= bit
        if statement is None:
            statement = self._say(kind, about, payload)
        statement.voters |= bit
        statement.signatures[signer] = signature
        if verified:
            statement.verified |= bit
        return statement

    def _say(self, kind: VoteKind, about: bytes, payload: bytes) -> Statement:
        statement = self.statements[payload] = Statement(kind, self.view, about, payload)
        if kind is NULLIFY:
            self.nullify = statement
        return statement

    def room_for(self, kind: VoteKind, payload: bytes, signer: int) -> bool:
        """Say whether `add` would count this vote."""
        bit = 1 << signer
        statement = self.statements.get(payload)
        if statement is not None and statement.voters & bit:
            return False
        return not self._twice[kind] & bit

    def opposed(self, statement: Statement, signers: int) -> list[tuple[Statement, int]]:
        """Return the statements that no honest signer of this one makes, and who made both."""
        kind = statement.kind
        doubtful = self._twice[kind]
        if kind is not NOTARIZE:
            doubtful |= self._once[NULLIFY if kind is FINALIZE else FINALIZE]
        if not doubtful & signers:
            return []
        return [
            (other, both)
            for other in self.rivals(kind, statement.digest)
            if (both := other.voters & signers)
        ]

    def rivals(self, kind: VoteKind, about: bytes) -> list[Statement]:
        """Return the statements that no honest signer makes beside one of this kind."""
        return [
            other
            for other in self.statements.values()
            if (other.digest != about if other.kind is kind else NOTARIZE not in (other.kind, kind))
        ]

    def confirm(self, statement: Statement, wanted: int) -> int:
        """Verify votes until `wanted` of them are; return the mask of liars, which are dropped."""
        liars = 0
        waiting = statement.voters & ~statement.verified
        while waiting and statement.verified.bit_count() < wanted:
            bit = waiting & -waiting
            waiting ^= bit
            if not self.verify_one(statement, bit.bit_length() - 1):
                liars |= bit
        return liars

    def verify_one(self, statement: Statement, signer: int) -> bool:
        """Say whether a counted vote is its signer's; drop it if not, and what nobody else said."""
        bit = 1 << signer
        if statement.verified & bit:
            return True
        if self._electorate.check(signer, statement.payload, statement.signatures[signer]):
            statement.verified |= bit
            return True
        statement.voters ^= bit
        del statement.signatures[signer]
        if self._twice[statement.kind] & bit:
            self._twice[statement.kind] ^= bit
        else:
            self._once[statement.kind] ^= bit
        if not statement.voters:
            self.statements.pop(statement.payload, None)
            if statement is self.nullify:
                self.nullify = None
        return False

    def certify(self, statement: Statement) -> Held:
        """Return the certificate of a statement that a quorum of verified votes supports."""
        validators = self._electorate.validators
        signatures = []
        chosen = 0
        left = statement.verified
        for _ in range(validators.q):
            bit = left & -left
            left ^= bit
            chosen |= bit
            signatures.append(statement.signatures[bit.bit_length() - 1])
        assert chosen.bit_count() == validators.q, "too few votes for a certificate"
        signers = chosen.to_bytes((validators.n + 7) // 8, "little")
        data = certificate_bytes(statement.payload, signers, signatures)
        return Held(statement.kind, self.view, statement.digest, data)

    def accept(self, certificate: Certificate, payload: bytes) -> Statement | None:
        """Count the votes of a certificate of this view if it is valid, else None.

        Only signatures that were not seen before are verified. The bitmap must be one over the
        validators, and name as many as there are signatures, a quorum at least.
        """
        n, q = self._electorate.validators.n, self._electorate.validators.q
        mask = int.from_bytes(certificate.signers, "little")
        signatures = certificate.signatures
        if (
            len(certificate.signers) != (n + 7) // 8
            or mask >> n
            or not q <= mask.bit_count() == len(signatures)
        ):
            return None
        known = self.statements.get(payload)
        verified = known.verified if known is not None else 0
        signers = members(mask)
        for signer, signature in zip(signers, signatures, strict=True):
            if (
                known is not None
                and verified >> signer & 1
                and (known.signatures[signer] == signature)
            ):
                continue
            if not self._electorate.check(signer, payload, signature):
                return None
        return self._merge(certificate, payload, mask, signers)

    def _merge(
        self, certificate: Certificate, payload: bytes, mask: int, signers: list[ValidatorIndex]
    ) -> Statement:
        kind = KINDS[certificate.kind]
        statement = self.statements.get(payload)
        if statement is None:
            statement = self._say(kind, certificate.digest, payload)
        fresh = mask & ~statement.voters
        self._twice[kind] |= fresh & self._once[kind]
        self._once[kind] |= fresh
        for signer, signature in zip(signers, certificate.signatures, strict=True):
            if not statement.verified >> signer & 1:
                statement.signatures[signer] = signature
        statement.voters |= mask
        statement.verified |= mask
        return statement


def members(mask: int) -> list[ValidatorIndex]:
    """Return the indices of a mask, in order."""
    found = []
    while mask:
        bit = mask & -mask
        mask ^= bit
        found.append(ValidatorIndex(bit.bit_length() - 1))
    return found
