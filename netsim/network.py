"""A network of pure replicas on one heap, from one seed: links, losses, crashes, restarts.

A simulated node is anything with the inputs of a replica. Its effects are performed one by one, and
a crash may fall between any two of them: what was persisted stays, everything else is gone. Frames
that reach a host in one millisecond are one batch. Times are virtual milliseconds.
"""

import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from consensus.effects import (
    BlockLogged,
    Committed,
    Halt,
    LogRecord,
    Now,
    Persist,
    Report,
    RequestEntropy,
    Send,
)
from consensus.messages import Number
from consensus.validators import ValidatorIndex

WALL_MS_START = 1_700_000_000_000
"""What every host's wall clock shows at virtual time 0, plus the host's own error."""
EVENTS_PER_MS_MAX = 20_000
"""More events at one virtual instant than any honest run has: time stands still, say so."""

_CALL, _MAIL, _TIMER = 0, 1, 2


class Simulated(Protocol):
    """What the network drives: a replica, or anything with its inputs."""

    @property
    def deadline_ms(self) -> int | None:
        """When `handle_deadline` is due, monotonic milliseconds."""
        ...

    def start(self, now: Now) -> Sequence[object]:
        """Begin or resume."""
        ...

    def peer_up(self, peer: ValidatorIndex, now: Now) -> Sequence[object]:
        """Take note that a peer is back."""
        ...

    def receive(self, batch: Sequence[tuple[ValidatorIndex, bytes]], now: Now) -> Sequence[object]:
        """Take frames, in order."""
        ...

    def entropy(self, data: bytes, now: Now) -> Sequence[object]:
        """Take the answer to a `RequestEntropy`."""
        ...

    def handle_deadline(self, now: Now) -> Sequence[object]:
        """Do what is due."""
        ...


