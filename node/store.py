"""A node's memory across crashes: one SQLite file that a step's records enter whole or not at all.

`Journal` is the one writer of a folder; `Store` reads, also beside a live writer. SQLite keeps
commits whole but notices few damaged bytes, and here a lost row may be a forgotten vote. So each row
carries a hash bound to its table, position and content, and every commit updates a sum over the
rows: whatever is read is checked, and rows that vanished are missed at the next start (PROTOCOL 9).
"""

import fcntl
import os
import sqlite3
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from operator import attrgetter
from pathlib import Path
from typing import IO, Generic, NamedTuple, NoReturn, TypeAlias, TypeVar

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
from consensus.encoding import DecodeError, decode_as, encode
from consensus.messages import Body, Header
from node.errors import OperatorError
from node.mark import SignMark, newest_vote
from node.write_ahead_log import has_lost_commits, read_log

STORE_FILE = "store.db"
LOCK_FILE = "store.lock"
SCHEMA_VERSION = 4
APPLICATION_ID = 0x42437270
"""ASCII "BCrp" in the file's header, so that `file` and we tell it from other databases."""
SQLITE_OLDEST = (3, 35, 0)
"""The first with RETURNING."""
VIEWS_KEPT = 16
"""Votes and certificates this far below the final view stay, for whoever looks into a dispute."""
FINALS_PER_PRUNING = 64
"""Deleting costs as much as inserting; once in a while it is one range of whole pages."""
SNAPSHOTS_KEPT = 2
CHECKPOINT_PAGES = 4_000
"""Write-ahead log of 16 MiB: its pages are copied and synced about once in 500 blocks."""
CACHE_KIB = 8_192
BUSY_MS = 5_000
"""How long a reader waits for the moment in which a starting writer holds the file alone."""
ROW_HASH_BYTES = 16
_SUM = 2 ** (8 * ROW_HASH_BYTES)
_LOW = 2**64 - 1

_SCHEMA = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB, row_hash BLOB) WITHOUT ROWID",
    "CREATE TABLE vote_log (epoch INTEGER, view INTEGER, kind INTEGER, digest BLOB, envelope BLOB,"
    " position INTEGER, row_hash BLOB, PRIMARY KEY (epoch, view, kind)) WITHOUT ROWID",
    "CREATE TABLE floors (epoch INTEGER, view INTEGER, position INTEGER, row_hash BLOB,"
    " PRIMARY KEY (epoch)) WITHOUT ROWID",
    "CREATE TABLE certificates (epoch INTEGER, view INTEGER, kind INTEGER, digest BLOB,"
    " certificate BLOB, position INTEGER, row_hash BLOB, PRIMARY KEY (epoch, view, kind))"
    " WITHOUT ROWID",
    # The body comes last: reading the other columns then touches none of its pages.
    "CREATE TABLE blocks (height INTEGER, hash BLOB, view INTEGER, position INTEGER, row_hash BLOB,"
    " header BLOB, body BLOB, PRIMARY KEY (height, hash)) WITHOUT ROWID",
    "CREATE UNIQUE INDEX blocks_by_hash ON blocks (hash)",
    "CREATE TABLE finals (height INTEGER, view INTEGER, hash BLOB, certificate BLOB,"
    " position INTEGER, row_hash BLOB, PRIMARY KEY (height)) WITHOUT ROWID",
    "CREATE TABLE snapshots (height INTEGER, hash BLOB, position INTEGER, row_hash BLOB,"
    " state BLOB, PRIMARY KEY (height)) WITHOUT ROWID",
    "CREATE TABLE own_actions (seq INTEGER, envelope BLOB, position INTEGER, row_hash BLOB,"
    " PRIMARY KEY (seq)) WITHOUT ROWID",
    "CREATE TABLE deal_certificates (epoch INTEGER, batch INTEGER, item BLOB, position INTEGER,"
    " row_hash BLOB, PRIMARY KEY (epoch, batch)) WITHOUT ROWID",
    "CREATE TABLE shares (epoch INTEGER, dealer INTEGER, batch INTEGER, deal BLOB, position INTEGER,"
    " row_hash BLOB, shares BLOB, PRIMARY KEY (epoch, dealer, batch, deal)) WITHOUT ROWID",
    "CREATE TABLE epoch_keys (epoch INTEGER, vote_seed BLOB, box_secret BLOB, position INTEGER,"
    " row_hash BLOB, PRIMARY KEY (epoch)) WITHOUT ROWID",
    "CREATE TABLE seals (epoch INTEGER, height INTEGER, hash BLOB, certificate BLOB,"
    " step BLOB, position INTEGER, row_hash BLOB, PRIMARY KEY (epoch)) WITHOUT ROWID",
    "CREATE TABLE fetched (part INTEGER, message BLOB, position INTEGER, row_hash BLOB,"
    " PRIMARY KEY (part)) WITHOUT ROWID",
    "CREATE TABLE evidence (slot INTEGER, proof BLOB, position INTEGER, row_hash BLOB,"
    " PRIMARY KEY (slot)) WITHOUT ROWID",
    "CREATE TABLE rolls (session INTEGER, number INTEGER, height INTEGER, proof BLOB,"
    " position INTEGER, row_hash BLOB, PRIMARY KEY (session, number)) WITHOUT ROWID",
    "CREATE INDEX rolls_by_height ON rolls (height)",
)

