"""Folders are tried, and left as they were."""

from pathlib import Path

from scheduler.doctor.finding import Level
from scheduler.doctor.folders import folders, needed_bytes, probe
from scheduler.doctor.patient import Patient


def test_a_folder_is_written_to_and_nothing_is_left(tmp_path: Path) -> None:
    assert probe(tmp_path).level is Level.OK
    assert list(tmp_path.iterdir()) == []
    assert probe(tmp_path / "none").level is Level.PROBLEM


def test_a_folder_outside_of_the_roots_would_be_refused_and_that_is_said(tmp_path: Path) -> None:
    inside, outside = tmp_path / "roots" / "run", tmp_path / "elsewhere"
    for folder in (inside, outside):
        folder.mkdir(parents=True)
    environ = {"PILOTCOMMIT_WEIGHT_ROOTS": str(tmp_path / "roots"), "PILOTCOMMIT_DATA_DIR": str(tmp_path)}
    found = folders(Patient.of(environ, url="http://h", weights=[inside, outside]))
    [refused] = [one for one in found if one.level is Level.PROBLEM]
    assert str(outside) in refused.said
    assert "PILOTCOMMIT_WEIGHT_ROOTS" in refused.todo


def test_no_folder_for_weights_is_said(tmp_path: Path) -> None:
    found = folders(Patient.of({"PILOTCOMMIT_DATA_DIR": str(tmp_path)}, url="http://h"))
    assert [(one.check, one.level) for one in found if one.check == "weights"] == [("weights", Level.WARNING)]


def test_the_room_needed_grows_with_the_model(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(bytes(1000))
    assert needed_bytes(tmp_path) > 10 * 1000
    assert needed_bytes(None) == 0
