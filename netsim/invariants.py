"""What must hold at every step of every run, stated apart from the code that it judges (PROTOCOL 7.1).

The names are those of the protocol's proof: I1 to I6 hold for each honest validator over all its
lives, G1 to G8 over all of them together. Nobody asks an engine whether it is right: what is judged
is what came out, every certificate with its signatures.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeAlias

from consensus.effects import (
    BlockLogged,
    CertificateLogged,
    Committed,
    FinalLogged,
    Halt,
    LogRecord,
    Persist,
    Report,
    Send,
    SnapshotLogged,
    VoteLogged,
)
from consensus.encoding import DecodeError, decode_as
from consensus.evidence import epoch_of, verify_evidence
from consensus.messages import (
    Body,
    Certificate,
    Flag,
    Header,
    Number,
    Proposal,
    VoteKind,
    block_hash,
    parse_vote,
    vote_payload,
)
from consensus.signing import Domain, KeyId, PublicKey, Verify, parse_envelope, signed_bytes
from consensus.validators import Validators


def quorum_of(n: int) -> int:
    """Return how many of `n` voters make a certificate (PROTOCOL 5)."""
    return n - (n - 1) // 3


class ViolatedError(AssertionError):
    """An invariant does not hold; the text names it."""


_VOTE, _PROPOSAL, _CERTIFICATE = map(int, (Number.VOTE, Number.PROPOSAL, Number.CERTIFICATE))
_EXCLUDED = {VoteKind.NULLIFY: VoteKind.FINALIZE, VoteKind.FINALIZE: VoteKind.NULLIFY}
"""What nobody says of a view beside it."""
Round: TypeAlias = tuple[int, int]
"""An epoch and a view in it."""
_Stated: TypeAlias = tuple[int, Round, bytes]
"""What a certificate says: its kind, where, about which block."""


class Invariants:
    """Watches the effects of honest hosts before they are performed."""

    def __init__(
        self,
        validators: Validators,
        chain_id: bytes,
        verify: Verify,
        *,
        byzantine: Sequence[int] = (),
        root_of: Callable[[Sequence[bytes]], bytes] | None = None,
    ) -> None:
        """Know the keys, whom to leave unjudged, and the state's root after all final actions."""
        self._electorates = {0: validators}
        self._hosts = {0: tuple(range(validators.n))}  # of each epoch's validators
        self._chain_id = chain_id
        self._verify = verify
        self.byzantine = tuple(byzantine)
        self.foreign: dict[int, None] = {}
        """Hosts that spoke another version: their messages may be found wrong, and nothing proven."""
        self._root_of = root_of
        self._durable: dict[tuple[int, Round, int], bytes] = {}  # host, round, kind -> digest
        self._sent: dict[tuple[int, Round, int], bytes] = {}
        self._certified: dict[tuple[Round, int], bytes] = {}  # round, kind -> digest
        self._proved: dict[bytes, _Stated] = {}  # certificates verified here
        self._own_certificates: dict[tuple[int, Round, int], bytes] = {}
        self._blocks: dict[bytes, tuple[bytes, bytes]] = {}  # stored by somebody
        self._chain: list[tuple[bytes, Header]] = []  # agreed blocks from height 1
        self._heights: dict[bytes, int] = {}
        self._actions: dict[bytes, int] = {}
        self._shown: Counter[int] = Counter()  # committed height by host
        self._stored: Counter[int] = Counter()  # durable final height by host
        self._fetched: list[bytes] = []  # blocks whose state is durable with them
        self._final_rounds: dict[int, Round] = {}

    def begins(self, epoch: int, validators: Validators, hosts: Sequence[int]) -> None:
        """A node enters an epoch with these voters at these hosts: all have to agree on them."""
        known = self._electorates.setdefault(epoch, validators)
        if known.keys != validators.keys or known.leader(1) != validators.leader(1):
            raise ViolatedError(f"G4 two sets of voters in epoch {epoch}")
        self._hosts.setdefault(epoch, tuple(hosts))

    def voters(self, epoch: int) -> int:
        """Return how many vote in an epoch that somebody has entered."""
        return self._electorates[epoch].n

    def host_of(self, epoch: int, kid: bytes) -> int | None:
        """Return whose key a voter's key id is in an epoch, None if it is nobody's."""
        voters = self._electorates.get(epoch)
        index = voters.index_of_kid.get(KeyId(kid)) if voters is not None else None
        return None if index is None else self._hosts[epoch][index]

    def keys_at(self, epoch: int) -> Sequence[tuple[int, PublicKey]]:
        """Return the voters' hosts and keys by index, none of an epoch that nobody entered."""
        voters = self._electorates.get(epoch)
        if voters is None:
            return ()
        return tuple(zip(self._hosts[epoch], voters.keys, strict=True))

    def leader_at(self, epoch: int, view: int) -> int:
        """Return the host that leads a view of a known epoch."""
        return self._hosts[epoch][self._electorates[epoch].leader(view)]

    def hash_at(self, height: int) -> bytes:
        """Return the hash of an agreed block."""
        return self._chain[height - 1][0]

    def height_of(self, hash_: bytes) -> int | None:
        """Return the height of an agreed block, None for any other."""
        return self._heights.get(hash_)

    def shows(self, host: int, height: int) -> None:
        """Take note that a host whose effects are not watched has shown everything up to here."""
        self._shown[host] = height

    def stored_height(self, host: int) -> int:
        """Return the final height that a host has stored."""
        return self._stored[host]

    @property
    def height(self) -> int:
        """The greatest height that an honest host finalized."""
        return len(self._chain)

    def lost_disk(self, host: int, records: Sequence[LogRecord]) -> None:
        """A host has another disk with these records; what it signed and said stays signed."""
        kept = {(one.epoch, one.view, one.kind) for one in records if isinstance(one, VoteLogged)}
        for key in [key for key in self._durable if key[0] == host and key not in self._sent]:
            if (*key[1], key[2]) not in kept:
                del self._durable[key]
        finals = (one.height for one in records if isinstance(one, FinalLogged))
        self._stored[host] = max(finals, default=0)
        self._final_rounds.pop(host, None)

    def restarted(self, host: int, height: int, root: bytes) -> None:
        """A host came back with this final height: exactly what it had stored."""
        if host in self.byzantine:
            return
        if height != self._stored[host]:
            raise ViolatedError(
                f"G5 host {host} restarts at {height}, it stored {self._stored[host]}"
            )
        if height and root != self._chain[height - 1][1].state_root:
            raise ViolatedError(f"G6 host {host} restarts with another state at {height}")
        self._shown[host] = height

    def observe(self, host: int, effect: object) -> None:
        """Check one effect; raises `ViolatedError`."""
        if host in self.byzantine:
            return
        if isinstance(effect, Send):
            number = effect.frame[0]
            if number == _VOTE:
                self._sent_vote(host, effect.frame[1:])
            elif number == _PROPOSAL:
                self._sent_vote(host, decode_as(effect.frame[1:], Proposal).vote)
            elif number == _CERTIFICATE:
                self._valid("G1", host, "sends", effect.frame[1:])
            return
        match effect:
            case Persist(records):
                final = -1
                # With its whole state beside it a final block may stand far above the last one.
                self._fetched = []
                for record in records:
                    if isinstance(record, FinalLogged):
                        final = max(final, record.view)
                    elif isinstance(record, SnapshotLogged):
                        self._fetched.append(record.hash)
                for record in records:
                    self._stored_record(host, record, final)
            case Committed():
                self._committed(host, effect)
            case Halt(reason):
                raise ViolatedError(f"halt: host {host}: {reason}")
            case Report(peer, fault) if peer not in self.byzantine and peer not in self.foreign:
                raise ViolatedError(f"blame: host {host} blames honest host {peer}: {fault}")
            case _:
                pass

    def accused(self, host: int, proofs: Sequence[bytes]) -> list[int]:
        """Return whom the proofs of fault that an honest host holds name.

        Each is valid, and against no honest one: else `ViolatedError`.
        """
        offenders: list[int] = []
        if host in self.byzantine:
            return offenders
        for proof in proofs:
            epoch = epoch_of(proof)
            if isinstance(epoch, str):
                raise ViolatedError(f"blame: host {host} holds {epoch}")
            voters = self._electorates[epoch]
            offence = verify_evidence(proof, voters, self._chain_id, epoch, self._verify)
            if isinstance(offence, str):
                raise ViolatedError(f"blame: host {host} holds {offence}")
            offender = self._hosts[epoch][offence.offender]
            if offender not in self.byzantine:
                raise ViolatedError(
                    f"blame: host {host} proves {offence.kind.name} of an honest host"
                )
            offenders.append(offender)
        return offenders

    def convicted(self, host: int, whom: int) -> None:
        """A block that is final at an honest host convicts another one."""
        if host not in self.byzantine and whom not in self.byzantine:
            raise ViolatedError(f"blame: the table convicts honest host {whom}")

    def _stored_record(self, host: int, record: LogRecord, final: int) -> None:
        match record:
            case VoteLogged():
                self._vote(host, record, final)
            case CertificateLogged():
                self._valid("G1", host, "stores", record.certificate)
                key = (host, (record.epoch, record.view), record.kind)
                if self._own_certificates.setdefault(key, record.digest) != record.digest:
                    raise ViolatedError(f"G1 host {host} stores two certificates of one view")
            case BlockLogged():
                self._blocks[record.hash] = (record.header, record.body)
            case FinalLogged():
                self._final(host, record)
            case _:
                pass

    def _vote(self, host: int, record: VoteLogged, final: int) -> None:
        round_, kind = (record.epoch, record.view), VoteKind(record.kind)
        if self._durable.setdefault((host, round_, kind), record.digest) != record.digest:
            raise ViolatedError(f"I1 host {host} votes {kind.name} twice in {round_}")
        excluded = _EXCLUDED.get(kind)
        if excluded is not None and (host, round_, excluded) in self._durable:
            raise ViolatedError(f"I2 host {host} nullifies and finalizes {round_}")
        if kind is VoteKind.FINALIZE:
            held = self._own_certificates.get((host, round_, VoteKind.NOTARIZE))
            # A certificate that a final block outdates in the same step is not stored any more.
            outdated = record.view <= final and self._is_notarized(round_, record.digest)
            if held != record.digest and not outdated:
                raise ViolatedError(f"I3 host {host} finalizes {round_} without notarization")
        if round_ <= self._final_rounds.get(host, (0, 0)):
            raise ViolatedError(f"I5 host {host} votes in {round_}, not above its final one")

    def _sent_vote(self, host: int, data: bytes) -> None:
        envelope = parse_envelope(data)
        vote = parse_vote(envelope.payload)
        signer = self._electorates[vote.epoch].index_of_kid[envelope.kid]
        if self._hosts[vote.epoch][signer] != host:
            return
        key = (host, (vote.epoch, vote.view), vote.kind)
        if self._durable.get(key) != vote.digest:
            raise ViolatedError(f"I6 host {host} sends a vote of view {vote.view} not durable")
        if self._sent.setdefault(key, data) != data:
            raise ViolatedError(f"I6 host {host} sends other bytes for its vote of {vote.view}")

    def _valid(self, rule: str, host: int, does: str, data: bytes) -> _Stated:
        """Check a certificate with all its signatures, and against all others ever seen."""
        known = self._proved.get(data)
        if known is not None:
            return known
        who = f"{rule} host {host} {does}"
        try:
            certificate = decode_as(data, Certificate)
        except DecodeError as error:
            raise ViolatedError(f"{who} a certificate that does not parse") from error
        kind, view = VoteKind(certificate.kind), certificate.view
        payload = vote_payload(kind, certificate.epoch, view, certificate.digest)
        mask = int.from_bytes(certificate.signers, "little")
        voters, round_ = self._electorates[certificate.epoch], (certificate.epoch, view)
        signers = [i for i in range(voters.n) if mask >> i & 1]
        if len(signers) < quorum_of(voters.n) or len(signers) != len(certificate.signatures):
            raise ViolatedError(f"{who} a {kind.name} certificate of {len(signers)} signers")
        for signer, signature in zip(signers, certificate.signatures, strict=True):
            kid, key = voters.kids[signer], voters.keys[signer]
            message = signed_bytes(kid, Domain.VOTE, self._chain_id, payload)
            if not self._verify(key, message, signature):
                raise ViolatedError(f"{who} a certificate that {signer} did not sign")
        stated = self._proved[data] = (kind, round_, certificate.digest)
        if self._certified.setdefault((round_, kind), certificate.digest) != certificate.digest:
            raise ViolatedError(f"G1 two {kind.name} certificates of {round_}")
        if (round_, VoteKind.NULLIFY) in self._certified and (
            round_,
            VoteKind.FINALIZE,
        ) in self._certified:
            raise ViolatedError(f"G2 {round_} is nullified and final")
        return stated

    def _final(self, host: int, record: FinalLogged) -> None:
        """A host stores its next final block; here the chains of all hosts meet."""
        height = record.height
        stored = self._stored[host]
        if height != stored + 1 and not (height > stored and record.hash in self._fetched):
            raise ViolatedError(f"G5 host {host} stores height {height} after {stored}")
        self._stored[host] = height
        if height > len(self._chain):
            self._extend(record)
        elif self._chain[height - 1][0] != record.hash:
            raise ViolatedError(f"G4 two final blocks at height {height}")
        header = self._chain[height - 1][1]
        sealed = header.flags == Flag.SEAL
        self._final_rounds[host] = (header.epoch + 1, 0) if sealed else (header.epoch, header.view)
        if record.certificate:
            self._proven(host, record.certificate, header, record.hash)

    def _proven(self, host: int, data: bytes, header: Header, hash_: bytes) -> None:
        """A final block is proved by its own certificate, and was notarized before."""
        round_ = (header.epoch, header.view)
        if self._valid("G3", host, "stores", data) != (VoteKind.FINALIZE, round_, hash_):
            raise ViolatedError(f"G3 host {host} stores a final block with another's certificate")
        if not self._is_notarized(round_, hash_):
            raise ViolatedError(f"G3 {round_} is final and not notarized")

    def _is_notarized(self, round_: Round, hash_: bytes) -> bool:
        """Say whether a quorum may have voted for a block: honest votes stored, and all others."""
        hosts = self._hosts[round_[0]]
        notarizers = sum(
            self._durable.get((other, round_, VoteKind.NOTARIZE)) == hash_ for other in hosts
        )
        return notarizers + len(self.byzantine) >= quorum_of(len(hosts))

    def _committed(self, host: int, block: Committed) -> None:
        height = block.height
        if height != self._shown[host] + 1 or height > self._stored[host]:
            raise ViolatedError(f"G5 host {host} shows height {height} after {self._shown[host]}")
        self._shown[host] = height
        if (block.hash, block.header) != self._chain[height - 1]:
            raise ViolatedError(f"G4 host {host} shows another block at {height} than it stores")

    def _extend(self, record: FinalLogged) -> None:
        """A new agreed block: check it against the chain so far."""
        height = record.height
        header_bytes, body_bytes = self._blocks[record.hash]
        header, body = decode_as(header_bytes, Header), decode_as(body_bytes, Body)
        if (block_hash(header_bytes), header.height, header.view) != (
            record.hash,
            height,
            record.view,
        ):
            raise ViolatedError(f"G4 height {height} is not what its record says")
        if self._chain:
            parent, above = self._chain[-1]
            follows = (above.epoch, above.view)
            if above.flags == Flag.SEAL:
                follows = (above.epoch + 1, 0)
            if header.parent_hash != parent or (header.epoch, header.parent_view) != follows:
                raise ViolatedError(f"G4 height {height} does not extend the final chain")
            if header.time_ms <= above.time_ms:
                raise ViolatedError(f"G4 height {height} is not later than its parent")
        for action in body.actions:
            if action in self._actions:
                raise ViolatedError(f"G8 action {action.hex()} is final twice")
            self._actions[action] = height
        self._chain.append((record.hash, header))
        self._heights[record.hash] = height
        if self._root_of is not None and self._root_of(self.actions) != header.state_root:
            raise ViolatedError(f"G6 the state root at height {height} is not the model's")

    @property
    def actions(self) -> tuple[bytes, ...]:
        """Every final action, in order."""
        return tuple(self._actions)
