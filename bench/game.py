"""The game by itself: how fast bets are placed and settled in one process, with all its checks.

Receipts of every operation, the result of every roll with its postings, and the comparison of all
books after every block are on: nothing is left out that a node does to the game. Beside it plays
crapssim, the simulator a craps player would take, if it is installed (extra `bench`), with the same
strategies; on the same dice both must end with the same money (`chips_apart`).

Eight players sit at three tables: a busy one, where each has up to thirteen bets of all kinds, one
where each plays another style with one to four, and one where all play pass with double odds. The
fuller the layout, the better ours compares, so all are told.

Run `python -m bench.game [--json]`. Figures are medians over the runs, in which both programs take
turns; rolls a second are of processor time, so that a busy machine slows neither.
"""

import argparse
import gc
import json
import platform
import random
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from bench.measures import medians, quantile, rounded
from consensus.encoding import digest
from node.game.craps.bets import Kind, bet_key
from node.game.craps.board import POINT
from node.game.games import CRAPS
from node.game.operations import CreateSession, Operation, PlaceBet, Ready, Roll, Sit, TakeDown
from node.game.params import TIMER_MS_MAX, GameParams
from node.game.rules import BetKey, Bets
from node.game.state import GameState

BUY_IN = 10**7
BANK = 10**12
FLAT, ODDS, LAY, FLAT_DONT = 10, 20, 24, 12
BLOCK_MS = 1_000
WARM_UP = 500
"""Rolls of both programs before the clock starts: rules work out each row of theirs once."""
PARAMS = GameParams(
    buy_in=BUY_IN,
    bank=BANK,
    max_sessions=1_024,
    sessions_per_player=1_024,
    operations_per_block=65_536,
    betting_min_ms=0,
    betting_max_ms=TIMER_MS_MAX,
    thrower_ms=TIMER_MS_MAX,
    absent_ms=TIMER_MS_MAX,
)

Wants = tuple[tuple[BetKey, Operation], ...]
"""Bets that a player wants to be up, each with the operation that places it."""


class Style(NamedTuple):
    """How a player bets: what shall be up while the puck is off, and while it is on.

    At most two come bets are up at once.
    """

    off: Wants
    on: Wants


def _key(kind: Kind, number: int = 0) -> BetKey:
    return bet_key(kind, number)


PASS, DONT, COME = _key(Kind.PASS), _key(Kind.DONT_PASS), _key(Kind.COME)
PASS_ODDS, DONT_ODDS, FIELD = _key(Kind.PASS_ODDS), _key(Kind.DONT_PASS_ODDS), _key(Kind.FIELD)
COMES = tuple(_key(Kind.COME, number) for number in (4, 5, 6, 8, 9, 10))
INSIDE = {5: 10, 6: 12, 8: 12, 9: 10}
CROSS = {5: 10, 6: 12, 8: 12}
ALL_PLACES = {4: 10, 5: 10, 6: 12, 8: 12, 9: 10, 10: 10}


def _wants(*wanted: tuple[BetKey, int]) -> Wants:
    return tuple((key, PlaceBet(0, *key, chips)) for key, chips in wanted)


def _places(stakes: Mapping[int, int]) -> Wants:
    return _wants(*((_key(Kind.PLACE, number), chips) for number, chips in stakes.items()))


def _hards(*numbers: int) -> Wants:
    return _wants(*((_key(Kind.HARD, number), 5) for number in numbers))


def _come_bets(bets: Bets) -> int:
    return sum(key in bets for key in COMES)


_LINE, _LINE_ODDS, _FIELD = _wants((PASS, FLAT)), _wants((PASS_ODDS, ODDS)), _wants((FIELD, 5))

PASS_WITH_ODDS = Style(_LINE, _LINE_ODDS)
DONT_WITH_ODDS = Style(_wants((DONT, FLAT_DONT)), _wants((DONT_ODDS, LAY)))
SIX_AND_EIGHT = Style((), _places({6: 12, 8: 12}))
FIELD_ALWAYS = Style(_FIELD, _FIELD)
PASS_AND_COMES = Style(_LINE, _wants((COME, FLAT)))
PLACE_INSIDE = Style((), _places(INSIDE))
HARD_SIX_EIGHT = Style(_hards(6, 8), _hards(6, 8))
FIELD_AND_PLACES = Style(_FIELD, _FIELD + _places(CROSS))
MUCH = Style(
    _LINE + _hards(4, 6, 8, 10) + _FIELD,
    _LINE_ODDS + _places(ALL_PLACES) + _hards(4, 6, 8, 10) + _FIELD,
)
"""Up to 13 bets at once."""

