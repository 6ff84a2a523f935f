import pytest

from scheduler.core.student import student


@pytest.mark.parametrize(("degrees", "quantile"), [(1, 12.706), (3, 3.182), (4, 2.776), (7, 2.365), (30, 2.042)])
def test_students_quantile_is_the_tables(degrees: int, quantile: float) -> None:
    assert student(degrees) == pytest.approx(quantile, rel=0.01)
