"""Small files that are whole or absent: written beside, synced, renamed, with a checksum."""

import os
from contextlib import suppress
from pathlib import Path

from consensus.encoding import DIGEST_BYTES, digest
from node.errors import OperatorError


def write_whole(path: Path, tag: str, data: bytes, *, replace: bool) -> None:
    """Write `data` and its checksum to `path`, mode 0600, so that a crash leaves all or nothing.

    Raises:
        OperatorError: The file exists and `replace` is false, or the disk refuses.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside.unlink(missing_ok=True)
        file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "wb") as stream:
            stream.write(data + digest(tag, data))
            stream.flush()
            os.fsync(stream.fileno())
        if replace:
            beside.replace(path)
        else:
            path.hardlink_to(beside)  # unlike a rename, fails when somebody else was first
            beside.unlink()
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except FileExistsError:
        beside.unlink(missing_ok=True)
        raise OperatorError(f"{path} exists already and is not overwritten") from None
    except OSError as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise OperatorError(f"cannot write {path}: {error.strerror}") from None


def read_whole(path: Path, tag: str, bytes_max: int) -> bytes:
    """Return what `write_whole` wrote.

    Raises:
        OperatorError: The file is missing, unreadable, longer than `bytes_max`, or damaged.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(bytes_max + DIGEST_BYTES + 1)
    except OSError as error:
        raise OperatorError(f"cannot read {path}: {error.strerror}") from None
    if len(content) > bytes_max + DIGEST_BYTES:
        raise OperatorError(f"{path} is longer than {bytes_max} bytes: not a file of BitCraps")
    data, checksum = content[:-DIGEST_BYTES], content[-DIGEST_BYTES:]
    if digest(tag, data) != checksum:
        raise OperatorError(f"{path} is damaged: its checksum does not fit its content")
    return data
