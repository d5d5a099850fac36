"""The documents are true: their commands run, their links lead somewhere, what they name is there.

Blocks of shell commands behind a comment `<!-- test: NAME -->` are run as they stand, in order of
appearance, in an empty folder.
"""

import ast
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import pytest

from consensus.validators import faults_tolerated, quorum
from netsim.__main__ import cli as netsim_commands
from netsim.selftest import BUGS
from node.cli import commands
from node.config import Folder
from node.game.games import NUMBERS, encode_choice, rules_of_table
from node.game.operations import Operation
from node.game.receipts import Code
from node.membership import MemberOperation
from node.terminal import help_text

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
PACKAGES = ("bench", "consensus", "netsim", "node", "tests", "transport")
SECONDS_MAX = 60
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
BLOCK = re.compile(r"<!-- test: (\w+) -->\n```sh\n(.*?)```", re.DOTALL)
NAMED = re.compile(
    r"(?:\w+\.)*_?[A-Z][A-Z0-9]*_[A-Z0-9_]+"  # a constant
    r"|[A-Z][a-z]+(?:[A-Z][a-z]+)+(?:\.\w+)?"  # a class
    r"|[a-z]\w*\.\w+"  # something in a module
)
CITED = re.compile(r"PROTOCOL (\d+(?:\.\d+)?)(?:, (\d+(?:\.\d+)?))?(?:(?: and| to) (\d+))?")
NODE_SOURCES = sorted(
    path
    for package in ("consensus", "node", "transport")
    for path in (ROOT / package).rglob("*.py")
)
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def prose_of(path: Path) -> str:
    """Return a document without what it quotes from a terminal."""
    return FENCED.sub("", path.read_text(encoding="utf-8"))


def sections_of(text: str) -> set[str]:
    return set(re.findall(r"^#+ (\d+(?:\.\d+)?)\.? ", text, re.MULTILINE))