ONE = (PASS_WITH_ODDS,)
ALIKE = ONE * 8
EIGHT = (
    PASS_WITH_ODDS, DONT_WITH_ODDS, SIX_AND_EIGHT, FIELD_ALWAYS,
    PASS_AND_COMES, PLACE_INSIDE, HARD_SIX_EIGHT, FIELD_AND_PLACES,
)  # fmt: skip
BUSY = (MUCH,) * 8


class Ours:
    """One session of the game with its players, driven block by block without a node."""

    def __init__(self, players: Sequence[Style], seed: int) -> None:
        self.players = players
        self.seed = digest("bench", seed.to_bytes(8, "big"))
        self.closed: tuple[int, ...] = ()
        self.state = GameState.genesis(PARAMS, len(players))
        self.bets = 0
        self.dice: list[tuple[int, ...]] = []
        self._block((0, CreateSession(CRAPS)), *((i, Sit(0)) for i in range(len(players))))

    def _block(self, *actions: tuple[int, Operation]) -> tuple[int, ...]:
        state = self.state
        state.begin_block(state.height + 1, state.time_ms + BLOCK_MS, can_close=True)
        for index, (player, operation) in enumerate(actions):
            receipt = state.apply(player, operation, index)
            assert receipt.code == 0, (operation, receipt)
        return state.end_block()

    def play(self, rolls: int) -> None:
        """Bet and roll so often. One block settles the last roll and calls the next one."""
        state = self.state
        for _ in range(rolls):
            state.begin_block(state.height + 1, state.time_ms + BLOCK_MS, can_close=True)
            self._settle()
            session = state.sessions[0]
            assert session is not None
            on, index = session.board[POINT] > 0, 0
            for player, style in enumerate(self.players):
                seat = session.seats[player]
                assert seat is not None
                bets = seat.bets
                for key, operation in style[on]:
                    if key in bets or (key is COME and _come_bets(bets) == 2):
                        continue
                    receipt = state.apply(player, operation, index)
                    assert receipt.code == 0, (player, key, receipt)
                    index += 1
            self.bets += index
            thrower = state.thrower(0)
            assert thrower is not None
            receipt = state.apply(thrower, Roll(0), index)
            assert receipt.code == 0, receipt
            self.closed = state.end_block()
        state.begin_block(state.height + 1, state.time_ms + BLOCK_MS, can_close=True)
        self._settle()
        state.end_block()

    def _settle(self) -> None:
        if self.closed:
            self.closed = ()
            self.seed = digest("bench", self.seed)
            self.dice.append(self.state.settle(0, self.seed).dice)

    def money(self) -> list[int]:
        """Return what each player has, bets included."""
        session = self.state.sessions[0]
        assert session is not None
        racks = [account.chips for account in self.state.accounts]
        for seat in session.seats:
            if seat is not None:
                racks[seat.player] += sum(bet.stake + bet.vig for bet in seat.bets.values())
        return racks


def crapssim_table(players: Sequence[Style]) -> Any | None:
    """Return a table of the other program with the same players, None if it is not installed."""
    try:
        from crapssim.strategy.examples import Pass2Come
        from crapssim.strategy.odds import DontPassOddsMultiplier, PassLineOddsMultiplier
        from crapssim.strategy.single_bet import (
            BetDontPass,
            BetField,
            BetHardWay,
            BetPassLine,
            BetPlace,
            StrategyMode,
        )
        from crapssim.table import Table
    except ImportError:
        return None
    on = StrategyMode.ADD_IF_POINT_ON

    def place(stakes: Mapping[int, int]) -> BetPlace:
        amounts = {number: float(chips) for number, chips in stakes.items()}
        return BetPlace(amounts, mode=on, skip_point=False)

    hard: Any = BetHardWay  # its annotation asks for a tuple and its code for a number
    line = BetPassLine(FLAT) + PassLineOddsMultiplier(2)
    strategies = dict(zip(EIGHT, (
        line,
        BetDontPass(FLAT_DONT) + DontPassOddsMultiplier(2),
        place({6: 12, 8: 12}),
        BetField(5),
        Pass2Come(FLAT),
        place(INSIDE),
        hard(6, 5) + hard(8, 5),
        BetField(5) + place(CROSS),
    ), strict=True))  # fmt: skip
    hards = hard(4, 5) + hard(6, 5) + hard(8, 5) + hard(10, 5)
    numbers = place(ALL_PLACES)
    strategies[MUCH] = line + numbers + hards + BetField(5)
    table = Table()
    for style in players:
        table.add_player(BUY_IN, strategies[style])
    return table


