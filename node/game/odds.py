"""The exact odds of craps: what every bet of a table is worth, as fractions.

An absorbing Markov chain whose steps are the rules themselves: it bets through `check_bet`, rolls
through `settle` and `advance`, and follows every layout until all its bets are decided. No
probability is typed anywhere; two dice have 36 throws, the rest is counted.

A state holds what its bets can see of the board, so the chain is finite; expected visits are solved
component by component in the order in which play can reach them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import isqrt
from typing import NamedTuple, TypeAlias

from node.game.craps import words
from node.game.craps.bets import ALL_KEYS, FLAT_OF, Kind, bet_key
from node.game.craps.board import OPENING, POINT, SIZE, seen_through, sight
from node.game.craps.dice import WEIGHTS
from node.game.craps.params import CrapsParams
from node.game.craps.rules import CrapsRules
from node.game.craps.vig import VIG_KINDS, exact_vig_unit
from node.game.rules import Bet, BetKey, Board

EDGE_MAX = Fraction(1, 4)
"""A bet that costs more of its stake than this is refused at a table's creation."""
STATES_MAX = 100_000
"""A layout with more states takes minutes; the largest bet alone has about 5,000."""
DECIMALS = 6
THROWS = sum(WEIGHTS)

Wager: TypeAlias = tuple[BetKey, int]
"""A bet and its stake in chips."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a bet, or several together, is worth until all are decided.

    Win, lose and push are about the net of all. The edge is the expected loss for each chip put
    on, up-front vig included; the variance is that of the net for each chip. `rolls` are those with
    chips on the layout.
    """

    win: Fraction
    lose: Fraction
    push: Fraction
    edge: Fraction
    rolls: Fraction
    variance: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table of odds: fractions in lowest terms as text, and the deviation."""

    bet: str
    pays: str
    win: str
    lose: str
    push: str
    house_edge: str
    expected_rolls: str
    variance: str
    standard_deviation: str


class _State(NamedTuple):
    """A moment between two rolls. `net` and `wagered` are chips so far."""

    board: Board
    layout: tuple[tuple[BetKey, Bet], ...]
    pending: tuple[Wager, ...]
    net: int
    wagered: int


_Steps: TypeAlias = Mapping[_State, Mapping[_State, int]]
"""From each state to the next ones, in 36ths; a state where all is decided has no steps."""


def figures(rules: CrapsRules, wagers: Sequence[Wager]) -> Figures | str:
    """Return what the wagers are worth together, or the sentence why they cannot be played.

    Each is made once, at the first moment when the rules take it; odds whose flat bet is decided
    before that are not made. A bet that stays up after a win counts as decided and comes down.
    """
    for key, stake in wagers:
        if key.kind not in FLAT_OF:
            board = _PUCK_ON if key.kind in _MADE_WITH_A_POINT else OPENING
            if refusal := rules.check_bet(board, {}, key, stake):
                return rules.describe(refusal)
    steps = _explore(rules, _placed(rules, _State(OPENING, (), tuple(wagers), 0, 0)))
    if steps is None:
        return f"these bets have over {STATES_MAX} states together: leave some out"
    made = {key.kind: None for state in steps for key, _ in state.layout}
    if idle := [key for key, _ in wagers if key.kind not in made]:
        return f"{words.bet_name(idle[0])} is never made: its flat bet or its chips do not allow it"
    return _figures(steps)


_MADE_WITH_A_POINT = (Kind.COME, Kind.DONT_COME, Kind.PUT)
_PUCK_ON: Board = (6, 1, *OPENING[2:])


def analyse(params: CrapsParams) -> tuple[Row, ...]:
    """Return the odds of every bet that a table with these parameters takes."""
    rules = CrapsRules(params)
    return tuple(_row(name, pays, found) for name, pays, found in _all_figures(rules))


def analyse_wagers(params: CrapsParams, texts: Sequence[str]) -> tuple[Row, ...] | str:
    """Return the odds of `BET:CHIPS` texts played together, or what is wrong with one."""
    rules = CrapsRules(params)
    wagers = parse_wagers(rules, texts)
    if isinstance(wagers, str):
        return wagers
    found = figures(rules, wagers)
    return found if isinstance(found, str) else (_row(" + ".join(texts), "together", found),)


def parse_wagers(rules: CrapsRules, texts: Sequence[str]) -> tuple[Wager, ...] | str:
    """Return the wagers of texts such as `pass:10` or `place 6:12`, or what is wrong with one."""
    wagers: dict[BetKey, int] = {}
    for text in texts:
        name, colon, chips = text.rpartition(":")
        bets = {key: Bet(stake, 0) for key, stake in wagers.items()}
        if not colon:
            return f"{text!r} is not BET:CHIPS, such as `place 6:12`"
        parsed = rules.parse_bet([*name.lower().split(), chips], OPENING, bets)
        if isinstance(parsed, str):
            return parsed
        for key, stake in parsed:
            wagers[key] = wagers.get(key, 0) + stake
    return tuple(wagers.items())


@lru_cache(maxsize=8)
def problem(params: CrapsParams) -> str | None:
    """Say why a table may not be created with these parameters, or None.

    Besides what `CrapsParams.problem` says: a bet whose edge is for the player, or over 25 %.
    """
    if wrong := params.problem():
        return wrong
    if params.allow_unsound:
        return None
    for name, pays, found in _all_figures(CrapsRules(params)):
        if not 0 <= found.edge <= EDGE_MAX:
            percent = _decimal(found.edge * 100, 2)
            return (
                f"{name} at {pays} has a house edge of {percent} %, outside 0 to 25 %; "
                "allow_unsound = 1 takes it all the same"
            )
    return None


def _all_figures(rules: CrapsRules) -> Iterator[tuple[str, str, Figures]]:
    """Yield name, pays and figures of each bet alone, called on where it may be."""
    for key in ALL_KEYS:
        if not rules.params.takes(key) or _is_listed_elsewhere(key):
            continue
        for board, name in _starts(rules, key):
            stake = rules.exposure(board, key, 0).unit
            if key.kind in VIG_KINDS:
                stake = exact_vig_unit(key, stake)
            called = 1 if rules.check_working(board, {key: Bet(stake, 0)}, key, 1) is None else 0
            bet = Bet(stake, 0, called, rules.vig(key, stake))
            paid = stake + bet.vig
            steps = _explore(rules, _seen(_State(board, ((key, bet),), (), -paid, paid)))
            assert steps is not None, f"{name} alone has over {STATES_MAX} states"
            yield name, words.pays_text(rules.params, key, board[POINT]), _figures(steps)
    for name, parts in words.SPLITS.items():
        if name != "hornhigh" and all(rules.params.takes(key) for key in parts):
            found = figures(rules, tuple((key, rules.params.centre.least) for key in parts))
            assert isinstance(found, Figures), found
            yield name, "as its parts", found


def _is_listed_elsewhere(key: BetKey) -> bool:
    """Say whether a bet is only another's later state, or pays as one that has a row."""
    moved = key.number != 0 and key.kind in {Kind.COME, Kind.DONT_COME, Kind.TWICE_HARD}
    return moved or key.kind in {Kind.COME_ODDS, Kind.DONT_COME_ODDS, Kind.PUT_ODDS}


