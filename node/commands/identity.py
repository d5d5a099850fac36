"""`bitcraps init`: a folder with an identity and settings."""

import click

from node.commands.inputs import ask_new_passphrase, checking_input, data_option
from node.config import DEFAULT_LISTEN, Folder, parse_config, write_config
from node.errors import OperatorError
from node.identity import create_keys


@click.command()
@data_option
@click.option("--nickname", required=True, help="The name that others see: 1 to 24 characters.")
@click.option(
    "--listen",
    default=DEFAULT_LISTEN,
    show_default=True,
    metavar="HOST:PORT",
    help="Where to listen; port 0 takes a free one.",
)
@click.option(
    "--passphrase",
    "sealed",
    is_flag=True,
    help="Seal the keys: asks for a passphrase, or takes it from BITCRAPS_PASSPHRASE.",
)
def init(folder: Folder, nickname: str, listen: str, sealed: bool) -> None:
    """Make this node's folder: its keys (mode 0600) and its settings."""
    with checking_input():
        parse_config({"nickname": nickname, "listen": listen})
        if folder.identity.exists():
            raise OperatorError(f"{folder.identity} exists already and is not overwritten")
        passphrase = ask_new_passphrase() if sealed else ""
    # The key comes last: while there is none, `init` may be run again.
    write_config(folder, nickname, listen)
    keys = create_keys(folder.identity, passphrase)
    click.echo(f"{nickname} is {keys.identity.public_key.hex()[:16]}, in {folder.root}")
