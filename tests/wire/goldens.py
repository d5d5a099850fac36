"""One real example of everything that crosses a link, is signed, or is hashed.

All of it comes from four fixed master secrets, so it is the same on every machine. Numbers differ
from each other where they can, so that two fields which change places show.
"""

from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import msgspec

from consensus.beacon_items import (
    CERTIFICATE_KIND,
    DealCertificate,
    OpenedSecret,
    Opening,
    RollProof,
    Settle,
    encode_settle,
)
from consensus.beacon_rolls import RevealPayload, SecretName, name_secrets
from consensus.dealing import AckPayload, Dealing, ack_payload
from consensus.encoding import Digest, decode_as, digest, encode
from consensus.evidence import Evidence, FalseShare, build_evidence, build_false_share
from consensus.light import FinalHeader
from consensus.merkle import MerkleTree
from consensus.messages import (
    NO_DIGEST,
    Anchor,
    Blocks,
    Body,
    Certificate,
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
    VotePayload,
    block_hash,
    body_hash,
    vote_payload,
)
from consensus.signing import Domain, PublicKey, parse_envelope, sign_envelope
from consensus.validators import Validators, bitmap
from node.addresses import Known, PeerAddrs
from node.descriptor import (
    Accept,
    Invite,
    Join,
    Table,
    build_descriptor,
    chain_id_of,
    lobby_id_of,
    member_of,
    sign_accept,
    sign_join,
)
from node.game.operations import (
    CreateSession,
    Finish,
    Fund,
    Leave,
    PassDice,
    PlaceBet,
    Ready,
    Reduce,
    Roll,
    Sit,
    TakeDown,
    Tick,
    Withdraw,
    Working,
)
from node.identity import Keys
from node.lobby_messages import (
    Contacts,
    LobbyNumber,
    Refusal,
    RoomMessage,
    Saved,
    TableMessage,
    Waiting,
)
from node.membership import Admit, NextKeys, Retire, SetVote
from node.mempool import ActionBody
from node.proof import BetPart, Bundle, RollPart
from node.steps import EpochStep, Leaf, MemberLeaves, Tail

SEATS = 4
EPOCH, VIEW, HEIGHT = 0, 7, 5
NAMES = ("Ann", "Bob", "Cleo", "D\u00fc")
ADDRESSES = (
    ("192.0.2.1:7001",),
    ("[2001:db8::2]:7002", "bob.example:7002"),
    ("192.0.2.3:7003",),
    (),
)
QUORUM = (0, 1, 3)
"""Indices of the validators that sign certificates."""

Kind: TypeAlias = type[msgspec.Struct]


@dataclass(frozen=True)
class Golden:
    """One example: its bytes, the CDDL rule for them, and the schema that reads them.

    A frame carries its message number before the body; an envelope has no schema of its own.
    """

    name: str
    rule: str
    body: bytes
    schema: Kind | None
    number: Number | LobbyNumber | None = None

    @property
    def frame(self) -> bytes:
        """The bytes that go on a link."""
        assert self.number is not None, f"{self.name} is no message"
        return bytes((self.number,)) + self.body


