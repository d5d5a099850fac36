"""What a node knows of where its peers stand, and what it owes each of them (PROTOCOL 8).

Only what came over a peer's own link counts, so nothing here is verified, and a lie costs its teller
a certificate that it might have missed.
"""

from consensus.messages import VoteKind
from consensus.validators import ValidatorIndex

ANSWER_BYTES_PER_MS = 16 << 10
ANSWER_BURST_MS = 1_000
"""Blocks are served to one peer at 16 MB/s after a burst of as much; more requests are dropped."""

_FINALIZE = VoteKind.FINALIZE


class Peer:
    """One peer, as its own messages show it."""

    __slots__ = ("final_view", "help_ms", "reminded", "served_ms", "silent", "stated", "view")

    def __init__(self) -> None:
        """Know nothing."""
        self.view = 0
        self.final_view = 0
        self.reminded = True  # was shown its own votes since its link came up
        self.stated = False  # told where it stands since this node started
        self.silent = False  # missed its last turn, not heard since
        self.help_ms = 0  # when it may be helped again
        self.served_ms = 0


class Peers:
    """All parties but this one: the validators by their index, then those who only follow."""

    def __init__(self, parties: int, me: ValidatorIndex) -> None:
        """Know nothing of anybody."""
        self._peers: list[Peer] = []
        self.me = me
        self._turn = me
        self.others: tuple[tuple[ValidatorIndex, Peer], ...] = ()
        """Every peer with its index, in order."""
        self.grow(parties)

    def grow(self, parties: int) -> None:
        """Take in parties that joined behind the known ones."""
        self._peers += [Peer() for _ in range(parties - len(self._peers))]
        self.others = tuple(
            (ValidatorIndex(index), peer)
            for index, peer in enumerate(self._peers)
            if index != self.me
        )

    def __getitem__(self, index: int) -> Peer:
        return self._peers[index]

    def next_turn(self) -> ValidatorIndex:
        """Return the peers one after the other, for ever; there must be one."""
        self._turn = self.after(self._turn)
        return self._turn

    def after(self, index: int) -> ValidatorIndex:
        """Return the peer that follows an index, around the table."""
        following = (index + 1) % len(self._peers)
        return ValidatorIndex(
            following if following != self.me else (following + 1) % len(self._peers)
        )

    def voted(self, index: ValidatorIndex, kind: int, view: int) -> None:
        """A peer sent its vote: it is in that view, or has seen its notarization."""
        peer = self._peers[index]
        if kind == _FINALIZE:
            peer.final_view = max(peer.final_view, view)
            view += 1
        peer.view = max(peer.view, view)

    def may_be_served(self, index: ValidatorIndex, size: int, now_ms: int) -> bool:
        """Say whether a peer's allowance covers an answer of `size` bytes, and take it off."""
        peer = self._peers[index]
        if peer.served_ms > now_ms + ANSWER_BURST_MS:
            return False
        peer.served_ms = max(peer.served_ms, now_ms) + size // ANSWER_BYTES_PER_MS
        return True
