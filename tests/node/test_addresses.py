"""PROTOCOL 14: members say where they listen; what nobody signed, or said too often, changes nothing."""

from pathlib import Path

import pytest

from consensus.encoding import encode
from consensus.messages import Number
from consensus.signing import Domain, sign_envelope
from node.addresses import (
    ANNOUNCEMENT_BYTES_MAX,
    NEWS_SECONDS_MIN,
    AddressBook,
    Known,
    PeerAddrs,
    founders_of,
    load_book,
)
from node.errors import OperatorError
from node.identity import Keys
from tests.node.tables import make_table

TABLE, KEYS, _ = make_table(3, ports=[7001, 7002, 7003])
ELSEWHERE = ("192.0.2.7:7100",)
SPEAKER = KEYS[1].identity.public_key


def book(path: Path | None = None) -> AddressBook:
    return AddressBook(TABLE.chain_id, founders_of(TABLE), path)


def said(keys: Keys = KEYS[1], issued_ms: int = 5, chain_id: bytes = TABLE.chain_id) -> bytes:
    payload = encode(PeerAddrs(issued_ms, ELSEWHERE))
    return sign_envelope(keys.identity, Domain.PEER_ADDRS, chain_id, payload)


def test_what_a_member_says_replaces_what_the_table_file_knew() -> None:
    known = book()
    assert known.addresses_of(SPEAKER) == ("127.0.0.1:7002",)
    assert known.announcements() == []
    assert known.take(said(), now=0.0) == SPEAKER
    assert known.addresses_of(SPEAKER) == ELSEWHERE
    assert known.announcements() == [bytes((Number.PEER_ADDRS,)) + said()]


def test_what_nobody_signed_fills_a_gap_and_replaces_nothing() -> None:
    known, newcomer = book(), Keys(b"n" * 32)
    known.take(said(), now=0.0)
    known.learn(SPEAKER, ("192.0.2.8:7100",))
    assert known.addresses_of(SPEAKER) == ELSEWHERE
    known.learn(newcomer.identity.public_key, ("192.0.2.8:7100",))
    assert known.addresses_of(newcomer.identity.public_key) == ("192.0.2.8:7100",)


def test_whom_the_chain_knows_at_one_place_is_at_no_other_whatever_was_heard() -> None:
    """Two links to one member would replace each other for ever."""
    known = book()
    heard = [(bytes([i]) * 32, f"player {i}") for i in range(3, 7)]
    founders = known.members
    known.enrol([*founders, *heard])
    known.enrol([*founders, heard[2]])
    assert known.members == (*founders, heard[2], heard[1], heard[3])


def test_an_announcement_is_news_once_and_an_older_one_never() -> None:
    known = book()
    assert known.take(said(issued_ms=5), now=0.0) == SPEAKER
    for issued_ms in (5, 4):
        assert known.take(said(issued_ms=issued_ms), now=100.0) is None
    assert known.take(said(issued_ms=6), now=100.0) == SPEAKER


def test_a_member_that_announces_too_often_is_not_passed_on() -> None:
    known = book()
    assert known.take(said(issued_ms=5), now=0.0) == SPEAKER
    assert known.take(said(issued_ms=6), now=NEWS_SECONDS_MIN / 2) is None
    assert known.take(said(issued_ms=6), now=NEWS_SECONDS_MIN) == SPEAKER


def test_who_is_not_known_here_changes_nothing_and_is_no_fault() -> None:
    stranger = Keys(b"s" * 32)
    known = book()
    before = known.known()
    assert known.take(said(stranger), now=0.0) is None
    assert known.known() == before


def test_no_altered_bit_of_an_announcement_counts() -> None:
    known, honest = book(), said()
    for at in range(8 * len(honest)):
        bent = bytearray(honest)
        bent[at // 8] ^= 1 << at % 8
        assert known.take(bytes(bent), now=0.0) != SPEAKER
    assert known.addresses_of(SPEAKER) == ("127.0.0.1:7002",)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"\x00", "does not parse"),
        (said(chain_id=bytes(32)), "signature does not verify"),
    ],
)
def test_what_proves_nothing_is_a_fault_of_its_sender(body: bytes, words: str) -> None:
    assert words in str(book().take(body, now=0.0))


def test_an_announcement_with_all_addresses_fits_the_limit() -> None:
    longest = tuple(f"{'a' * 64}:{60_000 + i}" for i in range(8))
    payload = encode(PeerAddrs(2**63 - 1, longest))
    body = sign_envelope(KEYS[0].identity, Domain.PEER_ADDRS, TABLE.chain_id, payload)
    assert len(body) <= ANNOUNCEMENT_BYTES_MAX
    assert book().take(body, now=0.0) == KEYS[0].identity.public_key


def test_a_node_announces_where_it_listens_once_and_later_than_before() -> None:
    known = book()
    known.announce(KEYS[0].identity, ELSEWHERE, now_ms=50)
    first = known.announcements()
    known.announce(KEYS[0].identity, ELSEWHERE, now_ms=60)
    assert known.announcements() == first
    known.announce(KEYS[0].identity, ("127.0.0.1:7001",), now_ms=10)  # its clock was set back
    (second,) = known.announcements()
    assert book().take(second[1:], now=0.0) == KEYS[0].identity.public_key
    other = book()
    assert other.take(first[0][1:], now=0.0)
    assert other.take(second[1:], now=100.0)


def test_the_book_outlives_the_node_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "peers.bin"
    kept = load_book(path, TABLE)
    assert kept.known() == founders_of(TABLE)
    kept.take(said(), now=0.0)
    newcomer = (Keys(b"n" * 32).identity.public_key, "newcomer")
    kept.enrol([*kept.members, newcomer])
    kept.learn(newcomer[0], ELSEWHERE)
    again = load_book(path, TABLE)
    assert again.known() == kept.known()
    assert again.known()[3] == Known(*newcomer, ELSEWHERE)
    assert again.has_announced(SPEAKER)
    assert not again.has_announced(newcomer[0])
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(OperatorError, match="damaged"):
        load_book(path, TABLE)


def test_what_was_heard_of_further_slots_stays_until_the_chain_says_who_has_them() -> None:
    hints = [(f"{i}".encode() * 32, f"hint {i}") for i in (3, 4)]
    known = book()
    founders = known.members
    known.enrol([*founders, *hints])
    known.enrol(founders)
    assert known.members[3:] == tuple(hints)
    known.enrol([*founders, (b"x" * 32, "other")])
    assert known.members[3:] == ((b"x" * 32, "other"), hints[1])
