"""What the API answers about how hard a pool is.

Owns: the response models of a profile, and how they are filled. Never computes.
"""

from typing import Self

from scheduler.api.response import Response
from scheduler.core.profile import Profile as PoolProfile


class PassRateBar(Response):
    """Prompts with the same number of right pilots."""

    correct: int
    pass_rate: float
    """Right pilots ÷ pilots."""
    prompts: int
    decision: str
    """What the allocator decides of such a prompt: commit, skip, defer, evict, or more where it wants more pilots."""


class Profile(Response):
    """A pool as its pilots showed it."""

    pilots: int
    """Of each prompt."""
    prompts: int
    """Whose pilots all came back: shares are of these."""
    unfinished: int
    """Prompts of which some pilots gave no rollout."""
    bars: list[PassRateBar]
    """A histogram of pass rates, from none right to all right."""
    mean_pass_rate: float | None
    """None before the first prompt, as what follows."""
    all_wrong_rate: float | None
    """Share of prompts without a right pilot."""
    mixed_rate: float | None
    """Share of prompts with right and wrong ones: those that a group would teach something of."""
    all_right_rate: float | None
    decisions: dict[str, int]
    """Prompts by what the allocator decides on these pilots, before it has adapted to anything."""
    skip_rate: float | None
    """Estimated: prompts that it would not commit ÷ those that it would decide on these pilots."""
    rollouts: int
    """Pilots spent."""
    tokens: int
    """Generated tokens of them."""
    tokens_per_prompt: float | None
    tokens_per_rollout: float | None

    @classmethod
    def of(cls, found: PoolProfile) -> Self:
        """The profile as the core computes it."""
        return cls(
            pilots=found.pilots,
            prompts=found.num_prompts,
            unfinished=found.num_unfinished,
            bars=[
                PassRateBar(correct=bar.correct, pass_rate=bar.pass_rate, prompts=bar.prompts, decision=bar.decision)
                for bar in found.bars
            ],
            mean_pass_rate=found.mean_pass_rate,
            all_wrong_rate=found.all_wrong_rate,
            mixed_rate=found.mixed_rate,
            all_right_rate=found.all_right_rate,
            decisions=dict(found.decisions),
            skip_rate=found.skip_rate,
            rollouts=found.num_rollouts,
            tokens=found.num_tokens,
            tokens_per_prompt=found.tokens_per_prompt,
            tokens_per_rollout=found.tokens_per_rollout,
        )
