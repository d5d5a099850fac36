"""Bugs planted on purpose: the simulator has to find each within its budget, or it finds nothing.

Each takes one rule out of the code that runs. Beside it stand a scenario in which the rule matters
and how many seeds the search may take. Without a bug the same seeds have to pass.
"""

# ruff: noqa: ANN401, SLF001
# A planted bug reaches into whatever it breaks.

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import consensus.beacon
import consensus.restart
import consensus.validators
import netsim.ledger
import node.epoch
import node.execution
import node.game.craps.pays
from consensus.beacon import Beacon
from consensus.beacon_state import BeaconState
from consensus.dissemination import Dissemination
from consensus.effects import FinalLogged, Persist, VoteLogged
from consensus.engine import Engine
from consensus.evidence import OffenceKind
from consensus.rounds import Rounds
from consensus.votes import Tally
from netsim.scenario import Scenario, load_scenario, parse_scenario
from netsim.simulation import simulate
from netsim.throws import added, alarm
from node import mempool
from node.epoch import Epoch
from node.evidence_pool import EvidencePool
from node.execution import Execution
from node.game.craps.rules import rules_under
from node.game.operations import PlaceBet
from node.game.rules import Odds
from node.game.session import GameSession
from node.game.state import GameState
from node.game.treasury import TreasuryManager
from node.membership import Membership
from node.replica import Replica

Plant = Callable[["Planter"], None]


class Planter:
    """Replaces attributes, and puts them back."""

    def __init__(self) -> None:
        """Nothing replaced yet."""
        self._held: list[tuple[Any, str, Any]] = []

    def put(self, owner: Any, name: str, value: Any) -> None:
        """Replace an attribute of a module or class."""
        self._held.append((owner, name, owner.__dict__[name]))
        self._set(owner, name, value)

    def undo(self) -> None:
        """Put everything back."""
        for owner, name, value in reversed(self._held):
            self._set(owner, name, value)
        self._held.clear()

    def _set(self, owner: Any, name: str, value: Any) -> None:
        setattr(owner, name, value)
        rules_under.cache_clear()  # what was worked out before holds no longer


@dataclass(frozen=True, slots=True)
class Bug:
    """A planted bug: what it is, where it shows, and within how many seeds."""

    name: str
    about: str
    plant: Plant
    scenario: str
    seeds: int
    twice: bool = False
    """Whether it shows only as two processes with two hash seeds that differ."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one bug: the seed that found it and what that run said."""

    bug: Bug
    seed: int | None
    text: str


# Agreement.


