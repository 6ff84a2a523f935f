import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.protocol import (
    GenerateRequest,
    ModelLimits,
    Score,
    WeightLabel,
    error_message,
    generate_body,
    generation_error,
    read_completion,
    read_score,
    score_body,
    wire_rid,
)
from scheduler.core.errors import Aborted, ForeignWeights, ServerRefused, ServerUnavailable
from scheduler.core.types import FinishReason, Sampling, VersionSpan


def make_request(**changes: object) -> GenerateRequest:
    fields: dict[str, object] = {
        "rid": "a1",
        "run": "r",
        "version": 3,
        "input_ids": (5, 6),
        "sampling": Sampling(max_new_tokens=8, stop=("\n",)),
        "sampling_seed": 11,
        "timeout_s": 1.0,
    }
    return GenerateRequest(**(fields | changes))  # type: ignore[arg-type]


def make_body(*, ids: tuple[int, ...] = (7, 8), **meta: object) -> bytes:
    info: dict[str, object] = {
        "finish_reason": {"type": "stop", "matched": "\n"},
        "prompt_tokens": 2,
        "weight_version": "r/3",
        "weight_versions": [{"version": "r/3", "start": 0, "end": len(ids)}],
        "output_token_logprobs": [[-0.5, token, None] for token in ids],
    }
    info = {key: value for key, value in (info | meta).items() if value is not ...}
    return msgspec.json.encode({"text": "x", "output_ids": ids, "meta_info": info})


@given(run=st.text(min_size=1), version=st.integers(0, 2**63 - 1))
def test_a_label_survives_the_wire(run: str, version: int) -> None:
    label = WeightLabel(run=run, version=version)
    assert WeightLabel.parse(str(label)) == label


@pytest.mark.parametrize("text", ["", "default", "0", "/3", "r/", "r/-1", "r/03", "r/ 3", "r/٣", "r/3x"])
def test_what_is_not_run_slash_version_is_foreign(text: str) -> None:
    with pytest.raises(ForeignWeights, match="not run/version"):
        WeightLabel.parse(text)


def test_a_request_sends_every_sampling_field_and_its_own_names() -> None:
    body = msgspec.json.decode(generate_body(make_request()))
    assert body["rid"] == wire_rid("a1")
    assert (body["input_ids"], body["extra_key"], body["return_logprob"]) == ([5, 6], "r/3", True)
    assert body["sampling_params"]["sampling_seed"] == 11
    assert body["sampling_params"]["stop"] == ["\n"]
    for field in ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "n", "stop_token_ids", "ignore_eos"):
        assert field in body["sampling_params"]


@given(one=st.text(st.characters(exclude_characters=";")), other=st.text(st.characters(exclude_characters=";")))
def test_no_rid_on_the_wire_begins_with_another(one: str, other: str) -> None:
    assert one == other or not wire_rid(one).startswith(wire_rid(other))


def test_a_completion_is_read_with_its_spans() -> None:
    spans = [{"version": "r/2", "start": 0, "end": 1}, {"version": "r/3", "start": 1, "end": 2}]
    completion = read_completion(make_request(), make_body(weight_versions=spans))
    assert completion.rid == "a1"
    assert tuple(completion.token_ids) == (7, 8)
    assert tuple(completion.logprobs) == (-0.5, -0.5)
    assert completion.finish_reason is FinishReason.STOP
    assert completion.spans == (VersionSpan(version=2, start=0, end=1), VersionSpan(version=3, start=1, end=2))


def test_fields_a_server_leaves_out_are_filled_in() -> None:
    completion = read_completion(make_request(), make_body(prompt_tokens=..., weight_versions=...))
    assert completion.prompt_tokens == 2
    assert completion.spans == (VersionSpan(version=3, start=0, end=2),)


@pytest.mark.parametrize("said", [None, 0, 5])
def test_an_aborted_attempt_says_how_many_tokens_it_had_where_the_server_does(said: int | None) -> None:
    meta: dict[str, object] = {"finish_reason": {"type": "abort", "message": "Aborted"}}
    body = msgspec.json.encode({"meta_info": meta if said is None else meta | {"completion_tokens": said}})
    with pytest.raises(Aborted) as aborted:
        read_completion(make_request(), body)
    assert aborted.value.num_tokens == said


def test_an_abort_in_the_queue_is_an_abort_though_its_answer_lacks_fields() -> None:
    body = msgspec.json.encode({"meta_info": {"finish_reason": {"type": "abort", "message": "Abort in waiting queue"}}})
    with pytest.raises(Aborted, match="waiting queue"):
        read_completion(make_request(), body)


