"""From a folder to a running node: journal, replica, runtime and control socket."""

import logging
from contextlib import closing

import trio

from consensus.encoding import DecodeError
from consensus.signing import SigningKey, verify
from consensus.validators import ValidatorIndex
from node.config import Folder
from node.control import serve_control
from node.descriptor import Table, save_table
from node.epoch import NO_FLOOR, EpochKeys, Floor
from node.errors import OperatorError
from node.game.games import rules_of_table
from node.game.params import GameParams, decode_params
from node.game.rules import GameRules
from node.identity import Keys
from node.limits import PersonalLimits
from node.lobby import credentials_of
from node.logs import logging_to
from node.mark import RESERVED_VIEWS, SignMark
from node.membership import founders_of
from node.remembering import keep_memory, recall
from node.replica import Replica, Setup
from node.runtime import ProtocolRuntime
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


def setup_of(table: Table, keys: Keys) -> Setup:
    """Return who is at a table at its start, and the private keys of the one who is here."""
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
    )


def index_at(table: Table, keys: Keys) -> ValidatorIndex:
    """Return the member index of these keys; raises `OperatorError` for a stranger."""
    me = table.index_of(keys.identity.public_key)
    if me is None:
        raise OperatorError(f"these keys are of no member of the table {table.descriptor.name!r}")
    return me


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
    me = index_at(table, keys)
    listen = Address(host, parse_address(table.addresses[me][0]).port)
    mark = SignMark(folder.root, table.chain_id)
    with (
        closing(Journal(folder.root, table.chain_id, me, mark)) as journal,
        logging_to(folder.root),
    ):
        floor = floor_of(mark, journal.newest_vote())
        replica = Replica(setup_of(table, keys), journal.load(), journal.block, floor)
        known = recall(folder.root, journal, rules_of(table), replica.take_replayed())
        runtime = ProtocolRuntime(
            replica, journal, table, me, credentials_of(keys),
            limits=PersonalLimits(folder.root), tally=known.tally, rolls=known.rolls,
        )  # fmt: skip
        async with trio.open_nursery() as nursery:
            await nursery.start(runtime.run, listen)
            nursery.start_soon(keep_memory, runtime, folder.root)
            await nursery.start(serve_control, runtime, folder.root)
            task_status.started()
