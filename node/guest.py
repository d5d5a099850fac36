"""Asking for a seat with an invite: at a lobby, or at a table that plays (PROTOCOL 15).

Whatever the other side sends is checked before it counts. What makes a table, or lets this node start
at one, is saved before that side is told.
"""

import contextlib
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

import trio

from consensus.encoding import DecodeError, decode_as
from node.addresses import Known, founders_of, problem_of_known
from node.descriptor import (
    Descriptor,
    Invite,
    Join,
    Member,
    Table,
    chain_id_of,
    lobby_id_of,
    member_of,
    parse_invite,
    problem_of_descriptor,
    problem_of_name,
    sign_accept,
    sign_join,
)
from node.errors import OperatorError
from node.identity import Keys, credentials_of
from node.lobby_messages import (
    HANDOVER_SECONDS,
    JOIN_SECONDS,
    LOBBY_FRAME_BYTES_MAX,
    Contacts,
    LobbyNumber,
    Refusal,
    Room,
    RoomMessage,
    Saved,
    TableMessage,
    Waiting,
    lobby_frame,
)
from transport.base import Address, Counters, Fault, LinkClosed, LinkRefused, parse_address
from transport.link import Link
from transport.tcp import dial

log = logging.getLogger(__name__)

LOBBY_REDIAL_SECONDS = 0.5
TABLE_REDIAL_SECONDS = 1.0
GIVE_UP_SECONDS = 60.0
"""How long a newcomer that waits for approval dials a member whose node is away."""
GOODBYE_SECONDS = 1

T = TypeVar("T")
Take: TypeAlias = Callable[[Link, int, bytes], Awaitable[T | None]]
"""Takes one message, its number and its body; returns what was asked for once that is complete."""


async def join(
    keys: Keys,
    nickname: str,
    invite: str,
    listen: Sequence[Address],
    *,
    on_change: Callable[[Room], None],
    save: Callable[[Table], None],
    problem_of_params: Callable[[bytes], str | None] | None = None,
) -> Table:
    """Take a seat at a lobby and return the table, once all have agreed.

    `listen` are the concrete addresses at which the others will reach this node at the table.
    `problem_of_params`, if given, says in a thread why the game's terms are not to be signed.

    A link that breaks when this node has signed is dialled again for 10 s: the host may be handing
    over a table that counts on this node.

    Raises:
        OperatorError: The invite, the host's refusal, or what the host sent is at fault.
    """
    parsed = parse_invite(invite)
    request = Join(parsed.secret, member_of(keys, nickname), tuple(map(str, listen)))
    asking = _AskAtLobby(keys, parsed, request.member, on_change, problem_of_params)
    opening = sign_join(keys, parsed.lobby_id, request)
    give_up = math.inf
    while True:
        try:
            link = await _reach(keys, parsed)
        except OperatorError:
            if not trio.current_time() < give_up < math.inf:
                raise
        else:
            outcome = await _converse(link, "host", opening, asking.take, _keeping(save))
            if isinstance(outcome, Table):
                return outcome
            if isinstance(outcome, OperatorError):
                raise outcome
            log.info("lobby link broke reason=%s", outcome)
            if asking.terms is None or give_up <= trio.current_time():
                raise OperatorError(f"the host left before the table started ({outcome})")
            give_up = min(give_up, trio.current_time() + HANDOVER_SECONDS)
        await trio.sleep(LOBBY_REDIAL_SECONDS)


def _keeping(save: Callable[[Table], None]) -> Callable[[Table], Saved]:
    def keep(table: Table) -> Saved:
        save(table)
        return Saved(table.chain_id)

    return keep


@dataclass(frozen=True, slots=True)
class Admitted:
    """What a newcomer has in hand when it is a member: the table, and who is where."""

    table: Table
    known: tuple[Known, ...]


