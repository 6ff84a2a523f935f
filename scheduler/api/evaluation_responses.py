"""What the API answers about evaluations.

Owns: the response models of evaluations. Never computes.
"""

from typing import Self

from scheduler.api.response import Response
from scheduler.core.evaluation import EvaluationMeasure
from scheduler.state.evaluations import EvaluationRecord, Measured


class Evaluation(Response):
    """One evaluation."""

    evaluation_id: str
    purpose: str
    pool: str
    state: str
    reason: str
    version: int | None
    step: int
    num_prompts: int
    num_rollouts: int
    """Rollouts per prompt; 1 where a probability is read."""
    measure: EvaluationMeasure
    """Whether rollouts are judged, or the probability of the reference answer is read."""
    target: str
    """With the measure likelihood, the text whose probability is read."""
    correct: int
    judged: int
    """Attempts that measured something."""
    accuracy: float | None
    """Share of right rollouts, or the mean probability of the reference answer."""
    created_at: float
    results: dict[str, Measured]
    """By prompt id; empty where they were not asked for."""

    @classmethod
    def of(cls, record: EvaluationRecord, *, results: bool = True) -> Self:
        """The evaluation's record."""
        return cls(
            evaluation_id=record.evaluation_id,
            purpose=record.purpose,
            pool=record.pool,
            state=record.state,
            reason=record.reason,
            version=record.version,
            step=record.step,
            num_prompts=record.num_prompts,
            num_rollouts=record.num_rollouts,
            measure=record.measure,
            target=record.target,
            correct=record.correct,
            judged=record.judged,
            accuracy=record.accuracy,
            created_at=record.created_at,
            results=dict(record.results) if results else {},
        )


class Evaluations(Response):
    """Every evaluation of a run, oldest first."""

    evaluations: list[Evaluation]
