"""PROTOCOL 15: what a newcomer believes of the member that hands it a table that plays."""

from collections.abc import Awaitable, Callable

import msgspec
import pytest
import trio

from consensus.encoding import decode_as, encode
from consensus.signing import Domain, build_envelope, key_id, parse_envelope, sign_envelope
from node.addresses import Known, PeerAddrs
from node.descriptor import Descriptor, Invite, chain_id_of
from node.errors import OperatorError
from node.guest import GIVE_UP_SECONDS, Admitted, ask_to_join
from node.identity import credentials_of
from node.lobby_messages import Contacts, LobbyNumber, TableMessage, Waiting, lobby_frame
from tests.node.lobbies import HERE, run
from tests.node.test_reception import STRANGERS, Entrance
from transport.base import Address, Counters
from transport.link import Link
from transport.tcp import Door

NEWCOMER = STRANGERS[0]
replace = msgspec.structs.replace


class Handover:
    """What an honest member hands over to the newcomer, in pieces to be bent."""

    def __init__(self) -> None:
        """Let it be the fifth member of a table."""
        self.entrance = Entrance()
        self.entrance.approve(NEWCOMER, "elena", 0, 1, 2)
        terms, table, contacts = self.entrance.reception._handover()
        self.terms = decode_as(terms[1:], Descriptor)
        self.table = decode_as(table[1:], TableMessage)
        self.contacts = decode_as(contacts[1:], Contacts)

    @property
    def known(self) -> tuple[Known, ...]:
        return self.contacts.known

    def frames(self, *contacts: Contacts) -> list[bytes]:
        """Return everything in order, with other contacts if some are given."""
        return [
            lobby_frame(LobbyNumber.DESCRIPTOR, self.terms),
            lobby_frame(LobbyNumber.TABLE, self.table),
            *(lobby_frame(LobbyNumber.CONTACTS, one) for one in contacts or (self.contacts,)),
        ]

    def with_known(self, at: int, **changes: object) -> list[bytes]:
        """Return everything with one member of the list changed."""
        bent = list(self.known)
        bent[at] = replace(bent[at], **changes)
        return self.frames(replace(self.contacts, known=tuple(bent)))


Script = Callable[[Link], Awaitable[None]]


def asked(
    handover: Handover, *scripts: Script, problem: str | None = None
) -> tuple[Admitted | OperatorError, list[Admitted], float]:
    """Ask a member that runs one script after the other, a link each; return what came of it.

    With it come what was saved and how many seconds it took.
    """
    saved, left = list[Admitted](), list(scripts)
    entrance = handover.entrance
    outcome: list[Admitted | OperatorError] = []
    took = [0.0]

    async def main() -> None:
        async with trio.open_nursery() as nursery:

            async def serve(link: Link) -> None:
                await link.receive()
                await left.pop(0)(link)

            door = Door(
                credentials_of(entrance.keys[0]), entrance.table.chain_id, lambda _: bool(left),
                Counters(), serve,
            )  # fmt: skip
            bound: list[Address] = await nursery.start(door.serve, HERE)
            host = entrance.keys[0].identity.public_key
            where = tuple(map(str, bound))
            invite = Invite(2, entrance.table.chain_id, host, bytes(16), where, 0)
            start = trio.current_time()
            try:
                admitted = await ask_to_join(
                    NEWCOMER, "elena", invite, (), on_wait=lambda _: None, save=saved.append,
                    problem_of_params=lambda _: problem,
                )  # fmt: skip
                outcome.append(admitted)
            except OperatorError as error:
                outcome.append(error)
            took[0] = trio.current_time() - start
            nursery.cancel_scope.cancel()

    run(main)
    return outcome[0], saved, took[0]


def saying(*frames: bytes) -> Script:
    """Return the script of a member that says this and hears the answer."""

    async def script(link: Link) -> None:
        await link.send(list(frames))
        await link.receive()

    return script


def leaving(*frames: bytes) -> Script:
    """Return the script of a member that says this and is gone."""

    async def script(link: Link) -> None:
        await link.send(list(frames))

    return script


def another_table(handover: Handover) -> list[bytes]:
    terms = replace(handover.terms, name="saturday")
    return [lobby_frame(LobbyNumber.DESCRIPTOR, terms), *handover.frames()[1:]]


def a_consent_missing(handover: Handover) -> list[bytes]:
    table = replace(handover.table, accepts=handover.table.accepts[:-1])
    terms, _, contacts = handover.frames()
    return [terms, lobby_frame(LobbyNumber.TABLE, table), contacts]


def without_the_newcomer(handover: Handover) -> list[bytes]:
    return handover.frames(Contacts(4, 0, handover.known[:4]))


