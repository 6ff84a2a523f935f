"""Rules of whole groups: all n rollouts are sampled before anything is decided.

Owns: the size of such a group and the filter on it. Never settles for a part of a group. Invariant: a full group is
published if its rollouts disagree and dropped if they agree.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from scheduler.core.allocators.agreement import dropped, is_mixed
from scheduler.core.allocators.interface import Commit, Decision, More
from scheduler.core.allocators.rule import Rule
from scheduler.core.errors import InvalidInput
from scheduler.core.informativeness import Evidence
from scheduler.core.types import Rollout


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeGroup(Rule):
    """n = m + c rollouts of every prompt claimed. Raises InvalidInput for a group of fewer than two."""

    pilots: int
    """m: only its sum with `commits` counts."""
    commits: int
    """c."""

    def __post_init__(self) -> None:
        if self.largest_group < 2:
            raise InvalidInput(
                f"a group compares at least 2 rollouts with each other, not {self.largest_group}: "
                "raise pilots or commits",
                field="commits",
            )

    @property
    def largest_group(self) -> int:
        """n = m + c."""
        return self.pilots + self.commits

    def decide(self, evidence: Evidence, rollouts: Sequence[Rollout]) -> Decision:
        """Sample the whole group, then keep it if it is mixed."""
        if len(rollouts) < self.largest_group:
            return More(count=self.largest_group - len(rollouts))
        return Commit(count=0) if is_mixed(rollouts) else dropped(rollouts)
