"""One validator of one epoch: Simplex-style agreement as a pure machine (PROTOCOL 7 to 10).

Frames, deadlines and new work go in; effects come out, in the order in which they must be
performed. All records of one input are durable before anything of that input is sent. Nothing here
reads a clock, draws a random number or touches a socket, and no remote input raises.

Every input ends in `_advance`, which applies the rules R1 to R8 until none of them fires. A rule
looks only at what is held, so the order in which messages came in does not matter.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from consensus.effects import (
    BlockLogged,
    CertificateLogged,
    Committed,
    Effect,
    FinalLogged,
    Halt,
    LogRecord,
    Now,
    Persist,
    Report,
    Send,
    VoteLogged,
)
from consensus.encoding import DecodeError, Digest, decode_as, digest, encode
from consensus.messages import (
    NO_DIGEST,
    BlockHash,
    Blocks,
    Body,
    Certificate,
    GetBlocks,
    GetCert,
    Header,
    Message,
    Number,
    Proposal,
    Status,
    VoteKind,
    VotePayload,
    block_hash,
    body_hash,
    frame,
    vote_payload,
)
from consensus.signing import (
    Domain,
    Envelope,
    Signer,
    Verify,
    parse_envelope,
    sign_envelope,
    verify_envelope,
)
from consensus.sync import Fetch
from consensus.validators import ValidatorIndex, Validators
from consensus.votes import Held, Tally

DELTA_MS_MIN, DELTA_MS_MAX, DELTA_MS_DEFAULT = 20, 10_000, 50
"""The estimate of one-way delay is clamped to this; radio links reach the upper end."""
TIMER_MS_MAX = 60_000
"""No back-off exceeds this, so a healed network is never idle for longer."""
CLOCK_LEAD_MS_MAX = 3_000
"""How far a block's time may be ahead of the table clock before it has to wait."""
BLOCKS_IN_MEMORY = 256
"""Final blocks kept to serve peers that are a little behind; older ones come from the store."""
BLOCKS_BYTES_MAX = 768 << 10
"""The bodies in one answer: under the message limit with room for its headers."""
STATUS_IDLE_MS = 60_000
"""An idle node tells one neighbour where it stands this often: no vote, no block."""


@dataclass(frozen=True, slots=True)
class Built:
    """What a leader's application put into a block, executed on the parent's state."""

    system: tuple[bytes, ...]
    actions: tuple[bytes, ...]
    state_root: Digest
    receipts_root: Digest


class Application(Protocol):
    """The replicated state, by block hash: deterministic, synchronous, pure."""

    def build(self, parent: BlockHash, height: int, time_ms: int) -> Built:
        """Choose and execute the next block's content on the parent's state."""
        ...

    def execute(self, block: BlockHash, header: Header, body: Body) -> str | None:
        """Execute on the parent's state and keep the result; the text says why it is invalid."""
        ...

    def finalize(self, block: BlockHash) -> None:
        """Make this block's state the base; states that do not extend it are dropped."""
        ...

    def has_work(self, tip: BlockHash) -> bool:
        """Say whether something valid waits that the chain ending at `tip` does not hold."""
        ...


@dataclass(frozen=True, slots=True)
class Block:
    """A block as received, with its parsed halves."""

    hash: BlockHash
    header: Header
    body: Body
    header_bytes: bytes
    body_bytes: bytes

    @property
    def logged(self) -> BlockLogged:
        """The journal's form."""
        return BlockLogged(
            hash=self.hash,
            height=self.header.height,
            view=self.header.view,
            header=self.header_bytes,
            body=self.body_bytes,
        )


@dataclass(frozen=True, slots=True)
class Tip:
    """A place on the chain."""

    height: int
    view: int
    hash: BlockHash
    time_ms: int


@dataclass(slots=True)
class Round:
    """What is known of one view above the finalized one."""

    tally: Tally
    proposal: Block | None = None
    proposal_frame: bytes = b""
    invalid: bool = False
    held: dict[VoteKind, Held] = field(default_factory=dict)
    own: dict[VoteKind, tuple[bytes, bytes]] = field(default_factory=dict)  # digest, frame


def parse_block(header_bytes: bytes, body_bytes: bytes) -> Block:
    """Parse a block and check that the header names the body; raises `DecodeError`."""
    header = decode_as(header_bytes, Header)
    body = decode_as(body_bytes, Body)
    if body_hash(body) != header.body_hash:
        raise DecodeError("the header names another body")
    return Block(block_hash(header_bytes), header, body, header_bytes, body_bytes)


