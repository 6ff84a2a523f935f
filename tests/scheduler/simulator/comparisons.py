"""Small comparisons: each test names only what it is about."""

from scheduler.simulator.comparison import Entrant, Plan
from scheduler.simulator.pool import PoolName
from scheduler.simulator.setting import Setting
from tests.scheduler.simulator.rules import released


def make_plan(
    *names: str,
    pools: tuple[PoolName, ...] = (PoolName.BROAD,),
    seeds: int = 2,
    steps: int = 4,
    num_prompts: int = 64,
) -> Plan:
    """Rules of the catalogue against GRPO."""
    return Plan(
        baseline=Entrant(label="grpo", allocator=released("grpo")),
        entrants=tuple(Entrant(label=name, allocator=released(name)) for name in names),
        pools=pools,
        setting=Setting(steps=steps, batch_size=4),
        seeds=seeds,
        num_prompts=num_prompts,
    )
