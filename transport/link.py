"""An authenticated, encrypted link over any carrier: Noise XX bound to an identity (PROTOCOL 14).

The handshake payloads carry the identity key and its signature over the handshake hash, so the
identity holds for this very exchange. Afterwards records carry a stream of length-prefixed frames:
many small frames share one record, a large one spans several.
"""

import contextlib
import logging
import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import trio

from transport.base import (
    RECORD_BYTES_MAX,
    Carrier,
    Counters,
    Fault,
    LinkClosed,
    LinkError,
    LinkRefused,
)
from transport.framing import FrameReader, join_frames
from transport.noise import TAG_BYTES, CipherState, Handshake, NoiseError

log = logging.getLogger(__name__)

MESSAGE_BYTES_MAX = 1 << 20
"""One frame of a link; the same as the greatest message of the table."""
RECORD_PLAIN_BYTES_MAX = RECORD_BYTES_MAX - TAG_BYTES
BATCH_FRAMES_MAX = 100
HANDSHAKE_SECONDS = 5
PING_SECONDS = 15
SILENCE_SECONDS = 45
STALL_SECONDS = 45
"""A write that the peer does not take for so long ends the link: it would wait for ever."""
WATCH_SECONDS = 5
"""How often silence and stalled writes are looked for, and by how much they may be found late."""
REKEY_RECORDS = 1 << 20
_PAYLOAD_VERSION = b"\x01"
_PAYLOAD_BYTES = 1 + 32 + 64


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who speaks on a link: the Noise static key, the identity, and how identities sign."""

    static: bytes
    identity: bytes
    sign: Callable[[bytes], bytes]
    check: Callable[[bytes, bytes, bytes], bool]
    """`check(identity, handshake_hash, signature)`."""


async def open_link(
    carrier: Carrier,
    credentials: Credentials,
    prologue: bytes,
    roster: Callable[[bytes], bool],
    counters: Counters,
    *,
    initiator: bool,
) -> "Link":
    """Shake hands within 5 s and return the link; otherwise close the carrier.

    `roster` decides on the peer's proven identity key. Both ends must name the same `prologue`.

    Raises:
        LinkRefused: Names the fault, which was counted and logged.
    """
    try:
        with trio.fail_after(HANDSHAKE_SECONDS):
            handshake = Handshake(
                initiator=initiator,
                static=credentials.static,
                ephemeral=os.urandom(32),
                prologue=prologue,
            )
            peer = await _shake_hands(carrier, credentials, handshake, roster, initiator)
    except trio.TooSlowError:
        raise await _refuse(carrier, counters, LinkRefused(Fault.HALF_OPEN)) from None
    except NoiseError as error:
        refusal = LinkRefused(Fault.HANDSHAKE, str(error))
        raise await _refuse(carrier, counters, refusal) from None
    except LinkError as error:
        refusal = LinkRefused(error.fault, error.detail)
        raise await _refuse(carrier, counters, refusal) from None
    except BaseException:  # cancelled, most likely: nobody else holds the carrier yet
        with trio.CancelScope(shield=True):
            await carrier.aclose()
        raise
    counters.opened += 1
    sending, receiving = handshake.split()
    return Link(carrier, peer, sending, receiving, counters)


async def _refuse(carrier: Carrier, counters: Counters, refusal: LinkRefused) -> LinkRefused:
    counters.faults[refusal.fault] += 1
    log.warning("link refused peer=%s reason=%s", carrier.remote, refusal)
    await carrier.aclose()
    return refusal


async def _shake_hands(
    carrier: Carrier,
    credentials: Credentials,
    handshake: Handshake,
    roster: Callable[[bytes], bool],
    initiator: bool,
) -> bytes:
    def own_payload(handshake_hash: bytes) -> bytes:
        return _PAYLOAD_VERSION + credentials.identity + credentials.sign(handshake_hash)

    def admit(message: bytes) -> bytes:
        payload, handshake_hash = handshake.read(message)
        if len(payload) != _PAYLOAD_BYTES or payload[:1] != _PAYLOAD_VERSION:
            raise LinkRefused(Fault.IDENTITY, f"a payload of {len(payload)} bytes")
        peer = payload[1:33]
        if not credentials.check(peer, handshake_hash, payload[33:]):
            raise LinkRefused(Fault.IDENTITY)
        if peer == credentials.identity:
            raise LinkRefused(Fault.SELF)
        if not roster(peer):
            raise LinkRefused(Fault.STRANGER, peer[:8].hex())
        return peer

    if initiator:
        await carrier.send_frames([handshake.write(lambda _: b"")])
        peer = admit(await _one_frame(carrier))
        await carrier.send_frames([handshake.write(own_payload)])
        return peer
    if handshake.read(await _one_frame(carrier))[0]:
        raise LinkRefused(Fault.HANDSHAKE, "a payload in the first message")
    await carrier.send_frames([handshake.write(own_payload)])
    # An initiator may send records right behind its last message; the link takes them over.
    last, *rest = await carrier.receive_frames()
    peer = admit(last)
    carrier.unread(rest)
    return peer


async def _one_frame(carrier: Carrier) -> bytes:
    frame, *more = await carrier.receive_frames()
    if more:
        raise LinkRefused(Fault.HANDSHAKE, "more than one message at once")
    return frame


class Link:
    """An open link. One task receives, any task sends, one task runs `keep_alive`."""

    def __init__(
        self,
        carrier: Carrier,
        peer: bytes,
        sending: CipherState,
        receiving: CipherState,
        counters: Counters,
    ) -> None:
        """Made by `open_link` only."""
        self.peer = peer
        """The identity key that the other end has proven."""
        self._carrier = carrier
        self._sending, self._receiving = sending, receiving
        self._counters = counters
        self._reader = FrameReader(MESSAGE_BYTES_MAX)
        self._ready: deque[bytes] = deque()
        self._send_lock = trio.Lock()
        self._ended: LinkClosed | None = None
        self._sent_at = self._heard_at = trio.current_time()
        self._writing_since: float | None = None
        self._owes_send = False

    @property
    def remote(self) -> str:
        """The other end's address, for logs."""
        return self._carrier.remote

    async def send(self, frames: Sequence[bytes]) -> None:
        """Send all frames, 1 byte to 1 MiB each, in one write.

        Raises:
            LinkClosed: The link has ended. Cancelled on the way, a link ends too.
        """
        for frame in frames:
            assert 0 < len(frame) <= MESSAGE_BYTES_MAX, f"a frame of {len(frame)} bytes"
        await self._write(frames)
        self._counters.frames_sent += len(frames)

    @property
    def is_sending(self) -> bool:
        """Whether a send is under way, or one is owed after `send_nowait`."""
        return self._owes_send or self._send_lock.locked()

    def send_nowait(self, frames: Sequence[bytes]) -> bool:
        """Take all frames and send what goes out without waiting; say whether that is all.

        If not, `send` has to be called next, with nothing or more; it also says why a link has
        ended. Not to be called while `is_sending`.
        """
        assert not self.is_sending, "another send is under way"
        for frame in frames:
            assert 0 < len(frame) <= MESSAGE_BYTES_MAX, f"a frame of {len(frame)} bytes"
        if self._ended:
            return False
        stream = memoryview(join_frames(frames))
        self._owes_send = not self._carrier.send_nowait(self._seal(stream))
        self._count_write(len(stream))
        self._counters.frames_sent += len(frames)
        return not self._owes_send

    async def receive(self) -> list[bytes]:
        """Wait for a frame and return all that have arrived whole, up to 100 in order.

        Raises:
            LinkClosed: The link has ended; the fault was counted and logged.
        """
        ready = self._ready
        while not ready:
            try:
                for record in await self._carrier.receive_frames():
                    ready += [frame for frame in self._open(record) if frame]
            except LinkClosed as error:
                ready.clear()  # whole frames beside a bad record are as suspect
                raise await self._end(error) from None
            self._heard_at = trio.current_time()
        batch = [ready.popleft() for _ in range(min(len(ready), BATCH_FRAMES_MAX))]
        self._counters.frames_received += len(batch)
        return batch

    async def keep_alive(self) -> None:
        """Ping when nothing was sent for 15 s; end the link when nothing comes or goes for 45 s.

        Returns when the link has ended.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._ping)  # apart, for it may wait behind a stalled write
            while self._ended is None:
                await trio.sleep(WATCH_SECONDS)
                now = trio.current_time()
                if now - self._heard_at >= SILENCE_SECONDS:
                    await self._end(LinkClosed(Fault.SILENT))
                since = self._writing_since
                if since is not None and now - since >= STALL_SECONDS:
                    await self._end(LinkClosed(Fault.STALLED))
            nursery.cancel_scope.cancel()

    async def _ping(self) -> None:
        with contextlib.suppress(LinkClosed):
            while True:
                await trio.sleep(WATCH_SECONDS)
                if trio.current_time() - self._sent_at >= PING_SECONDS:
                    await self._write([b""])

    async def aclose(self) -> None:
        """Close at once."""
        await self._end(LinkClosed(Fault.LOCAL))

    def _open(self, record: bytes) -> list[bytes]:
        try:
            plain = self._receiving.decrypt(b"", record)
        except NoiseError as error:
            raise LinkClosed(Fault.BAD_RECORD, str(error)) from None
        if self._receiving.nonce % REKEY_RECORDS == 0:
            self._receiving.rekey()
        self._counters.bytes_received += len(record)
        return self._reader.feed(plain)

    async def _write(self, frames: Sequence[bytes]) -> None:
        stream = memoryview(join_frames(frames))
        async with self._send_lock:
            if self._ended:
                raise LinkClosed(self._ended.fault, self._ended.detail)
            self._owes_send = False
            records = self._seal(stream)
            self._writing_since = trio.current_time()
            try:
                await self._carrier.send_frames(records)
            except LinkClosed as error:
                raise await self._end(error) from None
            except trio.Cancelled:
                # Part of a record may be out, so nothing can follow it.
                with trio.CancelScope(shield=True):
                    await self._end(LinkClosed(Fault.LOCAL, "a send was cancelled"))
                raise
            finally:
                self._writing_since = None
        self._count_write(len(stream))

    def _seal(self, stream: memoryview) -> list[bytes]:
        records = []
        for start in range(0, len(stream), RECORD_PLAIN_BYTES_MAX):
            piece = stream[start : start + RECORD_PLAIN_BYTES_MAX]
            records.append(self._sending.encrypt(b"", piece))
            if self._sending.nonce % REKEY_RECORDS == 0:
                self._sending.rekey()
        return records

    def _count_write(self, size: int) -> None:
        self._sent_at = trio.current_time()
        self._counters.writes += 1
        self._counters.bytes_sent += size

    async def _end(self, reason: LinkClosed) -> LinkClosed:
        """End once: the first reason counts, later calls return it."""
        if self._ended is None:
            self._ended = reason
            self._counters.faults[reason.fault] += 1
            level = logging.INFO if reason.fault in _ORDINARY else logging.WARNING
            log.log(level, "link ended peer=%s reason=%s", self._carrier.remote, reason)
            await self._carrier.aclose()
        return LinkClosed(self._ended.fault, self._ended.detail)


_ORDINARY = (Fault.LOCAL, Fault.CLOSED, Fault.CUT)
