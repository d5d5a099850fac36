"""The Noise handshake against vectors of other implementations."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from transport.noise import CipherState, Handshake, NoiseError

DATA = Path(__file__).parents[1] / "data/noise"
CACOPHONY = json.loads((DATA / "cacophony_xx_25519_chachapoly_sha256.json").read_text())
REKEYED = json.loads((DATA / "noiseprotocol_xx_with_rekey.json").read_text())
Vector = dict[str, Any]


def sides(vector: Vector, prologues: tuple[str, str] | None = None) -> tuple[Handshake, Handshake]:
    initiator, responder = (
        Handshake(
            initiator=role == "init",
            static=bytes.fromhex(vector[f"{role}_static"]),
            ephemeral=bytes.fromhex(vector[f"{role}_ephemeral"]),
            prologue=bytes.fromhex(prologues[at] if prologues else vector[f"{role}_prologue"]),
        )
        for at, role in enumerate(("init", "resp"))
    )
    return initiator, responder


def always(payload: bytes, _handshake_hash: bytes) -> bytes:
    """Return the payload whatever the hash is."""
    return payload


def exchange(vector: Vector, pair: tuple[Handshake, Handshake]) -> None:
    """Run the three handshake messages and compare each with the vector, in both directions."""
    for index, message in enumerate(vector["messages"][:3]):
        payload, ciphertext = (bytes.fromhex(message[k]) for k in ("payload", "ciphertext"))
        writer, reader = pair[index % 2], pair[1 - index % 2]
        assert writer.write(partial(always, payload)) == ciphertext
        assert reader.read(ciphertext)[0] == payload


@pytest.mark.parametrize("vector", [CACOPHONY, REKEYED], ids=["cacophony", "noiseprotocol"])
def test_handshake_messages_and_hash_are_those_of_others(vector: Vector) -> None:
    pair = sides(vector)
    exchange(vector, pair)
    assert pair[0].hash == pair[1].hash == bytes.fromhex(vector["handshake_hash"])


def test_transport_messages_are_those_of_cacophony() -> None:
    pair = sides(CACOPHONY)
    exchange(CACOPHONY, pair)
    ciphers = [side.split() for side in pair]
    assert len(CACOPHONY["messages"]) == 6
    for index, message in enumerate(CACOPHONY["messages"][3:], 3):
        payload, ciphertext = (bytes.fromhex(message[k]) for k in ("payload", "ciphertext"))
        assert ciphers[index % 2][0].encrypt(b"", payload) == ciphertext
        assert ciphers[1 - index % 2][1].decrypt(b"", ciphertext) == payload


def test_records_and_rekeying_of_each_direction_are_those_of_noiseprotocol() -> None:
    pair = sides(REKEYED)
    exchange(REKEYED, pair)
    sending = {role: side.split() for role, side in zip(("init", "resp"), pair, strict=True)}
    other = {"init": "resp", "resp": "init"}
    for record in REKEYED["transport"]:
        if role := record.get("rekey"):
            sending[role][0].rekey()
            sending[other[role]][1].rekey()
            continue
        role = record["from"]
        payload, ciphertext = (bytes.fromhex(record[k]) for k in ("payload", "ciphertext"))
        assert sending[role][0].encrypt(b"", payload) == ciphertext
        assert sending[other[role]][1].decrypt(b"", ciphertext) == payload


def advance(steps: int) -> tuple[Handshake, Handshake]:
    """Return both sides after the first `steps` messages, with empty payloads."""
    pair = sides(CACOPHONY)
    for index in range(steps):
        pair[1 - index % 2].read(pair[index % 2].write(lambda _: b""))
    return pair


@pytest.mark.parametrize("steps", [1, 2])
def test_every_altered_bit_of_an_encrypted_handshake_message_is_refused(steps: int) -> None:
    message = advance(steps)[steps % 2].write(lambda _: b"identity")
    for bit in range(8 * len(message)):
        altered = bytearray(message)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(NoiseError):
            advance(steps)[1 - steps % 2].read(bytes(altered))


def test_another_prologue_is_refused_with_the_first_encrypted_bytes() -> None:
    initiator, responder = sides(CACOPHONY, ("00", "01"))
    assert responder.read(initiator.write(lambda _: b""))[0] == b""
    with pytest.raises(NoiseError):
        initiator.read(responder.write(lambda _: b""))


def test_an_ephemeral_key_of_small_order_is_refused() -> None:
    _, responder = sides(CACOPHONY)
    responder.read(bytes(32))
    with pytest.raises(NoiseError, match="small order"):
        responder.write(lambda _: b"")


@given(st.binary(max_size=200), st.integers(0, 2))
def test_arbitrary_messages_are_refused_and_raise_nothing_else(data: bytes, steps: int) -> None:
    reader = advance(steps)[1 - steps % 2]
    try:
        reader.read(data)
    except NoiseError:
        return
    assert steps == 0  # only the first message has nothing that could be wrong but its length
    assert len(data) >= 32


def test_a_rekeyed_cipher_opens_nothing_of_the_old_key() -> None:
    one, two = CipherState(bytes(32)), CipherState(bytes(32))
    sealed = one.encrypt(b"", b"x")
    two.rekey()
    with pytest.raises(NoiseError):
        two.decrypt(b"", sealed)
