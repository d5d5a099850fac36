"""PROTOCOL 13 against liars, floods and crashes at the worst moment."""

from consensus.encoding import digest
from consensus.signing import SigningKey
from netsim.playing import PlayingTable
from node.execution import MEMBER_OPERATIONS_MAX
from node.game.operations import CreateSession, Sit
from node.game.receipts import DONE, Code, Receipt
from node.membership import EPOCH_MS_MIN, NextKeys, Retire, SetVote


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


def test_who_asks_for_a_vote_and_gives_it_up_over_and_over_keeps_nobody_from_rolling() -> None:
    table = PlayingTable(5, seed=2)
    table.play(1, limit_ms=300_000)
    network, flapper = table.network, 4

    def flap() -> None:
        replica = table.replicas[flapper]
        if not replica.pending:
            wants = replica.final.membership.members[flapper].wants
            table.submit(flapper, SetVote(1 - wants))
        network.at(network.now_ms + 50, flap)

    network.at(network.now_ms, flap)
    # An honest table throws about every four seconds.
    table.play(31, limit_ms=180_000)
    # Where nobody bets yet an epoch may end at once, and that keeps nobody waiting.
    assert 3 <= table.replicas[0].final.membership.epoch <= 12


def test_a_change_that_waits_for_its_epoch_comes_about_though_everybody_rests() -> None:
    table = PlayingTable(5, seed=5)
    table.play(1, limit_ms=300_000)
    pass_epochs(table, [(4, 0)])
    table.play(2, limit_ms=300_000)
    assert table.ask(4, SetVote(1)) == DONE
    assert 4 not in voters(table)
    table.network.run(table.network.now_ms + EPOCH_MS_MIN)
    assert 4 in voters(table)


def test_who_retires_does_nothing_more_in_the_same_action_either() -> None:
    table = PlayingTable(4, seed=3)
    table.submit(0, CreateSession(1))
    table.network.run(table.network.now_ms + 2_000)
    table.submit(3, Retire(), Sit(0), SetVote(1))
    table.network.run(table.network.now_ms + 2_000)
    codes = [answer.receipt.code for answer in table.answers[3]]
    assert codes == [Code.DONE, Code.HAS_LEFT, Code.HAS_LEFT]
    assert table.replicas[0].final.game.seated_in(3) is None


def test_a_flood_of_keys_and_requests_costs_a_block_no_more_than_a_few_checks() -> None:
    table = PlayingTable(4, seed=4, newcomers=1)
    keys = [
        NextKeys(1, SigningKey(digest("key", bytes((i,)))).public_key, bytes((i,) * 32))
        for i in range(20)
    ]
    table.submit(3, *keys)
    table.submit(2, *[table.admission_of(4)] * 20)
    table.network.run(table.network.now_ms + 2_000)
    for index in (2, 3):
        refused = [answer.receipt for answer in table.answers[index]]
        limit = Receipt(Code.OPERATIONS, (MEMBER_OPERATIONS_MAX,))
        assert refused.count(limit) == 20 - MEMBER_OPERATIONS_MAX
