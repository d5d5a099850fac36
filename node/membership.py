"""Who belongs to a table, and who votes in which epoch (PROTOCOL 13).

A member has a slot that never moves: it is the player's number as well. Some members vote; the set
of voters is fixed for an epoch, and changes only by a block that seals it, while no roll is pending.
Pure values: a fork shares everything until something is replaced.
"""

from collections.abc import Sequence
from typing import Annotated, TypeAlias

import msgspec

from consensus.encoding import Bytes32, DecodeError, Digest, Record, Uint, decode_as, encode
from consensus.evidence import OffenceKind
from consensus.merkle import merkle_root
from consensus.signing import (
    Domain,
    KeyId,
    PublicKey,
    Verify,
    is_acceptable_key,
    key_id,
    parse_envelope,
    verify_envelope,
)
from consensus.validators import VALIDATORS_MAX, Validators, faults_tolerated
from node.descriptor import Descriptor, Join, problem_of_name
from node.game.params import PLAYERS_MAX
from node.game.receipts import DONE, Code, Receipt

MISSED_TURNS_MAX = 3
"""Turns in a row that a voter may miss, proven by nullifications, before it counts as vanished."""
EPOCH_MS_MIN = 20_000
"""Agreed time that an epoch lasts in which somebody bets: its dice are made, and thrown several times.
Without it, who asks for a vote and gives it up over and over would end each before its first roll."""
REQUESTS_PER_VOTER = 4
"""Requests to join that one voter may have waiting; another takes the place of its oldest, so no
voter's requests keep those of others out."""
JOIN_BYTES_MAX = 1024
NAME_BYTES_MAX = 96
"""24 characters of any script."""

Flag = Annotated[int, msgspec.Meta(ge=0, le=1)]
Slot = Annotated[int, msgspec.Meta(ge=0, lt=PLAYERS_MAX)]


class Admit(Record, frozen=True, tag=20):
    """Propose a newcomer by its signed Join for this chain, or approve one that is proposed.

    To approve, the 32 bytes of its identity are enough.
    """

    join: Annotated[bytes, msgspec.Meta(max_length=JOIN_BYTES_MAX)]


class NextKeys(Record, frozen=True, tag=21):
    """Name the keys that the sender will vote and hold shares with from the next epoch on."""

    epoch: Uint
    consensus_key: Bytes32
    box_key: Bytes32


class SetVote(Record, frozen=True, tag=22):
    """Ask for a vote (1) or give it up and only play (0), from the next epoch on."""

    vote: Flag


class Retire(Record, frozen=True, tag=23):
    """Leave the table for good: games first (R30), the vote at the next epoch."""


MemberOperation: TypeAlias = Admit | NextKeys | SetVote | Retire
MEMBER_OPERATIONS = (Admit, NextKeys, SetVote, Retire)


class Member(Record, frozen=True):
    """One slot. `wants` is the wish for a vote, `next_*` are the keys from the next epoch on.

    `previous_key` voted in the epoch before, so that its offences can still be proven. `missed`
    counts turns in a row. `cheated` is the kind of the offence that was proven, if one was: such a
    member never votes again. One that `left` never acts.
    """

    identity: Bytes32
    nickname: Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_BYTES_MAX)]
    consensus_key: Bytes32
    box_key: Bytes32
    next_consensus_key: Bytes32
    next_box_key: Bytes32
    previous_key: Annotated[bytes, msgspec.Meta(max_length=32)] = b""
    wants: Flag = 1
    missed: Uint = 0
    cheated: Annotated[int, msgspec.Meta(ge=0, le=OffenceKind.FALSE_DEALING.value)] = 0
    left: Flag = 0


def founder(
    identity: bytes, nickname: str, consensus_key: bytes, box_key: bytes, *, votes: bool
) -> Member:
    """Return a member as the table begins: its first keys are its next ones as well."""
    keys = consensus_key, box_key
    return Member(identity, nickname, *keys, *keys, wants=int(votes))


