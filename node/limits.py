"""What a node lets its own player and its peers do: rates, and the limits a player sets alone.

None of it is replicated: another node neither knows these limits nor could check them. A rate is a
token bucket. A personal limit counts over a day of play, which begins with the first bet and is over
24 hours later: a loss limit bounds what may be lost or be at stake in it, a time limit how long after
the first bet further ones may be made. A limit is tightened at once and loosened after a night's
sleep. It is a promise to oneself, kept by one's own node; who edits its files has broken it.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec

from node.errors import OperatorError
from node.game.operations import PlaceBet
from node.game.params import CHIPS_MAX
from node.game.receipts import Code, Receipt

LIMITS_FILE = "limits.json"
DAY_FILE = "day.json"
DAY_MS = 24 * 3_600_000
COOLING_MS = 24 * 3_600_000
"""Before a limit is loosened: long enough that the wish outlives the run of bad dice."""
MINUTES_MAX = 24 * 60
FILE_BYTES_MAX = 4_096
NONE = 0
"""No limit. A limit of nothing at all is one of 1."""
_MINUTE_MS = 60_000
_MILLI = 1_000

T = TypeVar("T")


class TokenBucket:
    """Lets `per_second` things pass in a second, and `burst` at once after a quiet time."""

    __slots__ = ("_at_ms", "_burst", "_level", "per_second")

    def __init__(self, per_second: int, burst: int) -> None:
        """Start full."""
        assert 0 < per_second <= burst, f"{per_second} a second, {burst} at once"
        self.per_second = per_second
        self._burst = burst * _MILLI
        self._level = self._burst  # in thousandths of a token: one millisecond brings whole ones
        self._at_ms = 0

    def take(self, count: int, now_ms: int) -> int:
        """Let `count` <= `burst` things pass and return 0, or return the ms to wait, taking none.

        `now_ms` is a monotonic time.
        """
        assert 0 <= count * _MILLI <= self._burst, f"{count} at once"
        self._level = min(self._burst, self._level + max(0, now_ms - self._at_ms) * self.per_second)
        self._at_ms = now_ms
        missing = count * _MILLI - self._level
        if missing > 0:
            return -(-missing // self.per_second)
        self._level -= count * _MILLI
        return 0

    def level(self) -> int:
        """Return the things that might pass at once, as of the last `take`."""
        return self._level // _MILLI


class Limit(msgspec.Struct, frozen=True):
    """One limit, and the looser one that follows at a time of the day, if any was asked for."""

    value: Annotated[int, msgspec.Meta(ge=0, le=CHIPS_MAX)] = NONE
    later: Annotated[int, msgspec.Meta(ge=0, le=CHIPS_MAX)] = NONE
    from_ms: Annotated[int, msgspec.Meta(ge=0)] = 0

    def at(self, wall_ms: int) -> int:
        """Return the limit at a time."""
        return self.later if self.from_ms and wall_ms >= self.from_ms else self.value

    def changed(self, value: int, wall_ms: int) -> "Limit":
        """Return what a wish makes of the limit: at once when it is tighter, else later."""
        now = self.at(wall_ms)
        if now in {value, NONE} or NONE < value < now:
            return Limit(value)
        return Limit(now, value, wall_ms + COOLING_MS)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of the player here: chips in a day of play, minutes from its first bet."""

    loss: Limit = Limit()
    minutes: Limit = Limit()


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """A day of play: when it began, and the account's counters of then."""

    began_ms: int = 0
    won: int = 0
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """What the chain says of the player here: chips ever won and lost, and those at stake."""

    won: int
    lost: int
    at_stake: int


def read_limits(folder: Path) -> Limits:
    """Return the limits of a folder, none if it has no file; raises `OperatorError`."""
    return _read(folder / LIMITS_FILE, Limits) or Limits()


def write_limits(folder: Path, limits: Limits) -> None:
    """Make limits those of a folder, whole or not at all; raises `OperatorError`."""
    _write(folder / LIMITS_FILE, msgspec.json.encode(limits))


class PersonalLimits:
    """Refuses own bets beyond the limits of a folder, which may change while its node runs."""

    def __init__(self, folder: Path) -> None:
        """Begin with what the folder holds; raises `OperatorError`."""
        self._folder = folder
        self._seen = -1
        self._limits = Limits()
        self._day = _read(folder / DAY_FILE, Day) or Day()
        self.refresh()

    def refresh(self) -> None:
        """Take over limits that were changed.

        Raises:
            OperatorError: They cannot be read; those of before stay, and are not complained of again.
        """
        try:
            changed = (self._folder / LIMITS_FILE).stat().st_mtime_ns
        except FileNotFoundError:
            changed = 0
        if changed != self._seen:
            self._seen = changed
            self._limits = read_limits(self._folder)

    def are_set(self, wall_ms: int) -> bool:
        """Say whether there is any limit now."""
        limits = self._limits
        return bool(limits.loss.at(wall_ms) or limits.minutes.at(wall_ms))

    def refuse(self, operation: object, standing: Standing, wall_ms: int) -> Receipt | None:
        """Return why the player here may not do this now, or None.

        A bet that passes begins the day of play, if none runs; that is on the disk before it goes.

        Raises:
            OperatorError: The disk refuses.
        """
        if not isinstance(operation, PlaceBet):
            return None
        day = self._day
        if not day.began_ms <= wall_ms < day.began_ms + DAY_MS:
            day = Day(began_ms=wall_ms, won=standing.won, lost=standing.lost)
        rest = -(-(day.began_ms + DAY_MS - wall_ms) // _MINUTE_MS)
        minutes = self._limits.minutes.at(wall_ms)
        if minutes and wall_ms - day.began_ms >= minutes * _MINUTE_MS:
            return Receipt(Code.OWN_TIME, (minutes, rest))
        loss = self._limits.loss.at(wall_ms)
        gone = standing.lost - day.lost - (standing.won - day.won) + standing.at_stake
        if loss and gone + operation.amount > loss:
            return Receipt(Code.OWN_LOSS, (loss, max(gone, 0), operation.amount, rest))
        if day is not self._day:
            _write(self._folder / DAY_FILE, msgspec.json.encode(day))
            self._day = day
        return None


def limits_text(limits: Limits, wall_ms: int) -> str:
    """Say in two lines which limits hold, and which follow when."""
    return "\n".join(
        f"{name:<8}{_limit_text(limit, unit, wall_ms)}"
        for name, limit, unit in (
            ("loss", limits.loss, "chips"),
            ("time", limits.minutes, "minutes"),
        )
    )


def _limit_text(limit: Limit, unit: str, wall_ms: int) -> str:
    now = limit.at(wall_ms)
    text = f"{now:,} {unit} in 24 hours from the first bet" if now else "no limit"
    if limit.from_ms > wall_ms:
        hours = -(-(limit.from_ms - wall_ms) // 3_600_000)
        later = f"{limit.later:,} {unit}" if limit.later else "no limit"
        text += f"; {later} in {hours} h"
    return text


def _read(path: Path, kind: type[T]) -> T | None:
    try:
        with path.open("rb") as stream:
            return msgspec.json.decode(stream.read(FILE_BYTES_MAX), type=kind)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OperatorError(f"cannot read {path}: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise OperatorError(f"{path} is damaged: {error}") from None


def _write(path: Path, data: bytes) -> None:
    beside = path.with_suffix(".new")
    try:
        with beside.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(path)
    except OSError as error:
        raise OperatorError(f"cannot write {path}: {error.strerror}") from None
