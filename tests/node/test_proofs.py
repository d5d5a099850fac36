"""What a stranger can check: bundles and whole folders, honest and forged in every way."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import pytest

from consensus.effects import BlockLogged, FinalLogged, LogRecord, RollLogged, SnapshotLogged
from consensus.encoding import decode_as, encode
from consensus.light import FinalHeader, Trusted, check_final, trust_genesis
from consensus.merkle import MerkleTree
from consensus.messages import Certificate, Flag, Header, block_hash
from consensus.signing import verify
from consensus.validators import bitmap, members_of
from netsim.playing import PlayingTable
from node.audit import audit_file, audit_folder
from node.cli import run_command
from node.config import Folder
from node.descriptor import Table, save_table
from node.errors import OperatorError
from node.game.receipts import RollResult
from node.membership import EPOCH_MS_MIN, SetVote
from node.proof import MAGIC, Bundle, check_bundle
from node.prover import PlacedBet, list_bets, prove_bet, prove_roll
from node.replay import (
    MissingError,
    RefutedError,
    Step,
    StoredChain,
    chain_of_records,
    finality_of,
    replay,
)
from node.steps import Leaf
from node.store import STORE_FILE, Final, Journal

Forge: TypeAlias = Callable[[RollResult], RollResult]
Change: TypeAlias = Callable[[LogRecord], LogRecord | None]
Written: TypeAlias = Callable[..., Path]
"""Writes a host's journal to a folder, changed on the way if a `Change` is given."""

ROOT = Path(__file__).parent.parent.parent
BUNDLE_BYTES = 16 << 10
"""What a bet at a table for four may take."""


@pytest.fixture(scope="module")
def played() -> PlayingTable:
    """A table for four, with Ed25519, that changed its voters twice while bets went on."""
    table = PlayingTable(4, seed=1, signatures="ed25519", described=True)
    table.play(3, limit_ms=300_000)
    for vote, rolls in ((0, 5), (1, 7)):
        table.ask(2, SetVote(vote))
        table.network.run(table.network.now_ms + EPOCH_MS_MIN + 5_000)
        table.play(rolls, limit_ms=300_000)
    table.settle()
    assert table.replicas[0].final.membership.epoch == 2
    return table


@pytest.fixture(scope="module")
def chain(played: PlayingTable) -> StoredChain:
    return chain_of_records(played.network.hosts[0].disk.records)


@pytest.fixture(scope="module")
def bets(played: PlayingTable, chain: StoredChain) -> list[PlacedBet]:
    return list(list_bets(table_of(played), played.terms, chain))


@pytest.fixture(scope="module")
def bundle(played: PlayingTable, chain: StoredChain, bets: list[PlacedBet]) -> bytes:
    """The proof of a bet in the last epoch, as bytes."""
    heights = [roll.height for roll in played.results if roll.rolls]
    last = [bet for bet in bets if bet.height < heights[-1]][-1]
    return prove_bet(table_of(played), played.terms, chain, last.height, last.index)


def table_of(played: PlayingTable) -> Table:
    assert played.table is not None, "the table is described"
    return played.table


def opened(data: bytes) -> Bundle:
    return decode_as(data[len(MAGIC) :], Bundle)


def with_parts(data: bytes, **parts: Any) -> bytes:
    return MAGIC + encode(msgspec.structs.replace(opened(data), **parts))


def with_roll(data: bytes, **parts: Any) -> bytes:
    bundle = opened(data)
    return with_parts(data, rolls=(msgspec.structs.replace(bundle.rolls[0], **parts),))


def steps(played: PlayingTable, chain: StoredChain) -> list[Step]:
    return list(replay(played.terms, played._members, played._voters, chain))


def refuted(data: bytes, match: str) -> None:
    with pytest.raises(RefutedError, match=match):
        check_bundle(data, verify)


