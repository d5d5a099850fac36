"""The `netsim` command: `run`, `list`, `replay` and their like. A verdict is the exit code.

0: everything held. 1: a rule was broken. 2: it cannot be told. 64: the command was not understood.
"""

import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from time import perf_counter, time_ns
from typing import Any

import click

from netsim.campaign import LocalEngine, Sweep, parse_seeds, save_sweep
from netsim.outcome import Outcome, Run
from netsim.runs import save_run
from netsim.scenario import (
    SEED_MAX,
    Scenario,
    ScenarioError,
    format_scenario,
    load_scenario,
    shipped,
)
from netsim.simulation import simulate
from netsim.takings import SIGMAS_MAX
from netsim.throws import CHI_SQUARE_MAX
from netsim.tokens import TokenError, parse_token
from netsim.trace import Happening

EXIT = {"ok": 0, "violated": 1, "unknown": 2}
USAGE = 64
KEPT = 40_000
"""Happenings of a table that a single run keeps for its report."""
KEPT_ALL = 400_000
"""And of all its tables together, about 100 MiB: many tables keep the last part of theirs."""
SEED_BITS = 48
LINE_CHARS = 100
"""Of a line of progress, which the next one has to cover."""
SHOWN_MAX = 20
"""Failures of a sweep, and broken tables of a run, that are printed; the folder has all."""


_JOBS = click.IntRange(1, 1024)
_JOBS_HELP = "Processes for a run of several tables; one a core unless given."


