"""What a mistyped name may have meant."""

from scheduler.core.near import near


def test_the_nearest_names_come_first_and_never_more_than_three() -> None:
    assert near("sum-12", ["sum-13", "sum-12b", "sum-1", "product"]) == ["sum-12b", "sum-1", "sum-13"]
    assert len(near("sum-1", [f"sum-{number}" for number in range(100)])) == 3


def test_case_makes_no_difference_and_the_name_is_given_as_it_is() -> None:
    assert near("RUN-7", ["Run-7"]) == ["Run-7"]


def test_nothing_is_near_a_name_unlike_all_others() -> None:
    assert near("xyz", ["sum-1", "run-1"]) == []
