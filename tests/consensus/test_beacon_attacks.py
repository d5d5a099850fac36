"""PROTOCOL 11: each attack on joint dice that the design answers, A1 to A21, as one test.

The coalition is node 3 of 4 (or the last f of n): it knows its own shares and what is published,
sees everything first, and may send or keep back whatever it likes.
"""

import random
from collections.abc import Iterable, Sequence
from itertools import combinations, pairwise

import msgspec
import pytest

from consensus.beacon import Beacon, BeaconState, Settled, recompute_seed
from consensus.beacon_items import SETTLE_KIND, RollProof, Settle, check_counts
from consensus.beacon_rolls import RevealPayload
from consensus.beacon_state import PENDING_ROLLS_MAX, Place
from consensus.dealing import BATCH, Dealing, header_hash, open_box, open_text
from consensus.effects import Effect, Send
from consensus.encoding import DecodeError, decode_as, digest, encode
from consensus.evidence import OffenceKind
from consensus.messages import GetReveal, Number, RevealPaths, SystemItems, frame, parse_frame
from consensus.shamir import recover
from consensus.signing import Domain, parse_envelope, sign_envelope
from consensus.validators import ValidatorIndex, quorum
from tests.consensus.beacon_network import (
    CHAIN,
    Table,
    certify,
    condemn_secret,
    make_context,
    make_dealing,
    open_secret,
    proven,
    sign_ack,
    sign_deal,
    spoil,
)

REVEALS = (Number.REVEAL, Number.REVEAL_PATHS)


def closed(n: int = 4, seed: int = 1, without: Sequence[int] = ()) -> Table:
    """Return a table with a roll closed, whose members in `without` sent no reveal."""
    table = Table(n, seed)
    table.stock()
    table.spoil = lambda _to, sender, data: (
        () if sender in without and data[0] in REVEALS else (data,)
    )
    table.block(close=True)
    return table


def reveal_of(table: Table, holder: int) -> RevealPayload:
    data = next(
        data
        for _, sender, data in reversed(table.sent)
        if sender == holder and data[0] == Number.REVEAL
    )
    return decode_as(parse_envelope(data[1:]).payload, RevealPayload)


def signed_reveal(table: Table, holder: int, shares: Sequence[bytes]) -> bytes:
    truth = reveal_of(table, holder)
    payload = encode(msgspec.structs.replace(truth, shares=tuple(shares)))
    return frame(Number.REVEAL, sign_envelope(table.signers[holder], Domain.REVEAL, CHAIN, payload))


def settled(table: Table, ms: int = 5_000) -> Settled:
    table.run(ms)
    table.block()
    assert table.settled, "the roll did not open"
    return table.settled[0]


def deal_as(table: Table, dealing: Dealing, published: Sequence[int] = ()) -> str | None:
    """Let the coalition deal: the honest ack what they can check; say why the chain refuses."""
    n, dealer = table.n, dealing.header.dealer
    deal = sign_deal(dealing, n)
    ackers = [dealer]
    for holder in range(n):
        if holder != dealer and holder not in published:
            message = dealing.seal(holder, table.box_keys[holder], deal)
            assert message is not None
            before = len(table.sent)
            table.deliver(holder, dealer, frame(Number.DEAL, message))
            if any(data[0] == Number.ACK for _, _, data in table.sent[before:]):
                ackers.append(holder)
    state = table.state.fork()
    why = state.add_certificate(encode(certify(dealing, n, sorted(ackers), published)))
    if why is None:
        table.height += 1
        table.adopt(state)
    return why


