"""Mistakes that others shipped, T6 to T10, T13 and T14, at whole nodes (T1 to T5, T11, T12: the game)."""

import os
import subprocess
import sys
from functools import cache
from hashlib import sha256

import pytest

from consensus.effects import Now
from consensus.encoding import digest
from consensus.evidence import OffenceKind, verify_evidence
from consensus.messages import Number
from consensus.signing import Domain, Envelope, parse_envelope, verify, verify_envelope
from netsim.playing import PlayingTable
from netsim.tables import CounterTable
from node.game.craps.bets import Kind
from node.game.operations import CreateSession, PlaceBet, Sit
from node.replay import chain_of_records, replay
from node.replica import Replica
from tests.consensus.test_beacon_attacks import closed, settled
from tests.consensus.test_engine_rounds import CHAIN_ID, NOTARIZE, A, B, Table
from tests.netsim.scenarios import feed

ROLLS = 4


@cache
def played(seed: int = 1) -> PlayingTable:
    """A table for four that has described terms and some rolls behind it."""
    table = PlayingTable(4, seed=seed, signatures="memo", described=True)
    table.play(ROLLS, limit_ms=300_000)
    table.settle()
    return table


def roots_of_log() -> list[str]:
    """Every state root of one log, computed anew from its first block."""
    table = played()
    assert table.table is not None
    setup = table.replicas[0].setup
    chain = chain_of_records(table.network.hosts[0].disk.records)
    steps = replay(table.terms, setup.members, setup.voters, chain)
    return [step.state.root.hex() for step in steps]


def summary() -> str:
    """What a process computed of the log, and of every result in it, in one digest."""
    table = played()
    results = repr(table.results).encode()
    return sha256("".join(roots_of_log()).encode() + results).hexdigest()


