"""PROTOCOL 9.3: what dealers and holders sign against themselves is proven, and nothing else is."""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from consensus.beacon import Beacon, BeaconState
from consensus.beacon_rolls import RevealPayload, SecretName, name_secrets
from consensus.dealing import Dealing, ack_payload
from consensus.effects import Now
from consensus.encoding import decode_as, digest, encode
from consensus.evidence import (
    Evidence,
    FalseShare,
    Offence,
    OffenceKind,
    build_evidence,
    build_false_share,
    epoch_of,
    is_evidence,
    verify_evidence,
)
from consensus.merkle import MerkleTree
from consensus.messages import Number, SystemItems, frame
from consensus.signing import Domain, parse_envelope, sign_envelope, verify
from consensus.validators import ValidatorIndex
from tests.consensus.beacon_network import (
    CHAIN,
    Table,
    certify,
    kinds,
    make_context,
    make_dealing,
    make_signers,
    no_reports,
    proven,
    sign_deal,
)

N = 4
VALIDATORS = make_context(N).validators
SIGNERS = make_signers(N)
DEALING = make_dealing(N, 2, 5, epoch=1)
OTHER = make_dealing(N, 2, 6, epoch=1)


def check(proof: bytes, *, epoch: int = 1, chain: bytes = CHAIN) -> Offence | str:
    return verify_evidence(proof, VALIDATORS, chain, epoch, verify)


def signed(signer: int, domain: Domain, payload: object) -> bytes:
    data = payload if isinstance(payload, bytes) else encode(payload)
    return sign_envelope(SIGNERS[signer], domain, CHAIN, data)


def header(signer: int = 2, **fields: Any) -> bytes:
    return signed(signer, Domain.DEAL, msgspec.structs.replace(DEALING.header, **fields))


def ack(signer: int = 3, **fields: Any) -> bytes:
    return signed(
        signer, Domain.ACK, ack_payload(msgspec.structs.replace(DEALING.header, **fields))
    )


NAMES = (
    SecretName(2, 5, 9, DEALING.header.root),
    SecretName(2, 6, 0, OTHER.header.root),
)


def path_of(index: int, holder: int) -> tuple[bytes, ...]:
    tree = DEALING._trees[index]
    return (
        tree.root(),
        *tree.proof(holder),
        *MerkleTree(DEALING._roots).proof(index),
    )


def reveal(signer: int = 1, **fields: Any) -> bytes:
    shares = (DEALING.shares[9][0], OTHER.shares[0][1])
    payload = RevealPayload(1, 7, digest("block", b"close"), name_secrets(NAMES), shares)
    return signed(signer, Domain.REVEAL, msgspec.structs.replace(payload, **fields))


def false_share(**fields: Any) -> FalseShare:
    """Return the proof that holder 1 showed holder 0's share, changed in some fields."""
    proof = build_false_share(reveal(), NAMES, 0, DEALING.leaves[9][1], path_of(9, 1))
    return msgspec.structs.replace(decode_as(proof, FalseShare), **fields)


TWO_ROOTS: dict[str, Any] = {"root": digest("another", b"root")}


def test_two_headers_and_a_false_share_are_offences_of_their_signer() -> None:
    found = [
        check(build_evidence(Domain.DEAL, header(), header(**TWO_ROOTS))),
        check(encode(false_share())),
    ]
    assert found == [
        Offence(offender=ValidatorIndex(2), kind=OffenceKind.TWO_DEALINGS, epoch=1, at=5),
        Offence(offender=ValidatorIndex(1), kind=OffenceKind.FALSE_SHARE, epoch=1, at=7),
    ]


def pair(about: int, one: bytes, other: bytes) -> bytes:
    first, second = sorted((one, other), key=lambda half: parse_envelope(half).payload)
    return encode(Evidence(3, about, first, second))


