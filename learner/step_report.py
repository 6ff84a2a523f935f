"""What one training step did and how long each part took.

Owns: the report, its timer and the names under which its numbers are reported, plotted and scraped. Never computes a
loss. Invariant: every rate and mean is per trained token, and 0 where nothing was trained;
every number is finite, one that could not be measured absent.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields

from learner.loss import TokenSums


@dataclass(slots=True, kw_only=True)
class StepSeconds:
    """Where the time of a step went, in seconds."""

    pack: float = 0.0
    forward: float = 0.0
    backward: float = 0.0
    optimise: float = 0.0

    @contextmanager
    def measuring(self, part: str) -> Iterator[None]:
        """Add the time of the block to `part`."""
        started = time.perf_counter()
        yield
        setattr(self, part, getattr(self, part) + time.perf_counter() - started)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """What one step did."""

    num_updates: int
    """Optimiser updates made; 0 where no group was mixed, and the weights are then unchanged."""
    num_clipped_updates: int
    """Updates whose gradient was longer than `grad_clip`."""
    num_mixed_groups: int
    num_uniform_groups: int
    """Groups whose advantages are all zero."""
    num_rows: int
    """Rollouts trained on."""
    num_distinct_rows: int
    """Completions computed for them: a prompt's rollouts of equal tokens share one."""
    num_prompt_tokens: int
    """Prompt tokens computed with a gradient, each prompt once."""
    grad_norm: float
    """Mean norm before clipping, over the updates."""
    learning_rate: float
    """Of the last update."""
    loss: float
    """Mean over the updates."""
    sums: TokenSums
    """Over all trained tokens."""
    seconds: StepSeconds
    half_batch_cosine: float | None = None
    """Mean cosine between the gradients of an update's two halves, over the updates in which it could be measured."""

    @property
    def stats(self) -> dict[str, float]:
        """The numbers that are reported and plotted, by name; means are per trained token.

        A number that could not be measured is absent.
        """
        per_token = {
            f"{name}_{suffix}": getattr(self.sums, name) / max(self.sums.num_tokens, 1.0)
            for name, suffix in _TOKEN_MEANS.items()
        }
        cosine = {} if self.half_batch_cosine is None else {"half_batch_cosine": self.half_batch_cosine}
        seconds = {f"{part.name}_s": getattr(self.seconds, part.name) for part in fields(self.seconds)}
        return {
            "loss": self.loss,
            "grad_norm": self.grad_norm,
            "learning_rate": self.learning_rate,
            "num_updates": float(self.num_updates),
            "num_clipped_updates": float(self.num_clipped_updates),
            "num_mixed_groups": float(self.num_mixed_groups),
            "num_uniform_groups": float(self.num_uniform_groups),
            "num_rows": float(self.num_rows),
            "num_distinct_rows": float(self.num_distinct_rows),
            "num_tokens": self.sums.num_tokens,
            "num_prompt_tokens": float(self.num_prompt_tokens),
            **per_token,
            **cosine,
            **seconds,
        }


_TOKEN_MEANS: Mapping[str, str] = {
    "ratio": "mean",
    "clipped_high": "rate",
    "clipped_low": "rate",
    "clipped_dual": "rate",
    "capped": "rate",
    "mismatch": "mean",
    "kl": "mean",
}
