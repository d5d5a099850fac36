"""PROTOCOL 6: who speaks another version is not understood where it does, and heard in all else."""

from itertools import pairwise
from random import Random

import pytest

from consensus.encoding import DecodeError, decode_as, encode
from consensus.messages import Header, Number, Proposal, VotePayload, frame, parse_frame
from consensus.signing import Envelope, KeyId, build_envelope
from netsim.dialects import UNKNOWN, Dialect
from netsim.scenario import ScenarioError, Version, parse_scenario
from netsim.simulation import simulate
from netsim.weather import resolve
from netsim.world import TableRun

MIXED = """
name = "mixed"
tier = "{tier}"
duration = "{duration}"
[nodes]
count = 4
[[fault]]
kind = "version"
at = "500ms"
for = "{length}"
nodes = {nodes}
speaks = "{speaks}"
changes = {changes}
adds = {adds}
[expect]
marks = ["foreign", "restarts"]
"""
DOWN = """
[[fault]]
kind = "crash"
at = "600ms"
for = "1h"
nodes = [0]
"""


def mixed(nodes: str = "[3]", **changes: str) -> str:
    """Return a scenario in which nodes speak a newer version, and at the end this one again."""
    terms = {"tier": "core", "duration": "12s", "length": "11s", "speaks": "newer"}
    return MIXED.format(nodes=nodes, **{**terms, "changes": "0.3", "adds": "0.3", **changes})


def test_what_a_newer_peer_says_in_known_words_counts_beside_what_nobody_knows() -> None:
    text = mixed(changes="0.0", adds="1.0") + DOWN
    run = TableRun(resolve(parse_scenario(text), 1), 1)
    heights = []
    for at_ms in (3_000, 11_000):
        run.advance(at_ms)
        heights.append([replica.final.height for replica in run.game.replicas[1:]])
    assert min(heights[1]) > max(heights[0]) + 20  # of four, one is down: its vote is needed
    run.advance(600_000)
    assert run.violation is None
    faults = run.network.counts.faults
    assert all("known" in text or "belong" in text for text in faults), faults
    assert sum(faults.values()) > 300


def test_whole_nodes_play_with_a_newer_peer_whose_vote_they_need() -> None:
    text = mixed(tier="node", duration="6s", length="5s", changes="0.0", adds="0.1") + DOWN
    outcome, run = simulate(parse_scenario(text), 1, keep=20_000)
    assert (outcome.violations, outcome.verdict) == ((), "ok")
    finals = [one.ms for one in run.happenings[0] if one.what == "final"]
    assert sum(2_000 < ms < 5_500 for ms in finals) > 5


@pytest.mark.parametrize("speaks", ["newer", "older"])
def test_a_peer_that_is_half_understood_costs_the_others_little(speaks: str) -> None:
    text = mixed(speaks=speaks, changes="0.5") + "[liveness]\nrolls = 0\n"
    outcome, run = simulate(parse_scenario(text), 2, keep=20_000)
    assert (outcome.violations, outcome.verdict) == ((), "ok")
    finals = [one.ms for one in run.happenings[0] if one.what == "final"]
    assert max(later - one for one, later in pairwise(finals)) < 3_000


def test_a_table_whose_nodes_all_try_another_version_goes_on_afterwards() -> None:
    outcome, _ = simulate(parse_scenario(mixed('"all"', changes="0.9")), 1)
    assert (outcome.violations, outcome.verdict) == ((), "ok")


@pytest.mark.parametrize("strategy", ["liar", "forger"])
def test_cheats_and_peers_of_other_versions_sit_at_one_table(strategy: str) -> None:
    away = '[[fault]]\nkind = "crash"\nat = "2s"\nfor = "1s"\nnodes = [3]\n[link]\nloss = 0.2\n'
    cheat = f'[[byzantine]]\nstrategy = "{strategy}"\nnodes = [1]\n'
    text = mixed("[1, 3]", changes="0.5", adds="0.0", duration="5s", length="4s", speaks="older")
    outcome, _ = simulate(parse_scenario(text + away + cheat), 5)
    assert outcome.violations == ()


def dialect(speaks: str, **shares: float) -> Dialect:
    text = mixed(speaks=speaks, **{name: str(share) for name, share in shares.items()})
    [fault] = parse_scenario(text).fault
    assert isinstance(fault, Version)
    return Dialect(Random(1), fault)


VOTE = VotePayload(kind=1, epoch=0, view=1, digest=bytes(32))


@pytest.mark.parametrize("speaks", ["newer", "older"])
def test_another_version_has_another_form_of_each_message(speaks: str) -> None:
    other = dialect(speaks, changes=1.0, adds=0.0)
    signed = build_envelope(KeyId(bytes(8)), encode(VOTE), bytes(64))
    [said] = other.words(frame(Number.VOTE, signed))
    number, message = parse_frame(said)
    assert number is Number.VOTE
    assert isinstance(message, Envelope)
    with pytest.raises(DecodeError):
        decode_as(message.payload, VotePayload)
    [said] = other.words(frame(Number.GET_CERT, encode((0, 1))))
    with pytest.raises(DecodeError):
        parse_frame(said)
    assert other.foreign == 2


@pytest.mark.parametrize("data", [b"\x01", b"\x13\x01", b"\x13", b"\x10\x83\x00\x00\x00", b"\xff?"])
def test_what_is_no_message_has_no_other_form(data: bytes) -> None:
    assert dialect("newer", changes=1.0, adds=0.0).words(data) == [data]


def test_a_newer_version_has_headers_of_its_own() -> None:
    zeros = bytes(32)
    header = Header(1, zeros, 0, 1, 1, 1, 0, zeros, 0, 0, zeros, zeros, zeros)
    proposal = Proposal(encode(header), b"", b"")
    [said] = dialect("newer", changes=1.0, adds=0.0).words(frame(Number.PROPOSAL, proposal))
    _, message = parse_frame(said)
    assert isinstance(message, Proposal)
    with pytest.raises(DecodeError, match="Expected `int` <= 1"):
        decode_as(message.header, Header)


def test_messages_that_nobody_knows_stand_beside_the_known_ones() -> None:
    other = dialect("newer", changes=0.0, adds=1.0)
    for _ in range(200):
        said = other.words(b"\x01known")
        said.remove(b"\x01known")
        [unknown] = said
        assert unknown[0] in UNKNOWN
        with pytest.raises(DecodeError, match=r"is not known|does not belong"):
            parse_frame(unknown)


def test_a_real_node_has_one_version() -> None:
    with pytest.raises(ScenarioError, match="of kind version needs tier core or node"):
        parse_scenario(mixed(tier="real"))
