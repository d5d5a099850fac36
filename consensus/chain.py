"""The chain as one node holds it: blocks by hash, what is executed, what is final (PROTOCOL 7, 10).

Votes and views are unknown here. Blocks above the final one form a small tree of which only
executed blocks have a state in the application; final blocks stay for a while to serve peers.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import msgspec

from consensus.effects import BlockLogged
from consensus.encoding import DecodeError, Digest, decode_as, digest, encode
from consensus.messages import BlockHash, Body, Flag, Header, block_hash, body_hash

FINAL_BLOCKS_MAX = 256
FINAL_BYTES_MAX = 16 << 20
"""Final blocks kept in memory for peers that are a little behind; older ones come from the store."""
OPEN_BLOCKS_MAX = 64
"""Blocks above the final one kept in memory; those voted for are in the store as well."""

LoadBlock: TypeAlias = Callable[[bytes], tuple[bytes, bytes] | None]


@dataclass(frozen=True, slots=True)
class Built:
    """What a leader's application put into a block, executed on the parent's state."""

    system: tuple[bytes, ...]
    actions: tuple[bytes, ...]
    state_root: Digest
    receipts_root: Digest
    flags: Flag = Flag.PLAIN


class Application(Protocol):
    """The replicated state, by block hash: deterministic, synchronous, pure."""

    def build(self, parent: BlockHash, height: int, time_ms: int, view: int) -> Built:
        """Choose and execute the next block's content on the parent's state: a draft for `view`."""
        ...

    def adopt(self, block: BlockHash) -> None:
        """Keep the draft of the last `build` as this block's state."""
        ...

    def execute(self, block: BlockHash, header: Header, body: Body) -> str | None:
        """Execute on the parent's state and keep the result; the text says why it is invalid."""
        ...

    def finalize(self, block: BlockHash) -> None:
        """Make this block's state the base; states that do not extend it are dropped."""
        ...

    def has_work(self, tip: BlockHash) -> bool:
        """Say whether something valid waits that the chain ending at `tip` does not hold."""
        ...


class EpochOfChain(Protocol):
    """Where a block belongs."""

    chain_id: bytes
    epoch: int


class Tip(msgspec.Struct, frozen=True, gc=False):
    """A place on the chain."""

    height: int
    view: int
    hash: BlockHash
    time_ms: int


def genesis(chain_id: bytes) -> Tip:
    """Return the implicit first block: height 0, view 0, final by definition."""
    return Tip(0, 0, BlockHash(digest("genesis", chain_id)), 0)


class Block:
    """A block as received, with its parsed halves, and whether the journal has it."""

    __slots__ = ("body", "body_bytes", "hash", "header", "header_bytes", "logged", "parent")

    def __init__(
        self, hash_: BlockHash, header: Header, body: Body, header_bytes: bytes, body_bytes: bytes
    ) -> None:
        """Join the halves; the caller has checked that the header names the body."""
        self.hash = hash_
        self.parent = BlockHash(Digest(header.parent_hash))
        self.header = header
        self.body = body
        self.header_bytes = header_bytes
        self.body_bytes = body_bytes
        self.logged = False

    def log(self) -> BlockLogged:
        """Return the journal's form, which the caller makes durable."""
        self.logged = True
        return BlockLogged(
            hash=self.hash,
            height=self.header.height,
            view=self.header.view,
            header=self.header_bytes,
            body=self.body_bytes,
        )


def parse_block(header_bytes: bytes, body_bytes: bytes) -> Block:
    """Parse a block and check that the header names the body; raises `DecodeError`."""
    header = decode_as(header_bytes, Header)
    return join_block(block_hash(header_bytes), header, header_bytes, body_bytes)


def join_block(hash_: BlockHash, header: Header, header_bytes: bytes, body_bytes: bytes) -> Block:
    """Parse the body of a header that was parsed and hashed; raises `DecodeError`."""
    body = decode_as(body_bytes, Body)
    if body_hash(body) != header.body_hash:
        raise DecodeError("the header names another body")
    return Block(hash_, header, body, header_bytes, body_bytes)


