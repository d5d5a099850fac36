"""The same sweep on a Dask scheduler that the test starts, with a worker killed on the way."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distributed import Client

from netsim.campaign import LocalEngine, Sweep
from netsim.scenario import parse_scenario
from tests.netsim.test_netsim_cli import QUICK, netsim

SEEDS = range(38, 62)
WORKER = ["worker", "--nthreads", "1", "--no-nanny", "--no-dashboard", "--memory-limit", "0"]


@contextmanager
def process(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    code = f"from distributed.cli.dask_{words[0]} import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, *words[1:]],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as started:
        try:
            yield started
        finally:
            started.kill()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        port: int = one.getsockname()[1]
        return port


def wait_until_all_work(address: str, workers: int, timeout_s: int = 60) -> None:
    """Look at the scheduler until so many workers each have a seed in hand."""
    until = time.monotonic() + timeout_s
    with Client(address, timeout=timeout_s) as client:
        while sum(map(bool, client.processing().values())) < workers:
            assert time.monotonic() < until, client.processing()
            time.sleep(0.05)


def test_two_workers_run_a_sweep_and_one_may_be_killed(tmp_path: Path) -> None:
    file = tmp_path / "quick.toml"
    file.write_text(QUICK)
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    scheduler = ("scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
    with process(*scheduler), process(*WORKER, address) as first, process(*WORKER, address):
        words = ["sweep", str(file), "--seeds", "38..61", "--engine", "dask", "--json"]
        with subprocess.Popen(
            [sys.executable, "-m", "netsim", *words, "--scheduler", address, "--runs", tmp_path],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONHASHSEED": "7"},
        ) as sweep:
            wait_until_all_work(address, 2)
            os.kill(first.pid, signal.SIGKILL)
            out, _ = sweep.communicate(timeout=120)
    told = json.loads(out)
    assert sweep.returncode == 0, told
    assert (told["seeds"], told["violated"], told["run_twice"]) == (24, 0, 2)
    assert told["mismatches"] == []
    here = Sweep(parse_scenario(QUICK), 1)
    LocalEngine(here.scenario, 1).run([41], lambda s, r, again: here.take(s, r, again=again))
    code, out_here, _ = netsim("replay", here.results[41]["token"], "--json")
    assert code == 0
    assert json.loads(out_here)["digest"] == here.results[41]["digest"]
