"""PROTOCOL 6: which frames are messages, and that a header names every byte of its body.

The pinned bytes of each message are in tests/wire.
"""

import random
import time

import msgspec
import pytest
from hypothesis import given, strategies as st

from consensus.encoding import DecodeError, Value, decode, encode
from consensus.merkle import MerkleTree, verify_proof
from consensus.messages import (
    ACTION_BYTES_MAX,
    ENVELOPES,
    HEADERS_PER_REQUEST_MAX,
    MESSAGE_BYTES_MAX,
    RECORDS,
    Blocks,
    Body,
    GetBlocks,
    Have,
    Number,
    Proposal,
    Status,
    VoteKind,
    block_hash,
    body_hash,
    frame,
    parse_frame,
    vote_payload,
)

BODY = Body(b"cert", (b"skip",), (b"item",), (b"action", b"other"))
values: st.SearchStrategy[Value] = st.recursive(
    st.integers(0, 2**64) | st.binary(max_size=70) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=14),
    max_leaves=20,
)


def test_an_empty_or_oversized_frame_or_an_unknown_number_is_refused() -> None:
    for data in (b"", bytes((Number.STATUS,)), bytes(MESSAGE_BYTES_MAX + 1)):
        with pytest.raises(DecodeError, match=f"a message of {len(data)} bytes"):
            parse_frame(data)
    unknown = set(range(256)) - {number.value for number in Number}
    for number in unknown:
        with pytest.raises(DecodeError, match=f"number {number} is not known"):
            parse_frame(bytes((number, 0x80)))


def test_each_number_carries_one_form() -> None:
    assert not set(RECORDS) & set(ENVELOPES)
    envelope = frame(Number.VOTE, encode([1]))
    for number in ENVELOPES:
        with pytest.raises(DecodeError, match="envelope"):
            parse_frame(bytes((number,)) + envelope[1:])
    status = encode(Status(0, 0, 1, 0, 0, bytes(32), 5, 0))
    takes_it = []
    for number in RECORDS:
        try:
            parse_frame(bytes((number,)) + status)
        except DecodeError:
            continue
        takes_it.append(number)
    assert takes_it == [Number.STATUS]


@pytest.mark.parametrize(
    "message",
    [
        GetBlocks(bytes(32), HEADERS_PER_REQUEST_MAX + 1, 0),
        GetBlocks(bytes(32), 0, 0),
        GetBlocks(bytes(31), 1, 0),
        GetBlocks(bytes(32), 1, 2),
        Blocks(bytes(32), ((b"", b""),) * (HEADERS_PER_REQUEST_MAX + 1)),
        Have((bytes(32),) * 257),
        Proposal(bytes(1025), b"", b""),
        Proposal(b"", bytes(MESSAGE_BYTES_MAX - 8191), b""),
        Proposal(b"", b"", bytes(257)),
        Status(0, 2**63, 0, 0, 0, bytes(32), 0, 0),
        Status(0, -1, 0, 0, 0, bytes(32), 0, 0),
    ],
)
def test_a_field_beyond_its_limit_is_refused(message: msgspec.Struct) -> None:
    number = next(number for number, kind in RECORDS.items() if isinstance(message, kind))
    with pytest.raises(DecodeError):
        parse_frame(bytes((number,)) + encode(message))


def test_a_body_holds_actions_up_to_their_limit() -> None:
    for size, is_good in ((ACTION_BYTES_MAX, True), (ACTION_BYTES_MAX + 1, False)):
        data = encode(Body(b"", (), (), (bytes(size),)))
        try:
            msgspec.convert(decode(data), Body, strict=True)
        except msgspec.ValidationError:
            assert not is_good
        else:
            assert is_good


@given(st.sampled_from(Number), st.binary(max_size=300) | values.map(encode))
def test_any_bytes_behind_any_number_are_refused_or_are_that_message(
    number: Number, body: bytes
) -> None:
    data = bytes((number,)) + body
    try:
        found, message = parse_frame(data)
    except DecodeError:
        return
    assert found is number
    if number in RECORDS:
        assert isinstance(message, RECORDS[number])
        assert frame(number, message) == data


@pytest.mark.parametrize("seed", range(4))
def test_any_bytes_are_no_value_or_encode_to_themselves(seed: int) -> None:
    chance = random.Random(seed)
    heads = [bytes((major << 5 | low,)) for major in range(8) for low in (*range(4), 23, 24, 25)]
    decoded = 0
    for _ in range(40_000):
        data = b"".join(
            chance.choice(heads) + chance.randbytes(chance.randrange(3))
            for _ in range(chance.randrange(1, 7))
        )
        try:
            value = decode(data)
        except DecodeError:
            continue
        decoded += 1
        assert encode(value) == data
    assert decoded > 500


@pytest.mark.parametrize("number", [*RECORDS, *ENVELOPES])
@pytest.mark.parametrize("item", [b"\x80", b"\x00", b"\x40", b"\xa0", b"\x60", b"\xf9\x7e\x00"])
def test_a_message_of_a_megabyte_of_small_items_costs_a_moment(number: Number, item: bytes) -> None:
    count = (MESSAGE_BYTES_MAX - 6) // len(item)
    data = bytes((number,)) + b"\x9a" + count.to_bytes(4, "big") + item * count
    began = time.perf_counter()
    with pytest.raises(DecodeError):
        parse_frame(data)
    assert time.perf_counter() - began < 0.5  # measured: 0.006


def test_a_header_names_every_part_of_its_body_and_its_place() -> None:
    named = {
        body_hash(BODY),
        body_hash(Body(b"other", BODY.skips, BODY.system, BODY.actions)),
        body_hash(Body(b"cert", (), BODY.system, BODY.actions)),
        body_hash(Body(b"cert", BODY.skips, (), BODY.actions)),
        body_hash(Body(b"cert", BODY.skips, BODY.system, (b"action",))),
        body_hash(Body(b"cert", BODY.skips, BODY.system, (b"other", b"action"))),
        body_hash(Body(b"cert", BODY.skips, (b"item", b"action"), (b"other",))),
        body_hash(Body(b"cert", BODY.skips, (), (b"item", *BODY.actions))),
    }
    assert len(named) == 8


def test_one_action_is_proven_to_be_in_a_block_by_its_path_alone() -> None:
    leaves = [b"j" + encode((BODY.parent_cert, BODY.skips)), b"sitem", b"aaction", b"aother"]
    tree = MerkleTree(leaves)
    assert tree.root() == body_hash(BODY)
    assert verify_proof(body_hash(BODY), 4, 3, b"a" + BODY.actions[1], tree.proof(3))
    assert not verify_proof(body_hash(BODY), 4, 3, b"s" + BODY.actions[1], tree.proof(3))


def test_a_block_hash_and_a_vote_depend_on_every_part() -> None:
    assert block_hash(b"a") != block_hash(b"b")
    payloads = {
        vote_payload(kind, epoch, view, about)
        for kind in VoteKind
        for epoch in (0, 1)
        for view in (0, 1)
        for about in (block_hash(b"a"), block_hash(b"b"))
    }
    assert len(payloads) == 24
