"""What a settled roll shows: every bet that it touched, and in which way."""

from collections.abc import Sequence

from consensus.encoding import Digest, encode
from node.game.craps.bets import Kind
from node.game.craps.params import CrapsParams
from node.game.craps.rules import load_rules
from node.game.operations import CreateSession, Sit
from node.game.params import GameParams
from node.game.receipts import BetResult, ReturnedBet, RollResult
from node.game.rules import Board
from node.game.state import GameState
from node.view import PaidView, build_view

NAMES = ("anna", "ben")


def opening_board() -> Board:
    rules = load_rules(encode(CrapsParams()))
    assert not isinstance(rules, str), rules
    return rules.opening_board()


BOARD = opening_board()


def row(kind: int, number: int = 0, **chips: int) -> BetResult:
    """A bet's result; what is not named is nothing."""
    fields = dict.fromkeys(BetResult.__struct_fields__, 0)
    return BetResult(**{**fields, "kind": kind, "number": number, **chips})


def shown(
    bets: Sequence[BetResult] = (), returned: Sequence[ReturnedBet] = ()
) -> tuple[PaidView, ...]:
    """Return what a roll with these results shows at a table of two."""
    state = GameState.genesis(GameParams(), len(NAMES))
    state.begin_block(1, 1_000, can_close=True)
    state.apply(0, CreateSession(1), 0)
    state.apply(0, Sit(0), 1)
    session = state.sessions[0]
    assert session is not None
    roll = RollResult(
        session=0, serial=session.serial, number=1, outcome=0, dice=(4, 4),
        board_before=BOARD, board=BOARD, thrower=(0,), next_thrower=(0,), hand_ended=0,
        bets=tuple(bets), returned=tuple(returned), postings=(),
    )  # fmt: skip
    view = build_view(state, [roll], table="t", names=NAMES, me=0, state_root=Digest(bytes(32)))
    (last,) = view.last
    assert last.dice == (4, 4)
    return last.paid


def test_a_win_is_shown_less_rake_and_vig() -> None:
    won = row(Kind.BUY, 8, player=1, profit=24, rake=2, vig=1, returned=41)
    assert shown([won]) == (PaidView(player=1, name="buy 8", chips=21),)


def test_a_loss_is_shown_with_its_vig() -> None:
    lost = row(Kind.BUY, 8, lost=20, vig=1)
    assert shown([lost]) == (PaidView(player=0, name="buy 8", chips=-21),)


def test_a_bet_that_moves_is_shown_where_it_goes() -> None:
    moved = row(Kind.COME, left=10, new_kind=Kind.COME, new_number=8)
    assert shown([moved]) == (PaidView(player=0, name="come", chips=0, moved="come 8"),)


def test_a_bet_that_the_bank_gave_back_is_shown() -> None:
    back = ReturnedBet(session=0, player=1, kind=Kind.PLACE, number=6, chips=12)
    assert shown(returned=[back]) == (PaidView(player=1, name="place 6", chips=0),)


def test_rolls_of_other_games_are_not_shown() -> None:
    state = GameState.genesis(GameParams(), len(NAMES))
    view = build_view(state, [], table="t", names=NAMES, me=1, state_root=Digest(bytes(32)))
    assert (view.session, view.last, view.own.name) == (-1, (), "ben")
