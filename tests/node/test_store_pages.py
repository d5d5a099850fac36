"""PROTOCOL 9.2: writes that a disk lost, or put on another page's place, are named at the start."""

import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from node import store
from node.errors import OperatorError
from node.store import Journal, Store
from tests.node.store_child import CHAIN_ID, OWNER, block_at
from tests.node.test_store import everything, final, roll, snapshot, vote
from tests.node.test_store_crashes import FRAME_BYTES, crashed, restart

__all__ = ["crashed"]  # a fixture

PAGE_BYTES = 4096


@pytest.fixture(scope="module")
def moments(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Return what the file of a node's store was after each of its first steps."""
    folder = tmp_path_factory.mktemp("moments")
    found = []
    for height in range(1, 31):
        block = block_at(height, height, (b"x" * 50 * height,))
        with closing(Journal(folder, CHAIN_ID, OWNER)) as journal:
            journal.append([block, final(block), roll(height, height), vote(height)])
            if height == 25:
                journal.append([snapshot(block_at(20, 20), 9_000)])
        found.append((folder / store.STORE_FILE).read_bytes())
    return found


def pages(data: bytes) -> list[bytes]:
    """Cut a file into its pages."""
    return [data[at : at + PAGE_BYTES] for at in range(0, len(data), PAGE_BYTES)]


def lost(moments: list[bytes]) -> Iterator[bytes]:
    """Yield the last file with each page as it once was, and all others as they are."""
    newest = pages(moments[-1])
    for earlier in map(pages, moments[:-1]):
        for at, old in enumerate(earlier):
            if old != newest[at]:
                yield b"".join((*newest[:at], old, *newest[at + 1 :]))


def misdirected(moments: list[bytes]) -> Iterator[bytes]:
    """Yield the last file with one page written on the place of another one."""
    newest = pages(moments[-1])
    for source in range(len(newest)):
        for place in range(len(newest)):
            if newest[source] != newest[place]:
                yield b"".join((*newest[:place], newest[source], *newest[place + 1 :]))


@pytest.mark.parametrize("went_wrong", [lost, misdirected])
def test_a_page_that_was_lost_or_misdirected_is_named_or_changes_nothing(
    tmp_path: Path, moments: list[bytes], went_wrong: Callable[[list[bytes]], Iterator[bytes]]
) -> None:
    folder = tmp_path / "whole"
    folder.mkdir()
    (folder / store.STORE_FILE).write_bytes(moments[-1])
    with closing(Store(folder)) as reader:
        whole = everything(reader)
    sentences: list[str] = []
    broken = tmp_path / "broken"
    files = random.Random(1).sample(list(went_wrong(moments)), 100)
    for data in files:
        broken.mkdir()
        (broken / store.STORE_FILE).write_bytes(data)
        try:
            with closing(Journal(broken, CHAIN_ID, OWNER)) as journal:
                assert everything(journal) == whole
        except OperatorError as error:
            sentences.append(str(error))
        shutil.rmtree(broken)
    assert all(str(broken) in sentence for sentence in sentences)
    assert len(sentences) > 70


def test_a_step_that_the_log_lost_or_has_twice_is_named_once_others_follow(
    tmp_path: Path, crashed: tuple[bytes, bytes, int]
) -> None:
    file, log, _ = crashed
    last = restart(tmp_path / "whole", file, log)
    frames = [log[at : at + FRAME_BYTES] for at in range(32, len(log), FRAME_BYTES)]
    rng = random.Random(6)
    refused = 0
    for place in rng.sample(range(len(frames)), 30):
        for put in (bytes(FRAME_BYTES), rng.choice(frames)):
            broken = log[:32] + b"".join((*frames[:place], put, *frames[place + 1 :]))
            try:
                # A step without its last frame looks like one that a power cut tore, together
                # with the single step behind it.
                assert restart(tmp_path / "broken", file, broken) >= last - 2
            except OperatorError as error:
                assert "is damaged" in str(error)  # noqa: PT017
                refused += 1
    assert refused > 40
