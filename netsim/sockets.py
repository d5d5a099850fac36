"""Sockets whose wires are the fabric: beneath trio's own streams, so all of our TCP code runs.

Every host has an address. What one end writes is cut into segments; the fabric says when each
arrives. A segment on a cut link waits for it to be mended, as TCP repeats it; a flipped bit arrives
flipped, and the cipher above finds it. Everything happens in virtual time, in one order.
"""

# mypy: disable-error-code="explicit-override, override"
# The decorator is of Python 3.12, and trio's sockets take more forms of each argument.
# ruff: noqa: SLF001
# Two ends of one connection know each other.

import errno
import heapq
import socket as real
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from hashlib import blake2b

import trio

from netsim.chance import US_PER_S
from netsim.fabric import Fabric, Mutation

HOST: ContextVar[int] = ContextVar("host")
"""Which host the running task belongs to."""
SEGMENT_BYTES = 16 << 10
BUFFER_BYTES = 256 << 10
"""What may be under way in one direction; a writer waits beyond it."""
PORT = 7777
NO_FILE = 1_000_000
"""A number that no open file has: whoever writes past trio is told so, and asks trio."""


def address_of(host: int) -> str:
    """Return the address of a host."""
    return f"10.0.{host // 250}.{host % 250 + 1}"


