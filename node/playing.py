"""Who sits at a node: a person at a terminal, or a bot with a strategy.

Both see the table through the node's control socket and type the same words; neither knows whether
the node runs in this process.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence

import msgspec
import trio

from node.bots import next_moves, operations_of
from node.control import ControlClient
from node.effects import Answer
from node.errors import NodeEndedError, OperatorError
from node.game.receipts import Code, Receipt, describe
from node.game.rules import GameRules
from node.membership import Admit
from node.mempool import AnyOperation
from node.players import PlayerSession, players_text
from node.strategies.moves import Move, Strategy
from node.terminal import (
    WIDTH,
    Command,
    Help,
    Look,
    Play,
    Players,
    Quit,
    Say,
    Show,
    asking_text,
    changes,
    fitted,
    help_text,
    parse_line,
    render_table,
)
from node.view import TableView

log = logging.getLogger(__name__)

PENDING_MAX = 16
"""Lines of one person that no final block holds yet."""
ANSWER_SECONDS = 30
"""How long a line of a script, or the end of the input, waits for what was typed before it."""
PATIENCE_SECONDS = 2
"""Before a terminal tells that the table waits: a node that just started has no links yet."""
LOOK_SECONDS = 0.1
LINKS_SECONDS = 1
"""How often a terminal looks for links that came or went: no block tells."""
RETRY_SECONDS = 1
"""Before a bot looks again although nothing has become final: a refusal may have been of the moment."""
OPENING_SECONDS = 0.3
"""Times its index, and then its pace, before a bot opens a game: one opens it, the others find it
open. A bot with a pace plays with a person, who opens it sooner and throws first."""


class Terminal:
    """A person's terminal: lines in, text out. `show` prints one text with its line ends."""

    def __init__(
        self,
        client: ControlClient,
        rules: GameRules,
        show: Callable[[str], None],
        *,
        columns: Callable[[], int],
        quitting: str,
    ) -> None:
        """Play over an open client; `columns` says how wide lines may be, `quitting` what it does."""
        self._client = client
        self._rules = rules
        self._print = show
        self._columns = columns
        self._quitting = quitting
        self._pending: list[str] = []
        self._changed = trio.Event()
        self._shown = -1

    async def run(
        self, read_line: Callable[[], Awaitable[str]], *, first: str = "", in_turn: bool
    ) -> None:
        """Play until the input ends or says so; `read_line` returns "" at its end.

        `first` is a line to begin with. `in_turn` waits for what each line leads to before it reads
        the next, the roll included: for input that nobody types.
        """
        self._view = await self._first_view()
        self._draw()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow)
            nursery.start_soon(self._attend)
            nursery.start_soon(self._follow_links)
            line = first
            while True:
                if line:
                    command = parse_line(line, self._view, self._rules)
                    if isinstance(command, Quit):
                        break
                    self._obey(line, command, nursery)
                    if in_turn:
                        with trio.move_on_after(ANSWER_SECONDS):
                            await self._settle()
                line = await read_line()
                if not line:
                    with trio.move_on_after(ANSWER_SECONDS):
                        await self._settle()
                    break
            nursery.cancel_scope.cancel()

    async def _first_view(self) -> TableView:
        view = await self._client.view()
        with trio.move_on_after(PATIENCE_SECONDS):
            while view.waits_for:
                await trio.sleep(LOOK_SECONDS)
                view = await self._client.view()
        return view

    @property
    def _width(self) -> int:
        return min(WIDTH, self._columns())

    def _draw(self) -> None:
        self._show(render_table(self._view, self._pending, self._width))

    def _show(self, text: str) -> None:
        self._print(fitted(text, self._columns()))

    def _obey(self, line: str, command: Command, nursery: trio.Nursery) -> None:
        match command:
            case Show():
                self._draw()
            case Help(topic):
                self._show(
                    help_text(self._rules, topic, quitting=self._quitting, width=self._width)
                )
            case Say(text):
                self._show(f"  {text}\n")
            case Play() | Look() | Players() if len(self._pending) >= PENDING_MAX:
                self._show(
                    f"  {PENDING_MAX} lines wait for the table already; this one is dropped\n"
                )
            case Look(session):
                self._pending.append(line.strip())
                nursery.start_soon(self._switch, line.strip(), session)
            case Players():
                self._pending.append(line.strip())
                nursery.start_soon(self._show_players, line.strip())
            case Play():
                self._pending.append(line.strip())
                nursery.start_soon(self._submit, line.strip(), command)
            case Quit():
                raise AssertionError("the reader ends the terminal")

    async def _submit(self, line: str, play: Play) -> None:
        try:
            answers = await self._client.submit(play.operations)
            refusals = {
                self._sentence(answer.receipt): None for answer in answers if answer.receipt.code
            }
            for sentence in refusals:
                self._show(f"  {line}: {sentence}\n")
            if play.shows is not None and not refusals:
                await self._show_game(play.shows)
            else:
                await self._catch_up(max(answer.height for answer in answers))
        except OperatorError as error:
            self._show(f"  {line}: {error}\n")
        finally:
            self._pending.remove(line)
            self._changed.set()

    def _sentence(self, receipt: Receipt) -> str:
        """Return why something was refused, players by their names."""
        sentence = describe(receipt, self._rules)
        if receipt.code == Code.NOT_THROWER:
            (player,) = receipt.values
            sentence = sentence.replace(f"player {player}", self._view.players[player].name)
        return sentence

    async def _settle(self) -> None:
        """Wait until nothing typed here is pending and no dice are out."""
        while self._pending or (self._view.session >= 0 and not self._view.betting):
            self._changed = trio.Event()
            await self._changed.wait()

    async def _follow(self) -> None:
        while True:
            await self._client.wait_newer(self._view.height)
            await self._catch_up(self._view.height + 1)

    async def _attend(self) -> None:
        """Show who asks to join at this node; no block tells that."""
        count = 0
        while True:
            count = await self._client.wait_asked(count)
            known = {asking.name for asking in self._view.asking}
            view = await self._client.view()
            if view.height >= self._view.height:
                self._view = view
                for asking in view.asking:
                    if asking.name not in known:
                        self._show(f"  {asking_text(asking)}\n")

    async def _follow_links(self) -> None:
        while True:
            await trio.sleep(LINKS_SECONDS)
            await self._look()

    async def _switch(self, line: str, session: int) -> None:
        try:
            await self._show_game(session)
        except OperatorError as error:
            self._show(f"  {line}: {error}\n")
        finally:
            self._pending.remove(line)
            self._changed.set()

    async def _show_game(self, session: int) -> None:
        """Look at this game from now on."""
        self._shown = session
        self._view = await self._client.view(session)
        self._draw()

    async def _show_players(self, line: str) -> None:
        try:
            players = (await self._client.status())["players"]
            self._show(players_text(msgspec.convert(players, tuple[PlayerSession, ...])))
        except OperatorError as error:
            self._show(f"  {line}: {error}\n")
        finally:
            self._pending.remove(line)
            self._changed.set()

    async def _catch_up(self, height: int) -> None:
        """Take a view of at least this height and tell what is new in it."""
        if self._view.height < height:
            await self._look()

    async def _look(self) -> None:
        """Take a view and tell what is new in it."""
        shown = self._shown
        view = await self._client.view(shown)
        if shown != self._shown or view.height < self._view.height or view == self._view:
            return
        before, self._view = self._view, view
        self._changed.set()
        if lines := changes(before, view, self._width):
            self._show("\n".join(lines) + "\n")


