"""The demo from outside: real processes, their exit codes, and what is left behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from node.fairness import FairnessMeter
from node.game.craps.dice import NAMES, WEIGHTS, outcome_of

ROOT = Path(__file__).parent.parent.parent
SECONDS_MAX = 60
PYTHON = sys.executable


def start(*arguments: object) -> "subprocess.Popen[str]":
    """Start one command, without a terminal."""
    return subprocess.Popen(
        [PYTHON, "-m", "node", *map(str, arguments)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """Wait for a process; return its exit code, output and errors."""
    try:
        output, errors = process.communicate(timeout=SECONDS_MAX)
    finally:
        process.kill()
    return process.returncode, output, errors


def wait_until(true: Callable[[], object]) -> None:
    """Poll until something outside this process is so."""
    end = time.monotonic() + SECONDS_MAX
    while not true():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def answers(folder: Path) -> bool:
    """Say whether a node runs on the folder."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(folder / "control.sock"))
        except OSError:
            return False
    return True


def process_of(folder: Path) -> tuple[int, list[str]] | None:
    """Return process id and command line of the node that runs on a folder."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode().split("\0")[:-1]
            except OSError:
                continue
            if str(folder) in words and "--leash" in words:
                return int(entry.name), words
    return None


def running_on(folder: Path) -> tuple[int, list[str]]:
    found = process_of(folder)
    assert found is not None, "no node runs there"
    return found


def first_word(process: "subprocess.Popen[str]") -> str:
    """Wait for the first line; return what it begins with."""
    assert process.stdout is not None
    return process.stdout.readline().split()[0]


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    code, output, errors = finish(start("demo", "--rolls", 20, "--json"))
    assert code == 0, errors
    (line,) = output.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def test_four_nodes_hold_one_state_after_twenty_rolls(report: dict[str, Any]) -> None:
    assert report["agree"] is True
    assert len(report["rolls"]) >= 20
    assert len(report["state_roots"]) == len(report["heights"]) == 4
    assert len(set(report["state_roots"].values())) == 1
    assert min(report["heights"].values()) == report["height"]


def test_chips_are_conserved(report: dict[str, Any]) -> None:
    chips = report["chips"]
    assert sum(chips.values()) - chips["minted"] == chips["minted"] == 1_040_000


def test_every_roll_can_be_recomputed_with_sha_256_alone(report: dict[str, Any]) -> None:
    for roll in report["rolls"]:
        assert all(1 <= die <= 6 for die in roll["dice"])
        assert len(roll["dice"]) == 2
    for roll in report["rolls"][::7]:
        command = roll["recipe"].replace("python3", PYTHON, 1)
        done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
        assert json.loads(done.stdout) == roll["dice"]


def test_the_dice_of_the_demo_give_no_reason_to_doubt_them(report: dict[str, Any]) -> None:
    meter = FairnessMeter(NAMES, WEIGHTS)
    for roll in report["rolls"]:
        first, second = roll["dice"]
        meter.add(outcome_of(first, second))
    found = meter.report()
    assert found.rolls >= 20
    assert not found.alarm
    assert found.peak_log10 < 3


def test_latencies_are_reported(report: dict[str, Any]) -> None:
    assert 0 < report["p50_ms"] <= report["p99_ms"] < 1000 * report["seconds"]


@pytest.mark.parametrize("nodes", [1, 2, 3])
def test_few_nodes_play_by_unanimity(nodes: int) -> None:
    code, output, errors = finish(start("demo", "--nodes", nodes, "--rolls", 3))
    assert code == 0, errors
    assert f"{nodes} nodes agree at block" in output


def test_nodes_join_the_running_table_and_hold_the_same_books() -> None:
    code, output, errors = finish(start("demo", "--nodes", 1, "--join", 1, "--rolls", 30, "--json"))
    assert code == 0, errors
    report = json.loads(output)
    assert report["agree"] is True
    assert report["heights"].keys() == {"anna", "ben"}
    assert report["chips"]["minted"] == 1_020_000


def test_folders_are_kept_only_when_asked_for_and_only_new_ones(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    code, _, errors = finish(start("demo", "--nodes", 1, "--rolls", 1, "--keep", kept))
    assert code == 0, errors
    assert (kept / "anna" / "store.db").exists()
    code, output, errors = finish(start("demo", "--nodes", 1, "--rolls", 1, "--keep", kept))
    assert (code, output) == (2, "")
    assert "is not an empty folder" in errors


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--nodes", "17"], "17 is not in the range 1<=x<=16"),
        (["--nodes", "0"], "0 is not in the range"),
        (["--nodes", "9", "--join", "8"], "make 17 nodes; 16 at most"),
        (["--keep", "/dev/null/x"], "cannot make '/dev/null/x': Not a directory"),
        (["--rolls", "0"], "0 is not in the range 1<=x<=10000"),
        (["--rolls", "many"], "'many' is not a valid integer"),
    ],
)
def test_numbers_out_of_their_limits_are_refused(arguments: list[str], words: str) -> None:
    code, output, errors = finish(start("demo", *arguments))
    assert (code, output) == (2, "")
    assert words in errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_node_outlives_the_demo_however_it_ends(tmp_path: Path, number: signal.Signals) -> None:
    kept = tmp_path / "kept"
    demo = start("demo", "--nodes", 3, "--rolls", 1000, "--keep", kept)
    folders = [kept / name for name in ("anna", "ben", "carla")]
    wait_until(lambda: all(map(answers, folders)))
    for folder in folders:  # anybody on this computer can read the words of a process
        assert not any("bitcraps1:" in word for word in running_on(folder)[1])
    demo.send_signal(number)
    code, _, _ = finish(demo)
    assert code == {signal.SIGINT: 130, signal.SIGTERM: 1, signal.SIGKILL: -9}[number]
    wait_until(lambda: not any(map(process_of, folders)))


def test_a_killed_node_comes_back_with_the_same_command_and_agrees(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    demo = start("demo", "--rolls", 8, "--keep", kept)
    assert first_word(demo) == "1"
    number, words = running_on(kept / "ben")
    os.kill(number, signal.SIGKILL)
    wait_until(lambda: not answers(kept / "ben"))
    again = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        code, output, errors = finish(demo)
        assert code == 0, errors
        assert "4 nodes agree at block" in output
    finally:
        again.kill()
        again.communicate()


def test_a_node_that_stays_away_is_named_and_the_demo_fails(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    demo = start("demo", "--rolls", 12, "--keep", kept)
    assert first_word(demo) == "1"  # the rest of the rolls take longer than to find and kill a node
    number, _ = running_on(kept / "ben")
    os.kill(number, signal.SIGKILL)
    code, _, errors = finish(demo)
    assert code == 1
    assert "ben" in errors.splitlines()[-1]
