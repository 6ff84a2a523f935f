"""A completed group, made of a visit's rollouts: its payload for the learner, and its entry among the open groups.

Owns: what of the rollouts goes where. Never publishes. Invariant: the entry counts exactly the payload's rollouts.
"""

import time
from collections import Counter

import numpy as np

from scheduler.core.types import Group, Prompt, Rollout
from scheduler.state.groups import GroupEntry


def completed_group(
    group_id: str, prompt: Prompt, rollouts: tuple[Rollout, ...], *, selection_probability: float
) -> tuple[Group, GroupEntry]:
    """The group of these rollouts; it has the id of the visit that made them."""
    group = Group(
        group_id=group_id,
        prompt_id=prompt.prompt_id,
        prompt_ids=prompt.input_ids,
        rollouts=rollouts,
        selection_probability=selection_probability,
    )
    entry = GroupEntry(
        group_id=group_id,
        prompt_id=prompt.prompt_id,
        order=time.time_ns(),
        oldest_version=group.oldest_version,
        success_rate=float(np.mean([rollout.correct for rollout in rollouts])),
        # What is masked teaches nothing, so it does not make a group's rewards differ either.
        reward_std=float(np.std([rollout.reward for rollout in group.trained] or [0.0])),
        counts=dict(Counter(rollout.stage for rollout in rollouts)),
    )
    return group, entry
