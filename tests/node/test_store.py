"""PROTOCOL 9: what was acknowledged is there after any crash, and damage is named, never returned."""

import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings, strategies as st

from consensus.effects import (
    ActionLogged,
    BlockLogged,
    CertificateLogged,
    DealCertificateLogged,
    EpochKeysErased,
    EpochKeysLogged,
    EvidenceErased,
    EvidenceLogged,
    FetchedLogged,
    FetchEnded,
    FinalLogged,
    FloorLogged,
    LogRecord,
    RollLogged,
    SealLogged,
    SharesLogged,
    SnapshotLogged,
    VoteLogged,
)
from node import store
from node.errors import OperatorError
from node.store import Journal, Store
from tests.node.store_child import CHAIN_ID, OWNER, block_at


def vote(view: int, kind: int = 1, epoch: int = 0, digest: bytes = bytes(32)) -> VoteLogged:
    return VoteLogged(
        kind=kind, epoch=epoch, view=view, digest=digest, envelope=b"vote%d" % view + digest
    )


def certificate(view: int, kind: int = 1) -> CertificateLogged:
    return CertificateLogged(
        kind=kind, epoch=0, view=view, digest=bytes(32), certificate=b"certificate%d" % view
    )


def final(block: BlockLogged, certificate: bytes = b"proof") -> FinalLogged:
    return FinalLogged(
        height=block.height, view=block.view, hash=block.hash, certificate=certificate
    )


def snapshot(block: BlockLogged, size: int = 100) -> SnapshotLogged:
    return SnapshotLogged(height=block.height, hash=block.hash, state=b"s" * size)


def roll(number: int, height: int, session: int = 1) -> RollLogged:
    return RollLogged(session=session, number=number, height=height, proof=b"dice%d" % number)


def one_of_each() -> list[LogRecord]:
    """Return every kind of record, all of which a start needs."""
    below, block = block_at(1, 1), block_at(2, 3, (b"another's",))
    return [
        below,
        final(below, b""),
        block,
        final(block),
        snapshot(block),
        roll(1, 2),
        vote(4),
        vote(4, kind=2),
        certificate(4),
        block_at(3, 4),
        ActionLogged(seq=7, envelope=b"mine"),
        DealCertificateLogged(epoch=0, batch=1, item=b"certificate"),
        FloorLogged(epoch=0, view=7),
        SharesLogged(epoch=0, dealer=2, batch=1, deal=b"deal", shares=b"s" * 2048),
        EpochKeysLogged(epoch=1, vote_seed=b"v" * 32, box_secret=b"b" * 32),
        SealLogged(epoch=0, height=2, hash=block.hash, certificate=b"seal", step=b"step"),
        FetchedLogged(part=0, message=b"chunk"),
        EvidenceLogged(slot=3, proof=b"proof"),
    ]


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with closing(Journal(tmp_path / "node", CHAIN_ID, OWNER)) as opened:
        yield opened


def reopened(journal: Journal) -> Journal:
    journal.close()
    return Journal(journal.path.parent, journal.chain_id, journal.owner)


def test_every_kind_of_record_there_is_has_a_place() -> None:
    kinds = {*map(type, one_of_each()), EpochKeysErased, FetchEnded, EvidenceErased}
    assert kinds == set(get_args(LogRecord))


def test_keys_and_secrets_of_past_epochs_are_gone_from_the_file_once_they_are_erased(
    journal: Journal,
) -> None:
    old = EpochKeysLogged(epoch=1, vote_seed=b"old vote" * 4, box_secret=b"old box " * 4)
    new = EpochKeysLogged(epoch=2, vote_seed=b"new vote" * 4, box_secret=b"new box " * 4)
    held = SharesLogged(epoch=1, dealer=2, batch=0, deal=b"deal", shares=b"old part" * 256)
    journal.append([old, new, held])
    journal.append([EpochKeysErased(epoch=2, keys=1)])
    assert journal.load() == (old, new), "who named no other keys votes on with those of epoch 1"
    journal.append([EpochKeysErased(epoch=2, keys=2)])
    assert journal.load() == (new,)
    journal.check()
    journal = reopened(journal)
    assert journal.load() == (new,)
    journal.close()
    data = journal.path.read_bytes()
    assert old.vote_seed not in data
    assert old.box_secret not in data
    assert held.shares not in data
    assert new.vote_seed in data


