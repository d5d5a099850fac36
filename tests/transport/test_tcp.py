"""PROTOCOL 14 over loopback sockets: what a door admits, what it closes, and that it stays open."""

import logging
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from tests.transport.links import STRANGER, TABLE, A, B, anybody, credentials
from transport import tcp
from transport.base import Address, Counters, Fault, LinkClosed, LinkRefused
from transport.framing import join_frames
from transport.link import Link
from transport.tcp import HALF_OPEN_PER_NETWORK_MAX, Door, StreamCarrier, dial

SECONDS_MAX = 10
HERE = Address("127.0.0.1", 0)


async def echo(link: Link) -> None:
    """Answer every batch with itself."""
    while True:
        await link.send(await link.receive())


@asynccontextmanager
async def door(
    handler: Callable[[Link], Awaitable[None]] = echo,
    *,
    roster: Callable[[bytes], bool] = anybody,
) -> AsyncIterator[tuple[Address, Counters]]:
    """Run a door of B on a free port; afterwards check that it still lets A in."""
    counters = Counters()
    with trio.fail_after(SECONDS_MAX):
        async with trio.open_nursery() as nursery:
            (address, *_) = await nursery.start(
                Door(credentials(B), TABLE, roster, counters, handler).serve, HERE
            )
            yield address, counters
            link = await connect(address)
            await link.send([b"still there?"])
            assert await link.receive() == [b"still there?"]
            await link.aclose()
            nursery.cancel_scope.cancel()


async def connect(address: Address) -> Link:
    """Dial as A."""
    return await dial(address, credentials(A), TABLE, anybody, Counters())


async def end_of(stream: trio.SocketStream) -> None:
    """Read until the other end closes."""
    try:
        while await stream.receive_some():
            pass
    except trio.BrokenResourceError:
        pass


async def until(condition: Callable[[], bool]) -> None:
    """Let the other tasks run until something that they do is done."""
    while not condition():  # noqa: ASYNC110  (what it waits for are counters)
        await trio.sleep(0.001)


async def refusal(address: Address, prologue: bytes = TABLE, keys: object = None) -> Fault:
    """Dial, and return how the link ends."""
    shown = credentials(STRANGER if keys is None else A)
    try:
        link = await dial(address, shown, prologue, anybody, Counters())
        await link.receive()
    except (LinkRefused, LinkClosed) as error:
        return error.fault
    raise AssertionError("a link that should have been refused")


async def test_a_stranger_is_closed_counted_and_named(caplog: pytest.LogCaptureFixture) -> None:
    async with door(roster=A.identity.public_key.__eq__) as (address, counters):
        assert await refusal(address) in {Fault.CLOSED, Fault.CUT}
        assert counters.faults == {Fault.STRANGER: 1}
        assert f"reason={Fault.STRANGER}" in caplog.text
        assert STRANGER.identity.public_key[:8].hex() in caplog.text


async def test_a_member_of_another_table_is_refused_by_both_sides() -> None:
    async with door() as (address, counters):
        assert await refusal(address, b"another chain id", A) is Fault.HANDSHAKE
        await until(lambda: bool(counters.faults))
        assert set(counters.faults) <= {Fault.CLOSED, Fault.CUT}


@pytest.mark.parametrize(
    ("first", "fault"),
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", Fault.OVERSIZED),
        (b"\xff" * 64, Fault.OVERSIZED),
        ((1 << 16).to_bytes(4, "big"), Fault.OVERSIZED),
        (join_frames([b""]), Fault.HANDSHAKE),
        (join_frames([b"", b"", b""]), Fault.HANDSHAKE),
        (join_frames([bytes(32)]), Fault.HANDSHAKE),
        (join_frames([b"x" * 65_535]), Fault.HANDSHAKE),
    ],
)
async def test_what_is_no_handshake_is_closed_at_once(first: bytes, fault: Fault) -> None:
    async with door() as (address, counters):
        stream = await trio.open_tcp_stream(*address)
        await stream.send_all(first)
        await end_of(stream)
        assert counters.faults == {fault: 1}
        await stream.aclose()


