"""A game whose every bet is decided by the next roll: a table of outcomes and of bets, no memory.

Such a game is data. Nobody holds an office in it: whoever has a bet may throw, which closes the
betting, and after each roll the dice go to the next seat.
"""

from collections.abc import Callable, Mapping, Sequence, Set as AbstractSet
from enum import IntEnum
from math import lcm
from types import MappingProxyType
from typing import NamedTuple

from consensus.encoding import Record
from node.game.options import Limits
from node.game.rules import Bet, BetKey, Bets, Board, Exposure, Odds, Offer, Refusal, Settlement
from node.game.words import no_chips, whole_number


class Line(NamedTuple):
    """One bet: what a player types, and what each outcome pays; None loses, 0:1 is a push."""

    name: str
    pays: tuple[Odds | None, ...]


class Family(NamedTuple):
    """Bets of one kind, by the number that each is about."""

    name: str
    form: str
    """How a bet is typed: `total NUMBER CHIPS`."""
    rule: str
    """When such a bet wins, in one line."""
    limits: Limits
    lines: Mapping[int, Line]


class Outcomes(NamedTuple):
    """What a roll can show, and how likely; `throw` gives outcome and dice of a 32-byte seed."""

    names: tuple[str, ...]
    weights: tuple[int, ...]
    throw: Callable[[bytes], tuple[int, tuple[int, ...]]]


class Code(IntEnum):
    """The refusals of such games; their sentences are below."""

    NO_SUCH_BET = 100
    NOT_POSITIVE = 101
    UNDER_LIMIT = 102
    OVER_LIMIT = 103
    NOT_EXACT = 104
    NO_BET = 105
    MORE_THAN_UP = 106
    NOT_CALLABLE = 107


_SENTENCES: Mapping[int, str] = MappingProxyType(
    {
        Code.NO_SUCH_BET: "{game} has no bet {0}/{1}",
        Code.NOT_POSITIVE: "{2} chips on {bet}: the least is 1",
        Code.UNDER_LIMIT: "{2} chips on {bet}: the least is {3}",
        Code.OVER_LIMIT: "{2} chips on {bet}: the most is {3}",
        Code.NOT_EXACT: "{2} chips on {bet} will not pay in whole chips: bet a multiple of {3}",
        Code.NO_BET: "there is no bet on {bet}",
        Code.MORE_THAN_UP: "{2} chips off {bet}: it has {3}",
        Code.NOT_CALLABLE: "{bet} cannot be called on or off: the next roll decides it",
    }
)


