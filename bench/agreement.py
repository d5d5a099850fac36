"""What agreement costs beside its signatures, for 4 to 100 voters, without sockets and disk.

Whole replicas on the simulator's heap, with real Ed25519 and real rules; virtual links of 1 to 3 ms.
Three players submit one light operation after the other. Measured is the processor time inside the
replicas: decoding, votes, certificates, execution, roots. It is compared with the signature work
that nobody can avoid, at what a signature and a verification cost in the same run: a node signs two
votes a block and verifies those of others that complete two quorums; an action is signed once and
verified by everybody else. `blocks/s` is what one core does for all of them.

Catching up: a node joins with an empty disk behind a chain of blocks; its processor time a block.
"""

import argparse
import gc
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from bench.measures import rounded
from bench.table import PARAMS, make_keys
from consensus.effects import Now
from consensus.encoding import digest
from consensus.messages import Number
from consensus.signing import SigningKey, verify
from consensus.validators import ValidatorIndex, quorum
from netsim.chance import Spread
from netsim.fabric import Links
from netsim.host import Disk
from netsim.network import Network
from node.effects import Answer, Rebased, Submission
from node.epoch import EpochKeys
from node.game.games import CRAPS
from node.game.operations import CreateSession, Operation, Ready, Sit
from node.identity import Keys
from node.membership import founder
from node.replica import Replica, Setup

CHAIN_ID = digest("bench", b"agreement")
BLOCKS = {4: 300, 16: 100, 31: 50, 64: 20, 100: 10}
"""Blocks measured at each size: a second or two of signatures."""
WARM_BLOCKS = 10
PLAYERS = 3
"""Who submits, whatever the size: agreement is measured, not the rules."""
CATCH_UP_BLOCKS = 200
LINKS = Links(latency=Spread("uniform(1ms,3ms)"))
RATIO_MAX = 2.0
BARRED = (16, 31)
"""The bar: at these sizes replica time is at most `RATIO_MAX` times the signature time."""
PROBES = 2_000
PROBE_MESSAGE = bytes(150)
"""About what a vote signs."""


class Timed:
    """A replica that counts the processor time spent in it and keeps its player's answers."""

    def __init__(self, replica: Replica, *, serves_states: bool = True) -> None:
        """Wrap; nothing is counted yet. One that serves no states hears no requests for them."""
        self.replica = replica
        self._serves_states = serves_states
        self.cpu_ns = 0
        self.answers: list[Answer] = []
        self.rebased = False
        """Whether it has fetched a state: then it is over, and another begins from its disk."""

    @property
    def deadline_ms(self) -> int | None:
        """When the replica has something to do."""
        return self.replica.deadline_ms

    def start(self, now: Now) -> Sequence[object]:
        """Begin."""
        return self._timed(lambda: self.replica.start(now))

    def peer_up(self, peer: ValidatorIndex, now: Now) -> Sequence[object]:
        """Take note of a peer."""
        return self._timed(lambda: self.replica.peer_up(peer, now))

    def receive(self, batch: Sequence[tuple[ValidatorIndex, bytes]], now: Now) -> Sequence[object]:
        """Take frames."""
        if not self._serves_states:
            batch = [one for one in batch if one[1][0] != Number.GET_ANCHOR]
        return self._timed(lambda: self.replica.receive(batch, now))

    def entropy(self, data: bytes, now: Now) -> Sequence[object]:
        """Take entropy."""
        return self._timed(lambda: self.replica.entropy(data, now))

    def handle_deadline(self, now: Now) -> Sequence[object]:
        """Do what is due."""
        return self._timed(lambda: self.replica.handle_deadline(now))

    def submit(self, operations: Sequence[Operation], now: Now) -> Sequence[object]:
        """Take operations of the player."""
        batch = [Submission(ticket, each) for ticket, each in enumerate(operations)]
        return self._timed(lambda: self.replica.submit(batch, now))

    def _timed(self, call: Callable[[], Sequence[object]]) -> Sequence[object]:
        start_ns = time.process_time_ns()
        effects = call()
        self.cpu_ns += time.process_time_ns() - start_ns
        self.answers += [effect for effect in effects if isinstance(effect, Answer)]
        self.rebased = self.rebased or any(isinstance(effect, Rebased) for effect in effects)
        return effects


