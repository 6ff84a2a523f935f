"""`python -m tests.compose`: the compose file, built and run for real, as somebody who just cloned it would.

Owns: the course of it, and what it says meanwhile. Invariant: whatever happens, the deployment is removed, and an
engine that was started for it is stopped.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Annotated

import httpx
import typer

from scheduler.client import Client
from scheduler.core.errors import ServerUnavailable
from scheduler.core.lifecycle import ENDED
from tests.compose import checks
from tests.compose.deployment import Deployment, removed
from tests.compose.engine import Engine, engine
from tests.compose.images import Images, services_of
from tests.deploy.scraper import Scraper

_LEFT_OUT = "grafana"
_LOOK_S = 2.0
_TELL_S = 20.0

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    budget_rollouts: Annotated[int, typer.Option(min=64, help="What the demo may spend.")] = 320,
    minutes: Annotated[float, typer.Option(help="How long the demo may take, once everything is built.")] = 20.0,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the images of an engine that is started here.")] = False,
) -> None:
    """Build the images, bring the profile `cpu` up, let the demo run, check what came of it, and remove it all."""
    started = time.monotonic()

    def say(line: str) -> None:
        sys.stdout.write(f"{time.monotonic() - started:6.0f} s  {line}\n")
        sys.stdout.flush()

    # As Ctrl-C does: what was begun is removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        with engine(say, keep=keep) as found:
            _course(found, say, budget_rollouts, minutes)
    except (RuntimeError, AssertionError) as error:
        say(f"not well: {error}")
        raise typer.Exit(1) from error
    except subprocess.CalledProcessError as error:
        said = (error.stderr or b"").decode(errors="replace") if isinstance(error.stderr, bytes) else error.stderr
        say(f"{' '.join(map(str, error.cmd))} failed:\n{said}")
        raise typer.Exit(1) from error
    say("all is well, and nothing of it is left" if not keep else "all is well")


def _course(found: Engine, say: Callable[[str], None], budget_rollouts: int, minutes: float) -> None:
    deployment = Deployment(engine=found, budget_rollouts=budget_rollouts)
    services = services_of(deployment.compose("config"))
    missing = Images(engine=found, say=say).prepare(services)
    if missing - {_LEFT_OUT}:
        raise RuntimeError(f"no image of {', '.join(sorted(missing - {_LEFT_OUT}))}")
    for name in missing:
        say(f"{name} is NOT RUN here, as its image cannot be had")
    with removed(deployment):
        try:
            deployment.up(sorted(set(services) - missing))
            say("started; waiting for the demo's run")
            _check(deployment, say, budget_rollouts, minutes)
        except Exception:
            say(f"what the services said last:\n{deployment.logs()}")
            raise


def _check(deployment: Deployment, say: Callable[[str], None], budget_rollouts: int, minutes: float) -> None:
    token = deployment.run("cli", "/run/secrets/operator_token", entrypoint="cat").strip()
    prometheus = httpx.Client(base_url=deployment.url("PROMETHEUS"), timeout=10.0, trust_env=False)
    with Client(deployment.url("SCHEDULER"), token=token) as client, prometheus:
        run_id = _ended(client, say, minutes)
        asked = (
            partial(checks.the_books_balance, client, run_id, budget_rollouts),
            partial(checks.prometheus_saw_it, Scraper(http=prometheus)),
            partial(checks.containers_are_well, deployment),
            partial(checks.the_scheduler_has_no_torch, deployment),
            partial(checks.a_second_start_submits_nothing, deployment, client),
            partial(
                checks.nothing_is_lost_when_all_of_it_restarts,
                deployment,
                client,
                run_id,
                partial(_until, lambda: _is_up(client), minutes),
            ),
        )
        for check in asked:
            check()
            say(check.func.__name__.replace("_", " "))


def _ended(client: Client, say: Callable[[str], None], minutes: float) -> str:
    """The demo's run, once it has ended."""
    told = 0.0
    run: dict[str, object] = {}

    def over() -> bool:
        nonlocal run, told
        runs = client.runs()
        if runs:
            (run,) = runs
            if time.monotonic() - told > _TELL_S:
                told = time.monotonic()
                ledger = client.ledger(str(run["run_id"]))
                say(f"run {run['run_id']} is {run['state']}: {ledger['spent_rollouts']} rollouts spent")
        return run.get("state") in ENDED

    _until(over, minutes)
    return str(run["run_id"])


def _until(condition: Callable[[], bool], minutes: float) -> None:
    deadline = time.monotonic() + 60 * minutes
    while True:
        try:
            if condition():
                return
        except ServerUnavailable:
            pass
        if time.monotonic() > deadline:
            raise RuntimeError(f"not done after {minutes:g} minutes")
        time.sleep(_LOOK_S)


def _is_up(client: Client) -> bool:
    client.runs()
    return True


if __name__ == "__main__":
    app(prog_name="python -m tests.compose")