def _starts(rules: CrapsRules, key: BetKey) -> Iterator[tuple[Board, str]]:
    """Yield each board that a bet's row starts on, with the row's name.

    Odds behind a line bet are on the puck, so they have a row for each point, named as the odds on
    a come bet, which pay the same.
    """
    twin = {Kind.PASS_ODDS: Kind.COME_ODDS, Kind.DONT_PASS_ODDS: Kind.DONT_COME_ODDS}
    other = twin.get(ALL_KEYS[key])
    if other is None:
        yield OPENING, words.bet_name(key)
    else:
        for point in rules.params.points:
            yield (point, *_PUCK_ON[1:]), words.bet_name(bet_key(other, point))


def _row(name: str, pays: str, found: Figures) -> Row:
    return Row(
        bet=name,
        pays=pays,
        win=str(found.win),
        lose=str(found.lose),
        push=str(found.push),
        house_edge=str(found.edge),
        expected_rolls=str(found.rolls),
        variance=str(found.variance),
        standard_deviation=_decimal_root(found.variance),
    )


def _decimal(value: Fraction, places: int) -> str:
    """Return a fraction as a decimal text, rounded to the nearest."""
    units = round(value * 10**places)
    whole, rest = divmod(abs(units), 10**places)
    return f"{'-' if units < 0 else ''}{whole}.{rest:0{places}d}"


