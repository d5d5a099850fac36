"""Two ends of a link for the tests, in virtual time or over loopback sockets."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import trio

from node.identity import Keys, check_link
from transport.base import Carrier, Counters, Fault, LinkRefused
from transport.link import Credentials, Link, open_link
from transport.memory import MemoryCarrier, memory_pair

A, B, STRANGER = (Keys(bytes([i]) * 32) for i in range(3))
TABLE = b"the table's chain id"


def credentials(keys: Keys) -> Credentials:
    """Return what a node shows on its links."""
    return Credentials(keys.link_secret, keys.identity.public_key, keys.sign_link, check_link)


def anybody(_key: bytes) -> bool:
    """Admit everybody."""
    return True


@dataclass
class End:
    """What one side of a handshake brings."""

    show: Credentials
    prologue: bytes = TABLE
    roster: Callable[[bytes], bool] = anybody
    counters: Counters = field(default_factory=Counters)
    link: Link | None = None
    fault: Fault | None = None

    async def open(self, carrier: Carrier, *, initiator: bool) -> None:
        """Shake hands and keep the link, or the fault."""
        try:
            self.link = await open_link(
                carrier, self.show, self.prologue, self.roster, self.counters, initiator=initiator
            )
        except LinkRefused as error:
            self.fault = error.fault


@dataclass
class Pair:
    """Two ends and the carriers between them; `left` is the initiator."""

    left: End
    right: End
    carriers: tuple[MemoryCarrier, MemoryCarrier]

    @property
    def links(self) -> tuple[Link, Link]:
        """Both links; a test that calls this expects them."""
        assert self.left.link is not None, self.left.fault
        assert self.right.link is not None, self.right.fault
        return self.left.link, self.right.link


async def shake_hands(left: End | None = None, right: End | None = None) -> Pair:
    """Run the handshake of two ends over carriers in memory."""
    pair = Pair(left or End(credentials(A)), right or End(credentials(B)), memory_pair())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(pair.left.open, pair.carriers[0], initiator=True))
        nursery.start_soon(partial(pair.right.open, pair.carriers[1], initiator=False))
    return pair
