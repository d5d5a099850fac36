"""Twins: one validator as two nodes with one key, under every partition of the first views.

After Bano et al., "Twins: BFT Systems Made Robust" (arXiv 2004.10617). A pair of twins is a Byzantine
validator that says two different things without anybody having to think of them. In each of the first
views the machines are split into two groups that do not hear each other's messages of that view; then
everything heals. Safety is watched all along, and what is accepted afterwards has to become final.

All splits of all machines are tried in every view, for every place that the twins may have in the
order of leaders. Honest machines differ by when they lead and by nothing else, and the twins not at
all, so exchanging the twins' names gives no new scenario.
"""

import argparse
import itertools
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from consensus.effects import Effect, Now, Persist, Send
from consensus.encoding import decode_as
from consensus.engine import Engine, genesis
from consensus.messages import Certificate, Header, Number, Proposal, VotePayload, parse_frame
from consensus.signing import Envelope
from consensus.validators import ValidatorIndex
from netsim.counter import Counter, CounterNode
from netsim.host import Disk
from netsim.tables import CHAIN_ID, CounterTable, Seat

HEAL_MS = 4_000
"""By then the split views have passed, or will not before the splits end."""
VIEWS = 3

Side = int
"""Bit i says in which of the two groups machine i is."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """`twins` is a validator by its place among the leaders; `sides` has one split for each view.

    Machines are the validators in the order in which they lead from view 1 on, then the second twin.
    """

    n: int
    twins: int
    sides: tuple[Side, ...]


def scenarios(n: int, views: int = VIEWS) -> Iterator[Scenario]:
    """Yield every scenario once, up to exchanging the twins."""
    # Two groups without names: machine 0 is always in group 0.
    splits = range(0, 1 << (n + 1), 2)
    for twins in range(n):
        for sides in itertools.product(splits, repeat=views):
            if sides <= tuple(_exchanged(side, twins, n) for side in sides):
                yield Scenario(n, twins, sides)


def _exchanged(side: Side, twins: int, n: int) -> Side:
    first, second = side >> twins & 1, side >> n & 1
    side &= ~(1 << twins | 1 << n)
    side |= second << twins | first << n
    return side ^ (1 << (n + 1)) - 1 if side & 1 else side


def sample(n: int, count: int, seed: int, views: int = VIEWS) -> Iterator[Scenario]:
    """Yield some scenarios, drawn with repetition."""
    rng = random.Random(seed)
    for _ in range(count):
        sides = tuple(rng.randrange(1 << n) << 1 for _ in range(views))
        yield Scenario(n, rng.randrange(n), sides)


class TwinPair:
    """The Byzantine host: two nodes of one key that know nothing of each other."""

    def __init__(self, seat: Seat, second: CounterNode, split: "Split") -> None:
        """Take the seat's node as the first twin."""
        assert isinstance(seat.node, CounterNode), "twins share a counter"
        self._nodes = (seat.node, second)
        self._me = seat.index
        self._n = seat.validators.n
        self._split = split

    @property
    def deadline_ms(self) -> int | None:
        """When either twin has something to do."""
        due = [node.deadline_ms for node in self._nodes if node.deadline_ms is not None]
        return min(due, default=None)

    def start(self, now: Now) -> list[Effect]:
        """Start both."""
        return [
            e for twin, node in enumerate(self._nodes) for e in self._sent(twin, node.start(now))
        ]

    def peer_up(self, peer: ValidatorIndex, now: Now) -> list[Effect]:
        """Let both greet the peer."""
        return [
            effect
            for twin, node in enumerate(self._nodes)
            for effect in self._sent(twin, node.peer_up(peer, now))
        ]

    def receive(self, batch: Sequence[tuple[ValidatorIndex, bytes]], now: Now) -> list[Effect]:
        """Hand each twin what its side of the split lets through."""
        effects: list[Effect] = []
        for twin, node in enumerate(self._nodes):
            heard = [
                (sender, data)
                for sender, data in batch
                if self._split.lets(self._split.machine(sender), self._machine(twin), data)
            ]
            if heard:
                effects += self._sent(twin, node.receive(heard, now))
        return effects

    def entropy(self, data: bytes, now: Now) -> list[Effect]:
        """Nothing here asks for entropy."""
        raise NotImplementedError

    def handle_deadline(self, now: Now) -> list[Effect]:
        """Do what is due at either."""
        return [
            effect
            for twin, node in enumerate(self._nodes)
            for effect in self._sent(twin, node.handle_deadline(now))
        ]

    def increment(self, name: bytes, twin: int, now: Now) -> list[Effect]:
        """Give one twin an increment that the other does not know."""
        self._nodes[twin].app.add(name)
        return self._sent(twin, self._nodes[twin].handle_deadline(now))

    def _machine(self, twin: int) -> int:
        return self._split.machine(self._me) if twin == 0 else self._n

    def _sent(self, twin: int, effects: Sequence[Effect]) -> list[Effect]:
        """Name every receiver that the split lets a twin reach; twins keep nothing on disk."""
        sent: list[Effect] = []
        for effect in effects:
            match effect:
                case Send(to, data):
                    peers = range(self._n) if to is None else (to,)
                    sent += [
                        Send(ValidatorIndex(peer), data)
                        for peer in peers
                        if peer != self._me
                        and self._split.lets(self._machine(twin), self._split.machine(peer), data)
                    ]
                case Persist():
                    pass
                case _:
                    sent.append(effect)
        return sent


