"""Scenario files: what is refused and where, what reads back, what a seed makes of one."""

import pytest
from msgspec.structs import replace

from netsim import scenario as s
from netsim.chance import Spread, Window, format_length, parse_length
from netsim.scenario import (
    ScenarioError,
    format_scenario,
    load_scenario,
    parse_scenario,
    scenario_hash,
    shipped,
)
from netsim.weather import resolve

TEXT = """
name = "try"
duration = "30s"
[nodes]
count = 8
[link]
loss = 0.02
[[fault]]
kind = "partition"
at = "5s..9s"
for = "2s"
groups = [[0, 1], [2, 3, 4]]
[[fault]]
kind = "crash"
at = "1s"
every = "exp(3s)"
[[byzantine]]
strategy = "forger"
count = "f"
"""


def test_a_scenario_reads_back_as_it_was_written() -> None:
    scenario = parse_scenario(TEXT)
    again = parse_scenario(format_scenario(scenario))
    assert again == scenario
    assert scenario_hash(again) == scenario_hash(scenario)
    assert scenario_hash(parse_scenario(TEXT.replace("0.02", "0.03"))) != scenario_hash(scenario)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("loss = 0.02", "loss = 2", "line 7: Expected `float` <= 1.0, not 2 (link.loss)"),
        ("loss = 0.02", "los = 2", "line 7: unknown key 'los'"),
        ("2, 3, 4", "2, 3, 1", "line 12: a node stands in two groups"),
        ("2, 3, 4", "2, 9", "line 12: node 9 at a table of 8"),
        ('"f"', '"f+1"', "line 17: 3 Byzantine nodes at a table that allows 2 faulty"),
        ('"crash"', '"crush"', "line 14: Invalid value 'crush'"),
        ('"1s"', '"1"', "line 15: '1' is not a length of time"),
        ("count = 8", 'count = "8"', "line 5: Expected `int`, got `str`, not '8' (nodes.count)"),
        ("count = 8", "count = 8\ntable = 3", "line 5: 8 nodes do not fill tables of 3"),
        ('"forger"', '"forgot"', "line 18: Invalid enum value 'forgot'"),
        ("name", "nam", "line 2: unknown key 'nam'"),
        ('"30s"', '"4s"', "line 10: 5s..9s is after the end at 4s"),
        ("exp(3s)", "exp(3s,2)", "line 16: 'exp(3s,2)': exp takes 1 arguments"),
        ("[nodes]", "[node]", "line 4: unknown key 'node'"),
        ('name = "try"', 'name = "try', "(at line 2"),
        ('"5s..9s"', '"9s..5s"', "line 10: '9s..5s' is not a moment or a range"),
    ],
)
def test_what_cannot_be_is_refused_with_its_line(old: str, new: str, complaint: str) -> None:
    with pytest.raises(ScenarioError) as refusal:
        parse_scenario(TEXT.replace(old, new))
    assert complaint in str(refusal.value)


def test_damage_by_faults_counts_like_traitors() -> None:
    more = '[[fault]]\nkind = "wipe"\nat = "5s"\n'
    with pytest.raises(ScenarioError, match="this makes 3 faulty nodes at a table that allows 2"):
        parse_scenario(TEXT + more)
    assert len(parse_scenario(TEXT.replace('"f"', "1") + more).fault) == 3
    down = '[liveness]\ndown = "f"\n'
    with pytest.raises(ScenarioError, match="without a quorum of 6"):
        parse_scenario(TEXT + down)


@pytest.mark.parametrize("kind", ["lying", "rot", "misdirected", "wipe", "restore"])
def test_no_fault_damages_more_hosts_than_the_scenario_allows(kind: str) -> None:
    fault = f'[[fault]]\nkind = "{kind}"\nat = "5s"\nnodes = [0, 1]\n'
    text = f'name = "much"\n[nodes]\ncount = 7\nfaulty = 2\n{fault}'
    assert parse_scenario(text).damage_max == 2
    with pytest.raises(ScenarioError, match=r"line 5: this makes 2 faulty nodes .* allows 1"):
        parse_scenario(text.replace("faulty = 2", "faulty = 1"))
    everywhere = text.replace("[0, 1]", '"all"')
    with pytest.raises(ScenarioError, match=r"line 5: this makes 7 faulty nodes .* allows 2"):
        parse_scenario(everywhere)
    cheat = '[[byzantine]]\nstrategy = "twins"\nnodes = [2]\n'
    with pytest.raises(ScenarioError, match=r"line 5: this makes 3 faulty nodes .* allows 2"):
        parse_scenario(text + cheat)
    one_of_them = parse_scenario(text + cheat.replace("[2]", "[1]"))
    assert len(one_of_them.byzantine) == 1


