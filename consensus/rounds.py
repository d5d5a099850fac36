"""What a node knows of each view: votes, certificates, proposals, proofs of fault (PROTOCOL 7).

Nothing here decides anything. A vote that completes a quorum makes its statement *ripe*; `ripen`
verifies and certifies. Whatever is held was built or verified here, so the rules in `engine` look
only at what is held and the order in which messages came does not matter.
"""

from dataclasses import dataclass

from consensus.chain import Block, Tip, join_block
from consensus.encoding import DecodeError, Digest, decode_as, encode
from consensus.evidence import OffenceKind, build_evidence, offence_of
from consensus.messages import (
    KINDS,
    NO_DIGEST,
    BlockHash,
    Body,
    Certificate,
    Header,
    Proposal,
    VoteKind,
    block_hash,
    parse_vote,
)
from consensus.signing import Domain, Envelope, build_envelope, parse_envelope
from consensus.validators import ValidatorIndex
from consensus.votes import (
    FINALIZE,
    NOTARIZE,
    NULLIFY,
    Electorate,
    Held,
    Statement,
    Tally,
    members,
)

VIEWS_KEPT = 16
"""Views below the final one whose votes are kept, so that a late second vote is still noticed."""
VOTE_VIEWS_MAX = 128
"""Votes are stored for this many views up to the current one; older ones come as certificates."""


@dataclass(slots=True)
class OwnVote:
    """A vote of this node: what it is about and the stored bytes that go out, never others."""

    digest: Digest
    frame: bytes


class Round:
    """What is known of one view."""

    __slots__ = (
        "fault",
        "finalization",
        "finalize",
        "justified",
        "notarization",
        "notarize",
        "nullification",
        "nullify",
        "proposal",
        "proposal_frame",
        "tally",
        "view",
    )

    def __init__(self, view: int, tally: Tally) -> None:
        """Know nothing."""
        self.view = view
        self.tally = tally
        self.proposal: Block | None = None
        self.proposal_frame = b""  # own proposals only
        self.justified = False
        self.fault = ""  # why the proposal is invalid for ever
        self.notarize: OwnVote | None = None
        self.nullify: OwnVote | None = None
        self.finalize: OwnVote | None = None
        self.notarization: Held | None = None
        self.nullification: Held | None = None
        self.finalization: Held | None = None

    def own(self, kind: VoteKind) -> OwnVote | None:
        """Return the vote of this kind that this node cast."""
        if kind is NOTARIZE:
            return self.notarize
        return self.finalize if kind is FINALIZE else self.nullify

    def cast(self, kind: VoteKind, vote: OwnVote) -> None:
        """Take note of a vote of this node."""
        if kind is NOTARIZE:
            self.notarize = vote
        elif kind is FINALIZE:
            self.finalize = vote
        else:
            self.nullify = vote

    def certificates(self) -> list[Held]:
        """Return what settles this view, the strongest first."""
        held = (self.finalization, self.notarization, self.nullification)
        return [one for one in held if one is not None]

    def voters_for_proposal(self) -> int:
        """Return the mask of those who notarized the proposal."""
        about = self.proposal.hash if self.proposal is not None else b""
        return sum(
            statement.voters
            for statement in self.tally.statements.values()
            if statement.kind is NOTARIZE and statement.digest == about
        )


