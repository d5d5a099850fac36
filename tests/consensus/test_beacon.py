"""PROTOCOL 11: beacon machines deal, ack, reveal and open over networks good and bad."""

from collections import Counter
from collections.abc import Sequence

import pytest

from consensus.beacon import BeaconState, Settled, recompute_seed
from consensus.beacon_dealer import PATIENCE_DELTAS, RETRY_MS_MAX
from consensus.beacon_items import SETTLE_KIND, DealCertificate
from consensus.beacon_state import Stock
from consensus.dealing import BATCH
from consensus.effects import (
    DealCertificateLogged,
    Effect,
    Persist,
    Send,
    SharesLogged,
)
from consensus.encoding import decode_as, encode
from consensus.messages import (
    DealMessage,
    GetReveal,
    Number,
    RevealPaths,
    SystemItems,
    frame,
    parse_frame,
)
from consensus.signing import Domain, sign_envelope
from consensus.validators import ValidatorIndex, members_of
from tests.consensus.beacon_network import (
    CHAIN,
    CrashError,
    Table,
    certify,
    kinds,
    make_dealing,
    no_reports,
    proven,
)

FULL = Stock(1, BATCH, published=False)


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
        assert (beacon._running, beacon._early) == ({}, {})
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


def test_shares_are_durable_before_their_ack() -> None:
    durable: list[set[tuple[int, int]]] = [set() for _ in range(4)]
    seen = Counter[str]()

    def watch(node: int, effect: Effect) -> None:
        if isinstance(effect, Persist):
            for record in effect.records:
                if isinstance(record, SharesLogged):
                    durable[node].add((record.dealer, record.batch))
        if isinstance(effect, Send) and effect.frame[0] == Number.ACK:
            assert effect.to is not None
            assert (effect.to, 0) in durable[node]
            seen["ack"] += 1

    table = Table(4, watch=watch)
    table.stock()
    assert seen == Counter(ack=12)


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


def test_a_box_is_repeated_to_those_alone_who_did_not_ack_it() -> None:
    table = Table(4)
    for i in (2, 3):
        table.crash(i)
    table.run(10_000)
    boxes = Counter(to for to, sender, data in table.sent if (sender, data[0]) == (0, Number.DEAL))
    assert boxes[1] == 1
    assert boxes[2] == boxes[3] > 3


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


def run_with_crash(at: int, victim: int, n: int = 4, lost: int = 0) -> Table | None:
    """Deal and roll while `victim` stops before its effect number `at` and comes back later.

    Its disk has then `lost` the newest records, as one that was set back.
    """
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
            disk = table.nodes[victim].disk
            del disk[max(len(disk) - lost, 0) :]
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
    assert at >= 20


@pytest.mark.parametrize("lost", [1, 2, 3, 99])
def test_a_disk_set_back_between_any_two_effects_convicts_nobody(lost: int) -> None:
    """The node cannot know of it: no vote of its own is there to be shown to it."""
    for at in range(1, 100):
        table = run_with_crash(at, victim=1, lost=lost)
        if table is None:
            break
        assert table.settled, at
        assert all(len(signed) == 1 for signed in deals(table).values()), at
        assert [proven(table, node) for node in range(4)] == [[]] * 4, at
    else:
        pytest.fail("the crashes never came to the end of the run")
    assert at >= 20


