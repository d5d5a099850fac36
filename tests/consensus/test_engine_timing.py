"""PROTOCOL 8: delays and clocks are measured in answers, and liars cannot move either."""

import pytest

from consensus.effects import Now
from consensus.encoding import digest
from consensus.signing import SigningKey
from consensus.timing import (
    DELTA_MS_DEFAULT,
    DELTA_MS_MAX,
    DELTA_MS_MIN,
    QUESTIONS_MAX,
    TIMER_MS_MAX,
    Timing,
    backed_off,
)
from consensus.validators import ValidatorIndex, Validators

WALL_MS = 1_700_000_000_000


class Clock:
    """Node 0 of `n`, asking and being answered."""

    def __init__(self, n: int) -> None:
        keys = sorted(SigningKey(digest("key", bytes((i,)))).public_key for i in range(n))
        self.timing = Timing(Validators(tuple(keys), digest("t", b"")), ValidatorIndex(0))
        self.ms = 10

    @property
    def now(self) -> Now:
        return Now(self.ms, WALL_MS + self.ms)

    def measure(self, trips: dict[int, int], offsets: dict[int, int] | None = None) -> None:
        """Ask everybody; each answers after its trip, its clock being off."""
        self.ms += 100_000
        asked = self.now
        self.timing.asked(asked)
        for peer, trip_ms in trips.items():
            self.answer(asked, peer, trip_ms, (offsets or {}).get(peer, 0))

    def answer(self, asked: Now, peer: int, trip_ms: int, offset_ms: int = 0) -> None:
        now = Now(asked.mono_ms + trip_ms, asked.wall_ms + trip_ms)
        wall_ms = asked.wall_ms + trip_ms // 2 + offset_ms
        self.timing.answered(ValidatorIndex(peer), asked.wall_ms, wall_ms, now)


def test_the_estimate_is_half_the_round_trip_to_the_peer_that_completes_a_quorum() -> None:
    clock = Clock(7)
    assert clock.timing.delta_ms == DELTA_MS_DEFAULT
    clock.measure({1: 60, 2: 80, 3: 100, 4: 120, 5: 4_000, 6: 9_000})
    assert clock.timing.delta_ms == 60


def test_f_peers_that_answer_late_or_never_do_not_slow_the_table() -> None:
    slow, silent = Clock(4), Clock(4)
    slow.measure({1: 100, 2: 100, 3: 60_000})
    silent.measure({1: 100, 2: 100})
    assert slow.timing.delta_ms == silent.timing.delta_ms == 50


def test_the_estimate_follows_and_is_clamped() -> None:
    clock = Clock(4)
    clock.measure({1: 2, 2: 2, 3: 2})
    assert clock.timing.delta_ms == DELTA_MS_MIN
    for _ in range(20):
        clock.measure({1: 800, 2: 800, 3: 800})
    assert 390 <= clock.timing.delta_ms <= 400
    for _ in range(40):
        clock.measure({1: 100_000, 2: 100_000, 3: 100_000})
    assert clock.timing.delta_ms == DELTA_MS_MAX


@pytest.mark.parametrize("n", [4, 5, 6, 7, 10])
def test_f_clocks_cannot_move_the_tables_out_of_the_honest_range(n: int) -> None:
    f = (n - 1) // 3
    honest = {peer: 40 + peer for peer in range(1, n - f)}
    for lie_ms in (-(10**9), 10**9):
        clock = Clock(n)
        lies = dict.fromkeys(range(n - f, n), lie_ms)
        clock.measure(dict.fromkeys(range(1, n), 20), {**honest, **lies})
        moved = clock.timing.table_clock(clock.now) - clock.now.wall_ms
        assert 0 <= moved <= 40 + n


@pytest.mark.parametrize(("n", "silent"), [(4, 1), (7, 2), (10, 3)])
def test_a_wrong_clock_is_set_right_though_f_peers_say_nothing(n: int, silent: int) -> None:
    clock, hour_ms = Clock(n), 3_600_000
    answering = range(1, n - silent)
    clock.measure(dict.fromkeys(answering, 100), dict.fromkeys(answering, hour_ms))
    assert clock.timing.table_clock(clock.now) == clock.now.wall_ms + hour_ms


def test_before_a_quorum_answered_a_liar_does_not_move_the_clock() -> None:
    clock = Clock(4)
    for offset_ms in (-3_600_000, 3_600_000):
        clock.measure({1: 100}, {1: offset_ms})
        assert clock.timing.table_clock(clock.now) == clock.now.wall_ms


def test_an_offset_takes_the_way_of_the_answer_into_account() -> None:
    clock = Clock(2)
    clock.measure({1: 600}, {1: -5_000})
    assert clock.timing.table_clock(clock.now) == clock.now.wall_ms - 5_000


def test_only_the_first_answer_to_an_own_question_measures() -> None:
    clock = Clock(4)
    clock.measure({1: 100, 2: 100, 3: 100})
    asked = clock.now
    for peer in (1, 2, 3):
        clock.answer(asked, peer, 9_000)  # repeated by the link, or by a liar
        clock.answer(Now(5, WALL_MS + 5), peer, 9_000)  # never asked
    assert clock.timing.delta_ms == 50


def test_few_questions_are_remembered() -> None:
    clock = Clock(4)
    first = clock.now
    clock.timing.asked(first)
    for i in range(QUESTIONS_MAX):
        clock.timing.asked(Now(20 + i, WALL_MS + 20 + i))
    clock.answer(first, 1, 7_000)
    clock.answer(first, 2, 7_000)
    clock.answer(first, 3, 7_000)
    assert clock.timing.delta_ms == DELTA_MS_DEFAULT


def test_back_off_grows_by_half_up_to_a_minute() -> None:
    assert [backed_off(60, steps) for steps in range(5)] == [60, 90, 135, 202, 303]
    assert backed_off(60, 17) < TIMER_MS_MAX
    assert backed_off(60, 18) == backed_off(60, 10**9) == TIMER_MS_MAX
    assert backed_off(10**6, 0) == TIMER_MS_MAX
