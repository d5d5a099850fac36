"""The command line: which commands there are, and what their outcomes are worth as exit codes.

0 is success. 2 says that the words, a setting or a file cannot be used: nothing was begun. 1 is what
was begun and refused or went wrong, such as a port in use; 130 an interruption. `verify`, `prove` and
`receipt` give verdicts. Each refusal is one sentence on stderr that names the value and the limit.
"""

from collections.abc import Sequence

import click

from node.commands.demo import demo
from node.commands.fairness import fairness
from node.commands.identity import init
from node.commands.inspect import status
from node.commands.limits import limits
from node.commands.lobby import host, join
from node.commands.members import admit, invite, retire, vote
from node.commands.odds import odds
from node.commands.proofs import USAGE, prove, receipt, verify
from node.commands.running import INTERRUPTED
from node.commands.simulate import simulate
from node.commands.table import play, run
from node.errors import LeftTableError, OperatorError


class _InOrder(click.Group):
    """A group that lists its commands as they were added: the first ones first."""

    # `typing.override` came with Python 3.12.
    def list_commands(self, ctx: click.Context) -> list[str]:  # type: ignore[explicit-override]
        """Return the names."""
        del ctx
        return list(self.commands)


@click.group(cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="bitcraps", message="BitCraps %(version)s")
def commands() -> None:
    """A dice table with no house and no server, among friends."""


for command in (
    demo, init, host, join, play, status, run, limits, invite, admit, vote, retire,
    odds, simulate, fairness, verify, prove, receipt,
):  # fmt: skip
    commands.add_command(command)


def run_command(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    try:
        code = commands.main(list(arguments), prog_name="bitcraps", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.UsageError as error:
        click.echo(f"bitcraps: {_one_line(error.format_message())}", err=True)
        command = None if error.ctx is None else error.ctx.command
        return USAGE if command in {verify, prove, receipt} else error.exit_code
    except click.ClickException as error:
        click.echo(f"bitcraps: {_one_line(error.format_message())}", err=True)
        return error.exit_code
    except LeftTableError as error:
        click.echo(f"bitcraps: {_one_line(str(error))}", err=True)
        return 0
    except OperatorError as error:
        click.echo(f"bitcraps: {_one_line(str(error))}", err=True)
        return 1
    except (click.Abort, KeyboardInterrupt):
        click.echo(err=True)
        return INTERRUPTED
    return code if isinstance(code, int) else 0


def _one_line(text: str) -> str:
    return " ".join(text.split())
