"""Queues that are full: a datagram is lost, a stream waits with every byte and frame in its place."""

from collections.abc import Sequence
from random import Random

import pytest

from consensus.effects import Now
from consensus.validators import ValidatorIndex
from netsim.chance import US_PER_S, Spread
from netsim.fabric import FRAME_OVERHEAD_BYTES, Fabric, Links, Rates
from netsim.host import Simulated
from netsim.network import Network
from netsim.scenario import parse_scenario
from netsim.simulation import simulate

NARROW = """
name = "narrow"
tier = "{tier}"
duration = "5s"
[nodes]
count = 4
[link]
up = 100_000
down = 100_000
queue = 1
stream = true
[liveness]
within = "120s"
"""


@pytest.mark.parametrize("tier", ["core", "node"])
def test_a_table_plays_on_although_every_queue_holds_one_piece_alone(tier: str) -> None:
    outcome, _ = simulate(parse_scenario(NARROW.format(tier=tier)), 1)
    assert (outcome.violations, outcome.verdict) == ((), "ok")


def test_a_piece_that_is_greater_than_a_queue_passes_an_empty_one_at_both_ends() -> None:
    links = Links(latency=Spread("0s"))
    fabric = Fabric(2, Random(1), links=links, rates=Rates(up=1_000, down=1_000, queue=1))
    size = 1_000 - FRAME_OVERHEAD_BYTES
    [(at_us, _)] = fabric.submit(0, 0, 1, size) or ()
    assert at_us == 2 * US_PER_S
    assert fabric.submit(0, 0, 1, size) is None
    assert fabric.tolls.overflowed == 1


class Sender:
    """Says as many frames as it is told at once, and takes down what it hears."""

    deadline_ms = None

    def __init__(self) -> None:
        self.heard: list[tuple[int, bytes]] = []
        self.ups: list[int] = []

    def start(self, now: Now) -> Sequence[object]:
        del now
        return ()

    def peer_up(self, peer: ValidatorIndex, now: Now) -> Sequence[object]:
        del now
        self.ups.append(int(peer))
        return ()

    def receive(self, batch: Sequence[tuple[ValidatorIndex, bytes]], now: Now) -> Sequence[object]:
        del now
        self.heard += [(int(sender), data) for sender, data in batch]
        return ()

    def entropy(self, data: bytes, now: Now) -> Sequence[object]:
        del data, now
        return ()

    def handle_deadline(self, now: Now) -> Sequence[object]:
        del now
        return ()


def talking(links: Links, rates: Rates | None = None) -> tuple[Network, list[Sender]]:
    """Return a network of three hosts that say what they are told to, and their nodes."""
    nodes = [Sender(), Sender(), Sender()]

    def boot(host: int, _disk: object) -> Simulated:
        return nodes[host]

    network = Network(1, 3, boot, fabric=Fabric(3, Random(1), links=links, rates=rates))
    for host in range(3):
        network.boot(host)
    return network, nodes


def heard(
    frames: Sequence[bytes], *, stream: bool, crashes: bool = False, rate: int = 10_000
) -> list[tuple[int, bytes]]:
    """Return what the last of three hosts hears, from whom, when the two others send at once."""
    network, nodes = talking(Links(stream=stream), Rates(down=rate, queue=500))
    for data in frames:
        network.transmit(0, 2, data)
        network.transmit(1, 2, data)
    if crashes:
        network.at(300, lambda: network.crash(0))
        network.at(300, lambda: network.crash(1))
    network.run(60_000)
    assert network.fabric.tolls.overflowed > 0
    return nodes[2].heard


FRAMES = [number.to_bytes(2, "big") * 60 for number in range(1, 60)]


def test_streams_through_a_full_queue_lose_no_frame_and_keep_their_order() -> None:
    received = heard(FRAMES, stream=True)
    for sender in (0, 1):
        assert [data for one, data in received if one == sender] == FRAMES


def test_no_stream_has_a_full_queue_to_itself() -> None:
    half = heard(FRAMES, stream=True)[: len(FRAMES)]
    for sender in (0, 1):
        assert sum(one == sender for one, _ in half) > len(half) // 5


def test_datagrams_are_lost_at_a_full_queue() -> None:
    assert 0 < len(heard(FRAMES, stream=False)) < len(FRAMES)


def test_of_what_waits_for_a_full_queue_a_node_keeps_four_mebibytes() -> None:
    mebibytes = [bytes((number,)) * (1 << 20) for number in range(8)]
    received = heard(mebibytes, stream=True, rate=10_000_000)
    assert [data for sender, data in received if sender == 0] == mebibytes[:5]


def test_what_waits_for_a_full_queue_is_gone_with_its_sender() -> None:
    assert 0 < len(heard(FRAMES, stream=True, crashes=True)) < len(FRAMES)
