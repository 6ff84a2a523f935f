"""What is not in order always comes with what to do."""

import pytest

from scheduler.core.errors import InvalidInput
from scheduler.doctor.finding import Finding, Level, ok, problem, warning, worst


def test_the_worst_of_findings_is_what_all_come_to() -> None:
    fine, doubtful, bad = ok("a", "fine"), warning("b", "hm", "look"), problem("c", "no", "mend")
    assert worst([]) is Level.OK
    assert worst([fine, doubtful]) is Level.WARNING
    assert worst([doubtful, bad, fine]) is Level.PROBLEM


@pytest.mark.parametrize(("level", "todo"), [(Level.OK, "mend it"), (Level.WARNING, ""), (Level.PROBLEM, "")])
def test_a_finding_has_something_to_do_exactly_if_it_is_not_in_order(level: Level, todo: str) -> None:
    with pytest.raises(InvalidInput, match="disk"):
        Finding(check="disk", level=level, said="full", todo=todo)