class Rounds:
    """The views around and above the final one."""

    def __init__(self, electorate: Electorate, me: ValidatorIndex, final: Tip) -> None:
        """Begin above `final`."""
        self._electorate = electorate
        self._validators = electorate.validators
        self._me = me
        self._rounds: dict[int, Round] = {}
        self._statements: dict[bytes, Statement] = {}  # by payload
        self._ripe: list[Statement] = []
        self._proved: dict[tuple[ValidatorIndex, OffenceKind], None] = {}
        self.evidence: tuple[bytes, ...] = ()
        """The proofs of fault, one for each offender and kind of offence."""
        self.view = final.view + 1
        self.final = final
        self.finalization: Held | None = None  # of the final block itself
        self.better: Held | None = None  # the best one above it
        self.top_view = final.view  # the highest view with a certificate
        self.open: list[Round] = []  # notarized and above the final one, lowest first
        self.noted = True  # something came that a rule may look at
        self.fresh: list[Held] = []  # held since the engine last took them
        self.silent: list[ValidatorIndex] = []  # leaders whose turn passed without a word
        self.faults: list[tuple[ValidatorIndex, str]] = []
        self.accused: list[tuple[ValidatorIndex, bytes]] = []  # votes to be shown to their signer
        self.known_from = final.view  # own votes of higher views that are held here are all known
        self.forgotten: list[tuple[VoteKind, int]] = []  # signed by the own key, not by this node
        self.distrusted = 0  # mask of those of whom there is a proof of fault

    def get(self, view: int) -> Round | None:
        """Return what is known of a view, if anything is."""
        return self._rounds.get(view)

    def at(self, view: int) -> Round:
        """Return what is known of a view, to be added to."""
        known = self._rounds.get(view)
        if known is None:
            known = self._rounds[view] = Round(view, Tally(self._electorate, view))
        return known

    def distrust(self, validator: ValidatorIndex) -> None:
        """Give a validator no turn from now on: there is a proof against it."""
        self.noted |= not self.distrusted >> validator & 1
        self.distrusted |= 1 << validator

    def is_trusted(self, validator: ValidatorIndex) -> bool:
        """Say whether a validator may lead: there is no proof against it, or against everybody."""
        if not self.distrusted >> validator & 1:
            return True
        return self.distrusted == (1 << self._validators.n) - 1

    def has_own_votes(self) -> bool:
        """Say whether this node voted above the final block."""
        return any(
            known.view > self.final.view and (known.notarize or known.nullify or known.finalize)
            for known in self._rounds.values()
        )

    def entry(self) -> Held | None:
        """Return the certificate that lets anybody enter the current view."""
        known = self._rounds.get(self.view - 1)
        held = known.certificates() if known is not None else []
        return held[0] if held else self.finalization

    def votes_of(self, signer: ValidatorIndex, count: int) -> list[bytes]:
        """Return up to `count` votes of a validator above the final block, newest views first."""
        votes: list[bytes] = []
        for view in sorted((view for view in self._rounds if view > self.final.view), reverse=True):
            for statement in self._rounds[view].tally.statements.values():
                signature = statement.signatures.get(signer)
                if signature is not None and len(votes) < count:
                    kid = self._validators.kids[signer]
                    votes.append(build_envelope(kid, statement.payload, signature))
        return votes

    def settled(self) -> tuple[Held | None, int]:
        """Return the certified block that a leader of the current view has to build on (R1).

        That is (its certificate, its view), the certificate missing where it stands for the final
        block without need of one. With a view that nothing settles, it is (None, that view).
        """
        for view in range(self.view - 1, self.final.view, -1):
            known = self._rounds.get(view)
            if known is None:
                return None, view
            held = known.finalization or known.notarization
            if held is not None:
                return held, view
            if known.nullification is None:
                return None, view
        return self.finalization, self.final.view

    # Votes.

    def note_vote(self, sender: ValidatorIndex, envelope: Envelope) -> tuple[int, int, int] | None:
        """Count a vote; return (signer, kind, view) of any that could be a validator's."""
        payload = envelope.payload
        statement = self._statements.get(payload)
        if statement is not None:
            kind, view, about = statement.kind, statement.view, statement.digest
        else:
            try:
                vote = parse_vote(payload)
            except DecodeError:
                self.faults.append((sender, "vote of no known form"))
                return None
            if vote.epoch != self._electorate.epoch:
                return None
            if (vote.kind == NULLIFY) != (vote.digest == NO_DIGEST):
                self.faults.append((sender, "vote that names a block where there is none"))
                return None
            kind, view, about = KINDS[vote.kind], vote.view, Digest(vote.digest)
        signer = self._validators.index_of_kid.get(envelope.kid)
        if signer is None:
            self.faults.append((sender, "vote of a stranger"))
            return None
        if signer == self._me:
            is_held = view > self.final.view or view in self._rounds
            if view > self.known_from and is_held and not self._is_own(kind, view, about):
                self._note_forgotten(kind, view, payload, envelope.signature)
            return signer, kind, view
        top = self.view
        if self.final.view - VIEWS_KEPT < view <= top + 1 and view > top - VOTE_VIEWS_MAX:
            self._count(kind, view, about, envelope, signer, sender=sender)
        return signer, kind, view

    def _is_own(self, kind: VoteKind, view: int, about: bytes) -> bool:
        """Say whether this node has cast this vote."""
        known = self._rounds.get(view)
        if known is None:
            return False
        own = known.own(kind)
        return own is not None and own.digest == about

    def _note_forgotten(
        self, kind: VoteKind, view: int, payload: bytes, signature: bytes | None = None
    ) -> None:
        """Note a vote of the own key that is not in the journal; a lone one is verified first."""
        if signature is None or self._electorate.check(self._me, payload, signature):
            self.forgotten.append((kind, view))
            self.noted = True

    def _count(
        self,
        kind: VoteKind,
        view: int,
        about: Digest,
        envelope: Envelope,
        signer: ValidatorIndex,
        *,
        sender: ValidatorIndex | None,
    ) -> None:
        """Count a vote; a relayed one is verified first, `sender` None says that it was."""
        known = self._rounds.get(view)
        payload, signature = envelope.payload, envelope.signature
        relayed = sender is not None and sender != signer
        if relayed:
            if known is not None and not known.tally.room_for(kind, payload, signer):
                return
            if not self._electorate.check(signer, payload, signature):
                assert sender is not None
                self.faults.append((sender, "vote that does not verify"))
                return
        known = known or self.at(view)
        verified = relayed or sender is None
        statement = known.tally.add(kind, about, payload, signer, signature, verified=verified)
        if statement is not None:
            self._statements[payload] = statement
            self._counted(known, statement, signer)

    def _counted(self, known: Round, statement: Statement, signer: ValidatorIndex) -> None:
        for other, _ in known.tally.opposed(statement, 1 << signer):
            if statement.voters >> signer & 1:  # it may turn out not to be the signer's
                self._accuse(known.tally, statement, other, signer)
        if statement.view <= self.final.view:
            return
        count = statement.voters.bit_count()
        if count >= self._validators.q:
            if _slot(known, statement.kind) is None:
                self._ripe.append(statement)
                self.noted = True
        elif statement.kind is NULLIFY and statement.view == self.view:
            self.noted |= count > self._validators.f or signer == self._leader(self.view)

    def count_own(self, kind: VoteKind, view: int, about: Digest, envelope: Envelope) -> None:
        """Count a vote of this node."""
        self._count(kind, view, about, envelope, self._me, sender=None)

    def ripen(self) -> bool:
        """Verify and certify what has a quorum; say whether anything was."""
        if not self._ripe:
            return False
        ripe, self._ripe = self._ripe, []
        before = len(self.fresh)
        for statement in ripe:
            known = self._rounds.get(statement.view)
            if known is None or statement.view <= self.final.view:
                continue
            if _slot(known, statement.kind) is None and self._confirm(
                known.tally, statement, self._validators.q
            ):
                self._hold(known, known.tally.certify(statement))
        return len(self.fresh) > before

    def _confirm(self, tally: Tally, statement: Statement, wanted: int) -> bool:
        for liar in members(tally.confirm(statement, wanted)):
            self._note_liar(statement, liar)
        return statement.verified.bit_count() >= wanted

    def _note_liar(self, statement: Statement, signer: ValidatorIndex) -> None:
        """A vote is not its signer's; forget what nobody else said."""
        self.faults.append((signer, "vote that does not verify"))
        if not statement.voters:
            self._statements.pop(statement.payload, None)

    def given_up(self) -> bool:
        """Say whether others' nullify votes for the current view bind an honest node (R6)."""
        known = self._rounds.get(self.view)
        statement = known.tally.nullify if known is not None else None
        if known is None or statement is None:
            return False
        leader, f = self._leader(self.view), self._validators.f
        if statement.voters >> leader & 1:
            if known.tally.verify_one(statement, leader):
                return True
            self._note_liar(statement, leader)
        return statement.count > f and self._confirm(known.tally, statement, f + 1)

    def pulled(self) -> bool:
        """Say whether more than f validators gave the current view up: somebody honest did."""
        known = self._rounds.get(self.view)
        statement = known.tally.nullify if known is not None else None
        return statement is not None and statement.count > self._validators.f

    def _leader(self, view: int) -> ValidatorIndex:
        return self._validators.leader(view)

    # Certificates.

    def note_certificate(self, certificate: Certificate, data: bytes = b"") -> bool:
        """Hold a certificate if it is valid and new; False only when it is a lie.

        One that contradicts what is known of its view proves faults of its signers, also where the
        view is settled.
        """
        kind, view = KINDS[certificate.kind], certificate.view
        if certificate.epoch != self._electorate.epoch:
            return True
        if view == self.final.view and self.finalization is None:
            return self._note_final(certificate, data)
        known = self._rounds.get(view)
        held = _slot(known, kind) if known is not None else None
        is_settled = view <= self.final.view or held is not None
        if is_settled and (known is None or not known.tally.rivals(kind, certificate.digest)):
            return True
        if (kind is NULLIFY) != (certificate.digest == NO_DIGEST):
            return False
        payload = self._electorate.payload(kind, view, certificate.digest)
        tally = known.tally if known is not None else Tally(self._electorate, view)
        statement = tally.accept(certificate, payload)
        if statement is None:
            return False
        if known is None:
            known = self._rounds[view] = Round(view, tally)
        self._statements[payload] = statement
        self._accuse_all(tally, statement)
        if not is_settled:
            signers = int.from_bytes(certificate.signers, "little")
            if signers >> self._me & 1 and not self._is_own(kind, view, certificate.digest):
                self._note_forgotten(kind, view, payload)
            about = Digest(certificate.digest)
            self._hold(known, Held(kind, view, about, data or encode(certificate)))
        return True

    def _note_final(self, certificate: Certificate, data: bytes) -> bool:
        """Take the finalization of the final block where it became final by a descendant's."""
        wanted = (FINALIZE, self.final.hash)
        if self.finalization is not None or (certificate.kind, certificate.digest) != wanted:
            return True
        payload = self._electorate.payload(FINALIZE, self.final.view, self.final.hash)
        known = self._rounds.get(self.final.view)
        tally = known.tally if known is not None else Tally(self._electorate, self.final.view)
        statement = tally.accept(certificate, payload)
        if statement is None:
            return False
        self._accuse_all(tally, statement)
        self.finalization = Held(
            FINALIZE, self.final.view, self.final.hash, data or encode(certificate)
        )
        self.noted = True
        return True

    def restore(self, held: Held) -> None:
        """Hold a certificate from the journal: it was verified before it went there."""
        self._hold(self.at(held.view), held)

    def _hold(self, known: Round, held: Held) -> None:
        if held.kind is NOTARIZE:
            known.notarization = held
            self.open.append(known)
            self.open.sort(key=lambda one: one.view)
        elif held.kind is FINALIZE:
            known.finalization = held
            if self.better is None or self.better.view < held.view:
                self.better = held
        else:
            known.nullification = held
            leader = self._leader(held.view)
            statement = known.tally.nullify
            if statement is not None and not statement.voters >> leader & 1:
                self.silent.append(leader)
        self.top_view = max(self.top_view, held.view)
        self.fresh.append(held)
        self.noted = True

    def finalized(self, final: Tip, held: Held | None) -> None:
        """Move the final block forward; `held` is its own certificate, if it has one."""
        self.final = final
        self.finalization = held
        self.top_view = max(self.top_view, final.view)
        if self.better is not None and self.better.view <= final.view:
            self.better = None
        self.open = [known for known in self.open if known.view > final.view]
        for view in [view for view in self._rounds if view <= final.view - VIEWS_KEPT]:
            for payload in self._rounds.pop(view).tally.statements:
                self._statements.pop(payload, None)
        for known in self._rounds.values():
            if known.view <= final.view:
                known.proposal, known.proposal_frame = None, b""

    # Proposals.

    def note_proposal(self, sender: ValidatorIndex, proposal: Proposal) -> Block | None:
        """Put a leader's block into its view's slot; return it if it went there (R9).

        The first one is kept, though the leader's vote for a second still counts, as evidence. Only
        a certificate for another block lets that one take the slot.
        """
        try:
            header = decode_as(proposal.header, Header)
            envelope = parse_envelope(proposal.vote)
            if header.epoch != self._electorate.epoch:
                return None
            view, named = header.view, block_hash(proposal.header)
            known = self._rounds.get(view)
            leader = self._leader(view)
            if view <= self.final.view or leader == self._me:
                return None
            if known is not None and known.proposal is not None and known.proposal.hash == named:
                return None
            if not self._is_by_leader(view, named, envelope):
                self.faults.append((sender, "proposal without its leader's vote"))
                return None
            if view <= self.view and not self._wants(view, known, named):
                self._count(NOTARIZE, view, named, envelope, leader, sender=None)
                return None
            block = join_block(named, header, proposal.header, proposal.body)
        except DecodeError:
            self.faults.append((sender, "proposal that does not parse"))
            return None
        if view > max(self.view, self.top_view + 1) and not self._enters(block):
            self.faults.append((leader, f"proposal that does not prove entry to view {view}"))
            return None
        self._count(NOTARIZE, view, named, envelope, leader, sender=None)
        known = self.at(view)
        if not self._wants(view, known, named):
            return None
        known.proposal, known.justified, known.fault = block, False, ""
        self.noted = True
        return block

    def _wants(self, view: int, known: Round | None, named: BlockHash) -> bool:
        """Say whether a block may take its view's slot."""
        if known is not None and known.notarization is not None:
            return known.notarization.digest == named
        return view >= self.view and (known is None or known.proposal is None)

    def _is_by_leader(self, view: int, named: BlockHash, envelope: Envelope) -> bool:
        leader = self._leader(view)
        payload = self._electorate.payload(NOTARIZE, view, named)
        if envelope.payload != payload or envelope.kid != self._validators.kids[leader]:
            return False
        known = self._statements.get(payload)
        if known is not None and known.verified >> leader & 1:
            return True
        return self._electorate.check(leader, payload, envelope.signature)

    def _enters(self, block: Block) -> bool:
        """Hold the certificate in a block that lets anybody enter the block's view."""
        body, view = block.body, block.header.view - 1
        if body.skips:
            return self._proves(body.skips[-1], (NULLIFY,), view, NO_DIGEST)
        kinds = (NOTARIZE, FINALIZE)
        return self._proves(body.parent_cert, kinds, view, block.header.parent_hash)

    def justification_fault(self, header: Header, body: Body) -> str:
        """Return why a block does not prove its ancestry by itself (R2), or nothing.

        What it proves is held from now on, so the reader of a block can build on the same parent.
        """
        final, parent_view = self.final, header.parent_view
        if not final.view <= parent_view < header.view:
            return f"parent view {parent_view} is not between final and own view"
        if parent_view == final.view and header.parent_hash != final.hash:
            return "parent conflicts with the final block"
        if len(body.skips) != header.view - parent_view - 1:
            return f"{len(body.skips)} nullifications for the views skipped"
        if parent_view == 0:
            if body.parent_cert:
                return "the first block of an epoch needs no certificate"
        elif not self._proves(
            body.parent_cert, (NOTARIZE, FINALIZE), parent_view, header.parent_hash
        ):
            return "parent certificate does not prove the parent"
        for view, skip in enumerate(body.skips, parent_view + 1):
            if not self._proves(skip, (NULLIFY,), view, NO_DIGEST):
                return f"no valid nullification of view {view}"
        return ""

    def _proves(self, data: bytes, kinds: tuple[VoteKind, ...], view: int, about: bytes) -> bool:
        """Say whether the bytes are a certificate of one of these statements; hold a new one."""
        known = self._rounds.get(view)
        if known is not None:
            for kind in kinds:
                held = _slot(known, kind)
                if held is not None and held.data == data:
                    return held.digest == about
        if self.finalization is not None and self.finalization.data == data:
            return view == self.final.view and about == self.final.hash and FINALIZE in kinds
        try:
            certificate = decode_as(data, Certificate)
        except DecodeError:
            return False
        if (
            certificate.kind not in kinds
            or certificate.epoch != self._electorate.epoch
            or certificate.view != view
            or certificate.digest != about
        ):
            return False
        kind = KINDS[certificate.kind]
        if view > self.final.view and (known is None or _slot(known, kind) is None):
            return self.note_certificate(certificate, data)
        payload = self._electorate.payload(kind, view, about)
        tally = known.tally if known is not None else Tally(self._electorate, view)
        statement = tally.accept(certificate, payload)
        if statement is None:
            return False
        self._accuse_all(tally, statement)
        return True

    # Faults.

    def _accuse_all(self, tally: Tally, statement: Statement) -> None:
        """Look at everybody whose vote a certificate has shown beside what it said itself."""
        for other, both in tally.opposed(statement, statement.voters):
            for signer in members(both):
                self._accuse(tally, statement, other, signer)

    def _accuse(
        self, tally: Tally, statement: Statement, other: Statement, signer: ValidatorIndex
    ) -> None:
        """Keep the proof that a signer made two statements that exclude each other."""
        halves = []
        for half in (statement, other):
            if not tally.verify_one(half, signer):
                self._note_liar(half, signer)
                return
            kid = self._validators.kids[signer]
            halves.append(build_envelope(kid, half.payload, half.signatures[signer]))
        votes = [parse_vote(half.payload) for half in (statement, other)]
        kind = offence_of(*votes)
        assert kind is not None, "votes that are opposed exclude each other"
        if (signer, kind) not in self._proved:
            self._proved[signer, kind] = None
            self.evidence = (*self.evidence, build_evidence(Domain.VOTE, *halves))
            if signer != self._me:
                self.accused += [(signer, half) for half in halves]
        self.distrust(signer)
        self.faults.append((signer, f"{kind.name} in view {statement.view}"))


def _slot(known: Round, kind: VoteKind) -> Held | None:
    if kind is NOTARIZE:
        return known.notarization
    return known.finalization if kind is FINALIZE else known.nullification
