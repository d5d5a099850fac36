"""PROTOCOL 14: what goes through a link, and every way in which one is refused or ends."""

import logging
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tests.transport.links import STRANGER, TABLE, A, B, End, Pair, credentials, shake_hands
from transport.base import RECORD_BYTES_MAX, Counters, Fault, LinkClosed, LinkRefused
from transport.framing import join_frames
from transport.link import (
    BATCH_FRAMES_MAX,
    HANDSHAKE_SECONDS,
    MESSAGE_BYTES_MAX,
    REKEY_RECORDS,
    SILENCE_SECONDS,
    STALL_SECONDS,
    WATCH_SECONDS,
    Link,
    open_link,
)
from transport.memory import MemoryCarrier, memory_pair
from transport.noise import Handshake


async def receive(link: Link, count: int) -> list[bytes]:
    """Return the next `count` frames."""
    got: list[bytes] = []
    while len(got) < count:
        got += await link.receive()
    return got


async def test_frames_of_every_size_arrive_whole_and_in_order(autojump_clock: MockClock) -> None:
    left, right = (await shake_hands()).links
    assert left.peer == B.identity.public_key
    assert right.peer == A.identity.public_key
    frames = [b"x", os.urandom(300), os.urandom(65_519), os.urandom(MESSAGE_BYTES_MAX), b"end"]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.send, frames)
        assert await receive(right, len(frames)) == frames


async def test_many_small_frames_are_one_write_and_come_in_batches(
    autojump_clock: MockClock,
) -> None:
    pair = await shake_hands()
    left, right = pair.links
    frames = [bytes((i % 256,)) for i in range(2 * BATCH_FRAMES_MAX + 7)]
    await left.send(frames)
    assert pair.left.counters.writes == 1
    batches = [await right.receive() for _ in range(3)]
    assert [len(batch) for batch in batches] == [BATCH_FRAMES_MAX, BATCH_FRAMES_MAX, 7]
    assert [frame for batch in batches for frame in batch] == frames
    assert pair.right.counters.frames_received == pair.left.counters.frames_sent == len(frames)


async def test_frames_of_several_senders_are_never_mixed(autojump_clock: MockClock) -> None:
    left, right = (await shake_hands()).links
    long = [bytes((i,)) * 200_000 for i in range(4)]
    async with trio.open_nursery() as nursery:
        for frame in long:
            nursery.start_soon(left.send, [frame, frame[:1]])
        got = await receive(right, 8)
    assert sorted(got[::2]) == long
    assert all(short == frame[:1] for frame, short in zip(got[::2], got[1::2], strict=True))


def only(key: bytes) -> Callable[[bytes], bool]:
    """Admit one identity."""
    return lambda peer: peer == key


FORGED = replace(credentials(A), sign=lambda _: bytes(64))
CLAIMED = replace(credentials(STRANGER), identity=A.identity.public_key)
OFF_CURVE = replace(credentials(A), identity=b"\x02" + bytes(31), sign=lambda _: bytes(64))
REFUSALS = {
    "another table": (
        End(credentials(A), b"one"),
        End(credentials(B), b"two"),
        (Fault.HANDSHAKE, Fault.CLOSED),
    ),
    "a stranger dials": (
        End(credentials(STRANGER)),
        End(credentials(B), roster=only(A.identity.public_key)),
        (None, Fault.STRANGER),
    ),
    "a stranger answers": (
        End(credentials(A), roster=only(B.identity.public_key)),
        End(credentials(STRANGER)),
        (Fault.STRANGER, Fault.CLOSED),
    ),
    "the own identity": (End(credentials(A)), End(credentials(A)), (Fault.SELF, Fault.CLOSED)),
    "no signature": (End(FORGED), End(credentials(B)), (None, Fault.IDENTITY)),
    "another's identity": (End(CLAIMED), End(credentials(B)), (None, Fault.IDENTITY)),
    "another's identity answers": (
        End(credentials(B)),
        End(CLAIMED),
        (Fault.IDENTITY, Fault.CLOSED),
    ),
    "a key that is no point": (End(OFF_CURVE), End(credentials(B)), (None, Fault.IDENTITY)),
}


