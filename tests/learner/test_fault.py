"""A fault strikes exactly where and when it was asked to, and never otherwise."""

import signal
import subprocess
import sys

import pytest

from learner.fault import Fault, FaultPoint
from scheduler.core.errors import InvalidInput


def test_it_strikes_at_the_nth_passing_of_its_point_only() -> None:
    fault = Fault.parse("stepping:3")
    struck = [fault.strikes(FaultPoint.STEPPING) for _ in range(5)]
    assert struck == [False, False, True, False, False]
    assert not any(Fault.parse("taking:1").strikes(point) for point in FaultPoint if point is not FaultPoint.TAKING)


@pytest.mark.parametrize("text", [None, ""])
def test_without_the_variable_it_never_strikes(text: str | None) -> None:
    fault = Fault.parse(text)
    for point in FaultPoint:
        fault.passing(point)


@pytest.mark.parametrize("text", ["stepping", "stepping:", "stepping:0", "stepping:x", "sleeping:1", ":1"])
def test_what_is_not_a_point_and_a_count_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=f"'{text}'"):
        Fault.parse(text)


def test_the_process_dies_by_sigkill_without_cleaning_up() -> None:
    program = (
        "import sys; from learner.fault import Fault, FaultPoint\n"
        "fault = Fault.parse('taking:2')\n"
        "try:\n"
        "    for number in range(3):\n"
        "        sys.stdout.write(str(number)); sys.stdout.flush(); fault.passing(FaultPoint.TAKING)\n"
        "finally:\n"
        "    sys.stdout.write('cleaned'); sys.stdout.flush()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "01")
