"""`pilotcommit learners`: learners on this machine, for a scheduler anywhere.

Owns: its options and the signals that end it. Never starts a process itself.
"""

import asyncio
import signal
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scheduler.cli.terminal import DEFAULT_URL, Url, say, talk

if TYPE_CHECKING:
    from scheduler.child import Child


def learners(
    model: Annotated[Path, typer.Option(help="Folder of the policy at step 0, with its tokenizer.")],
    folder: Annotated[
        Path, typer.Option("--dir", help="Checkpoints and weights of each run; servers must be able to read it.")
    ] = Path(".pilotcommit"),
    metrics_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Of the learner's metrics, for Prometheus; 0 for none.")
    ] = 8401,
    metrics_host: Annotated[str, typer.Option(help="Address at which they are served.")] = "127.0.0.1",
    url: Url = DEFAULT_URL,
) -> None:
    """Keep a learner at work for every run of a scheduler, until Ctrl-C.

    What a learner can be told more is in PILOTCOMMIT_LEARNER_* (docs/configuration.md); its output comes here.
    """
    from scheduler import logs
    from scheduler.child import Child
    from scheduler.learners import Learners, LearnersPlan

    def child(
        name: str, module: str, environment: Mapping[str, str], final_codes: frozenset[int] = frozenset()
    ) -> "Child":
        return Child(
            name=name, module=module, environment=environment, log_path=None, final_codes=final_codes, on_death=say
        )

    logs.configure("WARNING")
    plan = LearnersPlan(
        scheduler_url=url,
        model=model.absolute(),
        folder=folder.absolute(),
        metrics_port=metrics_port,
        metrics_host=metrics_host,
    )
    with talk(url, as_json=False) as terminal:
        asyncio.run(_until_stopped(Learners(plan, terminal.client, child=child, say=say).run(), url))


async def _until_stopped(work: Coroutine[None, None, None], url: str) -> None:
    """Consumes: signals. Produces: nothing. Waits for: either end. Raises what the work raises."""
    running = asyncio.create_task(work, name="learners")
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)
    say(f"a learner is started for each run that is at work at {url}")
    with suppress(asyncio.CancelledError):
        await running
    say("stopped; a run goes on from its last checkpoint when a learner is back")