async def test_a_connection_that_ends_inside_the_handshake_is_counted() -> None:
    async with door() as (address, counters):
        stream = await trio.open_tcp_stream(*address)
        await stream.aclose()
        await until(lambda: counters.faults[Fault.CLOSED] == 1)
        stream = await trio.open_tcp_stream(*address)
        await stream.send_all(b"\0\0\0\x20only the beginning")
        await stream.aclose()
        await until(lambda: counters.faults[Fault.CUT] == 1)
        assert counters.opened == 0


async def test_half_open_handshakes_of_one_network_are_bounded_and_the_rest_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with door() as (address, counters):
        waiting = [await trio.open_tcp_stream(*address) for _ in range(HALF_OPEN_PER_NETWORK_MAX)]
        await trio.testing.wait_all_tasks_blocked(0.02)
        assert not counters.faults
        for count in (1, 2, 3):
            stream = await trio.open_tcp_stream(*address)
            await end_of(stream)
            await stream.aclose()
            assert counters.faults == {Fault.TOO_MANY: count}
        assert f"reason={Fault.TOO_MANY}" in caplog.text
        for stream in waiting:
            await stream.aclose()
        await until(lambda: counters.faults.total() == 3 + len(waiting))


async def test_half_open_handshakes_of_all_networks_together_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tcp, "HALF_OPEN_MAX", 5)
    async with door() as (address, counters):
        streams = [
            await trio.open_tcp_stream(*address, local_address=f"127.0.{i}.1") for i in range(6)
        ]
        await until(lambda: counters.faults == {Fault.TOO_MANY: 1})
        for stream in streams:
            await stream.aclose()
        await until(lambda: counters.faults.total() == len(streams))


async def test_open_links_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "LINKS_MAX", 2)
    async with door() as (address, counters):
        links = [await connect(address) for _ in range(2)]
        for link in links:  # open at the other end as well
            await link.send([b"x"])
            await link.receive()
        stream = await trio.open_tcp_stream(*address)
        await end_of(stream)
        await stream.aclose()
        assert counters.faults == {Fault.TOO_MANY: 1}
        for link in links:
            await link.aclose()
        await until(lambda: counters.faults.total() == 3)


