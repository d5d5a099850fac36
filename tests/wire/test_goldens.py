"""PROTOCOL 3, 6, 15: the bytes of everything that crosses a link, pinned, described, and attacked.

The golden files change with `pytest tests/wire --rewrite` only. A changed one is a protocol change:
nodes before and after it do not understand each other.
"""

import hashlib
import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cbor2
import msgspec
import msgspec.inspect
import pytest

from consensus.beacon_items import RollProof, recompute_seed
from consensus.dealing import DealHeader, header_hash, open_box
from consensus.encoding import DecodeError, decode, decode_as, digest, encode
from consensus.evidence import verify_evidence
from consensus.messages import (
    ENVELOPES,
    RECORDS,
    Body,
    Certificate,
    DealMessage,
    Header,
    Number,
    Proposal,
    RevealPaths,
    block_hash,
    body_hash,
    frame,
    parse_frame,
    vote_payload,
)
from consensus.signing import (
    Domain,
    PublicKey,
    key_id,
    parse_envelope,
    signed_bytes,
    verify,
    verify_envelope,
)
from node.descriptor import (
    Descriptor,
    Invite,
    chain_id_of,
    format_invite,
    is_accepted_by,
    open_join,
    parse_invite,
)
from node.errors import OperatorError
from node.identity import check_link
from node.lobby_messages import LobbyNumber, TableMessage
from node.mempool import ActionBody
from tests.wire.goldens import EPOCH, GROUPS, Golden, World, all_goldens, world

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests/data/wire"
CDDL = (ROOT / "docs/bitcraps.cddl").read_text(encoding="utf-8")
WITHOUT_FORM = {Number.PEER_ADDRS, Number.DESCRIPTOR, Number.JOIN, Number.ACCEPT}
"""Numbers that no frame for the replica may have: of the lobby, or of the links alone."""
ABBREVIATED_BYTES = 72
"""Longer byte strings stand as their SHA-256 beside the vector, which has them in full."""

GOLDENS = {golden.name: golden for golden in all_goldens()}
FRAMES = {name: golden for name, golden in GOLDENS.items() if isinstance(golden.number, Number)}
LOBBY = {name: golden for name, golden in GOLDENS.items() if isinstance(golden.number, LobbyNumber)}


def plain(value: object) -> Any:
    """Return a decoded value as JSON holds it, field names with it."""
    match value:
        case msgspec.Struct():
            fields = {name: plain(getattr(value, name)) for name in value.__struct_fields__}
            tag = value.__struct_config__.tag
            return fields if tag is None else {type(value).__name__: fields}
        case bytes() if len(value) > ABBREVIATED_BYTES:
            return f"{len(value)} bytes, sha256 {digest_of(value)}"
        case bytes():
            return f"h'{value.hex()}'"
        case tuple():
            return [plain(item) for item in value]
        case _:
            return value


def digest_of(data: bytes) -> str:
    """Return the plain SHA-256, which any tool computes."""
    return hashlib.sha256(data).hexdigest()


def read(golden: Golden, body: bytes) -> object:
    """Decode a body as its schema says, or as an envelope."""
    if golden.schema is None:
        return parse_envelope(body)
    return decode_as(body, golden.schema)


def describe(golden: Golden) -> dict[str, Any]:
    """Return what the file holds of one vector."""
    value: object = read(golden, golden.body)
    if golden.schema is None:
        envelope = parse_envelope(golden.body)
        fields = ("kid", "payload", "signature")
        shown = {field: plain(getattr(envelope, field)) for field in fields}
    else:
        shown = plain(value)
    data = golden.body if golden.number is None else golden.frame
    return {"name": golden.name, "rule": golden.rule, "hex": data.hex(), "value": shown}


