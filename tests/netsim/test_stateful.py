"""Hypothesis plays against the simulator: it bets, cuts and crashes, and keeps what breaks a rule.

Each step is an entry of a scenario at a time of its own, so that what was found is a scenario file
which `netsim run` repeats to the byte.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import replace

from netsim import scenario as s
from netsim.chance import Length, Spread, Window
from netsim.scenario import format_scenario, parse_scenario
from netsim.sealing import sealed
from netsim.selftest import BUGS, planted
from netsim.shrink import shrink
from netsim.simulation import merged, simulate
from netsim.weather import resolve
from netsim.world import TableRun

EXAMPLES = int(os.environ.get("NETSIM_EXAMPLES", "25"))
"""Examples of the machine; a sweep sets more, and then they differ from time to time."""
STEPS = 30
RUNS_MAX = 200
"""Runs that a failing one may take to be made small."""
PLANTED = "free-chip"
"""The bug of the selftest that stands for all that may be found."""
END_MS = 20_000
"""When everything is healed, whatever the steps were."""
SEATED_MS = 700
STRATEGIES = (
    "silent", "equivocator", "schismatic", "selective", "forger", "babbler", "liar", "late",
    "vote-withholder", "withholder", "false-sharer", "time-liar", "flooder", "thief", "double-bettor",
)  # fmt: skip
BETS = ((1, 0, 10), (2, 0, 10), (16, 0, 5), (9, 6, 12), (9, 4, 5), (17, 8, 1), (21, 66, 1), (3, 0, 5),
        (5, 0, 10), (12, 10, 40))  # fmt: skip
NODES = st.integers(0, 3)
LENGTHS = st.sampled_from((20, 200, 1_000, 4_000))


class BrokenError(Exception):
    """A rule is broken in a run of this scenario with this seed."""

    def __init__(self, text: str, scenario: s.Scenario, seed: int) -> None:
        super().__init__(text)
        self.scenario, self.seed = scenario, seed


class TableMachine(RuleBasedStateMachine):
    """A table of craps, and everything that may happen to it."""

    folder: ClassVar[Path] = Path("runs")
    """Where a failing run is kept."""

    def __init__(self) -> None:
        """Begin with nobody there."""
        super().__init__()
        self.scenario: s.Scenario
        self.run: TableRun | None = None
        self.is_told = False

    @initialize(
        n=st.sampled_from((4, 5)),
        traitor=st.none() | st.tuples(st.sampled_from(STRATEGIES), NODES),
        loss=st.sampled_from((0, 0.1)),
        seed=st.integers(0, 3),
    )
    def begin(self, n: int, traitor: tuple[s.Strategy, int] | None, loss: float, seed: int) -> None:
        """Seat everybody."""
        acts = [s.Act(at=Length(100_000), node=node, does="open") for node in (0, 1)]
        acts += [s.Act(at=Length((500 + node) * 1_000), node=node, does="sit") for node in range(n)]
        asked = s.Scenario(
            name="stateful",
            seed=seed,
            duration=Length(END_MS * 1_000),
            nodes=s.NodesPart(count=n),
            link=s.LinkPart(loss=loss),
            workload=s.WorkloadPart(kind="idle"),
            act=tuple(acts),
            byzantine=()
            if traitor is None
            else (s.Byzantine(strategy=traitor[0], nodes=(traitor[1],)),),
        )
        self.scenario = parse_scenario(format_scenario(asked))
        with sealed():
            self.run = TableRun(resolve(self.scenario, seed), seed)
            self.run.advance(SEATED_MS)

    # What happens; each step takes a millisecond.

    @property
    def table(self) -> TableRun:
        """The table, once there is one."""
        assert self.run is not None, "somebody sits down first"
        return self.run

    @property
    def next_ms(self) -> int:
        """When the next step is."""
        return self.table.network.now_ms + 1

    def pass_time(self, until_ms: int) -> None:
        """Let time pass, but not to the end."""
        with sealed():
            self.table.advance(min(until_ms, END_MS - STEPS))

    def act(self, act: s.Act) -> None:
        """Let a member do something."""
        self.scenario = replace(self.scenario, act=(*self.scenario.act, act))
        self.table.schedule_act(act)
        self.pass_time(act.at.ms)

    def strike(self, fault: s.AnyFault) -> None:
        """Let a fault begin."""
        self.scenario = replace(self.scenario, fault=(*self.scenario.fault, fault))
        self.table.schedule_fault(fault)
        self.pass_time(fault.at.first_us // 1_000)

    @property
    def now(self) -> Window:
        """The time of a fault that begins now."""
        return Window(self.next_ms * 1_000, self.next_ms * 1_000)

    def is_early(self) -> bool:
        """Say whether there is time for another step."""
        return self.run is None or self.next_ms < END_MS - STEPS

    @precondition(is_early)
    @rule(node=NODES, bet=st.sampled_from(BETS))
    def bet(self, node: int, bet: tuple[int, int, int]) -> None:
        """A member bets."""
        kind, number, chips = bet
        at = Length(self.next_ms * 1_000)
        self.act(s.Act(at=at, node=node, does="bet", kind=kind, number=number, chips=chips))

    @precondition(is_early)
    @rule(node=NODES, bet=st.sampled_from(BETS))
    def take_down(self, node: int, bet: tuple[int, int, int]) -> None:
        """A member wants a bet back."""
        at = Length(self.next_ms * 1_000)
        self.act(s.Act(at=at, node=node, does="take-down", kind=bet[0], number=bet[1]))

    @precondition(is_early)
    @rule(node=NODES, does=st.sampled_from(("ready", "roll", "roll", "roll", "leave", "sit")))
    def do(self, node: int, does: str) -> None:
        """A member says something else; whoever throws is known to the machine."""
        if does == "roll":
            games = self.table.game.replicas[0].final.game
            thrower = games.thrower(0) if games.sessions else None
            node = node if thrower is None else thrower
        self.act(s.Act(at=Length(self.next_ms * 1_000), node=node, does=does))  # type: ignore[arg-type]

    @rule(ms=st.sampled_from((5, 50, 300, 1_000, 3_000)))
    def wait(self, ms: int) -> None:
        """Time passes."""
        self.pass_time(self.table.network.now_ms + ms)

    @precondition(is_early)
    @rule(node=NODES, effects=st.integers(0, 7), ms=LENGTHS)
    def crash(self, node: int, effects: int, ms: int) -> None:
        """The power of a host fails behind some effect, and comes back."""
        length = Spread(str(Length(ms * 1_000)))
        self.strike(s.Crash(at=self.now, duration=length, nodes=(node,), effects=effects))

    @precondition(is_early)
    @rule(alone=NODES, other=NODES, oneway=st.booleans(), ms=LENGTHS)
    def cut(self, alone: int, other: int, oneway: bool, ms: int) -> None:
        """One or two members are cut off for a while, one way or both."""
        few = tuple(sorted({alone, other}))
        rest = tuple(node for node in range(self.scenario.table) if node not in few)
        length = Spread(str(Length(ms * 1_000)))
        self.strike(s.Partition(at=self.now, duration=length, groups=(few, rest), oneway=oneway))

    @precondition(is_early)
    @rule(node=NODES, ms=LENGTHS)
    def pause(self, node: int, ms: int) -> None:
        """A process is stopped for a while."""
        self.strike(s.Pause(at=self.now, duration=Spread(str(Length(ms * 1_000))), nodes=(node,)))

    @precondition(is_early)
    @rule(node=NODES, step=st.sampled_from((-3_600, -5, 3, 3_600)), ms=LENGTHS)
    def turn_clock(self, node: int, step: int, ms: int) -> None:
        """A clock jumps for a while."""
        length, jump = Spread(str(Length(ms * 1_000))), Length(step * 1_000_000)
        self.strike(s.ClockStep(at=self.now, duration=length, nodes=(node,), step=jump))

    @precondition(is_early)
    @rule(loss=st.sampled_from((0, 0.4)), again=st.sampled_from((0, 0.3)), ms=LENGTHS)
    def storm(self, loss: float, again: float, ms: int) -> None:
        """Links lose and repeat for a while."""
        length = Spread(str(Length(ms * 1_000)))
        self.strike(
            s.Weather(at=self.now, duration=length, loss=loss, duplication=again, replay=again)
        )

    # What must hold.

    @invariant()
    def nothing_is_broken(self) -> None:
        """No rule that the simulator watches is broken; a run that breaks one is kept."""
        violation = None if self.run is None else self.run.violation
        if violation is None:
            return
        self.is_told = True
        assert self.scenario.seed is not None, "the machine draws it"
        raise BrokenError(violation.text, self.scenario, self.scenario.seed)

    def teardown(self) -> None:  # type: ignore[explicit-override]  # typing.override is 3.12
        """Heal everything; everybody comes to rest with the same state."""
        if self.run is None or self.is_told:
            return
        with sealed():
            until_ms = END_MS
            while not self.run.is_done:
                self.run.advance(until_ms)
                until_ms += 1_000
        self.nothing_is_broken()


def search(examples: int, runs_max: int) -> None:
    """Play so many examples; what breaks a rule is made small and kept as a scenario file."""
    terms = settings(
        max_examples=examples,
        stateful_step_count=STEPS,
        deadline=None,
        derandomize="NETSIM_EXAMPLES" not in os.environ,
        database=None,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        # A scenario can be made small faster than the bytes that hypothesis drew it from.
        phases=(Phase.generate,),
    )
    try:
        run_state_machine_as_test(TableMachine, settings=terms)
    except BrokenError as error:
        small = shrink(error.scenario, error.seed, runs_max=runs_max)
        if small is None:
            raise
        path = TableMachine.folder / f"stateful-{small.outcome.violations[0].rule}.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(format_scenario(small.scenario), encoding="utf-8")
        pytest.fail(f"{small.outcome.violations[0].text}: netsim run {path}")


@pytest.mark.slow
def test_whatever_happens_to_a_table_no_rule_breaks_and_it_comes_to_rest() -> None:
    search(EXAMPLES, RUNS_MAX)


@pytest.mark.slow
def test_what_it_finds_is_a_small_scenario_file_that_the_command_repeats(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    [bug] = [one for one in BUGS if one.name == PLANTED]
    monkeypatch.setattr(TableMachine, "folder", tmp_path)
    with planted(bug), pytest.raises(pytest.fail.Exception, match="netsim run") as found:
        search(60, 40)
    [path] = tmp_path.iterdir()
    assert str(found.value).endswith(f"netsim run {path}")
    kept = parse_scenario(path.read_text(encoding="utf-8"))
    assert len(kept.act) + len(kept.fault) <= kept.table + 3  # of those that seat them and 30 more
    repeat = ["netsim", "run", str(path), "--no-save"]
    code = (
        "import sys; from netsim.selftest import BUGS, planted; from netsim.__main__ import main\n"
        f"sys.argv = {repeat}\n"
    )
    broken = f"[bug] = [one for one in BUGS if one.name == {PLANTED!r}]\nwith planted(bug): main()"
    for more, exit_code in ((broken, 1), ("main()", 0)):
        ran = subprocess.run(
            [sys.executable, "-c", code + more], capture_output=True, text=True, check=False
        )
        assert ran.returncode == exit_code, ran.stdout + ran.stderr
        assert exit_code == 0 or str(found.value).partition(": netsim run")[0] in ran.stdout


def test_a_step_taken_now_and_one_read_from_a_file_are_the_same() -> None:
    machine = TableMachine()
    machine.begin(5, ("flooder", 3), 0.1, 2)
    for node in range(5):
        machine.bet(node, BETS[node % 2])
        machine.do(node, "ready")
    machine.cut(1, 2, True, 1_000)
    machine.crash(0, 3, 200)
    machine.wait(1_000)
    machine.storm(0.4, 0.3, 4_000)
    machine.turn_clock(4, 3, 1_000)
    machine.do(0, "roll")
    machine.pause(2, 1_000)
    machine.teardown()
    outcome, again = simulate(machine.scenario, 2)
    assert outcome.verdict == "ok"
    played = merged(again, [machine.table.ended()])
    assert outcome.marks == played.marks
    assert outcome.digest == played.digest
