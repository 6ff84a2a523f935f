"""Pilot-Commit as released: a few pilots decide whether a prompt gets a whole group (arXiv 2605.26606).

Owns: the verdict on a prompt's pilots. Never looks at what earlier visits showed, except to lengthen the interval after
repeated evictions, and never at the shaped reward: verdicts are about correctness.

Invariant: the four verdicts are exclusive and total, for any thresholds that can be built.

The defaults are the authors' release: every batch begins with a round of three batches of fresh prompts, survivors that
find no slot wait, a prompt too easy or too hard returns in the next epoch, a solved one never does. Two parameters are
ours: `rounds=None` asks for pilots on demand, at the measured pass rate, instead of in rounds; `evict_for` brings a
solved prompt back after a long and growing interval, because only about 81 % of the prompts solved in one epoch are
still solved in the next.

Differences from the release, whatever the parameters: thresholds are stated as success rates; an evicted prompt is not
counted as skipped as well; a survivor is committed as soon as a slot is free, oldest first, and not in the next round
by the highest standard deviation of its pilots; it expires by the run's staleness, not after 4 steps or at the end of
an epoch; a visit under way when its epoch ends goes on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from scheduler.core.allocators.interface import Commit, Decision, More, Settle
from scheduler.core.allocators.rule import Rule
from scheduler.core.errors import InvalidInput
from scheduler.core.informativeness import Evidence
from scheduler.core.types import Rollout, Stage, Verdict

_MOST_DOUBLINGS = 6
"""An eviction interval grows at most 64-fold: the floor rate at which solved prompts are looked at again."""


class PilotReason(StrEnum):
    """Why pilots did not lead to a commit."""

    SOLVED = "solved"
    """The success rate of the pilots reached `p_solve`."""
    TOO_EASY = "too_easy"
    """It lies above `p_upper`."""
    TOO_HARD = "too_hard"
    """It lies below `p_lower`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PilotCommit(Rule):
    """Commit exactly the prompts whose pilots' success rate lies in [p_lower, p_upper].

    A trained group is the union of its pilots and commits. Raises InvalidInput for sizes below 1, thresholds that are
    not 0 <= p_lower <= p_upper <= p_solve <= 1, rounds below 1 or negative intervals.
    """

    pilots: int
    """m: rollouts that settle the verdict."""
    commits: int
    """c: rollouts that a committed prompt gets on top."""
    rounds: int | None = 3
    """Prompts piloted together at the start of every batch, in batches; None: on demand."""
    p_solve: float = 1.0
    """Success rate of the pilots from which a prompt counts as solved: EVICT."""
    p_upper: float = 0.75
    """Success rate above which a prompt is too easy now: SKIP."""
    p_lower: float = 0.125
    """Success rate below which a prompt is too hard now: DEFER."""
    defer_for: int = 0
    """Weight versions until a deferred prompt returns; 0: with the next epoch, in normal order."""
    evict_for: int | None = None
    """Weight versions until an evicted prompt returns, doubled for each eviction in a row before; None: never."""

    def __post_init__(self) -> None:
        for field, value in (("pilots", self.pilots), ("commits", self.commits)):
            if value < 1:
                raise InvalidInput(f"pilot_commit needs {field} >= 1, not {value}", field=field)
        if not 0.0 <= self.p_lower <= self.p_upper <= self.p_solve <= 1.0:
            raise InvalidInput(
                "thresholds are success rates with 0 <= p_lower <= p_upper <= p_solve <= 1, not "
                f"p_lower={self.p_lower}, p_upper={self.p_upper}, p_solve={self.p_solve}",
                field="parameters",
            )
        if self.rounds is not None and self.rounds < 1:
            raise InvalidInput(
                f"a round has 1 or more batches, or is null for pilots on demand, not {self.rounds}",
                field="parameters.rounds",
            )
        if self.defer_for < 0:
            raise InvalidInput(f"defer_for is 0 or more versions, not {self.defer_for}", field="parameters.defer_for")
        if self.evict_for is not None and self.evict_for < 0:
            raise InvalidInput(
                f"evict_for is 0 or more versions, or null for never, not {self.evict_for}",
                field="parameters.evict_for",
            )

    @property
    def name(self) -> str:
        """`pilot_commit`."""
        return "pilot_commit"

    @property
    def largest_group(self) -> int:
        """n = m + c."""
        return self.pilots + self.commits

    @property
    def round_batches(self) -> int | None:
        """`rounds`."""
        return self.rounds

    def verdict(self, success_rate: float) -> Verdict:
        """The verdict on a success rate of the pilots, in [0, 1]."""
        if success_rate >= self.p_solve:
            return Verdict.EVICT
        if success_rate > self.p_upper:
            return Verdict.SKIP
        if success_rate < self.p_lower:
            return Verdict.DEFER
        return Verdict.COMMIT

    def decide(self, evidence: Evidence, rollouts: Sequence[Rollout]) -> Decision:
        """Pilots until there are m, then their verdict; commits among the rollouts never change it."""
        correct = [rollout.correct for rollout in rollouts if rollout.stage is Stage.PILOT]
        if len(correct) < self.pilots:
            return More(count=self.pilots - len(correct))
        verdict = self.verdict(sum(correct) / len(correct))
        if verdict is Verdict.COMMIT:
            return Commit(count=max(0, self.largest_group - len(rollouts)))
        if verdict is Verdict.SKIP:
            return Settle(verdict=verdict, reason=PilotReason.TOO_EASY, revisit_after=0)
        if verdict is Verdict.DEFER:
            return Settle(verdict=verdict, reason=PilotReason.TOO_HARD, revisit_after=self.defer_for)
        return Settle(verdict=verdict, reason=PilotReason.SOLVED, revisit_after=self._evicted_for(evidence))

    def _evicted_for(self, evidence: Evidence) -> int | None:
        if self.evict_for is None:
            return None
        evictions = evidence.streak if evidence.last_verdict is Verdict.EVICT else 0
        return self.evict_for << min(evictions, _MOST_DOUBLINGS)
