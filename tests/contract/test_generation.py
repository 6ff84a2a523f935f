"""Completions, their log-probs, their cache and their ends, on both servers."""

import asyncio
import math
from dataclasses import replace

import pytest

from inference.protocol import GenerateRequest
from scheduler.core.errors import Aborted, ServerRefused, ServerUnavailable
from scheduler.core.evaluation import probability
from scheduler.core.types import Completion, FinishReason, Sampling, VersionSpan
from tests.contract.recorded import missing, recorded
from tests.contract.subject import API_KEY, LONG, MAX_QUEUED, MAX_RUNNING, PROMPT, SHORT, Subject
from tests.tiny_model import VOCAB_SIZE

_DEADLINE_S = 30.0

pytestmark = pytest.mark.asyncio(loop_scope="session")

TEXT = tuple(range(5, 45))
NUM_TARGETS, NUM_SAMPLES = 40, 500


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
        (*PROMPT, *completion.token_ids), rid=f"{server.run}-score", label=server.label(1), timeout_s=60.0
    )
    assert len(scores.logprobs) == len(PROMPT) + 24 - 1
    assert scores.logprobs[len(PROMPT) - 1 :] == pytest.approx(tuple(completion.logprobs), abs=1e-3)
    assert scores.spans == (VersionSpan(version=1, start=0, end=0),)


@pytest.mark.parametrize("start", [1, 2, 17, len(TEXT) - 1])
async def test_scores_from_a_start_are_the_tail_of_all_of_them_whether_or_not_the_prefix_is_cached(
    server: Subject, start: int
) -> None:
    async def score(start: int, version: int) -> tuple[float, ...]:
        rid, label = f"{server.run}-{start}-{version}", server.label(version)
        return (await server.client.score(TEXT, rid=rid, label=label, timeout_s=60.0, start=start)).logprobs

    # A label of its own is a cache of its own: nothing is in that of 2.
    uncached = await score(start, 2)
    whole = await score(1, 1)
    assert len(uncached) == len(TEXT) - start
    assert uncached == pytest.approx(whole[start - 1 :], abs=1e-4)
    assert await score(start, 1) == pytest.approx(whole[start - 1 :], abs=1e-4)


async def test_a_prefill_leaves_the_prompt_in_the_cache(server: Subject) -> None:
    await server.client.prefill(
        TEXT, rid=f"{server.run}-prefill", label=server.label(1), timeout_s=60.0, max_new_tokens=4
    )
    body = server.raw(f"{server.run}-after", SHORT) | {"input_ids": TEXT}
    meta = (await server.post("/generate", body, key=API_KEY)).json()["meta_info"]
    # The last token is computed even so: its logits are what the first one generated is sampled from.
    assert meta["cached_tokens"] == len(TEXT) - 1


async def test_a_score_takes_from_the_cache_what_precedes_the_tokens_it_is_about(server: Subject) -> None:
    async def cached(rid: str, start: int, ids: tuple[int, ...]) -> int:
        body = server.raw(f"{server.run}-{rid}", Sampling(max_new_tokens=0)) | {"logprob_start_len": start - 1}
        meta = (await server.post("/generate", body | {"input_ids": ids}, key=API_KEY)).json()["meta_info"]
        assert [pair[1] for pair in meta["input_token_logprobs"]] == [*ids[start - 1 :]]
        tokens = meta["cached_tokens"]
        assert isinstance(tokens, int)
        return tokens

    assert await cached("first", 12, TEXT) == 0
    assert await cached("again", 12, TEXT) == 11
    assert await cached("of all", 1, TEXT) == 0
    assert await cached("of another text", 12, (*TEXT[:11], 99, 98, 97)) == 11
    assert await cached("of what follows", 30, TEXT) == 29


async def test_the_last_id_of_the_vocabulary_is_scored_right_though_the_server_calls_it_zero(server: Subject) -> None:
    body = server.raw(f"{server.run}-raw", Sampling(max_new_tokens=0)) | {"logprob_start_len": 0}
    answer = await server.post("/generate", body | {"input_ids": [*PROMPT, VOCAB_SIZE - 1]}, key=API_KEY)
    assert [pair[1] for pair in answer.json()["meta_info"]["input_token_logprobs"]] == [*PROMPT, 0]

    async def share(token: int) -> float:
        rid = f"{server.run}-{token}"
        score = await server.client.score((*PROMPT, token), rid=rid, label=server.label(1), timeout_s=60.0)
        return math.exp(score.logprobs[-1])

    # Were it the log-prob of 0 instead, the probabilities of all tokens would not add up.
    assert sum([await share(token) for token in range(VOCAB_SIZE)]) == pytest.approx(1.0, abs=1e-4)
    assert await share(0) != pytest.approx(await share(VOCAB_SIZE - 1), abs=3e-4)


