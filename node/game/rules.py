"""The seam on which a game stands: what a session needs to know of its rules (PROTOCOL 12).

Everything is a pure function of values. A game has a public `Board` (what it remembers between
rolls), seats with bets, and a finite list of outcomes with weights; it says what a bet may be, what
each outcome would pay, and what a settled outcome leaves behind. How a game is written is told in
`docs/writing-a-game.md`.

The dice lie before one seat, the thrower's, who closes the betting. A game without that office says
that whoever has a bet may throw, and ends its hand with every roll, so that the dice go round.

Money. A bet holds `stake` and `vig` on the layout, both paid by the rack on entry; `vig` is what
`GameRules.vig` says for the stake, so a player who puts more on a bet pays the difference and one
who takes some down gets it back. Pays are exact: a stake is always a multiple of the unit of its
bet, whatever an outcome pays is linear in the stake, and so a session keeps the sum of the exposure
vectors of its bets up to date by addition and subtraction.
"""

from collections.abc import Hashable, Mapping, Sequence, Set as AbstractSet
from functools import lru_cache
from typing import NamedTuple, Protocol, TypeAlias, final

from consensus.encoding import Record
from node.game.lanes import pack

Board: TypeAlias = tuple[int, ...]
"""A game's public state: small integers only, encoded as they are into the session's leaf."""


class BetKey(NamedTuple):
    """Bets of one seat with the same kind and number are one bet."""

    kind: int
    number: int


@lru_cache(None)
def key_of(kind: int, number: int) -> BetKey:
    """Return the key of these numbers, made once: an operation has bytes for them, so they are few.

    In plain integers, whatever came first: what is remembered must not depend on who asked before.
    """
    return BetKey(int(kind), int(number))


class Bet(Record, frozen=True):
    """Chips on the layout. `working`: 0 as the rules say, 1 called on, 2 called off."""

    stake: int
    id: int
    working: int = 0
    vig: int = 0


Bets: TypeAlias = Mapping[BetKey, Bet]
"""One seat's bets. No rule depends on their order, nor on their ids."""


class Odds(NamedTuple):
    """`win` chips of profit for every `per` chips of stake; a stake pays only in whole `per`."""

    win: int
    per: int

    @property
    def text(self) -> str:
        """The ratio as players read it: `7:6`."""
        return f"{self.win}:{self.per}"

    def profit(self, stake: int) -> int:
        """Return what a stake wins; the stake is a multiple of `per`."""
        profit, rest = divmod(stake * self.win, self.per)
        assert rest == 0, f"{stake} chips at {self.text} do not pay exactly"
        return profit


@final
class Refusal(Record, frozen=True):
    """Why an operation changes nothing: a code and the values it speaks of.

    Codes from 100 on belong to the game, whose `GameRules.describe` makes the sentence.
    """

    code: int
    values: tuple[int, ...] = ()


class Exposure:
    """What the bank must hold for a bet: `stake // unit * per_unit[outcome]`; may be negative.

    `packed` is `per_unit` as one integer.
    """

    __slots__ = ("packed", "per_unit", "unit")

    def __init__(self, unit: int, per_unit: tuple[int, ...]) -> None:
        """Pack the vector."""
        self.unit = unit
        self.per_unit = per_unit
        self.packed = pack(per_unit)


class Settlement(Record, frozen=True):
    """What one outcome did to one bet.

    `returned` goes to the rack, `profit` comes from the bank, `lost` and `vig` go to the bank;
    `left` and `left_vig` stay on the layout under `key` (nothing stays when `left` is 0). Chips are
    conserved: stake + vig of the bet + profit = returned + lost + vig + left + left_vig.

    A row with both `profit` and `left` is a bet that won and stays up: a new acceptance that the
    exposure before the roll did not count. If the bank does not cover it after the roll, the
    session returns `left` and `left_vig` to the rack as well.
    """

    before: BetKey
    lost: int
    profit: int
    vig: int
    returned: int
    key: BetKey
    left: int
    left_vig: int


class Offer(NamedTuple):
    """A bet as the table of odds lists it, and how its odds are worked out.

    `bets` lie on the layout, all made at the moment of `board`, with the least stakes that pay
    exactly; they are followed until each is decided.
    """

    name: str
    pays: str
    rule: str
    board: Board
    bets: tuple[tuple[BetKey, Bet], ...]


