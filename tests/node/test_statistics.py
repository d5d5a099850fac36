"""The counters behind a node's statistics."""

from types import SimpleNamespace
from typing import Any

from node.game.receipts import BlockResult, Posting, Receipt, RollResult
from node.game.treasury import BANK, FIRST_RACK, LAYOUT
from node.statistics import FAULT_NAMES_MAX, Tally


def roll(dice: tuple[int, ...], *postings: tuple[int, int, int]) -> RollResult:
    return RollResult(
        session=0,
        serial=1 << 16,
        number=1,
        outcome=0,
        dice=dice,
        board_before=(),
        board=(),
        thrower=(),
        next_thrower=(),
        hand_ended=0,
        bets=(),
        returned=(),
        postings=tuple(Posting(*posting) for posting in postings),
    )


def block(
    *,
    actions: tuple[tuple[int, int, tuple[Receipt, ...]], ...] = (),
    rolls: tuple[RollResult, ...] = (),
) -> BlockResult:
    return BlockResult(height=1, time_ms=1, actions=actions, rolls=rolls, closed=())


def test_rolls_are_counted_by_their_sum_and_chips_by_where_they_went() -> None:
    tally = Tally()
    lost_and_won = [(LAYOUT, BANK, 30), (BANK, FIRST_RACK, 12), (LAYOUT, FIRST_RACK, 10)]
    tally.count_result(block(rolls=(roll((3, 4), *lost_and_won), roll((1, 1)))))
    tally.count_result(block(rolls=(roll((5, 2), (BANK, FIRST_RACK + 1, 50)),)))
    assert tally.counts.outcomes == {7: 2, 2: 1}
    assert (tally.counts.rolls, tally.counts.volume, tally.counts.house_profit) == (
        3,
        40,
        30 - 12 - 50,
    )


def test_operations_are_counted_not_actions() -> None:
    tally = Tally()
    tally.count_result(block(actions=((0, 1, (Receipt(0), Receipt(7))), (1, 1, (Receipt(0),)))))
    assert tally.counts.operations == 3


def sessions(*serials: int | None) -> list[Any]:
    return [None if serial is None else SimpleNamespace(serial=serial) for serial in serials]


def test_games_are_known_by_their_serial_though_slots_are_used_again() -> None:
    tally = Tally()
    tally.look_at_games(sessions(1, 2), 1_000)
    tally.look_at_games(sessions(3, 2), 5_000)
    tally.look_at_games(sessions(None, 2), 9_000)
    assert (tally.counts.games_total, tally.counts.games_ended, tally.counts.games_ended_ms) == (
        3,
        2,
        8_000,
    )


def test_games_are_looked_through_once_a_second_of_agreed_time() -> None:
    tally = Tally()
    tally.look_at_games(sessions(), 0)
    tally.look_at_games(sessions(1), 999)
    assert tally.counts.games_total == 0
    tally.look_at_games(sessions(1), 1_000)
    assert tally.counts.games_total == 1


def test_a_peer_cannot_fill_the_memory_with_names_of_faults() -> None:
    tally = Tally()
    for number in range(10 * FAULT_NAMES_MAX):
        tally.count_fault(f"bad {number}")
    tally.count_fault("bad 0")
    assert len(tally.counts.faults) == FAULT_NAMES_MAX + 1
    assert tally.counts.faults["bad 0"] == 2
    assert tally.counts.faults["other"] == 9 * FAULT_NAMES_MAX
