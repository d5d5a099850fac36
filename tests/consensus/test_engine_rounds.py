"""PROTOCOL 7 R0 and 9: what is counted, certified and proved of the votes of a view."""

import pytest

from consensus.chain import Tip, genesis
from consensus.encoding import decode_as, digest, encode
from consensus.evidence import (
    Evidence,
    OffenceKind,
    build_evidence,
    verify_evidence,
)
from consensus.messages import (
    NO_DIGEST,
    BlockHash,
    Body,
    Certificate,
    Flag,
    Header,
    VoteKind,
    body_hash,
    vote_payload,
)
from consensus.rounds import VIEWS_KEPT, VOTE_VIEWS_MAX, Rounds
from consensus.signing import (
    Domain,
    Envelope,
    SigningKey,
    parse_envelope,
    sign_envelope,
    verify,
)
from consensus.validators import ValidatorIndex, Validators
from consensus.votes import Electorate, Held

CHAIN_ID = digest("test", b"chain")
A, B, C = digest("block", b"a"), digest("block", b"b"), digest("block", b"c")
NOTARIZE, NULLIFY, FINALIZE = VoteKind.NOTARIZE, VoteKind.NULLIFY, VoteKind.FINALIZE
ME = ValidatorIndex(0)


class Table:
    """The keys of `n` validators, and what number 0 knows; counts signature checks."""

    def __init__(self, n: int = 4) -> None:
        keys = sorted(
            (SigningKey(digest("key", bytes((i,)))) for i in range(n)),
            key=lambda key: key.public_key,
        )
        self.keys = keys
        self.validators = Validators(tuple(key.public_key for key in keys), CHAIN_ID)
        self.checks = 0
        self.electorate = Electorate(self.validators, CHAIN_ID, 0, self._verify)
        self.rounds = Rounds(self.electorate, ME, genesis(CHAIN_ID))

    def _verify(self, key: bytes, message: bytes, signature: bytes, /) -> bool:
        self.checks += 1
        return verify(key, message, signature)  # type: ignore[arg-type]

    def vote(self, signer: int, kind: VoteKind, view: int, about: bytes = NO_DIGEST) -> bytes:
        payload = vote_payload(kind, 0, view, about)
        return sign_envelope(self.keys[signer], Domain.VOTE, CHAIN_ID, payload)

    def hear(
        self,
        signer: int,
        kind: VoteKind,
        view: int = 1,
        about: bytes = NO_DIGEST,
        *,
        by: int | None = None,
        forged: bool = False,
    ) -> None:
        envelope = parse_envelope(self.vote(signer, kind, view, about))
        if forged:
            envelope = Envelope(envelope.kid, envelope.payload, bytes(64))
        sender = ValidatorIndex(signer if by is None else by)
        self.rounds.note_vote(sender, envelope)

    def certificate(
        self, kind: VoteKind, view: int, about: bytes, signers: list[int]
    ) -> Certificate:
        signatures = tuple(
            parse_envelope(self.vote(i, kind, view, about)).signature for i in signers
        )
        bits = sum(1 << i for i in signers).to_bytes(1, "little")
        return Certificate(kind, 0, view, about, bits, signatures)


def test_votes_are_verified_only_when_a_quorum_needs_them_and_only_once() -> None:
    table = Table(7)
    for signer in range(1, 5):
        table.hear(signer, NOTARIZE, about=A)
    table.rounds.ripen()
    assert table.checks == 0
    table.hear(5, NOTARIZE, about=A)
    table.hear(6, NOTARIZE, about=A)
    table.rounds.ripen()
    assert table.checks == 5
    table.hear(6, NOTARIZE, about=A)
    table.rounds.ripen()
    assert table.checks == 5
    held = table.rounds.at(1).notarization
    assert held is not None
    assert table.rounds.note_certificate(decode_as(held.data, Certificate))
    assert table.checks == 5


def test_a_received_certificate_costs_only_the_signatures_not_seen_before() -> None:
    table = Table(7)
    for signer in range(1, 6):
        table.hear(signer, NOTARIZE, about=A)
    table.rounds.ripen()
    known = table.rounds.at(1)
    known.notarization = None
    assert table.rounds.note_certificate(table.certificate(NOTARIZE, 1, A, [2, 3, 4, 5, 6]))
    assert table.checks == 5 + 1


