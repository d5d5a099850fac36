"""What happened in a run: a hash over all of it, and the last part in full for people."""

import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from struct import Struct
from typing import NamedTuple

from consensus.messages import Number

DIGEST_BYTES = 16
CHECKPOINT_EVENTS = 10_000
"""Two runs that differ are compared by these first: where they part is found in seconds."""
_HEAD = Struct(">QHHI")
_UNHASHED_BYTES_MAX = 1 << 16
"""What happened is hashed in pieces of about this size: hashing each happening alone costs more."""
NAMES = {number.value: number.name.lower() for number in Number}


class Happening(NamedTuple):
    """One thing that happened. `at_ms` of a message is when it arrives, -1 if it never does."""

    ms: int
    host: int
    what: str
    other: int = -1
    at_ms: int = 0
    size: int = 0
    text: str = ""


class Trace:
    """Hashes everything, and keeps the last `keep` happenings if it is asked to."""

    __slots__ = (
        "_checkpoint",
        "_hash",
        "_kept",
        "_unhashed",
        "checkpoints",
        "events",
        "keep",
        "marks",
    )

    def __init__(self, keep: int = 0) -> None:
        """Keep nothing, or the last so many happenings."""
        self.keep = keep
        self.events = 0
        """Inputs handed to nodes: frames, timers, operations, entropy, links that came up."""
        self.marks: dict[str, int] = {}
        """How often the run went through what a scenario may ask for."""
        self.checkpoints: list[str] = []
        self._hash = blake2b(digest_size=DIGEST_BYTES)
        self._unhashed = bytearray()
        self._checkpoint = CHECKPOINT_EVENTS  # the next one comes with so many events
        self._kept: deque[Happening] = deque(maxlen=keep)

    @property
    def digest(self) -> str:
        """The hash over everything so far."""
        self._hash.update(self._unhashed)
        self._unhashed.clear()
        return self._hash.hexdigest()

    def mark(self, name: str, count: int = 1) -> None:
        """Count something that a scenario may ask for."""
        self.marks[name] = self.marks.get(name, 0) + count

    def input(self, ms: int, host: int, kind: int, count: int) -> None:
        """Note that a node was handed so many inputs of a kind."""
        self.events += count
        self._unhashed += _HEAD.pack(ms, host, kind, count)
        if self.events >= self._checkpoint:
            self._checkpoint += CHECKPOINT_EVENTS
            self.checkpoints.append(self.digest)
        elif len(self._unhashed) > _UNHASHED_BYTES_MAX:
            self._hash.update(self._unhashed)
            self._unhashed.clear()

    def said(self, ms: int, host: int, data: bytes) -> None:
        """Note what a node sends, once, whoever it goes to."""
        self._unhashed += _HEAD.pack(ms, host, 0xFFFF, len(data))
        self._unhashed += data

    def message(self, ms: int, host: int, peer: int, at_ms: int, data: bytes) -> None:
        """Note one frame on one link and when it arrives, -1 if it never does."""
        self._unhashed += _HEAD.pack(at_ms & 0xFFFFFFFFFFFFFFFF, host, peer, 0)
        if self.keep:
            name = NAMES.get(data[0], str(data[0]))
            self._kept.append(Happening(ms, host, name, peer, at_ms, len(data)))

    def piece(self, ms: int, host: int, peer: int, at_ms: int, size: int) -> None:
        """Note a piece of a sealed stream, which nobody between the two can read."""
        self.events += 1
        self._kept.append(Happening(ms, host, "sealed", peer, at_ms, size))

    def note(self, ms: int, host: int, what: str, text: str = "") -> None:
        """Note anything else: -1 for the host is the whole table."""
        self._unhashed += f"{ms} {host} {what} {text}".encode()
        if self.keep:
            self._kept.append(Happening(ms, host, what, text=text))

    def happenings(self) -> list[Happening]:
        """Return what is kept, by when it began."""
        return sorted(self._kept, key=lambda one: one.ms)


def write_happenings(path: Path, tables: Mapping[int, Iterable[Happening]]) -> int:
    """Write what was kept as one JSON array a line: table, then the fields; return the lines."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for table, happenings in tables.items():
            for happening in happenings:
                file.write(json.dumps([table, *happening], separators=(",", ":")) + "\n")
                count += 1
    return count


def read_happenings(path: Path) -> Iterator[tuple[int, Happening]]:
    """Yield (table, happening) of a file that `write_happenings` wrote."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            table, *fields = json.loads(line)
            yield table, Happening(*fields)
