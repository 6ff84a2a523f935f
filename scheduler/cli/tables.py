"""The API's answers as tables.

Owns: which facts are shown and in what order. Pure, except that moments are shown in local time. Invariant: text that
came from outside (ids, reasons, paths) is shown as it is and never read as markup.
"""

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from scheduler.cli import words
from scheduler.cli.answers import Added, Evaluation, Joined, Pool, PoolOfRun, Prompt, Refusal, Run, Server, Weights
from scheduler.core.labels import told
from scheduler.core.lifecycle import ServerState, Standing
from scheduler.core.run import RunMode
from scheduler.core.spend import NOT_COMMITTED

Cell = Text | str
_RIGHT = ">"
_MOST_REFUSALS = 20
_SHOWN_STATS = ("loss", "grad_norm")
"""Of what a learner measures, for which a table has room; --json has all."""


def grid(headings: Sequence[str], rows: Iterable[Sequence[Cell]], *, empty: str) -> RenderableType:
    """Rows under headings, those that begin with `>` to the right; `empty` says what to do when there are none."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    for number, heading in enumerate(headings):
        right = heading.startswith(_RIGHT)
        table.add_column(
            heading.removeprefix(_RIGHT),
            justify="right" if right else "left",
            # An id stays in one piece, to be copied.
            no_wrap=right or number == 0,
            overflow="fold",
            style="" if number else "bold",
        )
    for row in rows:
        table.add_row(*(_text(cell) for cell in row))
    return table if table.row_count else Text(empty, style="dim")


def facts(title: str, rows: Iterable[tuple[str, Cell]]) -> RenderableType:
    """Labelled facts of one thing."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in rows:
        table.add_row(label, _text(value))
    return Panel(table, title=Text(title, style="bold"), title_align="left", box=box.ROUNDED, expand=False)


def pools(found: Sequence[Pool]) -> RenderableType:
    """Pools with their sizes."""
    return grid(
        ("pool", ">prompts", "reward", "tokenizer"),
        ((pool.name, f"{pool.num_prompts:,}", pool.reward, pool.tokenizer) for pool in found),
        empty="no pools yet: create one with `pilotcommit pool create`",
    )


def pool(found: Pool) -> RenderableType:
    """One pool."""
    return facts(
        found.name,
        (
            ("prompts", f"{found.num_prompts:,}"),
            ("reward", found.reward),
            ("tokenizer", found.tokenizer),
            ("longest prompt", f"{found.max_prompt_tokens:,} tokens"),
        ),
    )


def added(report: Added) -> RenderableType:
    """What became of the lines sent, the refused ones each with its reason."""
    num_refused = len(report.refused) + report.more_refused
    summary = f"{report.added:,} added, {report.unchanged:,} unchanged, {num_refused:,} refused"
    if not report.refused:
        return Text(summary)
    shown = report.refused[:_MOST_REFUSALS]
    left = num_refused - len(shown)
    more = [Text(f"and {left:,} more: --json shows the first 10,000", style="dim")] if left else []
    return Group(Text(summary, style="red"), refusals(shown), *more)


def refusals(found: Sequence[Refusal]) -> RenderableType:
    """Lines that were refused, each with its reason."""
    return grid((">line", "id", "reason"), ((str(bad.line), bad.id or "", bad.reason) for bad in found), empty="")


def runs(found: Sequence[Run], now: float) -> RenderableType:
    """Runs in a line each."""
    return grid(
        ("run", "state", "pool", "allocator", ">step", ">rollouts", ">skipped", ">age"),
        (
            (
                run.run_id,
                words.run_state(run.state),
                run.pool,
                run.allocator,
                _steps(run),
                words.of_limit(run.spend.rollouts, run.config.budget.rollouts),
                words.rate(run.skip_rate),
                words.age(run.created_at, now),
            )
            for run in found
        ),
        empty="no runs yet: create one with `pilotcommit run create`",
    )


