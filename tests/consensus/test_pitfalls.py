"""Faults that shipped in other systems of this family: each must stay impossible here.

The names say what went wrong there. Where the fault was made is in the comment of each test.
"""

import pytest
from msgspec.structs import replace

from consensus.beacon_items import BeaconContext
from consensus.beacon_state import BeaconState
from consensus.effects import Halt, Persist, Send, VoteLogged
from consensus.encoding import decode_as, encode
from consensus.evidence import Evidence, build_evidence, verify_evidence
from consensus.messages import NO_DIGEST, Certificate, Number, Proposal
from consensus.signing import Domain, verify
from consensus.validators import faults_tolerated, quorum
from tests.consensus.scenes import (
    CHAIN_ID,
    DELTA_MS,
    FINALIZE,
    NOTARIZE,
    NULLIFY,
    Made,
    Scene,
)


def test_a_quorum_of_2f_plus_1_where_n_is_not_3f_plus_1() -> None:
    # Commonware #733: with 2f + 1 of 5 two quorums share one voter, who may be the liar.
    for n in range(1, 129):
        f = faults_tolerated(n)
        assert 2 * quorum(n) - n > f
        assert quorum(n) <= n - f


def test_a_repetition_that_signs_a_vote_which_the_log_forbids() -> None:
    # ava-labs #280, #290: a repeated vote was made anew, after the view had been given up.
    scene = Scene()
    first = scene.block(1)
    scene.work(b"z")
    scene.go(3 * DELTA_MS)
    assert (NULLIFY, 1) in scene.votes()
    scene.propose(first)
    scene.go(60_000)
    kinds = [record.kind for record in scene.disk if isinstance(record, VoteLogged)]
    assert kinds.count(NULLIFY) == 1
    assert kinds.count(NOTARIZE) == 1
    assert FINALIZE not in kinds


def test_a_block_on_an_older_parent_without_proof_that_the_views_between_were_skipped() -> None:
    # ava-labs #281.
    scene = Scene()
    honest = scene.block(3)
    body = decode_as(honest.body_bytes, type(honest.body))
    for skips in ((), body.skips[:1], (body.skips[0], body.skips[0])):
        other = Scene()
        made = other.block(3)
        bare = Made(made.header, replace(made.body, skips=skips))
        other.show(other.certificate(NULLIFY, 2))
        other.propose(bare)
        other.go()
        assert (NOTARIZE, 3) not in other.votes()


def test_honest_nodes_that_hold_different_certificates_for_a_view_refuse_each_other() -> None:
    # Commonware #4332, #4386, #1078: a view was notarized here and nullified there.
    scene = Scene()
    scene.show(scene.certificate(NULLIFY, 1))
    scene.go()
    first = scene.block(1)
    scene.propose(scene.block(2, parent=first, names=(b"y",)))
    scene.go()
    assert (NOTARIZE, 2) not in scene.votes()  # it has to fetch the parent first
    scene.show(scene.certificate(NOTARIZE, 1, first.hash))
    scene.propose(first)
    scene.go(1)
    assert (NOTARIZE, 2) in scene.votes()


def test_giving_a_view_up_abandons_the_way_to_its_notarization() -> None:
    # Commonware #2695, #2697.
    scene = Scene()
    first = scene.block(1)
    scene.work(b"z")
    scene.go(3 * DELTA_MS)
    scene.propose(first)
    for signer in scene.others:
        scene.vote(signer, NOTARIZE, 1, first.hash)
    scene.go()
    assert scene.engine.view == 2
    assert scene.engine.tip.hash == first.hash


def test_a_leader_of_two_blocks_stops_everybody() -> None:
    # Commonware #2075: an assertion on what a remote leader had sent.
    scene = Scene()
    one, two = scene.block(1), scene.block(1, names=(b"other",))
    scene.propose(one)
    scene.propose(two)
    scene.show(scene.certificate(NOTARIZE, 1, two.hash))
    scene.propose(two)
    scene.go(1)
    assert scene.engine.halted == ""
    assert scene.engine.tip.hash == two.hash
    assert len(scene.engine.evidence) == 1


def test_an_own_vote_is_not_counted_after_a_restart() -> None:
    # Commonware #2045, #4275; tendermint #8739.
    scene = Scene()
    first = scene.block(1)
    scene.propose(first)
    scene.go()
    scene.boot()
    for signer in scene.others[:2]:
        scene.vote(signer, NOTARIZE, 1, first.hash)
    scene.go()
    assert scene.engine.view == 2


def test_a_vote_is_seen_before_it_is_on_disk() -> None:
    # Commonware #4374.
    scene = Scene()
    scene.propose(scene.block(1))
    effects = scene.go()
    persisted = next(i for i, effect in enumerate(effects) if isinstance(effect, Persist))
    votes = [
        i
        for i, effect in enumerate(effects)
        if isinstance(effect, Send) and effect.frame[0] == Number.VOTE
    ]
    assert votes
    assert persisted < min(votes)


def test_a_node_says_something_else_after_a_restart() -> None:
    # malachite #864, serai #345.
    scene = Scene(leads=1)
    scene.work(b"x")
    scene.go()
    [first] = {data for _, data in scene.sent(Number.PROPOSAL)}
    scene.boot()
    scene.work(b"y")
    scene.go(10 * DELTA_MS)
    assert {data for _, data in scene.sent(Number.PROPOSAL)} <= {first}


