"""What a rule is shown, and the two orders that the released rules share.

Owns: how many candidates are ranked, and in which order prompts are visited and groups are trained. Never passes over a
prompt or discards a group.
"""

from collections.abc import Sequence

import numpy as np

from scheduler.core.allocators.interface import Candidate, ReadyGroup, Selection

_SMALLEST_SAMPLE, _SAMPLE_PER_CLAIM = 64, 4


def sample_size(wanted: int) -> int:
    """Claimable prompts that a rule ranks when so many are wanted: a bounded sample, never the whole pool."""
    return max(_SMALLEST_SAMPLE, _SAMPLE_PER_CLAIM * wanted)


def fewest_visits_first(candidates: Sequence[Candidate], wanted: int, rng: np.random.Generator) -> tuple[str, ...]:
    """At most `wanted` prompt ids: fewest visits first, at random among equals.

    Over a pool that is a draw without replacement within an epoch, in a new order each epoch.
    """
    shuffled = [candidates[index] for index in rng.permutation(len(candidates))]
    shuffled.sort(key=lambda candidate: candidate.evidence.visits)
    return tuple(candidate.prompt_id for candidate in shuffled[: max(0, wanted)])


def oldest_first(ready: Sequence[ReadyGroup], held: Sequence[ReadyGroup], need: int) -> Selection:
    """The `need` groups with the oldest weight version, in order of publication among equals; the rest is held.

    Oldest first is what the proof of pacing in `scheduler.core.staleness` asks of a batch.
    """
    ordered = sorted([*held, *ready], key=lambda group: (group.oldest_version, group.published_order))
    return Selection(batch=tuple(group.group_id for group in ordered[: max(0, need)]))
