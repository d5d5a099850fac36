"""PROTOCOL 15 over real sockets: who sits down, who is refused, what all agree to, what nobody can do.

Clocks are virtual, so that the limits of half a minute cost nothing.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

import msgspec
import pytest
import trio
from trio.testing import MockClock

from consensus.encoding import decode_as, encode
from consensus.signing import parse_envelope
from node.descriptor import (
    Descriptor,
    Invite,
    Join,
    Member,
    Table,
    build_descriptor,
    chain_id_of,
    format_invite,
    lobby_id_of,
    member_of,
    parse_invite,
    sign_accept,
    sign_join,
)
from node.errors import OperatorError
from node.identity import Keys
from node.lobby import (
    HANDOVER_SECONDS,
    JOIN_SECONDS,
    SIGN_SECONDS,
    LobbyNumber,
    Refusal,
    Room,
    RoomMessage,
    Saved,
    TableMessage,
    credentials_of,
    host,
    join,
)
from transport.base import Address, Counters, LinkClosed
from transport.link import Link
from transport.tcp import Door, dial

HERE = Address("127.0.0.1", 0)
KEYS = [Keys(bytes([i]) * 32) for i in range(6)]
PARAMS = b"p"
JUMP_SECONDS = 0.02
"""Real time without any event after which virtual time moves on."""
REAL_SECONDS_MAX = 300


def run(main: Callable[[], Awaitable[None]]) -> None:
    """Run a test in virtual time, with an end."""

    async def bounded() -> None:
        with trio.fail_after(REAL_SECONDS_MAX):
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


# Honest people.


def test_all_seats_taken_gives_everybody_the_same_table() -> None:
    async def main() -> None:
        async with lobby(4) as hosted, trio.open_nursery() as nursery:
            for index in (1, 2, 3):
                nursery.start_soon(hosted.sit, index)
        assert len(hosted.tables) == 4
        assert hosted.rooms[-1].seats == 4
        assert len(hosted.rooms[-1].nicknames) == 4
        addresses = {
            member.nickname: texts
            for member, texts in zip(
                hosted.tables[0].descriptor.members, hosted.tables[0].addresses, strict=True
            )
        }
        assert addresses["guest 2"] == ("127.0.0.1:7002",)

    run(main)


def test_a_table_of_one_starts_at_once_and_one_of_sixteen_starts_too() -> None:
    async def main() -> None:
        async with lobby(1):
            pass
        async with lobby(16) as hosted, trio.open_nursery() as nursery:
            for index in range(1, 16):
                nursery.start_soon(sit_as, hosted, Keys(bytes([100 + index]) * 32), f"g{index}")
        assert len(hosted.tables) == 16

    run(main)


async def sit_as(hosted: Lobby, keys: Keys, nickname: str) -> None:
    """Join with other keys than those of the numbered people."""
    await join(
        keys, nickname, hosted.invite, [], on_change=lambda _: None, save=hosted.tables.append
    )


def test_a_joiner_that_leaves_before_the_start_frees_its_seat() -> None:
    async def main() -> None:
        async with lobby(3) as hosted, trio.open_nursery() as nursery:
            with trio.move_on_after(5):
                await hosted.sit(1)
            await hosted.until("host")
            nursery.start_soon(hosted.sit, 2)
            nursery.start_soon(hosted.sit, 3)
        names = {member.nickname for member in hosted.tables[0].descriptor.members}
        assert names == {"host", "guest 2", "guest 3"}
        assert len(hosted.tables) == 3

    run(main)


# What guests may try.


def test_a_request_that_is_not_right_is_refused_in_words_and_takes_no_seat() -> None:
    async def main() -> None:
        async with lobby(2) as hosted:
            good = parse_invite(hosted.invite)
            me = member_of(KEYS[1], "guest 1")
            other_lobby = bytes(32)
            cases = {
                "not a request": b"\xff\xff",
                "not a request to join": frame(LobbyNumber.SAVED, Saved(bytes(32))),
                "cannot be read: not a COSE": frame(LobbyNumber.JOIN, b"garbage"),
                "secret of the invite is wrong": frame(
                    LobbyNumber.JOIN, sign_join(KEYS[1], good.lobby_id, Join(bytes(16), me, ()))
                ),
                "does not verify": frame(
                    LobbyNumber.JOIN, sign_join(KEYS[1], other_lobby, Join(good.secret, me, ()))
                ),
                "not from the identity of this connection": hosted.request(2),
                "same nickname": hosted.request(1, "HOST"),
                "two keys of the table are the same": frame(
                    LobbyNumber.JOIN,
                    sign_join(
                        KEYS[1],
                        good.lobby_id,
                        Join(
                            good.secret,
                            msgspec.structs.replace(me, consensus_key=KEYS[0].consensus.public_key),
                            (),
                        ),
                    ),
                ),
                "not an acceptable Ed25519 key": frame(
                    LobbyNumber.JOIN,
                    sign_join(
                        KEYS[1],
                        good.lobby_id,
                        Join(
                            good.secret,
                            msgspec.structs.replace(me, consensus_key=bytes([1]) + bytes(31)),
                            (),
                        ),
                    ),
                ),
                "not host:port": frame(
                    LobbyNumber.JOIN,
                    sign_join(KEYS[1], good.lobby_id, Join(good.secret, me, ("nowhere",))),
                ),
                "do not print": frame(
                    LobbyNumber.JOIN,
                    sign_join(
                        KEYS[1],
                        good.lobby_id,
                        Join(
                            good.secret,
                            msgspec.structs.replace(me, nickname="\x1b[2J"),
                            (),
                        ),
                    ),
                ),
            }
            for words, first in cases.items():
                link = await hosted.connect(1)
                await link.send([first])
                assert words in reason_in(await frames_of(link))
                assert len(hosted.rooms) == 1
            await hosted.sit(3)
        assert len(hosted.tables) == 2

    run(main)


def test_who_says_nothing_or_is_too_late_takes_no_seat() -> None:
    async def main() -> None:
        async with lobby(2) as hosted:
            silent = await hosted.connect(1)
            start = trio.current_time()
            assert await frames_of(silent) == []
            assert trio.current_time() - start == pytest.approx(JOIN_SECONDS, abs=1)
            stuck = await hosted.take_seat(4)  # fills the table and keeps the host waiting
            await hosted.until("host", "guest 4")
            late = await hosted.take_seat(2)
            assert "table is full: 2 of 2" in reason_in(await frames_of(late))
            await stuck.aclose()
            await hosted.until("host")
            await hosted.sit(3)
        assert len(hosted.tables) == 2

    run(main)


def test_who_does_not_sign_loses_the_seat_after_half_a_minute() -> None:
    async def main() -> None:
        async with lobby(3) as hosted, trio.open_nursery() as nursery:
            nursery.start_soon(hosted.sit, 1)
            await hosted.until("host", "guest 1")
            lazy = await hosted.take_seat(2)
            start = trio.current_time()
            async with trio.open_nursery() as alive:
                alive.start_soon(lazy.keep_alive)
                await frames_of(lazy)
                assert trio.current_time() - start == pytest.approx(SIGN_SECONDS, abs=1)
                alive.cancel_scope.cancel()
            await hosted.until("host", "guest 1")  # who has signed keeps the seat
            nursery.start_soon(hosted.sit, 3)
        assert len(hosted.tables) == 3

    run(main)


def test_a_signature_for_other_terms_counts_for_nothing() -> None:
    async def main() -> None:
        async with lobby(2) as hosted:
            link = await hosted.take_seat(1)
            terms = decode_as(await next_of(link, LobbyNumber.DESCRIPTOR), Descriptor)
            others = msgspec.structs.replace(terms, nonce=bytes(16))
            await link.send(
                [
                    frame(LobbyNumber.ACCEPT, sign_accept(KEYS[1], others)),
                    frame(LobbyNumber.ACCEPT, sign_accept(KEYS[2], terms)),
                    frame(LobbyNumber.SAVED, Saved(chain_id_of(terms))),
                ]
            )
            start = trio.current_time()
            await frames_of(link)
            assert trio.current_time() - start == pytest.approx(SIGN_SECONDS, abs=1)
            await hosted.sit(3)

    run(main)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff",
        bytes((LobbyNumber.JOIN,)) + b"again",
        bytes((LobbyNumber.ACCEPT,)) + b"no envelope",
        bytes((LobbyNumber.SAVED,)) + b"\x01",
        bytes((LobbyNumber.TABLE,)) + b"\x80",
        bytes((LobbyNumber.ACCEPT,)) + bytes(70_000),
    ],
)
def test_a_seated_guest_that_sends_garbage_is_closed_and_its_seat_is_free(garbage: bytes) -> None:
    async def main() -> None:
        async with lobby(2) as hosted:
            link = await hosted.take_seat(1)
            await hosted.until("host", "guest 1")
            await link.send([garbage])
            await frames_of(link)
            await hosted.until("host")
            await hosted.sit(3)
        assert len(hosted.tables) == 2

    run(main)


def test_a_guest_that_leaves_while_all_sign_makes_new_terms_for_the_others() -> None:
    async def main() -> None:
        async with lobby(3) as hosted, trio.open_nursery() as nursery:
            nursery.start_soon(hosted.sit, 1)
            await hosted.until("host", "guest 1")
            leaver = await hosted.take_seat(2)
            await next_of(leaver, LobbyNumber.DESCRIPTOR)
            start = trio.current_time()
            await leaver.aclose()
            await hosted.until("host", "guest 1")
            nursery.start_soon(hosted.sit, 3)
        assert trio.current_time() - start < SIGN_SECONDS
        names = {member.nickname for member in hosted.tables[0].descriptor.members}
        assert names == {"host", "guest 1", "guest 3"}
        assert len(hosted.tables) == 3

    run(main)


def test_a_guest_that_comes_again_under_another_name_makes_new_terms() -> None:
    async def main() -> None:
        async with lobby(3) as hosted, trio.open_nursery() as nursery:
            nursery.start_soon(hosted.sit, 1)
            await hosted.until("host", "guest 1")
            first = await hosted.take_seat(2, "before")
            await next_of(first, LobbyNumber.DESCRIPTOR)
            start = trio.current_time()
            nursery.start_soon(partial(hosted.sit, 2, nickname="after"))
            await frames_of(first)  # the older connection is closed
        assert trio.current_time() - start < SIGN_SECONDS
        names = {member.nickname for member in hosted.tables[0].descriptor.members}
        assert names == {"host", "guest 1", "after"}
        assert len(hosted.tables) == 3

    run(main)


def test_a_guest_that_comes_again_while_all_sign_gets_the_same_terms_at_once() -> None:
    async def main() -> None:
        async with lobby(2) as hosted:
            first = await hosted.take_seat(1)
            before = await next_of(first, LobbyNumber.DESCRIPTOR)
            again = await hosted.take_seat(1)
            assert await next_of(again, LobbyNumber.DESCRIPTOR) == before
            start = trio.current_time()
            accept = sign_accept(KEYS[1], decode_as(before, Descriptor))
            await again.send([frame(LobbyNumber.ACCEPT, accept)])
            await next_of(again, LobbyNumber.TABLE)
            assert trio.current_time() - start < 1
            await first.aclose()
            await again.aclose()

    run(main)


def test_a_guest_that_reads_nothing_keeps_nobody_waiting() -> None:
    async def main() -> None:
        async with lobby(3) as hosted, trio.open_nursery() as nursery:
            deaf = await hosted.take_seat(1)
            await hosted.until("host", "guest 1")
            start = trio.current_time()
            nursery.start_soon(hosted.sit, 2)
            await hosted.until("host", "guest 1", "guest 2")
            assert trio.current_time() - start < 1
            await deaf.aclose()
            await hosted.until("host", "guest 2")
            await hosted.sit(3)

    run(main)


def test_a_guest_that_never_says_it_saved_holds_the_host_for_ten_seconds() -> None:
    async def main() -> None:
        async with lobby(3) as hosted, trio.open_nursery() as nursery:
            nursery.start_soon(hosted.sit, 1)
            await hosted.until("host", "guest 1")
            link = await hosted.take_seat(2)
            terms = decode_as(await next_of(link, LobbyNumber.DESCRIPTOR), Descriptor)
            await link.send([frame(LobbyNumber.ACCEPT, sign_accept(KEYS[2], terms))])
            body = await next_of(link, LobbyNumber.TABLE)
            start = trio.current_time()
            stranger = await hosted.take_seat(4)
            assert "table has started" in reason_in(await frames_of(stranger))
            await link.send([frame(LobbyNumber.SAVED, Saved(bytes(32)))])  # of another table
            await link.aclose()
            again = await hosted.take_seat(2)  # served again while the host still waits
            assert await next_of(again, LobbyNumber.TABLE) == body
            await frames_of(again)
        assert hosted.ended_at is not None
        assert hosted.ended_at - start == pytest.approx(HANDOVER_SECONDS, abs=1)
        assert len(hosted.tables) == 2

    run(main)


# What hosts may try.


class CrookedHost:
    """Says to a guest whatever a test wants, with the keys of a real host."""

    def __init__(self, script: Callable[["CrookedHost", Link, Join], Awaitable[None]]) -> None:
        """Run `script` for every guest after its Join."""
        self.script = script
        self.own = member_of(KEYS[0], "host")
        self.nonce = bytes(16)
        self.lobby_id = lobby_id_of(self.own.identity, "friday", self.nonce, 2, PARAMS)
        self.address = HERE
        self.rooms: list[Room] = []
        self.saved: list[Table] = []

    async def serve(self, link: Link) -> None:
        """Read the Join and run the script."""
        (first, *_) = await link.receive()
        payload = parse_envelope(first[1:]).payload
        await self.script(self, link, decode_as(payload, Join))

    def invite(self) -> str:
        """Return an invite to this lobby."""
        parts = (1, self.lobby_id, self.own.identity, bytes(16), (str(self.address),), 0)
        return format_invite(Invite(*parts))

    def terms(self, *members: Member, **changes: object) -> Descriptor:
        """Return terms with these members, some of them changed."""
        honest = build_descriptor("friday", self.nonce, members, PARAMS)
        return msgspec.structs.replace(honest, **changes)

    async def join(self) -> Table:
        """Join this lobby as person 1."""
        return await join(
            KEYS[1], "guest", self.invite(), [Address("127.0.0.1", 7001)],
            on_change=self.rooms.append, save=self.saved.append,
        )  # fmt: skip


def join_crooked(
    script: Callable[[CrookedHost, Link, Join], Awaitable[None]],
) -> tuple[Table | OperatorError, float, CrookedHost]:
    """Join a lobby run by `script`; return what came of it and after how many seconds."""
    crooked = CrookedHost(script)
    outcome: list[Table | OperatorError] = []
    took = [0.0]

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            door = Door(
                credentials_of(KEYS[0]), crooked.lobby_id, lambda _: True, Counters(),
                crooked.serve,
            )  # fmt: skip
            (crooked.address,) = await nursery.start(door.serve, HERE)
            start = trio.current_time()
            try:
                outcome.append(await crooked.join())
            except OperatorError as error:
                outcome.append(error)
            took[0] = trio.current_time() - start
            nursery.cancel_scope.cancel()

    run(main)
    return outcome[0], took[0], crooked


async def offer(link: Link, terms: Descriptor) -> bytes:
    """Send terms and return the guest's consent."""
    await link.send([frame(LobbyNumber.DESCRIPTOR, terms)])
    return await next_of(link, LobbyNumber.ACCEPT)


