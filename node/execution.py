"""The replicated state of a table and how a block changes it (PROTOCOL 9).

Order inside a block: deal certificates, settlements, then actions, each with its operations in
order; the closing of betting comes last. States are kept by block hash: the final one and those of
notarized or proposed blocks above it, each made on its parent's by copy on write.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from consensus.beacon_items import BeaconContext
from consensus.beacon_state import BeaconState, Settled
from consensus.encoding import Digest, Record, Uint, decode_as, digest, encode
from consensus.engine import Built
from consensus.merkle import merkle_root
from consensus.messages import BODY_BYTES_MAX, BlockHash, Body, Header
from node.game.params import GameParams
from node.game.receipts import BlockResult, Receipt, RollResult
from node.game.state import GameLeaves, GameState
from node.mempool import OPERATIONS_PER_BLOCK_MAX, Action, Mempool, rotation

SYSTEM_ITEMS_MAX = 256
"""System items in one block: two batches of every dealer, with room for settlements."""
RECEIPTS_PER_LEAF = 64
"""One leaf of the receipts tree: small enough for a proof, large enough to hash rarely."""
_JUSTIFICATION_BYTES = 64 << 10
_DEAL_CERTIFICATE, _SETTLE = 1, 2


@dataclass(frozen=True, slots=True)
class ProvedRoll:
    """A settled roll with what recomputes its seed: an encoded proof of the beacon."""

    session: int
    number: int
    proof: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainState:
    """Everything replicated, after one block."""

    height: int
    time_ms: int
    game: GameState
    beacon: BeaconState
    closed: dict[int, tuple[int, ...]]
    """Sessions that wait for each beacon roll."""
    root: Digest
    receipts_root: Digest
    result: BlockResult
    rolls: tuple[ProvedRoll, ...]


class _Snapshot(Record, frozen=True):
    """A whole state as its leaves, with the view of its block."""

    view: Uint
    height: Uint
    time_ms: Uint
    closed: tuple[tuple[Uint, tuple[Uint, ...]], ...]
    game: GameLeaves
    beacon: tuple[bytes, ...]


def genesis_state(params: GameParams, players: int, beacon: BeaconState) -> ChainState:
    """Return the state before the first block; it has no header and proves nothing yet."""
    return _idle_state(0, 0, {}, GameState.genesis(params, players), beacon)


def encode_snapshot(state: ChainState, view: int) -> bytes:
    """Return the state of the final block of `view`, for the journal."""
    return encode(
        _Snapshot(
            view,
            state.height,
            state.time_ms,
            tuple(state.closed.items()),
            state.game.leaves(),
            state.beacon.leaves(),
        )
    )


def decode_snapshot(
    data: bytes, params: GameParams, context: BeaconContext
) -> tuple[int, ChainState]:
    """Return (view, state) of a snapshot; raises `DecodeError`."""
    record = decode_as(data, _Snapshot)
    game = GameState.from_leaves(params, record.game)
    beacon = BeaconState.from_leaves(context, record.beacon)
    closed = dict(record.closed)
    return record.view, _idle_state(record.height, record.time_ms, closed, game, beacon)


def _idle_state(
    height: int,
    time_ms: int,
    closed: dict[int, tuple[int, ...]],
    game: GameState,
    beacon: BeaconState,
) -> ChainState:
    """Return a state whose block's results are not at hand."""
    result = BlockResult(height, time_ms, (), (), ())
    root = state_root(height, time_ms, closed, game, beacon)
    return ChainState(
        height=height,
        time_ms=time_ms,
        game=game,
        beacon=beacon,
        closed=closed,
        root=root,
        receipts_root=receipts_root(result),
        result=result,
        rolls=(),
    )


