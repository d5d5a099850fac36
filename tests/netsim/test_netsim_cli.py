"""The `netsim` command as scripts call it: exit codes, JSON, tokens, the same run everywhere."""

import json
import os
import subprocess
import sys
from pathlib import Path

QUICK = """
name = "quick"
duration = "6s"
[nodes]
count = 4
"""
VOID = QUICK + '[workload]\nkind = "idle"\n[expect]\nmarks = ["epochs"]\n'


def netsim(*words: str, hash_seed: str = "0", cwd: Path | None = None) -> tuple[int, str, str]:
    found = subprocess.run(
        [sys.executable, "-m", "netsim", *words],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
    )
    return found.returncode, found.stdout, found.stderr


def test_a_run_is_one_json_object_and_its_token_repeats_it_in_another_process(
    tmp_path: Path,
) -> None:
    file = tmp_path / "quick.toml"
    file.write_text(QUICK)
    words = ("run", str(file), "--seed", "7", "--json", "--runs", str(tmp_path / "runs"))
    code, out, err = netsim(*words, hash_seed="1")
    assert (code, err) == (0, "")
    first = json.loads(out)
    assert first["verdict"] == "ok"
    assert first["violations"] == []
    assert first["seed"] == 7
    assert first["events"] > 500
    assert first["sim_seconds"] >= 6
    assert {"digest", "wall_seconds", "token", "run"} <= set(first)
    folder = Path(first["run"])
    assert {path.name for path in folder.iterdir()} == {
        "scenario.toml",
        "result.json",
        "events.jsonl",
        "results.sqlite",
    }
    file.unlink()  # the token holds all of it
    code, out, _ = netsim("replay", first["token"], "--json", hash_seed="2")
    again = json.loads(out)
    assert code == 0
    assert again["same"]
    assert again["digest"] == first["digest"]
    code, out, _ = netsim("replay", first["token"], "--until", "2s", "--node", "1")
    assert code == 2  # cut short, so it cannot tell
    assert " 1 boot" in out


def test_a_run_that_proves_nothing_cannot_tell(tmp_path: Path) -> None:
    file = tmp_path / "void.toml"
    file.write_text(VOID)
    code, out, _ = netsim("run", str(file), "--seed", "1", "--json", "--no-save")
    assert code == 2
    assert json.loads(out)["verdict"] == "unknown"
    assert json.loads(out)["missing"] == ["mark epochs"]


def test_what_is_not_understood_ends_with_64(tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text(QUICK + "[link]\nloss = 3\n")
    code, _, err = netsim("run", str(bad))
    assert code == 64
    assert "line 7: Expected `float` <= 1.0, not 3 (link.loss)" in err
    for words in (
        ("run",),
        ("run", "nonesuch"),
        ("run", "party", "--seed", "x"),
        ("dance",),
        ("replay", "netsim1:x"),
        ("replay", "netsim1:party.000000000000:1:-:3.11:00"),
    ):
        assert netsim(*words)[0] == 64, words
    code, _, err = netsim("run", "idle", "--runs", str(bad))
    assert (code, err.count("\n")) == (64, 1)
    assert f"Not a directory: {bad}" in err


def test_the_list_names_what_is_shipped() -> None:
    code, out, _ = netsim("list", "--json")
    assert code == 0
    rows = json.loads(out)
    assert all(row["name"] and row["about"] for row in rows)
    names = {row["name"] for row in rows}
    assert {
        "party",
        "phones",
        "cities",
        "partition",
        "crashes",
        "equivocator",
        "coalition",
    } <= names
    assert {"flood", "churn", "idle", "thousand", "swarm"} <= names
