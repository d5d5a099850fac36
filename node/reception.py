"""The door of a table that plays, at the node of a member (PROTOCOL 15).

A member invites one person; the invite names the chain. The newcomer signs a request for that chain,
the voters decide by the table's rule, and the member hands over what a node needs to start: terms,
consents, and who has which slot and listens where. The newcomer checks all of it against the chain
id of the invite and then follows the chain from its first block, so nobody has to be believed.
"""

import contextlib
import hmac
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass

import trio

from consensus.encoding import DecodeError
from consensus.signing import key_id, verify
from node.addresses import AddressBook
from node.descriptor import (
    SECRET_BYTES,
    TABLE_INVITE,
    Invite,
    Join,
    Table,
    format_invite,
    open_join,
    problem_of_addresses,
    problem_of_name,
)
from node.errors import OperatorError
from node.execution import approvals_needed
from node.game.params import JoinRule, decode_params
from node.game.receipts import Code, Receipt, describe
from node.lobby_messages import (
    JOIN_SECONDS,
    KNOWN_PER_FRAME,
    REASON_CHARS_MAX,
    Contacts,
    LobbyNumber,
    Refusal,
    TableMessage,
    Waiting,
    lobby_frame,
)
from node.membership import Membership, open_newcomer
from node.view import AskingView
from transport.base import LinkClosed
from transport.link import Link

log = logging.getLogger(__name__)

INVITES_MAX = 16
"""Invites of one node that are open at once; the oldest gives way."""
INVITE_SECONDS = 24 * 3600
"""How long an invite to a running table holds; it ends with the node's process as well."""


@dataclass(slots=True)
class _Open:
    expires_at: float
    used_by: bytes = b""


@dataclass(slots=True)
class _Request:
    envelope: bytes
    join: Join
    link: Link | None


