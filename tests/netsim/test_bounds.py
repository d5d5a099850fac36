"""What strangers send does not pile up: no part of a node grows with the traffic of one peer."""

# mypy: disable-error-code="explicit-override"
# The decorator is of Python 3.12.

from collections import deque
from collections.abc import Iterable, Iterator
from random import Random
from typing import Any

import msgspec

from consensus.effects import Send
from netsim.adversaries import Adversary
from netsim.hoarding import MAKERS, Hoarder, hoard
from netsim.playing import PlayingTable
from netsim.scenario import parse_scenario
from netsim.simulation import simulate
from node.replica import Replica

FRAMES = 150
GROWTH_MAX = 60
"""Things more after so many frames more; each that is kept is at least three, with its key."""
OUTSIDE = frozenset({
    "setup", "_load_block", "_terms", "_verify", "app", "_app",
    "final", "_states", "_awaited", "_recent", "_recent_order",
})  # fmt: skip
"""What a node has of its world, and what all agree on: states and the newest final blocks."""


def parts(thing: Any) -> Iterator[Any]:
    match thing:
        case dict():
            yield from thing.keys()
            yield from thing.values()
        case list() | tuple() | set() | frozenset() | deque():
            yield from thing
        case msgspec.Struct():
            yield from (getattr(thing, name) for name in thing.__struct_fields__)
        case _ if type(thing).__module__.startswith(("consensus.", "node.")):
            names = [slot for one in type(thing).__mro__ for slot in getattr(one, "__slots__", ())]
            for name in (*names, *getattr(thing, "__dict__", ())):
                if name not in OUTSIDE:
                    yield getattr(thing, name, None)
        case _:
            pass


def weigh(replica: Replica) -> int:
    """Return how many things a node holds, all of its parts and what is in them counted once."""
    seen: set[int] = set()
    todo: list[Any] = [replica]
    while todo:
        thing = todo.pop()
        if id(thing) not in seen:
            seen.add(id(thing))
            todo += parts(thing)
    return len(seen)


class Waiting(Hoarder):
    """Says what the test lets it say."""

    def hear(self, me: Adversary, sender: int, data: bytes) -> Iterable[Send]:
        return ()


def test_no_part_of_a_node_grows_with_what_a_peer_sends_it() -> None:
    def boot(seat: Any) -> Adversary:
        hoarders.append(Adversary(seat, Waiting(), Random("hoarder")))
        return hoarders[-1]

    hoarders = list[Adversary]()
    table = PlayingTable(4, seed=4, adversaries={3: boot})
    table.play(2, limit_ms=600_000)
    network, grown = table.network, {}
    for number in MAKERS:
        weights = []
        for _ in range(2):
            for _ in range(FRAMES):
                network.transmit(3, 0, hoard(hoarders[-1], 0, number))
                network.run(network.now_ms + 2)
            network.run(network.now_ms + 500)
            weights.append(weigh(table.replicas[0]))
        grown[number.name] = weights[1] - weights[0]
    assert max(grown.values()) < GROWTH_MAX, grown


def test_a_hoarder_does_not_stop_a_table_and_is_not_convicted() -> None:
    text = 'name = "hoarder"\nduration = "6s"\n[nodes]\ncount = 4\n'
    outcome, _ = simulate(parse_scenario(f'{text}[[byzantine]]\nstrategy = "hoarder"\n'), 1)
    assert (outcome.verdict, outcome.violations) == ("ok", ())
    assert outcome.marks["rolls"]
    assert not outcome.marks.get("evidence")
