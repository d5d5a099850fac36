"""One epoch as one node lives through it: engine, beacon, execution, and who is who (PROTOCOL 13).

Engine and beacon number the parties of their epoch: the voters in the order of their keys, then the
other members by slot. Everybody else names a peer by its slot. A node without a vote has no beacon.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from consensus.beacon import Beacon, RollWaiting
from consensus.chain import LoadBlock
from consensus.effects import Effect, LogRecord, Now, Persist, Report, Send
from consensus.encoding import INT_MAX
from consensus.engine import Engine, Tip
from consensus.evidence import OffenceKind, epoch_of, is_evidence
from consensus.messages import BlockHash, Message, Number, SystemItems, frame
from consensus.signing import KeyId, Signer
from consensus.timing import earliest
from consensus.validators import ValidatorIndex
from node.evidence_pool import EvidencePool
from node.execution import ChainState, Execution, Terms, find_offender
from node.membership import Membership
from node.mempool import Mempool

Floor: TypeAlias = tuple[int, int] | None
"""Epoch and view up to which this node may have voted and forgotten it; None: it cannot tell."""
NO_FLOOR = (0, 0)
"""A node that remembers everything."""
NOWHERE = -1
"""The slot of a node that is no member yet; nobody sends there."""
_BEACON_NUMBERS = frozenset(
    {
        Number.DEAL,
        Number.ACK,
        Number.REVEAL,
        Number.GET_REVEAL,
        Number.REVEAL_PATHS,
        Number.SYSTEM_ITEMS,
    }
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
        self._membership = membership
        self.evidence = EvidencePool(records)
        self._gathered = 0  # proofs that engine and beacon had found
        self._said: list[Effect] = []
        self._looked: tuple[tuple[bytes, ...], int] = ((), 0)  # how far evidence and beacon were
        # What could be put behind which state, after so many changes of proofs and of the beacon.
        self._items_known: tuple[ChainState, int, Sequence[bytes]] | None = None
        self.execution = Execution(terms, base, state, mempool, self._items)
        slot = membership.slot_of(me.kid)
        named = membership.members[slot].consensus_key if slot in membership.voters else b""
        own = next((known for known in me.keys if known.signer.public_key == named), None)
        self._peers = [*membership.voters]
        self._index = {voter: ValidatorIndex(at) for at, voter in enumerate(self._peers)}
        self.voting_keys = own
        if own is not None and slot is not None:
            self._me = self._index[slot]
        else:  # a follower, wherever its slot will be; also a voter that has lost its key
            self._me = ValidatorIndex(len(self._peers))
            self._peers.append(NOWHERE)
        self._grow(membership)
        vote_above = me.vote_above(own, self.number) if own is not None else 0
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
        self.beacon: Beacon | None = None
        if own is not None:
            self.beacon = Beacon(
                state.beacon.context,  # what a settle opens is then known to both, and worked out once
                self._me,
                own.signer,
                own.box_secret,
                [membership.members[voter].box_key for voter in membership.voters],
                records,
            )
        self.deadline_ms: int | None = None
        """When `advance` has something to do without an input, as far as it knew the last time."""
        self.take_members(self.execution.final.membership)
        self._review_evidence()

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
        for slot in self._membership.voters:
            if membership.members[slot].cheated:
                self.engine.distrust(self._index[slot])
        for slot, _ in self.evidence.held():
            if membership.members[slot].cheated:
                self.evidence.erase(slot)

    # Inputs. Each takes note; `advance` follows.

    def start(self, now: Now) -> None:
        """Begin, or resume after a restart."""
        self.engine.start(now)
        self.finalized(self.execution.final, self.execution.base, now)

    def finalized(
        self, state: ChainState, block: BlockHash, now: Now, items: Sequence[bytes] = ()
    ) -> None:
        """Take note that the block with this state is final and durable before more is sent.

        `items` are the system items in it.
        """
        if self.beacon is not None:
            self.beacon.finalized(
                state.beacon, now, block=block, wanted=state.game.has_bets(), items=items
            )

    def peer_up(self, peer: int, now: Now) -> None:
        """Greet a peer whose link came up."""
        index = self._index.get(peer)
        if index is not None:
            self.engine.peer_up(index, now)
            if self.beacon is not None and index < self.execution.validators.n:
                self.beacon.peer_up(index, now)
                self._show_proofs(index)

    def receive(self, peer: int, number: Number, message: Message, now: Now) -> None:
        """Take a decoded message; what is from another epoch is for the caller to see to."""
        index = self._index.get(peer)
        if index is None:
            return
        if number not in _BEACON_NUMBERS:
            self.engine.receive(index, number, message, now)
        elif self.beacon is not None:
            if isinstance(message, SystemItems):
                message = self._take_proofs(index, message)
            self.beacon.receive(index, number, message, now)

    def advance(self, now: Now) -> list[Effect]:
        """Let both machines act; peers in the effects are members by their slot."""
        engine, beacon = self.engine, self.beacon
        effects = engine.advance(now)
        if beacon is not None and engine.sealed is None:
            beacon.delta_ms = engine.timing.delta_ms
            if engine.remembers is not beacon.remembers:
                beacon.remember(now, everything=engine.remembers)
            spoken = beacon.advance(now)
            if beacon.changes != self._looked[1] or engine.evidence is not self._looked[0]:
                spoken += self._show_found(beacon)
            if spoken:  # there may be an item for a block now
                effects += spoken
                effects += engine.advance(now)
        self.deadline_ms = engine.deadline_ms
        if beacon is not None and beacon.deadline_ms is not None and engine.sealed is None:
            self.deadline_ms = earliest(engine.deadline_ms, beacon.deadline_ms)
        if self.evidence.fresh:
            effects.insert(0, Persist(self.evidence.take_fresh()))
        if self._said:
            effects += self._said
            self._said = []
        for at, effect in enumerate(effects):
            if isinstance(effect, Send):
                if effect.to is not None:
                    effects[at] = Send(ValidatorIndex(self._peers[effect.to]), effect.frame)
            elif isinstance(effect, Report):
                effects[at] = Report(ValidatorIndex(self._peers[effect.peer]), effect.fault)
        return effects

    def _items(self, state: ChainState) -> Sequence[bytes]:
        """Return the system items that this node could put behind a state."""
        beacon = self.beacon
        at = self.evidence.changes + (beacon.changes if beacon is not None else 0)
        known = self._items_known
        if known is not None and known[0] is state and known[1] == at:
            return known[2]
        items = beacon.items(state.beacon) if beacon is not None else ()
        items = (*self.evidence.against(state.membership), *items)
        self._items_known = (state, at, items)
        return items

    # Proofs of fault.

    def inherit(self, ended: "Epoch") -> None:
        """Go on with what could be proven of the epoch before, and with doubts about the own key."""
        before, engine = ended.engine, self.engine
        engine.is_listening = before.is_listening
        if self.voting_keys is ended.voting_keys:
            engine.muted = before.muted
        self.evidence = ended.evidence
        self._review_evidence()
        for proof in ended.proofs:
            self._take_proof(proof)

    def _review_evidence(self) -> None:
        """Drop the proofs that are of too old an epoch; whom the others are against leads no more."""
        for slot, proof in self.evidence.held():
            if isinstance(self._offender_of(proof), str):
                self.evidence.erase(slot)
            else:
                self._distrust(slot)

    @property
    def proofs(self) -> tuple[bytes, ...]:
        """Every proof that this node holds, also of what the table was shown already."""
        return (*(proof for _, proof in self.evidence.held()), *self._found())

    def accused(self) -> dict[int, OffenceKind]:
        """Return of what this node can convict members that no final block has convicted."""
        validators, accused = self.execution.validators, {}
        for _, proof in self.evidence.held():
            found = find_offender(proof, self._membership, validators, self._terms)
            assert not isinstance(found, str), f"a proof is held that is none: {found}"
            accused[found[0]] = found[1]
        return accused

    def _found(self) -> tuple[bytes, ...]:
        own = self.beacon.evidence if self.beacon is not None else ()
        return (*self.engine.evidence, *own)

    def _show_found(self, beacon: Beacon) -> list[Effect]:
        """Take over what engine and beacon have found, and show it to all, so any may propose it."""
        self._looked = (self.engine.evidence, beacon.changes)
        found = self._found()
        if len(found) == self._gathered:
            return []
        self._gathered = len(found)
        fresh = [proof for proof in found if self._take_proof(proof) is None]
        return [
            Send(None, frame(Number.SYSTEM_ITEMS, SystemItems((proof,))))
            for proof in fresh
            if proof in self.evidence
        ]

    def _take_proof(self, proof: bytes) -> str | None:
        """Keep a proof against a member that nothing is proven of; the text says why it is none."""
        if proof in self.evidence:
            return None
        slot = self._offender_of(proof)
        if isinstance(slot, str):
            return slot
        is_convicted = self.execution.final.membership.members[slot].cheated
        if slot != self._peers[self._me] and not is_convicted:  # nobody testifies against itself
            self.evidence.add(slot, proof)
            self._distrust(slot)
        return None

    def _offender_of(self, proof: bytes) -> int | str:
        """Return the slot of the member whom a proof convicts, or why it convicts nobody."""
        validators = self.execution.validators
        found = find_offender(proof, self._membership, validators, self._terms)
        return found if isinstance(found, str) else found[0]

    def _distrust(self, slot: int) -> None:
        if slot in self._membership.voters:
            self.engine.distrust(self._index[slot])

    def _take_proofs(self, sender: ValidatorIndex, message: SystemItems) -> SystemItems:
        """Take the proofs in a message; return it without them."""
        for item in filter(is_evidence, message.items):
            epoch = epoch_of(item)
            # A peer may be in another epoch still, or already.
            if isinstance(epoch, int) and epoch not in {self.number, self.number - 1}:
                continue
            fault = epoch if isinstance(epoch, str) else self._take_proof(item)
            if fault is not None:
                self._said.append(Report(sender, fault))
        return SystemItems(tuple(item for item in message.items if not is_evidence(item)))

    def _show_proofs(self, peer: ValidatorIndex) -> None:
        """Show a peer that is back what the chain does not hold yet."""
        for proof in self.evidence.against(self.execution.final.membership):
            message = frame(Number.SYSTEM_ITEMS, SystemItems((proof,)))
            self._said.append(Send(peer, message))
