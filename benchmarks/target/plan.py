"""The plan: every run of a comparison, in the order in which they are made.

Owns: what a run is asked for, and which runs there are. Pure. Invariant: runs are interleaved by seed, so that whatever
is finished early compares all allocators.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.target.settings import BASELINE, Comparison, Entry, Settings
from scheduler.client import Json
from scheduler.core.errors import InvalidInput

TUNING = "tuning"
"""The comparison that GRPO's grid counts as."""
_TARGET = " {answer}\n"
_LEARNER_FORMATS = {"float32": "float32", "bfloat16": "bf16"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRun:
    """One run."""

    comparison: str
    name: str
    """The entry's."""
    seed: int
    """Fixes the order of prompts, and the learner."""
    pool: str
    rule: str
    pilots: int
    commits: int
    batch_size: int
    learning_rate: float
    max_staleness: int
    batches_ahead: int
    max_new_tokens: int
    budget_rollouts: int
    evaluate_every_steps: int
    num_held_out: int
    dtype: str
    """Of servers and learner."""
    parameters: Mapping[str, float | int | None] = field(default_factory=dict)
    half_batch_cosine: bool = True
    """Whether its learner measures it, which costs a copy of the gradients; off where seconds are compared."""

    @property
    def label(self) -> str:
        """What `--only` matches."""
        return f"{self.name}/{self.seed}"

    @property
    def held_out(self) -> str:
        """The pool it is measured on."""
        return f"{self.pool}-held-out"

    def path(self, results: Path) -> Path:
        """Where its record lies once it is finished."""
        return results / self.comparison / f"{self.name}-{self.seed}.jsonl"

    def learner_settings(self) -> dict[str, str]:
        """The settings of its learner."""
        return {
            "SEED": str(self.seed),
            "LEARNING_RATE": repr(self.learning_rate),
            "HALF_BATCH_COSINE": str(self.half_batch_cosine).lower(),
            "AUTOCAST": _LEARNER_FORMATS[self.dtype],
            "PUBLISH_FORMAT": _LEARNER_FORMATS[self.dtype],
            # A record is made of whole runs: nothing would be resumed from a checkpoint.
            "CHECKPOINT_EVERY": "100000",
            "KEEP_CHECKPOINTS": "1",
        }

    def request(self) -> Json:
        """The body of POST /v1/runs."""
        return {
            "pool": self.pool,
            "allocator": self.rule,
            "pilots": self.pilots,
            "commits": self.commits,
            "batch_size": self.batch_size,
            "max_staleness": self.max_staleness,
            "batches_ahead": self.batches_ahead,
            "sampling": {"max_new_tokens": self.max_new_tokens, "stop": ["\n"]},
            "budget": {"rollouts": self.budget_rollouts},
            "parameters": dict(self.parameters),
            "evaluation": {
                "pool": self.held_out,
                "every_steps": self.evaluate_every_steps,
                "measure": "likelihood",
                "target": _TARGET,
            },
            "seed": self.seed,
        }


def runs_of(settings: Settings, comparison: str) -> list[PlannedRun]:
    """Every run of a comparison or of the tuning; raises InvalidInput if there is none of that name."""
    if comparison == TUNING:
        return list(_tuning(settings))
    table = settings.comparison(comparison)
    return [
        _run(settings, comparison, table, name, seed)
        for seed in range(max(table.seeds.values(), default=0))
        for name, num_seeds in table.seeds.items()
        if seed < num_seeds
    ]


def matching(runs: list[PlannedRun], only: str | None) -> list[PlannedRun]:
    """The runs with one of the names or labels in `only`, in their order; raises InvalidInput for one that none has."""
    if only is None:
        return runs
    asked = [each.strip() for each in only.split(",")]
    for each in asked:
        if not any(each in (run.label, run.name) for run in runs):
            known = ", ".join(run.label for run in runs)
            raise InvalidInput(f"no run is called {each!r}; there are {known}", field="only")
    return [run for run in runs if run.label in asked or run.name in asked]


def missing(runs: list[PlannedRun], results: Path) -> list[PlannedRun]:
    """The runs that have no record: a finished one is never repeated."""
    return [run for run in runs if not run.path(results).exists()]


def _run(settings: Settings, comparison: str, table: Comparison, name: str, seed: int) -> PlannedRun:
    entry = settings.entry(name)
    return _planned(
        settings,
        entry,
        comparison=comparison,
        name=name,
        seed=seed,
        pool=table.pool,
        batch_size=table.batch_sizes.get(name, table.batch_size),
        learning_rate=settings.run.learning_rate,
        budget_rollouts=table.budgets.get(name, table.budget_rollouts),
        evaluate_every_steps=table.evaluate_every_steps,
    )


def _tuning(settings: Settings) -> Iterator[PlannedRun]:
    tuning, group = settings.tuning, settings.run.pilots + settings.run.commits
    for seed in range(tuning.seeds):
        for batch_size in tuning.batch_sizes:
            for learning_rate in tuning.learning_rates:
                yield _planned(
                    settings,
                    settings.entry(BASELINE),
                    comparison=TUNING,
                    name=f"{BASELINE}-b{batch_size}-lr{learning_rate:g}",
                    seed=seed,
                    pool=tuning.pool,
                    batch_size=batch_size,
                    learning_rate=learning_rate,
                    budget_rollouts=tuning.budget_rollouts,
                    evaluate_every_steps=max(1, round(tuning.evaluate_every_rollouts / (batch_size * group))),
                )


def _planned(
    settings: Settings,
    entry: Entry,
    *,
    comparison: str,
    name: str,
    seed: int,
    pool: str,
    batch_size: int,
    learning_rate: float,
    budget_rollouts: int,
    evaluate_every_steps: int,
) -> PlannedRun:
    run = settings.run
    pilots = run.pilots if entry.pilots is None else entry.pilots
    commits = run.commits if entry.commits is None else entry.commits
    return PlannedRun(
        comparison=comparison,
        name=name,
        seed=seed,
        pool=pool,
        rule=entry.rule,
        pilots=pilots,
        commits=commits,
        batch_size=batch_size,
        learning_rate=learning_rate,
        max_staleness=run.max_staleness,
        batches_ahead=run.batches_ahead,
        max_new_tokens=run.max_new_tokens,
        budget_rollouts=budget_rollouts,
        evaluate_every_steps=evaluate_every_steps,
        num_held_out=run.num_held_out,
        dtype=run.dtype,
        parameters=dict(entry.parameters),
    )
