"""What a scenario's Byzantine hosts do at a craps table: strategies by their names."""

# mypy: disable-error-code="explicit-override"
# The decorator is of Python 3.12.

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from consensus import encoding
from consensus.effects import Now, Persist, RequestEntropy, Send
from consensus.encoding import DecodeError, decode_as, digest, encode
from consensus.messages import (
    Number,
    Status,
    body_hash,
    frame,
)
from consensus.signing import (
    Domain,
    build_envelope,
    key_id,
    parse_envelope,
    sign_envelope,
)
from consensus.validators import ValidatorIndex
from netsim import adversaries as a
from netsim.adversaries import Quiet
from netsim.cheats import (
    DoubleAcker,
    DoubleDealer,
    DoubleProposer,
    DoubleVoter,
    FalseDealer,
    Framer,
)
from netsim.hoarding import Hoarder
from netsim.host import Disk, Simulated
from netsim.tables import Seat
from netsim.twins import view_of
from node.epoch import NO_FLOOR
from node.game.operations import PlaceBet, TakeDown
from node.game.players import Account
from node.replica import Replica

FLOOD_FRAMES = 10
"""Frames of a flooder for each that it hears; a thousand a second would only cost virtual time."""
HOUR_MS = 3_600_000
_RACK = 10_000
"""Chips that a player begins with."""
_PASS, _FIELD, _ANY_SEVEN, _ANY_CRAPS = 1, 16, 18, 19


def _read(data: bytes) -> Any:  # noqa: ANN401  (whatever the bytes hold)
    return encoding.decode(data)


class ShareWithholder(Quiet):
    """Never shows a share of any roll and answers no question for one."""

    def speak(self, me: a.Adversary, send: Send) -> Iterable[Send]:
        """Drop what would open a roll."""
        return () if send.frame[0] in {Number.REVEAL, Number.REVEAL_PATHS} else (send,)


class FalseSharer(Quiet):
    """Signs false shares: another element for each secret, or none where it has one."""

    def speak(self, me: a.Adversary, send: Send) -> Iterable[Send]:
        """Replace the shares of a reveal."""
        if send.frame[0] != Number.REVEAL:
            return (send,)
        *names, shares = _read(parse_envelope(send.frame[1:]).payload)
        spoiled = [
            share if not share or me.rng.random() < 0.5 else digest("false", share)
            for share in shares
        ]
        payload = encode((*names, spoiled))
        seat = me.seat
        said = sign_envelope(seat.key, Domain.REVEAL, seat.chain_id, payload)
        return (Send(send.to, frame(Number.REVEAL, said)),)


class TimeLiar(Quiet):
    """Says another time of the day to everybody, and stamps its blocks with it."""

    def speak(self, me: a.Adversary, send: Send) -> Iterable[Send]:
        """Shift clocks in what it says."""
        shift_ms = me.rng.choice((-HOUR_MS, -5_000, 2_900, 5_000, HOUR_MS))
        if send.frame[0] == Number.STATUS:
            status = decode_as(send.frame[1:], Status)
            moved = replace(status, wall_ms=max(status.wall_ms + shift_ms, 0))
            return (Send(send.to, frame(Number.STATUS, moved)),)
        found = a.read_proposal(send.frame)
        if found is None:
            return (send,)
        header, body = found
        moved_header = replace(header, time_ms=max(header.time_ms + shift_ms, 1))
        return a.to_each(me.others, me.proposal(moved_header, body))


class Flooder(Quiet):
    """Says ten things for each that it hears: junk, old frames, forged votes."""

    def __init__(self) -> None:
        """Nothing heard yet."""
        self._heard: list[bytes] = []

    def hear(self, me: a.Adversary, sender: int, data: bytes) -> Iterable[Send]:
        """Send much to somebody."""
        rng = me.rng
        self._heard.append(data)
        del self._heard[:-100]
        peer = rng.choice(me.others)
        for _ in range(FLOOD_FRAMES if rng.random() < 0.2 else 0):
            match rng.randrange(4):
                case 0:
                    junk = rng.randbytes(rng.randrange(1, 200))
                case 1:
                    junk = rng.choice(self._heard)
                case 2:
                    junk = bytes((rng.choice(tuple(Number)),)) + rng.randbytes(40)
                case _:
                    junk = a.flip(rng.choice(self._heard), rng)
            yield Send(peer, junk)