class Reception:
    """The door of one node for people who are no members yet."""

    def __init__(self, table: Table, identity: bytes, book: AddressBook) -> None:
        """Serve the table at which `identity` is a member."""
        self.asked = 0
        """How many have asked since the start; `wait_asked` waits for more."""
        self._table = table
        self._identity = identity
        self._book = book
        self._open: dict[bytes, _Open] = {}
        self._requests: dict[bytes, _Request] = {}
        self._membership: Membership | None = None
        self._founders = {member.identity: None for member in table.descriptor.members}
        self._changed = trio.Event()

    # What the owner of the node calls.

    def invite(self, membership: Membership, me: int | None, wall_ms: int) -> str:
        """Return an invite for one person, good for a day from now; raises `OperatorError`."""
        rule = decode_params(self._table.descriptor.params).join_rule
        if rule == JoinRule.CLOSED:
            raise OperatorError("this table takes nobody in: its terms say join_rule=0")
        if me is None or membership.has_left(me):
            raise OperatorError("only a member may invite, and you are none")
        addresses = self._book.addresses_of(self._identity)
        if not addresses:
            raise OperatorError("this node has told nobody an address at which it can be reached")
        self._membership = membership
        while len(self._open) >= INVITES_MAX:
            del self._open[next(iter(self._open))]
        secret = os.urandom(SECRET_BYTES)
        self._open[secret] = _Open(trio.current_time() + INVITE_SECONDS)
        expires_s = wall_ms // 1000 + INVITE_SECONDS
        return format_invite(
            Invite(TABLE_INVITE, self._table.chain_id, self._identity, secret, addresses, expires_s)
        )

    def follow(self, membership: Membership) -> None:
        """Take note of who became a member, or was proposed, in a final block."""
        self._membership = membership
        for identity, request in self._requests.items():
            if membership.slot_of(key_id(identity)) is not None:
                self._book.learn(identity, request.join.addresses)
        self._notify()

    def asking(self, me: int | None) -> tuple[AskingView, ...]:
        """Return who waits to be let in: proposed ones first, then those at this door."""
        membership = self._membership
        if membership is None:
            return ()
        needed = self._needed(membership)
        proposed = [
            AskingView(
                name=one.member.nickname,
                approvals=len(one.approvers),
                needed=needed,
                approved=me in one.approvers,
                join=one.member.identity,
            )
            for one in membership.newcomers
        ]
        here = [
            AskingView(
                name=request.join.member.nickname,
                approvals=0,
                needed=needed,
                approved=False,
                join=request.envelope,
            )
            for identity, request in self._requests.items()
            if request.link is not None
            and membership.proposed(identity) is None
            and membership.slot_of(key_id(identity)) is None
        ]
        return (*proposed, *here)

    async def wait_asked(self, count: int) -> int:
        """Wait until more than `count` have asked since the start; return how many have."""
        while self.asked <= count:
            await self._changed.wait()
        return self.asked

    def _needed(self, membership: Membership) -> int:
        rule = decode_params(self._table.descriptor.params).join_rule
        return approvals_needed(rule, len(membership.voters))

    # What the mesh calls.

    def expects(self, identity: bytes) -> bool:
        """Say whether this identity may come in here: to ask, or to be handed the table.

        A newcomer that was let in and has never said where it listens has not started its node yet.
        """
        membership = self._membership
        if membership is not None and membership.slot_of(key_id(identity)) is not None:
            return identity not in self._founders and not self._book.has_announced(identity)
        self._expire()
        return bool(self._open) or identity in self._requests

    async def receive(self, link: Link) -> list[bytes]:
        """Run the link of a newcomer to its end.

        Returns the first frames if it is a member's after all, whose node has started.
        """
        with trio.move_on_after(JOIN_SECONDS) as patience:
            frames = await link.receive()
        if patience.cancelled_caught:
            return []
        if frames[0][0] != LobbyNumber.JOIN and self._slot_of(link.peer) is not None:
            return frames
        if refusal := self._take(link, frames[0]):
            log.info("newcomer refused peer=%s reason=%s", link.remote, refusal)
            reason = refusal[:REASON_CHARS_MAX]
            await link.send([lobby_frame(LobbyNumber.REFUSED, Refusal(reason))])
            return []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.keep_alive)
            nursery.start_soon(self._tell, link)
            with contextlib.suppress(LinkClosed):
                while not any(frame[0] == LobbyNumber.SAVED for frame in await link.receive()):
                    pass
            nursery.cancel_scope.cancel()
        request = self._requests.get(link.peer)
        if request is not None and request.link is link:
            request.link = None
        return []

    def _slot_of(self, identity: bytes) -> int | None:
        return None if self._membership is None else self._membership.slot_of(key_id(identity))

    def _expire(self) -> None:
        now = trio.current_time()
        self._open = {key: one for key, one in self._open.items() if now < one.expires_at}

    def _take(self, link: Link, frame: bytes) -> str:
        """Take a request to join, or return the sentence that its sender reads."""
        if frame[0] != LobbyNumber.JOIN:
            return "the first message is not a request to join"
        try:
            join = open_join(self._table.chain_id, frame[1:])
        except DecodeError as error:
            return f"the request to join cannot be read: {error}"
        if join.member.identity != link.peer:
            return "the request to join is not from the identity of this connection"
        is_member = self._slot_of(link.peer) is not None
        if not is_member and (refusal := self._refusal(frame[1:], join)):
            return refusal
        self._requests[link.peer] = _Request(frame[1:], join, link)
        if not is_member:
            self.asked += 1
        self._notify()
        return ""

    def _refusal(self, envelope: bytes, join: Join) -> str:
        """Return why this request is not shown to anybody, or nothing."""
        opened = next(
            (one for secret, one in self._open.items() if hmac.compare_digest(secret, join.secret)),
            None,
        )
        if opened is None:
            return "the invite is none of this node, or no longer: ask for a new one"
        if opened.used_by not in {b"", join.member.identity}:
            return "somebody else has used this invite: ask for one of your own"
        if problem := problem_of_name("nickname", join.member.nickname):
            return problem
        if problem := problem_of_addresses(join.addresses):
            return problem
        membership = self._membership
        assert membership is not None, "an invite was made for a membership"
        newcomer = open_newcomer(envelope, self._table.chain_id, verify)
        if newcomer is None:  # no block would take it, so nobody is shown it
            return describe(Receipt(Code.KEYS_IN_USE))
        if (refused := membership.refusal_of(newcomer)) is not None:
            return describe(refused)
        opened.used_by = join.member.identity
        return ""

    async def _tell(self, link: Link) -> None:
        """Tell a newcomer how its request stands, and hand over the table once it is a member."""
        told: Waiting | None = None
        while True:
            assert self._membership is not None, "there is an invite"
            if self._slot_of(link.peer) is not None:
                with contextlib.suppress(LinkClosed):
                    await link.send(list(self._handover()))
                return
            proposed = self._membership.proposed(link.peer)
            approvers = [
                len(one.approvers) for one in self._membership.newcomers if one.member == proposed
            ]
            news = Waiting(sum(approvers), self._needed(self._membership))
            if news != told:
                told = news
                with contextlib.suppress(LinkClosed):
                    await link.send([lobby_frame(LobbyNumber.WAITING, news)])
            else:
                await self._changed.wait()

    def _handover(self) -> Iterator[bytes]:
        table, known = self._table, self._book.known()
        yield lobby_frame(LobbyNumber.DESCRIPTOR, table.descriptor)
        message = TableMessage(table.chain_id, table.accepts, table.addresses)
        yield lobby_frame(LobbyNumber.TABLE, message)
        for first in range(0, len(known), KNOWN_PER_FRAME):
            some = known[first : first + KNOWN_PER_FRAME]
            yield lobby_frame(LobbyNumber.CONTACTS, Contacts(len(known), first, some))

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
