"""PROTOCOL 11.3: dealings on the chain, rolls that the close fixes, settles that prove themselves."""

from itertools import combinations, product

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from consensus.beacon import BeaconState, Settled, recompute_seed
from consensus.beacon_items import (
    DealCertificate,
    Opening,
    RollProof,
    Settle,
    check_counts,
)
from consensus.beacon_state import (
    PENDING_ROLLS_MAX,
    UNUSED_BATCHES_MAX,
    Place,
    Stock,
)
from consensus.dealing import BATCH, Dealing
from consensus.encoding import DecodeError, decode_as, digest, encode
from consensus.shamir import PRIME, recover
from consensus.validators import quorum
from tests.consensus.beacon_network import (
    CHAIN,
    certify,
    condemn_secret,
    make_context,
    make_dealing,
    open_secret,
    spoil,
)

CLOSE = digest("block", b"close")
replace = msgspec.structs.replace


class Chain:
    """A state with everybody's first dealing on it, and the dealers' knowledge to open rolls."""

    def __init__(self, n: int, *, dealers: int | None = None) -> None:
        self.n = n
        self.context = make_context(n)
        self.t = quorum(n)
        self.dealings: dict[tuple[int, int], Dealing] = {}
        self.state = BeaconState.genesis(self.context)
        for dealer in range(n if dealers is None else dealers):
            assert self.add(make_dealing(n, dealer)) is None

    def add(self, dealing: Dealing, published: tuple[int, ...] = ()) -> str | None:
        self.dealings[dealing.header.dealer, dealing.batch] = dealing
        ackers = [j for j in range(self.n) if j not in published]
        return self.state.add_certificate(encode(certify(dealing, self.n, ackers, published)))

    def close(self, height: int = 1, close_hash: bytes = CLOSE) -> int:
        roll = self.state.close(height)
        self.state.bind(close_hash)
        return roll

    def open(self, place: Place, holders: tuple[int, ...] | None = None) -> Opening:
        dealing = self.dealings[place.dealer, place.batch]
        return open_secret(dealing, place.index, holders or tuple(range(self.t)))

    def settle_item(self, roll: int, holders: tuple[int, ...] | None = None) -> Settle:
        pending = next(p for p in self.state.pending if p.roll == roll)
        return Settle(2, roll, tuple(self.open(place, holders) for place in pending.places))

    def fork(self, *, fresh: bool = False) -> "Chain":
        """Return the same chain, seen by somebody who has verified nothing yet if `fresh`."""
        twin = Chain.__new__(Chain)
        twin.__dict__.update(self.__dict__)
        if fresh:
            twin.context = make_context(self.n)
            twin.state = BeaconState.from_leaves(twin.context, self.state.leaves())
        else:
            twin.state = self.state.fork()
        return twin

    def settle(self, roll: int, holders: tuple[int, ...] | None = None) -> Settled | str:
        return self.state.settle(encode(self.settle_item(roll, holders)))


def settled(chain: Chain, roll: int) -> Settled:
    result = chain.settle(roll)
    assert isinstance(result, Settled), result
    return result


# Certificates.


def test_a_certificate_with_every_ack_is_taken() -> None:
    chain = Chain(4)
    assert [chain.state.stock(d) for d in range(4)] == [Stock(1, BATCH, published=False)] * 4


