"""`pilotcommit up` and `pilotcommit demo`: the service on this machine.

Owns: their options and the signals that end `up`. Never starts a process itself. Invariant: what they need beyond the
client is imported when they are called, so that the other commands start fast and work without it.
"""

import asyncio
import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from inference.interpreter import Device
from scheduler.cli.terminal import DEFAULT_URL, AsJson, Url, say, talk
from scheduler.cli.whereabouts import Whereabouts
from scheduler.core.errors import InvalidInput

if TYPE_CHECKING:
    from scheduler.demo.options import DemoOptions
    from scheduler.stack import Stack

DEFAULT_METRICS_PORT = 8401
"""Where deploy/prometheus/prometheus.yml looks for a learner."""


def up(
    model: Annotated[Path, typer.Option(help="Folder of the policy at step 0, with its tokenizer.")],
    servers: Annotated[
        list[str] | None,
        typer.Option(
            "--server", metavar="URL", help="A server that runs already; repeatable. By default one is started here."
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the API; 0 takes a free one.")] = 8400,
    redis: Annotated[
        str, typer.Option(metavar="URL", help="redis:// address of the durable state; embedded starts a private one.")
    ] = "embedded",
    device: Annotated[
        Device | None, typer.Option(help="Where servers and learners compute; by default a GPU if there is one.")
    ] = None,
    folder: Annotated[
        Path, typer.Option("--dir", help="Everything it writes: durable state, weights, checkpoints, logs.")
    ] = Path(".pilotcommit"),
    learners: Annotated[bool, typer.Option(help="Start a learner for every run that is at work.")] = True,
    learner_metrics_port: Annotated[
        int,
        typer.Option(
            min=0,
            max=65535,
            envvar="PILOTCOMMIT_LEARNER_METRICS_PORT",
            help="Of the learner's metrics, for Prometheus; a free one if it is taken, 0 for none.",
        ),
    ] = DEFAULT_METRICS_PORT,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object once it is ready.")] = False,
) -> None:
    """Start servers, scheduler and learners here, and keep them running until Ctrl-C."""
    from scheduler import logs
    from scheduler.stack import Stack, StackPlan

    # The children log for themselves; stdout is kept for the answer.
    logs.configure("WARNING")
    if not (model / "config.json").is_file():
        raise typer.BadParameter(f"{model} has no config.json: name the folder of a model", param_hint="--model")
    plan = StackPlan(
        model=model.resolve(),
        folder=folder.resolve(),
        port=port,
        servers=tuple(servers or ()),
        redis_url=redis,
        device=device,
        learners=learners,
        learner_metrics_port=learner_metrics_port,
    )
    asyncio.run(_until_stopped(Stack(plan, say=say), as_json=as_json))


async def _until_stopped(stack: "Stack", *, as_json: bool) -> None:
    """Run the stack until a signal.

    Consumes: signals. Produces: the address, once it is ready. Waits for: either. Raises what the stack raises.
    """
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    running = asyncio.create_task(stack.run(), name="stack")
    tasks = {
        running,
        asyncio.create_task(_announce(stack, as_json=as_json), name="announce"),
        asyncio.create_task(_stop_with(stopped, running), name="stop"),
    }
    try:
        await running
    except asyncio.CancelledError:
        if not stopped.is_set():
            raise
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    say("stopped; what was started is gone, the durable state stays")


async def _stop_with(stopped: asyncio.Event, running: asyncio.Task[None]) -> None:
    await stopped.wait()
    say("stopping: what is in flight gets a while to come back")
    running.cancel()


async def _announce(stack: "Stack", *, as_json: bool) -> None:
    await stack.wait_ready()
    plan = stack.plan
    where = Whereabouts(
        url=stack.url,
        folder=plan.folder,
        servers=stack.server_urls,
        redis=plan.redis_url.rpartition("@")[2],
        learner_metrics_port=plan.learner_metrics_port,
        learners=plan.learners,
    )
    if as_json:
        typer.echo(json.dumps(where.as_json()))
    else:
        Console(stderr=True).print(where.screen())


def demo(
    allocator: Annotated[str, typer.Option(help="The rule that spends; grpo is the uniform baseline.")] = "adaptive",
    budget_rollouts: Annotated[
        int | None, typer.Option(min=1, help="Pilot and commit rollouts; the default fits ten minutes on two cores.")
    ] = None,
    max_steps: Annotated[
        int | None, typer.Option(min=1, help="Training steps; by default the budget ends the run.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the pool, the order of prompts and the learner.")] = 0,
    out: Annotated[Path, typer.Option(help="Where the picture and the report go.")] = Path("demo-output"),
    model: Annotated[
        Path | None, typer.Option(help="Folder of another model; by default SmolLM2-135M-Instruct from the cache.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep weights, checkpoints and durable state.")] = False,
    submit: Annotated[
        bool,
        typer.Option(
            "--submit", help="Start nothing: submit the run to the scheduler at --url, if that has no run yet."
        ),
    ] = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Train a small model on arithmetic, from nothing to a picture."""
    from scheduler import logs
    from scheduler.demo.options import DemoOptions

    options = DemoOptions(
        json=as_json,
        allocator=allocator,
        budget_rollouts=budget_rollouts,
        max_steps=max_steps,
        seed=seed,
        out=out,
        model=model,
        keep=keep,
    )
    if submit:
        _submit(options, url)
        return
    logs.configure("WARNING")
    try:
        from scheduler.demo.main import demo as run_demo
    except ModuleNotFoundError as exc:
        raise InvalidInput(f"the demo needs {exc.name}: install `pilotcommit[demo]`") from exc
    raise typer.Exit(run_demo(options))


def _submit(options: "DemoOptions", url: str) -> None:
    from scheduler.demo.submission import submit_once

    if options.model is None:
        raise typer.BadParameter("name the model that the scheduler serves, as it sees it", param_hint="--model")
    with talk(url, options.json) as terminal:
        run_id = submit_once(terminal.client, options.model, options)
        if options.json:
            terminal.line({"run_id": run_id})
        elif run_id is None:
            say(f"{url} has runs already: nothing is submitted")
        else:
            say(f"run {run_id} is queued: `pilotcommit run watch {run_id}` follows it")
