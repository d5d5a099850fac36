"""PROTOCOL 10: real nodes, sockets and files: who was away for long fetches the state and votes on."""

import signal
import sys
from pathlib import Path

import pytest
import trio

from consensus.effects import FetchedLogged
from node import replica as replica_module, state_sync
from node.config import Folder
from node.control import ControlClient, open_control
from node.game.craps.bets import Kind
from node.game.games import CRAPS
from node.game.operations import CreateSession, PlaceBet, Sit, TakeDown
from node.game.params import GameParams, encode_params
from node.inspection import open_store, read_standing
from node.playing import Bot
from node.serving import begin_table, rules_of, serve_node
from node.strategies import STRATEGIES
from node.view import TableView
from tests.node.tables import HOST, make_table

ROOT = Path(__file__).parent.parent.parent
BEHIND, SNAPSHOT = 24, 12
PASS = PlaceBet(0, Kind.PASS, 0, 10)
DOWN = TakeDown(0, Kind.PASS, 0)


class Node:
    """A node in this process that may stop and come back."""

    def __init__(self, root: Path, at: int) -> None:
        self.table, keys, _ = SEATING
        self.keys = keys[at]
        self.folder = Folder(root / str(at))
        self.folder.root.mkdir()
        begin_table(self.folder, self.table)
        self.scope = trio.CancelScope()

    async def run(self, task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> None:
        self.scope = trio.CancelScope()
        with self.scope:
            await serve_node(self.folder, self.table, self.keys, HOST, task_status)

    async def client(self) -> ControlClient:
        return await open_control(self.folder.root)

    async def view(self) -> TableView:
        async with await self.client() as client:
            return await client.view()


SEATING = make_table(4, params=encode_params(GameParams(betting_min_ms=0)))


async def fill_blocks(node: Node, count: int) -> None:
    """Make so many more blocks final, one operation each."""
    async with await node.client() as client:
        for number in range(count):
            (answer,) = await client.submit((DOWN if number % 2 else PASS,))
            assert answer.receipt.code == 0


async def play(node: Node) -> None:
    """Let a bot play at a node for as long as it runs."""
    rules = rules_of(node.table)
    strategy = STRATEGIES[CRAPS]["pass"].make(rules, 0)
    async with await node.client() as client:
        await Bot(client, strategy, rules, pace_seconds=60, patience_seconds=60).run(None)


async def at_height(node: Node, height: int) -> None:
    async with await node.client() as client:
        while (await client.view()).height < height:
            await client.wait_newer((await client.view()).height)


@pytest.mark.slow
async def test_a_node_that_was_away_for_long_leaps_to_the_state_and_its_vote_counts_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_sync, "BEHIND_BLOCKS", BEHIND)
    monkeypatch.setattr(replica_module, "BEHIND_BLOCKS", BEHIND)
    monkeypatch.setattr(replica_module, "SNAPSHOT_BLOCKS", SNAPSHOT)
    nodes = [Node(tmp_path, at) for at in range(4)]
    late = nodes[3]
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for node in nodes:
                await nursery.start(node.run)
            async with await nodes[0].client() as client:
                await client.submit((CreateSession(1), Sit(0)))
            await at_height(late, 1)
            height = (await late.view()).height
            late.scope.cancel()
            await fill_blocks(nodes[0], 4 * BEHIND)
            await nursery.start(late.run)
            # What its bot asks for now gets no answer: the state that is fetched holds none.
            nursery.start_soon(play, late)
            await at_height(late, height + 3 * BEHIND)
            nodes[1].scope.cancel()  # from now on the late one's vote is needed
            await fill_blocks(nodes[0], 4)
            await at_height(late, (await nodes[0].view()).height)
            ours, theirs = await late.view(), await nodes[0].view()
            while ours.height != theirs.height:  # a block came between the two questions
                await at_height(late, theirs.height)
                ours, theirs = await late.view(), await nodes[0].view()
            assert ours.state_root == theirs.state_root
            nursery.cancel_scope.cancel()
    with open_store(late.folder) as store:
        assert store.final(height + BEHIND) is None  # those blocks were never here
    standing = read_standing(late.folder)
    assert sum(standing.chips.values()) + standing.bank + standing.layout == standing.minted


@pytest.mark.slow
async def test_a_node_that_is_killed_while_it_fetches_the_state_goes_on_with_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_sync, "BEHIND_BLOCKS", BEHIND)
    monkeypatch.setattr(replica_module, "BEHIND_BLOCKS", BEHIND)
    monkeypatch.setattr(replica_module, "SNAPSHOT_BLOCKS", SNAPSHOT)
    monkeypatch.setattr(state_sync, "CHUNK_BYTES", 512)
    nodes = [Node(tmp_path, at) for at in range(4)]
    late = nodes[3]

    def fetched() -> int:
        with open_store(late.folder) as store:
            return sum(isinstance(one, FetchedLogged) for one in store.load())

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for node in nodes:
                await nursery.start(node.run)
            async with await nodes[0].client() as client:
                await client.submit((CreateSession(1), Sit(0)))
            await at_height(late, 1)
            height = (await late.view()).height
            late.scope.cancel()
            await fill_blocks(nodes[0], 4 * BEHIND)
            words = [str(late.folder.root), "3", str(BEHIND)]
            for life in range(3):
                done = await trio.run_process(
                    [sys.executable, "-m", "tests.node.fetching_child", *words],
                    cwd=ROOT, check=False,
                )  # fmt: skip
                assert done.returncode == -signal.SIGKILL
                assert fetched() == life + 1
            await nursery.start(late.run)
            await at_height(late, height + 3 * BEHIND)
            assert fetched() == 0
            nodes[1].scope.cancel()  # from now on the late one's vote is needed
            await fill_blocks(nodes[0], 4)
            await at_height(late, (await nodes[0].view()).height)
            nursery.cancel_scope.cancel()
    with open_store(late.folder) as store:
        assert store.final(height + BEHIND) is None  # those blocks were never here
