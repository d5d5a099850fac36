"""The bank: what it must hold, what it refuses, what goes back when it falls short (R29, T5, T15)."""

import itertools

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from node.game.lanes import pack
from node.game.operations import Leave, PlaceBet, Ready, Reduce, Roll, TakeDown, Working
from node.game.params import GameParams
from node.game.receipts import Code, Posting, ReturnedBet
from node.game.rules import BetKey
from node.game.treasury import BANK, FIRST_RACK, LAYOUT
from tests.game.tables import FAST, Game, chips_in_sight
from tests.game.tiny import ACE, FIELD, LAY, MOVE, OFF, RIDE, SIDE, SIDES, STAY, TinyGame


def with_bank(bank: int, **changes: int) -> GameParams:
    return msgspec.structs.replace(FAST, bank=bank, **changes)


def worst_by_hand(bets: dict[tuple[int, int], int], off: tuple[int, ...] = ()) -> int:
    """Ask every face what every bet needs, and take the worst."""
    rules = TinyGame()
    totals = []
    for face in SIDES:
        total = 0
        for (kind, number), stake in bets.items():
            key = BetKey(kind, number)
            working = OFF if number in off else 0
            total += stake // rules.unit(key) * rules.needs(key, working, face)
        totals.append(total)
    return max(0, *totals)


def test_t15_a_win_comes_out_of_the_bank_and_is_in_the_balance() -> None:
    game = Game(params=with_bank(100)).seated(0)
    game.bet(0, RIDE, 100)
    game.throw(5)
    assert (game.racks[0], game.state.bank) == (10_100, 0)
    assert chips_in_sight(game.state) == game.state.minted == 40_100


def test_a_loss_goes_to_the_bank_to_the_chip() -> None:
    game = Game(params=with_bank(100)).seated(0)
    game.bet(0, RIDE, 60)
    game.bet(0, SIDE, 20)
    game.throw(0)
    assert (game.racks[0], game.state.bank) == (9_920, 180)


def test_the_bank_takes_no_bet_that_it_could_not_pay() -> None:
    game = Game(params=with_bank(100)).seated(0)
    receipt = game.refusal(0, PlaceBet(0, RIDE, 0, 101))
    assert (receipt.code, receipt.values) == (Code.BANK, (101, 100))
    game.bet(0, RIDE, 60)
    assert game.refusal(0, PlaceBet(0, SIDE, 0, 21)).values == (42, 40)
    game.bet(0, SIDE, 20)
    assert game.state.treasury.free(game.state.exposed()) == 0


def test_what_one_outcome_wins_stands_against_what_it_pays() -> None:
    game = Game(params=with_bank(40)).seated(0, 1)
    game.bet(1, ACE, 10)
    game.bet(0, RIDE, 50)
    assert game.session().worst == 40
    assert game.refusal(0, PlaceBet(0, FIELD, 0, 1)).code == Code.BANK


def test_a_session_that_can_only_win_frees_no_chips_for_others() -> None:
    session = Game().seated(0).session()
    session.set_exposure(pack([-5, -3, -5, -5, -5, -9]))
    assert session.worst == 0


def test_a_bank_that_could_pay_every_prize_is_never_asked_what_excludes_what() -> None:
    game = Game(params=with_bank(1_000)).seated(0, 1)
    game.bet(0, RIDE, 50)
    game.bet(1, ACE, 10)
    game.throw(2)
    game.bet(0, STAY, 12, 3)
    game.done((0, Working(0, STAY, 3, OFF)), (0, Reduce(0, STAY, 3, 6)), (1, Leave(0)))
    assert game.session().known is None
    assert game.session().prizes == 50 + 7
    assert game.session().worst == worst_by_hand({(RIDE, 0): 50, (STAY, 3): 6}, off=(3,)) == 57


def test_a_bank_that_could_not_pay_every_prize_still_takes_what_it_covers() -> None:
    game = Game(params=with_bank(40)).seated(0, 1)
    game.bet(1, ACE, 10)
    game.bet(0, RIDE, 40)
    assert game.session().known is not None
    assert game.session().prizes == game.state.treasury.prizes == 80


def test_a_reserve_ratio_makes_the_bank_hold_more() -> None:
    game = Game(params=with_bank(100, reserve_bp=15_000)).seated(0)
    assert game.refusal(0, PlaceBet(0, RIDE, 0, 67)).values == (67, 66)
    game.bet(0, RIDE, 66)


