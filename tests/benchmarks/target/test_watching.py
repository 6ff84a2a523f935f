"""What is observed of a run, and the record that comes of it."""

from benchmarks.target.watching import (
    Moment,
    Observed,
    evaluation_seconds,
    has_seen_enough,
    moment,
    record_of,
    sampling_seconds,
)
from tests.benchmarks.target.records import make_record

HEADER = make_record().header


def _weights(version: int, step: int, at: float, rollouts: int) -> dict[str, object]:
    stats = {"grad_norm": 5.123456789} if step else {}
    return {
        "version": version,
        "step": step,
        "announced_at": at,
        "spent_rollouts": rollouts,
        "spent_tokens": 5 * rollouts,
        "stats": stats,
        "state": "live",
    }


def _evaluation(version: int, step: int, accuracy: float | None, at: float, state: str = "done") -> dict[str, object]:
    return {"version": version, "step": step, "accuracy": accuracy, "created_at": at, "state": state}


def _observed(*evaluations: dict[str, object], moments: tuple[Moment, ...] = ()) -> Observed:
    run: dict[str, object] = {
        "state": "exhausted",
        "reason": "the budget is spent",
        "started_at": 1000.0,
        "ended_at": 1100.0,
        "considered": 9,
        "skip_rates": {"skip": 0.25},
    }
    weights = [_weights(2, 1, 1040.0, 256), _weights(1, 0, 990.0, 0)]
    return Observed.read(run, weights, evaluations, {"balanced": True}, moments=moments, restarts={})


def _moments(*evaluating: bool) -> tuple[Moment, ...]:
    return tuple(Moment(at=1000.0 + 10 * place, evaluated=0, evaluating=on) for place, on in enumerate(evaluating))


def test_versions_are_in_order_with_seconds_since_the_first_claim() -> None:
    record = record_of(HEADER, _observed(_evaluation(1, 0, 0.4, 990.0)), reached_target=False)
    assert [(line.version, line.elapsed_s, line.spent_rollouts) for line in record.versions] == [
        (1, 0.0, 0),
        (2, 40.0, 256),
    ]
    assert record.versions[1].stats == {"grad_norm": 5.12346}
    assert (record.end.elapsed_s, record.end.considered) == (100.0, 9)


def test_an_evaluation_that_was_not_finished_is_left_out() -> None:
    observed = _observed(_evaluation(1, 0, 0.4, 990.0), _evaluation(2, 1, None, 1040.0, state="failed"))
    assert [line.version for line in record_of(HEADER, observed, reached_target=False).evaluations] == [1]


def test_a_version_that_was_measured_twice_counts_once() -> None:
    observed = _observed(_evaluation(2, 1, 0.5, 1050.0), _evaluation(2, 1, 0.5, 1040.0))
    assert [line.version for line in record_of(HEADER, observed, reached_target=False).evaluations] == [2]


def test_evaluation_time_is_counted_where_attempts_were_in_flight() -> None:
    assert evaluation_seconds(_moments(True, True, False, False), 1000.0, 1030.0) == 20.0


def test_an_evaluation_between_two_polls_is_counted() -> None:
    moments = (Moment(at=0.0, evaluated=0, evaluating=False), Moment(at=1.0, evaluated=8, evaluating=False))
    assert evaluation_seconds(moments, 0.0, 1.0) == 1.0


def test_evaluation_time_is_cut_to_the_span_that_is_asked_about() -> None:
    assert evaluation_seconds(_moments(True, True, True), 1005.0, 1012.0) == 7.0


def test_each_version_knows_what_evaluations_took_before_it() -> None:
    observed = _observed(_evaluation(1, 0, 0.4, 990.0), moments=_moments(True, True, False, False, False))
    record = record_of(HEADER, observed, reached_target=False)
    assert [line.evaluation_s for line in record.versions] == [0.0, 20.0]
    assert record.evaluations[0].seconds == 20.0


def test_the_ledger_says_whether_evaluation_is_under_way() -> None:
    ledger: dict[str, object] = {
        "stages": {"eval": {"attempts": 12, "open": {"in_flight": 3}, "outcomes": {}, "tokens": 0}}
    }
    assert moment(ledger, 5.0) == Moment(at=5.0, evaluated=12, evaluating=True)
    assert moment({"stages": {}}, 5.0) == Moment(at=5.0, evaluated=0, evaluating=False)


def test_a_run_has_seen_enough_after_three_evaluations_over_the_target_in_a_row() -> None:
    assert has_seen_enough([0.4, 0.61, 0.62, 0.63], 0.6)
    assert not has_seen_enough([0.61, 0.62, 0.59], 0.6)
    assert not has_seen_enough([0.61, 0.62], 0.6)
    assert not has_seen_enough([0.61, 0.62, 0.63], None)


def test_sampling_is_counted_by_pilots_and_commits_alone() -> None:
    busy: dict[str, object] = {"attempts": 9, "open": {"in_flight": 1, "held": 3}}
    idle: dict[str, object] = {"attempts": 9, "open": {"in_flight": 0, "held": 3}}
    moments = (
        moment({"stages": {"commit": busy}}, 0.0),
        moment({"stages": {"commit": idle, "eval": busy}}, 2.0),
        moment({"stages": {"commit": idle}}, 5.0),
    )
    assert sampling_seconds(moments, 0.0, 5.0) == 2.0


def test_a_step_knows_its_parts() -> None:
    moments = tuple(
        Moment(at=1000.0 + 10 * place, evaluated=0, evaluating=False, sampling=place == 0, scheduler_cpu_s=0.5 * place)
        for place in range(5)
    )
    evaluation = _evaluation(1, 0, 0.4, 990.0)
    parts = record_of(HEADER, _observed(evaluation, moments=moments), reached_target=False).versions[1].parts
    assert parts["generation"] == 10.0
    assert parts["scheduler"] == 2.0
