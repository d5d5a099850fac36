"""One simulated machine: what its disk keeps, what its clocks show, how fast it works."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from consensus.effects import (
    BlockLogged,
    DealCertificateLogged,
    EpochKeysErased,
    EpochKeysLogged,
    EvidenceErased,
    EvidenceLogged,
    FetchedLogged,
    FetchEnded,
    FloorLogged,
    LogRecord,
    Now,
    SharesLogged,
    VoteLogged,
)
from consensus.validators import ValidatorIndex
from node.epoch import NO_FLOOR, Floor
from node.mark import RESERVED_VIEWS, newest_vote

WALL_MS_START = 1_700_000_000_000
"""What every host's wall clock shows at virtual time 0, plus the host's own error."""
PPM = 1_000_000


class Simulated(Protocol):
    """What a network drives: a replica, or anything with its inputs."""

    @property
    def deadline_ms(self) -> int | None:
        """When `handle_deadline` is due, monotonic milliseconds."""
        ...

    def start(self, now: Now) -> Sequence[object]:
        """Begin or resume."""
        ...

    def peer_up(self, peer: ValidatorIndex, now: Now) -> Sequence[object]:
        """Take note that a peer is back."""
        ...

    def receive(self, batch: Sequence[tuple[ValidatorIndex, bytes]], now: Now) -> Sequence[object]:
        """Take frames, in order."""
        ...

    def entropy(self, data: bytes, now: Now) -> Sequence[object]:
        """Take the answer to a `RequestEntropy`."""
        ...

    def handle_deadline(self, now: Now) -> Sequence[object]:
        """Do what is due."""
        ...


class DiskError(Exception):
    """The disk refuses: it is full, a sync failed, or what it holds is damaged."""


class Disk:
    """What survives a crash: groups of records, each group whole or not at all.

    A disk that lies says that a group is durable and keeps it in a cache until its next honest
    moment; a power cut takes what is only there. One that misdirects loses a group among others. The
    seal tells how many rows there are, as the store's does, and the mark how far votes may have
    gone; both are written with the rows.
    """

    def __init__(self) -> None:
        """Start empty and honest."""
        self.records: list[LogRecord] = []
        self.lying = False
        self.tears = False
        """Whether a power cut leaves half of what was only in the cache, which shows at the start."""
        self.refuses = ""
        """Why every write fails now, if it does."""
        self.rotten = False
        """Whether some sector has changed: whoever reads everything finds it."""
        self.is_copy = False
        """Whether its mark is missing or of another disk: the host asks before it votes (PROTOCOL 9.2)."""
        self.writes = 0
        self.mark = (0, 0)
        """Epoch and view up to which votes may have been signed, as `sign.mark` has them."""
        self._sealed = 0  # how many records there have to be
        self._misdirects: random.Random | None = None
        self._overwrites = False
        self._astray: tuple[LogRecord, ...] = ()  # written last, and not where they should be
        self._cached: list[int] = []  # sizes of the groups that a power cut may take
        self._blocks: dict[bytes, tuple[bytes, bytes]] = {}
        self._unreadable: dict[bytes, None] = {}  # blocks that are missing where they should be

    def append(self, records: Sequence[LogRecord]) -> None:
        """Make records durable, all of them; raises `DiskError` and keeps none."""
        if self.refuses:
            raise DiskError(self.refuses)
        self.writes += 1
        if self._astray:
            self._miss()
        if self.lying:
            self._cached.append(len(records))
        elif self._cached:
            self._cached.clear()
        elif self._misdirects is not None:
            self._astray = tuple(records)
        self.records.extend(records)
        self._sealed += len(records)
        for record in records:
            match record:
                case VoteLogged() | FloorLogged():
                    self.is_copy = False
                    if (record.epoch, record.view) > self.mark:
                        self.mark = (record.epoch, record.view + RESERVED_VIEWS)
                case BlockLogged():
                    self._blocks[record.hash] = (record.header, record.body)
                case EpochKeysErased():
                    self._erase(record)
                case FetchEnded() if not self._cached:
                    self._delete(lambda one: isinstance(one, FetchedLogged))
                case EvidenceErased(slot=slot) if not self._cached:
                    self._delete(lambda one: isinstance(one, EvidenceLogged) and one.slot == slot)
                case _:
                    pass

    def misdirect(self, rng: random.Random, *, overwrites: bool) -> None:
        """From now on say of a write that it is durable, and let it vanish once another follows.

        It `overwrites` an older record, drawn from `rng`, if it lands on the place of one. A write
        that none follows is only late: what a disk has lost last, `lying` is for.
        """
        self._misdirects, self._overwrites = rng, overwrites

    def settle(self) -> None:
        """Misdirect no more."""
        self._misdirects = None
        self._astray = ()

    def check(self) -> None:
        """See at a start that everything is there; raises `DiskError`."""
        if self.rotten:
            raise DiskError("its disk is damaged")
        if len(self.records) != self._sealed:
            raise DiskError(f"its disk has {len(self.records)} records of {self._sealed}")

    @property
    def floor(self) -> Floor:
        """How far a node may have voted beyond what is here (PROTOCOL 9.2)."""
        if self.is_copy:
            return None
        epoch, view = self.mark
        is_near = newest_vote(self.records) >= (epoch, view - RESERVED_VIEWS)
        return NO_FLOOR if is_near else self.mark

    def _miss(self) -> None:
        """Let the group that went astray be gone, and what it landed on."""
        lost, rng = list(self._astray), self._misdirects
        assert rng is not None, "a group went astray on a disk that misdirects"
        self.settle()
        older = self.records[: len(self.records) - len(lost)]
        if self._overwrites and older:
            lost.append(older.pop(rng.randrange(len(older))))
        self.records = older
        for record in lost:
            if isinstance(record, BlockLogged):
                del self._blocks[record.hash]
                self._unreadable[record.hash] = None

    def _delete(self, is_over: Callable[[LogRecord], bool]) -> None:
        kept = [record for record in self.records if not is_over(record)]
        self._sealed -= len(self.records) - len(kept)
        self.records = kept

    def _erase(self, erased: EpochKeysErased) -> None:
        """Forget the secrets of earlier epochs, as the store does; what was only cached stays."""
        if self._cached:
            return

        def is_over(record: LogRecord) -> bool:
            match record:
                case DealCertificateLogged() | SharesLogged():
                    return record.epoch < erased.epoch
                case EpochKeysLogged():
                    return record.epoch < erased.keys
                case _:
                    return False

        self._delete(is_over)

    def block(self, wanted: bytes) -> tuple[bytes, bytes] | None:
        """Return a stored block as (header, body); raises `DiskError` if it is damaged."""
        if self.rotten or wanted in self._unreadable:
            raise DiskError("a stored block is damaged")
        return self._blocks.get(wanted)

    def power_cut(self, rng: random.Random) -> int:
        """Lose some of the newest groups that were only in the cache; return how many records."""
        self.settle()
        if not self._cached:
            return 0
        kept = rng.randrange(len(self._cached))
        lost = sum(self._cached[kept:])
        self.rotten = self.rotten or self.tears
        self.rotten = self.rotten or len(self.records) != self._sealed
        self._cached.clear()
        self._keep(self.records[: len(self.records) - lost])
        return lost

    def copy(self, count: int) -> "Disk":
        """Return a backup of the first `count` records."""
        twin = Disk()
        twin._keep(self.records[:count])
        return twin

    def begin_anew(self) -> int:
        """Move the store away and keep the mark; return how many records are gone."""
        lost, mark = self._sealed, self.mark
        self._cached.clear()
        self.rotten = False
        self._keep(())
        self.mark = mark
        return lost

    def restore(self, backup: "Disk") -> None:
        """Hold what a backup held."""
        self._cached.clear()
        self.rotten = False
        self.is_copy = True
        self._keep(backup.records)

    def _keep(self, records: Sequence[LogRecord]) -> None:
        self.records = list(records)
        self._sealed = len(self.records)
        self.mark = (0, 0)
        self._unreadable.clear()
        self._blocks = {
            record.hash: (record.header, record.body)
            for record in records
            if isinstance(record, BlockLogged)
        }


class Clock:
    """A host's two clocks as functions of virtual time. Both drift; only the wall clock jumps."""

    def __init__(self) -> None:
        """Begin exact."""
        self.offset_ms = 0
        """What the wall clock is ahead, jumps included."""
        self.drift_ppm = 0
        self.frozen_ms: int | None = None
        """The wall time at which the wall clock stands, if it does."""
        self._frozen_at_ms = 0

    def now(self, now_ms: int) -> Now:
        """Read both clocks."""
        mono_ms = now_ms + now_ms * self.drift_ppm // PPM if self.drift_ppm else now_ms
        if self.frozen_ms is not None:
            return Now(mono_ms, self.frozen_ms)
        wall_ms = WALL_MS_START + mono_ms + self.offset_ms
        return Now(mono_ms, max(0, wall_ms))

    def when(self, mono_ms: int) -> int:
        """Return the first virtual time at which the monotonic clock shows this."""
        if not self.drift_ppm:
            return mono_ms
        at_ms = mono_ms * PPM // (PPM + self.drift_ppm)
        while at_ms + at_ms * self.drift_ppm // PPM < mono_ms:
            at_ms += 1
        return at_ms

    def freeze(self, now_ms: int) -> None:
        """Let the wall clock stand still."""
        now = self.now(now_ms)
        self.frozen_ms, self._frozen_at_ms = now.wall_ms, now.mono_ms

    def thaw(self, now_ms: int) -> None:
        """Let the wall clock go on from where it stood, jumps since then included."""
        if self.frozen_ms is not None:
            self.frozen_ms = None
            self.offset_ms -= self.now(now_ms).mono_ms - self._frozen_at_ms


@dataclass(slots=True)
class Host:
    """A machine and what runs on it; the disk survives what the node does not."""

    disk: Disk = field(default_factory=Disk)
    clock: Clock = field(default_factory=Clock)
    node: Simulated | None = None
    boots: int = 0
    crash_after: int | None = None
    """Effects until the power fails."""
    frozen_until_ms: int = 0
    """A process that is stopped, or busy: what arrives waits."""
    cost_us: int = 0
    """Time that each input takes."""
    write_us: int = 0
    """Time until a write is durable; what is sent behind it leaves later."""
    timer_ms: int | None = None
    """The earliest timer on the heap."""