@pytest.mark.parametrize(
    ("sent", "reset", "fault"),
    [
        (b"", False, Fault.CLOSED),
        (b"", True, Fault.CUT),
        ((1000).to_bytes(4, "big") + b"a part of it", False, Fault.CUT),
        ((1000).to_bytes(4, "big") + b"a part of it", True, Fault.CUT),
    ],
)
async def test_only_an_end_between_frames_is_a_clean_one(
    sent: bytes, reset: bool, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with door() as (address, counters):
        link = await connect(address)
        await link.send([b"x"])
        await link.receive()
        assert isinstance(link._carrier, StreamCarrier)
        stream = link._carrier._stream
        assert isinstance(stream, trio.SocketStream)
        if sent:
            await stream.send_all(sent)
        if reset:
            linger = struct.pack("ii", 1, 0)
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        await stream.aclose()
        await until(lambda: bool(counters.faults))
        assert counters.faults == {fault: 1}
        assert counters.frames_received == 1
        assert f"reason={fault}" in caplog.text


Tamper = Callable[[list[bytes]], list[bytes]]
"""Takes the carrier's frames of the dialler so far and returns what goes on instead of the last."""


async def relay(
    stream: trio.SocketStream, target: Address, tamper: Tamper, nursery: trio.Nursery
) -> None:
    """Carry one connection to `target`, every frame of the dialler through `tamper`."""
    onward = await trio.open_tcp_stream(*target)

    async def back() -> None:
        try:
            while data := await onward.receive_some():
                await stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        await trio.aclose_forcefully(stream)

    nursery.start_soon(back)
    seen: list[bytes] = []
    incoming = StreamCarrier(stream, "dialler")
    try:
        while True:
            for frame in await incoming.receive_frames():
                seen.append(frame)
                await onward.send_all(join_frames(tamper(seen)))
    except (LinkClosed, trio.BrokenResourceError):
        await trio.aclose_forcefully(onward)


def later(change: Callable[[list[bytes]], list[bytes]]) -> Tamper:
    """Leave the two handshake messages and the first record alone."""
    return lambda seen: seen[-1:] if len(seen) <= 3 else change(seen)


def flip(frame: bytes, at: int) -> bytes:
    """Return the frame with one bit changed."""
    return frame[:at] + bytes((frame[at] ^ 0x80,)) + frame[at + 1 :]


@pytest.mark.parametrize(
    ("tamper", "fault"),
    [
        (later(lambda seen: [seen[-1], seen[-1]]), Fault.BAD_RECORD),
        (later(lambda seen: [seen[2]]), Fault.BAD_RECORD),
        (later(lambda seen: [flip(seen[-1], 0)]), Fault.BAD_RECORD),
        (later(lambda seen: [flip(seen[-1], len(seen[-1]) - 1)]), Fault.BAD_RECORD),
        (later(lambda seen: [] if len(seen) == 4 else [seen[4], seen[3]]), Fault.BAD_RECORD),
        (later(lambda seen: [] if len(seen) == 4 else [seen[4]]), Fault.BAD_RECORD),
        (later(lambda seen: [seen[-1][:-1]]), Fault.BAD_RECORD),
        (later(lambda seen: [b""]), Fault.BAD_RECORD),
        (lambda seen: [flip(seen[-1], 5)] if len(seen) == 2 else seen[-1:], Fault.HANDSHAKE),
        (lambda seen: [seen[0]], Fault.HANDSHAKE),
        (lambda seen: [seen[-1], seen[-1]], Fault.HANDSHAKE),
    ],
    ids=[
        "record doubled", "older record again", "first bit", "last bit", "records swapped",
        "record lost", "record cut", "record emptied", "third message altered",
        "first message as third", "first message doubled",
    ],
)  # fmt: skip
async def test_a_relay_that_alters_the_stream_is_noticed_at_once(
    tamper: Tamper, fault: Fault
) -> None:
    got: list[bytes] = []

    async def handler(link: Link) -> None:
        while True:
            frames = await link.receive()
            got.extend(frames)
            await link.send(frames)

    async with door(handler) as (address, counters), trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        between = Address(*listener.socket.getsockname())
        nursery.start_soon(
            trio.serve_listeners, lambda s: relay(s, address, tamper, nursery), [listener]
        )
        try:
            link = await connect(between)
            for word in (b"first", b"second", b"third"):
                await link.send([word])
                if word == b"first":
                    assert await link.receive() == [word]
            await link.receive()
            await link.receive()
            raise AssertionError("an altered stream went through")
        except (LinkClosed, LinkRefused):
            pass
        await until(lambda: counters.faults[fault] == 1)
        assert got in ([], [b"first"], [b"first", b"second"])
        nursery.cancel_scope.cancel()


async def test_a_failing_handler_ends_its_link_only(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(link: Link) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.keep_alive)
            for frame in await link.receive():
                if frame == b"crash":
                    raise RuntimeError("the handler's own fault")
                await link.send([frame])
            await link.receive()

    async with door(handler) as (address, counters):
        good = await connect(address)
        bad = await connect(address)
        await bad.send([b"crash"])
        with pytest.raises(LinkClosed):
            await bad.receive()
        assert counters.faults[Fault.CRASHED] == 1
        assert "the handler's own fault" in caplog.text
        await good.send([b"hello"])
        assert await good.receive() == [b"hello"]
        await good.aclose()  # its handler ends by LinkClosed in a group: no crash
        await until(lambda: counters.faults[Fault.CLOSED] == 1)
        assert counters.faults[Fault.CRASHED] == 1


async def test_a_cancelled_dial_leaves_no_connection() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    address = Address(*listener.socket.getsockname())
    with trio.fail_after(SECONDS_MAX):
        with trio.move_on_after(0.05):
            await connect(address)
        stream = await listener.accept()
        await end_of(stream)
        await stream.aclose()
    await listener.aclose()


async def test_a_dial_that_nobody_answers_says_where() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    address = Address(*listener.socket.getsockname())
    await listener.aclose()
    with pytest.raises(LinkRefused, match=rf"127\.0\.0\.1:{address.port}") as error:
        await connect(address)
    assert error.value.fault is Fault.CUT


async def test_ipv6_is_served_and_its_half_open_handshakes_are_counted_by_64() -> None:
    try:
        (listener,) = await trio.open_tcp_listeners(0, host="::1")
    except OSError:
        pytest.skip("no IPv6 here")
    await listener.aclose()
    with trio.fail_after(SECONDS_MAX):
        async with trio.open_nursery() as nursery:
            served = Door(credentials(B), TABLE, anybody, Counters(), echo)
            (address, *_) = await nursery.start(served.serve, Address("::1", 0))
            link = await connect(address)
            await link.send([b"x"])
            assert await link.receive() == [b"x"]
            await link.aclose()
            nursery.cancel_scope.cancel()
    assert tcp._network("2001:db8::1") == tcp._network("2001:db8::ffff:2")
    assert tcp._network("2001:db8::1") != tcp._network("2001:db8:0:1::1")
    assert tcp._network("10.0.0.1") == tcp._network("10.0.0.254")
    assert tcp._network("fe80::1%eth0") == tcp._network("fe80::2")


async def test_what_cannot_be_sent_at_once_goes_first_with_the_next_send() -> None:
    async with link_that_is_read_late() as (link, read):
        frames = [b"%d " % i + bytes(10_000) for i in range(2_000)]
        taken = 0
        while link.send_nowait(frames[taken : taken + 3]):
            taken += 3
        taken += 3
        assert 0 < taken < len(frames)
        assert link.is_sending
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.send, frames[taken:])
            assert await read(len(frames)) == frames
        assert not link.is_sending
        assert link.send_nowait([b"at once"])
        assert await read(1) == [b"at once"]


