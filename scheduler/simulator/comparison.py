"""Rules against each other on the same pools.

Owns: which runs a comparison is made of, and what they say of each rule. Never runs two at once itself: `compare` is
handed the `map` to run them with. Invariants: on one seed all rules meet the same pool in the same order; GRPO runs
whether it was asked for or not, and its relative signal is 1.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from scheduler.core.allocators.interface import Allocator
from scheduler.core.errors import InvalidInput
from scheduler.core.ledger import Outcome
from scheduler.core.types import Verdict
from scheduler.simulator.account import Account, Milestone
from scheduler.simulator.intervals import Estimate, estimate
from scheduler.simulator.pool import SHAPES, PoolName
from scheduler.simulator.setting import Setting
from scheduler.simulator.simulation import simulate

TARGET = 0.8
"""Share of the baseline's own gain in mean success rate at which rollouts to target are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrant:
    """A rule under the name it is shown with."""

    label: str
    allocator: Allocator


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A comparison as it was asked for. Raises InvalidInput for one that compares nothing."""

    baseline: Entrant
    """What everything is relative to: GRPO."""
    entrants: tuple[Entrant, ...]
    pools: tuple[PoolName, ...]
    setting: Setting
    seeds: int = 4
    """Of pool, order and chance; at least 2, since the intervals are over seeds."""
    num_prompts: int = 512
    """Prompts of a pool: fewer make more epochs of the same steps."""

    def __post_init__(self) -> None:
        fewest = 2 * self.setting.batch_size
        for name, value, least in (("seeds", self.seeds, 2), ("num_prompts", self.num_prompts, fewest)):
            if value < least:
                raise InvalidInput(f"{value} is below {least}", field=name)
        if not self.entrants or not self.pools:
            raise InvalidInput("a comparison needs an allocator and a pool")

    @property
    def matches(self) -> list["Match"]:
        """Every run it takes, those of the baseline first in each pool."""
        rules = [self.baseline, *(entrant for entrant in self.entrants if entrant.label != self.baseline.label)]
        return [
            Match(pool=pool, entrant=rule, setting=self.setting, num_prompts=self.num_prompts, seed=seed)
            for pool in self.pools
            for rule in rules
            for seed in range(self.seeds)
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """One run of a comparison."""

    pool: PoolName
    entrant: Entrant
    setting: Setting
    num_prompts: int
    seed: int


def play(match: Match) -> Account:
    """Run it; the seed fixes the pool's draw and the order of prompts, whatever the rule."""
    shape = SHAPES[match.pool]
    pool = shape.draw(match.num_prompts, np.random.default_rng([match.seed, 0]))
    return simulate(match.entrant.allocator, pool, match.setting, seed=match.seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """When the mean success rate of a drifting pool was first at the target."""

    success_rate: float
    """The target, mean over seeds: the start plus a share of what the baseline gained."""
    reached: int
    """Seeds on which it was."""
    rollouts: float | None
    """Mean rollouts until then; None unless it was reached on every seed."""
    saving: Estimate | None
    """The baseline's rollouts ÷ these, paired; None likewise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What one rule came to on one pool: means over seeds."""

    pool: PoolName
    label: str
    signal: Estimate
    """Signal per generated rollout relative to the baseline's, paired."""
    signal_of_tokens: Estimate
    """The same per generated token."""
    rollouts: float
    trained_groups: float
    mixed_groups: float
    trained_prompts: float
    """Distinct prompts among those trained."""
    rollouts_per_mixed_group: float | None
    """None where a seed had no mixed group."""
    skip_rates: Mapping[Verdict, float]
    outcomes: Mapping[Outcome, float]
    """Rollouts by what became of them."""
    epochs: float
    arrival: Arrival | None
    """None where the pool does not drift."""
    curve: tuple[Milestone, ...]
    """Mean success rate over rollouts, of the first seed."""


Runner = Callable[[Callable[[Match], Account], Sequence[Match]], Iterable[Account]]
"""Applies a function to every match, in order, as `map` does."""


def compare(plan: Plan, run: Runner = map) -> list[Standing]:
    """Play every match with `run`, which keeps their order as `map` does, and say where each rule stands."""
    accounts: dict[tuple[PoolName, str], list[Account]] = {}
    for match, account in zip(plan.matches, run(play, plan.matches), strict=True):
        accounts.setdefault((match.pool, match.entrant.label), []).append(account)
    return [
        _standing(pool, entrant.label, accounts[pool, entrant.label], accounts[pool, plan.baseline.label])
        for pool in plan.pools
        for entrant in plan.entrants
    ]


def _standing(pool: PoolName, label: str, own: Sequence[Account], baseline: Sequence[Account]) -> Standing:
    costs = [account.rollouts_per_mixed_group for account in own]
    known = [cost for cost in costs if cost is not None]
    return Standing(
        pool=pool,
        label=label,
        signal=estimate([a.efficiency / b.efficiency for a, b in zip(own, baseline, strict=True)]),
        signal_of_tokens=estimate(
            [a.efficiency_of_tokens / b.efficiency_of_tokens for a, b in zip(own, baseline, strict=True)]
        ),
        rollouts=fmean(account.generated for account in own),
        trained_groups=fmean(account.trained_groups for account in own),
        mixed_groups=fmean(account.mixed_groups for account in own),
        trained_prompts=fmean(len(account.times_trained) for account in own),
        rollouts_per_mixed_group=fmean(known) if len(known) == len(costs) else None,
        skip_rates={verdict: fmean(a.skip_rates[verdict] for a in own) for verdict in own[0].skip_rates},
        outcomes={
            outcome: fmean(a.outcomes[outcome] for a in own)
            for outcome in Outcome
            if any(a.outcomes[outcome] for a in own)
        },
        epochs=fmean(account.epochs for account in own),
        arrival=_arrival(own, baseline) if SHAPES[pool].drifts else None,
        curve=tuple(own[0].milestones),
    )


def _arrival(own: Sequence[Account], baseline: Sequence[Account]) -> Arrival:
    targets = [_target(account) for account in baseline]
    spent = [account.rollouts_to(target) for account, target in zip(own, targets, strict=True)]
    theirs = [account.rollouts_to(target) for account, target in zip(baseline, targets, strict=True)]
    ratios = [b / a for a, b in zip(spent, theirs, strict=True) if a and b]
    complete = len(ratios) == len(own)
    return Arrival(
        success_rate=fmean(targets),
        reached=sum(rollouts is not None for rollouts in spent),
        rollouts=fmean(rollouts for rollouts in spent if rollouts is not None) if complete else None,
        saving=estimate(ratios) if complete else None,
    )


def _target(baseline: Account) -> float:
    start, end = baseline.milestones[0].success_rate, baseline.milestones[-1].success_rate
    return start + TARGET * (end - start)
