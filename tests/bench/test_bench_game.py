"""The benchmark of the game runs, prints its fields, and ends with the money of another program."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.game import ALIKE, BUSY, EIGHT, ONE, Ours, Style, crapssim_table, play_theirs

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.slow
def test_game_is_measured_from_the_command_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.game", "--json", "--runs", "1", "--rolls", "100"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    figures = json.loads(done.stdout)
    for name in (
        "eight_players_busy", "eight_players_one_style_each", "eight_players_alike", "one_player",
    ):  # fmt: skip
        assert figures[name]["rolls_per_s"] > 0
        assert figures[name]["chips_apart"] == 0
    assert figures["games_1000"]["action_p99_us"] < 1_000
    assert figures["block_of_1000"]["apply_block_ms"] > 0
    assert figures["thousand_players"]["root_us"] > 0


@pytest.mark.skipif(crapssim_table(ONE) is None, reason="crapssim is not installed")
@pytest.mark.parametrize("players", [ONE, ALIKE, EIGHT, BUSY])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_same_bets_on_the_same_dice_win_the_same_at_another_program(
    players: tuple[Style, ...], seed: int
) -> None:
    game = Ours(players, seed)
    game.play(400)
    theirs = play_theirs(players, game.dice, 1)
    assert theirs is not None
    assert game.money() == theirs.money
