"""`pilotcommit run`: training jobs over a pool."""

import time
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from scheduler.cli import answers, run_file, tables
from scheduler.cli.dry_run_table import dry_run as dry_run_table
from scheduler.cli.explain import unsolved as unsolved_table
from scheduler.cli.explanation_answers import UnsolvedPrompts
from scheduler.cli.label_options import labels
from scheduler.cli.ledger_table import ledger as ledger_table
from scheduler.cli.names import RunId
from scheduler.cli.resumption import gone_on_with
from scheduler.cli.run_file import Fields
from scheduler.cli.run_options import merged, parameters
from scheduler.cli.terminal import DEFAULT_URL, INTERRUPTED, AsJson, Terminal, Url, say, talk
from scheduler.client import Json
from scheduler.core.evaluation import EvaluationMeasure
from scheduler.core.incomplete import IncompletePolicy
from scheduler.core.lifecycle import RunState
from scheduler.core.overlong import OverlongPolicy
from scheduler.core.roll_out import PauseMode
from scheduler.core.stragglers import StragglerPolicy

commands = typer.Typer(no_args_is_help=True, help="Training jobs over a pool, with a budget and an allocator.")

_SIZES, _BUDGET, _EVALUATION, _FAILURES = "Groups and steps", "Budget", "Evaluation", "Failures and long answers"


