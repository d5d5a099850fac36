"""What a player or a bot sees of the table: one plain value, made from the final state.

It crosses the control socket as JSON, so it holds only numbers, texts and tuples of them. Whoever
draws or decides needs nothing else; nobody outside the node reads the replicated state itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from node.game.rules import Bet, BetKey


@dataclass(frozen=True, slots=True, kw_only=True)
class BetView:
    """One bet on the layout. `name` is what a player types to make it, without the amount."""

    kind: int
    number: int
    name: str
    stake: int
    working: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayerView:
    """One player by index: the rack, and the seat if it has one in this session."""

    name: str
    rack: int
    seated: bool = False
    ready: bool = False
    bets: tuple[BetView, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PaidView:
    """What a roll did to one bet: chips won (positive) or lost (negative), 0 returned."""

    player: int
    name: str
    chips: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RollView:
    """A settled roll of the session and every bet that it decided."""

    number: int
    dice: tuple[int, ...]
    paid: tuple[PaidView, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TableView:
    """A session of the table after the final block `height`, as seat `me` sees it.

    `session` is -1 while none is open, `shooter` -1 while nobody can throw, `point` 0 while the
    puck is off. `betting` says whether bets are taken now (R7); `rolls` counts the settled ones.
    `tolerated` members may be away before the table stops.
    """

    table: str
    height: int
    state_root: str
    me: int
    tolerated: int
    players: tuple[PlayerView, ...]
    bank: int
    minted: int
    session: int = -1
    betting: bool = False
    board: tuple[int, ...] = ()
    point: int = 0
    rolls: int = 0
    shooter: int = -1
    last: tuple[RollView, ...] = ()

    @property
    def own(self) -> PlayerView:
        """The player at this node."""
        return self.players[self.me]

    @property
    def own_bets(self) -> Mapping[BetKey, Bet]:
        """The own bets in the form that the rules of the game read."""
        return {
            BetKey(bet.kind, bet.number): Bet(stake=bet.stake, id=0, working=bet.working)
            for bet in self.own.bets
        }

    @property
    def chips(self) -> int:
        """Every chip in sight: racks, layout, bank. Equal to `minted`, always."""
        layout = sum(bet.stake for player in self.players for bet in player.bets)
        return self.bank + layout + sum(player.rack for player in self.players)


def parse_view(data: object) -> TableView:
    """Return the view that a control socket sent."""
    return msgspec.convert(data, TableView, strict=True)
