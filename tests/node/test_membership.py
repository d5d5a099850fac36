"""PROTOCOL 13: members, voters, epochs."""

import pytest
from msgspec.structs import replace

from consensus.encoding import DecodeError, digest, encode
from consensus.evidence import OffenceKind
from consensus.signing import SigningKey, build_envelope, key_id
from consensus.validators import faults_tolerated
from node.descriptor import Join, Member as JoiningMember
from node.game.receipts import DONE, Code, Receipt
from node.membership import (
    EPOCH_MS_MIN,
    MISSED_TURNS_MAX,
    REQUESTS_PER_VOTER,
    Member,
    Membership,
    NextKeys,
    Retire,
    SetVote,
    open_newcomer,
)

NOW_MS = 1_700_000_000_000


def is_changing(membership: Membership) -> bool:
    return membership.is_changing(NOW_MS, in_play=False)


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
    assert not is_changing(membership)
    assert membership.apply(2, SetVote(0)) == DONE
    assert is_changing(membership)
    membership.seal(NOW_MS)
    assert membership.epoch == 1
    assert sorted(membership.voters) == [0, 1, 3]
    assert not is_changing(membership)
    membership.apply(2, SetVote(1))
    membership.seal(NOW_MS)
    assert sorted(membership.voters) == [0, 1, 2, 3]


def test_next_keys_take_over_at_the_seal_and_the_old_one_stays_known_for_one_epoch() -> None:
    membership = table(4)
    old = membership.members[1].consensus_key
    vote, box = key_of("1 in epoch 1"), digest("box", b"1 in epoch 1")
    assert membership.apply(1, NextKeys(1, vote, box)) == DONE
    assert membership.members[1].consensus_key == old
    assert not is_changing(membership)
    membership.apply(3, SetVote(0))
    membership.seal(NOW_MS)
    assert membership.members[1].consensus_key == vote
    assert membership.members[1].box_key == box
    assert old in previous_keys(membership)
    assert membership.apply(0, NextKeys(2, old, digest("box", b"x"))).code == Code.KEYS_IN_USE
    membership.apply(3, SetVote(1))
    membership.seal(NOW_MS)
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
    assert is_changing(membership) == leave
    if leave:
        membership.seal(NOW_MS)
        assert sorted(membership.voters) == list(range(gone, n))
        assert membership.members[0].wants == 0
        assert not is_changing(membership)


def test_a_turn_that_was_led_makes_missed_ones_forgotten() -> None:
    membership = table(5)
    index = membership.voters.index(0)
    for _ in range(5):
        membership.count_turns([index], None)
        membership.count_turns([index], None)
        membership.count_turns([], index)
    assert not is_changing(membership)


def test_who_cheated_goes_even_if_the_table_is_weaker_then_and_never_votes_again() -> None:
    membership = table(4)
    assert membership.convict(2, OffenceKind.TWO_FINALIZE) is None
    assert (
        membership.convict(2, OffenceKind.TWO_FINALIZE)
        == "an offence of member 2, who is convicted"
    )
    membership.seal(NOW_MS)
    assert sorted(membership.voters) == [0, 1, 3]
    assert membership.apply(2, SetVote(1)).code == Code.CHEATED
    assert not is_changing(membership)


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
    membership.seal(NOW_MS)
    assert sorted(membership.voters) == [0, 1, 2, 3, 5]
    assert is_changing(membership)


@pytest.mark.parametrize("what", ["nickname", "identity", "consensus_key", "box_key"])
def test_a_newcomer_with_a_name_or_key_of_a_member_is_refused(what: str) -> None:
    membership = table(3)
    one, other = membership.members[0], member("fresh")
    values = {name: getattr(other, name) for name in Member.__struct_fields__}
    values[what] = getattr(one, what).upper() if what == "nickname" else getattr(one, what)
    refused = membership.approve(1, Member(**values), 1)
    assert refused == Receipt(Code.NEWCOMER_KNOWN)


def test_requests_that_wait_are_bounded_for_each_voter_so_that_none_keeps_others_out() -> None:
    membership = table(4)
    assert membership.approve(1, member("of 1"), 2) == DONE
    for i in range(REQUESTS_PER_VOTER + 2):
        assert membership.approve(0, member(f"new {i}"), 2) == DONE
    waiting = [known.member.nickname for known in membership.newcomers]
    assert waiting == ["of 1", *(f"new {i}" for i in range(2, REQUESTS_PER_VOTER + 2))]
    assert membership.approve(2, member("of 2"), 2) == DONE
    assert membership.approve(0, member("of 2"), 2) == 4


def test_only_who_votes_and_did_not_cheat_lets_newcomers_in() -> None:
    membership = table(7)
    for slot in (0, 1, 2):
        assert membership.approve(slot, member("carla"), 4) == DONE
    assert membership.convict(0, OffenceKind.TWO_DEALINGS) is None
    assert membership.approve(3, member("carla"), 4) == DONE
    membership.apply(1, SetVote(0))
    membership.seal(NOW_MS)
    assert [known.approvers for known in membership.newcomers] == [(2, 3)]
    assert membership.approve(1, member("carla"), 3) == Receipt(Code.NO_VOTE)
    assert membership.approve(0, member("carla"), 3) == Receipt(Code.NO_VOTE)
    assert membership.approve(4, member("carla"), 3) == 7


