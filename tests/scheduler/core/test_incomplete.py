"""The words for incomplete groups."""

from scheduler.core.incomplete import Shortfall, shortfall_counter


def test_every_shortfall_has_a_counter_of_its_own() -> None:
    assert len({shortfall_counter(shortfall) for shortfall in Shortfall}) == len(Shortfall)
