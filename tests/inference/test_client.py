import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from inference.client import ServerClient, Timeouts
from inference.fake import Drop, FailWith, FakeConfig, FakeServer, Hang, Mislabel, create_fake
from inference.protocol import GenerateRequest, ModelLimits, WeightLabel
from scheduler.core.errors import ControlFailed, ForeignWeights, InferenceError, ServerRefused, ServerUnavailable
from scheduler.core.types import Sampling

LABEL = WeightLabel(run="r", version=1)
LIMITS = ModelLimits(vocab_size=128, context_length=64)


@asynccontextmanager
async def connected(fake: FakeServer, **keys: str) -> AsyncIterator[ServerClient]:
    transport = httpx.ASGITransport(create_fake(fake))
    client = ServerClient("http://fake", LIMITS, transport=transport, timeouts=Timeouts(control_s=1.0), **keys)  # type: ignore[arg-type]
    try:
        yield client
    finally:
        await client.aclose()


def make_fake(**config: object) -> FakeServer:
    checkpoints = {"models/m0": "w0", "models/m1": "w1"}.get
    return FakeServer(FakeConfig(weight_version=str(LABEL), checkpoints=checkpoints, **config))  # type: ignore[arg-type]


def make_request(rid: str = "a", *, timeout_s: float = 5.0, ids: tuple[int, ...] = (5, 6)) -> GenerateRequest:
    return GenerateRequest(
        rid=rid,
        run="r",
        version=1,
        input_ids=ids,
        sampling=Sampling(max_new_tokens=4),
        sampling_seed=1,
        timeout_s=timeout_s,
    )


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (FailWith(status=500), ServerUnavailable),
        (FailWith(status=503, message="The request queue is full."), ServerUnavailable),
        (FailWith(status=400, message="no"), ServerRefused),
        (Drop(), ServerUnavailable),
        (Drop(after_acting=True), ServerUnavailable),
        (Mislabel(label="other/1"), ForeignWeights),
        (Mislabel(label="default"), ForeignWeights),
    ],
    ids=str,
)
async def test_each_way_to_fail_a_generate_has_its_class(
    fault: FailWith | Drop | Mislabel, kind: type[Exception]
) -> None:
    fake = make_fake()
    fake.faults.order("/generate", fault)
    async with connected(fake) as client:
        with pytest.raises(kind):
            await client.generate(make_request())
        assert (await client.generate(make_request())).spans[0].version == 1


async def test_a_generate_ends_at_its_timeout_though_the_server_says_nothing() -> None:
    fake = make_fake()
    async with connected(fake) as client:
        await client.pause()
        with pytest.raises(ServerUnavailable, match=r"no answer within 0.05 s"):
            await client.generate(make_request(timeout_s=0.05))
        assert fake.in_flight == ()


async def test_a_control_call_without_an_answer_has_failed() -> None:
    fake = make_fake()
    fake.faults.order("/pause_generation", Drop(after_acting=True))
    async with connected(fake) as client:
        with pytest.raises(ControlFailed, match="connection broke"):
            await client.pause()
        assert not await client.is_ready()


@pytest.mark.parametrize("status", [400, 401, 500, 503])
async def test_a_refused_control_call_says_why(status: int) -> None:
    fake = make_fake()
    fake.faults.order("/continue_generation", FailWith(status=status, message="because"))
    async with connected(fake) as client:
        with pytest.raises(ControlFailed, match=f"{status}: because"):
            await client.resume()


async def test_blocked_generates_never_hold_up_the_resume_that_frees_them() -> None:
    fake = make_fake()
    transport = httpx.ASGITransport(create_fake(fake))
    client = ServerClient("http://fake", LIMITS, transport=transport, max_connections=2)
    await client.pause()
    tasks = [asyncio.create_task(client.generate(make_request(str(index)))) for index in range(2)]
    await fake.until(lambda: len(fake.in_flight) == 2)
    await client.resume()
    assert [len((await task).token_ids) for task in tasks] == [4, 4]
    await client.aclose()


async def test_keys_open_their_own_planes() -> None:
    fake = make_fake(api_key="user", admin_api_key="admin")
    async with connected(fake, api_key="user", admin_api_key="admin") as client:
        await client.pause()
        await client.resume()
        assert (await client.model_info()).weight_version == "r/1"
        assert await client.checksum() == "w0"
        await client.generate(make_request())
    async with connected(fake, api_key="user") as client:
        with pytest.raises(ControlFailed, match="401: Unauthorized"):
            await client.pause()
    async with connected(fake, api_key="wrong") as client:
        with pytest.raises(ServerUnavailable, match="401: Unauthorized"):
            await client.generate(make_request())


async def test_one_key_opens_both_planes_where_there_is_no_admin_key() -> None:
    async with connected(make_fake(api_key="user"), api_key="user") as client:
        await client.pause()
        await client.resume()
        await client.generate(make_request())


async def test_a_server_that_cannot_sum_its_weights_says_none() -> None:
    async with connected(make_fake(has_checksums=False)) as client:
        assert await client.checksum() is None


async def test_a_dead_server_is_unavailable_on_every_call() -> None:
    fake = make_fake()
    fake.die()
    async with connected(fake) as client:
        assert not await client.is_ready()
        for call in (client.generate(make_request()), client.pause(), client.loads(), client.model_info()):
            with pytest.raises(InferenceError, match="cannot reach the server"):
                await call


async def test_nothing_is_sent_that_would_kill_the_server() -> None:
    fake = make_fake()
    async with connected(fake) as client:
        with pytest.raises(ServerRefused, match="token id 128 at position 1"):
            await client.generate(make_request(ids=(1, 128)))
        with pytest.raises(ServerRefused, match="token id -1"):
            await client.score((-1, 3), rid="s", label=LABEL, timeout_s=1.0)
        for start in (0, 2):
            with pytest.raises(ServerRefused, match=f"from token {start} on of 2"):
                await client.score((1, 3), rid="s", label=LABEL, timeout_s=1.0, start=start)
        assert await client.is_ready()


async def test_a_cancelled_generate_leaves_nothing_on_the_server_once_aborted() -> None:
    fake = make_fake()
    fake.hold()
    async with connected(fake) as client:
        task = asyncio.create_task(client.generate(make_request()))
        while not fake.decoder.running:
            await fake.step()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await client.abort("a")
        await fake.step()
        assert not fake.decoder.running


async def test_an_update_that_hangs_fails_at_its_timeout() -> None:
    fake = make_fake()
    fake.faults.order("/update_weights_from_disk", Hang())
    transport = httpx.ASGITransport(create_fake(fake))
    client = ServerClient("http://fake", LIMITS, transport=transport, timeouts=Timeouts(update_s=0.05))
    with pytest.raises(ControlFailed, match="no answer within"):
        await client.update_weights(Path("models/m1"), WeightLabel(run="r", version=2))
    await client.aclose()


async def test_a_url_nobody_listens_at_is_unavailable() -> None:
    client = ServerClient("http://127.0.0.1:9", LIMITS)
    with pytest.raises(ServerUnavailable, match="cannot reach"):
        await client.generate(make_request())
    assert not await client.is_ready()
    await client.aclose()
