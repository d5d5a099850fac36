"""What goes into and comes out of the pure core: the clock readings, the effects, the journal.

Effects are performed in list order. A `Persist` is durable before the next effect is performed, so
nothing is sent that could be forgotten (PROTOCOL 9).
"""

from typing import TypeAlias

import msgspec

from consensus.encoding import Digest
from consensus.messages import Body, Header
from consensus.validators import ValidatorIndex


class Now(msgspec.Struct, frozen=True, gc=False):
    """The clocks as an input: monotonic for deadlines, wall for the table clock. Milliseconds."""

    mono_ms: int
    wall_ms: int


class VoteLogged(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An own vote; the envelope is resent verbatim and never made anew."""

    kind: int
    epoch: int
    view: int
    digest: bytes
    envelope: bytes


class FloorLogged(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """This node votes in no view of the epoch up to this one: it may have, and forgotten it."""

    epoch: int
    view: int


class BlockLogged(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A block that this node proposed, notarized, or fetched because it is final."""

    hash: bytes
    height: int
    view: int
    header: bytes
    body: bytes


class CertificateLogged(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A notarization or nullification held, so that a restart resumes at its view."""

    kind: int
    epoch: int
    view: int
    digest: bytes
    certificate: bytes


class FinalLogged(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A final block; the certificate is empty when a descendant's proves it."""

    height: int
    view: int
    hash: bytes
    certificate: bytes


class SharesLogged(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The shares that a dealer gave this node, as opened from the box, before they are acked."""

    epoch: int
    dealer: int
    batch: int
    deal: bytes
    shares: bytes


class DealCertificateLogged(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An own deal certificate that publishes shares: no other one of its dealing is ever sent."""

    epoch: int
    batch: int
    item: bytes


class ActionLogged(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An own signed action that is not final yet."""

    seq: int
    envelope: bytes


class SnapshotLogged(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The whole state after a final block, as its own encoding; older blocks need no replay."""

    height: int
    hash: bytes
    state: bytes


class RollLogged(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A settled roll and what recomputes it: an encoded `beacon.RollProof`."""

    session: int
    number: int
    height: int
    proof: bytes


class EpochKeysLogged(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Own keys for an epoch to come, durable before anybody is told of them."""

    epoch: int
    vote_seed: bytes
    box_secret: bytes


class EpochKeysErased(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Dealings and shares of all epochs before this one have done their work: forget them.

    So have own keys that were made for epochs before `keys`; later ones may be in use still.
    """

    epoch: int
    keys: int


class SealLogged(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What made the seal of an epoch final: the certificate of the seal, or of a tail behind it.

    `step` proves to others that it is, and who votes next: an encoded `EpochStep`.
    """

    epoch: int
    height: int
    hash: bytes
    certificate: bytes
    step: bytes


class FetchedLogged(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An answer that counted in a fetch of a state, as it was framed: it is not asked for again."""

    part: int
    message: bytes


class FetchEnded(msgspec.Struct, frozen=True, gc=False):
    """The fetched answers have done their work, or lead nowhere any more: forget them."""


class EvidenceLogged(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A proof of fault against the member at `slot`, until a final block convicts it."""

    slot: int
    proof: bytes


class EvidenceErased(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The proof against the member at `slot` has done its work, or convicts nobody any more."""

    slot: int


LogRecord: TypeAlias = (
    VoteLogged
    | FloorLogged
    | BlockLogged
    | CertificateLogged
    | FinalLogged
    | SharesLogged
    | DealCertificateLogged
    | ActionLogged
    | SnapshotLogged
    | RollLogged
    | EpochKeysLogged
    | EpochKeysErased
    | SealLogged
    | FetchedLogged
    | FetchEnded
    | EvidenceLogged
    | EvidenceErased
)


class Persist(msgspec.Struct, frozen=True, gc=False):
    """Make these durable, all or none, before the next effect."""

    records: tuple[LogRecord, ...]


class Send(msgspec.Struct, frozen=True, gc=False):
    """Hand a frame to one peer, or to all others when `to` is None.

    Engine and beacon number the parties of their epoch, validators first; outside of them a peer
    is a member by its slot.
    """

    to: ValidatorIndex | None
    frame: bytes


class RequestEntropy(msgspec.Struct, frozen=True, gc=False):
    """Ask for `size` random bytes; they come back by the core's `entropy` input."""

    size: int


class Report(msgspec.Struct, frozen=True, gc=False):
    """A peer broke a rule: `fault` names it. Counted and logged; the peer is never answered."""

    peer: ValidatorIndex
    fault: str


class Committed(msgspec.Struct, frozen=True, gc=False):
    """A block became final and durable, in height order."""

    height: int
    hash: Digest
    header: Header
    body: Body
    certificate: bytes


class Halt(msgspec.Struct, frozen=True, gc=False):
    """The state diverged: stop, keep the journal, say why. Never guess."""

    reason: str


Effect: TypeAlias = Persist | Send | RequestEntropy | Report | Committed | Halt
