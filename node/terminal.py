"""The table as text: what a terminal shows, and what the words mean that a player types.

All of it is pure; `node/playing.py` moves these lines between a terminal and a node.
"""

import difflib
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from node.game.games import NUMBERS
from node.game.operations import (
    CreateSession,
    Finish,
    Leave,
    PassDice,
    PlaceBet,
    Ready,
    Reduce,
    Roll,
    Sit,
    TakeDown,
    Working,
)
from node.game.rules import GameRules
from node.hall import game_changes, games_text, waiting_changes, waiting_text
from node.membership import Admit, Retire, SetVote, caught_text
from node.mempool import AnyOperation
from node.view import AskingView, BetView, PaidView, PlayerView, RollView, TableView

WIDTH = 78
"""Of what is drawn, in columns; on a narrower terminal its width."""
TEXT_WIDTH_MIN = 22
"""Columns that a text beside something needs; with fewer it stands below."""
LINE_CHARS_MAX = 200
NEAR_ENOUGH = 0.7
"""Of a word that is suggested for another: one slip of the finger, not two."""
_GLUE = "\xa0"
"""Stands between words that stay on one line until the line is made."""
HEAD_WIDTH = 25
"""Of a player's line without name and bets: whose dice, who is here, rack and state."""
BOARD_WIDTH = 12
"""Of the first text of the board; the rest stands beside it."""
TABLE_WORDS = (
    ("roll", "throw, when you have the dice"),
    ("ready", "no more bets from me before this roll"),
    ("down [BET [CHIPS]]", "take bets down, those that the rules let go"),
    ("off BET, on BET", "call a bet off or on; `default BET` as the rules say"),
    ("decline", "pass the dice to the next seat, when the game lets you"),
    ("sit, leave", "take a seat, or leave it"),
    ("games, players", "list the games of the table, or its players"),
    ("open, finish N", "open another game, or end an empty one"),
    ("sit N, game N", "take a seat in game N, or only watch it"),
    ("admit NAME", "let somebody in who asks to join"),
    ("vote on, vote off", "ask for a vote, or give yours up and only play"),
    ("retire for good", "leave the table, and your chips in its books"),
    ("table", "show the table again (or just press Enter)"),
)
STAYS = "leave the terminal; the node goes on and your bets stay"
STOPS = "stop here; your bets stay, and the same command brings you back"
_FIRST_WORDS = (
    "roll", "ready", "down", "off", "on", "default", "decline", "sit", "leave", "table", "quit", "help",
    "games", "players", "open", "finish", "game", "admit", "vote", "retire",
)  # fmt: skip


def render_table(view: TableView, pending: Sequence[str] = (), width: int = WIDTH) -> str:
    """Return the table as lines of at most `width` characters.

    `pending` are the lines typed here that no final block holds yet; everything else is final.
    """
    parts = [
        *_head(view, width),
        *_board(view, width),
        "",
        *_players(view, width),
        *_rolls(view, width),
        *_wrapped(
            "  pending  ", " · ".join(pending) or "nothing: all of the above is final", width
        ),
        *_wrapped("  ", absence_text(len(view.players), view.tolerated, len(view.voters)), width),
        *(line for text in standing_texts(view) for line in _wrapped("  ", text, width)),
        *_wrapped("  ", turn_text(view), width),
    ]
    return "\n".join(line.rstrip() for line in parts) + "\n"


def absence_text(members: int, tolerated: int, voters: int | None = None) -> str:
    """Say in words what one absent player means at this table (PROTOCOL 5).

    All members vote unless there are fewer `voters`.
    """
    if voters is not None and voters != members:
        if voters == 1:
            return "One player votes for all: without that one the table stops."
        if tolerated == 0:
            return (
                f"{voters} of {members} players vote and all {voters} must agree: "
                "a voter who is absent stops the table until they are back."
            )
        some = "1 voter" if tolerated == 1 else f"{tolerated} voters"
        return f"{voters} of {members} players vote: the table goes on with up to {some} absent."
    if members == 1:
        return "You are alone at this table: it plays whenever you do."
    if tolerated == 0:
        return (
            f"With {members} players every one of them must agree: "
            "one who is absent stops the table until they are back."
        )
    some = "1 player" if tolerated == 1 else f"{tolerated} players"
    return f"The table goes on with up to {some} absent."


