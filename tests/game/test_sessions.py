"""Sessions and their seats: create, sit, leave, finish, the limits, and what they cost when over."""

import msgspec
import pytest

from consensus.encoding import encode
from node.game.operations import (
    CreateSession,
    Finish,
    Leave,
    PassDice,
    PlaceBet,
    Ready,
    Reduce,
    Roll,
    Sit,
    TakeDown,
    Tick,
    Working,
)
from node.game.params import GameParams
from node.game.positions import Positions, move
from node.game.receipts import Code
from node.game.rules import Bet, BetKey, Settlement
from node.game.session import Phase
from tests.game.tables import FAST, Game, roots
from tests.game.tiny import FIELD, GAME, LAY, MOVE, RIDE, SIDE, STAY, TinyGame


def many(sessions: int = 100, per_player: int = 1_024) -> GameParams:
    return msgspec.structs.replace(FAST, max_sessions=sessions, sessions_per_player=per_player)


def test_a_session_is_named_by_the_height_and_index_of_its_creation() -> None:
    game = Game()
    game.done((0, CreateSession(GAME)), (2, CreateSession(GAME)))
    assert [game.session(slot).serial for slot in (0, 1)] == [1 << 16, 1 << 16 | 1]
    assert game.session(1).creator == 2


def test_seats_are_taken_lowest_first_and_once_each() -> None:
    game = Game()
    game.done((0, CreateSession(GAME)))
    assert game.done((3, Sit(0)), (1, Sit(0))) == [(0,), (1,)]
    assert game.refusal(3, Sit(0)).code == Code.SEATED
    game.done((3, Leave(0)))
    assert game.done((2, Sit(0))) == [(0,)]


def test_one_hundred_games_run_at_once_and_the_next_is_refused() -> None:
    game = Game(players=8, params=many())
    slots = game.done(*((i % 8, CreateSession(GAME)) for i in range(100)))
    assert slots == [(i,) for i in range(100)]
    game.done(
        *((player, Sit(slot)) for slot in range(100) for player in (slot % 8, (slot + 1) % 8))
    )
    game.done(*((slot % 8, PlaceBet(slot, RIDE, 0, 10)) for slot in range(100)))
    game.done(*(((slot + 1) % 8, Ready(slot)) for slot in range(100)))
    game.done(*((slot % 8, Roll(slot)) for slot in range(100)))
    assert game.closed == tuple(range(100))
    game.block(faces=[(slot, slot % 6) for slot in range(100)])
    assert [result.dice for result in game.results] == [(slot % 6 + 1,) for slot in range(100)]
    assert game.refusal(0, CreateSession(GAME)).code == Code.SESSIONS


def test_sessions_with_one_seed_roll_dice_of_their_own() -> None:
    game = Game(players=2, params=many())
    game.done(*((0, CreateSession(GAME)) for _ in range(24)))
    game.done(*((0, Sit(slot)) for slot in range(24)))
    game.done(*((0, PlaceBet(slot, RIDE, 0, 1)) for slot in range(24)))
    game.done(*((0, Roll(slot)) for slot in range(24)))
    state = game.state.fork()
    state.begin_block(state.height + 1, state.time_ms + 1, can_close=True)
    dice = [state.settle(slot, bytes(32)).dice for slot in range(24)]
    assert len(dict.fromkeys(dice)) == 6


def test_a_player_who_opened_enough_games_opens_no_more() -> None:
    game = Game(params=many(per_player=3))
    game.done(*((1, CreateSession(GAME)) for _ in range(3)))
    assert game.refusal(1, CreateSession(GAME)).code == Code.SESSIONS_OF_PLAYER
    game.done((2, CreateSession(GAME)))
    game.done((1, Finish(1)))
    assert game.done((1, CreateSession(GAME))) == [(1,)]


def test_a_thousand_finished_sessions_leave_no_growth() -> None:
    game = Game(players=2, params=many(sessions=4))
    sizes, serials = [], []
    for _ in range(250):
        game.done(*((0, CreateSession(GAME)) for _ in range(4)))
        game.done(*((1, Sit(slot)) for slot in range(4)))
        serials += [game.session(slot).serial for slot in range(4)]
        game.done(*((1, Leave(slot)) for slot in range(4)))
        game.done(*((0, Finish(slot)) for slot in range(4)))
        leaves = game.state.leaves()
        sizes.append(len(encode((leaves.accounts, leaves.sessions))))
        assert leaves.sessions == ((b"", ()),) * 4
    assert sizes[0] == sizes[-1]
    assert len(dict.fromkeys(serials)) == 1_000