def test_a_forged_vote_of_an_honest_signer_takes_nobodys_place_and_blames_its_sender() -> None:
    table = Table()
    table.hear(1, NOTARIZE, about=A, by=3, forged=True)
    assert table.rounds.faults == [(3, "vote that does not verify")]
    for signer in (1, 2, 3):
        table.hear(signer, NOTARIZE, about=A)
    table.rounds.ripen()
    assert table.rounds.at(1).notarization is not None


def test_a_relayed_vote_that_is_known_costs_no_check() -> None:
    table = Table()
    table.hear(1, NOTARIZE, about=A)
    for _ in range(5):
        table.hear(1, NOTARIZE, about=A, by=2)
    assert table.checks == 0
    table.hear(3, NOTARIZE, about=A, by=2)
    assert table.checks == 1
    table.hear(3, NOTARIZE, about=A, by=2)
    assert table.checks == 1


def test_those_who_give_up_count_only_with_their_signatures() -> None:
    table = Table(7)
    leader = table.validators.leader(1)
    quitters = [i for i in range(1, 7) if i != leader]
    for signer in quitters[:2]:
        table.hear(signer, NULLIFY)
    table.hear(quitters[2], NULLIFY, forged=True)
    assert not table.rounds.given_up()
    assert table.rounds.faults == [(quitters[2], "vote that does not verify")]
    table.hear(quitters[3], NULLIFY)
    assert table.rounds.given_up()


@pytest.mark.parametrize("said_so", [True, False])
def test_a_leader_is_silent_unless_it_gave_its_own_view_up(said_so: bool) -> None:
    table = Table(7)
    leader = table.validators.leader(1)
    signers = [i for i in range(7) if i != leader][:5]
    if said_so:
        signers = sorted((*signers[:4], leader))
    table.rounds.note_certificate(table.certificate(NULLIFY, 1, NO_DIGEST, signers))
    assert table.rounds.silent == ([] if said_so else [leader])


def test_blocks_are_forgotten_with_their_views() -> None:
    table = Table()
    table.rounds.at(1).proposal_frame = b"frame"
    table.rounds.view = 3
    table.rounds.finalized(Tip(1, 2, BlockHash(B), 5), None)
    assert table.rounds.at(1).proposal_frame == b""


def test_a_liar_is_dropped_when_its_vote_is_needed_and_the_others_still_count() -> None:
    table = Table()
    table.hear(1, NOTARIZE, about=A, forged=True)
    table.hear(2, NOTARIZE, about=A)
    table.hear(3, NOTARIZE, about=A)
    table.rounds.ripen()
    assert table.rounds.at(1).notarization is None
    assert table.rounds.faults == [(1, "vote that does not verify")]
    table.hear(1, NOTARIZE, about=A)
    table.rounds.ripen()
    assert table.rounds.at(1).notarization is not None


def test_an_equivocator_takes_no_vote_away_from_a_quorum() -> None:
    table = Table()
    table.hear(3, NOTARIZE, about=A)
    table.hear(3, NOTARIZE, about=B)
    table.hear(3, NOTARIZE, about=C)
    table.hear(1, NOTARIZE, about=B)
    table.hear(2, NOTARIZE, about=B)
    table.rounds.ripen()
    assert table.rounds.at(1).notarization is not None
    assert len(table.rounds.at(1).tally.statements) == 2


