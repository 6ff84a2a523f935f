"""What the demo can be told."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """Everything `pilotcommit demo` takes."""

    json: bool = False
    """Print one JSON object at the end and nothing else on stdout."""
    allocator: str = "adaptive"
    """The rule that spends; grpo is the uniform baseline."""
    budget_rollouts: int | None = None
    """Pilot and commit rollouts; None takes the default, which fits ten minutes on two cores."""
    max_steps: int | None = None
    """Training steps; None leaves it to the budget."""
    seed: int = 0
    """Of the pool, the order of prompts and the learner."""
    out: Path = Path("demo-output")
    """Where the picture and the report go."""
    model: Path | None = None
    """Folder of another model; None takes SmolLM2-135M-Instruct from the cache."""
    keep: bool = False
    """Keep weights, checkpoints and durable state instead of removing them at the end."""
