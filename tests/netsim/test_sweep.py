"""Sweeps: all seeds, twice where it is promised; who dies or hangs is named; what fails is kept."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import pytest

from netsim import campaign
from netsim.campaign import LocalEngine, Sweep, parse_seeds, save_sweep
from netsim.scenario import parse_scenario
from netsim.shrink import shrink
from netsim.simulation import simulate
from tests.netsim.test_netsim_cli import QUICK, netsim
from tests.netsim.test_report import STUCK

SHORT = QUICK.replace('"6s"', '"2s"') + "[expect]\nbets = 0\nrolls = 0\n[liveness]\nrolls = 0\n"


def swept(seeds: range, text: str = SHORT) -> Sweep:
    found = Sweep(parse_scenario(text), len(seeds))
    engine = LocalEngine(found.scenario, 2)
    engine.run(seeds, lambda seed, result, again: found.take(seed, result, again=again))
    return found


def test_a_sweep_runs_each_seed_and_one_in_twenty_in_two_processes(tmp_path: Path) -> None:
    found = swept(range(38, 46))
    assert sorted(found.results) == list(range(38, 46))
    assert list(found.again) == [40]
    assert found.mismatches == []
    assert found.plain()["violated"] == 0
    folder = save_sweep(tmp_path, found, range(38, 46))
    with closing(sqlite3.connect(folder / "results.sqlite")) as db:
        rows = db.execute("SELECT seed, verdict, again = digest FROM seed WHERE again != ''")
        assert rows.fetchall() == [(40, "ok", 1)]


def test_two_runs_that_differ_are_a_finding() -> None:
    found = swept(range(40, 41))
    assert found.verdict != "violated"
    found.again[40] = "0" * 32
    assert found.mismatches == [40]
    assert found.verdict == "violated"


def test_the_seed_whose_worker_dies_is_named_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dies = (
        "import os, netsim.campaign as c\n"
        "run = c.run_seed\n"
        f"c.run_seed = lambda t, s: os.kill(os.getpid(), {signal.SIGKILL}) if s == 3 else run(t, s)\n"
        "c.work()"
    )
    monkeypatch.setattr(campaign, "_WORKER", dies)
    found = swept(range(1, 6))
    assert sorted(found.results) == [1, 2, 3, 4, 5]
    [failure] = found.plain()["failures"]
    assert (failure["seed"], failure["rule"]) == (3, "died")


def test_a_seed_that_hangs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    hangs = (
        "import time, netsim.campaign as c\n"
        "run = c.run_seed\n"
        "c.run_seed = lambda t, s: time.sleep(60) if s == 2 else run(t, s)\n"
        "c.work()"
    )
    monkeypatch.setattr(campaign, "_WORKER", hangs)
    monkeypatch.setattr(campaign, "SEED_SECONDS_MAX", 8)
    found = swept(range(1, 4))
    [failure] = found.plain()["failures"]
    assert (failure["seed"], failure["rule"]) == (2, "hung")


def test_a_terminal_shows_how_far_how_fast_and_what_broke_meanwhile(tmp_path: Path) -> None:
    file = tmp_path / "stuck.toml"
    file.write_text(STUCK)
    near, far = os.openpty()
    words = ["sweep", str(file), "--seeds", "1..3", "--runs", str(tmp_path), "--jobs", "1"]
    with (
        os.fdopen(near, "rb") as terminal,
        subprocess.Popen(
            [sys.executable, "-m", "netsim", *words], stderr=far, stdout=subprocess.PIPE
        ) as run,
    ):
        os.close(far)
        shown = b""
        with suppress(OSError):  # the end of a terminal
            while piece := terminal.read1():
                shown += piece
        run.communicate()
    text = shown.decode()
    assert run.returncode == 1
    assert re.search(
        r"\r\d of 3 seeds, \d violated, [\d.]+ seeds/s, [\d.]+ simulated s/s, \d+ s left", text
    )
    assert "seed 2: L " in text


def test_the_command_tells_its_verdict_and_where_it_kept_everything(tmp_path: Path) -> None:
    file = tmp_path / "short.toml"
    file.write_text(QUICK)
    words = ("sweep", str(file), "--seeds", "0..2", "--jobs", "2", "--json")
    code, out, err = netsim(*words, "--runs", str(tmp_path))
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert (told["seeds"], told["ok"], told["run_twice"]) == (3, 3, 1)
    assert (Path(told["run"]) / "results.sqlite").exists()
    assert netsim("sweep", str(file), "--seeds", "3..1")[0] == 64
    assert netsim("sweep", str(file), "--engine", "dask")[0] == 64


def test_seeds_are_a_number_or_a_range() -> None:
    assert parse_seeds("0..3") == range(4)
    assert parse_seeds("7") == range(7, 8)
    for text in ("", "..", "3..1", "a..b", "1..", "-1"):
        with pytest.raises(ValueError, match=r"seed|ends"):
            parse_seeds(text)


def test_a_failing_run_shrinks_to_what_matters() -> None:
    text = (
        'name = "stuck"\nduration = "8s"\n[nodes]\ncount = 5\nfaulty = 4\n[link]\nloss = 0.01\n'
        '[liveness]\nwithin = "20s"\n[[byzantine]]\nstrategy = "silent"\nnodes = [0, 1]\n'
        '[[fault]]\nkind = "crash"\nat = "1s..3s"\nevery = "1s"\n'
        '[[fault]]\nkind = "partition"\nat = "2s"\n'
    )
    scenario = parse_scenario(text)
    outcome, _ = simulate(scenario, 1)
    assert outcome.violations[0].rule == "L"
    found = shrink(scenario, 1, runs_max=60)
    assert found is not None
    assert found.scenario.fault == ()
    assert found.outcome.violations[0].rule == "L"
    assert len(found.scenario.byzantine) == 2 or found.scenario.nodes.count < 5
