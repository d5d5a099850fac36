"""PROTOCOL 10: who is far behind fetches a proven state, whoever lies, and goes on from there."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import msgspec
import pytest

from consensus.chain import genesis
from consensus.effects import (
    Committed,
    FetchedLogged,
    FetchEnded,
    Now,
    Persist,
    Send,
    SnapshotLogged,
)
from consensus.light import Trusted
from consensus.messages import (
    Anchor,
    Blocks,
    GetAnchor,
    GetBlocks,
    GetState,
    Number,
    StateChunk,
    parse_frame,
)
from consensus.validators import ValidatorIndex
from netsim.host import Disk
from netsim.playing import PlayingTable
from node import replica as replica_module, state_sync
from node.game.receipts import DONE
from node.membership import SetVote
from node.state_sync import ACCOUNTS, GIVE_UP_MS, StateServer, StateSync
from node.waiting import Cause, explain

BEHIND = 24
SNAPSHOT = 12


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a few blocks a long absence."""
    monkeypatch.setattr(state_sync, "BEHIND_BLOCKS", BEHIND)
    monkeypatch.setattr(replica_module, "BEHIND_BLOCKS", BEHIND)
    monkeypatch.setattr(replica_module, "SNAPSHOT_BLOCKS", SNAPSHOT)


def played_on(table: PlayingTable, blocks: int) -> None:
    """Let the others play until so many more blocks are final."""
    rolls = len(table.rolls)
    until = table.replicas[0].final.height + blocks
    while table.replicas[0].final.height < until:
        rolls += 1
        table.play(rolls, limit_ms=900_000)


def agrees(table: PlayingTable) -> None:
    table.settle()
    assert len({replica.final.root for replica in table.replicas}) == 1
    game = table.replicas[-1].final.game
    layout = sum(session.layout for session in game.sessions if session is not None)
    assert sum(account.chips for account in game.accounts) + layout + game.bank == game.minted


@pytest.mark.parametrize("seed", range(3))
def test_a_voter_that_was_away_for_long_fetches_the_state_and_votes_again(seed: int) -> None:
    table = PlayingTable(4, seed)
    table.play(1, limit_ms=300_000)
    table.network.crash(3)
    height = table.replicas[3].final.height
    played_on(table, 3 * BEHIND)
    table.network.boot(3)
    rolls = len(table.rolls)
    table.play(rolls + 3, limit_ms=900_000)
    agrees(table)
    assert table.rebased == [3]
    records = table.network.hosts[3].disk.records
    heights = {getattr(one, "height", 0) for one in records}
    assert height + BEHIND // 2 not in heights  # the blocks between were never here
    assert table.replicas[3].votes


def test_epochs_that_passed_meanwhile_are_climbed_by_their_seals() -> None:
    table = PlayingTable(5, seed=4)
    table.play(1, limit_ms=300_000)
    table.network.crash(4)
    for index, vote in ((3, 0), (3, 1), (2, 0), (2, 1)):
        assert table.ask(index, SetVote(vote)) == DONE
        table.play(len(table.rolls) + 1, limit_ms=900_000)
    played_on(table, 3 * BEHIND)
    table.network.boot(4)
    table.play(len(table.rolls) + 2, limit_ms=900_000)
    agrees(table)
    assert table.rebased == [4]


def test_a_newcomer_with_nothing_begins_on_a_fetched_state_and_gets_a_vote() -> None:
    table = PlayingTable(4, seed=5, newcomers=1)
    played_on(table, 3 * BEHIND)
    table.join(4)
    assert table.rebased == [4]
    assert table.ask(4, SetVote(1)) == DONE
    table.play(len(table.rolls) + 3, limit_ms=900_000)
    agrees(table)
    assert table.replicas[4].votes


@pytest.mark.parametrize("liar", [0, 1])
def test_a_lying_server_is_named_and_any_honest_one_is_enough(liar: int) -> None:
    table = PlayingTable(4, seed=6)
    table.play(1, limit_ms=300_000)
    table.network.crash(3)
    played_on(table, 3 * BEHIND)
    table.invariants.byzantine = (liar,)
    server = table.replicas[liar]._server
    honest = server.chunk

    def bent(ask: GetState) -> StateChunk | None:
        chunk = honest(ask)
        if chunk is None or ask.tree != ACCOUNTS:
            return chunk
        return msgspec.structs.replace(chunk, leaves=(b"\x82\x18d\x01", *chunk.leaves[1:]))

    server.chunk = bent  # type: ignore[method-assign]
    table.network.boot(3)
    table.play(len(table.rolls) + 2, limit_ms=900_000)
    agrees(table)
    assert table.rebased == [3]
    assert any("not in tree" in fault for fault in table.network.counts.faults) or liar == 1


