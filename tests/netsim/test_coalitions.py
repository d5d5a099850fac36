"""More cheats than a table stands, and a cheat that is two: who is named, and what still holds."""

import pytest

from consensus.rounds import Rounds
from netsim.scenario import load_scenario
from netsim.simulation import simulate


@pytest.mark.parametrize("seed", range(1, 5))
def test_one_more_than_a_table_stands_forks_it_and_evidence_names_them_all(seed: int) -> None:
    outcome, _ = simulate(load_scenario("conspiracy"), seed)
    assert outcome.verdict == "ok"
    assert outcome.marks["forks"] == 1
    assert outcome.marks["cheats_named"] == 3


def test_a_fork_whose_cheats_nobody_can_name_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Rounds, "_accuse", lambda *_args: None)
    outcome, _ = simulate(load_scenario("conspiracy"), 1)
    [violation] = outcome.violations
    assert violation.rule == "attribution"
    assert "3 cheats forked the table, evidence names []" in violation.text


def test_as_many_as_a_table_stands_may_not_break_agreement(monkeypatch: pytest.MonkeyPatch) -> None:
    import consensus.validators
    import netsim.invariants

    monkeypatch.setattr(consensus.validators, "quorum", lambda n: n // 2 + 1)
    monkeypatch.setattr(netsim.invariants, "quorum_of", lambda n: n // 2 + 1)
    outcome, _ = simulate(load_scenario("coalition"), 1)
    assert outcome.violations[0].rule in {"G1", "G2", "G4"}


@pytest.mark.parametrize("seed", [2, 4])
def test_a_member_that_is_two_whole_nodes_contradicts_itself_and_breaks_nothing(seed: int) -> None:
    outcome, _ = simulate(load_scenario("twins"), seed)
    assert outcome.verdict == "ok"
    assert outcome.marks["equivocations"] >= 1
