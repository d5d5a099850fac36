"""The replicated state as a whole: conservation, roots, rebuilding, hostile input (T5 to T7, T12)."""

import enum
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from consensus.encoding import INT_MAX, DecodeError, digest, encode
from node.game.leaves import GameLeaves, roots_of
from node.game.operations import (
    CreateSession,
    Finish,
    Fund,
    Leave,
    Operation,
    PassDice,
    PlaceBet,
    Ready,
    Reduce,
    Roll,
    Sit,
    TakeDown,
    Tick,
    Withdraw,
    Working,
)
from node.game.params import CHIPS_MAX, BankMode, GameParams
from node.game.players import Account, Past, parse_account
from node.game.receipts import Code
from node.game.rules import key_of
from node.game.session import Phase
from node.game.state import GameState
from tests.game.tables import FAST, Game, banker_params, chips_in_sight, roots, roots_from_scratch
from tests.game.tiny import (
    ACE,
    FIELD,
    GAME,
    GAMES,
    LAY,
    MOVE,
    NO_FLAT,
    OFF,
    RIDE,
    SIDE,
    SIDES,
    STAY,
)

ROOT = Path(__file__).parent.parent.parent


def test_genesis_mints_every_chip_there_will_ever_be() -> None:
    state = GameState.genesis(GameParams(buy_in=50, bank=700), 3, GAMES)
    assert (state.bank, state.minted) == (700, 850)
    assert [account.chips for account in state.accounts] == [50] * 3


def test_a_banker_s_buy_in_is_the_bank() -> None:
    game = Game(players=3, params=banker_params(1))
    assert game.racks == [10_000, 0, 10_000]
    assert (game.state.bank, game.state.minted) == (10_000, 30_000)
    game.seated(0)
    assert game.refusal(1, Sit(0)).code == Code.BANKER
    game.bet(0, RIDE, 100)
    game.throw(0)
    assert (game.racks[0], game.state.bank) == (9_900, 10_100)


ALL_OPERATIONS: list[Operation] = [
    CreateSession(GAME),
    Sit(0),
    Leave(0),
    PlaceBet(0, FIELD, 0, 1),
    Reduce(0, FIELD, 0, 1),
    TakeDown(0, FIELD, 0),
    Working(0, STAY, 2, 1),
    Ready(0),
    Roll(0),
    PassDice(0),
    Tick(0),
    Finish(0),
]
POOL_OPERATIONS: list[Operation] = [Fund(5), Withdraw(5)]


@pytest.mark.parametrize(
    "operation", ALL_OPERATIONS + POOL_OPERATIONS, ids=lambda op: type(op).__name__
)
@pytest.mark.parametrize("player", [-1, 4, 2**62])
def test_t12_a_stranger_is_refused_everything(operation: Operation, player: int) -> None:
    game = Game().seated(0)
    assert game.refusal(player, operation).code == Code.STRANGER


@pytest.mark.parametrize("slot", [-1, 1, 1_023, 2**62])
@pytest.mark.parametrize("operation", ALL_OPERATIONS[1:], ids=lambda op: type(op).__name__)
def test_t12_a_session_that_is_not_there_is_refused(operation: Operation, slot: int) -> None:
    game = Game().seated(0)
    elsewhere = msgspec.structs.replace(operation, session=slot)
    assert game.refusal(0, elsewhere).code == Code.NO_SESSION


@pytest.mark.parametrize("operation", ALL_OPERATIONS[2:10], ids=lambda op: type(op).__name__)
def test_t12_who_has_no_seat_is_refused(operation: Operation) -> None:
    game = Game().seated(0)
    game.bet(0, RIDE, 1)
    assert game.refusal(1, operation).code == Code.NOT_SEATED


@pytest.mark.parametrize("amount", [0, -1, -(2**63), CHIPS_MAX + 1, 2**63])
def test_t12_zero_negative_and_boundless_amounts_are_refused(amount: int) -> None:
    game = Game().seated(0)
    assert game.refusal(0, PlaceBet(0, FIELD, 0, amount)).code == Code.AMOUNT
    game.bet(0, FIELD, 3)
    assert game.refusal(0, Reduce(0, FIELD, 0, amount)).code == Code.STAKE


