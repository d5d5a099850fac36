"""One game on a table: seats, bets, the dice and the timers, by agreed time only (PROTOCOL 12).

The life of a session is `MACHINE`, one literal table. A session holds no rack: what it takes and
gives back is returned as a number of chips, and the state posts it.

Dice. They lie before one seat. Who may throw is the first seat from there, clockwise, whose bets
let it throw (R2); if none do, the dice wait where they are. They move on when the hand ends (R4),
when they are passed (R5), when their seat leaves or is too slow (R5).

Timers run only while a bet lies on the layout: the betting window from the later of the last
payment and the first bet, the thrower's from when the dice came, a seat's from its last operation.
"""

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, ClassVar

import msgspec
from msgspec.structs import replace

from consensus.encoding import Bytes32, DecodeError, Record, Uint, decode_as, encode
from consensus.merkle import MerkleTree
from node.game.lanes import greatest, unpack
from node.game.params import GameParams
from node.game.positions import Position
from node.game.receipts import Code
from node.game.rules import Bet, BetKey, Board, Exposure, GameRules, Refusal
from node.game.state_machine import StateMachine, Table, Transition

NOBODY = -1
Flag = Annotated[int, msgspec.Meta(ge=0, le=1)]


class Phase(enum.IntEnum):
    """Where a session stands. Numbers are in its leaf; CLOSING and SETTLING end with the block."""

    OPEN = 1
    """Bets are taken; none lies on the layout, so no timer runs."""
    BETTING = 2
    """Bets are taken, timers run."""
    CLOSING = 3
    """The roll has been called; bets are taken until the block ends (R7)."""
    CLOSED = 4
    """No more bets, no change, no leave: waiting for the dice."""
    SETTLING = 5
    """The dice are known, bets are being paid (R8)."""
    FINISHED = 6
    """Its slot is free."""


# Looked at in every block, and a member of an Enum is found slowly.
_BETTING, _WITHIN_BLOCK = Phase.BETTING, (Phase.CLOSING, Phase.SETTLING)


class Event(enum.Enum):
    """What happens to a session."""

    BET = "bet"
    EMPTIED = "emptied"
    ROLL = "roll"
    WINDOW_OVER = "window over"
    THROWER_SLOW = "thrower slow"
    DECLINE = "decline"
    BLOCK_END = "block end"
    DICE = "dice"
    PAID = "paid"
    FINISH = "finish"

    # A member is equal to itself alone, and looked up for every roll: Enum's own hash is slow.
    __hash__ = object.__hash__


class Effect(enum.Enum):
    """What a transition asks its session to do."""

    START_TIMERS = "start timers"
    TAKE_DICE = "take dice"
    NOTE_CALLER = "note caller"
    FORGET_CALLER = "forget caller"
    MOVE_DICE = "move dice"
    OPEN_WINDOW = "open window"

    __hash__ = object.__hash__  # as for events


class Seat(msgspec.Struct, gc=False):
    """A player's place. `riding`: the player left, contract bets stay to their decision (R30)."""

    player: int
    last_ms: int
    """Agreed time of the player's last operation here."""
    riding: bool = False
    ready: bool = False
    bets: dict[BetKey, Bet] = {}
    position: Position | None = None
    """That of the bets, None while nobody asked since they changed in a way of its own."""

    def leaf(self) -> bytes:
        """Return what the session's seats root commits to; bets in key order."""
        return encode(
            (
                self.player,
                self.last_ms,
                int(self.riding),
                int(self.ready),
                [(*key, *bet_values(self.bets[key])) for key in sorted(self.bets)],
            )
        )


def bet_values(bet: Bet) -> tuple[int, int, int, int]:
    """Return the fields of a bet in leaf order."""
    return bet.stake, bet.id, bet.working, bet.vig


