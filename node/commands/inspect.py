"""`bitcraps status`: what a node's files can tell, changing nothing."""

import json
from collections.abc import Mapping
from typing import Any

import click
import trio

from consensus.signing import PublicKey, key_id
from consensus.validators import faults_tolerated
from node.addresses import load_book
from node.agreement import RollFacts
from node.commands.inputs import checking_input, data_option, table_of
from node.commands.terms import describe_terms
from node.config import Folder
from node.control import open_control
from node.descriptor import Table
from node.errors import OperatorError
from node.fairness import FairnessMeter, fairness_facts, verdict_text
from node.hall import waiting_text
from node.inspection import (
    find_roll,
    open_store,
    read_members,
    read_why,
    recipe,
    state_root_at,
)
from node.remembering import outcomes_above
from node.serving import params_of, rules_of
from node.terminal import absence_text
from node.waiting import facts_of


@click.command()
@data_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--roll",
    type=click.IntRange(min=1),
    metavar="N",
    help="Print the stored proof of roll N, and a line of Python that recomputes its dice.",
)
@click.option(
    "--session",
    type=click.IntRange(min=0),
    metavar="SERIAL",
    help="With --roll: the game it belongs to, if not the newest one.",
)
@click.option("--why", is_flag=True, help="Say what the table waits for, and whom.")
def status(
    folder: Folder, *, as_json: bool, roll: int | None, session: int | None, why: bool
) -> None:
    """Say where this node stands.

    That comes from its files and, if it runs, from itself.
    """
    with checking_input():
        table = table_of(folder)
        if session is not None and roll is None:
            raise OperatorError("--session belongs to --roll")
        if roll is not None:
            found = find_roll(folder, roll, session)
            click.echo(json.dumps(roll_facts(found)) if as_json else _roll_text(found))
            return
    if why:
        cause = trio.run(_why, folder) or facts_of(read_why(folder))
        click.echo(json.dumps(cause) if as_json else f"{cause['player']}\n{cause['developer']}")
        return
    facts = _facts(folder, table)
    click.echo(json.dumps(facts) if as_json else _text(facts, table))


def roll_facts(roll: RollFacts) -> dict[str, object]:
    """Return a roll as JSON holds it; `recipe` is the line that recomputes the dice."""
    return {
        "session": roll.session,
        "number": roll.number,
        "height": roll.height,
        "dice": list(roll.dice),
        "proof": roll.proof.hex(),
        "recipe": recipe(roll),
    }


def _roll_text(roll: RollFacts) -> str:
    dice = " ".join(map(str, roll.dice))
    return (
        f"roll {roll.number} of the game with serial {roll.session}, settled in block {roll.height}: {dice}\n"
        f"proof {roll.proof.hex()}\n"
        f"{recipe(roll)}"
    )


def _facts(folder: Folder, table: Table) -> dict[str, object]:
    with open_store(folder) as store:
        height = store.final_height()
        root = state_root_at(store, height)
        known = load_book(folder.book, table).members
        me = next((name for key, name in known if key_id(PublicKey(key)) == store.owner), "")
        rules = rules_of(table)
        meter = FairnessMeter.of(rules)
        meter.add_all(outcomes_above(store, rules, 0))
    fairness = meter.report()
    live = trio.run(_live, folder)
    return {
        "table": table.descriptor.name,
        "chain_id": table.chain_id.hex(),
        "members": live["members"] if live else read_members(folder),
        "me": me,
        "height": height,
        "state_root": root,
        "rolls": fairness.rolls,
        "fairness": fairness_facts(fairness),
        "dice": verdict_text(fairness),
        "live": live,
    }


def _member_text(member: Mapping[str, object]) -> str:
    """Return a member's name, and what is out of the ordinary about its vote."""
    notes = []
    if member["cheated"]:
        notes.append(f"caught cheating: {member['offence']}")
    if member["left"]:
        notes.append("left")
    elif not member["votes"]:
        notes.append("waits for a vote" if member["wants_vote"] else "no vote")
    if member["votes"] and member["missed"]:
        notes.append(f"missed {member['missed']} turns")
    return f"{member['name']} ({', '.join(notes)})" if notes else str(member["name"])


async def _live(folder: Folder) -> dict[str, Any] | None:
    """Return what the running node says of itself, None if none runs."""
    try:
        client = await open_control(folder.root)
    except OperatorError:
        return None
    async with client:
        return await client.status()


async def _why(folder: Folder) -> dict[str, object] | None:
    """Return why the running node waits, None if none runs."""
    try:
        client = await open_control(folder.root)
    except OperatorError:
        return None
    async with client:
        return await client.why()


def _text(facts: dict[str, object], table: Table) -> str:
    members = facts["members"]
    assert isinstance(members, list), "members are a list"
    staying = [member for member in members if not member["left"]]
    voters = sum(member["votes"] for member in members)
    absence = absence_text(len(staying), faults_tolerated(voters), voters)
    lines = [
        f"table   {facts['table']} with {', '.join(map(_member_text, members))}",
        f"here    {facts['me']}",
        f"block   {facts['height']}, state root {facts['state_root']}",
        f"rolls   {facts['rolls']} settled",
        f"dice    {facts['dice']}",
        f"terms   {describe_terms(params_of(table), rules_of(table))}",
        f"absent  {absence}",
        f"node    {_node_text(facts['live'])}",
    ]
    return "\n".join(lines)


def _node_text(live: object) -> str:
    match live:
        case None:
            return "does not run"
        case {"waits_for": int(more), "away": list(away)} if more:
            return f"runs. {waiting_text(more, away)}"
        case _:
            return "runs"
