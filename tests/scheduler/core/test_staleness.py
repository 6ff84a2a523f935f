"""Staleness by pacing."""

import math
from dataclasses import dataclass, field

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.core.allocators.orders import oldest_first
from scheduler.core.errors import InvalidInput
from scheduler.core.staleness import (
    PassRate,
    all_will_be_fresh,
    careful_pilot_demand,
    free_slots,
    is_fresh,
    next_batch_version,
    pilot_demand,
    staleness,
    will_be_fresh,
)
from tests.scheduler.core.factories import make_ready_group

batch_sizes = st.integers(1, 8)
bounds = st.integers(0, 5)


@dataclass
class Pipeline:
    """A scheduler and a learner that obey the pacing functions, and nothing else, in any order of events."""

    batch_size: int
    max_staleness: int
    policy_version: int = 0
    live_version: int = 0
    running: dict[str, int] = field(default_factory=dict)
    """Oldest version by group, of the groups under way."""
    ready: dict[str, int] = field(default_factory=dict)
    consumed: list[int] = field(default_factory=list)
    """Staleness of each group when it was consumed."""
    started: int = 0

    @property
    def outstanding(self) -> int:
        return len(self.running) + len(self.ready)

    @property
    def free(self) -> int:
        return free_slots(
            self.outstanding, self.batch_size, self.max_staleness, self.policy_version - self.live_version
        )

    def commit(self, pilot_age: int) -> None:
        """Commit a prompt with pilots `pilot_age` versions older than the live one; at 0 a free slot is enough."""
        oldest = self.live_version - pilot_age
        fresh = pilot_age == 0 or will_be_fresh(
            oldest, self.policy_version, self.outstanding, self.batch_size, self.max_staleness
        )
        if self.free > 0 and fresh:
            self.running[f"group-{self.started}"] = oldest
            self.started += 1

    def finish(self, index: int) -> None:
        """Any group under way may finish next."""
        if self.running:
            group = list(self.running)[index % len(self.running)]
            self.ready[group] = self.running.pop(group)

    def lose(self, index: int) -> None:
        """Any group under way may fail."""
        if self.running:
            self.running.pop(list(self.running)[index % len(self.running)])

    def step(self, need: int) -> bool:
        """Train the oldest finished groups, unless that would let one that is left behind grow too stale."""
        groups = [make_ready_group(name, oldest_version=oldest) for name, oldest in self.ready.items()]
        batch = oldest_first(groups, (), need).batch
        left = [oldest for name, oldest in (self.running | self.ready).items() if name not in batch]
        if len(batch) < need or not all_will_be_fresh(
            left, self.policy_version + 1, self.batch_size, self.max_staleness
        ):
            return False
        for name in batch:
            oldest = self.ready.pop(name)
            assert is_fresh(self.policy_version, oldest, self.max_staleness)
            self.consumed.append(staleness(self.policy_version, oldest))
        self.policy_version += 1
        return True

    def publish(self) -> None:
        """The fleet starts to sample with the learner's weights."""
        self.live_version = self.policy_version

    def drain(self) -> None:
        """Finish everything under way and train all of it, the last batch perhaps partial."""
        while self.running:
            self.finish(0)
        while self.ready:
            assert self.step(min(self.batch_size, len(self.ready)))


def test_a_batch_that_the_learner_has_puts_the_next_one_a_version_off() -> None:
    assert next_batch_version(4, is_batch_out=False) == 4
    assert next_batch_version(4, is_batch_out=True) == 5


