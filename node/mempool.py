"""Signed actions that wait for a block, and every action that a block may need again (PROTOCOL 11.8).

An action is decoded and its signature verified once, here, whether it comes by gossip or inside a
block. Bounds are per player, so that one player's flood never takes another's place.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Protocol, TypeAlias

import msgspec

from consensus.encoding import DecodeError, Record, decode_as, encode
from consensus.messages import ACTION_BYTES_MAX
from consensus.signing import (
    Domain,
    Envelope,
    KeyId,
    PublicKey,
    Signer,
    Verify,
    parse_envelope,
    sign_envelope,
    verify_envelope,
)
from node.game.operations import Operation
from node.membership import MemberOperation

OPERATIONS_PER_ACTION_MAX = 3_500
"""Operations under one signature; at up to 18 bytes each they fit an action."""
ACTIONS_AHEAD_MAX = 16
"""How far a player's actions may run ahead of the state: what one block interval can need."""
OPERATIONS_PER_BLOCK_MAX = 8_192
"""Keeps one block's execution near 40 ms on a laptop core, well below a timer of the engine."""


AnyOperation: TypeAlias = Operation | MemberOperation
"""What an action may hold: moves in a game, and changes of who belongs to the table."""


class ActionBody(Record, frozen=True):
    """What an action signs: the player's next number and its operations, applied in order."""

    seq: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
    operations: Annotated[
        tuple[AnyOperation, ...], msgspec.Meta(min_length=1, max_length=OPERATIONS_PER_ACTION_MAX)
    ]


class Roster(Protocol):
    """The members that may act, as some state has them."""

    def slot_of(self, kid: KeyId) -> int | None:
        """Return the member with this key id, or None for a stranger."""
        ...

    def identity_of(self, slot: int) -> PublicKey:
        """Return a member's identity key."""
        ...


class Action(msgspec.Struct, frozen=True, gc=False):
    """A verified action with the bytes that travel and are stored."""

    player: int
    seq: int
    operations: tuple[AnyOperation, ...]
    envelope: bytes

    def is_same(self, envelope: bytes) -> bool:
        """Say whether an envelope signs the same; its signature may be another (PROTOCOL 3)."""
        return parse_envelope(envelope).payload == parse_envelope(self.envelope).payload


