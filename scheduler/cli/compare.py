"""`pilotcommit compare`: runs beside each other.

Owns: the command's options. Never compares anything itself.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from scheduler.cli.comparison import Comparison, Gpus
from scheduler.cli.comparison import compare as compared
from scheduler.cli.comparison_table import comparison as table
from scheduler.cli.names import RunIds
from scheduler.cli.terminal import DEFAULT_URL, AsJson, Url, say, talk
from scheduler.client import Json
from scheduler.core.errors import PilotCommitError

_GPUS = "GPU-hours"


def compare(
    run_ids: RunIds,
    accuracy: Annotated[
        float | None,
        typer.Option(
            "--at", min=0, max=1, help="Accuracy to compare at; by default the highest that all have reached."
        ),
    ] = None,
    tokens_per_s: Annotated[
        float | None,
        typer.Option(
            "--tokens-per-gpu-s", min=0.001, help="Tokens a GPU generates in a second.", rich_help_panel=_GPUS
        ),
    ] = None,
    gpus: Annotated[
        float | None,
        typer.Option(min=0.001, help="GPUs a run holds: hours of its wall-clock.", rich_help_panel=_GPUS),
    ] = None,
    price: Annotated[float | None, typer.Option(min=0, help="Of a GPU-hour.", rich_help_panel=_GPUS)] = None,
    out: Annotated[
        Path | None, typer.Option(help="Draw accuracy against rollouts and tokens into this PNG or SVG file.")
    ] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show what runs spent, skipped and learnt, and what each needed to get as far as all: the first is the measure."""
    if len(set(run_ids)) < 2:
        raise typer.BadParameter("two runs at least are compared", param_hint="RUN RUN…")
    if out is not None and find_spec("matplotlib") is None:
        raise PilotCommitError("a picture needs matplotlib: it comes with the extra `pilotcommit[demo]`")
    if tokens_per_s is not None and gpus is not None:
        raise typer.BadParameter("GPU-hours are of tokens or of wall-clock: give one", param_hint="--gpus")
    if price is not None and tokens_per_s is None and gpus is None:
        raise typer.BadParameter("of how many hours? Give --tokens-per-gpu-s or --gpus", param_hint="--price")
    with talk(url, as_json) as terminal:
        found = compared(terminal.client, run_ids, accuracy=accuracy, gpus=Gpus(tokens_per_s=tokens_per_s, count=gpus))
        answer: Json = msgspec.to_builtins(found)
        terminal.show(answer, Comparison, lambda shown: table(shown, price))
    if out is not None:
        # Imported here: it needs matplotlib, which no other way through this command does.
        from scheduler.cli.comparison_picture import draw

        draw(found, out)
        say(f"the picture: {out}")
