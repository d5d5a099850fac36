"""A Byzantine host that says what a careless node would keep: a bit of everything, for ever new.

It signs nothing that two statements of its own could prove, so that no block ends it.
"""

# mypy: disable-error-code="explicit-override"
# The decorator is of Python 3.12.

from collections.abc import Callable, Iterable, Mapping
from itertools import repeat

from consensus.beacon_rolls import RevealPayload
from consensus.dealing import BATCH, AckPayload, DealHeader
from consensus.effects import Send
from consensus.encoding import Record, digest, encode
from consensus.messages import (
    Anchor,
    Blocks,
    Body,
    Certificate,
    DealMessage,
    GetAnchor,
    GetBlocks,
    GetCert,
    GetReveal,
    GetState,
    Have,
    Header,
    Number,
    Proposal,
    RevealPaths,
    StateChunk,
    Status,
    SystemItems,
    VoteKind,
    block_hash,
    body_hash,
    frame,
    vote_payload,
)
from consensus.signing import Domain, build_envelope, key_id, sign_envelope
from consensus.validators import ValidatorIndex, bitmap
from netsim import adversaries as a
from netsim.adversaries import Quiet

FRAMES = 4
"""For each that it hears; many more are answered with more than they are."""
FAR = 400
"""How far from where the table stands its views, batches, rolls and numbers lie."""
_OWN = frozenset(
    {Number.VOTE, Number.PROPOSAL, Number.CERTIFICATE, Number.DEAL, Number.ACK, Number.REVEAL}
)


class Hoarder(Quiet):
    """See the module's text. What an honest node would sign in its place is never said."""

    def speak(self, me: a.Adversary, send: Send) -> Iterable[Send]:
        """Leave out what would exclude something that it makes up."""
        del me
        return () if send.frame[0] in _OWN else (send,)

    def hear(self, me: a.Adversary, sender: int, data: bytes) -> Iterable[Send]:
        """Say much to somebody."""
        del data
        return [Send(ValidatorIndex(sender), hoard(me, sender)) for _ in range(FRAMES)]


def hoard(me: a.Adversary, to: int, number: Number | None = None) -> bytes:
    """Return a frame, of any number or of this one, that a peer need not keep for long, if at all."""
    number = number or me.rng.choice(tuple(MAKERS))
    return frame(number, MAKERS[number](me, to))


def _near(me: a.Adversary, middle: int) -> int:
    far = me.rng.choice((3, FAR))
    return max(middle + me.rng.randrange(-far, far), 0)


def _sign(me: a.Adversary, domain: Domain, payload: bytes) -> bytes:
    """Sign with the own key, and every second time with none."""
    key = me.seat.key
    if me.rng.random() < 0.5:
        return build_envelope(key_id(key.public_key), payload, me.rng.randbytes(64))
    return sign_envelope(key, domain, me.seat.chain_id, payload)


def _vote(me: a.Adversary, _to: int) -> Record | bytes:
    view = _near(me, me.view)
    if me.rng.random() < 0.5:  # whatever it is about, nobody signed it
        kind, about = me.rng.choice((VoteKind.NOTARIZE, VoteKind.FINALIZE)), me.rng.randbytes(32)
        payload = vote_payload(kind, me.seat.epoch(), view, about)
        return build_envelope(key_id(me.seat.key.public_key), payload, me.rng.randbytes(64))
    kind = VoteKind.NOTARIZE if view % 2 else VoteKind.FINALIZE
    about = digest("hoard", encode((view,)))
    payload = vote_payload(kind, me.seat.epoch(), view, about)
    return sign_envelope(me.seat.key, Domain.VOTE, me.seat.chain_id, payload)


def _action(me: a.Adversary, _to: int) -> Record | bytes:
    key = me.seat.player_key
    assert key is not None, "a player has a key"
    payload = encode((me.rng.randrange(2, FAR), ((4, 0, 16, 0, me.rng.randrange(1, 2**40)),)))
    return sign_envelope(key, Domain.ACTION, me.seat.chain_id, payload)


def _deal(me: a.Adversary, _to: int) -> Record | bytes:
    batch = me.rng.randrange(FAR)
    root = digest("hoard", encode((batch,)))
    header = encode(DealHeader(me.seat.epoch(), me.index, batch, BATCH, root))
    return DealMessage(_sign(me, Domain.DEAL, header), bytes(32), me.rng.randbytes(80))


def _ack(me: a.Adversary, to: int) -> Record | bytes:
    batch = me.rng.randrange(FAR)
    name = digest("hoard", encode((to, batch)))
    return _sign(me, Domain.ACK, encode(AckPayload(me.seat.epoch(), to, batch, name)))