def test_only_an_empty_game_is_finished() -> None:
    game = Game().seated(0, 1)
    game.bet(0, RIDE, 10)
    receipt = game.refusal(0, Finish(0))
    assert (receipt.code, receipt.values) == (Code.NOT_EMPTY, (2, 10))
    game.done((0, TakeDown(0, RIDE, 0)))
    receipt = game.refusal(0, Finish(0))
    assert (receipt.code, receipt.values) == (Code.NOT_EMPTY, (2, 0))
    game.done((0, Leave(0)), (1, Leave(0)), (0, Finish(0)))
    assert game.state.sessions == [None]


def test_an_empty_game_is_its_openers_to_end_until_it_is_idle() -> None:
    game = Game()
    game.done((0, CreateSession(GAME)))
    receipt = game.refusal(1, Finish(0), ms=89_999)
    assert (receipt.code, receipt.values) == (Code.NOT_IDLE, (1,))
    game.done((1, Finish(0)), ms=1)


def test_an_empty_game_is_idle_from_when_the_last_player_left() -> None:
    game = Game().seated(0)
    game.done((0, Leave(0)), ms=80_000)
    receipt = game.refusal(1, Finish(0), ms=80_000)
    assert (receipt.code, receipt.values) == (Code.NOT_IDLE, (10_000,))
    game.done((1, Finish(0)), ms=10_000)


def test_a_full_table_gives_the_slot_of_an_abandoned_game_away() -> None:
    game = Game(params=many(sessions=2))
    game.done((0, CreateSession(GAME)), (0, CreateSession(GAME)))
    game.done((0, Sit(0)), (1, Sit(1)))
    game.done((1, Ready(1)), ms=50_000)
    assert game.refusal(2, CreateSession(GAME), ms=39_999).code == Code.SESSIONS
    old = game.session(0).serial
    assert game.done((2, CreateSession(GAME)), ms=1) == [(0,)]
    assert game.session(0).serial != old
    assert game.session(0).seats == []
    assert game.refusal(2, CreateSession(GAME)).code == Code.SESSIONS


def test_a_game_with_a_bet_is_never_given_away() -> None:
    game = Game(params=many(sessions=1)).seated(0)
    game.bet(0, RIDE, 10)
    assert game.refusal(2, CreateSession(GAME), ms=10_000_000).code == Code.SESSIONS


def test_who_leaves_takes_what_may_come_down_and_lets_the_rest_ride() -> None:
    game = Game().seated(0, 1)
    game.bet(0, RIDE, 10)
    game.bet(1, MOVE, 5)
    game.throw(2)  # ride is a contract now, move has travelled to the 3
    game.bet(0, SIDE, 4)
    game.bet(0, FIELD, 3)
    rack = game.racks[0]
    assert game.done((0, Leave(0))) == [(7,)]
    assert game.racks[0] == rack + 7
    assert game.bets(0) == {(RIDE, 0): 10}
    assert game.refusal(0, PlaceBet(0, FIELD, 0, 3)).code == Code.NOT_SEATED
    assert game.refusal(0, TakeDown(0, RIDE, 0)).code == Code.NOT_SEATED
    game.throw(5)
    assert game.racks[0] == rack + 7 + 20
    assert game.session().seats[0] is None
    assert game.session().seat_of == {1: 1}


def test_who_comes_back_finds_the_riding_bets() -> None:
    game = Game().seated(0, 1)
    game.bet(0, RIDE, 10)
    game.throw(2)
    game.done((0, Leave(0)))
    assert game.done((2, Sit(0)), (0, Sit(0))) == [(2,), (0,)]
    assert game.bets(0) == {(RIDE, 0): 10}
    game.done((0, PlaceBet(0, RIDE, 0, 5)))


def test_a_game_of_riding_bets_alone_is_thrown_by_its_timer_and_paid() -> None:
    game = Game().seated(0)
    game.bet(0, RIDE, 10)
    game.throw(2)
    game.done((0, Leave(0)))
    assert game.state.thrower(0) is None
    assert game.state.due() == (game.state.time_ms - 1_000 + 30_000, 0)
    game.done((3, Tick(0)), ms=29_000)
    assert game.closed == (0,)
    game.block(faces=[(0, 5)])
    result = game.results[-1]
    assert (result.thrower, result.next_thrower) == ((), ())
    assert game.racks[0] == 10_010
    assert game.session().phase == Phase.OPEN
    assert game.session().seats == [None]


