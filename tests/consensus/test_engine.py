"""PROTOCOL 7: the rules R1 to R8, one engine among validators whose words the test chooses."""

import pytest
from msgspec.structs import replace

from consensus.chain import OPEN_BLOCKS_MAX
from consensus.effects import (
    BlockLogged,
    Committed,
    FinalLogged,
    Halt,
    Persist,
    VoteLogged,
)
from consensus.encoding import decode_as, encode
from consensus.messages import (
    NO_DIGEST,
    Blocks,
    Certificate,
    Flag,
    GetBlocks,
    GetCert,
    Number,
    Proposal,
    Status,
    body_hash,
    vote_payload,
)
from consensus.signing import Envelope, parse_envelope
from tests.consensus.scenes import DELTA_MS, FINALIZE, NOTARIZE, NULLIFY, WALL_MS, Made, Scene

# R1: proposing.


def test_a_leader_with_work_proposes_once_and_stores_block_and_vote_before_it_sends() -> None:
    scene = Scene(leads=1)
    assert scene.proposals() == []
    scene.work()
    effects = scene.go()
    assert [header.view for header, _ in scene.proposals()] == [1]
    assert isinstance(effects[0], Persist)
    assert [type(record) for record in effects[0].records] == [BlockLogged, VoteLogged]
    assert sum(isinstance(effect, Persist) for effect in effects) == 1
    scene.work(b"y")
    scene.go()
    assert scene.proposals() == []


def test_a_leader_without_work_keeps_silent() -> None:
    scene = Scene(leads=1)
    scene.go(50_000)
    assert scene.votes() == []
    assert not scene.engine.awake


def test_a_leader_builds_on_the_open_tip_only_after_the_votes_had_time_to_come() -> None:
    scene = Scene(leads=2)
    first = scene.block(1)
    scene.propose(first)
    scene.go()
    scene.show(scene.certificate(NOTARIZE, 1, first.hash))
    scene.go(8 * DELTA_MS - 1)
    assert scene.proposals() == []
    scene.go(1)
    ((header, body),) = scene.proposals()
    assert (header.parent_hash, body.actions) == (first.hash, ())


def test_a_leader_asks_for_a_missing_certificate_first_the_next_leader_then_anybody() -> None:
    scene = Scene(n=7, leads=3)
    scene.work()
    # It learns that view 2 was left, not how view 1 was.
    scene.show(scene.certificate(NULLIFY, 2))
    asked = []
    for _ in range(6):
        scene.go(4 * DELTA_MS)
        asked += [(to, decode_as(data, GetCert).view) for to, data in scene.sent(Number.GET_CERT)]
        if not scene.engine.awake or len(asked) > 5:
            break
    assert asked[0] == (scene.validators.leader(2), 1)
    assert len({to for to, _ in asked}) == len(asked) > 1


def test_a_missing_certificate_that_comes_lets_the_leader_propose_with_all_skips() -> None:
    scene = Scene(leads=3)
    scene.work()
    scene.show(scene.certificate(NULLIFY, 2))
    scene.go()
    assert scene.proposals() == []
    scene.show(scene.certificate(NULLIFY, 1))
    scene.go()
    ((header, body),) = scene.proposals()
    assert header.parent_view == 0
    assert len(body.skips) == 2


def test_a_leader_that_gave_its_view_up_does_not_propose_in_it() -> None:
    scene = Scene(leads=1)
    for signer in scene.others[:2]:
        scene.vote(signer, NULLIFY, 1)
    scene.go()
    assert scene.votes() == [(NULLIFY, 1)]
    scene.work()
    scene.go(10)
    assert scene.proposals() == []


# R2 and R3: judging.


def test_a_valid_block_is_stored_then_notarized_awake_or_not() -> None:
    scene = Scene()
    scene.propose(scene.block(1))
    effects = scene.go()
    assert isinstance(effects[0], Persist)
    assert [type(record) for record in effects[0].records] == [BlockLogged, VoteLogged]
    assert scene.votes() == [(NOTARIZE, 1)]


