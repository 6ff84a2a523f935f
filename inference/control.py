"""The control plane's wire: pausing, updating and asking the state of one SGLang server.

Owns: the values of the control calls and the reading of their answers. Never does I/O. Invariant: an answer becomes a
value or a ControlFailed that says what the server said; weights that were replaced are never reported as kept.
"""

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from inference.protocol import decode, error_message
from scheduler.core.errors import ControlFailed, WeightsUnread
from scheduler.core.unreadable import UNREADABLE

WEIGHT_ROUTES = frozenset(
    {"/pause_generation", "/continue_generation", "/abort_request", "/flush_cache", "/update_weights_from_disk"}
)
"""What a server must have to be given weights from a folder."""
BROADCAST_ROUTES = frozenset(
    {
        "/init_weights_update_group",
        "/destroy_weights_update_group",
        "/begin_weight_update",
        "/end_weight_update",
        "/update_weights_from_distributed",
    }
)
"""What it must have to take them by broadcast."""
_OK = 200
_NO_SUCH_ROUTE = 404
_SUMS_ON_A_GPU = "not compiled with CUDA"
"""Up to 0.5.22 a server on a CPU has the route and cannot serve it."""
_NOT_READ = "Failed to get weights iterator"
_NOT_FLUSHED = "Weights were updated, but"


class WeightsUpdate(StrEnum):
    """How an update of the weights ended, short of failing."""

    APPLIED = "applied"
    """The new weights serve; the KV cache is flushed if that was asked for."""
    APPLIED_NOT_FLUSHED = "applied_not_flushed"
    """The new weights serve over the old KV cache, and /model_info still names the old version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """What a server says of its model: a hint, never proof (see WeightsUpdate.APPLIED_NOT_FLUSHED)."""

    model_path: str
    weight_version: str
    tokenizer_path: str | None
    model_type: str | None
    architectures: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerInfo:
    """How a server was launched. Its other fields, keys among them, are never read."""

    model_path: str
    context_length: int | None
    """As it was told; None is what the model allows."""
    dtype: str = ""
    """What it computes in, as it was told: `auto` is the model's own; empty where it does not say."""
    quantization: str = ""
    """How its weights are quantised; empty if they are not."""
    version: str
    """SGLang's; empty where it does not say."""
    instance: str
    """Tells this process from every other: its port, its seed and how long its start took, to the nanosecond."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A snapshot of a server's queues, summed over its data-parallel ranks; may lag, and is stale while paused."""

    num_running: int
    num_waiting: int
    max_running: int
    token_usage: float
    """Share of the KV cache in use, of the fullest rank."""


class _ControlReply(msgspec.Struct, frozen=True):
    success: bool = True
    message: str = ""


class _ModelInfoReply(msgspec.Struct, frozen=True):
    model_path: str
    weight_version: str
    tokenizer_path: str | None = None
    model_type: str | None = None
    architectures: tuple[str, ...] | None = None


class _StartupTime(msgspec.Struct, frozen=True):
    tokenizer_e2e: float | None = None


class _ServerInfoReply(msgspec.Struct, frozen=True):
    model_path: str = ""
    context_length: int | None = None
    dtype: str | None = None
    quantization: str | None = None
    version: str = ""
    port: int | None = None
    random_seed: int | None = None
    startup_time: _StartupTime = _StartupTime()
    tp_size: int = 1
    pp_size: int = 1
    dp_size: int = 1


class _RankLoad(msgspec.Struct, frozen=True):
    num_running_reqs: int = 0
    num_waiting_reqs: int = 0
    max_running_requests: int = 0
    token_usage: float = 0.0


class _LoadsReply(msgspec.Struct, frozen=True):
    loads: tuple[_RankLoad, ...]


class _OpenApiReply(msgspec.Struct, frozen=True):
    paths: dict[str, object]


class _TokensReply(msgspec.Struct, frozen=True):
    tokens: tuple[tuple[int, ...], ...]