@pytest.mark.parametrize(
    "spans",
    [
        [{"version": "other/3", "start": 0, "end": 2}],
        [{"version": "default", "start": 0, "end": 2}],
        [{"version": "r/3", "start": 0, "end": 1}],
        [{"version": "r/3", "start": 1, "end": 2}],
        [{"version": "r/2", "start": 0, "end": 2}, {"version": "r/3", "start": 1, "end": 2}],
        [{"version": "r/3", "start": 0, "end": 3}],
        [],
    ],
)
def test_tokens_that_cannot_be_attributed_to_the_runs_weights_are_foreign(spans: list[dict[str, object]]) -> None:
    with pytest.raises(ForeignWeights):
        read_completion(make_request(), make_body(weight_versions=spans))


@pytest.mark.parametrize(
    "pairs",
    [[], [[-0.5, 7, None]], [[-0.5, 8, None], [-0.5, 7, None]], [[None, 7, None], [-0.5, 8, None]]],
    ids=["none", "too few", "of other tokens", "not a number"],
)
def test_a_completion_without_a_logprob_for_each_token_is_unusable(pairs: list[object]) -> None:
    with pytest.raises(ServerUnavailable):
        read_completion(make_request(), make_body(output_token_logprobs=pairs))


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"<html>", make_body(finish_reason={"type": "bored"})])
def test_an_answer_that_makes_no_sense_is_the_servers_fault(body: bytes) -> None:
    with pytest.raises(ServerUnavailable):
        read_completion(make_request(), body)


def test_a_score_is_that_of_every_token_but_the_first() -> None:
    body = make_body(ids=(), input_token_logprobs=[[None, 5, None], [-1.0, 6, None], [-2.0, 7, None]])
    score = read_score("s", WeightLabel(run="r", version=3), (5, 6, 7), 100, body)
    assert score == Score(logprobs=(-1.0, -2.0), spans=(VersionSpan(version=3, start=0, end=0),))


def test_a_score_from_a_start_is_that_of_the_tokens_from_there_on() -> None:
    label = WeightLabel(run="r", version=3)
    body = make_body(ids=(), input_token_logprobs=[[None, 6, None], [-2.0, 7, None]])
    assert read_score("s", label, (5, 6, 7), 100, body, 2).logprobs == (-2.0,)
    with pytest.raises(ServerUnavailable):
        read_score("s", label, (5, 6, 7), 100, body)
    asked = [msgspec.json.decode(score_body("s", label, (5, 6, 7), start))["logprob_start_len"] for start in (1, 2)]
    assert asked == [0, 1]


def test_a_score_is_only_that_of_the_runs_own_weights() -> None:
    pairs = [[None, 5, None], [-1.0, 6, None]]
    body = make_body(ids=(), weight_versions=[{"version": "other/3", "start": 0, "end": 0}], input_token_logprobs=pairs)
    with pytest.raises(ForeignWeights):
        read_score("s", WeightLabel(run="r", version=3), (5, 6), 100, body)


def test_a_score_of_other_tokens_is_unusable() -> None:
    body = make_body(ids=(), input_token_logprobs=[[None, 5, None], [-1.0, 0, None]])
    with pytest.raises(ServerUnavailable):
        read_score("s", WeightLabel(run="r", version=3), (5, 6), 100, body)
    assert read_score("s", WeightLabel(run="r", version=3), (5, 6), 7, body).logprobs == (-1.0,)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"object":"error","message":"too long","type":"Bad Request","param":null,"code":400}', "too long"),
        (b'{"error":{"message":"is empty"}}', "is empty"),
        (b'{"error":"unknown field `seed`"}', "unknown field `seed`"),
        (b'{"detail":"Not Found"}', "Not Found"),
        (b"Flush cache failed.\n", "Flush cache failed."),
        (b"", "no reason given"),
        (b'{"error":{"code":3}}', '{"error":{"code":3}}'),
    ],
)
def test_every_error_shape_yields_its_message(body: bytes, message: str) -> None:
    assert error_message(body) == message


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 502, 503])
def test_only_a_bad_request_is_blamed_on_the_request(status: int) -> None:
    error = generation_error(status, b'{"error":"why"}')
    assert type(error) is (ServerRefused if status == 400 else ServerUnavailable)
    assert str(error) == f"{status}: why"


@pytest.mark.parametrize(
    ("ids", "new", "culprit"),
    [
        ((), 1, "empty prompt"),
        ((1, 100), 1, "token id 100 at position 1"),
        ((-1,), 1, "token id -1"),
        ((1,) * 9, 2, "11"),
    ],
)
def test_a_request_the_model_cannot_take_is_refused_by_name(ids: tuple[int, ...], new: int, culprit: str) -> None:
    limits = ModelLimits(vocab_size=100, context_length=10)
    with pytest.raises(ServerRefused, match=culprit):
        limits.check(ids, new)


def test_a_request_that_just_fits_is_let_through() -> None:
    ModelLimits(vocab_size=100, context_length=10).check((0, 99), 8)
