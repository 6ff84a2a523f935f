"""The API's answers as tables."""

import msgspec
import pytest

from scheduler.cli import tables
from scheduler.cli.answers import Added, Evaluation, Event, Pool, Refusal, Server, Weights
from scheduler.core.budget import Budget
from scheduler.core.evaluation import EvaluationMeasure
from scheduler.core.lifecycle import PromptState, RunState
from scheduler.core.types import Verdict
from tests.scheduler.cli.shown import make_prompt, make_run, text_of

LONG = "lost [red]3[/] times: " + "x" * 60


def test_text_from_outside_is_never_read_as_markup() -> None:
    shown = text_of(tables.servers([_server(reason="[bold]refused[/bold] [/]")]))
    assert "[bold]refused[/bold] [/]" in shown


@pytest.mark.parametrize("width", [60, 80, 100])
def test_no_fact_is_cut_off_on_a_narrow_console(width: int) -> None:
    shown = text_of(tables.servers([_server(reason=LONG)]), width=width)
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown
    assert shown.count("x") == LONG.count("x")


def test_a_list_of_nothing_says_what_to_do() -> None:
    assert "pilotcommit pool create" in text_of(tables.pools([]))
    assert "pilotcommit run create" in text_of(tables.runs([], 0.0))
    assert "pilotcommit evaluation create" in text_of(tables.evaluations([]))
    assert "PILOTCOMMIT_SERVERS" in text_of(tables.servers([]))
    assert "not published" in text_of(tables.weights([], 0.0))


def test_a_run_says_what_it_waits_for_before_why_it_is_where_it_is() -> None:
    waiting = make_run(state=RunState.PAUSED, waiting_for="an operator", reason="an older reason")
    assert "paused · an operator" in text_of(tables.run(waiting, 0.0))
    ended = make_run(state=RunState.FAILED, reason="the disk is full")
    assert "failed · the disk is full" in text_of(tables.run(ended, 0.0))


@pytest.mark.parametrize(
    ("started_at", "ended_at", "shown"),
    [
        (None, None, "created 1 min 40 s ago, nothing claimed yet"),
        (None, 40.0, "created 1 min 40 s ago, nothing claimed, ended 1 min 0 s ago"),
        (10.0, None, "at work for 1 min 30 s"),
        (10.0, 40.0, "took 30 s, ended 1 min 0 s ago"),
    ],
)
def test_a_run_says_how_long_it_took(started_at: float | None, ended_at: float | None, shown: str) -> None:
    assert shown in text_of(tables.run(make_run(started_at=started_at, ended_at=ended_at), 100.0))


def test_a_run_shows_its_spend_against_its_budget() -> None:
    shown = text_of(tables.run(make_run(budget=Budget(rollouts=3000)), 0.0))
    assert "1,200 of 3,000 spent, 32 reserved" in shown
    assert "5,000 spent, 640 reserved" in shown


@pytest.mark.parametrize(
    ("version", "live_version", "shown"),
    [(0, 0, "none published yet"), (1, 0, "version 1, none is live"), (5, 4, "version 5, 4 is live")],
)
def test_a_run_shows_which_weights_are_live(version: int, live_version: int, shown: str) -> None:
    assert shown in text_of(tables.run(make_run(version=version, live_version=live_version), 0.0))


def test_skip_rates_are_shown_together_and_by_verdict() -> None:
    run = make_run(skip_rates={Verdict.SKIP: 0.25, Verdict.DEFER: 0.1, Verdict.EVICT: 0.05}, pilot_success_rate=0.5)
    assert "40 % (skip 25 %, defer 10 %, evict 5 %)" in text_of(tables.run(run, 0.0))
    assert "50 % before selection" in text_of(tables.run(run, 0.0))
    assert "40 %" in text_of(tables.runs([run], 0.0))


def test_refused_lines_are_listed_up_to_a_bound_and_the_rest_counted() -> None:
    refused = tuple(Refusal(line=number, id=None, reason=f"reason {number}") for number in range(1, 26))
    shown = text_of(tables.added(Added(added=3, unchanged=1, refused=refused)))
    assert "3 added, 1 unchanged, 25 refused" in shown
    assert "reason 20" in shown
    assert "reason 21" not in shown
    assert "and 5 more" in shown


