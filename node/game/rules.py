"""The seam on which a game stands: what a session needs to know of its rules (PROTOCOL 12).

Everything is a pure function of values. A game has a public `Board` (craps: puck, hand, roll), seats
with bets, and a finite list of equally named outcomes; it says what a bet may be, what each outcome
would pay, and what a settled outcome leaves behind.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

Board: TypeAlias = tuple[int, ...]
"""A game's public state: small integers only, encoded as they are into the session's leaf."""


class BetKey(NamedTuple):
    """Bets of one seat with the same kind and number are one bet."""

    kind: int
    number: int


@dataclass(frozen=True, slots=True)
class Bet:
    """Chips on the layout. `working`: 0 as the rules say, 1 called on, 2 called off."""

    stake: int
    id: int
    working: int = 0
    vig: int = 0


Bets: TypeAlias = Mapping[BetKey, Bet]
"""One seat's bets, in key order."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an operation changes nothing: a code of `receipts.Code` and the values it speaks of."""

    code: int
    values: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Settlement:
    """What one outcome did to one bet.

    `returned` goes back to the rack, `profit` comes from the bank, `lost` goes to the bank; `left`
    stays on the layout under `key` (None: nothing stays).
    """

    before: BetKey
    lost: int
    profit: int
    returned: int
    key: BetKey | None
    left: int


class GameRules(Protocol):
    """One game. Outcomes are indices 0..len(outcome_names)-1; each has a weight."""

    @property
    def name(self) -> str:
        """The word that players and the descriptor use."""
        ...

    @property
    def outcome_names(self) -> tuple[str, ...]:
        """What each outcome is called, by index."""
        ...

    @property
    def kind_names(self) -> Mapping[int, str]:
        """What each kind of bet is called."""
        ...

    def opening_board(self) -> Board:
        """Return the board before the first roll."""
        ...

    def outcome(self, seed: bytes) -> tuple[int, tuple[int, ...]]:
        """Return (outcome index, dice shown) of a 32-byte seed, by rejection sampling."""
        ...

    def check_bet(self, board: Board, bets: Bets, key: BetKey, amount: int) -> Refusal | None:
        """Say why `amount` more may not be put on `key`, or None. Does not know the bank."""
        ...

    def check_reduce(self, board: Board, bets: Bets, key: BetKey, amount: int) -> Refusal | None:
        """Say why `amount` may not come down from `key` (the whole stake = take down), or None."""
        ...

    def check_working(self, board: Board, bets: Bets, key: BetKey, working: int) -> Refusal | None:
        """Say why the bet may not be called on (1), off (2) or as the rules say (0), or None."""
        ...

    def dependents(self, bets: Bets, key: BetKey) -> tuple[BetKey, ...]:
        """Return the bets that come down with `key` (odds with their flat bet, R20)."""
        ...

    def may_shoot(self, board: Board, bets: Bets) -> bool:
        """Say whether a seat with these bets may throw now (R2)."""
        ...

    def may_pass_dice(self, board: Board) -> bool:
        """Say whether the shooter may pass the dice now (R5)."""
        ...

    def is_contract(self, board: Board, key: BetKey) -> bool:
        """Say whether the bet rides to its decision when its player leaves (R30)."""
        ...

    def exposure(self, board: Board, key: BetKey, bet: Bet) -> tuple[int, ...]:
        """Return, for each outcome, what the bank must hold for this bet; may be negative.

        That is the profit to pay plus the liability that stays on the layout after the outcome,
        minus the stake that the bank wins.
        """
        ...

    def settle(self, board: Board, bets: Bets, outcome: int) -> tuple[Settlement, ...]:
        """Return what the outcome does to each bet of one seat, in key order (R8)."""
        ...

    def advance(self, board: Board, outcome: int) -> tuple[Board, bool]:
        """Return the board after the outcome, and whether the hand ended (the dice move, R4)."""
        ...