class Source:
    """A table that has played, what its first node serves, and a fetch from genesis of it."""

    def __init__(self) -> None:
        self.table = PlayingTable(4, seed=8, newcomers=0)
        assert self.table.ask(1, SetVote(0)) == DONE
        self.table.play(1, limit_ms=300_000)
        assert self.table.ask(1, SetVote(1)) == DONE
        played_on(self.table, 2 * BEHIND)
        self.server = self.table.replicas[0]._server
        self.epoch = self.table.replicas[0].final.membership.epoch

    def fetch(self) -> StateSync:
        terms = self.table.terms
        base = genesis(terms.chain_id)
        validators = self.table.invariants._electorates[0]
        trusted = Trusted(terms.chain_id, 0, validators, 0, base.hash)
        return StateSync(terms, trusted, {7: None, 8: None}, 0)

    def answer(self, data: bytes) -> Anchor | StateChunk | Blocks | None:
        match parse_frame(data)[1]:
            case GetAnchor() as ask:
                return self.server.anchor(ask, self.epoch)
            case GetState() as ask:
                return self.server.chunk(ask)
            case GetBlocks(wanted):
                found = self.table.network.hosts[0].disk.block(wanted)
                return None if found is None else Blocks(wanted, (found,))
            case other:
                raise AssertionError(f"a request {other}")


def give(sync: StateSync, peer: int, message: Anchor | StateChunk | Blocks | None) -> str:
    match message:
        case Anchor():
            return sync.take_anchor(peer, message, 0)
        case StateChunk():
            return sync.take_chunk(peer, message)
        case Blocks():
            return sync.take_blocks(peer, message)
        case None:
            return ""


@pytest.fixture(scope="module")
def source() -> Iterator[Source]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replica_module, "SNAPSHOT_BLOCKS", SNAPSHOT)
        yield Source()


def test_what_is_fetched_is_the_state_to_the_byte(source: Source) -> None:
    sync, now_ms = source.fetch(), 0
    while sync.block is None:
        request = sync.ask(now_ms)
        assert request is not None
        assert give(sync, request[0], source.answer(request[1])) == ""
    newest = next(reversed(source.server._served.values()))
    (snapshot,) = [one for one in sync.records() if isinstance(one, SnapshotLogged)]
    assert snapshot.hash == newest.hash
    assert snapshot.state == newest._state


Reply: TypeAlias = Anchor | StateChunk | Blocks | None
TWIST: dict[str, Callable[[Any], Any]] = {
    "a leaf of another state": lambda m: _twist(m, leaves=(b"\x01", *m.leaves[1:])),
    "one leaf more": lambda m: _twist(m, count=m.count + 1),
    "a path too short": lambda m: _twist(m, paths=((), *m.paths[1:])) if m.tree else None,
    "a path too few": lambda m: _twist(m, paths=m.paths[1:]) if m.tree else None,
    "other roots": lambda m: _twist(m, roots=(*m.roots[:4], bytes(32))),
    "no leaves": lambda m: _twist(m, leaves=(), paths=(), count=0),
}


def _twist(message: StateChunk, **changes: object) -> StateChunk:
    return msgspec.structs.replace(message, **changes)


@pytest.mark.parametrize("twist", TWIST)
def test_no_twisted_chunk_counts_and_the_next_peer_is_asked_at_once(
    source: Source, twist: str
) -> None:
    sync = source.fetch()
    twisted = 0
    while sync.block is None:
        request = sync.ask(0)
        assert request is not None
        peer, data = request
        answer: Reply = source.answer(data)
        if isinstance(answer, StateChunk) and peer == 7 and answer.leaves:
            lie = TWIST[twist](answer)
            if lie is not None:
                twisted += 1
                assert give(sync, peer, lie)
                assert sync.deadline_ms == 0
                continue
        assert give(sync, peer, answer) == ""
    assert twisted


def test_no_bent_byte_of_an_anchor_leads_anywhere(source: Source) -> None:
    anchor = source.server.anchor(GetAnchor(0), source.epoch)
    assert anchor is not None
    assert anchor.steps
    for at in range(0, len(anchor.steps[0]), 7):
        sync = source.fetch()
        request = sync.ask(0)
        assert request is not None
        bent = bytearray(anchor.steps[0])
        bent[at] ^= 0x11
        lie = msgspec.structs.replace(anchor, steps=(bytes(bent), *anchor.steps[1:]))
        assert give(sync, request[0], lie)
        assert not sync.is_leaping


