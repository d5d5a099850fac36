"""A network of pure replicas on one heap, from one seed: links, losses, crashes, restarts.

A simulated node is anything with the inputs of the engine. Its effects are performed one by one, and
a crash may fall between any two of them: what was persisted stays, everything else is gone.
"""

import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from consensus.effects import Committed, Effect, Halt, LogRecord, Now, Persist, Report, Send
from consensus.encoding import DecodeError
from consensus.messages import Message, Number, parse_frame
from consensus.validators import ValidatorIndex


class Simulated(Protocol):
    """What the network drives: the engine, or a replica around it."""

    @property
    def deadline_ms(self) -> int | None:
        """When `handle_deadline` is due, monotonic milliseconds."""
        ...

    def start(self, now: Now) -> list[Effect]:
        """Begin or resume."""
        ...

    def peer_up(self, peer: ValidatorIndex, now: Now) -> list[Effect]:
        """Take note that a peer is back."""
        ...

    def receive(
        self, sender: ValidatorIndex, number: Number, message: Message, now: Now
    ) -> list[Effect]:
        """Take one message."""
        ...

    def handle_deadline(self, now: Now) -> list[Effect]:
        """Do what is due."""
        ...


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

    node: Simulated | None = None
    disk: list[LogRecord] = field(default_factory=list)
    boots: int = 0
    crash_after: int | None = None  # effects until the power fails


@dataclass(slots=True)
class Counts:
    """What happened in a run."""

    votes: int = 0
    frames: int = 0
    bytes: int = 0
    blocks: int = 0
    crashes: int = 0
    faults: dict[str, int] = field(default_factory=dict)


class Network:
    """Hosts, links and the event heap. Times are virtual milliseconds."""

    def __init__(
        self,
        seed: int,
        hosts: int,
        boot: Callable[[int, Sequence[LogRecord]], Simulated],
        *,
        links: Links | None = None,
        observe: Callable[[int, Effect], None] = lambda _host, _effect: None,
    ) -> None:
        """Boot every host at time 0; `observe` sees each effect before it is performed."""
        self.rng = random.Random(seed)
        self.links = links or Links()
        self.now_ms = 0
        self.hosts = [Host() for _ in range(hosts)]
        self.counts = Counts()
        self.blocked: dict[tuple[int, int], None] = {}
        self._boot = boot
        self._observe = observe
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._sequence = 0
        for index in range(hosts):
            self.boot(index)

    def at(self, when_ms: int, what: Callable[[], None]) -> None:
        """Do something at a virtual time."""
        self._sequence += 1
        heapq.heappush(self._heap, (max(when_ms, self.now_ms), self._sequence, what))

    def run(self, until_ms: int) -> None:
        """Let virtual time pass; events at `until_ms` are included."""
        while self._heap and self._heap[0][0] <= until_ms:
            self.now_ms, _, what = heapq.heappop(self._heap)
            what()
        self.now_ms = until_ms

    def clock(self) -> Now:
        """Return the clocks of every host: wall time starts at one hour."""
        return Now(self.now_ms, 3_600_000 + self.now_ms)

    def boot(self, index: int) -> None:
        """Start a host's node from its disk, and let the others know."""
        host = self.hosts[index]
        host.boots += 1
        host.crash_after = None
        host.node = self._boot(index, tuple(host.disk))
        self.perform(index, host.node.start(self.clock()))
        for other, peer in enumerate(self.hosts):
            if other != index and peer.node is not None:
                self.perform(other, peer.node.peer_up(ValidatorIndex(index), self.clock()))

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
        self.blocked = {}
        for index, host in enumerate(self.hosts):
            for peer in range(len(self.hosts)):
                if peer != index and host.node is not None:
                    up = host.node.peer_up(ValidatorIndex(peer), self.clock())
                    self.perform(index, up)

    def perform(self, index: int, effects: Sequence[Effect]) -> None:
        """Perform effects in order; the power may fail between any two of them."""
        host = self.hosts[index]
        node = host.node
        for effect in effects:
            if host.crash_after is not None:
                host.crash_after -= 1
                if host.crash_after < 0:
                    self.crash(index)
                    return
            self._observe(index, effect)
            match effect:
                case Persist(records):
                    host.disk.extend(records)
                case Send(to, data):
                    self._send(index, to, data)
                case Committed():
                    self.counts.blocks += index == 0
                case Report(_, fault):
                    self.counts.faults[fault] = self.counts.faults.get(fault, 0) + 1
                case Halt(reason):
                    raise AssertionError(f"host {index} halted: {reason}")
                case _:
                    raise AssertionError(f"no host performs {effect}")
        if node is not None and node.deadline_ms is not None:
            self._schedule(index, node, node.deadline_ms)

    def _schedule(self, index: int, node: Simulated, due_ms: int) -> None:
        def fire() -> None:
            if self.hosts[index].node is node and node.deadline_ms == due_ms:
                self.perform(index, node.handle_deadline(self.clock()))

        self.at(due_ms, fire)

    def _send(self, index: int, to: ValidatorIndex | None, data: bytes) -> None:
        peers = range(len(self.hosts)) if to is None else (to,)
        for peer in peers:
            if peer != index:
                self.counts.frames += 1
                self.counts.bytes += len(data)
                self.counts.votes += data[0] == Number.VOTE
                copies = 1 + (self.rng.randrange(1000) < self.links.duplication)
                for _ in range(copies):
                    self.transmit(index, peer, data)

    def transmit(self, index: int, peer: int, data: bytes) -> None:
        """Put one frame on a link, as an adversary may as well."""
        if (index, peer) in self.blocked or self.rng.randrange(1000) < self.links.loss:
            return
        delay = self.rng.randint(self.links.latency_ms_min, self.links.latency_ms_max)
        self.at(self.now_ms + delay, lambda: self._deliver(index, peer, data))

    def _deliver(self, index: int, peer: int, data: bytes) -> None:
        node = self.hosts[peer].node
        if node is None:
            return
        try:
            number, message = parse_frame(data)
        except DecodeError as error:
            self.counts.faults[str(error)] = self.counts.faults.get(str(error), 0) + 1
            return
        self.perform(peer, node.receive(ValidatorIndex(index), number, message, self.clock()))