def test_an_empty_block_is_voted_for() -> None:
    scene = Scene()
    scene.propose(scene.block(1, names=()))
    scene.go()
    assert scene.votes() == [(NOTARIZE, 1)]


def damaged(scene: Scene, how: str) -> Made:
    """Return a block of view 3 on one of view 1 with one thing wrong."""
    first, rival = scene.block(1), scene.block(1, names=(b"rival",))
    good = scene.block(3, first, (b"y",))
    header, body = good.header, good.body
    match how:
        case "chain":
            header = replace(header, chain_id=bytes(32))
        case "proposer":
            header = replace(header, proposer=(header.proposer + 1) % 4)
        case "height":
            header = replace(header, height=3)
        case "time":
            header = replace(header, time_ms=first.header.time_ms)
        case "root":
            header = replace(header, state_root=bytes(32))
        case "twice":
            body = replace(body, actions=(b"y", b"y"))
        case "again":
            body = replace(body, actions=(b"x",))
        case "own view":
            header = replace(header, parent_view=3)
        case "parent hash":
            header = replace(header, parent_hash=rival.hash)
        case "cert of a rival":
            body = replace(body, parent_cert=encode(scene.certificate(NOTARIZE, 1, rival.hash)))
        case "cert of another view":
            body = replace(body, parent_cert=encode(scene.certificate(NOTARIZE, 2, first.hash)))
        case "cert of another kind":
            body = replace(body, parent_cert=encode(scene.certificate(NULLIFY, 1, first.hash)))
        case "no cert":
            body = replace(body, parent_cert=b"")
        case "no skip":
            body = replace(body, skips=())
        case "skip of another view":
            body = replace(body, skips=(encode(scene.certificate(NULLIFY, 1)),))
        case "skip that notarizes":
            body = replace(body, skips=(encode(scene.certificate(NOTARIZE, 2, first.hash)),))
        case "skip twice":
            body = replace(body, skips=body.skips * 2)
        case "skip with a bad signature":
            body = replace(body, skips=(body.skips[0][:-1] + bytes((body.skips[0][-1] ^ 1,)),))
        case "too large":
            return scene.block(3, first, tuple(bytes((i,)) * 60_000 for i in range(9)))
        case _:
            assert how == "nothing"
    return Made(replace(header, body_hash=body_hash(body)), body)


DAMAGES = {
    "chain": "another chain or epoch",
    "proposer": "proposer is not the leader",
    "height": "height or parent view is wrong",
    "time": "is not after its parent's",
    "root": "state root differs",
    "twice": "increment twice",
    "again": "increment twice",
    "own view": "is not between final and own view",
    "parent hash": "parent certificate does not prove the parent",
    "cert of a rival": "parent certificate does not prove the parent",
    "cert of another view": "parent certificate does not prove the parent",
    "cert of another kind": "parent certificate does not prove the parent",
    "no cert": "parent certificate does not prove the parent",
    "no skip": "0 nullifications for the views skipped",
    "skip of another view": "no valid nullification of view 2",
    "skip that notarizes": "no valid nullification of view 2",
    "skip twice": "2 nullifications for the views skipped",
    "skip with a bad signature": "no valid nullification of view 2",
    "too large": "540000 bytes of items; the limit is 524288",
}


@pytest.mark.parametrize("how", DAMAGES)
def test_an_invalid_block_is_given_up_at_once_and_its_leader_reported(how: str) -> None:
    scene = Scene()
    first = scene.block(1)
    scene.propose(first)
    scene.go()
    scene.show(scene.certificate(NOTARIZE, 1, first.hash))
    scene.show(scene.certificate(NULLIFY, 2))
    scene.go()
    scene.propose(damaged(scene, how))
    scene.go()
    assert scene.votes() == [(NULLIFY, 3)]
    ((peer, fault),) = scene.faults()
    assert peer == scene.validators.leader(3)
    assert fault.startswith("invalid proposal: ")
    assert DAMAGES[how] in fault


