"""From a folder to a running node: journal, replica, runtime and control socket."""

import logging
from contextlib import closing

import trio

from consensus.encoding import DecodeError
from consensus.signing import SigningKey, key_id, verify
from node.addresses import AddressBook, load_book
from node.config import Folder
from node.control import serve_control
from node.descriptor import Table, save_table
from node.epoch import NO_FLOOR, EpochKeys, Floor
from node.errors import OperatorError
from node.game.games import rules_of_table
from node.game.params import GameParams, decode_params
from node.game.rules import GameRules
from node.identity import Keys, credentials_of
from node.limits import PersonalLimits
from node.logs import logging_to
from node.mark import RESERVED_VIEWS, SignMark
from node.membership import founders_of
from node.remembering import keep_memory, recall
from node.replica import Replica, Setup
from node.runtime import ProtocolRuntime, wall_clock_ms
from node.store import Journal
from transport.base import Address, parse_address

log = logging.getLogger(__name__)


def params_of(table: Table) -> GameParams:
    """Return the game's terms; raises `OperatorError` if this version knows no such terms."""
    try:
        return decode_params(table.descriptor.params)
    except DecodeError as error:
        raise OperatorError(
            f"the terms of {table.descriptor.name!r} cannot be read: {error}"
        ) from None


def rules_of(table: Table) -> GameRules:
    """Return the rules of the game that a table plays; raises `OperatorError`."""
    rules = rules_of_table(params_of(table).rules)
    if isinstance(rules, str):
        raise OperatorError(f"the house rules of {table.descriptor.name!r}: {rules}")
    return rules


def setup_of(table: Table, keys: Keys, *, slots: int = 0) -> Setup:
    """Return who is at a table at its start, and the private keys of the one who is here.

    `slots` is how many members there are by now, as far as this node has heard.
    """
    descriptor = table.descriptor
    return Setup(
        chain_id=table.chain_id,
        members=founders_of(descriptor),
        voters=descriptor.validators,
        params=params_of(table),
        identity=keys.identity,
        keys=EpochKeys(keys.consensus, keys.dealing_secret),
        make_signer=SigningKey,
        verify=verify,
        slots=slots,
    )


def own_port(table: Table, book: AddressBook, keys: Keys) -> int:
    """Return the port that these keys told the others; raises `OperatorError` for a stranger."""
    own = keys.identity.public_key
    if own not in {identity for identity, _ in book.members}:
        raise OperatorError(f"these keys are of no member of the table {table.descriptor.name!r}")
    addresses = book.addresses_of(own)
    if not addresses:
        raise OperatorError(f"no address of this node is known at {table.descriptor.name!r}")
    return parse_address(addresses[0]).port


def begin_table(folder: Folder, table: Table) -> None:
    """Store a table that was just agreed on, at which nothing was signed yet; `OperatorError`."""
    # First the mark: a table without one is a folder that has lost it.
    SignMark(folder.root, table.chain_id).begin()
    save_table(folder.table, table)


def floor_of(mark: SignMark, newest: tuple[int, int]) -> Floor:
    """Return how far a node may have voted beyond its store, whose newest vote is given."""
    epoch, view = mark.place
    if not mark.is_original:
        log.warning("the folder is a copy, or has lost its mark: asking others before voting")
        return None
    # Each mark was made for a vote that its store held by then.
    if newest >= (epoch, view - RESERVED_VIEWS):
        return NO_FLOOR
    if not mark.is_whole:
        log.warning("the store has forgotten votes and the mark is damaged: asking others")
        return None
    log.warning("the store has forgotten votes: none in epoch %d up to view %d", epoch, view)
    return mark.place


async def serve_node(
    folder: Folder,
    table: Table,
    keys: Keys,
    host: str,
    task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run the node of a folder until cancelled; started when its control socket answers.

    It listens on `host` and the port that it told the others when the table was made.

    Raises:
        OperatorError: Another node runs on the folder, or files, address or disk are at fault.
    """
    book = load_book(folder.book, table)
    listen = Address(host, own_port(table, book, keys))
    kid = key_id(keys.identity.public_key)
    mark = SignMark(folder.root, table.chain_id)
    with (
        closing(Journal(folder.root, table.chain_id, kid, mark)) as journal,
        logging_to(folder.root),
    ):

        def resume() -> Replica:
            setup = setup_of(table, keys, slots=len(book.members))
            floor = floor_of(mark, journal.newest_vote())
            return Replica(setup, journal.load(), journal.block, floor)

        replica = resume()
        known = recall(folder.root, journal, rules_of(table), replica.take_replayed())
        runtime = ProtocolRuntime(
            replica, journal, table, credentials_of(keys),
            book=book, limits=PersonalLimits(folder.root), resume=resume,
            tally=known.tally, rolls=known.rolls,
        )  # fmt: skip
        runtime.follow_members()
        if table.index_of(keys.identity.public_key) is None:
            # Nobody but the member that let it in has heard where it listens.
            own = book.addresses_of(keys.identity.public_key)
            book.announce(keys.identity, own, wall_clock_ms())
        async with trio.open_nursery() as nursery:
            await nursery.start(runtime.run, listen)
            nursery.start_soon(keep_memory, runtime, folder.root)
            await nursery.start(serve_control, runtime, folder.root)
            task_status.started()
