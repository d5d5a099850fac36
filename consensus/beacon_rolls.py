"""One roll being opened: shares come in, secrets come out (PROTOCOL 11.5).

On the fast path a reveal is 32 bytes for each secret and no path: any t shares give the polynomial,
and its leaves must give the root that was dealt. Only if they do not, shares must come with their
paths; then a wrong share is dropped, and t proven shares that still give another root prove that the
dealer shared no secret. Nothing here fails for want of one share: it waits for t of any holders.
"""

from collections.abc import Sequence
from dataclasses import dataclass
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
from consensus.dealing import (
    BATCH,
    OUTER_PATH,
    HeldShares,
    Holder,
    is_dealt,
    is_element,
    path_length,
    split,
)
from consensus.encoding import Bytes32, Digest, Record, Uint, digest, encode
from consensus.merkle import MerkleTree
from consensus.shamir import ELEMENT_BYTES
from consensus.signing import Envelope
from consensus.validators import VALIDATORS_MAX, ValidatorIndex, bitmap

Path = tuple[bytes, ...]
PATH_DIGESTS_MAX = 1 + 7 + OUTER_PATH
"""A secret's root, the path to it from one of 128 leaves, and the path from it."""


class SecretName(Record, frozen=True):
    """One secret of a roll with the root of the dealing that it is in."""

    dealer: Holder
    batch: Uint
    index: Annotated[int, msgspec.Meta(ge=0, lt=BATCH)]
    root: Bytes32


class RevealPayload(Record, frozen=True):
    """What a holder signs: its share of each secret of a roll, empty where it holds none.

    `secrets` names what the shares are of, so that a false one can be proven by what was signed.
    """

    epoch: Uint
    roll: Uint
    close_hash: Bytes32
    secrets: Bytes32
    shares: Annotated[
        tuple[Annotated[bytes, msgspec.Meta(max_length=ELEMENT_BYTES)], ...],
        msgspec.Meta(min_length=1, max_length=VALIDATORS_MAX),
    ]


def name_secrets(secrets: Sequence[SecretName]) -> Digest:
    """Return what names the secrets of a roll in a reveal."""
    return digest("reveal", encode(tuple(secrets)))


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
        leaf = self.context.leaf_scheme(place.dealer, place.batch).leaf(place.index, holder, share)
        if not is_element(share) or not is_dealt(
            self.dealt.root, n, place.index, holder, leaf, path
        ):
            return False
        inner = path_length(n, holder)
        self.root, self.outer = path[0], path[1 + inner :]
        self.claimed.pop(holder, None)
        self.proven.setdefault(holder, (share, path[1 : 1 + inner]))
        return True

    def prove_leaf(self, holder: int, share: bytes) -> tuple[Digest, Path] | None:
        """Return the leaf and path of holder's true share if the secret is known and it is another.

        Of a dealing that shares no secret not all leaves are known, so nobody is proven wrong.
        """
        index = self.place.index
        known = self.context.known_secret(self.dealt.root, index)
        if known is None or known.shares[holder] == share:
            return None
        scheme = self.context.leaf_scheme(self.place.dealer, self.place.batch)
        leaves = [scheme.leaf(index, j, true) for j, true in enumerate(known.shares)]
        tree = MerkleTree(leaves)
        return leaves[holder], (tree.root(), *tree.proof(holder), *split(known.path))

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


@dataclass(frozen=True, slots=True)
class Lie:
    """A reveal whose share `at` is false, and the leaf that was dealt, with its path."""

    holder: int
    reveal: Envelope
    at: int
    leaf: Digest
    path: Path


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
        self.heard: dict[int, None] = {}
        """Holders whose reveal is here."""
        self.heard_paths: dict[int, None] = {}
        """Holders whose reveal with paths is here."""
        self._unjudged: dict[tuple[int, bool], tuple[RevealPayload, Envelope]] = {}
        self.secrets = tuple(
            SecretName(place.dealer, place.batch, place.index, dealt.root)
            for place, dealt in zip(roll.places, dealings, strict=True)
        )
        self._name = name_secrets(self.secrets)
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
        epoch = self._context.epoch
        return encode(RevealPayload(epoch, roll.roll, roll.close_hash, self._name, shares))

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

    def take_lies(self, *, is_settled: bool = False) -> list["Lie"]:
        """Return, once, the reveals with a share that the opened roll shows to be false.

        Nobody has looked at their signatures yet. It is open once its secrets are known here, or
        when it `is_settled` by a block, which opened it for all.
        """
        if self.item is None and not is_settled:
            return []
        lies = []
        for (holder, _), (reveal, signed) in self._unjudged.items():
            for at, (secret, share) in enumerate(zip(self._secrets, reveal.shares, strict=True)):
                if share and (truth := secret.prove_leaf(holder, share)) is not None:
                    lies.append(Lie(holder, signed, at, *truth))
                    break
        self._unjudged.clear()
        return lies

    def start(self) -> None:
        """Open what needs nobody else: a lone player's roll."""
        self._attempt()

    def check(self, reveal: RevealPayload) -> str | None:
        """Say what makes a reveal useless whatever its shares are."""
        if reveal.close_hash != self.roll.close_hash:
            return f"a reveal of roll {self.roll.roll} behind another block"
        if reveal.secrets != self._name:
            return f"a reveal of roll {self.roll.roll} of other secrets"
        if len(reveal.shares) != len(self._secrets):
            return f"a reveal of {len(reveal.shares)} shares of {len(self._secrets)} secrets"
        return None

    def take(self, holder: ValidatorIndex, reveal: RevealPayload, signed: Envelope) -> str | None:
        """Take a checked reveal on trust; only a holder's first counts."""
        if holder in self.heard:
            return None
        self._unjudged.setdefault((holder, False), (reveal, signed))
        if not all(not share or is_element(share) for share in reveal.shares):
            return "a revealed share is no field element"
        self.heard[holder] = None
        for secret, share in zip(self._secrets, reveal.shares, strict=True):
            if share and holder not in secret.proven:
                secret.claimed[holder] = share
        self._attempt()
        return None

    def take_paths(
        self,
        holder: ValidatorIndex,
        reveal: RevealPayload,
        signed: Envelope,
        paths: Sequence[Path],
    ) -> tuple[Place, ...]:
        """Take a checked reveal with paths; return where its share is not what was dealt."""
        self.heard_paths[holder] = None
        self.heard.setdefault(holder, None)
        self._unjudged[holder, True] = (reveal, signed)
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