@pytest.mark.parametrize(
    ("n", "ackers", "published", "why"),
    [
        (4, (0, 1, 2, 3), (), None),
        (4, (0, 1, 2), (3,), None),
        (4, (0, 1, 2), (), "3 acks and 0 published; 4 together are needed"),
        (4, (0, 1), (2,), "2 acks; 3 are needed"),
        (4, (0, 1, 2), (2,), "a share is published of a holder that acked"),
        (4, (0, 1, 2, 3), (3,), "a share is published of a holder that acked"),
        (5, (0, 1, 2, 3), (4,), None),
        (5, (0, 1, 2, 3), (), "4 acks and 0 published; 5 together are needed"),
        (7, (0, 1, 2, 3, 4), (5, 6), None),
        (7, (0, 1, 2, 3, 4), (5,), "5 acks and 1 published; 7 together are needed"),
        (7, (0, 1, 2, 3, 4, 5), (6,), None),
        (7, (0, 1, 2, 3), (4, 5, 6), "4 acks; 5 are needed"),
        (1, (0,), (), None),
        (2, (0, 1), (), None),
        (2, (0,), (1,), "1 acks; 2 are needed"),
        (3, (0, 1), (2,), "2 acks; 3 are needed"),
    ],
)
def test_who_acks_and_whose_shares_are_published_decide_together(
    n: int, ackers: tuple[int, ...], published: tuple[int, ...], why: str | None
) -> None:
    state = BeaconState.genesis(make_context(n))
    item = encode(certify(make_dealing(n, 0), n, ackers, published))
    assert state.add_certificate(item) == why


def test_the_bound_on_published_shares_stands_by_itself() -> None:
    # With t = q the other rules imply it; it is what secrecy rests on, so it is checked all the same.
    why = check_counts(make_context(4), (0, 1, 2), (3, 4))
    assert why == "shares of 2 holders are published; at most 1"


