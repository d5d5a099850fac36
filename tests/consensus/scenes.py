"""One engine among validators whose every word the test chooses."""

from collections.abc import Sequence

from consensus.chain import Tip, genesis
from consensus.effects import (
    Effect,
    LogRecord,
    Now,
    Persist,
    Report,
    Send,
)
from consensus.encoding import decode_as, digest, encode
from consensus.engine import Engine
from consensus.messages import (
    NO_DIGEST,
    Body,
    Certificate,
    Flag,
    Header,
    Number,
    Proposal,
    Status,
    VoteKind,
    VotePayload,
    block_hash,
    body_hash,
    parse_frame,
    vote_payload,
)
from consensus.signing import Domain, Envelope, SigningKey, parse_envelope, sign_envelope, verify
from consensus.validators import ValidatorIndex, Validators
from netsim.counter import Counter, root_of

CHAIN_ID = digest("test", b"engine")
NOTARIZE, NULLIFY, FINALIZE = VoteKind.NOTARIZE, VoteKind.NULLIFY, VoteKind.FINALIZE
WALL_MS = 1_700_000_000_000
DELTA_MS = 50
"""What an engine that measured nothing assumes."""


class Made:
    """A block that the test made, with everything needed to show it."""

    def __init__(self, header: Header, body: Body) -> None:
        self.header, self.body = header, body
        self.header_bytes, self.body_bytes = encode(header), encode(body)
        self.hash = block_hash(self.header_bytes)
        self.names: tuple[bytes, ...] = ()


