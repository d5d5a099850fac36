"""Checks what somebody shows: a proof, or the whole folder of a node, trusting the table id alone.

A folder is executed again from the first block (`node/replay.py`); then what the node stored beside
its blocks is held against that: rolls, snapshot, its own votes. The hashes that the store keeps for
its own sake are no evidence, only a sign of a damaged disk, so they come last.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from consensus.effects import EpochKeysErased, LogRecord, SealLogged, SnapshotLogged, VoteLogged
from consensus.encoding import DecodeError, decode_as
from consensus.light import Trusted
from consensus.messages import VoteKind, VotePayload
from consensus.signing import Domain, PublicKey, Verify, parse_envelope, verify, verify_envelope
from node.config import Folder
from node.descriptor import Table, load_table
from node.errors import OperatorError
from node.execution import Terms, encode_snapshot
from node.membership import founders_of, offence_text
from node.proof import BUNDLE_BYTES_MAX, Proved, check_bundle, read_terms
from node.replay import MissingError, RefutedError, Step, StoredChain, finality_of, replay
from node.store import Store

T = TypeVar("T")


class CountedVerify:
    """The one verifier, counting what passes it."""

    def __init__(self) -> None:
        """Start at none."""
        self.count = 0

    def __call__(self, key: PublicKey, message: bytes, signature: bytes, /) -> bool:
        """Say whether the signature is acceptable."""
        self.count += 1
        return verify(key, message, signature)


@dataclass(frozen=True, slots=True)
class Conviction:
    """A member that a block proves to have cheated, and what it did, as the end of a sentence."""

    height: int
    name: str
    offence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """What a whole folder was found to hold."""

    table: Table
    blocks: int
    epochs: int
    actions: int
    rolls: int
    payouts: int
    chips: int
    signatures: int
    convictions: tuple[Conviction, ...]


def audit_file(path: Path, table_id: bytes | None) -> Proved:
    """Return what a file with a proof proves.

    Raises:
        RefutedError: Something in it is wrong, or it is about another table.
        MissingError: It is no proof, cut off, or cannot be read.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(BUNDLE_BYTES_MAX + 1)
    except OSError as error:
        raise MissingError(f"cannot read {path}: {error.strerror}") from None
    if len(data) > BUNDLE_BYTES_MAX:
        raise MissingError(f"{path} is longer than {BUNDLE_BYTES_MAX} bytes: no proof of BitCraps")
    proved = check_bundle(data, verify)
    _check_id(proved.table, table_id)
    return proved


def audit_folder(root: Path, table_id: bytes | None) -> Audited:
    """Return what the folder of a node holds, every block of it checked and executed again.

    Raises:
        RefutedError: A block, roll, vote or snapshot is not what it should be; says where.
        MissingError: Something is missing or damaged; says what.
    """
    with _damage_named("the folder"):
        table = load_table(Folder(root).table)
        _check_id(table, table_id)
        store = Store(root)
    try:
        if store.chain_id != table.chain_id:
            raise RefutedError(f"the store is of table {store.chain_id.hex()}, the terms are not")
        counted = CountedVerify()
        terms = terms_of(table, counted)
        chain = chain_of_store(store)
        audit = _Audit(store, table, terms, chain, counted)
        audited = audit.run()
        with _damage_named("the store"):
            store.check()
        return audited
    finally:
        store.close()


def terms_of(table: Table, check: Verify = verify) -> Terms:
    """Return the terms of a table; raises `MissingError` if this version knows no such terms."""
    params, _ = read_terms(table.descriptor)
    return Terms(table.chain_id, params, check)


def chain_of_store(store: Store) -> StoredChain:
    """Return the chain of a store; what is damaged is missing, and the place is named."""
    with _damage_named("the store"):
        newest = store.final_height()
        seals = {one.epoch: one.certificate for one in _working(store, SealLogged)}

    def named(what: str, read: Callable[[], T]) -> T:
        with _damage_named(what):
            return read()

    return StoredChain(
        newest=newest,
        final=lambda height: named(f"block {height}", lambda: store.final(height)),
        block=lambda hash_: named(f"block {hash_.hex()[:16]}…", lambda: store.block(hash_)),
        seals=seals,
    )


def _check_id(table: Table, table_id: bytes | None) -> None:
    if table_id is not None and table.chain_id != table_id:
        raise RefutedError(f"this is about table {table.chain_id.hex()}, not {table_id.hex()}")


R = TypeVar("R", bound=LogRecord)


def _working(store: Store, kind: type[R]) -> Iterator[R]:
    assert kind is not EpochKeysErased, "it is never stored"
    return (record for record in store.load() if isinstance(record, kind))


