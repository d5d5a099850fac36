"""`status --why`: whatever keeps a table from moving, the node says what, and whose node it is."""

import pytest

from consensus.messages import Number
from netsim.playing import PlayingTable
from node.game.operations import Ready, Roll
from node.waiting import Cause, Why, explain


@pytest.fixture
def table() -> PlayingTable:
    """A table for four that has settled a roll and rests."""
    made = PlayingTable(4, seed=5)
    made.play(1, limit_ms=300_000)
    made.settle()
    return made


def why(table: PlayingTable, index: int = 0) -> Why:
    up = table.network.hosts
    return explain(table.replicas[index].situation(lambda slot: up[slot].node is not None))


def thrower(table: PlayingTable) -> int:
    found = table.replicas[0].final.game.thrower(0)
    assert found is not None, "somebody has the dice"
    return found


def rest(table: PlayingTable, ms: int) -> None:
    table.network.run(table.network.now_ms + ms)


def close_betting(table: PlayingTable) -> None:
    """Let somebody bet, all be ready and the one with the dice throw, in that order."""
    for index in range(4):
        table.submit(index, *[one for one in table._wishes(index) if not isinstance(one, Roll)])
        rest(table, 500)
        table.submit(index, Ready(0))
        rest(table, 500)
    table.submit(thrower(table), Roll(0))


def test_all_is_well_and_the_players_are_waited_for(table: PlayingTable) -> None:
    found = why(table)
    assert found.cause is Cause.PLAYERS
    assert found.player.startswith("the table waits for nobody's node: ")
    table.submit(thrower(table), *table._wishes(thrower(table)))
    table.settle()
    name = f"player {thrower(table)}"
    assert why(table).player == f"the table waits for nobody's node: it is {name}'s turn to throw"
    assert why(table).slots == (thrower(table),)


def test_a_lost_quorum_is_named_with_who_is_missing(table: PlayingTable) -> None:
    table.network.crash(2)
    table.network.crash(3)
    table.submit(0, *table._wishes(0) or [Ready(0)])
    rest(table, 60_000)
    for index in (0, 1):
        found = why(table, index)
        assert found.cause is Cause.VOTES
        assert found.slots == (2, 3)
        assert found.player == (
            "the table waits for player 2 and player 3: 3 of 4 nodes have to agree and 2 do "
            "(not connected to this node: player 2 and player 3)"
        )
        assert "no vote of player 2 and player 3" in found.developer
    table.settle()
    assert why(table).cause is Cause.PLAYERS


def test_lacking_shares_are_named_with_who_keeps_them(table: PlayingTable) -> None:
    """Votes pass and shares do not: neither from two of the nodes nor to them."""
    withheld = (Number.REVEAL, Number.REVEAL_PATHS)
    table.network.drops = lambda sender, to, frame: (
        bool({1, 2} & {sender, to}) and frame[0] in withheld
    )
    close_betting(table)
    rest(table, 20_000)
    assert table.replicas[0].final.closed
    found = why(table)
    assert found.cause is Cause.SHARES
    assert found.slots == (1, 2)
    assert found.player == (
        "the dice wait for player 1 and player 2: 3 of 4 have to open them together and 2 did"
    )
    table.network.drops = None
    table.settle()
    assert not table.replicas[0].final.closed
    assert why(table).cause is Cause.PLAYERS


def test_dice_that_are_not_prepared_are_named_with_who_has_to_deal() -> None:
    table = PlayingTable(4, seed=6)
    dealt = (Number.DEAL, Number.ACK)
    table.network.drops = lambda sender, _to, frame: sender in {1, 2} and frame[0] in dealt
    for _ in range(30):
        for index in range(4):
            table.submit(index, *table._wishes(index))
        rest(table, 400)
    table.settle()
    found = why(table)
    assert found.cause is Cause.DEALINGS
    assert set(found.slots) >= {1, 2}
    assert "still have to deal" in found.player


def test_a_node_that_lacks_blocks_says_that_it_is_behind(table: PlayingTable) -> None:
    """The others' certificates come, their blocks do not."""
    lost = (Number.PROPOSAL, Number.BLOCKS)
    table.network.drops = lambda _sender, to, frame: to == 3 and frame[0] in lost
    for _ in range(10):
        for index in range(3):
            table.submit(index, *table._wishes(index))
        rest(table, 400)
    assert table.replicas[3].final.height < table.replicas[0].final.height
    found = why(table, 3)
    assert found.cause is Cause.BEHIND
    assert "behind" in found.player
    table.network.drops = None
    table.settle()
    assert why(table, 3).cause is Cause.PLAYERS
