"""What a stranger needs to check one bet or one roll, and how it is checked (PROTOCOL 9).

A bundle holds the table's terms, which the table's id is the hash of, and from there every step: the
voters of each epoch, the headers that a quorum made final, and of those blocks only the leaves that
matter, each with its path. The payouts are worked out anew from the rules in the terms and the bets
that lay on the layout when betting closed; the dice from the secrets that all dealers had committed
to before. No byte of it is believed: change one and nothing is proved.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import msgspec

from consensus.beacon_items import BeaconContext
from consensus.beacon_state import BeaconState
from consensus.encoding import Bytes32, DecodeError, Record, Uint, decode_as, digest
from consensus.light import FinalHeader, Trusted, check_final, trust_genesis
from consensus.merkle import merkle_root
from consensus.messages import Header, block_hash
from consensus.signing import Domain, PublicKey, Verify, parse_envelope, verify_envelope
from node.descriptor import Descriptor, Table, chain_id_of
from node.execution import Place
from node.game.games import load_games
from node.game.operations import PlaceBet
from node.game.params import GameParams, decode_params, problem_of_params
from node.game.receipts import DONE, BetResult, Receipt, RollResult
from node.game.rules import BetKey, GameRules
from node.game.session import GameSession, parse_session, seats_root_of
from node.game.treasury import bet_result
from node.membership import Member
from node.mempool import ActionBody
from node.replay import MissingError, RefutedError
from node.steps import EpochStep, Leaf, MemberLeaves, follow

MAGIC = b"bitcraps proof 2\n"
BUNDLE_BYTES_MAX = 8 << 20
EPOCHS_MAX = 4_096
ROLLS_MAX = 64
"""Rolls that one bet goes through with something done to it: most have one, a come bet two."""

_IMPOSSIBLE = (AssertionError, ArithmeticError, LookupError)
"""What the rules raise about a state that their own moves never lead to. Whoever makes up a table has
all its keys, and can sign any."""


class BetPart(Record, frozen=True):
    """A bet as the table took it: the signed action, the block with it, the receipt.

    `position` is that of the bet in its action. `identity` has the leaf of a player who came later;
    the terms name the others.
    """

    block: FinalHeader
    player: Uint
    position: Uint
    action: Leaf
    receipt: Leaf
    identity: Annotated[tuple[MemberLeaves, ...], msgspec.Meta(max_length=1)]


class RollPart(Record, frozen=True):
    """A roll: the layout and the dealings when betting closed, the opened secrets, the result.

    Of the state behind `close` there are the chain leaf, the roots of members and accounts, the
    session with all its seats, and the beacon's leaves; the item and the result are in `settle`.
    """

    close: FinalHeader
    chain: bytes
    members_root: Bytes32
    accounts_root: Bytes32
    sessions_root: Bytes32
    session: Leaf
    seats: tuple[bytes, ...]
    beacon: tuple[bytes, ...]
    settle: FinalHeader
    item: Leaf
    result: Leaf


class Bundle(Record, frozen=True):
    """A whole proof."""

    descriptor: Descriptor
    accepts: tuple[bytes, ...]
    epochs: Annotated[tuple[EpochStep, ...], msgspec.Meta(max_length=EPOCHS_MAX)]
    bet: Annotated[tuple[BetPart, ...], msgspec.Meta(max_length=1)]
    rolls: Annotated[tuple[RollPart, ...], msgspec.Meta(min_length=1, max_length=ROLLS_MAX)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvedRoll:
    """A roll as it was worked out here."""

    height: int
    result: RollResult
    session: GameSession


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvedBet:
    """A bet as it was taken, and what rolls did to it."""

    height: int
    name: str
    key: BetKey
    amount: int
    rows: tuple[BetResult, ...]

    @property
    def chips(self) -> int:
        """What the bet won (positive) or lost, all vig and rake counted."""
        return sum(row.profit - row.rake - row.lost - row.vig for row in self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proved:
    """What a bundle proves about which table."""

    table: Table
    rules: GameRules
    epochs: int
    rolls: tuple[ProvedRoll, ...]
    bet: ProvedBet | None


def check_bundle(data: bytes, verify: Verify) -> Proved:
    """Return what a bundle proves.

    Raises:
        RefutedError: Something in it is wrong.
        MissingError: It is no bundle, or not all of one.
    """
    if not data.startswith(MAGIC):
        raise MissingError("this is no proof of BitCraps, or one of another version than 2")
    try:
        bundle = decode_as(data[len(MAGIC) :], Bundle)
    except DecodeError as error:
        raise MissingError(f"the proof is cut off or damaged: {error}") from None
    try:
        return _Check(bundle, verify).all()
    except DecodeError as error:
        raise RefutedError(f"a part of the proof does not parse: {error}") from None
    except _IMPOSSIBLE as error:
        what = f"{type(error).__name__}: {error}"
        raise MissingError(
            f"the proof shows a state that the rules lead nowhere to: {what}"
        ) from None


def read_terms(descriptor: Descriptor) -> tuple[GameParams, Mapping[int, GameRules]]:
    """Return the terms of a table and its rules; `MissingError` if this version knows no such."""
    try:
        params = decode_params(descriptor.params)
    except DecodeError as error:
        raise MissingError(f"the terms of the table cannot be read: {error}") from None
    rules = load_games(params.rules)
    if isinstance(rules, str):
        raise MissingError(f"the rules of the table cannot be read: {rules}")
    if problem := problem_of_params(params, len(descriptor.members)):
        raise RefutedError(f"the table: {problem}")
    return params, rules


class _Check:
    """One bundle being checked; every method raises `RefutedError` or `DecodeError`."""

    def __init__(self, bundle: Bundle, verify: Verify) -> None:
        self._bundle = bundle
        self._verify = verify
        self._chain_id = chain_id_of(bundle.descriptor)
        self._params, self._rules = read_terms(bundle.descriptor)

    def all(self) -> Proved:
        bundle = self._bundle
        table = Table(bundle.descriptor, bundle.accepts, ((),) * len(bundle.descriptor.members))
        if problem := table.problem():
            raise RefutedError(f"the table: {problem}")
        self._epochs = self._prove_epochs()
        rolls = tuple(self._roll(part) for part in bundle.rolls)
        for one, other in pairwise(rolls):
            same = one.result.serial == other.result.serial
            if not same or other.result.number <= one.result.number:
                raise RefutedError("the rolls are not of one game, in order")
        bet = self._bet(bundle.bet[0], rolls) if bundle.bet else None
        if bet is None and len(rolls) != 1:
            raise RefutedError("more than one roll, and no bet that went through them")
        return Proved(
            table=table,
            rules=next(iter(self._rules.values())),
            epochs=len(self._epochs),
            rolls=rolls,
            bet=bet,
        )

    # Epochs and blocks.

    def _prove_epochs(self) -> list[Trusted]:
        descriptor = self._bundle.descriptor
        keys = sorted(descriptor.members[slot].consensus_key for slot in descriptor.validators)
        trusted = trust_genesis(self._chain_id, keys)
        assert isinstance(trusted, Trusted), "a table without a problem has voters"
        epochs = [trusted]
        for step in self._bundle.epochs:
            following = follow(epochs[-1], step, self._verify)
            if isinstance(following, str):
                raise RefutedError(following)
            epochs.append(following[0])
        return epochs

    def _final(self, proof: FinalHeader) -> tuple[Trusted, Header]:
        epoch = decode_as(proof.header, Header).epoch
        if epoch >= len(self._epochs):
            raise RefutedError(f"a block of epoch {epoch}, whose voters are not proved")
        header = check_final(self._epochs[epoch], proof, self._verify)
        if isinstance(header, str):
            raise RefutedError(header)
        return self._epochs[epoch], header

    # A roll.

    def _roll(self, part: RollPart) -> ProvedRoll:
        trusted, close = self._final(part.close)
        epoch, settle = self._final(part.settle)
        if epoch is not trusted or settle.height <= close.height:
            raise RefutedError(f"block {settle.height} does not settle what {close.height} closed")
        session = self._session(part, close)
        seed = self._seed(part, trusted, close, settle)
        if not part.result.is_under(settle.receipts_root):
            raise RefutedError(f"the result is not under the receipts of block {settle.height}")
        result = decode_as(part.result.content, RollResult)
        self._compare(part.session.index, session, seed, result)
        return ProvedRoll(height=settle.height, result=result, session=session)

    def _session(self, part: RollPart, close: Header) -> GameSession:
        """Return the session as it was when betting closed, proven by the state root."""
        leaf = part.session.content
        roots = part.members_root + part.accounts_root + part.sessions_root
        state = digest("state/chain", part.chain) + roots + merkle_root(part.beacon)
        if digest("state", state) != close.state_root:
            raise RefutedError(
                f"the table is not that under the state root of block {close.height}"
            )
        if not part.session.is_under(part.sessions_root):
            raise RefutedError(f"the game is not under the state root of block {close.height}")
        if merkle_root(part.seats) != seats_root_of(leaf):
            raise RefutedError("the seats are not those of the game when betting closed")
        return parse_session(self._rules, leaf, part.seats)

    def _seed(self, part: RollPart, trusted: Trusted, close: Header, settle: Header) -> bytes:
        """Return the seed of the roll that `close` fixed, from the secrets that `settle` opens."""
        _, closed, _ = decode_as(
            part.chain, tuple[Place, tuple[tuple[Uint, tuple[Uint, ...]], ...], bytes]
        )
        context = BeaconContext(self._chain_id, trusted.epoch, trusted.validators, self._verify)
        beacon = BeaconState.from_leaves(context, part.beacon)
        beacon.bind(block_hash(part.close.header))
        if not part.item.content.startswith(b"s") or not part.item.is_under(settle.body_hash):
            raise RefutedError(f"the opened secrets are not in block {settle.height}")
        settled = beacon.settle(part.item.content[1:])
        if isinstance(settled, str):
            raise RefutedError(f"the dice: {settled}")
        games = dict(closed).get(settled.roll, ())
        if part.session.index not in games:
            raise RefutedError(f"block {close.height} fixed another roll for this game")
        return settled.seed

    def _compare(self, slot: int, session: GameSession, seed: bytes, result: RollResult) -> None:
        """Hold a result against the dice and the pays that the rules give."""
        rules, number = session.rules, session.rolls + 1
        what = session.serial.to_bytes(8, "big") + number.to_bytes(8, "big")
        outcome, dice = rules.outcome(digest("dice", seed + what))
        place = (result.session, result.serial, result.number, result.board_before)
        if place != (slot, session.serial, number, session.board):
            raise RefutedError("the result is of another roll")
        if (result.outcome, result.dice) != (outcome, dice):
            raise RefutedError(f"the dice are {dice} by their proof, not {result.dice}")
        rows = tuple(
            bet_result(seat.player, row, self._params.rake_bp)
            for seat in session.seats
            if seat is not None
            for row in rules.settle(session.board, seat.bets, outcome)
        )
        if rows != result.bets or result.board != rules.advance(session.board, outcome)[0]:
            raise RefutedError(f"the pays of roll {number} are not those of the rules")

    # A bet.

    def _bet(self, part: BetPart, rolls: Sequence[ProvedRoll]) -> ProvedBet:
        _, header = self._final(part.block)
        where = f"block {header.height}"
        name, bet = self._placed(part, header, where)
        key = first = BetKey(bet.kind, bet.number)
        rows: list[BetResult] = []
        for roll in rolls:
            seats = [seat for seat in roll.session.seats if seat and seat.player == part.player]
            lying = seats[0].bets.get(key) if seats else None
            if lying is None or roll.result.session != bet.session:
                raise RefutedError(f"the bet of {where} does not lie on the layout of the roll")
            if not rows and lying.id >> 16 > header.height:
                raise RefutedError(f"the bet on the layout is younger than that of {where}")
            if roll.height <= header.height:
                raise RefutedError(f"the roll came before the bet of {where}")
            row = row_of(roll.result, part.player, key)
            if row is None:
                raise RefutedError(f"roll {roll.result.number} did nothing to the bet")
            rows.append(row)
            key = BetKey(row.new_kind, row.new_number)
        if not is_decided(rows[-1]) or any(map(is_decided, rows[:-1])):
            raise RefutedError("the last of the rolls is not the one that decided the bet")
        return ProvedBet(
            height=header.height, name=name, key=first, amount=bet.amount, rows=tuple(rows)
        )

    def _placed(self, part: BetPart, header: Header, where: str) -> tuple[str, PlaceBet]:
        """Return who placed which bet: signed, in the block, and taken."""
        if not part.action.content.startswith(b"a") or not part.action.is_under(header.body_hash):
            raise RefutedError(f"the action is not in {where}")
        member = self._member(part, header)
        envelope = parse_envelope(part.action.content[1:])
        key = PublicKey(member.identity)
        if not verify_envelope(self._verify, key, Domain.ACTION, self._chain_id, envelope):
            raise RefutedError(f"the action was not signed by {member.nickname}")
        body = decode_as(envelope.payload, ActionBody)
        if not part.receipt.is_under(header.receipts_root):
            raise RefutedError(f"the receipt is not in {where}")
        player, seq, start, receipts = decode_as(
            part.receipt.content, tuple[Uint, Uint, Uint, tuple[Receipt, ...]]
        )
        at = part.position - start
        if (player, seq) != (part.player, body.seq) or not 0 <= at < len(receipts):
            raise RefutedError("the receipt is of another action")
        if receipts[at] != DONE:
            raise RefutedError(f"the table refused the bet with code {receipts[at].code}")
        operation = body.operations[part.position : part.position + 1]
        if not operation or not isinstance(operation[0], PlaceBet):
            raise RefutedError("the operation places no bet")
        return member.nickname, operation[0]

    def _member(self, part: BetPart, header: Header) -> Member:
        founders = self._bundle.descriptor.members
        if not part.identity:
            if part.player >= len(founders):
                raise RefutedError(f"nothing proves who player {part.player} is")
            founder = founders[part.player]
            return Member(founder.identity, founder.nickname, *(bytes(32),) * 4)
        [proof] = part.identity
        if why := proof.why_not_under(header):
            raise RefutedError(f"the player: {why}")
        if len(proof.leaves) != 1 or proof.leaves[0].index != part.player:
            raise RefutedError(f"nothing proves who player {part.player} is")
        return decode_as(proof.leaves[0].content, Member)


def row_of(result: RollResult, player: int, key: BetKey) -> BetResult | None:
    """Return what a roll did to one bet, None if nothing."""
    for row in result.bets:
        if (row.player, row.kind, row.number) == (player, *key):
            return row
    return None


def is_decided(row: BetResult) -> bool:
    """Say whether a roll won, lost or gave back a bet, and did not only move it."""
    return bool(row.lost or row.profit or row.returned)