HONEST_OR_NOTHING: dict[str, Callable[[], bytes]] = {
    "the same header twice": lambda: pair(Domain.DEAL, header(), header()),
    "headers of two batches": lambda: pair(Domain.DEAL, header(), header(batch=6, **TWO_ROOTS)),
    "headers of two epochs": lambda: pair(Domain.DEAL, header(), header(epoch=2, **TWO_ROOTS)),
    "headers of two dealers": lambda: pair(Domain.DEAL, header(), header(1, **TWO_ROOTS)),
    "a header in another's name": lambda: pair(Domain.DEAL, header(1), header(1, **TWO_ROOTS)),
    "headers out of order": lambda: encode(
        Evidence(
            3,
            Domain.DEAL,
            *sorted(
                (header(), header(**TWO_ROOTS)),
                reverse=True,
                key=lambda h: parse_envelope(h).payload,
            ),
        )
    ),
    "an unsigned header": lambda: pair(
        Domain.DEAL, header(), header(**TWO_ROOTS)[:-64] + bytes(64)
    ),
    "acks called votes": lambda: pair(Domain.VOTE, ack(), ack(**TWO_ROOTS)),
    "acks called reveals": lambda: pair(Domain.REVEAL, ack(), ack(**TWO_ROOTS)),
    "actions": lambda: pair(Domain.ACTION, header(), header(**TWO_ROOTS)),
    "two acks of one batch": lambda: pair(Domain.ACK, ack(), ack(**TWO_ROOTS)),
    "another item": lambda: encode(
        msgspec.structs.replace(
            decode_as(pair(Domain.DEAL, header(), header(**TWO_ROOTS)), Evidence), item=2
        )
    ),
    "a true share": lambda: encode(
        false_share(reveal=reveal(shares=(DEALING.shares[9][1], OTHER.shares[0][1])))
    ),
    "no share": lambda: encode(false_share(reveal=reveal(shares=(b"", b"")))),
    "an unsigned reveal": lambda: encode(false_share(reveal=reveal()[:-64] + bytes(64))),
    "a reveal of a stranger": lambda: encode(
        false_share(
            reveal=sign_envelope(
                make_signers(9)[0], Domain.REVEAL, CHAIN, parse_envelope(reveal()).payload
            )
        )
    ),
    "a reveal called an ack": lambda: encode(
        false_share(reveal=signed(1, Domain.ACK, parse_envelope(reveal()).payload))
    ),
    "another holder's leaf": lambda: encode(
        false_share(leaf=DEALING.leaves[9][0], path=path_of(9, 0))
    ),
    "another secret's leaf": lambda: encode(
        false_share(leaf=DEALING.leaves[8][1], path=path_of(8, 1))
    ),
    "another secret of the roll": lambda: encode(false_share(at=1)),
    "a secret that there is not": lambda: encode(false_share(at=2)),
    "secrets that it did not sign": lambda: encode(
        false_share(secrets=(msgspec.structs.replace(NAMES[0], index=8), NAMES[1]))
    ),
    "fewer secrets than shares": lambda: encode(
        false_share(secrets=NAMES[:1], reveal=reveal(secrets=name_secrets(NAMES[:1])))
    ),
    "no path": lambda: encode(false_share(path=())),
    "a longer path": lambda: encode(false_share(path=(*path_of(9, 1), bytes(32)))),
    "a reveal of another epoch": lambda: encode(false_share(reveal=reveal(epoch=2))),
    "another false item": lambda: encode(false_share(item=1)),
    "nothing": lambda: b"",
}


@pytest.mark.parametrize("what", HONEST_OR_NOTHING)
def test_what_an_honest_node_may_sign_or_did_not_sign_proves_nothing(what: str) -> None:
    assert isinstance(check(HONEST_OR_NOTHING[what]()), str)


@pytest.mark.parametrize("proof", [
    build_evidence(Domain.DEAL, header(), header(**TWO_ROOTS)),
    encode(false_share()),
])  # fmt: skip
def test_a_proof_is_of_one_chain_epoch_and_set_of_voters(proof: bytes) -> None:
    assert is_evidence(proof)
    assert epoch_of(proof) == 1
    assert not isinstance(check(proof), str)
    assert isinstance(check(proof, epoch=0), str)
    assert isinstance(check(proof, chain=digest("chain", b"another")), str)
    strangers = make_context(7).validators
    known = [kid for kid in strangers.kids if kid in VALIDATORS.kids]
    if not known:
        assert isinstance(verify_evidence(proof, strangers, CHAIN, 1, verify), str)


@given(data=st.data())
@settings(max_examples=150)
def test_a_proof_with_any_changed_bit_proves_nothing(data: st.DataObject) -> None:
    proof = data.draw(st.sampled_from(PROOFS))
    at, bit = data.draw(st.integers(0, len(proof) - 1)), data.draw(st.integers(0, 7))
    spoiled = proof[:at] + bytes((proof[at] ^ 1 << bit,)) + proof[at + 1 :]
    assert isinstance(check(spoiled), str)


