"""Evaluations: held-out measurements of the policy at one weight version.

Owns: their records and their attempts in the ledger. Never sends anything. Invariant: evaluation attempts are counted
under their own stage and cap, and never enter the informativeness table.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import fmean

import msgspec
from redis.asyncio import Redis

from scheduler.core.errors import NotFound
from scheduler.core.evaluation import DEFAULT_TARGET, EvaluationMeasure, EvaluationState
from scheduler.core.ledger import Move, OpenState, Outcome, attempts_counter, counter
from scheduler.core.types import Stage
from scheduler.state.keys import RunKeys
from scheduler.state.transaction import Transactor
from scheduler.state.wire import raw


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one prompt's attempts said."""

    correct: int = 0
    """Right answers; none are counted where a probability is read."""
    judged: int = 0
    """Attempts that measured something."""
    failed: int = 0
    """Attempts that measured nothing, refused or without a reward: not counted as wrong."""
    probability: float | None = None
    """Of the reference answer; None where rollouts are judged, or nothing was measured yet."""
    reason: str = ""
    """Why the last one that failed did."""

    def __add__(self, other: "Measured") -> "Measured":
        """Both together, `other` being later."""
        return Measured(
            correct=self.correct + other.correct,
            judged=self.judged + other.judged,
            failed=self.failed + other.failed,
            probability=self.probability if other.probability is None else other.probability,
            reason=other.reason or self.reason,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRecord:
    """One evaluation."""

    evaluation_id: str
    pool: str
    num_rollouts: int
    """Rollouts per prompt; 1 where a probability is read."""
    num_prompts: int
    created_at: float
    measure: EvaluationMeasure = EvaluationMeasure.ROLLOUTS
    target: str = DEFAULT_TARGET
    """With LIKELIHOOD, the text whose probability is read, with a place for the reference answer."""
    state: EvaluationState = EvaluationState.WAITING
    reason: str = ""
    version: int | None = None
    """Weight version that was measured; None until it starts, unless one was asked for."""
    step: int = 0
    """Training step of that version."""
    purpose: str = ""
    """Its place in the run's own plan (before, step N, after); empty for one that was asked for."""
    results: Mapping[str, Measured] = field(default_factory=dict)
    """By prompt id."""

    @property
    def correct(self) -> int:
        """Right answers over all prompts."""
        return sum(measured.correct for measured in self.results.values())

    @property
    def judged(self) -> int:
        """Attempts that measured something, over all prompts."""
        return sum(measured.judged for measured in self.results.values())

    @property
    def accuracy(self) -> float | None:
        """Share of right answers, or the mean probability of the reference answer; None before anything is measured."""
        if self.measure is EvaluationMeasure.ROLLOUTS:
            return self.correct / self.judged if self.judged else None
        known = [measured.probability for measured in self.results.values() if measured.probability is not None]
        return fmean(known) if known else None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationLanding:
    """Evaluation attempts that are no longer in flight."""

    judged: int
    failed: int
    lost: int
    tokens: int
    prompt_tokens: int


class EvaluationStore:
    """Reads and writes the evaluations of one run."""

    def __init__(self, redis: "Redis", transactor: Transactor, *, cap: int | None) -> None:
        self._redis = redis
        self._transactor = transactor
        self._keys: RunKeys = transactor.keys
        self.cap = cap
        """Evaluation attempts that may be made; it is raised while the run goes on."""

    async def put(self, record: EvaluationRecord) -> None:
        """Write a record."""
        transaction = self._transactor.begin()
        transaction.run("HSET", self._keys.evaluations, record.evaluation_id, msgspec.json.encode(record))
        await self._transactor.apply(transaction)

    async def launch(self, count: int) -> None:
        """Count attempts as in flight; raises BudgetExhausted over the evaluation cap."""
        transaction = self._transactor.begin()
        transaction.require_limit((attempts_counter(Stage.EVAL),), count, self.cap)
        transaction.move(Move(stage=Stage.EVAL, source=None, to=OpenState.IN_FLIGHT, count=count))
        await self._transactor.apply(transaction)

    async def land(
        self, record: EvaluationRecord, prompt_id: str, measured: Measured, landing: EvaluationLanding
    ) -> EvaluationRecord:
        """Account for attempts of one prompt that came back, and write its result so far."""
        record = replace(record, results={**record.results, prompt_id: measured})
        transaction = self._transactor.begin()
        flying = OpenState.IN_FLIGHT
        transaction.move(
            Move(stage=Stage.EVAL, source=flying, to=Outcome.EVALUATED, count=landing.judged),
            Move(stage=Stage.EVAL, source=flying, to=Outcome.FAILED, count=landing.failed),
            Move(stage=Stage.EVAL, source=flying, to=Outcome.LOST, count=landing.lost),
        )
        transaction.count(f"tokens:{Stage.EVAL}", landing.tokens)
        transaction.count(f"prompt_tokens:{Stage.EVAL}", landing.prompt_tokens)
        transaction.run("HSET", self._keys.evaluations, record.evaluation_id, msgspec.json.encode(record))
        await self._transactor.apply(transaction)
        return record

    async def lose_in_flight(self) -> None:
        """What a dead incarnation had in flight is lost."""
        await self._end_in_flight(Outcome.LOST)

    async def cancel_in_flight(self) -> None:
        """What a run had in flight when it was cancelled is cancelled; nobody waits for it any more."""
        await self._end_in_flight(Outcome.CANCELLED)

    async def _end_in_flight(self, outcome: Outcome) -> None:
        flying = await self._redis.hget(self._keys.ledger, counter(Stage.EVAL, OpenState.IN_FLIGHT))
        transaction = self._transactor.begin()
        count = int(flying or 0)
        transaction.move(Move(stage=Stage.EVAL, source=OpenState.IN_FLIGHT, to=outcome, count=count))
        await self._transactor.apply(transaction)


async def evaluations(redis: "Redis", keys: RunKeys) -> list[EvaluationRecord]:
    """Every evaluation of a run, oldest first."""
    found = await redis.hvals(keys.evaluations)
    records = [msgspec.json.decode(raw(record), type=EvaluationRecord) for record in found]
    return sorted(records, key=lambda record: record.created_at)


async def evaluation(redis: "Redis", keys: RunKeys, evaluation_id: str) -> EvaluationRecord:
    """One evaluation; raises NotFound."""
    found = await redis.hget(keys.evaluations, evaluation_id)
    if found is None:
        raise NotFound(f"run {keys.run_id} has no evaluation {evaluation_id}", field="evaluation")
    return msgspec.json.decode(raw(found), type=EvaluationRecord)
