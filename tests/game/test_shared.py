"""What every game shares names none of them: a word of craps stays with craps."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parent.parent.parent
REGISTRIES = ("node/game/games.py", "node/strategies/__init__.py")
"""Where the games are listed, so that nothing else has to know them."""
OWN = ("node/game/craps", "node/game/sicbo", "node/strategies/craps.py", "node/strategies/sicbo.py")
CRAPS_WORDS = re.compile(
    r"\b(?:craps|crapless|puck|come-?outs?|seven-?outs?|shooters?|hardways?|line bets?|pass lines?"
    r"|don'?t pass|dont|point ?on|points? is|makes? (?:a|the) point"
    r"|may shoot|sic ?bo)\b",
    re.IGNORECASE,
)


def shared_modules() -> list[PurePosixPath]:
    """Return the modules of the node that serve any game."""
    found = (PurePosixPath(path.relative_to(ROOT).as_posix()) for path in ROOT.glob("node/**/*.py"))
    return sorted(
        path
        for path in found
        if str(path) not in REGISTRIES and not any(path.is_relative_to(own) for own in OWN)
    )


def named(source: str) -> Iterator[str]:
    """Yield the words of craps in names, texts and comments of a module, with their lines."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        # Names are split, so that `shooter_ms` is read as well; the program itself is BitCraps.
        text = token.string.replace("_", " ") if token.type == tokenize.NAME else token.string
        for match in CRAPS_WORDS.finditer(text):
            yield f"line {token.start[0]}: {match.group()}"


def imported(source: str) -> Iterator[str]:
    """Yield the games that a module imports."""
    for node in ast.walk(ast.parse(source)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if re.match(r"node\.(?:game|strategies)\.(?:craps|sicbo)\b", name):
                yield name


@pytest.mark.parametrize("path", shared_modules(), ids=str)
def test_shared_module_knows_no_single_game(path: PurePosixPath) -> None:
    source = (ROOT / path).read_text(encoding="utf-8")
    assert [*named(source), *imported(source)] == []


def test_the_check_finds_what_it_looks_for() -> None:
    assert len(shared_modules()) > 40
    assert list(named("# the puck is off\n")) == ["line 1: puck"]
    assert list(named('x = "a line bet"\n')) == ["line 1: line bet"]
    assert list(named("shooter_ms = 1\n")) == ["line 1: shooter"]
    assert list(named('"""`bitcraps demo` of BitCraps."""\n')) == []
    assert list(imported("from node.game.craps import dice\n")) == ["node.game.craps.dice"]
    assert list(imported("from node.game import craps\n")) == ["node.game.craps"]


def test_the_games_themselves_would_be_found() -> None:
    for path in ("node/game/craps/rules.py", "node/strategies/craps.py"):
        source = (ROOT / path).read_text(encoding="utf-8")
        assert [*named(source), *imported(source)]