class Wires(trio.abc.SocketFactory):
    """All hosts, their listeners and what is under way between them."""

    def __init__(self, fabric: Fabric) -> None:
        """Connect nothing yet."""
        self.fabric = fabric
        self.digest = blake2b(digest_size=16)
        self.segments = 0
        self.listeners: dict[int, VirtualSocket] = {}
        self.open: list[VirtualSocket] = []
        self.dead: dict[int, None] = {}
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._sequence = 0
        self._newer = trio.Event()
        self._held: dict[tuple[int, int, VirtualSocket], list[Callable[[], None]]] = {}

    @property
    def now_us(self) -> int:
        """Virtual time."""
        return round(trio.current_time() * US_PER_S)

    def socket(self, family: int = 0, type: int = 0, proto: int = 0) -> "VirtualSocket":  # noqa: A002
        """Make a socket of the host whose task asks."""
        del family, type, proto
        return VirtualSocket(self, HOST.get())

    def at(self, when_us: int, what: Callable[[], None]) -> None:
        """Do something at a virtual time."""
        self._sequence += 1
        heapq.heappush(self._heap, (when_us, self._sequence, what))
        self._newer.set()

    async def run(self) -> None:
        """Let what is under way arrive, until cancelled."""
        while True:
            while self._heap and self._heap[0][0] <= self.now_us:
                heapq.heappop(self._heap)[2]()
            self._newer = trio.Event()
            if self._heap:
                with trio.move_on_at(self._heap[0][0] / US_PER_S):
                    await self._newer.wait()
            else:
                await self._newer.wait()

    def carry(
        self, a: int, b: int, stream: "VirtualSocket", data: bytes, arrive: Callable[[bytes], None]
    ) -> None:
        """Send one segment from a host to another, behind what waits of the same stream."""
        self.segments += 1
        self.digest.update(f"{self.now_us} {a} {b} {len(data)} ".encode() + data)

        def again() -> None:
            self.carry(a, b, stream, data, arrive)

        way = (a, b, stream)
        if (a, b) in self.fabric.blocked or way in self._held:
            self._held.setdefault(way, []).append(again)
            return
        deliveries = self.fabric.submit(self.now_us, a, b, len(data))
        if deliveries is None:  # TCP sends it again, and the rest behind it
            self._held[way] = [again]
            self.at(self.now_us + self.fabric.retry_us(), lambda: self._let_go(way))
            return
        for at_us, state in deliveries:
            arrived = data
            if state is Mutation.CORRUPT and data:
                at = len(data) // 2
                arrived = data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]
            self.at(at_us, lambda arrived=arrived: arrive(arrived))  # type: ignore[misc]

    def mended(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Undo one cut of each link; what waited on those that work again goes on its way."""
        for a, b in self.fabric.unblock(pairs):
            for way in [way for way in self._held if way[:2] == (a, b)]:
                self._let_go(way)

    def _let_go(self, way: tuple[int, int, "VirtualSocket"]) -> None:
        for again in self._held.pop(way, []):
            again()

    def break_off(self, hosts: Sequence[int]) -> int:
        """Reset every connection of these hosts; return how many there were."""
        broken = [
            one
            for one in self.open
            if one.host in hosts or (one._peer is not None and one._peer.host in hosts)
        ]
        for one in broken:
            one.break_off()
        return len(broken) // 2

    def kill(self, host: int) -> None:
        """Take a host away: its sockets say nothing more, the other ends learn it."""
        self.dead[host] = None
        self.listeners.pop(host, None)
        for one in [one for one in self.open if one.host == host]:
            one.close()


class VirtualSocket(trio.socket.SocketType):
    """One end of a connection, or a listener."""

    def __init__(self, wires: Wires, host: int) -> None:
        """Belong to a host."""
        super().__init__()
        self.host = host
        self._wires = wires
        self._peer: VirtualSocket | None = None
        self._port = 0
        self._closed = False
        self._received = bytearray()
        self._ended: OSError | None = None
        self._eof = False
        self._waiting: deque[VirtualSocket] = deque()
        self._changed = trio.Event()
        self._under_way = 0

    # What trio's streams and listeners ask.

    @property
    def type(self) -> real.SocketKind:
        """A stream."""
        return real.SOCK_STREAM

    @property
    def family(self) -> real.AddressFamily:
        """IPv4."""
        return real.AF_INET

    @property
    def did_shutdown_SHUT_WR(self) -> bool:  # noqa: N802  (trio's name)
        """Never half closed."""
        return False

    def fileno(self) -> int:
        """Return -1 once it is closed, as trio's streams ask."""
        return -1 if self._closed else NO_FILE

    def setsockopt(self, *_args: object) -> None:
        """Take any option."""

    def getsockopt(self, *_args: object) -> int:
        """Return that the option is set."""
        return 1

    async def bind(self, address: tuple[str, int]) -> None:
        """Take a port; the host's address is given."""
        self._port = address[1] or PORT

    def listen(self, backlog: int = 0) -> None:
        """Take connections from now on."""
        del backlog
        self._wires.listeners[self.host] = self

    def getsockname(self) -> tuple[str, int]:
        """Return the own address."""
        return address_of(self.host), self._port

    def getpeername(self) -> tuple[str, int]:
        """Return the other end's address."""
        if self._peer is None:
            raise OSError(errno.ENOTCONN, "not connected")
        return address_of(self._peer.host), self._peer._port

    def _change(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    async def _until(self, ready: Callable[[], bool]) -> None:
        await trio.lowlevel.checkpoint()
        while not ready():
            if self._closed:
                raise OSError(errno.EBADF, "closed")
            if self._ended is not None:
                raise self._ended
            await self._changed.wait()

    async def accept(self) -> tuple["VirtualSocket", object]:
        """Wait for a connection."""
        await self._until(lambda: bool(self._waiting))
        one = self._waiting.popleft()
        return one, one.getpeername()

    async def connect(self, address: tuple[str, int]) -> None:
        """Connect to a host's listener, there and back; waits for ever where a link is cut."""
        _, _, high, low = address[0].split(".")
        target = int(high) * 250 + int(low) - 1
        wires = self._wires
        answered: list[VirtualSocket | None] = []

        def reach(_data: bytes) -> None:
            listener = wires.listeners.get(target)
            other: VirtualSocket | None = None
            if listener is not None and not self._closed:
                other = VirtualSocket(wires, target)
                other._peer, other._port = self, listener._port
                wires.open.append(other)
                listener._waiting.append(other)
                listener._change()
            wires.carry(target, self.host, self, b"", lambda _data: answer(other))

        def answer(other: VirtualSocket | None) -> None:
            answered.append(other)
            self._change()

        self._port = 40_000 + wires.segments % 20_000
        wires.carry(self.host, target, self, b"", reach)
        await self._until(lambda: bool(answered))
        if answered[0] is None:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "nobody listens there")
        self._peer = answered[0]
        wires.open.append(self)

    async def send(self, data: bytes | memoryview) -> int:
        """Send what fits into the buffer."""
        await self._until(lambda: self._under_way < BUFFER_BYTES)
        peer = self._peer
        if self._closed or peer is None:
            raise OSError(errno.EBADF, "closed")
        segment = bytes(data[:SEGMENT_BYTES])
        self._under_way += len(segment)

        def arrive(data: bytes) -> None:
            self._under_way -= len(data)
            self._change()
            if not peer._closed:
                peer._received += data
                peer._change()

        self._wires.carry(self.host, peer.host, self, segment, arrive)
        return len(segment)

    async def recv(self, size: int) -> bytes:
        """Wait for bytes; none at the end of the stream."""
        await self._until(lambda: bool(self._received) or self._eof)
        data = bytes(self._received[:size])
        del self._received[:size]
        return data

    async def wait_writable(self) -> None:
        """Wait until something more can be sent."""
        await self._until(lambda: self._under_way < BUFFER_BYTES)

    def shutdown(self, how: int) -> None:
        """Nothing is half closed here."""
        del how

    def break_off(self) -> None:
        """Take a reset: whoever reads or writes here is told at once."""
        if self in self._wires.open:
            self._wires.open.remove(self)
        self._ended = ConnectionResetError(errno.ECONNRESET, "reset")
        self._peer = None
        self._change()

    def close(self) -> None:
        """Close; the other end learns it behind everything that is under way."""
        if self._closed:
            return
        self._closed = True
        wires, peer = self._wires, self._peer
        if self in wires.open:
            wires.open.remove(self)
        if wires.listeners.get(self.host) is self:
            del wires.listeners[self.host]
        self._change()

        def end(_data: bytes) -> None:
            if peer is not None and not peer._closed:
                peer._eof = True
                peer._change()

        if peer is not None:
            wires.carry(self.host, peer.host, self, b"", end)