def anchors_of(path: Path) -> set[str]:
    """Return what a link may name behind `#`, as GitHub makes it of headings."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


# What a person types.


class Typed:
    """Runs the commands of a document in a folder of their own; what serves is left running."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._environment = {**os.environ, "PYTHONPATH": str(ROOT), "BITCRAPS_PASSPHRASE": ""}
        self._serving: list[subprocess.Popen[str]] = []
        self._invite = ""

    def run(self, line: str, typed: str = "") -> str:
        """Run one line; return what a command that ends has printed."""
        program, *words = shlex.split(line)
        assert program == "bitcraps", line
        words = [self._invite if word == "INVITE" else word for word in words]
        if words[0] in {"host", "join", "run"}:
            self._serve(words)
            return ""
        done = self._start(words, typed)
        assert done.returncode == 0, f"{line}: {done.stderr}"
        if words[0] == "init":
            # Tests keep to the loopback interface.
            settings = Folder(self._folder / words[words.index("--data") + 1]).config
            text = settings.read_text(encoding="utf-8")
            settings.write_text(text.replace("0.0.0.0", "127.0.0.1"), encoding="utf-8")
        return done.stdout

    def succeeds(self, line: str) -> bool:
        return self._start(shlex.split(line)[1:], "").returncode == 0

    def _start(self, words: Sequence[str], typed: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "node", *words], cwd=self._folder, env=self._environment,
            input=typed, capture_output=True, text=True, timeout=SECONDS_MAX, check=False,
        )  # fmt: skip

    def _serve(self, words: Sequence[str]) -> None:
        process = subprocess.Popen(
            [sys.executable, "-m", "node", *words], cwd=self._folder, env=self._environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._serving.append(process)
        assert process.stdout is not None
        assert process.stderr is not None
        if words[0] == "host":
            self._invite = process.stdout.readline().strip()
            assert self._invite, process.stderr.read()
        else:
            said = ""
            while "at the table" not in said:
                line = process.stderr.readline()
                assert line, said
                said += line

    def close(self) -> None:
        for process in self._serving:
            process.send_signal(signal.SIGTERM)
        for process in self._serving:
            process.communicate(timeout=SECONDS_MAX)
            assert process.returncode == 0


@pytest.fixture
def typed(tmp_path: Path) -> Iterator[Typed]:
    running = Typed(tmp_path)
    try:
        yield running
    finally:
        running.close()


def blocks_named(name: str) -> list[str]:
    """Return the lines of a document's blocks of one name."""
    found = [body for label, body in BLOCK.findall(text_of("README.md")) if label == name]
    return [line for body in found for line in body.splitlines() if line]


def test_friends_meet_and_play_with_the_commands_of_the_readme(typed: Typed) -> None:
    lines = blocks_named("friends")
    assert {line.split()[1] for line in lines} == {"init", "host", "join", "play", "status"}
    roll = next(line for line in lines if "--roll" in line)
    for line in lines:
        if line.split()[1] != "play":
            assert typed.run(line) or line.split()[1] in {"host", "join"}, line
            continue
        # As the readme says; the dice may take a moment to be prepared.
        shown = typed.run(line, "sit\npass 10\nready\n")
        assert "pass 10" in shown
        end = time.monotonic() + SECONDS_MAX
        while not typed.succeeds(roll):
            assert time.monotonic() < end, shown
            shown = typed.run(line, "roll\n")
    recipe = typed.run(roll).splitlines()[-1]
    printed = subprocess.run(
        [sys.executable, *shlex.split(recipe)[1:]], capture_output=True, text=True, check=True
    ).stdout
    dice = re.findall(r"\d+", typed.run(roll).splitlines()[0].split(":")[1])
    assert re.findall(r"\d+", printed) == dice


def test_every_block_for_a_test_is_in_one() -> None:
    labels = {label for path in DOCUMENTS for label, _ in BLOCK.findall(path.read_text("utf-8"))}
    assert labels == {"friends"}
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        assert text.count("<!-- test:") == len(BLOCK.findall(text)), path.name


def test_every_command_stands_in_the_operators_table() -> None:
    table = re.findall(r"^\| (`.*?) \|", text_of("docs/operating.md"), re.MULTILINE)
    named = {word for row in table for word in CODE.findall(row)}
    assert set(commands.commands) <= named, set(commands.commands) - named


def test_messages_that_are_explained_are_those_of_the_program() -> None:
    section = text_of("docs/operating.md").partition("## Messages")[2].partition("\n## ")[0]
    explained = re.findall(r"^\| (?!message|---)(.*?) \|", section, re.MULTILINE)
    assert len(explained) > 10
    # A text that stands on several lines of the source is one text.
    said = "".join(re.sub(r'"\s+f?"', "", path.read_text("utf-8")) for path in NODE_SOURCES)
    for message in explained:
        for piece in re.split(r"…|; |: |\d+", message):
            assert piece.strip() in said, f"{piece.strip()!r} of {message!r}"


def options_of(group: click.Group) -> set[str]:
    options = [one.opts for each in group.commands.values() for one in each.params]
    return {"--help", *(option for each in options for option in each)}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_option_that_a_document_names_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    quoted = [*CODE.findall(FENCED.sub("", text)), *(body for _, body in BLOCK.findall(text))]
    quoted += re.findall(r"^    ((?:bitcraps|netsim) .*)$", text, re.MULTILINE)
    for code in quoted:
        if re.match(r"\S*(?:python|pip|pytest|ruff)\b", code):
            continue  # other programs have options of their own
        known = options_of(
            netsim_commands if "netsim" in {path.stem, code.split()[0]} else commands
        )
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", code):
            assert option in known, f"{option} in {code}"


def test_the_document_of_the_simulator_shows_every_command_with_options_that_exist() -> None:
    text = text_of("docs/netsim.md")
    lines = [shlex.split(line) for line in re.findall(r"^    netsim (.*)$", text, re.MULTILINE)]
    assert {words[0] for words in lines} == set(netsim_commands.commands)
    for name, *words in lines:
        known = {option for one in netsim_commands.commands[name].params for option in one.opts}
        assert {word for word in words if word.startswith("--")} <= known, name


def test_make_targets_that_documents_name_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", text_of("Makefile"), re.MULTILINE))
    for path in DOCUMENTS:
        text = prose_of(path)
        named = re.findall(r"(?:`|^    )make ([a-z]+)\b", text, re.MULTILINE)
        assert set(named) <= targets, path.name


@pytest.mark.parametrize("game", NUMBERS)
def test_every_bet_of_a_game_is_explained_where_a_player_asks_for_help(game: str) -> None:
    rules = rules_of_table(encode_choice(NUMBERS[game]))
    assert not isinstance(rules, str), rules
    words = {form.split()[0] for form, _ in rules.bet_words}
    names = {rules.bet_name(key).split()[0] for offer in rules.offers() for key, _ in offer.bets}
    assert names <= words, names - words
    shown = help_text(rules, "bets")
    for form, pays in rules.bet_words:
        assert form in shown
        assert pays.split()[0] in shown


def test_every_bet_of_craps_stands_in_its_document() -> None:
    rules = rules_of_table(encode_choice(NUMBERS["craps"]))
    assert not isinstance(rules, str), rules
    text = text_of("docs/craps.md")
    words = dict.fromkeys(form.split()[0] for form, _ in rules.bet_words)
    missing = [
        word for word in words if not re.search(rf"(?:^\| |, |`){word}\b", text, re.MULTILINE)
    ]
    assert missing == []


# What documents point at.


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for link in LINK.findall(prose_of(path)):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        assert target.exists(), link
        assert not anchor or anchor in anchors_of(target), link


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_a_document_names_exist(path: Path) -> None:
    tops = (*PACKAGES, "docs")
    for code in CODE.findall(prose_of(path)):
        if "NAME" in code:  # to be filled in by the reader
            continue
        if re.fullmatch(r"[\w./-]+", code) and code.split("/")[0] in tops and "/" in code:
            assert (ROOT / code).exists(), code
        elif re.fullmatch(r"\w+\.(?:py|md|cddl)", code):
            assert list(ROOT.glob(code)) or any(
                path.name == code
                for top in tops
                for path in (ROOT / top).rglob(f"*{Path(code).suffix}")
            ), code


def names_in_sources() -> set[str]:
    return {name for path in SOURCES for name in re.findall(r"\w+", path.read_text("utf-8"))}


def test_constants_that_documents_name_exist() -> None:
    known = names_in_sources()
    for path in DOCUMENTS:
        for code in CODE.findall(prose_of(path)):
            if NAMED.fullmatch(code):
                assert {*code.split(".")} <= known or (ROOT / code).exists(), f"{path.name}: {code}"


def test_the_operators_table_has_every_file_of_a_folder() -> None:
    folder = Folder(Path())
    # Whoever writes a file of the folder names it in a constant.
    constants = (
        re.findall(r'^[A-Z_]*FILE = "(.*)"$', p.read_text("utf-8"), re.MULTILINE)
        for p in NODE_SOURCES
    )
    names = {name for found in constants for name in found}
    assert {"store.db", "control.sock"} <= names
    properties = [name for name, kind in vars(Folder).items() if isinstance(kind, property)]
    names |= {str(getattr(folder, name)) for name in properties}
    assert "table.bin" in names
    for name in names:
        assert f"`{name}`" in text_of("docs/operating.md"), name


# The protocol.


def test_citations_of_the_protocol_name_its_sections() -> None:
    protocol = text_of("docs/protocol.md")
    sections = sections_of(protocol)
    for path in [*SOURCES, *DOCUMENTS, *(ROOT / "docs").glob("*.cddl")]:
        text = path.read_text(encoding="utf-8")
        for match in CITED.finditer(text):
            for number in filter(None, match.groups()):
                assert number in sections, f"{path.relative_to(ROOT)}: {match.group()}"
        for rule in re.findall(r"PROTOCOL 7 (R\d)", text):
            assert f"**{rule} " in protocol, f"{path.relative_to(ROOT)}: {rule}"
    for number in re.findall(r"section (\d+(?:\.\d+)?)", prose_of(ROOT / "docs/protocol.md")):
        assert number in sections or number in {"4.2.1", "4.2", "2.1"}, number


def test_the_table_of_quorums_is_what_the_code_counts() -> None:
    rows = re.findall(r"^\| ([nfq]) \| ([\d |]+) \|$", text_of("docs/protocol.md"), re.MULTILINE)
    table = {name: [int(cell) for cell in cells.split("|")] for name, cells in rows}
    assert table["f"] == [faults_tolerated(n) for n in table["n"]]
    assert table["q"] == [quorum(n) for n in table["n"]]
    players = re.findall(r"^\| (\d+) to (\d+) \| (\w+) \|", text_of("README.md"), re.MULTILINE)
    for low, high, absent in players:
        tolerated = {faults_tolerated(n) for n in range(int(low), int(high) + 1)}
        assert tolerated == {0 if absent == "nobody" else int(absent)}


def test_the_table_of_operations_is_complete() -> None:
    rows = re.findall(r"^\| ([\d, ]+) \| ([a-z-]+(?:, [a-z-]+)*) \|.*\| 1\d\.\d \|$",
                      text_of("docs/protocol.md"), re.MULTILINE)  # fmt: skip
    written = {
        int(number): name
        for numbers, names in rows
        for number, name in zip(numbers.split(", "), names.split(", "), strict=True)
    }
    kinds = (*typing.get_args(Operation), *typing.get_args(MemberOperation))
    coded = {
        kind.__struct_config__.tag: re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__).lower()
        for kind in kinds
    }
    assert written == coded