def test_the_word_of_a_voter_that_has_left_since_is_not_counted() -> None:
    membership = table(5)
    assert membership.approve(0, member("carla"), 3) == DONE
    assert membership.apply(0, Retire()) == DONE
    assert membership.approve(1, member("carla"), 3) == DONE
    assert membership.approve(2, member("carla"), 3) == DONE
    assert membership.approve(3, member("carla"), 3) == 5


@pytest.mark.parametrize("which", ["identity", "consensus_key"])
def test_a_newcomer_s_key_has_to_be_acceptable_whatever_it_seems_to_sign(which: str) -> None:
    """With a key of another order, signatures can be made that some verifiers take."""
    box = digest("box", b"carla")
    own = JoiningMember(key_of("carla"), key_of("carla vote"), box, "carla")
    for keys, is_taken in (({}, True), ({which: bytes(32)}, False)):
        asked = Join(bytes(16), replace(own, **keys), ())
        envelope = build_envelope(key_id(asked.member.identity), encode(asked), bytes(64))
        taken = open_newcomer(envelope, bytes(32), lambda *_signed: True)
        assert (taken is not None) == is_taken


def test_an_epoch_is_left_its_time_while_it_is_played_in_whoever_comes_and_goes() -> None:
    membership = table(5)
    membership.seal(NOW_MS)
    membership.apply(4, SetVote(0))
    assert membership.is_changing(NOW_MS + 1, in_play=False)
    assert not membership.is_changing(NOW_MS + EPOCH_MS_MIN - 1, in_play=True)
    assert membership.is_changing(NOW_MS + EPOCH_MS_MIN, in_play=True)


def test_nobody_leaves_the_vote_to_others_who_could_not_go_on_with_it() -> None:
    membership = table(1, seats_only=1)
    assert membership.apply(1, SetVote(1)) == DONE
    # The newcomer may not even be there: it votes from the next epoch on at the earliest.
    assert membership.apply(0, SetVote(0)) == Receipt(Code.LAST_VOTER)
    membership.seal(NOW_MS)
    assert membership.apply(0, SetVote(0)) == DONE
    four = table(4)
    vanish(four, 3)
    assert four.apply(0, SetVote(0)) == Receipt(Code.LAST_VOTER)
    assert four.apply(3, SetVote(0)) == DONE
    assert four.apply(0, SetVote(0)) == DONE


def test_all_sixteen_may_leave_at_once_but_one() -> None:
    membership = table(16, seats_only=3)
    for slot in (16, 17, 18):
        assert membership.apply(slot, SetVote(1)) == DONE
    answers = [membership.apply(slot, SetVote(0)) for slot in range(16)]
    assert answers == [*[DONE] * 15, Receipt(Code.LAST_VOTER)]
    # Of those who come, no more than one who stays can outvote.
    assert membership.next_voters() == (15, 16)


def test_asking_for_a_vote_that_one_has_does_not_make_missed_turns_forgotten() -> None:
    membership = table(5)
    vanish(membership, 0)
    assert membership.apply(0, SetVote(1)) == DONE
    assert membership.apply(0, SetVote(0)) == DONE
    assert membership.apply(0, SetVote(1)) == DONE
    assert is_changing(membership)


def test_two_who_come_and_go_in_turn_do_not_keep_a_third_from_ever_voting() -> None:
    membership = table(4, seats_only=3)
    membership.apply(6, SetVote(1))
    for turn in range(8):
        here, away = (4, 5) if turn % 2 else (5, 4)
        membership.apply(here, SetVote(1))
        membership.apply(away, SetVote(0))
        membership.seal(NOW_MS)
    assert 6 in membership.voters


def test_the_last_who_votes_stays_and_who_left_does_not_come_back() -> None:
    membership = table(2)
    assert membership.apply(0, Retire()) == DONE
    assert membership.apply(1, Retire()) == Receipt(Code.LAST_VOTER)
    assert membership.apply(1, SetVote(0)) == Receipt(Code.LAST_VOTER)
    membership.seal(NOW_MS)
    assert membership.voters == (1,)


def test_a_membership_is_rebuilt_from_its_leaves_and_a_fork_is_independent() -> None:
    membership = table(5, seats_only=2)
    membership.approve(0, member("x"), 2)
    vanish(membership, 1)
    membership.convict(3, OffenceKind.FALSE_SHARE)
    twin = Membership.from_leaves(membership.leaves())
    assert twin.root() == membership.root()
    fork = membership.fork()
    fork.seal(NOW_MS)
    assert fork.root() != membership.root() == twin.root()
    twin.seal(NOW_MS)
    assert twin.root() == fork.root()
    with pytest.raises(DecodeError):
        Membership.from_leaves(())