@contextmanager
def _damage_named(what: str) -> Iterator[None]:
    """Turn what cannot be read into what is missing, with its place."""
    try:
        yield
    except OperatorError as error:
        raise MissingError(f"{what} cannot be read: {error}") from None


class _Audit:
    """One folder being checked."""

    def __init__(
        self, store: Store, table: Table, terms: Terms, chain: StoredChain, counted: CountedVerify
    ) -> None:
        self._store, self._table, self._terms, self._chain = store, table, terms, chain
        self._counted = counted
        self._rolls: dict[tuple[int, int], tuple[int, bytes]] = {}
        self._actions = self._payouts = 0
        self._voters: dict[int, Trusted] = {}
        self._convictions: list[Conviction] = []

    def run(self) -> Audited:
        members, voters = founders_of(self._table.descriptor), self._table.descriptor.validators
        with _damage_named("the snapshot"):
            snapshot = self._store.snapshot()
        last: Step | None = None
        for step in replay(self._terms, members, voters, self._chain):
            self._take(step, snapshot)
            last = step
        if last is None:
            raise MissingError("there is no block yet, so there is nothing to prove")
        self._check_newest()
        self._compare_rolls()
        self._check_votes()
        return Audited(
            table=self._table,
            blocks=self._chain.newest,
            epochs=len(self._voters),
            actions=self._actions,
            rolls=len(self._rolls),
            payouts=self._payouts,
            chips=last.state.game.minted,
            signatures=self._counted.count,
            convictions=tuple(self._convictions),
        )

    def _take(self, step: Step, snapshot: SnapshotLogged | None) -> None:
        state, height = step.state, step.header.height
        self._voters.setdefault(step.trusted.epoch, step.trusted)
        self._actions += len(step.body.actions)
        for result, proved in zip(state.result.rolls, state.rolls, strict=True):
            self._payouts += len(result.bets)
            self._rolls[result.serial, result.number] = (height, proved.proof)
        for old, new in zip(step.before.membership.members, state.membership.members, strict=False):
            if new.cheated and not old.cheated:
                self._convictions.append(Conviction(height, new.nickname, offence_text(new)))
        if snapshot is None or snapshot.height != height:
            return
        if (snapshot.hash, snapshot.state) != (step.final.hash, encode_snapshot(state)):
            raise RefutedError(f"block {height}: the stored snapshot is not the state behind it")

    def _check_newest(self) -> None:
        """The newest block is final by itself, so all below are: each names its parent.

        Every certificate on the way here was checked.
        """
        newest = self._chain.newest
        if finality_of(self._chain, newest) is None:
            raise MissingError(
                f"no certificate here shows block {newest} final: start the node for a moment"
            )

    def _compare_rolls(self) -> None:
        stored = {}
        with _damage_named("the stored rolls"):
            for roll in self._store.rolls():
                stored[roll.session, roll.number] = (roll.height, roll.proof)
        for (session, number), there in stored.items():
            if self._rolls.get((session, number)) != there:
                raise RefutedError(
                    f"block {there[0]}: the stored proof of roll {number} of game {session} is not "
                    "that of the blocks"
                )
        if len(stored) < len(self._rolls):
            raise MissingError(f"{len(self._rolls) - len(stored)} stored rolls are missing")

    def _check_votes(self) -> None:
        """Check the node's own votes that it still keeps: signed, and none against another."""
        with _damage_named("the stored votes"):
            votes = list(_working(self._store, VoteLogged))
        given: dict[tuple[int, int], set[int]] = {}
        for vote in votes:
            where = f"the own vote of view {vote.view} in epoch {vote.epoch}"
            trusted = self._voters.get(vote.epoch)
            if trusted is None:
                continue  # of the epoch that a seal at the top begins
            try:
                envelope = parse_envelope(vote.envelope)
                payload = decode_as(envelope.payload, VotePayload)
            except DecodeError as error:
                raise RefutedError(f"{where} does not parse: {error}") from None
            signer = trusted.validators.index_of_kid.get(envelope.kid)
            fields = (vote.kind, vote.epoch, vote.view, vote.digest)
            if signer is None or payload != VotePayload(*fields):
                raise RefutedError(f"{where} is another one")
            key = trusted.validators.keys[signer]
            if not verify_envelope(
                self._terms.verify, key, Domain.VOTE, self._terms.chain_id, envelope
            ):
                raise RefutedError(f"{where} is not signed")
            given.setdefault((vote.epoch, vote.view), set()).add(vote.kind)
        for (epoch, view), kinds in given.items():
            if {VoteKind.NULLIFY, VoteKind.FINALIZE} <= kinds:
                raise RefutedError(f"two votes of view {view} in epoch {epoch} exclude each other")
