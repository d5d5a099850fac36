"""One roll being opened: shares come in, secrets come out (PROTOCOL 11.5).

On the fast path a reveal is 32 bytes for each secret and no path: any t shares give the polynomial,
and its leaves must give the root that was dealt. Only if they do not, shares must come with their
paths; then a wrong share is dropped, and t proven shares that still give another root prove that the
dealer shared no secret. Nothing here fails for want of one share: it waits for t of any holders.
"""

from collections.abc import Sequence
from typing import Annotated

import msgspec

from consensus.beacon_items import (
    BeaconContext,
    Dealt,
    KnownSecret,
    Opening,
    encode_settle,
    recover_root,
)
from consensus.beacon_state import PendingRoll, Place
from consensus.dealing import BATCH, OUTER_PATH, HeldShares, is_element, path_length, split
from consensus.encoding import Bytes32, Record, Uint, encode
from consensus.merkle import MerkleTree, verify_proof
from consensus.shamir import ELEMENT_BYTES
from consensus.signing import Envelope
from consensus.validators import VALIDATORS_MAX, ValidatorIndex, bitmap

Path = tuple[bytes, ...]


class RevealPayload(Record, frozen=True):
    """What a holder signs: its share of each secret of a roll, empty where it holds none."""

    epoch: Uint
    roll: Uint
    close_hash: Bytes32
    shares: Annotated[
        tuple[Annotated[bytes, msgspec.Meta(max_length=ELEMENT_BYTES)], ...],
        msgspec.Meta(min_length=1, max_length=VALIDATORS_MAX),
    ]


class _Secret:
    """One secret of the roll."""

    __slots__ = (
        "claimed",
        "context",
        "dealt",
        "opening",
        "outer",
        "place",
        "proven",
        "root",
        "suspect",
    )

    def __init__(
        self, context: BeaconContext, place: Place, dealt: Dealt, held: HeldShares | None
    ) -> None:
        self.context = context
        self.place = place
        self.dealt = dealt
        self.root: bytes | None = None
        self.outer: Path = ()
        self.claimed: dict[int, bytes] = {}
        self.proven: dict[int, tuple[bytes, Path]] = {}
        self.suspect = False
        self.opening: Opening | None = None
        index = place.index
        if held is not None:
            self.root, self.outer = held.roots[index], held.outer_path(index)
            self.proven[held.holder] = (held.shares[index], held.inner_paths[index])
        elif dealt.roots:
            roots = split(dealt.roots)
            self.root, self.outer = roots[index], MerkleTree(roots).proof(index)
        for holder, _ in dealt.published:
            share = dealt.published_share(holder, index)
            assert share is not None, f"a published share of {holder}"
            self.proven[holder] = (share, ())

    def take_path(self, holder: int, share: bytes, path: Path) -> bool:
        """Take a share with root, inner and outer path; False when they prove nothing."""
        place, n = self.place, self.context.validators.n
        inner = path_length(n, holder)
        if len(path) != 1 + inner + OUTER_PATH or not is_element(share):
            return False
        root, outer = path[0], path[1 + inner :]
        leaf = self.context.leaf_scheme(place.dealer, place.batch).leaf(place.index, holder, share)
        if not verify_proof(root, n, holder, leaf, path[1 : 1 + inner]):
            return False
        if not verify_proof(self.dealt.root, BATCH, place.index, root, outer):
            return False
        self.root, self.outer = root, outer
        self.claimed.pop(holder, None)
        self.proven.setdefault(holder, (share, path[1 : 1 + inner]))
        return True

    @property
    def liars(self) -> tuple[int, ...]:
        """Holders that claimed another share than the opened dealing gave them."""
        known = self.context.known_secret(self.dealt.root, self.place.index)
        if known is None:
            return ()
        return tuple(j for j, share in self.claimed.items() if share != known.shares[j])

    @property
    def needs_paths(self) -> bool:
        """Whether only shares with paths are of use."""
        return self.opening is None and (self.suspect or self.root is None)

    def attempt(self) -> None:
        """Recover the secret, or prove that there is none, from t shares if they are here."""
        if self.opening is not None or self.root is None:
            return
        # A holder is never in both.
        have = len(self.proven) + (0 if self.suspect else len(self.claimed))
        if have < self.context.t:
            return
        proven = {holder: share for holder, (share, _) in self.proven.items()}
        if not self.suspect:
            if self._solve(proven | self.claimed):
                return
            self.suspect = True
        if len(proven) >= self.context.t and not self._solve(proven):
            self._condemn(sorted(proven)[: self.context.t])

    def _solve(self, shares: dict[int, bytes]) -> bool:
        context, place = self.context, self.place
        holders = tuple(sorted(list(shares)[: context.t]))
        chosen = [shares[holder] for holder in holders]
        scheme = context.leaf_scheme(place.dealer, place.batch)
        secret, complete, root = recover_root(
            scheme, place.index, context.validators.n, holders, chosen
        )
        if root != self.root:
            return False
        path = b"".join(self.outer)
        known = KnownSecret(secret, complete, path)
        context.learn_secret(self.dealt.root, place.index, known)
        self.opening = Opening(bitmap(holders, context.validators.n), b"".join(chosen), path)
        return True

    def _condemn(self, holders: Sequence[int]) -> None:
        """Prove with t shares of the tree that its dealer shared no secret."""
        assert self.root is not None, "shares are proven under a root"
        self.opening = Opening(
            bitmap(holders, self.context.validators.n),
            b"".join(self.proven[holder][0] for holder in holders),
            b"".join(self.outer),
            (self.root, *(b"".join(self.proven[holder][1]) for holder in holders)),
        )


