"""The Prometheus page agrees with the ledger, and its labels stay few."""

import math
from collections.abc import Mapping

import httpx
from prometheus_client.parser import text_string_to_metric_families

from inference.client import ServerClient
from inference.protocol import ModelLimits
from scheduler import metrics
from scheduler.core.budget import Budget
from scheduler.core.incomplete import Shortfall
from scheduler.core.ledger import OpenState, Outcome
from scheduler.core.lifecycle import PromptState, RunState, ServerState
from scheduler.core.spend import first_visit_counter
from scheduler.core.types import Stage, Verdict
from scheduler.engine.assembly import EngineSettings
from scheduler.fleet import Fleet
from scheduler.service import RunView, Service
from tests.scheduler.conftest import unreachable
from tests.scheduler.runs_in_redis import PROMPTS, create_run, end_run, make_busy_run

Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


async def scrape(service: Service) -> Samples:
    """Every sample of the page by its name and labels, as Prometheus reads it."""
    body, _ = await metrics.render(service)
    return {
        (sample.name.removeprefix(metrics.PREFIX), frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def of_run(samples: Samples, name: str, run: str = "busy", **labels: str) -> float:
    """One run's sample; raises KeyError if the page does not have it."""
    return samples[name, frozenset({"run": run, **labels}.items())]


async def busy(service: Service) -> tuple[Samples, RunView]:
    """The page over a run at work, and the run as its ledger has it."""
    await make_busy_run(service.redis)
    return await scrape(service), await service.views.run("busy")


async def test_every_attempt_is_on_the_page_by_stage_open_state_and_outcome(service: Service) -> None:
    samples, view = await busy(service)
    for stage, line in view.ledger.stages.items():
        assert of_run(samples, "attempts_total", stage=stage) == line.attempts > 0
        for state in OpenState:
            assert of_run(samples, "open_attempts", stage=stage, state=state) == line.open[state]
        for outcome in Outcome:
            assert of_run(samples, "ended_attempts_total", stage=stage, outcome=outcome) == line.outcomes[outcome]


async def test_open_states_and_outcomes_on_the_page_sum_to_the_attempts_on_the_page(service: Service) -> None:
    samples, _ = await busy(service)
    for stage in Stage:
        ended = sum(of_run(samples, "ended_attempts_total", stage=stage, outcome=outcome) for outcome in Outcome)
        still_open = sum(of_run(samples, "open_attempts", stage=stage, state=state) for state in OpenState)
        assert ended + still_open == of_run(samples, "attempts_total", stage=stage)
    assert of_run(samples, "ledger_balanced") == 1


async def test_a_ledger_that_does_not_balance_says_so(service: Service) -> None:
    stores = await make_busy_run(service.redis)
    await service.redis.hincrby(stores.keys.ledger, "attempts:pilot", 1)
    assert of_run(await scrape(service), "ledger_balanced") == 0


async def test_tokens_are_on_the_page_by_stage(service: Service) -> None:
    samples, view = await busy(service)
    for stage, line in view.ledger.stages.items():
        assert of_run(samples, "generated_tokens_total", stage=stage) == line.tokens > 0
        assert of_run(samples, "prompt_tokens_total", stage=stage) == line.prompt_tokens


async def test_what_is_left_of_a_budget_is_its_limit_less_spent_and_reserved(service: Service) -> None:
    samples, view = await busy(service)
    ledger = view.ledger
    assert of_run(samples, "budget_rollouts", part="spent") == ledger.spent_rollouts
    assert of_run(samples, "budget_rollouts", part="reserved") == ledger.reserved_rollouts > 0
    assert of_run(samples, "budget_rollouts", part="left") == 100 - ledger.spent_rollouts - ledger.reserved_rollouts
    assert of_run(samples, "budget_tokens", part="spent") == ledger.spent_tokens
    assert of_run(samples, "budget_tokens", part="reserved") == ledger.reserved_tokens > 0
    assert of_run(samples, "budget_tokens", part="left") == 2000 - ledger.spent_tokens - ledger.reserved_tokens
    assert of_run(samples, "budget_evaluation_rollouts", part="left") == 20 - 8


async def test_an_unlimited_budget_has_nothing_left_to_show(service: Service) -> None:
    await create_run(service.redis, "free", budget=Budget())
    samples = await scrape(service)
    assert of_run(samples, "budget_rollouts", "free", part="spent") == 0
    assert ("budget_rollouts", frozenset({"run": "free", "part": "left"}.items())) not in samples
    assert not [name for name, _ in samples if name == "budget_wall_clock_left_seconds"]


async def test_the_wall_clock_budget_counts_from_the_first_claim_and_stops_at_zero(service: Service) -> None:
    await create_run(service.redis, "fresh", budget=Budget(wall_clock_s=60.0))
    assert of_run(await scrape(service), "budget_wall_clock_left_seconds", "fresh") == 60.0
    await service.redis.hset("pilotcommit:{run:fresh}:meta", "started_at", "5.0")
    assert of_run(await scrape(service), "budget_wall_clock_left_seconds", "fresh") == 0.0


async def test_verdicts_are_counted_by_what_they_rest_on_and_by_reason(service: Service) -> None:
    samples, view = await busy(service)
    for verdict in Verdict:
        piloted = view.counters.get(f"verdict:{verdict}", 0)
        assert of_run(samples, "verdicts_total", verdict=verdict, basis="pilots") == piloted > 0
    assert of_run(samples, "verdicts_total", verdict="skip", basis="history") == view.counters["passed_over:skip"] == 1
    for settled, reason in (("skip", "too_easy"), ("defer", "too_hard"), ("evict", "solved")):
        counted = of_run(samples, "verdict_reasons_total", verdict=settled, reason=reason)
        assert counted == view.counters[f"reason:{settled}:{reason}"] == 1


async def test_a_revisit_is_counted_by_the_verdict_before_and_the_new_one(service: Service) -> None:
    stores = await make_busy_run(service.redis)
    for outcome, verdict in ((Outcome.SKIPPED, Verdict.SKIP), (Outcome.DEFERRED, Verdict.DEFER)):
        visit = await stores.ask(await stores.claim("sum-2"), Stage.PILOT, 2)
        await stores.settle(visit, outcome, what=verdict, last_verdict=Verdict.SKIP)
    samples = await scrape(service)
    counted = {
        labels["before"] + labels["verdict"]: value
        for name, pairs in samples
        if name == "revisits_total" and (labels := dict(pairs)) and (value := samples[name, pairs])
    }
    assert counted == {"skipskip": 1, "skipdefer": 1}
    assert of_run(samples, "revisits_total", before="skip", verdict="skip", changed="false") == 1
    assert of_run(samples, "revisits_total", before="skip", verdict="defer", changed="true") == 1


async def test_visited_prompts_are_spread_over_their_informativeness(service: Service) -> None:
    samples, _ = await busy(service)
    at_most = {float(dict(pairs)["le"]): samples[name, pairs] for name, pairs in samples if "le" in dict(pairs)}
    visited = 7
    assert at_most[math.inf] == at_most[0.25] == visited
    assert at_most[0.01] == 0
    assert sorted(at_most.values()) == [at_most[edge] for edge in sorted(at_most)]


async def test_what_uniform_would_have_cost_is_there_once_pilots_have_looked_at_the_pool(service: Service) -> None:
    stores = await make_busy_run(service.redis)
    samples = await scrape(service)
    assert "uniform_rollouts" not in {name for name, _ in samples}
    assert of_run(samples, "mixed_groups_total") == 2
    await stores.runs.count(stores.transactor, first_visit_counter(2, 4))
    assert of_run(await scrape(service), "uniform_rollouts") > 2 * 4


async def test_a_visit_without_a_verdict_is_counted_by_its_end_and_never_by_its_free_text(service: Service) -> None:
    samples, view = await busy(service)
    assert of_run(samples, "interrupted_visits_total", end="quarantined") == view.counters["verdict:quarantined"] == 1
    assert "refused" not in (await metrics.render(service))[0].decode()


async def test_failures_and_what_was_done_about_them_are_on_the_page(service: Service) -> None:
    stores = await make_busy_run(service.redis)
    for counter in ("incomplete:cut", "recalled:too_stale", "recalled:straggler", "breaker:data"):
        await stores.runs.count(stores.transactor, counter)
    samples = await scrape(service)
    assert {end: of_run(samples, "incomplete_groups_total", end=end) for end in Shortfall} == {
        Shortfall.REFILLED: 0,
        Shortfall.ACCEPTED: 0,
        Shortfall.CUT: 1,
        Shortfall.DROPPED: 0,
    }
    assert of_run(samples, "recalled_attempts_total", reason="too_stale") == 1
    assert of_run(samples, "recalled_attempts_total", reason="straggler") == 1
    assert of_run(samples, "breaker_trips_total", failure="data") == 1
    assert of_run(samples, "breaker_trips_total", failure="infrastructure") == 0


async def test_skip_rates_are_prompts_considered_and_not_committed(service: Service) -> None:
    samples, _ = await busy(service)
    considered = of_run(samples, "considered_prompts_total")
    assert considered == len(PROMPTS)
    for verdict, count in (("skip", 2), ("defer", 1), ("evict", 1)):
        assert of_run(samples, "skip_rate", verdict=verdict) == count / considered


async def test_the_pilot_success_rate_is_over_judged_pilots(service: Service) -> None:
    samples, view = await busy(service)
    assert of_run(samples, "judged_pilots_total") == view.counters["pilots:judged"]
    assert of_run(samples, "correct_pilots_total") == view.counters["pilots:correct"]
    assert of_run(samples, "pilot_success_rate") == view.counters["pilots:correct"] / view.counters["pilots:judged"]


async def test_rates_of_nothing_are_missing_rather_than_zero(service: Service) -> None:
    await create_run(service.redis, "fresh")
    names = {name for name, labels in await scrape(service) if ("run", "fresh") in labels}
    assert "considered_prompts_total" in names
    assert not names & {"skip_rate", "pilot_success_rate", "evaluation_accuracy"}


async def test_prompts_versions_steps_and_groups_follow_the_record(service: Service) -> None:
    samples, view = await busy(service)
    for state in PromptState:
        assert of_run(samples, "prompts", state=state) == view.prompts[state] > 0
    assert of_run(samples, "weight_version", of="policy") == view.record.version == 2
    assert of_run(samples, "weight_version", of="live") == view.record.live_version == 1
    assert of_run(samples, "steps", reached="applied") == view.record.step == 1
    assert of_run(samples, "steps", reached="saved") == view.record.checkpointed_step == 1
    assert of_run(samples, "trained_groups_total") == 1


async def test_the_newest_finished_evaluation_of_a_pool_gives_its_accuracy(service: Service) -> None:
    samples, _ = await busy(service)
    assert of_run(samples, "evaluation_accuracy", pool="held-out", measure="rollouts") == 5 / 8
    assert of_run(samples, "evaluation_weight_version", pool="held-out", measure="rollouts") == 1


async def test_a_run_is_in_exactly_one_state(service: Service) -> None:
    samples, _ = await busy(service)
    assert {state: of_run(samples, "run_state", state=state) for state in RunState} == {
        state: float(state is RunState.RUNNING) for state in RunState
    }
    assert of_run(samples, "run_info", pool="sums", allocator="pilot_commit") == 1


async def test_only_the_run_that_ended_last_keeps_its_labels(service: Service) -> None:
    for run_id in ("first", "second", "third", "alive"):
        await create_run(service.redis, run_id)
    await end_run(service.redis, "second", now=30.0)
    await end_run(service.redis, "first", now=40.0)
    await end_run(service.redis, "third", now=20.0)
    shown = {value for _, labels in await scrape(service) for label, value in labels if label == "run"}
    assert shown == {"first", "alive"}


async def test_servers_are_on_the_page_by_state_version_and_load(service: Service) -> None:
    limits = ModelLimits(vocab_size=128, context_length=64)
    clients = [ServerClient(url, limits) for url in ("http://one", "http://two")]
    fleet = Fleet(clients, capacity_per_server=4)
    await fleet.set_state(fleet.servers[0], ServerState.STALE)
    await fleet.set_state(fleet.servers[0], ServerState.UPDATING)
    await fleet.set_state(fleet.servers[0], ServerState.HEALTHY, version=3)
    share = fleet.share_for("run")
    share.admit(fleet.servers[0])
    async with share.slot(Stage.PILOT):
        samples = await scrape(Service(service.redis, fleet, service.rewards, EngineSettings(), connect=unreachable))
    await fleet.aclose()
    for state in ServerState:
        wanted = 1 if state in (ServerState.HEALTHY, ServerState.STARTING) else 0
        assert samples["servers", frozenset({("state", state.value)})] == wanted
    expected = {"ready": (1, 0), "in_flight_attempts": (1, 0), "capacity_attempts": (4, 4), "weight_version": (3, 0)}
    for name, (one, two) in expected.items():
        assert samples[f"server_{name}", frozenset({("server", "http://one")})] == one
        assert samples[f"server_{name}", frozenset({("server", "http://two")})] == two


async def test_no_prompt_is_ever_a_label(service: Service) -> None:
    samples, _ = await busy(service)
    assert not {value for _, labels in samples for _, value in labels} & set(PROMPTS)


async def test_every_metric_is_there_before_the_first_run(service: Service) -> None:
    before = (await metrics.render(service))[0].decode()
    await make_busy_run(service.redis)
    after = (await metrics.render(service))[0].decode()
    assert _types(before) == _types(after)


async def test_names_carry_the_prefix_and_counters_their_suffix(service: Service) -> None:
    await make_busy_run(service.redis)
    for line in _types((await metrics.render(service))[0].decode()):
        name, kind = line.split()[2:]
        assert name.startswith(metrics.PREFIX)
        assert name.endswith("_total") == (kind == "counter")


def _types(page: str) -> list[str]:
    return [line for line in page.splitlines() if line.startswith("# TYPE")]


async def test_the_route_answers_the_page_with_its_content_type(http: httpx.AsyncClient) -> None:
    answer = await http.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'pilotcommit_servers{state="healthy"} 0.0' in answer.text