class Disk:
    """What survives a crash."""

    def __init__(self) -> None:
        """Start empty."""
        self.records: list[LogRecord] = []
        self._blocks: dict[bytes, tuple[bytes, bytes]] = {}

    def append(self, records: Sequence[LogRecord]) -> None:
        """Make records durable, all of them."""
        self.records.extend(records)
        for record in records:
            if isinstance(record, BlockLogged):
                self._blocks[record.hash] = (record.header, record.body)

    def block(self, wanted: bytes) -> tuple[bytes, bytes] | None:
        """Return a stored block as (header, body)."""
        return self._blocks.get(wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """How every link behaves; probabilities in thousandths, times in milliseconds."""

    latency_ms_min: int = 5
    latency_ms_max: int = 20
    loss: int = 0
    duplication: int = 0


@dataclass(slots=True)
class Host:
    """One machine: its disk survives what its node does not."""

    disk: Disk = field(default_factory=Disk)
    node: Simulated | None = None
    boots: int = 0
    crash_after: int | None = None  # effects until the power fails
    wall_error_ms: int = 0
    timer_ms: int | None = None  # the earliest timer on the heap


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


class Network:
    """Hosts, links and the event heap."""

    def __init__(
        self,
        seed: int,
        hosts: int,
        boot: Callable[[int, Disk], Simulated],
        *,
        links: Links | None = None,
        observe: Callable[[int, object], None] = lambda _host, _effect: None,
    ) -> None:
        """Prepare the hosts; `observe` sees each effect before it is performed."""
        self.rng = random.Random(seed)
        self.links = links or Links()
        self.now_ms = 0
        self.hosts = [Host() for _ in range(hosts)]
        self.counts = Counts()
        self.blocked: dict[tuple[int, int], None] = {}
        self.drops: Callable[[int, int, bytes], bool] | None = None  # from, to, frame
        self._boot = boot
        self._observe = observe
        self._heap: list[tuple[int, int, int, int, Callable[[], None] | None]] = []
        self._mail: list[dict[int, list[tuple[ValidatorIndex, bytes]]]] = [{} for _ in self.hosts]
        self._sequence = 0
        self._heights = [0] * hosts

    def at(self, when_ms: int, what: Callable[[], None]) -> None:
        """Do something at a virtual time."""
        self._push(max(when_ms, self.now_ms), _CALL, -1, what)

    def _push(
        self, when_ms: int, kind: int, host: int, what: Callable[[], None] | None = None
    ) -> None:
        self._sequence += 1
        heapq.heappush(self._heap, (when_ms, self._sequence, kind, host, what))

    def run(self, until_ms: int) -> None:
        """Let virtual time pass; events at `until_ms` are included."""
        events = 0
        while self._heap and self._heap[0][0] <= until_ms:
            when_ms, _, kind, host, what = heapq.heappop(self._heap)
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
        error_ms = self.hosts[index].wall_error_ms
        return Now(self.now_ms, WALL_MS_START + self.now_ms + error_ms)

    def boot(self, index: int) -> None:
        """Start a host's node from its disk; links to the others that are up come up."""
        host = self.hosts[index]
        assert host.node is None, f"host {index} is up"
        host.boots += 1
        host.crash_after = None
        node = host.node = self._boot(index, host.disk)
        self._mail[index] = {}
        self.perform(index, node.start(self.clock(index)))
        for other, peer in enumerate(self.hosts):
            if other != index and peer.node is not None and (index, other) not in self.blocked:
                self.link_up(other, index)
                self.link_up(index, other)

    def link_up(self, index: int, peer: int) -> None:
        """Tell a host that a peer can be reached."""
        node = self.hosts[index].node
        if node is not None:
            self.perform(index, node.peer_up(ValidatorIndex(peer), self.clock(index)))

    def crash(self, index: int) -> None:
        """Take the power from a host."""
        self.hosts[index].node = None
        self.counts.crashes += 1

    def partition(self, *groups: Sequence[int], one_way: bool = False) -> None:
        """Cut the links between groups; one way cuts only from earlier groups to later ones."""
        self.blocked = {
            (a, b): None
            for i, first in enumerate(groups)
            for j, second in enumerate(groups)
            if i < j or (j < i and not one_way)
            for a in first
            for b in second
        }

    def heal(self) -> None:
        """Mend every link; both ends notice."""
        mended, self.blocked = self.blocked, {}
        for a, b in mended:
            self.link_up(a, b)
            self.link_up(b, a)

    def perform(self, index: int, effects: Sequence[object]) -> None:
        """Perform effects in order; the power may fail between any two of them."""
        host = self.hosts[index]
        node = host.node
        asked = 0
        for effect in effects:
            if host.crash_after is not None:
                host.crash_after -= 1
                if host.crash_after < 0:
                    self.crash(index)
                    return
            self._observe(index, effect)
            match effect:
                case Send(to, data):
                    self._send(index, to, data)
                case Persist(records):
                    host.disk.append(records)
                case Committed(height):
                    self._heights[index] = height
                    self.counts.blocks = max(self.counts.blocks, height)
                case RequestEntropy(size):
                    asked += size
                case Report(_, fault):
                    self.counts.faults[fault] = self.counts.faults.get(fault, 0) + 1
                case Halt(reason):
                    raise AssertionError(f"host {index} halted: {reason}")
                case _:
                    pass  # news for whoever observes
        if node is not None and asked:
            self.perform(index, node.entropy(self.rng.randbytes(asked), self.clock(index)))
        self._set_timer(index)

    def _set_timer(self, index: int) -> None:
        host = self.hosts[index]
        due_ms = host.node.deadline_ms if host.node is not None else None
        if due_ms is not None and (host.timer_ms is None or due_ms < host.timer_ms):
            host.timer_ms = due_ms
            self._push(max(due_ms, self.now_ms), _TIMER, index)

    def _fire(self, index: int) -> None:
        host = self.hosts[index]
        if host.timer_ms is None or host.timer_ms > self.now_ms:
            return  # an earlier timer replaced this one
        host.timer_ms = None
        node = host.node
        if node is not None and node.deadline_ms is not None and node.deadline_ms <= self.now_ms:
            self.perform(index, node.handle_deadline(self.clock(index)))
        else:
            self._set_timer(index)

    def _send(self, index: int, to: ValidatorIndex | None, data: bytes) -> None:
        links, rng, counts = self.links, self.rng, self.counts
        peers = range(len(self.hosts)) if to is None else (to,)
        for peer in peers:
            if peer == index:
                continue
            counts.frames += 1
            counts.bytes += len(data)
            counts.votes += data[0] == Number.VOTE
            counts.certificates += data[0] == Number.CERTIFICATE
            self.transmit(index, peer, data)
            if links.duplication and rng.random() * 1000 < links.duplication:
                self.transmit(index, peer, data)

    def transmit(self, index: int, peer: int, data: bytes) -> None:
        """Put one frame on a link, as an adversary may as well."""
        links, rng = self.links, self.rng
        if self.blocked and (index, peer) in self.blocked:
            return
        if links.loss and rng.random() * 1000 < links.loss:
            return
        if self.drops is not None and self.drops(index, peer, data):
            return
        spread = links.latency_ms_max - links.latency_ms_min + 1
        when_ms = self.now_ms + links.latency_ms_min + int(rng.random() * spread)
        mail = self._mail[peer]
        if when_ms in mail:
            mail[when_ms].append((ValidatorIndex(index), data))
        else:
            mail[when_ms] = [(ValidatorIndex(index), data)]
            self._push(when_ms, _MAIL, peer)

    def _deliver(self, index: int) -> None:
        batch = self._mail[index].pop(self.now_ms, None)
        node = self.hosts[index].node
        if node is not None and batch is not None:
            self.perform(index, node.receive(batch, self.clock(index)))
