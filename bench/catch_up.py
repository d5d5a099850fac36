"""What it takes a node to catch up that missed every block of a table of four.

The chain is real: three of four replicas with real signatures make it on the simulator's heap. Then
the fourth comes with nothing: once the others serve states, and once they serve none, so that it
fetches and executes every block. Processor time is that of the late replica alone, `bytes_per_block`
is everything that anybody sent meanwhile.

With `--processes` the same happens to real processes with sockets and stores: the three get the chain
as their journals, the fourth an empty folder. `rss_mib` is the most memory that its process ever had,
`rss_start_mib` what it had before it heard of anybody. In the end one of the three stops, so that the
late one's vote is needed for what it does itself.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from bench.agreement import Bench
from bench.measures import rounded
from bench.processes import free_ports, running
from bench.table import make_table
from consensus.effects import FinalLogged, LogRecord
from consensus.signing import key_id
from netsim.host import Disk
from node.descriptor import Table
from node.identity import Keys
from node.replica import Setup
from node.serving import setup_of
from node.state_sync import BEHIND_BLOCKS
from node.store import Journal

NODES = 4
BLOCKS = 10_000
MODULE = "bench.catch_up_node"
WRITTEN_AT_ONCE = 5_000
"""Records of one commit when a chain becomes a store."""
MIB = 1 << 20


class Chain(Bench):
    """A table whose terms real nodes know, and the chain that all but one of them made."""

    def __init__(self, blocks: int) -> None:
        """Make the chain."""
        self.table: Table | None = None
        super().__init__(NODES, up=NODES - 1)
        self.agree(blocks)

    def setup(  # type: ignore[explicit-override]  # typing.override is 3.12
        self, keys: Keys
    ) -> Setup:
        """Return what the node with these keys starts with."""
        if self.table is None:
            self.ports = free_ports(NODES)
            self.table = make_table(self.keys, self.ports)
        return setup_of(self.table, keys)

    @property
    def height(self) -> int:
        """The height of the newest final block."""
        return self.nodes[0].replica.final.height


def catch_up(chain: Chain, *, serves_states: bool) -> dict[str, float]:
    """Let the fourth come with nothing; return what it cost until it stood at the tip."""
    network = chain.network
    for index in range(NODES - 1):
        network.crash(index)
        chain.serves_states = serves_states
        network.boot(index)
    chain.serves_states = True
    height, start_ms, sent = chain.height, network.now_ms, network.counts.bytes
    network.boot(NODES - 1)
    late = chain.nodes[NODES - 1]
    spent_ns = 0
    while chain.nodes[NODES - 1].replica.final.height < height:
        network.run(network.now_ms + 1)
        if late.rebased:
            spent_ns += late.cpu_ns
            network.crash(NODES - 1)
            network.boot(NODES - 1)
            late = chain.nodes[NODES - 1]
    spent_ns += late.cpu_ns
    network.crash(NODES - 1)
    executed = sum(isinstance(one, FinalLogged) for one in network.hosts[NODES - 1].disk.records)
    network.hosts[NODES - 1].disk = Disk()
    return {
        "blocks": height,
        "executed": executed,
        "blocks_per_s": height * 1e9 / spent_ns,
        "cpu_s": spent_ns / 1e9,
        "bytes_per_block": (network.counts.bytes - sent) / height,
        "virtual_ms": network.now_ms - start_ms,
    }


def write_store(folder: Path, table: Table, keys: Keys, records: Sequence[LogRecord]) -> None:
    """Make the store of a node of its simulated disk."""
    with closing(Journal(folder, table.chain_id, key_id(keys.identity.public_key))) as journal:
        for at in range(0, len(records), WRITTEN_AT_ONCE):
            journal.append(records[at : at + WRITTEN_AT_ONCE])


def with_processes(chain: Chain, root: Path, *, serves_states: bool) -> dict[str, float]:
    """Let real nodes do the same."""
    table = chain.table
    assert table is not None, "a chain has a table"
    kind = "state" if serves_states else "blocks"
    configurations: list[dict[str, object]] = [
        {
            "folder": str(root / f"{kind}-{me}"), "me": me, "nodes": NODES, "ports": chain.ports,
            "serves_states": serves_states,
        }
        for me in range(NODES)
    ]  # fmt: skip
    for me in range(NODES - 1):
        records = chain.network.hosts[me].disk.records
        write_store(root / f"{kind}-{me}", table, chain.keys[me], records)
    with ExitStack() as third, running(MODULE, configurations[:2]):
        third.enter_context(running(MODULE, configurations[2:3]))
        start = time.perf_counter()
        with running(MODULE, configurations[3:]) as late:
            (figures,) = late.phase("reach", height=chain.height)
            seconds = time.perf_counter() - start
            third.close()
            (answered,) = late.phase("act")
    assert answered == "final", answered
    return {
        "blocks": chain.height,
        "blocks_per_s": chain.height / figures["cpu_s"],
        "wall_s": seconds,
        **figures,
    }


def measure(blocks: int, *, processes: bool) -> dict[str, Any]:
    """Measure everything that was asked for."""
    chain = Chain(blocks)
    found: dict[str, Any] = {
        "benchmark": "catch_up",
        "nodes": NODES,
        "by_blocks": rounded(catch_up(chain, serves_states=False)),
    }
    if chain.height >= BEHIND_BLOCKS:
        found["by_state"] = rounded(catch_up(chain, serves_states=True))
    if processes:
        with tempfile.TemporaryDirectory(prefix="bench-") as root:
            by_blocks = with_processes(chain, Path(root), serves_states=False)
            found["processes_by_blocks"] = rounded(by_blocks)
            if chain.height >= BEHIND_BLOCKS:
                by_state = with_processes(chain, Path(root), serves_states=True)
                found["processes_by_state"] = rounded(by_state)
    return found


def show(result: dict[str, Any]) -> str:
    """Return the figures for people, one way of catching up to a line."""
    return "\n".join(
        f"{name}: " + ", ".join(f"{field} {value}" for field, value in figures.items())
        for name, figures in result.items()
        if isinstance(figures, dict)
    )


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.catch_up", description="What it takes a node to catch up."
    )
    parser.add_argument("--blocks", type=int, default=BLOCKS, help="blocks that it missed")
    parser.add_argument("--processes", action="store_true", help="with real nodes as well")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    result = measure(arguments.blocks, processes=arguments.processes)
    print(json.dumps(result, indent=2) if arguments.json else show(result))


if __name__ == "__main__":
    main()
