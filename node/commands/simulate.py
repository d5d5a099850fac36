"""`bitcraps simulate`: what strategies come to over many hands, by playing them."""

import importlib
import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from node.commands.inputs import checking_input, data_option
from node.commands.terms import game_option, house_rules, table_to_read
from node.config import Folder
from node.descriptor import load_table
from node.errors import OperatorError
from node.game.games import NUMBERS
from node.game.params import GameParams
from node.game.rules import GameRules
from node.serving import params_of, rules_of
from node.simulation import Outcome, Plan, Result, simulate as play
from node.strategies import STRATEGIES

HANDS_MAX = 1_000_000
SEED_MAX = 2**63 - 1
STRATEGIES_MAX = 16
PERCENTS = (5, 25, 50, 75, 95)
HANDS_IN_SITTING = 20
"""Some two hours, where a hand is some eight rolls."""
BUY_IN = 500
_PLOT_INCHES = (9.0, 5.0)


@click.command()
@data_option
@game_option
@click.option(
    "--strategy", "names", required=True, metavar="A,B,...",
    help="Strategies that play side by side: "
    + "; ".join(f"{game}: {', '.join(STRATEGIES[NUMBERS[game]])}" for game in NUMBERS) + ".",
)  # fmt: skip
@click.option(
    "--hands", type=click.IntRange(1, HANDS_MAX), default=10_000, show_default=True,
    help="Hands of each strategy, in all.",
)  # fmt: skip
@click.option(
    "--sitting", type=click.IntRange(1, HANDS_MAX), default=HANDS_IN_SITTING, show_default=True,
    help="Hands of one sitting; each begins with the buy-in.",
)  # fmt: skip
@click.option(
    "--buy-in", type=click.IntRange(1, 10**9), default=BUY_IN, show_default=True, metavar="CHIPS",
    help="Chips at the beginning of a sitting.",
)  # fmt: skip
@click.option(
    "--seed", type=click.IntRange(0, SEED_MAX), default=1, show_default=True,
    help="The dice follow from it, and what those that guess do.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--plot", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.png",
    help="Draw how the money spreads over the hands of a sitting; needs the extra `plots`.",
)  # fmt: skip
@click.option(
    "--table", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="FILE",
    help="The game and house rules of this table: the file `table.bin` of a node's folder.",
)  # fmt: skip
@click.pass_context
def simulate(  # noqa: PLR0917  (click passes all by name)
    context: click.Context,
    folder: Folder,
    game: str,
    names: str,
    hands: int,
    sitting: int,
    buy_in: int,
    seed: int,
    as_json: bool,
    plot: Path | None,
    table: Path | None,
) -> None:
    """Play strategies offline and say what their money comes to.

    Every sitting is a whole table of the real game; nothing is connected and nothing written. The
    figures are percentiles of the chips at the end of a sitting, bets that still lie included. A
    strategy is ruined when nothing of it lies on the layout and its rack does not hold its next bet.
    """
    with checking_input():
        params, rules = GameParams(), house_rules(game, ())
        if (path := table_to_read(context, folder, table)) is not None:
            read = load_table(path)
            params, rules = params_of(read), rules_of(read)
        plt = None if plot is None else _load_pyplot()
        plan = Plan(
            params=params, rules=rules, names=_checked(names, rules),
            hands=hands, sitting=sitting, buy_in=buy_in, seed=seed,
        )  # fmt: skip
    result = play(plan)
    if plot is not None and plt is not None:
        _draw(plt, plot, plan, result)
    click.echo(json.dumps(_facts(plan, result)) if as_json else _text(plan, result))


def _checked(names: str, rules: GameRules) -> tuple[str, ...]:
    known = STRATEGIES[NUMBERS[rules.name]]
    wanted = tuple(name.strip() for name in names.split(","))
    for name in wanted:
        if name not in known:
            raise OperatorError(f"{name!r} is no strategy of {rules.name}; try {', '.join(known)}")
    if len(wanted) > STRATEGIES_MAX or len(dict.fromkeys(wanted)) < len(wanted):
        raise OperatorError(f"{names!r}: name each strategy once, at most {STRATEGIES_MAX}")
    return wanted


