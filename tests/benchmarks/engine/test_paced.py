"""A paced server makes as many answers at a time as it has slots, and counts what it served."""

import asyncio
from typing import cast

import msgspec
import pytest

from benchmarks.engine.paced import NUM_TOKENS, Asked, Connection, Pace, SamplingParams, Slots
from inference.fake import FakeConfig, FakeServer
from inference.protocol import GenerateRequest, read_completion
from scheduler.core.types import Sampling


class Client:
    """The other end of a connection."""

    def __init__(self) -> None:
        self._answers: asyncio.Queue[bytes] = asyncio.Queue()

    def answer(self, status: int, body: bytes) -> None:
        assert status == 200
        self._answers.put_nowait(body)

    async def next(self) -> bytes:
        """The next answer, within twenty seconds."""
        async with asyncio.timeout(20):
            return await self._answers.get()


def asked(rid: str, max_new_tokens: int = NUM_TOKENS) -> Asked:
    return Asked(rid=rid, input_ids=(10, 11), sampling_params=SamplingParams(max_new_tokens=max_new_tokens))


@pytest.fixture
def slots() -> Slots:
    fake = FakeServer(FakeConfig(weight_version="run/1"))
    return Slots(fake, pace=Pace(slots=2, latency_s=0.01))


async def test_no_more_answers_are_made_at_a_time_than_there_are_slots(slots: Slots) -> None:
    client = Client()
    for number in range(6):
        slots.arrive(cast(Connection, client), asked(f"v{number}-1-0;"))
        assert slots.running <= 2
    for _ in range(6):
        await client.next()
        assert slots.running <= 2
    served = slots.look()
    assert served.answers == 6
    assert 0 < served.busy_s <= 2 * served.seconds
    assert slots.look().answers == 0, "counting begins anew with each look"


async def test_answers_are_what_our_client_reads(slots: Slots) -> None:
    client = Client()
    slots.arrive(cast(Connection, client), asked("v-1-0;"))
    answer = await client.next()
    request = GenerateRequest(
        rid="v-1-0",
        run="run",
        version=1,
        input_ids=(10, 11),
        sampling=Sampling(max_new_tokens=NUM_TOKENS),
        sampling_seed=0,
        timeout_s=1.0,
    )
    completion = read_completion(request, answer)
    assert len(completion.token_ids) == len(completion.logprobs) == NUM_TOKENS
    assert completion.text in ("7", "8")
    assert [span.version for span in completion.spans] == [1]


async def test_a_turnaround_is_from_the_last_answer_of_a_volley_to_the_next_request(slots: Slots) -> None:
    client = Client()
    for number in range(2):
        slots.arrive(cast(Connection, client), asked(f"v-1-{number};"))
    await client.next()
    await client.next()
    slots.arrive(cast(Connection, client), asked("v-1-2;"))
    slots.arrive(cast(Connection, client), asked("v-1-3;"))
    assert len(slots.turnarounds_s) == 1


async def test_a_paused_server_begins_nothing(slots: Slots) -> None:
    client = Client()
    await slots.fake.pause("retract")
    slots.arrive(cast(Connection, client), asked("v-1-0;"))
    assert slots.running == 0
    await slots.fake.resume()
    slots.fill()
    assert slots.running == 1


def test_a_pace_is_sent_as_json() -> None:
    pace = Pace(slots=3, latency_s=0.5)
    assert msgspec.json.decode(msgspec.json.encode(pace), type=Pace) == pace
