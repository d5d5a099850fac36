"""Noise_XX_25519_ChaChaPoly_SHA256 without I/O or randomness (Noise specification, revision 34).

Own because the libraries are dead; checked against the vectors of cacophony. The only addition is
that a handshake payload may be made from the handshake hash at its place, to sign it.
"""

import hashlib
import hmac
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

PROTOCOL = b"Noise_XX_25519_ChaChaPoly_SHA256"
KEY_BYTES = 32
TAG_BYTES = 16
REKEY_NONCE = b"\0\0\0\0" + b"\xff" * 8


class NoiseError(Exception):
    """The peer's bytes do not verify."""


class CipherState:
    """One direction's key and its implicit counter (section 5.1)."""

    __slots__ = ("_cipher", "_nonce")

    def __init__(self, key: bytes) -> None:
        """Start at nonce 0."""
        self._cipher = ChaCha20Poly1305(key)
        self._nonce = 0

    @property
    def nonce(self) -> int:
        """Messages so far."""
        return self._nonce

    def encrypt(self, associated: bytes, plain: bytes | memoryview) -> bytes:
        """Seal the next message."""
        nonce = b"\0\0\0\0" + self._nonce.to_bytes(8, "little")
        self._nonce += 1
        return self._cipher.encrypt(nonce, plain, associated)

    def decrypt(self, associated: bytes, sealed: bytes) -> bytes:
        """Open the next message; raises `NoiseError`."""
        nonce = b"\0\0\0\0" + self._nonce.to_bytes(8, "little")
        try:
            plain = self._cipher.decrypt(nonce, sealed, associated)
        except InvalidTag:
            raise NoiseError(f"message {self._nonce} does not verify") from None
        self._nonce += 1
        return plain

    def rekey(self) -> None:
        """Replace the key by a one-way function of it; the nonce goes on (section 11.3)."""
        sealed = self._cipher.encrypt(REKEY_NONCE, bytes(KEY_BYTES), b"")
        self._cipher = ChaCha20Poly1305(sealed[:KEY_BYTES])


class Handshake:
    """One side of XX: `-> e`, `<- e ee s es`, `-> s se`; write and read in turn."""

    def __init__(
        self, *, initiator: bool, static: bytes, ephemeral: bytes, prologue: bytes
    ) -> None:
        """Take the private keys (32 bytes each); `ephemeral` is fresh random."""
        self._initiator = initiator
        self._static = X25519PrivateKey.from_private_bytes(static)
        self._ephemeral = X25519PrivateKey.from_private_bytes(ephemeral)
        self._chaining_key = PROTOCOL
        self.hash = PROTOCOL  # exactly 32 bytes, so it is not hashed (section 5.2)
        self._cipher: CipherState | None = None
        self._remote_ephemeral: X25519PublicKey | None = None
        self._remote_static: X25519PublicKey | None = None
        self._step = 0
        self._mix_hash(prologue)

    def write(self, payload: Callable[[bytes], bytes]) -> bytes:
        """Return the next message; `payload` gets the hash of all that stands before it."""
        message = b""
        if self._step < 2:
            own = self._ephemeral.public_key().public_bytes_raw()
            self._mix_hash(own)
            message += own
        if self._step == 1:
            self._mix_key(self._ephemeral, self._remote_ephemeral)
        if self._step > 0:
            message += self._encrypt(self._static.public_key().public_bytes_raw())
            self._mix_key(self._static, self._remote_ephemeral)
        self._step += 1
        return message + self._encrypt(payload(self.hash))

    def read(self, message: bytes) -> tuple[bytes, bytes]:
        """Return the payload of the next message and the hash before it; raises `NoiseError`."""
        at = 0
        if self._step < 2:
            at = KEY_BYTES
            self._remote_ephemeral = _public(message[:at])
            self._mix_hash(message[:at])
        if self._step == 1:
            self._mix_key(self._ephemeral, self._remote_ephemeral)
        if self._step > 0:
            end = at + KEY_BYTES + TAG_BYTES
            self._remote_static = _public(self._decrypt(message[at:end]))
            self._mix_key(self._ephemeral, self._remote_static)
            at = end
        self._step += 1
        before = self.hash
        return self._decrypt(message[at:]), before

    def split(self) -> tuple[CipherState, CipherState]:
        """Return the ciphers (to send, to receive) of the finished handshake."""
        assert self._step == 3, f"split after {self._step} messages"
        first, second = (CipherState(key) for key in _hkdf(self._chaining_key, b""))
        return (first, second) if self._initiator else (second, first)

    def _mix_hash(self, data: bytes) -> None:
        self.hash = hashlib.sha256(self.hash + data).digest()

    def _mix_key(self, own: X25519PrivateKey, remote: X25519PublicKey | None) -> None:
        assert remote is not None, "messages come in turn"
        try:
            shared = own.exchange(remote)
        except ValueError:
            raise NoiseError("a public key of small order") from None
        self._chaining_key, key = _hkdf(self._chaining_key, shared)
        self._cipher = CipherState(key)

    def _encrypt(self, plain: bytes) -> bytes:
        sealed = plain if self._cipher is None else self._cipher.encrypt(self.hash, plain)
        self._mix_hash(sealed)
        return sealed

    def _decrypt(self, sealed: bytes) -> bytes:
        plain = sealed if self._cipher is None else self._cipher.decrypt(self.hash, sealed)
        self._mix_hash(sealed)
        return plain


def _public(data: bytes) -> X25519PublicKey:
    if len(data) != KEY_BYTES:
        raise NoiseError(f"a public key of {len(data)} bytes")
    return X25519PublicKey.from_public_bytes(data)


def _hkdf(chaining_key: bytes, material: bytes) -> tuple[bytes, bytes]:
    secret = hmac.digest(chaining_key, material, "sha256")
    first = hmac.digest(secret, b"\x01", "sha256")
    return first, hmac.digest(secret, first + b"\x02", "sha256")
