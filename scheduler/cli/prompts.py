"""`pilotcommit prompt`: why a prompt was skipped, and bringing it back."""

from typing import Annotated

import typer

from scheduler.cli import answers, tables
from scheduler.cli.names import RunId
from scheduler.cli.terminal import DEFAULT_URL, AsJson, Url, talk

commands = typer.Typer(no_args_is_help=True, help="One prompt within a run.")

PromptId = Annotated[str, typer.Argument(metavar="PROMPT", help="The prompt's id.")]


@commands.command("show")
def show(run_id: RunId, prompt_id: PromptId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show why a prompt was skipped, when it returns, and its history."""
    with talk(url, as_json) as terminal:
        terminal.show(terminal.client.prompt(run_id, prompt_id), answers.Prompt, tables.prompt)


@commands.command("reinstate")
def reinstate(run_id: RunId, prompt_id: PromptId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Make a deferred, evicted or quarantined prompt claimable now."""
    with talk(url, as_json) as terminal:
        terminal.show(terminal.client.reinstate(run_id, prompt_id), answers.Prompt, tables.prompt)
