"""Tables of the results."""

from benchmarks.target.analysis import cells
from benchmarks.target.report import as_json, markdown
from benchmarks.target.targets import Targets
from tests.benchmarks.target.records import make_record

RISING = (0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7)
TARGETS = Targets(start=0.4, end=0.6, seeds=(0, 1), accuracy={"80": 0.56})
BASE = [make_record(RISING, seed=seed) for seed in (0, 1)]


def test_a_row_says_spend_and_ratio_with_its_interval() -> None:
    ours = [make_record(RISING, name="adaptive", seed=seed, rollouts_per_step=50) for seed in (0, 1)]
    table = markdown(cells([*BASE, *ours], BASE, TARGETS), TARGETS)
    assert "| `grpo` | 2 | 320 | \N{EN DASH} | 3,200 | \N{EN DASH} | 0.5 | \N{EN DASH} |" in table
    assert "| `adaptive` | 2 | 160 | 2.00 [2.00, 2.00] |" in table


def test_a_target_that_was_not_reached_is_printed_as_a_bound() -> None:
    slow = [make_record((0.4, 0.41, 0.42), name="dapo", seed=seed) for seed in (0, 1)]
    table = markdown(cells([*BASE, *slow], BASE, TARGETS), TARGETS)
    assert "| `dapo` | 0 of 2 reached it | > 200 | < 1.60 |" in table


def test_whoever_needs_fewest_rollouts_comes_first_after_grpo_and_targets_can_be_chosen() -> None:
    slow = [make_record(RISING, name="dapo", seed=0, rollouts_per_step=400)]
    fast = [make_record(RISING, name="mopps", seed=0, rollouts_per_step=50)]
    several = Targets(start=0.4, end=0.6, seeds=(0, 1), accuracy={"80": 0.56, "90": 0.58})
    table = markdown(cells([*slow, *BASE, *fast], BASE, several), several, ["90"])
    places = [table.index(f"`{name}`") for name in ("grpo", "mopps", "dapo")]
    assert places == sorted(places)
    assert table.count("of GRPO's gain") == 1


def test_the_json_has_everything_that_the_tables_are_made_of() -> None:
    found = cells(BASE, BASE, TARGETS)
    answer = as_json(found, TARGETS, "equal_mixed")
    assert answer["comparison"] == "equal_mixed"
    assert isinstance(answer["cells"], list)
    assert len(answer["cells"]) == len(found)
