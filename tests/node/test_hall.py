"""Around the game: several games at a table, who only watches, and a table that waits for voters."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from node.config import Folder
from node.control import ControlClient, open_control
from node.demo import NodeProcess, Plan, open_table, prepare
from node.game.craps.bets import Kind
from node.game.craps.rules import load_rules
from node.game.operations import CreateSession, Finish, PlaceBet, Roll, Sit
from node.hall import games_text, listed
from node.players import PlayerSession, players_text
from node.playing import Terminal
from node.terminal import (
    STAYS,
    WIDTH,
    Command,
    Look,
    Play,
    Players,
    Say,
    changes,
    parse_line,
    turn_text,
)
from node.view import GameView
from tests.node.test_remembering import folder, node_on, play  # noqa: F401  (a fixture)
from tests.node.views import TABLE

_rules = load_rules(b"")
assert not isinstance(_rules, str)
RULES = _rules
FIRST = GameView(session=0, opener=0, seated=(0, 1, 2), betting=True, rolls=17, layout=92)
OTHER = GameView(session=4, opener=2, seated=(), betting=False, rolls=2, layout=1_500)
BOTH = replace(TABLE, games=(FIRST, OTHER))
PASS = PlaceBet(0, Kind.PASS, 0, 10)


@pytest.mark.parametrize(
    ("names", "text"), [((), ""), (("a",), "a"), (("a", "b"), "a and b"), ("abc", "a, b and c")]
)
def test_names_are_listed_as_in_a_sentence(names: Sequence[str], text: str) -> None:
    assert listed(names) == text


@pytest.mark.parametrize(
    ("waits_for", "away", "text"),
    [
        (1, ("ben", "carla"), "The table waits for 1 more voter: ben and carla are away."),
        (2, ("ben", "carla"), "The table waits for 2 more voters: ben and carla are away."),
        (1, ("ben",), "The table waits for 1 more voter: ben is away."),
    ],
)
def test_a_table_that_waits_says_for_whom_and_when_it_goes_on(
    waits_for: int, away: tuple[str, ...], text: str
) -> None:
    waiting = replace(TABLE, waits_for=waits_for, away=away)
    assert turn_text(waiting) == text
    assert changes(TABLE, waiting) == [f"  {text}"]
    assert changes(waiting, waiting) == []
    assert changes(waiting, TABLE) == [
        "  Enough voters are back: the table goes on.",
        "  anna has the dice. Type your bets, then `ready`.",
    ]
    assert "`sit`" in changes(waiting, replace(TABLE, me=3))[-1]


def test_one_that_is_away_while_enough_are_there_is_not_worth_a_line() -> None:
    assert changes(TABLE, replace(TABLE, away=("ben",))) == []


def test_games_are_listed_with_the_shown_one_marked() -> None:
    assert games_text(TABLE) == "no game is open: `sit` opens one"
    assert games_text(BOTH).splitlines() == [
        "* game 0: anna, ben and carla; roll 17, 92 chips on the layout",
        "    game 4: nobody; roll 2, the dice are out",
    ]


def test_games_that_come_and_go_are_told() -> None:
    (line,) = changes(replace(TABLE, games=(FIRST,)), BOTH)
    assert line == "  Game 4 is open, by carla: `sit 4` to play, `game 4` to watch."
    assert changes(BOTH, replace(TABLE, games=(FIRST,))) == ["  Game 4 has ended."]


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("open", Play((CreateSession(1),))),
        ("sit 4", Play((Sit(4),), shows=4)),
        ("sit 0", Look(0)),  # ben sits there
        ("game 4", Look(4)),
        ("finish 4", Play((Finish(4),))),
        ("game 3", Say("there is no game '3'; open are: 0, 4")),
        ("sit x", Say("there is no game 'x'; open are: 0, 4")),
        ("players", Players()),
    ],
)
def test_words_about_games(line: str, command: Command) -> None:
    assert parse_line(line, BOTH, RULES) == command


class Typist:
    """A terminal over a client, and its text."""

    def __init__(self, client: ControlClient) -> None:
        self.text = ""
        self.lines, self._typed = trio.open_memory_channel[str](100)
        self._terminal = Terminal(client, RULES, self._show, columns=lambda: WIDTH, quitting=STAYS)
        self._changed = trio.Event()

    def _show(self, text: str) -> None:
        self.text += text
        self._changed.set()
        self._changed = trio.Event()

    async def run(self) -> None:
        with contextlib.suppress(trio.Cancelled):
            await self._terminal.run(self._typed.receive, in_turn=False)

    def type(self, line: str) -> None:
        self.lines.send_nowait(f"{line}\n")

    async def read(self, words: str) -> None:
        """Wait for words, and forget everything up to them."""
        with trio.move_on_after(20):
            while words not in self.text:
                await self._changed.wait()
        assert words in self.text
        self.text = self.text.partition(words)[2]


@contextlib.asynccontextmanager
async def typing(client: ControlClient) -> AsyncIterator[Typist]:
    async with trio.open_nursery() as nursery:
        typist = Typist(client)
        nursery.start_soon(typist.run)
        yield typist
        nursery.cancel_scope.cancel()


async def test_one_player_opens_joins_and_ends_several_games_in_a_terminal(
    folder: Folder,  # noqa: F811
) -> None:
    async with node_on(folder) as client, typing(client) as typist:
        await typist.read("No game is open yet")
        typist.type("sit")
        await typist.read("you take a seat")
        typist.type("pass 10")
        await typist.read("you bet pass 10")
        typist.type("open")
        await typist.read("Game 1 is open, by player 0")
        typist.type("sit 1")
        await typist.read("roll 0")
        typist.type("pass 25")
        await typist.read("you bet pass 25")
        typist.type("games")
        await typist.read("game 0: player 0; roll 0, 10 chips on the layout")
        await typist.read("* game 1: player 0; roll 0, 25 chips on the layout")
        typist.type("finish 1")
        await typist.read("finish 1:")
        typist.type("down pass")
        await typist.read("you take pass down")
        typist.type("leave")
        await typist.read("you leave the game")
        typist.type("finish 1")
        await typist.read("Game 1 has ended.")
        typist.type("players")
        await typist.read("player 0")
        assert [game.session for game in (await client.view()).games] == [0]


async def test_players_are_shown_as_agreed_and_as_known_here(
    folder: Folder,  # noqa: F811
) -> None:
    async with node_on(folder) as client:
        view = await play(client, 3)
        (facts,) = (await client.status())["players"]
        agreed, local = facts["agreed"], facts["local"]
        assert (agreed["name"], agreed["games"], agreed["votes"]) == ("player 0", [0], True)
        assert agreed["balance"] + agreed["at_stake"] == view.own.rack + view.layout
        assert agreed["open_bets"] == len(view.own.bets)
        assert agreed["won"] - agreed["lost"] == sum(
            won - lost for *_, won, lost in agreed["history"]
        )
        assert len(agreed["history"]) == agreed["rolls"] == 3
        assert local["is_here"]
        assert not agreed.keys() & local.keys()
    import msgspec

    session = msgspec.convert(facts, PlayerSession)
    assert agreed["key"] in players_text([session])


async def kill(node: NodeProcess) -> None:
    process = node.process
    assert process is not None
    process.kill()
    await process.wait()
    for stream in (process.stdin, process.stdout):
        assert stream is not None
        await stream.aclose()


async def test_a_table_of_processes_pauses_without_quorum_and_resumes_by_itself(
    tmp_path: Path,
) -> None:
    plan = Plan(root=tmp_path, names=("anna", "ben", "carla", "dmitri"), you=None, rolls=0,
                rules=("betting_min_ms=0",))  # fmt: skip
    nodes = prepare(plan)
    anna, ben, carla, dmitri = nodes
    with trio.fail_after(45):
        async with open_table(plan, nodes), contextlib.AsyncExitStack() as held:
            first = await held.enter_async_context(await open_control(anna.folder.root))
            last = await held.enter_async_context(await open_control(dmitri.folder.root))
            typist = await held.enter_async_context(typing(first))
            watcher = await held.enter_async_context(typing(last))
            # A terminal tells what happens after its first look, not what led to it.
            await typist.read("No game is open yet")
            await watcher.read("No game is open yet")
            await first.submit([CreateSession(1), Sit(0), PASS])
            await typist.read("you bet pass 10")
            assert (await first.view()).waits_for == 0

            for gone in (ben, carla):
                await kill(gone)
            typist.type("pass 5")
            await typist.read("The table waits for 1 more voter: ben and carla are away.")
            await watcher.read("The table waits for 1 more voter: ben and carla are away.")
            assert (await first.view()).own.bets[0].stake == 10
            status = await first.status()
            assert (status["waits_for"], sorted(status["away"])) == (1, ["ben", "carla"])

            await carla.start()
            while (view := await first.view()).own.bets[0].stake < 15:
                await first.wait_newer(view.height)
            assert (await first.view()).waits_for == 0
            await typist.read("Enough voters are back: the table goes on.")
            await ben.start()

            # Who has no seat watches: the bets, the dice, and what they paid.
            await watcher.read("anna bets pass 5")
            assert not (await last.view()).own.seated
            while (await first.submit([Roll(0)]))[0].receipt.code:  # dice are still prepared
                view = await first.view()
                with trio.move_on_after(0.1):
                    await first.wait_newer(view.height)
            await watcher.read("    1  ")
            watcher.type("pass 10")
            await watcher.read("needs a seat: type `sit` first")
