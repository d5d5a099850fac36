"""What a seat has on the layout as one value, and what becomes of it, worked out once.

The bets of a seat without their ids are a `Position`. What one more bet makes of it, and what a
roll does to it, follow from the rules, the position and what its bets see of the board, and from
nothing else; so players who bet alike, and one who bets as before, are answered from memory. Equal
positions are one object for as long as they are remembered, so to find one compares no bets.

To remember costs more than to work out, so only what is asked twice is remembered. A seat whose
last step was not has no position until it is empty, and is worked out bet by bet: who never does
the same again pays nearly nothing for it. Memory is bounded: a full one takes nothing new until so
much was missed that it had better be filled anew. A position that a seat still holds then is a
value as before, only nobody else finds it.
"""

from collections.abc import Hashable, Sequence
from functools import lru_cache
from typing import Final

import msgspec

from node.game.operations import PlaceBet
from node.game.params import BASIS
from node.game.rules import Bet, BetKey, Bets, Board, GameRules, Refusal, Settlement, key_of

REMEMBERED: Final = 1 << 14
"""What is kept at most: bets of positions, answers, questions asked once; some MiB."""
MISSED: Final = 1 << 18
"""Questions that a full memory does not answer before all of it is forgotten."""
TABLES: Final = 8
"""Rules under a rake whose answers are kept: a process has few tables."""


class Position:
    """The bets of one seat, their ids left out (0), none far-sighted. Equal to itself alone."""

    __slots__ = ("bets",)

    def __init__(self, bets: Bets) -> None:
        """Take bets that nobody changes."""
        self.bets = bets


class Placed(msgspec.Struct, frozen=True, gc=False):
    """What putting chips on a bet does: the bet as it is then, and what changes by it."""

    key: BetKey
    stake: int
    vig: int
    chips: int
    """From the rack to the layout, more vig included."""
    prize: int
    """What can be won more."""
    is_new: bool
    after: Position | None


class Settled(msgspec.Struct, frozen=True, gc=False):
    """What a roll does to all bets of a seat: bet by bet, and in sums."""

    rows: Sequence[Settlement]
    collected: int
    """From the layout to the bank: what is lost, and vig."""
    stakes: int
    """From the layout to the rack; negative when the next vig of a bet comes out of its win."""
    won: int
    """From the bank to the rack, rake taken."""
    vig: int
    rake: int
    chips: int
    """What lies on the layout more than before, counted from the bets."""
    prizes: int
    """What can be won more than before."""
    bets: int
    """Bets more than before."""
    moved: tuple[Settlement, ...] = ()
    """Rows of bets that have yet to be taken from where they lie (see `move`)."""
    after: Position | None = None


