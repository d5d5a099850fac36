"""What proofs cost: their bytes, how fast a stranger checks one, and how fast a whole folder.

A table of four plays craps with real signatures and changes its voters now and then. Then the newest
decided bet is proved to a stranger from the whole chain, and a node's folder is verified as with
`verify FOLDER`: every block executed again, every signature checked. Times are processor time of one
core. `bundle_max_seals` is for how many changes of voters a proof stays under 16 KiB.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from bench.measures import rounded
from consensus.encoding import decode_as, encode
from consensus.signing import key_id, verify
from netsim.playing import PlayingTable
from node.audit import audit_folder
from node.config import Folder
from node.descriptor import save_table
from node.game.receipts import Code
from node.membership import EPOCH_MS_MIN, SetVote
from node.proof import MAGIC, Bundle, check_bundle
from node.prover import list_bets, prove_bet
from node.replay import chain_of_records
from node.store import Journal

BLOCKS = 1_000
VOTE_CHANGES = 2
BUNDLE_BYTES = 16 << 10
CHECKS = 100
LIMIT_MS = 3_600_000
WRITTEN_AT_ONCE = 5_000
"""Records of one commit when a chain becomes a store."""

T = TypeVar("T")


def play(blocks: int) -> PlayingTable:
    """Return a table that made so many blocks, with a change of voters now and then."""
    table = PlayingTable(4, seed=1, signatures="memo", described=True)
    for change in range(VOTE_CHANGES + 1):
        goal = blocks * (change + 1) // (VOTE_CHANGES + 1)
        while table.replicas[0].final.height < goal:
            table.play(len(table.rolls) + 1, LIMIT_MS)
        if change < VOTE_CHANGES:
            receipt = table.ask(2, SetVote(change % 2))
            assert receipt.code == Code.DONE, receipt
            table.network.run(table.network.now_ms + EPOCH_MS_MIN + 5_000)
    table.settle()
    return table


def timed(call: Callable[[], T]) -> tuple[float, T]:
    """Return the processor seconds of a call, and what it returns."""
    start = time.process_time()
    found = call()
    return time.process_time() - start, found


def measure(blocks: int) -> dict[str, object]:
    """Measure everything."""
    table = play(blocks)
    assert table.table is not None, "the table is described"
    records = table.network.hosts[0].disk.records
    chain = chain_of_records(records)
    last = [result.height for result in table.results if result.rolls][-1]
    bets = [bet for bet in list_bets(table.table, table.terms, chain) if bet.height < last]
    bet = bets[-1]
    prove_s, data = timed(
        lambda: prove_bet(table.table, table.terms, chain, bet.height, bet.index)  # type: ignore[arg-type]
    )
    check_s, _ = timed(lambda: [check_bundle(data, verify) for _ in range(CHECKS)])
    seals = decode_as(data[len(MAGIC) :], Bundle).epochs
    seal_bytes = max(len(encode(step)) for step in seals)
    rest = len(data) - sum(len(encode(step)) for step in seals)
    with tempfile.TemporaryDirectory(prefix="bench-") as root:
        folder = Folder(Path(root))
        save_table(folder.table, table.table)
        kid = key_id(table.identity_of(0))
        with closing(Journal(folder.root, table.chain_id, kid)) as journal:
            for at in range(0, len(records), WRITTEN_AT_ONCE):
                journal.append(records[at : at + WRITTEN_AT_ONCE])
        audit_s, audited = timed(lambda: audit_folder(folder.root, table.chain_id))
        store_bytes = sum(one.stat().st_size for one in folder.root.glob("store.db*"))
    return {
        "benchmark": "proofs",
        "blocks": chain.newest,
        "epochs": audited.epochs,
        "bundle_bytes": len(data),
        "bundle_bytes_per_seal": seal_bytes,
        "bundle_max_seals": (BUNDLE_BYTES - rest) // seal_bytes,
        "prove_s": prove_s,
        "bundles_per_s": CHECKS / check_s,
        "verified_blocks_per_s": audited.blocks / audit_s,
        "signatures_per_block": audited.signatures / audited.blocks,
        "store_bytes_per_block": store_bytes / audited.blocks,
        "holds": len(data) < BUNDLE_BYTES,
    }


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.proofs", description="What proofs cost.")
    parser.add_argument("--blocks", type=int, default=BLOCKS, help="blocks of the chain")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    result = rounded(measure(arguments.blocks))
    lines = [f"{name}: {value}" for name, value in result.items()]
    print(json.dumps(result, indent=2) if arguments.json else "\n".join(lines))


if __name__ == "__main__":
    main()
