"""A real lobby and raw links to it, in virtual time over real sockets."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import msgspec
import trio
from trio.testing import MockClock

from consensus.encoding import decode_as, encode
from node.descriptor import (
    Join,
    Table,
    member_of,
    parse_invite,
    sign_join,
)
from node.guest import join
from node.identity import Keys, credentials_of
from node.lobby import host
from node.lobby_messages import LobbyNumber, Refusal, Room
from transport.base import Address, Counters, LinkClosed
from transport.link import Link
from transport.tcp import dial

HERE = Address("127.0.0.1", 0)
KEYS = [Keys(bytes([i]) * 32) for i in range(6)]
PARAMS = b"p"
JUMP_SECONDS = 0.02
"""Real time without any event after which virtual time moves on."""
VIRTUAL_SECONDS_MAX = 300


def run(main: Callable[[], Awaitable[None]], seconds_max: float = VIRTUAL_SECONDS_MAX) -> None:
    """Run a test in virtual time, with an end."""

    async def bounded() -> None:
        with trio.fail_after(seconds_max):
            await main()

    trio.run(bounded, clock=MockClock(autojump_threshold=JUMP_SECONDS))


class Lobby:
    """A real host and all tables that anybody got."""

    def __init__(self, seats: int) -> None:
        """Wait for this many people."""
        self.seats = seats
        self.tables: list[Table] = []
        self.rooms: list[Room] = []
        self.changed = trio.Event()
        self.ended_at: float | None = None
        self.links: list[Link] = []

    @property
    def invite(self) -> str:
        """What the host hands out."""
        return self.rooms[0].invite

    def show(self, room: Room) -> None:
        """Keep what the host sees."""
        self.rooms.append(room)
        self.changed.set()
        self.changed = trio.Event()

    async def until(self, *nicknames: str) -> None:
        """Wait until exactly these sit."""
        while set(self.rooms[-1].nicknames) != set(nicknames):
            await self.changed.wait()

    async def host(self) -> None:
        """Run the host to its end."""
        await host(
            KEYS[0], "host", "friday", PARAMS, self.seats, HERE,
            on_change=self.show, save=self.tables.append,
        )  # fmt: skip
        self.ended_at = trio.current_time()

    async def sit(self, index: int, nickname: str = "") -> None:
        """Join as the person of this number."""
        await join(
            KEYS[index], nickname or f"guest {index}", self.invite,
            [Address("127.0.0.1", 7000 + index)],
            on_change=lambda _: None, save=self.tables.append,
        )  # fmt: skip

    async def connect(self, index: int) -> Link:
        """Open a link to the host as this person, and nothing more."""
        parsed = parse_invite(self.invite)
        (address,) = parsed.addresses
        name, _, port = address.rpartition(":")
        link = await dial(
            Address(name, int(port)), credentials_of(KEYS[index]), parsed.lobby_id,
            lambda _: True, Counters(),
        )  # fmt: skip
        self.links.append(link)
        return link

    def request(self, index: int, nickname: str = "") -> bytes:
        """Return the Join frame of this person."""
        parsed = parse_invite(self.invite)
        asked = Join(parsed.secret, member_of(KEYS[index], nickname or f"guest {index}"), ())
        return frame(LobbyNumber.JOIN, sign_join(KEYS[index], parsed.lobby_id, asked))

    async def take_seat(self, index: int, nickname: str = "") -> Link:
        """Sit down without the code of a guest."""
        link = await self.connect(index)
        await link.send([self.request(index, nickname)])
        return link


@asynccontextmanager
async def lobby(seats: int) -> AsyncIterator[Lobby]:
    """Run a host; afterwards its table must have come about and be the same for everybody."""
    hosted = Lobby(seats)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hosted.host)
        while not hosted.rooms:
            await hosted.changed.wait()
        yield hosted
    for link in hosted.links:
        await link.aclose()
    assert hosted.tables
    assert all(table == hosted.tables[0] for table in hosted.tables)
    assert hosted.tables[0].problem() is None


def frame(number: LobbyNumber, body: msgspec.Struct | bytes) -> bytes:
    """Return a lobby frame."""
    return bytes((number,)) + (body if isinstance(body, bytes) else encode(body))


async def frames_of(link: Link) -> list[bytes]:
    """Return all that the other end sends until it closes."""
    got: list[bytes] = []
    try:
        while True:
            got += await link.receive()
    except LinkClosed:
        return got


async def next_of(link: Link, number: LobbyNumber) -> bytes:
    """Return the body of the next message with this number, skipping others."""
    while True:
        for got in await link.receive():
            if got[0] == number:
                return got[1:]


def reason_in(frames: Sequence[bytes]) -> str:
    """Return the sentence of the refusal that ended a link."""
    assert frames[-1][0] == LobbyNumber.REFUSED
    return decode_as(frames[-1][1:], Refusal).reason
