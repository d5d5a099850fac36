"""A counter as the replicated application, and a node of it: the least that agreement needs.

An increment is named by its bytes and counts once. The node pushes the increments that it was given
to everybody, and again while they wait.
"""

from collections.abc import Callable, Sequence

from consensus.effects import ActionLogged, Effect, LogRecord, Now, Persist, Report, Send
from consensus.encoding import DecodeError, Digest, digest, encode
from consensus.engine import Built, Engine
from consensus.messages import BlockHash, Body, Header, Number, frame, parse_frame
from consensus.signing import Envelope, build_envelope, parse_envelope
from consensus.validators import ValidatorIndex

RESEND_DELTAS = 8
RESEND_STEPS_MAX = 5


class Counter:
    """Adds up increments; each is named by its bytes and counts once."""

    def __init__(self, genesis: BlockHash) -> None:
        """Start at nothing."""
        self._states: dict[BlockHash, dict[bytes, None]] = {genesis: {}}
        self._parents: dict[BlockHash, BlockHash] = {}
        self._draft: tuple[BlockHash, dict[bytes, None]] | None = None
        self.base = genesis
        self.pool: dict[bytes, None] = {}

    @property
    def total(self) -> int:
        """Increments that are final."""
        return len(self._states[self.base])

    @property
    def root(self) -> Digest:
        """The root of the final state."""
        return root_of(self._states[self.base])

    def add(self, name: bytes) -> None:
        """Offer an increment."""
        if name not in self._states[self.base]:
            self.pool[name] = None

    def build(self, parent: BlockHash, height: int, time_ms: int, view: int) -> Built:
        """Take everything that the parent's chain does not hold."""
        del height, time_ms
        state = self._states[parent]
        names = tuple(name for name in self.pool if name not in state)
        self._draft = (parent, {**state, **dict.fromkeys(names)})
        return Built((), names, root_of(self._draft[1]), digest("receipts", b""))

    def adopt(self, block: BlockHash) -> None:
        """Keep the draft as this block's state."""
        assert self._draft is not None, "nothing was drafted"
        self._parents[block], self._states[block] = self._draft
        self._draft = None

    def execute(self, block: BlockHash, header: Header, body: Body) -> str | None:
        """Apply increments; a repeated one or another root makes the block invalid."""
        parent = BlockHash(Digest(header.parent_hash))
        assert block not in self._states, "a block is executed once"
        state = dict(self._states[parent])
        for name in body.actions:
            if name in state:
                return "increment twice"
            state[name] = None
        if root_of(state) != header.state_root:
            return "state root differs"
        self._states[block] = state
        self._parents[block] = parent
        return None

    def finalize(self, block: BlockHash) -> None:
        """Drop what does not extend the final block."""
        self.base = block
        kept = {block: self._states[block]}
        for other, parent in self._parents.items():
            if parent in kept:
                kept[other] = self._states[other]
        self._states = kept
        self._parents = {other: parent for other, parent in self._parents.items() if other in kept}
        self.pool = {name: None for name in self.pool if name not in kept[block]}

    def has_work(self, tip: BlockHash) -> bool:
        """Say whether an increment waits that the tip's chain does not hold."""
        state = self._states[tip]
        return any(name not in state for name in self.pool)


def root_of(state: dict[bytes, None]) -> Digest:
    """Return the root of a set of increments."""
    return digest("counter", encode(sorted(state)))


class CounterNode:
    """An engine over a counter, with the inputs of a replica."""

    def __init__(
        self,
        kid: bytes,
        genesis: BlockHash,
        records: Sequence[LogRecord],
        engine: Callable[[Counter], Engine],
    ) -> None:
        """Resume; `engine` makes the agreement over the counter that it is given."""
        self._kid = kid
        self.app = Counter(genesis)
        self._engine = engine(self.app)
        self._sends: list[Effect] = []
        self._seq = 0
        self._resend_ms: int | None = None
        self._resends = 0
        for record in records:
            if isinstance(record, ActionLogged):
                self._seq = record.seq
                self.app.add(parse_envelope(record.envelope).payload)

    @property
    def engine(self) -> Engine:
        """The agreement, for those who watch it."""
        return self._engine

    @property
    def deadline_ms(self) -> int | None:
        """When `handle_deadline` is due."""
        due = (self.engine.deadline_ms, self._resend_ms)
        return min((at for at in due if at is not None), default=None)

    def start(self, now: Now) -> list[Effect]:
        """Begin or resume."""
        self.engine.start(now)
        return self._step(now)

    def peer_up(self, peer: ValidatorIndex, now: Now) -> list[Effect]:
        """Greet a peer."""
        self.engine.peer_up(peer, now)
        return self._step(now)

    def receive(self, batch: Sequence[tuple[ValidatorIndex, bytes]], now: Now) -> list[Effect]:
        """Take frames in order."""
        for sender, data in batch:
            try:
                number, message = parse_frame(data)
            except DecodeError as error:
                self._sends.append(Report(sender, str(error)))
                continue
            if number is Number.ACTION:
                assert isinstance(message, Envelope)
                self.app.add(message.payload)
            else:
                self.engine.receive(sender, number, message, now)
        return self._step(now)

    def entropy(self, data: bytes, now: Now) -> list[Effect]:
        """Nothing here asks for entropy."""
        raise NotImplementedError

    def handle_deadline(self, now: Now) -> list[Effect]:
        """Do what is due."""
        return self._step(now)

    def increment(self, name: bytes, now: Now) -> list[Effect]:
        """Take an increment from the user here: durable, then pushed to everybody."""
        self.app.add(name)
        self._seq += 1
        envelope = self._envelope(name)
        self._sends.append(Persist((ActionLogged(seq=self._seq, envelope=envelope),)))
        self._sends.append(Send(None, frame(Number.ACTION, envelope)))
        return self._step(now)

    def _envelope(self, name: bytes) -> bytes:
        return build_envelope(self._kid, name, bytes(64))  # type: ignore[arg-type]

    def _step(self, now: Now) -> list[Effect]:
        effects = self.engine.advance(now)
        if not self.app.pool:
            self._resend_ms, self._resends = None, 0
        elif self._resend_ms is None or now.mono_ms >= self._resend_ms:
            if self._resend_ms is not None:
                self._resends = min(self._resends + 1, RESEND_STEPS_MAX)
                self._sends += [
                    Send(None, frame(Number.ACTION, self._envelope(name))) for name in self.app.pool
                ]
            self._resend_ms = now.mono_ms + (RESEND_DELTAS * self.engine.delta_ms << self._resends)
        sends, self._sends = self._sends, []
        return [*effects, *sends]
