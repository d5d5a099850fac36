"""Why nothing moves, in one sentence for a player and one for a developer (PROTOCOL 10).

It looks at one node: what that node could act on, not what is true elsewhere. The first cause that
applies is named, in the order in which one keeps the next from happening.
"""

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from consensus.beacon import RollWaiting
from consensus.effects import VoteLogged
from consensus.encoding import INT_MAX
from consensus.evidence import OffenceKind
from consensus.messages import VoteKind
from consensus.standing import Standing, ViewStanding
from consensus.validators import faults_tolerated
from node.execution import ChainState
from node.game.session import Phase
from node.game.state import GameState
from node.membership import OFFENCES, caught_text, offence_text


class Cause(enum.Enum):
    """What the table waits for."""

    DOWN = "down"
    STOPPED = "stopped"
    MUTED = "muted"
    DOUBT = "doubt"
    BEHIND = "behind"
    VOTES = "votes"
    SHARES = "shares"
    DEALINGS = "dealings"
    AGREEING = "agreeing"
    PLAYERS = "players"


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """The cause, and both sentences; `slots` are the members that the table waits for.

    `caught` are members that are proven to have cheated and have their vote still.
    """

    cause: Cause
    slots: tuple[int, ...]
    player: str
    developer: str
    caught: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """One node as it stands.

    `muted` says why this node votes no more, `floor` up to which view it does not, None while it asks.
    `fetched` is the height of the state that is fetched, 0 before one is proven, and how many leaves
    of it are here. `rolls` are closed and not opened here. `accused` are members against whom a proof is
    here that no final block holds. `up` says whether a member is linked, if that is known.
    """

    halted: str
    muted: str
    floor: int | None
    standing: Standing
    fetched: tuple[int, int] | None = None
    rolls: tuple[RollWaiting, ...]
    final: ChainState
    accused: Mapping[int, OffenceKind]
    up: Callable[[int], bool] | None = None

    @property
    def voters(self) -> tuple[int, ...]:
        """Slots by validator index."""
        return self.final.membership.voters

    @property
    def names(self) -> Sequence[str]:
        """Nicknames by slot."""
        return [member.nickname for member in self.final.membership.members]


def vote_text(muted: str, floor: int | None, voters: int) -> str:
    """Say why this node casts no vote though it has one, and what to do; empty if it may (9.2)."""
    if muted:
        return (
            "this node votes no more, so that nobody is cheated: another device plays with its key, "
            "or its folder is an old copy; stop one of them and use the folder that was used last"
        )
    if floor is not None:
        return ""
    if faults_tolerated(voters) == 0:
        return (
            "this node has lost what it signed, and a table of fewer than four needs every voter: "
            "bring the last folder back, or make a new table"
        )
    return (
        "this node has lost what it signed, or its folder is a copy, so it asks the others where "
        "they are before it votes again: wait until they are connected, or stop it if another "
        "device plays with its key"
    )


def explain(seen: Situation) -> Why:
    """Return the first cause that applies, and who was caught cheating, whatever the cause."""
    return _with_cheats(
        seen,
        _stopped(seen)
        or _muted(seen)
        or _doubt(seen)
        or _behind(seen)
        or _votes(seen)
        or _shares(seen)
        or _dealings(seen)
        or _agreeing(seen)
        or _players(seen),
    )


def facts_of(why: Why) -> dict[str, object]:
    """Return the answer as plain values."""
    return {
        "cause": why.cause.value,
        "slots": list(why.slots),
        "player": why.player,
        "developer": why.developer,
        "caught": list(why.caught),
    }


def explain_down(seen: Situation, own: Sequence[VoteLogged]) -> Why:
    """Return what can be said of a node that does not run, from its journal.

    `own` are its votes above the final block; they are no part of `seen`, which knows no signer.
    """
    standing, final = seen.standing, seen.final
    votes = ", ".join(f"{VoteKind(vote.kind).name.lower()} in view {vote.view}" for vote in own)
    dice = f"; {len(final.closed)} rolls wait for shares" if final.closed else ""
    why = Why(
        cause=Cause.DOWN,
        slots=(),
        player=(
            f"this node does not run; it stopped behind block {final.height}: start it with "
            "`bitcraps run` or `play`"
        ),
        developer=(
            f"not running; final height {final.height} in epoch {final.membership.epoch}, view "
            f"{standing.view}, open views {[view.view for view in standing.open]}, own votes above "
            f"the final block: {votes or 'none'}{dice}"
        ),
    )
    return _with_cheats(seen, why)


