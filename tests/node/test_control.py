"""The control socket: what it serves, to whom, and what becomes of those who misuse it."""

import contextlib
import json
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from consensus.effects import Halt
from consensus.validators import ValidatorIndex
from node import control as control_module
from node.control import (
    CLIENTS_MAX,
    LINE_BYTES_MAX,
    REQUESTS_MAX,
    SOCKET_FILE,
    ControlClient,
    open_control,
    serve_control,
)
from node.effects import Answer
from node.errors import NODE_ENDED, OperatorError
from node.events import EVENTS_MAX, LinkChanged
from node.game.operations import CreateSession, PlaceBet, Ready, Sit
from node.game.receipts import Receipt
from node.runtime import ProtocolRuntime
from tests.node.machines import Machine, Scripted, lone_replica
from tests.node.test_runtime import make_runtime


@contextlib.asynccontextmanager
async def controlled(
    folder: Path, machine: Machine, **kwargs: Any
) -> AsyncIterator[ProtocolRuntime]:
    """Run a runtime with its control socket in a folder, within 10 s."""
    runtime, address = make_runtime(machine, **kwargs)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            await nursery.start(runtime.run, address)
            await nursery.start(serve_control, runtime, folder)
            yield runtime
            nursery.cancel_scope.cancel()


@contextlib.asynccontextmanager
async def real_node(folder: Path) -> AsyncIterator[ControlClient]:
    """A lone node with the real game behind a control socket, and a client of it."""
    replica, journal, table = lone_replica()
    async with (
        controlled(folder, replica, journal=journal, table=table),
        await open_control(folder) as client,
    ):
        yield client


