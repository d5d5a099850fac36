"""A table that grows while it plays: real node processes, invites, votes, and what is refused."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from node.config import Folder, write_config
from node.control import open_control
from node.identity import create_keys
from node.inspection import read_standing
from node.view import TableView

ROOT = Path(__file__).parent.parent.parent
SECONDS_MAX = 60


class Nodes:
    """Node processes that a test has started, by name; all end with it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.processes: dict[str, subprocess.Popen[str]] = {}

    def folder(self, name: str) -> Path:
        path = self.root / name
        if not path.exists():
            write_config(Folder(path), name, "127.0.0.1:0")
            create_keys(Folder(path).identity)
        return path

    def start(self, name: str, *words: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-m", "node", *words, "--data", str(self.folder(name)), "--leash"],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        self.processes[name] = process
        return process

    def open_table(self, names: list[str], *words: str, bot: tuple[str, ...]) -> None:
        """Let the first of these host and the others join."""
        first, *others = names
        host = self.start(
            first, "host", "--name", "friday", "--seats", str(len(names)), *words, *bot
        )
        assert host.stdout is not None
        invite = host.stdout.readline().strip()
        for name in others:
            self.start(name, "join", invite, *bot)
        for name in names:
            self.until(name, lambda view: view.me >= 0)

    def say(self, name: str, *words: str, code: int = 0) -> str:
        """Run a short command on a folder; return what it prints, errors if it is to fail."""
        done = subprocess.run(
            [sys.executable, "-m", "node", *words, "--data", str(self.folder(name))],
            cwd=ROOT, capture_output=True, text=True, timeout=SECONDS_MAX, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        return (done.stderr if code else done.stdout).strip()

    def view(self, name: str) -> TableView | None:
        async def look() -> TableView | None:
            try:
                client = await open_control(self.folder(name))
            except Exception:  # noqa: BLE001  (not there yet, in whatever way)
                return None
            async with client:
                return await client.view()

        return trio.run(look)

    def until(self, name: str, condition: Any) -> TableView:
        """Wait until the view at a node fulfils a condition."""
        end = time.monotonic() + SECONDS_MAX
        while True:
            view = self.view(name)
            if view is not None and condition(view):
                return view
            process = self.processes[name]
            if process.poll() is not None:
                pytest.fail(f"{name} ended: {process.communicate()[1]}")
            assert time.monotonic() < end, f"waited too long for {name}: {view}"
            time.sleep(0.05)

    def stop(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.communicate(timeout=SECONDS_MAX)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    made = Nodes(tmp_path)
    yield made
    for process in made.processes.values():
        process.kill()
        process.communicate()


BOT = ("--bot", "pass")
FOUR = ["anna", "ben", "carla", "dmitri"]


@pytest.mark.slow
def test_a_table_of_four_grows_to_six_voters_and_shrinks_to_four_while_bets_go_on(
    nodes: Nodes,
) -> None:
    nodes.open_table(FOUR, bot=BOT)
    for name, inviter in (("elena", "anna"), ("farid", "dmitri")):
        nodes.start(name, "join", nodes.say(inviter, "invite"), *BOT)
        nodes.until(name, lambda view: view.me >= 0)
        nodes.say(name, "vote", "on")
        nodes.until(name, lambda view: view.own.votes)
    grown = nodes.until("anna", lambda view: len(view.voters) == 6)
    nodes.until("farid", lambda view: view.rolls > grown.rolls and view.own.seated)
    for name in ("anna", "ben"):
        nodes.say(name, "vote", "off")
    shrunk = nodes.until("carla", lambda view: len(view.voters) == 4)
    assert shrunk.rolls > grown.rolls
    assert {"anna", "ben"}.isdisjoint(shrunk.voters)
    last = nodes.until("anna", lambda view: view.rolls > shrunk.rolls + 2)
    assert last.own.seated  # who gave up its vote plays on
    nodes.stop()
    standings = [read_standing(Folder(nodes.folder(name))) for name in (*FOUR, "elena", "farid")]
    height = min(standing.height for standing in standings)
    assert len({standing.roots[height] for standing in standings}) == 1
    for standing in standings:
        assert sum(standing.chips.values()) + standing.bank + standing.layout == standing.minted
        assert standing.minted == 1_060_000


def test_a_newcomer_waits_for_the_word_of_the_voters_and_meets_members_it_never_heard_of(
    nodes: Nodes,
) -> None:
    nodes.open_table(["anna", "ben"], bot=())
    invite = nodes.say("ben", "invite")
    nodes.start("carla", "join", invite)
    asking = nodes.until("ben", lambda view: view.asking).asking
    assert [(one.name, one.approvals, one.needed) for one in asking] == [("carla", 0, 2)]
    assert "nobody asks" in nodes.say("anna", "admit", "carla", code=1)  # it asks at Ben's door
    assert "1 of the 2 votes" in nodes.say("ben", "admit", "carla")
    nodes.until("anna", lambda view: view.asking)
    assert "others have to as well" in nodes.say("ben", "admit", "carla", code=1)
    assert "Carla is a member" in nodes.say("anna", "admit", "Carla")
    view = nodes.until("carla", lambda view: view.me == 2)
    assert view.voters == tuple(player.name for player in view.players[:2])
    status = json.loads(nodes.say("carla", "status", "--json"))
    assert [member["votes"] for member in status["members"]] == [True, True, False]
    assert status["me"] == "carla"
    nodes.until("anna", lambda _: linked(nodes, "anna", "carla"))
    assert "used" in refusal(nodes, "dora", invite)


def linked(nodes: Nodes, name: str, other: str) -> bool:
    status = json.loads(nodes.say(name, "status", "--json"))
    return any(peer["name"] == other and peer["up"] for peer in status["live"]["peers"])


def refusal(nodes: Nodes, name: str, invite: str) -> str:
    """Return the sentence that somebody reads who is not let in."""
    process = nodes.start(name, "join", invite)
    assert process.wait(SECONDS_MAX) == 1  # its leash still holds
    assert process.stderr is not None
    return process.stderr.read().splitlines()[-1]


def test_who_is_not_let_in_reads_why(nodes: Nodes) -> None:
    nodes.open_table(["anna"], bot=())
    first = nodes.say("anna", "invite")
    nodes.root.joinpath("other").mkdir()
    write_config(Folder(nodes.root / "double"), "anna", "127.0.0.1:0")
    create_keys(Folder(nodes.root / "double").identity)
    assert "take others" in refusal(nodes, "double", first)
    nodes.processes["anna"].terminate()
    nodes.processes["anna"].communicate()
    assert "does not answer" in refusal(nodes, "ben", first)
    nodes.start("anna", "run")
    nodes.until("anna", lambda view: view.me == 0)
    # Its invites went with the node.
    assert "ask for a new one" in refusal(nodes, "carla", first)


def test_a_closed_table_hands_out_no_invites(nodes: Nodes) -> None:
    nodes.open_table(["anna"], "--rule", "join_rule=0", bot=())
    assert "takes nobody in" in nodes.say("anna", "invite", code=1)


def test_of_four_seats_two_may_vote_and_a_voter_may_not_leave_the_table_without_one(
    nodes: Nodes,
) -> None:
    nodes.open_table(["anna", "ben", "carla"], "--voters", "2", bot=("--bot", "pass"))
    names = {"anna", "ben", "carla"}
    view = nodes.until("anna", lambda view: view.rolls >= 1)
    (other,), (player,) = {*view.voters} - {"anna"}, names - {*view.voters}
    assert len(view.voters) == 2
    nodes.until(player, lambda view: view.own.seated and not view.own.votes)
    assert "2 of 3 players vote" in nodes.say(player, "status")
    nodes.say(other, "vote", "off")
    nodes.until("anna", lambda view: view.voters == ("anna",))
    assert "somebody has to vote" in nodes.say("anna", "vote", "off", code=1)


def test_the_node_of_who_retired_ends_by_itself_and_says_why(nodes: Nodes) -> None:
    nodes.open_table(["anna", "ben"], bot=())
    assert nodes.say("ben", "retire") == "you have left the table"
    for again in (False, True):
        process = nodes.start("ben", "run") if again else nodes.processes["ben"]
        code = process.wait(timeout=SECONDS_MAX)
        _, said = process.communicate()
        assert code == 0, said
        assert said.splitlines()[-1] == (
            "bitcraps: you have left 'friday' for good and its voters go on without you: this node "
            "has nothing more to do"
        )
    nodes.until("anna", lambda view: view.voters == ("anna",))
