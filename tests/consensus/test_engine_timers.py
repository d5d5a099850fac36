"""PROTOCOL 8 and 9: giving up, sleeping, repeating, helping, and coming back from the dead."""

import itertools
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from consensus.chain import Tip
from consensus.effects import BlockLogged, CertificateLogged, Persist, Send, VoteLogged
from consensus.encoding import decode_as, encode
from consensus.messages import (
    NO_DIGEST,
    Blocks,
    Certificate,
    GetBlocks,
    GetCert,
    Number,
    Proposal,
    Status,
    VoteKind,
    VotePayload,
    block_hash,
    parse_frame,
)
from consensus.signing import parse_envelope
from tests.consensus.scenes import DELTA_MS, FINALIZE, NOTARIZE, NULLIFY, WALL_MS, Made, Scene

# R6 and timers.


def test_a_silent_leader_is_given_up_after_three_deltas_and_a_late_quorum_after_five() -> None:
    scene = Scene()
    scene.work()
    scene.go(3 * DELTA_MS - 1)
    assert scene.votes() == []
    scene.go(1)
    assert scene.votes() == [(NULLIFY, 1)]
    scene = Scene()
    scene.propose(scene.block(1))
    scene.go(5 * DELTA_MS - 1)
    assert (NULLIFY, 1) not in scene.votes()
    scene.go(1)
    assert scene.votes() == [(NULLIFY, 1)]


def test_timers_grow_by_half_for_each_view_without_a_block_and_shrink_when_one_is_final() -> None:
    scene = Scene(n=7)
    scene.work(b"z")
    for view, base in ((1, 150), (2, 225), (3, 337)):
        assert scene.validators.leader(view) != scene.me
        scene.go()
        scene.go(base - 1)
        assert (NULLIFY, view) not in scene.votes()
        scene.go(1)
        assert (NULLIFY, view) in scene.votes()
        scene.show(scene.certificate(NULLIFY, view))


@pytest.mark.parametrize("n", [4, 7])
def test_more_than_f_who_give_up_take_everybody_along_and_f_do_not(n: int) -> None:
    scene = Scene(n)
    leader = scene.validators.leader(1)
    quitters = [i for i in scene.others if i != leader]
    f = (n - 1) // 3
    for signer in quitters[:f]:
        scene.vote(signer, NULLIFY, 1)
    scene.go()
    assert scene.votes() == []
    scene.vote(quitters[f], NULLIFY, 1)
    scene.go()
    assert scene.votes() == [(NULLIFY, 1)]


def test_a_leader_who_gives_its_own_view_up_is_believed_at_once() -> None:
    scene = Scene()
    scene.vote(scene.validators.leader(1), NULLIFY, 1)
    scene.go()
    assert scene.votes() == [(NULLIFY, 1)]


def test_a_leader_that_missed_its_turn_is_not_waited_for_until_it_is_heard() -> None:
    def without_its_leader(scene: Scene) -> int:
        """Let view 1 be nullified by all but its leader; return the leader."""
        leader = scene.validators.leader(1)
        for signer in scene.others:
            if signer != leader:
                scene.vote(signer, NULLIFY, 1)
        scene.go()
        assert scene.votes() == [(NULLIFY, 1)]
        return leader

    scene = Scene(n=4)
    leader = without_its_leader(scene)
    for view in range(2, 5):
        scene.show(
            scene.certificate(NULLIFY, view), by=next(i for i in scene.others if i != leader)
        )
    scene.go()
    assert scene.validators.leader(5) == leader
    scene.work()
    scene.go()
    assert scene.votes() == [(NULLIFY, 5)]

    scene = Scene(n=4)
    assert without_its_leader(scene) == leader
    scene.tell(leader, Number.STATUS, Status(0, 0, 2, 0, 0, bytes(32), 1, 0))
    for view in range(2, 5):
        scene.show(
            scene.certificate(NULLIFY, view), by=next(i for i in scene.others if i != leader)
        )
    scene.go()
    scene.work()
    scene.go()
    assert scene.votes() == []
    assert not scene.engine.muted


# Quiescence and dissemination.


def test_a_sleeper_sets_no_timer_but_that_of_its_status() -> None:
    scene = Scene()
    scene.go(10_000)
    assert scene.engine.deadline_ms == 1_000 + 60_000
    scene.go(600_000)
    kinds = {parse_frame(e.frame)[0] for e in scene.effects if isinstance(e, Send)}
    assert kinds == {Number.STATUS}
    assert len(scene.effects) == 10