def standing_texts(view: TableView) -> list[str]:
    """Say who does not vote and why, who misses turns, and who waits to be let in."""
    texts = [f"{view.no_vote_text}.".capitalize()] if view.no_vote_text else []
    staying = [player for player in view.players if not player.left]
    for names, what in (
        ([p.name for p in staying if not p.votes and not p.wants_vote and not p.cheated],
         ("plays without a vote", "play without a vote")),
        ([p.name for p in staying if p.wants_vote and not p.votes],
         ("waits for a vote", "wait for a vote")),
        ([p.name for p in view.players if p.left], ("has left the table", "have left the table")),
    ):  # fmt: skip
        if names:
            texts.append(f"{_listed(names)} {what[len(names) > 1]}.")
    texts += [
        f"{caught_text(player.name, player.offence, votes=player.votes)}."
        for player in view.players
        if player.cheated
    ]
    texts += [
        f"{player.name} missed {player.missed} turns in a row."
        for player in view.players
        if player.votes and player.missed > 1
    ]
    texts += [asking_text(asking) for asking in view.asking]
    return texts


def asking_text(asking: AskingView) -> str:
    """Say who asks to join, and what the player here can do about it."""
    stands = f" ({asking.approvals} of {asking.needed} votes)" if asking.needed > 1 else ""
    if asking.approved:
        return f"{asking.name} asks to join{stands}: you have said yes."
    return f"{asking.name} asks to join{stands}: type `admit {asking.name}`."


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1]


def turn_text(view: TableView) -> str:
    """Say what the table waits for, as a sentence to the player here."""
    if view.me < 0:
        return "You are not at the table yet: this node is catching up."
    if view.own.left:
        return "You have left the table: `quit` when you like."
    if view.waits_for:
        return waiting_text(view.waits_for, view.away)
    if view.session < 0:
        return "No game is open yet: type `sit` to open one."
    if not view.own.seated:
        return "You are watching: type `sit` to take a seat."
    if not view.betting:
        return "No more bets: the dice are out."
    if view.thrower < 0:
        return f"Nobody can throw: it takes {view.thrower_needs}."
    waiting = [
        player.name
        for index, player in enumerate(view.players)
        if player.seated and not player.ready and index != view.thrower
    ]
    if view.thrower == view.me:
        if waiting:
            return f"You have the dice. Not ready yet: {', '.join(waiting)}."
        if not view.own.bets:
            return "You have the dice: type a bet, then `roll`."
        return "You have the dice and all are ready: type `roll`."
    thrower = view.players[view.thrower].name
    if view.own.ready:
        return f"You are ready; {thrower} has the dice."
    return f"{thrower} has the dice. Type your bets, then `ready`."


def fitted(text: str, columns: int) -> str:
    """Return a text with its longer lines broken between words, what follows indented by two."""
    lines = []
    for line in text.splitlines():
        indent = " " * (len(line) - len(line.lstrip()) + 2)
        lines += textwrap.wrap(line, columns, subsequent_indent=indent, break_on_hyphens=False) or [
            ""
        ]
    return "\n".join(lines) + "\n"


def _head(view: TableView, width: int) -> list[str]:
    right = f"roll {view.rolls} · block {view.height}"
    return [*_sides(f"  {view.table}", right, width), f"  {'─' * (width - 2)}"]


def _board(view: TableView, width: int) -> list[str]:
    whole = (text.rstrip().replace(" ", _GLUE) for text in view.board_texts)
    texts = "".join(f"{text:<{BOARD_WIDTH}}" for text in whole)
    return _sides(f"  {texts}", f"bank {view.bank:,}", width)


def _sides(left: str, right: str, width: int) -> list[str]:
    """Return a line with a text at either end, or two where they do not fit on one."""
    if len(left.rstrip()) + len(right) < width:
        return [f"{left:<{width - len(right)}}{right}".replace(_GLUE, " ")]
    lines = textwrap.wrap(left, width, subsequent_indent="  ")
    return [*(line.replace(_GLUE, " ") for line in lines), f"{right:>{width}}"]


def _players(view: TableView, columns: int) -> list[str]:
    longest = max(len(player.name) for player in view.players)
    width = max(len("player"), min(longest, columns - HEAD_WIDTH))
    titles = f"    {'player':<{width}} {'rack':>11}         bets"
    lines = [titles if len(titles) <= columns else titles.removesuffix("bets")]
    for index, player in enumerate(view.players):
        dice = "*" if index == view.thrower else " "
        you = ">" if index == view.me else " "
        state = ("ready" if player.ready else "") if player.seated else "out"
        head = f" {dice}{you} {player.name:<{width}} {player.rack:>11,}  {state:<5}  "
        lines += _wrapped(head, _bets_text(player.bets), columns)
    return [*lines, ""]


