"""PROTOCOL 9.3: a proof of fault outlives its finder's restart, and takes a bounded place on disk."""

import pytest

from consensus.effects import EvidenceErased, EvidenceLogged, Persist
from consensus.encoding import digest
from consensus.evidence import build_evidence
from consensus.messages import Number, SystemItems, VoteKind, frame, vote_payload
from consensus.signing import Domain, sign_envelope
from consensus.validators import ValidatorIndex
from netsim.playing import PlayingTable
from node.effects import ReplicaEffect
from node.game.craps.bets import Kind
from node.game.operations import PlaceBet
from node.membership import SetVote
from node.waiting import Why, explain, facts_of

OFFENDER = 1


@pytest.fixture
def table() -> PlayingTable:
    """A table for five at rest, its epoch a young one; somebody else has the key of player 1."""
    made = PlayingTable(5, seed=21, damaged=[OFFENDER])
    made.play(1, limit_ms=300_000)
    pass_two_epochs(made)
    made.play(2, limit_ms=300_000)
    made.settle()
    return made


def pass_two_epochs(table: PlayingTable) -> None:
    """Let player 4 give up its vote and have it back."""
    for vote in (0, 1):
        pass_epoch(table, vote)


def pass_epoch(table: PlayingTable, vote: int) -> None:
    """Let an epoch end because player 4 wants a vote, or none any more."""
    epoch = table.replicas[2].final.membership.epoch
    table.ask(4, SetVote(vote))
    while table.replicas[2].final.membership.epoch == epoch:
        table.network.run(table.network.now_ms + 100)


def vote_for(table: PlayingTable, block: int) -> bytes:
    """Return a vote of the offender for one of many blocks in the present view."""
    key, first = table.replicas[OFFENDER].engine._signer, table.replicas[0]
    assert key is not None
    payload = vote_payload(
        VoteKind.NOTARIZE,
        first.final.membership.epoch,
        first.engine.view,
        digest("x", block.to_bytes(2, "big")),
    )
    return sign_envelope(key, Domain.VOTE, table.chain_id, payload)


def cheat(table: PlayingTable, witness: int = 0) -> list[ReplicaEffect]:
    """Show two votes that exclude each other to one player; return what its node has to do."""
    frames = [frame(Number.VOTE, vote_for(table, block)) for block in range(2)]
    batch = [(ValidatorIndex(OFFENDER), data) for data in frames]
    return table.replicas[witness].receive(batch, table.network.clock(witness))


def on_disk(table: PlayingTable, index: int) -> list[EvidenceLogged]:
    return [r for r in table.network.hosts[index].disk.records if isinstance(r, EvidenceLogged)]


def is_trusted(table: PlayingTable, index: int, whom: int = OFFENDER) -> bool:
    epoch = table.replicas[index]._epoch
    return epoch.engine._rounds.is_trusted(epoch._index[whom])


def is_convicted(table: PlayingTable) -> bool:
    return bool(table.replicas[0].final.membership.members[OFFENDER].cheated)


def bet_until_convicted(table: PlayingTable) -> None:
    for _ in range(8):  # a proof wakes nobody: whoever leads with it puts it into the next block
        if not is_convicted(table):
            table.ask(2, PlaceBet(0, Kind.FIELD, 0, 5))
    assert is_convicted(table)


def test_the_proof_is_durable_before_anybody_is_shown_it(table: PlayingTable) -> None:
    persist, *others = cheat(table)
    assert isinstance(persist, Persist)
    [logged] = [record for record in persist.records if isinstance(record, EvidenceLogged)]
    assert logged.slot == OFFENDER
    assert others
    assert not any(isinstance(effect, Persist) for effect in others)


