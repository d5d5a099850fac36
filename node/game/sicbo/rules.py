"""Sic bo as data: 56 outcomes of three dice, and what each of them pays every bet."""

from collections import Counter
from collections.abc import Mapping
from enum import IntEnum
from itertools import combinations, combinations_with_replacement
from math import factorial, prod
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from node.game import dice
from node.game.dice import SIDES
from node.game.one_roll import Family, Line, OneRollRules, Outcomes
from node.game.options import Limits, load_options
from node.game.rules import Odds
from node.game.sicbo.params import SicboParams

GAME_NAME = "sicbo"
DICE = 3

Throw: TypeAlias = tuple[int, ...]
"""Three dice, lowest first."""

THROWS: tuple[Throw, ...] = tuple(combinations_with_replacement(range(1, SIDES + 1), DICE))
"""The outcomes by index."""


class Kind(IntEnum):
    """The kinds of bets, as they stand on the wire."""

    SMALL = 1
    BIG = 2
    ODD = 3
    EVEN = 4
    TOTAL = 5
    NUMBER = 6
    DOUBLE = 7
    PAIR = 8
    TRIPLE = 9
    ANY_TRIPLE = 10


class _Words(NamedTuple):
    word: str
    name: str
    rule: str
    numbers: tuple[int, ...] = (0,)


_SIDES = tuple(range(1, SIDES + 1))
_TOTALS = tuple(range(4, 18))
"""3 and 18 are triples, which have bets of their own."""
_PAIRS = tuple(low * 10 + high for low, high in combinations(_SIDES, 2))
_WORDS: Mapping[Kind, _Words] = MappingProxyType(
    {
        Kind.SMALL: _Words("small", "small", "4 to 10 but no triple"),
        Kind.BIG: _Words("big", "big", "11 to 17 but no triple"),
        Kind.ODD: _Words("odd", "odd", "an odd total but no triple"),
        Kind.EVEN: _Words("even", "even", "an even total but no triple"),
        Kind.TOTAL: _Words("total", "total", "the sum of the dice", _TOTALS),
        Kind.NUMBER: _Words(
            "single", "single number", "the number on one, two or three dice", _SIDES
        ),
        Kind.DOUBLE: _Words("double", "double", "the number on two dice at least", _SIDES),
        Kind.PAIR: _Words(
            "pair", "pair of numbers", "both numbers, whatever the third die", _PAIRS
        ),
        Kind.TRIPLE: _Words("triple", "triple", "the number on all three dice", _SIDES),
        Kind.ANY_TRIPLE: _Words("any", "any triple", "three dice alike"),
    }
)


def weight_of(throw: Throw) -> int:
    """Return in how many of the 216 ways three dice show this throw."""
    return factorial(DICE) // prod(factorial(count) for count in Counter(throw).values())


def outcome_of(seed: bytes) -> tuple[int, Throw]:
    """Return (outcome index, the three dice in the order they fell) of a 32-byte seed."""
    thrown = dice.throw(seed, DICE, "sicbo/dice")
    return _INDEX[tuple(sorted(thrown))], thrown


_INDEX = {throw: index for index, throw in enumerate(THROWS)}
OUTCOMES = Outcomes(
    names=tuple("-".join(map(str, throw)) for throw in THROWS),
    weights=tuple(map(weight_of, THROWS)),
    throw=outcome_of,
)


def load_rules(params: bytes) -> OneRollRules | str:
    """Return the rules of encoded `SicboParams` (none: the usual ones), or what is wrong.

    Whether the pays are sound is for `node.game.odds.problem`: it has to count.
    """
    options = load_options(SicboParams, GAME_NAME, params)
    if isinstance(options, str):
        return options
    return options.problem() or make_rules(options)


def make_rules(params: SicboParams) -> OneRollRules:
    """Return the rules of options without a `problem`."""
    assert (problem := params.problem()) is None, problem
    families = {
        kind.value: _family(params, kind)
        for kind in Kind
        if params.odd_even or kind not in {Kind.ODD, Kind.EVEN}
    }
    return OneRollRules(
        GAME_NAME,
        OUTCOMES,
        families,
        options=params,
        allows_unsound=bool(params.allow_unsound),
    )


def _family(params: SicboParams, kind: Kind) -> Family:
    word, name, rule, numbers = _WORDS[kind]
    shape = {_PAIRS: "NUMBER NUMBER ", (0,): ""}.get(numbers, "NUMBER ")
    return Family(
        name=name,
        form=f"{word} {shape}CHIPS",
        rule=rule,
        limits=_limits(params, kind),
        lines={
            number: Line(
                " ".join((word, *_typed(kind, number))),
                tuple(_pay(params, kind, number, throw) for throw in THROWS),
            )
            for number in numbers
        },
    )


def _typed(kind: Kind, number: int) -> tuple[str, ...]:
    """Return the number of a bet as it is typed; a pair has the lower one in the tens."""
    if kind == Kind.PAIR:
        return str(number // 10), str(number % 10)
    return (str(number),) if number else ()


def _limits(params: SicboParams, kind: Kind) -> Limits:
    match kind:
        case Kind.SMALL | Kind.BIG | Kind.ODD | Kind.EVEN:
            return params.even_money
        case Kind.TRIPLE | Kind.ANY_TRIPLE:
            return params.triple
        case _:
            return params.number


def _pay(params: SicboParams, kind: Kind, number: int, throw: Throw) -> Odds | None:
    """Return what a throw pays a bet, None if it loses: the one place that decides."""
    total, count, is_triple = sum(throw), throw.count(number), throw[0] == throw[-1]
    wins, pay = False, 1
    match kind:
        case Kind.SMALL:
            wins = total <= 10 and not is_triple
        case Kind.BIG:
            wins = total >= 11 and not is_triple
        case Kind.ODD:
            wins = total % 2 == 1 and not is_triple
        case Kind.EVEN:
            wins = total % 2 == 0 and not is_triple
        case Kind.TOTAL:
            wins, pay = total == number, params.totals[min(number, 21 - number) - 4]
        case Kind.NUMBER:
            wins, pay = count > 0, params.number_pays[max(count, 1) - 1]
        case Kind.DOUBLE:
            wins, pay = count >= 2, params.double_pay
        case Kind.PAIR:
            wins, pay = number // 10 in throw and number % 10 in throw, params.pair_pay
        case Kind.TRIPLE:
            wins, pay = count == DICE, params.triple_pay
        case Kind.ANY_TRIPLE:
            wins, pay = is_triple, params.any_triple_pay
    return Odds(pay, 1) if wins else None
