"""The one door for foreign bytes: size, strict decoding, schema, and a count for each stage.

A frame that passes is a typed message; one that does not is a fault of its sender and nothing else
happens. Signatures come later, where it is known whether the message is news (PROTOCOL 6).
"""

from collections.abc import Callable
from typing import TypeAlias

from consensus.encoding import DecodeError
from consensus.messages import Message, Number, parse_frame

Parse: TypeAlias = Callable[[bytes], tuple[Number, Message]]
"""`parse_frame`, or what remembers its answers: nobody changes a message."""


class MessageProcessor:
    """Turns frames into messages and counts what became of them."""

    __slots__ = ("_parse", "malformed", "received")

    def __init__(self, parse: Parse = parse_frame) -> None:
        """Start with nothing received."""
        self._parse = parse
        self.received: dict[Number, int] = dict.fromkeys(Number, 0)
        self.malformed = 0

    def take(self, frame: bytes) -> tuple[Number, Message] | str:
        """Return the message of a frame, or what is wrong with it."""
        try:
            number, message = self._parse(frame)
        except DecodeError as error:
            self.malformed += 1
            return str(error)
        self.received[number] += 1
        return number, message
