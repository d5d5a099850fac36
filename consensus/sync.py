"""Fetching a certified block with all its unknown ancestors (PROTOCOL 10).

Headers come backwards by hash from the certified block until one builds on a block that is known
here; bodies then come forward. Whatever a peer sends is held against hashes that a certificate
proves, so any one honest peer is enough and a lying one costs a time-out.
"""

from collections.abc import Callable

from consensus.encoding import DecodeError, decode_as
from consensus.messages import (
    HEADERS_PER_REQUEST_MAX,
    BlockHash,
    Blocks,
    GetBlocks,
    Header,
    block_hash,
)

HEADERS_MAX = 100_000
"""Headers held in one fetch, about 25 MB; a longer absence needs a snapshot."""
BODIES_PER_REQUEST = 16


class Fetch:
    """One fetch. `final`: the target is finalized, so its ancestors may be applied as they come."""

    def __init__(self, target: BlockHash, *, final: bool) -> None:
        """Begin at the certified block `target`."""
        self.target = target
        self.final = final
        self.deadline_ms = 0
        self._wanted: bytes = target
        self._headers: list[tuple[BlockHash, bytes]] = []  # newest first
        self._connected = False
        self._window = BODIES_PER_REQUEST
        self._bodies: dict[BlockHash, bytes] = {}

    def ask(self, deadline_ms: int) -> GetBlocks:
        """Return the next request; unanswered at the deadline, another peer is asked."""
        self.deadline_ms = deadline_ms
        if not self._connected:
            return GetBlocks(self._wanted, HEADERS_PER_REQUEST_MAX, 1)
        count = min(self._window, len(self._headers))
        return GetBlocks(self._headers[-count][0], count, 0)

    def take(self, answer: Blocks, knows: Callable[[bytes], bool], now_ms: int) -> str:
        """Take an answer; return what is wrong with it, or nothing. Unasked answers are ignored."""
        if not self._connected:
            return self._take_headers(answer, knows, now_ms)
        return self._take_bodies(answer, now_ms)

    def _take_headers(self, answer: Blocks, knows: Callable[[bytes], bool], now_ms: int) -> str:
        if answer.hash != self._wanted:
            return ""
        for header_bytes, _ in answer.blocks:
            found = block_hash(header_bytes)
            if found != self._wanted:
                return "header that its descendant does not name"
            try:
                header = decode_as(header_bytes, Header)
            except DecodeError:
                return "header that does not parse"
            self._headers.append((found, header_bytes))
            self._wanted = header.parent_hash
            if knows(header.parent_hash):
                self._connected = True
                break
            if len(self._headers) > HEADERS_MAX:
                return "chain that is longer than a fetch may be"
        self.deadline_ms = now_ms
        return ""

    def _take_bodies(self, answer: Blocks, now_ms: int) -> str:
        count = min(self._window, len(self._headers))
        if not count or answer.hash != self._headers[-count][0]:
            return ""
        expected = self._headers[-count:]
        for (found, header), (got, body) in zip(expected, answer.blocks, strict=False):
            if got != header:
                return "block that its descendant does not name"
            self._bodies[found] = body
        if len(answer.blocks) < count:
            self._window = max(1, count // 2)
        self.deadline_ms = now_ms
        return ""

    def next_block(self) -> tuple[bytes, bytes] | None:
        """Return the oldest block whose body has come, as (header, body), and forget it."""
        if not self._connected or not self._headers:
            return None
        found, header = self._headers[-1]
        body = self._bodies.get(found)
        if body is None:
            return None
        del self._bodies[found]
        self._headers.pop()
        return header, body

    def refuse(self) -> None:
        """The last block was not what its header says: fetch from the target again."""
        self.__init__(self.target, final=self.final)  # type: ignore[misc]
