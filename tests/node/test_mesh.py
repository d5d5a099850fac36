"""The mesh over real sockets: who is linked, what a bad peer or stranger can do, and what not."""

import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from consensus.validators import ValidatorIndex
from node import mesh as mesh_module
from node.addresses import AddressBook, founders_of
from node.descriptor import Table
from node.errors import OperatorError
from node.identity import Keys, credentials_of
from node.mesh import (
    DIRECT_BYTES_MAX,
    FRAME_COST_BYTES,
    INBOX_FRAMES_MAX,
    OUTBOX_BYTES_MAX,
    Contact,
    Mesh,
    _Channel,
)
from tests.node.tables import HOST, make_table, mesh_of
from transport import link as link_module
from transport.base import Address, Counters, Fault, LinkClosed, LinkRefused
from transport.link import MESSAGE_BYTES_MAX, Link
from transport.tcp import dial

GONE = (Fault.CLOSED, Fault.CUT)


class Peer:
    """One mesh and a stand-in for its owner: keeps what it takes, and can stop taking."""

    def __init__(self, table: Table, keys: Keys, index: int, port: int) -> None:
        self.mesh = mesh_of(table, keys, self.wake)
        self.index, self.keys, self.table = index, keys, table
        self.address = Address(HOST, port)
        self.frames: list[tuple[int, bytes]] = []
        self.changes: list[tuple[int, bool]] = []
        self.takes = True
        self.guests: list[Link] = []  # links that the test itself holds
        self.happened = trio.Event()
        self.scope = trio.CancelScope()

    def wake(self) -> None:
        if self.takes:
            self.changes += self.mesh.take_changes()
            while batch := self.mesh.take(100):
                self.frames += batch
        self.happened.set()

    def believes(self, other: "Peer", *addresses: str) -> None:
        """Dial another member at these addresses only."""
        self.mesh._book._entries[other.mesh._credentials.identity].addresses = addresses

    def send(self, to: int | None, *frames: bytes) -> None:
        for frame in frames:
            self.mesh.send(None if to is None else ValidatorIndex(to), frame)
        self.mesh.flush()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.happened = trio.Event()
            await self.happened.wait()

    def is_up(self, *others: int) -> bool:
        return all(self.mesh.statistics()[other].up for other in others)

    async def until_up(self, *others: int) -> None:
        await self.until(lambda: self.is_up(*others))

    async def until_changes(self, count: int) -> None:
        await self.until(lambda: len(self.changes) >= count)

    async def until_frames(self, count: int) -> None:
        await self.until(lambda: len(self.frames) >= count)

    async def run(
        self, task_status: "trio.TaskStatus[list[Address]]" = trio.TASK_STATUS_IGNORED
    ) -> None:
        with self.scope:
            await self.mesh.run(self.address, task_status)


@contextlib.asynccontextmanager
async def meshes(
    size: int, *, start: Sequence[int] | None = None, **kwargs: Any
) -> AsyncIterator[tuple[list[Peer], trio.Nursery]]:
    """Run the meshes of a table, or those named in `start`, within 10 s."""
    table, keys, ports = make_table(size, **kwargs)
    peers = [Peer(table, keys[i], i, ports[i]) for i in range(size)]
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            for index in range(size) if start is None else start:
                await nursery.start(peers[index].run)
            yield peers, nursery
            for peer in peers:
                for link in peer.guests:
                    await link.aclose()
            nursery.cancel_scope.cancel()


def channel_of(peer: Peer, other: int) -> _Channel:
    channel = peer.mesh._peers[other].channel
    assert channel is not None, "no link"
    return channel


def dialler(peer: Peer, other: Peer) -> tuple[Peer, Peer]:
    """Return (the one of two peers with the smaller identity key, the other one)."""
    one, two = peer.keys.identity.public_key, other.keys.identity.public_key
    return (peer, other) if one < two else (other, peer)


