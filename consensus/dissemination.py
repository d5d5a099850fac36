"""Telling others what they may have missed, and asking for what is missing here (PROTOCOL 8).

Nothing here makes a statement: what goes out are stored votes, byte for byte, held certificates,
blocks, and Status, which says where a node stands and marks what follows it as a repetition.
"""

from collections.abc import Sequence

from consensus.chain import Chain
from consensus.effects import Now, Send
from consensus.encoding import Record
from consensus.messages import (
    BlockHash,
    Blocks,
    GetBlocks,
    GetCert,
    Number,
    Status,
    frame,
)
from consensus.peers import Peer, Peers
from consensus.rounds import Rounds
from consensus.sync import Fetcher, serve
from consensus.timing import Timing, earliest
from consensus.validators import ValidatorIndex
from consensus.votes import Electorate

RETRY_DELTAS = 4
"""The first repetition of what may have been lost, and how long a peer has for an answer, in Δ̂."""
RETRY_STEPS_MAX = 5
"""Repetitions grow by 8/5 up to about 10 times the first interval."""
RETRIES_ALONE_MAX = 8
"""A node that gave a view up, and has no work of its own, repeats itself so often, then sleeps: a
faulty leader may have shown its proposal to nobody else, so no certificate will ever come."""
FINALIZE_VOTES_REPEATED = 16
REMINDERS_MAX = 16
"""Votes of a peer that it is shown again when it asks on a new link, the newest first."""
RELAYS_FIRST = 2
"""Nodes that look after one peer after Δ̂/2; if both are faulty, the others do after 2 Δ̂."""
STATUS_IDLE_MS = 60_000
"""An idle node tells one neighbour where it stands this often: no vote, no block."""