def test_votes_outside_the_window_or_of_another_epoch_are_not_stored() -> None:
    table = Table()
    table.rounds.view = 40
    table.hear(1, NULLIFY, view=42)
    table.hear(1, NULLIFY, view=10**12)
    epoch = sign_envelope(
        table.keys[1], Domain.VOTE, CHAIN_ID, vote_payload(NULLIFY, 1, 40, NO_DIGEST)
    )
    table.rounds.note_vote(ValidatorIndex(1), parse_envelope(epoch))
    assert all(table.rounds.get(view) is None for view in (40, 42, 10**12))
    table.hear(1, NULLIFY, view=41)
    assert table.rounds.get(41) is not None
    table.rounds.view = 1_000
    table.hear(1, NULLIFY, view=1_000 - VOTE_VIEWS_MAX)
    assert table.rounds.get(1_000 - VOTE_VIEWS_MAX) is None
    table.rounds.finalized(Tip(1, 990, BlockHash(B), 5), None)
    table.hear(1, NULLIFY, view=990 - VIEWS_KEPT)
    assert table.rounds.get(990 - VIEWS_KEPT) is None
    table.hear(1, NULLIFY, view=991 - VIEWS_KEPT)
    assert table.rounds.get(991 - VIEWS_KEPT) is not None


def test_a_flood_of_statements_is_bounded_by_two_a_kind() -> None:
    table = Table()
    for i in range(500):
        table.hear(1, NOTARIZE, about=digest("flood", i.to_bytes(2, "big")))
        table.hear(1, FINALIZE, about=digest("flood", i.to_bytes(2, "big")))
    assert len(table.rounds.at(1).tally.statements) == 4
    assert len(table.rounds.evidence) == 2


def test_votes_that_their_signer_did_not_sign_leave_nothing_behind() -> None:
    table = Table()
    for i in range(100):
        for kind in (NOTARIZE, FINALIZE):
            about = digest("flood", i.to_bytes(2, "big"))
            table.hear(1, kind, view=1 + i % 2, about=about, forged=True)
    for view in (1, 2):
        statements = table.rounds.at(view).tally.statements
        assert len(statements) == 2  # the first of each kind, which nobody needed yet
    assert len(table.rounds._statements) == 4
    table.hear(1, NULLIFY, forged=True)
    assert not table.rounds.given_up()
    assert table.rounds.at(1).tally.nullify is None
    assert table.rounds.evidence == ()


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        ((NOTARIZE, A), (NOTARIZE, B), OffenceKind.TWO_NOTARIZE),
        ((NULLIFY, NO_DIGEST), (FINALIZE, A), OffenceKind.NULLIFY_AND_FINALIZE),
        ((FINALIZE, A), (NULLIFY, NO_DIGEST), OffenceKind.NULLIFY_AND_FINALIZE),
        ((FINALIZE, A), (FINALIZE, B), OffenceKind.TWO_FINALIZE),
    ],
)
def test_two_votes_that_exclude_each_other_are_kept_as_a_proof_that_anybody_can_check(
    first: tuple[VoteKind, bytes], second: tuple[VoteKind, bytes], kind: OffenceKind
) -> None:
    table = Table()
    table.hear(2, first[0], about=first[1])
    assert not table.rounds.evidence
    table.hear(2, second[0], about=second[1])
    (proof,) = table.rounds.evidence
    offence = verify_evidence(proof, table.validators, CHAIN_ID, 0, verify)
    assert not isinstance(offence, str)
    assert (offence.offender, offence.kind, offence.at) == (2, kind, 1)
    assert table.rounds.faults == [(2, f"{kind.name} in view 1")]


@pytest.mark.parametrize(
    ("vote", "certified"),
    [
        ((NOTARIZE, B), (NOTARIZE, A)),
        ((NULLIFY, NO_DIGEST), (FINALIZE, A)),
        ((FINALIZE, B), (FINALIZE, A)),
    ],
)
@pytest.mark.parametrize("vote_first", [True, False])
def test_a_vote_against_a_certificate_is_a_proof_in_either_order(
    vote: tuple[VoteKind, bytes], certified: tuple[VoteKind, bytes], vote_first: bool
) -> None:
    table = Table()
    certificate = table.certificate(certified[0], 1, certified[1], [1, 2, 3])
    if vote_first:
        table.hear(3, vote[0], about=vote[1])
    table.rounds.note_certificate(certificate)
    if not vote_first:
        table.hear(3, vote[0], about=vote[1])
    (proof,) = table.rounds.evidence
    offence = verify_evidence(proof, table.validators, CHAIN_ID, 0, verify)
    assert not isinstance(offence, str)
    assert offence.offender == 3


