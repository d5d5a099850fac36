"""One receipt and why it is true: its leaf, the path to the root in a final header (PROTOCOL 9).

A receipt is what the table's nodes agreed became of one operation, refused ones included. Whoever
knows the voters of its epoch checks it with `check_receipt`; whoever knows only the block's header
needs nothing but SHA-256, as `recipe_of` shows. What a bet won in the end is for `node/proof.py`.
"""

from dataclasses import dataclass

import msgspec

from consensus.encoding import Uint, decode_as
from consensus.light import FinalHeader, Trusted, check_final
from consensus.messages import block_hash
from consensus.signing import Domain, PublicKey, Verify, parse_envelope, verify_envelope
from node.game.receipts import Receipt, describe
from node.game.rules import GameRules
from node.mempool import ActionBody, AnyOperation
from node.replay import RefutedError
from node.steps import Leaf


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvedReceipt:
    """A receipt as it was read from a leaf that stands in a final block."""

    height: int
    block: bytes
    player: int
    seq: int
    operation: AnyOperation
    receipt: Receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownReceipt:
    """What is shown to somebody who believes none of it.

    `position` is that of the operation in its signed action.
    """

    block: FinalHeader
    action: Leaf
    receipt: Leaf
    position: int


def check_receipt(
    shown: ShownReceipt, trusted: Trusted, player: int, identity: PublicKey, verify: Verify
) -> ProvedReceipt:
    """Return the receipt of an operation that a player signed, in a final block.

    `trusted` are the voters of the block's epoch. `player` and `identity` are who acted, as the
    terms of the table name them, by slot and key; those of later members are proved by
    `node/proof.py`.

    Raises:
        RefutedError: Something that is shown is wrong; the sentence says what.
        DecodeError: A leaf does not parse.
    """
    action, receipt, position = shown.action, shown.receipt, shown.position
    header = check_final(trusted, shown.block, verify)
    if isinstance(header, str):
        raise RefutedError(header)
    if not action.content.startswith(b"a") or not action.is_under(header.body_hash):
        raise RefutedError(f"the action is not in block {header.height}")
    if not receipt.is_under(header.receipts_root):
        raise RefutedError(f"the receipt is not in block {header.height}")
    envelope = parse_envelope(action.content[1:])
    if not verify_envelope(verify, identity, Domain.ACTION, trusted.chain_id, envelope):
        raise RefutedError("the action was not signed by the player")
    body = decode_as(envelope.payload, ActionBody)
    owner, seq, start, receipts = decode_as(
        receipt.content, tuple[Uint, Uint, Uint, tuple[Receipt, ...]]
    )
    at = position - start
    if (owner, seq) != (player, body.seq) or not 0 <= at < len(receipts):
        raise RefutedError("the receipt is of another action")
    if position >= len(body.operations):
        raise RefutedError("the receipt is of another action")
    return ProvedReceipt(
        height=header.height,
        block=block_hash(shown.block.header),
        player=player,
        seq=seq,
        operation=body.operations[position],
        receipt=receipts[at],
    )


def receipt_facts(
    found: ProvedReceipt, name: str, shown: ShownReceipt, rules: GameRules
) -> dict[str, object]:
    """Return a checked receipt as JSON holds it, with all that checks it again."""
    block, leaf = shown.block, shown.receipt
    return {
        "height": found.height,
        "block_hash": found.block.hex(),
        "player": name,
        "action": found.seq,
        "operation": type(found.operation).__name__,
        "fields": msgspec.to_builtins(found.operation),
        "code": found.receipt.code,
        "values": list(found.receipt.values),
        "sentence": describe(found.receipt, rules),
        "header": block.header.hex(),
        "body_leaf": shown.action.content.hex(),
        "body_path": [sibling.hex() for sibling in shown.action.path],
        "descendants": [header.hex() for header in block.path],
        "certificate": block.certificate.hex(),
        "leaf": leaf.content.hex(),
        "leaf_index": leaf.index,
        "leaf_count": leaf.count,
        "path": [sibling.hex() for sibling in leaf.path],
        "recipe": recipe_of(leaf),
    }


def recipe_of(leaf: Leaf) -> str:
    """Return one line of Python that computes the receipts root of the header with SHA-256 alone.

    `<` and `>` say on which side of the path a sibling stands (RFC 9162, with the tags of ours).
    """
    sides, index, width = "", leaf.index, leaf.count
    siblings = iter(leaf.path)
    while width > 1:
        if index ^ 1 < width:
            sides += f"{'<' if index & 1 else '>'}{next(siblings).hex()} "
        index, width = index >> 1, (width + 1) // 2
    return (
        'python3 -c "from functools import reduce; from hashlib import sha256 as s; '
        "h = lambda tag, data: s(bytes([len(tag)]) + tag + data).digest(); x = bytes.fromhex; "
        f"n = reduce(lambda n, p: h(b'merkle/node', n + x(p[1:]) if p[0] == '>' else x(p[1:]) + n), "
        f"'{sides}'.split(), h(b'merkle/leaf', x('{leaf.content.hex()}'))); "
        f"print(h(b'merkle/root', ({leaf.count}).to_bytes(8, 'big') + n).hex())\""
    )


def receipt_text(found: ProvedReceipt, name: str, leaf: Leaf, rules: GameRules) -> str:
    """Say what became of an operation, and how to see that the table agreed so."""
    return (
        f"operation {type(found.operation).__name__} of {name} in block {found.height}: "
        f"{describe(found.receipt, rules)}\n"
        f"leaf {leaf.index} of {leaf.count} under the receipts root of block "
        f"{found.block.hex()}, which is final\n"
        f"{recipe_of(leaf)}"
    )
