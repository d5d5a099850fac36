"""PROTOCOL 3: one signature format, one acceptance rule."""

import json
from pathlib import Path

import cbor2
import pytest
from hypothesis import given, strategies as st

from consensus.encoding import DecodeError, encode
from consensus.signing import (
    Domain,
    Envelope,
    PublicKey,
    SigningKey,
    build_envelope,
    is_acceptable_key,
    key_id,
    parse_envelope,
    sig_structure,
    sign_envelope,
    signed_bytes,
    verify,
    verify_envelope,
)

CHAIN = b"c" * 32
KEY = SigningKey(b"1" * 32)
L = 2**252 + 27742317777372353535851937790883648493

DATA = Path(__file__).parents[1] / "data"
RFC_8032 = json.loads((DATA / "ed25519/rfc8032.json").read_text())
SPECCHECK = json.loads((DATA / "ed25519/speccheck.json").read_text())
CCTV = json.loads((DATA / "ed25519/cctv.json").read_text())
COSE = json.loads((DATA / "cose/sign1.json").read_text())
LOW_ORDER = CCTV["low_order_encodings"]


@pytest.mark.parametrize(("name", "secret", "public", "message", "signature"), RFC_8032["vectors"])
def test_rfc_8032_vectors_sign_and_verify(
    name: str, secret: str, public: str, message: str, signature: str
) -> None:
    key = SigningKey(bytes.fromhex(secret))
    assert key.public_key.hex() == public, name
    assert key.sign(bytes.fromhex(message)).hex() == signature
    assert verify(key.public_key, bytes.fromhex(message), bytes.fromhex(signature))
    assert is_acceptable_key(key.public_key)


@pytest.mark.parametrize(
    ("message", "key", "signature", "verifies", "is_admitted", "what"), SPECCHECK["vectors"]
)
def test_edge_cases_of_taming_the_many_eddsas_are_judged_as_pinned(
    message: str, key: str, signature: str, verifies: bool, is_admitted: bool, what: str
) -> None:
    public = PublicKey(bytes.fromhex(key))
    assert verify(public, bytes.fromhex(message), bytes.fromhex(signature)) is verifies, what
    assert is_acceptable_key(public) is is_admitted, what
    assert not (verifies and is_admitted), "an edge case that this protocol would accept"


@pytest.mark.parametrize(("key", "signature", "message", "verifies", "edges"), CCTV["vectors"])
def test_points_with_a_component_of_low_order_are_judged_as_pinned(
    key: str, signature: str, message: str, verifies: bool, edges: str
) -> None:
    public = PublicKey(bytes.fromhex(key))
    assert verify(public, message.encode(), bytes.fromhex(signature)) is verifies, edges
    assert not is_acceptable_key(public), edges


def test_a_signature_with_s_plus_l_is_refused() -> None:
    signature = KEY.sign(b"m")
    s = int.from_bytes(signature[32:], "little") + L
    assert not verify(KEY.public_key, b"m", signature[:32] + s.to_bytes(32, "little"))


@pytest.mark.parametrize("key", LOW_ORDER)
def test_no_low_order_key_is_admitted_nor_verifies_its_universal_signature(key: str) -> None:
    public = PublicKey(bytes.fromhex(key))
    assert not is_acceptable_key(public)
    for r in LOW_ORDER:
        assert not verify(public, b"anything", bytes.fromhex(r) + bytes(32))


@pytest.mark.parametrize("r", LOW_ORDER)
def test_a_low_order_r_is_refused(r: str) -> None:
    assert not verify(KEY.public_key, b"m", bytes.fromhex(r) + bytes(32))


def test_a_key_with_a_component_of_low_order_is_not_admitted_although_it_may_verify() -> None:
    # Its owner can sign so that verifiers with and without the cofactor disagree: the roster check
    # is what makes one verifier's opinion everybody's.
    (mixed,) = [v for v in SPECCHECK["vectors"] if v[3]]
    assert not is_acceptable_key(bytes.fromhex(mixed[1]))


