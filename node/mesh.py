"""Links to the other members of a table, and the bounds on what they may cost (PROTOCOL 14).

The owner of the replica pulls: link changes, then frames, fairly from every peer. It pushes: frames
into one bounded outbox a peer, and who belongs to the table, as that changes. It never waits for a
peer, and nothing that a peer or a stranger does can make this node hold more than the limits below,
slow the others down, or end it.
"""

import logging
import math
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import trio

from consensus.messages import Number
from consensus.validators import ValidatorIndex
from node.addresses import AddressBook
from node.errors import OperatorError
from transport.base import Address, Counters, Fault, LinkClosed, LinkRefused, parse_address
from transport.link import MESSAGE_BYTES_MAX, Credentials, Link
from transport.tcp import Door, dial

log = logging.getLogger(__name__)

OUTBOX_BYTES_MAX = 4 << 20
"""What waits for one peer, in flight included; beyond it frames are dropped, the protocol repeats."""
FRAME_COST_BYTES = 64
"""Charged for each queued frame beside its bytes, so that tiny ones cannot add up to objects."""
DIRECT_BYTES_MAX = 64 << 10
"""Up to here a turn's frames for a peer are handed to the system by the owner itself, which saves a
task switch for each peer; more waits for the peer's own task."""
INBOX_FRAMES_MAX = 200
INBOX_BYTES_MAX = 1 << 20
"""From here on a peer is not read until the owner has taken some: only that peer feels it."""
BACKOFF_SECONDS_MIN = 0.1
BACKOFF_SECONDS_MAX = 5.0
SECOND_DIAL_SECONDS = 5.0
"""How long the greater key waits for the smaller one to dial, for it may not be able to."""
HOLD_OFF_SECONDS = 5.0
"""An offender's link stays closed for this long."""
FAREWELL_SECONDS = 60.0
"""How long a link with a member that has left lasts: enough to see that the table let it go."""


@dataclass(slots=True)
class PeerCounters:
    """What passed between this node and one peer since the start."""

    frames_received: int = 0
    frames_sent: int = 0
    bytes_received: int = 0
    bytes_sent: int = 0
    writes: int = 0
    links: int = 0
    dropped: int = 0
    """Frames that found the outbox full."""
    absent: int = 0
    """Frames for which there was no link."""
    hold_offs: int = 0
    """Times that its link was closed for what it did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerStatus:
    """One peer as a person wants to see it."""

    name: str
    up: bool
    remote: str
    queued_bytes: int
    counters: PeerCounters


@dataclass(frozen=True, slots=True)
class Contact:
    """Who has a slot of the table. One that `left` is not dialled, and its links are short."""

    slot: int
    identity: bytes
    name: str
    left: bool = False


class Gate(Protocol):
    """Who takes the links of newcomers, on the port of the table."""

    def expects(self, identity: bytes) -> bool:
        """Say whether this identity is let in to ask for a place, or to be handed the table."""
        ...

    async def receive(self, link: Link) -> list[bytes]:
        """Run such a link to its end, or return its first frames if it is a member's."""
        ...


class _Channel:
    """One open link and what waits to go out on it."""

    __slots__ = (
        "by_smaller",
        "counters",
        "link",
        "owes_send",
        "queued_bytes",
        "scope",
        "waiting",
        "wanted",
    )

    def __init__(self, link: Link, counters: PeerCounters, *, by_smaller: bool) -> None:
        self.link = link
        self.counters = counters
        self.by_smaller = by_smaller  # dialled by the smaller of the two identity keys
        self.scope = trio.CancelScope()
        self.waiting: list[bytes] = []
        self.queued_bytes = 0
        self.owes_send = False  # the system has not taken all of the last direct send
        self.wanted = trio.Event()

    def queue(self, frame: bytes) -> None:
        """Let a frame go out behind those that wait, with the next `flush` or when `run` starts."""
        self.waiting.append(frame)
        self.queued_bytes += len(frame) + FRAME_COST_BYTES

    def flush(self) -> None:
        """Send what waits at once if that needs no waiting, else let the task of the link do it."""
        if self.queued_bytes <= DIRECT_BYTES_MAX and not self.link.is_sending:
            frames, self.waiting = self.waiting, []
            self.owes_send = not self.link.send_nowait(frames)
            self.count(frames, self.queued_bytes)
            if not self.owes_send:
                self.queued_bytes = 0
                return
        self.wanted.set()

    async def run(self) -> None:
        """Send in one write whatever could not be sent at once, for as long as the link is open."""
        try:
            while True:
                while not (self.waiting or self.owes_send):
                    self.wanted = trio.Event()
                    await self.wanted.wait()
                frames, self.waiting = self.waiting, []
                cost = self.queued_bytes
                self.owes_send = False
                await self.link.send(frames)
                self.queued_bytes -= cost
                self.count(frames, sum(map(len, frames)) + FRAME_COST_BYTES * len(frames))
        except LinkClosed:
            return  # the reader learns it too, and says so

    def count(self, frames: Sequence[bytes], cost: int) -> None:
        self.counters.frames_sent += len(frames)
        self.counters.bytes_sent += cost - FRAME_COST_BYTES * len(frames)
        self.counters.writes += 1

    def close(self, why: str) -> None:
        """End the link soon, from any task, without waiting."""
        log.info("link closed remote=%s reason=%s", self.link.remote, why)
        self.scope.cancel()


