"""What a replica may hold of what strangers send it, looked at from outside while it runs."""

# ruff: noqa: SLF001
# A bound is on what is inside.

from node.replica import Replica

ACTIONS_MAX = 16
"""Of one player, waiting in the mempool (PROTOCOL 11.8)."""
OPEN_BLOCKS_MAX = 64
"""Above the final block."""
PROOFS_MAX = 3
"""Of one validator: one for each kind of offence."""


def overgrown(replica: Replica) -> str:
    """Return what has grown beyond its bound, empty if nothing has."""
    waiting = replica._mempool._waiting
    most = max(map(len, waiting), default=0)
    if most > ACTIONS_MAX:
        return f"{most} actions of one player wait; {ACTIONS_MAX} at most"
    engine = replica.engine
    if len(engine._chain._open) > OPEN_BLOCKS_MAX:
        return f"{len(engine._chain._open)} blocks are open; {OPEN_BLOCKS_MAX} at most"
    voters = replica.validators.n
    if len(engine.evidence) > PROOFS_MAX * voters:
        return f"{len(engine.evidence)} proofs against {voters} validators"
    epoch = replica._epoch
    members = len(replica.final.membership.members)
    if len(epoch.evidence.held()) > members:
        return f"{len(epoch.evidence.held())} proofs are kept against {members} members"
    return ""