Values: TypeAlias = tuple[object, ...]
Logged_co = TypeVar("Logged_co", bound=LogRecord, covariant=True)


class Final(NamedTuple):
    """A final block; the certificate is empty when a descendant's proves it."""

    hash: bytes
    header: bytes
    body: bytes
    certificate: bytes


@dataclass(frozen=True, slots=True)
class _Table(Generic[Logged_co]):
    """Where one kind of record lives.

    `key` names the row. `stays` are the columns in which a second record of one key must agree with
    the first: a node that contradicts itself there would sign two truths.
    """

    name: str
    record: type[Logged_co]
    key: tuple[str, ...]
    stays: tuple[str, ...] = ()
    columns: tuple[str, ...] = field(init=False)
    kinds: tuple[type, ...] = field(init=False)
    values: Callable[[object], Values] = field(init=False)
    insert: str = field(init=False)
    select: str = field(init=False)

    def __post_init__(self) -> None:
        """Take the columns from the record's fields."""
        columns = self.record.__struct_fields__
        names = ", ".join((*columns, "position", "row_hash"))
        marks = ", ".join("?" * (len(columns) + 2))
        conflict = "ON CONFLICT DO NOTHING"
        insert = f"INSERT INTO {self.name} ({names}) VALUES ({marks}) {conflict}"  # noqa: S608
        kinds = self.record.__annotations__
        object.__setattr__(self, "columns", columns)
        object.__setattr__(self, "kinds", tuple(kinds[column] for column in columns))
        object.__setattr__(self, "values", attrgetter(*columns))
        object.__setattr__(self, "insert", insert)
        object.__setattr__(self, "select", f"SELECT {names} FROM {self.name}")  # noqa: S608

    def agrees(self, db: sqlite3.Connection, record: LogRecord) -> bool:
        """Say whether the stored row of the record's key is the same where it must be."""
        if not self.stays:
            return True
        where = " AND ".join(f"{column} = ?" for column in self.key)
        query = f"SELECT {', '.join(self.stays)} FROM {self.name} WHERE {where}"  # noqa: S608
        row = db.execute(query, [getattr(record, column) for column in self.key]).fetchone()
        return bool(row == tuple(getattr(record, column) for column in self.stays))


