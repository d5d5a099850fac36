"""PROTOCOL 9.2: a node that forgot what it signed never signs against it, and a key has one device.

The invariants watch every run: no two votes of one host exclude each other over all its lives, so a
host whose disk is taken away is held to what it signed before.
"""

import copy

import pytest

from consensus.effects import (
    BlockLogged,
    EpochKeysLogged,
    FinalLogged,
    FloorLogged,
    SealLogged,
    SharesLogged,
    VoteLogged,
)
from consensus.messages import VoteKind
from netsim.host import Disk
from netsim.playing import PlayingTable
from netsim.tables import CounterTable, Seat
from netsim.twins import Split, TwinPair, _twin_of
from node.epoch import NO_FLOOR
from node.game.craps.bets import Kind
from node.game.operations import CreateSession, PlaceBet, Sit
from node.membership import SetVote
from node.waiting import Cause, explain


@pytest.fixture
def table() -> PlayingTable:
    """A table for four in the middle of its play."""
    made = PlayingTable(4, seed=11)
    made.play(2, limit_ms=300_000)
    return made


def votes(table: PlayingTable, index: int) -> list[tuple[int, int, bytes]]:
    """Return (view, kind, block) of each vote that a host's disk holds."""
    records = table.network.hosts[index].disk.records
    return [(r.view, r.kind, r.digest) for r in records if isinstance(r, VoteLogged)]


def give_disk(table: PlayingTable, index: int, disk: Disk) -> None:
    """Turn a host off, and on again with another disk."""
    table.network.crash(index)
    table.network.hosts[index].disk = disk
    table.invariants.lost_disk(index, disk.records)
    table.network.run(table.network.now_ms + 500)
    table.network.boot(index)


def exclusive(one: list[tuple[int, int, bytes]], other: list[tuple[int, int, bytes]]) -> list[int]:
    """Return the views in which votes of two lives of a host exclude each other."""
    found = []
    for view, kind, about in one:
        for seen, other_kind, other_about in other:
            if view == seen and (
                (kind == other_kind and about != other_about)
                or {kind, other_kind} == {VoteKind.NULLIFY, VoteKind.FINALIZE}
            ):
                found.append(view)
    return found


def test_a_lost_store_votes_only_above_its_mark(table: PlayingTable) -> None:
    before = votes(table, 1)
    mark = max(view for view, *_ in before) + 32
    table.floors[1] = (0, mark)
    give_disk(table, 1, Disk())
    table.play(9, limit_ms=900_000)
    table.settle()
    after = votes(table, 1)
    assert after
    assert min(view for view, *_ in after) == mark + 1
    assert exclusive(before, after) == []
    assert not table.replicas[1].engine.muted


def test_below_its_mark_it_says_why_the_table_waits_for_it_too(table: PlayingTable) -> None:
    mark = max(view for view, *_ in votes(table, 1)) + 32
    table.floors[1] = (0, mark)
    give_disk(table, 1, Disk())
    table.settle()
    table.network.crash(2)
    table.submit(0, PlaceBet(0, Kind.FIELD, 0, 5))
    table.network.run(table.network.now_ms + 5_000)
    why = explain(table.replicas[1].situation())
    assert why.cause is Cause.VOTES
    assert why.player.endswith(
        f"; this node has lost what it signed and votes again from view {mark + 1} on"
    )
    assert "lost what it signed" not in explain(table.replicas[0].situation()).player


def test_with_store_and_mark_lost_a_node_asks_first_and_then_votes_two_views_on(
    table: PlayingTable,
) -> None:
    before = votes(table, 1)
    table.floors[1] = None
    give_disk(table, 1, Disk())
    table.play(6, limit_ms=900_000)
    table.settle()
    records = table.network.hosts[1].disk.records
    [floor] = [record for record in records if isinstance(record, FloorLogged)]
    after = votes(table, 1)
    assert min(view for view, *_ in after) > floor.view
    assert floor.view > max(view for view, *_ in before)
    assert exclusive(before, after) == []
    assert not table.replicas[1].engine.muted


def test_until_enough_others_answer_it_does_not_vote_and_says_so(table: PlayingTable) -> None:
    table.floors[1] = None
    table.network.crash(3)
    give_disk(table, 1, Disk())
    table.network.run(table.network.now_ms + 30_000)
    assert votes(table, 1) == []
    found = explain(table.replicas[1].situation())
    assert found.cause is Cause.DOUBT
    assert "asks the others where they are" in found.player
    table.network.boot(3)
    table.play(4, limit_ms=900_000)
    table.settle()
    assert votes(table, 1)


def test_at_a_table_for_three_a_node_that_lost_its_memory_says_that_all_are_needed() -> None:
    table = PlayingTable(3, seed=12)
    table.play(1, limit_ms=300_000)
    table.settle()
    table.floors[1] = None
    give_disk(table, 1, Disk())
    table.network.run(table.network.now_ms + 30_000)
    assert votes(table, 1) == []
    assert "fewer than four needs every voter" in explain(table.replicas[1].situation()).player