def test_repetitions_are_stored_bytes_and_become_rarer() -> None:
    scene = Scene()
    scene.propose(scene.block(1))
    scene.go()
    ((_, first),) = scene.sent(Number.VOTE)
    times = []
    for _ in range(4_000):
        scene.go(1)
        for _, again in scene.sent(Number.VOTE):
            if decode_as(parse_envelope(again).payload, VotePayload).kind == NOTARIZE:
                assert again == first
                times.append(scene.ms - 1_000)
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert times[0] == 4 * DELTA_MS
    assert gaps[:4] == [200, 320, 512, 819]
    assert len(times) <= 9


@pytest.mark.parametrize("asleep", [True, False])
def test_a_peer_that_is_behind_is_helped_at_most_once_a_delta(asleep: bool) -> None:
    scene = Scene()
    first = scene.block(1)
    scene.propose(first)
    scene.show(scene.certificate(NOTARIZE, 1, first.hash))
    scene.show(scene.certificate(FINALIZE, 1, first.hash))
    scene.go(1_000)
    if not asleep:
        scene.work(b"y")
        scene.go()
    assert scene.engine.awake is not asleep
    behind = Status(1, 0, 1, 0, 0, bytes(32), 1, 0)
    for _ in range(3):
        scene.tell(scene.others[1], Number.STATUS, behind)
    scene.go()
    assert [
        (to, decode_as(data, Certificate).kind) for to, data in scene.sent(Number.CERTIFICATE)
    ] == [(scene.others[1], FINALIZE)]
    assert len(scene.sent(Number.STATUS)) == 3


def test_a_peer_that_began_anew_or_came_back_is_helped_again_at_once() -> None:
    scene = Scene()
    first = scene.block(1)
    second = scene.block(2, first, (b"y",))
    for view, block in ((1, first), (2, second)):
        scene.propose(block)
        scene.show(scene.certificate(NOTARIZE, view, block.hash))
        scene.show(scene.certificate(FINALIZE, view, block.hash))
        scene.go(1_000)
    assert scene.engine.final.height == 2
    peer = scene.others[1]

    def helped(final_view: int) -> int:
        scene.effects.clear()
        scene.tell(peer, Number.STATUS, Status(1, 0, 1, 0, final_view, bytes(32), 1, 0))
        scene.go()
        return len(scene.sent(Number.CERTIFICATE))

    assert helped(1) == 1
    assert helped(1) == 0
    assert helped(0) == 1, "it was sent a certificate, and has lost it"
    assert helped(0) == 0
    scene.engine.peer_up(peer, scene.now)
    assert helped(0) == 1


def test_a_sleeper_repeats_its_votes_to_whoever_is_stuck_in_its_view() -> None:
    scene = Scene(n=7)
    for signer in scene.others[:3]:
        scene.vote(signer, NULLIFY, 1)
    scene.go(60_000)
    assert not scene.engine.awake
    scene.tell(scene.others[1], Number.STATUS, Status(1, 0, 1, 0, 0, bytes(32), 1, 0))
    scene.go()
    assert scene.votes() == [(NULLIFY, 1)]
    assert scene.sent(Number.VOTE)[0][0] == scene.others[1]


def test_certificates_are_relayed_only_to_those_not_seen_beyond_them() -> None:
    scene = Scene()
    first = scene.block(1)
    scene.propose(first)
    scene.go()
    for signer in scene.others:
        scene.vote(signer, NOTARIZE, 1, first.hash)
    scene.go()
    seen, unseen = scene.others[:2], scene.others[2]
    for signer in seen:
        scene.vote(signer, FINALIZE, 1, first.hash)
    scene.go(2 * DELTA_MS)
    assert {to for to, _ in scene.sent(Number.CERTIFICATE)} == {unseen}


def test_blocks_are_served_within_an_allowance() -> None:
    scene = Scene()
    big = tuple(bytes((i,)) * 60_000 for i in range(8))
    first = scene.block(1, names=big)
    scene.propose(first)
    scene.go()
    for _ in range(200):
        scene.tell(scene.others[0], Number.GET_BLOCKS, GetBlocks(first.hash, 1, 0))
    scene.go()
    served = len(scene.sent(Number.BLOCKS))
    assert 16 <= served * 480 // 1024 <= 18
    scene.tell(scene.others[1], Number.GET_BLOCKS, GetBlocks(first.hash, 1, 0))
    scene.go()
    assert len(scene.sent(Number.BLOCKS)) == 1


