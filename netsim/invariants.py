"""What must hold at every step of every run, stated apart from the code that it judges (1.18)."""

from consensus.effects import Committed, Effect, Persist, Send, VoteLogged
from consensus.encoding import DecodeError, decode_as
from consensus.messages import Number, VoteKind, VotePayload, parse_frame
from consensus.signing import Envelope


class ViolatedError(AssertionError):
    """An invariant does not hold; the text names it."""


class Invariants:
    """Watches the effects of honest hosts before they are performed."""

    def __init__(self, kids: dict[bytes, int], byzantine: tuple[int, ...] = ()) -> None:
        """Know which key id belongs to which host, and whom to leave unjudged."""
        self._kids = kids
        self._byzantine = byzantine
        self._durable: dict[tuple[int, int, int], bytes] = {}
        self._sent: dict[tuple[int, int, int], bytes] = {}
        self._final: dict[int, bytes] = {}
        self._heights: dict[int, int] = {}
        self._states: dict[int, bytes] = {}
        self._views: dict[int, int] = {}

    def heights(self) -> dict[int, int]:
        """Return the final height of each honest host that has committed."""
        return dict(self._heights)

    def restarted(self, host: int, height: int) -> None:
        """A host came back with this final height: it may not have shrunk below what is stored."""
        if height > self._heights.get(host, 0):
            raise ViolatedError(f"G5 host {host} restarts above what it finalized")
        self._heights[host] = height

    def observe(self, host: int, effect: Effect) -> None:
        """Check one effect; raises `ViolatedError`."""
        if host in self._byzantine:
            return
        match effect:
            case Persist(records):
                for record in records:
                    if isinstance(record, VoteLogged):
                        self._vote_is_durable(host, record)
            case Send(_, data) if data[0] == Number.VOTE:
                self._vote_is_sent(host, data)
            case Committed():
                self._committed(host, effect)
            case _:
                pass

    def _vote_is_durable(self, host: int, record: VoteLogged) -> None:
        key = (host, record.view, record.kind)
        known = self._durable.setdefault(key, record.digest)
        if known != record.digest:
            raise ViolatedError(f"I1 host {host} votes twice in view {record.view}")
        other = {VoteKind.NULLIFY: VoteKind.FINALIZE, VoteKind.FINALIZE: VoteKind.NULLIFY}.get(
            VoteKind(record.kind)
        )
        if other is not None and (host, record.view, int(other)) in self._durable:
            raise ViolatedError(f"I2 host {host} nullifies and finalizes view {record.view}")
        if record.view <= self._views.get(host, 0):
            raise ViolatedError(f"I5 host {host} votes in view {record.view} below its final one")

    def _vote_is_sent(self, host: int, data: bytes) -> None:
        try:
            _, envelope = parse_frame(data)
            assert isinstance(envelope, Envelope)
            vote = decode_as(envelope.payload, VotePayload)
        except DecodeError as error:
            raise ViolatedError(f"host {host} sends a vote that does not parse") from error
        if self._kids[envelope.kid] != host:
            return
        key = (host, vote.view, vote.kind)
        if self._durable.get(key) != vote.digest:
            raise ViolatedError(
                f"I6 host {host} sends a vote of view {vote.view} that is not durable"
            )
        if self._sent.setdefault(key, data) != data:
            raise ViolatedError(
                f"I6 host {host} sends other bytes for its vote of view {vote.view}"
            )

    def _committed(self, host: int, block: Committed) -> None:
        if block.height != self._heights.get(host, 0) + 1:
            raise ViolatedError(f"G5 host {host} finalizes height {block.height} out of order")
        self._heights[host] = block.height
        self._views[host] = max(self._views.get(host, 0), block.header.view)
        if self._final.setdefault(block.height, block.hash) != block.hash:
            raise ViolatedError(f"G4 two final blocks at height {block.height}")
        if self._states.setdefault(block.height, block.header.state_root) != (
            block.header.state_root
        ):
            raise ViolatedError(f"G6 two states at height {block.height}")
