"""The doctor as a whole: every check says something, in time."""

import os
from pathlib import Path

from scheduler.doctor.examination import examine
from scheduler.doctor.finding import Level
from scheduler.doctor.patient import Patient, settings_finding


async def test_a_check_that_hangs_is_said_to_and_holds_nothing_up(model_folder: Path) -> None:
    patient = Patient.of({}, url="http://127.0.0.1:1", model=model_folder)
    found = await examine(patient, os.environ, deadline_s=0.0)
    assert "no answer within 0 s" in {one.said for one in found}


def test_settings_that_cannot_be_read_stop_no_other_check() -> None:
    wrong = {"PILOTCOMMIT_PORT": "many", "PILOTCOMMIT_STALL_S": "-1"}
    patient = Patient.of({**wrong, "PILOTCOMMIT_MAX_IN_FLIGHT": "7"}, url="http://h")
    found = settings_finding(patient)
    assert found.level is Level.PROBLEM
    assert all(name in found.said for name in wrong)
    assert (patient.settings.port, patient.settings.max_in_flight) == (8400, 7)
