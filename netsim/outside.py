"""What can be told of nodes by somebody who only reads their folders, while they run and afterwards.

No word of a node is taken for more than it is: blocks are compared between stores, heights between
looks, chips are counted from the state that the blocks lead to, and `bitcraps verify` has the last
word on each folder.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from consensus.encoding import decode_as
from consensus.evidence import ITEM_EVIDENCE
from consensus.messages import Body, Header
from netsim.invariants import ViolatedError
from node.agreement import Standing
from node.config import Folder
from node.errors import OperatorError
from node.inspection import read_members, read_standing
from node.store import STORE_FILE, Store

BLOCKS_PER_LOOK = 500
"""Of one node, so that a look takes a fraction of a second; the rest is for the next."""
VERIFY_SECONDS_MAX = 600


@dataclass(frozen=True, slots=True)
class _Seen:
    hash: bytes
    root: str
    node: int


@dataclass(slots=True)
class Witness:
    """Compares stores as they grow. `heights` is how far each node's store has been looked at.

    `newest` is the greatest height that each node was ever seen at, -1 for one that lost its folder.
    """

    nodes: int
    blocks: dict[int, _Seen] = field(default_factory=dict)
    rolls: dict[tuple[int, int], bytes] = field(default_factory=dict)
    heights: list[int] = field(init=False)
    newest: list[int] = field(init=False)

    def __post_init__(self) -> None:
        """Begin with nothing seen."""
        self.heights = [0] * self.nodes
        self.newest = [0] * self.nodes

    def forget(self, node: int) -> None:
        """A node lost its folder: it may begin again, and come to no other blocks than before."""
        self.heights[node] = self.newest[node] = 0

    def look(self, node: int, root: Path) -> list[int]:
        """Read what is new in a node's store; return the heights that no node was seen at before.

        Raises:
            ViolatedError: Something in it contradicts what was seen before, here or elsewhere.
        """
        if not (root / STORE_FILE).exists():
            return []
        try:
            store = Store(root)
        except OperatorError as error:
            raise ViolatedError(f"store: node {node}: {error}") from None
        try:
            return self._read(node, store)
        except OperatorError as error:
            raise ViolatedError(f"store: node {node}: {error}") from None
        finally:
            store.close()

    def _read(self, node: int, store: Store) -> list[int]:
        newest = store.final_height()
        if newest < self.newest[node]:
            raise ViolatedError(
                f"finality: node {node} was at block {self.newest[node]}, now at {newest}"
            )
        self.newest[node] = newest
        before = self.heights[node]
        until = min(newest, before + BLOCKS_PER_LOOK)
        first_seen = [at for at in range(before + 1, until + 1) if self._compare(node, store, at)]
        for roll in store.rolls_above(before):
            if roll.height <= until:
                known = self.rolls.setdefault((roll.session, roll.number), roll.proof)
                if known != roll.proof:
                    raise ViolatedError(
                        f"dice: node {node} has another proof of roll {roll.number} "
                        f"of game {roll.session} than others"
                    )
        self.heights[node] = until
        return first_seen

    def _compare(self, node: int, store: Store, height: int) -> bool:
        final = store.final(height)
        if final is None:
            return False  # it fetched the state as a whole: the blocks below are elsewhere
        seen = self.blocks.get(height)
        root = decode_as(final.header, Header).state_root.hex()
        if seen is None:
            self.blocks[height] = _Seen(final.hash, root, node)
            if any(item[1] == ITEM_EVIDENCE for item in decode_as(final.body, Body).system):
                raise ViolatedError(f"evidence: block {height} proves that a node cheated")
            return True
        if (seen.hash, seen.root) != (final.hash, root):
            raise ViolatedError(
                f"agreement: at block {height} node {seen.node} has state root {seen.root[:16]}…, "
                f"node {node} {root[:16]}…"
            )
        return False


def read_end(node: int, root: Path) -> None:
    """Judge where the node of a folder stands in the end; raises `ViolatedError`."""
    try:
        standing = read_standing(Folder(root))
        cheats = [str(one["name"]) for one in read_members(Folder(root)) if one["cheated"]]
    except OperatorError as error:
        raise ViolatedError(f"store: node {node}: {error}") from None
    judge_end(node, standing, cheats)


def judge_end(node: int, standing: Standing, cheats: Sequence[str]) -> None:
    """Raise `ViolatedError` if chips came or went, or somebody counts as a cheat."""
    if standing.total != standing.minted:
        raise ViolatedError(
            f"conservation: node {node} counts {standing.total:,} chips; "
            f"{standing.minted:,} were minted"
        )
    if cheats:
        raise ViolatedError(f"evidence: at node {node} {', '.join(cheats)} counts as a cheat")


async def verify_folder(root: Path, table_id: bytes) -> tuple[int, Mapping[str, Any]]:
    """Run `bitcraps verify` on a folder; return its exit code and what it says."""
    words = ["verify", str(root), "--table", table_id.hex(), "--json"]
    with trio.fail_after(VERIFY_SECONDS_MAX):
        done = await trio.run_process(
            [sys.executable, "-m", "node", *words], capture_stdout=True, check=False,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
    try:
        told: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        told = {"why": "it said nothing"}
    return done.returncode, told
