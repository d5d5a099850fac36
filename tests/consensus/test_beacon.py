"""PROTOCOL 11: beacon machines deal, ack, reveal and open over networks good and bad."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from consensus.beacon import DoubleDeal, Settled, recompute_seed
from consensus.beacon_dealer import PATIENCE_DELTAS, RETRY_MS_MAX
from consensus.beacon_items import SETTLE_KIND, DealCertificate
from consensus.beacon_rolls import RevealPayload
from consensus.beacon_state import Stock
from consensus.dealing import BATCH, ack_payload
from consensus.effects import (
    DealCertificateLogged,
    DealingLogged,
    Effect,
    Persist,
    Report,
    RequestEntropy,
    Send,
    SharesLogged,
)
from consensus.encoding import DecodeError, decode_as, encode
from consensus.messages import (
    DealMessage,
    GetReveal,
    Number,
    RevealPaths,
    SystemItems,
    frame,
    parse_frame,
)
from consensus.signing import Domain, KeyId, build_envelope, parse_envelope, sign_envelope
from consensus.validators import ValidatorIndex, members_of
from tests.consensus.beacon_network import (
    CHAIN,
    CrashError,
    Table,
    certify,
    make_context,
    make_dealing,
    sign_deal,
)

FULL = Stock(1, BATCH, published=False)


def kinds(frames: Sequence[tuple[int, int, bytes]]) -> Counter[str]:
    return Counter(Number(frame[0]).name for _, _, frame in frames)


def certificates(table: Table) -> dict[tuple[int, int], set[bytes]]:
    """Return every deal certificate that its own dealer sent, by dealer and batch."""
    found: dict[tuple[int, int], set[bytes]] = {}
    for _, sender, data in table.sent:
        number, message = parse_frame(data)
        if number is Number.SYSTEM_ITEMS:
            assert isinstance(message, SystemItems)
            for item in message.items:
                certified = table.context.check_certificate(item)
                assert not isinstance(certified, str), certified
                assert certified.dealer == sender
                found.setdefault((sender, certified.dealt.batch), set()).add(item)
    return found


def deals(table: Table) -> dict[tuple[int, int], set[bytes]]:
    """Return every signed header that was sent, by dealer and batch."""
    found: dict[tuple[int, int], set[bytes]] = {}
    for _, _, data in table.sent:
        number, message = parse_frame(data)
        if number is Number.DEAL:
            assert isinstance(message, DealMessage)
            header = table.context.check_deal(message.deal)
            assert not isinstance(header, str), header
            found.setdefault((header.dealer, header.batch), set()).add(message.deal)
    return found


def no_reports(table: Table) -> None:
    assert [node.reports for node in table.nodes] == [[]] * table.n


# A good day.


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 7, 16])
def test_everybody_deals_and_rolls_follow_with_one_reveal_each(n: int) -> None:
    table = Table(n)
    table.stock()
    assert [table.state.stock(i) for i in range(n)] == [FULL] * n
    for _ in range(5):
        table.sent.clear()
        rolled = table.roll()
        assert rolled is not None
        assert recompute_seed(rolled.proof) == rolled.seed
        assert kinds(table.sent) == Counter(REVEAL=n * (n - 1))
    assert len({settled.seed for settled in table.settled}) == 5
    no_reports(table)


@pytest.mark.slow
@pytest.mark.parametrize("n", [31, 33])
def test_large_tables_roll_too(n: int) -> None:
    table = Table(n)
    table.run(150)
    table.block(0)
    assert table.state.can_close()
    for _ in range(2):
        assert table.roll() is not None
    no_reports(table)


def test_a_table_that_nobody_bets_at_does_not_deal() -> None:
    table = Table(4, wanted=False)
    assert [table.nodes[i].beacon.deadline_ms for i in range(4)] == [None] * 4
    before = len(table.sent)
    table.run(3_600_000)
    assert len(table.sent) == before


def test_a_stocked_table_is_silent() -> None:
    table = Table(4)
    table.stock()
    table.sent.clear()
    table.run(3_600_000)
    assert table.sent == []
    assert [node.beacon.deadline_ms for node in table.nodes] == [None] * 4


def test_half_a_batch_is_used_before_the_next_is_dealt() -> None:
    table = Table(4)
    table.stock()
    dealt: list[int] = []
    for roll in range(1, 3 * BATCH + 1):
        assert table.roll() is not None, f"roll {roll}"
        if table.state.stock(0).batches == 2 and len(dealt) < table.state.next_batch(0) - 1:
            dealt.append(roll)
    assert dealt == [32, 32 + BATCH, 32 + 2 * BATCH]
    no_reports(table)


def test_what_rolls_no_longer_need_is_forgotten() -> None:
    table = Table(4)
    table.stock()
    for _ in range(3 * BATCH):
        assert table.roll() is not None
    for node in table.nodes:
        beacon = node.beacon
        assert len(beacon._held) <= 2 * 4
        assert (beacon._running, beacon._early, beacon._answered) == ({}, {}, {})
        assert beacon._certificates == {}
    for i in range(4):
        table.restart(i)
        assert len(table.nodes[i].beacon._held) + len(table.nodes[i].beacon._stored) <= 2 * 4


def test_each_holder_gets_one_box_of_each_dealer_and_acks_it_once() -> None:
    table = Table(4)
    table.stock()
    pairs = [(to, sender) for to in range(4) for sender in range(4) if to != sender]
    for number in (Number.DEAL, Number.ACK):
        found = sorted((to, sender) for to, sender, data in table.sent if data[0] == number)
        assert found == pairs


# Durable before sent.


def test_a_dealing_is_durable_before_its_shares_leave_and_shares_before_their_ack() -> None:
    context = make_context(4)
    durable: list[set[tuple[int, int, str]]] = [set() for _ in range(4)]
    seen = Counter[str]()

    def watch(node: int, effect: Effect) -> None:
        if isinstance(effect, Persist):
            for record in effect.records:
                if isinstance(record, DealingLogged):
                    durable[node].add((node, record.batch, "dealing"))
                if isinstance(record, SharesLogged):
                    durable[node].add((record.dealer, record.batch, "shares"))
        if isinstance(effect, Send):
            _, message = parse_frame(effect.frame)
            if isinstance(message, DealMessage):
                header = context.check_deal(message.deal)
                assert not isinstance(header, str)
                assert (node, header.batch, "dealing") in durable[node]
                seen["deal"] += 1
            elif effect.frame[0] == Number.ACK:
                assert effect.to is not None
                assert (effect.to, 0, "shares") in durable[node]
                seen["ack"] += 1

    table = Table(4, watch=watch)
    table.stock()
    assert seen == Counter(deal=12, ack=12)


def lossy(seed: int, n: int = 4) -> Table:
    """Return a table whose network loses, doubles and reorders."""
    table = Table(n, seed, jitter_ms=100)

    def spoil(_to: int, _sender: int, data: bytes) -> Sequence[bytes]:
        return (data,) * table.random.choice((0, 0, 1, 1, 1, 1, 1, 2, 3))

    table.spoil = spoil
    return table


@pytest.mark.parametrize("seed", range(12))
def test_lost_doubled_and_reordered_messages_only_cost_time(seed: int) -> None:
    table = lossy(seed)
    for _ in range(20):
        table.run(1_000)
        table.block(seed % 4)
    assert all(table.state.stock(i).batches for i in range(4))
    for _ in range(10):
        assert table.roll(10_000) is not None
    no_reports(table)


@pytest.mark.parametrize("n", [4, 5, 7])
def test_a_table_deals_and_rolls_without_f_of_its_members(n: int) -> None:
    f = (n - 1) // 3
    table = Table(n)
    for i in range(n - f, n):
        table.crash(i)
    table.stock()
    assert [table.state.stock(i) for i in range(n - f)] == (
        [Stock(2, 2 * BATCH, published=True)] * (n - f)
    )
    for _ in range(5):
        assert table.roll() is not None
    no_reports(table)


def test_a_member_that_was_away_opens_rolls_by_the_shares_that_were_published_for_it() -> None:
    table = Table(4)
    table.crash(3)
    table.stock()
    table.restart(3)
    table.block(close=True)
    table.run()
    opened = [item for item in table.nodes[3].beacon.items(table.state) if item[1] == SETTLE_KIND]
    assert len(opened) == 1
    assert table.roll() is not None
    # Node 3 holds no share of those dealings but the published ones, which all have.
    table.crash(0)
    assert table.roll() is not None
    no_reports(table)


def test_when_all_are_back_dealings_with_nothing_published_take_over() -> None:
    table = Table(4)
    table.crash(3)
    table.run(600)
    table.block()
    table.restart(3)
    table.stock()
    assert [table.state.stock(i).published for i in range(3)] == [True] * 3
    table.block(close=True)
    fresh = {(p.dealer, p.batch) for p in table.state.pending[0].places}
    assert fresh == {(0, 1), (1, 1), (2, 1), (3, 0)}


def test_shares_are_published_only_when_patience_has_ended() -> None:
    table = Table(4)
    table.crash(3)
    patience_ms = PATIENCE_DELTAS * table.nodes[0].beacon.delta_ms
    table.run(patience_ms - 1)
    assert kinds(table.sent)["SYSTEM_ITEMS"] == 0
    assert table.nodes[0].beacon.items(table.state) == ()
    table.run(1)
    assert kinds(table.sent)["SYSTEM_ITEMS"] == 3 * 3


def test_no_share_is_published_while_fewer_than_q_have_acked() -> None:
    table = Table(4)
    for i in (2, 3):
        table.crash(i)
    table.run(600_000)
    assert certificates(table) == {}
    table.restart(2)
    table.run(120_000)
    assert len(certificates(table)) == 3


def test_repeats_grow_rare_while_somebody_is_away() -> None:
    table = Table(4)
    for i in (1, 2, 3):
        table.crash(i)
    table.run(60_000)
    table.sent.clear()
    table.run(3_600_000)
    pauses = 3_600_000 // RETRY_MS_MAX
    assert 3 * (pauses - 2) <= len(table.sent) <= 3 * (pauses + 2)


def test_who_comes_back_is_given_its_box_at_once() -> None:
    table = Table(4)
    table.crash(3)
    for i in (1, 2):
        table.crash(i)
    table.run(60_000)
    table.restart(3)
    table.sent.clear()
    table.nodes[0].beacon.peer_up(ValidatorIndex(3), table.now)
    table.perform(0)
    assert [(to, sender, data[0]) for to, sender, data in table.sent] == [(3, 0, Number.DEAL)]


# Restarts.


def run_with_crash(at: int, victim: int, n: int = 4) -> Table | None:
    """Deal and roll while `victim` stops before its effect number `at` and comes back later."""
    count = 0

    def watch(node: int, _effect: Effect) -> None:
        nonlocal count
        if node == victim:
            count += 1
            if count == at:
                raise CrashError

    table = Table(n, watch=watch)
    for step in range(14):
        table.run(150)
        if step >= 6 and table.state.can_close():
            table.roll()
        else:
            table.block()
        if step % 3 == 2 and not table.nodes[victim].alive:
            table.restart(victim)
    return table if count >= at else None


def test_a_crash_between_any_two_effects_contradicts_nothing() -> None:
    for at in range(1, 100):
        table = run_with_crash(at, victim=1)
        if table is None:
            break
        assert table.settled, at
        assert all(len(signed) == 1 for signed in deals(table).values()), at
        for key, items in certificates(table).items():
            published = set[int]()
            for item in items:
                certificate = decode_as(item, DealCertificate)
                published.update(members_of(certificate.published, 4) or ())
            assert len(published) <= 1, (at, key)
            assert len(items) == 1 or not published, (at, key)
        assert [node.reports for node in table.nodes] == [[]] * 4, at
    else:
        pytest.fail("the crashes never came to the end of the run")
    assert at > 20


def test_what_was_published_is_published_again_after_a_restart_and_nothing_else() -> None:
    table = Table(4, spoil=lambda _to, _sender, data: (data,) * (data[0] != Number.SYSTEM_ITEMS))
    table.crash(3)
    table.run(600)
    first = certificates(table)[0, 0]
    assert any(isinstance(record, DealCertificateLogged) for record in table.nodes[0].disk)
    # Now another one is away, whose shares could be published instead.
    table.crash(0)
    table.restart(3)
    table.crash(2)
    table.restart(0)
    table.run(10_000)
    assert certificates(table)[0, 0] == first
    table.block(0)
    assert table.state.dealings(0)[0].published[0][0] == 3


def test_a_restart_in_the_middle_of_a_roll_reveals_the_same_bytes_again() -> None:
    table = Table(4)
    table.stock()
    table.sent.clear()
    table.block(close=True)
    table.restart(2)
    reveals = {data for _, sender, data in table.sent if sender == 2}
    assert len(reveals) == 1
    assert len([1 for _, sender, _ in table.sent if sender == 2]) == 6
    table.run()
    table.block()
    assert len(table.settled) == 1


def test_a_table_whose_members_all_restart_in_a_roll_completes_it() -> None:
    table = Table(4, spoil=lambda _to, _sender, data: (data,) * (data[0] != Number.REVEAL))
    table.stock()
    table.block(close=True)
    table.run(100)
    for i in range(4):
        table.crash(i)
    table.queue.clear()
    table.spoil = lambda _to, _sender, data: (data,)
    for i in range(4):
        table.restart(i)
    table.run()
    table.block()
    assert len(table.settled) == 1


# Late, early, asked for.


def test_a_reveal_that_comes_before_its_close_is_final_here_is_kept_for_it() -> None:
    table = Table(4)
    table.stock()
    state = table.state.fork()
    state.bind(table.hash)
    table.height += 1
    state.close(table.height)
    table.adopt(state, late=(3,))
    late = table.nodes[3]
    table.run(100)
    assert late.beacon.items(state) == ()
    table.finalize_at(3)
    assert len(late.beacon.items(state)) == 1
    assert kinds(table.sent)["GET_REVEAL"] == 0


def test_reveals_of_far_rolls_are_not_kept() -> None:
    table = Table(4)
    table.stock()
    beacon = table.nodes[0].beacon
    for roll in range(100):
        for holder in (1, 2, 3):
            payload = encode((0, roll, bytes(32), (bytes(32),) * 4))
            envelope = sign_envelope(table.signers[holder], Domain.REVEAL, CHAIN, payload)
            table.deliver(0, holder, frame(Number.REVEAL, envelope))
    assert sorted(beacon._early) == [(roll, j) for roll in range(8) for j in (1, 2, 3)]
    # They were lies; the roll opens all the same, and who lied is told of.
    assert table.roll(2_000) is not None
    assert {report.peer for report in table.nodes[0].reports} == {1, 2, 3}


def test_missing_reveals_are_asked_for_and_answered() -> None:
    table = Table(4)
    table.stock()
    # Node 0 hears nobody at first, the others hear each other.
    table.spoil = lambda to, _sender, data: () if to == 0 and data[0] == Number.REVEAL else (data,)
    table.block(close=True)
    table.run(100)
    assert table.nodes[0].beacon.items(table.state) == ()
    table.spoil = lambda _to, _sender, data: (data,)
    table.run(500)
    assert len(table.nodes[0].beacon.items(table.state)) == 1
    assert kinds(table.sent)["GET_REVEAL"] == 3


def test_a_holder_answers_one_peer_once_in_a_while() -> None:
    table = Table(4)
    table.stock()
    table.block(close=True)
    table.run(100)
    table.sent.clear()
    for paths in (0, 1):
        for _ in range(10):
            table.deliver(0, 1, frame(Number.GET_REVEAL, GetReveal(0, 0, paths)))
    assert kinds(table.sent) == Counter(REVEAL=1, REVEAL_PATHS=1)
    table.run(100)
    table.deliver(0, 1, frame(Number.GET_REVEAL, GetReveal(0, 0, 0)))
    assert kinds(table.sent)["REVEAL"] == 2


@pytest.mark.parametrize("ask", [GetReveal(0, 1, 0), GetReveal(1, 0, 0), GetReveal(0, 99, 1)])
def test_nothing_is_revealed_of_rolls_that_are_not_closed(ask: GetReveal) -> None:
    table = Table(4)
    table.stock()
    table.block(close=True)
    table.run(100)
    table.sent.clear()
    table.deliver(0, 1, frame(Number.GET_REVEAL, ask))
    assert table.sent == []


def test_a_reveal_with_paths_proves_each_share() -> None:
    table = Table(4)
    table.stock()
    table.block(close=True)
    table.sent.clear()
    table.deliver(2, 1, frame(Number.GET_REVEAL, GetReveal(0, 0, 1)))
    [(to, sender, data)] = table.sent
    assert (to, sender) == (1, 2)
    _, message = parse_frame(data)
    assert isinstance(message, RevealPaths)
    assert [len(path) for path in message.paths] == [1 + 2 + 6] * 4
    assert len(data) < 2_000


def test_items_fit_the_state_they_are_for() -> None:
    table = Table(4)
    table.run(600)
    beacon = table.nodes[0].beacon
    assert len(beacon.items(table.state)) == 4
    table.block()
    assert beacon.items(table.state) == ()
    closing = table.state.fork()
    closing.bind(table.hash)
    closing.close(table.height + 1)
    assert beacon.items(closing) == ()
    table.block(close=True)
    assert beacon.items(table.state) == ()
    table.run()
    [item] = beacon.items(table.state)
    # On the state after the close and on the next block's draft, which knows the close's name.
    draft = table.state.fork()
    draft.bind(table.hash)
    assert beacon.items(draft) == (item,)
    # A twin of the chain that closed in another block waits for another settle.
    other = closing.fork()
    other.bind(bytes(32))
    assert beacon.items(other) == ()
    assert isinstance(draft.settle(item), Settled)
    assert beacon.items(draft) == ()


def test_items_leave_room_for_the_rest_of_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(4)
    table.run(600)
    items = table.nodes[0].beacon.items(table.state)
    monkeypatch.setattr("consensus.beacon.ITEMS_BYTES_MAX", sum(map(len, items[:2])))
    assert table.nodes[0].beacon.items(table.state) == items[:2]
    monkeypatch.setattr("consensus.beacon.ITEMS_BYTES_MAX", 1)
    assert table.nodes[0].beacon.items(table.state) == items[:1]


# Bad peers.


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
    [evidence] = table.nodes[2].beacon.evidence
    assert isinstance(evidence, DoubleDeal)
    first, second = (table.context.check_deal(deal) for deal in (evidence.first, evidence.second))
    assert not isinstance(first, str)
    assert not isinstance(second, str)
    assert (first.dealer, first.batch) == (second.dealer, second.batch) == (1, 0)
    assert first != second
    # After a restart as well: what was acked is in the journal.
    table.restart(2)
    send_deal(table, 2, dealer=1)
    assert len(table.nodes[2].beacon.evidence) == 1


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


def test_a_dealing_by_another_key_or_for_another_epoch_is_reported() -> None:
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
    assert [peer for peer, _ in faults(table, 0)] == [2] * 4
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


def test_entropy_is_asked_for_once_and_used_only_while_it_is_wanted() -> None:
    asked: list[Effect] = []
    table = Table(4, wanted=False)
    beacon = table.nodes[0].beacon
    beacon.finalized(table.state, table.now, block=table.hash, wanted=True)
    for _ in range(3):
        asked += beacon.advance(table.now)
    assert asked == [RequestEntropy(32)]
    for dealer in range(4):
        item = encode(certify(make_dealing(4, dealer), 4, (0, 1, 2, 3)))
        assert table.state.add_certificate(item) is None
    beacon.finalized(table.state, table.now, block=table.hash, wanted=True)
    beacon.entropy(bytes(32), table.now)
    assert beacon.advance(table.now) == []


def test_reports_name_the_peer_and_are_given_once() -> None:
    table = Table(4, wanted=False)
    number, message = parse_frame(frame(Number.SYSTEM_ITEMS, SystemItems((b"",))))
    beacon = table.nodes[0].beacon
    beacon.receive(ValidatorIndex(2), number, message, table.now)
    [report] = beacon.advance(table.now)
    assert isinstance(report, Report)
    assert report.peer == 2
    assert beacon.advance(table.now) == []
