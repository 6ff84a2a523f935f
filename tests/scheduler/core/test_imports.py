import pytest

from scheduler.core.errors import InvalidInput
from scheduler.core.imports import ANYTHING, Importable


@pytest.mark.parametrize("modules", [(ANYTHING,), ("rules",), ("other", "rules.mine"), ("rules.mine.deep",)])
def test_a_listed_module_and_what_is_in_it_may_be_imported(modules: tuple[str, ...]) -> None:
    Importable(modules=modules).check("rules.mine.deep:Rule", "allocator")


@pytest.mark.parametrize("modules", [(), ("rul",), ("rules.min",), ("mine",), ("rules.mine.deep.er",)])
def test_any_other_is_refused_with_what_is_listed(modules: tuple[str, ...]) -> None:
    with pytest.raises(InvalidInput, match=r"rules\.mine\.deep may not be imported here") as refusal:
        Importable(modules=modules).check("rules.mine.deep:Rule", "allocator")
    assert refusal.value.field == "allocator"
    assert (", ".join(modules) or "nothing") in str(refusal.value)


def test_without_a_list_everything_may_be_imported() -> None:
    Importable().check("os:system", "reward")
