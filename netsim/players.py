"""Simulated players: they sit, bet, are ready, throw, leave and come back, each by its own chance."""

import random
from collections.abc import Sequence

from netsim.scenario import Act, WorkloadPart
from node.game.craps.board import POINT
from node.game.operations import (
    CreateSession,
    Leave,
    PassDice,
    PlaceBet,
    Ready,
    Reduce,
    Roll,
    Sit,
    TakeDown,
    Working,
)
from node.game.session import GameSession, Phase, Seat
from node.mempool import AnyOperation
from node.replica import Replica

CRAPS = 1
_PASS, _DONT_PASS, _COME, _DONT_COME = 1, 2, 3, 4
_PLACE, _BUY, _LAY, _FIELD, _HARD = 9, 11, 12, 16, 17
_SIX = (_PLACE, 6)
OPENS = 0.2
"""How likely it is that a player who finds no game opens one."""
BETS_MAX = 8
"""A simulated player holds no more at once; it still has bets to choose from."""
_ANY_TIME = (
    (_FIELD, 0, 5), (_HARD, 4, 1), (_HARD, 6, 2), (_HARD, 8, 1), (_HARD, 10, 2), (18, 0, 1),
    (19, 0, 1), (20, 2, 1), (20, 11, 2), (21, 13, 1), (21, 66, 1), (_PLACE, 4, 5), (_PLACE, 5, 10),
    (_PLACE, 6, 12), (_PLACE, 8, 6), (_PLACE, 9, 5), (_PLACE, 10, 10), (10, 5, 8), (10, 6, 5),
    (_BUY, 4, 20), (_BUY, 9, 40), (_LAY, 10, 40), (_LAY, 6, 24), (15, 6, 5), (13, 8, 10),
)  # fmt: skip
"""Kind, number and chips of bets that may be made at any time; a put needs the puck on."""
_ODDS = {4: (5, 10), 5: (4, 6), 6: (5, 6), 8: (5, 6), 9: (4, 6), 10: (5, 10)}
"""By point: a stake of odds behind a pass line, and of odds laid behind a don't pass."""


class Player:
    """One member at its node."""

    def __init__(self, slot: int, rng: random.Random, workload: WorkloadPart) -> None:
        """Play with a stream of chance of its own."""
        self.slot = slot
        self._rng = rng
        self._workload = workload
        self._leave = workload.leave_per_min * workload.think.us / 60_000_000

    def wishes(self, replica: Replica) -> Sequence[AnyOperation]:
        """Return what the player does now, looking at the final state of its own node."""
        if replica.pending or replica.player is None:
            return ()
        game = replica.final.game
        if len(game.sessions) < self._workload.sessions:
            # Mostly one of them; two games are one too many, not wrong.
            return (CreateSession(CRAPS),) if self._rng.random() < OPENS else ()
        slot = self._rng.randrange(self._workload.sessions)
        session = game.sessions[slot]
        if session is None or session.phase >= Phase.CLOSED:
            return ()
        seat = None
        if self.slot in session.seat_of:
            seat = session.seats[session.seat_of[self.slot]]
        if seat is None or seat.riding:
            return (Sit(slot),)
        if self._leave and self._rng.random() < self._leave:
            return (Leave(slot),)
        if game.thrower(slot) == self.slot and seat.bets:
            if not session.board[POINT] and self._rng.random() < 0.02:
                return (PassDice(slot),)
            return (*self._bets(slot, session, seat), Roll(slot))
        bets = self._bets(slot, session, seat)
        return (*bets, Ready(slot)) if self._rng.random() < 0.5 else bets

    def _bets(self, slot: int, session: GameSession, seat: Seat) -> Sequence[AnyOperation]:
        rng, point, bets = self._rng, session.board[POINT], seat.bets
        wishes: list[AnyOperation] = []
        keys = {(key.kind, key.number) for key in bets}
        if not point and not keys & {(_PASS, 0), (_DONT_PASS, 0)}:
            wishes.append(PlaceBet(slot, _PASS if rng.random() < 0.7 else _DONT_PASS, 0, 10))
        if len(bets) >= BETS_MAX or rng.random() < 0.3:
            return wishes
        if point:
            taken, laid = _ODDS[point]
            if (_PASS, 0) in keys and (5, 0) not in keys:
                wishes.append(PlaceBet(slot, 5, 0, taken))
            if (_DONT_PASS, 0) in keys and (6, 0) not in keys:
                wishes.append(PlaceBet(slot, 6, 0, laid))
            if rng.random() < 0.3:
                wishes.append(PlaceBet(slot, _COME if rng.random() < 0.7 else _DONT_COME, 0, 5))
        kind, number, chips = rng.choice(_ANY_TIME)
        wishes.append(PlaceBet(slot, kind, number, chips))
        if bets and rng.random() < 0.15:
            key = rng.choice(list(bets))
            what = TakeDown(slot, *key)
            called = Working(slot, *key, rng.randrange(3))
            wishes.append(what if rng.random() < 0.6 else called)
        return wishes


class Bettor:
    """The player of a measurement: one bet up, then down again, so that no dice are needed."""

    def __init__(self, slot: int) -> None:
        """Begin without a bet."""
        self.slot = slot

    def wishes(self, replica: Replica) -> Sequence[AnyOperation]:
        """Return one operation, or the way to the seat."""
        if replica.pending or replica.player is None:
            return ()
        game = replica.final.game
        if not game.sessions:
            return (CreateSession(CRAPS),)
        session = game.sessions[0]
        if session is None or session.phase >= Phase.CLOSED:
            return ()
        if self.slot not in session.seat_of:
            return (Sit(0),)
        seat = session.seats[session.seat_of[self.slot]]
        if seat is None or seat.riding:
            return (Sit(0),)
        return (TakeDown(0, *_SIX),) if _SIX in seat.bets else (PlaceBet(0, *_SIX, 6),)


def operation_of(act: Act) -> AnyOperation:
    """Return what a scenario lets a member do, in the first session."""
    match act.does:
        case "open":
            return CreateSession(CRAPS)
        case "sit":
            return Sit(0)
        case "leave":
            return Leave(0)
        case "bet":
            return PlaceBet(0, act.kind, act.number, act.chips)
        case "reduce":
            return Reduce(0, act.kind, act.number, act.chips)
        case "take-down":
            return TakeDown(0, act.kind, act.number)
        case "ready":
            return Ready(0)
        case "roll":
            return Roll(0)
        case "pass-dice":
            return PassDice(0)
