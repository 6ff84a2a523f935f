"""Uniform GRPO: every prompt gets a whole group, seen or unseen (DeepSeekMath, arXiv 2402.03300).

Owns: the baseline that every other rule is measured against. Never pilots and never turns a prompt down: a group whose
rewards all agree is published like any other and teaches nothing, which is what the baseline costs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scheduler.core.allocators.interface import Candidate, Commit, Decision, Demand, Ranking, ReadyGroup, Selection
from scheduler.core.allocators.orders import fewest_visits_first, oldest_first
from scheduler.core.errors import InvalidInput
from scheduler.core.informativeness import Evidence
from scheduler.core.types import Rollout


@dataclass(frozen=True, slots=True, kw_only=True)
class Grpo:
    """The same number of rollouts for every prompt. Raises InvalidInput for a group of fewer than two."""

    group_size: int
    """Rollouts of every group."""

    def __post_init__(self) -> None:
        if self.group_size < 2:
            raise InvalidInput(
                f"a group compares at least 2 rollouts with each other, not {self.group_size}: raise pilots or commits",
                field="commits",
            )

    @property
    def name(self) -> str:
        """`grpo`."""
        return "grpo"

    @property
    def pilot_size(self) -> int:
        """No pilots."""
        return 0

    @property
    def largest_group(self) -> int:
        """Every group has this size."""
        return self.group_size

    def rank(self, candidates: Sequence[Candidate], demand: Demand, rng: np.random.Generator) -> Ranking:
        """Every prompt once an epoch, in random order."""
        return Ranking(claim=fewest_visits_first(candidates, demand.prompts, rng))

    def decide(self, evidence: Evidence, rollouts: Sequence[Rollout]) -> Decision:
        """Commit what the group still lacks."""
        return Commit(count=max(0, self.group_size - len(rollouts)))

    def select(self, ready: Sequence[ReadyGroup], held: Sequence[ReadyGroup], need: int) -> Selection:
        """Oldest version first; nothing is discarded."""
        return oldest_first(ready, held, need)

    def epoch(self, number: int) -> "Grpo":
        """Does not count epochs."""
        return self