class _UsageError(click.ClickException):
    exit_code = USAGE


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _load(name: str) -> Scenario:
    try:
        return load_scenario(name)
    except ScenarioError as error:
        raise _UsageError(str(error)) from None


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Simulate tables of craps and find what nobody thought of."""


@cli.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
def list_scenarios(as_json: bool) -> None:
    """List the scenarios that are shipped."""
    found = [(name, load_scenario(name)) for name in shipped()]
    if as_json:
        rows = [
            {"name": name, "about": one.about, "tier": one.tier, "nodes": one.nodes.count}
            for name, one in found
        ]
        click.echo(json.dumps(rows))
        return
    for name, one in found:
        click.echo(f"{name:12} {one.about}")


@cli.command()
@click.argument("scenario")
@click.option("--seed", type=click.IntRange(0, SEED_MAX),
              help="The scenario's own unless given, else random.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs"), show_default=True,
              help="Where to keep what happened.")  # fmt: skip
@click.option("--no-save", is_flag=True, help="Keep nothing.")
@click.option("--jobs", type=_JOBS, help=_JOBS_HELP)
def run(  # noqa: PLR0917  (its options)
    scenario: str, seed: int | None, as_json: bool, runs: Path, no_save: bool, jobs: int | None
) -> None:
    """Run a scenario, a shipped one by its name or a TOML file, with one seed."""
    chosen = _load(scenario)
    if seed is None:
        seed = chosen.seed
    if seed is None:
        seed = time_ns() % 2**SEED_BITS
    # No two runs of real nodes are the same, so each has a folder of its own.
    real = chosen.tier == "real" and not no_save
    own = runs / f"{chosen.name}-{seed}-{time_ns() // 1_000_000}" if real else None
    keep = 0 if no_save else min(KEPT, KEPT_ALL // chosen.tables)
    outcome, finished = _run_with_progress(chosen, seed, keep=keep, folder=own, jobs=jobs)
    folder = None if no_save else save_run(runs, outcome, finished)
    _tell(outcome, as_json=as_json, extra={"run": str(folder) if folder else ""})
    sys.exit(EXIT[outcome.verdict])


@cli.command()
@click.argument("token")
@click.option("--until", help="Stop there: 12s, 4.5s, ...")
@click.option("--node", type=int, help="Print what this node did.")
@click.option("--table", type=int, default=0, help="At which table; 0 unless given.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--jobs", type=_JOBS, help=_JOBS_HELP)
def replay(  # noqa: PLR0917  (its options)
    token: str, until: str | None, node: int | None, table: int, as_json: bool, jobs: int | None
) -> None:
    """Run again what a token names, and see that it is the same."""
    from netsim.chance import parse_length

    try:
        known = parse_token(token)
        until_ms = parse_length(until) // 1_000 if until else None
    except (TokenError, ValueError) as error:
        raise _UsageError(str(error)) from None
    if not 0 <= table < known.scenario.tables:
        raise _UsageError(f"table {table} of {known.scenario.tables}: the first is 0")
    keep = KEPT if node is not None else 0
    outcome, finished = _run_with_progress(
        known.scenario, known.seed, keep=keep, kept_table=table, until_ms=until_ms, jobs=jobs
    )
    same = until_ms is not None or outcome.digest == known.digest
    if node is not None and not as_json:
        _print_node(finished.happenings.get(table, []), node)
    _tell(outcome, as_json=as_json, extra={"same": same})
    if not same:
        click.echo(f"another run than the token's: digest {known.digest}, here {outcome.digest}; "
                   f"the token was made at {known.commit} with Python {known.python}", err=True)  # fmt: skip
        sys.exit(EXIT["unknown"])
    sys.exit(EXIT[outcome.verdict])


@cli.command()
@click.argument("scenario")
@click.option("--seeds", default="0..99", show_default=True, help="A seed, or a range 0..9999.")
@click.option("--jobs", type=_JOBS, help="Processes; one a core unless given.")
@click.option("--seconds", type=float, help="Begin no further seed after so long.")
@click.option("--engine", type=click.Choice(["local", "dask"]), default="local", show_default=True)
@click.option("--scheduler", help="Of the dask engine: tcp://HOST:PORT.")
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs"), show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def sweep(  # noqa: PLR0917  (its options)
    scenario: str,
    seeds: str,
    jobs: int | None,
    seconds: float | None,
    engine: str,
    scheduler: str | None,
    runs: Path,
    as_json: bool,
) -> None:
    """Run many seeds of a scenario; one in twenty is run by two processes and compared."""
    chosen = _load(scenario)
    try:
        numbers = parse_seeds(seeds)
    except ValueError as error:
        raise _UsageError(str(error)) from None
    if engine == "dask" and not scheduler:
        raise _UsageError("the dask engine needs --scheduler tcp://HOST:PORT")
    found = Sweep(chosen, len(numbers))
    show = _SweepProgress(found)

    def take(seed: int, result: dict[str, Any], again: bool) -> None:
        found.take(seed, result, again=again)
        show.tell(seed, result)
        show.update()

    if engine == "dask":
        from netsim.dask_engine import run_on_dask

        run_on_dask(str(scheduler), chosen, numbers, take)
    else:
        until = None if seconds is None else perf_counter() + seconds
        LocalEngine(chosen, jobs or _cores()).run(numbers, take, until, show.update)
    if seconds is not None:
        found.planned = len(found.results)
    show.clear()
    folder = save_sweep(runs, found, numbers)
    _tell_sweep(found, folder, as_json=as_json)
    sys.exit(EXIT[found.verdict])


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path))
def report(folder: Path) -> None:
    """Write one HTML file about a run: FOLDER is what `run` kept."""
    from netsim.report import ReportError, write_report

    try:
        click.echo(str(write_report(folder)))
    except ReportError as error:
        raise _UsageError(str(error)) from None


@cli.command("shrink")
@click.argument("token")
@click.option("--runs-max", type=click.IntRange(1, 100_000), default=400, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path(), show_default="here",
              help="Folder for the scenario file.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def shrink_run(token: str, runs_max: int, out: Path, as_json: bool) -> None:
    """Make a failing run small: fewer faults, nodes, seconds, and the same rule broken."""
    from netsim.shrink import shrink

    try:
        known = parse_token(token)
    except TokenError as error:
        raise _UsageError(str(error)) from None

    def say(text: str) -> None:
        if not as_json:
            click.echo(f"  {text}", err=True)

    found = shrink(known.scenario, known.seed, runs_max=runs_max, say=say)
    if found is None:
        click.echo("the run of the token breaks no rule here: nothing to shrink", err=True)
        sys.exit(EXIT["unknown"])
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"shrunk-{found.outcome.violations[0].rule}.{found.seed}.toml"
    path.write_text(format_scenario(found.scenario), encoding="utf-8")
    extra = {"file": str(path), "runs": found.runs, "faults": len(found.scenario.fault)}
    if not as_json:
        click.echo(f"{found.runs} runs; {len(found.scenario.fault)} faults are left, in {path}")
    _tell(found.outcome, as_json=as_json, extra=extra)
    sys.exit(EXIT["violated"])


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--bug", "names", multiple=True, help="Only this planted bug, and nothing else.")
def selftest(names: tuple[str, ...], as_json: bool) -> None:
    """Plant bugs and see each found within its budget; without them the same seeds pass."""
    from netsim import selftest as planted

    chosen = [bug for bug in planted.BUGS if not names or bug.name in names]
    if len(chosen) < len(names):
        raise _UsageError(f"bugs are {', '.join(bug.name for bug in planted.BUGS)}")
    rows: list[dict[str, Any]] = []
    for bug in chosen:
        found = planted.hunt(bug)
        row = {"bug": bug.name, "about": bug.about, "budget": bug.seeds,
               "seed": found.seed, "text": found.text}  # fmt: skip
        rows.append(row)
        if not as_json:
            told = "NOT FOUND" if found.seed is None else f"seed {found.seed}: {found.text[:70]}"
            click.echo(f"{bug.name:14} {bug.about:48} {told}")
    alarms = []
    for scenario, seeds in planted.budgets().items() if not names else ():
        false = planted.clean(scenario, seeds)
        if false is not None:
            alarms.append({"scenario": scenario, "seed": false.seed, "text": false.text})
        if not as_json:
            told = f"seed {false.seed}: {false.text}" if false else f"{seeds} seeds pass"
            click.echo(f"without a bug  {scenario:48} {told}")
    missed = sum(row["seed"] is None for row in rows)
    verdict = "violated" if missed or alarms else "ok"
    if as_json:
        found_all = {"verdict": verdict, "bugs": rows, "missed": missed, "false_alarms": alarms}
        click.echo(json.dumps(found_all))
    sys.exit(EXIT[verdict])


class _SweepProgress:
    """A line on the terminal: how far, how fast, how long still; above it each finding at once."""

    def __init__(self, found: Sweep) -> None:
        self._found = found
        self._last = 0.0
        self._shows = sys.stderr.isatty()

    def tell(self, seed: int, result: dict[str, Any]) -> None:
        """Say what broke, while the rest goes on."""
        if self._shows and result["violations"]:
            self.clear()
            click.echo(f"seed {seed}: {result['violations'][0]['text']}", err=True)
            self._last = 0.0

    def update(self) -> None:
        """Draw the line anew, twice a second at most."""
        now = perf_counter()
        if not self._shows or now - self._last < 0.5:
            return
        self._last = now
        told = self._found.plain()
        done, planned = told["seeds"], self._found.planned
        left_s = (now - self._found.started) / done * (planned - done) if done else 0
        left = f"{_rough(left_s)} left" if done else "the first seeds are under way"
        line = (
            f"{done:,} of {planned:,} seeds, {told['violated']} violated, {told['seeds_per_s']} "
            f"seeds/s, {told['sim_seconds_per_s']} simulated s/s, {left}"
        )
        click.echo(f"\r{line:{LINE_CHARS}}", nl=False, err=True)

    def clear(self) -> None:
        if self._shows:
            click.echo("\r" + " " * LINE_CHARS + "\r", nl=False, err=True)


def _rough(seconds: float) -> str:
    """Return a time to wait as a person says it."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3_600:.1f} h"


