"""`bitcraps fairness`: what all settled rolls of a table say about its dice."""

import json

import click

from node.commands.inputs import checking_input, data_option, table_of
from node.config import Folder
from node.fairness import FairnessMeter, fairness_facts, fairness_text
from node.inspection import open_store
from node.remembering import outcomes_above
from node.serving import rules_of

ALARMED = 1


@click.command()
@data_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def fairness(folder: Folder, as_json: bool) -> int:
    """Test the dice of a table on every roll in this node's store.

    The dice are recomputed from their proofs. The exit code is 1 if the alarm is raised, which
    fair dice do at one table in a million, however long it plays.
    """
    with checking_input():
        rules = rules_of(table_of(folder))
    with open_store(folder) as store:
        meter = FairnessMeter.of(rules)
        meter.add_all(outcomes_above(store, rules, 0))
    report = meter.report()
    click.echo(json.dumps(fairness_facts(report)) if as_json else fairness_text(report))
    return ALARMED if report.alarm else 0
