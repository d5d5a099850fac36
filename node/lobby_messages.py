"""What passes between who wants to play and who lets in: one byte, then a record (PROTOCOL 15)."""

import enum
from dataclasses import dataclass
from typing import Annotated

import msgspec

from consensus.encoding import Bytes32, Record, Uint, encode
from node.addresses import Known
from node.descriptor import ACCEPT_BYTES_MAX, MEMBERS_MAX, Addresses, Text
from node.game.params import PLAYERS_MAX

JOIN_SECONDS = 10
"""From the open link to the first message, and from there to the answer."""
HANDOVER_SECONDS = 10
"""How long the host serves the table to those who have not saved it, and a joiner that has signed
dials again for it."""
REASON_CHARS_MAX = 200
LOBBY_FRAME_BYTES_MAX = 64 << 10
KNOWN_PER_FRAME = 32
"""Slots in one message: with eight signed addresses each they fit a lobby message."""


class LobbyNumber(enum.IntEnum):
    """First byte of every lobby frame; JOIN, ACCEPT and DESCRIPTOR as on a table.

    WAITING and CONTACTS are for who joins a table that plays (`node/reception.py`).
    """

    JOIN = 6
    ACCEPT = 7
    DESCRIPTOR = 23
    ROOM = 32
    REFUSED = 33
    TABLE = 34
    SAVED = 35
    WAITING = 36
    CONTACTS = 37


class RoomMessage(Record, frozen=True):
    """Host to guest: how many seats there are and who sits, in order of arrival."""

    seats: Annotated[int, msgspec.Meta(ge=1, le=MEMBERS_MAX)]
    nicknames: Annotated[tuple[Text, ...], msgspec.Meta(max_length=MEMBERS_MAX)]


class Refusal(Record, frozen=True):
    """Host to guest, then the link ends: one sentence for a person."""

    reason: Annotated[str, msgspec.Meta(max_length=REASON_CHARS_MAX)]


class TableMessage(Record, frozen=True):
    """Host to guest: everybody's consent to the terms, and where everybody listens."""

    chain_id: Bytes32
    accepts: Annotated[
        tuple[Annotated[bytes, msgspec.Meta(max_length=ACCEPT_BYTES_MAX)], ...],
        msgspec.Meta(max_length=MEMBERS_MAX),
    ]
    addresses: Annotated[tuple[Addresses, ...], msgspec.Meta(max_length=MEMBERS_MAX)]


class Saved(Record, frozen=True):
    """Guest to host: the table of this chain is on disk here."""

    chain_id: Bytes32


class Waiting(Record, frozen=True):
    """Member to newcomer: how many voters have approved, and how many have to."""

    approvals: Uint
    needed: Uint


class Contacts(Record, frozen=True):
    """Member to newcomer: the members from slot `first` on; there are `count` in all."""

    count: Annotated[int, msgspec.Meta(ge=1, le=PLAYERS_MAX)]
    first: Annotated[int, msgspec.Meta(ge=0, lt=PLAYERS_MAX)]
    known: Annotated[tuple[Known, ...], msgspec.Meta(min_length=1, max_length=KNOWN_PER_FRAME)]


@dataclass(frozen=True, slots=True)
class Room:
    """What a person sees of a lobby. `invite` is empty on the joiner's side."""

    invite: str
    seats: int
    nicknames: tuple[str, ...]


def lobby_frame(number: LobbyNumber, body: Record | bytes) -> bytes:
    """Return the bytes of a lobby message; an envelope passes as it is."""
    return bytes((number,)) + (body if isinstance(body, bytes) else encode(body))
