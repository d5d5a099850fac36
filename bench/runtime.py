"""What the rules, the books and the state's roots cost by themselves, without network and disk.

`bet`: one accepted place bet, from the operation to its receipt, at a table with 1,000 sessions.
`block`: building a block of 1,000 such operations from verified actions: fork, rules, ledger,
receipts, both roots. `root`: the roots after one bet at a table of 1,000 players.
"""

import argparse
import gc
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from bench.commit_node import STAKE
from bench.measures import quantile, rounded
from bench.table import PARAMS, SESSIONS_MAX, make_keys
from consensus.encoding import Digest, digest
from consensus.messages import BlockHash
from consensus.signing import verify
from node.execution import Execution, Terms, genesis_state
from node.game.craps.bets import POINTS, Kind
from node.game.games import CRAPS
from node.game.operations import CreateSession, Operation, PlaceBet, Sit, TakeDown
from node.game.state import GameState
from node.membership import Membership, founder
from node.mempool import Mempool, sign_action

PLAYERS = 4
MANY_PLAYERS = 1_000
BETS = 20_000
BLOCKS = 30
BLOCK_OPERATIONS = 1_000
ROOTS = 300
BET_P99_MS_MAX = 1.0
"""The bar: a player never waits for the rules."""


def timed_us(function: Callable[[], object]) -> float:
    """Return how long one call takes."""
    start = time.perf_counter_ns()
    function()
    return (time.perf_counter_ns() - start) / 1000


def do(state: GameState, player: int, operation: Operation) -> None:
    """Apply an operation that cannot be refused."""
    receipt = state.apply(player, operation, 0)
    assert receipt.code == 0, receipt


def summary(name: str, taken_us: Sequence[float]) -> dict[str, object]:
    """Return the quantiles of some durations."""
    ascending = sorted(taken_us)
    return {f"{name}_p50_us": quantile(ascending, 500), f"{name}_p99_us": quantile(ascending, 990)}


def measure_bets() -> dict[str, object]:
    """Open 1,000 sessions, then bet all over them, one block for each 1,000 operations."""
    state = GameState.genesis(PARAMS, PLAYERS)
    state.begin_block(1, 1, can_close=False)
    created = [timed_us(lambda: do(state, 0, CreateSession(CRAPS))) for _ in range(SESSIONS_MAX)]
    for session in range(SESSIONS_MAX):
        for player in range(PLAYERS):
            do(state, player, Sit(session))
    bets, downs = [], []
    for i in range(BETS):
        if i % BLOCK_OPERATIONS == 0:
            state.end_block()
            state = state.fork()
            state.begin_block(state.height + 1, state.time_ms + 1, can_close=False)
        player, session = i % PLAYERS, i * 7 % SESSIONS_MAX
        number = POINTS[i % len(POINTS)]
        place = PlaceBet(session, Kind.PLACE, number, STAKE)
        down = TakeDown(session, Kind.PLACE, number)
        bets.append(timed_us(lambda: do(state, player, place)))  # noqa: B023  (called at once)
        downs.append(timed_us(lambda: do(state, player, down)))  # noqa: B023
    return {
        "sessions": len(created),
        **summary("create_session", created),
        **summary("bet", bets),
        **summary("take_down", downs),
    }


