"""The lobby over real sockets: who sits down, who is refused, and what all agree to."""

import pytest
import trio

from node.descriptor import Invite, format_invite, parse_invite
from node.errors import OperatorError
from node.identity import Keys
from node.lobby import host, join
from transport.base import Address

HERE = Address("127.0.0.1", 0)
KEYS = [Keys(bytes([i]) * 32) for i in range(5)]


async def play(seats, guests):
    """Run a host and `guests(invite, tables)`; return every table that somebody holds."""
    tables, invites = [], []
    opened = trio.Event()

    def on_change(room):
        if not invites:
            invites.append(room.invite)
            opened.set()

    async def run_host():
        await host(
            KEYS[0], "host", "friday", b"p", seats, HERE, on_change=on_change, save=tables.append
        )

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_host)
            await opened.wait()
            await guests(invites[0], tables, nursery)
    return tables


async def sit(index, invite, save, nickname=None):
    await join(
        KEYS[index], nickname or f"guest {index}", invite, [Address("127.0.0.1", 7000 + index)],
        on_change=lambda room: None, save=save,
    )  # fmt: skip


def test_all_seats_taken_gives_everybody_the_same_table():
    async def guests(invite, tables, nursery):
        for index in (1, 2, 3):
            nursery.start_soon(sit, index, invite, tables.append)

    tables = trio.run(play, 4, guests)
    assert len(tables) == 4
    assert all(table == tables[0] and table.problem() is None for table in tables)


def test_a_table_of_one_starts_at_once():
    async def guests(invite, tables, nursery):
        pass

    assert len(trio.run(play, 1, guests)) == 1


def test_wrong_secret_and_taken_nickname_are_refused_in_words_and_take_no_seat():
    async def guests(invite, tables, nursery):
        good = parse_invite(invite)
        wrong = Invite(1, good.lobby_id, good.host, bytes(16), good.addresses, 0)
        with pytest.raises(OperatorError, match="secret of the invite is wrong"):
            await sit(1, format_invite(wrong), tables.append)
        with pytest.raises(OperatorError, match="same nickname"):
            await sit(2, invite, tables.append, "HOST")
        await sit(3, invite, tables.append)

    assert len(trio.run(play, 2, guests)) == 2


def test_a_joiner_that_leaves_before_the_start_frees_its_seat():
    async def guests(invite, tables, nursery):
        with trio.move_on_after(0.2):
            await sit(1, invite, tables.append)
        nursery.start_soon(sit, 2, invite, tables.append)
        nursery.start_soon(sit, 3, invite, tables.append)

    tables = trio.run(play, 3, guests)
    assert len(tables) == 3
    assert {m.nickname for m in tables[0].descriptor.members} == {"host", "guest 2", "guest 3"}
