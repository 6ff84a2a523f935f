"""What is observed of a run while it goes, and the record that comes of it.

Owns: the API's answers as far as the benchmark reads them, the time that evaluations and sampling take, and when a run
has seen enough. Pure. Invariant: rollouts and tokens are the scheduler's own counts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import msgspec
import numpy as np

from benchmarks.target.record import End, Evaluation, Header, Record, Version, annotate
from scheduler.client import Json

ENOUGH_IN_A_ROW = 3
"""Evaluations over the highest target after which a run need not go on."""


class WeightsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A weight version as the API answers it."""

    version: int
    step: int
    announced_at: float
    spent_rollouts: int
    spent_tokens: int
    stats: dict[str, float]
    push_s: float | None = None


class EvaluationAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An evaluation as the API answers it."""

    state: str
    step: int
    version: int | None
    accuracy: float | None
    created_at: float


class RunAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A run as the API answers it."""

    state: str
    reason: str
    started_at: float | None
    ended_at: float | None
    considered: int
    skip_rates: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The state of evaluation and sampling when it was asked for."""

    at: float
    """Seconds since 1970."""
    evaluated: int
    """Evaluation attempts made so far."""
    evaluating: bool
    """Whether some were in flight."""
    sampled: int = 0
    """Pilots and commits asked for so far."""
    sampling: bool = False
    """Whether some were in flight."""
    scheduler_cpu_s: float = 0.0
    """What the scheduler had computed so far, with its Redis and its rewards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """Everything known of a run at its end."""

    run: RunAnswer
    weights: tuple[WeightsAnswer, ...]
    evaluations: tuple[EvaluationAnswer, ...]
    ledger: Json
    moments: tuple[Moment, ...]
    restarts: Mapping[str, int]

    @classmethod
    def read(
        cls,
        run: Json,
        weights: Sequence[Json],
        evaluations: Sequence[Json],
        ledger: Json,
        *,
        moments: Sequence[Moment],
        restarts: Mapping[str, int],
    ) -> "Observed":
        """The API's answers; raises msgspec.ValidationError if one is not what it should be."""
        return cls(
            run=msgspec.convert(run, RunAnswer),
            weights=tuple(msgspec.convert(answer, WeightsAnswer) for answer in weights),
            evaluations=tuple(msgspec.convert(answer, EvaluationAnswer) for answer in evaluations),
            ledger=ledger,
            moments=tuple(moments),
            restarts=restarts,
        )


def moment(ledger: Json, at: float, scheduler_cpu_s: float = 0.0) -> Moment:
    """What the ledger says of evaluation and of sampling."""
    stages = msgspec.convert(ledger["stages"], dict[str, _StageAnswer])
    evaluation = stages.pop("eval", _StageAnswer())
    return Moment(
        at=at,
        evaluated=evaluation.attempts,
        evaluating=any(evaluation.open.values()),
        sampled=sum(stage.attempts for stage in stages.values()),
        sampling=any(stage.open.get("in_flight", 0) for stage in stages.values()),
        scheduler_cpu_s=scheduler_cpu_s,
    )


class _StageAnswer(msgspec.Struct, frozen=True, kw_only=True):
    attempts: int = 0
    open: dict[str, int] = {}


def evaluation_seconds(moments: Sequence[Moment], since: float, until: float) -> float:
    """How long evaluation was under way between two times: where attempts were in flight, or were made."""

    def evaluating(earlier: Moment, later: Moment) -> bool:
        return earlier.evaluating or later.evaluated > earlier.evaluated

    return _seconds_of(evaluating, moments, since, until)


def sampling_seconds(moments: Sequence[Moment], since: float, until: float) -> float:
    """How long pilots or commits were under way between two times, likewise."""

    def sampling(earlier: Moment, later: Moment) -> bool:
        return earlier.sampling or later.sampled > earlier.sampled

    return _seconds_of(sampling, moments, since, until)


