"""The committed settings of the benchmark, read from `settings.toml`.

Owns: their names, meaning and cross-checks. Invariant: an unknown name is an error, so that a typing mistake never runs
with a default.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from scheduler.core.errors import InvalidInput

PATH = Path(__file__).parent / "settings.toml"
BASELINE = "grpo"
"""The allocator that the targets come from and every other one is compared with."""


class RunSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all runs have in common."""

    pilots: int
    commits: int
    """Beyond the pilots; both together are a group of GRPO."""
    learning_rate: float
    max_staleness: int
    batches_ahead: int
    """Batches sampled beyond the one being trained."""
    max_new_tokens: int
    dtype: Literal["float32", "bfloat16"]
    """Of servers, of published weights and of the learner's products: the same on every machine."""
    num_servers: int
    """SGLang servers: on a CPU each computes on one core, beside the learner."""
    num_held_out: int
    """Held-out prompts that are measured on, the first of the pool's: on a CPU, all would take longer than a step."""


class Tuning(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The grid that GRPO is tuned over."""

    pool: str
    batch_sizes: tuple[int, ...]
    learning_rates: tuple[float, ...]
    budget_rollouts: int
    evaluate_every_rollouts: int
    """In whole groups of GRPO."""
    seeds: int


class Comparison(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Allocators on one pool."""

    pool: str
    budget_rollouts: int
    """A run ends before, once it is past the highest target."""
    budgets: Mapping[str, int] = {}
    """Of entries that differ, by name."""
    evaluate_every_steps: int
    """The same for every allocator: a curve is smoothed over neighbouring evaluations, and a step moves all alike."""
    batch_size: int
    """Groups of one step."""
    batch_sizes: Mapping[str, int] = {}
    """Of entries that differ, by name."""
    seeds: Mapping[str, int]
    """Seeds of every entry, by name: 0, 1 and so on."""
    baseline: str = ""
    """The comparison that GRPO's runs are taken from; empty where it has its own."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An allocator with parameters of its own."""

    rule: str
    """Its name in POST /v1/runs, or its import path."""
    pilots: int | None = None
    """None takes those of all runs."""
    commits: int | None = None
    parameters: Mapping[str, float | int | None] = {}


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    run: RunSettings
    tuning: Tuning
    comparisons: Mapping[str, Comparison]
    allocators: Mapping[str, Entry] = {}

    def entry(self, name: str) -> Entry:
        """The allocator under a name: the rule of that name with its defaults, unless the file says otherwise."""
        return self.allocators.get(name, Entry(rule=name))

    def comparison(self, name: str) -> Comparison:
        """A comparison; raises InvalidInput if there is none of that name."""
        try:
            return self.comparisons[name]
        except KeyError as exc:
            raise InvalidInput(f"no comparison {name!r}; there are {', '.join(self.comparisons)}") from exc


def load(path: Path = PATH) -> Settings:
    """The settings; raises InvalidInput with the place where the file is wrong."""
    try:
        settings = msgspec.convert(tomllib.loads(path.read_text()), Settings)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as exc:
        raise InvalidInput(f"{path.name}: {exc}") from exc
    for name, comparison in settings.comparisons.items():
        if comparison.baseline and comparison.baseline not in settings.comparisons:
            raise InvalidInput(
                f"{path.name}: comparison {name} has the baseline {comparison.baseline!r}, which is none"
            )
    return settings
