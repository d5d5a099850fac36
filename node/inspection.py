"""What a folder can show without its node: where it stands, its rolls, and the proof of each.

Reading changes nothing and works beside a running node. A standing is worked out again from the
journal, as a node that starts would do, so it is this program's result and not a stored claim.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from consensus.beacon_items import recompute_seed
from consensus.effects import VoteLogged
from consensus.encoding import DecodeError, decode_as, digest
from consensus.messages import Header
from node.agreement import RollFacts, Standing
from node.config import Folder
from node.descriptor import load_table
from node.errors import OperatorError
from node.game.rules import GameRules
from node.identity import Keys
from node.membership import member_facts
from node.replica import Replica
from node.serving import rules_of, setup_of
from node.store import Store
from node.waiting import Why, explain_down

ROOTS_READ = 32
"""Blocks below the last one whose state roots a standing holds."""
_NOBODY = Keys(bytes(32))
"""A replica that is never started signs nothing and opens no box."""


@contextmanager
def open_store(folder: Folder) -> Iterator[Store]:
    """Open a folder's store to read; raises `OperatorError`."""
    store = Store(folder.root)
    try:
        yield store
    finally:
        store.close()


def read_standing(folder: Folder) -> Standing:
    """Return where the node of a folder stands, worked out from its journal.

    Raises:
        OperatorError: There is no table or store, or it is damaged or diverges.
    """
    table = load_table(folder.table)
    with open_store(folder) as store:
        records = store.load()
        replica = Replica(setup_of(table, _NOBODY), records, store.block)
        rolls = tuple(read_rolls(store, rules_of(table)))
        height = replica.final.height
        roots = {at: state_root_at(store, at) for at in range(max(1, height - ROOTS_READ), height)}
    game = replica.final.game
    return Standing(
        height=height,
        roots={**roots, height: replica.final.root.hex()},
        rolls=rolls,
        chips={
            member.nickname: account.chips
            for member, account in zip(replica.final.membership.members, game.accounts, strict=True)
        },
        bank=game.bank,
        layout=game.treasury.layout,
        minted=game.minted,
    )


def read_members(folder: Folder) -> list[dict[str, object]]:
    """Return what may be of interest about every member after the last final block."""
    with open_store(folder) as store:
        setup = setup_of(load_table(folder.table), _NOBODY)
        membership = Replica(setup, store.load(), store.block).final.membership
    return [member_facts(membership, slot) for slot in range(len(membership.members))]


def read_why(folder: Folder) -> Why:
    """Return why a node that does not run is where it is; raises `OperatorError`."""
    table = load_table(folder.table)
    with open_store(folder) as store:
        records = store.load()
        own = [record for record in records if isinstance(record, VoteLogged)]
        others = [record for record in records if not isinstance(record, VoteLogged)]
        replica = Replica(setup_of(table, _NOBODY), others, store.block)
        return explain_down(replica.situation(), own)


def state_root_at(store: Store, height: int) -> str:
    """Return the state root that the final block at a height states, as hex; "" if there is none."""
    final = store.final(height)
    return "" if final is None else decode_as(final.header, Header).state_root.hex()


def read_rolls(store: Store, rules: GameRules) -> Iterator[RollFacts]:
    """Yield every settled roll, its dice recomputed from its proof."""
    for record in store.rolls():
        try:
            dice = dice_of(rules, record.proof, record.session, record.number)
        except DecodeError as error:
            raise OperatorError(f"roll {record.number} has no proof: {error}") from None
        yield RollFacts(
            session=record.session,
            number=record.number,
            height=record.height,
            dice=dice,
            proof=record.proof,
        )


def dice_of(rules: GameRules, proof: bytes, serial: int, number: int) -> tuple[int, ...]:
    """Return the dice of roll `number` of session `serial`; raises `DecodeError`."""
    seed = recompute_seed(proof) + serial.to_bytes(8, "big") + number.to_bytes(8, "big")
    return rules.outcome(digest("dice", seed))[1]


def recipe(roll: RollFacts) -> str:
    """Return one line of Python that recomputes the dice with nothing but SHA-256.

    A byte of 252 or more is passed over, so every side is as likely as the others.
    """
    what = roll.session.to_bytes(8, "big") + roll.number.to_bytes(8, "big")
    return (
        'python3 -c "from hashlib import sha256 as h; '
        f"p = bytes.fromhex('{roll.proof.hex()}'); "
        r"s = h(b'\x04roll' + p).digest(); "
        rf"d = h(b'\x04dice' + s + bytes.fromhex('{what.hex()}')).digest(); "
        f'print([b % 6 + 1 for b in d if b < 252][:{len(roll.dice)}])"'
    )


def find_roll(folder: Folder, number: int, session: int | None) -> RollFacts:
    """Return a settled roll by its number, of the newest session that has it if none is named.

    Raises:
        OperatorError: There is none; the text names how many there are.
    """
    with open_store(folder) as store:
        rolls = list(read_rolls(store, rules_of(load_table(folder.table))))
    found = [roll for roll in rolls if roll.number == number and session in (None, roll.session)]
    if found:
        return max(found, key=lambda roll: roll.session)
    numbers = [roll.number for roll in rolls if session in (None, roll.session)]
    most = max(numbers, default=0)
    raise OperatorError(f"there is no settled roll {number}; the store holds rolls up to {most}")
