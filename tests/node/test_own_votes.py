"""PROTOCOL 9: the votes that a node keeps are its own, and none speaks against another."""

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from consensus.effects import VoteLogged
from consensus.messages import NO_DIGEST, VoteKind, vote_payload
from consensus.signing import Domain, sign_envelope
from netsim.playing import PlayingTable
from node.audit import audit_folder
from node.config import Folder
from node.descriptor import save_table
from node.replay import RefutedError
from node.store import Journal

VIEW = 1_000
"""Above every block: a store forgets votes below."""


@pytest.fixture(scope="module")
def played() -> PlayingTable:
    table = PlayingTable(4, seed=1, signatures="memo", described=True)
    table.play(1, limit_ms=300_000)
    table.settle()
    return table


def written(played: PlayingTable, root: Path, votes: Sequence[VoteLogged]) -> Path:
    """Return a node's folder that keeps these votes."""
    assert played.table is not None
    logs = played.network.hosts[0].disk.records
    with closing(Journal(root, played.chain_id, b"any host")) as journal:
        journal.append([one for one in logs if not isinstance(one, VoteLogged)])
        journal.append(votes)
    save_table(Folder(root).table, played.table)
    return root


def vote(played: PlayingTable, kind: VoteKind = VoteKind.NULLIFY, **fields: Any) -> VoteLogged:
    """Return a vote as the first member keeps it, changed behind its signature."""
    payload = vote_payload(kind, 0, VIEW, NO_DIGEST)
    envelope = sign_envelope(played._keys[0][0], Domain.VOTE, played.chain_id, payload)
    made = VoteLogged(kind=kind, epoch=0, view=VIEW, digest=NO_DIGEST, envelope=envelope)
    return msgspec.structs.replace(made, **fields)


def by_player(played: PlayingTable) -> VoteLogged:
    """Return a vote under a key with which nobody votes."""
    payload = vote_payload(VoteKind.NULLIFY, 0, VIEW, NO_DIGEST)
    key = played._keys[0][1]
    return vote(played, envelope=sign_envelope(key, Domain.VOTE, played.chain_id, payload))


def unsigned(played: PlayingTable) -> VoteLogged:
    *head, last = vote(played).envelope
    return vote(played, envelope=bytes([*head, last ^ 1]))


FORGED: dict[str, tuple[Callable[[PlayingTable], list[VoteLogged]], str]] = {
    "no envelope": (lambda t: [vote(t, envelope=b"\x80")], "does not parse"),
    "another kind": (
        lambda t: [msgspec.structs.replace(vote(t), kind=VoteKind.NOTARIZE)],
        "is another one",
    ),
    "another view": (lambda t: [vote(t, view=VIEW + 1)], "is another one"),
    "another block": (lambda t: [vote(t, digest=bytes([1]) * 32)], "is another one"),
    "who does not vote": (lambda t: [by_player(t)], "is another one"),
    "a signature of nobody": (lambda t: [unsigned(t)], "is not signed"),
    "for a block and for none": (
        lambda t: [vote(t), vote(t, VoteKind.FINALIZE)],
        f"two votes of view {VIEW} in epoch 0 exclude each other",
    ),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_vote_that_no_honest_node_keeps_is_refuted(
    played: PlayingTable, tmp_path: Path, name: str
) -> None:
    make, match = FORGED[name]
    with pytest.raises(RefutedError, match=match):
        audit_folder(written(played, tmp_path / "node", make(played)), None)


def test_votes_that_go_together_and_those_of_a_later_epoch_are_left_alone(
    played: PlayingTable, tmp_path: Path
) -> None:
    kept = [vote(played), vote(played, VoteKind.NOTARIZE), vote(played, epoch=1)]
    assert audit_folder(written(played, tmp_path / "node", kept), None).epochs == 1
