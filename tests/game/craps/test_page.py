"""The rules page says what the data says: its tables are written here, and compared."""

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import groupby
from pathlib import Path

import msgspec
import pytest

from node.game.craps import params
from node.game.craps.params import CrapsParams
from node.game.craps.rules import CrapsRules
from node.game.odds import Row, analyse
from node.game.options import Limits

PAGE = Path(__file__).parent.parent.parent.parent / "docs" / "craps.md"
FRACTION_CHARS_MAX = 15


def options_table() -> Iterator[str]:
    """Yield the house options with their usual values and what the record says of them."""
    yield "| option | usual | meaning |"
    yield "|---|---|---|"
    said = _docstrings()
    for name, value in msgspec.structs.asdict(CrapsParams()).items():
        yield f"| `{name}` | {_shown(value)} | {said.get(name, '')} |"


def _docstrings() -> dict[str, str]:
    """Return the text under each field of the record; one text may be about the fields above it."""
    (record,) = (
        node
        for node in ast.parse(inspect.getsource(params)).body
        if isinstance(node, ast.ClassDef) and node.name == "CrapsParams"
    )
    said: dict[str, str] = {}
    waiting: list[str] = []
    for node in record.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            waiting.append(node.target.id)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and waiting:
            text = " ".join(str(node.value.value).split()).replace("|", "\\|")
            said |= dict.fromkeys(waiting, text)
            waiting = []
    return said


def _shown(value: object) -> str:
    if isinstance(value, Limits):
        return f"{value.least}-{value.most}"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def bets_table() -> Iterator[str]:
    """Yield every bet of the usual table; neighbours that differ in name only share a line."""
    yield "| bet | pays | edge | exactly | wins | rolls | wins when |"
    yield "|---|---|---|---|---|---|---|"
    rows = analyse(CrapsRules(CrapsParams()))
    for (pays, edge, win, rolls, rule), group in groupby(sorted(rows, key=_place(rows)), _alike):
        names = _names([row.bet for row in group])
        percent = f"{float(Fraction(edge)) * 100:.2f} %"
        chance = f"{float(Fraction(win)) * 100:.2f} %"
        exactly = edge if len(edge) <= FRACTION_CHARS_MAX else "…"
        length = f"{float(Fraction(rolls)):.2f}"
        yield f"| {names} | {pays} | {percent} | {exactly} | {chance} | {length} | {rule} |"


def _alike(row: Row) -> tuple[str, ...]:
    return row.pays, row.house_edge, row.win, row.expected_rolls, row.rule


def _place(rows: tuple[Row, ...]) -> Callable[[Row], tuple[int, int]]:
    """Return a key that brings equal rows of one kind together, in the order of the table."""
    first: dict[tuple[str, ...], int] = {}
    for index, row in enumerate(rows):
        first.setdefault((row.bet.split()[0], *_alike(row)), index)
    at = {row.bet: index for index, row in enumerate(rows)}
    return lambda row: (first[row.bet.split()[0], *_alike(row)], at[row.bet])


def _names(bets: list[str]) -> str:
    """Return names that share a line: `place 6, 8`."""
    words = {bet.split()[0] for bet in bets}
    if len(bets) == 1 or len(words) > 1:
        return ", ".join(bets)
    word = bets[0].split()[0]
    return f"{word} " + ", ".join(bet.removeprefix(f"{word} ") for bet in bets)


TABLES = {"options": options_table, "bets": bets_table}


@pytest.mark.parametrize("name", TABLES)
def test_table_of_the_page_is_what_the_program_plays_by(name: str, rewrite: bool) -> None:
    page = PAGE.read_text(encoding="utf-8")
    begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
    before, rest = page.split(begin)
    table, after = rest.split(end)
    fresh = "\n".join(TABLES[name]()) + "\n"
    if rewrite:
        PAGE.write_text(before + begin + fresh + end + after, encoding="utf-8")
        return
    assert table == fresh


def test_page_has_every_rule_once_and_in_order() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [int(n) for n in re.findall(r"^- \*\*R(\d+)\*\*", page, re.MULTILINE)] == [*range(1, 32)]


def test_every_rule_that_code_cites_is_on_the_page() -> None:
    root = PAGE.parent.parent
    cited = {
        int(number)
        for path in root.glob("node/**/*.py")
        for number in re.findall(r"\bR(\d+)\b", path.read_text(encoding="utf-8"))
    }
    assert cited <= set(range(32))
    assert len(cited) > 20
