"""What a run has spent on each of its pools.

Owns: the names of these counters, and what is read of them. Pure; never changes a counter. Invariant: the tallies of a
run's pools together are its ledger: of a run over one pool the tally is read from that itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from scheduler.core.mixture import Mixture
from scheduler.core.spend import considered, pilot_success_rate, skip_rates
from scheduler.core.types import Verdict

_POOL = "pool:"
CONSIDERED, CLAIMED, FORFEITED = "considered", "claimed", "forfeited"
ROLLOUTS, TOKENS = "spent:rollouts", "spent:tokens"


def pool_counter(pool: str, counter: str) -> str:
    """The name of a counter of one pool of several; beside it the run's own counts on."""
    return f"{_POOL}{pool}:{counter}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolTally:
    """One pool of a run."""

    name: str
    weight: float
    part: float
    """Its share of the weights: of the claims, while no pool runs dry."""
    claimed: int
    """Prompts claimed."""
    forfeited: int
    """Turns it let pass: it had nothing to claim, or its rule wanted none of it."""
    considered: int
    """Prompts claimed, or passed over by their history."""
    skip_rates: Mapping[Verdict, float]
    """By verdict: prompts considered and not committed ÷ prompts considered; empty before the first."""
    rollouts: int
    """Pilots and commits spent."""
    tokens: int
    """Generated tokens of them."""
    pilot_success_rate: float | None
    """Pilots that were right ÷ pilots judged; None before the first."""


def pool_tallies(mixture: Mixture, counters: Mapping[str, int]) -> tuple[PoolTally, ...]:
    """The pools of a run in its order."""
    return tuple(_tally(mixture, name, _own(mixture, name, counters)) for name in mixture.names)


def _own(mixture: Mixture, pool: str, counters: Mapping[str, int]) -> Mapping[str, int]:
    if mixture.is_mixed:
        prefix = pool_counter(pool, "")
        return {name.removeprefix(prefix): count for name, count in counters.items() if name.startswith(prefix)}
    passed = sum(count for name, count in counters.items() if name.startswith("passed_over:"))
    return {**counters, CLAIMED: considered(counters) - passed}


def _tally(mixture: Mixture, pool: str, counters: Mapping[str, int]) -> PoolTally:
    [weight] = [share.weight for share in mixture.shares if share.name == pool]
    return PoolTally(
        name=pool,
        weight=weight,
        part=mixture.part(pool),
        claimed=counters.get(CLAIMED, 0),
        forfeited=counters.get(FORFEITED, 0),
        considered=considered(counters),
        skip_rates=skip_rates(counters),
        rollouts=counters.get(ROLLOUTS, 0),
        tokens=counters.get(TOKENS, 0),
        pilot_success_rate=pilot_success_rate(counters),
    )
