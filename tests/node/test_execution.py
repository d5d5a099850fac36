"""PROTOCOL 9: what a leader puts into a block fits the block."""

import pytest

from consensus.encoding import digest
from consensus.engine import genesis
from consensus.messages import BODY_BYTES_MAX
from consensus.signing import SigningKey, verify
from node.execution import Execution, Terms, _Change, genesis_state
from node.game.operations import PlaceBet
from node.game.params import GameParams
from node.membership import Membership, founder
from node.mempool import OPERATIONS_PER_ACTION_MAX, Mempool, sign_action

CHAIN = digest("test", b"execution")
PLAYERS = 16


@pytest.mark.parametrize("kib", [0, 100, 300, 380])
def test_system_items_go_first_and_leave_actions_only_the_room_behind_them(
    kib: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Real items of this size need a hundred voters; what they say does not matter here.
    monkeypatch.setattr(_Change, "take_item", lambda _change, _item: None)
    keys = [SigningKey(digest("key", bytes((i,)))) for i in range(PLAYERS)]
    members = [
        founder(
            key.public_key,
            f"player {i}",
            SigningKey(digest("vote", bytes((i,)))).public_key,
            digest("box", bytes((i,))),
            votes=True,
        )
        for i, key in enumerate(keys)
    ]
    terms = Terms(CHAIN, GameParams(), verify)
    mempool = Mempool(CHAIN, verify)
    mempool.prune([0] * PLAYERS)
    for player, key in enumerate(keys):
        bets = [PlaceBet(1023, 255, 255, 2**53 - 1)] * OPERATIONS_PER_ACTION_MAX
        mempool.add(sign_action(key, CHAIN, player, 1, bets))
    items = (bytes(10 << 10),) * (kib // 10)
    state = genesis_state(terms, Membership.genesis(members, range(PLAYERS)))
    base = genesis(CHAIN).hash
    built = Execution(terms, base, state, mempool, lambda _state: items).build(base, 1, 1_000, 1)
    assert built.system == items
    assert built.actions
    size = sum(len(one) for one in (*built.system, *built.actions))
    assert size <= BODY_BYTES_MAX
