"""PROTOCOL 9.2 at one engine: what it may have signed before decides what it signs now."""

import pytest

from consensus.effects import FloorLogged, Persist, Send
from consensus.engine import WATCHED_VIEWS
from consensus.messages import Certificate, Number, Status, parse_frame
from consensus.signing import parse_envelope
from consensus.validators import bitmap
from consensus.votes import FINALIZE, NOTARIZE, NULLIFY
from tests.consensus.scenes import Scene


def status(view: int, ask: int = 0) -> Status:
    return Status(ask, 0, view, 0, 0, bytes(32), 1, 0)


def forget(scene: Scene) -> None:
    """Restart with nothing remembered and nothing known of what was forgotten."""
    scene.boot(records=())
    scene.engine.floor = None


def test_who_came_back_votes_when_as_many_as_it_needs_have_said_where_they_are() -> None:
    scene = Scene(n=4)
    scene.propose(scene.block(1))
    scene.go()
    scene.boot(heard=False)
    scene.vote(scene.validators.leader(2), NULLIFY, 1)
    leader = scene.validators.leader(1)
    for signer in [i for i in scene.others if i != leader]:
        scene.vote(signer, NULLIFY, 1)
    scene.go(60_000)
    assert set(scene.votes()) == {(NOTARIZE, 1)}, "what it said before, and nothing new"
    first, second, _ = scene.others
    scene.tell(first, Number.STATUS, status(1))
    scene.go(1_000)
    assert scene.engine.is_listening
    scene.tell(second, Number.STATUS, status(2_000_000))  # nothing proves that
    scene.go(1_000)
    assert scene.engine.is_listening
    scene.tell(second, Number.STATUS, status(1))
    scene.go(1_000)
    assert not scene.engine.is_listening
    assert (NULLIFY, 1) in scene.votes()


def test_a_peer_is_shown_its_own_votes_before_it_is_told_where_this_node_is() -> None:
    scene = Scene(n=4)
    signer = scene.others[0]
    scene.vote(signer, NULLIFY, 1)
    scene.vote(scene.others[1], NULLIFY, 1)
    scene.go()
    scene.engine.peer_up(signer, scene.now)
    scene.tell(signer, Number.STATUS, status(1, ask=1))
    shown = [parse_frame(e.frame) for e in scene.go() if isinstance(e, Send) and e.to == signer]
    numbers = [number for number, _ in shown]
    vote = numbers.index(Number.VOTE)
    assert shown[vote][1] == parse_envelope(scene.envelope(signer, NULLIFY, 1, bytes(32)))
    assert numbers.count(Number.VOTE) == 1
    answers = [i for i, (n, m) in enumerate(shown) if isinstance(m, Status) and not m.ask]
    assert vote < answers[0]
    scene.tell(signer, Number.STATUS, status(1, ask=1))
    again = [e.frame[0] for e in scene.go() if isinstance(e, Send) and e.to == signer]
    assert Number.VOTE not in again


@pytest.mark.parametrize("shown_as", ["vote", "certificate"])
def test_a_vote_of_the_own_key_that_is_not_in_the_log_ends_all_voting(shown_as: str) -> None:
    scene = Scene(n=4)
    if shown_as == "vote":
        scene.tell(
            scene.others[0],
            Number.VOTE,
            parse_envelope(scene.envelope(scene.me, NULLIFY, 1, bytes(32))),
        )
    else:
        signers = sorted((scene.me, *scene.others[:2]))
        signatures = tuple(
            parse_envelope(scene.envelope(i, NULLIFY, 1, bytes(32))).signature for i in signers
        )
        scene.show(Certificate(NULLIFY, 0, 1, bytes(32), bitmap(signers, 4), signatures))
    scene.go()
    assert "NULLIFY vote in view 1 is signed with this node's key" in scene.engine.muted
    scene.work()
    scene.go(120_000)
    assert scene.votes() == []


def test_a_forged_vote_of_the_own_key_ends_nothing() -> None:
    scene = Scene(n=4)
    envelope = parse_envelope(scene.envelope(scene.me, NULLIFY, 1, bytes(32)))
    other = parse_envelope(scene.envelope(scene.others[0], NULLIFY, 1, bytes(32)))
    forged = type(envelope)(envelope.kid, envelope.payload, other.signature)
    scene.tell(scene.others[0], Number.VOTE, forged)
    scene.go()
    assert not scene.engine.muted


