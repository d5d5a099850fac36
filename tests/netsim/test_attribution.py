"""PROTOCOL 9.3, watched from outside: what an honest node can prove, a block says in the end."""

import pytest

from netsim.attribution import OFFENCES, Attribution, Debt
from netsim.invariants import ViolatedError
from netsim.scenario import parse_scenario
from netsim.selftest import Bug, hunt
from netsim.simulation import simulate
from node.evidence_pool import EvidencePool

CHEAT = 3
DEBT = Debt(finder=0, offender=CHEAT, epoch=2, height=10)
CHEATING = 'name = "cheat"\nduration = "15s"\n[nodes]\ncount = 4\n[[byzantine]]\nstrategy = "{}"\n'


@pytest.fixture
def watch() -> Attribution:
    return Attribution()


def settled(
    watch: Attribution, *convicted: int, voters: str = "0123", epoch: int = 2, since: int = 0,
    height: int = 99, held: bool = True,
) -> dict[int, list[str]]:  # fmt: skip
    slots = [int(slot) for slot in voters]
    return watch.settle(
        convicted, slots, epoch, since=since, height=height, is_held=lambda _debt: held
    )


def test_whoever_could_be_proven_is_convicted_within_three_rounds_of_leaders(
    watch: Attribution,
) -> None:
    watch.owes(DEBT)
    assert settled(watch, height=21) == {}
    assert settled(watch, CHEAT, voters="012", epoch=3, height=22) == {CHEAT: ["votes"]}
    with pytest.raises(ViolatedError, match=r"attribution: .* no block names it"):
        settled(watch, height=22)
    assert settled(watch, since=20, height=31) == {}


def test_until_then_the_proof_is_on_the_disk_of_who_heard_both(watch: Attribution) -> None:
    watch.owes(DEBT)
    with pytest.raises(ViolatedError, match=r"attribution: .* its disk has no proof"):
        settled(watch, height=11, held=False)
    assert settled(watch, CHEAT, height=11, held=False) == {CHEAT: ["votes"]}


@pytest.mark.parametrize("held", [True, False])
def test_who_votes_no_more_and_who_comes_when_no_epoch_can_check_it_owes_nothing(
    watch: Attribution, held: bool
) -> None:
    watch.owes(DEBT)
    assert settled(watch, voters="123", held=held) == {}
    assert settled(watch, epoch=4, held=held) == {}
    with pytest.raises(ViolatedError):
        settled(watch, epoch=3, held=held)


def test_what_is_heard_in_a_later_epoch_is_owed_although_an_earlier_proof_is_too_old(
    watch: Attribution,
) -> None:
    watch.owes(DEBT)
    watch.owes(Debt(finder=0, offender=CHEAT, epoch=4, height=20, of="shares"))
    with pytest.raises(ViolatedError, match="a share that was not the one dealt"):
        settled(watch, epoch=4)
    assert settled(watch, CHEAT, epoch=4) == {CHEAT: ["votes", "shares"]}


STRATEGIES = {
    "equivocator": "votes",
    "double-proposer": "votes",
    "double-voter": "votes",
    "double-dealer": "dealings",
    "false-sharer": "shares",
    "false-dealer": "false_dealings",
}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_run_with_a_cheat_owes_its_conviction_for_what_it_does_and_pays_it(
    strategy: str,
) -> None:
    outcome, _ = simulate(parse_scenario(CHEATING.format(strategy)), 2)
    assert outcome.verdict == "ok"
    owed = {mark for mark, count in outcome.marks.items() if count and mark.startswith("owed")}
    assert owed == {f"owed_{STRATEGIES[strategy]}"}


@pytest.mark.parametrize(
    "strategy", [one for one, of in STRATEGIES.items() if of in OFFENCES and of != "votes"]
)
def test_a_proof_that_no_block_takes_is_missed_whatever_it_proves(
    strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(hunt.__globals__["_TEXTS"], "cheat", CHEATING.format(strategy)[15:])
    nowhere = Bug(
        "unproposed",
        "no block takes a proof",
        lambda planter: planter.put(EvidencePool, "against", lambda *_args: ()),
        "cheat",
        2,
    )
    assert "no block names it" in hunt(nowhere).text
