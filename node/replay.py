"""A chain executed again from its first block, believing nothing that was stored about it.

Every signature is verified and every result computed anew: blocks come as bytes, and what comes out
is what anybody gets from them. Whoever keeps a chain can show it to a stranger by this module, and
`node/audit.py` and `node/prover.py` are built on it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from consensus.chain import genesis, parse_block
from consensus.effects import BlockLogged, FinalLogged, LogRecord, SealLogged
from consensus.encoding import DecodeError, Digest, decode_as
from consensus.light import (
    FinalHeader,
    Trusted,
    check_ancestry,
    check_certificate,
    check_final,
    trust_genesis,
    trust_next,
)
from consensus.messages import BODY_BYTES_MAX, BlockHash, Body, Certificate, Flag, Header, VoteKind
from node.execution import ChainState, Execution, Terms, genesis_state, open_epoch
from node.membership import Member, Membership
from node.mempool import Mempool
from node.store import Final


class RefutedError(Exception):
    """Something that was shown is wrong; the sentence says where, which check, which bytes."""


class MissingError(Exception):
    """Something is not there, so that nothing can be said; the sentence names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredChain:
    """The final blocks of somebody's journal up to `newest`, and what sealed each epoch."""

    newest: int
    final: Callable[[int], Final | None]
    block: Callable[[bytes], tuple[bytes, bytes] | None]
    seals: Mapping[int, bytes]


def chain_of_records(records: "list[LogRecord]") -> StoredChain:
    """Return the chain that a journal's records hold."""
    blocks = {one.hash: (one.header, one.body) for one in records if isinstance(one, BlockLogged)}
    finals = {
        one.height: Final(one.hash, *blocks[one.hash], one.certificate)
        for one in records
        if isinstance(one, FinalLogged)
    }
    seals = {one.epoch: one.certificate for one in records if isinstance(one, SealLogged)}
    return StoredChain(
        newest=max(finals, default=0), final=finals.get, block=blocks.get, seals=seals
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One block and what it did: the epoch it is in, the states around it."""

    trusted: Trusted
    final: Final
    header: Header
    body: Body
    before: ChainState
    state: ChainState


def replay(
    terms: Terms, members: tuple[Member, ...], voters: tuple[int, ...], chain: StoredChain
) -> Iterator[Step]:
    """Yield every block from the first on, checked whole but for its own finality.

    A block is final by a certificate of it or of a later one; `finality_of` shows it.

    Raises:
        RefutedError: A block is not what the table's members agreed to.
        MissingError: A block or the proof of a seal is not there.
    """
    membership = Membership.genesis(members, voters)
    state = genesis_state(terms, membership)
    trusted = trust_genesis(terms.chain_id, membership.validators(terms.chain_id).keys)
    if isinstance(trusted, str):
        raise RefutedError(trusted)
    mempool = Mempool(terms.chain_id, terms.verify)
    mempool.prune(state.game.seqs())
    execution = Execution(terms, genesis(terms.chain_id).hash, state, mempool, lambda _state: ())
    parent: tuple[BlockHash, Header | None] = (execution.base, None)
    for height in range(1, chain.newest + 1):
        step = _take(trusted, execution, parent, chain, height)
        yield step
        parent = (BlockHash(Digest(step.final.hash)), step.header)
        if step.header.flags == Flag.SEAL:
            trusted = _next_epoch(trusted, step, chain, terms)
            opened = open_epoch(step.state, parent[0])
            execution = Execution(terms, parent[0], opened, mempool, lambda _state: ())
            parent = (parent[0], None)


def _take(
    trusted: Trusted,
    execution: Execution,
    parent: tuple[BlockHash, Header | None],
    chain: StoredChain,
    height: int,
) -> Step:
    stored, verify = chain.final(height), execution.terms.verify
    if stored is None:
        raise MissingError(f"block {height} is not there")
    try:
        block = parse_block(stored.header, stored.body)
    except DecodeError as error:
        raise RefutedError(f"block {height}: {error}") from None
    header, body = block.header, block.body
    if block.hash != stored.hash:
        raise RefutedError(f"block {height}: it is stored under the hash {stored.hash.hex()[:16]}…")
    if header.height != height:
        raise RefutedError(f"block {height}: its header says height {header.height}")
    if why := check_ancestry(trusted, parent, header, body, verify):
        raise RefutedError(f"block {height}: {why}")
    before = execution.final
    if header.time_ms <= before.time_ms:
        raise RefutedError(f"block {height}: its time is not after its parent's")
    size = sum(len(item) for items in (body.system, body.actions) for item in items)
    if size > BODY_BYTES_MAX:
        raise RefutedError(f"block {height}: {size} bytes of items")
    if stored.certificate and (
        why := check_certificate(
            trusted.electorate(verify),
            stored.certificate,
            (VoteKind.FINALIZE,),
            header.view,
            block.hash,
        )
    ):
        raise RefutedError(f"block {height}: {why}")
    failure = execution.execute(block.hash, header, body)
    if failure is not None:
        raise RefutedError(f"block {height}: executed again, {failure}")
    execution.finalize(block.hash)
    execution.take_finalized()
    return Step(
        trusted=trusted,
        final=stored,
        header=header,
        body=body,
        before=before,
        state=execution.final,
    )


def _next_epoch(trusted: Trusted, step: Step, chain: StoredChain, terms: Terms) -> Trusted:
    """Return the epoch behind a seal, once the seal is shown to be final."""
    height = step.header.height
    proof = finality_of(chain, height)
    if proof is None:
        raise MissingError(f"block {height} seals epoch {trusted.epoch}, and no certificate of it")
    if isinstance(why := check_final(trusted, proof, terms.verify), str):
        raise RefutedError(f"the seal at block {height}: {why}")
    keys = step.state.membership.validators(terms.chain_id).keys
    following = trust_next(trusted, step.final.header, keys)
    if isinstance(following, str):
        raise RefutedError(f"the voters behind block {height}: {following}")
    return following


def finality_of(chain: StoredChain, height: int) -> FinalHeader | None:
    """Return what shows the block at a height final, unverified; None if that is not there."""
    target = chain.final(height)
    if target is None:
        return None
    path: list[bytes] = []
    last = target
    while not last.certificate:
        header = decode_as(last.header, Header)
        if header.flags == Flag.SEAL:
            return _finality_of_seal(chain, target, path, last, header)
        following = chain.final(height + len(path) + 1)
        if following is None:
            return None
        path.append(following.header)
        last = following
    return FinalHeader(target.header, tuple(path), last.certificate)


def _finality_of_seal(
    chain: StoredChain, target: Final, path: list[bytes], seal: Final, header: Header
) -> FinalHeader | None:
    """Return the proof by the certificate kept for a seal, which may be that of a tail behind it."""
    certificate = chain.seals.get(header.epoch)
    if certificate is None:
        return None
    tails: list[bytes] = []
    named = decode_as(certificate, Certificate).digest
    while named != seal.hash:
        found = chain.block(named)
        if found is None:
            return None
        tail = decode_as(found[0], Header)
        if tail.height <= header.height:
            return None
        tails.append(found[0])
        named = tail.parent_hash
    return FinalHeader(target.header, (*path, *reversed(tails)), certificate)
