"""`pilotcommit pool`: prompts to train and to evaluate on."""

from typing import Annotated

import typer

from scheduler.cli import answers, prompt_lines, tables
from scheduler.cli.columns import Columns
from scheduler.cli.names import PoolName
from scheduler.cli.preview_table import previewed
from scheduler.cli.prompt_lines import PromptLines
from scheduler.cli.template import Template
from scheduler.cli.terminal import DEFAULT_URL, AsJson, Terminal, Url, talk

_UPLOAD_TIMEOUT_S = 3600.0
"""The answer to an upload comes once its last line is stored."""
_ROWS = "What of a row makes a prompt"
_COLUMN = "COLUMN"

commands = typer.Typer(no_args_is_help=True, help="Prompts to train and to evaluate on.")


@commands.command("create")
def create(
    name: PoolName,
    tokenizer: Annotated[str, typer.Option(help="Folder of the model, as the scheduler sees it.")],
    reward: Annotated[
        str,
        typer.Option(
            help="exact, numeric, regex, regex:PATTERN, math, reasoning_gym, python:module:function, "
            "or https://… of a reward server."
        ),
    ],
    max_prompt_tokens: Annotated[
        int | None, typer.Option(help="Longest prompt it takes; by default what the model's context allows.")
    ] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Create a pool. Creating the same one again changes nothing."""
    with talk(url, as_json) as terminal:
        pool = terminal.client.create_pool(
            name, tokenizer=tokenizer, reward=reward, max_prompt_tokens=max_prompt_tokens
        )
        terminal.show(pool, answers.Pool, tables.pool)


@commands.command("list")
def list_pools(url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """List pools with their sizes."""
    with talk(url, as_json) as terminal:
        terminal.show(terminal.client.pools(), list[answers.Pool], tables.pools)


@commands.command("show")
def show(name: PoolName, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show one pool."""
    with talk(url, as_json) as terminal:
        terminal.show(terminal.client.pool(name), answers.Pool, tables.pool)


@commands.command("add")
def add(
    name: PoolName,
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="NDJSON, a prompt a line (- reads stdin); with columns also lines of JSON, .parquet, .csv, "
            "hf:NAME[:CONFIG], a dataset of Hugging Face or a folder of such files, "
            "or reasoning-gym:TASK[?size=N&seed=N].",
        ),
    ],
    text: Annotated[
        str | None, typer.Option(metavar=_COLUMN, rich_help_panel=_ROWS, help="The prompt as it is.")
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            rich_help_panel=_ROWS,
            help=r"The prompt with columns in it: 'Question: {question}\nAnswer:'.",
        ),
    ] = None,
    messages: Annotated[
        str | None,
        typer.Option(metavar=_COLUMN, rich_help_panel=_ROWS, help="A list of messages with role and content."),
    ] = None,
    user: Annotated[
        str | None, typer.Option(metavar=_COLUMN, rich_help_panel=_ROWS, help="The message of a user.")
    ] = None,
    system: Annotated[
        str | None, typer.Option(metavar="TEXT", rich_help_panel=_ROWS, help="The system's message before --user.")
    ] = None,
    input_ids: Annotated[str | None, typer.Option(metavar=_COLUMN, rich_help_panel=_ROWS, help="Token ids.")] = None,
    answer: Annotated[
        str | None, typer.Option(metavar=_COLUMN, rich_help_panel=_ROWS, help="The reference answer.")
    ] = None,
    answer_after: Annotated[
        str | None,
        typer.Option(
            metavar="MARK", rich_help_panel=_ROWS, help="The answer is what follows the last such mark in it."
        ),
    ] = None,
    prompt_id: Annotated[
        str | None,
        typer.Option("--id", metavar=_COLUMN, rich_help_panel=_ROWS, help="Names the prompt; else its content does."),
    ] = None,
    metadata: Annotated[
        list[str] | None,
        typer.Option(metavar=_COLUMN, rich_help_panel=_ROWS, help="Kept beside the prompt; repeatable."),
    ] = None,
    split: Annotated[
        str | None, typer.Option(metavar="SPLIT", rich_help_panel=_ROWS, help="Of hf:NAME; train by default.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="Stop after so many rows.")] = None,
    preview: Annotated[
        int | None,
        typer.Option(
            min=1, max=100, metavar="N", help="Show what the model will see of the first N rows; nothing is stored."
        ),
    ] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Add prompts. What is refused is listed and loses nothing: the others are stored, and the exit code is 1."""
    columns = Columns(
        text=text,
        template=Template.parse(template) if template is not None else None,
        messages=messages,
        user=user,
        system=system,
        input_ids=input_ids,
        answer=answer,
        answer_after=answer_after,
        id=prompt_id,
        metadata=tuple(metadata or ()),
    )
    most = min((number for number in (limit, preview) if number is not None), default=None)
    with (
        talk(url, as_json, timeout_s=_UPLOAD_TIMEOUT_S) as terminal,
        prompt_lines.opened(source, columns, split=split, limit=most) as sent,
    ):
        refused = _add(terminal, name, sent) if preview is None else _preview(terminal, name, sent)
    if refused:
        raise typer.Exit(1)


def _add(terminal: Terminal, pool: str, sent: PromptLines) -> bool:
    answer = terminal.client.add_prompts(pool, sent.lines)
    report = terminal.show(sent.refusals.beside(answer), answers.Added, tables.added)
    return bool(report.refused)


def _preview(terminal: Terminal, pool: str, sent: PromptLines) -> bool:
    answer = terminal.client.preview_prompts(pool, sent.lines)
    report = terminal.show(sent.refusals.beside(answer), answers.Previewed, previewed)
    return bool(report.refused)
