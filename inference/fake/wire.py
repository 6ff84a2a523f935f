"""What the fake server puts on the wire, in the shapes recorded from SGLang 0.5.23.

Owns: the bodies of its answers and the reading of a /generate body. Never decides what happens. Invariant: field for
field what the real server sends, the missing ones included.
"""

import time
from typing import cast

import msgspec

from inference.fake.job import Ending, Job, Sampled
from inference.fake.refusals import ContractBroken, Refused
from inference.fake.server import FakeServer

_SAMPLING_FIELDS = (
    "`max_new_tokens`, `stop`, `stop_token_ids`, `stop_regex`, `temperature`, `top_p`, `top_k`, `min_p`, "
    "`frequency_penalty`, `presence_penalty`, `repetition_penalty`, `min_new_tokens`, `n`, `json_schema`, `regex`, "
    "`ebnf`, `structural_tag`, `ignore_eos`, `skip_special_tokens`, `spaces_between_special_tokens`, `no_stop_trim`, "
    "`stream_interval`, `logit_bias`, `sampling_seed`, `custom_params`, `beam_width`, `watermark`, `choice`"
)
_DEFAULT_MAX_NEW_TOKENS = 128


class Sampling(msgspec.Struct):
    """The sampling fields that matter to a policy."""

    max_new_tokens: int = _DEFAULT_MAX_NEW_TOKENS
    n: int = 1
    temperature: float = 1.0
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    ignore_eos: bool = False
    sampling_seed: int | None = None


class GenerateBody(msgspec.Struct):
    """The part of a /generate body that the fake serves: one prompt of token ids."""

    input_ids: list[int] | None = None
    rid: str | None = None
    sampling_params: dict[str, object] = {}
    return_logprob: bool = False
    logprob_start_len: int = -1
    extra_key: str | None = None


def read_generate(content: bytes, spare_rid: str) -> Sampled:
    """The request in a body. Raises Refused, ContractBroken, or msgspec.MsgspecError for what is not a body at all."""
    body = msgspec.json.decode(content, type=GenerateBody)
    for name in body.sampling_params:
        if f"`{name}`" not in _SAMPLING_FIELDS:
            raise ContractBroken(f"unknown field `{name}`, expected one of {_SAMPLING_FIELDS}")
    if body.input_ids is None:
        raise Refused("Either text, input_ids or input_embeds should be provided.")
    if not body.input_ids:
        raise Refused("input_ids cannot be empty.")
    sampling = msgspec.convert(body.sampling_params, Sampling)
    if sampling.n > 1:
        raise Refused("the fake serves n=1 only: more lose their rids on the real one")
    stop = [sampling.stop] if isinstance(sampling.stop, str) else sampling.stop or []
    return Sampled(
        rid=body.rid or spare_rid,
        input_ids=tuple(body.input_ids),
        max_new_tokens=sampling.max_new_tokens,
        temperature=sampling.temperature,
        seed=sampling.sampling_seed,
        ignore_eos=sampling.ignore_eos,
        stop=tuple(stop),
        stop_token_ids=tuple(sampling.stop_token_ids or ()),
        extra_key=body.extra_key,
        return_logprob=body.return_logprob,
        logprob_start_len=body.logprob_start_len,
    )


def generated(job: Job, server: FakeServer, mislabel: str | None) -> dict[str, object]:
    """The 200 of /generate."""
    meta = _meta_when_queued(job, server) if job.ending is Ending.ABORTED_IN_QUEUE else _meta(job, server)
    if mislabel is not None:
        spans = cast(list[dict[str, object]], meta["weight_versions"])
        meta |= {
            "weight_version": mislabel,
            "weight_versions": [span | {"version": mislabel} for span in spans],
        }
    return {"text": job.text, "output_ids": job.token_ids, "meta_info": meta}


def _meta_when_queued(job: Job, server: FakeServer) -> dict[str, object]:
    return {
        "id": job.rid,
        "finish_reason": {"type": "abort", "message": "Abort in waiting queue"},
        "weight_version": server.weight_version,
        "e2e_latency": 0.1,
        "weight_versions": _spans(job, server.weight_version),
        **_logprobs(job, server),
        "completion_tokens": len(job.token_ids),
        "response_sent_to_client_ts": 1.0,
    }


def _meta(job: Job, server: FakeServer) -> dict[str, object]:
    times = ("forward_entry_time", "prefill_finished_time", "queue_time", "e2e_latency", "request_received_ts")
    more_times = ("first_token_latency", "api_server_dispatch_finish_ts", "request_finished_ts")
    spans = _spans(job, server.decoder.label)
    return {
        "id": job.rid,
        "finish_reason": _finish_reason(job),
        "prompt_tokens": len(job.request.input_ids),
        "weight_version": spans[-1]["version"],
        "num_retractions": job.num_retractions,
        "storage_prefetch_wait": 0.0,
        "storage_staging_wait": 0.0,
        **_logprobs(job, server),
        "reasoning_tokens": 0,
        "completion_tokens": len(job.token_ids),
        "cached_tokens": job.cached_tokens,
        "weight_versions": spans,
        "cached_tokens_details": {"device": job.cached_tokens, "host": 0} if job.cached_tokens else None,
        "dp_rank": None,
        **dict.fromkeys((*times, *more_times, "response_sent_to_client_ts"), 1.0),
        **({"decode_throughput": 1.0} if len(job.token_ids) > 1 else {}),
    }


