"""The proofs of fault that a node holds until the chain has them, over restarts (PROTOCOL 9.3).

There is one for each member that was caught, for a member is convicted once. So whatever strangers
show, there are no more than members that ever voted, of 23 KiB each. What comes in or goes is a
record of the journal; the caller has it durable before anything else of the same step happens.
"""

from collections.abc import Sequence

from consensus.effects import EvidenceErased, EvidenceLogged, LogRecord
from node.membership import Membership

PROOFS_BYTES_MAX = 64 << 10
"""Proofs of fault in one block or message; the largest is 23 KiB. Others wait for the next one."""


class EvidencePool:
    """See the module's text. Who verifies a proof, and against whom it is, is the caller's."""

    def __init__(self, records: Sequence[LogRecord] = ()) -> None:
        """Hold what a journal holds."""
        self._proofs = {r.slot: r.proof for r in records if isinstance(r, EvidenceLogged)}
        self.fresh: list[LogRecord] = []
        """Records of what came and went that nobody has made durable yet."""
        self.changes = 0
        """How often it has changed: what was looked up before stands as long as this does."""

    def __contains__(self, proof: bytes) -> bool:
        return proof in self._proofs.values()

    def held(self) -> tuple[tuple[int, bytes], ...]:
        """Return the members that were caught, by slot, and the proof against each."""
        return tuple(self._proofs.items())

    def add(self, slot: int, proof: bytes) -> None:
        """Hold a valid proof against a member, unless one is held."""
        if slot not in self._proofs:
            self._proofs[slot] = proof
            self._note(EvidenceLogged(slot=slot, proof=proof))

    def erase(self, slot: int) -> None:
        """Forget the proof against a member: it has done its work, or can do it no more."""
        if self._proofs.pop(slot, None) is not None:
            self._note(EvidenceErased(slot=slot))

    def _note(self, record: LogRecord) -> None:
        self.fresh.append(record)
        self.changes += 1

    def take_fresh(self) -> tuple[LogRecord, ...]:
        """Return, once, what has to be durable before anything else of this step happens."""
        records, self.fresh = tuple(self.fresh), []
        return records

    def against(self, membership: Membership) -> list[bytes]:
        """Return proofs against members that are not convicted, as many as one block has room for."""
        waiting, size = [], 0
        for slot, proof in self._proofs.items():
            if not membership.members[slot].cheated:
                size += len(proof)
                if size > PROOFS_BYTES_MAX:
                    break
                waiting.append(proof)
        return waiting
