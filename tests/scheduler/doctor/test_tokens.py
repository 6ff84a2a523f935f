"""The token file: there, private, and of use."""

from pathlib import Path

import pytest

from scheduler.core.tokens import Scope
from scheduler.doctor.finding import Level
from scheduler.doctor.patient import Patient
from scheduler.doctor.tokens import tokens, without
from scheduler.token_file import TokenFile


def patient(path: Path, token: str = "") -> Patient:
    environ = {"PILOTCOMMIT_TOKENS_FILE": str(path)} | ({"PILOTCOMMIT_TOKEN": token} if token else {})
    return Patient.of(environ, url="http://h")


def test_a_private_file_with_a_learner_is_in_order_and_says_whose_token_is_used(tmp_path: Path) -> None:
    file = TokenFile(tmp_path / "tokens")
    file.create("learner", [Scope.LEARN])
    mine = file.create("me", [Scope.SUBMIT])
    [found] = tokens(patient(file.path, mine))
    assert (found.level, "2 in" in found.said, "'me' (submit)" in found.said) == (Level.OK, True, True)
    assert mine not in found.said


def test_whatever_is_wrong_with_a_file_is_told(tmp_path: Path) -> None:
    file = TokenFile(tmp_path / "tokens")
    file.create("me", [Scope.SUBMIT])
    file.path.chmod(0o644)
    found = tokens(patient(file.path, "another"))
    assert [one.level for one in found] == [Level.WARNING, Level.WARNING, Level.PROBLEM]
    assert "chmod 600" in found[0].todo
    assert "another" not in found[2].said


def test_a_file_that_is_named_and_not_there_is_a_problem(tmp_path: Path) -> None:
    [found] = tokens(patient(tmp_path / "none"))
    assert (found.level, "token create" in found.todo) == (Level.PROBLEM, True)


@pytest.mark.parametrize(("anonymous", "level"), [(False, Level.OK), (True, Level.WARNING)])
def test_an_open_api_is_said_to_be_open(anonymous: bool, level: Level) -> None:
    assert without(allow_anonymous=anonymous, host="0.0.0.0").level is level
