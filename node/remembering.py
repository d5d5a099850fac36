"""What a node knows of its past beside the journal: its counts, and the last rolls with their pays.

`DIR/statistics.json` is written now and then and at the end; what it misses after a crash comes from
the journal: the blocks that a start executes again, and the settled rolls. It is worth no vote and
no chip: a file that is missing or cannot be read costs old counts, never a start.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import trio

from consensus.beacon_items import recompute_seed
from consensus.encoding import DecodeError, digest
from node.errors import OperatorError
from node.fairness import FairnessMeter
from node.game.receipts import BlockResult, RollResult
from node.game.rules import GameRules
from node.runtime import ProtocolRuntime
from node.statistics import MEMORY_VERSION, Counts, Memory, Tally
from node.store import Store

log = logging.getLogger(__name__)

MEMORY_FILE = "statistics.json"
MEMORY_BYTES_MAX = 16 << 20
"""256 rolls of full tables, with room."""
KEEP_SECONDS = 20
"""How much of its counts a node may lose when it is killed: well under a minute."""


@dataclass(frozen=True, slots=True)
class Recalled:
    """What the node knows when it starts."""

    tally: Tally
    rolls: tuple[RollResult, ...]


def recall(
    folder: Path, store: Store, rules: GameRules, replayed: Sequence[BlockResult]
) -> Recalled:
    """Return what was counted and settled before this start.

    `replayed` are the results of the blocks that the start executed again. Blocks between the file
    and the newest snapshot, if a crash left any, are missing from the counts of chips; the dice are
    counted from the journal and miss nothing.

    Raises:
        OperatorError: The journal is damaged where its rolls are read.
    """
    memory = _read(folder / MEMORY_FILE, store.chain_id.hex(), store.final_height())
    tally, rolls, height = Tally(), [], 0
    meter, counted = FairnessMeter.of(rules), 0
    if memory is not None:
        tally.counts, height, rolls = memory.counts, memory.height, memory.rolls
        tally.latencies.restore(memory.latencies)
        if memory.fairness is not None and meter.restore(memory.fairness):
            counted = height
    for result in replayed:
        if result.height > height:
            tally.counts.blocks += 1
            tally.counts.actions += len(result.actions)
            tally.count_result(result)
            rolls.extend(result.rolls)
    meter.add_all(outcomes_above(store, rules, counted))
    tally.fairness = meter
    tally.before = msgspec.convert(msgspec.to_builtins(tally.counts), Counts, strict=False)
    return Recalled(tally, tuple(rolls))


def outcomes_above(store: Store, rules: GameRules, height: int) -> list[int]:
    """Return the outcomes of all rolls settled above a height, in order, from their proofs.

    Raises:
        OperatorError: The store is damaged, or holds a roll without a proof.
    """
    found = []
    for roll in store.rolls_above(height):
        where = roll.session.to_bytes(8, "big") + roll.number.to_bytes(8, "big")
        try:
            seed = digest("dice", recompute_seed(roll.proof) + where)
        except DecodeError as error:
            raise OperatorError(f"roll {roll.number} has no proof: {error}") from None
        found.append(rules.outcome(seed)[0])
    return found


def _read(path: Path, chain_id: str, height: int) -> Memory | None:
    """Return what the last run left, None if that is nothing that can be used."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MEMORY_BYTES_MAX + 1)
        memory = msgspec.json.decode(data, type=Memory)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        log.warning("statistics begin anew file=%s reason=%s", path, error)
        return None
    if (memory.version, memory.chain_id) != (MEMORY_VERSION, chain_id) or memory.height > height:
        log.warning("statistics begin anew file=%s reason=of another table or version", path)
        return None
    return memory


def remember(folder: Path, memory: bytes) -> None:
    """Write an encoded `Memory`, whole or not at all; a disk that refuses is only noted."""
    path = folder / MEMORY_FILE
    beside = path.with_suffix(".new")
    try:
        with beside.open("wb") as stream:
            stream.write(memory)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(path)
    except OSError as error:
        log.warning("statistics not written file=%s reason=%s", path, error.strerror)


async def keep_memory(runtime: ProtocolRuntime, folder: Path) -> None:
    """Write the runtime's memory every 20 s, and when it ends or this is cancelled."""
    try:
        while not runtime.ended.is_set():
            with trio.move_on_after(KEEP_SECONDS):
                await runtime.ended.wait()
            memory = msgspec.json.encode(runtime.memory())
            await trio.to_thread.run_sync(remember, folder, memory)
    finally:
        remember(folder, msgspec.json.encode(runtime.memory()))
