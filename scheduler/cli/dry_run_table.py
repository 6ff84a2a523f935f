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
    config = found.config
    known = facts(
        "dry run: nothing was created",
        (
            ("trains on", f"{words.plural(found.prompts, 'prompt')} by {config.allocator}: {_mix(found)}"),
            _unit(found),
            ("rollouts", _at_most(found.most_rollouts)),
            ("tokens", _at_most(found.most_tokens)),
            ("evaluation", _evaluation(found)),
            ("ends by", _end(found)),
        ),
    )
    limits = grid(
        ("limit", ">", "", ">whole groups"),
        (
            (
                bound.limit,
                f"{bound.value:,g}",
                _UNITS[bound.limit],
                words.DASH if bound.groups is None else f"{bound.groups:,}",
            )
            for bound in found.bounds
        ),
        empty="no limit: set a budget, as with --set budget.rollouts=2000, or max_steps",
    )
    return Group(known, limits)


def _mix(found: DryRun) -> str:
    if len(found.pools) == 1:
        return found.pools[0].name
    return words.listed(
        f"{words.rate(pool.part)} of the claims from {pool.name}, which has {words.plural(pool.prompts, 'prompt')}"
        for pool in found.pools
    )


def _unit(found: DryRun) -> tuple[str, str]:
    config = found.config
    if config.mode is RunMode.PROFILE:
        return "a prompt", f"{words.plural(config.pilots, 'pilot')} and no commits, of the weights in {config.weights}"
    return "a step", f"{config.batch_size:,} groups of at most {found.group_size:,} rollouts"


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
