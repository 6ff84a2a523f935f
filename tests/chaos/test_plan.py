"""The plan of what goes wrong."""

from collections import Counter

import pytest

from tests.chaos.plan import TARGETS, FaultKind, make_plan


def test_a_plan_follows_from_its_seed_alone() -> None:
    assert make_plan(7, duration_s=60.0, per_kind=5) == make_plan(7, duration_s=60.0, per_kind=5)
    assert make_plan(7, duration_s=60.0, per_kind=5) != make_plan(8, duration_s=60.0, per_kind=5)


@pytest.mark.parametrize("seed", range(5))
def test_every_kind_comes_equally_often_in_order_of_time_and_evenly_over_its_targets(seed: int) -> None:
    plan = make_plan(seed, duration_s=600.0, per_kind=24)
    assert Counter(fault.kind for fault in plan) == dict.fromkeys(FaultKind, 24)
    assert [fault.at_s for fault in plan] == sorted(fault.at_s for fault in plan)
    assert all(0.0 <= fault.at_s < 600.0 and 0.0 <= fault.which < 1.0 for fault in plan)
    for kind, targets in TARGETS.items():
        struck = Counter(fault.target for fault in plan if fault.kind is kind)
        assert struck == dict.fromkeys(targets, 24 // len(targets))


def test_a_fault_may_outlast_a_lease_and_pass_unnoticed() -> None:
    lasting = [fault.lasts_s for fault in make_plan(1, duration_s=600.0, per_kind=24)]
    assert min(lasting) < 0.5
    assert max(lasting) > 4.0
