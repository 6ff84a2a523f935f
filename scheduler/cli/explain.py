"""`pilotcommit explain`: what happened to a run, a prompt, a group or a rollout."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from scheduler.cli import words
from scheduler.cli.answers import read
from scheduler.cli.explanation_answers import (
    Attempt,
    Explanation,
    GroupExplanation,
    Kind,
    PromptExplanation,
    RolloutExplanation,
    RunExplanation,
    UnsolvedPrompts,
)
from scheduler.cli.names import RunId
from scheduler.cli.prompt_story import history, prompt_story
from scheduler.cli.run_story import run_story
from scheduler.cli.tables import grid
from scheduler.cli.terminal import DEFAULT_URL, AsJson, Url, talk
from scheduler.cli.visit_story import rollout_story, visit_story

_LONGEST_ANSWER = 60
_KINDS: Mapping[str, type[Explanation]] = {
    "run": RunExplanation,
    "prompt": PromptExplanation,
    "group": GroupExplanation,
    "rollout": RolloutExplanation,
}


def explain(
    run_id: RunId,
    name: Annotated[
        str | None, typer.Argument(metavar="PROMPT|GROUP|ROLLOUT", help="What of it; the run itself by default.")
    ] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Tell what happened to a run, or to a prompt, group or rollout (its rid) of it."""
    with talk(url, as_json) as terminal:
        answer = terminal.client.explain(run_id, name)
        terminal.show(answer, kind_of(answer), told)


def kind_of(answer: Mapping[str, object]) -> type[Explanation]:
    """Which story an answer is; raises PilotCommitError for one of another version of the API."""
    return _KINDS[read(answer, Kind).kind]


def told(found: Explanation) -> RenderableType:
    """The story, with a table of attempts where there are some."""
    match found:
        case RunExplanation():
            return _sentences(f"Run {found.run.run_id}", run_story(found, time.time()))
        case PromptExplanation():
            return Group(
                _sentences(f"Prompt {found.prompt.prompt_id}", prompt_story(found)),
                *(Text(line) for line in history(found)),
            )
        case GroupExplanation():
            return Group(
                _sentences(f"Group {found.visit.visit_id}", visit_story(found.visit)), attempts(found.visit.attempts)
            )
        case RolloutExplanation():
            return _sentences(f"Rollout {found.attempt.rid}", rollout_story(found.attempt, found.visit))


def _sentences(title: str, sentences: Iterable[str]) -> RenderableType:
    return Group(Text(title, style="bold"), *(Text(sentence) for sentence in sentences))


def attempts(found: Sequence[Attempt]) -> RenderableType:
    """Attempts in a line each."""
    return grid(
        ("rollout", "stage", "status", ">version", ">tokens", ">reward", "server", "reason"),
        (
            (
                attempt.rid,
                attempt.stage,
                words.spaced(attempt.status),
                _range(attempt.oldest_version, attempt.newest_version),
                words.count(attempt.tokens),
                words.measured(attempt.reward),
                attempt.server or words.DASH,
                attempt.reason,
            )
            for attempt in found
        ),
        empty="no attempt of it is recorded",
    )


def _range(oldest: int | None, newest: int | None) -> str:
    if oldest is None or newest is None:
        return words.DASH
    return str(oldest) if oldest == newest else f"{oldest}{words.DASH}{newest}"


def unsolved(found: UnsolvedPrompts) -> RenderableType:
    """Prompts never solved, with what they should and what they do answer."""
    table = grid(
        ("prompt", ">rollouts", "reference answer", "answered most often", ">so often"),
        (
            (
                each.prompt_id,
                f"{each.rollouts:,}",
                _short(each.answer),
                words.DASH if each.answered is None else _short(each.answered.text),
                "" if each.answered is None else f"{each.answered.count} of {each.answered.rollouts}",
            )
            for each in found.prompts
        ),
        empty="no such prompt: each with so many rollouts was right at least once",
    )
    if not found.prompts:
        return table
    more = f"{len(found.prompts):,} of {words.plural(found.total, 'prompt')} never solved"
    return Group(table, Text(f"{more}; the last column is of each prompt's last visit", style="dim"))


def _short(answer: str) -> str:
    """The end of an answer, which is where the result stands."""
    line = " ".join(answer.split())
    return line if len(line) <= _LONGEST_ANSWER else f"…{line[-_LONGEST_ANSWER:]}"
