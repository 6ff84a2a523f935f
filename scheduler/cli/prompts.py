"""`pilotcommit prompt`: why a prompt was skipped, and bringing it back."""

from typing import Annotated

import typer

from scheduler.cli import answers, tables
from scheduler.cli.completion_answers import PromptCompletions
from scheduler.cli.completion_table import completions as completions_table
from scheduler.cli.names import RunId
from scheduler.cli.terminal import DEFAULT_URL, AsJson, Url, talk

commands = typer.Typer(no_args_is_help=True, help="One prompt within a run.")

PromptId = Annotated[str, typer.Argument(metavar="PROMPT", help="The prompt's id.")]


@commands.command("show")
def show(
    run_id: RunId,
    prompt_id: PromptId,
    completions: Annotated[
        bool, typer.Option("--completions", help="Show what it asks and what its rollouts answered, visit by visit.")
    ] = False,
    count: Annotated[int, typer.Option(min=1, max=20, help="Visits with their completions.")] = 5,
    offset: Annotated[int, typer.Option(min=0, help="Leave out so many of the newest visits.")] = 0,
    chars: Annotated[int, typer.Option(min=3, max=100_000, help="Characters of a completion at most.")] = 2000,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show why a prompt was skipped, when it returns, and its history; or its completions."""
    with talk(url, as_json) as terminal:
        if completions:
            found = terminal.client.completions(run_id, prompt_id, count=count, offset=offset, chars=chars)
            terminal.show(found, PromptCompletions, completions_table)
            return
        terminal.show(terminal.client.prompt(run_id, prompt_id), answers.Prompt, tables.prompt)


@commands.command("reinstate")
def reinstate(run_id: RunId, prompt_id: PromptId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Make a deferred, evicted or quarantined prompt claimable now."""
    with talk(url, as_json) as terminal:
        terminal.show(terminal.client.reinstate(run_id, prompt_id), answers.Prompt, tables.prompt)
