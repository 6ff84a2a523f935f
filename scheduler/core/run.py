"""A run as it was asked for: what to train on, how much to spend, how stale a group may be.

Owns: the run's configuration and its cross-checks. Nothing of it changes after the run was created but its budget,
which can be raised.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from scheduler.core.breaker import BreakerLimits
from scheduler.core.budget import Budget, Cost, worst_case
from scheduler.core.errors import InvalidInput
from scheduler.core.evaluation import DEFAULT_TARGET, EvaluationMeasure, check_target
from scheduler.core.incomplete import IncompletePolicy
from scheduler.core.labels import Labels, checked
from scheduler.core.mixture import LEAST_WEIGHT, MOST_WEIGHT, Mixture, PoolShare
from scheduler.core.overlong import OverlongPolicy, default_cache
from scheduler.core.roll_out import PauseMode
from scheduler.core.stragglers import StragglerPolicy
from scheduler.core.types import Sampling


class RunMode(StrEnum):
    """What a run is for."""

    TRAIN = "train"
    """A learner trains on the groups it commits."""
    PROFILE = "profile"
    """It spends `pilots` on every prompt once, commits nothing and needs no learner: how hard is the pool?"""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationPlan:
    """Evaluations that a run makes by itself: before its first step, after its last, and every so often between."""

    pool: str
    """Held-out prompts; never the pool the run trains on."""
    rollouts: int = 4
    """Rollouts per prompt of the first and the last evaluation."""
    every_steps: int | None = None
    """Steps between the evaluations in between; None makes none."""
    rollouts_between: int = 1
    """Rollouts per prompt of those in between."""
    measure: EvaluationMeasure = EvaluationMeasure.ROLLOUTS
    """What each of them measures; LIKELIHOOD makes one attempt per prompt, whatever the rollouts are."""
    target: str = DEFAULT_TARGET
    """With LIKELIHOOD, the text after the prompt whose probability is read; {answer} is the reference answer."""

    def __post_init__(self) -> None:
        for name, value in (("rollouts", self.rollouts), ("rollouts_between", self.rollouts_between)):
            if value < 1:
                raise InvalidInput(f"{value} is below 1", field=f"evaluation.{name}")
        if self.every_steps is not None and self.every_steps < 1:
            raise InvalidInput(f"{self.every_steps} is below 1", field="evaluation.every_steps")
        check_target(self.target, "evaluation.target")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """One training job over a pool or several, with a budget and an allocator."""

    pool: str = ""
    """The pool; empty where there are several."""
    allocator: str
    pilots: int
    """Rollouts of the first, small set; the uniform allocator adds them to its group."""
    commits: int
    """Rollouts a committed prompt gets on top of its pilots."""
    batch_size: int
    """Groups of one training step."""
    max_staleness: int
    """Weight versions by which a group's oldest token may be behind when it is consumed; 0 is fully synchronous."""
    batches_ahead: int | None = None
    """Batches sampled beyond the one being trained; None: as many as `max_staleness` allows.

    Fewer leave survivors without a slot the time to wait for one: their pilots may be stale by the difference.
    """
    sampling: Sampling
    budget: Budget = field(default_factory=Budget)
    max_steps: int | None = None
    """Training steps after which the run drains; None leaves it to the budget."""
    partial_batches: bool = False
    """Train on fewer groups than a batch rather than wait when nothing is left to claim."""
    seed: int = 0
    """Fixes the order of prompts and the sampling seeds."""
    discount: float = 0.98
    """Per weight version, how much of a prompt's evidence is kept."""
    parameters: Mapping[str, float | int | None] = field(default_factory=dict)
    """Parameters of the allocator, by name."""
    evaluation: EvaluationPlan | None = None
    """What the run measures by itself; None leaves evaluation to requests."""
    max_attempts: int = 3
    """Attempts for one rollout before its group is incomplete."""
    attempt_timeout_s: float = 120.0
    """Seconds one attempt may take on a server before it is lost and made again elsewhere."""
    incomplete: IncompletePolicy = IncompletePolicy.REFILL
    """What is done where attempts of a group are lost or failed."""
    min_group: int | None = None
    """Least rollouts of a group that is published without some of its attempts; None: half of what its rule wanted."""
    stragglers: StragglerPolicy = StragglerPolicy.WAIT
    """What becomes of attempts that take much longer than their siblings."""
    straggler_share: float = 0.75
    """Share of the attempts asked for together that has to be back before any other is a straggler."""
    straggler_factor: float = 3.0
    """Times the median duration of those that are back, from which on an attempt is one."""
    overlong: OverlongPolicy = OverlongPolicy.KEEP
    """What becomes of completions that reach `max_new_tokens`."""
    overlong_cache: int | None = None
    """With PENALISE, tokens before the limit over which the reward falls; None: a fifth of `max_new_tokens`."""
    breaker: BreakerLimits = field(default_factory=BreakerLimits)
    """When failures stop the run from claiming."""
    pause_mode: PauseMode = PauseMode.RETRACT
    """What becomes of the requests in flight when a server is given new weights."""
    servers: Labels = field(default_factory=dict)
    """Labels that the run's servers have to have; with none, it takes any."""
    pools: tuple[PoolShare, ...] = ()
    """Two pools or more, mixed by weight, in the place of `pool`."""
    mode: RunMode = RunMode.TRAIN
    """What the run is for."""
    weights: str | None = None
    """With PROFILE, the folder of the weights that servers sample with, as a learner would name it."""

    def __post_init__(self) -> None:
        checks = {
            "pilots": (self.pilots, 0),
            "commits": (self.commits, 0),
            "batch_size": (self.batch_size, 1),
            "max_staleness": (self.max_staleness, 0),
            "sampling.max_new_tokens": (self.sampling.max_new_tokens, 1),
            "max_attempts": (self.max_attempts, 1),
        }
        for name, (value, least) in checks.items():
            if value < least:
                raise InvalidInput(f"{value} is below {least}", field=name)
        if self.batches_ahead is not None and not 0 <= self.batches_ahead <= self.max_staleness:
            raise InvalidInput(
                f"{self.batches_ahead} is not between 0 and max_staleness, which is {self.max_staleness}",
                field="batches_ahead",
            )
        if self.attempt_timeout_s <= 0.0:
            raise InvalidInput(f"{self.attempt_timeout_s} s leave no time for an attempt", field="attempt_timeout_s")
        if self.max_steps is not None and self.max_steps < 1:
            raise InvalidInput(f"{self.max_steps} is below 1", field="max_steps")
        if self.group_size < 2:
            raise InvalidInput(f"a group of {self.group_size} has no variance to learn from", field="commits")
        checked(self.servers, "servers")
        self._check_mode()
        self._check_failure_policies()
        self._check_pools()
        if self.evaluation is not None and self.evaluation.pool in self.mixture.names:
            raise InvalidInput("a run is not evaluated on the pool it trains on", field="evaluation.pool")
        if not 0.0 < self.discount <= 1.0:
            raise InvalidInput(f"{self.discount} is not in (0, 1]", field="discount")
        if self.sampling.temperature <= 0.0:
            raise InvalidInput("a temperature of 0 gives identical rollouts", field="sampling.temperature")
        claim = self.largest_claim.rollouts
        if self.budget.rollouts is not None and self.budget.rollouts < claim:
            raise InvalidInput(
                f"{self.budget.rollouts} rollouts cannot fund one group of {claim}", field="budget.rollouts"
            )
        if self.budget.tokens is not None and self.budget.tokens < self.largest_claim.tokens:
            raise InvalidInput(
                f"{self.budget.tokens} tokens cannot fund one group at its worst case of {self.largest_claim.tokens}",
                field="budget.tokens",
            )

    def _check_pools(self) -> None:
        if bool(self.pool) is bool(self.pools):
            raise InvalidInput("name one pool, or several in pools", field="pool")
        if len(self.pools) == 1:
            raise InvalidInput("one pool is not mixed with anything: name it as pool", field="pools")
        names = [share.name for share in self.pools]
        if len(set(names)) < len(names):
            raise InvalidInput("a pool is named twice", field="pools")
        for number, share in enumerate(self.pools):
            if not LEAST_WEIGHT <= share.weight <= MOST_WEIGHT:
                raise InvalidInput(
                    f"{share.weight:g} is not between {LEAST_WEIGHT:g} and {MOST_WEIGHT:,.0f}",
                    field=f"pools.{number}.weight",
                )

    def _check_mode(self) -> None:
        if self.mode is RunMode.TRAIN:
            if self.weights is not None:
                raise InvalidInput("the weights of a run that trains are its learner's", field="weights")
            return
        if self.pilots < 1:
            raise InvalidInput("a profile is made of pilots: 1 or more", field="pilots")
        if self.pools:
            raise InvalidInput("a profile looks at one pool", field="pools")
        for name, value in (("max_steps", self.max_steps), ("evaluation", self.evaluation)):
            if value is not None:
                raise InvalidInput("a profile makes no steps, and is not evaluated", field=name)

    def _check_failure_policies(self) -> None:
        if self.min_group is not None and not 2 <= self.min_group <= self.group_size:
            raise InvalidInput(
                f"{self.min_group} is not between 2 and a whole group, which has {self.group_size} rollouts",
                field="min_group",
            )
        if not 0.0 < self.straggler_share < 1.0:
            raise InvalidInput(f"{self.straggler_share} is not in (0, 1)", field="straggler_share")
        if self.straggler_factor <= 1.0:
            raise InvalidInput(
                f"{self.straggler_factor} is not above 1: half of all attempts take longer than the median",
                field="straggler_factor",
            )
        makes_again = self.max_attempts > 1 and self.incomplete is not IncompletePolicy.DROP
        if self.stragglers is StragglerPolicy.REPLACE and not makes_again:
            raise InvalidInput(
                "replace makes attempts again: it needs max_attempts of 2 or more, and incomplete other than drop",
                field="stragglers",
            )
        limit = self.sampling.max_new_tokens
        if self.overlong_cache is not None and not 1 <= self.overlong_cache <= limit:
            raise InvalidInput(
                f"{self.overlong_cache} is not between 1 and sampling.max_new_tokens, which is {limit}",
                field="overlong_cache",
            )

    @property
    def mixture(self) -> Mixture:
        """The pools, one or several."""
        return Mixture(self.pools or (PoolShare(name=self.pool),))

    def least_group(self, num_wanted: int) -> int:
        """Rollouts that a group of which its rule wanted so many has at least, if it is published without some."""
        least = (num_wanted + 1) // 2 if self.min_group is None else min(self.min_group, num_wanted)
        return max(2, least)

    @property
    def penalised_tokens(self) -> int:
        """Tokens before `max_new_tokens` over which PENALISE lowers the reward."""
        return default_cache(self.sampling.max_new_tokens) if self.overlong_cache is None else self.overlong_cache

    @property
    def group_size(self) -> int:
        """Rollouts of a whole group."""
        return self.pilots + self.commits

    @property
    def largest_claim(self) -> Cost:
        """What a claim reserves: the largest group it may become, at worst-case tokens; of a profile, its pilots."""
        rollouts = self.pilots if self.mode is RunMode.PROFILE else self.group_size
        return worst_case(rollouts, self.sampling.max_new_tokens)
