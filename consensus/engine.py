"""One validator of one epoch: Simplex-style agreement as a pure machine (PROTOCOL 7 to 10).

Inputs only take note; `advance` applies the rules and returns the effects of everything noted since,
so a batch of messages costs one commit. All records come first in one `Persist`, then what may be
sent. Nothing here reads a clock, draws a random number or touches a socket, and no remote input
raises.

`advance` applies the rules R1 to R8 until none of them fires. A rule looks only at what is held, so
the order in which messages came in does not matter. Each firing casts a vote, makes a block, enters
a view or moves the final block, and each of these happens once, so the loop ends.

An epoch is one engine: the next begins as a new instance on the last one's final block, as view 0.
"""

from collections.abc import Sequence

from consensus.chain import Application, Block, Built, Chain, LoadBlock, Tip, genesis
from consensus.dissemination import RETRY_DELTAS, Dissemination
from consensus.effects import (
    CertificateLogged,
    Committed,
    Effect,
    FinalLogged,
    FloorLogged,
    Halt,
    LogRecord,
    Now,
    Persist,
    Report,
    Send,
    VoteLogged,
)
from consensus.encoding import INT_MAX, Digest
from consensus.messages import (
    BODY_BYTES_MAX,
    NO_DIGEST,
    BlockHash,
    Blocks,
    Body,
    Certificate,
    Flag,
    GetBlocks,
    GetCert,
    Header,
    Message,
    Number,
    Proposal,
    Status,
    VoteKind,
    frame,
)
from consensus.restart import floor_logged, resume
from consensus.rounds import OwnVote, Round, Rounds
from consensus.signing import Envelope, Signer, Verify, build_envelope, signed_bytes
from consensus.standing import Standing, standing_of
from consensus.timing import backed_off, earliest
from consensus.validators import ValidatorIndex, Validators
from consensus.votes import FINALIZE, NOTARIZE, NULLIFY, VOTE, Electorate, Held

__all__ = ["Application", "Built", "Engine", "Tip", "genesis"]

LEAD_DELTAS, ADVANCE_DELTAS = 3, 5
"""Timers for a proposal and for a notarization, in Δ̂: entry skew, proposal and votes take one each
(PROTOCOL 7.2 L2)."""
OPEN_TIP_DELTAS = 8
"""An open tip without other work waits this long for its votes before an empty block extends it."""
RETRY_OPEN_TIP_DELTAS = 2
"""With only the tip open, finalize votes are repeated sooner: nothing else is under way."""
WATCHED_VIEWS = 16
"""So long a node that had to ask looks whether another device votes with its key, before it does."""
CLOCK_LEAD_MS_MAX = 3_000
"""How far a block's time may be ahead of the table clock before it has to wait."""

_VOTE = Number.VOTE  # most messages are votes, and a member of an Enum is found slowly


