"""PROTOCOL 4: roots bind every leaf, its place and the count."""

import pytest
from hypothesis import given, strategies as st

from consensus.merkle import EMPTY_ROOT, MerkleTree, merkle_root, verify_proof


@given(
    st.lists(st.binary(max_size=3), max_size=20),
    st.lists(st.tuples(st.integers(0, 30), st.binary(max_size=3)), max_size=12),
)
def test_an_updated_tree_has_the_root_of_one_built_anew(
    leaves: list[bytes], updates: list[tuple[int, bytes]]
) -> None:
    tree = MerkleTree(leaves)
    for where, leaf in updates:
        index = where % (len(leaves) + 1)
        before = tree.root()
        twin = tree.copy()
        leaves[index : index + 1] = [leaf]
        tree.set(index, leaf)
        assert tree.root() == merkle_root(leaves)
        assert twin.root() == before


@pytest.mark.parametrize("count", range(1, 18))
def test_a_proof_holds_for_its_leaf_place_and_count_only(count: int) -> None:
    leaves = [bytes((i,)) for i in range(count)]
    tree = MerkleTree(leaves)
    root = tree.root()
    for index, leaf in enumerate(leaves):
        path = tree.proof(index)
        assert verify_proof(root, count, index, leaf, path)
        assert not verify_proof(root, count, index, b"other", path)
        assert not verify_proof(root, count + 1, index, leaf, path)
        assert not verify_proof(root, count, (index + 1) % count, leaf, path) or count == 1
        assert not verify_proof(root, count, index, leaf, (*path, root))
        assert not verify_proof(root, count, count, leaf, path)
        if path:
            assert not verify_proof(root, count, index, leaf, path[:-1])


def test_no_leaves_and_one_empty_leaf_differ() -> None:
    assert MerkleTree().root() == EMPTY_ROOT
    assert merkle_root([b""]) != EMPTY_ROOT
