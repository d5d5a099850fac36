"""One HTML file for a run: what went wrong, lanes, arrows, faults, plots. It needs no network."""

import json
import re
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from netsim import scenario as s
from netsim.runs import EVENTS_FILE, RESULT_FILE, SCENARIO_FILE
from netsim.trace import Happening, read_happenings

MESSAGES_MAX = 10_000
"""Arrows of one report: what a browser draws at once, and more than a person looks at."""
EVENTS_MAX = 4_000
"""Boots, crashes, faults and final blocks of one table that a report lists."""
FLOW_STEPS = 240
"""Points of the plot of traffic: about as many as it has pixels to tell apart."""
AFTER_MS = 50
"""How far behind a violation messages are still shown."""
REPORT_FILE = "report.html"
RULES = {
    "G1": "A certificate must hold a quorum of distinct, valid votes, and there is one for a view.",
    "G2": "No view may be both given up and final.",
    "G3": "Only what was notarized may become final.",
    "G4": "At each height there is one final block, the same for every honest node, for ever.",
    "G5": "What a node has called final stays final, over crashes too.",
    "G6": "The same blocks lead to the same state, chip for chip.",
    "G8": "A player's action counts once.",
    "I1": "An honest node gives one vote of a kind in a view.",
    "I2": "An honest node never finalizes a view that it gave up.",
    "I3": "An honest node finalizes only what it saw notarized.",
    "I5": "An honest node votes above what it knows to be final.",
    "I6": "An honest node says nothing that its disk would forget.",
    "L": "Once everything is healed, the table goes on within the time that the scenario gives it.",
    "agreement": "All nodes hold the same block and state at each height.",
    "blame": "Honest nodes find no fault with honest nodes.",
    "attribution": "Who forks a table is named by what it signed, more than f of them.",
    "books": "Every node's books are those of the independent ledger.",
    "bounded": "Queues and memory stay within their limits, whatever arrives.",
    "conservation": "No chip is made and none is lost.",
    "corruption": "A node closes a link on which a bit was flipped.",
    "dice": "Dice follow from the shares that were fixed before anybody saw them, and only from those.",
    "died": "A worker process must survive any seed.",
    "ended": "A node ends only when somebody ends it.",
    "evidence": "Proofs of cheating name cheats only.",
    "finality": "A node's final height never falls.",
    "halt": "An honest node does not halt.",
    "hung": "A seed ends in time.",
    "late-bet": "No bet moves while the dice are out.",
    "liveness": "Once everything is healed, the table goes on within the time that the scenario gives.",
    "payout": "Every bet pays what the independent rule book says.",
    "raised": "No input may make a node raise.",
    "reveal": "Nobody shows shares before the bets are closed for good.",
    "spent-twice": "No action of a player counts twice, whatever its number says.",
    "start": "All nodes come to the table in time.",
    "store": "A store can be read, whatever happened to its node.",
    "validity": "Every bet was signed by its owner and legal when it was made.",
    "verify": "Every folder passes `bitcraps verify`.",
}
"""What each rule of a violation means, for somebody who sees its name for the first time."""


class ReportError(Exception):
    """A folder that is not one of a run."""


def write_report(folder: Path) -> Path:
    """Write `report.html` beside what a run left in `folder`, and return it.

    Raises:
        ReportError: Something of the run is missing or cannot be read.
    """
    try:
        result = json.loads((folder / RESULT_FILE).read_text(encoding="utf-8"))
        scenario = s.parse_scenario((folder / SCENARIO_FILE).read_text(encoding="utf-8"))
        happenings: dict[int, list[Happening]] = {}
        for table, one in read_happenings(folder / EVENTS_FILE):
            happenings.setdefault(table, []).append(one)
    except (OSError, ValueError, TypeError) as error:
        raise ReportError(f"{folder} is not the folder of a run: {error}") from None
    broken = {one["table"]: one["at_ms"] for one in reversed(result["violations"])}
    chosen = [table for table in happenings if table in broken] or list(happenings)[:1]
    share = MESSAGES_MAX // max(len(chosen), 1)
    for one in result["violations"]:
        one["means"] = RULES.get(one["rule"], "")
        one["nodes"] = sorted({int(at) for at in re.findall(r"(?:host|node) (\d+)", one["text"])})
    kinds: dict[str, int] = {}
    data = {
        "result": result,
        "about": scenario.about,
        "tier": scenario.tier,
        "tables": {
            table: _Table(scenario, table, happenings[table], broken.get(table)).plain(share, kinds)
            for table in chosen
        },
        "kinds": list(kinds),
    }
    template = resources.files("netsim").joinpath(REPORT_FILE).read_text(encoding="utf-8")
    title = f"{result['name']}, seed {result['seed']}: {result['verdict']}"
    # "</" would end the script that holds the data.
    text = json.dumps(data, separators=(",", ":")).replace("</", "<\\/")
    path = folder / REPORT_FILE
    html = template.replace("__TITLE__", title).replace("__DATA__", text)
    path.write_text(html, encoding="utf-8")
    return path


