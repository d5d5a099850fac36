"""The state against a naive model of the table, written from the rules and sharing none of its code.

The model keeps racks, bets and the bank in plain dictionaries, asks every face what it would cost
before it takes a bet, and pays by what `TinyGame.fate` says of one unit. After every step both must
agree on whether it was done, and on every chip, seat and die.
"""

from dataclasses import dataclass, field

import msgspec
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from node.game.operations import (
    CreateSession,
    Finish,
    Leave,
    Operation,
    PassDice,
    PlaceBet,
    Ready,
    Reduce,
    Roll,
    Sit,
    TakeDown,
    Working,
)
from node.game.rules import Bet, BetKey
from node.game.session import Phase
from tests.game.tables import FAST, Game, roots
from tests.game.tiny import (
    ACE,
    FIELD,
    GAME,
    LAY,
    MOVE,
    OFF,
    RIDE,
    SIDE,
    SIDES,
    STAY,
    TinyGame,
)

PLAYERS, SLOTS, BETS_MAX, BANK, BUY_IN = 3, 2, 4, 90, 150
PARAMS = msgspec.structs.replace(
    FAST, bank=BANK, buy_in=BUY_IN, max_sessions=SLOTS, bets_per_seat=BETS_MAX, rake_bp=700
)
RULES = TinyGame()


@dataclass
class Chips:
    """A bet: stake, call, and when its first chip came."""

    stake: int
    born: int
    working: int = 0


@dataclass
class Place:
    player: int
    gone: bool = False
    ready: bool = False
    bets: dict[BetKey, Chips] = field(default_factory=dict)

    def seen(self) -> dict[BetKey, Bet]:
        """The bets as the rules of the game read them."""
        return {key: Bet(bet.stake, 0, bet.working) for key, bet in self.bets.items()}


@dataclass
class Table:
    """One session of the model."""

    creator: int
    seats: list[Place | None] = field(default_factory=list)
    board: tuple[int, ...] = (0, 0)
    dice: int = 0
    closed: bool = False
    since: int = 0

    def place(self, player: int) -> Place | None:
        return next((seat for seat in self.seats if seat and seat.player == player), None)

    def all_bets(self) -> list[tuple[int, BetKey, Chips]]:
        return [
            (index, key, bet)
            for index, seat in enumerate(self.seats)
            if seat
            for key, bet in seat.bets.items()
        ]

    def asked(self, face: int) -> int:
        return sum(
            bet.stake // RULES.unit(key) * RULES.needs(key, bet.working, face)
            for _, key, bet in self.all_bets()
        )

    def worst(self) -> int:
        return max(0, *map(self.asked, SIDES))

    def holder(self) -> int | None:
        count = len(self.seats)
        order = [(self.dice + step) % count for step in range(count)]
        here = [(i, seat) for i in order if (seat := self.seats[i]) and not seat.gone]
        willing = [i for i, seat in here if RULES.may_throw(self.board, seat.seen())]
        return willing[0] if willing else here[0][0] if here else None

    def bets_at(self, index: int) -> dict[BetKey, Chips]:
        seat = self.seats[index]
        return seat.bets if seat else {}

    def after(self, index: int) -> int:
        count = len(self.seats)
        for step in range(1, count):
            seat = self.seats[(index + step) % count]
            if seat and not seat.gone:
                return (index + step) % count
        return index


