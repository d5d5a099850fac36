"""PROTOCOL 13.3, 13.4 over whole replicas: joiners that lie about keys, and joining across a cut."""

import msgspec

from consensus.encoding import decode_as, encode
from consensus.messages import Number, frame
from consensus.signing import Domain, key_id, parse_envelope, sign_envelope
from consensus.validators import ValidatorIndex
from netsim.playing import CRAPS, PlayingTable
from node.descriptor import Join, Member as JoiningMember
from node.game.craps.bets import Kind
from node.game.operations import CreateSession, PlaceBet, Sit
from node.game.params import CHIPS_MAX, GameParams, JoinRule
from node.game.receipts import DONE, Code
from node.membership import EPOCH_MS_MIN, Admit, NextKeys, SetVote
from node.mempool import ActionBody, AnyOperation, sign_action

JOINER = 4
SMALL_ORDER = bytes(32)


def request(table: PlayingTable, chain_id: bytes | None = None, **lies: bytes | str) -> Admit:
    """Return what a voter hands in for the newcomer, some of whose keys are others'."""
    member = table.newcomers[0]
    own = JoiningMember(member.identity, member.consensus_key, member.box_key, member.nickname)
    asked = Join(bytes(16), msgspec.structs.replace(own, **lies), ())
    signer = table._keys[JOINER][1]
    return Admit(sign_envelope(signer, Domain.JOIN, chain_id or table.chain_id, encode(asked)))


def plays_on(table: PlayingTable, rolls: int = 1) -> None:
    table.play(len(table.rolls) + rolls, limit_ms=300_000)


def votes(table: PlayingTable, index: int) -> bool:
    return index in table.replicas[0].final.membership.voters


def change_vote(table: PlayingTable, index: int, vote: int) -> None:
    """Let a member change its mind, and the voters change in their time."""
    assert table.ask(index, SetVote(vote)) == DONE
    table.network.run(table.network.now_ms + EPOCH_MS_MIN + 5_000)
    assert votes(table, index) == bool(vote)


def act_as(table: PlayingTable, signer: int, player: int, operation: AnyOperation) -> None:
    """Show everybody an action in the name of a player, with the signature of one or another."""
    key, network = table._keys[signer][1], table.network
    seq = table.replicas[1].final.game.accounts[player].seq + 1
    action = sign_action(key, table.chain_id, player, seq, [operation])
    for index in range(3):
        batch = [(ValidatorIndex(signer), frame(Number.ACTION, action.envelope))]
        network.perform(index, table.replicas[index].receive(batch, network.clock(index)))


def test_a_request_with_keys_that_are_not_the_joiner_s_is_refused_and_the_true_one_taken() -> None:
    table = PlayingTable(4, seed=1, newcomers=1)
    plays_on(table)
    voter = table.replicas[0].final.membership.members[1]
    assert voter.next_consensus_key != voter.consensus_key, "it has named the keys to come"
    lies: list[tuple[Admit, Code]] = [
        (request(table, chain_id=bytes(32)), Code.JOIN_INVALID),
        (request(table, identity=voter.identity), Code.JOIN_INVALID),
        (request(table, identity=SMALL_ORDER), Code.JOIN_INVALID),
        (request(table, consensus_key=SMALL_ORDER), Code.JOIN_INVALID),
        (request(table, nickname="two  spaces"), Code.JOIN_INVALID),
        (request(table, consensus_key=voter.identity), Code.NEWCOMER_KNOWN),
        (request(table, consensus_key=voter.consensus_key), Code.NEWCOMER_KNOWN),
        (request(table, consensus_key=voter.next_consensus_key), Code.NEWCOMER_KNOWN),
        (request(table, dealing_key=voter.box_key), Code.NEWCOMER_KNOWN),
        (request(table, dealing_key=voter.next_box_key), Code.NEWCOMER_KNOWN),
    ]
    for at, (lie, code) in enumerate(lies):
        assert table.ask(at % 4, lie).code == code
    assert table.replicas[0].final.membership.newcomers == ()
    table.join(JOINER)
    assert table.ask(JOINER, lies[0][0]).code == Code.NO_VOTE, "nobody looks at what it hands in"
    plays_on(table)
    table.settle()