def test_one_bank_stands_for_every_session_at_once() -> None:
    game = Game(params=with_bank(100)).seated(0).seated(1)
    game.bet(0, RIDE, 60, slot=0)
    assert game.refusal(1, PlaceBet(1, RIDE, 0, 41)).values == (41, 40)
    game.bet(1, RIDE, 40, slot=1)
    # What a session wins in one outcome does not count for another: they roll apart.
    game.done((0, Roll(0)), (1, Roll(1)))
    game.block(faces=[(0, 5), (1, 5)])
    assert game.state.bank == 0


KEYS = [
    (RIDE, 0),
    (SIDE, 0),
    (FIELD, 0),
    (LAY, 0),
    (MOVE, 0),
    (ACE, 0),
    *((STAY, n) for n in SIDES[1:]),
]
UNITS = {STAY: 6, LAY: 20}
Stakes = st.dictionaries(st.sampled_from(KEYS), st.integers(1, 9), min_size=1)


@settings(max_examples=40, deadline=None)
@given(bets=Stakes, bank=st.integers(0, 250))
def test_the_reserve_is_the_worst_case_by_brute_force(
    bets: dict[tuple[int, int], int], bank: int
) -> None:
    game = Game(params=with_bank(bank)).seated(0)
    held: dict[tuple[int, int], int] = {}
    for (kind, number), units in sorted(bets.items()):
        if kind == SIDE and (RIDE, 0) not in held:
            continue
        stake = units * UNITS.get(kind, 1)
        wanted = {**held, (kind, number): stake}
        (receipt,) = game.block((0, PlaceBet(0, kind, number, stake)))
        assert receipt.code == (Code.DONE if worst_by_hand(wanted) <= bank else Code.BANK)
        held = wanted if receipt.code == Code.DONE else held
        assert game.session().worst == worst_by_hand(held)
    assert game.bets(0) == held


@settings(max_examples=40, deadline=None)
@given(bets=Stakes, bank=st.integers(20, 250), outcomes=st.lists(st.integers(0, 5), max_size=4))
def test_whatever_falls_the_bank_pays_and_covers_what_stays(
    bets: dict[tuple[int, int], int], bank: int, outcomes: list[int]
) -> None:
    game = Game(params=with_bank(bank)).seated(0)
    for (kind, number), units in bets.items():
        game.block((0, PlaceBet(0, kind, number, units * UNITS.get(kind, 1))))
    game.block((0, PlaceBet(0, RIDE, 0, 1)))
    for outcome in outcomes:
        if not game.session().layout or not game.session().is_willing(0):
            break
        before = chips_in_sight(game.state)
        game.throw(outcome)
        assert game.state.bank >= 0
        assert game.state.covers()
        assert chips_in_sight(game.state) == before


def test_a_bet_that_won_and_cannot_be_covered_again_goes_back() -> None:
    game = Game(params=with_bank(8)).seated(0)
    game.bet(0, STAY, 6, 4)
    game.bet(0, RIDE, 1)
    game.throw(3)
    result = game.results[-1]
    assert game.state.bank == 1
    assert [(row.kind, row.profit, row.left) for row in result.bets] == [(STAY, 7, 6)]
    assert result.returned == (ReturnedBet(0, 0, STAY, 4, 6),)
    assert game.bets(0) == {(RIDE, 0): 1}
    assert game.racks[0] == 10_000 - 1 + 7
    assert Posting(LAYOUT, FIRST_RACK, 6) in result.postings
    assert game.state.accounts[0].open_bets == 1


def test_of_the_bets_that_the_worst_outcome_pays_the_newest_free_one_goes_first() -> None:
    game = Game(params=with_bank(30)).seated(0, 1)
    game.bet(0, RIDE, 2)
    game.bet(0, STAY, 6, 6)
    game.bet(1, STAY, 12, 6)
    game.bet(0, ACE, 10)
    game.bet(1, STAY, 12, 6)
    game.bet(1, RIDE, 3)
    game.bet(1, ACE, 1)  # the newest, but the worst outcome takes it
    assert game.session().worst == 29
    assert game.done((0, TakeDown(0, ACE, 0))) == [(10,)]
    returned = game.state.returned
    assert [(bet.player, bet.kind, bet.chips) for bet in returned] == [(1, RIDE, 3), (1, STAY, 24)]
    assert game.bets(1) == {(ACE, 0): 1}
    assert game.bets(0) == {(RIDE, 0): 2, (STAY, 6): 6}
    assert game.racks[:2] == [9_992, 9_999]
    assert [account.open_bets for account in game.state.accounts[:2]] == [2, 1]


def test_a_block_reports_only_what_went_back_in_it() -> None:
    game = Game(params=with_bank(10)).seated(0, 1)
    game.bet(1, ACE, 2)
    game.bet(0, RIDE, 12)
    game.done((1, TakeDown(0, ACE, 0)))
    assert len(game.state.returned) == 1
    assert game.state.fork().returned == []
    game.state.begin_block(game.state.height + 1, game.state.time_ms + 1, can_close=True)
    assert game.state.returned == []


