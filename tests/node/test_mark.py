"""The sign mark: what a folder knows of its own votes when its store is lost, old or a copy."""

import shutil
from contextlib import closing
from pathlib import Path

import pytest

from consensus.effects import FloorLogged, LogRecord, VoteLogged
from node.epoch import NO_FLOOR
from node.mark import MARK_FILE, RESERVED_VIEWS, SignMark
from node.serving import floor_of
from node.store import STORE_FILE, Journal

CHAIN = bytes(range(32))


def vote(view: int, epoch: int = 0) -> VoteLogged:
    return VoteLogged(kind=2, epoch=epoch, view=view, digest=bytes(32), envelope=b"vote")


def write(folder: Path, *records: LogRecord) -> None:
    with closing(Journal(folder, CHAIN, bytes(8), SignMark(folder, CHAIN))) as journal:
        for record in records:
            journal.append([record])


def floor(folder: Path) -> tuple[int, int] | None:
    mark = SignMark(folder, CHAIN)
    with closing(Journal(folder, CHAIN, bytes(8), mark)) as journal:
        return floor_of(mark, journal.newest_vote())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that voted up to view 70 of epoch 1."""
    made = tmp_path / "node"
    made.mkdir()
    SignMark(made, CHAIN).begin()
    assert floor(made) == NO_FLOOR
    write(made, vote(3), vote(9), vote(2, epoch=1), vote(70, epoch=1))
    return made


def test_a_whole_folder_forgot_nothing(folder: Path) -> None:
    assert floor(folder) == NO_FLOOR


def test_a_mark_is_no_lower_than_any_vote_and_seldom_written(folder: Path) -> None:
    assert SignMark(folder, CHAIN).place == (1, 70 + RESERVED_VIEWS)
    before = (folder / MARK_FILE).read_bytes()
    write(folder, *(vote(view, epoch=1) for view in range(71, 71 + RESERVED_VIEWS)))
    assert (folder / MARK_FILE).read_bytes() == before
    write(folder, vote(71 + RESERVED_VIEWS, epoch=1))
    assert SignMark(folder, CHAIN).place == (1, 71 + 2 * RESERVED_VIEWS)


def test_a_lost_store_leaves_the_mark_as_the_floor(folder: Path) -> None:
    (folder / STORE_FILE).unlink()
    assert floor(folder) == (1, 70 + RESERVED_VIEWS)
    # Also at the next start, until a vote above the floor is stored.
    assert floor(folder) == (1, 70 + RESERVED_VIEWS)
    write(folder, vote(71 + RESERVED_VIEWS, epoch=1))
    assert floor(folder) == NO_FLOOR


def test_a_lost_mark_and_a_copied_folder_leave_nothing_to_rely_on(folder: Path) -> None:
    copied = folder.with_name("copy")
    shutil.copytree(folder, copied)
    assert floor(copied) is None
    (folder / MARK_FILE).unlink()
    assert floor(folder) is None
    assert floor(folder) is None
    # What the others told is relied on from then on.
    write(folder, FloorLogged(epoch=1, view=90))
    assert floor(folder) == NO_FLOOR
    assert SignMark(folder, CHAIN).place == (1, 90 + RESERVED_VIEWS)


def test_one_damaged_slot_loses_one_write_and_two_lose_the_mark(folder: Path) -> None:
    path = folder / MARK_FILE
    whole = path.read_bytes()
    for at in (0, 512):
        path.write_bytes(whole[:at] + b"\xff" * 16 + whole[at + 16 :])
        assert SignMark(folder, CHAIN).place in {(1, 102), (1, 34)}
        assert SignMark(folder, CHAIN).is_original
        assert floor(folder) == NO_FLOOR
    (folder / STORE_FILE).unlink()
    assert floor(folder) is None
    path.write_bytes(bytes(len(whole)))
    assert not SignMark(folder, CHAIN).is_original


def test_the_mark_of_another_table_is_none(folder: Path) -> None:
    assert not SignMark(folder, bytes(32)).is_original
    SignMark(folder, bytes(32)).begin()
    assert SignMark(folder, bytes(32)).place == (0, 0)
    assert not SignMark(folder, CHAIN).is_original
