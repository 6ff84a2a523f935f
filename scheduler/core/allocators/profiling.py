"""The rule of a profile: the same number of pilots for every prompt once, and never a commit.

Owns: what a run spends that only looks. Not among the rules that a run can name: `mode = "profile"` puts it in the
named rule's place, whose decisions are then foretold from what was seen (`scheduler.core.profile`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from scheduler.core.allocators.interface import Decision, More, Settle
from scheduler.core.allocators.rule import Rule
from scheduler.core.informativeness import Evidence
from scheduler.core.types import Rollout, Verdict

ALL_RIGHT, MIXED, ALL_WRONG = "all_right", "mixed", "all_wrong"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profiling(Rule):
    """So many pilots for each prompt, once."""

    pilots: int

    @property
    def name(self) -> str:
        """`profile`."""
        return "profile"

    @property
    def largest_group(self) -> int:
        """Its pilots."""
        return self.pilots

    def decide(self, evidence: Evidence, rollouts: Sequence[Rollout]) -> Decision:
        """The pilots that are missing; then the prompt is done with, whatever they said."""
        if len(rollouts) < self.pilots:
            return More(count=self.pilots - len(rollouts))
        correct = sum(rollout.correct for rollout in rollouts)
        reason = ALL_WRONG if not correct else ALL_RIGHT if correct == len(rollouts) else MIXED
        return Settle(verdict=Verdict.SKIP, reason=reason, revisit_after=None)