@pytest.mark.parametrize("done", [1, 2, 3])
def test_a_finder_that_loses_power_after_any_effect_has_its_proof_committed_later(
    table: PlayingTable, done: int
) -> None:
    network = table.network
    effects = cheat(table)
    assert len(effects) > 3
    network.partition([0], [1, 2, 3, 4])  # what it sends is lost with it
    network.hosts[0].crash_after = done
    network.perform(0, effects)
    assert network.hosts[0].node is None
    network.heal()
    network.boot(0)
    assert not is_trusted(table, 0)
    bet_until_convicted(table)
    table.settle()
    assert [len(on_disk(table, index)) for index in range(5)] == [0] * 5


def test_what_who_only_followed_has_seen_convicts_once_it_votes(table: PlayingTable) -> None:
    pass_epoch(table, 0)
    table.settle()
    table.network.perform(4, cheat(table, witness=4))
    table.settle()
    assert not any(on_disk(table, index) for index in range(5)), "nobody else has seen it"
    pass_epoch(table, 1)
    bet_until_convicted(table)


def test_who_was_caught_is_named_with_what_it_did_to_whoever_asks_why(table: PlayingTable) -> None:
    def why() -> Why:
        return explain(table.replicas[0].situation())

    assert why().caught == ()
    table.network.perform(0, cheat(table))
    for _ in range(2):  # behind a restart too
        found = why()
        assert found.player.endswith(
            "; player 1 is proven to have cheated, as one of the next blocks will say: player 1 "
            "voted for two blocks in one view"
        )
        assert found.developer.endswith(
            "; a proof of TWO_NOTARIZE against player 1 waits for a block"
        )
        assert facts_of(found)["caught"] == [OFFENDER]
        table.network.crash(0)
        table.network.boot(0)
    bet_until_convicted(table)
    assert why().player.endswith(
        "; player 1 was caught cheating and loses the vote: player 1 voted for two blocks in one "
        "view"
    )
    assert why().developer.endswith(
        "; player 1 is convicted of TWO_NOTARIZE, leads no more, and goes at the next seal"
    )
    assert why().caught == (OFFENDER,)
    epoch = table.replicas[0].final.membership.epoch
    while table.replicas[0].final.membership.epoch == epoch:
        table.network.run(table.network.now_ms + 100)
    assert "caught" not in why().player
    assert why().caught == ()


def test_whom_a_block_convicted_leads_no_more_behind_a_restart_either(
    table: PlayingTable,
) -> None:
    table.network.perform(0, cheat(table))
    bet_until_convicted(table)
    table.network.run(table.network.now_ms + 500)
    for index in (0, 2, 3, 4):
        table.network.crash(index)
        table.network.boot(index)
        assert not is_trusted(table, index)
        assert is_trusted(table, index, whom=4)


def test_of_one_member_one_proof_is_kept_and_none_once_it_is_convicted(
    table: PlayingTable,
) -> None:
    def show(blocks: range) -> list[object]:
        first, network = table.replicas[0], table.network
        records: list[object] = []
        for block in blocks:
            proof = build_evidence(Domain.VOTE, vote_for(table, 0), vote_for(table, block))
            message = frame(Number.SYSTEM_ITEMS, SystemItems((proof,)))
            for effect in first.receive([(ValidatorIndex(OFFENDER), message)], network.clock(0)):
                records += effect.records if isinstance(effect, Persist) else ()
                network.perform(0, [effect])
        kinds = (EvidenceLogged, EvidenceErased)
        return [record for record in records if isinstance(record, kinds)]

    assert len(show(range(1, 40))) == 1
    assert len(on_disk(table, 0)) == 1
    bet_until_convicted(table)
    assert show(range(1, 40)) == []
    assert on_disk(table, 0) == []


def test_a_proof_that_is_two_epochs_old_is_dropped(table: PlayingTable) -> None:
    table.network.perform(0, [e for e in cheat(table) if isinstance(e, Persist)])
    table.network.crash(0)
    assert on_disk(table, 0)
    pass_two_epochs(table)
    table.network.boot(0)
    table.settle()
    assert on_disk(table, 0) == []
    assert not is_convicted(table)
    assert is_trusted(table, 0)