def test_who_has_lost_journal_and_chain_deals_each_batch_again_as_it_was() -> None:
    table = Table(4)
    table.stock()
    for _ in range(BATCH // 2):
        table.roll()
    assert table.state.next_batch(0) == 2
    beacon, again = table._boot(0, ()), set[bytes]()
    state = BeaconState.genesis(table.context)
    for batch in range(2):
        beacon.finalized(state.fork(), table.now, block=bytes(32), wanted=True)
        for effect in beacon.advance(table.now):
            if isinstance(effect, Send) and effect.frame[0] == Number.DEAL:
                message = parse_frame(effect.frame)[1]
                assert isinstance(message, DealMessage)
                again.add(message.deal)
        # With something published another one is due at once.
        item = encode(certify(make_dealing(4, 0, batch), 4, (0, 1, 2), (3,)))
        assert state.add_certificate(item) is None
    assert again == deals(table)[0, 0] | deals(table)[0, 1]


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


def test_early_reveals_of_a_roll_that_is_settled_when_its_close_is_known_are_forgotten() -> None:
    table = Table(4)
    table.stock()
    for close in (True, False):
        state = table.state.fork()
        state.bind(table.hash)
        for item in table.nodes[0].beacon.items(state):
            table.apply(state, item)
        table.height += 1
        if close:
            state.close(table.height)
        table.adopt(state, late=(3,))
        table.run(100)
    assert len(table.settled) == 1
    assert len(table.nodes[3].beacon._early) == 3
    table.finalize_at(3)
    assert table.nodes[3].beacon._early == {}


def test_reveals_of_far_rolls_are_not_kept() -> None:
    table = Table(4)
    table.stock()
    beacon = table.nodes[0].beacon
    for roll in range(100):
        for holder in (1, 2, 3):
            payload = encode((0, roll, bytes(32), bytes(32), (bytes(32),) * 4))
            envelope = sign_envelope(table.signers[holder], Domain.REVEAL, CHAIN, payload)
            table.deliver(0, holder, frame(Number.REVEAL, envelope))
    assert sorted(beacon._early) == [(roll, j) for roll in range(8) for j in (1, 2, 3)]
    # They were lies; the roll opens all the same, and who lied is told of.
    assert table.roll(2_000) is not None
    assert {report.peer for report in table.nodes[0].reports} == {1, 2, 3}


def test_missing_reveals_are_asked_for_and_answered() -> None:
    table = Table(4)
    table.stock()
    # Node 0 hears node 1 alone at first, the others hear each other.
    table.spoil = lambda to, sender, data: (
        () if to == 0 and sender > 1 and data[0] == Number.REVEAL else (data,)
    )
    table.block(close=True)
    table.run(100)
    assert table.nodes[0].beacon.items(table.state) == ()
    table.spoil = lambda _to, _sender, data: (data,)
    table.run(500)
    assert len(table.nodes[0].beacon.items(table.state)) == 1
    asked = [(to, sender) for to, sender, data in table.sent if data[0] == Number.GET_REVEAL]
    assert asked == [(2, 0), (3, 0)]


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
    # As does one that closed with fewer dealers.
    fewer = BeaconState.genesis(table.context)
    for dealer in range(3):
        certificate = encode(certify(make_dealing(4, dealer), 4, range(4)))
        assert fewer.add_certificate(certificate) is None
    fewer.close(table.height)
    assert beacon.items(fewer) == ()
    assert isinstance(draft.settle(item), Settled)
    assert beacon.items(draft) == ()


def test_items_leave_room_for_the_rest_of_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(4)
    table.run(600)
    beacon = table.nodes[0].beacon
    items = beacon.items(table.state)
    assert len(items) == 4
    room = "consensus.beacon.ITEMS_BYTES_MAX"
    monkeypatch.setattr(room, sum(map(len, items[:2])))
    assert beacon.items(table.state) == items[:2]
    monkeypatch.setattr(room, 1)
    assert beacon.items(table.state) == items[:1]


def test_settles_take_the_room_of_a_block_before_certificates_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = Table(4)
    table.stock()
    table.block(close=True)
    table.block(close=True)
    table.run()
    for dealer in (1, 2, 3):
        item = encode(certify(make_dealing(4, dealer, batch=1), 4, range(4)))
        table.deliver(0, dealer, frame(Number.SYSTEM_ITEMS, SystemItems((item,))))
    beacon = table.nodes[0].beacon
    items = beacon.items(table.state)
    kinds_of = [item[1] for item in items]
    assert kinds_of == [1, 1, 1, SETTLE_KIND, SETTLE_KIND]
    for size, expected in (
        (1, items[3:4]),
        (sum(map(len, items[3:])), items[3:]),
        (sum(map(len, items[2:])), (items[0], *items[3:])),
        (sum(map(len, items)), items),
    ):
        monkeypatch.setattr("consensus.beacon.ITEMS_BYTES_MAX", size)
        assert beacon.items(table.state) == expected