def test_what_is_drawn_anew_each_time_stays_among_the_hosts_that_may_be_damaged() -> None:
    faults = "".join(
        f'[[fault]]\nkind = "{kind}"\nat = "1s"\nevery = "2s"\n'
        for kind in ("wipe", "restore", "rot", "lying", "misdirected")
    )
    text = f'name = "often"\n[nodes]\ncount = 10\n{faults}[[byzantine]]\nstrategy = "thief"\n'
    for seed in range(20):
        resolved = resolve(parse_scenario(text), seed)
        damaged = {node for one in (*resolved.fault, *resolved.byzantine) for node in one.nodes}  # type: ignore[union-attr]
        assert len(resolved.fault) > 30
        assert len(damaged) <= resolved.damage_max == 3


def test_an_act_of_nobody_there_or_behind_the_end_is_refused() -> None:
    text = 'name = "acts"\nduration = "9s"\n[[act]]\nat = "1s"\nnode = 3\ndoes = "sit"\n'
    scenario = parse_scenario(text)
    assert parse_scenario(format_scenario(scenario)) == scenario
    for old, new, complaint in (
        ("node = 3", "node = 4", "line 5: node 4 at a table of 4"),
        ('"1s"', '"10s"', "line 4: 10s is after the end at 9s"),
        ('"sit"', '"stand"', "line 6: Invalid enum value 'stand'"),
        ('duration = "9s"', 'duration = "9s"\ntier = "node"', "acts of single members need tier"),
    ):
        with pytest.raises(ScenarioError, match=complaint):
            parse_scenario(text.replace(old, new))


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_scenario_reads_and_resolves_within_its_own_limits(name: str) -> None:
    scenario = load_scenario(name)
    assert scenario.name == name
    assert scenario.about
    for seed in range(5):
        resolved = resolve(scenario, seed)
        assert parse_scenario(format_scenario(resolved)) == resolved
        assert resolve(resolved, seed) == resolved
        assert all(f.every is None and f.at.first_us == f.at.last_us for f in resolved.fault)


def test_a_seed_is_one_schedule_and_leaving_a_fault_out_changes_no_other() -> None:
    scenario = parse_scenario(TEXT)
    assert resolve(scenario, 1) == resolve(scenario, 1)
    assert resolve(scenario, 1) != resolve(scenario, 2)
    begin, end = TEXT.index('[[fault]]\nkind = "crash"'), TEXT.index("[[byzantine]]")
    without = parse_scenario(TEXT[:begin] + TEXT[end:])
    partition = [f for f in resolve(scenario, 3).fault if type(f).__name__ == "Partition"]
    assert list(resolve(without, 3).fault) == partition


def test_faults_that_came_later_change_nothing_of_what_a_swarm_draws_for_others() -> None:
    later = ("misdirected", "black-hole", "version")
    scenario = load_scenario("squall")
    others = tuple(one for one in scenario.fault if s.plain(one)["kind"] not in later)
    without = replace(scenario, fault=others)
    drawn = 0
    for seed in range(40):
        with_it = resolve(scenario, seed)
        kept = tuple(one for one in with_it.fault if s.plain(one)["kind"] not in later)
        assert replace(with_it, fault=kept) == resolve(without, seed)
        drawn += len(with_it.fault) - len(kept)
    assert drawn


def test_lengths_and_distributions() -> None:
    for text in ("250us", "20ms", "1s", "2m", "1h", "0s", "-200ms"):
        assert parse_length(format_length(parse_length(text))) == parse_length(text)
    import random

    rng = random.Random(1)
    draws = [Spread("lognormal(20ms,0.5)").draw(rng) for _ in range(2_000)]
    assert 19_000 < sorted(draws)[1_000] < 21_000
    assert all(5_000 <= Spread("uniform(5ms,9ms)").draw(rng) <= 9_000 for _ in range(100))
    assert Window.parse("5s..9s").draw(rng) <= 9_000_000
    for text in ("20", "uniform(9ms,5ms)", "exp(1s,2s)", "lognormal(1s,x)", "1000000h"):
        with pytest.raises(ValueError, match=r"."):
            Spread(text)
