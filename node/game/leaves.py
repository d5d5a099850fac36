"""A whole state as bytes, and what they must add up to: how the game travels (PROTOCOL 12)."""

from consensus.encoding import Digest, Record
from consensus.merkle import merkle_root
from node.game.session import seats_root_of


class GameLeaves(Record, frozen=True):
    """A whole state as its leaves: treasury, accounts, and of each session itself and its seats."""

    treasury: bytes
    accounts: tuple[bytes, ...]
    sessions: tuple[tuple[bytes, tuple[bytes, ...]], ...]


def roots_of(leaves: GameLeaves) -> tuple[Digest, Digest] | None:
    """Return accounts and sessions root of leaves from anybody, None if they do not fit together.

    Whoever fetched a state compares these, and `leaves.treasury`, with a certified header before
    `GameState.from_leaves` reads further.
    """
    for leaf, seats in leaves.sessions:
        if leaf and seats_root_of(leaf) != merkle_root(seats):
            return None
        if seats and not leaf:
            return None
    return merkle_root(leaves.accounts), merkle_root([leaf for leaf, _ in leaves.sessions])