def test_own_votes_that_come_back_are_nothing_new() -> None:
    scene = Scene(n=4)
    block = scene.block(1)
    scene.propose(block)
    scene.go()
    assert scene.votes() == [(NOTARIZE, 1)]
    own = parse_envelope(scene.envelope(scene.me, NOTARIZE, 1, block.hash))
    scene.tell(scene.others[0], Number.VOTE, own)
    scene.show(scene.certificate(NOTARIZE, 1, block.hash))
    scene.go()
    assert not scene.engine.muted
    assert scene.votes() == [(FINALIZE, 1)]


def test_in_doubt_it_asks_2f_plus_1_others_and_votes_some_views_above_them() -> None:
    scene = Scene(n=4)
    forget(scene)
    for view in range(1, 7):
        scene.show(scene.certificate(NULLIFY, view))
    scene.go()
    for other in scene.others[:2]:
        scene.tell(other, Number.STATUS, status(7))
    scene.go()
    assert scene.engine.floor is None
    scene.tell(scene.others[2], Number.STATUS, status(3))
    effects = scene.go()
    floors = [r for e in effects if isinstance(e, Persist) for r in e.records]
    assert FloorLogged(epoch=0, view=8 + WATCHED_VIEWS) in floors
    scene.work()
    for view in range(7, 9 + WATCHED_VIEWS):
        scene.go(120_000)
        assert scene.votes() == []
        signers = scene.others[:3]
        signatures = tuple(
            parse_envelope(scene.envelope(i, NULLIFY, view, bytes(32))).signature for i in signers
        )
        scene.show(Certificate(NULLIFY, 0, view, bytes(32), bitmap(signers, 4), signatures))
    scene.go(120_000)
    assert {view for _, view in scene.votes()} == {9 + WATCHED_VIEWS}


def test_a_vote_that_is_shown_to_who_forgot_it_is_below_its_floor() -> None:
    scene = Scene(n=4)
    forget(scene)
    own = parse_envelope(scene.envelope(scene.me, NULLIFY, 2, bytes(32)))
    scene.tell(scene.others[0], Number.VOTE, own)
    for other in scene.others:
        scene.tell(other, Number.STATUS, status(1))
    scene.go()
    assert scene.engine.floor == 2 + WATCHED_VIEWS
    assert not scene.engine.muted
    # One that is cast while it watches is another device's.
    own = parse_envelope(scene.envelope(scene.me, NULLIFY, 3, bytes(32)))
    scene.tell(scene.others[0], Number.VOTE, own)
    scene.go()
    assert scene.engine.muted


@pytest.mark.parametrize(("heard", "is_new"), [(2, False), (3, True)])
def test_a_vote_above_all_that_enough_others_have_said_was_not_forgotten(
    heard: int, is_new: bool
) -> None:
    scene = Scene(n=4)
    forget(scene)
    for other in scene.others[:heard]:
        scene.tell(other, Number.STATUS, status(7))
    for view in (8, 9):  # view 7 is not proven here, so it asks on
        assert not scene.engine.muted
        own = parse_envelope(scene.envelope(scene.me, NULLIFY, view, bytes(32)))
        scene.tell(scene.others[0], Number.VOTE, own)
        scene.go()
    assert scene.engine.floor is None
    assert bool(scene.engine.muted) == is_new


@pytest.mark.parametrize("n", [1, 2, 3])
def test_where_all_are_needed_a_voter_in_doubt_stays_silent(n: int) -> None:
    scene = Scene(n=n)
    forget(scene)
    for other in scene.others:
        scene.tell(other, Number.STATUS, status(1))
    scene.work()
    scene.go(120_000)
    assert scene.engine.floor is None
    assert scene.votes() == []


def test_a_floor_in_the_journal_holds_after_a_restart() -> None:
    scene = Scene(n=4)
    scene.boot(records=(FloorLogged(epoch=0, view=5), FloorLogged(epoch=1, view=99)))
    assert scene.engine.floor == 5
    assert not scene.engine.may_vote(5)
    assert scene.engine.may_vote(6)
