"""Length-prefixed frames over a byte stream, without I/O (PROTOCOL 14).

A frame is 4 bytes, big-endian, its length, then its bytes. The length is checked as soon as it is
known, so a peer can make the reader hold at most one frame of the limit and what it was fed.
"""

import struct
from collections.abc import Sequence

from transport.base import Fault, LinkClosed

HEAD_BYTES = 4
_HEAD = struct.Struct(">I")


def join_frames(frames: Sequence[bytes]) -> bytes:
    """Return the frames as one piece of a stream."""
    return b"".join([part for frame in frames for part in (_HEAD.pack(len(frame)), frame)])


class FrameReader:
    """Cuts a byte stream into frames, however it is delivered."""

    __slots__ = ("_buffer", "_frame_bytes_max")

    def __init__(self, frame_bytes_max: int) -> None:
        """Read frames of up to `frame_bytes_max` bytes."""
        self._frame_bytes_max = frame_bytes_max
        self._buffer = bytearray()

    @property
    def is_mid_frame(self) -> bool:
        """Whether the stream would end inside a frame now."""
        return bool(self._buffer)

    def feed(self, data: bytes | bytearray) -> list[bytes]:
        """Take the next bytes and return the frames that they complete, each copied once.

        Raises:
            LinkClosed: A length is above the limit; nothing was allocated for it.
        """
        if self._buffer:
            self._buffer += data
            with memoryview(self._buffer) as view:
                frames, used = self._cut(view)
            del self._buffer[:used]  # moves a start offset, not the bytes
        else:
            with memoryview(data) as view:
                frames, used = self._cut(view)
                self._buffer += view[used:]
        return frames

    def _cut(self, view: memoryview) -> tuple[list[bytes], int]:
        """Return the whole frames at the beginning of `view`, and where they end."""
        frames = []
        start, available = 0, len(view)
        while available - start >= HEAD_BYTES:
            (size,) = _HEAD.unpack_from(view, start)
            head = start + HEAD_BYTES
            if size > self._frame_bytes_max:
                raise LinkClosed(
                    Fault.OVERSIZED, f"{size} bytes announced; the limit is {self._frame_bytes_max}"
                )
            if available - head < size:
                break
            start = head + size
            frames.append(bytes(view[head:start]))
        return frames, start
