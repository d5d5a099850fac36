"""Who has the dice, when they go out, and what agreed time does (R2, R4, R5, R7)."""

import pytest

from node.game.operations import Leave, PassDice, PlaceBet, Ready, Roll, Sit, TakeDown, Tick
from node.game.receipts import Code
from node.game.session import Phase
from tests.game.tables import Game
from tests.game.tiny import FIELD, MOVE, RIDE, STAY


def test_the_dice_lie_before_the_first_seat_and_are_offered_there() -> None:
    game = Game().seated(2, 0)
    assert game.state.thrower(0) == 2
    game.bet(0, FIELD, 1)
    assert game.state.thrower(0) == 2
    assert game.refusal(2, Roll(0)).code == Code.NOBODY_THROWS
    receipt = game.refusal(0, Roll(0))
    assert (receipt.code, receipt.values) == (Code.NOT_THROWER, (2,))


def test_the_first_willing_seat_clockwise_throws() -> None:
    game = Game().seated(0, 1, 2)
    game.bet(2, RIDE, 5)
    assert game.state.thrower(0) == 2
    game.bet(1, RIDE, 5)
    assert game.state.thrower(0) == 1
    game.done((0, Ready(0)), (2, Ready(0)), (1, Roll(0)))
    assert game.session().dice == 1


def test_t3_the_end_of_a_hand_passes_the_dice_and_nothing_else_does() -> None:
    game = Game().seated(0, 1, 2)
    for outcome, thrower in ((2, 0), (5, 0), (3, 0)):
        if (RIDE, 0) not in game.bets(0):
            game.bet(1, MOVE, 1)
        else:
            game.bet(1, FIELD, 1)
        if not game.bets(0) and game.session().board[0] == 0:
            game.bet(0, RIDE, 1)
        result = game.throw(outcome)
        assert (result.thrower, result.next_thrower, result.hand_ended) == ((thrower,), (0,), 0)


@pytest.fixture
def hand() -> Game:
    """Three seats with a contract bet each, in the middle of seat 0's hand."""
    game = Game().seated(0, 1, 2)
    for player in range(3):
        game.bet(player, RIDE, 10)
    game.throw(2)
    return game


def test_a_hand_that_ends_gives_the_dice_to_the_next_seat(hand: Game) -> None:
    result = hand.throw(0)
    assert (result.thrower, result.next_thrower, result.hand_ended) == ((0,), (1,), 1)
    hand.bet(0, RIDE, 1)
    hand.bet(2, RIDE, 1)
    assert hand.state.thrower(0) == 2, "seat 1 is not willing yet"
    hand.bet(1, RIDE, 1)
    assert hand.throw(0).thrower == (1,)
    hand.bet(2, RIDE, 1)
    assert hand.throw(0).thrower == (2,)
    assert hand.state.thrower(0) == 0


def test_a_thrower_who_leaves_in_a_hand_hands_it_on_and_touches_no_bet(hand: Game) -> None:
    board = hand.session().board
    hand.done((0, Leave(0)))
    assert hand.state.thrower(0) == 1
    assert hand.session().board == board
    assert [hand.bets(player) for player in range(3)] == [{(RIDE, 0): 10}] * 3
    assert hand.throw(3).thrower == (1,)


def test_who_takes_the_seat_of_a_thrower_who_left_does_not_take_the_dice() -> None:
    game = Game().seated(0, 1)
    game.done((0, Leave(0)), (2, Sit(0)))
    assert game.session().seat_of == {1: 1, 2: 0}
    assert game.state.thrower(0) == 1


def test_who_comes_back_is_neither_ready_nor_absent() -> None:
    game = Game().seated(0, 1)
    game.bet(0, RIDE, 10)
    game.throw(2)
    game.done((0, Ready(0)), (0, Leave(0)), (0, Sit(0)))
    seat = game.session().seats[0]
    assert seat is not None
    assert not seat.ready
    game.done((0, Leave(0)))
    for _ in range(4):
        game.done((1, PlaceBet(0, FIELD, 0, 1)), (1, Tick(0)), ms=30_000)
        game.block(faces=[(0, 2)], ms=0)
    game.done((0, Sit(0)))
    seat = game.session().seats[0]
    assert seat is not None
    assert (seat.ready, seat.riding) == (False, False)
    game.done((1, Tick(0)), ms=30_000)
    assert game.session().is_seated(0)