def run(found: Run, now: float) -> RenderableType:
    """One run with what it waits for, its spend and its prompts."""
    spend, budget = found.spend, found.config.budget
    known = facts(
        found.run_id,
        (
            ("state", _state(found)),
            ("time", _time(found, now)),
            ("trains on", f"{found.pool} by {found.allocator}, {_groups(found)}"),
            ("steps", f"{_steps(found)} applied, {found.checkpointed_step} saved"),
            ("weights", _versions(found)),
            (
                "rollouts",
                f"{words.of_limit(spend.rollouts, budget.rollouts)} spent, {spend.reserved_rollouts:,} reserved",
            ),
            ("tokens", f"{words.of_limit(spend.tokens, budget.tokens)} spent, {spend.reserved_tokens:,} reserved"),
            ("skip rate", _skip_rates(found)),
            ("pilots right", _pilots(found)),
            ("prompts", ", ".join(f"{number:,} {state}" for state, number in found.prompts.items())),
        ),
    )
    return Group(known, _mixed(found.pools)) if len(found.pools) > 1 else known


def _mixed(pools: Sequence[PoolOfRun]) -> RenderableType:
    """What was spent on each of several pools, beside the share it was to have."""
    claims = sum(pool.claimed for pool in pools)
    return grid(
        (
            "pool",
            ">to have",
            ">claims",
            ">share",
            ">let pass",
            ">skipped",
            ">pilots right",
            ">rollouts",
            ">tokens",
            ">left",
        ),
        (
            (
                pool.name,
                words.rate(pool.part),
                f"{pool.claimed:,}",
                words.rate(pool.claimed / claims if claims else None),
                words.count(pool.forfeited),
                words.rate(pool.skip_rate),
                words.rate(pool.pilot_success_rate),
                f"{pool.rollouts:,}",
                f"{pool.tokens:,}",
                f"{pool.claimable:,}",
            )
            for pool in pools
        ),
        empty="",
    )


def prompt(found: Prompt) -> RenderableType:
    """Why a prompt was skipped: its evidence and its history."""
    known = facts(
        found.prompt_id,
        (
            ("state", _place(found)),
            ("last verdict", f"{found.last_verdict or words.DASH} {_bracketed(found.reason)}"),
            ("visits", str(found.visits)),
            ("rollouts", f"{found.num_pilots:,} pilots, {found.num_commits:,} commits"),
            ("success rate", f"{words.rate(found.success_rate)} expected"),
            ("informativeness", _decimals(found.informativeness)),
            ("tokens", f"{found.tokens_per_rollout:,.0f} a rollout"),
        ),
    )
    history = grid(
        ("when", "what", "reason", ">pilots right", ">version", ">step"),
        (
            (
                words.clock(event.at),
                words.spaced(event.what),
                words.spaced(event.reason),
                f"{event.correct} of {event.pilots}" if event.pilots else "",
                str(event.version),
                "" if event.step is None else str(event.step),
            )
            for event in found.history
        ),
        empty="nothing has happened to it yet",
    )
    return Group(known, history)


def servers(found: Sequence[Server]) -> RenderableType:
    """The fleet."""
    return grid(
        ("id", "server", "standing", "state", ">version", ">in flight", "reason"),
        (
            (
                server.server_id,
                _lines(server.url, told(server.labels), f"of run {server.run}" if server.run else ""),
                Text(server.standing, style="green" if server.standing == Standing.SERVING else "yellow"),
                Text(server.state, style="green" if server.state == ServerState.HEALTHY else "red"),
                words.version(server.version),
                f"{server.in_flight:,} of {server.capacity:,}",
                _lines(server.reason, *server.warnings),
            )
            for server in found
        ),
        empty="the fleet has no servers: name them in PILOTCOMMIT_SERVERS, or `pilotcommit server add URL`",
    )


def joined(found: Joined) -> RenderableType:
    """The servers behind a gateway."""
    refused = grid(
        ("not added", "reason"), ((server.url, server.reason) for server in found.refused), empty="none was refused"
    )
    return Group(servers([*found.added, *found.present]), *([refused] if found.refused else []))