CHANGED_TERMS: dict[str, dict[str, object]] = {
    "name": {"name": "saturday"},
    "nonce": {"nonce": bytes([1]) * 16},
    "params": {"params": b"other"},
    "validators": {"validators": (0,)},
    "seats": {"seats": (1, 0)},
}


@pytest.mark.parametrize("what", CHANGED_TERMS)
def test_terms_changed_after_the_invite_are_not_signed(what: str) -> None:
    async def script(crooked: CrookedHost, link: Link, asked: Join) -> None:
        terms = crooked.terms(crooked.own, asked.member, **CHANGED_TERMS[what])
        await offer(link, terms)
        raise AssertionError("the guest signed")

    outcome, _, crooked = join_crooked(script)
    assert isinstance(outcome, OperatorError)
    assert "terms" in str(outcome)
    assert crooked.saved == []


def others(crooked: CrookedHost, asked: Join) -> dict[str, tuple[Member, ...]]:
    """Return lists of members that a guest must not sign, by what is wrong with them."""
    own, guest = crooked.own, asked.member
    stranger = member_of(KEYS[2], "stranger")
    swapped = msgspec.structs.replace(guest, consensus_key=stranger.consensus_key)
    dealing = msgspec.structs.replace(guest, dealing_key=stranger.dealing_key)
    renamed = msgspec.structs.replace(guest, nickname="renamed")
    return {
        "without this seat": (own, stranger),
        "another consensus key": (own, swapped),
        "another dealing key": (own, dealing),
        "another nickname": (own, renamed),
        "without the host": (guest, stranger),
        "more seats": (own, guest, stranger),
        "fewer seats": (guest,),
        "a twin": (guest, guest),
    }


