"""PROTOCOL 3: one signature format, one acceptance rule."""

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
    sign_envelope,
    signed_bytes,
    verify,
    verify_envelope,
)

CHAIN = b"c" * 32
KEY = SigningKey(b"1" * 32)
L = 2**252 + 27742317777372353535851937790883648493

# RFC 8032 section 7.1, TEST 1 to 3: secret, public, message, signature.
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
        "d25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
        "387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659"
        "4a7c15e9716ed28dc027beceea1ec40a",
    ),
]
# Encodings of points of small order or of y >= p (the list is libsodium's, which has their source).
BAD_KEYS = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]


@pytest.mark.parametrize(("secret", "public", "message", "signature"), RFC_8032)
def test_rfc_8032_vectors_sign_and_verify(
    secret: str, public: str, message: str, signature: str
) -> None:
    key = SigningKey(bytes.fromhex(secret))
    assert key.public_key.hex() == public
    assert key.sign(bytes.fromhex(message)).hex() == signature
    assert verify(key.public_key, bytes.fromhex(message), bytes.fromhex(signature))
    assert is_acceptable_key(key.public_key)


def test_a_signature_with_s_plus_l_is_refused() -> None:
    signature = KEY.sign(b"m")
    s = int.from_bytes(signature[32:], "little") + L
    assert not verify(KEY.public_key, b"m", signature[:32] + s.to_bytes(32, "little"))


@pytest.mark.parametrize("key", BAD_KEYS)
def test_small_order_and_non_canonical_keys_are_refused_with_their_universal_signature(
    key: str,
) -> None:
    public = PublicKey(bytes.fromhex(key))
    assert not is_acceptable_key(public)
    universal = bytes.fromhex(BAD_KEYS[1]) + bytes(32)
    assert not verify(public, b"anything", universal)


@pytest.mark.parametrize("r", BAD_KEYS)
def test_a_small_order_r_is_refused(r: str) -> None:
    assert not verify(KEY.public_key, b"m", bytes.fromhex(r) + bytes(32))


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


def test_the_signed_bytes_are_the_sig_structure_of_rfc_9052() -> None:
    kid = key_id(KEY.public_key)
    assert cbor2.loads(signed_bytes(kid, Domain.VOTE, CHAIN, b"p")) == [
        "Signature1",
        bytes.fromhex("a201270448") + kid,
        b"bitcraps/1\x01" + CHAIN,
        b"p",
    ]


def test_a_signature_means_nothing_for_another_domain_chain_or_key() -> None:
    envelope = parse_envelope(sign_envelope(KEY, Domain.VOTE, CHAIN, b"p"))
    other = SigningKey(b"2" * 32).public_key
    assert verify_envelope(verify, KEY.public_key, Domain.VOTE, CHAIN, envelope)
    assert not verify_envelope(verify, KEY.public_key, Domain.ACTION, CHAIN, envelope)
    assert not verify_envelope(verify, KEY.public_key, Domain.VOTE, b"d" * 32, envelope)
    assert not verify_envelope(verify, other, Domain.VOTE, CHAIN, envelope)


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
