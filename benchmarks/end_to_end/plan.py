"""The runs of the comparison with TRL, in the order in which they are made.

Owns: which runs of `make bench-target` are made again, and what TRL is asked for. Pure but for the pool's file.
Invariants: TRL is asked for what our GRPO is asked for; seeds are interleaved, so that whatever is finished early
compares all sides.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from benchmarks.target import pools
from benchmarks.target.plan import PlannedRun, runs_of
from benchmarks.target.settings import BASELINE, Settings
from learner.settings import Settings as LearnerSettings

COMPARISON = "end_to_end"
OF = "equal_mixed"
"""The comparison whose settings are taken."""
OURS = (BASELINE, "adaptive")
"""GRPO, so that only the system differs, and what we recommend."""
TRL = "trl"
GENERATORS = ("generate", "continuous")
"""Those of TRL that need no GPU: transformers' generate on the whole batch, and its continuous batching."""
_MICRO = 16
"""Rows of one of TRL's micro-batches: of 64 rows of this pool, 4 and 16 at a time take as long, 64 half again."""


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A held-out prompt: what is measured is the probability of the target after the text."""

    text: str
    target: str


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt to train on."""

    text: str
    answer: str


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What `trl_peer.py` is told, as JSON."""

    model: str
    folder: str
    """For whatever TRL writes."""
    lines: str
    """The file that it writes its lines to."""
    generator: str
    seed: int
    groups: int
    """Of one step."""
    group_size: int
    micro: int
    max_new_tokens: int
    stop: str
    learning_rate: float
    weight_decay: float
    grad_clip: float
    clip_low: float
    clip_high: float
    dual_clip: float
    budget_rollouts: int
    """None are sampled beyond; 0 only times the generator on one step's prompts."""
    evaluate_every: int
    """In steps."""
    enough: float | None
    """Three evaluations in a row over it end the run."""
    minutes: float
    """So many of training end it too."""
    prompts: tuple[Question, ...]
    held_out: tuple[Task, ...]


def runs(settings: Settings, num_seeds: int) -> list[PlannedRun]:
    """Ours and TRL's of each seed, ours first: they take minutes."""
    of = {(run.name, run.seed): run for run in runs_of(settings, OF)}
    return [
        replace(of[BASELINE if name == TRL else name, seed], comparison=COMPARISON, name=name, half_batch_cosine=False)
        for seed in range(num_seeds)
        for name in (*OURS, TRL)
    ]


def quick(planned: Sequence[PlannedRun], num_steps: int) -> list[PlannedRun]:
    """The same with a few small steps."""
    return [
        replace(
            run,
            batch_size=2,
            budget_rollouts=num_steps * 2 * (run.pilots + run.commits),
            evaluate_every_steps=1,
            num_held_out=16,
        )
        for run in planned
    ]


def job_of(run: PlannedRun, model: Path, folder: Path, *, generator: str, enough: float | None, minutes: float) -> Job:
    """What TRL is asked for, given the run of ours that it is like: at most `minutes` of training."""
    split, learner = pools.load(run.pool), LearnerSettings.model_fields
    evaluation, sampling = run.request()["evaluation"], run.request()["sampling"]
    assert isinstance(evaluation, dict)
    assert isinstance(sampling, dict)
    return Job(
        model=str(model),
        folder=str(folder / "trl"),
        lines=str(folder / "lines.jsonl"),
        generator=generator,
        seed=run.seed,
        groups=run.batch_size,
        group_size=run.pilots + run.commits,
        micro=_MICRO,
        max_new_tokens=run.max_new_tokens,
        stop=sampling["stop"][0],
        learning_rate=run.learning_rate,
        weight_decay=learner["weight_decay"].default,
        grad_clip=learner["grad_clip"].default,
        clip_low=learner["clip_low"].default,
        clip_high=learner["clip_high"].default,
        dual_clip=learner["dual_clip"].default,
        budget_rollouts=run.budget_rollouts,
        evaluate_every=run.evaluate_every_steps,
        enough=enough,
        minutes=minutes,
        prompts=tuple(Question(text=prompt.text, answer=prompt.answer) for prompt in split.prompts),
        held_out=tuple(
            Task(text=prompt.text, target=evaluation["target"].format(answer=prompt.answer))
            for prompt in split.held_out[: run.num_held_out]
        ),
    )
