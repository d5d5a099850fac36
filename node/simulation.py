"""Strategies played offline: whole sittings through the real game, with seeded dice.

All strategies sit at one table, so they see the same dice. Beside them sits a keeper, whom the bank
stakes, with a bet that makes the dice roll; the table's timer throws. Receipts, results and the
comparison of all books after every block are on, as at any table.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import msgspec

from consensus.encoding import Digest, digest
from node.bots import operations_of
from node.game.games import NUMBERS, encode_choice
from node.game.operations import CreateSession, Operation, Sit, Tick
from node.game.params import CHIPS_MAX, TIMER_MS_MAX, GameParams
from node.game.receipts import Code, RollResult
from node.game.rules import GameRules
from node.game.session import GameSession, Phase
from node.game.state import GameState
from node.strategies import LINES_TO_THROW, STRATEGIES
from node.strategies.moves import Strategy
from node.view import TableView, build_view

KEEPER = "keeper"
KEEPER_CHIPS = 10**9
BLOCK_MS = 1_000
_NO_ROOT = Digest(bytes(32))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to simulate: `hands` in all, in sittings of `sitting` hands with `buy_in` chips each.

    `params` are a table's own terms; its timers, bank and buy-in do not count here.
    """

    params: GameParams
    rules: GameRules
    names: tuple[str, ...]
    hands: int
    sitting: int
    buy_in: int
    seed: int


@dataclass(slots=True)
class Outcome:
    """What one strategy came to. `money[i]` holds its chips in sitting i, bets included.

    It begins with the buy-in and has one entry after each hand. `ruined` counts the sittings in
    which nothing of it lay on the layout and its rack did not hold what it wanted to bet; it bets
    no more then. `refused` counts other refusals.
    """

    name: str
    money: list[list[int]] = field(default_factory=list)
    ruined: int = 0
    refused: int = 0

    def final(self) -> list[int]:
        """Return what it left each sitting with, in ascending order."""
        return sorted(sitting[-1] for sitting in self.money)


@dataclass(frozen=True, slots=True)
class Result:
    """All outcomes, in the order of the plan's names, and how much was played."""

    outcomes: tuple[Outcome, ...]
    hands: int
    rolls: int


def simulate(plan: Plan) -> Result:
    """Play the plan; the same plan has the same result on every machine."""
    outcomes = tuple(map(Outcome, plan.names))
    hands = rolls = number = 0
    while hands < plan.hands:
        sitting = _Sitting(plan, outcomes, number)
        sitting.play(min(plan.sitting, plan.hands - hands))
        hands += sitting.hands
        rolls += sitting.rolls
        number += 1
    return Result(outcomes, hands, rolls)


class _Sitting:
    """One table from its genesis on: strategy i is player i, the keeper the last one."""

    def __init__(self, plan: Plan, outcomes: Sequence[Outcome], number: int) -> None:
        game = NUMBERS[plan.rules.name]
        players = len(plan.names) + 1
        self.hands = self.rolls = 0
        self._state = GameState.genesis(_terms(plan, game, players), players)
        self._state.treasury.bank -= KEEPER_CHIPS
        self._state.accounts[-1].chips += KEEPER_CHIPS
        self._rules = plan.rules
        self._outcomes = outcomes
        self._names = (*plan.names, KEEPER)
        self._seed = digest("simulate", plan.seed.to_bytes(8, "big") + number.to_bytes(8, "big"))
        self._line = LINES_TO_THROW[game]
        self._strategies: dict[int, Strategy] = {
            player: STRATEGIES[game][name].make(plan.rules, _guess(self._seed, player))
            for player, name in enumerate(plan.names)
        }
        self._last: RollResult | None = None
        for outcome in outcomes:
            outcome.money.append([plan.buy_in])
        self._begin()
        self._apply(players - 1, CreateSession(game), 0)
        for player in range(players):
            self._apply(player, Sit(0), 1 + player)
        self._state.end_block()

    def play(self, hands: int) -> None:
        """Play so many hands, a block for each roll, and note the money after each hand."""
        while self.hands < hands:
            self._begin()
            if self._session().phase == Phase.CLOSED:
                self._settle()
            index = self._bet()
            self._apply(len(self._names) - 1, Tick(0), index)
            self._state.end_block()

    def _begin(self) -> None:
        state = self._state
        state.begin_block(state.height + 1, state.time_ms + BLOCK_MS, can_close=True)

    def _settle(self) -> None:
        self._seed = digest("simulate", self._seed)
        self._last = self._state.settle(0, self._seed)
        self.rolls += 1
        if self._last.hand_ended:
            self.hands += 1
            for player, outcome in enumerate(self._outcomes):
                outcome.money[-1].append(self._money(player))

    def _bet(self) -> int:
        """Let everybody bet; return how many operations that took."""
        view = self._view()
        index = 0
        for player, strategy in list(self._strategies.items()):
            own = replace(view, me=player)
            poor = False
            for operation in operations_of(strategy(own), own, self._rules):
                code = self._apply(player, operation, index)
                index += 1
                poor |= code == Code.RACK
                self._outcomes[player].refused += code not in {Code.DONE, Code.RACK}
            if poor and not self._bets(player):
                self._outcomes[player].ruined += 1
                del self._strategies[player]
        keeper = replace(view, me=len(self._names) - 1)
        if not self._rules.may_throw(view.board, keeper.own_bets):
            for operation in operations_of((self._line,), keeper, self._rules):
                self._apply(keeper.me, operation, index)
                index += 1
        return index

    def _view(self) -> TableView:
        return build_view(
            self._state,
            () if self._last is None else (self._last,),
            table="simulation",
            names=self._names,
            me=0,
            state_root=_NO_ROOT,
        )

    def _apply(self, player: int, operation: Operation, index: int) -> int:
        return self._state.apply(player, operation, index).code

    def _session(self) -> GameSession:
        session = self._state.sessions[0]
        assert session is not None, "nobody ends the game of a simulation"
        return session

    def _bets(self, player: int) -> int:
        session = self._session()
        seat = session.seats[session.seat_of[player]]
        return 0 if seat is None else sum(bet.stake + bet.vig for bet in seat.bets.values())

    def _money(self, player: int) -> int:
        return self._state.accounts[player].chips + self._bets(player)


def _terms(plan: Plan, game: int, players: int) -> GameParams:
    """Return the plan's terms with a bank that covers everything and timers that never wait."""
    return msgspec.structs.replace(
        plan.params,
        buy_in=plan.buy_in,
        bank=CHIPS_MAX // 2,
        bank_mode=GameParams().bank_mode,
        banker=0,
        betting_min_ms=0,
        betting_max_ms=0,
        thrower_ms=0,
        absent_ms=TIMER_MS_MAX,
        rules=encode_choice(game, plan.rules.options),
    )


def _guess(seed: bytes, player: int) -> int:
    return int.from_bytes(digest("simulate", seed + bytes((player,)))[:8], "big")
