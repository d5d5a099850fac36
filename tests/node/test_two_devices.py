"""PROTOCOL 9.2: a folder is copied to another device, and both play at a table of real processes."""

import shutil
from pathlib import Path

import pytest
import trio

from node.audit import audit_folder
from node.config import Folder, write_config
from node.control import open_control
from node.demo import NAMES, NodeProcess, Plan, open_table, prepare
from node.descriptor import load_table
from node.errors import OperatorError
from node.identity import load_keys
from node.view import TableView

SECONDS_MAX = 90
OTHER_HOST = "127.0.0.2:0"
"""Where the second device listens: it comes back on the port of the first."""


async def view_of(node: NodeProcess) -> TableView:
    while True:
        try:
            async with await open_control(node.folder.root) as client:
                return await client.view()
        except OperatorError:
            await trio.sleep(0.1)


async def at_roll(node: NodeProcess, rolls: int) -> None:
    async with await open_control(node.folder.root) as client:
        view = await client.view()
        while view.rolls < rolls:
            await client.wait_newer(view.height)
            view = await client.view()


def copied(node: NodeProcess, root: Path) -> NodeProcess:
    """Return the node of a copy of a folder, on an address of its own."""
    shutil.copytree(node.folder.root, root)
    write_config(Folder(root), node.name, OTHER_HOST)
    own = str(node.folder.root)
    arguments = tuple(str(root) if word == own else word for word in node.arguments)
    return NodeProcess("copy", Folder(root), arguments)


@pytest.mark.slow
async def test_the_copy_of_a_folder_stops_and_says_why_and_the_table_goes_on(
    tmp_path: Path,
) -> None:
    """The others dial the device with the greatest key, so links stay with the one that had them."""
    plan = Plan(
        root=tmp_path, names=NAMES[:4], you=None, rolls=None,
        rules=("thrower_ms=1000", "betting_min_ms=200"),
    )  # fmt: skip
    nodes = prepare(plan)
    nodes.sort(key=lambda node: load_keys(node.folder.identity).identity.public_key)
    first = nodes[-1]
    nodes.sort(key=lambda node: node.name)
    with trio.fail_after(SECONDS_MAX):
        async with open_table(plan, nodes):
            other = next(node for node in nodes if node is not first)
            await at_roll(other, 2)
            await first.stop()
            second = copied(first, tmp_path / "copy")
            try:
                await first.start()
                await second.start()
                said = {""}
                while not any("another device plays with its key" in text for text in said):
                    said = {(await view_of(node)).no_vote_text for node in (first, second)}
                    await trio.sleep(0.1)
                await at_roll(other, (await view_of(other)).rolls + 3)
            finally:
                await second.stop()
    table = load_table(other.folder.table)
    assert audit_folder(other.folder.root, table.chain_id).convictions == ()
