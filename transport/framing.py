"""Length-prefixed frames over a byte stream, without I/O (PROTOCOL 14).

A frame is 4 bytes, big-endian, its length, then its bytes. The length is checked as soon as it is
known, so a peer can make the reader hold at most one frame of the limit and what it was fed.
"""

from collections.abc import Sequence

from transport.base import Fault, LinkClosed

HEAD_BYTES = 4


def join_frames(frames: Sequence[bytes]) -> bytes:
    """Return the frames as one piece of a stream."""
    return b"".join([part for frame in frames for part in (len(frame).to_bytes(4, "big"), frame)])


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

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes and return the frames that they complete.

        Raises:
            LinkClosed: A length is above the limit; nothing was allocated for it.
        """
        buffer = self._buffer
        buffer += data
        frames = []
        start = 0
        while len(buffer) - start >= HEAD_BYTES:
            size = int.from_bytes(buffer[start : start + HEAD_BYTES], "big")
            if size > self._frame_bytes_max:
                raise LinkClosed(
                    Fault.OVERSIZED, f"{size} bytes announced; the limit is {self._frame_bytes_max}"
                )
            end = start + HEAD_BYTES + size
            if len(buffer) < end:
                break
            frames.append(bytes(buffer[start + HEAD_BYTES : end]))
            start = end
        del buffer[:start]
        return frames
