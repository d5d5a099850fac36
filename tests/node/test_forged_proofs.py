"""A proof in which one thing is wrong is refuted for that thing: each check of `node/proof.py` alone.

Where a forger would need a quorum's signature, the path to a root passes here, as if all had signed.
"""

import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import pytest
from hypothesis import given, settings, strategies as st

from consensus.effects import (
    BlockLogged,
    FinalLogged,
    LogRecord,
    RollLogged,
    SealLogged,
    SnapshotLogged,
    VoteLogged,
)
from consensus.encoding import DecodeError, Uint, decode, decode_as, encode
from consensus.merkle import merkle_root
from consensus.signing import parse_envelope, verify
from node.audit import Audited, audit_file, audit_folder
from node.config import Folder
from node.descriptor import Table, build_descriptor, save_table, sign_accept
from node.game.params import decode_params
from node.game.receipts import BetResult, Code, Receipt, RollResult
from node.game.rules import BetKey
from node.membership import Member
from node.proof import (
    BUNDLE_BYTES_MAX,
    MAGIC,
    Bundle,
    check_bundle,
    is_decided,
    row_of,
)
from node.prover import find_receipt
from node.replay import MissingError, RefutedError
from node.steps import Leaf, member_leaves
from node.store import STORE_FILE, Journal, _put_meta
from tests.node.shown import FIELD, Shown, but, refuted
from tests.wire.goldens import World

CHAIN_RECORDS: list[type[LogRecord]] = [
    BlockLogged,
    FinalLogged,
    RollLogged,
    SealLogged,
    SnapshotLogged,
    VoteLogged,
]


@pytest.fixture(scope="module")
def shown() -> Shown:
    return Shown()


Forge: TypeAlias = Callable[[Shown], Bundle]


def with_roll(shown: Shown, **changes: Any) -> Bundle:
    rolls = (but(shown.roll, **changes),)
    return but(shown.bundle, rolls=rolls)  # type: ignore[no-any-return]


def with_bet(shown: Shown, **changes: Any) -> Bundle:
    return but(shown.bundle, bet=(but(shown.bet, **changes),))  # type: ignore[no-any-return]


def leaves_of(shown: Shown, *slots: int) -> Bundle:
    return with_bet(shown, identity=(member_leaves(shown.bet_step.state, slots),))


def bet_behind_the_roll(shown: Shown) -> Bundle:
    """Show the roll that a block settled for what the player laid down in that block, behind it."""
    height = shown.late_height
    [result] = next(step.state.result.rolls for step in shown.steps if step.header.height == height)
    _, bet, _ = find_receipt(shown.table, shown.played.terms, shown.chain, height, 0)
    assert bet.player == shown.late_player
    rolls = (shown.roll_part(result.number),)
    return but(shown.bundle, bet=(bet,), rolls=rolls)  # type: ignore[no-any-return]


def another_name(shown: Shown) -> Bundle:
    leaves = member_leaves(shown.bet_step.state, (shown.player,))
    [leaf] = leaves.leaves
    content = encode(but(decode_as(leaf.content, Member), nickname="mallory"))
    return with_bet(shown, identity=(but(leaves, leaves=(but(leaf, content=content),)),))


