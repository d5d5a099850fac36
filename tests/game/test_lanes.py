"""R29: vectors in one integer, and a sum of prizes that decides as the worst case does."""

from hypothesis import example, given, settings, strategies as st

from node.game.lanes import LANE_BYTES, greatest, pack, unpack
from node.game.operations import (
    CreateSession,
    Finish,
    Fund,
    Leave,
    Operation,
    PlaceBet,
    Reduce,
    Sit,
    TakeDown,
    Withdraw,
    Working,
)
from node.game.params import BankMode, GameParams
from node.game.state import GameState
from tests.game.tables import FAST, Game, roots
from tests.game.test_treasury import with_bank
from tests.game.tiny import ACE, FIELD, GAME, LAY, OFF, RIDE, SIDE, STAY

FAR = 10**12
MOST = 2 ** (8 * LANE_BYTES - 1) - 1
POOL = GameParams(bank=0, bank_mode=BankMode.POOL, absent_ms=FAST.absent_ms)

small = st.lists(st.integers(-(2**70), 2**70), min_size=1, max_size=40)


@given(small)
@example([0])
@example([-1, 0, -1])
@example([MOST, -MOST - 1, MOST])
def test_a_packed_vector_gives_its_entries_back(values: list[int]) -> None:
    packed = pack(values)
    assert unpack(packed, len(values)) == values
    assert greatest(packed, len(values)) == max(values)


@given(small, st.data(), st.integers(-(2**20), 2**20))
def test_adding_a_multiple_of_a_packed_vector_adds_it_to_each_entry(
    values: list[int], data: st.DataObject, times: int
) -> None:
    others = data.draw(st.lists(st.integers(-(2**70), 2**70), min_size=len(values),
                                max_size=len(values)))  # fmt: skip
    total = unpack(pack(values) + times * pack(others), len(values))
    assert total == [a + times * b for a, b in zip(values, others, strict=True)]


players, slots = st.integers(0, 2), st.integers(0, 1)
spots = st.sampled_from(
    [(RIDE, 0), (SIDE, 0), (FIELD, 0), (STAY, 2), (STAY, 5), (LAY, 0), (ACE, 0)]
)
chips = st.sampled_from([1, 2, 5, 6, 12, 20, 30, 60])
bets = st.tuples(st.sampled_from([PlaceBet, PlaceBet, PlaceBet, Reduce]), slots, spots, chips).map(
    lambda drawn: drawn[0](drawn[1], *drawn[2], drawn[3])
)
others = st.one_of(
    st.tuples(slots, spots).map(lambda drawn: TakeDown(drawn[0], *drawn[1])),
    st.tuples(slots, st.integers(2, 5), st.integers(0, 2)).map(
        lambda drawn: Working(drawn[0], STAY, drawn[1], drawn[2])
    ),
    slots.map(Leave),
    slots.map(Sit),
    slots.map(Finish),
    st.just(CreateSession(GAME)),
    chips.map(Withdraw),
    chips.map(Fund),
)


GONE = [(0, PlaceBet(0, STAY, 2, 12)), (0, TakeDown(0, STAY, 2))]
"""Nothing lies there after them, and nothing is promised for it."""


def opened(params: GameParams) -> GameState:
    game = Game(3, params)
    game.block(*[(0, CreateSession(GAME))] * 2)
    game.block(*[(player, Sit(slot)) for player in range(3) for slot in range(2)])
    if params.bank_mode == BankMode.POOL:
        game.block((0, Fund(60)))
    state = game.state.fork()
    state.begin_block(state.height + 1, state.time_ms + 1_000, can_close=False)
    return state


@settings(max_examples=300)
@given(
    st.sampled_from([with_bank(60), with_bank(7), with_bank(0), POOL]),
    st.lists(st.tuples(players, st.one_of(bets, bets, others)), max_size=40),
)
@example(with_bank(60), [*GONE, (1, PlaceBet(1, RIDE, 0, 60))])
@example(
    with_bank(60),
    [*GONE, *((i, Leave(0)) for i in range(3)), (0, Finish(0)), (1, PlaceBet(1, RIDE, 0, 60))],
)
@example(POOL, [*GONE, (0, Withdraw(60))])
@example(with_bank(44), [
    (0, PlaceBet(1, STAY, 5, 24)), (1, PlaceBet(1, ACE, 0, 5)), (2, PlaceBet(1, RIDE, 0, 10)),
    *[(0, PlaceBet(0, ACE, 0, 1)), (0, TakeDown(0, ACE, 0))] * 2,
    (0, Working(1, STAY, 5, OFF)),
])  # fmt: skip
def test_a_block_of_bets_is_decided_as_if_every_worst_case_were_asked_for(
    params: GameParams, operations: list[tuple[int, Operation]]
) -> None:
    usual, exact = opened(params), opened(params)
    for index, (player, operation) in enumerate(operations):
        # No bank holds so much, so here the worst case decides each time.
        exact.treasury.prizes += FAR
        assert usual.apply(player, operation, index) == exact.apply(player, operation, index)
        exact.treasury.prizes -= FAR
        assert usual.returned == exact.returned
    assert usual.treasury.prizes == exact.treasury.prizes >= exact.exposed()
    assert usual.exposed() == exact.exposed()
    assert usual.treasury.covers(usual.exposed())
    assert usual.end_block() == exact.end_block()
    assert roots(usual) == roots(exact)