class World:
    """A table of four in its first blocks."""

    def __init__(self) -> None:
        """Make keys, terms, a dealing, and a block."""
        by_key = {
            keys.consensus.public_key: (keys, name)
            for keys, name in zip(
                (Keys(digest("golden", bytes((i,)))) for i in range(SEATS)), NAMES, strict=True
            )
        }
        seats = [by_key[key] for key in sorted(by_key)]
        self.keys = [keys for keys, _ in seats]
        self.members = [member_of(keys, name) for keys, name in seats]
        self.params = encode((1, 5_000, 100_000))  # the game gives them a meaning, not the wire
        self.terms = build_descriptor("Friday", bytes(range(16)), self.members, self.params)
        self.chain_id = chain_id_of(self.terms)
        self.lobby_id = lobby_id_of(
            self.members[0].identity, self.terms.name, self.terms.nonce, SEATS, self.params
        )
        self.accepts = tuple(sign_accept(keys, self.terms) for keys in self.keys)
        self.table = Table(self.terms, self.accepts, ADDRESSES)
        self.join = Join(bytes(range(100, 116)), self.members[1], ADDRESSES[1])
        self.announcement = PeerAddrs(1_800_000_000_456, ADDRESSES[1])
        self.said = sign_envelope(
            self.keys[1].identity, Domain.PEER_ADDRS, self.chain_id, encode(self.announcement)
        )
        self.contact = Known(self.members[1].identity, NAMES[1], ADDRESSES[1], self.said)
        self.dealing = Dealing(
            self.chain_id, EPOCH, 2, 3, t=3, n=SEATS, entropy=digest("golden", b"entropy")
        )
        self.action = self.sign(1, Domain.ACTION, encode(ActionBody(9, (Ready(3), Roll(3)))))
        self.body = Body(
            encode(self.certificate(VoteKind.NOTARIZE, VIEW - 2, digest("golden", b"parent"))),
            (encode(self.certificate(VoteKind.NULLIFY, VIEW - 1, NO_DIGEST)),),
            (self.settle(),),
            (self.action,),
        )
        self.header = Header(
            version=1,
            chain_id=self.chain_id,
            epoch=EPOCH,
            view=VIEW,
            height=HEIGHT,
            time_ms=1_800_000_000_123,
            parent_view=VIEW - 2,
            parent_hash=digest("golden", b"parent"),
            proposer=2,
            flags=0,
            body_hash=body_hash(self.body),
            state_root=digest("golden", b"state"),
            receipts_root=digest("golden", b"receipts"),
        )
        self.block = block_hash(encode(self.header))

    def sign(self, member: int, domain: Domain, payload: bytes) -> bytes:
        """Return the envelope that a member makes: actions with its identity, the rest as voter."""
        keys = self.keys[member]
        signer = keys.identity if domain is Domain.ACTION else keys.consensus
        return sign_envelope(signer, domain, self.chain_id, payload)

    def vote(self, member: int, kind: VoteKind, view: int, about: bytes) -> bytes:
        """Return a signed vote."""
        return self.sign(member, Domain.VOTE, vote_payload(kind, EPOCH, view, about))

    def certificate(self, kind: VoteKind, view: int, about: Digest) -> Certificate:
        """Return a quorum's certificate."""
        votes = [parse_envelope(self.vote(i, kind, view, about)) for i in QUORUM]
        signatures = tuple(vote.signature for vote in votes)
        return Certificate(kind, EPOCH, view, about, bitmap(QUORUM, SEATS), signatures)

    def final(self) -> FinalHeader:
        """Return what shows the block final."""
        certificate = self.certificate(VoteKind.FINALIZE, VIEW, Digest(self.block))
        return FinalHeader(encode(self.header), (b"a header",), encode(certificate))

    def step(self) -> bytes:
        """Return an encoded step over the block, as if it sealed an epoch."""
        header, tail = self.header, digest("golden", bytes((20,)))
        certificate = self.certificate(VoteKind.FINALIZE, VIEW, Digest(self.block))
        step = EpochStep(
            view=header.view,
            height=header.height,
            time_ms=header.time_ms,
            parent_view=header.parent_view,
            parent_hash=header.parent_hash,
            body_hash=header.body_hash,
            state_root=header.state_root,
            voters=tuple(digest("golden", bytes((21 + i,))) for i in range(4)),
            receipts=2,
            path=(digest("golden", bytes((25,))),),
            tails=(Tail(header.view + 1, header.time_ms + 7, tail),),
            signers=certificate.signers,
            signatures=certificate.signatures,
        )
        return encode(step)

    def bundle(self) -> Bundle:
        """Return a proof with each of its parts once, of made-up leaves."""
        path = tuple(digest("golden", bytes((40 + i,))) for i in range(5))
        leaf, final = Leaf(3, 1, b"leaf", path[:2]), self.final()
        members = MemberLeaves(path[0], (path[1], path[2], path[3], path[4]), (leaf,))
        roll = RollPart(
            close=final,
            chain=b"chain",
            members_root=path[0],
            accounts_root=path[1],
            sessions_root=path[2],
            session=leaf,
            seats=(b"seat", b""),
            beacon=(b"dealer", b"rolls"),
            settle=final,
            item=leaf,
            result=leaf,
        )
        bet = BetPart(final, 4, 2, leaf, leaf, (members,))
        step = decode_as(self.step(), EpochStep)
        return Bundle(self.terms, self.accepts, (step,), (bet,), (roll,))

    def chunk(self) -> StateChunk:
        """Return two accounts of a state with their paths."""
        chain, members, accounts, sessions, beacon = (
            digest("golden", bytes((30 + i,))) for i in range(5)
        )
        roots = (chain, members, accounts, sessions, beacon)
        return StateChunk(self.block, roots, 2, 19, 17, (b"one", b"two"), ((chain, members), ()))

    def deal(self) -> bytes:
        """Return the signed header of the dealing."""
        return self.sign(2, Domain.DEAL, encode(self.dealing.header))

    def two_dealings(self) -> bytes:
        """Return the proof that the dealer signed two headers of the batch."""
        other = msgspec.structs.replace(self.dealing.header, root=digest("golden", b"deal root"))
        return build_evidence(Domain.DEAL, self.deal(), self.sign(2, Domain.DEAL, encode(other)))

    def ack(self, member: int) -> bytes:
        """Return a holder's signed ack of the dealing."""
        return self.sign(member, Domain.ACK, ack_payload(self.dealing.header))

    def deal_certificate(self) -> DealCertificate:
        """Return what makes the dealing part of the chain."""
        signatures = tuple(parse_envelope(self.ack(i)).signature for i in QUORUM)
        ackers, nobody = bitmap(QUORUM, SEATS), bitmap((), SEATS)
        return DealCertificate(CERTIFICATE_KIND, self.deal(), ackers, signatures, nobody, b"")

    def settle(self) -> bytes:
        """Return a settle of roll 6 with the openings of two secrets of the dealing."""
        tree = MerkleTree(self.dealing._roots)
        openings = [
            Opening(
                bitmap(QUORUM, SEATS),
                b"".join(self.dealing.shares[k][j] for j in QUORUM),
                b"".join(tree.proof(k)),
                (),
            )
            for k in (0, 1)
        ]
        return encode_settle(6, openings)

    def validators(self) -> Validators:
        """Return the voters as proofs of fault need them."""
        keys = tuple(PublicKey(member.consensus_key) for member in self.members)
        return Validators(keys, self.chain_id)

    def secrets(self) -> tuple[SecretName, ...]:
        """Return what the shares of the reveal are of: the dealing, another, the dealing."""
        root, other = self.dealing.header.root, digest("golden", b"deal root")
        return SecretName(2, 3, 0, root), SecretName(1, 4, 9, other), SecretName(2, 3, 1, root)

    def false_share(self) -> bytes:
        """Return the proof that member 1 revealed a share that it was not dealt."""
        signed = self.sign(
            1,
            Domain.REVEAL,
            encode(
                msgspec.structs.replace(self.reveal(1)[0], shares=(self.dealing.shares[1][1],) * 3)
            ),
        )
        tree = self.dealing._trees[0]
        path = (tree.root(), *tree.proof(1), *MerkleTree(self.dealing._roots).proof(0))
        return build_false_share(signed, self.secrets(), 0, self.dealing.leaves[0][1], path)

    def reveal(self, member: int) -> tuple[RevealPayload, bytes]:
        """Return what a holder reveals for roll 6, and that signed."""
        shares = (self.dealing.shares[0][member], b"", self.dealing.shares[1][member])
        name = name_secrets(self.secrets())
        payload = RevealPayload(EPOCH, 6, digest("golden", b"close"), name, shares)
        return payload, self.sign(member, Domain.REVEAL, encode(payload))


