"""`bitcraps demo`: a table of real processes on this machine, to play at or to watch."""

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click

from node.agreement import Standing, common_height
from node.commands.inputs import checking_input
from node.commands.inspect import roll_facts
from node.commands.running import run_until_ended
from node.commands.table import type_at
from node.commands.terms import game_option
from node.control import open_control
from node.demo import NAMES, Plan, Report, open_table, play_rolls, prepare
from node.descriptor import load_table
from node.errors import OperatorError
from node.serving import rules_of

ROLLS_UNTYPED = 20
"""Rolls of a demo that nobody types at."""
ROLLS_MAX = 10_000
YOU = "you"
SLOW_RULES = ("thrower_ms=600000", "betting_max_ms=600000", "absent_ms=3600000")
"""With a person at the table: nobody is hurried."""
PACE_SECONDS = 2.0
"""Between a bot's bets and its throw, so that a person can follow."""
ENDS = "end this table and its bots"
QUICK_RULES = ("thrower_ms=6000",)
"""With bots alone: a node that is away holds the dice up for seconds only."""


@click.command()
@game_option
@click.option(
    "--nodes", type=click.IntRange(1, len(NAMES)), default=4, show_default=True,
    help="Node processes at the table.",
)  # fmt: skip
@click.option(
    "--rolls", type=click.IntRange(1, ROLLS_MAX), metavar="N",
    help=f"Let bots play N rolls, then compare all nodes; {ROLLS_UNTYPED} without a terminal.",
)  # fmt: skip
@click.option(
    "--keep", type=click.Path(path_type=Path), metavar="DIR",
    help="Make the nodes' folders in DIR and leave them there.",
)  # fmt: skip
@click.option(
    "--join", "joining", type=click.IntRange(0, len(NAMES) - 1), default=0, metavar="K",
    help="Let K more nodes join the table while it plays, and vote.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object when it is over.")
def demo(  # noqa: PLR0917  (click passes all by name)
    game: str, nodes: int, rolls: int | None, keep: Path | None, joining: int, as_json: bool
) -> int | None:
    """Play with bots on this machine, or let bots play alone.

    Each is a node of its own. At a terminal you sit at the last node. Without one, or with --rolls, bots play; then every
    node's store is read, and the exit code is 0 only if all hold the same rolls and state root and
    no chip was made or lost. p50_ms is the middle of the nodes' medians from bet to final block,
    p99_ms the worst of their 99th percentiles.
    """
    alone = rolls is not None or as_json or not (sys.stdin.isatty() and sys.stdout.isatty())
    with checking_input():
        if keep is not None and keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
            raise OperatorError(f"{str(keep)!r} is not an empty folder; --keep needs a new one")
        if joining and not alone:
            raise OperatorError("--join is for bots that play alone: say how long with --rolls")
        if nodes + joining > len(NAMES):
            raise OperatorError(
                f"--nodes {nodes} and --join {joining} make {nodes + joining} nodes; "
                f"{len(NAMES)} at most"
            )
    with _root(keep) as root:
        if alone:
            plan = Plan(
                root=root, names=NAMES[:nodes], you=None, rolls=rolls or ROLLS_UNTYPED,
                rules=QUICK_RULES, game=game, joining=NAMES[nodes : nodes + joining],
            )  # fmt: skip
            return _play_alone(plan, as_json)
        plan = Plan(
            root=root, names=(*NAMES[: nodes - 1], YOU), you=YOU, rolls=None,
            rules=SLOW_RULES, game=game, pace_seconds=PACE_SECONDS,
        )  # fmt: skip
        return _play_along(plan)


@contextmanager
def _root(keep: Path | None) -> Iterator[Path]:
    """Yield the folder of the nodes' folders; one that is not to be kept is removed."""
    if keep is not None:
        try:
            keep.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise click.UsageError(f"cannot make {str(keep)!r}: {error.strerror}") from None
        yield keep.absolute()
        return
    root = Path(tempfile.mkdtemp(prefix="bitcraps-"))
    try:
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _play_alone(plan: Plan, as_json: bool) -> int:
    nodes = prepare(plan)

    async def play() -> int:
        report = await play_rolls(plan, nodes, _nothing if as_json else click.echo)
        if as_json:
            click.echo(json.dumps(_as_json(report)))
        elif report.difference is None:
            click.echo(_summary(report))
        if report.difference is not None:
            click.echo(f"bitcraps: the nodes disagree: {report.difference}", err=True)
            return 1
        return 0

    click.echo(f"{len(nodes)} nodes, each a process with its own folder in {plan.root}", err=True)
    code = run_until_ended(play)
    return 1 if code is None else code


def _nothing(_text: str) -> None:
    """Show nothing."""


def _play_along(plan: Plan) -> int | None:
    nodes = prepare(plan)
    (yours,) = (node for node in nodes if node.name == YOU)

    async def play() -> int:
        async with open_table(plan, nodes):
            rules = rules_of(load_table(yours.folder.table))
            async with await open_control(yours.folder.root) as client:
                await type_at(client, rules, first="sit", quitting=ENDS)
        return 0

    click.echo("Seating the bots; `help` lists the words, `quit` ends the table.", err=True)
    return run_until_ended(play)


def _as_json(report: Report) -> dict[str, object]:
    height = common_height(report.standings) if report.standings else 0
    first = next(iter(report.standings.values()), None)
    return {
        "agree": report.difference is None,
        "difference": report.difference,
        "rolls": [roll_facts(roll) for roll in first.rolls] if first else [],
        "heights": {name: standing.height for name, standing in report.standings.items()},
        "height": height,
        "state_roots": {
            name: standing.roots.get(height, "") for name, standing in report.standings.items()
        },
        "chips": _chips(first) if first else {},
        "seconds": round(report.seconds, 3),
        "p50_ms": round(report.p50_ms, 3),
        "p99_ms": round(report.p99_ms, 3),
    }


def _chips(standing: Standing) -> Mapping[str, int]:
    return {
        **standing.chips,
        "bank": standing.bank,
        "layout": standing.layout,
        "minted": standing.minted,
    }


def _summary(report: Report) -> str:
    height = common_height(report.standings)
    first = next(iter(report.standings.values()))
    racks = " · ".join(f"{name} {chips:,}" for name, chips in _chips(first).items())
    return (
        f"{len(report.standings)} nodes agree at block {height}: state root {first.roots[height]}\n"
        f"chips: {racks}\n"
        f"{len(first.rolls)} rolls in {report.seconds:.1f} s; bet to final block "
        f"{report.p50_ms:.1f} ms (median), {report.p99_ms:.1f} ms (99th percentile)"
    )
