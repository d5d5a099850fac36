"""Validators that break the protocol, each in one way, with their own keys only (PROTOCOL 7).

An adversary is an honest node in chains: it hears everything, and what it would send goes through a
strategy, which may drop, replace, redirect and add. A strategy never gets another's key.
"""

import random
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Protocol

from msgspec.structs import replace

from consensus.effects import Now, Persist, RequestEntropy, Send
from consensus.encoding import DecodeError, decode_as, digest, encode
from consensus.messages import (
    NO_DIGEST,
    Blocks,
    Body,
    Certificate,
    GetBlocks,
    Header,
    Number,
    Proposal,
    Status,
    VoteKind,
    VotePayload,
    block_hash,
    body_hash,
    frame,
    parse_frame,
    vote_payload,
)
from consensus.signing import Domain, Envelope, build_envelope, sign_envelope
from consensus.validators import ValidatorIndex
from netsim.counter import root_of
from netsim.tables import CHAIN_ID, Seat


class Strategy(Protocol):
    """One way to break the protocol."""

    def hear(self, me: "Adversary", sender: int, data: bytes) -> Iterable[Send]:
        """Say something because of a frame that came in."""
        ...

    def speak(self, me: "Adversary", send: Send) -> Iterable[Send]:
        """Say something in place of what an honest node would send."""
        ...


class Adversary:
    """A Byzantine host: drives an honest node and twists what it says."""

    def __init__(self, seat: Seat, strategy: Strategy, rng: random.Random | None = None) -> None:
        """Take the seat, with a stream of chance of its own if it is given one."""
        self.seat = seat
        self.index = seat.index
        name = f"adversary {seat.index} {seat.network.rng.random()}" if rng is None else ""
        self.rng = rng or random.Random(name)
        self._strategy = strategy

    @property
    def view(self) -> int:
        """The view of the honest node inside."""
        return self.seat.node.engine.view

    @property
    def others(self) -> list[ValidatorIndex]:
        """Everybody else."""
        n = self.seat.validators.n
        return [ValidatorIndex(i) for i in range(n) if i != self.index]

    @property
    def deadline_ms(self) -> int | None:
        """When `handle_deadline` is due."""
        return self.seat.node.deadline_ms

    def start(self, now: Now) -> list[object]:
        """Begin or resume."""
        return self._twist(self.seat.node.start(now))

    def peer_up(self, peer: ValidatorIndex, now: Now) -> list[object]:
        """Greet a peer."""
        return self._twist(self.seat.node.peer_up(peer, now))

    def receive(self, batch: Sequence[tuple[ValidatorIndex, bytes]], now: Now) -> list[object]:
        """Take frames, in order."""
        heard: list[object] = []
        for sender, data in batch:
            with suppress(DecodeError):  # a cheat knows no other version either
                heard += self._strategy.hear(self, sender, data)
        return [*self._twist(self.seat.node.receive(batch, now)), *heard]

    def entropy(self, data: bytes, now: Now) -> list[object]:
        """Pass it on."""
        return self._twist(self.seat.node.entropy(data, now))

    def handle_deadline(self, now: Now) -> list[object]:
        """Do what is due."""
        return self._twist(self.seat.node.handle_deadline(now))

    def _twist(self, effects: Sequence[object]) -> list[object]:
        said: list[object] = []
        for effect in effects:
            match effect:
                case Send():
                    said += self._strategy.speak(self, effect)
                case Persist() | RequestEntropy():
                    said.append(effect)
                case _:
                    pass
        return said

    # What its key can do.

    def vote(self, kind: VoteKind, view: int, about: bytes) -> bytes:
        """Return a vote of this validator as a frame."""
        payload = vote_payload(kind, self.seat.epoch(), view, about)
        envelope = sign_envelope(self.seat.key, Domain.VOTE, self.seat.chain_id, payload)
        return frame(Number.VOTE, envelope)

    def proposal(self, header: Header, body: Body) -> bytes:
        """Return a proposal of this validator as a frame, whatever is in it."""
        header_bytes = encode(header)
        about = block_hash(header_bytes)
        payload = vote_payload(VoteKind.NOTARIZE, self.seat.epoch(), header.view, about)
        envelope = sign_envelope(self.seat.key, Domain.VOTE, self.seat.chain_id, payload)
        return frame(Number.PROPOSAL, Proposal(header_bytes, encode(body), envelope))

    def halves(self) -> tuple[list[ValidatorIndex], list[ValidatorIndex]]:
        """Return the others in two random halves."""
        others = self.others
        self.rng.shuffle(others)
        middle = len(others) // 2
        return others[:middle], others[middle:]


