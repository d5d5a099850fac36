"""The log of a node: `DIR/node.log`, rotating, one event a line as key=value.

It is for people who look for a fault. What was agreed is in the journal, and nothing parses the log.
"""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path

from node.errors import OperatorError

LOG_FILE = "node.log"
LOG_BYTES_MAX = 4 << 20
LOG_FILES_KEPT = 3
"""Older logs beside the current one: together the log of some weeks of play, or of one bad hour."""


class _Lines(logging.Formatter):
    """UTC with milliseconds; a text of others cannot begin a line of its own."""

    converter = staticmethod(time.gmtime)

    def formatMessage(self, record: logging.LogRecord) -> str:  # type: ignore[explicit-override]  # noqa: N802  (logging's name; typing.override is 3.12)
        record.message = record.message.replace("\n", "\\n").replace("\r", "\\r")
        return super().formatMessage(record)


class _LogFile(RotatingFileHandler):
    """A log that a disk which refuses makes shorter, and no more: the journal ends a node if need be."""

    def handleError(self, record: logging.LogRecord) -> None:  # type: ignore[explicit-override]  # noqa: N802  (logging's name)
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:  # type: ignore[explicit-override]
        with suppress(OSError):
            super().close()


@contextmanager
def logging_to(folder: Path, level: int = logging.INFO) -> Iterator[None]:
    """Write what the node logs at `level` and above to the folder's log, until the block ends.

    Raises:
        OperatorError: The file cannot be written.
    """
    path = folder / LOG_FILE
    try:
        handler = _LogFile(
            path, maxBytes=LOG_BYTES_MAX, backupCount=LOG_FILES_KEPT, encoding="utf-8"
        )
    except OSError as error:
        raise OperatorError(f"cannot write {path}: {error.strerror}") from None
    handler.setFormatter(
        _Lines("%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    )
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(level)
    try:
        yield
    finally:
        root.setLevel(before)
        root.removeHandler(handler)
        handler.close()
