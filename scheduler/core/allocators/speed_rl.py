"""SPEED-RL: a few screening rollouts, then the rest of the group for prompts of middling difficulty (arXiv 2506.09016).

Owns: the verdict on a prompt's screening rollouts, which are its pilots. Never remembers a prompt and never evicts one.
Invariant: a prompt is committed exactly if p_low < success rate of its pilots < p_high, both excluded (section 4, the
two phases of inference); its pilots are part of the trained group.

The paper screens with N_init = 4 and continues with N_cont = 20: pilots=4, commits=20. Its buffer of screened prompts
that wait for their second phase, filled by prefetching with it in one call to the server, is what the engine does for
every rule: survivors are committed as slots come free.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from scheduler.core.allocators.interface import Commit, Decision, More, Settle
from scheduler.core.allocators.rule import Rule
from scheduler.core.errors import InvalidInput
from scheduler.core.informativeness import Evidence
from scheduler.core.types import Rollout, Stage, Verdict


class ScreeningReason(StrEnum):
    """Why screening did not lead to a commit."""

    TOO_EASY = "too_easy"
    """The success rate of the pilots is not below `p_high`."""
    TOO_HARD = "too_hard"
    """It is not above `p_low`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedRl(Rule):
    """Commit the prompts whose pilots' success rate lies in (p_low, p_high).

    Raises InvalidInput for fewer than two pilots, which cannot disagree, no commits, or limits that are not
    0 <= p_low < p_high <= 1.
    """

    pilots: int
    """N_init: screening rollouts of every prompt."""
    commits: int
    """N_cont: rollouts of a prompt that passed, on top."""
    p_low: float = 0.0
    """Success rate that a prompt has to exceed."""
    p_high: float = 1.0
    """Success rate that a prompt has to stay below."""

    def __post_init__(self) -> None:
        for field, value, least in (("pilots", self.pilots, 2), ("commits", self.commits, 1)):
            if value < least:
                raise InvalidInput(f"speed_rl needs {field} >= {least}, not {value}", field=field)
        if not 0.0 <= self.p_low < self.p_high <= 1.0:
            raise InvalidInput(
                f"limits are success rates with 0 <= p_low < p_high <= 1, not p_low={self.p_low}, p_high={self.p_high}",
                field="parameters",
            )

    @property
    def name(self) -> str:
        """`speed_rl`."""
        return "speed_rl"

    @property
    def largest_group(self) -> int:
        """N_init + N_cont."""
        return self.pilots + self.commits

    def decide(self, evidence: Evidence, rollouts: Sequence[Rollout]) -> Decision:
        """Screen, then commit or settle; commits among the rollouts never change the verdict."""
        correct = [rollout.correct for rollout in rollouts if rollout.stage is Stage.PILOT]
        if len(correct) < self.pilots:
            return More(count=self.pilots - len(correct))
        success_rate = sum(correct) / len(correct)
        if success_rate >= self.p_high:
            return Settle(verdict=Verdict.SKIP, reason=ScreeningReason.TOO_EASY, revisit_after=0)
        if success_rate <= self.p_low:
            return Settle(verdict=Verdict.DEFER, reason=ScreeningReason.TOO_HARD, revisit_after=0)
        return Commit(count=max(0, self.largest_group - len(rollouts)))
