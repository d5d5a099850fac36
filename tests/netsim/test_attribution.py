"""PROTOCOL 9.3, watched from outside: what an honest node can prove, a block says in the end."""

from dataclasses import replace

import pytest

from consensus.encoding import digest
from consensus.messages import NO_DIGEST, Number, VoteKind, frame, vote_payload
from consensus.signing import Domain, PublicKey, SigningKey, key_id, sign_envelope, verify
from netsim.attribution import Attribution, Debt, Standing
from netsim.invariants import ViolatedError
from netsim.scenario import load_scenario
from netsim.simulation import simulate

CHAIN = digest("simulated", b"attribution")
CHEAT, KEY, OTHER = 3, SigningKey(bytes(32)), SigningKey(b"\1" * 32)
A, B = digest("a", b""), digest("b", b"")
NOTARIZE, NULLIFY, FINALIZE = VoteKind.NOTARIZE, VoteKind.NULLIFY, VoteKind.FINALIZE
AT = Standing(host=0, boot=1, epoch=2, view=7, final_view=5)
DEBT = Debt(finder=0, offender=CHEAT, epoch=2, height=10)


def key_of(epoch: int, kid: bytes) -> tuple[int, PublicKey] | None:
    known = kid == key_id(KEY.public_key) and epoch in {1, 2}
    return (CHEAT, KEY.public_key) if known else None


@pytest.fixture
def watch() -> Attribution:
    return Attribution(CHAIN, verify, key_of)


def vote(kind: VoteKind, about: bytes, *, view: int = 7, epoch: int = 2) -> bytes:
    payload = vote_payload(kind, epoch, view, about)
    return frame(Number.VOTE, sign_envelope(KEY, Domain.VOTE, CHAIN, payload))


PAIRS = [
    (NOTARIZE, A, NOTARIZE, B, True),
    (FINALIZE, A, FINALIZE, B, True),
    (NULLIFY, NO_DIGEST, FINALIZE, A, True),
    (FINALIZE, A, NULLIFY, NO_DIGEST, True),
    (NOTARIZE, A, NOTARIZE, A, False),
    (NOTARIZE, A, FINALIZE, A, False),
    (NOTARIZE, A, FINALIZE, B, False),
    (NOTARIZE, A, NULLIFY, NO_DIGEST, False),
    (NULLIFY, NO_DIGEST, NULLIFY, NO_DIGEST, False),
]


@pytest.mark.parametrize(("kind", "about", "other", "other_about", "proves"), PAIRS)
def test_two_votes_prove_a_cheat_exactly_if_they_exclude_each_other(
    watch: Attribution,
    kind: VoteKind,
    about: bytes,
    other: VoteKind,
    other_about: bytes,
    proves: bool,
) -> None:
    assert watch.hears(AT, CHEAT, vote(kind, about)) is None
    assert watch.hears(AT, CHEAT, vote(other, other_about)) == (CHEAT if proves else None)


@pytest.mark.parametrize(
    ("at", "sender", "data"),
    [
        (AT, CHEAT, vote(NOTARIZE, B, view=6)),  # another view
        (AT, 2, vote(NOTARIZE, B)),  # of somebody else, passed on
        (AT, CHEAT, vote(NOTARIZE, B)[:-1]),
        (AT, CHEAT, vote(NOTARIZE, B)[:-1] + bytes((vote(NOTARIZE, B)[-1] ^ 1,))),
        (AT, CHEAT, vote(NOTARIZE, B, epoch=1)),
        (replace(AT, boot=2), CHEAT, vote(NOTARIZE, B)),  # the first went with the power
        (replace(AT, host=1), CHEAT, vote(NOTARIZE, B)),  # two hosts, half of it each
        (replace(AT, final_view=7), CHEAT, vote(NOTARIZE, B)),  # over
        (replace(AT, view=5), CHEAT, vote(NOTARIZE, B)),  # too far ahead to be kept
    ],
)
def test_what_a_node_may_miss_or_cannot_prove_is_owed_by_nobody(
    watch: Attribution, at: Standing, sender: int, data: bytes
) -> None:
    assert watch.hears(AT, CHEAT, vote(NOTARIZE, A)) is None
    assert watch.hears(at, sender, data) is None


@pytest.mark.parametrize(
    ("sender", "votes"),
    [
        (CHEAT, (vote(FINALIZE, A), vote(NULLIFY, B))),  # the second is no vote at all
        (2, (vote(NOTARIZE, A), vote(NOTARIZE, B))),  # both are of somebody else, passed on
    ],
)
def test_only_votes_that_their_own_voter_sends_are_counted(
    watch: Attribution, sender: int, votes: tuple[bytes, bytes]
) -> None:
    assert [watch.hears(AT, sender, data) for data in votes] == [None, None]


def test_whoever_could_be_proven_is_convicted_within_three_rounds_of_leaders(
    watch: Attribution,
) -> None:
    watch.owes(DEBT)
    assert watch.settle([], [0, 1, 2, CHEAT], 2, since=0, height=21) == 0
    assert watch.settle([CHEAT], [0, 1, 2], 3, since=0, height=22) == 1
    with pytest.raises(ViolatedError, match="attribution: host 0 heard two votes of host 3"):
        watch.settle([], [0, 1, 2, CHEAT], 2, since=0, height=22)
    assert watch.settle([], [0, 1, 2, CHEAT], 2, since=20, height=31) == 0


def test_who_votes_no_more_and_who_comes_when_no_epoch_can_check_it_owes_nothing(
    watch: Attribution,
) -> None:
    watch.owes(DEBT)
    assert watch.settle([], [1, 2, CHEAT], 2, since=0, height=99) == 0
    assert watch.settle([], [0, 1, 2, CHEAT], 4, since=0, height=99) == 0
    with pytest.raises(ViolatedError):
        watch.settle([], [0, 1, 2, CHEAT], 3, since=0, height=99)


def test_a_run_with_a_cheat_that_votes_twice_owes_its_conviction_and_pays_it() -> None:
    outcome, _ = simulate(load_scenario("equivocator"), 1)
    assert outcome.verdict == "ok"
    assert outcome.marks["cheats_owed"] == 1