def test_t12_more_than_the_rack_or_the_stake_is_refused() -> None:
    game = Game().seated(0)
    assert game.refusal(0, PlaceBet(0, FIELD, 0, 10_001)).code == Code.RACK
    game.bet(0, FIELD, 10_000)
    assert game.refusal(0, PlaceBet(0, FIELD, 0, 1)).values == (1, 0)
    assert game.refusal(0, Reduce(0, FIELD, 0, 10_001)).values == (10_001, 10_000)


def test_t12_a_bet_that_hangs_on_nothing_is_refused() -> None:
    game = Game().seated(0)
    assert game.refusal(0, PlaceBet(0, SIDE, 0, 1)).code == NO_FLAT


def test_t12_unknown_kinds_games_and_operations_are_refused() -> None:
    game = Game().seated(0)
    for kind, number in ((0, 0), (99, 0), (255, 255), (STAY, 7), (-1, -1)):
        assert game.refusal(0, PlaceBet(0, kind, number, 6)).code >= 100
        assert game.refusal(0, TakeDown(0, kind, number)).code == Code.NO_BET
        assert game.refusal(0, Working(0, kind, number, 1)).code == Code.NO_BET
    assert game.refusal(0, CreateSession(GAME + 1)).code == Code.NO_GAME
    assert game.refusal(0, "roll").code == Code.UNKNOWN_OPERATION  # type: ignore[arg-type]
    game.bet(0, STAY, 6, 2)
    assert game.refusal(0, Working(0, STAY, 2, 3)).code == Code.WORKING


def test_a_block_that_is_too_long_for_bet_ids_takes_no_more() -> None:
    state = GameState.genesis(FAST, 2, GAMES)
    state.begin_block(1, 1, can_close=True)
    assert state.apply(0, CreateSession(GAME), 0xFFFF).code == Code.DONE
    assert state.apply(0, CreateSession(GAME), 0x1_0000).code == Code.BLOCK_FULL


def test_t5_a_state_that_lost_a_chip_stops_at_the_end_of_the_block() -> None:
    state = GameState.genesis(FAST, 2, GAMES)
    state.accounts[1].chips -= 1
    with pytest.raises(AssertionError, match="1019999 chips of 1020000"):
        state.end_block()


def test_t5_books_that_disagree_with_the_bets_stop_the_block() -> None:
    game = Game().seated(0)
    game.bet(0, FIELD, 5)
    state = game.state.fork()
    state.begin_block(99, 99, can_close=True)
    state.treasury.layout += 1
    state.treasury.bank -= 1
    with pytest.raises(AssertionError, match="layout 6 in the books, 5 in bets"):
        state.end_block()


def test_actions_are_counted_in_the_account() -> None:
    state = GameState.genesis(FAST, 3, GAMES)
    before = state.accounts_root()
    twin = state.fork()
    assert [twin.next_seq(1), twin.next_seq(1)] == [1, 2]
    assert (twin.seqs(), state.seqs()) == ((0, 2, 0), (0, 0, 0))
    assert twin.accounts_root() != before == state.accounts_root()


def test_an_account_survives_its_leaf() -> None:
    account = Account(5, 6, 7, 8, 9, 10, 11, bytes(64))
    assert parse_account(account.leaf()) == account
    with pytest.raises(DecodeError):
        parse_account(encode((1, 2, 3)))


def test_counters_of_an_account_stop_where_the_protocol_s_integers_do() -> None:
    account = Account(5, rolls=INT_MAX, won=INT_MAX - 1, lost=INT_MAX - 1)
    account.remember(1, 2, 40, 50)
    assert (account.rolls, account.won, account.lost) == (INT_MAX,) * 3
    assert parse_account(account.leaf()) == account
    assert account.past() == (Past(1, 2, 40, 50),)


def played() -> Game:
    """A table with every kind of thing on it."""
    game = Game(players=5).seated(0, 1, 2).seated(3, 1).seated(4)
    game.done((2, PlaceBet(0, RIDE, 0, 5)), (0, PlaceBet(0, RIDE, 0, 10)))
    game.bet(1, MOVE, 3)
    game.bet(1, LAY, 40)
    game.throw(3)
    game.bet(1, STAY, 12, 5)
    game.done((1, Working(0, STAY, 5, OFF)), (2, Leave(0)), (1, Ready(0)))
    game.done((3, PlaceBet(1, RIDE, 0, 7)), (1, PlaceBet(1, FIELD, 0, 9)))
    game.done((1, Ready(1)), (3, Roll(1)))
    game.done((4, Leave(2)), (4, Finish(2)))
    return game


