"""How far a run can get before anything is spent: its limits, each in whole groups.

Owns: what a run's configuration says of its end. Never looks at a run. Invariant: what it calls a bound on spend is one
that the ledger enforces; steps are those of a run that skips nothing and are called so.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from scheduler.core.evaluation import EvaluationMeasure
from scheduler.core.run import EvaluationPlan, RunConfig, RunMode


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """One limit of a run."""

    limit: str
    """The field that sets it."""
    value: float
    groups: int | None
    """Whole groups that it allows, each of the full size and, where it counts tokens, at its worst case; None for a
    limit in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What a run may come to."""

    group_size: int
    """Rollouts of a whole group."""
    bounds: tuple[Bound, ...]
    """Its limits, the tightest in groups first."""
    steps: int | None
    """Steps until the tightest, if every group were whole and no prompt skipped; None without such a limit.

    Skipped prompts cost pilots and make them fewer; groups that are smaller or generate less make them more.
    """
    most_rollouts: int | None
    """Pilot and commit rollouts that are never exceeded; None if nothing limits them."""
    most_tokens: int | None
    """Generated tokens, likewise."""
    eval_rollouts: int | None
    """Evaluation rollouts until that many steps, or their cap if that is less; None without either."""


def outlook(config: RunConfig, *, num_held_out: int) -> Outlook:
    """What `config` may come to, evaluated on so many held-out prompts."""
    bounds = tuple(sorted(_bounds(config), key=lambda bound: float("inf") if bound.groups is None else bound.groups))
    groups = [bound.groups for bound in bounds if bound.groups is not None]
    steps = min(groups) // config.batch_size if groups and config.mode is RunMode.TRAIN else None
    budget = config.budget
    limits = [budget.tokens, None if budget.rollouts is None else budget.rollouts * config.sampling.max_new_tokens]
    return Outlook(
        group_size=config.group_size,
        bounds=bounds,
        steps=steps,
        most_rollouts=budget.rollouts,
        most_tokens=min((limit for limit in limits if limit is not None), default=None),
        eval_rollouts=_eval_rollouts(config, num_held_out, steps),
    )


def _bounds(config: RunConfig) -> Iterator[Bound]:
    budget, claim = config.budget, config.largest_claim
    if budget.rollouts is not None:
        yield Bound(limit="budget.rollouts", value=budget.rollouts, groups=budget.rollouts // claim.rollouts)
    if budget.tokens is not None:
        yield Bound(limit="budget.tokens", value=budget.tokens, groups=budget.tokens // claim.tokens)
    if config.max_steps is not None:
        yield Bound(limit="max_steps", value=config.max_steps, groups=config.max_steps * config.batch_size)
    if budget.wall_clock_s is not None:
        yield Bound(limit="budget.wall_clock_s", value=budget.wall_clock_s, groups=None)


def _eval_rollouts(config: RunConfig, num_held_out: int, steps: int | None) -> int | None:
    plan, cap = config.evaluation, config.budget.eval_rollouts
    if plan is None:
        return 0
    if plan.every_steps is not None and steps is None:
        return cap
    planned = num_held_out * _eval_rollouts_a_prompt(plan, steps or 0)
    return planned if cap is None else min(planned, cap)


def _eval_rollouts_a_prompt(plan: EvaluationPlan, steps: int) -> int:
    # After the last step there may be one of those in between, and there is the last.
    between = steps // plan.every_steps if plan.every_steps is not None else 0
    if plan.measure is EvaluationMeasure.LIKELIHOOD:
        return 2 + between
    return 2 * plan.rollouts + between * plan.rollouts_between