PLAIN: dict[str, tuple[Forge, str]] = {
    "a consent is missing": (
        lambda s: but(s.bundle, accepts=s.bundle.accepts[:-1]),
        "^the table: ",
    ),
    "two rolls and no bet": (
        lambda s: but(s.bundle, bet=(), rolls=(s.roll, s.roll_part(s.number + 1))),
        "more than one roll, and no bet",
    ),
    "rolls out of order": (
        lambda s: but(s.bundle, bet=(), rolls=(s.roll_part(s.number + 1), s.roll)),
        "not of one game, in order",
    ),
    "one roll twice": (
        lambda s: but(s.bundle, bet=(), rolls=(s.roll, s.roll)),
        "not of one game, in order",
    ),
    "rolls of two games": (
        lambda s: but(s.bundle, bet=(), rolls=(s.roll_part(1), s.roll)),
        "not of one game, in order",
    ),
    "without the roll that decided it": (
        lambda s: but(s.moved, rolls=s.moved.rolls[:1]),
        "not the one that decided",
    ),
    "a roll of another game than the bet": (
        lambda s: but(s.bundle, bet=(s.first_bet,), rolls=(s.roll_part(1),)),
        "does not lie on the layout of the roll",
    ),
    "a roll when nothing lay there": (
        lambda s: but(s.moved, rolls=(s.roll_part(2),)),
        "does not lie on the layout of the roll",
    ),
    "a roll that did nothing to it": (lambda s: s.waited_bet(), "did nothing to the bet"),
    "without the roll that moved it": (
        lambda s: but(s.moved, rolls=s.moved.rolls[1:]),
        "does not lie on the layout|younger than|did nothing to",
    ),
    "settled by the block that closed it": (
        lambda s: with_roll(s, settle=s.roll.close),
        "does not settle what",
    ),
    "closed in another epoch": (
        lambda s: with_roll(s, close=s.roll_part(2).close),
        "does not settle what",
    ),
    "a game at another place": (
        lambda s: with_roll(s, session=but(s.roll.session, count=2)),
        "the game is not under the state root",
    ),
    "secrets that are no item": (
        lambda s: with_roll(s, item=s.leaf(s.settle_height, 0)),
        "opened secrets are not in",
    ),
    "a decided roll before the last": (
        lambda s: but(s.bundle, rolls=(s.roll, s.roll_part(s.number + 1))),
        "not the one that decided",
    ),
    "an action that is none": (
        lambda s: with_bet(s, action=s.leaf(s.bet_step.header.height, 0)),
        "the action is not in",
    ),
    "an action of another block": (
        lambda s: with_bet(s, action=s.bet_part(s.number + 1).action),
        "the action is not in",
    ),
    "a receipt of another block": (
        lambda s: with_bet(s, receipt=s.bet_part(s.number + 1).receipt),
        "the receipt is not in",
    ),
    "a player whom nothing proves": (
        lambda s: with_bet(s, player=9),
        "nothing proves who player 9 is",
    ),
    "the first player behind the founders": (
        lambda s: with_bet(s, player=4),
        "nothing proves who player 4 is",
    ),
    "the leaf of another player": (
        lambda s: leaves_of(s, (s.player + 1) % 4),
        "nothing proves who player",
    ),
    "the leaf of another player beside the right one": (
        lambda s: leaves_of(s, s.player, (s.player + 1) % 4),
        "nothing proves who player",
    ),
    "no leaf of the player": (leaves_of, "nothing proves who player"),
    "a player of another block": (
        lambda s: with_bet(s, identity=(member_leaves(s.steps[0].state, (s.player,)),)),
        "^the player: ",
    ),
    "a player under another name": (
        another_name,
        "^the player: a member that is not under the state root",
    ),
    "a bet that came after the roll": (
        lambda s: but(s.bundle, bet=(s.bet_part(s.number + 1),)),
        "younger|the roll came before",
    ),
    "a bet of the block that settled the roll": (bet_behind_the_roll, "the roll came before"),
    "a bet of an earlier roll": (
        lambda s: but(s.bundle, rolls=(s.roll_part(s.number + 1),)),
        "younger than that",
    ),
}


NOTHING_HAPPENED = BetResult(0, FIELD.kind, 0, 0, 0, 0, 0, 0, FIELD.kind, 0, 5, 0)


def test_a_bet_is_decided_by_what_it_won_lost_or_gave_back() -> None:
    """A win that stays up may bring nothing to the rack: the next vig can take all of it."""
    assert not is_decided(NOTHING_HAPPENED)
    for one in ("lost", "profit", "returned"):
        assert is_decided(but(NOTHING_HAPPENED, **{one: 1}))


@pytest.mark.parametrize("name", PLAIN)
def test_what_one_part_says_wrongly_is_refuted_for_that(shown: Shown, name: str) -> None:
    forge, match = PLAIN[name]
    refuted(forge(shown), match)


def result_with(**changes: Any) -> Callable[[Shown], tuple[Bundle, bytes]]:
    def forge(shown: Shown) -> tuple[Bundle, bytes]:
        content = encode(but(decode_as(shown.roll.result.content, RollResult), **changes))
        return with_roll(shown, result=but(shown.roll.result, content=content)), content

    return forge


def other_outcome(shown: Shown) -> int:
    outcome = shown.result(shown.number).outcome
    return 0 if outcome else 1


def other_secrets(shown: Shown) -> tuple[Bundle, bytes]:
    item = shown.roll_part(shown.number + 1).item
    return with_roll(shown, item=item), item.content


