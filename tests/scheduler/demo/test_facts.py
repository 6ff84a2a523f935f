"""Facts come from the API's answers and from nowhere else."""

import msgspec
import pytest

from scheduler.core.ledger import Outcome
from scheduler.core.lifecycle import RunState
from scheduler.core.types import Stage
from scheduler.demo.facts import Facts, gain_of, point, snapshot, with_accuracy
from tests.scheduler.demo.answers import evaluation_answer, ledger_answer, make_facts, run_answer


def test_training_rollouts_leave_evaluation_out() -> None:
    facts = make_facts()
    assert facts.rollouts == {Stage.PILOT: 32, Stage.COMMIT: 8, Stage.EVAL: 320}
    assert facts.training_rollouts == 40
    assert facts.outcomes[Outcome.TRAINED] == 16
    assert facts.outcomes[Outcome.EVALUATED] == 0


def test_uniform_allocation_would_spend_a_whole_group_on_each_prompt_considered() -> None:
    assert make_facts().uniform_rollouts == 4 * 16


def test_an_answer_of_another_shape_is_refused_and_named() -> None:
    with pytest.raises(msgspec.ValidationError, match="state"):
        Facts.read(0.0, run_answer(state="sleeping"), ledger_answer({}), [], [])


def test_the_snapshot_shows_the_first_and_the_newest_accuracy() -> None:
    running = evaluation_answer("step 8", step=8, correct=0, state="running")
    facts = make_facts(
        evaluations=[
            evaluation_answer("before", step=0, correct=1),
            evaluation_answer("step 4", step=4, correct=2),
            running,
        ]
    )
    shown = snapshot("title", facts)
    assert shown.state is RunState.RUNNING
    assert shown.first_accuracy is not None
    assert shown.first_accuracy.estimate == pytest.approx(0.25)
    assert shown.accuracy is not None
    assert shown.accuracy.estimate == pytest.approx(0.5)
    assert shown.accuracy_version == 5
    assert (shown.rollouts_used, shown.rollouts_budget) == (40, 100)
    assert [server.ready for server in shown.servers] == [True]


def test_an_accuracy_belongs_to_the_point_at_which_its_weights_were_made() -> None:
    history = [point(make_facts(elapsed_s=float(step), step=step)) for step in (0, 0, 2, 5)]
    measured = make_facts(
        evaluations=[evaluation_answer("before", step=0, correct=1), evaluation_answer("after", step=5, correct=3)]
    ).measured()
    estimates = [point.accuracy and point.accuracy.estimate for point in with_accuracy(history, measured)]
    assert estimates == [pytest.approx(0.25), None, None, pytest.approx(0.75)]


def test_probabilities_count_as_the_right_answers_they_expect() -> None:
    read = [evaluation_answer("before", step=0, correct=0, judged=1, probability=0.25)]
    accuracy = make_facts(evaluations=read).measured()[0].accuracy
    assert accuracy.estimate == pytest.approx(0.25)
    assert accuracy.num_rollouts == 40


def test_the_gain_is_paired_over_the_first_and_the_last_planned_evaluation() -> None:
    evaluations = [
        evaluation_answer("before", step=0, correct=1),
        evaluation_answer("", step=3, correct=0),
        evaluation_answer("after", step=5, correct=3),
    ]
    gain = gain_of(make_facts(evaluations=evaluations))
    assert gain is not None
    assert gain.estimate == pytest.approx(0.5)
    assert gain_of(make_facts(evaluations=evaluations[:2])) is None