def test_a_bet_between_two_ticks_of_a_block_starts_the_timer_that_the_second_one_hears_of() -> None:
    game = Game().seated(0, 1)
    game.bet(0, RIDE, 10)
    # Somebody else would throw from now on, so the thrower may be too slow.
    bet = PlaceBet(0, RIDE, 0, 10)
    receipts = game.block((0, Ready(0)), (2, Tick(0)), (1, bet), (2, Tick(0)))
    assert [(receipt.code, receipt.values) for receipt in receipts[1::2]] == [
        (Code.NOT_DUE, (29_000,)),
        (Code.NOT_DUE, (9_000,)),
    ]


@pytest.mark.parametrize(
    "operation",
    [
        PlaceBet(0, FIELD, 0, 1),
        Reduce(0, STAY, 2, 6),
        TakeDown(0, STAY, 2),
        Working(0, STAY, 2, 2),
        Ready(0),
        Roll(0),
        PassDice(0),
        Leave(0),
        Tick(0),
    ],
)
def test_between_close_and_settle_nothing_changes(operation: object) -> None:
    game = Game().seated(0, 1)
    game.bet(0, RIDE, 10)
    game.bet(1, STAY, 6, 2)
    game.done((1, Ready(0)), (0, Roll(0)))
    receipt = game.refusal(1, operation, ms=10_000_000)  # type: ignore[arg-type]
    assert receipt.code == Code.NO_MORE_BETS
    # A newcomer may sit down to wait for the next window.
    game.done((2, Sit(0)))


def test_bets_are_taken_until_the_block_of_the_roll_ends() -> None:
    game = Game().seated(0, 1)
    game.bet(0, RIDE, 10)
    game.done((1, Ready(0)), (0, Roll(0)), (1, PlaceBet(0, FIELD, 0, 3)))
    assert game.closed == (0,)
    assert game.bets(1) == {(FIELD, 0): 3}


@pytest.mark.parametrize(
    "operation",
    [PlaceBet(0, FIELD, 0, 1), Reduce(0, RIDE, 0, 5), TakeDown(0, RIDE, 0), Leave(0)],
)
def test_who_called_the_roll_changes_nothing_more(operation: object) -> None:
    game = Game().seated(0)
    game.bet(0, RIDE, 10)
    receipts = game.block((0, Roll(0)), (0, operation), (0, Roll(0)))  # type: ignore[arg-type]
    assert [r.code for r in receipts] == [Code.DONE, Code.OWN_ROLL, Code.ROLL_CALLED]


def test_a_roll_is_off_when_the_block_ends_with_an_empty_layout() -> None:
    game = Game().seated(0, 1)
    game.bet(0, RIDE, 10)
    game.throw(2)
    game.bet(1, FIELD, 1)
    game.throw(5)  # ride has won, only the board remembers the hand
    game.bet(1, FIELD, 1)
    game.done((1, Ready(0)), (0, Roll(0)), (1, TakeDown(0, FIELD, 0)))
    assert game.closed == ()
    assert game.session().phase == Phase.OPEN
    game.bet(0, FIELD, 1)  # nobody is remembered as the caller


def test_a_bet_after_ready_takes_ready_back() -> None:
    game = Game().seated(0, 1)
    game.bet(0, RIDE, 10)
    game.done((1, Ready(0)))
    game.done((1, PlaceBet(0, FIELD, 0, 1)), ms=1)
    assert game.refusal(0, Roll(0), ms=1).code == Code.TOO_EARLY
    game.done((1, Ready(0)), (0, Roll(0)), ms=1)


def test_ready_holds_for_one_roll() -> None:
    game = Game().seated(0, 1)
    game.bet(0, RIDE, 10)
    game.throw(2)
    assert game.refusal(0, Roll(0), ms=1).code == Code.TOO_EARLY


def test_a_seat_holds_no_more_bets_than_the_table_allows() -> None:
    game = Game(params=msgspec.structs.replace(FAST, bets_per_seat=2)).seated(0)
    game.bet(0, RIDE, 10)
    game.bet(0, FIELD, 10)
    assert game.refusal(0, PlaceBet(0, STAY, 6, 6)).code == Code.BETS
    game.bet(0, FIELD, 5)
    assert game.bets(0) == {(RIDE, 0): 10, (FIELD, 0): 15}


def test_operations_of_one_player_in_one_block_are_bounded() -> None:
    game = Game(params=msgspec.structs.replace(FAST, operations_per_block=3)).seated(0, 1)
    bets = [(0, PlaceBet(0, FIELD, 0, 1))] * 5
    receipts = game.block(*bets, (1, PlaceBet(0, FIELD, 0, 1)))
    limit = Code.OPERATIONS
    assert [r.code for r in receipts] == [0, 0, 0, limit, limit, 0]
    assert receipts[3].values == (3,)
    game.done(bets[0])
    assert game.bets(0) == {(FIELD, 0): 4}


