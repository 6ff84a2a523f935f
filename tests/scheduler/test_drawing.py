"""Colours that hold over pictures."""

from scheduler.core.allocators.catalogue import AllocatorName
from scheduler.drawing import colours


def test_every_rule_that_ships_has_a_colour_of_its_own_whatever_it_is_drawn_with() -> None:
    together = colours(list(AllocatorName))
    assert len(set(together.values())) == len(AllocatorName)
    assert all(colours(["mine", name])[name] == together[name] for name in AllocatorName)


def test_others_take_turns_and_keep_theirs_among_the_same_names() -> None:
    names = ["mine", "yours", "mine", "grpo"]
    found = colours(names)
    assert list(found) == ["mine", "yours", "grpo"]
    assert len(set(found.values())) == 3
    assert colours(names) == found
