"""What a node still knows after it was ended, in good order or by force."""

import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from node.commands.fairness import fairness
from node.config import Folder
from node.control import ControlClient, open_control
from node.game.craps.bets import Kind
from node.game.operations import CreateSession, PlaceBet, Roll, Sit
from node.game.params import GameParams, encode_params
from node.remembering import MEMORY_FILE
from node.serving import begin_table, serve_node
from node.view import TableView
from tests.node.tables import HOST, make_table

PARAMS = GameParams(betting_min_ms=0)
ROLLS = 4


@contextlib.asynccontextmanager
async def node_on(folder: Folder) -> AsyncIterator[ControlClient]:
    """Run a lone node on a folder, and a client of it."""
    table, keys, _ = make_table(1, ports=[0], params=encode_params(PARAMS))
    table = type(table)(table.descriptor, table.accepts, ((f"{HOST}:0",),))
    folder.root.mkdir(exist_ok=True)
    if not folder.table.exists():
        begin_table(folder, table)
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(serve_node, folder, table, keys[0], HOST)
            async with await open_control(folder.root) as client:
                yield client
            nursery.cancel_scope.cancel()


async def play(client: ControlClient, rolls: int) -> TableView:
    view = await client.view()
    if view.session < 0:
        await client.submit([CreateSession(1), Sit(0)])
    target = view.rolls + rolls
    while (view := await client.view()).rolls < target:
        await client.submit([PlaceBet(0, Kind.PASS, 0, 10), PlaceBet(0, Kind.FIELD, 0, 10)])
        await client.submit([Roll(0)])
        with trio.move_on_after(0.05):
            await client.wait_newer(view.height)
    return view


def counted(status: dict[str, Any]) -> dict[str, Any]:
    names = ("blocks", "actions", "operations", "rolls", "outcomes", "volume", "house_profit")
    games = ("games_total", "games_active")
    return {name: status[name] for name in (*names, *games)}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "node")


async def test_a_player_sees_the_last_rolls_and_counts_after_a_restart(folder: Folder) -> None:
    async with node_on(folder) as client:
        before, status = await play(client, ROLLS), await client.status()
        assert (await client.view()).height == before.height
    async with node_on(folder) as client:
        after, later = await client.view(), await client.status()
    assert [roll.number for roll in after.last] == list(range(1, ROLLS + 1))
    assert any(roll.paid for roll in after.last)
    assert after.last == before.last
    assert counted(later) == counted(status)
    assert later["ran_ms"] > later["uptime_ms"]
    assert (status["fairness"]["rolls"], later["fairness"]) == (ROLLS, status["fairness"])


@pytest.mark.parametrize("kept", ["an older file", "no file", "a torn file", "another table's"])
async def test_after_a_kill_the_journal_gives_back_what_the_file_misses(
    folder: Folder, kept: str
) -> None:
    async with node_on(folder) as client:
        await play(client, 2)
    old = (folder.root / MEMORY_FILE).read_bytes()
    async with node_on(folder) as client:
        before, status = await play(client, 2), await client.status()
        killed = Folder(folder.root.with_name("killed"))
        shutil.copytree(folder.root, killed.root, ignore=shutil.ignore_patterns("*.sock"))
    contents = {
        "an older file": old,
        "no file": b"",
        "a torn file": old[: len(old) // 2],
        "another table's": old.replace(b'"chain_id":"', b'"chain_id":"00'),
    }
    (killed.root / MEMORY_FILE).write_bytes(contents[kept])
    if kept == "no file":
        (killed.root / MEMORY_FILE).unlink()
    async with node_on(killed) as client:
        after, later = await client.view(), await client.status()
    assert after.last == before.last
    assert counted(later) == counted(status)
    assert later["fairness"] == status["fairness"]


async def test_the_command_finds_in_the_store_what_the_node_counted(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    async with node_on(folder) as client:
        await play(client, ROLLS)
        live = (await client.status())["fairness"]
    with contextlib.suppress(SystemExit):
        fairness.main(["--data", str(folder.root), "--json"])
    output = capsys.readouterr().out
    assert f'"rolls": {ROLLS}' in output
    assert f'"chi_square_exact": "{live["chi_square_exact"]}"' in output
