"""Reports: one file without a network, never more than 10,000 arrows, the failure in sight."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import netsim
from netsim.report import MESSAGES_MAX, RULES, ReportError, write_report
from netsim.runs import save_run
from netsim.scenario import parse_scenario
from netsim.simulation import simulate

STUCK = (
    'name = "stuck"\nduration = "4s"\n[nodes]\ncount = 4\n[liveness]\nwithin = "4s"\nrolls = 999\n'
    '[[byzantine]]\nstrategy = "silent"\nnodes = [0]\n'
    '[[fault]]\nkind = "partition"\nat = "2s"\n'
)
"""Nobody rolls so often in four seconds: the table is not as live as it was promised."""

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRAWN_MS_MAX = 2_000
TRIES = 3
"""The machine may be busy with other tests; the page is not faster than its fastest time."""


def opened(path: Path) -> str:
    """Return the page as a browser has made it, when that took no more than two seconds."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed, so nothing is opened in a browser")
    drawn_ms = []
    for _ in range(TRIES):
        page = subprocess.run(
            [
                CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1400,1000",
                f"--user-data-dir={path.parent / 'browser'}", "--dump-dom", path.as_uri(),
            ],
            capture_output=True, text=True, check=True, timeout=120,
        ).stdout  # fmt: skip
        found = re.search(r'data-drawn-ms="(\d+)"', page)
        assert found is not None, "a script of the page failed"
        drawn_ms.append(int(found[1]))
        if drawn_ms[-1] < DRAWN_MS_MAX:
            return page
    pytest.fail(f"drawn after {drawn_ms} ms, {DRAWN_MS_MAX} at most")


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
    assert sum(table["flow"]["bytes"][str(table["m"][0][2])]) > 0
    page = opened(path)
    assert ">VIOLATED</span>" in page
    assert RULES["L"] in page  # in words, for who does not know the names of rules
    assert "the last one, <b>partition</b> everywhere" in page
    assert "cheats: node 0 (silent)" in page
    assert "netsim replay netsim1:" in page


def test_every_rule_that_a_run_can_break_is_explained_in_words() -> None:
    sources = [path.read_text("utf-8") for path in Path(netsim.__file__).parent.glob("*.py")]
    raised = {
        rule for text in sources for rule in re.findall(r'ViolatedError\(\s*f?"([\w-]+)', text)
    }
    assert len(raised) > 25
    assert raised <= set(RULES), raised - set(RULES)


def test_a_report_of_a_long_run_keeps_to_its_limit(tmp_path: Path) -> None:
    scenario = parse_scenario('name = "long"\nduration = "8s"\n[nodes]\ncount = 8\n')
    outcome, run = simulate(scenario, 1, keep=40_000)
    path = write_report(save_run(tmp_path, outcome, run))
    tables = data_of(path)["tables"]
    assert isinstance(tables, dict)
    assert len(tables["0"]["m"]) == MESSAGES_MAX < tables["0"]["total"]
    assert path.stat().st_size < 1_000_000
    page = opened(path)
    assert ">HELD</span>" in page
    assert "the report has 10,000 of" in page


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="is not the folder of a run"):
        write_report(tmp_path)
