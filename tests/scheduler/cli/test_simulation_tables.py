"""A comparison as tables."""

from scheduler.cli.simulation_tables import comparison
from scheduler.simulator.comparison import compare
from scheduler.simulator.pool import PoolName
from tests.scheduler.cli.shown import text_of
from tests.scheduler.simulator.comparisons import make_plan


def test_no_table_is_wider_than_80_columns_and_none_is_cut() -> None:
    plan = make_plan("grpo", "reinforce_ada", pools=tuple(PoolName), steps=8)
    shown = text_of(comparison(plan, compare(plan)), width=80)

    assert "…" not in shown
    assert all(f"{pool}: Beta(" in shown for pool in PoolName)
    assert shown.count("reinforce_ada") == 8 + 2 + 2 + 1


def test_signal_per_token_is_shown_where_rollouts_differ_in_length() -> None:
    plan = make_plan("grpo", "reinforce_ada", pools=(PoolName.UNEVEN, PoolName.FLAT))
    shown = text_of(comparison(plan, compare(plan)))

    assert "uneven: Beta(0.2, 0.3), 1 to 16 tokens;" in shown
    heading, *_, last = shown[shown.index("Signal per generated token") :].strip().splitlines()
    assert heading == "Signal per generated token, GRPO = 1: mean ± 95 % over 2 seeds"
    assert last.split()[0] == "reinforce_ada"
    assert "flat" not in shown[shown.index(heading) :]


def test_the_summary_comes_last() -> None:
    plan = make_plan("grpo", "dapo")
    shown = text_of(comparison(plan, compare(plan)))

    assert "Signal per generated rollout, GRPO = 1: mean ± 95 % over 2 seeds" in shown
    assert shown.rindex("1.00 ± 0.00") > shown.index("Signal per") > shown.index("epochs")


def test_a_target_that_was_not_reached_is_a_dash_beside_how_often_it_was() -> None:
    plan = make_plan("grpo", "reinforce_ada", pools=(PoolName.DRIFTING_HARD,), steps=4)
    shown = text_of(comparison(plan, compare(plan)))

    line = next(line for line in shown[shown.index("80%") :].splitlines() if "reinforce_ada" in line)
    assert line.split()[-5:] == ["1", "of", "2", "-", "-"]
