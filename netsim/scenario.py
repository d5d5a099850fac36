"""Scenarios: what a run is made of, as a TOML file, read strictly.

A key that is unknown, a value that cannot be, and more damage than the scenario allows are refused
with the line and the reason. What chance decides is decided in `netsim.weather`, which makes of a
scenario and a seed a scenario without chance: the form that is stored, shrunk and replayed.
"""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import msgspec

from netsim.chance import US_PER_S, Length, Spread, Window, parse_length
from netsim.topology import CITIES

NODES_MAX = 100_000
TABLE_MAX = 64
"""Voters of one table: beyond it a single view costs more events than a run has use for."""
FAULTS_MAX = 20_000
"""Faults of one resolved scenario; more says nothing that fewer do not."""

SEED_MAX = 2**63 - 1

Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]
Range: TypeAlias = tuple[Probability, Probability]
Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]
Node = Annotated[int, msgspec.Meta(ge=0, lt=TABLE_MAX)]
Nodes: TypeAlias = tuple[Node, ...] | Literal["random", "all"]
Tier: TypeAlias = Literal["core", "node", "real"]
REAL_NODES_MAX = 16
"""Processes of one real table: what a laptop runs beside their proxies."""
REAL_US_MAX = 2 * 3_600 * US_PER_S
"""A real run takes its whole length in real time."""
Verdict: TypeAlias = Literal["ok", "violated", "unknown"]
Strategy: TypeAlias = Literal[
    "silent", "equivocator", "schismatic", "selective", "forger", "babbler", "liar", "late",
    "vote-withholder", "withholder", "false-sharer", "double-dealer", "double-acker", "false-dealer", "framer", "time-liar", "flooder", "thief", "double-bettor", "coalition",
    "twins", "spendthrift", "double-proposer", "double-voter", "hoarder",
]  # fmt: skip
MARKS = (
    "bets_settled", "rolls", "points_made", "seven_outs", "refusals", "view_changes", "crashes",
    "restarts", "partitions", "epochs", "evidence", "dealings", "reveals_asked", "blocks_fetched",
    "joins", "retired", "records_lost", "disk_refusals", "equivocations", "pauses", "resets",
    "corruptions", "wipes", "forks", "cheats_named", "cheats_owed", "owed_votes", "owed_dealings",
    "owed_shares", "owed_false_dealings", "standstills", "quarantines", "swallowed",
    "foreign",
)  # fmt: skip
"""What a run may be asked to have gone through."""


class ScenarioError(Exception):
    """A scenario that cannot be run; the text begins with where in the file."""


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A section: every key that is not a field is refused."""


class NodesPart(_Part, frozen=True):
    """Who is there. `table` seats share a chain; `faulty` is the damage that a table may take.

    `cpu` is what each input costs a node, `write` how long it waits for its disk.
    """

    count: Annotated[int, msgspec.Meta(ge=1, le=NODES_MAX)] = 4
    table: Annotated[int, msgspec.Meta(ge=0, le=TABLE_MAX)] = 0
    faulty: Literal["f", "f+1"] | Count = "f"
    newcomers: Annotated[int, msgspec.Meta(ge=0, le=8)] = 0
    cpu: Length = Length(0)
    write: Length = Length(0)


class ClocksPart(_Part, frozen=True):
    """How wrong each host's clocks are from the start."""

    offset: Spread = Spread("0s")
    drift_ppm: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 0
    """Both clocks run up to so much too fast or too slow."""


class TopologyPart(_Part, frozen=True):
    """Where the nodes are: on one LAN, in cities in turn, or as phones in a room."""

    kind: Literal["lan", "cities", "room"] = "lan"
    cities: tuple[str, ...] = ()
    area_m: tuple[float, float] = (12.0, 8.0)
    range_m: Annotated[float, msgspec.Meta(gt=0)] = 9.0
    speed_mps: Annotated[float, msgspec.Meta(ge=0, le=10)] = 0.4


class LinkPart(_Part, frozen=True):
    """How a link behaves. Bandwidths are bytes a second, 0 without limit."""

    latency: Spread = Spread("uniform(5ms,20ms)")
    loss: Probability = 0.0
    duplication: Probability = 0.0
    replay: Probability = 0.0
    reorder: Probability = 0.0
    corruption: Probability = 0.0
    stream: bool = False
    up: Count = 0
    down: Count = 0
    queue: Count = 262_144


