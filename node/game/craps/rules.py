"""Craps as a `GameRules`: what may be bet, what a roll pays, what the bank must hold.

Everything that depends on the parameters alone is worked out when the rules are made; what a bet
does on each of the 21 outcomes is worked out once for each state of the puck that it meets, from
`decide`, and remembered.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from math import lcm
from operator import attrgetter
from typing import NamedTuple

from node.game.craps import dice, offers, words
from node.game.craps.bets import (
    ALL_KEYS,
    FLAT_OF,
    KIND_NAMES,
    LAID_ODDS,
    LIMIT_CLASSES,
    ODDS_OF,
    Kind,
    LimitClass,
    bet_key,
)
from node.game.craps.board import OLD, OPENING, POINT, ROLLS, advance, seen_through, sight
from node.game.craps.decide import (
    LOSE,
    NOTHING,
    RETURN,
    Effect,
    Throw,
    Verdict,
    decide,
    is_callable,
    prizes,
)
from node.game.craps.params import VIG_EXACT, CrapsParams
from node.game.craps.pays import LAY_ODDS, TRUE_ODDS
from node.game.craps.refusals import Code, describe
from node.game.craps.vig import VIG_KINDS, exact_vig_unit, vig_due, win_of
from node.game.options import load_options
from node.game.rules import (
    Bet,
    BetKey,
    Bets,
    Board,
    Exposure,
    Odds,
    Offer,
    Refusal,
    Settlement,
    key_of,
)

GAME_NAME = "craps"
THROWER_NEEDS = "a pass or don't pass bet"

_BEFORE = attrgetter("before")
_WIN_AND_STAY = Effect.WIN_AND_STAY  # a member of an Enum is found slowly
_PASS, _DONT_PASS = bet_key(Kind.PASS), bet_key(Kind.DONT_PASS)

# When a bet may be made.
_ALWAYS, _PUCK_OFF, _PUCK_ON, _NEW_HAND, _AFTER_SEVEN, _NEVER = range(6)
_WINDOWS: Mapping[int, int] = {
    Kind.PASS: _PUCK_OFF,
    Kind.DONT_PASS: _PUCK_OFF,
    Kind.MUGGSY: _PUCK_OFF,
    Kind.COME: _PUCK_ON,
    Kind.DONT_COME: _PUCK_ON,
    Kind.PUT: _PUCK_ON,
    **dict.fromkeys((Kind.FIRE, Kind.RIDE_LINE, Kind.REPLAY), _NEW_HAND),
    **dict.fromkeys(
        (Kind.SMALL, Kind.TALL, Kind.ALL, Kind.REPEAT, Kind.HOT_ROLLER, Kind.DOUBLES),
        _AFTER_SEVEN,
    ),
}


class _Entry(NamedTuple):
    """What `check_bet` needs to know of a bet; `unit` 0 sends it to the rules of odds."""

    window: int
    unit: int
    least: int
    most: int
    has_vig: bool = False


class _OddsLimit(NamedTuple):
    """Odds of at most `flat * times // per`, up to a whole `unit` with `up`, in whole units."""

    times: int
    per: int
    up: int
    unit: int


class _Row(NamedTuple):
    """What every outcome does to a bet in one state of the board."""

    verdicts: tuple[Verdict, ...]
    exposure: Exposure


RULES_REMEMBERED = 8
"""Options whose rules are kept with the rows worked out: a process has few tables."""


class CrapsRules:
    """The rules of one table, R1 to R30. A value but for the memory of rows worked out."""

    def __init__(self, params: CrapsParams) -> None:
        """Take parameters without a `problem`."""
        assert (problem := params.problem()) is None, problem
        self.params = params
        self.name = GAME_NAME
        self.options = params
        self.allows_unsound = bool(params.allow_unsound)
        self.thrower_needs = THROWER_NEEDS
        self.outcome_names = dice.NAMES
        self.outcome_weights = dice.WEIGHTS
        self.kind_names = KIND_NAMES
        self._entries = {key: _entry(params, key) for key in ALL_KEYS if params.takes(key)}
        self._flats = {
            key: bet_key(FLAT_OF[kind], key.number)
            for key, kind in ALL_KEYS.items()
            if kind in FLAT_OF
        }
        self._odds_limits = {
            (kind.value, number): _odds_limit(params, kind, number)
            for kind in FLAT_OF
            for number in params.points
        }
        self._sights = {key: caps for key in ALL_KEYS if any((caps := sight(key))[POINT + 1 :])}
        self._line_least = params.line.least
        self.far_sighted = self._sights.keys()
        self._prizes = {key: _greatest_prize(params, key) for key in ALL_KEYS}
        self._rows: dict[tuple[Board | int, BetKey, int], _Row] = {}
        # By puck and outcome, what becomes of bets that look at the puck alone and are not called.
        self._usual: Mapping[int, Sequence[dict[BetKey, Verdict]]] = {
            point: [{} for _ in dice.PAIRS] for point in (0, *params.points)
        }

    @property
    def bet_words(self) -> Sequence[tuple[str, str]]:
        """What a player may type to bet, with what each bet pays."""
        return words.bet_words(self.params)

    def opening_board(self) -> Board:
        """Return the board before the first roll: puck off, a new hand."""
        return OPENING

    def board_texts(self, board: Board) -> tuple[str, ...]:
        """Return the puck, and the points with the one under it in brackets."""
        return words.puck_texts(self.params, board[POINT])

    def glance(self, board: Board) -> int:
        """Return the number under the puck: most bets look at nothing else."""
        return board[POINT]

    def outcome(self, seed: bytes) -> tuple[int, tuple[int, ...]]:
        """Return (outcome index, the two dice in order) of a 32-byte seed."""
        first, second = dice.throw(seed)
        return dice.outcome_of(first, second), (first, second)

    def check_bet(self, board: Board, bets: Bets, key: BetKey, amount: int) -> Refusal | None:
        """Say why `amount` more may not be put on `key`, or None (R7, R10 to R18, R28)."""
        entry = self._entries.get(key)
        if entry is None:
            known = key in ALL_KEYS
            return Refusal(Code.NOT_TAKEN if known else Code.NO_SUCH_BET, tuple(key))
        if amount <= 0:
            return Refusal(Code.NOT_POSITIVE, (*key, amount))
        window, unit, least, most, has_vig = entry
        if window and (closed := self._check_window(board, key, window)):
            return closed
        bet = bets.get(key)
        total = amount if bet is None else bet.stake + amount
        if not unit:
            return self._check_odds(board, bets, key, total)
        if total < least:
            return Refusal(Code.UNDER_LIMIT, (*key, total, least))
        if total > most:
            return Refusal(Code.OVER_LIMIT, (*key, total, most))
        if total % unit:
            return _inexact(key, total, unit)
        if has_vig:
            win, vig = win_of(key, total), vig_due(self.params, key, total)
            if vig > win:
                return Refusal(Code.VIG_OVER_WIN, (*key, total, win, vig))
        return None

    def _check_window(self, board: Board, key: BetKey, window: int) -> Refusal | None:
        point = board[POINT]
        if window == _PUCK_OFF:
            return Refusal(Code.NEEDS_PUCK_OFF, (*key, point)) if point else None
        if window == _PUCK_ON:
            return None if point else Refusal(Code.NEEDS_PUCK_ON, tuple(key))
        if window == _NEVER:
            return Refusal(Code.MOVES_BY_ITSELF, tuple(key))
        if board[OLD] and (window == _NEW_HAND or self.params.new_shooter_only):
            return Refusal(Code.NEEDS_NEW_HAND, tuple(key))
        if board[ROLLS] and window == _AFTER_SEVEN:
            return Refusal(Code.NEEDS_SEVEN, tuple(key))
        return None

    def _check_odds(self, board: Board, bets: Bets, key: BetKey, total: int) -> Refusal | None:
        """Check odds of `total` chips: on a number, within their flat bet, exact (R17, R18)."""
        kind, number = key
        number = number or board[POINT]
        flat = bets.get(self._flats[key])
        if flat is None or not number:
            return Refusal(Code.NO_FLAT_BET, tuple(key))
        most = self._odds_most(kind, number, flat.stake)
        if total > most:
            return Refusal(Code.OVER_ODDS_LIMIT, (*key, total, most))
        unit = self._odds_limits[kind, number].unit
        return _inexact(key, total, unit) if total % unit else None

    def _odds_most(self, kind: int, number: int, flat: int) -> int:
        """Return the most odds behind a flat stake; laid odds are bounded by what they win."""
        times, per, up, unit = self._odds_limits[kind, number]
        return (flat * times // per + up) // unit * unit

    def check_reduce(self, board: Board, bets: Bets, key: BetKey, amount: int) -> Refusal | None:
        """Say why `amount` may not come down from `key`, or None (R11 to R13, R23)."""
        bet = bets.get(key)
        if bet is None:
            return Refusal(Code.NO_BET, tuple(key)) if key in ALL_KEYS else _unknown(key)
        if amount <= 0:
            return Refusal(Code.NOT_POSITIVE, (*key, amount))
        if amount > bet.stake:
            return Refusal(Code.MORE_THAN_UP, (*key, amount, bet.stake))
        if self.is_contract(board, key):
            return Refusal(Code.CONTRACT, tuple(key))
        rest = bet.stake - amount
        if rest == 0:
            return None
        entry = self._entries[key]
        if rest < entry.least:
            return Refusal(Code.UNDER_LIMIT, (*key, rest, entry.least))
        number = key.number or board[POINT]
        unit = entry.unit or self._odds_limits[key.kind, number].unit
        if rest % unit:
            return _inexact(key, rest, unit)
        for other in self.dependents(bets, key):
            if bets[other].stake > self._odds_most(other.kind, number, rest):
                return Refusal(Code.ODDS_TOO_MUCH, (*key, rest, bets[other].stake))
        return None

    def check_working(self, board: Board, bets: Bets, key: BetKey, working: int) -> Refusal | None:
        """Say why the bet may not be called on (1), off (2) or as the rules say (0), or None."""
        del board  # a bet may be called at any time before the dice are out (R17, R21)
        if key not in bets:
            return Refusal(Code.NO_BET, tuple(key)) if key in ALL_KEYS else _unknown(key)
        if not is_callable(self.params, key.kind):
            return Refusal(Code.NOT_CALLABLE, tuple(key))
        return None if working in {0, 1, 2} else Refusal(Code.NO_SUCH_CALL, (working,))

    def vig(self, key: BetKey, stake: int) -> int:
        """Return the vig that lies on the layout beside a bet of this stake (R22)."""
        if key.kind not in VIG_KINDS or self.params.vig_on_win:
            return 0
        return vig_due(self.params, key, stake)

    def dependents(self, bets: Bets, key: BetKey) -> tuple[BetKey, ...]:
        """Return the odds that come down with their flat bet (R20)."""
        kind = ODDS_OF.get(key.kind)
        if kind is None:
            return ()
        odds = bet_key(kind, key.number)
        return (odds,) if odds in bets else ()

    def may_throw(self, board: Board, bets: Bets) -> bool:
        """Say whether a seat may throw: with a line bet on a come-out, always after (R2, R5)."""
        if board[POINT]:
            return True
        least = self._line_least
        bet = bets.get(_PASS)
        if bet is not None and bet.stake >= least:
            return True
        bet = bets.get(_DONT_PASS)
        return bet is not None and bet.stake >= least

    def may_pass_dice(self, board: Board) -> bool:
        """Say whether the shooter may pass the dice: on a come-out (R5)."""
        return not board[POINT]

    def is_contract(self, board: Board, key: BetKey) -> bool:
        """Say whether the bet must ride to its decision (R11, R13, R28, R30).

        A feature bet may be taken back for as long as it could still be made.
        """
        match key.kind:
            case Kind.PUT:
                return True
            case Kind.PASS | Kind.MUGGSY:
                return board[POINT] != 0
            case Kind.COME | Kind.TWICE_HARD:
                return key.number != 0
            case Kind.FIRE | Kind.RIDE_LINE | Kind.REPLAY:
                return board[OLD] != 0
            case kind:
                return _WINDOWS.get(kind) == _AFTER_SEVEN and board[ROLLS] != 0

    def exposure(self, board: Board, key: BetKey, working: int) -> Exposure:
        """Return what the bank must hold for each unit of stake on a bet, by outcome (R29)."""
        if key not in self._sights:
            # Nearly always: the first look at what `_row` would find.
            row = self._rows.get((board[POINT], key, working))
            if row is not None:
                return row.exposure
        return self._row(board, key, working).exposure

    def prize(self, key: BetKey, stake: int) -> int:
        """Return the most that a bet of this stake can win, wherever the puck is."""
        win, per = self._prizes[key]
        return -(-stake * win // per)

    def _row(self, board: Board, key: BetKey, working: int) -> _Row:
        caps = self._sights.get(key)
        state = board[POINT] if caps is None else seen_through(board, caps)
        row = self._rows.get((state, key, working))
        if row is None:
            row = self._rows[state, key, working] = self._work_out(board, key, working)
        return row

    def _work_out(self, board: Board, key: BetKey, working: int) -> _Row:
        verdicts = tuple(
            decide(
                self.params,
                key,
                working,
                Throw(board, advance(board, outcome, self.params.points)[0], low, high),
            )
            for outcome, (low, high) in enumerate(dice.PAIRS)
        )
        pays = [odds for _, odds in prizes(self.params, key, board[POINT])]
        unit = lcm(*(odds.per for odds in pays))
        full = max(odds.profit(unit) for odds in pays)
        per_unit = []
        for verdict in verdicts:
            match verdict.effect:
                case Effect.NOTHING | Effect.MOVE:
                    per_unit.append(full)
                case Effect.LOSE:
                    per_unit.append(-unit)
                case Effect.WIN | Effect.WIN_AND_STAY:
                    per_unit.append(verdict.odds.profit(unit))
                case Effect.RETURN:
                    per_unit.append(0)
        return _Row(verdicts, Exposure(unit, tuple(per_unit)))

    def settle(self, board: Board, bets: Bets, outcome: int) -> tuple[Settlement, ...]:
        """Return what the outcome does to the bets of one seat, in key order (R8).

        A bet that moves comes last: the bet whose place it takes is decided by the same roll.
        """
        rows: list[Settlement] = []
        moved: list[Settlement] = []
        usual = self._usual[board[POINT]][outcome]
        for key, bet in bets.items():
            verdict = None if bet.working else usual.get(key)
            if verdict is None:
                verdict = self._row(board, key, bet.working).verdicts[outcome]
                if not bet.working and key not in self._sights:
                    usual[key] = verdict
            if verdict is NOTHING:
                continue
            stake, vig = bet.stake, bet.vig
            if verdict is LOSE:
                rows.append(Settlement(key, stake, 0, vig, 0, key, 0, 0))
            elif verdict is RETURN:
                rows.append(Settlement(key, 0, 0, 0, stake + vig, key, 0, 0))
            elif verdict.number:
                to = key_of(key.kind, verdict.number)
                moved.append(Settlement(key, 0, 0, 0, 0, to, stake, vig))
            else:
                rows.append(self._won(key, bet, verdict))
        if len(rows) > 1:
            rows.sort(key=_BEFORE)
        if moved:
            rows += sorted(moved, key=_BEFORE)
        return tuple(rows)

    def _won(self, key: BetKey, bet: Bet, verdict: Verdict) -> Settlement:
        """Return a win: the vig is taken now, from the layout or from the win (R22)."""
        stake, vig = bet.stake, bet.vig
        profit, stays = verdict.odds.profit(stake), verdict.effect is _WIN_AND_STAY
        if key.kind not in VIG_KINDS:
            if stays:
                return Settlement(key, 0, profit, 0, profit, key, stake, 0)
            return Settlement(key, 0, profit, 0, stake + profit, key, 0, 0)
        taken = vig_due(self.params, key, stake) if self.params.vig_on_win else vig
        # A bet that stays up has its next vig taken from the win as well.
        left, left_vig = (stake, vig) if stays else (0, 0)
        returned = stake + vig + profit - taken - left - left_vig
        assert returned >= 0, f"{key} wins {profit} with a vig of {taken}"
        return Settlement(key, 0, profit, taken, returned, key, left, left_vig)

    def advance(self, board: Board, outcome: int) -> tuple[Board, bool]:
        """Return the board after the outcome, and whether the hand ended (R3, R4)."""
        return advance(board, outcome, self.params.points)

    def describe(self, refusal: Refusal) -> str:
        """Return the sentence of one of the game's own refusals."""
        return describe(refusal)

    def bet_name(self, key: BetKey) -> str:
        """Return what a player types to make this bet, without the amount."""
        return words.bet_name(key)

    def parse_bet(
        self, typed: Sequence[str], board: Board, bets: Bets
    ) -> Sequence[tuple[BetKey, int]] | str:
        """Return the bets that typed words ask for, or the sentence why they mean none."""
        del board  # words mean the same at any time
        return words.parse_bet(self.params, typed, bets)

    def offers(self) -> Sequence[Offer]:
        """Return every bet that this table takes, for its table of odds."""
        return tuple(offers.offers(self))

    def seen(self, board: Board, keys: Sequence[BetKey]) -> Board:
        """Return one board for all that treat these bets alike, now and after any roll."""
        return offers.seen(board, keys)


