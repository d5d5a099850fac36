"""The house options: how they travel, and which contradict each other."""

import pytest

from consensus.encoding import decode_as, encode
from node.game.craps.params import CrapsParams
from node.game.craps.pays import LAY_ODDS, TRUE_ODDS
from node.game.craps.rules import CrapsRules, load_rules
from node.game.games import CRAPS, named_options
from node.game.options import Limits
from node.game.rules import GameRules, Odds


def test_usual_parameters_are_the_ones_of_the_rules_page() -> None:
    params = CrapsParams()
    assert params.problem() is None
    assert (params.bar, params.field_2, params.field_12) == (12, 2, 2)
    assert [params.odds_multiple(n) for n in (4, 5, 6, 8, 9, 10)] == [3, 4, 5, 5, 4, 3]
    assert [params.odds_multiple(n) for n in (2, 3, 11, 12)] == [1, 2, 2, 1]
    assert (params.small_tall_pay, params.all_pay) == (34, 175)


def test_parameters_survive_the_descriptor() -> None:
    params = CrapsParams(crapless=1, closed=(26,), line=Limits(5, 500), buy_numbers=(4, 10))
    assert decode_as(encode(params), CrapsParams) == params
    rules = load_rules(encode(params))
    assert isinstance(rules, CrapsRules)
    assert rules.params == params


def test_the_same_options_share_their_rules_and_no_others_do() -> None:
    usual, crapless = encode(CrapsParams()), encode(CrapsParams(crapless=1))
    assert load_rules(usual) is load_rules(b"") is load_rules(usual)
    other = load_rules(crapless)
    assert isinstance(other, CrapsRules)
    assert other is load_rules(crapless) is not load_rules(usual)
    assert other.params.crapless == 1


def test_rules_keep_to_the_seam() -> None:
    rules: GameRules = CrapsRules(CrapsParams())
    assert rules.name == "craps"
    assert len(rules.outcome_names) == len(rules.outcome_weights) == 21


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        (CrapsParams(bar=3), "bar is 3; don't pass can bar 2 or 12"),
        (CrapsParams(buy_numbers=(10, 4)), "buy_numbers is [10, 4]; numbers ascend and stand once"),
        (CrapsParams(lay_numbers=(4, 4)), "lay_numbers is [4, 4]; numbers ascend and stand once"),
        (CrapsParams(put_numbers=(2,)), "put_numbers has 2, which is no point of this game"),
        (
            CrapsParams(crapless=1, buy_numbers=(7,)),
            "buy_numbers has 7, which is no point of this game",
        ),
        (CrapsParams(closed=(27, 26)), "closed is [27, 26]; kinds ascend and stand once"),
        (CrapsParams(closed=(36,)), "closed has 36, which is no kind of bet"),
        (CrapsParams(line=Limits(0, 5)), "the limits of line are 0 to 5 chips"),
        (CrapsParams(feature=Limits(6, 5)), "the limits of feature are 6 to 5 chips"),
    ],
)
def test_options_that_contradict_are_refused(params: CrapsParams, sentence: str) -> None:
    assert params.problem() == sentence
    assert load_rules(encode(params)) == sentence


def test_bytes_that_are_no_options_are_refused() -> None:
    assert str(load_rules(b"\x80")).startswith("options of craps: ")
    assert str(load_rules(encode([1]))).startswith("options of craps: ")
    assert str(load_rules(b"\xff")).startswith("options of craps: ")


def test_options_are_read_by_name() -> None:
    assert named_options(CRAPS, {}) == CrapsParams()
    assert named_options(CRAPS, {"bar": 2, "line": [5, 50]}) == CrapsParams(
        bar=2, line=Limits(5, 50)
    )
    assert str(named_options(CRAPS, {"barr": 2})).startswith(
        "'barr' is no option of craps; the options"
    )
    assert str(named_options(CRAPS, {"bar": "2"})).startswith("options of craps: ")
    assert named_options(CRAPS, {"bar": 13}) == "options of craps: bar = 13: the most is 12"
    assert named_options(CRAPS, {"odds": [1, 2]}) == (
        "options of craps: odds = 1,2: it takes 5 numbers, not 2"
    )
    assert named_options(CRAPS, {"put_numbers": [1, 6]}) == (
        "options of craps: put_numbers = 1,6: the least is 2"
    )


def test_true_odds_are_the_chances_of_the_number_against_seven() -> None:
    for number, odds in TRUE_ODDS.items():
        ways = 6 - abs(7 - number)
        assert odds.win * ways == odds.per * 6
        assert LAY_ODDS[number] == Odds(odds.per, odds.win)
