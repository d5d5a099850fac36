"""Before the game: the host seats people, everybody signs the same terms (PROTOCOL 15).

The host can refuse or stall, never fork: a table starts with the consent of every member to one
descriptor, and each joiner checks all of them itself. Both sides save the table before they go on.
"""

import contextlib
import hmac
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import trio

from consensus.encoding import DecodeError, decode_as
from consensus.signing import parse_envelope
from node.descriptor import (
    MEMBERS_MAX,
    NONCE_BYTES,
    SECRET_BYTES,
    Descriptor,
    Invite,
    Member,
    Table,
    build_descriptor,
    format_invite,
    is_accepted_by,
    lobby_id_of,
    member_of,
    open_join,
    problem_of_addresses,
    problem_of_members,
    problem_of_name,
    sign_accept,
)
from node.errors import OperatorError
from node.identity import Keys, credentials_of
from node.lobby_messages import (
    HANDOVER_SECONDS,
    JOIN_SECONDS,
    LOBBY_FRAME_BYTES_MAX,
    REASON_CHARS_MAX,
    LobbyNumber,
    Refusal,
    Room,
    RoomMessage,
    Saved,
    TableMessage,
    lobby_frame,
)
from transport.base import Address, Counters, LinkClosed
from transport.link import Link
from transport.tcp import Door

log = logging.getLogger(__name__)

SIGN_SECONDS = 30
"""Who has not signed the terms by then loses the seat; the others get new terms."""


@dataclass(slots=True)
class _Guest:
    member: Member
    addresses: tuple[str, ...]
    link: Link | None
    accept: bytes = b""
    saved: bool = False


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
    voters: int | None = None,
) -> Table:
    """Seat `seats` people (1..16, the host among them) and return the table they agreed to.

    `listen` is also where the table will be reached; port 0 takes a free one.
    The first `voters` of them vote, in order of arrival, the host first; None means all.
    `public_hosts` are the hosts to invite to when it listens on all interfaces. `on_change` is called
    first with the invite, then whenever somebody comes or goes.

    Raises:
        OperatorError: A name breaks a rule, the address cannot be listened on, or the table cannot
            be saved.
    """
    own = member_of(keys, nickname)
    if problem := problem_of_name("table name", name):
        raise OperatorError(problem)
    if not 1 <= seats <= MEMBERS_MAX:
        raise OperatorError(f"a table of {seats} seats; allowed are 1 to {MEMBERS_MAX}")
    if voters is not None and not 1 <= voters <= seats:
        raise OperatorError(
            f"{voters} voters at a table of {seats} seats; allowed are 1 to {seats}"
        )
    lobby = _Host(keys, own, name, params, seats, on_change, voters)
    door = Door(credentials_of(keys), lobby.lobby_id, lambda _: True, Counters(), lobby.serve_guest)
    outcome: Table | OperatorError | None = None
    async with trio.open_nursery() as nursery:
        try:
            bound = await nursery.start(door.serve, listen)
            hosts = public_hosts or (bound[0].host,)
            table = await lobby.run([Address(name, bound[0].port) for name in hosts])
            save(table)
            await lobby.hand_over(table)
            outcome = table
        except OSError as error:
            outcome = OperatorError(f"cannot listen on {listen}: {error.strerror}")
        except OperatorError as error:  # a nursery would hand it on in a group
            outcome = error
        nursery.cancel_scope.cancel()
    if isinstance(outcome, Table):
        return outcome
    assert outcome is not None, "a cancelled lobby does not come here"
    raise outcome


