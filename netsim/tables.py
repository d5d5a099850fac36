"""Simulated tables: engines over counters, wired into a network with the invariants watching."""

from collections.abc import Callable, Sequence

from consensus.effects import LogRecord
from consensus.encoding import digest
from consensus.engine import Engine, Tip, genesis
from consensus.signing import SigningKey, verify
from consensus.validators import ValidatorIndex, Validators
from netsim.counter import Counter
from netsim.invariants import Invariants
from netsim.network import Links, Network

CHAIN_ID = digest("simulated", b"counter")


class CounterTable:
    """`n` validators that agree on a counter; increments reach every pool like gossip does."""

    def __init__(
        self,
        n: int,
        seed: int,
        *,
        links: Links | None = None,
        byzantine: tuple[int, ...] = (),
        engine: Callable[..., Engine] = Engine,
    ) -> None:
        """Boot the table at virtual time 0."""
        keys = [SigningKey(digest("key", bytes((i,)))) for i in range(n)]
        self.keys = sorted(keys, key=lambda key: key.public_key)
        self.validators = Validators(
            tuple(key.public_key for key in self.keys), digest("leaders", bytes(32))
        )
        self.counters = [Counter(genesis(CHAIN_ID).hash) for _ in range(n)]
        self.engines: list[Engine | None] = [None] * n
        self._engine = engine
        self.invariants = Invariants(
            {kid: i for i, kid in enumerate(self.validators.kids)}, byzantine
        )
        self.network = Network(seed, n, self._boot, links=links, observe=self.invariants.observe)

    def _boot(self, index: int, records: Sequence[LogRecord]) -> Engine:
        pool = self.counters[index].pool
        self.counters[index] = Counter(genesis(CHAIN_ID).hash)
        engine = self._engine(
            chain_id=CHAIN_ID,
            epoch=0,
            validators=self.validators,
            me=ValidatorIndex(index),
            signer=self.keys[index],
            verify=verify,
            app=self.counters[index],
            records=records,
        )
        for name in pool:
            self.counters[index].add(name)
        if records:
            self.invariants.restarted(index, engine.final.height)
        self.engines[index] = engine
        return engine

    def increment(self, name: bytes) -> None:
        """Offer an increment to every pool now, and wake the nodes that are up."""
        for index, host in enumerate(self.network.hosts):
            self.counters[index].add(name)
            engine = self.engines[index]
            if host.node is not None and engine is not None:
                self.network.perform(index, engine.wake(self.network.clock()))

    def live(self) -> list[Engine]:
        """Return the engines of hosts that are up."""
        return [
            engine
            for engine, host in zip(self.engines, self.network.hosts, strict=True)
            if engine is not None and host.node is engine
        ]

    def finals(self) -> list[Tip]:
        """Return the final tips of hosts that are up."""
        return [engine.final for engine in self.live()]

    def totals(self) -> list[int]:
        """Return the final count of each host that is up."""
        return [
            self.counters[index].total
            for index, host in enumerate(self.network.hosts)
            if host.node is not None
        ]

    def quiet(self) -> bool:
        """Say whether nobody has a reason to speak."""
        return not any(engine.awake for engine in self.live())
