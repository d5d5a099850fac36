"""Cheats of several kinds, more than a table stands among them: who is named, what still holds."""

import pytest

from consensus.rounds import Rounds
from netsim.scenario import Scenario, load_scenario, parse_scenario
from netsim.selftest import scenario_of
from netsim.simulation import simulate
from netsim.weather import resolve
from netsim.world import TableRun
from node.game.receipts import Code


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


def test_a_member_that_is_two_whole_nodes_contradicts_itself_and_breaks_nothing() -> None:
    """Seldom, and by votes alone: both make the same dealings of their one key."""
    outcome, _ = simulate(load_scenario("twins"), 4)
    assert outcome.verdict == "ok"
    assert outcome.marks.get("equivocations", 0) + outcome.marks.get("evidence", 0) >= 1


def actions_of(cheat: int, scenario: Scenario) -> list[tuple[int, list[int]]]:
    """Return number and codes of each action of a cheat in a run that breaks no rule."""
    table = TableRun(scenario, 1)
    while not table.is_done:
        table.advance(table.network.now_ms + 1_000)
    assert table.violation is None
    return [
        (number, [receipt.code for receipt in receipts])
        for result in table.game.results
        for player, number, receipts in result.actions
        if player == cheat
    ]


def test_a_member_that_bets_more_than_it_has_is_refused_with_a_receipt() -> None:
    scenario = resolve(scenario_of("spendthrift"), 1)
    [cheat] = scenario.byzantine[0].nodes
    codes = [code for _, said in actions_of(cheat, scenario) for code in said]
    assert codes.count(Code.RACK) > 10
    assert codes.count(Code.DONE) > 2


@pytest.mark.parametrize("torn", [False, True])
def test_a_disk_that_tears_what_it_promised_keeps_its_node_away_and_nobody_else(torn: bool) -> None:
    text = (
        'name = "torn"\nduration = "10s"\n[nodes]\ncount = 4\n[[fault]]\nkind = "lying"\n'
        f'at = "3s"\nfor = "2s"\nnodes = [2]\ntorn = {str(torn).lower()}\n'
    )
    outcome, run = simulate(parse_scenario(text), 1, keep=100_000)
    assert outcome.violations == ()
    assert outcome.marks["records_lost"] > 0
    refused = [one.host for one in run.happenings[0] if one.what == "refuses"]
    assert bool(refused) == torn
    assert set(refused) <= {2}


def test_a_member_that_bets_one_rack_twice_is_heard_once_for_each_number() -> None:
    text = 'name = "x"\nduration = "15s"\n[nodes]\ncount = 4\n[[byzantine]]\nstrategy = "double-bettor"\n'
    scenario = resolve(parse_scenario(text), 1)
    [cheat] = scenario.byzantine[0].nodes
    said = actions_of(cheat, scenario)
    assert len(said) > 5
    assert [number for number, _ in said] == list(range(1, len(said) + 1))
    assert sum(Code.RACK in codes for _, codes in said) < len(said), "some bets are taken"
