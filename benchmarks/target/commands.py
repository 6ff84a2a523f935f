"""The benchmark's commands.

Owns: options, and what goes to stdout. Never computes a result. Invariant: an error of ours is one line, not a
traceback; with `--json` nothing but JSON goes to stdout.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from benchmarks.model import model_folder
from benchmarks.origin import RESULTS as ALL_RESULTS
from benchmarks.target import pools, record, settings, targets
from benchmarks.target import report as reports
from benchmarks.target.candidates import Problem, measure, problem, read
from benchmarks.target.compared import Compared, baseline_of
from benchmarks.target.expressions import questions
from benchmarks.target.overview import overview, reached
from benchmarks.target.plan import TUNING, PlannedRun, matching, missing, runs_of
from benchmarks.target.runner import Runner, RunnerOptions, scratch
from scheduler import logs
from scheduler.core.errors import InvalidInput, PilotCommitError

RESULTS = ALL_RESULTS / "target"
_PER_FAMILY, _PER_TASK = 40, 80
_POOL_SEED = 0

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Rollouts, tokens and wall-clock to a target accuracy on real training.",
)

Model = Annotated[Path | None, typer.Option(help="Folder of the model; SmolLM2-135M-Instruct by default.")]
Results = Annotated[Path, typer.Option(help="Where records are.")]
Comparison = Annotated[str, typer.Option(help="Its name in settings.toml.")]
Only = Annotated[str | None, typer.Option(help="Allocators or allocator/seed, with commas between them.")]
Minutes = Annotated[float | None, typer.Option(help="Start no new run after this many minutes.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout and nothing else.")]


@app.command("measure")
def measure_candidates(model: Model = None, threads: int = 1) -> None:
    """Measure the base model's success rate on every candidate; goes on where it stopped."""
    from benchmarks.target.success_rates import SuccessRates

    console = Console(stderr=True)
    with _errors(console):
        rates = SuccessRates(model_folder(model), num_threads=threads)
        # Pools that are drawn from the same candidates have them measured once.
        for plan in {plan.candidates: plan for plan in pools.PLANS}.values():
            for progress in measure(_problems(plan), rates, plan.candidates_path()):
                told = f"{plan.candidates}: measured {progress.measured:,} of {progress.wanted:,}"
                console.print(told, highlight=False)


@app.command("pools")
def make_pools() -> None:
    """Draw the pools from the measured candidates; the same candidates give the same pools."""
    console = Console(stderr=True)
    with _errors(console):
        for plan in pools.PLANS:
            split = pools.make(read(plan.candidates_path()), plan, _POOL_SEED)
            pools.write(plan.name, split)
            console.print(f"{plan.name}: {len(split.prompts):,} prompts, {len(split.held_out):,} held out")


@app.command("run")
def run(
    comparison: Comparison = "equal_mixed",
    only: Only = None,
    minutes: Minutes = None,
    show: Annotated[bool, typer.Option("--list", help="List the runs and whether they are finished.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be asked for, and stop.")] = False,
    budget_rollouts: Annotated[int | None, typer.Option(help="Another budget: a smoke test, kept apart.")] = None,
    as_json: AsJson = False,
    model: Model = None,
    results: Results = RESULTS,
) -> None:
    """Make the runs of a comparison that have no record yet: GRPO's first, where the pool has no targets."""
    console = Console(stderr=True) if as_json else Console()
    with _errors(console):
        planned = matching(runs_of(settings.load(), comparison), only)
        smoke = budget_rollouts is not None
        if budget_rollouts is not None:
            planned = [replace(run, budget_rollouts=budget_rollouts) for run in planned]
            results = results / "smoke"
        if show:
            _list(planned, results)
        elif dry_run:
            sys.stdout.writelines(
                json.dumps({"run": run.label, **run.request()}) + "\n" for run in missing(planned, results)
            )
        else:
            session = _Session(console, results, model, minutes)
            session.make(planned) if smoke else session.make_with_targets(planned)
            _overview(planned, results, console, as_json=as_json)


@app.command("tune")
def tune(
    minutes: Minutes = None, only: Only = None, as_json: AsJson = False, model: Model = None, results: Results = RESULTS
) -> None:
    """Make GRPO's runs over the grid of settings.toml and print what each of them reached."""
    console = Console(stderr=True) if as_json else Console()
    with _errors(console):
        planned = matching(runs_of(settings.load(), TUNING), only)
        _Session(console, results, model, minutes).make(planned)
        _overview(planned, results, console, as_json=as_json)


@app.command("targets")
def fix_targets(
    comparison: Comparison = "equal_mixed",
    force: Annotated[bool, typer.Option("--force", help="Replace targets that are fixed.")] = False,
    results: Results = RESULTS,
) -> None:
    """Fix the targets of a comparison's pool from its runs of GRPO."""
    console = Console(stderr=True)
    with _errors(console):
        table = settings.load().comparison(comparison)
        found = targets.targets_of(baseline_of(comparison, results))
        targets.fix(table.pool, found, force=force)
        sys.stdout.write(json.dumps(msgspec.to_builtins(found)) + "\n")


