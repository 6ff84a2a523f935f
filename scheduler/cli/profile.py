"""`pilotcommit pool profile` and `run profile`: how hard a pool is, found out without training.

Owns: the two commands, and waiting for the run. Never computes the report: the API does.
"""

import time
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from scheduler.cli import run_file
from scheduler.cli.answers import Run, read
from scheduler.cli.names import PoolName, RunId
from scheduler.cli.profile_answers import Profile
from scheduler.cli.profile_table import profile as table
from scheduler.cli.run_file import Fields
from scheduler.cli.run_options import merged
from scheduler.cli.terminal import DEFAULT_URL, INTERRUPTED, AsJson, Terminal, Url, say, talk
from scheduler.client import Client
from scheduler.core.errors import PilotCommitError
from scheduler.core.lifecycle import ENDED, RunState
from scheduler.core.run import RunMode

_BATCH = 64
"""With the run's default staleness, prompts enough at once to keep a fleet busy."""
_FAILED = (RunState.FAILED, RunState.CANCELLED)

Out = Annotated[Path | None, typer.Option(help="Draw the histogram into this PNG or SVG file.")]


def profile(
    pool: PoolName,
    max_new_tokens: Annotated[int, typer.Option(help="Generated tokens of a rollout at most.")],
    pilots: Annotated[int, typer.Option(min=1, help="Rollouts of each prompt.")] = 4,
    commits: Annotated[int, typer.Option(min=0, help="Rollouts the allocator would add to a prompt it commits.")] = 12,
    allocator: Annotated[str, typer.Option(help="The rule whose decisions are foretold.")] = "adaptive",
    rollouts: Annotated[int | None, typer.Option(help="Budget: rollouts at most; by default the whole pool.")] = None,
    tokens: Annotated[int | None, typer.Option(help="Budget: generated tokens at most.")] = None,
    weights: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Weights to sample with; by default the scheduler's model.")
    ] = None,
    stop: Annotated[list[str] | None, typer.Option(help="Text that ends a completion; repeatable.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Of sampling.")] = None,
    run_id: Annotated[str | None, typer.Option(help="The run's id; one is made up by default.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Another field of the run; repeatable.")
    ] = None,
    out: Out = None,
    interval_s: Annotated[float, typer.Option("--interval", min=0.1, help="Seconds between two looks.")] = 1.0,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Find out how hard a pool is, without a learner: pilots for every prompt, within a budget, then a report."""
    _check_picture(out)
    options: Fields = {
        "mode": RunMode.PROFILE,
        "pool": pool,
        "run_id": run_id,
        "pilots": pilots,
        "commits": commits,
        "allocator": allocator,
        "weights": weights,
        "sampling.max_new_tokens": max_new_tokens,
        "sampling.temperature": temperature,
        "sampling.stop": stop or None,
        "budget.rollouts": rollouts,
        "budget.tokens": tokens,
    }
    request = merged({"batch_size": _BATCH}, run_file.settings(settings or ()), options, {})
    with talk(url, as_json) as terminal:
        created = read(terminal.client.create_run(request), Run)
        try:
            ended = _follow(terminal.client, created.run_id, interval_s)
        except KeyboardInterrupt as stopped:
            say(f"the run goes on; `pilotcommit run profile {created.run_id}` shows what it has found")
            raise typer.Exit(INTERRUPTED) from stopped
        _report(terminal, ended, out)
    if ended.state in _FAILED:
        say(f"the run is {ended.state}: {ended.reason}")
        raise typer.Exit(1)


def show(run_id: RunId, out: Out = None, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show how hard a profile has found its pool, so far."""
    _check_picture(out)
    with talk(url, as_json) as terminal:
        _report(terminal, read(terminal.client.run(run_id), Run), out)


def _check_picture(out: Path | None) -> None:
    if out is not None and find_spec("matplotlib") is None:
        raise PilotCommitError("a picture needs matplotlib: it comes with the extra `pilotcommit[demo]`")


def _report(terminal: Terminal, run: Run, out: Path | None) -> None:
    found = terminal.show(terminal.client.profile(run.run_id), Profile, lambda shown: table(shown, run))
    if out is not None:
        # Imported here: it needs matplotlib, which no other way through this command does.
        from scheduler.cli.profile_picture import draw

        draw(found, out, pool=run.pool, allocator=run.config.allocator)
        say(f"the picture: {out}")


def _follow(client: Client, run_id: str, interval_s: float) -> Run:
    """The run once it has ended. Consumes: looks at it. Waits for: the next one's time. Unblocked by: its end."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("profiling", total=None)
        while True:
            run = read(client.run(run_id), Run)
            done = read(client.profile(run_id), Profile)
            total = sum(run.prompts.values()) or None
            told = run.waiting_for or "profiling"
            progress.update(task, completed=done.prompts + done.unfinished, total=total, description=told)
            if run.state in ENDED:
                return run
            time.sleep(interval_s)
