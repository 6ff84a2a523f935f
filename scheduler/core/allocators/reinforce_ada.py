"""Reinforce-Ada: sample a prompt in rounds until it has shown enough of both outcomes (arXiv 2510.04996).

Owns: when a prompt has been sampled enough. Never passes a prompt over and never gives a hard one up before its cap.
Invariant: a visit asks for whole rounds up to the cap, and stops at the first round at which the exit condition holds.

This is Reinforce-Ada-Seq (section 3.2, algorithm 2): rounds of M rollouts until K_pos are right and K_neg wrong, or N
rounds are over. M is the run's pilots and the cap N x M its pilots and commits together. The balanced variant asks for
half a round of each; `negatives=0` is the positive-focused one, which asks only for right answers.

Differences from the paper: it cuts what it sampled down to a fixed group, half right and half wrong where it can, with
the mean of all rollouts as their baseline. Here all rollouts of the visit are trained together, so the baseline is that
mean without more ado, and a group has the size that its prompt needed. A prompt whose rollouts still all agree at the
end is settled, where the paper trains it at zero advantage.
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
class ReinforceAda(Rule):
    """Sample in rounds until `positives` are right and `negatives` wrong, or the cap is reached.

    Raises InvalidInput for rounds of no rollout, a cap below two, negative counts, or counts that the cap cannot hold.
    """

    pilots: int
    """M: rollouts of a round."""
    commits: int
    """Rollouts that further rounds may add to the first."""
    positives: int | None = None
    """K_pos: right rollouts that are enough; null: half a round, at least one."""
    negatives: int | None = None
    """K_neg: wrong rollouts that are enough; null: half a round, at least one; 0: the positive-focused variant."""

    def __post_init__(self) -> None:
        for field, value, least in (
            ("pilots", self.pilots, 1),
            ("commits", self.commits, 0),
            ("commits", self.largest_group, 2),
            ("parameters.positives", self._enough(self.positives), 0),
            ("parameters.negatives", self._enough(self.negatives), 0),
        ):
            if value < least:
                raise InvalidInput(f"reinforce_ada needs {least} or more, not {value}", field=field)
        if self._enough(self.positives) + self._enough(self.negatives) > self.largest_group:
            raise InvalidInput(
                f"{self._enough(self.positives)} right and {self._enough(self.negatives)} wrong rollouts are more than "
                f"the {self.largest_group} of a visit",
                field="parameters",
            )

    @property
    def name(self) -> str:
        """`reinforce_ada`."""
        return "reinforce_ada"

    @property
    def largest_group(self) -> int:
        """N x M: the cap."""
        return self.pilots + self.commits

    def _enough(self, count: int | None) -> int:
        return max(1, self.pilots // 2) if count is None else count

    def decide(self, evidence: Evidence, rollouts: Sequence[Rollout]) -> Decision:
        """Another round until there is enough of both; then the group, if its rollouts differ at all."""
        if len(rollouts) < self.largest_group and not self._is_resolved(rollouts):
            return More(count=self._lacking(len(rollouts)))
        return Commit(count=0) if is_mixed(rollouts) else dropped(rollouts)

    def _is_resolved(self, rollouts: Sequence[Rollout]) -> bool:
        """The exit condition; a round that is not complete is not looked at."""
        if not rollouts or len(rollouts) % self.pilots:
            return False
        right = sum(rollout.correct for rollout in rollouts)
        return right >= self._enough(self.positives) and len(rollouts) - right >= self._enough(self.negatives)

    def _lacking(self, have: int) -> int:
        """Rollouts to the end of the round, which the cap may cut short."""
        return min(self.pilots - have % self.pilots, self.largest_group - have)
