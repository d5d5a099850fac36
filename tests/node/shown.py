"""A table that played and can be shown to strangers: a bet on it proved, and that proof's parts."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec
import pytest

from consensus.encoding import decode_as, encode
from consensus.messages import Body, Header, Number, body_leaves, frame
from consensus.signing import verify
from consensus.validators import ValidatorIndex
from netsim.invariants import ViolatedError
from netsim.playing import PlayingTable
from node.descriptor import Table
from node.errors import OperatorError
from node.game.craps.bets import Kind
from node.game.games import CRAPS
from node.game.operations import CreateSession, Leave, PlaceBet, Ready, Roll, Sit
from node.game.receipts import Code, RollResult
from node.game.rules import BetKey
from node.membership import EPOCH_MS_MIN, SetVote
from node.mempool import AnyOperation, sign_action
from node.proof import MAGIC, BetPart, Bundle, RollPart, check_bundle, row_of
from node.prover import PlacedBet, list_bets, prove_bet, prove_roll
from node.replay import RefutedError, Step, chain_of_records, replay
from node.steps import Leaf, leaf_of

FIELD = BetKey(Kind.FIELD, 0)


Sent: TypeAlias = tuple[int, int, bytes]
"""Who sent a frame, to whom, and the frame."""


def hold_reveals(played: PlayingTable) -> Sequence[Sent]:
    """Let no reveal arrive from now on; return those that did not, as they come to be more."""
    reveals: list[Sent] = []

    def holds(sender: int, to: int, data: bytes) -> bool:
        is_reveal = data[0] == Number.REVEAL
        if is_reveal:
            reveals.append((sender, to, data))
        return is_reveal

    played.network.drops = holds
    return reveals


def leader_of(played: PlayingTable) -> int:
    """Return whose turn it is to propose."""
    replica = played.replicas[0]
    voters = replica.final.membership.voters
    return voters[replica.validators.leader(replica.engine.view)]


def release(played: PlayingTable, held: Sequence[Sent]) -> None:
    """Let all that was held for the leader reach it in one step, and the table come to rest."""
    leader, network = leader_of(played), played.network
    network.drops = None
    batch = [(ValidatorIndex(sender), data) for sender, to, data in held if to == leader]
    network.perform(leader, played.replicas[leader].receive(batch, network.clock(leader)))
    played.settle()


class Shown:
    """A table that played, one bet on the field of it proved, and that proof's parts."""

    def __init__(self) -> None:
        self.played = PlayingTable(4, seed=1, signatures="memo", described=True)
        self.played.play(3, limit_ms=300_000)
        self.played.ask(2, SetVote(0))
        self.played.network.run(self.played.network.now_ms + EPOCH_MS_MIN + 5_000)
        self.late_player, self.late_height = self.bet_where_a_roll_is_settled()
        while len(self.played.rolls) < 10:
            self.played.ask(1, PlaceBet(0, Kind.COME, 0, 10))
            self.played.play(len(self.played.rolls) + 1, limit_ms=300_000)
        self.numbers = range(5, len(self.played.rolls) - 1)
        self.play_another_game()
        self.played.settle()
        assert self.played.table is not None
        self.table: Table = self.played.table
        self.chain = chain_of_records(self.played.network.hosts[0].disk.records)
        self.steps: list[Step] = list(
            replay(self.played.terms, self.played._members, self.played._voters, self.chain)
        )
        # One that lay on the layout of two rolls in a row, each time anew, in the last epoch.
        self.placed = list(list_bets(self.table, self.played.terms, self.chain))
        self.number, self.player = next(
            (number, player)
            for number in self.numbers
            for player in range(4)
            if all(row_of(self.result(n), player, FIELD) for n in (number, number + 1))
        )
        self.data = self.bet_on(self.number, FIELD)
        self.bundle = decode_as(self.data[len(MAGIC) :], Bundle)
        self.roll, self.bet = self.bundle.rolls[0], self.bundle.bet[0]
        self.moved = self.moved_bet()
        placed = next(b for b in self.placed if (b.player, b.key) == (self.name_of(0), FIELD))
        self.first_bet = decode_as(self.prove(placed)[len(MAGIC) :], Bundle).bet[0]
        self.proofs = (self.data, self.bet_on(self.number + 1, FIELD))
        self.bets = [check_bundle(one, verify).bet for one in self.proofs]

    def bet_where_a_roll_is_settled(self) -> tuple[int, int]:
        """Let a block settle a roll and take more on a bet behind it; return whose and its height.

        A node tries its player's bets on the newest state and sends none while the dice are out.
        """
        played = self.played
        while sum(map(self.has_field_bet, range(4))) < 2:  # one of them does not lead
            for player in range(4):
                played.submit(player, PlaceBet(0, Kind.FIELD, 0, 5))
            played.network.run(played.network.now_ms + 100)
        reveals = hold_reveals(played)
        with pytest.raises(ViolatedError):
            played.play(len(played.rolls) + 1, limit_ms=30_000)
        leader = leader_of(played)
        player = next(i for i in range(4) if i != leader and self.has_field_bet(i))
        action = sign_action(
            played._keys[player][1],
            played.chain_id,
            player,
            played.replicas[0].final.game.accounts[player].seq + 1,
            [PlaceBet(0, Kind.FIELD, 0, 5)],
        )
        release(played, (*reveals, (player, leader, frame(Number.ACTION, action.envelope))))
        settled = [result for result in played.results if result.rolls][-1]
        assert [who for who, _, _ in settled.actions] == [player]
        return player, settled.height

    def has_field_bet(self, player: int) -> bool:
        session = self.played.replicas[0].final.game.sessions[0]
        assert session is not None
        seat = session.seats[session.seat_of[player]] if player in session.seat_of else None
        return seat is not None and FIELD in seat.bets

    def play_another_game(self) -> None:
        """Throw the dice once in a second game while a bet lies in the first, and then there."""
        moves: list[tuple[int, AnyOperation]] = [
            (0, PlaceBet(0, Kind.FIELD, 0, 5)),
            (0, CreateSession(CRAPS)),
            (0, Sit(1)),
            (1, Sit(1)),
            (1, Leave(1)),
            (0, PlaceBet(1, Kind.PASS, 0, 10)),
            (0, PlaceBet(1, Kind.FIELD, 0, 5)),
            (0, Ready(1)),
            (0, Roll(1)),
        ]
        for player, operation in moves:
            receipt = self.played.ask(player, operation)
            assert receipt.code == Code.DONE, (operation, receipt)
        self.played.settle()
        assert self.played.rolls[-1].session == 1
        self.played.play(len(self.played.rolls) + 1, limit_ms=300_000)

    def prove(self, placed: PlacedBet) -> bytes:
        return prove_bet(self.table, self.played.terms, self.chain, placed.height, placed.index)

    def waited_bet(self) -> Bundle:
        """Return the proof of a bet with a roll that left it lying in front of the others."""
        for placed in self.placed:
            if placed.key == (Kind.PASS, 0):
                try:
                    bundle = decode_as(self.prove(placed)[len(MAGIC) :], Bundle)
                except OperatorError:
                    continue  # not decided yet
                number = decode_as(bundle.rolls[0].result.content, RollResult).number - 1
                if bundle.rolls[0].session.index or number < 2:
                    continue
                idle = self.roll_part(number)
                closed = decode_as(idle.close.header, Header)
                if closed.height > placed.height:
                    return but(bundle, rolls=(idle, *bundle.rolls))  # type: ignore[no-any-return]
        raise AssertionError("no bet lay for two rolls")

    def moved_bet(self) -> Bundle:
        """Return the proof of a come bet that one roll moved and a later one decided."""
        for placed in self.placed:
            if placed.key == (Kind.COME, 0):
                try:
                    bundle = decode_as(self.prove(placed)[len(MAGIC) :], Bundle)
                except OperatorError:
                    continue  # not decided yet
                if len(bundle.rolls) == 2:
                    return bundle
        raise AssertionError("no come bet moved and was decided")

    def name_of(self, player: int) -> str:
        return self.played._members[player].nickname

    def result(self, number: int) -> RollResult:
        return self.played.rolls[number - 1]

    def roll_part(self, number: int) -> RollPart:
        data = prove_roll(self.table, self.played.terms, self.chain, number, None)
        return decode_as(data[len(MAGIC) :], Bundle).rolls[0]

    def bet_on(self, number: int, key: BetKey) -> bytes:
        """Return the proof of the player's bet that this roll decided."""
        name = self.name_of(self.player)
        for placed in self.placed:
            if (placed.player, placed.key) != (name, key):
                continue
            data = self.prove(placed)
            proved = check_bundle(data, verify)
            if proved.rolls[-1].result.number == number:
                return data
        raise AssertionError(f"no such bet on roll {number}")

    def bet_part(self, number: int) -> BetPart:
        return decode_as(self.bet_on(number, FIELD)[len(MAGIC) :], Bundle).bet[0]

    def leaf(self, height: int, index: int) -> Leaf:
        """Return a leaf of a block's body."""
        final = self.chain.final(height)
        assert final is not None
        return leaf_of(body_leaves(decode_as(final.body, Body)), index)

    @property
    def settle_height(self) -> int:
        return next(
            s.header.height for s in self.steps if self.result(self.number) in s.state.result.rolls
        )

    @property
    def bet_step(self) -> Step:
        return next(s for s in self.steps if s.final.header == self.bet.block.header)


def but(record: Any, **changes: Any) -> Any:
    return msgspec.structs.replace(record, **changes)


def refuted(bundle: Bundle, match: str) -> None:
    with pytest.raises(RefutedError, match=match):
        check_bundle(MAGIC + encode(bundle), verify)