@pytest.mark.parametrize("how", DAMAGES)
def test_an_invalid_block_gets_no_vote_from_a_node_that_missed_the_certificates(how: str) -> None:
    scene = Scene()
    scene.propose(scene.block(1))
    scene.go()
    scene.propose(damaged(scene, how))
    scene.go(100)
    assert (NOTARIZE, 3) not in scene.votes()
    assert all(peer == scene.validators.leader(3) for peer, _ in scene.faults())


def test_a_block_beside_the_final_one_is_invalid_whatever_certificates_it_shows() -> None:
    scene = Scene()
    first, rival = scene.block(1), scene.block(1, names=(b"rival",))
    scene.propose(first)
    scene.show(scene.certificate(NOTARIZE, 1, first.hash))
    scene.show(scene.certificate(FINALIZE, 1, first.hash))
    scene.go()
    scene.propose(scene.block(2, rival, (b"y",)))
    scene.go()
    assert scene.votes() == [(NULLIFY, 2)]
    assert scene.faults()[0][1].endswith("parent conflicts with the final block")
    scene.show(scene.certificate(NULLIFY, 2))
    scene.go()
    scene.propose(scene.block(3, None, (b"y",)))
    scene.go()
    assert scene.votes() == [(NULLIFY, 3)]
    assert scene.faults()[-1][1].endswith("parent view 0 is not between final and own view")


def test_a_block_of_another_epoch_is_left_alone() -> None:
    scene = Scene()
    first = scene.block(1)
    scene.propose(Made(replace(first.header, epoch=1), first.body))
    scene.go()
    assert scene.effects == []


def test_the_first_block_of_an_epoch_shows_no_certificate() -> None:
    scene = Scene()
    first = scene.block(1)
    body = replace(first.body, parent_cert=encode(scene.certificate(NOTARIZE, 1, first.hash)))
    scene.propose(Made(replace(first.header, body_hash=body_hash(body)), body))
    scene.go()
    assert scene.votes() == [(NULLIFY, 1)]


def test_the_same_block_undamaged_is_notarized() -> None:
    scene = Scene()
    first = scene.block(1)
    scene.propose(first)
    scene.go()
    scene.show(scene.certificate(NOTARIZE, 1, first.hash))
    scene.show(scene.certificate(NULLIFY, 2))
    scene.go()
    scene.propose(damaged(scene, "nothing"))
    scene.go()
    assert scene.votes() == [(NOTARIZE, 3)]
    assert scene.faults() == []


def test_a_block_proves_the_way_to_its_view_to_a_node_that_missed_it() -> None:
    scene = Scene()
    first = scene.block(1)
    scene.propose(first)
    scene.go()
    scene.propose(scene.block(3, first, (b"y",)))
    scene.go()
    assert scene.engine.view == 3
    assert (NOTARIZE, 3) in scene.votes()
    assert scene.engine.tip.hash == first.hash


def test_a_block_from_the_future_waits_and_is_no_fault() -> None:
    scene = Scene()
    scene.propose(scene.block(1, time_ms=WALL_MS + scene.ms + 3_000 + 100))
    scene.go(99)
    assert scene.votes() == []
    scene.go(1)
    assert scene.votes() == [(NOTARIZE, 1)]
    assert scene.faults() == []


def test_a_block_from_the_far_future_is_left_to_the_timer() -> None:
    scene = Scene()
    scene.propose(scene.block(1, time_ms=WALL_MS + scene.ms + 3_600_000))
    scene.go(5 * DELTA_MS - 1)
    assert scene.votes() == []
    scene.go(1)
    assert scene.votes() == [(NULLIFY, 1)]
    assert scene.faults() == []


