"""Operations of the player at a node: tried, gathered, signed, answered (PROTOCOL 9)."""

import pytest

from consensus.messages import Number, frame
from consensus.validators import ValidatorIndex
from netsim.playing import CRAPS, PlayingTable
from node.game.craps.bets import Kind
from node.game.operations import CreateSession, PlaceBet, Sit, TakeDown
from node.game.params import GameParams
from node.game.receipts import GAME_CODES, Code
from node.mempool import sign_action
from node.replica import PREVIEWED_MAX

TOO_MUCH = PlaceBet(0, Kind.PASS, 0, 10_001)
BET = PlaceBet(0, Kind.PASS, 0, 5)


def seated(params: GameParams | None = None, players: int = 1) -> PlayingTable:
    table = PlayingTable(players, seed=1, params=params)
    table.ask(0, CreateSession(CRAPS))
    table.ask(0, Sit(0))
    table.answers[0].clear()
    return table


def test_few_operations_are_tried_at_once_and_many_are_left_to_their_block() -> None:
    table = seated()
    table.submit(0, *[TOO_MUCH] * PREVIEWED_MAX)
    assert [answer.height for answer in table.answers[0]] == [0] * PREVIEWED_MAX
    table.answers[0].clear()
    height = table.replicas[0].final.height
    table.submit(0, *[TOO_MUCH] * (PREVIEWED_MAX + 1))
    table.settle()
    assert {answer.height for answer in table.answers[0]} == {height + 1}
    assert all(answer.receipt.code >= GAME_CODES for answer in table.answers[0])


def test_an_operation_is_tried_behind_those_under_way_if_they_are_few() -> None:
    table = seated(GameParams(buy_in=1_000), players=4)
    table.submit(0, *[PlaceBet(0, Kind.FIELD, 0, 100)] * 10)
    table.submit(0, BET)
    assert [(one.height, one.receipt.code) for one in table.answers[0]] == [(0, Code.RACK)]
    table.settle()
    table.submit(0, *[TakeDown(0, Kind.FIELD, 0)], *[PlaceBet(0, Kind.FIELD, 0, 50)] * 20)
    table.answers[0].clear()
    table.submit(0, BET)
    assert table.answers[0] == []
    table.settle()
    assert [one.receipt.code for one in table.answers[0]] == [0] * 21 + [Code.RACK]


def test_a_block_s_worth_of_operations_is_signed_at_a_time_and_none_is_refused() -> None:
    table = seated(GameParams(operations_per_block=3))
    table.submit(0, *[BET] * 10)
    table.settle()
    assert [answer.receipt.code for answer in table.answers[0]] == [0] * 10
    sizes = [sum(len(receipts) for _, _, receipts in r.actions) for r in table.results]
    assert max(sizes) <= 4  # the next keys may ride along


def test_one_operation_behind_others_is_not_refused_for_their_number() -> None:
    table = seated(GameParams(operations_per_block=1))
    table.submit(0, BET, BET, BET)
    table.settle()
    assert [answer.receipt.code for answer in table.answers[0]] == [0, 0, 0]


def test_what_waits_for_the_next_action_counts_on_a_new_tip_as_well() -> None:
    table = seated(GameParams(buy_in=1_000), players=4)
    table.submit(0, *[PlaceBet(0, Kind.FIELD, 0, 100)] * 5)
    table.submit(0, *[PlaceBet(0, Kind.FIELD, 0, 100)] * 5)
    tip = table.replicas[0].engine.tip
    while table.replicas[0].engine.tip == tip:
        table.network.run(table.network.now_ms + 1)
    table.answers[0].clear()
    table.submit(0, BET)
    assert [(one.height, one.receipt.code) for one in table.answers[0]] == [(0, Code.RACK)]


@pytest.mark.parametrize(("other", "code"), [(BET, Code.DONE), (TOO_MUCH, Code.OTHER_DEVICE)])
def test_an_action_whose_number_another_device_used_gets_no_receipt_of_the_other_s(
    other: PlaceBet, code: Code
) -> None:
    """The same content is the same action, whichever device signed it."""
    table = seated(players=4)
    table.settle()
    replica, network = table.replicas[0], table.network
    seq = replica.final.game.accounts[0].seq + 1
    elsewhere = sign_action(replica.setup.identity, table.chain_id, 0, seq, [other])
    network.partition((0,), (1, 2, 3))
    gossip = [(ValidatorIndex(0), frame(Number.ACTION, elsewhere.envelope))]
    for host in (1, 2, 3):
        network.perform(host, table.replicas[host].receive(gossip, network.clock(host)))
    table.submit(0, BET)
    assert table.answers[0] == []
    network.run(network.now_ms + 2_000)
    network.heal()
    table.settle()
    [answer] = table.answers[0]
    assert (answer.receipt.code, answer.height == 0) == (code, code is Code.OTHER_DEVICE)
    assert answer.receipt.values == ((seq,) if code else ())
    table.answers[0].clear()
    table.submit(0, BET)
    table.settle()
    assert [one.receipt.code for one in table.answers[0]] == [Code.DONE]
