"""`bitcraps invite`, `admit`, `vote` and `retire`: who belongs to a table that plays, and who votes.

All of them speak to the node that runs on the folder, and end when what they ask for is final.
"""

import sys

import click
import trio

from node.commands.inputs import checking_input, data_option, table_of
from node.commands.running import run_until_ended
from node.config import Folder
from node.control import ControlClient, open_control
from node.errors import OperatorError
from node.game.receipts import describe
from node.membership import MemberOperation, Retire, SetVote
from node.terminal import Say, admission

FINAL_SECONDS = 60
"""How long a command waits for a final block; what was asked for stands beyond that."""


@click.command()
@data_option
def invite(folder: Folder) -> int | None:
    """Print an invite to the running table, for one person.

    It holds for a day and while this node runs. Who uses it asks to join: the voters decide.
    """
    _check_table(folder)

    async def ask() -> int:
        async with await open_control(folder.root) as client:
            click.echo(await client.invite())
        click.echo(
            "Send this line to one person, for `bitcraps join`. When they ask, "
            "`bitcraps admit NAME` lets them in.",
            err=True,
        )
        return 0

    return run_until_ended(ask)


@click.command()
@data_option
@click.argument("name")
def admit(folder: Folder, name: str) -> int | None:
    """Let in NAME, who asks to join.

    A table may need the word of several voters.
    """
    _check_table(folder)

    async def let_in() -> int:
        async with await open_control(folder.root) as client:
            found = admission(name, await client.view())
            if isinstance(found, Say):
                raise OperatorError(found.text)
            (operation,) = found.operations
            await _do(client, operation)  # type: ignore[arg-type]  # an `Admit`
            view = await client.view()
        waiting = next((one for one in view.asking if one.name.casefold() == name.casefold()), None)
        if waiting is None:
            click.echo(f"{name} is a member now")
        else:
            click.echo(f"{waiting.approvals} of the {waiting.needed} votes that {name} needs")
        return 0

    return run_until_ended(let_in)


@click.command()
@data_option
@click.argument("wish", type=click.Choice(("on", "off")))
def vote(folder: Folder, wish: str) -> int | None:
    """Ask for a vote (on), or give it up and only play (off).

    It changes when the table next begins an epoch, which is soon: no betting closes until then.
    """
    return _submit(folder, SetVote(int(wish == "on")), f"vote {wish}: from the next epoch on")


@click.command()
@data_option
def retire(folder: Folder) -> int | None:
    """Leave the table for good.

    Nobody comes back from that: your chips stay in its books. Leave your game first. At a terminal
    it asks once more.
    """
    _check_table(folder)
    asks = sys.stdin.isatty()
    if asks and not click.confirm("Leave the table for good, chips and all?", err=True):
        raise OperatorError("nothing was done: you stay at the table")
    return _submit(folder, Retire(), "you have left the table")


def _submit(folder: Folder, operation: MemberOperation, done: str) -> int | None:
    _check_table(folder)

    async def submit() -> int:
        async with await open_control(folder.root) as client:
            await _do(client, operation)
        click.echo(done)
        return 0

    return run_until_ended(submit)


def _check_table(folder: Folder) -> None:
    with checking_input():
        table_of(folder)


async def _do(client: ControlClient, operation: MemberOperation) -> None:
    """Submit an operation and wait until it is final; raises `OperatorError` if it is refused."""
    with trio.move_on_after(FINAL_SECONDS):
        (answer,) = await client.submit((operation,))
        if answer.receipt.code:
            raise OperatorError(describe(answer.receipt))
        return
    raise OperatorError(
        f"not final after {FINAL_SECONDS} s: too many voters are away; it counts when they are back"
    )
