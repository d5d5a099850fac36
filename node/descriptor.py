"""What a table is: its descriptor, everybody's consent, and the invite to its lobby (PROTOCOL 15).

The chain id is the hash of the descriptor, so whoever signs for the chain has agreed to every term
in it. Nothing here waits or talks; `node/lobby.py` carries these values between people.
"""

import base64
import binascii
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import msgspec

from consensus.encoding import (
    Bytes32,
    DecodeError,
    Digest,
    Record,
    convert_as,
    decode,
    decode_as,
    digest,
    encode,
)
from consensus.signing import (
    Domain,
    PublicKey,
    is_acceptable_key,
    key_id,
    parse_envelope,
    sign_envelope,
    verify,
    verify_envelope,
)
from consensus.validators import ValidatorIndex, Validators
from node.errors import OperatorError
from node.files import read_whole, write_whole
from node.identity import Keys
from transport.base import parse_address

MEMBERS_MAX = 16
NICKNAME_CHARS_MAX = 24
ADDRESSES_MAX = 8
ADDRESS_CHARS_MAX = 80
NONCE_BYTES = 16
SECRET_BYTES = 16
TABLE_BYTES_MAX = 64 << 10
ACCEPT_BYTES_MAX = 128
"""An envelope around 35 bytes has 119."""
LOBBY_INVITE, TABLE_INVITE = 1, 2
"""Versions of an invite: to a lobby, to a table that plays."""
INVITE_PREFIX = "bitcraps1:"
INVITE_CHARS_MAX = 2048
INVITE_BYTES_MIN = 80
"""Its lobby, key and secret alone take as many: what names less was never one."""
_CHECK_BYTES = 4
_TABLE_TAG = "table-file"

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=NICKNAME_CHARS_MAX)]
AddressText = Annotated[str, msgspec.Meta(min_length=3, max_length=ADDRESS_CHARS_MAX)]
Addresses = Annotated[tuple[AddressText, ...], msgspec.Meta(max_length=ADDRESSES_MAX)]
Bytes16 = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
Indices = Annotated[
    tuple[Annotated[int, msgspec.Meta(ge=0, lt=MEMBERS_MAX)], ...],
    msgspec.Meta(min_length=1, max_length=MEMBERS_MAX),
]


ParamsBytes = Annotated[bytes, msgspec.Meta(max_length=4096)]
"""An encoded `GameParams`: the lobby agrees to its bytes, the game gives them a meaning."""


class Member(Record, frozen=True):
    """One seat: three public keys and the name that the others see."""

    identity: Bytes32
    consensus_key: Bytes32
    dealing_key: Bytes32
    nickname: Text


class Descriptor(Record, frozen=True):
    """Every term of a table. Members are sorted by consensus key.

    `validators` and `seats` index `members`: who votes as the table begins, and who plays, which is
    everybody.
    """

    version: Annotated[int, msgspec.Meta(ge=1, le=1)]
    name: Text
    nonce: Bytes16
    members: Annotated[tuple[Member, ...], msgspec.Meta(min_length=1, max_length=MEMBERS_MAX)]
    validators: Indices
    seats: Indices
    params: ParamsBytes


class Join(Record, frozen=True):
    """What a joiner signs: that it knows the invite's secret, its keys, where it will listen."""

    secret: Bytes16
    member: Member
    addresses: Addresses


class Accept(Record, frozen=True):
    """What every seat signs: the terms, by their hash."""

    chain_id: Bytes32


class Invite(Record, frozen=True):
    """What the host hands out, or a member of a running table.

    Version 1 leads to a lobby and lasts as long as it: `expires_s` is 0. Version 2 leads to a table
    that plays: `lobby_id` is its chain id, `host` the member, `expires_s` Unix time.
    """

    version: Annotated[int, msgspec.Meta(ge=LOBBY_INVITE, le=TABLE_INVITE)]
    lobby_id: Bytes32
    host: Bytes32
    secret: Bytes16
    addresses: Annotated[
        tuple[AddressText, ...], msgspec.Meta(min_length=1, max_length=ADDRESSES_MAX)
    ]
    expires_s: Annotated[int, msgspec.Meta(ge=0, le=2**40)]


