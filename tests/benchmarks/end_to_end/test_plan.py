"""What both sides are asked for."""

from pathlib import Path

from benchmarks.end_to_end.plan import OURS, TRL, job_of, quick, runs
from benchmarks.target.settings import load

RUNS = runs(load(), 2)


def test_each_seed_has_every_side_before_the_next() -> None:
    assert [(run.seed, run.name) for run in RUNS] == [(seed, name) for seed in (0, 1) for name in (*OURS, TRL)]


def test_trl_is_asked_for_what_our_grpo_is() -> None:
    ours, peer = RUNS[0], RUNS[2]
    assert ours.request() == peer.request()
    job = job_of(peer, Path("model"), Path("folder"), generator="generate", enough=0.5, minutes=30.0)
    assert (job.groups, job.group_size) == (ours.batch_size, ours.pilots + ours.commits)
    assert (job.budget_rollouts, job.evaluate_every) == (ours.budget_rollouts, ours.evaluate_every_steps)
    assert job.stop == "\n"
    assert len(job.held_out) == ours.num_held_out
    assert job.held_out[0].target.endswith("\n")


def test_seconds_are_compared_without_what_only_a_diagnosis_needs() -> None:
    assert {run.learner_settings()["HALF_BATCH_COSINE"] for run in RUNS} == {"false"}


def test_a_quick_run_has_as_many_steps_as_asked() -> None:
    run = quick(RUNS, 2)[0]
    assert run.budget_rollouts == 2 * run.batch_size * (run.pilots + run.commits)
