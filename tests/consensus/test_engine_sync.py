"""PROTOCOL 10: a certified block and its ancestors come from any one honest peer."""

import itertools

from consensus.chain import FINAL_BLOCKS_MAX, OPEN_BLOCKS_MAX, Chain, genesis, parse_block
from consensus.messages import Blocks, GetBlocks
from consensus.peers import Peers
from consensus.sync import BLOCKS_BYTES_MAX, OPEN_HASHES_MAX, Fetcher, serve
from consensus.validators import ValidatorIndex
from netsim.counter import Counter
from tests.consensus.scenes import CHAIN_ID, Made, Scene

DELTA_MS = 50


def blocks(count: int, size: int = 1) -> list[Made]:
    """Return a chain of blocks, one in each view from 1."""
    scene = Scene()
    made: list[Made] = []
    for view in range(1, count + 1):
        name = view.to_bytes(2, "big") + bytes(size)
        made.append(scene.block(view, made[-1] if made else None, (name,)))
    return made


def chain_of(made: list[Made] | None = None) -> Chain:
    """Return a chain on which these blocks are final, with a store of them."""
    stored: dict[bytes, tuple[bytes, bytes]] = {}
    chain = Chain(Counter(genesis(CHAIN_ID).hash), genesis(CHAIN_ID), stored.get)
    for one in made if made is not None else []:
        stored[one.hash] = (one.header_bytes, one.body_bytes)
        block = parse_block(one.header_bytes, one.body_bytes)
        chain.add(block)
        assert chain.execute(block) == ""
        chain.finalize(block)
    return chain


class Fetching:
    """Node 0 of 4, fetching from a chain that has everything."""

    def __init__(self, made: list[Made], *, final: bool = True, have: int = 0) -> None:
        self.made = made
        self.chain = chain_of(made[:have])
        self.fetcher = Fetcher(self.chain, Peers(4, ValidatorIndex(0)))
        self.source = chain_of(made)
        self.ms = 1_000
        self.seek(made[-1], final=final)

    def seek(self, target: Made | None, *, final: bool = True) -> None:
        wanted = target.hash if target is not None else None
        self.fetcher.seek(wanted, final=final, leader=ValidatorIndex(2))

    def ask(self) -> tuple[int, GetBlocks]:
        """Wait until a request is due."""
        assert self.fetcher.deadline_ms is not None
        self.ms = max(self.ms, self.fetcher.deadline_ms)
        request = self.fetcher.ask(self.ms, DELTA_MS)
        assert request is not None
        return request

    def answer(self, request: GetBlocks) -> Blocks:
        found = serve(self.source, request)
        assert found is not None
        return found

    def take(self) -> list[int]:
        """Apply what came; return the heights."""
        heights = []
        while (found := self.fetcher.next_block()) is not None:
            block, final = found
            heights.append(block.header.height)
            if final:
                self.chain.add(block)
                assert self.chain.execute(block) == ""
                self.chain.finalize(block)
        return heights


def test_one_missing_block_takes_one_request() -> None:
    fetching = Fetching(blocks(3), have=2)
    peer, request = fetching.ask()
    assert peer == 2
    assert fetching.fetcher.take(ValidatorIndex(2), fetching.answer(request)) == ""
    assert fetching.take() == [3]
    assert fetching.fetcher.deadline_ms is None


def test_a_long_absence_is_made_good_in_order_from_one_peer() -> None:
    fetching = Fetching(blocks(300))
    heights, peers, requests = [], [], 0
    while fetching.fetcher.deadline_ms is not None:
        peer, request = fetching.ask()
        requests += 1
        peers.append(peer)
        assert fetching.fetcher.take(ValidatorIndex(peer), fetching.answer(request)) == ""
        heights += fetching.take()
    assert heights == list(range(1, 301))
    assert requests < 1 + 3 + 20 + 2
    assert fetching.ms == 1_000  # nobody was waited for
    assert len(dict.fromkeys(peers)) <= 2


def test_the_silent_are_passed_over_with_growing_patience() -> None:
    fetching = Fetching(blocks(3))
    asked = []
    for _ in range(5):
        peer, _ = fetching.ask()
        asked.append((peer, fetching.ms))
    assert [peer for peer, _ in asked] == [2, 3, 1, 2, 3]
    gaps = [after[1] - before[1] for before, after in itertools.pairwise(asked)]
    assert gaps == [200, 400, 800, 1_600]