async def connect(keys: Keys, peer: Peer, chain_id: bytes | None = None) -> Link:
    """Dial a peer by hand, as the holder of these keys."""
    link = await dial(
        peer.address,
        credentials_of(keys),
        chain_id or peer.table.chain_id,
        lambda _: True,
        Counters(),
    )
    peer.guests.append(link)
    return link


async def fault_of(link: Link) -> Fault:
    """Return why a link that should end has ended."""
    try:
        while True:
            await link.receive()
    except LinkClosed as error:
        return error.fault


async def wait_for_fault(peer: Peer, fault: Fault) -> None:
    while not peer.mesh.counters.faults[fault]:
        await trio.testing.wait_all_tasks_blocked(0.01)


async def test_every_member_is_linked_to_every_other_and_frames_arrive_in_order() -> None:
    async with meshes(4) as (peers, _):
        for peer in peers:
            await peer.until_up(0, 1, 2, 3)
        for peer in peers:
            peer.mesh.send(None, b"all %d" % peer.index)
            for other in range(4):
                if other != peer.index:
                    peer.mesh.send(ValidatorIndex(other), b"one %d" % peer.index)
            peer.mesh.flush()
        for peer in peers:
            await peer.until_frames(6)
            for other in range(4):
                if other != peer.index:
                    got = [frame for sender, frame in peer.frames if sender == other]
                    assert got == [b"all %d" % other, b"one %d" % other]
        counters = peers[0].mesh.statistics()[1].counters
        assert (counters.frames_sent, counters.frames_received, counters.writes) == (2, 2, 1)


async def test_a_cut_link_is_dialled_again_and_both_ends_hear_of_it() -> None:
    async with meshes(2) as (peers, _):
        for peer in peers:
            await peer.until_up(0, 1)
        channel_of(peers[0], 1).close("cut by the test")
        for peer in peers:
            await peer.until_changes(3)
            assert peer.changes == [(1 - peer.index, up) for up in (True, False, True)]


async def test_of_several_addresses_all_are_tried_and_the_good_one_first_next_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG", "node.mesh")
    async with meshes(2, start=[]) as (peers, nursery):
        first, second = dialler(*peers)
        dead = [f"{HOST}:{port}" for port in make_table(3)[2]]
        first.believes(second, *dead[:2], str(second.address), dead[2])
        await nursery.start(second.run)
        await nursery.start(first.run)
        for count in (1, 2):
            await second.until_up(first.index)
            assert first.mesh.counters.opened == count
            assert caplog.text.count("dial failed") == 2
            channel_of(first, second.index).close("cut by the test")
            await second.until(lambda: not second.is_up(first.index))


async def test_a_peer_that_restarts_is_linked_again() -> None:
    async with meshes(2) as (peers, nursery):
        survivor, mortal = peers
        await survivor.until_up(1)
        mortal.scope.cancel()
        await survivor.until(lambda: not survivor.is_up(1))
        reborn = Peer(mortal.table, mortal.keys, 1, mortal.address.port)
        await nursery.start(reborn.run)
        await survivor.until_up(1)
        survivor.send(None, b"welcome")
        await reborn.until(lambda: reborn.frames == [(0, b"welcome")])


async def test_the_greater_key_dials_when_the_smaller_one_cannot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mesh_module, "SECOND_DIAL_SECONDS", 0.05)
    async with meshes(2, start=[]) as (peers, nursery):
        first, second = dialler(*peers)
        first.believes(second)  # as if it knew nowhere to dial
        await nursery.start(first.run)
        await nursery.start(second.run)
        await first.until_up(second.index)


async def test_the_smaller_key_dials_when_the_link_it_had_accepted_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mesh_module, "SECOND_DIAL_SECONDS", 60)
    async with meshes(2, start=[]) as (peers, nursery):
        first, second = dialler(*peers)
        dialling = first.mesh._peers[second.index].unlinked
        await nursery.start(first.run)
        accepted = await connect(second.keys, first)  # before its own dial got through
        await first.until_up(second.index)
        while first.mesh._peers[second.index].unlinked is dialling:
            await trio.testing.wait_all_tasks_blocked(0.01)
        await nursery.start(second.run)
        await accepted.aclose()
        await second.until_up(first.index)
        await first.until_up(second.index)