class Thief(Quiet):
    """As leader pays itself: takes others' bets down, bets for them, invents and repeats actions."""

    def speak(self, me: a.Adversary, send: Send) -> Iterable[Send]:
        """Put something into its block that nobody signed, or change what the block led to."""
        found = a.read_proposal(send.frame)
        if found is None or me.rng.random() < 0.4:
            return (send,)
        header, body = found
        match me.rng.randrange(5):
            case 0:
                body = replace(body, actions=(*body.actions, self._forged(me)))
            case 1 if body.actions:
                body = replace(body, actions=(*body.actions, body.actions[0]))
            case 2 if body.system:
                body = replace(body, system=body.system[1:])
            case 3 if body.system:
                spoiled = a.flip(body.system[-1], me.rng)
                body = replace(body, system=(*body.system[:-1], spoiled))
            case _:
                header = replace(header, state_root=digest("richer", header.state_root))
        header = replace(header, body_hash=body_hash(body))
        return a.to_each(me.others, me.proposal(header, body))

    def _forged(self, me: a.Adversary) -> bytes:
        victim = me.rng.choice(me.others)
        operations = [encode(PlaceBet(0, 1, 0, 500)), encode(TakeDown(0, 9, 6))]
        game = me.seat.node.final.game  # type: ignore[attr-defined]
        payload = encode((game.accounts[victim].seq + 1, [_read(one) for one in operations]))
        kid = me.seat.node.setup.members[victim].identity  # type: ignore[attr-defined]
        return build_envelope(key_id(kid), payload, me.rng.randbytes(64))