def test_a_second_block_of_a_leader_gets_no_vote_and_is_evidence() -> None:
    scene = Scene()
    scene.propose(scene.block(1))
    scene.go()
    scene.propose(scene.block(1, names=(b"other",)))
    scene.go()
    assert scene.votes() == [(NULLIFY, 1)]
    assert len(scene.engine.evidence) == 1
    assert scene.faults() == [(scene.validators.leader(1), "TWO_NOTARIZE in view 1")]


def test_a_block_may_be_notarized_after_its_view_was_given_up_but_not_finalized() -> None:
    scene = Scene()
    scene.work(b"z")
    scene.go(3 * DELTA_MS)
    assert (NULLIFY, 1) in scene.votes()
    first = scene.block(1)
    scene.propose(first)
    scene.go()
    assert (NOTARIZE, 1) in scene.votes()
    scene.show(scene.certificate(NOTARIZE, 1, first.hash))
    scene.go(20)
    assert (FINALIZE, 1) not in scene.votes()
    assert scene.engine.view == 2


@pytest.mark.parametrize("by", ["leader", "other"])
def test_a_proposal_without_its_leaders_signature_is_the_senders_fault(by: str) -> None:
    scene = Scene()
    made = scene.block(1)
    leader = scene.validators.leader(1)
    stranger = next(i for i in scene.others if i != leader)
    vote = scene.envelope(stranger, NOTARIZE, 1, made.hash)
    sender = leader if by == "leader" else stranger
    scene.tell(sender, Number.PROPOSAL, Proposal(made.header_bytes, made.body_bytes, vote))
    scene.go()
    assert scene.votes() == []
    assert scene.faults() == [(sender, "proposal without its leader's vote")]


def test_a_body_that_is_not_the_headers_leaves_the_slot_to_the_right_one() -> None:
    scene = Scene()
    made, other = scene.block(1), scene.block(1, names=(b"y",))
    vote = scene.envelope(scene.validators.leader(1), NOTARIZE, 1, made.hash)
    scene.tell(
        scene.others[0], Number.PROPOSAL, Proposal(made.header_bytes, other.body_bytes, vote)
    )
    scene.go()
    assert scene.faults() == [(scene.others[0], "proposal that does not parse")]
    scene.propose(made)
    scene.go()
    assert scene.votes() == [(NOTARIZE, 1)]


# R4, R5, R8: certificates.


def test_a_notarized_block_is_finalized_once_and_the_next_view_entered() -> None:
    scene = Scene()
    first = scene.block(1)
    scene.propose(first)
    scene.go()
    for signer in scene.others:
        scene.vote(signer, NOTARIZE, 1, first.hash)
    scene.go()
    assert scene.votes() == [(FINALIZE, 1)]
    assert scene.engine.view == 2
    for signer in scene.others:
        scene.vote(signer, FINALIZE, 1, first.hash)
    effects = scene.go()
    assert isinstance(effects[0], Persist)
    assert any(isinstance(record, FinalLogged) for record in effects[0].records)
    assert [e.height for e in effects if isinstance(e, Committed)] == [1]
    assert not scene.engine.awake


def test_a_certificate_moves_a_node_that_has_no_block_and_the_block_is_fetched() -> None:
    scene = Scene()
    first = scene.block(1)
    scene.show(scene.certificate(NOTARIZE, 1, first.hash))
    scene.go()
    assert scene.engine.view == 2
    ((to, data),) = scene.sent(Number.GET_BLOCKS)
    assert to == scene.validators.leader(1)
    assert decode_as(data, GetBlocks).hash == first.hash
    scene.go(4 * DELTA_MS)
    ((second, _),) = scene.sent(Number.GET_BLOCKS)
    assert second != to
    answer = Blocks(first.hash, ((first.header_bytes, first.body_bytes),))
    scene.tell(scene.others[2], Number.BLOCKS, answer)
    effects = scene.go()
    assert scene.votes() == [(FINALIZE, 1)]
    assert isinstance(effects[0], Persist)
    assert BlockLogged in [type(record) for record in effects[0].records]