class _TableFile(Record, frozen=True):
    version: Annotated[int, msgspec.Meta(ge=1, le=1)]
    descriptor: Descriptor
    accepts: Annotated[
        tuple[Annotated[bytes, msgspec.Meta(max_length=ACCEPT_BYTES_MAX)], ...],
        msgspec.Meta(max_length=MEMBERS_MAX),
    ]
    addresses: Annotated[tuple[Addresses, ...], msgspec.Meta(max_length=MEMBERS_MAX)]


def member_of(keys: Keys, nickname: str) -> Member:
    """Return the public half of `keys` under a nickname.

    Raises:
        OperatorError: The nickname breaks a rule.
    """
    if problem := problem_of_name("nickname", nickname):
        raise OperatorError(problem)
    return Member(
        keys.identity.public_key, keys.consensus.public_key, keys.dealing_public, nickname
    )


def problem_of_name(what: str, name: str) -> str | None:
    """Return why `name` cannot be shown to others, or None: 1..24 printable NFC characters."""
    if not 1 <= len(name) <= NICKNAME_CHARS_MAX:
        return f"{what} {name[:40]!r} has {len(name)} characters; allowed are 1 to 24"
    if not name.isprintable() or unicodedata.normalize("NFC", name) != name:
        return f"{what} {name!r} has characters that do not print or are not in normal form"
    if " ".join(name.split()) != name:
        return f"{what} {name!r} begins, ends or is filled with spaces"
    return None


def build_descriptor(
    name: str,
    nonce: bytes,
    members: Sequence[Member],
    params: ParamsBytes,
    voters: int | None = None,
) -> Descriptor:
    """Return the descriptor in which all members play, and the first `voters` of them vote."""
    voting = members[: len(members) if voters is None else voters]
    ordered = tuple(sorted(members, key=lambda member: member.consensus_key))
    indices = tuple(range(len(members)))
    voters_at = tuple(index for index in indices if ordered[index] in voting)
    return Descriptor(1, name, nonce, ordered, voters_at, indices, params)


def problem_of_members(members: Sequence[Member]) -> str | None:
    """Return why these cannot sit at one table, or None.

    Keys are admitted once, here: canonical and of prime order (PROTOCOL 3), no key twice, no two
    with one key id, and no two nicknames that differ only in case.
    """
    for member in members:
        if problem := problem_of_name("nickname", member.nickname):
            return problem
        for key in (member.identity, member.consensus_key):
            if not is_acceptable_key(key):
                return f"a key of {member.nickname} is not an acceptable Ed25519 key"
    names = {member.nickname.casefold() for member in members}
    if len(names) != len(members):
        return "two members have the same nickname"
    kids = {key_id(key) for member in members for key in (member.identity, member.consensus_key)}
    dealing = {member.dealing_key for member in members}
    if len(kids) != 2 * len(members) or len(dealing) != len(members):
        return "two keys of the table are the same or share a key id"
    return None


def problem_of_descriptor(descriptor: Descriptor) -> str | None:
    """Return why nobody should sign this descriptor, or None."""
    members = descriptor.members
    if problem := problem_of_name("table name", descriptor.name):
        return problem
    if problem := problem_of_members(members):
        return problem
    keys = [member.consensus_key for member in members]
    if keys != sorted(keys):
        return "the members are not sorted by consensus key"
    everybody = tuple(range(len(members)))
    if descriptor.seats != everybody:
        return "the seats are not all members"
    voters = descriptor.validators
    if list(voters) != sorted(dict.fromkeys(voters)) or voters[-1] >= len(members):
        return "the voters are not members in order, each once"
    return None


def chain_id_of(descriptor: Descriptor) -> Digest:
    """Return the hash that names the table and separates its signatures from all others."""
    return digest("table", encode(descriptor))


