"""One validator's part in the joint dice: it deals, holds, reveals and opens (PROTOCOL 11).

`BeaconState` is what all agree on; `Beacon` is one node. It deals while there are bets, acks what
others deal once that is durable, reveals its shares of a roll only when the closing block is final
and durable, and offers for the next block what it can prove. It is an inner machine like the engine:
inputs take note, `advance` returns what they led to, records first. No remote input raises.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from consensus.beacon_dealer import Backoff, Dealer
from consensus.beacon_items import (
    CERTIFICATE_KIND,
    BeaconContext,
    DealCertificate,
    RollProof,
    read_deal,
    recompute_seed,
)
from consensus.beacon_rolls import OpenRoll, RevealPayload
from consensus.beacon_state import (
    UNUSED_BATCHES_MAX,
    BeaconState,
    PendingRoll,
    Settled,
)
from consensus.dealing import (
    DealHeader,
    HeldShares,
    ack_payload,
    header_hash,
    open_box,
    open_text,
)
from consensus.effects import (
    Effect,
    LogRecord,
    Now,
    Persist,
    Report,
    Send,
    SharesLogged,
)
from consensus.encoding import DecodeError, decode_as, encode
from consensus.evidence import OffenceKind, build_evidence, build_false_share
from consensus.messages import (
    DealMessage,
    GetReveal,
    Message,
    Number,
    RevealPaths,
    SystemItems,
    frame,
)
from consensus.signing import (
    Domain,
    Envelope,
    Signer,
    build_envelope,
    parse_envelope,
    sign_envelope,
    verify_envelope,
)
from consensus.timing import DELTA_MS_DEFAULT, earliest
from consensus.validators import ValidatorIndex

__all__ = [
    "Beacon",
    "BeaconContext",
    "BeaconState",
    "PendingRoll",
    "RollProof",
    "Settled",
    "recompute_seed",
]

ASK_DELTAS = 8
"""How long after a close is final missing reveals are asked for: others may learn of it later."""
EARLY_ROLLS_MAX = 8
"""Reveals kept of rolls whose close is not final here yet, counted from the next one."""
ITEMS_BYTES_MAX = 384 << 10
"""The beacon's share of a block body; the largest single item, of 128 validators, is 256 KiB."""


@dataclass(frozen=True, slots=True)
class _Held:
    shares: HeldShares
    deal: bytes


@dataclass(frozen=True, slots=True)
class RollWaiting:
    """A roll that block `height` closed, and the holders whose shares are here."""

    roll: int
    height: int
    holders: tuple[int, ...]


@dataclass(slots=True)
class _Running:
    """A roll that waits for shares, what this node says about it, when it asks and answered."""

    roll: OpenRoll
    reveal: bytes
    ask: Backoff
    answered: dict[tuple[ValidatorIndex, int], int] = field(default_factory=dict)


