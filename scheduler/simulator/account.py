"""What a simulated run has bought and where its rollouts went.

Owns: the counters of one run and what they come to. Never decides anything. Invariant: every rollout generated has
exactly one outcome once the run has ended, so that trained + other outcomes = generated.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from scheduler.core.ledger import Outcome
from scheduler.core.spend import NOT_COMMITTED
from scheduler.core.types import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Milestone:
    """Where a run stood after a training step."""

    step: int
    """0: before the first."""
    rollouts: int
    """Generated so far, whatever became of them."""
    success_rate: float
    """The pool's true mean success rate."""


@dataclass(slots=True, kw_only=True)
class Account:
    """The counters of one simulated run."""

    signal: float = 0.0
    """Sum over trained rollouts of p(1 - p), with the true p when the group was trained."""
    generated: int = 0
    """Rollouts sampled: pilots and commits, whatever became of them."""
    tokens: int = 0
    """Tokens they have."""
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    """Rollouts by outcome."""
    times_trained: Counter[int] = field(default_factory=Counter)
    """Groups trained, by prompt: few prompts trained often are less than the same signal from many."""
    mixed_groups: int = 0
    """Trained groups with at least one right and one wrong rollout."""
    considered: int = 0
    """Prompts claimed or passed over."""
    verdicts: Counter[Verdict] = field(default_factory=Counter)
    """Visits, and prompts passed over, by verdict."""
    epochs: int = 1
    milestones: list[Milestone] = field(default_factory=list)

    def trained(self, prompt: int, rollouts: int, variance: float, *, is_mixed: bool) -> None:
        """A group of so many rollouts of a prompt was trained, at this p(1 - p)."""
        self.times_trained[prompt] += 1
        self.signal += rollouts * variance
        self.outcomes[Outcome.TRAINED] += rollouts
        self.mixed_groups += is_mixed

    def reached(self, step: int, success_rate: float) -> None:
        """A training step is done; step 0 is the start."""
        self.milestones.append(Milestone(step=step, rollouts=self.generated, success_rate=success_rate))

    @property
    def trained_groups(self) -> int:
        """Groups trained."""
        return self.times_trained.total()

    @property
    def efficiency(self) -> float:
        """Signal per generated rollout, in [0, 1/4]."""
        return self.signal / self.generated if self.generated else 0.0

    @property
    def efficiency_of_tokens(self) -> float:
        """Signal per generated token."""
        return self.signal / self.tokens if self.tokens else 0.0

    @property
    def rollouts_per_mixed_group(self) -> float | None:
        """What a group that teaches something costs; None without one."""
        return self.generated / self.mixed_groups if self.mixed_groups else None

    @property
    def skip_rates(self) -> Mapping[Verdict, float]:
        """By verdict, prompts considered and not committed ÷ prompts considered."""
        return {verdict: self.verdicts[verdict] / max(1, self.considered) for verdict in NOT_COMMITTED}

    def rollouts_to(self, success_rate: float) -> int | None:
        """Rollouts generated until the pool's mean success rate was first this high; None if it never was."""
        return next((point.rollouts for point in self.milestones if point.success_rate >= success_rate), None)
