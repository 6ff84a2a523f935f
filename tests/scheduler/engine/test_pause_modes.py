"""A whole run in each pause mode, and on hosts that see one folder under three names."""

import asyncio
import dataclasses
from functools import partial
from pathlib import Path

import pytest
from redis.asyncio import Redis

from inference.fake import Hang
from scheduler.core.errors import InvalidInput
from scheduler.core.ledger import Outcome
from scheduler.core.lifecycle import RunState
from scheduler.core.path_map import MappedFolder, PathMap
from scheduler.core.roll_out import PauseMode
from tests.scheduler.engine.factories import Coin, make_config, make_settings
from tests.scheduler.engine.learner import Learner
from tests.scheduler.engine.rig import let_time_run, open_rig


@pytest.mark.parametrize("mode", PauseMode)
async def test_a_run_ends_as_planned_in_every_pause_mode(redis: Redis, tmp_path: Path, mode: PauseMode) -> None:
    async with open_rig(redis, tmp_path, num_servers=2, policy=Coin(longest=12)) as rig:
        for fake in rig.fakes:
            fake.hold()
        await rig.create_run(dataclasses.replace(make_config(max_steps=2), pause_mode=mode))
        learner = Learner(at=lambda: rig.service, folder=rig.folder)
        await learner.attach()
        await rig.until(lambda: all(len(fake.decoder.waiting) >= 8 for fake in rig.fakes))
        for fake in rig.fakes:
            await fake.step()
            fake.faults.order("/update_weights_from_disk", Hang())
        await learner.publish("another")
        await rig.until(lambda: all(fake.paused == mode for fake in rig.fakes))
        time_runs = asyncio.create_task(let_time_run(rig.fakes, seed=5))

        async def is_live() -> bool:
            for fake in rig.fakes:
                fake.faults.release()
            return (await rig.view()).record.live_version == 2

        await rig.until(is_live)
        await learner.train()
        view = await rig.ended()
        time_runs.cancel()
        assert (view.record.state, view.ledger.is_balanced) == (RunState.FINISHED, True)
        rollouts = [rollout for group in learner.received.values() for rollout in group.rollouts]
        assert all(len(rollout.logprobs) == rollout.spans[-1].end for rollout in rollouts)
        spanning = [rollout for rollout in rollouts if [span.version for span in rollout.spans] == [1, 2]]
        lost = sum(line.outcomes[Outcome.LOST] for line in view.ledger.stages.values())
        assert bool(lost) is not bool(spanning)
        assert bool(lost) is (mode is PauseMode.ABORT)
        # In place, what was sent before the push and had not begun meets its prompt as the old weights computed it.
        assert mode is PauseMode.IN_PLACE or all(fake.decoder.stale_hits == 0 for fake in rig.fakes)


async def test_a_learner_names_its_folder_as_it_sees_it_itself(redis: Redis, tmp_path: Path) -> None:
    folder = MappedFolder.parse(f"/learner={tmp_path}={tmp_path}")
    settings = dataclasses.replace(make_settings(), paths=PathMap([folder]))
    async with open_rig(redis, tmp_path, settings=settings) as rig:
        await rig.create_run(make_config())
        learner = Learner(at=lambda: rig.service, folder=rig.folder)
        await learner.attach()
        await rig.ready()
        (tmp_path / "next").mkdir()
        (tmp_path / "next" / "model.safetensors").write_bytes(b"next")
        publish = partial(rig.service.learner_desk.publish, "run", incarnation=learner.incarnation, step=0, digest="d")
        with pytest.raises(
            InvalidInput, match=r"missing \(PILOTCOMMIT_PATH_MAP gives it for /learner/missing\) is not"
        ):
            await publish(path="/learner/missing")
        await publish(path="/learner/next")
        await rig.until(lambda: rig.fakes[0].model_path == str(tmp_path / "next"))
