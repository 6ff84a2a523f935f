"""A prompt's completions on a terminal, visit by visit.

Owns: which facts are shown and in what order. Pure. Invariant: what is not kept any more is said to be gone.
"""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from scheduler.cli import words
from scheduler.cli.completion_answers import Completion, PromptCompletions, VisitCompletions
from scheduler.cli.preview_table import visible
from scheduler.cli.tables import facts


def completions(found: PromptCompletions) -> RenderableType:
    """What the prompt asks, then each visit with its completions, newest first."""
    prompt = found.prompt
    asks = visible(prompt.text) if prompt.text else Text(f"{words.plural(prompt.num_tokens, 'token')}, without text")
    known = facts(
        prompt.prompt_id,
        (("asks", asks), ("answer", visible(prompt.answer) if prompt.answer else Text("none", style="yellow"))),
    )
    parts = [part for visit in found.visits for part in _visit(visit)]
    return Group(known, *parts, _foot(found))


def _foot(found: PromptCompletions) -> Text:
    if not found.num_visits:
        return Text("It was never visited.", style="dim")
    more = "" if found.next_offset is None else f"; --offset {found.next_offset} goes on"
    told = f"{len(found.visits)} of {words.plural(found.num_visits, 'visit')} that its history tells of"
    return Text(f"{told}{more}", style="dim")


def _visit(found: VisitCompletions) -> Iterator[RenderableType]:
    yield Text(f"\nVisit {found.visit_id}: {_ended(found)}", style="bold")
    if not found.recorded:
        yield Text("Its attempts are not recorded any more.", style="dim")
        return
    if not found.kept:
        yield Text("The texts of its completions are not kept (any more).", style="dim")
    for completion in found.completions:
        yield from _completion(completion)


def _ended(found: VisitCompletions) -> str:
    if found.verdict is None:
        return "still open"
    verdict = "commit" if found.verdict == "published" else words.spaced(found.verdict)
    why = f" ({words.spaced(found.reason)})" if found.reason else ""
    pilots = f", {found.correct} of {words.plural(found.pilots, 'pilot')} right" if found.pilots else ""
    group = found.group_ending
    became = "" if group is None else f", group {words.spaced(group.what)}"
    step = "" if group is None or group.step is None else f" in step {group.step}"
    return f"{verdict}{why} at version {found.version}{pilots}{became}{step}"


def _completion(found: Completion) -> Iterator[RenderableType]:
    yield Text.assemble((f"  {found.stage} {found.rid} ", "dim"), _judged(found))
    if found.text is not None:
        cut = f"\n[{found.chars:,} characters, the middle is left out]" if found.chars != len(found.text) else ""
        yield visible(found.text).append(cut, style="dim")


def _judged(found: Completion) -> Text:
    if found.reward is None:
        return Text(f"{words.spaced(found.status)}{f': {found.reason}' if found.reason else ''}", style="yellow")
    right = "right" if found.correct else "wrong"
    versions = (
        f", {words.versions(found.oldest_version, found.newest_version)}"
        if found.oldest_version is not None and found.newest_version is not None
        else ""
    )
    told = f"{right}, reward {found.reward:g}, {words.plural(found.tokens, 'token')}{versions}, {found.finish_reason}"
    return Text(told, style="green" if found.correct else "red")