def test_bets_that_may_come_down_go_back_before_contract_bets() -> None:
    game = Game(params=with_bank(24)).seated(0, 1)
    game.bet(0, RIDE, 4)
    game.bet(1, RIDE, 6)
    game.throw(2)
    game.bet(1, ACE, 8)
    game.bet(1, SIDE, 5)
    game.bet(0, RIDE, 5)
    game.bet(0, STAY, 6, 6)
    assert game.session().worst == 24
    game.done((1, TakeDown(0, ACE, 0)))
    # 32 are asked, 24 are there: 7 of the stay, which is newest, then 10 of the side.
    assert [(bet.player, bet.kind) for bet in game.state.returned] == [(0, STAY), (1, SIDE)]
    assert (game.bets(0), game.bets(1)) == ({(RIDE, 0): 9}, {(RIDE, 0): 6})


def test_a_bet_that_just_won_goes_back_before_newer_ones() -> None:
    game = Game(params=with_bank(15)).seated(0, 1)
    game.bet(0, STAY, 6, 4)
    game.bet(1, STAY, 6, 5)
    game.bet(0, RIDE, 1)
    result = game.throw(3)
    assert [(bet.player, bet.kind, bet.number) for bet in result.returned] == [(0, STAY, 4)]


def test_a_bet_that_took_the_place_of_a_winner_is_not_one_itself() -> None:
    game = Game(params=with_bank(24, reserve_bp=20_000)).seated(0, 1)
    game.bet(0, RIDE, 1)
    game.bet(0, MOVE, 5)
    game.throw(2)
    game.bet(1, ACE, 4)
    game.bet(1, STAY, 6, 5)
    game.bet(1, ACE, 2)
    game.bet(0, MOVE, 5)
    result = game.throw(2)
    # The bank is 25 now, half of that is less than the 13 that ride, stay and the moved bet ask.
    assert game.state.bank == 25
    assert [bet.kind for bet in result.returned] == [STAY]


def test_a_newer_contract_bet_goes_back_after_an_older_free_one() -> None:
    game = Game(params=with_bank(10)).seated(0, 1)
    game.bet(0, STAY, 6, 6)
    game.bet(0, RIDE, 3)
    game.throw(2)
    game.bet(1, ACE, 2)
    game.bet(0, RIDE, 2)
    game.done((1, TakeDown(0, ACE, 0)))
    assert [bet.kind for bet in game.state.returned] == [STAY]


def test_when_only_contract_bets_are_left_the_newest_goes_back() -> None:
    game = Game(params=with_bank(10)).seated(0, 1, 2)
    game.bet(0, RIDE, 5)
    game.bet(1, RIDE, 5)
    game.throw(2)
    game.bet(2, ACE, 5)
    game.bet(1, SIDE, 1)
    game.bet(0, RIDE, 3)
    game.done((2, TakeDown(0, ACE, 0)))
    # A bet is as old as its first chip, so the ride of seat 1 is the newer of the two.
    assert [(bet.player, bet.kind) for bet in game.state.returned] == [(1, SIDE), (1, RIDE)]
    assert game.bets(0) == {(RIDE, 0): 8}


def test_a_riding_bet_that_goes_back_frees_its_seat() -> None:
    game = Game(params=with_bank(10)).seated(0, 1)
    game.bet(1, RIDE, 1)
    game.bet(0, RIDE, 9)
    game.throw(2)
    game.done((0, Leave(0)), (1, PlaceBet(0, ACE, 0, 2)), (1, PlaceBet(0, RIDE, 0, 2)))
    game.done((1, TakeDown(0, ACE, 0)))
    assert game.state.returned == [ReturnedBet(0, 0, RIDE, 0, 9)]
    assert game.session().seats[0] is None
    assert game.racks[0] == 10_000


def test_a_bet_that_goes_back_takes_along_what_hangs_on_it() -> None:
    game = Game(params=with_bank(14)).seated(0, 1)
    game.bet(0, RIDE, 10)
    game.bet(1, ACE, 3)
    game.bet(0, SIDE, 3)
    seat = game.session().seats[0]
    assert seat is not None
    # A flat bet that is newer than what hangs on it: no operation makes one, a game may.
    flat = BetKey(RIDE, 0)
    seat.bets[flat] = msgspec.structs.replace(seat.bets[flat], id=1 << 40)
    game.session().touched[0] = game.state._touched_sessions[0] = None
    game.done((1, TakeDown(0, ACE, 0)))
    assert [(bet.kind, bet.chips) for bet in game.state.returned] == [(RIDE, 10), (SIDE, 3)]
    assert game.session().layout == 0