@cache
def world() -> World:
    """Return the one world."""
    return World()


OPERATIONS = (
    CreateSession(1),
    Sit(2),
    Leave(3),
    PlaceBet(4, 5, 6, 1_000),
    Reduce(7, 8, 9, 2**53 - 1),
    TakeDown(10, 11, 12),
    Working(13, 14, 4, 2),
    Ready(15),
    Roll(16),
    PassDice(17),
    Tick(18),
    Finish(1023),
    Fund(300),
    Withdraw(70_000),
    Admit(b"an envelope"),
    NextKeys(7, digest("golden", b"vote key"), digest("golden", b"box key")),
    SetVote(1),
    Retire(),
)


def frames() -> list[Golden]:
    """Return one message of every kind on a table link."""
    w = world()
    everything = w.sign(3, Domain.ACTION, encode(ActionBody(10, OPERATIONS)))
    sealed = w.dealing.seal(1, w.members[1].dealing_key, w.deal())
    assert sealed is not None
    proposal = Proposal(
        encode(w.header), encode(w.body), w.vote(2, VoteKind.NOTARIZE, VIEW, w.block)
    )
    final = w.certificate(VoteKind.FINALIZE, VIEW, Digest(w.block))
    status = Status(1, EPOCH, VIEW, HEIGHT, VIEW - 2, digest("golden", b"parent"), 1_799, 1_798)
    path = tuple(digest("golden", bytes((i,))) for i in range(3))
    _, reveal = w.reveal(1)
    messages: dict[Number, msgspec.Struct | bytes] = {
        Number.VOTE: w.vote(1, VoteKind.NOTARIZE, VIEW, w.block),
        Number.ACTION: everything,
        Number.DEAL: sealed,
        Number.ACK: w.ack(1),
        Number.REVEAL: reveal,
        Number.PROPOSAL: proposal,
        Number.CERTIFICATE: final,
        Number.STATUS: status,
        Number.GET_CERT: GetCert(EPOCH, VIEW),
        Number.GET_BLOCKS: GetBlocks(w.block, 128, 1),
        Number.BLOCKS: Blocks(w.block, ((encode(w.header), encode(w.body)), (b"header", b""))),
        Number.GET_REVEAL: GetReveal(EPOCH, 6, 1),
        Number.HAVE: Have((digest("golden", b"one"), digest("golden", b"two"))),
        Number.SYSTEM_ITEMS: SystemItems((encode(w.deal_certificate()), w.settle())),
        Number.REVEAL_PATHS: RevealPaths(reveal, (path, (), path[:1])),
        Number.GET_STATE: GetState(w.block, 2, 17),
        Number.STATE_CHUNK: w.chunk(),
        Number.GET_ANCHOR: GetAnchor(3),
        Number.ANCHOR: Anchor(3, (w.step(),), w.block, encode(w.final())),
    }
    return [_message(number, message) for number, message in messages.items()]