def test_the_dice_are_passed_only_before_a_come_out(hand: Game) -> None:
    assert hand.refusal(0, PassDice(0)).code == Code.HAND_GOES_ON
    hand.throw(0)
    assert hand.refusal(0, PassDice(0)).code == Code.NOT_THROWER
    hand.done((1, PassDice(0)))
    assert hand.state.thrower(0) == 2
    hand.bet(2, RIDE, 1)
    hand.done((2, PassDice(0)))
    assert hand.session().dice == 0
    assert hand.state.thrower(0) == 2, "nobody else is willing"


def test_the_dice_are_not_passed_to_nobody() -> None:
    game = Game().seated(3)
    assert game.refusal(3, PassDice(0)).code == Code.NOBODY_ELSE
    game.done((1, Sit(0)))
    game.done((3, PassDice(0)))
    assert game.state.thrower(0) == 1


def test_the_dice_wait_for_the_least_betting_time() -> None:
    game = Game().seated(0, 1)
    game.bet(0, RIDE, 10)
    opened = game.state.time_ms
    receipt = game.refusal(0, Roll(0), ms=1_999)
    assert (receipt.code, receipt.values) == (Code.TOO_EARLY, (1,))
    game.done((0, Roll(0)), ms=1)
    assert game.closed == (0,)
    assert game.state.time_ms == opened + 2_000


def test_all_ready_lets_the_thrower_throw_at_once_and_riders_are_not_asked() -> None:
    game = Game().seated(0, 1, 2)
    game.bet(0, RIDE, 10)
    game.bet(2, RIDE, 10)
    game.throw(2)
    game.done((2, Leave(0)), ms=0)
    assert game.refusal(0, Roll(0), ms=1).code == Code.TOO_EARLY
    game.done((1, Ready(0)), (0, Roll(0)), ms=1)
    assert game.closed == (0,)


def test_one_player_alone_throws_without_waiting() -> None:
    game = Game().seated(0)
    game.done((0, PlaceBet(0, RIDE, 0, 1)), (0, Roll(0)))
    assert game.closed == (0,)


def test_no_roll_is_called_while_there_are_no_dice_to_make_it_from() -> None:
    game = Game().seated(0)
    game.bet(0, RIDE, 1)
    (receipt,) = game.block((0, Roll(0)), can_close=False)
    assert receipt.code == Code.NO_DICE
    (receipt,) = game.block((0, Tick(0)), can_close=False, ms=30_000)
    assert receipt.code == Code.NO_DICE
    assert game.closed == ()
    game.done((0, Roll(0)))


def test_no_timer_runs_while_the_layout_is_empty() -> None:
    game = Game().seated(0, 1)
    assert game.state.due() is None
    assert game.refusal(0, Tick(0), ms=10_000_000).code == Code.NO_TIMER
    game.bet(0, FIELD, 1)
    # Time counts from the first bet, not from before it.
    assert game.state.due() == (game.state.time_ms + 30_000, 0)
    game.done((0, TakeDown(0, FIELD, 0)))
    assert game.state.due() is None


def test_a_tick_before_its_time_says_how_long_it_is() -> None:
    game = Game().seated(0, 1)
    game.bet(0, FIELD, 1)
    receipt = game.refusal(1, Tick(0), ms=29_999)
    assert (receipt.code, receipt.values) == (Code.NOT_DUE, (1,))
    game.done((1, Tick(0)), ms=1)
    assert game.closed == (0,)


def test_anybody_may_say_that_a_timer_is_due() -> None:
    game = Game(players=4).seated(0)
    game.bet(0, FIELD, 1)
    game.done((3, Tick(0)), ms=30_000)
    assert game.closed == (0,)


