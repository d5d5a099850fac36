"""A proof in which one thing is wrong is refuted for that thing: each check of `node/proof.py` alone.

Where a forger would need a quorum's signature, the path to a root passes here, as if all had signed.
"""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import pytest

from consensus.effects import LogRecord, RollLogged
from consensus.encoding import Uint, decode_as, encode
from consensus.messages import Body, body_leaves
from consensus.signing import parse_envelope, verify
from netsim.playing import PlayingTable
from node.audit import audit_file, audit_folder
from node.config import Folder
from node.descriptor import Table, save_table
from node.game.craps.bets import Kind
from node.game.receipts import Code, Receipt, RollResult
from node.game.rules import BetKey
from node.membership import EPOCH_MS_MIN, SetVote
from node.proof import BUNDLE_BYTES_MAX, MAGIC, BetPart, Bundle, RollPart, check_bundle, row_of
from node.prover import list_bets, prove_bet, prove_roll
from node.replay import MissingError, RefutedError, Step, chain_of_records, replay
from node.steps import Leaf, leaf_of, member_leaves
from node.store import Journal

FIELD = BetKey(Kind.FIELD, 0)


class Shown:
    """A table that played, one bet on the field of it proved, and that proof's parts."""

    def __init__(self) -> None:
        self.played = PlayingTable(4, seed=1, signatures="memo", described=True)
        self.played.play(3, limit_ms=300_000)
        self.played.ask(2, SetVote(0))
        self.played.network.run(self.played.network.now_ms + EPOCH_MS_MIN + 5_000)
        self.played.play(8, limit_ms=300_000)
        self.played.settle()
        assert self.played.table is not None
        self.table: Table = self.played.table
        self.chain = chain_of_records(self.played.network.hosts[0].disk.records)
        self.steps: list[Step] = list(
            replay(self.played.terms, self.played._members, self.played._voters, self.chain)
        )
        # One that lay on the layout of two rolls in a row, each time anew, in the last epoch.
        numbers = range(5, len(self.played.rolls))
        self.number, self.player = next(
            (number, player)
            for number in numbers
            for player in range(4)
            if all(row_of(self.result(n), player, FIELD) for n in (number, number + 1))
        )
        self.data = self.bet_on(self.number, FIELD)
        self.bundle = decode_as(self.data[len(MAGIC) :], Bundle)
        self.roll, self.bet = self.bundle.rolls[0], self.bundle.bet[0]

    def result(self, number: int) -> RollResult:
        return self.played.rolls[number - 1]

    def roll_part(self, number: int) -> RollPart:
        data = prove_roll(self.table, self.played.terms, self.chain, number, None)
        return decode_as(data[len(MAGIC) :], Bundle).rolls[0]

    def bet_on(self, number: int, key: BetKey) -> bytes:
        """Return the proof of the player's bet that this roll decided."""
        name = self.played._members[self.player].nickname
        for placed in list_bets(self.table, self.played.terms, self.chain):
            if (placed.player, placed.key) != (name, key):
                continue
            data = prove_bet(self.table, self.played.terms, self.chain, placed.height, placed.index)
            proved = check_bundle(data, verify)
            if proved.rolls[-1].result.number == number:
                return data
        raise AssertionError(f"no such bet on roll {number}")

    def bet_part(self, number: int) -> BetPart:
        return decode_as(self.bet_on(number, FIELD)[len(MAGIC) :], Bundle).bet[0]

    def leaf(self, height: int, index: int) -> Leaf:
        """Return a leaf of a block's body."""
        final = self.chain.final(height)
        assert final is not None
        return leaf_of(body_leaves(decode_as(final.body, Body)), index)

    @property
    def settle_height(self) -> int:
        return next(
            s.header.height for s in self.steps if self.result(self.number) in s.state.result.rolls
        )

    @property
    def bet_step(self) -> Step:
        return next(s for s in self.steps if s.final.header == self.bet.block.header)


@pytest.fixture(scope="module")
def shown() -> Shown:
    return Shown()


def but(record: Any, **changes: Any) -> Any:
    return msgspec.structs.replace(record, **changes)


def refuted(bundle: Bundle, match: str) -> None:
    with pytest.raises(RefutedError, match=match):
        check_bundle(MAGIC + encode(bundle), verify)


Forge: TypeAlias = Callable[[Shown], Bundle]


def with_roll(shown: Shown, **changes: Any) -> Bundle:
    rolls = (but(shown.roll, **changes),)
    return but(shown.bundle, rolls=rolls)  # type: ignore[no-any-return]


def with_bet(shown: Shown, **changes: Any) -> Bundle:
    return but(shown.bundle, bet=(but(shown.bet, **changes),))  # type: ignore[no-any-return]


def stranger_leaf(shown: Shown, step: Step, slot: int) -> Bundle:
    return with_bet(shown, identity=(member_leaves(step.state, (slot,)),))


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
    "settled by the block that closed it": (
        lambda s: with_roll(s, settle=s.roll.close),
        "does not settle what",
    ),
    "closed in another epoch": (
        lambda s: with_roll(s, close=s.roll_part(1).close),
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
    "the leaf of another player": (
        lambda s: stranger_leaf(s, s.bet_step, (s.player + 1) % 4),
        "nothing proves who player",
    ),
    "a player of another block": (
        lambda s: stranger_leaf(s, s.steps[0], s.player),
        "^the player: ",
    ),
    "a bet that came after the roll": (
        lambda s: but(s.bundle, bet=(s.bet_part(s.number + 1),)),
        "younger|the roll came before",
    ),
    "a bet of an earlier roll": (
        lambda s: but(s.bundle, rolls=(s.roll_part(s.number + 1),)),
        "younger than that",
    ),
}


@pytest.mark.parametrize("name", PLAIN)
def test_what_one_part_says_wrongly_is_refuted_for_that(shown: Shown, name: str) -> None:
    forge, match = PLAIN[name]
    refuted(forge(shown), match)


def result_with(**changes: Any) -> Callable[[Shown], tuple[Bundle, bytes]]:
    def forge(shown: Shown) -> tuple[Bundle, bytes]:
        content = encode(but(decode_as(shown.roll.result.content, RollResult), **changes))
        return with_roll(shown, result=but(shown.roll.result, content=content)), content

    return forge


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


def written(shown: Shown, root: Path, records: list[LogRecord]) -> Path:
    """Return a folder with these records and the terms of the table."""
    with closing(Journal(root, shown.table.chain_id, b"any host")) as journal:
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