def measure_blocks() -> dict[str, object]:
    """Build blocks of 1,000 operations: one signed action of each of four players."""
    keys = make_keys(PLAYERS)
    chain_id = digest("bench", b"chain")
    terms = Terms(chain_id, PARAMS, verify)
    membership = Membership.genesis(
        [
            founder(
                each.identity.public_key,
                f"player {i}",
                each.consensus.public_key,
                each.dealing_public,
                votes=True,
            )
            for i, each in enumerate(keys)
        ],
        range(PLAYERS),
    )
    mempool = Mempool(chain_id, verify)
    mempool.prune([0] * PLAYERS)
    base = BlockHash(Digest(bytes(32)))
    execution = Execution(terms, base, genesis_state(terms, membership), mempool, lambda _state: ())
    sit: list[Operation] = [Sit(session) for session in range(16)]
    each = BLOCK_OPERATIONS // PLAYERS
    place: list[Operation] = [
        PlaceBet(i % 16, Kind.PLACE, POINTS[i // 16 % 6], STAKE) for i in range(each)
    ]
    contents: list[list[Operation]] = [[CreateSession(CRAPS)] * 16, sit, *[place] * BLOCKS]
    taken = []
    for height, operations in enumerate(contents, start=1):
        for player in range(1 if height == 1 else PLAYERS):
            seq = height if player == 0 else height - 1
            mempool.add(sign_action(keys[player].identity, chain_id, player, seq, operations))
        taken.append(timed_us(lambda: execution.build(base, height, height, height)))  # noqa: B023
        block = BlockHash(digest("bench", height.to_bytes(8, "big")))
        execution.adopt(block)
        execution.finalize(block)
        codes = {r.code for _, _, receipts in execution.final.result.actions for r in receipts}
        assert codes == {0}, codes
        base = block
    figures = summary("block", taken[2:])
    return {"block_operations": each * PLAYERS, **figures}


def measure_roots() -> dict[str, object]:
    """Bet once a block at a table of 1,000 players, ten of them in each of 100 sessions."""
    state = GameState.genesis(PARAMS, MANY_PLAYERS)
    state.begin_block(1, 1, can_close=False)
    for session in range(MANY_PLAYERS // 10):
        do(state, 0, CreateSession(CRAPS))
        for player in range(10 * session, 10 * session + 10):
            do(state, player, Sit(session))
    forks, roots = [], []
    for i in range(ROOTS):
        state.accounts_root(), state.sessions_root()
        start = time.perf_counter_ns()
        state = state.fork()
        forks.append((time.perf_counter_ns() - start) / 1000)
        state.begin_block(i + 2, i + 2, can_close=False)
        player = i * 37 % MANY_PLAYERS
        do(state, player, PlaceBet(player // 10, Kind.PLACE, POINTS[i % len(POINTS)], STAKE))
        roots.append(timed_us(lambda: (state.accounts_root(), state.sessions_root())))  # noqa: B023
    return {"players": MANY_PLAYERS, **summary("fork", forks), **summary("root", roots)}


def measure() -> dict[str, object]:
    """Return all figures."""
    gc.collect()
    gc.freeze()
    figures = {**measure_bets(), **measure_blocks(), **measure_roots()}
    bet_p99_ms = float(figures["bet_p99_us"]) / 1000  # type: ignore[arg-type]
    return {
        "benchmark": "runtime",
        **rounded(figures),
        "bet_p99_ms_max": BET_P99_MS_MAX,
        "holds": bet_p99_ms < BET_P99_MS_MAX,
    }


def show(result: dict[str, Any]) -> str:
    """Return the figures for people."""
    lines = [f"{'':34}{'p50 us':>10}{'p99 us':>10}"]
    for name, what in (
        ("bet", "one accepted bet"),
        ("take_down", "taking it down"),
        ("create_session", f"creating one of {result['sessions']} sessions"),
        ("block", f"a block of {result['block_operations']} operations"),
        ("fork", f"forking a state of {result['players']} players"),
        ("root", "its roots after one bet"),
    ):
        lines.append(f"{what:34}{result[f'{name}_p50_us']:>10.4g}{result[f'{name}_p99_us']:>10.4g}")
    bar = "below" if result["holds"] else "NOT below"
    return "\n".join([*lines, f"one bet is {bar} {result['bet_p99_ms_max']} ms at p99"])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.runtime", description="What rules cost.")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    result = measure()
    print(json.dumps(result, indent=2) if arguments.json else show(result))


if __name__ == "__main__":
    main()
