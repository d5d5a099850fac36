"""The replicated state of a table and how a block changes it (PROTOCOL 12.1, 13).

Order inside a block: evidence, deal certificates, settlements, then actions, each with its
operations in order; the closing of betting comes next, and the seal of an epoch last. States are
kept by block hash: the final one and those of notarized or proposed blocks above it, each made on
its parent's by copy on write.
"""

import functools
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import msgspec

from consensus.beacon_items import BeaconContext
from consensus.beacon_state import BeaconState, Settled
from consensus.encoding import (
    DIGEST_BYTES,
    Bytes32,
    Digest,
    Record,
    Uint,
    decode_as,
    digest,
    encode,
    encode_array,
    encode_uint,
)
from consensus.engine import Built
from consensus.evidence import ITEM_EVIDENCE, OffenceKind, epoch_of, verify_evidence
from consensus.merkle import merkle_root
from consensus.messages import BODY_BYTES_MAX, BlockHash, Body, Flag, Header
from consensus.signing import Verify
from consensus.validators import Validators
from node.game.leaves import GameLeaves
from node.game.params import GameParams, JoinRule
from node.game.receipts import DONE, BlockResult, Code, Receipt, RollResult
from node.game.state import GameState
from node.membership import (
    EPOCH_MS_MIN,
    MEMBER_OPERATIONS,
    Admit,
    Membership,
    NextKeys,
    Retire,
    SetVote,
    open_newcomer,
)
from node.mempool import OPERATIONS_PER_BLOCK_MAX, Action, AnyOperation, Mempool, rotation

SYSTEM_ITEMS_MAX = 256
"""System items in one block: two batches of every dealer, with room for settlements."""
MEMBER_OPERATIONS_MAX = 8
"""Of one player in one block: each may cost the check of a key or a signature, 0.1 ms or more."""
NO_SESSION = -1
"""What is due is no game's."""
RECEIPTS_PER_LEAF = 64
"""One leaf of the receipts tree: small enough for a proof, large enough to hash rarely."""
RECEIPTS_REMEMBERED = 1_024
"""Encodings of receipts kept: most of a block's are like others."""
_JUSTIFICATION_BYTES = 64 << 10
_DEAL_CERTIFICATE, _SETTLE = 1, 2
_PLAIN = Flag.PLAIN  # asked for in every step, and a member of an Enum is found slowly


@dataclass(frozen=True, slots=True)
class ProvedRoll:
    """A settled roll with what recomputes its seed: an encoded proof of the beacon."""

    session: int
    number: int
    proof: bytes


class Place(Record, frozen=True):
    """Where on the chain a state stands.

    `leader_seed` orders the leaders of the epoch in which the block was made: the chain id, later
    the hash of the block that sealed the epoch before. After a SEAL the membership is of the next.
    """

    height: Uint
    view: Uint
    time_ms: Uint
    flags: Annotated[int, msgspec.Meta(ge=0, le=2)]
    leader_seed: Bytes32


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainState:
    """Everything replicated, after one block."""

    place: Place
    game: GameState
    beacon: BeaconState
    membership: Membership
    closed: dict[int, tuple[int, ...]]
    """Sessions that wait for each beacon roll."""
    root: Digest
    receipts_root: Digest
    result: BlockResult
    rolls: tuple[ProvedRoll, ...]

    @property
    def height(self) -> int:
        """The height of the block."""
        return self.place.height

    @property
    def time_ms(self) -> int:
        """The agreed time of the block."""
        return self.place.time_ms

    @property
    def is_sealed(self) -> bool:
        """Whether the epoch ends here: only tails may follow in it."""
        return self.place.flags != _PLAIN

    def next_due(self) -> tuple[int, int] | None:
        """Return agreed time and session of the next timer, `NO_SESSION` if the epoch ends then."""
        due = self.game.due()
        if self.is_sealed or self.closed or not self.membership.differs:
            return due
        change_ms = self.membership.began_ms + EPOCH_MS_MIN
        return due if due is not None and due[0] <= change_ms else (change_ms, NO_SESSION)


