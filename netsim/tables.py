"""Simulated tables: nodes wired into a network with the invariants watching."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol

from consensus.encoding import digest
from consensus.engine import Engine, Tip, genesis
from consensus.signing import PublicKey, Signer, SigningKey, Verify, verify
from consensus.validators import ValidatorIndex, Validators
from netsim.counter import Counter, CounterNode, root_of
from netsim.fabric import Links
from netsim.host import Disk, Simulated
from netsim.invariants import Invariants, ViolatedError
from netsim.network import Network

SEEN_MAX = 4_096
"""Signatures that are remembered as good: nodes check the same ones within moments."""
CHAIN_ID = digest("simulated", b"counter")
LIVENESS_MS = 400_000
"""What a healed table may take: the longest timer a few times over, as back-off has grown to it."""


class StandInKey:
    """A key whose signatures cost a hash: nobody who lacks the object can make them."""

    __slots__ = ("_secret", "public_key")

    def __init__(self, seed: bytes) -> None:
        """Derive the key from its seed."""
        self._secret = seed
        self.public_key = SigningKey(seed).public_key  # so that doors which admit keys let it in

    def sign(self, message: bytes) -> bytes:
        """Return a 64-byte tag of `message`."""
        return blake2b(message, key=self._secret).digest()


class StandInScheme:
    """Signatures for simulations: as long as Ed25519's, a hundred times as fast."""

    def __init__(self, keys: Sequence[StandInKey]) -> None:
        """Know the keys whose signatures can be checked."""
        self._keys = {key.public_key: key for key in keys}
        self._seen: dict[bytes, tuple[PublicKey, bytes]] = {}  # signatures that were good

    def make(self, seed: bytes) -> StandInKey:
        """Return the key of a seed, known from now on."""
        key = StandInKey(seed)
        self._keys[key.public_key] = key
        return key

    def verify(self, key: PublicKey, message: bytes, signature: bytes, /) -> bool:
        """Say whether `key` made `signature`."""
        if self._seen.get(signature) == (key, message):
            return True
        known = self._keys.get(key)
        is_good = known is not None and known.sign(message) == signature
        if is_good:
            if len(self._seen) >= SEEN_MAX:
                self._seen.clear()
            self._seen[signature] = key, message
        return is_good


