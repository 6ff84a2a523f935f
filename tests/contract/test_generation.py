"""Completions, their log-probs, their cache and their ends, on both servers."""

import asyncio
import math
from dataclasses import replace

import pytest

from scheduler.core.errors import Aborted, ServerRefused, ServerUnavailable
from scheduler.core.types import FinishReason, Sampling, VersionSpan
from tests.contract.recorded import missing, recorded
from tests.contract.subject import API_KEY, LONG, MAX_QUEUED, MAX_RUNNING, PROMPT, SHORT, Subject
from tests.tiny_model import VOCAB_SIZE

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_completion_carries_tokens_logprobs_and_the_version_behind_them(server: Subject) -> None:
    completion = await server.client.generate(server.request("a"))
    assert completion.rid == f"{server.run}-a"
    assert len(completion.token_ids) == len(completion.logprobs) == 4
    assert all(logprob < 0 for logprob in completion.logprobs)
    assert completion.finish_reason is FinishReason.LENGTH
    assert completion.prompt_tokens == len(PROMPT)
    assert completion.spans == (VersionSpan(version=1, start=0, end=4),)


async def test_a_stop_token_ends_a_completion_and_is_part_of_it(server: Subject) -> None:
    any_token = Sampling(max_new_tokens=50, stop_token_ids=tuple(range(VOCAB_SIZE)))
    completion = await server.client.generate(server.request("stop", any_token))
    assert completion.finish_reason is FinishReason.STOP
    assert len(completion.token_ids) == 1


async def test_scores_are_the_logprobs_of_generation_at_temperature_one(server: Subject) -> None:
    completion = await server.client.generate(server.request("gen", replace(SHORT, max_new_tokens=24)))
    scores = await server.client.score(
        PROMPT + completion.token_ids, rid=f"{server.run}-score", label=server.label(1), timeout_s=60.0
    )
    assert len(scores) == len(PROMPT) + 24 - 1
    assert scores[len(PROMPT) - 1 :] == pytest.approx(completion.logprobs, abs=1e-3)


async def test_the_last_id_of_the_vocabulary_is_scored_right_though_the_server_calls_it_zero(server: Subject) -> None:
    body = server.raw(f"{server.run}-raw", Sampling(max_new_tokens=0)) | {"logprob_start_len": 0}
    answer = await server.post("/generate", body | {"input_ids": [*PROMPT, VOCAB_SIZE - 1]}, key=API_KEY)
    assert [pair[1] for pair in answer.json()["meta_info"]["input_token_logprobs"]] == [*PROMPT, 0]

    async def probability(token: int) -> float:
        rid = f"{server.run}-{token}"
        scores = await server.client.score((*PROMPT, token), rid=rid, label=server.label(1), timeout_s=60.0)
        return math.exp(scores[-1])

    # Were it the log-prob of 0 instead, the probabilities of all tokens would not add up.
    assert sum([await probability(token) for token in range(VOCAB_SIZE)]) == pytest.approx(1.0, abs=1e-4)
    assert await probability(0) != pytest.approx(await probability(VOCAB_SIZE - 1), abs=3e-4)


async def test_greedy_completions_are_alike(server: Subject) -> None:
    greedy = replace(SHORT, temperature=0.0, max_new_tokens=8)
    completions = [await server.client.generate(server.request(rid, greedy)) for rid in "ab"]
    assert completions[0].token_ids == completions[1].token_ids


async def test_many_requests_in_flight_all_come_back_as_themselves(server: Subject) -> None:
    requests = [server.request(f"many{index}") for index in range(MAX_QUEUED)]
    completions = await asyncio.gather(*(server.client.generate(request) for request in requests))
    assert [completion.rid for completion in completions] == [request.rid for request in requests]


async def test_a_cache_is_never_shared_between_labels(server: Subject) -> None:
    async def cached(rid: str, version: int) -> int:
        body = server.raw(f"{server.run}-{rid}", label=server.label(version))
        answer = await server.post("/generate", body, key=API_KEY)
        tokens = answer.json()["meta_info"]["cached_tokens"]
        assert isinstance(tokens, int)
        return tokens

    assert await cached("first", 1) == 0
    assert await cached("second", 1) > 0
    assert await cached("other", 2) == 0


async def test_a_running_attempt_can_be_aborted(server: Subject) -> None:
    request = server.request("run", LONG)
    async with server.running(request) as (task,):
        await server.client.abort(request.rid)
        with pytest.raises(Aborted, match="Aborted"):
            await server.answered(task)


