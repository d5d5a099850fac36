"""`bitcraps limits`: what a player allows themselves; their own node keeps them to it."""

import json

import click

from node.commands.inputs import checking_input, data_option
from node.config import Folder, read_config
from node.errors import OperatorError
from node.game.params import CHIPS_MAX
from node.limits import MINUTES_MAX, NONE, Limits, limits_text, read_limits, write_limits
from node.runtime import wall_clock_ms

NO_LIMIT = "none"


@click.command()
@data_option
@click.option("--loss", metavar="CHIPS", help="Chips to lose at most in 24 hours, or `none`.")
@click.option("--minutes", metavar="N", help="Minutes to bet at most in 24 hours, or `none`.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def limits(folder: Folder, loss: str | None, minutes: str | None, as_json: bool) -> None:
    """Show or set your own limits to losses and time, at any time.

    Both count from the first bet of a day of play, which is over 24 hours later. A lower limit holds
    at once, a higher one or none after 24 hours. No other node knows of them.
    """
    now_ms = wall_clock_ms()
    with checking_input():
        read_config(folder)  # a folder of ours
        known = read_limits(folder.root)
        wanted = Limits(
            loss=known.loss
            if loss is None
            else known.loss.changed(_number("loss", loss, CHIPS_MAX), now_ms),
            minutes=known.minutes
            if minutes is None
            else known.minutes.changed(_number("minutes", minutes, MINUTES_MAX), now_ms),
        )
    if wanted != known:
        write_limits(folder.root, wanted)
    click.echo(json.dumps(_facts(wanted, now_ms)) if as_json else limits_text(wanted, now_ms))


def _number(name: str, text: str, most: int) -> int:
    if text == NO_LIMIT:
        return NONE
    if text.isascii() and text.isdigit() and 1 <= int(text[:20]) <= most:
        return int(text)
    raise OperatorError(f"--{name} {text[:40]!r} is not a number from 1 to {most}, nor `none`")


def _facts(limits: Limits, now_ms: int) -> dict[str, object]:
    facts: dict[str, object] = {}
    for name, limit in (("loss", limits.loss), ("minutes", limits.minutes)):
        waits = limit.from_ms > now_ms
        facts[name] = limit.at(now_ms) or None
        facts[f"{name}_later"] = (limit.later or None) if waits else None
        facts[f"{name}_later_from_ms"] = limit.from_ms if waits else None
    return facts
