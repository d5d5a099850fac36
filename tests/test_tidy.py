"""The rules of the source tree that no linter knows: layers, purity, sizes, names, plain texts.

Every check is a function from source to complaints, tried here on a small offender as well, so that
a check that can no longer fail fails.
"""

import ast
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import TypeAlias

import pytest

Check: TypeAlias = Callable[[PurePosixPath, ast.Module], Iterator[str]]

ROOT = Path(__file__).parent.parent
PACKAGES = ("bench", "consensus", "netsim", "node", "tests", "transport")
FUNCTION_LINES_MAX = 70
MODULE_LINES_MAX = 800

# What each layer may import of ours; the first prefix that holds a module is its layer.
LAYERS: dict[str, tuple[str, ...]] = {
    "consensus": ("consensus",),
    "transport": ("transport",),
    "node/game": ("node.game", "consensus.encoding", "consensus.merkle"),
    "node": ("node", "consensus", "transport"),
    "netsim": ("netsim", "node", "consensus", "transport"),
    "bench": ("bench", "netsim", "node", "consensus", "transport"),
    "tests": PACKAGES,
}
ONE_DOOR = {"cbor2": "consensus/encoding.py", "nacl": "consensus/signing.py"}
PURE = (
    "consensus", "node/game", "node/replica.py", "node/mempool.py", "node/execution.py",
    "node/epoch.py", "node/membership.py", "node/pipeline.py", "node/state_sync.py",
    "node/steps.py", "node/waiting.py",
)  # fmt: skip
IMPURE = {
    "trio",
    "socket",
    "threading",
    "asyncio",
    "time",
    "datetime",
    "os",
    "secrets",
    "random",
    "logging",
    "sqlite3",
    "subprocess",
    "pathlib",
    "uuid",
    "tempfile",
    "glob",
    "platform",
    "multiprocessing",
    "concurrent",
    "queue",
    "select",
    "selectors",
    "signal",
    "weakref",
    "gc",
}
ADDRESSES = {"id", "hash"}
"""Builtins whose answer differs from process to process."""
OUTSIDE = {"open", "input"}
PLANTED = PurePosixPath("netsim/selftest.py")
"""It does on purpose what is forbidden."""
ORDERLESS = {"sorted", "len", "min", "max", "sum", "any", "all", "set", "frozenset", "bool"}
"""Whom a set may be handed to: none of them shows its order."""
VAGUE = {"utils", "helpers", "managers", "types", "constants"}
# Written in pieces, for this file is read too.
UNWANTED = re.compile(
    r"\b(?:pypi|pythonhosted|piwheels|anaconda)\.(?:org|com)\b"
    r"|(?<![\w.}])/(?:work|root|home)\b"
    r"|\.\./" + "shared"
)


def is_under(path: PurePosixPath, prefix: str) -> bool:
    """Say whether a path is the file or lies in the folder `prefix`."""
    return path.is_relative_to(prefix)


