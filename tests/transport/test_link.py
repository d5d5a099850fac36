"""Links: what goes through, and every way in which one is refused or ends."""

import contextlib
import os

import pytest
import trio
from trio.testing import MockClock

from node.identity import Keys, check_link
from transport.base import Address, Counters, Fault, LinkClosed, LinkRefused
from transport.framing import FrameReader, join_frames
from transport.link import Credentials, open_link
from transport.memory import memory_pair
from transport.tcp import Door, dial

A, B = Keys(bytes(32)), Keys(bytes([1]) * 32)


def credentials(keys):
    return Credentials(keys.link_secret, keys.identity.public_key, keys.sign_link, check_link)


def run(main):
    return trio.run(main, clock=MockClock(autojump_threshold=0))


async def link_pair(*, prologues=(b"t", b"t"), roster=lambda key: True, other=B, forge=None):
    carriers = memory_pair()
    result, counters = [None, None], (Counters(), Counters())

    async def side(index, keys):
        try:
            result[index] = await open_link(
                carriers[index], forge if forge and index == 0 else credentials(keys),
                prologues[index], roster, counters[index], initiator=index == 0,
            )  # fmt: skip
        except LinkRefused as error:
            result[index] = error.fault

    async with trio.open_nursery() as nursery:
        nursery.start_soon(side, 0, A)
        nursery.start_soon(side, 1, other)
    return result, counters, carriers


def test_frames_of_every_size_arrive_whole_and_in_order():
    async def main():
        (left, right), _, _ = await link_pair()
        assert left.peer == B.identity.public_key
        assert right.peer == A.identity.public_key
        frames = [b"x", os.urandom(300), os.urandom(65_519), os.urandom(1 << 20), b"end"]
        got = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(left.send, frames)
            while len(got) < len(frames):
                got += await right.receive()
        assert got == frames

    run(main)


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ({"prologues": (b"one", b"two")}, (Fault.HANDSHAKE, Fault.CLOSED)),
        ({"roster": lambda key: key == B.identity.public_key}, (None, Fault.STRANGER)),
        ({"other": A}, (Fault.SELF, Fault.CLOSED)),
        (
            {"forge": Credentials(A.link_secret, A.identity.public_key, lambda h: bytes(64),
                                  check_link)},
            (None, Fault.IDENTITY),
        ),
    ],
)  # fmt: skip
def test_a_handshake_that_is_not_right_is_refused_by_name(case, expected):
    async def main():
        result, counters, _ = await link_pair(**case)
        for got, want, counter in zip(result, expected, counters, strict=True):
            if want is not None:
                assert got == want
                assert counter.faults == {want: 1}

    run(main)


def test_a_half_open_handshake_ends_after_five_seconds():
    async def timed():
        start = trio.current_time()
        _left, right = memory_pair()
        with pytest.raises(LinkRefused) as error:
            await open_link(
                right, credentials(A), b"t", lambda key: True, Counters(), initiator=False
            )
        assert error.value.fault == Fault.HALF_OPEN
        assert trio.current_time() - start == pytest.approx(5)

    run(timed)


@pytest.mark.parametrize("attack", ["replay", "flip", "swap"])
def test_a_replayed_altered_or_reordered_record_ends_the_link(attack):
    async def main():
        (left, right), counters, carriers = await link_pair()
        await left.send([b"one"])
        await left.send([b"two"])
        one, two = await carriers[1].receive_frames() + await carriers[1].receive_frames()
        records = {
            "replay": [one, one],
            "flip": [one, two[:-1] + bytes((two[-1] ^ 1,))],
            "swap": [two, one],
        }[attack]
        carriers[1].unread(records)
        with pytest.raises(LinkClosed) as error:
            await right.receive()
        assert error.value.fault == Fault.BAD_RECORD
        assert counters[1].faults == {Fault.BAD_RECORD: 1}

    run(main)


def test_a_silent_peer_ends_the_link_and_a_pinging_one_does_not():
    async def main():
        (left, right), _, _ = await link_pair()
        faults = []

        async def listen(link):
            try:
                await link.receive()
            except LinkClosed as error:
                faults.append(error.fault)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen, left)
            nursery.start_soon(listen, right)
            nursery.start_soon(left.keep_alive)
            with trio.move_on_after(100):
                await right.keep_alive()
            assert faults == []
            await trio.sleep(60)
            nursery.cancel_scope.cancel()
        assert sorted(faults) == [Fault.CLOSED, Fault.SILENT]

    run(main)


def test_an_oversized_length_is_refused_before_its_bytes_are_read():
    with pytest.raises(LinkClosed, match="limit is 100") as error:
        FrameReader(100).feed((101).to_bytes(4, "big"))
    assert error.value.fault == Fault.OVERSIZED


def test_frames_are_the_same_however_the_stream_is_cut():
    stream = join_frames([b"a", b"", b"c" * 50])
    for size in (1, 2, 5, len(stream)):
        reader = FrameReader(50)
        pieces = [stream[i : i + size] for i in range(0, len(stream), size)]
        assert [f for piece in pieces for f in reader.feed(piece)] == [b"a", b"", b"c" * 50]
        assert not reader.is_mid_frame


def test_a_door_outlives_garbage_and_a_failing_handler():
    async def main():
        counters = Counters()

        async def handler(link):
            for frame in await link.receive():
                if frame == b"crash":
                    raise RuntimeError(frame)
                await link.send([frame])

        door = Door(credentials(B), b"t", lambda key: True, counters, handler)
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                (address, *_) = await nursery.start(door.serve, Address("127.0.0.1", 0))
                garbage = await trio.open_tcp_stream(*address)
                await garbage.send_all(b"\xff" * 64)
                with contextlib.suppress(trio.BrokenResourceError):
                    assert await garbage.receive_some() == b""
                await garbage.aclose()
                for word in (b"crash", b"hello"):
                    link = await dial(address, credentials(A), b"t", lambda key: True, Counters())
                    await link.send([word])
                    if word == b"hello":
                        assert await link.receive() == [word]
                    else:
                        with pytest.raises(LinkClosed):
                            await link.receive()
                    await link.aclose()
                nursery.cancel_scope.cancel()
        assert counters.faults[Fault.OVERSIZED] == 1
        assert counters.faults[Fault.CRASHED] == 1

    trio.run(main)