def _spans(job: Job, label: str) -> list[dict[str, object]]:
    if not job.spans:
        return [{"version": label, "start": 0, "end": 0}]
    return [{"version": span.version, "start": span.start, "end": span.end} for span in job.spans]


def _logprobs(job: Job, server: FakeServer) -> dict[str, object]:
    if not job.request.return_logprob:
        return {}
    prompt: list[tuple[float | None, int, None]] = []
    if job.request.scores_prompt and job.ending is not Ending.ABORTED_IN_QUEUE:
        # The real one writes 0 for the last id of the vocabulary, beside the right log-prob.
        last = server.config.vocab_size - 1
        asked = job.request.input_ids[job.request.logprob_start_len :]
        ids = (token if token < last else 0 for token in asked)
        prompt = [(value, token, None) for value, token in zip((None, *job.prompt_logprobs), ids, strict=True)]
    return {
        "input_token_logprobs": prompt,
        "output_token_logprobs": [
            (value, token, None) for value, token in zip(job.logprobs, job.token_ids, strict=True)
        ],
        "output_token_logprobs_length": len(job.token_ids),
    }


def _finish_reason(job: Job) -> dict[str, object]:
    if job.ending is Ending.ABORTED:
        return {"type": "abort", "message": "Aborted", "status_code": None, "err_type": None}
    if job.ending is Ending.STOP:
        last = job.token_ids[-1] if job.token_ids else 0
        by_token = last in job.request.stop_token_ids or not job.request.stop
        matched = last if by_token else job.request.stop[0]
        return {"type": "stop", "matched": matched}
    return {"type": "length", "length": len(job.token_ids)}


def model_info(server: FakeServer) -> dict[str, object]:
    """The answer of GET /model_info."""
    return {
        "model_path": server.model_path,
        "served_model_name": server.model_path,
        "tokenizer_path": server.config.model_path,
        "is_generation": True,
        "preferred_sampling_params": None,
        "weight_version": server.weight_version,
        "load_format": "auto",
        "reasoning_parser": None,
        "tool_call_parser": None,
        "disaggregation_mode": "null",
        "has_image_understanding": False,
        "has_audio_understanding": False,
        "model_type": server.config.model_type,
        "architectures": list(server.config.architectures),
    }


def server_info(server: FakeServer) -> dict[str, object]:
    """The answer of GET /server_info, as far as it says how the server was launched; the real one's has 556 keys."""
    config = server.config
    return {
        "model_path": config.model_path,
        "tokenizer_path": config.model_path,
        "context_length": None,
        "dtype": config.dtype,
        "quantization": config.quantization,
        "skip_tokenizer_init": config.tokenizer is None,
        "port": 30000,
        "random_seed": config.random_seed,
        "weight_version": config.weight_version,
        "api_key": config.api_key,
        "admin_api_key": config.admin_api_key,
        "status": "ready",
        "max_total_num_tokens": 65536,
        "max_req_input_len": config.context_length - 6,
        "startup_time": {"tokenizer_e2e": server.started_s},
        "version": server.config.version,
        "tp_size": config.num_ranks,
        "pp_size": 1,
        "dp_size": 1,
    }


def loads(server: FakeServer) -> dict[str, object]:
    """The answer of GET /v1/loads."""
    rank = {
        "timestamp": time.time(),
        "dp_rank": 0,
        "num_running_reqs": len(server.decoder.running),
        "num_waiting_reqs": len(server.decoder.waiting),
        "num_used_tokens": 0,
        "num_total_tokens": 0,
        "max_total_num_tokens": 65536,
        "max_running_requests": server.config.max_running,
        "token_usage": 0.0,
        "gen_throughput": 0.0,
        "cache_hit_rate": 0.0,
        "utilization": 0.0,
    }
    return {
        "timestamp": "2026-01-01T00:00:00+00:00",
        "version": server.config.version,
        "accelerator": None,
        "num_accelerators": 1,
        "loads": [rank],
    }


def metrics(server: FakeServer, *, open_metrics: bool) -> str:
    """The answer of GET /metrics: of the real one's hundreds of metrics those that somebody looks at.

    In OpenMetrics the real one escapes the colon in the names of samples, though not in those of their types.
    """
    sample, total, end = ("sglang_", "_total ", "# EOF\n") if open_metrics else ("sglang:", " ", "")
    labels = f'{{model_name="{server.config.model_path}"}}'
    numbers = {
        "num_running_reqs gauge": len(server.decoder.running),
        "num_queue_reqs gauge": len(server.decoder.waiting),
        "token_usage gauge": 0.0,
        "generation_tokens_total counter": server.num_generated,
    }
    lines = (
        f"# TYPE sglang:{name.replace(total, ' ')}\n{sample}{name.split()[0]}{labels} {number}\n"
        for name, number in numbers.items()
    )
    return "".join(lines) + end


def checksum(server: FakeServer) -> dict[str, object]:
    """The answer of /weights_checker."""
    weights = server.decoder.weights
    rank = {"checksums": {"model.norm.weight": weights[:16]}, "per_gpu_checksum": weights, "parallelism_info": []}
    return {"success": True, "message": "Success.", "ranks": [rank], "per_engine_checksum": weights}


def invalid(message: str) -> dict[str, object]:
    """The body of a 400 for a request that is not even well-formed."""
    return {"object": "error", "message": message, "type": "Bad Request", "param": None, "code": 400}


def queue_full() -> dict[str, object]:
    """The body of a 503 for a full queue."""
    return {"object": "error", "message": "The request queue is full.", "type": "503", "param": None, "code": 503}