@dataclass
class _Host:
    """The room of one lobby. Guests are told of changes by their own tasks: none waits for another."""

    keys: Keys
    own: Member
    name: str
    params: bytes
    seats: int
    on_change: Callable[[Room], None]
    voters: int | None = None
    nonce: bytes = field(default_factory=lambda: os.urandom(NONCE_BYTES))
    secret: bytes = field(default_factory=lambda: os.urandom(SECRET_BYTES))
    guests: dict[bytes, _Guest] = field(default_factory=dict)
    descriptor: Descriptor | None = None
    table: Table | None = None
    changed: trio.Event = field(default_factory=trio.Event)
    invite: str = ""

    def __post_init__(self) -> None:
        """Name the lobby; the name binds all that the host may not change later."""
        self.lobby_id = lobby_id_of(
            self.own.identity, self.name, self.nonce, self.seats, self.params, self.voters
        )

    async def run(self, reach: Sequence[Address]) -> Table:
        """Wait for people and for their signatures, as often as it takes."""
        addresses = tuple(map(str, reach))
        self.invite = format_invite(
            Invite(1, self.lobby_id, self.own.identity, self.secret, addresses, 0)
        )
        self.guests[self.own.identity] = _Guest(self.own, addresses, None, saved=True)
        self._room_changed()
        while self.table is None:
            if len(self.guests) < self.seats:
                await self.changed.wait()
            else:
                await self._sign()
        return self.table

    async def _sign(self) -> None:
        """Offer terms to a full room until all have signed, the room changes, or 30 s are over."""
        offered = dict(self.guests)
        members = [guest.member for guest in offered.values()]
        descriptor = self.descriptor = build_descriptor(
            self.name, self.nonce, members, self.params, self.voters
        )
        for guest in offered.values():
            guest.accept = b""
        self.guests[self.own.identity].accept = sign_accept(self.keys, descriptor)
        self._notify()
        with trio.move_on_after(SIGN_SECONDS) as patience:
            while self._still_sits(offered) and not all(g.accept for g in offered.values()):
                await self.changed.wait()
        if self._still_sits(offered) and not patience.cancelled_caught:
            ordered = [offered[member.identity] for member in descriptor.members]
            self.table = Table(
                descriptor,
                tuple(guest.accept for guest in ordered),
                tuple(guest.addresses for guest in ordered),
            )
            self._notify()
            return
        if patience.cancelled_caught:
            await self._unseat([key for key, guest in offered.items() if not guest.accept])

    def _still_sits(self, offered: dict[bytes, _Guest]) -> bool:
        """Say whether nobody has come, gone or changed since terms were offered."""
        return self.guests.keys() == offered.keys() and all(
            self.guests[key] is guest for key, guest in offered.items()
        )

    async def _unseat(self, identities: Sequence[bytes]) -> None:
        gone = [self.guests.pop(identity) for identity in identities if identity in self.guests]
        self._room_changed()
        for guest in gone:
            if guest.link:
                await guest.link.aclose()

    async def hand_over(self, table: Table) -> None:
        """Serve the table until everybody has saved it, for at most 10 s."""
        with trio.move_on_after(HANDOVER_SECONDS):
            while not all(guest.saved for guest in self.guests.values()):
                await self.changed.wait()
        for guest in self.guests.values():
            if not guest.saved:
                log.warning("table not saved by nickname=%s", guest.member.nickname)

    async def serve_guest(self, link: Link) -> None:
        """Run one guest's link to its end; its seat is free again unless the table stands."""
        with trio.move_on_after(JOIN_SECONDS):
            first = (await link.receive())[0]
            if refusal := self._seat(link, first):
                log.info("join refused peer=%s reason=%s", link.remote, refusal)
                reason = refusal[:REASON_CHARS_MAX]
                await link.send([lobby_frame(LobbyNumber.REFUSED, Refusal(reason))])
                return
        guest = self.guests.get(link.peer)
        if guest is None or guest.link is not link:
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.keep_alive)
            nursery.start_soon(self._tell, guest, link)
            try:
                while True:
                    for frame in await link.receive():
                        self._hear(guest, frame)
            except (LinkClosed, DecodeError) as error:
                log.info("guest gone nickname=%s reason=%s", guest.member.nickname, error)
            nursery.cancel_scope.cancel()
        # A newer connection may have taken the seat over, and a table keeps its members.
        if self.table is None and guest.link is link and self.guests.get(link.peer) is guest:
            await self._unseat([link.peer])

    async def _tell(self, guest: _Guest, link: Link) -> None:
        """Send a guest what it has not seen of the room, the terms and the table."""
        room: bytes | None = None
        terms: Descriptor | None = None
        told_table = False
        while guest.link is link:
            frames = []
            if room != (news := self._room_frame()):
                frames.append(room := news)
            if self.descriptor is not None and terms is not self.descriptor:
                terms = self.descriptor
                frames.append(lobby_frame(LobbyNumber.DESCRIPTOR, terms))
            if self.table is not None and not told_table:
                told_table = True
                table = self.table
                message = TableMessage(table.chain_id, table.accepts, table.addresses)
                frames.append(lobby_frame(LobbyNumber.TABLE, message))
            if frames:
                with contextlib.suppress(LinkClosed):  # the reader finds out too
                    await link.send(frames)
            else:
                await self.changed.wait()
        await link.aclose()  # a newer connection of this guest has taken over

    def _room_frame(self) -> bytes:
        names = tuple(guest.member.nickname for guest in self.guests.values())
        return lobby_frame(LobbyNumber.ROOM, RoomMessage(self.seats, names))

    def _seat(self, link: Link, frame: bytes) -> str:
        """Seat a joiner, or return the sentence that it reads."""
        if frame[0] != LobbyNumber.JOIN or len(frame) > LOBBY_FRAME_BYTES_MAX:
            return "the first message is not a request to join"
        try:
            join = open_join(self.lobby_id, frame[1:])
        except DecodeError as error:
            return f"the request to join cannot be read: {error}"
        if not hmac.compare_digest(join.secret, self.secret):
            return "the secret of the invite is wrong"
        if join.member.identity != link.peer:
            return "the request to join is not from the identity of this connection"
        known = self.guests.get(link.peer)
        if self.table is not None:
            if known is None or known.member != join.member:
                return "the table has started"
            # Its link broke after it had signed; the table has the addresses that it gave first.
            known.link, known.saved = link, False
            self._notify()
            return ""
        others = [guest.member for key, guest in self.guests.items() if key != link.peer]
        if len(others) >= self.seats:
            return f"the table is full: {self.seats} of {self.seats} seats are taken"
        if problem := problem_of_members([*others, join.member]):
            return problem
        if problem := problem_of_addresses(join.addresses):
            return problem
        if known and known.member == join.member:
            # The newest connection of an identity is the living one. It keeps what it has signed.
            known.link, known.addresses = link, join.addresses
            self._notify()
        else:
            if known:
                known.link = None
            self.guests[link.peer] = _Guest(join.member, join.addresses, link)
            self._room_changed()
        return ""

    def _hear(self, guest: _Guest, frame: bytes) -> None:
        """Take one message of a seated guest; raises `DecodeError` for what is none."""
        if len(frame) > LOBBY_FRAME_BYTES_MAX:
            raise DecodeError(f"a message of {len(frame)} bytes")
        body = frame[1:]
        if frame[0] == LobbyNumber.SAVED:
            saved = decode_as(body, Saved)
            if self.table is not None and saved.chain_id == self.table.chain_id:
                guest.saved = True
                self._notify()
        elif frame[0] == LobbyNumber.ACCEPT:
            parse_envelope(body)
            # It may be for terms that were withdrawn meanwhile: then it counts for nothing.
            if (
                self.descriptor is not None
                and not guest.accept
                and is_accepted_by(guest.member, self.descriptor, body)
            ):
                guest.accept = body
                self._notify()
        else:
            raise DecodeError(f"message number {frame[0]} from a guest")

    def _room_changed(self) -> None:
        self.descriptor = None  # terms for another room; nobody may see or sign them any more
        names = tuple(guest.member.nickname for guest in self.guests.values())
        self.on_change(Room(self.invite, self.seats, names))
        self._notify()

    def _notify(self) -> None:
        self.changed.set()
        self.changed = trio.Event()
