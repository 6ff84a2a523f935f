"""`pilotcommit run watch`: a run followed until it ends.

Owns: when to look. Never steers the run. Invariant: it ends with the run, or when the scheduler has been silent for
longer than a restart takes.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from scheduler.cli.answers import Run, read
from scheduler.cli.terminal import Terminal
from scheduler.cli.words import DOT
from scheduler.client import Client, Json
from scheduler.core.errors import ServerUnavailable
from scheduler.core.lifecycle import ENDED, RunState
from scheduler.demo.facts import Facts, snapshot
from scheduler.demo.progress import ProgressDisplay, Snapshot

_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What the API answers about a run at one moment."""

    run: Json
    ledger: Json
    evaluations: Sequence[Json]
    servers: Sequence[Json]


def watch(terminal: Terminal, run_id: str, *, interval_s: float) -> RunState:
    """Show the run until it ends, with --json its answer on a line for each look; the state it ended in.

    Raises NotFound for the run, ServerUnavailable if the scheduler is silent for too long.
    """
    state = RunState.QUEUED
    with ProgressDisplay(terminal.console) as display:
        for look in _looks(terminal.client, run_id, interval_s):
            shown = as_snapshot(look, now=time.time())
            state = shown.state
            if terminal.as_json:
                terminal.line(look.run)
            else:
                display.show(shown)
    return state


def _looks(client: Client, run_id: str, interval_s: float) -> Iterator[Look]:
    """Consumes: the API's answers. Produces: looks. Waits for: the next one's time. Unblocked by: the run's end."""
    answered_at: float | None = None
    while True:
        try:
            look = Look(
                run=client.run(run_id),
                ledger=client.ledger(run_id),
                evaluations=client.evaluations(run_id),
                servers=client.servers(),
            )
        except ServerUnavailable:
            if answered_at is None or time.monotonic() - answered_at > _PATIENCE_S:
                raise
        else:
            answered_at = time.monotonic()
            yield look
            if look.run["state"] in ENDED:
                return
        time.sleep(interval_s)


def as_snapshot(look: Look, *, now: float) -> Snapshot:
    """A look as it is shown; `now` in seconds since the epoch."""
    run = read(look.run, Run)
    elapsed_s = max(0.0, (run.ended_at or now) - (run.started_at or run.created_at))
    # Accuracies of different pools or measures do not compare: the first one that was measured is followed.
    same = [record for record in look.evaluations if _kind(record) == _kind(look.evaluations[0])]
    title = f"{run.run_id} {DOT} {run.pool} {DOT} {run.allocator}"
    return snapshot(title, Facts.read(elapsed_s, look.run, look.ledger, same, look.servers))


def _kind(evaluation: Json) -> tuple[object, object]:
    return evaluation["pool"], evaluation["measure"]