def test_every_decided_bet_is_proved_with_what_it_won_in_under_16_kib(
    played: PlayingTable, chain: StoredChain, bets: list[PlacedBet]
) -> None:
    epochs = set()
    for bet in bets[::9]:
        try:
            data = prove_bet(table_of(played), played.terms, chain, bet.height, bet.index)
        except OperatorError:
            continue  # it is not decided yet
        proved = check_bundle(data, verify)
        assert len(data) < BUNDLE_BYTES
        assert proved.bet is not None
        assert (proved.bet.name, proved.bet.key) == (bet.player, bet.key)
        assert proved.bet.amount == bet.amount
        paid = [row for result in played.results for roll in result.rolls
                if roll.number == proved.rolls[-1].result.number for row in roll.bets
                if (played._members[row.player].nickname, row.kind) == (bet.player, bet.key.kind)
                and (row.lost or row.profit or row.returned)]  # fmt: skip
        assert proved.bet.chips == paid[0].profit - paid[0].lost
        epochs.add(proved.epochs)
    assert epochs == {1, 2, 3}


def test_a_change_of_voters_adds_500_bytes_to_a_proof(bundle: bytes) -> None:
    steps = opened(bundle).epochs
    assert [len(step.tails) for step in steps] == [0, 0]
    assert all(len(encode(step)) <= 500 for step in steps)


def test_every_roll_is_proved_with_its_dice(played: PlayingTable, chain: StoredChain) -> None:
    epochs = set()
    for number, roll in enumerate(played.rolls, 1):
        proved = check_bundle(
            prove_roll(table_of(played), played.terms, chain, number, None), verify
        )
        assert proved.rolls[0].result == roll
        assert proved.bet is None
        epochs.add(proved.epochs)
    assert epochs == {1, 2, 3}, "the ends of later epochs prove nothing of a roll"


def test_no_byte_of_a_proof_can_be_changed(bundle: bytes) -> None:
    for at in range(0, len(bundle), 11):
        for bit in (1, 128):
            forged = bytearray(bundle)
            forged[at] ^= bit
            with pytest.raises((RefutedError, MissingError)):
                check_bundle(bytes(forged), verify)


def test_a_proof_that_is_cut_off_or_longer_proves_nothing(bundle: bytes) -> None:
    for size in range(0, len(bundle), 97):
        with pytest.raises(MissingError):
            check_bundle(bundle[:size], verify)
    with pytest.raises(MissingError):
        check_bundle(bundle + b"\0", verify)


def forge_result(
    data: bytes, chain: StoredChain, played: PlayingTable, forge: Forge
) -> tuple[Leaf, FinalHeader]:
    """Change a roll's result and all that the forger can: the receipts root of its block too."""
    roll = opened(data).rolls[0]
    result = forge(decode_as(roll.result.content, RollResult))
    tree = MerkleTree([encode(result)])
    leaf = Leaf(1, 0, encode(result), tree.proof(0))
    header = msgspec.structs.replace(
        decode_as(roll.settle.header, Header), receipts_root=tree.root()
    )
    settle = msgspec.structs.replace(roll.settle, header=encode(header))
    return leaf, settle


def pay_more(result: RollResult) -> RollResult:
    first, *others = result.bets
    more = msgspec.structs.replace(first, profit=first.profit + 1, returned=first.returned + 1)
    return msgspec.structs.replace(result, bets=(more, *others))


def test_forged_pays_and_dice_are_refuted(
    bundle: bytes, chain: StoredChain, played: PlayingTable
) -> None:
    def other_dice(result: RollResult) -> RollResult:
        return msgspec.structs.replace(result, dice=(6, 6))

    for forge in (pay_more, other_dice):
        leaf, settle = forge_result(bundle, chain, played, forge)
        refuted(with_roll(bundle, result=leaf), "not under the receipts")
        refuted(with_roll(bundle, result=leaf, settle=settle), "not final")


