"""The network between real nodes: a proxy on loopback for each direction in which one dials another.

Node processes know each other by their proxies' addresses alone. What one end writes is cut into
segments, and the fabric says when each reaches the other end, and in which state. A segment on a cut
link waits for it to be mended, as TCP repeats it; a flipped bit arrives flipped, and the cipher of
the nodes must find it. Loss is a delay here: TCP repeats what is lost. Connections are broken off
with RST.
"""

import math
import socket
import struct
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import trio

from netsim.chance import US_PER_MS, US_PER_S
from netsim.fabric import Fabric, Mutation
from netsim.trace import Trace

LOOPBACK = "127.0.0.1"
SEGMENT_BYTES = 16 << 10
SEGMENTS_MAX = 16
"""Under way in one direction of a connection; beyond them its proxy reads no more."""
DECEIVED_BYTES_MAX = 256 << 10
"""A node that takes so much behind a flipped bit has not noticed: longer than any record."""
_Segment = tuple[float, bytes, bool]
"""When it arrives, its bytes, and whether one was flipped."""
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of no time: closing sends RST (socket(7))."""


@dataclass(slots=True, eq=False)
class _Connection:
    """One connection that `a` dialled. `passed` counts what `b` or `a` took behind a flipped bit."""

    a: int
    b: int
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    sockets: list[trio.SocketStream] = field(default_factory=list)
    corrupt: bool = False
    passed: int = 0

    def break_off(self) -> None:
        """Reset both ends, from any task."""
        for stream in self.sockets:
            with suppress(OSError):
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.scope.cancel()


class Proxies:
    """All links of a table; see the module's text. Call `listen`, then start `run`."""

    def __init__(self, fabric: Fabric, trace: Trace, ports: Sequence[int]) -> None:
        """`ports` are where the nodes listen; virtual time begins now."""
        self.fabric = fabric
        self.resets = 0
        self.connections = 0
        self.deceived: Callable[[int, int], None] = lambda _a, _b: None
        """Called when a node goes on reading a connection on which a bit was flipped."""
        self._trace = trace
        self._ports = ports
        self._began = trio.current_time()
        self._listeners: dict[tuple[int, int], trio.SocketListener] = {}
        self._open: list[_Connection] = []
        self._mended = trio.Event()

    @property
    def now_us(self) -> int:
        """Microseconds since the beginning."""
        return round((trio.current_time() - self._began) * US_PER_S)

    @property
    def now_ms(self) -> int:
        """Milliseconds since the beginning."""
        return self.now_us // US_PER_MS

    def begin(self) -> None:
        """Let time begin again: what was before was no part of the run."""
        self._began = trio.current_time()
        for node in range(len(self._ports)):
            self.fabric.forget(node)

    async def listen(self) -> None:
        """Take a port for each ordered pair of nodes."""
        for a in range(len(self._ports)):
            for b in range(len(self._ports)):
                if a != b:
                    [one] = await trio.open_tcp_listeners(0, host=LOOPBACK)
                    self._listeners[a, b] = one

    def address(self, a: int, b: int) -> str:
        """Return where `a` reaches `b`: itself directly, others through their proxy."""
        port = self._ports[b] if a == b else self._listeners[a, b].socket.getsockname()[1]
        return f"{LOOPBACK}:{port}"

    async def run(self) -> None:
        """Carry until cancelled."""
        async with trio.open_nursery() as nursery:
            for (a, b), listener in self._listeners.items():
                nursery.start_soon(self._accept, a, b, listener)

    async def _accept(self, a: int, b: int, listener: trio.SocketListener) -> None:
        async def handle(stream: trio.SocketStream) -> None:
            await self._connect(a, b, stream)

        await trio.serve_listeners(handle, [listener])

    def mend(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Undo one cut of each link; what waits goes on its way."""
        self.fabric.unblock(pairs)
        self._let_go()

    def heal(self) -> None:
        """Let the network be as at the start."""
        self.fabric.heal()
        self._let_go()

    def _let_go(self) -> None:
        mended, self._mended = self._mended, trio.Event()
        mended.set()

    def break_off(self, nodes: Iterable[int]) -> None:
        """Reset every connection of these nodes."""
        some = tuple(nodes)
        for one in [one for one in self._open if one.a in some or one.b in some]:
            self.resets += 1
            one.break_off()

    async def _connect(self, a: int, b: int, near: trio.SocketStream) -> None:
        """Carry one connection to its end."""
        one = _Connection(a, b, sockets=[near])
        self._open.append(one)
        self.connections += 1
        try:
            with one.scope:
                when, _ = await self._through(a, b, b"")
                await trio.sleep_until(when)
                far = await trio.open_tcp_stream(LOOPBACK, self._ports[b])
                one.sockets.append(far)
                async with far, trio.open_nursery() as nursery:
                    nursery.start_soon(self._carry, one, near, far, a, b)
                    nursery.start_soon(self._carry, one, far, near, b, a)
        except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            one.break_off()  # one end is gone, or nobody listens there
        finally:
            self._open.remove(one)

    async def _carry(
        self,
        one: _Connection,
        source: trio.SocketStream,
        sink: trio.SocketStream,
        a: int,
        b: int,
    ) -> None:
        """Carry one direction until its end has arrived."""
        into, out = trio.open_memory_channel[_Segment](SEGMENTS_MAX)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._arrive, one, sink, out, (a, b))
            async with into:
                while data := await source.receive_some(SEGMENT_BYTES):
                    when, state = await self._through(a, b, data)
                    flipped = state is Mutation.CORRUPT
                    if flipped:
                        middle = len(data) // 2
                        data = data[:middle] + bytes((data[middle] ^ 1,)) + data[middle + 1 :]
                    await into.send((when, data, flipped))

    async def _arrive(
        self,
        one: _Connection,
        sink: trio.SocketStream,
        out: "trio.MemoryReceiveChannel[_Segment]",
        way: tuple[int, int],
    ) -> None:
        async for when, data, flipped in out:
            await trio.sleep_until(when)
            await sink.send_all(data)
            one.corrupt = one.corrupt or flipped
            one.passed += len(data) if one.corrupt else 0
            if one.passed > DECEIVED_BYTES_MAX:
                self.deceived(*way)
        await sink.send_eof()

    async def _through(self, a: int, b: int, data: bytes) -> tuple[float, Mutation]:
        """Return when a segment arrives, on trio's clock, and how; waits while the link is cut."""
        first = True
        while True:
            cut = (a, b) in self.fabric.blocked
            deliveries = self.fabric.submit(self.now_us, a, b, len(data))
            if deliveries:
                [(at_us, state)] = deliveries
                if data:
                    self._trace.piece(self.now_ms, a, b, at_us // US_PER_MS, len(data))
                return self._began + at_us / US_PER_S, state if data else Mutation.INTACT
            if first and data:
                self._trace.piece(self.now_ms, a, b, -1, len(data))
            first = False
            with trio.move_on_after(math.inf if cut else self.fabric.retry_us() / US_PER_S):
                await self._mended.wait()
