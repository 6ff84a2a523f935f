"""DAPO's dynamic sampling: whole groups, of which those whose rollouts all agree are dropped (arXiv 2503.14476).

Owns: the two forms of that baseline. `dapo` is the release: a batch is filled from rounds of three times its size, and
what is left over of a round is thrown away. `dapo_carry` samples on demand and keeps what is left over, so that a
comparison is not won against that waste alone.

Never spends less than a whole group to find out: a prompt costs n rollouts whether it is trained or not, which makes
n / P(mixed) for each trained prompt. Invariant: exactly the groups with 0 < |{i : o_i is correct}| < n are trained
(section 3.2, the constraint of equation 11).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from scheduler.core.allocators.interface import ReadyGroup, Selection
from scheduler.core.allocators.orders import oldest_first
from scheduler.core.allocators.whole_group import WholeGroup
from scheduler.core.errors import InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class DapoCarry(WholeGroup):
    """Dynamic sampling on demand, with the surplus carried over. Raises InvalidInput for a group of fewer than two."""

    @property
    def name(self) -> str:
        """`dapo_carry`."""
        return "dapo_carry"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dapo(WholeGroup):
    """Dynamic sampling as released. Raises InvalidInput for a group of fewer than two, or a round of no batch."""

    rounds: int = 3
    """Prompts of a round, in batches: the release generates three for every one it trains."""

    def __post_init__(self) -> None:
        WholeGroup.__post_init__(self)
        if self.rounds < 1:
            raise InvalidInput(f"a round has 1 or more batches, not {self.rounds}", field="parameters.rounds")

    @property
    def name(self) -> str:
        """`dapo`."""
        return "dapo"

    @property
    def round_batches(self) -> int | None:
        """`rounds`."""
        return self.rounds

    @property
    def discards_surplus(self) -> bool:
        """What finds no slot in the batch it was sampled for is thrown away."""
        return True

    def select(self, ready: Sequence[ReadyGroup], held: Sequence[ReadyGroup], need: int) -> Selection:
        """Oldest version first; everything else is surplus."""
        batch = oldest_first(ready, held, need).batch
        taken = set(batch)
        surplus = tuple(group.group_id for group in [*held, *ready] if group.group_id not in taken)
        return Selection(batch=batch, surplus=surplus)
