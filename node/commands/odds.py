"""`bitcraps odds`: the exact odds of every bet of a table, or of bets made together."""

import dataclasses
import json
from fractions import Fraction
from pathlib import Path

import click

from node.commands.inputs import checking_input, data_option
from node.commands.terms import game_option, house_rules, table_to_read
from node.config import Folder
from node.descriptor import load_table
from node.errors import OperatorError
from node.game.odds import Row, analyse, analyse_wagers
from node.serving import rules_of

FRACTION_CHARS_MAX = 15
"""Bets on a whole hand have fractions of some hundred digits; `--json` has them in full."""


@click.command()
@data_option
@game_option
@click.option(
    "--rule",
    "rules",
    multiple=True,
    metavar="NAME=VALUE",
    help="A house rule instead of the usual one, as for `host`.",
)
@click.option(
    "--table",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="The game and house rules of this table: the file `table.bin` of a node's folder.",
)
@click.option(
    "--with",
    "wagers",
    metavar="BET:CHIPS,...",
    help="Bets made together, each as soon as the rules take it, such as `pass:10,odds:20`.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array, fractions as text.")
@click.pass_context
def odds(  # noqa: PLR0917  (click passes all by name)
    context: click.Context,
    folder: Folder,
    game: str,
    rules: tuple[str, ...],
    table: Path | None,
    wagers: str | None,
    as_json: bool,
) -> None:
    """Work out the exact odds of every bet.

    All rolls are followed until it is decided. The edge is the expected loss for each chip put on, vig included; a push counts as decided. Bets
    that may be off are called on. The deviation is that of the result for each chip. Where neither
    game nor rules are named, they are those of the folder's table, if it has one.
    """
    with checking_input():
        path = table_to_read(context, folder, table)
        played = house_rules(game, rules) if path is None else rules_of(load_table(path))
        if wagers is None:
            rows: tuple[Row, ...] | str = analyse(played)
        else:
            rows = analyse_wagers(played, wagers.split(","))
        if isinstance(rows, str):
            raise OperatorError(rows)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(row) for row in rows]))
    else:
        click.echo(_text(rows))


_HEADS = ("bet", "pays", "edge", "", "win", "", "lose", "", "push", "", "rolls", "", "dev.", "rule")


def _text(rows: tuple[Row, ...]) -> str:
    """Return the rows as a table, every chance as a percentage and exactly."""
    lines = [_HEADS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _cells(row: Row) -> tuple[str, ...]:
    chances = [_percent(value) for value in (row.house_edge, row.win, row.lose)]
    exact = [_exact(value) for value in (row.house_edge, row.win, row.lose)]
    both = [cell for pair in zip(chances, exact, strict=True) for cell in pair]
    rolls = f"{float(Fraction(row.expected_rolls)):.3f}"
    push = ("", "") if row.push == "0" else (_percent(row.push), _exact(row.push))
    deviation = f"{float(row.standard_deviation):.4f}"
    exact_rolls = _exact(row.expected_rolls)
    return (row.bet, row.pays, *both, *push, rolls, exact_rolls, deviation, row.rule)


def _percent(value: str) -> str:
    return f"{float(Fraction(value)) * 100:.4f} %"


def _exact(value: str) -> str:
    """Return a fraction as it is, or nothing where it would fill the screen."""
    return value if len(value) <= FRACTION_CHARS_MAX else "…"
