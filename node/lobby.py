"""Before the game: the host seats people, everybody signs the same terms (PROTOCOL 15).

The host can refuse or stall, never fork: a table starts with the consent of every member to one
descriptor, and each joiner checks all of them itself. Both sides save the table before they go on.
"""

import enum
import hmac
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import trio

from consensus.encoding import Bytes32, DecodeError, Record, convert_as, decode, decode_as, encode
from node.descriptor import (
    Addresses,
    Descriptor,
    Invite,
    Join,
    Member,
    Table,
    build_descriptor,
    chain_id_of,
    format_invite,
    is_accepted_by,
    lobby_id_of,
    member_of,
    open_join,
    parse_invite,
    problem_of_addresses,
    problem_of_descriptor,
    problem_of_members,
    problem_of_name,
    sign_accept,
    sign_join,
)
from node.errors import OperatorError
from node.identity import Keys, check_link
from transport.base import Address, Counters, LinkClosed, LinkRefused, parse_address
from transport.link import Credentials, Link
from transport.tcp import Door, dial

JOIN_SECONDS = 10
SIGN_SECONDS = 30
HANDOVER_SECONDS = 10
REASON_CHARS_MAX = 200
LOBBY_FRAME_BYTES_MAX = 64 << 10


class LobbyNumber(enum.IntEnum):
    """First byte of every lobby frame; JOIN, ACCEPT and DESCRIPTOR as on a table."""

    JOIN = 6
    ACCEPT = 7
    DESCRIPTOR = 23
    ROOM = 32
    REFUSED = 33
    TABLE = 34
    SAVED = 35


class _TableMessage(Record, frozen=True):
    chain_id: Bytes32
    accepts: tuple[bytes, ...]
    addresses: tuple[Addresses, ...]


@dataclass(frozen=True, slots=True)
class Room:
    """What a person sees of a lobby. `invite` is empty on the joiner's side."""

    invite: str
    seats: int
    nicknames: tuple[str, ...]


@dataclass(slots=True)
class _Guest:
    member: Member
    addresses: tuple[str, ...]
    link: Link | None
    accept: bytes = b""
    saved: bool = False


def credentials_of(keys: Keys) -> Credentials:
    """Return what a node shows on its links."""
    return Credentials(keys.link_secret, keys.identity.public_key, keys.sign_link, check_link)


def _frame(number: LobbyNumber, body: bytes) -> bytes:
    return bytes((number,)) + body


async def host(  # noqa: PLR0917  (the five terms of a table and its keys)
    keys: Keys,
    nickname: str,
    name: str,
    params: bytes,
    seats: int,
    listen: Address,
    *,
    on_change: Callable[[Room], None],
    save: Callable[[Table], None],
    public_hosts: Sequence[str] = (),
) -> Table:
    """Seat `seats` people (1..16, the host among them) and return the table they agreed to.

    `listen` is also where the table will be reached; port 0 takes a free one.
    `public_hosts` are the hosts to invite to when it listens on all interfaces. `on_change` is called
    first with the invite, then whenever somebody comes or goes.

    Raises:
        OperatorError: A name breaks a rule or the address cannot be listened on.
    """
    own = member_of(keys, nickname)
    if problem := problem_of_name("table name", name):
        raise OperatorError(problem)
    if not 1 <= seats <= 16:
        raise OperatorError(f"a table of {seats} seats; allowed are 1 to 16")
    lobby = _Host(keys, own, name, params, seats, on_change)
    async with trio.open_nursery() as nursery:
        door = Door(
            credentials_of(keys), lobby.lobby_id, lambda _: True, Counters(), lobby.serve_guest
        )
        try:
            bound = await nursery.start(door.serve, listen)
        except OSError as error:
            raise OperatorError(f"cannot listen on {listen}: {error.strerror}") from None
        hosts = public_hosts or (bound[0].host,)
        table = await lobby.run([Address(name, bound[0].port) for name in hosts])
        save(table)
        await lobby.hand_over(table)
        nursery.cancel_scope.cancel()
    return table