@pytest.mark.parametrize("n", range(1, 129))
def test_f_traitors_never_know_t_shares_and_never_hold_back_the_last(n: int) -> None:
    context = make_context(n)
    f, q, t = context.validators.f, context.validators.q, context.t
    assert t == q
    certified = 0
    for acks, published in product(range(n + 1), range(n // 2 + 1)):
        ackers = range(min(acks, n - published))
        if check_counts(context, ackers, range(n - published, n)) is None:
            certified += 1
            assert published + f < t
            assert len(ackers) - f + published >= t
            assert len(ackers) >= q
    assert certified
    # It can always be had: all ack, or f are away.
    assert check_counts(context, range(n), ()) is None
    assert check_counts(context, range(n - f), range(n - f, n)) is None


def test_thresholds_are_those_of_the_design() -> None:
    contexts = {n: make_context(n) for n in (1, 2, 3, 4, 5, 6, 7, 16, 31, 64)}
    assert {n: c.t for n, c in contexts.items()} == {
        1: 1, 2: 2, 3: 3, 4: 3, 5: 4, 6: 5, 7: 5, 16: 11, 31: 21, 64: 43
    }  # fmt: skip
    assert {n: c.published_max for n, c in contexts.items()} == {
        1: 0, 2: 1, 3: 2, 4: 1, 5: 2, 6: 3, 7: 2, 16: 5, 31: 10, 64: 21
    }  # fmt: skip


def spoiled_certificates() -> dict[str, DealCertificate]:
    """Return certificates that are wrong in one place each."""
    good = certify(make_dealing(4, 0), 4, (0, 1, 2), (3,))
    full = certify(make_dealing(4, 0), 4, (0, 1, 2, 3))
    other = certify(make_dealing(4, 1), 4, (0, 1, 2), (3,))
    first, second, third = good.signatures
    return {
        "an ack of another dealing": replace(good, signatures=(first, second, other.signatures[2])),
        "acks in another order": replace(good, signatures=(second, first, third)),
        "one ack twice": replace(good, signatures=(first, first, third)),
        "an ack too few": replace(good, signatures=(first, second)),
        "an ack too many": replace(good, signatures=(first, second, third, third)),
        "other ackers": replace(good, ackers=b"\x0b", published=b"\x04"),
        "ackers out of range": replace(good, ackers=b"\x17"),
        "published out of range": replace(good, published=b"\x18"),
        "a longer bitmap": replace(good, ackers=b"\x07\x00"),
        "another's header": replace(good, deal=other.deal),
        "another's published shares": replace(good, grid=other.grid),
        "no published shares": replace(good, grid=b""),
        "published shares of nobody": replace(full, grid=good.grid),
        "a published share changed": replace(good, grid=good.grid[:-1] + bytes((1,))),
        "a broken header": replace(good, deal=good.deal[:-1]),
        "a header with another signature": replace(good, deal=good.deal[:-64] + bytes(64)),
        "another epoch": certify(make_dealing(4, 0, epoch=1), 4, (0, 1, 2, 3)),
        "an unknown dealer": replace(good, deal=certify(make_dealing(16, 9), 16, ()).deal),
        "another kind": replace(good, kind=2),
    }


@pytest.mark.parametrize("how", spoiled_certificates())
def test_a_certificate_that_is_wrong_somewhere_is_refused(how: str) -> None:
    state = BeaconState.genesis(make_context(4))
    root = state.root()
    assert state.add_certificate(encode(spoiled_certificates()[how])) is not None
    assert (state.root(), state.can_close()) == (root, False)


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_a_certificate_with_any_changed_bit_is_refused(data: st.DataObject) -> None:
    item = bytearray(encode(certify(make_dealing(4, 0), 4, (0, 1, 2), (3,))))
    bit = data.draw(st.integers(0, 8 * len(item) - 1))
    item[bit // 8] ^= 1 << bit % 8
    assert BeaconState.genesis(make_context(4)).add_certificate(bytes(item)) is not None


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_bytes_that_are_no_item_are_refused(item: bytes) -> None:
    chain = Chain(1)
    chain.close()
    assert isinstance(chain.state.add_certificate(item), str)
    assert isinstance(chain.state.settle(item), str)


def test_batches_of_a_dealer_come_in_order_and_two_at_most_are_unused() -> None:
    assert UNUSED_BATCHES_MAX == 2
    chain = Chain(4)
    assert chain.add(make_dealing(4, 0, batch=2)) == "batch 2 of dealer 0, whose next is 1"
    assert chain.add(make_dealing(4, 0, batch=0)) == "batch 0 of dealer 0, whose next is 1"
    assert chain.add(make_dealing(4, 0, batch=1)) is None
    why = "dealer 0 has 2 unused batches; the limit is 2"
    assert chain.add(make_dealing(4, 0, batch=2)) == why
    for height in range(1, BATCH + 1):
        assert chain.add(make_dealing(4, 0, batch=2)) == why
        settled(chain, chain.close(height))
    assert chain.add(make_dealing(4, 0, batch=2)) is None


# What the close fixes.


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 16, 31])
def test_every_usable_dealer_is_in_every_roll_and_t_are_needed(n: int) -> None:
    t = quorum(n)
    for dealers in sorted({t - 1, t, n}):
        chain = Chain(n, dealers=dealers)
        assert chain.state.can_close() == (dealers >= t)
        if dealers >= t:
            chain.close()
            places = chain.state.pending[0].places
            assert places == tuple(Place(dealer, 0, 0) for dealer in range(dealers))


def test_closing_without_t_dealers_is_a_fault_of_the_caller() -> None:
    with pytest.raises(AssertionError, match="t usable dealers"):
        Chain(4, dealers=2).state.close(1)


def test_more_than_31_dealers_take_turns() -> None:
    n, t = 32, quorum(32)
    chain = Chain(n)
    for height in range(1, 40):
        roll = chain.close(height)
        places = chain.state.pending[0].places
        assert [p.dealer for p in places] == [(roll + i) % n for i in range(t)]
        settled(chain, roll)


def test_dealers_that_are_not_usable_lose_their_turn_to_the_next() -> None:
    n, t = 32, quorum(32)
    chain = Chain(n, dealers=n - 3)
    for height in range(1, 40):
        roll = chain.close(height)
        turn = [(roll + i) % n for i in range(n) if (roll + i) % n < n - 3]
        assert [p.dealer for p in chain.state.pending[0].places] == turn[:t]
        settled(chain, roll)


def test_an_index_serves_one_roll_whatever_becomes_of_it() -> None:
    chain = Chain(4)
    for dealer in range(4):
        assert chain.add(make_dealing(4, dealer, batch=1)) is None
    used: set[Place] = set()
    for height in range(1, 2 * BATCH + 1):
        roll = chain.close(height)
        places = chain.state.pending[-1].places
        assert used.isdisjoint(places)
        used.update(places)
        if len(chain.state.pending) > 5:
            settled(chain, chain.state.pending[roll % 5].roll)
    assert used == {Place(d, b, k) for d in range(4) for b in range(2) for k in range(BATCH)}
    assert not chain.state.can_close()


def test_dealings_with_fewest_published_shares_come_first_then_the_oldest() -> None:
    chain = Chain(4, dealers=0)
    for dealer in range(4):
        assert chain.add(make_dealing(4, dealer, batch=0), () if dealer else (3,)) is None
        assert chain.add(make_dealing(4, dealer, batch=1)) is None
    batches = []
    for height in range(1, 2 * BATCH + 1):
        roll = chain.close(height)
        batches.append(tuple(place.batch for place in chain.state.pending[0].places))
        settled(chain, roll)
    assert batches == [(1, 0, 0, 0)] * BATCH + [(0, 1, 1, 1)] * BATCH


def test_only_so_many_rolls_wait_and_closing_resumes_when_one_is_settled() -> None:
    chain = Chain(4)
    for dealer in range(4):
        assert chain.add(make_dealing(4, dealer, batch=1)) is None
    for height in range(1, PENDING_ROLLS_MAX + 1):
        assert chain.state.can_close()
        chain.close(height)
    assert not chain.state.can_close()
    settled(chain, 0)
    assert chain.state.can_close()


def test_one_block_closes_one_roll() -> None:
    chain = Chain(4)
    chain.close(5)
    with pytest.raises(AssertionError, match="two closes at height 5"):
        chain.state.close(5)


def test_the_block_that_closed_is_named_once() -> None:
    chain = Chain(4)
    assert chain.state.close(7) == 0
    assert (chain.state.pending[0].height, chain.state.pending[0].close_hash) == (7, b"")
    chain.state.bind(CLOSE)
    chain.state.bind(digest("block", b"another"))
    assert chain.state.pending[0].close_hash == CLOSE


# Settles.


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 16])
def test_a_settle_gives_the_seed_of_all_secrets_by_the_published_recipe(n: int) -> None:
    chain = Chain(n)
    result = settled(chain, chain.close(3))
    assert (result.roll, result.height) == (0, 3)
    assert recompute_seed(result.proof) == result.seed
    assert chain.state.pending == ()
    # The recipe, written out without this project's records.
    secrets = []
    for dealer in range(n):
        row = chain.dealings[dealer, 0].shares[0]
        values = [int.from_bytes(share, "big") for share in row]
        secret, _ = recover(tuple(range(chain.t)), values[: chain.t], n)
        secrets.append((dealer, 0, 0, secret.to_bytes(32, "big")))
    assert result.proof == encode((CHAIN, 0, 0, CLOSE, tuple(secrets)))
    assert result.seed == digest("roll", result.proof)


