"""PROTOCOL 9: kills, torn and rotten logs, full and failing disks, and readers beside a writer."""

import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from consensus.effects import ActionLogged, LogRecord, VoteLogged
from node import store
from node.errors import OperatorError
from node.store import Journal, Store
from node.write_ahead_log import has_lost_commits
from tests.node.store_child import CHAIN_ID, FINAL_EVERY, OWNER, step

FRAME_BYTES = 24 + 4096
"""One page in SQLite's write-ahead log; 32 bytes stand before the first."""


def start_child(folder: Path, first: int, **options: Any) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "tests.node.store_child", str(folder), str(first)],
        stdout=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


def steps_in(records: tuple[LogRecord, ...]) -> list[int]:
    """Return the numbers of the steps whose vote and action a start sees; each is whole."""
    votes = [record.view for record in records if isinstance(record, VoteLogged)]
    actions = [record.seq for record in records if isinstance(record, ActionLogged)]
    assert votes == actions
    return votes


def check_steps(journal: Store) -> int:
    """Check that what is there is the first steps, each whole; return the last."""
    journal.check()
    open_steps = steps_in(journal.load())
    final = journal.final_height() * FINAL_EVERY
    last = max(open_steps, default=final)
    assert open_steps == list(range(final + 1, last + 1))
    for height in range(1, journal.final_height() + 1):
        assert journal.final(height) is not None
    return last


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_in_40_kills(tmp_path: Path) -> None:
    rng = random.Random(3)
    last = 0
    for _ in range(40):
        with start_child(tmp_path, last + 1) as child:
            assert child.stdout is not None
            for _ in range(rng.randrange(60)):
                last = int(child.stdout.readline())
            child.kill()
            rest = child.stdout.read().split()
        last = int(rest[-1]) if rest else last
        if (tmp_path / store.STORE_FILE).exists():
            with closing(Journal(tmp_path, CHAIN_ID, OWNER)) as journal:
                acknowledged, last = last, check_steps(journal)
            assert last - acknowledged in {0, 1}  # one may be durable before it is said
    assert last > 400


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes, int]:
    """Return the file and the log of a node that was killed after some steps, and how many."""
    folder = tmp_path_factory.mktemp("crashed")
    with start_child(folder, 1) as child:
        assert child.stdout is not None
        for _ in range(30):
            child.stdout.readline()
        child.send_signal(signal.SIGSTOP)
        os.waitpid(child.pid, os.WUNTRACED)
        file = (folder / store.STORE_FILE).read_bytes()
        log = (folder / f"{store.STORE_FILE}-wal").read_bytes()
        child.kill()
    return file, log, 30


