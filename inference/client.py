"""A client of one SGLang server.

Owns: the calls, on a data plane (generate, score) and a control plane (pause, update, continue, …) with a pool of
connections and a key each, so that hundreds of blocked generates never hold up the `continue` that releases them.
Never retries, never decides: the engine and the fleet do. Invariant: a request that would kill the server (a token id
outside its vocabulary) is never sent.

One control operation at a time per server is the caller's duty: two updates at once while paused kill SGLang.
"""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import msgspec

from inference.channel import Answer, Channel
from inference.control import (
    Load,
    ModelInfo,
    ServerInfo,
    WeightsUpdate,
    read_checksum,
    read_loads,
    read_model_info,
    read_num_ranks,
    read_routes,
    read_server_info,
    read_tokens,
    read_update,
)
from inference.protocol import (
    GenerateRequest,
    ModelLimits,
    Score,
    WeightLabel,
    error_message,
    generate_body,
    generation_error,
    prefill_body,
    read_completion,
    read_score,
    score_body,
    wire_rid,
)
from scheduler.core.broadcast import BroadcastBackend, Bucket, Rendezvous
from scheduler.core.errors import ControlFailed, InferenceError, ServerRefused, ServerUnavailable
from scheduler.core.roll_out import PauseMode
from scheduler.core.types import Completion

