"""What bets take in over a sweep: by the odds with fair dice, whoever plays, cheats or stops when."""

import random
from fractions import Fraction

import pytest

from netsim.campaign import Sweep
from netsim.rulebook import FIELD, PASS, next_point
from netsim.scenario import parse_scenario
from netsim.simulation import simulate
from netsim.takings import BETS, UNIT, Sums, alarm_of, combined, gains, judge, taking
from netsim.throws import THROWS_MIN
from tests.netsim.test_netsim_cli import QUICK

Dice = tuple[int, int]
POINTS = (0, 4, 5, 6, 8, 9, 10)


@pytest.mark.parametrize("kind", BETS.values())
@pytest.mark.parametrize("point", POINTS)
def test_with_fair_dice_no_throw_makes_a_bet_worth_more_or_less(kind: int, point: int) -> None:
    assert sum(gains(kind, point)) == 0
    assert any(gains(kind, point))


def test_the_edges_are_those_of_the_odds() -> None:
    no_throws = [0, 0, 0, 0]
    assert judge("pass line", no_throws).odds == pytest.approx(-7 / 495)
    assert judge("field", no_throws).odds == pytest.approx(-1 / 18)
    seven, craps, ten = 6 * 2 + 3, 0, 6 * 4 + 4  # 3-4, 1-1, 5-5
    assert gains(PASS, 0)[seven] == UNIT + 14
    assert gains(PASS, 0)[craps] == -UNIT + 14
    assert Fraction(gains(PASS, 0)[ten] - 14, UNIT) == Fraction(-1, 3)
    assert gains(PASS, 10)[ten] == UNIT + 330
    assert gains(PASS, 10)[seven] == -UNIT + 330
    assert gains(FIELD, 6)[craps] == 2 * UNIT + 55


def test_the_sums_of_throws_are_chips_gain_and_variance() -> None:
    assert taking("pass line", 0, (1, 1), 10) == [
        1, 10, 10 * (-UNIT + 14), 100 * sum(gain**2 for gain in gains(PASS, 0)),
    ]  # fmt: skip
    assert taking("pass line", 6, (1, 1), 10)[:3] == [1, 0, 0]  # it rides on
    assert taking("field", 6, (1, 1), 5)[:2] == [1, 5]
    one = judge("pass line", [2, 20, 20 * UNIT, 36 * (10 * UNIT) ** 2])
    assert one.found == pytest.approx(1 - 7 / 495)
    assert one.sigmas == pytest.approx(2)


def played(rng: random.Random, throws: int, *, knowing: float = 0, quits: bool = False) -> Sums:
    """Play the line for ten chips; `knowing` dice seldom show a seven while a point is on.

    Who `quits` stops as soon as it is ahead.
    """
    point, gained, sums = 0, 0, {"pass line": [0] * 4, "field": [0] * 4}
    for _ in range(throws):
        dice = (rng.randrange(1, 7), rng.randrange(1, 7))
        while point and sum(dice) == 7 and rng.random() < knowing:
            dice = (rng.randrange(1, 7), rng.randrange(1, 7))
        for name, known in sums.items():
            more = taking(name, point, dice, 10)
            known[:] = [a + b for a, b in zip(known, more, strict=True)]
        gained += sums["pass line"][2]
        point, _ = next_point(point, sum(dice))
        if quits and gained > 0:
            break
    return {"withholder": sums}


def test_fair_dice_stay_within_a_few_sigma_of_the_odds_whoever_stops_when_it_is_ahead() -> None:
    rng = random.Random(1)
    each = [played(rng, 400) for _ in range(60)]
    sigmas = [judge(name, one["withholder"][name]).sigmas for one in each for name in BETS]
    assert abs(sum(sigmas) / len(sigmas)) < 0.4
    assert 0.7 < sum(one * one for one in sigmas) / len(sigmas) < 1.4
    assert not any(map(alarm_of, each))
    # Each quitter took something home, all of them together nothing.
    together = combined(played(rng, 60, quits=True) for _ in range(800))
    assert abs(judge("pass line", together["withholder"]["pass line"]).sigmas) < 3
    assert not alarm_of(together)


def test_dice_that_spare_a_point_are_found_by_what_the_line_takes_in() -> None:
    sums = played(random.Random(2), 1_500, knowing=1)
    assert "pass line of withholder" in alarm_of(sums)
    assert not alarm_of(played(random.Random(2), 1_500))
    few = [THROWS_MIN - 1, 500, 500 * UNIT, 36 * (50 * UNIT) ** 2]
    assert judge("pass line", few).sigmas == pytest.approx(10)
    assert not alarm_of({"withholder": {"pass line": few}})  # too few to judge by
    assert alarm_of({"withholder": {"pass line": [THROWS_MIN, *few[1:]]}})
    assert alarm_of({"withholder": {"field": [THROWS_MIN, 500, -few[2], few[3]]}})


def test_a_sweep_sums_what_bets_took_in_by_strategy_and_fails_with_biased_dice() -> None:
    scenario = parse_scenario(f'{QUICK}[[byzantine]]\nstrategy = "withholder"\n')
    outcome, _ = simulate(scenario, 1)
    assert set(outcome.dice) == {"all", "withholder"}
    assert outcome.dice["all"]["pass line"][0] > 0
    found = Sweep(scenario, 2)
    found.take(0, outcome.plain(), again=False)
    found.take(1, outcome.plain(), again=False)
    told = found.plain()["dice"]["withholder"]
    assert told["throws"] == 2 * sum(outcome.throws)
    assert told["bets"]["pass line"]["chips"] == 2 * outcome.dice["all"]["pass line"][1]
    assert (found.verdict, found.plain()["dice_alarm"]) == ("ok", "")
    crooked = played(random.Random(2), 1_500, knowing=1)["withholder"]
    found.results[1]["dice"] = {"withholder": {"throws": [50] * 36, **crooked}}
    assert found.verdict == "violated"
    assert "pass line of withholder" in found.plain()["dice_alarm"]


def test_a_table_without_cheats_counts_as_honest() -> None:
    outcome, _ = simulate(parse_scenario(QUICK), 1)
    assert set(outcome.dice) == {"all", "honest"}