def parse_seat(leaf: bytes) -> Seat | None:
    """Return the seat of a leaf, None for a free one; raises `DecodeError`."""
    if not leaf:
        return None
    player, last_ms, riding, ready, bets = decode_as(
        leaf, tuple[Uint, Uint, Flag, Flag, tuple[tuple[Uint, Uint, Uint, Uint, Uint, Uint], ...]]
    )
    return Seat(
        player,
        last_ms,
        bool(riding),
        bool(ready),
        {BetKey(kind, number): Bet(*values) for kind, number, *values in bets},
    )


class Moment(msgspec.Struct, frozen=True, gc=False):
    """What the guards of a session read: the session, who acts (a seat or NOBODY), when.

    One is made for every event, so it is the cheapest kind of record.
    """

    session: "GameSession"
    seat: int
    time_ms: int
    can_close: bool
    params: GameParams


def guard_dice(moment: Moment) -> Refusal | None:
    """The players must have dealt enough to make dice from (PROTOCOL 10)."""
    return None if moment.can_close else Refusal(Code.NO_DICE)


def guard_holder(moment: Moment) -> Refusal | None:
    """Only the seat that has the dice decides over them."""
    holder = moment.session.holder()
    if holder == moment.seat:
        return None
    return Refusal(Code.NOT_THROWER, (moment.session.player_at(holder),))


def guard_willing(moment: Moment) -> Refusal | None:
    """R2: who throws has a bet that lets it."""
    return None if moment.session.is_willing(moment.seat) else Refusal(Code.NOBODY_THROWS)


def guard_window(moment: Moment) -> Refusal | None:
    """R7: the others had time to bet, or said that they need none."""
    session = moment.session
    wait_ms = session.since_ms + moment.params.betting_min_ms - moment.time_ms
    if wait_ms <= 0 or session.all_ready(but=moment.seat):
        return None
    return Refusal(Code.TOO_EARLY, (wait_ms,))


def guard_window_over(moment: Moment) -> Refusal | None:
    """The betting window has its greatest length."""
    return _due(moment, moment.session.window_over_ms(moment.params))


def guard_thrower_slow(moment: Moment) -> Refusal | None:
    """R5: the thrower had its time, and somebody else may throw."""
    return _due(moment, moment.session.thrower_slow_ms(moment.params))


def _due(moment: Moment, due_ms: int | None) -> Refusal | None:
    if due_ms is not None and due_ms <= moment.time_ms:
        return None
    next_ms = moment.session.due_ms(moment.params)
    assert next_ms is not None, "a timer runs while bets are taken"
    return Refusal(Code.NOT_DUE, (next_ms - moment.time_ms,))


def guard_may_pass(moment: Moment) -> Refusal | None:
    """R5: dice are passed only when the game lets them."""
    session = moment.session
    return None if session.rules.may_pass_dice(session.board) else Refusal(Code.HAND_GOES_ON)


def guard_company(moment: Moment) -> Refusal | None:
    """Somebody else is there to take the dice."""
    session = moment.session
    return None if session.next_seat(moment.seat) != moment.seat else Refusal(Code.NOBODY_ELSE)


def guard_empty(moment: Moment) -> Refusal | None:
    """Nobody is seated; that nothing lies on the layout is the phase."""
    taken, layout = moment.session.occupancy()
    return Refusal(Code.NOT_EMPTY, (taken, layout)) if taken else None


_EMPTY_LAYOUT = Refusal(Code.NOTHING_LIES)
_NO_TIMER = Refusal(Code.NO_TIMER)
_CALLED = Refusal(Code.ROLL_CALLED)
_OUT = Refusal(Code.NO_MORE_BETS)
_BUSY = Refusal(Code.NOT_EMPTY)

_PASS_GUARDS = (guard_holder, guard_may_pass, guard_company)