@pytest.mark.parametrize(
    "what",
    [
        "without this seat", "another consensus key", "another dealing key", "another nickname",
        "without the host", "more seats", "fewer seats", "a twin",
    ],
)  # fmt: skip
def test_members_that_were_swapped_are_not_signed(what: str) -> None:
    async def script(crooked: CrookedHost, link: Link, asked: Join) -> None:
        await offer(link, crooked.terms(*others(crooked, asked)[what]))
        raise AssertionError("the guest signed")

    outcome, _, _ = join_crooked(script)
    assert isinstance(outcome, OperatorError)
    assert "terms" in str(outcome)


def tables(terms: Descriptor, accept: bytes) -> dict[str, TableMessage]:
    """Return tables that a guest must not save, by what is wrong with them."""
    by_key = {bytes(keys.identity.public_key): keys for keys in KEYS}
    accepts = tuple(
        accept if member.identity == KEYS[1].identity.public_key
        else sign_accept(by_key[member.identity], terms)
        for member in terms.members
    )  # fmt: skip
    good = TableMessage(chain_id_of(terms), accepts, ((), ()))
    change = partial(msgspec.structs.replace, good)
    return {
        "other chain": change(chain_id=bytes(32)),
        "one consent": change(accepts=accepts[:1]),
        "consents swapped": change(accepts=accepts[::-1]),
        "consent twice": change(accepts=(accept, accept)),
        "no addresses": change(addresses=()),
        "a wrong address": change(addresses=(("nowhere",), ())),
    }


