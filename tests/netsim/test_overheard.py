"""PROTOCOL 9.3, restated: what a node heard of a cheat proves something, or need not be kept."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from consensus.beacon_items import DealCertificate, Opening, Settle
from consensus.beacon_rolls import RevealPayload
from consensus.dealing import DealHeader, Dealing
from consensus.effects import SharesLogged
from consensus.encoding import digest, encode
from consensus.messages import (
    NO_DIGEST,
    Body,
    Certificate,
    DealMessage,
    Flag,
    Header,
    Number,
    Proposal,
    RevealPaths,
    VoteKind,
    block_hash,
    body_hash,
    frame,
    parse_frame,
    vote_payload,
)
from consensus.shamir import ELEMENT_BYTES
from consensus.signing import Domain, PublicKey, SigningKey, parse_envelope, sign_envelope, verify
from consensus.validators import bitmap
from netsim.overheard import Charge, Overheard, Standing, share_at

CHAIN = digest("simulated", b"attribution")
KEYS = [SigningKey(bytes((i,)) * 32) for i in range(4)]
ME, CHEAT = 0, 3
A, B = digest("a", b""), digest("b", b"")
NOTARIZE, NULLIFY, FINALIZE = VoteKind.NOTARIZE, VoteKind.NULLIFY, VoteKind.FINALIZE
AT = Standing(
    host=ME,
    boot=1,
    epoch=2,
    view=7,
    final_view=5,
    next_batches=(4, 4, 4, 4),
    next_roll=9,
    pending=(7, 8),
)


class Voters:
    """Four voters in the epochs 1 and 2, by host; the cheat leads every view."""

    def keys_at(self, epoch: int) -> Sequence[tuple[int, PublicKey]]:
        return [(i, key.public_key) for i, key in enumerate(KEYS)] if epoch in {1, 2} else []

    def leader_at(self, epoch: int, view: int) -> int:
        del epoch, view
        return CHEAT


@pytest.fixture
def watch() -> Overheard:
    return Overheard(CHAIN, verify, Voters(), [CHEAT])


def heard(watch: Overheard, at: Standing, sender: int, *frames: bytes) -> list[str]:
    """Return of what kinds of offences the cheat, and nobody else, can be proven in the end."""
    charges = [charge for data in frames for charge in watch.hears(at, sender, data)]
    assert {charge.offender for charge in charges} <= {CHEAT}
    return [charge.of for charge in charges]


def vote(kind: VoteKind, about: bytes, *, view: int = 7, epoch: int = 2) -> bytes:
    payload = vote_payload(kind, epoch, view, about)
    return frame(Number.VOTE, sign_envelope(KEYS[CHEAT], Domain.VOTE, CHAIN, payload))


def spoiled(data: bytes) -> bytes:
    return data[:-1] + bytes((data[-1] ^ 1,))


PAIRS = [
    (NOTARIZE, A, NOTARIZE, B, True),
    (FINALIZE, A, FINALIZE, B, True),
    (NULLIFY, NO_DIGEST, FINALIZE, A, True),
    (FINALIZE, A, NULLIFY, NO_DIGEST, True),
    (NOTARIZE, A, NOTARIZE, A, False),
    (NOTARIZE, A, FINALIZE, A, False),
    (NOTARIZE, A, FINALIZE, B, False),
    (NOTARIZE, A, NULLIFY, NO_DIGEST, False),
    (NULLIFY, NO_DIGEST, NULLIFY, NO_DIGEST, False),
]


@pytest.mark.parametrize(("kind", "about", "other", "other_about", "proves"), PAIRS)
def test_two_votes_prove_a_cheat_exactly_if_they_exclude_each_other(
    watch: Overheard,
    kind: VoteKind,
    about: bytes,
    other: VoteKind,
    other_about: bytes,
    proves: bool,
) -> None:
    assert not heard(watch, AT, CHEAT, vote(kind, about))
    assert bool(heard(watch, AT, CHEAT, vote(other, other_about))) == proves


@pytest.mark.parametrize(
    ("at", "sender", "data"),
    [
        (AT, CHEAT, vote(NOTARIZE, B, view=6)),  # another view
        (AT, 2, vote(NOTARIZE, B)),  # of somebody else, passed on
        (AT, CHEAT, vote(NOTARIZE, B)[:-1]),
        (AT, CHEAT, spoiled(vote(NOTARIZE, B))),
        (AT, CHEAT, vote(NOTARIZE, B, epoch=1)),
        (replace(AT, boot=2), CHEAT, vote(NOTARIZE, B)),  # the first went with the power
        (replace(AT, host=1), CHEAT, vote(NOTARIZE, B)),  # two hosts, half of it each
        (replace(AT, final_view=7), CHEAT, vote(NOTARIZE, B)),  # over
        (replace(AT, view=5), CHEAT, vote(NOTARIZE, B)),  # too far ahead to be kept
    ],
)
def test_what_a_node_may_miss_or_cannot_prove_is_owed_by_nobody(
    watch: Overheard, at: Standing, sender: int, data: bytes
) -> None:
    assert not heard(watch, AT, CHEAT, vote(NOTARIZE, A))
    assert not heard(watch, at, sender, data)


def test_only_votes_that_their_own_voter_sends_are_counted() -> None:
    two_cheats = Overheard(CHAIN, verify, Voters(), [2, CHEAT])
    assert not heard(two_cheats, AT, CHEAT, vote(FINALIZE, A), vote(NULLIFY, B))  # no vote at all
    assert not heard(two_cheats, AT, 2, vote(NOTARIZE, A), vote(NOTARIZE, B))


# Votes in blocks and certificates.


def proposal(time_ms: int, view: int = 7, body: Body | None = None, **fields: Any) -> bytes:
    body = body or Body(b"", (), (), ())
    header = Header(
        version=1,
        chain_id=CHAIN,
        epoch=2,
        view=view,
        height=3,
        time_ms=time_ms,
        parent_view=6,
        parent_hash=A,
        proposer=CHEAT,
        flags=Flag.PLAIN,
        body_hash=body_hash(body),
        state_root=A,
        receipts_root=A,
    )
    data = encode(msgspec.structs.replace(header, **fields))
    payload = vote_payload(NOTARIZE, 2, view, block_hash(data))
    said = sign_envelope(KEYS[CHEAT], Domain.VOTE, CHAIN, payload)
    return frame(Number.PROPOSAL, Proposal(data, encode(body), said))


def test_a_second_block_of_a_view_holds_a_second_vote(watch: Overheard) -> None:
    assert heard(watch, AT, CHEAT, proposal(1), proposal(2)) == ["votes"]
    assert heard(watch, AT, CHEAT, vote(NOTARIZE, B)) == ["votes"]


@pytest.mark.parametrize(
    ("at", "sender", "data"),
    [
        (AT, CHEAT, proposal(1)),
        (AT, CHEAT, proposal(2, body_hash=A)),  # nobody takes it for a block
        (AT, CHEAT, proposal(2, epoch=1)),
        (AT, 2, proposal(2)),  # not of this view's leader
        (replace(AT, final_view=7), CHEAT, proposal(2)),
        (replace(AT, view=6), CHEAT, proposal(2)),
        (AT, CHEAT, proposal(2)[:-1]),
    ],
)
def test_a_block_that_is_not_looked_at_holds_no_vote(
    watch: Overheard, at: Standing, sender: int, data: bytes
) -> None:
    assert not heard(watch, AT, CHEAT, proposal(1))
    assert not heard(watch, at, sender, data)


def certificate(
    kind: VoteKind, about: bytes, signers: Sequence[int] = (1, 2, CHEAT), view: int = 7
) -> Certificate:
    payload = vote_payload(kind, 2, view, about)
    signed = [sign_envelope(KEYS[i], Domain.VOTE, CHAIN, payload) for i in signers]
    signatures = tuple(parse_envelope(one).signature for one in signed)
    return Certificate(kind, 2, view, about, bitmap(signers, 4), signatures)


def test_a_certificate_holds_its_signers_votes_whoever_shows_it(watch: Overheard) -> None:
    shown = frame(Number.CERTIFICATE, certificate(NOTARIZE, A))
    assert not heard(watch, AT, 1, shown)  # nothing to stand against
    assert not heard(watch, AT, CHEAT, vote(NOTARIZE, B))
    for sender in (1, CHEAT):
        assert heard(watch, AT, sender, shown) == ["votes"]


@pytest.mark.parametrize(
    ("at", "shown"),
    [
        (AT, certificate(NOTARIZE, B)),
        (AT, certificate(NOTARIZE, A, (0, 1, 2))),
        (AT, certificate(NOTARIZE, A, (1, CHEAT))),  # of too few
        (AT, certificate(NOTARIZE, A, view=6)),
        (replace(AT, final_view=7), certificate(NOTARIZE, A)),
        (
            AT,
            msgspec.structs.replace(
                certificate(NOTARIZE, A), signatures=certificate(NOTARIZE, B).signatures
            ),
        ),
        (AT, msgspec.structs.replace(certificate(NOTARIZE, A), signers=b"\x1e")),
    ],
)
def test_a_certificate_that_proves_nothing_is_no_vote(
    watch: Overheard, at: Standing, shown: Certificate
) -> None:
    assert not heard(watch, AT, CHEAT, vote(NOTARIZE, B))
    assert not heard(watch, at, 1, frame(Number.CERTIFICATE, shown))


def test_who_votes_for_a_block_has_read_the_certificates_in_it(watch: Overheard) -> None:
    body = Body(encode(certificate(NOTARIZE, A, view=6)), (), (), ())
    block = proposal(1, body=body)
    assert not heard(watch, AT, CHEAT, vote(NOTARIZE, B, view=6), block)
    _, message = parse_frame(block)
    assert isinstance(message, Proposal)
    about = block_hash(message.header)
    spoilt = frame(Number.PROPOSAL, Proposal(message.header, b"\x80", message.vote))
    assert not heard(watch, AT, CHEAT, spoilt)  # is not the body that the header names
    for kind, signer, proves in (
        (NULLIFY, ME, False), (NOTARIZE, CHEAT, False), (NOTARIZE, ME, True),
    ):  # fmt: skip
        payload = vote_payload(kind, 2, 7, NO_DIGEST if kind is NULLIFY else about)
        said = sign_envelope(KEYS[signer], Domain.VOTE, CHAIN, payload)
        found = watch.says(ME, 1, frame(Number.VOTE, said))
        assert found == ([Charge(CHEAT, "votes")] if proves else [])


# The dice.


def deal(batch: int = 4, root: bytes = A, *, dealer: int = CHEAT, signer: int = CHEAT) -> bytes:
    header = DealHeader(2, dealer, batch, 64, root)
    return sign_envelope(KEYS[signer], Domain.DEAL, CHAIN, encode(header))


def boxed(envelope: bytes) -> bytes:
    return frame(Number.DEAL, DealMessage(envelope, bytes(32), b"box"))


def test_two_headers_of_one_batch_are_two_dealings(watch: Overheard) -> None:
    assert heard(watch, AT, CHEAT, boxed(deal()), boxed(deal()), boxed(deal(5))) == []
    assert heard(watch, AT, CHEAT, boxed(deal(root=B))) == ["dealings"]


@pytest.mark.parametrize(
    ("at", "sender", "data"),
    [
        (AT, CHEAT, boxed(deal(5, B))),
        (AT, 2, boxed(deal(root=B))),
        (AT, CHEAT, boxed(deal(root=B, signer=2))),
        (AT, CHEAT, boxed(deal(root=B, dealer=2))),
        (AT, CHEAT, boxed(spoiled(deal(root=B)))),
        (replace(AT, next_batches=(4, 4, 4, 5)), CHEAT, boxed(deal(root=B))),
        (replace(AT, next_batches=(4, 4, 4, 2)), CHEAT, boxed(deal(root=B))),
        (replace(AT, boot=2), CHEAT, boxed(deal(root=B))),
        (replace(AT, epoch=1), CHEAT, boxed(deal(root=B))),
    ],
)
def test_a_header_that_need_not_be_kept_or_is_not_the_dealers_is_no_second_one(
    watch: Overheard, at: Standing, sender: int, data: bytes
) -> None:
    assert not heard(watch, AT, CHEAT, boxed(deal()))
    assert not heard(watch, at, sender, data)


def test_a_header_stands_against_one_on_the_disk_in_every_life(watch: Overheard) -> None:
    watch.keeps(ME, SharesLogged(epoch=2, dealer=CHEAT, batch=4, deal=deal(), shares=b""))
    later = replace(AT, boot=2)
    assert heard(watch, later, CHEAT, boxed(deal())) == []
    assert heard(watch, later, CHEAT, boxed(deal(root=B))) == ["dealings"]


def final(watch: Overheard, *items: bytes, boot: int = 1) -> list[Charge]:
    return list(watch.finalizes(ME, boot, 2, Body(b"", (), items, ())))


def test_a_header_stands_against_one_in_a_final_block(watch: Overheard) -> None:
    assert not heard(watch, AT, CHEAT, boxed(deal()))
    same, other = (
        encode(DealCertificate(1, deal(root=root), b"\x0f", (), b"\0", b"")) for root in (A, B)
    )
    assert final(watch, same) == []
    assert final(watch, other) == [Charge(CHEAT, "dealings")]
    assert final(watch, other, boot=2) == []


DEALING = Dealing(CHAIN, 2, 1, 4, t=3, n=4, entropy=A)
TRUE, FALSE = DEALING.shares[0][CHEAT], bytes(ELEMENT_BYTES)


def reveal(share: bytes, holder: int = CHEAT, roll: int = 8, secrets: bytes = B) -> bytes:
    payload = encode(RevealPayload(2, roll, A, secrets, (share,)))
    return frame(Number.REVEAL, sign_envelope(KEYS[holder], Domain.REVEAL, CHAIN, payload))


def settle(roll: int = 8, fault: tuple[bytes, ...] = ()) -> bytes:
    shares = b"".join(DEALING.shares[0][j] for j in (0, 1, 2))
    opening = Opening(bitmap((0, 1, 2), 4), shares, bytes(6 * 32), fault)
    return encode(Settle(2, roll, (opening,)))


def test_a_share_is_worked_out_from_those_of_others() -> None:
    shares = DEALING.shares[7]
    for others in ((0, 1, 2), (1, 2, 3), (3, 0, 1)):
        for holder in range(4):
            assert share_at({j: shares[j] for j in others}, holder) == shares[holder]


@pytest.mark.parametrize("roll", [7, 8, 9, 16])
def test_a_share_that_was_not_dealt_is_false_once_the_roll_is_settled(
    watch: Overheard, roll: int
) -> None:
    watch.says(ME, 1, reveal(DEALING.shares[0][ME], ME, roll))
    assert not heard(watch, AT, CHEAT, reveal(FALSE, roll=roll))
    assert final(watch, settle(roll - 1)) == []
    assert final(watch, settle(roll)) == [Charge(CHEAT, "shares")]
    assert final(watch, settle(roll)) == []


WITH_PATHS = frame(Number.REVEAL_PATHS, RevealPaths(reveal(TRUE)[1:], ((),)))


@pytest.mark.parametrize(
    ("at", "frames", "item"),
    [
        (AT, [reveal(TRUE)], settle()),
        (AT, [reveal(b"")], settle()),
        (AT, [reveal(TRUE), reveal(FALSE)], settle()),  # the first counts
        (AT, [WITH_PATHS, reveal(FALSE)], settle()),
        (AT, [spoiled(reveal(FALSE)), reveal(FALSE)], settle()),
        (AT, [reveal(FALSE, secrets=A)], settle()),
        (AT, [reveal(FALSE, roll=6)], settle(6)),
        (AT, [reveal(FALSE, roll=17)], settle(17)),
        (AT, [reveal(FALSE, holder=2)], settle()),
        (AT, [reveal(FALSE)], settle(fault=(bytes(32),))),
        (replace(AT, boot=2), [reveal(FALSE)], settle()),
        (replace(AT, epoch=1), [reveal(FALSE)], settle()),
    ],
)
def test_a_reveal_that_is_true_or_useless_or_need_not_be_kept_proves_nothing(
    watch: Overheard, at: Standing, frames: Sequence[bytes], item: bytes
) -> None:
    for roll in (6, 8, 17):
        watch.says(ME, 1, reveal(DEALING.shares[0][ME], ME, roll))
    assert not heard(watch, at, CHEAT, *frames)
    assert final(watch, item) == []


def test_a_reveal_in_anothers_name_takes_no_place() -> None:
    watch = Overheard(CHAIN, verify, Voters(), [2, CHEAT])
    watch.says(ME, 1, reveal(DEALING.shares[0][ME], ME))
    assert not watch.hears(AT, 2, spoiled(reveal(FALSE)))
    assert not watch.hears(AT, 2, reveal(FALSE))
    assert final(watch, settle()) == [Charge(CHEAT, "shares")]
