"""Runs beside each other: what each spent, skipped and learnt, and what it needed to get as far as the others.

Owns: what is compared, and at which accuracy. Asks the scheduler and computes; never prints. Invariant: only
evaluations on the same pool by the same measure are held against each other.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from scheduler.cli.answers import Evaluation, Run, Weights, read
from scheduler.client import Client
from scheduler.core.comparison import Point, Spent, common_accuracy, reached
from scheduler.core.evaluation import EvaluationMeasure, EvaluationState

_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpus:
    """How GPU-hours are had from what was spent."""

    tokens_per_s: float | None = None
    """Generated tokens that a GPU makes in a second; with it GPU-hours are those of generating."""
    count: float | None = None
    """GPUs that a run holds; with it GPU-hours are those of its wall-clock."""

    def hours(self, spent: Spent) -> float | None:
        """GPU-hours of so much; None if nothing says how many."""
        if self.tokens_per_s is not None:
            return spent.tokens / self.tokens_per_s / _HOUR_S
        return None if self.count is None else self.count * spent.seconds / _HOUR_S


class ComparedRun(msgspec.Struct, frozen=True, kw_only=True):
    """One of the runs."""

    run_id: str
    allocator: str
    state: str
    steps: int
    spent: Spent
    skip_rate: float | None
    """Share of considered prompts that were not committed; None before the first."""
    points: tuple[Point, ...]
    """Its evaluations, by what had been spent."""
    at_accuracy: Spent | None
    """What it had spent when it reached the accuracy that runs are compared at; None if it never did."""
    gpu_hours: float | None
    """Until then."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Runs beside each other; the first is what the others are held against."""

    accuracy: float | None
    """What they are compared at; None if one of them has no evaluation like those of the first."""
    pool: str | None
    """Where it was measured."""
    measure: EvaluationMeasure | None
    runs: tuple[ComparedRun, ...]


def compare(client: Client, run_ids: Sequence[str], *, accuracy: float | None, gpus: Gpus) -> Comparison:
    """Compare runs at an accuracy, by default the highest that all have reached; raises NotFound for one of them."""
    runs = [read(client.run(run_id), Run) for run_id in run_ids]
    evaluations = [_evaluations(client, run_id) for run_id in run_ids]
    kind = next(((made.pool, made.measure) for made in evaluations[0]), None)
    curves = [
        _curve(client, run, [one for one in made if (one.pool, one.measure) == kind])
        for run, made in zip(runs, evaluations, strict=True)
    ]
    at = common_accuracy(curves) if accuracy is None else accuracy
    return Comparison(
        accuracy=at,
        pool=kind[0] if kind else None,
        measure=kind[1] if kind else None,
        runs=tuple(_compared(run, curve, at, gpus) for run, curve in zip(runs, curves, strict=True)),
    )


def _evaluations(client: Client, run_id: str) -> list[Evaluation]:
    made = (read(answer, Evaluation) for answer in client.evaluations(run_id))
    return [one for one in made if one.state == EvaluationState.DONE]


def _curve(client: Client, run: Run, evaluations: Sequence[Evaluation]) -> tuple[Point, ...]:
    if not evaluations:
        return ()
    weights = {record.version: record for record in (read(one, Weights) for one in client.all_weights(run.run_id))}
    points = [
        Point(spent=_spent_by(run, weights[one.version]), accuracy=one.accuracy)
        for one in evaluations
        if one.version is not None and one.accuracy is not None and one.version in weights
    ]
    return tuple(sorted(points, key=lambda point: point.spent.rollouts))


def _spent_by(run: Run, weights: Weights) -> Spent:
    began = run.started_at if run.started_at is not None else run.created_at
    seconds = max(0.0, weights.announced_at - began)
    return Spent(rollouts=weights.spent_rollouts, tokens=weights.spent_tokens, seconds=seconds)


def _compared(run: Run, points: tuple[Point, ...], accuracy: float | None, gpus: Gpus) -> ComparedRun:
    at = None if accuracy is None else reached(points, accuracy)
    return ComparedRun(
        run_id=run.run_id,
        allocator=run.allocator,
        state=run.state,
        steps=run.step,
        spent=Spent(rollouts=run.spend.rollouts, tokens=run.spend.tokens, seconds=run.worked_s(time.time()) or 0.0),
        skip_rate=run.skip_rate,
        points=points,
        at_accuracy=at,
        gpu_hours=None if at is None else gpus.hours(at),
    )