def _tell_sweep(found: Sweep, folder: Path, *, as_json: bool) -> None:
    told = {**found.plain(), "run": str(folder)}
    if as_json:
        click.echo(json.dumps(told))
        return
    click.echo(
        f"{told['name']}: {told['verdict']}\n"
        f"  {told['seeds']:,} seeds: {told['ok']:,} ok, {told['violated']:,} violated, "
        f"{told['unknown']:,} that prove nothing; {told['run_twice']} run twice, "
        f"{len(told['mismatches'])} differ\n"
        f"  {told['events']:,} events, {told['sim_seconds']:,} s simulated in "
        f"{told['wall_seconds']:,} s: {told['seeds_per_s']} seeds/s, {told['sim_seconds_per_s']} s/s"
    )
    marks = ", ".join(f"{name} {count:,}" for name, count in told["marks"].items() if count)
    click.echo(f"  {marks}")
    for strategy, dice in told["dice"].items():
        if dice["throws"]:
            click.echo(f"  {_tell_dice(strategy, dice)}")
    if told["dice"]:
        fair = f"no alarm below a chi-square of {CHI_SQUARE_MAX:.0f} and {SIGMAS_MAX} sigma"
        click.echo(f"  {told['dice_alarm'] or fair}")
    for one in told["failures"][:SHOWN_MAX]:
        click.echo(f"  seed {one['seed']} at {one['at_ms']} ms: {one['text']}\n    {one['token']}")
    for seed in told["mismatches"][:SHOWN_MAX]:
        click.echo(f"  seed {seed}: two processes, two runs")
    click.echo(f"  kept in {folder}")


