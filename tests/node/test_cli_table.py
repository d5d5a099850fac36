"""Host, join, run, play and status as people use them: several processes at one table."""

import json
import os
import pty
import re
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from node.cli import run_command
from node.config import Folder, write_config
from node.descriptor import Invite, format_invite, load_table
from node.game.params import decode_params
from node.identity import Keys, create_keys

Process: TypeAlias = "subprocess.Popen[str]"
Refusal: TypeAlias = Callable[..., str]

ROOT = Path(__file__).parent.parent.parent
SECONDS_MAX = 40
FILE_BYTES = 200_000
"""For a store this is full after a few rolls."""
KEY = Keys(b"k" * 32).identity.public_key
"""Any acceptable key: of a host that is not there."""


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "node", *map(str, words)]


def start(*words: object, **options: Any) -> Process:
    """Start a command on a leash of its own."""
    return subprocess.Popen(
        command(*words), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


def once(*words: object, typed: str = "", code: int = 0, passphrase: str = "") -> tuple[str, str]:
    """Run a command to its end with `typed` on its input; return its output and errors."""
    done = subprocess.run(
        command(*words), cwd=ROOT, input=typed, capture_output=True, text=True,
        timeout=SECONDS_MAX, check=False, env={**os.environ, "BITCRAPS_PASSPHRASE": passphrase},
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Refusal:
    """Run a command in this process that must be refused; return its one sentence."""

    def run(*words: object) -> str:
        capsys.readouterr()
        assert run_command([str(word) for word in words]) == 2
        output, errors = capsys.readouterr()
        assert output == ""
        (line,) = errors.splitlines()
        return line.removeprefix("bitcraps: ")

    return run


def wait_until(true: Callable[[], object]) -> None:
    end = time.monotonic() + SECONDS_MAX
    while not true():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def answers(folder: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(folder / "control.sock"))
        except OSError:
            return False
    return True


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Two folders that `init` would make, on loopback."""
    made = [tmp_path / "anna", tmp_path / "ben"]
    for path in made:
        write_config(Folder(path), path.name, "127.0.0.1:0")
        create_keys(Folder(path).identity)
    return made


@pytest.fixture
def ended() -> Iterator[list[Process]]:
    """Processes to be ended, whatever the test did."""
    processes: list[Process] = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def open_two(
    folders: list[Path], ended: list[Process], *terms: object
) -> tuple[Process, Process, str]:
    """Let Anna host a table and Ben join it, both headless; return the processes and invite."""
    anna, ben = folders
    host = start("host", "--data", anna, "--name", "friday", "--seats", 2, *terms)
    ended.append(host)
    assert host.stdout is not None
    invite = host.stdout.readline().strip()
    guest = start("join", invite, "--data", ben)
    ended.append(guest)
    wait_until(lambda: answers(anna) and answers(ben))
    return host, guest, invite


def stop(process: Process) -> int:
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=SECONDS_MAX)
    return process.returncode


def test_two_people_meet_play_leave_and_come_back_with_the_same_commands(
    folders: list[Path], ended: list[Process]
) -> None:
    anna, ben = folders
    host, guest, invite = open_two(folders, ended, "--bank", 5000, "--rule", "field=5-50")
    assert load_table(Folder(anna).table) == load_table(Folder(ben).table)
    params = decode_params(load_table(Folder(anna).table).descriptor.params)
    assert params.bank == 5000

    output, _ = once("play", "--data", anna, typed="sit\npass 10\nfield 51\nready\n\n")
    assert "you bet pass 10" in output
    assert re.search(r"field 51: .*50", output)
    output, _ = once("play", "--data", ben, typed="sit\nready\n\nquit\nnever read\n")
    assert re.search(r"anna +9,990 +ready +pass 10", output)

    assert stop(host) == stop(guest) == 0
    again = [
        start(
            "host", "--data", anna, "--name", "friday", "--seats", 2, "--bank", 5000,
            "--rule", "field=5-50",
        ),
        start("join", invite, "--data", ben),
    ]  # fmt: skip
    ended += again
    wait_until(lambda: answers(anna) and answers(ben))
    output, _ = once("play", "--data", anna, typed="roll\ndance 5\n")
    assert "'dance' is no bet; `help` lists them\n" in output
    wait_until(lambda: json.loads(once("status", "--data", ben, "--json")[0])["rolls"] == 1)
    facts = json.loads(once("status", "--data", ben, "--json")[0])
    assert facts["me"] == "ben"
    assert facts["live"]["halted"] == ""
    mine, theirs = (
        json.loads(once("status", "--data", folder, "--json", "--roll", 1)[0]) for folder in folders
    )
    assert mine == theirs


def test_the_same_folder_takes_no_other_table(
    folders: list[Path], ended: list[Process], refusal: Refusal
) -> None:
    anna, ben = folders
    host, guest, _ = open_two(folders, ended)
    stop(host)
    stop(guest)
    before = [contents(folder) for folder in folders]
    assert "holds the table 'friday' of 2 seats already" in refusal(
        "host", "--data", anna, "--name", "monday", "--seats", 2
    )
    assert "already, with other terms" in refusal(
        "host", "--data", anna, "--name", "friday", "--seats", 2, "--bank", 7
    )
    other = format_invite(Invite(1, bytes(32), KEY, bytes(16), ("127.0.0.1:9",), 0))
    assert "this invite is to another one" in refusal("join", other, "--data", ben)
    assert [contents(folder) for folder in folders] == before


def test_a_folder_has_one_node_at_a_time(folders: list[Path], ended: list[Process]) -> None:
    open_two(folders, ended)
    _, errors = once("run", "--data", folders[0], code=1)
    (line,) = errors.splitlines()
    assert "another node" in line.lower()


def test_a_port_in_use_is_no_usage_error_and_changes_nothing(folders: list[Path]) -> None:
    before = contents(folders[0])
    with socket.create_server(("127.0.0.1", 0)) as other:
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        _, errors = once(
            "host", "--data", folders[0], "--name", "x", "--seats", 2, "--listen", listen, code=1
        )
    (line,) = errors.splitlines()
    assert line == f"bitcraps: cannot listen on {listen}: Address already in use"
    assert contents(folders[0]) == before


def test_a_disk_that_refuses_ends_the_node_with_one_sentence_and_loses_nothing(
    folders: list[Path], ended: list[Process]
) -> None:
    def bound_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))

    words = ("--data", folders[0], "--name", "solo", "--seats", 1, "--bot", "pass")
    host = start("host", *words, preexec_fn=bound_files)
    ended.append(host)
    _, errors = host.communicate(timeout=SECONDS_MAX)
    assert host.returncode == 1
    *_, line = errors.splitlines()
    assert re.match(r"bitcraps: the disk (failed|is full)", line), errors
    assert "Traceback" not in errors
    height = json.loads(once("status", "--data", folders[0], "--json")[0])["height"]
    assert height > 0
    once("verify", "--data", folders[0])
    output, _ = once("play", "--data", folders[0], typed="ready\nroll\n")
    assert f"block {height}\n" in output


def test_an_invite_may_come_on_standard_input_and_is_not_needed_to_come_back(
    folders: list[Path], ended: list[Process]
) -> None:
    anna, ben = folders
    host = start("host", "--data", anna, "--name", "friday", "--seats", 2)
    ended.append(host)
    assert host.stdout is not None
    guest = start("join", "-", "--data", ben)
    ended.append(guest)
    assert guest.stdin is not None
    guest.stdin.write(host.stdout.readline())
    guest.stdin.flush()
    wait_until(lambda: answers(anna) and answers(ben))
    assert stop(guest) == 0
    for words in (("join", "--data", ben), ("join", "-", "--data", ben)):
        again = start(*words)
        ended.append(again)
        wait_until(lambda: answers(ben))
        assert stop(again) == 0


def test_who_comes_too_late_for_the_lobby_reads_so_in_one_sentence(
    folders: list[Path], tmp_path: Path
) -> None:
    host = Terminal("host", "--data", folders[0], "--name", "two", "--seats", 2)
    shown = host.read_until(r"bitcraps1:\S+\n")
    guest = Terminal("join", "--data", folders[1], shown.split()[-1])
    guest.read_until("at the table")
    carla = tmp_path / "carla"
    write_config(Folder(carla), "carla", "127.0.0.1:0")
    create_keys(Folder(carla).identity)
    _, errors = once("join", "--data", carla, shown.split()[-1], code=1)
    (line,) = errors.splitlines()
    assert "does not know this invite: the table has begun" in line
    for terminal in (host, guest):
        terminal.type("quit")
        terminal.close()


def test_leaving_for_good_is_asked_once_more_at_a_terminal(folders: list[Path]) -> None:
    host = Terminal("host", "--data", folders[0], "--name", "solo", "--seats", 1)
    host.read_until("You are alone")
    terminal = Terminal("retire", "--data", folders[0])
    terminal.read_until("for good, chips and all")
    terminal.type("n")
    terminal.read_until("nothing was done: you stay at the table")
    terminal.close()
    host.type("quit")
    host.close()


def test_a_terminal_asks_for_the_invite(folders: list[Path]) -> None:
    terminal = Terminal("join", "--data", folders[1])
    terminal.read_until("Invite: ")
    terminal.type("hello")
    terminal.read_until("'hello' is not an invite")
    terminal.close()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["host", "--name", "friday", "--seats", "17"], "17 is not in the range 1<=x<=16"),
        (["host", "--name", "friday", "--seats", "0"], "0 is not in the range"),
        (["host", "--name", " x", "--seats", "1"], "table name ' x' begins"),
        (["host", "--name", "x" * 25, "--seats", "1"], "has 25 characters; allowed are 1 to 24"),
        (["host", "--name", "x", "--seats", "1", "--bank", "-1"], "bank = -1: the least is 0"),
        (["host", "--name", "x", "--seats", "1", "--bank", str(2**53)], f"bank = {2**53}"),
        (["host", "--name", "x", "--seats", "1", "--buy-in", "1.5"], "'1.5' is not a valid int"),
        (["host", "--name", "x", "--seats", "1", "--rule", "bra=2"], "did you mean 'bar'?"),
        (["host", "--name", "x", "--seats", "1", "--rule", "bar"], "is not NAME=VALUE"),
        (["host", "--name", "x", "--seats", "1", "--rule", "bar=7"], "bar is 7"),
        (["host", "--name", "x", "--seats", "1", "--rule", "bar=x"], "'x' is not a whole number"),
        (["host", "--name", "x", "--seats", "1", "--rule", "line=9-5"], "line are 9 to 5 chips"),
        (["host", "--name", "x", "--seats", "1", "--rule", "field_12=9"], "house edge"),
        (["host", "--name", "x", "--seats", "1", "--rule", "thrower_ms=1"], "thrower time-out"),
        (["host", "--name", "x", "--seats", "1", "--listen", "here"], "'here' is not host:port"),
        (["host", "--name", "x", "--seats", "1", "--public", "0.0.0.0"], "all interfaces"),
        (["host", "--name", "x", "--seats", "1", "--bot", "lucky"], "'lucky' is not one of"),
        (["host", "--name", "x", "--seats", "1", "--game", "sicbo", "--bot", "pass"], "no bot bets 'pass' at sicbo"),
        (["host", "--name", "x", "--seats", "1", "--game", "sicbo", "--rule", "bar=2"], "'bar' is no rule"),
        (["host", "--name", "x", "--seats", "1", "--game", "sicbo", "--rule", "triple_pay=150"], "triple 1 at 150:1 has a house edge of 30.09 %"),
        (["host", "--name", "x", "--seats", "1", "--rolls", "-1"], "-1 is not in the range"),
        (["host", "--name", "x", "--seats", "1", "--rolls", "3"], "name one with --bot"),
        (["run", "--pace", "3"], "name one with --bot"),
        (["run", "--pace", "nan", "--bot", "pass"], "--pace nan is not in the range"),
        (["host", "--name", "x", "--seats", "1", "--buy-in", "0"], "--buy-in 0: 1 at least"),
        (["host", "--name", "x", "--seats", "1", "--rule", "bar=2", "--rule", "bar=12"], "rule bar is given twice"),
        (["host", "--name", "x", "--seats", "1", "--rule", "line=5-"], "'5-' is not LEAST-MOST"),
        (["join", "hello"], "'hello' is not an invite: one begins with 'bitcraps1:'"),
        (["join", "bitcraps1:hellohello"], "'bitcraps1:hellohello' is not an invite"),
        (["join", "bitcraps1:!"], "cannot be in one"),
        (["join"], "no invite: name it, or `-`"),
        (["run"], "has no table yet: `host` opens one, `join` takes a seat"),
        (["play"], "has no table yet"),
        (["status"], "has no table yet"),
        (["status", "--session", "1"], "has no table yet"),
        (["fairness"], "has no table yet"),
        (["invite"], "has no table yet"),
        (["admit", "ben"], "has no table yet"),
        (["vote", "on"], "has no table yet"),
        (["retire"], "has no table yet"),
        (["status", "--roll", "0"], "0 is not in the range x>=1"),
        (["odds", "--with", "pass"], "is not BET:CHIPS"),
        (["odds", "--with", "dance:5"], "'dance' is no bet"),
        (["odds", "--rule", "odds=1"], "odds = 1: it takes 5 numbers, not 1"),
        (["odds", "--rule", "line=0"], "rule line: '0' is not LEAST-MOST, such as line=1-500"),
        (["odds", "--rule", "line=0-5"], "the limits of line are 0 to 5 chips"),
    ],
)  # fmt: skip
def test_input_that_cannot_be_used_is_refused_in_one_sentence_and_changes_nothing(
    folders: list[Path], refusal: Refusal, words: list[str], sentence: str
) -> None:
    before = contents(folders[0])
    assert sentence in refusal(words[0], "--data", folders[0], *words[1:])
    assert contents(folders[0]) == before


@pytest.mark.parametrize("words", [["host", "--name", "x", "--seats", "1"], ["join", "x"], ["run"]])
def test_a_folder_without_identity_is_refused_and_stays_absent(
    tmp_path: Path, refusal: Refusal, words: list[str]
) -> None:
    folder = tmp_path / "new"
    assert refusal(words[0], "--data", folder, *words[1:])
    assert not folder.exists()


def test_a_host_that_is_not_there_is_no_usage_error(folders: list[Path]) -> None:
    invite = format_invite(Invite(1, bytes(32), KEY, bytes(16), ("127.0.0.1:9",), 0))
    _, errors = once("join", invite, "--data", folders[1], code=1)
    assert errors.startswith("bitcraps: the host does not answer")
    assert len(errors.splitlines()) == 1
    assert not Folder(folders[1]).table.exists()


def test_a_damaged_table_file_is_named(folders: list[Path], refusal: Refusal) -> None:
    Folder(folders[0]).table.write_bytes(b"x" * 100)
    assert "table.bin is damaged" in refusal("run", "--data", folders[0])


def test_odds_are_exact_and_follow_the_house_rules(folders: list[Path]) -> None:
    def edge(*words: str) -> str:
        (row,) = json.loads(once("odds", "--data", folders[0], "--json", *words)[0])
        return str(row["house_edge"])

    assert edge("--with", "pass:10") == "7/495"
    assert edge("--with", "field:5") == "1/18"
    assert edge("--with", "field:5", "--rule", "field_12=3") == "1/36"
    output, _ = once("odds", "--data", folders[0], "--with", "pass:10,odds:20")
    assert "0.6061 %" in output


class Terminal:
    """A person at a terminal: a process behind a pseudo-terminal."""

    def __init__(self, *words: object) -> None:
        self.text = ""
        self.process, self.end = _spawn(command(*words))

    def type(self, line: str) -> None:
        os.write(self.end, line.encode() + b"\n")

    def read_until(self, pattern: str) -> str:
        """Read until the text since the last match has the pattern; return what came."""
        end = time.monotonic() + SECONDS_MAX
        while not (match := re.search(pattern, self.text)):
            assert time.monotonic() < end, f"no {pattern!r} in {self.text!r}"
            if select.select([self.end], [], [], 0.2)[0]:
                self.text += os.read(self.end, 65536).decode(errors="replace").replace("\r", "")
        before, self.text = self.text[: match.end()], self.text[match.end() :]
        return before

    def throw(self) -> None:
        """Throw, again while it is too early or dice are still prepared, and see the roll."""
        end = time.monotonic() + SECONDS_MAX
        while time.monotonic() < end:
            self.type("roll")
            shown = self.read_until(r"(?:^|\n) +1  [1-6] [1-6]  = \d+|\n  roll: .*(?=\n)")
            if re.search(r"= \d+$", shown):
                return
            time.sleep(0.2)
        raise AssertionError("no roll")

    def close(self) -> None:
        """Wait for the process to end by itself."""
        end = time.monotonic() + SECONDS_MAX
        while os.waitpid(self.process, os.WNOHANG)[0] == 0:
            assert time.monotonic() < end, "the process does not end"
            if select.select([self.end], [], [], 0.1)[0]:
                try:
                    os.read(self.end, 65536)
                except OSError:
                    continue
        os.close(self.end)


def _spawn(words: list[str]) -> tuple[int, int]:
    process, end = pty.fork()
    if process == 0:
        os.chdir(ROOT)
        os.execv(words[0], words)
    return process, end


def test_a_person_plays_the_demo_at_a_terminal() -> None:
    terminal = Terminal("demo", "--nodes", 3)
    terminal.read_until(r"you take a seat")
    terminal.type("pass 10")
    terminal.read_until(r"you bet pass 10")
    terminal.type("plcae 6 12")
    terminal.read_until(r"did you mean 'place'\?")
    terminal.type("x" * 500)
    terminal.read_until(r"a line of 202 characters; the limit is 200")
    terminal.type("help")
    terminal.read_until(r"quit +end this table and its bots")
    terminal.type("")
    while "nothing" not in (shown := terminal.read_until(r"pending +.*\n")):
        terminal.type("")  # the block is final, its answer is still on its way
    assert re.search(r"> you +9,990 +pass 10", shown)
    terminal.type("ready")
    terminal.throw()
    terminal.type("quit")
    terminal.close()


def test_one_person_hosts_alone_and_plays_in_the_same_terminal(folders: list[Path]) -> None:
    terminal = Terminal("host", "--data", folders[0], "--name", "solo", "--seats", 1)
    terminal.read_until(r"bitcraps1:\S+")
    terminal.read_until(r"You are alone at this table")
    terminal.type("sit")
    terminal.read_until(r"you take a seat")
    terminal.type("pass 10")
    terminal.read_until(r"all are ready|Type your bets|you bet pass 10")
    terminal.type("ready")
    terminal.throw()
    terminal.type("quit")
    terminal.close()
    assert json.loads(once("status", "--data", folders[0], "--json")[0])["rolls"] >= 1
    # No node runs any more: `play` runs it itself.
    output, _ = once("play", "--data", folders[0], typed="pass 10\nfield 5\nroll\n")
    assert "you bet field 5" in output
    assert re.search(r"\n +2  [1-6] [1-6]  = \d+ +anna: .*field [+-]", output)


def test_sealed_keys_ask_for_their_passphrase(tmp_path: Path, ended: list[Process]) -> None:
    folder = tmp_path / "anna"
    write_config(Folder(folder), "anna", "127.0.0.1:0")
    create_keys(Folder(folder).identity, "corkscrew")
    words = ("host", "--data", folder, "--name", "solo", "--seats", 1)
    _, errors = once(*words, code=2)
    assert "set BITCRAPS_PASSPHRASE" in errors
    _, errors = once(*words, code=2, passphrase="opener")
    assert "the passphrase does not open" in errors
    environment = {**os.environ, "BITCRAPS_PASSPHRASE": "corkscrew"}
    host = start(*words, env=environment)
    ended.append(host)
    wait_until(lambda: answers(folder))
    stop(host)
    output, _ = once("play", "--data", folder, typed="sit\n", passphrase="corkscrew")
    assert "you take a seat" in output
