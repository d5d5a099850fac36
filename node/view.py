"""What a player or a bot sees of the table: one plain value, made from the final state.

It crosses the control socket as JSON, so it holds only numbers, texts and tuples of them. Whoever
draws or decides needs nothing else; nobody outside the node reads the replicated state itself.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from consensus.encoding import Digest
from consensus.validators import faults_tolerated
from node.game.receipts import BetResult, RollResult
from node.game.rules import Bet, BetKey, GameRules
from node.game.session import GameSession, Phase, Seat
from node.game.state import GameState
from node.membership import Membership, offence_text

ROLLS_SHOWN = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class BetView:
    """One bet on the layout. `name` is what a player types to make it, without the amount."""

    kind: int
    number: int
    name: str
    stake: int
    working: int = 0
    vig: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayerView:
    """One player by index: the rack, the seat if it has one in this session, and its vote.

    `missed` counts turns in a row, `offence` says what was proven of who `cheated`; who has `left`
    the table never acts.
    """

    name: str
    rack: int
    seated: bool = False
    ready: bool = False
    bets: tuple[BetView, ...] = ()
    votes: bool = True
    wants_vote: bool = True
    missed: int = 0
    cheated: bool = False
    offence: str = ""
    left: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AskingView:
    """Somebody who asks to join. `join` is what lets them in, `approved` whether this node said yes."""

    name: str
    approvals: int
    needed: int
    approved: bool
    join: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PaidView:
    """What a roll did to one bet: chips won (positive) or lost (negative), 0 returned.

    `moved` is the name under which the bet goes on, if it moved; its chips are still on the layout.
    """

    player: int
    name: str
    chips: int
    moved: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RollView:
    """A settled roll of the session and every bet that it decided."""

    number: int
    dice: tuple[int, ...]
    paid: tuple[PaidView, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GameView:
    """One open game of the table. `seated` are players by index, `layout` the chips of their bets.

    `betting` says whether bets are taken now, else its dice are out.
    """

    session: int
    opener: int
    seated: tuple[int, ...]
    betting: bool
    rolls: int
    layout: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TableView:
    """A session of the table after the final block `height`, as seat `me` sees it.

    `session` is -1 while none is open, `thrower` -1 while nobody can throw, who needs
    `thrower_needs`. `board_texts` say what a player should see of `board`, the most important
    first. `betting` says whether bets are taken now (R7); `rolls` counts the settled ones. `layout`
    are the chips of all sessions' bets. `games` are all open sessions. `away` are the voters to whom
    this node has no link; without `waits_for` more of them nothing becomes final. `tolerated` of
    the voters may be away before the table stops. `no_vote_text` says why this node casts none,
    if it has a vote and does not. `me` is -1 while the table has not admitted the
    player here.
    """

    table: str
    height: int
    state_root: str
    me: int
    tolerated: int
    players: tuple[PlayerView, ...]
    bank: int
    layout: int
    minted: int
    session: int = -1
    betting: bool = False
    board: tuple[int, ...] = ()
    board_texts: tuple[str, ...] = ()
    thrower_needs: str = ""
    rolls: int = 0
    thrower: int = -1
    last: tuple[RollView, ...] = ()
    epoch: int = 0
    asking: tuple[AskingView, ...] = ()
    games: tuple[GameView, ...] = ()
    waits_for: int = 0
    away: tuple[str, ...] = ()
    no_vote_text: str = ""

    @property
    def own(self) -> PlayerView:
        """The player at this node, without anything while it is none."""
        return self.players[self.me] if self.me >= 0 else PlayerView(name="", rack=0, votes=False)

    @property
    def voters(self) -> tuple[str, ...]:
        """The names of those who vote."""
        return tuple(player.name for player in self.players if player.votes)

    @property
    def own_bets(self) -> Mapping[BetKey, Bet]:
        """The own bets in the form that the rules of the game read."""
        return {
            BetKey(bet.kind, bet.number): Bet(bet.stake, 0, bet.working, bet.vig)
            for bet in self.own.bets
        }

    @property
    def chips(self) -> int:
        """Every chip in sight: racks, layout, bank. Equal to `minted`, always."""
        return self.bank + self.layout + sum(player.rack for player in self.players)


def parse_view(data: object) -> TableView:
    """Return the view that a control socket sent."""
    return msgspec.convert(data, TableView, strict=True)


def build_view(
    state: GameState,
    rolls: Sequence[RollResult],
    *,
    table: str,
    names: Sequence[str],
    me: int,
    state_root: Digest,
    membership: Membership | None = None,
    asking: Sequence[AskingView] = (),
    shown: int | None = None,
    waits_for: int = 0,
    away: Sequence[str] = (),
    no_vote_text: str = "",
) -> TableView:
    """Return what player `me` sees after the final block of `state`.

    `rolls` are the latest settled rolls of all sessions, oldest first. The session shown is `shown`
    while it is open, else the first in which `me` has a seat, else the first open one. Without a
    `membership` everybody votes.
    """
    is_open = shown is not None and state.rules_of(shown) is not None
    slot = shown if shown is not None and is_open else _session_of(state, me)
    session = None if slot < 0 else state.sessions[slot]
    rules = state.rules_of(slot)
    players = tuple(
        _player(name, account.chips, _seat_of(session, index), rules)
        for index, (name, account) in enumerate(zip(names, state.accounts, strict=True))
    )
    if membership is not None:
        players = tuple(_with_vote(p, index, membership) for index, p in enumerate(players))
    common = TableView(
        table=table,
        height=state.height,
        state_root=state_root.hex(),
        me=me,
        tolerated=faults_tolerated(sum(player.votes for player in players)),
        players=players,
        bank=state.bank,
        layout=state.treasury.layout,
        minted=state.minted,
        epoch=0 if membership is None else membership.epoch,
        asking=tuple(asking),
        games=tuple(games_of(state)),
        waits_for=waits_for,
        away=tuple(away),
        no_vote_text=no_vote_text,
    )
    if session is None or rules is None:
        return common
    thrower = state.thrower(slot)
    own = [roll for roll in rolls if roll.serial == session.serial][-ROLLS_SHOWN:]
    return replace(
        common,
        session=slot,
        betting=session.phase in {Phase.OPEN, Phase.BETTING},
        board=session.board,
        board_texts=rules.board_texts(session.board),
        thrower_needs=rules.thrower_needs,
        rolls=session.rolls,
        thrower=-1 if thrower is None else thrower,
        last=tuple(_roll(roll, rules) for roll in own),
    )


def games_of(state: GameState) -> Iterator[GameView]:
    """Yield every open game of the table, lowest slot first."""
    for slot, session in enumerate(state.sessions):
        if session is not None:
            seats = (seat for seat in session.seats if seat is not None and not seat.riding)
            yield GameView(
                session=slot,
                opener=session.creator,
                seated=tuple(seat.player for seat in seats),
                betting=session.phase in {Phase.OPEN, Phase.BETTING},
                rolls=session.rolls,
                layout=session.layout,
            )


def _session_of(state: GameState, player: int) -> int:
    """Return the slot of the session to show, -1 if none is open."""
    open_slots = [slot for slot, session in enumerate(state.sessions) if session is not None]
    for slot in open_slots:
        if _seat_of(state.sessions[slot], player) is not None:
            return slot
    return open_slots[0] if open_slots else -1


def _seat_of(session: GameSession | None, player: int) -> Seat | None:
    index = None if session is None else session.seat_of.get(player)
    return None if session is None or index is None else session.seats[index]


def _player(name: str, rack: int, seat: Seat | None, rules: GameRules | None) -> PlayerView:
    if seat is None or rules is None:
        return PlayerView(name=name, rack=rack)
    bets = tuple(
        BetView(
            kind=key.kind,
            number=key.number,
            name=rules.bet_name(key),
            stake=bet.stake,
            working=bet.working,
            vig=bet.vig,
        )
        for key, bet in sorted(seat.bets.items())
    )
    return PlayerView(name=name, rack=rack, seated=not seat.riding, ready=seat.ready, bets=bets)


def _with_vote(player: PlayerView, slot: int, membership: Membership) -> PlayerView:
    member = membership.members[slot]
    return replace(
        player,
        votes=slot in membership.voters,
        wants_vote=bool(member.wants),
        missed=member.missed,
        cheated=bool(member.cheated),
        offence=offence_text(member),
        left=bool(member.left),
    )


def _roll(roll: RollResult, rules: GameRules) -> RollView:
    return RollView(number=roll.number, dice=roll.dice, paid=tuple(_paid(roll, rules)))


def _paid(roll: RollResult, rules: GameRules) -> Iterator[PaidView]:
    """Yield what each bet got; then what went back because the bank could not cover it."""
    for row in roll.bets:
        yield PaidView(
            player=row.player,
            name=rules.bet_name(BetKey(row.kind, row.number)),
            chips=row.profit - row.rake - row.lost - row.vig,
            moved=_moved(row, rules),
        )
    for back in roll.returned:
        name = rules.bet_name(BetKey(back.kind, back.number))
        yield PaidView(player=back.player, name=name, chips=0)


def _moved(row: BetResult, rules: GameRules) -> str:
    there = BetKey(row.new_kind, row.new_number)
    if not row.left or there == (row.kind, row.number):
        return ""
    return rules.bet_name(there)