@dataclass
class _Host:
    keys: Keys
    own: Member
    name: str
    params: bytes
    seats: int
    on_change: Callable[[Room], None]
    nonce: bytes = field(default_factory=lambda: os.urandom(16))
    secret: bytes = field(default_factory=lambda: os.urandom(16))
    guests: dict[bytes, _Guest] = field(default_factory=dict)
    descriptor: Descriptor | None = None
    table: Table | None = None
    changed: trio.Event = field(default_factory=trio.Event)
    invite: str = ""

    def __post_init__(self) -> None:
        self.lobby_id = lobby_id_of(
            self.own.identity, self.name, self.nonce, self.seats, self.params
        )

    async def run(self, reach: Sequence[Address]) -> Table:
        addresses = tuple(map(str, reach))
        self.invite = format_invite(
            Invite(1, self.lobby_id, self.own.identity, self.secret, addresses, 0)
        )
        self.guests[self.own.identity] = _Guest(self.own, addresses, None, saved=True)
        await self._tell_room()
        while self.table is None:
            if len(self.guests) < self.seats:
                await self._next_change()
            else:
                await self._sign()
        return self.table

    async def _sign(self) -> None:
        """Send the terms and wait until all have signed, one has left, or 30 s are over."""
        members = [guest.member for guest in self.guests.values()]
        self.descriptor = build_descriptor(self.name, self.nonce, members, self.params)
        for guest in self.guests.values():
            guest.accept = b""
        self.guests[self.own.identity].accept = sign_accept(self.keys, self.descriptor)
        await self._broadcast(_frame(LobbyNumber.DESCRIPTOR, encode(self.descriptor)))
        with trio.move_on_after(SIGN_SECONDS):
            while len(self.guests) == self.seats and not all(
                guest.accept for guest in self.guests.values()
            ):
                await self._next_change()
        for identity, guest in list(self.guests.items()):
            if not guest.accept and guest.link and len(self.guests) == self.seats:
                del self.guests[identity]
                await guest.link.aclose()
        if len(self.guests) < self.seats:
            self.descriptor = None
            await self._tell_room()
            return
        ordered = [self.guests[member.identity] for member in self.descriptor.members]
        self.table = Table(
            self.descriptor,
            tuple(guest.accept for guest in ordered),
            tuple(guest.addresses for guest in ordered),
        )

    async def hand_over(self, table: Table) -> None:
        """Send the table until everybody has saved it, for at most 10 s."""
        await self._broadcast(_table_frame(table))
        with trio.move_on_after(HANDOVER_SECONDS):
            while not all(guest.saved for guest in self.guests.values()):
                await self._next_change()

    async def serve_guest(self, link: Link) -> None:
        """Run one guest's link to its end; its seat is free again unless the table stands."""
        with trio.move_on_after(JOIN_SECONDS):
            first = (await link.receive())[0]
            refusal = await self._seat(link, first)
            if refusal:
                await link.send([_frame(LobbyNumber.REFUSED, refusal.encode())])
                await link.aclose()
                return
        guest = self.guests.get(link.peer)
        if guest is None or guest.link is not link:
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.keep_alive)
            try:
                while True:
                    for frame in await link.receive():
                        self._hear(guest, frame)
            except LinkClosed:
                nursery.cancel_scope.cancel()
        if self.table is None and self.guests.get(link.peer) is guest:
            del self.guests[link.peer]
            await self._tell_room()

    async def _seat(self, link: Link, frame: bytes) -> str:
        """Seat a joiner, or return the sentence that it reads."""
        if frame[0] != LobbyNumber.JOIN or len(frame) > LOBBY_FRAME_BYTES_MAX:
            return "the first message is not a request to join"
        try:
            join = open_join(self.lobby_id, frame[1:])
        except DecodeError as error:
            return f"the request to join cannot be read: {error}"[:REASON_CHARS_MAX]
        if not hmac.compare_digest(join.secret, self.secret):
            return "the secret of the invite is wrong"
        if join.member.identity != link.peer:
            return "the request to join is not from the identity of this connection"
        known = self.guests.get(link.peer)
        if self.table is not None:
            if known is None or known.member != join.member:
                return "the table has started"
            known.link = link
            await link.send([_table_frame(self.table)])
            return ""
        others = [guest.member for key, guest in self.guests.items() if key != link.peer]
        if len(others) >= self.seats:
            return f"the table is full: {self.seats} of {self.seats} seats are taken"
        if problem := problem_of_members([*others, join.member]):
            return problem[:REASON_CHARS_MAX]
        if problem := problem_of_addresses(join.addresses):
            return problem[:REASON_CHARS_MAX]
        self.guests[link.peer] = _Guest(join.member, join.addresses, link)
        if known and known.link:  # the newest connection of an identity is the living one
            await known.link.aclose()
        await self._tell_room()
        return ""

    def _hear(self, guest: _Guest, frame: bytes) -> None:
        if frame[0] == LobbyNumber.SAVED and self.table is not None:
            guest.saved = True
        elif (
            frame[0] == LobbyNumber.ACCEPT
            and self.descriptor is not None
            and is_accepted_by(guest.member, self.descriptor, frame[1:])
        ):
            guest.accept = frame[1:]
        self._notify()

    async def _tell_room(self) -> None:
        names = tuple(guest.member.nickname for guest in self.guests.values())
        self.on_change(Room(self.invite, self.seats, names))
        self._notify()
        await self._broadcast(_frame(LobbyNumber.ROOM, encode((self.seats, names))))

    async def _broadcast(self, frame: bytes) -> None:
        for guest in list(self.guests.values()):
            if guest.link:
                with trio.move_on_after(JOIN_SECONDS):
                    try:
                        await guest.link.send([frame])
                    except LinkClosed:
                        continue  # its own task frees the seat

    def _notify(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

    async def _next_change(self) -> None:
        await self.changed.wait()


def _table_frame(table: Table) -> bytes:
    message = _TableMessage(table.chain_id, table.accepts, table.addresses)
    return _frame(LobbyNumber.TABLE, encode(message))


async def join(
    keys: Keys,
    nickname: str,
    invite: str,
    listen: Sequence[Address],
    *,
    on_change: Callable[[Room], None],
    save: Callable[[Table], None],
) -> Table:
    """Take a seat by an invite and return the table, once all have agreed.

    `listen` are the concrete addresses at which the others will reach this node at the table.

    Raises:
        OperatorError: The invite, the host's refusal, or what the host sent is at fault.
    """
    parsed = parse_invite(invite)
    request = Join(parsed.secret, member_of(keys, nickname), tuple(map(str, listen)))
    link = await _reach(keys, parsed)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.keep_alive)
        try:
            envelope = sign_join(keys, parsed.lobby_id, request)
            await link.send([_frame(LobbyNumber.JOIN, envelope)])
            table = await _sit(keys, request.member, parsed, link, on_change)
            save(table)
            await link.send([_frame(LobbyNumber.SAVED, b"\x01")])
            outcome: Table | str = table
        except LinkClosed as error:
            outcome = f"the host left before the table started ({error})"
        except DecodeError as error:
            outcome = f"the host sent what cannot be read: {error}"
        except OperatorError as error:
            outcome = str(error)
        finally:
            await link.aclose()
        nursery.cancel_scope.cancel()
    if isinstance(outcome, str):
        raise OperatorError(outcome)
    return outcome


