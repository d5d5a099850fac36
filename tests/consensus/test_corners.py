"""PROTOCOL 7 to 11: rules that few runs reach, each by itself."""

from dataclasses import replace as with_fields

import msgspec
import pytest

from consensus.chain import OPEN_BLOCKS_MAX, Chain, Tip, genesis, parse_block
from consensus.effects import BlockLogged, FinalLogged, Halt
from consensus.encoding import Digest, encode
from consensus.evidence import ITEM_EVIDENCE, Evidence, verify_evidence
from consensus.messages import (
    NO_DIGEST,
    BlockHash,
    GetCert,
    Number,
    RevealPaths,
    Status,
    SystemItems,
    VotePayload,
    frame,
)
from consensus.signing import Domain, Envelope, sign_envelope, verify
from netsim.counter import Counter
from tests.consensus.beacon_network import CHAIN, Table, certify, make_dealing, sign_deal
from tests.consensus.scenes import CHAIN_ID, FINALIZE, NOTARIZE, NULLIFY, WALL_MS, Made, Scene

# Agreement.


def test_a_journal_whose_final_block_fails_here_halts_the_node_at_its_start() -> None:
    scene = Scene()
    good = scene.block(1)
    bad = Made(msgspec.structs.replace(good.header, state_root=bytes(32)), good.body)
    scene.disk = [
        BlockLogged(hash=bad.hash, height=1, view=1, header=bad.header_bytes, body=bad.body_bytes),
        FinalLogged(height=1, view=1, hash=bad.hash, certificate=b""),
    ]
    scene.boot()
    (halt,) = [effect for effect in scene.effects if isinstance(effect, Halt)]
    assert "height 1 fails here (state root differs)" in halt.reason
    scene.work()
    scene.go(10_000)
    assert scene.votes() == []


def test_an_open_block_that_memory_let_go_comes_from_the_journal() -> None:
    scene = Scene()
    made = [scene.block(1, names=(b"%d" % i,), time_ms=WALL_MS + i) for i in range(2)]
    stored = {block.hash: (block.header_bytes, block.body_bytes) for block in made}
    base = genesis(CHAIN_ID)
    chain = Chain(Counter(base.hash), base, lambda wanted: stored.get(BlockHash(Digest(wanted))))
    assert len(chain._open) == 0
    found = chain.get(made[0].hash)
    assert found is not None
    assert found.header == made[0].header
    assert found.logged, "the journal has it already"
    assert chain.get(made[0].hash) is found
    assert chain.get(bytes(32)) is None
    for view in range(2, OPEN_BLOCKS_MAX + 2):
        header = msgspec.structs.replace(made[1].header, view=view)
        later = Made(header, made[1].body)
        chain.add(parse_block(later.header_bytes, later.body_bytes))
    again = chain.get(made[0].hash)
    assert again is not found
    assert again is not None
    assert again.header == made[0].header


def test_questions_of_another_epoch_are_no_business_of_this_ones_engine() -> None:
    scene = Scene()
    scene.propose(scene.block(1))
    scene.show(scene.certificate(NOTARIZE, 1, scene.block(1).hash))
    scene.go()
    ask = Status(1, 1, 9, 9, 9, bytes(32), 1, 0)
    scene.tell(scene.others[0], Number.STATUS, ask)
    scene.tell(scene.others[0], Number.GET_CERT, GetCert(1, 1))
    scene.go()
    assert scene.effects == []
    scene.tell(scene.others[0], Number.STATUS, with_epoch(ask, 0))
    scene.tell(scene.others[0], Number.GET_CERT, GetCert(0, 1))
    scene.go()
    assert len(scene.sent(Number.STATUS)) == 1
    assert len(scene.sent(Number.CERTIFICATE)) >= 1


def with_epoch(status: Status, epoch: int) -> Status:
    return msgspec.structs.replace(status, epoch=epoch)


def test_a_finalization_of_the_final_block_is_checked_like_any_other() -> None:
    scene = Scene()
    # A snapshot's block has become final by a descendant's certificate.
    base = Tip(5, 2, scene.block(1).hash, WALL_MS)
    scene.boot(base, records=())
    liar = scene.others[0]
    good = scene.certificate(FINALIZE, 2, base.hash)
    forged = msgspec.structs.replace(good, signatures=good.signatures[::-1])
    scene.show(forged, by=liar)
    scene.go()
    assert scene.faults() == [(liar, "certificate that does not verify")]
    scene.show(good)
    scene.go()
    scene.tell(liar, Number.GET_CERT, GetCert(0, 2))
    scene.go()
    ((_, data),) = scene.sent(Number.CERTIFICATE)
    assert data == encode(good)


