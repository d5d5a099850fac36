"""PROTOCOL 13.2: a step leads from one epoch to the next, and no forged one leads anywhere."""

from collections.abc import Callable

import msgspec
import pytest

from consensus.encoding import encode
from consensus.light import FinalHeader, Trusted, trust_genesis
from consensus.merkle import EMPTY_ROOT
from consensus.messages import Flag
from consensus.signing import verify
from node.execution import receipts_root
from node.game.receipts import DONE, BlockResult
from node.steps import EpochStep, follow, step_of
from tests.consensus.scenes import CHAIN_ID, FINALIZE, Made, Scene

SCENE = Scene()
KEYS = tuple(key.public_key for key in SCENE.keys)
LEADER = SCENE.validators.leader


def trusted() -> Trusted:
    found = trust_genesis(CHAIN_ID, KEYS)
    assert isinstance(found, Trusted), found
    return found


def remade(made: Made, **fields: object) -> Made:
    return Made(msgspec.structs.replace(made.header, **fields), made.body)


def sealed(voters: tuple[bytes, ...] = KEYS[:3], tails: int = 2) -> tuple[EpochStep, FinalHeader]:
    """Return the step over a block that named these voters, final by itself or by the last tail."""
    result = BlockResult(1, 1, ((0, 1, (DONE,)), (2, 5, (DONE,))), (), (), voters=voters)
    first = remade(
        SCENE.block(1),
        flags=Flag.SEAL,
        receipts_root=receipts_root(result),
        proposer=LEADER(1),
        state_root=bytes([7]) * 32,
    )
    made = [first]
    for at in range(tails):
        below, view = made[-1].header, 3 + 2 * at
        tail = remade(
            SCENE.block(view, made[-1]),
            flags=Flag.TAIL,
            height=below.height + 1,
            parent_view=below.view,
            parent_hash=made[-1].hash,
            proposer=LEADER(view),
            state_root=first.header.state_root,
            receipts_root=EMPTY_ROOT,
        )
        made.append(tail)
    certificate = SCENE.certificate(FINALIZE, made[-1].header.view, made[-1].hash)
    path = tuple(tail.header_bytes for tail in made[1:])
    seal = FinalHeader(first.header_bytes, path, encode(certificate))
    return step_of(result, seal), seal


@pytest.mark.parametrize("tails", [0, 1, 2])
def test_a_step_leads_to_the_voters_that_the_seal_names(tails: int) -> None:
    step, seal = sealed(tails=tails)
    found = follow(trusted(), step, verify)
    assert not isinstance(found, str), found
    following, shown = found
    assert shown == seal
    assert (following.epoch, following.height) == (1, 1)
    assert following.validators.keys == KEYS[:3]


STEP = sealed()[0]
WRONG: dict[str, Callable[[], object]] = {
    "view": lambda: STEP.view + 1,
    "height": lambda: STEP.height + 1,
    "time_ms": lambda: STEP.time_ms + 1,
    "parent_view": lambda: STEP.parent_view + 1,
    "parent_hash": lambda: bytes(32),
    "body_hash": lambda: bytes(32),
    "state_root": lambda: bytes(32),
    "voters": lambda: KEYS,
    "receipts": lambda: STEP.receipts + 1,
    "path": lambda: (bytes(32), *STEP.path[1:]),
    "tails": lambda: STEP.tails[:-1],
    "signers": lambda: bytes([STEP.signers[0] ^ 0b1111]),
    "signatures": lambda: STEP.signatures[::-1],
}


def test_every_field_of_a_step_is_what_the_voters_signed() -> None:
    assert set(WRONG) == set(EpochStep.__struct_fields__)
    for field, wrong in WRONG.items():
        found = follow(trusted(), msgspec.structs.replace(STEP, **{field: wrong()}), verify)
        assert isinstance(found, str), field
        assert found.startswith("the seal of epoch 0: "), (field, found)


@pytest.mark.parametrize("field", ["view", "time_ms", "body_hash"])
def test_every_field_of_a_tail_is_what_the_voters_signed(field: str) -> None:
    first, last = STEP.tails
    value = getattr(first, field)
    wrong = bytes(32) if isinstance(value, bytes) else value + 1
    tails = (msgspec.structs.replace(first, **{field: wrong}), last)
    found = follow(trusted(), msgspec.structs.replace(STEP, tails=tails), verify)
    assert isinstance(found, str)
    assert "is not signed by" in found or "in view" in found


@pytest.mark.parametrize(("receipts", "path"), [(0, ()), (3, ()), (1, (bytes(32),))])
def test_a_path_that_leads_to_no_root_is_named(receipts: int, path: tuple[bytes, ...]) -> None:
    step = msgspec.structs.replace(STEP, receipts=receipts, path=path)
    assert follow(trusted(), step, verify) == (
        "the seal of epoch 0: the path from the voters leads to no receipts root"
    )


@pytest.mark.parametrize("voters", [KEYS[::-1], (KEYS[0], KEYS[0]), (bytes(32),)])
def test_keys_that_can_be_no_voters_are_not_followed_whoever_signed(
    voters: tuple[bytes, ...],
) -> None:
    found = follow(trusted(), sealed(voters)[0], verify)
    assert isinstance(found, str)
    assert found.startswith("the voters of epoch 1: ")
