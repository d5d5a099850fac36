"""PROTOCOL 9.3, 9.4: what a cheat did is shown by name, at the table and to strangers."""

import json
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from consensus.evidence import OffenceKind
from consensus.signing import verify
from netsim.byzantine import adversary_of
from netsim.playing import PlayingTable
from node.audit import Conviction, audit_folder
from node.cli import run_command
from node.commands.inspect import _member_text
from node.config import Folder
from node.descriptor import save_table
from node.membership import OFFENCES, member_facts
from node.proof import check_bundle
from node.prover import list_bets, prove_bet
from node.replay import chain_of_records
from node.store import Journal

CHEATS = {
    "equivocator": OffenceKind.TWO_NOTARIZE,
    "double-dealer": OffenceKind.TWO_DEALINGS,
    "false-sharer": OffenceKind.FALSE_SHARE,
    "false-dealer": OffenceKind.FALSE_DEALING,
}


def play_with(strategy: str) -> PlayingTable:
    """Return a table for four whose last player was caught, and that went on without it."""
    cheat = adversary_of(strategy, Random(strategy), [3])
    table = PlayingTable(4, 5, adversaries={3: cheat}, described=True, signatures="real")
    while not table.replicas[0].final.membership.epoch:
        assert len(table.rolls) < 20, f"{strategy} is not caught"
        table.play(len(table.rolls) + 1, limit_ms=600_000)
    table.play(len(table.rolls) + 2, limit_ms=600_000)
    return table


@pytest.mark.parametrize("strategy", CHEATS)
def test_a_stranger_is_shown_who_cheated_and_that_the_bets_stand(
    strategy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = play_with(strategy)
    assert table.table is not None
    records = table.network.hosts[0].disk.records
    with closing(Journal(tmp_path, table.chain_id, b"any host")) as journal:
        journal.append(records)
    save_table(Folder(tmp_path).table, table.table)
    member = table.replicas[0].final.membership.members[3]
    [found] = audit_folder(tmp_path, table.chain_id).convictions
    kind = CHEATS[strategy]
    possible = {OFFENCES[kind]}
    if strategy == "equivocator":
        possible = {OFFENCES[one] for one in list(OffenceKind)[:3]}
    assert found.offence in possible
    assert found == Conviction(found.height, member.nickname, found.offence)
    assert 0 < found.height < table.replicas[0].final.height
    facts = member_facts(table.replicas[0].final.membership, 3)
    assert (facts["cheated"], facts["offence"]) == (True, found.offence)
    assert _member_text(facts) == f"player 3 (caught cheating: {found.offence}, no vote)"
    assert run_command(["verify", str(tmp_path)]) == 0
    assert f"cheat   player 3 {found.offence}: proven in block" in capsys.readouterr().out
    assert run_command(["verify", str(tmp_path), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["convictions"]
    assert shown == [{"height": found.height, "name": "player 3", "offence": found.offence}]
    # A bet of the epoch behind the conviction is proven through the seal that came of it.
    chain = chain_of_records(records)
    last_roll = [roll.height for roll in table.results if roll.rolls][-1]
    bets = list_bets(table.table, table.terms, chain)
    bet = [one for one in bets if one.height < last_roll][-1]
    bundle = prove_bet(table.table, table.terms, chain, bet.height, bet.index)
    assert check_bundle(bundle, verify).epochs == 2
