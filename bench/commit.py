"""How many bets a table agrees on, and how long one takes: beside PySyncObj in the same run.

N clients sit at the nodes, spread evenly, each with one operation outstanding: it places a bet and
takes it down again, over 16 sessions in which every player sits. Nobody rolls in the timed window
and refused operations are not counted. An operation is done when it is final at its node. Every node
is a process of its own with its own store, linked over loopback; every commit is synced.

PySyncObj replicates 100-byte operations to memory, unsigned and among friends: it is what a user of
Python would pick instead, not an equal. Figures are medians of the runs; nodes and clients share the
machine's cores.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.clients import joined
from bench.measures import medians, probe_fsync_ms, probe_verify_per_s, rounded
from bench.processes import free_ports, running

PYSYNCOBJ_NODES = 3
PYSYNCOBJ_VARIANTS: dict[str, dict[str, object]] = {
    "defaults": {},
    "unbatched, 1 ms ticks": {"appendEntriesUseBatch": False, "autoTickPeriod": 0.001},
    "batched every 2 ms": {"appendEntriesPeriod": 0.002, "autoTickPeriod": 0.001},
}
"""Its defaults wait 100 ms for a batch; the others are its best for few and for many clients."""
WARM_SECONDS = 1.0
"""Clients run this long before the window: links, caches and batches are then as they stay."""


def spread(clients: int, nodes: int) -> list[int]:
    """Return how many clients sit at each node."""
    return [clients // nodes + (i < clients % nodes) for i in range(nodes)]


def measure_table(nodes: int, clients: int, seconds: float, folder: Path) -> dict[str, float]:
    """Return the figures of one run of a new table."""
    fsync_before_ms = probe_fsync_ms(folder)
    verify_per_s = probe_verify_per_s()
    ports = free_ports(nodes)
    shares = spread(clients, nodes)
    configurations = [
        {
            "nodes": nodes,
            "me": me,
            "ports": ports,
            "clients": shares[me],
            "folder": str(folder / str(me)),
        }
        for me in range(nodes)
    ]
    with running("bench.commit_node", configurations) as processes:
        processes.phase("open")
        processes.phase("sit")
        figures = processes.phase("run", warm_s=WARM_SECONDS, seconds=seconds)
    result = joined(figures, seconds)
    operations = max(1, result.pop("operations"))
    fsync_ms = (fsync_before_ms + probe_fsync_ms(folder)) / 2
    return result | {
        "cpu_s_per_1000": _sum(figures, "cpu_s") * 1000 / operations,
        "frames_per_op": _sum(figures, "frames") / operations,
        "commits_per_op": _sum(figures, "commits") / operations,
        "signatures_per_op": (_sum(figures, "signed") + _sum(figures, "verified")) / operations,
        "signed_per_op": _sum(figures, "signed") / operations,
        "verified_per_op": _sum(figures, "verified") / operations,
        "blocks_per_s": figures[0]["blocks"] / seconds,
        "fsync_ms_p50": fsync_ms,
        "ed25519_verify_per_s": verify_per_s,
    }


def measure_pysyncobj(options: dict[str, object], clients: int, seconds: float) -> dict[str, float]:
    """Return the figures of one run of PySyncObj, each node in a process of its own."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(PYSYNCOBJ_NODES)]
    configurations = [
        {
            "me": me,
            "others": [address for address in addresses if address != me],
            "clients": count,
            "options": options,
        }
        for me, count in zip(addresses, spread(clients, PYSYNCOBJ_NODES), strict=True)
    ]
    with running("bench.pysyncobj_node", configurations) as processes:
        figures = processes.phase("run", warm_s=WARM_SECONDS, seconds=seconds)
    result = joined(figures, seconds)
    operations = max(1, result.pop("operations"))
    return result | {"cpu_s_per_1000": _sum(figures, "cpu_s") * 1000 / operations}


def _sum(figures: Sequence[dict[str, Any]], name: str) -> float:
    return sum(float(node[name]) for node in figures)


def measure(arguments: argparse.Namespace) -> dict[str, object]:
    """Run everything that was asked for; return it as it is printed."""
    runs: list[dict[str, float]] = []
    peer_runs: dict[str, list[dict[str, float]]] = {name: [] for name in PYSYNCOBJ_VARIANTS}
    for _ in range(arguments.runs):
        with tempfile.TemporaryDirectory(prefix="bitcraps-bench-", dir=arguments.dir) as folder:
            runs.append(
                measure_table(arguments.nodes, arguments.clients, arguments.seconds, Path(folder))
            )
        if arguments.peer == "pysyncobj":
            for name, options in PYSYNCOBJ_VARIANTS.items():
                found = measure_pysyncobj(options, arguments.clients, arguments.seconds)
                peer_runs[name].append(found)
    result: dict[str, object] = {
        "benchmark": "commit",
        "nodes": arguments.nodes,
        "clients": arguments.clients,
        "seconds": arguments.seconds,
        "runs": arguments.runs,
        **rounded(medians(runs)),
    }
    if arguments.peer:
        result["peers"] = [
            {
                "peer": "pysyncobj",
                "variant": name,
                "nodes": PYSYNCOBJ_NODES,
                **rounded(medians(found)),
            }
            for name, found in peer_runs.items()
        ]
    return result


def show(result: dict[str, Any]) -> str:
    """Return the figures as a table for people."""
    rows = [(f"BitCraps, {result['nodes']} nodes, signed, durable", result)]
    rows += [
        (f"PySyncObj, {peer['nodes']} nodes, {peer['variant']}", peer)
        for peer in result.get("peers", [])
    ]
    lines = [
        f"{result['clients']} clients, {result['seconds']:g} s, medians of {result['runs']} runs"
    ]
    lines += [f"{'':44}{'op/s':>10}{'p50 ms':>10}{'p99 ms':>10}{'cpu-s/1000':>12}"]
    lines += [
        f"{name:44}{row['ops_per_s']:>10,.0f}{row['p50_ms']:>10.2f}{row['p99_ms']:>10.2f}"
        f"{row['cpu_s_per_1000']:>12.4f}"
        for name, row in rows
    ]
    lines += [
        f"refused {result['refused']:g}; per operation: {result['frames_per_op']:.4g} frames, "
        f"{result['commits_per_op']:.4g} commits, {result['signatures_per_op']:.4g} signatures",
        f"this machine: fsync {result['fsync_ms_p50']:.2f} ms, "
        f"{result['ed25519_verify_per_s']:,.0f} Ed25519 verifications/s",
    ]
    return "\n".join(lines)


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.commit", description=__doc__.split("\n", 1)[0]
    )
    parser.add_argument("--nodes", type=int, default=4, help="nodes of the table, 1 or more")
    parser.add_argument("--clients", type=int, default=256, help="operations outstanding")
    parser.add_argument("--seconds", type=float, default=5.0, help="the timed window of each run")
    parser.add_argument("--runs", type=int, default=1, help="runs to take the medians of")
    parser.add_argument("--peer", choices=("pysyncobj",), help="measure this as well")
    parser.add_argument("--dir", help="where the stores lie; a disk, or nothing is durable")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    result = measure(arguments)
    print(json.dumps(result, indent=2) if arguments.json else show(result))


if __name__ == "__main__":
    main()
