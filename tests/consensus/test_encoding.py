"""PROTOCOL 2: one value has one encoding, and nothing else passes the door."""

import hashlib
import json
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from consensus.encoding import (
    DEPTH_MAX,
    INT_MAX,
    ITEMS_MAX,
    DecodeError,
    Record,
    Uint,
    Value,
    decode,
    decode_as,
    digest,
    encode,
    encode_array,
)

values: st.SearchStrategy[Value] = st.recursive(
    st.integers(0, INT_MAX) | st.binary(max_size=40) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=12,
)

VECTORS = json.loads(
    (Path(__file__).parents[1] / "data/rfc8949/appendix_a.json").read_text(encoding="utf-8")
)


def value_of(written: object) -> Value:
    """Return a vector's value; JSON has no byte strings, so they stand as {"bytes": hex}."""
    if isinstance(written, dict):
        return bytes.fromhex(written["bytes"])
    assert isinstance(written, int | str | list)
    return written


def test_the_appendix_is_complete() -> None:
    assert len(VECTORS["values"]) == 23
    assert len(set(VECTORS["refused"])) == 58 + 1


@pytest.mark.parametrize(("encoded", "written"), VECTORS["values"])
def test_rfc_8949_appendix_a_values_of_the_protocol_round_trip(
    encoded: str, written: object
) -> None:
    assert encode(value_of(written)).hex() == encoded
    assert decode(bytes.fromhex(encoded)) == value_of(written)


@pytest.mark.parametrize("encoded", VECTORS["refused"])
def test_every_other_example_of_rfc_8949_appendix_a_is_refused(encoded: str) -> None:
    data = bytes.fromhex(encoded)
    with pytest.raises(DecodeError):
        decode(data)
    # Nor does it pass as a field of a record, where the schema is the only other check.
    for field in (Uint, bytes, str, tuple[Uint, ...]):
        with pytest.raises(DecodeError):
            decode_as(b"\x81" + data, tuple[field])  # type: ignore[valid-type]


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
        "81" * (DEPTH_MAX + 1) + "00",  # one level deeper than allowed
        "bf00",  # an indefinite map that does not end
        "1bffffffffffffffff",  # a greater integer
        "1b8000000000000000",  # the least of these
        "c240",  # a bignum of no bytes
        "81f6",  # null
        "7b7fffffffffffffff61",  # a text longer than any memory
        "9f",  # an indefinite array of nothing
        "62c328",  # a text that is not UTF-8
        "63eda080",  # a surrogate
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


@pytest.mark.parametrize(
    "encoded",
    [
        "a0",  # a map
        "a1616101",
        "c074323031332d30332d32315432303a30343a30305a",  # a date
        "c11a514b67b0",
        "c249010000000000000000",  # a bignum
        "c48221196ab3",  # a decimal fraction
        "d8236161",  # a regular expression, which a decoder would compile
        "d81c80",  # a shared value
        "d9010280",  # a set
        "d9d9f700",  # "this is CBOR"
        "d9270f00",  # a tag that nobody knows
    ],
)
def test_maps_and_tags_are_refused_where_a_schema_would_take_anything(encoded: str) -> None:
    with pytest.raises(DecodeError):
        decode_as(b"\x81" + bytes.fromhex(encoded), tuple[object])


@pytest.mark.parametrize("encoded", ["9fff", "5f4100ff", "7fff", "bfff"])
def test_an_indefinite_length_is_refused_before_its_content_is_read(encoded: str) -> None:
    with pytest.raises(DecodeError, match="indefinite"):
        decode(bytes.fromhex(encoded))


MEGABYTE = 1 << 20


def array_of(item: bytes, size: int) -> bytes:
    """Return the encoding of an array that fills `size` bytes with copies of one encoded item."""
    count = (size - 5) // len(item)
    return b"\x9a" + count.to_bytes(4, "big") + item * count


@pytest.mark.parametrize(
    "bomb",
    [
        array_of(b"\x80", MEGABYTE),  # a list object for each byte
        array_of(b"\xa0", MEGABYTE),
        array_of(b"\x82\x00\x00", MEGABYTE),
        array_of(b"\x00", MEGABYTE),
        array_of(b"\x61a", MEGABYTE),
        array_of(b"\x81" * 7 + b"\x00", MEGABYTE),
        b"\x81" * MEGABYTE,
        b"\xd8\x1c\x81" * 1000,
        b"\xc2\x5a\x00\x0f\xff\x00" + b"\xff" * MEGABYTE,  # a number of two million digits
        b"\xba\x00\x01\x00\x00"
        + b"".join(b"\xc2\x44" + i.to_bytes(4, "big") + b"\0" for i in range(1 << 16)),
        b"\x9b\x00\x00\xff\xff\xff\xff\xff\xff" + bytes(MEGABYTE),  # lengths that are not there
        b"\x5b\x00\x00\xff\xff\xff\xff\xff\xff" + bytes(MEGABYTE),
    ],
)
def test_a_bomb_of_a_megabyte_is_refused_before_it_is_built(bomb: bytes) -> None:
    tracemalloc.start()
    began = time.process_time()
    with pytest.raises(DecodeError):
        decode(bomb)
    seconds = time.process_time() - began
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * MEGABYTE
    assert seconds < 1  # measured: 0.02 under the memory trace; building them takes 0.4 without


def test_the_greatest_number_of_items_is_decoded_and_one_more_is_not() -> None:
    most: list[Value] = [255] * (ITEMS_MAX - 1)  # the array itself is an item too
    assert decode(encode(most)) == most
    with pytest.raises(DecodeError, match=str(ITEMS_MAX)):
        decode(encode([*most, 255]))


def test_a_long_text_is_one_item() -> None:
    text = "\u6c34" * ITEMS_MAX
    assert decode(encode([text, bytes(2 * ITEMS_MAX)])) == [text, bytes(2 * ITEMS_MAX)]


@given(st.lists(st.binary(max_size=20_000) | st.integers(0, INT_MAX), min_size=3, max_size=8))
def test_a_long_value_of_few_items_is_decoded(items: list[Value]) -> None:
    value = [*items, bytes(ITEMS_MAX)]
    assert decode(encode(value)) == value


class _Inner(Record, frozen=True):
    first: Uint
    second: bytes = b""


class _Outer(Record, frozen=True):
    inner: tuple[_Inner, ...]


@pytest.mark.parametrize("kind", [_Inner, _Outer])
def test_a_record_with_a_field_left_out_or_added_is_refused(kind: type[Record]) -> None:
    def around(inner: Value) -> bytes:
        return encode(inner if kind is _Inner else [[inner]])

    whole = decode_as(around([1, b""]), kind)
    assert encode(whole) == around([1, b""])
    others: list[Value] = [[1], [1, b"", 0], []]
    for other in others:
        with pytest.raises(DecodeError):
            decode_as(around(other), kind)


def test_a_digest_depends_on_its_domain() -> None:
    assert digest("a", b"x") != digest("b", b"x")
    assert digest("a", b"bx") != digest("ab", b"x")
    assert digest("block", b"") == hashlib.sha256(b"\x05block").digest()


@pytest.mark.parametrize("size", [0, 1, 23, 24, 255, 256, 1_000])
def test_an_array_of_encoded_items_is_the_encoded_array(size: int) -> None:
    items: list[Value] = [[i, b"x" * (i % 30)] for i in range(size)]
    assert encode_array([encode(item) for item in items]) == encode(items)
