"""The end of a demo run: what was gained and what was spent, for people and as JSON.

Owns: the report's fields and its rendering. Pure. Invariant: both forms show the same numbers.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from scheduler.core.types import Stage
from scheduler.demo.facts import Facts, LedgerFacts, StageFacts, gain_of
from scheduler.demo.statistics import Accuracy, Gain


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The facts of a finished run."""

    run_id: str
    allocator: str
    model: str
    state: str
    reason: str
    seed: int
    steps: int
    weight_version: int
    elapsed_s: float
    accuracy_before: Accuracy | None
    accuracy_after: Accuracy | None
    accuracy_gain: Gain | None
    rollouts: int
    """Pilots and commits."""
    rollouts_by_stage: Mapping[str, int]
    prompts_considered: int
    skip_rates: Mapping[str, float]
    pilot_success_rate: float | None
    uniform_rollouts: int
    """What uniform allocation would have spent on the same prompts."""
    rollouts_saved: int
    ledger: LedgerFacts
    restarts: Mapping[str, int]
    """Unplanned restarts of processes, by name."""
    pictures: tuple[str, ...]
    page: str
    """The HTML file with all of this."""

    @classmethod
    def of(
        cls,
        facts: Facts,
        *,
        allocator: str,
        model: str,
        seed: int,
        restarts: Mapping[str, int],
        pictures: tuple[Path, ...],
        page: Path,
    ) -> "Report":
        """The report of a run that has ended."""
        by_purpose = {record.purpose: record.accuracy for record in facts.measured()}
        return cls(
            run_id=facts.run.run_id,
            allocator=allocator,
            model=model,
            state=facts.run.state,
            reason=facts.run.reason,
            seed=seed,
            steps=facts.run.step,
            weight_version=facts.run.version,
            elapsed_s=round(facts.elapsed_s, 1),
            accuracy_before=by_purpose.get("before"),
            accuracy_after=by_purpose.get("after"),
            accuracy_gain=gain_of(facts),
            rollouts=facts.training_rollouts,
            rollouts_by_stage={stage.value: count for stage, count in facts.rollouts.items()},
            prompts_considered=facts.run.considered,
            skip_rates={verdict.value: rate for verdict, rate in facts.run.skip_rates.items()},
            pilot_success_rate=facts.run.pilot_success_rate,
            uniform_rollouts=facts.uniform_rollouts,
            rollouts_saved=facts.uniform_rollouts - facts.training_rollouts,
            ledger=facts.ledger,
            restarts=restarts,
            pictures=tuple(str(path) for path in pictures),
            page=str(page),
        )

    def as_json(self) -> dict[str, object]:
        """The report as one JSON object."""
        return asdict(self)


def render(report: Report) -> RenderableType:
    """The report for a terminal."""
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim")
    facts.add_column()
    for label, value in _lines(report):
        facts.add_row(label, value)
    title = f"{report.allocator} on {report.model}: {report.state}"
    return Group(Panel(facts, title=title, box=box.ROUNDED), _ledger(report.ledger))


def _lines(report: Report) -> list[tuple[str, str | Text]]:
    percent = {name: f"{rate:.0%} {name}" for name, rate in report.skip_rates.items()}
    lines: list[tuple[str, str | Text]] = [
        ("why it ended", report.reason),
        ("accuracy before", _interval(report.accuracy_before)),
        ("accuracy after", _interval(report.accuracy_after)),
        ("gain", Text(_gain(report.accuracy_gain), style="bold green")),
        ("steps", f"{report.steps} in {report.elapsed_s / 60:.1f} min, weight version {report.weight_version}"),
        ("rollouts", f"{report.rollouts:,} ({by_stage(report)})"),
        ("prompts considered", f"{report.prompts_considered:,}; skip rate {', '.join(percent.values()) or 'none'}"),
        ("saved", _saved(report)),
        ("ledger", "balanced" if report.ledger.balanced else Text("NOT BALANCED", style="bold red")),
    ]
    if report.restarts:
        told = ", ".join(f"{name} {count} times" for name, count in report.restarts.items())
        lines.append(("restarts", told))
    lines += [("picture", path) for path in report.pictures[:1]]
    lines.append(("report", report.page))
    return lines


def by_stage(report: Report) -> str:
    """The rollouts of each stage, in words."""
    named = {"pilot": "pilots", "commit": "commits"}
    told = [f"{report.rollouts_by_stage.get(stage, 0):,} {name}" for stage, name in named.items()]
    return f"{', '.join(told)}; {report.rollouts_by_stage.get(Stage.EVAL, 0):,} more for evaluation"


def _interval(accuracy: Accuracy | None) -> str:
    if accuracy is None:
        return "not measured"
    counted = f"{accuracy.num_rollouts} rollouts of {accuracy.num_prompts} held-out prompts"
    return f"{accuracy.estimate:.3f}  [{accuracy.low:.3f}, {accuracy.high:.3f}]  ({counted})"


def _gain(gain: Gain | None) -> str:
    if gain is None:
        return "not measured"
    return f"{gain.estimate * 100:+.1f} points  [{gain.low * 100:+.1f}, {gain.high * 100:+.1f}]"


def _saved(report: Report) -> str:
    if not report.uniform_rollouts:
        return "nothing to compare"
    rate = report.rollouts_saved / report.uniform_rollouts
    return (
        f"{report.rollouts_saved:,} of the {report.uniform_rollouts:,} rollouts ({rate:.0%}) that a whole group on "
        "each prompt considered would have cost"
    )


def _ledger(ledger: LedgerFacts) -> Table:
    table = Table(title="What became of every attempt", box=box.SIMPLE_HEAD)
    table.add_column("")
    for stage in ledger.stages:
        table.add_column(stage, justify="right")
    names = {name for stage in ledger.stages.values() for name, count in settled(stage).items() if count}
    for name in sorted(names):
        table.add_row(name, *(f"{settled(stage).get(name, 0):,}" for stage in ledger.stages.values()))
    table.add_section()
    table.add_row("attempts", *(f"{stage.attempts:,}" for stage in ledger.stages.values()), style="bold")
    table.add_row("generated tokens", *(f"{stage.tokens:,}" for stage in ledger.stages.values()))
    return table


def settled(stage: StageFacts) -> dict[str, int]:
    """A stage's attempts by what became of them, those still open included."""
    return {**stage.outcomes, **{f"{name} (open)": count for name, count in stage.open.items()}}
