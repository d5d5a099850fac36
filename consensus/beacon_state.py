"""The replicated half of the joint dice: dealings on the chain and rolls that wait (PROTOCOL 11.3).

Values that are replaced, never changed: a fork is a copy of a few pointers. A roll is fixed by the
state when betting closes: which dealings, which index of each. From then on nothing but its settle
removes it, and an index that it took is never used again.
"""

from dataclasses import dataclass
from typing import Annotated

import msgspec

from consensus.beacon_items import (
    BeaconContext,
    Dealt,
    OpenedSecret,
    RollProof,
    Settle,
    check_opening,
)
from consensus.dealing import BATCH, Holder
from consensus.encoding import DecodeError, Digest, Record, Uint, decode_as, digest, encode
from consensus.merkle import EMPTY_ROOT, MerkleTree

UNUSED_BATCHES_MAX = 2
"""Dealings of one dealer with secrets left: one in use, one in stock; more would be spam."""
PENDING_ROLLS_MAX = 64
"""Rolls that wait for their settle. Each block closes at most one and a settle follows within a few
blocks; a table that falls this far behind stops closing, and goes on when shares come back."""
EVERY_DEALER_MAX = 31
"""Up to here every usable dealer takes part in every roll, so whoever deals is safe by its own
secret; above, t dealers take turns, or a roll costs n * n shares."""


class Place(Record, frozen=True):
    """One secret of a roll: the dealer, its batch, the index in it."""

    dealer: Holder
    batch: Uint
    index: Annotated[int, msgspec.Meta(ge=0, lt=BATCH)]


class PendingRoll(Record, frozen=True):
    """A closed roll. `close_hash` names the block that closed it, empty until the next block."""

    roll: Uint
    height: Uint
    close_hash: Annotated[bytes, msgspec.Meta(max_length=32)]
    places: tuple[Place, ...]

    def bound(self, close_hash: bytes) -> "PendingRoll":
        """Return the roll with the name of the block that closed it."""
        return PendingRoll(self.roll, self.height, close_hash, self.places)


class _Slot(Record, frozen=True):
    """One dealer: its next batch number, whether it was proven faulty, its dealings by batch."""

    next_batch: Uint
    faulty: Annotated[int, msgspec.Meta(ge=0, le=1)]
    dealt: tuple[Dealt, ...]


class _Rolls(Record, frozen=True):
    """The leaf of the rolls: the next number, each dealer's next index by dealing, what waits."""

    next_roll: Uint
    cursors: tuple[tuple[Annotated[int, msgspec.Meta(ge=0, le=BATCH)], ...], ...]
    pending: tuple[PendingRoll, ...]


@dataclass(frozen=True, slots=True)
class Settled:
    """A settled roll: closed at `height`, its seed, and the `RollProof` that gives it.

    `faulty` are the dealers that it proves to have shared no secret.
    """

    roll: int
    height: int
    seed: bytes
    proof: bytes
    faulty: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Stock:
    """What one dealer has left: unused batches, their secrets, whether any has published shares."""

    batches: int
    secrets: int
    published: bool


_EMPTY_SLOT = _Slot(0, 0, ())


