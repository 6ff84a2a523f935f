"""A comparison of rules in the simulator, as tables.

Owns: which facts are shown and in what order. Pure. Invariants: the summary comes last, where a terminal still shows
it; no table is wider than 80 columns.
"""

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from scheduler.cli.tables import Cell, grid
from scheduler.core.spend import NOT_COMMITTED
from scheduler.simulator.comparison import TARGET, Plan, Standing
from scheduler.simulator.intervals import Estimate
from scheduler.simulator.pool import SHAPES, PoolName, PoolShape

_UNKNOWN = "-"
_EMPTY = "nothing was compared"
_POOLS_ABREAST = 5
_LEGEND = "groups and prompts trained, mixed groups, rollouts for each"


def comparison(plan: Plan, standings: Sequence[Standing]) -> RenderableType:
    """A table a pool; when drifting pools got to their target; signal per rollout of every rule on every pool."""
    shown: list[RenderableType] = []
    for pool in plan.pools:
        own = [standing for standing in standings if standing.pool is pool]
        shown += [_title(_describe(pool)), _details(own)]
        if SHAPES[pool].drifts:
            shown += [_title(f"{pool}: rollouts until {TARGET:.0%} of GRPO's gain"), _arrivals(own, plan.seeds)]
    by_rollout = {_place(each): each.signal for each in standings}
    for start in range(0, len(plan.pools), _POOLS_ABREAST):
        heading = f"Signal per generated rollout, GRPO = 1: mean ± 95 % over {plan.seeds} seeds"
        shown += [_title(heading), _summary(plan.pools[start : start + _POOLS_ABREAST], by_rollout)]
    uneven = [pool for pool in plan.pools if not SHAPES[pool].is_even]
    if uneven:
        heading = f"Signal per generated token, GRPO = 1: mean ± 95 % over {plan.seeds} seeds"
        shown += [_title(heading), _summary(uneven, {_place(each): each.signal_of_tokens for each in standings})]
    return Group(*shown)


def _title(text: str) -> Text:
    return Text(text, style="bold")


def _describe(pool: PoolName) -> str:
    shape = SHAPES[pool]
    return f"{pool}: Beta({shape.a:g}, {shape.b:g}){', drifting' if shape.drifts else ''}{_lengths(shape)}; {_LEGEND}"


def _lengths(shape: PoolShape) -> str:
    return "" if shape.is_even else f", 1 to {shape.longest} tokens"


def _details(standings: Sequence[Standing]) -> RenderableType:
    return grid(
        ("allocator", ">rollouts", ">groups", ">prompts", ">mixed", ">each", ">skip", ">defer", ">evict", ">epochs"),
        (
            (
                standing.label,
                f"{standing.rollouts:,.0f}",
                f"{standing.trained_groups:,.0f}",
                f"{standing.trained_prompts:,.0f}",
                f"{standing.mixed_groups:,.0f}",
                _known(standing.rollouts_per_mixed_group),
                *(f"{standing.skip_rates[verdict]:.0%}" for verdict in NOT_COMMITTED),
                f"{standing.epochs:.1f}",
            )
            for standing in standings
        ),
        empty=_EMPTY,
    )


def _arrivals(standings: Sequence[Standing], seeds: int) -> RenderableType:
    arrivals = [(standing.label, standing.arrival) for standing in standings if standing.arrival is not None]
    return grid(
        ("allocator", ">success rate", ">seeds there", ">rollouts", ">GRPO's ÷ these"),
        (
            (
                label,
                f"{arrival.success_rate:.3f}",
                f"{arrival.reached} of {seeds}",
                _known(arrival.rollouts),
                _UNKNOWN if arrival.saving is None else _interval(arrival.saving),
            )
            for label, arrival in arrivals
        ),
        empty=_EMPTY,
    )


def _place(standing: Standing) -> tuple[str, PoolName]:
    return standing.label, standing.pool


def _summary(pools: Sequence[PoolName], signals: Mapping[tuple[str, PoolName], Estimate]) -> RenderableType:
    labels = list(dict.fromkeys(label for label, _ in signals))
    best = {pool: max(labels, key=lambda label: signals[label, pool].mean) for pool in pools}
    return grid(
        ("allocator", *(f">{pool}" for pool in pools)),
        ((label, *(_cell(signals[label, pool], label == best[pool]) for pool in pools)) for label in labels),
        empty=_EMPTY,
    )


def _cell(signal: Estimate, leads: bool) -> Cell:
    return Text(_interval(signal), style="bold green" if leads else "")


def _interval(estimate: Estimate) -> str:
    return f"{estimate.mean:.2f} ± {estimate.margin:.2f}"


def _known(number: float | None) -> str:
    return _UNKNOWN if number is None else f"{number:,.0f}"
