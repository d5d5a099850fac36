"""The one model of a network: when a frame arrives, how often, and in which state.

A simulated network asks it for each frame, the virtual transport for each piece of a stream, the
proxies between real processes likewise. It knows nodes by number and holds no frame. Times are
microseconds of one clock that nobody inside the model sees; the only chance is the generator that
the fabric is given, drawn from in the order of the calls.
"""

import enum
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from netsim.chance import US_PER_MS, US_PER_S, Spread

FRAME_OVERHEAD_BYTES = 60
"""What a frame costs on a wire beside its own bytes: IP, TCP, record head and tag."""
RETRANSMIT_US = 200 * US_PER_MS
"""A stream waits so long for a lost piece, twice as long for each loss after it."""
RETRANSMITS_MAX = 6
REPLAY_MEAN_US = 3 * US_PER_S
"""How much later an old frame comes again, in the mean."""
REORDER_MEAN_US = 150 * US_PER_MS
"""How much a frame that lets others pass is late, in the mean."""


class Mutation(enum.IntEnum):
    """In which state something arrives."""

    INTACT = 0
    CORRUPT = 1
    """Some bit differs. Whoever carries frames over secured links drops it and notes a fault."""


_INTACT = Mutation.INTACT  # said of nearly every frame, and a member of an Enum is found slowly
Delivery = tuple[int, Mutation]
"""When, in microseconds, and in which state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """How every link behaves; probabilities in thousandths.

    `latency` is one way and on top of what the topology takes. `stream` keeps the order of what one
    node sends another and repeats what is lost, as TCP does; without it frames are datagrams.
    """

    latency: Spread = field(default_factory=lambda: Spread("uniform(5ms,20ms)"))
    loss: float = 0
    duplication: float = 0
    replay: float = 0
    reorder: float = 0
    corruption: float = 0
    stream: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether latency is all that a frame meets."""
        return not (
            self.loss
            or self.duplication
            or self.replay
            or self.reorder
            or self.corruption
            or self.stream
        )


class Topology(Protocol):
    """Who reaches whom, and what the way itself takes."""

    def way(self, now_us: int, a: int, b: int) -> tuple[int, int]:
        """Return (microseconds, hops) from `a` to `b`; no hop means that there is no way."""
        ...


class Mesh:
    """Everybody reaches everybody, at the cost of the link alone."""

    def way(self, now_us: int, a: int, b: int) -> tuple[int, int]:
        """Return one free hop."""
        del now_us, a, b
        return 0, 1


@dataclass(slots=True)
class Rates:
    """Bytes a second that each node can send and receive; 0 is no limit. `queue` is in bytes."""

    up: int = 0
    down: int = 0
    queue: int = 256 << 10


@dataclass(slots=True)
class Tolls:
    """What the fabric did to frames."""

    lost: int = 0
    blocked: int = 0
    unreachable: int = 0
    overflowed: int = 0
    swallowed: int = 0
    duplicated: int = 0
    replayed: int = 0
    reordered: int = 0
    corrupted: int = 0
    clogged: int = 0


