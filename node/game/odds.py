"""The exact odds of a game: what every bet of a table is worth, as fractions.

An absorbing Markov chain whose steps are the rules themselves: it bets through `check_bet`, rolls
through `settle` and `advance`, and follows every layout until all its bets are decided. No
probability is typed anywhere: the outcomes have weights, the rest is counted.

A state holds what its bets can see of the board, so the chain is finite; expected visits are solved
component by component in the order in which play can reach them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import isqrt
from typing import NamedTuple, TypeAlias

from node.game.rules import Bet, BetKey, Board, GameRules, Offer, Refusal

EDGE_MAX = Fraction(1, 4)
"""A bet that costs more of its stake than this is refused at a table's creation."""
STATES_MAX = 100_000
"""A layout with more states takes minutes; the largest bet alone has about 1,500."""
DECIMALS = 6

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
    rule: str
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
"""From each state to the next ones, by weight; a state where all is decided has no steps."""


def figures(rules: GameRules, wagers: Sequence[Wager]) -> Figures | str:
    """Return what the wagers are worth together, or the sentence why they cannot be played.

    Each is made once, at the first moment when the rules take it; one that no moment is left for is
    not made. A bet that stays up after a win counts as decided and comes down.
    """
    chain = _Chain(rules)
    steps = chain.explore(_State(rules.opening_board(), (), tuple(wagers), 0, 0))
    if steps is None:
        return f"these bets have over {STATES_MAX} states together: leave some out"
    never = [key for key, _ in wagers if key not in chain.made]
    return chain.why_never(never[0]) if never else _figures(steps, chain.throws)


def analyse(rules: GameRules) -> tuple[Row, ...]:
    """Return the odds of every bet that a table with these rules takes."""
    return tuple(_row(offer, figures_of(rules, offer)) for offer in rules.offers())


def analyse_wagers(rules: GameRules, texts: Sequence[str]) -> tuple[Row, ...] | str:
    """Return the odds of `BET:CHIPS` texts played together, or what is wrong with one."""
    wagers = parse_wagers(rules, texts)
    if isinstance(wagers, str):
        return wagers
    found = figures(rules, wagers)
    if isinstance(found, str):
        return found
    name = " + ".join(texts)
    return (_row(Offer(name, "together", "each until it is decided", (), ()), found),)


def parse_wagers(rules: GameRules, texts: Sequence[str]) -> tuple[Wager, ...] | str:
    """Return the wagers of texts such as `big:10` or `total 9:12`, or what is wrong with one."""
    wagers: dict[BetKey, int] = {}
    for text in texts:
        name, colon, chips = text.rpartition(":")
        bets = {key: Bet(stake, 0) for key, stake in wagers.items()}
        if not colon:
            return f"{text!r} is not BET:CHIPS"
        parsed = rules.parse_bet([*name.lower().split(), chips], rules.opening_board(), bets)
        if isinstance(parsed, str):
            return parsed
        for key, stake in parsed:
            wagers[key] = wagers.get(key, 0) + stake
    return tuple(wagers.items())


def problem(rules: GameRules) -> str | None:
    """Say why a table may not be created with these rules, or None.

    A bet's edge must be for the house, and no more than 25 %. It takes about a second.
    """
    if rules.allows_unsound:
        return None
    for offer in rules.offers():
        edge = figures_of(rules, offer).edge
        if not 0 <= edge <= EDGE_MAX:
            return (
                f"{offer.name} at {offer.pays} has a house edge of {_decimal(edge * 100, 2)} %, "
                "outside 0 to 25 %; allow_unsound = 1 takes it all the same"
            )
    return None


def figures_of(rules: GameRules, offer: Offer) -> Figures:
    """Return what the bets of an offer are worth together, from the moment of its board on."""
    paid = sum(bet.stake + bet.vig for _, bet in offer.bets)
    chain = _Chain(rules)
    steps = chain.explore(_State(offer.board, offer.bets, (), -paid, paid))
    assert steps is not None, f"{offer.name} alone has over {STATES_MAX} states"
    return _figures(steps, chain.throws)