class Beacon:
    """See the module's text for the contract."""

    def __init__(  # noqa: PLR0917  (the order is that of the journal's and identity's owners)
        self,
        context: BeaconContext,
        me: ValidatorIndex,
        signer: Signer,
        box_secret: bytes,
        box_keys: Sequence[bytes],
        records: Sequence[LogRecord] = (),
    ) -> None:
        """Resume from `records`; nothing is sent before the first `finalized`.

        Args:
            context: The epoch.
            me: This validator.
            signer: Its consensus key.
            box_secret: Its X25519 secret of this epoch.
            box_keys: All validators' X25519 keys, by index.
            records: The journal; records of other kinds and epochs are passed over.
        """
        self.delta_ms = DELTA_MS_DEFAULT
        """The one-way delay, until somebody who measures it sets it."""
        self._proofs: dict[tuple[ValidatorIndex, OffenceKind], bytes] = {}
        self._context = context
        self._me = me
        self._signer = signer
        self._box_secret = box_secret
        self._dealer = Dealer(context, me, signer, box_secret, box_keys, records)
        self._state: BeaconState | None = None
        self.remembers = True
        """Whether the journal is all that was dealt and acked with this key; see `remember`."""
        self._wanted = False
        self.changes = 0
        """How often an input came, or an own item was made: until then `items` stay the same."""
        self._done = 0  # the changes that `advance` has dealt with
        self.deadline_ms: int | None = None
        """When `advance` has something to do without an input, monotonic milliseconds."""
        self._held: dict[tuple[int, int], _Held] = {}
        self._stored: dict[tuple[int, int], SharesLogged] = {}
        self._deals: dict[tuple[int, int], bytes] = {}  # the first that was seen of each batch
        self._certificates: dict[tuple[int, int], bytes] = {}
        self._running: dict[int, _Running] = {}
        self._early: dict[tuple[int, int], tuple[RevealPayload, Envelope]] = {}
        self._records: list[LogRecord] = []
        self._effects: list[Effect] = []
        for record in records:
            if isinstance(record, SharesLogged) and record.epoch == context.epoch:
                self._stored[record.dealer, record.batch] = record

    def _find(self, key: tuple[int, int]) -> _Held | None:
        """Return what this node holds of a dealing; the journal's is read when first needed."""
        record = self._stored.pop(key, None)
        if record is not None:
            header = read_deal(record.deal)
            assert isinstance(header, DealHeader), f"a dealing in the journal: {header}"
            shares = self._open_text(header, record.shares)
            assert isinstance(shares, HeldShares), f"shares in the journal: {shares}"
            self._held[key] = _Held(shares, record.deal)
            self._deals[key] = record.deal
        return self._held.get(key)

    def _open_text(self, header: DealHeader, text: bytes) -> HeldShares | str:
        context = self._context
        return open_text(context.chain_id, header, self._me, context.validators.n, text)

    @property
    def evidence(self) -> tuple[bytes, ...]:
        """The proofs of fault found here, one for each offender and kind of offence."""
        return tuple(self._proofs.values())

    # Inputs from this node.

    def finalized(
        self,
        state: BeaconState,
        now: Now,
        *,
        block: bytes,
        wanted: bool,
        items: Sequence[bytes] = (),
    ) -> None:
        """Take a state that is final and, before anything this leads to is sent, durable.

        Call it at the start as well. A close is final from here on, so its shares are revealed.

        Args:
            state: The state after the newest final block; never changed afterwards.
            now: The clocks.
            block: The hash of that block: it names the close that the block itself holds.
            wanted: Whether some session has a bet, so that dealings must be in stock.
            items: The system items of that block.
        """
        self.changes += 1
        for item in items:
            if item[1] == CERTIFICATE_KIND:
                self._note_deal(decode_as(item, DealCertificate).deal)
        before, self._state = self._state, state
        self._wanted = wanted
        self._resume(now)
        for dealer in range(self._context.validators.n):
            dealings = state.dealings(dealer)
            if before is None or before.dealings(dealer) is not dealings:
                self._drop_dealings(dealer, dealings[0].batch if dealings else None)
        pending = {roll.roll: roll for roll in state.pending}
        for number in [number for number in self._running if number not in pending]:
            self._blame(self._running.pop(number), is_settled=True)
        for number, roll in pending.items():
            if number not in self._running:
                bound = roll if roll.close_hash else roll.bound(block)
                self._running[number] = self._run(state, bound, now)
        for key in [key for key in self._early if key[0] < state.next_roll]:
            del self._early[key]

    def remember(self, now: Now, *, everything: bool) -> None:
        """Take note whether the journal is all that was said with this key in this epoch.

        Who may have forgotten whose shares it published deals nothing (PROTOCOL 9.2).
        """
        if everything != self.remembers:
            self.changes += 1
            self.remembers = everything
            self._dealer.rest()
            self._resume(now)

    def _resume(self, now: Now) -> None:
        if self._state is not None and self.remembers:
            self._dealer.follow(self._state, now, self.delta_ms, wanted=self._wanted)
            self._hold_own()

    def peer_up(self, peer: ValidatorIndex, _now: Now) -> None:
        """Repeat to a peer that is back what it may have missed."""
        self.changes += 1
        self._dealer.greet(peer, self._effects)
        for running in self._running.values():
            if running.reveal:
                self._effects.append(Send(peer, frame(Number.REVEAL, running.reveal)))

    def advance(self, now: Now) -> list[Effect]:
        """Return the effects of all inputs since the last call and of deadlines that came."""
        is_due = self.deadline_ms is not None and now.mono_ms >= self.deadline_ms
        if self._done == self.changes and not is_due:
            return []
        state = self._state
        if state is not None:
            self._dealer.advance(now, self._records, self._effects)
            if (own := self._dealer.item) is not None:
                batch, item = own
                self._certificates[self._me, batch] = item
                self.changes += 1
            for running in self._running.values():
                self._ask(running, now)
        self._done = self.changes
        asks = [one.ask.due_ms for one in self._running.values() if one.roll.item is None]
        self.deadline_ms = earliest(self._dealer.due_ms, *asks)
        effects, self._effects = self._effects, []
        if self._records:
            effects.insert(0, Persist(tuple(self._records)))
            self._records = []
        return effects

    def waiting(self) -> tuple[RollWaiting, ...]:
        """Return the closed rolls whose secrets are not all known here, oldest first."""
        waiting = []
        for _, running in sorted(self._running.items()):
            roll = running.roll
            if roll.item is None:
                own = (self._me,) if running.reveal else ()
                heard = (*own, *(holder for holder in roll.heard if holder != self._me))
                waiting.append(RollWaiting(roll.roll.roll, roll.roll.height, tuple(sorted(heard))))
        return tuple(waiting)

    def items(self, state: BeaconState) -> tuple[bytes, ...]:
        """Return the system items that can follow in a block on `state`, certificates first.

        A roll that `state` has just closed counts as well: its block is final here.
        """
        settles = []
        for pending in state.pending:
            running = self._running.get(pending.roll)
            if running is not None and running.roll.item is not None:
                ours = running.roll.roll
                if pending.places == ours.places and pending.close_hash in {b"", ours.close_hash}:
                    settles.append(running.roll.item)
        certificates = [
            item
            for (dealer, batch), item in self._certificates.items()
            if state.refuses_batch(dealer, batch) is None
        ]
        # Who waits for dice comes first: dealings are for later rolls.
        settles = _fitting(settles, ITEMS_BYTES_MAX)
        room = ITEMS_BYTES_MAX - sum(map(len, settles))
        if settles and certificates and len(certificates[0]) > room:
            return tuple(settles)
        return (*_fitting(certificates, room), *settles)

    # Messages.

    def receive(self, sender: ValidatorIndex, number: Number, message: Message, now: Now) -> None:
        """Take a decoded message of an authenticated peer; what is wrong is reported."""
        if self._state is None:
            return
        self.changes += 1
        fault: str | None = None
        match message:
            case DealMessage():
                fault = self._receive_deal(self._state, message)
            case Envelope() if number is Number.ACK:
                fault = self._receive_ack(message)
            case Envelope() if number is Number.REVEAL:
                fault = self._receive_reveal(self._state, sender, message, now)
            case GetReveal():
                self._receive_get_reveal(sender, message, now)
            case RevealPaths():
                fault = self._receive_paths(sender, message)
            case SystemItems():
                fault = self._receive_items(self._state, message)
            case _:
                pass
        if fault is not None:
            self._effects.append(Report(sender, fault))

    def _receive_deal(self, state: BeaconState, message: DealMessage) -> str | None:
        header = read_deal(message.deal)
        if isinstance(header, str):
            return header
        if header.epoch != self._context.epoch:
            return None
        key = (header.dealer, header.batch)
        held = self._find(key)
        if held is not None and held.deal == message.deal:
            self._send_ack(header)
            return None
        # Of what is held, another is taken note of however late it comes.
        if held is None and not self._is_due(state, *key):
            return None
        checked = self._context.check_deal(message.deal)
        if isinstance(checked, str):
            return checked
        if self._note_deal(message.deal):
            return f"dealer {header.dealer} signed two dealings as batch {header.batch}"
        if held is not None:
            self._send_ack(header)
            return None
        text = open_box(message, header_hash(encode(header)), self._box_secret)
        shares = (
            "dealt shares are in no box of this node"
            if text is None
            else (self._open_text(header, text))
        )
        if isinstance(shares, str):
            return shares
        assert text is not None, "shares came from a text"
        self._hold(shares, text, message.deal)
        self._send_ack(header)
        return None

    def _note_deal(self, deal: bytes) -> bool:
        """Take note of a verified header; say whether it is another than the dealer's first."""
        signed = parse_envelope(deal)
        header = decode_as(signed.payload, DealHeader)
        key = (header.dealer, header.batch)
        self._find(key)
        first = self._deals.setdefault(key, deal)
        if parse_envelope(first).payload == signed.payload:
            return False
        proof = build_evidence(Domain.DEAL, first, deal)
        self._proofs.setdefault((ValidatorIndex(header.dealer), OffenceKind.TWO_DEALINGS), proof)
        return True

    def _is_due(self, state: BeaconState, dealer: int, batch: int) -> bool:
        """Say whether a dealing may be certified soon: this bounds what is kept of each dealer."""
        if dealer >= self._context.validators.n or state.is_faulty(dealer):
            return False
        return 0 <= batch - state.next_batch(dealer) < UNUSED_BATCHES_MAX

    def _receive_ack(self, envelope: Envelope) -> str | None:
        current = self._dealer.current
        if current is None:
            return None
        header, _ = current
        if envelope.payload != ack_payload(header):
            return None  # an honest one is late, perhaps under its key of the epoch before
        holder = self._context.validators.index_of_kid.get(envelope.kid)
        if holder is None:
            return "an ack of a stranger"
        if not self._dealer.wants_ack(holder):
            return None
        if not self._signed(Domain.ACK, holder, envelope):
            return f"an ack that holder {holder} did not sign"
        self._dealer.take_ack(holder, envelope.signature)
        return None

    def _receive_reveal(
        self, state: BeaconState, sender: ValidatorIndex, envelope: Envelope, now: Now
    ) -> str | None:
        try:
            reveal = decode_as(envelope.payload, RevealPayload)
        except DecodeError as error:
            return f"a reveal is malformed: {error}"
        if reveal.epoch != self._context.epoch:
            return None
        holder = self._context.validators.index_of_kid.get(envelope.kid)
        if holder is None:
            return "a reveal of a stranger"
        if holder == self._me:
            return None
        running = self._running.get(reveal.roll)
        early = 0 <= reveal.roll - state.next_roll < EARLY_ROLLS_MAX
        if not early and (running is None or holder in running.roll.heard):
            return None
        # A link says who sends; what comes by another's hands is checked by its signature.
        if holder != sender and not self._signed(Domain.REVEAL, holder, envelope):
            return f"a reveal that holder {holder} did not sign"
        if running is None:
            self._early.setdefault((reveal.roll, holder), (reveal, envelope))
            return None
        return self._take_reveal(running, holder, reveal, envelope, now)

    def _take_reveal(
        self,
        running: _Running,
        holder: ValidatorIndex,
        reveal: RevealPayload,
        envelope: Envelope,
        now: Now,
    ) -> str | None:
        fault = running.roll.check(reveal)
        if fault is None:
            doubted = running.roll.doubted
            fault = running.roll.take(holder, reveal, envelope)
            self._blame(running)
            if running.roll.doubted and not doubted:
                running.ask = Backoff(now, self.delta_ms)
        return fault

    def _receive_get_reveal(self, sender: ValidatorIndex, ask: GetReveal, now: Now) -> None:
        running = self._running.get(ask.roll)
        if running is None or not running.reveal or ask.epoch != self._context.epoch:
            return
        last_ms = running.answered.get((sender, ask.paths))
        if last_ms is not None and now.mono_ms < last_ms + self.delta_ms:
            return
        running.answered[sender, ask.paths] = now.mono_ms
        if ask.paths:
            answer = frame(Number.REVEAL_PATHS, RevealPaths(running.reveal, running.roll.paths()))
        else:
            answer = frame(Number.REVEAL, running.reveal)
        self._effects.append(Send(sender, answer))

    def _receive_paths(self, sender: ValidatorIndex, message: RevealPaths) -> str | None:
        try:
            envelope = parse_envelope(message.reveal)
            reveal = decode_as(envelope.payload, RevealPayload)
        except DecodeError as error:
            return f"a reveal with paths is malformed: {error}"
        holder = self._context.validators.index_of_kid.get(envelope.kid)
        running = self._running.get(reveal.roll)
        if reveal.epoch != self._context.epoch or running is None or holder is None:
            return None
        # Asked of the holder itself, so that nobody else can spoil its paths.
        if holder != sender or holder in running.roll.heard_paths or not running.roll.needs_paths:
            return None
        fault = running.roll.check(reveal)
        if fault is not None:
            return fault
        if len(message.paths) != len(reveal.shares):
            return f"{len(message.paths)} paths of {len(reveal.shares)} shares"
        if not self._signed(Domain.REVEAL, holder, envelope):
            return f"a reveal that holder {holder} did not sign"
        wrong = running.roll.take_paths(holder, reveal, envelope, message.paths)
        self._blame(running)
        return f"{len(wrong)} shares of roll {reveal.roll} are not those dealt" if wrong else None

    def _receive_items(self, state: BeaconState, message: SystemItems) -> str | None:
        for item in message.items:
            try:
                certificate = decode_as(item, DealCertificate)
            except DecodeError as error:
                return f"a system item is no deal certificate: {error}"
            header = read_deal(certificate.deal)
            if isinstance(header, str):
                return header
            if header.epoch != self._context.epoch:
                continue
            key = (header.dealer, header.batch)
            if key in self._certificates or not self._is_due(state, *key):
                continue
            certified = self._context.check_certificate(item)
            if isinstance(certified, str):
                return certified
            self._note_deal(certificate.deal)
            self._certificates[key] = item
        return None

    def _signed(self, domain: Domain, holder: ValidatorIndex, envelope: Envelope) -> bool:
        context = self._context
        key = context.validators.keys[holder]
        return verify_envelope(context.verify, key, domain, context.chain_id, envelope)

    # Dealings held.

    def _hold_own(self) -> None:
        """Hold and ack what this node dealt to itself, if it is not in the journal yet."""
        current = self._dealer.current
        if current is None or not self._dealer.wants_ack(self._me):
            return
        header, deal = current
        if self._find((self._me, header.batch)) is None:
            text = self._dealer.own_text()
            shares = self._open_text(header, text)
            assert isinstance(shares, HeldShares), f"an own dealing: {shares}"
            self._hold(shares, text, deal)
        self._dealer.take_ack(self._me, parse_envelope(self._ack(header)).signature)

    def _hold(self, shares: HeldShares, text: bytes, deal: bytes) -> None:
        header = shares.header
        self._held[header.dealer, header.batch] = _Held(shares, deal)
        self._deals[header.dealer, header.batch] = deal
        self._records.append(
            SharesLogged(
                epoch=header.epoch,
                dealer=header.dealer,
                batch=header.batch,
                deal=deal,
                shares=text,
            )
        )

    def _ack(self, header: DealHeader) -> bytes:
        # Made anew each time: the signature is a function of key and payload.
        return sign_envelope(self._signer, Domain.ACK, self._context.chain_id, ack_payload(header))

    def _send_ack(self, header: DealHeader) -> None:
        to = ValidatorIndex(header.dealer)
        self._effects.append(Send(to, frame(Number.ACK, self._ack(header))))

    def _drop_dealings(self, dealer: int, oldest: int | None) -> None:
        """Forget shares that no roll can need and certificates that came too late."""
        state = self._state
        assert state is not None, "dropped behind a final state"
        next_batch = state.next_batch(dealer)
        first = next_batch if oldest is None else oldest
        for key in [key for key in self._held if key[0] == dealer and key[1] < first]:
            del self._held[key]
        for key in [key for key in self._stored if key[0] == dealer and key[1] < first]:
            del self._stored[key]
        for key in [key for key in self._deals if key[0] == dealer and key[1] < first]:
            del self._deals[key]
        for key in [key for key in self._certificates if key[0] == dealer]:
            if key[1] < next_batch or state.is_faulty(dealer):
                del self._certificates[key]

    # Rolls.

    def _run(self, state: BeaconState, pending: PendingRoll, now: Now) -> _Running:
        """Begin to open a roll: reveal, and take what came before its close was final here."""
        held = [self._find((place.dealer, place.batch)) for place in pending.places]
        dealings = [state.dealt(place) for place in pending.places]
        # A dealer may have given this node shares of a dealing that is not the certified one.
        parts = [
            part.shares if part is not None and part.shares.header.root == dealt.root else None
            for part, dealt in zip(held, dealings, strict=True)
        ]
        roll = OpenRoll(self._context, pending, dealings, parts)
        running = _Running(roll, b"", Backoff(now, self.delta_ms))
        running.ask.due_ms += ASK_DELTAS * self.delta_ms
        if any(part is not None for part in parts):
            running.reveal = sign_envelope(
                self._signer, Domain.REVEAL, self._context.chain_id, roll.payload()
            )
            self._effects.append(Send(None, frame(Number.REVEAL, running.reveal)))
        roll.start()
        for holder in self._context.validators.index_of_kid.values():
            early = self._early.pop((pending.roll, holder), None)
            if early is None:
                continue
            fault = self._take_reveal(running, holder, *early, now)
            if fault is not None:
                self._effects.append(Report(holder, fault))
        return running

    def _ask(self, running: _Running, now: Now) -> None:
        """Ask again for what is missing: everybody, because any t holders are enough."""
        roll = running.roll
        if roll.item is not None or now.mono_ms < running.ask.due_ms:
            return
        running.ask.postpone(now)
        paths = roll.needs_paths
        known = roll.heard_paths if paths else roll.heard
        ask = frame(Number.GET_REVEAL, GetReveal(self._context.epoch, roll.roll.roll, int(paths)))
        for holder in self._context.validators.index_of_kid.values():
            if holder != self._me and holder not in known:
                self._effects.append(Send(holder, ask))

    def _blame(self, running: _Running, *, is_settled: bool = False) -> None:
        """Keep a proof of each signed reveal that the opened roll shows to be false."""
        for lie in running.roll.take_lies(is_settled=is_settled):
            holder, said = ValidatorIndex(lie.holder), lie.reveal
            key = (holder, OffenceKind.FALSE_SHARE)
            if key not in self._proofs and self._signed(Domain.REVEAL, holder, said):
                signed = build_envelope(said.kid, said.payload, said.signature)
                self._proofs[key] = build_false_share(
                    signed, running.roll.secrets, lie.at, lie.leaf, lie.path
                )


def _fitting(items: list[bytes], room: int) -> list[bytes]:
    """Return the first items that fit, one at least if there is any."""
    size = 0
    for count, item in enumerate(items):
        size += len(item)
        if count and size > room:
            return items[:count]
    return items
