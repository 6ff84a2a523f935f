"""The result of a chaos run, for people and on record.

Owns: what is kept of it. Never decides whether it is good. Invariant: a record names the command, the seed, the
versions and the machine that made it.
"""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import msgspec

from benchmarks.origin import ROOT, origin
from scheduler.core.ledger import Outcome as AttemptOutcome
from tests.chaos.campaign import ChaosOptions, Outcome
from tests.chaos.invariants import Invariant
from tests.chaos.plan import FaultKind

RESULTS = ROOT / "benchmarks" / "results" / "chaos"


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is kept."""

    command: str
    commit: str
    versions: dict[str, str]
    cores: int
    ended_at: str
    seed: int
    servers: str
    minutes: float
    """Of faults."""
    seconds: float
    """Of everything."""
    planned: int
    struck: dict[str, int]
    """By kind."""
    missed: dict[str, int]
    """Faults that found nothing to strike, by kind."""
    deaths: dict[str, int]
    """By process; the learner's, one for each run, are not among them."""
    takeovers: int
    """How often the other scheduler was at work than before."""
    runs: dict[str, int]
    """By the state in which they ended."""
    rollouts: int
    attempts: dict[str, int]
    """By outcome."""
    groups_trained: int
    groups_dropped: int
    violated: dict[str, int]
    """By invariant, each of them named."""
    violations: tuple[str, ...]

    @classmethod
    def of(cls, options: ChaosOptions, outcome: Outcome) -> Self:
        """What is kept of an outcome."""
        made = origin("tests.chaos")
        violated = Counter(violation.invariant for violation in outcome.violations)
        return cls(
            command=_command(options),
            commit=made.commit,
            versions=made.versions,
            cores=made.cores,
            ended_at=datetime.now(UTC).isoformat(timespec="seconds"),
            seed=options.seed,
            servers="real" if options.is_real else "fake",
            minutes=round(options.duration_s / 60.0, 2),
            seconds=round(outcome.seconds, 1),
            planned=outcome.planned,
            struck={kind.value: outcome.struck.get(kind, 0) for kind in FaultKind},
            missed={kind.value: count for kind, count in outcome.missed.items()},
            deaths=outcome.deaths,
            takeovers=outcome.takeovers,
            runs=dict(Counter(run.state.value for run in outcome.runs)),
            rollouts=sum(run.ledger.spent_rollouts for run in outcome.runs),
            attempts={one.value: count for one in AttemptOutcome if (count := _ended_as(one, outcome))},
            groups_trained=sum(len(run.trained) for run in outcome.runs),
            groups_dropped=sum(len(run.dropped) for run in outcome.runs),
            violated={invariant.value: violated[invariant] for invariant in Invariant},
            violations=tuple(str(violation) for violation in outcome.violations),
        )

    def as_json(self) -> str:
        """One line."""
        return msgspec.json.encode(self).decode()

    def as_text(self, path: Path) -> str:
        """For a person."""
        attempts = ", ".join(f"{count} {outcome}" for outcome, count in self.attempts.items())
        lines = [
            f"seed {self.seed}, {self.minutes:g} minutes of faults, {self.servers} servers, {self.commit[:10]}",
            "",
            *(f"  {count:5}  {kind}" for kind, count in self.struck.items()),
            *(f"  {count:5}  {kind} found nothing to strike" for kind, count in self.missed.items()),
            "",
            f"deaths: {self.deaths}; {self.takeovers} times the other scheduler took over",
            f"runs: {self.runs}; {self.rollouts} rollouts: {attempts}",
            f"groups: {self.groups_trained} trained, {self.groups_dropped} dropped",
            "",
            *(f"  {count:5}  times broken: {invariant}" for invariant, count in self.violated.items()),
            *self.violations,
            f"on record in {path}",
        ]
        return "\n".join(lines)


def write(result: Result, folder: Path) -> Path:
    """Append the result to the record of its kind; returns the file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{result.servers}.jsonl"
    with path.open("a") as file:
        file.write(result.as_json() + "\n")
    return path


def _command(options: ChaosOptions) -> str:
    servers = "real" if options.is_real else "fake"
    minutes = f"{options.duration_s / 60.0:g}"
    faults = f"ARGS='--per-kind {options.per_kind}'"
    return f"make chaos CHAOS_SEED={options.seed} CHAOS_MINUTES={minutes} CHAOS_SERVERS={servers} {faults}"


def _ended_as(one: AttemptOutcome, outcome: Outcome) -> int:
    return sum(line.outcomes.get(one, 0) for run in outcome.runs for line in run.ledger.stages.values())