def imported_names(path: PurePosixPath, tree: ast.Module) -> Iterator[str]:
    """Yield every import as a dotted name; `from a import b` is `a.b`, relative ones resolved."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = path.parts[: len(path.parts) - node.level] if node.level else ()
            base = ".".join((*package, *(node.module or "").split("."))).rstrip(".")
            yield from (f"{base}.{alias.name}" for alias in node.names)


def check_layers(path: PurePosixPath, tree: ast.Module) -> Iterator[str]:
    """Each layer imports only what lies below it, and each codec or verifier has one door."""
    allowed = next(below for prefix, below in LAYERS.items() if is_under(path, prefix))
    for name in imported_names(path, tree):
        top = name.partition(".")[0]
        if top in PACKAGES and not any(f"{name}.".startswith(f"{layer}.") for layer in allowed):
            yield f"imports {name}, which is not below it"
        door = ONE_DOOR.get(top)
        if door is not None and str(path) != door and not is_under(path, "tests"):
            yield f"imports {name}, which {door} alone may"


def check_pure(path: PurePosixPath, tree: ast.Module) -> Iterator[str]:
    """Replicated code has no I/O, clock, chance, floats, or order that differs between peers."""
    if not any(is_under(path, prefix) for prefix in PURE):
        return
    for name in imported_names(path, tree):
        if name.partition(".")[0] in IMPURE:
            yield f"imports {name} into pure code"
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, float | complex):
            yield f"line {node.lineno}: {node.value} is not an integer"
        elif isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
            yield f"line {node.lineno}: / makes a float, use //"


def check_repeatable(path: PurePosixPath, tree: ast.Module) -> Iterator[str]:
    """Nothing takes the order of a set, or asks where an object lies in memory."""
    is_pure = any(is_under(path, prefix) for prefix in PURE)
    if path == PLANTED or not (is_pure or is_under(path, "netsim")):
        return
    banned = ADDRESSES | OUTSIDE if is_pure else ADDRESSES
    names = {name for node in ast.walk(tree) for name in set_names(node)}
    in_hash = {
        call
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name == "__hash__"
        for call in ast.walk(node)
    }
    for node in ast.walk(tree):
        match node:
            case ast.For() | ast.AsyncFor() | ast.comprehension():
                shown = [node.iter]
            case ast.Starred():
                shown = [node.value]
            case ast.Call(func=ast.Name(id=name)) if name not in ORDERLESS:
                shown = node.args
                if name in banned and node not in in_hash:
                    yield f"line {node.lineno}: {name}() differs from process to process"
            case ast.Call(func=ast.Attribute(value=owner, attr="pop"), args=[]):
                shown = [owner]
            case ast.Call(func=ast.Attribute(attr="join" | "extend" | "fromkeys")):
                shown = node.args
            case _:
                continue
        for one in shown:
            if is_set(one, names):
                yield f"line {one.lineno}: shows the order of a set, which differs"


def set_names(node: ast.AST) -> Iterator[str]:
    """Yield the name that a statement or parameter says is a set; of an attribute, its last part."""
    match node:
        case ast.AnnAssign(target=target, annotation=annotation) if is_set_type(annotation):
            yield from name_of(target)
        case ast.arg(arg=name, annotation=annotation) if is_set_type(annotation):
            yield name
        case ast.Assign(targets=[target], value=value) if is_set(value, set()):
            yield from name_of(target)
        case _:
            pass


def name_of(node: ast.expr) -> Iterator[str]:
    """Yield the last part of a name."""
    if isinstance(node, ast.Name | ast.Attribute):
        yield node.id if isinstance(node, ast.Name) else node.attr


def is_set_type(annotation: ast.expr | None) -> bool:
    """Say whether an annotation is of a set."""
    if isinstance(annotation, ast.Subscript):
        annotation = annotation.value
    return next(name_of(annotation), "") in SETS if annotation is not None else False


SETS = {"set", "frozenset", "Set", "AbstractSet", "MutableSet"}


def is_set(node: ast.expr, names: set[str]) -> bool:
    """Say whether an expression is visibly a set, `names` being those of sets."""
    match node:
        case ast.Call(func=ast.Name(id="set" | "frozenset")) | ast.Set() | ast.SetComp():
            return True
        case ast.BinOp(left=left, right=right, op=ast.BitOr() | ast.BitAnd() | ast.Sub()):
            return any(is_set(one, names) or is_keys(one) for one in (left, right))
        case ast.Name() | ast.Attribute():
            return next(name_of(node)) in names
        case _:
            return False


def is_keys(node: ast.expr) -> bool:
    """Say whether an expression is the keys of a dictionary, which operators make sets of."""
    return isinstance(node, ast.Call) and next(name_of(node.func), "") == "keys"


def check_sizes(_path: PurePosixPath, tree: ast.Module) -> Iterator[str]:
    """A function fits a screen and a module an hour."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield f"{node.name} has {lines} lines, over {FUNCTION_LINES_MAX}"
    last = max((node.end_lineno or 0 for node in tree.body), default=0)
    if last > MODULE_LINES_MAX:
        yield f"has {last} lines, over {MODULE_LINES_MAX}"


