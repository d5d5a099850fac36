"""What a replica takes from its player, and what it answers beside the effects of the core."""

from dataclasses import dataclass
from typing import TypeAlias

from consensus.effects import Effect
from node.game.receipts import BlockResult, Receipt
from node.mempool import AnyOperation


@dataclass(frozen=True, slots=True)
class Submission:
    """One operation of the player here; the ticket comes back with its answer."""

    ticket: int
    operation: AnyOperation


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a submission: at once with height 0 if refused here, else when final."""

    ticket: int
    height: int
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Played:
    """A final block's result, behind its `Committed`."""

    height: int
    result: BlockResult


@dataclass(frozen=True, slots=True)
class Rebased:
    """The journal begins at a state that was fetched: this object is over, make one from it."""

    height: int


ReplicaEffect: TypeAlias = Effect | Answer | Played | Rebased