PROOFS = [
    build_evidence(Domain.DEAL, header(), header(**TWO_ROOTS)),
    encode(false_share()),
]


# A framer has everything that honest nodes ever signed.


def statements(table: Table) -> dict[Domain, list[bytes]]:
    """Return every deal header, ack and reveal that a table's nodes sent, each once."""
    said: dict[Domain, dict[bytes, None]] = {Domain.DEAL: {}, Domain.ACK: {}, Domain.REVEAL: {}}
    for _, _, data in table.sent:
        match Number(data[0]):
            case Number.DEAL:
                envelope = decode_as(data[1:], tuple[bytes, bytes, bytes])[0]
                said[Domain.DEAL][envelope] = None
            case Number.ACK | Number.REVEAL:
                said[Domain(data[0])][data[1:]] = None
            case _:
                pass
    return {domain: list(envelopes) for domain, envelopes in said.items()}


def test_no_two_things_that_honest_nodes_sign_over_all_their_lives_exclude_each_other() -> None:
    table = Table(N, seed=3, jitter_ms=200)
    lost = iter(range(10**9))
    table.spoil = lambda _to, _sender, data: () if next(lost) % 5 == 0 else (data, data)
    for round_ in range(12):
        table.run(300)
        table.block(close=table.state.can_close())
        table.crash(round_ % N)
        table.run(50)
        table.restart(round_ % N)
    for _ in range(3):
        table.run(4_000)
        table.block(close=table.state.can_close())
    assert table.settled
    said = statements(table)
    assert all(len(envelopes) > N for envelopes in said.values()), kinds(table.sent)
    everything = [envelope for envelopes in said.values() for envelope in envelopes]
    for one, other in product(everything, repeat=2):
        for about in (Domain.VOTE, Domain.DEAL, Domain.ACK):
            assert isinstance(check_pair(about, one, other), str)
    for node in range(N):
        assert table.nodes[node].beacon.evidence == ()
    no_reports(table)


def check_pair(about: Domain, one: bytes, other: bytes) -> Offence | str:
    proof = encode(Evidence(3, about, one, other))
    return verify_evidence(proof, VALIDATORS, CHAIN, 0, verify)


def test_no_honest_reveal_is_false_beside_whatever_was_dealt() -> None:
    table = Table(N)
    table.stock()
    for _ in range(3):
        table.roll()
    reveals = statements(table)[Domain.REVEAL]
    assert len(reveals) == 3 * N
    pending_names = [
        tuple(
            SecretName(d, 0, index, table.nodes[0].beacon._held[d, 0].shares.header.root)
            for d in range(N)
        )
        for index in range(3)
    ]
    tried = 0
    for envelope, names, at, holder in product(reveals, pending_names, range(N), range(N)):
        held = table.nodes[holder].beacon._held[names[at].dealer, 0].shares
        for index in range(4):
            leaf = table.context.leaf_scheme(names[at].dealer, 0).leaf(
                index, holder, held.shares[index]
            )
            proof = build_false_share(envelope, names, at, leaf, held.path(index))
            assert isinstance(verify_evidence(proof, VALIDATORS, CHAIN, 0, verify), str)
            tried += 1
    assert tried == 3 * N * 3 * N * N * 4


# Who notices.


def deal_to(table: Table, to: int, dealer: int, **fields: Any) -> None:
    """Let the `dealer`, whose machine is down, show a holder another header of its batch 0."""
    dealing = make_dealing(table.n, dealer)
    dealing.header = msgspec.structs.replace(dealing.header, **fields)
    message = dealing.seal(to, table.box_keys[to], sign_deal(dealing, table.n))
    assert message is not None
    table.deliver(to, dealer, frame(Number.DEAL, message))


def test_a_second_header_is_noticed_though_the_box_of_neither_opens() -> None:
    table = Table(N)
    table.crash(2)
    for root in (bytes(32), bytes([1]) * 32):
        deal_to(table, 0, 2, root=root)
    assert proven(table, 0) == [(2, OffenceKind.TWO_DEALINGS)]


