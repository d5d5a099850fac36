"""Beacon machines around one chain of beacon states, over a network that a test can spoil."""

import heapq
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from consensus.beacon import Beacon, BeaconContext, BeaconState, Settled
from consensus.beacon_items import DealCertificate, Opening
from consensus.dealing import BATCH, DealHeader, Dealing, LeafScheme, ack_payload
from consensus.effects import Effect, LogRecord, Now, Persist, Report, Send
from consensus.encoding import Digest, digest, encode
from consensus.evidence import Offence, OffenceKind, verify_evidence
from consensus.merkle import MerkleTree
from consensus.messages import Number, parse_frame
from consensus.signing import Domain, SigningKey, parse_envelope, sign_envelope, verify
from consensus.validators import ValidatorIndex, Validators, bitmap, quorum

DELAY_MS = 20
CHAIN = digest("chain", b"beacon tests")


@cache
def make_signers(n: int) -> list[SigningKey]:
    """Return the validators' keys in index order."""
    keys = [SigningKey(digest("signer", bytes((i,)))) for i in range(n)]
    return sorted(keys, key=lambda key: key.public_key)


def make_box_secrets(n: int) -> list[bytes]:
    return [digest("box", bytes((i,))) for i in range(n)]


def box_public(secret: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def make_context(n: int, chain_id: bytes = CHAIN, epoch: int = 0) -> BeaconContext:
    keys = tuple(signer.public_key for signer in make_signers(n))
    return BeaconContext(chain_id, epoch, Validators(keys, digest("lead", b"")), verify)


def spoil(dealing: Dealing, index: int, holder: int, share: bytes) -> None:
    """Make a dealer's trick of a dealing: one leaf commits to another share."""
    header = dealing.header
    rows = [list(row) for row in dealing.shares]
    rows[index][holder] = share
    scheme = LeafScheme.of(CHAIN, header.epoch, header.dealer, header.batch)
    dealing.shares = tuple(map(tuple, rows))
    dealing.leaves = tuple(
        tuple(scheme.leaf(k, j, share) for j, share in enumerate(row)) for k, row in enumerate(rows)
    )
    dealing._trees = [MerkleTree(row) for row in dealing.leaves]
    dealing._roots = [tree.root() for tree in dealing._trees]
    root = MerkleTree(dealing._roots).root()
    dealing.header = DealHeader(header.epoch, header.dealer, header.batch, BATCH, root)


def make_dealing(n: int, dealer: int, batch: int = 0, epoch: int = 0) -> Dealing:
    """Return a dealing as an honest dealer makes it; equal arguments, equal dealings."""
    entropy = digest("entropy", encode((n, dealer, batch, epoch)))
    return Dealing(CHAIN, epoch, dealer, batch, t=quorum(n), n=n, entropy=entropy)


def sign_deal(dealing: Dealing, n: int) -> bytes:
    signer = make_signers(n)[dealing.header.dealer]
    return sign_envelope(signer, Domain.DEAL, CHAIN, encode(dealing.header))


def sign_ack(dealing: Dealing, n: int, holder: int) -> bytes:
    signer = make_signers(n)[holder]
    envelope = sign_envelope(signer, Domain.ACK, CHAIN, ack_payload(dealing.header))
    return parse_envelope(envelope).signature


def certify(
    dealing: Dealing, n: int, ackers: Sequence[int], published: Sequence[int] = ()
) -> DealCertificate:
    """Return a certificate of these holders, whether they are enough or not."""
    return DealCertificate(
        1,
        sign_deal(dealing, n),
        bitmap(ackers, n),
        tuple(sign_ack(dealing, n, holder) for holder in ackers),
        bitmap(published, n),
        dealing.grid(published) if published else b"",
    )


def open_secret(dealing: Dealing, index: int, holders: Sequence[int]) -> Opening:
    """Return the opening of one secret by these holders."""
    n = len(dealing.shares[0])
    shares = b"".join(dealing.shares[index][holder] for holder in holders)
    path = b"".join(MerkleTree(dealing._roots).proof(index))
    return Opening(bitmap(holders, n), shares, path)


def condemn_secret(dealing: Dealing, index: int, holders: Sequence[int]) -> Opening:
    """Return the proof by these holders that the dealer shared no secret there."""
    good = open_secret(dealing, index, holders)
    tree = dealing._trees[index]
    fault = (tree.root(), *(b"".join(tree.proof(holder)) for holder in holders))
    return Opening(good.holders, good.shares, good.path, fault)


@dataclass
class Node:
    """One machine with its disk."""

    beacon: Beacon
    disk: list[LogRecord] = field(default_factory=list)
    alive: bool = True
    reports: list[Report] = field(default_factory=list)


class CrashError(Exception):
    """A test stops a node between two effects."""


Filter = Callable[[int, int, bytes], Sequence[bytes]]
"""From receiver, sender and frame to the frames that arrive."""


class Table:
    """The chain is one list of states that all nodes take as final when `block` makes one."""

    def __init__(
        self,
        n: int,
        seed: int = 1,
        *,
        wanted: bool = True,
        watch: Callable[[int, Effect], None] = lambda _node, _effect: None,
        spoil: Filter = lambda _to, _sender, frame: (frame,),
        jitter_ms: int = 0,
    ) -> None:
        self.n = n
        self.random = random.Random(seed)
        self.signers = make_signers(n)
        self.box_secrets = make_box_secrets(n)
        self.box_keys = tuple(map(box_public, self.box_secrets))
        self.context = make_context(n)
        self.state = BeaconState.genesis(self.context)
        self.hash: bytes = digest("block", b"genesis")
        self.height = 0
        self.now_ms = 1_000
        self.wanted = wanted
        self.settled: list[Settled] = []
        self.sent: list[tuple[int, int, bytes]] = []
        self.queue: list[tuple[int, int, int, int, bytes]] = []
        self.count = 0
        self.spoil = spoil
        """What arrives of a frame: nothing, itself, copies, another."""
        self.jitter_ms = jitter_ms
        self.watch = watch
        self.nodes = [Node(self._boot(i, ())) for i in range(n)]
        for i in range(n):
            self.finalize_at(i)

    @property
    def now(self) -> Now:
        return Now(self.now_ms, self.now_ms)

    def _boot(self, i: int, records: Sequence[LogRecord]) -> Beacon:
        return Beacon(
            make_context(self.n),
            ValidatorIndex(i),
            self.signers[i],
            self.box_secrets[i],
            self.box_keys,
            records,
        )

    # Nodes.

    def crash(self, i: int) -> None:
        self.nodes[i].alive = False

    def restart(self, i: int) -> None:
        node = self.nodes[i]
        node.beacon = self._boot(i, node.disk)
        node.alive = True
        self.finalize_at(i)

    def finalize_at(self, i: int) -> None:
        self.nodes[i].beacon.finalized(
            self.state.fork(), self.now, block=self.hash, wanted=self.wanted
        )
        self.perform(i)

    def perform(self, i: int) -> None:
        node = self.nodes[i]
        while node.alive:
            effects = node.beacon.advance(self.now)
            if not effects:
                break
            try:
                for effect in effects:
                    self.watch(i, effect)
                    self._perform_one(i, node, effect)
            except CrashError:
                node.alive = False

    def _perform_one(self, i: int, node: Node, effect: Effect) -> None:
        match effect:
            case Persist(records):
                node.disk.extend(records)
            case Send(to, frame):
                for j in range(self.n) if to is None else (to,):
                    if j != i:
                        self.sent.append((j, i, frame))
                        for copy in self.spoil(j, i, frame):
                            self.post(j, i, copy)
            case Report():
                node.reports.append(effect)
            case _:
                raise AssertionError(effect)

    # Network and time.

    def post(self, to: int, sender: int, frame: bytes) -> None:
        self.count += 1
        late = self.random.randrange(self.jitter_ms + 1)
        at = self.now_ms + DELAY_MS + late
        heapq.heappush(self.queue, (at, self.count, to, sender, frame))

    def run(self, ms: int = 200) -> None:
        """Deliver messages and deadlines for a while."""
        end_ms = self.now_ms + ms
        while True:
            due = [
                (node.beacon.deadline_ms, i)
                for i, node in enumerate(self.nodes)
                if node.alive and node.beacon.deadline_ms is not None
            ]
            at, i = min(((max(ms or 0, self.now_ms), i) for ms, i in due), default=(end_ms + 1, 0))
            if self.queue and self.queue[0][0] <= at:
                if self.queue[0][0] > end_ms:
                    break
                self.now_ms, _, to, sender, frame = heapq.heappop(self.queue)
                self.deliver(to, sender, frame)
                continue
            if at > end_ms:
                break
            self.now_ms = at
            self.perform(i)
        self.now_ms = end_ms

    def deliver(self, to: int, sender: int, frame: bytes) -> None:
        node = self.nodes[to]
        if node.alive:
            number, message = parse_frame(frame)
            node.beacon.receive(ValidatorIndex(sender), number, message, self.now)
            self.perform(to)

    # Blocks.

    def block(self, proposer: int | None = None, *, close: bool = False) -> None:
        """Make a block of what `proposer` (any live node by default) offers; all take it."""
        state = self.state.fork()
        state.bind(self.hash)
        live = [i for i in range(self.n) if self.nodes[i].alive]
        for i in live if proposer is None else (proposer,):
            for item in self.nodes[i].beacon.items(state):
                self.apply(state, item)
        self.height += 1
        if close:
            state.close(self.height)
        self.adopt(state)

    def apply(self, state: BeaconState, item: bytes) -> None:
        if item[1] == 1:
            assert state.add_certificate(item) is None
        else:
            settled = state.settle(item)
            assert isinstance(settled, Settled), settled
            self.settled.append(settled)

    def adopt(self, state: BeaconState, late: Sequence[int] = ()) -> None:
        """Make a state final; those who are `late` are not told."""
        assert BeaconState.from_leaves(self.context, state.leaves()).root() == state.root()
        self.state = state
        self.hash = digest("block", Digest(self.hash) + state.root())
        for i in range(self.n):
            if self.nodes[i].alive and i not in late:
                self.finalize_at(i)

    def stock(self) -> None:
        """Let everybody deal until nobody wants to."""
        for _ in range(4):
            self.run(600)
            self.block()

    def roll(self, ms: int = 200) -> Settled | None:
        """Close, let shares travel, and settle."""
        before = len(self.settled)
        self.block(close=True)
        self.run(ms)
        self.block()
        return self.settled[-1] if len(self.settled) > before else None


def proven(table: Table, node: int) -> list[tuple[int, OffenceKind]]:
    """Return whom a node can prove to have done what, by proofs that hold by themselves."""
    named = []
    for proof in table.nodes[node].beacon.evidence:
        offence = verify_evidence(proof, table.context.validators, CHAIN, 0, verify)
        assert isinstance(offence, Offence), offence
        named.append((int(offence.offender), offence.kind))
    return sorted(named)


def kinds(frames: Sequence[tuple[int, int, bytes]]) -> Counter[str]:
    return Counter(Number(frame[0]).name for _, _, frame in frames)


def no_reports(table: Table) -> None:
    assert [node.reports for node in table.nodes] == [[]] * table.n
