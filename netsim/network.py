"""A network of pure replicas on one heap, from one seed: hosts, crashes, batches, time.

A simulated node is anything with the inputs of a replica. Its effects are performed one by one, and
a crash may fall between any two of them: what was persisted stays, everything else is gone. When a
frame arrives is the fabric's to say. Frames that reach a host in one millisecond are one batch.
Times are virtual milliseconds.
"""

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from consensus.effects import Committed, Halt, Now, Persist, Report, RequestEntropy, Send
from consensus.messages import Number
from consensus.validators import ValidatorIndex
from netsim.chance import US_PER_MS
from netsim.dialects import Dialect
from netsim.fabric import Fabric, Links, Mutation, pairs_between
from netsim.host import Disk, DiskError, Host, Simulated
from netsim.trace import Trace
from node.mesh import OUTBOX_BYTES_MAX
from transport.link import STALL_SECONDS

EVENTS_PER_MS_MAX = 20_000
"""More events at one virtual instant than any honest run has: time stands still, say so."""
BATCH_FRAMES_MAX = 100
"""Frames handed over at once, as in the runtime."""

_FIRSTS_MAX = 1 << 40
_CALL, _MAIL, _TIMER = 0, 1, 2
_FRAME, _DEADLINE, _ENTROPY, _PEER_UP, _START = range(5)
_INTACT = Mutation.INTACT  # asked of each frame, and a member of an Enum is found slowly
_VOTE, _CERTIFICATE = int(Number.VOTE), int(Number.CERTIFICATE)


@dataclass(slots=True)
class Counts:
    """What happened in a run."""

    frames: int = 0
    bytes: int = 0
    votes: int = 0
    certificates: int = 0
    blocks: int = 0  # committed at the host that committed most
    crashes: int = 0
    faults: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Outbox:
    """What one host has for another while a queue on the way is full, oldest first."""

    since_ms: int
    """When it was last empty, or something of it went on its way."""
    frames: deque[bytes] = field(default_factory=deque)
    bytes: int = 0


