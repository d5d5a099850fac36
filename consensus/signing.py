"""Ed25519 in one COSE_Sign1 profile and one verify function with pinned acceptance (PROTOCOL 3).

An envelope is the untagged array `[h'a2012704 48 kid', {}, payload, signature]` of RFC 9052 with
algorithm EdDSA and an 8-byte key id. The header is compared byte for byte, so there is one envelope
for each (key, payload, signature). What is signed also covers `external_aad`: the protocol, the kind
of message and the chain, so no signature means anything anywhere else.
"""

import enum
import functools
import hashlib
from typing import NewType, Protocol

import msgspec
import nacl.bindings
import nacl.exceptions

from consensus.encoding import DecodeError

PublicKey = NewType("PublicKey", bytes)
KeyId = NewType("KeyId", bytes)

PROTOCOL_NAME = b"bitcraps/1"
KID_BYTES = 8
SIGNATURE_BYTES = 64
_SIG_STRUCTURE = b"\x84\x6aSignature1"  # an array of four, the first its context string
_HEADER = bytes.fromhex("a201270448")  # {1: -8 (EdDSA), 4: kid}, kid follows
_PREFIX = bytes((0x84, 0x40 + len(_HEADER) + KID_BYTES)) + _HEADER
_KID_AT = len(_PREFIX)
_MAP_AT = _KID_AT + KID_BYTES
_HEAD_AT = _MAP_AT + 1
_SIGNATURE_PREFIX = bytes((0x58, SIGNATURE_BYTES))
_TAIL_BYTES = len(_SIGNATURE_PREFIX) + SIGNATURE_BYTES


class Domain(enum.IntEnum):
    """What a signature is for; also the wire number of the message that carries it."""

    VOTE = 1
    ACTION = 2
    DEAL = 3
    ACK = 4
    REVEAL = 5
    JOIN = 6
    ACCEPT = 7
    PEER_ADDRS = 8
    LINK = 9


class Signer(Protocol):
    """A private key: the half of an identity that never leaves its node."""

    @property
    def public_key(self) -> PublicKey:
        """The 32-byte public key."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of `message`."""
        ...


class Verify(Protocol):
    """`verify(key, message, signature)`; the key has passed `is_acceptable_key`."""

    def __call__(self, key: PublicKey, message: bytes, signature: bytes, /) -> bool:
        """Say whether the signature is acceptable."""
        ...


class SigningKey:
    """An Ed25519 private key from its 32-byte seed (RFC 8032)."""

    __slots__ = ("_secret", "public_key")

    def __init__(self, seed: bytes) -> None:
        """Expand the seed; exactly 32 bytes."""
        public, self._secret = nacl.bindings.crypto_sign_seed_keypair(seed)
        self.public_key = PublicKey(public)

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of `message`."""
        return nacl.bindings.crypto_sign(message, self._secret)[:SIGNATURE_BYTES]


def verify(key: PublicKey, message: bytes, signature: bytes) -> bool:
    """Say whether `signature` is one that every node accepts: libsodium's strict verification.

    It rejects S >= L, small-order and non-canonical R or key. The only verifier of the project,
    because certificates stand inside blocks and two verifiers could disagree about a block.
    """
    if len(signature) != SIGNATURE_BYTES or len(key) != 32:
        return False
    try:
        nacl.bindings.crypto_sign_open(signature + message, key)
    except nacl.exceptions.BadSignatureError:
        return False
    return True


def is_acceptable_key(key: bytes) -> bool:
    """Say whether a key may enter a roster: canonical and in the prime-order subgroup."""
    return len(key) == 32 and bool(nacl.bindings.crypto_core_ed25519_is_valid_point(key))


def key_id(key: bytes) -> KeyId:
    """Return the 8-byte key id; a roster in which two keys share one is refused."""
    return KeyId(hashlib.sha256(key).digest()[:KID_BYTES])


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """A parsed, not yet verified COSE_Sign1."""

    kid: KeyId
    payload: bytes
    signature: bytes


def parse_envelope(data: bytes) -> Envelope:
    """Split an envelope of the profile; anything else raises `DecodeError`."""
    payload_end = len(data) - _TAIL_BYTES
    first = data[_HEAD_AT] if payload_end > _HEAD_AT else 0
    payload_at = _HEAD_AT + 1 + _WIDTHS.get(first, 0)
    payload = data[payload_at:payload_end]
    if (
        payload_end <= _HEAD_AT
        or data[_HEAD_AT:payload_at] != bstr_head(len(payload))
        or data[_MAP_AT] != 0xA0
        or not data.startswith(_PREFIX)
        or not data.startswith(_SIGNATURE_PREFIX, payload_end)
    ):
        raise DecodeError("not a COSE_Sign1 envelope of the profile")
    return Envelope(data[_KID_AT:_MAP_AT], payload, data[-SIGNATURE_BYTES:])  # type: ignore[arg-type]  # a NewType costs a call


def build_envelope(kid: KeyId, payload: bytes, signature: bytes) -> bytes:
    """Return the one envelope of these parts."""
    return b"".join(
        (_PREFIX, kid, b"\xa0", bstr_head(len(payload)), payload, _SIGNATURE_PREFIX, signature)
    )


def signed_bytes(kid: KeyId, domain: Domain, chain_id: bytes, payload: bytes) -> bytes:
    """Return what a signature covers: the Sig_structure with this project's header and data."""
    return _signed_head(kid, domain, chain_id) + bstr_head(len(payload)) + payload


@functools.lru_cache(1024)
def _signed_head(kid: KeyId, domain: Domain, chain_id: bytes) -> bytes:
    """Return what stands before the payload in all that one key signs for one purpose."""
    aad = PROTOCOL_NAME + bytes((domain,)) + chain_id
    return _sig_head(_HEADER + kid, aad)


def sig_structure(protected: bytes, external_aad: bytes, payload: bytes) -> bytes:
    """Return the Sig_structure of a COSE_Sign1 (RFC 9052 section 4.4)."""
    return _sig_head(protected, external_aad) + bstr_head(len(payload)) + payload


def _sig_head(protected: bytes, external_aad: bytes) -> bytes:
    return b"".join(
        (
            _SIG_STRUCTURE,
            bstr_head(len(protected)),
            protected,
            bstr_head(len(external_aad)),
            external_aad,
        )
    )


def sign_envelope(signer: Signer, domain: Domain, chain_id: bytes, payload: bytes) -> bytes:
    """Sign `payload` for one purpose on one chain and return the envelope."""
    kid = key_id(signer.public_key)
    return build_envelope(kid, payload, signer.sign(signed_bytes(kid, domain, chain_id, payload)))


def verify_envelope(
    check: Verify, key: PublicKey, domain: Domain, chain_id: bytes, envelope: Envelope
) -> bool:
    """Say whether `envelope` was signed by `key` for this purpose on this chain."""
    if envelope.kid != key_id(key):
        return False
    message = signed_bytes(envelope.kid, domain, chain_id, envelope.payload)
    return check(key, message, envelope.signature)


_WIDTHS = {0x58: 1, 0x59: 2, 0x5A: 4}
"""Bytes of the length behind each first byte of a longer byte string."""


_SHORT_HEADS = (
    *(bytes((0x40 + size,)) for size in range(24)),
    *(bytes((0x58, size)) for size in range(24, 256)),
)


def bstr_head(size: int) -> bytes:
    """Return what stands before the content of a byte string (RFC 8949 section 3)."""
    if size < 256:
        return _SHORT_HEADS[size]
    if size < 1 << 16:
        return b"\x59" + size.to_bytes(2, "big")
    return b"\x5a" + size.to_bytes(4, "big")
