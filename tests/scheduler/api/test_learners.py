"""A learner's whole way through the API, with an engine at work on a scripted server."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import numpy as np
import pytest
import pytest_asyncio
from redis.asyncio import Redis
from safetensors.numpy import save_file

from inference.client import ServerClient
from inference.fake import Answer, Ask, FakeServer, ScriptedPolicy, create_fake
from inference.protocol import ModelLimits
from scheduler.checkpoints import shapes_of
from scheduler.core.broadcast import BroadcastBackend, BroadcastOffer, Rendezvous, TensorSpec
from scheduler.core.errors import Conflict, InvalidInput, StaleIncarnation
from scheduler.engine.assembly import EngineSettings
from scheduler.engine.delivery import DeliverySettings
from scheduler.fleet import Fleet
from scheduler.frames import FORMAT, NDJSON, BatchFrame, FinalFrame, GroupFrame
from scheduler.learner_link import LearnerLink
from scheduler.rewards.pool import RewardPool
from scheduler.service import Service
from tests.scheduler.api.bodies import Json, add_pool, make_run, upload
from tests.scheduler.served import served


def _answer(ask: Ask) -> Answer:
    """Right about every other time, so that most groups have something to teach."""
    return Answer(token_ids=(7,), logprobs=(-0.5,), text=random.Random(ask.seed).choice(["3", "4"]))


@dataclass(frozen=True, slots=True)
class Trained:
    """What a learner was given for one step."""

    groups: list[GroupFrame]
    batch: BatchFrame


@dataclass(frozen=True, slots=True)
class Site:
    """A scheduler at work behind a socket, with one run named `run`."""

    url: str
    http: httpx.AsyncClient
    weights: Path

    @asynccontextmanager
    async def learner(self, incarnation: str, *, step: int = 0) -> AsyncIterator[LearnerLink]:
        """A learner that has attached and published."""
        async with LearnerLink(self.url, "run", patience_s=20.0) as link:
            await link.attach(incarnation=incarnation, step=step, trained={})
            digest = f"{incarnation}-{step}"
            await link.publish(incarnation=incarnation, step=step, path=str(self.weights), manifest_digest=digest)
            yield link

    async def apply(self, link: LearnerLink, incarnation: str, batch: BatchFrame) -> int:
        """Report a step on a whole batch."""
        return await link.applied(
            incarnation=incarnation,
            step=batch.step,
            group_ids=batch.group_ids,
            refused={},
            path=str(self.weights),
            manifest_digest=f"step-{batch.step}",
            stats={"loss": float("nan"), "grad_norm": 0.5},
        )

    async def get(self, path: str = "") -> Json:
        """What the API says of the run."""
        found: Json = (await self.http.get(f"/v1/runs/run{path}")).json()
        return found


@pytest_asyncio.fixture
async def site(redis: Redis, model_folder: Path) -> AsyncIterator[Site]:
    fake = create_fake(FakeServer(policy=ScriptedPolicy(script=_answer)))
    limits = ModelLimits(vocab_size=128, context_length=2048)
    server = ServerClient("http://fake", limits, transport=httpx.ASGITransport(fake))
    fleet, rewards = Fleet([server], probe_interval_s=0.05), RewardPool(1)
    settings = EngineSettings(tend_s=0.02, end_grace_s=1.0, delivery=DeliverySettings(heartbeat_s=0.1))
    service = Service(
        redis, fleet, rewards, settings, connect=lambda _: server, servers=[server.base_url], model=model_folder
    )
    await add_pool(service.pools, model_folder)
    async with served(service) as url, httpx.AsyncClient(base_url=url, trust_env=False) as http:
        await upload(http, *({"id": f"p{number}", "text": "1 + 2 =", "answer": "3"} for number in range(8)))
        run = make_run(run_id="run", pilots=4, commits=4, max_steps=1, budget={"rollouts": 500})
        assert (await http.post("/v1/runs", json=run)).status_code == 201
        loops = [asyncio.create_task(fleet.watch()), asyncio.create_task(service.conductor.conduct())]
        yield Site(url, http, model_folder)
        await service.conductor.quiesce(grace_s=0.2)
        for loop in loops:
            loop.cancel()
        ended = await asyncio.gather(*loops, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ended), ended
    await fleet.aclose()
    await rewards.close()


async def _take(link: LearnerLink, incarnation: str) -> Trained:
    groups: list[GroupFrame] = []
    async for frame in link.stream(incarnation=incarnation):
        if isinstance(frame, GroupFrame):
            groups.append(frame)
        if isinstance(frame, BatchFrame):
            return Trained(groups, frame)
        assert not isinstance(frame, FinalFrame), frame
    raise AssertionError("the stream ended before its batch")


async def test_a_step_is_taken_applied_saved_and_the_run_ends(site: Site) -> None:
    async with site.learner("one") as link:
        taken = await _take(link, "one")
        assert [frame.group.group_id for frame in taken.groups] == list(taken.batch.group_ids)
        assert {len(frame.group.rollouts) for frame in taken.groups} == {8}
        assert await site.apply(link, "one", taken.batch) == 2
        # The same report again, as after an answer that was lost.
        assert await site.apply(link, "one", taken.batch) == 2
        await link.checkpointed(incarnation="one", step=1)
        [*_, last] = [frame async for frame in link.stream(incarnation="one")]
    assert isinstance(last, FinalFrame)
    ledger = await site.get("/ledger")
    assert (ledger["balanced"], ledger["groups_trained"]) == (True, 2)
    weights = (await site.get("/weights"))["weights"]
    assert isinstance(weights, list)
    assert [record["version"] for record in weights] == [2, 1]
    assert weights[0]["stats"] == {"grad_norm": 0.5}, "what is not finite is left out"
    assert ledger["spent_rollouts"] == weights[0]["spent_rollouts"] > weights[1]["spent_rollouts"] == 0
    assert weights[0]["spent_tokens"] > weights[1]["spent_tokens"] == 0
    for count, before, versions in ((1, 9, [2]), (9, 2, [1]), (9, 1, [])):
        page = (await site.get(f"/weights?count={count}&before={before}"))["weights"]
        assert isinstance(page, list)
        assert [record["version"] for record in page] == versions


async def test_a_learner_that_was_replaced_is_refused_everywhere(site: Site) -> None:
    async with site.learner("one") as old, site.learner("two"):
        with pytest.raises(StaleIncarnation):
            await old.checkpointed(incarnation="one", step=0)
        with pytest.raises(StaleIncarnation):
            await _take(old, "one")


async def test_a_step_that_was_never_applied_cannot_be_saved(site: Site) -> None:
    async with site.learner("one") as link:
        with pytest.raises(Conflict, match="never reported as applied"):
            await link.checkpointed(incarnation="one", step=5)


async def test_a_batch_that_nobody_applied_comes_again_to_the_next_learner(site: Site) -> None:
    async with site.learner("one") as link:
        first = await _take(link, "one")
    async with site.learner("two") as link:
        again = await _take(link, "two")
    assert {frame.group.prompt_id for frame in again.groups} <= {f"p{number}" for number in range(8)}
    assert set(again.batch.group_ids) == set(first.batch.group_ids)
    assert again.batch.policy_version == 2


async def test_people_read_the_stream_as_lines(site: Site) -> None:
    async with site.learner("one"):
        request = site.http.stream(
            "GET", "/v1/runs/run/groups", params={"incarnation": "one"}, headers={"accept": NDJSON}
        )
        async with request as stream:
            assert stream.headers["content-type"].startswith(NDJSON)
            async for line in stream.aiter_lines():
                envelope = json.loads(line)
                if "batch" in envelope:
                    break
    assert (envelope["format"], envelope["batch"]["step"]) == (FORMAT, 1)


async def test_weights_have_to_be_where_servers_can_read_them(site: Site) -> None:
    async with LearnerLink(site.url, "run") as link:
        await link.attach(incarnation="one", step=0, trained={})
    body = {"incarnation": "one", "step": 0, "path": "/no/such/folder", "digest": "d"}
    answer = await site.http.post("/v1/runs/run/weights", json=body)
    assert (answer.status_code, answer.json()["field"]) == (422, "path")


async def test_weights_of_another_model_are_refused_and_the_learner_may_publish_again(
    site: Site, tmp_path: Path
) -> None:
    save_file({"adapter": np.zeros((2, 2))}, tmp_path / "model.safetensors")
    async with LearnerLink(site.url, "run") as link:
        await link.attach(incarnation="one", step=0, trained={})
    for path, status in ((tmp_path, 422), (site.weights, 202)):
        body = {"incarnation": "one", "step": 0, "path": str(path), "digest": "d"}
        answer = await site.http.post("/v1/runs/run/weights", json=body)
        assert answer.status_code == status, answer.text
    weights = (await site.get("/weights"))["weights"]
    assert isinstance(weights, list)
    assert [record["version"] for record in weights] == [1]


async def test_a_cancelled_run_ends_its_stream_with_the_reason(site: Site) -> None:
    async with site.learner("one") as link:
        await _take(link, "one")
        await site.http.post("/v1/runs/run/cancel")
        [*_, last] = [frame async for frame in link.stream(incarnation="one")]
    assert last == FinalFrame(state="cancelled", reason="cancelled by an operator")


async def test_a_learner_that_broadcasts_is_answered_within_a_heartbeat(site: Site) -> None:
    bucket = tuple(
        TensorSpec(name=name, dtype="float32", shape=shape) for name, shape in shapes_of(site.weights).items()
    )
    offer = BroadcastOffer(backend=BroadcastBackend.GLOO, buckets=(bucket,))
    adapter = (TensorSpec(name="adapter", dtype="float32", shape=(1,)),)
    place = Rendezvous(address="127.0.0.1", port=29600)
    async with site.learner("one") as old:
        await old.offer_broadcast(incarnation="one", offer=offer)
        await old.offer_broadcast(incarnation="one", offer=offer)
        assert await old.broadcast_order(incarnation="one", rendezvous=place) is None
        assert await old.is_broadcast_over(incarnation="one", group="of an earlier scheduler")
        with pytest.raises(InvalidInput, match="adapter") as refused:
            await old.offer_broadcast(incarnation="one", offer=replace(offer, buckets=(bucket, adapter)))
        assert refused.value.field == "buckets"
        async with site.learner("two"):
            for call in (
                old.offer_broadcast(incarnation="one", offer=offer),
                old.broadcast_order(incarnation="one", rendezvous=place),
                old.is_broadcast_over(incarnation="one", group="any"),
            ):
                with pytest.raises(StaleIncarnation):
                    await call


async def test_a_scheduler_that_is_gone_has_given_up_its_rounds() -> None:
    """The learner drops its group, which frees the servers in it."""
    async with LearnerLink("http://127.0.0.1:1", "run", patience_s=60.0) as link:
        assert await link.is_broadcast_over(incarnation="one", group="any")
