"""What one link carries over loopback TCP: small frames coalesced, and bulk.

Both ends run in this process, so a frame here pays for sealing and opening. Rates are per second of
CPU time, which other work on the machine changes little. Run it as `python -m bench.link`.
"""

import time

import trio

from node.identity import Keys, credentials_of
from transport.base import Address, Counters
from transport.link import Link
from transport.tcp import Door, dial

BATCH_FRAMES = 16
VOTE_BYTES = 166
BULK_BYTES = 1 << 20
SECONDS = 2


async def measure(size: int, batch: int) -> tuple[float, float]:
    """Return frames and bytes per CPU second of one direction, `batch` frames a write."""
    a, b = Keys(bytes(32)), Keys(bytes([1]) * 32)
    seen = 0

    async def sink(link: Link) -> None:
        nonlocal seen
        while True:
            seen += len(await link.receive())

    frames = [bytes((1,)) * size] * batch
    async with trio.open_nursery() as nursery:
        door = Door(credentials_of(b), b"bench", lambda _: True, Counters(), sink)
        (address, *_) = await nursery.start(door.serve, Address("127.0.0.1", 0))
        link = await dial(address, credentials_of(a), b"bench", lambda _: True, Counters())
        until, began = time.perf_counter() + SECONDS, time.process_time()
        sent = 0
        while time.perf_counter() < until:
            await link.send(frames)
            sent += batch
        while seen < sent:  # noqa: ASYNC110  (a counter of the other task)
            await trio.sleep(0.001)
        seconds = time.process_time() - began
        await link.aclose()
        nursery.cancel_scope.cancel()
    return sent / seconds, sent * size / seconds


async def measure_handshakes(count: int) -> float:
    """Return CPU milliseconds of one connection with its handshake, both ends together."""
    a, b = Keys(bytes(32)), Keys(bytes([1]) * 32)

    async def answer(link: Link) -> None:
        await link.send(await link.receive())

    async with trio.open_nursery() as nursery:
        door = Door(credentials_of(b), b"bench", lambda _: True, Counters(), answer)
        (address, *_) = await nursery.start(door.serve, Address("127.0.0.1", 0))
        began = time.process_time()
        for _ in range(count):
            link = await dial(address, credentials_of(a), b"bench", lambda _: True, Counters())
            await link.send([b"x"])
            await link.receive()
            await link.aclose()
        seconds = time.process_time() - began
        nursery.cancel_scope.cancel()
    return 1000 * seconds / count


def main() -> None:
    """Print one line a question."""
    for name, size, batch in (
        ("votes, one a write", VOTE_BYTES, 1),
        ("votes, 16 a write", VOTE_BYTES, BATCH_FRAMES),
        ("votes, 100 a write", VOTE_BYTES, 100),
        ("one byte, 100 a write", 1, 100),
        ("bulk of 1 MiB", BULK_BYTES, 1),
    ):
        frames, size_per_second = trio.run(measure, size, batch)
        print(f"{name}: {frames:,.0f} frames/s, {size_per_second / 1e6:,.1f} MB/s")
    print(f"connection and handshake: {trio.run(measure_handshakes, 200):.2f} ms of CPU")


if __name__ == "__main__":
    main()