async def test_two_that_dial_at_once_end_with_one_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mesh_module, "SECOND_DIAL_SECONDS", 0)
    for _ in range(5):
        async with meshes(2) as ((one, two), _nursery):
            await one.until_up(1)
            await two.until_up(0)
            await both_ends_agree(one, two)
            one.send(None, b"x")
            two.send(None, b"y")
            await one.until_frames(1)
            await two.until_frames(1)


async def both_ends_agree(one: Peer, two: Peer) -> None:
    """Wait until both hold the two ends of one connection."""
    while True:
        await trio.testing.wait_all_tasks_blocked(0.01)
        ends = [peer.mesh._peers[1 - peer.index].channel for peer in (one, two)]
        carriers: list[Any] = [end.link._carrier for end in ends if end]
        names = [carrier._stream.socket for carrier in carriers]
        if len(names) == 2 and names[0].getsockname() == names[1].getpeername():
            return


async def test_of_two_links_the_one_that_the_smaller_key_dialled_is_kept() -> None:
    async with meshes(2, start=[]) as (peers, nursery):
        acceptor, guest = dialler(*peers)
        acceptor.believes(guest)
        await nursery.start(acceptor.run)
        kept = await connect(guest.keys, acceptor)
        await acceptor.until_up(guest.index)
        channel_of(acceptor, guest.index).by_smaller = True  # as if it had dialled itself
        assert await fault_of(await connect(guest.keys, acceptor)) in GONE
        acceptor.send(None, b"still here")
        assert await kept.receive() == [b"still here"]


async def test_of_two_links_by_one_dialler_the_newest_is_kept() -> None:
    async with meshes(2, start=[]) as (peers, nursery):
        guest, acceptor = dialler(*peers)
        await nursery.start(acceptor.run)
        old = await connect(guest.keys, acceptor)
        await acceptor.until_up(guest.index)
        new = await connect(guest.keys, acceptor)
        assert await fault_of(old) in GONE
        acceptor.send(None, b"still here")
        assert await new.receive() == [b"still here"]
        assert acceptor.changes == [(guest.index, True), (guest.index, True)]


@pytest.mark.parametrize("attack", ["stranger", "wrong table", "garbage", "oversized"])
async def test_who_does_not_belong_is_closed_and_counted_and_nothing_else(attack: str) -> None:
    async with meshes(2) as (peers, _):
        peer = peers[0]
        await peer.until_up(1)
        fault = {
            "stranger": Fault.STRANGER,
            "wrong table": Fault.CLOSED,  # by the dialler, which is the first to notice
            "garbage": Fault.OVERSIZED,
            "oversized": Fault.OVERSIZED,
        }[attack]
        if attack == "stranger":
            # The initiator's last message is refused, so it has a link for a moment.
            assert await fault_of(await connect(Keys(bytes([99]) * 32), peer)) == Fault.CLOSED
        elif attack == "wrong table":
            with pytest.raises(LinkRefused):
                await connect(peers[1].keys, peer, chain_id=bytes(32))
        else:
            stream = await trio.open_tcp_stream(*peer.address)
            await stream.send_all(b"\xff" * 5000 if attack == "garbage" else b"\x7f\xff\xff\xff")
            with contextlib.suppress(trio.BrokenResourceError):
                assert await stream.receive_some() == b""
            await stream.aclose()
        await wait_for_fault(peer, fault)
        assert peer.mesh.counters.faults == {fault: 1}
        assert peer.changes == [(1, True)]
        assert peer.frames == []
        peers[1].send(None, b"undisturbed")
        await peer.until(lambda: peer.frames == [(1, b"undisturbed")])


