"""PROTOCOL 11: any t shares give the secret, fewer give nothing, and no polynomial is no secret."""

from itertools import combinations
from random import Random

import pytest
from hypothesis import given, settings, strategies as st

from consensus.shamir import PRIME, evaluate, recover

elements = st.integers(0, PRIME - 1)
unhurried = settings(deadline=None)


@st.composite
def sharings(draw: st.DrawFn) -> tuple[int, list[int], list[int]]:
    """Return (n, coefficients, all shares) with any threshold up to n."""
    n = draw(st.integers(1, 20))
    t = draw(st.integers(1, n))
    coefficients = draw(st.lists(elements, min_size=t, max_size=t))
    return n, coefficients, [evaluate(coefficients, j + 1) for j in range(n)]


def test_the_prime_is_the_one_of_curve25519() -> None:
    assert PRIME == 2**255 - 19
    assert all(pow(base, PRIME - 1, PRIME) == 1 for base in (2, 3, 5, 7, 11))


@unhurried
@given(st.lists(elements, min_size=1, max_size=8), st.integers(0, 128))
def test_evaluation_is_the_sum_of_powers(coefficients: list[int], x: int) -> None:
    powers = sum(c * pow(x, i, PRIME) for i, c in enumerate(coefficients))
    assert evaluate(coefficients, x) == powers % PRIME


def test_three_shares_worked_out_by_hand() -> None:
    # 7 + 3x + 2x**2 at 1, 2, 3, 4.
    shares = [12, 21, 34, 51]
    assert [evaluate([7, 3, 2], x) for x in (1, 2, 3, 4)] == shares
    for holders in combinations(range(4), 3):
        assert recover(holders, [shares[j] for j in holders], 4) == (7, shares)


@unhurried
@given(sharings(), st.randoms(use_true_random=False))
def test_any_t_shares_give_the_secret_and_every_other_share(
    sharing: tuple[int, list[int], list[int]], random: Random
) -> None:
    n, coefficients, shares = sharing
    holders = tuple(random.sample(range(n), len(coefficients)))
    assert recover(holders, [shares[j] for j in holders], n) == (coefficients[0], shares)


@pytest.mark.parametrize(("n", "t"), [(16, 11), (31, 21), (64, 43), (128, 86)])
def test_large_tables_recover_from_the_first_and_from_the_last_holders(n: int, t: int) -> None:
    coefficients = [pow(3, i, PRIME) for i in range(1, t + 1)]
    shares = [evaluate(coefficients, j + 1) for j in range(n)]
    for holders in (tuple(range(t)), tuple(range(n - t, n))):
        assert recover(holders, [shares[j] for j in holders], n) == (3, shares)


@unhurried
@given(st.lists(elements, min_size=3, max_size=3), st.integers(0, 4), st.integers(1, PRIME - 1))
def test_values_on_no_polynomial_disagree_with_every_subset(
    coefficients: list[int], holder: int, error: int
) -> None:
    shares = [evaluate(coefficients, j + 1) for j in range(5)]
    shares[holder] = (shares[holder] + error) % PRIME
    for holders in combinations(range(5), 3):
        _, implied = recover(holders, [shares[j] for j in holders], 5)
        assert implied != shares


@unhurried
@given(sharings(), elements)
def test_t_minus_1_shares_fit_every_secret(
    sharing: tuple[int, list[int], list[int]], guess: int
) -> None:
    n, coefficients, shares = sharing
    t = len(coefficients)
    seen = range(t - 1)
    # The points (0, guess) and t - 1 shares are t points of exactly one polynomial: shifted by one,
    # `recover` gives its values, so whoever sees t - 1 shares cannot exclude `guess`.
    _, shifted = recover(tuple(range(t)), [guess, *(shares[j] for j in seen)], n + 1)
    assert shifted[0] == guess
    assert shifted[1:t] == shares[: t - 1]
    _, again = recover(tuple(range(n + 1 - t, n + 1)), shifted[n + 1 - t :], n + 1)
    assert again == shifted