def test_bets_of_one_kind_and_number_are_one_bet_named_by_its_first_chip() -> None:
    game = Game().seated(0)
    game.bet(0, FIELD, 3)
    height = game.state.height
    game.bet(0, FIELD, 4)
    (bet,) = game.session().seats[0].bets.values()  # type: ignore[union-attr]
    assert (bet.stake, bet.id) == (7, height << 16)
    game.done((0, Reduce(0, FIELD, 0, 2)))
    (bet,) = game.session().seats[0].bets.values()  # type: ignore[union-attr]
    assert (bet.stake, bet.id) == (5, height << 16)


def test_what_depends_on_a_bet_comes_down_with_it() -> None:
    game = Game().seated(0)
    game.bet(0, RIDE, 10)
    game.bet(0, SIDE, 4)
    assert game.done((0, TakeDown(0, RIDE, 0))) == [(14,)]
    assert game.bets(0) == {}
    assert game.state.accounts[0].open_bets == 0


def test_accounts_count_their_bets_on_all_layouts() -> None:
    game = Game().seated(0, 1).seated(0)
    game.bet(0, RIDE, 10)
    game.bet(0, FIELD, 10)
    game.bet(0, RIDE, 10, slot=1)
    assert game.state.accounts[0].open_bets == 3
    game.throw(1)
    assert game.state.accounts[0].open_bets == 2


def test_a_moved_bet_joins_the_one_that_stays_on_its_number() -> None:
    game = Game().seated(0)
    game.bet(0, RIDE, 1)
    game.bet(0, MOVE, 5)
    game.throw(2)
    assert game.bets(0) == {(RIDE, 0): 1, (MOVE, 3): 5}
    game.bet(0, MOVE, 7)
    rack = game.racks[0]
    game.throw(2)  # the first wins and goes, the second takes its place
    assert game.bets(0) == {(RIDE, 0): 1, (MOVE, 3): 7}
    assert game.racks[0] == rack + 10


def test_a_call_stays_with_a_bet_that_stays_and_ends_with_one_that_moves() -> None:
    game = Game().seated(0)
    game.bet(0, RIDE, 1)
    game.bet(0, STAY, 6, 4)
    game.done((0, Working(0, STAY, 4, 1)))
    game.throw(3)
    seat = game.session().seats[0]
    assert seat is not None
    key, moved = BetKey(STAY, 4), BetKey(STAY, 5)
    bet, bets = seat.bets[key], dict(seat.bets)
    assert (bet.stake, bet.working) == (6, 1)
    move(bets, Settlement(key, 0, 0, 0, 0, moved, 6, 0))
    assert bets[moved] == Bet(6, bet.id, 0, 0)


def test_a_bet_that_moves_to_one_still_there_becomes_part_of_it() -> None:
    there, lay = BetKey(STAY, 4), BetKey(LAY, 0)
    bets = {there: Bet(6, 70, 1), lay: Bet(20, 71, 2, 1)}
    settled = Positions(TinyGame(), 0).apply(bets, [Settlement(lay, 0, 0, 0, 0, there, 20, 1)])
    assert bets == {there: Bet(26, 70, 1, 1)}
    # A lay of 20 can win 10 and the stays before 7; together they lie as 26, of which 24 pay.
    assert (settled.chips, settled.bets, settled.prizes) == (0, -1, 28 - 10 - 7)


def test_a_row_that_makes_or_loses_a_chip_is_a_fault_of_the_rules() -> None:
    key, positions = BetKey(FIELD, 0), Positions(TinyGame(), 0)
    with pytest.raises(AssertionError, match="makes 6 of 5 chips"):
        positions.apply({key: Bet(5, 70)}, [Settlement(key, 0, 0, 0, 6, key, 0, 0)])


def test_a_session_shares_its_seats_with_the_state_it_was_forked_from() -> None:
    game = Game(players=8).seated(*range(8))
    before = game.state
    game.bet(5, FIELD, 1)
    old, new = before.sessions[0], game.session()
    assert old is not None
    shared = [old.seats[i] is new.seats[i] for i in range(8)]
    assert shared == [True] * 5 + [False] + [True] * 2
    assert [before.accounts[i] is game.state.accounts[i] for i in range(8)] == shared


def test_states_with_other_histories_have_other_roots() -> None:
    one, two = Game().seated(0, 1), Game().seated(1, 0)
    assert roots(one.state) != roots(two.state)