def read_proposal(data: bytes) -> tuple[Header, Body] | None:
    """Return the block in a proposal frame, or None for any other frame."""
    if data[0] != Number.PROPOSAL:
        return None
    try:
        _, proposal = parse_frame(data)
        assert isinstance(proposal, Proposal)
        return decode_as(proposal.header, Header), decode_as(proposal.body, Body)
    except DecodeError:
        return None


def read_vote(data: bytes) -> VotePayload | None:
    """Return the vote in a vote frame, or None for any other frame."""
    if data[0] != Number.VOTE:
        return None
    try:
        _, envelope = parse_frame(data)
        assert isinstance(envelope, Envelope)
        return decode_as(envelope.payload, VotePayload)
    except DecodeError:
        return None


def to_each(peers: Iterable[ValidatorIndex], *frames: bytes) -> list[Send]:
    """Return sends of every frame to every peer."""
    return [Send(peer, data) for peer in peers for data in frames]


class Quiet:
    """The strategy of an honest node, for others to change."""

    def hear(self, me: Adversary, sender: int, data: bytes) -> Iterable[Send]:
        """Add nothing."""
        del me, sender, data
        return ()

    def speak(self, me: Adversary, send: Send) -> Iterable[Send]:
        """Let it pass."""
        del me
        return (send,)


class Silent:
    """Says nothing at all."""

    def hear(self, me: Adversary, sender: int, data: bytes) -> Iterable[Send]:
        """Keep quiet."""
        return ()

    def speak(self, me: Adversary, send: Send) -> Iterable[Send]:
        """Keep quiet."""
        return ()


class Equivocator:
    """As leader gives each half another block; votes for everything that anybody votes for."""

    def __init__(self) -> None:
        """Nothing said yet."""
        self._said: dict[tuple[int, int, bytes, int], None] = {}

    def hear(self, me: Adversary, sender: int, data: bytes) -> Iterable[Send]:
        """Tell whoever votes that it is right."""
        vote = read_vote(data)
        found = read_proposal(data)
        if found is not None:
            header, _ = found
            vote = VotePayload(VoteKind.NOTARIZE, 0, header.view, block_hash(encode(header)))
        if vote is None or (vote.kind, vote.view, vote.digest, sender) in self._said:
            return []
        self._said[vote.kind, vote.view, vote.digest, sender] = None
        frames = [me.vote(VoteKind(vote.kind), vote.view, vote.digest)]
        if vote.kind == VoteKind.NOTARIZE:
            frames.append(me.vote(VoteKind.FINALIZE, vote.view, vote.digest))
        return to_each([ValidatorIndex(sender)], *frames)

    def speak(self, me: Adversary, send: Send) -> Iterable[Send]:
        """Give each half its own block and the votes for it."""
        found = read_proposal(send.frame)
        if found is None:
            return [send]
        header, body = found
        left, right = me.halves()
        return [
            *to_each(left, send.frame),
            *to_each(right, me.proposal(replace(header, time_ms=header.time_ms + 1), body)),
        ]


