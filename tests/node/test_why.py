"""`bitcraps status --why` at a real node: while it runs, and from its files when it does not."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from node.cli import run_command
from node.config import Folder, write_config
from node.control import SOCKET_FILE
from node.identity import create_keys

ROOT = Path(__file__).parent.parent.parent
SECONDS_MAX = 40


def test_a_node_says_what_it_waits_for_running_or_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "anna"
    write_config(Folder(folder), "anna", "127.0.0.1:0")
    create_keys(Folder(folder).identity)
    words = ["-m", "node", "host", "--data", folder, "--name", "friday", "--seats", "1"]
    with subprocess.Popen(
        [sys.executable, *map(str, words)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=dict(os.environ),
    ) as node:  # fmt: skip
        end = time.monotonic() + SECONDS_MAX
        while not (folder / SOCKET_FILE).exists():
            assert node.poll() is None, "the node ended"
            assert time.monotonic() < end, "waited too long"
            time.sleep(0.05)
        why = ["status", "--data", str(folder), "--why"]
        assert run_command(why) == 0
        player, developer = capsys.readouterr().out.splitlines()
        assert player == (
            "the table waits for nobody's node: no game is open, anybody may begin one"
        )
        assert developer.startswith("asleep in view 1 at height 0, nothing pending")
        assert run_command([*why, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["cause"] == "players"
        node.send_signal(signal.SIGTERM)
        node.communicate(timeout=SECONDS_MAX)
    assert run_command(why) == 0
    player, developer = capsys.readouterr().out.splitlines()
    assert player.startswith("this node does not run; it stopped behind block 0: start it with")
    assert "own votes above the final block: none" in developer