@pytest.mark.parametrize(
    "what",
    [
        "other chain", "one consent", "consents swapped", "consent twice", "no addresses",
        "a wrong address",
    ],
)  # fmt: skip
def test_a_table_that_not_all_agreed_to_is_not_saved(what: str) -> None:
    async def script(crooked: CrookedHost, link: Link, asked: Join) -> None:
        terms = crooked.terms(crooked.own, asked.member)
        accept = await offer(link, terms)
        await link.send([frame(LobbyNumber.TABLE, tables(terms, accept)[what])])
        await frames_of(link)

    outcome, _, crooked = join_crooked(script)
    assert isinstance(outcome, OperatorError)
    assert "table" in str(outcome)
    assert crooked.saved == []


def test_a_host_that_offers_two_tables_cannot_start_either_alone() -> None:
    # Guest 1 signs one set of terms. The other table needs its consent too, and has none.
    async def script(crooked: CrookedHost, link: Link, asked: Join) -> None:
        terms = crooked.terms(crooked.own, asked.member)
        await offer(link, terms)
        other = crooked.terms(member_of(KEYS[0], "Host"), asked.member)
        accept = sign_accept(KEYS[0], other)
        message = TableMessage(chain_id_of(terms), (accept, accept), ((), ()))
        await link.send([frame(LobbyNumber.TABLE, message)])
        await frames_of(link)

    outcome, _, crooked = join_crooked(script)
    assert isinstance(outcome, OperatorError)
    assert "does not verify" in str(outcome)
    assert crooked.saved == []


