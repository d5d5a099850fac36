"""PROTOCOL 10: who missed thousands of blocks, and who comes with nothing, learn from one honest peer.

`make absence` does the same with 10,000 blocks and the distances of real tables.
"""

import pytest

from netsim.absence import Absence
from node import replica as replica_module, state_sync

BLOCKS = 100


@pytest.mark.slow
@pytest.mark.parametrize("states", [True, False])
def test_one_honest_peer_is_enough_for_who_was_away_and_for_who_is_new(
    states: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_sync, "BEHIND_BLOCKS", BLOCKS // 2)
    monkeypatch.setattr(replica_module, "BEHIND_BLOCKS", BLOCKS // 2)
    monkeypatch.setattr(replica_module, "SNAPSHOT_BLOCKS", BLOCKS // 4)
    absent = Absence(1, states=states).run(BLOCKS)
    assert absent.late.blocks >= BLOCKS
    assert (absent.late.by_state, absent.newcomer.by_state) == (states, states)
    assert absent.epochs >= 3
    assert absent.faults, "the bent bytes were noticed"
