"""From one epoch to the next by proof: the seal that a quorum made final, and whom it names to vote.

A stranger with a bundle and a node that was away for long climb the same stairs (PROTOCOL 13.2),
and read leaves of a block in the same way (PROTOCOL 4).
"""

from collections.abc import Sequence
from typing import Annotated

import msgspec

from consensus.encoding import Bytes32, DecodeError, Record, Uint, decode_as, digest, encode
from consensus.light import PATH_MAX as HEADERS_MAX, FinalHeader, Trusted, check_final, trust_next
from consensus.merkle import EMPTY_ROOT, MerkleTree, root_above, verify_proof
from consensus.messages import (
    Bitmap,
    Certificate,
    Flag,
    Header,
    Signature,
    VoteKind,
    block_hash,
)
from consensus.signing import Verify
from node.execution import ChainState, chain_leaf, receipt_leaves
from node.game.receipts import BlockResult

PATH_MAX = 24

Path = Annotated[tuple[Bytes32, ...], msgspec.Meta(max_length=PATH_MAX)]


class Leaf(Record, frozen=True):
    """One leaf of a Merkle tree with what leads from it to the root."""

    count: Uint
    index: Uint
    content: bytes
    path: Path

    def is_under(self, root: bytes) -> bool:
        """Say whether the leaf stands under this root."""
        return verify_proof(root, self.count, self.index, self.content, self.path)


class MemberLeaves(Record, frozen=True):
    """Leaves of the membership under the state root of a header, with what stands beside it.

    `others` are the digest of the chain leaf and the roots of accounts, sessions and beacon.
    """

    root: Bytes32
    others: tuple[Bytes32, Bytes32, Bytes32, Bytes32]
    leaves: tuple[Leaf, ...]

    def why_not_under(self, header: Header) -> str:
        """Say what does not fit, or nothing."""
        chain, *roots = self.others
        if digest("state", chain + self.root + b"".join(roots)) != header.state_root:
            return f"members that are not under the state root of block {header.height}"
        if not all(leaf.is_under(self.root) for leaf in self.leaves):
            return f"a member that is not under the state root of block {header.height}"
        return ""


class Tail(Record, frozen=True):
    """What an empty block behind a seal has of its own."""

    view: Uint
    time_ms: Uint
    body_hash: Bytes32


class EpochStep(Record, frozen=True):
    """How one epoch ends, and who votes in the next.

    Only what does not follow from the epoch that ends: the seal's header but for table, epoch,
    leader and receipts root, to which a path leads from the voters, its last leaf; the tails up to
    the one that the votes name; the votes' signatures. A wrong byte gives a header that the voters
    did not sign.
    """

    view: Uint
    height: Uint
    time_ms: Uint
    parent_view: Uint
    parent_hash: Bytes32
    body_hash: Bytes32
    state_root: Bytes32
    voters: tuple[Bytes32, ...]
    receipts: Uint
    path: Path
    tails: Annotated[tuple[Tail, ...], msgspec.Meta(max_length=HEADERS_MAX)]
    signers: Bitmap
    signatures: tuple[Signature, ...]

    def seal(self, trusted: Trusted) -> FinalHeader:
        """Return the seal of an epoch with what shows it final; `DecodeError` if it cannot be."""
        root = root_above(self.receipts, self.receipts - 1, encode(self.voters), self.path)
        if root is None:
            raise DecodeError("the path from the voters leads to no receipts root")
        header = Header(
            version=1,
            chain_id=trusted.chain_id,
            epoch=trusted.epoch,
            view=self.view,
            height=self.height,
            time_ms=self.time_ms,
            parent_view=self.parent_view,
            parent_hash=self.parent_hash,
            proposer=trusted.validators.leader(self.view),
            flags=Flag.SEAL,
            body_hash=self.body_hash,
            state_root=self.state_root,
            receipts_root=root,
        )
        headers = [encode(header)]
        for tail in self.tails:
            header = msgspec.structs.replace(
                header,
                view=tail.view,
                height=header.height + 1,
                time_ms=tail.time_ms,
                parent_view=header.view,
                parent_hash=block_hash(headers[-1]),
                proposer=trusted.validators.leader(tail.view),
                flags=Flag.TAIL,
                body_hash=tail.body_hash,
                receipts_root=EMPTY_ROOT,
            )
            headers.append(encode(header))
        certificate = Certificate(
            VoteKind.FINALIZE,
            trusted.epoch,
            header.view,
            block_hash(headers[-1]),
            self.signers,
            self.signatures,
        )
        seal, *path = headers
        return FinalHeader(seal, tuple(path), encode(certificate))


def leaf_of(leaves: Sequence[bytes], index: int) -> Leaf:
    """Return a leaf with its path."""
    tree = MerkleTree(leaves)
    return Leaf(len(leaves), index, leaves[index], tree.proof(index))


def member_leaves(state: ChainState, indices: Sequence[int]) -> MemberLeaves:
    """Return leaves of the membership of a state."""
    game, leaves = state.game, state.membership.leaves()
    chain = digest("state/chain", chain_leaf(state.place, state.closed, game))
    others = (chain, game.accounts_root(), game.sessions_root(), state.beacon.root())
    tree = MerkleTree(leaves)
    return MemberLeaves(
        state.membership.root(),
        others,
        tuple(Leaf(len(leaves), at, leaves[at], tree.proof(at)) for at in indices),
    )


def step_of(result: BlockResult, seal: FinalHeader) -> EpochStep:
    """Return the step over a seal, by what its block did."""
    header, leaves = decode_as(seal.header, Header), receipt_leaves(result)
    tails = [decode_as(data, Header) for data in seal.path]
    certificate = decode_as(seal.certificate, Certificate)
    return EpochStep(
        view=header.view,
        height=header.height,
        time_ms=header.time_ms,
        parent_view=header.parent_view,
        parent_hash=header.parent_hash,
        body_hash=header.body_hash,
        state_root=header.state_root,
        voters=result.voters,
        receipts=len(leaves),
        path=MerkleTree(leaves).proof(len(leaves) - 1),
        tails=tuple(Tail(tail.view, tail.time_ms, tail.body_hash) for tail in tails),
        signers=certificate.signers,
        signatures=certificate.signatures,
    )


def follow(trusted: Trusted, step: EpochStep, verify: Verify) -> tuple[Trusted, FinalHeader] | str:
    """Return the epoch that a step leads to and the seal before it, or why it leads nowhere."""
    try:
        seal = step.seal(trusted)
    except DecodeError as error:
        return f"the seal of epoch {trusted.epoch}: {error}"
    header = check_final(trusted, seal, verify)
    if isinstance(header, str):
        return f"the seal of epoch {trusted.epoch}: {header}"
    found = trust_next(trusted, seal.header, step.voters)
    if isinstance(found, str):
        return f"the voters of epoch {trusted.epoch + 1}: {found}"
    return found, seal
