"""Thirty times a node is killed at a random moment, and comes back with the same command.

Real processes, real disks, one seed: the moments are random, the machine decides what they hit.
"""

import random
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

from node.agreement import disagreement
from node.control import open_control
from node.demo import NAMES, NodeProcess, Plan, open_table, prepare
from node.errors import OperatorError
from node.inspection import read_standing
from node.view import TableView

KILLS = 30
SECONDS_MAX = 90
UP_SECONDS = (0.1, 1.0)
DOWN_SECONDS = (0.0, 0.6)


@pytest.mark.slow
def test_thirty_kills_at_random_moments_leave_one_history(tmp_path: Path) -> None:
    plan = Plan(
        root=tmp_path, names=NAMES[:4], you=None, rolls=None,
        rules=("thrower_ms=1000", "betting_min_ms=200"),
    )  # fmt: skip
    nodes = prepare(plan)
    seed = time.time_ns()
    rolls = trio.run(kill_and_restart, plan, nodes, random.Random(seed))
    print("seed", seed, "rolls", rolls)
    standings = {node.name: read_standing(node.folder) for node in nodes}
    assert disagreement(standings, rolls) is None
    for node in nodes:
        log = node.log.read_text()
        assert "Traceback" not in log
        assert "halted" not in log
        assert "fault" not in log


async def kill_and_restart(plan: Plan, nodes: Sequence[NodeProcess], chance: random.Random) -> int:
    """Kill and restart nodes; return the rolls that were settled when all had caught up."""
    with trio.fail_after(SECONDS_MAX):
        async with open_table(plan, nodes):
            for _ in range(KILLS):
                await trio.sleep(chance.uniform(*UP_SECONDS))
                node = chance.choice(nodes)
                assert node.process is not None
                node.process.kill()
                await node.process.wait()
                await trio.sleep(chance.uniform(*DOWN_SECONDS))
                await node.start()
            views = await views_of(nodes)
            most = max(view.rolls for view in views)
            # The table is not only standing: it goes on, at every node.
            while min(view.rolls for view in views) < most + 3:
                await trio.sleep(0.1)
                views = await views_of(nodes)
            return most


async def views_of(nodes: Sequence[NodeProcess]) -> list[TableView]:
    """Return every node's view, once all of them answer."""
    views: dict[str, TableView] = {}
    while len(views) < len(nodes):
        for node in nodes:
            try:
                async with await open_control(node.folder.root) as client:
                    views[node.name] = await client.view()
            except OperatorError:
                await trio.sleep(0.1)
    return list(views.values())