class GameRules(Hashable, Protocol):
    """One game under one set of parameters. Outcomes are indices into `outcome_names`."""

    @property
    def name(self) -> str:
        """The word that players and the descriptor use."""
        ...

    @property
    def options(self) -> Record:
        """The house options, one record; its defaults are the usual table."""
        ...

    @property
    def allows_unsound(self) -> bool:
        """Whether the table takes bets whose edge is for the player, or beyond what is usual."""
        ...

    @property
    def thrower_needs(self) -> str:
        """What a seat needs before it may throw, as a thing: `a bet`."""
        ...

    @property
    def outcome_names(self) -> tuple[str, ...]:
        """What each outcome is called, by index."""
        ...

    @property
    def outcome_weights(self) -> tuple[int, ...]:
        """How many equally likely throws each outcome stands for."""
        ...

    @property
    def kind_names(self) -> Mapping[int, str]:
        """What each kind of bet is called."""
        ...

    @property
    def far_sighted(self) -> AbstractSet[BetKey]:
        """The bets over which more of the board decides than `glance` tells."""
        ...

    @property
    def bet_words(self) -> Sequence[tuple[str, str]]:
        """What a player may type to bet, with what each bet pays, for the help text."""
        ...

    def opening_board(self) -> Board:
        """Return the board before the first roll."""
        ...

    def board_texts(self, board: Board) -> tuple[str, ...]:
        """Return what a player sees of the board, what changes the game first; may be empty."""
        ...

    def glance(self, board: Board) -> Hashable:
        """Return what the bets that are not `far_sighted` see of a board, nearly always little.

        To a seat with no other bets, `check_bet` and `settle` say the same on all boards with one
        glance: what they said is remembered by it.
        """
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

    def vig(self, key: BetKey, stake: int) -> int:
        """Return the vig that lies on the layout beside a bet of this stake (often 0)."""
        ...

    def dependents(self, bets: Bets, key: BetKey) -> tuple[BetKey, ...]:
        """Return the bets that come down with `key` (odds with their flat bet, R20)."""
        ...

    def may_throw(self, board: Board, bets: Bets) -> bool:
        """Say whether a seat with these bets may throw now (R2)."""
        ...

    def may_pass_dice(self, board: Board) -> bool:
        """Say whether the thrower may pass the dice now (R5)."""
        ...

    def is_contract(self, board: Board, key: BetKey) -> bool:
        """Say whether the bet rides to its decision when its player leaves (R30)."""
        ...

    def exposure(self, board: Board, key: BetKey, working: int) -> Exposure:
        """Return what the bank must hold for each unit of stake on a bet, by outcome (R29).

        That is the profit to pay plus the full prize of what stays undecided on the layout, minus
        the stake that the bank wins; vig is not counted. The result is cached: a lookup.
        """
        ...

    def prize(self, key: BetKey, stake: int) -> int:
        """Return the most that a bet of this stake can ask of the bank, whatever the board shows.

        Never less than any entry of `exposure` says, and a lookup: a bank that holds the sum of all
        prizes need not know which of them exclude each other.
        """
        ...

    def settle(self, board: Board, bets: Bets, outcome: int) -> tuple[Settlement, ...]:
        """Return what the outcome does to the bets of one seat (R8); untouched bets have no row.

        Rows may be applied one after the other: a bet that moves comes after the one it replaces.
        """
        ...

    def advance(self, board: Board, outcome: int) -> tuple[Board, bool]:
        """Return the board after the outcome, and whether the hand ended (the dice move, R4)."""
        ...

    def describe(self, refusal: Refusal) -> str:
        """Return the sentence of one of the game's own refusals, for a player."""
        ...

    def bet_name(self, key: BetKey) -> str:
        """Return what a player types to make this bet, without the amount."""
        ...

    def parse_bet(
        self, words: Sequence[str], board: Board, bets: Bets
    ) -> Sequence[tuple[BetKey, int]] | str:
        """Return the bets that typed words ask for, or the sentence why they mean none."""
        ...

    def offers(self) -> Sequence[Offer]:
        """Return every bet that this table takes, for its table of odds."""
        ...

    def seen(self, board: Board, keys: Sequence[BetKey]) -> Board:
        """Return one board for all that treat these bets alike, now and after any roll.

        The analyser follows boards through this, so that a game with a long memory still has few.
        """
        ...
