"""A learner's report that cannot be true is refused with what would be, and nothing of the batch is lost."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from scheduler.api.app import create_app
from scheduler.api.problems import PROBLEM_JSON
from scheduler.core.ledger import OpenState
from scheduler.core.types import Stage
from scheduler.frames import BatchFrame
from tests.scheduler.api.bodies import Json
from tests.scheduler.engine.factories import make_config
from tests.scheduler.engine.learner import Learner
from tests.scheduler.engine.rig import Rig, open_rig

BATCH = 4


@dataclass(frozen=True, slots=True)
class Taken:
    """A learner that was given its first batch and has reported nothing yet."""

    rig: Rig
    learner: Learner
    batch: BatchFrame

    def applied(self, **changes: object) -> Json:
        """The report that would be right, but for the changes."""
        right = {
            "incarnation": self.learner.incarnation,
            "step": 1,
            "group_ids": list(self.batch.group_ids),
            "path": str(self.rig.folder),
            "digest": "d",
        }
        return {**right, **changes}


@pytest_asyncio.fixture
async def taken(redis: Redis, tmp_path: Path) -> AsyncIterator[Taken]:
    async with open_rig(redis, tmp_path) as rig:
        await rig.create_run(make_config(batch_size=BATCH))
        learner = Learner(at=lambda: rig.service, folder=rig.folder)
        await learner.attach()
        batch = await learner.take()
        assert batch is not None
        yield Taken(rig, learner, batch)


@pytest.mark.parametrize(
    ("route", "changes", "status", "field", "words"),
    [
        ("applied", {"step": 3}, 409, "step", "3 is not the next one, which is 1"),
        ("applied", {"step": 0}, 422, "step", "greater than or equal to 1"),
        ("applied", {"group_ids": ["nobody"]}, 422, "group_ids", "not the batch of step 1"),
        ("applied", {"group_ids": []}, 422, "group_ids", "not the batch of step 1"),
        ("applied", {"refused": {"nobody": 3}}, 422, "group_ids", "nobody"),
        ("applied", {"path": "/no/such/folder"}, 422, "path", "/no/such/folder is not a folder"),
        ("applied", {"incarnation": "an older one"}, 409, None, "attach first"),
        ("applied", {"stats": {"loss": "small"}}, 422, "stats.loss", "number"),
        ("applied", {"took_s": 3}, 422, "took_s", "not permitted"),
        ("checkpointed", {"step": 7}, 409, "step", "never reported as applied; the last one is 0"),
        ("checkpointed", {"step": -1}, 422, "step", "greater than or equal to 0"),
        ("checkpointed", {"step": 0, "incarnation": "an older one"}, 409, None, "attach first"),
        ("weights", {"step": 0, "path": "/no/such/folder", "digest": "d"}, 422, "path", "not a folder"),
        ("learner", {"step": 0, "incarnation": ""}, 422, "incarnation", "at least 1 character"),
        ("learner", {"step": 0, "trained": {"one": ["g"]}}, 422, "trained.one.[key]", "integer"),
        ("evaluations", {"pool": "nowhere"}, 404, "pool", "nowhere"),
        ("evaluations", {"pool": "sums", "rollouts": 0}, 422, "rollouts", "greater than or equal to 1"),
        ("evaluations", {"pool": "sums", "measure": "likelihood", "target": "7"}, 422, "target", "{answer}"),
    ],
)
async def test_a_report_that_cannot_be_true_is_refused_and_costs_nothing(
    taken: Taken, route: str, changes: dict[str, object], status: int, field: str | None, words: str
) -> None:
    body = taken.applied(**changes) if route == "applied" else changes
    if route != "evaluations":
        body = {"incarnation": taken.learner.incarnation, **body}
    transport = httpx.ASGITransport(create_app(taken.rig.service))
    async with httpx.AsyncClient(transport=transport, base_url="http://scheduler") as http:
        answer = await http.post(f"/v1/runs/run/{route}", json=body)

    problem = answer.json()
    assert (answer.status_code, problem["status"]) == (status, status), problem
    assert answer.headers["content-type"] == PROBLEM_JSON
    assert (problem.get("field"), words in problem["detail"]) == (field, True), problem
    view = await taken.rig.view()
    published = sum(view.ledger.stages[stage].open[OpenState.PUBLISHED] for stage in (Stage.PILOT, Stage.COMMIT))
    assert (view.record.step, view.record.version, published >= 8 * BATCH) == (0, 1, True)
    # The right report is still taken.
    await taken.learner.apply(taken.batch)
    await taken.learner.checkpoint()
    view = await taken.rig.view()
    assert (view.counters["groups:trained"], view.ledger.is_balanced) == (BATCH, True)
