"""One seed is one run in every process, and what could make it two raises inside of it."""

import builtins
import datetime as dt
import io
import json
import os
import random
import secrets
import socket
import subprocess
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
import trio
import trio.testing

from netsim.scenario import parse_scenario
from netsim.sealing import EVERYWHERE, LeakError, sealed
from netsim.simulation import simulate
from netsim.whole import virtual
from node.game.state import GameState
from tests.netsim.test_netsim_cli import QUICK, netsim

NAMES = {
    "__name__": "node.replica", "dt": dt, "io": io, "os": os, "random": random, "secrets": secrets,
    "socket": socket, "subprocess": subprocess, "threading": threading, "time": time, "uuid": uuid,
}  # fmt: skip
CLOCKS = (
    "time.time()", "time.monotonic()", "time.monotonic_ns()", "time.process_time()",
    "time.sleep(0)", "dt.datetime.now()", "dt.datetime.now(dt.UTC)", "dt.datetime.utcnow()",
    "dt.datetime.today()",
)  # fmt: skip
CHANCE = (
    "random.random()", "random.randrange(6)", "random.shuffle([1])", "random.seed(1)",
    "random.Random()", "random.SystemRandom().random()", "uuid.uuid4()", "uuid.uuid1()",
    "secrets.token_bytes()", "secrets.choice([1])",
)  # fmt: skip
PROCESS = (
    "threading.Thread(target=print).start()", "subprocess.Popen(['true'])", "os.fork()",
    "os.environ['HOME']", "os.environ.get('HOME')", "os.getenv('HOME')", "list(os.environ)",
    "id(1)", "hash('a')",
)  # fmt: skip
REPLICA_ONLY = (
    "time.time_ns()", "time.perf_counter()", "time.perf_counter_ns()", "os.urandom(1)",
    "secrets.randbelow(6)", "os.listdir()", "os.scandir()", "open('/dev/null')", "io.open('/dev/null')", "socket.socket()",
)  # fmt: skip


@pytest.mark.parametrize("leak", CLOCKS + CHANCE + PROCESS + REPLICA_ONLY)
def test_what_differs_from_run_to_run_raises_inside_a_run_of_replicas(leak: str) -> None:
    with sealed(), pytest.raises(LeakError, match="inside a run"):
        eval(leak, dict(NAMES))


@pytest.mark.parametrize("leak", CLOCKS + CHANCE + PROCESS)
def test_what_differs_from_run_to_run_raises_inside_a_run_of_whole_nodes(leak: str) -> None:
    async def live() -> None:
        await trio.sleep(1)
        with pytest.raises(LeakError, match="inside a run"):
            eval(leak, dict(NAMES))

    with virtual(1):
        trio.run(live, clock=trio.testing.MockClock(rate=0, autojump_threshold=0))


def test_what_whole_nodes_ask_the_system_for_comes_from_the_seed() -> None:
    def asked(seed: int) -> list[object]:
        async def live() -> list[object]:
            await trio.sleep(1)
            return [
                os.urandom(8), secrets.randbelow(10**9), time.time_ns(),
                time.perf_counter_ns(),
            ]  # fmt: skip

        with virtual(seed):
            return trio.run(live, clock=trio.testing.MockClock(rate=0, autojump_threshold=0))

    first, again, other = asked(1), asked(1), asked(2)
    assert first == again
    assert first[:2] != other[:2]


def test_a_replica_that_looks_at_a_clock_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    begin = GameState.begin_block

    def timed(self: GameState, height: int, time_ms: int, can_close: bool) -> None:
        begin(self, height, time_ms + int(time.monotonic()) % 2, can_close)

    monkeypatch.setattr(GameState, "begin_block", timed)
    with pytest.raises(LeakError, match=r"time\.monotonic inside a run"):
        simulate(parse_scenario(QUICK), 1)


def test_everything_works_again_behind_a_run_and_meanwhile_for_other_threads() -> None:
    for leaks in (EVERYWHERE, None):
        before = [vars(owner)[name] for owner, name in _all() if name in vars(owner)]
        with ThreadPoolExecutor(1) as others:
            others.submit(int).result()  # its thread runs
            with sealed() if leaks is None else sealed(leaks):
                assert others.submit(eval, "time.time()", dict(NAMES)).result() > 0
                assert others.submit(eval, "dt.datetime.now(dt.UTC)", dict(NAMES)).result()
                assert others.submit(eval, "hash('a')", dict(NAMES)).result()
                assert others.submit(eval, "random.Random().random()", dict(NAMES)).result() >= 0
        assert [vars(owner)[name] for owner, name in _all() if name in vars(owner)] == before


def _all() -> list[tuple[object, str]]:
    found = [(owner, name) for owner, names in EVERYWHERE.items() for name in names]
    return [*found, (builtins, "id"), (builtins, "hash"), (dt, "datetime"), (random.Random, "seed")]


@pytest.mark.slow
def test_a_stormy_seed_is_one_run_whatever_the_hash_seed() -> None:
    digests = set()
    for hash_seed in ("1", "2"):
        words = ("run", "swarm", "--seed", "5", "--json", "--no-save")
        code, out, _ = netsim(*words, hash_seed=hash_seed)
        assert code == 0
        digests.add(json.loads(out)["digest"])
    assert len(digests) == 1
