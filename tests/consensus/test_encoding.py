"""PROTOCOL 2: one value has one encoding, and nothing else passes the door."""

import hashlib

import pytest
from hypothesis import given, strategies as st

from consensus.encoding import INT_MAX, DecodeError, Value, decode, digest, encode

values: st.SearchStrategy[Value] = st.recursive(
    st.integers(0, INT_MAX) | st.binary(max_size=40) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=12,
)

# Diagnostic notation and encoding from RFC 8949 appendix A: those that are values of the protocol.
RFC_8949_ACCEPTED: list[tuple[Value, str]] = [
    (0, "00"),
    (1, "01"),
    (10, "0a"),
    (23, "17"),
    (24, "1818"),
    (25, "1819"),
    (100, "1864"),
    (1000, "1903e8"),
    (1000000, "1a000f4240"),
    (1000000000000, "1b000000e8d4a51000"),
    (b"", "40"),
    (b"\x01\x02\x03\x04", "4401020304"),
    ("", "60"),
    ("a", "6161"),
    ("IETF", "6449455446"),
    ('"\\', "62225c"),
    ("\u00fc", "62c3bc"),
    ("\u6c34", "63e6b0b4"),
    ("\U00010151", "64f0908591"),
    ([], "80"),
    ([1, 2, 3], "83010203"),
    ([1, [2, 3], [4, 5]], "8301820203820405"),
    (list(range(1, 26)), "98190102030405060708090a0b0c0d0e0f101112131415161718181819"),
]
# The others of the same appendix: other types, greater integers, indefinite lengths.
RFC_8949_REFUSED = [
    "1bffffffffffffffff",
    "c249010000000000000000",
    "3bffffffffffffffff",
    "c349010000000000000000",
    "20",
    "29",
    "3863",
    "3903e7",
    "f90000",
    "f98000",
    "f93c00",
    "fb3ff199999999999a",
    "f93e00",
    "f97bff",
    "fa47c35000",
    "fa7f7fffff",
    "fb7e37e43c8800759c",
    "f90001",
    "f90400",
    "f9c400",
    "fbc010666666666666",
    "f97c00",
    "f97e00",
    "f9fc00",
    "fa7f800000",
    "fa7fc00000",
    "faff800000",
    "fb7ff0000000000000",
    "fb7ff8000000000000",
    "fbfff0000000000000",
    "f4",
    "f5",
    "f6",
    "f7",
    "f0",
    "f8ff",
    "c074323031332d30332d32315432303a30343a30305a",
    "c11a514b67b0",
    "c1fb41d452d9e20000",
    "d74401020304",
    "d818456449455446",
    "d82076687474703a2f2f7777772e6578616d706c652e636f6d",
    "a0",
    "a201020304",
    "a26161016162820203",
    "826161a161626163",
    "a56161614161626142616361436164614461656145",
    "5f42010243030405ff",
    "7f657374726561646d696e67ff",
    "9fff",
    "9f018202039f0405ffff",
    "9f01820203820405ff",
    "83018202039f0405ff",
    "83019f0203ff820405",
    "9f0102030405060708090a0b0c0d0e0f101112131415161718181819ff",
    "bf61610161629f0203ffff",
    "826161bf61626163ff",
    "bf6346756ef563416d7421ff",
]


@pytest.mark.parametrize(("value", "encoded"), RFC_8949_ACCEPTED)
def test_rfc_8949_appendix_a_values_of_the_protocol_round_trip(value: Value, encoded: str) -> None:
    assert encode(value).hex() == encoded
    assert decode(bytes.fromhex(encoded)) == value


@pytest.mark.parametrize("encoded", RFC_8949_REFUSED)
def test_every_other_example_of_rfc_8949_appendix_a_is_refused(encoded: str) -> None:
    with pytest.raises(DecodeError):
        decode(bytes.fromhex(encoded))


@pytest.mark.parametrize(
    "encoded",
    [
        "1801",  # 1 in two bytes
        "1b0000000000000001",  # 1 in nine bytes
        "580141",  # a one-byte string with a long length
        "01ff",  # trailing break
        "0101",  # two values
        "",  # none
        "9b00000000ffffffff",  # a huge array that is not there
        "c1c1c1c100",  # nested tags
        "d81c80",  # shareable
        "d8236161",  # regular expression
        "61ff",  # invalid UTF-8
        "81" * 9 + "00",  # one level deeper than allowed
    ],
)
def test_a_second_encoding_of_a_value_is_refused(encoded: str) -> None:
    with pytest.raises(DecodeError):
        decode(bytes.fromhex(encoded))


@given(values)
def test_what_is_encoded_decodes_to_itself(value: Value) -> None:
    assert decode(encode(value)) == value


@given(st.binary(max_size=60) | values.map(encode), st.integers(0), st.integers(0, 255))
def test_any_bytes_are_refused_or_reencode_to_themselves(
    data: bytes, where: int, byte: int
) -> None:
    if data:
        at = where % len(data)
        data = data[:at] + bytes((byte,)) + data[at + 1 :]
    try:
        value = decode(data)
    except DecodeError:
        return
    assert encode(value) == data


def test_a_digest_depends_on_its_domain() -> None:
    assert digest("a", b"x") != digest("b", b"x")
    assert digest("a", b"bx") != digest("ab", b"x")
    assert digest("block", b"") == hashlib.sha256(b"\x05block").digest()
