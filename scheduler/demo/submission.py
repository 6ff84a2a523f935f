"""What the demo asks of a scheduler: two pools of arithmetic, and a run.

Owns: the pools' names and sizes, and the run. Never waits for it.
"""

from dataclasses import asdict
from pathlib import Path

from scheduler.client import Client, Json
from scheduler.core.errors import InvalidInput
from scheduler.demo.arithmetic import make_held_out, make_pool
from scheduler.demo.options import DemoOptions

POOL, HELD_OUT = "arithmetic", "arithmetic-held-out"
_POOL_PROMPTS = 400
_HELD_OUT_PROMPTS = 128
_BUDGET_ROLLOUTS = 3_200


def submit(client: Client, model: Path, options: DemoOptions) -> str:
    """Create the pools and queue the run; returns its id."""
    pools = {
        POOL: make_pool(_POOL_PROMPTS, options.seed),
        HELD_OUT: make_held_out(_HELD_OUT_PROMPTS, options.seed),
    }
    for name, prompts in pools.items():
        client.create_pool(name, tokenizer=str(model), reward="exact")
        added = client.add_prompts(name, (asdict(prompt) for prompt in prompts))
        if added["refused"]:
            raise InvalidInput(f"pool {name}: {added['refused']}")
    run = client.create_run(run_request(options))
    return str(run["run_id"])


def run_request(options: DemoOptions) -> Json:
    """The run that the demo asks for."""
    return {
        "pool": POOL,
        "allocator": options.allocator,
        "pilots": 8,
        "commits": 8,
        "batch_size": 8,
        "max_staleness": 1,
        "sampling": {"max_new_tokens": 6, "stop": ["\n"]},
        "budget": {"rollouts": options.budget_rollouts or _BUDGET_ROLLOUTS},
        "max_steps": options.max_steps,
        "evaluation": {"pool": HELD_OUT, "rollouts": 4, "every_steps": 6, "rollouts_between": 1},
        "seed": options.seed,
        "attempt_timeout_s": 120,
    }


def submit_once(client: Client, model: Path, options: DemoOptions) -> str | None:
    """Submit the run to a scheduler that has none yet; its id, or None where there are runs."""
    return None if client.runs() else submit(client, model, options)