async def test_a_member_that_floods_is_read_no_further_than_the_bound_and_others_are_heard() -> (
    None
):
    async with meshes(3, start=[0]) as (peers, _nursery):
        peer, flooder, honest = peers
        peer.takes = False
        link = await connect(flooder.keys, peer)
        quiet = await connect(honest.keys, peer)
        flood = [b"f" * 1000] * 100
        with trio.move_on_after(0.5):
            while True:
                await link.send(flood)
        held = peer.mesh._peers[flooder.index]
        assert INBOX_FRAMES_MAX <= len(held.inbox) < INBOX_FRAMES_MAX + 100
        await quiet.send([b"a", b"b"])
        await peer.until(lambda: len(peer.mesh._peers[honest.index].inbox) == 2)
        batch = peer.mesh.take(100)
        assert len(batch) == 100
        first, second, third, fourth = (sender for sender, _ in batch[:4])
        assert {first, second} == {flooder.index, honest.index}
        assert (third, fourth) == (first, second)


async def test_a_peer_whose_frames_had_to_wait_is_heard_to_the_end() -> None:
    async with meshes(2, start=[0]) as (peers, nursery):
        peer = peers[0]
        peer.takes = False
        link = await connect(peers[1].keys, peer)
        frames = [b"%d" % i for i in range(2000)]
        nursery.start_soon(link.send, frames)
        await peer.until(lambda: len(peer.mesh._peers[1].inbox) >= INBOX_FRAMES_MAX)
        got: list[bytes] = []
        while len(got) < len(frames):
            batch = peer.mesh.take(100)
            got += [frame for _, frame in batch]
            await trio.testing.wait_all_tasks_blocked(0.001)
        assert got == frames


async def test_frames_of_the_greatest_size_are_held_one_or_two_at_a_time() -> None:
    async with meshes(2, start=[0]) as (peers, _nursery):
        peer = peers[0]
        peer.takes = False
        link = await connect(peers[1].keys, peer)
        with trio.move_on_after(0.5):
            while True:
                await link.send([bytes(MESSAGE_BYTES_MAX)])
        held = peer.mesh._peers[1]
        assert held.inbox_bytes == sum(map(len, held.inbox)) <= 2 * MESSAGE_BYTES_MAX


async def test_a_peer_that_reads_nothing_costs_one_outbox_and_nobody_else() -> None:
    async with meshes(3, start=[0, 1]) as (peers, _nursery):
        peer, reader, _ = peers
        await connect(peers[2].keys, peer)  # never receives
        await peer.until(lambda: peer.is_up(1) and peer.is_up(2))
        frame = bytes(MESSAGE_BYTES_MAX)
        for count in range(1, 31):
            peer.send(None, frame)
            await reader.until_frames(count)
        status = peer.mesh.statistics()
        assert status[2].queued_bytes <= OUTBOX_BYTES_MAX
        assert status[2].counters.dropped > 10
        assert (status[1].counters.dropped, status[1].counters.frames_sent) == (0, 30)


async def test_frames_arrive_in_order_whether_the_owner_or_the_task_of_the_link_sends_them() -> (
    None
):
    async with meshes(2, start=[0]) as (peers, nursery):
        peer = peers[0]
        link = await connect(peers[1].keys, peer)
        await peer.until_up(1)
        sent: list[bytes] = []
        for i in range(400):  # small and large turns, more than the socket takes at once
            turn = [b"%d " % i + bytes(size) for size in ((10, 100), (30_000,), (90_000, 7))[i % 3]]
            if peer.mesh.statistics()[1].queued_bytes > OUTBOX_BYTES_MAX // 2:
                break
            peer.send(1, *turn)
            sent += turn
        assert peer.mesh.statistics()[1].queued_bytes > DIRECT_BYTES_MAX
        got: list[bytes] = []
        while len(got) < len(sent):
            got += await link.receive()
        assert got == sent
        assert peer.mesh.statistics()[1].counters.frames_sent == len(sent)
        await peer.until(lambda: True)
        assert peer.mesh.statistics()[1].queued_bytes == 0
        nursery.cancel_scope.cancel()


