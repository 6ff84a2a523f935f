"""Answers of the API as the demo reads them."""

from pathlib import Path

from scheduler.core.ledger import Ledger
from scheduler.core.types import Stage
from scheduler.demo.facts import Facts
from scheduler.demo.report import Report

Json = dict[str, object]


def ledger_answer(counters: dict[str, int]) -> Json:
    """A ledger's page with these counters."""
    ledger = Ledger.from_counters(counters)
    return {
        "balanced": ledger.is_balanced,
        "stages": {
            stage.value: {
                "attempts": line.attempts,
                "tokens": line.tokens,
                "prompt_tokens": line.prompt_tokens,
                "open": {state.value: count for state, count in line.open.items()},
                "outcomes": {outcome.value: count for outcome, count in line.outcomes.items()},
            }
            for stage, line in ledger.stages.items()
        },
        "spent_rollouts": ledger.spent_rollouts,
        "spent_tokens": ledger.spent_tokens,
        "reserved_rollouts": 0,
        "reserved_tokens": 0,
        "verdicts": {"commit": 1},
        "reasons": {},
        "passed_over": {},
        "groups_trained": 1,
    }


def run_answer(*, state: str = "running", step: int = 0, version: int = 1, considered: int = 4) -> Json:
    """A run's page."""
    return {
        "run_id": "run-1",
        "state": state,
        "reason": "",
        "waiting_for": "",
        "step": step,
        "version": version,
        "considered": considered,
        "skip_rates": {"skip": 0.25, "defer": 0.25, "evict": 0.0},
        "pilot_success_rate": 0.5,
        "config": {"pilots": 8, "commits": 8, "max_staleness": 1, "max_steps": None, "budget": {"rollouts": 100}},
        "more": "fields than the demo reads",
    }


def evaluation_answer(
    purpose: str,
    *,
    step: int,
    correct: int,
    judged: int = 4,
    probability: float | None = None,
    state: str = "done",
    prompts: int = 40,
) -> Json:
    """An evaluation's page in which every prompt has the same result."""
    said = {"correct": correct, "judged": judged, "failed": 0, "probability": probability, "reason": ""}
    results = {f"p{number}": said for number in range(prompts)}
    return {
        "purpose": purpose,
        "state": state,
        "reason": "",
        "version": step + 1,
        "step": step,
        "results": results,
    }


TRAINED = {
    f"attempts:{Stage.PILOT}": 32,
    "pilot:trained": 8,
    "pilot:skipped": 8,
    "pilot:deferred": 16,
    f"attempts:{Stage.COMMIT}": 8,
    "commit:trained": 8,
    f"attempts:{Stage.EVAL}": 320,
    "eval:evaluated": 320,
    "spent:rollouts": 40,
}


def make_facts(
    *, elapsed_s: float = 1.0, step: int = 0, state: str = "running", evaluations: list[Json] | None = None
) -> Facts:
    """Facts of a small run."""
    server = {"url": "http://s", "standing": "serving", "state": "healthy", "version": 1, "in_flight": 3, "reason": ""}
    return Facts.read(
        elapsed_s, run_answer(state=state, step=step), ledger_answer(TRAINED), evaluations or [], [server]
    )


def make_report(evaluations: list[Json], restarts: dict[str, int] | None = None) -> Report:
    """The report of a run that spent its budget."""
    return Report.of(
        make_facts(state="exhausted", step=5, evaluations=evaluations),
        allocator="pilot_commit",
        model="tiny",
        seed=0,
        restarts=restarts or {},
        pictures=(),
        page=Path("out/report.html"),
    )
