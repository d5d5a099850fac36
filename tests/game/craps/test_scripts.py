"""Whole hands of craps as scripts that a dealer could read; see `script` for the words."""

from pathlib import Path

import pytest

from tests.game.craps.script import play

SCRIPTS = sorted((Path(__file__).parents[2] / "data" / "craps").glob("*.txt"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_script_comes_to_what_it_says(path: Path, request: pytest.FixtureRequest) -> None:
    text = path.read_text(encoding="utf-8")
    if request.config.getoption("--rewrite", default=False):
        path.write_text(play(text), encoding="utf-8")
        return
    assert play(text) == text


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) >= 10