@pytest.mark.parametrize("case", REFUSALS)
async def test_a_handshake_that_is_not_right_is_refused_counted_and_named(
    case: str, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    left, right, expected = REFUSALS[case]
    left, right = replace(left, counters=Counters()), replace(right, counters=Counters())
    await shake_hands(left, right)
    for end, want in zip((left, right), expected, strict=True):
        if want is None:  # an initiator is done with its last message and learns it by reading
            assert end.link is not None
            with pytest.raises(LinkClosed) as error:
                await end.link.receive()
            assert error.value.fault is Fault.CLOSED
        else:
            assert end.link is None
            assert end.fault is want
            assert end.counters.faults == {want: 1}
            assert end.counters.opened == 0
            assert f"reason={want}" in caplog.text


async def test_a_signature_of_one_handshake_does_not_serve_another(
    autojump_clock: MockClock,
) -> None:
    kept: list[bytes] = []

    def keep(handshake_hash: bytes) -> bytes:
        kept.append(A.sign_link(handshake_hash))
        return kept[-1]

    await shake_hands(End(replace(credentials(A), sign=keep)))
    replayed = End(replace(credentials(A), sign=lambda _: kept[0]))
    pair = await shake_hands(replayed)
    assert pair.right.fault is Fault.IDENTITY


@pytest.mark.parametrize("initiator", [True, False])
async def test_a_half_open_handshake_ends_after_five_seconds(
    initiator: bool, autojump_clock: MockClock
) -> None:
    counters, start = Counters(), trio.current_time()
    other, carrier = memory_pair()
    with pytest.raises(LinkRefused) as error:
        await open_link(
            carrier, credentials(A), TABLE, lambda _: True, counters, initiator=initiator
        )
    assert error.value.fault is Fault.HALF_OPEN
    assert counters.faults == {Fault.HALF_OPEN: 1}
    assert trio.current_time() - start == pytest.approx(HANDSHAKE_SECONDS)
    with pytest.raises(LinkClosed):  # what was sent may still be read, then there is nothing more
        await other.receive_frames() and await other.receive_frames()


GOOD_FIRST = Handshake(
    initiator=True, static=bytes(32), ephemeral=b"\1" * 32, prologue=TABLE
).write(lambda _: b"")


@pytest.mark.parametrize(
    "frames",
    [
        [b""],
        [b"GET / HTTP/1.1\r\n\r\n"],
        [bytes(32)],  # a key of small order
        [GOOD_FIRST[:-1]],
        [GOOD_FIRST + b"payload"],
        [GOOD_FIRST, GOOD_FIRST],
        [os.urandom(RECORD_BYTES_MAX)],
    ],
    ids=["empty", "http", "small order", "short", "payload", "two at once", "noise"],
)
async def test_a_first_message_that_is_none_is_refused(
    frames: list[bytes], autojump_clock: MockClock
) -> None:
    counters = Counters()
    other, carrier = memory_pair()
    await other.send_frames(frames)
    with pytest.raises(LinkRefused) as error:
        await open_link(carrier, credentials(A), TABLE, lambda _: True, counters, initiator=False)
    assert error.value.fault is Fault.HANDSHAKE
    assert counters.faults == {Fault.HANDSHAKE: 1}


async def dial_raw(
    carrier: MemoryCarrier, payload: Callable[[bytes], bytes], *words: bytes
) -> None:
    """Shake hands as A without the code of a link; send `words` as records right behind."""
    handshake = Handshake(
        initiator=True, static=A.link_secret, ephemeral=b"\1" * 32, prologue=TABLE
    )
    await carrier.send_frames([handshake.write(lambda _: b"")])
    handshake.read((await carrier.receive_frames())[0])
    last = handshake.write(payload)
    sending, _ = handshake.split()
    records = [sending.encrypt(b"", join_frames([word])) for word in words]
    await carrier.send_frames([last, *records])


IDENTITY = A.identity.public_key
PAYLOADS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "another version": lambda h: b"\x02" + IDENTITY + A.sign_link(h),
    "too short": lambda h: b"\x01" + IDENTITY + A.sign_link(h)[:-1],
    "too long": lambda h: b"\x01" + IDENTITY + A.sign_link(h) + b"\0",
}


@pytest.mark.parametrize("which", PAYLOADS)
async def test_a_payload_of_another_form_is_refused(which: str, autojump_clock: MockClock) -> None:
    other, carrier = memory_pair()
    counters = Counters()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dial_raw, other, PAYLOADS[which])
        with pytest.raises(LinkRefused, match="payload of") as error:
            await open_link(
                carrier, credentials(B), TABLE, lambda _: True, counters, initiator=False
            )
    assert error.value.fault is Fault.IDENTITY


