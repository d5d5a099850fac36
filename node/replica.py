"""One peer as one pure object: frames, operations and deadlines in, ordered effects out.

`Replica` composes pipeline, mempool, epoch and the replicated game. The runtime performs its effects
with sockets and a disk, the simulator with a heap; neither knows more than this module. Everything
that one input makes durable is one `Persist`, first in the list (PROTOCOL 9).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from consensus.chain import LoadBlock
from consensus.effects import (
    ActionLogged,
    Committed,
    Effect,
    EpochKeysErased,
    EpochKeysLogged,
    FetchedLogged,
    FetchEnded,
    LogRecord,
    Now,
    Persist,
    Report,
    RequestEntropy,
    RollLogged,
    SealLogged,
    Send,
    SnapshotLogged,
)
from consensus.encoding import Digest, decode_as, encode
from consensus.engine import Engine, Tip, genesis
from consensus.light import FinalHeader, Trusted
from consensus.messages import (
    Anchor,
    BlockHash,
    Blocks,
    Flag,
    GetAnchor,
    GetCert,
    GetState,
    Header,
    Message,
    Number,
    StateChunk,
    Status,
    frame,
    parse_frame,
)
from consensus.signing import Envelope, Signer, Verify, key_id
from consensus.timing import earliest
from consensus.validators import ValidatorIndex, Validators
from consensus.votes import Held
from node.effects import Answer, Played, Rebased, ReplicaEffect, Submission
from node.epoch import NO_FLOOR, Epoch, EpochKeys, Floor, Self
from node.execution import (
    NO_SESSION,
    ChainState,
    Terms,
    decode_snapshot,
    encode_snapshot,
    genesis_state,
    open_epoch,
)
from node.game.operations import Tick
from node.game.params import GameParams
from node.game.receipts import DONE, BlockResult, Code, Receipt
from node.game.state import GameState
from node.limits import TokenBucket
from node.membership import MEMBER_OPERATIONS, Member, Membership, NextKeys, SetVote
from node.mempool import OPERATIONS_PER_ACTION_MAX, Action, AnyOperation, Mempool, sign_action
from node.pipeline import MessageProcessor, Parse
from node.state_sync import (
    BEHIND_BLOCKS,
    CHUNK_BYTES,
    GIVE_UP_MS,
    SERVED_BYTES_BURST,
    SERVED_BYTES_PER_S,
    StateServer,
    StateSync,
)
from node.steps import step_of
from node.waiting import Situation

PREVIEWED_MAX = 16
"""With more operations under way than a person has, the next ones are not tried here before they are
signed: each costs as much as in a block. What cannot be done is then refused by the block."""
WAITING_MAX = 65_536
"""Operations of this node that wait for their action; a local caller is told when it is full."""
SNAPSHOT_BLOCKS = 1_000
"""Blocks between two snapshots: a restart executes at most this many again."""
RESEND_BYTES_MAX = 256 << 10
"""Actions pushed again in one go to peers that may have missed them."""
RESEND_DELTAS = 8
RESEND_STEPS_MAX = 5
# Messages that are not for the epoch, and a member of an Enum is found slowly.
_ACTION = Number.ACTION
_OF_STATES = frozenset({Number.GET_ANCHOR, Number.GET_STATE, Number.ANCHOR, Number.STATE_CHUNK})
NO_TICKET = -1
"""The ticket of an operation that the node itself submitted; it gets no answer."""
VOTE_SEED_BYTES, BOX_SECRET_BYTES = 32, 32
"""Entropy of one epoch's keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """Who is at which table, and the private keys of the one who is here.

    `keys` are those that the descriptor, or the request to join, names; later ones are made here
    and kept in the journal as seeds of `make_signer`.
    """

    chain_id: Digest
    members: tuple[Member, ...]
    voters: tuple[int, ...]
    params: GameParams
    identity: Signer
    keys: EpochKeys
    make_signer: Callable[[bytes], Signer]
    verify: Verify
    parse: Parse = parse_frame
    """How frames become messages: nodes of one process may share what they have parsed."""
    slots: int = 0
    """Slots that have a member as far as this node was told: whom it hears before its own state
    has got so far."""


class Replica:
    """See the module's text. One owner calls it; it never blocks and no remote input raises."""

    def __init__(
        self,
        setup: Setup,
        records: Sequence[LogRecord] = (),
        load_block: LoadBlock = lambda _hash: None,
        floor: Floor = NO_FLOOR,
    ) -> None:
        """Resume from what the journal holds; nothing at the first start.

        `floor` says how far this node may have voted and forgotten it, if the journal is not whole.
        """
        self.setup = setup
        self.pipeline = MessageProcessor(setup.parse)
        self._terms = Terms(setup.chain_id, setup.params, setup.verify)
        self._kid = key_id(setup.identity.public_key)
        self._load_block = load_block
        self._keys = [setup.keys]
        self._made: dict[int, EpochKeysLogged] = {}
        self._seals: dict[int, bytes] = {}
        for record in records:
            match record:
                case EpochKeysLogged():
                    self._take_keys(record)
                case SealLogged():
                    self._seals[record.epoch] = record.certificate
                case _:
                    pass
        self._floor = floor
        self._doubted = 0 if floor == NO_FLOOR else len(self._keys)
        self._mempool = Mempool(setup.chain_id, setup.verify)
        base, state = self._base(records)
        self._mempool.prune(state.game.seqs())
        self._epoch = self._begin(base, state, records)
        self._waiting: list[Submission] = []
        self._tickets: dict[int, tuple[int, ...]] = {}
        self._own: dict[int, Action] = {}
        self._last_seq = self._own_seq(self.final)
        self._preview: tuple[BlockHash, GameState] | None = None
        self._snapshot_height = state.height
        self._resend_ms: int | None = None
        self._resends = 0
        self._resend_about: tuple[Tip, int] | None = None  # for which tip and mempool
        self._ticked: tuple[int, AnyOperation] | None = None  # at which height what was said
        self._tick_ms: int | None = None
        self._due: tuple[int, int, AnyOperation] | None = None
        self._due_at: ChainState | None = None  # in which state that is what is due
        self._helped_ms: dict[int, int] = {}
        self._keys_asked = False
        self._records: list[LogRecord] = []
        self._effects: list[ReplicaEffect] = []
        self._server = StateServer(records)
        self._linked: dict[int, None] = {}
        self._sync: StateSync | None = None
        self._fetched = [one for one in records if isinstance(one, FetchedLogged)]
        self._sync_ms = 0  # not before then another state is asked for
        self._spent: dict[int, TokenBucket] = {}
        self._is_over = False
        self.deadline_ms: int | None = None
        """When `handle_deadline` is due, monotonic milliseconds."""
        self._restore_own(records)

    def _base(self, records: Sequence[LogRecord]) -> tuple[BlockHash, ChainState]:
        """Return where the journal lets this node begin: its newest snapshot, or genesis."""
        newest: SnapshotLogged | None = None
        for record in records:
            if isinstance(record, SnapshotLogged):
                newest = record
        if newest is None:
            membership = Membership.genesis(self.setup.members, self.setup.voters)
            return genesis(self.setup.chain_id).hash, genesis_state(self._terms, membership)
        base = BlockHash(Digest(newest.hash))
        state = decode_snapshot(newest.state, self._terms)
        return base, open_epoch(state, base) if state.is_sealed else state

    def _begin(
        self, base: BlockHash, state: ChainState, records: Sequence[LogRecord] = ()
    ) -> Epoch:
        me = Self(
            kid=self._kid,
            keys=self._keys,
            load_block=self._load_block,
            doubted=self._doubted,
            floor=self._floor,
            slots=self.setup.slots,
        )
        return Epoch(self._terms, state, base, me, mempool=self._mempool, records=records)

    # Inputs.

    def start(self, now: Now) -> list[ReplicaEffect]:
        """Begin, or resume after a restart."""
        self._epoch.start(now)
        self._resume_sync(now)
        self._push(None)
        return self._step(now)

    def peer_up(self, peer: ValidatorIndex, now: Now) -> list[ReplicaEffect]:
        """Greet a peer whose link came up, and give it what it may have missed."""
        self._linked[peer] = None
        self._epoch.peer_up(peer, now)
        self._push(peer)
        return self._step(now)

    def receive(
        self, batch: Sequence[tuple[ValidatorIndex, bytes]], now: Now
    ) -> list[ReplicaEffect]:
        """Take frames from authenticated peers, in order."""
        for sender, data in batch:
            taken = self.pipeline.take(data)
            if isinstance(taken, str):
                fault: str | None = taken
            else:
                number, message = taken
                fault = self._dispatch(sender, number, message, data, now)
            if fault is not None:
                self._effects.append(Report(sender, fault))
        return self._step(now)

    def submit(self, batch: Sequence[Submission], now: Now) -> list[ReplicaEffect]:
        """Take operations of the player here.

        What would be refused now is answered at once, while few operations are under way.
        """
        player = self.player
        # Once some were not tried, none is until they are final; the tip is another one by then.
        tried = len(batch) + self._under_way() <= PREVIEWED_MAX
        for submission in batch:
            if player is None:
                receipt = Receipt(Code.STRANGER, (0,))
            elif len(self._waiting) >= WAITING_MAX:
                receipt = Receipt(Code.BLOCK_FULL)
            else:
                receipt = self._try(player, submission.operation, now) if tried else DONE
            if receipt.code:
                self._effects.append(Answer(submission.ticket, 0, receipt))
            else:
                self._waiting.append(submission)
        return self._step(now)

    def entropy(self, data: bytes, now: Now) -> list[ReplicaEffect]:
        """Take the answer to a `RequestEntropy`."""
        self._make_keys(data)
        return self._step(now)

    def handle_deadline(self, now: Now) -> list[ReplicaEffect]:
        """Do what is due; call when `deadline_ms` has come."""
        return self._step(now)

    # What others may look at.

    @property
    def _is_leaping(self) -> bool:
        """Whether a state is being fetched: then no block is executed and no vote cast."""
        return self._sync is not None and self._sync.is_leaping

    @property
    def engine(self) -> Engine:
        """The agreement of the current epoch, for those who watch it."""
        return self._epoch.engine

    @property
    def validators(self) -> Validators:
        """The voters of the current epoch."""
        return self._epoch.execution.validators

    @property
    def votes(self) -> bool:
        """Whether this node votes in the current epoch."""
        return self._epoch.votes

    def situation(self, up: Callable[[int], bool] | None = None) -> Situation:
        """Return what `explain` needs to say why nothing moves; `up` says which peers are linked."""
        final = self.final
        return Situation(
            halted=self.engine.halted,
            muted=self.engine.muted,
            floor=self.engine.floor,
            standing=self.engine.standing(),
            fetched=(self._sync.height, self._sync.leaves) if self._sync is not None else None,
            rolls=self._epoch.rolls_waiting(),
            final=final,
            accused=self._epoch.accused(),
            up=up,
        )

    @property
    def final(self) -> ChainState:
        """Everything replicated, after the last final block."""
        return self._epoch.execution.final

    @property
    def player(self) -> int | None:
        """The slot of this node's member, None while the table has not admitted it."""
        return self.final.membership.slot_of(self._kid)

    @property
    def is_done(self) -> bool:
        """Whether this member has left for good and nobody needs its node any more."""
        return self._epoch.is_left

    def take_replayed(self) -> list[BlockResult]:
        """Return, once, what the journal's blocks above its snapshot did: it was reported before."""
        replayed, execution = self._epoch.execution.replayed, self._epoch.execution
        execution.replayed = []
        return replayed

    @property
    def pending(self) -> tuple[AnyOperation, ...]:
        """The operations of this player that no final block holds."""
        signed = (operation for action in self._own.values() for operation in action.operations)
        return (*signed, *(submission.operation for submission in self._waiting))

    # One step.

    def _dispatch(
        self, sender: ValidatorIndex, number: Number, message: Message, data: bytes, now: Now
    ) -> str | None:
        if number is _ACTION and isinstance(message, Envelope):
            return self._mempool.admit(message, data[1:], self.final.membership)
        if self._sync is not None or number in _OF_STATES:
            match message:
                case GetAnchor() | GetState():
                    self._serve_state(sender, message, now)
                    return None
                case Anchor() | StateChunk():
                    return self._take_state(sender, message)
                case _ if self._sync is not None and self._sync.is_leaping:
                    taken = isinstance(message, Blocks) and self._sync.take_blocks(sender, message)
                    return taken or None
                case _:
                    pass
        match message:
            case Status() | GetCert():
                if isinstance(message, Status):
                    self._see_how_far(message, now)
                if message.epoch != self._epoch.number:
                    self._meet_other_epoch(sender, message.epoch, now)
                    return None
            case _:
                pass
        self._epoch.receive(sender, number, message, now)
        return None

    def _meet_other_epoch(self, peer: ValidatorIndex, epoch: int, now: Now) -> None:
        """Give who is behind what sealed its epoch, or show who is ahead where this node stands."""
        if now.mono_ms < self._helped_ms.get(peer, 0):
            return
        self._helped_ms[peer] = now.mono_ms + self.engine.delta_ms
        if epoch > self._epoch.number:
            self._epoch.peer_up(peer, now)
        elif (seal := self._seals.get(epoch)) is not None:
            self._effects.append(Send(peer, frame(Number.CERTIFICATE, seal)))

    def _step(self, now: Now) -> list[ReplicaEffect]:
        """Let every part act until none has more to do; each round needs news of the last."""
        if self._is_over:
            return []
        if self._sync is not None:
            self._advance_sync(now, self._sync)
        if self._sync is None or not self._is_leaping:
            self._tick(now)
            busy = True
            while busy:
                tip = self._epoch.engine.tip
                if self._waiting:
                    self._flush()
                made = self._epoch.advance(now)
                busy = bool(made) and self._collect(made, now)
                busy |= bool(self._waiting) and self.engine.tip is not tip
            self._schedule_resend(now)
        self.deadline_ms = self._next_deadline()
        effects, self._effects = self._effects, []
        if self._records:
            effects.insert(0, Persist(tuple(self._records)))
            self._records = []
        return effects

    def _next_deadline(self) -> int | None:
        if self._is_over:
            return None
        sync_ms = None
        if self._sync is not None:
            sync_ms = self._sync.deadline_ms if self._linked else None
            if self._sync.is_leaping:
                return sync_ms
        return earliest(self._epoch.deadline_ms, self._resend_ms, self._tick_ms, sync_ms)

    def _collect(self, effects: Sequence[Effect], now: Now) -> bool:
        """Take effects over; say whether a block became final."""
        committed = False
        for effect in effects:
            if isinstance(effect, Persist):
                self._records.extend(effect.records)
                continue
            self._effects.append(effect)
            if isinstance(effect, Committed):
                committed = True
                self._finish_block(effect, now)
        return committed

    def _finish_block(self, block: Committed, now: Now) -> None:
        assert not self._is_leaping, "while a state is fetched nothing else writes the chain"
        state = self._epoch.execution.take_finalized()
        assert state.height == block.height, f"{state.height} is not {block.height}"
        result, own = state.result, state.membership.slot_of(self._kid)
        played = zip(result.actions, block.body.actions, strict=True)
        for (player, seq, receipts), envelope in played:
            if player == own:
                self._answer(block.height, seq, receipts, envelope)
        self._records.extend(
            RollLogged(
                session=roll.session, number=roll.number, height=block.height, proof=roll.proof
            )
            for roll in state.rolls
        )
        sealed = state.place.flags == Flag.SEAL
        if sealed or block.height >= self._snapshot_height + SNAPSHOT_BLOCKS:
            self._snapshot_height = block.height
            snapshot = encode_snapshot(state)
            self._records.append(
                SnapshotLogged(height=block.height, hash=block.hash, state=snapshot)
            )
            if not sealed:
                self._server.snapshot(snapshot)
        if self._server.is_waiting:
            self._server.committed(encode(block.header), block.certificate)
        self._effects.append(Played(block.height, result))
        self._epoch.take_members(state.membership)
        if sealed:
            self._enter_epoch(BlockHash(block.hash), state, now)
            return
        if block.header.parent_view == 0 and self._epoch.number:
            # What belongs to the epoch before counts nowhere any more (PROTOCOL 13.4).
            self._records.append(
                EpochKeysErased(epoch=self._epoch.number, keys=self._keys_in_use(state.membership))
            )
        self._epoch.finalized(state, BlockHash(block.hash), now, block.body.system)

    def _answer(self, height: int, seq: int, receipts: Sequence[Receipt], envelope: bytes) -> None:
        """Say what became of an own action, which another one with the same number may have ousted."""
        signed, tickets = self._own.pop(seq, None), self._tickets.pop(seq, ())
        if signed is not None and not signed.is_same(envelope):
            height, receipts = 0, [Receipt(Code.OTHER_DEVICE, (seq,))] * len(tickets)
        # After a restart nobody waits for the answers.
        for ticket, receipt in zip(tickets, receipts, strict=False):
            if ticket != NO_TICKET:
                self._effects.append(Answer(ticket, height, receipt))

    # Epochs.

    def _enter_epoch(self, seal: BlockHash, state: ChainState, now: Now) -> None:
        """Begin the next epoch on a final seal, and keep what made it final for those behind."""
        proof = self.engine.sealed
        assert proof is not None, "a final seal seals its engine"
        number = self._epoch.number
        self._seals[number] = proof.data
        step = encode(step_of(state.result, self._finality_of(seal, proof)))
        self._records.append(
            SealLogged(
                epoch=number, height=state.height, hash=seal, certificate=proof.data, step=step
            )
        )
        self._server.sealed(number, step, seal, encode_snapshot(state))
        if self._floor is None and self.engine.floor:
            self._floor = (number, self.engine.floor)
        ended, self._epoch = self._epoch, self._begin(seal, open_epoch(state, seal))
        self._epoch.inherit(ended)
        self._preview = None
        self._keys_asked = False
        self._epoch.start(now)
        self._push(None)

    def _finality_of(self, seal: BlockHash, proof: Held) -> FinalHeader:
        """Return what shows a seal final by its certificate, or by that of a tail behind it."""
        headers: list[bytes] = []
        named: bytes = proof.digest
        while True:
            found = self.engine.bytes_of(named)
            assert found is not None, "what seals an epoch is held here"
            headers.append(found[0])
            if named == seal:
                break
            named = decode_as(found[0], Header).parent_hash
        first, *path = reversed(headers)
        return FinalHeader(first, tuple(path), proof.data)

    # States: served to those behind, fetched when this node is.

    def _serve_state(self, peer: ValidatorIndex, ask: GetAnchor | GetState, now: Now) -> None:
        """Answer within the peer's allowance."""
        spent = self._spent.setdefault(peer, TokenBucket(SERVED_BYTES_PER_S, SERVED_BYTES_BURST))
        data = b""
        if spent.take(CHUNK_BYTES, now.mono_ms):
            return
        match ask:
            case GetAnchor():
                if (anchor := self._server.anchor(ask, self._epoch.number)) is not None:
                    data = frame(Number.ANCHOR, anchor)
                    spent.take(CHUNK_BYTES, now.mono_ms)  # it may be several times as long
            case GetState():
                if (chunk := self._server.chunk(ask)) is not None:
                    data = frame(Number.STATE_CHUNK, chunk)
        if data:
            self._effects.append(Send(peer, data))

    def _see_how_far(self, status: Status, now: Now) -> None:
        """Ask for a state when somebody claims to be far ahead; only a proof will count."""
        is_far = status.final_height >= self.final.height + BEHIND_BLOCKS
        if is_far and self._sync is None and now.mono_ms >= self._sync_ms:
            self._sync = self._new_sync(now)

    def _new_sync(self, now: Now) -> StateSync:
        chain_id, number, at = self.setup.chain_id, self._epoch.number, self._epoch.execution
        trusted = Trusted(chain_id, number, at.validators, self.final.height, at.base)
        return StateSync(self._terms, trusted, self._linked, now.mono_ms)

    def _resume_sync(self, now: Now) -> None:
        """Go on with a fetch that a restart has interrupted, if it leads far ahead still."""
        fetched, self._fetched = self._fetched, []
        if not fetched:
            return
        sync = self._new_sync(now)
        if sync.resume(fetched):
            self._sync = sync
        else:
            self._records.append(FetchEnded())

    def _take_state(self, sender: ValidatorIndex, message: Anchor | StateChunk) -> str | None:
        if self._sync is None:
            return None
        match message:
            case Anchor():
                return self._sync.take_anchor(sender, message, self.final.height) or None
            case StateChunk():
                return self._sync.take_chunk(sender, message) or None

    def _advance_sync(self, now: Now, sync: StateSync) -> None:
        """Ask for what is due; end with a new beginning, or with the insight that nobody helps."""
        self._records += sync.take_fresh()
        if sync.block is not None:
            assert self.final.height == sync.base, "a block was made final beside the fetch"
            self._records += sync.records()
            self._effects.append(Rebased(sync.block.header.height))
            self._is_over = True
        elif sync.is_over(now.mono_ms):
            self._sync, self._sync_ms = None, now.mono_ms + GIVE_UP_MS
            self._records.append(FetchEnded())
        elif (request := sync.ask(now.mono_ms)) is not None:
            self._effects.append(Send(ValidatorIndex(request[0]), request[1]))

    def _take_keys(self, record: EpochKeysLogged) -> None:
        self._made[record.epoch] = record
        signer = self.setup.make_signer(record.vote_seed)
        self._keys.append(EpochKeys(signer, record.box_secret))

    def _keys_in_use(self, membership: Membership) -> int:
        """Return the least epoch that keys were made for with which this member may yet vote.

        Who names no keys votes on with the old ones, however many epochs pass.
        """
        slot = membership.slot_of(self._kid)
        if slot is None:
            return 0
        member = membership.members[slot]
        named = (member.consensus_key, member.next_consensus_key)
        for epoch, made in sorted(self._made.items()):
            if self.setup.make_signer(made.vote_seed).public_key in named:
                return epoch
            if epoch > self._epoch.number:
                break
            del self._made[epoch]
        return self._epoch.number + 1

    def _make_keys(self, entropy: bytes) -> None:
        """Make the keys of the next epoch; they are durable before anybody is told of them."""
        epoch = self._epoch.number + 1
        if epoch in self._made:
            return
        record = EpochKeysLogged(
            epoch=epoch,
            vote_seed=entropy[:VOTE_SEED_BYTES],
            box_secret=entropy[VOTE_SEED_BYTES:],
        )
        self._records.append(record)
        self._take_keys(record)

    def _name_keys(self) -> NextKeys | None:
        """Return what names this member's next keys, if that is to be done and they are made.

        It travels with the first action of an epoch, so a table that rests stays at rest; who does
        not act keeps its keys for another epoch.
        """
        player, epoch = self.player, self._epoch.number + 1
        if player is None:
            return None
        member = self.final.membership.members[player]
        if not member.wants or member.next_consensus_key != member.consensus_key:
            return None
        made = self._made.get(epoch)
        if made is None:
            if not self._keys_asked:
                self._keys_asked = True
                self._effects.append(RequestEntropy(VOTE_SEED_BYTES + BOX_SECRET_BYTES))
            return None
        box = X25519PrivateKey.from_private_bytes(made.box_secret).public_key()
        vote_key = self.setup.make_signer(made.vote_seed).public_key
        return NextKeys(epoch, vote_key, box.public_bytes_raw())

    # Own operations.

    @property
    def _tip(self) -> ChainState:
        return self._epoch.execution.state_of(self.engine.tip.hash)

    def _own_seq(self, state: ChainState) -> int:
        player = state.membership.slot_of(self._kid)
        return 0 if player is None else state.game.accounts[player].seq

    def _try(self, player: int, operation: AnyOperation, now: Now) -> Receipt:
        """Return what would become of an operation behind all others that wait here."""
        tip = self.engine.tip.hash
        if self._preview is None or self._preview[0] != tip:
            self._preview = (tip, self._tip.game.fork())
            for other in self._pending_on(self._tip):
                self._foresee(player, other, now)
        return self._foresee(player, operation, now)

    def _foresee(self, player: int, operation: AnyOperation, now: Now) -> Receipt:
        """Apply an operation to the preview as if it came alone in a block of this moment."""
        assert self._preview is not None, "there is a preview"
        if type(operation) in MEMBER_OPERATIONS:
            return DONE  # the block decides: they are rare, and others may come first
        state, game = self._tip, self._preview[1]
        time_ms = max(self.engine.table_clock(now), state.time_ms + 1)
        game.begin_block(state.height + 1, time_ms, state.beacon.can_close())
        return game.apply(player, operation, 0)

    def _under_way(self) -> int:
        """Return how many operations of this player no final block holds."""
        return sum(len(own.operations) for own in self._own.values()) + len(self._waiting)

    def _pending_on(self, state: ChainState) -> list[AnyOperation]:
        """Return the operations of this player that a state does not hold."""
        known = self._own_seq(state)
        pending: list[AnyOperation] = []
        for seq, action in self._own.items():
            if seq > known:
                pending += action.operations
        pending += [submission.operation for submission in self._waiting]
        return pending

    def _flush(self) -> None:
        """Sign what waits as one action, unless one is under way: then it gathers meanwhile."""
        player, setup = self.player, self.setup
        if player is None or self._tip.is_sealed or self._last_seq > self._own_seq(self._tip):
            return
        # One place is for the next keys; what a block would refuse waits for the next one.
        most = min(OPERATIONS_PER_ACTION_MAX - 1, setup.params.operations_per_block)
        taken = self._waiting[:most]
        del self._waiting[: len(taken)]
        if (keys := self._name_keys()) is not None:
            taken.append(Submission(NO_TICKET, keys))
        # A node that lost its journal learns its own last number from the chain.
        self._last_seq = max(self._last_seq, self._own_seq(self._tip)) + 1
        action = sign_action(
            setup.identity,
            setup.chain_id,
            player,
            self._last_seq,
            [submission.operation for submission in taken],
        )
        self._tickets[action.seq] = tuple(submission.ticket for submission in taken)
        self._own[action.seq] = action
        self._mempool.add(action)
        self._records.append(ActionLogged(seq=action.seq, envelope=action.envelope))
        self._effects.append(Send(None, frame(Number.ACTION, action.envelope)))

    def _restore_own(self, records: Sequence[LogRecord]) -> None:
        roster = self.final.membership
        for record in records:
            if isinstance(record, ActionLogged) and record.seq > self._last_seq:
                action = self._mempool.find(record.envelope, roster, trusted=True)
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
        tip, changes, due_ms = self._epoch.engine.tip, self._mempool.changes, self._resend_ms
        seen = self._resend_about
        is_due = due_ms is not None and now.mono_ms >= due_ms
        if not is_due and seen is not None and seen[0] is tip and seen[1] == changes:
            return
        self._resend_about = tip, changes
        if not self._epoch.execution.has_actions(self._tip):
            self._resend_ms, self._resends = None, 0
            return
        if self._resend_ms is not None and now.mono_ms >= self._resend_ms:
            self._push(None)
            self._resends = min(self._resends + 1, RESEND_STEPS_MAX)
            self._resend_ms = None
        if self._resend_ms is None:
            wait_ms = RESEND_DELTAS * self.engine.delta_ms << self._resends
            self._resend_ms = now.mono_ms + wait_ms

    def _tick(self, now: Now) -> None:
        """Say that an agreed timer is due: one voter at a time, so that one tick is enough."""
        state, timing = self._epoch.execution.final, self._epoch.engine.timing
        if self._due_at is not state:
            self._due_at, self._due = state, self._find_due(state)
        if self._due is None:
            self._tick_ms = None
            return
        due_ms, turn, operation = self._due
        wait_ms = due_ms + 2 * turn * timing.delta_ms - timing.table_clock(now)
        if wait_ms > 0:
            self._tick_ms = now.mono_ms + wait_ms
            return
        self._tick_ms = None
        if self._ticked != (state.height, operation):
            self._ticked = (state.height, operation)
            self._waiting.append(Submission(NO_TICKET, operation))

    def _find_due(self, state: ChainState) -> tuple[int, int, AnyOperation] | None:
        """Return the next agreed time, how many voters speak up before this one, and what it says."""
        due, player = state.next_due(), self.player
        if due is None or player is None or not self.votes:
            return None
        voters = state.membership.voters
        turn = (voters.index(player) - state.height) % len(voters)
        # Any block does for the voters to change: to wish what one wished before makes one.
        vote = SetVote(state.membership.members[player].wants)
        return due[0], turn, vote if due[1] == NO_SESSION else Tick(due[1])
