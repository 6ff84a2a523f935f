"""The wire between pool and worker."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.core.errors import InvalidInput
from scheduler.rewards.spec import RewardJob, parse_spec
from scheduler.rewards.wire import (
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

REPLIES: list[Reply] = [Ready(), Loaded(), Judged(0.5, True), Failed("why"), Refused("no")]


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
