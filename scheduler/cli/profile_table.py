"""How hard a pool is, on a terminal.

Owns: which facts are shown and in what order. Pure.
"""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from scheduler.cli import words
from scheduler.cli.answers import Run
from scheduler.cli.profile_answers import PassRateBar, Profile
from scheduler.cli.tables import facts, grid

_WIDEST = 40
_FULL, _PARTS = "█", " ▏▎▍▌▋▊▉"
_NEEDS_MORE = "more"


def profile(found: Profile, run: Run) -> RenderableType:
    """Shares, what the allocator would do, and a histogram of pass rates."""
    most = max((bar.prompts for bar in found.bars), default=0)
    histogram = grid(
        (">right", ">prompts", "", "the allocator"),
        (
            (f"{bar.correct} of {found.pilots}", f"{bar.prompts:,}", _drawn(bar, most), bar.decision)
            for bar in found.bars
        ),
        empty="",
    )
    return Group(facts(f"{run.pool}, profiled by {run.run_id}", _facts(found, run)), histogram)


def _facts(found: Profile, run: Run) -> Iterator[tuple[str, str | Text]]:
    total = sum(run.prompts.values())
    unfinished = f", {found.unfinished:,} unfinished" if found.unfinished else ""
    yield "prompts", f"{found.prompts:,} of {total:,} with {words.plural(found.pilots, 'pilot')} each{unfinished}"
    yield "pilots right", words.rate(found.mean_pass_rate)
    yield (
        "shares",
        f"{words.rate(found.all_wrong_rate)} all wrong, {words.rate(found.mixed_rate)} mixed, "
        f"{words.rate(found.all_right_rate)} all right",
    )
    decided = ", ".join(f"{count:,} {decision}" for decision, count in found.decisions.items() if count)
    yield f"by {run.config.allocator}", decided or words.DASH
    more = found.decisions.get(_NEEDS_MORE, 0)
    note = f" of what it decides on so few; {words.plural(more, 'prompt')} would get more pilots" if more else ""
    yield "skip rate", f"about {words.rate(found.skip_rate)}{note}"
    yield "spent", f"{words.plural(found.rollouts, 'rollout')}, {words.plural(found.tokens, 'token')}"
    if found.tokens_per_prompt is not None and found.tokens_per_rollout is not None:
        yield "tokens", f"{found.tokens_per_prompt:,.0f} a prompt, {found.tokens_per_rollout:,.0f} a rollout"


def _drawn(bar: PassRateBar, most: int) -> Text:
    eighths = round(8 * _WIDEST * bar.prompts / most) if most else 0
    colour = "green" if bar.decision == "commit" else "bright_black"
    return Text((_FULL * (eighths // 8) + _PARTS[eighths % 8]).rstrip(), style=colour)