class Snapshot(Record, frozen=True):
    """A whole state as its leaves."""

    place: Place
    closed: tuple[tuple[Uint, tuple[Uint, ...]], ...]
    game: GameLeaves
    membership: tuple[bytes, ...]
    beacon: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Terms:
    """What all states of a table have in common: its chain, terms and signature scheme."""

    chain_id: Digest
    params: GameParams
    verify: Verify

    def beacon_context(self, membership: Membership) -> BeaconContext:
        """Return the context of the membership's epoch; its leader order is nobody's concern."""
        validators = membership.validators(self.chain_id)
        return BeaconContext(self.chain_id, membership.epoch, validators, self.verify)


def genesis_state(terms: Terms, membership: Membership) -> ChainState:
    """Return the state before the first block; it has no header and proves nothing yet."""
    place = Place(0, 0, 0, Flag.PLAIN, terms.chain_id)
    game = GameState.genesis(terms.params, len(membership.members))
    beacon = BeaconState.genesis(terms.beacon_context(membership))
    return _idle_state(place, {}, game, membership, beacon)


def encode_snapshot(state: ChainState) -> bytes:
    """Return the state of a final block, for the journal."""
    return encode(
        Snapshot(
            state.place,
            tuple(state.closed.items()),
            state.game.leaves(),
            state.membership.leaves(),
            state.beacon.leaves(),
        )
    )


def decode_snapshot(data: bytes, terms: Terms) -> ChainState:
    """Return the state of a snapshot; raises `DecodeError`."""
    record = decode_as(data, Snapshot)
    membership = Membership.from_leaves(record.membership)
    context = terms.beacon_context(membership)
    return _idle_state(
        record.place,
        dict(record.closed),
        GameState.from_leaves(terms.params, record.game),
        membership,
        BeaconState.from_leaves(context, record.beacon),
    )


def _idle_state(
    place: Place,
    closed: dict[int, tuple[int, ...]],
    game: GameState,
    membership: Membership,
    beacon: BeaconState,
) -> ChainState:
    """Return a state whose block's results are not at hand."""
    result = BlockResult(place.height, place.time_ms, (), (), ())
    return ChainState(
        place=place,
        game=game,
        beacon=beacon,
        membership=membership,
        closed=closed,
        root=state_root(place, closed, game, membership, beacon),
        receipts_root=receipts_root(result),
        result=result,
        rolls=(),
    )


