"""The ledger as a table."""

from scheduler.cli.ledger_table import ledger
from scheduler.core.ledger import OpenState, Outcome
from tests.scheduler.cli.shown import make_ledger, text_of


def test_every_open_state_and_outcome_has_its_row() -> None:
    shown = text_of(ledger(make_ledger()))
    for status in (*OpenState, *Outcome):
        assert f" {status.replace('_', ' ')} " in shown


def test_a_row_ends_with_its_sum_over_stages() -> None:
    (row,) = [line for line in text_of(ledger(make_ledger(trained=1234))).splitlines() if line.startswith(" trained")]
    assert row.split() == ["trained", "·", "1,234", "·", "1,234"]


def test_a_verdict_is_followed_by_its_own_reasons_the_most_frequent_first() -> None:
    found = make_ledger(
        verdicts={"skip": 3, "defer": 4},
        reasons={"skip:solved": 1, "skip:too_easy": 2, "defer:too_hard": 4},
        passed_over={"skip": 5},
    )
    lines = [line.split(maxsplit=2) for line in text_of(ledger(found)).splitlines()]
    assert ["defer", "4", "4 too hard"] in [[part.strip() for part in line] for line in lines]
    assert ["skip", "3", "2 too easy, 1 solved"] in [[part.strip() for part in line] for line in lines]
    assert any(line[:2] == ["skip", "5"] and "history" in line[2] for line in lines if len(line) == 3)


def test_failures_have_a_line_for_each_kind_that_happened() -> None:
    shown = text_of(ledger(make_ledger(incomplete={"cut": 1, "refilled": 3}, recalled={"too_stale": 2})))
    assert "incomplete groups: 3 refilled, 1 cut" in shown
    assert "attempts called back: 2 too stale" in shown
    assert "claiming stopped" not in shown
    assert "claiming stopped by failures: 2 data" in text_of(ledger(make_ledger(breaker_trips={"data": 2})))


def test_a_ledger_without_a_visit_says_so() -> None:
    assert "no visit has ended yet" in text_of(ledger(make_ledger()))


def test_a_ledger_says_whether_it_balances() -> None:
    assert "\nbalanced: " in text_of(ledger(make_ledger()))
    assert "\nnot balanced: " in text_of(ledger(make_ledger(balanced=False)))