def _tell_dice(strategy: str, dice: Mapping[str, Any]) -> str:
    """Return one line: what fell, and what each bet came to for a chip, beside the odds."""
    bets = [
        f"{name} {one['found']:+.2%} of {one['chips']:,} chips "
        f"({one['odds']:+.2%}, {one['sigmas']:+.1f} sigma)"
        for name, one in dice["bets"].items()
    ]
    thrown = f"{strategy}: {dice['throws']:,} throws, chi-square {dice['chi_square']}"
    return "; ".join((thrown, *bets))


def _run_with_progress(
    scenario: Scenario,
    seed: int,
    *,
    keep: int,
    kept_table: int | None = None,
    until_ms: int | None = None,
    folder: Path | None = None,
    jobs: int | None = None,
) -> tuple[Outcome, Run]:
    started = last = perf_counter()
    shows = sys.stderr.isatty()

    def progress(now_ms: int) -> None:
        nonlocal last
        now = perf_counter()
        if shows and now - last > 0.5:
            last = now
            rate = now_ms / 1000 / (now - started)
            left = max(scenario.duration.ms - now_ms, 0) / 1000 / rate
            click.echo(f"\r{now_ms / 1000:.0f} s simulated, {rate:.1f} s/s, {left:.0f} s left   ",
                       nl=False, err=True)  # fmt: skip

    found = simulate(
        scenario,
        seed,
        keep=keep,
        kept_table=kept_table,
        until_ms=until_ms,
        progress=progress,
        folder=folder,
        jobs=jobs or _cores(),
    )
    if shows:
        click.echo("\r" + " " * 60 + "\r", nl=False, err=True)
    return found


def _print_node(happenings: Iterable[Happening], node: int) -> None:
    for one in happenings:
        if node in {one.host, one.other}:
            way = f" -> {one.other} at {one.at_ms} ({one.size} bytes)" if one.other >= 0 else ""
            click.echo(f"{one.ms:>9} ms  {one.host:>3} {one.what}{way} {one.text}")


def _tell(outcome: Outcome, *, as_json: bool, extra: dict[str, Any]) -> None:
    if as_json:
        click.echo(json.dumps({**outcome.plain(), **extra}))
        return
    speed = outcome.events / max(outcome.wall_seconds, 1e-6)
    lived = "lived" if outcome.note else "simulated"
    click.echo(
        f"{outcome.name} seed {outcome.seed}: {outcome.verdict}\n"
        f"  {outcome.sim_seconds:.1f} s {lived} in {outcome.wall_seconds:.2f} s, "
        f"{outcome.events:,} events, {speed:,.0f} events/s"
    )
    if outcome.note:
        click.echo(f"  {outcome.note}")
    told = ", ".join(f"{name} {count:,}" for name, count in sorted(outcome.marks.items()) if count)
    click.echo(f"  {told}")
    for missing in outcome.missing:
        click.echo(f"  cannot tell: no {missing}")
    for one in outcome.violations[:SHOWN_MAX]:
        click.echo(f"  table {one.table} at {one.at_ms} ms: {one.text}")
    if len(outcome.violations) > SHOWN_MAX:
        click.echo(f"  and {len(outcome.violations) - SHOWN_MAX} more tables")
    if extra.get("run"):
        click.echo(f"  kept in {extra['run']}")
    click.echo(f"  replay {outcome.token}")


def main() -> None:
    """Run the command line; a command that is not understood ends with 64."""
    try:
        code = cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = USAGE
    except OSError as error:
        click.echo(f"Error: {error.strerror}: {error.filename}", err=True)
        code = USAGE
    except click.Abort:
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
