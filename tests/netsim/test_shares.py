"""Tables of one run shared out over processes: the same run, who dies is named, nobody is left."""

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from netsim import shares
from netsim.outcome import Ended, Outcome, Run, Violation
from netsim.scenario import parse_scenario
from netsim.simulation import merged, simulate
from tests.netsim.test_netsim_cli import netsim

TABLES = """
name = "tables"
duration = "2s"
[nodes]
count = 12
table = 4
[liveness]
rolls = 0
[expect]
bets = 0
rolls = 0
[[fault]]
kind = "crash"
at = "500ms..1500ms"
"""
STUCK = TABLES.replace("table = 4", "table = 4\nfaulty = 2").replace(
    "[liveness]", "[liveness]\nwithin = '3s'"
) + ("[[byzantine]]\nstrategy = 'silent'\nnodes = [0, 1]\ntables = [1]\n")
"""At one of three tables so many hosts say nothing that the others cannot go on."""
WORKER = "import os, netsim.shares as s\nrun = s.run_table\n{}\ns.work()\n"


def shared(text: str, jobs: int, *, until_ms: int | None = None) -> tuple[Outcome, Run]:
    return simulate(parse_scenario(text), 1, keep=500, until_ms=until_ms, jobs=jobs)


def what_came(outcome: Outcome, run: Run) -> tuple[object, ...]:
    told = {**outcome.plain(), "wall_seconds": 0, "events_per_s": 0}
    return told, run.happenings


def test_a_run_is_the_same_whoever_runs_its_tables() -> None:
    runs = [what_came(*shared(TABLES, jobs)) for jobs in (1, 2, 3)]
    told, happenings = runs[0]
    assert isinstance(told, dict)
    assert told["verdict"] == "ok"
    assert told["marks"]["crashes"] == 3
    assert isinstance(happenings, dict)
    assert list(happenings) == [0, 1, 2]
    assert all(one == other for one, other in pairwise(runs))


def test_a_run_cut_short_is_the_same_too() -> None:
    alone, together = (shared(TABLES, jobs, until_ms=700)[0] for jobs in (1, 2))
    assert (alone.digest, alone.verdict) == (together.digest, "unknown")
    assert together.missing == ("the end",)
    assert together.sim_seconds == 0.7


def test_a_rule_broken_at_one_table_is_told_with_the_table() -> None:
    outcome, _ = shared(STUCK, 2)
    assert outcome.verdict == "violated"
    assert [(one.rule, one.table) for one in outcome.violations] == [("L", 1)]


def test_violations_are_told_in_the_order_of_virtual_time() -> None:
    scenario = parse_scenario(TABLES)
    run = Run(scenario, scenario, 1)
    ends = [
        Ended(
            table=table, digest="00", events=1, now_ms=at_ms, marks={}, done=True, dice={},
            violation=Violation("L", "late", table, at_ms), happenings=[],
        )
        for table, at_ms in enumerate((900, 300, 300))
    ]  # fmt: skip
    assert [one.table for one in merged(run, ends).violations] == [1, 2, 0]


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_happened_may_be_kept_of_one_table_alone(jobs: int) -> None:
    _, run = simulate(parse_scenario(TABLES), 1, keep=500, kept_table=1, until_ms=500, jobs=jobs)
    assert [bool(kept) for kept in run.happenings.values()] == [False, True, False]


def test_the_table_whose_process_dies_is_named_and_the_others_are_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dies = "s.run_table = lambda r, t, *a: os.kill(os.getpid(), 9) if t == 1 else run(r, t, *a)"
    monkeypatch.setattr(shares, "_WORKER", WORKER.format(dies))
    outcome, run = shared(TABLES, 2)
    assert outcome.verdict == "unknown"
    assert outcome.missing == ("end of table 1: its process died (exit -9)",)
    assert list(run.happenings) == [0, 2]
    monkeypatch.setattr(shares, "_WORKER", "import os; os._exit(3)")
    outcome, _ = shared(TABLES, 2)
    assert outcome.verdict == "unknown"
    assert set(outcome.missing) == {
        "end of table 0: its process died (exit 3)",
        "end of table 1: its process died (exit 3)",
        "run of tables 2 to 2: no process was left for them",
    }


def test_no_process_is_left_when_a_run_is_interrupted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tells = f"open('{tmp_path}/' + str(os.getpid()), 'x').close()"
    monkeypatch.setattr(shares, "_WORKER", WORKER.format(tells))
    heard: list[int] = []

    def interrupt(now_ms: int) -> None:
        heard.append(now_ms)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(parse_scenario(TABLES), 1, progress=interrupt, jobs=2)
    assert len(heard) == 1
    pids = [int(path.name) for path in tmp_path.iterdir()]
    assert pids
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_process_whose_maker_is_gone_ends_without_a_word() -> None:
    order = msgspec.json.encode(shares.Order(TABLES, 1, 0, None, None))
    with subprocess.Popen(
        [sys.executable, "-c", WORKER.format("")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as worker:  # fmt: skip
        assert worker.stdout is not None
        worker.stdout.close()
        _, told = worker.communicate(order + b"\n0\n1\n2\n")
    assert (worker.returncode, told) == (1, b"")


def test_a_token_of_several_tables_is_replayed_and_shows_a_node_of_one(tmp_path: Path) -> None:
    file = tmp_path / "tables.toml"
    file.write_text(TABLES)
    words = ("run", str(file), "--seed", "1", "--json", "--runs", str(tmp_path), "--jobs", "2")
    code, out, err = netsim(*words)
    assert (code, err) == (0, "")
    first = json.loads(out)
    lines = (Path(first["run"]) / "events.jsonl").read_text().splitlines()
    assert {json.loads(line)[0] for line in lines} == {0, 1, 2}
    again = ("replay", first["token"], "--node", "1", "--table", "2", "--jobs", "3")
    code, out, _ = netsim(*again, hash_seed="5")
    assert code == 0
    assert " 1 boot" in out
    code, _, err = netsim("replay", first["token"], "--node", "1", "--table", "3")
    assert code == 64
    assert "table 3 of 3" in err