class BeaconState:
    """See the module's text; every method that returns a refusal has then changed nothing."""

    __slots__ = (
        "_context",
        "_cursors",
        "_next_roll",
        "_root",
        "_slots",
        "_stale",
        "_tree",
        "pending",
    )

    def __init__(self, context: BeaconContext, slots: tuple[_Slot, ...], rolls: _Rolls) -> None:
        """Use `genesis`, `from_leaves` or `fork`."""
        self._context = context
        self._slots = slots
        self._cursors = rolls.cursors
        self._next_roll = rolls.next_roll
        self.pending: tuple[PendingRoll, ...] = rolls.pending
        """Closed and not settled, oldest first."""
        self._tree: MerkleTree | None = None
        self._root = EMPTY_ROOT
        self._stale: tuple[int, ...] = ()

    @classmethod
    def genesis(cls, context: BeaconContext) -> "BeaconState":
        """Return the state of a new epoch: nobody has dealt."""
        n = context.validators.n
        return cls(context, (_EMPTY_SLOT,) * n, _Rolls(0, ((),) * n, ()))

    @classmethod
    def from_leaves(cls, context: BeaconContext, leaves: tuple[bytes, ...]) -> "BeaconState":
        """Rebuild a state from its leaves, proven by its root; `DecodeError` if they are none."""
        n = context.validators.n
        if len(leaves) != n + 1:
            raise DecodeError(f"{len(leaves)} leaves of a beacon of {n} dealers")
        slots = tuple(decode_as(leaf, _Slot) for leaf in leaves[:n])
        rolls = decode_as(leaves[n], _Rolls)
        if tuple(map(len, rolls.cursors)) != tuple(len(slot.dealt) for slot in slots):
            raise DecodeError("the beacon's cursors are not those of its dealings")
        return cls(context, slots, rolls)

    def fork(self) -> "BeaconState":
        """Return an independent state with the same content."""
        twin: BeaconState = BeaconState.__new__(BeaconState)
        twin._context, twin._slots, twin._cursors = self._context, self._slots, self._cursors
        twin._next_roll, twin.pending = self._next_roll, self.pending
        twin._tree, twin._root, twin._stale = self._tree, self._root, self._stale
        return twin

    def leaves(self) -> tuple[bytes, ...]:
        """Return the encoded leaves: one for each dealer, then that of the rolls."""
        return tuple(self._leaf(i) for i in range(len(self._slots) + 1))

    def root(self) -> Digest:
        """Return the Merkle root over `leaves`."""
        if self._tree is None:
            self._tree = MerkleTree(self.leaves())
            self._root = self._tree.root()
        elif self._stale:
            # Forks share the tree, so it is replaced.
            self._tree = self._tree.copy()
            for index in self._stale:
                self._tree.set(index, self._leaf(index))
            self._root = self._tree.root()
        self._stale = ()
        return self._root

    def _leaf(self, index: int) -> bytes:
        if index < len(self._slots):
            return encode(self._slots[index])
        return encode(_Rolls(self._next_roll, self._cursors, self.pending))

    # Dealings.

    def add_certificate(self, item: bytes) -> str | None:
        """Verify and apply a deal certificate; the text says why it is invalid here."""
        certified = self._context.check_certificate(item)
        if isinstance(certified, str):
            return certified
        dealer, dealt = certified.dealer, certified.dealt
        if why := self.refuses_batch(dealer, dealt.batch):
            return why
        slot = self._slots[dealer]
        self._set_slot(
            dealer,
            _Slot(slot.next_batch + 1, 0, (*slot.dealt, dealt)),
            (*self._cursors[dealer], 0),
        )
        return None

    def refuses_batch(self, dealer: int, batch: int) -> str | None:
        """Say why no certificate of this dealer and batch can be added here, if so."""
        slot = self._slots[dealer]
        if slot.faulty:
            return f"dealer {dealer} was proven faulty"
        if batch != slot.next_batch:
            return f"batch {batch} of dealer {dealer}, whose next is {slot.next_batch}"
        if (unused := self.stock(dealer).batches) >= UNUSED_BATCHES_MAX:
            return f"dealer {dealer} has {unused} unused batches; the limit is {UNUSED_BATCHES_MAX}"
        return None

    def next_batch(self, dealer: int) -> int:
        """Return the number that the dealer's next certificate must have."""
        return self._slots[dealer].next_batch

    def stock(self, dealer: int) -> Stock:
        """Return what a dealer has left."""
        batches = secrets = 0
        published = False
        for dealt, cursor in zip(self._slots[dealer].dealt, self._cursors[dealer], strict=True):
            if cursor < BATCH:
                batches += 1
                secrets += BATCH - cursor
                published |= bool(dealt.published)
        return Stock(batches, secrets, published)

    @property
    def context(self) -> BeaconContext:
        """The epoch; what one knows of its secrets, all who share it know."""
        return self._context

    @property
    def next_roll(self) -> int:
        """The number of the roll that the next close fixes."""
        return self._next_roll

    def dealings(self, dealer: int) -> tuple[Dealt, ...]:
        """Return a dealer's dealings that have secrets left or belong to a pending roll."""
        return self._slots[dealer].dealt

    def is_faulty(self, dealer: int) -> bool:
        """Say whether a settled roll proved that this dealer shared no secret."""
        return bool(self._slots[dealer].faulty)

    def dealt(self, place: Place) -> Dealt:
        """Return the dealing of a pending roll's place."""
        for dealt in self._slots[place.dealer].dealt:
            if dealt.batch == place.batch:
                return dealt
        raise AssertionError(f"{place} of a pending roll has no dealing")

    def _set_slot(self, dealer: int, slot: _Slot, cursors: tuple[int, ...]) -> None:
        self._slots = (*self._slots[:dealer], slot, *self._slots[dealer + 1 :])
        self._cursors = (*self._cursors[:dealer], cursors, *self._cursors[dealer + 1 :])
        self._touch(dealer, len(self._slots))

    def _touch(self, *leaves: int) -> None:
        self._stale = tuple(dict.fromkeys((*self._stale, *leaves)))

    # Rolls.

    def can_close(self) -> bool:
        """Say whether a roll may be fixed: t dealers have a secret left, and not too many wait."""
        if len(self.pending) >= PENDING_ROLLS_MAX:
            return False
        return sum(map(self._is_usable, range(len(self._slots)))) >= self._context.t

    def close(self, height: int) -> int:
        """Fix the next roll, once in a block at most, and return its number.

        No choice is left to anybody: every usable dealer takes part (of more than 31, the first t in
        rotation), with its dealing of the fewest published shares, then the oldest.
        """
        assert self.can_close(), "close needs t usable dealers"
        assert all(roll.height < height for roll in self.pending), f"two closes at height {height}"
        roll = self._next_roll
        cursors = list(self._cursors)
        places = []
        for dealer in self._dealers(roll):
            slot, at = self._slots[dealer], self._choice(dealer)
            assert at is not None, f"dealer {dealer} is usable"
            places.append(Place(dealer, slot.dealt[at].batch, cursors[dealer][at]))
            cursors[dealer] = tuple(cursor + (i == at) for i, cursor in enumerate(cursors[dealer]))
        self._cursors = tuple(cursors)
        self._next_roll = roll + 1
        self.pending = (*self.pending, PendingRoll(roll, height, b"", tuple(places)))
        self._touch(len(self._slots))
        return roll

    def bind(self, close_hash: bytes) -> None:
        """Name the block that closed the newest roll, at the start of the next block."""
        if self.pending and not self.pending[-1].close_hash:
            *others, newest = self.pending
            self.pending = (*others, newest.bound(close_hash))
            self._touch(len(self._slots))

    def _usable(self) -> list[int]:
        return [d for d in range(len(self._slots)) if self._is_usable(d)]

    def _is_usable(self, dealer: int) -> bool:
        """Say whether a dealer has a secret left for the next roll."""
        return not self._slots[dealer].faulty and min(self._cursors[dealer], default=BATCH) < BATCH

    def _dealers(self, roll: int) -> list[int]:
        usable = self._usable()
        n = len(self._slots)
        if n <= EVERY_DEALER_MAX:
            return usable
        start = roll % n
        return sorted(usable, key=lambda dealer: (dealer - start) % n)[: self._context.t]

    def _choice(self, dealer: int) -> int | None:
        """Return which of a dealer's dealings the next roll takes, None if it is not usable."""
        slot = self._slots[dealer]
        if slot.faulty:
            return None
        best = None
        for at, (dealt, cursor) in enumerate(zip(slot.dealt, self._cursors[dealer], strict=True)):
            if cursor < BATCH:
                rank = (len(dealt.published), dealt.batch, at)
                best = rank if best is None else min(best, rank)
        return None if best is None else best[2]

    def settle(self, item: bytes) -> Settled | str:
        """Verify a settle and remove its roll, or say why it is invalid here."""
        try:
            settle = decode_as(item, Settle)
        except DecodeError as error:
            return f"a settle is malformed: {error}"
        pending = next((roll for roll in self.pending if roll.roll == settle.roll), None)
        if pending is None or not pending.close_hash:
            return f"roll {settle.roll} does not wait for a settle"
        if len(settle.openings) != len(pending.places):
            return f"{len(settle.openings)} openings of {len(pending.places)} secrets"
        context = self._context
        secrets = []
        for place, opening in zip(pending.places, settle.openings, strict=True):
            secret, why = check_opening(
                context, place.dealer, self.dealt(place), place.index, opening
            )
            if secret is None:
                return f"roll {settle.roll}: {why}"
            secrets.append(OpenedSecret(place.dealer, place.batch, place.index, secret))
        self._forget(pending, tuple(secrets))
        proof = prove(context, pending, tuple(secrets))
        faulty = tuple(opened.dealer for opened in secrets if not opened.secret)
        return Settled(pending.roll, pending.height, digest("roll", proof), proof, faulty)

    def _forget(self, settled: PendingRoll, secrets: tuple[OpenedSecret, ...]) -> None:
        """Remove a roll, its dealers that shared no secret, and dealings that nothing needs."""
        self.pending = tuple(roll for roll in self.pending if roll is not settled)
        needed = {(place.dealer, place.batch) for roll in self.pending for place in roll.places}
        for opened in secrets:
            dealer, slot, cursors = opened.dealer, self._slots[opened.dealer], self._cursors
            faulty = 1 if slot.faulty or not opened.secret else 0
            kept = [
                (dealt, cursor)
                for dealt, cursor in zip(slot.dealt, cursors[dealer], strict=True)
                if (dealer, dealt.batch) in needed or not (faulty or cursor == BATCH)
            ]
            if faulty != slot.faulty or len(kept) != len(slot.dealt):
                self._set_slot(
                    dealer,
                    _Slot(slot.next_batch, faulty, tuple(dealt for dealt, _ in kept)),
                    tuple(cursor for _, cursor in kept),
                )
        self._touch(len(self._slots))


def prove(context: BeaconContext, roll: PendingRoll, secrets: tuple[OpenedSecret, ...]) -> bytes:
    """Return the encoded `RollProof` of a roll whose secrets are known."""
    return encode(RollProof(context.chain_id, context.epoch, roll.roll, roll.close_hash, secrets))