def _bets_text(bets: Sequence[BetView]) -> str:
    called = {0: "", 1: " on", 2: " off"}
    texts = (f"{bet.name} {bet.stake:,}{called[bet.working]}" for bet in bets)
    return " · ".join(text.replace(" ", _GLUE) for text in texts) or "-"


def _rolls(view: TableView, width: int) -> list[str]:
    if not view.last:
        return []
    lines = ["  last rolls"]
    for roll in view.last:
        lines += render_roll(roll, [player.name for player in view.players], width)
    return [*lines, ""]


def render_roll(roll: RollView, names: Sequence[str], width: int = WIDTH) -> list[str]:
    """Return the lines of one settled roll: the dice, and what every bet was paid."""
    dice = " ".join(map(str, roll.dice))
    head = f"  {roll.number:>5}  {dice}  = {sum(roll.dice):<2}  "
    texts = []
    for index, name in enumerate(names):
        own = [
            f"{paid.name} {_change(paid)}".replace(" ", _GLUE)
            for paid in roll.paid
            if paid.player == index
        ]
        if own:
            texts.append(f"{name}: {', '.join(own)}")
    return _wrapped(head, " · ".join(texts) or "no bet decided", width)


def changes(before: TableView, after: TableView, width: int = WIDTH) -> list[str]:
    """Return what is new in `after`, a line each: rolls with their pays, bets, whose turn it is."""
    names = [player.name for player in after.players]
    same = before.session in {-1, after.session}
    rolled = [roll for roll in after.last if same and roll.number > before.rolls]
    lines = [line for roll in rolled for line in render_roll(roll, names, width)]
    if after.board_texts[:1] != before.board_texts[:1]:
        lines += [f"  {text}" for text in after.board_texts[:1]]
    for index, (old, new) in enumerate(zip(before.players, after.players, strict=False)):
        done = [] if rolled else _bet_changes(old, new)
        if new.seated != old.seated:
            done.insert(0, ("take", "a seat") if new.seated else ("leave", "the game"))
        if index == after.me:
            lines += [f"  you {verb} {what}" for verb, what in done]
            if old.seated and not new.seated and new.bets:
                lines.append(f"  {_riding_text(new.bets)}")
        else:
            lines += [f"  {new.name} {verb}s {what}" for verb, what in done]
    lines += [f"  {text}" for text in _membership_changes(before, after)]
    lines += [f"  {text}" for text in game_changes(before, after)]
    lines += [f"  {text}" for text in waiting_changes(before, after)]
    # While bets come in, the dice are offered to and fro; that is told only to whom it concerns.
    mine = after.thrower == after.me or not after.betting
    is_new = turn_text(after) != turn_text(before) and not after.waits_for
    begins = before.waits_for or before.me < 0
    if is_new and (begins or (after.own.seated and (rolled or mine))):
        lines.append(f"  {turn_text(after)}")
    return lines


def _riding_text(bets: Sequence[BetView]) -> str:
    """Say what stays on the layout of who leaves: bets that may not be taken down (R11)."""
    names = _listed([f"{bet.name} {bet.stake:,}" for bet in bets])
    if len(bets) == 1:
        return f"{names} rides on: once it is decided, what it pays is yours"
    return f"{names} ride on: once they are decided, what they pay is yours"


def _membership_changes(before: TableView, after: TableView) -> list[str]:
    """Return what changed about who belongs to the table and who votes, a sentence each."""
    texts = [f"{player.name} joins the table." for player in after.players[len(before.players) :]]
    for old, new in zip(before.players, after.players, strict=False):
        if new.cheated and not old.cheated:
            texts.append(f"{caught_text(new.name, new.offence, votes=True)}.")
        if new.left and not old.left:
            texts.append(f"{new.name} leaves the table for good.")
    if after.epoch != before.epoch:
        vote = "votes" if len(after.voters) == 1 else "vote"
        texts.append(f"From now on {_listed(after.voters)} {vote}.")
    known = {asking.name for asking in before.asking}
    return texts + [asking_text(one) for one in after.asking if one.name not in known]


