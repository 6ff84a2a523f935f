"""What uniform allocation would have cost.

Owns: the estimate, from the ledger's counters. Pure. Invariant: it rests on first visits alone, which nobody selected.
"""

from collections.abc import Mapping

from scheduler.core.informativeness import Belief
from scheduler.core.prior import fit_counted_prior
from scheduler.core.spend import MIXED_GROUPS, first_visits


def uniform_rollouts(counters: Mapping[str, int], group_size: int) -> float | None:
    """Rollouts that uniform allocation would have spent for as many mixed groups; None before the first of them.

    It gives a whole group to whichever prompt comes, of which a share P is mixed: mixed groups x group size / P. P is
    that of the Beta fitted to first visits, so it is of the pool as it was when each prompt was first looked at. A rule
    that takes no pilots leaves it unknown: None.
    """
    mixed, visits = counters.get(MIXED_GROUPS, 0), first_visits(counters)
    if not (mixed and visits) or group_size < 2:
        return None
    prior = fit_counted_prior(visits)
    return mixed * group_size / Belief.fresh(prior, 0).mixed_probability(group_size)