class Engine:
    """The rules R0 to R9 for one validator; see the module's text for the contract."""

    def __init__(
        self,
        *,
        chain_id: Digest,
        epoch: int,
        validators: Validators,
        me: ValidatorIndex,
        signer: Signer,
        verify: Verify,
        app: Application,
        base: Tip | None = None,
        records: Sequence[LogRecord] = (),
        load_block: Callable[[bytes], tuple[bytes, bytes] | None] = lambda _hash: None,
    ) -> None:
        """Resume from `records`; `base` is the newest final block that `app` has executed."""
        self._chain_id = chain_id
        self._epoch = epoch
        self._validators = validators
        self.me = me
        self._signer = signer
        self._verify = verify
        self._app = app
        self._load_block = load_block
        self.delta_ms = DELTA_MS_DEFAULT
        self.final = base or genesis(chain_id)
        self.view = self.final.view + 1
        self.halted = ""
        self._blocks: dict[BlockHash, Block] = {}
        self._executed: dict[BlockHash, Tip] = {self.final.hash: self.final}
        self._recent: list[Block] = []
        self._rounds: dict[int, Round] = {}
        self._finalization: Held | None = None
        self._entry: Held | None = None
        self._entered_ms = 0
        self._armed_ms: int | None = None
        self._work = False
        self._fetch_peer = int(me)
        self._rebroadcast_ms = 0
        self._rebroadcasts = 0
        self._nullified = 0
        self._silent: dict[ValidatorIndex, bool] = {}
        self._helped_ms: dict[ValidatorIndex, int] = {}
        self._fetch: Fetch | None = None
        self._pending_ms: int | None = None
        self._asked_cert: tuple[int, int] = (0, 0)
        self._status_ms = 0
        self._status_peer = int(me)
        self._records: list[LogRecord] = []
        self._effects: list[Effect] = []
        self._now_ms = 0
        self.deadline_ms: int | None = None
        self._restore(records)

    # Inputs. Each returns the effects it caused, records first.

    def start(self, now: Now) -> list[Effect]:
        """Begin, or resume after a restart: tell everybody where this node stands."""
        self._now_ms = self._entered_ms = now.mono_ms
        self._status_ms = now.mono_ms + STATUS_IDLE_MS
        self._send(None, Number.STATUS, self._status(now, ask=1))
        return self._finish(now)

    def peer_up(self, peer: ValidatorIndex, now: Now) -> list[Effect]:
        """Greet a peer whose link came up."""
        self._silent[peer] = False
        self._send(peer, Number.STATUS, self._status(now, ask=1))
        return self._finish(now)

    def wake(self, now: Now) -> list[Effect]:
        """Look again: the application may have new work."""
        return self._finish(now)

    def handle_deadline(self, now: Now) -> list[Effect]:
        """Do what is due; call when `deadline_ms` has come."""
        return self._finish(now)

    def receive(
        self, sender: ValidatorIndex, number: Number, message: Message, now: Now
    ) -> list[Effect]:
        """Take one decoded message from an authenticated peer."""
        self._now_ms = now.mono_ms
        self._silent[sender] = False
        match message:
            case Envelope() if number is Number.VOTE:
                self._on_vote(sender, message)
            case Proposal():
                self._on_proposal(sender, message)
            case Certificate():
                if not self._absorb(message):
                    self._report(sender, "certificate that does not verify")
            case Status():
                self._on_status(sender, message, now)
            case GetCert():
                self._on_get_cert(sender, message)
            case GetBlocks():
                self._on_get_blocks(sender, message)
            case Blocks():
                self._on_blocks(sender, message, now)
            case _:
                self._report(sender, f"message {number.name} is not for the engine")
        return self._finish(now)

    # What others may ask.

    @property
    def tip(self) -> Tip:
        """The block that a leader would build on: the highest executed notarized one."""
        for view in sorted(self._rounds, reverse=True):
            held = self._rounds[view].held.get(VoteKind.NOTARIZE)
            if held is not None and held.digest in self._executed:
                return self._executed[BlockHash(held.digest)]
        return self.final

    @property
    def awake(self) -> bool:
        """Whether timers run: there is work, or a notarized block is not final (PROTOCOL 8)."""
        return self._armed_ms is not None

    def own_votes(self) -> tuple[tuple[int, VoteKind, bytes], ...]:
        """Return (view, kind, digest) of own votes above the finalized view."""
        return tuple(
            (view, kind, own[0])
            for view, known in sorted(self._rounds.items())
            for kind, own in known.own.items()
        )

    # Receiving.

    def _on_vote(self, sender: ValidatorIndex, envelope: Envelope) -> None:
        try:
            vote = decode_as(envelope.payload, VotePayload)
        except DecodeError:
            self._report(sender, "vote of no known form")
            return
        signer = self._validators.index_of_kid.get(envelope.kid)
        kind = VoteKind(vote.kind)
        if signer is None or vote.epoch != self._epoch:
            return
        if (kind is VoteKind.NULLIFY) != (vote.digest == NO_DIGEST):
            self._report(sender, "vote that names a block where there is none")
            return
        if not self.final.view < vote.view <= self.view + 1:
            return
        self._count(kind, vote.view, vote.digest, signer, envelope.signature)

    def _count(
        self, kind: VoteKind, view: int, about: bytes, signer: ValidatorIndex, signature: bytes
    ) -> None:
        tally = self._round(view).tally
        if tally.add(kind, about, signer, signature):
            held, liars = tally.certify(kind, about)
            for liar in liars:
                self._report(liar, "vote that does not verify")
            if held is not None:
                self._hold(held)

    def _on_proposal(self, sender: ValidatorIndex, proposal: Proposal) -> None:
        try:
            header = decode_as(proposal.header, Header)
            if not self.final.view < header.view <= self.view + 1:
                return
            block = parse_block(proposal.header, proposal.body)
            envelope = parse_envelope(proposal.vote)
        except DecodeError:
            self._report(sender, "proposal that does not parse")
            return
        leader = self._validators.leader(header.view)
        payload = vote_payload(VoteKind.NOTARIZE, self._epoch, header.view, block.hash)
        known = self._round(header.view)
        if envelope.payload != payload or not verify_envelope(
            self._verify, self._validators.keys[leader], Domain.VOTE, self._chain_id, envelope
        ):
            self._report(sender, "proposal without its leader's vote")
            return
        known.tally.add(VoteKind.NOTARIZE, block.hash, leader, envelope.signature, verified=True)
        held = known.held.get(VoteKind.NOTARIZE)
        if known.proposal is None or (held is not None and held.digest == block.hash):
            # R9: the first proposal is kept; only a certificate makes another one matter.
            known.proposal = block
            known.proposal_frame = frame(Number.PROPOSAL, proposal)
            self._blocks[block.hash] = block
        held, _ = known.tally.certify(VoteKind.NOTARIZE, block.hash)
        if held is not None:
            self._hold(held)

    def _absorb(self, certificate: Certificate) -> bool:
        """Hold a certificate if it is valid and new; False only when it is a lie."""
        kind = VoteKind(certificate.kind)
        if certificate.epoch != self._epoch or certificate.view <= self.final.view:
            return True
        known = self._rounds.get(certificate.view)
        if known is not None and kind in known.held:
            return True
        tally = known.tally if known is not None else self._tally(certificate.view)
        if not tally.accept(certificate):
            return False
        self._hold(Held(kind, certificate.view, Digest(certificate.digest), encode(certificate)))
        return True

    def _hold(self, held: Held) -> None:
        known = self._round(held.view)
        if held.kind in known.held:
            return
        known.held[held.kind] = held
        if held.kind is VoteKind.NULLIFY:
            self._nullified += 1
            self._silent.setdefault(self._validators.leader(held.view), True)
        self._records.append(
            CertificateLogged(
                kind=held.kind,
                epoch=self._epoch,
                view=held.view,
                digest=held.digest,
                certificate=held.data,
            )
        )

    def _on_status(self, sender: ValidatorIndex, status: Status, now: Now) -> None:
        if status.epoch != self._epoch:
            return
        if status.ask:
            self._send(sender, Number.STATUS, self._status(now, ask=0, echo_ms=status.wall_ms))
        behind = status.final_view < self.final.view or status.view < self.view
        if not behind or now.mono_ms < self._helped_ms.get(sender, 0):
            return
        self._helped_ms[sender] = now.mono_ms + self.delta_ms
        if self._finalization is not None and status.final_view < self.final.view:
            self._send(sender, Number.CERTIFICATE, self._finalization.data)
        if self._entry is not None and status.view < self.view:
            self._send(sender, Number.CERTIFICATE, self._entry.data)

    def _on_get_cert(self, sender: ValidatorIndex, ask: GetCert) -> None:
        if ask.epoch != self._epoch:
            return
        if self._finalization is not None and self._finalization.view >= ask.view:
            self._send(sender, Number.CERTIFICATE, self._finalization.data)
        elif (known := self._rounds.get(ask.view)) is not None:
            for held in known.held.values():
                self._send(sender, Number.CERTIFICATE, held.data)

    def _on_get_blocks(self, sender: ValidatorIndex, ask: GetBlocks) -> None:
        blocks: list[tuple[bytes, bytes]] = []
        wanted, size = ask.hash, 0
        while len(blocks) < ask.count and (found := self._block_bytes(wanted)) is not None:
            header, body = found
            size += len(header) + (0 if ask.headers_only else len(body))
            if blocks and size > BLOCKS_BYTES_MAX:
                break
            blocks.append((header, b"" if ask.headers_only else body))
            wanted = decode_as(header, Header).parent_hash
        if blocks:
            self._send(sender, Number.BLOCKS, Blocks(ask.hash, tuple(blocks)))

    def _block_bytes(self, wanted: bytes) -> tuple[bytes, bytes] | None:
        block = self._blocks.get(BlockHash(Digest(wanted)))
        if block is None:
            return self._load_block(wanted)
        return block.header_bytes, block.body_bytes

    def _on_blocks(self, sender: ValidatorIndex, answer: Blocks, now: Now) -> None:
        if self._fetch is None:
            return
        if fault := self._fetch.take(answer, self._knows, now.mono_ms):
            self._report(sender, fault)
        fetch = self._fetch
        while (pair := fetch.next_block()) is not None:
            try:
                block = parse_block(*pair)
            except DecodeError:
                self._report(sender, "block whose body is not its header's")
                fetch.refuse()
                return
            self._blocks[block.hash] = block
            self._records.append(block.logged)
            if not self._execute(block):
                return
            if fetch.final and block.hash != fetch.target:
                self._commit(block, None)

    def _knows(self, wanted: bytes) -> bool:
        return BlockHash(Digest(wanted)) in self._executed

    # The rules.

    def _advance(self, now: Now) -> None:
        """Apply the rules until none fires; each firing adds a vote, a block or a view."""
        while not self.halted and (
            self._finalized(now)
            or self._entered()
            or self._judged(now)
            or self._voted_final()
            or self._woke(now)
            or self._proposed(now)
            or self._gave_up(now)
        ):
            pass

    def _finalized(self, now: Now) -> bool:
        """R8: apply a finalized block and its ancestors, or fetch what is missing."""
        for view in sorted(self._rounds, reverse=True):
            held = self._rounds[view].held.get(VoteKind.FINALIZE)
            if held is None:
                continue
            path: list[Block] = []
            at = BlockHash(held.digest)
            while at != self.final.hash:
                block = self._blocks.get(at)
                if block is None:
                    self._need(at, now, final=True)
                    return False
                if block.header.height <= self.final.height:
                    self._halt(f"two final chains at height {block.header.height}")
                    return False
                path.append(block)
                at = BlockHash(Digest(block.header.parent_hash))
            for block in reversed(path):
                if not self._execute(block):
                    return False
                self._commit(block, held if block is path[0] else None)
            return True
        return False

    def _execute(self, block: Block) -> bool:
        """Execute a certified block; one that fails here means the states diverged (R5)."""
        if block.hash in self._executed:
            return True
        if why := self._app.execute(block.hash, block.header, block.body):
            self._halt(
                f"state diverged at height {block.header.height}: a quorum accepted a block that "
                f"fails here ({why})"
            )
            return False
        self._remember(block)
        return True

    def _remember(self, block: Block) -> None:
        header = block.header
        self._executed[block.hash] = Tip(header.height, header.view, block.hash, header.time_ms)

    def _commit(self, block: Block, held: Held | None) -> None:
        header = block.header
        self.final = self._executed[block.hash]
        self._records.append(
            FinalLogged(
                height=header.height,
                view=header.view,
                hash=block.hash,
                certificate=held.data if held is not None else b"",
            )
        )
        certificate = held.data if held is not None else b""
        self._app.finalize(block.hash)
        self._effects.append(Committed(header.height, block.hash, header, block.body, certificate))
        if held is not None:
            self._finalization = held
            self._nullified = 0
        self._recent.append(block)
        if len(self._recent) > BLOCKS_IN_MEMORY:
            self._blocks.pop(self._recent.pop(0).hash, None)
        self._prune()
        if self.view <= header.view:
            self._entry = held or self._entry
            self._enter(header.view + 1)

    def _prune(self) -> None:
        kept = dict.fromkeys(block.hash for block in self._recent)
        for view in [view for view in self._rounds if view <= self.final.view]:
            del self._rounds[view]
        for old in [
            block.hash
            for block in self._blocks.values()
            if block.header.view <= self.final.view and block.hash not in kept
        ]:
            del self._blocks[old]
        self._executed = {
            known: tip
            for known, tip in self._executed.items()
            if known == self.final.hash or tip.view > self.final.view
        }

    def _entered(self) -> bool:
        """R4, R7, R8: any certificate of the current view or above ends it."""
        for view in sorted(self._rounds, reverse=True):
            if view < self.view:
                return False
            held = self._rounds[view].held
            if held:
                self._entry = held.get(VoteKind.NOTARIZE) or next(iter(held.values()))
                self._enter(view + 1)
                return True
        return False

    def _enter(self, view: int) -> None:
        self.view = view
        self._entered_ms = self._now_ms
        self._armed_ms = None
        self._pending_ms = None
        self._rebroadcasts = 0

    def _judged(self, now: Now) -> bool:
        """R2, R3: verify the leader's proposal for the current view and notarize it."""
        known = self._rounds.get(self.view)
        if known is None or known.proposal is None or known.invalid:
            return False
        if VoteKind.NOTARIZE in known.own:
            return False
        block = known.proposal
        verdict = self._verdict(block, now)
        if verdict is None:
            return False
        if verdict:
            known.invalid = True
            self._report(self._validators.leader(self.view), f"invalid proposal: {verdict}")
            return True
        self._remember(block)
        self._records.append(block.logged)
        self._vote(VoteKind.NOTARIZE, self.view, block.hash)
        return True

    def _verdict(self, block: Block, now: Now) -> str | None:
        """Return "" for valid, a reason for invalid, None while it cannot be judged yet (R2)."""
        header, body = block.header, block.body
        if header.chain_id != self._chain_id or header.epoch != self._epoch:
            return "another chain or epoch"
        if header.proposer != self._validators.leader(header.view):
            return "proposer is not the leader"
        if why := self._unjustified(header, body):
            return why
        parent = self._executed.get(BlockHash(Digest(header.parent_hash)))
        if parent is None:
            self._need(header.parent_hash, now, final=False)
            return None
        if header.height != parent.height + 1 or header.parent_view != parent.view:
            return "height or parent view is wrong"
        if header.time_ms <= parent.time_ms:
            return f"time {header.time_ms} is not after its parent's {parent.time_ms}"
        early_ms = header.time_ms - now.wall_ms - CLOCK_LEAD_MS_MAX
        if early_ms > 0:
            self._pending_ms = now.mono_ms + early_ms
            return None
        return self._app.execute(block.hash, header, body) or ""

    def _unjustified(self, header: Header, body: Body) -> str:
        """Check that the block proves its ancestry by itself (R2); absorb what it proves."""
        if not self.final.view <= header.parent_view < header.view:
            return f"parent view {header.parent_view} is not between final and own view"
        if header.parent_view == self.final.view and header.parent_hash != self.final.hash:
            return "parent conflicts with the finalized block"
        if len(body.skips) != header.view - header.parent_view - 1:
            return f"{len(body.skips)} nullifications for the views skipped"
        if header.parent_view == 0:
            if body.parent_cert or header.parent_hash != genesis(self._chain_id).hash:
                return "genesis needs no certificate"
        elif not any(
            self._proves(body.parent_cert, kind, header.parent_view, header.parent_hash)
            for kind in (VoteKind.NOTARIZE, VoteKind.FINALIZE)
        ):
            return "parent certificate does not prove the parent"
        for view, skip in enumerate(body.skips, header.parent_view + 1):
            if not self._proves(skip, VoteKind.NULLIFY, view, NO_DIGEST):
                return f"no valid nullification of view {view}"
        return ""

    def _proves(self, data: bytes, kind: VoteKind, view: int, about: bytes) -> bool:
        """Say whether the bytes are a certificate of this statement; hold it if it is new."""
        known = self._rounds.get(view)
        if known is not None and kind in known.held and known.held[kind].data == data:
            return True
        try:
            certificate = decode_as(data, Certificate)
        except DecodeError:
            return False
        if (certificate.kind, certificate.epoch, certificate.view, certificate.digest) != (
            kind,
            self._epoch,
            view,
            about,
        ):
            return False
        tally = known.tally if known is not None else self._tally(view)
        if not tally.accept(certificate):
            return False
        if view > self.final.view:
            self._hold(Held(kind, view, Digest(about), data))
        return True

    def _voted_final(self) -> bool:
        """R5: finalize a notarized, stored, executed block of a view that was not nullified."""
        for view, known in sorted(self._rounds.items()):
            held = known.held.get(VoteKind.NOTARIZE)
            if (
                held is None
                or VoteKind.NULLIFY in known.own
                or VoteKind.FINALIZE in known.own
                or view <= self.final.view
            ):
                continue
            block = self._blocks.get(BlockHash(held.digest))
            if block is None:
                continue
            if block.hash not in self._executed:
                if BlockHash(Digest(block.header.parent_hash)) not in self._executed:
                    continue
                if not self._execute(block):
                    return False
            if VoteKind.NOTARIZE not in known.own:
                self._records.append(block.logged)
            self._vote(VoteKind.FINALIZE, view, block.hash)
            return True
        return False

    def _woke(self, now: Now) -> bool:
        """Arm the timers of this view when there is work, later when only the tip is open."""
        tip = self.tip
        open_tip = self._open_view() is not None
        self._work = self._app.has_work(tip.hash)
        nullifiers = self._rounds[self.view].tally if self.view in self._rounds else None
        pulled = (
            nullifiers is not None
            and len(nullifiers.signers(VoteKind.NULLIFY, NO_DIGEST)) > self._validators.f
        )
        wanted: int | None = None
        if self._work or pulled or self._proposal_waits():
            wanted = now.mono_ms
        elif open_tip:
            wanted = self._entered_ms + 8 * self.delta_ms
        if wanted is None:
            self._armed_ms = None
        elif self._armed_ms is None or wanted < self._armed_ms:
            self._armed_ms = wanted
            if self._rebroadcasts == 0:
                soon = 2 if not self._work else 4
                self._rebroadcast_ms = now.mono_ms + soon * self.delta_ms
        for view, known in sorted(self._rounds.items()):
            held = known.held.get(VoteKind.NOTARIZE)
            if held is not None and held.digest not in self._blocks and view > self.final.view:
                self._need(held.digest, now, final=False)
        return False

    def _proposal_waits(self) -> bool:
        known = self._rounds.get(self.view)
        return known is not None and known.proposal is not None

    def _open_view(self) -> int | None:
        for view in sorted(self._rounds):
            if VoteKind.NOTARIZE in self._rounds[view].held:
                return view
        return None

    def _proposed(self, now: Now) -> bool:
        """R1: the leader builds on the highest parent that it can prove."""
        if (
            self._validators.leader(self.view) != self.me
            or self._armed_ms is None
            or now.mono_ms < self._armed_ms
            or not (self._work or self._open_view() is not None)
        ):
            return False
        known = self._round(self.view)
        if VoteKind.NULLIFY in known.own or VoteKind.NOTARIZE in known.own:
            return False
        parent = self._provable_parent(now)
        if parent is None:
            return False
        block = self._build(parent, now)
        known.proposal = block
        self._blocks[block.hash] = block
        if why := self._app.execute(block.hash, block.header, block.body):
            self._halt(f"own block at height {block.header.height} fails here ({why})")
            return False
        self._remember(block)
        self._records.append(block.logged)
        envelope = self._sign(VoteKind.NOTARIZE, self.view, block.hash)
        known.proposal_frame = frame(
            Number.PROPOSAL, Proposal(block.header_bytes, block.body_bytes, envelope)
        )
        self._effects.append(Send(None, known.proposal_frame))
        self._tally_own(VoteKind.NOTARIZE, self.view, block.hash, envelope)
        return True

    def _provable_parent(self, now: Now) -> Tip | None:
        view = self.view - 1
        while view > self.final.view:
            held = self._rounds[view].held if view in self._rounds else {}
            if (notarized := held.get(VoteKind.NOTARIZE)) is not None:
                return self._executed.get(BlockHash(notarized.digest))
            if VoteKind.NULLIFY not in held:
                if self._asked_cert[0] != view or now.mono_ms >= self._asked_cert[1]:
                    self._asked_cert = (view, now.mono_ms + 4 * self.delta_ms)
                    self._send(None, Number.GET_CERT, GetCert(self._epoch, view))
                return None
            view -= 1
        return self.final

    def _build(self, parent: Tip, now: Now) -> Block:
        height = parent.height + 1
        time_ms = max(now.wall_ms, parent.time_ms + 1)
        built = self._app.build(parent.hash, height, time_ms)
        parent_cert = b""
        if parent.view > self.final.view:
            parent_cert = self._rounds[parent.view].held[VoteKind.NOTARIZE].data
        elif self._finalization is not None:
            # A finalization implies a notarization (G3) and is what every node keeps.
            parent_cert = self._finalization.data
        body = Body(
            parent_cert,
            tuple(
                self._rounds[view].held[VoteKind.NULLIFY].data
                for view in range(parent.view + 1, self.view)
            ),
            built.system,
            built.actions,
        )
        header = Header(
            version=1,
            chain_id=self._chain_id,
            epoch=self._epoch,
            view=self.view,
            height=height,
            time_ms=time_ms,
            parent_view=parent.view,
            parent_hash=parent.hash,
            proposer=self.me,
            flags=0,
            body_hash=body_hash(body),
            state_root=built.state_root,
            receipts_root=built.receipts_root,
        )
        header_bytes = encode(header)
        return Block(block_hash(header_bytes), header, body, header_bytes, encode(body))

    def _gave_up(self, now: Now) -> bool:
        """R6: promise never to finalize the current view, unless that was already done."""
        known = self._rounds.get(self.view)
        if known is not None and (VoteKind.NULLIFY in known.own or VoteKind.FINALIZE in known.own):
            return False
        if not (self._timed_out(known, now) or self._given_up_by_others(known)):
            return False
        self._vote(VoteKind.NULLIFY, self.view, NO_DIGEST)
        return True

    def _timed_out(self, known: Round | None, now: Now) -> bool:
        if known is not None and known.invalid:
            return True
        if self._armed_ms is None:
            return False
        waits_for_leader = known is None or known.proposal is None
        timeout = self._advance_ms()
        if waits_for_leader:
            timeout = self._leader_ms()
        return now.mono_ms >= self._armed_ms + timeout

    def _given_up_by_others(self, known: Round | None) -> bool:
        if known is None:
            return False
        signers = known.tally.signers(VoteKind.NULLIFY, NO_DIGEST)
        by_leader = self._validators.leader(self.view) in signers
        if not by_leader and len(signers) <= self._validators.f:
            return False
        confirmed, liars = known.tally.confirmed(VoteKind.NULLIFY, NO_DIGEST, 1)
        for liar in liars:
            self._report(liar, "vote that does not verify")
        return (
            self._validators.leader(self.view) in confirmed or len(confirmed) > self._validators.f
        )

    def _leader_ms(self) -> int:
        leader = self._validators.leader(self.view)
        if leader != self.me and self._silent.get(leader, False):
            return 0
        return self._backed_off(3)

    def _advance_ms(self) -> int:
        return self._backed_off(5)

    def _backed_off(self, deltas: int) -> int:
        steps = min(self._nullified, 20)
        grown: int = deltas * self.delta_ms * 3**steps // 2**steps
        return min(grown, TIMER_MS_MAX)

    def _halt(self, why: str) -> None:
        self.halted = why
        self._effects.append(Halt(why))

    # Voting and sending.

    def _sign(self, kind: VoteKind, view: int, about: bytes) -> bytes:
        payload = vote_payload(kind, self._epoch, view, about)
        return sign_envelope(self._signer, Domain.VOTE, self._chain_id, payload)

    def _vote(self, kind: VoteKind, view: int, about: bytes) -> None:
        envelope = self._sign(kind, view, about)
        self._effects.append(Send(None, frame(Number.VOTE, envelope)))
        self._tally_own(kind, view, about, envelope)

    def _tally_own(self, kind: VoteKind, view: int, about: bytes, envelope: bytes) -> None:
        known = self._round(view)
        assert kind not in known.own, f"second {kind.name} vote in view {view}"
        known.own[kind] = (about, frame(Number.VOTE, envelope))
        self._records.append(
            VoteLogged(kind=kind, epoch=self._epoch, view=view, digest=about, envelope=envelope)
        )
        signature = parse_envelope(envelope).signature
        known.tally.add(kind, about, self.me, signature, verified=True)
        held, liars = known.tally.certify(kind, about)
        for liar in liars:
            self._report(liar, "vote that does not verify")
        if held is not None:
            self._hold(held)

    def _send(self, to: ValidatorIndex | None, number: Number, body: object) -> None:
        data = body if isinstance(body, bytes) else encode(body)
        self._effects.append(Send(to, frame(number, data)))

    def _report(self, peer: int, fault: str) -> None:
        self._effects.append(Report(ValidatorIndex(peer), fault))

    def _status(self, now: Now, *, ask: int, echo_ms: int = 0) -> Status:
        return Status(
            ask,
            self._epoch,
            self.view,
            self.final.height,
            self.final.view,
            self.final.hash,
            now.wall_ms,
            echo_ms,
        )

    def _rebroadcast(self, now: Now) -> None:
        """Say again what others may have missed: stored bytes, never a new signature (I6)."""
        self._send(None, Number.STATUS, self._status(now, ask=1))
        for held in (self._finalization, self._entry):
            if held is not None:
                self._send(None, Number.CERTIFICATE, held.data)
        for view, known in sorted(self._rounds.items())[-16:]:
            if view == self.view:
                if known.proposal_frame and self._validators.leader(view) == self.me:
                    self._effects.append(Send(None, known.proposal_frame))
                frames = [own[1] for own in known.own.values()]
            else:
                own = known.own.get(VoteKind.FINALIZE)
                frames = [own[1]] if own is not None else []
            self._effects.extend(Send(None, data) for data in frames)
        self._rebroadcasts += 1
        steps = min(self._rebroadcasts, 5)
        self._rebroadcast_ms = now.mono_ms + 4 * self.delta_ms * 8**steps // 5**steps

    def _need(self, wanted: bytes, now: Now, *, final: bool) -> None:
        """Fetch a certified block and its unknown ancestors; a final one goes first."""
        target = BlockHash(Digest(wanted))
        if target in self._executed or self._validators.n == 1:
            return
        if self._fetch is not None and (
            self._fetch.target == target or (self._fetch.final and not final)
        ):
            return
        self._fetch = Fetch(target, final=final)

    def _ask_blocks(self, now: Now) -> None:
        if self._fetch is not None and self._fetch.target in self._executed:
            self._fetch = None
        if self._fetch is None or now.mono_ms < self._fetch.deadline_ms:
            return
        self._fetch_peer = (self._fetch_peer + 1) % self._validators.n
        if self._fetch_peer == self.me:
            self._fetch_peer = (self._fetch_peer + 1) % self._validators.n
        ask = self._fetch.ask(now.mono_ms + 4 * self.delta_ms)
        self._send(ValidatorIndex(self._fetch_peer), Number.GET_BLOCKS, ask)

    # Bookkeeping.

    def _finish(self, now: Now) -> list[Effect]:
        self._now_ms = now.mono_ms
        if not self.halted:
            self._advance(now)
            self._ask_blocks(now)
            due = self._armed_ms is not None and now.mono_ms >= self._rebroadcast_ms
            if due and self._validators.n > 1:
                self._rebroadcast(now)
            if now.mono_ms >= self._status_ms and self._validators.n > 1:
                self._status_ms = now.mono_ms + STATUS_IDLE_MS
                self._status_peer = (self._status_peer + 1) % self._validators.n
                if self._status_peer != self.me:
                    peer = ValidatorIndex(self._status_peer)
                    self._send(peer, Number.STATUS, self._status(now, ask=1))
        self.deadline_ms = self._next_deadline()
        effects, self._effects = self._effects, []
        if self._records:
            effects.insert(0, Persist(tuple(self._records)))
            self._records = []
        return effects

    def _next_deadline(self) -> int | None:
        if self.halted:
            return None
        due = [self._status_ms] if self._validators.n > 1 else []
        if self._armed_ms is not None:
            due.append(self._rebroadcast_ms)
            known = self._rounds.get(self.view)
            quiet = known is not None and (
                VoteKind.NULLIFY in known.own or VoteKind.FINALIZE in known.own
            )
            if self._armed_ms > self._now_ms:
                due.append(self._armed_ms)
            elif not quiet:
                waits = known is None or known.proposal is None
                due.append(self._armed_ms + (self._leader_ms() if waits else self._advance_ms()))
        if self._fetch is not None:
            due.append(self._fetch.deadline_ms)
        if self._pending_ms is not None:
            due.append(self._pending_ms)
        return max(min(due), self._now_ms + 1) if due else None

    def _tally(self, view: int) -> Tally:
        return Tally(self._validators, self._chain_id, self._epoch, view, self._verify)

    def _round(self, view: int) -> Round:
        known = self._rounds.get(view)
        if known is None:
            known = self._rounds[view] = Round(self._tally(view))
        return known

    def _restore(self, records: Sequence[LogRecord]) -> None:
        """Resume from the journal: the final chain, then blocks, certificates and own votes."""
        logged = {
            BlockHash(Digest(record.hash)): record
            for record in records
            if isinstance(record, BlockLogged)
        }
        for record in records:
            match record:
                case FinalLogged() if record.height == self.final.height + 1:
                    found = logged[BlockHash(Digest(record.hash))]
                    block = parse_block(found.header, found.body)
                    if not self._execute(block):
                        return
                    self.final = self._executed[block.hash]
                    self._app.finalize(block.hash)
                    self._recent = [*self._recent[1 - BLOCKS_IN_MEMORY :], block]
                    self._blocks[block.hash] = block
                case _:
                    pass
        for record in records:
            if isinstance(record, FinalLogged) and record.certificate:
                self._finalization = Held(
                    VoteKind.FINALIZE, record.view, Digest(record.hash), record.certificate
                )
        self.view = self.final.view + 1
        self._entry = self._finalization
        self._prune()
        self._restore_open(logged, records)
        self._records = []
        self._effects = [e for e in self._effects if isinstance(e, Halt)]

    def _restore_open(
        self, logged: dict[BlockHash, BlockLogged], records: Sequence[LogRecord]
    ) -> None:
        for found in sorted(logged.values(), key=lambda record: record.height):
            if found.view > self.final.view:
                block = parse_block(found.header, found.body)
                self._blocks[block.hash] = block
                parent = BlockHash(Digest(block.header.parent_hash))
                if parent in self._executed and not self._app.execute(
                    block.hash, block.header, block.body
                ):
                    self._remember(block)
        for record in records:
            match record:
                case CertificateLogged() if record.view > self.final.view:
                    kind = VoteKind(record.kind)
                    self._hold(Held(kind, record.view, Digest(record.digest), record.certificate))
                case VoteLogged() if record.view > self.final.view:
                    self._restore_vote(record)
                case _:
                    pass

    def _restore_vote(self, record: VoteLogged) -> None:
        known = self._round(record.view)
        kind = VoteKind(record.kind)
        known.own[kind] = (record.digest, frame(Number.VOTE, record.envelope))
        envelope = parse_envelope(record.envelope)
        known.tally.add(kind, record.digest, self.me, envelope.signature, verified=True)
        self.view = max(self.view, record.view)
        block = self._blocks.get(BlockHash(Digest(record.digest)))
        if kind is VoteKind.NOTARIZE and block is not None:
            known.proposal = block
            if block.header.proposer == self.me:
                known.proposal_frame = frame(
                    Number.PROPOSAL,
                    Proposal(block.header_bytes, block.body_bytes, record.envelope),
                )


def genesis(chain_id: bytes) -> Tip:
    """Return the implicit first block: height 0, view 0, final by definition (1.3)."""
    return Tip(0, 0, BlockHash(digest("genesis", chain_id)), 0)
