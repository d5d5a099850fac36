"""What is remembered of a seat's bets is what would be worked out, and it is not much."""

import random
from collections.abc import Iterator

import pytest

from consensus.encoding import digest
from node.game.craps.bets import ALL_KEYS, FLAT_OF, bet_key
from node.game.craps.board import OPENING, POINT
from node.game.craps.params import CrapsParams
from node.game.craps.rules import CrapsRules
from node.game.games import CRAPS, encode_choice
from node.game.operations import (
    CreateSession,
    Leave,
    Operation,
    PlaceBet,
    Reduce,
    Roll,
    Sit,
    TakeDown,
    Working,
)
from node.game.params import TIMER_MS_MAX, GameParams
from node.game.positions import Placed, Positions
from node.game.receipts import Receipt, RollResult
from node.game.rules import Bet, BetKey, Board
from node.game.session import Phase
from node.game.state import GameState

PLAYERS, BLOCKS = 6, 400
CHOICES = {
    "as usual": CrapsParams(),
    "for new shooters": CrapsParams(new_shooter_only=1, vig_on_win=1, hard_off_come_out=1),
}
KEPT = "node.game.positions.REMEMBERED"


def params(options: CrapsParams) -> GameParams:
    return GameParams(
        buy_in=1_000_000,
        bank=100_000_000,
        rake_bp=300,
        operations_per_block=64,
        betting_min_ms=0,
        betting_max_ms=TIMER_MS_MAX,
        thrower_ms=TIMER_MS_MAX,
        absent_ms=TIMER_MS_MAX,
        rules=encode_choice(CRAPS, options),
    )


STEADY = ((1, 0, 10), (5, 0, 20), (3, 0, 10), (12, 4, 20), (17, 6, 5), (11, 10, 20), (7, 6, 10))
"""Pass with odds, come with odds, lay, buy and a hardway: bets that stay, move and have a vig."""


def moves(chance: random.Random, state: GameState) -> Iterator[tuple[int, Operation]]:
    """Yield bets of every player, half of whom make the same again and again, and changes."""
    session = state.sessions[0]
    assert session is not None
    for player in range(PLAYERS):
        seat = session.seats[player]
        bets = [] if seat is None else sorted(seat.bets)
        if player % 2:
            for kind, number, chips in STEADY[: 2 + player]:
                if (kind, number) not in bets or chance.random() < 0.01:
                    yield player, PlaceBet(0, kind, number, chips)
        else:
            for key in chance.sample([*ALL_KEYS], 3):
                yield player, PlaceBet(0, *key, chance.choice([12, 20, 60]))
        if bets and chance.random() < 0.1:
            key, chips = chance.choice(bets), chance.choice([6, 10, 20])
            changes: list[Operation] = [Working(0, *key, chance.randrange(3)), TakeDown(0, *key)]
            yield player, chance.choice([*changes, Reduce(0, *key, chips)])


def play(options: CrapsParams, seed: int) -> tuple[GameState, list[Receipt], list[RollResult]]:
    """Play a script that hangs on the seed and on nothing that a state remembers."""
    chance, dice = random.Random(seed), digest("dice", seed.to_bytes(8, "big"))
    state = GameState.genesis(params(options), PLAYERS)
    state.begin_block(1, 1_000, can_close=True)
    receipts, rolls = [state.apply(0, CreateSession(CRAPS), 0)], []
    receipts += [state.apply(player, Sit(0), player) for player in range(PLAYERS)]
    state.end_block()
    for height in range(2, BLOCKS):
        state = state.fork()
        state.begin_block(height, height * 1_000, can_close=True)
        session = state.sessions[0]
        assert session is not None
        if session.phase == Phase.CLOSED:
            dice = digest("dice", dice)
            rolls.append(state.settle(0, dice))
        actions = list(moves(chance, state))
        thrower = state.thrower(0)
        assert thrower is not None
        for index, (player, operation) in enumerate([*actions, (thrower, Roll(0))]):
            receipts.append(state.apply(player, operation, index))
        state.end_block()
    return state, receipts, rolls