class Split:
    """Who hears whom in which view; nothing without a view passes before everything heals."""

    def __init__(self, sides: Sequence[Side], machines: Sequence[int]) -> None:
        """`machines` gives each validator its place among the leaders."""
        self._sides = sides
        self._machines = machines
        self.healed = False

    def machine(self, index: int) -> int:
        """Return the machine of a validator."""
        return self._machines[index]

    def lets(self, sender: int, receiver: int, data: bytes) -> bool:
        """Say whether a frame passes between two machines."""
        if self.healed or data[0] == Number.ACTION:
            return True
        view = view_of(data)
        if view is None:
            return False
        if view > len(self._sides):
            return True
        side = self._sides[view - 1]
        return side >> sender & 1 == side >> receiver & 1


def view_of(data: bytes) -> int | None:
    """Return the view that a frame is about, None if it is about none."""
    _, message = parse_frame(data)
    match message:
        case Envelope() if data[0] == Number.VOTE:
            return decode_as(message.payload, VotePayload).view
        case Proposal():
            return decode_as(message.header, Header).view
        case Certificate():
            return message.view
        case _:
            return None


def run_scenario(scenario: Scenario) -> CounterTable:
    """Run one scenario; raises `ViolatedError` when a rule breaks or the table does not recover."""
    n = scenario.n
    order = leaders(n)
    machines = [order.index(index) for index in range(n)]
    split = Split(scenario.sides, machines)
    byzantine = order[scenario.twins]
    pairs: list[TwinPair] = []

    def seat_twins(seat: Seat) -> TwinPair:
        pairs.append(TwinPair(seat, _twin_of(seat), split))
        return pairs[-1]

    table = CounterTable(n, 1, adversaries={byzantine: seat_twins})
    network = table.network
    network.drops = lambda sender, receiver, data: (
        byzantine not in (sender, receiver)
        and not split.lets(machines[sender], machines[receiver], data)
    )
    for twin, name in enumerate((b"first", b"second")):
        network.perform(byzantine, pairs[0].increment(name, twin, network.clock(byzantine)))
    for index in table.honest:
        table.increment(bytes((index,)), at=index)
    network.run(HEAL_MS)
    split.healed = True
    network.heal()
    for a, b in itertools.permutations(range(n), 2):
        network.link_up(a, b)
    table.increment(b"healed")
    table.settle()
    assert all(total >= len(table.honest) + 1 for total in table.totals()), table.totals()
    return table


def leaders(n: int) -> list[int]:
    """Return the validators of a simulated table in the order in which they lead from view 1 on."""
    validators = CounterTable(n, 0).validators
    return [validators.leader(view) for view in range(1, n + 1)]


def _twin_of(seat: Seat) -> CounterNode:
    disk = Disk()

    def engine(app: Counter) -> Engine:
        return Engine(
            chain_id=CHAIN_ID,
            epoch=0,
            validators=seat.validators,
            me=ValidatorIndex(seat.index),
            signer=seat.key,
            verify=seat.verify,
            app=app,
            load_block=disk.block,
        )

    return CounterNode(seat.validators.kids[seat.index], genesis(CHAIN_ID).hash, (), engine)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all scenarios of four machines, or a sample, and say how many there were."""
    parser = argparse.ArgumentParser(prog="python -m netsim.twins", description=__doc__)
    parser.add_argument("--n", type=int, default=4, help="validators, 4 to 7")
    parser.add_argument("--views", type=int, default=VIEWS, help="views that are split")
    parser.add_argument("--sample", type=int, help="so many drawn at random instead of all")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    words = parser.parse_args(arguments)
    if not 4 <= words.n <= 7:
        parser.error(f"--n {words.n}: twins are tried with 4 to 7 validators")
    chosen = (
        scenarios(words.n, words.views)
        if words.sample is None
        else sample(words.n, words.sample, words.seed, words.views)
    )
    began, count = time.perf_counter(), 0
    for scenario in chosen:
        try:
            run_scenario(scenario)
        except AssertionError as error:
            sys.stdout.write(f"{scenario}: {error}\n")
            return 1
        count += 1
        if count % 1_000 == 0:
            sys.stdout.write(f"{count} scenarios hold\n")
    seconds = time.perf_counter() - began
    sys.stdout.write(f"{count} scenarios hold, in {seconds:.0f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