class WorkloadPart(_Part, frozen=True):
    """What players do: `play` craps, or `bets`: so many bets a table and second, no dice."""

    kind: Literal["play", "bets", "idle"] = "play"
    think: Length = Length(400_000)
    sessions: Annotated[int, msgspec.Meta(ge=1, le=32)] = 1
    bets_per_s: Annotated[float, msgspec.Meta(gt=0, le=1_000)] = 1.0
    leave_per_min: Annotated[float, msgspec.Meta(ge=0, le=60)] = 0.0


class Fault(_Part, tag_field="kind", frozen=True):
    """When and how long. `at` may be a range; with `every` it comes again until `until`."""

    at: Window
    duration: Spread = msgspec.field(name="for", default=Spread("2s"))
    every: Spread | None = None
    until: Length | None = None
    tables: tuple[Annotated[int, msgspec.Meta(ge=0)], ...] = ()
    """Which tables it meets; all of them unless said."""

    damages: ClassVar[bool] = False
    """Whether a host that it meets may afterwards contradict what it signed."""


class Weather(Fault, tag="weather", frozen=True):
    """All links behave otherwise for a while."""

    latency: Spread | None = None
    loss: Probability = 0.0
    duplication: Probability = 0.0
    replay: Probability = 0.0
    reorder: Probability = 0.0
    corruption: Probability = 0.0


class Partition(Fault, tag="partition", frozen=True):
    """Links between groups are cut. `shifts`: so often meanwhile the groups are drawn anew."""

    groups: tuple[tuple[Node, ...], ...] = ()
    split: Literal["half", "one", "three", "random"] = "random"
    oneway: bool = False
    shifts: Annotated[int, msgspec.Meta(ge=0, le=50)] = 0


class Clog(Fault, tag="clog", frozen=True):
    """What nodes say, hear, or both, is held back. `swizzle`: one after the other, freed likewise."""

    nodes: Nodes = "random"
    direction: Literal["in", "out", "both"] = "both"
    swizzle: bool = False


class BlackHole(Fault, tag="black-hole", frozen=True):
    """What is greater than `mtu` bytes vanishes between nodes and `peers`, all others unless named.

    `out` is what the nodes say, `in` what they hear. Smaller frames pass, and nobody is told.
    """

    nodes: Nodes = "random"
    peers: tuple[Node, ...] = ()
    direction: Literal["in", "out", "both"] = "out"
    mtu: Annotated[int, msgspec.Meta(ge=256, le=1 << 20)] = 1_280


class Reset(Fault, tag="reset", frozen=True):
    """The connections of nodes break off at once, whatever is under way on them."""

    nodes: Nodes = "random"


class Spike(Fault, tag="spike", frozen=True):
    """The links of nodes take so much longer."""

    nodes: Nodes = "random"
    delay: Length = Length(500_000)


class Squeeze(Fault, tag="squeeze", frozen=True):
    """Nodes send and receive only so many bytes a second."""

    nodes: Nodes = "random"
    up: Count = 8_192
    down: Count = 8_192


class Crash(Fault, tag="crash", frozen=True):
    """The power fails behind so many further effects, -1 for a random number; back after `for`."""

    nodes: Nodes = "random"
    effects: Annotated[int, msgspec.Meta(ge=-1, le=1_000)] = -1


class Pause(Fault, tag="pause", frozen=True):
    """The process is stopped; what arrives waits."""

    nodes: Nodes = "random"


class Slow(Fault, tag="slow", frozen=True):
    """Each input takes `cpu` longer, each write `write`."""

    nodes: Nodes = "random"
    cpu: Length = Length(5_000)
    write: Length = Length(20_000)


class ClockStep(Fault, tag="clock", frozen=True):
    """The wall clock jumps by `step`, and back after `for`; with no step it stands meanwhile."""

    nodes: Nodes = "random"
    step: Length = Length(0)


class Full(Fault, tag="full", frozen=True):
    """The disk takes no more for a while, or its syncs fail; the node ends, and comes back later."""

    nodes: Nodes = "random"
    sync: bool = False


