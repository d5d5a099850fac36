"""`bitcraps run` and `bitcraps play`: a node at its table, and who sits at it."""

import math
import secrets
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import TypeVar

import click
import trio

from node.commands.inputs import checking_input, data_option, table_of, unlock
from node.commands.running import run_until_ended
from node.config import Folder, read_config
from node.control import ControlClient, open_control
from node.descriptor import Table
from node.errors import OperatorError
from node.game.games import NUMBERS
from node.game.rules import GameRules
from node.identity import Keys
from node.playing import Bot, Doorman, Terminal
from node.serving import params_of, rules_of, serve_node
from node.strategies import STRATEGIES
from node.strategies.moves import Strategy
from node.terminal import LINE_CHARS_MAX, STAYS, STOPS

R = TypeVar("R")

_STYLES = tuple(dict.fromkeys(name for styles in STRATEGIES.values() for name in styles))
_PIECE_CHARS = LINE_CHARS_MAX + 2
"""Enough to see that a line is too long."""
COLUMNS_MIN = 30
"""What a terminal is taken for that says it is narrower, or nothing."""
UNBROKEN = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """Who sits at the node: a bot with a style, else a person if there is a terminal, else nobody.

    `rolls` is when a bot stops betting, `pace` its seconds before a throw; `leash` ends the node when standard input ends.
    `admit_all` says yes to everybody who asks to join; a bot does so in any case.
    """

    bot: str | None
    rolls: int | None
    pace: float
    leash: bool
    admit_all: bool


def seat_options(command: Callable[..., R]) -> Callable[..., R]:
    """Add `--bot` and what goes with it, and `--leash`; they become the parameter `seat`."""

    @wraps(command)
    def with_seat(
        *args: object,
        bot: str | None,
        rolls: int | None,
        pace: float,
        leash: bool,
        admit_all: bool,
        **rest: object,
    ) -> R:
        if math.isnan(pace):  # in no range, and yet not out of it
            raise click.UsageError("--pace nan is not in the range 0<=x<=3600")
        if bot is None and (rolls is not None or pace):
            raise click.UsageError("--rolls and --pace are for a bot: name one with --bot")
        seat = Seat(
            bot=bot, rolls=rolls, pace=pace, leash=leash, admit_all=admit_all or bot is not None
        )
        return command(*args, seat=seat, **rest)

    for option in (
        click.option(
            "--admit-all",
            is_flag=True,
            help="Say yes to everybody who asks to join; a bot always does.",
        ),
        click.option(
            "--leash",
            is_flag=True,
            help="End when standard input ends: for a node that another program starts.",
        ),
        click.option(
            "--pace",
            type=click.FloatRange(0, 3600),
            default=0,
            show_default=True,
            metavar="SECONDS",
            help="With --bot: let so much time pass between its bets and its throw.",
        ),
        click.option(
            "--rolls",
            type=click.IntRange(min=0),
            metavar="N",
            help="With --bot: neither bet nor throw once N rolls are settled.",
        ),
        click.option(
            "--bot",
            type=click.Choice(_STYLES),
            help="Let a bot of this betting style play here.",
        ),
    ):
        with_seat = option(with_seat)
    return with_seat


@click.command()
@data_option
@seat_options
def run(folder: Folder, seat: Seat) -> int | None:
    """Run the node without a terminal; a bot may play."""
    with checking_input():
        table, keys, host = _load(folder)
        check_style(rules_of(table), seat.bot)

    async def serve() -> int:
        return await take_part(folder, table, keys, host, seat, may_type=False)

    return run_until_ended(serve, leash=seat.leash)


@click.command()
@data_option
def play(folder: Folder) -> int | None:
    """Play on the terminal, at the running node or running it here.

    Lines may also come from a pipe; each is then answered before the next is read.
    """
    with checking_input():
        table = table_of(folder)
        rules = rules_of(table)

    async def attach() -> int:
        try:
            client = await open_control(folder.root)
        except OperatorError:
            with checking_input():
                _, keys, host = _load(folder)
            return await take_part(folder, table, keys, host, NOBODY, may_type=True)
        async with client:
            await type_at(client, rules, quitting=STAYS)
        return 0

    return run_until_ended(attach)


NOBODY = Seat(bot=None, rolls=None, pace=0, leash=False, admit_all=False)


def _load(folder: Folder) -> tuple[Table, Keys, str]:
    return table_of(folder), unlock(folder), read_config(folder).listen.host


def check_style(rules: GameRules, style: str | None) -> None:
    """Check that bots know how to bet in this style at this game; raises `OperatorError`."""
    known = STRATEGIES[NUMBERS[rules.name]]
    if style is not None and style not in known:
        raise OperatorError(f"no bot bets {style!r} at {rules.name}; they bet {', '.join(known)}")


def _strategy(rules: GameRules, style: str) -> Strategy:
    return STRATEGIES[NUMBERS[rules.name]][style].make(rules, secrets.randbits(64))


async def take_part(
    folder: Folder, table: Table, keys: Keys, host: str, seat: Seat, *, may_type: bool | None = None
) -> int:
    """Run the node and whoever sits at it; ends when a person quits, else never by itself.

    `may_type` None means: if standard input is a terminal. Returns the exit code.
    """
    rules = rules_of(table)
    check_style(rules, seat.bot)
    if may_type is None:
        may_type = sys.stdin.isatty() and not seat.leash
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_node, folder, table, keys, host)
        click.echo(f"{table.descriptor.name}: at the table", err=True)
        if seat.admit_all:
            nursery.start_soon(_admit_all, folder)
        if seat.bot or may_type:
            async with await open_control(folder.root) as client:
                if seat.bot:
                    # Half of the time after which the table takes the dice from a slow thrower.
                    patience = params_of(table).thrower_ms / 2000
                    bot = Bot(
                        client, _strategy(rules, seat.bot), rules,
                        pace_seconds=seat.pace, patience_seconds=patience,
                    )  # fmt: skip
                    await bot.run(seat.rolls)
                else:
                    await type_at(client, rules, quitting=STOPS)
            nursery.cancel_scope.cancel()
    return 0


async def _admit_all(folder: Folder) -> None:
    async with await open_control(folder.root) as client:
        await Doorman(client).run()


async def type_at(
    client: ControlClient, rules: GameRules, *, quitting: str, first: str = ""
) -> None:
    """Play on standard input and output; `first` is a line to begin with.

    `quitting` says in the help what `quit` does.
    """
    terminal = Terminal(
        client, rules, lambda text: click.echo(text, nl=False), columns=_columns, quitting=quitting
    )
    await terminal.run(read_line, first=first, in_turn=not sys.stdin.isatty())


def _columns() -> int:
    """Return how long a line of the output may be; a file or pipe has its lines whole."""
    if not sys.stdout.isatty():
        return UNBROKEN
    return max(COLUMNS_MIN, shutil.get_terminal_size().columns)


async def read_line() -> str:
    """Return the next line of standard input, "" at its end; of a longer line only the beginning."""
    return await trio.to_thread.run_sync(_read_line, abandon_on_cancel=True)


def _read_line() -> str:
    line = rest = sys.stdin.readline(_PIECE_CHARS)
    while len(rest) == _PIECE_CHARS and not rest.endswith("\n"):
        rest = sys.stdin.readline(_PIECE_CHARS)
    return line