def test_a_proof_that_is_none_gives_no_seed() -> None:
    chain = Chain(1)
    proof = settled(chain, chain.close()).proof
    for wrong in (b"", proof[:-1], proof + b"\0", b"\x81\x00"):
        with pytest.raises(DecodeError):
            recompute_seed(wrong)


def test_rolls_are_settled_in_any_order() -> None:
    chain = Chain(4)
    rolls = [chain.close(height) for height in (1, 2, 3)]
    seeds = {roll: settled(chain.fork(), roll).seed for roll in rolls}
    assert {roll: settled(chain, roll).seed for roll in reversed(rolls)} == seeds
    assert len(set(seeds.values())) == 3


def test_no_settle_comes_twice_or_before_its_close_has_a_name() -> None:
    chain = Chain(4)
    chain.state.close(1)
    item = encode(chain.settle_item(0))
    assert chain.state.settle(item) == "roll 0 does not wait for a settle"
    chain.state.bind(CLOSE)
    assert isinstance(chain.state.settle(item), Settled)
    assert chain.state.settle(item) == "roll 0 does not wait for a settle"


def spoiled_settles(chain: Chain) -> dict[str, Settle]:
    good = chain.settle_item(0)
    first, second, *rest = good.openings
    swapped = replace(first, shares=first.shares[32:64] + first.shares[:32] + first.shares[64:])
    high = (int.from_bytes(first.shares[:32], "big") + PRIME).to_bytes(32, "big")
    condemned = condemn_secret(chain.dealings[0, 0], 0, (0, 1, 2))
    return {
        "another roll": replace(good, roll=1),
        "a secret too few": replace(good, openings=good.openings[:3]),
        "a secret too many": replace(good, openings=(*good.openings, first)),
        "secrets in another order": replace(good, openings=(second, first, *rest)),
        "shares in another order": with_first(good, swapped),
        "a share too few": with_first(good, replace(first, shares=first.shares[:-32])),
        "a share too many": with_first(good, replace(first, shares=first.shares + bytes(32))),
        "two holders": with_first(good, replace(first, holders=b"\x03", shares=first.shares[:64])),
        "four holders": with_first(good, open_secret(chain.dealings[0, 0], 0, (0, 1, 2, 3))),
        "other holders": with_first(good, replace(first, holders=b"\x0e")),
        "holders out of range": with_first(good, replace(first, holders=b"\x13")),
        "a share of the next secret": with_first(
            good, open_secret(chain.dealings[0, 0], 1, (0, 1, 2))
        ),
        "another path": with_first(good, replace(first, path=second.path)),
        "a share beyond the field": with_first(
            good, replace(first, shares=high + first.shares[32:])
        ),
        "a good dealing condemned": with_first(good, condemned),
        "condemned by another root": with_first(
            good, replace(condemned, fault=(bytes(32), *condemned.fault[1:]))
        ),
        "condemned with a path too few": with_first(
            good, replace(condemned, fault=condemned.fault[:-1])
        ),
        "a fault without a root": with_first(good, replace(first, fault=(b"",))),
        "condemned by a tree made up for it": with_first(
            good, condemn_secret(made_up(), 0, (1, 2, 3))
        ),
    }


