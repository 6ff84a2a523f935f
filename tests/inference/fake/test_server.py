import asyncio
import threading
from collections.abc import Iterator

import httpx
import pytest
import uvicorn

from inference.client import ServerClient
from inference.fake import Answer, Ask, Drop, FakeConfig, FakeServer, Hang, ScriptedPolicy, create_fake
from inference.fake.job import Ending, Sampled
from inference.fake.refusals import ServerGone
from inference.protocol import GenerateRequest, ModelLimits
from scheduler.core.errors import ControlFailed, ServerUnavailable
from scheduler.core.roll_out import PauseMode
from scheduler.core.types import FinishReason, Sampling


def make_fake() -> FakeServer:
    return FakeServer(FakeConfig(weight_version="r/1", checkpoints={"m1": "w1", "m2": "w2"}.get))


def ask(rid: str = "a", *, tokens: int = 4, ids: tuple[int, ...] = (5, 6), key: str | None = None) -> Sampled:
    return Sampled(rid=rid, input_ids=ids, max_new_tokens=tokens, extra_key=key)


async def test_time_is_the_tests_own_while_held() -> None:
    fake = make_fake()
    fake.hold()
    task = asyncio.create_task(fake.generate(ask()))
    await fake.step(3)
    assert not task.done()
    await fake.step()
    assert (await task).ending is Ending.LENGTH


async def test_the_same_seed_prompt_and_weights_give_the_same_answer() -> None:
    one, two = await make_fake().generate(ask()), await make_fake().generate(ask("b"))
    assert one.token_ids == two.token_ids
    fake = make_fake()
    await fake.update("m2", "r/2")
    assert (await fake.generate(ask())).token_ids != one.token_ids


async def test_two_updates_at_once_while_paused_kill_the_server() -> None:
    fake = make_fake()
    await fake.pause("retract")
    results = await asyncio.gather(fake.update("m1", "r/2"), fake.update("m2", "r/3"), return_exceptions=True)
    assert all(isinstance(result, ServerGone) for result in results)
    assert fake.dead


async def test_two_updates_one_after_the_other_are_fine() -> None:
    fake = make_fake()
    await fake.pause("retract")
    assert (await fake.update("m1", "r/2")).success
    assert (await fake.update("m2", "r/3")).success
    assert not fake.dead


async def test_an_unknown_token_id_kills_the_server_and_everybody_on_it() -> None:
    fake = make_fake()
    fake.hold()
    bystander = asyncio.create_task(fake.generate(ask("bystander")))
    killer = asyncio.create_task(fake.generate(ask("killer", ids=(999,))))
    await fake.step()
    for task in (bystander, killer):
        with pytest.raises(ServerGone):
            await task


async def test_a_restarted_server_knows_nothing_of_its_former_life() -> None:
    fake = make_fake()
    await fake.pause("retract")
    task = asyncio.create_task(fake.generate(ask()))
    await fake.until(lambda: fake.in_flight == ("a",))
    fake.restart(model_path="m2", weight_version="unconfirmed")
    with pytest.raises(ServerGone):
        await task
    assert (fake.ready, fake.in_flight, fake.num_restarts) == (True, (), 1)
    assert (await fake.generate(ask())).spans[0].version == "unconfirmed"


async def test_cache_of_old_weights_is_counted_when_it_is_served() -> None:
    fake = make_fake()
    await fake.generate(ask(key="shared"))
    await fake.update("m2", "r/2", flush=False)
    await fake.generate(ask(key="other"))
    assert fake.decoder.stale_hits == 0
    await fake.generate(ask(key="shared"))
    assert fake.decoder.stale_hits == 1


async def test_an_update_outside_a_pause_keeps_new_requests_out_until_it_is_through() -> None:
    fake = make_fake()
    fake.hold()
    first = asyncio.create_task(fake.generate(ask("first")))
    await fake.step()
    update = asyncio.create_task(fake.update("m2", "r/2"))
    await asyncio.sleep(0)
    behind = asyncio.create_task(fake.generate(ask("behind")))
    await fake.step()
    assert not update.done()
    assert not fake.decoder.waiting
    fake.release()
    assert [span.version for span in (await first).spans] == ["r/1"]
    assert (await update).success
    assert [span.version for span in (await behind).spans] == ["r/2"]


async def test_a_resume_waits_for_a_pause_that_is_still_aborting() -> None:
    fake = make_fake()
    fake.hold()
    task = asyncio.create_task(fake.generate(ask()))
    await fake.step()
    pause = asyncio.create_task(fake.pause("abort"))
    resume = asyncio.create_task(fake.resume())
    await asyncio.sleep(0)
    assert not resume.done()
    fake.release()
    assert (await task).ending is Ending.ABORTED
    await asyncio.gather(pause, resume)
    assert fake.ready


def script(question: Ask) -> Answer:
    return Answer(token_ids=(8, 9, 2), logprobs=(-0.1, -0.2, -0.3), text=f"{question.label}!")


@pytest.mark.parametrize(
    ("tokens", "ending", "text"), [(8, Ending.STOP, "r/1!"), (3, Ending.STOP, "r/1!"), (2, Ending.LENGTH, "r/")]
)
async def test_a_script_answers_and_is_cut_at_the_length_asked(tokens: int, ending: Ending, text: str) -> None:
    fake = FakeServer(FakeConfig(weight_version="r/1"), policy=ScriptedPolicy(script=script))
    job = await fake.generate(ask(tokens=tokens))
    assert (job.ending, job.text, len(job.token_ids)) == (ending, text, min(tokens, 3))


@pytest.fixture
def url() -> Iterator[tuple[str, FakeServer]]:
    """The fake behind a real socket, in a thread of its own, as several processes would meet it."""
    fake = make_fake()
    server = uvicorn.Server(uvicorn.Config(create_fake(fake), port=0, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        thread.join(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}", fake
    server.should_exit = True
    thread.join()


async def test_the_fake_behaves_alike_behind_a_socket(url: tuple[str, FakeServer]) -> None:
    base_url, fake = url
    client = ServerClient(base_url, ModelLimits(vocab_size=128, context_length=64))
    request = GenerateRequest(
        rid="a",
        run="r",
        version=1,
        input_ids=(5, 6),
        sampling=Sampling(max_new_tokens=4),
        sampling_seed=1,
        timeout_s=10.0,
    )
    assert (await client.generate(request)).finish_reason is FinishReason.LENGTH
    fake.faults.order("/generate", Drop())
    with pytest.raises(ServerUnavailable, match="connection broke"):
        await client.generate(request)
    fake.faults.order("/pause_generation", Drop(after_acting=True))
    with pytest.raises(ControlFailed):
        await client.pause()
    assert not await client.is_ready()
    blocked = asyncio.create_task(client.generate(request))
    while not fake.in_flight:
        await client.loads()
    blocked.cancel()
    await asyncio.wait({blocked})
    while fake.in_flight:
        await client.loads()
    await client.resume()
    assert (await client.generate(request)).spans[0].version == 1
    await client.aclose()


async def test_hanging_calls_go_on_when_they_are_released() -> None:
    fake = make_fake()
    fake.faults.order("/pause_generation", Hang())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(create_fake(fake)), base_url="http://fake") as http:
        call = asyncio.create_task(http.post("/pause_generation", json={"mode": PauseMode.RETRACT}))
        await asyncio.wait({call}, timeout=0.05)
        assert fake.ready
        fake.faults.release()
        assert (await call).status_code == 200
    assert not fake.ready
