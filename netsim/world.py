"""One simulated table of a scenario: its players, its faults, and everything that watches it."""

import random
import traceback
from collections.abc import Callable, Sequence

from consensus.effects import (
    CertificateLogged,
    Committed,
    FinalLogged,
    Persist,
    RollLogged,
    Send,
)
from consensus.encoding import DecodeError, decode_as, digest
from consensus.messages import (
    Body,
    Certificate,
    Header,
    Number,
    Proposal,
    VoteKind,
    VotePayload,
    parse_frame,
)
from consensus.signing import Envelope, PublicKey, key_id, parse_envelope
from consensus.validators import ValidatorIndex
from netsim import scenario as s
from netsim.bounds import overgrown
from netsim.byzantine import adversary_of
from netsim.chance import US_PER_MS
from netsim.dialects import Dialect
from netsim.fabric import Fabric, Links, Mesh, Rates, pairs_between, pairs_of
from netsim.host import Disk, Simulated
from netsim.invariants import ViolatedError
from netsim.ledger import Ledger, close_named_by
from netsim.network import Network
from netsim.outcome import Ended, Violation
from netsim.players import Bettor, Player, operation_of
from netsim.playing import PlayingTable
from netsim.strikes import swallowing
from netsim.topology import Cities, Room
from netsim.trace import Trace
from netsim.witness import Witness
from node.effects import Played
from node.game.operations import Leave
from node.game.params import GameParams, JoinRule
from node.game.receipts import BlockResult
from node.membership import Retire, SetVote
from node.replica import Replica

LOOK_MS = 250
"""How often a table is asked whether it has reached what it must."""
RETRY_MS = 1_000
"""How often a member that may not leave yet asks again."""
RESTART_MS = 300
"""How long a node takes to start as another version."""
OBSERVED_MS = 1_000
"""How often bounds on memory are looked at."""
NOT_PROMISED = frozenset({"G1", "G2", "G3", "G4", "G5", "G6", "halt", "L"})
"""Rules that hold as long as no more than f cheat; all others hold whoever cheats."""
_TELLING = frozenset({Number.GET_BLOCKS, Number.GET_REVEAL, Number.REVEAL})
"""Messages of which a table takes note whoever sends them."""
MAIL_MAX = 200_000
"""Frames of one table under way at once: more is a storm of the protocol's own making."""


