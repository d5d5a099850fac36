"""Fetching a certified block with all its unknown ancestors, and serving them (PROTOCOL 10).

Headers come backwards by hash from the certified block until one builds on a block that is known
here; bodies then come forward. Whatever a peer sends is held against hashes that a certificate
proves, so any one honest peer is enough, and a lying or silent one costs a time-out.
"""

from collections import deque
from collections.abc import Callable

from consensus.chain import Block, Chain, parse_block
from consensus.encoding import DecodeError, Digest, decode_as
from consensus.messages import (
    HEADERS_PER_REQUEST_MAX,
    BlockHash,
    Blocks,
    GetBlocks,
    Header,
    block_hash,
)
from consensus.peers import Peers
from consensus.validators import ValidatorIndex

HASHES_MAX = 100_000
"""Hashes of unfetched blocks held in one fetch, about 10 MB. Of a longer absence the newest are
forgotten: their turn comes when the older ones are applied."""
OPEN_HASHES_MAX = 48
"""The same for blocks that are certified but not final: an honest chain has only a few."""
BODIES_PER_REQUEST = 16
BODIES_FIRST = 4
"""Most often one block is missing, so the first request asks for bodies at once."""
BLOCKS_BYTES_MAX = 768 << 10
"""The bodies in one answer: under the message limit with room for its headers."""
FETCH_DELTAS = 4
SILENCES_MAX = 6
"""A peer has this many Δ̂ to answer; the time doubles with each silence in a row, up to 2**6."""


class Fetch:
    """One fetch. `final`: the target is finalized, so its ancestors may be applied as they come."""

    def __init__(self, target: BlockHash, *, final: bool, height: int) -> None:
        """Begin at the certified block `target`, with `height` final here."""
        self.target = target
        self.final = final
        self.height = height
        self._hashes: deque[BlockHash] = deque(maxlen=HASHES_MAX)  # newest first
        self._wanted = target  # the next header
        self.is_connected = False
        self.is_beside = False  # a certified chain that does not hold the final block
        self._blocks: dict[BlockHash, Block] = {}

    def ask(self) -> GetBlocks:
        """Return the next request."""
        if not self.is_connected:
            if not self._hashes:
                return GetBlocks(self._wanted, BODIES_FIRST, 0)
            return GetBlocks(self._wanted, HEADERS_PER_REQUEST_MAX, 1)
        for back in range(min(BODIES_PER_REQUEST, len(self._hashes)), 0, -1):
            if self._hashes[-back] not in self._blocks:
                return GetBlocks(self._hashes[-back], back, 0)
        raise AssertionError("every body of the window is here and none was taken")

    def take(self, answer: Blocks, knows: Callable[[bytes], bool]) -> tuple[int, str]:
        """Take an answer; return how many of its blocks were wanted, and what is wrong with it.

        An answer to an older request counts as well; one that nobody asked for counts nothing.
        """
        taken = 0
        if answer.blocks and block_hash(answer.blocks[0][0]) != answer.hash:
            return 0, "block that is not the one asked for"
        for header_bytes, body_bytes in answer.blocks:
            found = block_hash(header_bytes)
            if self.is_connected:
                fault = self._take_body(found, header_bytes, body_bytes)
            else:
                fault = self._take_header(found, header_bytes, body_bytes, knows)
            if fault:
                return taken, fault
            taken += fault is not None
        return taken, ""

    def _take_header(
        self,
        found: BlockHash,
        header_bytes: bytes,
        body_bytes: bytes,
        knows: Callable[[bytes], bool],
    ) -> str | None:
        """Return a fault, "" when taken, None when this block is not wanted."""
        if found != self._wanted:
            return None
        try:
            header = decode_as(header_bytes, Header)
            if body_bytes and len(self._blocks) < BODIES_PER_REQUEST:
                self._blocks[found] = parse_block(header_bytes, body_bytes)
        except DecodeError:
            return "block that does not parse"
        self._hashes.append(found)
        self._wanted = BlockHash(Digest(header.parent_hash))
        self.is_connected = knows(header.parent_hash)
        self.is_beside = not self.is_connected and header.height <= self.height
        return ""

    def _take_body(self, found: BlockHash, header_bytes: bytes, body_bytes: bytes) -> str | None:
        for back in range(1, min(BODIES_PER_REQUEST, len(self._hashes)) + 1):
            if self._hashes[-back] == found:
                break
        else:
            return None
        if found in self._blocks or not body_bytes:
            return None
        try:
            self._blocks[found] = parse_block(header_bytes, body_bytes)
        except DecodeError:
            return "block whose body is not its header's"
        return ""

    def next_block(self) -> Block | None:
        """Return the oldest block if its body has come, and forget it."""
        if not self.is_connected or not self._hashes:
            return None
        block = self._blocks.pop(self._hashes[-1], None)
        if block is not None:
            self._hashes.pop()
        return block

    @property
    def is_done(self) -> bool:
        """Whether every block was handed out."""
        return self.is_connected and not self._hashes

    @property
    def is_barren(self) -> bool:
        """Whether a target that is not final leads nowhere: beside the final block or too deep.

        An honest chain leaves `OPEN_HASHES_MAX` blocks open at most; and a view that was given up
        may have a notarized block that nobody built on.
        """
        return not self.final and (self.is_beside or len(self._hashes) > OPEN_HASHES_MAX)


