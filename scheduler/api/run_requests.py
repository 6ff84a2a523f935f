"""What the API is sent about runs.

Owns: the request models of runs and evaluations, and what they come to in the core's own values.
"""

from typing import Annotated

from pydantic import Field, field_validator

from scheduler.api.request import MOST, Name, Request, Text, example
from scheduler.core.breaker import BreakerLimits
from scheduler.core.budget import Budget
from scheduler.core.errors import InvalidInput
from scheduler.core.evaluation import DEFAULT_TARGET, EvaluationMeasure
from scheduler.core.incomplete import IncompletePolicy
from scheduler.core.mixture import PoolShare
from scheduler.core.overlong import OverlongPolicy
from scheduler.core.roll_out import PauseMode
from scheduler.core.run import EvaluationPlan, RunConfig, RunMode
from scheduler.core.stragglers import StragglerPolicy
from scheduler.core.types import Sampling

_MOST_ROLLOUTS = 4096
_GREEDY = 1e-6
"""SGLang takes the likeliest token at any lower temperature."""


class NewSampling(Request):
    """How rollouts are sampled."""

    max_new_tokens: int = Field(le=MOST, examples=[512])
    """Generated tokens of one rollout at most: what the budget reserves for it."""
    temperature: float = 1.0
    """Spread of the distribution that is sampled from; 1 is the policy's own."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Share of the probability mass to sample from."""
    top_k: int = Field(-1, ge=-1, le=MOST)
    """Most likely tokens to sample from; -1 is all."""
    min_p: float = Field(0.0, ge=0, lt=1)
    """Least probability of a token, relative to the most likely one."""
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = Field((), max_length=64)
    """Strings that end a completion; they are not part of its text."""
    stop_token_ids: tuple[Annotated[int, Field(ge=0, le=MOST)], ...] = Field((), max_length=64)
    """Tokens that end a completion, beside the model's own."""
    ignore_eos: bool = False
    """Go on after the model's own end, to `max_new_tokens`."""

    @field_validator("top_k")
    @classmethod
    def _top_k(cls, value: int) -> int:
        if value == 0:
            raise ValueError("there is nothing to sample from the 0 likeliest tokens; -1 is all of them")
        return value

    @field_validator("temperature")
    @classmethod
    def _temperature(cls, value: float) -> float:
        if 0 < value < _GREEDY:
            raise ValueError(f"below {_GREEDY:g} rollouts are identical")
        return value


class NewBudget(Request):
    """What a run may spend; what is left out is unlimited."""

    rollouts: int | None = Field(None, le=MOST, examples=[100_000])
    """Pilot and commit rollouts."""
    tokens: int | None = Field(None, le=MOST)
    """Generated tokens of pilots and commits."""
    wall_clock_s: float | None = Field(None, le=MOST)
    """Seconds from the first claim until nothing new is claimed."""
    eval_rollouts: int | None = Field(None, le=MOST)
    """Evaluation rollouts: a cap of their own."""


class NewEvaluationPlan(Request):
    """Evaluations that the run makes by itself."""

    pool: Name = Field(examples=["arithmetic-held-out"])
    """Held-out prompts."""
    rollouts: int = Field(4, le=_MOST_ROLLOUTS)
    """Rollouts per prompt before the first step and after the last."""
    every_steps: int | None = Field(None, le=MOST)
    """Steps between the evaluations in between; none by default."""
    rollouts_between: int = Field(1, le=_MOST_ROLLOUTS)
    """Rollouts per prompt of those in between."""
    measure: EvaluationMeasure = EvaluationMeasure.ROLLOUTS
    """rollouts: judge sampled rollouts. likelihood: read the probability of the reference answer, without sampling."""
    target: Text = DEFAULT_TARGET
    """With likelihood, the text after a prompt whose probability is read; {answer} is the reference answer."""


