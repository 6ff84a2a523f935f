"""The group stream's frames: what was sent arrives, and what is no frame is refused and costs nothing."""

import tracemalloc
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.errors import InvalidInput
from scheduler.core.packed import Logprobs, TokenIds, pack
from scheduler.core.types import FinishReason, Group, Rollout, Stage, VersionSpan
from scheduler.frames import (
    MAX_FRAME_BYTES,
    BatchFrame,
    FinalFrame,
    Frame,
    FrameDecoder,
    GroupFrame,
    HeartbeatFrame,
    PackedGroupFrame,
    encode,
    encode_line,
    encode_parts,
)
from tests.factories import make_group, make_rollout
from tests.mutated import NESTED_MSGPACK, anything

FRAMES: list[Frame] = [
    GroupFrame(step=1, group=make_group()),
    BatchFrame(step=1, group_ids=("g",), policy_version=3),
    HeartbeatFrame(waiting_for="pilots"),
    FinalFrame(state="finished", reason="done"),
]


def packed(frame: GroupFrame) -> PackedGroupFrame:
    """The frame as a scheduler sends it."""
    return PackedGroupFrame(step=frame.step, group=pack(frame.group))


numbers = st.integers(0, 2**63 - 1)
floats = st.floats(allow_nan=False, width=64)
singles = st.floats(allow_nan=False, width=32)
words = st.text(max_size=20)


@st.composite
def rollouts(draw: st.DrawFn) -> Rollout:
    """Any rollout that keeps its type's invariant."""
    ids = draw(st.lists(st.integers(0, 2**31 - 1), max_size=5))
    return Rollout(
        rid=draw(words),
        stage=draw(st.sampled_from(Stage)),
        token_ids=TokenIds.of(ids),
        logprobs=Logprobs.of(draw(singles) for _ in ids),
        finish_reason=draw(st.sampled_from(FinishReason)),
        spans=(VersionSpan(version=draw(numbers), start=0, end=len(ids)),),
        reward=draw(floats),
        correct=draw(st.booleans()),
        text=draw(words),
    )


groups = st.builds(
    Group,
    group_id=words,
    prompt_id=words,
    prompt_ids=st.lists(numbers, max_size=5).map(tuple),
    rollouts=st.lists(rollouts(), max_size=3).map(tuple),
    selection_probability=floats,
)
frames = st.one_of(
    st.builds(GroupFrame, step=numbers, group=groups),
    st.builds(BatchFrame, step=numbers, group_ids=st.lists(words, max_size=5).map(tuple), policy_version=numbers),
    st.builds(HeartbeatFrame, waiting_for=words),
    st.builds(FinalFrame, state=words, reason=words),
)


def _read(*pieces: bytes) -> list[Frame]:
    decoder = FrameDecoder()
    return [frame for piece in pieces for frame in decoder.feed(piece)]


@given(sent=st.lists(frames, max_size=4), cuts=st.lists(st.integers(0, 2000), max_size=5))
def test_frames_arrive_as_they_were_sent_however_the_stream_is_cut(sent: list[Frame], cuts: list[int]) -> None:
    stream = b"".join(encode(frame) for frame in sent)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    assert _read(*(stream[start:end] for start, end in pairwise(edges))) == sent


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


@given(anything([encode(frame) for frame in FRAMES]) | anything([encode(frame)[4:] for frame in FRAMES]).map(framed))
def test_bytes_that_are_no_frames_are_invalid_input_and_nothing_else(data: bytes) -> None:
    try:
        read = _read(data)
    except InvalidInput:
        return
    assert all(isinstance(frame, GroupFrame | BatchFrame | HeartbeatFrame | FinalFrame) for frame in read)


@pytest.mark.parametrize(
    "body",
    [
        NESTED_MSGPACK,
        b"\x82\xa6format\x01\xa5later" + NESTED_MSGPACK,
        b"\x82\xa6format\x01\xa5final\x82\xa5state\xa2\xff\xfe\xa6reason\xa0",
        b"\x81\xa6format\x01",
        b"\x81\xa6format\x02",
        b"",
    ],
    ids=["nested", "nested in an unknown field", "no text", "empty", "another format", "nothing"],
)
def test_a_frame_that_cannot_be_read_is_invalid_input(body: bytes) -> None:
    with pytest.raises(InvalidInput):
        _read(framed(body))


def test_a_frame_longer_than_the_limit_is_refused_before_its_first_byte() -> None:
    with pytest.raises(InvalidInput, match="not a group stream"):
        _read((MAX_FRAME_BYTES + 1).to_bytes(4, "big"))


@pytest.mark.parametrize("head", [b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"])
def test_a_length_that_promises_more_than_was_sent_takes_no_memory(head: bytes) -> None:
    body = b"\x82\xa6format\x01\xa5batch\x83\xa4step\x01\xaepolicy_version\x01\xa9group_ids" + head
    tracemalloc.start()
    with pytest.raises(InvalidInput):
        _read(framed(body))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


@given(st.builds(GroupFrame, step=numbers, group=groups))
def test_a_group_that_is_passed_on_unread_arrives_as_if_it_had_been_written_anew(frame: GroupFrame) -> None:
    assert encode(packed(frame)) == encode(frame)
    assert encode_line(packed(frame)) == encode_line(frame)
    assert list(FrameDecoder().feed(encode(packed(frame)))) == [frame]


def test_a_token_costs_eight_bytes_on_the_wire_and_a_group_is_never_more_than_twice_in_memory() -> None:
    num_rollouts, num_tokens = 16, 2048
    rollout = make_rollout(token_ids=tuple(range(num_tokens)), logprobs=(-0.1,) * num_tokens)
    group = replace(make_group(), rollouts=(rollout,) * num_rollouts)
    wire = encode(packed(GroupFrame(step=1, group=group)))
    assert len(wire) < num_rollouts * (8 * num_tokens + 200)

    tracemalloc.start()
    [read] = FrameDecoder().feed(wire)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Numbers of Python would take eighty bytes a token: the frame as it came, and the group's own copy of its parts.
    assert peak < 2.2 * len(wire)
    assert held < 1.2 * len(wire)
    assert read == GroupFrame(step=1, group=group)


def test_a_group_that_is_passed_on_is_not_copied() -> None:
    group = pack(make_group())
    assert any(part is group for part in encode_parts(PackedGroupFrame(step=1, group=group)))
