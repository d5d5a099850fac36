"""Players who fade each other: a bank that belongs to those who put chips into it."""

import msgspec
import pytest
from hypothesis import given, strategies as st

from node.game.operations import Fund, Ready, Roll, TakeDown, Withdraw
from node.game.params import BankMode
from node.game.receipts import Code
from node.game.treasury import share_out
from tests.game.tables import FAST, Game, chips_in_sight
from tests.game.tiny import FIELD, RIDE

POOL = msgspec.structs.replace(FAST, bank=0, bank_mode=BankMode.POOL, buy_in=1_000)


def parts(game: Game) -> list[int]:
    return [account.pooled for account in game.state.accounts]


@pytest.fixture
def game() -> Game:
    """Three players, two of whom own a pool of 400 in parts of 300 and 100."""
    game = Game(players=3, params=POOL).seated(0, 1, 2)
    game.done((1, Fund(300)), (2, Fund(100)))
    return game


def test_an_empty_pool_takes_no_bet() -> None:
    game = Game(players=2, params=POOL).seated(0)
    assert game.state.bank == 0
    assert game.done((1, Fund(50))) == [()]
    game.bet(0, RIDE, 50)
    assert game.racks == [950, 950]


def test_what_a_player_loses_goes_to_the_owners_in_proportion(game: Game) -> None:
    game.bet(0, RIDE, 100)
    game.throw(0)
    assert parts(game) == [0, 375, 125]
    assert game.state.bank == 500
    assert game.racks == [900, 700, 900]


def test_what_a_player_wins_comes_from_the_owners_in_proportion(game: Game) -> None:
    game.bet(0, RIDE, 400)
    game.throw(5)
    assert parts(game) == [0, 0, 0]
    assert game.racks == [1_400, 700, 900]
    assert game.refusal(0, Withdraw(1)).code == Code.POOL_PART


def test_chips_that_do_not_divide_go_to_the_largest_remainder(game: Game) -> None:
    game.bet(0, RIDE, 1)
    game.throw(0)
    # 300.75 and 100.25 of 401.
    assert parts(game) == [0, 301, 100]
    game.bet(0, RIDE, 1)
    game.done((1, Ready(0)), (2, Ready(0)))
    game.bet(1, RIDE, 1)
    game.throw(0)
    assert sum(parts(game)) == game.state.bank == 403


def test_owners_bet_against_themselves_like_anybody(game: Game) -> None:
    game.bet(1, RIDE, 100)
    game.throw(0)
    assert game.racks[1] == 600
    assert parts(game) == [0, 375, 125]


def test_chips_come_out_of_the_pool_while_no_bet_needs_them(game: Game) -> None:
    receipt = game.refusal(1, Withdraw(301))
    assert (receipt.code, receipt.values) == (Code.POOL_PART, (301, 300))
    game.bet(0, RIDE, 250)
    receipt = game.refusal(1, Withdraw(151))
    assert (receipt.code, receipt.values) == (Code.POOL_PROMISED, (150,))
    game.done((1, Withdraw(150)))
    assert (parts(game), game.racks[1], game.state.bank) == ([0, 150, 100], 850, 250)
    game.done((0, TakeDown(0, RIDE, 0)), (2, Withdraw(100)))
    assert game.state.bank == 150


def test_a_reserve_ratio_keeps_more_in_the_pool() -> None:
    params = msgspec.structs.replace(POOL, reserve_bp=15_000)
    game = Game(players=2, params=params).seated(0)
    game.done((1, Fund(300)))
    game.bet(0, RIDE, 101)
    receipt = game.refusal(1, Withdraw(149))
    assert (receipt.code, receipt.values) == (Code.POOL_PROMISED, (148,))
    game.done((1, Withdraw(148)))


@pytest.mark.parametrize("amount", [0, -5, 2**53, 2**63])
def test_amounts_out_of_bounds_move_nothing(game: Game, amount: int) -> None:
    assert game.refusal(1, Fund(amount)).code == Code.AMOUNT
    assert game.refusal(1, Withdraw(amount)).code == Code.POOL_PART


def test_nobody_puts_in_more_than_the_rack_holds(game: Game) -> None:
    receipt = game.refusal(1, Fund(701))
    assert (receipt.code, receipt.values) == (Code.RACK, (701, 700))


def test_nobody_moves_pool_chips_while_dice_are_out(game: Game) -> None:
    game.bet(0, RIDE, 100)
    game.done((1, Ready(0)), (2, Ready(0)), (0, Roll(0)))
    assert game.refusal(1, Withdraw(10)).code == Code.POOL_WAITS
    assert game.refusal(0, Fund(10)).code == Code.POOL_WAITS
    (receipt,) = game.block((1, Withdraw(10)), faces=[(0, 0)])
    assert receipt.code == Code.DONE


def test_chips_won_while_nobody_owned_the_pool_are_the_next_owner_s(game: Game) -> None:
    game.bet(0, RIDE, 200)
    game.bet(0, FIELD, 200)
    game.throw(5)
    assert (game.state.bank, sum(parts(game))) == (0, 0)
    state = game.state.fork()
    state.treasury.bank += 7
    state.accounts[0].chips -= 7
    state.begin_block(99, game.state.time_ms + 1, can_close=True)
    assert state.apply(2, Fund(10), 0).code == Code.DONE
    assert state.accounts[2].pooled == state.bank == 17
    assert chips_in_sight(state) == state.minted


def test_a_table_with_a_bank_of_its_own_has_no_pool() -> None:
    game = Game()
    assert game.refusal(0, Fund(1)).code == Code.NO_POOL
    assert game.refusal(0, Withdraw(1)).code == Code.NO_POOL


@given(
    parts=st.lists(st.integers(0, 2**50), min_size=1, max_size=12).filter(any),
    total=st.integers(0, 2**53),
)
def test_shares_add_up_and_differ_from_the_exact_ones_by_less_than_a_chip(
    parts: list[int], total: int
) -> None:
    shares, whole = share_out(parts, total), sum(parts)
    assert sum(shares) == total
    for part, share in zip(parts, shares, strict=True):
        assert abs(share * whole - part * total) < whole
        assert part or not share


def test_equal_remainders_go_to_the_first() -> None:
    assert share_out([5, 5, 5], 10) == [4, 3, 3]
    assert share_out([0, 1, 1], 3) == [0, 2, 1]