class NewBreaker(Request):
    """When failures stop the run from claiming, and for how long; it resumes by itself."""

    window: int = Field(256, le=65_536)
    """Attempts that a failure rate is taken over; nothing is judged before so many have ended."""
    max_lost_rate: float = 0.5
    """Share of attempts lost with their servers above which nothing is claimed; 1 never trips."""
    max_failed_rate: float = 0.5
    """Share of attempts that came back and failed (refused, or without a reward), likewise; 1 never trips."""
    pause_s: float = Field(5.0, le=86_400)
    """Seconds until a few claims are tried; twice as many after each trial that fails."""
    max_pause_s: float = Field(300.0, le=86_400)
    """The longest pause."""
    trial_claims: int = Field(4, le=4096)
    """Prompts claimed at a time while it is tried."""


class NewPoolShare(Request):
    """One of several pools."""

    name: Name
    """The pool."""
    weight: float = 1.0
    """Its part of the claims, relative to the other weights; 0.001 to 1,000,000."""


class NewRun(Request):
    """A run to queue."""

    model_config = example(
        pool="arithmetic",
        pilots=8,
        commits=8,
        batch_size=8,
        sampling={"max_new_tokens": 8, "stop": ["\n"]},
        budget={"rollouts": 20_000},
        evaluation={"pool": "arithmetic-held-out", "rollouts": 4},
    )

    run_id: Name | None = None
    """Its id, of letters, digits, . _ and -; one is made up by default."""
    pool: Name | None = Field(None, examples=["arithmetic"])
    """The pool to train on; required, or `pools`."""
    pools: tuple[NewPoolShare, ...] = Field((), max_length=32)
    """Several pools instead, each with its `name` and `weight` (1): claims are mixed by weight (docs/data.md)."""
    allocator: Text = Field("adaptive", examples=["adaptive"])
    """The rule that decides who gets pilots and commits, by name or as `package.module:Name`; docs/allocators.md."""
    pilots: int = Field(8, le=_MOST_ROLLOUTS)
    """Rollouts of the first, small set."""
    commits: int = Field(8, le=_MOST_ROLLOUTS)
    """Rollouts a committed prompt gets on top."""
    batch_size: int = Field(8, le=65_536)
    """Groups of one training step."""
    max_staleness: int = Field(1, le=1000)
    """Weight versions a group's oldest token may be behind when it is trained; 0 is fully synchronous."""
    batches_ahead: int | None = Field(None, le=1000)
    """Batches sampled beyond the one being trained; by default as many as `max_staleness` allows."""
    sampling: NewSampling
    budget: NewBudget = NewBudget()
    max_steps: int | None = Field(None, le=MOST)
    """Training steps after which the run ends; by default the budget ends it."""
    evaluation: NewEvaluationPlan | None = None
    """Evaluations that the run makes by itself; left out, it makes none but those that are asked for."""
    partial_batches: bool = False
    """Train on fewer groups than a batch rather than wait when nothing is left to claim."""
    seed: int = Field(0, ge=-MOST, le=MOST)
    """Fixes the order of prompts and the sampling seeds."""
    discount: float = 0.98
    """Per weight version, how much of a prompt's evidence is kept."""
    parameters: dict[Text, float | int | None] = Field({})
    """Parameters of the allocator, by name."""
    max_attempts: int = Field(3, le=100)
    """Attempts for one rollout before its group is incomplete."""
    attempt_timeout_s: float = Field(120.0, le=86_400)
    """Seconds one attempt may take on a server."""
    incomplete: IncompletePolicy = IncompletePolicy.REFILL
    """Where attempts of a group are lost or failed. refill: make them again, within `max_attempts`. accept: publish a
    committed group from `min_group` rollouts on. drop: make nothing again; the prompt comes back."""
    min_group: int | None = Field(None, le=_MOST_ROLLOUTS)
    """Least rollouts of a group published without some of its attempts; by default half of what its rule wanted."""
    stragglers: StragglerPolicy = StragglerPolicy.WAIT
    """Attempts that take much longer than their siblings. wait: until their timeout. cut: abort them, if the committed
    group has `min_group` rollouts without them. replace: abort them and make them again, within `max_attempts`. Cutting
    long answers biases training towards short ones."""
    straggler_share: float = 0.75
    """Share of the attempts asked for together that has to be back before any other is a straggler."""
    straggler_factor: float = 3.0
    """Times the median duration of those that are back, from which on an attempt is a straggler."""
    overlong: OverlongPolicy = OverlongPolicy.KEEP
    """Completions that reach `max_new_tokens`. keep: train on them. mask: they count for nothing in training. penalise:
    the reward falls by up to 1 over the last `overlong_cache` tokens (DAPO's soft overlong punishment)."""
    overlong_cache: int | None = Field(None, le=MOST)
    """With penalise, tokens before `max_new_tokens` over which the reward falls; by default a fifth of it."""
    breaker: NewBreaker = NewBreaker()
    """When failures stop the run from claiming."""
    pause_mode: PauseMode = PauseMode.RETRACT
    """What becomes of requests in flight at a weight push. retract: they are computed again under the new weights, then
    go on. in_place: they go on over the KV cache of the old ones. abort: they are lost, charged, and made again."""
    servers: dict[Text, Text] = Field({}, examples=[{"gpu": "h100"}])
    """Labels that the run's servers have to have, as `server add --label` gave them; left out, it takes any server.
    Runs that want a server in common work one after the other, in the order of their creation."""
    mode: RunMode = RunMode.TRAIN
    """train: a learner trains on what is committed. profile: `pilots` for every prompt once, no commits and no learner;
    `allocator` and `commits` say whose decisions are foretold (docs/profile.md)."""
    weights: Text | None = None
    """With profile, the folder of the weights to sample with; by default the scheduler's model."""

    def config(self) -> RunConfig:
        """The run as the core knows it; raises InvalidInput from its cross-checks."""
        given = self.model_dump(exclude={"run_id", "pool", "pools", "sampling", "budget", "evaluation", "breaker"})
        return RunConfig(
            **given,
            pool=self.pool or "",
            pools=tuple(PoolShare(name=share.name, weight=share.weight) for share in self.pools),
            sampling=Sampling(**self.sampling.model_dump()),
            budget=Budget(**self.budget.model_dump()),
            breaker=BreakerLimits(**self.breaker.model_dump()),
            evaluation=EvaluationPlan(**self.evaluation.model_dump()) if self.evaluation else None,
        )