def check_name(path: PurePosixPath, _tree: ast.Module) -> Iterator[str]:
    """A module is named for what it hides."""
    for part in (*path.parts[:-1], path.stem):
        if part in VAGUE:
            yield f"{part} says nothing about what is inside"


def check_text(text: str) -> Iterator[str]:
    """A text names no place that only one machine has and no package index."""
    for found in UNWANTED.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        yield f"line {line}: {found.group()}"


CHECKS: tuple[Check, ...] = (
    check_layers,
    check_pure,
    check_repeatable,
    check_sizes,
    check_name,
)


def python_files() -> list[PurePosixPath]:
    """Return every module of ours, relative to the root, in order."""
    found = (path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return sorted(PurePosixPath(path.relative_to(ROOT).as_posix()) for path in found)


def committed_files() -> list[Path]:
    """Return every file that git tracks and that is still there."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    # A container may own the checkout under another user; nothing here trusts its hooks.
    command = [git, "-c", "safe.directory=*", "ls-files", "-z"]
    listing = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    paths = [ROOT / name for name in listing.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


@pytest.mark.parametrize("path", python_files(), ids=str)
def test_module_keeps_the_rules_of_its_layer(path: PurePosixPath) -> None:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    assert [complaint for check in CHECKS for complaint in check(path, tree)] == []


def test_every_package_is_looked_at() -> None:
    assert {path.parts[0] for path in python_files()} == set(PACKAGES)


def test_committed_texts_name_no_machine_and_no_package_index() -> None:
    complaints = []
    for path in committed_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # not a text
        complaints += [f"{path.relative_to(ROOT)}: {complaint}" for complaint in check_text(text)]
    assert complaints == []


LONG_FUNCTION = "def roll():\n" + "    pass\n" * FUNCTION_LINES_MAX
LONG_MODULE = "x = 1\n" * (MODULE_LINES_MAX + 1)


@pytest.mark.parametrize(
    ("check", "path", "source"),
    [
        (check_layers, "consensus/engine.py", "import node"),
        (check_layers, "consensus/engine.py", "from transport.base import Link"),
        (check_layers, "consensus/engine.py", "def f():\n    import netsim.network"),
        (check_layers, "consensus/engine.py", "from ..node import files"),
        (check_layers, "transport/tcp.py", "from consensus.encoding import digest"),
        (check_layers, "node/game/rules.py", "from consensus import signing"),
        (check_layers, "node/game/rules.py", "from node.identity import Identity"),
        (check_layers, "node/game/rules.py", "import consensus"),
        (check_layers, "node/identity.py", "import netsim"),
        (check_layers, "netsim/network.py", "from tests import data"),
        (check_layers, "bench/commit.py", "import tests.consensus"),
        (check_layers, "node/identity.py", "import cbor2"),
        (check_layers, "consensus/votes.py", "import cbor2"),
        (check_layers, "bench/commit.py", "import nacl.bindings"),
        (check_layers, "consensus/encoding.py", "from nacl import bindings"),
        (check_pure, "consensus/engine.py", "import time"),
        (check_pure, "consensus/engine.py", "from os import path"),
        (check_pure, "node/game/craps/dice.py", "import random"),
        (check_pure, "node/replica.py", "import trio.abc"),
        (check_pure, "node/mempool.py", "from logging import getLogger"),
        (check_pure, "node/execution.py", "import sqlite3"),
        (check_pure, "node/game/treasury.py", "RAKE = 0.5"),
        (check_pure, "node/game/treasury.py", "RAKE = 5e3"),
        (check_pure, "node/game/treasury.py", "share = chips / 2"),
        (check_pure, "node/game/treasury.py", "share /= 2"),
        (check_pure, "node/epoch.py", "import uuid"),
        (check_pure, "node/membership.py", "from datetime import datetime"),
        (check_repeatable, "consensus/votes.py", "for x in {1, 2}: pass"),
        (check_repeatable, "consensus/votes.py", "for x in set(votes): pass"),
        (check_repeatable, "consensus/votes.py", "y = [x for x in frozenset(votes)]"),
        (check_repeatable, "consensus/votes.py", "y = [x for x in {z for z in votes}]"),
        (check_repeatable, "consensus/votes.py", "def f(a: set[int]):\n    return tuple(a)"),
        (check_repeatable, "consensus/votes.py", "def f(a: frozenset):\n    return [*a]"),
        (check_repeatable, "consensus/votes.py", "self.x: set[int] = set()\nself.x.pop()"),
        (check_repeatable, "consensus/votes.py", "x = {1}\nb','.join(x)"),
        (check_repeatable, "consensus/votes.py", "x = set()\nfor y in enumerate(x): pass"),
        (check_repeatable, "netsim/world.py", "for x in a.keys() & b.keys(): pass"),
        (check_repeatable, "netsim/world.py", "x = {1}\ny = next(iter(x | z))"),
        (check_repeatable, "node/replica.py", "order = sorted(peers, key=lambda p: id(p))"),
        (check_repeatable, "netsim/world.py", "seed = hash(name)"),
        (check_repeatable, "node/game/rules.py", "table = open('pays')"),
        (check_sizes, "node/runtime.py", LONG_FUNCTION),
        (check_sizes, "node/runtime.py", "async " + LONG_FUNCTION),
        (check_sizes, "node/runtime.py", LONG_MODULE),
        (check_name, "node/utils.py", ""),
        (check_name, "node/helpers/__init__.py", ""),
        (check_name, "tests/node/constants.py", ""),
    ],
)
def test_check_finds_an_offender(check: Check, path: str, source: str) -> None:
    assert len(list(check(PurePosixPath(path), ast.parse(source)))) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("consensus/encoding.py", "import cbor2"),
        ("consensus/signing.py", "import nacl.bindings\nfrom consensus.encoding import digest"),
        (
            "node/game/rules.py",
            "from consensus import merkle\nfrom consensus.encoding import encode",
        ),
        ("node/game/rules.py", "from .craps import dice"),
        ("node/identity.py", "import time, os\nrate = 0.5 / 2"),
        ("netsim/network.py", "import random\nfrom node.identity import Identity"),
        ("tests/node/test_noise.py", "import nacl.bindings, cbor2, netsim"),
        ("consensus/votes.py", "for x in sorted({1, 2}): pass\nhalf = 7 // 2"),
        (
            "consensus/votes.py",
            "x: set[int] = set()\nn = len(x) + max(x)\nfor y in sorted(x): pass",
        ),
        ("netsim/chance.py", "class A:\n    def __hash__(self):\n        return hash(self.x)"),
        ("node/game/rules.py", "for x in table.keys(): pass\ny = b - c\nfor z in (y,): pass"),
        ("consensus/votes.py", LONG_FUNCTION.removesuffix("    pass\n")),
        ("consensus/votes.py", LONG_MODULE.removesuffix("x = 1\n")),
    ],
)
def test_checks_accept_what_is_allowed(path: str, source: str) -> None:
    tree = ast.parse(source)
    assert [found for check in CHECKS for found in check(PurePosixPath(path), tree)] == []


@pytest.mark.parametrize(
    "text",
    [
        "see https://" + "pypi" + ".org/simple",
        "files." + "pythonhosted" + ".org",
        "cd /" + "work/main",
        "HOME=/" + "root",
        "'/" + "home/alice/.bitcraps'",
        "../" + "shared/notes.md",
    ],
)
def test_text_check_finds_an_offender(text: str) -> None:
    assert len(list(check_text(text))) == 1


@pytest.mark.parametrize("text", ["accounts/root", "at work/home", "make demo", "a/../b"])
def test_text_check_accepts_plain_words(text: str) -> None:
    assert list(check_text(text)) == []
