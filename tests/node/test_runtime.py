"""The owner of the replica: batches in, effects in order, and every way in which it ends."""

import contextlib
import math
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any, cast

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from consensus.effects import Halt, Persist, Report, RequestEntropy, Send, VoteLogged
from consensus.validators import ValidatorIndex
from node import mesh as mesh_module, runtime as runtime_module
from node.effects import Answer
from node.errors import NODE_ENDED, OperatorError
from node.events import (
    EVENTS_MAX,
    SUBSCRIBERS_MAX,
    Event,
    EventDispatcher,
    LinkChanged,
    Missed,
    Subscription,
)
from node.game.operations import Ready
from node.game.receipts import Receipt
from node.identity import credentials_of
from node.replica import Replica
from node.runtime import BATCH_FRAMES_MAX, FAULTS_PER_MINUTE_MAX, ProtocolRuntime
from node.statistics import Tally
from tests.node.machines import FullDisk, ListJournal, Machine, Scripted, Sequencer
from tests.node.tables import HOST, Seating, make_table
from transport.base import Address, Counters
from transport.link import Link
from transport.tcp import dial

ONE = ValidatorIndex(1)


def vote(view: int) -> VoteLogged:
    return VoteLogged(kind=1, epoch=0, view=view, digest=bytes(32), envelope=b"")


def make_runtime(
    machine: Machine,
    *,
    size: int = 1,
    me: int = 0,
    journal: ListJournal | None = None,
    table: Seating | None = None,
) -> tuple[ProtocolRuntime, Address]:
    """Return a runtime and the address it is to listen on."""
    seating = table or make_table(size)
    at, keys, ports = seating
    journal = journal or ListJournal()
    runtime = ProtocolRuntime(
        cast("Replica", machine),  # a stand-in has what the runtime uses of it
        journal,
        at,
        credentials_of(keys[me]),
        wall_ms=lambda: 7,
    )
    return runtime, Address(HOST, ports[me])


@contextlib.asynccontextmanager
async def running(machine: Machine, **kwargs: Any) -> AsyncIterator[ProtocolRuntime]:
    """Run one runtime over a machine, within 10 s."""
    runtime, address = make_runtime(machine, **kwargs)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            await nursery.start(runtime.run, address)
            yield runtime
            nursery.cancel_scope.cancel()


@contextlib.asynccontextmanager
async def running_table(machines: Sequence[Machine]) -> AsyncIterator[list[ProtocolRuntime]]:
    """Run a runtime for each machine and wait until all are linked."""
    table = make_table(len(machines))
    pairs = [make_runtime(machine, me=i, table=table) for i, machine in enumerate(machines)]
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            for runtime, address in pairs:
                await nursery.start(runtime.run, address)
            for runtime, _ in pairs:
                await linked(runtime)
            yield [runtime for runtime, _ in pairs]
            nursery.cancel_scope.cancel()


async def linked(runtime: ProtocolRuntime) -> None:
    with runtime.events.subscribe() as events:
        while not all(peer.up for peer in runtime.mesh.statistics()):
            await events.receive()


async def settled() -> None:
    """Let every task run until nothing but sockets and clocks is waited for."""
    await trio.testing.wait_all_tasks_blocked(0.02)


class Submitter:
    """Submits without waiting and keeps the answers."""

    def __init__(self, runtime: ProtocolRuntime) -> None:
        self.runtime = runtime
        self.answers: list[Answer | None] = []

    def put(self, count: int) -> list[int]:
        return [self.runtime.submit_nowait(Ready(i), self.answers.append) for i in range(count)]


# Inputs


async def test_operations_of_one_moment_reach_the_replica_in_one_batch_and_order() -> None:
    machine = Scripted()
    async with running(machine) as runtime:
        tickets = Submitter(runtime).put(500)
        await settled()
        ((batch,),) = machine.of("submit")
        assert [one.ticket for one in batch] == tickets
        assert [one.operation.session for one in batch] == list(range(500))


