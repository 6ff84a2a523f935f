import json

from scheduler.simulator.comparison import compare
from scheduler.simulator.pool import PoolName
from scheduler.simulator.report import as_fields
from tests.scheduler.simulator.comparisons import make_plan


def test_a_report_is_json_and_has_all_it_takes_to_make_it_again() -> None:
    plan = make_plan("grpo", "reinforce_ada", pools=(PoolName.EASY, PoolName.DRIFTING_HARD), steps=4)
    report = json.loads(json.dumps(as_fields(plan, compare(plan)), allow_nan=False))

    assert report["setting"]["seeds"] == 2
    assert report["setting"]["steps"] == 4
    assert [rule["label"] for rule in report["allocators"]] == ["grpo", "reinforce_ada"]
    assert [pool["name"] for pool in report["pools"]] == ["easy", "drifting_hard"]
    assert [(result["pool"], result["allocator"]) for result in report["results"]] == [
        ("easy", "grpo"),
        ("easy", "reinforce_ada"),
        ("drifting_hard", "grpo"),
        ("drifting_hard", "reinforce_ada"),
    ]
    assert report["results"][0]["signal"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert report["results"][0]["target"] is None
    assert report["results"][2]["target"]["saving"]["mean"] == 1.0
    assert report["results"][3]["target"]["saving"] is None
