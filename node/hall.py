"""What is around the game that a terminal shows: the other games, and who keeps the table waiting."""

from collections.abc import Sequence

from node.view import GameView, TableView


def waiting_text(waits_for: int, away: Sequence[str]) -> str:
    """Say for how many voters the table waits, and who is away (PROTOCOL 5)."""
    voters = "1 more voter" if waits_for == 1 else f"{waits_for} more voters"
    are = "is" if len(away) == 1 else "are"
    return f"The table waits for {voters}: {listed(away)} {are} away."


def waiting_changes(before: TableView, after: TableView) -> list[str]:
    """Return the sentence that is new about this node's vote, or who is away, if there is one."""
    if after.no_vote_text != before.no_vote_text:
        return [f"{after.no_vote_text or 'this node votes again'}.".capitalize()]
    if (after.waits_for, after.away) == (before.waits_for, before.away):
        return []
    if after.waits_for:
        return [waiting_text(after.waits_for, after.away)]
    return ["Enough voters are back: the table goes on."] if before.waits_for else []


def games_text(view: TableView) -> str:
    """Return a line for each open game, the one that is shown marked."""
    lines = [_game_text(game, view) for game in view.games]
    return "\n  ".join(lines) or "no game is open: `sit` opens one"


def game_changes(before: TableView, after: TableView) -> list[str]:
    """Return which games were opened and which have ended, a sentence each.

    The first game of a table needs no words: it is what the terminal shows.
    """
    old = {game.session: game for game in before.games}
    new = {game.session: game for game in after.games}
    opened = [
        f"Game {session} is open, by {after.players[new[session].opener].name}: "
        f"`sit {session}` to play, `game {session}` to watch."
        for session in new
        if session not in old and len(new) > 1
    ]
    return opened + [f"Game {session} has ended." for session in old if session not in new]


def _game_text(game: GameView, view: TableView) -> str:
    players = listed([view.players[player].name for player in game.seated]) or "nobody"
    mark = "*" if game.session == view.session else " "
    state = f"{game.layout:,} chips on the layout" if game.betting else "the dice are out"
    return f"{mark} game {game.session}: {players}; roll {game.rolls}, {state}"


def listed(names: Sequence[str]) -> str:
    """Return names as a sentence holds them: `anna, ben and carla`."""
    *most, last = names or [""]
    return f"{', '.join(most)} and {last}" if most else last