TABLE: Table[Phase, Event, Moment, Effect] = {
    (Phase.OPEN, Event.BET): Transition(Phase.BETTING, (), (Effect.START_TIMERS,)),
    (Phase.OPEN, Event.ROLL): _EMPTY_LAYOUT,
    (Phase.OPEN, Event.WINDOW_OVER): _NO_TIMER,
    (Phase.OPEN, Event.THROWER_SLOW): _NO_TIMER,
    (Phase.OPEN, Event.DECLINE): Transition(Phase.OPEN, _PASS_GUARDS, (Effect.MOVE_DICE,)),
    (Phase.OPEN, Event.FINISH): Transition(Phase.FINISHED, (guard_empty,)),
    (Phase.BETTING, Event.EMPTIED): Transition(Phase.OPEN),
    (Phase.BETTING, Event.ROLL): Transition(
        Phase.CLOSING,
        (guard_holder, guard_willing, guard_window, guard_dice),
        (Effect.TAKE_DICE, Effect.NOTE_CALLER),
    ),
    (Phase.BETTING, Event.WINDOW_OVER): Transition(
        Phase.CLOSING, (guard_window_over, guard_dice), (Effect.TAKE_DICE,)
    ),
    (Phase.BETTING, Event.THROWER_SLOW): Transition(
        Phase.BETTING, (guard_thrower_slow,), (Effect.MOVE_DICE,)
    ),
    (Phase.BETTING, Event.DECLINE): Transition(Phase.BETTING, _PASS_GUARDS, (Effect.MOVE_DICE,)),
    (Phase.BETTING, Event.FINISH): _BUSY,
    (Phase.CLOSING, Event.EMPTIED): Transition(Phase.OPEN, (), (Effect.FORGET_CALLER,)),
    (Phase.CLOSING, Event.ROLL): _CALLED,
    (Phase.CLOSING, Event.WINDOW_OVER): _CALLED,
    (Phase.CLOSING, Event.THROWER_SLOW): _CALLED,
    (Phase.CLOSING, Event.DECLINE): _CALLED,
    (Phase.CLOSING, Event.BLOCK_END): Transition(Phase.CLOSED, (), (Effect.FORGET_CALLER,)),
    (Phase.CLOSING, Event.FINISH): _BUSY,
    (Phase.CLOSED, Event.ROLL): _OUT,
    (Phase.CLOSED, Event.WINDOW_OVER): _OUT,
    (Phase.CLOSED, Event.THROWER_SLOW): _OUT,
    (Phase.CLOSED, Event.DECLINE): _OUT,
    (Phase.CLOSED, Event.DICE): Transition(Phase.SETTLING),
    (Phase.CLOSED, Event.FINISH): _BUSY,
    (Phase.SETTLING, Event.PAID): Transition(Phase.BETTING, (), (Effect.OPEN_WINDOW,)),
    (Phase.SETTLING, Event.EMPTIED): Transition(Phase.OPEN, (), (Effect.OPEN_WINDOW,)),
}
MACHINE = StateMachine(TABLE)


class _SessionLeaf(Record, frozen=True):
    """What the sessions root commits to for one session."""

    game: Uint
    serial: Uint
    creator: Uint
    board: tuple[Uint, ...]
    phase: Uint
    rolls: Uint
    dice: Uint
    since_ms: Uint
    dice_ms: Uint
    active_ms: Uint
    idle_ms: Uint
    seats_root: Bytes32


