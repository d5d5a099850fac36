"""Reports: one file without a network, never more than 10,000 arrows, the failure in sight."""

import json
import re
from pathlib import Path

import pytest

from netsim.report import MESSAGES_MAX, ReportError, write_report
from netsim.runs import save_run
from netsim.scenario import parse_scenario
from netsim.simulation import simulate

STUCK = (
    'name = "stuck"\nduration = "4s"\n[nodes]\ncount = 4\nfaulty = 4\n[liveness]\nwithin = "6s"\n'
    '[[byzantine]]\nstrategy = "silent"\nnodes = [0, 1]\n'
    '[[fault]]\nkind = "partition"\nat = "5s"\n'
).replace('"5s"', '"2s"')


def data_of(path: Path) -> dict[str, object]:
    found = re.search(r'type="application/json">(.*?)</script>', path.read_text(), re.DOTALL)
    assert found is not None
    data: dict[str, object] = json.loads(found[1])
    return data


def test_a_report_is_one_file_that_shows_the_first_violation(tmp_path: Path) -> None:
    outcome, run = simulate(parse_scenario(STUCK), 1, keep=40_000)
    assert outcome.verdict == "violated"
    path = write_report(save_run(tmp_path, outcome, run))
    text = path.read_text()
    assert not re.search(r"(?:src|href)\s*=|https?://", text)
    data = data_of(path)
    tables = data["tables"]
    assert isinstance(tables, dict)
    [table] = tables.values()
    assert any(event[2] == "violation" for event in table["e"])
    assert table["bands"]
    assert 0 < len(table["m"]) <= MESSAGES_MAX


def test_a_report_of_a_long_run_keeps_to_its_limit(tmp_path: Path) -> None:
    scenario = parse_scenario('name = "long"\nduration = "8s"\n[nodes]\ncount = 8\n')
    outcome, run = simulate(scenario, 1, keep=40_000)
    path = write_report(save_run(tmp_path, outcome, run))
    tables = data_of(path)["tables"]
    assert isinstance(tables, dict)
    assert len(tables["0"]["m"]) == MESSAGES_MAX < tables["0"]["total"]
    assert path.stat().st_size < 1_000_000


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="is not the folder of a run"):
        write_report(tmp_path)