def restart(folder: Path, file: bytes, log: bytes) -> int:
    """Open a store with this log; return its last step, having checked all."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / store.STORE_FILE).write_bytes(file)
    (folder / f"{store.STORE_FILE}-wal").write_bytes(log)
    with closing(Journal(folder, CHAIN_ID, OWNER)) as journal:
        # The leftovers of this crash must not mix with those of the next.
        assert (folder / f"{store.STORE_FILE}-wal").stat().st_size == 0
        last = check_steps(journal)
        journal.append(step(last + 1))
        return last


def test_a_log_torn_anywhere_opens_with_the_steps_that_are_whole(
    tmp_path: Path, crashed: tuple[bytes, bytes, int]
) -> None:
    file, log, acknowledged = crashed
    assert restart(tmp_path / "whole", file, log) >= acknowledged
    rng = random.Random(4)
    found = {}
    for cut in [*rng.sample(range(32, len(log)), 60), *range(32, len(log), FRAME_BYTES * 7)]:
        found[cut] = restart(tmp_path / "torn", file, log[:cut])
        noise = rng.randbytes(len(log) - cut)
        assert restart(tmp_path / "torn", file, log[:cut] + noise) == found[cut]
    ascending = [found[cut] for cut in sorted(found)]
    assert ascending == sorted(ascending)
    assert len(set(ascending)) > 10


def test_a_flipped_bit_in_the_log_costs_nothing_that_was_followed_by_another_step(
    tmp_path: Path, crashed: tuple[bytes, bytes, int]
) -> None:
    file, log, _ = crashed
    last = restart(tmp_path / "whole", file, log)
    rng = random.Random(5)
    refused = 0
    for _ in range(120):
        at, bit = rng.randrange(len(log)), rng.randrange(8)
        try:
            flipped = log[:at] + bytes((log[at] ^ 1 << bit,)) + log[at + 1 :]
            # Without the last step nobody can tell rot from a write that a power cut tore.
            assert restart(tmp_path / "rotten", file, flipped) >= last - 1
        except OperatorError as error:
            assert re.search(r"store\.db(-wal)? is damaged", str(error)), error  # noqa: PT017
            refused += 1
    assert refused > 60


def test_a_log_without_damage_has_lost_no_commits(crashed: tuple[bytes, bytes, int]) -> None:
    _, log, _ = crashed
    assert not has_lost_commits(b"")
    assert not has_lost_commits(log)
    assert not has_lost_commits(log[:-100])
    assert has_lost_commits(log[:2000] + b"?" + log[2001:])
    assert has_lost_commits(log[:20] + b"?" + log[21:])


def unshare() -> list[str]:
    """Return the command that gives a child mounts of its own, or skip where that is forbidden."""
    command = [shutil.which("unshare") or "unshare", "-rm"]
    try:
        subprocess.run([*command, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no mounts without privileges here")
    return command


def test_a_full_disk_stops_the_node_with_a_sentence_and_loses_nothing(tmp_path: Path) -> None:
    folder, kept = tmp_path / "full", tmp_path / "kept"
    folder.mkdir()
    kept.mkdir()
    script = f"""
        mount -t tmpfs -o size=1M tmpfs {folder}
        head -c 300000 /dev/zero > {folder}/ballast
        {sys.executable} -m tests.node.store_child {folder} 1 > {kept}/said
        rm {folder}/ballast
        next=$(($(tail -n 2 {kept}/said | head -n 1) + 1))
        {sys.executable} -m tests.node.store_child {folder} $next | head -n 9 >> {kept}/said
        cp {folder}/store.db* {kept}/
    """
    subprocess.run([*unshare(), "sh", "-c", script], capture_output=True, check=True)
    said = (kept / "said").read_text().splitlines()
    assert said[-10] == (
        f"the disk is full: {folder}/store.db cannot take the next step, so the node stops"
    )
    assert [int(line) for line in said[:-10] + said[-9:]] == list(range(1, len(said)))
    assert len(said) > 30
    with closing(Journal(kept, CHAIN_ID, OWNER)) as journal:
        assert check_steps(journal) >= int(said[-1])


def limit_file_size() -> None:
    """Let writes beyond 256 KiB fail, as those of a bad disk do."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (256 << 10, 256 << 10))


def test_a_failing_write_stops_the_node_with_a_sentence_and_loses_nothing(tmp_path: Path) -> None:
    with start_child(tmp_path, 1, preexec_fn=limit_file_size) as child:
        assert child.stdout is not None
        *said, sentence = child.stdout.read().splitlines()
    assert sentence == (
        f"the disk failed at {tmp_path}/store.db (SQLITE_IOERR_WRITE), so the node stops"
    )
    with closing(Journal(tmp_path, CHAIN_ID, OWNER)) as journal:
        assert check_steps(journal) == int(said[-1]) > 10


def test_after_a_failure_nothing_is_taken_for_durable(tmp_path: Path) -> None:
    journal = Journal(tmp_path, CHAIN_ID, OWNER)
    journal.append(step(1))
    old, signals = resource.getrlimit(resource.RLIMIT_FSIZE), signal.getsignal(signal.SIGXFSZ)
    try:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, old[1]))
        with pytest.raises(OperatorError, match="the disk failed at"):
            journal.append([record for n in range(2, 400) for record in step(n)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, signals)
    with pytest.raises(OperatorError, match="the disk failed at"):
        journal.append(step(2))
    journal.close()
    with closing(Journal(tmp_path, CHAIN_ID, OWNER)) as journal:
        assert check_steps(journal) == 1


def test_a_reader_beside_a_live_writer_sees_whole_steps_only_and_more_of_them(
    tmp_path: Path,
) -> None:
    with start_child(tmp_path, 1) as child:
        assert child.stdout is not None
        seen = int(child.stdout.readline())
        with closing(Store(tmp_path)) as reader:
            for _ in range(100):
                acknowledged = int(child.stdout.readline())
                steps = steps_in(reader.load())
                newest = max(steps, default=0) or reader.final_height() * FINAL_EVERY
                assert newest >= acknowledged
                assert newest >= seen
                seen = newest
        child.kill()
    assert seen > 100