class OneRollRules:
    """`GameRules` of a game that is data. `families` are its bets by kind."""

    thrower_needs = "a bet"
    far_sighted: AbstractSet[BetKey] = frozenset()

    def __init__(
        self,
        name: str,
        outcomes: Outcomes,
        families: Mapping[int, Family],
        *,
        options: Record,
        allows_unsound: bool = False,
    ) -> None:
        """Take a game's data; every line has one pay for each outcome."""
        self.name = name
        self.options = options
        self.allows_unsound = allows_unsound
        self.outcome_names = outcomes.names
        self.outcome_weights = outcomes.weights
        self.kind_names = {kind: family.name for kind, family in families.items()}
        self._throw = outcomes.throw
        self._families = families
        self._lines = {
            BetKey(kind, number): line
            for kind, family in families.items()
            for number, line in family.lines.items()
        }
        for line in self._lines.values():
            assert len(line.pays) == len(outcomes.names), f"{line.name} has no pay for an outcome"
        self._keys = {line.name: key for key, line in self._lines.items()}
        self._exposures = {key: _exposure_of(line) for key, line in self._lines.items()}
        self._prizes = {key: max(0, *row.per_unit) for key, row in self._exposures.items()}

    @property
    def bet_words(self) -> Sequence[tuple[str, str]]:
        """What a player may type to bet, with what each bet pays."""
        return tuple(
            (family.form, f"{_grouped(family)}; {family.rule}")
            for family in self._families.values()
        )

    def opening_board(self) -> Board:
        """Return the empty board: nothing is remembered."""
        return ()

    def board_texts(self, board: Board) -> tuple[str, ...]:
        """Return nothing: a game without memory has no board to show."""
        del board
        return ()

    def glance(self, board: Board) -> Board:
        """Return the one board there is."""
        return board

    def outcome(self, seed: bytes) -> tuple[int, tuple[int, ...]]:
        """Return (outcome index, dice shown) of a 32-byte seed."""
        return self._throw(seed)

    def check_bet(self, board: Board, bets: Bets, key: BetKey, amount: int) -> Refusal | None:
        """Say why `amount` more may not be put on `key`, or None (R10)."""
        del board
        if key not in self._lines:
            return Refusal(Code.NO_SUCH_BET, tuple(key))
        if amount <= 0:
            return Refusal(Code.NOT_POSITIVE, (*key, amount))
        bet = bets.get(key)
        return self._check_total(key, amount if bet is None else bet.stake + amount)

    def _check_total(self, key: BetKey, total: int) -> Refusal | None:
        limits = self._families[key.kind].limits
        if total < limits.least:
            return Refusal(Code.UNDER_LIMIT, (*key, total, limits.least))
        if total > limits.most:
            return Refusal(Code.OVER_LIMIT, (*key, total, limits.most))
        unit = self._exposures[key].unit
        return Refusal(Code.NOT_EXACT, (*key, total, unit)) if total % unit else None

    def check_reduce(self, board: Board, bets: Bets, key: BetKey, amount: int) -> Refusal | None:
        """Say why `amount` may not come down from `key`, or None (R23)."""
        del board
        bet = bets.get(key)
        if bet is None:
            known = key in self._lines
            return Refusal(Code.NO_BET if known else Code.NO_SUCH_BET, tuple(key))
        if amount <= 0:
            return Refusal(Code.NOT_POSITIVE, (*key, amount))
        if amount > bet.stake:
            return Refusal(Code.MORE_THAN_UP, (*key, amount, bet.stake))
        return self._check_total(key, bet.stake - amount) if amount < bet.stake else None

    def check_working(self, board: Board, bets: Bets, key: BetKey, working: int) -> Refusal | None:
        """Refuse: a bet that the next roll decides is always on (R9)."""
        del board, working
        return Refusal(Code.NOT_CALLABLE if key in bets else Code.NO_SUCH_BET, tuple(key))

    def vig(self, key: BetKey, stake: int) -> int:
        """Return 0: no bet has a vig."""
        del key, stake
        return 0

    def dependents(self, bets: Bets, key: BetKey) -> tuple[BetKey, ...]:
        """Return nothing: no bet stands behind another."""
        del bets, key
        return ()

    def may_throw(self, board: Board, bets: Bets) -> bool:
        """Say whether a seat may throw: if it has a bet."""
        del board
        return bool(bets)

    def may_pass_dice(self, board: Board) -> bool:
        """Say that the dice may always be passed."""
        del board
        return True

    def is_contract(self, board: Board, key: BetKey) -> bool:
        """Say that every bet may be taken back before the dice are out."""
        del board, key
        return False

    def exposure(self, board: Board, key: BetKey, working: int) -> Exposure:
        """Return what the bank must hold for each unit of stake on a bet, by outcome (R29)."""
        del board, working
        return self._exposures[key]

    def prize(self, key: BetKey, stake: int) -> int:
        """Return the most that a bet of this stake can win."""
        return stake // self._exposures[key].unit * self._prizes[key]

    def settle(self, board: Board, bets: Bets, outcome: int) -> tuple[Settlement, ...]:
        """Return what the outcome does to the bets of one seat, in key order: all are decided."""
        del board
        return tuple(self._settled(key, bets[key], outcome) for key in sorted(bets))

    def _settled(self, key: BetKey, bet: Bet, outcome: int) -> Settlement:
        odds = self._lines[key].pays[outcome]
        if odds is None:
            return Settlement(key, bet.stake, 0, 0, 0, key, 0, 0)
        profit = odds.profit(bet.stake)
        return Settlement(key, 0, profit, 0, bet.stake + profit, key, 0, 0)

    def advance(self, board: Board, outcome: int) -> tuple[Board, bool]:
        """Return the empty board; the dice go to the next seat after every roll."""
        del outcome
        return board, True

    def describe(self, refusal: Refusal) -> str:
        """Return the sentence of one of the refusals above."""
        line = self._lines.get(BetKey(*refusal.values[:2]))
        name = "" if line is None else line.name
        return _SENTENCES[refusal.code].format(*refusal.values, bet=name, game=self.name)

    def bet_name(self, key: BetKey) -> str:
        """Return what a player types to make this bet, without the amount."""
        return self._lines[key].name

    def parse_bet(
        self, words: Sequence[str], board: Board, bets: Bets
    ) -> Sequence[tuple[BetKey, int]] | str:
        """Return the bet that typed words ask for, or the sentence why they mean none.

        Numbers of a bet may come in any order; chips are last.
        """
        del board, bets
        forms = {family.form.split()[0]: family.form for family in self._families.values()}
        word = words[0] if words else ""
        if word not in forms:
            return f"{word!r} is no bet; `help` lists them"
        if len(words) == 1:
            return f"{word!r} needs chips: type `{forms[word]}`"
        chips = whole_number(words[-1])
        if chips is None:
            return f"{no_chips(words[-1])}: type `{forms[word]}`"
        key = self._keys.get(" ".join((word, *sorted(words[1:-1]))))
        if key is None:
            return f"{' '.join(words)!r} is no bet: type `{forms[word]}`"
        return [(key, chips)]

    def offers(self) -> Sequence[Offer]:
        """Return every bet, for the table of odds."""
        return tuple(
            Offer(
                line.name,
                _pays_text(line),
                self._families[key.kind].rule,
                (),
                ((key, Bet(self._exposures[key].unit, 0)),),
            )
            for key, line in self._lines.items()
        )

    def seen(self, board: Board, keys: Sequence[BetKey]) -> Board:
        """Return the one board there is."""
        del keys
        return board


def _exposure_of(line: Line) -> Exposure:
    unit = lcm(*(odds.per for odds in line.pays if odds))
    return Exposure(unit, tuple(odds.profit(unit) if odds else -unit for odds in line.pays))


def _pays_text(line: Line) -> str:
    """Return what a line pays, the least first: `1:1, 2:1, 3:1`."""
    return ", ".join(odds.text for odds in sorted({odds for odds in line.pays if odds}))


def _grouped(family: Family) -> str:
    """Return the pays of a family with the numbers that share them: `60:1 on 4 17`."""
    shared: dict[str, list[int]] = {}
    for number, line in family.lines.items():
        shared.setdefault(_pays_text(line), []).append(number)
    if len(shared) == 1:
        return next(iter(shared))
    return ", ".join(f"{pays} on {' '.join(map(str, on))}" for pays, on in shared.items())