def test_refusals_have_a_number_once() -> None:
    # An alias in the enumeration would hide a number that is given twice.
    tree = ast.parse(text_of("node/game/receipts.py"))
    codes = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Code")
    assert sum(isinstance(each, ast.Assign) for each in codes.body) == len(Code)


def test_what_the_tests_have_to_catch_is_caught_and_none_of_it_left_out() -> None:
    rows = re.findall(r"^\|.*\| ([^|]*) \|$", text_of("docs/testing.md"), re.MULTILINE)
    plants, named = set[str](), set[str]()
    for row in rows:
        plants.update(re.findall(r"plant `([^`]+)`", row))
        named.update(re.findall(r"(?<!plant )`([^`]+)`", row))
    assert plants <= {bug.name for bug in BUGS}
    sources = {path: path.read_text("utf-8") for path in (ROOT / "tests").rglob("*.py")}
    defined = {
        name for text in sources.values() for name in re.findall(r"^def (\w+)", text, re.MULTILINE)
    }
    assert named <= defined, named - defined
    wanted = {
        "netsim/test_mutations.py": r"^def (\w+)\(patch: Patch\)",
        "consensus/test_pitfalls.py": r"^def (test_\w+)",
        "consensus/test_beacon_attacks.py": r"^def (test_a\d+_\w+)",
    }
    for path, pattern in wanted.items():
        found = set(re.findall(pattern, sources[ROOT / "tests" / path], re.MULTILINE))
        assert found, path
        assert found <= named, found - named


# Figures.


def test_measured_figures_name_command_machine_and_date() -> None:
    for path in DOCUMENTS:
        for paragraph in re.split(r"\n\s*\n", prose_of(path)):
            if re.search(r"\bmeasured\b", paragraph, re.IGNORECASE) and re.search(r"\d", paragraph):
                said = f"{path.name}: {paragraph[:60]}"
                assert re.search(r"`[^`]*(?:make|python|bitcraps|bench)[^`]*`", paragraph), said
                assert re.search(r"\b\d{4}-\d{2}-\d{2}\b", paragraph), said
                assert re.search(r"\bcores?\b|\bCPU\b", paragraph), said
