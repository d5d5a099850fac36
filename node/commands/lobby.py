"""`bitcraps host` and `bitcraps join`: from an invite to a table, and back to it later.

Both go on as a node of the table when its seats are taken. In a folder that holds the table already
the same command skips the lobby: that is how a player comes back.
"""

from collections.abc import Callable, Sequence
from functools import partial

import click

from consensus.validators import faults_tolerated
from node.addresses import AddressBook
from node.commands.inputs import checking_input, data_option, read_invite, unlock
from node.commands.running import run_until_ended
from node.commands.table import Seat, check_style, seat_options, take_part
from node.commands.terms import Terms, house_rules, problem_of_terms, terms_options
from node.config import (
    Config,
    Folder,
    held_port,
    parse_listen,
    parse_public,
    reachable,
    read_config,
)
from node.descriptor import (
    LOBBY_INVITE,
    TABLE_INVITE,
    Invite,
    Table,
    format_invite,
    load_table,
    lobby_id_of,
    parse_invite,
    problem_of_name,
)
from node.errors import OperatorError
from node.guest import Admitted, ask_to_join, join as join_lobby
from node.identity import Keys
from node.lobby import host as host_lobby
from node.lobby_messages import Room, Waiting
from node.runtime import wall_clock_ms
from node.serving import begin_table
from node.terminal import absence_text
from transport.base import Address


def listen_options(command: Callable[..., object]) -> Callable[..., object]:
    """Add `--listen` and `--public`, which override the folder's settings."""
    command = click.option(
        "--listen", metavar="HOST:PORT", help="Where to listen, instead of the folder's setting."
    )(command)
    return click.option(
        "--public",
        multiple=True,
        metavar="HOST",
        help="A host under which others reach this node; may be given 8 times.",
    )(command)


@click.command()
@data_option
@click.option("--name", required=True, help="The table's name: 1 to 24 characters.")
@click.option("--seats", required=True, type=click.IntRange(1, 16), help="Players, you included.")
@click.option(
    "--voters", type=click.IntRange(1, 16), metavar="M",
    help="How many vote, those who come first; the others only play. Usually all.",
)  # fmt: skip
@terms_options
@listen_options
@seat_options
def host(  # noqa: PLR0917  (click passes all by name)
    folder: Folder,
    name: str,
    seats: int,
    voters: int | None,
    terms: Terms,
    listen: str | None,
    public: tuple[str, ...],
    seat: Seat,
) -> int | None:
    """Open a table and play: prints an invite for the others.

    It starts when all seats are taken. The invite goes to standard output, alone on its line. From the start of the table on no node is
    special, the host's neither. On a folder that holds this table already, the node comes back to it.
    """
    with checking_input():
        if problem := problem_of_name("table name", name):
            raise OperatorError(problem)
        if voters is not None and voters > seats:
            raise OperatorError(f"--voters {voters} of --seats {seats}: at most all of them vote")
        params = terms.encoded(seats)
        check_style(house_rules(terms.game, terms.house), seat.bot)
        config = _overridden(read_config(folder), listen, public)
        table = _saved_table(folder)
        if table is None:
            terms.check_sound()
        else:
            _check_same_terms(folder, table, name, seats, params)
            if voters is not None and len(table.descriptor.validators) != voters:
                raise OperatorError(
                    f"{folder.root} holds the table {name!r} already, "
                    f"with {len(table.descriptor.validators)} voters and not {voters}"
                )
        keys = unlock(folder)

    async def play() -> int:
        at = table
        if at is None:
            with held_port(config.listen) as held:
                address = held
            hosts = [place.host for place in reachable(address, config.public)]
            at = await host_lobby(
                keys, config.nickname, name, params, seats, address,
                on_change=_Announcer().show, save=partial(begin_table, folder),
                public_hosts=hosts, voters=voters,
            )  # fmt: skip
            _say_absence(at)
        return await take_part(folder, at, keys, config.listen.host, seat)

    return run_until_ended(play, leash=seat.leash)