@pytest.mark.parametrize("y", [2**255 - 19 + 3, 2**255 - 19 + 5, 2**255 - 1])
def test_a_key_that_is_not_canonical_is_not_admitted(y: int) -> None:
    assert not is_acceptable_key(y.to_bytes(32, "little"))


@pytest.mark.parametrize("size", [0, 1, 63, 65, 128])
def test_a_signature_of_another_length_is_refused(size: int) -> None:
    signature = (KEY.sign(b"m") * 2)[:size]
    assert not verify(KEY.public_key, b"m", signature)
    # A longer one must not be read as a signature and the beginning of the message.
    assert not verify(KEY.public_key, b"", KEY.sign(b"m") + b"m")


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_of_another_length_is_refused(size: int) -> None:
    assert not is_acceptable_key(bytes(size))
    assert not verify(PublicKey(bytes(size)), b"m", bytes(64))


@given(st.binary(max_size=70_000), st.sampled_from(Domain))
def test_an_envelope_is_the_cose_sign1_that_another_decoder_reads(
    payload: bytes, domain: Domain
) -> None:
    data = sign_envelope(KEY, domain, CHAIN, payload)
    protected, unprotected, content, signature = cbor2.loads(data)
    assert cbor2.loads(protected) == {1: -8, 4: key_id(KEY.public_key)}
    assert unprotected == {}
    assert content == payload
    envelope = parse_envelope(data)
    assert envelope == Envelope(key_id(KEY.public_key), payload, signature)
    assert build_envelope(envelope.kid, envelope.payload, envelope.signature) == data
    assert verify_envelope(verify, KEY.public_key, domain, CHAIN, envelope)


@pytest.mark.parametrize(
    ("example", "protected", "external_aad", "payload", "to_be_signed", "message"),
    COSE["structures"],
)
def test_the_sig_structure_is_that_of_the_cose_working_group(
    example: str, protected: str, external_aad: str, payload: str, to_be_signed: str, message: str
) -> None:
    parts = [bytes.fromhex(part) for part in (protected, external_aad, payload)]
    assert sig_structure(*parts).hex() == to_be_signed, example
    # Their header has no kid, an unprotected map and mostly a tag: our door takes one form only.
    with pytest.raises(DecodeError):
        parse_envelope(bytes.fromhex(message))


def test_the_signature_of_the_ed25519_example_verifies() -> None:
    _, protected, external_aad, payload, _, message = COSE["structures"][0]
    signed = sig_structure(*(bytes.fromhex(part) for part in (protected, external_aad, payload)))
    signature = bytes.fromhex(message)[-64:]
    assert verify(PublicKey(bytes.fromhex(COSE["key"])), signed, signature)
    assert SigningKey(bytes.fromhex(COSE["secret"])).sign(signed) == signature


@pytest.mark.parametrize(("domain", "payload", "structure", "message"), COSE["profile"])
def test_our_envelope_is_the_one_that_another_library_makes_of_the_same_parts(
    domain: int, payload: str, structure: str, message: str
) -> None:
    signer = SigningKey(bytes.fromhex(COSE["secret"]))
    chain, data = bytes.fromhex(COSE["profile_chain"]), bytes.fromhex(message)
    content = bytes.fromhex(payload)
    kid = key_id(signer.public_key)
    assert signed_bytes(kid, Domain(domain), chain, content).hex() == structure
    assert sign_envelope(signer, Domain(domain), chain, content) == data
    assert verify_envelope(verify, signer.public_key, Domain(domain), chain, parse_envelope(data))