def test_get_cert_is_answered_with_what_settles_the_view() -> None:
    scene = Scene()
    first = scene.block(1)
    scene.propose(first)
    scene.show(scene.certificate(NULLIFY, 1))
    scene.show(scene.certificate(NOTARIZE, 1, first.hash))
    scene.show(scene.certificate(NULLIFY, 2))
    scene.go(500)

    def kinds(view: int) -> list[tuple[int, int]]:
        scene.tell(scene.others[0], Number.GET_CERT, GetCert(0, view))
        scene.go()
        answers = [decode_as(data, Certificate) for _, data in scene.sent(Number.CERTIFICATE)]
        return [(answer.kind, answer.view) for answer in answers]

    assert kinds(1) == [(NOTARIZE, 1), (NULLIFY, 1)]
    assert kinds(2) == [(NULLIFY, 2)]
    assert kinds(3) == []
    scene.show(scene.certificate(FINALIZE, 1, first.hash))
    scene.go(500)
    assert kinds(1) == [(FINALIZE, 1)]


def test_a_peer_whose_link_came_up_again_may_have_forgotten_everything() -> None:
    for forgot in (False, True):
        scene = Scene()
        scene.show(scene.certificate(NULLIFY, 1))
        scene.go(100)
        peer = scene.others[0]
        scene.vote(peer, NULLIFY, 2)  # so it was there
        scene.work()
        if forgot:
            scene.engine.peer_up(peer, scene.now)
        scene.go(4 * DELTA_MS)
        assert (peer in {to for to, _ in scene.sent(Number.CERTIFICATE)}) is forgot


def test_a_proposal_is_repeated_to_those_who_did_not_vote_for_it() -> None:
    scene = Scene(n=7, leads=1)
    scene.work()
    scene.go()
    ((header, _),) = scene.proposals()
    voted = scene.others[:2]
    for signer in voted:
        scene.vote(signer, NOTARIZE, 1, block_hash(encode(header)))
    scene.go(4 * DELTA_MS)
    assert {to for to, _ in scene.sent(Number.PROPOSAL)} == set(scene.others) - set(voted)


def test_at_most_sixteen_finalize_votes_are_repeated() -> None:
    scene = Scene()
    parent = None
    for view in range(1, 21):
        parent = scene.block(view, parent, (bytes((view,)),))
        if scene.validators.leader(view) != scene.me:
            scene.propose(parent)
        scene.show(scene.certificate(NOTARIZE, view, parent.hash))
        scene.go()
        for to, data in scene.sent(Number.GET_BLOCKS):
            pair = (parent.header_bytes, parent.body_bytes)
            assert to is not None
            scene.tell(to, Number.BLOCKS, Blocks(decode_as(data, GetBlocks).hash, (pair,)))
            scene.go()
    scene.go(2 * DELTA_MS)
    assert scene.votes() == [(FINALIZE, view) for view in range(5, 21)]


def test_a_node_that_is_always_too_early_waits_longer_though_blocks_are_notarized() -> None:
    scene = Scene()
    scene.work(b"never in a block")
    parent = None
    for view, wait_ms in ((1, 150), (2, 225), (3, 337)):
        assert scene.validators.leader(view) != scene.me
        scene.go(wait_ms - 1)
        assert (NULLIFY, view) not in scene.votes()
        scene.go(1)
        assert (NULLIFY, view) in scene.votes()
        parent = scene.block(view, parent, (bytes((view,)),))
        scene.propose(parent)
        scene.show(scene.certificate(NOTARIZE, view, parent.hash))
        scene.go()


# Clocks.


def answer(scene: Scene, offset_ms: int, by: Sequence[int], trip_ms: int = 0) -> None:
    """Let peers answer the Status of the engine's start, their clocks off by `offset_ms`."""
    asked_ms = WALL_MS + scene.ms
    scene.go(trip_ms)
    for sender in by:
        wall_ms = WALL_MS + scene.ms - trip_ms // 2 + offset_ms
        scene.tell(sender, Number.STATUS, Status(0, 0, 1, 0, 0, bytes(32), wall_ms, asked_ms))
    scene.go()


def test_a_node_with_a_wrong_clock_proposes_and_judges_by_the_tables() -> None:
    scene = Scene(leads=1)
    answer(scene, -3_600_000, by=scene.others)
    assert scene.engine.table_clock(scene.now) == WALL_MS + scene.ms - 3_600_000
    scene.work()
    scene.go()
    ((header, _),) = scene.proposals()
    assert header.time_ms == WALL_MS + scene.ms - 3_600_000
    scene = Scene()
    answer(scene, 3_600_000, by=scene.others)
    scene.propose(scene.block(1, time_ms=WALL_MS + scene.ms + 3_600_000))
    scene.go()
    assert scene.votes() == [(NOTARIZE, 1)]


def test_a_slow_quorum_makes_longer_timers() -> None:
    scene = Scene()
    answer(scene, 0, by=scene.others, trip_ms=600)
    assert scene.engine.delta_ms == 300