_VOTES = _Table("vote_log", VoteLogged, ("epoch", "view", "kind"), ("digest",))
_FLOORS = _Table("floors", FloorLogged, ("epoch",), ("view",))
_CERTIFICATES = _Table("certificates", CertificateLogged, ("epoch", "view", "kind"))
_BLOCKS = _Table("blocks", BlockLogged, ("height", "hash"))
_FINALS = _Table("finals", FinalLogged, ("height",), ("hash",))
_SNAPSHOTS = _Table("snapshots", SnapshotLogged, ("height",), ("hash",))
_ACTIONS = _Table("own_actions", ActionLogged, ("seq",), ("envelope",))
_DEAL_CERTIFICATES = _Table(
    "deal_certificates", DealCertificateLogged, ("epoch", "batch"), ("item",)
)
_SHARES = _Table("shares", SharesLogged, ("epoch", "dealer", "batch", "deal"))
_EPOCH_KEYS = _Table("epoch_keys", EpochKeysLogged, ("epoch",), ("vote_seed", "box_secret"))
_SEALS = _Table("seals", SealLogged, ("epoch",), ("hash",))
_FETCHED = _Table("fetched", FetchedLogged, ("part",), ("message",))
_EVIDENCE = _Table("evidence", EvidenceLogged, ("slot",), ("proof",))
_ROLLS = _Table("rolls", RollLogged, ("session", "number"))
_WORKING: tuple[_Table[LogRecord], ...] = (
    _VOTES,
    _FLOORS,
    _CERTIFICATES,
    _SNAPSHOTS,
    _ACTIONS,
    _DEAL_CERTIFICATES,
    _SHARES,
    _EPOCH_KEYS,
    _SEALS,
    _FETCHED,
    _EVIDENCE,
)
"""Read whole at every start; pruned, but for one row for each epoch sealed."""
_OF_EPOCH: tuple[_Table[LogRecord], ...] = (_DEAL_CERTIFICATES, _SHARES)
"""Secrets that end with their epoch."""
_HISTORY: tuple[_Table[LogRecord], ...] = (_BLOCKS, _FINALS, _ROLLS)
"""Kept for ever; a start reads them from the newest snapshot's height on."""
_TABLES: dict[type, _Table[LogRecord]] = {table.record: table for table in (*_WORKING, *_HISTORY)}
_SEAL = struct.Struct(f">4Q{3 * (len(_WORKING) + 2 * len(_HISTORY))}Q")
"""Four numbers of the seal, and three for each sum of rows: how many, high half, low half."""


@dataclass(slots=True)
class _Sum:
    """How many rows there are and the sum of their hashes: the same in any order."""

    rows: int = 0
    total: int = 0

    def add(self, row_hash: bytes) -> None:
        self.rows += 1
        self.total = (self.total + int.from_bytes(row_hash, "big")) % _SUM

    def plus(self, other: "_Sum") -> "_Sum":
        return _Sum(self.rows + other.rows, (self.total + other.total) % _SUM)

    def remove(self, row_hash: bytes) -> None:
        self.rows -= 1
        self.total = (self.total - int.from_bytes(row_hash, "big")) % _SUM


@dataclass(slots=True)
class _Seal:
    """What one row of `meta` says of all others, renewed by every commit.

    `base` is the height of the newest snapshot. Finals lie without a gap from `first` to `newest`.
    `recent` sums, table by table, what a start reads: the working tables, and the history from
    `base` on. `old` sums the history below.
    """

    position: int = 0
    base: int = 0
    first: int = 1
    newest: int = 0
    recent: dict[str, _Sum] = field(default_factory=lambda: _no_rows((*_WORKING, *_HISTORY)))
    old: dict[str, _Sum] = field(default_factory=lambda: _no_rows(_HISTORY))

    def add(self, table: _Table[LogRecord], height: int, row_hash: bytes) -> None:
        """Count a row in; `height` is above any base for the working tables."""
        self.position += 1
        (self.recent if height >= self.base else self.old)[table.name].add(row_hash)

    def pack(self) -> bytes:
        sums = [*self.recent.values(), *self.old.values()]
        numbers = [
            number for each in sums for number in (each.rows, each.total >> 64, each.total & _LOW)
        ]
        return _SEAL.pack(self.position, self.base, self.first, self.newest, *numbers)

    @classmethod
    def unpack(cls, data: bytes) -> "_Seal":
        position, base, first, newest, *numbers = _SEAL.unpack(data)
        seal = cls(position, base, first, newest)
        parts = iter(numbers)
        for each in (*seal.recent.values(), *seal.old.values()):
            each.rows, each.total = next(parts), next(parts) << 64 | next(parts)
        return seal