@pytest.mark.parametrize("group", GROUPS)
def test_the_bytes_are_those_of_the_golden_file(group: str, rewrite: bool) -> None:
    path = DATA / f"{group}.json"
    described = {"vectors": [describe(golden) for golden in GROUPS[group]()]}
    text = json.dumps(described, indent=1, ensure_ascii=False) + "\n"
    if rewrite:
        path.write_text(text, encoding="utf-8")
    assert json.loads(path.read_text(encoding="utf-8")) == described
    assert path.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("name", GOLDENS)
def test_a_golden_decodes_and_encodes_to_itself(name: str) -> None:
    golden = GOLDENS[name]
    value = read(golden, golden.body)
    if golden.schema is not None:
        assert encode(value) == golden.body
    if isinstance(golden.number, Number):
        number, message = parse_frame(golden.frame)
        assert number is golden.number
        assert message == value


# Completeness.


def test_every_number_has_a_vector() -> None:
    assert {golden.number for golden in FRAMES.values()} == set(Number) - WITHOUT_FORM
    assert {golden.number for golden in LOBBY.values()} == set(LobbyNumber)
    assert {*RECORDS, *ENVELOPES} == set(Number) - WITHOUT_FORM


def test_every_domain_of_an_envelope_has_a_vector_of_its_payload() -> None:
    named = {golden.rule.removesuffix("-payload") for golden in all_goldens()}
    envelopes = set(Domain) - {Domain.PEER_ADDRS, Domain.LINK}
    assert {domain.name.lower() for domain in envelopes} <= named


def test_the_golden_action_has_every_operation() -> None:
    operations = decode_as(GOLDENS["action-payload"].body, ActionBody).operations
    (_, field) = msgspec.inspect.type_info(ActionBody).fields  # type: ignore[attr-defined]
    union = field.type.type.item_type if hasattr(field.type, "type") else field.type.item_type
    assert {type(operation) for operation in operations} == {kind.cls for kind in union.types}


@pytest.mark.parametrize("number", sorted(WITHOUT_FORM))
def test_a_number_without_a_form_is_refused_on_a_table_link(number: Number) -> None:
    for golden in (*FRAMES.values(), *LOBBY.values()):
        with pytest.raises(DecodeError, match="does not belong on a table link"):
            parse_frame(bytes((number,)) + golden.body)


def test_the_protocol_document_lists_every_number_with_its_rule() -> None:
    text = (ROOT / "docs/protocol.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| (\d+) \| `([A-Z_]+)` \|", text, re.MULTILINE))
    numbers = {str(number.value): number.name for number in (*Number, *LobbyNumber)}
    assert listed == numbers


# The description in CDDL.


def validator(rule: str) -> Callable[[bytes], None]:
    """Return what raises when an encoding is not of this rule."""
    pycddl = pytest.importorskip("pycddl")
    schema = pycddl.Schema(f"start = {rule}\n{CDDL}")
    validate: Callable[[bytes], None] = schema.validate_cbor
    return validate


@pytest.mark.parametrize("name", GOLDENS)
def test_a_golden_is_what_its_cddl_rule_describes(name: str) -> None:
    golden = GOLDENS[name]
    validate = validator(golden.rule)
    validate(golden.body)
    if golden.rule == "envelope":  # a map inside: not a value that `decode` takes
        return
    fields = decode(golden.body)
    assert isinstance(fields, list)
    wrong: list[object] = [[1.5, *fields[1:]], [*fields[:-1], -1]]
    # The validator does not count the fields of an array that has one, or nothing but arrays.
    if len(fields) > 1 and not all(isinstance(one, tuple | list) for one in fields):
        wrong += [[*fields, 0], fields[:-1]]
    for other in wrong:
        with pytest.raises(Exception, match="validating"):
            validate(cbor2.dumps(other))