def _row(offer: Offer, found: Figures) -> Row:
    return Row(
        bet=offer.name,
        pays=offer.pays,
        rule=offer.rule,
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


class _Chain:
    """The steps of play for one set of wagers, and what was learnt on the way."""

    def __init__(self, rules: GameRules) -> None:
        self._rules = rules
        self.throws = sum(rules.outcome_weights)
        self.made: dict[BetKey, None] = {}
        self._refusals: dict[BetKey, dict[int, Refusal]] = {}
        self._waiting: dict[tuple[Board, tuple[Wager, ...]], bool] = {}

    def explore(self, start: _State) -> _Steps | None:
        """Return the chain from a state on, or None when it is too large."""
        steps: dict[_State, dict[_State, int]] = {}
        waiting = [self._placed(start)]
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
            for outcome, weight in enumerate(self._rules.outcome_weights):
                after = self._rolled(state, outcome)
                following[after] = following.get(after, 0) + weight
                waiting.append(after)
        return steps

    def why_never(self, key: BetKey) -> str:
        """Say why a wager was never made: the refusal that was not there from the beginning."""
        refusals = list(self._refusals[key].values())
        return self._rules.describe(refusals[min(1, len(refusals) - 1)])

    def _rolled(self, state: _State, outcome: int) -> _State:
        """Return the state after a roll and the bets that it lets be made."""
        bets = dict(state.layout)
        net = state.net
        for row in self._rules.settle(state.board, bets, outcome):
            bet = bets.pop(row.before)
            net += row.returned
            if row.profit:
                net += row.left + row.left_vig
            elif row.left:
                bets[row.key] = Bet(row.left, 0, bet.working, row.left_vig)
        board, _ = self._rules.advance(state.board, outcome)
        return self._placed(_State(board, tuple(bets.items()), state.pending, net, state.wagered))

    def _placed(self, state: _State) -> _State:
        """Return the state after making every pending wager that the rules take now."""
        bets = dict(state.layout)
        net, wagered = state.net, state.wagered
        waiting = []
        for key, stake in state.pending:
            if key not in bets and self._takes(state.board, bets, key, stake):
                bets[key] = bet = Bet(stake, 0, 0, self._rules.vig(key, stake))
                net -= stake + bet.vig
                wagered += stake + bet.vig
            else:
                waiting.append((key, stake))
        pending = tuple(waiting)
        if pending and not bets and not self._is_time_left(state.board, pending):
            pending = ()
        return self._seen(_State(state.board, tuple(sorted(bets.items())), pending, net, wagered))

    def _seen(self, state: _State) -> _State:
        """Return the one state for all that look the same to the bets in it and to come."""
        keys = [key for key, _ in (*state.layout, *state.pending)]
        return state._replace(board=self._rules.seen(state.board, keys))

    def _takes(self, board: Board, bets: Mapping[BetKey, Bet], key: BetKey, stake: int) -> bool:
        refusal = self._rules.check_bet(board, bets, key, stake)
        if refusal is None:
            self.made[key] = None
            return True
        self._refusals.setdefault(key, {}).setdefault(refusal.code, refusal)
        return False

    def _is_time_left(self, board: Board, pending: tuple[Wager, ...]) -> bool:
        """Say whether a wager can still be made, now that no bet lies on the layout."""
        keys = [key for key, _ in pending]
        start = self._rules.seen(board, keys)
        known = self._waiting.get((start, pending))
        if known is None:
            boards, ahead, known = {start: None}, [start], False
            while ahead and not known:
                board = ahead.pop()
                known = any(self._takes(board, {}, key, stake) for key, stake in pending)
                for outcome in range(len(self._rules.outcome_weights)):
                    after = self._rules.seen(self._rules.advance(board, outcome)[0], keys)
                    if after not in boards:
                        boards[after] = None
                        ahead.append(after)
            self._waiting[start, pending] = known
        return known


def _figures(steps: _Steps, throws: int) -> Figures:
    """Return what the chain comes to, from the expected visits of its states."""
    visits = _visits(steps, throws)
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


def _visits(steps: _Steps, throws: int) -> dict[_State, Fraction]:
    """Return how often each state is visited, on average; the first state is the start."""
    inflow = dict.fromkeys(steps, Fraction(0))
    inflow[next(iter(steps))] = Fraction(1)
    visits: dict[_State, Fraction] = {}
    for component in reversed(_components(steps)):
        visits.update(_solve(steps, throws, component, inflow))
        members = dict.fromkeys(component)
        for state in component:
            for after, weight in steps[state].items():
                if after not in members:
                    inflow[after] += visits[state] * Fraction(weight, throws)
    return visits


def _solve(
    steps: _Steps,
    throws: int,
    component: Sequence[_State],
    inflow: Mapping[_State, Fraction],
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
                rows[at[after]][at[state]] -= Fraction(weight, throws)
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