async def ask_to_join(
    keys: Keys,
    nickname: str,
    invite: Invite,
    listen: Sequence[str],
    *,
    on_wait: Callable[[Waiting], None],
    save: Callable[[Admitted], None],
    problem_of_params: Callable[[bytes], str | None],
) -> Admitted:
    """Ask for a place at a running table, and return what is needed to start once it is given.

    It waits for as long as the voters take; a link that breaks is dialled again for a minute.

    Raises:
        OperatorError: The member refuses, is away, or what it sent is at fault.
    """
    request = Join(invite.secret, member_of(keys, nickname), tuple(listen))
    asking = _AskAtTable(keys, invite, on_wait, problem_of_params)
    opening = sign_join(keys, invite.lobby_id, request)

    def keep(admitted: Admitted) -> Saved:
        save(admitted)
        return Saved(admitted.table.chain_id)

    while True:
        try:
            link = await _reach(keys, invite)
        except OperatorError as error:
            problem = error
        else:
            asking.begin()
            outcome = await _converse(link, "member", opening, asking.take, keep)
            if isinstance(outcome, Admitted):
                return outcome
            if isinstance(outcome, OperatorError):
                raise outcome
            log.info("link to the inviting member broke reason=%s", outcome)
            problem = OperatorError("the member lets nobody in with this invite: ask for a new one")
        if trio.current_time() - asking.answered_at >= GIVE_UP_SECONDS:
            raise problem
        await trio.sleep(TABLE_REDIAL_SECONDS)


async def _reach(keys: Keys, invite: Invite) -> Link:
    """Dial who made an invite, at its addresses in turn; raises `OperatorError`."""
    tried, known = [], True
    for text in invite.addresses:
        try:
            return await dial(
                parse_address(text),
                credentials_of(keys),
                invite.lobby_id,
                lambda key: key == invite.host,
                Counters(),
            )
        except LinkRefused as error:
            tried.append(f"{text}: {error.fault}")
            known = known and error.fault is not Fault.HANDSHAKE
    places = " or ".join(invite.addresses)
    if not known:
        raise OperatorError(
            f"what answers at {places} does not know this invite: the table has begun, or the host "
            "opened another; ask for a new invite"
        )
    raise OperatorError(f"the host does not answer ({'; '.join(tried)}): ask whether it still runs")


async def _converse(
    link: Link, who: str, opening: bytes, take: Take[T], keep: Callable[[T], Saved]
) -> T | OperatorError | LinkClosed:
    """Run one link to its end and return what it came to. `who` is at its other end, in words."""
    outcome: T | OperatorError | LinkClosed
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.keep_alive)
            try:
                await link.send([lobby_frame(LobbyNumber.JOIN, opening)])
                outcome = await _hear_out(link, who, take)
                await _say_saved(link, keep(outcome))
            except DecodeError as error:
                outcome = OperatorError(f"the {who} sent what cannot be read: {error}")
            except (OperatorError, LinkClosed) as error:
                outcome = error
            nursery.cancel_scope.cancel()
    finally:
        await link.aclose()
    return outcome


async def _hear_out(link: Link, who: str, take: Take[T]) -> T:
    """Take messages until they made what was asked for; raises `OperatorError` or `DecodeError`."""
    with trio.move_on_after(JOIN_SECONDS) as patience:
        frames = await link.receive()
    if patience.cancelled_caught:
        raise OperatorError(f"the {who} does not answer the request to join")
    while True:
        for frame in frames:
            if len(frame) > LOBBY_FRAME_BYTES_MAX:
                raise DecodeError(f"a message of {len(frame)} bytes")
            number, body = frame[0], frame[1:]
            if number == LobbyNumber.REFUSED:
                reason = decode_as(body, Refusal).reason
                shown = "".join(char for char in reason if char.isprintable())
                raise OperatorError(f"the {who} refuses: {shown}")
            if (made := await take(link, number, body)) is not None:
                return made
        frames = await link.receive()


async def _say_saved(link: Link, saved: Saved) -> None:
    """Tell who handed the table over, and let it hang up: a close with its bytes unread could cut this one off."""
    with trio.move_on_after(GOODBYE_SECONDS), contextlib.suppress(LinkClosed):
        await link.send([lobby_frame(LobbyNumber.SAVED, saved)])
        while True:
            await link.receive()


@dataclass
class _AskAtLobby:
    """What a host's messages come to, over all links to it."""

    keys: Keys
    invite: Invite
    own: Member
    on_change: Callable[[Room], None]
    problem_of_params: Callable[[bytes], str | None] | None
    terms: Descriptor | None = None

    async def take(self, link: Link, number: int, body: bytes) -> Table | None:
        """Take one message of the host; raises `OperatorError` or `DecodeError`."""
        match number:
            case LobbyNumber.ROOM:
                room = decode_as(body, RoomMessage)
                for name in room.nicknames:
                    if problem := problem_of_name("nickname", name):
                        raise OperatorError(f"the host sent a wrong room: {problem}")
                self.on_change(Room("", room.seats, room.nicknames))
            case LobbyNumber.DESCRIPTOR:
                terms = decode_as(body, Descriptor)
                _check_terms(terms, self.own, self.invite)
                if self.problem_of_params is not None:
                    await _check_params(terms, self.problem_of_params)
                self.terms = terms
                accept = sign_accept(self.keys, terms)
                await link.send([lobby_frame(LobbyNumber.ACCEPT, accept)])
            case LobbyNumber.TABLE:
                return _check_table(decode_as(body, TableMessage), self.terms)
            case _:
                raise DecodeError(f"message number {number} from a host")
        return None


