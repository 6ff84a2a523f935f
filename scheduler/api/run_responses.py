"""What the API answers about runs.

Owns: the response models of runs, ledgers and prompts in a run, filled from the service's values.
"""

from collections.abc import Mapping
from typing import Self

from scheduler.api.response import Response
from scheduler.core.ledger import Ledger, StageLine
from scheduler.core.pool_tally import PoolTally, pool_tallies
from scheduler.core.queue import Place
from scheduler.core.run import RunConfig
from scheduler.core.spend import pilot_success_rate, skip_rates
from scheduler.service import BreakerView, RunView
from scheduler.state.row import Event, PromptView
from scheduler.state.table import ReadyPool


class Spend(Response):
    """What a run has spent and reserved."""

    rollouts: int
    tokens: int
    reserved_rollouts: int
    reserved_tokens: int


class Breaker(Response):
    """The failure-rate breaker of a run that is at work."""

    state: str
    """closed, open (nothing is claimed) or half_open (a few claims are being tried)."""
    tripped_by: str | None
    """infrastructure or data; None while it is closed."""
    reason: str
    """Why it is not closed."""
    retry_in_s: float
    """Seconds until an open breaker lets a few claims through."""

    @classmethod
    def of(cls, view: BreakerView) -> Self:
        """The breaker as the service sees it."""
        breaker = view.breaker
        return cls(
            state=breaker.state, tripped_by=breaker.tripped_by, reason=breaker.reason, retry_in_s=view.retry_in_s
        )


class Queued(Response):
    """Where a run stands in the queue; `waiting_for` says why."""

    position: int
    """1 is the next of those that want servers which it wants too; 0 if its turn has just come."""
    behind: list[str]
    """Runs that have to end first."""

    @classmethod
    def of(cls, place: Place) -> Self:
        """The place as the core knows it."""
        return cls(position=place.position, behind=list(place.behind))


class PoolOfRun(Response):
    """One of the pools of a run, with what was spent on it."""

    name: str
    weight: float
    part: float
    """Its share of the weights: of the claims, while no pool runs dry."""
    claimed: int
    """Prompts claimed."""
    forfeited: int
    """Turns it let pass: it had nothing to claim, or the allocator wanted none of it."""
    claimable: int
    """Prompts that can be claimed now."""
    epoch: int | None
    """Visits that every one of these has had at least; None while there are none."""
    considered: int
    """Prompts claimed, or passed over by their history."""
    skip_rates: dict[str, float]
    """By verdict: prompts considered and not committed ÷ prompts considered."""
    rollouts: int
    """Pilots and commits spent."""
    tokens: int
    """Generated tokens of them."""
    pilot_success_rate: float | None

    @classmethod
    def of(cls, tally: PoolTally, claimable: Mapping[str, ReadyPool]) -> Self:
        """The pool with what is claimable of it."""
        ready = claimable.get(tally.name)
        return cls(
            name=tally.name,
            weight=tally.weight,
            part=tally.part,
            claimed=tally.claimed,
            forfeited=tally.forfeited,
            claimable=ready.prompts if ready else 0,
            epoch=ready.epoch if ready else None,
            considered=tally.considered,
            skip_rates={verdict.value: rate for verdict, rate in tally.skip_rates.items()},
            rollouts=tally.rollouts,
            tokens=tally.tokens,
            pilot_success_rate=tally.pilot_success_rate,
        )


class Run(Response):
    """A run at one moment."""

    run_id: str
    state: str
    reason: str
    waiting_for: str
    """What it waits for now; empty while work flows."""
    queue: Queued | None
    """Its place in the queue; None for a run that is not queued."""
    breaker: Breaker | None
    """Whether failures keep it from claiming; None while no engine is at work on it."""
    pool: str
    """Of several their names, with a + between."""
    pools: list[PoolOfRun]
    """What was spent on each, one or several."""
    allocator: str
    step: int
    """Last step the learner applied."""
    checkpointed_step: int
    """Last step the learner saved."""
    version: int
    """Weight version of the learner's policy."""
    live_version: int
    """Weight version the fleet samples with."""
    created_at: float
    started_at: float | None
    ended_at: float | None
    spend: Spend
    considered: int
    """Prompts piloted, or passed over by their history."""
    skip_rates: dict[str, float]
    """By verdict: prompts considered and not committed ÷ prompts considered."""
    pilot_success_rate: float | None
    """Share of right pilots before any selection; None before the first."""
    prompts: dict[str, int]
    """Prompts by state."""
    config: RunConfig

    @classmethod
    def of(cls, view: RunView) -> Self:
        """The run as the service sees it."""
        record, ledger = view.record, view.ledger
        return cls(
            run_id=record.run_id,
            state=record.state,
            reason=record.reason,
            waiting_for=view.waiting_for,
            queue=Queued.of(view.place) if view.place is not None else None,
            breaker=Breaker.of(view.breaker) if view.breaker is not None else None,
            pool=record.config.mixture.label,
            pools=[PoolOfRun.of(tally, view.claimable) for tally in pool_tallies(record.config.mixture, view.counters)],
            allocator=record.config.allocator,
            step=record.step,
            checkpointed_step=record.checkpointed_step,
            version=record.version,
            live_version=record.live_version,
            created_at=record.created_at,
            started_at=record.started_at,
            ended_at=record.ended_at,
            spend=Spend(
                rollouts=ledger.spent_rollouts,
                tokens=ledger.spent_tokens,
                reserved_rollouts=ledger.reserved_rollouts,
                reserved_tokens=ledger.reserved_tokens,
            ),
            considered=view.counters.get("considered", 0),
            skip_rates={verdict.value: rate for verdict, rate in skip_rates(view.counters).items()},
            pilot_success_rate=pilot_success_rate(view.counters),
            prompts={state.value: count for state, count in view.prompts.items()},
            config=record.config,
        )


