"""A trainer takes batches from a real scheduler, publishes its weights, and goes on where its checkpoint left it."""

import asyncio
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from scheduler.core.errors import InvalidInput, LearnerError, NotFound, StaleIncarnation
from scheduler.core.types import Group
from scheduler.taking import Progress, TrainingBatch
from scheduler.training_client import AsyncTrainingClient, TrainingClient, weights_digest
from tests.scheduler.training_site import TrainingSite


async def test_a_run_is_trained_to_its_end_in_asynchronous_code(site: TrainingSite) -> None:
    arrived: list[Group] = []
    steps: list[TrainingBatch] = []
    async with AsyncTrainingClient(site.url, "run", on_group=arrived.append) as client:
        assert await client.begin(site.weights(0)) == 1
        assert client.temperature == 1.0
        async for batch in client.batches():
            steps.append(batch)
            assert await client.applied(batch, site.weights(batch.step), stats={"loss": 0.5}) == batch.step + 1
            await client.checkpointed()
            # What is saved need not be told to the scheduler again.
            assert client.progress == Progress(step=batch.step)
        assert client.last_word is not None
        assert client.last_word.state == "finished"
    assert [batch.step for batch in steps] == [1, 2]
    assert {group.group_id for group in arrived} == {group_id for batch in steps for group_id in batch.group_ids}
    assert await site.trained() == 4


def _train_blocking(site: TrainingSite, progress: Progress, *, steps: int) -> tuple[list[TrainingBatch], Progress]:
    """Train so many steps, save nothing, and leave as a trainer does that is stopped."""
    taken: list[TrainingBatch] = []
    with TrainingClient(site.url, "run", progress=progress) as client:
        client.begin(site.weights(progress.step))
        for batch in client.batches():
            taken.append(batch)
            client.applied(batch, site.weights(batch.step), stats={"loss": 0.5})
            if len(taken) == steps:
                break
        return taken, client.progress


async def test_a_blocking_trainer_that_resumes_is_given_again_what_its_checkpoint_has_not(site: TrainingSite) -> None:
    first, lost = await asyncio.to_thread(_train_blocking, site, Progress(), steps=1)
    assert lost == Progress(step=1, trained={1: first[0].group_ids})
    # It died before it saved anything.
    again, kept = await asyncio.to_thread(_train_blocking, site, Progress(), steps=1)
    assert set(again[0].group_ids) == set(first[0].group_ids)
    # This time the checkpoint was written, and what it holds comes through a file.
    last, _ = await asyncio.to_thread(_train_blocking, site, Progress.decode(kept.encode()), steps=1)
    assert last[0].step == 2
    assert not set(last[0].group_ids) & set(first[0].group_ids)


async def test_a_step_that_is_not_reported_is_not_followed_by_another(site: TrainingSite) -> None:
    async with AsyncTrainingClient(site.url, "run") as client:
        await client.begin(site.weights(0))
        await anext(client.batches())
        with pytest.raises(LearnerError, match="step 1 was given out and not reported"):
            await anext(client.batches())


async def test_a_reader_that_stopped_goes_on_where_it_was(site: TrainingSite) -> None:
    async with AsyncTrainingClient(site.url, "run") as client:
        await client.begin(site.weights(0))
        async for batch in client.batches():
            await client.applied(batch, site.weights(batch.step))
            break
        assert (await anext(client.batches())).step == 2


async def test_a_wait_that_was_cancelled_is_begun_again_and_loses_nothing(site: TrainingSite) -> None:
    async with AsyncTrainingClient(site.url, "run") as client:
        await client.begin(site.weights(0))
        batches, steps = client.batches(), list[int]()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.0):
                await anext(batches)
        async for batch in batches:
            steps.append(batch.step)
            await client.applied(batch, site.weights(batch.step))
            await client.checkpointed()
        assert steps == [1, 2]
        assert client.last_word is not None
        assert await anext(batches, None) is None


async def test_an_interrupt_while_a_trainer_waits_for_a_batch_is_what_it_gets(
    site: TrainingSite,
) -> None:
    # A run that is paused claims nothing: no batch ever comes.
    await site.reached("waiting_weights")
    (await site.http.post("/v1/runs/run/pause")).raise_for_status()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _INTERRUPTED, site.url, str(site.weights(0)),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(60.0):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, errors.decode()
    assert output.decode().splitlines()[-1] == "interrupted"


_INTERRUPTED = """
import os, signal, sys, threading
from scheduler.training_client import TrainingClient

def interrupt(client):
    pause = threading.Event()
    while not client.waiting_for:
        pause.wait(0.01)
    os.kill(os.getpid(), signal.SIGINT)

try:
    with TrainingClient(sys.argv[1], "run") as client:
        client.begin(sys.argv[2])
        threading.Thread(target=interrupt, args=(client,), daemon=True).start()
        for _ in client.batches():
            pass
except KeyboardInterrupt:
    print("interrupted")
"""


async def test_a_run_cancelled_during_a_step_wants_no_report_and_ends_the_batches(site: TrainingSite) -> None:
    async with AsyncTrainingClient(site.url, "run") as client:
        await client.begin(site.weights(0))
        async for batch in client.batches():
            await site.cancel()
            assert await client.applied(batch, site.weights(batch.step)) is None
        assert client.last_word is not None
        assert client.last_word.state == "cancelled"


async def test_a_trainer_that_was_replaced_is_told_so(site: TrainingSite) -> None:
    async with AsyncTrainingClient(site.url, "run") as old, AsyncTrainingClient(site.url, "run") as new:
        await old.begin(site.weights(0))
        await new.begin(site.weights(0))
        with pytest.raises(StaleIncarnation, match="not the one that is attached"):
            await anext(old.batches())


async def test_an_unknown_run_is_refused_also_where_the_trainer_blocks(site: TrainingSite) -> None:
    def begin() -> None:
        with TrainingClient(site.url, "no-such-run") as client:
            client.begin(site.weights(0))

    with pytest.raises(NotFound, match="no-such-run"):
        await asyncio.to_thread(begin)


async def test_a_scheduler_refuses_a_learner_that_cannot_read_its_frames(site: TrainingSite) -> None:
    body = {"incarnation": "old", "step": 0, "formats": [1]}
    answer = await site.http.post("/v1/runs/run/learner", json=body)
    assert (answer.status_code, answer.json()["field"]) == (422, "formats")
    assert "writes frame format 2; the learner reads 1: upgrade the learner" in answer.json()["detail"]


async def test_nothing_can_be_taken_before_attaching() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(500))
    async with AsyncTrainingClient("http://scheduler", "run", transport=transport) as client:
        with pytest.raises(InvalidInput, match="attach first"):
            await anext(client.batches())


def test_a_folder_without_the_model_is_refused_and_a_changed_one_has_another_digest(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InvalidInput, match="no safetensors file") as refused:
        weights_digest(tmp_path)
    assert refused.value.field == "weights"
    (tmp_path / "model.safetensors").write_bytes(b"one")
    first = weights_digest(tmp_path)
    assert weights_digest(tmp_path) == first
    (tmp_path / "model.safetensors").write_bytes(b"other")
    assert weights_digest(tmp_path) != first


@pytest.mark.parametrize("data", [b"", b"[]", b'{"step": "two"}', b'{"trained": {"x": []}}'])
def test_a_file_that_holds_no_progress_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput, match="no progress of a learner"):
        Progress.decode(data)


def test_the_client_imports_neither_torch_nor_numpy(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "import scheduler.training_client\n"
        "print(*sorted({'torch', 'numpy', 'transformers', 'pydantic', 'fastapi', 'redis'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