def _no_rows(tables: Sequence[_Table[LogRecord]]) -> dict[str, _Sum]:
    return {table.name: _Sum() for table in tables}


class Store:
    """Everything that was made durable, to read; each row is checked on its way out.

    Opening changes nothing and works beside the node that writes. Every method raises
    `OperatorError` when the file is damaged where it reads.
    """

    def __init__(self, folder: Path) -> None:
        """Open the store of a node's folder.

        Raises:
            OperatorError: There is none, it is of another version of BitCraps, or damaged.
        """
        self.path = folder / STORE_FILE
        if not self.path.exists():
            raise OperatorError(f"{folder} has no {STORE_FILE}: no node has played there yet")
        uri = f"{self.path.absolute().as_uri()}?mode=ro"
        with self._errors_named(), ExitStack() as held:
            self._db = held.enter_context(closing(_connect(uri)))
            self._check_schema()
            self.chain_id = self._meta("chain_id")
            self.owner = self._meta("owner")
            self._held = held.pop_all()

    def close(self) -> None:
        """Let go of the file, and of the folder when it was a journal's; nothing is lost."""
        self._held.close()

    def load(self) -> tuple[LogRecord, ...]:
        """Return what a replica resumes from.

        The newest snapshot is first. All else is in the order in which it was appended: blocks,
        finals and rolls from the snapshot's height on, votes and certificates above the final view,
        own actions that no final block holds, all dealings and shares.
        """
        with self._errors_named(), self._one_moment():
            rows = self._recent(self._sealed())
        rows.sort(key=lambda row: row[0])
        return self._resumable([record for _, record in rows])

    def block(self, block_hash: bytes) -> tuple[bytes, bytes] | None:
        """Return header and body of the block with this hash, or None."""
        with self._errors_named():
            found = self._first(_BLOCKS, "WHERE hash = ?", (block_hash,))
            return None if found is None else (found.header, found.body)

    def final(self, height: int) -> Final | None:
        """Return the final block at a height, or None where this node holds none."""
        with self._errors_named(), self._one_moment():
            found = self._first(_FINALS, "WHERE height = ?", (height,))
            if found is not None and (pair := self.block(found.hash)) is not None:
                return Final(found.hash, *pair, found.certificate)
            seal = self._sealed()
            if found is not None or seal.first <= height <= seal.newest:
                self._damaged(f"the final block at height {height} is missing")
            return None

    def final_height(self) -> int:
        """Return the height of the newest final block; 0 before the first."""
        with self._errors_named():
            return self._sealed().newest

    def snapshot(self) -> SnapshotLogged | None:
        """Return the newest snapshot, or None before the first."""
        with self._errors_named():
            return self._first(_SNAPSHOTS, "ORDER BY height DESC LIMIT 1", ())

    def newest_vote(self) -> tuple[int, int]:
        """Return epoch and view of the highest vote or floor kept here, (0, 0) without one."""
        newest = "ORDER BY epoch DESC, view DESC LIMIT 1"
        with self._errors_named(), self._one_moment():
            found = (self._first(_VOTES, newest, ()), self._first(_FLOORS, newest, ()))
        return newest_vote([one for one in found if one is not None])

    def roll(self, session: int, number: int) -> RollLogged | None:
        """Return a settled roll by its session's serial number and its own, or None."""
        with self._errors_named():
            return self._first(_ROLLS, "WHERE session = ? AND number = ?", (session, number))

    def rolls(self) -> Iterator[RollLogged]:
        """Yield every roll that is settled now, by session and number.

        Raises:
            OperatorError: At the latest after the last one, when any is missing.
        """
        # A connection of its own keeps to one moment while the caller does other things.
        with closing(Store(self.path.parent)) as own:
            yield from own._every_roll()  # noqa: SLF001  (it is one of us)

    def rolls_above(self, height: int) -> Iterator[RollLogged]:
        """Yield the rolls settled above a height, in the order of their blocks."""
        with self._errors_named(), self._one_moment():
            where = "WHERE height > ? ORDER BY height, session, number"
            for _, row in self._rows(_ROLLS, where, (height,)):
                yield row

    def _every_roll(self) -> Iterator[RollLogged]:
        with self._errors_named(), self._one_moment():
            seal, found = self._sealed(), _Sum()
            for _, row in self._rows(_ROLLS, "ORDER BY session, number", (), found):
                yield row
            rows = seal.recent[_ROLLS.name].plus(seal.old[_ROLLS.name])
            self._expect(_ROLLS, rows, found)

    def check(self) -> None:
        """Read everything; raises `OperatorError` at the first thing that does not fit."""
        with self._errors_named(), self._one_moment():
            for (complaint,) in self._db.execute("PRAGMA integrity_check(1)"):
                if complaint != "ok":
                    self._damaged(" ".join(complaint.split()))
            seal = self._sealed()
            self._recent(seal)
            for table in _HISTORY:
                found = _Sum()
                for _ in self._rows(table, "WHERE height < ?", (seal.base,), found):
                    pass
                self._expect(table, seal.old[table.name], found)

    def _recent(self, seal: _Seal) -> list[tuple[int, LogRecord]]:
        rows: list[tuple[int, LogRecord]] = []
        for tables, where, values in (
            (_WORKING, "", ()),
            (_HISTORY, "WHERE height >= ?", (seal.base,)),
        ):
            for table in tables:
                found = _Sum()
                rows += self._rows(table, where, values, found)
                self._expect(table, seal.recent[table.name], found)
        return rows

    def _first(self, table: _Table[Logged_co], where: str, values: Values) -> Logged_co | None:
        row = next(self._rows(table, where, values), None)
        return row[1] if row is not None else None

    def _rows(
        self, table: _Table[Logged_co], where: str, values: Values, found: _Sum | None = None
    ) -> Iterator[tuple[int, Logged_co]]:
        """Yield position and record of each row that fits its hash; add the hashes to `found`."""
        for *content, position, row_hash in self._db.execute(f"{table.select} {where}", values):
            if row_hash != _hash(table.name, position, content):
                self._damaged(f"a row of {table.name} does not fit its hash")
            if tuple(map(type, content)) != table.kinds or type(position) is not int:
                self._damaged(f"a row of {table.name} has a value of another kind")
            if found is not None:
                found.add(row_hash)
            yield position, table.record(**dict(zip(table.columns, content, strict=True)))

    def _resumable(self, records: Sequence[LogRecord]) -> tuple[LogRecord, ...]:
        newest = final = None
        headers: dict[bytes, bytes] = {}
        for record in records:
            match record:
                case SnapshotLogged() if newest is None or record.height > newest.height:
                    newest = record
                case FinalLogged() if final is None or record.height > final.height:
                    final = record
                case BlockLogged():
                    headers[record.hash] = record.header
                case _:
                    pass
        passed = (-1, -1)
        if final is not None:
            try:
                passed = _epoch_and_view(headers[final.hash])
            except (KeyError, DecodeError):
                self._damaged(f"the final block at height {final.height} cannot be read")
        kept: list[LogRecord] = [] if newest is None else [newest]
        for record in records:
            match record:
                case SnapshotLogged():
                    pass
                case VoteLogged() | CertificateLogged() if (record.epoch, record.view) <= passed:
                    pass
                case _:
                    kept.append(record)
        return tuple(kept)

    def _check_schema(self) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        (application,) = self._db.execute("PRAGMA application_id").fetchone()
        if application != APPLICATION_ID:
            raise OperatorError(f"{self.path} is not a store of BitCraps, or its head is damaged")
        if version != SCHEMA_VERSION:
            kind = "a newer" if version > SCHEMA_VERSION else "another"
            raise OperatorError(
                f"{self.path} was written by {kind} version of BitCraps: its schema is {version}, "
                f"this one reads {SCHEMA_VERSION}"
            )
        query = "SELECT sql FROM sqlite_schema ORDER BY rowid"
        if tuple(sql for (sql,) in self._db.execute(query)) != _SCHEMA:
            self._damaged("its schema is not the one of its version")

    def _meta(self, name: str) -> bytes:
        query = "SELECT value, row_hash FROM meta WHERE name = ?"
        row = self._db.execute(query, (name,)).fetchone()
        if row is None or row[1] != _hash("meta", name, row[:1]) or type(row[0]) is not bytes:
            self._damaged(f"the row {name} of meta is missing or does not fit its hash")
        return bytes(row[0])

    def _sealed(self) -> _Seal:
        data = self._meta("seal")
        if len(data) != _SEAL.size:
            self._damaged(f"its seal has {len(data)} bytes, not {_SEAL.size}")
        return _Seal.unpack(data)

    def _expect(self, table: _Table[LogRecord], sealed: _Sum, found: _Sum) -> None:
        if found != sealed:
            self._damaged(f"{table.name} has other rows ({found.rows}) than it had ({sealed.rows})")

    @contextmanager
    def _one_moment(self) -> Iterator[None]:
        """Let all reads within see the same commit."""
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            self._db.execute("ROLLBACK")

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise OperatorError(_sentence(self.path, error)) from error
        except UnicodeDecodeError:  # SQLite quotes a damaged name in its complaint
            self._damaged("its schema is not text")

    def _damaged(self, how: str) -> NoReturn:
        raise OperatorError(
            f"{self.path} is damaged: {how}. Keep a copy and stop using it on this disk"
        )