class Fabric:
    """See the module's text."""

    def __init__(
        self,
        nodes: int,
        rng: random.Random,
        *,
        links: Links | None = None,
        topology: Topology | None = None,
        rates: Rates | None = None,
    ) -> None:
        """Begin with nothing broken."""
        self.nodes = nodes
        self.topology: Topology = topology or Mesh()
        self.tolls = Tolls()
        self.blocked: dict[tuple[int, int], int] = {}
        """Cut links, with how many cuts each has."""
        self._rng = rng
        self._normal = links or Links()
        self._mesh = isinstance(self.topology, Mesh)
        self._clogs: dict[tuple[int, int], int] = {}
        self._spikes: dict[tuple[int, int], tuple[int, int]] = {}
        self._holes: dict[tuple[int, int], tuple[int, int]] = {}
        self._normal_rates = rates or Rates()
        self._rates = [self._normal_rates] * nodes
        self._up_free = [0] * nodes
        self._down_free = [0] * nodes
        self._last: dict[tuple[int, int], int] = {}
        self.links = self._normal
        self._look()

    # What happens to the network.

    def set_links(self, links: Links | None) -> None:
        """Let every link behave like this, or as at the start."""
        self.links = links or self._normal
        self._look()

    def set_rates(self, nodes: Iterable[int], rates: Rates | None) -> None:
        """Give nodes other bandwidths, or those of the start."""
        for node in nodes:
            self._rates[node] = rates or self._normal_rates
        self._look()

    def block(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Cut links, each in one direction."""
        for pair in pairs:
            self.blocked[pair] = self.blocked.get(pair, 0) + 1
        self._look()

    def unblock(self, pairs: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
        """Undo one cut of each of these links; return those that work again."""
        mended = []
        for pair in pairs:
            cuts = self.blocked.get(pair, 0)
            if cuts > 1:
                self.blocked[pair] = cuts - 1
            elif cuts:
                del self.blocked[pair]
                mended.append(pair)
        self._look()
        return mended

    def clog(self, pairs: Iterable[tuple[int, int]], until_us: int) -> None:
        """Hold everything on these links back until then."""
        for pair in pairs:
            self._clogs[pair] = max(until_us, self._clogs.get(pair, 0))
        self._look()

    def spike(self, pairs: Iterable[tuple[int, int]], more_us: int, until_us: int) -> None:
        """Let everything on these links take so much longer until then."""
        self._spikes.update(dict.fromkeys(pairs, (more_us, until_us)))
        self._look()

    def swallow(self, pairs: Iterable[tuple[int, int]], mtu: int, until_us: int) -> None:
        """Let nothing greater than `mtu` bytes pass these links until then, and nobody be told."""
        self._holes.update(dict.fromkeys(pairs, (mtu, until_us)))
        self._look()

    def hindrances(self, now_us: int) -> str:
        """Say which links are cut, hold everything back or swallow what is large; empty if none."""
        found = {"cut": list(self.blocked)}
        found["holding back"] = [
            pair for pair, until_us in self._clogs.items() if until_us > now_us
        ]
        for pair, (mtu, until_us) in self._holes.items():
            if until_us > now_us:
                found.setdefault(f"swallowing what is above {mtu} bytes", []).append(pair)
        told = [
            f"{what} {' '.join(f'{a}>{b}' for a, b in pairs)}"
            for what, pairs in found.items()
            if pairs
        ]
        return ", ".join(told)

    def heal(self) -> list[tuple[int, int]]:
        """Let everything be as at the start; return the links that were cut."""
        mended = list(self.blocked)
        self.blocked.clear()
        self._clogs.clear()
        self._spikes.clear()
        self._holes.clear()
        self._rates = [self._normal_rates] * self.nodes
        self.links = self._normal
        self._look()
        return mended

    def forget(self, node: int) -> None:
        """A node lost its connections: what it sends later need not queue behind them."""
        for pair in [pair for pair in self._last if node in pair]:
            del self._last[pair]
        self._up_free[node] = self._down_free[node] = 0

    def _look(self) -> None:
        """Find out whether frames meet anything but latency."""
        rates = any(each.up or each.down for each in self._rates)
        faults = self.blocked or self._clogs or self._spikes or self._holes
        self._free = not (faults or rates) and self.links.is_plain
        self._rated = rates

    # Frames.

    def submit(self, now_us: int, a: int, b: int, size: int) -> Sequence[Delivery] | None:
        """Return when something of `size` bytes that `a` sends arrives at `b`, however often.

        None says that a queue on the way is full, or that the way swallows it: a datagram is lost,
        and a stream has to offer the same again before anything else, so that no bytes are missing
        in the middle of it.
        """
        if self._free and self._mesh:
            latency_us = self.links.latency.draw(self._rng)
            return ((now_us + latency_us if latency_us > 0 else now_us, _INTACT),)
        pair = (a, b)
        if pair in self.blocked:
            self.tolls.blocked += 1
            return ()
        way_us, hops = self.topology.way(now_us, a, b)
        if not hops:
            self.tolls.unreachable += 1
            return ()
        if self._holes and self._is_swallowed(pair, now_us, size):
            return None
        sent_us = self._queued(now_us, a, b, size) if self._rated else now_us
        if sent_us is None:
            return None
        if self._clogs or self._spikes:
            sent_us = self._held_back(pair, now_us, sent_us)
        return self._carried(pair, sent_us, way_us, hops)

    def retry_us(self) -> int:
        """Return how long a stream waits before it offers a piece to a full queue again.

        Waits that were all equal would let the stream that came first have the queue for ever.
        """
        return self._rng.randrange(RETRANSMIT_US // 2, RETRANSMIT_US * 3 // 2)

    def _queued(self, now_us: int, a: int, b: int, size: int) -> int | None:
        """Return when the last byte is through both ends' bottlenecks, None if a queue is full.

        What waits in a queue is what others have put there: a piece that is greater than a queue
        still passes an empty one.
        """
        cost, sent_us = size + FRAME_OVERHEAD_BYTES, now_us
        for free, node, rate in (
            (self._up_free, a, self._rates[a].up),
            (self._down_free, b, self._rates[b].down),
        ):
            if not rate:
                continue
            begin_us = max(sent_us, free[node])
            if (begin_us - sent_us) * rate > self._rates[node].queue * US_PER_S:
                self.tolls.overflowed += 1
                return None
            free[node] = sent_us = begin_us + cost * US_PER_S // rate
        return sent_us

    def _is_swallowed(self, pair: tuple[int, int], now_us: int, size: int) -> bool:
        mtu, until_us = self._holes.get(pair, (size, 0))
        if until_us > now_us and size > mtu:
            self.tolls.swallowed += 1
            return True
        return False

    def _held_back(self, pair: tuple[int, int], now_us: int, sent_us: int) -> int:
        until_us = self._clogs.get(pair)
        if until_us is not None:
            if until_us <= now_us:
                del self._clogs[pair]
            else:
                self.tolls.clogged += 1
                sent_us = max(sent_us, until_us)
        spike = self._spikes.get(pair)
        if spike is not None:
            if spike[1] <= now_us:
                del self._spikes[pair]
            else:
                sent_us += spike[0]
        return sent_us

    def _carried(
        self, pair: tuple[int, int], sent_us: int, way_us: int, hops: int
    ) -> Sequence[Delivery]:
        links, rng, tolls = self.links, self._rng, self.tolls
        at_us = sent_us + way_us
        for _ in range(hops):
            at_us += max(links.latency.draw(rng), 0)
            if links.loss and rng.random() * 1000 < links.loss:
                tolls.lost += 1
                if not links.stream:
                    return ()
                wait_us = RETRANSMIT_US
                for _ in range(RETRANSMITS_MAX):
                    at_us += wait_us
                    wait_us *= 2
                    if rng.random() * 1000 >= links.loss:
                        break
        state = Mutation.INTACT
        if links.corruption and rng.random() * 1000 < links.corruption:
            tolls.corrupted += 1
            state = Mutation.CORRUPT
        if links.stream:
            at_us = max(at_us, self._last.get(pair, 0))
            self._last[pair] = at_us
            return ((at_us, state),)
        if links.reorder and rng.random() * 1000 < links.reorder:
            tolls.reordered += 1
            at_us += int(rng.expovariate(1 / REORDER_MEAN_US))
        deliveries = [(at_us, state)]
        if links.duplication and rng.random() * 1000 < links.duplication:
            tolls.duplicated += 1
            deliveries.append((at_us + max(links.latency.draw(rng), 0), Mutation.INTACT))
        if links.replay and rng.random() * 1000 < links.replay:
            tolls.replayed += 1
            deliveries.append((at_us + int(rng.expovariate(1 / REPLAY_MEAN_US)), Mutation.INTACT))
        return deliveries


def pairs_between(
    groups: Sequence[Sequence[int]], *, one_way: bool = False
) -> list[tuple[int, int]]:
    """Return the links between groups; one way gives only those from earlier groups to later."""
    return [
        (a, b)
        for i, first in enumerate(groups)
        for j, second in enumerate(groups)
        if i < j or (j < i and not one_way)
        for a in first
        for b in second
    ]


def pairs_of(
    nodes: Iterable[int], among: int, *, out: bool = True, into: bool = True
) -> list[tuple[int, int]]:
    """Return the links of some nodes to all others of `among`, outgoing, incoming or both."""
    pairs: dict[tuple[int, int], None] = {}
    for node in nodes:
        for other in range(among):
            if other == node:
                continue
            if out:
                pairs[node, other] = None
            if into:
                pairs[other, node] = None
    return list(pairs)