def lobby_frames() -> list[Golden]:
    """Return one message of every kind on a lobby link."""
    w = world()
    messages: dict[LobbyNumber, msgspec.Struct | bytes] = {
        LobbyNumber.JOIN: sign_join(w.keys[1], w.lobby_id, w.join),
        LobbyNumber.ACCEPT: w.accepts[1],
        LobbyNumber.DESCRIPTOR: w.terms,
        LobbyNumber.ROOM: RoomMessage(SEATS, NAMES[:3]),
        LobbyNumber.REFUSED: Refusal("the table is full: 4 of 4 seats are taken"),
        LobbyNumber.TABLE: TableMessage(w.chain_id, w.accepts, ADDRESSES),
        LobbyNumber.SAVED: Saved(w.chain_id),
        LobbyNumber.WAITING: Waiting(1, 3),
        LobbyNumber.CONTACTS: Contacts(
            2, 0, (w.contact, msgspec.structs.replace(w.contact, said=b""))
        ),
    }
    return [_message(number, message) for number, message in messages.items()]


def payloads() -> list[Golden]:
    """Return everything that a signature covers, as the payload of an envelope."""
    w = world()
    records: dict[str, msgspec.Struct] = {
        "vote-payload": VotePayload(VoteKind.NOTARIZE, EPOCH, VIEW, w.block),
        "vote-payload nullify": VotePayload(VoteKind.NULLIFY, EPOCH, VIEW, NO_DIGEST),
        "vote-payload finalize": VotePayload(VoteKind.FINALIZE, 2**63 - 1, 2**32, w.block),
        "action-payload": ActionBody(10, OPERATIONS),
        "deal-payload": w.dealing.header,
        "ack-payload": AckPayload(EPOCH, 2, 3, digest("deal", encode(w.dealing.header))),
        "reveal-payload": w.reveal(1)[0],
        "join-payload": w.join,
        "accept-payload": Accept(w.chain_id),
        "peer-addrs-payload": w.announcement,
    }
    return [_record(name, record) for name, record in records.items()]


def objects() -> list[Golden]:
    """Return what is hashed, stored in blocks, or handed from person to person."""
    w = world()
    proof = RollProof(
        w.chain_id,
        EPOCH,
        6,
        digest("golden", b"close"),
        (OpenedSecret(2, 3, 0, digest("golden", b"secret")), OpenedSecret(3, 1, 63, b"")),
    )
    evidence = build_evidence(
        Domain.VOTE,
        w.vote(3, VoteKind.FINALIZE, VIEW, w.block),
        w.vote(3, VoteKind.NULLIFY, VIEW, NO_DIGEST),
    )
    invite = Invite(1, w.lobby_id, w.members[0].identity, w.join.secret, ADDRESSES[1], 0)
    records: dict[str, msgspec.Struct] = {
        "header": w.header,
        "body": w.body,
        "body genesis": Body(b"", (), (), ()),
        "certificate nullify": w.certificate(VoteKind.NULLIFY, VIEW, NO_DIGEST),
        "deal-certificate": w.deal_certificate(),
        "roll-proof": proof,
        "invite": invite,
        "final-header": w.final(),
        "epoch-step": decode_as(w.step(), EpochStep),
        "bundle": w.bundle(),
        "invite to a running table": Invite(
            2, w.chain_id, w.members[1].identity, w.join.secret, ADDRESSES[1], 1_800_086_400
        ),
    }
    encoded = [
        Golden("settle", "settle", w.settle(), Settle),
        Golden("evidence", "evidence", evidence, Evidence),
        Golden("evidence two dealings", "evidence", w.two_dealings(), Evidence),
        Golden("false-share", "false-share", w.false_share(), FalseShare),
    ]
    return [*(_record(name, record) for name, record in records.items()), *encoded]


def _message(number: Number | LobbyNumber, message: msgspec.Struct | bytes) -> Golden:
    name = number.name.lower().replace("_", "-")
    if isinstance(message, bytes):
        return Golden(name, "envelope", message, None, number)
    return Golden(name, name, encode(message), type(message), number)


def _record(name: str, record: msgspec.Struct) -> Golden:
    return Golden(name, name.partition(" ")[0], encode(record), type(record))


GROUPS = {
    "frames": frames,
    "lobby_frames": lobby_frames,
    "payloads": payloads,
    "objects": objects,
}


def all_goldens() -> list[Golden]:
    """Return every example."""
    return [golden for group in GROUPS.values() for golden in group()]