_OK = 200
_REFUSED = 400
_NO_KEY = 401
_NO_SUCH_ROUTE = 404
_CONTROL_CONNECTIONS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long a call may take before the server counts as unavailable."""

    connect_s: float = 5.0
    """Setting up a connection."""
    probe_s: float = 5.0
    """Questions about state: /ready, /model_info, /v1/loads."""
    control_s: float = 60.0
    """Pause, continue, abort; pausing with PauseMode.ABORT takes at least a second and one decode step."""
    update_s: float = 600.0
    """Reading a checkpoint, or its checksum."""


class ServerClient:
    """One server, named by its URL. Close it with `aclose`."""

    def __init__(
        self,
        base_url: str,
        limits: ModelLimits,
        *,
        api_key: str | None = None,
        admin_api_key: str | None = None,
        timeouts: Timeouts = Timeouts(),
        max_connections: int = 1024,
        transport: httpx.AsyncBaseTransport | None = None,
        tls: ssl.SSLContext | None = None,
        address: str | None = None,
    ) -> None:
        """`max_connections` bounds the generates in flight; an admin key replaces `api_key` on the control plane.

        `tls` says whom to trust and with which certificate to answer; `address` is where to connect, whatever the URL's
        name resolves to by then.
        """
        self.base_url = base_url
        self._limits = limits
        self._timeouts = timeouts

        def channel(key: str | None, connections: int, no_answer: type[InferenceError]) -> Channel:
            return Channel(
                base_url,
                key=key,
                max_connections=connections,
                connect_timeout_s=timeouts.connect_s,
                no_answer=no_answer,
                transport=transport,
                tls=tls,
                address=address,
            )

        self._data = channel(api_key, max_connections, ServerUnavailable)
        self._probe = channel(api_key, _CONTROL_CONNECTIONS, ControlFailed)
        self._admin = channel(admin_api_key or api_key, _CONTROL_CONNECTIONS, ControlFailed)

    async def generate(self, request: GenerateRequest) -> Completion:
        """Ask one completion.

        Raises ServerRefused (the request can never succeed, here or elsewhere), ServerUnavailable (nothing came back),
        Aborted, or ForeignWeights (a token was sampled under weights that are not the run's). After a timeout or a
        cancellation the server may still be at it: call `abort(request.rid)`.
        """
        self._limits.check(request.input_ids, request.sampling.max_new_tokens)
        body = await self._generated(generate_body(request), request.timeout_s)
        return read_completion(request, body)

    async def score(
        self, input_ids: Sequence[int], *, rid: str, label: WeightLabel, timeout_s: float, start: int = 1
    ) -> Score:
        """Log-probs (nats, temperature 1) of input_ids[start:], each given the tokens before it; raises as `generate`.

        `start` is from 1 to the last token. What precedes it may come from the server's cache, the rest is computed.
        """
        self._limits.check(input_ids, 0)
        if not 1 <= start < max(len(input_ids), 2):
            raise ServerRefused(f"a score from token {start} on of {len(input_ids)}: nothing precedes or follows it")
        body = await self._generated(score_body(rid, label, input_ids, start), timeout_s)
        return read_score(rid, label, input_ids, self._limits.vocab_size, body, start)

    async def prefill(
        self, input_ids: Sequence[int], *, rid: str, label: WeightLabel, timeout_s: float, max_new_tokens: int
    ) -> None:
        """Have the server compute `input_ids` and keep them in its cache. Raises as `generate`.

        Requests for one prompt that arrive together compute it once each: none finds it in the cache. Those to come
        generate up to `max_new_tokens`: what would be refused then is refused now.
        """
        self._limits.check(input_ids, max_new_tokens)
        body = await self._generated(prefill_body(rid, label, input_ids), timeout_s)
        read_score(rid, label, (), self._limits.vocab_size, body)

    async def pause(self, mode: PauseMode = PauseMode.RETRACT) -> None:
        """Stop decoding and block new requests until `resume`; pausing a paused server changes nothing."""
        await self._command("/pause_generation", {"mode": mode.value})

    async def resume(self) -> None:
        """Go on decoding and let blocked requests in; resuming a running server changes nothing."""
        await self._command("/continue_generation", {"torch_empty_cache": False})

    async def update_weights(self, path: Path, label: WeightLabel, *, flush: bool = True) -> WeightsUpdate:
        """Load the checkpoint at `path` (as the server sees it) and call it `label`.

        On a server that is not paused this waits for every request in flight, and one that ended just before may still
        keep the cache from being flushed. Raises ControlFailed where the old
        weights are kept, and also after a timeout, when it is unknown which weights serve. A checkpoint of other shapes
        kills the server and one with missing tensors is half loaded in silence: validate it first.
        """
        answer = await self._control(
            "POST",
            "/update_weights_from_disk",
            {"model_path": str(path), "weight_version": str(label), "flush_cache": flush},
            timeout_s=self._timeouts.update_s,
        )
        return read_update(answer.status, answer.body)

    async def num_ranks(self) -> int:
        """How many ranks of it join a weight group. Raises ControlFailed if it cannot take weights by broadcast."""
        return read_num_ranks((await self._ask("/server_info")).body)

    async def join_weight_group(
        self,
        group: str,
        rendezvous: Rendezvous,
        *,
        first_rank: int,
        world_size: int,
        backend: BroadcastBackend,
        timeout_s: float,
    ) -> None:
        """Have it join a group in which the learner is rank 0; answered once everybody is in it.

        A server whose learner does not listen, or hangs, does nothing else until torch gives up, after many minutes.
        """
        body: dict[str, object] = {
            "master_address": rendezvous.address,
            "master_port": rendezvous.port,
            "rank_offset": first_rank,
            "world_size": world_size,
            "group_name": group,
            "backend": backend.value,
        }
        await self._command("/init_weights_update_group", body, timeout_s=timeout_s)

    async def leave_weight_group(self, group: str) -> None:
        """Have it leave a group; ControlFailed if it is not in it."""
        await self._command("/destroy_weights_update_group", {"group_name": group}, timeout_s=self._timeouts.probe_s)

    async def begin_weights(self) -> None:
        """Open the session that buckets need; ControlFailed if one is open."""
        await self._command("/begin_weight_update", {}, timeout_s=self._timeouts.probe_s)

    async def end_weights(self) -> None:
        """Close the session; ControlFailed if none is open."""
        await self._command("/end_weight_update", {}, timeout_s=self._timeouts.probe_s)

    async def receive_weights(
        self, group: str, bucket: Bucket, label: WeightLabel | None, *, timeout_s: float, flush: bool = True
    ) -> WeightsUpdate:
        """Have it take one bucket that the learner broadcasts; `label` names the weights and comes with the last one.

        Raises as `update_weights` does: after a failure part of the weights may be new.
        """
        body: dict[str, object] = {
            "names": [tensor.name for tensor in bucket],
            "dtypes": [tensor.dtype for tensor in bucket],
            "shapes": [tensor.shape for tensor in bucket],
            "group_name": group,
            "load_format": "flattened_bucket",
            "flush_cache": flush and label is not None,
            "weight_version": None if label is None else str(label),
        }
        answer = await self._control("POST", "/update_weights_from_distributed", body, timeout_s=timeout_s)
        return read_update(answer.status, answer.body)

    async def flush_cache(self, timeout_s: float = 0.0) -> bool:
        """Drop the KV cache; False if requests were at it for all of `timeout_s` (the server waits)."""
        answer = await self._control(
            "POST",
            "/flush_cache",
            query={"timeout": f"{timeout_s:g}"},
            timeout_s=self._timeouts.control_s + timeout_s,
        )
        if answer.status not in (_OK, _REFUSED):
            raise _failed("/flush_cache", answer)
        return answer.status == _OK

    async def abort(self, rid: str) -> None:
        """Abort one attempt; nothing happens if the server does not know it. The attempt itself ends with Aborted.

        An attempt that is blocked by a pause cannot be aborted before `resume`, and the order is forgotten.
        """
        await self._command("/abort_request", {"rid": wire_rid(rid)})

    async def abort_all(self) -> None:
        """Abort every attempt on the server."""
        await self._command("/abort_request", {"abort_all": True})

    async def model_info(self) -> ModelInfo:
        """What the server says of its model."""
        return read_model_info((await self._ask("/model_info")).body)

    async def server_info(self) -> ServerInfo:
        """How the server was launched."""
        return read_server_info((await self._ask("/server_info")).body)

    async def tokenized(self, texts: Sequence[str]) -> tuple[tuple[int, ...], ...] | None:
        """What its tokenizer makes of each text, without what a text begins with; None where it does not tell.

        It does not with --skip-tokenizer-init, or where its SGLang has no such route.
        """
        body = msgspec.json.encode({"model": "any", "prompt": list(texts), "add_special_tokens": False})
        answer = await self._probe.call("POST", "/v1/tokenize", body=body, timeout_s=self._timeouts.probe_s)
        return read_tokens(answer.status, answer.body)

    async def is_gateway(self) -> bool:
        """Whether what is there is no server but SGLang's gateway in front of some."""
        answer = await self._probe.call("GET", "/workers", timeout_s=self._timeouts.probe_s)
        return answer.status == _OK and b'"workers"' in answer.body

    async def loads(self) -> Load:
        """The server's queues, as of its last decode step."""
        return read_loads((await self._ask("/v1/loads")).body)

    async def routes(self) -> frozenset[str]:
        """The paths it answers. Raises ControlFailed for a server that was told not to say (DISABLE_OPENAPI_DOC)."""
        return read_routes((await self._ask("/openapi.json")).body)

    async def takes_admin_key(self) -> bool | None:
        """Whether the control plane accepts our key, asked of a route that only reads; None if it has no such route."""
        answer = await self._admin.call("GET", "/hicache/storage-backend", timeout_s=self._timeouts.probe_s)
        return None if answer.status == _NO_SUCH_ROUTE else answer.status != _NO_KEY

    async def checksum(self) -> str | None:
        """A checksum over all weights the server holds; None where it cannot tell."""
        answer = await self._control(
            "POST", "/weights_checker", {"action": "checksum"}, timeout_s=self._timeouts.update_s
        )
        return read_checksum(answer.status, answer.body)

    async def is_ready(self) -> bool:
        """Whether the server is up and not paused. Never asks /health, which hangs for 20 s while paused."""
        try:
            answer = await self._probe.call("GET", "/ready", timeout_s=self._timeouts.probe_s)
        except InferenceError:
            return False
        return answer.status == _OK

    async def aclose(self) -> None:
        """Close all connections; SGLang aborts what was in flight on them within seconds."""
        await self._data.aclose()
        await self._probe.aclose()
        await self._admin.aclose()

    async def _generated(self, body: bytes, timeout_s: float) -> bytes:
        answer = await self._data.call("POST", "/generate", body=body, timeout_s=timeout_s)
        if answer.status != _OK:
            raise generation_error(answer.status, answer.body)
        return answer.body

    async def _command(self, path: str, body: dict[str, object], *, timeout_s: float | None = None) -> None:
        answer = await self._control("POST", path, body, timeout_s=timeout_s or self._timeouts.control_s)
        if answer.status != _OK:
            raise _failed(path, answer)

    async def _control(
        self,
        method: str,
        path: str,
        body: dict[str, object] | None = None,
        *,
        query: dict[str, str] | None = None,
        timeout_s: float,
    ) -> Answer:
        """One control call. Raises ServerUnavailable if it never left, ControlFailed if its effect is unknown."""
        content = msgspec.json.encode(body) if body is not None else None
        return await self._admin.call(method, path, body=content, query=query, timeout_s=timeout_s)

    async def _ask(self, path: str) -> Answer:
        answer = await self._probe.call("GET", path, timeout_s=self._timeouts.probe_s)
        if answer.status != _OK:
            raise _failed(path, answer)
        return answer


def _failed(path: str, answer: Answer) -> ControlFailed:
    return ControlFailed(f"{path} answered {answer.status}: {error_message(answer.body)}")