async def test_records_right_behind_the_handshake_are_taken_over(
    autojump_clock: MockClock,
) -> None:
    other, carrier = memory_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            dial_raw, other, lambda h: b"\x01" + IDENTITY + A.sign_link(h), b"one", b"two"
        )
        link = await open_link(
            carrier, credentials(B), TABLE, lambda _: True, Counters(), initiator=False
        )
    assert link.peer == IDENTITY
    assert await link.receive() == [b"one", b"two"]


async def test_a_cancelled_handshake_leaves_nothing_open(autojump_clock: MockClock) -> None:
    other, carrier = memory_pair()
    with trio.move_on_after(1):
        await open_link(carrier, credentials(A), TABLE, lambda _: True, Counters(), initiator=False)
    with pytest.raises(LinkClosed):
        await other.receive_frames()


def altered(record: bytes, at: int) -> bytes:
    return record[:at] + bytes((record[at] ^ 1,)) + record[at + 1 :]


ATTACKS: dict[str, Callable[[bytes, bytes], Sequence[bytes]]] = {
    "replayed": lambda one, two: [one, one],
    "first bit": lambda one, two: [one, altered(two, 0)],
    "last bit": lambda one, two: [one, altered(two, len(two) - 1)],
    "swapped": lambda one, two: [two, one],
    "left out": lambda one, two: [two],
    "cut short": lambda one, two: [one, two[:-1]],
    "prolonged": lambda one, two: [one, two + b"\0"],
    "joined": lambda one, two: [one + two],
    "empty": lambda one, two: [one, b""],
    "reflected": lambda one, two: [],
}


@pytest.mark.parametrize("attack", ATTACKS)
async def test_a_record_that_is_not_the_next_ends_the_link_and_nothing_else_happens(
    attack: str, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    pair = await shake_hands()
    left, right = pair.links
    await left.send([b"one"])
    await left.send([b"two"])
    one, two = [(await pair.carriers[1].receive_frames())[0] for _ in range(2)]
    records = list(ATTACKS[attack](one, two))
    if attack == "reflected":  # what `right` itself has sent
        await right.send([b"mine"])
        records = await pair.carriers[0].receive_frames()
    pair.carriers[1].unread(records)
    for _ in range(2):  # the second call finds the same end and counts nothing
        with pytest.raises(LinkClosed) as error:
            await right.receive()
        assert error.value.fault is Fault.BAD_RECORD
    assert pair.right.counters.faults == {Fault.BAD_RECORD: 1}
    assert pair.right.counters.frames_received == 0
    assert f"reason={Fault.BAD_RECORD}" in caplog.text
    with pytest.raises(LinkClosed):
        await right.send([b"after"])
    with pytest.raises(LinkClosed):
        await left.receive()


async def test_a_record_of_another_link_between_the_same_two_ends_the_link(
    autojump_clock: MockClock,
) -> None:
    first, second = await shake_hands(), await shake_hands()
    await first.links[0].send([b"from the first"])
    second.carriers[1].unread(await first.carriers[1].receive_frames())
    with pytest.raises(LinkClosed) as error:
        await second.links[1].receive()
    assert error.value.fault is Fault.BAD_RECORD


async def test_a_frame_above_the_limit_ends_the_link_at_its_length(
    autojump_clock: MockClock,
) -> None:
    pair = await shake_hands()
    left, right = pair.links
    # A peer with the keys of this link, but not its code.
    head = (MESSAGE_BYTES_MAX + 1).to_bytes(4, "big")
    await pair.carriers[0].send_frames([left._sending.encrypt(b"", head)])
    with pytest.raises(LinkClosed) as error:
        await right.receive()
    assert error.value.fault is Fault.OVERSIZED
    assert pair.right.counters.faults == {Fault.OVERSIZED: 1}


async def test_empty_frames_are_pings_and_are_not_delivered(autojump_clock: MockClock) -> None:
    pair = await shake_hands()
    left, right = pair.links
    stream = join_frames([b""] * 1000 + [b"x"] + [b""] * 1000)
    await pair.carriers[0].send_frames([left._sending.encrypt(b"", stream)])
    assert await right.receive() == [b"x"]


async def test_keys_are_renewed_on_both_sides_at_the_same_record(
    autojump_clock: MockClock,
) -> None:
    left, right = (await shake_hands()).links
    left._sending._nonce = right._receiving._nonce = REKEY_RECORDS - 2
    before = left._sending._cipher
    for word in (b"a", b"b", b"c", b"d"):
        await left.send([word])
        assert await right.receive() == [word]
    assert left._sending._cipher is not before
    assert left._sending.nonce == REKEY_RECORDS + 2


class Listener:
    """Reads a link to its end and keeps the fault."""

    def __init__(self, link: Link) -> None:
        """Read this link once started."""
        self.link = link
        self.fault: Fault | None = None
        self.ended_at = 0.0

    async def run(self) -> None:
        """Read until the link ends."""
        try:
            while True:
                await self.link.receive()
        except LinkClosed as error:
            self.fault = error.fault
            self.ended_at = trio.current_time()


async def test_a_silent_peer_ends_the_link_and_a_pinging_one_does_not(
    autojump_clock: MockClock,
) -> None:
    left, right = map(Listener, (await shake_hands()).links)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.run)
        nursery.start_soon(right.run)
        nursery.start_soon(left.link.keep_alive)
        with trio.move_on_after(10 * SILENCE_SECONDS):
            await right.link.keep_alive()
        assert left.fault is right.fault is None
        silent_since = trio.current_time()  # from here on only `left` pings
    assert left.fault is Fault.SILENT
    assert right.fault is Fault.CLOSED
    # The last ping of `right` may be a whole interval old.
    waited = left.ended_at - silent_since
    assert SILENCE_SECONDS - 20 <= waited <= SILENCE_SECONDS + WATCH_SECONDS