class Lying(Fault, tag="lying", frozen=True):
    """The disk says that writes are durable when they are not; a power cut follows at the end.

    What was not durable is gone, or `torn`: half of it is there, and the node refuses to start.
    """

    nodes: Nodes = "random"
    torn: bool = False
    damages: ClassVar[bool] = True


class Rot(Fault, tag="rot", frozen=True):
    """A stored sector changes: the node refuses to start until its folder is made anew."""

    nodes: Nodes = "random"
    damages: ClassVar[bool] = True


class Misdirected(Fault, tag="misdirected", frozen=True):
    """A write is said to be durable and lands on another record's place, or nowhere if `lost`.

    The power fails at the end. The node has to refuse to start; its store is moved away, and it
    begins anew with the mark of how far it has signed.
    """

    nodes: Nodes = "random"
    lost: bool = False
    damages: ClassVar[bool] = True


class Wipe(Fault, tag="wipe", frozen=True):
    """The power fails and the folder is lost; the node comes back with its keys alone."""

    nodes: Nodes = "random"
    damages: ClassVar[bool] = True


class Restore(Fault, tag="restore", frozen=True):
    """The power fails, and a backup that is `age` old comes back in place of the folder.

    A `snapshot` is of the whole machine, the mark at its place included: nothing here tells of it.
    """

    nodes: Nodes = "random"
    age: Length = Length(3_000_000)
    snapshot: bool = False
    damages: ClassVar[bool] = True


class Version(Fault, tag="version", frozen=True):
    """Nodes are stopped, come back as another version of the program, and after `for` as this one.

    Of a `newer` one's messages the share `changes` has a form that nobody here knows; beside the share
    `adds` of them stands another message, of a number that nobody knows;
    an `older` one leaves fields out.
    """

    nodes: Nodes = "random"
    speaks: Literal["newer", "older"] = "newer"
    changes: Probability = 0.3
    adds: Probability = 0.3


class Join(Fault, tag="join", frozen=True):
    """A newcomer asks for a place, everybody approves, it catches up and asks for a vote."""


class Retire(Fault, tag="retire", frozen=True):
    """A member leaves the table for good."""

    nodes: Nodes = "random"


AnyFault: TypeAlias = (
    Weather | Partition | Clog | BlackHole | Reset | Spike | Squeeze | Crash | Pause | Slow | ClockStep | Full
    | Lying | Rot | Misdirected | Wipe | Restore | Version | Join | Retire
)  # fmt: skip


class Byzantine(_Part, frozen=True):
    """Hosts of each table that follow a strategy instead of the protocol.

    `nodes` names them; without it `count` of them are drawn: a number, f, or f+1.
    """

    strategy: Strategy | tuple[Strategy, ...]
    nodes: tuple[Node, ...] = ()
    count: Literal["f", "f+1"] | Annotated[int, msgspec.Meta(ge=0, le=TABLE_MAX)] = 1
    tables: tuple[Annotated[int, msgspec.Meta(ge=0)], ...] = ()


class Act(_Part, frozen=True):
    """What one member does at a moment, whether it can or not; `kind` and `number` are of a bet."""

    at: Length
    node: Node
    does: Literal[
        "open", "sit", "leave", "bet", "reduce", "take-down", "ready", "roll", "pass-dice"
    ]
    kind: Annotated[int, msgspec.Meta(ge=0, le=255)] = 0
    number: Annotated[int, msgspec.Meta(ge=0, le=255)] = 0
    chips: Count = 0


class LivenessPart(_Part, frozen=True):
    """What must be reached once everything is healed, at `at` (the end unless said), `within`.

    `down` hosts of each table stay down for good.
    """

    at: Length | None = None
    within: Length = Length(400_000_000)
    rolls: Count = 1
    down: Literal["f"] | Count = 0


class SwarmPart(_Part, frozen=True):
    """What each seed draws anew: whether a sort of fault occurs at all, link terms, table sizes."""

    drop: Probability = 0.0
    loss: Range = (0.0, 0.0)
    duplication: Range = (0.0, 0.0)
    replay: Range = (0.0, 0.0)
    reorder: Range = (0.0, 0.0)
    corruption: Range = (0.0, 0.0)
    latency: tuple[Spread, ...] = ()
    tables: tuple[Annotated[int, msgspec.Meta(ge=1, le=TABLE_MAX)], ...] = ()