def test_a_vote_against_a_certificate_in_a_block_is_a_proof_though_the_view_is_settled() -> None:
    table = Table(7)
    table.hear(6, NOTARIZE, about=B)
    table.rounds.note_certificate(table.certificate(NOTARIZE, 1, A, [0, 1, 2, 3, 4]))
    assert not table.rounds.evidence
    body = Body(encode(table.certificate(NOTARIZE, 1, A, [1, 2, 3, 4, 6])), (), (), ())
    header = Header(
        version=1,
        chain_id=CHAIN_ID,
        epoch=0,
        view=2,
        height=2,
        time_ms=10,
        parent_view=1,
        parent_hash=A,
        proposer=1,
        flags=Flag.PLAIN,
        body_hash=body_hash(body),
        state_root=bytes(32),
        receipts_root=bytes(32),
    )
    assert table.rounds.justification_fault(header, body) == ""
    (proof,) = table.rounds.evidence
    offence = verify_evidence(proof, table.validators, CHAIN_ID, 0, verify)
    assert not isinstance(offence, str)
    assert offence.offender == 6


def test_a_vote_against_the_finalization_of_a_block_that_is_final_already_is_a_proof() -> None:
    table = Table()
    table.rounds.view = 5
    table.hear(3, NULLIFY, view=3)
    table.rounds.finalized(Tip(1, 3, BlockHash(A), 5), None)
    assert table.rounds.note_certificate(table.certificate(FINALIZE, 3, A, [1, 2, 3]))
    (proof,) = table.rounds.evidence
    offence = verify_evidence(proof, table.validators, CHAIN_ID, 0, verify)
    assert not isinstance(offence, str)
    assert (offence.offender, offence.kind) == (3, OffenceKind.NULLIFY_AND_FINALIZE)


@pytest.mark.parametrize("settled", [False, True])
@pytest.mark.parametrize("kind", [NOTARIZE, FINALIZE])
def test_two_certificates_of_one_view_prove_whoever_signed_both(
    kind: VoteKind, settled: bool
) -> None:
    table = Table(7)
    table.rounds.note_certificate(table.certificate(kind, 3, A, [0, 1, 2, 3, 4]))
    if settled:
        table.rounds.view = 4
        table.rounds.finalized(Tip(1, 3, BlockHash(A), 5), Held(FINALIZE, 3, A, b""))
    rival = table.certificate(kind, 3, B, [2, 3, 4, 5, 6])
    table.rounds.note_certificate(rival)
    found = [
        verify_evidence(proof, table.validators, CHAIN_ID, 0, verify)
        for proof in table.rounds.evidence
    ]
    assert [one.offender for one in found if not isinstance(one, str)] == [2, 3, 4]
    held = table.rounds.at(3)
    assert A in [one.digest for one in held.certificates()]
    assert B not in [one.digest for one in held.certificates()]


def test_stale_certificates_cost_no_check() -> None:
    table = Table(7)
    old = table.certificate(NOTARIZE, 3, A, [0, 1, 2, 3, 4])
    for signer in range(1, 6):
        table.hear(signer, FINALIZE, view=1, about=A)
    table.rounds.view = 4
    table.rounds.finalized(Tip(1, 3, BlockHash(A), 5), None)
    table.rounds.finalization = Held(FINALIZE, 3, A, b"")
    assert table.rounds.note_certificate(old)
    assert table.rounds.note_certificate(table.certificate(NULLIFY, 2, NO_DIGEST, [1, 2]))
    assert table.checks == 0


def test_what_an_honest_validator_may_say_is_never_a_proof() -> None:
    table = Table()
    for signer in (1, 2, 3):
        # It noted the block, gave up, and its notarization of the next view is another's block.
        table.hear(signer, NOTARIZE, view=1, about=A)
        table.hear(signer, NULLIFY, view=1)
        table.hear(signer, NOTARIZE, view=1, about=A)
        table.hear(signer, NOTARIZE, view=2, about=B)
        table.hear(signer, FINALIZE, view=2, about=B)
    table.rounds.ripen()
    assert table.rounds.evidence == ()
    assert table.rounds.faults == []