def test_a_liar_is_passed_over_at_once_and_what_it_said_forgotten() -> None:
    made = blocks(40)
    other = blocks(40, size=2)
    fetching = Fetching(made)
    faults = []
    heights: list[int] = []
    lies = 0
    while fetching.fetcher.deadline_ms is not None:
        peer, request = fetching.ask()
        answer = fetching.answer(request)
        if peer == 2:
            lies += 1
            spoiled = [(h, other[0].body_bytes if b else b"") for h, b in answer.blocks]
            answer = Blocks(request.hash, tuple(spoiled))
            if request.headers_only:
                pair = (other[3].header_bytes, b"")
                answer = Blocks(request.hash, (pair, pair))
        if fault := fetching.fetcher.take(ValidatorIndex(peer), answer):
            faults.append((peer, fault))
        heights += fetching.take()
    assert heights == list(range(1, 41))
    assert {peer for peer, _ in faults} == {2}
    assert lies == len(faults)
    assert fetching.ms == 1_000


def test_a_block_that_was_not_asked_for_is_a_fault_in_every_phase() -> None:
    fetching = Fetching(blocks(40))
    for _ in range(3):
        peer, request = fetching.ask()
        pair = (fetching.made[6].header_bytes, b"")
        lie = Blocks(request.hash, (pair,))
        assert fetching.fetcher.take(ValidatorIndex(peer), lie)
        peer, request = fetching.ask()
        assert not fetching.fetcher.take(ValidatorIndex(peer), fetching.answer(request))
        fetching.take()


def test_a_peer_that_gives_little_is_passed_over() -> None:
    fetching = Fetching(blocks(40))
    peer, request = fetching.ask()
    fetching.fetcher.take(ValidatorIndex(peer), fetching.answer(request))
    peer, request = fetching.ask()
    answer = fetching.answer(request)
    few = Blocks(request.hash, answer.blocks[:3])
    assert fetching.fetcher.take(ValidatorIndex(peer), few) == ""
    following, _ = fetching.ask()
    assert following != peer


def test_a_late_answer_counts_and_a_stale_one_harms_nothing() -> None:
    fetching = Fetching(blocks(60))
    first_peer, first = fetching.ask()
    second_peer, second = fetching.ask()
    assert first_peer != second_peer
    assert fetching.fetcher.take(ValidatorIndex(first_peer), fetching.answer(first)) == ""
    assert fetching.fetcher.take(ValidatorIndex(second_peer), fetching.answer(second)) == ""
    peer, request = fetching.ask()
    assert request.headers_only
    for _ in range(2):
        assert fetching.fetcher.take(ValidatorIndex(peer), fetching.answer(request)) == ""
    peer, request = fetching.ask()
    assert not request.headers_only
    stale = fetching.answer(GetBlocks(fetching.made[55].hash, 50, 1))
    assert fetching.fetcher.take(ValidatorIndex(3), stale) == ""
    assert fetching.fetcher.take(ValidatorIndex(3), fetching.answer(request)) == ""
    assert fetching.take() == list(range(1, 17))


def test_a_newer_final_block_does_not_start_the_fetch_again() -> None:
    made = blocks(200)
    fetching = Fetching(made[:100])
    fetching.source = chain_of(made)
    heights: list[int] = []
    for step in range(200):
        if fetching.fetcher.deadline_ms is None:
            break
        peer, request = fetching.ask()
        fetching.fetcher.take(ValidatorIndex(peer), fetching.answer(request))
        heights += fetching.take()
        fetching.seek(made[100 + step] if heights[-1:] != [100] else None)
    assert heights[:100] == list(range(1, 101))
    assert step < 20


def test_headers_that_no_longer_reach_the_final_block_are_asked_for_again() -> None:
    made = blocks(150)
    fetching = Fetching(made)
    for _ in range(2):
        peer, request = fetching.ask()
        fetching.fetcher.take(ValidatorIndex(peer), fetching.answer(request))
    for one in made[:30]:  # they came another way
        block = parse_block(one.header_bytes, one.body_bytes)
        fetching.chain.add(block)
        fetching.chain.execute(block)
        fetching.chain.finalize(block)
    fetching.fetcher.moved()
    fetching.seek(made[-1])
    heights: list[int] = []
    while fetching.fetcher.deadline_ms is not None:
        peer, request = fetching.ask()
        fetching.fetcher.take(ValidatorIndex(peer), fetching.answer(request))
        heights += fetching.take()
        assert not fetching.fetcher.conflict
    assert heights == list(range(31, 151))


