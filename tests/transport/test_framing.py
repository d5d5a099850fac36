"""PROTOCOL 14: frames are the same however the stream is cut, and a length is judged at once."""

import pytest
from hypothesis import given, strategies as st

from transport.base import Fault, LinkClosed
from transport.framing import FrameReader, join_frames


@given(st.lists(st.binary(max_size=50), max_size=8), st.lists(st.integers(1, 40)))
def test_frames_are_the_same_however_the_stream_is_cut(
    frames: list[bytes], cuts: list[int]
) -> None:
    stream = join_frames(frames)
    reader, got, at = FrameReader(50), [], 0
    for size in [*cuts, len(stream)]:
        got += reader.feed(stream[at : at + size])
        at += size
    assert got == frames
    assert not reader.is_mid_frame


@given(st.binary(max_size=200), st.integers(0, 60))
def test_what_is_no_frame_yet_is_held_and_nothing_else(stream: bytes, limit: int) -> None:
    reader = FrameReader(limit)
    try:
        frames = reader.feed(stream)
    except LinkClosed:
        return
    rest = stream[len(join_frames(frames)) :]
    assert join_frames(frames) + rest == stream
    assert reader.is_mid_frame == bool(rest)
    assert len(rest) < 4 or len(rest) < 4 + int.from_bytes(rest[:4], "big")


def test_a_length_above_the_limit_is_refused_before_its_bytes_are_read() -> None:
    assert FrameReader(100).feed((100).to_bytes(4, "big")) == []
    with pytest.raises(LinkClosed, match=r"101 bytes announced; the limit is 100") as error:
        FrameReader(100).feed((101).to_bytes(4, "big"))
    assert error.value.fault is Fault.OVERSIZED


def test_a_long_frame_in_many_pieces_and_many_frames_in_one_cost_no_more_than_their_bytes() -> None:
    reader = FrameReader(1 << 20)
    long, short = bytes(1 << 20), [b"x"] * 10_000
    stream = join_frames([long, *short])
    got = []
    for at in range(0, len(stream), 1400):
        got += reader.feed(stream[at : at + 1400])
        assert reader._buffer.__sizeof__() < 3 << 20
    assert got == [long, *short]
