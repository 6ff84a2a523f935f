"""What a table looks like on a console, and the answers that tables are made of."""

import io

from rich.console import Console, RenderableType

from scheduler.cli.answers import Ledger, PoolOfRun, Prompt, Run, Spend, StageLine
from scheduler.core.budget import Budget
from scheduler.core.ledger import OpenState, Outcome
from scheduler.core.lifecycle import PromptState, RunState
from scheduler.core.run import RunConfig
from scheduler.core.types import Sampling, Stage, Verdict


def text_of(renderable: RenderableType, *, width: int = 100) -> str:
    """What is shown, without colours."""
    console = Console(file=io.StringIO(), width=width, record=True)
    console.print(renderable)
    return console.export_text()


def make_run(
    *,
    run_id: str = "run-1",
    pool: str = "sums",
    pools: tuple[PoolOfRun, ...] = (),
    state: RunState = RunState.RUNNING,
    reason: str = "",
    waiting_for: str = "",
    version: int = 0,
    live_version: int = 0,
    started_at: float | None = None,
    ended_at: float | None = None,
    budget: Budget | None = None,
    skip_rates: dict[Verdict, float] | None = None,
    pilot_success_rate: float | None = None,
) -> Run:
    """A run that was created at second 0."""
    return Run(
        run_id=run_id,
        pool=pool,
        pools=pools,
        allocator="pilot_commit",
        state=state,
        reason=reason,
        queue=None,
        waiting_for=waiting_for,
        step=3,
        checkpointed_step=2,
        version=version,
        live_version=live_version,
        created_at=0.0,
        started_at=started_at,
        ended_at=ended_at,
        spend=Spend(rollouts=1200, tokens=5000, reserved_rollouts=32, reserved_tokens=640),
        skip_rates=skip_rates or {},
        pilot_success_rate=pilot_success_rate,
        prompts={PromptState.READY: 7, PromptState.WAITING: 1},
        config=RunConfig(
            pool=pool,
            allocator="pilot_commit",
            pilots=2,
            commits=6,
            batch_size=4,
            max_staleness=1,
            sampling=Sampling(max_new_tokens=16),
            budget=budget or Budget(),
        ),
    )


def make_prompt(*, state: PromptState = PromptState.READY, next_version: int | None = None, reason: str = "") -> Prompt:
    """A prompt without a history."""
    return Prompt(
        prompt_id="sum-1",
        state=state,
        next_version=next_version,
        visits=0,
        success_rate=None,
        informativeness=None,
        last_verdict=None,
        reason=reason,
        num_pilots=0,
        num_commits=0,
        tokens_per_rollout=0.0,
        history=(),
    )


def make_ledger(
    *,
    trained: int = 0,
    balanced: bool = True,
    verdicts: dict[str, int] | None = None,
    reasons: dict[str, int] | None = None,
    passed_over: dict[str, int] | None = None,
    incomplete: dict[str, int] | None = None,
    recalled: dict[str, int] | None = None,
    breaker_trips: dict[str, int] | None = None,
    groups_trained: int = 0,
) -> Ledger:
    """A ledger with trained commits only."""

    def line(trained: int) -> StageLine:
        return StageLine(
            attempts=trained,
            tokens=10 * trained,
            prompt_tokens=trained,
            open=dict.fromkeys(OpenState, 0),
            outcomes={outcome: trained if outcome is Outcome.TRAINED else 0 for outcome in Outcome},
        )

    return Ledger(
        balanced=balanced,
        stages={stage: line(trained if stage is Stage.COMMIT else 0) for stage in Stage},
        spent_rollouts=trained,
        spent_tokens=10 * trained,
        reserved_rollouts=0,
        reserved_tokens=0,
        verdicts=verdicts or {},
        reasons=reasons or {},
        passed_over=passed_over or {},
        incomplete=incomplete or {},
        recalled=recalled or {},
        breaker_trips=breaker_trips or {},
        groups_trained=groups_trained,
    )
