"""SQLite's write-ahead log, read as bytes: whether damage has cut off commits that were whole.

The format is that of SQLite's file format description, section 4. Nothing else here knows it.
"""

import struct
from pathlib import Path

from node.errors import OperatorError

_LOG_HEAD = struct.Struct(">4I8s2I")
"""Write-ahead log: magic, version, page size, checkpoint, salt, checksum."""
_FRAME_HEAD = struct.Struct(">2I8s2I")
"""Page number, pages after this commit or 0, salt, checksum."""


def read_log(path: Path) -> bytes:
    """Return the log of the database at `path`, empty without one; `OperatorError` if it fails."""
    try:
        return path.with_name(f"{path.name}-wal").read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise OperatorError(f"cannot read {path}-wal: {error.strerror}") from None


def has_lost_commits(log: bytes) -> bool:
    """Say whether the write-ahead log has a damaged frame with whole commits behind it.

    SQLite reads a log up to its first bad frame and takes the rest for the torn end of a write that
    nobody was told of. But a commit is synced before the next begins: a commit behind the one with
    the bad frame proves that this one had been whole, and acknowledged (SQLite file format 4).
    Where the bad frame is the one that ended its commit, only the second commit behind it does.
    """
    if len(log) < _LOG_HEAD.size:
        return False
    magic, _, page_bytes, _, salt, *head_sum = _LOG_HEAD.unpack_from(log)
    order = ">" if magic & 1 else "<"
    if tuple(head_sum) != _log_sum(order, log[:24], (0, 0)):
        return len(log) > _LOG_HEAD.size
    before, bad, commits = tuple(head_sum), False, 0
    for at in range(_LOG_HEAD.size, len(log), _FRAME_HEAD.size + page_bytes):
        frame = log[at : at + _FRAME_HEAD.size + page_bytes]
        if len(frame) < _FRAME_HEAD.size + page_bytes:
            break
        _, commit, frame_salt, *stored = _FRAME_HEAD.unpack_from(frame)
        content = frame[:8] + frame[_FRAME_HEAD.size :]
        bad = bad or frame_salt != salt or _log_sum(order, content, before) != tuple(stored)
        commits += bad and frame_salt == salt and commit != 0
        before = tuple(stored)
    return commits >= 2


def _log_sum(order: str, data: bytes, before: tuple[int, ...]) -> tuple[int, int]:
    """Return SQLite's running checksum over 32-bit words, continued from `before`."""
    first, second = before
    words = iter(struct.unpack(f"{order}{len(data) // 4}I", data))
    for word in words:
        first = (first + word + second) & 0xFFFFFFFF
        second = (second + next(words) + first) & 0xFFFFFFFF
    return first, second