def test_a_closed_table_takes_nobody_in_whoever_asks_for_it() -> None:
    params = GameParams(join_rule=JoinRule.CLOSED)
    table = PlayingTable(1, seed=1, newcomers=1, params=params)
    assert table.ask(0, table.admission_of(1)).code == Code.CLOSED_TABLE


def test_a_table_whose_chips_would_be_too_many_to_count_takes_nobody_in() -> None:
    params = GameParams(join_rule=JoinRule.ANY_VOTER, buy_in=CHIPS_MAX // 2 - GameParams().bank)
    table = PlayingTable(1, seed=1, newcomers=2, params=params)
    assert table.join(1) == 1
    assert table.ask(0, table.admission_of(2)).code == Code.TABLE_FULL


def test_of_two_who_ask_with_one_key_the_first_is_let_in_and_the_other_told() -> None:
    table = PlayingTable(4, seed=2, newcomers=2)
    first, second = table.newcomers
    table.newcomers[1] = msgspec.structs.replace(second, consensus_key=first.consensus_key)
    assert table.ask(0, table.approval_of(JOINER + 1)) == DONE
    table.join(JOINER)
    assert table.ask(1, table.approval_of(JOINER + 1)).code == Code.NEWCOMER_KNOWN
    plays_on(table)
    table.settle()


def test_a_voter_to_whom_nobody_can_deal_costs_no_roll_and_no_honest_voter_is_blamed() -> None:
    """A point of small order is a dealing key that opens no box: its shares are published."""
    table = PlayingTable(4, seed=3, newcomers=1, damaged=[JOINER])
    plays_on(table)
    table.newcomers[0] = msgspec.structs.replace(
        table.newcomers[0], box_key=SMALL_ORDER, next_box_key=SMALL_ORDER
    )
    table.join(JOINER)
    # Without the keys that its node would name for the next epoch.
    table.network.drops = lambda sender, _to, data: sender == JOINER and data[0] == Number.ACTION
    act_as(table, JOINER, JOINER, SetVote(1))
    table.network.run(table.network.now_ms + EPOCH_MS_MIN + 5_000)
    assert votes(table, JOINER)
    assert table.replicas[0].final.membership.members[JOINER].box_key == SMALL_ORDER
    plays_on(table, rolls=3)
    assert not any(member.cheated for member in table.replicas[0].final.membership.members)


def test_a_joiner_names_no_keys_but_its_own_for_the_next_epoch_and_no_other() -> None:
    table = PlayingTable(4, seed=4, newcomers=1, damaged=[JOINER])
    plays_on(table)
    table.join(JOINER)
    change_vote(table, JOINER, 1)
    membership = table.replicas[0].final.membership
    epoch, voter = membership.epoch + 1, membership.members[1]
    fresh, box = table._make_signer(b"fresh".ljust(32)).public_key, bytes([9]) * 32
    for lie, code in (
        (NextKeys(epoch - 1, fresh, box), Code.KEYS_OF_EPOCH),
        (NextKeys(epoch + 1, fresh, box), Code.KEYS_OF_EPOCH),
        (NextKeys(epoch, voter.consensus_key, box), Code.KEYS_IN_USE),
        (NextKeys(epoch, voter.next_consensus_key, box), Code.KEYS_IN_USE),
        (NextKeys(epoch, voter.previous_key, box), Code.KEYS_IN_USE),
        (NextKeys(epoch, fresh, voter.box_key), Code.KEYS_IN_USE),
        (NextKeys(epoch, SMALL_ORDER, box), Code.KEYS_IN_USE),
    ):
        assert table.ask(JOINER, lie).code == code
    # Nor for others, by its own signature under another's name.
    act_as(table, JOINER, 1, NextKeys(epoch, fresh, box))
    plays_on(table)
    after = table.replicas[0].final.membership.members[1]
    assert fresh not in {after.consensus_key, after.next_consensus_key}
    change_vote(table, JOINER, 0)
    plays_on(table)
    table.settle()


def test_who_names_another_s_new_keys_for_its_own_first_gains_nothing_by_it() -> None:
    """It cannot sign with them; the other votes on with its old ones and names new ones later."""
    table = PlayingTable(5, seed=5, damaged=[3])
    network, heard = table.network, list[NextKeys]()

    def overhear(sender: int, _to: int, data: bytes) -> bool:
        if sender != 0 or data[0] != Number.ACTION:
            return False
        body = decode_as(parse_envelope(data[1:]).payload, ActionBody)
        heard.extend(each for each in body.operations if isinstance(each, NextKeys))
        return bool(heard)

    network.drops = overhear
    assert table.ask(0, CreateSession(CRAPS)).code == Code.DONE
    table.submit(0, Sit(0))  # what it says next names its keys
    act_as(table, 3, 3, heard[0])
    network.run(network.now_ms + 2_000)
    first = table.replicas[1].final.membership
    assert first.members[3].next_consensus_key == heard[0].consensus_key
    network.drops = None
    plays_on(table)
    change_vote(table, 2, 0)
    plays_on(table)
    second = table.replicas[0].final.membership
    assert second.members[0].consensus_key == first.members[0].consensus_key
    assert table.replicas[0].votes
    assert not table.replicas[3].votes
    change_vote(table, 2, 1)
    plays_on(table)
    last = table.replicas[0].final.membership
    assert last.members[0].consensus_key not in {
        heard[0].consensus_key,
        first.members[0].consensus_key,
    }
    assert not any(member.cheated for member in last.members)


def test_an_approval_behind_a_cut_counts_when_it_is_mended() -> None:
    """The member at whose door the joiner stands is cut off with its word for it."""
    table = PlayingTable(4, seed=6, newcomers=1)
    plays_on(table)
    network = table.network
    network.partition([0, JOINER], [1, 2, 3])
    table.submit(0, table.admission_of(JOINER))
    for voter in (1, 2):
        assert table.ask(voter, table.admission_of(JOINER)) == DONE
    plays_on(table)
    kid = key_id(table.identity_of(JOINER))
    behind, ahead = (table.replicas[i].final for i in (0, 1))
    assert behind.height < ahead.height
    assert ahead.membership.slot_of(kid) is None
    network.heal()
    network.run(network.now_ms + 5_000)
    assert table.replicas[0].final.membership.slot_of(kid) == JOINER
    network.boot(JOINER)
    plays_on(table)
    change_vote(table, JOINER, 1)
    plays_on(table)
    table.settle()


def test_a_joiner_may_be_cut_off_while_it_catches_up_and_while_it_gets_its_vote() -> None:
    table = PlayingTable(4, seed=7, newcomers=1)
    plays_on(table)
    network = table.network
    table.ask(0, table.admission_of(JOINER))
    for voter in (1, 2):
        assert table.ask(voter, table.approval_of(JOINER)) == DONE
    network.partition([0, JOINER], [1, 2, 3])
    network.boot(JOINER)
    plays_on(table)
    assert table.replicas[JOINER].final.height <= table.replicas[0].final.height
    assert table.replicas[0].final.height < table.replicas[1].final.height
    network.heal()
    network.run(network.now_ms + 5_000)
    assert table.replicas[JOINER].player == JOINER
    # Its wish gets through and nothing else does: it is a voter and does not know.
    network.partition([JOINER], [0, 1, 2, 3])
    act_as(table, JOINER, JOINER, SetVote(1))
    network.run(network.now_ms + 2_000)
    assert votes(table, JOINER)
    assert not table.replicas[JOINER].votes
    plays_on(table)
    # Two of five are one too many: nothing becomes final, and nothing is lost.
    network.partition([0, JOINER], [1, 2, 3])
    network.run(network.now_ms + 1_000)
    height = table.replicas[1].final.height
    table.submit(1, PlaceBet(0, Kind.FIELD, 0, 5))
    network.run(network.now_ms + 30_000)
    assert table.replicas[1].final.height == height
    network.heal()
    plays_on(table, rolls=2)
    assert table.replicas[JOINER].votes
    table.settle()