@commands.command("create")
def create(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE", help="The run as TOML, YAML or JSON, with the fields of POST /v1/runs; - is stdin."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="A field over FILE, as budget.rollouts=2000; repeatable."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check it and show what it may spend and what ends it; create nothing.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with the run of this id if there is one: raise its budget, resume it."),
    ] = False,
    pool: Annotated[str | None, typer.Option(help="The pool to train on.")] = None,
    run_id: Annotated[str | None, typer.Option(help="Its id; one is made up by default.")] = None,
    allocator: Annotated[
        str | None, typer.Option(help="The rule that spends: adaptive, grpo, pilot_commit, … or package.module:Name.")
    ] = None,
    parameter: Annotated[
        list[str] | None, typer.Option(metavar="NAME=NUMBER", help="A parameter of the allocator; repeatable.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Fixes the order of prompts and the sampling seeds.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Follow it until it ends, as `run watch` does.")] = False,
    pilots: Annotated[int | None, typer.Option(help="Rollouts of the first small set.", rich_help_panel=_SIZES)] = None,
    commits: Annotated[
        int | None, typer.Option(help="Rollouts a committed prompt gets on top.", rich_help_panel=_SIZES)
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Groups of one step.", rich_help_panel=_SIZES)] = None,
    max_steps: Annotated[int | None, typer.Option(help="Steps after which it ends.", rich_help_panel=_SIZES)] = None,
    max_staleness: Annotated[
        int | None, typer.Option(help="Weight versions a group may be behind.", rich_help_panel=_SIZES)
    ] = None,
    batches_ahead: Annotated[
        int | None, typer.Option(help="Batches sampled beyond the one being trained.", rich_help_panel=_SIZES)
    ] = None,
    server_label: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A label that its servers have to have, as gpu=h100; repeatable."),
    ] = None,
    pause_mode: Annotated[
        PauseMode | None, typer.Option(help="What becomes of requests in flight when weights are pushed.")
    ] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(help="Generated tokens of a rollout at most.", rich_help_panel=_SIZES)
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="Of sampling.", rich_help_panel=_SIZES)] = None,
    stop: Annotated[
        list[str] | None, typer.Option(help="Text that ends a completion; repeatable.", rich_help_panel=_SIZES)
    ] = None,
    budget_rollouts: Annotated[
        int | None, typer.Option(help="Pilot and commit rollouts.", rich_help_panel=_BUDGET)
    ] = None,
    budget_tokens: Annotated[int | None, typer.Option(help="Generated tokens.", rich_help_panel=_BUDGET)] = None,
    budget_wall_clock_s: Annotated[
        float | None, typer.Option(help="Seconds until nothing new is claimed.", rich_help_panel=_BUDGET)
    ] = None,
    budget_eval_rollouts: Annotated[
        int | None, typer.Option(help="Evaluation rollouts.", rich_help_panel=_BUDGET)
    ] = None,
    eval_pool: Annotated[str | None, typer.Option(help="Held-out prompts.", rich_help_panel=_EVALUATION)] = None,
    eval_rollouts: Annotated[
        int | None, typer.Option(help="Rollouts per prompt, first and last.", rich_help_panel=_EVALUATION)
    ] = None,
    eval_every_steps: Annotated[
        int | None, typer.Option(help="Steps between those in between.", rich_help_panel=_EVALUATION)
    ] = None,
    eval_measure: Annotated[
        EvaluationMeasure | None,
        typer.Option(help="Judge rollouts, or read the answer's probability.", rich_help_panel=_EVALUATION),
    ] = None,
    eval_target: Annotated[
        str | None,
        typer.Option(help="With likelihood, the text after a prompt; has {answer}.", rich_help_panel=_EVALUATION),
    ] = None,
    max_attempts: Annotated[
        int | None, typer.Option(help="Attempts for one rollout.", rich_help_panel=_FAILURES)
    ] = None,
    attempt_timeout_s: Annotated[
        float | None, typer.Option(help="Seconds one attempt may take.", rich_help_panel=_FAILURES)
    ] = None,
    incomplete: Annotated[
        IncompletePolicy | None,
        typer.Option(help="Make lost attempts again, accept a group without, or drop it.", rich_help_panel=_FAILURES),
    ] = None,
    min_group: Annotated[
        int | None, typer.Option(help="Least rollouts of a group that lacks some.", rich_help_panel=_FAILURES)
    ] = None,
    stragglers: Annotated[
        StragglerPolicy | None,
        typer.Option(help="Wait for attempts that take much longer, cut or replace them.", rich_help_panel=_FAILURES),
    ] = None,
    straggler_share: Annotated[
        float | None, typer.Option(help="Share that is back before any is one.", rich_help_panel=_FAILURES)
    ] = None,
    straggler_factor: Annotated[
        float | None, typer.Option(help="Times their median duration.", rich_help_panel=_FAILURES)
    ] = None,
    overlong: Annotated[
        OverlongPolicy | None,
        typer.Option(help="Keep, mask or penalise completions at the token limit.", rich_help_panel=_FAILURES),
    ] = None,
    overlong_cache: Annotated[
        int | None, typer.Option(help="Last tokens over which the reward falls.", rich_help_panel=_FAILURES)
    ] = None,
    breaker_window: Annotated[
        int | None, typer.Option(help="Attempts that a failure rate is taken over.", rich_help_panel=_FAILURES)
    ] = None,
    breaker_max_lost_rate: Annotated[
        float | None, typer.Option(help="Share lost above which nothing is claimed.", rich_help_panel=_FAILURES)
    ] = None,
    breaker_max_failed_rate: Annotated[
        float | None, typer.Option(help="Likewise, share that came back and failed.", rich_help_panel=_FAILURES)
    ] = None,
    breaker_pause_s: Annotated[
        float | None, typer.Option(help="Seconds until a few claims are tried.", rich_help_panel=_FAILURES)
    ] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Queue a run. Options go over --set, and that over FILE; what nobody gives takes the API's default."""
    options: Fields = {
        "pool": pool,
        "run_id": run_id,
        "allocator": allocator,
        "seed": seed,
        "servers": labels(server_label, "--server-label") or None,
        "pause_mode": pause_mode,
        "pilots": pilots,
        "commits": commits,
        "batch_size": batch_size,
        "max_steps": max_steps,
        "max_staleness": max_staleness,
        "batches_ahead": batches_ahead,
        "sampling.max_new_tokens": max_new_tokens,
        "sampling.temperature": temperature,
        "sampling.stop": stop or None,
        "budget.rollouts": budget_rollouts,
        "budget.tokens": budget_tokens,
        "budget.wall_clock_s": budget_wall_clock_s,
        "budget.eval_rollouts": budget_eval_rollouts,
        "evaluation.pool": eval_pool,
        "evaluation.rollouts": eval_rollouts,
        "evaluation.every_steps": eval_every_steps,
        "evaluation.measure": eval_measure,
        "evaluation.target": eval_target,
        "max_attempts": max_attempts,
        "attempt_timeout_s": attempt_timeout_s,
        "incomplete": incomplete,
        "min_group": min_group,
        "stragglers": stragglers,
        "straggler_share": straggler_share,
        "straggler_factor": straggler_factor,
        "overlong": overlong,
        "overlong_cache": overlong_cache,
        "breaker.window": breaker_window,
        "breaker.max_lost_rate": breaker_max_lost_rate,
        "breaker.max_failed_rate": breaker_max_failed_rate,
        "breaker.pause_s": breaker_pause_s,
    }
    fields = run_file.read(file) if file is not None else {}
    request = merged(fields, run_file.settings(settings or ()), options, parameters(parameter or ()))
    with talk(url, as_json) as terminal:
        if dry_run:
            terminal.show(terminal.client.dry_run(request), answers.DryRun, dry_run_table)
            return
        run = gone_on_with(terminal.client, request) if resume else None
        run = terminal.client.create_run(request) if run is None else run
        if watch:
            _follow(terminal, answers.read(run, answers.Run).run_id)
        else:
            _show(terminal, run)