def weights(found: Sequence[Weights], now: float) -> RenderableType:
    """Weight versions, newest first, with what was spent by then and what their steps were like."""
    stats = [name for name in _SHOWN_STATS if any(name in record.stats for record in found)]
    return grid(
        (
            ">version",
            "state",
            ">step",
            ">rollouts",
            ">tokens",
            *(f">{name}" for name in stats),
            ">age",
            ">push",
            "folder",
        ),
        (
            (
                str(record.version),
                record.state,
                str(record.step),
                words.count(record.spent_rollouts),
                words.count(record.spent_tokens),
                *(words.measured(record.stats.get(name)) for name in stats),
                words.age(record.announced_at, now),
                words.DASH if record.push_s is None else f"{record.push_s:.1f} s",
                record.path,
            )
            for record in found
        ),
        empty="the learner has not published any weights yet",
    )


def evaluations(found: Sequence[Evaluation]) -> RenderableType:
    """Evaluations in a line each."""
    return grid(
        ("evaluation", "state", "pool", "purpose", ">version", ">step", "measure", ">accuracy", ">judged"),
        (
            (
                record.evaluation_id,
                record.state if not record.reason else f"{record.state}: {record.reason}",
                record.pool,
                record.purpose,
                words.version(record.version),
                str(record.step) if record.version else words.DASH,
                record.measure,
                words.accuracy(record.accuracy),
                words.of_limit(record.judged, record.num_prompts * record.num_rollouts),
            )
            for record in found
        ),
        empty="no evaluations yet: ask for one with `pilotcommit evaluation create`",
    )


def _lines(*parts: str) -> str:
    return "\n".join(part for part in parts if part)


def _text(cell: Cell) -> Text:
    return cell if isinstance(cell, Text) else Text(cell)


def _steps(found: Run) -> str:
    return words.of_limit(found.step, found.config.max_steps)


def _skip_rates(found: Run) -> str:
    shares = [f"{verdict} {words.rate(found.skip_rates.get(verdict))}" for verdict in NOT_COMMITTED]
    return f"{words.rate(found.skip_rate)} ({', '.join(shares)})" if found.skip_rates else words.DASH


def _state(found: Run) -> Text:
    why = found.waiting_for or found.reason
    if found.queue is not None and found.queue.position:
        why = f"place {found.queue.position}, waits for {why}"
    return words.run_state(found.state).append(f" {words.DOT} {why}" if why else "", style="default")


def _time(found: Run, now: float) -> str:
    ended = "" if found.ended_at is None else f", ended {words.ago(found.ended_at, now)}"
    worked_s = found.worked_s(now)
    if worked_s is None:
        return f"created {words.ago(found.created_at, now)}, nothing claimed{ended or ' yet'}"
    took = words.duration(worked_s)
    return f"took {took}{ended}" if ended else f"at work for {took}"


def _versions(found: Run) -> str:
    if not found.version:
        return "none published yet"
    return f"version {found.version}, {f'{found.live_version} is live' if found.live_version else 'none is live'}"


def _pilots(found: Run) -> str:
    return (
        words.DASH if found.pilot_success_rate is None else f"{words.rate(found.pilot_success_rate)} before selection"
    )


def _groups(found: Run) -> str:
    config = found.config
    if config.mode is RunMode.PROFILE:
        return f"which only looks: {words.plural(config.pilots, 'pilot')} a prompt"
    return f"{config.batch_size} groups of {config.pilots} pilots + {config.commits} commits a step"


def _place(found: Prompt) -> Text:
    place = words.prompt_state(found.state)
    if found.state.value != "waiting":
        return place
    returns = "never returns" if found.next_version is None else f"returns at version {found.next_version}"
    return place.append(f" {words.DOT} {returns}", style="default")


def _bracketed(reason: str) -> str:
    return f"({reason.replace('_', ' ')})" if reason else ""


def _decimals(number: float | None) -> str:
    return words.DASH if number is None else f"{number:.3f}"
