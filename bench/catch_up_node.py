"""One node of `bench.catch_up` as a process: real links, a real store."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.phases import run_led
from bench.processes import read_line
from bench.table import make_keys, make_table
from consensus.effects import Now
from consensus.messages import Number
from consensus.signing import key_id
from consensus.validators import ValidatorIndex
from node.effects import ReplicaEffect
from node.game.operations import Sit
from node.identity import credentials_of
from node.replica import Replica
from node.runtime import ProtocolRuntime
from node.serving import setup_of
from node.store import Journal
from transport.base import Address


class WithoutStates(Replica):
    """A replica that serves blocks and no states."""

    def receive(  # type: ignore[explicit-override]  # typing.override is 3.12
        self, batch: Sequence[tuple[ValidatorIndex, bytes]], now: Now
    ) -> list[ReplicaEffect]:
        """Take frames, but no request for a state."""
        return super().receive([one for one in batch if one[1][0] != Number.GET_ANCHOR], now)


def rss_mib() -> float:
    """Return the most memory that this process has had."""
    # Not `getrusage`: that of a child begins with its parent's (Linux).
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


class Node:
    """The node of one process."""

    def __init__(self, config: dict[str, Any]) -> None:
        keys = make_keys(config["nodes"])
        me = config["me"]
        table = make_table(keys, config["ports"])
        kid = key_id(keys[me].identity.public_key)
        self.journal = Journal(Path(config["folder"]), table.chain_id, kid)
        make = Replica if config["serves_states"] else WithoutStates

        def resume() -> Replica:
            return make(setup_of(table, keys[me]), self.journal.load(), self.journal.block)

        self.runtime = ProtocolRuntime(
            resume(), self.journal, table, credentials_of(keys[me]), resume=resume
        )
        self.listen = Address("127.0.0.1", config["ports"][me])
        self._start_mib, self._start_s = rss_mib(), time.process_time()

    async def reach(self, height: int) -> dict[str, float]:
        """Wait until a block is final here; return what that took."""
        await self.runtime.wait_newer(height - 1)
        return {
            "cpu_s": time.process_time() - self._start_s,
            "rss_start_mib": self._start_mib,
            "rss_mib": rss_mib(),
        }

    async def act(self) -> str:
        """Act once; return what became of it."""
        (given,) = await self.runtime.submit([Sit(0)])
        return "final" if given.height else "refused"

    async def perform(self, phase: dict[str, Any]) -> object:
        """Carry out one phase."""
        match phase["phase"]:
            case "reach":
                return await self.reach(phase["height"])
            case "act":
                return await self.act()
            case _:
                return "done"


if __name__ == "__main__":
    run_led(Node(read_line()))
