"""The fake server's HTTP surface.

Owns: the routes, keys, statuses and broken connections. Never decides what a call does: `FakeServer` does. Invariant:
it behaves alike under httpx.ASGITransport (in one process) and under uvicorn (for several).
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from enum import StrEnum
from typing import Literal, TypeVar

import httpx
import msgspec
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from inference.fake import group_calls, wire
from inference.fake.faults import Drop, FailWith, Fault, Hang, Mislabel
from inference.fake.refusals import ContractBroken, QueueFull, Refused, ServerGone
from inference.fake.server import FakeServer, Updated
from scheduler.core.broadcast import TensorSpec

_Body = TypeVar("_Body", bound=BaseModel)
_Result = TypeVar("_Result")
_CLIENT_GONE = 499
Endpoint = Callable[[Request, Fault | None], Awaitable[Response]]


class _Access(StrEnum):
    """Which key opens a route."""

    OPEN = "open"
    """None."""
    NORMAL = "normal"
    """The api key."""
    ADMIN = "admin"
    """The admin key where there is one, else the api key."""


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", protected_namespaces=())


class _Pause(_Strict):
    mode: Literal["abort", "retract", "in_place"] = "abort"


class _Continue(_Strict):
    torch_empty_cache: bool = True


class _Abort(_Strict):
    rid: str = ""
    abort_all: bool = False


class _Update(_Strict):
    model_path: str
    weight_version: str | None = None
    flush_cache: bool = True
    abort_all_requests: bool = False


class _Group(_Strict):
    master_address: str
    master_port: int
    rank_offset: int
    world_size: int
    group_name: str = "weight_update_group"
    backend: str = "nccl"


class _Leave(_Strict):
    group_name: str = "weight_update_group"


class _Bucket(_Strict):
    names: list[str]
    dtypes: list[str]
    shapes: list[list[int]]
    group_name: str = "weight_update_group"
    flush_cache: bool = True
    weight_version: str | None = None
    load_format: Literal["flattened_bucket"]


class _Tokenize(_Strict):
    prompt: list[str]
    add_special_tokens: Literal[False]


class _Nothing(_Strict):
    pass


class _Broken(Response):
    """An answer that never arrives: the connection closes while it is awaited."""

    def __init__(self, error: httpx.TransportError) -> None:
        super().__init__()
        self._error = error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # uvicorn closes the connection of a response that was begun and failed; ASGITransport passes the error on.
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
        raise self._error


def create_fake(server: FakeServer) -> FastAPI:
    """The ASGI app in front of `server`."""
    app = FastAPI(openapi_url=None)
    routes = _Routes(server)

    def add(path: str, methods: str, access: _Access, endpoint: Endpoint) -> None:
        async def call(request: Request) -> Response:
            return await routes.guarded(request, access, endpoint)

        app.add_route(path, call, methods=methods.split())

    add("/generate", "POST PUT", _Access.NORMAL, routes.generate)
    add("/model_info", "GET", _Access.NORMAL, routes.model_info)
    add("/server_info", "GET", _Access.NORMAL, routes.server_info)
    add("/v1/loads", "GET", _Access.NORMAL, routes.loads)
    add("/openapi.json", "GET", _Access.NORMAL, routes.openapi)
    add("/v1/tokenize", "POST", _Access.NORMAL, routes.tokenize)
    add("/hicache/storage-backend", "GET", _Access.ADMIN, routes.hicache)
    add("/metrics", "GET", _Access.OPEN, routes.metrics)
    add("/ready", "GET", _Access.OPEN, routes.ready)
    add("/health", "GET", _Access.OPEN, routes.health)
    add("/pause_generation", "POST", _Access.ADMIN, routes.pause)
    add("/continue_generation", "POST", _Access.ADMIN, routes.resume)
    add("/abort_request", "POST", _Access.ADMIN, routes.abort)
    add("/flush_cache", "GET POST", _Access.ADMIN, routes.flush)
    add("/update_weights_from_disk", "POST", _Access.ADMIN, routes.update)
    add("/init_weights_update_group", "POST", _Access.ADMIN, routes.init_group)
    add("/destroy_weights_update_group", "POST", _Access.ADMIN, routes.destroy_group)
    add("/begin_weight_update", "POST", _Access.ADMIN, routes.begin)
    add("/end_weight_update", "POST", _Access.ADMIN, routes.end)
    add("/update_weights_from_distributed", "POST", _Access.ADMIN, routes.receive)
    if server.config.has_checksums:
        add("/weights_checker", "GET POST", _Access.ADMIN, routes.checksum)
    return app


class _Routes:
    """One method a route."""

    def __init__(self, server: FakeServer) -> None:
        self._server = server

    async def guarded(self, request: Request, access: _Access, endpoint: Endpoint) -> Response:
        """Let death, the ordered fault, the key and the errors have their say around an endpoint."""
        if self._server.dead:
            return _Broken(httpx.ConnectError("All connection attempts failed"))
        fault = self._server.faults.take(request.url.path)
        broken = _Broken(httpx.RemoteProtocolError("Server disconnected without sending a response."))
        if fault == Drop():
            return broken
        if isinstance(fault, FailWith):
            return JSONResponse({"error": {"message": fault.message}}, fault.status)
        if isinstance(fault, Hang):
            await self._server.faults.hang()
        if not self._may(request, access):
            return JSONResponse({"error": "Unauthorized"}, 401)
        try:
            response = await _translated(endpoint(request, fault))
        except ServerGone:
            return broken
        return broken if fault == Drop(after_acting=True) else response

    def _may(self, request: Request, access: _Access) -> bool:
        config = self._server.config
        key = config.admin_api_key or config.api_key if access is _Access.ADMIN else config.api_key
        return access is _Access.OPEN or key is None or request.headers.get("authorization") == f"Bearer {key}"

    async def generate(self, request: Request, fault: Fault | None) -> Response:
        sampled = wire.read_generate(await request.body(), uuid.uuid4().hex)
        job = await _unless_gone(request, self._server.generate(sampled))
        if job is None:
            return Response(status_code=_CLIENT_GONE)
        label = fault.label if isinstance(fault, Mislabel) else None
        return JSONResponse(wire.generated(job, self._server, label))

    async def model_info(self, request: Request, fault: Fault | None) -> Response:
        return JSONResponse(wire.model_info(self._server))

    async def server_info(self, request: Request, fault: Fault | None) -> Response:
        return JSONResponse(wire.server_info(self._server))

    async def loads(self, request: Request, fault: Fault | None) -> Response:
        return JSONResponse(wire.loads(self._server))

    async def openapi(self, request: Request, fault: Fault | None) -> Response:
        paths = [route.path for route in request.app.routes if isinstance(route, Route)]
        return JSONResponse({"openapi": "3.1.0", "paths": {path: {} for path in paths}})

    async def tokenize(self, request: Request, fault: Fault | None) -> Response:
        body, tokenizer = await _read(request, _Tokenize), self._server.config.tokenizer
        if tokenizer is None:
            said = "Internal server error during tokenization: 'NoneType' object has no attribute 'encode'"
            return JSONResponse({"error": {"message": said, "type": "InternalServerError", "code": 500}}, 500)
        tokens = [tokenizer(text) for text in body.prompt]
        limit = self._server.config.context_length
        return JSONResponse({"tokens": tokens, "count": [len(ids) for ids in tokens], "max_model_len": limit})

    async def hicache(self, request: Request, fault: Fault | None) -> Response:
        if self._server.config.admin_api_key is None:
            return JSONResponse(
                {"error": "This endpoint requires admin API key, but this server was started without"}, 400
            )
        return JSONResponse({"hicache_storage_backend": None})

    async def metrics(self, request: Request, fault: Fault | None) -> Response:
        open_metrics = "application/openmetrics-text" in request.headers.get("accept", "")
        kind = "application/openmetrics-text; version=1.0.0" if open_metrics else "text/plain"
        return Response(wire.metrics(self._server, open_metrics=open_metrics), media_type=kind)

    async def ready(self, request: Request, fault: Fault | None) -> Response:
        return Response(status_code=200 if self._server.ready else 503)

    async def health(self, request: Request, fault: Fault | None) -> Response:
        # The real one hangs for 20 s while paused; whoever asks this of a paused server has a bug to see.
        await self._server.until(lambda: self._server.ready)
        return Response()

    async def pause(self, request: Request, fault: Fault | None) -> Response:
        await self._server.pause((await _read(request, _Pause)).mode)
        return JSONResponse({"message": "Generation paused successfully.", "status": "ok"})

    async def resume(self, request: Request, fault: Fault | None) -> Response:
        await _read(request, _Continue)
        await self._server.resume()
        return JSONResponse({"message": "Generation continued successfully.", "status": "ok"})

    async def abort(self, request: Request, fault: Fault | None) -> Response:
        body = await _read(request, _Abort)
        self._server.abort(body.rid, everything=body.abort_all)
        return Response()

    async def flush(self, request: Request, fault: Fault | None) -> Response:
        if await self._server.flush(float(request.query_params.get("timeout", "0"))):
            return PlainTextResponse("Cache flushed.\nPlease check backend logs for more details.\n")
        return PlainTextResponse("Flush cache failed.\n", 400)

    async def update(self, request: Request, fault: Fault | None) -> Response:
        body = await _read(request, _Update)
        updated = await self._server.update(
            body.model_path, body.weight_version, flush=body.flush_cache, abort_all=body.abort_all_requests
        )
        content = {"success": updated.success, "message": updated.message, "num_paused_requests": 0}
        return JSONResponse(content, 200 if updated.success else 400)

    async def init_group(self, request: Request, fault: Fault | None) -> Response:
        body = await _read(request, _Group)
        joining = group_calls.init(
            self._server,
            address=body.master_address,
            port=body.master_port,
            world_size=body.world_size,
            name=body.group_name,
        )
        return _updated(await _to_its_end(joining))

    async def destroy_group(self, request: Request, fault: Fault | None) -> Response:
        return _updated(await group_calls.destroy(self._server, (await _read(request, _Leave)).group_name))

    async def begin(self, request: Request, fault: Fault | None) -> Response:
        await _read(request, _Nothing)
        return _updated(await group_calls.begin(self._server))

    async def end(self, request: Request, fault: Fault | None) -> Response:
        await _read(request, _Nothing)
        return _updated(await group_calls.end(self._server))

    async def receive(self, request: Request, fault: Fault | None) -> Response:
        body = await _read(request, _Bucket)
        tensors = zip(body.names, body.dtypes, body.shapes, strict=True)
        bucket = tuple(TensorSpec(name=name, dtype=dtype, shape=tuple(shape)) for name, dtype, shape in tensors)
        label, flush = body.weight_version, body.flush_cache
        return _updated(
            await _to_its_end(
                group_calls.receive(self._server, name=body.group_name, bucket=bucket, label=label, flush=flush)
            )
        )

    async def checksum(self, request: Request, fault: Fault | None) -> Response:
        return JSONResponse(wire.checksum(self._server))


def _updated(updated: Updated) -> Response:
    return JSONResponse(
        {"success": updated.success, "message": updated.message}, status_code=200 if updated.success else 400
    )


async def _read(request: Request, kind: type[_Body]) -> _Body:
    return kind.model_validate_json(await request.body(), strict=True)


async def _translated(answer: Awaitable[Response]) -> Response:
    """SGLang's error bodies, which have four shapes."""
    try:
        return await answer
    except (ValidationError, msgspec.MsgspecError) as exc:
        return JSONResponse(wire.invalid(f"1 validation error:\n  {exc}"), 400)
    except ContractBroken as exc:
        return JSONResponse({"error": str(exc)}, 400)
    except Refused as exc:
        return JSONResponse({"error": {"message": str(exc)}}, 400)
    except QueueFull:
        return JSONResponse(wire.queue_full(), 503)


async def _to_its_end(call: Coroutine[None, None, _Result]) -> _Result:
    """What a server that waits in a group does goes on, whether or not its caller still listens."""
    return await asyncio.shield(asyncio.ensure_future(call))


async def _unless_gone(request: Request, work: Coroutine[None, None, _Result]) -> _Result | None:
    """`work`, or None if the client hung up first: it is then cancelled, which aborts the request."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_hung_up(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
