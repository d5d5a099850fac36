"""What honest nodes hear cheats sign, and from when on it proves something (PROTOCOL 9.3).

The kinds of offences are restated here from the bytes on the wire, who sent and who heard them, and
not asked of the code that they judge. Counted is only what a node that lives on cannot have missed:
in one of its lives and in one epoch, a window of views, batches and rolls, sent by whom it is about.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from consensus.beacon_items import DealCertificate, Settle
from consensus.beacon_rolls import RevealPayload
from consensus.dealing import DealHeader
from consensus.effects import SharesLogged
from consensus.encoding import DecodeError, decode_as
from consensus.messages import (
    NO_DIGEST,
    Body,
    Certificate,
    DealMessage,
    Header,
    Number,
    Proposal,
    RevealPaths,
    VoteKind,
    VotePayload,
    block_hash,
    body_hash,
    parse_frame,
    vote_payload,
)
from consensus.signing import (
    Domain,
    Envelope,
    PublicKey,
    Verify,
    key_id,
    parse_envelope,
    signed_bytes,
)

BATCHES_TAKEN = 2
"""Dealings are taken of a dealer's next batch and of the one behind it (PROTOCOL 11.2)."""
EARLY_ROLLS = 8
"""Reveals are kept of so many rolls whose close is not final yet (PROTOCOL 11.4)."""
FIELD = 2**255 - 19
"""Shares are points of a polynomial over this field (PROTOCOL 11.1)."""
SHARE_BYTES = 32
_CERTIFICATE, _SETTLE = 1, 2


class Electorates(Protocol):
    """Who votes in which epoch."""

    def keys_at(self, epoch: int) -> Sequence[tuple[int, PublicKey]]:
        """Return the voters' hosts and keys by index, none of an epoch that nobody entered."""
        ...

    def leader_at(self, epoch: int, view: int) -> int:
        """Return the host that leads a view of a known epoch."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a node stands when frames reach it; what is outside this it need not count.

    `next_batches` are the dealers' by index, `pending` the rolls that are closed and not settled.
    """

    host: int
    boot: int
    epoch: int
    view: int
    final_view: int
    next_batches: Sequence[int] = ()
    next_roll: int = 0
    pending: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Charge:
    """What a node can prove from now on: of whom, and a word for the kind of offence."""

    offender: int
    of: str


@dataclass(slots=True)
class _Memory:
    """What a node heard of cheats in one life and epoch."""

    life: tuple[int, int]
    votes: dict[tuple[int, int], list[VotePayload]] = field(default_factory=dict)
    deals: dict[tuple[int, int], bytes] = field(default_factory=dict)
    reveals: dict[tuple[int, int], RevealPayload | None] = field(default_factory=dict)


def exclude(kind: int, digest: bytes, other: int, other_digest: bytes) -> bool:
    """Say whether no honest validator votes both in one view (PROTOCOL 9.3, pairs 1 to 3)."""
    if kind == other:
        return digest != other_digest
    return {kind, other} == {VoteKind.NULLIFY, VoteKind.FINALIZE}


def quorum_of(n: int) -> int:
    """Return how many of `n` voters make a certificate (PROTOCOL 5)."""
    return n - (n - 1) // 3


def share_at(shares: Mapping[int, bytes], holder: int) -> bytes:
    """Return what a dealer gave a holder, from the shares of as many others as open a secret."""
    points = {j + 1: int.from_bytes(share, "big") for j, share in shares.items()}
    found = 0
    for x, y in points.items():
        up = down = 1
        for other in points:
            if other != x:
                up = up * (holder + 1 - other) % FIELD
                down = down * (x - other) % FIELD
        found += y * up * pow(down, -1, FIELD)
    return (found % FIELD).to_bytes(SHARE_BYTES, "big")


