"""Ways on which large frames vanish and small ones pass: the others go on, and nothing stays lost."""

from random import Random

import pytest
import trio
import trio.testing

from netsim.fabric import Fabric, Links
from netsim.scenario import ScenarioError, load_scenario, parse_scenario
from netsim.simulation import simulate
from netsim.sockets import HOST, PORT, VirtualSocket, Wires, address_of
from netsim.strikes import swallowing
from netsim.weather import resolve
from netsim.world import TableRun
from tests.netsim.test_queues import talking

HOLE = """
name = "hole"
tier = "{tier}"
duration = "{duration}"
[nodes]
count = 4
[workload]
think = "{think}"
[link]
stream = {stream}
[[fault]]
kind = "black-hole"
at = "1s"
for = "{length}"
nodes = {nodes}
{more}
[expect]
marks = ["swallowed"]
"""


def hole(nodes: str, more: str = "", **changes: str) -> str:
    """Return a scenario with a black hole from second 1 to 19."""
    terms = {"tier": "core", "duration": "20s", "length": "18s", "think": "400ms"}
    return HOLE.format(nodes=nodes, more=more, **{"stream": "false", **terms, **changes})


def heights_during(text: str) -> tuple[list[int], list[int]]:
    """Return the final heights of all nodes in the hole, at seconds 8 and 18; check the end."""
    run = TableRun(resolve(parse_scenario(text), 1), 1)
    found = []
    for at_ms in (8_000, 18_000):
        run.advance(at_ms)
        found.append([replica.final.height for replica in run.game.replicas])
    run.advance(600_000)
    assert run.violation is None
    assert run.is_done
    return found[0], found[1]


@pytest.mark.parametrize("stream", ["false", "true"])
def test_who_hears_and_says_nothing_large_costs_the_others_little(stream: str) -> None:
    early, late = heights_during(hole("[3]", 'direction = "both"', stream=stream))
    assert min(late[:3]) > early[0] + 10
    assert late[3] == early[3]


@pytest.mark.parametrize("stream", ["false", "true"])
def test_what_two_peers_cannot_bring_a_third_one_does(stream: str) -> None:
    early, late = heights_during(hole("[3]", 'peers = [0, 1]\ndirection = "in"', stream=stream))
    assert min(late) > max(early) + 10


@pytest.mark.parametrize("stream", ["false", "true"])
def test_a_table_goes_on_once_large_frames_pass_again(stream: str) -> None:
    outcome, _ = simulate(parse_scenario(hole('"all"', "mtu = 400", stream=stream)), 1)
    assert (outcome.violations, outcome.verdict) == ((), "ok")


def test_whole_nodes_break_stalled_links_and_play_on_once_large_frames_pass_again() -> None:
    text = hole('"all"', tier="node", duration="52s", length="50s", think="4s")
    outcome, _ = simulate(parse_scenario(text), 1)
    assert (outcome.violations, outcome.verdict) == ((), "ok")


@pytest.mark.parametrize("tier", ["core", "node"])
def test_a_table_that_does_not_come_back_says_what_swallowed_its_frames(tier: str) -> None:
    text = hole('"all"', "mtu = 256", tier=tier, duration="2s", length="1h")
    outcome, _ = simulate(parse_scenario(text + '[liveness]\nwithin = "1ms"\nrolls = 9\n'), 1)
    [violation] = outcome.violations
    assert violation.rule == "L"
    assert "; healed at 2000 ms: swallowing what is above 256 bytes 0>1 0>2" in violation.text


def test_only_what_is_too_large_vanishes_and_only_on_that_way_and_for_that_long() -> None:
    fabric = Fabric(3, Random(1), links=Links())
    fabric.swallow([(0, 1)], 1_000, until_us=5_000_000)
    assert fabric.submit(0, 0, 1, 1_001) is None
    for now_us, a, b, size in (
        (0, 0, 1, 1_000), (0, 1, 0, 1_001), (0, 0, 2, 1_001), (5_000_000, 0, 1, 1_001)
    ):  # fmt: skip
        assert fabric.submit(now_us, a, b, size)
    assert fabric.tolls.swallowed == 1
    fabric.swallow([(0, 1)], 1_000, until_us=9_000_000)
    fabric.heal()
    assert fabric.submit(6_000_000, 0, 1, 1_001)


def test_a_scenario_says_on_which_links_and_in_which_direction() -> None:
    text = (
        'name = "x"\n[nodes]\ncount = 4\n[[fault]]\nkind = "black-hole"\nat = "1s"\nnodes = [3]\n'
    )

    def ways(more: str) -> list[tuple[int, int]]:
        [fault] = parse_scenario(text + more).fault
        return sorted(swallowing(fault, 4))  # type: ignore[arg-type]

    assert ways("") == [(3, 0), (3, 1), (3, 2)]
    assert ways('direction = "in"') == [(0, 3), (1, 3), (2, 3)]
    assert ways('direction = "both"\npeers = [0]') == [(0, 3), (3, 0)]
    for more, complaint in (
        ("peers = [4]", r"line 8: node 4 at a table of 4 \(fault\[0\].peers\)"),
        ("mtu = 100", r"line 8: Expected `int` >= 256, not 100 \(fault\[0\].mtu\)"),
    ):
        with pytest.raises(ScenarioError, match=complaint):
            parse_scenario(text + more)


def test_what_is_stuck_in_one_connection_does_not_hold_up_the_next() -> None:
    async def main() -> bytes:
        wires = Wires(Fabric(2, Random(2), links=Links(stream=True)))
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wires.run)
                HOST.set(1)
                listener = wires.socket()
                listener.listen()
                HOST.set(0)
                wires.fabric.swallow([(0, 1)], 1_000, until_us=60_000_000)
                await sent(wires, listener, bytes(2_000))
                far = await sent(wires, listener, b"small")
                received = await far.recv(100)
                nursery.cancel_scope.cancel()
        return received

    async def sent(wires: Wires, listener: VirtualSocket, data: bytes) -> VirtualSocket:
        near = wires.socket()
        await near.connect((address_of(1), PORT))
        far, _ = await listener.accept()
        await near.send(data)
        return far

    clock = trio.testing.MockClock(rate=0, autojump_threshold=0)
    assert trio.run(main, clock=clock) == b"small"


def test_a_link_that_takes_nothing_for_45_seconds_ends_and_comes_up_again() -> None:
    network, nodes = talking(Links(stream=True))
    network.fabric.swallow([(0, 2)], 1_000, until_us=60_000_000)
    network.transmit(0, 2, bytes(2_000))
    network.transmit(0, 2, b"behind it")
    ups = len(nodes[2].ups)
    network.run(44_000)
    assert len(nodes[2].ups) == ups
    network.run(46_000)
    assert nodes[2].ups[ups:] == [0]
    network.transmit(0, 2, b"anew")
    network.run(70_000)
    assert nodes[2].heard == [(0, b"anew")]


def test_swarms_draw_black_holes() -> None:
    for name in ("squall", "swarm"):
        drawn = [resolve(load_scenario(name), seed).fault for seed in range(20)]
        assert any(type(fault).__name__ == "BlackHole" for faults in drawn for fault in faults)
