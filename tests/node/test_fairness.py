"""The tests of the dice: against independent sums, on fair and on loaded dice."""

import math
import random
from fractions import Fraction

import pytest

from node.fairness import (
    ALARM_LOG10,
    FairnessMeter,
    chi_square,
    chi_square_tail,
    fairness_text,
)
from node.game.craps.dice import NAMES, WEIGHTS, outcome_of

ROLLS = 100_000


def meter() -> FairnessMeter:
    return FairnessMeter(NAMES, WEIGHTS)


@pytest.mark.parametrize("seed", range(5))
def test_chi_square_is_the_sum_over_squared_distances_exactly(seed: int) -> None:
    chance = random.Random(seed)
    counts = [chance.randrange(50) for _ in WEIGHTS]
    total = sum(counts)
    expected = [Fraction(total * weight, 36) for weight in WEIGHTS]
    by_hand = sum((n - e) ** 2 / e for n, e in zip(counts, expected, strict=True))
    assert chi_square(counts, WEIGHTS) == by_hand


def test_no_rolls_say_nothing() -> None:
    report = meter().report()
    assert (report.chi_square, report.p_value, report.evidence_log10) == (Fraction(0), 1.0, 0.0)
    assert not report.alarm


def test_tails_are_those_of_the_printed_tables() -> None:
    # NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.4: upper critical values.
    for degrees, five, tenth in ((1, "3.841", "10.828"), (2, "5.991", "13.816"),
                                 (7, "14.067", "24.322"), (20, "31.410", "45.315"),
                                 (35, "49.802", "66.619")):  # fmt: skip
        assert chi_square_tail(Fraction(five), degrees) == pytest.approx(0.05, rel=1e-3)
        assert chi_square_tail(Fraction(tenth), degrees) == pytest.approx(0.001, rel=1e-3)


def integral(statistic: float, degrees: int, steps: int = 200_000, end: float = 400.0) -> float:
    """The tail as a plain sum over the density, by the midpoint rule."""
    width = (end - statistic) / steps
    scale = math.lgamma(degrees / 2) + degrees / 2 * math.log(2)
    return width * sum(
        math.exp((degrees / 2 - 1) * math.log(x) - x / 2 - scale)
        for x in (statistic + (step + 0.5) * width for step in range(steps))
    )


@pytest.mark.parametrize(("statistic", "degrees"), [(12, 20), (30, 20), (55, 35), (3, 5)])
def test_tails_are_the_integral_of_the_density(statistic: float, degrees: int) -> None:
    assert chi_square_tail(Fraction(statistic), degrees) == pytest.approx(
        integral(statistic, degrees), rel=1e-4
    )


def test_the_evidence_is_a_fair_bet_after_any_rolls() -> None:
    one = meter()
    one.add_all([0, 0, 5, 20, 7, 0])
    before = 10 ** one.report().evidence_log10
    after = 0.0
    for outcome, weight in enumerate(WEIGHTS):
        other = meter()
        other.add_all([0, 0, 5, 20, 7, 0, outcome])
        after += weight / 36 * 10 ** other.report().evidence_log10
    assert after == pytest.approx(before, rel=1e-12)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_fair_dice_raise_no_alarm_in_a_hundred_thousand_rolls(seed: int) -> None:
    chance, one = random.Random(seed), meter()
    one.add_all(outcome_of(chance.randint(1, 6), chance.randint(1, 6)) for _ in range(ROLLS))
    report = one.report()
    assert report.rolls == ROLLS
    assert not report.alarm
    assert report.peak_log10 < ALARM_LOG10 / 2
    assert 0.001 < report.p_value < 0.999


@pytest.mark.parametrize(("six", "rolls_max"), [(1 / 3, 500), (1 / 4, 2_000), (1 / 5, 10_000)])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_loaded_dice_raise_it_within_the_stated_rolls(
    seed: int, six: float, rolls_max: int
) -> None:
    chance, one = random.Random(seed), meter()
    sides, weights = range(1, 7), [(1 - six) / 5] * 5 + [six]
    for _ in range(rolls_max):
        one.add(outcome_of(*chance.choices(sides, weights, k=2)))
        if one.is_alarmed:
            break
    report = one.report()
    assert report.alarm
    assert "ALARM" in fairness_text(report)


def test_an_alarm_stays_though_the_dice_are_fair_again() -> None:
    chance, one = random.Random(4), meter()
    one.add_all([20] * 60)
    assert one.is_alarmed
    one.add_all(outcome_of(chance.randint(1, 6), chance.randint(1, 6)) for _ in range(5_000))
    report = one.report()
    assert report.evidence_log10 < ALARM_LOG10
    assert report.alarm


def test_dice_that_are_too_even_are_told_by_chi_square() -> None:
    one = meter()
    for _ in range(50):
        one.add_all(i for i, weight in enumerate(WEIGHTS) for _ in range(weight))
    assert one.report().p_value == 1.0


def test_a_meter_goes_on_where_another_stopped_and_only_with_its_own_outcomes() -> None:
    first, whole = meter(), meter()
    chance = random.Random(5)
    rolls = [outcome_of(chance.randint(1, 6), chance.randint(1, 6)) for _ in range(200)]
    first.add_all(rolls[:90])
    second = meter()
    assert second.restore(first.state())
    second.add_all(rolls[90:])
    whole.add_all(rolls)
    assert second.report() == whole.report()
    assert not FairnessMeter(("a", "b"), (1, 1)).restore(whole.state())