class DoubleBettor(Quiet):
    """Bets one rack twice: two actions with one number, each for half of the table."""

    def hear(self, me: a.Adversary, sender: int, data: bytes) -> Iterable[Send]:
        """Now and then sit down and bet half of the rack on this and, elsewhere, on that."""
        del sender
        if data[0] != Number.PROPOSAL or me.rng.random() < 0.7:
            return ()
        seq = _account(me).seq + 1
        left, right = (
            _action(me, seq, [[2, 0], [4, 0, kind, 0, _RACK // 2]]) for kind in (_FIELD, _ANY_SEVEN)
        )
        ours, theirs = me.halves()
        return [*a.to_each(ours, left), *a.to_each(theirs, right)]


class Spendthrift(Quiet):
    """Bets more than its rack holds, from a balance of long ago, under numbers near and far."""

    def hear(self, me: a.Adversary, sender: int, data: bytes) -> Iterable[Send]:
        """Now and then sit down and bet ten times the whole rack, a bit to everybody."""
        del sender
        if data[0] != Number.PROPOSAL or me.rng.random() < 0.7:
            return ()
        seq = _account(me).seq
        stakes = [[4, 0, kind, 0, _RACK // 2] for kind in (_FIELD, _PASS, _ANY_SEVEN, _ANY_CRAPS)]
        bets = [[2, 0], *stakes, *stakes, [4, 0, _FIELD, 0, 2**53 - 1]]
        numbers = seq + 1, seq + me.rng.randrange(2, 60)
        return a.to_each(me.others, *(_action(me, number, bets) for number in numbers))


def _account(me: a.Adversary) -> Account:
    """Return what the newest final state says of the cheat as a player."""
    account: Account = me.seat.node.final.game.accounts[me.index]  # type: ignore[attr-defined]
    return account


def _action(me: a.Adversary, seq: int, operations: object) -> bytes:
    """Return the frame of an action that the cheat signs as a player."""
    key = me.seat.player_key
    assert key is not None, "a player has a key"
    said = sign_envelope(key, Domain.ACTION, me.seat.chain_id, encode((seq, operations)))
    return frame(Number.ACTION, said)


_STRATEGIES: Mapping[str, Callable[[], a.Strategy]] = {
    "silent": a.Silent,
    "equivocator": a.Equivocator,
    "double-proposer": DoubleProposer,
    "double-voter": DoubleVoter,
    "schismatic": a.Schismatic,
    "selective": a.Selective,
    "forger": a.Forger,
    "babbler": a.Babbler,
    "liar": a.Liar,
    "late": a.Late,
    "vote-withholder": a.Withholder,
    "withholder": ShareWithholder,
    "false-sharer": FalseSharer,
    "double-dealer": DoubleDealer,
    "double-acker": DoubleAcker,
    "false-dealer": FalseDealer,
    "framer": Framer,
    "time-liar": TimeLiar,
    "flooder": Flooder,
    "hoarder": Hoarder,
    "thief": Thief,
    "double-bettor": DoubleBettor,
    "spendthrift": Spendthrift,
}


class Coalition:
    """Several hosts that vote for everything that any of them hears, and show it to one another."""

    def __init__(self, members: Sequence[int]) -> None:
        """Know the others."""
        self._members = members
        self._equivocator = a.Equivocator()
        self._withholder = ShareWithholder()

    def hear(self, me: a.Adversary, sender: int, data: bytes) -> Iterable[Send]:
        """Pass proposals to the others, and vote for whatever anybody votes for."""
        if data[0] == Number.PROPOSAL and sender not in self._members:
            for member in self._members:
                if member != me.index:
                    yield Send(ValidatorIndex(member), data)
        yield from self._equivocator.hear(me, sender, data)

    def speak(self, me: a.Adversary, send: Send) -> Iterable[Send]:
        """Give each half another block, vote to nobody's face, and keep shares of the dice back.

        All have the same halves, so that with one more than f of them both blocks may be certified.
        """
        found = a.read_proposal(send.frame)
        if found is None:
            told_apart = {Number.VOTE, Number.CERTIFICATE}
            return () if send.frame[0] in told_apart else self._withholder.speak(me, send)
        header, body = found
        other = me.proposal(replace(header, time_ms=header.time_ms + 1), body)
        honest = [peer for peer in me.others if peer not in self._members]
        return [*a.to_each(honest[::2], send.frame), *a.to_each(honest[1::2], other)]


class Twins:
    """One key, two whole replicas that know nothing of each other, and in each view other friends.

    What is about a view passes between a twin and its side of that view's split; everything else
    between it and its side of the view in which it is. The second twin has no disk, so a restart
    leaves it without any memory of what it signed.
    """

    def __init__(self, seat: Seat, rng: random.Random) -> None:
        """Take the seat's replica as the first twin."""
        assert isinstance(seat.node, Replica), "twins play craps here"
        second = Replica(seat.node.setup, (), Disk().block, NO_FLOOR)
        self._twins = (seat.node, second)
        self._others = [i for i in range(seat.validators.n) if i != seat.index]
        self._rng = rng
        self._name = rng.random()
        self._sides: dict[int, int] = {}  # view -> a bit for each peer

    def _is_friend(self, twin: int, peer: int, data: bytes) -> bool:
        try:
            view = view_of(data)
        except DecodeError:
            view = None
        if view is None:
            view = self._twins[twin].engine.view
        side = self._sides.get(view)
        if side is None:
            side = random.Random(f"{self._name} {view}").getrandbits(64)
            self._sides[view] = side
        return side >> peer & 1 == twin

    @property
    def deadline_ms(self) -> int | None:
        """When either twin has something to do."""
        due = [one.deadline_ms for one in self._twins if one.deadline_ms is not None]
        return min(due, default=None)

    def start(self, now: Now) -> list[object]:
        """Start both."""
        return self._both(now, lambda one: one.start(now))

    def peer_up(self, peer: ValidatorIndex, now: Now) -> list[object]:
        """Let both greet the peer."""
        return self._both(now, lambda one: one.peer_up(peer, now))

    def handle_deadline(self, now: Now) -> list[object]:
        """Do what is due at either."""
        return self._both(now, lambda one: one.handle_deadline(now))

    def entropy(self, data: bytes, now: Now) -> list[object]:
        """Twins have their own."""
        raise NotImplementedError

    def receive(self, batch: Sequence[tuple[ValidatorIndex, bytes]], now: Now) -> list[object]:
        """Hand each twin what its friends say."""
        said: list[object] = []
        for twin, one in enumerate(self._twins):
            heard = [(peer, data) for peer, data in batch if self._is_friend(twin, peer, data)]
            if heard:
                said += self._sent(twin, one.receive(heard, now), now)
        return said

    def _both(self, now: Now, what: Callable[[Replica], Sequence[object]]) -> list[object]:
        return [
            effect
            for twin, one in enumerate(self._twins)
            for effect in self._sent(twin, what(one), now)
        ]

    def _sent(self, twin: int, effects: Sequence[object], now: Now) -> list[object]:
        said: list[object] = []
        for effect in effects:
            match effect:
                case Send(to, data):
                    peers = self._others if to is None else [to]
                    friends = [peer for peer in peers if self._is_friend(twin, peer, data)]
                    said += a.to_each(map(ValidatorIndex, friends), data)
                case Persist() if twin == 0:
                    said.append(effect)
                case RequestEntropy(size):
                    drawn = self._rng.randbytes(size)
                    said += self._sent(twin, self._twins[twin].entropy(drawn, now), now)
                case _:
                    pass
        return said


def adversary_of(
    strategy: str, rng: random.Random, coalition: Sequence[int]
) -> Callable[[Seat], Simulated]:
    """Return what takes a seat with this strategy."""

    def make() -> a.Strategy:
        return Coalition(coalition) if strategy == "coalition" else _STRATEGIES[strategy]()

    if strategy == "twins":
        return lambda seat: Twins(seat, rng)
    return lambda seat: a.Adversary(seat, make(), rng)
