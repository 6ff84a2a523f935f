"""`pilotcommit run`, but for watching."""

import json
from pathlib import Path

import pytest

from scheduler.core.breaker import BreakerLimits
from scheduler.core.evaluation import EvaluationMeasure
from scheduler.core.incomplete import IncompletePolicy
from scheduler.core.lifecycle import RunState
from scheduler.core.overlong import OverlongPolicy
from scheduler.core.stragglers import StragglerPolicy
from scheduler.service import Service
from tests.scheduler.cli.conftest import Command
from tests.scheduler.runs_in_redis import add_pool, create_run, end_run, make_busy_run


async def test_options_reach_the_runs_configuration(pilotcommit: Command, service: Service) -> None:
    await add_pool(service.redis, "sums")
    await add_pool(service.redis, "held-out")
    said = await pilotcommit(
        *("run", "create", "--pool", "sums", "--run-id", "mine", "--allocator", "pilot_commit"),
        *("--parameter", "p_lower=0.2", "--parameter", "evict_for=null", "--seed", "5"),
        *("--pilots", "2", "--commits", "6", "--batch-size", "3", "--max-steps", "9", "--max-staleness", "2"),
        *("--max-new-tokens", "16", "--temperature", "0.7", "--stop", "\n", "--stop", "="),
        *("--budget-rollouts", "500", "--budget-tokens", "9000", "--budget-wall-clock-s", "60"),
        *("--budget-eval-rollouts", "40", "--eval-pool", "held-out", "--eval-rollouts", "2"),
        *("--eval-every-steps", "3", "--eval-measure", "likelihood", "--eval-target", " ({answer})"),
        *("--max-attempts", "4", "--attempt-timeout-s", "9", "--incomplete", "accept", "--min-group", "3"),
        *("--stragglers", "replace", "--straggler-share", "0.5", "--straggler-factor", "4"),
        *("--overlong", "penalise", "--overlong-cache", "5"),
        *("--breaker-window", "32", "--breaker-max-lost-rate", "0.9", "--breaker-max-failed-rate", "0.8"),
        *("--breaker-pause-s", "2"),
    )
    assert said.code == 0, said.err
    config = (await service.runs.get("mine")).config
    assert (config.pool, config.allocator, config.seed) == ("sums", "pilot_commit", 5)
    assert config.parameters == {"p_lower": 0.2, "evict_for": None}
    assert (config.pilots, config.commits, config.batch_size, config.max_steps) == (2, 6, 3, 9)
    assert config.max_staleness == 2
    assert (config.sampling.max_new_tokens, config.sampling.temperature, config.sampling.stop) == (16, 0.7, ("\n", "="))
    budget = config.budget
    assert (budget.rollouts, budget.tokens, budget.wall_clock_s, budget.eval_rollouts) == (500, 9000, 60.0, 40)
    assert config.evaluation is not None
    assert (config.evaluation.pool, config.evaluation.rollouts, config.evaluation.every_steps) == ("held-out", 2, 3)
    assert (config.max_attempts, config.attempt_timeout_s) == (4, 9.0)
    assert (config.incomplete, config.min_group) == (IncompletePolicy.ACCEPT, 3)
    assert (config.stragglers, config.straggler_share, config.straggler_factor) == (StragglerPolicy.REPLACE, 0.5, 4.0)
    assert (config.overlong, config.overlong_cache) == (OverlongPolicy.PENALISE, 5)
    breaker = BreakerLimits(window=32, max_lost_rate=0.9, max_failed_rate=0.8, pause_s=2.0)
    assert config.breaker == breaker
    assert (config.evaluation.measure, config.evaluation.target) == (EvaluationMeasure.LIKELIHOOD, " ({answer})")


