"""PROTOCOL 11: whatever a peer sends, a beacon machine reports it or passes over it."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from consensus.beacon import Settled
from consensus.beacon_items import SETTLE_KIND, RollProof
from consensus.beacon_rolls import RevealPayload
from consensus.dealing import ack_payload
from consensus.effects import (
    Report,
)
from consensus.encoding import DecodeError, decode_as, encode
from consensus.evidence import OffenceKind
from consensus.merkle import MerkleTree
from consensus.messages import (
    GetReveal,
    Number,
    RevealPaths,
    SystemItems,
    frame,
    parse_frame,
)
from consensus.signing import Domain, KeyId, build_envelope, parse_envelope, sign_envelope
from consensus.validators import ValidatorIndex
from tests.consensus.beacon_network import (
    CHAIN,
    Table,
    certify,
    kinds,
    make_dealing,
    no_reports,
    proven,
    sign_deal,
)


def faults(table: Table, node: int) -> list[tuple[int, str]]:
    return [(report.peer, report.fault) for report in table.nodes[node].reports]


def send_deal(table: Table, to: int, dealer: int, batch: int = 0, *, by: int | None = None) -> None:
    """Let `dealer`, whose machine is down, deal to `to`."""
    dealing = make_dealing(table.n, dealer, batch)
    message = dealing.seal(to, table.box_keys[to], sign_deal(dealing, table.n))
    assert message is not None
    table.deliver(to, dealer if by is None else by, frame(Number.DEAL, message))


def test_a_second_dealing_of_a_batch_is_evidence_and_is_not_acked() -> None:
    table = Table(4)
    table.run(100)
    table.sent.clear()
    held = table.nodes[2].beacon._held[1, 0]
    send_deal(table, 2, dealer=1)
    assert table.sent == []
    assert table.nodes[2].beacon._held[1, 0] is held
    assert faults(table, 2) == [(1, "dealer 1 signed two dealings as batch 0")]
    assert proven(table, 2) == [(1, OffenceKind.TWO_DEALINGS)]
    # After a restart as well: what was acked is in the journal.
    table.restart(2)
    send_deal(table, 2, dealer=1)
    assert proven(table, 2) == [(1, OffenceKind.TWO_DEALINGS)]


def test_the_same_dealing_is_acked_again_with_the_same_bytes() -> None:
    table = Table(4, wanted=False)
    for _ in range(3):
        send_deal(table, 0, dealer=1)
    table.restart(0)
    send_deal(table, 0, dealer=1)
    assert [(to, sender) for to, sender, _ in table.sent] == [(1, 0)] * 4
    assert len({data for _, _, data in table.sent}) == 1
    assert len(table.nodes[0].disk) == 1


def test_dealings_far_ahead_are_not_kept() -> None:
    table = Table(4, wanted=False)
    for batch in (0, 1, 2, 3, 1_000):
        send_deal(table, 0, dealer=1, batch=batch)
    assert sorted(table.nodes[0].beacon._held) == [(1, 0), (1, 1)]
    assert len(table.sent) == 2


def test_a_dealing_by_another_key_is_reported_and_one_of_another_epoch_passed_over() -> None:
    table = Table(4, wanted=False)
    dealing = make_dealing(4, 1)
    forged = sign_envelope(table.signers[2], Domain.DEAL, CHAIN, encode(dealing.header))
    other = make_dealing(4, 1, epoch=1)
    wrong_kind = sign_envelope(table.signers[1], Domain.ACK, CHAIN, encode(dealing.header))
    wrong_chain = sign_envelope(table.signers[1], Domain.DEAL, bytes(32), encode(dealing.header))
    for deal, dealt in (
        (forged, dealing),
        (sign_deal(other, 4), other),
        (wrong_kind, dealing),
        (wrong_chain, dealing),
    ):
        message = dealt.seal(0, table.box_keys[0], deal)
        assert message is not None
        table.deliver(0, 2, frame(Number.DEAL, message))
    assert [peer for peer, _ in faults(table, 0)] == [2] * 3
    assert (table.nodes[0].disk, table.sent) == ([], [])


def test_a_box_that_does_not_open_or_holds_wrong_shares_is_reported_and_not_acked() -> None:
    table = Table(4, wanted=False)
    dealing = make_dealing(4, 1)
    deal = sign_deal(dealing, 4)
    for_another = dealing.seal(2, table.box_keys[2], deal)
    another_s = dealing.seal(2, table.box_keys[0], deal)
    assert for_another is not None
    assert another_s is not None
    for message in (for_another, another_s):
        table.deliver(0, 3, frame(Number.DEAL, message))
    assert [peer for peer, _ in faults(table, 0)] == [3, 3]
    assert (table.nodes[0].disk, table.sent) == ([], [])
    # A stranger's spoiled box does not keep the dealer's own out.
    send_deal(table, 0, dealer=1)
    assert len(table.sent) == 1


def test_an_ack_counts_for_who_signed_it_and_the_dealing_it_names() -> None:
    table = Table(4, spoil=lambda _to, _sender, _data: ())
    dealer = table.nodes[0].beacon._dealer
    current = dealer.current
    assert current is not None

    def ack(signer: int, kid: bytes, payload: bytes) -> bytes:
        signed = sign_envelope(table.signers[signer], Domain.ACK, CHAIN, payload)
        return frame(Number.ACK, build_envelope(KeyId(kid), payload, signed[-64:]))

    one, stranger = table.context.validators.kids[1], bytes(8)
    payload = ack_payload(current[0])
    table.deliver(0, 1, ack(2, one, payload))
    table.deliver(0, 1, ack(1, stranger, payload))
    assert faults(table, 0) == [
        (1, "an ack that holder 1 did not sign"),
        (1, "an ack of a stranger"),
    ]
    table.deliver(0, 1, ack(1, one, ack_payload(make_dealing(4, 0, batch=7).header)))
    assert dealer.wants_ack(ValidatorIndex(1))
    # It may come by another's hands.
    sign = sign_envelope(table.signers[1], Domain.ACK, CHAIN, payload)
    table.deliver(0, 3, frame(Number.ACK, sign))
    assert not dealer.wants_ack(ValidatorIndex(1))
    assert len(faults(table, 0)) == 2


def reveal_of(table: Table, holder: int, *, signer: int | None = None, **fields: Any) -> bytes:
    """Return the reveal that `holder` sent last, changed in some fields and signed."""
    data = next(data for _, sender, data in reversed(table.sent)
                if sender == holder and data[0] == Number.REVEAL)  # fmt: skip
    reveal = decode_as(parse_envelope(data[1:]).payload, RevealPayload)
    payload = encode(msgspec.structs.replace(reveal, **fields))
    who = table.signers[holder if signer is None else signer]
    signature = sign_envelope(who, Domain.REVEAL, CHAIN, payload)[-64:]
    return build_envelope(table.context.validators.kids[holder], payload, signature)


def rolling(n: int = 4, *, deaf: int = 0) -> Table:
    """Return a table that closed a roll, whose member `deaf` has heard no reveal yet."""
    table = Table(n)
    table.stock()
    table.spoil = lambda to, _sender, data: () if to == deaf else (data,)
    table.block(close=True)
    table.run(100)
    table.spoil = lambda _to, _sender, data: (data,)
    return table


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"close_hash": bytes(32)}, "a reveal of roll 0 behind another block"),
        ({"secrets": bytes(32)}, "a reveal of roll 0 of other secrets"),
        ({"shares": (bytes(32),) * 3}, "a reveal of 3 shares of 4 secrets"),
        ({"shares": (bytes(32),) * 5}, "a reveal of 5 shares of 4 secrets"),
        ({"shares": (b"\xff" * 32,) * 4}, "a revealed share is no field element"),
        ({"shares": (bytes(31),) * 4}, "a revealed share is no field element"),
    ],
)
def test_a_reveal_that_cannot_be_right_is_reported_and_not_counted(
    fields: dict[str, Any], fault: str
) -> None:
    table = rolling()
    for holder in (1, 2, 3):
        table.deliver(0, holder, frame(Number.REVEAL, reveal_of(table, holder, **fields)))
    assert faults(table, 0) == [(holder, fault) for holder in (1, 2, 3)]
    for holder in (1, 2):
        assert table.nodes[0].beacon.items(table.state) == ()
        table.deliver(0, holder, frame(Number.REVEAL, reveal_of(table, holder)))
    assert len(table.nodes[0].beacon.items(table.state)) == 1


def test_a_reveal_in_anothers_name_is_checked_at_once_and_keeps_nobody_out() -> None:
    table = rolling()
    forged = reveal_of(table, 1, signer=3, shares=(bytes(32),) * 4)
    table.deliver(0, 3, frame(Number.REVEAL, forged))
    assert faults(table, 0) == [(3, "a reveal that holder 1 did not sign")]
    # A true one may come by another's hands.
    table.deliver(0, 3, frame(Number.REVEAL, reveal_of(table, 1)))
    table.deliver(0, 2, frame(Number.REVEAL, reveal_of(table, 2)))
    assert len(table.nodes[0].beacon.items(table.state)) == 1
    assert kinds(table.sent)["GET_REVEAL"] == 0


def test_a_reveal_early_in_anothers_name_is_checked_too() -> None:
    table = rolling()
    forged = reveal_of(table, 1, signer=3, roll=1)
    table.deliver(0, 3, frame(Number.REVEAL, forged))
    assert faults(table, 0) == [(3, "a reveal that holder 1 did not sign")]
    assert table.nodes[0].beacon._early == {}


def test_reveals_of_another_epoch_or_an_old_roll_are_passed_over() -> None:
    table = rolling()
    for holder in (1, 2, 3):
        table.deliver(0, holder, frame(Number.REVEAL, reveal_of(table, holder, epoch=1)))
    assert table.nodes[0].beacon.items(table.state) == ()
    table.run(1_000)
    table.block()
    table.deliver(0, 1, frame(Number.REVEAL, reveal_of(table, 1)))
    no_reports(table)


def test_paths_are_taken_only_when_they_are_needed_and_from_their_holder() -> None:
    table = rolling()
    table.sent.clear()
    table.deliver(1, 0, frame(Number.GET_REVEAL, GetReveal(0, 0, 1)))
    answer = table.sent[-1][2]
    for sender in (1, 2):
        table.deliver(0, sender, answer)
    assert table.nodes[0].beacon._running[0].roll.heard == {}
    no_reports(table)


def paths_of(table: Table, holder: int) -> RevealPaths:
    """Return what `holder` answers when it is asked for paths."""
    table.spoil = lambda _to, _sender, _data: ()
    table.deliver(holder, 0, frame(Number.GET_REVEAL, GetReveal(0, 0, 1)))
    return decode_as(table.sent[-1][2][1:], RevealPaths)


def lie_of(table: Table, holder: int) -> bytes:
    """Return a signed reveal by `holder` that is wrong everywhere."""
    return reveal_of(table, holder, shares=(bytes(32),) * table.n)


def made_up_tree(table: Table, record: RevealPaths) -> tuple[tuple[bytes, ...], ...]:
    """Return paths of the lie of holder 3 in trees that no dealer made."""
    paths = []
    for place, path in zip(table.state.pending[0].places, record.paths, strict=True):
        leaf = table.context.leaf_scheme(place.dealer, 0).leaf(0, 3, bytes(32))
        tree = MerkleTree([leaf] * 4)
        paths.append((tree.root(), *tree.proof(3), *path[3:]))
    return tuple(paths)


SPOILED_PATHS: dict[str, Callable[[Table, RevealPaths], tuple[tuple[bytes, ...], ...]]] = {
    "the true paths": lambda _table, record: record.paths,
    "no path": lambda _table, record: ((),) * len(record.paths),
    "a root alone": lambda _table, record: tuple(path[:1] for path in record.paths),
    "a path too short": lambda _table, record: tuple(path[:-1] for path in record.paths),
    "a path too long": lambda _table, record: tuple((*path, path[0]) for path in record.paths),
    "paths of other secrets": lambda _table, record: record.paths[1:] + record.paths[:1],
    "a tree made up": made_up_tree,
}


@pytest.mark.parametrize("how", SPOILED_PATHS)
def test_a_wrong_share_is_proven_by_no_path(how: str) -> None:
    table = rolling()
    beacon = table.nodes[0].beacon
    lie = lie_of(table, 3)
    truth = reveal_of(table, 1)
    table.sent.clear()
    for holder, reveal in ((3, lie), (1, truth)):
        table.deliver(0, holder, frame(Number.REVEAL, reveal))
    assert beacon._running[0].roll.doubted
    # All are asked at once, whoever it was that lied.
    assert [(to, data) for to, _, data in table.sent] == [
        (holder, frame(Number.GET_REVEAL, GetReveal(0, 0, 1))) for holder in (1, 2, 3)
    ]
    answers = {holder: paths_of(table, holder) for holder in (1, 2, 3)}
    paths = SPOILED_PATHS[how](table, answers[3])
    table.deliver(0, 3, frame(Number.REVEAL_PATHS, RevealPaths(lie, paths)))
    assert faults(table, 0) == [(3, "4 shares of roll 0 are not those dealt")]
    for holder in (1, 2):
        assert beacon.items(table.state) == ()
        table.deliver(0, holder, frame(Number.REVEAL_PATHS, answers[holder]))
    draft = table.state.fork()
    draft.bind(table.hash)
    [item] = beacon.items(draft)
    settled = draft.settle(item)
    assert isinstance(settled, Settled)
    assert all(opened.secret for opened in decode_as(settled.proof, RollProof).secrets)


def test_paths_of_another_epoch_come_late_and_are_nobodys_fault() -> None:
    """Rolls are counted anew in each epoch, so its first one has the number of many."""
    table = rolling()
    for holder, reveal in ((3, lie_of(table, 3)), (1, reveal_of(table, 1))):
        table.deliver(0, holder, frame(Number.REVEAL, reveal))
    assert table.nodes[0].beacon._running[0].roll.needs_paths
    answer = paths_of(table, 2)
    late = reveal_of(table, 2, epoch=1, close_hash=bytes(32))
    table.deliver(0, 2, frame(Number.REVEAL_PATHS, RevealPaths(late, answer.paths)))
    no_reports(table)


@pytest.mark.parametrize(
    ("paths", "fault"),
    [
        (lambda paths: paths[:3], "3 paths of 4 shares"),
        (lambda paths: (*paths, ()), "5 paths of 4 shares"),
        (lambda paths: (), "0 paths of 4 shares"),
    ],
)
def test_paths_are_as_many_as_shares(
    paths: Callable[[tuple[tuple[bytes, ...], ...]], tuple[tuple[bytes, ...], ...]], fault: str
) -> None:
    table = rolling()
    for holder, reveal in ((3, lie_of(table, 3)), (1, reveal_of(table, 1))):
        table.deliver(0, holder, frame(Number.REVEAL, reveal))
    answer = paths_of(table, 2)
    record = RevealPaths(answer.reveal, paths(answer.paths))
    table.deliver(0, 2, frame(Number.REVEAL_PATHS, record))
    assert faults(table, 0) == [(2, fault)]
    forged = reveal_of(table, 2, signer=3)
    table.deliver(0, 2, frame(Number.REVEAL_PATHS, RevealPaths(forged, answer.paths)))
    assert faults(table, 0)[1:] == [(2, "a reveal that holder 2 did not sign")]
    spoiled = RevealPaths(answer.reveal, ((),) * 4)
    table.deliver(0, 1, frame(Number.REVEAL_PATHS, spoiled))
    # None of these keeps the holder's own answer out.
    table.deliver(0, 2, frame(Number.REVEAL_PATHS, answer))
    assert len(faults(table, 0)) == 2
    assert 2 in table.nodes[0].beacon._running[0].roll.heard_paths


def test_who_revealed_the_truth_is_not_blamed_for_the_lies_of_others() -> None:
    table = rolling(7)
    beacon = table.nodes[0].beacon
    for holder in (1, 2, 3):
        table.deliver(0, holder, frame(Number.REVEAL, reveal_of(table, holder)))
    table.deliver(0, 6, frame(Number.REVEAL, lie_of(table, 6)))
    assert beacon._running[0].roll.doubted
    for holder in (1, 2, 4, 5):
        table.deliver(0, holder, frame(Number.REVEAL_PATHS, paths_of(table, holder)))
    assert len(beacon.items(table.state)) == 1
    assert proven(table, 0) == [(6, OffenceKind.FALSE_SHARE)]
    no_reports(table)


def test_a_claim_for_a_holder_whose_share_is_published_counts_for_nothing() -> None:
    table = Table(4)
    table.crash(3)
    table.stock()
    table.spoil = lambda to, _sender, data: () if to == 0 else (data,)
    table.block(close=True)
    table.run(100)
    payload = decode_as(parse_envelope(reveal_of(table, 1)).payload, RevealPayload)
    lie = encode(msgspec.structs.replace(payload, shares=(bytes(32),) * len(payload.shares)))
    envelope = sign_envelope(table.signers[3], Domain.REVEAL, CHAIN, lie)
    table.deliver(0, 3, frame(Number.REVEAL, envelope))
    assert not table.nodes[0].beacon._running[0].roll.doubted
    table.deliver(0, 1, frame(Number.REVEAL, reveal_of(table, 1)))
    assert SETTLE_KIND in [item[1] for item in table.nodes[0].beacon.items(table.state)]


def test_a_lie_that_its_holder_did_not_sign_is_no_evidence() -> None:
    table = rolling()
    beacon = table.nodes[0].beacon
    # Node 3's link carries an envelope that node 3 did not sign: only its paths would be checked.
    forged = reveal_of(table, 3, signer=2, shares=(bytes(32),) * 4)
    table.deliver(0, 3, frame(Number.REVEAL, forged))
    table.deliver(0, 1, frame(Number.REVEAL, reveal_of(table, 1)))
    for holder in (1, 2):
        table.deliver(0, holder, frame(Number.REVEAL_PATHS, paths_of(table, holder)))
    assert len(beacon.items(table.state)) == 1
    assert beacon.evidence == ()


def test_system_items_that_prove_nothing_are_reported() -> None:
    table = Table(4, wanted=False)
    good = encode(certify(make_dealing(4, 1), 4, (0, 1, 2, 3)))
    for item in (b"", b"\x00", good[:-1], encode((2, 0, ())), encode((9,))):
        table.deliver(0, 2, frame(Number.SYSTEM_ITEMS, SystemItems((item,))))
    few = encode(certify(make_dealing(4, 1), 4, (0, 1)))
    table.deliver(0, 2, frame(Number.SYSTEM_ITEMS, SystemItems((few,))))
    assert [peer for peer, _ in faults(table, 0)] == [2] * 6
    assert table.nodes[0].beacon.items(table.state) == ()
    table.deliver(0, 2, frame(Number.SYSTEM_ITEMS, SystemItems((good, good))))
    assert table.nodes[0].beacon.items(table.state) == (good,)


def test_certificates_are_kept_of_the_next_batches_alone() -> None:
    table = Table(4, wanted=False)
    items = [encode(certify(make_dealing(4, 1, b), 4, (0, 1, 2, 3))) for b in range(4)]
    table.deliver(0, 2, frame(Number.SYSTEM_ITEMS, SystemItems(tuple(items))))
    assert list(table.nodes[0].beacon._certificates) == [(1, 0), (1, 1)]
    no_reports(table)


def captured() -> list[bytes]:
    """Return frames of every kind that a table sends, and that are new to a deaf member."""
    table = Table(4)
    table.crash(3)
    table.stock()
    table.restart(3)
    table.block(close=True)
    table.deliver(2, 0, frame(Number.GET_REVEAL, GetReveal(0, 0, 1)))
    table.deliver(1, 0, frame(Number.GET_REVEAL, GetReveal(0, 0, 1)))
    frames = {data[0]: data for _, _, data in table.sent}
    assert {Number(number) for number in frames} == {
        Number.DEAL, Number.ACK, Number.REVEAL, Number.REVEAL_PATHS, Number.SYSTEM_ITEMS
    }  # fmt: skip
    return [*frames.values(), frame(Number.GET_REVEAL, GetReveal(0, 0, 1))]


FRAMES = captured()
DEAF = rolling()


@settings(deadline=None, max_examples=400)
@given(st.sampled_from(FRAMES), st.data())
def test_no_frame_however_spoiled_raises(data: bytes, draw: st.DataObject) -> None:
    spoiled = bytearray(data)
    for _ in range(draw.draw(st.integers(0, 3))):
        at = draw.draw(st.integers(1, len(spoiled) - 1))
        spoiled[at] ^= draw.draw(st.integers(1, 255))
    try:
        parse_frame(bytes(spoiled))
    except DecodeError:
        return
    DEAF.deliver(draw.draw(st.integers(0, 3)), draw.draw(st.integers(0, 3)), bytes(spoiled))


@settings(deadline=None, max_examples=300)
@given(
    st.tuples(st.integers(0, 2), st.integers(0, 2), st.binary(min_size=32, max_size=32)),
    st.lists(st.sampled_from([b"", bytes(32), b"\xff" * 32, b"x"]), min_size=1, max_size=6),
    st.lists(st.lists(st.binary(min_size=32, max_size=32), max_size=10), max_size=6),
    st.integers(0, 3),
)
def test_no_signed_reveal_however_strange_raises(
    head: tuple[int, int, bytes], shares: list[bytes], paths: list[list[bytes]], sender: int
) -> None:
    close_hash = DEAF.state.pending[0].close_hash or DEAF.hash if head[2] < b"\x80" else head[2]
    payload = encode((head[0], head[1], close_hash, shares))
    envelope = sign_envelope(DEAF.signers[sender], Domain.REVEAL, CHAIN, payload)
    DEAF.deliver(0, sender, frame(Number.REVEAL, envelope))
    record = RevealPaths(envelope, tuple(map(tuple, paths)))
    DEAF.deliver(0, sender, frame(Number.REVEAL_PATHS, record))


def test_before_the_first_final_state_nothing_is_taken() -> None:
    table = Table(4)
    beacon = table.nodes[0].beacon
    fresh = table._boot(0, ())
    for data in FRAMES:
        number, message = parse_frame(data)
        fresh.receive(ValidatorIndex(1), number, message, table.now)
    assert fresh.advance(table.now) == []
    assert fresh.deadline_ms is None
    assert beacon.deadline_ms is not None


def test_reports_name_the_peer_and_are_given_once() -> None:
    table = Table(4, wanted=False)
    number, message = parse_frame(frame(Number.SYSTEM_ITEMS, SystemItems((b"",))))
    beacon = table.nodes[0].beacon
    beacon.receive(ValidatorIndex(2), number, message, table.now)
    [report] = beacon.advance(table.now)
    assert isinstance(report, Report)
    assert report.peer == 2
    assert beacon.advance(table.now) == []
