"""What the API answers about evaluations.

Owns: the response models of evaluations. Never computes but the share that is right.
"""

from typing import Self

from scheduler.api.responses import Response
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
    """Rollouts per prompt."""
    correct: int
    judged: int
    accuracy: float | None
    created_at: float
    results: dict[str, Measured]
    """By prompt id."""

    @classmethod
    def of(cls, record: EvaluationRecord) -> Self:
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
            correct=record.correct,
            judged=record.judged,
            accuracy=record.correct / record.judged if record.judged else None,
            created_at=record.created_at,
            results=dict(record.results),
        )


class Evaluations(Response):
    """Every evaluation of a run, oldest first."""

    evaluations: list[Evaluation]