@pytest.mark.parametrize(
    ("forge", "match"),
    [(pay_more, "pays of roll"), (lambda r: msgspec.structs.replace(r, dice=(6, 6)), "dice are")],
)
def test_pays_and_dice_are_worked_out_even_if_a_quorum_signed_others(
    bundle: bytes,
    chain: StoredChain,
    played: PlayingTable,
    forge: Forge,
    match: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Let the path to the receipts root pass, as if all voters had executed it wrong."""
    leaf, _ = forge_result(bundle, chain, played, forge)
    under = Leaf.is_under
    monkeypatch.setattr(
        Leaf, "is_under", lambda self, root: self.content == leaf.content or under(self, root)
    )
    refuted(with_roll(bundle, result=leaf), match)


def test_a_certificate_of_too_few_signers_is_refuted(bundle: bytes) -> None:
    settle = opened(bundle).rolls[0].settle
    certificate = decode_as(settle.certificate, Certificate)
    signers = members_of(certificate.signers, 4)
    assert signers is not None
    two = msgspec.structs.replace(
        certificate, signers=bitmap(signers[:2], 4), signatures=certificate.signatures[:2]
    )
    twice = msgspec.structs.replace(
        certificate, signatures=(certificate.signatures[0],) * len(signers)
    )
    for forged in (two, twice):
        weak = msgspec.structs.replace(settle, certificate=encode(forged))
        refuted(with_roll(bundle, settle=weak), "not signed by 3 of the 4 voters")


def test_keys_of_another_epoch_prove_nothing(bundle: bytes) -> None:
    epochs = opened(bundle).epochs
    assert len(epochs) == 2
    refuted(with_parts(bundle, epochs=epochs[:1]), "voters are not proved")
    unsigned = "^the seal of epoch .* is not signed by 3 of the"
    refuted(with_parts(bundle, epochs=epochs[1:]), unsigned)
    refuted(with_parts(bundle, epochs=(epochs[0], epochs[0])), "is not above the seal at")
    swapped = msgspec.structs.replace(epochs[1], voters=epochs[0].voters)
    refuted(with_parts(bundle, epochs=(epochs[0], swapped)), unsigned)


def test_a_roll_of_other_blocks_or_secrets_is_refuted(
    bundle: bytes, played: PlayingTable, chain: StoredChain
) -> None:
    other = opened(prove_roll(table_of(played), played.terms, chain, 6, None)).rolls[0]
    refuted(with_roll(bundle, item=other.item), "opened secrets are not in")
    refuted(with_roll(bundle, close=other.close), "not that under the state root")
    refuted(with_roll(bundle, seats=other.seats), "seats are not those")
    refuted(with_parts(bundle, rolls=(other,)), "lie on the layout|younger|did nothing|before")


def test_a_tail_is_no_block_of_the_chain(played: PlayingTable, chain: StoredChain) -> None:
    """Tails make a seal final and are thrown away: nothing about them may be proved."""
    keys = sorted(member.consensus_key for member in played._members)
    trusted = trust_genesis(played.chain_id, keys)
    proof = finality_of(chain, next(
        step.header.height for step in steps(played, chain) if step.header.flags == Flag.SEAL
    ))  # fmt: skip
    assert proof is not None
    tail = msgspec.structs.replace(decode_as(proof.header, Header), flags=Flag.TAIL)
    assert isinstance(trusted, Trusted), trusted
    why = check_final(trusted, FinalHeader(encode(tail), (), proof.certificate), verify)
    assert isinstance(why, str)
    assert "tail" in why


# Folders.


@pytest.fixture
def folder(played: PlayingTable, tmp_path: Path) -> Written:
    """Write a host's journal to a folder, `change`d on the way."""

    def write(change: Change = lambda record: record) -> Path:
        root = tmp_path / "node"
        with closing(Journal(root, played.chain_id, b"any host")) as journal:
            records = map(change, played.network.hosts[0].disk.records)
            journal.append([record for record in records if record is not None])
        save_table(Folder(root).table, table_of(played))
        return root

    return write


def test_a_whole_folder_is_proved(
    folder: Written, played: PlayingTable, chain: StoredChain
) -> None:
    found = audit_folder(folder(), played.chain_id)
    assert (found.blocks, found.epochs, found.rolls) == (chain.newest, 3, len(played.rolls))
    assert found.payouts == sum(len(roll.bets) for roll in played.rolls)
    assert found.chips == played.replicas[0].final.game.minted
    assert found.signatures > 3 * 2 * chain.newest


def test_another_table_is_refuted(folder: Written, bundle: bytes, tmp_path: Path) -> None:
    with pytest.raises(RefutedError, match="not 0000"):
        audit_folder(folder(), bytes(32))
    path = tmp_path / "bet.proof"
    path.write_bytes(bundle)
    with pytest.raises(RefutedError, match="not 0000"):
        audit_file(path, bytes(32))


def changed(kind: type[LogRecord], at: int, **parts: Any) -> Change:
    """Return a change of the `at`-th record of a kind."""
    seen = 0

    def change(record: LogRecord) -> LogRecord | None:
        nonlocal seen
        if not isinstance(record, kind):
            return record
        seen += 1
        return msgspec.structs.replace(record, **parts) if seen == at else record

    return change


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (changed(RollLogged, 3, proof=b"other"), "stored proof of roll 3"),
        (changed(RollLogged, 3, number=99), "stored proof of roll 99"),
        (changed(SnapshotLogged, 2, state=b"other"), "snapshot"),
        (changed(SnapshotLogged, 2, hash=bytes(32)), "snapshot"),
        (changed(FinalLogged, 20, certificate=b"\x80"), "block 20: its certificate"),
    ],
)
def test_what_a_node_stored_beside_its_blocks_is_held_against_them(
    folder: Written, played: PlayingTable, change: Change, match: str
) -> None:
    # A change counts what it has seen, so it serves one test only.
    with pytest.raises(RefutedError, match=match):
        audit_folder(folder(change), None)


