"""Twins: one validator as two nodes, a sample of what `make twins` runs whole."""

import itertools

import pytest

import consensus.validators
import netsim.invariants
from consensus.engine import Engine
from netsim.invariants import ViolatedError
from netsim.twins import run_scenario, sample, scenarios


def run_all(count: int) -> None:
    for scenario in sample(4, count, seed=1):
        run_scenario(scenario)


@pytest.mark.parametrize("n", [4, 5, 7])
def test_twins_break_nothing_in_a_sample_of_scenarios(n: int) -> None:
    accused = 0
    for scenario in sample(n, {4: 200, 5: 60, 7: 30}[n], seed=1):
        table = run_scenario(scenario)
        accused += any(table.nodes[index].engine.evidence for index in table.honest)
    assert accused  # the twins did contradict each other


def test_the_first_scenarios_of_the_whole_list_hold() -> None:
    for scenario in itertools.islice(scenarios(4), 100):
        run_scenario(scenario)


def test_every_split_is_there_once_up_to_exchanging_the_twins() -> None:
    found = list(scenarios(4, views=1))
    assert len(set(found)) == len(found)
    whole = {(twins, side) for twins in range(4) for side in range(0, 32, 2)}

    def exchanged(twins: int, side: int) -> int:
        bits = [side >> machine & 1 for machine in range(5)]
        bits[twins], bits[4] = bits[4], bits[twins]
        swapped = sum(bit << machine for machine, bit in enumerate(bits))
        return swapped ^ 31 if swapped & 1 else swapped

    kept = {(scenario.twins, scenario.sides[0]) for scenario in found}
    assert kept | {(twins, exchanged(twins, side)) for twins, side in kept} == whole


def test_a_quorum_of_half_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consensus.validators, "quorum", lambda n: n // 2)
    monkeypatch.setattr(netsim.invariants, "quorum_of", lambda n: n // 2)
    with pytest.raises(AssertionError):
        run_all(20)


def test_finalizing_a_nullified_view_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    vote = Engine._voted_final

    def voted_final(self: Engine) -> bool:
        held = [(known, known.nullify) for known in self._rounds.open]
        for known, _ in held:
            known.nullify = None
        fired = vote(self)
        for known, nullify in held:
            known.nullify = nullify
        return fired

    monkeypatch.setattr(Engine, "_voted_final", voted_final)
    with pytest.raises(ViolatedError, match=r"I2|G2"):
        run_all(60)
