"""Numbers, moments and states as people read them.

Owns: how each is written in every table. Pure: the present moment is an argument.
"""

from collections.abc import Iterable
from datetime import datetime

from rich.text import Text

from scheduler.core.lifecycle import PromptState, RunState

DASH = "\N{EN DASH}"
DOT = "\N{MIDDLE DOT}"

_RUN_STYLES = {
    RunState.QUEUED: "yellow",
    RunState.WAITING_WEIGHTS: "yellow",
    RunState.RUNNING: "green",
    RunState.PAUSED: "yellow",
    RunState.DRAINING: "cyan",
    RunState.FINISHED: "green",
    RunState.EXHAUSTED: "green",
    RunState.CANCELLED: "magenta",
    RunState.FAILED: "red",
}
_PROMPT_STYLES = {
    PromptState.READY: "green",
    PromptState.CLAIMED: "cyan",
    PromptState.WAITING: "yellow",
    PromptState.QUARANTINED: "red",
}


def run_state(state: RunState) -> Text:
    """A run's state in its colour."""
    return Text(spaced(state), style=_RUN_STYLES[state])


def prompt_state(state: PromptState) -> Text:
    """A prompt's state in its colour."""
    return Text(state, style=_PROMPT_STYLES[state])


def count(number: int) -> Text:
    """A count with its thousands; zeros stand back, so that what happened stands out."""
    return Text(f"{number:,}") if number else Text(DOT, style="dim")


def rate(share: float | None) -> str:
    """A share in per cent; a dash before there is one."""
    return DASH if share is None else f"{share:.0%}".replace("%", " %")


def accuracy(share: float | None) -> str:
    """A measured accuracy, to a tenth of a per cent; a dash before there is one."""
    return DASH if share is None else f"{share:.1%}".replace("%", " %")


def measured(number: float | None) -> str:
    """A number a learner measured, of any magnitude; a dash where there is none."""
    return DASH if number is None else f"{number:.3g}"


def of_limit(spent: int, limit: int | None) -> str:
    """What is spent of a limit."""
    return f"{spent:,}" if limit is None else f"{spent:,} of {limit:,}"


def duration(seconds: float) -> str:
    """A duration in its two largest units."""
    minutes, rest_s = divmod(int(seconds), 60)
    hours, rest_min = divmod(minutes, 60)
    days, rest_h = divmod(hours, 24)
    if days:
        return f"{days} d {rest_h} h"
    if hours:
        return f"{hours} h {rest_min} min"
    return f"{minutes} min {rest_s} s" if minutes else f"{rest_s} s"


def ago(moment: float, now: float) -> str:
    """How long ago a moment was; clocks that differ never make it the future."""
    return f"{duration(max(0.0, now - moment))} ago"


def age(moment: float, now: float) -> str:
    """The same in one unit, for a narrow column."""
    number, unit, *_rest = duration(max(0.0, now - moment)).split()
    return f"{number} {unit}"


def clock(moment: float) -> str:
    """A moment in local time."""
    return f"{datetime.fromtimestamp(moment).astimezone():%Y-%m-%d %H:%M:%S}"


def version(number: int | None) -> str:
    """A weight version; a dash before the first."""
    return str(number) if number else DASH


def listed(parts: Iterable[str]) -> str:
    """Parts of a sentence, with commas and an "and"."""
    *most, last = [*parts] or [""]
    return f"{', '.join(most)} and {last}" if most else last


def times(count: int) -> str:
    """How often."""
    return {1: "once", 2: "twice"}.get(count, f"{count:,} times")


def plural(count: int, what: str) -> str:
    """So many things of a kind whose plural ends in s."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def spaced(name: str) -> str:
    """A name of several words, as it is read."""
    return name.replace("_", " ")


def versions(oldest: int, newest: int) -> str:
    """The weight versions behind something."""
    return f"version {oldest}" if oldest == newest else f"versions {oldest} to {newest}"
