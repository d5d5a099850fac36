"""What whole nodes say to each other, in the clear: taken down at both ends of each sealed link.

A replica hands its frames to the runtime and takes those of others from it. Streams keep their order,
so a frame that arrives is the oldest on its way that is equal; those before it were lost with a link.
"""

# mypy: disable-error-code="explicit-override"
# The decorator is of Python 3.12.

from collections import deque
from collections.abc import Callable, Sequence

from consensus.effects import Now, Send
from consensus.validators import ValidatorIndex
from netsim.dialects import Dialect
from netsim.trace import Trace
from node.effects import ReplicaEffect
from node.replica import Replica


class Wiretap:
    """Pairs what was sent with what arrived, for the trace of one table."""

    def __init__(self, trace: Trace, hosts: int, now_ms: Callable[[], int]) -> None:
        """Begin with nothing under way."""
        self._trace = trace
        self._hosts = hosts
        self._now_ms = now_ms
        self._under_way: dict[tuple[int, int], deque[tuple[int, bytes]]] = {}

    def sent(self, a: int, effects: Sequence[ReplicaEffect]) -> None:
        """Take down what a node is about to send; without a link it never arrives."""
        for effect in effects:
            if isinstance(effect, Send):
                for b in range(self._hosts) if effect.to is None else (effect.to,):
                    if b != a:
                        kept = deque[tuple[int, bytes]](maxlen=self._trace.keep)
                        waiting = self._under_way.setdefault((a, b), kept)
                        waiting.append((self._now_ms(), effect.frame))

    def arrived(self, a: int, b: int, data: bytes) -> None:
        """Take down a frame that a node is handed."""
        waiting = self._under_way.get((a, b), ())
        while waiting:
            sent_ms, sent = waiting.popleft()
            is_it = sent == data
            self._trace.message(sent_ms, a, b, self._now_ms() if is_it else -1, sent)
            if is_it:
                return

    def end(self) -> None:
        """Take down what has not arrived."""
        for (a, b), waiting in self._under_way.items():
            for sent_ms, data in waiting:
                self._trace.message(sent_ms, a, b, -1, data)
        self._under_way.clear()


class TappedReplica(Replica):
    """A replica whose frames are taken down, and put into other words if it is of another version."""

    tap: Wiretap | None = None
    """Where to; None takes nothing down."""
    host: int = 0
    dialect: Dialect | None = None
    """How it speaks, if it is of another version."""

    def receive(
        self, batch: Sequence[tuple[ValidatorIndex, bytes]], now: Now
    ) -> list[ReplicaEffect]:
        """Take frames as any replica does."""
        if self.tap is not None:
            for sender, data in batch:
                self.tap.arrived(sender, self.host, data)
        return super().receive(batch, now)

    def _step(self, now: Now) -> list[ReplicaEffect]:
        effects = super()._step(now)
        if self.dialect is not None:
            effects = [said for effect in effects for said in _in_words(effect, self.dialect)]
        if self.tap is not None:
            self.tap.sent(self.host, effects)
        return effects


def _in_words(effect: ReplicaEffect, dialect: Dialect) -> list[ReplicaEffect]:
    if not isinstance(effect, Send):
        return [effect]
    return [Send(effect.to, said) for said in dialect.words(effect.frame)]