class Execution:
    """The engine's application: builds, executes and finalizes blocks over `ChainState`."""

    def __init__(
        self,
        terms: Terms,
        base: BlockHash,
        state: ChainState,
        mempool: Mempool,
        system_items: Callable[[ChainState], Sequence[bytes]],
    ) -> None:
        """Start at the final block `base`; `system_items` are what this node could propose."""
        self.terms = terms
        self.validators = state.membership.validators(Digest(state.place.leader_seed))
        """The voters of the epoch, in which all blocks here are."""
        self._states: dict[BlockHash, ChainState] = {base: state}
        self._parents: dict[BlockHash, BlockHash] = {}
        self._draft: tuple[BlockHash, ChainState] | None = None
        self._awaited: tuple[ChainState, int, bool] = (state, -1, False)
        self._mempool = mempool
        self._system_items = system_items
        self.base = base
        self.final = state
        """The state after the last final block."""
        self._finalized: deque[ChainState] = deque()
        self.replayed: list[BlockResult] = []
        """Results of the blocks above the newest snapshot, when the journal was replayed."""
        self.trusting = False
        """Whether blocks come from this node's own journal: their signatures were verified and
        their results reported before the restart."""

    def state_of(self, block: BlockHash) -> ChainState:
        """Return the state after an executed block that is final or extends the final one."""
        return self._states[block]

    def build(self, parent: BlockHash, height: int, time_ms: int, view: int) -> Built:
        """Choose and execute the next block's content on the parent's state."""
        before = self._states[parent]
        if before.is_sealed:
            state = _tail_of(before, view, time_ms)
            self._draft = (parent, state)
            return Built((), (), state.root, state.receipts_root, Flag.TAIL)
        change = _Change(self, parent, before, view, time_ms)
        system = tuple(
            item for item in self._system_items(before) if change.take_item(item) is None
        )
        room = BODY_BYTES_MAX - _JUSTIFICATION_BYTES - sum(map(len, system))
        actions = self._mempool.next_actions(before.game.seqs(), height, room)
        change.take_actions(actions)
        state = change.finish()
        self._draft = (parent, state)
        envelopes = tuple(action.envelope for action in actions)
        flags = Flag(state.place.flags)
        return Built(system, envelopes, state.root, state.receipts_root, flags)

    def adopt(self, block: BlockHash) -> None:
        """The last built draft is this block."""
        assert self._draft is not None, "adopt follows build"
        self._parents[block], self._states[block] = self._draft
        self._draft = None

    def execute(self, block: BlockHash, header: Header, body: Body) -> str | None:
        """Execute a block on its parent's state; the text says why it is invalid."""
        parent = BlockHash(Digest(header.parent_hash))
        before = self._states[parent]
        if before.is_sealed:
            if body.system or body.actions:
                return "content behind the seal of an epoch"
            state = _tail_of(before, header.view, header.time_ms)
        else:
            change = _Change(self, parent, before, header.view, header.time_ms)
            if why := self._change(change, before, body):
                return why
            state = change.finish()
        if header.flags != state.place.flags:
            return f"flags {header.flags} where {state.place.flags} belongs"
        if state.root != header.state_root:
            return "state root differs"
        if state.receipts_root != header.receipts_root:
            return "receipts root differs"
        self._parents[block], self._states[block] = parent, state
        return None

    def _change(self, change: "_Change", before: ChainState, body: Body) -> str | None:
        actions = self._read_actions(before.membership, body)
        if isinstance(actions, str):
            return actions
        if len(body.system) > SYSTEM_ITEMS_MAX:
            return f"{len(body.system)} system items; the limit is {SYSTEM_ITEMS_MAX}"
        for item in body.system:
            if why := change.take_item(item):
                return why
        return change.take_actions(actions)

    def _read_actions(self, roster: Membership, body: Body) -> list[Action] | str:
        actions = []
        operations = 0
        for envelope in body.actions:
            action = self._mempool.find(envelope, roster, trusted=self.trusting)
            if isinstance(action, str):
                return action
            operations += len(action.operations)
            if operations > OPERATIONS_PER_BLOCK_MAX:
                return f"block of more than {OPERATIONS_PER_BLOCK_MAX} operations"
            actions.append(action)
        return actions

    def finalize(self, block: BlockHash) -> None:
        """Make this block's state the base and drop every state that does not extend it."""
        kept = {block: self._states[block]}
        parents: dict[BlockHash, BlockHash] = {}
        # Insertion order puts every parent before its children.
        for other, parent in self._parents.items():
            if parent in kept:
                kept[other] = self._states[other]
                parents[other] = parent
        self._states, self._parents, self.base = kept, parents, block
        self.final = kept[block]
        if self.trusting:
            self.replayed.append(self.final.result)
        else:
            self._finalized.append(self.final)
        self._mempool.prune(self.final.game.seqs())

    def take_finalized(self) -> ChainState:
        """Return the next state that became final and was not taken yet, lowest height first."""
        return self._finalized.popleft()

    def has_work(self, tip: BlockHash) -> bool:
        """Say whether something valid waits that the chain ending at `tip` does not hold.

        Evidence waits for other work: whoever alone holds it would be awake alone (PROTOCOL 8).
        """
        state = self._states[tip]
        if state.place.flags != _PLAIN:
            return False
        known, at, found = self._awaited
        if known is not state or at != self._mempool.changes:
            found = self.has_actions(state)
        if found:
            return True
        items = self._system_items(state)
        return bool(items) and any(kind_of(item) != ITEM_EVIDENCE for item in items)

    def has_actions(self, state: ChainState) -> bool:
        """Say whether some action waits that could follow on a state; asked of the tip each time."""
        known, at, found = self._awaited
        changes = self._mempool.changes
        if known is not state or at != changes:
            found = self._mempool.has_next(state.game.seqs())
            self._awaited = (state, changes, found)
        return found