def _bet_changes(old: PlayerView, new: PlayerView) -> list[tuple[str, str]]:
    """Return which bets a player made or took down, as a verb and what it is about."""
    stakes = {bet.name: bet.stake for bet in old.bets}
    done = []
    for bet in new.bets:
        more = bet.stake - stakes.pop(bet.name, 0)
        if more > 0:
            done.append(("bet", f"{bet.name} {more:,}"))
        elif more < 0:
            done.append(("take", f"{-more:,} off {bet.name}"))
    return done + [("take", f"{name} down") for name in stakes]


def _change(paid: PaidView) -> str:
    if paid.moved:
        return f"to {paid.moved}"
    return f"{paid.chips:+,}" if paid.chips else "back"


def _wrapped(head: str, text: str, width: int) -> list[str]:
    """Return a text beside its head, or below it where that leaves too little room."""
    above: list[str] = []
    if width - len(head) < TEXT_WIDTH_MIN:
        above, head = textwrap.wrap(head, width, subsequent_indent="    "), "      "
    lines = textwrap.wrap(
        text,
        width,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_on_hyphens=False,
    )
    return above + [line.replace(_GLUE, " ") for line in lines]


@dataclass(frozen=True, slots=True)
class Play:
    """Operations to submit together, in order; `shows` is the game to look at when they are done."""

    operations: tuple[AnyOperation, ...]
    shows: int | None = None


@dataclass(frozen=True, slots=True)
class Say:
    """A text for the player; nothing is submitted."""

    text: str


@dataclass(frozen=True, slots=True)
class Show:
    """Draw the table again."""


@dataclass(frozen=True, slots=True)
class Look:
    """Show another game of the table from now on."""

    session: int


@dataclass(frozen=True, slots=True)
class Players:
    """Show everybody at the table."""


@dataclass(frozen=True, slots=True)
class Quit:
    """Leave the terminal; the bets stay."""


@dataclass(frozen=True, slots=True)
class Help:
    """Show the words: the usual ones, or those of a `topic`."""

    topic: str = ""


Command: TypeAlias = Play | Say | Show | Look | Players | Help | Quit


def help_text(
    rules: GameRules, topic: str = "", *, quitting: str = STAYS, width: int = WIDTH
) -> str:
    """Return words and what they do: how to bet and all others, or what `topic` asks for.

    Topics are "bets", with what each pays, and any word. `quitting` says what becomes of the table.
    """
    bets, others = rules.bet_words, (*TABLE_WORDS, ("quit", quitting))
    if topic == "bets":
        rows = bets
    elif topic:
        rows = [row for row in (*bets, *others) if topic in re.findall(r"\b[a-z]+\b", row[0])]
    else:
        example = f"{bets[0][0].split()[0]} 10"
        how = f"bet: its word, then chips; `help bets` lists all {len(bets)}"
        rows = [(example, how), *others, ("help WORD", "what one word does, or what a bet pays")]
    if not rows:
        return f"  no word {topic!r}: `help` lists them, `help bets` the bets\n"
    wide = max(len(word) for word, _ in rows)
    lines = [line for word, text in rows for line in _wrapped(f"  {word:<{wide}}  ", text, width)]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def parse_line(line: str, view: TableView, rules: GameRules) -> Command:
    """Return what a typed line means at this table now; the words of bets are the game's."""
    if len(line) > LINE_CHARS_MAX:
        return Say(f"a line of {len(line)} characters; the limit is {LINE_CHARS_MAX}")
    words = line.lower().split()
    match words:
        case [] | ["table"]:
            return Show()
        case ["quit" | "exit" | "q"]:
            return Quit()
        case ["help" | "?", *topic]:
            return Help(" ".join(topic))
        case ["games"]:
            return Say(games_text(view))
        case ["players"]:
            return Players()
        case ["open"]:
            return Play((CreateSession(NUMBERS[rules.name]),))
        case ["sit" | "game" | "finish" as word, number]:
            return _at_game(word, number, view)
        case ["admit", *name]:
            return admission(" ".join(name), view)
        case ["vote", "on" | "off" as wish]:
            return Play((SetVote(int(wish == "on")),))
        case ["vote", *_]:
            return Say("say `vote on` to ask for a vote, `vote off` to give yours up")
        case ["retire", "for", "good"]:
            return Play((Retire(),))
        case ["retire", *_]:
            return Say("nobody comes back from that: say `retire for good` if you mean it")
        case ["sit"]:
            return _sit(view, rules)
        case [word, *_] if view.session < 0 or not view.own.seated:
            return Say(f"{word!r} needs a seat: type `sit` first")
        case ["leave"]:
            return Play((Leave(view.session),))
        case ["ready"]:
            return Play((Ready(view.session),))
        case ["roll"]:
            return Play((Roll(view.session),))
        case ["decline"]:
            return Play((PassDice(view.session),))
        case ["down"]:
            return _take_all_down(view)
        case ["down", *name]:
            return _take_down(name, view)
        case ["on" | "off" | "default" as word, *name]:
            return _call(word, name, view)
        case [word, *_] if word in _FIRST_WORDS:
            return Say(
                f"{' '.join(words)!r} means nothing: `help {word}` says how {word!r} is used"
            )
        case _:
            return _bet(words, view, rules)


