"""The facts of a demo run, read from the API's answers.

Owns: turning the API's JSON into a snapshot, a point of history and the final report. Pure. Invariant: every number
comes from the ledger or from an evaluation; nothing is estimated here but the intervals.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from scheduler.core.ledger import Outcome
from scheduler.core.lifecycle import RunState, Standing, takes_attempts
from scheduler.core.types import Stage, Verdict
from scheduler.demo.history import RunPoint
from scheduler.demo.progress import ServerLine, Snapshot
from scheduler.demo.statistics import Accuracy, Gain, Tally, accuracy, gain


class StageFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One stage of the ledger."""

    attempts: int
    tokens: int
    prompt_tokens: int
    open: dict[str, int]
    outcomes: dict[str, int]


class LedgerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger as the API answers it."""

    balanced: bool
    stages: dict[str, StageFacts]
    spent_rollouts: int
    spent_tokens: int
    reserved_rollouts: int
    reserved_tokens: int
    verdicts: dict[str, int]
    reasons: dict[str, int]
    passed_over: dict[str, int]
    groups_trained: int


class BudgetFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The budget of a run."""

    rollouts: int | None = None


class ConfigFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a run was asked for."""

    pilots: int
    commits: int
    max_staleness: int
    max_steps: int | None
    budget: BudgetFacts


class RunFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A run as the API answers it."""

    run_id: str
    state: RunState
    reason: str
    waiting_for: str
    step: int
    version: int
    considered: int
    skip_rates: dict[Verdict, float]
    pilot_success_rate: float | None
    config: ConfigFacts


class MeasuredFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One prompt's result."""

    correct: int
    judged: int
    probability: float | None = None

    @property
    def successes(self) -> float:
        """Right answers; where a probability was read instead, as many as are expected."""
        return self.correct if self.probability is None else self.judged * self.probability


class EvaluationFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One evaluation as the API answers it."""

    purpose: str
    state: str
    reason: str
    version: int | None
    step: int
    results: dict[str, MeasuredFacts]

    @property
    def tallies(self) -> dict[str, Tally]:
        """Right answers by prompt, where any was judged."""
        return {
            prompt_id: Tally(successes=measured.successes, rollouts=measured.judged)
            for prompt_id, measured in self.results.items()
            if measured.judged
        }

    @property
    def accuracy(self) -> Accuracy:
        """With its 95 % interval."""
        return accuracy(self.tallies)


class ServerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A server as the API answers it."""

    url: str
    standing: str
    state: str
    version: int
    in_flight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything known at one moment."""

    elapsed_s: float
    run: RunFacts
    ledger: LedgerFacts
    evaluations: tuple[EvaluationFacts, ...]
    servers: tuple[ServerFacts, ...]

    @classmethod
    def read(
        cls,
        elapsed_s: float,
        run: Mapping[str, object],
        ledger: Mapping[str, object],
        evaluations: Sequence[Mapping[str, object]],
        servers: Sequence[Mapping[str, object]],
    ) -> "Facts":
        """The facts in the API's answers; raises msgspec.ValidationError if an answer is not what it should be."""
        return cls(
            elapsed_s=elapsed_s,
            run=msgspec.convert(run, RunFacts),
            ledger=msgspec.convert(ledger, LedgerFacts),
            evaluations=tuple(msgspec.convert(record, EvaluationFacts) for record in evaluations),
            servers=tuple(msgspec.convert(server, ServerFacts) for server in servers),
        )

    def measured(self) -> list[EvaluationFacts]:
        """Evaluations that are done, oldest first."""
        return [record for record in self.evaluations if record.state == "done" and record.tallies]

    @property
    def rollouts(self) -> dict[Stage, int]:
        """Attempts made, by stage."""
        return {Stage(name): stage.attempts for name, stage in self.ledger.stages.items()}

    @property
    def outcomes(self) -> dict[Outcome, int]:
        """Training attempts settled, by outcome."""
        total: dict[Outcome, int] = {}
        for name, stage in self.ledger.stages.items():
            for outcome, count in stage.outcomes.items():
                if name != Stage.EVAL:
                    total[Outcome(outcome)] = total.get(Outcome(outcome), 0) + count
        return total

    @property
    def training_rollouts(self) -> int:
        """Pilots and commits made."""
        return self.rollouts[Stage.PILOT] + self.rollouts[Stage.COMMIT]

    @property
    def uniform_rollouts(self) -> int:
        """What uniform allocation would have spent on the prompts considered: a whole group on each of them."""
        return self.run.considered * (self.run.config.pilots + self.run.config.commits)


def snapshot(title: str, facts: Facts) -> Snapshot:
    """The facts as the live display shows them."""
    measured = facts.measured()
    last = measured[-1] if measured else None
    return Snapshot(
        title=title,
        elapsed_s=facts.elapsed_s,
        state=facts.run.state,
        waiting_for=facts.run.waiting_for,
        rollouts_used=facts.training_rollouts,
        rollouts_budget=facts.run.config.budget.rollouts or 0,
        step=facts.run.step,
        max_steps=facts.run.config.max_steps,
        skip_rates=facts.run.skip_rates,
        pilot_success_rate=facts.run.pilot_success_rate,
        first_accuracy=measured[0].accuracy if measured else None,
        accuracy=last.accuracy if last else None,
        accuracy_version=last.version if last else None,
        version=facts.run.version or None,
        max_staleness=facts.run.config.max_staleness,
        servers=tuple(
            ServerLine(
                name=server.url,
                state=server.state if server.standing == Standing.SERVING else server.standing,
                ready=takes_attempts(server.state, server.standing),
                in_flight=server.in_flight,
                version=server.version or None,
            )
            for server in facts.servers
        ),
    )


def point(facts: Facts) -> RunPoint:
    """The facts as a point of the run's history."""
    return RunPoint(
        elapsed_s=facts.elapsed_s,
        step=facts.run.step,
        version=facts.run.version,
        rollouts=facts.rollouts,
        outcomes=facts.outcomes,
        skip_rates=facts.run.skip_rates,
    )


def with_accuracy(history: Sequence[RunPoint], measured: Sequence[EvaluationFacts]) -> list[RunPoint]:
    """The history with each accuracy where the measured weights were made, not where measuring them ended."""
    points = list(history)
    for record in measured:
        index = next((index for index, point in enumerate(points) if point.step >= record.step), len(points) - 1)
        points[index] = replace(points[index], accuracy=record.accuracy)
    return points


def gain_of(facts: Facts) -> Gain | None:
    """The paired gain from the first to the last planned evaluation; None if either is missing."""
    by_purpose = {record.purpose: record for record in facts.measured()}
    if "before" not in by_purpose or "after" not in by_purpose:
        return None
    return gain(by_purpose["before"].tallies, by_purpose["after"].tallies)
