"""A pair of carriers in one process, for virtual time and tests of everything above them."""

from collections.abc import Sequence

import trio

from transport.base import Fault, LinkClosed

CAPACITY_WRITES = 64


class MemoryCarrier:
    """One end of a pair; a write waits when 64 are unread, as a full socket buffer would."""

    def __init__(
        self,
        sending: trio.MemorySendChannel[tuple[bytes, ...]],
        receiving: trio.MemoryReceiveChannel[tuple[bytes, ...]],
        remote: str,
    ) -> None:
        """Made by `memory_pair`."""
        self._sending, self._receiving, self._remote = sending, receiving, remote
        self._ready: list[bytes] = []
        self._unsent: tuple[bytes, ...] = ()

    @property
    def remote(self) -> str:
        """The other end, for logs."""
        return self._remote

    async def send_frames(self, frames: Sequence[bytes]) -> None:
        """Send all in one write; raises `LinkClosed`."""
        frames, self._unsent = (*self._unsent, *frames), ()
        try:
            await self._sending.send(frames)
        except trio.ClosedResourceError:
            raise LinkClosed(Fault.LOCAL) from None
        except trio.BrokenResourceError:
            raise LinkClosed(Fault.CUT) from None

    def send_nowait(self, frames: Sequence[bytes]) -> bool:
        """Take all; say whether all could go at once."""
        self._unsent += tuple(frames)
        try:
            self._sending.send_nowait(self._unsent)
        except (trio.WouldBlock, trio.ClosedResourceError, trio.BrokenResourceError):
            return False
        self._unsent = ()
        return True

    async def receive_frames(self) -> list[bytes]:
        """Wait for at least one frame and return one write's; raises `LinkClosed`."""
        if not self._ready:
            try:
                return list(await self._receiving.receive())
            except trio.ClosedResourceError:
                raise LinkClosed(Fault.LOCAL) from None
            except trio.EndOfChannel:
                raise LinkClosed(Fault.CLOSED) from None
        frames, self._ready = self._ready, []
        return frames

    def unread(self, frames: Sequence[bytes]) -> None:
        """Give frames back for the next `receive_frames`."""
        self._ready = [*frames, *self._ready]

    async def aclose(self) -> None:
        """Close both directions at once."""
        self._sending.close()
        self._receiving.close()


def memory_pair() -> tuple[MemoryCarrier, MemoryCarrier]:
    """Return two carriers that are connected to each other."""
    to_right = trio.open_memory_channel[tuple[bytes, ...]](CAPACITY_WRITES)
    to_left = trio.open_memory_channel[tuple[bytes, ...]](CAPACITY_WRITES)
    return (
        MemoryCarrier(to_right[0], to_left[1], "right"),
        MemoryCarrier(to_left[0], to_right[1], "left"),
    )