def open_epoch(state: ChainState, seal: Digest) -> ChainState:
    """Return the state behind the block `seal` as the next epoch begins on it, at view 0."""
    place = Place(state.height, 0, state.time_ms, Flag.PLAIN, seal)
    return replace(state, place=place)


def _tail_of(sealed: ChainState, view: int, time_ms: int) -> ChainState:
    """Return the state of an empty block behind a seal: that of the seal, root included."""
    place = Place(sealed.height + 1, view, time_ms, Flag.TAIL, sealed.place.leader_seed)
    result = BlockResult(place.height, time_ms, (), (), ())
    return replace(
        sealed, place=place, result=result, receipts_root=receipts_root(result), rolls=()
    )


class _Change:
    """One block being applied to a copy of its parent's state."""

    def __init__(
        self, execution: Execution, parent: BlockHash, before: ChainState, view: int, time_ms: int
    ) -> None:
        self._terms, self._validators = execution.terms, execution.validators
        self._before = before
        self.height, self.view, self.time_ms = before.height + 1, view, time_ms
        self.game, self.beacon = before.game.fork(), before.beacon.fork()
        self.membership = before.membership.fork()
        self.closed = dict(before.closed)
        self.beacon.bind(parent)
        leader = self._validators.leader
        missed = [leader(skipped) for skipped in range(before.place.view + 1, view)]
        self.membership.count_turns(missed, leader(view))
        self._stage = 0
        self._began = False
        self._rolls: list[RollResult] = []
        self._proved: list[ProvedRoll] = []
        self._actions: list[tuple[int, int, tuple[Receipt, ...]]] = []
        self._member_operations: dict[int, int] = {}

    def take_item(self, item: bytes) -> str | None:
        """Apply one system item, or change nothing and say why it is invalid here."""
        kind = kind_of(item)
        stage = {ITEM_EVIDENCE: 1, _DEAL_CERTIFICATE: 2, _SETTLE: 3}.get(kind)
        if stage is None:
            return f"system item of unknown kind {kind}"
        if stage < self._stage:
            return "system items out of order"
        if kind == ITEM_EVIDENCE:
            why = self._convict(item)
        elif kind == _DEAL_CERTIFICATE:
            why = self.beacon.add_certificate(item)
        else:
            why = self._take_settle(item)
        if why is None:
            self._stage = stage
        return why

    def _convict(self, item: bytes) -> str | None:
        """Note a proven offence of this epoch, or of the one before."""
        found = find_offender(item, self.membership, self._validators, self._terms)
        return found if isinstance(found, str) else self.membership.convict(*found)

    def _take_settle(self, item: bytes) -> str | None:
        settled = self.beacon.settle(item)
        if isinstance(settled, str):
            return settled
        for dealer in settled.faulty:
            # The settle proves it, whether or not the dealer was convicted of something before.
            self.membership.convict(self.membership.voters[dealer], OffenceKind.FALSE_DEALING)
        self._begin()
        self._settle(settled)
        return None

    def _begin(self) -> None:
        """Open the block for settlements and actions: what was certified before them counts."""
        if not self._began:
            self._began = True
            can_close = self.beacon.can_close() and not self._is_changing()
            self.game.begin_block(self.height, self.time_ms, can_close)

    def _is_changing(self) -> bool:
        """Say whether the voters have to change; who bets, or saw dice, plays in the epoch."""
        in_play = self.game.has_bets() or self.beacon.next_roll > 0
        return self.membership.is_changing(self.time_ms, in_play=in_play)

    def _settle(self, settled: Settled) -> None:
        for session in self.closed.pop(settled.roll):
            result = self.game.settle(session, settled.seed)
            self._rolls.append(result)
            self._proved.append(ProvedRoll(result.serial, result.number, settled.proof))

    def take_actions(self, actions: Sequence[Action]) -> str | None:
        """Apply actions in their order, or say why they cannot stand like this in a block."""
        self._begin()
        game = self.game
        rank = {player: i for i, player in enumerate(rotation(len(game.seqs()), self.height))}
        last_rank = index = 0
        for action in actions:
            if rank[action.player] < last_rank:
                return "actions out of order"
            last_rank = rank[action.player]
            if action.seq != game.accounts[action.player].seq + 1:
                return f"action {action.seq} of player {action.player} is not its next"
            game.next_seq(action.player)
            receipts = []
            left = self.membership.has_left(action.player)
            for operation in action.operations:
                if left:
                    receipt = Receipt(Code.HAS_LEFT)
                elif type(operation) in MEMBER_OPERATIONS:
                    receipt = self._apply_member(action.player, operation)
                    left = self.membership.has_left(action.player)
                else:
                    receipt = game.apply(action.player, operation, index)
                    if receipt.code == Code.NO_DICE and self._is_changing():
                        receipt = Receipt(Code.VOTERS_CHANGE)
                receipts.append(receipt)
                index += 1
            self._actions.append((action.player, action.seq, tuple(receipts)))
        return None

    def _apply_member(self, player: int, operation: AnyOperation) -> Receipt:
        count = self._member_operations.get(player, 0)
        if count >= MEMBER_OPERATIONS_MAX:
            return Receipt(Code.OPERATIONS, (MEMBER_OPERATIONS_MAX,))
        self._member_operations[player] = count + 1
        match operation:
            case Admit(join):
                return self._admit(player, join)
            case Retire() if (slot := self.game.seated_in(player)) is not None:
                return Receipt(Code.STILL_SEATED, (slot,))
            case NextKeys() | SetVote() | Retire():
                return self.membership.apply(player, operation)
            case _:
                raise AssertionError(f"{operation} is of the game")

    def _admit(self, player: int, join: bytes) -> Receipt:
        rule, voters = self._terms.params.join_rule, len(self.membership.voters)
        if rule == JoinRule.CLOSED:
            return Receipt(Code.CLOSED_TABLE)
        if not self.membership.may_approve(player):
            return Receipt(Code.NO_VOTE)
        if len(join) == DIGEST_BYTES:
            newcomer = self.membership.proposed(join)
        else:
            newcomer = open_newcomer(join, self._terms.chain_id, self._terms.verify)
        if newcomer is None:
            return Receipt(Code.JOIN_INVALID)
        if not self.game.has_place():
            return Receipt(Code.TABLE_FULL, (len(self.game.accounts),))
        needed = approvals_needed(rule, voters)
        slot = self.membership.approve(player, newcomer, needed)
        if isinstance(slot, Receipt):
            return slot
        admitted = self.game.admit()
        assert admitted == slot, f"account {admitted} for member {slot}"
        return DONE

    def finish(self) -> ChainState:
        """Close what is to be closed, seal the epoch if it is time, return the state with roots."""
        self._begin()
        closed = self.game.end_block()
        if closed:
            self.closed[self.beacon.close(self.height)] = closed
        flags = Flag.PLAIN
        voters: tuple[bytes, ...] = ()
        if not self.closed and self._is_changing():
            flags = Flag.SEAL
            self.membership.seal(self.time_ms)
            voters = self.membership.validators(self._terms.chain_id).keys
            self.beacon = BeaconState.genesis(self._terms.beacon_context(self.membership))
        result = BlockResult(
            self.height,
            self.time_ms,
            tuple(self._actions),
            tuple(self._rolls),
            closed,
            tuple(self.game.returned),
            voters,
        )
        seed = self._before.place.leader_seed
        place = Place(self.height, self.view, self.time_ms, flags, seed)
        return ChainState(
            place=place,
            game=self.game,
            beacon=self.beacon,
            membership=self.membership,
            closed=self.closed,
            root=state_root(place, self.closed, self.game, self.membership, self.beacon),
            receipts_root=receipts_root(result),
            result=result,
            rolls=tuple(self._proved),
        )