class Bench:
    """A table of `n` voters of which the first few play, one operation outstanding each."""

    def __init__(self, n: int, up: int) -> None:
        """Boot the first `up` of them and let the players sit down."""
        self.keys = make_keys(n)
        self.serves_states = True
        self.nodes: dict[int, Timed] = {}
        self.network = Network(1, n, self._boot, links=LINKS)
        for index in range(up):
            self.network.boot(index)
        self.ask(0, CreateSession(CRAPS))
        for player in range(PLAYERS):
            self.ask(player, Sit(0))

    def _boot(self, index: int, disk: Disk) -> Timed:
        replica = Replica(self.setup(self.keys[index]), tuple(disk.records), disk.block)
        node = Timed(replica, serves_states=self.serves_states)
        self.nodes[index] = node
        return node

    def setup(self, keys: Keys) -> Setup:
        """Return what the node with these keys starts with."""
        members = tuple(
            founder(
                each.identity.public_key,
                f"node {i}",
                each.consensus.public_key,
                each.dealing_public,
                votes=True,
            )
            for i, each in enumerate(self.keys)
        )
        return Setup(
            chain_id=CHAIN_ID,
            members=members,
            voters=tuple(range(len(members))),
            params=PARAMS,
            identity=keys.identity,
            keys=EpochKeys(keys.consensus, keys.dealing_secret),
            make_signer=SigningKey,
            verify=verify,
        )

    def submit(self, player: int, operation: Operation) -> None:
        """Let a player act."""
        effects = self.nodes[player].submit([operation], self.network.clock(player))
        self.network.perform(player, effects)

    def ask(self, player: int, operation: Operation) -> None:
        """Let a player act, and wait for the answer."""
        self.submit(player, operation)
        self.play(lambda: bool(self.nodes[player].answers))
        answers = self.nodes[player].answers
        assert [answer.receipt.code for answer in answers] == [0], answers
        answers.clear()

    def play(self, done: Callable[[], bool]) -> None:
        """Let virtual time pass."""
        while not done():
            self.network.run(self.network.now_ms + 1)

    def agree(self, blocks: int) -> None:
        """Let the players act, each again once it is answered, for so many blocks."""
        node = self.nodes[0].replica
        height = node.final.height + blocks
        idle = list(range(PLAYERS))
        while node.final.height < height:
            for player in idle:
                self.submit(player, Ready(0))
            self.network.run(self.network.now_ms + 1)
            idle = [player for player in range(PLAYERS) if self.nodes[player].answers]
            for player in idle:
                self.nodes[player].answers.clear()

    def cpu_ns(self) -> int:
        """Return the processor time of all replicas so far."""
        return sum(node.cpu_ns for node in self.nodes.values())


def probe_ed25519_ns() -> tuple[float, float]:
    """Return what a signature and a verification cost in processor time."""
    key = SigningKey(digest("bench", b"probe"))
    signature = key.sign(PROBE_MESSAGE)

    def cost_ns(call: Callable[[], object]) -> float:
        start_ns = time.process_time_ns()
        for _ in range(PROBES):
            call()
        return (time.process_time_ns() - start_ns) / PROBES

    sign_ns = cost_ns(lambda: key.sign(PROBE_MESSAGE))
    return sign_ns, cost_ns(lambda: verify(key.public_key, PROBE_MESSAGE, signature))


def unavoidable(n: int, actions_per_block: float) -> tuple[float, float]:
    """Return the signatures made and verified for one block by all nodes together."""
    return 2 * n + actions_per_block, 2 * n * (quorum(n) - 1) + actions_per_block * (n - 1)