async def test_a_peer_that_takes_nothing_ends_the_link_although_it_pings(
    autojump_clock: MockClock,
) -> None:
    pair = await shake_hands()
    left, right = pair.links
    listener, faults = Listener(left), []

    async def flood() -> None:
        try:
            while True:
                await left.send([b"x"])
        except LinkClosed as error:
            faults.append(error.fault)

    async def ping() -> None:  # as `keep_alive` does, but it never reads
        while left._ended is None:
            await right._write([b""])
            await trio.sleep(10)

    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listener.run)
        nursery.start_soon(ping)
        nursery.start_soon(flood)
        await left.keep_alive()
        assert STALL_SECONDS <= trio.current_time() - start <= STALL_SECONDS + WATCH_SECONDS
    assert faults == [Fault.STALLED]
    assert listener.fault is Fault.STALLED
    assert pair.left.counters.faults == {Fault.STALLED: 1}


async def test_a_link_that_only_pings_into_a_full_buffer_ends_too(
    autojump_clock: MockClock,
) -> None:
    pair = await shake_hands()
    left, _ = pair.links
    listener = Listener(left)
    for _ in range(64):  # as many writes as a carrier in memory holds
        await left.send([b"x"])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listener.run)
        await left.keep_alive()
    assert listener.fault in {Fault.SILENT, Fault.STALLED}


async def test_a_cancelled_send_ends_the_link_for_both(autojump_clock: MockClock) -> None:
    pair = await shake_hands()
    left, right = pair.links
    with trio.move_on_after(1):
        while True:
            await left.send([b"x"])
    with pytest.raises(LinkClosed) as error:
        await left.send([b"y"])
    assert error.value.fault is Fault.LOCAL
    right_end = Listener(right)
    await right_end.run()
    assert right_end.fault is Fault.CLOSED


async def test_closing_ends_a_waiting_receive_on_both_sides(autojump_clock: MockClock) -> None:
    pair: Pair = await shake_hands()
    listeners = [Listener(link) for link in pair.links]
    async with trio.open_nursery() as nursery:
        for listener in listeners:
            nursery.start_soon(listener.run)
        await trio.testing.wait_all_tasks_blocked()
        await pair.links[0].aclose()
        await pair.links[0].aclose()  # a second time changes nothing
    assert [listener.fault for listener in listeners] == [Fault.LOCAL, Fault.CLOSED]
    assert pair.left.counters.faults == {Fault.LOCAL: 1}


async def test_what_arrived_before_the_end_is_delivered(autojump_clock: MockClock) -> None:
    left, right = (await shake_hands()).links
    await left.send([b"last words"])
    await left.aclose()
    assert await right.receive() == [b"last words"]
    with pytest.raises(LinkClosed):
        await right.receive()


def test_a_refusal_says_who_and_why_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def main() -> None:
        await shake_hands(
            End(credentials(STRANGER)),
            End(credentials(B), roster=only(A.identity.public_key)),
        )

    trio.run(main, clock=MockClock(autojump_threshold=0))
    (line,) = [record.getMessage() for record in caplog.records]
    who = STRANGER.identity.public_key[:8].hex()
    assert re.fullmatch(rf"link refused peer=\S+ reason={Fault.STRANGER}: {who}", line)