def test_a_second_header_is_noticed_in_a_certificate_and_in_a_block() -> None:
    table = Table(N)
    for node in (2, 3):
        table.crash(node)
    for holder in (0, 1):
        deal_to(table, holder, 2)
    other = make_dealing(N, 2, epoch=0)
    other.header = msgspec.structs.replace(other.header, root=digest("another", b"root"))
    certificate = encode(certify(other, N, (0, 1, 2, 3)))
    table.deliver(0, 1, frame(Number.SYSTEM_ITEMS, SystemItems((certificate,))))
    assert proven(table, 0) == [(2, OffenceKind.TWO_DEALINGS)]
    no_reports(table)
    state = table.state.fork()
    assert state.add_certificate(certificate) is None
    table.nodes[1].beacon.finalized(
        state, table.now, block=bytes(32), wanted=True, items=(certificate,)
    )
    assert proven(table, 1) == [(2, OffenceKind.TWO_DEALINGS)]


def test_a_second_header_is_noticed_though_the_first_is_on_the_chain() -> None:
    table = Table(N)
    table.stock()
    deal_to(table, 0, 2, root=bytes(32))
    assert proven(table, 0) == [(2, OffenceKind.TWO_DEALINGS)]


def lies(table: Table, holder: int, shares: Sequence[bytes] | None = None) -> bytes:
    data = next(
        data
        for _, sender, data in reversed(table.sent)
        if sender == holder and data[0] == Number.REVEAL
    )
    truth = decode_as(parse_envelope(data[1:]).payload, RevealPayload)
    lie = msgspec.structs.replace(truth, shares=tuple(shares or (bytes(32),) * len(truth.shares)))
    return sign_envelope(table.signers[holder], Domain.REVEAL, CHAIN, encode(lie))


@pytest.mark.parametrize("share", [bytes(32), b"\xff" * 32, bytes(31)])
def test_a_false_share_is_proven_though_the_roll_is_open_or_it_is_no_share_at_all(
    share: bytes,
) -> None:
    table = Table(N)
    table.stock()
    table.spoil = lambda _to, sender, data: () if sender == 3 else (data,)
    table.block(close=True)
    table.run(100)
    beacon = table.nodes[0].beacon
    assert beacon.items(table.state)
    table.deliver(0, 3, frame(Number.REVEAL, lies(table, 3, [share] * N)))
    assert proven(table, 0) == [(3, OffenceKind.FALSE_SHARE)]


def test_a_false_share_that_came_before_its_close_is_proven_when_it_is_final() -> None:
    table = Table(N)
    table.stock()
    table.block(close=True)
    late = lies(table, 3)
    table = Table(N)
    table.stock()
    table.deliver(0, 3, frame(Number.REVEAL, late))
    table.spoil = lambda _to, sender, data: () if sender == 3 else (data,)
    table.block(close=True)
    table.run(5_000)
    assert proven(table, 0) == [(3, OffenceKind.FALSE_SHARE)]


def test_a_false_share_is_proven_though_a_block_opens_the_roll_before_this_node_can() -> None:
    table = Table(N)
    table.stock()
    table.spoil = lambda to, sender, data: () if 3 in {to, sender} or to == 0 else (data,)
    table.block(close=True)
    table.deliver(0, 3, frame(Number.REVEAL, lies(table, 3)))
    table.run(100)
    beacon = table.nodes[0].beacon
    assert not beacon.items(table.state)  # it has its own share and a false one
    [item] = table.nodes[1].beacon.items(table.state)
    state = BeaconState.from_leaves(beacon._context, table.state.leaves())
    state.bind(table.hash)
    assert not isinstance(state.settle(item), str)
    beacon.finalized(state, table.now, block=bytes(32), wanted=False, items=(item,))
    assert proven(table, 0) == [(3, OffenceKind.FALSE_SHARE)]


def test_who_was_dealt_something_else_than_the_chain_holds_shows_none_of_it() -> None:
    table = Table(N)
    table.crash(2)
    deal_to(table, 0, 2)
    other = make_dealing(N, 2, batch=0, epoch=0)
    twin = type(other)(CHAIN, 0, 2, 0, t=3, n=N, entropy=digest("entropy", b"twin"))
    for holder in (1, 3):
        message = twin.seal(holder, table.box_keys[holder], sign_deal(twin, N))
        assert message is not None
        table.deliver(holder, 2, frame(Number.DEAL, message))
    state = table.state.fork()
    assert state.add_certificate(encode(certify(twin, N, (1, 2, 3), (0,)))) is None
    table.adopt(state)
    table.stock()
    settled = table.roll(5_000)
    assert settled is not None
    assert settled.faulty == ()
    reveal_0 = next(data for _, sender, data in table.sent if (sender, data[0]) == (0, 5))
    shares = decode_as(parse_envelope(reveal_0[1:]).payload, RevealPayload).shares
    assert [bool(share) for share in shares] == [True, True, False, True]
    for node in (0, 1, 3):
        assert {offender for offender, _ in proven(table, node)} <= {2}
        assert {report.peer for report in table.nodes[node].reports} <= {2}


