"""The `netsim` command: `run`, `list`, `replay` and their like. A verdict is the exit code.

0: everything held. 1: a rule was broken. 2: it cannot be told. 64: the command was not understood.
"""

import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from netsim.runs import save_run
from netsim.scenario import Scenario, ScenarioError, load_scenario, shipped
from netsim.simulation import Outcome, Run, simulate
from netsim.tokens import TokenError, parse_token
from netsim.trace import Happening

EXIT = {"ok": 0, "violated": 1, "unknown": 2}
USAGE = 64
KEPT = 40_000
"""Happenings of each table that a single run keeps for its report."""
SEED_BITS = 48


class _UsageError(click.ClickException):
    exit_code = USAGE


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
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="Random unless given.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs"), show_default=True,
              help="Where to keep what happened.")  # fmt: skip
@click.option("--no-save", is_flag=True, help="Keep nothing.")
def run(scenario: str, seed: int | None, as_json: bool, runs: Path, no_save: bool) -> None:
    """Run a scenario, a shipped one by its name or a TOML file, with one seed."""
    chosen = _load(scenario)
    if seed is None:
        seed = time.time_ns() % 2**SEED_BITS
    outcome, finished = _run_with_progress(chosen, seed, keep=0 if no_save else KEPT)
    folder = None if no_save else save_run(runs, outcome, finished)
    _tell(outcome, as_json=as_json, extra={"run": str(folder) if folder else ""})
    sys.exit(EXIT[outcome.verdict])


@cli.command()
@click.argument("token")
@click.option("--until", help="Stop there: 12s, 4.5s, ...")
@click.option("--node", type=int, help="Print what this node did.")
@click.option("--table", type=int, default=0, help="At which table; 0 unless given.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def replay(token: str, until: str | None, node: int | None, table: int, as_json: bool) -> None:
    """Run again what a token names, and see that it is the same."""
    from netsim.chance import parse_length

    try:
        known = parse_token(token)
        until_ms = parse_length(until) // 1_000 if until else None
    except (TokenError, ValueError) as error:
        raise _UsageError(str(error)) from None
    keep = KEPT if node is not None else 0
    outcome, finished = _run_with_progress(known.scenario, known.seed, keep=keep, until_ms=until_ms)
    same = until_ms is not None or outcome.digest == known.digest
    if node is not None and not as_json:
        _print_node(finished.tables[table].trace.happenings(), node)
    _tell(outcome, as_json=as_json, extra={"same": same})
    if not same:
        click.echo(f"another run than the token's: digest {known.digest}, here {outcome.digest}; "
                   f"the token was made at {known.commit} with Python {known.python}", err=True)  # fmt: skip
        sys.exit(EXIT["unknown"])
    sys.exit(EXIT[outcome.verdict])


def _run_with_progress(
    scenario: Scenario, seed: int, *, keep: int, until_ms: int | None = None
) -> tuple[Outcome, Run]:
    started = last = time.perf_counter()
    shows = sys.stderr.isatty()

    def progress(now_ms: int) -> None:
        nonlocal last
        now = time.perf_counter()
        if shows and now - last > 0.5:
            last = now
            rate = now_ms / 1000 / (now - started)
            left = max(scenario.duration.ms - now_ms, 0) / 1000 / rate
            click.echo(f"\r{now_ms / 1000:.0f} s simulated, {rate:.1f} s/s, {left:.0f} s left   ",
                       nl=False, err=True)  # fmt: skip

    found = simulate(scenario, seed, keep=keep, until_ms=until_ms, progress=progress)
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
    click.echo(
        f"{outcome.name} seed {outcome.seed}: {outcome.verdict}\n"
        f"  {outcome.sim_seconds:.1f} s simulated in {outcome.wall_seconds:.2f} s, "
        f"{outcome.events:,} events, {speed:,.0f} events/s"
    )
    told = ", ".join(f"{name} {count:,}" for name, count in sorted(outcome.marks.items()) if count)
    click.echo(f"  {told}")
    for missing in outcome.missing:
        click.echo(f"  cannot tell: no {missing}")
    for one in outcome.violations:
        click.echo(f"  table {one.table} at {one.at_ms} ms: {one.text}")
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
    except click.Abort:
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