@settings(deadline=None, max_examples=150)
@given(batch_sizes, bounds, st.integers(0, 2**32 - 1))
def test_no_group_consumed_is_staler_than_the_bound(batch_size: int, max_staleness: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pipeline = Pipeline(batch_size=batch_size, max_staleness=max_staleness)
    odds = rng.dirichlet((3.0, 2.0, 0.3, 1.0, 0.7))
    for event, number in zip(rng.choice(5, 300, p=odds), rng.integers(0, 100, 300), strict=True):
        match int(event):
            case 0:
                pipeline.commit(pilot_age=int(number) % 3)
            case 1:
                pipeline.finish(int(number))
            case 2:
                pipeline.lose(int(number))
            case 3:
                pipeline.step(batch_size)
            case _:
                pipeline.publish()
    pipeline.drain()
    assert all(0 <= stale <= max_staleness for stale in pipeline.consumed)


@given(batch_sizes, bounds)
def test_a_full_pipeline_uses_the_bound_and_not_one_version_more(batch_size: int, max_staleness: int) -> None:
    pipeline = Pipeline(batch_size=batch_size, max_staleness=max_staleness)
    while pipeline.free:
        pipeline.commit(pilot_age=0)
    pipeline.drain()
    assert sorted(pipeline.consumed) == sorted(list(range(max_staleness + 1)) * batch_size)


@given(st.integers(0, 100), batch_sizes, bounds, st.integers(0, 8), st.integers(0, 50))
def test_a_free_slot_means_that_live_weights_are_fresh_enough(
    outstanding: int, batch_size: int, max_staleness: int, lag: int, live_version: int
) -> None:
    free = free_slots(outstanding, batch_size, max_staleness, lag)
    fresh = will_be_fresh(live_version, live_version + lag, outstanding, batch_size, max_staleness)
    assert (free > 0) == fresh


@given(st.lists(st.integers(0, 10), max_size=20), st.integers(0, 10), st.integers(0, 10), batch_sizes, bounds)
def test_admission_keeps_every_outstanding_group_fresh(
    oldest: list[int], newcomer: int, policy_version: int, batch_size: int, max_staleness: int
) -> None:
    feasible = all_will_be_fresh(oldest, policy_version, batch_size, max_staleness)
    admitted = will_be_fresh(newcomer, policy_version, len(oldest), batch_size, max_staleness)
    if feasible and admitted:
        assert all_will_be_fresh([*oldest, newcomer], policy_version, batch_size, max_staleness)


def test_synchronous_training_starts_one_batch_and_waits_for_its_weights() -> None:
    assert free_slots(0, batch_size=8, batches_ahead=0, lag=0) == 8
    assert free_slots(8, batch_size=8, batches_ahead=0, lag=0) == 0
    assert free_slots(0, batch_size=8, batches_ahead=0, lag=1) == 0


def test_a_fleet_that_lags_beyond_the_bound_leaves_no_slot() -> None:
    assert free_slots(0, batch_size=8, batches_ahead=2, lag=2) == 8
    assert free_slots(0, batch_size=8, batches_ahead=2, lag=5) == 0


def test_a_group_exactly_at_the_bound_is_fresh_and_one_beyond_is_not() -> None:
    assert is_fresh(policy_version=7, oldest_version=5, max_staleness=2)
    assert not is_fresh(policy_version=8, oldest_version=5, max_staleness=2)


def test_a_batch_waits_for_a_group_about_to_expire() -> None:
    about_to_expire = [3]
    assert all_will_be_fresh(about_to_expire, policy_version=5, batch_size=2, max_staleness=2)
    assert not all_will_be_fresh(about_to_expire, policy_version=6, batch_size=2, max_staleness=2)


@pytest.mark.parametrize(
    ("free", "held", "pass_rate", "cap", "pilots"),
    [
        (8, 0, 0.5, 100, 16),
        (8, 3, 0.5, 100, 10),
        (8, 0, 0.3, 100, 27),
        (8, 0, 0.01, 100, 100),
        (8, 8, 0.5, 100, 0),
        (8, 9, 0.5, 100, 0),
        (0, 0, 0.5, 100, 0),
        (8, 0, 0.5, 0, 0),
    ],
)
def test_pilots_fill_the_free_slots_that_survivors_do_not_claim(
    free: int, held: int, pass_rate: float, cap: int, pilots: int
) -> None:
    assert pilot_demand(free, held, pass_rate, cap) == pilots


@given(st.floats(1.0, 1000.0), st.lists(st.booleans(), max_size=200))
def test_a_pass_rate_is_never_zero_or_one(memory: float, visits: list[bool]) -> None:
    estimate = PassRate(memory=memory)
    for passed in visits:
        estimate = estimate.observed(passed)
    assert 1 / (memory + 2) <= estimate.rate * (1 + 1e-9)
    assert estimate.rate <= (memory + 1) / (memory + 2) * (1 + 1e-9)


def test_a_pass_rate_starts_at_one_half_and_follows_what_it_sees() -> None:
    estimate = PassRate(memory=50)
    assert estimate.rate == 0.5
    for _ in range(500):
        estimate = estimate.observed(False)
    assert estimate.rate == pytest.approx(1 / 52, rel=1e-3)
    for _ in range(500):
        estimate = estimate.observed(True)
    assert estimate.rate == pytest.approx(51 / 52, rel=1e-3)


@pytest.mark.parametrize("memory", [0.0, 0.99, math.nan, math.inf])
def test_a_pass_rate_remembers_at_least_one_visit(memory: float) -> None:
    with pytest.raises(InvalidInput, match="at least one visit"):
        PassRate(memory=memory)


def test_a_pass_rate_survives_json() -> None:
    estimate = PassRate().observed(True).observed(False)
    assert msgspec.json.decode(msgspec.json.encode(estimate), type=PassRate) == estimate


@given(st.integers(-3, 300), st.floats(0.01, 1.0), st.integers(1, 400))
def test_careful_demand_fits_its_mean_and_one_deviation_into_the_slots_and_leaves_none_idle(
    free: int, pass_rate: float, cap: int
) -> None:
    demand = careful_pilot_demand(free, pass_rate, cap)
    assert demand <= max(0, pilot_demand(free, 0, pass_rate, cap))

    def need(count: int) -> float:
        return count * pass_rate + math.sqrt(count * pass_rate * (1.0 - pass_rate))

    if free <= 0:
        assert demand == 0
    else:
        assert 1 <= demand <= cap
        assert demand == 1 or need(demand) <= free * (1 + 1e-9)
        assert demand == cap or need(demand + 1) > free * (1 - 1e-9)
