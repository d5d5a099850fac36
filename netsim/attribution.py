"""Whom the table has to name: what cheats let an honest node prove ends as a conviction.

PROTOCOL 9.3 is restated here and in `overheard`, and not asked of the code that it judges. What may
be missed without a fault (a half that came too early, or was lost with the power) is not held
against anybody.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from netsim.invariants import ViolatedError

EPOCHS_PROVABLE = 2
"""Epochs in which a proof can be checked: its own and the next one (PROTOCOL 9.3)."""
ROUNDS_OF_LEADERS = 3
"""Within which a finder's own block carries its proof; one may be lost to a view that nobody sees."""
OFFENCES = {
    "votes": "two votes that exclude each other",
    "dealings": "two dealings of one batch",
    "shares": "a share that was not the one dealt",
}
"""The kinds of charges, and what was heard."""


@dataclass(frozen=True, slots=True)
class Debt:
    """A conviction that the table owes: who could prove what of whom, since which height."""

    finder: int
    offender: int
    epoch: int
    height: int
    of: str = "votes"


class Attribution:
    """The convictions that are owed."""

    def __init__(self) -> None:
        """Nobody was caught yet."""
        self._debts: dict[tuple[int, int, int], Debt] = {}  # finder, offender, epoch

    @property
    def debts(self) -> tuple[Debt, ...]:
        """Every conviction owed, paid or not."""
        return tuple(self._debts.values())

    def owes(self, debt: Debt) -> None:
        """The finder outlived the moment in which it could prove it."""
        self._debts.setdefault((debt.finder, debt.offender, debt.epoch), debt)

    def settle(
        self,
        convicted: Sequence[int],
        voters: Sequence[int],
        epoch: int,
        *,
        since: int,
        height: int,
        is_held: Callable[[Debt], bool],
    ) -> dict[int, list[str]]:
        """Return who had to be convicted by this height and was, and of which kinds of offences.

        Everybody is healthy since height `since`. Until then the finder's disk has to hold the
        proof, as `is_held` says.

        A finder that votes no more, or that lost touch until no epoch was left to check its proof,
        owes nothing. Raises `ViolatedError` if one of the others is not convicted.
        """
        paid: dict[int, list[str]] = {}
        for debt in self._debts.values():
            is_late = height >= max(debt.height, since) + ROUNDS_OF_LEADERS * len(voters)
            is_provable = epoch < debt.epoch + EPOCHS_PROVABLE
            heard = (
                f"attribution: host {debt.finder} heard {OFFENCES[debt.of]} of host "
                f"{debt.offender} by height {debt.height}; at {height}"
            )
            if debt.offender in convicted:
                kinds = paid.setdefault(debt.offender, [])
                if debt.of not in kinds:
                    kinds.append(debt.of)
            elif not is_provable or debt.finder not in voters:
                continue
            elif not is_held(debt):
                raise ViolatedError(f"{heard} its disk has no proof")
            elif is_late:
                raise ViolatedError(f"{heard} no block names it")
        return paid
