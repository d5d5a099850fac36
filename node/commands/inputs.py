"""What commands share: the data folder, the passphrase, and how input is refused before anything."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

import click

from node.config import Folder
from node.descriptor import INVITE_CHARS_MAX, Table, load_table
from node.errors import OperatorError
from node.identity import Keys, is_sealed, load_keys

DATA_VARIABLE = "BITCRAPS_HOME"
PASSPHRASE_VARIABLE = "BITCRAPS_PASSPHRASE"  # noqa: S105  (a name, not a secret)

P = ParamSpec("P")
R = TypeVar("R")


def _to_folder(_context: click.Context, _parameter: click.Parameter, value: str) -> Folder:
    path = Path(value).expanduser()
    if not value or (path.exists() and not path.is_dir()):
        raise click.BadParameter(f"{value!r} is not a folder")
    return Folder(path)


def data_option(command: Callable[P, R]) -> Callable[P, R]:
    """Add `--data DIR`, which becomes the parameter `folder`."""
    return click.option(
        "--data",
        "folder",
        callback=_to_folder,
        envvar=DATA_VARIABLE,
        default="~/.bitcraps",
        show_default=True,
        metavar="DIR",
        help=f"Folder of this node's files; {DATA_VARIABLE} sets it too.",
    )(command)


@contextmanager
def checking_input() -> Iterator[None]:
    """Turn what is refused inside into a usage error: nothing has been changed yet."""
    try:
        yield
    except OperatorError as error:
        raise click.UsageError(str(error)) from None


def table_of(folder: Folder) -> Table:
    """Return the folder's table; raises `OperatorError` that says how to get to one."""
    if folder.table.exists():
        return load_table(folder.table)
    if folder.config.exists():
        raise OperatorError(
            f"{folder.root} has no table yet: `host` opens one, `join` takes a seat with an invite"
        )
    raise OperatorError(f"{folder.root} has no table: make this folder with `init`")


def read_invite(word: str | None) -> str:
    """Return an invite: the word itself, or a line of standard input if it is `-` or None.

    The line keeps the secret out of the list of processes, which others on this computer can read.

    Raises:
        OperatorError: None was named and there is no terminal to type it.
    """
    if word is None and sys.stdin.isatty():
        return str(click.prompt("Invite", err=True))
    if word is None:
        raise OperatorError("no invite: name it, or `-` to have it read from standard input")
    return sys.stdin.readline(INVITE_CHARS_MAX + 2) if word == "-" else word


def ask_new_passphrase() -> str:
    """Return the passphrase for a new key file, from the environment or typed twice."""
    if given := os.environ.get(PASSPHRASE_VARIABLE):
        return given
    _need_terminal()
    return str(click.prompt("Passphrase", hide_input=True, confirmation_prompt=True, err=True))


def unlock(folder: Folder) -> Keys:
    """Read the node's keys, asking for a passphrase if they are sealed; raises `OperatorError`."""
    if not is_sealed(folder.identity):
        return load_keys(folder.identity)
    given = os.environ.get(PASSPHRASE_VARIABLE)
    if not given:
        _need_terminal()
        given = str(click.prompt("Passphrase", hide_input=True, err=True))
    return load_keys(folder.identity, given)


def _need_terminal() -> None:
    if not sys.stdin.isatty():
        raise OperatorError(
            f"a passphrase is needed and there is no terminal to type it: set {PASSPHRASE_VARIABLE}"
        )