def lobby_id_of(  # noqa: PLR0917  (what a lobby is about)
    host: bytes, name: str, nonce: bytes, seats: int, params: ParamsBytes, voters: int | None = None
) -> Digest:
    """Return the id of a lobby: the host cannot change what is in it after inviting.

    The number of voters is named only where not all vote.
    """
    terms: tuple[object, ...] = (host, name, nonce, seats, params)
    if voters is not None and voters != seats:
        terms = (*terms, voters)
    return digest("lobby", encode(terms))


def sign_join(keys: Keys, lobby_id: bytes, join: Join) -> bytes:
    """Return the Join envelope; it holds for this lobby only."""
    return sign_envelope(keys.identity, Domain.JOIN, lobby_id, encode(join))


def open_join(lobby_id: bytes, envelope: bytes) -> Join:
    """Return the Join of a well-formed, well-signed envelope; raises `DecodeError`."""
    parsed = parse_envelope(envelope)
    join = decode_as(parsed.payload, Join)
    key = PublicKey(join.member.identity)
    if not is_acceptable_key(key) or not verify_envelope(
        verify, key, Domain.JOIN, lobby_id, parsed
    ):
        raise DecodeError("the signature of the Join does not verify")
    return join


def sign_accept(keys: Keys, descriptor: Descriptor) -> bytes:
    """Return this node's consent to every term of the descriptor."""
    chain_id = chain_id_of(descriptor)
    return sign_envelope(keys.identity, Domain.ACCEPT, chain_id, encode(Accept(chain_id)))


def is_accepted_by(member: Member, descriptor: Descriptor, envelope: bytes) -> bool:
    """Say whether `envelope` is the consent of `member` to this descriptor."""
    chain_id = chain_id_of(descriptor)
    try:
        parsed = parse_envelope(envelope)
    except DecodeError:
        return False
    return parsed.payload == encode(Accept(chain_id)) and verify_envelope(
        verify, PublicKey(member.identity), Domain.ACCEPT, chain_id, parsed
    )


@dataclass(frozen=True, slots=True)
class Table:
    """A descriptor that every member has accepted, with what is known of their addresses.

    `accepts` and `addresses` are in member order, which is validator and player order too.
    """

    descriptor: Descriptor
    accepts: tuple[bytes, ...]
    addresses: tuple[tuple[str, ...], ...]
    chain_id: Digest = field(init=False)

    def __post_init__(self) -> None:
        """Name the chain."""
        object.__setattr__(self, "chain_id", chain_id_of(self.descriptor))

    def problem(self) -> str | None:
        """Return why this is not a table that all its members agreed to, or None."""
        members = self.descriptor.members
        if problem := problem_of_descriptor(self.descriptor):
            return problem
        if len(self.accepts) != len(members) or len(self.addresses) != len(members):
            return f"{len(self.accepts)} consents for {len(members)} members"
        for member, envelope in zip(members, self.accepts, strict=True):
            if not is_accepted_by(member, self.descriptor, envelope):
                return f"the consent of {member.nickname} does not verify"
        return problem_of_addresses([text for texts in self.addresses for text in texts])

    def validators(self) -> Validators:
        """Return the voters of epoch 0; their leader order is seeded by the chain id."""
        members = self.descriptor.members
        keys = tuple(PublicKey(members[at].consensus_key) for at in self.descriptor.validators)
        return Validators(keys, self.chain_id)

    def index_of(self, identity: bytes) -> ValidatorIndex | None:
        """Return the index of the member with this identity key, or None for a stranger."""
        for index, member in enumerate(self.descriptor.members):
            if member.identity == identity:
                return ValidatorIndex(index)
        return None


def problem_of_addresses(addresses: Sequence[str]) -> str | None:
    """Return why one of these is not an address to dial, or None."""
    for text in addresses:
        try:
            parse_address(text)
        except ValueError as error:
            return str(error)
    return None


def save_table(path: Path, table: Table) -> None:
    """Write the table to `path`, whole or not at all; raises `OperatorError`."""
    record = _TableFile(1, table.descriptor, table.accepts, table.addresses)
    write_whole(path, _TABLE_TAG, encode(record), replace=True)