class OpenRoll:
    """A closed roll whose close is final: collects shares until every secret is known."""

    def __init__(
        self,
        context: BeaconContext,
        roll: PendingRoll,
        dealings: Sequence[Dealt],
        held: Sequence[HeldShares | None],
    ) -> None:
        """Begin with the published shares and with what this node holds, None where nothing."""
        assert roll.close_hash, f"roll {roll.roll} has no close hash"
        self.roll = roll
        self.item: bytes | None = None
        """The settle, as soon as every secret is known."""
        self.heard: dict[int, Envelope | None] = {}
        """Holders whose reveal is here, with what they signed unless it came with paths."""
        self.heard_paths: dict[int, None] = {}
        """Holders whose reveal with paths is here."""
        self._context = context
        self._secrets = [
            _Secret(context, place, dealt, mine)
            for place, dealt, mine in zip(roll.places, dealings, held, strict=True)
        ]
        self._held = tuple(held)

    def payload(self) -> bytes:
        """Return the bytes of this node's reveal."""
        roll = self.roll
        shares = tuple(
            b"" if held is None else held.shares[place.index]
            for place, held in zip(roll.places, self._held, strict=True)
        )
        return encode(RevealPayload(self._context.epoch, roll.roll, roll.close_hash, shares))

    def paths(self) -> tuple[Path, ...]:
        """Return what proves each share of `payload`."""
        return tuple(
            () if held is None else held.path(place.index)
            for place, held in zip(self.roll.places, self._held, strict=True)
        )

    @property
    def needs_paths(self) -> bool:
        """Whether some secret is stuck until shares come with paths."""
        return any(secret.needs_paths for secret in self._secrets)

    @property
    def doubted(self) -> bool:
        """Whether some secret is stuck because a share was wrong."""
        return any(secret.suspect and secret.opening is None for secret in self._secrets)

    def liars(self) -> tuple[tuple[int, Place], ...]:
        """Return who claimed a share that is not on the polynomial that was opened, and of what."""
        return tuple((j, secret.place) for secret in self._secrets for j in secret.liars)

    def start(self) -> None:
        """Open what needs nobody else: a lone player's roll."""
        self._attempt()

    def check(self, reveal: RevealPayload) -> str | None:
        """Say what makes a reveal useless whatever its shares are."""
        if reveal.close_hash != self.roll.close_hash:
            return f"a reveal of roll {self.roll.roll} behind another block"
        if len(reveal.shares) != len(self._secrets):
            return f"a reveal of {len(reveal.shares)} shares of {len(self._secrets)} secrets"
        if not all(not share or is_element(share) for share in reveal.shares):
            return "a revealed share is no field element"
        return None

    def take(self, holder: ValidatorIndex, reveal: RevealPayload, signed: Envelope) -> None:
        """Take a checked reveal on trust; only a holder's first counts."""
        if holder in self.heard:
            return
        self.heard[holder] = signed
        for secret, share in zip(self._secrets, reveal.shares, strict=True):
            if share and holder not in secret.proven:
                secret.claimed[holder] = share
        self._attempt()

    def take_paths(
        self, holder: ValidatorIndex, reveal: RevealPayload, paths: Sequence[Path]
    ) -> tuple[Place, ...]:
        """Take a checked reveal with paths; return where its share is not what was dealt."""
        self.heard_paths[holder] = None
        self.heard.setdefault(holder, None)
        wrong = []
        for secret, share, path in zip(self._secrets, reveal.shares, paths, strict=True):
            if not share:
                continue
            if not secret.take_path(holder, share, path):
                wrong.append(secret.place)
        self._attempt()
        return tuple(wrong)

    def _attempt(self) -> None:
        if self.item is not None:
            return
        for secret in self._secrets:
            secret.attempt()
        openings = [secret.opening for secret in self._secrets if secret.opening is not None]
        if len(openings) == len(self._secrets):
            self.item = encode_settle(self.roll.roll, openings)
