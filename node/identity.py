"""A node's keys: one 32-byte secret on disk, every key derived from it (PROTOCOL 3).

The consensus key, the dealing key and the link key are separate from the identity, so that a signature
or a key agreement of one protocol can never be replayed into another.
"""

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from consensus.encoding import DecodeError, Record, decode_as, encode
from consensus.signing import (
    PROTOCOL_NAME,
    Domain,
    PublicKey,
    SigningKey,
    is_acceptable_key,
    verify,
)
from node.errors import OperatorError
from node.files import read_whole, write_whole
from transport.link import Credentials

SECRET_BYTES = 32
KEY_FILE_BYTES_MAX = 4096
PASSPHRASE_CHARS_MAX = 1024
_FILE_TAG = "identity-file"
_PLAIN, _SCRYPT = 0, 1
_SCRYPT_COST = 2**15
"""With r = 8 it takes 32 MiB and about 0.1 s for one guess (RFC 7914 section 2)."""


class _KeyFile(Record, frozen=True):
    version: Annotated[int, msgspec.Meta(ge=1, le=1)]
    scheme: Annotated[int, msgspec.Meta(ge=_PLAIN, le=_SCRYPT)]
    salt: Annotated[bytes, msgspec.Meta(max_length=16)]
    nonce: Annotated[bytes, msgspec.Meta(max_length=12)]
    secret: Annotated[bytes, msgspec.Meta(min_length=SECRET_BYTES, max_length=48)]


@dataclass(frozen=True, slots=True)
class Keys:
    """Every private key of a node, derived from its master secret of 32 bytes (RFC 5869)."""

    master: bytes = field(repr=False)
    identity: SigningKey = field(init=False, repr=False)
    """Signs actions, Join, Accept and link handshakes."""
    consensus: SigningKey = field(init=False, repr=False)
    """Signs votes, Ack, Deal and Reveal."""
    dealing_secret: bytes = field(init=False, repr=False)
    dealing_public: bytes = field(init=False)
    """X25519: opens what dealers seal for this node."""
    link_secret: bytes = field(init=False, repr=False)
    """The Noise static key; bound to the identity by a signature in each handshake."""

    def __post_init__(self) -> None:
        """Derive the keys; a wrong size of the secret is a fault of the caller."""
        assert len(self.master) == SECRET_BYTES, f"a master secret of {len(self.master)} bytes"
        dealing = self._derive(b"dealing")
        object.__setattr__(self, "identity", SigningKey(self._derive(b"identity")))
        object.__setattr__(self, "consensus", SigningKey(self._derive(b"consensus")))
        object.__setattr__(self, "dealing_secret", dealing)
        object.__setattr__(
            self,
            "dealing_public",
            X25519PrivateKey.from_private_bytes(dealing).public_key().public_bytes_raw(),
        )
        object.__setattr__(self, "link_secret", self._derive(b"link"))

    def _derive(self, purpose: bytes) -> bytes:
        return HKDF(SHA256(), 32, PROTOCOL_NAME, purpose).derive(self.master)

    def sign_link(self, handshake_hash: bytes) -> bytes:
        """Sign a handshake hash: says that this identity speaks on that link (PROTOCOL 14)."""
        return self.identity.sign(_link_message(handshake_hash))


def check_link(key: bytes, handshake_hash: bytes, signature: bytes) -> bool:
    """Say whether the identity `key`, an acceptable one, signed this handshake."""
    return is_acceptable_key(key) and verify(
        PublicKey(key), _link_message(handshake_hash), signature
    )


def _link_message(handshake_hash: bytes) -> bytes:
    return PROTOCOL_NAME + bytes((Domain.LINK,)) + handshake_hash


def create_keys(path: Path, passphrase: str = "") -> Keys:
    """Make new keys and write them to `path` (mode 0600), sealed unless `passphrase` is empty.

    Raises:
        OperatorError: The file exists, cannot be written, or the passphrase is too long.
    """
    _check_passphrase(passphrase)
    master = os.urandom(SECRET_BYTES)
    if passphrase:
        salt, nonce = os.urandom(16), os.urandom(12)
        box = _sealing_key(passphrase, salt).encrypt(nonce, master, PROTOCOL_NAME)
        record = _KeyFile(1, _SCRYPT, salt, nonce, box)
    else:
        record = _KeyFile(1, _PLAIN, b"", b"", master)
    write_whole(path, _FILE_TAG, encode(record), replace=False)
    return Keys(master)


def is_sealed(path: Path) -> bool:
    """Say whether the key file needs a passphrase; raises `OperatorError` like `load_keys`."""
    return _read_key_file(path).scheme == _SCRYPT


def load_keys(path: Path, passphrase: str = "") -> Keys:
    """Read the keys from `path`; a passphrase that an unsealed file does not need is ignored.

    Raises:
        OperatorError: The file is missing, readable by others, damaged, or sealed with another
            passphrase.
    """
    record = _read_key_file(path)
    if record.scheme == _PLAIN:
        return Keys(record.secret)
    if not passphrase:
        raise OperatorError(f"{path} is sealed with a passphrase and none was given")
    _check_passphrase(passphrase)
    try:
        master = _sealing_key(passphrase, record.salt).decrypt(
            record.nonce, record.secret, PROTOCOL_NAME
        )
    except InvalidTag:
        raise OperatorError(f"the passphrase does not open {path}") from None
    return Keys(master)


def _read_key_file(path: Path) -> _KeyFile:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise OperatorError(f"{path} does not exist: make an identity with `init`") from None
    except OSError as error:
        raise OperatorError(f"cannot read {path}: {error.strerror}") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise OperatorError(
            f"{path} has mode {stat.S_IMODE(mode):04o}, so others on this machine can use it: "
            f"set 0600 with `chmod 600 {path}`"
        )
    data = read_whole(path, _FILE_TAG, KEY_FILE_BYTES_MAX)
    try:
        record = decode_as(data, _KeyFile)
    except DecodeError as error:
        raise OperatorError(f"{path} is not an identity key file: {error}") from None
    sizes = (len(record.salt), len(record.nonce), len(record.secret))
    if sizes != ((16, 12, 48) if record.scheme == _SCRYPT else (0, 0, 32)):
        raise OperatorError(f"{path} is not an identity key file: fields of {sizes} bytes")
    return record


def _sealing_key(passphrase: str, salt: bytes) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(
        Scrypt(salt, length=32, n=_SCRYPT_COST, r=8, p=1).derive(passphrase.encode())
    )


def _check_passphrase(passphrase: str) -> None:
    if len(passphrase) > PASSPHRASE_CHARS_MAX:
        raise OperatorError(
            f"a passphrase of {len(passphrase)} characters; the limit is {PASSPHRASE_CHARS_MAX}"
        )


def credentials_of(keys: Keys) -> Credentials:
    """Return what a node shows on its links."""
    return Credentials(keys.link_secret, keys.identity.public_key, keys.sign_link, check_link)