def test_what_was_fetched_of_a_state_is_there_until_its_fetch_ends(journal: Journal) -> None:
    first = [FetchedLogged(part=part, message=b"answer%d" % part) for part in range(3)]
    journal.append(first)
    journal = reopened(journal)
    assert journal.load() == tuple(first)
    second = FetchedLogged(part=0, message=b"of another fetch")
    journal.append([FetchEnded(), second])
    journal.check()
    assert journal.load() == (second,)
    journal.close()


def test_a_proof_of_fault_is_there_until_it_is_erased(journal: Journal) -> None:
    proofs = [EvidenceLogged(slot=slot, proof=b"proof%d" % slot) for slot in range(2)]
    journal.append(proofs)
    journal = reopened(journal)
    assert journal.load() == tuple(proofs)
    journal.append([EvidenceErased(slot=0)])
    journal.check()
    journal = reopened(journal)
    assert journal.load() == (proofs[1],)
    journal.close()


def test_every_kind_of_record_comes_back_as_it_was(tmp_path: Path) -> None:
    records = one_of_each()
    with closing(Journal(tmp_path, CHAIN_ID, OWNER)) as journal:
        journal.append(records)
        assert journal.load() == expected(records)
    with closing(Journal(tmp_path, CHAIN_ID, OWNER)) as journal:
        assert journal.load() == expected(records)
        assert len(expected(records)) == len(records) - 2  # block and final below the snapshot
        journal.check()


def test_history_is_served_by_hash_height_and_roll(journal: Journal) -> None:
    journal.append(one_of_each())
    first, second = block_at(1, 1), block_at(2, 3, (b"another's",))
    assert journal.block(first.hash) == (first.header, first.body)
    assert journal.block(bytes(32)) is None
    assert journal.final(1) == (first.hash, first.header, first.body, b"")
    assert journal.final(2) == (second.hash, second.header, second.body, b"proof")
    assert journal.final(3) is None
    assert journal.final_height() == 2
    assert journal.snapshot() == snapshot(second)
    assert journal.roll(1, 1) == roll(1, 2)
    assert journal.roll(1, 2) is None
    journal.append([roll(1, 2, session=5), roll(2, 2), roll(10, 2)])
    assert [(found.session, found.number) for found in journal.rolls()] == [
        (1, 1), (1, 2), (1, 10), (5, 1),
    ]  # fmt: skip


def test_a_new_store_is_empty_and_for_its_owner_only(journal: Journal) -> None:
    assert journal.load() == ()
    assert journal.final_height() == 0
    assert journal.snapshot() is None
    journal.append([vote(1)])
    for path in journal.path.parent.iterdir():
        assert path.name == store.LOCK_FILE or path.stat().st_mode & 0o077 == 0, path


def test_what_is_appended_twice_is_there_once(journal: Journal) -> None:
    records = one_of_each()
    journal.append(records)
    journal.append(records[1:4] + records[5:])
    assert journal.load() == expected(records)
    journal.check()


@pytest.mark.parametrize(
    "other",
    [
        vote(4, digest=b"d" * 32),
        final(block_at(2, 99)),
        ActionLogged(seq=7, envelope=b"other"),
        DealCertificateLogged(epoch=0, batch=1, item=b"another"),
    ],
    ids=lambda record: type(record).__name__,
)
def test_a_node_cannot_log_the_opposite_of_what_it_logged(tmp_path: Path, other: LogRecord) -> None:
    with closing(Journal(tmp_path, CHAIN_ID, OWNER)) as journal:
        journal.append(one_of_each())
        with pytest.raises(AssertionError, match="holds another record"):
            journal.append([vote(50), other])
        with pytest.raises(OperatorError, match="earlier step could not be made durable"):
            journal.append([vote(51)])
    with closing(Journal(tmp_path, CHAIN_ID, OWNER)) as journal:
        assert journal.load() == expected(one_of_each())