def find_offender(
    proof: bytes, membership: Membership, validators: Validators, terms: Terms
) -> tuple[int, OffenceKind] | str:
    """Return the member whom a proof convicts, and of what, or why it proves nothing.

    It is of the membership's epoch, whose voters are `validators`, or of the one before.
    """
    epoch = epoch_of(proof)
    if isinstance(epoch, str):
        return epoch
    accused = validators if epoch == membership.epoch else None
    if epoch == membership.epoch - 1:
        accused = membership.previous_validators()
    if accused is None:
        return f"evidence of epoch {epoch} in epoch {membership.epoch}"
    offence = verify_evidence(proof, accused, terms.chain_id, epoch, terms.verify)
    if isinstance(offence, str):
        return offence
    if accused is validators:
        return membership.voters[offence.offender], offence.kind
    key = accused.keys[offence.offender]
    [slot] = [i for i, one in enumerate(membership.members) if one.previous_key == key]
    return slot, offence.kind


def approvals_needed(rule: int, voters: int) -> int:
    """Return how many of the voters have to let a newcomer in."""
    return 1 if rule == JoinRule.ANY_VOTER else voters // 2 + 1


def kind_of(item: bytes) -> int:
    """Return the kind of a system item, the first of its fields, or 0 if there is none."""
    return item[1] if len(item) > 1 and 0x80 < item[0] < 0x98 and item[1] < 24 else 0


