"""One node of a real table with clients: real links, real rules, every step durable."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import trio

from bench.clients import Clients, Done
from bench.phases import run_led
from bench.processes import read_line
from bench.table import make_keys, make_table
from consensus.effects import LogRecord
from consensus.signing import PublicKey, Signer, key_id, verify
from consensus.validators import ValidatorIndex
from node.effects import Answer
from node.epoch import EpochKeys
from node.game.craps.bets import POINTS, Kind
from node.game.games import CRAPS
from node.game.operations import CreateSession, Operation, PlaceBet, Reduce, Sit, TakeDown
from node.identity import credentials_of
from node.replica import Replica
from node.runtime import ProtocolRuntime
from node.serving import setup_of
from node.store import Journal
from transport.base import Address

SESSIONS = 16
STAKE = 30
"""Pays exactly on every point: a multiple of 5 and of 6."""


@dataclass(slots=True)
class Counts:
    """What the measured node did, beside what its runtime counts."""

    commits: int = 0
    signed: int = 0
    verified: int = 0


class CountedJournal:
    """A journal that counts its commits."""

    def __init__(self, journal: Journal, counts: Counts) -> None:
        self._journal = journal
        self._counts = counts

    def append(self, records: Sequence[LogRecord]) -> None:
        """Make the records durable."""
        self._counts.commits += 1
        self._journal.append(records)


class CountedSigner:
    """A signer that counts its signatures."""

    def __init__(self, signer: Signer, counts: Counts) -> None:
        self.public_key = signer.public_key
        self._signer = signer
        self._counts = counts

    def sign(self, message: bytes) -> bytes:
        """Sign."""
        self._counts.signed += 1
        return self._signer.sign(message)


def bets(client: int, alone: bool) -> Iterator[Operation]:
    """Yield place bets and their taking down, for ever; one spot of the table for each client.

    Clients that share a spot take down only what they put there.
    """
    session = client % SESSIONS
    number = POINTS[client // SESSIONS % len(POINTS)]
    place = PlaceBet(session, Kind.PLACE, number, STAKE)
    down = (
        TakeDown(session, Kind.PLACE, number)
        if alone
        else Reduce(session, Kind.PLACE, number, STAKE)
    )
    while True:
        yield place
        yield down


class Node:
    """The node of one process and what the phases do with it."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.counts = Counts()
        keys = make_keys(config["nodes"])
        me = ValidatorIndex(config["me"])
        table = make_table(keys, config["ports"])
        self.journal = Journal(
            Path(config["folder"]), table.chain_id, key_id(keys[me].identity.public_key)
        )
        setup = setup_of(table, keys[me])
        setup = replace(
            setup,
            verify=self._verify,
            identity=CountedSigner(setup.identity, self.counts),
            keys=EpochKeys(CountedSigner(setup.keys.signer, self.counts), setup.keys.box_secret),
        )
        replica = Replica(setup, self.journal.load(), self.journal.block)
        journal = CountedJournal(self.journal, self.counts)
        self.runtime = ProtocolRuntime(replica, journal, table, credentials_of(keys[me]))
        self.listen = Address("127.0.0.1", config["ports"][me])

    def _verify(self, key: PublicKey, message: bytes, signature: bytes) -> bool:
        self.counts.verified += 1
        return verify(key, message, signature)

    async def link(self) -> None:
        """Wait until every peer is linked."""
        # Nothing is measured yet, so looking now and then will do.
        while not all(peer.up for peer in self.runtime.mesh.statistics()):  # noqa: ASYNC110
            await trio.sleep(0.05)

    async def must(self, operations: list[Operation]) -> None:
        """Submit operations that cannot be refused."""
        answers = await self.runtime.submit(operations)
        refused = [each.receipt for each in answers if each.receipt.code]
        assert not refused, refused

    def submit(self, operation: Operation, done: Done) -> None:
        """Submit a client's operation."""

        def take(given: Answer | None) -> None:
            if given is not None:
                done(given.height > 0 and given.receipt.code == 0)

        self.runtime.submit_nowait(operation, take)

    def frames(self) -> int:
        """Return the frames sent so far."""
        return sum(peer.counters.frames_sent for peer in self.runtime.mesh.statistics())

    async def run(self, warm_s: float, seconds: float) -> object:
        """Let the clients bet through one window."""
        count = self.config["clients"]
        alone = count <= SESSIONS * len(POINTS)
        clients = Clients(self.submit, [bets(client, alone) for client in range(count)])
        begin_ns = time.perf_counter_ns() + int(warm_s * 1e9)
        clients.start((begin_ns, begin_ns + int(seconds * 1e9)))
        await trio.sleep(warm_s)
        before = (time.process_time(), self.frames(), *self.totals())
        await trio.sleep(seconds)
        after = (time.process_time(), self.frames(), *self.totals())
        clients.stop()
        names = ("cpu_s", "frames", "commits", "signed", "verified", "blocks")
        spent = {name: b - a for name, a, b in zip(names, before, after, strict=True)}
        return {**clients.figures(), **spent}

    def totals(self) -> tuple[int, int, int, int]:
        counts = self.counts
        return counts.commits, counts.signed, counts.verified, self.journal.final_height()

    async def perform(self, phase: dict[str, Any]) -> object:
        """Carry out one phase."""
        match phase["phase"]:
            case "ready":
                await self.link()
            case "open" if self.config["me"] == 0:
                await self.must([CreateSession(CRAPS)] * SESSIONS)
            case "sit":
                await self.must([Sit(session) for session in range(SESSIONS)])
            case "run":
                return await self.run(phase["warm_s"], phase["seconds"])
            case _:
                pass
        return "done"


if __name__ == "__main__":
    run_led(Node(read_line()))