def with_final(chain: StoredChain, at: int, final: Final) -> StoredChain:
    """Return a chain that shows another final block at one height."""
    return replace(chain, final=lambda height: final if height == at else chain.final(height))


def test_a_forged_block_is_refuted_with_its_height(
    played: PlayingTable, chain: StoredChain
) -> None:
    """The forger keeps every hash in order, as far as it can without the voters."""
    blocks = {one.header.height: one for one in steps(played, chain)}
    for forge, match in (
        ({"state_root": bytes(32)}, "executed again, state root differs"),
        ({"receipts_root": bytes(32)}, "executed again, receipts root differs"),
        ({"proposer": 9}, "not by the leader"),
        ({"time_ms": 0}, "time is not after"),
        ({"epoch": 1}, "is of epoch 1, not 0"),
        ({"chain_id": bytes(32)}, "another table"),
        ({"body_hash": bytes(32)}, "names another body"),
        ({"parent_hash": bytes(32)}, "names another parent"),
        ({"view": blocks[9].header.view + 1}, "leader|nullifications"),
    ):
        header = encode(msgspec.structs.replace(blocks[9].header, **forge))
        forged = blocks[9].final._replace(header=header, hash=block_hash(header), certificate=b"")
        shown = with_final(chain, 9, forged)
        with pytest.raises(RefutedError, match=f"block 9: .*({match})"):
            steps(played, shown)


def test_a_block_with_the_certificate_of_another_is_refuted(
    played: PlayingTable, chain: StoredChain
) -> None:
    target, other = chain.final(12), chain.final(11)
    assert target is not None
    assert other is not None
    nobody = with_final(chain, 12, target._replace(certificate=other.certificate))
    with pytest.raises(RefutedError, match="block 12: its certificate is of epoch"):
        steps(played, nobody)


def delete(root: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(root / STORE_FILE)) as db:
        db.execute(statement, values)
        db.commit()


