"""Runs, prompts and answers: each test names only what it is about."""

import random
from collections.abc import Sequence

from inference.fake import Answer, Ask
from scheduler.core.budget import Budget
from scheduler.core.labels import ANY, Labels
from scheduler.core.run import EvaluationPlan, RunConfig
from scheduler.core.types import Judgement, Prompt, Sampling
from scheduler.engine.assembly import EngineSettings
from scheduler.engine.delivery import DeliverySettings
from scheduler.rewards.pool import Answer as RewardAnswer
from scheduler.rewards.pool import RewardPool
from scheduler.rewards.spec import RewardJob, RewardSpec
from scheduler.state.groups import GroupEntry, GroupStatus
from tests.scheduler.state.stores import MAX_NEW_TOKENS

VOCAB_SIZE = 512
CONTEXT_LENGTH = 256
ALWAYS, NEVER, SOMETIMES = 100, 0, 50
"""Success rates, in percent."""
ON_DEMAND: dict[str, float | int | None] = {"rounds": None, "defer_for": 8, "evict_for": 32}
"""Pilot-Commit without rounds, and with every prompt coming back."""


def make_settings(
    *,
    stall_s: float = 60.0,
    end_grace_s: float = 5.0,
    pilot_cap: int = 64,
    heartbeat_s: float = 0.05,
    patience_s: float = 0.2,
) -> EngineSettings:
    """Every interval as short as can be."""
    return EngineSettings(
        tend_s=0.02,
        pilot_cap=pilot_cap,
        retry_s=0.001,
        push_retry_s=0.01,
        recall_s=0.1,
        stall_s=stall_s,
        end_grace_s=end_grace_s,
        delivery=DeliverySettings(heartbeat_s=heartbeat_s, patience_s=patience_s),
    )


def make_config(
    *,
    pool: str = "sums",
    allocator: str = "pilot_commit",
    pilots: int = 4,
    commits: int = 4,
    batch_size: int = 4,
    max_staleness: int = 1,
    batches_ahead: int | None = None,
    max_steps: int | None = None,
    budget: Budget | None = None,
    partial_batches: bool = False,
    evaluation: EvaluationPlan | None = None,
    attempt_timeout_s: float = 30.0,
    max_attempts: int = 3,
    parameters: dict[str, float | int | None] | None = None,
    seed: int = 0,
    servers: Labels = ANY,
) -> RunConfig:
    """A small run whose rollouts have at most `MAX_NEW_TOKENS` tokens."""
    return RunConfig(
        pool=pool,
        allocator=allocator,
        pilots=pilots,
        commits=commits,
        batch_size=batch_size,
        max_staleness=max_staleness,
        batches_ahead=batches_ahead,
        max_steps=max_steps,
        budget=budget or Budget(),
        partial_batches=partial_batches,
        evaluation=evaluation,
        attempt_timeout_s=attempt_timeout_s,
        max_attempts=max_attempts,
        parameters=ON_DEMAND if parameters is None and allocator == "pilot_commit" else parameters or {},
        seed=seed,
        servers=servers,
        sampling=Sampling(max_new_tokens=MAX_NEW_TOKENS),
    )


def make_prompts(rates: Sequence[int], *, prefix: str = "q") -> list[Prompt]:
    """One prompt per success rate in percent: `Coin` reads it off the last token."""
    return [
        Prompt(prompt_id=f"{prefix}{index}", input_ids=(1, 2, rate), text="?", answer="yes")
        for index, rate in enumerate(rates)
    ]


class Coin:
    """Right as often as the prompt's last token says, in percent; a function of the prompt and its sampling seed."""

    def __init__(self, *, longest: int = 2) -> None:
        self._longest = longest

    def answer(self, ask: Ask) -> Answer:
        """One or more tokens; a longer answer takes a held server more steps."""
        rng = random.Random(repr((ask.seed, ask.input_ids)))
        right, length = rng.random() < ask.input_ids[-1] / 100, rng.randint(1, self._longest)
        ids = tuple(range(5, 5 + length))
        return Answer(token_ids=ids, logprobs=(-0.5,) * length, text=" yes" if right else " no")

    def score(self, input_ids: Sequence[int], weights: str) -> tuple[float, ...]:
        """Less likely the higher a token's id is, whatever precedes it."""
        return tuple(-token / 100 for token in input_ids[1:])


class InstantRewards(RewardPool):
    """Judges by equality, at once and in this process: a reward that needs no worker."""

    def __init__(self) -> None:
        super().__init__(1)

    async def judge(self, spec: RewardSpec, jobs: Sequence[RewardJob]) -> list[RewardAnswer]:
        right = [job.text.strip() == job.answer for job in jobs]
        return [Judgement(reward=float(correct), correct=correct) for correct in right]


def make_entry(
    group_id: str = "group",
    *,
    oldest_version: int = 1,
    status: GroupStatus = GroupStatus.PUBLISHED,
    step: int | None = None,
    order: int = 1,
) -> GroupEntry:
    """An open group without its payload."""
    return GroupEntry(
        group_id=group_id,
        prompt_id=f"prompt-of-{group_id}",
        order=order,
        oldest_version=oldest_version,
        success_rate=0.5,
        reward_std=0.5,
        counts={},
        status=status,
        step=step,
    )