def measure_size(n: int, blocks: int) -> dict[str, float]:
    """Return the figures of a table of `n` voters."""
    bench = Bench(n, up=n)
    bench.agree(WARM_BLOCKS)
    probe_before = probe_ed25519_ns()
    node, counts = bench.nodes[0].replica, bench.network.counts
    height, actions = node.final.height, sum(node.final.game.seqs())
    cpu_ns, sent, frames = bench.cpu_ns(), counts.bytes, counts.frames
    bench.agree(blocks)
    blocks = node.final.height - height
    actions_per_block = (sum(node.final.game.seqs()) - actions) / blocks
    block_ns = (bench.cpu_ns() - cpu_ns) / blocks
    signed, verified = unavoidable(n, actions_per_block)
    probe_after = probe_ed25519_ns()
    sign_ns, verify_ns = ((a + b) / 2 for a, b in zip(probe_before, probe_after, strict=True))
    signature_ns = signed * sign_ns + verified * verify_ns
    return {
        "voters": n,
        "blocks": blocks,
        "blocks_per_s": 1e9 / block_ns,
        "actions_per_block": actions_per_block,
        "cpu_ms_per_block": block_ns / 1e6,
        "cpu_ms_per_block_and_node": block_ns / n / 1e6,
        "ed25519_ms_per_block": signature_ns / 1e6,
        "ratio": block_ns / signature_ns,
        "frames_per_block": (counts.frames - frames) / blocks,
        "bytes_per_block": (counts.bytes - sent) / blocks,
        "sign_us": sign_ns / 1000,
        "verify_us": verify_ns / 1000,
    }


def measure_catch_up(n: int) -> dict[str, float]:
    """Return what it costs a node to fetch and execute the chain that the others made."""
    bench = Bench(n, up=n - 1)
    bench.agree(CATCH_UP_BLOCKS)
    height = bench.nodes[0].replica.final.height
    others_ns = bench.cpu_ns()
    bench.network.boot(n - 1)
    late = bench.nodes[n - 1]
    start_ms = bench.network.now_ms
    bench.play(lambda: late.replica.final.height >= height)
    return {
        "voters": n,
        "blocks": height,
        "blocks_per_s": height * 1e9 / late.cpu_ns,
        "cpu_ms_per_block": late.cpu_ns / height / 1e6,
        "serving_ms_per_block": (bench.cpu_ns() - others_ns - late.cpu_ns) / height / 1e6,
        "virtual_ms": bench.network.now_ms - start_ms,
    }


def measure(sizes: Sequence[int]) -> dict[str, Any]:
    """Measure everything that was asked for."""
    gc.collect()
    gc.freeze()
    found = [rounded(measure_size(n, BLOCKS.get(n, BLOCKS[100]))) for n in sizes]
    return {
        "benchmark": "agreement",
        "sizes": found,
        "catch_up": rounded(measure_catch_up(4)),
        "ratio_max": RATIO_MAX,
        "holds": all(each["ratio"] <= RATIO_MAX for each in found if each["voters"] in BARRED),  # type: ignore[operator]
    }


def show(result: dict[str, Any]) -> str:
    """Return the figures for people."""
    lines = [
        f"{'voters':>6}{'blocks/s':>10}{'cpu ms/block':>14}{'a node':>8}{'Ed25519 ms':>12}"
        f"{'ratio':>7}{'frames':>8}{'KB/block':>10}"
    ]
    lines += [
        f"{each['voters']:>6}{each['blocks_per_s']:>10.4g}{each['cpu_ms_per_block']:>14.4g}"
        f"{each['cpu_ms_per_block_and_node']:>8.3g}{each['ed25519_ms_per_block']:>12.4g}"
        f"{each['ratio']:>7.3g}{each['frames_per_block']:>8.0f}"
        f"{each['bytes_per_block'] / 1000:>10.4g}"
        for each in result["sizes"]
    ]
    late = result["catch_up"]
    lines += [
        f"catching up, {late['blocks']} blocks of {late['voters']} voters: "
        f"{late['blocks_per_s']:.4g} blocks/s of processor time, "
        f"{late['serving_ms_per_block']:.2g} ms a block at those who serve",
        f"ratio at {' and '.join(map(str, BARRED))} voters is "
        f"{'at most' if result['holds'] else 'NOT at most'} {result['ratio_max']:g}",
    ]
    return "\n".join(lines)


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.agreement", description="What agreement costs beside signatures."
    )
    parser.add_argument(
        "--voters", type=int, nargs="+", default=list(BLOCKS), help="sizes to measure, 4 or more"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    result = measure(arguments.voters)
    print(json.dumps(result, indent=2) if arguments.json else show(result))


if __name__ == "__main__":
    main()
