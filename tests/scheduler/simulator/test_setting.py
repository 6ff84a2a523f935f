import pytest

from scheduler.core.errors import InvalidInput
from scheduler.simulator.setting import Setting


@pytest.mark.parametrize("field", ["steps", "batch_size", "largest_group"])
def test_sizes_that_make_no_run_are_refused(field: str) -> None:
    with pytest.raises(InvalidInput, match="0 is below") as refused:
        Setting(**{field: 0})

    assert refused.value.field == field
