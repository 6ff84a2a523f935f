"""The data plane's wire: what we ask of POST /generate and how its answers are read.

Owns: the weight label, the bodies we send, the lenient reading of what comes back, and the translation of a status and
a body into the error tree (the control plane's wire is inference.control). Never does I/O. Invariant: an answer becomes
either a value that satisfies its type's own invariant or exactly one InferenceError that says what the server said.

Reading is lenient because SGLang is not: a request aborted in the waiting queue comes back without most of its
meta_info, builds before 0.5.19 have no version spans, and a server without a tokenizer sends no text.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from scheduler.core.errors import (
    Aborted,
    ForeignWeights,
    InferenceError,
    ServerRefused,
    ServerUnavailable,
)
from scheduler.core.packed import Logprobs, TokenIds
from scheduler.core.types import Completion, FinishReason, Sampling, VersionSpan
from scheduler.core.unreadable import UNREADABLE

_REFUSAL_STATUSES = frozenset({400, 413, 422})
_MAX_MESSAGE_CHARS = 600
_CANONICAL = re.compile(r"0|[1-9][0-9]{0,18}")
"""A version as we write it, in 64 bits."""
_Reply = TypeVar("_Reply", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightLabel:
    """A run's weight version as servers know it: `run/version`, in `weight_version` and `extra_key` alike."""

    run: str
    version: int

    def __str__(self) -> str:
        return f"{self.run}/{self.version}"

    @classmethod
    def parse(cls, text: str) -> "WeightLabel":
        """The label written as `text`; the last slash separates. Raises ForeignWeights if it is no label of ours."""
        run, slash, version = text.rpartition("/")
        canonical = _CANONICAL.fullmatch(version) is not None
        if not (run and slash and canonical):
            raise ForeignWeights(f"the server's weights are labelled {text!r}, which is not run/version")
        return cls(run=run, version=int(version))


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLimits:
    """What the model behind a server can be asked."""

    vocab_size: int
    """Rows of the embedding: a token id at or above it kills the server."""
    context_length: int
    """Prompt and answer together, in tokens."""

    def check(self, input_ids: Sequence[int], max_new_tokens: int) -> None:
        """Raise ServerRefused for a request that SGLang would refuse, or die of; the message names the culprit."""
        if not input_ids:
            raise ServerRefused("an empty prompt: a server needs at least one token id")
        total = len(input_ids) + max_new_tokens
        if total > self.context_length:
            raise ServerRefused(
                f"{len(input_ids)} prompt tokens and {max_new_tokens} new ones: {total} do not fit into the context of "
                f"{self.context_length}"
            )
        for position, token_id in enumerate(input_ids):
            if not 0 <= token_id < self.vocab_size:
                raise ServerRefused(
                    f"token id {token_id} at position {position} is outside the vocabulary of {self.vocab_size}"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRequest:
    """One attempt as asked of a server."""

    rid: str
    """The attempt's own request id, by which it can be aborted; never one that is in flight, and without `;`."""
    run: str
    version: int
    """The version the server is known to serve: names the KV namespace, not what the answer must carry."""
    input_ids: tuple[int, ...]
    sampling: Sampling
    sampling_seed: int
    """Distinct per attempt; servers without deterministic inference ignore it."""
    timeout_s: float
    """Bound on the whole call: a paused server never answers."""

    @property
    def label(self) -> WeightLabel:
        """The label under which the server caches this request."""
        return WeightLabel(run=self.run, version=self.version)


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What a prefill says of a given text."""

    logprobs: tuple[float, ...]
    """Of the tokens asked about, each given all before it: nats, temperature 1."""
    spans: tuple[VersionSpan, ...]
    """The weight version behind them, over no generated token."""


def wire_rid(rid: str) -> str:
    """The rid as a server sees it: ended by a mark, so that no rid is a prefix of another.

    SGLang's scheduler aborts every request whose rid *starts with* the one given: aborting `a1` would take `a10` along.
    """
    return f"{rid};"


def generate_body(request: GenerateRequest) -> bytes:
    """The body of POST /generate for one attempt, with the log-prob of every generated token."""
    return msgspec.json.encode(
        {
            "rid": wire_rid(request.rid),
            "input_ids": request.input_ids,
            "sampling_params": _sampling_params(request.sampling, request.sampling_seed),
            "return_logprob": True,
            "extra_key": str(request.label),
        }
    )


def score_body(rid: str, label: WeightLabel, input_ids: Sequence[int], start: int = 1) -> bytes:
    """The body of POST /generate that generates nothing and asks the log-probs of input_ids[start:].

    A server takes nothing from its cache beyond the token before `start`: from there on it needs what it computes.
    """
    return msgspec.json.encode(
        _prefill(rid, label, input_ids) | {"return_logprob": True, "logprob_start_len": start - 1}
    )


def prefill_body(rid: str, label: WeightLabel, input_ids: Sequence[int]) -> bytes:
    """The body of POST /generate that generates nothing and asks nothing: the server's cache then holds input_ids."""
    return msgspec.json.encode(_prefill(rid, label, input_ids) | {"return_logprob": False})


def _prefill(rid: str, label: WeightLabel, input_ids: Sequence[int]) -> dict[str, object]:
    """What asks for no token."""
    return {
        "rid": wire_rid(rid),
        "input_ids": input_ids,
        "sampling_params": _sampling_params(Sampling(max_new_tokens=0), 0),
        "extra_key": str(label),
    }


def _sampling_params(sampling: Sampling, seed: int) -> dict[str, object]:
    """Every field, spelt out: what is left out is filled from the checkpoint's generation_config.json."""
    return {
        "n": 1,
        "max_new_tokens": sampling.max_new_tokens,
        "min_new_tokens": 0,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "frequency_penalty": 0.0,
        "presence_penalty": 0.0,
        "repetition_penalty": 1.0,
        "stop": list(sampling.stop),
        "stop_token_ids": list(sampling.stop_token_ids),
        "ignore_eos": sampling.ignore_eos,
        "skip_special_tokens": True,
        "spaces_between_special_tokens": True,
        "no_stop_trim": False,
        "sampling_seed": seed,
    }


class _Finish(msgspec.Struct, frozen=True):
    type: str
    message: str = ""


class _Span(msgspec.Struct, frozen=True):
    version: str
    start: int
    end: int


_TokenLogprob = tuple[float | None, int, str | None]


class _MetaInfo(msgspec.Struct, frozen=True):
    finish_reason: _Finish
    prompt_tokens: int = 0
    completion_tokens: int | None = None
    weight_version: str | None = None
    weight_versions: tuple[_Span, ...] | None = None
    input_token_logprobs: tuple[_TokenLogprob, ...] = ()
    output_token_logprobs: tuple[_TokenLogprob, ...] = ()


class _Generated(msgspec.Struct, frozen=True):
    meta_info: _MetaInfo
    output_ids: tuple[int, ...] = ()
    text: str = ""


class _ErrorBody(msgspec.Struct, frozen=True):
    """The four shapes of an error, and the control plane's own, laid over each other."""

    message: str | None = None
    error: str | dict[str, object] | None = None
    detail: object = None


def read_completion(request: GenerateRequest, body: bytes) -> Completion:
    """The completion in the body of a 200.

    Raises Aborted for an aborted attempt, ForeignWeights if a token was sampled under weights that are not the run's
    or cannot be attributed, ServerUnavailable if the body makes no sense.
    """
    generated = decode(body, _Generated, ServerUnavailable)
    meta = generated.meta_info
    finish = _finish_reason(request.rid, meta)
    logprobs = _logprobs(request.rid, generated.output_ids, meta.output_token_logprobs)
    try:
        token_ids, packed = TokenIds.of(generated.output_ids), Logprobs.of(logprobs)
    except OverflowError as exc:
        raise ServerUnavailable(f"attempt {request.rid}: token ids or log-probs that make no sense: {exc}") from exc
    return Completion(
        rid=request.rid,
        token_ids=token_ids,
        logprobs=packed,
        text=generated.text,
        finish_reason=finish,
        prompt_tokens=meta.prompt_tokens or len(request.input_ids),
        spans=_spans(request.run, len(generated.output_ids), meta),
    )


def read_score(
    rid: str, label: WeightLabel, input_ids: Sequence[int], vocab_size: int, body: bytes, start: int = 1
) -> Score:
    """Log-probs of input_ids[start:] given what precedes them; raises as read_completion does."""
    meta = decode(body, _Generated, ServerUnavailable).meta_info
    _finish_reason(rid, meta)
    spans = _spans(label.run, 0, meta)
    # SGLang writes 0 for the vocabulary's last id in a prompt; the log-prob beside it is the right one.
    reported = [0 if token == vocab_size - 1 else token for token in input_ids]
    # Its first entry is the token before, without a log-prob.
    logprobs = _logprobs(rid, reported[start:], meta.input_token_logprobs[1:])
    return Score(logprobs=logprobs, spans=spans)


def _finish_reason(rid: str, meta: _MetaInfo) -> FinishReason:
    finish = meta.finish_reason
    if finish.type == FinishReason.ABORT:
        raise Aborted(
            f"attempt {rid} was aborted on the server: {finish.message or 'no reason given'}",
            num_tokens=meta.completion_tokens,
        )
    try:
        return FinishReason(finish.type)
    except ValueError as exc:
        raise ServerUnavailable(f"attempt {rid} ended with the unknown finish reason {finish.type!r}") from exc


def _logprobs(rid: str, ids: Sequence[int], pairs: Sequence[_TokenLogprob]) -> tuple[float, ...]:
    """The log-probs of `ids`: one each, of the same ids in the same order, all finite (a NaN arrives as null)."""
    if [pair[1] for pair in pairs] != list(ids):
        raise ServerUnavailable(f"attempt {rid}: {len(pairs)} log-probs that are not those of its {len(ids)} tokens")
    values = tuple(pair[0] for pair in pairs if pair[0] is not None and math.isfinite(pair[0]))
    if len(values) != len(ids):
        raise ServerUnavailable(f"attempt {rid}: the server computed a log-prob that is not a finite number")
    return values


def _spans(run: str, num_tokens: int, meta: _MetaInfo) -> tuple[VersionSpan, ...]:
    spans = meta.weight_versions
    if spans is None and meta.weight_version is not None:
        spans = (_Span(version=meta.weight_version, start=0, end=num_tokens),)
    covered = 0
    ours: list[VersionSpan] = []
    for span in spans or ():
        label = WeightLabel.parse(span.version)
        if label.run != run:
            raise ForeignWeights(f"tokens sampled with the weights of {span.version!r}, not of run {run!r}")
        if span.start != covered or span.end < span.start:
            break
        covered = span.end
        ours.append(VersionSpan(version=label.version, start=span.start, end=span.end))
    if not ours or len(ours) != len(spans or ()) or covered != num_tokens:
        raise ForeignWeights(f"the weight versions {spans} do not cover the {num_tokens} tokens generated")
    return tuple(ours)


def generation_error(status: int, body: bytes) -> InferenceError:
    """The error behind a /generate that was not answered with 200.

    Only what the request itself is to blame for is a refusal; a wrong key or a missing route is the server's state.
    """
    message = f"{status}: {error_message(body)}"
    return ServerRefused(message) if status in _REFUSAL_STATUSES else ServerUnavailable(message)


def error_message(body: bytes) -> str:
    """What the server said, out of any of its error shapes; cut to a readable length."""
    try:
        parsed = msgspec.json.decode(body, type=_ErrorBody)
    except UNREADABLE:
        return body.decode(errors="replace").strip()[:_MAX_MESSAGE_CHARS] or "no reason given"
    match parsed:
        case _ErrorBody(error=str() as text) | _ErrorBody(error={"message": str() as text}):
            message = text
        case _ErrorBody(message=str() as text) | _ErrorBody(detail=str() as text):
            message = text
        case _:
            message = body.decode(errors="replace")
    return message[:_MAX_MESSAGE_CHARS]


def decode(body: bytes, kind: type[_Reply], error: type[InferenceError]) -> _Reply:
    """`body` as a `kind`, lenient about unknown and missing fields; raises `error` if it makes no sense."""
    try:
        return msgspec.json.decode(body, type=kind)
    except UNREADABLE as exc:
        raise error(f"unreadable answer ({exc}): {body[:200].decode(errors='replace')}") from exc