async def test_frames_reach_the_replica_in_batches_of_at_most_a_hundred() -> None:
    machine = Scripted()
    async with running(machine, size=2) as runtime:
        link = await guest(runtime)
        frames = [b"%d" % i for i in range(1000)]
        await link.send(frames)
        while sum(len(batch) for (batch,) in machine.of("receive")) < 1000:
            await settled()
        sizes = [len(batch) for (batch,) in machine.of("receive")]
        assert max(sizes) == BATCH_FRAMES_MAX
        assert [frame for (batch,) in machine.of("receive") for _, frame in batch] == frames
        assert machine.inputs.index(("peer_up", 1)) < [name for name, *_ in machine.inputs].index(
            "receive"
        )
        await link.aclose()


async def guest(runtime: ProtocolRuntime) -> Link:
    """Link to a runtime of two members as the other one, by hand."""
    other = make_table(2, ports=[1, 2])[1][1]
    return await dial(
        Address(HOST, runtime.bound[0].port),
        credentials_of(other),
        runtime.table.chain_id,
        lambda _: True,
        Counters(),
    )


async def test_t13_equal_frames_of_one_peer_are_all_handed_over() -> None:
    machine = Scripted()
    async with running(machine, size=2) as runtime:
        link = await guest(runtime)
        await link.send([b"same", b"same"])
        await link.send([b"same"])
        while sum(len(batch) for (batch,) in machine.of("receive")) < 3:
            await settled()
        assert {frame for (batch,) in machine.of("receive") for _, frame in batch} == {b"same"}
        await link.aclose()


async def test_a_deadline_is_handled_once_and_on_time(autojump_clock: MockClock) -> None:
    machine = Scripted(start=[[]])
    runtime, address = make_runtime(machine)
    machine.deadline_ms = round(trio.current_time() * 1000) + 1001
    due_ms = machine.deadline_ms
    async with trio.open_nursery() as nursery:
        await nursery.start(runtime.run, address)
        await trio.sleep(10)
        ((now,),) = machine.of("handle_deadline")
        assert (now.mono_ms, now.wall_ms) == (due_ms, 7)
        assert runtime.statistics().steps == 1
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("offset_ms", [1, 3, 1001, 86_400_001])
async def test_no_deadline_makes_the_owner_spin_just_before_it(
    autojump_clock: MockClock, offset_ms: int
) -> None:
    machine = Scripted()
    runtime, address = make_runtime(machine)
    machine.deadline_ms = round(trio.current_time() * 1000) + offset_ms
    async with trio.open_nursery() as nursery:
        await nursery.start(runtime.run, address)
        await trio.sleep(offset_ms / 1000 + 1)
        assert len(machine.of("handle_deadline")) == runtime.statistics().steps == 1
        nursery.cancel_scope.cancel()


async def test_an_operation_wakes_an_owner_that_waits_for_a_deadline() -> None:
    machine = Scripted()
    machine.deadline_ms = round(trio.current_time() * 1000) + 3_600_000
    async with running(machine) as runtime:
        await settled()
        Submitter(runtime).put(1)
        await settled()
        assert len(machine.of("submit")) == 1
        assert machine.of("handle_deadline") == []


# Effects


async def test_all_records_of_a_turn_are_durable_in_one_commit_before_anything_is_sent() -> None:
    machine = Scripted(
        receive=[
            [
                Send(ONE, b"before"),
                Persist((vote(1), vote(2))),
                Send(ONE, b"x"),
                Persist((vote(3),)),
            ]
        ]
    )
    journal = ListJournal()
    async with running(machine, size=2, journal=journal) as runtime:
        link = await guest(runtime)
        await link.send([b"go"])
        assert await link.receive() == [b"before", b"x"]
        assert journal.commits == [(vote(1), vote(2), vote(3))]
        assert runtime.statistics().commits == 1
        await link.aclose()


async def test_nothing_is_sent_when_the_disk_refuses_and_the_node_ends_with_its_sentence() -> None:
    machine = Scripted(receive=[[Persist((vote(1),)), Send(ONE, b"x")]])
    runtime, address = make_runtime(
        machine, size=2, journal=FullDisk(OperatorError("disk is full"))
    )
    with pytest.RaisesGroup(
        pytest.RaisesExc(OperatorError, match="disk is full"), flatten_subgroups=True
    ):
        async with trio.open_nursery() as nursery:
            await nursery.start(runtime.run, address)
            link = await guest(runtime)
            await link.send([b"go"])
            with contextlib.suppress(Exception):
                assert await link.receive() == []
            await link.aclose()


