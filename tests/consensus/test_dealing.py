"""PROTOCOL 11.2: a dealing is a function of the key, and each holder can check its own part."""

import hashlib
import hmac
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from consensus.dealing import (
    BATCH,
    AckPayload,
    DealHeader,
    Dealing,
    HeldShares,
    ack_payload,
    derive_entropy,
    header_hash,
    is_element,
    open_box,
    open_text,
    path_length,
    read_grid,
    split,
)
from consensus.encoding import decode_as, encode
from consensus.merkle import MerkleTree
from consensus.messages import DealMessage
from consensus.shamir import PRIME, recover
from tests.consensus.beacon_network import CHAIN, box_public, make_box_secrets, spoil

ENTROPY = bytes(range(32))
N, T = 4, 3
SECRETS = make_box_secrets(N)
PUBLICS = [box_public(secret) for secret in SECRETS]


def deal(n: int = N, t: int = T, **other: Any) -> Dealing:
    fields: dict[str, Any] = {
        "chain_id": CHAIN,
        "epoch": 0,
        "dealer": 1,
        "batch": 5,
        "entropy": ENTROPY,
    }
    return Dealing(**(fields | other), t=t, n=n)


DEALING = deal()
NAME = header_hash(encode(DEALING.header))


def sealed(holder: int) -> DealMessage:
    message = DEALING.seal(holder, PUBLICS[holder], b"signed header")
    assert message is not None
    return message


def test_the_first_dealing_is_what_it_always_was() -> None:
    # A change here makes the dealings in everybody's journal others: a new protocol version.
    assert (
        DEALING.header.root.hex()
        == "9ff6f09a7f58efc679c1e02caf20531057855b8444bae0331ef41c6a116c8904"
    )
    assert (
        DEALING.shares[63][3].hex()
        == "3726b792af6d6d24acb9492e31538b240d01a0dc4575b9c198fdb7e123b046f6"
    )


PLACE: dict[str, Any] = {
    "secret": SECRETS[1],
    "chain_id": CHAIN,
    "epoch": 0,
    "dealer": 1,
    "batch": 5,
    "t": T,
    "box_keys": PUBLICS,
}


def test_the_entropy_of_a_batch_is_hkdf_of_the_dealing_secret_over_all_that_shapes_it() -> None:
    place = CHAIN + bytes(8) + b"\1" + (5).to_bytes(8, "big")
    info = b"bitcraps/1/deal/entropy\0" + place + bytes((T,)) + b"".join(PUBLICS)
    extracted = hmac.digest(bytes(32), SECRETS[1], hashlib.sha256)  # RFC 5869, written out
    assert derive_entropy(**PLACE) == hmac.digest(extracted, info + b"\1", hashlib.sha256)


@pytest.mark.parametrize(
    "change",
    [
        {"secret": SECRETS[2]},
        {"chain_id": b"d" * 32},
        {"epoch": 1},
        {"dealer": 0},
        {"batch": 6},
        {"t": 4},
        {"box_keys": PUBLICS[:3]},
        {"box_keys": [*PUBLICS[:3], PUBLICS[0]]},
    ],
    ids=str,
)
def test_two_dealings_that_differ_in_anything_have_no_entropy_in_common(
    change: dict[str, Any],
) -> None:
    assert derive_entropy(**PLACE) != derive_entropy(**PLACE | change)


def test_the_same_entropy_makes_the_same_dealing_and_the_same_boxes() -> None:
    again = deal()
    assert again.header == DEALING.header
    for holder in range(N):
        assert again.seal(holder, PUBLICS[holder], b"signed header") == sealed(holder)