class Naive:
    """The whole table of the model."""

    def __init__(self) -> None:
        self.racks = [BUY_IN] * PLAYERS
        self.bank = BANK
        self.tables: list[Table | None] = []
        self.now = self.births = 0

    def covered(self) -> bool:
        return sum(table.worst() for table in self.tables if table) <= self.bank

    def back(self, table: Table, index: int, key: BetKey) -> None:
        seat = table.seats[index]
        assert seat
        stake = seat.bets.pop(key).stake
        self.racks[seat.player] += stake + RULES.vig(key, stake)

    def take_whole(self, table: Table, index: int, key: BetKey) -> None:
        self.back(table, index, key)
        side = BetKey(SIDE, 0)
        if key.kind == RIDE and side in table.bets_at(index):
            self.back(table, index, side)

    def cover(self, table: Table, won: list[tuple[int, BetKey]]) -> None:
        while not self.covered():
            face = max(SIDES, key=lambda f: (table.asked(f), -f))
            paid = [
                (
                    (index, key) not in won,
                    RULES.is_contract(table.board, key),
                    -bet.born,
                    index,
                    key,
                )
                for index, key, bet in table.all_bets()
                if RULES.needs(key, bet.working, face) > 0
            ]
            *_, index, key = min(paid)
            self.take_whole(table, index, key)
            self.sweep(table)

    def sweep(self, table: Table) -> None:
        table.seats = [None if s and s.gone and not s.bets else s for s in table.seats]

    # Operations: each says whether it was done.

    def create(self, player: int) -> bool:
        free = [i for i, table in enumerate(self.tables) if table is None]
        if not free and len(self.tables) == SLOTS:
            return False
        if not free:
            self.tables.append(None)
            free = [len(self.tables) - 1]
        self.tables[free[0]] = Table(player)
        return True

    def table(self, slot: int) -> Table | None:
        return self.tables[slot] if slot < len(self.tables) else None

    def open_seat(self, player: int, slot: int) -> tuple[Table, Place, int] | None:
        table = self.table(slot)
        place = table.place(player) if table else None
        if not table or not place or place.gone or table.closed:
            return None
        return table, place, table.seats.index(place)

    def sit(self, player: int, slot: int) -> bool:
        table = self.table(slot)
        if not table:
            return False
        place = table.place(player)
        if place and not place.gone:
            return False
        if place:
            place.gone = False
        elif None in table.seats:
            table.seats[table.seats.index(None)] = Place(player)
        else:
            table.seats.append(Place(player))
        return True

    def leave(self, player: int, slot: int) -> bool:
        found = self.open_seat(player, slot)
        if not found:
            return False
        table, place, index = found
        if table.dice == index:
            table.dice = table.after(index)
        for key in list(place.bets):
            if not RULES.is_contract(table.board, key):
                self.back(table, index, key)
        place.gone, place.ready = True, False
        self.sweep(table)
        self.cover(table, [])
        return True

    def bet(self, player: int, slot: int, key: BetKey, amount: int) -> bool:
        found = self.open_seat(player, slot)
        if not found or amount < 1:
            return False
        table, place, _ = found
        if RULES.check_bet(table.board, place.seen(), key, amount):
            return False
        old = place.bets.get(key)
        if old is None and len(place.bets) == BETS_MAX:
            return False
        before = old.stake if old else 0
        cost = amount + RULES.vig(key, before + amount) - RULES.vig(key, before)
        if cost > self.racks[player]:
            return False
        empty = not table.all_bets()
        self.births += 1
        born, working = (old.born, old.working) if old else (self.births, 0)
        place.bets[key] = Chips(before + amount, born, working)
        if not self.covered():
            del place.bets[key]
            if old:
                place.bets[key] = old
            return False
        self.racks[player] -= cost
        place.ready = False
        if empty:
            table.since = self.now
        return True

    def reduce(self, player: int, slot: int, key: BetKey, amount: int | None) -> bool:
        found = self.open_seat(player, slot)
        if not found or key not in found[1].bets:
            return False
        table, place, index = found
        bet = place.bets[key]
        taken = bet.stake if amount is None else amount
        if not 1 <= taken <= bet.stake:
            return False
        if RULES.check_reduce(table.board, place.seen(), key, taken):
            return False
        if taken == bet.stake:
            self.take_whole(table, index, key)
        else:
            rest = bet.stake - taken
            self.racks[player] += taken + RULES.vig(key, bet.stake) - RULES.vig(key, rest)
            bet.stake = rest
        place.ready = False
        self.cover(table, [])
        return True

    def call(self, player: int, slot: int, key: BetKey, working: int) -> bool:
        found = self.open_seat(player, slot)
        if not found or key not in found[1].bets or key.kind != STAY:
            return False
        bet = found[1].bets[key]
        was, bet.working = bet.working, working
        if not self.covered():
            bet.working = was
            return False
        found[1].ready = False
        return True

    def ready(self, player: int, slot: int) -> bool:
        found = self.open_seat(player, slot)
        if found:
            found[1].ready = True
        return found is not None

    def roll(self, player: int, slot: int) -> bool:
        found = self.open_seat(player, slot)
        if not found:
            return False
        table, place, index = found
        others = [seat for seat in table.seats if seat and not seat.gone and seat is not place]
        early = self.now < table.since + PARAMS.betting_min_ms
        if (
            not table.all_bets()
            or table.holder() != index
            or not RULES.may_throw(table.board, place.seen())
            or (early and not all(seat.ready for seat in others))
        ):
            return False
        table.closed, table.dice = True, index
        return True

    def pass_dice(self, player: int, slot: int) -> bool:
        found = self.open_seat(player, slot)
        if not found or found[0].board[0] or found[0].holder() != found[2]:
            return False
        table, _, index = found
        if table.after(index) == index:
            return False
        table.dice = table.after(index)
        return True

    def finish(self, player: int, slot: int) -> bool:
        table = self.table(slot)
        if not table or table.creator != player or any(table.seats) or table.closed:
            return False
        self.tables[slot] = None
        return True

    def settle(self, slot: int, face: int) -> None:
        table = self.tables[slot]
        assert table
        won: list[tuple[int, BetKey]] = []
        for index, seat in enumerate(table.seats):
            if seat:
                self.settle_seat(index, seat, face, won)
        table.board = RULES.advance(table.board, face - 1)[0]
        self.cover(table, won)
        if face == 1:
            table.dice = table.after(table.dice)
        for seat in table.seats:
            if seat:
                seat.ready = False
        self.sweep(table)
        table.closed, table.since = False, self.now

    def settle_seat(
        self, index: int, seat: Place, face: int, won: list[tuple[int, BetKey]]
    ) -> None:
        travelling: dict[BetKey, Chips] = {}
        for key, bet in list(seat.bets.items()):
            fate = RULES.fate(key, bet.working, face)
            units, vig = bet.stake // RULES.unit(key), RULES.vig(key, bet.stake)
            if fate.lost:
                self.bank += bet.stake + vig
            profit = units * fate.profit
            rake = profit * PARAMS.rake_bp // 10_000
            self.bank -= profit - rake
            self.racks[seat.player] += profit - rake
            if fate.profit and not fate.stays:
                self.racks[seat.player] += bet.stake
                self.bank += vig
            if fate.profit and fate.stays:
                won.append((index, key))
            if not fate.stays or fate.moves_to is not None:
                del seat.bets[key]
            if fate.moves_to is not None:
                travelling[BetKey(MOVE, fate.moves_to)] = Chips(bet.stake, bet.born)
        for key, bet in travelling.items():
            assert key not in seat.bets, "the one that stood there has just won"
            seat.bets[key] = bet