def test_a_state_rebuilt_from_its_leaves_behaves_the_same() -> None:
    game = played()
    leaves = msgspec.msgpack.decode(msgspec.msgpack.encode(game.state.leaves()), type=GameLeaves)
    again = GameState.from_leaves(FAST, leaves, GAMES)
    assert roots(again) == roots(game.state)
    assert (again.due(), again.has_bets()) == (game.state.due(), game.state.has_bets())
    states = [game.state.fork(), again.fork()]
    outcomes = []
    for state in states:
        state.begin_block(50, 60_000, can_close=True)
        rolled = state.settle(1, digest("seed", b"1"))
        receipts = [
            state.apply(player, operation, index)
            for index, (player, operation) in enumerate(
                [(p, o) for p in range(5) for o in ALL_OPERATIONS]
            )
        ]
        outcomes.append((rolled, receipts, state.end_block(), roots(state), state.due()))
    assert outcomes[0] == outcomes[1]


def test_leaves_are_checked_against_roots_before_they_are_read() -> None:
    state = played().state
    leaves = state.leaves()
    assert roots_of(leaves) == (state.accounts_root(), state.sessions_root())
    (leaf, seats), *others = leaves.sessions
    swapped = msgspec.structs.replace(leaves, sessions=((leaf, seats[::-1]), *others))
    assert roots_of(swapped) is None
    hidden = msgspec.structs.replace(leaves, sessions=(*leaves.sessions, (b"", seats)))
    assert roots_of(hidden) is None


def test_a_newcomer_brings_a_buy_in_that_is_minted_for_it() -> None:
    game = Game(players=2).seated(0)
    state = game.state.fork()
    state.begin_block(9, 99_000, can_close=True)
    assert state.admit() == 2
    assert state.apply(2, Sit(0), 0).code == Code.DONE
    assert state.apply(2, PlaceBet(0, FIELD, 0, 10_000), 1).code == Code.DONE
    state.end_block()
    assert (state.minted, game.state.minted) == (1_030_000, 1_020_000)
    assert len(game.state.accounts) == 2
    again = GameState.from_leaves(FAST, state.leaves(), GAMES)
    assert roots(again) == roots(state) == roots_from_scratch(state)


