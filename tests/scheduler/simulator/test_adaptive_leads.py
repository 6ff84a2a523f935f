"""The product's own rule against every other, on every modelled pool: the claim, as a test."""

from functools import cache

import pytest

from scheduler.core.allocators.catalogue import AllocatorName
from scheduler.simulator.account import Account
from scheduler.simulator.intervals import estimate
from scheduler.simulator.pool import SHAPES, PoolName
from tests.scheduler.simulator.rules import released, run

SEEDS = 4
STATIC = [pool for pool in PoolName if not SHAPES[pool].drifts]
OTHERS = [name for name in AllocatorName if name is not AllocatorName.ADAPTIVE]


@cache
def accounts(name: AllocatorName, pool: PoolName, num_prompts: int) -> tuple[Account, ...]:
    """Runs of one rule: over several epochs of a small pool, or within one of a large pool."""
    return tuple(
        run(released(name), pool=pool, num_prompts=num_prompts, steps=16, batch_size=12, seed=seed)
        for seed in range(SEEDS)
    )


@pytest.mark.parametrize("pool", STATIC)
def test_adaptive_leads_every_other_rule_outside_the_interval(pool: PoolName) -> None:
    ours = accounts(AllocatorName.ADAPTIVE, pool, 144)

    assert all(account.epochs > 1 for account in ours)
    for name in OTHERS:
        theirs = accounts(name, pool, 144)
        lead = estimate([a.efficiency / b.efficiency for a, b in zip(ours, theirs, strict=True)])
        assert lead.low > 1.0, f"{lead.mean:.2f} ± {lead.margin:.2f} times {name}"


@pytest.mark.parametrize("pool", STATIC)
def test_adaptive_leads_without_a_memory_to_draw_on(pool: PoolName) -> None:
    """Within one epoch nothing can be trained twice: no lead comes from training few prompts often."""
    ours = accounts(AllocatorName.ADAPTIVE, pool, 1152)

    assert all(account.epochs == 1 for account in ours)
    for name in OTHERS:
        theirs = accounts(name, pool, 1152)
        lead = estimate([a.efficiency / b.efficiency for a, b in zip(ours, theirs, strict=True)])
        assert lead.low > 1.0, f"{lead.mean:.2f} ± {lead.margin:.2f} times {name}"
