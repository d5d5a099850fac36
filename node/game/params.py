"""The terms of a table that the game enforces; the descriptor carries them (PROTOCOL 15).

Everybody signs them before the first block, so nothing here changes while the table lives.
"""

import enum
from typing import Annotated

import msgspec

from consensus.encoding import Record, decode_as, encode

CHIPS_MAX = 2**53 - 1
"""All chips of a table together: what a browser still counts exactly."""
PLAYERS_MAX = 1_024
SESSIONS_MAX = 1_024
"""Ceiling of `GameParams.max_sessions`: a slot number of an operation has ten bits."""
RULES_BYTES_MAX = 2_048
"""Encoded parameters of the game itself; the descriptor holds 4,096 bytes for all of them."""
BASIS = 10_000
"""Basis points in a whole."""
RESERVE_BP_MAX = 100 * BASIS
RAKE_BP_MAX = 1_000
"""A tenth of a win; more is not a friendly table."""
TIMER_MS_MAX = 24 * 60 * 60 * 1_000

Chips = Annotated[int, msgspec.Meta(ge=0, le=CHIPS_MAX)]
Timer = Annotated[int, msgspec.Meta(ge=0, le=TIMER_MS_MAX)]


class BankMode(enum.IntEnum):
    """Whose chips pay the winners."""

    TABLE = 1
    """A bank of the table's own, minted at genesis."""
    BANKER = 2
    """One player's: the buy-in of `GameParams.banker` is the bank, and that player does not bet."""
    POOL = 3
    """Players fade each other: the bank is a pool of what they put in, and gains and losses of the
    bank are theirs in proportion."""


class JoinRule(enum.IntEnum):
    """Who lets newcomers in while the table lives."""

    CLOSED = 0
    ANY_VOTER = 1
    MAJORITY = 2
    """More than half of the voters."""


class GameParams(Record, frozen=True):
    """Chips, caps and timers of a table. Times are agreed milliseconds, rates basis points."""

    version: Annotated[int, msgspec.Meta(ge=1, le=1)] = 1
    buy_in: Chips = 10_000
    """Chips that every player starts with."""
    bank: Chips = 1_000_000
    """Chips that the bank starts with; 0 unless the mode is TABLE."""
    bank_mode: Annotated[int, msgspec.Meta(ge=1, le=3)] = BankMode.TABLE
    banker: Annotated[int, msgspec.Meta(ge=0, lt=PLAYERS_MAX)] = 0
    """The player who is the bank in mode BANKER; 0 in the others."""
    reserve_bp: Annotated[int, msgspec.Meta(ge=BASIS, le=RESERVE_BP_MAX)] = BASIS
    """How much of the worst case the bank must hold; never less than all of it (R29)."""
    rake_bp: Annotated[int, msgspec.Meta(ge=0, le=RAKE_BP_MAX)] = 0
    """What the bank keeps of every win, rounded down."""
    max_sessions: Annotated[int, msgspec.Meta(ge=1, le=SESSIONS_MAX)] = 100
    """Games at once."""
    sessions_per_player: Annotated[int, msgspec.Meta(ge=1, le=SESSIONS_MAX)] = 32
    """Open games that one player has created: nobody fills the table alone."""
    operations_per_block: Annotated[int, msgspec.Meta(ge=1, le=65_536)] = 4_096
    """Operations of one player that one block applies; further ones are refused."""
    bets_per_seat: Annotated[int, msgspec.Meta(ge=1, le=256)] = 64
    betting_min_ms: Timer = 3_000
    """How long others have before the thrower may throw, unless all say that they are ready."""
    betting_max_ms: Timer = 60_000
    """After this the dice are thrown whether or not anybody asks."""
    thrower_ms: Timer = 20_000
    """After this the dice go to the next seat that may throw (R5)."""
    absent_ms: Timer = 180_000
    """A seat that does nothing for so long while bets wait leaves the session (R30)."""
    join_rule: Annotated[int, msgspec.Meta(ge=0, le=2)] = JoinRule.MAJORITY
    """How newcomers come to the table; each is given a buy-in (R29)."""
    rules: Annotated[bytes, msgspec.Meta(max_length=RULES_BYTES_MAX)] = b""
    """The game's own parameters, encoded; empty means its defaults."""


def encode_params(params: GameParams) -> bytes:
    """Return what the descriptor carries."""
    return encode(params)


def decode_params(data: bytes) -> GameParams:
    """Return the terms that a descriptor carries; raises `DecodeError`."""
    return decode_as(data, GameParams)


def problem_of_params(params: GameParams, players: int) -> str | None:
    """Return why a table of so many players cannot have these terms, or None."""
    if not 1 <= players <= PLAYERS_MAX:
        return f"{players} players; a table has 1 to {PLAYERS_MAX}"
    total = params.bank + players * params.buy_in
    if not 1 <= total <= CHIPS_MAX:
        return f"{total} chips in all; a table has 1 to {CHIPS_MAX}"
    if params.bank_mode != BankMode.TABLE and params.bank:
        return f"a bank of {params.bank} chips that no player owns; it must be 0 in this bank mode"
    if params.banker >= players:
        return f"player {params.banker} is the bank, but there are only {players}"
    if params.banker and params.bank_mode != BankMode.BANKER:
        return f"player {params.banker} is named as the bank, but the bank mode has none"
    if params.betting_min_ms > params.thrower_ms:
        return (
            f"a thrower time-out of {params.thrower_ms} ms is shorter than the "
            f"{params.betting_min_ms} ms before a throw"
        )
    if params.thrower_ms > params.betting_max_ms:
        return (
            f"a thrower time-out of {params.thrower_ms} ms never comes: the dice are thrown "
            f"after {params.betting_max_ms} ms"
        )
    return None
