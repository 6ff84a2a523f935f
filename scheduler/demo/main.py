"""The demo: Pilot-Commit RL on a real model, from nothing to a picture.

Owns: the demo's plan and its course. Never knows more of the service than its public API. Invariant: whatever happens,
every process it started is gone when it returns.
"""

import asyncio
import json
import platform
import shlex
import shutil
import sys
import time
from importlib.metadata import version
from pathlib import Path

import msgspec
from rich.console import Console

from inference.interpreter import SGLANG_VERSION, cache_dir
from scheduler import logs
from scheduler.client import Client
from scheduler.core.errors import InvalidInput, PilotCommitError, ServerUnavailable
from scheduler.core.lifecycle import ENDED
from scheduler.demo import report as reports
from scheduler.demo.facts import Facts, point, snapshot, with_accuracy
from scheduler.demo.history import RunHistory, RunPoint
from scheduler.demo.options import DemoOptions
from scheduler.demo.page import page
from scheduler.demo.progress import ProgressDisplay
from scheduler.demo.report import Report
from scheduler.demo.submission import submit
from scheduler.stack import Stack, StackPlan

_REFRESH_S = 1.0
_PATIENCE_S = 120.0


def demo(options: DemoOptions) -> int:
    """Run the demo; the exit code is 0 once the run has ended as it should, 130 after Ctrl-C."""
    console = Console(stderr=True) if options.json else Console()
    try:
        report = asyncio.run(_demo(options, console))
    except KeyboardInterrupt:
        console.print("stopped; everything that was started is gone")
        return 130
    except (PilotCommitError, ExceptionGroup) as error:
        ours = _ours(error)
        if not ours:
            raise
        for reason in ours:
            console.print(f"[bold red]the demo failed:[/] {reason}", highlight=False)
        return 1
    if options.json:
        sys.stdout.write(json.dumps(msgspec.to_builtins(report.as_json())) + "\n")
    else:
        console.print(reports.render(report))
    return 0


def _ours(error: Exception) -> list[PilotCommitError]:
    """The errors raised on purpose among those that a task group bundled."""
    if isinstance(error, PilotCommitError):
        return [error]
    if isinstance(error, ExceptionGroup):
        return [ours for inner in error.exceptions for ours in _ours(inner)]
    return []


async def _demo(options: DemoOptions, console: Console) -> Report:
    model = options.model or cache_dir() / "models" / "smollm2-135m-instruct"
    if not (model / "config.json").is_file():
        raise InvalidInput(f"{model} is no model folder: run `make model` first, or name another with --model")
    folder = options.out / "state"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "logs").mkdir(parents=True)
    with (folder / "logs" / "demo.log").open("a") as log:
        logs.configure("INFO", log)
        return await _with_stack(model, folder, options, console)


async def _with_stack(model: Path, folder: Path, options: DemoOptions, console: Console) -> Report:
    stack = Stack(_plan(model, folder, options), say=lambda line: console.print(f"[dim]{line}[/]", highlight=False))
    running = asyncio.create_task(stack.run(), name="stack")
    course = asyncio.create_task(_course(stack, options, model.name, console), name="course")
    try:
        # The course ends by itself; the stack only ends by failing.
        await asyncio.wait({running, course}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            course.cancel()
            running.result()
        return await course
    finally:
        course.cancel()
        running.cancel()
        await asyncio.gather(running, course, return_exceptions=True)
        if not options.keep:
            _remove_large_files(folder)


def _plan(model: Path, folder: Path, options: DemoOptions) -> StackPlan:
    return StackPlan(
        model=model.resolve(),
        folder=folder.resolve(),
        port=0,
        scheduler_settings={"MAX_IN_FLIGHT": "256", "LEASE_TTL_S": "30", "DRAIN_S": "30"},
        learner_settings={
            "SEED": str(options.seed),
            "LEARNING_RATE": "5e-6",
            "CHECKPOINT_EVERY": "15",
            "KEEP_CHECKPOINTS": "1",
        },
    )


def _remove_large_files(folder: Path) -> None:
    """Weights, checkpoints and state go; the logs stay, for questions afterwards."""
    for part in ("runs", "redis"):
        shutil.rmtree(folder / part, ignore_errors=True)


async def _course(stack: Stack, options: DemoOptions, model: str, console: Console) -> Report:
    await stack.wait_ready()
    with Client(stack.url) as client:
        run_id = await asyncio.to_thread(submit, client, stack.plan.model, options)
        title = f"{options.allocator} on {model}"
        facts, history = await _watch(client, run_id, title, console)
    pictures = await asyncio.to_thread(_draw, options, model, facts, history)
    report = Report.of(
        facts,
        allocator=options.allocator,
        model=model,
        seed=options.seed,
        restarts={name: len(child.restarts) for name, child in stack.children.items() if child.restarts},
        pictures=pictures,
        page=options.out / "report.html",
    )
    (options.out / "report.json").write_text(json.dumps(msgspec.to_builtins(report.as_json()), indent=2) + "\n")
    (options.out / "report.html").write_text(
        page(
            report,
            picture=pictures[0].read_bytes(),
            command=shlex.join(["pilotcommit", *sys.argv[1:]]),
            versions=_versions(),
        )
    )
    return report


def _versions() -> dict[str, str]:
    """Of what a run's numbers depend on."""
    found = {"pilotcommit": version("pilotcommit"), "Python": platform.python_version()}
    return found | {"torch": version("torch"), "transformers": version("transformers"), "SGLang": SGLANG_VERSION}


async def _watch(client: Client, run_id: str, title: str, console: Console) -> tuple[Facts, list[RunPoint]]:
    """Show the run until it has ended; returns the last facts and the history."""
    started, history = time.monotonic(), list[RunPoint]()
    with ProgressDisplay(console) as display:
        while True:
            facts = await _asked_patiently(client, run_id, started)
            display.show(snapshot(title, facts))
            history.append(point(facts))
            if facts.run.state in ENDED:
                return facts, with_accuracy(history, facts.measured())
            await asyncio.sleep(_REFRESH_S)


async def _asked_patiently(client: Client, run_id: str, started: float) -> Facts:
    """The facts now; a scheduler that is being restarted is waited for. Raises ServerUnavailable after a while."""
    silent_since = time.monotonic()
    while True:
        try:
            return await asyncio.to_thread(_ask, client, run_id, time.monotonic() - started)
        except ServerUnavailable:
            if time.monotonic() - silent_since > _PATIENCE_S:
                raise
            await asyncio.sleep(_REFRESH_S)


def _ask(client: Client, run_id: str, elapsed_s: float) -> Facts:
    return Facts.read(
        elapsed_s, client.run(run_id), client.ledger(run_id), client.evaluations(run_id), client.servers()
    )


def _draw(options: DemoOptions, model: str, facts: Facts, history: list[RunPoint]) -> tuple[Path, ...]:
    from scheduler.demo.picture import draw

    run = RunHistory(
        allocator=options.allocator, model=model, points=tuple(history), uniform_rollouts=facts.uniform_rollouts
    )
    return draw(run, options.out, name=f"demo-{options.allocator}")
