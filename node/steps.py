"""From one epoch to the next by proof: the seal that a quorum made final, and whom it names to vote.

A stranger with a bundle and a node that was away for long climb the same stairs (PROTOCOL 13.2).
"""

from collections.abc import Sequence
from typing import Annotated

import msgspec

from consensus.encoding import Bytes32, DecodeError, Record, Uint, decode_as, digest
from consensus.light import FinalHeader, Trusted, check_final, trust_next
from consensus.merkle import MerkleTree, verify_proof
from consensus.messages import Header
from consensus.signing import Verify
from node.execution import ChainState, chain_leaf
from node.membership import Member, voters_of

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


class EpochStep(Record, frozen=True):
    """How one epoch ends, and who votes in the next: the electorate's leaf, then its voters'."""

    seal: FinalHeader
    voters: MemberLeaves


def leaf_of(leaves: Sequence[bytes], index: int) -> Leaf:
    """Return a leaf with its path."""
    tree = MerkleTree(leaves)
    return Leaf(len(leaves), index, leaves[index], tree.proof(index))


def member_leaves(state: ChainState, indices: Sequence[int]) -> MemberLeaves:
    """Return leaves of the membership of a state; the electorate's stands behind the members."""
    game, leaves = state.game, state.membership.leaves()
    chain = digest("state/chain", chain_leaf(state.place, state.closed, game))
    others = (chain, game.accounts_root(), game.sessions_root(), state.beacon.root())
    tree = MerkleTree(leaves)
    return MemberLeaves(
        state.membership.root(),
        others,
        tuple(Leaf(len(leaves), at, leaves[at], tree.proof(at)) for at in indices),
    )


def step_of(state: ChainState, seal: FinalHeader) -> EpochStep:
    """Return the step over the seal behind which this state stands."""
    electorate = len(state.membership.members)
    return EpochStep(seal, member_leaves(state, (electorate, *state.membership.voters)))


def follow(trusted: Trusted, step: EpochStep, verify: Verify) -> Trusted | str:
    """Return the epoch that a step leads to, or why it leads nowhere."""
    following = trusted.epoch + 1
    header = check_final(trusted, step.seal, verify)
    if isinstance(header, str):
        return f"the seal of epoch {trusted.epoch}: {header}"
    if why := step.voters.why_not_under(header):
        return f"the voters of epoch {following}: {why}"
    try:
        keys = _voter_keys(step.voters)
    except DecodeError as error:
        return f"the voters of epoch {following}: {error}"
    found = trust_next(trusted, step.seal.header, keys)
    return f"the voters of epoch {following}: {found}" if isinstance(found, str) else found


def _voter_keys(proof: MemberLeaves) -> list[bytes]:
    """Return the voting keys in the leaves of electorate and voters, in the electorate's order."""
    if not proof.leaves:
        raise DecodeError("voters without an electorate")
    first, *leaves = proof.leaves
    if first.index != first.count - 1:
        raise DecodeError("the first leaf is not that of the electorate")
    voters = voters_of(first.content)
    if tuple(leaf.index for leaf in leaves) != voters:
        raise DecodeError("the leaves are not those of the voters")
    return [decode_as(leaf.content, Member).consensus_key for leaf in leaves]
