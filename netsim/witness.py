"""Watches one table for cheats that somebody honest could prove, and for what becomes of them.

Between the table and its two judges: `overheard` says when a node can prove something, `attribution`
whether the table named everybody whom it had to.
"""

from collections.abc import Sequence

from consensus.beacon_items import RollProof
from consensus.effects import Committed, EvidenceLogged, Persist, RollLogged, Send, SharesLogged
from consensus.encoding import decode_as
from consensus.messages import Number
from consensus.validators import ValidatorIndex
from netsim.attribution import OFFENCES, Attribution, Debt
from netsim.invariants import ViolatedError
from netsim.overheard import Charge, Overheard, Standing
from netsim.playing import PlayingTable
from node.effects import Played

_TELLING = frozenset({Number.DEAL, Number.REVEAL, Number.PROPOSAL, Number.VOTE})


class Witness:
    """Hears what the honest nodes of a table hear of its cheats."""

    def __init__(self, game: PlayingTable, cheats: Sequence[int], damaged: Sequence[int]) -> None:
        """Judge by the `damaged` no more than by the cheats themselves."""
        self._game = game
        self._cheats = frozenset(cheats)
        self._damaged = frozenset((*cheats, *damaged))
        self._attribution = Attribution()
        self._overheard = Overheard(game.chain_id, game.verify, game.invariants, sorted(cheats))
        self._condemned: dict[int, int] = {}  # dealers, and at which height the dice showed it
        if cheats:
            game.network.heard = self._hear

    def _hear(self, host: int, frames: Sequence[tuple[ValidatorIndex, bytes]]) -> None:
        """Look at what an honest node is told, just before it looks itself."""
        one = self._game.replicas[host]
        if host in self._damaged or not one.votes:
            return
        counts = [
            (sender, data)
            for sender, data in frames
            if sender in self._cheats or data[0] == Number.CERTIFICATE
        ]
        if not counts:
            return
        dice, engine = one.final.beacon, one.engine
        at = Standing(
            host=host,
            boot=self._game.network.hosts[host].boots,
            epoch=one.final.membership.epoch,
            view=engine.view,
            final_view=engine.final.view,
            next_batches=[dice.next_batch(dealer) for dealer in range(one.validators.n)],
            next_roll=dice.next_roll,
            pending=[roll.roll for roll in dice.pending],
        )
        for sender, data in counts:
            for charge in self._overheard.hears(at, sender, data):
                self._charge(host, at.epoch, charge)

    def watch(self, host: int, effect: object) -> None:
        """Look at what an honest node says, stores and takes as final, beside what it heard."""
        if not self._cheats or host in self._damaged:
            return
        boot = self._game.network.hosts[host].boots
        match effect:
            case Send(_, data) if data[0] in _TELLING:
                for charge in self._overheard.says(host, boot, data):
                    self._charge(host, self._game.replicas[host].final.membership.epoch, charge)
            case Persist(records):
                for record in records:
                    if isinstance(record, SharesLogged):
                        self._overheard.keeps(host, record)
                    elif isinstance(record, RollLogged):
                        self._condemn(record)
            case Committed(header=header, body=body):
                for charge in self._overheard.finalizes(host, boot, header.epoch, body):
                    self._charge(host, header.epoch, charge)
            case Played(height):
                self._look_at_condemned(host, height)
            case _:
                pass

    def _charge(self, host: int, epoch: int, charge: Charge) -> None:
        """Hold it against the table once the step is over and the power is still on."""
        network = self._game.network
        boot, node = network.hosts[host].boots, network.hosts[host]

        def owe() -> None:
            if node.node is not None and node.boots == boot:
                height = self._game.invariants.height
                self._attribution.owes(Debt(host, charge.offender, epoch, height, charge.of))

        network.at(network.now_ms + 1, owe)

    def _condemn(self, record: RollLogged) -> None:
        """A roll that opens to no secret of a dealer convicts it at once (PROTOCOL 11.5)."""
        proof = decode_as(record.proof, RollProof)
        for one in proof.secrets:
            if not one.secret:
                dealer, _ = self._game.invariants.keys_at(proof.epoch)[one.dealer]
                self._condemned.setdefault(dealer, record.height)

    def _look_at_condemned(self, host: int, height: int) -> None:
        members = self._game.replicas[host].final.membership.members
        for slot, since in self._condemned.items():
            if since <= height and not members[slot].cheated:
                raise ViolatedError(
                    f"attribution: the roll that host {host} settled at {since} has no secret of "
                    f"host {slot}, which is not convicted"
                )

    def settle(self, judged: int, up: Sequence[int], *, since: int) -> dict[str, int]:
        """Return the marks of a table at rest, as host `judged` has it; raises `ViolatedError`.

        Of the finders those count that are `up`. Everybody is healthy since height `since`.
        """
        state = self._game.replicas[judged].final
        paid = self._attribution.settle(
            [slot for slot, member in enumerate(state.membership.members) if member.cheated],
            [slot for slot in state.membership.voters if slot in up],
            state.membership.epoch,
            since=since,
            height=state.height,
            is_held=self._has_proof,
        )
        marks = {f"owed_{of}": sum(of in kinds for kinds in paid.values()) for of in OFFENCES}
        marks["owed_false_dealings"] = len(self._condemned)
        return {"cheats_owed": len(paid), **{name: many for name, many in marks.items() if many}}

    def _has_proof(self, debt: Debt) -> bool:
        records = self._game.network.hosts[debt.finder].disk.records
        return any(isinstance(r, EvidenceLogged) and r.slot == debt.offender for r in records)
