"""Uniform GRPO: every prompt gets a whole group, seen or unseen (DeepSeekMath, arXiv 2402.03300).

Owns: the baseline that every other rule is measured against. Never pilots and never turns a prompt down: a group whose
rewards all agree is published like any other and teaches nothing, which is what the baseline costs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from scheduler.core.allocators.interface import Commit, Decision
from scheduler.core.allocators.rule import Rule
from scheduler.core.errors import InvalidInput
from scheduler.core.informativeness import Evidence
from scheduler.core.types import Rollout


@dataclass(frozen=True, slots=True, kw_only=True)
class Grpo(Rule):
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
    def largest_group(self) -> int:
        """Every group has this size."""
        return self.group_size

    def decide(self, evidence: Evidence, rollouts: Sequence[Rollout]) -> Decision:
        """Commit what the group still lacks."""
        return Commit(count=max(0, self.group_size - len(rollouts)))