def coalition(n: int) -> tuple[int, ...]:
    """Return the last f members."""
    return tuple(range(n - (n - 1) // 3, n))


# The whole: nothing that the coalition may choose changes a closed roll.


def play(n: int, trial: int) -> Settled:
    """Close the same roll as every trial, then let the coalition do what `trial` says."""
    table = Table(n)
    table.stock()
    traitors = coalition(n)
    dice = random.Random(trial)
    habits = {t: dice.choice(("honest", "silent", "liar", "moody")) for t in traitors}

    def spoil_reveal(_to: int, sender: int, data: bytes) -> Iterable[bytes]:
        if sender not in traitors or data[0] not in REVEALS:
            return (data,)
        habit = habits[sender]
        choice = dice.choice(("true", "none", "lie", "empty", "twice", "junk"))
        if habit != "moody":
            choice = {"honest": "true", "silent": "none", "liar": "lie"}[habit]
        if choice == "none":
            return ()
        if choice == "junk":
            return (data[:1] + bytes(dice.randbytes(20)),)
        if data[0] == Number.REVEAL and choice in ("lie", "empty"):
            shares = [
                b"" if choice == "empty" else dice.choice((share, bytes(32), dice.randbytes(31)))
                for share in decode_as(parse_envelope(data[1:]).payload, RevealPayload).shares
            ]
            return (signed_reveal(table, sender, [s.rjust(32, b"\0") if s else s for s in shares]),)
        return (data, data) if choice == "twice" else (data,)

    def deliverable(to: int, sender: int, data: bytes) -> Sequence[bytes]:
        return [spoiled for spoiled in spoil_reveal(to, sender, data) if is_frame(spoiled)]

    table.spoil = deliverable
    table.jitter_ms = dice.choice((0, 50, 500))
    table.block(close=True)
    for _ in range(dice.randrange(4)):
        # Meanwhile blocks come, whose makers the coalition may be, and other rolls close.
        table.run(dice.randrange(100))
        if dice.random() < 0.5 and not table.settled:
            table.block(dice.choice(traitors), close=dice.random() < 0.5)
    table.run(20_000)
    honest = [i for i in range(n) if i not in traitors]
    if not table.settled:
        table.block(dice.choice(honest))
    for settled_roll in table.settled:
        if settled_roll.roll == 0:
            return settled_roll
    pytest.fail(f"trial {trial}: the roll did not open")


def is_frame(data: bytes) -> bool:
    try:
        parse_frame(data)
    except DecodeError:
        return False
    return True


@pytest.mark.parametrize(("n", "trials"), [(4, 60), (7, 25)])
def test_a_coalition_of_f_that_does_as_it_likes_cannot_change_the_seed(n: int, trials: int) -> None:
    played = [play(n, trial) for trial in range(trials)]
    assert len({(roll.seed, roll.proof) for roll in played}) == 1


# Attack by attack.


def faulty_table(wrong_at: int) -> Table:
    """Return a closed roll in which dealer 3's secret 0 is wrong at one holder."""
    table = Table(4)
    table.crash(3)
    dealing = make_dealing(4, 3)
    spoil(dealing, 0, wrong_at, bytes(32))
    assert deal_as(table, dealing) is None
    table.run(600)
    table.block()
    table.block(close=True)
    return table


@pytest.mark.parametrize("wrong_at", [0, 1, 2, 3])
def test_a1_a_dealing_that_is_no_sharing_opens_to_none_at_every_node(wrong_at: int) -> None:
    table = faulty_table(wrong_at)
    table.run(10_000)
    draft = table.state.fork()
    draft.bind(table.hash)
    results = set()
    for node in table.nodes[:3]:
        [item] = [item for item in node.beacon.items(draft) if item[1] == SETTLE_KIND]
        result = draft.fork().settle(item)
        assert isinstance(result, Settled)
        results.add(result.proof)
    [proof] = results
    secrets = decode_as(proof, RollProof).secrets
    assert {s.dealer for s in secrets if not s.secret} == {3}
    assert kinds_sent(table) >= {Number.GET_REVEAL, Number.REVEAL_PATHS}
    table.block()
    assert table.state.is_faulty(3)
    # The coalition's own dealing was all it cost: the next roll is without it and takes no detour.
    table.sent.clear()
    assert table.roll() is not None
    assert kinds_sent(table) == {Number.REVEAL}


def kinds_sent(table: Table) -> set[Number]:
    return {Number(data[0]) for _, _, data in table.sent}


def test_a2_whose_secrets_count_is_fixed_before_any_share_is_seen() -> None:
    table = closed()
    [pending] = table.state.pending
    places = pending.places
    assert places == tuple(Place(dealer, 0, 0) for dealer in range(4))
    # Whatever comes later, and whoever answers first, the roll is of these secrets, of all of them.
    state = table.state.fork()
    state.bind(table.hash)
    for dealer in range(4):
        ackers = range(4)
        item = encode(certify(make_dealing(4, dealer, batch=1), 4, ackers))
        assert state.add_certificate(item) is None
    assert state.pending[0].places == places
    table.run()
    [item] = table.nodes[0].beacon.items(state)
    openings = decode_as(item, Settle).openings
    for kept in (k for size in range(4) for k in combinations(openings, size)):
        if kept:
            assert isinstance(state.fork().settle(encode(Settle(2, 0, kept))), str)
    result = state.settle(item)
    assert isinstance(result, Settled)
    assert len(decode_as(result.proof, RollProof).secrets) == 4


def test_a3_no_share_leaves_before_the_close_is_final_whatever_is_asked_or_shown() -> None:
    revealed: list[int] = []

    def watch(node: int, effect: Effect) -> None:
        if isinstance(effect, Send) and effect.frame[0] in REVEALS:
            revealed.append(node)

    table = Table(4, watch=watch)
    table.stock()
    # A block closes; it is proposed, voted on, built upon, and not final.
    tip = table.state.fork()
    tip.bind(table.hash)
    tip.close(table.height + 1)
    for node in table.nodes:
        node.beacon.items(tip)
    tip.bind(digest("block", b"tip"))
    for node in table.nodes:
        node.beacon.items(tip)
    for to in range(4):
        for paths in (0, 1):
            table.deliver(to, (to + 1) % 4, frame(Number.GET_REVEAL, GetReveal(0, 0, paths)))
        # A traitor reveals, as if it were final.
        close_hash = tip.pending[0].close_hash
        payload = encode(RevealPayload(0, 0, close_hash, bytes(32), (bytes(32),) * 4))
        lie = sign_envelope(table.signers[3], Domain.REVEAL, CHAIN, payload)
        if to != 3:
            table.deliver(to, 3, frame(Number.REVEAL, lie))
    table.run(60_000)
    # That block is skipped; another one without a close becomes final.
    table.block()
    table.run(60_000)
    assert revealed == []
    # A close that is final is another matter.
    table.block(close=True)
    assert sorted(revealed) == [0, 1, 2, 3]


def test_a4_the_block_that_settles_has_no_say() -> None:
    seeds = set()
    for proposer in range(4):
        for blocks in range(3):
            table = closed()
            for _ in range(blocks):
                table.run(1)
                table.block()
            table.run()
            table.block(proposer)
            seeds.add(table.settled[0].seed)
    assert len(seeds) == 1


def test_a5_whichever_certificates_are_ordered_an_honest_secret_is_in_every_roll() -> None:
    items = [encode(certify(make_dealing(4, dealer), 4, range(4))) for dealer in range(4)]
    for count in range(5):
        for chosen in combinations(items, count):
            state = BeaconState.genesis(make_context(4))
            for item in chosen:
                assert state.add_certificate(item) is None
            assert state.can_close() == (count >= 3)
            if state.can_close():
                state.close(1)
                dealers = {place.dealer for place in state.pending[0].places}
                assert len(dealers) == count
                for traitor in range(4):
                    assert dealers - {traitor}
    for n in range(1, 129):
        assert quorum(n) - (n - 1) // 3 >= 1


def test_a6_a_copied_dealing_is_acked_by_nobody_and_equal_secrets_do_not_cancel() -> None:
    table = Table(4, wanted=False)
    original = make_dealing(4, 0)
    copy = make_dealing(4, 3)
    copy.shares, copy.leaves = original.shares, original.leaves
    copy._trees, copy._roots = original._trees, original._roots
    copy.header = msgspec.structs.replace(copy.header, root=original.header.root)
    assert deal_as(table, copy) is not None
    assert [len(node.reports) for node in table.nodes] == [1, 1, 1, 0]
    # An ack of the original says nothing about the copy.
    acks = tuple(sign_ack(original, 4, holder) for holder in range(4))
    stolen = msgspec.structs.replace(certify(copy, 4, range(4)), signatures=acks)
    assert table.state.fork().add_certificate(encode(stolen)) is not None
    # And were both in a roll, the seed would still be a hash of both.
    secret = bytes(32)
    proofs = [
        encode(RollProof(CHAIN, 0, 0, bytes(32), tuple((d, 0, 0, secret) for d in dealers)))  # type: ignore[misc]
        for dealers in ((0, 3), (0,), (3,), (3, 0))
    ]
    assert len({recompute_seed(proof) for proof in proofs}) == 4


def test_a7_knowing_the_seed_early_helps_nobody_to_change_it() -> None:
    table = closed(without=(0, 1, 2))
    # The coalition has what all sent, the others have nothing yet.
    state = table.state.fork()
    state.bind(table.hash)
    for _, sender, data in list(table.sent):
        if sender != 3 and data[0] == Number.REVEAL:
            table.deliver(3, sender, data)
    [item] = table.nodes[3].beacon.items(state)
    foreseen = state.fork().settle(item)
    assert isinstance(foreseen, Settled)
    # It orders dealings, closes other rolls, lets blocks pass.
    for dealer in range(4):
        certificate = encode(certify(make_dealing(4, dealer, batch=1), 4, range(4)))
        assert state.add_certificate(certificate) is None
    for height in range(50, 60):
        state.close(height)
        state.bind(digest("block", bytes((height,))))
    result = state.settle(item)
    assert isinstance(result, Settled)
    assert (result.seed, result.height) == (foreseen.seed, foreseen.height)


@pytest.mark.parametrize("n", [4, 7, 16])
def test_a8_what_f_traitors_and_the_published_know_fits_every_secret(n: int) -> None:
    context = make_context(n)
    t, traitors = context.t, coalition(n)
    published = tuple(range(len(traitors)))
    acks = [j for j in range(n) if j not in published]
    assert check_counts(context, acks, published) is None
    dealing = make_dealing(n, 0)
    known = published + traitors
    assert len(known) == t - 1
    # Whatever the next holder's share may be, there is one secret for it, another one for each.
    values = [int.from_bytes(dealing.shares[0][j], "big") for j in known]
    honest = next(j for j in range(n) if j not in known)
    order = sorted((*known, honest))
    secrets = [
        recover(tuple(order), [{**dict(zip(known, values, strict=True)), honest: g}[j]
                               for j in order], n)[0]
        for g in range(20)
    ]  # fmt: skip
    assert len(set(secrets)) == 20
    steps = {(b - a) % (2**255 - 19) for a, b in pairwise(secrets)}
    assert len(steps) == 1
    assert steps != {0}


def test_a8_f_plus_1_members_that_pool_their_shares_open_nothing() -> None:
    table = closed()
    state = table.state.fork()
    state.bind(table.hash)
    table.run()
    [item] = table.nodes[0].beacon.items(state)
    settle = decode_as(item, Settle)
    for opening in settle.openings:
        few = msgspec.structs.replace(opening, holders=b"\x0c", shares=opening.shares[:64])
        spoiled = msgspec.structs.replace(settle, openings=(few,) * 4)
        assert isinstance(state.settle(encode(spoiled)), str)
    # Nor do their machines: two reveals are all that nodes 2 and 3 hear.
    pooled = closed(without=(0, 1))
    pooled.run(3_600_000)
    assert pooled.nodes[3].beacon.items(pooled.state) == ()


def test_a9_a_withheld_roll_waits_and_opens_to_what_it_was() -> None:
    expected = settled(closed())
    table = closed(without=(2, 3))
    for _ in range(30):
        table.run(3_600_000)
        table.block(0)
    assert table.settled == []
    assert [roll.roll for roll in table.state.pending] == [0]
    for i in range(4):
        table.restart(i)
    table.spoil = lambda _to, sender, data: () if sender == 3 and data[0] in REVEALS else (data,)
    assert settled(table, 120_000) == expected


def test_a10_nothing_but_its_settle_ends_a_roll() -> None:
    expected = settled(closed())
    table = closed(without=(2, 3))
    table.wanted = False
    # The dealings run out, every further roll waits as well, and nothing takes their place.
    for _ in range(PENDING_ROLLS_MAX - 1):
        assert table.state.can_close()
        table.block(close=True)
    assert not table.state.can_close()
    with pytest.raises(AssertionError):
        table.state.fork().close(10_000)
    table.state = BeaconState.from_leaves(table.context, table.state.leaves())
    assert [roll.roll for roll in table.state.pending] == list(range(PENDING_ROLLS_MAX))
    table.spoil = lambda _to, _sender, data: (data,)
    table.run(120_000)
    table.block()
    assert [s.roll for s in table.settled] == list(range(PENDING_ROLLS_MAX))
    assert table.settled[0] == expected
    assert not table.state.can_close()
    assert [table.state.dealings(dealer) for dealer in range(4)] == [()] * 4


@pytest.mark.parametrize("n", [4, 5, 7, 16])
def test_a11_f_members_that_acked_and_lost_their_shares_are_not_needed(n: int) -> None:
    table = Table(n)
    table.stock()
    for i in coalition(n):
        table.crash(i)
    assert table.roll() is not None


def test_a12_a_dealer_cannot_leave_out_a_holder_without_publishing_its_shares() -> None:
    dealing = make_dealing(4, 3)
    deal = sign_deal(dealing, 4)
    table = Table(4)
    for holder in (1, 2):
        message = dealing.seal(holder, table.box_keys[holder], deal)
        assert message is not None
        table.deliver(holder, 3, frame(Number.DEAL, message))
    state = table.state.fork()
    assert state.add_certificate(encode(certify(dealing, 4, (1, 2, 3)))) is not None
    assert state.add_certificate(encode(certify(dealing, 4, (2, 3), (1,)))) is not None
    assert state.add_certificate(encode(certify(dealing, 4, (1, 2, 3), (0,)))) is None
    # What was published for it serves it, and everybody, as well as a box.
    left_out = Table(4)
    left_out.crash(3)
    assert deal_as(left_out, make_dealing(4, 3), published=(0,)) is None
    left_out.run(600)
    left_out.block()
    left_out.block(close=True)
    left_out.run()
    assert left_out.nodes[0].beacon.items(left_out.state)


def test_a13_starving_members_of_their_boxes_gives_no_more_than_one_share_too_few() -> None:
    for starved in range(8):

        def starve(to: int, _sender: int, data: bytes, starved: int = starved) -> Sequence[bytes]:
            return () if to < starved and data[0] == Number.DEAL else (data,)

        table = Table(7, spoil=starve)
        table.run(5_000)
        published = {
            len(table.context.check_certificate(item).dealt.published)  # type: ignore[union-attr]
            for _, _, data in table.sent
            if data[0] == Number.SYSTEM_ITEMS
            for item in decode_as(data[1:], SystemItems).items
        }
        f, t = 2, 5
        assert all(count + f < t for count in published)
        # With more than f starved there are no dealings; nothing weaker takes their place.
        assert bool(published) == (starved <= 3)


def test_a14_shares_acks_and_certificates_die_with_their_epoch() -> None:
    dealing = make_dealing(4, 0)
    item = encode(certify(dealing, 4, range(4)))
    assert BeaconState.genesis(make_context(4)).add_certificate(item) is None
    later = make_context(4, epoch=1)
    assert BeaconState.genesis(later).add_certificate(item) is not None
    renamed = msgspec.structs.replace(dealing.header, epoch=1)
    assert isinstance(open_text(CHAIN, renamed, 1, 4, dealing.text(1)), str)
    signature = sign_ack(dealing, 4, 1)
    assert later.check_ack(dealing.header, 1, signature)
    assert not later.check_ack(renamed, 1, signature)
    # A machine of the next epoch does not even read what the journal holds of the last.
    table = Table(4)
    table.stock()
    beacon = Beacon(
        later,
        ValidatorIndex(0),
        table.signers[0],
        table.box_secrets[0],
        table.box_keys,
        table.nodes[0].disk,
    )
    assert (beacon._stored, beacon._held) == ({}, {})
    beacon.finalized(BeaconState.genesis(later), table.now, block=bytes(32), wanted=False)
    assert beacon.advance(table.now) == []


def test_a15_each_dealing_has_a_key_of_its_own_and_few_secrets() -> None:
    assert BATCH <= 256
    dealings = [make_dealing(4, d, b) for d in range(4) for b in range(3)]
    table = Table(4, wanted=False)
    messages = [d.seal(1, table.box_keys[1], sign_deal(d, 4)) for d in dealings]
    ephemerals = {message.ephemeral for message in messages if message is not None}
    assert len(ephemerals) == len(dealings)
    # With the secret of one member nothing for another opens.
    to_another = dealings[0].seal(2, table.box_keys[2], sign_deal(dealings[0], 4))
    assert to_another is not None
    name = header_hash(encode(dealings[0].header))
    assert open_box(to_another, name, table.box_secrets[1]) is None


def test_a16_no_two_rolls_share_an_index_not_even_one_that_never_opened() -> None:
    table = closed(without=(1, 2, 3))
    places: list[Place] = list(table.state.pending[0].places)
    table.spoil = lambda _to, sender, data: (
        () if data[0] in REVEALS and sender and table.random.random() < 0.7 else (data,)
    )
    for _ in range(3 * BATCH // 2):
        if table.state.can_close():
            table.block(close=True)
            places.extend(table.state.pending[-1].places)
        table.run(300)
        table.block()
    assert len(places) > 5 * BATCH
    assert len(places) == len(set(places))


@pytest.mark.parametrize("n", [4, 7])
def test_a17_wrong_shares_are_dropped_and_asked_for_again_with_their_paths(n: int) -> None:
    table = Table(n)
    table.stock()
    traitors = coalition(n)

    def lie(to: int, sender: int, data: bytes) -> Sequence[bytes]:
        if data[0] == Number.REVEAL and sender in traitors:
            shares = reveal_of(table, sender).shares
            return (signed_reveal(table, sender, [share[::-1] for share in low(shares)]),)
        # Honest reveals come late, so that the lies are among the first t.
        if data[0] == Number.REVEAL and (to + sender) % n < n // 2:
            return ()
        return (data,)

    table.spoil = lie
    table.block(close=True)
    table.run(60_000)
    honest = [i for i in range(n) if i not in traitors]
    for i in honest:
        assert table.nodes[i].beacon.items(table.state), f"node {i} did not open the roll"
    assert Number.REVEAL_PATHS in kinds_sent(table)
    for i in honest:
        assert proven(table, i) == [(traitor, OffenceKind.FALSE_SHARE) for traitor in traitors]
        assert {report.peer for report in table.nodes[i].reports} <= set(traitors)


def low(shares: Sequence[bytes]) -> list[bytes]:
    """Return shares that are still field elements when reversed."""
    return [share[:-1] + bytes((share[-1] & 0x3F,)) for share in shares]


def test_a17_a_roll_opens_although_paths_get_lost_and_liars_prove_nothing() -> None:
    for trial in range(10):
        table = Table(4, seed=trial)
        table.stock()

        def lie(_to: int, sender: int, data: bytes, table: Table = table) -> Sequence[bytes]:
            if data[0] == Number.REVEAL and sender == 3:
                shares = reveal_of(table, 3).shares
                return (signed_reveal(table, 3, [share[::-1] for share in low(shares)]),)
            if data[0] == Number.REVEAL_PATHS and sender == 3:
                record = decode_as(data[1:], RevealPaths)
                return (data[:1] + encode(msgspec.structs.replace(
                    record, paths=tuple(reversed(record.paths))
                )),)  # fmt: skip
            return (data,) * (table.random.random() < 0.5)

        table.spoil = lie
        table.block(close=True)
        table.run(60_000)
        assert all(table.nodes[i].beacon.items(table.state) for i in range(3)), trial


@pytest.mark.parametrize("index", [0, 1])
def test_a18_a_dealing_bad_at_a_traitor_only_gives_one_verdict_on_every_way(index: int) -> None:
    dealing = make_dealing(4, 3)
    spoil(dealing, index, 3, bytes(32))
    context = make_context(4)
    state = BeaconState.genesis(context)
    assert state.add_certificate(encode(certify(dealing, 4, range(4)))) is None
    for dealer in range(3):
        item = encode(certify(make_dealing(4, dealer), 4, range(4)))
        assert state.add_certificate(item) is None
    for height in range(index + 1):
        state.close(height + 1)
        state.bind(digest("block", bytes((height,))))
    verdicts = set()
    for holders in combinations(range(4), 3):
        openings = tuple(
            condemn_secret(dealing, index, holders)
            if place.dealer == 3
            else open_secret(make_dealing(4, place.dealer), index, holders)
            for place in state.pending[index].places
        )
        result = state.fork().settle(encode(Settle(2, index, openings)))
        assert isinstance(result, Settled), (holders, result)
        verdicts.add(result.seed)
        good = (*openings[:3], open_secret(dealing, index, holders))
        assert isinstance(state.fork().settle(encode(Settle(2, index, good))), str)
    assert len(verdicts) == 1
    # A reveal has one share of each secret, not one of their sum.
    table = closed()
    assert len(reveal_of(table, 0).shares) == 4


def test_a19_a_partition_delays_a_roll_and_no_more() -> None:
    expected = settled(closed())
    table = Table(4)
    table.stock()
    table.spoil = lambda to, sender, data: (data,) if to // 2 == sender // 2 else ()
    table.block(close=True)
    table.run(600_000)
    assert all(node.beacon.items(table.state) == () for node in table.nodes)
    table.spoil = lambda to, sender, data: (data,) if 3 not in (to, sender) else ()
    assert settled(table, 120_000) == expected


def test_a20_shares_of_one_close_do_not_open_another_of_the_same_number() -> None:
    table = Table(4)
    table.stock()
    state = table.state.fork()
    state.bind(table.hash)
    state.close(table.height + 1)
    # More than f traitors made two blocks final; one half of the table follows each.
    names = {0: digest("block", b"left"), 1: digest("block", b"right")}
    for i, node in enumerate(table.nodes):
        node.beacon.finalized(state, table.now, block=names[i // 2], wanted=True)
        table.perform(i)
    table.run(60_000)
    assert all(node.beacon.items(state) == () for node in table.nodes)
    assert {r.fault for node in table.nodes for r in node.reports} == {
        "a reveal of roll 0 behind another block"
    }


@pytest.mark.parametrize("n", [2, 3])
def test_a21_of_two_or_three_all_must_answer_and_a_roll_waits_for_them(n: int) -> None:
    assert make_context(n).t == n
    expected = settled(closed(n))
    table = closed(n, without=(n - 1,))
    for _ in range(5):
        table.run(3_600_000)
        # Who has all shares may settle; the others wait for the one that is silent.
        for i in range(n - 1):
            assert table.nodes[i].beacon.items(table.state) == ()
    table.spoil = lambda _to, _sender, data: (data,)
    assert settled(table, 120_000) == expected
    # Nor is anything dealt while one is away.
    alone = Table(n)
    alone.crash(0)
    alone.run(600_000)
    alone.block()
    assert not alone.state.can_close()