def state_root(
    place: Place,
    closed: Mapping[int, tuple[int, ...]],
    game: GameState,
    membership: Membership,
    beacon: BeaconState,
) -> Digest:
    """Return the root over everything replicated (PROTOCOL 12.1)."""
    return digest(
        "state",
        digest("state/chain", chain_leaf(place, closed, game))
        + membership.root()
        + game.accounts_root()
        + game.sessions_root()
        + beacon.root(),
    )


def chain_leaf(place: Place, closed: Mapping[int, tuple[int, ...]], game: GameState) -> bytes:
    """Return the leaf of the chain: its place, which games wait for which roll, the treasury."""
    return encode((place, tuple(closed.items()), game.leaf()))


def chain_parts(
    leaf: bytes,
) -> tuple[Place, tuple[tuple[int, tuple[int, ...]], ...], bytes]:
    """Return place, waiting games and treasury of a chain leaf; raises `DecodeError`."""
    return decode_as(leaf, tuple[Place, tuple[tuple[Uint, tuple[Uint, ...]], ...], bytes])


def receipts_root(result: BlockResult) -> Digest:
    """Return the Merkle root over `receipt_leaves`."""
    return merkle_root(receipt_leaves(result))


@functools.lru_cache(RECEIPTS_REMEMBERED)
def _encode_receipt(receipt: Receipt) -> bytes:
    return encode(receipt)


def receipt_leaves(result: BlockResult) -> list[bytes]:
    """Return receipts, 64 to a leaf, then what each roll settled, then a seal's next voters."""
    leaves = []
    for player, seq, receipts in result.actions:
        named = (encode_uint(player), encode_uint(seq))
        encoded = [_encode_receipt(receipt) for receipt in receipts]
        for start in range(0, len(receipts), RECEIPTS_PER_LEAF):
            part = encode_array(encoded[start : start + RECEIPTS_PER_LEAF])
            leaves.append(encode_array((*named, encode_uint(start), part)))
    leaves.extend(encode(roll) for roll in result.rolls)
    if result.voters:
        leaves.append(encode(result.voters))
    return leaves