def edges(kind: msgspec.inspect.Type) -> list[object]:
    """Return values of a field at and just beyond its limits."""
    if isinstance(kind, msgspec.inspect.Metadata):
        kind = kind.type
    if isinstance(kind, msgspec.inspect.IntType):
        limits = [limit for limit in (kind.ge, kind.le) if limit is not None]
        return [limit + step for limit in limits for step in (-1, 0, 1)]
    if isinstance(kind, msgspec.inspect.BytesType):
        sizes = [size for size in (kind.min_length, kind.max_length) if size is not None]
        return [bytes(size + step) for size in sizes for step in (-1, 0, 1) if size + step >= 0]
    return []


@pytest.mark.parametrize("name", [name for name, golden in GOLDENS.items() if golden.schema])
def test_schema_and_cddl_rule_draw_the_same_line_for_numbers_and_lengths(name: str) -> None:
    golden = GOLDENS[name]
    validate = validator(golden.rule)
    refusal: type[Exception] = pytest.importorskip("pycddl").ValidationError
    fields = decode(golden.body)
    described = msgspec.inspect.type_info(golden.schema)
    assert isinstance(fields, list)
    assert isinstance(described, msgspec.inspect.StructType)
    for at, field in enumerate(described.fields):
        for value in edges(field.type):
            data = cbor2.dumps([*fields[:at], value, *fields[at + 1 :]])
            try:
                msgspec.convert(cbor2.loads(data), golden.schema, strict=True)
                by_schema = True
            except msgspec.ValidationError:
                by_schema = False
            try:
                validate(data)
                by_rule = True
            except refusal:
                by_rule = False
            shown = value if isinstance(value, int) else f"{len(str(value))} bytes"
            assert by_rule == by_schema, f"{field.name} = {shown}"


def test_every_rule_for_a_message_is_there_and_no_field_is_called_like_a_rule() -> None:
    code = re.sub(r";.*", "", CDDL)
    rules = set(re.findall(r"^([a-z][a-z0-9-]*) =", code, re.MULTILINE))
    fields = set(re.findall(r"([a-z][a-z0-9-]*):", code))
    assert {golden.rule for golden in all_goldens()} <= rules
    assert not rules & fields
    for rule in rules - {golden.rule for golden in all_goldens()}:
        uses = re.findall(rf"(?<![a-z0-9-]){rule}(?![a-z0-9-])", code)
        assert len(uses) > 1, f"nothing uses {rule}"


# One flipped bit.


LONG_BYTES = 1_000


def flips(data: bytes) -> Iterator[bytes]:
    """Yield the data with each single bit changed in turn; of very long data, of both ends and
    of every eleventh byte between.
    """
    for bit in range(8 * len(data)):
        if LONG_BYTES <= bit // 8 < len(data) - LONG_BYTES and bit // 8 % 11:
            continue
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        yield bytes(flipped)


def by_kid(w: World, kid: bytes) -> PublicKey | None:
    """Return the key of a member by its id, as a roster does."""
    for member in w.members:
        for key in (member.identity, member.consensus_key):
            if key_id(key) == kid:
                return PublicKey(key)
    return None


def is_signed(w: World, domain: Domain, data: bytes) -> bool:
    """Say whether an envelope holds: well-formed, by a member, for this purpose on this chain."""
    envelope = parse_envelope(data)
    key = by_kid(w, envelope.kid)
    return key is not None and verify_envelope(verify, key, domain, w.chain_id, envelope)


def is_certified(w: World, certificate: Certificate) -> bool:
    """Say whether a certificate holds: every named signer signed the rebuilt payload."""
    bits = int.from_bytes(certificate.signers, "little")
    signers = [i for i in range(8 * len(certificate.signers)) if bits >> i & 1]
    if len(signers) != len(certificate.signatures) or max(signers, default=0) >= len(w.members):
        return False
    payload = vote_payload(
        certificate.kind, certificate.epoch, certificate.view, certificate.digest  # type: ignore[arg-type]
    )  # fmt: skip
    for signer, signature in zip(signers, certificate.signatures, strict=True):
        key = PublicKey(w.members[signer].consensus_key)
        if not verify(key, signed_bytes(key_id(key), Domain.VOTE, w.chain_id, payload), signature):
            return False
    return True


