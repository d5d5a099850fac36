"""What a node knows of delays and clocks: the estimate Δ̂ and the table clock (PROTOCOL 8).

Every figure comes from questions of our own that peers answered, so a peer can only spoil its own
entry; quantiles and medians over all validators leave up to f liars without influence.
"""

from consensus.effects import Now
from consensus.validators import ValidatorIndex, Validators

DELTA_MS_MIN, DELTA_MS_MAX = 20, 10_000
"""Bounds of the estimate of one-way delay; radio links reach the upper end."""
DELTA_MS_DEFAULT = 50
"""What a peer's one-way delay counts as until it is measured."""
TIMER_MS_MAX = 60_000
"""No back-off exceeds this, so a healed network is never idle for longer."""
BACKOFF_STEPS_MAX = 30
"""1.5**30 takes the shortest timer beyond `TIMER_MS_MAX`."""
QUESTIONS_MAX = 16
"""Own questions remembered; an answer to an older one measures nothing."""

_SMOOTHING = 4
"""A new sample weighs 1/4: a busy table is noticed within a few views."""


def earliest(first: int | None, *others: int | None) -> int | None:
    """Return the least of the times that there are."""
    for at in others:
        if at is not None and (first is None or at < first):
            first = at
    return first


def backed_off(base_ms: int, steps: int) -> int:
    """Return `base_ms` grown by half per step: the delay bound is unknown."""
    if steps == 0:
        return min(base_ms, TIMER_MS_MAX)
    steps = min(steps, BACKOFF_STEPS_MAX)
    grown: int = base_ms * 3**steps // 2**steps
    return min(grown, TIMER_MS_MAX)


class Timing:
    """Round trips and clock offsets of the peers, by index."""

    def __init__(self, validators: Validators, me: ValidatorIndex) -> None:
        """Know nobody yet."""
        self._q = validators.q
        self._me = me
        self._trips: list[int | None] = [None] * validators.n  # smoothed, times _SMOOTHING
        self._offsets = [0] * validators.n
        self._answered = [-1] * validators.n
        self._questions: dict[int, int] = {}  # wall ms of asking -> monotonic ms
        self._offset_ms = 0
        self.delta_ms = self._estimate()
        """Half the round trip to the peer that completes a quorum, clamped."""

    def asked(self, now: Now) -> None:
        """Take note that Status questions go out now."""
        self._questions[now.wall_ms] = now.mono_ms
        if len(self._questions) > QUESTIONS_MAX:
            del self._questions[next(iter(self._questions))]

    def answered(self, peer: ValidatorIndex, echo_ms: int, wall_ms: int, now: Now) -> None:
        """Measure with an answer: `echo_ms` is our clock when we asked, `wall_ms` the peer's."""
        asked_ms = self._questions.get(echo_ms)
        if asked_ms is None or asked_ms <= self._answered[peer]:
            return
        self._answered[peer] = asked_ms
        trip_ms = now.mono_ms - asked_ms
        self._offsets[peer] = wall_ms + trip_ms // 2 - now.wall_ms
        self._offset_ms = self._median()
        self.sample(peer, trip_ms)

    def sample(self, peer: ValidatorIndex, trip_ms: int) -> None:
        """Take in one round trip, execution at the peer included."""
        known = self._trips[peer]
        if known is None:
            self._trips[peer] = trip_ms * _SMOOTHING
        else:
            self._trips[peer] = known + trip_ms - known // _SMOOTHING
        self.delta_ms = self._estimate()

    def table_clock(self, now: Now) -> int:
        """Return wall milliseconds of the table: the own clock moved to the peers' median."""
        wall_ms = now.wall_ms + self._offset_ms
        return max(0, wall_ms)

    def _median(self) -> int:
        """Return the lower median offset of those who answered, once they are a quorum with us.

        More than half of a quorum is honest, so the silent need not be waited for; they would
        otherwise hold a node whose own clock is wrong to it.
        """
        known = [
            offset
            for peer, offset in enumerate(self._offsets)
            if peer == self._me or self._answered[peer] >= 0
        ]
        ordered = sorted(known if len(known) >= self._q else self._offsets)
        return ordered[(len(ordered) - 1) // 2]

    def _estimate(self) -> int:
        trips = sorted(
            2 * DELTA_MS_DEFAULT * _SMOOTHING if trip is None else trip
            for peer, trip in enumerate(self._trips)
            if peer != self._me
        )
        if self._q < 2:
            return DELTA_MS_DEFAULT
        delta_ms = trips[self._q - 2] // (2 * _SMOOTHING)
        return min(max(delta_ms, DELTA_MS_MIN), DELTA_MS_MAX)