def test_a_proposal_gets_its_vote_at_once_when_the_block_below_it_was_fetched() -> None:
    scene = Scene()
    first = scene.block(1)
    for signer in scene.others[:2]:
        scene.vote(signer, NULLIFY, 1)
    scene.go()
    scene.show(scene.certificate(NOTARIZE, 1, first.hash))
    scene.propose(scene.block(2, first, (b"y",)))
    scene.go()
    assert scene.votes() == []
    answer = Blocks(first.hash, ((first.header_bytes, first.body_bytes),))
    scene.tell(scene.others[2], Number.BLOCKS, answer)
    scene.go()
    assert scene.votes() == [(NOTARIZE, 2)]


def test_a_certificate_in_a_proposal_that_has_to_wait_counts_at_once() -> None:
    scene = Scene()
    first = scene.block(1)
    scene.show(scene.certificate(NOTARIZE, 1, first.hash))
    scene.go()
    second = scene.block(2, first, (b"y",))
    final = encode(scene.certificate(FINALIZE, 1, first.hash))
    body = replace(second.body, parent_cert=final)
    scene.propose(Made(replace(second.header, body_hash=body_hash(body)), body))
    scene.go()
    # What is fetched is known to be final now, so it is asked for anew.
    ((_, data),) = scene.sent(Number.GET_BLOCKS)
    assert decode_as(data, GetBlocks).hash == first.hash


def fed(scene: Scene, chain: list[Made]) -> list[int]:
    """Let peers answer every request for blocks; return the heights that became final."""
    committed = []
    by_hash: dict[bytes, Made] = {made.hash: made for made in chain}
    scene.go()
    for _ in range(3 * len(chain)):
        committed += [e.height for e in scene.effects if isinstance(e, Committed)]
        asks = [(to, decode_as(data, GetBlocks)) for to, data in scene.sent(Number.GET_BLOCKS)]
        if not asks:
            break
        ((to, ask),) = asks
        blocks: list[tuple[bytes, bytes]] = []
        wanted = ask.hash
        while len(blocks) < ask.count and wanted in by_hash:
            made = by_hash[wanted]
            blocks.append((made.header_bytes, b"" if ask.headers_only else made.body_bytes))
            wanted = made.header.parent_hash
        assert to is not None
        scene.tell(to, Number.BLOCKS, Blocks(ask.hash, tuple(blocks)))
        scene.go()
    return committed


def test_a_final_block_comes_with_its_ancestors_in_order() -> None:
    scene = Scene()
    chain = [scene.block(1)]
    for view in range(2, 30):
        chain.append(scene.block(view, chain[-1], (bytes((view,)),)))
    scene.show(scene.certificate(FINALIZE, 29, chain[-1].hash))
    assert fed(scene, chain) == list(range(1, 30))
    assert scene.engine.view == 30
    assert scene.engine.final.hash == chain[-1].hash


@pytest.mark.parametrize("shown", [True, False])
def test_a_notarized_block_beside_the_final_chain_is_no_second_chain(shown: bool) -> None:
    """PROTOCOL 7: a view may be notarized and given up, and a later one build on what it skipped."""
    scene = Scene()
    first = scene.block(1)
    kept = scene.block(2, first, (b"kept",))
    beside = scene.block(3, first, (b"beside",))
    last = scene.block(4, kept, (b"last",))
    more = scene.block(5, last, (b"more",))
    if shown:
        scene.show(scene.certificate(NULLIFY, 1))
        scene.show(scene.certificate(NULLIFY, 2))
        scene.propose(beside)
        scene.go()
    scene.show(scene.certificate(NOTARIZE, 3, beside.hash))
    scene.show(scene.certificate(NULLIFY, 3))
    # The chain comes block by block, so `kept` is the final block for a moment, by a descendant.
    scene.show(scene.certificate(FINALIZE, 4, last.hash))
    assert fed(scene, [first, kept, beside, last, more]) == [1, 2, 3]
    assert not scene.engine.halted
    scene.show(scene.certificate(NOTARIZE, 5, more.hash))
    fed(scene, [first, kept, beside, last, more])
    assert scene.engine.tip.hash == more.hash
    scene.show(scene.certificate(FINALIZE, 5, more.hash))
    fed(scene, [first, kept, beside, last, more])
    assert scene.engine.final.height == 4
    assert not scene.engine.halted


