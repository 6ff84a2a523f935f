"""The wire between pool and worker."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.core.errors import InvalidInput
from scheduler.rewards.isolation import Isolation, Measure
from scheduler.rewards.spec import RewardJob, parse_spec
from scheduler.rewards.wire import (
    MAX_REPLY_BYTES,
    Failed,
    Judged,
    Loaded,
    Ready,
    Refused,
    Reply,
    ReplyDecoder,
    Task,
    body_length,
    decode_task,
    encode,
)
from tests.mutated import anything

GRANTED = Isolation(in_force=(Measure.LIMITS,), missing={Measure.NAMESPACES: "not permitted"})
REPLIES: list[Reply] = [Ready(GRANTED), Loaded(), Judged(0.5, True), Failed("why"), Refused("no")]


@settings(deadline=None)
@given(st.lists(st.integers(min_value=1, max_value=40), max_size=20))
def test_replies_survive_any_cutting_of_the_stream(cuts: list[int]) -> None:
    stream = b"".join(encode(reply) for reply in REPLIES)
    decoder, got = ReplyDecoder(), list[Reply]()
    for cut in [*cuts, len(stream)]:
        piece, stream = stream[:cut], stream[cut:]
        got.extend(decoder.feed(piece))
    assert got == REPLIES


def test_a_task_arrives_as_it_was_sent() -> None:
    job = RewardJob(text="13\n", answer="13", metadata={"family": "sum", "size": 2, "tags": ["a", None]})
    task = Task(spec=parse_spec({"kind": "numeric", "tolerance": 0.5, "timeout_s": 2}), jobs=(job,))
    frame = encode(task)
    assert body_length(frame[:4]) == len(frame) - 4
    assert decode_task(frame[4:]) == task


def test_metadata_that_is_not_json_is_refused() -> None:
    with pytest.raises(InvalidInput, match="JSON"):
        encode(Task(spec=parse_spec("exact"), jobs=(RewardJob(text="", answer="", metadata={"f": object()}),)))


@given(anything([encode(reply) for reply in REPLIES]))
def test_bytes_that_are_no_replies_are_invalid_input_and_nothing_else(data: bytes) -> None:
    try:
        read = list(ReplyDecoder().feed(data))
    except InvalidInput:
        return
    assert all(isinstance(reply, Reply) for reply in read)


def test_a_reply_longer_than_any_of_ours_is_refused_before_its_first_byte() -> None:
    with pytest.raises(InvalidInput, match="more than"):
        list(ReplyDecoder().feed((MAX_REPLY_BYTES + 1).to_bytes(4, "big")))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
jobs = st.builds(
    RewardJob,
    text=st.text(max_size=20),
    answer=st.text(max_size=20),
    metadata=st.dictionaries(st.text(max_size=5), json_values, max_size=3),
)


@given(st.lists(jobs, max_size=4))
def test_any_task_arrives_as_it_was_sent(sent: list[RewardJob]) -> None:
    task = Task(spec=parse_spec("numeric"), jobs=tuple(sent))
    assert decode_task(encode(task)[4:]) == task
