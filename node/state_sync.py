"""Fetching a whole state, and serving one: for who is too far behind to execute every block (PROTOCOL 10).

The way up is proven, step by step: each epoch names the next voters, a quorum of theirs made the
anchor final, and its header commits to every leaf of its state. So one honest peer is enough, any
chunk of any peer counts by itself, and a lying or silent peer costs a time-out. Nothing that was
fetched is executed or shown before all of it stands under the header. Answers that counted are
durable, so a node that is stopped meanwhile goes on where it was.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from consensus.chain import Block, parse_block
from consensus.effects import (
    BlockLogged,
    FetchedLogged,
    FetchEnded,
    FinalLogged,
    LogRecord,
    SealLogged,
    SnapshotLogged,
)
from consensus.encoding import DecodeError, Digest, decode_as, digest, encode
from consensus.light import FinalHeader, Trusted, check_final
from consensus.merkle import EMPTY_ROOT, MerkleTree, verify_proof
from consensus.messages import (
    LEAVES_PER_CHUNK_MAX,
    STEPS_PER_ANCHOR_MAX,
    Anchor,
    Blocks,
    GetAnchor,
    GetBlocks,
    GetState,
    Header,
    Number,
    StateChunk,
    block_hash,
    frame,
    parse_frame,
)
from node.execution import Snapshot, Terms, chain_parts, decode_snapshot
from node.game.leaves import GameLeaves
from node.game.session import seats_root_of
from node.steps import EpochStep, follow

BEHIND_BLOCKS = 2_000
"""From so many blocks on a state is fetched instead: two snapshots, half a minute of execution."""
CHUNK_BYTES = 64 << 10
"""Leaves and paths of one chunk; a single leaf that is longer travels alone."""
STEPS_BYTES = 256 << 10
SNAPSHOTS_SERVED = 2
"""The newest ones: who is fetching the older one finishes while the next is made."""
ANSWER_MS = 5_000
"""How long a peer has for an answer before the next one is asked."""
GIVE_UP_MS = 60_000
"""Without any answer that counts for so long, the node goes on with blocks."""
SERVED_BYTES_PER_S, SERVED_BYTES_BURST = 4 << 20, 8 << 20
"""What one peer is served of states in a second, and at once."""

CHAIN, MEMBERS, ACCOUNTS, SESSIONS, BEACON, SEATS = range(6)
_NOWHERE, _NOBODY = bytes(32), -1


def trees_of(snapshot: Snapshot) -> list[tuple[bytes, ...]]:
    """Return the leaves of every tree of a state, by its number."""
    games = snapshot.game.sessions
    chain = encode((snapshot.place, snapshot.closed, snapshot.game.treasury))
    return [
        (chain,),
        snapshot.membership,
        snapshot.game.accounts,
        tuple(leaf for leaf, _ in games),
        snapshot.beacon,
        *(seats for _, seats in games),
    ]


def snapshot_of(trees: Sequence[Sequence[bytes]]) -> Snapshot:
    """Return the state of its trees; raises `DecodeError`."""
    place, closed, treasury = chain_parts(trees[CHAIN][0])
    sessions = tuple(
        (leaf, tuple(seats)) for leaf, seats in zip(trees[SESSIONS], trees[SEATS:], strict=True)
    )
    return Snapshot(
        place,
        closed,
        GameLeaves(treasury, tuple(trees[ACCOUNTS]), sessions),
        tuple(trees[MEMBERS]),
        tuple(trees[BEACON]),
    )


def chain_digest(leaf: bytes) -> Digest:
    """Return the digest of the chain leaf, which stands beside the roots of the other trees."""
    return digest("state/chain", leaf)


class ServedState:
    """One state cut into leaves with their paths; the trees are built when somebody asks."""

    def __init__(self, block: bytes, final: bytes, state: bytes) -> None:
        """Serve an encoded snapshot behind a block; `final` proves that one, empty for a seal."""
        self.hash = block
        self.final = final
        self._state = state
        self._trees: list[tuple[bytes, ...]] = []
        self._paths: dict[int, MerkleTree] = {}
        self._roots: tuple[Digest, ...] = ()

    def chunk(self, ask: GetState) -> StateChunk | None:
        """Return the leaves asked for, at least one; None where there are none."""
        if not self._trees:
            self._trees = trees_of(decode_as(self._state, Snapshot))
            others = (self._tree(number).root() for number in range(MEMBERS, SEATS))
            self._roots = (chain_digest(self._trees[CHAIN][0]), *others)
        if ask.tree >= len(self._trees):
            return None
        content = self._trees[ask.tree]
        if ask.first > len(content) or (content and ask.first == len(content)):
            return None
        leaves: list[bytes] = []
        paths: list[tuple[bytes, ...]] = []
        size = 0
        for index in range(ask.first, min(len(content), ask.first + LEAVES_PER_CHUNK_MAX)):
            path = () if ask.tree == CHAIN else self._tree(ask.tree).proof(index)
            size += len(content[index]) + 34 * len(path) + 8
            if leaves and size > CHUNK_BYTES:
                break
            leaves.append(content[index])
            paths.append(path)
        chain, members, accounts, sessions, beacon = self._roots
        return StateChunk(
            self.hash,
            (chain, members, accounts, sessions, beacon),
            ask.tree,
            len(content),
            ask.first,
            tuple(leaves),
            tuple(paths),
        )

    def _tree(self, number: int) -> MerkleTree:
        if number not in self._paths:
            self._paths[number] = MerkleTree(self._trees[number])
        return self._paths[number]


class StateServer:
    """What this node can lead others on with: the step over each seal, and its newest states."""

    def __init__(self, records: Sequence[LogRecord] = ()) -> None:
        """Begin with what the journal holds."""
        self._steps: dict[int, bytes] = {}
        self._served: dict[bytes, ServedState] = {}
        self._waiting: tuple[bytes, list[bytes]] | None = None  # a state, headers from its block on
        snapshot: SnapshotLogged | None = None
        for record in records:
            match record:
                case SealLogged():
                    self._steps[record.epoch] = record.step
                case SnapshotLogged():
                    snapshot = record
                case _:
                    pass
        if snapshot is not None:
            self._resume(snapshot, records)

    def _resume(self, snapshot: SnapshotLogged, records: Sequence[LogRecord]) -> None:
        if any(isinstance(one, SealLogged) and one.hash == snapshot.hash for one in records):
            self._keep(ServedState(snapshot.hash, b"", snapshot.state))
            return
        headers = {one.hash: one.header for one in records if isinstance(one, BlockLogged)}
        finals = [one for one in records if isinstance(one, FinalLogged)]
        finals = [one for one in finals if one.height >= snapshot.height]
        self._waiting = (snapshot.state, [])
        for final in sorted(finals, key=lambda one: one.height):
            self.committed(headers[final.hash], final.certificate)

    @property
    def is_waiting(self) -> bool:
        """Whether a state waits for a block's certificate to be served."""
        return self._waiting is not None

    def sealed(self, epoch: int, step: bytes, block: bytes, state: bytes) -> None:
        """Keep the step over a seal, and serve the state behind it."""
        self._steps[epoch] = step
        self._waiting = None
        self._keep(ServedState(block, b"", state))

    def snapshot(self, state: bytes) -> None:
        """Serve a state from when its block, the next one committed, is proven final."""
        self._waiting = (state, [])

    def committed(self, header: bytes, certificate: bytes) -> None:
        """Take note of a final block; its certificate may be empty, then a later one's counts."""
        if self._waiting is None:
            return
        state, headers = self._waiting
        headers.append(header)
        if certificate:
            self._waiting = None
            first, *path = headers
            final = encode(FinalHeader(first, tuple(path), certificate))
            self._keep(ServedState(block_hash(first), final, state))

    def _keep(self, served: ServedState) -> None:
        self._served.pop(served.hash, None)
        self._served[served.hash] = served
        while len(self._served) > SNAPSHOTS_SERVED:
            del self._served[next(iter(self._served))]

    def anchor(self, ask: GetAnchor, epoch: int) -> Anchor | None:
        """Return the way from an epoch towards the present one, and the newest state at its end."""
        steps: list[bytes] = []
        size = 0
        for number in range(ask.epoch, epoch):
            step = self._steps.get(number)
            if step is None:
                return None  # it was fetched from elsewhere, without the beginning
            size += len(step)
            if steps and (size > STEPS_BYTES or len(steps) == STEPS_PER_ANCHOR_MAX):
                return Anchor(ask.epoch, tuple(steps), _NOWHERE, b"")
            steps.append(step)
        newest = next(reversed(self._served.values()), None)
        if newest is None or ask.epoch > epoch:
            return None
        return Anchor(ask.epoch, tuple(steps), newest.hash, newest.final)

    def chunk(self, ask: GetState) -> StateChunk | None:
        """Return leaves of a state that is served."""
        served = self._served.get(ask.hash)
        return None if served is None else served.chunk(ask)


