"""PROTOCOL 13.3, 15: the door of a table that plays, over real links in virtual time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
import trio

from consensus.encoding import decode_as
from consensus.messages import Number
from node.addresses import AddressBook, founders_of as known_founders
from node.descriptor import Invite, Join, Member, member_of, parse_invite, sign_join
from node.errors import OperatorError
from node.game.params import GameParams, JoinRule, encode_params
from node.guest import Admitted, ask_to_join
from node.identity import Keys, credentials_of
from node.lobby_messages import (
    JOIN_SECONDS,
    KNOWN_PER_FRAME,
    Contacts,
    LobbyNumber,
    Waiting,
    lobby_frame,
)
from node.membership import JOIN_BYTES_MAX, Membership, Retire, founder, founders_of
from node.reception import INVITE_SECONDS, INVITES_MAX, Reception
from tests.node.lobbies import HERE, frames_of, next_of, reason_in, run
from tests.node.tables import make_table
from transport.base import HOST_CHARS_MAX, Address, Counters, LinkClosed
from transport.link import Link
from transport.tcp import Door, dial

SEATS = 4
STRANGERS = [Keys(bytes([100 + i]) * 32) for i in range(INVITES_MAX + 1)]


class Entrance:
    """The door of player 0 at a table of four, and what the node behind it is handed."""

    def __init__(self, rule: JoinRule = JoinRule.MAJORITY, ports: int = 7001) -> None:
        """Open it at a table with this rule."""
        params = encode_params(GameParams(join_rule=rule))
        listening = [ports and ports + i for i in range(SEATS)]
        self.table, self.keys, _ = make_table(SEATS, listening, params=params)
        self.membership = Membership.genesis(founders_of(self.table.descriptor), range(SEATS))
        self.book = AddressBook(self.table.chain_id, known_founders(self.table))
        self.reception = Reception(self.table, self.keys[0].identity.public_key, self.book)
        self.handed: list[list[bytes]] = []
        self.address = HERE
        self.links: list[Link] = []

    def invite(self, me: int | None = 0) -> Invite:
        """Return an invite, as whoever is handed its text reads it."""
        return parse_invite(self.reception.invite(self.membership, me, 0))

    async def serve(self, link: Link) -> None:
        """Let the reception see to a link."""
        self.handed.append(await self.reception.receive(link))

    async def dial(self, keys: Keys) -> Link:
        """Come to the door as somebody."""
        link = await dial(
            self.address, credentials_of(keys), self.table.chain_id, lambda _: True, Counters()
        )
        self.links.append(link)
        return link

    async def ask(self, keys: Keys, request: bytes) -> Link:
        """Come to the door and say something."""
        link = await self.dial(keys)
        await link.send([lobby_frame(LobbyNumber.JOIN, request)])
        return link

    async def refusal(self, keys: Keys, request: bytes) -> str:
        """Return the sentence that somebody reads."""
        return reason_in(await frames_of(await self.ask(keys, request)))

    async def waits(self, keys: Keys, request: bytes) -> Link:
        """Ask, and be told how many have to agree."""
        link = await self.ask(keys, request)
        assert decode_as(await next_of(link, LobbyNumber.WAITING), Waiting) == Waiting(0, 3)
        return link

    def approve(self, keys: Keys, nickname: str, *voters: int, needed: int = 3) -> None:
        """Let a block in which some voters approve somebody become final."""
        member = member_of(keys, nickname)
        newcomer = founder(
            member.identity, nickname, member.consensus_key, member.dealing_key, votes=False
        )
        self.membership = self.membership.fork()
        for voter in voters:
            self.membership.approve(voter, newcomer, needed)
        self.book.enrol([(one.identity, one.nickname) for one in self.membership.members])
        self.reception.follow(self.membership)


def request_of(entrance: Entrance, keys: Keys, invite: Invite, nickname: str, *at: str) -> bytes:
    asked = Join(invite.secret, member_of(keys, nickname), at)
    return sign_join(keys, entrance.table.chain_id, asked)


@asynccontextmanager
async def opened(entrance: Entrance) -> AsyncIterator[Entrance]:
    """Serve the door on loopback until the test is over."""
    chain_id, expects = entrance.table.chain_id, entrance.reception.expects
    door = Door(credentials_of(entrance.keys[0]), chain_id, expects, Counters(), entrance.serve)
    async with trio.open_nursery() as nursery:
        bound: list[Address] = await nursery.start(door.serve, HERE)
        [entrance.address] = bound
        try:
            yield entrance
        finally:
            for link in entrance.links:
                await link.aclose()
            nursery.cancel_scope.cancel()


def names(entrance: Entrance, me: int = 0) -> list[tuple[str, int, bool]]:
    return [(one.name, one.approvals, one.approved) for one in entrance.reception.asking(me)]


def test_an_invite_is_for_one_person_who_may_come_back_with_it() -> None:
    async def main() -> None:
        async with opened(Entrance()) as entrance:
            invite = entrance.invite()
            first, second = STRANGERS[:2]
            link = await entrance.waits(first, request_of(entrance, first, invite, "elena"))
            await link.aclose()
            refused = await entrance.refusal(second, request_of(entrance, second, invite, "farid"))
            assert refused == "somebody else has used this invite: ask for one of your own"
            await entrance.waits(first, request_of(entrance, first, invite, "elena"))

    run(main)


def test_an_invite_of_another_member_or_of_yesterday_opens_nothing() -> None:
    async def main() -> None:
        async with opened(Entrance()) as entrance:
            invite, (keys, other, *_) = entrance.invite(), STRANGERS
            asked = request_of(entrance, keys, invite, "elena")
            foreign = msgspec.structs.replace(invite, secret=bytes(16))
            refused = await entrance.refusal(other, request_of(entrance, other, foreign, "farid"))
            assert refused == "the invite is none of this node, or no longer: ask for a new one"
            await (await entrance.waits(keys, asked)).aclose()
            await trio.sleep(INVITE_SECONDS)
            assert not entrance.reception.expects(other.identity.public_key)
            # Who has asked may come in to hear that it has to ask anew.
            assert (await entrance.refusal(keys, asked)).endswith("ask for a new one")

    run(main, 2 * INVITE_SECONDS)


def test_only_so_many_invites_are_open_and_the_oldest_gives_way() -> None:
    async def main() -> None:
        async with opened(Entrance()) as entrance:
            first, second, *_ = [entrance.invite() for _ in range(INVITES_MAX + 1)]
            keys, other, *_ = STRANGERS
            refused = await entrance.refusal(keys, request_of(entrance, keys, first, "elena"))
            assert refused.endswith("ask for a new one")
            await entrance.waits(other, request_of(entrance, other, second, "farid"))

    run(main)


def test_who_may_invite() -> None:
    async def main() -> None:
        closed = Entrance(JoinRule.CLOSED)
        with pytest.raises(OperatorError, match="takes nobody in"):
            closed.invite()
        nowhere = Entrance(ports=0)
        with pytest.raises(OperatorError, match="told nobody an address"):
            nowhere.invite()
        entrance = Entrance()
        with pytest.raises(OperatorError, match="only a member may invite"):
            entrance.invite(None)
        entrance.membership.apply(0, Retire())
        with pytest.raises(OperatorError, match="only a member may invite"):
            entrance.invite()

    run(main)


def test_a_request_that_cannot_be_let_in_is_refused_at_the_door() -> None:
    async def main() -> None:
        async with opened(Entrance()) as entrance:
            invite, (keys, other, *_) = entrance.invite(), STRANGERS
            good = request_of(entrance, keys, invite, "elena")
            known = member_of(entrance.keys[1], "player 1")
            own = member_of(keys, "elena")
            small = msgspec.structs.replace(own, consensus_key=bytes(32))
            taken = msgspec.structs.replace(own, consensus_key=known.consensus_key)
            boxed = msgspec.structs.replace(own, dealing_key=known.dealing_key)

            def signed(member: Member) -> bytes:
                join = Join(invite.secret, member, ())
                return sign_join(keys, entrance.table.chain_id, join)

            requests = {
                "cannot be read": good[:-1],
                "signature of the Join does not verify": sign_join(
                    keys, bytes(32), Join(invite.secret, own, ())
                ),
                "is filled with spaces": signed(msgspec.structs.replace(own, nickname="el  na")),
                "has characters that do not print": signed(
                    msgspec.structs.replace(own, nickname="el\tna")
                ),
                "nowhere": request_of(entrance, keys, invite, "elena", "nowhere"),
                r"\U0010ffff": request_of(entrance, keys, invite, "elena", "\U0010ffff" * 80),
                "has this name": request_of(entrance, keys, invite, "PLAYER 1"),
                "or these keys": signed(taken),
                "name or these keys": signed(boxed),
                "not acceptable or known": signed(small),
            }
            for why, request in requests.items():
                assert why in await entrance.refusal(keys, request)
            assert names(entrance) == []
            # Whoever it is that shows it: a request is of the identity that the link has.
            assert "not from the identity" in await entrance.refusal(other, good)
            link = await entrance.dial(other)
            await link.send([bytes((Number.STATUS,))])
            assert "not a request to join" in reason_in(await frames_of(link))
            await entrance.waits(keys, good)  # none of these has used the invite up

    run(main)


def test_who_comes_in_and_says_nothing_is_sent_away() -> None:
    async def main() -> None:
        async with opened(Entrance()) as entrance:
            entrance.invite()
            link = await entrance.dial(STRANGERS[0])
            start = trio.current_time()
            with pytest.raises(LinkClosed):
                await link.receive()
            assert JOIN_SECONDS <= trio.current_time() - start < JOIN_SECONDS + 1
            assert entrance.handed == [[]]

    run(main)


def test_who_asks_is_seen_as_long_as_it_stands_there_and_once_it_is_proposed() -> None:
    async def main() -> None:
        async with opened(Entrance()) as entrance:
            invite, keys = entrance.invite(), STRANGERS[0]
            asked = request_of(entrance, keys, invite, "elena", "127.0.0.1:7777")
            link = await entrance.waits(keys, asked)
            assert names(entrance) == [("elena", 0, False)]
            assert [one.join for one in entrance.reception.asking(0)] == [asked]
            await link.aclose()
            await trio.sleep(1)
            assert names(entrance) == []
            older, newer = await entrance.waits(keys, asked), await entrance.waits(keys, asked)
            await older.aclose()
            await trio.sleep(1)
            assert names(entrance) == [("elena", 0, False)], "the newest link is the one"
            assert entrance.reception.asked == 3
            entrance.approve(keys, "elena", 1)
            assert names(entrance) == [("elena", 1, False)]
            assert names(entrance, me=1) == [("elena", 1, True)]
            assert entrance.book.addresses_of(keys.identity.public_key) == ()
            news = decode_as(await next_of(newer, LobbyNumber.WAITING), Waiting)
            assert news == Waiting(1, 3)

    run(main)


def test_who_is_let_in_is_handed_the_table_whatever_became_of_its_invite() -> None:
    async def main() -> None:
        async with opened(Entrance()) as entrance:
            invite, keys = entrance.invite(), STRANGERS[0]
            asked = request_of(entrance, keys, invite, "elena", "127.0.0.1:7777")
            link = await entrance.waits(keys, asked)
            entrance.approve(keys, "elena", 0, 1, 2)
            handed = decode_as(await next_of(link, LobbyNumber.CONTACTS), Contacts)
            assert [one.nickname for one in handed.known] == [
                one.nickname for one in entrance.membership.members
            ]
            assert handed.known[-1].addresses == ("127.0.0.1:7777",)
            assert names(entrance) == []
            await link.aclose()
            await trio.sleep(INVITE_SECONDS)
            again = await entrance.ask(keys, asked)
            assert decode_as(await next_of(again, LobbyNumber.CONTACTS), Contacts) == handed
            assert entrance.reception.asked == 1, "a member asks for nothing"
            start = trio.current_time()
            await again.send([lobby_frame(LobbyNumber.SAVED, b"\x80")])
            await frames_of(again)
            assert trio.current_time() - start < 1, "the door hangs up"
            # Its node starts: what that says is for the mesh.
            started = await entrance.dial(keys)
            said = bytes((Number.STATUS,)) + b"hello"
            await started.send([said])
            await frames_of(started)
            assert entrance.handed[-1] == [said]

    run(main, 2 * INVITE_SECONDS)


def test_who_waits_for_long_is_let_in_on_the_link_that_it_asked_by() -> None:
    async def main() -> None:
        async with opened(Entrance()) as entrance:
            address = (str(entrance.address),)
            invite, keys = (
                msgspec.structs.replace(entrance.invite(), addresses=address),
                STRANGERS[0],
            )
            told, got = list[Waiting](), list[Admitted]()

            async def ask() -> None:
                await ask_to_join(
                    keys, "elena", invite, ("127.0.0.1:7777",),
                    on_wait=told.append, save=got.append, problem_of_params=lambda _params: None,
                )  # fmt: skip

            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                await trio.sleep(120)
                assert (told, entrance.handed) == ([Waiting(0, 3)], [])
                entrance.approve(keys, "elena", 0, 1, 2)
            [admitted] = got
            assert admitted.table == entrance.table

    run(main)


@pytest.mark.parametrize(
    "address",
    ["a" * HOST_CHARS_MAX + ":60000"]
    + ["[fe80::1%" + zone * 64 + "]:60000" for zone in ("a", "\U00010348")],
    ids=["name", "zone", "foreign zone"],
)
def test_a_request_that_is_not_refused_fits_the_operation_that_hands_it_in(address: str) -> None:
    """Else whoever hands it in signs what nobody can read. The longest have names of four bytes."""

    async def main() -> None:
        async with opened(Entrance()) as entrance:
            invite, keys = entrance.invite(), STRANGERS[0]
            asked = request_of(entrance, keys, invite, "\U00010348" * 24, *[address] * 8)
            if len(asked) > JOIN_BYTES_MAX:
                assert "no IPv6 address in its brackets" in await entrance.refusal(keys, asked)
            else:
                await entrance.waits(keys, asked)

    run(main)


def test_a_long_list_of_members_is_handed_over_in_parts() -> None:
    entrance = Entrance()
    crowd = [(bytes([i]) * 32, f"player {i}") for i in range(2 * KNOWN_PER_FRAME + 1)]
    entrance.book.enrol(crowd)
    *_, one, two, three = entrance.reception._handover()
    parts = [decode_as(part[1:], Contacts) for part in (one, two, three)]
    assert [(part.count, part.first) for part in parts] == [(65, 0), (65, 32), (65, 64)]
    assert [each.nickname for part in parts for each in part.known] == [name for _, name in crowd]


def test_whom_the_door_expects() -> None:
    async def main() -> None:
        entrance = Entrance()
        expects, stranger, host = entrance.reception.expects, STRANGERS[0], entrance.keys[1]
        identity = stranger.identity.public_key
        assert not expects(identity)
        entrance.invite()
        assert expects(identity)
        assert not expects(host.identity.public_key), "founders come by the mesh"
        entrance.approve(stranger, "elena", 0, 1, 2)
        assert expects(identity), "it has the table yet to come for"
        entrance.book.announce(stranger.identity, ["127.0.0.1:7777"], 0)
        assert not expects(identity)

    run(main)