async def test_a_part_that_was_not_sent_at_once_needs_nothing_more_to_go_out() -> None:
    async with link_that_is_read_late() as (link, read):
        frames = [bytes([i % 256]) * 10_000 for i in range(2_000)]
        taken = next(i for i, frame in enumerate(frames, 1) if not link.send_nowait([frame]))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.send, [])
            assert await read(taken) == frames[:taken]


async def test_sending_at_once_on_a_link_that_has_ended_leaves_it_to_send_to_say_so() -> None:
    async with link_that_is_read_late() as (link, _):
        await link.aclose()
        assert not link.send_nowait([b"x"])
        with pytest.raises(LinkClosed) as error:
            await link.send([])
        assert error.value.fault == Fault.LOCAL


async def test_a_connection_that_broke_is_named_after_a_send_at_once() -> None:
    async with link_that_is_read_late() as (link, read):
        await read(-1)
        while link.send_nowait([bytes(60_000)]):
            await trio.lowlevel.checkpoint()
        with pytest.raises(LinkClosed) as error:
            await link.send([])
        assert error.value.fault in {Fault.CUT, Fault.CLOSED}


@asynccontextmanager
async def link_that_is_read_late() -> AsyncIterator[
    tuple[Link, Callable[[int], Awaitable[list[bytes]]]]
]:
    """Open a link to a door that reads only when asked: a number of frames, or -1 to close."""
    opened: list[Link] = []
    arrived = trio.Event()

    async def keep(link: Link) -> None:
        opened.append(link)
        arrived.set()
        await trio.sleep_forever()

    async def read(count: int) -> list[bytes]:
        await arrived.wait()
        if count < 0:
            await opened[0].aclose()
            return []
        frames: list[bytes] = []
        while len(frames) < count:
            frames += await opened[0].receive()
        return frames

    with trio.fail_after(SECONDS_MAX):
        async with trio.open_nursery() as nursery:
            (address, *_) = await nursery.start(
                Door(credentials(B), TABLE, anybody, Counters(), keep).serve, HERE
            )
            link = await connect(address)
            yield link, read
            await link.aclose()
            nursery.cancel_scope.cancel()
