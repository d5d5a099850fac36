"""One peer as one pure object: frames, operations and deadlines in, ordered effects out.

`Replica` composes the engine, the beacon, the mempool and the replicated game. The runtime performs
its effects with sockets and a disk, the simulator with a heap; neither knows more than this module.
Everything that one input makes durable is one `Persist`, first in the list (PROTOCOL 9).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from consensus.beacon import Beacon
from consensus.beacon_items import BeaconContext
from consensus.beacon_state import BeaconState
from consensus.effects import (
    ActionLogged,
    Committed,
    Effect,
    LogRecord,
    Now,
    Persist,
    Report,
    RollLogged,
    Send,
    SnapshotLogged,
)
from consensus.encoding import Digest
from consensus.engine import Engine, Tip, genesis
from consensus.messages import BlockHash, Message, Number, frame
from consensus.signing import Envelope, PublicKey, Signer, Verify
from consensus.validators import ValidatorIndex, Validators
from node.execution import ChainState, Execution, decode_snapshot, encode_snapshot, genesis_state
from node.game.operations import Operation, Tick
from node.game.params import GameParams
from node.game.receipts import BlockResult, Receipt
from node.game.state import GameState
from node.mempool import OPERATIONS_PER_ACTION_MAX, Action, Mempool, sign_action
from node.pipeline import MessageProcessor

WAITING_MAX = 65_536
"""Operations of this node that wait for their action; a local caller is told when it is full."""
SNAPSHOT_BLOCKS = 1_000
"""Blocks between two snapshots: a restart executes at most this many again."""
RESEND_BYTES_MAX = 256 << 10
"""Actions pushed again in one go to peers that may have missed them."""
RESEND_STEPS_MAX = 5
NO_TICKET = -1
"""The ticket of an operation that the node itself submitted; it gets no answer."""
_BEACON_NUMBERS = frozenset(
    (
        Number.DEAL,
        Number.ACK,
        Number.REVEAL,
        Number.GET_REVEAL,
        Number.REVEAL_PATHS,
        Number.SYSTEM_ITEMS,
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """Who plays at which table, and the private keys of the one who plays here."""

    chain_id: Digest
    validators: Validators
    players: tuple[PublicKey, ...]
    params: GameParams
    box_keys: tuple[bytes, ...]
    me: ValidatorIndex
    player: int
    action_signer: Signer
    vote_signer: Signer
    box_secret: bytes
    verify: Verify


@dataclass(frozen=True, slots=True)
class Submission:
    """One operation of the player here; the ticket comes back with its answer."""

    ticket: int
    operation: Operation


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a submission: at once with height 0 if refused here, else when final."""

    ticket: int
    height: int
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Played:
    """A final block's result, behind its `Committed`."""

    height: int
    result: BlockResult


ReplicaEffect: TypeAlias = Effect | Answer | Played


