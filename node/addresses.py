"""Where members listen: what each of them said last, kept in the folder and passed on (PROTOCOL 14).

The table file knows where the founders listened at the start. Whoever came later, or moved, says so in
a message signed with its identity, which its neighbours keep and pass on; so a node can dial members
that it has never met. A wrong address costs a failed dial and nothing else.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec

from consensus.encoding import Bytes32, DecodeError, Record, Uint, decode_as, encode
from consensus.messages import Number, frame
from consensus.signing import (
    Domain,
    Envelope,
    PublicKey,
    Signer,
    key_id,
    parse_envelope,
    sign_envelope,
    verify,
    verify_envelope,
)
from node.descriptor import Addresses, Table, problem_of_addresses, problem_of_name
from node.errors import OperatorError
from node.files import read_whole, write_whole
from node.game.params import PLAYERS_MAX

BOOK_BYTES_MAX = 4 << 20
"""Every slot of a table with eight addresses, signed."""
ANNOUNCEMENT_BYTES_MAX = 1024
NEWS_SECONDS_MIN = 5.0
"""Between two announcements of one member that are passed on; each costs a write of the book."""
_BOOK_TAG = "address-book"


class PeerAddrs(Record, frozen=True):
    """What a member says of itself: where it listens, since when by its clock."""

    issued_ms: Uint
    addresses: Addresses


class Known(Record, frozen=True):
    """A member by its slot, as far as dialling goes. `said` is its announcement, empty without one."""

    identity: Bytes32
    nickname: Annotated[str, msgspec.Meta(max_length=24)]
    addresses: Addresses
    said: Annotated[bytes, msgspec.Meta(max_length=ANNOUNCEMENT_BYTES_MAX)] = b""


class _BookFile(Record, frozen=True):
    version: Annotated[int, msgspec.Meta(ge=1, le=1)]
    known: Annotated[tuple[Known, ...], msgspec.Meta(max_length=PLAYERS_MAX)]


@dataclass(slots=True)
class _Entry:
    addresses: tuple[str, ...]
    said: bytes = b""
    issued_ms: int = -1
    taken_at: float = -math.inf


class AddressBook:
    """Addresses by identity, and which identities have which slots as far as this node has heard."""

    def __init__(self, chain_id: bytes, known: Sequence[Known], path: Path | None = None) -> None:
        """Begin with what is known; with a `path` every change is written there."""
        self._chain_id = chain_id
        self._path = path
        self._entries: dict[bytes, _Entry] = {}
        self.members: tuple[tuple[bytes, str], ...] = ()
        """Identity and nickname by slot: hints, for slots that the final state here lacks."""
        for one in known:
            entry = _Entry(one.addresses)
            if one.said:
                payload = decode_as(parse_envelope(one.said).payload, PeerAddrs)
                entry = _Entry(payload.addresses, one.said, payload.issued_ms)
            self._entries[one.identity] = entry
        self.members = tuple((one.identity, one.nickname) for one in known)

    def known(self) -> tuple[Known, ...]:
        """Return everything, by slot: what a newcomer is given."""
        return tuple(
            Known(identity, nickname, entry.addresses, entry.said)
            for (identity, nickname), entry in zip(
                self.members,
                (self._entries.get(identity, _Entry(())) for identity, _ in self.members),
                strict=True,
            )
        )

    def addresses_of(self, identity: bytes) -> tuple[str, ...]:
        """Return where a member was said to listen, most likely first."""
        entry = self._entries.get(identity)
        return entry.addresses if entry is not None else ()

    def has_announced(self, identity: bytes) -> bool:
        """Say whether a member has ever said itself where it listens."""
        entry = self._entries.get(identity)
        return entry is not None and bool(entry.said)

    def enrol(self, members: Sequence[tuple[bytes, str]]) -> None:
        """Take note of who has which slot; what was heard of further slots stays a hint.

        Unless it is of somebody who has another: nobody has two.
        """
        own = dict(members)
        further = (one for one in self.members[len(members) :] if one[0] not in own)
        enrolled = (*members, *further)
        if enrolled != self.members:
            self.members = enrolled
            self.save()

    def learn(self, identity: bytes, addresses: Sequence[str]) -> None:
        """Take addresses that nobody signed, unless there are better ones."""
        if identity not in self._entries:
            self._entries[identity] = _Entry(tuple(addresses))
            self.save()

    def announce(self, signer: Signer, addresses: Sequence[str], now_ms: int) -> None:
        """Say where this node listens, if that is news."""
        entry = self._entries.get(signer.public_key)
        if entry is not None and entry.addresses == tuple(addresses) and entry.said:
            return
        issued_ms = now_ms if entry is None else max(now_ms, entry.issued_ms + 1)
        payload = encode(PeerAddrs(issued_ms, tuple(addresses)))
        said = sign_envelope(signer, Domain.PEER_ADDRS, self._chain_id, payload)
        self._entries[signer.public_key] = _Entry(tuple(addresses), said, issued_ms)
        self.save()

    def take(self, body: bytes, now: float) -> bytes | str | None:
        """Take an announcement that came over a link, at a time in seconds.

        Returns whose it is if it is news to be passed on, a text if its sender is at fault. None is
        for what is old, too soon after the last one, or of nobody that this node knows yet.
        """
        said = _read(body)
        if isinstance(said, str):
            return said
        parsed, payload = said
        identity = next((key for key, _ in self.members if key_id(key) == parsed.kid), None)
        if identity is None:
            return None
        entry = self._entries.get(identity, _Entry(()))
        if payload.issued_ms <= entry.issued_ms or now - entry.taken_at < NEWS_SECONDS_MIN:
            return None
        if problem := _problem_of(self._chain_id, identity, parsed, payload):
            return problem
        self._entries[identity] = _Entry(payload.addresses, body, payload.issued_ms, now)
        self.save()
        return identity

    def announcements(self) -> list[bytes]:
        """Return the frames that tell a new neighbour all that members have said."""
        entries = (self._entries.get(identity) for identity, _ in self.members)
        return [
            frame(Number.PEER_ADDRS, entry.said)
            for entry in entries
            if entry is not None and entry.said
        ]

    def save(self) -> None:
        """Write the book, whole or not at all; raises `OperatorError`."""
        if self._path is not None:
            record = _BookFile(1, self.known())
            write_whole(self._path, _BOOK_TAG, encode(record), replace=True)


def _read(body: bytes) -> tuple[Envelope, PeerAddrs] | str:
    """Return an announcement and what it says, nobody having looked at either, or why it is none."""
    try:
        parsed = parse_envelope(body)
        payload = decode_as(parsed.payload, PeerAddrs)
    except DecodeError as error:
        return f"announcement that does not parse: {error}"
    if len(body) > ANNOUNCEMENT_BYTES_MAX:
        return f"announcement of {len(body)} bytes; the limit is {ANNOUNCEMENT_BYTES_MAX}"
    return parsed, payload


def _problem_of(chain_id: bytes, identity: bytes, parsed: Envelope, payload: PeerAddrs) -> str:
    """Return why an announcement is none by this member of this table, or nothing."""
    if problem := problem_of_addresses(payload.addresses):
        return f"announcement of an address that is none: {problem}"
    if not verify_envelope(verify, PublicKey(identity), Domain.PEER_ADDRS, chain_id, parsed):
        return "announcement whose signature does not verify"
    return ""


def problem_of_known(chain_id: bytes, one: Known) -> str:
    """Return why what somebody says of a member is not to be kept and passed on, or nothing."""
    problem = problem_of_name("nickname", one.nickname) or problem_of_addresses(one.addresses)
    if problem or not one.said:
        return problem or ""
    said = _read(one.said)
    return said if isinstance(said, str) else _problem_of(chain_id, one.identity, *said)


def founders_of(table: Table) -> tuple[Known, ...]:
    """Return the members that a table began with, and where they listened then."""
    return tuple(
        Known(member.identity, member.nickname, addresses)
        for member, addresses in zip(table.descriptor.members, table.addresses, strict=True)
    )


def load_book(path: Path, table: Table) -> AddressBook:
    """Return the book of a folder; before there is one, what the table file knows.

    Raises:
        OperatorError: The file is damaged or not of this version.
    """
    if not path.exists():
        return AddressBook(table.chain_id, founders_of(table), path)
    try:
        record = decode_as(read_whole(path, _BOOK_TAG, BOOK_BYTES_MAX), _BookFile)
        return AddressBook(table.chain_id, record.known, path)
    except DecodeError as error:
        raise OperatorError(f"{path} is not an address book: {error}") from None