WRONG_MESSAGES = {
    "table first": (frame(LobbyNumber.TABLE, TableMessage(bytes(32), (), ())), "another table"),
    "room garbage": (frame(LobbyNumber.ROOM, b"\x01"), "cannot be read"),
    "room names": (frame(LobbyNumber.ROOM, RoomMessage(2, ("\x1b[2J",))), "wrong room"),
    "terms garbage": (frame(LobbyNumber.DESCRIPTOR, b"\xa0"), "cannot be read"),
    "unknown": (b"\xff", "message number 255"),
    "a guest's": (frame(LobbyNumber.SAVED, Saved(bytes(32))), "message number 35"),
    "long": (bytes((LobbyNumber.TABLE,)) + bytes(70_000), "70001 bytes"),
    "refusal": (frame(LobbyNumber.REFUSED, Refusal("go\x1b[2J away\n")), "refuses: go[2J away"),
    "long refusal": (
        frame(LobbyNumber.REFUSED, b"\x81\x79\x01\x00" + b"x" * 256),
        "cannot be read",
    ),
}


@pytest.mark.parametrize("which", WRONG_MESSAGES)
def test_a_message_that_does_not_belong_ends_the_visit_with_a_reason(which: str) -> None:
    message, words = WRONG_MESSAGES[which]

    async def script(_crooked: CrookedHost, link: Link, _asked: Join) -> None:
        await link.send([message])
        await frames_of(link)

    outcome, took, crooked = join_crooked(script)
    assert isinstance(outcome, OperatorError)
    assert words in str(outcome)
    assert took < 1
    assert crooked.saved == []


