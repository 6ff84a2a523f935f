"""What a run would come to, as a table.

Owns: which facts are shown and in what order. Pure.
"""

from rich.console import Group, RenderableType
from rich.text import Text

from scheduler.cli import words
from scheduler.cli.answers import DryRun
from scheduler.cli.tables import facts, grid
from scheduler.core.run import RunMode

_UNLIMITED = "unlimited"
_UNITS = {
    "budget.rollouts": "rollouts",
    "budget.tokens": "tokens",
    "max_steps": "steps",
    "budget.wall_clock_s": "s",
}


def dry_run(found: DryRun) -> RenderableType:
    """Its bounds on spend, and its limits, the one first that ends it."""
    looks = found.config.mode is RunMode.PROFILE
    rows = _of_profile(found) if looks else _of_training(found)
    known = facts("dry run: nothing was created", (*rows, ("ends by", _end(found))))
    limits = grid(
        ("limit", ">", "", ">prompts" if looks else ">whole groups"),
        (
            (
                bound.limit,
                f"{bound.value:,g}",
                _UNITS[bound.limit],
                words.DASH if bound.groups is None else f"{bound.groups:,}",
            )
            for bound in found.bounds
        ),
        empty=f"no limit{' but the pool' if looks else ''}: set a budget, as with --set budget.rollouts=2000"
        f"{'' if looks else ', or max_steps'}",
    )
    return Group(known, limits)


def _of_training(found: DryRun) -> tuple[tuple[str, str], ...]:
    config = found.config
    return (
        ("trains on", f"{words.plural(found.prompts, 'prompt')} by {config.allocator}: {_mix(found)}"),
        ("a step", f"{config.batch_size:,} groups of at most {found.group_size:,} rollouts"),
        ("rollouts", _at_most(found.most_rollouts)),
        ("tokens", _at_most(found.most_tokens)),
        ("evaluation", _evaluation(found)),
    )


def _of_profile(found: DryRun) -> tuple[tuple[str, str], ...]:
    config = found.config
    # Attempts that are lost are made again, so only a budget is a bound.
    planned = found.prompts * config.pilots
    tokens = planned * config.sampling.max_new_tokens
    return (
        ("looks at", f"{words.plural(found.prompts, 'prompt')}: {_mix(found)}"),
        ("a prompt", f"{words.plural(config.pilots, 'pilot')} and no commits, of the weights in {config.weights}"),
        ("rollouts", f"about {planned:,}" if found.most_rollouts is None else _at_most(found.most_rollouts)),
        ("tokens", f"about {tokens:,} or fewer" if found.most_tokens is None else _at_most(found.most_tokens)),
        ("allocator", f"{config.allocator}, asked what it would decide of them"),
    )


def _mix(found: DryRun) -> str:
    if len(found.pools) == 1:
        return found.pools[0].name
    return words.listed(
        f"{words.rate(pool.part)} of the claims from {pool.name}, which has {words.plural(pool.prompts, 'prompt')}"
        for pool in found.pools
    )


def _at_most(limit: int | None) -> str:
    return _UNLIMITED if limit is None else f"at most {limit:,}"


def _evaluation(found: DryRun) -> str:
    if found.config.evaluation is None:
        return "none"
    rollouts = "as many as it asks for" if found.eval_rollouts is None else f"about {found.eval_rollouts:,} rollouts"
    return f"{rollouts} on {words.plural(found.held_out, 'prompt')} of {found.config.evaluation.pool}"


def _end(found: DryRun) -> str | Text:
    if found.config.mode is RunMode.PROFILE:
        return "the pool's last prompt, or its budget"
    if not found.bounds:
        return Text("nothing but an order: it has no limit", style="yellow")
    if found.steps is None:
        return found.bounds[0].limit
    steps = words.plural(found.steps, "step")
    return f"{found.bounds[0].limit}, after about {steps} of whole groups if nothing is skipped"