def test_votes_and_certificates_of_the_future_fill_the_memory() -> None:
    # Commonware #3985, #4374.
    scene = Scene()
    for view in range(3, 2_000):
        for signer in scene.others:
            scene.vote(signer, NULLIFY, view)
    scene.go()
    assert len(scene.engine._rounds._rounds) < 5
    assert scene.engine.view == 1


def test_one_high_certificate_makes_a_node_ask_for_everything_below_it() -> None:
    # ava-labs #558 to #562.
    scene = Scene()
    scene.show(scene.certificate(NULLIFY, 50_000))
    scene.go(4 * DELTA_MS)
    assert scene.engine.view == 50_001
    assert len(scene.sent(Number.GET_CERT)) + len(scene.sent(Number.GET_BLOCKS)) <= 4


def test_a_block_of_somebody_who_does_not_lead() -> None:
    # TON #2557, ava-labs #565.
    scene = Scene()
    made = scene.block(1)
    intruder = next(i for i in scene.others if i != scene.validators.leader(1))
    vote = scene.envelope(intruder, NOTARIZE, 1, made.hash)
    scene.tell(intruder, Number.PROPOSAL, Proposal(made.header_bytes, made.body_bytes, vote))
    scene.go()
    assert scene.votes() == []
    assert scene.faults() == [(intruder, "proposal without its leader's vote")]


def test_two_equal_votes_are_an_offence() -> None:
    # Commonware #2944.
    scene = Scene()
    signer = scene.others[0]
    vote = scene.envelope(signer, NOTARIZE, 1, scene.block(1).hash)
    with pytest.raises(AssertionError):
        build_evidence(Domain.VOTE, vote, vote)
    other = scene.envelope(signer, NOTARIZE, 1, scene.block(1, names=(b"y",)).hash)
    proof = build_evidence(Domain.VOTE, vote, other)
    assert not isinstance(verify_evidence(proof, scene.validators, CHAIN_ID, 0, verify), str)
    record = decode_as(proof, Evidence)
    same = encode(replace(record, second=record.first))
    assert isinstance(verify_evidence(same, scene.validators, CHAIN_ID, 0, verify), str)


def test_nodes_drift_apart_over_views_by_their_own_timers() -> None:
    # Sovereign #2591, malachite #850: f + 1 who give up, or a certificate, take the others along.
    scene = Scene()
    scene.work()
    first, second, *_ = [one for one in scene.others if one != scene.validators.leader(1)]
    scene.vote(first, NULLIFY, 1)
    scene.go()
    assert (NULLIFY, 1) not in scene.votes(), "one may be a liar"
    scene.vote(second, NULLIFY, 1)
    scene.go()
    assert (NULLIFY, 1) in scene.votes()
    scene.show(scene.certificate(NULLIFY, 7))
    scene.go()
    assert scene.engine.view == 8


def test_a_proposal_needs_what_was_sent_beside_it_and_lost() -> None:
    # malachite #850, tendermint #3003: here a block carries its justification.
    scene = Scene()
    scene.propose(scene.block(3))
    scene.show(scene.certificate(NULLIFY, 2))
    scene.go()
    assert (NOTARIZE, 3) in scene.votes()


@pytest.mark.parametrize("bits", [b"\xff", b"\x00", b"\x0f\x00", b"", b"\x10"])
def test_a_signer_outside_the_set_or_a_bitmap_of_another_length(bits: bytes) -> None:
    # CometBFT ABC-0021, ASA-2025-003.
    scene = Scene()
    good = scene.certificate(NULLIFY, 1)
    lie = Certificate(good.kind, 0, 1, NO_DIGEST, bits, good.signatures)
    scene.show(lie)
    scene.go()
    assert scene.engine.view == 1
    assert scene.faults() == [(scene.others[0], "certificate that does not verify")]


def test_a_state_that_differs_is_guessed_at() -> None:
    # Dozens of "AppHash" threads: a certified block that fails here stops this node, by name.
    scene = Scene()
    made = scene.block(1)
    wrong = Made(replace(made.header, state_root=bytes(32)), made.body)
    scene.show(scene.certificate(NOTARIZE, 1, wrong.hash))
    scene.propose(wrong)
    scene.go()
    assert any(isinstance(effect, Halt) for effect in scene.effects)
    assert scene.votes() == []


def test_a_proposer_whose_own_check_would_refuse_its_block() -> None:
    # CometBFT #5204: the proposer reads its block as everybody else will.
    scene = Scene(leads=3)
    scene.work()
    for view in (1, 2):
        scene.show(scene.certificate(NULLIFY, view))
    scene.go()
    [(header, body)] = scene.proposals()
    reader = Scene()
    assert reader.engine._unfounded(header, body) == ""


def test_a_verdict_on_dice_that_only_memory_holds() -> None:
    # Sui #26856, iota #12867: whether a dealer shared a secret is part of the state root.
    scene = Scene()
    context = BeaconContext(CHAIN_ID, 0, scene.validators, verify)
    state = BeaconState.genesis(context)
    first, *others = state.leaves()
    next_batch, _, dealt = decode_as(first, tuple[int, int, tuple[bytes, ...]])
    caught = BeaconState.from_leaves(context, (encode((next_batch, 1, dealt)), *others))
    assert caught.is_faulty(0)
    assert not state.is_faulty(0)
    assert caught.root() != state.root()
