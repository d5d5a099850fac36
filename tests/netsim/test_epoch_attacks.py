"""PROTOCOL 13 against liars, floods and crashes at the worst moment."""

import os
from collections.abc import Callable
from random import Random

import pytest

from consensus.effects import Send
from consensus.encoding import digest
from consensus.messages import Number
from consensus.signing import SigningKey
from consensus.validators import ValidatorIndex
from netsim.byzantine import adversary_of
from netsim.host import Disk, Simulated
from netsim.invariants import ViolatedError
from netsim.network import Network
from netsim.playing import CRAPS, PlayingTable
from node.execution import MEMBER_OPERATIONS_MAX
from node.game.craps.bets import Kind
from node.game.operations import CreateSession, PlaceBet, Ready, Roll, Sit
from node.game.params import GameParams
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
    table.play(16, limit_ms=100_000)
    # Where nobody bets yet an epoch may end at once, and that keeps nobody waiting.
    assert 2 <= table.replicas[0].final.membership.epoch <= 8


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


@pytest.mark.parametrize("seed", range(int(os.environ.get("NETSIM_SEEDS", "1"))))
def test_what_an_epoch_said_says_nothing_in_the_next_one(seed: int) -> None:
    """Votes, certificates, proposals and shares of old epochs come again, to everybody, for ever."""
    said: dict[bytes, int] = {}

    def make(
        hosts: int,
        boot: Callable[[int, Disk], Simulated],
        observe: Callable[[int, object], None],
    ) -> Network:
        def overhear(host: int, effect: object) -> None:
            if isinstance(effect, Send):
                said.setdefault(effect.frame, host)
            observe(host, effect)

        return Network(seed, hosts, boot, observe=overhear)

    table = PlayingTable(4, seed, make_network=make)
    network = table.network
    table.play(2, limit_ms=300_000)

    def replay() -> None:
        # The members that said it say it again, and one of them says what others said.
        for frame, host in network.rng.sample(list(said.items()), min(len(said), 40)):
            for sender in {host: None, 3: None}:
                for index, replica in enumerate(table.replicas):
                    if index != sender:
                        batch = [(ValidatorIndex(sender), frame)]
                        network.perform(index, replica.receive(batch, network.clock(index)))
        network.at(network.now_ms + 200, replay)

    network.at(network.now_ms, replay)
    for rolls, vote in enumerate((0, 1), 3):
        pass_epochs(table, [(2, vote)])
        table.play(rolls, limit_ms=300_000)
    assert [replica.final.membership.epoch for replica in table.replicas] == [2] * 4
    assert not any(member.cheated for member in table.replicas[0].final.membership.members)


def test_a_seal_becomes_final_though_its_leader_dies_with_it() -> None:
    for seed in range(4):
        table = PlayingTable(4, seed)
        table.play(1, limit_ms=300_000)
        replicas, network = table.replicas, table.network
        table.submit(0, SetVote(0))
        while not any(replica.engine.tip.height > replica.final.height for replica in replicas):
            network.run(network.now_ms + 1)
        engine = replicas[0].engine
        leader = replicas[0].validators.leader(max(r.engine.tip.view for r in replicas))
        assert not engine.halted
        dead = replicas[0].final.membership.voters[leader]
        network.crash(dead)
        others = [replica for index, replica in enumerate(replicas) if index != dead]
        limit_ms = network.now_ms + 20_000
        while any(replica.final.membership.epoch == 0 for replica in others):
            assert network.now_ms < limit_ms, f"seed {seed}: no seal"
            network.run(network.now_ms + 50)
        network.boot(dead)
        table.play(2, limit_ms=300_000)


def test_voters_do_not_change_while_a_roll_waits_for_its_shares() -> None:
    """A10: else whoever knows the dice and dislikes them would end the epoch instead."""
    withhold = {i: adversary_of("withholder", Random(i), ()) for i in range(4)}
    table = PlayingTable(4, seed=5, adversaries=withhold)
    with pytest.raises(ViolatedError, match="0 of 1 rolls"):
        table.play(1, limit_ms=30_000)
    assert table.replicas[0].final.closed
    table.submit(1, SetVote(0))
    table.network.run(table.network.now_ms + 3 * EPOCH_MS_MIN)
    for host in (0, 1):
        final = table.replicas[host].final
        assert not final.membership.members[1].wants
        assert (final.membership.epoch, bool(final.closed)) == (0, True)


def test_once_the_voters_have_to_change_no_game_closes_until_they_have() -> None:
    """Else a table with many games would have a roll to wait for at any time, and never a seal."""
    params = GameParams(betting_max_ms=20_000)
    table = PlayingTable(4, seed=5, params=params)
    table.network.drops = lambda _from, _to, data: data[0] == Number.REVEAL
    with pytest.raises(ViolatedError, match="0 of 1 rolls"):
        table.play(1, limit_ms=30_000)
    [waiting] = table.replicas[0].final.closed
    assert table.ask(1, SetVote(0)) == DONE
    table.network.run(table.network.now_ms + EPOCH_MS_MIN)
    bet = PlaceBet(1, Kind.PASS, 0, 10)
    for operation in (CreateSession(CRAPS), Sit(1), bet, Ready(1)):
        assert table.ask(0, operation).code == Code.DONE
    assert table.ask(0, Roll(1)) == Receipt(Code.VOTERS_CHANGE)
    table.network.run(table.network.now_ms + params.betting_max_ms)
    final = table.replicas[0].final
    assert list(final.closed) == [waiting], "nor does agreed time throw"
