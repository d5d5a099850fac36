"""One epoch as one node lives through it: engine, beacon, execution, and who is who (PROTOCOL 13).

Engine and beacon number the parties of their epoch: the voters in the order of their keys, then the
other members by slot. Everybody else names a peer by its slot. A node without a vote has no beacon.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from consensus.beacon import Beacon, RollWaiting
from consensus.chain import LoadBlock
from consensus.effects import Effect, LogRecord, Now, Report, Send
from consensus.encoding import INT_MAX
from consensus.engine import Engine, Tip
from consensus.evidence import verify_evidence
from consensus.messages import BlockHash, Message, Number
from consensus.signing import KeyId, Signer
from consensus.validators import ValidatorIndex
from node.execution import ChainState, Execution, Terms
from node.membership import Membership
from node.mempool import Mempool

Floor: TypeAlias = tuple[int, int] | None
"""Epoch and view up to which this node may have voted and forgotten it; None: it cannot tell."""
NO_FLOOR = (0, 0)
"""A node that remembers everything."""
NOWHERE = -1
"""The slot of a node that is no member yet; nobody sends there."""
_BEACON_NUMBERS = (
    Number.DEAL,
    Number.ACK,
    Number.REVEAL,
    Number.GET_REVEAL,
    Number.REVEAL_PATHS,
    Number.SYSTEM_ITEMS,
)


@dataclass(frozen=True, slots=True)
class EpochKeys:
    """The private keys with which this node votes and opens boxes in an epoch."""

    signer: Signer
    box_secret: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Self:
    """Who this node is: its identity, the keys it has ever named, its stored blocks.

    With the first `doubted` of the keys it may have signed what it has forgotten, up to the view
    and epoch `floor`, or nobody knows how far (None).
    """

    kid: KeyId
    keys: Sequence[EpochKeys]
    load_block: LoadBlock
    slots: int
    """Slots that may have a member beyond those of the state."""
    doubted: int = 0
    floor: Floor = NO_FLOOR

    def vote_above(self, own: EpochKeys, epoch: int) -> int | None:
        """Return the view of an epoch above which this key may vote, None if it is not known."""
        if own not in self.keys[: self.doubted]:
            return 0
        if self.floor is None:
            return None
        until, view = self.floor
        return INT_MAX if epoch < until else view if epoch == until else 0


class Epoch:
    """See the module's text. It ends when `engine.sealed` is set."""

    def __init__(
        self,
        terms: Terms,
        state: ChainState,
        base: BlockHash,
        me: Self,
        *,
        mempool: Mempool,
        records: Sequence[LogRecord] = (),
    ) -> None:
        """Begin on the final block `base`, or resume above it from `records`.

        The node votes with the one of its keys that the membership names.
        """
        membership = state.membership
        self.number = membership.epoch
        self._terms = terms
        self._kid = me.kid
        self._slots = me.slots
        self._proofs: dict[bytes, int] = {}
        self.execution = Execution(terms, base, state, mempool, self._items)
        slot = membership.slot_of(me.kid)
        named = membership.members[slot].consensus_key if slot in membership.voters else b""
        own = next((known for known in me.keys if known.signer.public_key == named), None)
        self._peers = [*membership.voters]
        self._index = {voter: ValidatorIndex(at) for at, voter in enumerate(self._peers)}
        if own is not None and slot is not None:
            self._me = self._index[slot]
        else:  # a follower, wherever its slot will be; also a voter that has lost its key
            self._me = ValidatorIndex(len(self._peers))
            self._peers.append(NOWHERE)
        self._grow(membership)
        vote_above = me.vote_above(own, self.number) if own is not None else 0
        # Who may have dealt and forgotten it would deal the same batch a second time.
        self._deals = vote_above == 0
        self.execution.trusting = True
        self.engine = Engine(
            chain_id=terms.chain_id,
            epoch=self.number,
            validators=self.execution.validators,
            me=self._me,
            signer=own.signer if own is not None else None,
            verify=terms.verify,
            app=self.execution,
            base=Tip(state.height, state.place.view, base, state.time_ms),
            records=records,
            load_block=me.load_block,
            parties=len(self._peers),
            vote_above=vote_above,
        )
        self.execution.trusting = False
        self._distrust(membership)
        self.beacon: Beacon | None = None
        if own is not None:
            self.beacon = Beacon(
                terms.beacon_context(membership),
                self._me,
                own.signer,
                own.box_secret,
                [membership.members[voter].box_key for voter in membership.voters],
                records,
            )

    def _grow(self, membership: Membership) -> None:
        self._members = len(membership.members)
        own = membership.slot_of(self._kid)
        for slot in range(max(self._slots, len(membership.members))):
            if slot == own:
                self._index[slot] = self._me
                self._peers[self._me] = slot
            elif slot not in self._index:
                self._index[slot] = ValidatorIndex(len(self._peers))
                self._peers.append(slot)

    @property
    def votes(self) -> bool:
        """Whether this node votes in this epoch."""
        return self.beacon is not None

    @property
    def is_left(self) -> bool:
        """Whether this node's member has left, and the voters showed that they have the last seal.

        Before, what made it final may be held here alone.
        """
        membership = self.execution.final.membership
        slot = membership.slot_of(self._kid)
        if slot is None or slot in membership.voters or not membership.has_left(slot):
            return False
        return self.engine.is_attended

    def rolls_waiting(self) -> tuple[RollWaiting, ...]:
        """Return the closed rolls whose secrets are not all known here."""
        return self.beacon.waiting() if self.beacon is not None else ()

    def take_members(self, membership: Membership) -> None:
        """Take note of final members: newcomers are parties that only follow, convicts lead no more."""
        if len(membership.members) > self._members:
            self._grow(membership)
            self.engine.grow(len(self._peers))
        self._distrust(membership)

    def _distrust(self, membership: Membership) -> None:
        voters = self._peers[: self.execution.validators.n]
        for index, slot in enumerate(voters):
            if membership.members[slot].cheated:
                self.engine.distrust(ValidatorIndex(index))

    # Inputs. Each takes note; `advance` follows.

    def start(self, now: Now) -> None:
        """Begin, or resume after a restart."""
        self.engine.start(now)
        self.finalized(self.execution.final, self.execution.base, now)

    def finalized(self, state: ChainState, block: BlockHash, now: Now) -> None:
        """Take note that the block with this state is final and durable before more is sent."""
        if self.beacon is not None:
            wanted = self._deals and state.game.has_bets()
            self.beacon.finalized(state.beacon, now, block=block, wanted=wanted)

    def peer_up(self, peer: int, now: Now) -> None:
        """Greet a peer whose link came up."""
        index = self._index.get(peer)
        if index is not None:
            self.engine.peer_up(index, now)
            if self.beacon is not None and index < self.execution.validators.n:
                self.beacon.peer_up(index, now)

    def receive(self, peer: int, number: Number, message: Message, now: Now) -> None:
        """Take a decoded message; what is from another epoch is for the caller to see to."""
        index = self._index.get(peer)
        if index is None:
            return
        if number not in _BEACON_NUMBERS:
            self.engine.receive(index, number, message, now)
        elif self.beacon is not None:
            self.beacon.receive(index, number, message, now)

    def advance(self, now: Now) -> list[Effect]:
        """Let both machines act; peers in the effects are members by their slot."""
        effects = self.engine.advance(now)
        if self.beacon is not None and self.engine.sealed is None:
            self.beacon.delta_ms = self.engine.delta_ms
            spoken = self.beacon.advance(now)
            if spoken:  # there may be an item for a block now
                effects += spoken
                effects += self.engine.advance(now)
        return [self._named(effect) for effect in effects]

    def _named(self, effect: Effect) -> Effect:
        match effect:
            case Send(to, frame) if to is not None:
                return Send(ValidatorIndex(self._peers[to]), frame)
            case Report(party, fault):
                return Report(ValidatorIndex(self._peers[party]), fault)
            case _:
                return effect

    @property
    def deadline_ms(self) -> int | None:
        """When `advance` has something to do without an input."""
        if self.beacon is None or self.engine.sealed is not None:
            return self.engine.deadline_ms
        due = (self.engine.deadline_ms, self.beacon.deadline_ms)
        return min((at for at in due if at is not None), default=None)

    def _items(self, state: ChainState) -> Sequence[bytes]:
        """Return the system items that this node could put behind a state."""
        members = state.membership.members
        proofs = tuple(proof for proof, slot in self._offenders() if not members[slot].cheated)
        beacon = self.beacon.items(state.beacon) if self.beacon is not None else ()
        return (*proofs, *beacon) if proofs else beacon

    def _offenders(self) -> Sequence[tuple[bytes, int]]:
        """Return one proof for each voter that was caught, with its slot."""
        evidence = self.engine.evidence
        if len(evidence) > len(self._proofs):
            for proof in evidence:
                if proof not in self._proofs:
                    offence = verify_evidence(
                        proof,
                        self.execution.validators,
                        self._terms.chain_id,
                        self.number,
                        self._terms.verify,
                    )
                    assert not isinstance(offence, str), f"own evidence: {offence}"
                    self._proofs[proof] = self._peers[offence.offender]
        first: dict[int, bytes] = {}
        for proof, slot in self._proofs.items():
            first.setdefault(slot, proof)
        return [(proof, slot) for slot, proof in first.items()]
