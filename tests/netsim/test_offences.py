"""PROTOCOL 9.3, 13.2: whoever can be proven to have cheated is named by the table, and nobody else.

The invariants watch every run: no block that is final at an honest host convicts an honest one.
"""

from random import Random

import pytest

from netsim.byzantine import adversary_of
from netsim.playing import PlayingTable
from node.membership import member_facts

PROVABLE = ("equivocator", "false-sharer", "double-dealer", "false-dealer")
ANYTHING_ELSE = (
    "framer",
    "double-acker",
    "withholder",
    "silent",
    "thief",
    "flooder",
    "liar",
    "double-bettor",
)


def table_with(strategy: str, seed: int, n: int = 4) -> PlayingTable:
    rng = Random(f"{strategy} {seed}")
    return PlayingTable(n, seed, adversaries={n - 1: adversary_of(strategy, rng, [n - 1])})


def convicted(table: PlayingTable, host: int = 0) -> list[int]:
    members = table.replicas[host].final.membership.members
    return [slot for slot, member in enumerate(members) if member.cheated]


@pytest.mark.parametrize("strategy", PROVABLE)
@pytest.mark.parametrize("seed", [1, 2])
def test_who_cheats_is_convicted_by_a_block_and_votes_no_more(strategy: str, seed: int) -> None:
    table = table_with(strategy, seed)
    rolls = 0
    while not convicted(table):
        rolls += 1
        assert rolls < 40, f"{strategy} is not named after {rolls} rolls"
        table.play(rolls, limit_ms=600_000)
    while table.replicas[0].final.membership.epoch == 0:
        table.network.run(table.network.now_ms + 1_000)
    played = len(table.rolls)
    table.play(played + 3, limit_ms=900_000)
    for host in table.honest:
        membership = table.replicas[host].final.membership
        assert convicted(table, host) == [3]
        assert 3 not in membership.voters
        assert member_facts(membership, 3)["cheated"]


@pytest.mark.parametrize("strategy", ANYTHING_ELSE)
def test_what_proves_nothing_convicts_nobody(strategy: str) -> None:
    table = table_with(strategy, seed=3)
    table.play(6, limit_ms=900_000)
    assert convicted(table) == []


def share_what_they_know(table: PlayingTable) -> bool:
    """Say whether the dice of each node know the secrets that a settle opens for its chain."""
    found = [table.replicas[host] for host in table.honest]
    return all(
        one._epoch.beacon is not None and one._epoch.beacon._context is one.final.beacon.context
        for one in found
    )


def test_what_a_settle_opens_is_known_to_dice_and_chain_alike_in_every_epoch() -> None:
    table = table_with("equivocator", seed=1)
    while table.replicas[0].final.membership.epoch == 0:
        assert share_what_they_know(table)
        table.play(len(table.rolls) + 1, limit_ms=600_000)
    table.play(len(table.rolls) + 1, limit_ms=600_000)
    assert share_what_they_know(table)
