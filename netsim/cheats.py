"""Byzantine hosts that sign what proves them cheats, and one that accuses others (PROTOCOL 9.3).

What the first ones sign proves what they did; what the last one puts together must prove nothing.
"""

# mypy: disable-error-code="explicit-override"
# The decorator is of Python 3.12.

from collections.abc import Iterable

from msgspec.structs import replace

from consensus.beacon_items import CERTIFICATE_KIND, DealCertificate
from consensus.beacon_rolls import RevealPayload, SecretName
from consensus.dealing import BATCH, DealHeader, Dealing, LeafScheme, ack_payload
from consensus.effects import Send
from consensus.encoding import decode_as, digest, encode
from consensus.evidence import ITEM_EVIDENCE, Evidence, build_false_share
from consensus.merkle import MerkleTree
from consensus.messages import (
    DealMessage,
    Number,
    SystemItems,
    VoteKind,
    body_hash,
    frame,
    parse_frame,
)
from consensus.signing import Domain, build_envelope, parse_envelope, sign_envelope
from consensus.validators import bitmap, quorum
from netsim import adversaries as a
from netsim.adversaries import Quiet
from node.membership import Membership

STATEMENTS_KEPT = 60
"""Statements of others that a framer puts together; a table says some hundred in a minute."""


def _membership(me: a.Adversary) -> Membership:
    membership: Membership = me.seat.node.final.membership  # type: ignore[attr-defined]
    return membership


def _deal_of(send: Send) -> DealMessage | None:
    if send.to is None or send.frame[0] != Number.DEAL:
        return None
    _, message = parse_frame(send.frame)
    return message if isinstance(message, DealMessage) else None


def _deal_anew(message: DealMessage, me: a.Adversary) -> Dealing:
    """Return another dealing for the same batch."""
    header = decode_as(parse_envelope(message.deal).payload, DealHeader)
    n = len(_membership(me).voters)
    seat = me.seat
    batch, entropy = header.batch, digest("twice", message.deal)
    return Dealing(
        seat.chain_id, header.epoch, header.dealer, batch, t=quorum(n), n=n, entropy=entropy
    )


def _sealed(dealing: Dealing, send: Send, me: a.Adversary) -> tuple[Send, ...]:
    """Return what gives a dealing to the holder that something else was to go to."""
    membership = _membership(me)
    if send.to not in membership.voters:
        return (send,)
    holder = membership.voters.index(send.to)
    signed = _sign(me, Domain.DEAL, encode(dealing.header))
    sealed = dealing.seal(holder, membership.members[send.to].box_key, signed)
    return () if sealed is None else (Send(send.to, frame(Number.DEAL, sealed)),)


def _sign(me: a.Adversary, domain: Domain, payload: bytes) -> bytes:
    return sign_envelope(me.seat.key, domain, me.seat.chain_id, payload)


class DoubleProposer(Quiet):
    """As leader shows everybody two blocks for its view; votes for the first one alone."""

    def speak(self, me: a.Adversary, send: Send) -> Iterable[Send]:
        """Let another block, a millisecond younger, follow the first."""
        found = a.read_proposal(send.frame)
        if found is None:
            return (send,)
        header, body = found
        other = me.proposal(replace(header, time_ms=header.time_ms + 1), body)
        return (send, Send(send.to, other))


class DoubleVoter(Quiet):
    """Votes like an honest one, but to one peer's face for a block that nobody made."""

    def speak(self, me: a.Adversary, send: Send) -> Iterable[Send]:
        """Tell one peer something else, which finds what it said to the others in certificates."""
        vote = a.read_vote(send.frame)
        if vote is None or vote.kind == VoteKind.NULLIFY:
            return (send,)
        fooled = me.others[vote.view % len(me.others)]
        other = me.vote(VoteKind(vote.kind), vote.view, digest("nothing", vote.digest))
        return [
            Send(peer, other if peer == fooled else send.frame)
            for peer in (me.others if send.to is None else [send.to])
        ]


class DoubleDealer(Quiet):
    """Deals each batch twice: whose box is lost may get the other one."""

    def speak(self, me: a.Adversary, send: Send) -> Iterable[Send]:
        """Give every other box of another dealing."""
        message = _deal_of(send)
        if message is None or me.rng.random() < 0.5:
            return (send,)
        return _sealed(_deal_anew(message, me), send, me)


class DoubleAcker(Quiet):
    """Acks beside what it was dealt something that nobody dealt."""

    def speak(self, me: a.Adversary, send: Send) -> Iterable[Send]:
        """Ack twice."""
        if send.frame[0] != Number.ACK:
            return (send,)
        epoch, dealer, batch, _ = decode_as(
            parse_envelope(send.frame[1:]).payload, tuple[int, int, int, bytes]
        )
        other = encode((epoch, dealer, batch, digest("other", send.frame)))
        return (Send(send.to, frame(Number.ACK, _sign(me, Domain.ACK, other))), send)