def _with_cheats(seen: Situation, why: Why) -> Why:
    """Add to both sentences who is proven to have cheated, until the voters change.

    Such a voter is counted for quorums still and leads no more, so views are skipped meanwhile.
    """
    player, developer, caught = [why.player], [why.developer], []
    members = seen.final.membership.members
    for slot in sorted({*seen.accused, *seen.voters}):
        name, kind = members[slot].nickname, members[slot].cheated
        if kind:
            player.append(caught_text(name, offence_text(members[slot]), votes=True))
            developer.append(
                f"{name} is convicted of {OffenceKind(kind).name}, leads no more, and goes at the "
                "next seal"
            )
        elif slot in seen.accused:
            offence = seen.accused[slot]
            player.append(
                f"{name} is proven to have cheated, as one of the next blocks will say: {name} "
                f"{OFFENCES[offence]}"
            )
            developer.append(f"a proof of {offence.name} against {name} waits for a block")
        else:
            continue
        caught.append(slot)
    return replace(
        why, player="; ".join(player), developer="; ".join(developer), caught=tuple(caught)
    )


def _stopped(seen: Situation) -> Why | None:
    if not seen.halted:
        return None
    return Why(
        cause=Cause.STOPPED,
        slots=(),
        player=f"this node has stopped for good: {seen.halted}",
        developer=f"halted at height {seen.final.height}: {seen.halted}",
    )


def _muted(seen: Situation) -> Why | None:
    if not seen.muted:
        return None
    return Why(
        cause=Cause.MUTED,
        slots=(),
        player=vote_text(seen.muted, seen.floor, len(seen.voters)),
        developer=f"no votes from here: {seen.muted}",
    )


def _doubt(seen: Situation) -> Why | None:
    """The journal was lost or is a copy, and it is not known yet from where voting is safe."""
    if seen.floor is not None:
        return None
    n = len(seen.voters)
    return Why(
        cause=Cause.DOUBT,
        slots=(),
        player=vote_text(seen.muted, seen.floor, n),
        developer=(
            f"no floor for votes: Status of {2 * faults_tolerated(n) + 1} others in views up to "
            f"{seen.standing.view}, which is proven here, is needed"
        ),
    )


def _behind(seen: Situation) -> Why | None:
    if seen.fetched is not None and seen.fetched[0]:
        height, leaves = seen.fetched
        return Why(
            cause=Cause.BEHIND,
            slots=(),
            player=(
                f"this node was away for {height - seen.final.height} blocks and is fetching the "
                "table as it stands: wait a moment"
            ),
            developer=(
                f"leaping from height {seen.final.height} to the state at {height}: {leaves} leaves "
                "are here and proven"
            ),
        )
    wanted = seen.standing.fetching
    if not wanted:
        return None
    return Why(
        cause=Cause.BEHIND,
        slots=(),
        player="this node is behind the others and is fetching blocks from them: wait a moment",
        developer=(
            f"block {wanted.hex()[:16]} is certified and not here; final height "
            f"{seen.final.height}, view {seen.standing.view}"
        ),
    )


def _votes(seen: Situation) -> Why | None:
    """Too few are heard for any certificate: in the current view, or on an open tip."""
    standing, n = seen.standing, len(seen.voters)
    if not standing.awake:
        return None
    view = _stuck_view(standing, n)
    silent = view.silent(n)
    if n - len(silent) >= standing.q:
        return None
    missing = tuple(seen.voters[index] for index in silent)
    return Why(
        cause=Cause.VOTES,
        slots=missing,
        player=(
            f"the table waits for {_names(seen, missing)}: {standing.q} of {n} nodes have to agree "
            f"and {n - len(silent)} {'does' if n - len(silent) == 1 else 'do'}{_unlinked(seen, missing)}"
            f"{_forgotten(seen)}"
        ),
        developer=_votes_text(seen, view, missing),
    )


def _forgotten(seen: Situation) -> str:
    """Return why this node is one of those who do not vote, if it may have forgotten votes."""
    floor = seen.floor or 0
    if seen.standing.view > floor:
        return ""
    when = "in a later epoch" if floor == INT_MAX else f"from view {floor + 1} on"
    return f"; this node has lost what it signed and votes again {when}"


