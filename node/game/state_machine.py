"""A state machine as one literal table: what may happen, what stands against it, what follows.

The table is data, so a test can walk every pair of state and event. Guards and effects are named in
it; a guard is a pure function that says why not, an effect is a value that the owner performs.
Nothing is changed here, so a refused event leaves the state as it was.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from node.game.rules import Refusal

S = TypeVar("S")
E = TypeVar("E")
C = TypeVar("C")
F = TypeVar("F")


@dataclass(frozen=True, slots=True)
class Transition(Generic[S, C, F]):
    """Where an event leads if no guard objects, and what the owner then does, in order."""

    target: S
    guards: tuple[Callable[[C], Refusal | None], ...] = ()
    effects: tuple[F, ...] = ()


Table: TypeAlias = Mapping[tuple[S, E], Transition[S, C, F] | Refusal]
"""A pair that is missing cannot happen; one that may be asked for and is denied has its refusal."""


@dataclass(frozen=True, slots=True)
class StateMachine(Generic[S, E, C, F]):
    """Looks events up in the table. `C` is what guards read, `F` the effects."""

    table: Table[S, E, C, F]

    def fire(self, state: S, event: E, context: C) -> Transition[S, C, F] | Refusal:
        """Return the transition to perform, or the refusal of the table or of the first guard."""
        step = self.table.get((state, event))
        assert step is not None, f"{event} cannot happen in {state}"
        if type(step) is Refusal:
            return step
        for guard in step.guards:
            if refusal := guard(context):
                return refusal
        return step