def game_that_did_not_close(shown: Shown) -> tuple[Bundle, bytes]:
    session = but(shown.roll.session, index=1)
    return with_roll(shown, session=session), session.content


def another_signature(shown: Shown) -> tuple[Bundle, bytes]:
    envelope = bytearray(shown.bet.action.content)
    at = envelope.index(parse_envelope(bytes(envelope[1:])).signature)
    envelope[at] ^= 1
    return with_bet(shown, action=but(shown.bet.action, content=bytes(envelope))), bytes(envelope)


Parts: TypeAlias = tuple[int, int, int, tuple[Receipt, ...]]


def receipts_of(shown: Shown) -> Parts:
    return decode_as(shown.bet.receipt.content, tuple[Uint, Uint, Uint, tuple[Receipt, ...]])


def receipt_with(change: Callable[[Parts], Parts]) -> Callable[[Shown], tuple[Bundle, bytes]]:
    def forge(shown: Shown) -> tuple[Bundle, bytes]:
        content = encode(change(receipts_of(shown)))
        return with_bet(shown, receipt=but(shown.bet.receipt, content=content)), content

    return forge


def no_bet(shown: Shown) -> tuple[Bundle, bytes]:
    """Point to an operation behind the bets, with a receipt for it."""
    player, seq, start, receipts = receipts_of(shown)
    content = encode((player, seq, start, (*receipts, *[Receipt(Code.DONE)] * 9)))
    bet = but(shown.bet, position=9, receipt=but(shown.bet.receipt, content=content))
    return but(shown.bundle, bet=(bet,)), content


SIGNED: dict[str, tuple[Callable[[Shown], tuple[Bundle, bytes]], str]] = {
    "the result of another number": (result_with(number=77), "the result is of another roll"),
    "the result of another game": (result_with(serial=77), "the result is of another roll"),
    "another outcome": (lambda s: result_with(outcome=other_outcome(s))(s), "the dice are"),
    "another puck before": (result_with(board_before=(77,)), "the result is of another roll"),
    "another puck behind": (result_with(board=(77,)), "the pays of roll"),
    "the secrets of another roll": (other_secrets, "^the dice: "),
    "a game that was not closed": (game_that_did_not_close, "fixed another roll for this game"),
    "a signature of nobody": (another_signature, "the action was not signed by"),
    "the receipt of another action": (
        receipt_with(lambda r: (r[0], r[1] + 1, *r[2:])),
        "the receipt is of another action",
    ),
    "the receipt of another player": (
        receipt_with(lambda r: (r[0] + 1, *r[1:])),
        "the receipt is of another action",
    ),
    "no receipt of this operation": (
        receipt_with(lambda r: (*r[:3], ())),
        "the receipt is of another action",
    ),
    "the receipts further on": (
        receipt_with(lambda r: (*r[:2], 9, r[3])),
        "the receipt is of another action",
    ),
    "a bet that was refused": (
        receipt_with(lambda r: (*r[:3], (Receipt(Code.BLOCK_FULL),) * len(r[3]))),
        "the table refused the bet with code",
    ),
    "an operation that is no bet": (no_bet, "the operation places no bet"),
}