def test_a_few_refused_lines_are_all_listed() -> None:
    shown = text_of(
        tables.added(Added(added=0, unchanged=0, refused=(Refusal(line=7, id="sum-7", reason="too long"),)))
    )
    assert "sum-7" in shown
    assert "more" not in shown


def test_prompts_that_were_all_taken_are_summed_up_in_a_line() -> None:
    assert text_of(tables.added(Added(added=3, unchanged=1, refused=()))) == "3 added, 1 unchanged, 0 refused\n"


def test_a_waiting_prompt_says_when_it_returns() -> None:
    waiting = make_prompt(state=PromptState.WAITING, next_version=7, reason="too_hard")
    assert "waiting · returns at version 7" in text_of(tables.prompt(waiting))
    assert "(too hard)" in text_of(tables.prompt(waiting))
    assert "never returns" in text_of(tables.prompt(make_prompt(state=PromptState.WAITING)))
    assert "return" not in text_of(tables.prompt(make_prompt()))


def test_a_prompts_history_shows_its_pilots_only_where_there_were_any() -> None:
    def event(pilots: int, step: int | None) -> Event:
        return Event(
            at=0.0,
            version=2,
            what="passed_over",
            reason="",
            pilots=pilots,
            correct=1,
            group_id="",
            step=step,
            visit_id="",
        )

    prompt = msgspec.structs.replace(make_prompt(), history=(event(4, 3), event(0, None)))
    shown = text_of(tables.prompt(prompt))
    with_pilots, without = [line for line in shown.splitlines() if "passed over" in line]
    assert "1 of 4" in with_pilots
    assert " of " not in without


def test_an_evaluation_shows_how_far_it_is() -> None:
    shown = text_of(tables.evaluations([_evaluation(judged=3, accuracy=1 / 3), _evaluation(judged=0, accuracy=None)]))
    assert "33.3 %" in shown
    assert "3 of 8" in shown
    assert "failed: no server" in text_of(tables.evaluations([_evaluation(state="failed", reason="no server")]))


def test_weights_that_were_never_pushed_have_no_push_time() -> None:
    shown = text_of(tables.weights([_weights(2, None), _weights(1, 1.25)], 60.0))
    second, first = [line for line in shown.splitlines() if "/weights/" in line]
    assert "1.2 s" in first
    assert "1.2 s" not in second


def test_weights_show_what_was_spent_by_then_and_what_their_step_measured() -> None:
    shown = text_of(tables.weights([_weights(2, stats={"loss": 0.01234, "ratio_mean": 1.5}), _weights(1)], 60.0))
    second, first = [line for line in shown.splitlines() if "/weights/" in line]
    assert "2,400" in second
    assert "10,000" in second
    assert "0.0123" in second
    assert "1.5" not in second, "--json has the rest"
    assert "1,200" in first
    assert "grad_norm" not in shown, "nobody measured it"


def test_a_pool_shows_its_size_and_its_limit() -> None:
    shown = text_of(
        tables.pool(Pool(name="sums", tokenizer="/m", reward="exact", max_prompt_tokens=2047, num_prompts=9))
    )
    assert "2,047 tokens" in shown


def _server(*, reason: str) -> Server:
    return Server(
        server_id="s-1",
        url="http://one:30000",
        standing="serving",
        state="stale",
        version=0,
        in_flight=1,
        capacity=256,
        reason=reason,
        labels={"gpu": "h100"},
        run="run-1",
        warnings=("it computes in float16",),
    )


def _weights(version: int, push_s: float | None = None, stats: dict[str, float] | None = None) -> Weights:
    return Weights(
        version=version,
        state="live",
        step=1,
        path=f"/weights/{version}",
        announced_at=0.0,
        push_s=push_s,
        spent_rollouts=1200 * version,
        spent_tokens=5000 * version,
        stats=stats or {},
    )


def _evaluation(*, state: str = "done", reason: str = "", judged: int = 8, accuracy: float | None = 0.5) -> Evaluation:
    return Evaluation(
        evaluation_id="eval-1",
        purpose="before",
        pool="held-out",
        state=state,
        reason=reason,
        version=1,
        step=0,
        num_prompts=2,
        num_rollouts=4,
        measure=EvaluationMeasure.ROLLOUTS,
        correct=0,
        judged=judged,
        accuracy=accuracy,
        results={},
    )