class Scene:
    """One engine, number `me` in leader order, and everybody else's keys."""

    def __init__(self, n: int = 4, leads: int | None = None) -> None:
        """Make the engine lead view `leads`, or none of the first three views."""
        keys = [SigningKey(digest("key", bytes((i,)))) for i in range(n)]
        self.keys = sorted(keys, key=lambda key: key.public_key)
        self.validators = Validators(tuple(key.public_key for key in self.keys), CHAIN_ID)
        self.me = self.validators.leader(4 if leads is None else leads)
        self.ms = 1_000
        self.disk: list[LogRecord] = []
        self.boot()

    def boot(
        self,
        base: Tip | None = None,
        records: Sequence[LogRecord] | None = None,
        *,
        heard: bool = True,
    ) -> None:
        """Start the engine from what it stored; the others say that they are where it is."""
        self.app = Counter((base or genesis(CHAIN_ID)).hash)
        self.engine = Engine(
            chain_id=CHAIN_ID,
            epoch=0,
            validators=self.validators,
            me=self.me,
            signer=self.keys[self.me],
            verify=verify,
            app=self.app,
            base=base,
            records=tuple(self.disk if records is None else records),
        )
        self.engine.start(self.now)
        if heard and self.engine.is_listening:
            final = self.engine.final
            place = Status(0, 0, self.engine.view, final.height, final.view, final.hash, WALL_MS, 0)
            for other in self.others:
                self.tell(other, Number.STATUS, place)
        self.effects = self.go()

    @property
    def now(self) -> Now:
        return Now(self.ms, WALL_MS + self.ms)

    @property
    def others(self) -> list[ValidatorIndex]:
        return [ValidatorIndex(i) for i in range(self.validators.n) if i != self.me]

    def go(self, ms: int = 0) -> list[Effect]:
        """Let time pass, obeying deadlines, and return what the engine did."""
        until, done = self.ms + ms, []
        while True:
            done += self.engine.advance(self.now)
            due = self.engine.deadline_ms
            if due is None or due > until:
                break
            self.ms = max(due, self.ms)
        self.ms = until
        for effect in done:
            if isinstance(effect, Persist):
                self.disk += effect.records
        self.effects = done
        return done

    def tell(self, sender: int, number: Number, message: object) -> None:
        self.engine.receive(ValidatorIndex(sender), number, message, self.now)  # type: ignore[arg-type]

    def vote(self, signer: int, kind: VoteKind, view: int, about: bytes = NO_DIGEST) -> None:
        """Let a validator vote."""
        envelope = self.envelope(signer, kind, view, about)
        self.tell(signer, Number.VOTE, parse_envelope(envelope))

    def envelope(self, signer: int, kind: VoteKind, view: int, about: bytes) -> bytes:
        payload = vote_payload(kind, 0, view, about)
        return sign_envelope(self.keys[signer], Domain.VOTE, CHAIN_ID, payload)

    def certificate(self, kind: VoteKind, view: int, about: bytes = NO_DIGEST) -> Certificate:
        """Return a certificate that does without the engine's vote where it can."""
        signers = sorted((*self.others, self.me)[: self.validators.q])
        signatures = tuple(
            parse_envelope(self.envelope(i, kind, view, about)).signature for i in signers
        )
        bits = sum(1 << i for i in signers).to_bytes((self.validators.n + 7) // 8, "little")
        return Certificate(kind, 0, view, about, bits, signatures)

    def show(self, certificate: Certificate, by: int | None = None) -> None:
        self.tell(self.others[0] if by is None else by, Number.CERTIFICATE, certificate)

    def block(
        self,
        view: int,
        parent: Made | None = None,
        names: tuple[bytes, ...] = (b"x",),
        *,
        time_ms: int = 0,
        flags: Flag = Flag.PLAIN,
    ) -> Made:
        """Make a valid block on a notarized parent, or on genesis, skipping what lies between."""
        parent_view = parent.header.view if parent else 0
        cert = b""
        if parent is not None:
            cert = encode(self.certificate(NOTARIZE, parent_view, parent.hash))
        skips = tuple(
            encode(self.certificate(NULLIFY, skipped)) for skipped in range(parent_view + 1, view)
        )
        body = Body(cert, skips, (), names)
        above = (*parent.names, *names) if parent else names
        header = Header(
            1,
            CHAIN_ID,
            0,
            view,
            parent.header.height + 1 if parent else 1,
            time_ms or WALL_MS + self.ms + view,
            parent_view,
            parent.hash if parent else genesis(CHAIN_ID).hash,
            self.validators.leader(view),
            flags,
            body_hash(body),
            root_of(dict.fromkeys(above)),
            digest("receipts", b""),
        )
        made = Made(header, body)
        made.names = above
        return made

    def propose(self, made: Made, by: int | None = None) -> None:
        """Let the leader of its view show a block."""
        view = made.header.view
        leader = self.validators.leader(view)
        vote = self.envelope(leader, NOTARIZE, view, made.hash)
        proposal = Proposal(made.header_bytes, made.body_bytes, vote)
        self.tell(leader if by is None else by, Number.PROPOSAL, proposal)

    # What the engine did last.

    def sent(self, number: Number) -> list[tuple[int | None, bytes]]:
        """Return (to, body) of frames of one kind."""
        return [
            (effect.to, effect.frame[1:])
            for effect in self.effects
            if isinstance(effect, Send) and effect.frame[0] == number
        ]

    def votes(self) -> list[tuple[int, int]]:
        """Return (kind, view) of the own votes that went out, those in proposals too."""
        found = []
        for effect in self.effects:
            if not isinstance(effect, Send):
                continue
            number, message = parse_frame(effect.frame)
            if number is Number.PROPOSAL:
                assert isinstance(message, Proposal)
                message = parse_envelope(message.vote)
            if isinstance(message, Envelope) and message.kid == self.validators.kids[self.me]:
                vote = decode_as(message.payload, VotePayload)
                found.append((vote.kind, vote.view))
        return found

    def proposals(self) -> list[tuple[Header, Body]]:
        proposals = [decode_as(data, Proposal) for _, data in self.sent(Number.PROPOSAL)]
        return [(decode_as(p.header, Header), decode_as(p.body, Body)) for p in proposals]

    def faults(self) -> list[tuple[int, str]]:
        return [(e.peer, e.fault) for e in self.effects if isinstance(e, Report)]

    def work(self, name: bytes = b"x") -> None:
        self.app.add(name)
