"""The dice of a whole sweep: fair ones raise no alarm, crooked ones do, a few throws prove nothing."""

import random

import pytest

import netsim.world
from netsim.campaign import Sweep
from netsim.scenario import parse_scenario
from netsim.simulation import simulate
from netsim.throws import CHI_SQUARE_MAX, OUTCOMES, THROWS_MIN, added, alarm, chi_square
from tests.netsim.test_netsim_cli import QUICK


def thrown(rng: random.Random, throws: int, more_sixes: float = 0) -> list[int]:
    counts = [0] * OUTCOMES
    for _ in range(throws):
        sides = [6 if rng.random() < more_sixes else rng.randrange(1, 7) for _ in range(2)]
        counts[6 * sides[0] + sides[1] - 7] += 1
    return counts


def test_the_statistic_is_pearson_s() -> None:
    assert chi_square([10] * OUTCOMES) == 0
    assert chi_square([0] * OUTCOMES) == 0
    assert chi_square([11, 9] + [10] * 34) == pytest.approx(0.2)


def test_fair_dice_stay_around_their_degrees_of_freedom_and_far_below_the_alarm() -> None:
    rng = random.Random(1)
    found = [chi_square(thrown(rng, 720)) for _ in range(300)]
    assert 33 < sum(found) / len(found) < 37
    assert max(found) < CHI_SQUARE_MAX - 15


def test_dice_that_favour_a_side_by_a_few_per_cent_raise_the_alarm() -> None:
    rng = random.Random(2)
    assert "chi-square" in alarm(thrown(rng, 20_000, more_sixes=0.05))
    assert not alarm(thrown(rng, 20_000))
    one_sided = [THROWS_MIN - 1] + [0] * 35
    assert not alarm(one_sided)  # too few to judge by this statistic
    assert alarm([THROWS_MIN] + [0] * 35)


def test_a_run_counts_its_throws_and_a_sweep_with_crooked_ones_is_a_finding() -> None:
    scenario = parse_scenario(QUICK)
    outcome, _ = simulate(scenario, 1)
    assert sum(outcome.throws) == outcome.marks["rolls"] > 0
    found = Sweep(scenario, 2)
    found.take(0, outcome.plain(), again=False)
    found.take(1, outcome.plain(), again=False)
    assert found.dice["all"]["throws"] == added((outcome.throws, outcome.throws))
    assert (found.verdict, found.plain()["dice_alarm"]) == ("ok", "")
    crooked = thrown(random.Random(3), 2_000, more_sixes=0.2)
    found.results[1]["dice"] = {"all": {"throws": crooked}, "withholder": {"throws": crooked}}
    assert found.verdict == "violated"
    assert "2,0" in found.plain()["dice_alarm"]
    others = thrown(random.Random(3), 40_000)  # among which they do not show
    found.results[1]["dice"] = {"all": {"throws": others}, "withholder": {"throws": crooked}}
    assert "at tables with withholder" in found.plain()["dice_alarm"]


def test_more_frames_under_way_than_the_bound_are_a_finding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(netsim.world, "MAIL_MAX", 5)
    monkeypatch.setattr(netsim.world, "OBSERVED_MS", 7)
    outcome, _ = simulate(parse_scenario(QUICK), 1)
    assert outcome.violations[0].rule == "bounded"
