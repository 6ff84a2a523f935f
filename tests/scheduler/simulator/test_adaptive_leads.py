"""The product's own rule against every other, on every modelled pool: the claim, as a test."""

from functools import cache

import pytest

from scheduler.core.allocators.catalogue import AllocatorName, build_allocator
from scheduler.simulator.account import Account
from scheduler.simulator.intervals import estimate
from scheduler.simulator.pool import SHAPES, PoolName
from tests.scheduler.simulator.rules import released, run

SEEDS = 4
STATIC = [pool for pool in PoolName if not SHAPES[pool].drifts and SHAPES[pool].is_even]
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


def test_adaptive_leads_by_token_where_rollouts_differ_in_length() -> None:
    ours = accounts(AllocatorName.ADAPTIVE, PoolName.UNEVEN, 144)

    for name in OTHERS:
        theirs = accounts(name, PoolName.UNEVEN, 144)
        lead = estimate([a.efficiency_of_tokens / b.efficiency_of_tokens for a, b in zip(ours, theirs, strict=True)])
        assert lead.low > 1.0, f"{lead.mean:.2f} ± {lead.margin:.2f} times {name}"


@pytest.mark.parametrize(
    ("without", "pool", "saved"),
    [
        ({"remember": 0}, PoolName.U_SHAPED, 1.1),
        ({"pilot_step": 16}, PoolName.U_SHAPED, 1.05),
        ({"cost_aware": 0}, PoolName.UNEVEN, 1.05),
    ],
    ids=["memory", "sequential pilots", "cost"],
)
def test_each_part_of_the_rule_pays_for_itself(without: dict[str, int], pool: PoolName, saved: float) -> None:
    ablated = build_allocator("adaptive", pilots=16, commits=48, parameters=without)
    ours = accounts(AllocatorName.ADAPTIVE, pool, 144)
    theirs = [run(ablated, pool=pool, num_prompts=144, steps=16, batch_size=12, seed=seed) for seed in range(SEEDS)]
    gain = estimate([a.efficiency_of_tokens / b.efficiency_of_tokens for a, b in zip(ours, theirs, strict=True)])
    assert gain.low > saved, f"{gain.mean:.2f} ± {gain.margin:.2f}"
