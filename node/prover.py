"""Makes proofs for strangers from somebody's own chain, by executing it again (`node/proof.py`)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from consensus.beacon_items import SETTLE_KIND, Settle
from consensus.encoding import decode_as, encode
from consensus.light import FinalHeader, Trusted
from consensus.messages import Flag, body_leaves
from consensus.signing import parse_envelope
from node.descriptor import Table
from node.errors import OperatorError
from node.execution import (
    RECEIPTS_PER_LEAF,
    Terms,
    chain_leaf,
    kind_of,
    receipt_leaves,
)
from node.game.operations import PlaceBet
from node.game.receipts import Receipt, RollResult
from node.game.rules import BetKey
from node.membership import Member, founders_of
from node.mempool import ActionBody, AnyOperation
from node.proof import (
    MAGIC,
    BetPart,
    Bundle,
    RollPart,
    is_decided,
    row_of,
)
from node.replay import MissingError, Step, StoredChain, finality_of, replay
from node.steps import EpochStep, leaf_of, member_leaves, step_of


def prove_bet(table: Table, terms: Terms, chain: StoredChain, height: int, index: int) -> bytes:
    """Return the proof of the bet that operation `index` of block `height` placed.

    Raises:
        OperatorError: There is no such bet, or it is not decided yet.
        RefutedError: The chain does not hold.
        MissingError: The chain lacks something.
    """
    prover = _Prover(table, terms, chain)
    bet: BetPart | None = None
    key, slot = BetKey(0, 0), 0
    rolls: list[RollPart] = []
    for step in prover.steps():
        if step.header.height == height:
            bet, operation = prover.bet(step, index)
            key, slot = BetKey(operation.kind, operation.number), operation.session
        if bet is None:
            continue
        for result in step.state.result.rolls:
            row = row_of(result, bet.player, key)
            if row is None or result.session != slot or step.header.height == height:
                continue
            rolls.append(prover.roll(step, result))
            key = BetKey(row.new_kind, row.new_number)
            if is_decided(row):
                return prover.bundle(len(prover.epochs), bet, rolls)
    if bet is None:
        raise OperatorError(f"there is no block {height}; the newest is {chain.newest}")
    raise OperatorError(
        f"the bet {height}.{index} is not decided in the blocks up to {chain.newest}, or came down"
    )


def prove_roll(
    table: Table, terms: Terms, chain: StoredChain, number: int, serial: int | None
) -> bytes:
    """Return the proof of roll `number` of a game, by default of the newest that has one.

    Raises:
        OperatorError: There is no such roll.
        RefutedError: The chain does not hold.
        MissingError: The chain lacks something.
    """
    prover = _Prover(table, terms, chain)
    found: tuple[int, RollPart] | None = None
    for step in prover.steps():
        for result in step.state.result.rolls:
            if result.number == number and serial in (None, result.serial):
                found = (step.trusted.epoch, prover.roll(step, result))
    if found is None:
        raise OperatorError(f"there is no settled roll {number} in the blocks up to {chain.newest}")
    epochs, part = found
    return prover.bundle(epochs, None, [part])


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedBet:
    """A bet that the table took, by the name under which it can be proved."""

    height: int
    index: int
    player: str
    key: BetKey
    amount: int


def list_bets(table: Table, terms: Terms, chain: StoredChain) -> Iterator[PlacedBet]:
    """Yield every bet that the table took, in order.

    Raises:
        RefutedError: The chain does not hold.
        MissingError: The chain lacks something.
    """
    voters = table.descriptor.validators
    for step in replay(terms, founders_of(table.descriptor), voters, chain):
        index = 0
        for envelope, (player, _, receipts) in zip(
            step.body.actions, step.state.result.actions, strict=True
        ):
            operations = decode_as(parse_envelope(envelope).payload, ActionBody).operations
            for operation, receipt in zip(operations, receipts, strict=True):
                if isinstance(operation, PlaceBet) and not receipt.code:
                    yield PlacedBet(
                        height=step.header.height,
                        index=index,
                        player=step.state.membership.members[player].nickname,
                        key=BetKey(operation.kind, operation.number),
                        amount=operation.amount,
                    )
                index += 1


def find_receipt(
    table: Table, terms: Terms, chain: StoredChain, height: int, index: int
) -> tuple[Trusted, BetPart, Member]:
    """Return what proves the receipt of operation `index` of block `height`, and whose it is.

    With it comes the epoch of the block, whose voters the chain proves.

    Raises:
        OperatorError: There is no such operation.
        RefutedError: The chain does not hold.
        MissingError: The chain lacks something.
    """
    prover = _Prover(table, terms, chain)
    for step in prover.steps():
        if step.header.height == height:
            part, _, _ = prover.operation(step, index)
            return step.trusted, part, step.state.membership.members[part.player]
    raise OperatorError(f"there is no block {height}; the newest is {chain.newest}")


class _Prover:
    """One chain going by: the ends of epochs so far, and the blocks whose rolls are open."""

    def __init__(self, table: Table, terms: Terms, chain: StoredChain) -> None:
        self._table, self._terms, self._chain = table, terms, chain
        self._founders = founders_of(table.descriptor)
        self._closes: dict[int, Step] = {}
        self.epochs: list[EpochStep] = []

    def steps(self) -> Iterator[Step]:
        voters = self._table.descriptor.validators
        for step in replay(self._terms, self._founders, voters, self._chain):
            state, height = step.state, step.header.height
            if state.result.closed:
                self._closes[height] = step
            yield step
            waiting = [roll.height for roll in state.beacon.pending]
            self._closes = {at: one for at, one in self._closes.items() if at in waiting}
            if step.header.flags == Flag.SEAL:
                self.epochs.append(step_of(state.result, self._final(height)))

    def bundle(self, epochs: int, bet: BetPart | None, rolls: Sequence[RollPart]) -> bytes:
        table = self._table
        bundle = Bundle(
            table.descriptor,
            table.accepts,
            tuple(self.epochs[:epochs]),
            () if bet is None else (bet,),
            tuple(rolls),
        )
        return MAGIC + encode(bundle)

    def bet(self, step: Step, index: int) -> tuple[BetPart, PlaceBet]:
        """Return the part of the bet that an operation of this block placed; `OperatorError`."""
        part, operation, receipt = self.operation(step, index)
        height = step.header.height
        if not isinstance(operation, PlaceBet):
            what = type(operation).__name__
            raise OperatorError(f"operation {index} of block {height} is {what}, not a bet")
        if receipt.code:
            raise OperatorError(f"the table refused operation {index} of block {height}")
        return part, operation

    def operation(self, step: Step, index: int) -> tuple[BetPart, AnyOperation, Receipt]:
        """Return an operation of this block, its receipt, and the part that proves both."""
        height, at = step.header.height, index
        actions, number, first = step.state.result.actions, 0, 0
        while number < len(actions) and at >= (count := len(actions[number][2])):
            at, number, first = at - count, number + 1, first + -(-count // RECEIPTS_PER_LEAF)
        if number == len(actions):
            raise OperatorError(f"block {height} has no operation {index}")
        player, _, receipts = actions[number]
        envelope = parse_envelope(step.body.actions[number])
        operation = decode_as(envelope.payload, ActionBody).operations[at]
        late = player >= len(self._founders)
        part = BetPart(
            block=self._final(height),
            player=player,
            position=at,
            action=leaf_of(body_leaves(step.body), 1 + len(step.body.system) + number),
            receipt=leaf_of(receipt_leaves(step.state.result), first + at // RECEIPTS_PER_LEAF),
            identity=(member_leaves(step.state, (player,)),) if late else (),
        )
        return part, operation, receipts[at]

    def roll(self, step: Step, result: RollResult) -> RollPart:
        """Return the part of a roll that this block settled."""
        slot = result.session
        beacon_roll = next(roll for roll, games in step.before.closed.items() if slot in games)
        height = next(p.height for p in step.before.beacon.pending if p.roll == beacon_roll)
        state = self._closes[height].state
        games = state.game.leaves().sessions
        settles = [
            at
            for at, item in enumerate(step.body.system)
            if kind_of(item) == SETTLE_KIND and decode_as(item, Settle).roll == beacon_roll
        ]
        leaves = receipt_leaves(step.state.result)
        return RollPart(
            close=self._final(height),
            chain=chain_leaf(state.place, state.closed, state.game),
            members_root=state.membership.root(),
            accounts_root=state.game.accounts_root(),
            sessions_root=state.game.sessions_root(),
            session=leaf_of([leaf for leaf, _ in games], slot),
            seats=games[slot][1],
            beacon=state.beacon.leaves(),
            settle=self._final(step.header.height),
            item=leaf_of(body_leaves(step.body), 1 + settles[0]),
            result=leaf_of(leaves, leaves.index(encode(result))),
        )

    def _final(self, height: int) -> FinalHeader:
        proof = finality_of(self._chain, height)
        if proof is None:
            raise MissingError(f"no certificate here shows that block {height} is final")
        return proof