@pytest.mark.parametrize(
    "change",
    [
        {"chain_id": b"d" * 32},
        {"epoch": 1},
        {"dealer": 0},
        {"batch": 6},
        {"entropy": bytes(32)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_everything_that_names_a_dealing_changes_every_secret(change: dict[str, Any]) -> None:
    other = deal(**change)
    assert other.header.root != DEALING.header.root
    assert not any(
        ours == theirs
        for row, others in zip(DEALING.shares, other.shares, strict=True)
        for ours, theirs in zip(row, others, strict=True)
    )


@pytest.mark.parametrize(("n", "t"), [(1, 1), (2, 2), (3, 3), (4, 3), (7, 5)])
def test_every_secret_is_shared_among_all_with_the_threshold(n: int, t: int) -> None:
    dealing = deal(n, t)
    assert len(dealing.shares) == BATCH
    secrets = []
    for row in dealing.shares:
        values = [int.from_bytes(share, "big") for share in row]
        secret, complete = recover(tuple(range(n - t, n)), values[n - t :], n)
        assert complete == values
        secrets.append(secret)
        if t > 1:
            # One share less fits no lower degree: the polynomial uses its whole degree.
            assert recover(tuple(range(t - 1)), values[: t - 1], n)[1] != values
    assert len(set(secrets)) == BATCH


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 7, 16, 31])
def test_every_holder_finds_its_shares_in_its_box(n: int) -> None:
    dealing = deal(n, max(1, n - (n - 1) // 3))
    for holder in range(n):
        held = open_text(CHAIN, dealing.header, holder, n, dealing.text(holder))
        assert isinstance(held, HeldShares), held
        assert held.shares == tuple(row[holder] for row in dealing.shares)


def test_a_box_opens_for_its_holder_alone() -> None:
    for box, holder in product(range(N), range(N)):
        text = open_box(sealed(box), NAME, SECRETS[holder])
        assert (text == DEALING.text(box)) == (box == holder)
        assert (text is None) == (box != holder)


def test_a_box_opens_only_for_the_dealing_it_was_made_for() -> None:
    other = header_hash(encode(deal(batch=6).header))
    assert open_box(sealed(0), other, SECRETS[0]) is None


@settings(deadline=None)
@given(st.integers(0, len(sealed(0).box) - 1), st.integers(1, 255))
def test_a_box_with_a_changed_byte_does_not_open(at: int, change: int) -> None:
    message = sealed(0)
    box = bytearray(message.box)
    box[at] ^= change
    spoiled = DealMessage(message.deal, message.ephemeral, bytes(box))
    assert open_box(spoiled, NAME, SECRETS[0]) is None


def test_keys_of_small_order_agree_on_no_box() -> None:
    assert DEALING.seal(0, bytes(32), b"signed header") is None
    message = sealed(0)
    assert open_box(DealMessage(message.deal, bytes(32), message.box), NAME, SECRETS[0]) is None


@settings(deadline=None)
@given(st.integers(0, len(DEALING.text(2)) - 1), st.integers(1, 255))
def test_shares_with_any_changed_byte_are_refused(at: int, change: int) -> None:
    text = bytearray(DEALING.text(2))
    text[at] ^= change
    assert isinstance(open_text(CHAIN, DEALING.header, 2, N, bytes(text)), str)


def test_the_shares_of_another_holder_are_refused() -> None:
    assert isinstance(open_text(CHAIN, DEALING.header, 1, N, DEALING.text(2)), str)


def test_the_shares_of_another_dealing_of_the_same_name_are_refused() -> None:
    other = deal(entropy=bytes(32))
    why = open_text(CHAIN, DEALING.header, 0, N, other.text(0))
    assert why == "dealt roots are not those of the header"


def test_shares_of_another_chain_or_place_are_refused() -> None:
    header = DEALING.header
    text = DEALING.text(0)
    assert isinstance(open_text(CHAIN, header, 0, N, text), HeldShares)
    assert isinstance(open_text(b"d" * 32, header, 0, N, text), str)
    for field in ("epoch", "dealer", "batch"):
        values = {name: getattr(header, name) for name in header.__struct_fields__}
        other = DealHeader(**values | {field: 9})
        assert isinstance(open_text(CHAIN, other, 0, N, text), str)


def test_a_share_that_is_no_field_element_is_refused_though_it_is_committed() -> None:
    dealing = deal()
    spoil(dealing, 7, 2, PRIME.to_bytes(32, "big"))
    text = dealing.text(2)
    assert open_text(CHAIN, dealing.header, 2, N, text) == "dealt share 7 is no field element"
    grid = read_grid(CHAIN, dealing.header, N, (2,), dealing.grid((2,)))
    assert grid == "a published share of holder 2 is no field element"


def test_field_elements_are_32_bytes_below_the_prime() -> None:
    assert is_element(bytes(32))
    assert is_element((PRIME - 1).to_bytes(32, "big"))
    assert not is_element(PRIME.to_bytes(32, "big"))
    assert not is_element(b"\xff" * 32)
    assert not is_element(bytes(31))
    assert not is_element(bytes(33))


@pytest.mark.parametrize("n", range(1, 70))
def test_path_lengths_are_those_of_the_tree(n: int) -> None:
    tree = MerkleTree([bytes((i,)) for i in range(n)])
    assert [path_length(n, i) for i in range(n)] == [len(tree.proof(i)) for i in range(n)]


# Published shares.


@pytest.mark.parametrize("published", [(0,), (3,), (1, 2), (0, 1, 2, 3)])
def test_a_grid_proves_the_published_shares_and_no_other(published: tuple[int, ...]) -> None:
    grid = DEALING.grid(published)
    read = read_grid(CHAIN, DEALING.header, N, published, grid)
    assert isinstance(read, tuple)
    roots, shares = read
    assert MerkleTree(split(roots)).root() == DEALING.header.root
    assert [split(column) for column in shares] == [
        tuple(row[j] for row in DEALING.shares) for j in published
    ]
    for j in range(N):
        for row in DEALING.shares:
            assert (row[j] in grid) == (j in published)


@settings(deadline=None)
@given(st.integers(0, N * BATCH * 32 - 1), st.integers(1, 255))
def test_a_grid_with_any_changed_byte_is_refused(at: int, change: int) -> None:
    grid = bytearray(DEALING.grid((1,)))
    grid[at] ^= change
    assert isinstance(read_grid(CHAIN, DEALING.header, N, (1,), bytes(grid)), str)


def test_a_grid_of_other_holders_or_another_size_is_refused() -> None:
    grid = DEALING.grid((1,))
    assert isinstance(read_grid(CHAIN, DEALING.header, N, (2,), grid), str)
    assert isinstance(read_grid(CHAIN, DEALING.header, N, (1, 2), grid), str)
    assert isinstance(read_grid(CHAIN, DEALING.header, N, (1,), grid[:-32]), str)
    assert isinstance(read_grid(CHAIN, DEALING.header, N, (1,), grid + bytes(32)), str)


def test_an_ack_names_the_header_it_is_for() -> None:
    payload = decode_as(ack_payload(DEALING.header), AckPayload)
    assert payload == AckPayload(0, 1, 5, NAME)
    assert ack_payload(deal(entropy=bytes(32)).header) != ack_payload(DEALING.header)
