"""Prometheus scrapes what the last step did and what happened so far."""

import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from learner.loss import TokenSums
from learner.metrics import LearnerMetrics
from learner.step_report import StepReport, StepSeconds
from scheduler.core.errors import InvalidInput
from scheduler.ports import free_port


def make_report(*, num_updates: int = 2, loss: float = 0.25) -> StepReport:
    return StepReport(
        num_updates=num_updates,
        num_clipped_updates=1,
        num_mixed_groups=3,
        num_uniform_groups=5,
        num_rows=24,
        num_distinct_rows=16,
        num_prompt_tokens=100,
        grad_norm=1.5,
        learning_rate=5e-6,
        loss=loss,
        sums=TokenSums(num_tokens=80.0, ratio=80.0, mismatch=8.0, clipped_high=4.0),
        seconds=StepSeconds(forward=2.0, backward=4.0),
    )


def test_counters_add_up_and_gauges_say_what_was_last() -> None:
    metrics = LearnerMetrics("run")
    metrics.stepped(make_report(loss=0.5), step=1, version=2, num_refused=1)
    metrics.stepped(make_report(loss=0.25), step=2, version=3, num_refused=0)
    value = metrics.registry.get_sample_value
    assert value("pilotcommit_learner_loss", {"run": "run"}) == 0.25
    assert value("pilotcommit_learner_mismatch_mean", {"run": "run"}) == pytest.approx(0.1)
    assert value("pilotcommit_learner_clipped_high_rate", {"run": "run"}) == pytest.approx(0.05)
    assert value("pilotcommit_learner_step", {"run": "run"}) == 2
    assert value("pilotcommit_learner_weight_version", {"run": "run"}) == 3
    assert value("pilotcommit_learner_updates_total", {"run": "run", "clipped": "true"}) == 2
    assert value("pilotcommit_learner_updates_total", {"run": "run", "clipped": "false"}) == 2
    assert value("pilotcommit_learner_tokens_total", {"run": "run", "kind": "completion"}) == 160
    assert value("pilotcommit_learner_tokens_total", {"run": "run", "kind": "prompt"}) == 200
    assert value("pilotcommit_learner_groups_total", {"run": "run", "fate": "uniform"}) == 10
    assert value("pilotcommit_learner_groups_total", {"run": "run", "fate": "refused"}) == 1
    assert value("pilotcommit_learner_seconds_total", {"run": "run", "part": "backward"}) == 8


def test_two_learners_in_one_process_keep_their_metrics_apart() -> None:
    first, second = LearnerMetrics("run"), LearnerMetrics("run")
    first.at(step=5, version=1)
    assert second.registry.get_sample_value("pilotcommit_learner_step", {"run": "run"}) == 0


def test_the_endpoint_answers_while_serving_and_is_gone_afterwards(tmp_path: Path) -> None:
    metrics, port = LearnerMetrics("run"), free_port()
    with metrics.serving(port), urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        assert b'pilotcommit_learner_step{run="run"} 0.0' in answer.read()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5)


def test_port_0_serves_nothing() -> None:
    with LearnerMetrics("run").serving(0):
        pass


def test_a_port_that_is_taken_is_an_error_that_says_what_to_do() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(InvalidInput, match="name another port"), LearnerMetrics("run").serving(port, "127.0.0.1"):
            pass