def test_a_leader_is_believed_to_give_up_by_its_signature_alone() -> None:
    scene = Scene(n=7)
    leader = scene.validators.leader(1)
    payload = encode(VotePayload(NULLIFY, 0, 1, NO_DIGEST))
    forged = Envelope(scene.validators.kids[leader], payload, bytes(64))
    scene.tell(leader, Number.VOTE, forged)
    scene.go()
    assert scene.votes() == []
    assert scene.faults() == [(leader, "vote that does not verify")]


def test_evidence_is_item_3_of_votes_that_name_a_block_where_one_belongs() -> None:
    scene = Scene()
    one, two = (scene.envelope(1, NOTARIZE, 1, bytes([i]) * 32) for i in (1, 2))
    nothing = scene.envelope(1, NOTARIZE, 1, NO_DIGEST)
    of_a_block = scene.envelope(1, NULLIFY, 1, bytes([1]) * 32)
    final = scene.envelope(1, FINALIZE, 1, bytes([1]) * 32)

    def verdict(item: int, first: bytes, second: bytes) -> object:
        proof = encode(Evidence(item, Domain.VOTE, first, second))
        return verify_evidence(proof, scene.validators, CHAIN_ID, 0, verify)

    assert not isinstance(verdict(ITEM_EVIDENCE, one, two), str)
    assert verdict(2, one, two) == "item 2 is not evidence"
    for first, second in ((nothing, two), (of_a_block, final)):
        assert "names no block, every other vote one" in str(verdict(3, first, second))


# Joint dice.


def faults(table: Table, node: int) -> list[str]:
    return [report.fault for report in table.nodes[node].reports]


@pytest.mark.parametrize("reveal", [b"", b"\x80", bytes(40)])
def test_paths_for_a_reveal_that_is_none_are_a_fault(reveal: bytes) -> None:
    table = Table(4)
    table.stock()
    table.block(close=True)
    table.deliver(0, 1, frame(Number.REVEAL_PATHS, RevealPaths(reveal, ())))
    assert len(faults(table, 0)) == 1
    assert faults(table, 0)[0].startswith("a reveal with paths is malformed")


def test_a_certificate_of_another_epoch_is_passed_over_and_one_of_no_dealing_a_fault() -> None:
    table = Table(4, wanted=False)
    other = make_dealing(4, 1, epoch=1)
    foreign = encode(certify(other, 4, (0, 1, 2, 3)))
    good = certify(make_dealing(4, 1), 4, (0, 1, 2, 3))
    senseless = encode(msgspec.structs.replace(good, deal=b"\x80"))
    table.deliver(0, 2, frame(Number.SYSTEM_ITEMS, SystemItems((foreign, encode(good)))))
    assert faults(table, 0) == []
    assert table.nodes[0].beacon.items(table.state) == (encode(good),)
    table.deliver(0, 2, frame(Number.SYSTEM_ITEMS, SystemItems((senseless,))))
    assert len(faults(table, 0)) == 1


def test_a_dealing_by_a_dealer_that_does_not_exist_is_not_kept() -> None:
    table = Table(4, wanted=False)
    dealing = make_dealing(4, 1)
    dealing.header = msgspec.structs.replace(dealing.header, dealer=100)
    deal = sign_envelope(table.signers[1], Domain.DEAL, CHAIN, encode(dealing.header))
    message = dealing.seal(0, table.box_keys[0], deal)
    assert message is not None
    table.deliver(0, 1, frame(Number.DEAL, message))
    assert (table.nodes[0].disk, table.sent) == ([], [])


def test_the_same_dealing_under_another_signature_is_acked_and_is_no_second_one() -> None:
    table = Table(4, wanted=False)
    dealing = make_dealing(4, 1)
    message = dealing.seal(0, table.box_keys[0], sign_deal(dealing, 4))
    assert message is not None
    table.deliver(0, 1, frame(Number.DEAL, message))
    # Signers may randomize: only what is signed counts.
    beacon = table.nodes[0].beacon
    held = beacon._held[1, 0]
    beacon._held[1, 0] = with_fields(held, deal=held.deal[:-64] + bytes(64))
    table.deliver(0, 1, frame(Number.DEAL, message))
    assert [(to, sender) for to, sender, _ in table.sent] == [(1, 0)] * 2
    assert beacon.evidence == ()
    assert faults(table, 0) == []