def loosened(data: bytes) -> dict[str, bytes]:
    """Return other COSE_Sign1 messages that say the same as an envelope, by how they differ."""
    protected, _, payload, signature = cbor2.loads(data)
    kid = cbor2.loads(protected)[4]
    body = data[1:]
    at = data.index(b"\xa0")
    return {
        "tagged": b"\xd2" + data,
        "tagged in two bytes": b"\xd8\x12" + data,
        "indefinite array": b"\x9f" + body + b"\xff",
        "array of five": b"\x85" + body + b"\x40",
        "trailing byte": data + b"\x00",
        "leading byte": b"\x00" + data,
        "kid unprotected": cbor2.dumps([b"\xa1\x01\x27", {4: kid}, payload, signature]),
        "kid before algorithm": cbor2.dumps(
            [b"\xa2\x04\x48" + kid + b"\x01\x27", {}, payload, signature]
        ),
        "another header": cbor2.dumps(
            [b"\xa3" + protected[1:] + b"\x03\x00", {}, payload, signature]
        ),
        "another algorithm": cbor2.dumps(
            [b"\xa2\x01\x26" + protected[3:], {}, payload, signature]
        ),
        "unprotected header": cbor2.dumps([protected, {3: 0}, payload, signature]),
        "unprotected map in two bytes": data[:at] + b"\xb8\x00" + data[at + 1 :],
        "no payload": cbor2.dumps([protected, {}, None, signature]),
        "payload in pieces": data[: at + 1] + b"\x5f" + cbor2.dumps(payload) + b"\xff\x58\x40"
        + signature,
        "payload of a longer length": data[: at + 1] + b"\x5a" + len(payload).to_bytes(4, "big")
        + payload + b"\x58\x40" + signature,
        "signature of a longer length": data[:-66] + b"\x59\x00\x40" + signature,
        "short signature": cbor2.dumps([protected, {}, payload, signature[:-1]]),
        "long signature": cbor2.dumps([protected, {}, payload, signature + b"\0"]),
        "short kid": cbor2.dumps([b"\xa2\x01\x27\x04\x47" + kid[1:], {}, payload, signature]),
    }  # fmt: skip


@pytest.mark.parametrize("how", loosened(sign_envelope(KEY, Domain.VOTE, CHAIN, b"p" * 30)))
def test_a_looser_form_of_the_same_message_is_refused(how: str) -> None:
    data = sign_envelope(KEY, Domain.VOTE, CHAIN, b"p" * 30)
    parse_envelope(data)
    with pytest.raises(DecodeError):
        parse_envelope(loosened(data)[how])


def test_a_signature_means_nothing_for_another_domain_chain_or_key() -> None:
    envelope = parse_envelope(sign_envelope(KEY, Domain.VOTE, CHAIN, b"p"))
    other = SigningKey(b"2" * 32).public_key
    assert verify_envelope(verify, KEY.public_key, Domain.VOTE, CHAIN, envelope)
    assert not verify_envelope(verify, KEY.public_key, Domain.ACTION, CHAIN, envelope)
    assert not verify_envelope(verify, KEY.public_key, Domain.VOTE, b"d" * 32, envelope)
    assert not verify_envelope(verify, other, Domain.VOTE, CHAIN, envelope)


def test_a_signer_cannot_sign_under_the_key_id_of_another() -> None:
    other = key_id(SigningKey(b"2" * 32).public_key)
    signature = KEY.sign(signed_bytes(other, Domain.VOTE, CHAIN, b"p"))
    envelope = parse_envelope(build_envelope(other, b"p", signature))
    assert not verify_envelope(verify, KEY.public_key, Domain.VOTE, CHAIN, envelope)


def test_every_single_bit_flip_of_a_signed_message_fails() -> None:
    data = sign_envelope(KEY, Domain.VOTE, CHAIN, encode([1, 0, 7, bytes(32)]))
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            envelope = parse_envelope(bytes(flipped))
        except DecodeError:
            continue
        assert not verify_envelope(verify, KEY.public_key, Domain.VOTE, CHAIN, envelope), bit


@given(st.binary(max_size=200))
def test_other_bytes_are_refused_or_are_an_envelope_of_themselves(data: bytes) -> None:
    try:
        envelope = parse_envelope(data)
    except DecodeError:
        return
    assert build_envelope(envelope.kid, envelope.payload, envelope.signature) == data
