"""Do nodes agree? Compares where several stand, each as read from its own store."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RollFacts:
    """A settled roll as one node stored it. `proof` is what recomputes the dice."""

    session: int
    number: int
    height: int
    dice: tuple[int, ...]
    proof: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where one node stands after its last final block: chips by player, `layout` all bets."""

    height: int
    state_root: str
    rolls: tuple[RollFacts, ...]
    chips: Mapping[str, int]
    bank: int
    layout: int
    minted: int

    @property
    def total(self) -> int:
        """Every chip there is; equal to `minted`, always."""
        return sum(self.chips.values()) + self.layout + self.bank


def disagreement(standings: Mapping[str, Standing], rolls: int) -> str | None:
    """Say where the first two nodes differ, or what none of them may look like; None if all agree.

    They agree if all stand at one height with one state root, hold the same `rolls` or more rolls
    with the same dice and proofs, and each counts as many chips as were minted.
    """
    (first, one), *others = standings.items()
    for name, other in others:
        if difference := _difference(first, one, name, other):
            return difference
    for name, standing in standings.items():
        if len(standing.rolls) < rolls:
            return f"{name} holds {len(standing.rolls)} settled rolls of {rolls}"
        if standing.total != standing.minted:
            return f"{name} counts {standing.total:,} chips; {standing.minted:,} were minted"
    return None


def _difference(first: str, one: Standing, name: str, other: Standing) -> str | None:
    if one.height != other.height:
        return f"{first} stands at block {one.height}, {name} at block {other.height}"
    for mine, theirs in zip(one.rolls, other.rolls, strict=False):
        if mine != theirs:
            return (
                f"roll {mine.number} of session {mine.session} is {_dice(mine)} at {first}, "
                f"roll {theirs.number} of session {theirs.session} is {_dice(theirs)} at {name}"
            )
    if len(one.rolls) != len(other.rolls):
        return f"{first} holds {len(one.rolls)} settled rolls, {name} {len(other.rolls)}"
    if one.state_root != other.state_root:
        return (
            f"at block {one.height} {first} has state root {one.state_root}, "
            f"{name} {other.state_root}"
        )
    return None


def _dice(roll: RollFacts) -> str:
    return f"{' '.join(map(str, roll.dice))} (block {roll.height}, proof {roll.proof[:4].hex()}…)"
