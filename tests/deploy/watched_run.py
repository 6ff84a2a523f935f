"""A whole run that Prometheus watches: a scheduler on fake servers, and a learner that takes a step for each scrape.

Owns: the run, and that it does everything there is a panel for: evaluations, revisits, failures, groups that wait, a
budget of each kind. Never asserts. Invariant: the questions of all tests are asked of one moment, while it was at work.
"""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from deploy.prometheus.install import Prometheus
from inference.fake import create_fake
from learner.metrics import LearnerMetrics
from scheduler.api.app import create_app
from scheduler.core.budget import Budget
from scheduler.core.errors import RewardFailed
from scheduler.core.incomplete import IncompletePolicy
from scheduler.core.run import EvaluationPlan, RunConfig
from scheduler.core.types import Judgement
from scheduler.ports import free_port
from scheduler.rewards.pool import Answer
from scheduler.rewards.spec import RewardJob, RewardSpec
from scheduler.state.connection import connect
from scheduler.token_file import TokenFile
from tests.deploy.scraper import Scraper, scraping
from tests.learner.test_metrics import make_report
from tests.scheduler.engine.factories import ALWAYS, NEVER, SOMETIMES, Coin, InstantRewards, make_config, make_prompts
from tests.scheduler.engine.learner import Learner
from tests.scheduler.engine.rig import Rig, open_rig
from tests.scheduler.served import listening

RUN, POOL = "run", "sums"
_STEPS = 12
_RATES = (ALWAYS, NEVER, SOMETIMES, SOMETIMES, 90, 10) * 4
_FAILS_EVERY = 23


class FlakyRewards(InstantRewards):
    """Raises now and then."""

    def __init__(self) -> None:
        super().__init__()
        self._num_judged = 0

    async def judge(self, spec: RewardSpec, jobs: Sequence[RewardJob]) -> list[Answer]:
        return [self._or_failed(answer) for answer in await super().judge(spec, jobs)]

    def _or_failed(self, answer: Answer) -> Answer:
        self._num_judged += 1
        failed = isinstance(answer, Judgement) and not self._num_judged % _FAILS_EVERY
        return RewardFailed("no answer in it") if failed else answer


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedRun:
    """What there is to ask."""

    scraper: Scraper
    at: float
    """The moment, in seconds since the epoch, that questions are about."""
    spent: int
    """Rollouts the ledger had spent when the run was over."""
    ended_at: float
    """When Prometheus had seen that."""


def _config() -> RunConfig:
    config = make_config(
        pool=POOL,
        max_steps=_STEPS,
        budget=Budget(rollouts=20_000, tokens=200_000, eval_rollouts=1000, wall_clock_s=3600.0),
        evaluation=EvaluationPlan(pool="held-out", rollouts=2, every_steps=4),
    )
    return replace(config, incomplete=IncompletePolicy.DROP)


@asynccontextmanager
async def watch(programs: Prometheus, redis_url: str, folder: Path) -> AsyncIterator[WatchedRun]:
    """Let a run go to its end under the eyes of a Prometheus, which still answers when the run is gone."""
    redis = connect(redis_url)
    await redis.flushdb()
    tokens, metrics, port = TokenFile(folder / "tokens.ndjson"), LearnerMetrics(RUN), free_port()
    token = tokens.create("prometheus", [])
    async with AsyncExitStack() as stack:
        stack.push_async_callback(redis.aclose)
        async with AsyncExitStack() as run_time:
            rig = await run_time.enter_async_context(
                open_rig(redis, folder, num_servers=2, rates=_RATES, policy=Coin(longest=4), rewards=FlakyRewards())
            )
            await rig.create_pool("held-out", make_prompts([SOMETIMES] * 4, prefix="held"))
            api = await run_time.enter_async_context(listening(create_app(rig.service, tokens=tokens)))
            servers = [await run_time.enter_async_context(listening(create_fake(fake))) for fake in rig.fakes]
            run_time.enter_context(metrics.serving(port))
            targets = {
                "scheduler": [_address(api)],
                "learner": [f"127.0.0.1:{port}"],
                "sglang": [*map(_address, servers)],
            }
            scraper = await stack.enter_async_context(scraping(programs, folder, targets=targets, token=token))
            at = await _train(rig, metrics, scraper)
            spent = (await rig.ended()).ledger.spent_rollouts
            await scraper.until(lambda: scraper.number('pilotcommit_run_state{state="finished"}') == 1)
            ended_at = time.time()
        yield WatchedRun(scraper=scraper, at=at, spent=spent, ended_at=ended_at)


def _address(url: str) -> str:
    return url.removeprefix("http://")


async def _train(rig: Rig, metrics: LearnerMetrics, scraper: Scraper) -> float:
    """Train to the end, a step for each scrape; returns a moment before it, when everything had been computed."""
    learner = Learner(at=lambda: rig.service, folder=rig.folder)
    await rig.create_run(_config(), RUN)
    await learner.attach()
    while learner.step < _STEPS - 1:
        batch = await learner.take()
        assert batch is not None
        started = time.perf_counter()
        await learner.apply(batch)
        metrics.stepped(make_report(), step=learner.step, version=learner.version, num_refused=len(learner.refused))
        await learner.checkpoint()
        metrics.spent("checkpoint", time.perf_counter() - started)
        # Groups for the next step wait meanwhile: that the learner is behind is one of the things to see.
        await scraper.until(lambda: scraper.number('pilotcommit_steps{reached="saved"}') == learner.step)
    # The slowest of the rules: rates of rates, one evaluation after the other.
    await scraper.until(lambda: scraper.number("pilotcommit:saved_rollouts:ratio") > -10)
    await scraper.until(lambda: bool(scraper.ask('pilotcommit:budget_left:seconds{limit="tokens"}')))
    at = time.time()
    await learner.train()
    return at
