"""PROTOCOL 11.8: what waits for a block, within bounds, verified once."""

import pytest

from consensus.encoding import digest, encode
from consensus.messages import ACTION_BYTES_MAX
from consensus.signing import (
    Domain,
    KeyId,
    PublicKey,
    SigningKey,
    key_id,
    parse_envelope,
    sign_envelope,
    verify,
)
from node.game.operations import PlaceBet, Ready, Roll
from node.mempool import (
    ACTIONS_AHEAD_MAX,
    OPERATIONS_PER_ACTION_MAX,
    OPERATIONS_PER_BLOCK_MAX,
    Action,
    ActionBody,
    Mempool,
    rotation,
    sign_action,
)

CHAIN = digest("test", b"chain")
KEYS = [SigningKey(digest("key", bytes((i,)))) for i in range(4)]


class CountingVerify:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, key: PublicKey, message: bytes, signature: bytes, /) -> bool:
        self.calls += 1
        return verify(key, message, signature)


class Four:
    """A roster of four members."""

    def slot_of(self, kid: KeyId) -> int | None:
        kids = [key_id(key.public_key) for key in KEYS]
        return kids.index(kid) if kid in kids else None

    def identity_of(self, slot: int) -> PublicKey:
        return KEYS[slot].public_key


ROSTER = Four()


def make_pool() -> tuple[Mempool, CountingVerify]:
    check = CountingVerify()
    pool = Mempool(CHAIN, check)
    pool.prune([0] * 4)
    return pool, check


def action(player: int, seq: int, *, session: int = 0, operations: int = 1) -> Action:
    return sign_action(KEYS[player], CHAIN, player, seq, [Ready(session)] * operations)


def admit(pool: Mempool, envelope: bytes) -> str | None:
    return pool.admit(parse_envelope(envelope), envelope, ROSTER)


def test_an_action_is_verified_once_whether_it_comes_by_gossip_or_in_blocks() -> None:
    pool, check = make_pool()
    sent = action(1, 1)
    assert admit(pool, sent.envelope) is None
    assert admit(pool, sent.envelope) is None
    assert pool.find(sent.envelope, ROSTER) == sent
    assert check.calls == 1
    other = action(2, 1)
    assert pool.find(other.envelope, ROSTER) == other
    assert admit(pool, other.envelope) is None
    assert pool.find(other.envelope, ROSTER) == other
    assert check.calls == 2


def test_a_forger_and_another_chain_are_faults_and_are_not_kept_nor_is_a_stranger() -> None:
    pool, _ = make_pool()
    stranger = sign_action(SigningKey(bytes(32)), CHAIN, 0, 1, [Roll(0)]).envelope
    assert admit(pool, stranger) is None  # its peer may know more members than this node
    assert pool.find(stranger, ROSTER) == "action of no player at this table"
    good = action(0, 1).envelope
    forged = good[:-1] + bytes((good[-1] ^ 1,))
    assert admit(pool, forged) == "action whose signature does not verify"
    elsewhere = sign_action(KEYS[0], digest("test", b"other"), 0, 1, [Roll(0)]).envelope
    assert pool.find(elsewhere, ROSTER) == "action whose signature does not verify"
    assert len(pool) == 0


def test_an_action_of_no_known_operation_or_of_too_many_is_refused() -> None:
    pool, _ = make_pool()
    for payload in (
        encode((1, ((99, 0),))),
        encode((1, ())),
        encode((0, ((9, 0),))),
        encode((1, ((9, 0, 0),))),
        encode(ActionBody(1, (Ready(0),) * (OPERATIONS_PER_ACTION_MAX + 1))),
    ):
        envelope = sign_envelope(KEYS[0], Domain.ACTION, CHAIN, payload)
        fault = admit(pool, envelope)
        assert fault is not None
        assert "does not parse" in fault
        assert isinstance(pool.find(envelope, ROSTER), str)
    assert len(pool) == 0


def test_the_greatest_action_fits_its_limit() -> None:
    operations = [PlaceBet(1023, 255, 255, 2**53 - 1)] * OPERATIONS_PER_ACTION_MAX
    assert len(sign_action(KEYS[0], CHAIN, 0, 2**62, operations).envelope) <= ACTION_BYTES_MAX


def test_numbers_far_ahead_and_behind_are_dropped_and_the_pool_stays_bounded() -> None:
    pool, check = make_pool()
    for seq in range(1, 100):
        assert admit(pool, action(0, seq).envelope) is None
    assert len(pool) == ACTIONS_AHEAD_MAX
    assert check.calls == ACTIONS_AHEAD_MAX
    pool.prune([5, 0, 0, 0])
    assert len(pool) == ACTIONS_AHEAD_MAX - 5
    assert admit(pool, action(0, 5).envelope) is None
    assert len(pool) == ACTIONS_AHEAD_MAX - 5


def test_the_first_action_of_a_number_stays_and_a_second_one_counts_only_in_a_block() -> None:
    pool, _ = make_pool()
    first, second = action(0, 1, session=1), action(0, 1, session=2)
    assert admit(pool, first.envelope) is None
    assert admit(pool, second.envelope) is None
    assert pool.next_actions([0] * 4, 1, 1 << 20) == [first]
    assert pool.find(second.envelope, ROSTER) == second
    assert pool.next_actions([0] * 4, 1, 1 << 20) == [first]


@pytest.mark.parametrize("height", range(9))
def test_a_block_takes_players_rotated_by_height_and_their_numbers_without_gaps(
    height: int,
) -> None:
    pool, _ = make_pool()
    for player, seq in ((0, 1), (0, 2), (1, 1), (2, 2), (3, 4), (3, 5)):
        admit(pool, action(player, seq).envelope)
    taken = [(one.player, one.seq) for one in pool.next_actions([0, 0, 0, 3], height, 1 << 20)]
    expected = {0: [(0, 1), (0, 2)], 1: [(1, 1)], 2: [], 3: [(3, 4), (3, 5)]}
    assert taken == [place for player in rotation(4, height) for place in expected[player]]
    assert next(iter(rotation(4, height))) == height % 4


def test_a_block_is_bounded_in_bytes_and_operations_but_never_empty() -> None:
    pool, _ = make_pool()
    for seq in range(1, 6):
        admit(pool, action(0, seq, operations=3_000).envelope)
    sizes = [len(action.operations) for action in pool.next_actions([0] * 4, 1, 1 << 20)]
    assert sum(sizes) <= OPERATIONS_PER_BLOCK_MAX
    assert len(sizes) == OPERATIONS_PER_BLOCK_MAX // 3_000
    assert len(pool.next_actions([0] * 4, 1, 10)) == 1


def test_what_a_chain_lacks_is_offered_again_up_to_a_size() -> None:
    pool, _ = make_pool()
    sent = [action(0, seq) for seq in (1, 2, 3)]
    for one in sent:
        admit(pool, one.envelope)
    assert list(pool.beyond([1, 0, 0, 0], 1 << 20)) == [one.envelope for one in sent[1:]]
    assert list(pool.beyond([0] * 4, len(sent[0].envelope))) == [sent[0].envelope]
    assert pool.has_next([2, 0, 0, 0])
    assert not pool.has_next([3, 0, 0, 0])


def test_an_action_of_a_newcomer_that_is_not_final_here_is_checked_but_not_kept() -> None:
    pool = Mempool(CHAIN, verify)
    pool.prune([0] * 2)
    late = action(3, 1)
    assert pool.find(late.envelope, ROSTER) == late
    assert len(pool) == 0
    pool.prune([0] * 4)
    assert admit(pool, late.envelope) is None
    assert len(pool) == 1
