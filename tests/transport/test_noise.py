"""The Noise handshake against vectors of another implementation."""

import json
from pathlib import Path

import pytest

from transport.noise import Handshake, NoiseError

DATA = Path(__file__).parents[1] / "data/noise/cacophony_xx_25519_chachapoly_sha256.json"
VECTOR = json.loads(DATA.read_text())


def sides(prologue=None):
    return [
        Handshake(
            initiator=role == "init",
            static=bytes.fromhex(VECTOR[f"{role}_static"]),
            ephemeral=bytes.fromhex(VECTOR[f"{role}_ephemeral"]),
            prologue=prologue or bytes.fromhex(VECTOR[f"{role}_prologue"]),
        )
        for role in ("init", "resp")
    ]


def test_handshake_and_transport_are_those_of_cacophony():
    first, second = pair = sides()
    messages = [
        (bytes.fromhex(m["payload"]), bytes.fromhex(m["ciphertext"])) for m in VECTOR["messages"]
    ]
    for index, (payload, ciphertext) in enumerate(messages[:3]):
        writer, reader = pair[index % 2], pair[1 - index % 2]
        assert writer.write(lambda _, payload=payload: payload) == ciphertext
        assert reader.read(ciphertext)[0] == payload
    assert first.hash == second.hash == bytes.fromhex(VECTOR["handshake_hash"])
    ciphers = [first.split(), second.split()]
    for index, (payload, ciphertext) in enumerate(messages[3:], 3):
        assert ciphers[index % 2][0].encrypt(b"", payload) == ciphertext
        assert ciphers[1 - index % 2][1].decrypt(b"", ciphertext) == payload


def test_every_altered_byte_of_the_second_message_is_refused():
    good = bytes.fromhex(VECTOR["messages"][1]["ciphertext"])
    for at in range(len(good)):
        initiator, _ = sides()
        initiator.write(lambda _: bytes.fromhex(VECTOR["messages"][0]["payload"]))
        with pytest.raises(NoiseError):
            initiator.read(good[:at] + bytes((good[at] ^ 1,)) + good[at + 1 :])
