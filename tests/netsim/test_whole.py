"""Whole nodes in virtual time: the same bytes on every wire whatever the process, and they recover."""

import json
import re
from pathlib import Path
from random import Random

import pytest
import trio
import trio.testing

from netsim.fabric import Fabric, Links, Rates
from netsim.report import write_report
from netsim.runs import EVENTS_FILE
from netsim.scenario import ScenarioError, load_scenario, parse_scenario
from netsim.simulation import simulate
from netsim.sockets import HOST, PORT, Wires, address_of
from netsim.trace import read_happenings
from tests.netsim.test_netsim_cli import netsim


@pytest.mark.parametrize("seed", [1, 2])
def test_whole_nodes_play_through_crashes_splits_and_flipped_bits(seed: int) -> None:
    outcome, _ = simulate(load_scenario("nodes"), seed)
    assert outcome.violations == ()
    assert outcome.verdict == "ok"
    assert outcome.marks["restarts"] >= 1


RESET = """
name = "reset"
tier = "node"
duration = "4s"
[nodes]
count = 4
[[fault]]
kind = "reset"
at = "2s"
nodes = "all"
"""


def test_whole_nodes_come_back_after_all_connections_were_reset() -> None:
    outcome, run = simulate(parse_scenario(RESET), 1, keep=20_000)
    assert (outcome.violations, outcome.verdict) == ((), "ok")
    assert outcome.marks["resets"] == 6
    told = run.happenings[0]
    assert {one.what for one in told} >= {"fault", "heal", "final", "status"}


def test_a_stream_through_a_queue_that_is_full_keeps_its_bytes_and_their_order() -> None:
    data = Random(1).randbytes(200_000)

    async def main() -> bytes:
        rates = Rates(up=50_000, down=40_000, queue=10_000)
        wires = Wires(Fabric(2, Random(2), links=Links(stream=True), rates=rates))
        with trio.fail_after(600):
            return await carried(wires)

    async def carried(wires: Wires) -> bytes:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wires.run)
            HOST.set(1)
            listener = wires.socket()
            listener.listen()
            HOST.set(0)
            near = wires.socket()
            await near.connect((address_of(1), PORT))
            far, _ = await listener.accept()
            received = b""
            sent = 0
            while len(received) < len(data):
                if sent < len(data):
                    sent += await near.send(data[sent : sent + 3_000])
                else:
                    received += await far.recv(100_000)
            nursery.cancel_scope.cancel()
        assert wires.fabric.tolls.overflowed > 0
        return received

    clock = trio.testing.MockClock(rate=0, autojump_threshold=0)
    assert trio.run(main, clock=clock) == data


def test_one_seed_is_one_run_whatever_the_hash_seed_and_whether_it_is_taken_down(
    tmp_path: Path,
) -> None:
    runs = []
    for hash_seed, keep in (("1", "--no-save"), ("random", "--json")):
        code, out, _ = netsim(
            "run", "nodes", "--seed", "3", "--json", "--runs", str(tmp_path), keep,
            hash_seed=hash_seed,
        )  # fmt: skip
        assert code == 0
        runs.append(json.loads(out))
    assert len({one["digest"] for one in runs}) == 1
    the_run_is_told(Path(runs[-1]["run"]))
    code, out, _ = netsim("replay", runs[0]["token"], "--until", "3s", "--node", "1")
    assert code == 2  # cut short, so it cannot tell
    assert re.search(r"ms +1 vote -> \d at \d+ \(124 bytes\)", out)
    assert "cannot tell: no the end" in out


def the_run_is_told(folder: Path) -> None:
    """See that each frame stands there in the clear, with when it arrived or that it did not."""
    told = [one for _, one in read_happenings(folder / EVENTS_FILE)]
    assert [one.ms for one in told] == sorted(one.ms for one in told)
    assert {"boot", "fault", "crash", "heal", "final", "vote", "proposal"} <= {
        one.what for one in told
    }
    votes = [one for one in told if one.what == "vote"]
    arrived = [one for one in votes if one.at_ms >= 0]
    assert len(votes) > len(arrived) > 0.8 * len(votes)
    assert all(one.ms < one.at_ms for one in arrived)
    heights = [int(one.text.split()[0]) for one in told if one.what == "final"]
    assert heights == list(range(1, len(heights) + 1))
    assert write_report(folder).stat().st_size > 100_000


def test_what_whole_nodes_cannot_do_is_refused() -> None:
    text = 'name = "x"\ntier = "node"\nduration = "9s"\n'
    with pytest.raises(ScenarioError, match="line 5: a fault of kind wipe needs tier core"):
        parse_scenario(text + '[[fault]]\nkind = "wipe"\nat = "1s"\n')
    with pytest.raises(ScenarioError, match="traitors need tier core"):
        parse_scenario(text + '[[byzantine]]\nstrategy = "silent"\n')
