"""PROTOCOL 15, the host: who sits down, who is refused, what no guest can do.

The sockets are real and the clocks virtual, so that limits of half a minute cost nothing.
"""

from functools import partial

import msgspec
import pytest
import trio

from consensus.encoding import decode_as
from node.descriptor import (
    Descriptor,
    Invite,
    Join,
    Member,
    Table,
    chain_id_of,
    format_invite,
    member_of,
    parse_invite,
    sign_accept,
    sign_join,
)
from node.errors import OperatorError
from node.guest import join
from node.identity import Keys
from node.lobby import SIGN_SECONDS, host
from node.lobby_messages import HANDOVER_SECONDS, JOIN_SECONDS, LobbyNumber, Saved
from tests.node.lobbies import (
    HERE,
    KEYS,
    PARAMS,
    Lobby,
    frame,
    frames_of,
    lobby,
    next_of,
    reason_in,
    run,
)
from transport.base import Address
from transport.link import SILENCE_SECONDS

# Honest people.


def test_all_seats_taken_gives_everybody_the_same_table() -> None:
    async def main() -> None:
        async with lobby(4) as hosted, trio.open_nursery() as nursery:
            for index in (1, 2, 3):
                nursery.start_soon(hosted.sit, index)
        assert len(hosted.tables) == 4
        assert trio.current_time() < 2  # nobody waits for one who has saved
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


def wrong_requests(hosted: Lobby) -> dict[str, bytes]:
    """Return first messages that must not give person 1 a seat, by the words of the refusal."""
    good = parse_invite(hosted.invite)
    me = member_of(KEYS[1], "guest 1")

    def asked(
        member: Member = me, secret: bytes = good.secret, lobby_id: bytes = good.lobby_id,
        addresses: tuple[str, ...] = (),
    ) -> bytes:  # fmt: skip
        join = Join(secret, member, addresses)
        return frame(LobbyNumber.JOIN, sign_join(KEYS[1], lobby_id, join))

    changed = partial(msgspec.structs.replace, me)
    return {
        "not a request": b"\xff\xff",
        "not a request to join": frame(LobbyNumber.SAVED, Saved(bytes(32))),
        "cannot be read: not a COSE": frame(LobbyNumber.JOIN, b"garbage"),
        "secret of the invite is wrong": asked(secret=bytes(16)),
        "does not verify": asked(lobby_id=bytes(32)),
        "not from the identity of this connection": hosted.request(2),
        "same nickname": hosted.request(1, "HOST"),
        "two keys of the table are the same": asked(
            changed(consensus_key=KEYS[0].consensus.public_key)
        ),
        "not an acceptable Ed25519 key": asked(changed(consensus_key=b"\1" + bytes(31))),
        "not host:port": asked(addresses=("nowhere",)),
        "do not print": asked(changed(nickname="\x1b[2J")),
    }


def test_a_request_that_is_not_right_is_refused_in_words_and_takes_no_seat() -> None:
    async def main() -> None:
        async with lobby(2) as hosted:
            for words, first in wrong_requests(hosted).items():
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
            # Who has signed keeps the seat.
            assert all("guest 1" in room.nicknames for room in hosted.rooms[-2:])
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
            start = trio.current_time()
            await link.send([garbage])
            await frames_of(link)
            assert trio.current_time() - start < 1
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
            assert trio.current_time() - start < 1
        assert trio.current_time() - start < SIGN_SECONDS
        names = {member.nickname for member in hosted.tables[0].descriptor.members}
        assert names == {"host", "guest 1", "after"}
        assert len(hosted.tables) == 3

    run(main)


def test_a_lobby_waits_for_no_signature_of_a_seat_that_was_given_anew() -> None:
    async def main() -> None:
        async with lobby(2) as hosted:
            first = await hosted.take_seat(1, "before")
            await next_of(first, LobbyNumber.DESCRIPTOR)
            start = trio.current_time()
            await hosted.sit(1, "after")
            assert trio.current_time() - start < 2
            await first.aclose()

    run(main)


def test_a_guest_that_comes_again_while_all_sign_gets_the_same_terms_at_once() -> None:
    async def main() -> None:
        async with lobby(2) as hosted:
            first = await hosted.take_seat(1)
            before = await next_of(first, LobbyNumber.DESCRIPTOR)
            start = trio.current_time()
            again = await hosted.take_seat(1)
            assert await next_of(again, LobbyNumber.DESCRIPTOR) == before
            await frames_of(first)  # the older connection is closed
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


def test_a_guest_that_goes_silent_in_the_waiting_room_frees_its_seat() -> None:
    async def main() -> None:
        async with lobby(4) as hosted, trio.open_nursery() as nursery:
            nursery.start_soon(hosted.sit, 1)  # it pings
            await hosted.until("host", "guest 1")
            await hosted.take_seat(2)
            await hosted.until("host", "guest 1", "guest 2")
            await hosted.until("host", "guest 1")
            assert SILENCE_SECONDS - 1 <= trio.current_time() <= SILENCE_SECONDS + 10
            for index in (3, 4):
                nursery.start_soon(hosted.sit, index)

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
