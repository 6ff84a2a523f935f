"""Small rules of known behaviour, and runs of them: each test names only what it is about."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from scheduler.core.allocators.catalogue import build_allocator
from scheduler.core.allocators.interface import (
    Allocator,
    Candidate,
    Commit,
    Decision,
    Demand,
    Experience,
    More,
    PassedOver,
    Ranking,
    ReadyGroup,
    Selection,
    Settle,
)
from scheduler.core.allocators.rule import Rule
from scheduler.core.informativeness import Evidence
from scheduler.core.types import Rollout, Verdict
from scheduler.simulator.account import Account
from scheduler.simulator.pool import SHAPES, PoolName
from scheduler.simulator.setting import Setting
from scheduler.simulator.simulation import simulate


@dataclass(frozen=True, slots=True, kw_only=True)
class Uniform(Rule):
    """Commits whole groups of this size."""

    size: int = 8

    @property
    def name(self) -> str:
        return "uniform"

    @property
    def largest_group(self) -> int:
        return self.size

    def decide(self, evidence: Evidence, rollouts: Sequence[Rollout]) -> Decision:
        return Commit(count=self.size - len(rollouts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Piloted(Uniform):
    """Commits everything after one pilot, in rounds of two batches: one survivor in two has to wait."""

    @property
    def round_batches(self) -> int | None:
        return 2

    def decide(self, evidence: Evidence, rollouts: Sequence[Rollout]) -> Decision:
        return Uniform.decide(self, evidence, rollouts) if rollouts else More(count=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wasteful(Piloted):
    """Samples whole groups before it decides, in rounds of two batches, and throws away what finds no slot."""

    @property
    def discards_surplus(self) -> bool:
        return True

    def decide(self, evidence: Evidence, rollouts: Sequence[Rollout]) -> Decision:
        return Commit(count=0) if rollouts else More(count=self.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choosy(Uniform):
    """Turns every second visit of a prompt down, for so many versions."""

    revisit_after: int | None = 0

    def decide(self, evidence: Evidence, rollouts: Sequence[Rollout]) -> Decision:
        if evidence.visits % 2 == 0:
            return Uniform.decide(self, evidence, rollouts)
        return Settle(verdict=Verdict.SKIP, reason="every_second", revisit_after=self.revisit_after)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusing(Uniform):
    """Turns every prompt down for good."""

    def decide(self, evidence: Evidence, rollouts: Sequence[Rollout]) -> Decision:
        return Settle(verdict=Verdict.EVICT, reason="never", revisit_after=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Distant(Uniform):
    """Passes every prompt over."""

    def rank(self, candidates: Sequence[Candidate], demand: Demand, rng: np.random.Generator) -> Ranking:
        passed = (PassedOver(prompt_id=each.prompt_id, verdict=Verdict.SKIP, reason="unseen") for each in candidates)
        return Ranking(claim=(), passed_over=tuple(passed))


@dataclass(frozen=True, slots=True, kw_only=True)
class Undecided(Uniform):
    """Selects nothing."""

    def select(self, ready: Sequence[ReadyGroup], held: Sequence[ReadyGroup], need: int) -> Selection:
        return Selection(batch=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Greedy(Uniform):
    """Asks for one rollout more than it says."""

    def decide(self, evidence: Evidence, rollouts: Sequence[Rollout]) -> Decision:
        return Commit(count=self.size + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lonely(Uniform):
    """Commits a single rollout."""

    def decide(self, evidence: Evidence, rollouts: Sequence[Rollout]) -> Decision:
        return Commit(count=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watching(Piloted):
    """Keeps what it is shown."""

    ranked: list[Candidate] = field(default_factory=list)
    demands: list[Demand] = field(default_factory=list)
    decided: list[Evidence] = field(default_factory=list)
    experience: list[Experience] = field(default_factory=list)

    def rank(self, candidates: Sequence[Candidate], demand: Demand, rng: np.random.Generator) -> Ranking:
        self.ranked.extend(candidates)
        self.demands.append(demand)
        return Uniform.rank(self, candidates, demand, rng)

    def decide(self, evidence: Evidence, rollouts: Sequence[Rollout]) -> Decision:
        self.decided.append(evidence)
        return Piloted.decide(self, evidence, rollouts)

    def adapted(self, experience: Experience) -> "Watching":
        self.experience.append(experience)
        return self


def released(name: str) -> Allocator:
    """A rule of the catalogue with the sizes of the table in docs/comparing.md: n = 64, m = 16, c = 48."""
    return build_allocator(name, pilots=16, commits=48, parameters={})


def run(
    allocator: Allocator,
    *,
    pool: PoolName = PoolName.BROAD,
    num_prompts: int = 40,
    steps: int = 6,
    batch_size: int = 4,
    largest_group: int = 64,
    max_wait: int = 4,
    seed: int = 0,
) -> Account:
    """One run on a small pool."""
    setting = Setting(steps=steps, batch_size=batch_size, largest_group=largest_group, max_wait=max_wait)
    drawn = SHAPES[pool].draw(num_prompts, np.random.default_rng([seed, 0]))
    return simulate(allocator, drawn, setting, seed=seed)