def test_it_deals_nothing_that_it_may_have_dealt_before(table: PlayingTable) -> None:
    table.floors[1] = (0, 10_000)
    give_disk(table, 1, Disk())
    table.play(6, limit_ms=900_000)
    table.settle()
    assert all(not r.final.membership.members[1].cheated for r in table.replicas)
    for replica in table.replicas:
        beacon = replica._epoch.beacon
        assert beacon is not None
        assert beacon.evidence == ()


def play_until_it_deals(table: PlayingTable, index: int) -> None:
    """Play until the others hold a dealing of a host that no block certifies."""
    disk = table.network.hosts[index].disk
    while not any(isinstance(one, SharesLogged) and one.dealer == index for one in disk.records):
        for player in range(4):
            table.submit(player, *table._wishes(player))
        table.network.run(table.network.now_ms + 1)
    table.network.run(table.network.now_ms + 6)
    assert all(one.final.beacon.next_batch(index) == 0 for one in table.replicas)


def assert_nobody_blamed(table: PlayingTable) -> None:
    """No node holds a proof of fault, and no block has one."""
    for replica in table.replicas:
        assert not any(member.cheated for member in replica.final.membership.members)
        assert replica._epoch.proofs == ()


@pytest.mark.parametrize("lost_mark", [True, False])
def test_a_node_that_lost_its_memory_knows_so_after_the_next_restart_too(lost_mark: bool) -> None:
    """The second start finds a mark and votes beside it, as if nothing had ever been lost."""
    table = PlayingTable(4, seed=3)
    play_until_it_deals(table, 1)
    mark = (0, max((view for view, *_ in votes(table, 1)), default=0) + 32)
    table.floors[1] = None if lost_mark else mark
    give_disk(table, 1, Disk())
    table.play(3, limit_ms=900_000)
    while table.replicas[1].engine.final.view < mark[1] + 5:
        table.play(len(table.rolls) + 1, limit_ms=900_000)
    assert votes(table, 1), "by now it votes again"
    table.network.crash(1)
    table.floors[1] = NO_FLOOR
    table.network.boot(1)
    table.play(len(table.rolls) + 2, limit_ms=900_000)
    table.settle()
    assert_nobody_blamed(table)


@pytest.mark.parametrize(("seed", "index"), [(13, 3), (14, 2), (19, 2), (22, 3), (16, 1)])
def test_an_old_copy_of_a_folder_signs_nothing_against_its_later_votes(
    seed: int, index: int
) -> None:
    """The copy is whole, and so is its mark: only the others know better, and they tell."""
    table = PlayingTable(4, seed=seed)
    table.play(1, limit_ms=300_000)
    old = copy.deepcopy(table.network.hosts[index].disk)
    table.play(3, limit_ms=300_000)
    before = votes(table, index)
    give_disk(table, index, old)
    table.play(6, limit_ms=900_000)
    assert exclusive(before, votes(table, index)) == []


def test_an_old_copy_that_sees_its_later_votes_says_so_and_votes_no_more() -> None:
    table = PlayingTable(4, seed=13)
    table.play(1, limit_ms=300_000)
    old = copy.deepcopy(table.network.hosts[2].disk)
    table.play(3, limit_ms=300_000)
    give_disk(table, 2, old)
    table.play(6, limit_ms=900_000)
    engine = table.replicas[2].engine
    assert "another device uses the key, or this folder is an old copy" in engine.muted
    # It may have dealt as well, and forgotten it.
    beacon = table.replicas[2]._epoch.beacon
    assert beacon is not None
    assert not beacon.remembers
    assert explain(table.replicas[2].situation()).cause is Cause.MUTED


def test_a_node_that_remembers_everything_is_never_in_doubt(table: PlayingTable) -> None:
    for index in range(4):
        table.network.crash(index)
        table.network.run(table.network.now_ms + 700)
        table.network.boot(index)
    table.play(4, limit_ms=900_000)
    table.settle()
    for replica in table.replicas:
        assert replica.engine.floor == 0
        assert not replica.engine.muted
    assert any(isinstance(r, BlockLogged) for r in table.network.hosts[0].disk.records)


def quiet_voter() -> PlayingTable:
    """Return a table for five at which player 2 votes and does nothing else, so it keeps its key."""
    table = PlayingTable(5, seed=1)
    for operation in (CreateSession(1), Sit(0)):
        table.ask(0, operation)
    bet(table, 3)
    return table


def bet(table: PlayingTable, times: int) -> None:
    for _ in range(times):
        table.ask(0, PlaceBet(0, Kind.PASS, 0, 10))
    table.network.run(table.network.now_ms + 500)


def pass_epoch(table: PlayingTable) -> None:
    epoch = table.replicas[0].final.membership.epoch
    table.ask(4, SetVote(0))
    while table.replicas[0].final.membership.epoch == epoch:
        table.network.run(table.network.now_ms + 100)


