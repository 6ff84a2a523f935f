"""The plan of runs."""

import json
from pathlib import Path

import pytest

from benchmarks.target.plan import TUNING, matching, missing, runs_of
from benchmarks.target.record import write
from benchmarks.target.settings import load
from scheduler.api.run_requests import NewRun
from scheduler.core.allocators.catalogue import build_allocator
from scheduler.core.errors import InvalidInput
from tests.benchmarks.target.records import make_record

SETTINGS = load()
EVERY_COMPARISON = (*SETTINGS.comparisons, TUNING)


def test_the_headline_has_the_seeds_that_were_asked_for() -> None:
    runs = runs_of(SETTINGS, "equal_mixed")
    for name in ("grpo", "dapo", "pilot_commit", "adaptive"):
        assert [run.seed for run in runs if run.name == name] == [0, 1, 2, 3]


def test_every_allocator_has_its_first_seed_before_any_has_its_second() -> None:
    seeds = [run.seed for run in runs_of(SETTINGS, "equal_mixed")]
    assert seeds == sorted(seeds)


@pytest.mark.parametrize("comparison", EVERY_COMPARISON)
def test_every_run_is_one_that_the_api_takes(comparison: str) -> None:
    for run in runs_of(SETTINGS, comparison):
        config = NewRun.model_validate_json(json.dumps(run.request()), strict=False).config()
        assert config.seed == run.seed
        assert config.group_size >= 2


@pytest.mark.parametrize("comparison", EVERY_COMPARISON)
def test_no_two_runs_share_a_record(comparison: str) -> None:
    paths = [run.path(Path("results")) for run in runs_of(SETTINGS, comparison)]
    assert len(set(paths)) == len(paths)


@pytest.mark.parametrize("comparison", EVERY_COMPARISON)
def test_no_two_entries_ask_for_the_same_under_different_names(comparison: str) -> None:
    runs = runs_of(SETTINGS, comparison)
    asked = [json.dumps({"request": run.request(), "learner": run.learner_settings()}, sort_keys=True) for run in runs]
    assert len(set(asked)) == len(asked)


@pytest.mark.parametrize("comparison", EVERY_COMPARISON)
def test_every_run_names_a_rule_that_takes_its_parameters(comparison: str) -> None:
    for run in runs_of(SETTINGS, comparison):
        build_allocator(run.rule, pilots=run.pilots, commits=run.commits, parameters=run.parameters)


def test_all_allocators_but_grpo_step_on_as_many_groups() -> None:
    runs = runs_of(SETTINGS, "equal_mixed")
    assert len({run.batch_size for run in runs if run.rule != "grpo"}) == 1


def test_the_tuning_is_of_grpo_alone() -> None:
    assert {run.rule for run in runs_of(SETTINGS, TUNING)} == {"grpo"}


def test_a_finished_run_is_not_planned_again(tmp_path: Path) -> None:
    runs = runs_of(SETTINGS, "equal_mixed")
    write(make_record(), runs[0].path(tmp_path))
    assert missing(runs, tmp_path) == runs[1:]


def test_runs_are_found_by_name_and_by_label() -> None:
    runs = runs_of(SETTINGS, "equal_mixed")
    assert [run.label for run in matching(runs, "dapo/1")] == ["dapo/1"]
    assert len(matching(runs, "dapo")) == 4
    both = matching(runs, "adaptive/1, dapo")
    assert {run.name for run in both} == {"adaptive", "dapo"}
    assert [run.label for run in both if run.seed == 1] == ["dapo/1", "adaptive/1"]


def test_a_run_that_is_not_planned_is_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match="no run is called 'dapo/9'; there are grpo/0, dapo/0"):
        matching(runs_of(SETTINGS, "equal_mixed"), "dapo,dapo/9")


def test_an_unknown_comparison_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match="equal_mixed"):
        runs_of(SETTINGS, "unheard_of")


def test_an_unknown_name_in_the_settings_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text("[run]\npilots = 8\npilot = 8\n")
    with pytest.raises(InvalidInput, match="run"):
        load(path)