class Chain:
    """Blocks and their execution above one final block, which only ever moves forward."""

    def __init__(self, app: Application, base: Tip, load_block: LoadBlock) -> None:
        """Begin at `base`, whose state `app` has."""
        self._app = app
        self._load_block = load_block
        self.final = base
        self._executed: dict[bytes, Tip] = {base.hash: base}
        self._parents: dict[bytes, BlockHash] = {}
        self._open: dict[bytes, Block] = {}
        self._recent: dict[bytes, Block] = {}
        self._recent_order: deque[Block] = deque()
        self._recent_bytes = 0

    def tip_of(self, wanted: bytes) -> Tip | None:
        """Return where an executed block stands that is final or above it."""
        return self._executed.get(wanted)

    def get(self, wanted: bytes) -> Block | None:
        """Return a block above the final one, from memory or from the journal."""
        block = self._open.get(wanted)
        if block is None and (found := self._load_block(wanted)) is not None:
            block = parse_block(*found)
            block.logged = True
            self.add(block)
        return block

    def bytes_of(self, wanted: bytes) -> tuple[bytes, bytes] | None:
        """Return the bytes (header, body) of any block that is still held here."""
        block = self._open.get(wanted) or self._recent.get(wanted)
        if block is None:
            return self._load_block(wanted)
        return block.header_bytes, block.body_bytes

    def add(self, block: Block) -> None:
        """Hold a block above the final one; the lowest goes when there are too many."""
        if block.hash in self._open or block.header.view <= self.final.view:
            return
        self._open[block.hash] = block
        if len(self._open) > OPEN_BLOCKS_MAX:
            del self._open[min(self._open.values(), key=lambda known: known.header.view).hash]

    def trace(self, target: BlockHash, *, executed: bool) -> tuple[list[Block], BlockHash]:
        """Return the blocks held up to `target`, oldest first, and what the oldest builds on.

        They begin above the newest executed ancestor if `executed`, else above the final block. What
        they build on is that one when nothing is missing, else a block to fetch. A path whose oldest
        block stands no higher than the final one conflicts.
        """
        path: list[Block] = []
        root = target
        while root != self.final.hash and not (executed and root in self._executed):
            block = self.get(root)
            if block is None:
                break
            path.append(block)
            if block.header.height <= self.final.height:
                break
            root = block.parent
        path.reverse()
        return path, root

    def execute(self, block: Block) -> str:
        """Execute a block whose parent is executed; return why it is invalid, or nothing."""
        if block.hash in self._executed:
            return ""
        header = block.header
        parent = self._executed[block.parent]
        if header.height != parent.height + 1 or header.parent_view != parent.view:
            return "height or parent view is wrong"
        if why := self._app.execute(block.hash, header, block.body):
            return why
        self._remember(block)
        return ""

    def build(
        self,
        parent: Tip,
        place: "EpochOfChain",
        *,
        view: int,
        time_ms: int,
        proposer: int,
        justification: tuple[bytes, tuple[bytes, ...]],
    ) -> Block:
        """Make a block of what the application drafts on `parent`, executed, and hold it."""
        height = parent.height + 1
        built = self._app.build(parent.hash, height, time_ms, view)
        body = Body(*justification, built.system, built.actions)
        header = Header(
            version=1,
            chain_id=place.chain_id,
            epoch=place.epoch,
            view=view,
            height=height,
            time_ms=time_ms,
            parent_view=parent.view,
            parent_hash=parent.hash,
            proposer=proposer,
            flags=built.flags,
            body_hash=body_hash(body),
            state_root=built.state_root,
            receipts_root=built.receipts_root,
        )
        header_bytes = encode(header)
        block = Block(block_hash(header_bytes), header, body, header_bytes, encode(body))
        self._app.adopt(block.hash)
        self._remember(block)
        self.add(block)
        return block

    def finalize(self, block: Block) -> None:
        """Move the final block forward to an executed child of it."""
        assert block.parent == self.final.hash, f"height {block.header.height} skips a block"
        self.final = self._executed[block.hash]
        self._app.finalize(block.hash)
        self._open = {
            known.hash: known
            for known in self._open.values()
            if known.header.view > self.final.view
        }
        self._forget_states()
        self._serve(block)

    def _remember(self, block: Block) -> None:
        header = block.header
        self._executed[block.hash] = Tip(header.height, header.view, block.hash, header.time_ms)
        self._parents[block.hash] = block.parent

    def _forget_states(self) -> None:
        """Keep executed blocks that extend the final one; the application does the same."""
        parents, self._parents = self._parents, {}
        executed, self._executed = self._executed, {self.final.hash: self.final}
        for known, parent in parents.items():  # a parent was executed before its children
            if parent in self._executed:
                self._executed[known] = executed[known]
                self._parents[known] = parent

    def _serve(self, block: Block) -> None:
        self._recent[block.hash] = block
        self._recent_order.append(block)
        self._recent_bytes += len(block.body_bytes)
        while len(self._recent_order) > FINAL_BLOCKS_MAX or self._recent_bytes > FINAL_BYTES_MAX:
            old = self._recent_order.popleft()
            self._recent_bytes -= len(old.body_bytes)
            del self._recent[old.hash]
