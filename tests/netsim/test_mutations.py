"""Each rule that somebody's implementation lacked is taken out here, and the simulator must notice.

Each row leaves out one rule of PROTOCOL 7 to 9. Without a mutation the same runs pass: that is
what test_scenarios.py and test_attacks.py are.
"""

from collections.abc import Callable
from typing import Any

import pytest

import consensus.restart
import consensus.validators
import netsim.invariants
from consensus.dissemination import Dissemination
from consensus.effects import Effect, Now
from consensus.engine import Engine
from consensus.messages import NO_DIGEST, VoteKind
from consensus.rounds import Rounds
from tests.netsim import scenarios
from tests.netsim.scenarios import hunt

Patch = pytest.MonkeyPatch


def quorum_of_2f_plus_1(patch: Patch) -> None:
    patch.setattr(consensus.validators, "quorum", lambda n: 2 * ((n - 1) // 3) + 1)
    # The watcher believes in it as well: what fails has to be agreement, not arithmetic.
    patch.setattr(netsim.invariants, "quorum_of", lambda n: 2 * ((n - 1) // 3) + 1)


def finalizing_although_nullified(patch: Patch) -> None:
    vote = Engine._voted_final

    def voted_final(self: Engine) -> bool:
        held = [(known, known.nullify) for known in self._rounds.open]
        for known, _ in held:
            known.nullify = None
        fired = vote(self)
        for known, nullify in held:
            known.nullify = nullify
        return fired

    patch.setattr(Engine, "_voted_final", voted_final)


def fresh_votes_on_rebroadcast(patch: Patch) -> None:
    advance = Engine.advance

    def fresh(self: Engine, now: Now) -> list[Effect]:
        retries = self._outside._retries
        effects = advance(self, now)
        if self._outside._retries <= retries:
            return effects
        for known in self._rounds.open:
            held, known.nullify, known.finalize = (known.nullify, known.finalize), None, None
            assert known.notarization is not None
            if self._chain.tip_of(known.notarization.digest) is not None:
                self._vote(VoteKind.FINALIZE, known, known.notarization.digest)
            known.nullify, known.finalize = held
        return [*effects, *advance(self, now)]

    patch.setattr(Engine, "advance", fresh)


def votes_forgotten_at_restart(patch: Patch) -> None:
    patch.setattr(consensus.restart, "_restore_vote", lambda *_args: None)


def skipped_views_not_checked(patch: Patch) -> None:
    proves = Rounds._proves

    def any_skip(self: Rounds, data: bytes, kinds: Any, view: int, about: bytes) -> bool:
        return about == NO_DIGEST or proves(self, data, kinds, view, about)

    patch.setattr(Rounds, "_proves", any_skip)


def no_rebroadcast(patch: Patch) -> None:
    def put_off(self: Dissemination, now: Now) -> None:
        self._retry_ms = now.mono_ms + 1_000

    patch.setattr(Dissemination, "_repeat", put_off)


def votes_forgotten_and_not_noticed(patch: Patch) -> None:
    votes_forgotten_at_restart(patch)
    patch.setattr(Rounds, "_note_forgotten", lambda *_args: None)


def ancestry_by_own_history(patch: Patch) -> None:
    judged = Engine._judged

    def by_own_history(self: Engine) -> bool:
        known = self._rounds.get(self.view)
        if known is not None and known.proposal is not None and not known.justified:
            header = known.proposal.header
            below = self._rounds.get(header.parent_view)
            if header.parent_view > self.final.view and (
                below is None or (below.notarization or below.finalization) is None
            ):
                return False
            for view in range(header.parent_view + 1, header.view):
                skipped = self._rounds.get(view)
                if skipped is None or skipped.nullification is None:
                    return False
        return judged(self)

    patch.setattr(Engine, "_judged", by_own_history)
    patch.setattr(Dissemination, "_ask_certificate", lambda *_args: None)


def sleep_with_an_open_tip(patch: Patch) -> None:
    rearm = Engine._rearm

    def sleepy(self: Engine) -> None:
        rounds = self._rounds
        rounds.open, held = [], rounds.open
        rearm(self)
        rounds.open = held

    patch.setattr(Engine, "_rearm", sleepy)


def no_help(patch: Patch) -> None:
    patch.setattr(Dissemination, "_help", lambda *_args: False)


def no_amplification(patch: Patch) -> None:
    patch.setattr(Rounds, "given_up", lambda _rounds: False)


@pytest.mark.parametrize(
    ("mutate", "scenario", "n", "seeds", "found"),
    [
        (quorum_of_2f_plus_1, scenarios.equivocated, 5, 5, "G1|G4|two chains"),
        (quorum_of_2f_plus_1, scenarios.equivocated, 6, 5, "G1|G4|two chains"),
        (finalizing_although_nullified, scenarios.stormy, 4, 10, "I2"),
        (fresh_votes_on_rebroadcast, scenarios.stormy, 4, 10, "I1|I2|I6"),
        # Who is shown its own votes falls silent, so the table stands still instead of splitting.
        (votes_forgotten_at_restart, scenarios.stormy, 4, 20, "I1|I2|L "),
        (votes_forgotten_and_not_noticed, scenarios.stormy, 4, 20, "I1|I2"),
        (skipped_views_not_checked, scenarios.schismatic, 4, 20, "G1|G4|two chains"),
        (skipped_views_not_checked, scenarios.schismatic, 7, 20, "G1|G4|two chains"),
        (no_rebroadcast, scenarios.lossy, 4, 10, "L "),
        (ancestry_by_own_history, scenarios.split_certificates, 4, 3, "L "),
        (sleep_with_an_open_tip, scenarios.split_finalization, 4, 3, "L "),
        (no_help, scenarios.lost_finalization, 4, 3, "L "),
        # It would go on, only later: a bound in virtual time tells.
        (no_amplification, scenarios.unheard_work, 4, 3, "L "),
    ],
)
def test_a_table_without_the_rule_is_caught(
    monkeypatch: Patch,
    mutate: Callable[[Patch], None],
    scenario: Callable[[int, int], None],
    n: int,
    seeds: int,
    found: str,
) -> None:
    mutate(monkeypatch)
    report = hunt(scenario, n, seeds)
    assert any(f": {name}" in report or name in report for name in found.split("|")), report