class Execution:
    """The engine's application: builds, executes and finalizes blocks over `ChainState`."""

    def __init__(
        self,
        base: BlockHash,
        state: ChainState,
        mempool: Mempool,
        system_items: Callable[[BeaconState], Sequence[bytes]],
    ) -> None:
        """Start at the final block `base`; `system_items` are what this node could propose."""
        self._states: dict[BlockHash, ChainState] = {base: state}
        self._parents: dict[BlockHash, BlockHash] = {}
        self._draft: tuple[BlockHash, ChainState] | None = None
        self._mempool = mempool
        self._system_items = system_items
        self.base = base
        self._finalized: deque[ChainState] = deque()
        self.trusting = False
        """Whether blocks come from this node's own journal: their signatures were verified and
        their results reported before the restart."""

    @property
    def final(self) -> ChainState:
        """The state after the last final block."""
        return self._states[self.base]

    def state_of(self, block: BlockHash) -> ChainState:
        """Return the state after an executed block that is final or extends the final one."""
        return self._states[block]

    def build(self, parent: BlockHash, height: int, time_ms: int) -> Built:
        """Choose and execute the next block's content on the parent's state."""
        before = self._states[parent]
        actions = self._mempool.next_actions(
            before.game.seqs(), height, BODY_BYTES_MAX - _JUSTIFICATION_BYTES
        )
        change = _Change(parent, before, height, time_ms)
        system = tuple(
            item for item in self._system_items(change.beacon) if change.take_item(item) is None
        )
        change.take_actions(actions)
        state = change.finish()
        self._draft = (parent, state)
        envelopes = tuple(action.envelope for action in actions)
        return Built(system, envelopes, state.root, state.receipts_root)

    def adopt(self, block: BlockHash) -> None:
        """The last built draft is this block."""
        assert self._draft is not None, "adopt follows build"
        self._parents[block], self._states[block] = self._draft
        self._draft = None

    def execute(self, block: BlockHash, header: Header, body: Body) -> str | None:
        """Execute a block on its parent's state; the text says why it is invalid."""
        parent = BlockHash(Digest(header.parent_hash))
        actions = self._read_actions(header.height, body)
        if isinstance(actions, str):
            return actions
        change = _Change(parent, self._states[parent], header.height, header.time_ms)
        if len(body.system) > SYSTEM_ITEMS_MAX:
            return f"{len(body.system)} system items; the limit is {SYSTEM_ITEMS_MAX}"
        for item in body.system:
            if why := change.take_item(item):
                return why
        if why := change.take_actions(actions):
            return why
        state = change.finish()
        if state.root != header.state_root:
            return "state root differs"
        if state.receipts_root != header.receipts_root:
            return "receipts root differs"
        self._parents[block], self._states[block] = parent, state
        return None

    def _read_actions(self, height: int, body: Body) -> list[Action] | str:
        actions = []
        operations = 0
        for envelope in body.actions:
            action = self._mempool.find(envelope, trusted=self.trusting)
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
        if not self.trusting:
            self._finalized.append(self.final)
        self._mempool.prune(self.final.game.seqs())

    def take_finalized(self) -> ChainState:
        """Return the next state that became final and was not taken yet, lowest height first."""
        return self._finalized.popleft()

    def has_work(self, tip: BlockHash) -> bool:
        """Say whether something valid waits that the chain ending at `tip` does not hold."""
        state = self._states[tip]
        return self._mempool.has_next(state.game.seqs()) or bool(self._system_items(state.beacon))


class _Change:
    """One block being applied to a copy of its parent's state."""

    def __init__(self, parent: BlockHash, before: ChainState, height: int, time_ms: int) -> None:
        self.height, self.time_ms = height, time_ms
        self.game, self.beacon = before.game.fork(), before.beacon.fork()
        self.closed = dict(before.closed)
        self.beacon.bind(parent)
        self._began = False
        self._rolls: list[RollResult] = []
        self._proved: list[ProvedRoll] = []
        self._actions: list[tuple[int, int, tuple[Receipt, ...]]] = []

    def take_item(self, item: bytes) -> str | None:
        """Apply one system item, or change nothing and say why it is invalid here."""
        kind = kind_of(item)
        if kind == _DEAL_CERTIFICATE:
            if self._began:
                return "deal certificate behind a settlement"
            return self.beacon.add_certificate(item)
        if kind != _SETTLE:
            return f"system item of unknown kind {kind}"
        settled = self.beacon.settle(item)
        if isinstance(settled, str):
            return settled
        self._begin()
        self._settle(settled)
        return None

    def _begin(self) -> None:
        if not self._began:
            self._began = True
            self.game.begin_block(self.height, self.time_ms, self.beacon.can_close())

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
            for operation in action.operations:
                receipts.append(game.apply(action.player, operation, index))
                index += 1
            self._actions.append((action.player, action.seq, tuple(receipts)))
        return None

    def finish(self) -> ChainState:
        """Close what is to be closed and return the state with its roots."""
        self._begin()
        closed = self.game.end_block()
        if closed:
            self.closed[self.beacon.close(self.height)] = closed
        result = BlockResult(
            self.height,
            self.time_ms,
            tuple(self._actions),
            tuple(self._rolls),
            closed,
            tuple(self.game.returned),
        )
        root = state_root(self.height, self.time_ms, self.closed, self.game, self.beacon)
        return ChainState(
            height=self.height,
            time_ms=self.time_ms,
            game=self.game,
            beacon=self.beacon,
            closed=self.closed,
            root=root,
            receipts_root=receipts_root(result),
            result=result,
            rolls=tuple(self._proved),
        )


def kind_of(item: bytes) -> int:
    """Return the kind of a system item, the first of its fields, or 0 if there is none."""
    return item[1] if len(item) > 1 and 0x80 < item[0] < 0x98 and item[1] < 24 else 0


def state_root(
    height: int,
    time_ms: int,
    closed: dict[int, tuple[int, ...]],
    game: GameState,
    beacon: BeaconState,
) -> Digest:
    """Return the root over everything replicated (PROTOCOL 9)."""
    chain = encode((height, time_ms, tuple(closed.items()), game.leaf()))
    return digest(
        "state",
        digest("state/chain", chain) + game.accounts_root() + game.sessions_root() + beacon.root(),
    )


def receipts_root(result: BlockResult) -> Digest:
    """Return the Merkle root over receipts, 64 to a leaf, and over what each roll settled."""
    return merkle_root(receipt_leaves(result))


def receipt_leaves(result: BlockResult) -> list[bytes]:
    """Return the leaves of the receipts tree in order."""
    leaves = [
        encode((player, seq, start, receipts[start : start + RECEIPTS_PER_LEAF]))
        for player, seq, receipts in result.actions
        for start in range(0, len(receipts), RECEIPTS_PER_LEAF)
    ]
    leaves.extend(encode(roll) for roll in result.rolls)
    return leaves
