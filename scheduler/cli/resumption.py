"""A run that a file describes and that may exist already: `run create --resume`.

Owns: whether the run that exists is the one that is described, and bringing it up to that. Invariant: a run that
differs in anything but a higher budget is left alone.
"""

import json
from collections.abc import Iterator, Mapping

import typer

from scheduler.cli import answers
from scheduler.client import Client, Json
from scheduler.core.errors import Conflict, NotFound
from scheduler.core.lifecycle import ENDED, RunState

_ID, _BUDGET = "run_id", "budget."


def gone_on_with(client: Client, request: Mapping[str, object]) -> Json | None:
    """The run of the request's id, with its budget raised and resumed if it was paused; None if there is none.

    Raises BadParameter for a request without an id, Conflict if the run was created with other fields.
    """
    run_id = request.get(_ID)
    if not isinstance(run_id, str):
        raise typer.BadParameter("which run? Give it run_id in FILE, or --run-id", param_hint="--resume")
    try:
        found = client.run(run_id)
    except NotFound:
        return None
    # Its id is taken, by itself.
    wanted = client.dry_run({name: value for name, value in request.items() if name != _ID})
    now, then = dict(_flat(_config(found))), dict(_flat(_config(wanted)))
    changed = {name: value for name, value in then.items() if now.get(name) != value}
    _refuse(run_id, changed, now)
    run = answers.read(found, answers.Run)
    if run.state in ENDED:
        return found
    if changed:
        found = client.raise_budget(run_id, {name.removeprefix(_BUDGET): limit for name, limit in changed.items()})
    return client.resume(run_id) if run.state is RunState.PAUSED else found


def _refuse(run_id: str, changed: Mapping[str, object], now: Mapping[str, object]) -> None:
    others = [name for name, value in changed.items() if not name.startswith(_BUDGET) or value is None]
    if others:
        listed = ", ".join(f"{name} is {_shown(now.get(name))}, not {_shown(changed[name])}" for name in others)
        raise Conflict(
            f"run {run_id} was created otherwise: {listed}; only budgets can be raised, or choose another id"
        )


def _shown(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _config(answer: Json) -> Mapping[str, object]:
    config = answer["config"]
    assert isinstance(config, dict)
    return config


def _flat(fields: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in fields.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