class Mempool:
    """Actions by player and number, with a memory of what was verified."""

    def __init__(self, chain_id: bytes, verify: Verify) -> None:
        """Start empty; `prune` tells what is final."""
        self._chain_id = chain_id
        self._verify = verify
        self._waiting: list[dict[int, Action]] = []
        self._known: dict[bytes, Action] = {}
        self._final: tuple[int, ...] = ()
        self.changes = 0
        """How often something came or went: what is worked out from the content holds until then."""

    def __len__(self) -> int:
        return sum(map(len, self._waiting))

    def find(self, envelope: bytes, roster: Roster, *, trusted: bool = False) -> Action | str:
        """Return the action of an envelope, verified now or before, or what is wrong with it.

        `roster` is that of the state on which the action is to be applied.

        `trusted` skips the signature: the envelope comes from a block that this node has stored.
        """
        known = self._known.get(envelope)
        if known is not None:
            return known
        try:
            parsed = parse_envelope(envelope)
            found = self._read(parsed, envelope, roster)
        except DecodeError as error:
            return f"action does not parse: {error}"
        if isinstance(found, Action):
            if not trusted and not self._is_signed(parsed, roster.identity_of(found.player)):
                return "action whose signature does not verify"
            if self._is_news(found):
                self.add(found)
        return found

    def admit(self, parsed: Envelope, envelope: bytes, roster: Roster) -> str | None:
        """Take an action from gossip; the text says what its sender did wrong.

        Old, repeated and far-ahead actions are dropped without a word: they happen. So do those of
        members that are not final here yet, when this node is behind.
        """
        if envelope in self._known or roster.slot_of(parsed.kid) is None:
            return None
        try:
            found = self._read(parsed, envelope, roster)
        except DecodeError as error:
            return f"action does not parse: {error}"
        if isinstance(found, str):
            return found
        if self._is_news(found):
            if not self._is_signed(parsed, roster.identity_of(found.player)):
                return "action whose signature does not verify"
            self.add(found)
        return None

    def add(self, action: Action) -> None:
        """Keep a verified action until a final block is past it."""
        self._waiting[action.player][action.seq] = action
        self._known[action.envelope] = action
        self.changes += 1

    def prune(self, final_seqs: Sequence[int]) -> None:
        """Forget what the final state, with these last numbers, has behind it."""
        self._final = tuple(final_seqs)
        self._waiting += [{} for _ in range(len(self._final) - len(self._waiting))]
        self.changes += 1
        for waiting, final_seq in zip(self._waiting, final_seqs, strict=True):
            if waiting:
                for seq in [seq for seq in waiting if seq <= final_seq]:
                    del self._known[waiting.pop(seq).envelope]

    def _is_news(self, action: Action) -> bool:
        """Say whether the number is within reach and free: a second action for it has to wait."""
        if action.player >= len(self._final):
            return False  # a newcomer that is not final here yet
        final = self._final[action.player]
        return (
            final < action.seq <= final + ACTIONS_AHEAD_MAX
            and action.seq not in self._waiting[action.player]
        )

    def _read(self, parsed: Envelope, envelope: bytes, roster: Roster) -> Action | str:
        if len(envelope) > ACTION_BYTES_MAX:
            return f"action of {len(envelope)} bytes; the limit is {ACTION_BYTES_MAX}"
        player = roster.slot_of(parsed.kid)
        if player is None:
            return "action of no player at this table"
        body = decode_as(parsed.payload, ActionBody)
        return Action(player, body.seq, body.operations, envelope)

    def _is_signed(self, parsed: Envelope, key: PublicKey) -> bool:
        return verify_envelope(self._verify, key, Domain.ACTION, self._chain_id, parsed)

    def has_next(self, seqs: Sequence[int]) -> bool:
        """Say whether some player's next action on a state with these numbers waits."""
        for waiting, seq in zip(self._waiting, seqs, strict=False):
            if waiting and seq + 1 in waiting:
                return True
        return False

    def next_actions(self, seqs: Sequence[int], height: int, bytes_max: int) -> list[Action]:
        """Return what a block at `height` takes, in its order: players rotated, then numbers."""
        picked: list[Action] = []
        size = operations = 0
        for player in rotation(len(seqs), height):
            if player >= len(self._waiting):
                continue
            waiting, seq = self._waiting[player], seqs[player]
            while (action := waiting.get(seq + 1)) is not None:
                size += len(action.envelope) + 3
                operations += len(action.operations)
                if picked and (size > bytes_max or operations > OPERATIONS_PER_BLOCK_MAX):
                    return picked
                picked.append(action)
                seq += 1
        return picked

    def beyond(self, seqs: Sequence[int], bytes_max: int) -> Iterator[bytes]:
        """Yield envelopes that a state with these numbers does not hold, up to a size."""
        size = 0
        for waiting, at in zip(self._waiting, seqs, strict=False):
            for seq, action in sorted(waiting.items()):
                if seq > at:
                    size += len(action.envelope)
                    if size > bytes_max:
                        return
                    yield action.envelope


def rotation(players: int, height: int) -> Iterator[int]:
    """Yield the players in the order of a block: nobody is first for ever."""
    start = height % players
    yield from range(start, players)
    yield from range(start)


def sign_action(
    signer: Signer, chain_id: bytes, player: int, seq: int, operations: Sequence[AnyOperation]
) -> Action:
    """Return a new action of this node's player."""
    body = ActionBody(seq, tuple(operations))
    envelope = sign_envelope(signer, Domain.ACTION, chain_id, encode(body))
    return Action(player, seq, body.operations, envelope)
