"""The one door for foreign bytes: size, strict decoding, schema, and a count for each stage.

A frame that passes is a typed message; one that does not is a fault of its sender and nothing else
happens. Signatures come later, where it is known whether the message is news (PROTOCOL 6).
"""

from consensus.encoding import DecodeError
from consensus.messages import Message, Number, parse_frame


class MessageProcessor:
    """Turns frames into messages and counts what became of them."""

    __slots__ = ("malformed", "received")

    def __init__(self) -> None:
        """Start with nothing received."""
        self.received: dict[Number, int] = dict.fromkeys(Number, 0)
        self.malformed = 0

    def take(self, frame: bytes) -> tuple[Number, Message] | str:
        """Return the message of a frame, or what is wrong with it."""
        try:
            number, message = parse_frame(frame)
        except DecodeError as error:
            self.malformed += 1
            return str(error)
        self.received[number] += 1
        return number, message
