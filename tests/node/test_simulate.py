"""Strategies over many hands: the same every time, and what the exact odds foretell."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from node.commands.simulate import percentile
from node.game.games import CRAPS, SICBO, encode_choice, rules_of_table
from node.game.odds import analyse_wagers
from node.game.params import GameParams
from node.simulation import Plan, simulate
from node.strategies import STRATEGIES

ROOT = Path(__file__).parent.parent.parent


def plan(game: int, names: Iterable[str], **changes: Any) -> Plan:
    fields: dict[str, Any] = {
        "params": GameParams(),
        "rules": rules_of_table(encode_choice(game)),
        "names": tuple(names),
        "hands": 100,
        "sitting": 10,
        "buy_in": 500,
        "seed": 1,
        **changes,
    }
    return Plan(**fields)


def bitcraps(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "node", *words],
        cwd=ROOT, env={**os.environ, "BITCRAPS_HOME": str(folder)}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("game", [CRAPS, SICBO])
def test_the_same_plan_has_the_same_result_and_another_seed_another(game: int) -> None:
    names = list(STRATEGIES[game])
    first, again, other = (simulate(plan(game, names, seed=seed)) for seed in (3, 3, 4))
    assert first == again
    assert first != other
    assert first.hands == 100
    assert all(len(outcome.money) == 10 for outcome in first.outcomes)
    assert all(len(sitting) == 11 for outcome in first.outcomes for sitting in outcome.money)


def test_the_dice_do_not_depend_on_who_plays() -> None:
    alone = simulate(plan(CRAPS, ["pass"]))
    company = simulate(plan(CRAPS, ["pass", "random", "dont"]))
    assert alone.rolls == company.rolls
    assert alone.outcomes[0] == company.outcomes[0]


def test_only_the_tester_is_refused_for_more_than_an_empty_rack() -> None:
    result = simulate(plan(CRAPS, [name for name in STRATEGIES[CRAPS] if name != "random"]))
    assert [o.name for o in result.outcomes if o.refused] == ["illegal"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("game", "name", "wagers"),
    [
        (SICBO, "small", ["small:10"]),
        (SICBO, "numbers", ["single 2:5", "single 4:5", "single 6:5", "pair 2 4:2"]),
    ],
)
def test_what_is_lost_on_average_is_what_the_exact_edge_says(
    game: int, name: str, wagers: list[str]
) -> None:
    played = plan(game, [name], hands=10_000, sitting=10_000, buy_in=10**6)
    (outcome,) = simulate(played).outcomes
    found = analyse_wagers(played.rules, wagers)
    assert not isinstance(found, str), found
    (odds,) = found
    stake = sum(int(text.rpartition(":")[2]) for text in wagers)
    lost = outcome.money[0][0] - outcome.money[0][-1]
    expected = Fraction(odds.house_edge) * stake * played.hands
    deviation = float(odds.standard_deviation) * stake * played.hands**0.5
    assert abs(lost - expected) < 4 * deviation


def test_ruin_is_having_nothing_left_to_bet() -> None:
    (outcome,) = simulate(plan(CRAPS, ["pass"], buy_in=30, sitting=50, hands=500)).outcomes
    ruined = [money for money in outcome.money if money[-1] < 10]
    assert 0 < outcome.ruined == len(ruined)
    assert all(chips >= 0 for money in outcome.money for chips in money)


def test_percentiles_are_of_the_nearest_rank() -> None:
    values = list(range(1, 101))
    assert [percentile(values, p) for p in (5, 25, 50, 75, 95)] == [5, 25, 50, 75, 95]
    assert percentile([7], 5) == percentile([7], 95) == 7


def test_command_prints_percentiles_and_ruin_as_json_and_as_a_table(tmp_path: Path) -> None:
    words = ("simulate", "--strategy", "pass,dont", "--hands", "40", "--seed", "9")
    done = bitcraps(tmp_path, *words, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    facts = json.loads(done.stdout)
    assert (facts["hands"], facts["sittings"], facts["seed"]) == (40, 2, 9)
    for figures in facts["strategies"].values():
        assert figures["p5"] <= figures["p25"] <= figures["median"] <= figures["p75"]
        assert figures["p75"] <= figures["p95"]
        assert 0 <= figures["ruin"] <= 1
    assert json.loads(bitcraps(tmp_path, *words, "--json").stdout) == facts
    table = bitcraps(tmp_path, *words).stdout
    assert str(facts["strategies"]["pass"]["median"]) in table
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--strategy", "lucky"], "'lucky' is no strategy of craps; try pass, place"),
        (["--strategy", "pass", "--game", "sicbo"], "'pass' is no strategy of sicbo"),
        (["--strategy", "pass,pass"], "name each strategy once"),
        (["--strategy", "pass", "--hands", "0"], "0 is not in the range"),
        (["--strategy", "pass", "--table", "nowhere"], "does not exist"),
        ([], "Missing option '--strategy'"),
    ],
)
def test_words_that_cannot_be_used_are_refused_in_one_sentence(
    tmp_path: Path, words: list[str], sentence: str
) -> None:
    done = bitcraps(tmp_path, "simulate", *words)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert sentence in line


def test_drawing_without_its_library_is_refused_in_one_sentence(tmp_path: Path) -> None:
    words = ["simulate", "--strategy", "pass", "--hands", "9", "--plot", str(tmp_path / "x.png")]
    code = "import sys; sys.modules['matplotlib'] = None; from node.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=ROOT, env={**os.environ, "BITCRAPS_HOME": str(tmp_path)}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "bitcraps: --plot needs matplotlib, which is not installed: pip install 'bitcraps[plots]'\n"
    )


def test_a_drawing_is_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    words = ("--strategy", "pass,dont", "--hands", "40", "--sitting", "10", "--plot", str(path))
    assert bitcraps(tmp_path, "simulate", *words).returncode == 0
    assert path.read_bytes().startswith(b"\x89PNG")