class Replica:
    """See the module's text. One owner calls it; it never blocks and no remote input raises."""

    def __init__(
        self,
        setup: Setup,
        records: Sequence[LogRecord] = (),
        load_block: Callable[[bytes], tuple[bytes, bytes] | None] = lambda _hash: None,
    ) -> None:
        """Resume from what the journal holds; nothing at the first start."""
        self.setup = setup
        self.pipeline = MessageProcessor()
        self._mempool = Mempool(setup.chain_id, setup.players, setup.verify)
        context = BeaconContext(setup.chain_id, 0, setup.validators, setup.verify)
        self._beacon = Beacon(
            context,
            setup.me,
            setup.vote_signer,
            setup.box_secret,
            setup.box_keys,
            records,
        )
        base, state = _base(setup, context, records)
        self._execution = Execution(base.hash, state, self._mempool, self._beacon.items)
        self._execution.trusting = True
        self._engine = Engine(
            chain_id=setup.chain_id,
            epoch=0,
            validators=setup.validators,
            me=setup.me,
            signer=setup.vote_signer,
            verify=setup.verify,
            app=self._execution,
            base=base,
            records=records,
            load_block=load_block,
        )
        self._execution.trusting = False
        self._waiting: list[Submission] = []
        self._tickets: dict[int, tuple[int, ...]] = {}
        self._own: dict[int, Action] = {}
        self._last_seq = self._own_seq(self.final)
        self._preview: tuple[BlockHash, GameState] | None = None
        self._snapshot_height = base.height
        self._resend_ms: int | None = None
        self._resends = 0
        self._ticked: tuple[int, int] = (-1, -1)
        self._tick_ms: int | None = None
        self._records: list[LogRecord] = []
        self._effects: list[ReplicaEffect] = []
        self._restore_own(records)

    # Inputs.

    def start(self, now: Now) -> list[ReplicaEffect]:
        """Begin, or resume after a restart."""
        self._engine.start(now)
        final = self.final
        self._beacon.finalized(
            final.beacon, now, block=self._execution.base, wanted=final.game.has_bets()
        )
        self._push(None)
        return self._step(now)

    def peer_up(self, peer: ValidatorIndex, now: Now) -> list[ReplicaEffect]:
        """Greet a peer whose link came up, and give it what it may have missed."""
        self._engine.peer_up(peer, now)
        self._beacon.peer_up(peer, now)
        self._push(peer)
        return self._step(now)

    def receive(
        self, batch: Sequence[tuple[ValidatorIndex, bytes]], now: Now
    ) -> list[ReplicaEffect]:
        """Take frames from authenticated peers, in order."""
        for sender, data in batch:
            taken = self.pipeline.take(data)
            fault = taken if isinstance(taken, str) else self._dispatch(sender, *taken, data, now)
            if fault is not None:
                self._effects.append(Report(sender, fault))
        return self._step(now)

    def submit(self, batch: Sequence[Submission], now: Now) -> list[ReplicaEffect]:
        """Take operations of the player here; what would be refused now is answered at once."""
        preview = self._preview_now(now)
        for submission in batch:
            receipt = preview.apply(self.setup.player, submission.operation, 0)
            if receipt.code or len(self._waiting) >= WAITING_MAX:
                self._effects.append(Answer(submission.ticket, 0, receipt))
            else:
                self._waiting.append(submission)
        return self._step(now)

    def entropy(self, data: bytes, now: Now) -> list[ReplicaEffect]:
        """Take the answer to a `RequestEntropy`."""
        self._beacon.entropy(data, now)
        return self._step(now)

    def handle_deadline(self, now: Now) -> list[ReplicaEffect]:
        """Do what is due; call when `deadline_ms` has come."""
        return self._step(now)

    # What others may look at.

    @property
    def deadline_ms(self) -> int | None:
        """When `handle_deadline` is due, monotonic milliseconds."""
        due = (self._engine.deadline_ms, self._beacon.deadline_ms, self._resend_ms, self._tick_ms)
        return min((at for at in due if at is not None), default=None)

    @property
    def engine(self) -> Engine:
        """The agreement, for those who watch it."""
        return self._engine

    @property
    def final(self) -> ChainState:
        """Everything replicated, after the last final block."""
        return self._execution.final

    @property
    def pending(self) -> tuple[Operation, ...]:
        """The operations of this player that no final block holds."""
        signed = (operation for action in self._own.values() for operation in action.operations)
        return (*signed, *(submission.operation for submission in self._waiting))

    # One step.

    def _dispatch(
        self, sender: ValidatorIndex, number: Number, message: Message, data: bytes, now: Now
    ) -> str | None:
        if number is Number.ACTION:
            assert isinstance(message, Envelope)
            return self._mempool.admit(message, data[1:])
        if number in _BEACON_NUMBERS:
            self._beacon.receive(sender, number, message, now)
        else:
            self._engine.receive(sender, number, message, now)
        return None

    def _step(self, now: Now) -> list[ReplicaEffect]:
        """Let every part act until none has more to do; each round needs news of the last."""
        self._tick(now)
        self._beacon.delta_ms = self._engine.delta_ms
        busy = True
        while busy:
            busy = self._flush()
            busy |= self._collect(self._engine.advance(now), now)
            busy |= self._collect(self._beacon.advance(now), now)
        self._schedule_resend(now)
        effects, self._effects = self._effects, []
        if self._records:
            effects.insert(0, Persist(tuple(self._records)))
            self._records = []
        return effects

    def _collect(self, effects: Sequence[Effect], now: Now) -> bool:
        for effect in effects:
            match effect:
                case Persist(records):
                    self._records.extend(records)
                case Committed():
                    self._effects.append(effect)
                    self._finish_block(effect, now)
                case _:
                    self._effects.append(effect)
        return bool(effects)

    def _finish_block(self, block: Committed, now: Now) -> None:
        state = self._execution.take_finalized()
        assert state.height == block.height, f"{state.height} is not {block.height}"
        result = state.result
        for player, seq, receipts in result.actions:
            if player == self.setup.player:
                self._own.pop(seq, None)
                # After a restart nobody waits for the answers.
                for ticket, receipt in zip(self._tickets.pop(seq, ()), receipts, strict=False):
                    if ticket != NO_TICKET:
                        self._effects.append(Answer(ticket, block.height, receipt))
        self._records.extend(
            RollLogged(
                session=roll.session, number=roll.number, height=block.height, proof=roll.proof
            )
            for roll in state.rolls
        )
        if block.height >= self._snapshot_height + SNAPSHOT_BLOCKS:
            self._snapshot_height = block.height
            self._records.append(
                SnapshotLogged(
                    height=block.height,
                    hash=block.hash,
                    state=encode_snapshot(state, block.header.view),
                )
            )
        self._effects.append(Played(block.height, result))
        self._beacon.finalized(state.beacon, now, block=block.hash, wanted=state.game.has_bets())

    # Own operations.

    @property
    def _tip(self) -> ChainState:
        return self._execution.state_of(self._engine.tip.hash)

    def _own_seq(self, state: ChainState) -> int:
        return state.game.accounts[self.setup.player].seq

    def _preview_now(self, now: Now) -> GameState:
        """Return the tip's game with everything of this player applied that it does not hold."""
        tip = self._engine.tip.hash
        if self._preview is None or self._preview[0] != tip:
            state = self._tip
            game = state.game.fork()
            time_ms = max(self._engine.table_clock(now), state.time_ms + 1)
            game.begin_block(state.height + 1, time_ms, state.beacon.can_close())
            for operation in self._pending_on(state):
                game.apply(self.setup.player, operation, 0)
            self._preview = (tip, game)
        return self._preview[1]

    def _pending_on(self, state: ChainState) -> tuple[Operation, ...]:
        known = self._own_seq(state)
        signed = (
            operation
            for seq, action in self._own.items()
            if seq > known
            for operation in action.operations
        )
        return (*signed, *(submission.operation for submission in self._waiting))

    def _flush(self) -> bool:
        """Sign what waits as one action, unless one is under way: then it gathers meanwhile."""
        if not self._waiting or self._last_seq > self._own_seq(self._tip):
            return False
        taken = self._waiting[:OPERATIONS_PER_ACTION_MAX]
        del self._waiting[: len(taken)]
        self._last_seq += 1
        setup = self.setup
        action = sign_action(
            setup.action_signer,
            setup.chain_id,
            setup.player,
            self._last_seq,
            [submission.operation for submission in taken],
        )
        self._tickets[action.seq] = tuple(submission.ticket for submission in taken)
        self._own[action.seq] = action
        self._mempool.add(action)
        self._records.append(ActionLogged(seq=action.seq, envelope=action.envelope))
        self._effects.append(Send(None, frame(Number.ACTION, action.envelope)))
        return True

    def _restore_own(self, records: Sequence[LogRecord]) -> None:
        for record in records:
            if isinstance(record, ActionLogged) and record.seq > self._last_seq:
                action = self._mempool.find(record.envelope, trusted=True)
                assert isinstance(action, Action), f"own action in the journal: {action}"
                self._own[action.seq] = action
        self._last_seq = max((self._last_seq, *self._own))

    def _push(self, peer: ValidatorIndex | None) -> None:
        """Send actions that the chain does not hold yet to one peer, or to all."""
        seqs = self._tip.game.seqs()
        for envelope in self._mempool.beyond(seqs, RESEND_BYTES_MAX):
            self._effects.append(Send(peer, frame(Number.ACTION, envelope)))

    def _schedule_resend(self, now: Now) -> None:
        """Push waiting actions again while no block takes them, ever more slowly."""
        if not self._mempool.has_next(self._tip.game.seqs()):
            self._resend_ms, self._resends = None, 0
            return
        if self._resend_ms is not None and now.mono_ms >= self._resend_ms:
            self._push(None)
            self._resends = min(self._resends + 1, RESEND_STEPS_MAX)
            self._resend_ms = None
        if self._resend_ms is None:
            self._resend_ms = now.mono_ms + (8 * self._engine.delta_ms << self._resends)

    def _tick(self, now: Now) -> None:
        """Say that an agreed timer is due: one player at a time, so that one tick is enough."""
        state = self.final
        due = state.game.due()
        if due is None:
            self._tick_ms = None
            return
        due_ms, session = due
        players = len(state.game.accounts)
        turn = (self.setup.player - state.height) % players
        wait_ms = due_ms + 2 * turn * self._engine.delta_ms - self._engine.table_clock(now)
        if wait_ms > 0:
            self._tick_ms = now.mono_ms + wait_ms
        elif self._ticked != (state.height, session):
            self._ticked = (state.height, session)
            self._tick_ms = None
            self._waiting.append(Submission(NO_TICKET, Tick(session)))
        else:
            self._tick_ms = None


def _base(
    setup: Setup, context: BeaconContext, records: Sequence[LogRecord]
) -> tuple[Tip, ChainState]:
    """Return where the journal lets this node begin: its newest snapshot, or genesis."""
    newest: SnapshotLogged | None = None
    for record in records:
        if isinstance(record, SnapshotLogged):
            newest = record
    if newest is None:
        beacon = BeaconState.genesis(context)
        return genesis(setup.chain_id), genesis_state(setup.params, len(setup.players), beacon)
    view, state = decode_snapshot(newest.state, setup.params, context)
    return Tip(state.height, view, BlockHash(Digest(newest.hash)), state.time_ms), state