def test_a_notarized_block_that_skips_a_finalized_one_halts_the_node() -> None:
    """PROTOCOL 7, G4: what is notarized in a later view builds on what a quorum finalized itself."""
    scene = Scene()
    first = scene.block(1)
    final = scene.block(2, first, (b"final",))
    beside = scene.block(3, first, (b"beside",))
    scene.show(scene.certificate(FINALIZE, 2, final.hash))
    assert fed(scene, [first, final, beside]) == [1, 2]
    scene.propose(beside)
    scene.show(scene.certificate(NOTARIZE, 3, beside.hash))
    fed(scene, [first, final, beside])
    assert scene.engine.halted == "two chains are certified at height 2"


def test_a_seal_that_a_tail_made_final_is_held_with_the_tails_that_show_it() -> None:
    scene = Scene()
    seal = scene.block(1, flags=Flag.SEAL)
    chain = [seal]
    for view in (2, 3, 5, 6, 7):
        chain.append(scene.block(view, chain[-1], (), flags=Flag.TAIL))
    scene.show(scene.certificate(FINALIZE, 7, chain[-1].hash))
    assert fed(scene, chain) == [1]
    proof = scene.engine.sealed
    assert proof is not None
    assert proof.digest == chain[-1].hash
    for made in chain:
        assert scene.engine.bytes_of(made.hash) == (made.header_bytes, made.body_bytes)
    stored = [record.hash for record in scene.disk if isinstance(record, BlockLogged)]
    assert sorted(stored) == sorted(made.hash for made in chain)


def test_more_open_blocks_than_memory_holds_become_final_all_the_same() -> None:
    scene = Scene()
    chain: list[Made] = []
    for view in range(1, OPEN_BLOCKS_MAX + 10):
        chain.append(scene.block(view, chain[-1] if chain else None, (bytes((view,)),)))
        if scene.validators.leader(view) != scene.me:
            scene.propose(chain[-1])
        scene.show(scene.certificate(NOTARIZE, view, chain[-1].hash))
        fed(scene, chain)
    assert scene.engine.final.height == 0
    scene.show(scene.certificate(FINALIZE, len(chain), chain[-1].hash))
    assert fed(scene, chain) == list(range(1, len(chain) + 1))


def test_a_certified_block_that_fails_here_stops_the_node() -> None:
    scene = Scene()
    good = scene.block(1)
    made = Made(replace(good.header, state_root=bytes(32)), good.body)
    scene.propose(made)
    scene.go()
    scene.show(scene.certificate(NOTARIZE, 1, made.hash))
    effects = scene.go()
    assert any(isinstance(effect, Halt) for effect in effects)
    assert "diverged" in scene.engine.halted
    assert scene.engine.deadline_ms is None
    scene.work()
    scene.go(1_000)
    assert scene.votes() == []


def test_two_final_chains_stop_the_node() -> None:
    scene = Scene()
    first, rival = scene.block(1), scene.block(1, names=(b"rival",))
    scene.propose(first)
    scene.show(scene.certificate(NOTARIZE, 1, first.hash))
    scene.show(scene.certificate(FINALIZE, 1, first.hash))
    scene.go()
    assert scene.engine.final.height == 1
    child = scene.block(2, rival, (b"y",))
    scene.show(scene.certificate(FINALIZE, 2, child.hash))
    scene.go()
    for made in (child, rival):
        if asks := scene.sent(Number.GET_BLOCKS):
            ask = decode_as(asks[0][1], GetBlocks)
            pair = (made.header_bytes, made.body_bytes)
            scene.tell(scene.others[0], Number.BLOCKS, Blocks(ask.hash, (pair,)))
            scene.go()
    assert "final" in scene.engine.halted


