"""Whole nodes in virtual time: the same bytes on every wire whatever the process, and they recover."""

import json

import pytest

from netsim.scenario import ScenarioError, load_scenario, parse_scenario
from netsim.simulation import simulate
from tests.netsim.test_netsim_cli import netsim


@pytest.mark.parametrize("seed", [1, 2])
def test_whole_nodes_play_through_crashes_splits_and_flipped_bits(seed: int) -> None:
    outcome, _ = simulate(load_scenario("nodes"), seed)
    assert outcome.violations == ()
    assert outcome.verdict == "ok"
    assert outcome.marks["restarts"] >= 1


def test_one_seed_is_one_run_whatever_the_hash_seed() -> None:
    digests = set()
    for hash_seed in ("1", "2", "random"):
        code, out, _ = netsim(
            "run", "nodes", "--seed", "3", "--json", "--no-save", hash_seed=hash_seed
        )
        assert code == 0
        digests.add(json.loads(out)["digest"])
    assert len(digests) == 1


def test_what_whole_nodes_cannot_do_is_refused() -> None:
    text = 'name = "x"\ntier = "node"\nduration = "9s"\n'
    with pytest.raises(ScenarioError, match="line 5: a fault of kind wipe needs tier core"):
        parse_scenario(text + '[[fault]]\nkind = "wipe"\nat = "1s"\n')
    with pytest.raises(ScenarioError, match="traitors need tier core"):
        parse_scenario(text + '[[byzantine]]\nstrategy = "silent"\n')
