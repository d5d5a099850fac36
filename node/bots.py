"""A strategy with the manners that keep a table moving: what a bot types now.

It sits down, bets once for each roll, says so, and throws when it is its turn.
"""

from collections.abc import Sequence

from node.game.games import NUMBERS
from node.game.operations import Operation, PlaceBet
from node.game.rules import Bet, BetKey, GameRules
from node.membership import MEMBER_OPERATIONS
from node.strategies import LINES_TO_THROW
from node.strategies.moves import Move, Strategy
from node.terminal import Play, parse_line
from node.view import TableView


def next_moves(
    strategy: Strategy, view: TableView, rules: GameRules, bet_for: int, *, patient: bool = True
) -> tuple[Move, ...]:
    """Return what a bot of this strategy does now; nothing while it has to wait.

    `bet_for` is the number of settled rolls when the bot last bet: it bets once between two rolls,
    whatever became of those bets, so a refused bet is never asked for again and again. A `patient`
    thrower throws when all are ready, one that is not tries to throw anyway.
    """
    if view.me < 0 or view.own.left:
        return ()
    if view.session < 0 or not view.own.seated:
        return ("sit",)
    if not view.betting:
        return ()
    if bet_for < view.rolls:
        return (*_with_bet_to_throw(strategy(view), view, rules), "ready")
    if view.thrower != view.me:
        return ()
    all_ready = all(player.ready for player in view.players if player.seated)
    return ("roll",) if all_ready or not patient else ()


def _with_bet_to_throw(
    moves: tuple[Move, ...], view: TableView, rules: GameRules
) -> tuple[Move, ...]:
    """Return the moves, with a bet that lets its seat throw if they do not and the dice are there."""
    bets = dict(view.own_bets)
    for operation in operations_of(moves, view, rules):
        if isinstance(operation, PlaceBet):
            key = BetKey(operation.kind, operation.number)
            bets.setdefault(key, Bet(operation.amount, 0))
    if view.thrower != view.me or rules.may_throw(view.board, bets):
        return moves
    return (LINES_TO_THROW[NUMBERS[rules.name]], *moves)


def operations_of(
    moves: Sequence[Move], view: TableView, rules: GameRules
) -> tuple[Operation, ...]:
    """Return what the moves mean at this table now; a line that means nothing is left out."""
    operations: list[Operation] = []
    for move in moves:
        if not isinstance(move, str):
            operations.append(move)
        elif isinstance(command := parse_line(move, view, rules), Play):
            operations += [
                one for one in command.operations if not isinstance(one, MEMBER_OPERATIONS)
            ]
    return tuple(operations)