class _ChecksumReply(msgspec.Struct, frozen=True):
    success: bool
    message: str = ""
    per_engine_checksum: str | None = None


def read_model_info(body: bytes) -> ModelInfo:
    """The answer of GET /model_info."""
    reply = decode(body, _ModelInfoReply, ControlFailed)
    return ModelInfo(
        model_path=reply.model_path,
        weight_version=reply.weight_version,
        tokenizer_path=reply.tokenizer_path,
        model_type=reply.model_type,
        architectures=reply.architectures or (),
    )


def read_server_info(body: bytes) -> ServerInfo:
    """The answer of GET /server_info."""
    reply = _server_info(body)
    took_s = reply.startup_time.tokenizer_e2e
    instance = "" if took_s is None else f"{reply.port}:{reply.random_seed}:{took_s!r}"
    return ServerInfo(
        model_path=reply.model_path,
        context_length=reply.context_length,
        dtype=reply.dtype or "",
        quantization=reply.quantization or "",
        version=reply.version,
        instance=instance,
    )


def _server_info(body: bytes) -> _ServerInfoReply:
    try:
        return msgspec.json.decode(body, type=_ServerInfoReply)
    except UNREADABLE as exc:
        # The answer is not repeated: it has the server's keys in it.
        raise ControlFailed(f"unreadable answer of /server_info: {exc}") from exc


def read_loads(body: bytes) -> Load:
    """The answer of GET /v1/loads."""
    ranks = decode(body, _LoadsReply, ControlFailed).loads
    return Load(
        num_running=sum(rank.num_running_reqs for rank in ranks),
        num_waiting=sum(rank.num_waiting_reqs for rank in ranks),
        max_running=sum(rank.max_running_requests for rank in ranks),
        token_usage=max((rank.token_usage for rank in ranks), default=0.0),
    )


def read_tokens(status: int, body: bytes) -> tuple[tuple[int, ...], ...] | None:
    """The answer of POST /v1/tokenize to several texts; None of a server without the route or without a tokenizer."""
    if status != _OK:
        return None
    return decode(body, _TokensReply, ControlFailed).tokens


def read_routes(body: bytes) -> frozenset[str]:
    """The paths in the answer of GET /openapi.json."""
    return frozenset(decode(body, _OpenApiReply, ControlFailed).paths)


def read_num_ranks(body: bytes) -> int:
    """The ranks that join a weight group, in the answer of GET /server_info.

    Raises ControlFailed for a server that cannot take weights by broadcast.
    """
    reply = _server_info(body)
    if reply.pp_size != 1 or reply.dp_size != 1:
        raise ControlFailed(
            f"pp_size {reply.pp_size}, dp_size {reply.dp_size}: SGLang takes a broadcast with tensor parallelism only"
        )
    return reply.tp_size


def read_checksum(status: int, body: bytes) -> str | None:
    """The checksum over all parameters in the answer of /weights_checker; None where the server has no way to tell."""
    if status == _NO_SUCH_ROUTE or _SUMS_ON_A_GPU in error_message(body):
        return None
    if status != _OK:
        raise ControlFailed(f"/weights_checker answered {status}: {error_message(body)}")
    reply = decode(body, _ChecksumReply, ControlFailed)
    if not reply.success or reply.per_engine_checksum is None:
        raise ControlFailed(f"no checksum: {reply.message or 'the answer has none'}")
    return reply.per_engine_checksum


def read_update(status: int, body: bytes) -> WeightsUpdate:
    """How an update from disk, or of a last bucket, ended. Raises ControlFailed where the weights were not replaced."""
    message = error_message(body)
    if message.startswith(_NOT_FLUSHED):
        return WeightsUpdate.APPLIED_NOT_FLUSHED
    if status != _OK or not decode(body, _ControlReply, ControlFailed).success:
        kind = WeightsUnread if message.startswith(_NOT_READ) else ControlFailed
        raise kind(f"the weights were not updated ({status}): {message}")
    return WeightsUpdate.APPLIED