def load_rules(params: bytes) -> CrapsRules | str:
    """Return the rules of encoded `CrapsParams` (none: the usual ones), or what is wrong with them.

    Whether the pays are sound is for `node.game.odds.problem`: it has to count.
    """
    options = load_options(CrapsParams, GAME_NAME, params)
    if isinstance(options, str):
        return options
    return options.problem() or rules_under(options)


@lru_cache(maxsize=RULES_REMEMBERED)
def rules_under(options: CrapsParams) -> CrapsRules:
    """Return the rules under these options, made once for all states and nodes of a process."""
    return CrapsRules(options)


def _entry(params: CrapsParams, key: BetKey) -> _Entry:
    kind = Kind(key.kind)
    if kind in FLAT_OF:
        return _Entry(_ALWAYS, 0, 1, 0)
    moves_only = key.number and kind in {Kind.COME, Kind.DONT_COME, Kind.TWICE_HARD}
    pays = [odds for _, odds in prizes(params, key, 0)]
    unit = lcm(*(odds.per for odds in pays))
    limits = params.limits(LIMIT_CLASSES[kind])
    most = limits.most
    if LIMIT_CLASSES[kind] == LimitClass.FEATURE:
        most = min([most, *(params.prize_most * odds.per // odds.win for odds in pays if odds.win)])
    if kind in VIG_KINDS and params.vig_rounding == VIG_EXACT:
        unit = exact_vig_unit(key, unit)
    window = _NEVER if moves_only else _WINDOWS.get(kind, _ALWAYS)
    return _Entry(window, unit, limits.least, most, kind in VIG_KINDS)


def _greatest_prize(params: CrapsParams, key: BetKey) -> Odds:
    """Return the best odds that a bet may ever have; odds on the line ask for the puck."""
    pucks = params.points if key.kind in FLAT_OF else (0, *params.points)
    pays = [odds for point in pucks for _, odds in prizes(params, key, point)]
    return max(pays, key=lambda odds: Fraction(odds.win, odds.per))


def _odds_limit(params: CrapsParams, kind: Kind, number: int) -> _OddsLimit:
    times, per, pays = params.odds_multiple(number), 1, TRUE_ODDS[number]
    if kind in LAID_ODDS:
        pays = LAY_ODDS[number]
        times, per = times * pays.per, pays.win
    return _OddsLimit(times, per, (pays.per - 1) * params.odds_round_up, pays.per)


def _unknown(key: BetKey) -> Refusal:
    return Refusal(Code.NO_SUCH_BET, tuple(key))


def _inexact(key: BetKey, total: int, unit: int) -> Refusal:
    below = total // unit * unit
    return Refusal(Code.NOT_EXACT, (*key, total, below, below + unit))