async def test_a_file_of_fields_is_enough_and_options_go_over_it(
    pilotcommit: Command, service: Service, tmp_path: Path
) -> None:
    await add_pool(service.redis, "sums")
    file = tmp_path / "run.toml"
    file.write_text('run_id = "mine"\npool = "sums"\npilots = 2\nsampling = {max_new_tokens = 8, top_k = 3}\n')
    said = await pilotcommit(
        *("run", "create", str(file), "--set", "sampling.top_k=5", "--set", "pilots=3", "--max-new-tokens", "9")
    )
    assert said.code == 0, said.err
    config = (await service.runs.get("mine")).config
    assert (config.pilots, config.sampling.max_new_tokens, config.sampling.top_k) == (3, 9, 5)


async def test_a_file_that_is_not_there_is_a_usage_error(
    pilotcommit: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = await pilotcommit("run", "create", "missing.toml")
    assert said.code == 2
    assert "missing.toml cannot be read: No such file" in said.err


async def test_a_dry_run_says_what_would_be_spent_and_what_ends_it_and_creates_nothing(
    pilotcommit: Command, service: Service
) -> None:
    await add_pool(service.redis, "sums")
    await add_pool(service.redis, "held-out")
    arguments = ("run", "create", "--pool", "sums", "--max-new-tokens", "8", "--eval-pool", "held-out", "--dry-run")
    said = await pilotcommit(*arguments, "--budget-rollouts", "320", "--max-steps", "9", "--batch-size", "2")
    assert said.code == 0, said.err
    assert "at most 320" in said.out
    assert "at most 2,560" in said.out
    assert "about 64 rollouts on 8 prompts of held-out" in said.out
    assert "max_steps, after about 9 steps of whole groups" in said.out
    assert said.out.index("max_steps", said.out.index("limit")) < said.out.index("budget.rollouts")
    unlimited = await pilotcommit(*arguments)
    assert "nothing but an order" in unlimited.out
    assert json.loads((await pilotcommit(*arguments, "--json")).out)["prompts"] == 8
    assert not await service.views.runs()


async def test_a_dry_run_finds_what_is_wrong(pilotcommit: Command, service: Service) -> None:
    await add_pool(service.redis, "sums")
    said = await pilotcommit("run", "create", "--pool", "sums", "--max-new-tokens", "8", "--dry-run", "--pilots", "-1")
    assert (said.code, "pilots" in said.err) == (1, True)


async def test_a_run_is_paused_resumed_and_cancelled(pilotcommit: Command, service: Service) -> None:
    await create_run(service.redis, "mine")
    for order, state in (
        ("pause", RunState.PAUSED),
        ("resume", RunState.QUEUED),
        ("cancel", RunState.CANCELLED),
    ):
        said = await pilotcommit("run", order, "mine")
        assert said.code == 0
        assert state in said.out
        assert (await service.runs.get("mine")).state is state


async def test_runs_are_listed_oldest_first(pilotcommit: Command, service: Service) -> None:
    await create_run(service.redis, "second", now=20.0)
    await create_run(service.redis, "first", now=10.0)
    said = await pilotcommit("run", "list")
    assert said.out.index("first") < said.out.index("second")
    listed = json.loads((await pilotcommit("run", "list", "--json")).out)
    assert [run["run_id"] for run in listed] == ["first", "second"]


async def test_runs_in_some_states_are_listed_alone(pilotcommit: Command, service: Service) -> None:
    await make_busy_run(service.redis)
    await create_run(service.redis, "waits", now=10.0)
    await create_run(service.redis, "ended", now=20.0)
    await end_run(service.redis, "ended", now=30.0)
    listed = json.loads((await pilotcommit("run", "list", "--state", "running", "--json")).out)
    assert [run["run_id"] for run in listed] == ["busy"]
    both = (await pilotcommit("run", "list", "--state", "queued", "--state", "running")).out
    assert [name for name in ("busy", "waits", "ended") if name in both] == ["busy", "waits"]
    refused = await pilotcommit("run", "list", "--state", "asleep")
    assert refused.code == 2
    assert "waiting_weights" in refused.err


async def test_the_ledger_is_shown_as_it_stands(pilotcommit: Command, service: Service) -> None:
    await make_busy_run(service.redis)
    said = await pilotcommit("run", "ledger", "busy")
    ledger = (await service.views.run("busy")).ledger
    assert f"spent {ledger.spent_rollouts} rollouts and {ledger.spent_tokens} tokens" in said.out
    assert "\nbalanced: " in said.out
    assert json.loads((await pilotcommit("run", "ledger", "busy", "--json")).out)["balanced"] is True


async def test_a_run_at_work_is_shown_with_its_rates(pilotcommit: Command, service: Service) -> None:
    await make_busy_run(service.redis)
    said = await pilotcommit("run", "show", "busy")
    assert "50 % (skip 25 %, defer 12 %, evict 12 %)" in said.out


async def test_weight_versions_are_listed_newest_first(pilotcommit: Command, service: Service) -> None:
    await make_busy_run(service.redis)
    said = await pilotcommit("run", "weights", "busy")
    assert said.out.index("/weights/2") < said.out.index("/weights/1")
    said = await pilotcommit("run", "weights", "busy", "--count", "1", "--json")
    assert [record["version"] for record in json.loads(said.out)] == [2]
    said = await pilotcommit("run", "weights", "busy", "--all", "--json")
    assert [record["version"] for record in json.loads(said.out)] == [2, 1]


async def test_an_order_that_comes_too_late_says_why(pilotcommit: Command, service: Service) -> None:
    await create_run(service.redis, "mine")
    await end_run(service.redis, "mine")
    said = await pilotcommit("run", "pause", "mine")
    assert (said.code, said.out) == (1, "")
    assert said.err == "error: run mine has ended: it is cancelled\n"


async def test_a_raised_budget_is_shown_and_told_in_the_runs_story(pilotcommit: Command, service: Service) -> None:
    await add_pool(service.redis, "sums")
    created = ("run", "create", "--pool", "sums", "--run-id", "mine", "--budget-rollouts", "500")
    await pilotcommit(*created, "--max-new-tokens", "8")
    said = await pilotcommit("run", "raise-budget", "mine", "--rollouts", "1500")
    assert (said.code, "1,500" in said.out) == (0, True), said.err
    lower = await pilotcommit("run", "raise-budget", "mine", "--rollouts", "10")
    assert (lower.code != 0, "10 is below 1,500" in lower.err) == (True, True)
    nothing = await pilotcommit("run", "raise-budget", "mine")
    assert (nothing.code != 0, "name at least one" in nothing.err) == (True, True)
    story = await pilotcommit("explain", "mine")
    assert "rollouts from 500 to 1,500" in " ".join(story.out.split())


MIXED = 'pools=[{"name": "sums", "weight": 3}, {"name": "held-out"}]'


async def test_a_run_over_several_pools_says_the_mix_before_and_after_it_is_created(
    pilotcommit: Command, service: Service
) -> None:
    for pool in ("sums", "held-out"):
        await add_pool(service.redis, pool)
    asked = ("run", "create", "--set", MIXED, "--run-id", "mix", "--max-new-tokens", "8")
    said = await pilotcommit(*asked, "--dry-run")
    assert said.code == 0, said.err
    told = " ".join(said.out.replace("│", " ").split())
    assert "16 prompts by adaptive: 75 % of the claims from sums, which has 8 prompts and 25 %" in told
    said = await pilotcommit(*asked, "--json")
    assert [(pool["name"], pool["part"]) for pool in json.loads(said.out)["pools"]] == [
        ("sums", 0.75),
        ("held-out", 0.25),
    ]
    shown = (await pilotcommit("run", "show", "mix")).out
    assert "sums+held-out by adaptive" in shown
    assert "let pass" in shown


async def test_a_run_names_a_pool_or_several_and_not_both(pilotcommit: Command, service: Service) -> None:
    await add_pool(service.redis, "sums")
    said = await pilotcommit("run", "create", "--set", MIXED, "--pool", "sums", "--max-new-tokens", "8")
    assert (said.code, "name one pool, or several in pools" in said.err) == (1, True)
