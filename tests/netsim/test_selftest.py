"""The simulator finds planted bugs, and reports nothing without them; `netsim selftest` runs all."""

import pytest

from netsim.selftest import BUGS, budgets, clean, hunt, planted
from node.game.craps.bets import Kind
from node.game.craps.rules import CrapsRules, load_rules
from node.game.rules import BetKey

QUICK = (
    "quorum", "vote-lost", "sent-early", "both", "no-help", "no-repetition", "root", "early-reveal", "late-dealers",
    "secret-twice", "loaded-dice", "place-pay", "one-more", "late-bet", "free-chip", "contract",
    "shared-seat", "nonce", "final-lost", "credit", "hoard", "leftovers", "any-view", "any-batch", "any-roll", "blame", "unnamed", "unproposed", "unread", "unmatched", "dealt-twice", "false-share", "false-deal", "neighbour", "signature", "set-order", "impure",
)  # fmt: skip
"""Those that take about a second each."""


@pytest.mark.parametrize("name", QUICK)
def test_a_planted_bug_is_found_within_its_budget(name: str) -> None:
    [bug] = [one for one in BUGS if one.name == name]
    found = hunt(bug)
    assert found.seed is not None
    assert found.text


@pytest.mark.parametrize("scenario", budgets())
def test_without_a_bug_nothing_is_found(scenario: str) -> None:
    assert clean(scenario, 2) is None


def test_there_are_enough_bugs_with_names_of_their_own() -> None:
    assert len({bug.name for bug in BUGS}) == len(BUGS) >= 15


def test_a_wrong_pay_table_meets_no_rules_worked_out_before_it_and_leaves_none_behind() -> None:
    [bug] = [one for one in BUGS if one.name == "place-pay"]
    before = _place_six()
    with planted(bug):
        assert _place_six() != before
    assert _place_six() == before


def _place_six() -> tuple[int, ...]:
    rules = load_rules(b"")
    assert isinstance(rules, CrapsRules)
    return rules.exposure(rules.opening_board(), BetKey(Kind.PLACE, 6), working=1).per_unit