class Engine:
    """The rules R0 to R9 for one validator; see the module's text for the contract."""

    def __init__(
        self,
        *,
        chain_id: Digest,
        epoch: int,
        validators: Validators,
        me: ValidatorIndex,
        signer: Signer | None,
        verify: Verify,
        app: Application,
        base: Tip | None = None,
        records: Sequence[LogRecord] = (),
        load_block: LoadBlock = lambda _hash: None,
        parties: int = 0,
        vote_above: int | None = 0,
    ) -> None:
        """Resume from `records`; `base` is the newest final block that `app` has executed.

        Of the `parties` linked here the validators come first. A node without a `signer` has a
        number `me` behind them and only follows: it verifies, fetches, serves and helps.

        A node that may have forgotten votes casts none up to the view `vote_above`; where that is
        None, none until enough others have shown where they stand (PROTOCOL 9.2).
        """
        self.me = me
        self._validators = validators
        self._signer = signer
        self._votes = signer is not None
        logged = floor_logged(records, epoch)
        self.floor = vote_above if not logged else max(logged, vote_above or 0)
        """The view up to which this node casts no vote, None while it has to find that out."""
        self.is_listening = bool(records)
        """Whether this node came back and has not heard yet where as many are as it needs to vote."""
        self.muted = ""
        """Why this node casts no vote any more: somebody else signs with its key."""
        self._past_view = INT_MAX  # while it asks: it has cast no vote in a later view
        self._app = app
        self._electorate = Electorate(validators, chain_id, epoch, verify)
        self._chain = Chain(app, base or genesis(chain_id), load_block)
        self._rounds = Rounds(self._electorate, me, self._chain.final)
        self._outside = Dissemination(
            self._electorate, me, self._chain, self._rounds, max(parties, validators.n)
        )
        self.timing = self._outside.timing
        self.deadline_ms: int | None = None
        self._now, self._work = Now(0, 0), False
        # When time alone may let a rule fire, and the delay by which that was worked out.
        self._rules_ms: int | None = None
        self._rules_delta_ms = 0
        # Of the current view, in monotonic ms.
        self._entered_ms = 0
        self._armed_ms: int | None = None  # when its timers start; None: asleep
        self._early_ms: int | None = None  # until then its proposal is ahead of the table clock
        self._proposed_ms: int | None = None
        self._unsettled: int | None = None  # the view for whose certificate a leader asks
        self._missing: tuple[BlockHash, bool] | None = None  # what to fetch, and if it is final
        self._records: list[LogRecord] = []
        if vote_above is not None and vote_above > logged:  # the next start has to know it too
            self._records.append(FloorLogged(epoch=epoch, view=vote_above))
        self._certificates: list[CertificateLogged] = []  # durable with the next record
        self._effects: list[Effect] = []
        self.sealed: Held | None = None
        """What made the last block of this epoch final: nothing but answers comes from now on."""
        self.halted = resume(self._chain, self._rounds, records, epoch=epoch, me=me)
        self.is_over = bool(self.halted)
        """Whether no rule applies any more: the state diverged, or the epoch is sealed."""
        self._rounds.known_from = self._chain.final.view
        self._rounds.fresh.clear()
        self._rounds.silent.clear()
        self.tip = self._chain.final

    # Inputs. Each takes note; `advance` follows.

    def start(self, now: Now) -> None:
        """Begin, or resume after a restart: tell everybody where this node stands."""
        self._now = now
        self._entered_ms = now.mono_ms
        self._outside.start(now)
        if self.halted:
            self._effects.append(Halt(self.halted))

    def peer_up(self, peer: ValidatorIndex, now: Now) -> None:
        """Greet a peer whose link came up."""
        self._now = now
        self._outside.peer_up(peer, now)

    def receive(self, sender: ValidatorIndex, number: Number, message: Message, now: Now) -> None:
        """Take one decoded message that came over the link of `sender`."""
        self._now = now
        outside = self._outside
        outside.peers[sender].silent = False
        match message:
            case Envelope() if number is _VOTE:
                self._on_vote(sender, message)
            case Proposal():
                block = self._rounds.note_proposal(sender, message)
                if block is not None:
                    self._chain.add(block)
            case Certificate():
                if not self._rounds.note_certificate(message):
                    self._report(sender, "certificate that does not verify")
            case Status():
                self._rounds.noted |= self.floor is None or self.is_listening
                outside.on_status(sender, message, now, awake=self.awake)
            case GetCert():
                outside.on_get_cert(sender, message, now)
            case GetBlocks():
                outside.on_get_blocks(sender, message, now)
            case Blocks():
                if fault := outside.on_blocks(sender, message):
                    self._report(sender, fault)
                self._rounds.noted = True
            case _:
                self._report(sender, f"message {number.name} is not for the engine")

    def advance(self, now: Now) -> list[Effect]:
        """Apply the rules to what was noted and to what is due; return effects, records first."""
        self._now = now
        rounds, outside = self._rounds, self._outside
        if not self.is_over:
            is_due = self.deadline_ms is None or now.mono_ms >= self.deadline_ms
            stirs = rounds.noted
            if stirs or is_due or not self._work:  # work that goes away without a block can wait
                worked, self._work = self._work, self._app.has_work(self.tip.hash)
                stirs |= self._work is not worked or (is_due and self._may_fire_by_time())
            if stirs:
                self._apply_rules()
            if stirs or is_due:
                if not self.is_over:
                    missing, asks = self._missing, self._unsettled
                    outside.speak(now, awake=self.awake, missing=missing, unsettled=asks)
                self.deadline_ms = self._next_deadline()
        if rounds.faults or rounds.accused:
            self._blame()
        effects, self._effects = self._effects, []
        if outside.sends:
            effects += outside.sends
            outside.sends = []
        if self._records:
            effects.insert(0, self._persist())
        return effects

    # What others may ask.

    @property
    def final(self) -> Tip:
        """The newest final block."""
        return self._chain.final

    @property
    def view(self) -> int:
        """The current view."""
        return self._rounds.view

    @property
    def awake(self) -> bool:
        """Whether timers run: there is work, or a notarized block is not final (PROTOCOL 8)."""
        return self._armed_ms is not None

    @property
    def delta_ms(self) -> int:
        """The estimate of one-way delay, execution included."""
        return self.timing.delta_ms

    @property
    def evidence(self) -> tuple[bytes, ...]:
        """Proofs of equivocation, self-contained (`consensus.evidence`)."""
        return self._rounds.evidence

    @property
    def is_attended(self) -> bool:
        """Whether a quorum has said that it is in this epoch: it goes on without others."""
        n = self._validators.n
        stated = sum(peer.stated for index, peer in self._outside.peers.others if index < n)
        return stated >= self._validators.q

    @property
    def remembers(self) -> bool:
        """Whether nothing hints at anything that was signed with this key and is not in the journal."""
        return self.floor == 0 and not self.is_listening and not self.muted

    def standing(self) -> Standing:
        """Return what keeps this engine where it is, for who asks why nothing moves."""
        return standing_of(
            self._rounds,
            self._outside.peers,
            self._validators,
            awake=self.awake,
            fetching=self._missing[0] if self._missing is not None else b"",
        )

    def grow(self, parties: int) -> None:
        """Take in parties that joined: they follow, their numbers come behind all others."""
        self._outside.peers.grow(parties)

    def distrust(self, validator: ValidatorIndex) -> None:
        """Give the views of a convicted validator up at once, as those of who is caught here (R6)."""
        self._rounds.distrust(validator)

    def bytes_of(self, block: bytes) -> tuple[bytes, bytes] | None:
        """Return the bytes (header, body) of a block that is held here."""
        return self._chain.bytes_of(block)

    def table_clock(self, now: Now) -> int:
        """Return wall milliseconds of the table: the own clock moved to the peers' median."""
        return self.timing.table_clock(now)

    def _on_vote(self, sender: ValidatorIndex, envelope: Envelope) -> None:
        noted = self._rounds.note_vote(sender, envelope)
        if noted is None or noted[0] != sender:
            return
        _, kind, view = noted
        self._outside.peers.voted(sender, kind, view)
        if self._proposed_ms is not None and kind is NOTARIZE and view == self._rounds.view:
            # Its execution and its disk are part of how long a view takes.
            self.timing.sample(sender, self._now.mono_ms - self._proposed_ms)

    # The rules.

    def _apply_rules(self) -> None:
        """Apply the rules until none fires; each firing adds a vote, a block or a view."""
        while not self.is_over and (
            self._found_floor()
            or self._certified()
            or self._took_fetched()
            or self._moved_final()
            or self._entered()
            or self._judged()
            or self._voted_final()
            or self._proposed()
            or self._gave_up()
            or self._rounds.fresh  # a proposal that still waits may have shown a certificate
        ):
            pass
        self._rounds.noted = False

    def _may_fire_by_time(self) -> bool:
        """Say whether a rule may fire though nothing was noted; else only words are due."""
        at_ms = self._rules_ms
        return (
            self.deadline_ms is None
            or (at_ms is not None and self._now.mono_ms >= at_ms)
            or self._rules_delta_ms != self.timing.delta_ms
            or self._early_ms is not None
            or self._outside.is_tired
            or self.is_listening
            or self.floor is None
        )

    def may_vote(self, view: int) -> bool:
        """Say whether this node votes in a view, as far as its memory and its key allow."""
        floor = self.floor
        may = self._votes and not self.muted and not self.is_listening
        return may and floor is not None and view > floor

    def _found_floor(self) -> bool:
        """Take note of own votes that this node does not know, and find where it may vote again.

        Some u is the last view in which it voted. Then q entered u by certificates of u - 1, and all
        honest ones of these but itself, n - 2f - 1, still are in u - 1 or above. Of 2f + 1 others
        that say where they are, one is among them; so the highest view M that is proven here and
        that all of these have at most, is u - 1 or above, and M + 2 is above u. For the same reason
        a vote two views above all that they have said is not forgotten but new, so it waits for such.

        A node that came back remembers all of it, unless its disk was exchanged for an older one,
        which nothing here shows. So it listens first: others show it its own votes when they tell
        where they are. That costs nothing, for with fewer than q - 1 of them no vote is of use.
        """
        forgotten = self._rounds.forgotten
        if not forgotten and self.floor == 0 and not self.is_listening:
            return False  # nearly always
        self._rounds.forgotten = []
        if not self._votes:
            return False
        stated = [
            peer.view
            for index, peer in self._outside.peers.others
            if index < self._validators.n and peer.stated
        ]
        if self._past_view == INT_MAX and len(stated) > 2 * self._validators.f:
            self._past_view = max(stated) + 1
        past = min(self._past_view, INT_MAX if self.floor is None else self.floor)
        for kind, view in forgotten:
            if view > past and not self.muted:
                self.muted = (
                    f"a {kind.name} vote in view {view} is signed with this node's key and not by "
                    "this node: another device uses the key, or this folder is an old copy"
                )
        if not self.is_listening and (self.floor is not None or not self._validators.f):
            return False  # where every certificate takes all of them, nobody goes on meanwhile
        view = self._rounds.view
        heard = sum(at <= view for at in stated)
        if self.is_listening:
            self.is_listening = heard < self._validators.q - 1
            return not self.is_listening
        if heard < 2 * self._validators.f + 1:
            return False
        self.floor = max((view + 1, *(seen for _, seen in forgotten))) + WATCHED_VIEWS
        self._records.append(FloorLogged(epoch=self._electorate.epoch, view=self.floor))
        return True

    def _certified(self) -> bool:
        """Verify what has a quorum; take note of every certificate that is new (R4, R7, R8)."""
        rounds = self._rounds
        rounds.ripen()
        if not rounds.fresh:
            return False
        self._certificates += [
            CertificateLogged(
                kind=held.kind,
                epoch=self._electorate.epoch,
                view=held.view,
                digest=held.digest,
                certificate=held.data,
            )
            for held in rounds.fresh
        ]
        rounds.fresh.clear()
        for leader in rounds.silent:
            self._outside.peers[leader].silent = True
        rounds.silent.clear()
        self._see_tip()
        return True

    def _took_fetched(self) -> bool:
        """Take fetched blocks in order; those of a final chain are applied as they come."""
        found = self._outside.fetcher.next_block()
        if self._outside.fetcher.conflict:
            self._halt("a certified block does not extend the final one: two chains are final")
        if found is None:
            return False
        block, is_final = found
        if not is_final or block.header.flags != Flag.PLAIN:
            # A seal waits for the tails up to the one that made it final: they show it to others.
            self._chain.add(block)
            return True
        path, root = self._chain.trace(block.parent, executed=False)
        if root == self.final.hash:
            self._apply([*path, block])
        return True

    def _moved_final(self) -> bool:
        """R8: apply a finalized block and its ancestors, or fetch what is missing."""
        self._missing = None
        better = self._rounds.better
        if better is None:
            return False
        path, root = self._chain.trace(BlockHash(better.digest), executed=False)
        if root == self.final.hash:
            self._apply(path)
            return True
        if self._is_beside(path):
            self._halt(f"two chains are final at height {path[0].header.height}")
        self._seek(root, final=True)
        return False

    def _is_beside(self, path: list[Block]) -> bool:
        """Say whether a path leads to the final block's height without holding that block."""
        return bool(path) and path[0].header.height <= self.final.height

    def _seek(self, missing: BlockHash, *, final: bool) -> None:
        if self._missing is None and (final or not self._outside.fetcher.is_barren(missing)):
            self._missing = missing, final

    def _apply(self, path: list[Block]) -> None:
        for at, block in enumerate(path, 1):
            if not self._executed(block):
                return
            self._commit(block)
            if block.header.flags == Flag.SEAL:
                self.sealed = self._rounds.finalization or self._rounds.better
                self.is_over = True
                # A tail may be what made it final: whoever is shown the seal needs the tails too.
                self._records += [tail.log() for tail in path[at:] if not tail.logged]
                return

    def _executed(self, block: Block) -> bool:
        """Execute a certified block; one that fails here means the states diverged (R5)."""
        why = self._chain.execute(block)
        if why:
            self._halt(
                f"state diverged at height {block.header.height}: a quorum accepted a block that "
                f"fails here ({why})"
            )
        return not why

    def _commit(self, block: Block) -> None:
        """Make an executed block final, in height order, with its certificate if it has one."""
        header = block.header
        if not block.logged:
            self._records.append(block.log())
        known = self._rounds.get(header.view)
        held = known.finalization if known is not None else None
        certificate = held.data if held is not None else b""
        self._records.append(
            FinalLogged(
                height=header.height, view=header.view, hash=block.hash, certificate=certificate
            )
        )
        self._effects.append(Committed(header.height, block.hash, header, block.body, certificate))
        self._chain.finalize(block)
        self._rounds.finalized(self._chain.final, held)
        self._outside.fetcher.moved()
        self._outside.relay_soon(self._now)
        self._see_tip()

    def _see_tip(self) -> None:
        """Find the highest executed notarized block, on which a leader would build."""
        tip = self._chain.final
        for known in reversed(self._rounds.open):
            assert known.notarization is not None, "an open round has a notarization"
            found = self._chain.tip_of(known.notarization.digest)
            if found is not None:
                tip = found
                break
        if tip is not self.tip:
            self.tip = tip
            self._work = self._app.has_work(tip.hash)

    def _entered(self) -> bool:
        """R4, R7, R8: any certificate of the current view or above ends it."""
        if self._rounds.top_view < self._rounds.view:
            return False
        self._enter(self._rounds.top_view + 1)
        return True

    def _enter(self, view: int) -> None:
        self._rounds.view = view
        self._entered_ms = self._now.mono_ms
        self._armed_ms = self._proposed_ms = None
        self._outside.entered(self._now)

    def _judged(self) -> bool:
        """R2, R3: verify the leader's proposal for the current view and notarize it."""
        self._early_ms = None
        view = self._rounds.view
        known = self._rounds.get(view)
        if known is None or known.proposal is None or not self.may_vote(view):
            return False
        if known.fault or known.notarize is not None or not self._is_led:
            return False
        block = known.proposal
        if not known.justified:
            known.fault = self._unfounded(block.header, block.body)
            known.justified = not known.fault
        if not known.fault:
            verdict = self._verdict(block)
            if verdict is None:
                return False
            known.fault = verdict
        if known.fault:
            leader = self._validators.leader(view)
            self._report(leader, f"invalid proposal: {known.fault}")
            return True
        if not block.logged:
            self._records.append(block.log())
        self._vote(NOTARIZE, known, block.hash)
        return True

    @property
    def _is_led(self) -> bool:
        """Whether the leader of the current view is one that nobody can convict, as far as is known."""
        rounds = self._rounds
        return not rounds.distrusted or rounds.is_trusted(self._validators.leader(rounds.view))

    def _unfounded(self, header: Header, body: Body) -> str:
        """Return what no state is needed to see: another chain, leader or ancestry (R2)."""
        if header.chain_id != self._electorate.chain_id or header.epoch != self._electorate.epoch:
            return "another chain or epoch"
        if header.proposer != self._validators.leader(header.view):
            return "proposer is not the leader"
        size = sum(len(item) for items in (body.system, body.actions) for item in items)
        if size > BODY_BYTES_MAX:
            return f"{size} bytes of items; the limit is {BODY_BYTES_MAX}"
        return self._rounds.justification_fault(header, body)

    def _verdict(self, block: Block) -> str | None:
        """Return "" for valid, a reason for invalid, None while it cannot be judged yet (R2).

        A missing parent is certified, so rule R5 has it fetched. A time ahead of the table clock
        has to wait and is no fault; the timers of the view decide.
        """
        parent = self._chain.tip_of(block.parent)
        if parent is None:
            return None
        time_ms = block.header.time_ms
        if time_ms <= parent.time_ms:
            return f"time {time_ms} is not after its parent's {parent.time_ms}"
        early_ms = time_ms - self.table_clock(self._now) - CLOCK_LEAD_MS_MAX
        if early_ms > 0:
            self._early_ms = self._now.mono_ms + early_ms
            return None
        return self._chain.execute(block)

    def _voted_final(self) -> bool:
        """R5: finalize a notarized, stored, executed block of a view that was not nullified."""
        executed = False
        for known in self._rounds.open:
            held = known.notarization
            assert held is not None, "an open round has a notarization"
            if self._chain.tip_of(held.digest) is None:
                path, root = self._chain.trace(BlockHash(held.digest), executed=True)
                if self._chain.tip_of(root) is None:
                    if not self._is_beside(path):
                        self._seek(root, final=False)
                    elif self._rounds.finalization is not None:
                        # What a quorum finalized itself, all that is notarized above builds on (G4).
                        self._halt(f"two chains are certified at height {path[0].header.height}")
                    # Else the final block is so by a descendant, and this one's view was given up.
                    continue
                if not all(self._executed(block) for block in path):
                    return False
                self._see_tip()
                executed = True  # a proposal may have waited for its parent
            voted = known.nullify is not None or known.finalize is not None
            if voted or not self.may_vote(known.view):
                continue
            block = self._chain.get(held.digest)
            assert block is not None, "an executed block above the final one is held"
            if not block.logged:
                self._records.append(block.log())
            self._vote(FINALIZE, known, held.digest)
            return True
        return executed

    def _proposed(self) -> bool:
        """R1: the leader builds on the highest parent that it can prove."""
        self._rearm()
        self._unsettled = None
        known = self._rounds.get(self._rounds.view)
        if (
            self._armed_ms is None
            or self._now.mono_ms < self._armed_ms
            or self._validators.leader(self.view) != self.me
            or not self._is_led
            or not self.may_vote(self.view)
            or not (self._work or self._rounds.open)
            or (known is not None and (known.nullify is not None or known.notarize is not None))
        ):
            return False
        held, view = self._rounds.settled()
        if held is None and view > 0:
            self._unsettled = view
            return False
        parent = self.final if view == self.final.view else None
        if parent is None and held is not None:
            parent = self._chain.tip_of(held.digest)
        if parent is None:
            return False
        block = self._build(parent, held)
        known = self._rounds.at(self.view)
        known.proposal, known.justified = block, True
        self._records.append(block.log())
        self._proposed_ms = self._now.mono_ms
        self._vote(NOTARIZE, known, block.hash)
        return True

    def _build(self, parent: Tip, held: Held | None) -> Block:
        skips = []
        for view in range(parent.view + 1, self.view):
            skipped = self._rounds.at(view).nullification
            assert skipped is not None, f"view {view} is not settled"
            skips.append(skipped.data)
        parent_cert = held.data if held is not None else b""
        block = self._chain.build(
            parent,
            self._electorate,
            view=self.view,
            time_ms=max(self.table_clock(self._now), parent.time_ms + 1),
            proposer=self.me,
            justification=(parent_cert, tuple(skips)),
        )
        # The proposer reads its own block as everybody else will.
        assert not self._unfounded(block.header, block.body), "own proposal is not justified"
        return block

    def _gave_up(self) -> bool:
        """R6: promise never to finalize the current view, unless that was already done."""
        view = self._rounds.view
        known = self._rounds.get(view)
        if not self.may_vote(view) or (
            known is not None and (known.nullify is not None or known.finalize is not None)
        ):
            return False
        invalid = known is not None and bool(known.fault)
        timeout_ms = self._timeout_ms(known)
        late = timeout_ms is not None and self._now.mono_ms >= timeout_ms
        if not (invalid or late or self._rounds.given_up()):
            return False
        self._vote(NULLIFY, known or self._rounds.at(view), NO_DIGEST)
        return True

    # Timers.

    def _rearm(self) -> None:
        """Wake when there is work, later when only the tip is open, else sleep (PROTOCOL 8)."""
        view = self._rounds.view
        known = self._rounds.get(view)
        stirred = known is not None and (known.proposal is not None or self._rounds.pulled())
        if known is not None and (known.nullify is not None or not self.may_vote(view)):
            stirred &= not self._outside.is_tired
        if self._work or stirred:
            armed_ms, deltas = self._now.mono_ms, RETRY_DELTAS
        elif self._rounds.open:
            armed_ms = self._entered_ms + OPEN_TIP_DELTAS * self.delta_ms
            deltas = RETRY_OPEN_TIP_DELTAS
        else:
            self._armed_ms = None
            return
        if self._armed_ms is None:
            self._armed_ms = armed_ms
            self._outside.woke(self._now, deltas)
        self._armed_ms = min(self._armed_ms, armed_ms)

    def _timeout_ms(self, known: Round | None) -> int | None:
        """Return when the current view is given up: no leader's word, or no notarization."""
        if self._armed_ms is None or not self._is_led:
            return self._armed_ms
        deltas = ADVANCE_DELTAS
        if known is None or known.proposal is None:
            leader = self._validators.leader(self._rounds.view)
            if leader != self.me and self._outside.peers[leader].silent:
                return self._armed_ms
            deltas = LEAD_DELTAS
        # Views since the final one that were left without a block, or too late for one: a node that
        # is always too early makes finality impossible, though others go on without it.
        barren = self._rounds.view - 1 - self._chain.final.view
        if barren:
            barren = max(barren - sum(known.nullify is None for known in self._rounds.open), 0)
        return self._armed_ms + backed_off(deltas * self.timing.delta_ms, barren)

    def _next_deadline(self) -> int | None:
        if self.is_over:
            return None
        now_ms, view = self._now.mono_ms, self._rounds.view
        fires_ms = self._armed_ms
        if fires_ms is not None and fires_ms <= now_ms:
            fires_ms = None
            if self.may_vote(view):
                known = self._rounds.get(view)
                if known is None or (known.nullify is None and known.finalize is None):
                    fires_ms = self._timeout_ms(known)
        self._rules_ms, self._rules_delta_ms = fires_ms, self.timing.delta_ms
        awake, asks = self._armed_ms is not None, self._unsettled is not None
        spoken_ms = self._outside.deadline_ms(awake=awake, asks=asks)
        first = earliest(fires_ms, self._early_ms, spoken_ms)
        assert first is None or first > now_ms, f"a deadline of {now_ms - (first or 0)} ms ago"
        return first

    # Voting and sending.

    def _vote(self, kind: VoteKind, known: Round, about: Digest) -> None:
        """Sign a vote that was never signed before; with a proposal it goes out as its signature."""
        view = known.view
        assert known.own(kind) is None, f"I1: second {kind.name} vote in view {view}"
        assert kind is NOTARIZE or (known.nullify is None and known.finalize is None), "I2"
        assert kind is not FINALIZE or (
            known.notarization is not None and known.notarization.digest == about
        ), "I3: a finalize vote needs the notarization"
        assert self.may_vote(view), f"vote in view {view}, which may be a second one"
        assert self.final.view < view <= self.view, f"I5: vote in view {view} of {self.view}"
        payload = self._electorate.payload(kind, view, about)
        kid = self._validators.kids[self.me]
        message = signed_bytes(kid, VOTE, self._electorate.chain_id, payload)
        assert self._signer is not None, "who follows does not vote"
        vote_envelope = Envelope(kid, payload, self._signer.sign(message))
        envelope = build_envelope(kid, payload, vote_envelope.signature)
        vote = OwnVote(about, frame(Number.VOTE, envelope))
        known.cast(kind, vote)
        epoch = self._electorate.epoch
        self._records.append(
            VoteLogged(kind=kind, epoch=epoch, view=view, digest=about, envelope=envelope)
        )
        data = vote.frame
        if kind is NOTARIZE and self._validators.leader(view) == self.me:
            block = known.proposal
            assert block is not None, "a leader votes for its own block"
            proposal = Proposal(block.header_bytes, block.body_bytes, envelope)
            data = known.proposal_frame = frame(Number.PROPOSAL, proposal)
        if self._outside.peers.others:
            self._effects.append(Send(None, data))
        self._rounds.count_own(kind, view, about, vote_envelope)

    def _blame(self) -> None:
        """Report what peers did wrong, and show those who seem to be two what they signed."""
        for peer, fault in self._rounds.faults:
            self._report(peer, fault)
        self._rounds.faults.clear()
        for signer, vote in self._rounds.accused:
            # Whoever did not cast both has a twin, and stops when it learns of it.
            self._outside.sends.append(Send(signer, frame(Number.VOTE, vote)))
        self._rounds.accused.clear()

    def _report(self, peer: ValidatorIndex, fault: str) -> None:
        self._effects.append(Report(peer, fault))

    def _halt(self, why: str) -> None:
        if not self.halted:
            self.halted, self.is_over = why, True
            self._effects.append(Halt(why))

    def _persist(self) -> Persist:
        """Return this step's records; certificates ride along, for losing one loses no promise."""
        certificates = [one for one in self._certificates if one.view > self.final.view]
        self._certificates = []
        records, self._records = self._records, []
        return Persist((*certificates, *records))
