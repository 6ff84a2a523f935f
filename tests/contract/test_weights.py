"""Pausing, pushing weights, flushing and what becomes of requests meanwhile, on both servers."""

import asyncio
from pathlib import Path

import pytest

from inference.control import WeightsUpdate
from inference.protocol import WeightLabel
from scheduler.core.errors import Aborted, ControlFailed, ForeignWeights
from scheduler.core.roll_out import PauseMode
from scheduler.core.types import Sampling, VersionSpan
from tests.contract.recorded import missing, recorded
from tests.contract.subject import ADMIN_KEY, LONG, PROMPT, SHORT, Subject

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_paused_server_answers_after_the_update_with_the_new_version(server: Subject) -> None:
    await server.client.pause()
    task = asyncio.create_task(server.client.generate(server.request("a")))
    assert await server.blocked(task)
    assert await server.client.update_weights(server.new, server.label(2)) is WeightsUpdate.APPLIED
    assert await server.blocked(task)
    await server.client.resume()
    assert (await server.answered(task)).spans == (VersionSpan(version=2, start=0, end=4),)


async def test_a_retracted_attempt_goes_on_with_the_new_weights_after_its_old_tokens(server: Subject) -> None:
    async with server.running(server.request("a", LONG)) as (task,):
        await server.client.pause(PauseMode.RETRACT)
        assert await server.client.update_weights(server.new, server.label(2)) is WeightsUpdate.APPLIED
        await server.client.resume()
        completion = await server.answered(task)
    old, new = completion.spans
    assert (old.version, new.version) == (1, 2)
    assert 0 == old.start < old.end == new.start < new.end == 1900 == len(completion.logprobs)


async def test_new_weights_answer_differently_and_old_ones_come_back_exactly(server: Subject) -> None:
    async def scores(version: int) -> tuple[float, ...]:
        label = server.label(version)
        rid = f"{server.run}-{version}"
        return (await server.client.score((7, 23, 14, 9), rid=rid, label=label, timeout_s=60.0)).logprobs

    old = await scores(1)
    await server.client.update_weights(server.new, server.label(2))
    assert await scores(2) != pytest.approx(old, abs=1e-2)
    await server.client.update_weights(server.old, server.label(3))
    assert await scores(3) == pytest.approx(old, abs=1e-5)


async def test_a_checksum_tells_weights_apart(server: Subject) -> None:
    old = await server.checksum()
    await server.client.update_weights(server.new, server.label(2))
    assert await server.checksum() != old
    await server.client.update_weights(server.old, server.label(3))
    assert await server.checksum() == old


async def test_model_info_names_the_new_path_and_version_after_an_update(server: Subject) -> None:
    await server.client.update_weights(server.new, server.label(7))
    info = await server.client.model_info()
    assert (info.model_path, info.weight_version) == (str(server.new), f"{server.run}/7")


async def test_a_path_without_a_checkpoint_changes_nothing(server: Subject) -> None:
    before = await server.client.model_info(), await server.client.checksum()
    with pytest.raises(ControlFailed, match="not updated"):
        await server.client.update_weights(Path("/nowhere/at/all"), server.label(2))
    assert (await server.client.model_info(), await server.client.checksum()) == before
    assert (await server.client.generate(server.request("a"))).spans[0].version == 1


async def test_pausing_and_resuming_twice_is_as_good_as_once(server: Subject) -> None:
    for _ in range(2):
        await server.client.pause()
        assert not await server.client.is_ready()
    for _ in range(2):
        await server.client.resume()
        assert await server.client.is_ready()
    assert (await server.client.generate(server.request("a"))).spans[0].version == 1


async def test_pause_and_continue_answer_as_recorded(server: Subject) -> None:
    for name in ("461_retract_pause", "466_retract_ready_paused", "483_continue"):
        call = recorded(name)
        answer = await (
            server.get(call.path) if call.method == "GET" else server.post(call.path, call.request, key=ADMIN_KEY)
        )
        assert answer.status_code == call.status
        assert (answer.json() if answer.text else "") == call.response


async def test_the_cache_cannot_be_flushed_while_a_request_runs(server: Subject) -> None:
    async with server.running(server.request("a", LONG)):
        assert not await server.client.flush_cache()
        call, answer = recorded("451_flush_while_running"), await server.post("/flush_cache")
        assert (answer.status_code, answer.text) == (call.status, call.response)
    await server.queues(running=0, waiting=0)
    assert await server.client.flush_cache(timeout_s=5.0)


async def test_the_cache_can_be_flushed_while_requests_are_retracted(server: Subject) -> None:
    async with server.running(server.request("a", LONG)):
        await server.client.pause(PauseMode.RETRACT)
        assert await server.client.flush_cache()


async def test_weights_over_a_frozen_cache_are_reported_as_applied_but_not_flushed(server: Subject) -> None:
    async with server.running(server.request("a", LONG)) as (task,):
        await server.client.pause(PauseMode.IN_PLACE)
        update = await server.client.update_weights(server.new, server.label(2))
        assert update is WeightsUpdate.APPLIED_NOT_FLUSHED
        # /model_info lags behind what tokens say.
        assert (await server.client.model_info()).weight_version == f"{server.run}/1"
        await server.client.resume()
        assert [span.version for span in (await server.answered(task)).spans] == [1, 2]


async def test_a_refused_flush_within_an_update_answers_as_recorded(server: Subject) -> None:
    call = recorded("494_update_abort_all")
    async with server.running(server.request("a", LONG)):
        await server.client.pause(PauseMode.IN_PLACE)
        body = {"model_path": str(server.new), "weight_version": f"{server.run}/2"}
        answer = await server.post(call.path, body)
        assert (answer.status_code, answer.json()) == (call.status, call.response)