def test_a_leave_can_uncover_the_bank_as_well() -> None:
    game = Game(params=with_bank(10)).seated(0, 1)
    game.bet(1, ACE, 2)
    game.bet(0, RIDE, 12)
    assert game.session().worst == 10
    game.done((1, Leave(0)))
    assert [bet.kind for bet in game.state.returned] == [RIDE]
    assert game.racks[:2] == [10_000, 10_000]


def test_turning_a_bet_off_may_not_uncover_the_bank() -> None:
    game = Game(params=with_bank(20)).seated(0, 1)
    game.bet(0, STAY, 12, 3)
    game.bet(1, ACE, 8)  # on a one the bank pays 32 and counts on 12
    assert game.session().worst == 20
    receipt = game.refusal(0, Working(0, STAY, 3, OFF))
    assert (receipt.code, receipt.values) == (Code.BANK, (26, 0))
    game.done((1, Reduce(0, ACE, 0, 7)), (0, Working(0, STAY, 3, OFF)))
    assert game.session().worst == worst_by_hand({(STAY, 3): 12, (ACE, 0): 1}, off=(3,)) == 18


def test_vig_lies_on_the_layout_and_comes_back_with_the_stake() -> None:
    game = Game().seated(0, 1)
    game.bet(0, LAY, 60)
    assert game.racks[0] == 10_000 - 63
    assert game.done((0, Reduce(0, LAY, 0, 20))) == [(21,)]
    assert game.done((0, TakeDown(0, LAY, 0))) == [(42,)]
    assert game.racks[0] == 10_000


def test_the_bank_earns_the_vig_and_says_how_much() -> None:
    game = Game(params=with_bank(1_000)).seated(0)
    game.bet(0, LAY, 60)
    game.bet(0, RIDE, 1)
    result = game.throw(0)
    assert game.racks[0] == 10_000 - 3 + 30 - 1
    assert game.state.treasury.vig == 3
    assert [row.vig for row in result.bets if row.kind == LAY] == [3]


def test_a_rack_pays_stake_and_vig_or_nothing() -> None:
    game = Game(players=1, params=with_bank(1_000, buy_in=20)).seated(0)
    receipt = game.refusal(0, PlaceBet(0, LAY, 0, 20))
    assert (receipt.code, receipt.values) == (Code.RACK, (21, 20))
    game.bet(0, RIDE, 20)
    assert game.racks == [0]


@pytest.mark.parametrize(("stake", "rake"), [(1, 0), (19, 0), (20, 1), (39, 1), (40, 2)])
def test_rake_is_a_part_of_the_win_rounded_down(stake: int, rake: int) -> None:
    game = Game(params=with_bank(1_000, rake_bp=500)).seated(0)
    game.bet(0, RIDE, stake)
    result = game.throw(5)
    assert [row.rake for row in result.bets] == [rake]
    assert [row.returned for row in result.bets] == [2 * stake - rake]
    assert game.racks[0] == 10_000 + stake - rake
    assert game.state.bank == 1_000 - stake + rake
    assert game.state.treasury.rake == rake


def test_postings_of_a_roll_are_the_whole_difference_it_made() -> None:
    game = Game(params=with_bank(500)).seated(0, 1)
    for player, (kind, amount) in itertools.product((0, 1), ((RIDE, 10), (FIELD, 3), (LAY, 40))):
        game.bet(player, kind, amount + player * 20 * (kind == LAY))
    game.done((1, Ready(0)), (0, Roll(0)))
    before = [game.state.bank, game.session().layout, *game.racks]
    game.block(faces=[(0, 0)])
    after = [game.state.bank, game.session().layout, *game.racks]
    moved = [0] * len(before)
    for posting in game.results[-1].postings:
        moved[posting.debit] -= posting.amount
        moved[posting.credit] += posting.amount
    assert [b + m for b, m in zip(before, moved, strict=True)] == after
    assert (BANK, LAYOUT, FIRST_RACK) == (0, 1, 2)


def test_an_account_remembers_its_last_rolls() -> None:
    game = Game().seated(0, 1)
    game.bet(0, RIDE, 1)
    for number in range(20):
        game.bet(0, FIELD, number + 1)
        game.throw(4)
    account = game.state.accounts[0]
    assert (account.rolls, account.won, account.lost) == (20, 210, 0)
    past = account.past()
    assert [entry.number for entry in past] == list(range(5, 21))
    assert past[-1].won == 20
    assert {entry.session for entry in past} == {game.session().serial}
    assert game.state.accounts[1].past() == ()