def announced(handover: Handover, at: int, signer: int, *addresses: str) -> list[bytes]:
    """Return everything, with what one member is said to say of itself, by the signature of one."""
    key, terms = handover.entrance.keys[signer].identity, handover.terms
    identity = handover.known[at].identity
    payload = encode(PeerAddrs(2**60, addresses))
    said = parse_envelope(sign_envelope(key, Domain.PEER_ADDRS, chain_id_of(terms), payload))
    envelope = build_envelope(key_id(identity), payload, said.signature)
    return handover.with_known(at, said=envelope)


LIES: dict[str, tuple[Callable[[Handover], list[bytes]], str]] = {
    "another table": (another_table, "another table than that of the invite"),
    "a consent is missing": (a_consent_missing, "sent a wrong table: "),
    "a table without terms": (lambda h: h.frames()[1:], "a table before its terms"),
    "members without a table": (
        lambda h: [h.frames()[0], h.frames()[2]],
        "members out of order",
    ),
    "members out of order": (
        lambda h: h.frames(Contacts(5, 1, h.known[1:]), Contacts(5, 0, h.known[:1])),
        "members out of order",
    ),
    "a name that cannot be shown": (
        lambda h: h.with_known(4, nickname="el  na"),
        "wrong list of members: nickname",
    ),
    "an address that is none": (
        lambda h: h.with_known(4, addresses=("nowhere",)),
        "wrong list of members: 'nowhere'",
    ),
    "a founder under another name": (
        lambda h: h.with_known(1, nickname="mallory"),
        "without those of the terms",
    ),
    "a founder with another key": (
        lambda h: h.with_known(1, identity=bytes(32)),
        "without those of the terms",
    ),
    "a member at two places": (
        lambda h: h.frames(Contacts(6, 0, (*h.known, h.known[1]))),
        "one of them twice",
    ),
    "without the newcomer": (without_the_newcomer, "without this one"),
    "an announcement that is none": (
        lambda h: h.with_known(1, said=b"\x80"),
        "announcement that does not parse",
    ),
    "an announcement by another": (
        lambda h: announced(h, 1, 0, "127.0.0.1:7009"),
        "announcement whose signature does not verify",
    ),
    "an announcement of no address": (
        lambda h: announced(h, 0, 0, "nowhere"),
        "announcement of an address that is none: 'nowhere'",
    ),
    "something else": (lambda _: [lobby_frame(LobbyNumber.ROOM, b"\x80")], "cannot be read"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_member_that_lies_about_its_table_is_not_believed_and_nothing_is_saved(lie: str) -> None:
    bend, sentence = LIES[lie]
    handover = Handover()
    outcome, saved, _ = asked(handover, saying(*bend(handover)))
    assert isinstance(outcome, OperatorError)
    assert sentence in str(outcome)
    assert saved == []


def test_terms_that_nobody_should_play_by_are_not_saved() -> None:
    handover = Handover()
    outcome, saved, _ = asked(handover, saying(*handover.frames()), problem="a field of lies")
    assert isinstance(outcome, OperatorError)
    assert str(outcome) == "the terms of 'friday': a field of lies"
    assert saved == []


def test_what_a_member_says_of_itself_is_believed_by_its_signature() -> None:
    handover = Handover()
    outcome, saved, _ = asked(handover, saying(*announced(handover, 1, 1, "127.0.0.1:7009")))
    assert saved == [outcome]


def test_a_list_in_parts_is_whole_with_the_last_one() -> None:
    handover = Handover()
    parts = Contacts(5, 0, handover.known[:4]), Contacts(5, 4, handover.known[4:])
    outcome, saved, _ = asked(handover, saying(*handover.frames(*parts)))
    assert saved == [outcome]
    assert isinstance(outcome, Admitted)
    assert outcome.known == handover.known


def test_a_link_that_breaks_in_the_middle_costs_what_it_had_brought_and_no_more() -> None:
    handover = Handover()
    first = handover.frames(Contacts(5, 0, handover.known[:3]))
    outcome, saved, _ = asked(handover, leaving(*first), saying(*handover.frames()))
    assert isinstance(outcome, Admitted)
    assert saved == [outcome]


def test_a_member_that_lets_nobody_in_any_more_is_given_up_after_a_minute() -> None:
    waiting = lobby_frame(LobbyNumber.WAITING, Waiting(0, 3))
    for said, patience in (
        ((waiting,), GIVE_UP_SECONDS),
        ((), 0),
    ):  # whom it never told to wait does not
        outcome, saved, seconds = asked(Handover(), leaving(*said))
        assert isinstance(outcome, OperatorError)
        assert "lets nobody in with this invite: ask for a new one" in str(outcome)
        assert patience <= seconds < patience + 10
        assert saved == []
