"""Folders of finished runs: the resolved scenario, the result, what happened, and tables of it."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from netsim.outcome import Outcome, Run
from netsim.scenario import format_scenario
from netsim.trace import write_happenings

SCENARIO_FILE, RESULT_FILE = "scenario.toml", "result.json"
EVENTS_FILE, TABLES_FILE = "events.jsonl", "results.sqlite"
_SCHEMA = (
    "CREATE TABLE run (name TEXT, seed INTEGER, verdict TEXT, digest TEXT, token TEXT,"
    " events INTEGER, sim_seconds REAL, wall_seconds REAL)",
    "CREATE TABLE violation (rule TEXT, text TEXT, tbl INTEGER, at_ms INTEGER)",
    "CREATE TABLE mark (name TEXT PRIMARY KEY, count INTEGER)",
    "CREATE TABLE traffic (tbl INTEGER, host INTEGER, kind TEXT, frames INTEGER, bytes INTEGER)",
)


def save_run(root: Path, outcome: Outcome, run: Run) -> Path:
    """Write a run's folder, below `root` unless it has one, and return it."""
    folder = run.folder or root / f"{outcome.name}-{outcome.seed}-{outcome.digest[:8]}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SCENARIO_FILE).write_text(format_scenario(run.resolved), encoding="utf-8")
    result = json.dumps(outcome.plain(), indent=1)
    (folder / RESULT_FILE).write_text(result + "\n", encoding="utf-8")
    write_happenings(folder / EVENTS_FILE, run.happenings)
    (folder / TABLES_FILE).unlink(missing_ok=True)
    with closing(sqlite3.connect(folder / TABLES_FILE)) as db, db:
        _fill(db, outcome, run)
    return folder


def _fill(db: sqlite3.Connection, outcome: Outcome, run: Run) -> None:
    for statement in _SCHEMA:
        db.execute(statement)
    db.execute(
        "INSERT INTO run VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            outcome.name, outcome.seed, outcome.verdict, outcome.digest, outcome.token,
            outcome.events, outcome.sim_seconds, outcome.wall_seconds,
        ),
    )  # fmt: skip
    db.executemany(
        "INSERT INTO violation VALUES (?, ?, ?, ?)",
        [(v.rule, v.text, v.table, v.at_ms) for v in outcome.violations],
    )
    db.executemany("INSERT INTO mark VALUES (?, ?)", sorted(outcome.marks.items()))
    for table, happenings in run.happenings.items():
        sums: dict[tuple[int, str], list[int]] = {}
        for one in happenings:
            if one.other >= 0:
                row = sums.setdefault((one.host, one.what), [0, 0])
                row[0] += 1
                row[1] += one.size
        db.executemany(
            "INSERT INTO traffic VALUES (?, ?, ?, ?, ?)",
            [(table, host, kind, *row) for (host, kind), row in sorted(sums.items())],
        )