def founders_of(descriptor: Descriptor) -> tuple[Member, ...]:
    """Return the members of a table as it begins, in slot order."""
    return tuple(
        founder(
            member.identity,
            member.nickname,
            member.consensus_key,
            member.dealing_key,
            votes=slot in descriptor.validators,
        )
        for slot, member in enumerate(descriptor.members)
    )


class Newcomer(Record, frozen=True):
    """A request to join as the members see it: verified, not yet approved by enough of them."""

    member: Member
    approvers: tuple[Slot, ...]


class _Electorate(Record, frozen=True):
    """The leaf of what belongs to no one member. The epoch began at the agreed time `began_ms`."""

    epoch: Uint
    began_ms: Uint
    voters: tuple[Slot, ...]
    newcomers: tuple[Newcomer, ...]


class Membership:
    """Members and voters; every method that returns a refusal has then changed nothing."""

    __slots__ = (
        "_following",
        "_kids",
        "_root",
        "began_ms",
        "epoch",
        "members",
        "newcomers",
        "voters",
    )

    def __init__(self, members: Sequence[Member], electorate: _Electorate) -> None:
        """Use `genesis`, `from_leaves` or `fork`."""
        self.members = tuple(members)
        self.epoch = electorate.epoch
        self.began_ms = electorate.began_ms
        """When the epoch began, in agreed time."""
        self.voters = electorate.voters
        """Slots of this epoch's voters, in the order of their consensus keys."""
        self.newcomers = electorate.newcomers
        self._root: Digest | None = None
        # Of which members those are that vote next, and whether they are others than now.
        self._following: tuple[tuple[Member, ...], tuple[int, ...], bool] | None = None
        self._kids: dict[KeyId, int] = {
            key_id(member.identity): slot for slot, member in enumerate(self.members)
        }

    @classmethod
    def genesis(cls, members: Sequence[Member], voters: Sequence[int]) -> "Membership":
        """Return epoch 0 as the descriptor has it."""
        ordered = sorted(voters, key=lambda slot: members[slot].consensus_key)
        return cls(members, _Electorate(0, 0, tuple(ordered), ()))

    @classmethod
    def from_leaves(cls, leaves: Sequence[bytes]) -> "Membership":
        """Rebuild from `leaves`; `DecodeError` if they are none."""
        if not leaves:
            raise DecodeError("a membership without leaves")
        *members, electorate = leaves
        return cls(
            [decode_as(leaf, Member) for leaf in members], decode_as(electorate, _Electorate)
        )

    def fork(self) -> "Membership":
        """Return an independent membership with the same content."""
        twin: Membership = Membership.__new__(Membership)
        twin.members, twin.voters, twin.newcomers = self.members, self.voters, self.newcomers
        twin.epoch, twin.began_ms = self.epoch, self.began_ms
        twin._root, twin._following, twin._kids = self._root, self._following, self._kids
        return twin

    def leaves(self) -> tuple[bytes, ...]:
        """Return one leaf for each member, then that of the electorate."""
        electorate = _Electorate(self.epoch, self.began_ms, self.voters, self.newcomers)
        return (*map(encode, self.members), encode(electorate))

    def root(self) -> Digest:
        """Return the Merkle root over `leaves`."""
        if self._root is None:
            self._root = merkle_root(self.leaves())
        return self._root

    def slot_of(self, kid: KeyId) -> int | None:
        """Return the slot of the member whose identity key has this id."""
        return self._kids.get(kid)

    def identity_of(self, slot: int) -> PublicKey:
        """Return the identity key of a member."""
        return PublicKey(self.members[slot].identity)

    def has_left(self, slot: int) -> bool:
        """Say whether a member has left for good."""
        return bool(self.members[slot].left)

    def validators(self, leader_seed: Digest) -> Validators:
        """Return this epoch's voters as the engine wants them."""
        keys = tuple(PublicKey(self.members[slot].consensus_key) for slot in self.voters)
        return Validators(keys, leader_seed)

    def previous_validators(self) -> Validators | None:
        """Return the voters of the epoch before, for proofs against them; None in the first."""
        keys = sorted(m.previous_key for m in self.members if m.previous_key)
        if not keys:
            return None
        return Validators(tuple(map(PublicKey, keys)), Digest(bytes(32)))

    # What members do.

    def apply(self, slot: int, operation: MemberOperation) -> Receipt:
        """Apply an operation of the member at `slot`, or refuse it. `Admit` is for `approve`."""
        member = self.members[slot]
        match operation:
            case NextKeys():
                return self._take_keys(slot, member, operation)
            case SetVote(vote):
                if vote and member.cheated:
                    return Receipt(Code.CHEATED)
                if not vote and self._is_needed(slot):
                    return Receipt(Code.LAST_VOTER)
                self._replace(slot, msgspec.structs.replace(member, wants=vote))
                return DONE
            case Retire():
                if self._is_needed(slot):
                    return Receipt(Code.LAST_VOTER)
                self._replace(slot, msgspec.structs.replace(member, wants=0, left=1))
                return DONE
            case Admit():
                raise AssertionError("an admission is opened before it is approved")

    def _take_keys(self, slot: int, member: Member, keys: NextKeys) -> Receipt:
        if keys.epoch != self.epoch + 1:
            return Receipt(Code.KEYS_OF_EPOCH, (keys.epoch, self.epoch + 1))
        if not is_acceptable_key(keys.consensus_key) or not self._are_new(
            keys.consensus_key, keys.box_key
        ):
            return Receipt(Code.KEYS_IN_USE)
        self._replace(
            slot,
            msgspec.structs.replace(
                member, next_consensus_key=keys.consensus_key, next_box_key=keys.box_key
            ),
        )
        return DONE

    def _are_new(self, consensus_key: bytes, box_key: bytes) -> bool:
        kid = key_id(consensus_key)
        for member in self.members:
            own = (
                member.consensus_key,
                member.next_consensus_key,
                member.identity,
                member.previous_key,
            )
            if any(key_id(key) == kid for key in own if key):
                return False
            if box_key in (member.box_key, member.next_box_key):
                return False
        return True

    def approve(self, slot: int, newcomer: Member, needed: int) -> int | Receipt:
        """Count an approval of a verified request; return the new slot once there are enough.

        `needed` is the number of voters that have to approve. Without enough of them yet the
        receipt is DONE; a refusal names what forbids it.
        """
        if not self.may_approve(slot):
            return Receipt(Code.NO_VOTE)
        if refusal := self.refusal_of(newcomer):
            return refusal
        waiting = {known.member: known for known in self.newcomers}
        known = waiting.pop(newcomer, Newcomer(newcomer, ()))
        if slot in known.approvers:
            return Receipt(Code.APPROVED_ALREADY)
        approvers = (*known.approvers, slot)
        self._root = None
        if sum(map(self.may_approve, approvers)) >= needed:
            self.newcomers = tuple(waiting.values())
            self._kids = {**self._kids, key_id(newcomer.identity): len(self.members)}
            self.members = (*self.members, newcomer)
            return len(self.members) - 1
        if not known.approvers:
            own = [other.member for other in waiting.values() if other.approvers[0] == slot]
            for oldest in own[: max(len(own) - REQUESTS_PER_VOTER + 1, 0)]:
                del waiting[oldest]
        self.newcomers = (*waiting.values(), Newcomer(newcomer, approvers))
        return DONE

    def may_approve(self, slot: int) -> bool:
        """Say whether a member lets newcomers in: it votes, and was not convicted."""
        return slot in self.voters and not self._banned(slot)

    def refusal_of(self, newcomer: Member) -> Receipt | None:
        """Return why nobody could approve a request, or None."""
        if len(self.members) >= PLAYERS_MAX:
            return Receipt(Code.TABLE_FULL, (len(self.members),))
        names = {member.nickname.casefold() for member in self.members}
        if (
            newcomer.nickname.casefold() in names
            or key_id(newcomer.identity) in self._kids
            or not self._are_new(newcomer.consensus_key, newcomer.box_key)
        ):
            return Receipt(Code.NEWCOMER_KNOWN)
        return None

    def proposed(self, identity: bytes) -> Member | None:
        """Return the member that a request which waits for approvals would make."""
        for newcomer in self.newcomers:
            if newcomer.member.identity == identity:
                return newcomer.member
        return None

    def _is_needed(self, slot: int) -> bool:
        """Say whether the voters could not go on without this one, as far as the chain knows."""
        if slot not in self.voters:
            return False
        staying = self._staying(without=slot)
        return not staying or len(self._vanished(staying)) > faults_tolerated(len(staying))

    def _replace(self, slot: int, member: Member) -> None:
        if member != self.members[slot]:
            self.members = (*self.members[:slot], member, *self.members[slot + 1 :])
            self._root = None

    # What blocks show.

    def count_turns(self, missed: Sequence[int], led: int | None) -> None:
        """Note turns by validator index: those that a block proves missed, and who led it."""
        for index in missed:
            slot = self.voters[index]
            member = self.members[slot]
            self._replace(slot, msgspec.structs.replace(member, missed=member.missed + 1))
        if led is not None:
            slot = self.voters[led]
            if self.members[slot].missed:
                self._replace(slot, msgspec.structs.replace(self.members[slot], missed=0))

    def convict(self, slot: int, kind: OffenceKind) -> str | None:
        """Note how a member cheated, once for ever; the text says why there is nothing to note."""
        member = self.members[slot]
        if member.cheated:
            return f"an offence of member {slot}, who is convicted"
        self._replace(slot, msgspec.structs.replace(member, cheated=kind.value, wants=0))
        return None

    # Epochs.

    def next_voters(self) -> tuple[int, ...]:
        """Return the slots that vote next, in slot order: what a seal now would lead to.

        Who cheated goes. The vanished go together, and only if those that stay then stand more
        absences than the present voters have left. At most max(1, f) newcomers come at a time, f
        of those that stay, so that the known decide; those that wait take turns in being first.
        """
        return self._follow()[1]

    def _follow(self) -> tuple[tuple[Member, ...], tuple[int, ...], bool]:
        # Asked for every block, while members change rarely; voters only change with them.
        known = self._following
        if known is None or known[0] is not self.members:
            following = self._choose()
            differs = following != tuple(sorted(self.voters))
            known = self._following = (self.members, following, differs)
        return known

    def _choose(self) -> tuple[int, ...]:
        staying = self._staying()
        coming = [
            slot
            for slot, member in enumerate(self.members)
            if slot not in self.voters and member.wants and not self._banned(slot)
        ]
        coming.sort(key=lambda slot: (slot - self.epoch) % len(self.members))
        places = min(max(1, faults_tolerated(len(staying))), VALIDATORS_MAX - len(staying))
        following = sorted((*staying, *coming[:places]) if staying else self.voters)
        return tuple(following)

    def _staying(self, without: int = -1) -> list[int]:
        """Return the voters that stay voters, if `without` goes as well."""
        staying = [
            slot
            for slot in self.voters
            if slot != without and self.members[slot].wants and not self._banned(slot)
        ]
        vanished = self._vanished(staying)
        n, gone = len(staying), len(vanished)
        if n > gone and faults_tolerated(n - gone) > max(faults_tolerated(n) - gone, 0):
            staying = [slot for slot in staying if slot not in vanished]
        return staying

    def _vanished(self, slots: Sequence[int]) -> list[int]:
        return [slot for slot in slots if self.members[slot].missed >= MISSED_TURNS_MAX]

    def _banned(self, slot: int) -> bool:
        member = self.members[slot]
        return bool(member.cheated or member.left)

    @property
    def differs(self) -> bool:
        """Whether the next voters are others than the present ones."""
        return self._follow()[2]

    def is_changing(self, time_ms: int, *, in_play: bool) -> bool:
        """Say whether the voters have to change: from now on no betting closes until the seal.

        An epoch `in_play` is left its time, whoever comes and goes.
        """
        return self.differs and not (in_play and time_ms < self.began_ms + EPOCH_MS_MIN)

    def seal(self, time_ms: int) -> None:
        """Begin the next epoch: its voters, their next keys, no missed turns.

        Approvals by those who vote no more are forgotten.
        """
        following = self.next_voters()
        before = self.voters
        members = []
        for slot, member in enumerate(self.members):
            evicted = slot in before and slot not in following
            members.append(
                msgspec.structs.replace(
                    member,
                    previous_key=member.consensus_key if slot in before else b"",
                    consensus_key=member.next_consensus_key,
                    box_key=member.next_box_key,
                    wants=0 if evicted else member.wants,
                    missed=0,
                )
            )
        self.members = tuple(members)
        self.epoch += 1
        self.began_ms = time_ms
        self.voters = tuple(sorted(following, key=lambda slot: members[slot].consensus_key))
        counted = [
            Newcomer(known.member, tuple(filter(self.may_approve, known.approvers)))
            for known in self.newcomers
        ]
        self.newcomers = tuple(known for known in counted if known.approvers)
        self._root = None


