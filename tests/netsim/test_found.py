"""Runs in which the simulator once found something. Each file is the run; its name ends in the seed."""

from pathlib import Path

import pytest

from netsim.scenario import parse_scenario
from netsim.simulation import simulate

FOUND = sorted((Path(__file__).parent / "found").glob("*.toml"))


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_what_was_found_once_is_not_there_any_more(path: Path) -> None:
    seed = int(path.stem.rpartition(".")[2])
    outcome, _ = simulate(parse_scenario(path.read_text(encoding="utf-8"), path.name), seed)
    assert outcome.violations == ()