@pytest.mark.parametrize("name", CHOICES)
def test_a_table_that_remembers_plays_as_one_that_does_not(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = CHOICES[name]
    for seed in range(3):
        with monkeypatch.context() as patch:
            patch.setattr(KEPT, 0)
            bare, *told = play(options, seed)
        state, *retold = play(options, seed)
        assert retold == told
        assert state.leaves() == bare.leaves()
        positions = state._games[CRAPS]
        assert len(positions._known) > 20
        assert len(positions._placed) >= 40
        assert sum(map(len, positions._settled.values())) > 20


@pytest.mark.parametrize(
    "change", [Working(0, 9, 6, 2), Reduce(0, 9, 6, 6), TakeDown(0, 9, 6), Leave(0)], ids=str
)
def test_a_bet_that_is_changed_is_no_longer_in_the_position_it_was_in(change: Operation) -> None:
    state = GameState.genesis(params(CrapsParams()), 1)
    state.begin_block(1, 1_000, can_close=True)
    place, six = PlaceBet(0, 9, 6, 12), BetKey(9, 6)
    for index, operation in enumerate(
        [CreateSession(CRAPS), Sit(0), *[place, TakeDown(0, *six)] * 2]
    ):
        assert state.apply(0, operation, index).code == 0
    assert state.apply(0, place, 90).code == 0
    session = state.sessions[0]
    assert session is not None
    seat = session.own_seat(0)
    assert seat.position is not None
    assert seat.position.bets == {six: Bet(12, 0)}
    assert state.apply(0, change, 91).code == 0
    assert seat.position is None


def boards(options: CrapsParams) -> list[Board]:
    """Boards of a long game, and the first of all."""
    rules, chance, board = CrapsRules(options), random.Random(1), OPENING
    found = {board: None}
    for _ in range(60):
        (outcome,) = chance.choices(range(21), rules.outcome_weights)
        board, _ended = rules.advance(board, outcome)
        found[board] = None
    return list(found)


@pytest.mark.parametrize("name", CHOICES)
def test_the_puck_is_all_that_a_bet_sees_that_is_not_far_sighted(name: str) -> None:
    rules, found = CrapsRules(CHOICES[name]), boards(CHOICES[name])
    near, far = [key for key in ALL_KEYS if rules.params.takes(key)], 0
    for key in near:
        flat = bet_key(FLAT_OF[ALL_KEYS[key]], key.number) if ALL_KEYS[key] in FLAT_OF else key
        seen: dict[object, object] = {}
        differ = False
        for board in found:
            off = not board[POINT] and flat != key and not key.number
            stake = 1 if off else rules.exposure(board, key, 0).unit
            bets = {flat: Bet(stake, 0), key: Bet(stake, 0, 0, rules.vig(key, stake))}
            checks = [rules.check_bet(board, lying, key, stake) for lying in ({}, bets)]
            rows = [] if off else [rules.settle(board, bets, outcome) for outcome in range(21)]
            said = checks, rows
            differ |= seen.setdefault(rules.glance(board), said) != said
        far += differ
        assert key in rules.far_sighted or not differ, key
    assert far > 5


def test_bets_that_differ_in_anything_but_order_and_ids_are_other_positions() -> None:
    positions = Positions(CrapsRules(CrapsParams()), 0)
    line, odds, lay, fire = (BetKey(*key) for key in ((1, 0), (5, 0), (12, 4), (26, 0)))
    bets = {line: Bet(10, 1), odds: Bet(20, 2), lay: Bet(40, 3, 0, 1)}
    position = positions._of(bets)
    assert position is positions._of({lay: Bet(40, 9, 0, 1), odds: Bet(20, 8), line: Bet(10, 7)})
    others: tuple[dict[BetKey, Bet], ...] = (
        {line: Bet(10, 1), lay: Bet(40, 3, 0, 1)},
        {**bets, odds: Bet(30, 2)},
        {**bets, lay: Bet(40, 3, 0, 2)},
        {**bets, lay: Bet(40, 3, 2, 1)},
        {**bets, BetKey(5, 4): Bet(20, 4)},
        {},
    )
    found = {id(positions._of(other)) for other in others}
    assert len(found) == len(others)
    assert id(position) not in found
    assert positions._of({}) is positions._empty
    assert positions._of({**bets, fire: Bet(5, 4)}) is None


def size(positions: Positions) -> int:
    """What a memory holds, counted as it counts."""
    return (
        sum(1 + len(position.bets) for position in positions._known.values())
        + len(positions._placed)
        + sum(1 + len(page) for page in positions._settled.values())
        + sum(len(one.rows) for page in positions._settled.values() for one in page.values())
        + len(positions._asked)
    )


def test_memory_is_bounded_and_begins_anew_when_it_misses_too_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(KEPT, 200)
    monkeypatch.setattr("node.game.positions.MISSED", 500)
    positions, most = Positions(CrapsRules(CrapsParams()), 0), 0

    def ask(chips: int) -> bool:
        """Bet and roll, as a seat does; say whether there was a position."""
        placed = positions.place({}, None, OPENING, PlaceBet(0, 1, 0, chips))
        assert type(placed) is Placed
        position = placed.after
        if position is not None:
            rows = positions.rules.settle(OPENING, position.bets, 14)
            positions.learn(position, OPENING, 14, rows)
        return position is not None

    for chips in range(1, 2_000):
        for _ in range(4):
            ask(chips)
            assert size(positions) == positions._kept
            most = max(most, size(positions))
    assert 200 <= most < 210
    while positions._kept < 200:
        ask(positions._kept)
    positions._missed = 498
    assert [ask(2_000) for _ in range(4)] == [False, False, True, True]
    assert size(positions) < 20
