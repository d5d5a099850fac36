"""PROTOCOL 15, the joiner: what no host can do, and what a broken link costs."""

from collections.abc import Awaitable, Callable
from functools import partial

import msgspec
import pytest
import trio

from consensus.encoding import decode_as
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
    sign_accept,
)
from node.errors import OperatorError
from node.guest import join
from node.identity import credentials_of
from node.lobby_messages import (
    HANDOVER_SECONDS,
    JOIN_SECONDS,
    LobbyNumber,
    Refusal,
    Room,
    RoomMessage,
    Saved,
    TableMessage,
)
from tests.node.lobbies import HERE, KEYS, PARAMS, frame, frames_of, next_of, run
from transport.base import Address, Counters
from transport.link import Link
from transport.tcp import Door

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
        self.closing = trio.CancelScope()
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
            (crooked.address,) = await nursery.start(serve_until_closed, crooked, door)
            start = trio.current_time()
            try:
                outcome.append(await crooked.join())
            except OperatorError as error:
                outcome.append(error)
            took[0] = trio.current_time() - start
            nursery.cancel_scope.cancel()

    run(main)
    return outcome[0], took[0], crooked


async def serve_until_closed(
    crooked: CrookedHost, door: Door, task_status: "trio.TaskStatus[list[Address]]"
) -> None:
    """Serve until the script has enough."""
    with crooked.closing:
        await door.serve(HERE, task_status)


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


def test_a_host_that_is_gone_for_good_after_the_consent_is_given_up() -> None:
    async def script(crooked: CrookedHost, link: Link, asked: Join) -> None:
        await offer(link, crooked.terms(crooked.own, asked.member))
        crooked.closing.cancel()

    outcome, took, _ = join_crooked(script)
    assert "the host does not answer" in str(outcome)
    assert HANDOVER_SECONDS - 1 <= took <= HANDOVER_SECONDS + 2


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
