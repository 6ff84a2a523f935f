"""One run after the other, while the plan is carried out.

Owns: which runs there are, and waiting for their ends. Never breaks anything and never judges. Invariants: the runs
follow from the seed; each is wholly over, and its evidence gathered, before the next begins.
"""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from scheduler.cli.answers import Added, Run, read
from scheduler.client import Client, Json
from scheduler.core.errors import Conflict, NotAtWork
from scheduler.core.lifecycle import ENDED
from tests.chaos import evidence
from tests.chaos.cluster import Cluster, running
from tests.chaos.invariants import Invariant, RunEvidence, Violation, left_paused, violations_of
from tests.chaos.plan import FaultKind, make_plan
from tests.chaos.strikes import Strikes

POOL = "sums"
PROMPT_IDS = tuple(f"p{number}" for number in range(40))
_REWARD = "python:tests.e2e.rewards:starts_even"
_ALLOCATORS = ("pilot_commit", "adaptive", "grpo", "dapo", "dapo_carry", "speed_rl", "greso", "reinforce_ada")
_START_WITHIN_S = 240.0
_LOOK_S = 0.2
_READY_WITHIN_S = 120.0
"""One that is paused stays so; one that was killed last is on its way back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChaosOptions:
    """What is asked for."""

    seed: int
    duration_s: float
    """Of the faults; the run that is under way then comes to its end undisturbed."""
    per_kind: int
    is_real: bool
    folder: Path
    model: Path
    end_within_s: float = 900.0
    """A run that takes longer hangs: undisturbed it takes seconds."""


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What came of it."""

    planned: int = 0
    struck: dict[FaultKind, int] = field(default_factory=dict)
    missed: dict[FaultKind, int] = field(default_factory=dict)
    runs: list[RunEvidence] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    deaths: dict[str, int] = field(default_factory=dict)
    """Of each process that is there all the time."""
    takeovers: int = 0
    seconds: float = 0.0


async def campaign(options: ChaosOptions, *, say: Callable[[str], None]) -> Outcome:
    """Carry out the plan of a seed against run after run, and check each."""
    outcome, began = Outcome(), time.monotonic()
    plan = make_plan(options.seed, duration_s=options.duration_s, per_kind=options.per_kind)
    outcome.planned = len(plan)
    async with running(options.folder, options.model, is_real=options.is_real) as cluster:
        await prepare(cluster, say)
        strikes = Strikes(cluster=cluster, say=say)
        striking = asyncio.create_task(strikes.carry_out(plan), name="strikes")
        try:
            await _runs(cluster, options, striking, outcome, say)
            await striking
            ready = await cluster.servers_ready(within_s=_READY_WITHIN_S)
        finally:
            striking.cancel()
            await asyncio.gather(striking, return_exceptions=True)
        outcome.violations += left_paused(ready)
        outcome.struck, outcome.missed = dict(strikes.struck), dict(strikes.missed)
        outcome.takeovers = cluster.takeovers
        actors = (*cluster.schedulers, *cluster.servers, cluster.redis)
        outcome.deaths = {actor.name: actor.deaths() for actor in actors}
    outcome.seconds = time.monotonic() - began
    return outcome


async def prepare(cluster: Cluster, say: Callable[[str], None]) -> None:
    """Wait until everything is up once: the plan is about processes that were."""
    say("starting")
    await cluster.schedulers_alive(within_s=_START_WITHIN_S)
    # The first pool imports the tokenizers' library, which takes a busy machine a minute.
    await cluster.ask(
        lambda client: client.create_pool(POOL, tokenizer=str(cluster.model), reward=_REWARD),
        timeout_s=_START_WITHIN_S,
        patience_s=_START_WITHIN_S,
    )
    lines = [{"id": prompt_id, "text": f"{prompt_id[1:]} + {len(prompt_id)} ="} for prompt_id in PROMPT_IDS]
    added = await cluster.ask(lambda client: read(client.add_prompts(POOL, lines), Added))
    assert added.added + added.unchanged == len(PROMPT_IDS), added
    ready = await cluster.servers_ready(within_s=_START_WITHIN_S)
    assert all(ready.values()), ready
    say("everything is up")


async def _runs(
    cluster: Cluster,
    options: ChaosOptions,
    striking: "asyncio.Task[None]",
    outcome: Outcome,
    say: Callable[[str], None],
) -> None:
    number = 0
    while not striking.done() and not outcome.violations:
        number += 1
        run_id = f"chaos-{number}"
        await cluster.ask(partial(create, run_id=run_id, rng=random.Random(f"{options.seed}-{number}")))
        cluster.start_learner(run_id)
        in_time = await ended_in_time(cluster, run_id, within_s=options.end_within_s)
        waited = "" if in_time else f"not ended after {options.end_within_s:g} s\n{cluster.last_words()}"
        await cluster.stop_learner()
        found = await evidence.gather(cluster, run_id, PROMPT_IDS)
        outcome.runs.append(found)
        outcome.violations += violations_of(found)
        if waited:
            outcome.violations.append(Violation(invariant=Invariant.RUN_ENDED, run_id=run_id, detail=waited))
        say(
            f"{run_id} is {found.state}: {found.ledger.spent_rollouts} of {found.budget.rollouts} rollouts, "
            f"{len(found.trained)} groups trained, {len(found.dropped)} dropped"
        )
        for violation in outcome.violations:
            say(f"VIOLATION {violation}")


async def ended_in_time(cluster: Cluster, run_id: str, *, within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            while True:
                run = await cluster.ask(lambda client: read(client.run(run_id), Run))
                if run.state in ENDED:
                    return True
                await asyncio.sleep(_LOOK_S)
    except TimeoutError:
        return False


def create(client: Client, *, run_id: str, rng: random.Random) -> Json:
    try:
        return client.create_run(request(run_id, rng))
    except NotAtWork:
        raise
    except Conflict:
        # It was created by a call whose answer was lost.
        return client.run(run_id)


def request(run_id: str, rng: random.Random) -> Json:
    """A small run of many turns: each is another rule, another staleness, another length."""
    rollouts, longest = rng.randint(150, 500), rng.choice([8, 16, 24])
    return {
        "run_id": run_id,
        "pool": POOL,
        "allocator": rng.choice(_ALLOCATORS),
        "pilots": 4,
        "commits": 4,
        "batch_size": rng.randint(2, 4),
        "max_staleness": rng.randint(0, 3),
        "sampling": {"max_new_tokens": longest, "ignore_eos": rng.random() < 0.5},
        # Now and then it is the tokens that run out.
        "budget": {"rollouts": rollouts, "tokens": int(rollouts * longest * rng.uniform(0.6, 1.2))},
        "max_steps": rng.choice([None, None, 6, 12]),
        "partial_batches": rng.random() < 0.5,
        "seed": rng.randrange(1000),
        "attempt_timeout_s": 10,
    }