class Doorman:
    """Says yes for this node to everybody who asks to join."""

    def __init__(self, client: ControlClient) -> None:
        """Act over an open client."""
        self._client = client

    async def run(self) -> None:
        """Let people in until cancelled, or until the client's node ends."""
        while True:
            view = await self._client.view()
            wanted = [Admit(asking.join) for asking in view.asking if not asking.approved]
            if wanted and view.own.votes:
                await _submit_or_look_again(self._client, wanted)
            with trio.move_on_after(RETRY_SECONDS):
                await self._client.wait_newer(view.height)


class Bot:
    """A strategy at a node: looks at every final block, and once a second in any case."""

    def __init__(
        self,
        client: ControlClient,
        strategy: Strategy,
        rules: GameRules,
        *,
        pace_seconds: float,
        patience_seconds: float,
    ) -> None:
        """Play over an open client.

        With the dice it throws `pace_seconds` after its bets at the earliest, and waits
        `patience_seconds` for others that are not ready.
        """
        self._client = client
        self._strategy = strategy
        self._rules = rules
        self._pace_seconds = pace_seconds
        self._patience_seconds = patience_seconds
        self._height = 0
        self._newer = trio.Event()

    async def run(self, rolls_max: int | None) -> None:
        """Play until cancelled, or until the client's node ends.

        After `rolls_max` settled rolls it only watches: its bets stay, but it neither bets nor
        throws.

        Raises:
            OperatorError: The node ended; in a group, as it leaves a nursery.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow)
            bet_for, bet_at = -1, trio.current_time()
            while True:
                view = await self._client.view()
                if view.session < 0 <= view.me:
                    await self._pause(OPENING_SECONDS * view.me + self._pace_seconds)
                    view = await self._client.view()
                moves: tuple[Move, ...] = ()
                if rolls_max is None or view.rolls < rolls_max:
                    waited = trio.current_time() - bet_at
                    patient = waited < self._patience_seconds
                    moves = next_moves(self._strategy, view, self._rules, bet_for, patient=patient)
                    if moves == ("roll",) and waited < self._pace_seconds:
                        await self._pause(self._pace_seconds - waited)
                        continue
                if moves and await self._do(moves, view):
                    if moves[-1] == "ready":
                        bet_for, bet_at = view.rolls, trio.current_time()
                elif self._height <= view.height:
                    await self._pause(RETRY_SECONDS)

    async def _follow(self) -> None:
        while True:
            self._height = await self._client.wait_newer(self._height)
            self._newer.set()

    async def _pause(self, seconds: float) -> None:
        """Wait for a final block, at most so long."""
        self._newer = trio.Event()
        with trio.move_on_after(seconds):
            await self._newer.wait()

    async def _do(self, moves: Sequence[Move], view: TableView) -> bool:
        """Submit what the moves mean, together; say whether the last of them was done."""
        operations = operations_of(moves, view, self._rules)
        if not operations:
            return False
        answers = await _submit_or_look_again(self._client, operations)
        return bool(answers) and answers[-1].receipt.code == 0


async def _submit_or_look_again(
    client: ControlClient, operations: Sequence[AnyOperation]
) -> list[Answer]:
    """Submit operations for a robot; it gets no answers when the node could not tell.

    The node may have been far behind and fetched the table: what became of them is to be seen there.

    Raises:
        NodeEndedError: There is no node any more.
    """
    try:
        return await client.submit(operations)
    except NodeEndedError:
        raise
    except OperatorError as error:
        log.info("a robot's moves stay without an answer reason=%s", error)
        return []