def test_a_late_ack_with_a_key_of_the_epoch_before_is_nobodys_fault() -> None:
    table = Table(N)
    table.run(10)
    current = table.nodes[0].beacon._dealer.current
    assert current is not None
    late = ack_payload(msgspec.structs.replace(current[0], epoch=1))
    old_key = next(key for key in make_signers(7) if key.public_key not in VALIDATORS.keys)
    said = sign_envelope(old_key, Domain.ACK, CHAIN, late)
    table.deliver(0, 3, frame(Number.ACK, said))
    no_reports(table)


def test_a_holder_set_back_between_two_dealings_of_a_liar_is_not_blamed_for_its_acks() -> None:
    """It has no way to know of the first one; the dealer alone signed what nobody may."""
    table = Table(N, wanted=False)
    table.crash(2)
    acks, headers = [], []
    for entropy in (digest("entropy", b"first"), digest("entropy", b"second")):
        dealing = Dealing(CHAIN, 0, 2, 0, t=3, n=N, entropy=entropy)
        headers.append(sign_deal(dealing, N))
        message = dealing.seal(1, table.box_keys[1], headers[-1])
        assert message is not None
        table.sent.clear()
        table.deliver(1, 2, frame(Number.DEAL, message))
        [(_, _, said)] = table.sent
        acks.append(said[1:])
        table.nodes[1].disk.clear()
        table.restart(1)
    assert parse_envelope(acks[0]).payload != parse_envelope(acks[1]).payload
    assert isinstance(check(pair(Domain.ACK, *acks), epoch=0), str)
    blamed = check(build_evidence(Domain.DEAL, *headers), epoch=0)
    assert blamed == Offence(
        offender=ValidatorIndex(2), kind=OffenceKind.TWO_DEALINGS, epoch=0, at=0
    )


def forgetful(table: Table, node: int, *, disk: bool) -> None:
    """Restart a node that knows that it may have forgotten something."""
    table.nodes[node].beacon = Beacon(
        make_context(N),
        ValidatorIndex(node),
        table.signers[node],
        table.box_secrets[node],
        table.box_keys,
        table.nodes[node].disk if disk else (),
    )
    table.nodes[node].beacon.remember(Now(0, 0), everything=False)
    table.sent.clear()
    table.finalize_at(node)


@pytest.mark.parametrize("disk", [True, False])
def test_who_may_have_forgotten_what_it_published_deals_nothing(disk: bool) -> None:
    table = Table(N)
    table.stock()
    forgetful(table, 1, disk=disk)
    for _ in range(40):
        table.roll()
    said = kinds([sent for sent in table.sent if sent[1] == 1])
    assert (said["REVEAL"] > 40) == disk
    assert not said["DEAL"]


def test_who_may_have_forgotten_something_does_not_go_on_with_a_dealing() -> None:
    table = Table(N, spoil=lambda _to, _sender, _data: ())
    table.run(10)
    forgetful(table, 1, disk=True)
    table.spoil = lambda _to, _sender, data: (data,)
    table.run(5_000)
    said = kinds([sent for sent in table.sent if sent[1] == 1])
    assert not said["DEAL"]


def test_who_learns_that_it_may_have_forgotten_something_says_no_more_of_its_dealing() -> None:
    table = Table(N, spoil=lambda _to, _sender, _data: ())
    table.run(10)
    beacon = table.nodes[1].beacon
    assert beacon._dealer.current is not None
    beacon.remember(table.now, everything=False)
    table.sent.clear()
    table.spoil = lambda _to, _sender, data: (data,)
    table.run(5_000)
    said = kinds([sent for sent in table.sent if sent[1] == 1])
    assert not said["DEAL"]
    beacon.remember(table.now, everything=True)
    table.perform(1)
    table.run(5_000)
    assert kinds([sent for sent in table.sent if sent[1] == 1])["DEAL"]
