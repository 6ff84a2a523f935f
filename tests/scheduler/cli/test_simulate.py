"""`pilotcommit simulate`."""

import json
from pathlib import Path

import pytest

from scheduler.cli import main
from scheduler.simulator.pool import PoolName

SMALL = ("--steps", "4", "--batch-size", "4", "--prompts", "64", "--seeds", "2", "--processes", "1")
QUICK = (*SMALL, "--pilots", "4", "--commits", "12")


def test_it_prints_signal_per_rollout_and_draws_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["simulate", *QUICK, "--allocator", "grpo", "--pool", "flat", "--out", str(tmp_path / "new")]) == 0

    said = capsys.readouterr()
    assert "1.00 ± 0.00" in said.out
    assert "simulation.png" in said.err
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["simulation.png", "simulation.svg"]


def test_json_is_one_object_the_same_for_any_number_of_processes(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = ["simulate", *QUICK, "--allocator", "pilot_commit", "--pool", "u_shaped", "--json"]
    assert main([*arguments, "--out", str(tmp_path)]) == 0
    alone = json.loads(capsys.readouterr().out)
    assert main([*arguments, "--out", str(tmp_path), "--processes", "2"]) == 0
    together = json.loads(capsys.readouterr().out)

    assert alone == together
    assert alone["results"][0]["allocator"] == "pilot_commit"


def test_without_names_it_compares_everything_there_is(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["simulate", *QUICK, "--steps", "1", "--json", "--out", str(tmp_path)]) == 0

    report = json.loads(capsys.readouterr().out)
    assert len(report["results"]) == len(report["allocators"]) * len(report["pools"])
    assert {"grpo", "dapo", "pilot_commit"} <= {rule["label"] for rule in report["allocators"]}
    assert [pool["name"] for pool in report["pools"]] == list(PoolName)


def test_a_rule_may_run_several_times_each_with_parameters_of_its_own(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    variant = "pilot_commit,p_upper=0.9"
    options = ["--allocator", "pilot_commit", "--allocator", variant, "--parameter", "rounds=2", "--pool", "easy"]
    assert main(["simulate", *QUICK, *options, "--json", "--out", str(tmp_path)]) == 0

    plain, changed = json.loads(capsys.readouterr().out)["allocators"]
    assert (plain["label"], changed["label"]) == ("pilot_commit", variant)
    assert "p_upper=0.75" in plain["rule"]
    assert "p_upper=0.9" in changed["rule"]
    assert "rounds=2" in plain["rule"]
    assert "rounds=2" in changed["rule"]


def test_a_rule_of_ones_own_is_named_by_its_import_path(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    own = "scheduler.core.allocators.pilot_commit:PilotCommit"
    assert main(["simulate", *QUICK, "--allocator", own, "--pool", "flat", "--json", "--out", str(tmp_path)]) == 0

    assert json.loads(capsys.readouterr().out)["results"][0]["allocator"] == own


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--pool", "round"], "there is no pool 'round'; there are flat, broad"),
        (["--allocator", "luck"], "there is no allocator 'luck'"),
        (["--allocator", "grpo,luck=1"], "grpo has no parameter 'luck'"),
        (["--prompts", "7"], "num_prompts: 7 is below 8"),
    ],
)
def test_what_there_is_not_is_refused_with_what_there_is(
    options: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", *QUICK, *options]) == 1
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    "options", [["--parameter", "rounds=2"], ["--allocator", "pilot_commit,rounds"], ["--allocator", 'grpo,x="y"']]
)
def test_parameters_that_are_no_numbers_or_nobodys_are_wrong_usage(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", *QUICK, *options]) == 2
    assert "Usage: pilotcommit simulate" in capsys.readouterr().err