async def test_entropy_comes_back_in_the_size_asked_for_and_its_effects_are_performed() -> None:
    machine = Scripted(start=[[RequestEntropy(32)]], entropy=[[Persist((vote(1),))]])
    journal = ListJournal()
    async with running(machine, journal=journal):
        await settled()
        ((data,),) = machine.of("entropy")
        assert len(data) == 32
        assert journal.records == [vote(1)]


async def test_faults_are_counted_by_name_and_a_repeated_offender_is_held_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mesh_module, "HOLD_OFF_SECONDS", 60)
    faults = [Report(ONE, "bad frame")] * (FAULTS_PER_MINUTE_MAX - 1)
    machine = Scripted(receive=[faults, [Report(ONE, "bad vote")]])
    async with running(machine, size=2) as runtime:
        link = await guest(runtime)
        await link.send([b"x"])
        while not machine.of("receive"):
            await settled()
        assert runtime.mesh.statistics()[1].up
        await link.send([b"y"])
        while runtime.mesh.statistics()[1].up:
            await settled()
        snapshot = runtime.statistics()
        assert snapshot.peer_faults == {"bad frame": FAULTS_PER_MINUTE_MAX - 1, "bad vote": 1}
        assert runtime.mesh.statistics()[1].counters.hold_offs == 1
        await link.aclose()


async def test_faults_that_are_minutes_apart_close_no_link(autojump_clock: MockClock) -> None:
    meter = runtime_module._FaultMeter()
    for minute in range(5):
        for _ in range(FAULTS_PER_MINUTE_MAX - 1):
            assert not meter.exceeds(minute * 60_000)
    assert meter.exceeds(4 * 60_000 + 59_999)
    assert not meter.exceeds(4 * 60_000 + 59_999)


# Submitting


FIRST, SECOND, THIRD = Receipt(0, (1,)), Receipt(0, (2,)), Receipt(0, (3,))


async def test_a_submitter_is_woken_with_all_its_answers_in_its_own_order() -> None:
    answers = [Answer(2, 5, SECOND), Answer(1, 0, FIRST), Answer(3, 6, THIRD)]
    machine = Scripted(submit=[answers[:2], [answers[2]]])
    async with running(machine) as runtime:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect, runtime.submit([Ready(1), Ready(2)]), [FIRST, SECOND])
        assert [answer.receipt for answer in await runtime.submit([Ready(3)])] == [THIRD]
        snapshot = runtime.statistics()
        assert (snapshot.submitted, snapshot.waiting, snapshot.refused_here) == (3, 0, 1)


async def expect(submitting: Awaitable[Sequence[Answer]], receipts: list[Receipt]) -> None:
    assert [answer.receipt for answer in await submitting] == receipts


async def test_submitting_nothing_is_answered_with_nothing() -> None:
    async with running(Scripted()) as runtime:
        assert await runtime.submit([]) == []


async def test_a_submitter_that_gives_up_leaves_nothing_behind() -> None:
    machine = Scripted()
    async with running(machine) as runtime:
        with trio.move_on_after(0.05):
            await runtime.submit([Ready(1)] * 10)
        assert runtime._callbacks == {}
        machine.outputs["submit"] = deque([[Answer(1, 5, THIRD)]])
        Submitter(runtime).put(1)
        await settled()


async def test_a_callback_may_submit_again_and_shares_the_next_batch() -> None:
    machine = Scripted(submit=[[Answer(1, 1, FIRST), Answer(2, 1, FIRST)]])
    async with running(machine) as runtime:

        def again(_answer: Answer | None) -> None:
            runtime.submit_nowait(Ready(9), lambda _: None)

        runtime.submit_nowait(Ready(1), again)
        runtime.submit_nowait(Ready(2), again)
        await settled()
        assert [len(batch) for (batch,) in machine.of("submit")] == [2, 2]


async def test_one_operation_too_many_is_refused_with_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runtime_module, "SUBMITTED_MAX", 10)
    async with running(Scripted()) as runtime:
        Submitter(runtime).put(10)
        with pytest.raises(
            OperatorError, match="10 operations have no answer yet; the limit is 10"
        ):
            Submitter(runtime).put(1)


# Ends


