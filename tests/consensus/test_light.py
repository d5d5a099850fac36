"""PROTOCOL 9.4: what a stranger takes for final, and everything that it does not."""

from collections.abc import Callable

import msgspec
import pytest

from consensus.encoding import encode
from consensus.light import (
    FinalHeader,
    Trusted,
    check_ancestry,
    check_final,
    trust_genesis,
    trust_next,
    validators_of,
)
from consensus.messages import BlockHash, Body, Flag, Header
from consensus.signing import verify
from consensus.validators import VALIDATORS_MAX
from tests.consensus.scenes import CHAIN_ID, FINALIZE, NOTARIZE, NULLIFY, Made, Scene

SCENE = Scene()
KEYS = [key.public_key for key in SCENE.keys]
FIRST = SCENE.block(1, names=(b"a",))
SECOND = SCENE.block(2, FIRST, names=(b"b",))


def trusted() -> Trusted:
    found = trust_genesis(CHAIN_ID, KEYS)
    assert isinstance(found, Trusted), found
    return found


def remade(made: Made, **fields: object) -> Made:
    return Made(msgspec.structs.replace(made.header, **fields), made.body)


def final(made: Made, *above: Made, view: int | None = None) -> FinalHeader:
    last = above[-1] if above else made
    certificate = SCENE.certificate(FINALIZE, view or last.header.view, last.hash)
    return FinalHeader(
        made.header_bytes, tuple(one.header_bytes for one in above), encode(certificate)
    )


def test_a_block_is_final_by_its_own_certificate_or_by_that_of_a_descendant() -> None:
    assert check_final(trusted(), final(FIRST), verify) == FIRST.header
    assert check_final(trusted(), final(FIRST, SECOND), verify) == FIRST.header


def forged() -> FinalHeader:
    good = SCENE.certificate(FINALIZE, 1, FIRST.hash)
    bad = msgspec.structs.replace(good, signatures=good.signatures[::-1])
    return FinalHeader(FIRST.header_bytes, (), encode(bad))


SEAL = remade(FIRST, flags=Flag.SEAL)
TAIL = remade(SECOND, flags=Flag.TAIL, parent_hash=SEAL.hash)
REFUSED: dict[str, tuple[Callable[[], FinalHeader], str]] = {
    "no header": (lambda: FinalHeader(b"\x80", (), b""), "a header does not parse"),
    "another table": (lambda: final(remade(FIRST, chain_id=bytes(32))), "of another table"),
    "another epoch": (lambda: final(remade(FIRST, epoch=1)), "of epoch 1, not 0"),
    "below the base": (lambda: final(remade(FIRST, height=0)), "not above the seal at 0"),
    "another base": (
        lambda: final(remade(FIRST, parent_hash=bytes(32))),
        "does not build on the block that its epoch begins on",
    ),
    "no child": (lambda: final(FIRST, remade(SECOND, parent_hash=bytes(32))), "another parent"),
    "a leap": (lambda: final(FIRST, remade(SECOND, height=3)), "in view 2 follows 1"),
    "no later view": (lambda: final(FIRST, remade(SECOND, view=1)), "in view 1 follows 1"),
    "behind a seal": (
        lambda: final(SEAL, remade(SECOND, parent_hash=SEAL.hash)),
        "follows the seal of its epoch",
    ),
    "a tail": (lambda: final(TAIL), "block 2 is a tail"),
    "no certificate": (
        lambda: FinalHeader(FIRST.header_bytes, (), b"\x80"),
        "its certificate does not parse",
    ),
    "notarized only": (
        lambda: FinalHeader(
            FIRST.header_bytes, (), encode(SCENE.certificate(NOTARIZE, 1, FIRST.hash))
        ),
        "its certificate is of NOTARIZE votes",
    ),
    "another view": (lambda: final(FIRST, view=2), "view 2, not of 0 and 1"),
    "swapped signatures": (
        forged,
        "with 3 signatures, is not signed by 3 of the 4 voters",
    ),
    "another block": (
        lambda: FinalHeader(
            FIRST.header_bytes, (), encode(SCENE.certificate(FINALIZE, 1, bytes([1]) * 32))
        ),
        "its certificate names another block",
    ),
}


@pytest.mark.parametrize("how", REFUSED)
def test_what_no_quorum_of_the_epoch_made_final_is_not(how: str) -> None:
    make, why = REFUSED[how]
    verdict = check_final(trusted(), make(), verify)
    assert isinstance(verdict, str)
    assert why in verdict


def test_a_seal_is_final_by_its_tail_and_leads_to_the_next_voters() -> None:
    assert check_final(trusted(), final(SEAL, TAIL), verify) == SEAL.header
    following = trust_next(trusted(), SEAL.header_bytes, KEYS[:3])
    assert isinstance(following, Trusted)
    assert (following.epoch, following.height, following.hash) == (1, 1, SEAL.hash)
    assert following.validators.n == 3
    assert trust_next(trusted(), FIRST.header_bytes, KEYS) == "block 1 does not seal its epoch"
    assert isinstance(trust_next(trusted(), SEAL.header_bytes, KEYS[::-1]), str)


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ([], "0 voters; an epoch has 1 to 128"),
        ([bytes(32)] * (VALIDATORS_MAX + 1), "129 voters"),
        (KEYS[::-1], "not in order of their keys"),
        ([KEYS[0], KEYS[0]], "two share a key id"),
        (sorted([bytes(32), *KEYS]), "not an acceptable Ed25519 key"),
    ],
)
def test_keys_that_can_be_no_voters_are_refused(keys: list[bytes], why: str) -> None:
    for verdict in (validators_of(keys, CHAIN_ID), trust_genesis(CHAIN_ID, keys)):
        assert isinstance(verdict, str)
        assert why in verdict


# Blocks that justify where they stand.


def ancestry(header: Header, body: Body, parent: Made | None = FIRST) -> str:
    base = trusted()
    below = (base.hash, None) if parent is None else (BlockHash(parent.hash), parent.header)
    return check_ancestry(base, below, header, body, verify)


def test_a_block_with_its_parents_certificate_and_each_skipped_view_stands() -> None:
    assert ancestry(FIRST.header, FIRST.body, parent=None) == ""
    assert ancestry(SECOND.header, SECOND.body) == ""
    later = SCENE.block(4, FIRST, names=(b"b",))
    assert ancestry(later.header, later.body) == ""


def test_a_block_that_lacks_any_of_it_does_not() -> None:
    later = SCENE.block(4, FIRST, names=(b"b",))
    header, body = later.header, later.body

    def changed(**fields: object) -> Header:
        return msgspec.structs.replace(header, **fields)

    def with_body(**fields: object) -> Body:
        return msgspec.structs.replace(body, **fields)

    other = encode(SCENE.certificate(NULLIFY, 9))
    for verdict, why in (
        (ancestry(changed(epoch=1), body), "of epoch 1"),
        (ancestry(changed(parent_hash=bytes(32)), body), "names another parent"),
        (ancestry(changed(parent_view=2), body), "on parent view 2"),
        (ancestry(changed(view=1), body), "of view 1 on parent view 1"),
        (ancestry(changed(proposer=(header.proposer + 1) % 4), body), "not by the leader"),
        (ancestry(header, with_body(skips=body.skips[:1])), "1 nullifications"),
        (ancestry(header, with_body(skips=(body.skips[0], other))), "the skipped view 3"),
        (ancestry(header, with_body(parent_cert=other)), "the parent of block 2"),
        (
            ancestry(FIRST.header, msgspec.structs.replace(FIRST.body, parent_cert=other), None),
            "certifies its parent",
        ),
    ):
        assert why in verdict, verdict
