"""What happens at a node, told to whoever watches: page, terminal, control socket.

The owner of the replica publishes and never waits: a subscriber that is slow loses its oldest events,
and finds a `Missed` with their number in their place.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import trio

from consensus.validators import ValidatorIndex
from node.effects import Played

EVENTS_MAX = 256
"""Events that wait for one subscriber: some seconds of a busy table."""
SUBSCRIBERS_MAX = 64


@dataclass(frozen=True, slots=True)
class Final:
    """A block is final and durable here; its `Played` follows. `actions` are signed actions."""

    height: int
    hash: bytes
    time_ms: int
    actions: int


@dataclass(frozen=True, slots=True)
class LinkChanged:
    """The link to a peer came up (again) or is gone."""

    peer: ValidatorIndex
    up: bool


@dataclass(frozen=True, slots=True)
class PeerHeldOff:
    """A peer broke the rules so often that its link was closed; `fault` is the last one."""

    peer: ValidatorIndex
    fault: str


@dataclass(frozen=True, slots=True)
class Halted:
    """This node stopped voting and says why; it still shows what it knows."""

    reason: str


@dataclass(frozen=True, slots=True)
class Missed:
    """This many events stood here and were lost, because they were not taken in time."""

    count: int


Event: TypeAlias = Final | Played | LinkChanged | PeerHeldOff | Halted
"""What is published; a subscriber may find a `Missed` as well."""


class Subscription:
    """The events since it was made, oldest first. One task receives."""

    __slots__ = ("_awaited", "_events", "_missed", "lost")

    def __init__(self) -> None:
        """Made by `EventDispatcher.subscribe`."""
        self.lost = 0
        """All events lost so far."""
        self._missed = 0
        self._events: deque[Event] = deque()
        self._awaited = trio.Event()

    def put(self, event: Event) -> bool:
        """Add an event; say whether the oldest one was lost for it."""
        full = len(self._events) >= EVENTS_MAX
        if full:
            self._events.popleft()
            self._missed += 1
            self.lost += 1
        self._events.append(event)
        self._awaited.set()
        return full

    async def receive(self) -> Event | Missed:
        """Wait for the next event; a gap comes as one `Missed` before what follows it."""
        while not self._events:
            self._awaited = trio.Event()
            await self._awaited.wait()
        if self._missed:
            missed, self._missed = self._missed, 0
            return Missed(missed)
        return self._events.popleft()


class EventDispatcher:
    """Hands every event to every subscriber, without waiting for any."""

    def __init__(self) -> None:
        """Start without subscribers."""
        self.lost = 0
        """All events that subscribers, present and past, have missed."""
        self._subscriptions: list[Subscription] = []

    def __len__(self) -> int:
        return len(self._subscriptions)

    @contextmanager
    def subscribe(self) -> Iterator[Subscription]:
        """Subscribe until the block ends.

        Raises:
            BlockingIOError: There are 64 subscribers already.
        """
        if len(self._subscriptions) >= SUBSCRIBERS_MAX:
            raise BlockingIOError(f"{SUBSCRIBERS_MAX} subscribers; no more are served")
        subscription = Subscription()
        self._subscriptions.append(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.remove(subscription)

    def publish(self, event: Event) -> None:
        """Hand an event to all subscribers."""
        for subscription in self._subscriptions:
            self.lost += subscription.put(event)