class _Table:
    """One table of a report."""

    def __init__(
        self,
        scenario: s.Scenario,
        table: int,
        happenings: Sequence[Happening],
        broken_ms: int | None,
    ) -> None:
        self._scenario = scenario
        self._faults = [one for one in scenario.fault if not one.tables or table in one.tables]
        self._cheats = {
            node: str(one.strategy)
            for one in scenario.byzantine
            if not one.tables or table in one.tables
            for node in one.nodes
        }
        self._messages = [one for one in happenings if one.other >= 0]
        self._events = [one for one in happenings if one.other < 0]
        self._broken_ms = broken_ms
        ends = [max(one.ms, one.at_ms) for one in happenings]
        self._begin_ms = min((one.ms for one in happenings), default=0)
        self._end_ms = max(ends, default=0) + AFTER_MS

    def plain(self, most: int, kinds: dict[str, int]) -> dict[str, Any]:
        """Return what the page draws: the messages around the failure, else the last ones."""
        until_ms = self._end_ms if self._broken_ms is None else self._broken_ms + AFTER_MS
        kept = [one for one in self._messages if one.ms <= until_ms][-most:]
        bands = [band for one in self._faults for band in self._bands(one)]
        return {
            "hosts": self._scenario.table + self._scenario.nodes.newcomers,
            "cheats": self._cheats,
            "begin": self._begin_ms,
            "end": self._end_ms,
            "total": len(self._messages),
            "m": [
                [one.ms, one.host, kinds.setdefault(one.what, len(kinds)), one.other, one.at_ms,
                 one.size]
                for one in kept
            ],
            "e": self._told(bands),
            "bands": bands,
            "flow": self._flow(kinds),
        }  # fmt: skip

    def _told(self, bands: Sequence[Sequence[Any]]) -> list[list[Any]]:
        """Return what happened beside messages, in order; faults as the scenario has them."""
        told = [
            [one.ms, one.host, one.what, one.text]
            for one in self._events[-EVENTS_MAX:]
            if one.what != "fault"
        ]
        told += [
            [begin_ms, node, "fault", f"{kind} for {(end_ms - begin_ms) / 1000:.1f} s {text}"]
            for begin_ms, end_ms, node, kind, text in bands
        ]
        return sorted(told, key=lambda one: one[0])

    def _flow(self, kinds: dict[str, int]) -> dict[str, Any]:
        """Return the bytes of each kind, in steps of equal length."""
        step_ms = max(1, -(-(self._end_ms - self._begin_ms) // FLOW_STEPS))
        steps = (self._end_ms - self._begin_ms) // step_ms + 1
        sums: dict[int, list[int]] = {}
        for one in self._messages:
            row = sums.setdefault(kinds.setdefault(one.what, len(kinds)), [0] * steps)
            row[(one.ms - self._begin_ms) // step_ms] += one.size
        return {"step": step_ms, "bytes": sums}

    def _bands(self, fault: s.AnyFault) -> Iterator[list[Any]]:
        begin_ms = fault.at.first_us // 1_000
        end_ms = begin_ms + fault.duration.mean_us // 1_000
        if isinstance(fault, s.Reset):
            end_ms = begin_ms
        if end_ms >= self._begin_ms and begin_ms <= self._end_ms:
            kind = type(fault).__struct_config__.tag
            nodes = s.nodes_named(fault)
            span = [max(begin_ms, self._begin_ms), min(end_ms, self._end_ms)]
            for node in nodes if 0 < len(nodes) < self._scenario.table else (-1,):
                yield [*span, node, kind, _told(fault)]


def _told(fault: s.AnyFault) -> str:
    """Return what a tester must know of a fault, in a few words."""
    match fault:
        case s.Partition():
            wall = " ⇥ " if fault.oneway else " | "
            return wall.join(" ".join(map(str, group)) for group in fault.groups)
        case s.Clog(direction=direction):
            return f"held back: {direction}"
        case s.BlackHole(direction=direction, mtu=mtu):
            return f"above {mtu} bytes swallowed: {direction}"
        case s.Spike(delay=delay):
            return f"{delay} later"
        case s.Squeeze():
            return f"{fault.up:,} up, {fault.down:,} down B/s"
        case s.Weather():
            bad = ("loss", "duplication", "replay", "reorder", "corruption")
            terms = [f"{name} {getattr(fault, name):.2%}" for name in bad if getattr(fault, name)]
            return ", ".join([*terms, *([str(fault.latency)] if fault.latency else [])])
        case s.ClockStep(step=step):
            return f"steps {step}" if step.us else "stands still"
        case s.Misdirected(lost=lost):
            return "a write goes nowhere" if lost else "a write lands on another record"
        case s.Version(speaks=speaks):
            return f"speaks a {speaks} version"
        case s.Slow():
            return f"{fault.cpu} each input, {fault.write} each write"
        case _:
            return ""