async def test_a_halted_node_says_why_takes_nothing_more_and_still_answers_reads() -> None:
    machine = Scripted(submit=[[Halt("state root differs at height 9")]])
    async with running(machine, size=2) as runtime:
        link = await guest(runtime)
        with pytest.raises(OperatorError, match="halted: state root differs at height 9"):
            await runtime.submit([Ready(1)])
        with pytest.raises(OperatorError, match="halted: state root differs at height 9"):
            await runtime.submit([Ready(1)])
        with contextlib.suppress(Exception):
            await link.send([b"x"])
        await settled()
        assert machine.of("receive") == []
        assert runtime.halted == "state root differs at height 9"
        assert runtime.statistics().steps > 0
        await link.aclose()


async def test_an_exception_in_the_owner_ends_the_node_and_whoever_waits_for_an_answer() -> None:
    machine = Scripted(submit=[AssertionError("chips do not add up")])
    runtime, address = make_runtime(machine)
    waiters: list[str] = []

    async def wait() -> None:
        try:
            await runtime.submit([Ready(1)])
        except OperatorError as error:
            waiters.append(str(error))

    async def run(task_status: trio.TaskStatus[list[Address]]) -> None:
        with pytest.RaisesGroup(pytest.RaisesExc(AssertionError, match="chips")):
            await runtime.run(address, task_status)

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            await nursery.start(run)
            nursery.start_soon(wait)
    assert waiters == [NODE_ENDED]


# Events


def up(peer: int) -> LinkChanged:
    return LinkChanged(ValidatorIndex(peer), up=True)


async def test_a_slow_subscriber_loses_the_oldest_events_and_learns_how_many() -> None:
    dispatcher = EventDispatcher()
    with dispatcher.subscribe() as slow, dispatcher.subscribe() as quick:
        for i in range(EVENTS_MAX + 44):
            dispatcher.publish(up(i))
            assert await quick.receive() == up(i)
        assert await slow.receive() == Missed(44)
        assert [await slow.receive() for _ in range(EVENTS_MAX)] == list(map(up, range(44, 300)))
        assert (slow.lost, quick.lost) == (44, 0)
    assert len(dispatcher) == 0


async def test_a_subscriber_waits_for_the_next_event() -> None:
    dispatcher = EventDispatcher()
    with dispatcher.subscribe() as events:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_event, events, up(1))
            await trio.testing.wait_all_tasks_blocked()
            dispatcher.publish(up(1))


async def expect_event(events: Subscription, event: Event) -> None:
    assert await events.receive() == event


def test_more_subscribers_than_the_limit_are_refused() -> None:
    dispatcher = EventDispatcher()
    with contextlib.ExitStack() as stack:
        for _ in range(SUBSCRIBERS_MAX):
            stack.enter_context(dispatcher.subscribe())
        with pytest.raises(BlockingIOError, match="64"):
            stack.enter_context(dispatcher.subscribe())


# Several nodes


async def test_four_runtimes_agree_on_the_order_of_what_is_submitted_at_each() -> None:
    machines = [Sequencer(i) for i in range(4)]
    async with running_table(machines) as runtimes:
        async with trio.open_nursery() as nursery:
            for runtime in runtimes:
                for _ in range(5):
                    nursery.start_soon(runtime.submit, [Ready(i) for i in range(20)])
        while not all(len(machine.order) == 400 for machine in machines):
            await settled()
    assert all(machine.order == machines[0].order for machine in machines)


# Latencies


@pytest.mark.parametrize("us", [0, 1, 15, 16, 17, 31, 32, 1000, 123_456, 10**9])
def test_a_quantile_is_at_most_six_percent_above_the_durations_it_bounds(us: int) -> None:
    latencies = Tally().latencies
    for _ in range(10):
        latencies.add(us)
    assert us <= latencies.quantile_us(500) <= us + us // 16
    latencies.add(10**15)
    assert latencies.quantile_us(900) <= us + us // 16
    assert latencies.quantile_us(1000) > 10**9


def test_quantiles_of_a_ramp_are_where_they_should_be() -> None:
    latencies = Tally().latencies
    assert latencies.quantile_us(500) == 0
    for us in range(1, 10_001):
        latencies.add(us)
    for per_mille in (10, 500, 990):
        assert math.isclose(latencies.quantile_us(per_mille), 10 * per_mille, rel_tol=0.07)