class ExpectPart(_Part, frozen=True):
    """Without this much the run proves nothing, and its verdict is `unknown`."""

    bets: Count = 1
    rolls: Count = 1
    marks: tuple[str, ...] = ()


class Scenario(_Part, frozen=True):
    """A whole scenario. One with a `seed` is run with it, unless another one is asked for."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=60)]
    format: Literal[1] = 1
    about: Annotated[str, msgspec.Meta(max_length=300)] = ""
    seed: Annotated[int, msgspec.Meta(ge=0, le=SEED_MAX)] | None = None
    tier: Tier = "core"
    duration: Length = Length(30_000_000)
    signatures: Literal["stand-in", "memo", "ed25519"] = "stand-in"
    nodes: NodesPart = NodesPart()
    clocks: ClocksPart = ClocksPart()
    topology: TopologyPart = TopologyPart()
    link: LinkPart = LinkPart()
    workload: WorkloadPart = WorkloadPart()
    act: tuple[Act, ...] = ()
    fault: tuple[AnyFault, ...] = ()
    byzantine: tuple[Byzantine, ...] = ()
    liveness: LivenessPart = LivenessPart()
    swarm: SwarmPart = SwarmPart()
    expect: ExpectPart = ExpectPart()

    @property
    def table(self) -> int:
        """Seats of one table."""
        return self.nodes.table or self.nodes.count

    @property
    def tables(self) -> int:
        """How many tables there are."""
        return self.nodes.count // self.table

    @property
    def f(self) -> int:
        """Byzantine voters that a table stands."""
        return (self.table - 1) // 3

    @property
    def damage_max(self) -> int:
        """Hosts of one table that may be Byzantine or contradict what they signed."""
        return self.number(self.nodes.faulty)

    def number(self, count: int | str) -> int:
        """Return what `f` and `f+1` stand for at these tables."""
        return {"f": self.f, "f+1": self.f + 1}[count] if isinstance(count, str) else count

    @property
    def heals_at(self) -> Length:
        """When everything is healed."""
        return self.liveness.at or self.duration


# Reading.


def _decode_hook(wanted: type, value: Any) -> Any:  # noqa: ANN401  (the library's signature)
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a text such as '20ms'")  # noqa: TRY004
    if wanted is Length:
        return Length(parse_length(value))
    return Spread(value) if wanted is Spread else Window.parse(value)


def parse_scenario(text: str, where: str = "scenario") -> Scenario:
    """Read a scenario; raises `ScenarioError` with `where`, the line and the reason."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"{where}: {error}") from None
    try:
        scenario = msgspec.convert(data, Scenario, dec_hook=_decode_hook)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at ")
        path = path.strip("`")
        raise ScenarioError(_located(text, where, path, reason + _value(data, path))) from None
    for path, reason in problems(scenario):
        raise ScenarioError(_located(text, where, path, reason))
    return scenario


