"""PROTOCOL 7 R3, R6 and R9: who is known to have equivocated gets no turn as leader."""

from consensus.messages import VoteKind
from tests.consensus.scenes import Scene

NOTARIZE, NULLIFY = VoteKind.NOTARIZE, VoteKind.NULLIFY


def test_the_view_of_a_convict_is_given_up_at_once_and_its_block_gets_no_vote() -> None:
    scene = Scene()
    scene.engine.distrust(scene.validators.leader(1))
    scene.propose(scene.block(1))
    scene.go()
    assert scene.votes() == [(NULLIFY, 1)]
    assert scene.faults() == []


def test_with_work_nobody_waits_for_a_block_of_a_convict() -> None:
    scene = Scene()
    scene.engine.distrust(scene.validators.leader(1))
    scene.work()
    scene.go()
    assert scene.votes() == [(NULLIFY, 1)]


def test_a_table_at_rest_stays_at_rest_under_a_convict() -> None:
    scene = Scene()
    scene.engine.distrust(scene.validators.leader(1))
    scene.go(60_000)
    assert scene.votes() == []


def test_a_convict_that_follows_the_rules_makes_no_block_but_gives_its_view_up() -> None:
    scene = Scene(leads=1)
    scene.engine.distrust(scene.me)
    scene.work()
    scene.go()
    assert scene.proposals() == []
    assert scene.votes() == [(NULLIFY, 1)]


def test_where_everybody_is_convicted_they_lead_as_before() -> None:
    scene = Scene()
    for index in range(scene.validators.n):
        scene.engine.distrust(scene.others[0] if index == scene.me else index)  # type: ignore[arg-type]
    scene.go()
    scene.engine.distrust(scene.me)
    scene.propose(scene.block(1))
    scene.go()
    assert scene.votes() == [(NOTARIZE, 1)]