async def test_frozen_requests_keep_their_cache_if_no_flush_is_asked(server: Subject) -> None:
    async with server.running(server.request("a", LONG)):
        await server.client.pause(PauseMode.IN_PLACE)
        update = await server.client.update_weights(server.new, server.label(2), flush=False)
        assert update is WeightsUpdate.APPLIED


async def test_without_a_pause_an_update_waits_for_what_is_in_flight(server: Subject) -> None:
    request = server.request("a", LONG)
    async with server.running(request) as (task,):
        update = asyncio.create_task(server.client.update_weights(server.new, server.label(2)))
        await server.client.loads()
        assert not update.done()
        await server.client.abort(request.rid)
        with pytest.raises(Aborted):
            await server.answered(task)
        # The aborted request may linger in the real scheduler for a step, and keep the cache from being flushed.
        await update
    assert (await server.client.generate(server.request("b"))).spans == (VersionSpan(version=2, start=0, end=4),)


async def test_pausing_by_abort_ends_what_runs_and_blocks_what_comes(server: Subject) -> None:
    async with server.running(server.request("a", LONG)) as (task,):
        pause = asyncio.create_task(server.client.pause(PauseMode.ABORT))
        await server.blocked(pause)
        server.flow()
        await pause
        with pytest.raises(Aborted):
            await task
        blocked = asyncio.create_task(server.client.generate(server.request("b")))
        assert await server.blocked(blocked)
        await server.client.resume()
        assert len((await server.answered(blocked)).token_ids) == SHORT.max_new_tokens


async def test_an_abort_is_lost_on_an_attempt_that_a_pause_blocks(server: Subject) -> None:
    request = server.request("a")
    await server.client.pause()
    task = asyncio.create_task(server.client.generate(request))
    assert await server.blocked(task)
    await server.client.abort(request.rid)
    assert await server.blocked(task)
    await server.client.resume()
    assert len((await server.answered(task)).token_ids) == SHORT.max_new_tokens


async def test_a_retracted_attempt_is_aborted_at_once(server: Subject) -> None:
    request = server.request("a", LONG)
    async with server.running(request) as (task,):
        await server.client.pause()
        await server.client.abort(request.rid)
        with pytest.raises(Aborted, match="waiting queue"):
            await task


async def test_tokens_of_another_runs_weights_are_foreign(server: Subject) -> None:
    await server.client.update_weights(server.old, WeightLabel(run="leftover", version=1))
    with pytest.raises(ForeignWeights, match="leftover/1"):
        await server.client.generate(server.request("a"))


async def test_an_update_answers_as_recorded(server: Subject) -> None:
    call = recorded("411_update_from_disk_v1")
    answer = await server.post(call.path, {"model_path": str(server.new), "weight_version": "v1"})
    assert answer.status_code == call.status
    assert answer.json() == call.response
    assert missing(call.response, answer.json()) == []


@pytest.mark.parametrize("mode", [PauseMode.RETRACT, PauseMode.IN_PLACE])
async def test_every_token_keeps_the_log_prob_it_was_sampled_with(server: Subject, mode: PauseMode) -> None:
    async with server.running(server.request("a", Sampling(max_new_tokens=400, ignore_eos=True))) as (task,):
        await server.client.pause(mode)
        await server.client.update_weights(server.new, server.label(2), flush=mode is not PauseMode.IN_PLACE)
        await server.client.resume()
        completion = await server.answered(task)

    async def scored(version: int) -> tuple[float, ...]:
        ids, label = (*PROMPT, *completion.token_ids), server.label(version)
        score = await server.client.score(ids, rid=f"s{version}", label=label, timeout_s=60.0, start=len(PROMPT))
        return score.logprobs

    old, new = completion.spans
    under_new = await scored(2)
    await server.client.update_weights(server.old, server.label(3))
    under_old = await scored(3)
    assert completion.logprobs[: old.end] == pytest.approx(under_old[: old.end], abs=1e-3)
    # In place, the new weights go on over a cache of the old ones: what they say is theirs, and not what they would say
    # of the same text by themselves. (A fake has no cache that could matter, and one text for each set of weights: its
    # first new token follows another than the one before it.)
    begin = new.start + server.is_fake
    is_exact = completion.logprobs[begin:] == pytest.approx(under_new[begin:], abs=1e-3)
    assert is_exact is (server.is_fake or mode is PauseMode.RETRACT)


async def test_after_a_pause_by_abort_weights_are_updated_and_the_cache_flushed(server: Subject) -> None:
    async with server.running(server.request("a", LONG)) as (task,):
        pause = asyncio.create_task(server.client.pause(PauseMode.ABORT))
        await server.blocked(pause)
        server.flow()
        await pause
        assert await server.client.update_weights(server.new, server.label(2)) is WeightsUpdate.APPLIED
        await server.client.resume()
        with pytest.raises(Aborted):
            await task
    assert (await server.client.generate(server.request("b"))).spans == (VersionSpan(version=2, start=0, end=4),)


async def test_a_process_is_told_apart_by_how_it_was_launched(server: Subject) -> None:
    before = await server.client.server_info()
    await server.client.update_weights(server.new, server.label(2))
    after = await server.client.server_info()
    assert before.instance == after.instance != ""
    assert before.model_path
    assert (await server.client.model_info()).architectures == ("LlamaForCausalLM",)
