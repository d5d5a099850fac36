"""One HTML file for a run: lanes, arrows, bands of faults, the first violation. It needs no network."""

import json
from importlib import resources
from pathlib import Path
from typing import Any

from netsim.runs import EVENTS_FILE, RESULT_FILE, SCENARIO_FILE
from netsim.scenario import AnyFault, Scenario, nodes_named, parse_scenario
from netsim.trace import Happening, read_happenings

MESSAGES_MAX = 10_000
"""Arrows of one report: what a browser draws at once, and more than a person looks at."""
REPORT_FILE = "report.html"


class ReportError(Exception):
    """A folder that is not one of a run."""


def write_report(folder: Path) -> Path:
    """Write `report.html` beside what a run left in `folder`, and return it.

    Raises:
        ReportError: Something of the run is missing or cannot be read.
    """
    try:
        result = json.loads((folder / RESULT_FILE).read_text(encoding="utf-8"))
        scenario = parse_scenario((folder / SCENARIO_FILE).read_text(encoding="utf-8"))
        happenings: dict[int, list[Happening]] = {}
        for table, one in read_happenings(folder / EVENTS_FILE):
            happenings.setdefault(table, []).append(one)
    except (OSError, ValueError, TypeError) as error:
        raise ReportError(f"{folder} is not the folder of a run: {error}") from None
    kinds: dict[str, int] = {}
    broken = {one["table"]: one["at_ms"] for one in reversed(result["violations"])}
    chosen = [table for table in happenings if table in broken] or list(happenings)[:1]
    share = MESSAGES_MAX // max(len(chosen), 1)
    data = {
        "result": result,
        "tables": {
            table: _table(scenario, table, happenings[table], broken.get(table), share, kinds)
            for table in chosen
        },
        "kinds": list(kinds),
    }
    template = resources.files("netsim").joinpath(REPORT_FILE).read_text(encoding="utf-8")
    title = f"{result['name']}, seed {result['seed']}: {result['verdict']}"
    # "</" would end the script that holds the data.
    text = json.dumps(data, separators=(",", ":")).replace("</", "<\\/")
    path = folder / REPORT_FILE
    html = template.replace("__TITLE__", title).replace("__DATA__", text)
    path.write_text(html, encoding="utf-8")
    return path


def _table(  # noqa: PLR0917  (one table, and what its report may take)
    scenario: Scenario,
    table: int,
    happenings: list[Happening],
    broken_ms: int | None,
    most: int,
    kinds: dict[str, int],
) -> dict[str, Any]:
    """Return what one table's lanes show: the messages around the failure, else the last ones."""
    messages = [one for one in happenings if one.other >= 0]
    total = len(messages)
    until_ms = broken_ms + 50 if broken_ms is not None else None
    before = [one for one in messages if until_ms is None or one.ms <= until_ms]
    kept = before[-most:]
    first_ms = kept[0].ms if kept else 0
    last_ms = max([one.ms for one in kept], default=0) + 100
    marks = [one for one in happenings if one.other < 0 and one.ms >= first_ms]
    last_ms = max([last_ms, *(one.ms for one in marks if one.what == "violation")])
    faults = [one for one in scenario.fault if not one.tables or table in one.tables]
    bad = [
        node
        for one in scenario.byzantine
        if not one.tables or table in one.tables
        for node in one.nodes
    ]
    return {
        "hosts": scenario.table + scenario.nodes.newcomers,
        "damaged": bad,
        "from": first_ms,
        "to": last_ms,
        "total": total,
        "m": [
            [
                one.ms,
                one.host,
                kinds.setdefault(one.what, len(kinds)),
                one.other,
                one.at_ms,
                one.size,
            ]
            for one in kept
        ],
        "e": [[one.ms, one.host, one.what, one.text] for one in marks],
        "bands": [band for one in faults for band in _bands(one, first_ms, last_ms)],
    }


def _bands(fault: AnyFault, first_ms: int, last_ms: int) -> list[list[int]]:
    begin_ms = fault.at.first_us // 1_000
    end_ms = begin_ms + fault.duration.mean_us // 1_000
    if end_ms < first_ms or begin_ms > last_ms:
        return []
    span = [max(begin_ms, first_ms), min(end_ms, last_ms)]
    return [[*span, node] for node in nodes_named(fault) or (-1,)]