def _reveal_envelope(me: a.Adversary) -> bytes:
    shares = tuple(me.rng.randbytes(32) for _ in range(me.seat.validators.n))
    roll, junk = me.rng.randrange(FAR), me.rng.randbytes(32)
    return _sign(
        me, Domain.REVEAL, encode(RevealPayload(me.seat.epoch(), roll, junk, junk, shares))
    )


def _reveal(me: a.Adversary, _to: int) -> Record | bytes:
    return _reveal_envelope(me)


def _reveal_paths(me: a.Adversary, _to: int) -> Record | bytes:
    n = me.seat.validators.n
    return RevealPaths(_reveal_envelope(me), tuple(repeat((bytes(32),), n)))


def _proposal(me: a.Adversary, _to: int) -> Record | bytes:
    epoch, view, body = me.seat.epoch(), _near(me, me.view), Body(me.rng.randbytes(99), (), (), ())
    junk = me.rng.randbytes(32)
    header = encode(
        Header(
            version=1,
            chain_id=me.seat.chain_id,
            epoch=epoch,
            view=view,
            height=_near(me, view),
            time_ms=1 + me.rng.randrange(2**40),
            parent_view=max(view - 1, 0),
            parent_hash=junk,
            proposer=me.index,
            flags=0,
            body_hash=body_hash(body),
            state_root=junk,
            receipts_root=junk,
        )
    )
    payload = vote_payload(VoteKind.NOTARIZE, epoch, view, block_hash(header))
    said = build_envelope(key_id(me.seat.key.public_key), payload, me.rng.randbytes(64))
    return Proposal(header, encode(body), said)


def _certificate(me: a.Adversary, _to: int) -> Record | bytes:
    voters = me.seat.validators
    signatures = tuple(me.rng.randbytes(64) for _ in range(voters.q))
    about, view = me.rng.randbytes(32), _near(me, me.view)
    mask = bitmap(range(voters.q), voters.n)
    return Certificate(VoteKind.NOTARIZE, me.seat.epoch(), view, about, mask, signatures)


def _status(me: a.Adversary, _to: int) -> Record | bytes:
    view, rng = _near(me, me.view), me.rng
    return Status(
        ask=rng.randrange(2),
        epoch=me.seat.epoch() + rng.randrange(2),
        view=view,
        final_height=view,
        final_view=view,
        final_hash=rng.randbytes(32),
        wall_ms=rng.randrange(2**40),
        echo_ms=rng.randrange(2**40),
    )


def _get_blocks(me: a.Adversary, _to: int) -> Record | bytes:
    return GetBlocks(me.rng.randbytes(32), me.rng.randrange(1, 129), me.rng.randrange(2))


def _chunk(me: a.Adversary, _to: int) -> Record | bytes:
    junk = me.rng.randbytes(32)
    return StateChunk(junk, (junk,) * 5, me.rng.randrange(9), 9, 0, (junk,), ((junk,),))


MAKERS: Mapping[Number, Callable[[a.Adversary, int], Record | bytes]] = {
    Number.VOTE: _vote,
    Number.ACTION: _action,
    Number.DEAL: _deal,
    Number.ACK: _ack,
    Number.REVEAL: _reveal,
    Number.REVEAL_PATHS: _reveal_paths,
    Number.PROPOSAL: _proposal,
    Number.CERTIFICATE: _certificate,
    Number.STATUS: _status,
    Number.GET_CERT: lambda me, _to: GetCert(me.seat.epoch(), _near(me, me.view)),
    Number.GET_BLOCKS: _get_blocks,
    Number.BLOCKS: lambda me, _to: Blocks(me.rng.randbytes(32), ((bytes(99), bytes(99)),)),
    Number.GET_REVEAL: lambda me, _to: GetReveal(me.seat.epoch(), me.rng.randrange(FAR), 1),
    Number.SYSTEM_ITEMS: lambda me, _to: SystemItems((b"\x86\x01" + me.rng.randbytes(60),)),
    Number.GET_STATE: lambda me, _to: GetState(me.rng.randbytes(32), me.rng.randrange(99), 0),
    Number.STATE_CHUNK: _chunk,
    Number.GET_ANCHOR: lambda me, _to: GetAnchor(me.rng.randrange(9)),
    Number.ANCHOR: lambda me, _to: Anchor(0, (me.rng.randbytes(9),), me.rng.randbytes(32), b""),
    Number.HAVE: lambda me, _to: Have((me.rng.randbytes(32),)),
}
