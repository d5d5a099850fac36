"""What a replica may hold of what others send it, looked at from outside while it runs.

The caps are those of the protocol, for each view, peer, dealer, holder and roll, and written down
here once more: whatever somebody sends, and for how many views or heights, nothing grows with it.
"""

# ruff: noqa: SLF001
# A bound is on what is inside.

from collections import Counter
from collections.abc import Iterator
from typing import TypeAlias

from consensus.beacon import Beacon
from consensus.engine import Engine
from node.replica import Replica

ACTIONS_MAX = 16
"""Of one player, waiting in the mempool (PROTOCOL 11.8)."""
OPEN_BLOCKS_MAX = 64
"""Above the final block."""
KINDS_OF_VOTE, KINDS_AT_DICE = 3, 3
"""Kinds of offences that an engine, or the dice, prove: one proof for each and validator (9.3)."""
VIEWS_BELOW = 16
"""Views below the final one of which votes are kept (PROTOCOL 7 R0)."""
STATEMENTS_MAX = 2
"""Of one kind by one signer in one view (PROTOCOL 7 R0)."""
BATCHES_AHEAD = 2
"""A dealer's batches that may come next (PROTOCOL 11.2)."""
EARLY_ROLLS, PENDING_ROLLS = 8, 64
"""Rolls whose close is not final yet, and that wait for shares (PROTOCOL 11.3, 11.4)."""
QUESTIONS_MAX = 16
"""Of a node's own that are not answered yet."""
HASHES_MAX, OPEN_HASHES_MAX, BODIES_MAX = 100_000, 48, 16
"""Of one fetch: blocks known by hash, those of a target that is not final, bodies (PROTOCOL 10)."""
STATES_SERVED = 2
"""Newest states from which others may fetch (PROTOCOL 10)."""
VERDICTS_MAX = 512
"""On certificates and secrets, each sort."""

Found: TypeAlias = Iterator[tuple[str, int, int]]
"""What there is, how much of it, and how much there may be."""


def overgrown(replica: Replica, parties: int) -> str:
    """Return what has grown beyond its bound among so many hosts, empty if nothing has."""
    for what, many, most in _counts(replica, parties):
        if many > most:
            return f"{many} {what}; {most} at most"
    return ""


def _counts(replica: Replica, parties: int) -> Found:
    mempool, epoch = replica._mempool, replica._epoch
    waiting = max(map(len, mempool._waiting), default=0)
    yield "actions of one player wait", waiting, ACTIONS_MAX
    yield "actions are remembered", len(mempool._known), len(mempool)
    members = len(replica.final.membership.members)
    yield "proofs are kept against members", len(epoch.evidence.held()), members
    for told in (replica._helped_ms, replica._spent, replica._linked):
        yield "peers are remembered", len(told), parties
    yield "states are served", len(replica._server._served), STATES_SERVED
    open_views = replica.engine.view - replica.engine.final.view
    states = len(epoch.execution._states)
    yield "states are kept", states, 2 * open_views + 2
    yield from _agreement(replica.engine, replica.validators.n, open_views)
    if epoch.beacon is not None:
        yield from _dice(epoch.beacon, replica.validators.n)


def _agreement(engine: Engine, voters: int, open_views: int) -> Found:
    rounds, chain = engine._rounds, engine._chain
    yield "blocks are open", len(chain._open), OPEN_BLOCKS_MAX
    yield "proofs against voters", len(engine.evidence), KINDS_OF_VOTE * voters
    views = rounds._rounds
    early = [view for view in views if view > max(engine.view, rounds.top_view) + 1]
    late = [view for view in views if view <= engine.final.view - VIEWS_BELOW]
    yield "views far ahead are kept", len(early), 0
    yield "views long over are kept", len(late), 0
    statements = 0
    for known in views.values():
        said = known.tally.statements.values()
        statements += len(said)
        yield "statements that nobody made", sum(not one.voters for one in said), 0
        signed = Counter[int]()
        for one in said:
            signed[one.kind] += one.voters.bit_count()
        yield (
            "votes of a kind in one view",
            max(signed.values(), default=0),
            voters * STATEMENTS_MAX,
        )
    yield "statements are remembered", len(rounds._statements), statements
    yield "questions are open", len(engine.timing._questions), QUESTIONS_MAX
    fetcher = engine._outside.fetcher
    yield "blocks are not sought again", len(fetcher._barren), open_views
    if (fetch := fetcher._fetch) is not None:
        most = HASHES_MAX if fetch.final else OPEN_HASHES_MAX
        yield "hashes of a fetch", len(fetch._hashes), most
        yield "bodies of a fetch", len(fetch._blocks), BODIES_MAX


def _dice(beacon: Beacon, voters: int) -> Found:
    state = beacon._state
    if state is None:
        return
    yield "proofs against holders", len(beacon.evidence), KINDS_AT_DICE * voters
    for dealer in range(voters):
        ahead = state.next_batch(dealer)
        oldest = min((dealt.batch for dealt in state.dealings(dealer)), default=ahead)
        kept = (beacon._deals, {**beacon._held, **beacon._stored})
        for held in kept:
            many = sum(key[0] == dealer for key in held)
            yield "dealings of one dealer", many, ahead - oldest + BATCHES_AHEAD
        many = sum(key[0] == dealer for key in beacon._certificates)
        yield "certificates of one dealer", many, BATCHES_AHEAD
    early = Counter(holder for _, holder in beacon._early)
    yield "early reveals of one holder", max(early.values(), default=0), EARLY_ROLLS
    yield "rolls run", len(beacon._running), PENDING_ROLLS
    for running in beacon._running.values():
        roll = running.roll
        yield "holders answered", len(running.answered), 2 * voters
        for heard, most in ((roll.heard, 1), (roll.heard_paths, 1), (roll._unjudged, 2)):
            yield "reveals of one roll", len(heard), most * voters
        for secret in roll._secrets:
            yield "shares of one secret", len(secret.claimed) + len(secret.proven), voters
    context = beacon._context
    for verdicts in (context._certificates, context._secrets):
        yield "verdicts", len(verdicts), VERDICTS_MAX
