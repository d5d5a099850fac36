"""A process that appends steps to a journal until it is killed, and says each one that is durable.

Step n logs the vote of view n and the action n; every fifth step a block becomes final with it.
"""

import sys
from pathlib import Path

from consensus.effects import ActionLogged, BlockLogged, FinalLogged, LogRecord, VoteLogged
from consensus.encoding import encode
from consensus.messages import Body, Header, block_hash
from node.errors import OperatorError
from node.store import Journal

CHAIN_ID = bytes(range(32))
OWNER = b"owner 02"
FINAL_EVERY = 5


def block_at(height: int, view: int, actions: tuple[bytes, ...] = ()) -> BlockLogged:
    """Return a block that the store can tell from others."""
    zeros = bytes(32)
    header = encode(
        Header(1, CHAIN_ID, 0, view, height, height, 0, zeros, 0, 0, zeros, zeros, zeros)
    )
    body = encode(Body(b"", (), (), actions))
    return BlockLogged(hash=block_hash(header), height=height, view=view, header=header, body=body)


def step(n: int) -> list[LogRecord]:
    """Return the records of step n."""
    vote = VoteLogged(kind=1, epoch=0, view=n, digest=bytes(32), envelope=b"v%d" % n)
    records: list[LogRecord] = [vote, ActionLogged(seq=n, envelope=b"a%d" % n)]
    if n % FINAL_EVERY == 0:
        block = block_at(n // FINAL_EVERY, n, (b"a%d" % n,))
        records += [
            block,
            FinalLogged(height=block.height, view=n, hash=block.hash, certificate=b""),
        ]
    return records


def main() -> None:
    """Append steps from the given one on; print each number once its step is durable."""
    folder, first = Path(sys.argv[1]), int(sys.argv[2])
    journal = Journal(folder, CHAIN_ID, OWNER)
    n = first
    while True:
        try:
            journal.append(step(n))
        except OperatorError as error:
            print(error, flush=True)
            return
        print(n, flush=True)
        n += 1


if __name__ == "__main__":
    main()
