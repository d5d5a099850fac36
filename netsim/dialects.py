"""How another version of the program speaks: what this one does not know, or not in that form.

Protocol version 1 is the only one there is, so another is made up: a *newer* one has messages, fields and
a version of headers that nobody here knows; an *older* one leaves fields out. All of it is to be counted
and forgotten (PROTOCOL 2 and 6), and what is said beside it in known words is to count.
"""

import random
from contextlib import suppress

from consensus.encoding import DecodeError, Value, decode, decode_as, encode
from consensus.messages import ENVELOPES, RECORDS, Number, Proposal
from consensus.signing import build_envelope, parse_envelope
from netsim.scenario import Version

UNKNOWN = tuple(n for n in range(256) if n not in RECORDS and n not in ENVELOPES)
"""Numbers that a table link has no message for."""
_NEXT_VERSION = 2
_BODY_BYTES_MAX = 300


class Dialect:
    """The speech of one node while it runs another version."""

    def __init__(self, rng: random.Random, fault: Version) -> None:
        """Draw from `rng` what is said in which way."""
        self._rng = rng
        self._fault = fault
        self.foreign = 0
        """Messages that were said and are none of this version."""

    def words(self, data: bytes) -> list[bytes]:
        """Return what the other version says where this one says `data`."""
        fault, rng = self._fault, self._rng
        said = [data]
        if rng.random() < fault.changes:
            with suppress(DecodeError):  # what a cheat made up has no other form
                said = [self._changed(data)]
                self.foreign += 1
        if rng.random() < fault.adds:
            body = encode((rng.randrange(1_000), rng.randbytes(rng.randrange(_BODY_BYTES_MAX))))
            said.insert(rng.randrange(2), bytes((rng.choice(UNKNOWN),)) + body)
            self.foreign += 1
        return said

    def _changed(self, data: bytes) -> bytes:
        """Return a message with a field more or less, or a proposal of the next version."""
        number, body = data[:1], data[1:]
        if data[0] in ENVELOPES:
            signed = parse_envelope(body)
            payload = self._refielded(signed.payload)
            return number + build_envelope(signed.kid, payload, signed.signature)
        if data[0] == Number.PROPOSAL and self._fault.speaks == "newer":
            proposal = decode_as(body, Proposal)
            header = encode((_NEXT_VERSION, *_fields(proposal.header)[1:]))
            return number + encode((header, proposal.body, proposal.vote))
        return number + self._refielded(body)

    def _refielded(self, record: bytes) -> bytes:
        fields = _fields(record)
        return encode((*fields, 0) if self._fault.speaks == "newer" else fields[:-1])


def _fields(record: bytes) -> tuple[Value, ...]:
    fields = decode(record)
    if not isinstance(fields, list):
        raise DecodeError("every record is an array")
    return tuple(fields)
