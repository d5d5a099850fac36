"""Bots at a real table, without a network: what they type is taken, and the game goes on."""

import pytest

from consensus.encoding import Digest, digest
from node.bots import STYLES, next_lines
from node.game.params import GameParams
from node.game.receipts import describe
from node.game.state import GameState
from node.terminal import Play, parse_line
from node.view import build_view

ROLLS = 150
ROUNDS_MAX = 12 * ROLLS


class Game:
    """A table whose blocks are final at once."""

    def __init__(self, players, seed=b"seed"):
        self.state = GameState.genesis(GameParams(), players)
        self.names = [f"player {index}" for index in range(players)]
        self.seed = seed
        self.rolls = []
        self.refusals = []

    def view(self, me):
        return build_view(
            self.state, self.rolls, table="t", names=self.names, me=me, state_root=Digest(bytes(32))
        )

    def play_block(self, typed):
        """Apply the lines that each player typed; close and settle what is due."""
        state = self.state.fork()
        state.begin_block(state.height + 1, state.time_ms + 100, can_close=True)
        index = 0
        for me, lines in typed.items():
            view = self.view(me)
            for line in lines:
                command = parse_line(line, view, view_rules(state))
                assert isinstance(command, Play), (line, command)
                for operation in command.operations:
                    receipt = state.apply(me, operation, index)
                    index += 1
                    if receipt.code:
                        self.refusals.append((line, describe(receipt, view_rules(state))))
        closed = state.end_block()
        state.accounts_root(), state.sessions_root()
        self.state = state
        for slot in closed:
            settled = self.state.fork()
            settled.begin_block(settled.height + 1, settled.time_ms + 100, can_close=True)
            self.seed = digest("test", self.seed)
            self.rolls.append(settled.settle(slot, self.seed))
            settled.end_block()
            settled.accounts_root(), settled.sessions_root()
            self.state = settled


def view_rules(state):
    return next(iter(state._rules.values()))


def play_bots(styles, rolls):
    """Let bots play until so many rolls are settled; fail if they come to a stop."""
    game = Game(len(styles))
    bet_for = dict.fromkeys(range(len(styles)), -1)
    for _ in range(ROUNDS_MAX):
        typed = {}
        for me, style in enumerate(styles):
            view = game.view(me)
            if view.session < 0 and me > 0:
                continue
            lines = next_lines(style, view, bet_for[me])
            if lines:
                typed[me] = lines
            if lines and lines[-1] == "ready":
                bet_for[me] = view.rolls
        assert typed, f"nobody does anything after {len(game.rolls)} rolls"
        game.play_block(typed)
        if len(game.rolls) >= rolls:
            return game
    raise AssertionError(f"{len(game.rolls)} rolls in {ROUNDS_MAX} blocks")


@pytest.mark.parametrize("style", STYLES)
def test_a_style_alone_plays_on_and_is_never_refused(style):
    game = play_bots([style], ROLLS)
    assert game.refusals == []


def test_all_styles_together_play_on_and_are_never_refused():
    game = play_bots([*STYLES], ROLLS)
    assert game.refusals == []
    assert {roll.shooter for roll in game.rolls} >= {(0,), (2,)}


def test_styles_differ_in_what_they_bet():
    game = play_bots([*STYLES], ROLLS)
    bet = {
        player: {row.kind for roll in game.rolls for row in roll.bets if row.player == player}
        for player in range(len(STYLES))
    }
    assert len({frozenset(kinds) for kinds in bet.values()}) == len(STYLES)


def test_what_rolls_pay_is_shown_in_full():
    game = play_bots([*STYLES], ROLLS)
    view = game.view(0)
    assert view.rolls == len(game.rolls)
    assert view.last[-1].dice == game.rolls[-1].dice
    assert view.chips == view.minted == game.state.minted
    won = sum(
        paid.chips
        for roll in game.rolls
        for paid in game_view_of(game, roll).paid
        if paid.player == 0
    )
    layout = sum(bet.stake + bet.vig for bet in view.players[0].bets)
    assert view.players[0].rack + layout == GameParams().buy_in + won


def game_view_of(game, roll):
    """Return the shown form of any settled roll."""
    view = build_view(
        game.state, [roll], table="t", names=game.names, me=0, state_root=Digest(bytes(32))
    )
    return view.last[0]