def test_a_block_must_be_there_before_it_is_final(journal: Journal) -> None:
    with pytest.raises(AssertionError, match="final at 1 that was never logged"):
        journal.append([final(block_at(1, 1))])


def test_own_actions_go_when_a_final_block_holds_them(journal: Journal) -> None:
    actions = [ActionLogged(seq=n, envelope=b"mine%d" % n) for n in range(1, 5)]
    journal.append(actions)
    block = block_at(1, 1, (b"another's", actions[1].envelope))
    journal.append([block])
    journal = reopened(journal)
    journal.append([final(block)])
    # 1 cannot become final any more: its number is passed.
    assert [r for r in journal.load() if isinstance(r, ActionLogged)] == actions[2:]
    other = block_at(2, 2, tuple(action.envelope for action in actions))
    journal.append([other, final(other)])
    assert not [r for r in journal.load() if isinstance(r, ActionLogged)]
    journal.close()


def count(journal: Store, table: str) -> int:
    with closing(sqlite3.connect(journal.path)) as db:
        return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def test_votes_and_certificates_do_not_pile_up(journal: Journal) -> None:
    journal.append([certificate(1, kind=2), vote(1, kind=2)])
    for height in range(1, 3 * store.FINALS_PER_PRUNING + 1):
        block = block_at(height, height + 1)
        journal.append([block, vote(block.view), certificate(block.view), final(block)])
    assert count(journal, "vote_log") == store.VIEWS_KEPT + 1
    assert count(journal, "certificates") == store.VIEWS_KEPT + 1
    assert count(journal, "blocks") == count(journal, "finals") == 3 * store.FINALS_PER_PRUNING
    journal.check()


def test_votes_of_a_later_epoch_outlive_the_last_view_of_the_one_before(journal: Journal) -> None:
    seal = block_at(1, 500)
    journal.append([vote(499), vote(500), vote(501), vote(1, epoch=1), seal, final(seal)])
    votes = [r for r in journal.load() if isinstance(r, VoteLogged)]
    assert votes == [vote(501), vote(1, epoch=1)]


def test_two_snapshots_stay_and_a_start_begins_at_the_newest(journal: Journal) -> None:
    blocks = [block_at(height, height) for height in range(1, 11)]
    for block in blocks:
        journal.append([block, final(block), roll(block.height, block.height)])
        if block.height % 3 == 0:
            journal.append([snapshot(block)])
    assert count(journal, "snapshots") == store.SNAPSHOTS_KEPT
    journal = reopened(journal)
    records = journal.load()
    assert records[0] == snapshot(blocks[8])
    assert [r.height for r in records if isinstance(r, BlockLogged)] == [9, 10]
    assert [r.height for r in records if isinstance(r, FinalLogged)] == [9, 10]
    assert [r.height for r in records if isinstance(r, RollLogged)] == [9, 10]
    assert journal.final(1) is not None
    journal.check()
    journal.close()