class Journal(Store):
    """The store of the one node that runs on a folder.

    `append` may run in a worker thread, one at a time, while the owner reads: reading and writing
    use connections of their own.
    """

    def __init__(
        self, folder: Path, chain_id: bytes, owner: bytes, mark: SignMark | None = None
    ) -> None:
        """Open the folder's store for a table and an identity, by its key id, or make it.

        `mark` is kept no lower than any vote that is appended.

        Raises:
            OperatorError: Another node runs on the folder, or the store is of another table,
                identity or version, damaged, or cannot be written.
        """
        path = folder / STORE_FILE
        self._broken = ""
        self._mark = mark
        self._actions: dict[bytes, int] = {}
        self._open_blocks: dict[bytes, BlockLogged] = {}
        with ExitStack() as held:
            held.enter_context(_lock(folder))
            if not path.exists():
                _create(path, chain_id, owner)
            elif has_lost_commits(read_log(path)):
                raise OperatorError(f"{path}-wal is damaged: whole commits lie behind a bad frame")
            super().__init__(folder)
            held.push(self._held)
            if (self.chain_id, self.owner) != (chain_id, owner):
                raise OperatorError(
                    f"{path} belongs to key {self.owner.hex()} of table {self.chain_id.hex()}, "
                    f"not to key {owner.hex()} of table {chain_id.hex()}"
                )
            with self._errors_named():
                self._writer = held.enter_context(closing(_open_writer(path)))
                # The writer leaves last: only it can move the log into the file.
                held.callback(self._db.close)
                self._seal = self._sealed()
            self._remember(self.load())
            self._held = held.pop_all()

    def append(self, records: Sequence[LogRecord]) -> None:
        """Make the records durable, all or none; they are when this returns.

        A record that is there already is left alone.

        Raises:
            OperatorError: The disk is full or failed. What is on it is unknown from now on, so
                every later call fails too: the node must stop.
        """
        if self._broken:
            raise OperatorError(self._broken)
        self._broken = f"an earlier step could not be made durable in {self.path}"
        try:
            self._write(records)
        except sqlite3.Error as error:
            self._broken = _sentence(self.path, error)
            raise OperatorError(self._broken) from error
        if self._mark is not None and (place := newest_vote(records)) > (0, 0):
            # Behind the commit, so that a mark always has its vote in the store.
            self._mark.cover(*place)
        self._broken = ""

    def _write(self, records: Sequence[LogRecord]) -> None:
        db, seal = self._writer, self._seal
        db.execute("BEGIN IMMEDIATE")
        erased = False
        for record in records:
            if isinstance(record, EpochKeysErased):
                erased = True
                db.execute("PRAGMA secure_delete = ON")  # overwrites what it deletes
                for table in _OF_EPOCH:
                    self._delete(table, "epoch < ?", (record.epoch,))
                self._delete(_EPOCH_KEYS, "epoch < ?", (record.keys,))
                db.execute("PRAGMA secure_delete = OFF")
                continue
            if isinstance(record, FetchEnded):
                self._delete(_FETCHED, "part >= ?", (0,))
                continue
            if isinstance(record, EvidenceErased):
                self._delete(_EVIDENCE, "slot = ?", (record.slot,))
                continue
            table = _TABLES[type(record)]
            values = table.values(record)
            row_hash = _hash(table.name, seal.position, values)
            if db.execute(table.insert, (*values, seal.position, row_hash)).rowcount == 0:
                agrees = table.agrees(db, record)
                assert agrees, f"{table.name} holds another record than {record}"
                continue
            match record:
                case BlockLogged() | FinalLogged() | RollLogged():
                    seal.add(table, record.height, row_hash)
                case _:
                    seal.add(table, seal.base, row_hash)
            match record:
                case BlockLogged():
                    self._open_blocks[record.hash] = record
                case FinalLogged():
                    self._end(record)
                case SnapshotLogged():
                    self._rebase(record.height)
                case ActionLogged():
                    self._actions[record.envelope] = record.seq
                case _:
                    pass
        _put_meta(db, "seal", seal.pack())
        db.execute("COMMIT")
        if erased:  # and the log does not keep it either
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _end(self, final: FinalLogged) -> None:
        """Forget what a final block ends: own actions in it, now and then old votes."""
        seal = self._seal
        seal.first = seal.first if final.height == seal.newest + 1 else final.height
        seal.newest = final.height
        block = self._open_blocks.get(final.hash)
        assert block is not None, f"a block is final at {final.height} that was never logged"
        if self._actions:
            actions = decode_as(block.body, Body).actions
            newest = max((self._actions.get(action, 0) for action in actions), default=0)
            if newest:
                self._delete(_ACTIONS, "seq <= ?", (newest,))
                self._actions = {e: seq for e, seq in self._actions.items() if seq > newest}
        self._open_blocks = {
            known: other
            for known, other in self._open_blocks.items()
            if other.height > final.height
        }
        if final.height % FINALS_PER_PRUNING == 0:
            epoch, view = _epoch_and_view(block.header)
            for table in (_VOTES, _CERTIFICATES):
                self._delete(table, "(epoch, view) < (?, ?)", (epoch, view - VIEWS_KEPT))

    def _rebase(self, height: int) -> None:
        """Let starts begin at a new snapshot: what lies below is old."""
        seal = self._seal
        assert height > seal.base, f"a snapshot at {height}, below the last at {seal.base}"
        for table in _HISTORY:
            query = f"SELECT row_hash FROM {table.name} WHERE height >= ? AND height < ?"  # noqa: S608
            for (row_hash,) in self._writer.execute(query, (seal.base, height)):
                seal.recent[table.name].remove(row_hash)
                seal.old[table.name].add(row_hash)
        seal.base = height
        newest = "SELECT height FROM snapshots ORDER BY height DESC LIMIT ?"
        self._delete(_SNAPSHOTS, f"height NOT IN ({newest})", (SNAPSHOTS_KEPT,))

    def _delete(self, table: _Table[LogRecord], where: str, values: Values) -> None:
        query = f"DELETE FROM {table.name} WHERE {where} RETURNING row_hash"  # noqa: S608
        for (row_hash,) in self._writer.execute(query, values):
            self._seal.recent[table.name].remove(row_hash)

    def _remember(self, records: Sequence[LogRecord]) -> None:
        """Take from a start's records what `append` refers to."""
        finals = [record.height for record in records if isinstance(record, FinalLogged)]
        for record in records:
            match record:
                case BlockLogged() if record.height > max(finals, default=0):
                    self._open_blocks[record.hash] = record
                case ActionLogged():
                    self._actions[record.envelope] = record.seq
                case _:
                    pass


