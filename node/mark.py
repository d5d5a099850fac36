"""How far this node may have signed, apart from its store: `sign.mark` (PROTOCOL 9.2).

A store can be damaged, lost, or be an old copy that somebody brought back; a vote that it has
forgotten may be in the world, and a second one for the same view would be a fraud. So the highest
view with a vote is kept in a second tiny file, reserved some views ahead, so that it is written
seldom. It has two slots with a checksum each, written in turn: a crash tears at most one.

The file also names its own place on the disk. A copy, a restored backup, a folder on a new device
have another one, and such a node finds out from the others where it stands before it votes.
"""

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from consensus.effects import FloorLogged, LogRecord, VoteLogged
from node.errors import OperatorError

MARK_FILE = "sign.mark"
RESERVED_VIEWS = 32
"""Views marked ahead of a vote: one write of the file in so many views, and so many views without a
vote of this node after its store is lost."""
_SLOT = struct.Struct(">8s32s4Q")
"""Name, chain, then how often written, epoch, view, inode."""
_NAME = b"BCmark1\0"
_CHECK_BYTES = 16
_SLOT_BYTES = 512
"""A sector each, so that no write touches both."""


@dataclass(frozen=True, slots=True)
class _Slot:
    writes: int
    epoch: int
    view: int
    inode: int


class SignMark:
    """The mark of a folder, if it has one for this chain."""

    def __init__(self, folder: Path, chain_id: bytes) -> None:
        """Read it; a missing, damaged or foreign one counts as none. Raises `OperatorError`."""
        self._path = folder / MARK_FILE
        self._chain_id = chain_id
        self.is_whole = True
        """Whether each slot is as it was written; a torn one may have held a higher place."""
        self._slot = self._read()
        self._is_original = self._slot is not None and self._slot.inode == self._path.stat().st_ino

    @property
    def is_original(self) -> bool:
        """Whether there is a mark, where it was written last, and no copy of it."""
        return self._is_original

    @property
    def place(self) -> tuple[int, int]:
        """The epoch and the view up to which this node may have voted; (0, 0) without a mark."""
        return (0, 0) if self._slot is None else (self._slot.epoch, self._slot.view)

    def begin(self) -> None:
        """Mark that nothing was signed yet, at a table that begins; durable when this returns."""
        self._slot = None
        self._write(0, 0)

    def cover(self, epoch: int, view: int) -> None:
        """Let the mark be no lower than this vote, and original; durable when this returns."""
        if (epoch, view) > self.place:
            self._write(epoch, view + RESERVED_VIEWS)
        elif not self._is_original:
            self._write(*self.place)

    def _read(self) -> _Slot | None:
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise OperatorError(f"cannot read {self._path}: {error.strerror}") from None
        halves = [data[at : at + _SLOT_BYTES] for at in (0, _SLOT_BYTES)]
        found = [slot for half in halves if (slot := self._parse(half)) is not None]
        self.is_whole = len(found) == sum(any(half) for half in halves)
        return max(found, key=lambda slot: slot.writes, default=None)

    def _parse(self, data: bytes) -> _Slot | None:
        body, check = data[: _SLOT.size], data[_SLOT.size : _SLOT.size + _CHECK_BYTES]
        if len(body) < _SLOT.size or blake2b(body, digest_size=_CHECK_BYTES).digest() != check:
            return None
        name, chain_id, writes, epoch, view, inode = _SLOT.unpack(body)
        if (name, chain_id) != (_NAME, self._chain_id):
            return None
        return _Slot(writes, epoch, view, inode)

    def _write(self, epoch: int, view: int) -> None:
        writes = 1 if self._slot is None else self._slot.writes + 1
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                inode = os.fstat(file).st_ino
                body = _SLOT.pack(_NAME, self._chain_id, writes, epoch, view, inode)
                check = blake2b(body, digest_size=_CHECK_BYTES).digest()
                os.pwrite(file, body + check, writes % 2 * _SLOT_BYTES)
                if writes == 1:  # whatever an earlier table left
                    os.pwrite(file, bytes(_SLOT_BYTES), 0)
                os.fsync(file)
            finally:
                os.close(file)
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise OperatorError(f"cannot write {self._path}: {error.strerror}") from None
        self._slot = _Slot(writes, epoch, view, inode)
        self._is_original = True


def newest_vote(records: Sequence[LogRecord]) -> tuple[int, int]:
    """Return epoch and view of the highest vote or floor in these records, (0, 0) without one."""
    return max(
        ((one.epoch, one.view) for one in records if isinstance(one, VoteLogged | FloorLogged)),
        default=(0, 0),
    )