@dataclass(frozen=True, slots=True)
class _Target:
    """The final block whose state is fetched."""

    hash: bytes
    header: Header
    proof: FinalHeader


class StateSync:
    """One fetch of a state, from a block that is final here to one far above it."""

    def __init__(
        self, terms: Terms, trusted: Trusted, peers: Mapping[int, None], now_ms: int
    ) -> None:
        """Begin at the newest final block here, as `trusted` names it; `peers` are those linked."""
        self._terms = terms
        self._trusted = trusted
        self.base = trusted.height
        """The height of the own final block: while a state is fetched no block is made final."""
        self._peers = peers
        self._peer = _NOBODY
        self._asked_ms: int | None = None
        self._progress_ms = now_ms
        self._silences = 0
        self._seals: list[SealLogged] = []
        self._seal: FinalHeader | None = None  # that of the last step
        self._way: list[Anchor] = []  # what led to the target, one step each
        self._parts = 0
        self._fresh: list[LogRecord] = []
        self._target: _Target | None = None
        self._roots: tuple[bytes, ...] = ()
        self._trees: list[list[bytes]] = []
        self._todo: deque[int] = deque()
        self._now_ms = now_ms
        self.block: Block | None = None
        """The block of the state, once all of the state is here."""

    @property
    def is_leaping(self) -> bool:
        """Whether a state far ahead is proven final: until it is here no block is executed."""
        return self._target is not None

    @property
    def height(self) -> int:
        """The height of the state that is fetched, 0 while there is none."""
        return 0 if self._target is None else self._target.header.height

    @property
    def leaves(self) -> int:
        """How many leaves of it are here."""
        return sum(map(len, self._trees))

    def resume(self, fetched: Sequence[FetchedLogged]) -> bool:
        """Take the answers of before a restart, held against everything once more.

        Say whether they lead to a state. If not, this fetch is to be dropped.
        """
        for one in sorted(fetched, key=lambda record: record.part):
            parts = self._parts
            try:
                message = parse_frame(one.message)[1]
            except DecodeError:  # another version of this program wrote it
                return False
            match message:
                case Anchor():
                    counts = not self._climb(message)
                case StateChunk():
                    counts = not self.take_chunk(_NOBODY, message) and self._parts > parts
                case _:
                    counts = False
            if not counts:
                return False
        self._fresh.clear()
        return self.is_leaping

    def take_fresh(self) -> list[LogRecord]:
        """Return, once, what is to be durable of the latest answers."""
        fresh, self._fresh = self._fresh, []
        return fresh

    def _keep(self, message: bytes) -> None:
        self._fresh.append(FetchedLogged(part=self._parts, message=message))
        self._parts += 1

    def is_over(self, now_ms: int) -> bool:
        """Say whether nobody has helped for too long, of those who were asked."""
        return self._peer != _NOBODY and now_ms - self._progress_ms >= GIVE_UP_MS

    @property
    def deadline_ms(self) -> int:
        """When `ask` has something to say."""
        return 0 if self._asked_ms is None else self._asked_ms + ANSWER_MS

    def ask(self, now_ms: int) -> tuple[int, bytes] | None:
        """Return whom to ask for what now, if anybody."""
        self._now_ms = now_ms
        if not self._peers or now_ms < self.deadline_ms:
            return None
        if self._peer == _NOBODY:
            self._progress_ms = now_ms
        if self._asked_ms is not None or self._peer not in self._peers:
            self._turn()
        self._asked_ms = now_ms
        return self._peer, self._request()

    def _request(self) -> bytes:
        if self._target is None:
            return frame(Number.GET_ANCHOR, GetAnchor(self._trusted.epoch))
        if not self._todo:
            return frame(Number.GET_BLOCKS, GetBlocks(self._target.hash, 1, 0))
        tree = self._todo[0]
        return frame(Number.GET_STATE, GetState(self._target.hash, tree, len(self._trees[tree])))

    def _turn(self) -> None:
        """Go on to the next peer. When all were asked in vain the state may be served no more."""
        peers = list(self._peers)
        at = peers.index(self._peer) + 1 if self._peer in peers else 0
        self._peer = peers[at % len(peers)]
        self._silences += 1
        if self._silences > 2 * len(peers) and self._target is not None:
            self._silences = 0
            self._target = None
            self._fresh = [FetchEnded()]

    def _moved(self) -> None:
        self._progress_ms = self._now_ms
        self._silences = 0
        self._asked_ms = None

    # Answers. Each returns what is wrong with it, or nothing; unasked ones count nothing.

    def take_anchor(self, sender: int, anchor: Anchor, height: int) -> str:
        """Follow a peer's steps, and take the state at their end for the target.

        `height` is that of the newest final block here: the target has to be far above it.
        """
        if self._target is not None or sender != self._peer:
            return ""
        if anchor.epoch != self._trusted.epoch:
            return ""
        self.base = height
        fault = self._climb(anchor)
        if not fault and (anchor.steps or self.is_leaping):
            self._moved()
        else:
            self._turn()
            self._asked_ms = None if fault else self._asked_ms
        return fault

    def _climb(self, anchor: Anchor) -> str:
        try:
            for data in anchor.steps[self._trusted.epoch - anchor.epoch :]:
                step = decode_as(data, EpochStep)
                following = follow(self._trusted, step, self._terms.verify)
                if isinstance(following, str):
                    return f"step that leads nowhere: {following}"
                epoch = self._trusted.epoch
                self._trusted, self._seal = following
                self._seals.append(
                    SealLogged(
                        epoch=epoch,
                        height=self._trusted.height,
                        hash=self._trusted.hash,
                        certificate=self._seal.certificate,
                        step=data,
                    )
                )
                self._way.append(Anchor(epoch, (data,), _NOWHERE, b""))
            if anchor.hash == _NOWHERE:
                return ""
            proof = decode_as(anchor.final, FinalHeader) if anchor.final else None
        except DecodeError as error:
            return f"anchor that does not parse: {error}"
        return self._take_target(anchor.hash, proof, anchor.final)

    def _take_target(self, named: bytes, proof: FinalHeader | None, final: bytes) -> str:
        if proof is not None:
            header = check_final(self._trusted, proof, self._terms.verify)
            if isinstance(header, str):
                return f"anchor that is not final: {header}"
        elif self._seal is not None:
            header, proof = decode_as(self._seal.header, Header), self._seal
        else:
            return ""  # the seal that this node stands on itself
        if named != block_hash(proof.header):
            return "anchor that proves another block than the one it names"
        if header.height >= self.base + BEHIND_BLOCKS // 2:
            self._target = _Target(named, header, proof)
            self._roots = ()
            self._trees = [[] for _ in range(SEATS)]
            self._todo = deque(range(SEATS))
            self._parts = 0
            for anchor in (*self._way, Anchor(self._trusted.epoch, (), named, final)):
                self._keep(frame(Number.ANCHOR, anchor))
        return ""

    def take_chunk(self, sender: int, chunk: StateChunk) -> str:
        """Take leaves that stand under the state root of the target."""
        target = self._target
        if target is None or chunk.hash != target.hash or not self._todo:
            return ""
        tree = self._todo[0]
        if (chunk.tree, chunk.first) != (tree, len(self._trees[tree])):
            return ""
        fault = self._why_not(chunk, target.header)
        if fault:
            if sender == self._peer:
                self._turn()
                self._asked_ms = None
            return fault
        self._trees[tree] += chunk.leaves
        if len(self._trees[tree]) == chunk.count:
            self._todo.popleft()
            if tree == SESSIONS:
                self._add_seats()
        self._keep(frame(Number.STATE_CHUNK, chunk))
        self._moved()
        return ""

    def _why_not(self, chunk: StateChunk, header: Header) -> str:
        if digest("state", b"".join(chunk.roots)) != header.state_root:
            return f"chunk that is not under the state root of block {header.height}"
        self._roots = chunk.roots
        if chunk.tree == CHAIN:
            is_leaf = len(chunk.leaves) == chunk.count == 1 and not chunk.first
            if not is_leaf or chain_digest(chunk.leaves[0]) != chunk.roots[CHAIN]:
                return "chunk whose chain leaf is another"
            return ""
        root = chunk.roots[chunk.tree] if chunk.tree < SEATS else self._seats_root(chunk.tree)
        if not chunk.leaves:
            return "" if root == EMPTY_ROOT and not chunk.count else "chunk without leaves"
        if len(chunk.leaves) != len(chunk.paths):
            return f"chunk of {len(chunk.leaves)} leaves with {len(chunk.paths)} paths"
        for index, (leaf, path) in enumerate(zip(chunk.leaves, chunk.paths, strict=True)):
            if not verify_proof(root, chunk.count, chunk.first + index, leaf, path):
                return f"chunk with a leaf {chunk.first + index} that is not in tree {chunk.tree}"
        return ""

    def _seats_root(self, tree: int) -> bytes:
        return seats_root_of(self._trees[SESSIONS][tree - SEATS])

    def _add_seats(self) -> None:
        """Ask for the seats of every open game; a free slot has none."""
        for slot, leaf in enumerate(self._trees[SESSIONS]):
            self._trees.append([])
            if leaf:
                self._todo.append(SEATS + slot)

    def take_blocks(self, sender: int, answer: Blocks) -> str:
        """Take the target's block, the last thing that is fetched."""
        target = self._target
        if target is None or self._todo or answer.hash != target.hash or not answer.blocks:
            return ""
        try:
            block = parse_block(*answer.blocks[0])
        except DecodeError as error:
            return f"block that does not parse: {error}"
        if block.hash != target.hash:
            return "block that is not the one asked for"
        if sender == self._peer:
            self._moved()
        self.block = block
        return ""

    def records(self) -> tuple[LogRecord, ...]:
        """Return what makes the journal begin at the fetched state.

        Only when `block` is here. What was fetched stands under a certified root, so that it is
        a state is a promise of the voters; it is rebuilt here once, to see that this node can.
        """
        target, block = self._target, self.block
        assert target is not None, "records are of a target"
        assert block is not None, "records come with the block"
        state = encode(snapshot_of(self._trees))
        rebuilt = decode_snapshot(state, self._terms)
        assert rebuilt.root == target.header.state_root, "a state of proven leaves has their root"
        return (
            FetchEnded(),
            *self._seals,
            block.log(),
            FinalLogged(
                height=target.header.height,
                view=target.header.view,
                hash=target.hash,
                certificate=b"" if target.proof.path else target.proof.certificate,
            ),
            SnapshotLogged(height=target.header.height, hash=target.hash, state=state),
        )
