"""Where an engine stands, for who asks why nothing moves: read-only, and of use to nobody else.

Indices are those of the epoch's validators. What is seen of others came over their own links or in
certificates, so it is what this node could act on, not what is true.
"""

from dataclasses import dataclass

from consensus.messages import VoteKind
from consensus.peers import Peers
from consensus.rounds import Round, Rounds
from consensus.validators import ValidatorIndex, Validators
from consensus.votes import FINALIZE, NOTARIZE, NULLIFY, members


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewStanding:
    """What is seen of one view: its leader, whether its block came, who voted how."""

    view: int
    leader: ValidatorIndex
    proposed: bool
    notarize: tuple[ValidatorIndex, ...]
    nullify: tuple[ValidatorIndex, ...]
    finalize: tuple[ValidatorIndex, ...]

    def silent(self, n: int) -> tuple[ValidatorIndex, ...]:
        """Return the validators of whom no vote that could end this view is here."""
        heard = (*self.notarize, *self.nullify, *self.finalize)
        return tuple(ValidatorIndex(i) for i in range(n) if i not in heard)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What keeps an engine where it is.

    `open` are the notarized views above the final one, lowest first. `fetching` names a block that
    is certified and not here. `behind` were last seen below the final view.
    """

    view: int
    q: int
    awake: bool
    current: ViewStanding
    open: tuple[ViewStanding, ...]
    fetching: bytes
    behind: tuple[ValidatorIndex, ...]


def standing_of(
    rounds: Rounds, peers: Peers, validators: Validators, *, awake: bool, fetching: bytes
) -> Standing:
    """Return where the parts of an engine stand."""
    return Standing(
        view=rounds.view,
        q=validators.q,
        awake=awake,
        current=_view(validators, rounds.view, rounds.get(rounds.view)),
        open=tuple(_view(validators, known.view, known) for known in rounds.open),
        fetching=fetching,
        behind=tuple(
            index
            for index, peer in peers.others
            if index < validators.n and peer.final_view < rounds.final.view
        ),
    )


def _view(validators: Validators, view: int, known: Round | None) -> ViewStanding:
    return ViewStanding(
        view=view,
        leader=validators.leader(view),
        proposed=known is not None and known.proposal is not None,
        notarize=_voters(known, NOTARIZE),
        nullify=_voters(known, NULLIFY),
        finalize=_voters(known, FINALIZE),
    )


def _voters(known: Round | None, kind: VoteKind) -> tuple[ValidatorIndex, ...]:
    mask = 0
    if known is not None:
        for statement in known.tally.statements.values():
            if statement.kind is kind:
                mask |= statement.voters
    return tuple(members(mask))
