"""Receipts of a real table, checked by their paths, and every way to forge one."""

import json
import subprocess
import sys
from dataclasses import replace
from itertools import accumulate, combinations

import msgspec
import pytest

from consensus.encoding import decode_as, encode
from consensus.light import Trusted
from consensus.messages import Header
from consensus.signing import PublicKey, verify
from netsim.playing import PlayingTable
from node.cli import run_command
from node.config import Folder
from node.descriptor import Table, save_table
from node.errors import OperatorError
from node.game.craps.bets import Kind
from node.game.operations import PlaceBet, Ready
from node.game.receipts import Receipt
from node.proof import BetPart
from node.prover import find_receipt
from node.receipt import ProvedReceipt, ShownReceipt, check_receipt, recipe_of
from node.replay import RefutedError, StoredChain, chain_of_records
from node.steps import Leaf
from node.store import Journal


@pytest.fixture(scope="module")
def played() -> PlayingTable:
    table = PlayingTable(4, seed=3, signatures="ed25519", described=True)
    table.play(2, limit_ms=300_000)
    many = [PlaceBet(0, Kind.PASS, 0, 1)] * 70
    for player in range(4):  # receipts that fill more than one leaf, also in front of others
        table.submit(player, *many, Ready(0))
    table.settle()
    return table


@pytest.fixture(scope="module")
def chain(played: PlayingTable) -> StoredChain:
    return chain_of_records(played.network.hosts[0].disk.records)


def table_of(played: PlayingTable) -> Table:
    assert played.table is not None
    return played.table


def checked(played: PlayingTable, trusted: Trusted, part: BetPart) -> ProvedReceipt:
    shown = ShownReceipt(
        block=part.block, action=part.action, receipt=part.receipt, position=part.position
    )
    identity = PublicKey(table_of(played).descriptor.members[part.player].identity)
    return check_receipt(shown, trusted, part.player, identity, verify)


def test_every_receipt_of_a_chain_is_proved_by_its_path(
    played: PlayingTable, chain: StoredChain
) -> None:
    proved = 0
    for result in played.results[:40]:
        receipts = [(player, seq, one) for player, seq, some in result.actions for one in some]
        for index, (player, seq, receipt) in list(enumerate(receipts))[::23]:
            trusted, part, member = find_receipt(
                table_of(played), played.terms, chain, result.height, index
            )
            found = checked(played, trusted, part)
            assert (found.player, found.seq, found.receipt) == (player, seq, receipt)
            assert member.nickname == table_of(played).descriptor.members[player].nickname
            proved += 1
    assert proved > 10


@pytest.fixture(scope="module")
def crowded(played: PlayingTable, chain: StoredChain) -> tuple[Trusted, BetPart]:
    """The last receipt of the block with the most."""
    height, count = max(
        ((r.height, sum(len(some) for *_, some in r.actions)) for r in played.results),
        key=lambda pair: pair[1],
    )
    trusted, part, _ = find_receipt(table_of(played), played.terms, chain, height, count - 1)
    assert part.receipt.count > 3
    return trusted, part


def test_the_recipe_computes_the_root_of_the_header_with_sha_256_alone(
    crowded: tuple[Trusted, BetPart],
) -> None:
    _, part = crowded
    command = recipe_of(part.receipt).replace("python3", sys.executable, 1)
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    root = decode_as(part.block.header, Header).receipts_root
    assert done.stdout.strip() == root.hex()


def with_leaf(part: BetPart, **changes: object) -> BetPart:
    leaf = msgspec.structs.replace(part.receipt, **changes)
    return msgspec.structs.replace(part, receipt=leaf)