class Overheard:
    """Remembers, for each honest node, what cheats let it hear in its present life."""

    def __init__(
        self, chain_id: bytes, verify: Verify, electorates: Electorates, cheats: Sequence[int]
    ) -> None:
        """Listen to these cheats alone."""
        self._chain_id = chain_id
        self._verify = verify
        self._electorates = electorates
        self._cheats = frozenset(cheats)
        self._memories: dict[int, _Memory] = {}
        self._kept: dict[tuple[int, int, int, int], bytes] = {}  # host, epoch, dealer, batch
        self._named: dict[tuple[int, int], tuple[bytes, bytes]] = {}  # of an epoch's roll
        self._bodies: dict[bytes, bytes] = {}  # of every block that was proposed

    def _memory(self, host: int, life: tuple[int, int]) -> _Memory:
        known = self._memories.get(host)
        if known is None or known.life < life:
            known = self._memories[host] = _Memory(life)
        return known if known.life == life else _Memory(life)

    def _signer(self, epoch: int, domain: Domain, envelope: Envelope) -> tuple[int, int, bool]:
        """Return a statement's index and host, -1 for strangers, and whether they signed it."""
        for index, (host, key) in enumerate(self._electorates.keys_at(epoch)):
            if key_id(key) == envelope.kid:
                message = signed_bytes(envelope.kid, domain, self._chain_id, envelope.payload)
                return index, host, self._verify(key, message, envelope.signature)
        return -1, -1, False

    # What honest nodes do, as anybody sees it.

    def says(self, host: int, boot: int, data: bytes) -> list[Charge]:
        """An honest node sends a frame: it names the secrets of a roll, or takes a block."""
        number, message = parse_frame(data)
        match message:
            case Envelope() if number is Number.REVEAL:
                reveal = decode_as(message.payload, RevealPayload)
                self._named[reveal.epoch, reveal.roll] = (reveal.close_hash, reveal.secrets)
            case Proposal():
                self._bodies[block_hash(message.header)] = message.body
            case Envelope() if number is Number.VOTE:
                vote = decode_as(message.payload, VotePayload)
                _, signer, _ = self._signer(vote.epoch, Domain.VOTE, message)
                if signer == host:  # not a reminder of what another one said
                    return list(self._judges(self._memory(host, (boot, vote.epoch)), vote))
            case _:
                pass
        return []

    def _judges(self, memory: _Memory, vote: VotePayload) -> Iterator[Charge]:
        """Who votes for a block has verified the certificates in it (R2)."""
        if vote.kind == VoteKind.NOTARIZE and vote.digest in self._bodies:
            body = decode_as(self._bodies[vote.digest], Body)
            for data in (body.parent_cert, *body.skips):
                if data:
                    yield from self._take_certificate(memory, decode_as(data, Certificate))

    def keeps(self, host: int, record: SharesLogged) -> None:
        """An honest node has a dealing on its disk, which outlives it."""
        payload = parse_envelope(record.deal).payload
        self._kept[host, record.epoch, record.dealer, record.batch] = payload

    def finalizes(self, host: int, boot: int, epoch: int, body: Body) -> Iterator[Charge]:
        """An honest node takes a block as final, and compares what stands in it."""
        memory = self._memory(host, (boot, epoch))
        for item in body.system:
            if item[1] == _CERTIFICATE:
                signed = parse_envelope(decode_as(item, DealCertificate).deal)
                yield from self._compare_deal(host, memory, signed.payload)
            elif item[1] == _SETTLE:
                yield from self._compare_shares(memory, epoch, decode_as(item, Settle))

    # What cheats let them hear.

    def hears(self, at: Standing, sender: int, data: bytes) -> list[Charge]:
        """Take a frame that reaches an honest node; return what it can prove with it."""
        if sender not in self._cheats and data[0] != Number.CERTIFICATE:
            return []
        try:
            return list(self._heard(at, sender, data))
        except DecodeError:
            return []

    def _heard(self, at: Standing, sender: int, data: bytes) -> Iterator[Charge]:
        number, message = parse_frame(data)
        match message:
            case Envelope() if number is Number.VOTE:
                vote = decode_as(message.payload, VotePayload)
                if vote.epoch == at.epoch and vote.view <= at.view + 1:
                    yield from self._take_vote(at, sender, vote, message)
            case Proposal():
                yield from self._take_proposal(at, sender, message)
            case Certificate() if message.epoch == at.epoch and message.view > at.final_view:
                memory = self._memory(at.host, (at.boot, at.epoch))
                yield from self._take_certificate(memory, message)
            case DealMessage():
                yield from self._take_deal(at, sender, parse_envelope(message.deal))
            case Envelope() if number is Number.REVEAL:
                self._take_reveal(at, sender, message)
            case RevealPaths():
                self._take_reveal(at, sender, parse_envelope(message.reveal), with_paths=True)
            case _:
                pass

    def _take_vote(
        self, at: Standing, sender: int, vote: VotePayload, envelope: Envelope
    ) -> Iterator[Charge]:
        _, host, is_signed = self._signer(at.epoch, Domain.VOTE, envelope)
        is_vote = (vote.kind == VoteKind.NULLIFY) == (vote.digest == NO_DIGEST)
        if not is_vote or host != sender or not is_signed:
            return
        views = self._memory(at.host, (at.boot, at.epoch)).votes
        for known in [one for one in views if one[0] <= at.final_view]:
            del views[known]
        votes = views.setdefault((vote.view, sender), [])
        if any(exclude(vote.kind, vote.digest, one.kind, one.digest) for one in votes):
            yield Charge(sender, "votes")
        else:
            votes.append(vote)

    def _take_proposal(self, at: Standing, sender: int, proposal: Proposal) -> Iterator[Charge]:
        """A leader's block carries its vote, and a second block of a view another one (R9)."""
        header, envelope = decode_as(proposal.header, Header), parse_envelope(proposal.vote)
        if body_hash(decode_as(proposal.body, Body)) != header.body_hash:
            return
        named = block_hash(proposal.header)
        self._bodies[named] = proposal.body
        if header.epoch != at.epoch or not at.final_view < header.view <= at.view:
            return
        if self._electorates.leader_at(at.epoch, header.view) != sender:
            return
        if envelope.payload == vote_payload(VoteKind.NOTARIZE, at.epoch, header.view, named):
            vote = decode_as(envelope.payload, VotePayload)
            yield from self._take_vote(at, sender, vote, envelope)

    def _take_certificate(self, memory: _Memory, one: Certificate) -> Iterator[Charge]:
        """A certificate holds its signers' votes: they stand against what these said before."""
        votes, voters = memory.votes, self._electorates.keys_at(one.epoch)
        mask = int.from_bytes(one.signers, "little")
        signers = [voters[index] for index in range(len(voters)) if mask >> index & 1]
        liars = [
            host
            for host, _ in signers
            for said in votes.get((one.view, host), ())
            if exclude(one.kind, one.digest, said.kind, said.digest)
        ]
        if not liars or mask >> len(voters) or len(one.signers) != (len(voters) + 7) // 8:
            return
        if not quorum_of(len(voters)) <= len(signers) == len(one.signatures):
            return
        payload = vote_payload(VoteKind(one.kind), one.epoch, one.view, one.digest)
        for (_, key), signature in zip(signers, one.signatures, strict=True):
            message = signed_bytes(key_id(key), Domain.VOTE, self._chain_id, payload)
            if not self._verify(key, message, signature):
                return
        for host in dict.fromkeys(liars):
            yield Charge(host, "votes")

    # The dice.

    def _take_deal(self, at: Standing, sender: int, envelope: Envelope) -> Iterator[Charge]:
        header = decode_as(envelope.payload, DealHeader)
        index, host, is_signed = self._signer(at.epoch, Domain.DEAL, envelope)
        if not is_signed or (header.epoch, header.dealer, host) != (at.epoch, index, sender):
            return
        if not 0 <= header.batch - at.next_batches[index] < BATCHES_TAKEN:
            return
        memory = self._memory(at.host, (at.boot, at.epoch))
        yield from self._compare_deal(at.host, memory, envelope.payload)
        memory.deals.setdefault((index, header.batch), envelope.payload)

    def _compare_deal(self, host: int, memory: _Memory, payload: bytes) -> Iterator[Charge]:
        header = decode_as(payload, DealHeader)
        key = (header.dealer, header.batch)
        known = (memory.deals.get(key), self._kept.get((host, header.epoch, *key)))
        voters = self._electorates.keys_at(header.epoch)
        if any(one not in {None, payload} for one in known):
            yield Charge(voters[header.dealer][0], "dealings")

    def _take_reveal(
        self, at: Standing, sender: int, envelope: Envelope, *, with_paths: bool = False
    ) -> None:
        """A holder's first reveal of a roll counts; one with paths is left to other rules."""
        reveal = decode_as(envelope.payload, RevealPayload)
        _, host, is_signed = self._signer(at.epoch, Domain.REVEAL, envelope)
        is_early = 0 <= reveal.roll - at.next_roll < EARLY_ROLLS
        if reveal.epoch != at.epoch or host not in self._cheats:
            return
        if (is_early or reveal.roll in at.pending) and (is_signed or host == sender):
            reveals = self._memory(at.host, (at.boot, at.epoch)).reveals
            counts = is_signed and not with_paths
            reveals.setdefault((reveal.roll, host), reveal if counts else None)

    def _compare_shares(self, memory: _Memory, epoch: int, settle: Settle) -> Iterator[Charge]:
        """The settle opens a roll: every share of it that was not the one dealt is false."""
        hosts = [host for host, _ in self._electorates.keys_at(epoch)]
        for (roll, host), reveal in list(memory.reveals.items()):
            if roll != settle.roll:
                continue
            del memory.reveals[roll, host]
            if reveal is None or len(reveal.shares) != len(settle.openings):
                continue
            if (reveal.close_hash, reveal.secrets) != self._named.get((epoch, roll)):
                continue
            for share, opening in zip(reveal.shares, settle.openings, strict=True):
                # Of a dealing that shares no secret nobody's leaf is known (PROTOCOL 9.3).
                if share and not opening.fault:
                    mask, parts = int.from_bytes(opening.holders, "little"), opening.shares
                    holders = [j for j in range(len(hosts)) if mask >> j & 1]
                    open_to = {
                        j: parts[SHARE_BYTES * at : SHARE_BYTES * (at + 1)]
                        for at, j in enumerate(holders)
                    }
                    if share != share_at(open_to, hosts.index(host)):
                        yield Charge(host, "shares")
                        break
