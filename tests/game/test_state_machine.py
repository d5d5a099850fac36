"""The generic state machine, and the one table of a session walked pair by pair."""

import pytest

from node.game.params import GameParams
from node.game.receipts import Code
from node.game.rules import Refusal
from node.game.session import (
    MACHINE,
    NOBODY,
    TABLE,
    Effect,
    Event,
    GameSession,
    Moment,
    Phase,
)
from node.game.state_machine import StateMachine, Transition
from tests.game.tiny import GAME, TinyGame


def too_small(size: int) -> Refusal | None:
    return Refusal(90, (size,)) if size < 10 else None


def odd(size: int) -> Refusal | None:
    return Refusal(91) if size % 2 else None


DOOR: StateMachine[str, str, int, str] = StateMachine(
    {
        ("closed", "push"): Transition("open", (too_small, odd), ("creak", "light")),
        ("open", "push"): Refusal(92),
        ("open", "pull"): Transition("closed"),
    }
)


def test_machine_returns_target_and_effects_in_order() -> None:
    step = DOOR.fire("closed", "push", 12)
    assert step == Transition("open", (too_small, odd), ("creak", "light"))


def test_machine_returns_the_first_refusal_of_its_guards() -> None:
    assert DOOR.fire("closed", "push", 7) == Refusal(90, (7,))
    assert DOOR.fire("closed", "push", 11) == Refusal(91)


def test_machine_returns_the_refusal_that_the_table_names() -> None:
    assert DOOR.fire("open", "push", 12) == Refusal(92)


def test_machine_asserts_that_an_impossible_event_does_not_come() -> None:
    with pytest.raises(AssertionError, match="pull cannot happen in closed"):
        DOOR.fire("closed", "pull", 12)


OP, BE, CL, XX, SE, FI = Phase
R = Code
# Every phase (row) and event (column): the target, the refusal, or None for what cannot happen.
#                   BET EMPTIED ROLL            WINDOW_OVER    THROWER_SLOW   DECLINE
#                   BLOCK_END DICE PAID FINISH
EXPECTED: dict[Phase, tuple[Phase | Code | None, ...]] = {
    OP: (BE, None, R.NOTHING_LIES, R.NO_TIMER, R.NO_TIMER, OP, None, None, None, FI),
    BE: (None, OP, CL, CL, BE, BE, None, None, None, R.NOT_EMPTY),
    CL: (None, OP, R.ROLL_CALLED, R.ROLL_CALLED, R.ROLL_CALLED, R.ROLL_CALLED, XX, None, None,
         R.NOT_EMPTY),
    XX: (None, None, R.NO_MORE_BETS, R.NO_MORE_BETS, R.NO_MORE_BETS, R.NO_MORE_BETS, None, SE,
         None, R.NOT_EMPTY),
    SE: (None, OP, None, None, None, None, None, None, BE, None),
    FI: (None,) * 10,
}  # fmt: skip


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("event", Event)
def test_every_pair_of_phase_and_event_is_decided(phase: Phase, event: Event) -> None:
    expected = EXPECTED[phase][list(Event).index(event)]
    match TABLE.get((phase, event)):
        case None:
            assert expected is None
        case Refusal(code=code):
            assert expected == Code(code)
        case step:
            assert expected == step.target


@pytest.mark.parametrize("phase", [OP, BE, CL, XX])
@pytest.mark.parametrize(
    "event", [Event.ROLL, Event.WINDOW_OVER, Event.THROWER_SLOW, Event.DECLINE, Event.FINISH]
)
def test_what_players_may_ask_for_is_decided_in_every_phase_they_meet(
    phase: Phase, event: Event
) -> None:
    assert (phase, event) in TABLE


def test_a_refused_event_leaves_the_session_as_it_was() -> None:
    session = GameSession.opened(TinyGame(), GAME, 1 << 16, 0, 500)
    session.sit(3, 500)
    session.leaf()
    moment = Moment(session, 0, 600, can_close=True, params=GameParams())
    fields = {name: getattr(session, name) for name in session.__struct_fields__}
    for event in (Event.ROLL, Event.WINDOW_OVER, Event.DECLINE, Event.FINISH):
        assert isinstance(MACHINE.fire(session.phase, event, moment), Refusal)
    assert {name: getattr(session, name) for name in session.__struct_fields__} == fields


def test_effects_are_performed_in_the_order_of_the_table() -> None:
    session = GameSession.opened(TinyGame(), GAME, 1 << 16, 0, 500)
    session.sit(3, 500)
    session.sit(4, 500)
    session.dice = 1
    moment = Moment(session, 1, 900, can_close=True, params=GameParams())
    # The dice are taken by the seat that has them at that moment, before the roll is noted.
    session.perform(
        Transition(Phase.CLOSING, (), (Effect.MOVE_DICE, Effect.TAKE_DICE, Effect.NOTE_CALLER)),
        moment,
    )
    assert (session.phase, session.dice, session.dice_ms) == (Phase.CLOSING, 0, 900)
    assert session.caller == 1
    session.perform(Transition(Phase.CLOSED, (), (Effect.FORGET_CALLER,)), moment)
    assert session.caller == NOBODY
