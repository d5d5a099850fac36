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
    """Where one node stands after its last final block: chips by player, `layout` all bets.

    `roots` are the state roots (hex) after its latest blocks by height, that of `height` among them.
    """

    height: int
    roots: Mapping[int, str]
    rolls: tuple[RollFacts, ...]
    chips: Mapping[str, int]
    bank: int
    layout: int
    minted: int

    @property
    def total(self) -> int:
        """Every chip there is; equal to `minted`, always."""
        return sum(self.chips.values()) + self.layout + self.bank


def common_height(standings: Mapping[str, Standing]) -> int:
    """Return the greatest height that every node has reached: nodes end within a block or two."""
    return min(standing.height for standing in standings.values())


def disagreement(standings: Mapping[str, Standing], rolls: int) -> str | None:
    """Say where the first two nodes differ, or what none of them may look like; None if all agree.

    They agree if at the greatest height that all have reached they have one state root, if until
    there they hold the same `rolls` or more rolls with the same dice and proofs, and if each counts
    as many chips as were minted.
    """
    height = common_height(standings)
    behind = next(name for name, standing in standings.items() if standing.height == height)
    for name, standing in standings.items():
        if height not in standing.roots:
            return f"{name} stands at block {standing.height}, {behind} at block {height}"
    (first, one), *others = standings.items()
    for name, other in others:
        if difference := _difference(first, one, name, other, height):
            return difference
    held = len(_until(standings[behind], height))
    if held < rolls:
        return f"{behind} holds {held} settled rolls of {rolls} at block {height}"
    for name, standing in standings.items():
        if standing.total != standing.minted:
            return f"{name} counts {standing.total:,} chips; {standing.minted:,} were minted"
    return None


def _difference(first: str, one: Standing, name: str, other: Standing, height: int) -> str | None:
    mine, theirs = _until(one, height), _until(other, height)
    for here, there in zip(mine, theirs, strict=False):
        if here != there:
            return (
                f"roll {here.number} of session {here.session} is {_dice(here)} at {first}, "
                f"roll {there.number} of session {there.session} is {_dice(there)} at {name}"
            )
    if len(mine) != len(theirs):
        return f"at block {height} {first} holds {len(mine)} settled rolls, {name} {len(theirs)}"
    if one.roots[height] != other.roots[height]:
        return (
            f"at block {height} {first} has state root {one.roots[height]}, "
            f"{name} {other.roots[height]}"
        )
    return None


def _until(standing: Standing, height: int) -> list[RollFacts]:
    return [roll for roll in standing.rolls if roll.height <= height]


def _dice(roll: RollFacts) -> str:
    return f"{' '.join(map(str, roll.dice))} (block {roll.height}, proof {roll.proof[:4].hex()}…)"