def _create(path: Path, chain_id: bytes, owner: bytes) -> None:
    """Make an empty store, whole or not at all: built beside, then renamed."""
    beside = path.with_name(f"{STORE_FILE}.new")
    try:
        for leftover in (beside, beside.with_name(f"{beside.name}-journal")):
            leftover.unlink(missing_ok=True)
        beside.touch(mode=0o600)  # it holds dealings, and SQLite's other files take its mode
        with closing(_connect(beside.absolute().as_uri())) as db:
            db.execute("BEGIN")
            for statement in _SCHEMA:
                db.execute(statement)
            _put_meta(db, "chain_id", chain_id)
            _put_meta(db, "owner", owner)
            _put_meta(db, "seal", _Seal().pack())
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            db.execute("COMMIT")
        beside.rename(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except sqlite3.Error as error:
        raise OperatorError(_sentence(path, error)) from error
    except OSError as error:
        raise OperatorError(f"cannot write {path}: {error.strerror}") from None


def _open_writer(path: Path) -> sqlite3.Connection:
    db = _connect(path.absolute().as_uri())
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        "fullfsync = ON",  # macOS: fsync alone does not reach the disk
        "checkpoint_fullfsync = ON",
        f"wal_autocheckpoint = {CHECKPOINT_PAGES}",
        f"cache_size = -{CACHE_KIB}",
        "secure_delete = OFF",
        # Begin with an empty log: `has_lost_commits` must not meet leftovers of an earlier crash.
        "wal_checkpoint(TRUNCATE)",
    ):
        db.execute(f"PRAGMA {pragma}")
    return db