@pytest.mark.parametrize("name", SIGNED)
def test_what_a_quorum_would_have_signed_wrongly_is_refuted_too(
    shown: Shown, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    forge, match = SIGNED[name]
    bundle, content = forge(shown)
    under = Leaf.is_under
    monkeypatch.setattr(
        Leaf, "is_under", lambda self, root: self.content == content or under(self, root)
    )
    refuted(bundle, match)


def test_a_bet_that_moved_is_proved_by_all_its_rolls(shown: Shown) -> None:
    proved = check_bundle(MAGIC + encode(shown.moved), verify)
    assert proved.bet is not None
    first, last = proved.bet.rows
    assert first.left == last.lost + last.returned - last.profit + last.left == 10
    assert proved.bet.chips == last.profit - last.lost


def test_of_bets_of_one_kind_each_is_proved_by_what_happened_to_its_player_s(shown: Shown) -> None:
    result = shown.result(shown.number)
    players = [row.player for row in result.bets if BetKey(row.kind, row.number) == FIELD]
    assert len(players) > 1
    for player in players:
        row = row_of(result, player, FIELD)
        assert row is not None
        assert row.player == player


def test_a_bet_is_proved_by_the_rolls_of_its_own_game_behind_it(shown: Shown) -> None:
    """A block took one behind the roll that it settled; one lay while another game threw."""
    fields = [one for one in shown.placed if one.key == FIELD]
    [late] = [one for one in fields if one.height == shown.late_height]
    other = next(one.height for one in shown.played.results if one.rolls and one.rolls[0].session)
    lying, _ = [b for b in fields if b.height < other and b.player == shown.name_of(0)][-2:]
    for placed in (late, lying):
        proved = check_bundle(shown.prove(placed), verify)
        assert proved.bet is not None
        assert proved.bet.height == placed.height < proved.rolls[0].height
        assert proved.rolls[0].result.session == 0


def with_params(shown: Shown, **params: Any) -> Table:
    """Return another table whose members agreed to these terms."""
    old = decode_params(shown.table.descriptor.params)
    world = World()
    terms = build_descriptor("Friday", bytes(16), world.members, encode(but(old, **params)))
    accepts = tuple(sign_accept(keys, terms) for keys in world.keys)
    return Table(terms, accepts, ((),) * len(accepts))


@pytest.mark.parametrize(
    ("params", "kind", "match"),
    [
        ({"rules": b"\xff"}, MissingError, "^the rules of the table cannot be read: "),
        ({"rules": encode((77, b""))}, MissingError, "knows no game number 77"),
        ({"bank": 0, "bank_mode": 2, "banker": 9}, RefutedError, "player 9 is the bank"),
    ],
)
def test_terms_that_this_version_cannot_play_by_are_named(
    shown: Shown, tmp_path: Path, params: dict[str, Any], kind: type[Exception], match: str
) -> None:
    table, root = with_params(shown, **params), tmp_path / "node"
    bundle = but(shown.bundle, descriptor=table.descriptor, accepts=table.accepts)
    with pytest.raises(kind, match=match):
        check_bundle(MAGIC + encode(bundle), verify)
    with closing(Journal(root, table.chain_id, b"any host")):
        pass
    save_table(Folder(root).table, table)
    with pytest.raises(kind, match=match):
        audit_folder(root, None)


def test_terms_that_do_not_parse_are_no_terms_of_this_version(shown: Shown) -> None:
    bundle = but(shown.bundle, descriptor=but(shown.bundle.descriptor, params=b"\x80"))
    with pytest.raises(MissingError, match=r"^the terms of the table cannot be read: "):
        check_bundle(MAGIC + encode(bundle), verify)


@pytest.mark.parametrize("magic", [b"", b"bitcraps proof 1\n", b"bitcraps proof 3\n"])
def test_of_another_version_of_proofs_nothing_can_be_said(shown: Shown, magic: bytes) -> None:
    with pytest.raises(MissingError, match="of another version than 2"):
        check_bundle(magic + encode(shown.bundle), verify)


def bet_of_no_kind(shown: Shown) -> tuple[Bundle, bytes]:
    """Let a bet lie on the layout that the rules do not know."""
    seats = list(shown.roll.seats)
    at = next(at for at, seat in enumerate(seats) if seat)
    *fields, (bet, *others) = items_of(seats[at])
    seats[at] = encode([*fields, [[99, *items_of(encode(bet))[1:]], *others]])
    content = shown.roll.session.content.replace(
        merkle_root(shown.roll.seats), merkle_root(tuple(seats))
    )
    session = but(shown.roll.session, content=content)
    return with_roll(shown, session=session, seats=tuple(seats)), content


def items_of(data: bytes) -> list[Any]:
    items = decode(data)
    assert isinstance(items, list)
    return items


def test_a_state_that_no_rules_lead_to_is_no_crash_whoever_signed_it(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever makes up a whole table has every key of it, and signs any state."""
    bundle, content = bet_of_no_kind(shown)
    under = Leaf.is_under
    monkeypatch.setattr(
        Leaf, "is_under", lambda self, root: self.content == content or under(self, root)
    )
    with pytest.raises(MissingError, match=r"rules lead nowhere to: KeyError: BetKey\(kind=99"):
        check_bundle(MAGIC + encode(bundle), verify)


# Anything at all.


def judged(shown: Shown, data: bytes) -> None:
    """Check a bundle, which proves nothing, or something that is true of this table."""
    proved = found(lambda: check_bundle(data, verify))
    if proved is not None:
        assert proved.table == but_addresses(shown.table)
        assert all(roll.result in shown.played.rolls for roll in proved.rolls)
        assert proved.bet in (None, *shown.bets)


T = TypeVar("T")


def found(check: Callable[[], T]) -> T | None:
    """Return what is proved, None if nothing is, for a reason of one sentence."""
    why = ""
    try:
        return check()
    except (RefutedError, MissingError) as error:
        why = str(error)
    assert why
    assert "\n" not in why
    return None


def but_addresses(table: Table) -> Table:
    return Table(table.descriptor, table.accepts, ((),) * len(table.addresses))


@settings(max_examples=60, deadline=None)
@given(cut=st.tuples(st.integers(0), st.integers(0), st.integers(0, 9)), bits=st.binary(max_size=3))
def test_no_flip_cut_or_splice_of_bytes_makes_a_proof_of_something_else(
    shown: Shown, cut: tuple[int, int, int], bits: bytes
) -> None:
    data, other = shown.proofs
    first, at, length = cut[0] % len(data), cut[1] % len(other), cut[2]
    judged(shown, data[:first] + bits + data[first + len(bits) :])
    judged(shown, data[:first] + other[at : at + length] + data[first + length :])
    judged(shown, data[:first] + other[first:])
    judged(shown, data[:first])


def bent(draw: st.DrawFn, value: Any, other: Any) -> Any:
    """Return a value that differs in one place of it, or takes that of another proof."""
    if isinstance(value, list | tuple) and value and draw(st.integers(0, 9)):
        items, at = list(value), draw(st.integers(0, len(value) - 1))
        match draw(st.sampled_from(("in", "in", "in", "in", "drop", "twice"))):
            case "drop":
                del items[at]
            case "twice":
                items.insert(at, items[at])
            case _:
                same = other[at] if isinstance(other, list | tuple) and at < len(other) else ()
                items[at] = bent(draw, items[at], same)
        return items
    if isinstance(value, bytes) and value and draw(st.booleans()):
        at = draw(st.integers(0, len(value) - 1))
        return value[:at] + bytes([value[at] ^ 1 << draw(st.integers(0, 7))]) + value[at + 1 :]
    if isinstance(value, int) and draw(st.booleans()):
        return draw(st.sampled_from((0, value + 1, max(value - 1, 0), 2**63 - 1)))
    return draw(st.sampled_from((other, 0, b"", bytes(32), ())))


@settings(max_examples=200, deadline=None)
@given(choices=st.data())
def test_no_change_of_a_field_makes_a_proof_of_something_else(
    shown: Shown, choices: st.DataObject
) -> None:
    data, other = (decode(one[len(MAGIC) :]) for one in shown.proofs)
    judged(shown, MAGIC + encode(choices.draw(st.composite(bent)(data, other))))


def told(root: Path) -> Audited | None:
    """Return what a folder proves, None if nothing."""
    told = found(lambda: audit_folder(root, None))
    return None if told is None else replace(told, signatures=0)


@pytest.fixture(scope="module")
def whole(shown: Shown, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole") / "node"
    return written(shown, root, list(shown.played.network.hosts[0].disk.records))


@pytest.fixture(scope="module")
def truth(whole: Path) -> Audited | None:
    return told(whole)


@settings(max_examples=25, deadline=None)
@given(choices=st.data())
def test_no_changed_record_of_a_store_makes_a_folder_prove_something_else(
    shown: Shown, truth: Audited | None, choices: st.DataObject
) -> None:
    records = list(shown.played.network.hosts[0].disk.records)
    kind = choices.draw(st.sampled_from(CHAIN_RECORDS))
    places = [at for at, one in enumerate(records) if isinstance(one, kind)]
    at, other = (choices.draw(st.sampled_from(places)) for _ in range(2))
    names = [n for n in kind.__struct_fields__ if isinstance(getattr(records[at], n), bytes)]
    name = choices.draw(st.sampled_from(names))
    value = getattr(records[at], name), getattr(records[other], name)
    changed = choices.draw(st.composite(bent)(*value))
    records[at] = but(records[at], **{name: changed if isinstance(changed, bytes) else b""})
    with tempfile.TemporaryDirectory() as root:
        try:
            folder = written(shown, Path(root) / "node", records)
        except (AssertionError, DecodeError):
            return  # no node writes this
        assert told(folder) in (None, truth)


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (VoteLogged, "epoch", "one"),
        (BlockLogged, "header", 1),
        (BlockLogged, "body", "text"),
        (FinalLogged, "certificate", 1.5),
        (RollLogged, "proof", None),
        (SnapshotLogged, "state", 1),
        (SealLogged, "certificate", "text"),
    ],
)
def test_a_value_of_another_kind_in_a_store_is_damage_whoever_sealed_it(
    shown: Shown, tmp_path: Path, kind: type[LogRecord], field: str, value: object
) -> None:
    """SQLite keeps any kind of value in any column, and whoever makes up a store can hash it."""
    records = list(shown.played.network.hosts[0].disk.records)
    at = max(at for at, one in enumerate(records) if isinstance(one, kind))
    records[at] = but(records[at], **{field: value})
    with pytest.raises(MissingError, match="a value of another kind"):
        audit_folder(written(shown, tmp_path / "node", records), None)


@pytest.mark.parametrize(
    ("seal", "match"), [(1 << 40, "the row seal of meta"), (b"short", "its seal has 5 bytes")]
)
def test_a_seal_of_a_store_that_is_none_is_damage(
    whole: Path, tmp_path: Path, seal: Any, match: str
) -> None:
    root = tmp_path / "node"
    shutil.copytree(whole, root)
    with closing(sqlite3.connect(root / STORE_FILE)) as db:
        _put_meta(db, "seal", seal)
        db.commit()
    with pytest.raises(MissingError, match=match):
        audit_folder(root, None)


def test_a_newest_block_that_no_header_names_is_damage(shown: Shown, tmp_path: Path) -> None:
    records = list(shown.played.network.hosts[0].disk.records)
    [newest] = [one.hash for one in records if isinstance(one, FinalLogged)][-1:]
    [at] = [
        at for at, one in enumerate(records) if isinstance(one, BlockLogged) and one.hash == newest
    ]
    records[at] = but(records[at], header=b"\x80")
    with pytest.raises(MissingError, match=r"the final block at height \d+ cannot be read"):
        audit_folder(written(shown, tmp_path / "node", records), None)


@settings(max_examples=40, deadline=None)
@given(place=st.integers(0), bit=st.integers(0, 7), cut=st.integers(0, 3))
def test_no_damage_to_a_store_makes_a_folder_prove_something_else(
    whole: Path, truth: Audited | None, place: int, bit: int, cut: int
) -> None:
    data = bytearray((whole / STORE_FILE).read_bytes())
    at = place % len(data)
    data[at] ^= 1 << bit
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "node"
        shutil.copytree(whole, folder)
        (folder / STORE_FILE).write_bytes(data if cut else data[:at])
        assert told(folder) in (None, truth)


def written(shown: Shown, root: Path, *commits: Sequence[LogRecord]) -> Path:
    """Return a folder with these records and the terms of the table."""
    with closing(Journal(root, shown.table.chain_id, b"any host")) as journal:
        for records in commits:
            journal.append(records)
    save_table(Folder(root).table, shown.table)
    return root


def test_a_folder_that_lacks_a_stored_roll_is_not_whole(shown: Shown, tmp_path: Path) -> None:
    records = list(shown.played.network.hosts[0].disk.records)
    records.remove(next(one for one in records if isinstance(one, RollLogged)))
    with pytest.raises(MissingError, match="1 stored rolls are missing"):
        audit_folder(written(shown, tmp_path / "node", records), None)


def test_a_store_of_another_table_than_the_terms_is_refuted(shown: Shown, tmp_path: Path) -> None:
    root = tmp_path / "node"
    with closing(Journal(root, bytes(32), b"any host")):
        pass
    save_table(Folder(root).table, shown.table)
    with pytest.raises(RefutedError, match=f"^the store is of table {bytes(32).hex()}"):
        audit_folder(root, None)


def test_a_file_that_is_longer_than_any_proof_is_not_read_as_one(tmp_path: Path) -> None:
    path = tmp_path / "long.proof"
    path.write_bytes(MAGIC + bytes(BUNDLE_BYTES_MAX))
    with pytest.raises(MissingError, match="is longer than 8388608 bytes"):
        audit_file(path, None)
    path.write_bytes(MAGIC + bytes(BUNDLE_BYTES_MAX - len(MAGIC)))
    with pytest.raises(MissingError, match="cut off or damaged"):
        audit_file(path, None)
