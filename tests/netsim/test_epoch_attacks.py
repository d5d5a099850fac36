"""PROTOCOL 13 against liars, floods and crashes at the worst moment."""

from netsim.playing import PlayingTable
from node.game.receipts import DONE
from node.membership import SetVote


def voters(table: PlayingTable) -> list[int]:
    return sorted(table.replicas[0].final.membership.voters)


def pass_epochs(table: PlayingTable, changes: list[tuple[int, int]]) -> None:
    """Let members change their votes one after the other, each in an epoch of its own."""
    for index, vote in changes:
        epoch = table.replicas[0].final.membership.epoch
        assert table.ask(index, SetVote(vote)) == DONE
        for _ in range(600):
            if table.replicas[0].final.membership.epoch > epoch:
                break
            table.network.run(table.network.now_ms + 100)
        assert table.replicas[0].final.membership.epoch > epoch


def test_who_keeps_its_keys_for_another_epoch_still_has_them_after_a_restart() -> None:
    table = PlayingTable(4, seed=1)
    table.play(1, limit_ms=300_000)
    # From epoch 1 on only player 3 acts: the others vote on with the keys that they named for it.
    pass_epochs(table, [(3, 0), (3, 1), (3, 0), (3, 1)])
    table.settle()
    for index in range(4):
        table.network.crash(index)
    for index in range(4):
        table.network.boot(index)
    assert [replica.votes for replica in table.replicas] == [True] * 4
    table.play(2, limit_ms=300_000)
