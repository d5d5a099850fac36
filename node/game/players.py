"""What is replicated of a player: the rack, the count of signed actions, and a short past.

What is local (connection, rate limit) lives with the node; a view joins both for people.
"""

import struct
from typing import NamedTuple

import msgspec

from consensus.encoding import INT_MAX, Uint, decode_as, encode
from node.game.params import Chips

HISTORY = 16
"""Settled rolls that an account remembers: enough for a page, little in every leaf."""
_ENTRY = struct.Struct(">QQQQ")
_KEPT_BYTES = (HISTORY - 1) * _ENTRY.size


class Past(NamedTuple):
    """What one settled roll brought a player: chips won from the bank and lost to it."""

    session: int
    number: int
    won: int
    lost: int


class Account(msgspec.Struct, gc=False):
    """One player's replicated half. A state copies it before it writes to it.

    The counters stop at the greatest integer of the protocol; chips are exact.
    """

    chips: int
    seq: int = 0
    """Number of the last action applied."""
    open_bets: int = 0
    """Bets on all layouts."""
    rolls: int = 0
    """Settled rolls that did something to a bet of this player."""
    won: int = 0
    lost: int = 0
    pooled: int = 0
    """This player's part of the bank, in bank mode POOL: a claim, not chips of the rack."""
    history: bytes = b""
    """The last rolls, oldest first, packed: a leaf is encoded far more often than this is read."""

    def leaf(self) -> bytes:
        """Return what the accounts root commits to."""
        return encode(
            (
                self.chips,
                self.seq,
                self.open_bets,
                self.rolls,
                self.won,
                self.lost,
                self.pooled,
                self.history,
            )
        )

    def remember(self, session: int, number: int, won: int, lost: int) -> None:
        """Count a settled roll and note it as a `Past`, forgetting the oldest beyond `HISTORY`."""
        rolls, won_all, lost_all = self.rolls + 1, self.won + won, self.lost + lost
        if rolls | won_all | lost_all > INT_MAX:
            rolls, won_all, lost_all = (min(n, INT_MAX) for n in (rolls, won_all, lost_all))
        self.rolls, self.won, self.lost = rolls, won_all, lost_all
        self.history = self.history[-_KEPT_BYTES:] + _ENTRY.pack(session, number, won, lost)

    def past(self) -> tuple[Past, ...]:
        """Return the rolls that the account remembers, oldest first."""
        return tuple(Past(*entry) for entry in _ENTRY.iter_unpack(self.history))


def parse_account(leaf: bytes) -> Account:
    """Return the account of a leaf; raises `DecodeError`."""
    chips, seq, bets, rolls, won, lost, pooled, history = decode_as(
        leaf, tuple[Chips, Uint, Uint, Uint, Uint, Uint, Uint, bytes]
    )
    return Account(chips, seq, bets, rolls, won, lost, pooled, history)