class Agreeing(Simulated, Protocol):
    """A node whose agreement can be watched."""

    @property
    def engine(self) -> Engine:
        """The agreement."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """What an adversary gets: its key, an honest node to build on, and the world."""

    index: int
    key: Signer
    player_key: Signer | None = None
    validators: Validators
    verify: Verify
    node: Agreeing
    network: Network
    chain_id: bytes
    epoch: Callable[[], int] = lambda: 0


class CounterTable:
    """`n` validators that agree on a counter."""

    def __init__(
        self,
        n: int,
        seed: int,
        *,
        links: Links | None = None,
        adversaries: Mapping[int, Callable[[Seat], Simulated]] | None = None,
        ed25519: bool = False,
    ) -> None:
        """Boot the table at virtual time 0; `adversaries` take the place of honest nodes."""
        seeds = [digest("key", bytes((i,))) for i in range(n)]
        self.keys: list[Signer] = []
        self.verify: Verify
        if ed25519:
            self.keys += [SigningKey(one) for one in seeds]
            self.verify = verify
        else:
            stand_ins = [StandInKey(one) for one in seeds]
            self.keys += stand_ins
            self.verify = StandInScheme(stand_ins).verify
        self.keys.sort(key=lambda key: key.public_key)
        self.validators = Validators(
            tuple(key.public_key for key in self.keys), digest("leaders", bytes(32))
        )
        self._adversaries = dict(adversaries or {})
        self.byzantine = tuple(self._adversaries)
        self.nodes: list[CounterNode] = []
        self.invariants = Invariants(
            self.validators,
            CHAIN_ID,
            self.verify,
            byzantine=self.byzantine,
            root_of=lambda names: root_of(dict.fromkeys(names)),
        )
        self.network = Network(seed, n, self._boot, links=links, observe=self.invariants.observe)
        for index in range(n):
            self.network.boot(index)

    def _boot(self, index: int, disk: Disk) -> Simulated:
        def engine(app: Counter) -> Engine:
            return Engine(
                chain_id=CHAIN_ID,
                epoch=0,
                validators=self.validators,
                me=ValidatorIndex(index),
                signer=self.keys[index],
                verify=self.verify,
                app=app,
                records=tuple(disk.records),
                load_block=disk.block,
            )

        node = CounterNode(
            self.validators.kids[index], genesis(CHAIN_ID).hash, disk.records, engine
        )
        self.nodes[index : index + 1] = [node]
        self.invariants.restarted(index, node.engine.final.height, node.app.root)
        adversary = self._adversaries.get(index)
        if adversary is None:
            return node
        return adversary(
            Seat(
                index=index,
                key=self.keys[index],
                validators=self.validators,
                verify=self.verify,
                node=node,
                network=self.network,
                chain_id=CHAIN_ID,
            )
        )

    @property
    def honest(self) -> list[int]:
        """The hosts that follow the protocol, up or down."""
        return [i for i in range(self.validators.n) if i not in self.byzantine]

    def increment(self, name: bytes, at: int | None = None) -> None:
        """Give an increment to one honest host that is up, or to the one named if it is."""
        up = [i for i in self.honest if self.network.hosts[i].node is not None]
        if not up or (at is not None and at not in up):
            return
        if at is None:
            at = self.network.rng.choice(up)
        effects = self.nodes[at].increment(name, self.network.clock(at))
        self.network.perform(at, effects)

    def live(self) -> list[CounterNode]:
        """Return the honest nodes that are up."""
        return [self.nodes[i] for i in self.honest if self.network.hosts[i].node is not None]

    def finals(self) -> list[Tip]:
        """Return the final tips of honest nodes that are up."""
        return [node.engine.final for node in self.live()]

    def totals(self) -> list[int]:
        """Return the final count of each honest node that is up."""
        return [node.app.total for node in self.live()]

    def quiet(self) -> bool:
        """Say whether no honest node has a reason to speak."""
        return not any(node.engine.awake or node.app.pool for node in self.live())

    def crash_soon(self, index: int, effects: int, down_ms: int) -> None:
        """Cut the power of a host after so many of its effects, for a while."""
        host = self.network.hosts[index]
        if host.node is None:
            return
        host.crash_after = effects

        def back() -> None:
            if host.node is None:
                self.network.boot(index)
            host.crash_after = None

        self.network.at(self.network.now_ms + down_ms, back)

    def settle(self, broken: Sequence[int] = ()) -> None:
        """The liveness check: heal all but `broken`, and what they accepted becomes final in time.

        Raises:
            ViolatedError: Nodes are stuck, or do not come to rest.
        """
        network = self.network
        network.links = Links()
        network.heal()
        for index, host in enumerate(network.hosts):
            host.crash_after = None
            if index in broken:
                host.node = None
            elif host.node is None:
                network.boot(index)
        limit_ms = network.now_ms + LIVENESS_MS
        while network.now_ms < limit_ms and not self._at_rest():
            network.run(network.now_ms + 500)
        if not self._at_rest():
            raise ViolatedError(f"L not at rest after {LIVENESS_MS} ms: {self._stand()}")
        for index in self.honest:
            self.invariants.accused(index, self.nodes[index].engine.evidence)

    def _at_rest(self) -> bool:
        finals = self.finals()
        return self.quiet() and all(final == finals[0] for final in finals)

    def _stand(self) -> str:
        return "; ".join(
            f"{node.engine.me}: view {node.engine.view} final {node.engine.final.height} awake "
            f"{node.engine.awake} pool {len(node.app.pool)}"
            for node in self.live()
        )