class Schismatic:
    """As leader builds on its parent's parent, as if the parent's view had been nullified.

    Its block has no nullifications where they are missing: only a node that looks for them sees that
    it might undo a final block.
    """

    def __init__(self) -> None:
        """Know no block yet."""
        self._known: dict[int, tuple[Header, bytes]] = {}

    def hear(self, me: Adversary, sender: int, data: bytes) -> Iterable[Send]:
        """Remember blocks and the votes that they carry."""
        found = read_proposal(data)
        if found is not None:
            self._known[found[0].view] = (found[0], found[1].parent_cert)
        return ()

    def speak(self, me: Adversary, send: Send) -> Iterable[Send]:
        """Build on the grandparent instead of the parent."""
        found = read_proposal(send.frame)
        if found is None:
            return [send]
        header, body = found
        self._known[header.view] = (header, body.parent_cert)
        parent = self._known.get(header.parent_view)
        if parent is None or header.parent_view == 0:
            return [send]
        older = parent[0]
        skips = (b"\x80",) * (header.view - older.parent_view - 1)
        twisted = Body(parent[1], skips, (), ())
        grand = self._known.get(older.parent_view)
        return [
            Send(
                None,
                me.proposal(
                    replace(
                        header,
                        height=older.height,
                        parent_view=older.parent_view,
                        parent_hash=older.parent_hash,
                        body_hash=body_hash(twisted),
                        state_root=grand[0].state_root if grand else root_of({}),
                    ),
                    twisted,
                ),
            )
        ]


class Selective:
    """As leader shows its block to exactly q - f honest nodes, and votes to nobody else."""

    def hear(self, me: Adversary, sender: int, data: bytes) -> Iterable[Send]:
        """Nothing to add."""
        return ()

    def speak(self, me: Adversary, send: Send) -> Iterable[Send]:
        """Choose an audience for each block; whoever saw it also gets the votes."""
        if send.frame[0] not in (Number.PROPOSAL, Number.VOTE):
            return [send]
        validators = me.seat.validators
        audience = me.rng.sample(me.others, validators.q - validators.f)
        return to_each(audience, send.frame)


class Withholder:
    """Shows each of its votes to one peer only, so that this one alone may hold a certificate."""

    def hear(self, me: Adversary, sender: int, data: bytes) -> Iterable[Send]:
        """Nothing to add."""
        return ()

    def speak(self, me: Adversary, send: Send) -> Iterable[Send]:
        """Choose one peer for each vote; certificates are for nobody."""
        match send.frame[0]:
            case Number.VOTE:
                return [Send(me.rng.choice(me.others), send.frame)]
            case Number.CERTIFICATE:
                return []
            case _:
                return [send]


class Late:
    """Says everything, about when the others lose patience."""

    def hear(self, me: Adversary, sender: int, data: bytes) -> Iterable[Send]:
        """Nothing to add."""
        return ()

    def speak(self, me: Adversary, send: Send) -> Iterable[Send]:
        """Wait a few Δ̂, another time for each peer."""
        network = me.seat.network
        patience_ms = me.seat.node.engine.delta_ms
        for peer in me.others if send.to is None else [send.to]:
            wait_ms = me.rng.randrange(6 * patience_ms)
            network.at(
                network.now_ms + wait_ms,
                lambda peer=peer: network.transmit(me.index, peer, send.frame),  # type: ignore[misc]
            )
        return []


class Forger:
    """As leader damages its blocks, another way each time."""

    def hear(self, me: Adversary, sender: int, data: bytes) -> Iterable[Send]:
        """Nothing to add."""
        return ()

    def speak(self, me: Adversary, send: Send) -> Iterable[Send]:
        """Damage a proposal."""
        found = read_proposal(send.frame)
        if found is None:
            return [send]
        header, body = found
        damaged = body
        match me.rng.randrange(9):
            case 0:
                header = replace(header, state_root=digest("wrong", b""))
            case 1:
                header = replace(header, time_ms=header.time_ms + 3_600_000)
            case 2:
                header = replace(header, time_ms=1)
            case 3:
                header = replace(header, height=header.height + 1)
            case 4:
                damaged = replace(body, actions=(*body.actions, *body.actions, b"x", b"x"))
            case 5:
                damaged = replace(body, parent_cert=flip(body.parent_cert, me.rng))
            case 6:
                damaged = replace(body, skips=(*body.skips, body.parent_cert or b"\x80"))
            case 7:
                header = replace(header, proposer=(header.proposer + 1) % me.seat.validators.n)
            case _:
                header = replace(header, parent_view=header.view - 1, parent_hash=bytes(32))
        if damaged is not body:
            header = replace(header, body_hash=body_hash(damaged))
        return to_each(me.others, me.proposal(header, damaged))


