"""A run that only looks: pilots for every prompt once, without a learner, within its budget."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from scheduler.checkpoints import Checkpoints
from scheduler.core.budget import Budget
from scheduler.core.errors import Conflict, InvalidInput
from scheduler.core.ledger import Outcome
from scheduler.core.lifecycle import RunState
from scheduler.core.path_map import SAME_EVERYWHERE
from scheduler.core.run import RunConfig, RunMode
from scheduler.core.types import Stage
from scheduler.service.orders import Orders
from scheduler.state.keys import RunKeys
from scheduler.state.runs import RunStore
from scheduler.state.transaction import Transactor
from tests.scheduler.engine.factories import ALWAYS, NEVER, SOMETIMES, InstantRewards, make_config
from tests.scheduler.engine.rig import Rig, open_rig

RATES = [SOMETIMES] * 12 + [ALWAYS] * 5 + [NEVER] * 8


@pytest_asyncio.fixture
async def rig(redis: Redis, tmp_path: Path) -> AsyncIterator[Rig]:
    async with open_rig(redis, tmp_path, rates=RATES) as opened:
        yield opened


def looking(rig: Rig, *, budget: Budget | None = None) -> RunConfig:
    """A profile of four pilots, of the weights that the servers were started with."""
    weights = str(rig.folder / "launch")
    return replace(make_config(budget=budget), mode=RunMode.PROFILE, weights=weights)


async def test_every_prompt_is_piloted_once_and_nothing_is_committed(rig: Rig) -> None:
    await rig.create_run(looking(rig))
    view = await rig.ended()
    assert (view.record.state, view.record.reason) == (RunState.FINISHED, "no prompt is left to claim")
    pilots, commits = view.ledger.stages[Stage.PILOT], view.ledger.stages[Stage.COMMIT]
    assert (pilots.attempts, pilots.outcomes[Outcome.SKIPPED], commits.attempts) == (100, 100, 0)
    found = await rig.service.views.profile("run")
    assert (found.num_prompts, found.num_unfinished) == (len(RATES), 0)
    assert found.bars[0].prompts >= RATES.count(NEVER)
    assert found.bars[-1].prompts >= RATES.count(ALWAYS)
    assert found.num_tokens == view.ledger.spent_tokens
    history = (await rig.service.views.prompt("run", "q0")).history
    assert [(event.what, event.pilots) for event in history] == [("skip", 4)]


async def test_a_profile_stops_within_its_budget(rig: Rig) -> None:
    await rig.create_run(looking(rig, budget=Budget(rollouts=43)))
    view = await rig.ended()
    assert view.record.state is RunState.EXHAUSTED
    assert view.ledger.spent_rollouts == 40
    assert (await rig.service.views.profile("run")).num_prompts == 10


async def test_a_successor_goes_on_with_a_profile_and_pilots_nobody_twice(rig: Rig) -> None:
    rig.fakes[0].hold()
    await rig.create_run(looking(rig))
    await rig.until(lambda: bool(rig.fakes[0].in_flight))
    await rig.succeed("run")
    rig.fakes[0].release()
    view = await rig.ended()
    assert view.record.version == 1
    found = await rig.service.views.profile("run")
    assert found.num_prompts == len(RATES)
    assert view.ledger.stages[Stage.PILOT].outcomes[Outcome.SKIPPED] == 4 * len(RATES)


async def test_a_learner_is_turned_away_from_a_profile(rig: Rig) -> None:
    await rig.create_run(looking(rig))
    with pytest.raises(Conflict, match="takes no learner"):
        await rig.service.learner_desk.attach("run", incarnation="learner", step=0, trained={})
    await rig.ended()


async def test_a_profile_needs_weights_that_can_be_named(rig: Rig) -> None:
    with pytest.raises(InvalidInput) as refused:
        await rig.create_run(replace(looking(rig), weights=None))
    assert refused.value.field == "weights"


@pytest.mark.parametrize("weights", ["{folder}/mistyped", "launch", "", "{folder}/launch/model.safetensors", "/a\0"])
async def test_weights_that_are_no_absolute_folder_are_refused_when_the_profile_is_created(
    rig: Rig, weights: str
) -> None:
    with pytest.raises(InvalidInput, match="is no absolute folder here") as refused:
        await rig.create_run(replace(looking(rig), weights=weights.format(folder=rig.folder)))
    assert refused.value.field == "weights"


async def test_a_profile_whose_weights_are_gone_by_its_turn_fails_and_the_run_behind_it_begins(rig: Rig) -> None:
    (gone := rig.folder / "gone").mkdir()
    async with rig.service.conductor.ordering:  # No engine begins meanwhile.
        await rig.create_run(replace(looking(rig), weights=str(gone)), "first")
        await rig.create_run(looking(rig), "second")
        gone.rmdir()
    failed, done = await rig.ended("first"), await rig.ended("second")
    assert failed.record.state is RunState.FAILED
    assert f"{gone} is not a folder here" in failed.record.reason
    assert done.record.state is RunState.FINISHED


async def test_a_profile_that_is_cancelled_needs_no_weights_to_end(rig: Rig) -> None:
    (gone := rig.folder / "gone").mkdir()
    async with rig.service.conductor.ordering:
        run_id = await rig.create_run(replace(looking(rig), weights=str(gone)))
        gone.rmdir()
        # As an operator's order to a run that has begun elsewhere is written down.
        runs, transactor = RunStore(rig.redis), Transactor(rig.redis, RunKeys(run_id), None)
        await runs.settle_ending(transactor, RunState.CANCELLED, reason="cancelled by an operator", now=1.0)
    assert (await rig.ended()).record.state is RunState.CANCELLED


async def test_the_operators_own_model_lies_where_it_lies_whatever_the_roots_of_weights(
    rig: Rig, tmp_path: Path
) -> None:
    model, roots = rig.folder / "launch", [tmp_path / "weights"]
    service = rig.service
    orders = Orders(
        rig.redis,
        service.conductor,
        service.views,
        Checkpoints(model, roots),
        InstantRewards(),
        model=model,
        paths=SAME_EVERYWHERE,
    )
    found = await orders.rehearse(replace(looking(rig), weights=None))
    assert found.config.weights == str(model)
    with pytest.raises(InvalidInput, match="outside of PILOTCOMMIT_WEIGHT_ROOTS"):
        await orders.rehearse(replace(looking(rig), weights=str(tmp_path)))


async def test_a_run_that_trains_has_no_profile(rig: Rig) -> None:
    await rig.create_run(make_config(max_steps=3))
    with pytest.raises(Conflict, match="only a run with mode profile"):
        await rig.service.views.profile("run")
