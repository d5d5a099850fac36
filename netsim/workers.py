"""Processes that run parts of a campaign or of one large run, and answer in lines.

A worker is a Python of its own that is told what to do on its standard input and answers on its
standard output. It has a hash seed of its own, so that what depends on one is found. It hears no
Ctrl-C: whoever made it ends it, and one whose maker is gone ends by itself as it next reads or writes.
"""

import os
import subprocess
import sys
from contextlib import suppress

READ_BYTES = 1 << 18
"""What is taken from a worker at a time: most answers are shorter."""


class Worker:
    """One process; see the module's text."""

    def __init__(self, code: str, number: int, order: bytes) -> None:
        """Start Python on `code` as worker `number`, and say `order` to it."""
        self.number = number
        self._rest = b""
        self._process = subprocess.Popen(  # noqa: S603  (our own interpreter and words)
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONHASHSEED": str(number + 1)},
            process_group=0,
        )
        self.say(order)

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def fileno(self) -> int:
        """The descriptor of its answers, for a selector."""
        assert self._process.stdout is not None, "opened as a pipe"
        return self._process.stdout.fileno()

    def say(self, line: bytes) -> None:
        """Say one line; a worker that is gone does not hear it, and `read` tells that it is."""
        assert self._process.stdin is not None, "opened as a pipe"
        with suppress(BrokenPipeError):
            self._process.stdin.write(line + b"\n")
            self._process.stdin.flush()

    def read(self) -> list[bytes] | None:
        """Wait for something and return the lines that are complete with it; None at the end."""
        piece = os.read(self.fileno(), READ_BYTES)
        if not piece:
            return None
        *lines, self._rest = (self._rest + piece).split(b"\n")
        return lines

    def end(self) -> int:
        """End the process, if it has not ended, and return its exit code."""
        self._process.kill()
        code = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        return code