def test_a_certified_block_in_memory_that_undoes_a_final_one_stops_the_node() -> None:
    scene = Scene()
    first = scene.block(1)
    scene.propose(first)
    scene.show(scene.certificate(NOTARIZE, 1, first.hash))
    scene.show(scene.certificate(FINALIZE, 1, first.hash))
    scene.go()
    rival = scene.block(2, None, (b"rival",))
    scene.propose(rival)
    scene.go()
    scene.show(scene.certificate(FINALIZE, 2, rival.hash))
    scene.go()
    assert scene.engine.halted == "two chains are final at height 1"


def test_late_blocks_of_views_that_were_left_are_not_kept() -> None:
    scene = Scene()
    scene.show(scene.certificate(NULLIFY, 1))
    scene.go()
    late = scene.block(1)
    scene.propose(late)
    scene.go()
    scene.show(scene.certificate(NOTARIZE, 1, late.hash))
    scene.go()
    assert scene.sent(Number.GET_BLOCKS)


def test_a_certificate_lets_another_block_take_the_slot_of_an_equivocating_leader() -> None:
    scene = Scene()
    shown, certified = scene.block(1), scene.block(1, names=(b"other",))
    scene.propose(shown)
    scene.go()
    scene.show(scene.certificate(NOTARIZE, 1, certified.hash))
    scene.go()
    scene.propose(certified)
    scene.go()
    assert scene.votes() == [(FINALIZE, 1)]
    assert scene.engine.tip.hash == certified.hash


# Other messages.


def test_what_is_not_for_the_engine_is_reported_and_never_raises() -> None:
    scene = Scene()
    scene.tell(scene.others[0], Number.GET_REVEAL, GetCert(0, 1))
    scene.tell(
        scene.others[0], Number.HAVE, parse_envelope(scene.envelope(0, NULLIFY, 1, NO_DIGEST))
    )
    scene.go()
    assert [peer for peer, _ in scene.faults()] == [scene.others[0]]


def test_garbage_of_every_kind_is_a_report_and_nothing_else() -> None:
    scene = Scene()
    bad = scene.others[0]
    kid = scene.validators.kids[bad]
    scene.tell(bad, Number.VOTE, Envelope(kid, b"\x80", bytes(64)))
    scene.tell(bad, Number.VOTE, Envelope(bytes(8), b"\x80", bytes(64)))  # type: ignore[arg-type]
    scene.tell(bad, Number.VOTE, Envelope(kid, vote_payload(NOTARIZE, 0, 1, NO_DIGEST), bytes(64)))
    scene.tell(bad, Number.VOTE, Envelope(kid, vote_payload(NULLIFY, 0, 1, b"1" * 32), bytes(64)))
    scene.tell(bad, Number.PROPOSAL, Proposal(b"", b"", b""))
    scene.tell(bad, Number.CERTIFICATE, Certificate(1, 0, 1, b"1" * 32, b"\x07", (bytes(64),) * 3))
    scene.tell(bad, Number.BLOCKS, Blocks(bytes(32), ()))
    scene.tell(bad, Number.GET_BLOCKS, GetBlocks(bytes(32), 1, 0))
    scene.tell(bad, Number.GET_CERT, GetCert(0, 2**63 - 1))
    scene.tell(bad, Number.STATUS, Status(0, 0, 2**63 - 1, 0, 2**63 - 1, bytes(32), 2**63 - 1, 7))
    scene.go()
    assert scene.votes() == []
    assert [peer for peer, _ in scene.faults()] == [bad] * 6