def admission(name: str, view: TableView) -> Play | Say:
    """Return what lets in the one of this name who asks to join."""
    for asking in view.asking:
        if asking.name.casefold() == name.casefold():
            return Play((Admit(asking.join),))
    if not view.asking:
        return Say("nobody asks to join yet: who made the invite says yes first, then others can")
    return Say(f"no {name!r} asks to join; {_listed([one.name for one in view.asking])} would")


def _bet(words: Sequence[str], view: TableView, rules: GameRules) -> Command:
    wanted = rules.parse_bet(words, view.board, view.own_bets)
    if isinstance(wanted, str):
        return Say(wanted + _suggestion(words[0], rules))
    return Play(tuple(PlaceBet(view.session, *key, amount) for key, amount in wanted))


def _suggestion(word: str, rules: GameRules) -> str:
    """Return a hint at the nearest word that there is, if `word` is none."""
    known = [form.split()[0] for form, _ in rules.bet_words] + list(_FIRST_WORDS)
    near = difflib.get_close_matches(word, known, 1, NEAR_ENOUGH)
    return f" (did you mean {near[0]!r}?)" if near and word not in known else ""


def _sit(view: TableView, rules: GameRules) -> Command:
    if view.session < 0:
        # With no game open the lowest slot is free; if others open it first, the seat is there.
        return Play((CreateSession(NUMBERS[rules.name]), Sit(0)))
    return Say("you have a seat already") if view.own.seated else Play((Sit(view.session),))


def _at_game(word: str, number: str, view: TableView) -> Command:
    """Return what `sit N`, `game N` and `finish N` mean: at an open game, the one of that number."""
    games = {str(game.session): game for game in view.games}
    game = games.get(number)
    if game is None:
        return Say(f"there is no game {number!r}; open are: {', '.join(games) or 'none'}")
    if word == "game":
        return Look(game.session)
    if word == "finish":
        return Play((Finish(game.session),))
    if view.me in game.seated:
        return Look(game.session)
    return Play((Sit(game.session),), shows=game.session)


def _find(words: Sequence[str], view: TableView) -> BetView | None:
    return next((bet for bet in view.own.bets if bet.name == " ".join(words)), None)


def _no_such_bet(words: Sequence[str], view: TableView) -> Say:
    names = ", ".join(bet.name for bet in view.own.bets) or "none"
    return Say(f"you have no bet {' '.join(words)!r}; yours are: {names}")


def _take_all_down(view: TableView) -> Command:
    """Ask for every bet; the table keeps those that ride to their decision (R11, R30)."""
    if not view.own.bets:
        return Say("you have no bet to take down")
    return Play(tuple(TakeDown(view.session, bet.kind, bet.number) for bet in view.own.bets))


def _take_down(words: Sequence[str], view: TableView) -> Command:
    if bet := _find(words, view):
        return Play((TakeDown(view.session, bet.kind, bet.number),))
    bet = _find(words[:-1], view)
    if bet is None:
        return _no_such_bet(words, view)
    chips = words[-1]
    if not (chips.isascii() and chips.isdigit() and 1 <= int(chips[:20]) <= bet.stake):
        return Say(f"{chips!r} is not a number of chips from 1 to the {bet.stake} of {bet.name}")
    return Play((Reduce(view.session, bet.kind, bet.number, int(chips)),))


def _call(word: str, name: Sequence[str], view: TableView) -> Command:
    bet = _find(name, view)
    if bet is None:
        return _no_such_bet(name, view)
    called = {"default": 0, "on": 1, "off": 2}[word]
    return Play((Working(view.session, bet.kind, bet.number, called),))