async def _reach(keys: Keys, invite: Invite) -> Link:
    tried = []
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
            tried.append(f"{text}: {error}")
    raise OperatorError(f"the host does not answer ({'; '.join(tried)})")


async def _sit(
    keys: Keys, own: Member, invite: Invite, link: Link, on_change: Callable[[Room], None]
) -> Table:
    descriptor: Descriptor | None = None
    seats = 0
    while True:
        for frame in await link.receive():
            number, body = frame[0], frame[1:]
            if len(frame) > LOBBY_FRAME_BYTES_MAX:
                raise DecodeError(f"a message of {len(frame)} bytes")
            if number == LobbyNumber.REFUSED:
                reason = body[: 4 * REASON_CHARS_MAX].decode(errors="replace")
                shown = "".join(c for c in reason if c.isprintable())[:REASON_CHARS_MAX]
                raise OperatorError(f"the host refuses: {shown}")
            if number == LobbyNumber.ROOM:
                seats, names = convert_as(decode(body), tuple[int, tuple[str, ...]])
                for name in names:
                    if problem := problem_of_name("nickname", name):
                        raise OperatorError(f"the host sent a wrong room: {problem}")
                on_change(Room("", seats, names))
            elif number == LobbyNumber.DESCRIPTOR:
                descriptor = decode_as(body, Descriptor)
                _check_terms(descriptor, own, invite)
                accept = sign_accept(keys, descriptor)
                await link.send([_frame(LobbyNumber.ACCEPT, accept)])
            elif number == LobbyNumber.TABLE and descriptor is not None:
                message = decode_as(body, _TableMessage)
                if message.chain_id != chain_id_of(descriptor):
                    raise OperatorError("the host started another table than the one agreed to")
                table = Table(descriptor, message.accepts, message.addresses)
                if problem := table.problem():
                    raise OperatorError(f"the host sent a wrong table: {problem}")
                return table


def _check_terms(descriptor: Descriptor, own: Member, invite: Invite) -> None:
    if problem := problem_of_descriptor(descriptor):
        raise OperatorError(f"the host sent wrong terms: {problem}")
    lobby_id = lobby_id_of(
        invite.host, descriptor.name, descriptor.nonce, len(descriptor.members), descriptor.params
    )
    if lobby_id != invite.lobby_id:
        raise OperatorError("the host sent other terms than those of the invite")
    if own not in descriptor.members:
        raise OperatorError("the host sent terms without this seat and its keys")
    if all(member.identity != invite.host for member in descriptor.members):
        raise OperatorError("the host sent terms without itself")