def is_proposed(w: World, proposal: Proposal) -> bool:
    """Say whether a proposal holds: the leader's vote names the header, the header the body."""
    header = decode_as(proposal.header, Header)
    if body_hash(decode_as(proposal.body, Body)) != header.body_hash:
        return False
    about = block_hash(proposal.header)
    expected = vote_payload(1, header.epoch, header.view, about)  # type: ignore[arg-type]
    return parse_envelope(proposal.vote).payload == expected and is_signed(
        w, Domain.VOTE, proposal.vote
    )


def is_dealt(w: World, message: DealMessage) -> bool:
    """Say whether a deal holds: its header is signed and its box opens under it."""
    name = header_hash(parse_envelope(message.deal).payload)
    decode_as(parse_envelope(message.deal).payload, DealHeader)
    return (
        is_signed(w, Domain.DEAL, message.deal)
        and open_box(message, name, w.keys[1].dealing_secret) is not None
    )


def is_authentic(w: World, golden: Golden, data: bytes) -> bool:
    """Say whether a frame or object is accepted as what the golden one is; may refuse by raising."""
    if golden.number is not None and data[0] != golden.number:
        # Another number: the envelope must not serve as that message either.
        return data[0] in set(Domain) and is_signed(w, Domain(data[0]), data[1:])
    body = data if golden.number is None else data[1:]
    match golden.name:
        case "vote" | "action" | "ack" | "reveal":
            return is_signed(w, Domain[golden.name.upper()], body)
        case "join":
            return open_join(w.lobby_id, body) == w.join
        case "accept":
            return is_accepted_by(w.members[1], w.terms, body)
        case "deal":
            return is_dealt(w, decode_as(body, DealMessage))
        case "proposal":
            return is_proposed(w, decode_as(body, Proposal))
        case "certificate" | "certificate nullify":
            return is_certified(w, decode_as(body, Certificate))
        case "evidence" | "evidence two dealings" | "false-share":
            return not isinstance(
                verify_evidence(body, w.validators(), w.chain_id, EPOCH, verify), str
            )
        case "descriptor":
            return is_accepted_by(w.members[1], decode_as(body, Descriptor), w.accepts[1])
        case _:
            raise AssertionError(f"{golden.name} is not signed")


SIGNED = (
    "vote", "action", "deal", "ack", "reveal", "join", "accept", "proposal", "certificate",
    "certificate nullify", "evidence", "evidence two dealings", "false-share", "descriptor",
)  # fmt: skip


@pytest.mark.parametrize("name", SIGNED)
def test_every_flipped_bit_of_a_signed_message_is_noticed(name: str) -> None:
    w, golden = world(), GOLDENS[name]
    data = golden.body if golden.number is None else golden.frame
    assert is_authentic(w, golden, data)
    for flipped in flips(data):
        try:
            accepted = is_authentic(w, golden, flipped)
        except (DecodeError, ValueError):
            continue
        assert not accepted, flipped.hex()


@pytest.mark.parametrize("name", [name for name in GOLDENS if name not in SIGNED])
def test_every_flipped_bit_of_another_message_is_refused_or_says_something_else(name: str) -> None:
    golden = GOLDENS[name]
    same = read(golden, golden.body)
    for flipped in flips(golden.body):
        try:
            value = read(golden, flipped)
        except DecodeError:
            continue
        assert value != same
        assert encode(value) == flipped


def test_every_flipped_bit_of_a_frame_is_refused_or_is_another_frame() -> None:
    for golden in FRAMES.values():
        for flipped in flips(golden.frame[:400]):
            data = flipped + golden.frame[400:]
            try:
                number, message = parse_frame(data)
            except DecodeError:
                continue
            if number in RECORDS:
                assert isinstance(message, RECORDS[number])
                assert frame(number, message) == data