def made_up() -> Dealing:
    dealing = make_dealing(4, 0)
    spoil(dealing, 0, 3, bytes(32))
    return dealing


def with_first(settle: Settle, opening: Opening) -> Settle:
    return replace(settle, openings=(opening, *settle.openings[1:]))


@pytest.mark.parametrize("warm", [False, True], ids=["unknown", "known"])
def test_a_settle_that_is_wrong_somewhere_is_refused_and_changes_nothing(warm: bool) -> None:
    chain = Chain(4)
    chain.close()
    if warm:
        settled(chain.fork(), 0)
    before = (chain.state.root(), chain.state.pending)
    for how, settle in spoiled_settles(chain).items():
        assert isinstance(chain.state.settle(encode(settle)), str), how
        assert (chain.state.root(), chain.state.pending) == before, how
    settled(chain, 0)


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_a_settle_with_any_changed_bit_is_refused(data: st.DataObject) -> None:
    chain = Chain(4)
    chain.close()
    item = bytearray(encode(chain.settle_item(0)))
    if data.draw(st.booleans()):
        settled(chain.fork(), 0)
    bit = data.draw(st.integers(0, 8 * len(item) - 1))
    item[bit // 8] ^= 1 << bit % 8
    assert isinstance(chain.state.settle(bytes(item)), str)


@pytest.mark.parametrize("n", [4, 5, 7])
def test_every_set_of_t_holders_settles_to_the_same_seed(n: int) -> None:
    chain = Chain(n)
    chain.close()
    results = set()
    for holders in combinations(range(n), chain.t):
        other = chain.fork(fresh=True)
        result = other.settle(0, holders)
        assert isinstance(result, Settled)
        results.add((result.seed, result.proof, other.state.root()))
    assert len(results) == 1


def test_a_verdict_is_the_same_whether_the_secret_was_known_or_not() -> None:
    chain = Chain(4)
    chain.close()
    fresh, known = chain.fork(fresh=True), chain.fork(fresh=True)
    settled(known.fork(), 0)
    for holders in combinations(range(4), 3):
        assert fresh.fork(fresh=True).settle(0, holders) == known.fork().settle(0, holders)


# A dealer that shares no secret.


def faulty_chain(*, published: tuple[int, ...] = ()) -> Chain:
    """Return a chain where dealer 0's secret 0 is on no polynomial: holder 3's share is wrong."""
    chain = Chain(4, dealers=0)
    dealing = make_dealing(4, 0)
    spoil(dealing, 0, 3, bytes(32))
    assert chain.add(dealing, published) is None
    for dealer in (1, 2, 3):
        assert chain.add(make_dealing(4, dealer)) is None
    return chain


def test_a_dealing_that_shares_no_secret_opens_to_none_from_every_set_of_holders() -> None:
    chain = faulty_chain()
    chain.close()
    good = chain.settle_item(0)
    results = set()
    for holders in combinations(range(4), 3):
        opened = with_first(good, open_secret(chain.dealings[0, 0], 0, holders))
        assert isinstance(chain.fork(fresh=True).state.settle(encode(opened)), str)
        condemned = with_first(good, condemn_secret(chain.dealings[0, 0], 0, holders))
        result = chain.fork(fresh=True).state.settle(encode(condemned))
        assert isinstance(result, Settled)
        results.add((result.seed, result.proof))
    assert len(results) == 1
    secrets = decode_as(results.pop()[1], RollProof).secrets
    assert [bool(secret.secret) for secret in secrets] == [False, True, True, True]


def test_a_published_share_condemns_without_a_path() -> None:
    chain = faulty_chain(published=(3,))
    chain.close()
    condemned = condemn_secret(chain.dealings[0, 0], 0, (1, 2, 3))
    short = replace(condemned, fault=(*condemned.fault[:-1], b""))
    item = encode(with_first(chain.settle_item(0), short))
    assert isinstance(chain.state.settle(item), Settled)


def test_a_share_that_only_claims_to_be_the_published_one_condemns_nobody() -> None:
    chain = Chain(4, dealers=0)
    for dealer in range(4):
        assert chain.add(make_dealing(4, dealer), (3,)) is None
    chain.close()
    opening = condemn_secret(chain.dealings[0, 0], 0, (1, 2, 3))
    wrong = replace(
        opening, shares=opening.shares[:64] + bytes(32), fault=(*opening.fault[:-1], b"")
    )
    item = encode(with_first(chain.settle_item(0), wrong))
    assert isinstance(chain.state.settle(item), str)


def test_a_share_without_a_path_condemns_nobody() -> None:
    chain = faulty_chain()
    chain.close()
    condemned = condemn_secret(chain.dealings[0, 0], 0, (1, 2, 3))
    for at in (1, 2, 3):
        fault = list(condemned.fault)
        fault[at] = b""
        item = encode(with_first(chain.settle_item(0), replace(condemned, fault=tuple(fault))))
        assert isinstance(chain.state.settle(item), str)


def test_a_committed_share_that_is_no_field_element_condemns_by_the_others_alone() -> None:
    chain = Chain(4, dealers=0)
    dealing = make_dealing(4, 0)
    spoil(dealing, 0, 3, PRIME.to_bytes(32, "big"))
    for dealt in (dealing, *(make_dealing(4, dealer) for dealer in (1, 2, 3))):
        assert chain.add(dealt) is None
    chain.close()
    good = chain.settle_item(0)
    for holders in combinations(range(4), 3):
        condemned = with_first(good, condemn_secret(dealing, 0, holders))
        result = chain.fork(fresh=True).state.settle(encode(condemned))
        assert isinstance(result, Settled) == (3 not in holders)


def test_who_shared_no_secret_deals_no_more_but_its_closed_rolls_complete() -> None:
    chain = faulty_chain()
    assert [chain.close(height) for height in (1, 2)] == [0, 1]
    condemned = condemn_secret(chain.dealings[0, 0], 0, (0, 1, 2))
    item = encode(with_first(chain.settle_item(0), condemned))
    assert isinstance(chain.state.settle(item), Settled)
    assert chain.state.is_faulty(0)
    assert chain.add(make_dealing(4, 0, batch=1)) == "dealer 0 was proven faulty"
    assert chain.close(3) == 2
    assert [place.dealer for place in chain.state.pending[1].places] == [1, 2, 3]
    # Roll 1 took secret 1 of the faulty dealer, which is a good one.
    assert isinstance(chain.settle(1), Settled)
    assert chain.state.dealings(0) == ()


# Values.


def test_a_fork_and_its_origin_do_not_see_each_other() -> None:
    chain = Chain(4)
    chain.close()
    before, root = chain.state.leaves(), chain.state.root()
    fork = chain.fork()
    assert fork.state.root() == root
    settled(fork, 0)
    fork.close(2)
    assert fork.add(make_dealing(4, 0, batch=1)) is None
    assert fork.state.root() != root
    assert (chain.state.leaves(), chain.state.root()) == (before, root)
    assert chain.add(make_dealing(4, 1, batch=1)) is None
    for one in (chain, fork):
        rebuilt = BeaconState.from_leaves(one.context, one.state.leaves())
        assert one.state.root() == rebuilt.root()


def test_a_state_is_rebuilt_from_its_leaves_and_goes_on_alike() -> None:
    chain = faulty_chain(published=(3,))
    chain.close(1)
    chain.state.close(2)
    for _ in range(2):
        twin = BeaconState.from_leaves(make_context(4), chain.state.leaves())
        assert (twin.root(), twin.leaves()) == (chain.state.root(), chain.state.leaves())
        assert (twin.pending, twin.next_roll) == (chain.state.pending, chain.state.next_roll)
        chain.state = twin
        chain.state.bind(CLOSE)
    condemned = condemn_secret(chain.dealings[0, 0], 0, (0, 1, 2))
    item = encode(with_first(chain.settle_item(0), condemned))
    assert isinstance(chain.state.settle(item), Settled)


def test_leaves_that_do_not_belong_together_are_no_state() -> None:
    leaves = Chain(4).state.leaves()
    empty = Chain(4, dealers=0).state.leaves()
    for wrong in (
        leaves[1:],
        (*leaves, leaves[4]),
        (*leaves[:4], empty[4]),
        (*empty[:4], leaves[4]),
        (b"",) * 5,
    ):
        with pytest.raises(DecodeError):
            BeaconState.from_leaves(make_context(4), wrong)


def test_the_root_is_kept_up_to_date_through_every_change() -> None:
    chain = Chain(4)
    roots = [chain.state.root()]

    def changed() -> bool:
        roots.append(chain.state.root())
        rebuilt = BeaconState.from_leaves(chain.context, chain.state.leaves())
        assert rebuilt.root() == roots[-1]
        return len(set(roots)) == len(roots)

    chain.state.close(1)
    assert changed()
    chain.state.bind(CLOSE)
    assert changed()
    assert chain.add(make_dealing(4, 2, batch=1)) is None
    assert changed()
    settled(chain, 0)
    assert changed()
