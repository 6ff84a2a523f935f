"""The group stream over HTTP: the same frames for learners and for people, and a refusal before it begins."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import msgspec
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from scheduler.api.app import create_app
from scheduler.api.problems import PROBLEM_JSON
from scheduler.core.packed import numbers_of
from scheduler.frames import (
    MSGPACK,
    NDJSON,
    BatchFrame,
    Envelope,
    FinalFrame,
    Frame,
    FrameDecoder,
    GroupFrame,
    HeartbeatFrame,
)
from tests.scheduler.api.bodies import make_run, upload
from tests.scheduler.engine.factories import make_config
from tests.scheduler.engine.learner import Learner
from tests.scheduler.engine.rig import Rig, open_rig
from tests.scheduler.served import served

GROUPS = "/v1/runs/run/groups"
ANYBODY = {"incarnation": "anybody"}


@pytest_asyncio.fixture
async def rig(redis: Redis, tmp_path: Path) -> AsyncIterator[Rig]:
    """A scheduler at work on one fake server."""
    async with open_rig(redis, tmp_path) as opened:
        yield opened


@pytest.fixture
def learner(rig: Rig) -> Learner:
    """The run's learner."""
    return Learner(at=lambda: rig.service, folder=rig.folder)


@asynccontextmanager
async def _stream(url: str, learner: Learner, accept: str) -> AsyncIterator[AsyncIterator[Frame]]:
    """The frames of a learner's stream as they arrive."""
    async with (
        httpx.AsyncClient(base_url=url, trust_env=False) as http,
        http.stream("GET", GROUPS, params={"incarnation": learner.incarnation}, headers={"accept": accept}) as response,
    ):
        assert (response.status_code, response.headers["content-type"].split(";")[0]) == (200, accept)
        yield _lines(response) if accept == NDJSON else _frames(response)


async def _frames(response: httpx.Response) -> AsyncIterator[Frame]:
    decoder = FrameDecoder()
    async for data in response.aiter_bytes():
        for frame in decoder.feed(data):
            yield frame


async def _lines(response: httpx.Response) -> AsyncIterator[Frame]:
    async for line in response.aiter_lines():
        yield _frame_of(line)


def _frame_of(line: str) -> Frame:
    envelope = msgspec.json.decode(line, type=Envelope, dec_hook=numbers_of)
    [frame] = [
        frame for frame in (envelope.group, envelope.batch, envelope.heartbeat, envelope.final) if frame is not None
    ]
    return frame


async def _until_batch(frames: AsyncIterator[Frame]) -> dict[str, GroupFrame]:
    """The groups of the first batch, by their ids."""
    taken: dict[str, GroupFrame] = {}
    async for frame in frames:
        if isinstance(frame, GroupFrame):
            taken[frame.group.group_id] = frame
        if isinstance(frame, BatchFrame):
            assert set(frame.group_ids) == set(taken)
            return taken
    raise AssertionError("the stream ended before its batch")


async def test_learners_and_people_are_sent_the_same_groups(rig: Rig, learner: Learner) -> None:
    await rig.create_run(make_config())
    await learner.attach()
    async with served(rig.service) as url:
        async with _stream(url, learner, MSGPACK) as frames:
            first = await _until_batch(frames)
        # The same learner again, as after an interruption.
        async with _stream(url, learner, NDJSON) as frames:
            again = await _until_batch(frames)
    assert len(first) == 4
    assert again == first


async def test_a_stream_with_nothing_to_send_beats_and_says_what_it_waits_for(rig: Rig, learner: Learner) -> None:
    await rig.create_run(make_config())
    # Attached without weights: nothing can be sampled.
    await rig.until(lambda: not any(server.takes_attempts for server in rig.fleet.servers))
    await learner.attach()
    await rig.service.orders.pause("run")
    async with served(rig.service) as url, _stream(url, learner, MSGPACK) as frames:
        beats = [await anext(frames) for _ in range(3)]
    assert all(isinstance(beat, HeartbeatFrame) and beat.waiting_for for beat in beats), beats


@pytest_asyncio.fixture
async def queued(http: httpx.AsyncClient, sums: object) -> httpx.AsyncClient:
    """An application without an engine, with one queued run."""
    await upload(http, {"text": "1"})
    assert (await http.post("/v1/runs", json=make_run(run_id="run"))).status_code == 201
    return http


@pytest.mark.parametrize(
    ("accept", "read"),
    [
        (MSGPACK, lambda body: list(FrameDecoder().feed(body))),
        (NDJSON, lambda body: [_frame_of(line) for line in body.decode().splitlines()]),
        ("*/*", lambda body: list(FrameDecoder().feed(body))),
    ],
)
async def test_the_stream_of_an_ended_run_is_its_final_frame(
    queued: httpx.AsyncClient, accept: str, read: Callable[[bytes], list[Frame]]
) -> None:
    await queued.post("/v1/runs/run/cancel")
    answer = await queued.get(GROUPS, params=ANYBODY, headers={"accept": accept})
    assert read(answer.content) == [FinalFrame(state="cancelled", reason="cancelled by an operator")]


@pytest.mark.parametrize(
    ("path", "query", "status", "kind", "words"),
    [
        ("/v1/runs/nowhere/groups", ANYBODY, 404, "NotFound", "nowhere"),
        (GROUPS, ANYBODY, 409, "NotAtWork", "try again later"),
        (GROUPS, {}, 422, "InvalidInput", "incarnation"),
    ],
)
async def test_a_stream_that_cannot_begin_is_refused_with_a_problem_document(
    queued: httpx.AsyncClient, path: str, query: dict[str, str], status: int, kind: str, words: str
) -> None:
    answer = await queued.get(path, params=query, headers={"accept": MSGPACK})
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM_JSON)
    assert answer.json()["type"] == f"urn:pilotcommit:{kind}"
    assert words in answer.json()["detail"]


async def test_a_learner_that_is_not_attached_is_refused_before_its_stream_begins(rig: Rig, learner: Learner) -> None:
    await rig.create_run(make_config())
    await learner.attach()
    transport = httpx.ASGITransport(create_app(rig.service))
    async with httpx.AsyncClient(transport=transport, base_url="http://scheduler") as http:
        answer = await http.get(GROUPS, params={"incarnation": "an older one"})
    assert (answer.status_code, answer.headers["content-type"]) == (409, PROBLEM_JSON)
    assert (answer.json()["type"], "attach first" in answer.json()["detail"]) == (
        "urn:pilotcommit:StaleIncarnation",
        True,
    )
