"""A table to play at in tests: blocks of operations on forks, everything checked after each one."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from msgspec.structs import replace

from consensus.encoding import decode_as, digest
from node.game.games import GameFactory
from node.game.leaves import roots_of
from node.game.operations import CreateSession, Operation, PlaceBet, Ready, Roll, Sit
from node.game.params import BankMode, GameParams
from node.game.receipts import Receipt, RollResult
from node.game.session import GameSession, Phase
from node.game.state import GameState
from tests.game.tiny import GAME, GAMES

FAST = GameParams(betting_min_ms=2_000, betting_max_ms=30_000, thrower_ms=10_000, absent_ms=90_000)


def chips_in_sight(state: GameState) -> int:
    """Count every chip where it lies, without asking the books."""
    racks = sum(account.chips for account in state.accounts)
    bets = sum(
        bet.stake + bet.vig
        for session in state.sessions
        if session is not None
        for seat in session.seats
        if seat is not None
        for bet in seat.bets.values()
    )
    return racks + bets + state.bank


Roots: TypeAlias = tuple[bytes, bytes, tuple[int, ...]]


def roots(state: GameState) -> Roots:
    """Everything that a header commits to of the game, but for the height and time of the block."""
    return state.accounts_root(), state.sessions_root(), books(state.leaf())


def books(leaf: bytes) -> tuple[int, ...]:
    """Bank, minted chips, vig and rake of a treasury's leaf."""
    _height, _time_ms, *rest = decode_as(leaf, tuple[int, ...])
    return tuple(rest)


def roots_from_scratch(state: GameState) -> Roots:
    """The same, with every tree built anew from the leaves."""
    leaves = state.leaves()
    found = roots_of(leaves)
    assert found is not None, "a seat was written to behind the back of its session"
    return *found, books(leaves.treasury)


class Game:
    """A state and its blocks. Each block is applied to a fork, as the execution layer does."""

    def __init__(
        self,
        players: int = 4,
        params: GameParams = FAST,
        games: Mapping[int, GameFactory] = GAMES,
    ) -> None:
        self.games = games
        self.state = GameState.genesis(params, players, games)
        self.results: list[RollResult] = []
        self.closed: tuple[int, ...] = ()

    @property
    def racks(self) -> list[int]:
        return [account.chips for account in self.state.accounts]

    def session(self, slot: int = 0) -> GameSession:
        session = self.state.sessions[slot]
        assert session is not None
        return session

    def bets(self, player: int, slot: int = 0) -> dict[tuple[int, int], int]:
        """Stakes of a player by (kind, number)."""
        session = self.session(slot)
        index = session.seat_of.get(player)
        seat = None if index is None else session.seats[index]
        return (
            {} if seat is None else {(k.kind, k.number): bet.stake for k, bet in seat.bets.items()}
        )

    def block(
        self,
        *actions: tuple[int, Operation],
        ms: int = 1_000,
        can_close: bool = True,
        faces: Sequence[tuple[int, int]] = (),
    ) -> list[Receipt]:
        """Settle `faces` (slot, outcome), apply the operations; return their receipts."""
        before = self.state
        was = roots(before)
        state = before.fork()
        state.begin_block(before.height + 1, before.time_ms + ms, can_close)
        for slot, outcome in faces:
            self.results.append(state.settle(slot, seed_for(state, slot, outcome)))
            assert chips_in_sight(state) == state.minted
        receipts = []
        for index, (player, operation) in enumerate(actions):
            receipts.append(state.apply(player, operation, index))
            assert chips_in_sight(state) == state.minted
            assert min(account.chips for account in state.accounts) >= 0
        self.closed = state.end_block()
        assert roots_from_scratch(before) == was, "a fork wrote to its parent"
        self.state = state
        self.check()
        return receipts

    def check(self) -> None:
        """Assert that roots, caches and leaves agree with the parts."""
        state = self.state
        assert roots(state) == roots_from_scratch(state)
        again = GameState.from_leaves(state.params, state.leaves(), self.games)
        assert roots(again) == roots(state)
        assert again.leaf() == state.leaf()
        assert again.treasury.prizes == state.treasury.prizes
        assert again.exposed() <= state.treasury.prizes
        assert state.treasury.covers(again.exposed())
        for slot, session in enumerate(state.sessions):
            if session is None:
                continue
            fresh = again.sessions[slot]
            assert fresh is not None
            # What the session has not worked out is not asked for: the next bet does without.
            assert session.known in (None, (fresh.exposure, fresh.worst))
            assert (fresh.prizes, fresh.layout) == (session.prizes, session.layout)
            for seat in session.seats:
                if seat is not None and seat.position is not None:
                    plain = {k: replace(bet, id=0) for k, bet in seat.bets.items()}
                    assert seat.position.bets == plain
            assert fresh.worst <= fresh.prizes
            assert fresh.seat_of == session.seat_of
            assert fresh.due_ms(state.params) == session.due_ms(state.params)
            assert (session.layout == 0) == (session.phase == Phase.OPEN)

    def done(self, *actions: tuple[int, Operation], ms: int = 1_000) -> list[tuple[int, ...]]:
        """Apply operations that must all be done; return the values of their receipts."""
        receipts = self.block(*actions, ms=ms)
        assert [receipt.code for receipt in receipts] == [0] * len(receipts), receipts
        return [receipt.values for receipt in receipts]

    def refusal(self, player: int, operation: Operation, *, ms: int = 1_000) -> Receipt:
        """Apply one operation that must be refused and change nothing; return its receipt."""
        was = roots(self.state)
        (receipt,) = self.block((player, operation), ms=ms)
        assert receipt.code != 0
        assert roots(self.state) == was
        return receipt

    def seated(self, *players: int, game: int = GAME) -> "Game":
        """Open a session and seat players, in this order."""
        slot = self.done((players[0], CreateSession(game)))[0][0]
        self.done(*((player, Sit(slot)) for player in players))
        return self

    def bet(self, player: int, kind: int, amount: int, number: int = 0, slot: int = 0) -> None:
        self.done((player, PlaceBet(slot, kind, number, amount)))

    def throw(self, outcome: int, slot: int = 0, *, ms: int = 1_000) -> RollResult:
        """All say ready, the thrower rolls, the dice show `outcome`; return what it did."""
        session = self.session(slot)
        thrower = self.state.thrower(slot)
        assert thrower is not None
        others = [
            seat.player
            for seat in session.seats
            if seat is not None and not seat.riding and seat.player != thrower
        ]
        ready = [(player, Ready(slot)) for player in others]
        self.done(*ready, (thrower, Roll(slot)), ms=ms)
        assert self.closed == (slot,)
        self.block(faces=[(slot, outcome)], ms=ms)
        return self.results[-1]


def seed_for(state: GameState, slot: int, outcome: int) -> bytes:
    """Find a beacon seed that gives the session this outcome on its next roll."""
    session = state.sessions[slot]
    assert session is not None
    name = session.serial.to_bytes(8, "big") + (session.rolls + 1).to_bytes(8, "big")
    for number in range(1 << 16):
        seed = number.to_bytes(32, "big")
        if session.rules.outcome(digest("dice", seed + name))[0] == outcome:
            return seed
    raise AssertionError(f"no seed gives outcome {outcome}")


def banker_params(banker: int = 0) -> GameParams:
    """Terms under which one player is the bank."""
    return GameParams(bank=0, bank_mode=BankMode.BANKER, banker=banker)