def test_a_table_admits_nobody_beyond_its_bounds() -> None:
    params = GameParams(buy_in=CHIPS_MAX // 2, bank=0)
    state = GameState.genesis(params, 1, GAMES)
    assert (state.admit(), state.admit()) == (1, None)
    state = GameState.genesis(GameParams(), 1_023, GAMES)
    assert (state.admit(), state.admit()) == (1_023, None)


def test_leaves_whose_chips_do_not_add_up_are_refused() -> None:
    leaves = played().state.leaves()
    poorer = msgspec.structs.replace(leaves, accounts=leaves.accounts[1:])
    with pytest.raises(DecodeError, match="are not"):
        GameState.from_leaves(FAST, poorer, GAMES)


def test_a_session_of_an_unknown_game_or_phase_is_refused() -> None:
    game = played()
    with pytest.raises(DecodeError, match="session of game"):
        GameState.from_leaves(FAST, game.state.leaves(), {GAME + 1: GAMES[GAME]})


def test_a_node_knows_whether_anything_is_at_stake() -> None:
    game = Game().seated(0)
    assert not game.state.has_bets()
    game.bet(0, FIELD, 1)
    assert game.state.has_bets()


def test_the_first_timer_of_all_sessions_is_due_first() -> None:
    game = Game().seated(0).seated(1)
    game.bet(1, FIELD, 1, slot=1)
    first = game.state.time_ms
    game.bet(0, FIELD, 1, slot=0)
    assert game.state.due() == (first + 30_000, 1)
    game.done((1, TakeDown(1, FIELD, 0)))
    assert game.state.due() == (first + 31_000, 0)


def test_closing_asks_for_a_session_that_has_closed() -> None:
    game = Game().seated(0)
    game.bet(0, RIDE, 1)
    state = game.state.fork()
    with pytest.raises(AssertionError, match="cannot happen"):
        state.settle(0, bytes(32))


HOSTILE = st.one_of(
    st.integers(-2, 8), st.sampled_from([2**31, 2**53 - 1, 2**53, 2**63 - 1, 2**63, -(2**63)])
)
KIND = st.one_of(st.sampled_from([RIDE, SIDE, FIELD, STAY, LAY, MOVE, ACE]), HOSTILE)
OPERATIONS = st.one_of(
    st.builds(CreateSession, st.one_of(st.just(GAME), HOSTILE)),
    *(st.builds(kind, st.one_of(st.integers(0, 1), HOSTILE)) for kind in
      (Sit, Leave, Ready, Roll, PassDice, Tick, Finish)),
    st.builds(PlaceBet, st.integers(0, 1), KIND, HOSTILE, st.one_of(st.integers(1, 60), HOSTILE)),
    st.builds(Reduce, st.integers(0, 1), KIND, HOSTILE, HOSTILE),
    st.builds(TakeDown, st.integers(0, 1), KIND, HOSTILE),
    st.builds(Working, st.integers(0, 1), KIND, HOSTILE, HOSTILE),
    st.builds(Fund, HOSTILE),
    st.builds(Withdraw, HOSTILE),
)  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(
    blocks=st.lists(
        st.tuples(
            st.lists(st.tuples(st.one_of(st.integers(0, 2), HOSTILE), OPERATIONS), max_size=12),
            st.integers(1, 40_000),
            st.booleans(),
            st.integers(0, 5),
        ),
        max_size=8,
    )
)
@pytest.mark.parametrize("mode", BankMode)
def test_no_operation_ever_raises_or_breaks_the_books(
    mode: BankMode, blocks: list[tuple[list[tuple[int, Operation]], int, bool, int]]
) -> None:
    params = msgspec.structs.replace(
        FAST, bank=500 if mode == BankMode.TABLE else 0, buy_in=200, bank_mode=mode
    )
    if mode == BankMode.BANKER:
        params = msgspec.structs.replace(params, banker=2)
    game = Game(players=3, params=params)
    game.seated(0, 1)
    if mode == BankMode.POOL:
        game.done((2, Fund(150)))
    game.bet(0, RIDE, 5)
    for operations, ms, can_close, face in blocks:
        closed = game.closed
        game.block(
            *operations,
            ms=ms,
            can_close=can_close,
            faces=[(slot, (face + slot) % len(SIDES)) for slot in closed],
        )
        assert chips_in_sight(game.state) == game.state.minted


# One history in a process of its own: nothing of the process may reach the roots.
SCRIPT = """
import sys, time, random
time.time = lambda: float(sys.argv[1])
from tests.game.test_state import played
game = played()
for face in (2, 0, 4):
    if game.closed:
        game.block(faces=[(slot, face) for slot in game.closed])
state = game.state
print((state.accounts_root() + state.sessions_root() + state.leaf()).hex())
"""


@pytest.mark.slow
def test_t6_and_t7_roots_do_not_know_the_hash_seed_or_the_clock() -> None:
    seen = []
    for hash_seed, clock in (("0", "0"), ("1", "1700000000"), ("77", "1900000000")):
        # Only the hash seed differs in what the interpreter is told.
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        run = subprocess.run(
            [sys.executable, "-c", SCRIPT, clock],
            cwd=ROOT,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        )
        seen.append(run.stdout)
    assert len(seen[0]) > 128
    assert seen[0] == seen[1] == seen[2]


def test_roots_from_scratch_equal_those_kept_up_to_date() -> None:
    game = played()
    assert roots(game.state) == roots_from_scratch(game.state)
    assert game.session(1).phase == Phase.CLOSED


def test_the_key_of_a_bet_is_plain_numbers_whoever_asks_first() -> None:
    class Named(enum.IntEnum):
        BET = 251

    assert [type(part) for part in key_of(Named.BET, 0)] == [int, int]
    assert key_of(251, 0) is key_of(Named.BET, 0)