def _stuck_view(standing: Standing, n: int) -> ViewStanding:
    """Return the current view, or the open tip when nobody has said anything in the current one."""
    current = standing.current
    if standing.open and len(current.silent(n)) >= n - 1:
        return standing.open[-1]
    return current


def _votes_text(seen: Situation, view: ViewStanding, missing: Sequence[int]) -> str:
    def slots(indices: Sequence[int]) -> str:
        return ",".join(seen.names[seen.voters[index]] for index in indices) or "nobody"

    return (
        f"epoch {seen.final.membership.epoch} view {view.view} of leader "
        f"{seen.names[seen.voters[view.leader]]}: block {'here' if view.proposed else 'missing'}, "
        f"notarize {slots(view.notarize)}, nullify {slots(view.nullify)}, finalize "
        f"{slots(view.finalize)}, need {seen.standing.q}, no vote of {_names(seen, missing)}"
    )


def _shares(seen: Situation) -> Why | None:
    if not seen.rolls:
        return None
    roll, q = seen.rolls[0], seen.standing.q
    missing = tuple(slot for i, slot in enumerate(seen.voters) if i not in roll.holders)
    return Why(
        cause=Cause.SHARES,
        slots=missing,
        player=(
            f"the dice wait for {_names(seen, missing)}: {q} of {len(seen.voters)} have to open "
            f"them together and {len(roll.holders)} did{_unlinked(seen, missing)}"
        ),
        developer=(
            f"roll {roll.roll} closed at height {roll.height}: shares of {len(roll.holders)}, need "
            f"{q}, none of {_names(seen, missing)}"
        ),
    )


def _dealings(seen: Situation) -> Why | None:
    """Bets lie on the layout and too few have dealt for a roll to be fixed."""
    state, q = seen.final, seen.standing.q
    if not state.game.has_bets() or state.beacon.can_close() or state.beacon.pending:
        return None
    lacking = tuple(slot for i, slot in enumerate(seen.voters) if not state.beacon.stock(i).secrets)
    return Why(
        cause=Cause.DEALINGS,
        slots=lacking,
        player=(
            f"the dice are being prepared: {_names(seen, lacking)} still "
            f"{'has' if len(lacking) == 1 else 'have'} to deal{_unlinked(seen, lacking)}"
        ),
        developer=(
            f"no close: {len(seen.voters) - len(lacking)} usable dealers, need {q}, none of "
            f"{_names(seen, lacking)}"
        ),
    )


def _agreeing(seen: Situation) -> Why | None:
    if not seen.standing.awake:
        return None
    view = seen.standing.current
    return Why(
        cause=Cause.AGREEING,
        slots=(),
        player="the nodes are agreeing on the next block: this takes a moment",
        developer=_votes_text(
            seen, view, [seen.voters[index] for index in view.silent(len(seen.voters))]
        ),
    )


def _players(seen: Situation) -> Why:
    slot, turn = _turn(seen.final.game, seen.names)
    behind = [seen.names[seen.voters[index]] for index in seen.standing.behind]
    return Why(
        cause=Cause.PLAYERS,
        slots=() if slot is None else (slot,),
        player=f"the table waits for nobody's node: {turn}",
        developer=(
            f"asleep in view {seen.standing.view} at height {seen.final.height}, nothing pending; "
            f"not seen at the final view: {', '.join(behind) or 'nobody'}"
        ),
    )


def _turn(game: GameState, names: Sequence[str]) -> tuple[int | None, str]:
    """Return whose turn it is in the first open game, and the half sentence that says so."""
    for slot, session in enumerate(game.sessions):
        if session is None:
            continue
        thrower = game.thrower(slot)
        if session.phase == Phase.OPEN or thrower is None:
            return thrower, "bets are open, and nobody may throw before there is one"
        return thrower, f"it is {names[thrower]}'s turn to throw"
    return None, "no game is open, anybody may begin one"


def _names(seen: Situation, slots: Sequence[int]) -> str:
    names = [seen.names[slot] for slot in slots]
    if len(names) < 2:
        return "".join(names) or "nobody"
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _unlinked(seen: Situation, slots: Sequence[int]) -> str:
    """Return who of these is not connected to this node, in brackets, if anybody is known to be."""
    if seen.up is None:
        return ""
    away = [slot for slot in slots if not seen.up(slot)]
    return f" (not connected to this node: {_names(seen, away)})" if away else ""