def test_a_forged_receipt_is_refused(
    played: PlayingTable, crowded: tuple[Trusted, BetPart]
) -> None:
    trusted, part = crowded
    player, seq, start, receipts = decode_as(
        part.receipt.content, tuple[int, int, int, tuple[Receipt, ...]]
    )
    lie = encode((player, seq, start, (*receipts[:-1], Receipt(13, (1, 0)))))
    for forged in (
        with_leaf(part, content=lie),
        with_leaf(part, index=(part.receipt.index + 1) % part.receipt.count),
        with_leaf(part, count=part.receipt.count + 1),
        with_leaf(part, path=part.receipt.path[:-1]),
    ):
        with pytest.raises(RefutedError, match="the receipt is not in block"):
            checked(played, trusted, forged)
    with pytest.raises(RefutedError, match="another action"):
        checked(played, trusted, msgspec.structs.replace(part, position=part.position + 1))
    wrong = Leaf(part.action.count, part.action.index, b"a", part.action.path)
    with pytest.raises(RefutedError, match="the action is not in block"):
        checked(played, trusted, msgspec.structs.replace(part, action=wrong))


def test_a_header_that_no_quorum_signed_proves_nothing(
    played: PlayingTable,
    crowded: tuple[Trusted, BetPart],
) -> None:
    trusted, part = crowded
    header = decode_as(part.block.header, Header)
    other = encode(msgspec.structs.replace(header, receipts_root=bytes(32)))
    block = msgspec.structs.replace(part.block, header=other)
    with pytest.raises(RefutedError):
        checked(played, trusted, msgspec.structs.replace(part, block=block))
    with pytest.raises(RefutedError):
        checked(played, replace(trusted, chain_id=bytes(32)), part)


def test_what_is_not_there_is_named(played: PlayingTable, chain: StoredChain) -> None:
    table, terms = table_of(played), played.terms
    with pytest.raises(OperatorError, match="has no operation 9999"):
        find_receipt(table, terms, chain, 2, 9_999)
    with pytest.raises(OperatorError, match="there is no block 99999; the newest is"):
        find_receipt(table, terms, chain, 99_999, 0)


def test_the_command_prints_the_sentence_the_path_and_a_verdict(
    played: PlayingTable, tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str], crowded: tuple[Trusted, BetPart],
) -> None:  # fmt: skip
    folder = Folder(tmp_path_factory.mktemp("node"))
    save_table(folder.table, table_of(played))
    journal = Journal(folder.root, table_of(played).chain_id, b"any host")
    journal.append(played.network.hosts[0].disk.records)
    journal.close()
    height = decode_as(crowded[1].block.header, Header).height
    place = f"{height}.{0}"
    assert run_command(["receipt", place, "--data", str(folder.root), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["height"], facts["verdict"]) == (height, "proved")
    assert {"leaf", "path", "header", "certificate", "sentence", "recipe"} <= facts.keys()
    assert run_command(["receipt", place, "--data", str(folder.root)]) == 0
    assert "under the receipts root of block" in capsys.readouterr().out
    assert run_command(["receipt", f"{height}.9999", "--data", str(folder.root)]) == 2
    assert "has no operation 9999" in capsys.readouterr().err
    assert run_command(["receipt", "12", "--data", str(folder.root)]) == 64


def test_an_action_does_not_get_the_receipt_of_another_one_in_its_block(
    played: PlayingTable, chain: StoredChain
) -> None:
    pairs = (
        (result, first, second)
        for result in played.results
        for first, second in combinations(range(len(result.actions)), 2)
        if result.actions[first][1] == result.actions[second][1]
    )
    shared, first, second = next(pairs)  # two players whose actions have one number
    starts = [0, *accumulate(len(some) for *_, some in shared.actions)]
    table, terms = table_of(played), played.terms
    trusted, one, _ = find_receipt(table, terms, chain, shared.height, starts[first])
    _, other, _ = find_receipt(table, terms, chain, shared.height, starts[second])
    mixed = msgspec.structs.replace(one, receipt=other.receipt)
    with pytest.raises(RefutedError, match="the receipt is of another action"):
        checked(played, trusted, mixed)
    with pytest.raises(RefutedError, match="not signed by the player"):
        checked(played, trusted, msgspec.structs.replace(mixed, player=other.player))