async def test_the_probability_read_from_a_prefill_is_the_share_of_samples_that_equal_it(server: Subject) -> None:
    """What an evaluation by likelihood rests on: the same number as sampling gives, without the sampling.

    Answers are of one token: of two, each would be too rare to be sampled often. That the log-probs of later tokens are
    those of sampling too, given the tokens before them, is shown above.
    """
    one, room = Sampling(max_new_tokens=1, ignore_eos=True), asyncio.Semaphore(MAX_RUNNING)

    async def sample(seed: int) -> tuple[int, ...]:
        async with room:
            request = replace(server.request(f"sample{seed}", one), sampling_seed=seed)
            return tuple((await server.client.generate(request)).token_ids)

    async def read(number: int, target: tuple[int, ...]) -> float:
        async with room:
            rid, label, start = f"{server.run}-target{number}", server.label(1), len(PROMPT)
            score = await server.client.score(PROMPT + target, rid=rid, label=label, timeout_s=60.0, start=start)
            return probability(score.logprobs)

    # Of a single answer there would still be few: it is asked of all that a first sample has seen, together.
    targets = set(await asyncio.gather(*(sample(seed) for seed in range(NUM_TARGETS))))
    expected = sum(await asyncio.gather(*(read(number, target) for number, target in enumerate(targets))))
    others = range(NUM_TARGETS, NUM_TARGETS + NUM_SAMPLES)
    hits = sum(target in targets for target in await asyncio.gather(*(sample(seed) for seed in others)))
    assert 0.1 < expected < 0.9, "enough of either for a wrong probability to be noticed"
    # Outside by chance once in a million times.
    assert 5e-7 < _at_most(hits, expected) < 1 - 5e-7, (expected, hits / NUM_SAMPLES)


def _at_most(hits: int, share: float) -> float:
    """The binomial probability of so many hits in the samples, or fewer."""
    pairs = ((math.comb(NUM_SAMPLES, k), k) for k in range(hits + 1))
    return sum(
        math.exp(math.log(ways) + k * math.log(share) + (NUM_SAMPLES - k) * math.log1p(-share)) for ways, k in pairs
    )


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


async def test_a_running_attempt_can_be_aborted_and_says_what_it_had_generated(server: Subject) -> None:
    request = server.request("run", LONG)
    async with server.running(request) as (task,):
        await server.client.abort(request.rid)
        with pytest.raises(Aborted, match="Aborted") as aborted:
            await server.answered(task)
    assert aborted.value.num_tokens is not None
    assert 0 < aborted.value.num_tokens < LONG.max_new_tokens


async def test_a_waiting_attempt_can_be_aborted_and_the_others_go_on(server: Subject) -> None:
    busy = [server.request(f"busy{index}", LONG) for index in range(MAX_RUNNING)]
    async with server.running(*busy) as tasks:
        waiting = server.request("waiting", LONG)
        task = asyncio.create_task(server.client.generate(waiting))
        await server.queues(waiting=1)
        await server.client.abort(waiting.rid)
        with pytest.raises(Aborted, match="waiting queue") as aborted:
            await task
        assert aborted.value.num_tokens == 0
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
        # While paused nothing ends by itself: only the abort frees the rid. It is obeyed a moment after its answer.
        again = await _taken(server, replace(request, sampling=SHORT))
        await server.client.resume()
        assert len((await server.answered(again)).token_ids) == 4


async def test_a_prompt_the_context_has_room_for_but_the_server_has_not_is_refused(server: Subject) -> None:
    with pytest.raises(ServerRefused, match="400: Input length"):
        await server.client.generate(server.request("long", Sampling(max_new_tokens=1), ids=(7,) * 2047))


async def _taken(server: Subject, request: GenerateRequest) -> asyncio.Task[Completion]:
    """The request, under way: sent until its rid is free."""
    async with asyncio.timeout(_DEADLINE_S):
        while True:
            task = asyncio.create_task(server.client.generate(request))
            if await server.blocked(task):
                return task
            with pytest.raises(ServerRefused, match="Duplicate request ID"):
                await task
