"""PROTOCOL 13: members, voters, epochs."""

import pytest

from consensus.encoding import DecodeError, digest
from consensus.signing import SigningKey, key_id
from consensus.validators import faults_tolerated
from node.game.receipts import DONE, Code, Receipt
from node.membership import (
    APPROVALS_MAX,
    MISSED_TURNS_MAX,
    Member,
    Membership,
    NextKeys,
    Retire,
    SetVote,
)


def key_of(name: str) -> bytes:
    return SigningKey(digest("key", name.encode())).public_key


def previous_keys(membership: Membership) -> tuple[bytes, ...]:
    previous = membership.previous_validators()
    assert previous is not None
    return previous.keys


def member(name: str, *, wants: int = 1) -> Member:
    vote, box = key_of(f"{name} vote"), digest("box", name.encode())
    return Member(key_of(name), name, vote, box, vote, box, wants=wants)


def table(n: int, *, seats_only: int = 0) -> Membership:
    members = [member(f"p{i}", wants=int(i < n)) for i in range(n + seats_only)]
    return Membership.genesis(members, range(n))


def vanish(membership: Membership, *slots: int) -> None:
    for _ in range(MISSED_TURNS_MAX):
        membership.count_turns([membership.voters.index(slot) for slot in slots], None)


def test_voters_stand_in_the_order_of_their_keys_and_slots_do_not_move() -> None:
    membership = table(7)
    keys = membership.validators(digest("seed", b"")).keys
    assert list(keys) == sorted(keys)
    for index, slot in enumerate(membership.voters):
        assert membership.members[slot].consensus_key == keys[index]
        assert membership.slot_of(key_id(membership.members[slot].identity)) == slot


def test_a_refused_operation_changes_nothing() -> None:
    membership = table(1)
    root = membership.root()
    keys = key_of("new"), digest("box", b"new")
    for operation, code in (
        (SetVote(0), Code.LAST_VOTER),
        (Retire(), Code.LAST_VOTER),
        (NextKeys(2, *keys), Code.KEYS_OF_EPOCH),
        (NextKeys(0, *keys), Code.KEYS_OF_EPOCH),
        (NextKeys(1, membership.members[0].consensus_key, keys[1]), Code.KEYS_IN_USE),
        (NextKeys(1, membership.members[0].identity, keys[1]), Code.KEYS_IN_USE),
        (NextKeys(1, keys[0], membership.members[0].box_key), Code.KEYS_IN_USE),
        (NextKeys(1, bytes(32), keys[1]), Code.KEYS_IN_USE),
    ):
        assert membership.apply(0, operation).code == code
        assert Membership.from_leaves(membership.leaves()).root() == root


def test_giving_up_a_vote_changes_the_voters_and_asking_for_one_again_brings_it_back() -> None:
    membership = table(4)
    assert not membership.is_changing()
    assert membership.apply(2, SetVote(0)) == DONE
    assert membership.is_changing()
    membership.seal()
    assert membership.epoch == 1
    assert sorted(membership.voters) == [0, 1, 3]
    assert not membership.is_changing()
    membership.apply(2, SetVote(1))
    membership.seal()
    assert sorted(membership.voters) == [0, 1, 2, 3]


def test_next_keys_take_over_at_the_seal_and_the_old_one_stays_known_for_one_epoch() -> None:
    membership = table(4)
    old = membership.members[1].consensus_key
    vote, box = key_of("1 in epoch 1"), digest("box", b"1 in epoch 1")
    assert membership.apply(1, NextKeys(1, vote, box)) == DONE
    assert membership.members[1].consensus_key == old
    assert not membership.is_changing()
    membership.apply(3, SetVote(0))
    membership.seal()
    assert membership.members[1].consensus_key == vote
    assert membership.members[1].box_key == box
    assert old in previous_keys(membership)
    assert membership.apply(0, NextKeys(2, old, digest("box", b"x"))).code == Code.KEYS_IN_USE
    membership.apply(3, SetVote(1))
    membership.seal()
    assert old not in previous_keys(membership)


