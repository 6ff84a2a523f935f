"""`pilotcommit doctor`: what stands in the way of a run, and what to do about it.

Owns: the command's options and how findings are shown. Never checks anything itself. Invariant: what the checks need is
imported when the command is called, so that the other commands start fast.
"""

import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from scheduler.cli import words
from scheduler.cli.terminal import DEFAULT_URL, AsJson, Url

if TYPE_CHECKING:
    from scheduler.doctor.finding import Finding

_MARKS = {
    "ok": ("\N{CHECK MARK}", "green"),
    "warning": ("!", "yellow"),
    "problem": ("\N{MULTIPLICATION X}", "bold red"),
}


def doctor(
    model: Annotated[
        Path | None, typer.Option(help="Folder of the model; by default that of PILOTCOMMIT_MODEL.")
    ] = None,
    server: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="A server; repeatable. By default those of PILOTCOMMIT_SERVERS."),
    ] = None,
    weights: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER", help="Where a learner publishes weights; by default PILOTCOMMIT_LEARNER_WORK_DIR."
        ),
    ] = None,
    deadline_s: Annotated[float, typer.Option("--deadline", min=1.0, help="Seconds that one check may take.")] = 15.0,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Check this machine, the settings and whatever runs already, before a start or beside it.

    It changes nothing. The exit code is 1 if something will not work.
    """
    from scheduler import logs
    from scheduler.doctor.examination import examine
    from scheduler.doctor.finding import Level, worst
    from scheduler.doctor.patient import Patient

    # What checks have to say is in the findings; a log beside them would be read as one more.
    logs.configure("CRITICAL")
    patient = Patient.of(os.environ, url=url, model=model, servers=server or (), weights=weights or ())
    findings = asyncio.run(examine(patient, os.environ, deadline_s=deadline_s))
    if as_json:
        typer.echo(
            json.dumps({"level": worst(findings), "findings": [dict(one.as_json()) for one in findings]}, indent=2)
        )
    else:
        Console().print(table(findings))
    if worst(findings) is Level.PROBLEM:
        raise typer.Exit(1)


def table(findings: Sequence["Finding"]) -> RenderableType:
    """A line for each finding, with what to do below it."""
    rows = Table.grid(padding=(0, 2))
    rows.add_column(no_wrap=True)
    rows.add_column(no_wrap=True, max_width=26, overflow="fold")
    rows.add_column(ratio=1, overflow="fold")
    for finding in findings:
        mark, style = _MARKS[finding.level]
        said = Text(finding.said)
        if finding.todo:
            said.append(f"\n\N{RIGHTWARDS ARROW} {finding.todo}", style="bold")
        rows.add_row(Text(mark, style=style), Text(finding.check, style="dim"), said)
    return Group(rows, Text(), _summary(findings))


def _summary(findings: Sequence["Finding"]) -> Text:
    counts = {level: sum(finding.level == level for finding in findings) for level in _MARKS}
    if not counts["problem"] and not counts["warning"]:
        return Text("all is in order", style="green")
    told = [words.plural(counts[level], level) for level in ("problem", "warning") if counts[level]]
    return Text(f"{words.listed(told)}; {counts['ok']} in order", style="red" if counts["problem"] else "yellow")