class Network:
    """Hosts and the event heap."""

    def __init__(
        self,
        seed: int | str,
        hosts: int,
        boot: Callable[[int, Disk], Simulated],
        *,
        links: Links | None = None,
        fabric: Fabric | None = None,
        observe: Callable[[int, object], None] = lambda _host, _effect: None,
        trace: Trace | None = None,
    ) -> None:
        """Prepare the hosts; `observe` sees each effect that is performed, records once stored."""
        self.rng = random.Random(seed)
        self.fabric = fabric or Fabric(hosts, self.rng, links=links)
        self.trace = trace or Trace()
        self.now_ms = 0
        self.hosts = [Host() for _ in range(hosts)]
        self.counts = Counts()
        self.drops: Callable[[int, int, bytes], bool] | None = None  # from, to, frame
        self.heard: Callable[[int, Sequence[tuple[ValidatorIndex, bytes]]], None] | None = None
        """Sees what a host's node is about to take in."""
        self.dialects: dict[int, Dialect] = {}
        """Hosts that run another version of the program."""
        self._boot = boot
        self._observe = observe
        self._heap: list[tuple[int, int, int, int, Callable[[], None] | None]] = []
        self._mail: list[dict[int, list[tuple[ValidatorIndex, bytes]]]] = [{} for _ in self.hosts]
        self._outboxes: dict[tuple[int, int], _Outbox] = {}
        self._sequence = 0
        self._firsts = 0

    # Time.

    def at(self, when_ms: int, what: Callable[[], None]) -> None:
        """Do something at a virtual time."""
        self._push(max(when_ms, self.now_ms), _CALL, -1, what)

    def first_at(self, when_ms: int, what: Callable[[], None]) -> None:
        """Do something before all else of a time to come, and behind what was first there before.

        So it makes no difference whether it is known from the start or only just.
        """
        assert when_ms > self.now_ms or not self.now_ms, "what is over cannot be preceded"
        self._firsts += 1
        heapq.heappush(self._heap, (when_ms, self._firsts - _FIRSTS_MAX, _CALL, -1, what))

    def _push(
        self, when_ms: int, kind: int, host: int, what: Callable[[], None] | None = None
    ) -> None:
        self._sequence += 1
        heapq.heappush(self._heap, (when_ms, self._sequence, kind, host, what))

    def run(self, until_ms: int) -> None:
        """Let virtual time pass; events at `until_ms` are included."""
        events = 0
        heap = self._heap
        while heap and heap[0][0] <= until_ms:
            when_ms, _, kind, host, what = heapq.heappop(heap)
            events = events + 1 if when_ms == self.now_ms else 0
            assert events < EVENTS_PER_MS_MAX, f"virtual time stands still at {when_ms} ms"
            self.now_ms = when_ms
            if kind == _MAIL:
                self._deliver(host)
            elif kind == _TIMER:
                self._fire(host)
            elif what is not None:
                what()
        self.now_ms = until_ms

    def clock(self, index: int) -> Now:
        """Return the clocks of a host."""
        return self.hosts[index].clock.now(self.now_ms)

    # Hosts.

    def boot(self, index: int) -> None:
        """Start a host's node from its disk; links to the others that are up come up."""
        host = self.hosts[index]
        assert host.node is None, f"host {index} is up"
        try:
            host.disk.check()
        except DiskError as error:
            self.trace.note(self.now_ms, index, "refuses", str(error))
            return
        host.boots += 1
        host.crash_after = None
        host.frozen_until_ms = 0
        self._mail[index] = {}
        self.trace.note(self.now_ms, index, "boot")
        node = host.node = self._boot(index, host.disk)
        self.trace.input(self.now_ms, index, _START, 1)
        self.perform(index, node.start(self.clock(index)))
        for other, peer in enumerate(self.hosts):
            if other != index and peer.node is not None and self.is_linked(index, other):
                self.link_up(other, index)
                self.link_up(index, other)

    def is_linked(self, a: int, b: int) -> bool:
        """Say whether a connection between two hosts can stand: both directions work."""
        blocked = self.fabric.blocked
        return (a, b) not in blocked and (b, a) not in blocked

    def link_up(self, index: int, peer: int) -> None:
        """Tell a host that a peer can be reached."""
        node = self.hosts[index].node
        if node is not None and self.hosts[peer].node is not None:
            self.trace.input(self.now_ms, index, _PEER_UP, 1)
            self.perform(index, node.peer_up(ValidatorIndex(peer), self.clock(index)))

    def crash(self, index: int, why: str = "power") -> None:
        """Take the power from a host; what its disk had only cached is lost in part."""
        host = self.hosts[index]
        host.node = None
        host.crash_after = None
        lost = host.disk.power_cut(self.rng)
        self.fabric.forget(index)
        for pair in [pair for pair in self._outboxes if index in pair]:
            del self._outboxes[pair]
        self.counts.crashes += 1
        self.trace.note(self.now_ms, index, "crash", f"{why}, {lost} records lost" if lost else why)

    # Links.

    @property
    def links(self) -> Links:
        """How every link behaves."""
        return self.fabric.links

    @links.setter
    def links(self, links: Links) -> None:
        self.fabric.set_links(links)

    def partition(self, *groups: Sequence[int], one_way: bool = False) -> None:
        """Cut the links between groups and no others; one way only from earlier groups to later."""
        self.fabric.unblock(list(self.fabric.blocked))
        self.fabric.block(pairs_between(groups, one_way=one_way))

    def heal(self) -> None:
        """Mend every link; both ends notice."""
        self.mended(list(self.fabric.blocked))

    def mended(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Undo one cut of each of these links; both ends of those that work again notice."""
        for a, b in self.fabric.unblock(pairs):
            if self.is_linked(a, b):
                self.link_up(a, b)
                self.link_up(b, a)

    @property
    def under_way(self) -> int:
        """How many frames are on their way, or wait for a host that stands still."""
        return sum(len(batch) for mail in self._mail for batch in mail.values())

    # Effects.

    def perform(self, index: int, effects: Sequence[object]) -> None:
        """Perform effects in order; the power may fail between any two of them."""
        host = self.hosts[index]
        node = host.node
        asked: list[int] = []
        late_us = 0
        for effect in effects:
            if host.crash_after is not None:
                host.crash_after -= 1
                if host.crash_after < 0:
                    self.crash(index)
                    return
            if isinstance(effect, Persist):
                try:
                    host.disk.append(effect.records)
                except DiskError as error:
                    self.crash(index, str(error))
                    return
                late_us += host.write_us
            self._observe(index, effect)
            if isinstance(effect, Send):
                dialect = self.dialects.get(index) if self.dialects else None
                for said in (effect.frame,) if dialect is None else dialect.words(effect.frame):
                    self._send(index, effect.to, said, late_us)
                continue
            match effect:
                case Committed(height):
                    self.counts.blocks = max(self.counts.blocks, height)
                case RequestEntropy(size):
                    asked.append(size)
                case Report(_, fault):
                    self.counts.faults[fault] = self.counts.faults.get(fault, 0) + 1
                case Halt(reason):
                    self.crash(index, f"halted: {reason}")
                    return
                case _:
                    pass  # stored already, or news for whoever observes
        if late_us:
            self._busy(host, late_us)
        for size in asked:
            if node is not None and host.node is node:
                self.trace.input(self.now_ms, index, _ENTROPY, 1)
                self.perform(index, node.entropy(self.rng.randbytes(size), self.clock(index)))
        self._set_timer(index)

    def _busy(self, host: Host, more_us: int) -> None:
        until_ms = self.now_ms + -(-more_us // US_PER_MS)
        host.frozen_until_ms = max(host.frozen_until_ms, until_ms)

    def _set_timer(self, index: int) -> None:
        host = self.hosts[index]
        if host.node is None:
            return
        due_ms = host.node.deadline_ms
        if due_ms is None:
            return
        due_ms, timer_ms = host.clock.when(due_ms), host.timer_ms
        if timer_ms is not None and due_ms >= timer_ms:
            return
        due_ms = max(due_ms, self.now_ms)
        if timer_ms is None or due_ms < timer_ms:
            host.timer_ms = due_ms
            self._push(due_ms, _TIMER, index)

    def _fire(self, index: int) -> None:
        host = self.hosts[index]
        if host.timer_ms is None or host.timer_ms > self.now_ms:
            return  # an earlier timer replaced this one
        host.timer_ms = None
        node = host.node
        if node is None:
            return
        if host.frozen_until_ms > self.now_ms:
            host.timer_ms = host.frozen_until_ms
            self._push(host.frozen_until_ms, _TIMER, index)
            return
        due_ms = node.deadline_ms
        if due_ms is None or host.clock.when(due_ms) > self.now_ms:
            self._set_timer(index)
            return
        self.trace.input(self.now_ms, index, _DEADLINE, 1)
        if host.cost_us:
            self._busy(host, host.cost_us)
        try:
            effects = node.handle_deadline(host.clock.now(self.now_ms))
        except DiskError as error:
            self.crash(index, str(error))
            return
        self.perform(index, effects)

    # Frames.

    def _send(self, index: int, to: ValidatorIndex | None, data: bytes, late_us: int) -> None:
        self.trace.said(self.now_ms, index, data)
        frames = 0
        for peer in range(len(self.hosts)) if to is None else (to,):
            if peer == index or peer < 0:
                continue
            frames += 1
            self.transmit(index, peer, data, late_us)
        counts, number = self.counts, data[0]
        counts.frames += frames
        counts.bytes += frames * len(data)
        if number == _VOTE:
            counts.votes += frames
        elif number == _CERTIFICATE:
            counts.certificates += frames

    def transmit(self, index: int, peer: int, data: bytes, late_us: int = 0) -> None:
        """Put one frame on a link, as an adversary may as well."""
        if self.drops is not None and self.drops(index, peer, data):
            return
        outbox = self._outboxes.get((index, peer)) if self._outboxes else None
        if outbox is not None:
            self._keep(outbox, data)
        elif not self._put(index, peer, data, late_us):
            outbox = self._outboxes[index, peer] = _Outbox(self.now_ms)
            self._keep(outbox, data)
            self._offer_later(index, peer, outbox)

    def _keep(self, outbox: _Outbox, data: bytes) -> None:
        """Let a frame wait behind others; a node drops what is too much, as a whole."""
        if outbox.bytes + len(data) <= OUTBOX_BYTES_MAX:
            outbox.frames.append(data)
            outbox.bytes += len(data)

    def _offer_later(self, index: int, peer: int, outbox: _Outbox) -> None:
        def offer() -> None:
            if self._outboxes.get((index, peer)) is not outbox:
                return  # one of them crashed meanwhile
            while outbox.frames:
                if not self._put(index, peer, outbox.frames[0]):
                    if self.now_ms - outbox.since_ms < STALL_SECONDS * 1_000:
                        self._offer_later(index, peer, outbox)
                    else:  # the link ends, with all that waits for it, and comes up again
                        del self._outboxes[index, peer]
                        self._relink(index, peer)
                    return
                outbox.since_ms = self.now_ms
                outbox.bytes -= len(outbox.frames.popleft())
            del self._outboxes[index, peer]

        self.at(self.now_ms + self.fabric.retry_us() // US_PER_MS, offer)

    def _put(self, index: int, peer: int, data: bytes, late_us: int = 0) -> bool:
        """Put a frame on its way, whether it arrives or not; a stream may have to wait instead."""
        now_us = self.now_ms * US_PER_MS + late_us
        arrives = self.fabric.submit(now_us, index, peer, len(data))
        if arrives is None and self.links.stream:
            return False
        if not arrives:
            self.trace.message(self.now_ms, index, peer, -1, data)
        for at_us, state in arrives or ():
            if state is not _INTACT:
                # The link's own protection finds it and ends the link, which comes up again.
                self.trace.message(self.now_ms, index, peer, -1, data)
                self.at(at_us // US_PER_MS, partial(self._relink, index, peer))
                continue
            when_ms = -(-at_us // US_PER_MS)
            self.trace.message(self.now_ms, index, peer, when_ms, data)
            mail = self._mail[peer]
            if when_ms in mail:
                mail[when_ms].append((ValidatorIndex(index), data))
            else:
                mail[when_ms] = [(ValidatorIndex(index), data)]
                self._push(when_ms, _MAIL, peer)
        return True

    def _relink(self, index: int, peer: int) -> None:
        if self.is_linked(index, peer):
            self.link_up(index, peer)
            self.link_up(peer, index)

    def _post(self, when_ms: int, peer: int, frames: list[tuple[ValidatorIndex, bytes]]) -> None:
        mail = self._mail[peer]
        if when_ms in mail:
            mail[when_ms] += frames
        else:
            mail[when_ms] = frames
            self._push(when_ms, _MAIL, peer)

    def _deliver(self, index: int) -> None:
        batch = self._mail[index].pop(self.now_ms, None)
        host = self.hosts[index]
        if host.node is None or batch is None:
            return
        if host.frozen_until_ms > self.now_ms:
            self._post(host.frozen_until_ms, index, batch)
            return
        for start in range(0, len(batch), BATCH_FRAMES_MAX):
            part = batch[start : start + BATCH_FRAMES_MAX]
            node = host.node
            if node is None:
                return
            self.trace.input(self.now_ms, index, _FRAME, len(part))
            if host.cost_us:
                self._busy(host, len(part) * host.cost_us)
            if self.heard is not None:
                self.heard(index, part)
            try:
                effects = node.receive(part, host.clock.now(self.now_ms))
            except DiskError as error:
                self.crash(index, str(error))
                return
            self.perform(index, effects)
