"""Another game through the whole program: real processes, real links, and the proof of its dice."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SECONDS_MAX = 120


@pytest.mark.slow
def test_four_nodes_play_sicbo_and_anyone_can_recompute_its_dice(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable, "-m", "node", "demo", "--game", "sicbo", "--nodes", "4", "--rolls", "4",
            "--json", "--keep", str(tmp_path / "table"),
        ],
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS_MAX,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["agree"] is True
    assert sum(report["chips"].values()) - report["chips"]["minted"] == report["chips"]["minted"]
    for roll in report["rolls"]:
        assert len(roll["dice"]) == 3
        script = roll["recipe"].removeprefix('python3 -c "').removesuffix('"')
        again = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        )
        assert json.loads(again.stdout) == roll["dice"]
    status = subprocess.run(
        [sys.executable, "-m", "node", "status", "--data", str(tmp_path / "table" / "anna")],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "terms   sicbo, bank 1,000,000" in status.stdout
