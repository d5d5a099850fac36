"""Simulated craps tables: whole replicas, with players who sit, bet, are ready and throw."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from consensus.effects import Persist, SealLogged, Send
from consensus.encoding import Digest, decode_as, digest, encode
from consensus.messages import Body, Header, parse_frame
from consensus.signing import (
    Domain,
    PublicKey,
    Signer,
    SigningKey,
    Verify,
    key_id,
    sign_envelope,
    verify,
)
from consensus.validators import Validators
from netsim.fabric import Links
from netsim.host import Disk, Simulated
from netsim.invariants import Invariants, ViolatedError
from netsim.network import Network
from netsim.tables import LIVENESS_MS, Seat, StandInScheme
from node.descriptor import (
    Accept,
    Join,
    Member as JoiningMember,
    Table,
    build_descriptor,
    chain_id_of,
)
from node.effects import Answer, Played, Rebased, Submission
from node.epoch import EpochKeys, Floor
from node.execution import Terms
from node.game.craps.bets import Kind
from node.game.operations import CreateSession, PlaceBet, Ready, Roll, Sit
from node.game.params import GameParams, encode_params
from node.game.receipts import BlockResult, Receipt, RollResult
from node.membership import Admit, Member, founder
from node.mempool import AnyOperation
from node.replica import Replica, Setup

CHAIN_ID = digest("simulated", b"craps")
CRAPS = 1
THINK_MS = 400
"""How often a simulated player looks at the table."""
PARSED_MAX = 512
"""Frames of a table whose message is remembered: it goes to several nodes within moments."""

MakeNetwork: TypeAlias = Callable[
    [int, Callable[[int, Disk], Simulated], Callable[[int, object], None]], Network
]
"""Makes the network of so many hosts from what boots them and what observes their effects."""


def remembering(check: Verify) -> Verify:
    """Return a verifier that asks `check` once for each signature: many nodes share its memory."""
    known: dict[tuple[bytes, bytes, bytes], bool] = {}

    def remembered(key: PublicKey, message: bytes, signature: bytes, /) -> bool:
        name = (key, message, signature)
        verdict = known.get(name)
        if verdict is None:
            verdict = known[name] = check(key, message, signature)
        return verdict

    return remembered


def _seed(chain_id: bytes, purpose: str, index: int) -> bytes:
    return digest(purpose, chain_id + bytes((index,)))


class PlayingTable:
    """`n` players, all of them voters, at one table of craps."""

    def __init__(
        self,
        n: int,
        seed: int,
        *,
        links: Links | None = None,
        params: GameParams | None = None,
        signatures: str = "stand-in",
        newcomers: int = 0,
        chain_id: Digest = CHAIN_ID,
        adversaries: Mapping[int, Callable[[Seat], Simulated]] | None = None,
        damaged: Sequence[int] = (),
        make_network: MakeNetwork | None = None,
        begin: bool = True,
        described: bool = False,
    ) -> None:
        """Boot the table at virtual time 0, or at `begin`; `newcomers` are hosts that may join later.

        `adversaries` sit where honest nodes would. `damaged` hosts may lose what they signed and not know it, so
        they are not judged either. A table that is `described` has terms that everybody signed, so
        strangers can be shown them, and is named by them.
        """
        self._make_signer: Callable[[bytes], Signer] = SigningKey
        self.verify: Verify = verify
        if signatures == "stand-in":
            scheme = StandInScheme([])
            self._make_signer, self.verify = scheme.make, scheme.verify
        elif signatures == "memo":
            self.verify = remembering(verify)
        self._parse = functools.lru_cache(PARSED_MAX)(parse_frame)
        self._adversaries = dict(adversaries or {})
        self._make_members(chain_id, n, newcomers)
        self._voters = tuple(range(n))
        keys = tuple(PublicKey(member.consensus_key) for member in self._members)
        self.params = params or GameParams()
        self.table = self._describe(n) if described else None
        self.chain_id = chain_id if self.table is None else self.table.chain_id
        self._members_seen: tuple[Member, ...] = ()
        self.floors: dict[int, Floor] = {}
        """Hosts that boot with a disk which may have forgotten votes, and up to where."""
        self.replicas: list[Replica] = []
        self.answers: list[list[Answer]] = [[] for _ in self._keys]
        self.rebased: list[int] = []
        """Hosts that fetched a state, in order."""
        self.results: list[BlockResult] = []
        """What blocks did, in height order, as whoever played it first saw it."""
        self.validators = Validators(keys, self.chain_id)
        self.invariants = Invariants(
            self.validators,
            self.chain_id,
            self.verify,
            byzantine=sorted({*self._adversaries, *damaged}),
        )
        self.network = (
            make_network(len(self._keys), self._boot, self._observe)
            if make_network is not None
            else Network(seed, len(self._keys), self._boot, links=links, observe=self._observe)
        )
        self.replayed: Callable[[BlockResult, Header, Body], None] = lambda *_block: None
        """Called with a block that nobody had shown before the host that stored it restarted."""
        if begin:
            self.begin()

    def _make_members(self, chain_id: bytes, n: int, newcomers: int) -> None:
        make = self._make_signer
        pairs = [
            (make(_seed(chain_id, "vote", i)), make(_seed(chain_id, "player", i)))
            for i in range(n + newcomers)
        ]
        founders = sorted(pairs[:n], key=lambda pair: pair[0].public_key)
        self._keys = [*founders, *pairs[n:]]
        self._boxes = [_seed(chain_id, "box", i) for i in range(n + newcomers)]
        members = [
            founder(
                player.public_key,
                f"player {i}",
                vote.public_key,
                X25519PrivateKey.from_private_bytes(box).public_key().public_bytes_raw(),
                votes=True,
            )
            for i, ((vote, player), box) in enumerate(zip(self._keys, self._boxes, strict=True))
        ]
        self._members, self.newcomers = tuple(members[:n]), members[n:]

    def begin(self) -> None:
        """Boot every founder's host."""
        for index in range(len(self._members)):
            self.network.boot(index)

    def identity_of(self, index: int) -> bytes:
        """Return the identity key of a founder or newcomer."""
        return (*self._members, *self.newcomers)[index].identity

    def admission_of(self, index: int) -> Admit:
        """Return what a voter says to let a newcomer in."""
        member = self.newcomers[index - len(self._members)]
        asked = Join(
            bytes(16),
            JoiningMember(member.identity, member.consensus_key, member.box_key, member.nickname),
            (),
        )
        key = self._keys[index][1]
        return Admit(sign_envelope(key, Domain.JOIN, self.chain_id, encode(asked)))

    def approval_of(self, index: int) -> Admit:
        """Return the same in as few bytes as do: the identity once the request is proposed."""
        identity = self.identity_of(index)
        is_proposed = self.replicas[0].final.membership.proposed(identity) is not None
        return Admit(identity) if is_proposed else self.admission_of(index)

    @property
    def honest(self) -> list[int]:
        """The hosts with a replica that are judged, up or down."""
        return [i for i in range(len(self.replicas)) if i not in self.invariants.byzantine]

    def _describe(self, n: int) -> Table:
        seats = [
            JoiningMember(member.identity, member.consensus_key, member.box_key, member.nickname)
            for member in self._members
        ]
        descriptor = build_descriptor("simulated", bytes(16), seats, encode_params(self.params))
        chain_id = chain_id_of(descriptor)
        consent = encode(Accept(chain_id))
        accepts = tuple(
            sign_envelope(player, Domain.ACCEPT, chain_id, consent) for _, player in self._keys[:n]
        )
        return Table(descriptor, accepts, ((),) * n)

    @property
    def terms(self) -> Terms:
        """What all states of the table have in common."""
        return Terms(self.chain_id, self.params, self.verify)

    def _boot(self, index: int, disk: Disk) -> Simulated:
        vote, player = self._keys[index]
        setup = Setup(
            chain_id=self.chain_id,
            members=self._members,
            voters=self._voters,
            params=self.params,
            identity=player,
            keys=EpochKeys(vote, self._boxes[index]),
            make_signer=self._make_signer,
            verify=self.verify,
            parse=self._parse,
        )
        floor = self.floors.get(index, disk.floor)
        replica = Replica(setup, tuple(disk.records), disk.block, floor)
        self.replicas[index : index + 1] = [replica]
        self._note_epoch(replica)
        self.invariants.restarted(index, replica.engine.final.height, replica.final.root)
        if index not in self.invariants.byzantine:
            self._take_replayed(replica, disk)
        adversary = self._adversaries.get(index)
        if adversary is None:
            return replica
        return adversary(
            Seat(
                index=index,
                key=vote,
                player_key=player,
                validators=self.validators,
                verify=self.verify,
                node=replica,
                network=self.network,
                chain_id=self.chain_id,
                epoch=lambda: replica.final.membership.epoch,
            )
        )

    def _take_replayed(self, replica: Replica, disk: Disk) -> None:
        """Take results of blocks that a host had stored but, before its power failed, not shown."""
        for result in replica.take_replayed():
            if result.height == len(self.results) + 1:
                self.results.append(result)
                header, body = disk.block(self.invariants.hash_at(result.height)) or (b"", b"")
                self.replayed(result, decode_as(header, Header), decode_as(body, Body))

    def _note_epoch(self, replica: Replica) -> None:
        membership = replica.final.membership
        self.invariants.begins(membership.epoch, replica.validators, membership.voters)

    def _observe(self, host: int, effect: object) -> None:
        if isinstance(effect, Persist) and SealLogged in map(type, effect.records):
            self._note_epoch(self.replicas[host])
        self.invariants.observe(host, effect)
        if isinstance(effect, Send):  # nearly always
            return
        match effect:
            case Answer():
                self.answers[host].append(effect)
            case Played(height, result):
                self._look_at_members(host)
                if height == len(self.results) + 1:
                    self.results.append(result)
                elif self.results[height - 1] != result:
                    raise ViolatedError(f"G6 host {host} plays another result at {height}")
            case Rebased():
                self.rebased.append(host)
                self.network.at(self.network.now_ms + 1, lambda: self._begin_anew(host))
            case _:
                pass

    def _look_at_members(self, host: int) -> None:
        members = self.replicas[host].final.membership.members
        if members is not self._members_seen:
            self._members_seen = members
            for slot, member in enumerate(members):
                if member.cheated:
                    self.invariants.convicted(host, slot)

    def _begin_anew(self, host: int) -> None:
        """Let a host go on from a state that it fetched, as its journal has it."""
        if self.network.hosts[host].node is not None:
            self.network.crash(host)
            self.network.boot(host)

    @property
    def rolls(self) -> list[RollResult]:
        """Every settled roll, in order."""
        return [roll for result in self.results for roll in result.rolls]

    def up(self) -> list[Replica]:
        """Return the replicas of hosts that run."""
        hosts = zip(self.replicas, self.network.hosts, strict=True)
        return [replica for replica, host in hosts if host.node is not None]

    def submit(self, index: int, *operations: AnyOperation) -> None:
        """Let a player act; tickets are positions in the call."""
        if self.network.hosts[index].node is None:
            return
        batch = [Submission(ticket, one) for ticket, one in enumerate(operations)]
        effects = self.replicas[index].submit(batch, self.network.clock(index))
        self.network.perform(index, effects)

    def ask(self, index: int, operation: AnyOperation) -> Receipt:
        """Submit one operation, let time pass until it is answered, and return the receipt."""
        known = len(self.answers[index])
        self.submit(index, operation)
        limit_ms = self.network.now_ms + LIVENESS_MS
        while len(self.answers[index]) == known:
            if self.network.now_ms >= limit_ms:
                raise ViolatedError(f"L no answer to {operation} within {LIVENESS_MS} ms")
            self.network.run(self.network.now_ms + 10)
        return self.answers[index][-1].receipt

    def join(self, index: int) -> int:
        """Let the host of a newcomer in: voters approve it, its node starts with an empty disk."""
        member = self.newcomers[index - len(self._members)]
        for voter in self.replicas[0].final.membership.voters:
            if self.replicas[0].final.membership.slot_of(key_id(member.identity)) is None:
                self.ask(voter, self.approval_of(index))
        kid = key_id(member.identity)
        self._pass_until(lambda: self.replicas[0].final.membership.slot_of(kid) is not None)
        slot = self.replicas[0].final.membership.slot_of(kid)
        assert slot == index, f"slot {slot} for host {index}"
        self.network.boot(index)
        self._pass_until(lambda: self.replicas[index].player is not None)
        return slot

    def _pass_until(self, happened: Callable[[], bool]) -> None:
        limit_ms = self.network.now_ms + LIVENESS_MS
        while not happened():
            if self.network.now_ms >= limit_ms:
                raise ViolatedError(f"L a newcomer waits for {LIVENESS_MS} ms")
            self.network.run(self.network.now_ms + 100)

    def play(self, rolls: int, limit_ms: int) -> None:
        """Let everybody play until so many rolls are settled; raises `ViolatedError` if late."""
        limit_ms += self.network.now_ms
        while len(self.rolls) < rolls:
            if self.network.now_ms >= limit_ms:
                raise ViolatedError(f"L {len(self.rolls)} of {rolls} rolls in {limit_ms} ms")
            for index in range(len(self.replicas)):
                self.submit(index, *self._wishes(index))
            self.network.run(self.network.now_ms + THINK_MS)

    def _wishes(self, index: int) -> Sequence[AnyOperation]:
        replica = self.replicas[index]
        game = replica.final.game
        if replica.pending or replica.player is None:
            return ()
        if not game.sessions:
            return (CreateSession(CRAPS),) if index == 0 else ()
        session = game.sessions[0]
        assert session is not None, "nobody finishes the session"
        seat = session.seats[session.seat_of[index]] if index in session.seat_of else None
        if seat is None or seat.riding:
            return (Sit(0),)
        if game.thrower(0) == index and seat.bets:
            return (Roll(0),)
        bets = (PlaceBet(0, Kind.PASS, 0, 10), PlaceBet(0, Kind.FIELD, 0, 5))
        return (*bets, Ready(0)) if self.network.rng.random() < 0.5 else bets

    def settle(self) -> None:
        """Heal everything; all nodes reach one height and come to rest, or `ViolatedError`."""
        network = self.network
        network.links = Links()
        network.heal()
        for index, host in enumerate(network.hosts[: len(self.replicas)]):
            host.crash_after = None
            if host.node is None:
                network.boot(index)
        limit_ms = network.now_ms + LIVENESS_MS
        while not self._at_rest():
            if network.now_ms >= limit_ms:
                raise ViolatedError(f"L not at rest after {LIVENESS_MS} ms")
            network.run(network.now_ms + 500)

    def _at_rest(self) -> bool:
        finals = [replica.final for replica in self.replicas]
        return all(state.root == finals[0].root for state in finals) and not any(
            replica.engine.awake or replica.pending or replica.final.closed
            for replica in self.replicas
        )