async def test_tiny_frames_are_charged_for_their_objects() -> None:
    async with meshes(2, start=[0]) as (peers, _nursery):
        await connect(peers[1].keys, peers[0])
        await peers[0].until(lambda: peers[0].is_up(1))
        room = OUTBOX_BYTES_MAX // (1 + FRAME_COST_BYTES)
        peers[0].send(1, *[b"x"] * (room + 5))
        assert peers[0].mesh.statistics()[1].counters.dropped == 5


async def test_frames_for_an_absent_peer_are_counted_and_not_kept() -> None:
    table, keys, ports = make_table(2)
    peer = Peer(table, keys[0], 0, ports[0])
    peer.send(None, b"x")
    peer.send(1, b"x")
    status = peer.mesh.statistics()[1]
    assert (status.counters.absent, status.queued_bytes, status.up) == (2, 0, False)


async def test_an_offender_is_held_off_and_may_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mesh_module, "HOLD_OFF_SECONDS", 0.3)
    async with meshes(2, start=[0]) as (peers, _nursery):
        peer = peers[0]
        link = await connect(peers[1].keys, peer)
        await peer.until_up(1)
        peer.takes = False
        await link.send([b"bad"] * 10)
        await peer.until(lambda: peer.mesh.has_input)
        peer.mesh.hold_off(ValidatorIndex(1), "ten bad frames")
        assert peer.mesh.take(100) == []
        assert await fault_of(link) in GONE
        again = await connect(peers[1].keys, peer)
        assert await fault_of(again) in GONE
        peer.takes = True
        await trio.sleep(0.35)
        await connect(peers[1].keys, peer)
        await peer.until_up(1)
        assert peer.mesh.statistics()[1].counters.hold_offs == 1