class Dissemination:
    """The sends of one engine that are no votes of the moment."""

    def __init__(
        self,
        electorate: Electorate,
        me: ValidatorIndex,
        chain: Chain,
        rounds: Rounds,
        parties: int,
    ) -> None:
        """Begin with nothing to say; of the `parties` the validators come first."""
        self._electorate = electorate
        self._validators = electorate.validators
        self._me = me
        self._chain = chain
        self._rounds = rounds
        self.peers = Peers(parties, me)
        self.timing = Timing(self._validators, me)
        self.fetcher = Fetcher(chain, self.peers)
        self.sends: list[Send] = []
        self._retries = 0
        self._retry_ms = 0
        self._relay_ms: int | None = None
        self._relay_all_ms: int | None = None
        self._relay_mark = self._relay_all_mark = (0, 0)
        self._old_mark = (0, 0)  # where everybody had time to be
        self._status_ms = 0
        self._ask_ms = 0

    @property
    def delta_ms(self) -> int:
        """The estimate of one-way delay."""
        return self.timing.delta_ms

    @property
    def is_tired(self) -> bool:
        """Whether everything was repeated often enough for a node without work."""
        return self._retries >= RETRIES_ALONE_MAX

    # What happens to the engine.

    def start(self, now: Now) -> None:
        """Tell everybody where this node stands; stored votes go out again at once."""
        self._status_ms = now.mono_ms + STATUS_IDLE_MS
        self._old_mark = self._mark()
        if not self.peers.others:
            return
        if self._rounds.has_own_votes():
            self._repeat(now)
        else:
            self._ask_status(None, now)

    def peer_up(self, peer: ValidatorIndex, now: Now) -> None:
        """Greet a peer whose link came up: it may have lost what it knew."""
        known = self.peers[peer]
        known.view = known.final_view = 0
        known.silent = False
        known.reminded = False
        known.help_ms = 0
        self._ask_status(peer, now)

    def _remind(self, peer: ValidatorIndex) -> None:
        """Show a peer its own votes: one that forgot them, or whose key others use, must know.

        It comes before the first Status on a link, after which the peer may vote.
        """
        if self.peers[peer].reminded:
            return
        self.peers[peer].reminded = True
        for vote in self._rounds.votes_of(peer, REMINDERS_MAX):
            self.sends.append(Send(peer, frame(Number.VOTE, vote)))

    def entered(self, now: Now) -> None:
        """A view began."""
        self._retries = self._ask_ms = 0
        self.relay_soon(now)

    def relay_soon(self, now: Now) -> None:
        """Pass certificates on in a moment, to those not seen to have them by then.

        Two nodes look after each peer; all others only when that did not help, in turn.
        """
        n = self._validators.n
        if self._relay_ms is None:
            self._relay_ms = now.mono_ms + self.delta_ms // 2 + 1
            self._relay_mark = self._mark()
        if self._relay_all_ms is None:
            turn = (self._me + self._rounds.view) % n
            self._relay_all_ms = now.mono_ms + self.delta_ms * (2 * n + turn) // n
            self._relay_all_mark = self._mark()

    def _mark(self) -> tuple[int, int]:
        """Return the view and the final view that held certificates lead to."""
        final = self._rounds.better or self._rounds.finalization
        return self._rounds.view, final.view if final is not None else 0

    def woke(self, now: Now, deltas: int) -> None:
        """Timers run from now on: repeat what is not answered after so many Δ̂."""
        if self._retries == 0 or self.is_tired:
            self._retries = 0
            self._retry_ms = now.mono_ms + deltas * self.delta_ms

    # What comes in.

    def on_status(self, sender: ValidatorIndex, status: Status, now: Now, *, awake: bool) -> None:
        """Measure, answer, and help a peer that is behind, whether this node is awake or not."""
        if status.epoch != self._electorate.epoch:
            return
        if status.echo_ms and sender < self._validators.n:
            self.timing.answered(sender, status.echo_ms, status.wall_ms, now)
        if status.ask:
            self._remind(sender)
            answer = self._status(now, ask=0, echo_ms=status.wall_ms)
            self._send(sender, Number.STATUS, answer)
        peer = self.peers[sender]
        has_lost = status.final_view < peer.final_view  # it began anew: what it was sent is gone
        peer.view, peer.final_view, peer.stated = status.view, status.final_view, True
        if now.mono_ms < peer.help_ms and not has_lost:
            return
        view, final_view = self._old_mark
        is_late = peer.view < view or peer.final_view < final_view
        helped = is_late and self._help(sender)
        if status.ask and not awake and status.view == self._rounds.view:
            helped |= self._repeat_votes(sender)
        if helped:
            peer.help_ms = now.mono_ms + self.delta_ms

    def on_get_cert(self, sender: ValidatorIndex, ask: GetCert, now: Now) -> None:
        """Answer with what settles the view, if it is settled here."""
        if ask.epoch != self._electorate.epoch:
            return
        final = self._rounds.better or self._rounds.finalization
        held = [final] if final is not None and final.view >= ask.view else []
        if not held and (known := self._rounds.get(ask.view)) is not None:
            held = known.certificates()
        for one in held:
            if self.peers.may_be_served(sender, len(one.data), now.mono_ms):
                self._send(sender, Number.CERTIFICATE, one.data)

    def on_get_blocks(self, sender: ValidatorIndex, ask: GetBlocks, now: Now) -> None:
        """Answer with blocks, as far as the peer's allowance goes."""
        if self.peers.may_be_served(sender, 0, now.mono_ms):
            answer = serve(self._chain, ask)
            if answer is not None:
                data = frame(Number.BLOCKS, answer)
                self.peers.may_be_served(sender, len(data), now.mono_ms)
                self.sends.append(Send(sender, data))

    def on_blocks(self, sender: ValidatorIndex, answer: Blocks) -> str:
        """Take fetched blocks; return what is wrong with them, or nothing."""
        return self.fetcher.take(sender, answer)

    # What is due.

    def speak(
        self,
        now: Now,
        *,
        awake: bool,
        missing: tuple[BlockHash, bool] | None,
        unsettled: int | None,
    ) -> None:
        """Send what is due.

        `missing` has to be fetched, and whether it is final; `unsettled` is a view to ask about.
        """
        now_ms, view = now.mono_ms, self._rounds.view
        if not self.peers.others:
            return
        if self._relay_ms is not None and now_ms >= self._relay_ms:
            self._relay_ms = None
            turn, n = self._me - view, self._validators.n
            first = [one for one in self.peers.others if (turn - one[0]) % n < RELAYS_FIRST]
            self._relay(first, self._relay_mark, now)
        if self._relay_all_ms is not None and now_ms >= self._relay_all_ms:
            self._relay_all_ms = None
            self._old_mark = self._relay_all_mark
            self._relay(self.peers.others, self._old_mark, now)
        if awake and now_ms >= self._retry_ms:
            self._repeat(now)
        if missing is not None or self.fetcher.deadline_ms is not None:
            target, final = missing or (None, False)
            self.fetcher.seek(target, final=final, leader=self._validators.leader(view - 1))
            request = self.fetcher.ask(now_ms, self.delta_ms)
            if request is not None:
                self._send(request[0], Number.GET_BLOCKS, request[1])
        if unsettled is not None and now_ms >= self._ask_ms:
            self._ask_certificate(unsettled, now)
        if now_ms >= self._status_ms:
            self._ask_status(self.peers.next_turn(), now)

    def deadline_ms(self, *, awake: bool, asks: bool) -> int | None:
        """Return when `speak` has something to say; `asks` for the certificate of a view."""
        if not self.peers.others:
            return None
        return earliest(
            self._status_ms,
            self._relay_ms,
            self._relay_all_ms,
            self.fetcher.deadline_ms,
            self._retry_ms if awake else None,
            self._ask_ms if asks else None,
        )

    def _relay(
        self, peers: Sequence[tuple[ValidatorIndex, Peer]], mark: tuple[int, int], now: Now
    ) -> None:
        """Help those who did not reach a mark; what came after it has its own time."""
        view, final_view = mark
        for peer, known in peers:
            if known.view < view or known.final_view < final_view:
                self._help(peer)
        if mark != self._mark():
            self.relay_soon(now)

    def _help(self, to: ValidatorIndex) -> bool:
        """Send the certificates that bring a peer to where this node is, if it is behind."""
        peer, final = self.peers[to], self._rounds.better or self._rounds.finalization
        helped = False
        if final is not None and peer.final_view < final.view:
            self._send(to, Number.CERTIFICATE, final.data)
            helped = True
        entry = self._rounds.entry()
        if entry is not None and entry is not final and peer.view < self._rounds.view:
            self._send(to, Number.CERTIFICATE, entry.data)
            helped = True
        return helped

    def _ask_certificate(self, view: int, now: Now) -> None:
        """Ask for what settles a view: whoever led the next one first, then anybody."""
        first = self._validators.leader(view + 1)
        peer = first if self._ask_ms == 0 and first != self._me else self.peers.next_turn()
        self._ask_ms = now.mono_ms + RETRY_DELTAS * self.delta_ms
        self._send(peer, Number.GET_CERT, GetCert(self._electorate.epoch, view))

    def _repeat(self, now: Now) -> None:
        """Say again what others may have missed; whoever is ahead of the Status in front helps."""
        self._ask_status(None, now)
        for peer, _ in self.peers.others:
            self._help(peer)
        self._repeat_votes(None)
        steps = min(self._retries, RETRY_STEPS_MAX)
        self._retries += 1
        self._retry_ms = now.mono_ms + RETRY_DELTAS * self.delta_ms * 8**steps // 5**steps

    def _repeat_votes(self, to: ValidatorIndex | None) -> bool:
        """Send own votes that a certificate may still need, and an own proposal to who lacks it."""
        votes = [known.finalize for known in self._rounds.open][-FINALIZE_VOTES_REPEATED:]
        known = self._rounds.get(self._rounds.view)
        if known is not None:
            votes += [known.notarize, known.nullify]
            if known.proposal_frame:
                voted = known.voters_for_proposal()
                self.sends += [
                    Send(peer, known.proposal_frame)
                    for peer, _ in self.peers.others
                    if to in (None, peer) and not voted >> peer & 1
                ]
        frames = [vote.frame for vote in votes if vote is not None]
        self.sends += [Send(to, data) for data in frames]
        return bool(frames)

    def _ask_status(self, peer: ValidatorIndex | None, now: Now) -> None:
        self.timing.asked(now)
        self._status_ms = now.mono_ms + STATUS_IDLE_MS
        self._send(peer, Number.STATUS, self._status(now, ask=1, echo_ms=0))

    def _status(self, now: Now, *, ask: int, echo_ms: int) -> Status:
        final = self._chain.final
        return Status(
            ask,
            self._electorate.epoch,
            self._rounds.view,
            final.height,
            final.view,
            final.hash,
            now.wall_ms,
            echo_ms,
        )

    def _send(self, to: ValidatorIndex | None, number: Number, body: Record | bytes) -> None:
        self.sends.append(Send(to, frame(number, body)))
