"""A second set of books: every final block is read again, and every chip counted again.

It believes signatures, receipts of refusals, and nothing else. What an operation did, what a throw
paid and which dice fell is worked out here from the bytes of the blocks and the proofs of the rolls,
by `netsim.rulebook` and SHA-256, and compared with what the replicas say.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from consensus import encoding
from consensus.signing import Domain, PublicKey, Verify, parse_envelope, verify_envelope
from netsim import rulebook, takings
from netsim.invariants import ViolatedError
from node.game.params import GameParams, JoinRule
from node.game.receipts import BlockResult, ReturnedBet, RollResult

CREATE, SIT, LEAVE, PLACE_BET, REDUCE, TAKE_DOWN, WORKING, READY, ROLL, PASS_DICE, TICK = range(
    1, 12
)
ADMIT = 20
DONE = 0
SECRETS_PER_DEALING = 64

Key = tuple[int, int]


@dataclass(slots=True)
class _Bet:
    stake: int = 0
    vig: int = 0
    called: int = 0


@dataclass(slots=True)
class _Session:
    serial: int
    point: int = 0
    rolls: int = 0
    active_ms: int = 0
    closed_at: int = 0
    """Height of the block that closed the betting, 0 while it is open."""
    seats: dict[int, dict[Key, _Bet]] = field(default_factory=dict)
    away: dict[int, None] = field(default_factory=dict)
    last_ms: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class Tally:
    """What the players did, for whoever asks whether a run proved anything."""

    bets: int = 0
    settled: int = 0
    rolls: int = 0
    points_made: int = 0
    seven_outs: int = 0
    refusals: int = 0
    dealings: int = 0
    throws: list[int] = field(default_factory=lambda: [0] * 36)
    """How often each of the outcomes fell, 1-1 first and 6-6 last."""
    bets_sums: dict[str, list[int]] = field(default_factory=dict)
    """What the bets that sweeps follow took in (`netsim.takings`)."""


class Ledger:
    """The books of one table, block by block."""

    def __init__(
        self,
        chain_id: bytes,
        params: GameParams,
        identities: Sequence[PublicKey],
        verify: Verify,
    ) -> None:
        """Begin at genesis; `identities` sign the players' actions, in player order."""
        self.chain_id, self._params, self._verify = chain_id, params, verify
        self.identities = list(identities)
        self.chips = [params.buy_in] * len(identities)
        self.seqs = [0] * len(identities)
        self.bank = params.bank
        self.tally = Tally()
        self.height = 0
        self._sessions: dict[int, _Session] = {}
        self._closes: dict[int, bytes] = {}  # height -> block hash
        self._proofs: dict[tuple[int, int], bytes] = {}
        self._dealt: dict[tuple[int, int], int] = {}  # dealer, batch -> secrets used
        self._used: dict[tuple[int, int, int, int], None] = {}
        self._approvals: dict[bytes, dict[int, None]] = {}
        self._voters = len(identities)
        self._dealers_at: dict[int, tuple[int, ...]] = {}  # close height -> who had to take part

    # Blocks.

    def post(
        self,
        block_hash: bytes,
        time_ms: int,
        body: Sequence[Any],
        result: BlockResult,
        *,
        voters: int,
    ) -> None:
        """Take the next final block: `body` as decoded, `result` as a replica reports it."""
        self.height += 1
        self._voters = voters
        height = self.height
        if (result.height, result.time_ms) != (height, time_ms):
            raise ViolatedError(f"books: block {height} is reported as {result.height}")
        _, _, system, actions = body
        rolls = iter(result.rolls)
        for item in system:
            self._take_item(item, rolls)
        if (left := next(rolls, None)) is not None:
            raise ViolatedError(
                f"dice: roll {left.number} at {height} is in no settlement of the block"
            )
        if len(actions) != len(result.actions):
            raise ViolatedError(
                f"books: {len(result.actions)} of {len(actions)} actions at {height}"
            )
        index = 0
        for envelope, (player, seq, receipts) in zip(actions, result.actions, strict=True):
            operations = self._open(envelope, player, seq)
            if len(operations) != len(receipts):
                raise ViolatedError(
                    f"books: {len(receipts)} receipts of {len(operations)} operations"
                )
            for operation, receipt in zip(operations, receipts, strict=True):
                self._apply(player, operation, receipt.code, receipt.values, index, time_ms)
                index += 1
        for returned in result.returned:
            self._return(returned)
        for slot in result.closed:
            self._sessions[slot].closed_at = height
        if result.closed:
            self._closes[height] = block_hash
            self._dealers_at[height] = self._usable()
        self._balance()

    def _open(self, envelope: bytes, player: int, seq: int) -> Sequence[Any]:
        """Read a signed action: its owner's signature, and the owner's next number."""
        parsed = parse_envelope(envelope)
        key = self.identities[player]
        if not verify_envelope(self._verify, key, Domain.ACTION, self.chain_id, parsed):
            raise ViolatedError(
                f"validity: an action at {self.height} that player {player} did not sign"
            )
        number, operations = _read(parsed.payload)
        self.seqs[player] += 1
        if number != seq or seq != self.seqs[player]:
            raise ViolatedError(
                f"spent-twice: action {number} of player {player} at {self.height}; "
                f"{self.seqs[player]} is the next one"
            )
        return list(operations)

    def _balance(self) -> None:
        layout = sum(
            bet.stake + bet.vig
            for session in self._sessions.values()
            for bets in session.seats.values()
            for bet in bets.values()
        )
        minted = self._params.bank + len(self.chips) * self._params.buy_in
        if min(self.chips) < 0 or self.bank < 0:
            raise ViolatedError(
                f"conservation: chips below zero at {self.height}: {self.chips} {self.bank}"
            )
        if sum(self.chips) + layout + self.bank != minted:
            raise ViolatedError(
                f"conservation: {sum(self.chips)} + {layout} + {self.bank} chips at {self.height}; "
                f"{minted} were minted"
            )

    def compare(self, host: int, chips: Sequence[int], bank: int) -> None:
        """Compare with what a host shows after the same block."""
        known = len(self.chips)
        if list(chips[:known]) != self.chips or bank != self.bank:
            raise ViolatedError(
                f"conservation: host {host} counts {list(chips)} and a bank of {bank} at {self.height}, "
                f"the ledger {self.chips} and {self.bank}"
            )

    # Operations.

    def _apply(  # noqa: PLR0917  (what a receipt is about)
        self,
        player: int,
        operation: Sequence[Any],
        code: int,
        values: Sequence[int],
        index: int,
        time_ms: int,
    ) -> None:
        if code != DONE:
            self.tally.refusals += 1
            return
        tag, *rest = operation
        if tag == CREATE:
            (slot,) = values
            self._sessions[slot] = _Session(self.height << 16 | index)
            return
        if tag == ADMIT:
            self._approve(player, rest[0])
            return
        session = self._sessions.get(rest[0]) if rest else None
        if session is None or tag > TICK:
            return
        self._touch(player, session, tag, time_ms)
        if session.closed_at and tag in {LEAVE, PLACE_BET, REDUCE, TAKE_DOWN, WORKING}:
            raise ViolatedError(f"late-bet: player {player} changes a bet while the dice are out")
        match tag:
            case k if k == SIT:
                session.seats.setdefault(player, {})
                session.away.pop(player, None)
            case k if k == PLACE_BET:
                self._bet(player, session, (rest[1], rest[2]), rest[3], time_ms)
            case k if k in {TAKE_DOWN, REDUCE}:
                amount = rest[3] if tag == REDUCE else None
                self._take(player, session, (rest[1], rest[2]), amount)
            case k if k == WORKING:
                session.seats[player][rest[1], rest[2]].called = rest[3]
            case k if k == LEAVE:
                self._leave(player, session)
            case k if k == TICK and values and values[0]:
                self._absent(session, values[0], time_ms)
            case _:
                pass

    def _touch(self, player: int, session: _Session, tag: int, time_ms: int) -> None:
        if tag != TICK:
            session.last_ms[player] = time_ms

    def _bet(self, player: int, session: _Session, key: Key, amount: int, time_ms: int) -> None:
        bets = session.seats[player]
        if not any(session.seats.values()):
            session.active_ms = time_ms
        bet = bets.setdefault(key, _Bet())
        flat_kind = rulebook.flat_of(key[0])
        flat = bets.get((flat_kind, key[1])) if flat_kind else None
        stake = bet.stake + amount
        if amount <= 0 or not rulebook.is_legal(
            *key, stake, session.point, flat.stake if flat else 0
        ):
            raise ViolatedError(
                f"validity: player {player} holds {stake} on {key} with point {session.point}"
            )
        vig = rulebook.commission(*key, stake)
        self.chips[player] -= amount + vig - bet.vig
        bet.stake, bet.vig = stake, vig
        self.tally.bets += 1

    def _take(self, player: int, session: _Session, key: Key, amount: int | None) -> None:
        bets = session.seats[player]
        if rulebook.is_contract(*key, session.point):
            raise ViolatedError(f"validity: player {player} takes a contract bet {key} down")
        bet = bets[key]
        if amount is not None and amount < bet.stake:
            vig = rulebook.commission(*key, bet.stake - amount)
            self.chips[player] += amount + bet.vig - vig
            bet.stake, bet.vig = bet.stake - amount, vig
            return
        self._give_back(player, bets, key)
        odds = rulebook.odds_behind(key[0])
        if odds is not None and (odds, key[1]) in bets:
            self._give_back(player, bets, (odds, key[1]))

    def _give_back(self, player: int, bets: dict[Key, _Bet], key: Key) -> None:
        bet = bets.pop(key)
        self.chips[player] += bet.stake + bet.vig

    def _leave(self, player: int, session: _Session) -> None:
        bets = session.seats[player]
        for key in [key for key in bets if not rulebook.is_contract(*key, session.point)]:
            self._give_back(player, bets, key)
        session.away[player] = None

    def _absent(self, session: _Session, count: int, time_ms: int) -> None:
        absent = [
            player
            for player in session.seats
            if player not in session.away
            and max(session.last_ms.get(player, 0), session.active_ms) + self._params.absent_ms
            <= time_ms
        ]
        if len(absent) != count:
            raise ViolatedError(
                f"books: {count} players count as absent at {self.height}, not {absent}"
            )
        for player in absent:
            self._leave(player, session)

    def _return(self, returned: ReturnedBet) -> None:
        bets = self._sessions[returned.session].seats[returned.player]
        bet = bets[returned.kind, returned.number]
        if bet.stake + bet.vig != returned.chips:
            raise ViolatedError(f"books: {returned} of a bet of {bet.stake} + {bet.vig}")
        self._give_back(returned.player, bets, (returned.kind, returned.number))

    def _approve(self, player: int, join: bytes) -> None:
        """Count an approval; with enough of them the newcomer has an account from here on."""
        approvers = self._approvals.setdefault(join, {})
        approvers[player] = None
        needed = 1 if self._params.join_rule == JoinRule.ANY_VOTER else self._voters // 2 + 1
        if len(approvers) < needed:
            return
        del self._approvals[join]
        _, (identity, *_), _ = _read(parse_envelope(join).payload)
        self.identities.append(identity)
        self.chips.append(self._params.buy_in)
        self.seqs.append(0)

    # Dice.

    def _take_item(self, item: bytes, rolls: Iterator[RollResult]) -> None:
        kind, *fields = _read(item)
        if kind == 1:
            _, dealer, batch, *_ = _read(parse_envelope(fields[0]).payload)
            self._dealt[dealer, batch] = 0
            self.tally.dealings += 1
        elif kind == 2:
            closed = [s for s in self._sessions.values() if s.closed_at]
            oldest = min((s.closed_at for s in closed), default=0)
            for session in [s for s in closed if s.closed_at == oldest]:
                roll = next(rolls, None)
                if roll is None or roll.serial != session.serial:
                    raise ViolatedError(f"dice: a settlement at {self.height} leaves a session out")
                self._pay(session, roll)

    def new_epoch(self) -> None:
        """The dealers of an epoch deal for it alone."""
        self._dealt.clear()

    def _usable(self) -> tuple[int, ...]:
        """Return the dealers that have a secret left: all of them have to take part."""
        left = {dealer for (dealer, _), used in self._dealt.items() if used < SECRETS_PER_DEALING}
        dealers = tuple(sorted(left))
        for dealer in dealers:
            batches = [b for (d, b), used in self._dealt.items() if d == dealer and used < 64]
            self._dealt[dealer, min(batches)] += 1
        return dealers

    def prove(self, host: int, serial: int, number: int, proof: bytes) -> None:
        """Take the proof of a roll that a host stores: everybody has the same one."""
        if self._proofs.setdefault((serial, number), proof) != proof:
            raise ViolatedError(f"dice: host {host} proves roll {number} otherwise than others")

    def _pay(self, session: _Session, roll: RollResult) -> None:
        session.rolls += 1
        if roll.number != session.rolls:
            raise ViolatedError(f"dice: roll {roll.number} is the {session.rolls}th of its session")
        self._check_dice(session, roll)
        first, second = roll.dice
        self.tally.throws[6 * first + second - 7] += 1
        dice, point = (first, second), session.point
        self._take_in(session, dice)
        rows = {(row.player, row.kind, row.number): row for row in roll.bets}
        for player, bets in session.seats.items():
            moved: list[tuple[Key, _Bet]] = []
            for key in list(bets):
                bet = bets[key]
                end = rulebook.fate(*key, bet.called, point, dice)
                row = rows.pop((player, *key), None)
                if (row is None) != (end.what == "stays"):
                    raise ViolatedError(f"payout: {key} of player {player} {end.what} on {dice}")
                if row is None:
                    continue
                self.tally.settled += end.what != "moves"
                profit = bet.stake * end.win // end.per if end.what == "wins" else 0
                if row.profit != profit or (bet.stake * end.win) % end.per:
                    raise ViolatedError(
                        f"payout: {bet.stake} on {key} pays {row.profit} on {dice} with point {point}; "
                        f"it is {profit}"
                    )
                self._move_chips(player, bets, key, bet, end, profit, moved)
            for key, bet in moved:
                there = bets.setdefault(key, _Bet())
                there.stake, there.vig = there.stake + bet.stake, there.vig + bet.vig
        if rows:
            raise ViolatedError(
                f"payout: roll {roll.number} pays bets that nobody has: {list(rows)}"
            )
        for returned in roll.returned:
            self._return(returned)
        session.point, seven_out = rulebook.next_point(point, sum(dice))
        session.closed_at = 0
        session.active_ms = max(session.active_ms, 0)
        self._count(point, session.point, seven_out=seven_out)

    def _take_in(self, session: _Session, dice: tuple[int, int]) -> None:
        """Count what a throw makes of the chips on the bets that sweeps follow."""
        for name, kind in takings.BETS.items():
            lying = [bets.get((kind, 0)) for bets in session.seats.values()]
            if chips := sum(bet.stake for bet in lying if bet is not None):
                sums = self.tally.bets_sums.setdefault(name, [0] * 4)
                more = takings.taking(name, session.point, dice, chips)
                sums[:] = [a + b for a, b in zip(sums, more, strict=True)]

    def _move_chips(  # noqa: PLR0917  (a bet, and what becomes of it)
        self,
        player: int,
        bets: dict[Key, _Bet],
        key: Key,
        bet: _Bet,
        end: rulebook.Fate,
        profit: int,
        moved: list[tuple[Key, _Bet]],
    ) -> None:
        match end.what:
            case "loses":
                self.bank += bet.stake + bet.vig
                del bets[key]
            case "pushes":
                self._give_back(player, bets, key)
            case "moves":
                moved.append(((key[0], end.to), bets.pop(key)))
            case _:
                rake = min(profit, profit if end.stays else bet.stake + profit)
                rake = rake * self._params.rake_bp // 10_000
                self.bank -= profit - rake - bet.vig
                self.chips[player] += profit - rake
                if end.stays:
                    self.chips[player] -= bet.vig  # the next one's, out of the win
                else:
                    self.chips[player] += bet.stake
                    del bets[key]

    def _count(self, before: int, after: int, *, seven_out: bool) -> None:
        self.tally.rolls += 1
        self.tally.seven_outs += seven_out
        self.tally.points_made += bool(before) and not after and not seven_out

    def _check_dice(self, session: _Session, roll: RollResult) -> None:
        """Work the dice out again from the proof, and the proof from what the close had fixed."""
        proof = self._proofs.get((session.serial, roll.number))
        if proof is None:
            raise ViolatedError(
                f"dice: roll {roll.number} of session {session.serial} has no proof"
            )
        chain_id, epoch, _, close_hash, secrets = _read(proof)
        height = session.closed_at
        if chain_id != self.chain_id or close_hash != self._closes[height]:
            raise ViolatedError(f"dice: roll {roll.number} is bound to another close than {height}")
        dealers = tuple(dealer for dealer, *_ in secrets)
        if dealers != self._dealers_at[height]:
            raise ViolatedError(
                f"dice: dealers {dealers} made roll {roll.number}; "
                f"{self._dealers_at[height]} were fixed by its close at {height}"
            )
        for dealer, batch, index, _ in secrets:
            place = (epoch, dealer, batch, index)
            if self._closed_together(height) == 1 and place in self._used:
                raise ViolatedError(f"dice: secret {index} of dealer {dealer} is used twice")
            self._used[place] = None
        if roll.dice != throw(proof, session.serial, roll.number):
            raise ViolatedError(
                f"dice: roll {roll.number} shows {roll.dice}, its proof gives others"
            )

    def _closed_together(self, height: int) -> int:
        return sum(session.closed_at == height for session in self._sessions.values())


def close_named_by(reveal: bytes) -> bytes:
    """Return the hash of the closing block that a REVEAL frame names."""
    _, _, close_hash, *_ = _read(parse_envelope(reveal[1:]).payload)
    return bytes(close_hash)


def _read(data: bytes) -> Any:  # noqa: ANN401  (whatever the bytes hold; a wrong guess raises)
    return encoding.decode(data)


def _hash(tag: bytes, data: bytes) -> bytes:
    return hashlib.sha256(bytes((len(tag),)) + tag + data).digest()


def throw(proof: bytes, serial: int, number: int) -> tuple[int, int]:
    """Return the two dice that the proof of a roll gives to one session's roll."""
    seed = _hash(b"roll", proof)
    seed = _hash(b"dice", seed + serial.to_bytes(8, "big") + number.to_bytes(8, "big"))
    stream, sides, block = seed, list[int](), 0
    while True:
        sides += [byte % 6 + 1 for byte in stream if byte < 252]
        if len(sides) >= 2:
            return sides[0], sides[1]
        block += 1
        stream = _hash(b"craps/dice", seed + block.to_bytes(4, "big"))