class GameSession(msgspec.Struct, gc=False):
    """One game. Lists, the tree and the seats are shared between copies until `own_seat`.

    `touched` holds the seats that this copy made or copied since the seats root was last taken:
    those, and no others, may be written to in place.
    """

    rules: GameRules
    game: int
    serial: int
    """Creation height << 16 | index: names the session for good, while slots are used again."""
    creator: int
    board: Board
    phase: Phase = Phase.OPEN
    rolls: int = 0
    """Rolls settled."""
    dice: int = 0
    """The seat before which the dice lie."""
    caller: int = NOBODY
    """The seat that called the roll of this block, if one did."""
    since_ms: int = 0
    """Start of the betting window."""
    dice_ms: int = 0
    """When the dice last changed their seat."""
    active_ms: int = 0
    """When the layout last stopped being empty."""
    idle_ms: int = 0
    """When it was opened, or somebody last left."""
    layout: int = 0
    """Chips on it, vig included."""
    seats: list[Seat | None] = []
    seat_of: dict[int, int] = {}
    """Seat of each player here, riding ones included. Replaced, never changed."""
    prizes: int = 0
    """What the bets here could win, each for itself: at least `worst`."""
    known: tuple[int, int] | None = None
    """`exposure` and `worst`, None while nobody asked since the roll."""
    touched: dict[int, None] = {}
    tree: MerkleTree = msgspec.field(default_factory=MerkleTree)
    due_known: bool = False
    due_cache: int | None = None

    @classmethod
    def opened(
        cls, rules: GameRules, game: int, serial: int, creator: int, time_ms: int
    ) -> "GameSession":
        """Return a session with nobody seated."""
        return cls(
            rules,
            game,
            serial,
            creator,
            rules.opening_board(),
            idle_ms=time_ms,
        )

    def copy(self) -> "GameSession":
        """Return a session that may be changed while this one stays as it is.

        Neither may have seats touched since its last `seats_root`.
        """
        assert not self.touched, "copied between two roots"
        twin = replace(self)
        twin.seats = list(self.seats)
        twin.touched = {}
        return twin

    # Events.

    def perform(self, step: Transition[Phase, Moment, Effect], moment: Moment) -> None:
        """Do what a transition of the table says."""
        self.phase = step.target
        for effect in step.effects:
            self._PERFORM[effect](self, moment)

    def _start_timers(self, moment: Moment) -> None:
        self.since_ms = self.active_ms = moment.time_ms

    def _take_dice(self, moment: Moment) -> None:
        holder = self.holder()
        if holder != NOBODY:
            self._give_dice(holder, moment.time_ms)

    def _note_caller(self, moment: Moment) -> None:
        self.caller = moment.seat

    def _forget_caller(self, _moment: Moment) -> None:
        self.caller = NOBODY

    def _move_dice(self, moment: Moment) -> None:
        self._give_dice(self.next_seat(self.holder()), moment.time_ms)

    def _give_dice(self, index: int, time_ms: int) -> None:
        if index != self.dice:
            self.dice, self.dice_ms = index, time_ms

    def _open_window(self, moment: Moment) -> None:
        """Start betting for the next roll: nobody is ready, and vacated seats are free (R7)."""
        self.since_ms = moment.time_ms
        for index, seat in enumerate(self.seats):
            if seat is None:
                continue
            if seat.ready:
                self.own_seat(index).ready = False
            if seat.riding:
                self.free_if_done(index)

    _PERFORM: ClassVar[Mapping[Effect, Callable[["GameSession", Moment], None]]] = {
        Effect.START_TIMERS: _start_timers,
        Effect.TAKE_DICE: _take_dice,
        Effect.NOTE_CALLER: _note_caller,
        Effect.FORGET_CALLER: _forget_caller,
        Effect.MOVE_DICE: _move_dice,
        Effect.OPEN_WINDOW: _open_window,
    }

    # Seats.

    def own_seat(self, index: int) -> Seat:
        """Return a seat to write to, a copy of it if another session may share it."""
        seat = self.seats[index]
        assert seat is not None, f"seat {index} is free"
        if index not in self.touched:
            self.touched[index] = None
            seat = replace(seat)
            seat.bets = dict(seat.bets)
            self.seats[index] = seat
        return seat

    def sit(self, player: int, time_ms: int) -> int:
        """Give a player the seat where their bets ride, or the lowest free one; return it."""
        index = self.seat_of.get(player)
        if index is not None:
            seat = self.own_seat(index)
            seat.riding, seat.last_ms = False, time_ms
        else:
            index = self.seats.index(None) if None in self.seats else len(self.seats)
            if index == len(self.seats):
                self.seats.append(None)
            self.seats[index] = Seat(player, time_ms, bets={})
            self.touched[index] = None
            self.seat_of = {**self.seat_of, player: index}
        return index

    def vacate(self, index: int, time_ms: int) -> list[Bet]:
        """Let the player of a seat leave (R30); return the bets that go back to the rack.

        Contract bets ride on; the dice go to the next seat (R5).
        """
        seat = self.own_seat(index)
        if self.dice == index:
            self._give_dice(self.next_seat(index), time_ms)
        free = [key for key in seat.bets if not self.rules.is_contract(self.board, key)]
        back = [self.remove(index, key) for key in free]
        seat.riding, seat.ready = True, False
        self.idle_ms = time_ms
        self.free_if_done(index)
        return back

    def free_if_done(self, index: int) -> None:
        """Free a seat whose player left and whose last bet is gone."""
        seat = self.seats[index]
        if seat is not None and seat.riding and not seat.bets:
            self.seats[index] = None
            self.touched[index] = None
            self.seat_of = {p: i for p, i in self.seat_of.items() if i != index}

    def player_at(self, index: int) -> int:
        """Return the player of a taken seat."""
        seat = self.seats[index]
        assert seat is not None, f"seat {index} is free"
        return seat.player

    def is_seated(self, index: int) -> bool:
        """Say whether somebody sits there who has not left."""
        seat = self.seats[index]
        return seat is not None and not seat.riding

    def is_willing(self, index: int) -> bool:
        """Say whether the seat may throw with the bets it has (R2)."""
        seat = self.seats[index]
        return seat is not None and not seat.riding and self.rules.may_throw(self.board, seat.bets)

    def occupancy(self) -> tuple[int, int]:
        """Return how many seats are taken and how many chips lie on the layout."""
        return sum(seat is not None for seat in self.seats), self.layout

    def all_ready(self, but: int) -> bool:
        """Say whether every seated player but one has said that they need no more time."""
        return all(
            seat is None or seat.riding or seat.ready or index == but
            for index, seat in enumerate(self.seats)
        )

    # Dice.

    def holder(self) -> int:
        """Return the seat that has the dice: the first willing one from where they lie.

        If nobody is willing, the first seated one: the dice are offered there. NOBODY if nobody
        is seated.
        """
        dice, seats = self.dice, self.seats
        offered, may_throw, board = NOBODY, self.rules.may_throw, self.board
        seat = seats[dice] if dice < len(seats) else None
        if seat is not None and not seat.riding and may_throw(board, seat.bets):
            return dice  # nearly always: who has the dice throws them
        order: tuple[int, ...] = (*range(dice, len(seats)), *range(min(dice, len(seats))))
        for index in order:
            seat = seats[index]
            if seat is None or seat.riding:
                continue
            if may_throw(board, seat.bets):
                return index
            if offered == NOBODY:
                offered = index
        return offered

    def is_thrown(self) -> bool:
        """Say whether somebody throws: a session of riding bets alone is thrown by its timer."""
        return self.dice < len(self.seats) and self.is_seated(self.dice)

    def end_hand(self, time_ms: int) -> None:
        """Give the dice to the next seat (R4)."""
        self._give_dice(self.next_seat(self.dice), time_ms)

    def next_seat(self, index: int) -> int:
        """Return the next seated seat clockwise, `index` itself if it is the only one or none."""
        order = (*range(index + 1, len(self.seats)), *range(index))
        return next((other for other in order if self.is_seated(other)), index)

    # Bets.

    @property
    def exposure(self) -> int:
        """What each outcome asks of the bank, all bets together, packed (see `lanes`)."""
        return (self.known or self._count_exposure())[0]

    @property
    def worst(self) -> int:
        """The most that an outcome asks, at least 0."""
        return (self.known or self._count_exposure())[1]

    def exposed(self, exposure: Exposure, stake: int) -> int:
        """Return the exposure with `stake` more on such a bet; negative for less."""
        return self.exposure + stake // exposure.unit * exposure.packed

    def remove(self, index: int, key: BetKey) -> Bet:
        """Take a whole bet off the layout and return it; the caller gives its chips back."""
        seat = self.own_seat(index)
        bet, seat.position = seat.bets.pop(key), None
        self._expose(key, bet, -bet.stake)
        self.prizes -= self.rules.prize(key, bet.stake)
        self.layout -= bet.stake + bet.vig
        return bet

    def lower(self, index: int, key: BetKey, amount: int) -> int:
        """Take part of a bet off the layout; return the chips for the rack, vig included."""
        seat = self.own_seat(index)
        bet = seat.bets[key]
        rules, stake = self.rules, bet.stake - amount
        vig = rules.vig(key, stake)
        seat.bets[key], seat.position = Bet(stake, bet.id, bet.working, vig), None
        self._expose(key, bet, -amount)
        self.prizes += rules.prize(key, stake) - rules.prize(key, bet.stake)
        chips = amount + bet.vig - vig
        self.layout -= chips
        return chips

    def reworked(self, key: BetKey, bet: Bet, working: int) -> int:
        """Return the exposure with a bet called on, off, or as the rules say."""
        before = self.rules.exposure(self.board, key, bet.working)
        after = self.rules.exposure(self.board, key, working)
        return self.exposure + bet.stake // before.unit * (after.packed - before.packed)

    def _expose(self, key: BetKey, bet: Bet, stake: int) -> None:
        """Keep a known exposure true for `stake` chips more or less on a bet."""
        if self.known is not None:
            exposure = self.rules.exposure(self.board, key, bet.working)
            self.set_exposure(self.exposed(exposure, stake))

    def worst_of(self, exposure: int) -> int:
        """Return the most that an outcome asks with this exposure, at least 0."""
        return max(greatest(exposure, len(self.rules.outcome_names)), 0)

    def set_exposure(self, exposure: int) -> tuple[int, int]:
        """Replace what each outcome asks of the bank; return it with the worst of it."""
        self.known = known = exposure, self.worst_of(exposure)
        return known

    def count_layout(self) -> None:
        """Compute layout and prizes from the bets themselves."""
        bets = [item for seat in self.seats if seat is not None for item in seat.bets.items()]
        self.layout = sum(bet.stake + bet.vig for _, bet in bets)
        self.prizes = sum(self.rules.prize(key, bet.stake) for key, bet in bets)

    def _count_exposure(self) -> tuple[int, int]:
        """Compute the exposure from the bets themselves."""
        stakes: dict[tuple[BetKey, int], int] = {}
        for seat in self.seats:
            for key, bet in () if seat is None else seat.bets.items():
                name = key, bet.working
                stakes[name] = stakes.get(name, 0) + bet.stake
        rules, board = self.rules, self.board
        exposure = 0
        for (key, working), stake in stakes.items():
            one = rules.exposure(board, key, working)
            exposure += stake // one.unit * one.packed
        return self.set_exposure(exposure)

    def to_return(self, won: dict[tuple[int, BetKey], None]) -> tuple[int, BetKey]:
        """Return seat and key of the bet that a short bank gives back next (see `treasury`)."""
        exposure = unpack(self.exposure, len(self.rules.outcome_names))
        outcome = exposure.index(max(exposure))
        candidates = [
            ((index, key) not in won, self.rules.is_contract(self.board, key), -bet.id, index, key)
            for index, seat in enumerate(self.seats)
            if seat is not None
            for key, bet in seat.bets.items()
            if self.rules.exposure(self.board, key, bet.working).per_unit[outcome] > 0
        ]
        assert candidates, "an exposed session has a bet that the worst outcome pays"
        *_, index, key = min(candidates)
        return index, key

    # Timers.

    def window_over_ms(self, params: GameParams) -> int | None:
        """Return when the dice are thrown without being asked for, None while no timer runs."""
        return self.since_ms + params.betting_max_ms if self.phase == _BETTING else None

    def thrower_slow_ms(self, params: GameParams) -> int | None:
        """Return when the dice go on, None if nobody else would throw them."""
        if self.phase != _BETTING:
            return None
        holder = self.holder()
        for index in range(len(self.seats)):
            if index != holder and self.is_willing(index):
                return max(self.since_ms, self.dice_ms) + params.thrower_ms
        return None

    def absent_seat_ms(self, seat: Seat, params: GameParams) -> int:
        """Return when a seat counts as absent if its player does nothing."""
        return max(seat.last_ms, self.active_ms) + params.absent_ms

    def absent(self, time_ms: int, params: GameParams) -> tuple[int, ...]:
        """Return the seats whose players are absent at this time, lowest first."""
        if self.phase != Phase.BETTING:
            return ()
        return tuple(
            index
            for index, seat in enumerate(self.seats)
            if seat is not None and not seat.riding and self.absent_seat_ms(seat, params) <= time_ms
        )

    def due_ms(self, params: GameParams) -> int | None:
        """Return the agreed time of the next timer, None while none runs."""
        if not self.due_known:
            self.due_known, self.due_cache = True, self._find_due_ms(params)
        return self.due_cache

    def _find_due_ms(self, params: GameParams) -> int | None:
        due = self.window_over_ms(params)
        if due is None:
            return None
        slow = self.thrower_slow_ms(params)
        if slow is not None and slow < due:
            due = slow
        for seat in self.seats:
            if seat is not None and not seat.riding:
                due = min(due, self.absent_seat_ms(seat, params))
        return due

    def is_idle(self, time_ms: int, params: GameParams) -> bool:
        """Say whether nothing lies here and nobody did anything for the time of an absent seat."""
        last = max((seat.last_ms for seat in self.seats if seat is not None), default=0)
        return self.phase == Phase.OPEN and max(last, self.idle_ms) + params.absent_ms <= time_ms

    # Roots.

    def leaf(self) -> bytes:
        """Return what the sessions root commits to, the root of its seats included."""
        assert self.phase not in _WITHIN_BLOCK, self.phase
        if self.touched:
            self.tree = self.tree.copy()
            for index in sorted(self.touched):
                seat = self.seats[index]
                self.tree.set(index, b"" if seat is None else seat.leaf())
            self.touched = {}
        return encode(
            _SessionLeaf(
                self.game,
                self.serial,
                self.creator,
                self.board,
                int(self.phase),
                self.rolls,
                self.dice,
                self.since_ms,
                self.dice_ms,
                self.active_ms,
                self.idle_ms,
                self.tree.root(),
            )
        )

    def seat_leaves(self) -> tuple[bytes, ...]:
        """Return the leaves under the seats root; a free seat's is empty."""
        return tuple(b"" if seat is None else seat.leaf() for seat in self.seats)