def _small_quorum(planter: Planter) -> None:
    # The watcher counts by its own rule, so every certificate of too few is seen.
    planter.put(consensus.validators, "quorum", lambda n: 2 * ((n - 1) // 3) + 1 - (n == 4))


def _vote_lost(planter: Planter) -> None:
    planter.put(consensus.restart, "_restore_vote", lambda *_args: None)


def _sent_before_durable(planter: Planter) -> None:
    step = Replica._step

    def reordered(self: Replica, now: Any) -> Any:
        effects = step(self, now)
        first = effects[0] if effects else None
        if not isinstance(first, Persist):
            return effects
        votes = any(isinstance(one, VoteLogged) for one in first.records)
        return [*effects[1:], first] if votes else effects

    planter.put(Replica, "_step", reordered)


def _final_although_nullified(planter: Planter) -> None:
    vote = Engine._voted_final

    def voted_final(self: Engine) -> bool:
        held = [(known, known.nullify) for known in self._rounds.open]
        for known, _ in held:
            known.nullify = None
        fired = vote(self)
        for known, nullify in held:
            known.nullify = nullify
        return fired

    planter.put(Engine, "_voted_final", voted_final)


def _no_repetition(planter: Planter) -> None:
    def put_off(self: Dissemination, now: Any) -> None:
        self._retry_ms = now.mono_ms + 1_000

    planter.put(Dissemination, "_repeat", put_off)


def _no_help(planter: Planter) -> None:
    planter.put(Dissemination, "_help", lambda *_args: False)


def _root_unchecked(planter: Planter) -> None:
    execute = Execution.execute

    def trusting(self: Execution, block: Any, header: Any, body: Any) -> Any:
        why = execute(self, block, header, body)
        if why == "state root differs":
            raise AssertionError("a block with another root was taken")
        return why

    planter.put(Execution, "execute", trusting)


# Dice.


def _early_reveal(planter: Planter) -> None:
    advance = Epoch.advance

    def eager(self: Epoch, now: Any) -> Any:
        tip = self.engine.tip.hash
        state = self.execution.state_of(tip)
        if self.beacon is not None and state is not self.execution.final:
            self.beacon.finalized(state.beacon, now, block=tip, wanted=True)
        return advance(self, now)

    planter.put(Epoch, "advance", eager)


def _late_dealers(planter: Planter) -> None:
    def few(self: BeaconState, _roll: int) -> Any:
        return self._usable()[: self._context.t]

    planter.put(BeaconState, "_dealers", few)


def _secret_twice(planter: Planter) -> None:
    close = BeaconState.close

    def forgetful(self: BeaconState, height: int) -> int:
        cursors = self._cursors
        roll = close(self, height)
        self._cursors = cursors
        return roll

    planter.put(BeaconState, "close", forgetful)


def _loaded_dice(planter: Planter) -> None:
    from node.game import dice

    planter.put(dice, "_ACCEPTED", 128)


def _few_sides(planter: Planter) -> None:
    from node.game import dice

    thrown, reckoned = dice.throw, netsim.ledger.throw

    def few(seed: bytes, count: int, tag: str) -> tuple[int, ...]:
        return tuple((side + 2) // 2 for side in thrown(seed, count, tag))

    def agreed(proof: bytes, serial: int, number: int) -> tuple[int, int]:
        first, second = reckoned(proof, serial, number)
        return (first + 2) // 2, (second + 2) // 2

    planter.put(dice, "throw", few)
    planter.put(netsim.ledger, "throw", agreed)  # else a single roll would show it


# Chips.


def _pay(name: str, key: int, odds: Odds) -> Plant:
    def plant(planter: Planter) -> None:
        table = dict(getattr(node.game.craps.pays, name))
        table[key] = odds
        planter.put(node.game.craps.pays, name, table)

    return plant


def _paid_one_more(planter: Planter) -> None:
    pay = TreasuryManager.pay

    def generous(
        self: TreasuryManager, account: Any, collected: int, stakes: int, won: int
    ) -> None:
        pay(self, account, collected, stakes, won + (won > 0))

    planter.put(TreasuryManager, "pay", generous)


def _bets_after_close(planter: Planter) -> None:
    change = GameState._change

    def late(self: GameState, player: int, slot: int) -> Any:
        session = self.sessions[slot] if 0 <= slot < len(self.sessions) else None
        if session is not None and session.phase == 4 and player in session.seat_of:
            index = session.seat_of[player]
            seat = session.seats[index]
            if seat is not None and not seat.riding:
                return session, index, seat
        return change(self, player, slot)

    planter.put(GameState, "_change", late)


def _stake_not_taken(planter: Planter) -> None:
    stake = TreasuryManager.stake

    def free(self: TreasuryManager, account: Any, chips: int, prize: int) -> None:
        stake(self, account, chips, prize)
        if chips > 10:
            account.chips += 1
            self.bank -= 1

    planter.put(TreasuryManager, "stake", free)


def _on_credit(planter: Planter) -> None:
    place = GameState._place_bet

    def lent(self: GameState, player: int, operation: Any, index: int) -> Any:
        self._own_account(player).chips += 100_000
        receipt = place(self, player, operation, index)
        self._own_account(player).chips -= 100_000
        return receipt

    planter.put(GameState, "_HANDLERS", {**GameState._HANDLERS, PlaceBet: lent})


def _contract_taken_down(planter: Planter) -> None:
    from node.game.craps.rules import CrapsRules

    planter.put(CrapsRules, "is_contract", lambda *_args: False)


def _shared_seat(planter: Planter) -> None:
    def own_seat(self: GameSession, index: int) -> Any:
        self.touched[index] = None
        return self.seats[index]  # not a copy: a fork of the state is changed as well

    planter.put(GameSession, "own_seat", own_seat)


# Actions.


def _nonce_unchecked(planter: Planter) -> None:
    next_seq = GameState.next_seq

    def twice(self: GameState, player: int) -> int:
        seq = next_seq(self, player)
        if seq % 5 == 0:
            self.accounts[player].seq -= 1
        return seq

    planter.put(GameState, "next_seq", twice)


def _signature_unchecked(planter: Planter) -> None:
    planter.put(mempool.Mempool, "_is_signed", lambda *_args: True)


def _set_order(planter: Planter) -> None:
    rotation = mempool.rotation

    def by_hash(players: int, height: int) -> Any:
        named = {str((player, height)): player for player in rotation(players, height)}
        return tuple(named[name] for name in set(named))  # another order in every process

    planter.put(mempool, "rotation", by_hash)
    planter.put(node.execution, "rotation", by_hash)


def _clock_in_state(planter: Planter) -> None:
    begin = GameState.begin_block
    count = [0]

    def impure(self: GameState, height: int, time_ms: int, can_close: bool) -> None:
        count[0] += 1
        begin(self, height, time_ms + (count[0] % 97 == 0), can_close)

    planter.put(GameState, "begin_block", impure)


# What is said of whom.


def _final_forgotten(planter: Planter) -> None:
    init = Replica.__init__

    def forgetful(self: Replica, setup: Any, records: Any, *rest: Any) -> None:
        last = max((i for i, one in enumerate(records) if isinstance(one, FinalLogged)), default=0)
        init(self, setup, (*records[:last], *records[last + 1 :]), *rest)

    planter.put(Replica, "__init__", forgetful)


def _honest_blamed(planter: Planter) -> None:
    is_signed = mempool.Mempool._is_signed

    def unsure(self: mempool.Mempool, parsed: Any, key: Any) -> bool:
        return is_signed(self, parsed, key) and parsed.signature[0] % 4 != 0

    planter.put(mempool.Mempool, "_is_signed", unsure)


def _hoarded(planter: Planter) -> None:
    planter.put(mempool, "ACTIONS_AHEAD_MAX", 1_000_000)


def _leftovers(planter: Planter) -> None:
    verify = Tally.verify_one

    def careless(self: Tally, statement: Any, signer: Any) -> bool:
        is_signed = verify(self, statement, signer)
        if not is_signed:
            self.statements.setdefault(statement.payload, statement)
        return is_signed

    planter.put(Tally, "verify_one", careless)


def _any_view(planter: Planter) -> None:
    note = Rounds.note_vote

    def far(self: Rounds, sender: Any, envelope: Any) -> Any:
        view, self.view = self.view, self.view + 100
        try:
            return note(self, sender, envelope)
        finally:
            self.view = view

    planter.put(Rounds, "note_vote", far)


def _any_batch(planter: Planter) -> None:
    planter.put(Beacon, "_is_due", lambda *_args: True)


def _any_roll(planter: Planter) -> None:
    planter.put(consensus.beacon, "EARLY_ROLLS_MAX", 1_000_000)


def _nobody_named(planter: Planter) -> None:
    planter.put(Rounds, "_accuse", lambda *_args: None)


def _proofs_thrown_away(planter: Planter) -> None:
    planter.put(EvidencePool, "against", lambda *_args: ())


def _proposals_hold_no_vote(planter: Planter) -> None:
    count = Rounds._count

    def deaf(self: Rounds, *args: Any, sender: Any) -> None:
        signer = args[4]
        if sender is not None or signer == self._me:
            count(self, *args, sender=sender)

    planter.put(Rounds, "_count", deaf)


def _certificates_prove_nothing(planter: Planter) -> None:
    planter.put(Rounds, "_accuse_all", lambda *_args: None)


def _unproven(kind: OffenceKind) -> Plant:
    """Return what lets dice forget every proof of one kind of offence."""

    def plant(planter: Planter) -> None:
        advance = Beacon.advance

        def forgetful(self: Beacon, now: Any) -> Any:
            self._proofs = {key: one for key, one in self._proofs.items() if key[1] is not kind}
            return advance(self, now)

        planter.put(Beacon, "advance", forgetful)

    return plant


def _false_dealings_forgiven(planter: Planter) -> None:
    convict = Membership.convict

    def lenient(self: Membership, slot: int, kind: OffenceKind) -> Any:
        return None if kind is OffenceKind.FALSE_DEALING else convict(self, slot, kind)

    planter.put(Membership, "convict", lenient)


def _neighbour_named(planter: Planter) -> None:
    find = node.execution.find_offender

    def mistaken(proof: bytes, membership: Any, *rest: Any) -> Any:
        found = find(proof, membership, *rest)
        return found if isinstance(found, str) else ((found[0] + 1) % 4, found[1])

    for module in (node.execution, node.epoch):
        planter.put(module, "find_offender", mistaken)


BUGS: tuple[Bug, ...] = (
    Bug("quorum", "two of four votes make a certificate", _small_quorum, "party4", 3),
    Bug("vote-lost", "a restart forgets its votes", _vote_lost, "stormy", 40),
    Bug("sent-early", "a vote is sent before it is durable", _sent_before_durable, "party4", 3),
    Bug("both", "a node finalizes what it gave up", _final_although_nullified, "stormy", 30),
    Bug("no-repetition", "nothing is said twice", _no_repetition, "lossy", 10),
    Bug("no-help", "who is behind gets no help", _no_help, "stormy", 40),
    Bug("root", "a proposer may state any root", _root_unchecked, "thief", 10),
    Bug("early-reveal", "shares are shown before the close is final", _early_reveal, "party4", 5),
    Bug("late-dealers", "fewer dealers than the close fixed", _late_dealers, "party4", 5),
    Bug("secret-twice", "a secret serves two rolls", _secret_twice, "party4", 5),
    Bug("loaded-dice", "half of the bytes are passed over", _loaded_dice, "party4", 5),
    Bug("few-sides", "the dice have four sides", _few_sides, "party4", 25),
    Bug("final-lost", "a restart forgets a final block", _final_forgotten, "stormy", 10),
    Bug("blame", "signatures of honest players are doubted", _honest_blamed, "party4", 5),
    Bug("unnamed", "nobody is accused of two votes", _nobody_named, "conspiracy", 5),
    Bug("unproposed", "no block takes a proof", _proofs_thrown_away, "equivocator", 3),
    Bug("unread", "votes in proposals are not counted", _proposals_hold_no_vote, "proposer", 3),
    Bug("unmatched", "certificates prove nothing", _certificates_prove_nothing, "double-voter", 10),
    Bug(
        "dealt-twice",
        "two dealings go unpunished",
        _unproven(OffenceKind.TWO_DEALINGS),
        "double-dealer",
        3,
    ),
    Bug(
        "false-share",
        "false shares go unpunished",
        _unproven(OffenceKind.FALSE_SHARE),
        "false-sharer",
        3,
    ),
    Bug("false-deal", "false dealings are forgiven", _false_dealings_forgiven, "false-dealer", 3),
    Bug("neighbour", "a proof convicts the next one", _neighbour_named, "equivocator", 3),
    Bug("hoard", "actions of any number are kept", _hoarded, "spendthrift", 5),
    Bug("leftovers", "what nobody signed is kept", _leftovers, "hoarder", 3),
    Bug("any-view", "votes of any view are kept", _any_view, "hoarder", 3),
    Bug("any-batch", "dealings of any batch are kept", _any_batch, "hoarder", 3),
    Bug("any-roll", "reveals of any roll are kept", _any_roll, "hoarder", 3),
    Bug("place-pay", "place 6 pays 8 to 6", _pay("PLACE", 6, Odds(8, 6)), "party4", 20),
    Bug("hard-pay", "hard 8 pays 10 to 1", _pay("HARD", 8, Odds(10, 1)), "party4", 40),
    Bug("one-more", "each win pays one chip more", _paid_one_more, "party4", 5),
    Bug("late-bet", "bets are taken while the dice are out", _bets_after_close, "eager", 20),
    Bug("free-chip", "a large stake costs one chip less", _stake_not_taken, "party4", 5),
    Bug("credit", "bets may exceed the rack", _on_credit, "spendthrift", 5),
    Bug("contract", "contract bets may be taken down", _contract_taken_down, "party4", 20),
    Bug("shared-seat", "a fork shares a seat that it changes", _shared_seat, "stormy", 20),
    Bug("nonce", "an action's number may come twice", _nonce_unchecked, "party4", 5),
    Bug("signature", "anybody bets for anybody", _signature_unchecked, "thief", 20),
    Bug("set-order", "players act in the order of a set", _set_order, "eager", 5, True),
    Bug("impure", "the state depends on more than the block", _clock_in_state, "party4", 10),
)

_CHEAT = 'duration = "15s"\n[nodes]\ncount = 4\n[[byzantine]]\nstrategy = "{}"\n'
_TEXTS = {
    "proposer": _CHEAT.format("double-proposer"),
    "double-voter": _CHEAT.format("double-voter"),
    "hoarder": 'duration = "6s"\n[nodes]\ncount = 4\n[[byzantine]]\nstrategy = "hoarder"\n',
    "double-dealer": _CHEAT.format("double-dealer"),
    "false-sharer": _CHEAT.format("false-sharer"),
    "false-dealer": _CHEAT.format("false-dealer"),
    "party4": 'duration = "20s"\n[nodes]\ncount = 4\n',
    "eager": 'duration = "20s"\n[nodes]\ncount = 5\n[workload]\nthink = "30ms"\n'
    '[link]\nlatency = "uniform(20ms,60ms)"\n',
    "lossy": 'duration = "20s"\n[nodes]\ncount = 4\n[link]\nloss = 0.4\n'
    '[liveness]\nwithin = "120s"\n',
    "thief": 'duration = "20s"\n[nodes]\ncount = 4\n[[byzantine]]\nstrategy = "thief"\n',
    "spendthrift": 'duration = "15s"\n[nodes]\ncount = 4\n[[byzantine]]\nstrategy = "spendthrift"\n',
    "stormy": 'duration = "20s"\n[nodes]\ncount = 4\n[link]\nloss = 0.15\nduplication = 0.05\n'
    '[[fault]]\nkind = "crash"\nat = "1s..3s"\nevery = "exp(700ms)"\nfor = "exp(600ms)"\n'
    '[[fault]]\nkind = "partition"\nat = "1s..5s"\nevery = "exp(3s)"\nfor = "exp(1s)"\n'
    '[liveness]\nwithin = "120s"\n',
}


def scenario_of(name: str) -> Scenario:
    """Return a scenario of the selftest, or a shipped one."""
    text = _TEXTS.get(name)
    return load_scenario(name) if text is None else parse_scenario(f'name = "{name}"\n{text}')


@contextmanager
def planted(bug: Bug) -> Iterator[None]:
    """Let a bug be in the code."""
    planter = Planter()
    try:
        bug.plant(planter)
        yield
    finally:
        planter.undo()


def hunt(bug: Bug, seeds: int | None = None) -> Finding:
    """Search for a bug within its budget."""
    scenario = scenario_of(bug.scenario)
    budget = bug.seeds if seeds is None else seeds
    if bug.twice:
        for seed in range(budget):
            digests = [_digest_elsewhere(bug, seed, hash_seed) for hash_seed in (1, 2)]
            if digests[0] != digests[1]:
                return Finding(bug, seed, f"two processes, two runs: {digests[0]}, {digests[1]}")
        return Finding(bug, None, "")
    with planted(bug):
        return _search(bug, scenario, budget)


def _search(bug: Bug, scenario: Scenario, seeds: int) -> Finding:
    """Run seeds until one breaks a rule, or until the dice of all of them do."""
    throws: list[int] = []
    for seed in range(seeds):
        outcome, _ = simulate(scenario, seed)
        if outcome.violations:
            return Finding(bug, seed, outcome.violations[0].text)
        throws = added((throws, outcome.throws))
        if text := alarm(throws):
            return Finding(bug, seed, text)
    return Finding(bug, None, "")


def _digest_elsewhere(bug: Bug, seed: int, hash_seed: int) -> str:
    """Return the digest of a run in a process of its own."""
    code = f"from netsim.selftest import tell_digest; tell_digest({bug.name!r}, {seed})"
    found = subprocess.run(  # noqa: S603  (our own interpreter and words)
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
        check=True,
        capture_output=True,
        text=True,
    )
    return found.stdout.strip()


def tell_digest(name: str, seed: int) -> None:
    """Print the digest of a run with a bug in it; for another process."""
    [bug] = [one for one in BUGS if one.name == name]
    with planted(bug):
        outcome, _ = simulate(scenario_of(bug.scenario), seed)
    print(outcome.digest)  # noqa: T201  (the answer)


def clean(name: str, seeds: int) -> Finding | None:
    """Run a scenario without any bug; return what it finds, which must be nothing."""
    bug = Bug("none", "no bug is planted", lambda _planter: None, name, seeds)
    found = _search(bug, scenario_of(name), seeds)
    return None if found.seed is None else found


def budgets() -> dict[str, int]:
    """Return the seeds that each scenario has to pass without a bug: the largest budget in it."""
    most: dict[str, int] = {}
    for bug in BUGS:
        most[bug.scenario] = max(most.get(bug.scenario, 0), bug.seeds)
    return most


__all__ = ["BUGS", "Bug", "Finding", "budgets", "clean", "hunt", "planted"]
