"""`bitcraps verify` and `bitcraps prove`: what holds without trusting anybody, and for strangers.

Their exit codes are verdicts: 0 it holds, 1 it is refuted, 2 nothing can be said, 64 usage.
"""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import click

from consensus.signing import PublicKey
from node.audit import Audited, audit_file, audit_folder, chain_of_store, terms_of
from node.commands.inputs import data_option, table_of
from node.config import Folder
from node.errors import OperatorError
from node.inspection import open_store
from node.proof import Proved, ProvedBet
from node.prover import find_receipt, list_bets, prove_bet, prove_roll
from node.receipt import ShownReceipt, check_receipt, receipt_facts, receipt_text
from node.replay import MissingError, RefutedError
from node.serving import rules_of

PROVED, REFUTED, UNKNOWN, USAGE = 0, 1, 2, 64


class VerdictUsageError(click.UsageError):
    """A usage error of a command whose exit code 2 means "cannot tell"."""

    exit_code = USAGE


def _to_table_id(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> bytes | None:
    if value is None:
        return None
    if not re.fullmatch(r"[0-9a-fA-F]{64}", value):
        raise click.BadParameter(f"a table id has 64 hexadecimal digits, not {value[:70]!r}")
    return bytes.fromhex(value)


def _to_bet_id(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> tuple[int, int] | None:
    if value is None:
        return None
    found = re.fullmatch(r"([0-9]{1,15})\.([0-9]{1,5})", value)
    if found is None:
        raise click.BadParameter(
            f"bets and operations are named like 12.0 (block, operation), not {value[:40]!r}"
        )
    return int(found[1]), int(found[2])


@click.command()
@click.argument("path", metavar="[FILE-OR-DIR]", required=False, type=click.Path(path_type=Path))
@data_option
@click.option(
    "--table",
    "table_id",
    callback=_to_table_id,
    metavar="ID",
    help="Accept only what is about this table.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def verify(path: Path | None, folder: Folder, *, table_id: bytes | None, as_json: bool) -> int:
    """Check a proof or the folder of any node.

    It needs no network, and no trust but in the table's id. In a folder, by default this node's own, every block is executed again from the first one. Exit
    code 0: proved, 1: refuted, 2: cannot tell.
    """
    target = folder.root if path is None else path

    def check() -> dict[str, object]:
        if target.is_dir():
            return _facts_of_folder(audit_folder(target, table_id))
        return _facts_of_proof(audit_file(target, table_id))

    code, facts = _judge(check)
    if as_json:
        click.echo(json.dumps(facts))
    elif code == PROVED:
        click.echo(_text(facts))
    else:
        click.echo(f"{facts['verdict']}: {facts['why']}", err=True)
    return code


@click.command()
@data_option
@click.option(
    "--bet",
    callback=_to_bet_id,
    metavar="HEIGHT.INDEX",
    help="The bet that this operation of a block placed.",
)
@click.option("--roll", type=click.IntRange(min=1), metavar="N", help="Roll N of a game.")
@click.option(
    "--session",
    type=click.IntRange(min=0),
    metavar="SERIAL",
    help="With --roll: the game it belongs to, if not the newest one.",
)
@click.option("--list", "lists", is_flag=True, help="List the bets that can be named.")
def prove(
    folder: Folder,
    *,
    bet: tuple[int, int] | None,
    roll: int | None,
    session: int | None,
    lists: bool,
) -> int:
    """Write a proof of one bet or roll, for `verify` anywhere.

    It goes to standard output. It is made from this node's own blocks, which are checked and executed again for it.
    """
    if (bet is not None) + (roll is not None) + lists != 1:
        raise VerdictUsageError("name what to prove: --bet HEIGHT.INDEX (see --list) or --roll N")
    if session is not None and roll is None:
        raise VerdictUsageError("--session belongs to --roll")

    def make() -> dict[str, object]:
        table = table_of(folder)
        with open_store(folder) as store:
            terms, chain = terms_of(table), chain_of_store(store)
            if lists:
                rules = rules_of(table)
                lines = (
                    f"{one.height}.{one.index}\t{one.player}\t{rules.bet_name(one.key)} {one.amount}\n"
                    for one in list_bets(table, terms, chain)
                )
                return {"output": "".join(lines).encode()}
            if bet is not None:
                return {"output": prove_bet(table, terms, chain, *bet)}
            assert roll is not None, "one of both is named"
            return {"output": prove_roll(table, terms, chain, roll, session)}

    code, facts = _judge(make)
    if code != PROVED:
        click.echo(f"bitcraps: {facts['why']}", err=True)
        return code
    output = facts["output"]
    assert isinstance(output, bytes), "a proof is bytes"
    sys.stdout.buffer.write(output)
    sys.stdout.buffer.flush()
    return PROVED


@click.command()
@click.argument("operation", metavar="HEIGHT.INDEX", callback=_to_bet_id)
@data_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def receipt(operation: tuple[int, int], folder: Folder, *, as_json: bool) -> int:
    """Show what became of one operation, with its proof.

    That is the path to the receipts root of its block. Operations count from 0 in their block. The chain up to it is executed again for this.
    """

    def make() -> dict[str, object]:
        table = table_of(folder)
        with open_store(folder) as store:
            terms, chain = terms_of(table), chain_of_store(store)
            trusted, part, member = find_receipt(table, terms, chain, *operation)
        shown = ShownReceipt(
            block=part.block, action=part.action, receipt=part.receipt, position=part.position
        )
        identity = PublicKey(member.identity)
        found = check_receipt(shown, trusted, part.player, identity, terms.verify)
        rules = rules_of(table)
        if as_json:
            return receipt_facts(found, member.nickname, shown, rules)
        return {"text": receipt_text(found, member.nickname, part.receipt, rules)}

    code, facts = _judge(make)
    if as_json:
        click.echo(json.dumps(facts))
    elif code == PROVED:
        click.echo(facts["text"])
    else:
        click.echo(f"bitcraps: {facts['why']}", err=True)
    return code


def _judge(check: Callable[[], dict[str, object]]) -> tuple[int, dict[str, object]]:
    """Return the exit code and what was found, or why nothing was."""
    try:
        return PROVED, {"verdict": "proved", **check()}
    except RefutedError as error:
        return REFUTED, {"verdict": "refuted", "why": str(error)}
    except (MissingError, OperatorError) as error:
        return UNKNOWN, {"verdict": "cannot tell", "why": str(error)}


def _facts_of_folder(found: Audited) -> dict[str, object]:
    return {
        "table": found.table.descriptor.name,
        "table_id": found.table.chain_id.hex(),
        "blocks": found.blocks,
        "epochs": found.epochs,
        "actions": found.actions,
        "rolls": found.rolls,
        "payouts": found.payouts,
        "chips": found.chips,
        "signatures": found.signatures,
        "convictions": [
            {"height": one.height, "name": one.name, "offence": one.offence}
            for one in found.convictions
        ],
    }


def _facts_of_proof(found: Proved) -> dict[str, object]:
    last = found.rolls[-1]
    facts: dict[str, object] = {
        "table": found.table.descriptor.name,
        "table_id": found.table.chain_id.hex(),
        "epochs": found.epochs,
        "game": last.result.serial,
        "rolls": [
            {
                "number": roll.result.number,
                "height": roll.height,
                "dice": list(roll.result.dice),
                "payouts": len(roll.result.bets),
            }
            for roll in found.rolls
        ],
    }
    if found.bet is not None:
        facts["bet"] = _facts_of_bet(found, found.bet)
    return facts


def _facts_of_bet(found: Proved, bet: ProvedBet) -> dict[str, object]:
    return {
        "player": bet.name,
        "bet": found.rules.bet_name(bet.key),
        "amount": bet.amount,
        "height": bet.height,
        "won": bet.chips,
    }


def _convictions(facts: dict[str, object]) -> list[dict[str, object]]:
    found = facts["convictions"]
    assert isinstance(found, list), "convictions are a list"
    return found


def _text(facts: dict[str, object]) -> str:
    lines = [f"proved  about table {facts['table']} ({facts['table_id']})"]
    match facts:
        case {"blocks": blocks}:
            lines += [
                f"blocks  {blocks:,} executed again, in {_epochs(facts['epochs'])}; all are final",
                f"signed  {facts['signatures']:,} signatures; {facts['actions']:,} actions",
                f"rolls   {facts['rolls']:,} with dice and {facts['payouts']:,} pays worked out anew",
                f"chips   {facts['chips']:,}, as many as were minted, after every block",
                *(
                    f"cheat   {one['name']} {one['offence']}: proven in block {one['height']:,}"
                    for one in _convictions(facts)
                ),
            ]
        case {"rolls": list(rolls)}:
            lines += [
                f"roll    {roll['number']} of game {facts['game']} is {_dice(roll['dice'])}, "
                f"in block {roll['height']}; {roll['payouts']} pays worked out anew"
                for roll in rolls
            ]
        case _:
            pass
    match facts:
        case {"bet": {"player": player, "bet": name, "amount": amount, "height": at, "won": won}}:
            became = f"won {won:,}" if won > 0 else f"lost {-won:,}" if won else "came back"
            lines.append(
                f"bet     {player} bet {name} {amount:,} in block {at}; the bet {became} in the end"
            )
        case _:
            pass
    return "\n".join(lines)


def _epochs(count: object) -> str:
    return "1 epoch" if count == 1 else f"{count:,} epochs"


def _dice(dice: list[int]) -> str:
    return " ".join(map(str, dice))
