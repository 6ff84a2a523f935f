"""What is a label, and which server has those that are wanted."""

import pytest

from scheduler.core.errors import InvalidInput
from scheduler.core.labels import ANY, checked, has, parsed, told


def test_labels_are_written_as_name_and_value() -> None:
    assert parsed(["gpu=h100", "zone=eu-1/a"], "labels") == {"gpu": "h100", "zone": "eu-1/a"}
    assert told({"zone": "a", "gpu": "h100"}) == "gpu=h100, zone=a"
    assert told(ANY) == ""


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        (["gpu"], "'gpu' is not NAME=VALUE"),
        (["gpu="], "'' in gpu= is no word of a label"),
        (["=h100"], "'' in =h100 is no word of a label"),
        (["gpu=h 100"], "'h 100' in gpu=h 100 is no word"),
        (["gpu=h100", "gpu=a100"], "gpu is given twice: h100 and a100"),
        ([f"n{number}=v" for number in range(17)], "17 labels are more than 16"),
        ([f"gpu={'h' * 64}"], "63 at most"),
    ],
)
def test_what_is_no_label_is_named(pairs: list[str], said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as refused:
        parsed(pairs, "labels")
    assert refused.value.field == "labels"
    assert checked({"gpu": "h100"}, "labels") == {"gpu": "h100"}


@pytest.mark.parametrize(
    ("labels", "wanted", "fits"),
    [
        ({}, {}, True),
        ({"gpu": "h100"}, {}, True),
        ({"gpu": "h100", "zone": "a"}, {"gpu": "h100"}, True),
        ({"gpu": "h100"}, {"gpu": "a100"}, False),
        ({"gpu": "h100"}, {"gpu": "h100", "zone": "a"}, False),
        ({}, {"gpu": "h100"}, False),
    ],
)
def test_a_server_is_wanted_if_it_has_every_label_that_is(
    labels: dict[str, str], wanted: dict[str, str], fits: bool
) -> None:
    assert has(labels, wanted) is fits