class FalseDealer(Quiet):
    """Deals what is no sharing, so that the roll opens to no secret of it."""

    def __init__(self) -> None:
        """Nothing dealt yet."""
        self._dealings: dict[bytes, tuple[Dealing, dict[int, bytes]]] = {}

    def hear(self, me: a.Adversary, sender: int, data: bytes) -> Iterable[Send]:
        """Collect acks, for the honest node inside has dealt something else."""
        del sender
        if data[0] != Number.ACK:
            return ()
        envelope = parse_envelope(data[1:])
        for dealing, acks in self._dealings.values():
            holder = me.seat.validators.index_of_kid.get(envelope.kid)
            if envelope.payload == ack_payload(dealing.header) and holder is not None:
                acks[holder] = envelope.signature
                return self._certify(me, dealing, acks)
        return ()

    def _certify(self, me: a.Adversary, dealing: Dealing, acks: dict[int, bytes]) -> list[Send]:
        n, own = len(_membership(me).voters), dealing.header.dealer
        signed = parse_envelope(_sign(me, Domain.ACK, ack_payload(dealing.header)))
        acks[own] = signed.signature
        if len(acks) < n:
            return []
        certificate = DealCertificate(
            CERTIFICATE_KIND,
            _sign(me, Domain.DEAL, encode(dealing.header)),
            bitmap(sorted(acks), n),
            tuple(acks[j] for j in sorted(acks)),
            bitmap((), n),
            b"",
        )
        items = frame(Number.SYSTEM_ITEMS, SystemItems((encode(certificate),)))
        return a.to_each(me.others, items)

    def speak(self, me: a.Adversary, send: Send) -> Iterable[Send]:
        """Give each holder shares that do not fit those of the others."""
        message = _deal_of(send)
        if message is None:
            return () if send.frame[0] == Number.SYSTEM_ITEMS else (send,)
        if message.deal not in self._dealings:
            self._dealings[message.deal] = (_spoiled(_deal_anew(message, me), me), {})
        return _sealed(self._dealings[message.deal][0], send, me)


def _spoiled(dealing: Dealing, me: a.Adversary) -> Dealing:
    """Change one holder's share of every secret, and commit to that."""
    header, chain_id = dealing.header, me.seat.chain_id
    bad = (header.dealer + 1) % len(dealing.shares[0])
    dealing.shares = tuple(
        tuple(bytes(32) if j == bad else share for j, share in enumerate(row))
        for row in dealing.shares
    )
    scheme = LeafScheme.of(chain_id, header.epoch, header.dealer, header.batch)
    dealing.leaves = tuple(
        tuple(scheme.leaf(k, j, share) for j, share in enumerate(row))
        for k, row in enumerate(dealing.shares)
    )
    trees = [MerkleTree(row) for row in dealing.leaves]
    dealing._trees, dealing._roots = trees, [tree.root() for tree in trees]  # noqa: SLF001
    dealing.header = replace(header, root=MerkleTree(dealing._roots).root())  # noqa: SLF001
    return dealing


class Framer(Quiet):
    """Accuses others with what they did sign: of other batches, views, rolls, and turned round."""

    def __init__(self) -> None:
        """Nothing heard yet."""
        self._said: dict[Domain, list[bytes]] = {}

    def hear(self, me: a.Adversary, sender: int, data: bytes) -> Iterable[Send]:
        """Remember what others sign, and show somebody a proof that is none."""
        del sender
        number, rng = data[0], me.rng
        if number in {Number.VOTE, Number.ACK, Number.REVEAL}:
            self._remember(Domain(number), data[1:])
        elif number == Number.DEAL:
            _, message = parse_frame(data)
            assert isinstance(message, DealMessage), "a deal"
            self._remember(Domain.DEAL, message.deal)
        if rng.random() < 0.9:
            return ()
        proof = self._proof(me)
        if not proof:
            return ()
        return [Send(rng.choice(me.others), frame(Number.SYSTEM_ITEMS, SystemItems((proof,))))]

    def _remember(self, domain: Domain, envelope: bytes) -> None:
        kept = self._said.setdefault(domain, [])
        if envelope not in kept:
            kept.append(envelope)
            del kept[:-STATEMENTS_KEPT]

    def _proof(self, me: a.Adversary) -> bytes:
        rng = me.rng
        about = rng.choice(list(self._said or (Domain.VOTE,)))
        said = self._said.get(about, [])
        if not said:
            return b""
        one, other = rng.choice(said), rng.choice(said)
        if about is Domain.REVEAL:
            return self._against_share(me, one)
        first, second = sorted((one, other), key=lambda half: parse_envelope(half).payload)
        if rng.random() < 0.2:
            about = rng.choice((Domain.VOTE, Domain.DEAL, Domain.ACK))
        if rng.random() < 0.2:
            envelope = parse_envelope(second)
            second = build_envelope(envelope.kid, a.flip(envelope.payload, rng), envelope.signature)
        return encode(Evidence(ITEM_EVIDENCE, about, first, second))

    def _against_share(self, me: a.Adversary, reveal: bytes) -> bytes:
        """Return the charge that a share is false, under a dealing that the framer made up."""
        envelope = parse_envelope(reveal)
        payload = decode_as(envelope.payload, RevealPayload)
        holder = me.seat.validators.index_of_kid.get(envelope.kid, 0)
        n = me.seat.validators.n
        dealing = Dealing(
            me.seat.chain_id, payload.epoch, 0, 0, t=quorum(n), n=n, entropy=payload.close_hash
        )
        root = dealing.header.root
        names = [SecretName(0, 0, at % BATCH, root) for at in range(len(payload.shares))]
        tree = MerkleTree(dealing.leaves[0])
        roots = [MerkleTree(row).root() for row in dealing.leaves]
        path = (tree.root(), *tree.proof(holder), *MerkleTree(roots).proof(0))
        return build_false_share(reveal, names, 0, dealing.leaves[0][holder], path)

    def speak(self, me: a.Adversary, send: Send) -> Iterable[Send]:
        """Put a charge into every other block of its own."""
        found = a.read_proposal(send.frame)
        proof = self._proof(me) if found is not None else b""
        if found is None or not proof or me.rng.random() < 0.5:
            return (send,)
        header, body = found
        body = replace(body, system=(proof, *body.system))
        header = replace(header, body_hash=body_hash(body))
        return a.to_each(me.others, me.proposal(header, body))