def test_a_host_that_never_answers_is_left_after_ten_seconds_though_it_pings() -> None:
    async def script(_crooked: CrookedHost, link: Link, _asked: Join) -> None:
        await link.keep_alive()

    outcome, took, _ = join_crooked(script)
    assert "does not answer" in str(outcome)
    assert took == pytest.approx(JOIN_SECONDS, abs=1)


def test_a_host_that_goes_silent_is_noticed() -> None:
    async def script(_crooked: CrookedHost, link: Link, asked: Join) -> None:
        await link.send([frame(LobbyNumber.ROOM, RoomMessage(2, (asked.member.nickname,)))])
        await trio.sleep_forever()

    outcome, took, crooked = join_crooked(script)
    assert "nothing received for too long" in str(outcome)
    assert took < 60
    assert crooked.rooms == [Room("", 2, ("guest",))]


def test_a_host_that_dies_before_the_terms_ends_the_visit_at_once() -> None:
    async def script(_crooked: CrookedHost, link: Link, _asked: Join) -> None:
        await link.send([frame(LobbyNumber.ROOM, RoomMessage(2, ("host",)))])

    outcome, took, _ = join_crooked(script)
    assert "the host left before the table started" in str(outcome)
    assert took < 1


def test_a_host_that_dies_with_the_consent_is_dialled_for_ten_seconds_and_no_longer() -> None:
    async def script(crooked: CrookedHost, link: Link, asked: Join) -> None:
        await offer(link, crooked.terms(crooked.own, asked.member))

    outcome, took, crooked = join_crooked(script)
    assert "the host left before the table started" in str(outcome)
    assert HANDOVER_SECONDS - 1 <= took <= HANDOVER_SECONDS + 2
    assert crooked.saved == []


