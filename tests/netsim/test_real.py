"""Real processes behind proxies: the verdict comes from outside, and no process outlives its run."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import trio

from netsim.fabric import Fabric, Links
from netsim.invariants import ViolatedError
from netsim.outside import Witness, judge_end, verify_folder
from netsim.proxies import LOOPBACK, Proxies
from netsim.report import write_report
from netsim.scenario import ScenarioError, parse_scenario
from netsim.trace import Trace
from node.config import Folder
from node.inspection import read_standing
from tests.netsim.test_netsim_cli import netsim

HEAD = 'name = "x"\ntier = "real"\nduration = "9s"\n'
STOPPED = HEAD + (
    '[nodes]\ncount = 2\n[workload]\nthink = "50ms"\n'
    '[[fault]]\nkind = "pause"\nat = "0s"\nfor = "60s"\nnodes = [1]\n'
).replace("9s", "99s")
SECONDS_MAX = 60


def test_real_nodes_are_killed_stopped_wiped_and_cut_off_and_agree(tmp_path: Path) -> None:
    code, out, err = netsim("run", "processes", "--seed", "1", "--json", "--runs", str(tmp_path))
    told = json.loads(out)
    assert (code, told["verdict"], told["violations"]) == (0, "ok", []), err
    assert told["marks"]["wipes"] == 1
    assert told["marks"]["restarts"] == 2
    assert told["marks"]["resets"] > 0
    assert told["marks"]["bets_settled"] > 0
    assert "not the same run" in told["note"]
    folder = Path(told["run"])
    stores = [folder / "nodes" / f"node-{at}" for at in range(4)]
    assert all((store / "store.db").exists() for store in stores)
    assert living(folder) == []
    assert '"sealed"' in write_report(folder).read_text(encoding="utf-8")
    the_witness_notices(stores)


def the_witness_notices(stores: list[Path]) -> None:
    """See the witness find what a run without faults of ours cannot show."""
    witness = Witness(2)
    witness.look(0, stores[0])
    height, seen = next(iter(witness.blocks.items()))
    witness.newest[0] += 1
    with pytest.raises(ViolatedError, match=r"finality: node 0 was at block \d+, now at"):
        witness.look(0, stores[0])
    witness.blocks[height] = type(seen)(bytes(32), "00", 0)
    with pytest.raises(ViolatedError, match=f"agreement: at block {height} node 0 has"):
        witness.look(1, stores[1])
    witness.blocks[height] = seen
    witness.rolls = dict.fromkeys(witness.rolls, b"another")
    with pytest.raises(ViolatedError, match="dice: node 1 has another proof of roll"):
        witness.look(1, stores[1])
    code, told = trio.run(verify_folder, stores[0], bytes(32))
    assert (code, "this is about table" in told["why"]) == (1, True)
    standing = read_standing(Folder(stores[0]))
    judge_end(0, standing, [])
    with pytest.raises(ViolatedError, match="evidence: at node 0 anna counts as a cheat"):
        judge_end(0, standing, ["anna"])
    with pytest.raises(ViolatedError, match=r"conservation: node 0 counts [\d,]+ chips; 7 were"):
        judge_end(0, replace(standing, minted=7), [])


# Nobody is left behind.


def living(folder: Path) -> list[int]:
    """Return the processes that run on folders below this one."""
    pids = []
    for lock in folder.glob("**/store.lock"):
        text = lock.read_text().strip()
        if text.isdecimal() and Path(f"/proc/{text}").exists() and state_of(int(text)) != "Z":
            pids.append(int(text))
    return pids


def state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def wait_until(condition: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + SECONDS_MAX
    while not condition():
        assert time.monotonic() < until, what
        time.sleep(0.05)


@contextmanager
def running(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a run of two nodes of which one is stopped, and wait until it is."""
    file = tmp_path / "stopped.toml"
    file.write_text(STOPPED)
    words = ["run", str(file), "--seed", "1", "--json", "--runs", str(tmp_path / "runs")]
    with subprocess.Popen(
        [sys.executable, "-m", "netsim", *words], stdout=subprocess.PIPE, text=True
    ) as started:
        try:
            wait_until(lambda: "T" in map(state_of, living(tmp_path)), "no node was stopped")
            yield started
        finally:
            started.kill()


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)],
    ids=["ctrl-c", "sigterm", "sigkill"],
)
def test_no_node_outlives_a_run_that_is_ended_even_one_that_is_stopped(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    with running(tmp_path) as run:
        assert len(living(tmp_path)) == 2
        run.send_signal(number)
        assert run.wait(SECONDS_MAX) == code
        wait_until(lambda: not living(tmp_path), "a node is left")


def test_a_node_that_ends_by_itself_is_a_violation_and_the_others_end_too(tmp_path: Path) -> None:
    with running(tmp_path) as run:
        pid = next(pid for pid in living(tmp_path) if state_of(pid) != "T")
        os.kill(pid, signal.SIGKILL)
        out, _ = run.communicate(timeout=SECONDS_MAX)
        assert run.returncode == 1
        told = json.loads(out)
        assert told["violations"][0]["rule"] == "ended"
        assert "ended by itself, exit -9" in told["violations"][0]["text"]
        assert living(tmp_path) == []


# The network between them.


class Pair:
    """A listener that is node 1, and node 0's way to it through a proxy; at node 0 nobody listens."""

    def __init__(self, proxies: Proxies, far: trio.SocketListener) -> None:
        self.proxies = proxies
        self._far = far

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[tuple[trio.SocketStream, trio.SocketStream]]:
        host, port = self.proxies.address(0, 1).split(":")
        near = await trio.open_tcp_stream(host, int(port))
        async with near, await self._far.accept() as far:
            yield near, far


@asynccontextmanager
async def pair(*, loss: float = 0, corruption: float = 0) -> AsyncIterator[Pair]:
    fabric = Fabric(2, Random(1), links=Links(loss=loss, corruption=corruption, stream=True))
    [far] = await trio.open_tcp_listeners(0, host=LOOPBACK)
    with socket.socket() as nobody:
        nobody.bind((LOOPBACK, 0))
        ports = [nobody.getsockname()[1], far.socket.getsockname()[1]]
        proxies = Proxies(fabric, Trace(100), ports)
        await proxies.listen()
        async with trio.open_nursery() as nursery, far:
            nursery.start_soon(proxies.run)
            with trio.fail_after(SECONDS_MAX):
                yield Pair(proxies, far)
            nursery.cancel_scope.cancel()


async def received(stream: trio.SocketStream, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = await stream.receive_some(count - len(data))
        assert piece, f"the end after {len(data)} bytes"
        data += piece
    return data


def test_a_cut_link_holds_what_is_sent_until_it_is_mended_and_only_one_way() -> None:
    async def main() -> None:
        async with pair() as two, two.connected() as (a, b):
            two.proxies.fabric.block([(0, 1)])
            await a.send_all(b"there")
            await b.send_all(b"back")
            assert await received(a, 4) == b"back"
            with trio.move_on_after(0.2) as patience:
                await b.receive_some(5)
            assert patience.cancelled_caught
            two.proxies.mend([(0, 1)])
            assert await received(b, 5) == b"there"
            await a.send_eof()
            assert await b.receive_some(1) == b""

    trio.run(main)


def test_streams_keep_their_bytes_in_order_through_loss_and_squeezes() -> None:
    async def main() -> None:
        async with pair(loss=30) as two, two.connected() as (a, b):
            data = Random(2).randbytes(300_000)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(a.send_all, data)
                assert await received(b, len(data)) == data

    trio.run(main)


def test_a_reset_breaks_both_ends_and_a_new_connection_can_be_made() -> None:
    async def main() -> None:
        async with pair() as two, two.connected() as (a, b):
            await a.send_all(b"hello")
            assert await received(b, 5) == b"hello"
            two.proxies.break_off([1])
            for end in (a, b):
                with pytest.raises(trio.BrokenResourceError):
                    await end.receive_some(1)
            async with two.connected() as (near, far):
                await far.send_all(b"again")
                assert await received(near, 5) == b"again"

    trio.run(main)


def test_a_flipped_bit_arrives_and_who_reads_on_behind_it_is_told_of() -> None:
    async def main() -> None:
        async with pair(corruption=1000) as two, two.connected() as (a, b):
            deceived: list[tuple[int, int]] = []
            two.proxies.deceived = lambda a, b: deceived.append((a, b))
            data = bytes(600_000)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(a.send_all, data)
                found = await received(b, len(data))
            assert 0 < sum(byte != 0 for byte in found) == two.proxies.fabric.tolls.corrupted - 1
            assert deceived[0] == (0, 1)

    trio.run(main)


def test_nobody_listening_is_a_connection_that_breaks_off() -> None:
    async def main() -> None:
        async with pair() as two:
            host, port = two.proxies.address(1, 0).split(":")
            async with await trio.open_tcp_stream(host, int(port)) as stream:
                with pytest.raises(trio.BrokenResourceError):
                    await stream.receive_some(1)

    trio.run(main)


# What real nodes cannot be put through.


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ('[[fault]]\nkind = "rot"\nat = "1s"\n', "line 5: a fault of kind rot needs tier core"),
        ('[[fault]]\nkind = "clock"\nat = "1s"\n', "line 5: a fault of kind clock needs tier core"),
        ('[[fault]]\nkind = "full"\nat = "1s"\n', "line 5: a fault of kind full needs tier core"),
        (
            '[[fault]]\nkind = "weather"\nat = "1s"\nreplay = 0.1\n',
            "line 7: TCP hides replay: it needs tier core",
        ),
        ("[link]\nreorder = 0.1\n", "line 5: TCP hides reorder"),
        ('[[byzantine]]\nstrategy = "liar"\n', "line 4: traitors need tier core"),
        ('[clocks]\noffset = "1s"\n', "line 4: clocks that go wrong need tier core"),
        ('[nodes]\nwrite = "1ms"\n', "line 4: slow processors and disks need tier core"),
        ("[nodes]\ncount = 17\n", "line 5: 17 real processes; 16 at most"),
        ("[nodes]\ncount = 8\ntable = 4\n", "line 6: real nodes sit at one table"),
        ("[nodes]\nnewcomers = 1\n", "line 5: newcomers need tier core"),
        ('[workload]\nkind = "bets"\n', "line 5: bets alone need tier core"),
        ('[workload]\nkind = "idle"\n', "line 5: nodes without players prove nothing"),
        ("[workload]\nsessions = 2\n", "line 4: bots sit at one game and stay"),
        ('[topology]\nkind = "room"\n', "line 5: a room needs tier core"),
    ],
)
def test_what_this_tier_cannot_make_is_refused_with_line_and_reason(part: str, reason: str) -> None:
    with pytest.raises(ScenarioError, match=reason):
        parse_scenario(HEAD + part)


def test_a_run_longer_than_anybody_waits_and_a_reset_of_cores_are_refused() -> None:
    with pytest.raises(ScenarioError, match="line 3: 3h of real time; 2h at most"):
        parse_scenario(HEAD.replace("9s", "3h"))
    reset = '[[fault]]\nkind = "reset"\nat = "1s"\n'
    with pytest.raises(ScenarioError, match="line 4: a reset needs connections"):
        parse_scenario('name = "x"\nduration = "9s"\n' + reset)
