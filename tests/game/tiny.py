"""A small game that exercises every path of a session: one die, six outcomes.

A throw of 1 ends the hand and takes nearly everything. The board is (throws of this hand, last
throw). Kinds: RIDE is the contract bet that lets its seat throw (6 pays 1:1, 1 loses), SIDE hangs
on it (6 pays 2:1), FIELD is decided by each throw, STAY wins 7:6 on its number and stays up, LAY
wins 1:2 on a 1 with 5 % vig up front, MOVE travels to the number thrown and then rides. ACE wins
4:1 on a 1 and loses otherwise: what it loses stands against what others win.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from node.game.options import NoOptions
from node.game.rules import Bet, BetKey, Bets, Board, Exposure, Offer, Refusal, Settlement

RIDE, SIDE, FIELD, STAY, LAY, MOVE, ACE = range(1, 8)
ODD, UNIT, NO_FLAT, CONTRACT, NUMBER, CALL = range(100, 106)
SIDES = range(1, 7)
STAY_UNIT, LAY_UNIT = 6, 20
OFF = 2


class Fate(NamedTuple):
    """What a throw does to one unit of a bet."""

    lost: int = 0
    profit: int = 0
    stays: bool = True
    moves_to: int | None = None


class TinyGame:
    """`GameRules` of the game above."""

    name = "tiny"
    options = NoOptions()
    allows_unsound = False
    thrower_needs = "a ride"
    far_sighted = frozenset[BetKey]()
    outcome_names = ("1", "2", "3", "4", "5", "6")
    outcome_weights = (1,) * 6
    kind_names: Mapping[int, str] = {
        RIDE: "ride",
        SIDE: "side",
        FIELD: "field",
        STAY: "stay",
        LAY: "lay",
        MOVE: "move",
        ACE: "ace",
    }
    bet_words: Sequence[tuple[str, str]] = ()

    def opening_board(self) -> Board:
        return (0, 0)

    def glance(self, board: Board) -> bool:
        return board[0] > 0

    def outcome(self, seed: bytes) -> tuple[int, tuple[int, ...]]:
        face = next(byte for byte in seed if byte < 252) % 6
        return face, (face + 1,)

    def unit(self, key: BetKey) -> int:
        return {STAY: STAY_UNIT, LAY: LAY_UNIT}.get(key.kind, 1)

    def check_bet(self, board: Board, bets: Bets, key: BetKey, amount: int) -> Refusal | None:
        kind, number = key
        numbered = kind == STAY and number in SIDES[1:]
        if kind not in self.kind_names or not (numbered or (kind != STAY and number == 0)):
            return Refusal(NUMBER, (abs(kind), abs(number)))
        if kind == RIDE and board[0] and key not in bets:
            return Refusal(CONTRACT)
        if kind == SIDE and BetKey(RIDE, 0) not in bets:
            return Refusal(NO_FLAT)
        return Refusal(UNIT, (amount, self.unit(key))) if amount % self.unit(key) else None

    def check_reduce(self, board: Board, bets: Bets, key: BetKey, amount: int) -> Refusal | None:
        if self.is_contract(board, key):
            return Refusal(CONTRACT)
        return Refusal(UNIT, (amount, self.unit(key))) if amount % self.unit(key) else None

    def check_working(self, board: Board, bets: Bets, key: BetKey, working: int) -> Refusal | None:
        return None if key.kind == STAY else Refusal(CALL, (working,))

    def vig(self, key: BetKey, stake: int) -> int:
        return stake // LAY_UNIT if key.kind == LAY else 0

    def dependents(self, bets: Bets, key: BetKey) -> tuple[BetKey, ...]:
        side = BetKey(SIDE, 0)
        return (side,) if key.kind == RIDE and side in bets else ()

    def may_throw(self, board: Board, bets: Bets) -> bool:
        return board[0] > 0 or BetKey(RIDE, 0) in bets

    def may_pass_dice(self, board: Board) -> bool:
        return board[0] == 0

    def is_contract(self, board: Board, key: BetKey) -> bool:
        return (key.kind == RIDE and board[0] > 0) or (key.kind == MOVE and key.number > 0)

    def fate(self, key: BetKey, working: int, face: int) -> Fate:
        """What a throw does to one unit of stake."""
        unit = self.unit(key)
        lose, stay = Fate(lost=unit, stays=False), Fate()
        match key.kind:
            case k if k == RIDE:
                return lose if face == 1 else Fate(profit=unit, stays=False) if face == 6 else stay
            case k if k == SIDE:
                return lose if face == 1 else Fate(profit=2, stays=False) if face == 6 else stay
            case k if k == FIELD:
                return lose if face < 5 else Fate(profit=1, stays=False)
            case k if k == ACE:
                return Fate(profit=4, stays=False) if face == 1 else lose
            case k if k == STAY and working == OFF:
                return stay
            case k if k == STAY:
                return lose if face == 1 else Fate(profit=7) if face == key.number else stay
            case k if k == LAY:
                return Fate(profit=10, stays=False) if face == 1 else lose if face == 6 else stay
            case _ if key.number == 0:
                return lose if face == 1 else Fate(moves_to=face)
        return lose if face == 1 else Fate(profit=1, stays=False) if face == key.number else stay

    def exposure(self, board: Board, key: BetKey, working: int) -> Exposure:
        return Exposure(self.unit(key), tuple(self.needs(key, working, face) for face in SIDES))

    def needs(self, key: BetKey, working: int, face: int) -> int:
        fate = self.fate(key, working, face)
        if fate.lost or fate.profit:
            return fate.profit - fate.lost
        next_key = key if fate.moves_to is None else BetKey(key.kind, fate.moves_to)
        return max(self.fate(next_key, 0, other).profit for other in SIDES)

    def prize(self, key: BetKey, stake: int) -> int:
        most = {SIDE: 2, STAY: 7, LAY: 10, ACE: 4}.get(key.kind, 1)
        return stake // self.unit(key) * most

    def settle(self, board: Board, bets: Bets, outcome: int) -> tuple[Settlement, ...]:
        # The last kind first: a bet that moves comes after the one it replaces.
        ordered = sorted(bets, key=lambda key: (key.number == 0, key))
        rows = (self._row(key, bets[key], outcome + 1) for key in ordered)
        return tuple(row for row in rows if row is not None)

    def _row(self, key: BetKey, bet: Bet, face: int) -> Settlement | None:
        fate = self.fate(key, bet.working, face)
        if not fate.lost and not fate.profit:
            if fate.moves_to is None:
                return None
            return Settlement(key, 0, 0, 0, 0, BetKey(MOVE, fate.moves_to), bet.stake, bet.vig)
        units = bet.stake // self.unit(key)
        if fate.lost:
            return Settlement(key, bet.stake, 0, bet.vig, 0, key, 0, 0)
        profit = units * fate.profit
        if fate.stays:
            return Settlement(key, 0, profit, 0, profit, key, bet.stake, bet.vig)
        return Settlement(key, 0, profit, bet.vig, bet.stake + profit, key, 0, 0)

    def advance(self, board: Board, outcome: int) -> tuple[Board, bool]:
        ended = outcome == 0
        return (0 if ended else board[0] + 1, outcome + 1), ended

    def describe(self, refusal: Refusal) -> str:
        return f"tiny refusal {refusal.code}"

    def bet_name(self, key: BetKey) -> str:
        return f"{self.kind_names[key.kind]} {key.number}"

    def parse_bet(
        self, words: Sequence[str], board: Board, bets: Bets
    ) -> Sequence[tuple[BetKey, int]] | str:
        return "no words here"

    def board_texts(self, board: Board) -> tuple[str, ...]:
        return (f"throw {board[0]}",)

    def offers(self) -> Sequence[Offer]:
        return ()

    def seen(self, board: Board, keys: Sequence[BetKey]) -> Board:
        return board


GAME = 7


_RULES = TinyGame()


def tiny_game(params: bytes) -> TinyGame:
    """The factory to register under `GAME`. One for all tables, so that much is remembered."""
    return _RULES


GAMES = {GAME: tiny_game}