Players = st.integers(0, PLAYERS - 1)
Slots = st.integers(0, SLOTS - 1)
Keys = st.one_of(
    st.builds(BetKey, st.sampled_from([RIDE, SIDE, FIELD, LAY, MOVE, ACE]), st.just(0)),
    st.builds(BetKey, st.just(STAY), st.integers(2, 6)),
    st.builds(BetKey, st.just(MOVE), st.integers(2, 6)),
)
Amounts = st.one_of(st.sampled_from([6, 12, 20, 60]), st.integers(0, 40), st.just(200))


class Both(RuleBasedStateMachine):
    """Every step goes to the state and to the model."""

    def __init__(self) -> None:
        super().__init__()
        self.game = Game(players=PLAYERS, params=PARAMS)
        self.naive = Naive()
        # Most of what is worth trying needs a seat.
        self.step(0, CreateSession(GAME), lambda: self.naive.create(0))
        for player in (0, 1):
            self.step(player, Sit(0), lambda who=player: self.naive.sit(who, 0))

    def step(self, player: int, operation: Operation, model: object) -> None:
        assert callable(model)
        was = roots(self.game.state)
        self.naive.now = self.game.state.time_ms + 300
        (receipt,) = self.game.block((player, operation), ms=300)
        done = model()
        assert (receipt.code == 0) == done, (operation, receipt)
        if not done:
            assert roots(self.game.state) == was

    @rule(player=Players)
    def create(self, player: int) -> None:
        self.step(player, CreateSession(GAME), lambda: self.naive.create(player))

    @rule(player=Players, slot=Slots)
    def sit(self, player: int, slot: int) -> None:
        self.step(player, Sit(slot), lambda: self.naive.sit(player, slot))

    @rule(player=Players, slot=Slots)
    def leave(self, player: int, slot: int) -> None:
        self.step(player, Leave(slot), lambda: self.naive.leave(player, slot))

    @rule(player=Players, slot=Slots, key=Keys, amount=Amounts)
    def bet(self, player: int, slot: int, key: BetKey, amount: int) -> None:
        operation = PlaceBet(slot, *key, amount)
        self.step(player, operation, lambda: self.naive.bet(player, slot, key, amount))

    @rule(player=Players, amount=st.integers(1, 30))
    def bet_to_throw(self, player: int, amount: int) -> None:
        self.bet(player, 0, BetKey(RIDE, 0), amount)

    @rule(player=Players, slot=Slots, key=Keys, amount=Amounts)
    def reduce(self, player: int, slot: int, key: BetKey, amount: int) -> None:
        operation = Reduce(slot, *key, amount)
        self.step(player, operation, lambda: self.naive.reduce(player, slot, key, amount))

    @rule(player=Players, slot=Slots, key=Keys)
    def take_down(self, player: int, slot: int, key: BetKey) -> None:
        operation = TakeDown(slot, *key)
        self.step(player, operation, lambda: self.naive.reduce(player, slot, key, None))

    @rule(player=Players, slot=Slots, number=st.integers(2, 6), working=st.integers(0, OFF))
    def call(self, player: int, slot: int, number: int, working: int) -> None:
        operation = Working(slot, STAY, number, working)
        key = BetKey(STAY, number)
        self.step(player, operation, lambda: self.naive.call(player, slot, key, working))

    @rule(player=Players, slot=Slots)
    def ready(self, player: int, slot: int) -> None:
        self.step(player, Ready(slot), lambda: self.naive.ready(player, slot))

    @rule(player=Players, slot=Slots)
    def roll(self, player: int, slot: int) -> None:
        self.step(player, Roll(slot), lambda: self.naive.roll(player, slot))

    @rule(player=Players, slot=Slots)
    def pass_dice(self, player: int, slot: int) -> None:
        self.step(player, PassDice(slot), lambda: self.naive.pass_dice(player, slot))

    @rule(player=Players, slot=Slots)
    def finish(self, player: int, slot: int) -> None:
        self.step(player, Finish(slot), lambda: self.naive.finish(player, slot))

    @rule(slot=Slots, face=st.sampled_from(SIDES))
    def throw(self, slot: int, face: int) -> None:
        """A whole roll, as far as the table lets it."""
        table = self.naive.table(slot)
        if table is None or table.closed:
            return
        for player in range(PLAYERS):
            self.ready(player, slot)
        holder = table.holder()
        if holder is not None:
            place = table.seats[holder]
            assert place
            self.roll(place.player, slot)
        if table.closed:
            self.settle(face)

    @rule(
        slot=Slots,
        bets=st.lists(st.tuples(Players, Keys, Amounts), min_size=3, max_size=9),
        faces=st.lists(st.sampled_from(SIDES), min_size=1, max_size=3),
    )
    def play(self, slot: int, bets: list[tuple[int, BetKey, int]], faces: list[int]) -> None:
        """Bets and whole rolls, so that much lies there when the single steps come."""
        if self.naive.table(slot) is None:
            self.create(0)
        for player in range(PLAYERS):
            self.sit(player, slot)
        for face in faces:
            self.bet(0, slot, BetKey(RIDE, 0), 1)
            for player, key, amount in bets:
                self.bet(player, slot, key, amount)
            self.throw(slot, face)

    @rule(data=st.data(), slot=Slots)
    def touch_a_bet(self, data: st.DataObject, slot: int) -> None:
        """Something about a bet that is there."""
        table = self.naive.table(slot)
        bets = table.all_bets() if table else []
        if table is None or not bets:
            return
        index, key, bet = data.draw(st.sampled_from(bets))
        place = table.seats[index]
        assert place
        amount = data.draw(st.sampled_from([bet.stake, 6, 20, 1]))
        working = data.draw(st.integers(0, OFF))
        match data.draw(st.sampled_from(["bet", "reduce", "take down", "call"])):
            case "bet":
                self.bet(place.player, slot, key, amount)
            case "reduce":
                self.reduce(place.player, slot, key, amount)
            case "take down":
                self.take_down(place.player, slot, key)
            case _:
                self.call(place.player, slot, key.number, working)

    @precondition(lambda self: any(table and table.closed for table in self.naive.tables))
    @rule(face=st.sampled_from(SIDES))
    def settle(self, face: int) -> None:
        closed = [slot for slot, table in enumerate(self.naive.tables) if table and table.closed]
        self.naive.now = self.game.state.time_ms + 300
        self.game.block(ms=300, faces=[(slot, face - 1) for slot in closed])
        for slot in closed:
            self.naive.settle(slot, face)

    @invariant()
    def every_chip_lies_where_the_model_says(self) -> None:
        naive, state = self.naive, self.game.state
        assert self.game.racks == naive.racks
        assert state.bank == naive.bank
        assert len(state.sessions) == len(naive.tables)
        for session, table in zip(state.sessions, naive.tables, strict=True):
            assert (session is None) == (table is None)
            if session is None or table is None:
                continue
            assert [
                None if seat is None else (seat.player, seat.riding, seat.ready)
                for seat in session.seats
            ] == [
                None if seat is None else (seat.player, seat.gone, seat.ready)
                for seat in table.seats
            ]
            assert {
                (index, key, bet.stake, bet.working, bet.vig)
                for index, seat in enumerate(session.seats)
                if seat
                for key, bet in seat.bets.items()
            } == {
                (index, key, bet.stake, bet.working, RULES.vig(key, bet.stake))
                for index, key, bet in table.all_bets()
            }
            # Asked of a copy: the session itself goes on without, as it does in play.
            assert session.copy().worst == table.worst()
            assert session.board == table.board
            assert (session.phase == Phase.CLOSED) == table.closed
            holder = table.holder()
            assert session.holder() == (-1 if holder is None else holder)


Both.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestTheStateAgreesWithANaiveModel = Both.TestCase