def load_scenario(name: str) -> Scenario:
    """Return a shipped scenario by its name, or one of a file; raises `ScenarioError`."""
    if name in shipped():
        source = resources.files("netsim").joinpath("scenarios", f"{name}.toml")
        return parse_scenario(source.read_text(encoding="utf-8"), name)
    path = Path(name)
    if not path.suffix and not path.exists():
        raise ScenarioError(
            f"{name}: no such scenario is shipped (`netsim list` shows all) and it is not a file"
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{name}: cannot be read: {error}") from None
    return parse_scenario(text, name)


def shipped() -> tuple[str, ...]:
    """Return the names of the scenarios that come with the program, in order."""
    folder = resources.files("netsim").joinpath("scenarios")
    names = [entry.name for entry in folder.iterdir() if entry.name.endswith(".toml")]
    return tuple(sorted(name.removesuffix(".toml") for name in names))


_HEADER = re.compile(r"\s*(\[\[?)\s*([\w.\-]+)\s*\]")
_KEY = re.compile(r"\s*([\w\-]+(?:\.[\w\-]+)*)\s*=")


def _lines(text: str) -> dict[str, int]:
    """Return the line on which each key and section stands, by its path."""
    lines = {"$": 1}
    section, counts = "$", dict[str, int]()
    for number, line in enumerate(text.splitlines(), 1):
        if found := _HEADER.match(line):
            section = f"$.{found[2]}"
            if found[1] == "[[":
                counts[section] = counts.get(section, -1) + 1
                section = f"{section}[{counts[section]}]"
            lines[section] = number
        elif found := _KEY.match(line):
            lines.setdefault(f"{section}.{found[1]}", number)
    return lines


def _value(data: object, path: str) -> str:
    """Say what stands at a path, where that is a number, a word or a truth value."""
    for step in re.findall(r"[\w\-]+", path):
        if isinstance(data, dict):
            data = data.get(step)
        elif isinstance(data, list) and step.isdecimal():
            data = data[int(step)]
    return f", not {data!r}" if isinstance(data, (bool, int, float, str)) else ""


def _located(text: str, where: str, path: str, reason: str) -> str:
    """Say where in the file the reason applies: the line of the key, else of what holds it."""
    lines = _lines(text)
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", reason)
    if unknown:
        path, reason = f"{path or '$'}.{unknown[1]}", f"unknown key {unknown[1]!r}"
    place = path or "$"
    while place not in lines and place != "$":
        place = place[: max(place.rfind("."), place.rfind("["))]
    key = f" ({path.removeprefix('$.')})" if path not in {"", "$"} and not unknown else ""
    return f"{where}, line {lines[place]}: {reason}{key}"


# What cannot be.


def problems(scenario: Scenario) -> Iterator[tuple[str, str]]:
    """Yield (path, reason) for everything that cannot be run."""
    table, count = scenario.table, scenario.nodes.count
    if count % table:
        yield "$.nodes.count", f"{count} nodes do not fill tables of {table}"
    if table > TABLE_MAX:
        yield "$.nodes.count", f"a table of {table}; at most {TABLE_MAX} sit at one"
    if scenario.damage_max > table:
        yield "$.nodes.faulty", f"{scenario.damage_max} faulty hosts at a table of {table}"
    for index, city in enumerate(scenario.topology.cities):
        if city not in CITIES:
            yield f"$.topology.cities[{index}]", f"{city!r} is not one of {', '.join(CITIES)}"
    if scenario.topology.kind == "cities" and not scenario.topology.cities:
        yield "$.topology.kind", "a topology of cities names no cities"
    for mark in scenario.expect.marks:
        if mark not in MARKS:
            yield "$.expect.marks", f"{mark!r} is not one of {', '.join(MARKS)}"
    if scenario.heals_at.us > scenario.duration.us:
        yield "$.liveness.at", f"{scenario.heals_at} is after the end at {scenario.duration}"
    for index, act in enumerate(scenario.act):
        if act.node >= table:
            yield f"$.act[{index}].node", f"node {act.node} at a table of {table}"
        if act.at.us > scenario.duration.us:
            yield f"$.act[{index}].at", f"{act.at} is after the end at {scenario.duration}"
    yield from _tier_problems(scenario)
    yield from _fault_problems(scenario)
    yield from _damage_problems(scenario)


_NETWORK = (Weather, Partition, Clog, BlackHole, Reset, Spike, Squeeze)
_TIER_FAULTS: Mapping[Tier, tuple[type[Fault], ...]] = {
    "node": (*_NETWORK, Crash, Pause, Version),
    "real": (*_NETWORK, Crash, Pause, Wipe),
}
"""What whole nodes can be put through. Everything that is not of the network, a signal, or an empty
folder needs a host whose disk and clocks are the simulator's own."""
_NOT_OF_STREAMS = ("duplication", "replay", "reorder")


def _tier_problems(scenario: Scenario) -> Iterator[tuple[str, str]]:
    """Yield what the nodes of a tier cannot be put through."""
    tier = scenario.tier
    if tier == "core":
        for index, fault in enumerate(scenario.fault):
            if isinstance(fault, Reset):
                yield f"$.fault[{index}].kind", "a reset needs connections: tier node or real"
        return
    for index, fault in enumerate(scenario.fault):
        if not isinstance(fault, _TIER_FAULTS[tier]):
            kind = type(fault).__struct_config__.tag
            yield f"$.fault[{index}].kind", f"a fault of kind {kind} needs {_tier_of(fault)}"
        for name in _NOT_OF_STREAMS:
            if getattr(fault, name, 0):
                yield f"$.fault[{index}].{name}", f"TCP hides {name}: it needs tier core"
    for name in _NOT_OF_STREAMS:
        if getattr(scenario.link, name):
            yield f"$.link.{name}", f"TCP hides {name}: it needs tier core"
    if scenario.byzantine:
        yield "$.byzantine[0]", "traitors need tier core"
    if scenario.act:
        yield "$.act[0]", "acts of single members need tier core"
    if scenario.topology.kind == "room":
        yield "$.topology.kind", "a room needs tier core"
    if scenario.nodes.newcomers:
        yield "$.nodes.newcomers", "newcomers need tier core"
    if scenario.clocks != ClocksPart():
        yield "$.clocks", "clocks that go wrong need tier core"
    if scenario.nodes.cpu.us or scenario.nodes.write.us:
        yield "$.nodes", "slow processors and disks need tier core"
    if scenario.workload.kind == "bets":
        yield "$.workload.kind", "bets alone need tier core"
    if tier == "real":
        yield from _real_problems(scenario)
    elif scenario.liveness.down:
        yield "$.liveness.down", "nodes that stay down need tier core or real"


def _tier_of(fault: Fault) -> str:
    others = [tier for tier, kinds in _TIER_FAULTS.items() if isinstance(fault, kinds)]
    return f"tier {' or '.join(('core', *others))}"


def _real_problems(scenario: Scenario) -> Iterator[tuple[str, str]]:
    """Yield what would be too much for real processes, or nothing that they could be told."""
    count, workload = scenario.nodes.count, scenario.workload
    if scenario.tables > 1:
        yield "$.nodes.table", "real nodes sit at one table"
    if count > REAL_NODES_MAX:
        yield "$.nodes.count", f"{count} real processes; {REAL_NODES_MAX} at most"
    if scenario.duration.us > REAL_US_MAX:
        yield "$.duration", f"{scenario.duration} of real time; {Length(REAL_US_MAX)} at most"
    if workload.kind == "idle":
        yield "$.workload.kind", "nodes without players prove nothing: idle needs tier core or node"
    if workload.sessions > 1 or workload.leave_per_min:
        yield "$.workload", "bots sit at one game and stay: further games need tier core or node"
    if scenario.nodes.faulty == "f+1":
        yield "$.nodes.faulty", "more damage than the table stands needs tier core"


def _fault_problems(scenario: Scenario) -> Iterator[tuple[str, str]]:
    table = scenario.table
    joins = 0
    for index, fault in enumerate(scenario.fault):
        path = f"$.fault[{index}]"
        if fault.at.last_us > scenario.duration.us:
            yield f"{path}.at", f"{fault.at} is after the end at {scenario.duration}"
        if fault.every is not None and fault.every.mean_us < 1_000:
            yield f"{path}.every", f"{fault.every} is less than a millisecond"
        for node in nodes_named(fault):
            if node >= table:
                yield f"{path}.nodes", f"node {node} at a table of {table}"
        if isinstance(fault, BlackHole) and any(node >= table for node in fault.peers):
            yield f"{path}.peers", f"node {max(fault.peers)} at a table of {table}"
        if isinstance(fault, Partition):
            named = [node for group in fault.groups for node in group]
            if any(node >= table for node in named):
                yield f"{path}.groups", f"node {max(named)} at a table of {table}"
            if len(set(named)) != len(named):
                yield f"{path}.groups", "a node stands in two groups"
            if len(fault.groups) == 1:
                yield f"{path}.groups", "one group is no partition"
        joins += isinstance(fault, Join)
    if joins > scenario.nodes.newcomers:
        yield "$.nodes.newcomers", f"{scenario.nodes.newcomers} newcomers for {joins} joins"


def _damage_problems(scenario: Scenario) -> Iterator[tuple[str, str]]:
    """Yield where more damage than allowed would make failures that are no faults of the protocol."""
    somewhere = dict.fromkeys(
        table for part in (*scenario.fault, *scenario.byzantine) for table in part.tables
    )
    for table in somewhere or (0,):
        if table >= scenario.tables:
            yield "$.nodes.count", f"something is said of table {table} of {scenario.tables}"
        yield from _damage_at(scenario, table)


def _damage_at(scenario: Scenario, table: int) -> Iterator[tuple[str, str]]:
    seats, most = scenario.table, scenario.damage_max
    named: dict[int, None] = {}
    drawn = 0
    for index, byzantine in enumerate(scenario.byzantine):
        path = f"$.byzantine[{index}]"
        if byzantine.tables and table not in byzantine.tables:
            continue
        if any(node >= seats for node in byzantine.nodes):
            yield f"{path}.nodes", f"node {max(byzantine.nodes)} at a table of {seats}"
        named.update(dict.fromkeys(byzantine.nodes))
        drawn += 0 if byzantine.nodes else scenario.number(byzantine.count)
        if len(named) + drawn > most:
            yield path, f"{len(named) + drawn} Byzantine nodes at a table that allows {most} faulty"
    for index, fault in enumerate(scenario.fault):
        if not fault.damages or (fault.tables and table not in fault.tables):
            continue
        nodes = nodes_named(fault)
        if getattr(fault, "nodes", ()) == "all":
            nodes = tuple(range(seats))
        named.update(dict.fromkeys(nodes))
        wanted = len(named) + drawn + (0 if nodes else 1)
        if wanted > most:
            path = f"$.fault[{index}]"
            yield path, f"this makes {wanted} faulty nodes at a table that allows {most}"
    down = scenario.number(scenario.liveness.down)
    if down and down + len(named) + drawn > scenario.f:
        yield (
            "$.liveness.down",
            f"{down} nodes down and {len(named) + drawn} faulty leave a table of {seats} "
            f"without a quorum of {seats - scenario.f}",
        )


def nodes_named(fault: Fault) -> tuple[int, ...]:
    """Return the nodes that a fault names, none if it draws them."""
    nodes = getattr(fault, "nodes", ())
    return nodes if isinstance(nodes, tuple) else ()


# Writing.


def _encode_hook(value: Any) -> Any:  # noqa: ANN401  (the library's signature)
    return str(value)


def plain(value: msgspec.Struct) -> dict[str, Any]:
    """Return a part as plain values."""
    found: dict[str, Any] = msgspec.to_builtins(value, enc_hook=_encode_hook)
    return found


def scenario_hash(scenario: Scenario) -> str:
    """Return what names a scenario by its content, every default filled in."""
    text = json.dumps(plain(scenario), sort_keys=True, separators=(",", ":"))
    return blake2b(text.encode(), digest_size=6).hexdigest()


def format_scenario(scenario: Scenario) -> str:
    """Return a scenario as TOML that reads back equal; what is as usual is left out."""
    usual = plain(Scenario(name="x"))
    sections: list[str] = []
    heads: list[str] = []
    for key, value in plain(scenario).items():
        if isinstance(value, dict):
            rows = [f"{k} = {_toml(v)}" for k, v in value.items() if v != usual[key].get(k)]
            if rows:
                sections.append("\n".join((f"[{key}]", *rows)))
        elif isinstance(value, list | tuple):
            sections += ["\n".join((f"[[{key}]]", *_rows(key, each))) for each in value]
        elif value != usual[key] or key in {"format", "name"}:
            heads.append(f"{key} = {_toml(value)}")
    return "\n\n".join(("\n".join(heads), *sections)) + "\n"


def _rows(section: str, fields: Mapping[str, Any]) -> Iterator[str]:
    usual = _usual(section, fields)
    for key, value in fields.items():
        if value is not None and value != usual.get(key, ...):
            yield f"{key} = {_toml(value)}"


def _usual(section: str, fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what an entry of a section may leave out."""
    match section:
        case "byzantine":
            return plain(Byzantine(strategy="silent", nodes=())) | {"strategy": ...}
        case "act":
            usual = plain(Act(at=Length(0), node=0, does="sit"))
            return usual | {"at": ..., "node": ..., "does": ...}
        case _:
            least = {"kind": fields["kind"], "at": "0s"}
            fault = msgspec.convert(least, AnyFault, dec_hook=_decode_hook)
            return plain(fault) | {"at": ..., "kind": ...}


def _toml(value: Any) -> str:  # noqa: ANN401  (any plain value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Sequence):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return str(value)
