"""The replicated game of a table: accounts, sessions, treasury (PROTOCOL 12).

A state is forked for every block and copies what it writes to, once: an account, a session, a seat
that this state has `touched` since its roots were last taken is its own, everything else may be
shared. An operation is checked whole before anything is written, so a refused one changes nothing.

Slots never move. A finished session leaves an empty leaf, and its slot is used again under a new
serial number.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from msgspec.structs import replace

from consensus.encoding import DecodeError, Digest, Record, Uint, decode_as, digest, encode
from consensus.merkle import MerkleTree
from node.game import operations as op
from node.game.games import GAMES, GameFactory, load_games
from node.game.leaves import GameLeaves
from node.game.params import CHIPS_MAX, PLAYERS_MAX, BankMode, Chips, GameParams, problem_of_params
from node.game.players import Account, parse_account
from node.game.positions import Positions, positions_under
from node.game.receipts import DONE, Code, Receipt, ReturnedBet, RollResult
from node.game.rules import Bet, BetKey, GameRules, Refusal, key_of
from node.game.session import (
    MACHINE,
    NOBODY,
    Event,
    GameSession,
    Moment,
    Phase,
    Seat,
    parse_session,
)
from node.game.treasury import FIRST_RACK, LAYOUT, Payment, TreasuryManager, share_out

INDEX_MAX = 0xFFFF
"""Operations of a block are counted in sixteen bits: a bet id is height << 16 | index."""

# Looked up for every bet, and a member of an Enum is found slowly.
_OPEN, _CLOSING, _CLOSED = Phase.OPEN, Phase.CLOSING, Phase.CLOSED

_NOT_SEATED = Receipt(Code.NOT_SEATED)
_NO_MORE_BETS = Receipt(Code.NO_MORE_BETS)
_OWN_ROLL = Receipt(Code.OWN_ROLL)
_NO_BET = Receipt(Code.NO_BET)


class GameState:
    """All chips and games of a table after some block, or while one is applied."""

    __slots__ = (
        "_account_tree",
        "_counts",
        "_games",
        "_seqs",
        "_session_tree",
        "_touched_accounts",
        "_touched_sessions",
        "accounts",
        "can_close",
        "height",
        "params",
        "returned",
        "sessions",
        "time_ms",
        "treasury",
    )

    def __init__(
        self,
        params: GameParams,
        games: Mapping[int, Positions],
        accounts: list[Account],
        treasury: TreasuryManager,
    ) -> None:
        """Take the parts of a state without sessions; use `genesis`, `fork` or `from_leaves`."""
        self.params = params
        self._games = games
        self.accounts = accounts
        self.sessions: list[GameSession | None] = []
        self.treasury = treasury
        self.height = self.time_ms = 0
        self.can_close = False
        self.returned: list[ReturnedBet] = []
        """Bets that operations of this block made the bank give back."""
        self._counts: dict[int, int] = {}
        self._seqs: tuple[int, ...] | None = None
        self._account_tree = MerkleTree()
        self._session_tree = MerkleTree()
        self._touched_accounts: dict[int, None] = dict.fromkeys(range(len(accounts)))
        self._touched_sessions: dict[int, None] = {}

    @classmethod
    def genesis(
        cls, params: GameParams, players: int, games: Mapping[int, GameFactory] = GAMES
    ) -> "GameState":
        """Return the state before the first block: all chips that will ever be are minted here."""
        problem = problem_of_params(params, players)
        assert problem is None, problem
        accounts = [Account(params.buy_in) for _ in range(players)]
        bank, minted = params.bank, params.bank + players * params.buy_in
        if params.bank_mode == BankMode.BANKER:
            bank, accounts[params.banker].chips = params.buy_in, 0
        treasury = TreasuryManager(bank, minted, params.reserve_bp)
        return cls(params, _load(params, games), accounts, treasury)

    def fork(self) -> "GameState":
        """Return a state that may be changed while this one stays as it is."""
        self._take_leaves()
        twin: GameState = GameState.__new__(GameState)
        twin.params, twin._games = self.params, self._games
        twin.accounts, twin.sessions = list(self.accounts), list(self.sessions)
        twin.treasury = self.treasury.fork()
        twin.height, twin.time_ms, twin.can_close = self.height, self.time_ms, False
        twin.returned, twin._counts, twin._seqs = [], {}, self._seqs
        twin._account_tree, twin._session_tree = self._account_tree, self._session_tree
        twin._touched_accounts, twin._touched_sessions = {}, {}
        return twin

    @property
    def bank(self) -> int:
        """Chips of the bank."""
        return self.treasury.bank

    @property
    def minted(self) -> int:
        """All chips of the table."""
        return self.treasury.minted

    # A block.

    def begin_block(self, height: int, time_ms: int, can_close: bool) -> None:
        """Set what all operations of a block share: its height, agreed time, and dice at hand."""
        self.height, self.time_ms, self.can_close = height, time_ms, can_close
        self._counts = {}
        self.returned = []

    def apply(self, player: int, operation: Record, index: int) -> Receipt:
        """Apply the operation at `index` of the block, or refuse it and change nothing."""
        handler = self._HANDLERS.get(type(operation))
        if handler is None:
            return Receipt(Code.UNKNOWN_OPERATION)
        if not 0 <= player < len(self.accounts):
            return Receipt(Code.STRANGER, (max(player, 0),))
        if index > INDEX_MAX:
            return Receipt(Code.BLOCK_FULL)
        count = self._counts.get(player, 0)
        if count >= self.params.operations_per_block:
            return Receipt(Code.OPERATIONS, (self.params.operations_per_block,))
        self._counts[player] = count + 1
        return handler(self, player, operation, index)

    def end_block(self) -> tuple[int, ...]:
        """Close the betting where the roll was called, assert the books, return those sessions."""
        layouts = prizes = 0
        closed = []
        for slot, session in enumerate(self.sessions):
            if session is not None:
                layouts += session.layout
                prizes += session.prizes
                if session.phase == _CLOSING:
                    closed.append(slot)
        for slot in closed:
            self._must(slot, Event.BLOCK_END)
        racks = 0
        for account in self.accounts:
            racks += account.chips
        self.treasury.check(racks, layouts, prizes)
        return tuple(closed)

    def next_seq(self, player: int) -> int:
        """Count an action of a player; return its number."""
        account = self._own_account(player)
        account.seq += 1
        self._seqs = None
        return account.seq

    def seqs(self) -> tuple[int, ...]:
        """Return the number of every player's last action."""
        if self._seqs is None:
            self._seqs = tuple(account.seq for account in self.accounts)
        return self._seqs

    def has_place(self) -> bool:
        """Say whether one more player fits, with a buy-in, into the bounds of a table."""
        minted = self.treasury.minted + self.params.buy_in
        return len(self.accounts) < PLAYERS_MAX and minted <= CHIPS_MAX

    def seated_in(self, player: int) -> int | None:
        """Return the lowest session in which a player has a seat, None without one."""
        for slot, session in enumerate(self.sessions):
            index = None if session is None else session.seat_of.get(player)
            if session is not None and index is not None and session.is_seated(index):
                return slot
        return None

    def admit(self) -> int | None:
        """Mint the buy-in of a newcomer; return its player number, None if the table is full."""
        minted = self.treasury.minted + self.params.buy_in
        if len(self.accounts) >= PLAYERS_MAX or minted > CHIPS_MAX:
            return None
        self.treasury.minted = minted
        self.accounts.append(Account(self.params.buy_in))
        self._seqs = None
        player = len(self.accounts) - 1
        self._touched_accounts[player] = None
        return player

    # What nodes ask.

    def has_bets(self) -> bool:
        """Say whether a bet lies on any layout."""
        return self.treasury.layout > 0

    def due(self) -> tuple[int, int] | None:
        """Return agreed time and session of the next timer, None while none runs."""
        first: tuple[int, int] | None = None
        for slot, session in enumerate(self.sessions):
            if session is None:
                continue
            due_ms = session.due_ms(self.params)
            if due_ms is not None and (first is None or due_ms < first[0]):
                first = due_ms, slot
        return first

    def exposed(self) -> int:
        """Return what the bank must hold: the sum of the worst cases of all sessions (R29)."""
        return sum(session.worst for session in self.sessions if session is not None)

    def covers(self) -> bool:
        """Say whether the bank holds what it must. That it could pay every prize says so too."""
        treasury = self.treasury
        return treasury.covers(treasury.prizes) or treasury.covers(self.exposed())

    def thrower(self, slot: int) -> int | None:
        """Return the player who has the dice of a session, or to whom they are offered."""
        session = self.sessions[slot]
        assert session is not None, f"no session {slot}"
        holder = session.holder()
        return None if holder == NOBODY else session.player_at(holder)

    def rules_of(self, slot: int) -> GameRules | None:
        """Return the rules of an open session."""
        session = self.sessions[slot] if 0 <= slot < len(self.sessions) else None
        return None if session is None else session.rules

    # Writing.

    def _own_account(self, player: int) -> Account:
        account = self.accounts[player]
        if player not in self._touched_accounts:
            self._touched_accounts[player] = None
            account = replace(account)
            self.accounts[player] = account
        return account

    def _own_session(self, slot: int) -> GameSession:
        session = self.sessions[slot]
        assert session is not None, f"no session {slot}"
        if slot not in self._touched_sessions:
            self._touched_sessions[slot] = None
            session = session.copy()
            self.sessions[slot] = session
        session.due_known = False
        return session

    def _fire(self, slot: int, event: Event, seat: int = NOBODY) -> Refusal | None:
        """Let a session's table decide on an event; nothing is copied or changed by a refusal."""
        session = self.sessions[slot]
        assert session is not None, f"no session {slot}"
        moment = Moment(session, seat, self.time_ms, self.can_close, self.params)
        step = MACHINE.fire(session.phase, event, moment)
        if type(step) is Refusal:
            return step
        self._own_session(slot).perform(step, moment)
        return None

    def _must(self, slot: int, event: Event) -> GameSession:
        """Perform what follows from an event that nothing can stand against."""
        session = self._own_session(slot)
        moment = Moment(session, NOBODY, self.time_ms, self.can_close, self.params)
        step = MACHINE.fire(session.phase, event, moment)
        assert type(step) is not Refusal, step
        session.perform(step, moment)
        return session

    def _session(self, slot: int) -> GameSession | None:
        return self.sessions[slot] if 0 <= slot < len(self.sessions) else None

    def _change(self, player: int, slot: int) -> tuple[GameSession, int, Seat] | Receipt:
        """Return session and seat if the player may change bets there now (R7), or why not."""
        sessions = self.sessions
        session = sessions[slot] if 0 <= slot < len(sessions) else None
        if session is None:
            return Receipt(Code.NO_SESSION, (max(slot, 0),))
        index = session.seat_of.get(player)
        seat = None if index is None else session.seats[index]
        if seat is None or index is None or seat.riding:
            return _NOT_SEATED
        if session.phase >= _CLOSED:
            return _NO_MORE_BETS
        return _OWN_ROLL if session.caller == index else (session, index, seat)

    # Sessions and seats.

    def _create_session(self, player: int, operation: op.CreateSession, index: int) -> Receipt:
        game = self._games.get(operation.game)
        if game is None:
            return Receipt(Code.NO_GAME, (max(operation.game, 0),))
        own = sum(s is not None and s.creator == player for s in self.sessions)
        if own >= self.params.sessions_per_player:
            return Receipt(Code.SESSIONS_OF_PLAYER, (own,))
        slot = self._free_slot()
        if slot is None:
            return Receipt(Code.SESSIONS, (self.params.max_sessions,))
        serial = self.height << 16 | index
        session = GameSession.opened(game.rules, operation.game, serial, player, self.time_ms)
        self._put_session(slot, session)
        return Receipt(Code.DONE, (slot,))

    def _free_slot(self) -> int | None:
        """Return the lowest free slot, a new one, or that of a game that everybody abandoned."""
        if None in self.sessions:
            return self.sessions.index(None)
        if len(self.sessions) < self.params.max_sessions:
            return len(self.sessions)
        for slot, session in enumerate(self.sessions):
            if session is not None and session.is_idle(self.time_ms, self.params):
                return slot
        return None

    def _put_session(self, slot: int, session: GameSession | None) -> None:
        if slot == len(self.sessions):
            self.sessions.append(None)
        self.sessions[slot] = session
        self._touched_sessions[slot] = None

    def _finish(self, player: int, operation: op.Finish, _index: int) -> Receipt:
        slot = operation.session
        session = self._session(slot)
        if session is None:
            return Receipt(Code.NO_SESSION, (max(slot, 0),))
        wait_ms = session.idle_ms + self.params.absent_ms - self.time_ms
        if player != session.creator and wait_ms > 0:
            return Receipt(Code.NOT_IDLE, (wait_ms,))
        if refusal := self._fire(slot, Event.FINISH):
            # What the table refuses outright has no values yet.
            return Receipt(refusal.code, refusal.values or session.occupancy())
        self._put_session(slot, None)
        return DONE

    def _sit(self, player: int, operation: op.Sit, _index: int) -> Receipt:
        slot = operation.session
        session = self._session(slot)
        if session is None:
            return Receipt(Code.NO_SESSION, (max(slot, 0),))
        if self.params.bank_mode == BankMode.BANKER and player == self.params.banker:
            return Receipt(Code.BANKER)
        index = session.seat_of.get(player)
        if index is not None and session.is_seated(index):
            return Receipt(Code.SEATED)
        return Receipt(Code.DONE, (self._own_session(slot).sit(player, self.time_ms),))

    def _leave(self, player: int, operation: op.Leave, _index: int) -> Receipt:
        found = self._change(player, operation.session)
        if type(found) is Receipt:
            return found
        return Receipt(Code.DONE, (self._vacate(operation.session, found[1]),))

    def _vacate(self, slot: int, index: int) -> int:
        """Let a seat leave; return the chips that went back to its rack (R30)."""
        session = self._own_session(slot)
        player = session.player_at(index)
        prizes = session.prizes
        back = session.vacate(index, self.time_ms)
        chips = sum(bet.stake + bet.vig for bet in back)
        if back:
            self._give_back(player, chips, len(back))
            self._came_down(slot, prizes)
        return chips

    def _give_back(self, player: int, chips: int, bets: int) -> None:
        account = self._own_account(player)
        self.treasury.unstake(account, chips)
        account.open_bets -= bets

    def _came_down(self, slot: int, prizes: int) -> None:
        """After bets came off a layout: see that the bank covers the rest, and whether any lie.

        `prizes` are those of the session before.
        """
        session = self._own_session(slot)
        self.treasury.prizes += session.prizes - prizes
        self.returned.extend(self._cover(slot, {}))
        if session.layout == 0 and session.phase != Phase.OPEN:
            self._must(slot, Event.EMPTIED)

    def _cover(self, slot: int, won: dict[tuple[int, BetKey], None]) -> list[ReturnedBet]:
        """Give bets of a session back until the bank covers what is left (see `treasury`).

        `won` holds seat and key of the bets that just won and stay up.
        """
        returned = []
        while not self.covers():
            session = self._own_session(slot)
            index, key = session.to_return(won)
            seat = session.own_seat(index)
            for each in (key, *session.rules.dependents(seat.bets, key)):
                prizes = session.prizes
                bet = session.remove(index, each)
                self.treasury.prizes += session.prizes - prizes
                self._give_back(seat.player, bet.stake + bet.vig, 1)
                returned.append(ReturnedBet(slot, seat.player, *each, bet.stake + bet.vig))
            session.free_if_done(index)
        return returned

    # Bets.

    def _place_bet(self, player: int, operation: op.PlaceBet, index: int) -> Receipt:
        # The hot path: nothing is looked up twice, and nothing is written before all is checked.
        slot = operation.session
        found = self._change(player, slot)
        if type(found) is Receipt:
            return found
        session, seat_index, seat = found
        amount = operation.amount
        if not 0 < amount <= CHIPS_MAX:
            return Receipt(Code.AMOUNT, (max(amount, 0), CHIPS_MAX))
        game = self._games[session.game]
        placed = game.place(seat.bets, seat.position, session.board, operation)
        if type(placed) is Refusal:
            return Receipt(placed.code, placed.values)
        key, chips, prize, is_new = placed.key, placed.chips, placed.prize, placed.is_new
        if is_new:
            if len(seat.bets) >= self.params.bets_per_seat:
                return Receipt(Code.BETS, (self.params.bets_per_seat,))
            bet = Bet(placed.stake, self.height << 16 | index, 0, placed.vig)
        else:
            there = seat.bets[key]
            bet = Bet(placed.stake, there.id, there.working, placed.vig)
        account = self.accounts[player]
        if chips > account.chips:
            return Receipt(Code.RACK, (chips, account.chips))
        treasury, exposure = self.treasury, None
        sure = treasury.covers(treasury.prizes + prize)
        if not sure or session.known is not None:
            more = session.rules.exposure(session.board, key, bet.working)
            exposure = session.exposed(more, amount)
            if not sure and (refused := self._uncovered(session, exposure)):
                return refused
        if player not in self._touched_accounts:
            account = self._own_account(player)
        if slot not in self._touched_sessions:
            session = self._own_session(slot)
        if seat_index not in session.touched:
            seat = session.own_seat(seat_index)
        treasury.stake(account, chips, prize)
        if is_new:
            account.open_bets += 1
        session.layout += chips
        session.prizes += prize
        if exposure is not None:
            session.set_exposure(exposure)
        seat.bets[key] = bet
        seat.position = placed.after
        seat.ready = False
        seat.last_ms = self.time_ms
        session.due_known = False
        if session.phase == _OPEN:
            self._must(slot, Event.BET)
        return DONE

    def _uncovered(self, session: GameSession, exposure: int) -> Receipt | None:
        """Refuse what would make the exposure of a session more than the bank can cover (R29)."""
        exposed, more = self.exposed(), session.worst_of(exposure) - session.worst
        if self.treasury.covers(exposed + more):
            return None
        return Receipt(Code.BANK, (more, max(self.treasury.free(exposed), 0)))

    def _take_down(self, player: int, operation: op.TakeDown, _index: int) -> Receipt:
        return self._take(player, operation.session, operation.kind, operation.number, None)

    def _reduce(self, player: int, operation: op.Reduce, _index: int) -> Receipt:
        amount = operation.amount
        return self._take(player, operation.session, operation.kind, operation.number, amount)

    def _take(self, player: int, slot: int, kind: int, number: int, amount: int | None) -> Receipt:
        """Take `amount` off a bet, or all of it; what depends on a whole bet comes down too."""
        found = self._change(player, slot)
        if type(found) is Receipt:
            return found
        session, index, seat = found
        key = key_of(kind, number)
        bet = seat.bets.get(key)
        if bet is None:
            return _NO_BET
        taken = bet.stake if amount is None else amount
        if not 0 < taken <= bet.stake:
            return Receipt(Code.STAKE, (max(taken, 0), bet.stake))
        rules = session.rules
        refusal = rules.check_reduce(session.board, seat.bets, key, taken)
        if refusal is not None:
            return Receipt(refusal.code, refusal.values)
        session = self._own_session(slot)
        seat = session.own_seat(index)
        seat.ready, seat.last_ms = False, self.time_ms
        prizes, bets = session.prizes, len(seat.bets)
        if taken < bet.stake:
            chips = session.lower(index, key, taken)
        else:
            session.remove(index, key)
            chips = bet.stake + bet.vig
            for other in rules.dependents(seat.bets, key):
                hanging = session.remove(index, other)
                chips += hanging.stake + hanging.vig
        self._give_back(player, chips, bets - len(seat.bets))
        self._came_down(slot, prizes)
        return Receipt(Code.DONE, (chips,))

    def _working(self, player: int, operation: op.Working, _index: int) -> Receipt:
        slot = operation.session
        found = self._change(player, slot)
        if type(found) is Receipt:
            return found
        session, index, seat = found
        key, working = key_of(operation.kind, operation.number), operation.working
        bet = seat.bets.get(key)
        if bet is None:
            return _NO_BET
        if not 0 <= working <= 2:
            return Receipt(Code.WORKING, (max(working, 0),))
        refusal = session.rules.check_working(session.board, seat.bets, key, working)
        if refusal is not None:
            return Receipt(refusal.code, refusal.values)
        sure, exposure = self.treasury.covers(self.treasury.prizes), None
        if not sure or session.known is not None:
            exposure = session.reworked(key, bet, working)
            if not sure and (refused := self._uncovered(session, exposure)):
                return refused
        session = self._own_session(slot)
        seat = session.own_seat(index)
        seat.ready, seat.last_ms = False, self.time_ms
        seat.bets[key], seat.position = Bet(bet.stake, bet.id, working, bet.vig), None
        if exposure is not None:
            session.set_exposure(exposure)
        return DONE

    # The dice.

    def _ready(self, player: int, operation: op.Ready, _index: int) -> Receipt:
        slot = operation.session
        found = self._change(player, slot)
        if type(found) is Receipt:
            return found
        seat = self._own_session(slot).own_seat(found[1])
        seat.ready, seat.last_ms = True, self.time_ms
        return DONE

    def _roll(self, player: int, operation: op.Roll, _index: int) -> Receipt:
        return self._throw(player, operation.session, Event.ROLL)

    def _pass_dice(self, player: int, operation: op.PassDice, _index: int) -> Receipt:
        return self._throw(player, operation.session, Event.DECLINE)

    def _throw(self, player: int, slot: int, event: Event) -> Receipt:
        session = self._session(slot)
        if session is None:
            return Receipt(Code.NO_SESSION, (max(slot, 0),))
        index = session.seat_of.get(player)
        if index is None or not session.is_seated(index):
            return _NOT_SEATED
        if refusal := self._fire(slot, event, index):
            return Receipt(refusal.code, refusal.values)
        self._own_session(slot).own_seat(index).last_ms = self.time_ms
        return DONE

    def _tick(self, player: int, operation: op.Tick, _index: int) -> Receipt:
        """Fire what is due: absent seats leave, then the roll is called or the dice go on."""
        slot = operation.session
        session = self._session(slot)
        if session is None:
            return Receipt(Code.NO_SESSION, (max(slot, 0),))
        due_ms = session.due_ms(self.params)
        if due_ms is not None and due_ms > self.time_ms:
            # Remembered with the session, so a flood of ticks costs little.
            return Receipt(Code.NOT_DUE, (due_ms - self.time_ms,))
        absent = session.absent(self.time_ms, self.params)
        for index in absent:
            self._vacate(slot, index)
        refusal = self._fire(slot, Event.WINDOW_OVER)
        if refusal is not None and refusal.code == Code.NOT_DUE:
            refusal = self._fire(slot, Event.THROWER_SLOW)
        if refusal is None or absent:
            return Receipt(Code.DONE, (len(absent),))
        return Receipt(refusal.code, refusal.values)

    # The pool.

    def _fund(self, player: int, operation: op.Fund, _index: int) -> Receipt:
        if code := self._pool_is_shut():
            return Receipt(code)
        amount, chips = operation.amount, self.accounts[player].chips
        if not 0 < amount <= CHIPS_MAX:
            return Receipt(Code.AMOUNT, (max(amount, 0), CHIPS_MAX))
        if amount > chips:
            return Receipt(Code.RACK, (amount, chips))
        self.treasury.fund(self._own_account(player), amount)
        self._share_pool()
        return DONE

    def _withdraw(self, player: int, operation: op.Withdraw, _index: int) -> Receipt:
        if code := self._pool_is_shut():
            return Receipt(code)
        amount, part = operation.amount, self.accounts[player].pooled
        if not 0 < amount <= part:
            return Receipt(Code.POOL_PART, (max(amount, 0), part))
        idle = self.treasury.idle(self.exposed())
        if amount > idle:
            return Receipt(Code.POOL_PROMISED, (idle,))
        self.treasury.fund(self._own_account(player), -amount)
        return DONE

    def _pool_is_shut(self) -> Code | None:
        if self.params.bank_mode != BankMode.POOL:
            return Code.NO_POOL
        shut = any(s is not None and s.phase == Phase.CLOSED for s in self.sessions)
        return Code.POOL_WAITS if shut else None

    def _share_pool(self) -> None:
        """Give the owners of the pool what it gained or lost since it was last shared out."""
        if self.params.bank_mode != BankMode.POOL:
            return
        parts = [account.pooled for account in self.accounts]
        if sum(parts) in {0, self.bank}:
            return
        for player, part in enumerate(share_out(parts, self.bank)):
            if part != parts[player]:
                self._own_account(player).pooled = part

    _HANDLERS: ClassVar[Mapping[type, Callable[["GameState", int, Any, int], Receipt]]] = {
        op.CreateSession: _create_session,
        op.Sit: _sit,
        op.Leave: _leave,
        op.PlaceBet: _place_bet,
        op.Reduce: _reduce,
        op.TakeDown: _take_down,
        op.Working: _working,
        op.Ready: _ready,
        op.Roll: _roll,
        op.PassDice: _pass_dice,
        op.Tick: _tick,
        op.Finish: _finish,
        op.Fund: _fund,
        op.Withdraw: _withdraw,
    }

    def settle(self, slot: int, seed: bytes) -> RollResult:
        """Roll and pay a closed session from the 32-byte seed of its beacon roll (R8).

        Sessions that closed in one block share a seed; the serial and roll number make each
        session's dice its own.
        """
        session = self._must(slot, Event.DICE)
        rules, board = session.rules, session.board
        number = session.rolls + 1
        outcome, dice = rules.outcome(
            digest("dice", seed + session.serial.to_bytes(8, "big") + number.to_bytes(8, "big"))
        )
        thrower = (session.player_at(session.dice),) if session.is_thrown() else ()
        payment = Payment(self.treasury, self.params.rake_bp)
        self._pay(session, outcome, payment)
        session.rolls = number
        session.board, ended = rules.advance(board, outcome)
        session.known = None
        returned = self._cover(slot, payment.won)
        for bet in returned:
            payment.post(LAYOUT, FIRST_RACK + bet.player, bet.chips)
        self._share_pool()
        if ended:
            session.end_hand(self.time_ms)
        self._must(slot, Event.PAID if session.layout else Event.EMPTIED)
        holder = session.holder()
        return RollResult(
            session=slot,
            serial=session.serial,
            number=number,
            outcome=outcome,
            dice=dice,
            board_before=board,
            board=session.board,
            thrower=thrower,
            next_thrower=() if holder == NOBODY else (session.player_at(holder),),
            hand_ended=int(ended),
            bets=tuple(payment.bets),
            returned=tuple(returned),
            postings=payment.postings(),
        )

    def _pay(self, session: GameSession, outcome: int, payment: Payment) -> None:
        """Pay every seat what an outcome does to its bets."""
        game, rules, board = self._games[session.game], session.rules, session.board
        remembered = game.remembered(board, outcome)
        for index, seat in enumerate(session.seats):
            if seat is None or not seat.bets:
                continue
            position = seat.position
            settled = remembered.get(position)
            if settled is None:
                rows = rules.settle(board, seat.bets, outcome)
                if position is not None:
                    settled = game.learn(position, board, outcome, rows)
                if settled is None and rows:
                    settled = game.apply(session.own_seat(index).bets, rows)
            if settled is not None and settled.rows:
                payment.pay_seat(session, index, self._own_account(seat.player), settled)

    # Roots and leaves.

    def _take_leaves(self) -> None:
        """Bring both trees up to date; from here on every part may be shared."""
        if self._touched_accounts:
            self._account_tree = self._account_tree.copy()
            for player in sorted(self._touched_accounts):
                self._account_tree.set(player, self.accounts[player].leaf())
            self._touched_accounts = {}
        if self._touched_sessions:
            self._session_tree = self._session_tree.copy()
            for slot in sorted(self._touched_sessions):
                session = self.sessions[slot]
                self._session_tree.set(slot, b"" if session is None else session.leaf())
            self._touched_sessions = {}

    def accounts_root(self) -> Digest:
        """Return the root over the accounts, one leaf a player."""
        self._take_leaves()
        return self._account_tree.root()

    def sessions_root(self) -> Digest:
        """Return the root over the session slots; a free slot's leaf is empty."""
        self._take_leaves()
        return self._session_tree.root()

    def leaf(self) -> bytes:
        """Return height, time, and the treasury: bank, minted chips, what vig and rake came to."""
        books = self.treasury
        return encode((self.height, self.time_ms, books.bank, books.minted, books.vig, books.rake))

    def leaves(self) -> GameLeaves:
        """Return the whole state; `from_leaves` of it is a state that nobody can tell from this."""
        return GameLeaves(
            self.leaf(),
            tuple(account.leaf() for account in self.accounts),
            tuple(
                (b"", ()) if session is None else (session.leaf(), session.seat_leaves())
                for session in self.sessions
            ),
        )

    @classmethod
    def from_leaves(
        cls,
        params: GameParams,
        leaves: GameLeaves,
        games: Mapping[int, GameFactory] = GAMES,
    ) -> "GameState":
        """Return the state of these leaves, between two blocks.

        Leaves that came from a peer are compared with a certified header before, by `roots_of`.

        Raises:
            DecodeError: A leaf does not have its form, or the books do not agree.
        """
        height, time_ms, bank, minted, vig, rake = decode_as(
            leaves.treasury, tuple[Uint, Uint, Chips, Chips, Uint, Uint]
        )
        treasury = TreasuryManager(bank, minted, params.reserve_bp)
        treasury.vig, treasury.rake = vig, rake
        loaded = _load(params, games)
        rules = {number: game.rules for number, game in loaded.items()}
        state = cls(params, loaded, [parse_account(leaf) for leaf in leaves.accounts], treasury)
        state.height, state.time_ms = height, time_ms
        for slot, (leaf, seats) in enumerate(leaves.sessions):
            session = parse_session(rules, leaf, seats) if leaf else None
            state._put_session(slot, session)
            if session is not None:
                treasury.layout += session.layout
                treasury.prizes += session.prizes
        racks = sum(account.chips for account in state.accounts)
        if racks + treasury.layout + bank != minted:
            raise DecodeError(f"{racks} + {treasury.layout} + {bank} chips are not {minted}")
        return state


def _load(params: GameParams, games: Mapping[int, GameFactory]) -> dict[int, Positions]:
    rules = load_games(params.rules, games)
    assert not isinstance(rules, str), rules
    return {number: positions_under(rule, params.rake_bp) for number, rule in rules.items()}
