"""One strict door for bytes: deterministic CBOR and domain-separated hashing (PROTOCOL 2).

Values are integers 0..2**63-1, byte strings, text and arrays of these, nothing else. What is decoded
must re-encode to the bytes that came in, so a value has one encoding and a hash has one meaning.
This module alone imports the CBOR library.
"""

import functools
import hashlib
from collections.abc import Callable, Hashable, Sequence
from typing import Annotated, Any, NewType, NoReturn, TypeAlias, TypeVar

import cbor2
import msgspec
import msgspec.inspect

Digest = NewType("Digest", bytes)
Value: TypeAlias = "int | bytes | str | Sequence[Value]"
T = TypeVar("T")

INT_MAX = 2**63 - 1
"""The greatest integer of the protocol: it fits a signed 64-bit field everywhere."""
DEPTH_MAX = 8
"""Nested arrays in one value; the deepest message of the protocol has 6."""
DIGEST_BYTES = 32
ITEMS_MAX = 1 << 16
"""Data items of one value. The greatest honest one, a block of small actions, has some 5,000; an
empty array costs one byte on the wire and 64 in memory, so a megabyte of them is not built."""

Uint = Annotated[int, msgspec.Meta(ge=0, le=INT_MAX)]
Bytes32 = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]


class Record(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """Base of everything that has a wire form: a positional array of fixed length."""


class DecodeError(ValueError):
    """The bytes are not the one encoding of a value of the expected form."""


def encode(value: object) -> bytes:
    """Return the deterministic encoding of a value or `Record`.

    The caller owns the types: only what a `Record` schema or `Value` allows may be passed.
    """
    return cbor2.dumps(msgspec.to_builtins(value, builtin_types=(bytes,)))


_TINY = tuple(bytes((value,)) for value in range(24))


def encode_uint(value: int) -> bytes:
    """Return the encoding of an integer 0..2**63-1."""
    if value < 24:
        return _TINY[value]
    if value < 1 << 8:
        return bytes((0x18, value))
    if value < 1 << 16:
        return b"\x19" + value.to_bytes(2, "big")
    if value < 1 << 32:
        return b"\x1a" + value.to_bytes(4, "big")
    return b"\x1b" + value.to_bytes(8, "big")


def encode_array(items: Sequence[bytes]) -> bytes:
    """Return the encoding of an array whose items, fewer than 2^16, are encoded already."""
    size = len(items)
    if size < 24:
        head = bytes((0x80 + size,))
    elif size < 1 << 8:
        head = bytes((0x98, size))
    else:
        head = b"\x99" + size.to_bytes(2, "big")
    return head + b"".join(items)


def decode(data: bytes) -> Value:
    """Return the value that `data` encodes.

    Raises:
        DecodeError: The data is not the deterministic encoding of one `Value`.
    """
    value: Value = _load(data)
    _check_types(value)
    return value


def decode_as(data: bytes, kind: type[T]) -> T:
    """Return `data` decoded and checked against the schema `kind` (a `Record` or a typed array).

    Raises:
        DecodeError: The data is not the deterministic encoding of such a record.
    """
    record = convert_as(_load(data), kind)
    if _has_optional(kind) and encode(record) != data:  # type: ignore[arg-type]  # it is hashable
        raise DecodeError("a record with fields left out")
    return record


@functools.cache
def _has_optional(kind: Hashable) -> bool:
    """Say whether a schema has a field with a default: only then could one be left out."""
    waiting: list[object] = [msgspec.inspect.type_info(kind)]
    seen: list[object] = []
    while waiting:
        node = waiting.pop()
        match node:
            case msgspec.inspect.StructType(cls=cls, fields=fields):
                if cls in seen:
                    continue
                seen.append(cls)
                if not all(field.required for field in fields):
                    return True
                waiting += [field.type for field in fields]
            case msgspec.inspect.Metadata(type=inner):
                waiting.append(inner)
            case (
                msgspec.inspect.VarTupleType(item_type=inner)
                | msgspec.inspect.ListType(item_type=inner)
            ):
                waiting.append(inner)
            case (
                msgspec.inspect.TupleType(item_types=inners)
                | msgspec.inspect.UnionType(types=inners)
            ):
                waiting += inners
            case _:
                pass  # a number, bytes, text
    return False


def convert_as(value: object, kind: type[T]) -> T:
    """Check a decoded value against the schema `kind`; raises `DecodeError`."""
    try:
        return msgspec.convert(value, kind, strict=True, builtin_types=(bytes,))
    except msgspec.ValidationError as error:
        raise DecodeError(str(error)) from None


def _load(data: bytes) -> Any:  # noqa: ANN401  (the schema check gives it a type)
    if len(data) > ITEMS_MAX:  # a shorter one has no room for so many
        _check_items(data)
    try:
        value = cbor2.loads(
            data,
            max_depth=DEPTH_MAX,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
            tag_hook=_deny_tag,
            object_hook=_deny_map,
            semantic_decoders=_DENIED_TAGS,
        )
        # Catches trailing bytes, lengths and integers that are longer than they need to be.
        same = cbor2.dumps(value) == data
    except (cbor2.CBORDecodeError, cbor2.CBOREncodeError, ValueError, RecursionError) as error:
        raise DecodeError(f"not deterministic CBOR: {error}") from None
    if not same:
        raise DecodeError("not deterministic CBOR: the value has a shorter or other encoding")
    return value


def _check_items(data: bytes) -> None:
    """Raise when `data` has more than `ITEMS_MAX` heads; strings are skipped, nothing is built."""
    at = 0
    for _ in range(ITEMS_MAX):
        if at >= len(data):
            return
        major, low = data[at] >> 5, data[at] & 31
        at += 1
        argument = low
        if low >= 24:
            width = 1 << low - 24 if low < 28 else 0  # 28..31 are refused by the decoder
            argument = int.from_bytes(data[at : at + width], "big")
            at += width
        if major in {2, 3}:
            at += argument
    if at < len(data):
        raise DecodeError(f"more than {ITEMS_MAX} items in one value")


def _deny_map(*_map: object) -> NoReturn:
    raise DecodeError("not deterministic CBOR: maps are not used")


def _deny_tag(_decoder: object, *_tag: object) -> NoReturn:
    raise DecodeError("not deterministic CBOR: tags are not used")


# The library interprets these before it asks the hook; denying each closes the regexp, bignum,
# shared-reference and date decoders to foreign bytes.
_DENIED_TAGS: dict[int, Callable[..., object]] = dict.fromkeys(
    (0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000,
     55799),
    _deny_tag,
)  # fmt: skip


def _check_types(value: object) -> None:
    if type(value) is int:
        if not 0 <= value <= INT_MAX:
            raise DecodeError(f"integer {value} is outside 0..{INT_MAX}")
    elif type(value) is list:
        for item in value:
            _check_types(item)
    elif type(value) is not bytes and type(value) is not str:
        raise DecodeError(f"{type(value).__name__} is not a type of the protocol")


def digest(tag: str, data: bytes) -> Digest:
    """Return SHA-256 over one length byte, the domain `tag` (1..255 ASCII bytes) and `data`."""
    return Digest(hashlib.sha256(domain(tag) + data).digest())


@functools.lru_cache(256)
def domain(tag: str) -> bytes:
    """Return what stands before the data in a digest of this domain."""
    name = tag.encode("ascii")
    return bytes((len(name),)) + name
