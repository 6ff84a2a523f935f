"""`pilotcommit evaluation`: the policy measured on held-out prompts."""

from typing import Annotated

import typer

from scheduler.cli import answers, tables
from scheduler.cli.names import RunId
from scheduler.cli.terminal import DEFAULT_URL, AsJson, Terminal, Url, talk
from scheduler.client import Json
from scheduler.core.evaluation import EvaluationMeasure

commands = typer.Typer(no_args_is_help=True, help="The policy measured on held-out prompts.")


@commands.command("create")
def create(
    run_id: RunId,
    pool: Annotated[str, typer.Option(help="Held-out prompts.")],
    rollouts: Annotated[int, typer.Option(min=1, help="Rollouts per prompt.")] = 4,
    measure: Annotated[
        EvaluationMeasure, typer.Option(help="Judge rollouts, or read the probability of the reference answer.")
    ] = EvaluationMeasure.ROLLOUTS,
    target: Annotated[
        str | None, typer.Option(help="With likelihood, the text after a prompt; {answer} is its reference answer.")
    ] = None,
    version: Annotated[
        int | None, typer.Option(help="The weight version to measure; by default whichever is live when it starts.")
    ] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Ask for an evaluation. The weights are not updated while it runs."""
    with talk(url, as_json) as terminal:
        client = terminal.client
        asked = client.evaluate(run_id, pool=pool, rollouts=rollouts, version=version, measure=measure, target=target)
        _show(terminal, asked)


@commands.command("list")
def list_evaluations(run_id: RunId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """List a run's evaluations, oldest first."""
    with talk(url, as_json) as terminal:
        terminal.show(terminal.client.evaluations(run_id), list[answers.Evaluation], tables.evaluations)


@commands.command("show")
def show(
    run_id: RunId,
    evaluation_id: Annotated[str, typer.Argument(metavar="EVALUATION", help="The evaluation's id.")],
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show one evaluation; --json has its results by prompt."""
    with talk(url, as_json) as terminal:
        _show(terminal, terminal.client.evaluation(run_id, evaluation_id))


def _show(terminal: Terminal, evaluation: Json) -> None:
    terminal.show(evaluation, answers.Evaluation, lambda found: tables.evaluations([found]))
