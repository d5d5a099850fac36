"""A node as a process: it ends in good order when asked, and loudly when it is at fault."""

import contextlib
import logging
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
import trio

from node import logs as logs_module
from node.control import SOCKET_FILE, open_control
from node.errors import OperatorError
from node.game.operations import CreateSession
from node.logs import LOG_FILE, logging_to

ROOT = Path(__file__).parent.parent.parent


class NodeProcess(NamedTuple):
    process: trio.Process
    errors: trio.abc.ReceiveStream


@contextlib.asynccontextmanager
async def node_process(folder: Path, case: str) -> AsyncIterator[NodeProcess]:
    """Start a node process and wait until its control socket answers."""
    with trio.fail_after(20):
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "tests.node.runtime_child", str(folder), case],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            output, errors = process.stdout, process.stderr
            assert output is not None
            assert errors is not None
            async with output, errors:
                assert bytes(await output.receive_some(100)) in {b"ready", b"ready\n"}
                yield NodeProcess(process, errors)
        finally:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, "stop"])
async def test_a_node_that_is_asked_to_end_does_so_in_good_order(
    tmp_path: Path, number: signal.Signals | str
) -> None:
    async with node_process(tmp_path, "sound") as node:
        async with await open_control(tmp_path) as client:
            await client.submit([CreateSession(1)])
            if isinstance(number, signal.Signals):
                node.process.send_signal(number)
            else:
                await client.stop()
        code = await node.process.wait()
        errors = await node.errors.receive_some(10_000)
    assert not (tmp_path / SOCKET_FILE).exists()
    if number == signal.SIGINT:
        assert code == -signal.SIGINT or b"KeyboardInterrupt" in errors
    else:
        assert (code, errors) == (0, b"")
    async with node_process(tmp_path, "sound"), await open_control(tmp_path) as client:
        assert (await client.view()).height == 1


async def test_a_node_at_fault_ends_with_a_traceback_and_a_code_that_is_not_zero(
    tmp_path: Path,
) -> None:
    async with node_process(tmp_path, "broken") as node:
        async with await open_control(tmp_path) as client:
            with pytest.raises(OperatorError, match="the node has stopped"):
                await client.submit([CreateSession(1)])
        assert await node.process.wait() == 1
        errors = b""
        while data := await node.errors.receive_some(10_000):
            errors += data
    assert b"AssertionError: chips do not add up" in errors
    written = (tmp_path / LOG_FILE).read_text()
    assert "CRITICAL node.runtime the node ends" in written
    assert "AssertionError: chips do not add up" in written


# The log


def test_the_log_is_one_line_an_event_whatever_a_peer_writes_into_it(tmp_path: Path) -> None:
    with logging_to(tmp_path):
        logging.getLogger("node.x").info("fault reason=%s", "a\nCRITICAL b\r")
        logging.getLogger("node.x").debug("not shown")
    (line,) = (tmp_path / LOG_FILE).read_text().splitlines()
    assert line.endswith("Z INFO node.x fault reason=a\\nCRITICAL b\\r")


def test_the_log_stays_within_its_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs_module, "LOG_BYTES_MAX", 1_000)
    with logging_to(tmp_path):
        for _ in range(1_000):
            logging.getLogger("node.x").info("x" * 100)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == [LOG_FILE, *(f"{LOG_FILE}.{i}" for i in (1, 2, 3))]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 4_000


def test_a_log_that_cannot_be_written_is_an_operators_error(tmp_path: Path) -> None:
    (tmp_path / LOG_FILE).mkdir()
    with pytest.raises(OperatorError, match="cannot write"), logging_to(tmp_path):
        pass


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_log_on_a_full_disk_loses_lines_and_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / LOG_FILE).symlink_to("/dev/full")
    with logging_to(tmp_path):
        logging.getLogger("node.x").info("lost")
    assert capsys.readouterr().err == ""