def percentile(ascending: Sequence[int], percent: int) -> int:
    """Return the least value that `percent` of the values do not exceed (nearest rank)."""
    return ascending[max(0, -(-len(ascending) * percent // 100) - 1)]


def _figures(outcome: Outcome) -> dict[str, Any]:
    final = outcome.final()
    quantiles = {f"p{percent}": percentile(final, percent) for percent in PERCENTS}
    quantiles["median"] = quantiles.pop("p50")
    return {
        **quantiles,
        "mean": float(Fraction(sum(final), len(final))),
        "ruin": float(Fraction(outcome.ruined, len(final))),
        "refused": outcome.refused,
    }


def _facts(plan: Plan, result: Result) -> dict[str, Any]:
    return {
        "game": plan.rules.name,
        "seed": plan.seed,
        "hands": result.hands,
        "rolls": result.rolls,
        "sittings": len(result.outcomes[0].money),
        "hands_per_sitting": plan.sitting,
        "buy_in": plan.buy_in,
        "strategies": {outcome.name: _figures(outcome) for outcome in result.outcomes},
    }


def _text(plan: Plan, result: Result) -> str:
    sittings = len(result.outcomes[0].money)
    lines = [
        f"{sittings:,} sittings of {plan.sitting} hands at {plan.rules.name}, "
        f"{result.rolls:,} rolls, {plan.buy_in:,} chips to begin with, seed {plan.seed}",
        f"{'strategy':<12}{'p5':>8}{'p25':>8}{'median':>8}{'p75':>8}{'p95':>8}{'mean':>10}{'ruin':>9}",
    ]
    for outcome in result.outcomes:
        row = _figures(outcome)
        lines.append(
            f"{outcome.name:<12}{row['p5']:>8}{row['p25']:>8}{row['median']:>8}{row['p75']:>8}"
            f"{row['p95']:>8}{row['mean']:>10.1f}{row['ruin'] * 100:>8.1f}%"
        )
    return "\n".join(lines)


def _load_pyplot() -> ModuleType:
    """Return the library that draws, without a screen; raises `OperatorError`."""
    try:
        plt: ModuleType = importlib.import_module("matplotlib.pyplot")
    except ImportError:
        raise OperatorError(
            "--plot needs matplotlib, which is not installed: pip install 'bitcraps[plots]'"
        ) from None
    plt.switch_backend("Agg")
    return plt


def _draw(plt: ModuleType, path: Path, plan: Plan, result: Result) -> None:
    """Draw, for each strategy, the median and two bands of its money over a sitting."""
    figure, axes = plt.subplots(figsize=_PLOT_INCHES)
    for outcome in result.outcomes:
        bands = [
            [percentile(sorted(money), percent) for percent in PERCENTS]
            for money in zip(*_whole(outcome, plan), strict=True)
        ]
        hands = range(len(bands))
        low, lower, middle, upper, high = zip(*bands, strict=True)
        (line,) = axes.plot(hands, middle, label=outcome.name)
        axes.fill_between(hands, lower, upper, color=line.get_color(), alpha=0.25, linewidth=0)
        axes.fill_between(hands, low, high, color=line.get_color(), alpha=0.1, linewidth=0)
    axes.set_xlabel("hands")
    axes.set_ylabel("chips (median, middle 50 % and 90 %)")
    axes.set_title(
        f"{plan.rules.name}, {len(result.outcomes[0].money):,} sittings, seed {plan.seed}"
    )
    axes.legend()
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise OperatorError(f"cannot draw to {path}: {error}") from None
    finally:
        plt.close(figure)


def _whole(outcome: Outcome, plan: Plan) -> list[list[int]]:
    """Return the sittings that were played to their end; the last one may be shorter."""
    length = min(plan.sitting, plan.hands) + 1
    return [money for money in outcome.money if len(money) == length]
