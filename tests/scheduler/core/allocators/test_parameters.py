"""The parameters of an allocator, as they come with a run."""

import pytest

from scheduler.core.allocators.parameters import check_parameters, signature_of
from scheduler.core.errors import InvalidInput


def build(
    *, pilots: int, whole: int = 1, share: float = 0.5, whole_or_null: int | None = 1, share_or_null: float | None = 1.0
) -> None:
    """Declares a parameter of every type that a run can set."""


@pytest.mark.parametrize(
    ("parameter", "fits", "does_not"),
    [
        ("whole", (0, -3), (0.5, None, True)),
        ("share", (0, 0.5), (None, False)),
        ("whole_or_null", (0, None), (0.5, True)),
        ("share_or_null", (0, 0.5, None), (True,)),
    ],
)
def test_a_value_fits_the_type_that_the_rule_declares(
    parameter: str, fits: tuple[float | int | None, ...], does_not: tuple[float | int | None, ...]
) -> None:
    signature = signature_of("rule", build)
    for value in fits:
        check_parameters("rule", signature, {parameter: value})
    for value in does_not:
        with pytest.raises(InvalidInput, match=f"rule needs a .* for {parameter}, not {value}") as caught:
            check_parameters("rule", signature, {parameter: value})
        assert caught.value.field == f"parameters.{parameter}"


def test_the_sizes_of_a_run_are_no_parameters() -> None:
    with pytest.raises(InvalidInput, match="its parameters: whole, share, whole_or_null, share_or_null"):
        check_parameters("rule", signature_of("rule", build), {"pilots": 8})