def test_the_window_of_the_next_roll_counts_from_the_payment() -> None:
    game = Game().seated(0, 1)
    game.bet(0, RIDE, 1)
    game.throw(2)
    paid = game.state.time_ms
    # In the middle of a hand everybody may throw, so the thrower has to hurry.
    assert game.state.due() == (paid + 10_000, 0)
    game.bet(1, FIELD, 1)
    assert game.state.due() == (paid + 10_000, 0), "a further bet buys no time"
    game.done((1, Leave(0)))
    assert game.state.due() == (paid + 30_000, 0)


def test_a_slow_thrower_loses_the_dice_to_the_next_willing_seat() -> None:
    game = Game().seated(0, 1, 2)
    game.bet(0, RIDE, 1)
    began = game.state.time_ms
    game.bet(2, RIDE, 1)
    assert game.state.due() == (began + 10_000, 0)
    game.done((1, Tick(0)), ms=9_000)
    assert not game.closed
    assert game.state.thrower(0) == 2
    assert game.state.due() == (began + 20_000, 0), "the next has as long"
    game.done((1, Tick(0)), ms=10_000)
    assert game.state.thrower(0) == 0
    game.done((1, Tick(0)), ms=10_000)
    assert game.closed == (0,), "in the end the dice are thrown"


def test_a_slow_thrower_keeps_the_dice_when_nobody_else_would_throw() -> None:
    game = Game().seated(0, 1)
    game.bet(0, RIDE, 1)
    assert game.refusal(1, Tick(0), ms=29_999).code == Code.NOT_DUE
    assert game.state.thrower(0) == 0


def test_the_window_that_runs_out_makes_the_one_with_the_dice_the_thrower() -> None:
    game = Game().seated(0, 1)
    game.bet(1, RIDE, 1)
    game.done((0, Tick(0)), ms=30_000)
    game.block(faces=[(0, 2)])
    assert game.results[-1].thrower == (1,)


def test_an_absent_player_is_taken_out_as_one_who_leaves() -> None:
    game = Game().seated(0, 1)
    game.bet(0, RIDE, 10)
    game.throw(2)
    game.bet(0, STAY, 6, 4)
    rack = game.racks[0]
    last = game.state.time_ms
    for _ in range(4):  # seat 1 plays on; the window timer rolls a harmless 3
        game.done((1, PlaceBet(0, FIELD, 0, 1)), (1, Tick(0)), ms=30_000)
        if game.closed:
            game.block(faces=[(0, 2)], ms=0)
    assert game.state.time_ms - last == 120_000
    seat = game.session().seats[0]
    assert seat is not None
    assert seat.riding
    assert game.bets(0) == {(RIDE, 0): 10}
    assert game.racks[0] == rack + 6
    assert game.state.thrower(0) == 1


def test_who_does_nothing_but_throw_is_there() -> None:
    game = Game().seated(0)
    game.bet(0, RIDE, 10)
    for _ in range(5):
        game.throw(2, ms=15_000)
    assert game.refusal(1, Tick(0)).code == Code.NOT_DUE
    assert game.session().is_seated(0)


def test_time_in_front_of_an_empty_layout_makes_nobody_absent() -> None:
    game = Game().seated(0, 1)
    game.done((1, Ready(0)), ms=500_000)
    game.bet(1, FIELD, 1)
    assert game.refusal(1, Tick(0), ms=1).code == Code.NOT_DUE
    assert game.session().is_seated(0)


def test_a_table_that_loses_its_last_bet_to_an_absence_is_open_again() -> None:
    game = Game().seated(0)
    game.bet(0, FIELD, 1)
    state = game.state
    # No window timer came for so long: both are due, and the seat leaves first.
    assert game.done((2, Tick(0)), ms=90_000) == [(1,)]
    assert game.closed == ()
    assert game.session().phase == Phase.OPEN
    assert game.racks[0] == 10_000
    assert state.sessions[0] is not None
