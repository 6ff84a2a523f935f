"""Factories of the core's own values: each test names only what it is about."""

from scheduler.core.allocators.interface import Candidate, Demand, ReadyGroup
from scheduler.core.informativeness import Evidence
from scheduler.core.prior import Prior
from scheduler.core.run import RunConfig
from scheduler.core.types import Rollout, Sampling, Stage, Verdict
from tests.factories import make_rollout

CONFIG = RunConfig(
    pool="sums",
    allocator="pilot_commit",
    pilots=8,
    commits=8,
    batch_size=4,
    max_staleness=2,
    sampling=Sampling(max_new_tokens=10),
)
"""A run that tests change a field of."""


def make_evidence(*, verdicts: tuple[Verdict, ...] = ()) -> Evidence:
    """The row of a prompt whose visits ended with these verdicts, in order."""
    evidence = Evidence.fresh(Prior(), version=0)
    for verdict in verdicts:
        evidence = evidence.judged(verdict, "reason")
    return evidence


def make_candidate(prompt_id: str = "prompt", *, visits: int = 0) -> Candidate:
    """A claimable prompt that was visited so many times."""
    return Candidate(prompt_id=prompt_id, evidence=make_evidence(verdicts=(Verdict.SKIP,) * visits))


def make_demand(*, prompts: int = 8) -> Demand:
    """Demand for so many prompts."""
    return Demand(prompts=prompts, version=0, pass_rate=0.5, batch_size=8)


def make_ready_group(group_id: str = "group", *, oldest_version: int = 0, published_order: int = 0) -> ReadyGroup:
    """A finished group."""
    return ReadyGroup(
        group_id=group_id,
        oldest_version=oldest_version,
        success_rate=0.5,
        reward_std=0.5,
        num_rollouts=16,
        published_order=published_order,
    )


def make_rollouts(correct: int, count: int, stage: Stage = Stage.PILOT) -> tuple[Rollout, ...]:
    """`count` rollouts of which the first `correct` are right."""
    return tuple(make_rollout(reward=float(index < correct), stage=stage) for index in range(count))
