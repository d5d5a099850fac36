"""PROTOCOL 7.1 and 7.2: whom nodes distrust, and when, is no matter of agreement."""

import os
import random

import pytest

from consensus.encoding import digest
from consensus.messages import Number, VoteKind, frame, vote_payload
from consensus.signing import Domain, sign_envelope
from consensus.validators import ValidatorIndex
from netsim.adversaries import Adversary, Equivocator
from netsim.faults import storm
from netsim.playing import PlayingTable
from netsim.tables import CounterTable
from node.game.craps.bets import Kind
from node.game.operations import PlaceBet
from node.membership import SetVote

SEEDS = int(os.environ.get("NETSIM_SEEDS", "2"))
"""Seeds for each of the random runs; a sweep sets more."""


def distrust_at_random(
    table: CounterTable, rng: random.Random, whom: list[int], times: int
) -> None:
    """Let random nodes distrust random others at random times."""
    network = table.network

    def begin() -> None:
        node = rng.choice(table.live() or table.nodes)
        node.engine.distrust(ValidatorIndex(rng.choice(whom)))

    for _ in range(times):
        network.at(rng.randrange(15_000), begin)


def feed(table: CounterTable, rng: random.Random) -> None:
    for i in range(30):
        name = i.to_bytes(2, "big")
        table.network.at(100 + 400 * i, lambda name=name: table.increment(name))  # type: ignore[misc]
    storm(table, rng, 15_000)


@pytest.mark.parametrize("n", [4, 5, 7])
@pytest.mark.parametrize("seed", range(2 * SEEDS))
def test_nodes_agree_though_each_distrusts_whom_it_likes_when_it_likes(n: int, seed: int) -> None:
    rng = random.Random(f"anybody {n} {seed}")
    bad = rng.sample(range(n), (n - 1) // 3)
    table = CounterTable(
        n, seed, adversaries={i: lambda seat: Adversary(seat, Equivocator()) for i in bad}
    )
    distrust_at_random(table, rng, list(range(n)), times=3 * n)
    feed(table, rng)
    table.network.run(40_000)  # the invariants are judged at every step


@pytest.mark.parametrize("n", [4, 5, 7])
@pytest.mark.parametrize("seed", range(2 * SEEDS))
def test_nodes_go_on_while_some_distrust_the_faulty_and_others_do_not_yet(
    n: int, seed: int
) -> None:
    rng = random.Random(f"faulty {n} {seed}")
    bad = rng.sample(range(n), (n - 1) // 3)
    table = CounterTable(
        n, seed, adversaries={i: lambda seat: Adversary(seat, Equivocator()) for i in bad}
    )
    distrust_at_random(table, rng, bad, times=n)
    feed(table, rng)
    table.network.run(20_000)
    table.settle()


def pass_epoch(table: PlayingTable, index: int, vote: int) -> None:
    epoch = table.replicas[0].final.membership.epoch
    table.ask(index, SetVote(vote))
    while table.replicas[0].final.membership.epoch == epoch:
        table.network.run(table.network.now_ms + 100)


def test_a_convict_costs_no_time_out_until_the_seal_removes_it() -> None:
    table = PlayingTable(5, seed=1, damaged=[1])
    network = table.network
    table.play(1, limit_ms=300_000)
    pass_epoch(table, 4, 0)
    pass_epoch(table, 4, 1)
    table.play(2, limit_ms=300_000)
    first, membership = table.replicas[0], table.replicas[0].final.membership
    # Another device has the key of player 1.
    key = table.replicas[1].engine._signer
    assert key is not None
    for i in range(2):
        payload = vote_payload(
            VoteKind.NOTARIZE, membership.epoch, first.engine.view, digest("x", bytes((i,)))
        )
        vote = frame(Number.VOTE, sign_envelope(key, Domain.VOTE, table.chain_id, payload))
        network.perform(0, first.receive([(ValidatorIndex(1), vote)], network.clock(0)))
    for _ in range(3):  # a proof alone wakes nobody
        table.ask(0, PlaceBet(0, Kind.FIELD, 0, 5))
    assert first.final.membership.members[1].cheated
    assert table.replicas[1].engine.muted
    waits = []
    while first.final.membership.epoch == membership.epoch:
        asked_ms = network.now_ms
        table.ask(0, PlaceBet(0, Kind.FIELD, 0, 5))
        waits.append(network.now_ms - asked_ms)
        network.run(network.now_ms + 200)
    assert len(waits) > 40
    # Three message delays of 15 ms at most and one more of the nullify votes; a time-out is 60 ms more.
    assert max(waits) <= 120
    assert 1 not in first.final.membership.voters
    table.settle()