def _decimal_root(value: Fraction) -> str:
    """Return the square root of a fraction as a decimal text, rounded down."""
    whole, rest = divmod(isqrt(int(value * 10 ** (2 * DECIMALS))), 10**DECIMALS)
    return f"{whole}.{rest:0{DECIMALS}d}"


def _placed(rules: CrapsRules, state: _State) -> _State:
    """Return the state after making every pending wager that the rules take now."""
    if not state.pending:
        return _seen(state)
    bets = dict(state.layout)
    net, wagered = state.net, state.wagered
    waiting = []
    for key, stake in state.pending:
        if key not in bets and rules.check_bet(state.board, bets, key, stake) is None:
            bets[key] = Bet(stake, 0, 0, rules.vig(key, stake))
            net -= stake + bets[key].vig
            wagered += stake + bets[key].vig
        else:
            waiting.append((key, stake))
    ahead = [*bets, *(key for key, _ in waiting)]
    waiting = [(key, stake) for key, stake in waiting if not _is_void(key, ahead)]
    return _seen(_State(state.board, tuple(bets.items()), tuple(waiting), net, wagered))


def _is_void(key: BetKey, ahead: Sequence[BetKey]) -> bool:
    """Say whether odds wait for a flat bet that is neither up nor to come."""
    flat = FLAT_OF.get(ALL_KEYS[key])
    return flat is not None and not any(
        other.kind == flat and other.number in {0, key.number} for other in ahead
    )


def _seen(state: _State) -> _State:
    """Return the one state for all that look the same to the bets in it."""
    layout = tuple(sorted(state.layout))
    caps = _sight_of(tuple(key for key, _ in layout), bool(state.pending))
    board = seen_through(state.board, caps)
    return _State(board, layout, state.pending, state.net, state.wagered)


@lru_cache(maxsize=1_024)
def _sight_of(keys: tuple[BetKey, ...], pending: bool) -> Board:
    """Return how far these bets together see; bets still to be made look at the puck."""
    sights = [_PUCK if pending else _BLIND, _BLIND, *map(sight, keys)]
    return tuple(map(max, *sights))


_BLIND: Board = (0,) * SIZE
_PUCK: Board = sight(bet_key(Kind.PASS))


def _explore(rules: CrapsRules, start: _State) -> _Steps | None:
    """Return the chain from a state on, or None when it is too large."""
    steps: dict[_State, dict[_State, int]] = {}
    waiting = [start]
    while waiting:
        state = waiting.pop()
        if state in steps:
            continue
        if len(steps) == STATES_MAX:
            return None
        following: dict[_State, int] = {}
        steps[state] = following
        if not state.layout and not state.pending:
            continue
        for outcome, weight in enumerate(WEIGHTS):
            after = _rolled(rules, state, outcome)
            following[after] = following.get(after, 0) + weight
            waiting.append(after)
    return steps


def _rolled(rules: CrapsRules, state: _State, outcome: int) -> _State:
    """Return the state after a roll and the bets that it lets be made."""
    bets = dict(state.layout)
    net = state.net
    for row in rules.settle(state.board, bets, outcome):
        bet = bets.pop(row.before)
        net += row.returned
        if row.profit:
            net += row.left + row.left_vig
        elif row.left:
            bets[row.key] = Bet(row.left, 0, bet.working, row.left_vig)
    board, _ = rules.advance(state.board, outcome)
    after = _State(board, tuple(bets.items()), state.pending, net, state.wagered)
    return _placed(rules, after)


