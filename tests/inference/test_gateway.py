"""Which servers stand behind a gateway: as recorded, as it may say, and of a real one."""

import json

import httpx
import pytest

from inference.client import ServerClient
from inference.fake import FakeConfig, FakeServer, create_fake
from inference.gateway import Gateway, Worker, read_workers
from inference.protocol import ModelLimits
from scheduler.core.errors import ControlFailed, InferenceError
from tests.inference.gateway_process import gateway
from tests.scheduler.served import listening

LIMITS = ModelLimits(vocab_size=128, context_length=64)


def make_body(*workers: dict[str, str]) -> bytes:
    return json.dumps({"workers": workers, "total": len(workers), "stats": {}}).encode()


def answering(status: int, body: bytes) -> Gateway:
    return Gateway(
        "http://gateway", transport=httpx.MockTransport(lambda request: httpx.Response(status, content=body))
    )


def test_the_ranks_of_one_server_are_one_and_addresses_are_in_order() -> None:
    body = make_body({"url": "http://b:1@0"}, {"url": "http://b:1@1"}, {"url": "http://a:1"})
    assert read_workers(body) == (Worker(url="http://a:1"), Worker(url="http://b:1"))


@pytest.mark.parametrize(
    ("worker", "said"),
    [
        ({"connection_mode": "grpc"}, "the gateway speaks grpc to it"),
        ({"worker_type": "prefill"}, "it only does prefill"),
        ({"runtime_type": "vllm"}, "it is vllm, not SGLang"),
    ],
)
def test_a_server_that_cannot_stand_alone_says_why(worker: dict[str, str], said: str) -> None:
    [found] = read_workers(make_body({"url": "http://a:1", **worker}))
    assert said in found.why_not


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (404, b'{"error": {"message": "Not Found"}}', "is no gateway: /workers answered 404: Not Found"),
        (401, b"", "wants another key"),
        (200, b'{"workers": 3}', "unreadable"),
    ],
)
async def test_what_is_no_gateway_is_told_by_its_answer(status: int, body: bytes, said: str) -> None:
    asked = answering(status, body)
    with pytest.raises(ControlFailed, match=said):
        await asked.workers()
    await asked.aclose()


async def test_a_real_gateway_names_its_servers_and_passes_on_no_control_call() -> None:
    async with (
        listening(create_fake(FakeServer(FakeConfig()))) as one,
        listening(create_fake(FakeServer(FakeConfig(random_seed=2)))) as two,
    ):
        async with gateway(one, two) as url:
            asked = Gateway(url)
            assert [worker.url for worker in await asked.workers()] == sorted([one, two])
            assert all(worker.why_not == "" for worker in await asked.workers())
            await asked.aclose()
            client = ServerClient(url, LIMITS)
            assert await client.is_gateway()
            for call in (client.pause(), client.resume(), client.abort_all()):
                with pytest.raises(InferenceError, match="answered 404"):
                    await call
            await client.aclose()
        server = ServerClient(one, LIMITS)
        assert not await server.is_gateway()
        await server.aclose()
