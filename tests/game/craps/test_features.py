"""Bets on a whole hand or on all that falls before a seven, roll by roll (R28)."""

from collections.abc import Sequence

import pytest

from node.game.craps.bets import CRAPLESS_POINTS, POINTS
from node.game.craps.board import OPENING
from node.game.rules import Bet
from tests.game.craps.table import KEYS, RULES, roll

# One easy or hard throw for each total.
THROW = {
    2: (1, 1), 3: (1, 2), 4: (1, 3), 5: (1, 4), 6: (1, 5), 7: (1, 6),
    8: (2, 6), 9: (3, 6), 10: (4, 6), 11: (5, 6), 12: (6, 6),
}  # fmt: skip


def result(name: str, throws: Sequence[int | tuple[int, int]]) -> tuple[int, int]:
    """Return (rolls until the bet of one chip was decided, net chips), (len, 0) if it never was."""
    board, bets = OPENING, {KEYS[name]: Bet(1, 1)}
    for number, throw in enumerate(throws, 1):
        low, high = THROW[throw] if isinstance(throw, int) else throw
        board, bets, rows, _ = roll(RULES, board, bets, low, high)
        for row in rows:
            if row.profit or row.lost:
                return number, row.profit - row.lost
    return len(throws), 0


@pytest.mark.parametrize(
    ("made", "net"), [(0, -1), (1, -1), (2, -1), (3, -1), (4, 24), (5, 249), (6, 999)]
)
def test_fire_pays_for_different_points_at_the_seven_out(made: int, net: int) -> None:
    throws = [number for point in POINTS[:made] for number in (point, point)]
    throws += [4, 4] * bool(made)  # the same point again counts once
    throws += [7, 11, 2]  # neither naturals nor craps end the hand
    throws += [5, 7]
    assert result("fire", throws) == (len(throws), net)


@pytest.mark.parametrize(
    ("wins", "net"),
    [(0, -1), (2, -1), (3, 1), (4, 3), (5, 5), (6, 10), (7, 10), (8, 20), (9, 20), (10, 50), (12, 50)],
)  # fmt: skip
def test_ride_the_line_counts_naturals_and_points_made(wins: int, net: int) -> None:
    ways = [(7,), (11,), (6, 3, 6)]
    throws = [number for win in range(wins) for number in ways[win % 3]]
    throws += [12, 8, 7]
    assert result("ride", throws) == (len(throws), net)


def test_replay_wins_when_one_point_is_made_three_times() -> None:
    assert result("replay", [4, 4, 6, 6, 4, 4, 4, 4]) == (8, 120)
    assert result("replay", [4, 4, 6, 6, 4, 4, 6, 6, 8, 7]) == (10, -1)
    # Four fours, but only two of them made a point.
    assert result("replay", [4, 4, 5, 4, 5, 4, 4]) == (7, 0)
    assert result("replay", [4, 4, 4, 4, 7, 7, 5, 7]) == (8, -1)


@pytest.mark.parametrize(
    ("name", "numbers", "pay"),
    [("small", (2, 3, 4, 5, 6), 34), ("tall", (8, 9, 10, 11, 12), 34), ("all", CRAPLESS_POINTS, 175)],
)  # fmt: skip
def test_small_tall_and_all_want_every_number_before_any_seven(
    name: str, numbers: tuple[int, ...], pay: int
) -> None:
    assert result(name, numbers) == (len(numbers), pay)
    assert result(name, tuple(reversed(numbers))) == (len(numbers), pay)
    for missing in numbers:
        some = [n for n in CRAPLESS_POINTS if n != missing]
        assert result(name, some) == (len(some), 0)
        assert result(name, [*some, 7]) == (len(some) + 1, -1)
    assert result(name, [7]) == (1, -1)


@pytest.mark.parametrize(
    ("number", "times", "pay"),
    [(2, 2, 40), (3, 3, 50), (4, 4, 65), (5, 5, 80), (6, 6, 90),
     (8, 6, 90), (9, 5, 80), (10, 4, 65), (11, 3, 50), (12, 2, 40)],
)  # fmt: skip
def test_repeater_counts_its_number_before_any_seven(number: int, times: int, pay: int) -> None:
    other = 5 if number != 5 else 6
    throws = [other, number] * times
    assert result(f"repeat {number}", throws) == (2 * times, pay)
    short = [number] * (times - 1)
    assert result(f"repeat {number}", short) == (times - 1, 0)
    assert result(f"repeat {number}", [*short, 7]) == (times, -1)


@pytest.mark.parametrize(
    ("rolls", "net"),
    [(0, -1), (9, -1), (10, 2), (14, 2), (15, 4), (19, 4), (20, 10), (29, 10), (30, 50), (99, 50)],
)
def test_hot_roller_counts_rolls_without_a_seven(rolls: int, net: int) -> None:
    throws = [(n % 5 + 8) for n in range(rolls)]
    assert result("hot", [*throws, 7]) == (rolls + 1, net)


@pytest.mark.parametrize(
    ("doubles", "net"), [(0, -1), (1, -1), (2, -1), (3, 5), (4, 10), (5, 25), (6, 150)]
)
def test_different_doubles_are_counted_once_each_until_the_seven(doubles: int, net: int) -> None:
    throws = [(n, n) for n in range(1, doubles + 1)]
    throws += [*throws, (1, 2), (min(doubles + 1, 5), 6 if doubles else 5)]
    assert result("doubles", [*throws, 7]) == (len(throws) + 1, net)


@pytest.mark.parametrize(
    ("throws", "expected"),
    [
        ([(2, 2), (2, 2)], (2, 180)),
        ([(2, 2), (5, 5)], (2, 40)),
        ([(3, 3), (1, 1)], (2, -1)),
        ([(3, 3), (1, 5)], (2, -1)),
        ([(4, 4), 7], (2, -1)),
        ([(1, 1)], (1, -1)),
        ([(6, 6)], (1, -1)),
        ([(1, 3)], (1, -1)),
        ([7], (1, -1)),
    ],
)
def test_twice_hard_wants_two_hardways_running(
    throws: list[int | tuple[int, int]], expected: tuple[int, int]
) -> None:
    assert result("twice", throws) == expected


@pytest.mark.parametrize(
    ("throws", "expected"),
    [
        ([7], (1, 2)), ([4, 7], (2, 3)), ([10, 7], (2, 3)),
        ([2], (1, -1)), ([3], (1, -1)), ([11], (1, -1)), ([12], (1, -1)),
        ([6, 6], (2, -1)), ([6, 5], (2, -1)),
    ],
)  # fmt: skip
def test_muggsy_is_decided_within_two_rolls(
    throws: list[int | tuple[int, int]], expected: tuple[int, int]
) -> None:
    assert result("muggsy", throws) == expected


def test_seven_out_leaves_a_board_as_new_and_a_natural_only_clears_what_a_seven_ends() -> None:
    board = OPENING
    for total in (4, 4, 5, 5, 2, 6):
        board = roll(RULES, board, {}, *THROW[total])[0]
    assert roll(RULES, board, {}, 3, 4)[0] == OPENING
    made = roll(RULES, board, {}, *THROW[6])[0]
    natural = roll(RULES, made, {}, 3, 4)[0]
    assert natural[:9] == (0, 1, 4, 1, 1, 1, 0, 0, 0)
    assert natural[9:] == (0,) * 12
