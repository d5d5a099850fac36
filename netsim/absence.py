"""A long absence: one voter of five misses thousands of blocks, and somebody new comes with nothing.

The others play on through several epochs. Who then comes has one honest peer to learn from: one sends
bent bytes wherever it is asked for blocks or states, and what the others say of them is lost. Every
invariant of the simulator is watched. In the end the one that sends bent bytes is gone, so that the
votes of those who came late are needed, and all of them agree to the last chip.
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from consensus.effects import Now, Send
from consensus.messages import Number
from consensus.validators import ValidatorIndex
from netsim.invariants import ViolatedError
from netsim.playing import PlayingTable
from netsim.tables import Seat
from node.membership import EPOCH_MS_MIN, SetVote

BLOCKS = 10_000
BENT, LOST, CHANGING, LATE, NEWCOMER = range(1, 6)
"""Hosts: who sends bent bytes, whose answers get lost, who votes now and then and whose answers get
lost too, who was away, who is new. Host 0 is the one to learn from."""
ANSWERS = (Number.ANCHOR, Number.STATE_CHUNK, Number.BLOCKS)
LIMIT_MS = 3_600_000
EPOCH_MS = EPOCH_MS_MIN + 5_000
"""By then an epoch that is due has begun with the next block."""
VOTE_CHANGES = 4
"""Times that a voter stops or starts to vote meanwhile: each is an epoch."""


class Bending:
    """A node that is honest but for one byte of each answer about blocks and states."""

    def __init__(self, seat: Seat) -> None:
        """Take the seat of the honest one."""
        self._node = seat.node

    @property
    def deadline_ms(self) -> int | None:
        """When the honest one has something to do."""
        return self._node.deadline_ms

    def start(self, now: Now) -> Sequence[object]:
        """Begin."""
        return _bent(self._node.start(now))

    def peer_up(self, peer: ValidatorIndex, now: Now) -> Sequence[object]:
        """Greet."""
        return _bent(self._node.peer_up(peer, now))

    def receive(self, batch: Sequence[tuple[ValidatorIndex, bytes]], now: Now) -> Sequence[object]:
        """Answer, with a byte changed."""
        return _bent(self._node.receive(batch, now))

    def entropy(self, data: bytes, now: Now) -> Sequence[object]:
        """Take entropy."""
        return _bent(self._node.entropy(data, now))

    def handle_deadline(self, now: Now) -> Sequence[object]:
        """Do what is due."""
        return _bent(self._node.handle_deadline(now))


def _bent(effects: Sequence[object]) -> list[object]:
    return [
        Send(effect.to, effect.frame[:-9] + bytes((effect.frame[-9] ^ 1,)) + effect.frame[-8:])
        if isinstance(effect, Send) and effect.frame[0] in ANSWERS
        else effect
        for effect in effects
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaughtUp:
    """How somebody came up to the tip; times are virtual, `cpu_s` is of the whole simulation."""

    blocks: int
    by_state: bool
    virtual_ms: int
    cpu_s: float
    frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """What a run came to."""

    blocks: int
    epochs: int
    late: CaughtUp
    newcomer: CaughtUp
    rolls: int
    faults: int
    rss_mib: int


class Absence:
    """One run."""

    def __init__(self, seed: int, *, states: bool) -> None:
        """Let everybody be there for a moment; without `states` all requests for them are lost."""
        self.table = PlayingTable(LATE + 1, seed, newcomers=1, adversaries={BENT: Bending})
        self._states = states
        self.table.network.drops = self._is_lost
        self.table.play(1, LIMIT_MS)

    def _is_lost(self, sender: int, to: int, data: bytes) -> bool:
        if data[0] == Number.GET_ANCHOR:
            return not self._states
        return sender in (LOST, CHANGING) and to in (LATE, NEWCOMER) and data[0] in ANSWERS

    @property
    def height(self) -> int:
        """The height of the tip."""
        return self.table.replicas[0].final.height

    def run(self, blocks: int) -> Absent:
        """Let the others make so many blocks, then let both come; raises `ViolatedError`."""
        table = self.table
        table.network.crash(LATE)
        goal = self.height + blocks
        for change in range(VOTE_CHANGES):
            self._play_to(goal - blocks + blocks * (change + 1) // (VOTE_CHANGES + 1))
            table.ask(CHANGING, SetVote(change % 2))
            table.network.run(table.network.now_ms + EPOCH_MS)
        self._play_to(goal)
        late = self._come(LATE, lambda: table.network.boot(LATE))
        newcomer = self._come(NEWCOMER, lambda: table.join(NEWCOMER))
        for host in (LATE, NEWCOMER):
            self._vote(host)
        table.network.crash(BENT)
        table.play(len(table.rolls) + 3, LIMIT_MS)
        table.settle()
        return Absent(
            blocks=self.height,
            epochs=table.replicas[0].final.membership.epoch,
            late=late,
            newcomer=newcomer,
            rolls=len(table.rolls),
            faults=sum(table.network.counts.faults.values()),
            rss_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
        )

    def _play_to(self, height: int) -> None:
        while self.height < height:
            self.table.play(len(self.table.rolls) + 1, LIMIT_MS)

    def _vote(self, host: int) -> None:
        """Let a host vote that may have lost its vote by being away for epochs, or never had one."""
        table = self.table
        if not table.replicas[host].votes:
            table.ask(host, SetVote(1))
            table.network.run(table.network.now_ms + EPOCH_MS)
            table.play(len(table.rolls) + 1, LIMIT_MS)
        assert table.replicas[host].votes, f"host {host} votes"

    def _come(self, host: int, begin: Callable[[], object]) -> CaughtUp:
        table, network = self.table, self.table.network
        since = table.replicas[host].final.height if host < len(table.replicas) else 0
        start_ms, start_s, frames = network.now_ms, time.process_time(), network.counts.frames
        rebased = len(table.rebased)
        begin()
        while table.replicas[host].final.height < self.height:
            network.run(network.now_ms + 10)
            if network.now_ms - start_ms > LIMIT_MS:
                raise ViolatedError(f"L host {host} does not catch up in {LIMIT_MS} ms")
        return CaughtUp(
            blocks=self.height - since,
            by_state=table.rebased[rebased:] == [host],
            virtual_ms=network.now_ms - start_ms,
            cpu_s=round(time.process_time() - start_s, 2),
            frames=network.counts.frames - frames,
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one long absence, by state and by blocks, and say what it came to."""
    parser = argparse.ArgumentParser(prog="python -m netsim.absence", description=__doc__)
    parser.add_argument("--blocks", type=int, default=BLOCKS, help="blocks that are missed")
    parser.add_argument("--seed", type=int, default=1, help="of the run")
    words = parser.parse_args(arguments)
    for states in (True, False):
        absent = Absence(words.seed, states=states).run(words.blocks)
        sys.stdout.write(f"{json.dumps({'states': states, **asdict(absent)})}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
