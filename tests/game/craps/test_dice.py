"""The sampler over its whole input space."""

from collections import Counter
from itertools import product

import pytest

from consensus.encoding import digest
from node.game import dice
from node.game.craps.dice import NAMES, PAIRS, SUMS, WEIGHTS, outcome_of, throw
from tests.game.craps.table import RULES


def test_t11_every_byte_gives_each_side_equally_often_or_is_drawn_again() -> None:
    # A byte that is passed over leaves the die to the next one, which shows a 1.
    sides = Counter(dice.throw(bytes([byte, 0]), 1, "test") for byte in range(256))
    assert sides == {(1,): 42 + 4, (2,): 42, (3,): 42, (4,): 42, (5,): 42, (6,): 42}


@pytest.mark.slow
def test_t11_every_pair_of_bytes_gives_each_throw_equally_often() -> None:
    tail = bytes([253]) * 30
    throws: Counter[tuple[int, int]] = Counter()
    redrawn = 0
    for first, second in product(range(256), repeat=2):
        if first < 252 and second < 252:
            throws[throw(bytes((first, second)) + tail)] += 1
        else:
            redrawn += 1
    assert throws == dict.fromkeys(product(range(1, 7), repeat=2), 42 * 42)
    assert redrawn == 256 * 256 - 252 * 252


def test_rejected_bytes_are_passed_over_wherever_they_stand() -> None:
    seed = bytes([255, 252, 7, 254, 253, 11]) + bytes(26)
    assert throw(seed) == (7 % 6 + 1, 11 % 6 + 1)


def test_seed_without_a_usable_byte_is_expanded_with_a_counter() -> None:
    seed = bytes([252]) * 32
    stream = [b for n in (1, 2) for b in digest("craps/dice", seed + n.to_bytes(4, "big"))]
    usable = [byte for byte in stream if byte < 252]
    assert throw(seed) == (usable[0] % 6 + 1, usable[1] % 6 + 1)


def test_seed_with_one_usable_byte_takes_the_second_die_from_the_expansion() -> None:
    seed = bytes([252]) * 31 + bytes([5])
    first = next(b for b in digest("craps/dice", seed + (1).to_bytes(4, "big")) if b < 252)
    assert throw(seed) == (6, first % 6 + 1)


def test_outcomes_are_the_21_pairs_with_the_weights_of_36_throws() -> None:
    counted = Counter(outcome_of(a, b) for a, b in product(range(1, 7), repeat=2))
    assert tuple(counted[index] for index in range(21)) == WEIGHTS
    assert RULES.outcome_weights == WEIGHTS
    assert sum(WEIGHTS) == 36
    assert tuple(low + high for low, high in PAIRS) == SUMS
    assert tuple(f"{low}-{high}" for low, high in PAIRS) == NAMES


def test_outcome_shows_the_dice_in_the_order_they_fell() -> None:
    outcome, shown = RULES.outcome(bytes([4, 1]) + bytes(30))
    assert shown == (5, 2)
    assert NAMES[outcome] == "2-5"