@click.command()
@data_option
@click.argument("invite", required=False)
@listen_options
@seat_options
def join(
    folder: Folder, invite: str | None, listen: str | None, public: tuple[str, ...], seat: Seat
) -> int | None:
    """Take a seat with an INVITE, wait for the others, then play.

    Others on this computer can see the words of a command. Without INVITE a terminal asks for it,
    and `-` reads a line of standard input. It may be to a table that plays already: then its
    voters decide.

    On a folder that holds a table already, the node comes back to it and asks no lobby.
    """
    with checking_input():
        config = _overridden(read_config(folder), listen, public)
        table = _saved_table(folder)
        named = invite not in {None, "-"}
        parsed = parse_invite(read_invite(invite)) if named or table is None else None
        if parsed is not None:
            _check_usable(folder, table, parsed)
        keys = unlock(folder)

    async def play() -> int:
        at = table
        if at is None:
            assert parsed is not None, "without a table there is an invite"
            with held_port(config.listen) as address:
                places = reachable(address, config.public)
                if parsed.version == TABLE_INVITE:
                    at = await _ask_to_join(folder, keys, config.nickname, parsed, places)
                else:
                    at = await join_lobby(
                        keys, config.nickname, format_invite(parsed), places,
                        on_change=_Announcer().show, save=partial(begin_table, folder),
                        problem_of_params=problem_of_terms,
                    )  # fmt: skip
                    _say_absence(at)
        return await take_part(folder, at, keys, config.listen.host, seat)

    return run_until_ended(play, leash=seat.leash)


async def _ask_to_join(
    folder: Folder, keys: Keys, nickname: str, invite: Invite, places: Sequence[Address]
) -> Table:
    def show(waiting: Waiting) -> None:
        click.echo(
            f"Waiting to be let in: {waiting.approvals} of {waiting.needed} votes.", err=True
        )

    def save(admitted: Admitted) -> None:
        # The table comes last: it is what makes this folder one of a member.
        AddressBook(admitted.table.chain_id, admitted.known, folder.book).save()
        begin_table(folder, admitted.table)

    admitted = await ask_to_join(
        keys, nickname, invite, tuple(map(str, places)),
        on_wait=show, save=save, problem_of_params=problem_of_terms,
    )  # fmt: skip
    return admitted.table


def _overridden(config: Config, listen: str | None, public: tuple[str, ...]) -> Config:
    return Config(
        nickname=config.nickname,
        listen=parse_listen(listen) if listen else config.listen,
        public=parse_public(public) if public else config.public,
    )


def _say_absence(table: Table) -> None:
    """Tell a person what absences the new table stands."""
    members, voters = len(table.descriptor.members), len(table.descriptor.validators)
    click.echo(absence_text(members, faults_tolerated(voters), voters), err=True)


def _saved_table(folder: Folder) -> Table | None:
    return load_table(folder.table) if folder.table.exists() else None


def _check_same_terms(folder: Folder, table: Table, name: str, seats: int, params: bytes) -> None:
    there = table.descriptor
    if (there.name, len(there.members)) != (name, seats):
        raise OperatorError(
            f"{folder.root} holds the table {there.name!r} of {len(there.members)} seats already; "
            f"take another folder for {name!r} of {seats}"
        )
    if there.params != params:
        raise OperatorError(
            f"{folder.root} holds the table {name!r} already, with other terms: come back to it "
            "with the same command as before, or with `play` or `run`"
        )


def _check_usable(folder: Folder, table: Table | None, invite: Invite) -> None:
    """Check that an invite has not expired, or is to the table that the folder holds already."""
    if table is None:
        if invite.version == TABLE_INVITE and 1000 * invite.expires_s < wall_clock_ms():
            raise OperatorError("the invite has expired: ask for a new one")
        return
    there = table.descriptor
    lobby_id = table.chain_id
    if invite.version == LOBBY_INVITE:
        lobby_id = lobby_id_of(
            invite.host, there.name, there.nonce, len(there.members), there.params,
            len(there.validators),
        )  # fmt: skip
    if lobby_id != invite.lobby_id:
        raise OperatorError(
            f"{folder.root} holds the table {there.name!r} already, and this invite is to another "
            "one; take another folder for it"
        )


class _Announcer:
    """Tells a person of a lobby's invite, once, and of who comes and goes."""

    def __init__(self) -> None:
        self._invited = False

    def show(self, room: Room) -> None:
        """Print what is new: the invite to standard output, the rest to standard error."""
        if room.invite and not self._invited:
            self._invited = True
            click.echo(room.invite)
            click.echo(
                "Send this line to the others; who has it may take a seat: `bitcraps join`.",
                err=True,
            )
        names = ", ".join(room.nicknames)
        click.echo(f"{len(room.nicknames)} of {room.seats} seats taken: {names}", err=True)