def _seconds_of(busy: Callable[[Moment, Moment], bool], moments: Sequence[Moment], since: float, until: float) -> float:
    return sum(
        max(0.0, min(later.at, until) - max(earlier.at, since))
        for earlier, later in pairwise(moments)
        if busy(earlier, later)
    )


def _cpu_seconds(moments: Sequence[Moment], since: float, until: float) -> float:
    """What the scheduler computed between two times, evenly between two looks."""
    if not moments:
        return 0.0
    times, spent = [each.at for each in moments], [each.scheduler_cpu_s for each in moments]
    return float(np.interp(until, times, spent) - np.interp(since, times, spent))


def has_seen_enough(accuracies: Sequence[float], target: float | None) -> bool:
    """Whether the last evaluations were all over the target."""
    last = accuracies[-ENOUGH_IN_A_ROW:]
    return target is not None and len(last) == ENOUGH_IN_A_ROW and min(last) > target


def done(evaluations: Sequence[EvaluationAnswer]) -> list[EvaluationAnswer]:
    """Those that are finished, in order of their versions, one of each: a last step may be measured twice."""
    finished = {
        answer.version: answer
        for answer in sorted(evaluations, key=lambda answer: answer.created_at, reverse=True)
        if answer.state == "done" and answer.accuracy is not None
    }
    return sorted(finished.values(), key=lambda answer: answer.version or 0)


def record_of(header: Header, observed: Observed, *, reached_target: bool) -> Record:
    """The record of a run that has ended."""
    first = observed.run.started_at or min((answer.announced_at for answer in observed.weights), default=0.0)
    last = observed.run.ended_at or first
    answers = _in_order(observed.weights)
    begun = [first, *(max(first, answer.announced_at) for answer in answers)]
    return Record(
        header=header,
        versions=tuple(
            _version(answer, first, since, observed.moments) for answer, since in zip(answers, begun, strict=False)
        ),
        evaluations=tuple(_evaluations(observed)),
        end=End(
            state=observed.run.state,
            reason=observed.run.reason,
            reached_target=reached_target,
            elapsed_s=round(max(0.0, last - first), 3),
            considered=observed.run.considered,
            skip_rates=observed.run.skip_rates,
            ledger=observed.ledger,
            restarts=dict(observed.restarts),
        ),
    )


def _in_order(weights: Sequence[WeightsAnswer]) -> list[WeightsAnswer]:
    return sorted(weights, key=lambda answer: answer.version)


def _version(answer: WeightsAnswer, first: float, since: float, moments: Sequence[Moment]) -> Version:
    return Version(
        step=answer.step,
        version=answer.version,
        elapsed_s=round(max(0.0, answer.announced_at - first), 3),
        evaluation_s=round(evaluation_seconds(moments, first, answer.announced_at), 3),
        spent_rollouts=answer.spent_rollouts,
        spent_tokens=answer.spent_tokens,
        stats=annotate(answer.stats),
        parts=annotate(_parts(answer, since, moments)),
    )


def _parts(answer: WeightsAnswer, since: float, moments: Sequence[Moment]) -> dict[str, float]:
    """Seconds of the step that ended when the version was announced; they go on at the same time."""
    stats, until = answer.stats, answer.announced_at
    return {
        "learning": sum(stats.get(f"{part}_s", 0.0) for part in ("pack", "forward", "backward", "optimise")),
        "publish": stats.get("publish_s", 0.0),
        "push": answer.push_s or 0.0,
        "generation": sampling_seconds(moments, since, until),
        "scheduler": _cpu_seconds(moments, since, until),
    }


def _evaluations(observed: Observed) -> list[Evaluation]:
    finished = done(observed.evaluations)
    ends = [answer.created_at for answer in finished[1:]] + [float("inf")]
    return [
        Evaluation(
            step=answer.step,
            version=answer.version or 0,
            accuracy=float(f"{answer.accuracy:.6g}"),
            seconds=round(evaluation_seconds(observed.moments, answer.created_at, end), 3),
        )
        for answer, end in zip(finished, ends, strict=True)
    ]