def test_blocks_that_became_final_another_way_are_skipped() -> None:
    made = blocks(20)
    fetching = Fetching(made)
    for _ in range(2):
        peer, request = fetching.ask()
        fetching.fetcher.take(ValidatorIndex(peer), fetching.answer(request))
    peer, request = fetching.ask()
    fetching.fetcher.take(ValidatorIndex(peer), fetching.answer(request))
    for one in made[:5]:
        block = parse_block(one.header_bytes, one.body_bytes)
        fetching.chain.add(block)
        fetching.chain.execute(block)
        fetching.chain.finalize(block)
    fetching.fetcher.moved()
    assert fetching.take() == list(range(6, 21))


def test_a_chain_beside_the_final_one_is_named_a_conflict() -> None:
    made, rival = blocks(6), blocks(6, size=3)
    fetching = Fetching(rival)
    fetching.chain = chain_of(made[:3])
    fetching.fetcher = Fetcher(fetching.chain, Peers(4, ValidatorIndex(0)))
    fetching.seek(rival[-1])
    while not fetching.fetcher.conflict:
        peer, request = fetching.ask()
        fetching.fetcher.take(ValidatorIndex(peer), fetching.answer(request))
    assert fetching.chain.final.height == 3


def test_a_notarized_block_far_above_the_final_one_waits_for_a_finalization() -> None:
    made = blocks(OPEN_HASHES_MAX + 20)
    fetching = Fetching(made, final=False)
    while fetching.fetcher.deadline_ms is not None:
        peer, request = fetching.ask()
        fetching.fetcher.take(ValidatorIndex(peer), fetching.answer(request))
    fetching.seek(made[-1], final=False)
    assert fetching.fetcher.deadline_ms is None
    fetching.fetcher.moved()
    fetching.seek(made[-1], final=False)
    assert fetching.fetcher.deadline_ms == 0
    while fetching.fetcher.deadline_ms is not None:
        peer, request = fetching.ask()
        fetching.fetcher.take(ValidatorIndex(peer), fetching.answer(request))
    fetching.seek(made[-1], final=True)
    assert fetching.fetcher.deadline_ms == 0


def test_an_answer_stays_under_the_message_limit_and_holds_at_least_one_block() -> None:
    assert BLOCKS_BYTES_MAX < 16 * 60_000
    many = blocks(20, size=60_000)
    answer = serve(chain_of(many), GetBlocks(many[-1].hash, 16, 0))
    assert answer is not None
    total = sum(len(header) + len(body) for header, body in answer.blocks)
    assert BLOCKS_BYTES_MAX - 61_000 < total <= BLOCKS_BYTES_MAX
    assert serve(chain_of(), GetBlocks(many[0].hash, 1, 0)) is None
    headers = serve(chain_of(many), GetBlocks(many[-1].hash, 128, 1))
    assert headers is not None
    assert len(headers.blocks) == 20


def test_memory_holds_a_bounded_number_of_blocks() -> None:
    many = blocks(FINAL_BLOCKS_MAX + 30)
    chain = chain_of(many)
    asked: list[bytes] = []
    chain._load_block = asked.append
    for one in many:
        chain.bytes_of(one.hash)
    assert asked == [one.hash for one in many[:30]]
    chain = chain_of()
    rivals = [Scene().block(view, None, (bytes((view,)),)) for view in range(1, 90)]
    for one in rivals:
        chain.add(parse_block(one.header_bytes, one.body_bytes))
    held = [one for one in rivals if chain.get(one.hash) is not None]
    assert held == rivals[-OPEN_BLOCKS_MAX:]


def test_states_that_do_not_extend_the_final_block_are_gone() -> None:
    chain = chain_of()
    scene = Scene()
    first, rival = scene.block(1), scene.block(2, None, (b"rival",))
    child = scene.block(3, rival, (b"y",))
    for one in (first, rival, child):
        block = parse_block(one.header_bytes, one.body_bytes)
        chain.add(block)
        assert chain.execute(block) == ""
    final = chain.get(first.hash)
    assert final is not None
    chain.finalize(final)
    assert chain.tip_of(first.hash) is not None
    assert chain.tip_of(rival.hash) is None
    assert chain.tip_of(child.hash) is None