class Positions:
    """The positions of one game under one rake, and the answers about them."""

    def __init__(self, rules: GameRules, rake_bp: int) -> None:
        """Remember nothing yet."""
        self.rules = rules
        self._rake_bp = rake_bp
        self._glance = rules.glance
        self._empty = Position({})
        self._known: dict[Hashable, Position] = {}
        self._placed: dict[Hashable, Placed] = {}
        self._settled: dict[Hashable, dict[Position | None, Settled]] = {}
        self._asked: dict[Hashable, None] = {}
        self._kept = self._missed = 0

    def place(
        self, bets: Bets, position: Position | None, board: Board, operation: PlaceBet
    ) -> Placed | Refusal:
        """Return what more chips on a bet make of these bets, or why they may not lie there.

        `position` is that of the bets, if it is known.
        """
        kind, number, amount = operation.kind, operation.number, operation.amount
        if position is None and not bets:
            position = self._empty
        name: tuple[Hashable, ...] = ()
        if position is not None:
            name = (position, self._glance(board), kind, number, amount)
            found = self._placed.get(name)
            if found is not None:
                return found
        rules, key = self.rules, key_of(kind, number)
        refusal = rules.check_bet(board, bets, key, amount)
        if refusal is not None:
            return refusal
        there = bets.get(key)
        if there is None:
            vig = rules.vig(key, amount)
            placed = Placed(key, amount, vig, amount + vig, rules.prize(key, amount), True, None)
        else:
            stake = there.stake + amount
            vig, more = rules.vig(key, stake), rules.prize(key, stake)
            more -= rules.prize(key, there.stake)
            placed = Placed(key, stake, vig, amount + vig - there.vig, more, False, None)
        if position is None or key in rules.far_sighted or not self._is_asked_again(name):
            return placed
        working = 0 if there is None else there.working
        after = self._of({**position.bets, key: Bet(placed.stake, 0, working, placed.vig)})
        placed = self._placed[name] = msgspec.structs.replace(placed, after=after)
        self._kept += 1
        return placed

    def remembered(self, board: Board, outcome: int) -> dict[Position | None, Settled]:
        """Return what is remembered of an outcome; a seat without a position finds nothing."""
        view = self._glance(board), outcome
        page = self._settled.get(view)
        if page is None:
            self._kept += 1
            page = self._settled[view] = {}
        return page

    def learn(
        self,
        position: Position,
        board: Board,
        outcome: int,
        rows: Sequence[Settlement],
    ) -> Settled | None:
        """Remember what an outcome does to a position, and return it; None the first time."""
        name = (position, self._glance(board), outcome)
        if not self._is_asked_again(name):
            return None
        bets = dict(position.bets)
        settled = self.apply(bets, rows)
        moved = tuple(row for row in rows if not _stays(row, position.bets[row.before]))
        settled = msgspec.structs.replace(settled, moved=moved, after=self._of(bets))
        self._kept += 1 + len(rows)
        self.remembered(board, outcome)[position] = settled
        return settled

    def apply(self, bets: dict[BetKey, Bet], rows: Sequence[Settlement]) -> Settled:
        """Do to bets what their settlement says; return what that comes to.

        The exposure is not counted here: after a roll every bet may ask for something else.
        """
        prize, rake_bp, count = self.rules.prize, self._rake_bp, len(bets)
        collected = stakes = won = vigs = rakes = chips = prizes = 0
        for row in rows:
            before, profit, vig, left = row.before, row.profit, row.vig, row.left
            bet = bets[before]
            lay, lies = bet.stake + bet.vig, left + row.left_vig
            after = row.returned + row.lost + vig + lies
            assert lay + profit == after, f"{row} of {bet} makes {after} of {lay} chips"
            collected += row.lost + vig
            stakes += row.returned - profit
            vigs += vig
            if profit:
                rake = rake_of(row, rake_bp) if rake_bp else 0
                won += profit - rake
                rakes += rake
            if not left:
                del bets[before]
            elif _stays(row, bet):
                continue
            else:
                move(bets, row)
            chips += lies - lay
            prizes -= prize(before, bet.stake)
            if left:
                whole = bets[row.key].stake
                prizes += prize(row.key, whole) - prize(row.key, whole - left)
        more = len(bets) - count
        return Settled(rows, collected, stakes, won, vigs, rakes, chips, prizes, more)

    def _of(self, bets: Bets) -> Position | None:
        """Return the position of these bets, whatever their order and ids; None if one sees far."""
        if not self.rules.far_sighted.isdisjoint(bets):
            return None
        name = tuple(
            (key, bets[key].stake, bets[key].working, bets[key].vig) for key in sorted(bets)
        )
        position = self._known.get(name) if name else self._empty
        if position is None:
            self._kept += 1 + len(name)
            plain = {key: Bet(stake, 0, working, vig) for key, stake, working, vig in name}
            position = self._known[name] = Position(plain)
        return position

    def _is_asked_again(self, name: Hashable) -> bool:
        """Say whether to remember the answer: it was asked for before, and there is room."""
        if self._kept >= REMEMBERED:
            self._missed += 1
            if self._missed < MISSED:
                return False
            self._known, self._placed, self._settled, self._asked = {}, {}, {}, {}
            self._kept = self._missed = 0
        if name in self._asked:
            del self._asked[name]
            self._kept -= 1
            return True
        self._asked[name] = None
        self._kept += 1
        return False


def _stays(row: Settlement, bet: Bet) -> bool:
    """Say whether a bet is afterwards what and where it was."""
    return row.left == bet.stake and row.left_vig == bet.vig and row.key == row.before


def move(bets: dict[BetKey, Bet], row: Settlement) -> None:
    """Take a bet from where it lies and leave what its settlement leaves where that says.

    A bet that comes to where one lies already becomes part of it.
    """
    bet = bets.pop(row.before)
    if not row.left:
        return
    key, stake, vig, bet_id = row.key, row.left, row.left_vig, bet.id
    working = bet.working if key == row.before else 0
    there = bets.get(key)
    if there is not None:
        stake, vig = stake + there.stake, vig + there.vig
        bet_id, working = there.id, there.working
    bets[key] = Bet(stake, bet_id, working, vig)


def rake_of(row: Settlement, rake_bp: int) -> int:
    """Return the rake of what a win brings to the rack: a vig may have taken most of it."""
    return min(row.profit, row.returned) * rake_bp // BASIS


@lru_cache(maxsize=TABLES)
def positions_under(rules: GameRules, rake_bp: int) -> Positions:
    """Return the positions under these rules and this rake, for all states of a process."""
    return Positions(rules, rake_bp)
