"""A counter as the replicated application: the smallest thing that a chain can agree on."""

from consensus.encoding import Digest, digest, encode
from consensus.engine import Built
from consensus.messages import BlockHash, Body, Header


class Counter:
    """Adds up increments; each is named by its bytes and counts once."""

    def __init__(self, genesis: BlockHash) -> None:
        """Start at nothing."""
        self._states: dict[BlockHash, dict[bytes, None]] = {genesis: {}}
        self._parents: dict[BlockHash, BlockHash] = {}
        self.base = genesis
        self.pool: dict[bytes, None] = {}

    @property
    def total(self) -> int:
        """Increments that are final."""
        return len(self._states[self.base])

    def add(self, name: bytes) -> None:
        """Offer an increment."""
        if name not in self._states[self.base]:
            self.pool[name] = None

    def build(self, parent: BlockHash, height: int, time_ms: int) -> Built:
        """Take everything that the parent's chain does not hold."""
        del height, time_ms
        state = self._states[parent]
        names = tuple(name for name in self.pool if name not in state)
        root = _root({**state, **dict.fromkeys(names)})
        return Built((), names, root, digest("receipts", b""))

    def execute(self, block: BlockHash, header: Header, body: Body) -> str | None:
        """Apply increments; a repeated one or another root makes the block invalid."""
        parent = BlockHash(Digest(header.parent_hash))
        state = dict(self._states[parent])
        for name in body.actions:
            if name in state:
                return "increment twice"
            state[name] = None
        if _root(state) != header.state_root:
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


def _root(state: dict[bytes, None]) -> Digest:
    return digest("counter", encode(sorted(state)))