def test_t6_the_same_log_in_two_processes_with_different_hash_seeds_has_the_same_roots() -> None:
    here = summary()
    for hash_seed in ("0", "4242"):
        found = subprocess.run(
            [sys.executable, "-c",
             "from tests.netsim.test_mistakes import summary; print(summary())"],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        assert found.stdout.strip() == here


@pytest.mark.parametrize("wall_ms", [0, 1, 4_000_000_000_000])
def test_t7_state_roots_do_not_depend_on_the_wall_clock(wall_ms: int) -> None:
    table = played()
    final = table.replicas[0].final
    records = table.network.hosts[0].disk.records
    replica = Replica(table.replicas[0].setup, records, table.network.hosts[0].disk.block)
    replica.start(Now(0, wall_ms))
    assert (replica.final.root, replica.final.height) == (final.root, final.height)


def test_t7_a_table_whose_clocks_differ_by_hours_agrees_on_its_roots() -> None:
    table = PlayingTable(4, seed=2)
    table.network.hosts[3].clock.offset_ms = -7 * 3_600_000
    table.play(2, limit_ms=300_000)
    table.settle()
    assert len({replica.final.root for replica in table.replicas}) == 1


def test_t8_a_vote_by_another_key_or_for_another_view_does_not_verify() -> None:
    table = Table()
    vote = parse_envelope(table.vote(1, NOTARIZE, 5, A))
    keys = [key.public_key for key in table.keys]
    assert verify_envelope(verify, keys[1], Domain.VOTE, CHAIN_ID, vote)
    other_view = parse_envelope(table.vote(1, NOTARIZE, 6, A))
    for key, chain_id, domain, envelope in (
        (keys[2], CHAIN_ID, Domain.VOTE, vote),
        (keys[1], digest("test", b"another"), Domain.VOTE, vote),
        (keys[1], CHAIN_ID, Domain.ACTION, vote),
        (keys[1], CHAIN_ID, Domain.VOTE, Envelope(vote.kid, other_view.payload, vote.signature)),
        (keys[1], CHAIN_ID, Domain.VOTE, Envelope(vote.kid, vote.payload, other_view.signature)),
    ):
        assert not verify_envelope(verify, key, domain, chain_id, envelope)


def test_t8_a_forged_vote_counts_for_nobody_and_a_replayed_one_once() -> None:
    table = Table()
    table.hear(3, NOTARIZE, about=A, forged=True)
    for _ in range(5):
        table.hear(1, NOTARIZE, about=A)  # three are a quorum
    table.rounds.ripen()
    assert table.rounds.at(1).notarization is None
    table.hear(2, NOTARIZE, about=A)
    table.rounds.ripen()
    assert table.rounds.at(1).notarization is None
    table.hear(3, NOTARIZE, about=A)
    table.rounds.ripen()
    assert table.rounds.at(1).notarization is not None


def test_t8_two_votes_in_one_view_give_a_proof() -> None:
    table = Table()
    table.hear(2, NOTARIZE, about=A)
    table.hear(2, NOTARIZE, about=A)
    assert not table.rounds.evidence
    table.hear(2, NOTARIZE, about=B)
    (proof,) = table.rounds.evidence
    offence = verify_evidence(proof, table.validators, CHAIN_ID, 0, verify)
    assert not isinstance(offence, str)
    assert (offence.offender, offence.kind) == (2, OffenceKind.TWO_NOTARIZE)


def feed_one(table: CounterTable, index: int) -> None:
    """Give six increments to one host, from 700 ms on."""
    for i in range(6):
        name = bytes((9, i))
        table.network.at(700 + i, lambda name=name: table.increment(name, at=index))  # type: ignore[misc]


@pytest.mark.parametrize("n", [4, 7])
def test_t9_f_nodes_lost_at_any_step_stop_nobody_and_one_more_stops_without_forking(
    n: int,
) -> None:
    f = (n - 1) // 3
    for effects in range(0, 40, 4):
        table = CounterTable(n, seed=effects)
        feed(table, 8, every_ms=60)
        table.network.run(120)
        for index in range(f):
            table.network.hosts[index].crash_after = effects + index
        # Increments of those that stay: what a lost node had told nobody may be lost with it.
        feed_one(table, n - 1)
        table.network.run(20_000)
        for index in range(f):
            table.network.hosts[index].crash_after = None
            if table.network.hosts[index].node is not None:
                table.network.crash(index)
        counts = table.totals()
        assert len(counts) == n - f
        assert len(set(counts)) == 1
        assert counts[0] >= 6
        assert len({tip.hash for tip in table.finals()}) == 1

        table.network.crash(f)  # one more
        before = [tip.height for tip in table.finals()]
        table.increment(b"late", at=n - 1)
        table.network.run(table.network.now_ms + 30_000)
        assert [tip.height for tip in table.finals()] == before
        table.settle()  # all come back: nothing forked, and what was accepted becomes final
        assert len({tip.hash for tip in table.finals()}) == 1
        assert min(table.totals()) > counts[0]


def test_t10_no_f_players_open_a_roll_and_who_withholds_gains_nothing() -> None:
    # Before its close no share leaves its holder (A3); f traitors lack one share of every secret
    # (A8). Who withholds after it can only delay: the roll waits, and opens to what it was.
    expected = settled(closed())
    table = closed(without=(2, 3))
    table.run(3_600_000)
    assert table.settled == []
    for index in (2, 3):
        table.restart(index)
    assert settled(table, 120_000) == expected


def test_t10_rolls_go_on_while_f_players_withhold_their_shares() -> None:
    table = PlayingTable(4, seed=4)
    reveals = (Number.REVEAL, Number.REVEAL_PATHS)
    table.network.drops = lambda sender, _to, data: sender == 2 and data[0] in reveals
    table.play(ROLLS, limit_ms=300_000)
    assert len(table.rolls) >= ROLLS


def test_t13_a_second_vote_of_a_kind_from_one_peer_counts() -> None:
    table = Table()
    for signer in (1, 2, 3):
        table.hear(signer, NOTARIZE, view=1, about=A)
        table.hear(signer, NOTARIZE, view=2, about=B)
    table.rounds.ripen()
    assert table.rounds.at(1).notarization is not None
    assert table.rounds.at(2).notarization is not None


def test_t13_equal_operations_of_one_player_all_count() -> None:
    table = PlayingTable(4, seed=5)
    table.ask(0, CreateSession(1))
    table.ask(1, Sit(0))
    for _ in range(3):
        assert table.ask(1, PlaceBet(0, Kind.PASS, 0, 10)).code == 0
    table.settle()
    for replica in table.replicas:
        session = replica.final.game.sessions[0]
        assert session is not None
        assert session.layout == 30


@pytest.mark.parametrize("index", [0, 2])
def test_t14_power_lost_between_any_two_effects_leads_to_the_same_root(index: int) -> None:
    for effects in range(0, 48, 3):
        table = PlayingTable(4, seed=effects)
        table.play(1, limit_ms=300_000)
        host = table.network.hosts[index]
        host.crash_after = effects
        table.play(2, limit_ms=300_000)
        host.crash_after = None
        if host.node is None:
            table.network.boot(index)
        table.play(3, limit_ms=300_000)
        table.settle()
        roots = {replica.final.root for replica in table.replicas}
        assert len(roots) == 1
        again = Replica(table.replicas[index].setup, host.disk.records, host.disk.block)
        assert {again.final.root} == roots