OFFENCES = {
    OffenceKind.TWO_NOTARIZE: "voted for two blocks in one view",
    OffenceKind.NULLIFY_AND_FINALIZE: "voted to skip a view and to make its block final",
    OffenceKind.TWO_FINALIZE: "voted to make two blocks of one view final",
    OffenceKind.TWO_DEALINGS: "dealt two sets of secrets for the dice as one",
    OffenceKind.FALSE_SHARE: "showed a false share of a secret for the dice",
    OffenceKind.FALSE_DEALING: "dealt secrets for the dice that nobody could open",
}
"""What a convicted member did, as the end of a sentence that begins with its name."""


def offence_text(member: Member) -> str:
    """Return what a member was proven to have done, empty if nothing was."""
    return OFFENCES[OffenceKind(member.cheated)] if member.cheated else ""


def caught_text(name: str, offence: str, *, votes: bool) -> str:
    """Say that a block proved a member to have cheated; it votes until the voters change."""
    what = "loses the vote" if votes else "votes no more"
    return f"{name} was caught cheating and {what}: {name} {offence}"


def member_facts(membership: Membership, slot: int) -> dict[str, object]:
    """Return what a person may want to know about a member, as plain values."""
    member = membership.members[slot]
    return {
        "name": member.nickname,
        "votes": slot in membership.voters,
        "wants_vote": bool(member.wants),
        "missed": member.missed,
        "cheated": bool(member.cheated),
        "offence": offence_text(member),
        "left": bool(member.left),
    }


def open_newcomer(envelope: bytes, chain_id: bytes, verify: Verify) -> Member | None:
    """Return who asks to join by an envelope signed for this chain, or None if it is not one."""
    try:
        parsed = parse_envelope(envelope)
        asked = decode_as(parsed.payload, Join).member
    except DecodeError:
        return None
    key = PublicKey(asked.identity)
    if (
        not is_acceptable_key(key)
        or not is_acceptable_key(asked.consensus_key)
        or problem_of_name("nickname", asked.nickname)
        or not verify_envelope(verify, key, Domain.JOIN, chain_id, parsed)
    ):
        return None
    return founder(key, asked.nickname, asked.consensus_key, asked.dealing_key, votes=False)
