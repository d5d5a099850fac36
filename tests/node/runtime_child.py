"""A node process for tests: `runtime_child.py FOLDER CASE` runs a lone node until it is ended."""

import sys
from collections.abc import Sequence
from pathlib import Path

import trio

from consensus.effects import Now
from consensus.encoding import encode
from consensus.signing import key_id
from node.commands.running import run_until_ended
from node.control import serve_control
from node.effects import ReplicaEffect, Submission
from node.game.params import GameParams
from node.identity import credentials_of
from node.logs import logging_to
from node.replica import Replica
from node.runtime import ProtocolRuntime
from node.serving import setup_of
from node.store import Journal
from tests.node.tables import HOST, make_table
from transport.base import Address


class Broken(Replica):
    """A replica with a fault of ours."""

    def submit(  # type: ignore[explicit-override]  # typing.override is 3.12
        self, batch: Sequence[Submission], now: Now
    ) -> list[ReplicaEffect]:
        assert not batch, "chips do not add up"
        return super().submit(batch, now)


async def serve(folder: Path, case: str) -> None:
    table, keys, _ = make_table(1, params=encode(GameParams()))
    journal = Journal(folder, table.chain_id, key_id(keys[0].identity.public_key))
    replica = (Broken if case == "broken" else Replica)(
        setup_of(table, keys[0]), journal.load(), journal.block
    )
    runtime = ProtocolRuntime(replica, journal, table, credentials_of(keys[0]))
    async with trio.open_nursery() as nursery:
        await nursery.start(runtime.run, Address(HOST, 0))
        await nursery.start(serve_control, runtime, folder)
        print("ready", flush=True)


def main() -> None:
    folder = Path(sys.argv[1])
    with logging_to(folder):
        run_until_ended(lambda: serve(folder, sys.argv[2]))


if __name__ == "__main__":
    main()
