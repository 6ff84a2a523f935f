"""What the API answers about a run that is not created.

Owns: the response models of a dry run, filled from the service's values.
"""

from typing import Self

from scheduler.api.response import Response
from scheduler.core.outlook import Bound as RunBound
from scheduler.core.run import RunConfig
from scheduler.service import Rehearsal


class Bound(Response):
    """One limit of a run."""

    limit: str
    """The field that sets it."""
    value: float
    groups: int | None
    """Whole groups that it allows, each of the full size and, where it counts tokens, at its worst case; None for a
    limit in seconds."""

    @classmethod
    def of(cls, bound: RunBound) -> Self:
        """The limit as the core knows it."""
        return cls(limit=bound.limit, value=bound.value, groups=bound.groups)


class PoolPart(Response):
    """A pool's part in a run."""

    name: str
    weight: float
    part: float
    """Its share of the weights: of the claims, while no pool runs dry."""
    prompts: int


class DryRun(Response):
    """What a run would come to."""

    prompts: int
    """Of its pools."""
    pools: list[PoolPart]
    """Each of them, one or several."""
    held_out: int
    """Prompts that it would be evaluated on."""
    group_size: int
    """Rollouts of a whole group."""
    bounds: list[Bound]
    """Its limits, the tightest in groups first; empty for a run that nothing ends."""
    steps: int | None
    """Steps until the tightest, if every group were whole and no prompt skipped; None without such a limit. Skipped
    prompts cost pilots and make them fewer; groups that are smaller or generate less make them more."""
    most_rollouts: int | None
    """Pilot and commit rollouts that are never exceeded; None if nothing limits them."""
    most_tokens: int | None
    """Generated tokens, likewise."""
    eval_rollouts: int | None
    """Evaluation rollouts until that many steps, or their cap if that is less; None without either."""
    config: RunConfig
    """With its defaults written out."""

    @classmethod
    def of(cls, rehearsal: Rehearsal) -> Self:
        """The run as the service sees it."""
        outlook = rehearsal.outlook
        return cls(
            prompts=sum(rehearsal.num_prompts.values()),
            pools=[
                PoolPart(
                    name=share.name,
                    weight=share.weight,
                    part=rehearsal.config.mixture.part(share.name),
                    prompts=rehearsal.num_prompts[share.name],
                )
                for share in rehearsal.config.mixture.shares
            ],
            held_out=rehearsal.num_held_out,
            group_size=outlook.group_size,
            bounds=[Bound.of(bound) for bound in outlook.bounds],
            steps=outlook.steps,
            most_rollouts=outlook.most_rollouts,
            most_tokens=outlook.most_tokens,
            eval_rollouts=outlook.eval_rollouts,
            config=rehearsal.config,
        )