def place_of_seal(disk: Disk) -> int:
    """Return how many records a disk held before the first seal was final."""
    [seal] = [one for one in disk.records if isinstance(one, SealLogged)]
    return next(
        at
        for at, one in enumerate(disk.records)
        if isinstance(one, FinalLogged) and one.hash == seal.hash
    )


def votes_in_epoch(table: PlayingTable, epoch: int) -> int:
    records = table.network.hosts[2].disk.records
    return sum(isinstance(one, VoteLogged) and one.epoch == epoch for one in records)


def test_an_old_copy_of_an_epoch_before_hears_in_the_next_one_too_before_it_votes() -> None:
    table = quiet_voter()
    disk = table.network.hosts[2].disk
    pass_epoch(table)
    bet(table, 12)
    assert votes_in_epoch(table, 1)
    # The copy was made just before the epoch ended, with every vote of it.
    for away in (1, 3, 4):
        table.network.crash(away)
    give_disk(table, 2, disk.copy(place_of_seal(disk)))
    table.network.run(table.network.now_ms + 5_000)
    assert table.replicas[2].final.membership.epoch == 1
    assert table.replicas[2].engine.is_listening  # one of the others knows less than all
    for away in (1, 3, 4):
        table.network.boot(away)
    bet(table, 12)
    assert table.replicas[2].final.membership.epoch == 1
    assert table.replicas[2].votes
    assert explain(table.replicas[2].situation()).cause is Cause.MUTED
    assert votes_in_epoch(table, 1) == 0
    assert not table.replicas[0].final.membership.members[2].cheated


def test_who_votes_no_more_with_a_key_does_not_begin_again_with_it_in_the_next_epoch() -> None:
    table = quiet_voter()
    old = copy.deepcopy(table.network.hosts[2].disk)
    bet(table, 12)
    give_disk(table, 2, old)
    bet(table, 3)
    assert table.replicas[2].engine.muted
    pass_epoch(table)
    bet(table, 12)
    assert table.replicas[2].votes
    assert table.replicas[2].engine.muted
    assert votes_in_epoch(table, 1) == 0


def test_a_copy_without_the_keys_of_the_new_epoch_follows_and_signs_nothing() -> None:
    table = PlayingTable(5, seed=3)
    table.play(1, limit_ms=300_000)
    old = copy.deepcopy(table.network.hosts[2].disk)
    records = [one for one in old.records if not isinstance(one, EpochKeysLogged)]
    old._keep(records)
    pass_epoch(table)
    table.play(3, limit_ms=300_000)
    give_disk(table, 2, old)
    table.play(5, limit_ms=300_000)
    assert table.replicas[2].final.membership.epoch == 1
    assert not table.replicas[2].votes
    assert votes_in_epoch(table, 1) == 0


@pytest.mark.parametrize("seed", range(8))
def test_of_two_devices_with_one_key_one_stops_or_both_say_the_same(seed: int) -> None:
    """Both hear everybody, and nobody but their key ties them: the table goes on and never forks.

    The invariants watch the honest. Each device's own votes never exclude each other (the engine
    asserts it); votes of one may exclude the other's until one has seen a vote that it never cast.
    """
    key = seed % 4
    pairs: list[TwinPair] = []

    def seat_twins(seat: Seat) -> TwinPair:
        split = Split((), range(4))
        split.healed = True
        pairs.append(TwinPair(seat, _twin_of(seat), split))
        return pairs[-1]

    table = CounterTable(4, seed, adversaries={key: seat_twins})
    network = table.network
    for step in range(40):
        table.increment(bytes((step,)))
        network.perform(key, pairs[0].increment(bytes((step, 1)), step % 2, network.clock(key)))
        network.run(network.now_ms + 200)
    table.settle()
    assert all(total >= 40 for total in table.totals())
    stopped = [node.engine.muted for node in pairs[0]._nodes if node.engine.muted]
    proofs = [proof for index in table.honest for proof in table.nodes[index].engine.evidence]
    assert stopped or not proofs, "both go on only while they say the same"


@pytest.mark.parametrize("lost", [2, 15])
def test_a_whole_disk_set_back_between_any_two_effects_convicts_nobody(lost: int) -> None:
    """Its mark is whole and at its place. It learns of its votes from others; what it deals is the same."""
    dealt = 0
    for effects in range(lost, 84, 4):
        table = PlayingTable(4, seed=1)
        host = table.network.hosts[1]
        host.crash_after = effects
        while host.node is not None:
            for player in range(4):
                table.submit(player, *table._wishes(player))
            table.network.run(table.network.now_ms + 5)
        before = host.disk.records
        old = host.disk.copy(max(len(before) - lost, 0))
        dealt += any(isinstance(one, SharesLogged) and one.dealer == 1 for one in before)
        give_disk(table, 1, old)
        table.play(2, limit_ms=300_000)
        table.settle()
        assert_nobody_blamed(table)
    assert dealt > 5
