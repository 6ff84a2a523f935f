"""The report shows the same numbers to people and to programs."""

import json

import msgspec
from rich.console import Console

from scheduler.demo.report import Report, render
from tests.scheduler.demo.answers import evaluation_answer, make_report


def _text(report: Report) -> str:
    console = Console(width=100, record=True)
    with console.capture() as capture:
        console.print(render(report))
    return capture.get()


def test_json_carries_the_accuracies_the_rollouts_and_the_ledger() -> None:
    report = make_report(
        [evaluation_answer("before", step=0, correct=1), evaluation_answer("after", step=5, correct=3)]
    )
    facts = json.loads(json.dumps(msgspec.to_builtins(report.as_json())))
    assert facts["accuracy_before"]["estimate"] == 0.25
    assert facts["accuracy_after"]["estimate"] == 0.75
    assert facts["rollouts"] == 40
    assert facts["rollouts_saved"] == 64 - 40
    assert facts["ledger"]["stages"]["pilot"]["outcomes"]["skipped"] == 8
    assert facts["ledger"]["balanced"] is True


def test_people_see_the_gain_with_its_interval_and_where_the_rollouts_went() -> None:
    evaluations = [evaluation_answer("before", step=0, correct=1), evaluation_answer("after", step=5, correct=3)]
    text = _text(make_report(evaluations, restarts={"scheduler": 2}))
    assert "+50.0 points" in text
    assert "24 of the 64 rollouts" in text
    assert "scheduler 2 times" in text
    assert "balanced" in text
    assert "out/report.html" in text


def test_a_run_without_measurements_says_so_instead_of_showing_zeros() -> None:
    assert _text(make_report([])).count("not measured") == 3