def flip(data: bytes, rng: random.Random) -> bytes:
    """Return the bytes with one bit turned, or a byte where there was none."""
    if not data:
        return b"\x80"
    at = rng.randrange(len(data))
    return data[:at] + bytes((data[at] ^ 1 << rng.randrange(8),)) + data[at + 1 :]


class Babbler:
    """Votes for and against everything, replays old frames, forges votes of others."""

    def __init__(self) -> None:
        """Nothing heard yet."""
        self._heard: list[bytes] = []

    def hear(self, me: Adversary, sender: int, data: bytes) -> Iterable[Send]:
        """Contradict itself about whatever it hears, to random peers."""
        rng = me.rng
        self._heard.append(data)
        del self._heard[:-500]
        said: list[Send] = []
        vote = read_vote(data)
        if vote is not None and rng.random() < 0.5:
            kind = rng.choice(tuple(VoteKind))
            about = NO_DIGEST if kind is VoteKind.NULLIFY else vote.digest
            if about == NO_DIGEST and kind is not VoteKind.NULLIFY:
                about = digest("made up", bytes((rng.randrange(2),)))
            said += to_each(rng.sample(me.others, 1), me.vote(kind, vote.view, about))
        if rng.random() < 0.2:
            said += to_each(rng.sample(me.others, 1), rng.choice(self._heard))
        if rng.random() < 0.1:
            said += to_each(rng.sample(me.others, 1), self._forged(me))
        return said

    def speak(self, me: Adversary, send: Send) -> Iterable[Send]:
        """Let most of it pass, some of it changed by a bit."""
        if me.rng.random() < 0.1:
            return to_each(me.others, flip(send.frame, me.rng))
        return [send]

    def _forged(self, me: Adversary) -> bytes:
        rng = me.rng
        kind = rng.choice(tuple(VoteKind))
        about = NO_DIGEST if kind is VoteKind.NULLIFY else digest("forged", b"")
        payload = vote_payload(kind, rng.randrange(2), me.view + rng.randrange(-1, 3), about)
        kid = me.seat.validators.kids[rng.choice(me.others)]
        return frame(Number.VOTE, build_envelope(kid, payload, rng.randbytes(64)))


class Liar:
    """Agrees like anybody, but lies about the past: blocks, certificates, where it stands."""

    def hear(self, me: Adversary, sender: int, data: bytes) -> Iterable[Send]:
        """Answer requests for blocks with something else, at once."""
        if data[0] != Number.GET_BLOCKS:
            return ()
        ask = decode_as(data[1:], GetBlocks)
        rng = me.rng
        header = Header(
            1, CHAIN_ID, 0, 5, 5, 5, 4, bytes(32), me.index, 0, bytes(32), bytes(32), bytes(32)
        )
        junk = ((encode(header), b"\x80"),) * rng.randrange(1, 4)
        return [Send(ValidatorIndex(sender), frame(Number.BLOCKS, Blocks(ask.hash, junk)))]

    def speak(self, me: Adversary, send: Send) -> Iterable[Send]:
        """Spoil what would help others."""
        rng = me.rng
        match send.frame[0]:
            case Number.BLOCKS:
                answer = decode_as(send.frame[1:], Blocks)
                if rng.random() < 0.3:
                    return []
                cut = answer.blocks[: rng.randrange(1, len(answer.blocks) + 1)]
                spoiled = tuple((header, flip(body, rng)) for header, body in cut)
                return [Send(send.to, frame(Number.BLOCKS, Blocks(answer.hash, spoiled)))]
            case Number.CERTIFICATE:
                certificate = decode_as(send.frame[1:], Certificate)
                changed = replace(certificate, view=certificate.view + rng.randrange(1, 1_000))
                return [Send(send.to, frame(Number.CERTIFICATE, changed))]
            case Number.STATUS:
                status = decode_as(send.frame[1:], Status)
                changed_status = replace(
                    status,
                    view=status.view + 1_000,
                    final_view=status.final_view + 900,
                    wall_ms=status.wall_ms + 86_400_000,
                )
                return [Send(send.to, frame(Number.STATUS, changed_status))]
            case _:
                return [send]