class Raw:
    """A connection without manners; reads one JSON line at a time."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._lines = control_module._Lines(stream, 1 << 22)

    async def __call__(self, line: bytes) -> Any:
        await self.stream.send_all(line + b"\n")
        return await self.reply()

    async def reply(self) -> Any:
        line = await self._lines.next()
        return None if line is None else json.loads(line)


@contextlib.asynccontextmanager
async def raw(folder: Path) -> AsyncIterator[Raw]:
    stream = await trio.open_unix_socket(folder / SOCKET_FILE)
    async with stream:
        yield Raw(stream)


# What it serves


async def test_a_client_sees_plays_and_waits_at_a_real_node(tmp_path: Path) -> None:
    async with real_node(tmp_path) as client:
        assert (await client.view()).session == -1
        (answer,) = await client.submit([CreateSession(1)])
        assert answer == Answer(0, 1, Receipt(0, (0,)))
        await client.submit([Sit(0)])
        assert await client.wait_newer(1) == 2
        answers = await client.submit([PlaceBet(0, 1, 0, 10), PlaceBet(0, 1, 0, 10**9)])
        assert [(answer.ticket, answer.height) for answer in answers] == [(0, 3), (1, 0)]
        assert answers[1].receipt.code > 0
        view = await client.view()
        assert view.height >= 3  # the first bet makes the players deal: blocks of their own
        assert (view.own.rack, view.chips) == (9_990, view.minted)
        assert [(bet.kind, bet.stake) for bet in view.own.bets] == [(1, 10)]
        status = await client.status()
        assert (status["operations"], status["refused_here"]) == (4, 1)  # and the next keys
        assert status["latency_p50_us"] > 0
        assert (status["halted"], status["peers"][0]["name"]) == ("", "player 0")
        assert status["state_root"] == (await client.view()).state_root
        assert status["view"] > status["height"] >= 3


async def test_requests_of_one_client_overtake_each_other(tmp_path: Path) -> None:
    async with real_node(tmp_path) as client:
        heights: list[int] = []

        async def wait(height: int) -> None:
            heights.append(await client.wait_newer(height))

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(wait, 0)
            await trio.testing.wait_all_tasks_blocked(0.02)
            assert (await client.view()).height == 0
            await client.submit([CreateSession(1)])
        assert heights == [1] * 10


async def test_events_are_pushed_to_those_who_watch(tmp_path: Path) -> None:
    async with real_node(tmp_path) as client:
        subscription = await client.subscribe()
        await client.view()
        await client.submit([CreateSession(1)])
        name, fields = await client.next_event(subscription)
        assert (name, fields["height"], fields["actions"]) == ("Final", 1, 1)
        name, fields = await client.next_event(subscription)
        assert (name, fields["height"]) == ("Played", 1)


async def test_a_watcher_that_does_not_read_loses_events_and_learns_how_many(
    tmp_path: Path,
) -> None:
    async with controlled(tmp_path, Scripted()) as runtime, raw(tmp_path) as ask:
        await ask.stream.send_all(b'{"do":"watch","id":7}\n')
        while not len(runtime.events):
            await trio.testing.wait_all_tasks_blocked(0.01)
        count = 20_000  # more than a socket's buffers hold
        for _ in range(count // EVENTS_MAX):
            for i in range(EVENTS_MAX):
                runtime.events.publish(LinkChanged(ValidatorIndex(i), up=True))
            await trio.testing.wait_all_tasks_blocked()
        told = lost = 0
        while told + lost < count - count % EVENTS_MAX:
            reply = await ask.reply()
            assert reply["id"] == 7
            if reply["event"] == "Missed":
                lost += reply["of"]["count"]
            else:
                told += 1
        assert lost == runtime.events.lost > 0
        assert told > EVENTS_MAX


async def test_stop_ends_the_node_and_whoever_waits_at_it(tmp_path: Path) -> None:
    machine = Scripted()
    runtime, address = make_runtime(machine)
    sentences: list[str] = []

    async def wait(call: Callable[..., Awaitable[object]], *args: object) -> None:
        try:
            await call(*args)
        except OperatorError as error:
            sentences.append(str(error))

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            await nursery.start(runtime.run, address)
            await nursery.start(serve_control, runtime, tmp_path)
            one, two = await open_control(tmp_path), await open_control(tmp_path)
            async with one, two, trio.open_nursery() as waiting:
                waiting.start_soon(wait, one.submit, [Ready(0)])
                waiting.start_soon(wait, one.wait_newer, 5)
                await trio.testing.wait_all_tasks_blocked(0.02)
                waiting.start_soon(wait, two.stop)
    assert set(sentences) == {NODE_ENDED}
    assert not (tmp_path / SOCKET_FILE).exists()
    with pytest.raises(OperatorError, match="no node runs on"):
        await open_control(tmp_path)


async def test_a_halted_node_still_shows_what_it_knows_and_refuses_with_the_reason(
    tmp_path: Path,
) -> None:
    machine = Scripted(submit=[[Halt("state root differs")]])
    async with controlled(tmp_path, machine), await open_control(tmp_path) as client:
        for _ in range(2):
            with pytest.raises(OperatorError, match="halted: state root differs"):
                await client.submit([Ready(0)])
        assert (await client.status())["halted"] == "state root differs"


# Who may, and what is refused


async def test_only_the_owner_of_the_folder_may_use_the_socket(tmp_path: Path) -> None:
    async with controlled(tmp_path, Scripted()):
        assert stat.S_IMODE((tmp_path / SOCKET_FILE).stat().st_mode) == 0o600


async def test_a_socket_that_a_crash_left_is_replaced(tmp_path: Path) -> None:
    with contextlib.closing(control_module._listen(tmp_path)):
        pass
    with pytest.raises(OperatorError, match="no node runs on"):
        await open_control(tmp_path)
    async with controlled(tmp_path, Scripted()), await open_control(tmp_path) as client:
        assert (await client.status())["height"] == 0


async def test_a_folder_may_have_a_longer_path_than_a_socket(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 200)
    folder.mkdir()
    async with controlled(folder, Scripted()), await open_control(folder) as client:
        assert (await client.status())["height"] == 0
        assert (folder / SOCKET_FILE).is_socket()


async def test_where_open_folders_have_no_names_a_long_path_is_an_operators_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_module, "OPEN_FILES", tmp_path / "nothing")
    folder = tmp_path / ("x" * 200)
    folder.mkdir()
    with pytest.raises(OperatorError, match="107 at most: use a folder with a shorter path"):
        control_module._listen(folder)
    with pytest.raises(OperatorError, match="107 at most"):
        await open_control(folder)


async def test_a_folder_that_cannot_hold_a_socket_is_an_operators_error(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"cannot make .*No such file or directory"):
        control_module._listen(tmp_path / "gone")
    with pytest.raises(OperatorError, match="no node runs on"):
        await open_control(tmp_path / "gone")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (b"", "the request cannot be read"),
        (b"\xff\xfe", "the request cannot be read"),
        (b"[1,2]", "the request cannot be read: Expected `object`, got `array`"),
        (b'{"do":"dance","id":1}', "Invalid value 'dance'"),
        (b'{"id":1}', "missing required field `do`"),
        (b'{"do":"view","id":-1}', "Expected `int` >= 0"),
        (b'{"do":"view","extra":1}', "unknown field `extra`"),
        (b'{"do":"submit","id":1}', "missing required field `operations`"),
        (b'{"do":"submit","operations":[[99,0]]}', "Invalid value 99"),
        (b'{"do":"submit","operations":[[4,0,1,0,-5]]}', "Expected `int` >= 0"),
        (b'{"do":"submit","operations":[[4,0,1,0,5.5]]}', "Expected `int`, got `float`"),
        (b'{"do":"submit","operations":[' + b"[8,0]," * 4096 + b"[8,0]]}", "length <= 4096"),
    ],
)
async def test_a_bad_request_gets_one_sentence_and_the_client_goes_on(
    tmp_path: Path, line: bytes, sentence: str
) -> None:
    machine = Scripted()
    async with controlled(tmp_path, machine), raw(tmp_path) as ask:
        reply = await ask(line)
        assert reply.keys() == {"id", "error"}
        assert sentence in reply["error"]
        assert (await ask(b'{"do":"status","id":5}'))["status"]["height"] == 0
        assert machine.of("submit") == []


async def test_a_line_without_end_is_cut_off_at_the_limit(tmp_path: Path) -> None:
    async with controlled(tmp_path, Scripted()), raw(tmp_path) as ask:
        with contextlib.suppress(trio.BrokenResourceError):
            while True:
                await ask.stream.send_all(b"x" * LINE_BYTES_MAX)
        assert (await ask.reply())["error"] == f"a line of more than {LINE_BYTES_MAX} bytes"
        async with await open_control(tmp_path) as client:
            assert (await client.status())["height"] == 0


async def test_one_client_too_many_is_told_so_and_a_free_place_is_used_again(
    tmp_path: Path,
) -> None:
    async with controlled(tmp_path, Scripted()):
        async with contextlib.AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(await open_control(tmp_path))
                for _ in range(CLIENTS_MAX)
            ]
            await clients[-1].status()
            async with await open_control(tmp_path) as late:
                with pytest.raises(OperatorError, match="64 clients use this node already"):
                    await late.status()
        await trio.testing.wait_all_tasks_blocked(0.02)
        async with await open_control(tmp_path) as client:
            await client.status()


async def test_a_client_with_too_many_requests_under_way_is_not_read_until_one_is_answered(
    tmp_path: Path,
) -> None:
    machine = Scripted()
    async with controlled(tmp_path, machine) as runtime, raw(tmp_path) as ask:
        for _ in range(REQUESTS_MAX + 1):
            await ask.stream.send_all(b'{"do":"submit","operations":[[8,0]]}\n')
        await trio.testing.wait_all_tasks_blocked(0.02)
        assert submitted(machine) == REQUESTS_MAX
        runtime._answer(Answer(1, 0, Receipt(1)), 0)
        assert (await ask.reply())["answers"] == [[0, [1, []]]]
        await trio.testing.wait_all_tasks_blocked(0.02)
        assert submitted(machine) == REQUESTS_MAX + 1


def submitted(machine: Scripted) -> int:
    return sum(len(batch) for (batch,) in machine.of("submit"))


async def test_a_client_that_takes_no_replies_is_disconnected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_module, "WRITE_SECONDS", 0.2)
    async with controlled(tmp_path, Scripted()), raw(tmp_path) as ask:
        with contextlib.suppress(trio.BrokenResourceError):
            while True:
                await ask.stream.send_all(b'{"do":"status"}\n' * 10)
        async with await open_control(tmp_path) as client:
            await client.status()


async def test_a_client_that_goes_away_in_the_middle_leaves_nothing_behind(tmp_path: Path) -> None:
    async with controlled(tmp_path, Scripted()) as runtime:
        async with raw(tmp_path) as ask:
            await ask.stream.send_all(
                b'{"do":"submit","operations":[[8,0]]}\n{"do":"watch"}\n{"do"'
            )
            while not (len(runtime.events) and runtime.statistics().waiting):
                await trio.testing.wait_all_tasks_blocked(0.01)
        while len(runtime.events) or runtime.statistics().waiting:
            await trio.testing.wait_all_tasks_blocked(0.01)


async def test_a_caller_that_gives_up_before_it_has_said_anything_leaves_the_connection_open(
    tmp_path: Path,
) -> None:
    async with real_node(tmp_path) as client, trio.open_nursery() as nursery:

        async def lose_patience(patience: trio.CancelScope) -> None:
            while not client._writing.locked():
                await trio.lowlevel.checkpoint()
            patience.cancel()

        # The time is up between the turn to write and the write, if the scheduler's coin says so.
        for _ in range(20):
            with trio.CancelScope() as patience:
                nursery.start_soon(lose_patience, patience)
                await client.wait_newer(10)
            assert patience.cancelled_caught
        assert (await client.status())["height"] == 0
        assert client._replies == {}


async def test_a_caller_that_gives_up_does_not_take_the_replies_of_others(tmp_path: Path) -> None:
    async with real_node(tmp_path) as client:
        with trio.move_on_after(0.05):
            await client.wait_newer(100)
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(client.view)
        assert client._replies == {}
