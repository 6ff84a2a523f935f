"""A comparison as one JSON object.

Owns: its fields. Never rounds and never draws. Invariant: what is in it can be made again from what is in it: the
setting, the number of seeds, and the rules with their parameters.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from scheduler.simulator.comparison import TARGET, Arrival, Entrant, Plan, Standing
from scheduler.simulator.intervals import Estimate
from scheduler.simulator.pool import SHAPES

Fields = Mapping[str, object]


def as_fields(plan: Plan, standings: Sequence[Standing]) -> Fields:
    """Everything a comparison has said."""
    return {
        "baseline": plan.baseline.label,
        "setting": {**asdict(plan.setting), "seeds": plan.seeds, "num_prompts": plan.num_prompts, "target": TARGET},
        "allocators": [_rule(entrant) for entrant in plan.entrants],
        "pools": [{"name": pool, **asdict(SHAPES[pool])} for pool in plan.pools],
        "results": [_result(standing) for standing in standings],
    }


def _rule(entrant: Entrant) -> Fields:
    return {"label": entrant.label, "rule": repr(entrant.allocator)}


def _result(standing: Standing) -> Fields:
    return {
        "pool": standing.pool,
        "allocator": standing.label,
        "signal": _estimate(standing.signal),
        "signal_of_tokens": _estimate(standing.signal_of_tokens),
        "rollouts": standing.rollouts,
        "outcomes": dict(standing.outcomes),
        "trained_groups": standing.trained_groups,
        "mixed_groups": standing.mixed_groups,
        "trained_prompts": standing.trained_prompts,
        "rollouts_per_mixed_group": standing.rollouts_per_mixed_group,
        "skip_rates": dict(standing.skip_rates),
        "epochs": standing.epochs,
        "target": None if standing.arrival is None else _arrival(standing.arrival),
    }


def _arrival(arrival: Arrival) -> Fields:
    return {
        "success_rate": arrival.success_rate,
        "reached": arrival.reached,
        "rollouts": arrival.rollouts,
        "saving": None if arrival.saving is None else _estimate(arrival.saving),
    }


def _estimate(estimate: Estimate) -> Fields:
    return {"mean": estimate.mean, "low": estimate.low, "high": estimate.high}