def _connect(uri: str) -> sqlite3.Connection:
    """Open a connection without transactions of its own, for whichever thread has its turn."""
    if sqlite3.sqlite_version_info < SQLITE_OLDEST:
        oldest = ".".join(map(str, SQLITE_OLDEST))
        raise OperatorError(f"SQLite {sqlite3.sqlite_version} is too old: {oldest} is needed")
    db = sqlite3.connect(
        uri, uri=True, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1000
    )
    db.execute("PRAGMA cell_size_check = ON")
    db.execute("PRAGMA trusted_schema = OFF")
    return db


def _lock(folder: Path) -> IO[str]:
    """Hold the folder until the returned file is closed, by the process's end at the latest."""
    path = folder / LOCK_FILE
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = path.open("a+", encoding="ascii")
    except OSError as error:
        raise OperatorError(f"cannot write {path}: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.seek(0)
        process = lock.read(20).strip() or "unknown"
        lock.close()
        raise OperatorError(
            f"another node runs on this folder: {folder} (process {process})"
        ) from None
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


def _put_meta(db: sqlite3.Connection, name: str, value: bytes) -> None:
    row = (name, value, _hash("meta", name, (value,)))
    db.execute("INSERT OR REPLACE INTO meta (name, value, row_hash) VALUES (?, ?, ?)", row)


def _hash(table: str, position: object, values: Sequence[object]) -> bytes:
    return blake2b(encode((table, position, *values)), digest_size=ROW_HASH_BYTES).digest()


def _epoch_and_view(header: bytes) -> tuple[int, int]:
    found = decode_as(header, Header)
    return found.epoch, found.view


def _sentence(path: Path, error: sqlite3.Error) -> str:
    """Say for the operator what SQLite met: its number tells a full disk from a damaged file."""
    code = error.sqlite_errorcode & 0xFF if hasattr(error, "sqlite_errorcode") else 0
    match code:
        case sqlite3.SQLITE_FULL:
            return f"the disk is full: {path} cannot take the next step, so the node stops"
        case sqlite3.SQLITE_IOERR:
            return f"the disk failed at {path} ({error.sqlite_errorname}), so the node stops"
        case sqlite3.SQLITE_BUSY:
            return f"another program holds {path} locked"
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return f"cannot open {path}: {error}"
        case _:
            return f"{path} is damaged: {error}. Keep a copy and stop using it on this disk"
