"""Whole nodes at one table over loopback and SQLite: they play, agree, restart and put up with
what one of them does.
"""

import contextlib
import os
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest
import trio

from consensus.messages import Number, Status, frame
from consensus.signing import key_id
from node.descriptor import Table
from node.game.craps.bets import Kind
from node.game.operations import CreateSession, Operation, PlaceBet, Roll, Sit, TakeDown
from node.game.params import GameParams, encode_params
from node.identity import Keys, credentials_of
from node.replica import Replica
from node.runtime import ProtocolRuntime
from node.serving import setup_of
from node.store import Journal
from node.view import TableView
from tests.node.tables import HOST, make_table
from transport.base import Address, Counters
from transport.tcp import dial

PARAMS = GameParams(betting_min_ms=0)
PASS = PlaceBet(0, Kind.PASS, 0, 10)


class Member:
    """One member's place: its folder stays, its node may come and go."""

    def __init__(
        self, folder: Path, table: Table, keys: Sequence[Keys], ports: Sequence[int], index: int
    ) -> None:
        self.folder = folder / str(index)
        self.folder.mkdir()
        self.table, self.keys, self.index = table, keys[index], index
        self.address = Address(HOST, ports[index])
        self._runtime: ProtocolRuntime | None = None

    @property
    def runtime(self) -> ProtocolRuntime:
        assert self._runtime is not None, "its node was never started"
        return self._runtime

    async def run(
        self, task_status: "trio.TaskStatus[list[Address]]" = trio.TASK_STATUS_IGNORED
    ) -> None:
        journal = Journal(self.folder, self.table.chain_id, key_id(self.keys.identity.public_key))
        try:
            setup = setup_of(self.table, self.keys)
            replica = Replica(setup, journal.load(), journal.block)
            self._runtime = ProtocolRuntime(replica, journal, self.table, credentials_of(self.keys))
            await self._runtime.run(self.address, task_status)
        finally:
            journal.close()

    async def do(self, *operations: Operation) -> None:
        """Submit operations that cannot be refused."""
        answers = await self.runtime.submit(operations)
        assert [answer.receipt.code for answer in answers] == [0] * len(operations)

    async def roll(self) -> None:
        """Throw as soon as the players have dice, and wait until the roll is settled."""
        before = self.runtime.view().rolls
        while (await self.runtime.submit([Roll(0)]))[0].receipt.code:
            with trio.move_on_after(0.05):
                await self.runtime.wait_newer(self.runtime.view().height)
        await until(self, lambda view: view.rolls > before)


async def until(member: Member, condition: Callable[[TableView], bool]) -> TableView:
    """Wait until the view of a member fulfils a condition; return the view."""
    while not condition(view := member.runtime.view()):
        await member.runtime.wait_newer(view.height)
    return view


async def all_agree(members: Sequence[Member]) -> list[TableView]:
    """Wait until all stand at one height; assert that they hold the same, to the chip."""
    while len({member.runtime.view().height for member in members}) > 1:
        lowest = min((member.runtime.view().height, member.index) for member in members)
        (slow,) = [member for member in members if member.index == lowest[1]]
        await slow.runtime.wait_newer(lowest[0])
    views = [member.runtime.view() for member in members]
    assert len({view.state_root for view in views}) == 1
    assert all(view.chips == view.minted for view in views)
    return views


@contextlib.asynccontextmanager
async def playing(
    folder: Path, size: int, start: Sequence[int] | None = None
) -> AsyncIterator[tuple[list[Member], trio.Nursery]]:
    table, keys, ports = make_table(size, params=encode_params(PARAMS))
    members = [Member(folder, table, keys, ports, index) for index in range(size)]
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            for index in range(size) if start is None else start:
                await nursery.start(members[index].run)
            yield members, nursery
            nursery.cancel_scope.cancel()


async def sit_down(members: Sequence[Member]) -> None:
    await members[0].do(CreateSession(1))
    for member in members:
        await until(member, lambda view: view.session == 0)
        await member.do(Sit(0), PASS)


async def test_a_member_that_floods_with_valid_questions_slows_nobody_down_to_a_halt(
    tmp_path: Path,
) -> None:
    async with playing(tmp_path, 4, start=[0, 1, 2]) as (members, nursery):
        await sit_down(members[:3])
        target, hostile = members[0], members[3]
        question = Status(1, 0, 1, 0, 0, bytes(32), 1, 0)
        link = await dial(
            target.address, credentials_of(hostile.keys), hostile.table.chain_id,
            lambda _: True, Counters(),
        )  # fmt: skip

        async def flood() -> None:
            async with contextlib.aclosing(link):
                while True:
                    await link.send([frame(Number.STATUS, question)] * 100)

        nursery.start_soon(flood)
        for _ in range(5):
            await target.do(PlaceBet(0, Kind.PASS, 0, 1))
        await all_agree(members[:3])
        peers = target.runtime.mesh.statistics()
        assert peers[3].counters.frames_received > 1_000
        assert peers[1].counters.dropped == peers[2].counters.dropped == 0