def test_missing_and_damaged_blocks_are_named(folder: Written) -> None:
    root = folder()
    delete(root, "DELETE FROM blocks WHERE height = 7")
    with pytest.raises(MissingError, match=r"block 7 cannot be read: .*height 7 is missing"):
        audit_folder(root, None)
    delete(root, "UPDATE blocks SET body = x'80' WHERE height = 5")
    with pytest.raises(MissingError, match=r"block 5 cannot be read: .*does not fit its hash"):
        audit_folder(root, None)


def test_a_newest_block_that_no_certificate_shows_final_is_not_proved(
    folder: Written, chain: StoredChain
) -> None:
    def drop(record: LogRecord) -> LogRecord | None:
        if isinstance(record, FinalLogged) and record.height == chain.newest:
            return msgspec.structs.replace(record, certificate=b"")
        return record

    with pytest.raises(MissingError, match=f"block {chain.newest} final"):
        audit_folder(folder(drop), None)


def test_an_empty_folder_proves_nothing(tmp_path: Path) -> None:
    with pytest.raises(MissingError):
        audit_folder(tmp_path, None)


def test_a_journal_without_a_block_proves_nothing(folder: Written) -> None:
    def drop(record: LogRecord) -> LogRecord | None:
        return None if not isinstance(record, BlockLogged) or record.height else record

    with pytest.raises(MissingError, match="no block yet"):
        audit_folder(folder(drop), None)


# The commands.


def test_the_exit_code_is_the_verdict(
    folder: Written,
    bundle: bytes,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    played: PlayingTable,
) -> None:
    root, path = folder(), tmp_path / "bet.proof"
    path.write_bytes(bundle)
    assert run_command(["verify", str(root)]) == 0
    assert run_command(["verify", str(path), "--table", played.chain_id.hex()]) == 0
    assert played.chain_id.hex() in capsys.readouterr().out
    assert run_command(["verify", str(path), "--table", "00" * 32]) == 1
    path.write_bytes(bundle[:-1])
    assert run_command(["verify", "--json", str(path)]) == 2
    assert json.loads(capsys.readouterr().out)["verdict"] == "cannot tell"
    assert run_command(["verify", str(path), "--table", "zz"]) == 64
    assert run_command(["verify", "--data", str(root)]) == 0
    assert run_command(["verify", "--nonsense"]) == 64
    assert run_command(["prove", "--data", str(root)]) == 64
    assert run_command(["prove", "--data", str(root), "--bet", "9999.0"]) == 2
    assert run_command(["prove", "--data", str(root), "--bet", "twelve"]) == 64
    assert run_command(["prove", "--data", str(root), "--bet", "9.0", "--session", "1"]) == 64
    assert run_command(["prove", "--data", str(root), "--roll", "1", "--session", "1"]) == 2


def test_real_nodes_prove_bets_to_strangers(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "node"]
    run = [*words, "demo", "--nodes", "4", "--rolls", "2", "--keep", str(tmp_path), "--json"]
    subprocess.run(run, cwd=ROOT, check=True, capture_output=True, timeout=60)
    for node in sorted(tmp_path.iterdir()):
        done = subprocess.run(
            [*words, "verify", node], cwd=ROOT, check=False, capture_output=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
    listed = subprocess.run([*words, "prove", "--data", node, "--list"], cwd=ROOT, check=True,
                            capture_output=True, timeout=60)  # fmt: skip
    proof = tmp_path / "bet.proof"
    for line in listed.stdout.decode().splitlines():
        bet, *_ = line.split("\t")
        made = subprocess.run([*words, "prove", "--data", node, "--bet", bet], cwd=ROOT, check=False,
                              capture_output=True, timeout=60)  # fmt: skip
        if made.returncode == 0:
            proof.write_bytes(made.stdout)
            break
    assert 1_000 < proof.stat().st_size < BUNDLE_BYTES
    shown = subprocess.run([*words, "verify", "--json", proof], cwd=ROOT, check=True,
                           capture_output=True, timeout=60)  # fmt: skip
    assert json.loads(shown.stdout)["bet"]["player"]