def test_consents_of_a_table_message_hold_for_these_terms_only() -> None:
    w = world()
    message = decode_as(GOLDENS["table"].body, TableMessage)
    for index, (member, accept) in enumerate(zip(w.members, message.accepts, strict=True)):
        assert is_accepted_by(member, w.terms, accept)
        assert not is_accepted_by(w.members[index - 1], w.terms, accept)
    assert message.chain_id == chain_id_of(w.terms)


def test_a_reveal_with_paths_carries_the_signed_reveal() -> None:
    carried = decode_as(GOLDENS["reveal-paths"].body, RevealPaths).reveal
    assert carried == GOLDENS["reveal"].body
    assert is_signed(world(), Domain.REVEAL, carried)


def test_a_link_signature_covers_what_the_document_says_and_is_no_envelopes() -> None:
    keys, handshake_hash = world().keys[0], digest("golden", b"handshake")
    signature = keys.sign_link(handshake_hash)
    covered = b"bitcraps/1\x09" + handshake_hash
    assert verify(keys.identity.public_key, covered, signature)
    assert check_link(keys.identity.public_key, handshake_hash, signature)
    assert not check_link(world().keys[1].identity.public_key, handshake_hash, signature)
    kid = key_id(keys.identity.public_key)
    assert signed_bytes(kid, Domain.LINK, world().chain_id, b"")[:1] != covered[:1]


def test_every_altered_character_of_an_invite_is_noticed() -> None:
    invite = decode_as(GOLDENS["invite"].body, Invite)
    text = format_invite(invite)
    assert parse_invite(text) == invite
    for at in range(len(text)):
        for other in sorted({"A", "b", "0", "-"} - {text[at]}):
            with pytest.raises(OperatorError):
                parse_invite(text[:at] + other + text[at + 1 :])


def test_a_seed_is_the_hash_of_its_proof_as_the_document_says() -> None:
    golden = GOLDENS["roll-proof"]
    assert isinstance(read(golden, golden.body), RollProof)
    assert recompute_seed(golden.body).hex() == digest_of(b"\x04roll" + golden.body)
    assert recompute_seed(golden.body) == digest("roll", golden.body)


# Arbitrary bytes.


def mutate(chance: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """Return the data with one to three things wrong with it."""
    out = bytearray(data)
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(out) + 1)
        match chance.randrange(6):
            case 0:
                out[at : at + 1] = bytes((chance.randrange(256),))
            case 1:
                out[at:at] = chance.randbytes(chance.randrange(1, 9))
            case 2:
                del out[at : at + chance.randrange(1, 9)]
            case 3:
                other = chance.choice(others)
                begin = chance.randrange(len(other))
                out[at:at] = other[begin : begin + chance.randrange(1, 200)]
            case 4:
                out[at : at + 2] = chance.choice(HEADS)
            case _:
                del out[at:]
    return bytes(out)


HEADS = [bytes.fromhex(text) for text in (
    "00", "17", "1818", "1bffffffffffffffff", "20", "40", "5f", "60", "80", "9f", "a0", "bf", "c2",
    "d81c", "d818", "f4", "f6", "f7", "f93c00", "fb7ff0000000000000", "ff", "9a00100000",
    "5a00100000", "81818181818181818181",
)]  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_no_mutated_frame_raises_anything_but_a_decode_error(seed: int) -> None:
    chance = random.Random(seed)
    frames = [golden.frame for golden in FRAMES.values() if len(golden.frame) < 2_000]
    passed = 0
    for _ in range(15_000):
        data = mutate(chance, chance.choice(frames), frames)
        try:
            number, message = parse_frame(data)
        except DecodeError:
            continue
        passed += 1
        if number in RECORDS:
            assert isinstance(message, RECORDS[number])
            assert frame(number, message) == data
    assert passed > 100  # so the mutations are not all refused at the first byte