def serve(chain: Chain, ask: GetBlocks) -> Blocks | None:
    """Return the answer to a request, or None when the first block is not here."""
    blocks: list[tuple[bytes, bytes]] = []
    wanted, size = ask.hash, 0
    while len(blocks) < ask.count and (found := chain.bytes_of(wanted)) is not None:
        header, body = found
        size += len(header) + (0 if ask.headers_only else len(body))
        if blocks and size > BLOCKS_BYTES_MAX:
            break
        blocks.append((header, b"" if ask.headers_only else body))
        wanted = decode_as(header, Header).parent_hash
    return Blocks(ask.hash, tuple(blocks)) if blocks else None


class Fetcher:
    """Drives one fetch at a time over the peers, going on past the lying and the silent ones."""

    def __init__(self, chain: Chain, peers: Peers) -> None:
        """Want nothing yet."""
        self._chain = chain
        self._peers = peers
        self._fetch: Fetch | None = None
        self._peer = ValidatorIndex(0)
        self._asked = 0
        self._silences = 0
        self._barren: dict[BlockHash, None] = {}  # not sought again on this final block
        self.deadline_ms: int | None = None
        self.conflict = False  # two final chains: more than f validators lie

    def seek(self, target: BlockHash | None, *, final: bool, leader: ValidatorIndex) -> None:
        """Fetch `target` next, from its proposer first; None when nothing is missing.

        A fetch of a final block is finished before another begins: it stays final.
        """
        fetch = self._fetch
        if target is None or (final and fetch is not None and not fetch.final):
            fetch = self._fetch = None
        if fetch is not None and (fetch.target == target or fetch.final):
            return
        self._fetch = None
        self.deadline_ms = None
        if target is not None and (final or not self.is_barren(target)):
            self._fetch = Fetch(target, final=final, height=self._chain.final.height)
            self._peer = leader if leader != self._peers.me else self._peers.after(leader)
            self._silences = 0
            self.deadline_ms = 0

    def moved(self) -> None:
        """The final block moved: begin anew where the headers do not reach down to it yet."""
        self._barren.clear()
        if self._fetch is not None and not self._fetch.is_connected:
            self._fetch = self.deadline_ms = None

    def ask(self, now_ms: int, delta_ms: int) -> tuple[ValidatorIndex, GetBlocks] | None:
        """Return whom to ask for what, when that is due."""
        if self._fetch is None or self.deadline_ms is None or now_ms < self.deadline_ms:
            return None
        if self.deadline_ms:
            self._silences += 1
            self._peer = self._peers.after(self._peer)
        request = self._fetch.ask()
        self._asked = request.count
        self.deadline_ms = now_ms + (FETCH_DELTAS * delta_ms << min(self._silences, SILENCES_MAX))
        return self._peer, request

    def take(self, sender: ValidatorIndex, answer: Blocks) -> str:
        """Take an answer; return what is wrong with it, or nothing."""
        fetch = self._fetch
        if fetch is None:
            return ""
        taken, fault = fetch.take(answer, self._knows)
        if taken:
            self._silences = 0
            self.deadline_ms = 0
        short = taken < self._asked and 2 * _size(answer) < BLOCKS_BYTES_MAX
        if sender == self._peer and (fault or (taken and short)):
            self._peer = self._peers.after(self._peer)
            self.deadline_ms = 0
        self.conflict = fetch.final and fetch.is_beside
        if fetch.is_barren:
            self._barren[fetch.target] = None
            self._fetch = self.deadline_ms = None
        return fault

    def is_barren(self, target: BlockHash) -> bool:
        """Say whether a fetch of `target` that is not final came to nothing on this final block."""
        return target in self._barren

    def next_block(self) -> tuple[Block, bool] | None:
        """Return the next block in order of height, and whether it is known to be final."""
        fetch = self._fetch
        while fetch is not None and (block := fetch.next_block()) is not None:
            if block.header.height > self._chain.final.height:
                return block, fetch.final
        if fetch is not None and fetch.is_done:
            self._fetch = self.deadline_ms = None
        return None

    def _knows(self, wanted: bytes) -> bool:
        """Say whether a fetched block can be built on `wanted`: executed, or applied before it."""
        if self._fetch is None or not self._fetch.final:
            return self._chain.tip_of(wanted) is not None
        _, root = self._chain.trace(BlockHash(Digest(wanted)), executed=False)
        return root == self._chain.final.hash


def _size(answer: Blocks) -> int:
    return sum(len(header) + len(body) for header, body in answer.blocks)
