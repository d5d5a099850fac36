"""What a node has done: counted by its owner, shown as one frozen snapshot.

Counting costs a few additions on the hot path; everything that needs a division is worked out when
somebody asks. `node/remembering.py` carries the counts from one run to the next.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from consensus.effects import Committed
from node.fairness import FairnessMeter, MeterState
from node.game.receipts import BlockResult, RollResult
from node.game.session import GameSession
from node.game.treasury import BANK, LAYOUT

_SUB_BUCKET_BITS = 4
"""16 buckets for each doubling of the time: a quantile is at most 6 % too high."""
_BUCKETS = 64 << _SUB_BUCKET_BITS
FAULT_NAMES_MAX = 64
"""Distinct names of peers' faults that are counted apart; the rest is `other`."""
MEMORY_VERSION = 1
GAMES_LOOKED_AT_MS = 1_000
"""How often, in agreed time, the games are looked through: there may be a thousand."""


class Latencies:
    """A histogram of durations in whole microseconds, of fixed size."""

    __slots__ = ("_counts", "count")

    def __init__(self) -> None:
        """Start empty."""
        self._counts = [0] * _BUCKETS
        self.count = 0

    def add(self, us: int) -> None:
        """Count one duration of `us` >= 0 microseconds."""
        shift = us.bit_length() - _SUB_BUCKET_BITS - 1
        index = us if shift < 0 else (shift << _SUB_BUCKET_BITS) + (us >> shift)
        self._counts[min(index, _BUCKETS - 1)] += 1
        self.count += 1

    def kept(self) -> dict[int, int]:
        """Return what `restore` takes: the buckets that hold something."""
        return {index: count for index, count in enumerate(self._counts) if count}

    def restore(self, kept: Mapping[int, int]) -> None:
        """Add durations that were counted before."""
        for index, count in kept.items():
            if 0 <= index < _BUCKETS and count > 0:
                self._counts[index] += count
                self.count += count

    def quantile_us(self, per_mille: int) -> int:
        """Return a bound that `per_mille` of the durations keep, at most 6 % too high; 0 of none."""
        rank = -(-self.count * per_mille // 1000)
        for index, count in enumerate(self._counts):
            rank -= count
            if rank <= 0 and count:
                shift = max(0, (index >> _SUB_BUCKET_BITS) - 1)
                return ((index - (shift << _SUB_BUCKET_BITS) + 1) << shift) - 1
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeStatistics:
    """A snapshot. Amounts are chips.

    What concerns games, operations, latencies and faults counts from the folder's first start;
    rates, steps, commits and what passed over links count from this start, `uptime_ms` ago.
    `ran_ms` is the time that the node has run in all. A game is a session, from its opening to its end. `outcomes` counts the rolls by the sum of the
    dice. `volume` is what rolls took off the layout, `house_profit` what the bank won of it,
    negative when it paid more. Latencies are from submitting an operation to its final block.
    """

    uptime_ms: int
    ran_ms: int
    height: int
    blocks: int
    blocks_per_s: float
    actions: int
    operations: int
    operations_per_s: float
    games_total: int
    games_active: int
    games_ended_per_s: float
    game_mean_ms: int
    rolls: int
    rolls_per_s: float
    outcomes: Mapping[int, int]
    volume: int
    house_profit: int
    submitted: int
    waiting: int
    refused_here: int
    latency_p50_us: int
    latency_p90_us: int
    latency_p99_us: int
    latency_p999_us: int
    steps: int
    commits: int
    records: int
    frames_received: int
    frames_received_per_s: float
    frames_sent: int
    frames_sent_per_s: float
    bytes_received: int
    bytes_sent: int
    writes: int
    frames_dropped: int
    frames_absent: int
    stages: Mapping[str, int]
    """Frames by what became of them at the door: each message by name, and `malformed`."""
    link_faults: Mapping[str, int]
    peer_faults: Mapping[str, int]
    subscribers: int
    events_lost: int


class Counts(msgspec.Struct, kw_only=True):
    """What counts from the folder's first start on."""

    ran_ms: int = 0
    blocks: int = 0
    actions: int = 0
    operations: int = 0
    submitted: int = 0
    refused_here: int = 0
    rolls: int = 0
    volume: int = 0
    house_profit: int = 0
    games_total: int = 0
    games_ended: int = 0
    games_ended_ms: int = 0
    outcomes: dict[int, int] = {}
    faults: dict[str, int] = {}
    games: dict[int, int] = {}
    """Agreed time at which each game that runs was first seen, by its serial number."""


@dataclass(slots=True)
class Tally:
    """The counters behind the snapshot; the owner of the replica alone writes them.

    `before` are the counts with which this run began.
    """

    counts: Counts = field(default_factory=Counts)
    latencies: Latencies = field(default_factory=Latencies)
    fairness: FairnessMeter | None = None
    before: Counts = field(default_factory=Counts)
    started_ms: int = 0
    steps: int = 0
    commits: int = 0
    records: int = 0
    _looked_ms: int = -GAMES_LOOKED_AT_MS

    def count_block(self, block: Committed) -> None:
        """Count a final block."""
        self.counts.blocks += 1
        self.counts.actions += len(block.body.actions)

    def count_result(self, result: BlockResult) -> None:
        """Count what a final block did to the games."""
        counts = self.counts
        for _player, _seq, receipts in result.actions:
            counts.operations += len(receipts)
        for roll in result.rolls:
            counts.rolls += 1
            total = sum(roll.dice)
            counts.outcomes[total] = counts.outcomes.get(total, 0) + 1
            if self.fairness is not None:
                self.fairness.add(roll.outcome)
            for posting in roll.postings:
                if posting.debit == LAYOUT:
                    counts.volume += posting.amount
                if posting.credit == BANK:
                    counts.house_profit += posting.amount
                elif posting.debit == BANK:
                    counts.house_profit -= posting.amount

    def look_at_games(self, sessions: Sequence[GameSession | None], time_ms: int) -> None:
        """Notice games that were opened or ended, by their serial numbers, once a second."""
        if time_ms - self._looked_ms < GAMES_LOOKED_AT_MS:
            return
        self._looked_ms = time_ms
        counts, games = self.counts, self.counts.games
        serials = {session.serial for session in sessions if session is not None}
        if serials == games.keys():
            return
        for serial in serials - games.keys():
            games[serial] = time_ms
            counts.games_total += 1
        for serial in games.keys() - serials:
            counts.games_ended += 1
            counts.games_ended_ms += time_ms - games.pop(serial)

    def count_fault(self, fault: str) -> None:
        """Count a peer's fault by name; the number of names is bounded."""
        faults = self.counts.faults
        if fault not in faults and len(faults) >= FAULT_NAMES_MAX:
            fault = "other"
        faults[fault] = faults.get(fault, 0) + 1


class Memory(msgspec.Struct, kw_only=True):
    """What a node tells its next run, as of the final block at `height`."""

    version: int = MEMORY_VERSION
    chain_id: str
    height: int
    counts: Counts
    latencies: dict[int, int]
    fairness: MeterState | None
    rolls: list[RollResult]
    """The last settled rolls of all games, oldest first."""
