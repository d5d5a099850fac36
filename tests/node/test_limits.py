"""What a node refuses its own player and its peers, by rates and by the player's own limits."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, strategies as st

from consensus.effects import Send
from consensus.messages import Number
from consensus.validators import ValidatorIndex
from node import control, runtime as runtime_module
from node.cli import commands
from node.config import Folder, write_config
from node.errors import OperatorError
from node.game.craps.bets import Kind
from node.game.operations import CreateSession, PlaceBet, Roll, Sit
from node.game.receipts import Code, Receipt, describe
from node.limits import (
    COOLING_MS,
    DAY_MS,
    Limit,
    Limits,
    PersonalLimits,
    Standing,
    TokenBucket,
    read_limits,
    write_limits,
)
from tests.node.machines import Scripted
from tests.node.test_remembering import folder, node_on  # noqa: F401  (a fixture)
from tests.node.test_runtime import running_table, settled

NOW = 1_700_000_000_000
MINUTE = 60_000
BET = PlaceBet(0, Kind.PASS, 0, 100)
FIRST = ValidatorIndex(0)
EVEN = Standing(0, 0, 0)
Own = Callable[..., PersonalLimits]


# Rates.


def test_a_bucket_lets_its_burst_pass_then_its_rate() -> None:
    bucket = TokenBucket(10, 20)
    assert [bucket.take(1, 1_000) for _ in range(21)] == [0] * 20 + [100]
    assert bucket.take(1, 1_099) == 1
    assert bucket.take(1, 1_100) == 0
    assert bucket.take(20, 1_100 + 2_000) == 0


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 8)), max_size=60))
def test_no_bucket_lets_more_pass_than_its_burst_and_rate(steps: list[tuple[int, int]]) -> None:
    bucket, now, passed = TokenBucket(7, 8), 0, 0
    for wait, count in steps:
        now += wait
        again = bucket.take(count, now)
        if again:
            assert bucket.take(count, now + again - 1) != 0  # and this takes nothing
            now += again
            assert bucket.take(count, now) == 0
        passed += count
        assert passed * 1_000 <= 8_000 + 7 * now


async def test_a_client_beyond_its_rate_is_told_the_limit_and_when_to_try_again(
    folder: Folder,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(control, "OPERATIONS_PER_SECOND", 10)
    monkeypatch.setattr(control, "OPERATIONS_BURST", 12)
    async with node_on(folder) as client:
        await client.submit([CreateSession(1), Sit(0)])
        await client.submit([BET] * 10)
        with pytest.raises(
            OperatorError, match=r"submit 10 operations in a second.*again in \d+ ms"
        ):
            await client.submit([BET] * 10)
        assert (await client.view()).own.bets[0].stake == 1_000


async def test_gossip_beyond_the_rate_is_dropped_and_counted_against_its_sender(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runtime_module, "GOSSIP_PER_SECOND", 1)
    monkeypatch.setattr(runtime_module, "GOSSIP_BURST", 3)
    action, vote = bytes((Number.ACTION, 0)), bytes((Number.VOTE, 0))
    machines = [Scripted(), Scripted(peer_up=[[Send(FIRST, action)] * 5 + [Send(FIRST, vote)] * 5])]
    async with running_table(machines) as runtimes:
        await settled()
        heard = [frame for (batch,) in machines[0].of("receive") for _, frame in batch]
        assert heard == [action] * 3 + [vote] * 5
        faults = runtimes[0].statistics().peer_faults
        assert faults == {"more than 1 actions in a second": 2}


# Personal limits.


@pytest.fixture
def own(tmp_path: Path) -> Own:
    def make(**limits: int) -> PersonalLimits:
        write_limits(tmp_path, Limits(**{name: Limit(value) for name, value in limits.items()}))
        return PersonalLimits(tmp_path)

    return make


def code_of(receipt: Receipt | None) -> int | None:
    return None if receipt is None else receipt.code


def test_bets_stop_where_losses_and_stakes_together_would_pass_the_limit(own: Own) -> None:
    limits = own(loss=500)
    assert limits.refuse(BET, Standing(1_000, 700, 0), NOW) is None  # the day begins here
    assert limits.refuse(BET, Standing(1_000, 1_000, 100), NOW + 1) is None
    refusal = limits.refuse(BET, Standing(1_000, 1_000, 101), NOW + 2)
    assert refusal is not None
    assert refusal.code == Code.OWN_LOSS
    assert describe(refusal) == (
        "your own loss limit is 500 chips in 24 hours: 401 are lost or at stake, so a bet of 100 "
        "goes beyond it: bet less, or wait 1440 minutes"
    )
    assert limits.refuse(BET, Standing(1_200, 1_000, 101), NOW + 3) is None  # it won some back
    assert limits.refuse(Roll(0), Standing(0, 10_000, 0), NOW + 4) is None


def test_bets_stop_some_minutes_after_the_first_of_a_day(own: Own) -> None:
    limits = own(minutes=60)
    assert limits.refuse(BET, EVEN, NOW) is None
    assert limits.refuse(BET, EVEN, NOW + 60 * MINUTE - 1) is None
    refusal = limits.refuse(BET, EVEN, NOW + 60 * MINUTE)
    assert refusal is not None
    assert (refusal.code, refusal.values) == (Code.OWN_TIME, (60, 23 * 60))
    assert limits.refuse(BET, EVEN, NOW + DAY_MS) is None


def test_a_day_goes_on_in_the_next_run_of_the_node(own: Own, tmp_path: Path) -> None:
    own(loss=500, minutes=60).refuse(BET, Standing(0, 9_000, 0), NOW)
    limits = PersonalLimits(tmp_path)
    assert code_of(limits.refuse(BET, Standing(0, 9_450, 0), NOW + 1)) == Code.OWN_LOSS
    assert code_of(limits.refuse(BET, Standing(0, 9_000, 0), NOW + 61 * MINUTE)) == Code.OWN_TIME


def test_a_limit_is_tightened_at_once_and_loosened_after_a_day() -> None:
    limit = Limit().changed(500, NOW)
    assert limit.at(NOW) == 500
    assert limit.changed(400, NOW).at(NOW) == 400
    for looser in (900, 0):
        later = limit.changed(looser, NOW)
        assert later.at(NOW + COOLING_MS - 1) == 500
        assert later.at(NOW + COOLING_MS) == looser
        assert later.changed(500, NOW + 1).at(NOW + 2 * COOLING_MS) == 500  # thought better of
        tighter = later.changed(100, NOW + 1)
        assert tighter.at(NOW + 2 * COOLING_MS) == 100
        restarted = later.changed(950, NOW + 1_000)
        assert restarted.at(NOW + COOLING_MS) == 500


def test_limits_are_followed_when_they_change_and_stay_when_they_break(
    own: Own, tmp_path: Path
) -> None:
    limits = own(loss=50)
    assert code_of(limits.refuse(BET, EVEN, NOW)) == Code.OWN_LOSS
    write_limits(tmp_path, Limits(loss=Limit(200)))
    limits.refresh()
    assert limits.refuse(BET, EVEN, NOW) is None
    (tmp_path / "limits.json").write_text("{")
    with pytest.raises(OperatorError, match="damaged"):
        limits.refresh()
    assert limits.are_set(NOW)


async def test_the_own_node_refuses_what_goes_beyond_and_nobody_elses_state_knows(
    folder: Folder,  # noqa: F811
) -> None:
    folder.root.mkdir()
    write_limits(folder.root, Limits(loss=Limit(250)))
    async with node_on(folder) as client:
        answers = await client.submit([CreateSession(1), Sit(0), BET, BET, BET])
        assert [answer.receipt.code for answer in answers] == [0, 0, 0, 0, Code.OWN_LOSS]
        answers = await client.submit([BET, PlaceBet(0, Kind.PASS, 0, 50)])
        assert [answer.receipt.code for answer in answers] == [Code.OWN_LOSS, 0]
        status = await client.status()
        assert status["refused_here"] == 2
        write_limits(folder.root, Limits(loss=Limit(1_000)))
        (answer,) = await client.submit([BET])
        assert answer.receipt.code == 0


def test_the_command_shows_sets_and_refuses(tmp_path: Path) -> None:
    def run(*words: str) -> Result:
        return CliRunner().invoke(commands, ["limits", "--data", str(tmp_path), *words])

    assert run("--loss", "5").exit_code == 2  # no folder of ours

    write_config(Folder(tmp_path), "anna")
    assert "no limit" in run().output
    assert json.loads(run("--loss", "500", "--minutes", "60", "--json").output) == {
        "loss": 500, "loss_later": None, "loss_later_from_ms": None,
        "minutes": 60, "minutes_later": None, "minutes_later_from_ms": None,
    }  # fmt: skip
    assert (
        "500 chips in 24 hours from the first bet; 900 chips in 24 h" in run("--loss", "900").output
    )
    assert (
        "60 minutes in 24 hours from the first bet; no limit in 24 h"
        in run("--minutes", "none").output
    )
    assert read_limits(tmp_path).loss.value == 500
    for words in (("--loss", "0"), ("--loss", "-5"), ("--minutes", "1441"), ("--minutes", "ten")):
        result = run(*words)
        assert result.exit_code == 2
        assert "not a number from 1 to" in result.output
