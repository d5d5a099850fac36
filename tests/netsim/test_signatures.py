"""Stand-in signatures are Ed25519's in all but their bytes, and no cheat can make another's."""

# mypy: disable-error-code="explicit-override"
# The decorator is of Python 3.12.

from collections.abc import Iterable
from itertools import pairwise

import pytest
from msgspec.structs import replace

import netsim.byzantine
import netsim.playing
from consensus.effects import Send
from consensus.messages import Number, frame
from consensus.signing import PublicKey, SigningKey, build_envelope, parse_envelope, verify
from netsim.adversaries import Adversary, Quiet, flip, to_each
from netsim.scenario import parse_scenario
from netsim.simulation import simulate
from netsim.tables import StandInKey, StandInScheme
from netsim.trace import Happening

BETS = (
    'name = "same"\nduration = "6s"\n[nodes]\ncount = 4\n[workload]\nkind = "bets"\n'
    "bets_per_s = 4.0\n[liveness]\nrolls = 0\n"
)
STORM = (
    "[link]\nloss = 0.1\nduplication = 0.1\nreplay = 0.05\n"
    '[[fault]]\nkind = "crash"\nat = "1s"\nevery = "exp(1s)"\nfor = "exp(500ms)"\n'
    '[[fault]]\nkind = "partition"\nat = "1s..3s"\nfor = "1s"\n'
)
PLAY = 'name = "both"\nduration = "5s"\n[nodes]\ncount = 4\n[liveness]\nrolls = 0\n'


def cheat(strategy: str) -> str:
    return f'[[byzantine]]\nstrategy = "{strategy}"\n'


def happenings(text: str, signatures: str) -> tuple[list[Happening], dict[str, int]]:
    """Return every frame with its time, size and receiver, and all else that happened."""
    scenario = replace(parse_scenario(text), signatures=signatures)
    outcome, run = simulate(scenario, 1, keep=1_000_000)
    assert outcome.violations == ()
    return run.happenings[0], dict(outcome.marks)


def until_seal(happened: list[Happening]) -> list[Happening]:
    """Return what happened up to the first seal: its hash, with signatures in it, orders leaders."""
    finals = [(i, int(h.text.split()[2])) for i, h in enumerate(happened) if h.what == "final"]
    sealed = [i for (i, view), (_, after) in pairwise(finals) if after < view]
    return happened[: sealed[0]] if sealed else happened


@pytest.mark.parametrize(
    ("more", "seals"),
    [
        (STORM, False),
        (cheat("schismatic"), False),
        (cheat("thief"), False),
        (cheat("flooder"), False),
        (cheat("double-bettor"), False),
        (cheat("equivocator"), True),
        (cheat("forger"), True),
    ],
)
def test_a_run_is_the_same_under_both_schemes_but_for_the_bytes(more: str, seals: bool) -> None:
    stand_in, marks = happenings(BETS + more, "stand-in")
    real, real_marks = happenings(BETS + more, "ed25519")
    assert real_marks == marks
    assert bool(marks.get("epochs")) == seals
    assert until_seal(real) == until_seal(stand_in)
    assert len(until_seal(real)) > 200
    assert seals or real == stand_in


class _Key(StandInKey):
    """Signs with a real key at the same time."""

    __slots__ = ("_real", "_scheme")

    def __init__(self, seed: bytes, scheme: "Both") -> None:
        super().__init__(seed)
        self._real, self._scheme = SigningKey(seed), scheme

    def sign(self, message: bytes) -> bytes:
        tag = super().sign(message)
        self._scheme.real[tag] = self._real.sign(message)
        self._scheme.signed[self.public_key, message] = None
        return tag


class Both(StandInScheme):
    """Asks three about each signature: the stand-in, Ed25519, and whether its owner ever made it."""

    made: "Both"

    def __init__(self, keys: Iterable[StandInKey]) -> None:
        super().__init__(tuple(keys))
        self.real: dict[bytes, bytes] = {}
        self.signed: dict[tuple[PublicKey, bytes], None] = {}
        self.verdicts = {True: 0, False: 0}
        Both.made = self

    def make(self, seed: bytes) -> StandInKey:
        super().make(seed)
        return _Key(seed, self)  # its owner's; whoever verifies has the plain one

    def verify(self, key: PublicKey, message: bytes, signature: bytes, /) -> bool:
        was_signed = (key, message) in self.signed
        verdict = super().verify(key, message, signature)
        assert verdict == verify(key, message, self.real.get(signature, signature))
        assert verdict <= was_signed
        self.verdicts[verdict] += 1
        return verdict


class Copycat(Quiet):
    """Puts signatures that it heard under other words, other names and other kinds of message."""

    def __init__(self) -> None:
        self._heard: list[bytes] = []

    def hear(self, me: Adversary, sender: int, data: bytes) -> Iterable[Send]:
        if data[0] not in {Number.VOTE, Number.ACTION, Number.REVEAL}:
            return
        self._heard.append(data[1:])
        one = parse_envelope(me.rng.choice(self._heard))
        other = parse_envelope(data[1:])
        number = Number(data[0])
        kid = me.seat.validators.kids[sender]
        own = me.seat.key.sign(other.payload)
        forged = (
            build_envelope(other.kid, one.payload, other.signature),
            build_envelope(one.kid, other.payload, other.signature),
            build_envelope(kid, other.payload, own),
            build_envelope(other.kid, other.payload, flip(other.signature, me.rng)),
            build_envelope(other.kid, flip(other.payload, me.rng), other.signature),
        )
        for each in forged:
            yield from to_each(me.others, frame(number, each))


@pytest.mark.parametrize(
    "strategy", ["", "equivocator", "babbler", "thief", "false-sharer", "liar"]
)
def test_each_verdict_of_the_stand_in_is_that_of_ed25519(
    monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    monkeypatch.setattr(netsim.playing, "StandInScheme", Both)
    outcome, _ = simulate(parse_scenario(PLAY + (cheat(strategy) if strategy else "")), 2)
    assert outcome.violations == ()
    assert Both.made.verdicts[True] > 500
    assert bool(Both.made.verdicts[False]) >= (strategy in {"babbler", "thief"})


def test_no_signature_that_a_cheat_puts_together_is_taken_for_another_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(netsim.playing, "StandInScheme", Both)
    monkeypatch.setitem(netsim.byzantine._STRATEGIES, "silent", Copycat)
    outcome, _ = simulate(parse_scenario(PLAY + cheat("silent")), 2)
    assert outcome.violations == ()
    assert Both.made.verdicts[False] > 200


def test_a_key_that_nobody_has_verifies_nothing() -> None:
    scheme = StandInScheme([])
    key, message = SigningKey(bytes(32)), b"message"
    assert not scheme.verify(key.public_key, message, key.sign(message))
