"""What goes into and comes out of the pure core: the clock readings, the effects, the journal.

Effects are performed in list order. A `Persist` is durable before the next effect is performed, so
nothing is sent that could be forgotten (PROTOCOL 9).
"""

from dataclasses import dataclass
from typing import TypeAlias

from consensus.encoding import Digest
from consensus.messages import Body, Header
from consensus.validators import ValidatorIndex


@dataclass(frozen=True, slots=True)
class Now:
    """The clocks as an input: monotonic for deadlines, wall for the table clock. Milliseconds."""

    mono_ms: int
    wall_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteLogged:
    """An own vote; the envelope is resent verbatim and never made anew."""

    kind: int
    epoch: int
    view: int
    digest: bytes
    envelope: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class FloorLogged:
    """This node votes in no view of the epoch up to this one: it may have, and forgotten it."""

    epoch: int
    view: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockLogged:
    """A block that this node proposed, notarized, or fetched because it is final."""

    hash: bytes
    height: int
    view: int
    header: bytes
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateLogged:
    """A notarization or nullification held, so that a restart resumes at its view."""

    kind: int
    epoch: int
    view: int
    digest: bytes
    certificate: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalLogged:
    """A final block; the certificate is empty when a descendant's proves it."""

    height: int
    view: int
    hash: bytes
    certificate: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class DealingLogged:
    """An own dealing: its 32 bytes of entropy make every polynomial again."""

    epoch: int
    batch: int
    entropy: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SharesLogged:
    """The shares that a dealer gave this node, as opened from the box, before they are acked."""

    epoch: int
    dealer: int
    batch: int
    deal: bytes
    shares: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class DealCertificateLogged:
    """An own deal certificate that publishes shares: no other one of its dealing is ever sent."""

    epoch: int
    batch: int
    item: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionLogged:
    """An own signed action that is not final yet."""

    seq: int
    envelope: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotLogged:
    """The whole state after a final block, as its own encoding; older blocks need no replay."""

    height: int
    hash: bytes
    state: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RollLogged:
    """A settled roll and what recomputes it: an encoded `beacon.RollProof`."""

    session: int
    number: int
    height: int
    proof: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochKeysLogged:
    """Own keys for an epoch to come, durable before anybody is told of them."""

    epoch: int
    vote_seed: bytes
    box_secret: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochKeysErased:
    """Dealings and shares of all epochs before this one have done their work: forget them.

    So have own keys that were made for epochs before `keys`; later ones may be in use still.
    """

    epoch: int
    keys: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SealLogged:
    """What made the seal of an epoch final: the certificate of the seal, or of a tail behind it.

    `step` proves to others that it is, and who votes next: an encoded `EpochStep`.
    """

    epoch: int
    height: int
    hash: bytes
    certificate: bytes
    step: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedLogged:
    """An answer that counted in a fetch of a state, as it was framed: it is not asked for again."""

    part: int
    message: bytes


@dataclass(frozen=True, slots=True)
class FetchEnded:
    """The fetched answers have done their work, or lead nowhere any more: forget them."""


LogRecord: TypeAlias = (
    VoteLogged
    | FloorLogged
    | BlockLogged
    | CertificateLogged
    | FinalLogged
    | DealingLogged
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
)


@dataclass(frozen=True, slots=True)
class Persist:
    """Make these durable, all or none, before the next effect."""

    records: tuple[LogRecord, ...]


@dataclass(frozen=True, slots=True)
class Send:
    """Hand a frame to one peer, or to all others when `to` is None.

    Engine and beacon number the parties of their epoch, validators first; outside of them a peer
    is a member by its slot.
    """

    to: ValidatorIndex | None
    frame: bytes


@dataclass(frozen=True, slots=True)
class RequestEntropy:
    """Ask for `size` random bytes; they come back by the core's `entropy` input."""

    size: int


@dataclass(frozen=True, slots=True)
class Report:
    """A peer broke a rule: `fault` names it. Counted and logged; the peer is never answered."""

    peer: ValidatorIndex
    fault: str


@dataclass(frozen=True, slots=True)
class Committed:
    """A block became final and durable, in height order."""

    height: int
    hash: Digest
    header: Header
    body: Body
    certificate: bytes


@dataclass(frozen=True, slots=True)
class Halt:
    """The state diverged: stop, keep the journal, say why. Never guess."""

    reason: str


Effect: TypeAlias = Persist | Send | RequestEntropy | Report | Committed | Halt