def test_a_restarted_server_leads_to_the_same_state_and_nobody_beyond_it(source: Source) -> None:
    way = source.server.anchor(GetAnchor(0), source.epoch)
    assert way is not None
    assert way.final, "the newest state is that of a snapshot, above the last seal"
    restarted = StateServer(source.table.network.hosts[0].disk.records)
    assert restarted.anchor(GetAnchor(0), source.epoch) == way
    assert restarted.anchor(GetAnchor(source.epoch + 1), source.epoch) is None


def test_a_fetch_in_which_nobody_could_be_asked_is_not_over(source: Source) -> None:
    fetch = source.fetch()
    assert not fetch.is_over(10 * GIVE_UP_MS)
    assert fetch.ask(10 * GIVE_UP_MS) is not None
    assert not fetch.is_over(11 * GIVE_UP_MS - 1)
    assert fetch.is_over(11 * GIVE_UP_MS)


def test_answers_that_nobody_asked_for_count_nothing(source: Source) -> None:
    sync = source.fetch()
    request = sync.ask(0)
    assert request is not None
    anchor = source.answer(request[1])
    assert give(sync, 15 - request[0], anchor) == ""
    assert not sync.is_leaping
    assert give(sync, request[0], anchor) == ""
    while sync.is_leaping and sync.block is None:
        request = sync.ask(0)
        assert request is not None
        answer = source.answer(request[1])
        if isinstance(answer, StateChunk):
            ahead = msgspec.structs.replace(answer, first=answer.first + 1)
            assert give(sync, request[0], ahead) == ""
        assert give(sync, request[0], answer) == ""
    assert sync.block is not None


def test_who_is_told_of_a_tip_that_nobody_proves_goes_on_with_blocks(source: Source) -> None:
    sync, now_ms = source.fetch(), 0
    asked = []
    while not sync.is_over(now_ms):
        request = sync.ask(now_ms)
        if request is not None:
            asked.append(request[0])
        now_ms = max(now_ms + 1, sync.deadline_ms)
    assert asked[:4] == [7, 8, 7, 8]
    assert now_ms >= state_sync.GIVE_UP_MS


def test_chunks_are_small_and_a_long_leaf_travels_alone(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_sync, "CHUNK_BYTES", 150)
    served = next(reversed(source.server._served.values()))
    first = served.chunk(GetState(served.hash, ACCOUNTS, 0))
    assert first is not None
    assert len(first.leaves) == 1 < first.count
    sync = source.fetch()
    while sync.block is None:
        request = sync.ask(0)
        assert request is not None
        assert give(sync, request[0], source.answer(request[1])) == ""


