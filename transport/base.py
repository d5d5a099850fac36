"""What carries frames, where it goes, and why it ends (PROTOCOL 14)."""

import enum
import ipaddress
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

RECORD_BYTES_MAX = 65_535
"""One frame of a carrier: a Noise message at its greatest (Noise specification, section 3)."""
HOST_CHARS_MAX = 64


class Fault(enum.StrEnum):
    """Why a connection ended or was refused; the value is the name in counters and logs."""

    HALF_OPEN = "handshake not finished in time"
    HANDSHAKE = "handshake does not verify: another table, or altered on the way"
    IDENTITY = "identity signature does not verify"
    STRANGER = "identity is not on the roster"
    SELF = "own identity at the other end"
    TOO_MANY = "too many connections or half-open handshakes"
    BAD_RECORD = "record was altered, replayed or out of order"
    OVERSIZED = "length above the limit"
    SILENT = "nothing received for too long"
    STALLED = "a write was not taken for too long"
    CUT = "connection broke"
    CLOSED = "closed by the peer"
    LOCAL = "closed here"
    CRASHED = "handler failed, see the traceback"


class LinkError(Exception):
    """A connection is over; `fault` says why."""

    def __init__(self, fault: Fault, detail: str = "") -> None:
        """Keep the reason as a value; `detail` adds numbers for the log."""
        super().__init__(f"{fault}: {detail}" if detail else str(fault))
        self.fault = fault
        self.detail = detail


class LinkRefused(LinkError):  # noqa: N818  (says what happened; LinkError is the base)
    """The handshake did not end in a link."""


class LinkClosed(LinkError):  # noqa: N818  (the same)
    """The link, once open, has ended; nothing more can be sent or received on it."""


@dataclass(slots=True)
class Counters:
    """What connections did since the start, shared by all links of a node."""

    opened: int = 0
    faults: Counter[Fault] = field(default_factory=Counter)
    frames_sent: int = 0
    frames_received: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    writes: int = 0


class Carrier(Protocol):
    """Moves frames of up to `RECORD_BYTES_MAX` bytes, in order, unprotected."""

    @property
    def remote(self) -> str:
        """The other end, for logs."""
        ...

    async def send_frames(self, frames: Sequence[bytes]) -> None:
        """Send all in one write; raises `LinkClosed`. Cancelled, it leaves the carrier unusable.

        What `send_nowait` could not send goes out first.
        """
        ...

    def send_nowait(self, frames: Sequence[bytes]) -> bool:
        """Take all and send what goes out without waiting; say whether that is all.

        If not, or if the carrier is closed, `send_frames` has to be called next, with nothing or
        more. Not to be called while a `send_frames` is under way.
        """
        ...

    async def receive_frames(self) -> list[bytes]:
        """Wait for at least one frame and return all that have arrived; raises `LinkClosed`."""
        ...

    def unread(self, frames: Sequence[bytes]) -> None:
        """Give frames back, to be returned first by the next `receive_frames`."""
        ...

    async def aclose(self) -> None:
        """Close at once, without waiting for the peer; ends a waiting `receive_frames`."""
        ...


class Address(NamedTuple):
    """Where to listen or dial: a literal IP address or a host name, and a port."""

    host: str
    port: int

    def __str__(self) -> str:  # type: ignore[explicit-override]  # typing.override is 3.12
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Return the address of `host:port` or `[ipv6]:port`.

    Raises:
        ValueError: The text is not one; the message names it.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit() and int(port[:9]) <= 65_535):
        raise ValueError(f"{text[:80]!r} is not host:port with a port of 0 to 65535")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        try:
            host.encode("ascii")  # the library takes a zone of any characters
            ipaddress.IPv6Address(host)
        except ValueError:
            raise ValueError(f"{text[:80]!r} has no IPv6 address in its brackets") from None
    elif not (0 < len(host) <= HOST_CHARS_MAX and host.isascii() and _is_host(host)):
        raise ValueError(f"{text[:80]!r} has no host name or IP address before the port")
    return Address(host, int(port))


def _is_host(host: str) -> bool:
    return all(char.isalnum() or char in "-._" for char in host)
