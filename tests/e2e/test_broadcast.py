"""Two real SGLang servers and our learner: weights go to both by gloo, and what they sample with them is the learner's.

The service runs as it does anywhere; the learner's session runs here, so that every group it is given can be looked at.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import torch

from inference.supervisor import Supervisor
from learner.assembly import Start, assemble
from learner.broadcast import Broadcaster
from learner.fault import Fault
from learner.model_files import load_model
from learner.session import Ending, Session
from learner.settings import FloatFormat, Settings
from learner.work_dir import WorkDir
from scheduler.core.broadcast import BroadcastBackend
from scheduler.core.types import Group
from scheduler.frames import Frame, GroupFrame
from scheduler.learner_link import LearnerLink
from tests.e2e.conftest import supervised
from tests.e2e.local_service import started

pytestmark = [pytest.mark.e2e, pytest.mark.sglang, pytest.mark.timeout(400), pytest.mark.asyncio(loop_scope="session")]

STEPS, TOLERANCE = 6, 1e-4
BUCKET_BYTES = 60_000
"""Several messages, though the model is tiny."""


class WatchedLink(LearnerLink):
    """A learner's link that keeps the groups it was given."""

    def __init__(self, url: str, run_id: str) -> None:
        super().__init__(url, run_id)
        self.groups: dict[str, Group] = {}

    async def stream(self, *, incarnation: str) -> AsyncGenerator[Frame, None]:
        async for frame in super().stream(incarnation=incarnation):
            if isinstance(frame, GroupFrame):
                self.groups[frame.group.group_id] = frame.group
            yield frame


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def second(model: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Supervisor]:
    async with supervised(model, tmp_path_factory.mktemp("second")) as supervisor:
        yield supervisor


def begun(model: Path, folder: Path, run_id: str) -> Start:
    settings = Settings(
        run_id=run_id,
        model_path=model,
        work_dir=folder,
        learning_rate=1e-3,
        autocast=FloatFormat.FLOAT32,
        publish_format=FloatFormat.FLOAT32,
        checkpoint_every=2,
        # All of them: the test reads what each version was.
        keep_weights=100,
    )
    work_dir = WorkDir(root=folder)
    with work_dir.held():
        return assemble(settings, work_dir, incarnation="only", fault=Fault())


@torch.no_grad()
def distance(weights: Path, version: int, groups: list[Group]) -> float:
    """Largest difference between these weights' log-prob of a token and the one it was sampled with at `version`."""
    policy, worst = load_model(weights, torch.device("cpu")), 0.0
    sampled = [
        (group.prompt_ids, rollout, span)
        for group in groups
        for rollout in group.rollouts
        for span in rollout.spans
        if span.version == version and span.end > span.start
    ]
    for prompt_ids, rollout, span in sampled:
        ids = torch.tensor([(*prompt_ids, *rollout.token_ids)])
        logprobs_TV = policy(ids).logits[0, len(prompt_ids) - 1 : -1].log_softmax(-1)
        ours_T = logprobs_TV.gather(1, torch.tensor(rollout.token_ids)[:, None])[:, 0]
        difference_T = ours_T - torch.tensor(rollout.logprobs)
        worst = max(worst, float(difference_T[span.start : span.end].abs().max()))
    return worst


@pytest.mark.parametrize("max_staleness", [0, 1], ids=["every version is sampled", "pushes meet what is in flight"])
async def test_both_servers_sample_with_exactly_what_the_learner_broadcast(
    sglang: Supervisor, second: Supervisor, model: Path, tmp_path: Path, max_staleness: int
) -> None:
    urls = (sglang.base_url, second.base_url)
    async with started(tmp_path / "state", model=model, servers=urls, learners=False) as service:
        run_id = await service.submit(
            max_steps=STEPS, max_staleness=max_staleness, sampling={"max_new_tokens": 60, "ignore_eos": True}
        )
        async with WatchedLink(service.stack.url, run_id) as link:
            start = begun(model, tmp_path / "work", run_id)
            broadcaster = Broadcaster(
                link,
                incarnation="only",
                backend=BroadcastBackend.GLOO,
                address="127.0.0.1",
                bucket_bytes=BUCKET_BYTES,
            )
            session = Session(link, start.workshop, start.progress, incarnation="only", broadcaster=broadcaster)
            assert await session.run() is Ending.FINISHED
        await service.ended(run_id)
        records = await service.ask(lambda client: client.weights(run_id))
    paths = {record["version"]: Path(str(record["path"])) for record in records}
    confirmed = {record["version"] for record in records if record["live_at"] is not None}
    assert broadcaster.num_sent >= len(confirmed), "they went by broadcast, not by disk"
    spans = {span.version for group in link.groups.values() for rollout in group.rollouts for span in rollout.spans}
    assert spans <= confirmed
    # With batches sampled ahead the run may end before its last versions are asked for anything.
    assert len(spans) >= (STEPS // 2 if max_staleness else STEPS)
    groups = list(link.groups.values())
    distances = {version: distance(paths[version], version, groups) for version in sorted(spans)}
    assert max(distances.values()) < TOLERANCE, f"worst difference by version: {distances}"
    # Weights that had not arrived would have been noticed: one step moves the log-probs far more than that.
    assert distance(paths[2], 1, groups) > 10 * TOLERANCE