def seats_root_of(leaf: bytes) -> bytes:
    """Return the root that a session's leaf holds over its seats; raises `DecodeError`."""
    return decode_as(leaf, _SessionLeaf).seats_root


def parse_session(
    rules: Mapping[int, GameRules], leaf: bytes, seats: Sequence[bytes]
) -> GameSession:
    """Return the session of its leaf and the leaves of its seats; raises `DecodeError`.

    Only the form is checked here: the leaves are under roots that somebody certified.
    """
    fields = decode_as(leaf, _SessionLeaf)
    if fields.game not in rules or not Phase.OPEN <= fields.phase <= Phase.CLOSED:
        raise DecodeError(f"session of game {fields.game} in phase {fields.phase}")
    session = GameSession(
        rules[fields.game],
        fields.game,
        fields.serial,
        fields.creator,
        fields.board,
        Phase(fields.phase),
        fields.rolls,
        fields.dice,
        NOBODY,
        fields.since_ms,
        fields.dice_ms,
        fields.active_ms,
        fields.idle_ms,
        seats=[parse_seat(seat) for seat in seats],
        tree=MerkleTree(seats),
    )
    session.seat_of = {
        seat.player: index for index, seat in enumerate(session.seats) if seat is not None
    }
    session.count_layout()
    return session
