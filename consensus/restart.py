"""Resuming from the journal: never a fresh signature, never a forgotten one (PROTOCOL 9.1).

Final blocks are executed again, in order. Certificates above the final block were verified before
they were stored. Own votes are counted again, and their stored bytes are what goes out.
"""

from collections.abc import Sequence

from consensus.chain import Block, Chain, parse_block
from consensus.effects import (
    BlockLogged,
    CertificateLogged,
    FinalLogged,
    FloorLogged,
    LogRecord,
    VoteLogged,
)
from consensus.encoding import Digest
from consensus.messages import Number, Proposal, VoteKind, frame
from consensus.rounds import OwnVote, Rounds
from consensus.signing import parse_envelope
from consensus.validators import ValidatorIndex
from consensus.votes import FINALIZE, Held


def floor_logged(records: Sequence[LogRecord], epoch: int) -> int:
    """Return the view of an epoch up to which the journal says that votes may be forgotten, or 0."""
    return max(
        (one.view for one in records if isinstance(one, FloorLogged) and one.epoch == epoch),
        default=0,
    )


def resume(
    chain: Chain,
    rounds: Rounds,
    records: Sequence[LogRecord],
    *,
    epoch: int,
    me: ValidatorIndex,
) -> str:
    """Fill `chain` and `rounds` from `records`; return why the node has to halt, or nothing."""
    logged = {record.hash: record for record in records if isinstance(record, BlockLogged)}
    finals = [record for record in records if isinstance(record, FinalLogged)]
    for final in sorted(finals, key=lambda record: record.height):
        if final.height == chain.final.height + 1:
            block = _parse(logged[final.hash])
            chain.add(block)
            if why := chain.execute(block):
                return f"the journal's block at height {final.height} fails here ({why})"
            chain.finalize(block)
            rounds.finalized(chain.final, None)
        # The block that the epoch begins on is view 0 here and needs no certificate.
        at = (final.view, final.hash)
        if at == (chain.final.view, chain.final.hash) and final.certificate:
            held = Held(FINALIZE, final.view, Digest(final.hash), final.certificate)
            rounds.finalized(chain.final, held)
    _restore_open(chain, rounds, logged, epoch)
    for record in records:
        match record:
            case CertificateLogged() if record.epoch == epoch and record.view > chain.final.view:
                kind = VoteKind(record.kind)
                rounds.restore(Held(kind, record.view, Digest(record.digest), record.certificate))
            case VoteLogged() if record.epoch == epoch and record.view > chain.final.view:
                _restore_vote(chain, rounds, record, me)
            case _:
                pass
    rounds.view = max(rounds.view, chain.final.view + 1, rounds.top_view + 1)
    return ""


def _parse(record: BlockLogged) -> Block:
    block = parse_block(record.header, record.body)
    block.logged = True
    return block


def _restore_open(
    chain: Chain, rounds: Rounds, logged: dict[bytes, BlockLogged], epoch: int
) -> None:
    """Hold blocks above the final one, those of own votes in their views' slots."""
    for record in sorted(logged.values(), key=lambda block: block.view):
        if record.view > chain.final.view:
            block = _parse(record)
            if block.header.epoch == epoch:
                chain.add(block)


def _restore_vote(chain: Chain, rounds: Rounds, record: VoteLogged, me: ValidatorIndex) -> None:
    known = rounds.at(record.view)
    kind = VoteKind(record.kind)
    own = OwnVote(Digest(record.digest), frame(Number.VOTE, record.envelope))
    match kind:
        case VoteKind.NOTARIZE:
            known.notarize = own
            block = chain.get(record.digest)
            assert block is not None, f"the journal lacks the block voted for in view {record.view}"
            known.proposal = block
            if block.header.proposer == me:
                proposal = Proposal(block.header_bytes, block.body_bytes, record.envelope)
                known.proposal_frame = frame(Number.PROPOSAL, proposal)
        case VoteKind.NULLIFY:
            known.nullify = own
        case VoteKind.FINALIZE:
            known.finalize = own
    rounds.count_own(kind, record.view, own.digest, parse_envelope(record.envelope))
    rounds.view = max(rounds.view, record.view)
