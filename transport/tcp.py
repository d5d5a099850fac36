"""Frames over TCP: dialing, and a listener that no connection can bring down (PROTOCOL 14)."""

import contextlib
import ipaddress
import logging
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

import trio

from transport.base import (
    RECORD_BYTES_MAX,
    Address,
    Counters,
    Fault,
    LinkClosed,
    LinkError,
    LinkRefused,
)
from transport.framing import FrameReader, join_frames
from transport.link import Credentials, Link, open_link

log = logging.getLogger(__name__)

DIAL_SECONDS = 5
LINKS_MAX = 160
HALF_OPEN_MAX = 64
HALF_OPEN_PER_NETWORK_MAX = 16
"""Half-open handshakes from one /24 or /64: a whole table on one machine may dial at once."""
READ_BYTES = 64 << 10


class StreamCarrier:
    """A carrier over any reliable byte stream."""

    def __init__(self, stream: trio.abc.Stream, remote: str) -> None:
        """Take over the stream."""
        self._stream = stream
        self._reader = FrameReader(RECORD_BYTES_MAX)
        self._ready: list[bytes] = []
        self._unsent = b""
        self._remote = remote

    @property
    def remote(self) -> str:
        """The other end, for logs."""
        return self._remote

    async def send_frames(self, frames: Sequence[bytes]) -> None:
        """Send all in one write; raises `LinkClosed`."""
        data, self._unsent = self._unsent + join_frames(frames), b""
        try:
            await self._stream.send_all(data)
        except trio.ClosedResourceError:
            raise LinkClosed(Fault.LOCAL) from None
        except trio.BrokenResourceError as error:
            raise LinkClosed(Fault.CUT, str(error)) from None

    def send_nowait(self, frames: Sequence[bytes]) -> bool:
        """Take all and send what the system takes at once; say whether that is all."""
        data = self._unsent + join_frames(frames)
        self._unsent = data
        if isinstance(self._stream, trio.SocketStream) and os.name == "posix":
            # trio has no send that never waits. Errors are left to `send_frames`, which names them.
            with contextlib.suppress(OSError):
                self._unsent = data[os.write(self._stream.socket.fileno(), data) :]
        return not self._unsent

    async def receive_frames(self) -> list[bytes]:
        """Wait for at least one frame and return all that arrived; raises `LinkClosed`."""
        while not self._ready:
            try:
                data = await self._stream.receive_some(READ_BYTES)
            except trio.ClosedResourceError:
                raise LinkClosed(Fault.LOCAL) from None
            except trio.BrokenResourceError as error:
                raise LinkClosed(Fault.CUT, str(error)) from None
            if not data:
                raise LinkClosed(Fault.CUT if self._reader.is_mid_frame else Fault.CLOSED)
            self._ready = self._reader.feed(data)
        frames, self._ready = self._ready, []
        return frames

    def unread(self, frames: Sequence[bytes]) -> None:
        """Give frames back for the next `receive_frames`."""
        self._ready = [*frames, *self._ready]

    async def aclose(self) -> None:
        """Close at once; ends a waiting `receive_frames`."""
        await trio.aclose_forcefully(self._stream)


async def dial(
    address: Address,
    credentials: Credentials,
    prologue: bytes,
    roster: Callable[[bytes], bool],
    counters: Counters,
) -> Link:
    """Connect within 5 s, shake hands within 5 more; raises `LinkRefused` naming the fault."""
    try:
        with trio.fail_after(DIAL_SECONDS):
            stream = await trio.open_tcp_stream(address.host, address.port)
    except trio.TooSlowError:
        raise LinkRefused(Fault.CUT, f"{address} did not answer in {DIAL_SECONDS} s") from None
    except OSError as error:
        raise LinkRefused(Fault.CUT, f"{address}: {error}") from None
    carrier = StreamCarrier(stream, str(address))
    return await open_link(carrier, credentials, prologue, roster, counters, initiator=True)


class Door:
    """Admits incoming connections within the limits and hands each open link to a handler."""

    def __init__(
        self,
        credentials: Credentials,
        prologue: bytes,
        roster: Callable[[bytes], bool],
        counters: Counters,
        handler: Callable[[Link], Awaitable[None]],
    ) -> None:
        """The handler owns the link until it returns; then the link is closed."""
        self._credentials, self._prologue, self._roster = credentials, prologue, roster
        self._counters = counters
        self._handler = handler
        self._connections = 0
        self._half_open: Counter[str] = Counter()

    async def serve(
        self,
        address: Address,
        task_status: "trio.TaskStatus[list[Address]]" = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Listen until cancelled; reports the bound addresses when it does.

        Raises:
            OSError: The address cannot be listened on.
        """
        listeners = await trio.open_tcp_listeners(address.port, host=address.host)
        bound = [Address(*listener.socket.getsockname()[:2]) for listener in listeners]
        async with trio.open_nursery() as nursery:
            await nursery.start(trio.serve_listeners, self.handle, listeners)
            task_status.started(bound)

    async def handle(self, stream: trio.SocketStream) -> None:
        """Run one connection to its end. No exception of it leaves, but a cancellation."""
        try:
            host, port = stream.socket.getpeername()[:2]
        except OSError:  # gone before it was accepted
            await trio.aclose_forcefully(stream)
            return
        carrier = StreamCarrier(stream, str(Address(host, port)))
        network = _network(host)
        if (
            self._connections >= LINKS_MAX
            or self._half_open.total() >= HALF_OPEN_MAX
            or self._half_open[network] >= HALF_OPEN_PER_NETWORK_MAX
        ):
            self._counters.faults[Fault.TOO_MANY] += 1
            log.warning("link refused peer=%s reason=%s", carrier.remote, Fault.TOO_MANY)
            await carrier.aclose()
            return
        self._connections += 1
        try:
            await self._run(carrier, network)
        except* LinkError as errors:
            log.debug("connection over peer=%s reason=%s", carrier.remote, errors.exceptions[0])
        except* Exception:
            # One connection must not end the node, whatever its handler met (PROTOCOL 14).
            self._counters.faults[Fault.CRASHED] += 1
            log.exception("connection failed peer=%s", carrier.remote)
        finally:
            self._connections -= 1
            await carrier.aclose()

    async def _run(self, carrier: StreamCarrier, network: str) -> None:
        self._half_open[network] += 1
        try:
            link = await open_link(
                carrier,
                self._credentials,
                self._prologue,
                self._roster,
                self._counters,
                initiator=False,
            )
        finally:
            self._half_open[network] -= 1
            self._half_open += Counter()  # drops the zero entries, so the table stays small
        await self._handler(link)


def _network(host: str) -> str:
    """Return the /24 or /64 of an address: what one attacker can have many of."""
    address = ipaddress.ip_address(host.partition("%")[0])
    return str(
        ipaddress.ip_network(f"{address}/{24 if address.version == 4 else 64}", strict=False)
    )