@dataclass(slots=True)
class _Peer:
    index: ValidatorIndex
    identity: bytes
    name: str
    left: bool
    gone: bool = False
    channel: _Channel | None = None
    inbox: deque[bytes] = field(default_factory=deque)
    inbox_bytes: int = 0
    drained: trio.Event = field(default_factory=trio.Event)
    unlinked: trio.Event = field(default_factory=trio.Event)
    stirred: trio.Event = field(default_factory=trio.Event)
    """Set when an address was learnt: there may be somewhere to dial now."""
    held_until: float = 0.0
    counters: PeerCounters = field(default_factory=PeerCounters)

    @property
    def is_full(self) -> bool:
        return len(self.inbox) >= INBOX_FRAMES_MAX or self.inbox_bytes >= INBOX_BYTES_MAX


class Mesh:
    """A direct link to every other member, as far as they can be reached."""

    def __init__(  # noqa: PLR0917  (who, with what, and whom to wake)
        self,
        chain_id: bytes,
        contacts: Sequence[Contact],
        book: AddressBook,
        credentials: Credentials,
        wake: Callable[[], None],
        counters: Counters | None = None,
    ) -> None:
        """`wake` is called, often and from any task, when there is something to take."""
        self.counters = counters or Counters()
        self.gate: Gate | None = None
        """Takes the links of those who ask to join; None lets nobody in but members."""
        self._chain_id = chain_id
        self._book = book
        self._credentials = credentials
        self._wake = wake
        self._peers: dict[int, _Peer] = {}
        self._others: list[_Peer] = []
        self._by_identity: dict[bytes, _Peer] = {}
        self._untended: list[_Peer] = []
        self._grown = trio.Event()
        self._changes: list[tuple[ValidatorIndex, bool]] = []
        self._unflushed: list[_Channel] = []
        self._turn = 0
        self.update(contacts)

    def update(self, contacts: Sequence[Contact]) -> None:
        """Take note of who belongs to the table; who is not named any more loses its link."""
        named = {contact.slot: contact.identity for contact in contacts}
        for slot in [s for s, peer in self._peers.items() if peer.identity != named.get(s)]:
            self._forget(self._peers.pop(slot))  # what was heard of this slot was wrong
        for contact in contacts:
            known = self._peers.get(contact.slot)
            if known is not None:
                if contact.left and not known.left and known.channel is not None:
                    known.channel.scope.deadline = trio.current_time() + FAREWELL_SECONDS
                known.name, known.left = contact.name, contact.left
                continue
            index = ValidatorIndex(contact.slot)
            peer = _Peer(index, contact.identity, contact.name, contact.left)
            self._peers[contact.slot] = peer
            if contact.identity != self._credentials.identity:
                self._others.append(peer)
                self._by_identity[contact.identity] = peer
                self._untended.append(peer)
        self._grown.set()

    def _forget(self, peer: _Peer) -> None:
        peer.gone = True
        peer.stirred.set()
        if peer in self._others:
            self._others.remove(peer)
            del self._by_identity[peer.identity]
        if peer.channel is not None:
            peer.channel.close("another member has its place")

    async def run(
        self,
        listen: Address,
        task_status: "trio.TaskStatus[list[Address]]" = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Listen and dial until cancelled; reports the bound addresses.

        Raises:
            OperatorError: The address cannot be listened on (in a group, as it leaves a nursery).
        """
        door = Door(self._credentials, self._chain_id, self._may_enter, self.counters, self._accept)
        async with trio.open_nursery() as nursery:
            try:
                bound = await nursery.start(door.serve, listen)
            except OSError as error:
                raise OperatorError(f"cannot listen on {listen}: {error.strerror}") from None
            task_status.started(bound)
            while True:
                for peer in self._untended:
                    nursery.start_soon(self._keep_linked, peer)
                self._untended.clear()
                self._grown = trio.Event()
                await self._grown.wait()

    # What the owner pulls and pushes: plain calls, no waiting.

    @property
    def has_input(self) -> bool:
        """Whether there is something to take."""
        return bool(self._changes) or any(peer.inbox for peer in self._others)

    def take_changes(self) -> Sequence[tuple[ValidatorIndex, bool]]:
        """Return (peer, is up) since the last call, in order; a new link repeats its `True`."""
        if not self._changes:
            return ()
        changes, self._changes = self._changes, []
        return changes

    def take(self, limit: int) -> list[tuple[ValidatorIndex, bytes]]:
        """Return up to `limit` frames: one of each peer in turn, in order of arrival per peer."""
        batch: list[tuple[ValidatorIndex, bytes]] = []
        waiting = [peer for peer in self._others if peer.inbox]
        if not waiting:
            return batch
        self._turn = (self._turn + 1) % len(waiting)
        ring = waiting[self._turn :] + waiting[: self._turn]
        while ring and len(batch) < limit:
            for peer in ring:
                frame = peer.inbox.popleft()
                peer.inbox_bytes -= len(frame)
                batch.append((peer.index, frame))
            ring = [peer for peer in ring if peer.inbox]
            if len(ring) > limit - len(batch):
                del ring[limit - len(batch) :]
        for peer in waiting:
            if not peer.is_full:
                peer.drained.set()
        return batch

    def send(self, to: ValidatorIndex | None, frame: bytes) -> None:
        """Queue a frame for one peer, or for all; dropped and counted when it cannot be queued.

        It goes out with the next `flush`.
        """
        assert 0 < len(frame) <= MESSAGE_BYTES_MAX, f"a frame of {len(frame)} bytes"
        cost = len(frame) + FRAME_COST_BYTES
        chosen = self._others if to is None else filter(None, (self._peers.get(to),))
        for peer in chosen:
            channel = peer.channel
            if channel is None:
                peer.counters.absent += 1
            elif channel.queued_bytes + cost > OUTBOX_BYTES_MAX:
                peer.counters.dropped += 1
            else:
                if not channel.waiting:
                    self._unflushed.append(channel)
                channel.queue(frame)

    def flush(self) -> None:
        """Send what was queued since the last call: once for all that the owner does in a turn."""
        for channel in self._unflushed:
            channel.flush()
        self._unflushed.clear()

    def hold_off(self, index: ValidatorIndex, why: str) -> None:
        """Close the link to an offender, forget what it sent, and refuse it for 5 s."""
        peer = self._peers.get(index)
        if peer is None:  # it was forgotten meanwhile
            return
        peer.held_until = trio.current_time() + HOLD_OFF_SECONDS
        peer.counters.hold_offs += 1
        peer.inbox.clear()
        peer.inbox_bytes = 0
        peer.drained.set()
        log.warning("peer held off peer=%d name=%s reason=%s", index, peer.name, why)
        if peer.channel is not None:
            peer.channel.close(why)

    def statistics(self) -> tuple[PeerStatus, ...]:
        """Return one status for each member, the own one included, in member order."""
        return tuple(
            PeerStatus(
                name=peer.name,
                up=peer.identity == self._credentials.identity or peer.channel is not None,
                remote=peer.channel.link.remote if peer.channel else "",
                queued_bytes=peer.channel.queued_bytes if peer.channel else 0,
                counters=peer.counters,
            )
            for _, peer in sorted(self._peers.items())
        )

    # Tasks.

    def _may_enter(self, identity: bytes) -> bool:
        is_asking = self.gate is not None and self.gate.expects(identity)
        return is_asking or identity in self._by_identity

    async def _accept(self, link: Link) -> None:
        first: list[bytes] = []
        if self.gate is not None and self.gate.expects(link.peer):
            first = await self.gate.receive(link)
            if not first:
                return
        if (peer := self._by_identity.get(link.peer)) is not None:
            await self._run_link(peer, link, dialled=False, first=first)

    async def _keep_linked(self, peer: _Peer) -> None:
        """Dial whenever there is no link: at once with the smaller key, later with the greater."""
        dials_first = self._credentials.identity < peer.identity
        delay = BACKOFF_SECONDS_MIN
        last: str = ""
        while not peer.gone:
            if peer.channel is not None:
                peer.unlinked = trio.Event()
                await peer.unlinked.wait()
            if peer.left or not self._book.addresses_of(peer.identity):
                peer.stirred = trio.Event()
                await peer.stirred.wait()
                continue
            await trio.sleep(max(0.0, peer.held_until - trio.current_time()))
            if not dials_first:
                await trio.sleep(SECOND_DIAL_SECONDS)
                if peer.channel is not None:
                    continue
            lasted, last = await self._dial_all(peer, last)
            if lasted >= BACKOFF_SECONDS_MAX:
                delay = BACKOFF_SECONDS_MIN
            await trio.sleep(_jittered(delay))
            delay = min(2 * delay, BACKOFF_SECONDS_MAX)

    async def _dial_all(self, peer: _Peer, last: str) -> tuple[float, str]:
        """Dial one address after the other until there is a link, that of the last one first.

        Returns how long the link lasted, and where it was.
        """
        addresses = self._book.addresses_of(peer.identity)
        for text in sorted(addresses, key=lambda address: address != last):
            if peer.gone:
                break
            lasted = await self._dial_once(peer, parse_address(text))
            if lasted or peer.channel is not None:
                return lasted, text
        return 0.0, last

    async def _dial_once(self, peer: _Peer, address: Address) -> float:
        """Dial and run the link to its end; return the seconds it lasted, 0 if there was none."""
        opened_at = math.inf
        try:
            link = await dial(
                address,
                self._credentials,
                self._chain_id,
                lambda key: key == peer.identity,
                self.counters,
            )
            opened_at = trio.current_time()
            try:
                await self._run_link(peer, link, dialled=True)
            finally:
                await link.aclose()
        except LinkRefused as error:
            log.debug("dial failed peer=%d address=%s reason=%s", peer.index, address, error)
        except Exception:
            # One link must not end the node, whatever went wrong on it (PROTOCOL 14).
            self.counters.faults[Fault.CRASHED] += 1
            log.exception("link failed peer=%d", peer.index)
        return max(0.0, trio.current_time() - opened_at)

    async def _run_link(
        self, peer: _Peer, link: Link, *, dialled: bool, first: Sequence[bytes] = ()
    ) -> None:
        """Run one link to its end, if it is the one to keep; `first` was received already."""
        by_smaller = dialled == (self._credentials.identity < peer.identity)
        old = peer.channel
        if trio.current_time() < peer.held_until:
            log.info("link refused peer=%d reason=held off after too many faults", peer.index)
            return
        if old is not None and old.by_smaller and not by_smaller:
            log.debug("link refused peer=%d reason=the smaller key's link stays", peer.index)
            return
        if old is not None:
            old.close("replaced by a newer link")  # of two by one dialler, the newest lives
        if peer.gone:
            return
        channel = peer.channel = _Channel(link, peer.counters, by_smaller=by_smaller)
        for frame in self._book.announcements():
            channel.queue(frame)
        peer.counters.links += 1
        self._changed(peer, up=True)
        log.info("link up peer=%d name=%s remote=%s", peer.index, peer.name, link.remote)
        try:
            with channel.scope:
                if peer.left:
                    channel.scope.deadline = trio.current_time() + FAREWELL_SECONDS
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(link.keep_alive)
                    nursery.start_soon(channel.run)
                    await self._read(peer, link, first)
                    nursery.cancel_scope.cancel()
        finally:
            if peer.channel is channel:
                peer.channel = None
                peer.unlinked.set()
                self._changed(peer, up=False)

    async def _read(self, peer: _Peer, link: Link, first: Sequence[bytes]) -> None:
        counters = peer.counters
        try:
            while True:
                received = first or await link.receive()
                first = ()
                frames = self._without_addresses(peer, received)
                size = sum(map(len, frames))
                counters.frames_received += len(frames)
                counters.bytes_received += size
                peer.inbox.extend(frames)
                peer.inbox_bytes += size
                self._wake()
                while peer.is_full:
                    peer.drained = trio.Event()
                    await peer.drained.wait()
        except LinkClosed as error:
            log.info("link down peer=%d name=%s reason=%s", peer.index, peer.name, error)

    def _without_addresses(self, peer: _Peer, frames: Sequence[bytes]) -> Sequence[bytes]:
        """Take out what members say of their addresses; pass on what is news.

        What proves nothing stays in: the owner counts it as a fault like any that does not parse.
        """
        if not any(frame[0] == Number.PEER_ADDRS for frame in frames):
            return frames
        left = []
        for frame in frames:
            if frame[0] != Number.PEER_ADDRS:
                left.append(frame)
                continue
            news = self._book.take(frame[1:], trio.current_time())
            if isinstance(news, str):
                log.info("announcement refused peer=%d reason=%s", peer.index, news)
                left.append(frame)
            elif news is not None:
                for other in self._others:
                    if other.channel is not None and other is not peer:
                        self.send(other.index, frame)
                self.flush()
                self.stir(news)
        return left

    def stir(self, identity: bytes) -> None:
        """Dial a member soon: an address of it was learnt."""
        if (peer := self._by_identity.get(identity)) is not None:
            peer.stirred.set()

    def _changed(self, peer: _Peer, *, up: bool) -> None:
        self._changes.append((peer.index, up))
        self._wake()


def _jittered(seconds: float) -> float:
    """Return half to all of `seconds`, so that a restarted table does not dial in step."""
    return seconds * (500 + secrets.randbelow(501)) / 1000