def _figures(steps: _Steps) -> Figures:
    """Return what the chain comes to, from the expected visits of its states."""
    visits = _visits(steps)
    rolls = sum((visits[state] for state in steps if state.layout), Fraction(0))
    ends = [(state.net, state.wagered, visits[state]) for state in steps if not steps[state]]
    assert sum(chance for _, _, chance in ends) == 1
    mean = sum((net * chance for net, _, chance in ends), Fraction(0))
    wagered = sum((chips * chance for _, chips, chance in ends), Fraction(0))
    square = sum((net * net * chance for net, _, chance in ends), Fraction(0))
    return Figures(
        win=sum((chance for net, _, chance in ends if net > 0), Fraction(0)),
        lose=sum((chance for net, _, chance in ends if net < 0), Fraction(0)),
        push=sum((chance for net, _, chance in ends if net == 0), Fraction(0)),
        edge=Fraction(-mean, wagered),
        rolls=rolls,
        variance=Fraction(square - mean * mean, wagered * wagered),
    )


def _visits(steps: _Steps) -> dict[_State, Fraction]:
    """Return how often each state is visited, on average; the first state is the start."""
    inflow = dict.fromkeys(steps, Fraction(0))
    inflow[next(iter(steps))] = Fraction(1)
    visits: dict[_State, Fraction] = {}
    for component in reversed(_components(steps)):
        visits.update(_solve(steps, component, inflow))
        members = dict.fromkeys(component)
        for state in component:
            for after, weight in steps[state].items():
                if after not in members:
                    inflow[after] += visits[state] * Fraction(weight, THROWS)
    return visits


def _solve(
    steps: _Steps, component: Sequence[_State], inflow: Mapping[_State, Fraction]
) -> Iterator[tuple[_State, Fraction]]:
    """Yield the visits of states that reach each other, by elimination without pivoting.

    The matrix is one less a part of a stochastic matrix that play leaves, so no pivot is 0.
    """
    size = len(component)
    at = {state: index for index, state in enumerate(component)}
    rows = [
        [Fraction(int(i == j)) for j in range(size)] + [inflow[state]]
        for i, state in enumerate(component)
    ]
    for state in component:
        for after, weight in steps[state].items():
            if after in at:
                rows[at[after]][at[state]] -= Fraction(weight, THROWS)
    for i in range(size):
        share = Fraction(1, rows[i][i])
        rows[i] = [value * share if value else value for value in rows[i]]
        for j in range(size):
            if j != i and (factor := rows[j][i]):
                rows[j] = [
                    a - factor * b if b else a for a, b in zip(rows[j], rows[i], strict=True)
                ]
    for state, row in zip(component, rows, strict=True):
        yield state, row[size]


def _components(steps: _Steps) -> list[list[_State]]:
    """Return the strongly connected components, each after those that it can reach (Tarjan)."""
    order: dict[_State, int] = {}
    low: dict[_State, int] = {}
    path: list[_State] = []
    on_path: dict[_State, None] = {}
    found: list[list[_State]] = []
    for root in steps:
        if root in order:
            continue
        order[root] = low[root] = len(order)
        path.append(root)
        on_path[root] = None
        calls = [(root, iter(steps[root]))]
        while calls:
            state, ahead = calls[-1]
            after = next(ahead, None)
            if after is None:
                calls.pop()
                if calls:
                    low[calls[-1][0]] = min(low[calls[-1][0]], low[state])
                if low[state] == order[state]:
                    start = path.index(state)
                    found.append(path[start:])
                    del path[start:]
                    for member in found[-1]:
                        del on_path[member]
            elif after not in order:
                order[after] = low[after] = len(order)
                path.append(after)
                on_path[after] = None
                calls.append((after, iter(steps[after])))
            elif after in on_path:
                low[state] = min(low[state], order[after])
    return found