class RaiseBudget(Request):
    """Higher limits for a run; what is left out stays as it is."""

    model_config = example(rollouts=40_000)

    rollouts: int | None = Field(None, ge=1, le=MOST)
    """Pilot and commit rollouts, those already spent included."""
    tokens: int | None = Field(None, ge=1, le=MOST)
    """Generated tokens of pilots and commits, likewise."""
    wall_clock_s: float | None = Field(None, ge=1, le=MOST)
    """Seconds from the first claim until nothing new is claimed."""
    eval_rollouts: int | None = Field(None, ge=1, le=MOST)
    """Evaluation rollouts, likewise."""

    def budget(self) -> Budget:
        """The limits that are named; raises InvalidInput if none is."""
        limits = self.model_dump(exclude_none=True)
        if not limits:
            raise InvalidInput("name at least one of rollouts, tokens, wall_clock_s and eval_rollouts")
        return Budget(**limits)


class NewEvaluation(Request):
    """An evaluation to queue."""

    model_config = example(pool="arithmetic-held-out", rollouts=4)

    pool: Name
    """Held-out prompts."""
    rollouts: int = Field(4, ge=1, le=_MOST_ROLLOUTS)
    """Rollouts per prompt."""
    version: int | None = None
    """The weight version to measure; by default whichever is live when it starts."""
    measure: EvaluationMeasure = EvaluationMeasure.ROLLOUTS
    """rollouts: judge sampled rollouts. likelihood: read the probability of the reference answer, without sampling."""
    target: Text = DEFAULT_TARGET
    """With likelihood, the text after a prompt whose probability is read; {answer} is the reference answer."""
