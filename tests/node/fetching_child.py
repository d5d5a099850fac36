"""A node that is killed by its system as soon as one more answer of a state fetch is durable.

`fetching_child.py FOLDER MEMBER BLOCKS`: to be so many blocks behind is far.
"""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import trio

from consensus.effects import FetchedLogged, LogRecord
from node import replica, serving, state_sync
from node.config import Folder
from node.descriptor import load_table
from node.store import Journal
from tests.node.tables import HOST, make_table


class Doomed(Journal):
    """A journal whose process has no time for anything behind the answer."""

    def append(self, records: Sequence[LogRecord]) -> None:  # type: ignore[explicit-override]  # typing.override is 3.12
        super().append(records)
        if any(isinstance(record, FetchedLogged) for record in records):
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Run the node until it is killed."""
    folder, at = Folder(Path(sys.argv[1])), int(sys.argv[2])
    for module in (replica, state_sync):
        setattr(module, "BEHIND_BLOCKS", int(sys.argv[3]))  # noqa: B010  (it is no export)
    setattr(serving, "Journal", Doomed)  # noqa: B010
    _, keys, _ = make_table(4, ports=[1] * 4)
    trio.run(serving.serve_node, folder, load_table(folder.table), keys[at], HOST)


if __name__ == "__main__":
    main()
