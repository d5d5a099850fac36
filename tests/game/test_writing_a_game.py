"""The page on writing a game has a whole game in it: this plays it at a real table."""

import re
import types
from fractions import Fraction
from pathlib import Path

import msgspec
import pytest

from consensus.encoding import encode
from node.game.games import Choice, GameFactory, load_games
from node.game.odds import analyse, problem
from node.game.operations import PassDice, PlaceBet, Roll
from node.game.receipts import Code, describe
from node.game.rules import GameRules
from tests.game.tables import FAST, Game

PAGE = Path(__file__).parent.parent.parent / "docs" / "writing-a-game.md"
NUMBER = 3
UNDER, OVER, SEVEN = 1, 2, 3


def example() -> types.ModuleType:
    """Return the page's block of Python as the module it would be."""
    (source,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    module = types.ModuleType("example")
    exec(compile(source, str(PAGE), "exec"), module.__dict__)
    return module


FACTORY: GameFactory = example().load_rules
GAMES = {NUMBER: FACTORY}


def rules() -> GameRules:
    loaded = load_games(b"", GAMES)
    assert not isinstance(loaded, str)
    return loaded[NUMBER]


def game(**changes: object) -> Game:
    params = msgspec.structs.replace(FAST, **changes)
    return Game(players=3, params=params, games=GAMES).seated(0, 1, 2, game=NUMBER)


def outcome(total: int) -> int:
    return rules().outcome_names.index(str(total))


def test_example_plays_through_a_real_session() -> None:
    table = game()
    table.bet(0, UNDER, 10)
    table.bet(1, OVER, 10)
    table.bet(2, SEVEN, 10)
    assert table.refusal(1, Roll(0)).code == Code.NOT_THROWER
    result = table.throw(outcome(7))
    assert sum(result.dice) == 7
    assert table.racks == [9_990, 9_990, 10_040]
    assert result.next_thrower == (1,)
    table.bet(1, OVER, 10)
    table.throw(outcome(11))
    assert table.racks[1] == 10_000
    table.done((2, PassDice(0)))


def test_example_pays_every_total_as_the_page_says() -> None:
    for total in range(2, 13):
        table = game()
        for player, kind in enumerate((UNDER, OVER, SEVEN)):
            table.bet(player, kind, 10)
        table.throw(outcome(total))
        won = [10 if total < 7 else -10, 10 if total > 7 else -10, 40 if total == 7 else -10]
        assert [rack - 10_000 for rack in table.racks] == won


def test_example_is_never_taken_beyond_what_the_bank_can_pay() -> None:
    table = game(bank=39)
    assert table.refusal(0, PlaceBet(0, SEVEN, 0, 10)).code == Code.BANK
    table.bet(1, UNDER, 10)
    table.bet(0, SEVEN, 10)
    table.throw(outcome(7))
    assert table.state.bank == 39 + 10 - 40


def test_analyser_reads_the_example() -> None:
    edges = {row.bet: Fraction(row.house_edge) for row in analyse(rules())}
    # N.J.A.C. 13:47-20.33 has these pays for under/over; 15 and 6 of 36 throws win.
    assert edges == dict.fromkeys(("under", "over", "seven"), Fraction(1, 6))
    assert problem(rules()) is None


def test_example_has_its_words_and_refusals() -> None:
    assert rules().parse_bet(["seven", "5"], (), {}) == [((SEVEN, 0), 5)]
    refusal = game().refusal(0, PlaceBet(0, UNDER, 0, 1_001))
    assert describe(refusal, rules()) == "1001 chips on under: the most is 1000"


def test_example_has_a_place_in_the_terms_of_a_table() -> None:
    assert load_games(encode(Choice(NUMBER, b"\x01")), GAMES) == (
        "options of under-over: Expected `array`, got `int`"
    )


@pytest.mark.parametrize("name", [n for n in dir(GameRules) if not n.startswith("_")])
def test_page_names_every_member_of_the_seam(name: str) -> None:
    assert f"`{name}`" in PAGE.read_text(encoding="utf-8")