async def _check_params(terms: Descriptor, problem_of: Callable[[bytes], str | None]) -> None:
    """Raise `OperatorError` for a game that this node does not play by these terms."""
    # To count the odds of house rules takes a second, in which the link is to stay alive.
    if wrong := await trio.to_thread.run_sync(problem_of, terms.params):
        raise OperatorError(f"the terms of {terms.name!r}: {wrong}")


def _check_terms(descriptor: Descriptor, own: Member, invite: Invite) -> None:
    if problem := problem_of_descriptor(descriptor):
        raise OperatorError(f"the host sent wrong terms: {problem}")
    lobby_id = lobby_id_of(
        invite.host, descriptor.name, descriptor.nonce, len(descriptor.members), descriptor.params,
        len(descriptor.validators),
    )  # fmt: skip
    if lobby_id != invite.lobby_id:
        raise OperatorError("the host sent other terms than those of the invite")
    if own not in descriptor.members:
        raise OperatorError("the host sent terms without this seat and its keys")
    if all(member.identity != invite.host for member in descriptor.members):
        raise OperatorError("the host sent terms without itself")


def _check_table(message: TableMessage, terms: Descriptor | None) -> Table:
    if terms is None or message.chain_id != chain_id_of(terms):
        raise OperatorError("the host started another table than the one agreed to")
    table = Table(terms, message.accepts, message.addresses)
    if problem := table.problem():
        raise OperatorError(f"the host sent a wrong table: {problem}")
    return table


@dataclass
class _AskAtTable:
    """What a member's messages come to, on the newest link to it."""

    keys: Keys
    invite: Invite
    on_wait: Callable[[Waiting], None]
    problem_of_params: Callable[[bytes], str | None]
    terms: Descriptor | None = None
    table: Table | None = None
    known: list[Known] = field(default_factory=list)
    answered_at: float = -math.inf

    def begin(self) -> None:
        """Forget what an earlier link brought: every link brings all of it."""
        self.terms = self.table = None
        self.known.clear()

    async def take(self, _: Link, number: int, body: bytes) -> Admitted | None:
        """Take one message of the member; raises `OperatorError` or `DecodeError`."""
        self.answered_at = trio.current_time()
        match number:
            case LobbyNumber.WAITING:
                self.on_wait(decode_as(body, Waiting))
            case LobbyNumber.DESCRIPTOR:
                terms = decode_as(body, Descriptor)
                if chain_id_of(terms) != self.invite.lobby_id:
                    raise OperatorError("the member sent another table than that of the invite")
                await _check_params(terms, self.problem_of_params)
                self.terms = terms
            case LobbyNumber.TABLE:
                self._take_table(decode_as(body, TableMessage))
            case LobbyNumber.CONTACTS:
                return self._take_contacts(decode_as(body, Contacts))
            case _:
                raise DecodeError(f"message number {number} from a member")
        return None

    def _take_table(self, message: TableMessage) -> None:
        if self.terms is None:
            raise DecodeError("a table before its terms")
        table = Table(self.terms, message.accepts, message.addresses)
        if problem := table.problem():
            raise OperatorError(f"the member sent a wrong table: {problem}")
        self.table = table

    def _take_contacts(self, message: Contacts) -> Admitted | None:
        table = self.table
        if table is None or message.first != len(self.known):
            raise DecodeError("members out of order")
        for one in message.known:
            if problem := problem_of_known(table.chain_id, one):
                raise OperatorError(f"the member sent a wrong list of members: {problem}")
        self.known += message.known
        if len(self.known) < message.count:
            return None
        founders = [(one.identity, one.nickname) for one in founders_of(table)]
        if [(one.identity, one.nickname) for one in self.known[: len(founders)]] != founders:
            raise OperatorError("the member sent a list of members without those of the terms")
        if len({one.identity for one in self.known}) < len(self.known):
            raise OperatorError("the member sent a list of members with one of them twice")
        own = self.keys.identity.public_key
        if all(one.identity != own for one in self.known[len(founders) :]):
            raise OperatorError("the member sent a list of members without this one")
        return Admitted(table, tuple(self.known))
