"""A player as people see one: what all nodes agree on, and what this node alone knows, side by side.

The agreed half is read from the final state, so a name stands for the key that the table's terms (or
the request that its members approved) bind it to; nobody can use another's. The local half is about
this node's own link to the player's node. Neither holds a part of the other, and nothing here is
ever written back.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from node.game.players import Past
from node.game.state import GameState
from node.membership import Membership

KEY_CHARS = 16
"""Hex digits by which people compare keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreedHalf:
    """What the final state says of a player, the same at every node. Amounts are chips.

    `games` are the sessions with a seat, `at_stake` all bets on layouts, `rolls` the settled rolls
    that decided one of them. `actions` counts signed actions.
    """

    slot: int
    name: str
    key: str
    votes: bool
    cheated: bool
    left: bool
    balance: int
    pooled: int
    open_bets: int
    at_stake: int
    games: tuple[int, ...]
    rolls: int
    won: int
    lost: int
    actions: int
    history: tuple[Past, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalHalf:
    """What this node knows of its link to a player's node, since its start.

    `actions_left` is what the player may still gossip at once before the rate limit holds it back.
    """

    is_here: bool
    connected: bool
    remote: str
    frames_received: int
    frames_sent: int
    hold_offs: int
    actions_per_second_max: int
    actions_left: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayerSession:
    """One player, read-only."""

    agreed: AgreedHalf
    local: LocalHalf


def agreed_half(state: GameState, membership: Membership, slot: int) -> AgreedHalf:
    """Return what a final state says of the member of a slot."""
    member, account = membership.members[slot], state.accounts[slot]
    games = [
        number
        for number, session in enumerate(state.sessions)
        if session is not None
        and (index := session.seat_of.get(slot)) is not None
        and session.is_seated(index)
    ]
    return AgreedHalf(
        slot=slot,
        name=member.nickname,
        key=member.identity.hex()[:KEY_CHARS],
        votes=slot in membership.voters,
        cheated=bool(member.cheated),
        left=bool(member.left),
        balance=account.chips,
        pooled=account.pooled,
        open_bets=account.open_bets,
        at_stake=staked(state, slot),
        games=tuple(games),
        rolls=account.rolls,
        won=account.won,
        lost=account.lost,
        actions=account.seq,
        history=account.past(),
    )


def staked(state: GameState, player: int) -> int:
    """Return the chips that a player has on all layouts, vig included."""
    seats = (
        session.seats[session.seat_of[player]]
        for session in state.sessions
        if session is not None and player in session.seat_of
    )
    return sum(
        bet.stake + bet.vig for seat in seats if seat is not None for bet in seat.bets.values()
    )


def players_text(players: Sequence[PlayerSession]) -> str:
    """Return a line for each player, for a terminal."""
    width = max(len(player.agreed.name) for player in players)
    head = (
        f"{'player':<{width}}  {'key':<{KEY_CHARS}} {'rack':>9} {'bets':>7} {'won':>8} {'lost':>8}"
    )
    lines = [f"  {head}  link"]
    for player in players:
        one = player.agreed
        link = "here" if player.local.is_here else "up" if player.local.connected else "away"
        lines.append(
            f"  {one.name:<{width}}  {one.key} {one.balance:>9,} {one.at_stake:>7,}"
            f" {one.won:>8,} {one.lost:>8,}  {link}"
        )
    return "\n".join(lines) + "\n"
