"""A table on loopback whose terms let clients bet without limits and without dice."""

from consensus.encoding import digest
from node.descriptor import Table, build_descriptor, member_of, sign_accept
from node.game.params import TIMER_MS_MAX, GameParams, encode_params
from node.identity import Keys

BUY_IN = 10**9
BANK = 10**12
SESSIONS_MAX = 1_000

PARAMS = GameParams(
    buy_in=BUY_IN,
    bank=BANK,
    max_sessions=SESSIONS_MAX,
    sessions_per_player=SESSIONS_MAX,
    operations_per_block=65_536,
    betting_min_ms=3_000,
    betting_max_ms=TIMER_MS_MAX,
    thrower_ms=TIMER_MS_MAX,
    absent_ms=TIMER_MS_MAX,
)
"""Nobody rolls, and no timer does it for them."""


def make_keys(nodes: int) -> list[Keys]:
    """Return the same keys for every call, in the order of the members."""
    keys = [Keys(digest("bench", bytes((i,)))) for i in range(nodes)]
    return sorted(keys, key=lambda each: each.consensus.public_key)


def make_table(keys: list[Keys], ports: list[int], params: GameParams = PARAMS) -> Table:
    """Return a table of these keys that all have accepted, on these ports of 127.0.0.1."""
    members = [member_of(each, f"node{i}") for i, each in enumerate(keys)]
    descriptor = build_descriptor("bench", bytes(16), members, encode_params(params))
    accepts = tuple(sign_accept(each, descriptor) for each in keys)
    return Table(descriptor, accepts, tuple((f"127.0.0.1:{port}",) for port in ports))