class Runs(Response):
    """All runs, oldest first."""

    runs: list[Run]


class LedgerStage(Response):
    """The ledger of one stage: attempts = sum over open states and outcomes."""

    attempts: int
    tokens: int
    prompt_tokens: int
    open: dict[str, int]
    outcomes: dict[str, int]

    @classmethod
    def of(cls, line: StageLine) -> Self:
        """One stage's line."""
        return cls(
            attempts=line.attempts,
            tokens=line.tokens,
            prompt_tokens=line.prompt_tokens,
            open={state.value: count for state, count in line.open.items()},
            outcomes={outcome.value: count for outcome, count in line.outcomes.items()},
        )


class LedgerPage(Response):
    """What became of every attempt."""

    balanced: bool
    """Whether open states and outcomes sum to the attempts made, stage by stage."""
    stages: dict[str, LedgerStage]
    spent_rollouts: int
    spent_tokens: int
    reserved_rollouts: int
    reserved_tokens: int
    verdicts: dict[str, int]
    """Visits by how they ended."""
    reasons: dict[str, int]
    """Verdicts by reason, as verdict:reason."""
    passed_over: dict[str, int]
    """Prompts judged by their history alone, by verdict."""
    incomplete: dict[str, int]
    """Groups that some attempts gave no rollout for, by what became of them: refilled, accepted, cut, dropped."""
    recalled: dict[str, int]
    """Attempts called back, by reason: too_stale, straggler."""
    breaker_trips: dict[str, int]
    """How often failures stopped the run from claiming, by their class: infrastructure, data."""
    groups_trained: int

    @classmethod
    def of(cls, ledger: Ledger, counters: Mapping[str, int]) -> Self:
        """The ledger with its verdicts."""
        return cls(
            balanced=ledger.is_balanced,
            stages={stage.value: LedgerStage.of(line) for stage, line in ledger.stages.items()},
            spent_rollouts=ledger.spent_rollouts,
            spent_tokens=ledger.spent_tokens,
            reserved_rollouts=ledger.reserved_rollouts,
            reserved_tokens=ledger.reserved_tokens,
            verdicts=_under(counters, "verdict:"),
            reasons=_under(counters, "reason:"),
            passed_over=_under(counters, "passed_over:"),
            incomplete=_under(counters, "incomplete:"),
            recalled=_under(counters, "recalled:"),
            breaker_trips=_under(counters, "breaker:"),
            groups_trained=counters.get("groups:trained", 0),
        )


def _under(counters: Mapping[str, int], prefix: str) -> dict[str, int]:
    return {name.removeprefix(prefix): count for name, count in counters.items() if name.startswith(prefix)}


class PromptPage(Response):
    """Everything known of a prompt in a run: why it was skipped, and when it returns."""

    prompt_id: str
    state: str
    next_version: int | None
    """Weight version at which it is claimable again; None while it is claimable, or never again."""
    visits: int
    success_rate: float | None
    """Expected by its evidence; None before the first visit."""
    informativeness: float | None
    """Reward variance expected of it; None before the first visit."""
    last_verdict: str | None
    reason: str
    num_pilots: int
    num_commits: int
    tokens_per_rollout: float
    history: list[Event]
    """Newest first, the last fifty events."""

    @classmethod
    def of(cls, view: PromptView) -> Self:
        """The prompt as its run sees it."""
        evidence = view.row.evidence if view.row else None
        return cls(
            prompt_id=view.prompt_id,
            state=view.state,
            next_version=view.row.next_version if view.row and view.state == "waiting" else None,
            visits=evidence.visits if evidence else 0,
            success_rate=evidence.belief.mean if evidence else None,
            informativeness=evidence.informativeness if evidence else None,
            last_verdict=evidence.last_verdict if evidence else None,
            reason=evidence.reason if evidence else "",
            num_pilots=evidence.num_pilots if evidence else 0,
            num_commits=evidence.num_commits if evidence else 0,
            tokens_per_rollout=evidence.tokens_per_rollout if evidence else 0.0,
            history=list(view.history),
        )