@pytest.mark.parametrize(
    ("n", "gone", "leave"),
    [
        (4, 1, False),
        (5, 1, True),
        (6, 1, True),
        (7, 1, False),
        (7, 2, True),
        (8, 1, True),
        (10, 3, True),
        (10, 2, True),
        (10, 1, False),
        (1, 1, False),
        (2, 1, False),
        (3, 1, False),
    ],
)
def test_the_vanished_go_only_if_the_rest_then_stands_more_absences(
    n: int, gone: int, *, leave: bool
) -> None:
    more_now = max(faults_tolerated(n) - gone, 0)
    assert leave == (n > gone and faults_tolerated(n - gone) > more_now)
    membership = table(n)
    vanish(membership, *range(gone))
    assert membership.is_changing() == leave
    if leave:
        membership.seal()
        assert sorted(membership.voters) == list(range(gone, n))
        assert membership.members[0].wants == 0
        assert not membership.is_changing()


def test_a_turn_that_was_led_makes_missed_ones_forgotten() -> None:
    membership = table(5)
    index = membership.voters.index(0)
    for _ in range(5):
        membership.count_turns([index], None)
        membership.count_turns([index], None)
        membership.count_turns([], index)
    assert not membership.is_changing()


def test_who_cheated_goes_even_if_the_table_is_weaker_then_and_never_votes_again() -> None:
    membership = table(4)
    assert membership.convict(digest("offence", b"1"), 2) is None
    assert membership.convict(digest("offence", b"1"), 2) == "an offence that is known"
    membership.seal()
    assert sorted(membership.voters) == [0, 1, 3]
    assert membership.apply(2, SetVote(1)).code == Code.CHEATED
    assert not membership.is_changing()


def test_newcomers_need_approvals_of_voters_and_vote_a_few_at_a_time() -> None:
    membership = table(4, seats_only=1)
    newcomer = member("carla")
    assert membership.approve(4, newcomer, 1) == Receipt(Code.NO_VOTE)
    assert membership.approve(0, newcomer, 3) == DONE
    assert membership.approve(0, newcomer, 3) == Receipt(Code.APPROVED_ALREADY)
    assert membership.approve(1, newcomer, 3) == DONE
    assert len(membership.members) == 5
    assert membership.approve(2, newcomer, 3) == 5
    assert membership.slot_of(key_id(newcomer.identity)) == 5
    assert membership.approve(3, newcomer, 3).code == Code.NEWCOMER_KNOWN  # type: ignore[union-attr]
    assert membership.approve(0, member("dora"), 1) == 6
    assert len(membership.next_voters()) == 5
    membership.seal()
    assert sorted(membership.voters) == [0, 1, 2, 3, 5]
    assert membership.is_changing()


@pytest.mark.parametrize("what", ["nickname", "identity", "consensus_key", "box_key"])
def test_a_newcomer_with_a_name_or_key_of_a_member_is_refused(what: str) -> None:
    membership = table(3)
    one, other = membership.members[0], member("fresh")
    values = {name: getattr(other, name) for name in Member.__struct_fields__}
    values[what] = getattr(one, what).upper() if what == "nickname" else getattr(one, what)
    refused = membership.approve(1, Member(**values), 1)
    assert refused == Receipt(Code.NEWCOMER_KNOWN)


def test_requests_that_wait_are_bounded() -> None:
    membership = table(4)
    for i in range(APPROVALS_MAX):
        assert membership.approve(0, member(f"new {i}"), 2) == DONE
    refused = membership.approve(0, member("one more"), 2)
    assert refused == Receipt(Code.NEWCOMERS, (APPROVALS_MAX,))
    assert membership.approve(1, member("new 3"), 2) == 4


def test_the_last_who_votes_stays_and_who_left_does_not_come_back() -> None:
    membership = table(2)
    assert membership.apply(0, Retire()) == DONE
    assert membership.apply(1, Retire()) == Receipt(Code.LAST_VOTER)
    assert membership.apply(1, SetVote(0)) == Receipt(Code.LAST_VOTER)
    membership.seal()
    assert membership.voters == (1,)


def test_a_membership_is_rebuilt_from_its_leaves_and_a_fork_is_independent() -> None:
    membership = table(5, seats_only=2)
    membership.approve(0, member("x"), 2)
    vanish(membership, 1)
    membership.convict(digest("offence", b"z"), 3)
    twin = Membership.from_leaves(membership.leaves())
    assert twin.root() == membership.root()
    fork = membership.fork()
    fork.seal()
    assert fork.root() != membership.root() == twin.root()
    twin.seal()
    assert twin.root() == fork.root()
    with pytest.raises(DecodeError):
        Membership.from_leaves(())