def test_a_second_node_on_the_folder_is_refused(journal: Journal) -> None:
    folder = journal.path.parent
    with pytest.raises(OperatorError, match=r"another node runs on this folder: .* \(process \d"):
        Journal(folder, CHAIN_ID, OWNER)
    child = subprocess.run(
        [sys.executable, "-m", "tests.node.store_child", str(folder), "1"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "another node runs on this folder" in child.stderr
    journal.append([vote(1)])
    reopened(journal).close()


@pytest.mark.parametrize(("chain_id", "owner"), [(bytes(32), OWNER), (CHAIN_ID, b"somebody")])
def test_the_store_of_another_table_or_identity_is_refused(
    journal: Journal, chain_id: bytes, owner: bytes
) -> None:
    journal.close()
    with pytest.raises(
        OperatorError, match=f"key {OWNER.hex()} of table {CHAIN_ID.hex()}, not to key"
    ):
        Journal(journal.path.parent, chain_id, owner)
    reopened(journal).close()


@pytest.mark.parametrize(
    ("pragma", "sentence"),
    [
        (
            "user_version = 7",
            "written by a newer version of BitCraps: its schema is 7, this one reads 4",
        ),
        ("user_version = 0", "written by another version of BitCraps: its schema is 0"),
        ("application_id = 5", "is not a store of BitCraps"),
    ],
)
def test_a_store_that_this_version_does_not_know_is_refused_untouched(
    journal: Journal, pragma: str, sentence: str
) -> None:
    journal.append(one_of_each())
    journal.close()
    with closing(sqlite3.connect(journal.path)) as db:
        db.execute(f"PRAGMA {pragma}")
        db.commit()
    before = journal.path.read_bytes()
    openings: tuple[Callable[[], object], ...] = (
        lambda: reopened(journal),
        lambda: Store(journal.path.parent),
    )
    for opening in openings:
        with pytest.raises(OperatorError, match=sentence):
            opening()
    assert journal.path.read_bytes() == before


def test_reading_needs_a_store(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"has no store\.db"):
        Store(tmp_path)


def test_a_creation_that_was_cut_short_begins_again(tmp_path: Path) -> None:
    for leftover in ("store.db.new", "store.db.new-journal"):
        (tmp_path / leftover).write_bytes(b"half")
    with closing(Journal(tmp_path, CHAIN_ID, OWNER)) as journal:
        journal.append([vote(1)])
    with closing(Store(tmp_path)) as reader:
        assert reader.load() == (vote(1),)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OperatorError, match=r"cannot write .*Not a directory"):
        Journal(tmp_path / "file" / "node", CHAIN_ID, OWNER)


# Load after any history equals a model that keeps a list, as a simulated disk does.


def expected(records: list[LogRecord]) -> tuple[LogRecord, ...]:
    """Return what a start needs of a list of records, by the words of the specification."""
    snapshots = [r for r in records if isinstance(r, SnapshotLogged)]
    finals = [r for r in records if isinstance(r, FinalLogged)]
    bodies = {r.hash: r.body for r in records if isinstance(r, BlockLogged)}
    base = max((r.height for r in snapshots), default=0)
    view = max((r.view for r in finals), default=-1)
    final_bodies = b"".join(bodies[r.hash] for r in finals)
    own = [r for r in records if isinstance(r, ActionLogged)]
    spent = max((r.seq for r in own if r.envelope in final_bodies), default=0)
    kept: list[LogRecord] = [*[r for r in snapshots if r.height == base][:1]]
    for record in records:
        match record:
            case BlockLogged() | FinalLogged() | RollLogged():
                alive = record.height >= base
            case VoteLogged() | CertificateLogged():
                alive = record.view > view
            case ActionLogged():
                alive = record.seq > spent
            case SnapshotLogged():
                alive = False
            case _:
                alive = True
        if alive and record not in kept:
            kept.append(record)
    return tuple(kept)


class History:
    """Turns small integers into a history that a node could have."""

    def __init__(self) -> None:
        self.open: list[BlockLogged] = []
        self.final = block_at(0, 0)
        self.view = self.seq = self.number = self.base = 0

    def next(self, what: int, size: int) -> list[LogRecord]:
        self.view += 1
        tip = self.open[-1] if self.open else self.final
        match what:
            case 0:
                held = tuple(b"<%d>" % n for n in range(self.seq - size % 4, self.seq + 1) if n > 0)
                self.open.append(block_at(tip.height + 1, self.view, held))
                return [self.open[-1], vote(self.view, digest=self.open[-1].hash)]
            case 1 if self.open:
                self.final = self.open.pop(0)
                return [final(self.final, b"p" * (size % 3))]
            case 2 if self.final.height > self.base:
                self.base = self.final.height
                return [snapshot(self.final, size * 50)]
            case 3:
                self.seq += 1
                return [ActionLogged(seq=self.seq, envelope=b"<%d>" % self.seq)]
            case 4:
                self.number += 1
                return [roll(self.number, self.final.height)]
            case 5:
                return [certificate(self.view, kind=2), vote(self.view, kind=2)]
            case 6:
                return [
                    DealCertificateLogged(epoch=0, batch=self.view, item=b"e" * 32),
                    SharesLogged(epoch=0, dealer=size, batch=self.view, deal=b"d", shares=b"s" * size),
                ]  # fmt: skip
            case _:
                return [vote(self.view, kind=3)]


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 7), st.integers(0, 90), st.sampled_from("...:!")), max_size=60
    )
)
def test_load_after_any_history_equals_the_list_without_the_dead(
    steps: list[tuple[int, int, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("history")
    history, appended, pending = History(), list[LogRecord](), list[LogRecord]()
    journal = Journal(folder, CHAIN_ID, OWNER)
    for what, size, after in steps:
        pending += history.next(what, size)
        if after == ".":
            continue
        journal.append(pending)
        appended += pending
        pending = []
        if after == "!":
            journal = reopened(journal)
        assert journal.load() == expected(appended)
    journal.check()
    journal.close()
    shutil.rmtree(folder)


# Damage.


def everything(reader: Store) -> tuple[object, tuple[LogRecord, ...], object]:
    """Return all that a store has to say."""
    heights = range(reader.final_height() + 1)
    finals = [reader.final(height) for height in heights]
    rolls = list(reader.rolls())
    blocks = [reader.block(found.hash) for found in finals if found is not None]
    return (
        (reader.chain_id, reader.owner, reader.snapshot()),
        reader.load(),
        (finals, blocks, rolls),
    )


def damaged_folder(tmp_path: Path) -> Path:
    """Return a folder whose closed store has some pages of every table."""
    folder = tmp_path / "whole"
    with closing(Journal(folder, CHAIN_ID, OWNER)) as journal:
        for height in range(1, 31):
            block = block_at(height, height, (b"x" * 50 * height,))
            journal.append([block, final(block), roll(height, height), vote(height)])
        journal.append([snapshot(block_at(20, 20), 9_000)])
        journal.append([vote(view, kind) for view in range(31, 60) for kind in (1, 2)])
        journal.append([certificate(view, kind) for view in range(31, 60) for kind in (1, 2)])
        journal.append([ActionLogged(seq=n, envelope=b"mine%d" % n) for n in range(1, 20)])
        journal.append([DealCertificateLogged(epoch=0, batch=n, item=b"e" * 32) for n in range(9)])
        for n in range(9):
            shares = bytes(1_500 + n)
            journal.append([SharesLogged(epoch=0, dealer=n, batch=1, deal=b"d", shares=shares)])
    return folder


@pytest.mark.slow
def test_a_flipped_bit_anywhere_in_the_file_is_named_or_changes_nothing(tmp_path: Path) -> None:
    folder = damaged_folder(tmp_path)
    with closing(Store(folder)) as reader:
        whole = everything(reader)
    data = (folder / store.STORE_FILE).read_bytes()
    rng, broken = random.Random(1), tmp_path / "broken"
    sentences = []
    for _ in range(500):
        at, bit = rng.randrange(len(data)), rng.randrange(8)
        broken.mkdir()
        flipped = data[:at] + bytes((data[at] ^ 1 << bit,)) + data[at + 1 :]
        (broken / store.STORE_FILE).write_bytes(flipped)
        try:
            with closing(Journal(broken, CHAIN_ID, OWNER)) as journal:
                assert everything(journal) == whole, f"byte {at} bit {bit}"
                journal.append([vote(1_000)])
            with closing(Store(broken)) as reader:
                assert reader.load() == (*whole[1], vote(1_000))
        except OperatorError as error:
            sentences.append(str(error))
        shutil.rmtree(broken)
    assert all(str(broken) in sentence for sentence in sentences)
    assert len(sentences) > 100  # most of the file's bytes are unused, the others count


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM vote_log WHERE view = 40 AND kind = 1",
        "DELETE FROM own_actions WHERE seq = 5",
        "DELETE FROM finals WHERE height = 25",
        "DELETE FROM snapshots WHERE height = 20",
        "UPDATE vote_log SET view = 100 WHERE view = 40 AND kind = 1",
        "UPDATE deal_certificates SET item = zeroblob(32) WHERE batch = 3",
        "UPDATE deal_certificates SET batch = batch + 100, position = position",
        "UPDATE meta SET value = zeroblob(64) WHERE name = 'seal'",
        "DELETE FROM meta WHERE name = 'seal'",
        "INSERT INTO own_actions SELECT seq + 50, envelope, position, row_hash FROM own_actions",
        "UPDATE rolls SET proof = (SELECT proof FROM rolls WHERE number = 29) WHERE number = 28",
    ],
)
def test_rows_that_vanish_appear_or_change_are_missed_at_the_start(
    tmp_path: Path, change: str
) -> None:
    folder = damaged_folder(tmp_path)
    with closing(sqlite3.connect(folder / store.STORE_FILE)) as db:
        db.execute(change)
        db.commit()
    with pytest.raises(OperatorError, match="is damaged"):
        Journal(folder, CHAIN_ID, OWNER)


@pytest.mark.parametrize(
    ("change", "reading", "sentence"),
    [
        ("DELETE FROM finals WHERE height = 4", lambda s: s.final(4), "the final block at height 4 is"),
        ("DELETE FROM blocks WHERE height = 4", lambda s: s.final(4), "the final block at height 4 is"),
        ("UPDATE blocks SET body = x'00' WHERE height = 4", lambda s: s.final(4), "a row of blocks"),
        ("DELETE FROM rolls WHERE number = 3", lambda s: list(s.rolls()), "rolls has other rows"),
        ("DELETE FROM rolls WHERE number = 3", Store.check, "rolls has other rows"),
        ("DELETE FROM blocks WHERE height = 4", Store.check, "blocks has other rows"),
    ],
)  # fmt: skip
def test_old_history_is_missed_where_it_is_read(
    tmp_path: Path, change: str, reading: Callable[[Store], object], sentence: str
) -> None:
    folder = damaged_folder(tmp_path)
    with closing(sqlite3.connect(folder / store.STORE_FILE)) as db:
        db.execute(change)
        db.commit()
    with closing(Store(folder)) as reader:
        reader.load()
        assert reader.final(5) is not None
        with pytest.raises(OperatorError, match=f"is damaged: {sentence}"):
            reading(reader)


@pytest.mark.parametrize(
    ("whole", "damaged"), [(b"blocks_by_hash", b"blocks\xdfby_hash"), (b"envelope", b"envelopf")]
)
def test_a_schema_with_a_flipped_bit_is_named(tmp_path: Path, whole: bytes, damaged: bytes) -> None:
    folder = damaged_folder(tmp_path)
    path = folder / store.STORE_FILE
    path.write_bytes(path.read_bytes().replace(whole, damaged))
    with pytest.raises(OperatorError, match="is damaged"):
        Journal(folder, CHAIN_ID, OWNER)


def test_a_store_without_its_index_is_refused(journal: Journal) -> None:
    journal.close()
    with closing(sqlite3.connect(journal.path)) as db:
        db.execute("DROP INDEX rolls_by_height")
    with pytest.raises(OperatorError, match="its schema is not the one of its version"):
        reopened(journal)