def load_table(path: Path) -> Table:
    """Read the table from `path` and check everybody's consent.

    Raises:
        OperatorError: The file is missing, damaged, or not of a table all members agreed to.
    """
    data = read_whole(path, _TABLE_TAG, TABLE_BYTES_MAX)
    try:
        record = decode_as(data, _TableFile)
    except DecodeError as error:
        raise OperatorError(f"{path} is not a table file: {error}") from None
    table = Table(record.descriptor, record.accepts, record.addresses)
    if problem := table.problem():
        raise OperatorError(f"{path} is not a table to play at: {problem}")
    return table


def format_invite(invite: Invite) -> str:
    """Return the text to hand out: `bitcraps1:` and base64url of length, checksum, invite."""
    body = encode(invite)
    data = len(body).to_bytes(2, "big") + digest("invite", body)[:_CHECK_BYTES] + body
    return INVITE_PREFIX + base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def parse_invite(text: str) -> Invite:
    """Return the invite of a text, white space within ignored (mail wraps lines).

    Raises:
        OperatorError: Names what is wrong: prefix, a character, cut off, damaged, an address.
    """
    compact = "".join(text.split())
    if not compact.startswith(INVITE_PREFIX):
        raise OperatorError(f"{compact[:24]!r} is not an invite: one begins with {INVITE_PREFIX!r}")
    if len(compact) > INVITE_CHARS_MAX:
        raise OperatorError(f"an invite of {len(compact)} characters; {INVITE_CHARS_MAX} at most")
    coded = compact[len(INVITE_PREFIX) :].rstrip("=")
    for position, char in enumerate(coded, len(INVITE_PREFIX) + 1):
        if not (char.isascii() and (char.isalnum() or char in "-_")):
            raise OperatorError(f"character {position} of the invite, {char!r}, cannot be in one")
    body = _uncover_invite(coded)
    try:
        invite = convert_as(decode(body), Invite)
    except DecodeError as error:
        raise OperatorError(f"the invite is not one of this version: {error}") from None
    if (invite.version == LOBBY_INVITE) != (invite.expires_s == 0):
        raise OperatorError("the invite cannot be used: only one to a running table expires")
    if problem := problem_of_addresses(invite.addresses):
        raise OperatorError(f"the invite cannot be used: {problem}")
    if not is_acceptable_key(invite.host):
        raise OperatorError("the invite cannot be used: its host key is not acceptable")
    return invite


def _uncover_invite(coded: str) -> bytes:
    """Return the body behind length and checksum, or say which of them does not fit."""
    head = 2 + _CHECK_BYTES
    # One character short of a byte group decodes to nothing; the length shows what is missing.
    usable = coded[:-1] if len(coded) % 4 == 1 else coded
    try:
        data = base64.urlsafe_b64decode(usable + "=" * (-len(usable) % 4))
    except binascii.Error as error:
        raise OperatorError(f"the invite is damaged: {error}") from None
    size = int.from_bytes(data[:2], "big")
    chars = (8 * (head + size) + 5) // 6
    if len(data) >= 2 and not (
        size >= INVITE_BYTES_MIN and chars + len(INVITE_PREFIX) <= INVITE_CHARS_MAX
    ):
        shown = (INVITE_PREFIX + coded)[:24]
        raise OperatorError(f"{shown!r} is not an invite: copy all of the line that the host sent")
    if len(data) < head or len(coded) < chars:
        raise OperatorError(
            f"the invite is cut off: it has {len(coded) + len(INVITE_PREFIX)} characters"
            + (f" of {chars + len(INVITE_PREFIX)}" if len(data) >= 2 else "")
        )
    if len(coded) > chars:
        raise OperatorError(f"the invite has {len(coded) - chars} characters too many at its end")
    body = data[head:]
    canonical = base64.urlsafe_b64encode(data).rstrip(b"=").decode()
    if digest("invite", body)[:_CHECK_BYTES] != data[2:head] or canonical != coded:
        raise OperatorError("the invite is damaged: its checksum does not fit, copy it again")
    return body