class Absence:
    """A table whose last host was away for long; what it does when it is back is written down."""

    def __init__(self, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(state_sync, "CHUNK_BYTES", 1)  # every leaf alone
        self.table = PlayingTable(4, seed)
        self.table.play(1, limit_ms=300_000)
        self.table.network.crash(3)
        played_on(self.table, 3 * BEHIND)
        self.effects: list[object] = []
        honest = self.table.invariants.observe

        def observe(host: int, effect: object) -> None:
            honest(host, effect)
            if host == 3:
                self.effects.append(effect)

        self.table.invariants.observe = observe  # type: ignore[method-assign]

    @property
    def disk(self) -> Disk:
        return self.table.network.hosts[3].disk

    @property
    def parts(self) -> int:
        """How many answers of the fetch are durable."""
        return sum(isinstance(one, FetchedLogged) for one in self.disk.records)

    def asked(self) -> list[tuple[int, int]]:
        """The leaves asked for since the last call, by tree and place."""
        frames = [one.frame for one in self.effects if isinstance(one, Send)]
        self.effects.clear()
        asks = [parse_frame(data)[1] for data in frames if data[0] == Number.GET_STATE]
        return [(ask.tree, ask.first) for ask in asks if isinstance(ask, GetState)]

    def pass_ms(self, time_ms: int) -> None:
        """Let time pass while the others play."""
        for index in range(3):
            self.table.submit(index, *self.table._wishes(index))
        self.table.network.run(self.table.network.now_ms + time_ms)


def test_a_fetch_that_crashes_after_every_answer_asks_for_no_leaf_that_is_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    absence = Absence(11, monkeypatch)
    table, network = absence.table, absence.table.network
    network.boot(3)
    fetched: list[tuple[int, int]] = []
    crashes = 0
    while not table.rebased:
        parts = absence.parts
        absence.pass_ms(1)
        if absence.parts > parts and not table.rebased:
            asked = absence.asked()
            assert not {*fetched[:-1]} & {*asked}, "only the one under way is asked for again"
            fetched += asked
            crashes += 1
            network.crash(3)
            network.boot(3)
    assert crashes > 12
    assert absence.parts == 0, "what the fetch needed is forgotten once the state is here"
    table.play(len(table.rolls) + 2, limit_ms=900_000)
    agrees(table)
    assert table.rebased == [3]
    assert table.replicas[3].votes


def test_while_a_state_is_fetched_no_block_becomes_final_here_and_no_vote_is_cast(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    absence = Absence(12, monkeypatch)
    table = absence.table
    table.network.boot(3)
    while not table.replicas[3]._is_leaping:
        absence.pass_ms(1)
    absence.effects.clear()
    height = table.replicas[0].final.height
    base = table.replicas[3].final.height
    servers = [replica._server for replica in table.replicas[:3]]
    serving = [server.chunk for server in servers]
    for server in servers:
        monkeypatch.setattr(server, "chunk", lambda _ask: None)
    for _ in range(1000):
        absence.pass_ms(20)
    for server, chunk in zip(servers, serving, strict=True):
        monkeypatch.setattr(server, "chunk", chunk)
    why = explain(table.replicas[3].situation())
    assert why.cause is Cause.BEHIND
    assert "fetching the table as it stands" in why.player
    while not table.rebased:
        assert table.replicas[3].final.height == base
        absence.pass_ms(20)
    assert table.replicas[0].final.height > height, "meanwhile the others went on"
    assert not [one for one in absence.effects if isinstance(one, Committed)]
    votes = [
        one for one in absence.effects if isinstance(one, Send) and one.frame[0] == Number.VOTE
    ]
    assert not votes
    table.play(len(table.rolls) + 2, limit_ms=900_000)
    agrees(table)


@pytest.mark.parametrize("message", [b"\x00", b"\x1c\x80"])
def test_stored_answers_that_lead_nowhere_are_forgotten_and_the_node_goes_on(
    message: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    absence = Absence(13, monkeypatch)
    absence.disk.append([FetchedLogged(part=0, message=message)])
    absence.table.network.boot(3)
    assert absence.parts == 0
    absence.table.play(len(absence.table.rolls) + 2, limit_ms=900_000)
    agrees(absence.table)
    assert absence.table.rebased == [3]


def test_a_state_that_is_served_no_more_is_dropped_and_a_newer_one_fetched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    absence = Absence(14, monkeypatch)
    table = absence.table
    table.network.boot(3)
    while absence.parts < 4:
        absence.pass_ms(1)
    table.network.crash(3)
    stale = table.replicas[3]._sync
    assert stale is not None
    played_on(table, 3 * SNAPSHOT)
    table.network.boot(3)
    assert absence.parts >= 4
    table.play(len(table.rolls) + 4, limit_ms=900_000)
    agrees(table)
    assert table.rebased == [3]
    ended = [one.records for one in absence.effects if isinstance(one, Persist)]
    ended = [records for records in ended if FetchEnded() in records]
    assert len(ended) == 2
    assert not any(isinstance(one, SnapshotLogged) for one in ended[0])
    snapshots = [one for one in absence.disk.records if isinstance(one, SnapshotLogged)]
    assert snapshots[-1].height > stale.height


def test_blocks_that_arrive_together_with_the_proof_of_a_state_are_not_applied_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    absence = Absence(15, monkeypatch)
    absence.table.network.boot(3)
    late = absence.table.replicas[3]
    base = late.final.height
    honest = late.receive
    held: list[tuple[ValidatorIndex, bytes]] = []

    def receive(batch: Sequence[tuple[ValidatorIndex, bytes]], now: Now) -> Sequence[object]:
        """Keep the anchor back until blocks are being applied; then both come at once."""
        if batch[0][1][0] == Number.ANCHOR:
            held.extend(batch)
            return ()
        if late.final.height > base and batch[0][1][0] == Number.BLOCKS and held:
            heights.append(late.final.height)
            batch, held[:] = [*batch, *held], []
        return honest(batch, now)

    heights: list[int] = []
    monkeypatch.setattr(late, "receive", receive)
    while not late._is_leaping:
        absence.pass_ms(1)
    assert heights == [late.final.height]


@pytest.mark.parametrize("seed", [21, 22, 23])
def test_who_has_leapt_at_a_table_at_rest_is_at_the_tip_a_moment_later(seed: int) -> None:
    table = PlayingTable(4, seed)
    table.play(1, limit_ms=300_000)
    table.network.crash(3)
    played_on(table, 3 * BEHIND)
    table.network.run(table.network.now_ms + 10_000)
    height = table.replicas[0].final.height
    table.network.boot(3)
    table.network.run(table.network.now_ms + 1_000)
    assert table.rebased == [3]
    assert table.replicas[3].final.height >= height