@commands.command("list")
def list_runs(
    states: Annotated[
        list[RunState] | None, typer.Option("--state", help="Only runs in this state; repeatable.")
    ] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """List runs, oldest first."""
    with talk(url, as_json) as terminal:
        runs = [run for run in terminal.client.runs() if not states or run["state"] in states]
        terminal.show(runs, list[answers.Run], partial(tables.runs, now=time.time()))


@commands.command("show")
def show(run_id: RunId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show a run: its state, what it waits for, its spend and skip rates."""
    with talk(url, as_json) as terminal:
        _show(terminal, terminal.client.run(run_id))


@commands.command("pause")
def pause(run_id: RunId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Claim nothing new; what is under way finishes."""
    with talk(url, as_json) as terminal:
        _show(terminal, terminal.client.pause(run_id))


@commands.command("resume")
def resume(run_id: RunId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Claim again."""
    with talk(url, as_json) as terminal:
        _show(terminal, terminal.client.resume(run_id))


@commands.command("cancel")
def cancel(run_id: RunId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """End a run now: what is in flight is aborted and accounted as cancelled."""
    with talk(url, as_json) as terminal:
        _show(terminal, terminal.client.cancel(run_id))


@commands.command("raise-budget")
def raise_budget(
    run_id: RunId,
    rollouts: Annotated[int | None, typer.Option(help="Pilot and commit rollouts, those spent included.")] = None,
    tokens: Annotated[int | None, typer.Option(help="Generated tokens, likewise.")] = None,
    wall_clock_s: Annotated[float | None, typer.Option(help="Seconds until nothing new is claimed.")] = None,
    eval_rollouts: Annotated[int | None, typer.Option(help="Evaluation rollouts, likewise.")] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Give a run higher limits, at once; they are never lowered, and a run that is ending is not brought back."""
    given: Fields = {
        "rollouts": rollouts,
        "tokens": tokens,
        "wall_clock_s": wall_clock_s,
        "eval_rollouts": eval_rollouts,
    }
    limits = {name: limit for name, limit in given.items() if limit is not None}
    with talk(url, as_json) as terminal:
        _show(terminal, terminal.client.raise_budget(run_id, limits))


@commands.command("ledger")
def ledger(run_id: RunId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show what became of every attempt."""
    with talk(url, as_json) as terminal:
        terminal.show(terminal.client.ledger(run_id), answers.Ledger, ledger_table)


@commands.command("weights")
def weights(
    run_id: RunId,
    count: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 20,
    every: Annotated[bool, typer.Option("--all", help="Every version of the run.")] = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """List the newest weight versions, newest first: what was spent by each, and what its step was like."""
    with talk(url, as_json) as terminal:
        client = terminal.client
        found = list(client.all_weights(run_id)) if every else client.weights(run_id, count=count)
        terminal.show(found, list[answers.Weights], partial(tables.weights, now=time.time()))


@commands.command("unsolved")
def unsolved(
    run_id: RunId,
    min_rollouts: Annotated[int, typer.Option(min=1, help="Only prompts with at least so many rollouts.")] = 8,
    count: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 20,
    offset: Annotated[int, typer.Option(min=0, help="Leave out so many from the top: the pages before.")] = 0,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """List prompts never solved, most rollouts first: where every rollout is wrong, often the reference answer is."""
    with talk(url, as_json) as terminal:
        found = terminal.client.unsolved(run_id, min_rollouts=min_rollouts, count=count, offset=offset)
        terminal.show(found, UnsolvedPrompts, unsolved_table)


@commands.command("watch")
def watch(
    run_id: RunId,
    interval_s: Annotated[float, typer.Option("--interval", min=0.1, help="Seconds between two looks.")] = 2.0,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Follow a run until it ends. The exit code is 1 if it failed; Ctrl-C stops watching and leaves the run alone."""
    with talk(url, as_json) as terminal:
        _follow(terminal, run_id, interval_s=interval_s)


def _follow(terminal: Terminal, run_id: str, *, interval_s: float = 2.0) -> None:
    # Imported here: no other command pays for the display.
    from scheduler.cli.watch import watch as follow

    try:
        ended = follow(terminal, run_id, interval_s=interval_s)
    except KeyboardInterrupt as stopped:
        say(f"the run goes on; `pilotcommit run watch {run_id}` follows it again")
        raise typer.Exit(INTERRUPTED) from stopped
    if ended is RunState.FAILED:
        raise typer.Exit(1)


def _show(terminal: Terminal, run: Json) -> None:
    terminal.show(run, answers.Run, partial(tables.run, now=time.time()))