@dataclass(frozen=True)
class Side:
    """How one program did: rolls and, where it counts them, bets a second."""

    rolls_per_s: float
    bets_per_s: float
    money: list[int]


def play_ours(
    players: Sequence[Style], rolls: int, seed: int
) -> tuple[Side, list[tuple[int, ...]]]:
    """Play one run of ours; return also the dice."""
    game = Ours(players, seed)
    game.play(WARM_UP)
    bets, start = game.bets, time.process_time()
    game.play(rolls)
    seconds = time.process_time() - start
    return Side(rolls / seconds, (game.bets - bets) / seconds, game.money()), game.dice


def play_theirs(
    players: Sequence[Style], dice: Iterable[tuple[int, ...]], rolls: int
) -> Side | None:
    """Play so many rolls at the other program's table with its own dice; the money is of ours."""
    table, same = crapssim_table(players), crapssim_table(players)
    if table is None or same is None:
        return None
    table.run(WARM_UP, verbose=False)
    start = time.process_time()
    table.run(rolls, verbose=False)
    seconds = time.process_time() - start
    same.fixed_run(dice)
    return Side(rolls / seconds, 0, [round(player.total_player_cash) for player in same.players])


def compare(players: Sequence[Style], rolls: int, seed: int) -> dict[str, object]:
    """Measure both programs once on one seed."""
    ours, dice = play_ours(players, rolls, seed)
    theirs = play_theirs(players, dice, rolls)
    return {
        "rolls_per_s": ours.rolls_per_s,
        "bets_per_s": ours.bets_per_s,
        "crapssim_rolls_per_s": theirs.rolls_per_s if theirs else 0.0,
        "times_crapssim": ours.rolls_per_s / theirs.rolls_per_s if theirs else 0.0,
        "chips_apart": sum(abs(a - b) for a, b in zip(ours.money, theirs.money, strict=True))
        if theirs
        else 0,
    }


