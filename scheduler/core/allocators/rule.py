"""What most rules have in common, so that each states only what it does differently.

Owns: the defaults of the allocator protocol. Never decides a visit: `name`, `largest_group` and `decide` are each
rule's own. Invariant: a default is the plainest choice: every prompt once an epoch, on demand, nothing discarded.
"""

from collections.abc import Sequence
from typing import Self

import numpy as np

from scheduler.core.allocators.interface import Candidate, Demand, Experience, Ranking, ReadyGroup, Selection
from scheduler.core.allocators.orders import fewest_visits_first, oldest_first


class Rule:
    """Base of the shipped allocators; a user's own may build on it or implement the protocol from nothing."""

    __slots__ = ()

    @property
    def round_batches(self) -> int | None:
        """No rounds: prompts are claimed on demand."""
        return None

    @property
    def discards_surplus(self) -> bool:
        """A finished group waits for its slot."""
        return False

    @property
    def adapts_early(self) -> bool:
        """Once a step."""
        return False

    @property
    def foresees(self) -> bool:
        """One prior for all prompts."""
        return False

    def rank(self, candidates: Sequence[Candidate], demand: Demand, rng: np.random.Generator) -> Ranking:
        """Every prompt once an epoch, in random order; nobody is passed over unseen."""
        return Ranking(claim=fewest_visits_first(candidates, demand.prompts, rng))

    def select(self, ready: Sequence[ReadyGroup], held: Sequence[ReadyGroup], need: int) -> Selection:
        """Oldest version first; nothing is discarded."""
        return oldest_first(ready, held, need)

    def adapted(self, experience: Experience) -> Self:
        """Does not adapt."""
        return self