async def test_four_nodes_agree_on_bets_and_dice_to_the_chip(tmp_path: Path) -> None:
    async with playing(tmp_path, 4) as (members, _):
        await sit_down(members)
        async with trio.open_nursery() as nursery:
            for member in members:
                nursery.start_soon(bet_much, member)
        thrower = members[members[0].runtime.view().thrower]
        await thrower.roll()
        views = await all_agree(members)
        assert views[0].rolls == 1
        assert len(views[0].last[0].dice) == 2
        assert all(view.last == views[0].last for view in views)
        statistics = members[1].runtime.statistics()
        assert (statistics.rolls, sum(statistics.outcomes.values())) == (1, 1)
        assert statistics.games_active == 1
        assert statistics.house_profit == views[0].bank - PARAMS.bank
        assert statistics.peer_faults == {}


async def bet_much(member: Member) -> None:
    for _ in range(5):
        bets = [PlaceBet(0, Kind.PLACE, number, 30) for number in (4, 5, 6, 8, 9, 10)]
        await member.do(*bets, *(TakeDown(0, Kind.PLACE, bet.number) for bet in bets))


async def test_a_node_that_was_away_catches_up_and_keeps_what_it_had_sent(tmp_path: Path) -> None:
    async with playing(tmp_path, 4, start=[]) as (members, nursery):
        async with trio.open_nursery() as others:
            for member in members[:3]:
                await nursery.start(member.run)
            await others.start(members[3].run)
            await sit_down(members)
            others.cancel_scope.cancel()
        for _ in range(5):
            await members[0].do(PlaceBet(0, Kind.PASS, 0, 1))
        await nursery.start(members[3].run)
        views = await all_agree(members)
        assert [bet.stake for bet in views[3].players[0].bets] == [15]
        await members[3].do(PlaceBet(0, Kind.PASS, 0, 2))
        await all_agree(members)


async def test_a_whole_table_that_stops_goes_on_where_it_was(tmp_path: Path) -> None:
    table, keys, ports = make_table(4, params=encode_params(PARAMS))
    members = [Member(tmp_path, table, keys, ports, index) for index in range(4)]
    roots: list[str] = []
    for _ in range(3):
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                for member in members:
                    await nursery.start(member.run)
                view = members[0].runtime.view()
                if not roots:
                    await sit_down(members)
                else:
                    assert view.state_root == roots[-1]
                    await members[1].do(PlaceBet(0, Kind.PASS, 0, 1))
                await all_agree(members)
                nursery.cancel_scope.cancel()
        # A block may have become final between the agreement and the end.
        roots.append(members[0].runtime.view().state_root)
    assert len(set(roots)) == 3


@pytest.mark.parametrize("attack", ["garbage", "votes of nobody", "cut off", "replay"])
async def test_a_member_that_sends_garbage_stops_nobody(tmp_path: Path, attack: str) -> None:
    async with playing(tmp_path, 4, start=[0, 1, 2]) as (members, nursery):
        await sit_down(members[:3])
        target, hostile = members[0], members[3]
        kinds: dict[str, Callable[[], bytes]] = {
            "garbage": lambda: os.urandom(200),
            "votes of nobody": lambda: bytes((Number.VOTE,)) + os.urandom(200),
            "cut off": lambda: bytes((Number.PROPOSAL, 0x83)),
            "replay": lambda: bytes((Number.STATUS,)),
        }
        junk = kinds[attack]

        async def flood() -> None:
            while True:
                with contextlib.suppress(Exception):
                    link = await dial(
                        target.address, credentials_of(hostile.keys), hostile.table.chain_id,
                        lambda _: True, Counters(),
                    )  # fmt: skip
                    try:
                        while True:
                            await link.send([junk() for _ in range(100)])
                    finally:
                        await link.aclose()
                await trio.sleep(0.01)

        nursery.start_soon(flood)
        for _ in range(5):
            for member in members[:3]:
                await member.do(PlaceBet(0, Kind.PASS, 0, 1))
        await all_agree(members[:3])
        faults = target.runtime.statistics().peer_faults
        assert sum(faults.values()) >= 100
        assert target.runtime.mesh.statistics()[3].counters.hold_offs >= 1
        assert members[1].runtime.statistics().peer_faults == {}
