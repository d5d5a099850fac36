"""The benchmarks run from the command line and print the fields that comparisons read."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.clients import joined
from bench.commit import PYSYNCOBJ_VARIANTS, measure_pysyncobj, spread
from bench.measures import medians, probe_fsync_ms, quantile

ROOT = Path(__file__).parent.parent.parent
COMMIT_FIELDS = {
    "ops_per_s",
    "p50_ms",
    "p99_ms",
    "cpu_s_per_1000",
    "refused",
    "frames_per_op",
    "commits_per_op",
    "signatures_per_op",
    "fsync_ms_p50",
    "ed25519_verify_per_s",
}


def run(*arguments: str) -> dict[str, object]:
    """Run a benchmark as a user does; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments, "--json"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    result: dict[str, object] = json.loads(done.stdout)
    return result


@pytest.mark.slow
def test_a_table_of_four_nodes_agrees_on_bets_and_leaves_nothing_behind(tmp_path: Path) -> None:
    arguments = ("--nodes", "4", "--clients", "8", "--seconds", "0.5", "--dir", str(tmp_path))
    result = run("bench.commit", *arguments)
    assert result.keys() >= COMMIT_FIELDS
    assert result["ops_per_s"] > 0  # type: ignore[operator]
    assert result["refused"] == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_peer_is_measured_by_the_same_clients() -> None:
    figures = measure_pysyncobj(PYSYNCOBJ_VARIANTS["batched every 2 ms"], clients=8, seconds=0.5)
    assert figures["ops_per_s"] > 0
    assert figures["refused"] == 0


@pytest.mark.slow
def test_one_bet_takes_less_than_a_millisecond_through_rules_and_books() -> None:
    result = run("bench.runtime")
    assert result["holds"] is True
    assert result["sessions"] == 1_000
    assert result["players"] == 1_000
    assert result["block_operations"] == 1_000


def test_clients_are_spread_evenly() -> None:
    assert spread(256, 4) == [64] * 4
    assert spread(6, 4) == [2, 2, 1, 1]
    assert spread(1, 4) == [1, 0, 0, 0]


def test_a_quantile_is_one_of_the_values() -> None:
    values = [float(i) for i in range(1, 101)]
    assert [quantile(values, rank) for rank in (1, 500, 990, 1000)] == [1.0, 50.0, 99.0, 100.0]
    assert quantile([7.0], 990) == 7.0
    assert quantile([], 500) == 0.0


def test_clients_of_all_nodes_are_joined() -> None:
    nodes = [
        {"latencies_us": [1000.0, 3000.0], "refused": 1},
        {"latencies_us": [2000.0], "refused": 0},
    ]
    assert joined(nodes, 2) == {
        "operations": 3, "ops_per_s": 1.5, "p50_ms": 2.0, "p99_ms": 3.0, "refused": 1,
    }  # fmt: skip


def test_medians_are_taken_field_by_field() -> None:
    runs = [
        {"a": 1, "b": 9.0, "c": "x"},
        {"a": 3, "b": 7.0, "c": "x"},
        {"a": 2, "b": 8.0, "c": "x"},
    ]
    assert medians(runs) == {"a": 2, "b": 8.0, "c": "x"}


def test_the_probe_of_the_disk_leaves_nothing(tmp_path: Path) -> None:
    assert probe_fsync_ms(tmp_path, 5) >= 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_agreement_is_measured_beside_the_signatures_that_it_needs() -> None:
    result: dict[str, Any] = run("bench.agreement", "--voters", "4")
    size = result["sizes"][0]
    assert size["ratio"] > 1
    assert size["bytes_per_block"] > 0
    assert result["catch_up"]["blocks"] >= 200


@pytest.mark.slow
def test_a_node_with_nothing_catches_up_with_real_ones_and_its_vote_counts() -> None:
    result: Any = run("bench.catch_up", "--blocks", "40", "--processes")
    assert result["by_blocks"]["executed"] == result["by_blocks"]["blocks"] >= 40
    assert result["processes_by_blocks"]["rss_mib"] > 0


@pytest.mark.slow
def test_a_bet_and_a_folder_are_proved_to_strangers_in_little_time_and_space() -> None:
    result = run("bench.proofs", "--blocks", "60")
    assert result["holds"] is True
    assert result["epochs"] == 3
    assert result["bundle_max_seals"] >= 5  # type: ignore[operator]