@app.command("report")
def report(
    comparison: Comparison = "equal_mixed",
    as_json: AsJson = False,
    out: Annotated[Path | None, typer.Option(help="Where the pictures go; beside the records by default.")] = None,
    results: Results = RESULTS,
) -> None:
    """Tables and pictures of the records there are."""
    console = Console(stderr=True)
    with _errors(console):
        compared = Compared.of(comparison, results)
        if as_json:
            sys.stdout.write(json.dumps(reports.as_json(compared.cells, compared.targets, comparison)) + "\n")
        else:
            sys.stdout.write(reports.markdown(compared.cells, compared.targets))
        _draw(compared, out or results, console)


class _Session:
    """Makes runs with one set of options."""

    def __init__(self, console: Console, results: Path, model: Path | None, minutes: float | None) -> None:
        self._console = console
        self._results = results
        self._model = model
        self._until = None if minutes is None else time.monotonic() + 60 * minutes

    def make_with_targets(self, planned: list[PlannedRun]) -> None:
        """Make GRPO's runs, fix the targets from them unless they are fixed, and make the others."""
        if not planned or planned[0].pool in targets.load():
            self.make(planned)
            return
        own = [run for run in runs_of(settings.load(), planned[0].comparison) if run.name == settings.BASELINE]
        self.make(own)
        if missing(own, self._results):
            self._console.print("not all of GRPO's runs are there: no targets are fixed, and nothing else is run")
            return
        targets.fix(planned[0].pool, targets.targets_of(baseline_of(planned[0].comparison, self._results)))
        self.make(planned)

    def make(self, planned: list[PlannedRun]) -> None:
        """Make the runs that have no record."""
        runs = missing(planned, self._results)
        if not runs:
            return
        state = scratch()
        minutes = None if self._until is None else (self._until - time.monotonic()) / 60
        model = model_folder(self._model)
        options = RunnerOptions.of(model, results=self._results, state=state, minutes=minutes)
        with state.with_name("benchmark.log").open("a") as log:
            logs.configure("INFO", log)
            self._console.print(f"[dim]logs are in {state.parent}[/]", highlight=False)
            asyncio.run(Runner(options, self._console).run(runs))


def _problems(plan: pools.PoolPlan) -> tuple[Problem, ...]:
    """What a pool's candidates are; raises InvalidInput where a package is missing."""
    if plan.candidates != pools.REASONING:
        return tuple(problem(question) for question in questions(_PER_FAMILY, _POOL_SEED))
    try:
        from benchmarks.target import reasoning
    except ImportError as error:
        raise InvalidInput("the pool reasoning is made with reasoning-gym: pip install 'pilotcommit[bench]'") from error
    return reasoning.problems(_PER_TASK, _POOL_SEED)


def _draw(compared: Compared, folder: Path, console: Console) -> None:
    from benchmarks.target.picture import draw

    rates = pools.rates_of(pools.load(compared.pool).prompts)
    title = f"Held-out accuracy against rollouts, pool {compared.pool}, {compared.comparison.replace('_', ' ')}"
    for path in draw(compared.records, rates, compared.targets, folder, name=compared.comparison, title=title):
        console.print(f"[dim]{path}[/]", highlight=False)


def _overview(planned: list[PlannedRun], results: Path, console: Console, *, as_json: bool) -> None:
    lines = [reached(record.read(run.path(results))) for run in planned if run.path(results).exists()]
    if as_json:
        sys.stdout.write(json.dumps([asdict(line) for line in lines]) + "\n")
    else:
        console.print(overview(lines))


def _list(planned: list[PlannedRun], results: Path) -> None:
    for run in planned:
        sys.stdout.write(f"{'done' if run.path(results).exists() else 'to do':6}{run.comparison} {run.label}\n")


@contextmanager
def _errors(console: Console) -> Iterator[None]:
    """Our own errors as one line and exit code 1; Ctrl-C as 130."""
    try:
        yield
    except KeyboardInterrupt:
        console.print("stopped: the run under way leaves no record and is made again next time")
        raise typer.Exit(130) from None
    except (PilotCommitError, ExceptionGroup) as error:
        ours = _ours(error)
        if not ours:
            raise
        for reason in ours:
            console.print(f"[bold red]failed:[/] {reason}", highlight=False)
        raise typer.Exit(1) from error


def _ours(error: Exception) -> list[PilotCommitError]:
    if isinstance(error, PilotCommitError):
        return [error]
    if isinstance(error, ExceptionGroup):
        return [ours for inner in error.exceptions for ours in _ours(inner)]
    return []