async def test_a_write_that_makes_no_progress_ends_its_link(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(link_module, "STALL_SECONDS", 0.2)
    monkeypatch.setattr(link_module, "WATCH_SECONDS", 0.05)
    async with meshes(2, start=[0]) as (peers, _nursery):
        peer = peers[0]
        await connect(peers[1].keys, peer)
        await peer.until_up(1)
        for _ in range(12):
            peer.send(1, bytes(MESSAGE_BYTES_MAX))
            await trio.sleep(0.01)
        await peer.until(lambda: not peer.is_up(1))


async def test_an_address_that_is_taken_is_an_operators_error() -> None:
    table, keys, ports = make_table(2)
    with pytest.RaisesGroup(
        pytest.RaisesExc(OperatorError, match=r"cannot listen on .*ddress already in use"),
        flatten_subgroups=True,
    ):
        async with trio.open_nursery() as nursery:
            await nursery.start(Peer(table, keys[0], 0, ports[0]).run)
            await nursery.start(Peer(table, keys[1], 1, ports[0]).run)


async def test_dialling_backs_off_from_a_tenth_to_five_seconds_with_jitter(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, keys, ports = make_table(2)
    first, second = dialler(*(Peer(table, keys[i], i, ports[i]) for i in range(2)))
    times: list[float] = []

    async def refuse(*_args: object) -> Link:
        times.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        raise LinkRefused(Fault.CUT, "nobody listens")

    monkeypatch.setattr(mesh_module, "dial", refuse)
    with trio.move_on_after(100):
        await first.mesh._keep_linked(first.mesh._peers[second.index])
    waits = [after - before for before, after in itertools.pairwise(times)]
    doubled = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, *[5.0] * len(waits)]
    assert len(waits) > 20
    assert all(full / 2 <= wait <= full for wait, full in zip(waits, doubled, strict=False))
    assert len({round(wait, 3) for wait in waits[6:]}) > 5


async def test_a_newcomer_is_dialled_at_the_address_that_a_third_member_passes_on() -> None:
    """Of three members two have never heard of the address of the last one."""
    table, keys, ports = make_table(3)
    least = min(range(3), key=lambda slot: keys[slot].identity.public_key)
    other, newcomer = (slot for slot in range(3) if slot != least)
    peers = [Peer(table, keys[slot], slot, ports[slot]) for slot in range(3)]
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            for slot in (least, other):
                peers[slot].believes(peers[newcomer])
            peers[newcomer].believes(peers[least])  # it dials nobody but the other one
            book = peers[newcomer].mesh._book
            book.announce(keys[newcomer].identity, (f"{HOST}:{ports[newcomer]}",), 5)
            for peer in peers:
                await nursery.start(peer.run)
            await peers[least].until_up(newcomer)
            await peers[other].until_up(newcomer)
            assert peers[least].mesh._book.has_announced(keys[newcomer].identity.public_key)
            nursery.cancel_scope.cancel()


async def test_a_member_that_comes_later_is_let_in_and_one_whose_slot_was_wrong_is_cut_off() -> (
    None
):
    table, keys, ports = make_table(3)
    known = founders_of(table)
    contacts = [Contact(slot, one.identity, one.nickname) for slot, one in enumerate(known)]
    peers = [Peer(table, keys[slot], slot, ports[slot]) for slot in range(3)]
    first = peers[0]
    first.mesh = Mesh(
        table.chain_id, contacts[:2], AddressBook(table.chain_id, known[:2]),
        credentials_of(keys[0]), first.wake,
    )  # fmt: skip
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            for peer in peers:
                await nursery.start(peer.run)
            await first.until_up(1)
            with pytest.raises(LinkClosed):
                await (await connect(keys[2], first)).receive()
            first.mesh.update(contacts)
            await first.until_up(2)
            first.mesh.update([*contacts[:2], Contact(2, b"\x01" * 32, "other")])
            await peers[2].until(lambda: not peers[2].is_up(0))
            assert not first.is_up(2)
            nursery.cancel_scope.cancel()


async def test_who_was_heard_to_have_another_s_place_may_come_in_at_its_own() -> None:
    table, keys, _ = make_table(2, ports=[0, 0])
    mesh = mesh_of(table, keys[0], lambda: None)
    founders = [
        Contact(slot, one.identity, one.nickname) for slot, one in enumerate(founders_of(table))
    ]
    anna, ben = bytes([1]) * 32, bytes([2]) * 32
    mesh.update([*founders, Contact(2, anna, "anna"), Contact(3, ben, "ben")])
    mesh.update([*founders, Contact(2, ben, "ben"), Contact(3, anna, "anna")])
    assert mesh._may_enter(anna)
    assert mesh._may_enter(ben)
    mesh.update([*founders, Contact(2, anna, "anna")])
    assert mesh._may_enter(anna)
    assert not mesh._may_enter(ben)
    assert len(mesh.statistics()) == 3
    mesh.hold_off(ValidatorIndex(3), "for what it said before")  # and nobody has that place


async def test_a_member_that_has_left_is_not_dialled_and_its_link_is_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mesh_module, "FAREWELL_SECONDS", 0.2)
    async with meshes(2) as (peers, _nursery):
        stays, goes = peers
        await stays.until_up(goes.index)
        contacts = [
            Contact(slot, one.identity, one.nickname, left=slot == goes.index)
            for slot, one in enumerate(founders_of(stays.table))
        ]
        goes.believes(stays)  # it does not dial again
        stays.mesh.update(contacts)
        await stays.until(lambda: not stays.is_up(goes.index))
        links = stays.mesh.statistics()[goes.index].counters.links
        with trio.move_on_after(5 * mesh_module.FAREWELL_SECONDS):
            await stays.until(lambda: stays.is_up(goes.index))
        assert stays.mesh.statistics()[goes.index].counters.links == links