def test_a_link_that_breaks_during_the_handover_costs_nothing() -> None:
    visits: list[bytes] = []

    async def script(crooked: CrookedHost, link: Link, asked: Join) -> None:
        terms = crooked.terms(crooked.own, asked.member)
        if not visits:
            visits.append(await offer(link, terms))
            return
        ordered = [
            visits[0] if member == asked.member else sign_accept(KEYS[0], terms)
            for member in terms.members
        ]
        message = TableMessage(chain_id_of(terms), tuple(ordered), ((), ()))
        await link.send([frame(LobbyNumber.TABLE, message)])
        assert await next_of(link, LobbyNumber.SAVED)

    outcome, took, crooked = join_crooked(script)
    assert isinstance(outcome, Table)
    assert crooked.saved == [outcome]
    assert took < HANDOVER_SECONDS


def test_an_invite_leads_to_its_host_only() -> None:
    async def script(_crooked: CrookedHost, _link: Link, _asked: Join) -> None:
        raise AssertionError("the guest came in")

    crooked = CrookedHost(script)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            door = Door(
                credentials_of(KEYS[3]), crooked.lobby_id, lambda _: True, Counters(),
                crooked.serve,
            )  # fmt: skip
            (crooked.address,) = await nursery.start(door.serve, HERE)
            with pytest.raises(OperatorError, match="not on the roster"):
                await crooked.join()
            nursery.cancel_scope.cancel()

    run(main)


# What the operator meets.


def test_faults_of_the_hosts_own_machine_are_its_operators_errors() -> None:
    def disk_full(_table: Table) -> None:
        raise OperatorError("cannot write: No space left on device")

    async def main() -> None:
        arguments = (KEYS[0], "host", "friday", PARAMS)
        with pytest.raises(OperatorError, match="No space left"):
            await host(*arguments, 1, HERE, on_change=lambda _: None, save=disk_full)
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        taken = Address(*listener.socket.getsockname())
        with pytest.raises(OperatorError, match=r"cannot listen on 127\.0\.0\.1"):
            await host(*arguments, 1, taken, on_change=lambda _: None, save=disk_full)
        await listener.aclose()
        for seats in (0, 17):
            with pytest.raises(OperatorError, match=f"a table of {seats} seats"):
                await host(*arguments, seats, HERE, on_change=lambda _: None, save=disk_full)

    run(main)


def test_a_guest_that_cannot_save_says_so_and_the_host_does_not_wait_for_ever() -> None:
    def disk_full(_table: Table) -> None:
        raise OperatorError("cannot write: No space left on device")

    async def main() -> None:
        async with lobby(2) as hosted:
            with pytest.raises(OperatorError, match="No space left"):
                await join(
                    KEYS[1], "guest", hosted.invite, [], on_change=lambda _: None, save=disk_full
                )
            start = trio.current_time()
        assert trio.current_time() - start == pytest.approx(HANDOVER_SECONDS, abs=1)

    run(main)


def test_an_invite_to_nobody_names_every_address_that_was_tried() -> None:
    invite = Invite(
        1, bytes(32), KEYS[0].identity.public_key, bytes(16), ("127.0.0.1:1", "[::1]:1"), 0
    )

    async def main() -> None:
        with pytest.raises(OperatorError, match=r"127\.0\.0\.1:1: .*\[::1\]:1: "):
            await join(
                KEYS[1], "guest", format_invite(invite), [], on_change=lambda _: None,
                save=lambda _: None,
            )  # fmt: skip

    run(main)
