"""A validator as dealer: one dealing at a time from key to certificate (PROTOCOL 11.2, 11.3).

A dealing is a function of the key, so a dealer that forgot it makes the same bytes again. What is not,
and durable before anybody sees it, is the choice whose shares to publish: a second choice after a
restart could publish more shares than secrecy allows. Messages are repeated, with growing pauses,
until they are acked.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from consensus.beacon_items import (
    CERTIFICATE_KIND,
    BeaconContext,
    DealCertificate,
    check_counts,
)
from consensus.beacon_state import BeaconState
from consensus.dealing import BATCH, DealHeader, Dealing, derive_entropy
from consensus.effects import (
    DealCertificateLogged,
    Effect,
    LogRecord,
    Now,
    Send,
)
from consensus.encoding import encode
from consensus.messages import Number, SystemItems, frame
from consensus.signing import Domain, Signer, sign_envelope
from consensus.validators import ValidatorIndex, bitmap

REFILL_SECRETS = BATCH // 2
"""A dealer with no more than this left deals again: half a batch lasts while a batch is dealt."""
PATIENCE_DELTAS = 6
"""How long a dealing waits for the acks of all, in one-way delays: there, back, a disk, and as much
again, before the shares of those who are silent are published."""
RETRY_DELTAS = 4
"""The first pause before a message is repeated, in one-way delays: a round trip and a disk."""
RETRY_MS_MAX = 60_000
"""The longest pause: a peer that comes back is not kept waiting for longer."""


class Backoff:
    """When to repeat something: after 4 one-way delays, then each pause 1.6 times the last."""

    __slots__ = ("_pause_ms", "due_ms")

    def __init__(self, now: Now, delta_ms: int) -> None:
        """Begin now: due at once."""
        self.due_ms = now.mono_ms
        self._pause_ms = RETRY_DELTAS * delta_ms

    def postpone(self, now: Now) -> None:
        """Wait for the next pause, counted from now."""
        self.due_ms = now.mono_ms + self._pause_ms
        self._pause_ms = min(self._pause_ms * 8 // 5 + 1, RETRY_MS_MAX)


@dataclass(slots=True)
class _Open:
    """A dealing that no final block certifies yet."""

    dealing: Dealing
    envelope: bytes
    acks: dict[int, bytes]
    patient_until_ms: int | None
    boxes: Backoff
    gossip: Backoff
    item: bytes | None


class Dealer:
    """The own dealings of one validator; what it says goes through the lists given to `advance`."""

    def __init__(  # noqa: PLR0917  (the order is that of the beacon)
        self,
        context: BeaconContext,
        me: ValidatorIndex,
        signer: Signer,
        box_secret: bytes,
        box_keys: Sequence[bytes],
        records: Sequence[LogRecord],
    ) -> None:
        """Resume from the journal; `box_keys` are the holders' X25519 keys of this epoch.

        The own `box_secret` among them makes every dealing.
        """
        assert len(box_keys) == context.validators.n, f"{len(box_keys)} box keys"
        self._context = context
        self._me = me
        self._signer = signer
        self._box_secret = box_secret
        self._box_keys = tuple(box_keys)
        self._open: _Open | None = None
        self._items: dict[int, bytes] = {}
        for record in records:
            if isinstance(record, DealCertificateLogged) and record.epoch == context.epoch:
                self._items[record.batch] = record.item

    def follow(self, state: BeaconState, now: Now, delta_ms: int, *, wanted: bool) -> None:
        """Take a new final state: end what it certifies, begin what is `wanted` and due behind it.

        Due is another dealing when little is left, or only what is half published.
        """
        batch = state.next_batch(self._me)
        if self._open is not None and self._open.dealing.batch < batch:
            self._open = None
        for old in [b for b in self._items if b < batch]:
            del self._items[old]
        stock = state.stock(self._me)
        is_due = stock.secrets <= REFILL_SECRETS or stock.published
        refused = state.refuses_batch(self._me, batch) is not None
        if wanted and self._open is None and is_due and not refused:
            self._begin(batch, now, delta_ms)

    def rest(self) -> None:
        """Say no more of the dealing under way, until the next `follow`."""
        self._open = None

    def own_text(self) -> bytes:
        """Return what the current dealing gives to its own dealer."""
        assert self._open is not None, "own shares are of the current dealing"
        return self._open.dealing.text(self._me)

    @property
    def current(self) -> tuple[DealHeader, bytes] | None:
        """The dealing under way: its header and its signed header."""
        return None if self._open is None else (self._open.dealing.header, self._open.envelope)

    @property
    def item(self) -> tuple[int, bytes] | None:
        """The certificate that no final block holds yet, behind its batch."""
        if self._open is None or self._open.item is None:
            return None
        return self._open.dealing.batch, self._open.item

    @property
    def due_ms(self) -> int | None:
        """When `advance` has something to do."""
        opened = self._open
        if opened is None:
            return None
        if opened.item is not None:
            return opened.gossip.due_ms
        due_ms = opened.boxes.due_ms
        return due_ms if opened.patient_until_ms is None else min(due_ms, opened.patient_until_ms)

    def wants_ack(self, holder: ValidatorIndex) -> bool:
        """Say whether an ack of `holder` for the current dealing is news."""
        opened = self._open
        return opened is not None and opened.item is None and holder not in opened.acks

    def take_ack(self, holder: ValidatorIndex, signature: bytes) -> None:
        """Count a verified ack of the current dealing."""
        assert self._open is not None, "an ack is of the current dealing"
        self._open.acks[holder] = signature

    def greet(self, peer: ValidatorIndex, sends: list[Effect]) -> None:
        """Repeat to a peer that is back what it lacks of the current dealing."""
        if self._open is not None:
            self._send_to(self._open, peer, sends)

    def advance(self, now: Now, records: list[LogRecord], sends: list[Effect]) -> None:
        """Send boxes, certify, gossip the certificate: what is due now."""
        opened = self._open
        if opened is None:
            return
        if opened.item is None:
            self._certify(opened, now, records)
        if opened.item is not None:
            if now.mono_ms >= opened.gossip.due_ms:
                opened.gossip.postpone(now)
                sends.append(Send(None, frame(Number.SYSTEM_ITEMS, SystemItems((opened.item,)))))
        elif now.mono_ms >= opened.boxes.due_ms:
            opened.boxes.postpone(now)
            for holder in self._context.validators.index_of_kid.values():
                if holder != self._me:
                    self._send_to(opened, holder, sends)

    def _send_to(self, opened: _Open, holder: ValidatorIndex, sends: list[Effect]) -> None:
        if opened.item is not None:
            sends.append(Send(holder, frame(Number.SYSTEM_ITEMS, SystemItems((opened.item,)))))
        elif holder not in opened.acks:
            message = opened.dealing.seal(holder, self._box_keys[holder], opened.envelope)
            if message is not None:
                sends.append(Send(holder, frame(Number.DEAL, message)))

    def _begin(self, batch: int, now: Now, delta_ms: int) -> None:
        context = self._context
        dealing = Dealing(
            context.chain_id,
            context.epoch,
            self._me,
            batch,
            t=context.t,
            n=context.validators.n,
            entropy=derive_entropy(
                self._box_secret,
                context.chain_id,
                context.epoch,
                self._me,
                batch,
                context.t,
                self._box_keys,
            ),
        )
        envelope = sign_envelope(
            self._signer, Domain.DEAL, context.chain_id, encode(dealing.header)
        )
        self._open = _Open(
            dealing,
            envelope,
            {},
            now.mono_ms + PATIENCE_DELTAS * delta_ms,
            Backoff(now, delta_ms),
            Backoff(now, delta_ms),
            self._items.get(batch),
        )

    def _certify(self, opened: _Open, now: Now, records: list[LogRecord]) -> None:
        """Make the certificate when all acked, or when patience with the others has ended."""
        n = self._context.validators.n
        ackers = sorted(opened.acks)
        silent = [j for j in range(n) if j not in opened.acks]
        if opened.patient_until_ms is not None and now.mono_ms >= opened.patient_until_ms:
            opened.patient_until_ms = None
        if silent and opened.patient_until_ms is not None:
            return
        if check_counts(self._context, ackers, silent) is not None:
            return
        opened.item = encode(
            DealCertificate(
                CERTIFICATE_KIND,
                opened.envelope,
                bitmap(ackers, n),
                tuple(opened.acks[j] for j in ackers),
                bitmap(silent, n),
                opened.dealing.grid(silent) if silent else b"",
            )
        )
        opened.gossip.due_ms = now.mono_ms
        if silent:
            batch = opened.dealing.batch
            record = DealCertificateLogged(epoch=self._context.epoch, batch=batch, item=opened.item)
            records.append(record)
