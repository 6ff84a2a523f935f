"""Whatever a server answers becomes a value or one InferenceError, and takes no more memory than a limit."""

from collections.abc import AsyncIterator, Callable

import httpx
import msgspec
import pytest
from hypothesis import given

from inference.channel import MAX_ANSWER_BYTES, Channel
from inference.control import read_checksum, read_loads, read_model_info, read_update
from inference.protocol import WeightLabel, error_message, generation_error, read_completion, read_score
from scheduler.core.errors import ControlFailed, ForeignWeights, InferenceError, ServerUnavailable
from tests.inference.test_protocol import make_body, make_request
from tests.mutated import NESTED_JSON, anything

LABEL = WeightLabel(run="r", version=3)
READERS: list[Callable[[bytes], object]] = [
    lambda body: read_completion(make_request(), body),
    lambda body: read_score("a1", LABEL, (5, 6), 64, body),
    read_model_info,
    read_loads,
    lambda body: read_checksum(200, body),
    lambda body: read_update(200, body),
    lambda body: generation_error(500, body),
    error_message,
]
ANSWERS = [
    make_body(),
    make_body(finish_reason={"type": "abort", "message": "gone"}),
    msgspec.json.encode({"model_path": "m", "weight_version": "r/3"}),
    msgspec.json.encode({"loads": [{"num_running_reqs": 1, "token_usage": 0.5}]}),
    msgspec.json.encode({"success": True, "message": "", "per_engine_checksum": "abc"}),
    msgspec.json.encode({"error": {"message": "no", "code": 400}}),
    msgspec.json.encode({"detail": [{"loc": ["body"], "msg": "no"}]}),
]


@given(anything(ANSWERS))
def test_any_answer_is_read_or_is_an_inference_error(body: bytes) -> None:
    for read in READERS:
        try:
            read(body)
        except InferenceError:
            continue


@pytest.mark.parametrize(
    "body",
    [
        NESTED_JSON,
        b'{"meta_info": ' + NESTED_JSON,
        b'{"later": ' + NESTED_JSON,
        b'{"error": {"message": ' + NESTED_JSON,
        b'{"text": "\xff\xfe", "meta_info": {"finish_reason": {"type": "stop"}}}',
        b'{"message": "\xff\xfe"}',
        make_body(ids=(10**30,)),
        make_body(weight_versions=[{"version": "r/" + "9" * 5000, "start": 0, "end": 2}]),
    ],
    ids=[
        "nested",
        "in a field",
        "in an unknown field",
        "in an error",
        "no text",
        "no message",
        "huge id",
        "huge version",
    ],
)
def test_an_answer_made_to_break_a_reader_breaks_none(body: bytes) -> None:
    for read in READERS:
        try:
            read(body)
        except InferenceError:
            continue


def test_a_version_of_thousands_of_digits_is_foreign() -> None:
    with pytest.raises(ForeignWeights):
        WeightLabel.parse("r/" + "9" * 5000)


class _Endless(httpx.AsyncByteStream):
    def __init__(self) -> None:
        self.num_sent = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            self.num_sent += 1
            yield bytes(1 << 20)


@pytest.mark.parametrize("no_answer", [ServerUnavailable, ControlFailed])
async def test_an_answer_without_end_is_given_up(no_answer: type[InferenceError]) -> None:
    body = _Endless()
    channel = Channel(
        "http://server",
        key=None,
        max_connections=1,
        connect_timeout_s=1.0,
        no_answer=no_answer,
        transport=httpx.MockTransport(lambda request: httpx.Response(200, stream=body)),
    )
    with pytest.raises(no_answer, match="longer than"):
        await channel.call("GET", "/model_info", timeout_s=30.0)
    await channel.aclose()
    assert body.num_sent <= (MAX_ANSWER_BYTES >> 20) + 1
