"""How informativeness is spread over the prompts of a table.

Owns: the edges of the histogram and its arithmetic. Pure; never reads a table. Invariant: the numbers are cumulative,
as Prometheus has them, and the last of them is all the prompts.
"""

import math
from collections.abc import Iterable, Mapping

EDGES = (0.01, 0.025, 0.05, 0.075, 0.1, 0.125, 0.15, 0.175, 0.2, 0.225, 0.25, math.inf)
"""Upper edges, in squared reward units; rewards that are right or wrong have at most 1/4."""


def spread(informativeness: Iterable[float], *, num_prompts: int) -> Mapping[float, float]:
    """Prompts at or below each edge, where those given were drawn evenly from so many; empty if none was given."""
    values = list(informativeness)
    if not values:
        return {}
    each = num_prompts / len(values)
    return {edge: each * sum(value <= edge for value in values) for edge in EDGES}
