"""Are the dice fair? What the settled rolls of a table say, and when that is beyond chance.

Two questions, two tests, both over the outcomes of the game with their weights. The chi-square
statistic (exact) compares the frequencies at one moment that was chosen beforehand; looked at after
every roll it would cry wolf sooner or later. The evidence may be looked at always: it is the
capital of somebody who bets against the weights at fair odds and never owes. While the dice are fair
it is a martingale with mean 1, so by Ville's inequality the chance that it ever reaches 10^6 is at
most 10^-6, over all rolls that there will ever be.

The bettor is a mixture of learners. Each bets on outcome i in proportion to (times seen + s·p),
with s the rolls that it believes in the weights for: a small s learns quickly what is gross, a
great one sees what is slight. Only frequencies are judged here, not their order; that no roll was
chosen by anybody is proved by each roll itself.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import msgspec

from node.game.rules import GameRules

ALARM_LOG10 = 6
"""Evidence of 10^6 : 1 raises the alarm; fair dice do that once in a million tables, ever."""
BELIEFS = (1, 10, 100)
"""Rolls of trust in the weights, in units of the throws that they count (36 for two dice)."""
EXPECTED_MIN = 5
"""Below so many expected of the rarest outcome, chi-square has not its distribution (Cochran)."""


class MeterState(msgspec.Struct):
    """What a meter keeps between two runs of its node."""

    counts: list[int]
    log_capitals: list[float]
    log_peak: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeCount:
    """How often an outcome came, and how often the weights let expect it."""

    name: str
    count: int
    expected: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fairness:
    """What the rolls of a table say about its dice.

    `p_value` is the chance of at least this chi-square if the dice are fair and this moment was
    chosen beforehand; it means little before `meaningful_from` rolls. `evidence_log10` is the
    bettor's capital now, `peak_log10` at its best; `alarm` says that the peak has reached
    `alarm_log10`.
    """

    rolls: int
    chi_square: Fraction
    degrees: int
    p_value: float
    meaningful_from: int
    evidence_log10: float
    peak_log10: float
    alarm_log10: int
    alarm: bool
    outcomes: tuple[OutcomeCount, ...]


class FairnessMeter:
    """Counts outcomes by index and keeps the bettor's capital; one step a roll."""

    def __init__(self, names: Sequence[str], weights: Sequence[int]) -> None:
        """Start without rolls; `weights` are how many equally likely throws an outcome has."""
        assert len(names) == len(weights) > 1, f"{len(names)} outcomes, {len(weights)} weights"
        assert min(weights) > 0, "every outcome can come"
        self._names = tuple(names)
        self._weights = tuple(weights)
        self._throws = sum(weights)
        self._trusts = [belief * self._throws for belief in BELIEFS]
        self._state = MeterState([0] * len(weights), [0.0] * len(BELIEFS), 0.0)
        self._rolls = 0

    @classmethod
    def of(cls, rules: GameRules) -> "FairnessMeter":
        """Return a meter for the outcomes of a game."""
        return cls(rules.outcome_names, rules.outcome_weights)

    def add(self, outcome: int) -> None:
        """Count one settled roll."""
        state, weight = self._state, self._weights[outcome]
        seen = state.counts[outcome] * self._throws
        for index, trust in enumerate(self._trusts):
            # Stake on this outcome over its chance, as two integers until the logarithm.
            stake, chance = seen + trust * weight, (self._rolls + trust) * weight
            state.log_capitals[index] += math.log(stake) - math.log(chance)
        state.counts[outcome] += 1
        self._rolls += 1
        state.log_peak = max(state.log_peak, self._log_evidence())

    def add_all(self, outcomes: Iterable[int]) -> None:
        """Count settled rolls in order."""
        for outcome in outcomes:
            self.add(outcome)

    @property
    def is_alarmed(self) -> bool:
        """Whether the evidence has ever reached the alarm."""
        return self._state.log_peak >= ALARM_LOG10 * math.log(10)

    def _log_evidence(self) -> float:
        """Return the logarithm of the learners' mean capital."""
        logs = self._state.log_capitals
        most = max(logs)
        return most + math.log(sum(math.exp(log - most) for log in logs) / len(logs))

    def state(self) -> MeterState:
        """Return what `restore` takes."""
        return self._state

    def restore(self, state: MeterState) -> bool:
        """Go on from a state; say whether it is one of such outcomes."""
        if (len(state.counts), len(state.log_capitals)) != (len(self._weights), len(BELIEFS)):
            return False
        if min(state.counts) < 0 or not all(map(math.isfinite, state.log_capitals)):
            return False
        self._state, self._rolls = state, sum(state.counts)
        return True

    def report(self) -> Fairness:
        """Return what the rolls so far say."""
        counts, rolls = self._state.counts, self._rolls
        statistic = chi_square(counts, self._weights)
        return Fairness(
            rolls=rolls,
            chi_square=statistic,
            degrees=len(counts) - 1,
            p_value=chi_square_tail(statistic, len(counts) - 1),
            meaningful_from=-(-EXPECTED_MIN * self._throws // min(self._weights)),
            evidence_log10=self._log_evidence() / math.log(10),
            peak_log10=self._state.log_peak / math.log(10),
            alarm_log10=ALARM_LOG10,
            alarm=self.is_alarmed,
            outcomes=tuple(
                OutcomeCount(name=name, count=count, expected=rolls * weight / self._throws)
                for name, count, weight in zip(self._names, counts, self._weights, strict=True)
            ),
        )


def chi_square(counts: Sequence[int], weights: Sequence[int]) -> Fraction:
    """Return Pearson's statistic of counts against weights, exact; 0 without counts."""
    total = sum(counts)
    if not total:
        return Fraction(0)
    # The sum of (seen - expected)^2 / expected, multiplied out.
    squares = Fraction(0)
    for count, weight in zip(counts, weights, strict=True):
        squares += Fraction(count * count, weight)
    return squares * Fraction(sum(weights), total) - total


def chi_square_tail(statistic: Fraction, degrees: int) -> float:
    """Return the chance of at least this statistic with so many degrees of freedom, at least 1.

    The closed form for whole degrees (Abramowitz and Stegun 26.4.4 and 26.4.5).
    """
    half = float(statistic) / 2
    if degrees % 2:
        total = math.erfc(math.sqrt(half))
        steps, first = (degrees - 1) // 2, 0.5
    else:
        total, steps, first = 0.0, degrees // 2, 0.0
    if half == 0:
        return 1.0
    for step in range(steps):
        power = step + first
        total += math.exp(power * math.log(half) - half - math.lgamma(power + 1))
    return min(total, 1.0)


def fairness_facts(fairness: Fairness) -> dict[str, object]:
    """Return a report as JSON holds it; the exact statistic is a fraction in a text."""
    return {
        "rolls": fairness.rolls,
        "chi_square": float(fairness.chi_square),
        "chi_square_exact": str(fairness.chi_square),
        "degrees": fairness.degrees,
        "p_value": fairness.p_value,
        "meaningful_from": fairness.meaningful_from,
        "evidence_log10": fairness.evidence_log10,
        "peak_log10": fairness.peak_log10,
        "alarm_log10": fairness.alarm_log10,
        "alarm": fairness.alarm,
        "outcomes": {
            one.name: {"count": one.count, "expected": one.expected} for one in fairness.outcomes
        },
    }


def fairness_text(fairness: Fairness) -> str:
    """Say in two lines what the rolls say."""
    chance = (
        f"chi-square {float(fairness.chi_square):.2f} with {fairness.degrees} degrees of freedom"
    )
    if fairness.rolls < fairness.meaningful_from:
        meaning = f"means little before {fairness.meaningful_from} rolls"
    else:
        meaning = f"fair dice reach that in {fairness.p_value:.1%} of such rows of rolls"
    return f"{fairness.rolls} rolls; {chance}: {meaning}\n{verdict_text(fairness)}"


def verdict_text(fairness: Fairness) -> str:
    """Say whether the alarm is raised, and how far from it the dice are."""
    if fairness.alarm:
        return (
            f"ALARM: the evidence has reached 10^{fairness.peak_log10:.1f} to 1 against these "
            "dice. Fair dice do that at one table in a million"
        )
    return (
        f"no alarm: the evidence against the dice stands at {10**fairness.evidence_log10:.2g} "
        f"to 1 and never passed {10**fairness.peak_log10:.2g}; the alarm is at "
        f"10^{fairness.alarm_log10}"
    )
