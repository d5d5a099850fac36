"""Whom the table has to name: a watch of its own over the votes that honest nodes receive.

PROTOCOL 9.3 is restated here and not asked of the code that it judges: two votes of one voter that
exclude each other, both taken in by one honest node that lived on, end as a conviction in a final
block. What may be missed without a fault (a half that came too early, or was lost with the power)
is not held against anybody.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from consensus.encoding import DecodeError, decode_as
from consensus.messages import NO_DIGEST, Number, VoteKind, VotePayload, parse_frame
from consensus.signing import Domain, Envelope, PublicKey, Verify, signed_bytes
from netsim.invariants import ViolatedError

EPOCHS_PROVABLE = 2
"""Epochs in which a proof can be checked: its own and the next one (PROTOCOL 9.3)."""
ROUNDS_OF_LEADERS = 3
"""Within which a finder's own block carries its proof; one may be lost to a view that nobody sees."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a node stands when frames reach it; what is outside this it need not count."""

    host: int
    boot: int
    epoch: int
    view: int
    final_view: int


@dataclass(frozen=True, slots=True)
class Debt:
    """A conviction that the table owes: who could prove it of whom, since which height."""

    finder: int
    offender: int
    epoch: int
    height: int


def exclude(kind: int, digest: bytes, other: int, other_digest: bytes) -> bool:
    """Say whether no honest validator votes both in one view (PROTOCOL 9.3, pairs 1 to 3)."""
    if kind == other:
        return digest != other_digest
    return {kind, other} == {VoteKind.NULLIFY, VoteKind.FINALIZE}


class Attribution:
    """Remembers the votes of cheats that each honest node heard in its present life."""

    def __init__(
        self,
        chain_id: bytes,
        verify: Verify,
        key_of: Callable[[int, bytes], tuple[int, PublicKey] | None],
    ) -> None:
        """Judge by these keys: `key_of` an epoch and a key id, the host and its key."""
        self._chain_id = chain_id
        self._verify = verify
        self._key_of = key_of
        # By finder and offender; one life of the finder and one epoch of both at a time.
        self._heard: dict[tuple[int, int], tuple[tuple[int, int], dict[int, list[VotePayload]]]]
        self._heard = {}
        self._debts: dict[tuple[int, int], Debt] = {}  # finder, offender

    @property
    def debts(self) -> tuple[Debt, ...]:
        """Every conviction owed, paid or not."""
        return tuple(self._debts.values())

    def hears(self, at: Standing, sender: int, frame: bytes) -> int | None:
        """Take a frame from a cheat to an honest node; return whom it now can prove to be one."""
        if frame[0] != Number.VOTE or (at.host, sender) in self._debts:
            return None
        try:
            _, envelope = parse_frame(frame)
            assert isinstance(envelope, Envelope), "a vote"
            vote = decode_as(envelope.payload, VotePayload)
        except DecodeError:
            return None
        if (vote.kind == VoteKind.NULLIFY) != (vote.digest == NO_DIGEST):
            return None  # no vote at all
        found = self._key_of(vote.epoch, envelope.kid)
        if vote.epoch != at.epoch or vote.view > at.view + 1 or found is None:
            return None
        host, key = found
        signed = signed_bytes(envelope.kid, Domain.VOTE, self._chain_id, envelope.payload)
        if host != sender or not self._verify(key, signed, envelope.signature):
            return None
        life = (at.boot, at.epoch)
        known, views = self._heard.get((at.host, sender), (life, {}))
        if known != life:
            views = {}
        self._heard[at.host, sender] = (life, views)
        for view in [one for one in views if one <= at.final_view]:
            del views[view]
        votes = views.setdefault(vote.view, [])
        if any(exclude(vote.kind, vote.digest, one.kind, one.digest) for one in votes):
            return sender
        votes.append(vote)
        return None

    def owes(self, debt: Debt) -> None:
        """The finder outlived the moment in which it could prove it."""
        self._debts.setdefault((debt.finder, debt.offender), debt)

    def settle(
        self, convicted: Sequence[int], voters: Sequence[int], epoch: int, since: int, height: int
    ) -> int:
        """Return how many cheats had to be convicted by this height, healthy since `since`.

        A finder that votes no more, or that lost touch until no epoch was left to check its proof,
        owes nothing. Raises `ViolatedError` if one of the others is not convicted.
        """
        due: dict[int, None] = {}
        for debt in self._debts.values():
            is_late = height >= max(debt.height, since) + ROUNDS_OF_LEADERS * len(voters)
            is_provable = epoch < debt.epoch + EPOCHS_PROVABLE
            if debt.offender in convicted:
                due[debt.offender] = None
            elif is_late and is_provable and debt.finder in voters:
                raise ViolatedError(
                    f"attribution: host {debt.finder} heard two votes of host {debt.offender} that "
                    f"exclude each other by height {debt.height}; at {height} no block names it"
                )
        return len(due)
