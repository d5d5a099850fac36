"""PROTOCOL 5: quorums meet in an honest validator, and everybody names the same leader."""

import pytest

from consensus.encoding import digest
from consensus.signing import SigningKey
from consensus.validators import Validators, bitmap, faults_tolerated, members_of, quorum


def validators(n: int) -> Validators:
    keys = sorted(SigningKey(bytes((i,)) * 32).public_key for i in range(n))
    return Validators(tuple(keys), digest("test", b"seed"))


@pytest.mark.parametrize("n", range(1, 129))
def test_two_quorums_share_an_honest_validator_and_the_honest_make_one(n: int) -> None:
    f, q = faults_tolerated(n), quorum(n)
    assert 3 * f < n <= 3 * f + 3
    assert 2 * q - n >= f + 1
    assert n - f >= q


def test_a_table_of_up_to_three_decides_by_unanimity() -> None:
    assert [quorum(n) for n in range(1, 8)] == [1, 2, 3, 3, 4, 5, 5]


def test_each_validator_leads_once_in_n_views() -> None:
    for n in (1, 4, 7):
        group = validators(n)
        assert sorted(group.leader(view) for view in range(5, 5 + n)) == list(range(n))


def test_a_bitmap_names_its_members_and_no_stranger() -> None:
    assert members_of(bitmap((0, 3, 9), 10), 10) == (0, 3, 9)
    assert members_of(b"\x00\x04", 10) is None
    assert members_of(b"\x01", 10) is None