async def test_a_waiting_attempt_can_be_aborted_and_the_others_go_on(server: Subject) -> None:
    busy = [server.request(f"busy{index}", LONG) for index in range(MAX_RUNNING)]
    async with server.running(*busy) as tasks:
        waiting = server.request("waiting", LONG)
        task = asyncio.create_task(server.client.generate(waiting))
        await server.queues(waiting=1)
        await server.client.abort(waiting.rid)
        with pytest.raises(Aborted, match="waiting queue"):
            await task
        assert not any(other.done() for other in tasks)


async def test_the_answers_of_aborted_requests_have_the_recorded_shapes(server: Subject) -> None:
    busy = [server.request(f"busy{index}", LONG) for index in range(MAX_RUNNING - 1)]
    async with server.running(*busy):
        last = asyncio.create_task(server.post("/generate", server.raw("last", LONG), key=API_KEY))
        await server.queues(running=MAX_RUNNING)
        queued = asyncio.create_task(server.post("/generate", server.raw("queued", LONG), key=API_KEY))
        await server.queues(waiting=1)
        await server.post("/abort_request", {"rid": "queued"})
        await server.post("/abort_request", {"rid": "last"})
        server.flow()
        for task, name in ((queued, "972_queued_aborted"), (last, "440_gen_aborted_by_rid")):
            body, seen = (await task).json(), recorded(name).response
            assert missing(seen, body) == []
            assert missing(body, seen) == []


async def test_a_full_queue_is_the_servers_trouble_not_the_requests(server: Subject) -> None:
    requests = [server.request(f"full{index}", LONG) for index in range(MAX_RUNNING)]
    async with server.running(*requests):
        queued = [
            asyncio.create_task(server.client.generate(server.request(f"queued{index}", LONG)))
            for index in range(MAX_QUEUED)
        ]
        await server.queues(waiting=MAX_QUEUED)
        with pytest.raises(ServerUnavailable, match="503: The request queue is full"):
            await server.client.generate(server.request("one too many"))
        call, answer = recorded("973_queue_full"), await server.post("/generate", server.raw("full"), key=API_KEY)
        assert (answer.status_code, answer.json()) == (call.status, call.response)
        await server.aborted(*queued)


async def test_an_rid_in_flight_is_refused(server: Subject) -> None:
    request = server.request("twice", LONG)
    async with server.running(request):
        with pytest.raises(ServerRefused, match="Duplicate request ID"):
            await server.client.generate(request)


async def test_aborting_one_rid_spares_another_that_begins_with_it(server: Subject) -> None:
    short, long = server.request("job1", LONG), server.request("job10", LONG)
    async with server.running(short, long) as (one, other):
        await server.client.abort(short.rid)
        if server.fake is not None:
            await server.fake.step()
        with pytest.raises(Aborted):
            await one
        assert not other.done()


async def test_the_server_itself_aborts_every_rid_that_begins_with_the_one_given(server: Subject) -> None:
    """Why the client marks the end of a rid."""
    async with server.running():
        tasks = [
            asyncio.create_task(server.post("/generate", server.raw(rid, LONG), key=API_KEY))
            for rid in (f"{server.run}-x", f"{server.run}-x1")
        ]
        await server.queues(running=2)
        await server.post("/abort_request", {"rid": f"{server.run}-x"})
        server.flow()
        ends = [(await task).json()["meta_info"]["finish_reason"]["type"] for task in tasks]
        assert ends == ["abort", "abort"]


async def test_a_cancelled_attempt_can_be_aborted_and_its_rid_used_again(server: Subject) -> None:
    request = server.request("cancelled", LONG)
    async with server.running(request) as (task,):
        await server.client.pause()
        task.cancel()
        await asyncio.wait({task})
        await server.client.abort(request.rid)
        again = asyncio.create_task(server.client.generate(replace(request, sampling=SHORT)))
        # While paused nothing ends by itself: only the abort has freed the rid.
        assert await server.blocked(again)
        await server.client.resume()
        assert len((await server.answered(again)).token_ids) == 4


async def test_a_prompt_the_context_has_room_for_but_the_server_has_not_is_refused(server: Subject) -> None:
    with pytest.raises(ServerRefused, match="400: Input length"):
        await server.client.generate(server.request("long", Sampling(max_new_tokens=1), ids=(7,) * 2047))