class TableRun:
    """A table from its first boot to its rest; see `advance`."""

    def __init__(self, scenario: s.Scenario, seed: int, table: int = 0, *, keep: int = 0) -> None:
        """Make the table of a resolved scenario; nothing happens before `advance`."""
        self.scenario = scenario
        self.table = table
        self.trace = Trace(keep)
        self.violation: Violation | None = None
        self.is_done = False
        self.game: PlayingTable
        self._name = f"{seed} {table}"
        self._rng = self._stream("world")
        self._adversaries = [
            entry for entry in scenario.byzantine if not entry.tables or table in entry.tables
        ]
        self._faults = [f for f in scenario.fault if not f.tables or table in f.tables]
        self._players: dict[int, Player | Bettor] = {}
        self._playing = True
        self._down: tuple[int, ...] = ()
        self._room: Room | None = None
        self._rolls_at_heal = self._height_at_heal = 0
        self._stopped_ms: int | None = None
        self._hindered = ""
        self._links: dict[int, Links] = {}
        self._said: dict[tuple[int, int, int, bool], bytes] = {}
        self._make(seed)
        self._guarded(self.game.begin)

    def _stream(self, purpose: str) -> random.Random:
        return random.Random(f"{purpose} {self._name}")

    def _make(self, seed: int) -> None:
        scenario = self.scenario
        params = GameParams(join_rule=JoinRule.ANY_VOTER)
        bad = {node: str(one.strategy) for one in self._adversaries for node in one.nodes}
        damaged = [n for fault in self._faults if fault.damages for n in s.nodes_named(fault)]
        self.damaged = sorted({*bad, *damaged})
        # Who lost its disk knows that it did, and never signs against what it forgot.
        misled = [
            n for fault in self._faults if isinstance(fault, s.Lying) for n in s.nodes_named(fault)
        ]
        chain_id = digest("simulated", f"{scenario.name} {seed} {self.table}".encode())
        self.game = PlayingTable(
            scenario.table,
            0,
            params=params,
            signatures=scenario.signatures,
            newcomers=scenario.nodes.newcomers,
            chain_id=chain_id,
            adversaries={
                node: adversary_of(strategy, self._stream(f"adversary {node}"), sorted(bad))
                for node, strategy in bad.items()
            },
            damaged=sorted(set(misled)),
            make_network=self._make_network,
            begin=False,
        )
        game = self.game
        identities = [PublicKey(game.identity_of(slot)) for slot in range(scenario.table)]
        game.replayed = self._post
        self.ledger = Ledger(chain_id, params, identities, game.verify)
        network = self.network
        self._witness = Witness(game, sorted(bad), self.damaged)
        for act in scenario.act:
            self.schedule_act(act)
        for fault in self._faults:
            self.schedule_fault(fault)
        network.at(scenario.heals_at.ms, self._heal)
        network.at(OBSERVED_MS, self._look_at_bounds)
        for slot in range(scenario.table):
            self._seat(slot)

    def _make_network(
        self,
        hosts: int,
        boot: Callable[[int, Disk], Simulated],
        observe: Callable[[int, object], None],
    ) -> Network:
        scenario, link = self.scenario, self.scenario.link
        rates = Rates(link.up, link.down, link.queue)
        rng = self._stream("network")
        fabric = Fabric(
            hosts, rng, links=links_of(link), topology=self._topology(hosts), rates=rates
        )

        def watch(host: int, effect: object) -> None:
            observe(host, effect)
            self._observe(host, effect)
            if self._adversaries:
                self._witness.watch(host, effect)

        network = Network(
            f"hosts {self._name}", hosts, boot, fabric=fabric, observe=watch, trace=self.trace
        )
        self.network = network
        drift = scenario.clocks.drift_ppm
        for host in network.hosts:
            host.clock.offset_ms = scenario.clocks.offset.draw(self._rng) // US_PER_MS
            host.clock.drift_ppm = self._rng.randint(-drift, drift) if drift else 0
            host.cost_us, host.write_us = scenario.nodes.cpu.us, scenario.nodes.write.us
        if self._room is not None:
            network.at(LOOK_MS, self._meet)
        return network

    def _topology(self, hosts: int) -> Mesh | Cities | Room:
        topology = self.scenario.topology
        match topology.kind:
            case "lan":
                return Mesh()
            case "cities":
                return Cities(hosts, topology.cities)
            case "room":
                self._room = Room(
                    hosts,
                    self._stream("room"),
                    area_m=topology.area_m,
                    range_m=topology.range_m,
                    speed_mps=topology.speed_mps,
                )
                return self._room

    # Watching.

    def _observe(self, host: int, effect: object) -> None:
        if isinstance(effect, Send):
            if effect.frame[0] in _TELLING or host in self.damaged:
                self._note_sent(host, effect.frame)
            return
        match effect:
            case Persist(records):
                for record in records:
                    if isinstance(record, RollLogged) and host not in self.damaged:
                        self.ledger.prove(host, record.session, record.number, record.proof)
                    elif isinstance(record, CertificateLogged) and record.kind == VoteKind.NULLIFY:
                        self.trace.mark("view_changes")
            case Committed() if effect.height == self.ledger.height + 1:
                self._next_block = effect
            case Played(height, result) if host not in self.damaged:
                if height == self.ledger.height + 1:
                    block = self._next_block
                    self._post(result, block.header, block.body)
                self._compare(host, height)
            case _:
                pass

    def _note_sent(self, host: int, data: bytes) -> None:
        match data[0]:
            case Number.VOTE | Number.PROPOSAL if host in self.damaged:
                self._note_vote(host, data)
            case Number.GET_BLOCKS:
                self.trace.mark("blocks_fetched")
            case Number.GET_REVEAL:
                self.trace.mark("reveals_asked")
            case Number.REVEAL if host not in self.damaged:
                self._check_reveal(host, data)
            case _:
                pass

    def _note_vote(self, host: int, data: bytes) -> None:
        """Count what a cheat signs that excludes something else it signed, whoever notices."""
        try:
            _, message = parse_frame(data)
            signed = parse_envelope(message.vote) if isinstance(message, Proposal) else message
            assert isinstance(signed, Envelope), "a vote or a proposal with one"
            vote = decode_as(signed.payload, VotePayload)
        except DecodeError:
            return  # noise that a cheat made of it
        if self.game.invariants.host_of(vote.epoch, signed.kid) != host:
            return  # another's, passed on or forged
        place = (host, vote.epoch, vote.view, vote.kind == VoteKind.NOTARIZE)
        if self._said.setdefault(place, vote.digest) != vote.digest:
            self.trace.mark("equivocations")

    def _post(self, result: BlockResult, header: Header, body: Body) -> None:
        parts = (body.parent_cert, body.skips, body.system, body.actions)
        if header.parent_view == 0 and header.epoch:
            self.ledger.new_epoch()
            self.trace.mark("epochs")
        voters = self.game.invariants.voters(header.epoch)
        hash_ = self.game.invariants.hash_at(header.height)
        self.ledger.post(hash_, header.time_ms, parts, result, voters=voters)
        if any(item[1] == 3 for item in body.system):
            self.trace.mark("evidence")
        self.trace.note(self.network.now_ms, -1, "final", f"{header.height} view {header.view}")

    def _compare(self, host: int, height: int) -> None:
        state = self.game.replicas[host].final
        if state.height == height == self.ledger.height:
            chips = [account.chips for account in state.game.accounts]
            self.ledger.compare(host, chips, state.game.bank)

    def _check_reveal(self, host: int, data: bytes) -> None:
        close = self.game.invariants.height_of(close_named_by(data))
        if close is None or close > self.game.invariants.stored_height(host):
            raise ViolatedError(f"reveal: host {host} shows shares before the close is final")

    def _look_at_bounds(self) -> None:
        under_way = self.network.under_way
        if under_way > MAIL_MAX:
            raise ViolatedError(f"bounded: {under_way} frames are under way; {MAIL_MAX} at most")
        for slot in self.game.honest:
            if self._is_up(slot) and (
                what := overgrown(self.game.replicas[slot], len(self.network.hosts))
            ):
                raise ViolatedError(f"bounded: at host {slot} {what}")
        self.network.at(self.network.now_ms + OBSERVED_MS, self._look_at_bounds)

    # Playing.

    def _seat(self, slot: int) -> None:
        workload = self.scenario.workload
        if workload.kind == "idle" or slot in self.damaged:
            return
        rng = self._stream(f"player {slot}")
        if workload.kind == "play":
            self._players[slot] = Player(slot, rng, workload)
            first_ms = 200 + int(rng.random() * workload.think.ms)
            self.network.at(first_ms, lambda: self._think(slot, workload.think.ms, rng))
        else:
            self._players[slot] = Bettor(slot)
            every_ms = round(1_000 * self.scenario.table / workload.bets_per_s)
            first_ms = 200 + round(slot * 1_000 / workload.bets_per_s)
            self.network.at(first_ms, lambda: self._think(slot, every_ms, None))

    def _think(self, slot: int, every_ms: int, rng: random.Random | None) -> None:
        spread = int(every_ms * (0.5 + rng.random())) if rng is not None else every_ms
        self.network.at(self.network.now_ms + spread, lambda: self._think(slot, every_ms, rng))
        player = self._players.get(slot)
        if not self._playing or player is None or not self._is_up(slot):
            return
        if self.network.hosts[slot].frozen_until_ms > self.network.now_ms:
            return
        wishes = player.wishes(self.game.replicas[slot])
        if wishes:
            self.trace.input(self.network.now_ms, slot, 9, len(wishes))
            self.game.submit(slot, *wishes)

    def schedule_act(self, act: s.Act) -> None:
        """Let a member do something at its time, which is to come."""
        self.network.first_at(act.at.ms, lambda: self._act(act))

    def _act(self, act: s.Act) -> None:
        if act.node in self.damaged or not self._is_up(act.node):
            return
        if self.network.hosts[act.node].frozen_until_ms > self.network.now_ms:
            return
        self.trace.note(self.network.now_ms, act.node, "act", act.does)
        self.game.submit(act.node, operation_of(act))

    # Faults.

    def schedule_fault(self, fault: s.AnyFault) -> None:
        """Let a fault begin at its time, which is to come."""
        self.network.first_at(fault.at.first_us // US_PER_MS, lambda: self._begin(fault))

    def _begin(self, fault: s.AnyFault) -> None:
        network, now_ms = self.network, self.network.now_ms
        for_ms = fault.duration.mean_us // US_PER_MS
        end_ms = now_ms + for_ms
        nodes = s.nodes_named(fault)
        self.trace.note(now_ms, nodes[0] if len(nodes) == 1 else -1, "fault", describe(fault))
        match fault:
            case s.Weather():
                self._change_weather(fault, end_ms)
            case s.Partition():
                pairs = pairs_between(fault.groups, one_way=fault.oneway)
                network.fabric.block(pairs)
                self.trace.mark("partitions")
                network.at(end_ms, lambda: network.mended(pairs))
            case s.Clog():
                out, into = fault.direction != "in", fault.direction != "out"
                pairs = pairs_of(nodes, len(network.hosts), out=out, into=into)
                network.fabric.clog(pairs, end_ms * US_PER_MS)
            case s.BlackHole():
                pairs = swallowing(fault, len(network.hosts))
                network.fabric.swallow(pairs, fault.mtu, end_ms * US_PER_MS)
            case s.Spike():
                pairs = pairs_of(nodes, len(network.hosts))
                network.fabric.spike(pairs, fault.delay.us, end_ms * US_PER_MS)
            case s.Squeeze():
                network.fabric.set_rates(nodes, Rates(fault.up, fault.down))
                network.at(end_ms, lambda: network.fabric.set_rates(nodes, None))
            case s.Join() | s.Retire():
                self._change_members(fault)
            case _:
                for node in nodes:
                    self._hit(node, fault, for_ms)

    def _change_weather(self, fault: s.Weather, end_ms: int) -> None:
        fabric = self.network.fabric
        fabric.set_links(
            Links(
                latency=fault.latency or self.scenario.link.latency,
                loss=fault.loss * 1000,
                duplication=fault.duplication * 1000,
                replay=fault.replay * 1000,
                reorder=fault.reorder * 1000,
                corruption=fault.corruption * 1000,
                stream=self.scenario.link.stream,
            )
        )
        self.network.at(end_ms, lambda: fabric.set_links(None))

    def _hit(self, node: int, fault: s.AnyFault, for_ms: int) -> None:
        network = self.network
        host, now_ms = network.hosts[node], network.now_ms
        end_ms = now_ms + for_ms
        match fault:
            case s.Crash(effects=effects):
                if host.node is not None:
                    host.crash_after = max(effects, 0)
                    network.at(end_ms, lambda: self._back(node))
            case s.Pause():
                host.frozen_until_ms = max(host.frozen_until_ms, end_ms)
                self.trace.mark("pauses")
            case s.Slow(cpu=cpu, write=write):
                host.cost_us, host.write_us = cpu.us, write.us
                network.at(end_ms, lambda: self._full_speed(node))
            case s.ClockStep(step=step):
                self._turn_clock(node, step.ms, end_ms)
            case s.Full(sync=sync):
                host.disk.refuses = "a sync failed" if sync else "no space left"
                self.trace.mark("disk_refusals")
                network.at(end_ms, lambda: self._has_space(node))
            case s.Lying(torn=torn):
                host.disk.lying = True
                network.at(end_ms, lambda: self._end_lies(node, torn=torn))
            case s.Rot():
                host.disk.rotten = True
            case s.Misdirected(lost=lost):
                stream = self._stream(f"misdirected {node} {now_ms}")
                host.disk.misdirect(stream, overwrites=not lost)
                network.at(end_ms, lambda: self._end_misdirection(node))
            case s.Version():
                dialect = Dialect(self._stream(f"dialect {node} {now_ms}"), fault)
                self._begin_version(node, dialect)
                network.at(end_ms, lambda: self._end_version(node, dialect))
            case s.Wipe():
                self._replace_disk(node, Disk(), end_ms)
            case s.Restore(age=age, snapshot=snapshot):
                self._replace_disk(node, self._backups(node, age.ms), end_ms)
                self.network.hosts[node].disk.is_copy = not snapshot
            case _:
                raise AssertionError(f"{fault} meets no host")

    def _back(self, node: int) -> None:
        host = self.network.hosts[node]
        host.crash_after = None
        if host.node is None and node not in self._down and not self.is_done:
            self.trace.mark("restarts")
            self.network.boot(node)

    def _full_speed(self, node: int) -> None:
        host, nodes = self.network.hosts[node], self.scenario.nodes
        host.cost_us, host.write_us = nodes.cpu.us, nodes.write.us

    def _turn_clock(self, node: int, step_ms: int, end_ms: int) -> None:
        network, clock = self.network, self.network.hosts[node].clock
        if not step_ms:
            clock.freeze(network.now_ms)
            network.at(end_ms, lambda: clock.thaw(network.now_ms))
            return

        def turn(by_ms: int) -> None:
            clock.offset_ms += by_ms

        turn(step_ms)
        network.at(end_ms, lambda: turn(-step_ms))

    def _has_space(self, node: int) -> None:
        self.network.hosts[node].disk.refuses = ""
        self._back(node)

    def _end_lies(self, node: int, *, torn: bool) -> None:
        host = self.network.hosts[node]
        host.disk.tears = torn
        if host.node is not None:
            before = len(host.disk.records)
            self.network.crash(node, "power, with a disk that lied")
            self.trace.mark("records_lost", before - len(host.disk.records))
        host.disk.lying = host.disk.tears = False
        self.network.at(self.network.now_ms + 500, lambda: self._back(node))

    def _end_misdirection(self, node: int) -> None:
        """Take the power; if the node then refuses to start, its operator moves the store away."""
        network, disk = self.network, self.network.hosts[node].disk
        if network.hosts[node].node is not None:
            network.crash(node, "power, with a disk that misdirects")
        disk.settle()
        self._back(node)
        if network.hosts[node].node is None and node not in self._down and not self.is_done:
            self.trace.mark("quarantines")
            self.trace.mark("records_lost", disk.begin_anew())
            self.game.invariants.lost_disk(node, disk.records)
            network.at(network.now_ms + 500, lambda: self._back(node))

    def _begin_version(self, node: int, dialect: Dialect | None) -> None:
        """Stop a node, and start it again as another version, or as this one."""
        network = self.network
        if network.hosts[node].node is not None:
            network.crash(node, "another version")
        network.dialects.pop(node, None)
        if dialect is not None:
            network.dialects[node] = dialect
            self.game.invariants.foreign[node] = None
        network.at(network.now_ms + RESTART_MS, lambda: self._back(node))

    def _end_version(self, node: int, dialect: Dialect) -> None:
        self.trace.mark("foreign", dialect.foreign)
        if self.network.dialects.get(node) is dialect:
            self._begin_version(node, None)

    def _backups(self, node: int, age_ms: int) -> Disk:
        """Return what the disk held `age_ms` ago, as far as its records' order tells."""
        disk = self.network.hosts[node].disk
        share = max(self.network.now_ms - age_ms, 0) / max(self.network.now_ms, 1)
        return disk.copy(int(len(disk.records) * share))

    def _replace_disk(self, node: int, backup: Disk, end_ms: int) -> None:
        host = self.network.hosts[node]
        before = len(host.disk.records)
        if host.node is not None:
            self.network.crash(node, "its folder is replaced")
        host.disk.restore(backup)
        self.game.invariants.lost_disk(node, host.disk.records)
        self.trace.mark("records_lost", before - len(host.disk.records))
        self.network.at(end_ms, lambda: self._back(node))

    def _change_members(self, fault: s.Join | s.Retire) -> None:
        game, up = self.game, [slot for slot in self.game.honest if self._is_up(slot)]
        if not up:
            return
        if isinstance(fault, s.Retire):
            for node in s.nodes_named(fault):
                self._retire(node)
            return
        index = len(game.replicas)
        if index < len(self.network.hosts):
            self.trace.mark("joins")
            game.submit(up[0], game.admission_of(index))
            self._let_in(index)

    def _retire(self, node: int) -> None:
        """Let a member leave the games, then the table, once its last bets are decided."""
        self._players.pop(node, None)
        if self._is_up(node) and not self.game.replicas[node].pending:
            if self.game.replicas[node].final.membership.members[node].left:
                self.trace.mark("retired")
                return
            self.game.submit(node, *self._leave_all(node), Retire())
        self.network.at(self.network.now_ms + RETRY_MS, lambda: self._retire(node))

    def _leave_all(self, node: int) -> Sequence[Leave]:
        sessions = self.game.replicas[node].final.game.sessions
        return [Leave(slot) for slot, one in enumerate(sessions) if one and node in one.seat_of]

    def _let_in(self, index: int) -> None:
        """Start the newcomer's node once it is admitted; then it asks for a vote and plays."""
        game, network = self.game, self.network
        kid = key_id(game.identity_of(index))
        if len(game.replicas) == index:
            admitted = any(
                game.replicas[slot].final.membership.slot_of(kid) == index for slot in game.honest
            )
            if admitted:
                network.boot(index)
        elif self._is_up(index) and game.replicas[index].player is not None:
            game.submit(index, SetVote(1))
            self._seat(index)
            return
        network.at(network.now_ms + LOOK_MS, lambda: self._let_in(index))

    def _meet(self) -> None:
        """Tell phones that come into each other's reach."""
        room, network = self._room, self.network
        assert room is not None, "only rooms move"
        for a, b in room.met(network.now_ms * US_PER_MS):
            network.link_up(a, b)
            network.link_up(b, a)
        network.at(network.now_ms + LOOK_MS, self._meet)

    # The end.

    def _is_up(self, node: int) -> bool:
        return self.network.hosts[node].node is not None

    def _heal(self) -> None:
        network = self.network
        self._rolls_at_heal = len(self.game.rolls)
        self._height_at_heal = self.ledger.height
        f_down = self.scenario.number(self.scenario.liveness.down)
        healthy = [slot for slot in range(self.scenario.table) if slot not in self.damaged]
        self._down = tuple(self._rng.sample(healthy, min(f_down, len(healthy))))
        self.trace.note(network.now_ms, -1, "heal", f"down {self._down}" if self._down else "")
        if held := network.fabric.hindrances(network.now_ms * US_PER_MS):
            self._hindered = f"; healed at {network.now_ms} ms: {held}"
        for a, b in network.fabric.heal():
            if (a, b) not in network.fabric.blocked:
                network.link_up(a, b)
                network.link_up(b, a)
        network.dialects.clear()
        for index, host in enumerate(network.hosts):
            host.crash_after = None
            host.frozen_until_ms = 0
            host.disk.refuses = ""
            host.disk.lying = False
            host.disk.settle()
            self._full_speed(index)
            if index in self._down:
                if host.node is not None:
                    network.crash(index, "for good")
            elif host.node is None and index < len(self.game.replicas):
                self._back(index)

    def advance(self, until_ms: int) -> None:
        """Let virtual time pass up to `until_ms`, or until the table is done."""
        while not self.is_done and self.network.now_ms < until_ms:
            step_ms = min(self.network.now_ms + LOOK_MS, until_ms)
            self._guarded(lambda: self._step(step_ms))  # noqa: B023  (called at once)

    def ended(self) -> Ended:
        """Return what the table has come to."""
        trace = self.trace
        return Ended(
            table=self.table,
            digest=trace.digest,
            events=trace.events,
            now_ms=self.network.now_ms,
            marks=trace.marks,
            violation=self.violation,
            done=self.is_done,
            throws=self.ledger.tally.throws,
            happenings=trace.happenings(),
        )

    def _guarded(self, what: Callable[[], None]) -> None:
        """Do it, and take whatever it raises as what it is: a rule that did not hold."""
        try:
            what()
        except Exception as error:  # noqa: BLE001  (a replica that raises is a finding)
            at_ms = self.network.now_ms
            text = str(error)
            rule = text.split(maxsplit=1)[0].rstrip(":") if text else "raised"
            if self.is_outnumbered and isinstance(error, ViolatedError) and rule in NOT_PROMISED:
                self._fork(text)
                return
            if not isinstance(error, ViolatedError):
                frames = traceback.extract_tb(error.__traceback__)[-1]
                rule = "raised"
                text = f"raised {type(error).__name__}: {error} ({frames.name}:{frames.lineno})"
            self.violation = Violation(rule, text, self.table, at_ms)
            self.trace.note(at_ms, -1, "violation", text)
            self.is_done = True

    @property
    def is_outnumbered(self) -> bool:
        """Whether the scenario is about one cheat more than agreement stands (PROTOCOL 7.1)."""
        return self.scenario.nodes.faulty == "f+1" and len(self.damaged) > self.scenario.f

    def _fork(self, text: str) -> None:
        """End a table that more than f cheats broke: whoever forked it has to be named, no other."""
        self.trace.note(self.network.now_ms, -1, "broken", text)
        self.is_done = True
        if text.startswith("L "):
            self.trace.mark("standstills")
            return
        self.trace.mark("forks")
        self._guarded(self._name_cheats)

    def _name_cheats(self) -> None:
        """Let the sides of a fork show each other their certificates, and see whom they name."""
        game = self.game
        stored = {
            record.certificate: None
            for slot in game.honest
            for record in self.network.hosts[slot].disk.records
            if isinstance(record, CertificateLogged | FinalLogged) and record.certificate
        }
        held = [decode_as(data, Certificate) for data in stored]
        named: dict[int, None] = {}
        for slot in game.honest:
            engine, now = game.replicas[slot].engine, self.network.clock(slot)
            for certificate in held:
                engine.receive(ValidatorIndex(slot), Number.CERTIFICATE, certificate, now)
            named.update(dict.fromkeys(game.invariants.accused(slot, engine.evidence)))
        self.trace.mark("cheats_named", len(named))
        if len(named) <= self.scenario.f:
            raise ViolatedError(
                f"attribution: {len(self.damaged)} cheats forked the table, evidence names "
                f"{sorted(named)}: {self.scenario.f + 1} at least have signed what nobody may"
            )

    def _step(self, until_ms: int) -> None:
        self.network.run(until_ms)
        if until_ms < self.scenario.duration.ms:
            return
        if self._stopped_ms is None:
            enough = self.scenario.liveness.rolls if self.scenario.workload.kind == "play" else 0
            if len(self.game.rolls) - self._rolls_at_heal >= enough:
                self._stopped_ms = until_ms
                self._playing = False
        elif self._at_rest():
            self._check_end()
            self.is_done = True
        late_ms = self.scenario.heals_at.ms + self.scenario.liveness.within.ms
        if not self.is_done and until_ms >= late_ms:
            done = len(self.game.rolls) - self._rolls_at_heal
            waits = f"{done} of {self.scenario.liveness.rolls} rolls"
            what = waits if self._stopped_ms is None else "does not come to rest"
            stand = f"{self._stand()}{self._hindered}"
            raise ViolatedError(f"L {what} {late_ms} ms after the start: {stand}")

    def _judged(self) -> list[Replica]:
        return [
            self.game.replicas[slot]
            for slot in self.game.honest
            if slot not in self._down and self._is_up(slot)
        ]

    def _at_rest(self) -> bool:
        replicas = self._judged()
        return all(one.final.root == replicas[0].final.root for one in replicas) and not any(
            one.engine.awake or one.pending or one.final.closed for one in replicas
        )

    def _stand(self) -> str:
        """Say what each node waits for."""
        return "; ".join(
            f"{slot}: " + (self._place(slot) if self._is_up(slot) else "down")
            for slot in self.game.honest
        )

    def _place(self, slot: int) -> str:
        one = self.game.replicas[slot]
        return (
            f"height {one.final.height} epoch {one.final.membership.epoch} view {one.engine.view}"
            f"{' awake' if one.engine.awake else ''}"
            f"{f' {len(one.pending)} pending' if one.pending else ''}"
            f"{f' rolls {sorted(one.final.closed)} out' if one.final.closed else ''}"
        )

    def _check_end(self) -> None:
        for slot in self.game.honest:
            if self._is_up(slot):
                self.game.invariants.accused(slot, self.game.replicas[slot].engine.evidence)
        tally, trace = self.ledger.tally, self.trace
        if len(self.damaged) <= self.scenario.f:
            for name, many in self._settle_debts().items():
                trace.mark(name, many)
        for name in ("rolls", "points_made", "seven_outs", "refusals", "dealings"):
            trace.mark(name, getattr(tally, name))
        trace.mark("bets_settled", tally.settled)
        trace.mark("crashes", self.network.counts.crashes)
        trace.mark("swallowed", self.network.fabric.tolls.swallowed)

    def _settle_debts(self) -> dict[str, int]:
        judged = next(n for n in self.game.honest if n not in self._down and self._is_up(n))
        up = [n for n in self.game.honest if self._is_up(n)]
        since = self._height_at_heal if self._faults else 0
        return self._witness.settle(judged, up, since=since)


def links_of(link: s.LinkPart) -> Links:
    """Return the terms of a scenario's links as the fabric wants them."""
    return Links(
        latency=link.latency,
        loss=link.loss * 1000,
        duplication=link.duplication * 1000,
        replay=link.replay * 1000,
        reorder=link.reorder * 1000,
        corruption=link.corruption * 1000,
        stream=link.stream,
    )


def describe(fault: s.AnyFault) -> str:
    """Return a fault as one line for people."""
    fields = s.plain(fault)
    skipped = {"kind", "at", "tables", "every", "until"}
    said = [f"{k} {v}" for k, v in fields.items() if k not in skipped and v not in (None, [], ())]
    return f"{fields['kind']} {', '.join(said)}"