def test_a_bad_signature_beside_a_proved_offence_proves_nothing_more() -> None:
    # Found by a storm with babbling adversaries (n = 7, seed 1003).
    table = Table()
    table.hear(2, FINALIZE, about=A)
    table.hear(2, FINALIZE, about=B)
    table.hear(2, NULLIFY, forged=True)
    assert len(table.rounds.evidence) == 1


def test_a_late_second_vote_below_the_final_view_is_still_proved() -> None:
    table = Table()
    table.hear(1, NOTARIZE, view=1, about=A)
    table.rounds.view = 4
    table.rounds.finalized(Tip(1, 3, BlockHash(B), 5), None)
    table.hear(1, NOTARIZE, view=1, about=C)
    assert len(table.rounds.evidence) == 1
    table.rounds.view = VIEWS_KEPT + 4
    table.rounds.finalized(Tip(2, VIEWS_KEPT + 3, BlockHash(C), 6), None)
    assert table.rounds.get(1) is None
    assert table.rounds.get(3) is None


@pytest.mark.parametrize(
    "lie",
    [
        "few",
        "stranger",
        "more bits",
        "more signatures",
        "long bitmap",
        "signature",
        "digest",
        "none",
    ],
)
def test_a_certificate_that_is_not_a_quorums_is_a_lie(lie: str) -> None:
    table = Table(7)
    good = table.certificate(NOTARIZE, 1, A, [1, 2, 3, 4, 5])
    nobody = bytes(64)
    lies = {
        "few": table.certificate(NOTARIZE, 1, A, [1, 2, 3, 4]),
        "stranger": Certificate(1, 0, 1, A, b"\xbe", (*good.signatures, nobody)),
        "more bits": Certificate(1, 0, 1, A, b"\x7e", good.signatures),
        "more signatures": Certificate(1, 0, 1, A, b"\x3e", (*good.signatures, nobody)),
        "long bitmap": Certificate(1, 0, 1, A, b"\x3e\x00", good.signatures),
        "signature": Certificate(1, 0, 1, A, b"\x3e", (*good.signatures[:4], nobody)),
        "digest": table.certificate(NULLIFY, 1, A, [1, 2, 3, 4, 5]),
        "none": table.certificate(NOTARIZE, 1, NO_DIGEST, [1, 2, 3, 4, 5]),
    }
    assert not table.rounds.note_certificate(lies[lie])
    assert table.rounds.fresh == []
    assert table.rounds.note_certificate(good)
    assert table.rounds.at(1).notarization is not None


def test_evidence_with_equal_votes_other_signers_or_another_chain_proves_nothing() -> None:
    table = Table()
    one, other = table.vote(1, NOTARIZE, 1, A), table.vote(1, NOTARIZE, 1, B)
    proof = build_evidence(Domain.VOTE, one, other)
    assert proof == build_evidence(Domain.VOTE, other, one)
    record = decode_as(proof, Evidence)
    assert not isinstance(verify_evidence(proof, table.validators, CHAIN_ID, 0, verify), str)
    wrong = [
        encode(Evidence(3, Domain.VOTE, record.first, record.first)),
        encode(Evidence(3, Domain.VOTE, record.second, record.first)),
        encode(Evidence(1, Domain.VOTE, record.first, record.second)),
        encode(Evidence(3, Domain.VOTE, record.first, table.vote(2, NOTARIZE, 1, B))),
        encode(Evidence(3, Domain.VOTE, record.first, table.vote(1, NOTARIZE, 2, B))),
        encode(Evidence(3, Domain.VOTE, record.first, table.vote(1, NULLIFY, 1))),
        encode(Evidence(3, Domain.VOTE, record.first, record.second[:-1] + b"\x00")),
        proof + b"\x00",
        b"",
    ]
    for bad in wrong:
        assert isinstance(verify_evidence(bad, table.validators, CHAIN_ID, 0, verify), str)
    assert isinstance(verify_evidence(proof, table.validators, digest("x", b""), 0, verify), str)
    assert isinstance(verify_evidence(proof, table.validators, CHAIN_ID, 1, verify), str)
    assert isinstance(verify_evidence(proof, Table(5).validators, CHAIN_ID, 0, verify), str) or (
        table.validators.kids[1] in Table(5).validators.kids
    )
