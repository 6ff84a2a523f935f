"""Keys and tokens are in no log line, no answer of ours and no repr, whatever a server does with them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from inference.client import ServerClient, Timeouts
from inference.protocol import GenerateRequest, ModelLimits, WeightLabel
from scheduler.api.app import create_app
from scheduler.core.errors import InferenceError
from scheduler.core.types import Sampling
from scheduler.engine.assembly import EngineSettings
from scheduler.fleet import Fleet
from scheduler.rewards.pool import RewardPool
from scheduler.service import Service
from scheduler.settings import load_settings
from scheduler.token_file import TokenFile
from tests.scheduler.conftest import unreachable
from tests.scheduler.test_main import scheduler_process

KEY, ADMIN_KEY, TOKEN = "canary-key-271828", "canary-admin-161803", "canary-token-141421"
CANARIES = (KEY, ADMIN_KEY, TOKEN)
LABEL = WeightLabel(run="r", version=1)
REQUEST = GenerateRequest(
    rid="a", run="r", version=1, input_ids=(5,), sampling=Sampling(max_new_tokens=1), sampling_seed=1, timeout_s=5.0
)
CALLS: list[Callable[[ServerClient], Awaitable[object]]] = [
    lambda client: client.generate(REQUEST),
    lambda client: client.score((5, 6), rid="s", label=LABEL, timeout_s=5.0),
    lambda client: client.prefill((5,), rid="p", label=LABEL, timeout_s=5.0, max_new_tokens=1),
    lambda client: client.pause(),
    lambda client: client.update_weights(Path("w"), LABEL),
    lambda client: client.flush_cache(),
    lambda client: client.abort("a"),
    lambda client: client.model_info(),
    lambda client: client.loads(),
    lambda client: client.checksum(),
]


def _telling(status: int) -> httpx.MockTransport:
    """A server that says what it was sent."""

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, text=f"cannot do this for {request.headers['authorization']}")

    return httpx.MockTransport(answer)


def _client(status: int) -> ServerClient:
    return ServerClient(
        f"http://telling{status}",
        ModelLimits(vocab_size=8, context_length=8),
        api_key=KEY,
        admin_api_key=ADMIN_KEY,
        timeouts=Timeouts(probe_s=1.0, control_s=1.0),
        transport=_telling(status),
    )


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """Everything that is said while a test lasts, its own findings and all logs; none of it has a canary in it."""
    words: list[str] = []
    caplog.set_level(logging.DEBUG)
    with capture_logs() as lines:
        yield words
    words += [str(line) for line in lines] + [record.getMessage() for record in caplog.records]
    assert words
    assert [word for word in words if any(canary in word for canary in CANARIES)] == []


@pytest.mark.parametrize("status", [200, 400, 401, 404, 500, 503])
async def test_no_error_of_a_client_says_its_key(said: list[str], status: int) -> None:
    client = _client(status)
    said += [repr(client), str(vars(client))]
    for call in CALLS:
        try:
            said.append(repr(await call(client)))
        except InferenceError as error:
            said += [str(error), repr(error)]
    assert any("[key]" in word for word in said), "the server did say it"
    await client.aclose()


async def test_no_answer_of_ours_says_a_key_or_a_token(said: list[str], redis: Redis, tmp_path: Path) -> None:
    clients = [_client(status) for status in (200, 401, 500)]
    fleet = Fleet(clients, probe_interval_s=0.001)
    service = Service(redis, fleet, RewardPool(1), EngineSettings(), connect=unreachable)
    tokens = TokenFile(tmp_path / "tokens.ndjson")
    good = tokens.create("ci", [])
    watching = asyncio.create_task(fleet.watch())
    transport = httpx.ASGITransport(create_app(service, tokens=tokens))
    async with httpx.AsyncClient(transport=transport, base_url="http://scheduler") as http:
        for _ in range(20):
            for token in (TOKEN, good):
                headers = {"Authorization": f"Bearer {token}"}
                for path in ("/v1/servers", "/metrics", "/readyz", "/v1/runs/none", f"/v1/pools/{token[:4]}"):
                    answer = await http.get(path, headers=headers)
                    said += [answer.text, str(answer.headers)]
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
    await fleet.aclose()
    assert any("unknown or was revoked" in word for word in said)
    assert not any(good in word for word in said)


def test_settings_show_no_key(said: list[str], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    settings = load_settings(
        {
            "PILOTCOMMIT_MODEL": str(tmp_path),
            "PILOTCOMMIT_API_KEY": KEY,
            "PILOTCOMMIT_ADMIN_API_KEY": ADMIN_KEY,
            "PILOTCOMMIT_REDIS_URL": f"redis://:{TOKEN}@host/0",
        }
    )
    said += [repr(settings), str(settings)]
    assert settings.api_key is not None


async def _tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer 500 with the headers that came."""
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 500 No\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s" % (len(head), head))
        await writer.drain()
    writer.close()


@pytest.mark.e2e
async def test_no_log_line_of_the_process_says_a_key(model_folder: Path, tmp_path: Path) -> None:
    secrets = {"API_KEY": KEY, "ADMIN_API_KEY": ADMIN_KEY}
    async with await asyncio.start_server(_tell, "127.0.0.1", 0) as telling:
        port = telling.sockets[0].getsockname()[1]
        settings = {"SERVERS": f"http://127.0.0.1:{port}", "DATA_DIR": str(tmp_path), "LOG_LEVEL": "DEBUG"}
        async with scheduler_process(model_folder, PROBE_INTERVAL_S="0.05", **settings, **secrets) as scheduler:
            pages = [(await scheduler.answers(path)).text for path in ("/v1/servers", "/metrics", "/readyz", "/none")]
            scheduler.process.terminate()
            code, lines = await scheduler.ended()
    assert code == 0
    assert lines
    assert not any(canary in text for text in (*pages, str(lines)) for canary in CANARIES)