def test_votes_for_its_own_block_tell_a_leader_how_long_execution_takes() -> None:
    scene = Scene(leads=1)
    scene.work()
    scene.go()
    ((header, _),) = scene.proposals()
    scene.go(240)
    for signer in scene.others[:2]:
        scene.vote(signer, NOTARIZE, 1, block_hash(encode(header)))
    scene.go()
    assert scene.engine.delta_ms == 120


# Restart.


def test_a_restarted_node_repeats_its_stored_votes_and_makes_no_other() -> None:
    scene = Scene(leads=1)
    scene.work()
    scene.go()
    proposal = scene.sent(Number.PROPOSAL)
    scene.boot()
    assert scene.engine.view == 1
    assert {data for _, data in scene.sent(Number.PROPOSAL)} == {proposal[0][1]}
    scene.work(b"y")
    scene.go()
    assert [decode_as(data, Proposal) for _, data in scene.sent(Number.PROPOSAL)] == []
    votes = [record for record in scene.disk if isinstance(record, VoteLogged)]
    assert len(votes) == 1


def test_own_votes_count_again_after_a_restart() -> None:
    scene = Scene()
    first = scene.block(1)
    scene.propose(first)
    scene.go()
    scene.boot()
    leader = scene.validators.leader(1)
    other = next(i for i in scene.others if i != leader)
    for signer in (leader, other):
        scene.vote(signer, NOTARIZE, 1, first.hash)
    scene.go()
    assert (FINALIZE, 1) in scene.votes()


@pytest.mark.parametrize("kind", [NULLIFY, FINALIZE])
def test_a_vote_of_an_earlier_life_is_not_contradicted(kind: VoteKind) -> None:
    scene = Scene()
    first = scene.block(1)
    if kind is NULLIFY:
        scene.vote(scene.validators.leader(1), NULLIFY, 1)
        scene.go()
    scene.propose(first)
    scene.go()
    if kind is FINALIZE:
        scene.show(scene.certificate(NOTARIZE, 1, first.hash))
        scene.go()
    scene.boot()
    scene.propose(scene.block(1, names=(b"rival",)))
    scene.show(scene.certificate(NOTARIZE, 1, first.hash))
    for signer in scene.others:
        scene.vote(signer, NULLIFY, 1)
    scene.go(10_000)
    said = {(r.kind, r.digest) for r in scene.disk if isinstance(r, VoteLogged) and r.view == 1}
    excluded = NULLIFY if kind is FINALIZE else FINALIZE
    assert excluded not in {one for one, _ in said}
    assert [about for one, about in said if one == NOTARIZE] == [first.hash]


def test_certificates_are_stored_with_the_next_vote_and_resume_the_view() -> None:
    scene = Scene(n=7)
    for view in (1, 2):
        scene.show(scene.certificate(NULLIFY, view))
    effects = scene.go()
    assert not any(isinstance(effect, Persist) for effect in effects)
    scene.work()
    scene.go(1_000)
    assert [r.view for r in scene.disk if isinstance(r, CertificateLogged)] == [1, 2]
    scene.boot()
    assert scene.engine.view == 3


def test_a_node_that_begins_on_a_snapshot_asks_for_the_proof_that_its_block_is_final() -> None:
    scene = Scene(leads=2)
    base = Tip(5, 1, scene.block(1, names=()).hash, WALL_MS)
    scene.boot(base, records=())
    scene.work()
    scene.go()
    ((_, data),) = scene.sent(Number.GET_CERT)
    assert decode_as(data, GetCert).view == 1
    scene.show(scene.certificate(FINALIZE, 1, base.hash))
    scene.go()
    ((header, body),) = scene.proposals()
    assert (header.height, header.parent_hash) == (6, base.hash)
    assert decode_as(body.parent_cert, Certificate).kind == FINALIZE


def test_records_of_another_epoch_are_not_resumed() -> None:
    scene = Scene()
    first = scene.block(1)
    later = Made(replace(first.header, epoch=1, view=2), first.body)
    scene.disk = [
        VoteLogged(kind=NULLIFY, epoch=1, view=1, digest=NO_DIGEST, envelope=b"another's"),
        CertificateLogged(kind=NULLIFY, epoch=1, view=4, digest=NO_DIGEST, certificate=b"other"),
        BlockLogged(
            hash=later.hash, height=1, view=2, header=later.header_bytes, body=later.body_bytes
        ),
    ]
    scene.boot()
    assert (scene.engine.view, scene.votes()) == (1, [])
    scene.tell(scene.others[0], Number.GET_BLOCKS, GetBlocks(later.hash, 1, 0))
    scene.go()
    assert scene.sent(Number.BLOCKS) == []
