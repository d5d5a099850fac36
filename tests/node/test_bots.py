"""Bots at a real table, without a network: what they type is taken, and the game goes on."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import pytest

from consensus.encoding import Digest, digest
from node.bots import next_moves, operations_of
from node.game.games import CRAPS, SICBO, encode_choice
from node.game.params import GameParams
from node.game.receipts import RollResult, describe
from node.game.state import GameState
from node.strategies import STRATEGIES
from node.strategies.moves import Move
from node.view import RollView, TableView, build_view

ROLLS = 150
ROUNDS_MAX = 12 * ROLLS


class Game:
    """A table whose blocks are final at once, with every rule of its receipts in force."""

    def __init__(self, game: int, players: int, seed: bytes = b"seed") -> None:
        self.state = GameState.genesis(GameParams(rules=encode_choice(game)), players)
        (self.rules,) = (played.rules for played in self.state._games.values())
        self.names = [f"player {index}" for index in range(players)]
        self.seed = seed
        self.rolls: list[RollResult] = []
        self.refusals: list[tuple[int, Move, str]] = []
        self.done: list[tuple[int, Move]] = []

    def view(self, me: int) -> TableView:
        return build_view(
            self.state, self.rolls, table="t", names=self.names, me=me, state_root=Digest(bytes(32))
        )

    def play_block(self, moves: Mapping[int, tuple[Move, ...]]) -> None:
        """Apply what each player does; close and settle what is due."""
        state = self.state.fork()
        state.begin_block(state.height + 1, state.time_ms + 100, can_close=True)
        index = 0
        for me, own in moves.items():
            view = self.view(me)
            for move in own:
                operations = operations_of([move], view, self.rules)
                assert operations, f"{move!r} means nothing"
                for operation in operations:
                    receipt = state.apply(me, operation, index)
                    index += 1
                    if receipt.code:
                        self.refusals.append((me, move, describe(receipt, self.rules)))
                    else:
                        self.done.append((me, move))
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


def play_bots(number: int, styles: Sequence[str], rolls: int) -> Game:
    """Let bots play until so many rolls are settled; fail if they come to a stop."""
    game = Game(number, len(styles))
    strategies = [
        STRATEGIES[number][style].make(game.rules, seed) for seed, style in enumerate(styles)
    ]
    bet_for = dict.fromkeys(range(len(styles)), -1)
    for _ in range(ROUNDS_MAX):
        moves: dict[int, tuple[Move, ...]] = {}
        for me, strategy in enumerate(strategies):
            view = game.view(me)
            if view.session < 0 and me > 0:
                continue
            own = next_moves(strategy, view, game.rules, bet_for[me])
            if own:
                moves[me] = own
            if own and own[-1] == "ready":
                bet_for[me] = view.rolls
        assert moves, f"nobody does anything after {len(game.rolls)} rolls"
        game.play_block(moves)
        if len(game.rolls) >= rolls:
            return game
    raise AssertionError(f"{len(game.rolls)} rolls in {ROUNDS_MAX} blocks")


ALL = [
    (game, style) for game, styles in STRATEGIES.items() for style in styles if style != "illegal"
]


@pytest.mark.parametrize(("game", "style"), ALL)
def test_a_strategy_alone_plays_on_and_is_never_refused(game: int, style: str) -> None:
    assert play_bots(game, [style], ROLLS).refusals == []


@pytest.mark.parametrize("game", [CRAPS, SICBO])
def test_all_strategies_together_play_on_and_are_never_refused(game: int) -> None:
    styles = [style for style in STRATEGIES[game] if style != "illegal"]
    played = play_bots(game, styles, ROLLS)
    assert played.refusals == []
    # The dice went round: more than one of them has thrown.
    assert len({roll.thrower for roll in played.rolls}) > 1


@pytest.mark.parametrize("game", [CRAPS, SICBO])
def test_all_that_the_illegal_one_asks_for_is_refused(game: int) -> None:
    styles = list(STRATEGIES[game])
    tester = styles.index("illegal")
    played = play_bots(game, styles, ROLLS)
    asked = [move for me, move in [*played.done, *(r[:2] for r in played.refusals)] if me == tester]
    own = {"sit", "ready", "roll"} | {line for line in asked if isinstance(line, str)}
    done = [move for me, move in played.done if me == tester]
    assert all(move in own for move in done)
    refused = {sentence for me, _, sentence in played.refusals if me == tester}
    assert len(refused) > 20
    assert {me for me, *_ in played.refusals} == {tester}


@pytest.mark.parametrize("game", [CRAPS, SICBO])
def test_the_random_one_makes_most_bets_of_the_game(game: int) -> None:
    played = play_bots(game, ["random", "random"], 400)
    made = {row.kind for roll in played.rolls for row in roll.bets}
    assert len(made) > len(played.rules.kind_names) * 3 // 4


@pytest.mark.parametrize("game", [CRAPS, SICBO])
def test_strategies_differ_in_what_they_bet(game: int) -> None:
    styles = [style for style in STRATEGIES[game] if style not in {"illegal", "martingale"}]
    played = play_bots(game, styles, ROLLS)
    bet = {
        player: {
            (row.kind, row.number)
            for roll in played.rolls
            for row in roll.bets
            if row.player == player
        }
        for player in range(len(styles))
    }
    assert len({frozenset(kinds) for kinds in bet.values()}) == len(styles)


@pytest.mark.parametrize("game", [CRAPS, SICBO])
def test_a_martingale_doubles_after_a_loss_and_begins_anew_after_a_win(game: int) -> None:
    played = play_bots(game, ["martingale"], ROLLS)
    kind = 1 if game == CRAPS else 2
    stakes = [row for roll in played.rolls for row in roll.bets if row.kind == kind]
    for before, after in pairwise(stakes):
        stake = after.lost or after.profit
        if before.profit:
            assert stake == 10
        else:
            assert stake == (2 * before.lost if before.lost < 320 else 10)
    assert max(row.lost for row in stakes) >= 40


def test_what_rolls_pay_is_shown_in_full() -> None:
    game = play_bots(CRAPS, ["pass", "place", "dont", "field"], ROLLS)
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


def game_view_of(game: Game, roll: RollResult) -> RollView:
    """Return the shown form of any settled roll."""
    view = build_view(
        game.state, [roll], table="t", names=game.names, me=0, state_root=Digest(bytes(32))
    )
    return view.last[0]
