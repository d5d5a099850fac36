"""PROTOCOL 9.2: a write that went astray is noticed, and the node begins anew above its mark."""

import random

import pytest

from consensus.effects import ActionLogged, BlockLogged, VoteLogged
from netsim.host import Disk, DiskError
from netsim.scenario import parse_scenario
from netsim.simulation import simulate
from node.epoch import NO_FLOOR

ASTRAY = """
name = "astray"
duration = "6s"
[nodes]
count = 4
[[fault]]
kind = "misdirected"
at = "2s"
for = "1s"
nodes = [{node}]
lost = {lost}
[expect]
marks = ["quarantines", "records_lost", "restarts"]
"""


def vote(view: int) -> VoteLogged:
    return VoteLogged(kind=1, epoch=0, view=view, digest=bytes(32), envelope=b"v%d" % view)


@pytest.mark.parametrize("lost", ["true", "false"])
@pytest.mark.parametrize("node", [0, 3])
def test_a_node_whose_write_went_astray_begins_anew_and_contradicts_nothing(
    node: int, lost: str
) -> None:
    outcome, _ = simulate(parse_scenario(ASTRAY.format(node=node, lost=lost)), 1)
    assert (outcome.violations, outcome.verdict) == ((), "ok")
    assert outcome.marks["quarantines"] == 1


@pytest.mark.parametrize(("overwrites", "gone"), [(False, 2), (True, 3)])
def test_a_write_that_went_astray_is_missed_once_another_followed(
    overwrites: bool, gone: int
) -> None:
    disk = Disk()
    block = BlockLogged(hash=b"h", height=1, view=9, header=b"", body=b"")
    disk.append([vote(view) for view in range(1, 9)])
    disk.misdirect(random.Random(1), overwrites=overwrites)
    disk.append([vote(9), block])
    disk.check()
    assert disk.block(b"h") is not None
    disk.append([vote(10)])
    disk.append([vote(11)])
    assert len(disk.records) == 12 - gone
    with pytest.raises(DiskError, match=f"its disk has {12 - gone} records of 12"):
        disk.check()
    with pytest.raises(DiskError, match="a stored block is damaged"):
        disk.block(b"h")
    assert disk.block(b"i") is None


def test_a_last_write_that_went_astray_is_only_late() -> None:
    disk = Disk()
    disk.misdirect(random.Random(1), overwrites=False)
    disk.append([vote(1)])
    disk.power_cut(random.Random(1))
    disk.append([vote(2)])
    disk.check()
    assert len(disk.records) == 2


def test_a_power_cut_that_takes_what_was_cached_hides_no_other_loss() -> None:
    disk = Disk()
    disk.misdirect(random.Random(1), overwrites=False)
    disk.append([vote(1)])
    disk.append([vote(2)])
    disk.lying = True
    disk.append([vote(3)])
    disk.power_cut(random.Random(1))
    with pytest.raises(DiskError):
        disk.check()


def test_a_store_that_was_moved_away_leaves_the_mark() -> None:
    disk = Disk()
    disk.append([vote(1), ActionLogged(seq=1, envelope=b"a")])
    assert disk.floor == NO_FLOOR
    assert disk.begin_anew() == 2
    assert disk.floor == (0, 33)
    disk.check()
    disk.append([vote(34)])
    assert disk.floor == NO_FLOOR