def measure_blocks(operations: int) -> dict[str, object]:
    """Time a block of so many operations on a fork, roots included: 64 players in 16 games."""
    state = seated_state(games=16, seats=4)
    block: list[tuple[int, Operation]] = []
    for number in range(operations // 2):
        player, slot = number % 64, number % 64 % 16
        block += [
            (player, PlaceBet(slot, Kind.PLACE, 6, 6)),
            (player, TakeDown(slot, Kind.PLACE, 6)),
        ]
    start = time.process_time()
    fork = state.fork()
    fork.begin_block(fork.height + 1, fork.time_ms + BLOCK_MS, can_close=True)
    for index, (player, operation) in enumerate(block):
        assert fork.apply(player, operation, index).code == 0
    fork.end_block()
    fork.accounts_root(), fork.sessions_root()
    return {"apply_block_ms": (time.process_time() - start) * 1_000}


def measure_root(players: int, times: int = 200) -> dict[str, object]:
    """Time fork, one bet and both roots at a table of so many players, one of 250 games each."""
    state = seated_state(games=players // 4, seats=4)
    apply_us, root_us = [], []
    for number in range(times):
        player = number * 7 % players
        fork = state.fork()
        fork.begin_block(fork.height + 1, fork.time_ms + 1, can_close=True)
        start = time.perf_counter()
        receipt = fork.apply(player, PlaceBet(player % (players // 4), Kind.PLACE, 6, 6), 0)
        placed = time.perf_counter()
        fork.accounts_root(), fork.sessions_root()
        done = time.perf_counter()
        assert receipt.code == 0
        fork.end_block()
        apply_us.append((placed - start) * 1e6)
        root_us.append((done - placed) * 1e6)
        state = fork
    return {"bet_us": statistics.median(apply_us), "root_us": statistics.median(root_us)}


def seated_state(games: int, seats: int) -> GameState:
    """Return a state with so many open games; player p sits in game p mod games."""
    players = games * seats
    params = msgspec.structs.replace(PARAMS, buy_in=10_000)
    state = GameState.genesis(params, players)
    state.begin_block(1, BLOCK_MS, can_close=True)
    index = 0
    for _ in range(games):
        state.apply(0, CreateSession(CRAPS), index)
        index += 1
    for player in range(players):
        assert state.apply(player, Sit(player % games), index).code == 0
        index += 1
    state.end_block()
    state.accounts_root(), state.sessions_root()
    return state


def measure_games(games: int, rounds: int, seed: int) -> dict[str, object]:
    """Play so many games at once; return memory and latencies of an action.

    Up to four players sit at each, as many as a table has room for. Every game bets, says ready, rolls and settles in each round, interleaved as one block would
    hold them. An action is one operation of one player in one game.
    """
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    state = seated_state(games, min(4, 1_000 // games) or 1)
    kept = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    chance = random.Random(seed)
    taken: list[float] = []
    players = len(state.accounts)
    seats = players // games
    for _ in range(rounds):
        state = state.fork()
        state.begin_block(state.height + 1, state.time_ms + BLOCK_MS, can_close=True)
        for slot in _closed(state):
            state.settle(slot, digest("bench", state.height.to_bytes(8, "big")))
        index = 0
        for slot in chance.sample(range(games), games):
            session = state.sessions[slot]
            assert session is not None
            point = session.board[POINT]
            line: list[Operation] = [] if point else [PlaceBet(slot, Kind.PASS, 0, 10)]
            for seat in range(seats):
                player = slot + seat * games
                moves = [*line, PlaceBet(slot, Kind.FIELD, 0, 5), Ready(slot)]
                for operation in moves:
                    index = (index + 1) % 65_536
                    start = time.perf_counter()
                    state.apply(player, operation, index)
                    taken.append(time.perf_counter() - start)
            thrower = state.thrower(slot)
            assert thrower is not None
            state.apply(thrower, Roll(slot), index)
        state.end_block()
        state.accounts_root(), state.sessions_root()
    taken.sort()
    return {
        "players": len(state.accounts),
        "kib_per_game": kept / games / 1_024,
        "action_p50_us": quantile(taken, 500) * 1e6,
        "action_p99_us": quantile(taken, 990) * 1e6,
    }


def _closed(state: GameState) -> list[int]:
    return [
        slot
        for slot, session in enumerate(state.sessions)
        if session is not None and session.phase.name == "CLOSED"
    ]


def run(runs: int, rolls: int) -> dict[str, object]:
    """Measure everything `runs` times; return the medians."""
    parts: dict[str, Callable[[int], dict[str, object]]] = {
        "eight_players_busy": lambda seed: compare(BUSY, rolls // 4, seed),
        "eight_players_alike": lambda seed: compare(ALIKE, rolls, seed),
        "eight_players_one_style_each": lambda seed: compare(EIGHT, rolls, seed),
        "one_player": lambda seed: compare(ONE, rolls * 4, seed),
        "block_of_1000": lambda _seed: measure_blocks(1_000),
        "thousand_players": lambda _seed: measure_root(1_000),
        "games_100": lambda seed: measure_games(100, 20, seed),
        "games_1000": lambda seed: measure_games(1_000, 5, seed),
    }
    figures: dict[str, object] = {"python": platform.python_version(), "runs": runs, "rolls": rolls}
    for name, measure in parts.items():
        figures[name] = rounded(medians([measure(seed) for seed in range(runs)]))
    return figures


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rolls", type=int, default=5_000, help="of a run with eight players")
    arguments = parser.parse_args()
    figures = run(arguments.runs, arguments.rolls)
    if arguments.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        if isinstance(value, dict):
            print(name)
            for key, figure in value.items():
                print(f"  {key:<22}{figure}")
        else:
            print(f"{name:<24}{value}")


if __name__ == "__main__":
    main()
