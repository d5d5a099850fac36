"""Testers for any game: one does at random what the rules allow, the other what they refuse."""

import random

from node.game.operations import (
    CreateSession,
    Operation,
    PassDice,
    PlaceBet,
    Reduce,
    Roll,
    Sit,
    TakeDown,
    Withdraw,
    Working,
)
from node.game.params import CHIPS_MAX
from node.game.rules import BetKey, GameRules
from node.strategies.moves import Move
from node.view import TableView

MOVES_MAX = 4
"""What one of them does before a roll."""
TRIES = 20
UNITS_MAX = 3
_RACK_PART = 20
"""One bet takes at most this part of the rack, so that a sitting lasts."""
_NO_SESSION = 1_023
_NO_KIND = 255


class _Chance:
    """What both know: the bets of the table with the stakes that pay exactly, and the dice."""

    def __init__(self, rules: GameRules, seed: int) -> None:
        """Guess from this seed on."""
        self._rules = rules
        self._random = random.Random(seed)  # noqa: S311  (bets, not dice)
        self._units = {key: bet.stake for offer in rules.offers() for key, bet in offer.bets}

    def _pick(self) -> tuple[BetKey, int]:
        return self._random.choice(list(self._units.items()))


class Legal(_Chance):
    """Bets, takes down and calls whatever the rules allow now; the bank may still refuse."""

    def __call__(self, view: TableView) -> tuple[Move, ...]:
        """Return up to four moves, none of which is about a bet of another."""
        done: dict[BetKey, Operation] = {}
        for _ in range(self._random.randint(1, MOVES_MAX)):
            key, move = self._bet(view) if self._random.random() < 0.8 else self._change(view)
            if move is not None:
                done.setdefault(key, move)
        return tuple(done.values())

    def _bet(self, view: TableView) -> tuple[BetKey, Operation | None]:
        key = BetKey(0, 0)
        for _ in range(TRIES):
            key, unit = self._pick()
            chips = unit * self._random.randint(1, UNITS_MAX)
            refusal = self._rules.check_bet(view.board, view.own_bets, key, chips)
            if refusal is None and chips <= view.own.rack // _RACK_PART:
                return key, PlaceBet(view.session, *key, chips)
        return key, None

    def _change(self, view: TableView) -> tuple[BetKey, Operation | None]:
        bets, rules = view.own_bets, self._rules
        if not bets:
            return BetKey(0, 0), None
        key = self._random.choice(list(bets))
        working = self._random.randint(0, 2)
        if rules.check_working(view.board, bets, key, working) is None:
            return key, Working(view.session, *key, working)
        free = rules.check_reduce(view.board, bets, key, bets[key].stake) is None
        return key, TakeDown(view.session, *key) if free else None


class Illegal(_Chance):
    """Asks for what must be refused, whatever the bank holds: every move of it changes nothing."""

    def __call__(self, view: TableView) -> tuple[Move, ...]:
        """Return up to four operations, each of which the table must refuse."""
        count = self._random.randint(1, MOVES_MAX)
        return tuple(self._random.choice(self._wrong(view)) for _ in range(count))

    def _wrong(self, view: TableView) -> list[Operation]:
        key, unit = self._pick()
        session, kind, number = view.session, key.kind, key.number
        moves: list[Operation] = [
            PlaceBet(session, _NO_KIND, number, unit),
            PlaceBet(session, kind, number, 0),
            PlaceBet(session, kind, number, CHIPS_MAX),
            PlaceBet(_NO_SESSION, kind, number, unit),
            CreateSession(_NO_KIND),
            Sit(_NO_SESSION),
            Roll(_NO_SESSION),
            Withdraw(1),
        ]
        if view.own.seated:
            moves.append(Sit(session))
        if view.thrower != view.me:
            moves += [Roll(session), PassDice(session)]
        bet = view.own_bets.get(key)
        if bet is None:
            moves += [
                TakeDown(session, kind, number),
                Reduce(session, kind, number, unit),
                Working(session, kind, number, 2),
            ]
        else:
            moves.append(Reduce(session, kind, number, bet.stake + 1))
        if self._rules.check_bet(view.board, view.own_bets, key, unit) is not None:
            moves.append(PlaceBet(session, kind, number, unit))
        return moves
