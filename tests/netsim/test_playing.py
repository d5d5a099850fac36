"""PROTOCOL 9, 11, 12: whole replicas play craps under loss, crashes and partitions."""

import pytest

from consensus.beacon import recompute_seed
from consensus.effects import RollLogged
from consensus.encoding import digest
from netsim.fabric import Links
from netsim.playing import CRAPS, PlayingTable
from node.game.craps.bets import Kind
from node.game.operations import CreateSession, PlaceBet, Roll, Sit, TakeDown
from node.game.receipts import GAME_CODES, Code


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7])
def test_players_throw_dice_together_and_every_node_holds_the_same_chips(n: int) -> None:
    table = PlayingTable(n, seed=1, signatures="ed25519" if n == 4 else "stand-in")
    table.play(8, limit_ms=300_000)
    table.settle()
    assert len({replica.final.root for replica in table.replicas}) == 1
    game = table.replicas[0].final.game
    layout = sum(session.layout for session in game.sessions if session is not None)
    assert sum(account.chips for account in game.accounts) + layout + game.bank == game.minted
    assert any(roll.bets for roll in table.rolls)


def test_a_stored_proof_gives_the_dice_of_its_roll() -> None:
    table = PlayingTable(4, seed=2)
    table.play(5, limit_ms=300_000)
    table.settle()
    rules = table.replicas[0].final.game.rules_of(0)
    assert rules is not None
    for host in table.network.hosts:
        stored = {
            record.number: record for record in host.disk.records if isinstance(record, RollLogged)
        }
        for roll in table.rolls:
            record = stored[roll.number]
            seed = recompute_seed(record.proof)
            assert record.session == roll.serial
            named = seed + roll.serial.to_bytes(8, "big") + roll.number.to_bytes(8, "big")
            assert rules.outcome(digest("dice", named)) == (roll.outcome, roll.dice)


def test_what_would_be_refused_is_refused_at_once_and_costs_no_block() -> None:
    table = PlayingTable(4, seed=3)
    table.ask(0, CreateSession(CRAPS))
    table.ask(1, Sit(0))
    height = table.replicas[1].final.height
    assert table.ask(1, PlaceBet(0, Kind.PASS, 0, 10_001)).code >= GAME_CODES
    assert table.ask(1, TakeDown(0, Kind.PASS, 0)).code == Code.NO_BET
    assert table.ask(1, PlaceBet(5, Kind.PASS, 0, 10)).code == Code.NO_SESSION
    assert table.answers[1][-1].height == 0
    table.network.run(table.network.now_ms + 1_000)
    assert table.replicas[1].final.height == height


def test_operations_of_a_moment_share_one_signature_and_one_block() -> None:
    table = PlayingTable(4, seed=4)
    table.ask(0, CreateSession(CRAPS))
    table.ask(1, Sit(0))
    height = table.replicas[1].final.height
    table.submit(1, *(PlaceBet(0, Kind.PASS, 0, 5) for _ in range(50)))
    table.settle()
    [(player, _, receipts)] = (a for result in table.results[height:] for a in result.actions)
    assert player == 1
    assert len(receipts) == 50 + 1  # the sender's next keys ride along
    assert [answer.ticket for answer in table.answers[1][-50:]] == list(range(50))


def test_a_table_with_bets_and_nobody_acting_throws_by_agreed_time() -> None:
    table = PlayingTable(4, seed=5)
    table.ask(0, CreateSession(CRAPS))
    for index in range(4):
        if index:
            table.ask(index, Sit(0))
    table.ask(2, PlaceBet(0, Kind.PASS, 0, 10))
    table.network.run(table.network.now_ms + 300_000)
    assert table.rolls


@pytest.mark.parametrize("seed", range(6))
def test_rolls_survive_loss_crashes_between_effects_and_partitions(seed: int) -> None:
    table = PlayingTable(4, seed, links=Links(loss=60, duplication=50))
    network, rng = table.network, table.network.rng

    def crash() -> None:
        index = rng.randrange(4)
        host = network.hosts[index]
        if host.node is None:
            return
        host.crash_after = rng.randrange(6)

        def back() -> None:
            host.crash_after = None
            if host.node is None:
                network.boot(index)

        network.at(network.now_ms + rng.randrange(200, 3_000), back)

    for i in range(12):
        network.at(2_000 + i * 4_000 + rng.randrange(2_000), crash)
    network.at(20_000, lambda: network.partition((0, 1), (2, 3)))
    network.at(26_000, network.heal)
    table.play(10, limit_ms=900_000)
    table.settle()
    assert network.counts.crashes > 3
    game = table.replicas[0].final.game
    assert game.seqs() == tuple(
        sum(player == one for result in table.results for player, _, _ in result.actions)
        for one in range(4)
    )


def test_a_node_that_was_away_for_long_catches_up_and_plays_on() -> None:
    table = PlayingTable(4, seed=8)
    table.play(2, limit_ms=300_000)
    table.network.crash(3)
    table.play(12, limit_ms=900_000)
    table.network.boot(3)
    table.play(16, limit_ms=900_000)
    table.settle()
    assert len({replica.final.root for replica in table.replicas}) == 1


def test_a_late_bet_behind_the_close_is_refused_with_a_receipt() -> None:
    table = PlayingTable(4, seed=9)
    table.ask(0, CreateSession(CRAPS))
    for index in (1, 2):
        table.ask(index, Sit(0))
    table.ask(1, PlaceBet(0, Kind.PASS, 0, 10))
    table.network.run(table.network.now_ms + 4_000)
    thrower = table.replicas[0].final.game.thrower(0)
    assert thrower is not None
    table.submit(thrower, Roll(0))
    codes = set()
    for _ in range(40):
        table.submit(2, PlaceBet(0, Kind.FIELD, 0, 5))
        table.network.run(table.network.now_ms + 2)
        codes |= {answer.receipt.code for answer in table.answers[2]}
        if table.rolls:
            break
    table.network.run(table.network.now_ms + 500)
    codes |= {answer.receipt.code for answer in table.answers[2]}
    assert Code.NO_MORE_BETS in codes
    assert table.rolls
